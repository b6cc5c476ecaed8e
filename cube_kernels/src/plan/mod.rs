//! Planning: sizes and device properties become a kernel variant and a launch; pure host code.
//!
//! A *unit* holds a vector of consecutive rows, one a lane. On a CPU a unit is a thread, columns are
//! read where they are, and few rows are made up for by splitting the columns between the units. On
//! a GPU the units of a cube share a tile of columns, and columns are split between cubes.

mod blueprint;
mod device;
mod iterations;
mod matrices;
mod registers;
mod symmetric;

use crate::{
    math::{Argument, Math, Precision},
    program::{FUNCTION, LOADED_COLUMNS, Program},
    reduction::Spec,
};
use cubecl::{
    ir::AddressType,
    prelude::{CubeCount, CubeDim},
};

use iterations::{Unit, largest, merging};

pub use blueprint::{
    Blueprint, LeftOut, MatrixProduct, Packing, StagedRange, TileStrides, WeightedProduct,
};
pub use device::{Device, MatrixUnits};
use matrices::{MATRIX_LANES, by_matrices};
use registers::{cpu_registers, gpu_registers};
pub use symmetric::symmetric;

/// Sizes of a reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Number of batches.
    pub batches: usize,
    /// Rows of the operands in one batch.
    pub rows: usize,
    /// Reduced columns.
    pub columns: usize,
    /// Rows of the output in one batch, if rows are added up.
    pub fold: Option<usize>,
}

impl Sizes {
    /// Rows of the output in one batch.
    pub fn out_rows(&self) -> usize {
        self.fold.unwrap_or(self.rows)
    }

    /// Rows that are added up to one of the output.
    pub fn steps(&self) -> usize {
        match self.fold {
            Some(fold) => self.rows.div_ceil(fold).max(1),
            None => 1,
        }
    }
}

/// A kernel variant and how it is launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The kernel variant.
    pub blueprint: Blueprint,
    /// Rows of a unit.
    pub lanes: usize,
    /// Cubes along each axis; may be more than needed.
    pub cubes: [u32; 3],
    /// Parts into which the pairs of an output row are split: by columns, and then by what is added up.
    pub parts: usize,
    /// How many parts are merged at a time, at most: where a unit cannot take all, what it gets is merged again.
    pub together: usize,
    /// Columns of a part; its share of the tiles, where pairs serve rows and columns.
    pub part_columns: usize,
    /// Rows that a lane takes for a part, one after the other.
    pub part_steps: usize,
}

impl Plan {
    /// The cube dimension of the launch.
    pub fn cube_dim(&self) -> CubeDim {
        CubeDim::new_1d(self.blueprint.units as u32)
    }

    /// The cube count of the launch.
    pub fn cube_count(&self) -> CubeCount {
        let [x, y, z] = self.cubes;
        CubeCount::Static(x, y, z)
    }
}

/// Why no plan exists.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// More cubes than the device launches.
    #[error("{cubes} cubes are needed, more than the device launches at once ({limit})")]
    TooManyCubes {
        /// Cubes needed.
        cubes: usize,
        /// Cubes that can be launched.
        limit: usize,
    },
    /// A unit may take more iterations than the device does.
    #[error(
        "a unit may need {iterations} iterations of its loops however the work is split, the device ends it \
         after {limit}"
    )]
    TooLong {
        /// Iterations that are needed.
        iterations: usize,
        /// Iterations after which the device ends a unit.
        limit: usize,
    },
    /// The formula would take minutes to compile.
    #[error(
        "the code of a pair has about {length} instructions, {limit} at the most are compiled: a function counts as \
         {FUNCTION}, another operation on a component as 1, the body of a loop once"
    )]
    TooMuchCode {
        /// About how many instructions the code of a pair has.
        length: usize,
        /// The most that are compiled.
        limit: usize,
    },
}

/// The most instructions of a pair. Their compilation takes up to about a minute.
const MOST_CODE: usize = 60_000;

/// The most columns of a block. The error of a sum grows with it, the cost of ending a block
/// vanishes beyond about a hundred columns.
const BLOCK: usize = 128;

/// The fewest columns that are worth a part of their own.
const MIN_PART: usize = 1024;

/// Plans the reduction of `program`.
pub fn plan(
    device: &Device,
    program: &Program,
    spec: Spec,
    sizes: Sizes,
    precision: Precision,
    batch_rank: usize,
    packing: Vec<Packing>,
) -> Result<Plan, PlanError> {
    let length = program.pair_length();
    if length > MOST_CODE {
        return Err(PlanError::TooMuchCode {
            length,
            limit: MOST_CODE,
        });
    }
    let size = precision.computed().size();
    let mut blueprint = Blueprint {
        folded: sizes.fold.is_some(),
        ..blueprint(device, spec, precision, batch_rank, packing)
    };
    let units = blueprint.units;
    let mut lanes;
    match device.cores {
        Some(_) => {
            (lanes, blueprint.columns) =
                cpu_registers(device, program, spec, sizes.out_rows(), size);
        }
        None => {
            (lanes, blueprint.columns) =
                gpu_registers(device, program, spec, sizes.out_rows(), size);
            blueprint.shared_tile = program.column.slots > 0;
            blueprint.in_place = !blueprint.shared_tile;
        }
    }
    blueprint.scaled = device.scales
        && program.scaled.is_some()
        && blueprint.shared_tile
        && !blueprint.folded
        && precision.computed() == Precision::F32;
    // A block is a multiple of the columns that are evaluated together, and its tile takes at most
    // half of the fast memory, so that something else fits beside it.
    let whole = |columns: usize| columns / blueprint.columns * blueprint.columns;
    let room = (device.shared_memory / 2).checked_div(blueprint.most_staged(program) * size);
    let block = whole(BLOCK.min(room.unwrap_or(BLOCK)));
    if let Some(own) = by_matrices(device, program, &blueprint, sizes, units) {
        lanes = MATRIX_LANES;
        blueprint = own;
    } else if block > 0 {
        blueprint.block = block;
    } else {
        blueprint.shared_tile = false;
        blueprint.scaled = false;
        blueprint.in_place = true;
        blueprint.block = match program.column.computed() {
            0 => whole(BLOCK),
            _ => blueprint.columns,
        };
    }

    blueprint.wide_loads = blueprint.shared_tile
        && device.wide_loads
        && blueprint.columns == LOADED_COLUMNS
        && size * LOADED_COLUMNS <= device.load_width / 8;

    let groups = if blueprint.shared_tile {
        sizes.out_rows().div_ceil(lanes * units)
    } else {
        sizes.out_rows().div_ceil(lanes)
    };
    let workers = groups * sizes.batches;
    let wanted = match device.cores {
        // Several parts a thread, so that they end together.
        Some(cores) => 4 * cores,
        None => 4 * device.processors.unwrap_or(32),
    };
    let most = sizes.columns.div_ceil(MIN_PART).max(1);
    let parts = wanted.div_ceil(workers.max(1)).min(most);
    let part_columns = sizes.columns.div_ceil(parts);
    let (part_columns, part_steps) = match device.max_iterations {
        Some(limit) => {
            let (columns, steps) =
                most_pairs(program, sizes.steps(), &mut blueprint, part_columns, limit)?;
            (part_columns.min(columns), steps)
        }
        None => (part_columns, sizes.steps()),
    };
    let part_columns = part_columns.next_multiple_of(blueprint.block).max(1);
    blueprint.ahead = ahead(device, program, &blueprint, lanes, part_columns);
    let parts = sizes.columns.div_ceil(part_columns).max(1) * sizes.steps().div_ceil(part_steps);
    let together = most_parts(spec, parts, device.max_iterations)?;
    blueprint.partial = parts > 1;

    let workers = workers * parts;
    let cubes = if blueprint.shared_tile {
        workers
    } else {
        workers.div_ceil(units)
    };
    Ok(Plan {
        blueprint,
        lanes,
        cubes: spread(cubes, device.max_cubes)?,
        parts,
        together,
        part_columns,
        part_steps,
    })
}

/// Of how many columns one is evaluated twice for a bound of lists of smallest values, where that takes less time
/// than the insertions that it saves. With a bound of $s$ of $n$ columns a list of $k$ values is changed about
/// $k (1 + \ln(n / s))$ times, each time for all lanes, so that the time is least with $s$ as below.
fn ahead(
    device: &Device,
    program: &Program,
    blueprint: &Blueprint,
    lanes: usize,
    columns: usize,
) -> Option<usize> {
    let spec = blueprint.spec;
    let k = spec.depth();
    device.cores?;
    // Columns were split without it.
    if device.max_iterations.is_some() {
        return None;
    }
    // Instructions, measured.
    let insertion = 80 + 5 * k;
    let pair = program.pair_work().max(1);
    let possible = spec.inserts()
        && spec.dim == 1
        && !blueprint.reads_blocks(program)
        && insertion >= pair
        && columns >= 8 * k;
    if !possible {
        return None;
    }
    let best = columns.div_ceil(lanes * k * insertion / pair);
    // A power of 4 is near enough, and other numbers of columns need no other kernel.
    let powers = (0..usize::BITS / 2).map(|power| 1 << (2 * power));
    powers.take_while(|n| *n == 1 || *n < 2 * best).last()
}

/// Units of a cube.
fn units(device: &Device) -> usize {
    device.cores.unwrap_or(128).min(device.max_units)
}

/// The blueprint of a unit that stands alone.
fn blueprint(
    device: &Device,
    spec: Spec,
    precision: Precision,
    batch_rank: usize,
    packing: Vec<Packing>,
) -> Blueprint {
    let computed = precision.computed();
    Blueprint {
        spec,
        stored: precision,
        written: precision,
        math: Math {
            precision: computed,
            polynomial_exp: device.cores.is_some(),
            exp2: device.exp2,
            fused: device.fused,
            argument: Argument::default(),
        },
        units: units(device),
        columns: 1,
        block: BLOCK,
        shared_tile: false,
        wide_loads: false,
        // Halves are converted once a block, not once a pair.
        in_place: precision == computed,
        matrix: None,
        weighted: None,
        scaled: false,
        left_out: Vec::new(),
        ahead: None,
        strip: None,
        partial: false,
        placed: false,
        folded: false,
        batch_rank,
        packing,
    }
}

/// Columns, a multiple of a block, and rows of a lane, at most `steps`, that a unit can take within
/// `limit` iterations of its loops. Blocks become shorter where not even one fits.
fn most_pairs(
    program: &Program,
    steps: usize,
    blueprint: &mut Blueprint,
    columns: usize,
    limit: usize,
) -> Result<(usize, usize), PlanError> {
    loop {
        let block = blueprint.block;
        let unit = Unit { program, blueprint };
        let within = |blocks, steps| unit.iterations(blocks * block, steps) <= limit;
        let steps = largest(steps, |steps| within(1, steps));
        if steps > 0 {
            let blocks = largest(columns.div_ceil(block).max(1), |blocks| {
                within(blocks, steps)
            });
            return Ok((blocks * block, steps));
        }
        if block == blueprint.columns {
            return Err(PlanError::TooLong {
                iterations: unit.iterations(block, 1),
                limit,
            });
        }
        let half = block / 2 / blueprint.columns * blueprint.columns;
        blueprint.block = half.max(blueprint.columns);
    }
}

/// The kernel that merges parts which are there already, and how many of them it takes at a time.
pub fn merge(
    device: &Device,
    spec: Spec,
    precision: Precision,
    parts: usize,
) -> Result<(Blueprint, usize), PlanError> {
    let together = most_parts(spec, parts, device.max_iterations)?;
    Ok((blueprint(device, spec, precision, 0, Vec::new()), together))
}

/// How many parts are merged at a time: all of them, where that is within the iterations of a unit.
fn most_parts(spec: Spec, parts: usize, limit: Option<usize>) -> Result<usize, PlanError> {
    let most = if spec.is_list() { 2 } else { parts };
    let Some(limit) = limit.filter(|_| parts > 1) else {
        return Ok(most);
    };
    match largest(most, |parts| merging(spec, parts) <= limit) {
        0 | 1 => Err(PlanError::TooLong {
            iterations: merging(spec, 2),
            limit,
        }),
        together => Ok(together),
    }
}

/// A cube count of at least `cubes` within the limits of each axis.
pub fn spread(cubes: usize, max: [u32; 3]) -> Result<[u32; 3], PlanError> {
    let max = max.map(|n| n as usize);
    let x = cubes.clamp(1, max[0]);
    let y = cubes.div_ceil(x).clamp(1, max[1]);
    let z = cubes.div_ceil(x * y).max(1);
    if z > max[2] {
        return Err(PlanError::TooManyCubes {
            cubes,
            limit: max.iter().fold(1usize, |a, b| a.saturating_mul(*b)),
        });
    }
    Ok([x as u32, y as u32, z as u32])
}

/// The narrowest addresses for buffers of at most `len` values.
pub fn address_type(device: &Device, len: usize) -> Option<AddressType> {
    match AddressType::from_len(len) {
        AddressType::U64 if !device.wide_addresses => None,
        address => Some(address),
    }
}
