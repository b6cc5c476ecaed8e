//! Planning: sizes and device properties become a kernel variant and a launch; pure host code.
//!
//! A *unit* holds a vector of consecutive rows, one a lane. On a CPU a unit is a thread, columns are
//! read where they are, and few rows are made up for by splitting the columns between the units. On
//! a GPU the units of a cube share a tile of columns, and columns are split between cubes.

mod iterations;

use crate::{
    math::{Argument, Math, Precision, ptx},
    program::{
        FUNCTION, Factor, InnerProduct, LOADED_COLUMNS, LOOP_COLUMNS, Load, Program, Space,
        Symmetric, UNROLL, WeightedSum,
    },
    reduction::{Accumulation, ReductionKind, Spec},
};
use cubecl::{
    ir::{AddressType, DeviceProperties, ElemType, FloatKind},
    prelude::{CubeCount, CubeDim},
};

use iterations::{Unit, largest, merging};

/// Everything about a kernel that is fixed when it is compiled, beside its program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Blueprint {
    /// The reduction.
    pub spec: Spec,
    /// The type of operands.
    pub stored: Precision,
    /// The type of values of the result.
    pub written: Precision,
    /// How functions are evaluated.
    pub math: Math,
    /// Units of a cube.
    pub units: usize,
    /// Columns that are evaluated together, so that what is loaded for a row serves all of them.
    pub columns: usize,
    /// Columns of a block: of a tile, and of an uninterrupted partial sum.
    pub block: usize,
    /// Whether the units of a cube share a tile of columns. If not, a unit computes for itself what
    /// follows from them.
    pub shared_tile: bool,
    /// Whether a shared tile is read as vectors of columns.
    pub wide_loads: bool,
    /// Whether columns are read from the operands, and only what is computed from them is staged in
    /// the tile.
    pub in_place: bool,
    /// The inner product that matrix instructions compute, if one is.
    pub matrix: Option<MatrixProduct>,
    /// Of how many columns one gives a bound of lists of smallest values beforehand, if any does.
    pub ahead: Option<usize>,
    /// Rows of a strip, where each pair serves its row and its column.
    pub strip: Option<usize>,
    /// The sums over columns that matrix instructions compute, if they do.
    pub weighted: Option<WeightedProduct>,
    /// Whether coordinates are scaled beforehand where that is exact enough.
    pub scaled: bool,
    /// The components of rows and columns that only matrix instructions read, and, where these are not
    /// exact enough, single units: neither registers nor the tile hold them.
    pub left_out: Vec<LeftOut>,
    /// Whether columns are split into parts, so that partial results are written.
    pub partial: bool,
    /// Whether the columns and the parts that are written start anywhere.
    pub placed: bool,
    /// Whether rows are added up, so that the output has fewer.
    pub folded: bool,
    /// Number of batch dimensions.
    pub batch_rank: usize,
    /// How each tensor lies in memory.
    pub packing: Vec<Packing>,
}

impl Blueprint {
    /// The first column slot that goes through the tile.
    pub fn first_staged_slot(&self, program: &Program) -> usize {
        if self.in_place {
            program.column.loaded
        } else {
            0
        }
    }

    /// The column slots that go through the tile, in the order in which they stand there.
    pub fn staged_ranges(&self, program: &Program) -> Vec<StagedRange> {
        let first = self.first_staged_slot(program);
        let columns = self
            .left_out
            .iter()
            .filter(|out| out.space == Space::Column);
        let mut gaps: Vec<(usize, usize)> =
            columns.map(|out| (out.slot, out.slot + out.len)).collect();
        gaps.sort_unstable();
        let mut ranges = Vec::new();
        let mut place = 0;
        for read in program.pair_reads(Space::Column) {
            let mut slot = read.start.max(first);
            for (gap, behind) in gaps.iter().copied().chain([(read.end, read.end)]) {
                let len = gap.min(read.end).saturating_sub(slot);
                if len > 0 {
                    ranges.push(StagedRange { slot, len, place });
                }
                place += len;
                slot = slot.max(behind);
            }
        }
        ranges
    }

    /// Whether something is made of each block of columns before its pairs.
    pub fn reads_blocks(&self, program: &Program) -> bool {
        self.staged(program) > 0 || self.matrix.is_some() || self.weighted.is_some()
    }

    /// Number of column slots that go through the tile.
    pub fn staged(&self, program: &Program) -> usize {
        let ranges = self.staged_ranges(program);
        ranges.iter().map(|range| range.len).sum()
    }

    /// Where column slot `slot` stands among those that go through the tile, if it does.
    pub fn place(&self, program: &Program, slot: usize) -> Option<usize> {
        let ranges = self.staged_ranges(program).into_iter();
        let mut own = ranges.filter(|range| (range.slot..range.slot + range.len).contains(&slot));
        own.next().map(|range| range.place + slot - range.slot)
    }

    /// The copies that fill slots of `stage`, without those that nothing reads there.
    pub fn loads(&self, program: &Program, stage: Space) -> Vec<Load> {
        let loads = program.stage(stage).loads.iter().copied();
        loads
            .filter(|load| !self.leaves_out(stage, load.slot))
            .collect()
    }

    /// Whether slot `slot` of `space` is not filled.
    pub fn leaves_out(&self, space: Space, slot: usize) -> bool {
        let mut own = self.left_out.iter().filter(|out| out.space == space);
        own.any(|out| (out.slot..out.slot + out.len).contains(&slot))
    }

    /// The part of the reduction that units do by themselves: without what matrix instructions sum up.
    pub fn narrow(&self) -> Spec {
        match self.weighted {
            Some(_) => Spec {
                dim: 1,
                ..self.spec
            },
            None => self.spec,
        }
    }

    /// What is done with the reductions of the rows that a lane takes. There may be any number of them,
    /// and to compensate their sum costs little next to their columns.
    pub fn total(&self) -> Spec {
        let kind = match self.spec.kind {
            ReductionKind::Sum(Accumulation::Blocks) if self.folded => {
                ReductionKind::Sum(Accumulation::Kahan)
            }
            kind => kind,
        };
        Spec { kind, ..self.spec }
    }

    /// Whether the kernel writes indices.
    pub fn writes_indices(&self) -> bool {
        match self.partial {
            true => self.spec.keeps_indices(),
            false => self.spec.wanted.indices,
        }
    }

    /// Where slot `k` of those that are staged stands in the tile, and how far apart columns are: in a
    /// shared tile next to each other, so that a unit reads several at once.
    pub fn tile_strides(&self, program: &Program) -> TileStrides {
        if self.shared_tile {
            TileStrides {
                slot: self.block,
                column: 1,
            }
        } else {
            TileStrides {
                slot: 1,
                column: self.staged(program),
            }
        }
    }

    /// Values in the tile.
    pub fn tile_len(&self, program: &Program) -> usize {
        self.block * self.most_staged(program)
    }

    /// The most column slots that go through the tile in any form of the formula.
    fn most_staged(&self, program: &Program) -> usize {
        let scaled = program.scaled.as_ref().filter(|_| self.scaled);
        let scaled = scaled.map_or(0, |scaled| self.staged(&scaled.program));
        self.staged(program).max(scaled)
    }
}

/// How the rows of a tensor lie in memory. Strides that are known take neither registers nor instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Packing {
    /// Rows and components have strides.
    Strided,
    /// Components are adjacent.
    Adjacent,
    /// Rows are, too.
    Packed {
        /// The components of a row.
        dim: usize,
    },
}

/// Consecutive column slots in the tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagedRange {
    /// The first of them.
    pub slot: usize,
    /// How many.
    pub len: usize,
    /// Where the first one stands among all that are staged.
    pub place: usize,
}

/// How an inner product is computed for all pairs of a cube's rows and a block of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatrixProduct {
    /// The inner product.
    pub product: InnerProduct,
    /// Columns of the formula, rows of the formula and components that one instruction multiplies.
    pub shape: [usize; 3],
    /// Units that execute an instruction together.
    pub plane: usize,
    /// Whether loops stand for the instruction.
    pub emulated: bool,
    /// Rows of a cube.
    pub rows: usize,
    /// Type of the operands.
    pub stored: Precision,
}

/// Components of an operand that fill no slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeftOut {
    /// The stage that would load them.
    pub space: Space,
    /// The first slot.
    pub slot: usize,
    /// How many.
    pub len: usize,
}

impl MatrixProduct {
    /// Alignment of what instructions read and write, in bytes, as NVIDIA's need it.
    pub const ALIGNMENT: usize = 32;

    /// Into how many numbers an operand is split.
    pub fn pieces(&self) -> usize {
        match self.stored {
            Precision::F32 => 2,
            _ => 1,
        }
    }

    /// Whether the points are moved to their mean.
    pub fn centered(&self) -> bool {
        self.product.distance && self.pieces() > 1
    }

    /// Components with those that fill the last instruction.
    pub fn padded(&self) -> usize {
        self.product.len.next_multiple_of(self.shape[2])
    }

    /// From one row or column to the next in a tile of factors. All at a multiple of the banks of shared
    /// memory would be read one after the other.
    pub fn stride(&self) -> usize {
        self.padded() + Self::ALIGNMENT / self.stored.size()
    }

    /// From one column to the next in the tile of products.
    pub fn product_stride(&self) -> usize {
        self.rows + Self::ALIGNMENT / self.stored.computed().size()
    }

    /// Shared memory for blocks of `block` columns, in bytes.
    pub fn bytes(&self, block: usize) -> usize {
        let factors = self.pieces() * self.stride() * (self.rows + block) * self.stored.size();
        // What has no use counts, too.
        let others = 4;
        let norms = block + self.rows + self.product.len + others;
        factors + (block * self.product_stride() + norms) * self.stored.computed().size()
    }
}

/// How sums over a block of columns are computed for all rows of a cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightedProduct {
    /// The sums.
    pub sum: WeightedSum,
    /// Components, rows of the formula and columns of the formula that one instruction multiplies.
    pub shape: [usize; 3],
    /// Units that execute an instruction together.
    pub plane: usize,
    /// Whether loops stand for the instruction.
    pub emulated: bool,
    /// Rows of a cube.
    pub rows: usize,
    /// Type of the operands.
    pub stored: Precision,
    /// Whether weights take the places of inner products that matrix instructions have computed.
    pub in_place: bool,
    /// Whether components are moved by what the inner product moves them by.
    pub centered: bool,
}

impl WeightedProduct {
    /// The most columns that instructions add up, as each may cut off the last bit of the sum: so many
    /// add up to a relative error below 1e-5. Differences are those of sums that may be three times as large.
    pub fn run(&self) -> usize {
        match self.sum.row {
            Some(_) => 64,
            None => 128,
        }
    }

    /// Into how many numbers a weight or component is split.
    pub fn pieces(&self) -> usize {
        match self.stored {
            Precision::F32 => 2,
            _ => 1,
        }
    }

    /// Components with those that fill the last instruction.
    pub fn padded(&self) -> usize {
        self.sum.len.next_multiple_of(self.shape[0])
    }

    /// From one column to the next in the tile of components. All at a multiple of the banks of shared
    /// memory would be read one after the other.
    pub fn column_stride(&self) -> usize {
        self.padded() + MatrixProduct::ALIGNMENT / self.stored.computed().size()
    }

    /// From one column to the next in the tiles of weights, and from one component to the next in that of
    /// sums.
    pub fn stride(&self) -> usize {
        self.rows + MatrixProduct::ALIGNMENT / self.stored.computed().size()
    }

    /// Shared memory for blocks of `block` columns, in bytes.
    pub fn bytes(&self, block: usize) -> usize {
        let tiles = match self.in_place {
            true => self.pieces() - 1,
            false => self.pieces(),
        };
        let weights = tiles.max(1) * block * self.stride();
        let columns = self.pieces() * block * self.column_stride();
        // Flags and what has no use count, too.
        let others = 4;
        let values = weights + columns + self.padded() * self.stride() + others;
        values * self.stored.computed().size()
    }
}

/// The shapes of matrices that a device multiplies by one instruction, which adds up in `F32`, by the type
/// of the factors: rows and columns of the product, and the length of what is summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatrixUnits {
    /// Factors of 16 bits, 11 of them significant.
    pub f16: Option<[usize; 3]>,
    /// Factors of 16 bits, 8 of them significant.
    pub bf16: Option<[usize; 3]>,
    /// Factors of 32 bits, 11 of them significant.
    pub tf32: Option<[usize; 3]>,
    /// Whether loops stand for the instruction.
    pub emulated: bool,
}

impl MatrixUnits {
    /// What a runtime of the given name reports. Others than that of CUDA may have the instructions, but
    /// no compiler here has accepted the kernels.
    fn new(properties: &DeviceProperties, runtime: &str) -> Self {
        let hardware = &properties.hardware;
        if runtime != "cuda" || hardware.plane_size_min != hardware.plane_size_max {
            return Self::default();
        }
        let shape = |kind| {
            let elem = ElemType::Float(kind);
            let single = ElemType::Float(FloatKind::F32);
            let configs = properties.features.matmul.cmma.iter();
            configs
                .filter(|c| (c.a_type, c.b_type, c.cd_type) == (elem, elem, single) && c.m == c.n)
                .map(|c| [c.m, c.n, c.k].map(|n| n as usize))
                .max()
        };
        Self {
            f16: shape(FloatKind::F16),
            bf16: shape(FloatKind::BF16),
            tf32: shape(FloatKind::TF32),
            emulated: false,
        }
    }

    /// The shape for operands of a type.
    fn shape(&self, stored: Precision) -> Option<[usize; 3]> {
        match stored {
            Precision::F16 => self.f16,
            Precision::BF16 => self.bf16,
            Precision::F32 => self.tf32,
            Precision::F64 => None,
        }
    }
}

/// How values lie in the tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileStrides {
    /// From one slot to the next.
    pub slot: usize,
    /// From one column to the next.
    pub column: usize,
}

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

/// What the planner knows of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Number of cores if the device is a CPU.
    pub cores: Option<usize>,
    /// Width of its loads in bits.
    pub load_width: usize,
    /// Number of vector registers, where known.
    pub registers: Option<usize>,
    /// Most units of a cube.
    pub max_units: usize,
    /// Units that run in lockstep.
    pub plane: usize,
    /// Shared memory of a cube in bytes.
    pub shared_memory: usize,
    /// Most cubes along each axis.
    pub max_cubes: [u32; 3],
    /// Number of multiprocessors, where known.
    pub processors: Option<usize>,
    /// Whether addresses may have 64 bits.
    pub wide_addresses: bool,
    /// Iterations of loops after which the device ends a unit, if there is such a limit.
    pub max_iterations: Option<usize>,
    /// Whether a pointer to scalars can be read as one to vectors, which saves loads where the compiler
    /// does not find out by itself.
    pub wide_loads: bool,
    /// Whether kernels reach an instruction for $2^x$.
    pub exp2: bool,
    /// Whether a multiply-add rounds once, and no compiler takes it apart, as compilers of shaders do.
    pub fused: bool,
    /// Whether an operation less a pair is worth a second form of the formula.
    pub scales: bool,
    /// The matrices that it multiplies.
    pub matrices: MatrixUnits,
}

impl Device {
    /// The facts that a runtime of the given name reports.
    pub fn new(properties: &DeviceProperties, runtime: &str) -> Self {
        let hardware = &properties.hardware;
        // Mesa's software driver. It leaves every loop when a unit has done 65 535 iterations in all,
        // without a word. And it lacks the explicit layout of shared memory, without which CubeCL 0.11.3
        // exchanges the type of a shared variable and that of its address in SPIR-V: the module is not valid,
        // and the driver crashes. A tile in shared memory would be ordinary memory there anyway.
        let software = properties.identity.name.contains("llvmpipe");
        // Some drivers report more cubes than they launch.
        let clamp = |n: u32| n.min(u16::MAX as u32);
        // A software GPU also runs on cores, but has planes.
        let cores = hardware
            .num_cpu_cores
            .filter(|_| hardware.plane_size_max == 1)
            .map(|n| n as usize);
        let exp2 = ptx::PRESENT && runtime == "cuda";
        let (x, y, z) = hardware.max_cube_count;
        Self {
            cores,
            load_width: hardware.load_width as usize,
            registers: hardware.vector_register_count.map(|n| n as usize),
            max_units: hardware.max_units_per_cube as usize,
            plane: hardware.plane_size_max.max(1) as usize,
            shared_memory: match software && runtime.contains("spirv") {
                true => 0,
                false => hardware.max_shared_memory_size,
            },
            max_cubes: [clamp(x), clamp(y), clamp(z)],
            processors: hardware.num_streaming_multiprocessors.map(|n| n as usize),
            wide_addresses: properties.supports_address(AddressType::U64),
            max_iterations: software.then_some(65_000),
            wide_loads: matches!(runtime, "cuda" | "hip"),
            exp2,
            fused: cores.is_some() || matches!(runtime, "cuda" | "hip"),
            // Elsewhere an exponential is many operations.
            scales: exp2,
            matrices: MatrixUnits::new(properties, runtime),
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

/// The most rows of a strip; the error of the sum of a column grows with it.
const STRIP: usize = 1024;

/// Most values of the sums of all units.
const SYMMETRIC_SUMS: usize = 1 << 25;

/// Plans a sum with each pair evaluated once, where the device is a CPU and this pays;
/// `spec` is that of the result.
pub fn symmetric(
    device: &Device,
    symmetric: &Symmetric,
    spec: Spec,
    sizes: Sizes,
    precision: Precision,
    batch_rank: usize,
    packing: Vec<Packing>,
) -> Option<Plan> {
    /// Bytes of the sums of a block of columns, ...
    const COLUMNS: usize = 32 * 1024;
    /// ... and of what is kept of a strip of rows, which is read in order, from the second-level cache.
    const ROWS: usize = 192 * 1024;
    /// Bytes beyond which not even a short strip of rows fits there.
    const MOST: usize = 1024 * 1024;
    // What it takes to get and keep the sum of a column, in instructions; measured.
    let kept = match spec.dim {
        ..=UNROLL => 1,
        _ => 3,
    };

    device.cores?;
    let own = blueprint(device, spec, precision, batch_rank, packing);
    let units = own.units;
    // Two parts at least, as it is merging that turns the sums into results.
    let parts = units.max(2);
    let n = sizes.rows;
    let possible = matches!(
        spec.kind,
        ReductionKind::Sum(Accumulation::Blocks | Accumulation::Double)
    ) && sizes.fold.is_none()
        && sizes.batches == 1
        && sizes.columns == n
        && device.max_iterations.is_none()
        && n >= symmetric.least
        && parts * n * spec.dim <= SYMMETRIC_SUMS;
    let both = &symmetric.program;
    let once = both.pair_work() + kept * spec.dim;
    // Half of the pairs, with a margin for what is done once a tile.
    if !possible || 10 * once > 17 * symmetric.single_work {
        return None;
    }
    let size = precision.computed().size();
    // Its sums are those of rows and of columns.
    let sums = Spec {
        dim: both.dim,
        ..spec
    };
    let (lanes, columns) = cpu_registers(device, both, sums, n, size);
    let mut blueprint = Blueprint {
        columns,
        partial: true,
        ..own
    };
    // What is staged of columns takes no more than their sums.
    let values = (lanes * spec.dim).max(blueprint.staged(both));
    let most = BLOCK.min(COLUMNS / (values * size));
    let multiple = |of: usize| most / of * of;
    blueprint.block = match multiple(lcm(columns, lanes)) {
        0 => multiple(columns).max(columns),
        block => block,
    };
    // Of a row its slots, and its sums, of which two parts are in F64.
    let row = (both.row.slots + spec.dim) * size + 2 * spec.dim * Precision::F64.size();
    let whole = lcm(blueprint.block, lanes);
    let strip = (STRIP.min(ROWS / row) / whole * whole).max(whole);
    if strip * row > MOST {
        return None;
    }
    blueprint.strip = Some(strip);

    // On the diagonal a tile is half empty.
    let (block, starts) = (blueprint.block, (0..n).step_by(strip));
    let tiles = starts.map(|first| {
        let blocks = (n - first).div_ceil(block);
        2 * blocks - blocks.min(strip / block)
    });
    Some(Plan {
        blueprint,
        lanes,
        cubes: [parts.div_ceil(units) as u32, 1, 1],
        parts,
        together: parts,
        part_columns: tiles.sum::<usize>().div_ceil(parts),
        part_steps: 1,
    })
}

/// The least common multiple.
fn lcm(a: usize, b: usize) -> usize {
    let (mut gcd, mut rest) = (a, b);
    while rest > 0 {
        (gcd, rest) = (rest, gcd % rest);
    }
    a / gcd * b
}

/// The fewest components of an inner product for which matrix instructions are worth their tiles.
const MATRIX_LEAST: usize = 16;

/// The most components of an inner product in `F32`: matrix instructions may cut off the last bit of each
/// sum, and so many add up to a relative error below 1e-5.
const MATRIX_MOST: usize = 256;

/// Rows of a unit whose inner products come from a tile.
const MATRIX_LANES: usize = 1;

/// The fewest components of which matrix instructions sum up products with weights: fewer sums fit in the
/// registers of a unit.
const WEIGHTED_LEAST: usize = 32;

/// The blueprint with what matrix instructions can compute of the formula on the device, if they can.
fn by_matrices(
    device: &Device,
    program: &Program,
    blueprint: &Blueprint,
    sizes: Sizes,
    units: usize,
) -> Option<Blueprint> {
    // An emulated instruction needs no plane.
    let plane = if device.matrices.emulated {
        1
    } else {
        device.plane
    };
    let rows = units * MATRIX_LANES;
    let possible = blueprint.shared_tile
        && device.max_iterations.is_none()
        && units.is_multiple_of(plane)
        // Few rows would leave most of a tile unused.
        && 2 * sizes.out_rows() >= rows;
    if !possible {
        return None;
    }
    let whole = |shape: &[usize; 3]| rows.is_multiple_of(shape[1]);
    let inner = inner_product(device, program, blueprint.stored);
    let inner = inner.filter(|(_, shape)| whole(shape));
    let matrix = inner.map(|(product, shape)| MatrixProduct {
        product,
        shape,
        plane,
        emulated: device.matrices.emulated,
        rows,
        stored: blueprint.stored,
    });
    // Factors have 32 bits whatever the operands have, as weights may overflow halves.
    let shape = device.matrices.tf32.filter(whole);
    let weighted = |matrix: Option<MatrixProduct>| {
        let sum = weighted_sum(program, blueprint, matrix)?;
        Some(WeightedProduct {
            sum,
            shape: shape?,
            plane,
            emulated: device.matrices.emulated,
            rows,
            stored: blueprint.stored,
            in_place: matrix.is_some(),
            centered: sum.row.is_some() && matrix.is_some_and(|matrix| matrix.centered()),
        })
    };
    let choices = [
        (matrix, weighted(matrix)),
        (matrix, None),
        (None, weighted(None)),
    ];
    let used = |choice: &(Option<_>, Option<_>)| choice.0.is_some() || choice.1.is_some();
    let mut fitting = choices.into_iter().filter(used).filter_map(|choice| {
        let own = Blueprint {
            matrix: choice.0,
            weighted: choice.1,
            scaled: false,
            left_out: left_out(program, choice.0, choice.1),
            columns: LOADED_COLUMNS,
            ..blueprint.clone()
        };
        let block = matrix_block(device, program, &own)?;
        Some(Blueprint { block, ..own })
    });
    fitting.next()
}

/// The inner product of the formula for which matrix instructions are worth it, and their shape.
fn inner_product(
    device: &Device,
    program: &Program,
    stored: Precision,
) -> Option<(InnerProduct, [usize; 3])> {
    let shape = device.matrices.shape(stored)?;
    let product = program.inner_product()?;
    let fits = product.len >= MATRIX_LEAST
        && (stored != Precision::F32 || product.len <= MATRIX_MOST)
        // Halves are multiplied as they are.
        && (stored == Precision::F32 || product.scale.is_none());
    fits.then_some((product, shape))
}

/// The sums of the formula for which matrix instructions are worth it and exact enough, beside those of
/// `matrix`.
fn weighted_sum(
    program: &Program,
    blueprint: &Blueprint,
    matrix: Option<MatrixProduct>,
) -> Option<WeightedSum> {
    let kind = blueprint.spec.kind;
    let sum = program.weighted_sum(kind.weights()?)?;
    // As the difference of two sums, that of differences is exact enough where all of these are about as
    // large as the components: where the squared distance is.
    let near = |matrix: &MatrixProduct| {
        let product = &matrix.product;
        product.distance
            && product.len == sum.len
            && Some(product.row) == sum.row
            && product.column == sum.column
            && product.scale.is_none_or(|scale| !scale.looped)
    };
    let exact = sum.row.is_none() || matrix.as_ref().is_some_and(near);
    let plain = kind != ReductionKind::Sum(Accumulation::Kahan) && !blueprint.folded;
    let fits = sum.len >= WEIGHTED_LEAST && blueprint.stored != Precision::F64;
    (exact && plain && fits).then_some(sum)
}

/// What only matrix instructions read.
fn left_out(
    program: &Program,
    matrix: Option<MatrixProduct>,
    weighted: Option<WeightedProduct>,
) -> Vec<LeftOut> {
    let product = matrix.map(|matrix| matrix.product);
    let sum = weighted.map(|weighted| weighted.sum);
    let items: Vec<usize> = [product.map(|own| own.item), sum.map(|own| own.item)]
        .into_iter()
        .flatten()
        .collect();
    let mut factors: Vec<(Space, Factor, usize)> = Vec::new();
    if let Some(own) = product {
        factors.push((Space::Row, own.row, own.len));
        factors.push((Space::Column, own.column, own.len));
    }
    if let Some(own) = sum {
        factors.extend(own.row.map(|row| (Space::Row, row, own.len)));
        factors.push((Space::Column, own.column, own.len));
    }
    let mut all: Vec<LeftOut> = Vec::new();
    for (space, factor, len) in factors {
        let out = LeftOut {
            space,
            slot: factor.slot,
            len,
        };
        if !all.contains(&out) && program.only_for(&items, space, factor, len) {
            all.push(out);
        }
    }
    all
}

/// The columns of a block: as many as leave half of the shared memory to another cube, or any.
fn matrix_block(device: &Device, program: &Program, own: &Blueprint) -> Option<usize> {
    let bytes = |block: usize| {
        let tile = (own.staged(program) * block).max(1);
        own.matrix.map_or(0, |matrix| matrix.bytes(block))
            + own.weighted.map_or(0, |weighted| weighted.bytes(block))
            + tile * own.stored.computed().size()
    };
    let matrix = own.matrix.map_or(1, |matrix| matrix.shape[0]);
    let weighted = own.weighted.map_or(1, |weighted| weighted.shape[2]);
    let whole = |block: &usize| {
        block.is_multiple_of(matrix.max(LOADED_COLUMNS)) && block.is_multiple_of(weighted)
    };
    let limits = [device.shared_memory / 2, device.shared_memory];
    let blocks = [64usize, 32, 16];
    let all = limits
        .into_iter()
        .flat_map(|limit| blocks.map(|block| (limit, block)));
    let mut fitting = all.filter(|(limit, block)| whole(block) && bytes(*block) <= *limit);
    fitting.next().map(|(_, block)| block)
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

/// Lanes and columns of a unit of a CPU, from the registers it has.
fn cpu_registers(
    device: &Device,
    program: &Program,
    spec: Spec,
    rows: usize,
    size: usize,
) -> (usize, usize) {
    /// Instructions a pair from which on several columns take longer to compile than they save.
    const MANY: usize = 256;
    /// Up to so many the columns are the more, the better latencies are hidden, if there are registers.
    const FEW: usize = 64;
    let register = (device.load_width / 8 / size).max(1);
    let registers = device.registers.unwrap_or(16);
    // In loops a sum for each vector of rows with each column; what is left of the registers must hold
    // the rows and the differences, as a sum that is spilled costs more than columns can save. The
    // blocks are the fastest of those measured with 16 registers (AVX2) and 32 (AVX-512); a long formula
    // is not compiled for many columns.
    let (mut wide, columns) = match (program.looped(), registers) {
        // Processors overlap the pairs of a long formula anyway, and it is compiled once instead of three times.
        (false, _) if program.is_long() => (1, 1),
        (true, _) if program.is_long() => (1, 2),
        // A value that is among the smallest of one lane is inserted in all of them.
        (false, _) if spec.inserts() => (1, 2),
        (false, 32..) if program.pair_cost() > MANY => (1, 2),
        (false, 32..) if spec.is_light() && program.pair_cost() <= FEW => (1, 12),
        (false, 32..) => (1, 8),
        (false, _) => (2, 2),
        (true, 32..) => (1, LOOP_COLUMNS),
        (true, _) => (2, 3),
    };
    // Slots and running sums of the rows stay in the first-level cache.
    let state = program.row.slots + spec.vectors();
    while wide > 1 && wide * register * size * state > 24 * 1024 {
        wide /= 2;
    }
    while wide > 1 && wide * register > rows.next_multiple_of(register) {
        wide /= 2;
    }
    (wide * register, columns)
}

/// Lanes and columns of a unit of a GPU. Each column that is read from the tile serves all lanes, and
/// several that lie next to each other are read at once.
fn gpu_registers(
    device: &Device,
    program: &Program,
    spec: Spec,
    rows: usize,
    size: usize,
) -> (usize, usize) {
    /// Registers of a unit beside those in which it computes: NVIDIA's cards have 255, and hide the
    /// latency of instructions that depend on each other only if units are content with half of that.
    const ALL: usize = 208;
    const HALF: usize = 96;
    /// Instructions a pair from which on loads do not matter, but the length of the code does.
    const LONG: usize = 64;
    let state = spec.vectors();
    let all = program.row.slots + state;
    // Few rows must be spread over many units.
    let enough = 64 * device.plane * 4;
    // Lists take many registers. Where a cube has a unit for each row, units with one have half of them, and more
    // run at a time: there are too few pairs to care for what rows could share.
    let alone = spec.inserts() && rows <= units(device);
    let lanes = match size {
        4 if !program.looped() && 4 * all <= HALF && rows >= enough => 4,
        4 if alone => 1,
        // An insertion into the state takes registers of its own.
        4 if 2 * all <= ALL && 2 * state <= ALL * 2 / 3 => 2,
        // What no registers hold is in memory, where two are read as fast as one.
        4 if all > ALL => 2,
        _ => 1,
    };
    let columns = match program.looped() || program.pair_cost() <= LONG {
        true => LOADED_COLUMNS,
        false => 1,
    };
    (lanes, columns)
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
