//! Planning: chooses a kernel variant and its launch from the sizes and the properties of the device. It is pure
//! host code.
//!
//! A *unit* holds a vector of consecutive rows, one for each lane. On a CPU a unit is a thread and reads columns
//! where they are; if there are few rows, the columns are split between the units. On a GPU the units of a cube
//! share a tile of columns, and columns are split between cubes.

mod alone;
mod blueprint;
mod device;
mod iterations;
mod matrices;
mod registers;
mod schedule;
mod split;
mod symmetric;
mod tuning;
mod validate;

use std::sync::Arc;

use crate::{
    formula::Axis,
    math::{Argument, Math, Precision},
    program::{FUNCTION, Program, Symmetric},
    ranges::{Cut, Ranges, Tasks},
    reduction::Spec,
};
use cubecl::{
    ir::AddressType,
    prelude::{CubeCount, CubeDim},
};

use iterations::{largest, merging};

pub use blueprint::{
    Blueprint, ColumnSource, LeftOut, MatrixProduct, MergeBlueprint, Packing, StagedRange,
    TileStrides, WeightedProduct,
};
pub use device::{Device, MatrixUnits};
pub use schedule::{Alone, Matrices, Registers, Schedule, Strips, Tiled};
pub use split::Split;

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

    /// The most rows of the operands that are added up to one row of the output.
    pub fn steps(&self) -> usize {
        match self.fold {
            Some(fold) => self.rows.div_ceil(fold).max(1),
            None => 1,
        }
    }
}

/// The properties of a reduction that its plan depends on.
#[derive(Clone, Debug)]
pub struct Problem<'a> {
    /// The formula.
    pub program: &'a Program,
    /// The symmetric form of the formula, if `program` is the program of this form: each pair is evaluated once,
    /// for its row and its column.
    pub symmetric: Option<&'a Symmetric>,
    /// The reduction.
    pub spec: Spec,
    /// Its sizes.
    pub sizes: Sizes,
    /// The type of operands.
    pub precision: Precision,
    /// Number of batch dimensions.
    pub batch_rank: usize,
    /// How each tensor lies in memory.
    pub packing: Vec<Packing>,
    /// The ranges of the pairs that exist. `None` if all pairs exist.
    pub ranges: Option<RangesOf<'a>>,
}

impl Problem<'_> {
    /// The number of workers for all rows, if each of them takes `rows` rows with all of their columns.
    fn workers(&self, rows: usize) -> usize {
        match self.ranges {
            Some(own) => own.ranges.count_tasks(own.batch_shape, rows),
            None => self.sizes.out_rows().div_ceil(rows) * self.sizes.batches,
        }
    }

    /// The most columns of a row, where each range counts as whole blocks of `block` columns.
    fn columns(&self, block: usize) -> usize {
        match self.ranges {
            Some(own) => own.ranges.most_blocks(block) * block,
            None => self.sizes.columns,
        }
    }
}

/// Ranges, with the batch dimensions of the reduction that they are for.
#[derive(Clone, Copy, Debug)]
pub struct RangesOf<'a> {
    /// The ranges.
    pub ranges: &'a Ranges,
    /// The batch dimensions of the reduction.
    pub batch_shape: &'a [usize],
}

/// How the schedule of a reduction is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// The planner chooses the schedule.
    #[default]
    Auto,
    /// Use the given schedule. A schedule that is not legal for the problem is an error.
    Forced {
        /// The schedule.
        schedule: Schedule,
        /// The size of parts. If it is `None`, the planner chooses it.
        split: Option<Split>,
    },
}

/// A kernel variant and how it is launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The kernel variant.
    pub blueprint: Blueprint,
    /// Cubes along each axis. There may be more than needed.
    pub cubes: [u32; 3],
    /// Number of parts into which the pairs of an output row are split: by columns, and by the rows that are added
    /// up.
    pub parts: usize,
    /// The largest number of parts that one unit merges. If there are more, the merged parts are merged again in
    /// another pass.
    pub together: usize,
    /// The columns and the rows of a lane that one part covers.
    pub split: Split,
    /// Number of workers that have something to do. A worker is a cube that shares a tile, or a single unit.
    pub workers: usize,
    /// The tasks of the workers, if pairs are in ranges.
    pub(crate) tasks: Option<Arc<Tasks>>,
}

impl Plan {
    /// Rows of a unit.
    pub fn lanes(&self) -> usize {
        self.blueprint.schedule.lanes()
    }

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

/// Why there is no plan.
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
    /// A unit may need more iterations than the device allows.
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
    /// The schedule that the caller forced, or its split, is not legal for this problem.
    #[error("{schedule:?} does not do for this reduction here: {reason}")]
    Illegal {
        /// The schedule.
        schedule: Box<Schedule>,
        /// What is wrong with it.
        reason: String,
    },
}

/// Plans a reduction. Returns `None` only for the symmetric form of a formula: if this form is not possible, if it
/// takes longer than the plain form, or if a schedule for the plain form is forced.
pub fn plan(
    device: &Device,
    problem: &Problem,
    strategy: &Strategy,
) -> Result<Option<Plan>, PlanError> {
    match (strategy, problem.symmetric) {
        (Strategy::Auto, Some(form)) => {
            let schedule = symmetric::schedule(device, form, problem);
            Ok(schedule.map(|strips| strips_of(device, problem, strips)))
        }
        (Strategy::Auto, None) => automatic(device, problem).map(Some),
        (Strategy::Forced { schedule, split }, _) => forced(device, problem, schedule, *split),
    }
}

fn automatic(device: &Device, problem: &Problem) -> Result<Plan, PlanError> {
    check_length(problem)?;
    let chosen = blueprint(device, problem, choose(device, problem));
    let (mut blueprint, split) = split::best_of_any_block(device, problem, chosen)?;
    if let Schedule::Alone(own) = &mut blueprint.schedule {
        own.ahead = alone::ahead(device, problem, own, split.columns);
    }
    launched(device, problem, blueprint, split)
}

fn forced(
    device: &Device,
    problem: &Problem,
    schedule: &Schedule,
    split: Option<Split>,
) -> Result<Option<Plan>, PlanError> {
    // The schedule is for the plain form of the formula. The caller plans that form if the symmetric one has no
    // plan.
    if problem.symmetric.is_some() && schedule.strip().is_none() {
        return Ok(None);
    }
    check_length(problem)?;
    schedule
        .validate(device, problem)
        .map_err(|reason| PlanError::Illegal {
            schedule: Box::new(schedule.clone()),
            reason,
        })?;
    if let Schedule::Symmetric(strips) = *schedule {
        return Ok(Some(strips_of(device, problem, strips)));
    }
    let blueprint = blueprint(device, problem, schedule.clone());
    let split = match split {
        Some(split) => split,
        None => split::best(device, problem, &blueprint)
            .ok_or_else(|| split::too_long(device, problem, &blueprint))?,
    };
    split.check(device, problem, &blueprint)?;
    launched(device, problem, blueprint, split).map(Some)
}

/// The plan of a symmetric sum with these strips.
fn strips_of(device: &Device, problem: &Problem, strips: Strips) -> Plan {
    let blueprint = blueprint(device, problem, Schedule::Symmetric(strips));
    symmetric::plan(blueprint, problem, strips.rows)
}

fn check_length(problem: &Problem) -> Result<(), PlanError> {
    let length = problem.program.pair_length();
    match length > tuning::MOST_CODE {
        true => Err(PlanError::TooMuchCode {
            length,
            limit: tuning::MOST_CODE,
        }),
        false => Ok(()),
    }
}

/// The schedule that is expected to take the least time.
fn choose(device: &Device, problem: &Problem) -> Schedule {
    let Problem { program, .. } = *problem;
    let computed = problem.precision.computed();
    let size = computed.size();
    let registers = match device.cores {
        Some(_) => registers::cpu(
            device,
            program,
            problem.spec,
            problem.sizes.out_rows(),
            size,
        ),
        None => registers::gpu(device, problem),
    };
    if device.cores.is_none()
        && problem.ranges.is_none()
        && let Some(own) = matrices::choose(device, problem)
    {
        return Schedule::Matrices(Box::new(own));
    }
    // A block is a multiple of the columns that are evaluated together. Its tile takes at most half of the shared
    // memory, so that something else fits beside it.
    let whole = |columns: usize| columns / registers.columns * registers.columns;
    let fitting = |schedule: Schedule| {
        let room = (device.shared_memory / 2).checked_div(schedule.most_staged(program) * size);
        let block = whole(tuning::BLOCK.min(room.unwrap_or(tuning::BLOCK)));
        (block > 0).then(|| schedule.with_block(block))
    };
    let alone = |block: usize, in_place: bool| {
        Schedule::Alone(Alone {
            registers,
            block,
            in_place,
            ahead: None,
        })
    };
    let preferred = match device.cores {
        // Operands of 16 bits are staged, so that they are converted once a block, not once a pair.
        Some(_) => alone(tuning::BLOCK, problem.precision == computed),
        None if program.column.slots == 0 => alone(tuning::BLOCK, true),
        // Many units of a cube with a shared tile would have nothing to do.
        None if has_short_clusters(device, problem, registers) => alone(tuning::BLOCK, true),
        None => Schedule::Tiled(Tiled {
            registers,
            block: tuning::BLOCK,
            wide_loads: wide_loads(device, registers, size),
            scaled: device.scales && scalable(problem),
        }),
    };
    fitting(preferred).unwrap_or_else(|| {
        let block = match program.column.computed() {
            0 => whole(tuning::BLOCK),
            _ => registers.columns,
        };
        alone(block, true)
    })
}

/// Whether clusters of rows with the same ranges are short compared with the rows of a cube.
fn has_short_clusters(device: &Device, problem: &Problem, registers: Registers) -> bool {
    let rows = registers.lanes * units(device);
    problem.ranges.is_some()
        && problem.workers(rows) * rows > 2 * problem.sizes.rows * problem.sizes.batches
}

/// Whether a tile of values of `size` bytes can be read as vectors of columns, and whether that is worth it.
fn wide_loads(device: &Device, registers: Registers, size: usize) -> bool {
    device.wide_loads
        && registers.columns == crate::program::LOADED_COLUMNS
        && size * crate::program::LOADED_COLUMNS <= device.load_width / 8
}

/// Whether kernels can scale coordinates before they evaluate pairs.
fn scalable(problem: &Problem) -> bool {
    problem.program.scaled.is_some()
        && problem.sizes.fold.is_none()
        && problem.ranges.is_none()
        && problem.precision.computed() == Precision::F32
}

/// The plan for a blueprint and a split that have been chosen.
fn launched(
    device: &Device,
    problem: &Problem,
    blueprint: Blueprint,
    split: Split,
) -> Result<Plan, PlanError> {
    let schedule = &blueprint.schedule;
    let rows = schedule.rows(blueprint.units);
    let cut = Cut {
        rows,
        block: schedule.block(),
        blocks: split.columns / schedule.block(),
    };
    let of_ranges = |own: RangesOf| own.ranges.tasks(own.batch_shape, cut);
    let tasks = problem.ranges.map(of_ranges);
    let (parts, workers) = match &tasks {
        Some(tasks) => (tasks.parts, tasks.tasks.len()),
        None => {
            let parts = split.parts(problem.sizes);
            (parts, problem.workers(rows) * parts)
        }
    };
    let together = most_parts(problem.spec, parts, device.max_iterations)?;
    let cubes = match blueprint.schedule.shared_tile() {
        true => workers,
        false => workers.div_ceil(blueprint.units),
    };
    Ok(Plan {
        blueprint: Blueprint {
            partial: parts > 1,
            ..blueprint
        },
        cubes: spread(cubes, device.max_cubes)?,
        parts,
        together,
        split,
        workers,
        tasks,
    })
}

/// Units of a cube.
fn units(device: &Device) -> usize {
    device.cores.unwrap_or(tuning::UNITS).min(device.max_units)
}

/// How functions are evaluated on a device.
fn math(device: &Device, precision: Precision) -> Math {
    Math {
        precision: precision.computed(),
        polynomial_exp: device.cores.is_some(),
        exp2: device.exp2,
        fused: device.fused,
        argument: Argument::default(),
    }
}

/// The kernel variant of a schedule, without a split into parts.
fn blueprint(device: &Device, problem: &Problem, schedule: Schedule) -> Blueprint {
    let precision = problem.precision;
    Blueprint {
        spec: problem.spec,
        stored: precision,
        written: precision,
        math: math(device, precision),
        units: units(device),
        schedule,
        partial: false,
        columns: match problem.ranges {
            Some(_) => ColumnSource::Ranges,
            None => ColumnSource::All,
        },
        limited: problem
            .ranges
            .is_some_and(|own| own.ranges.limits(problem.spec.kind).is_some()),
        unordered_rows: problem
            .ranges
            .is_some_and(|own| own.ranges.order(Axis::I).is_some()),
        folded: problem.sizes.fold.is_some(),
        batch_rank: problem.batch_rank,
        packing: problem.packing.clone(),
    }
}

/// The kernel that merges `parts` parts that exist already, and the most of them that a unit merges at a time.
pub fn merge(
    device: &Device,
    spec: Spec,
    precision: Precision,
    parts: usize,
) -> Result<(MergeBlueprint, usize), PlanError> {
    let together = most_parts(spec, parts, device.max_iterations)?;
    let blueprint = MergeBlueprint {
        spec,
        math: math(device, precision),
        written: precision,
    };
    Ok((blueprint, together))
}

/// The most parts that a unit merges at a time: two lists, or as many other parts as the iterations of a unit
/// allow.
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

/// The narrowest addresses for buffers of at most `len` values. `None` if the device does not have them.
pub fn address_type(device: &Device, len: usize) -> Option<AddressType> {
    match AddressType::from_len(len) {
        AddressType::U64 if !device.wide_addresses => None,
        address => Some(address),
    }
}
