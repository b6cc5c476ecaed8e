//! How many columns and rows a unit takes, so that all units get work and none runs too long.

use super::{
    Blueprint, Device, PlanError, Problem, Sizes,
    iterations::{Unit, largest},
    tuning,
};

/// The columns and rows that one part covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Number of columns, a multiple of a block. For a symmetric sum, the part's share of the tiles.
    pub columns: usize,
    /// Number of rows that a lane takes one after the other, if rows are added up. Otherwise it is 1.
    pub steps: usize,
}

impl Split {
    /// How many parts there are.
    pub fn parts(&self, sizes: Sizes) -> usize {
        let columns = sizes.columns.div_ceil(self.columns).max(1);
        columns * sizes.steps().div_ceil(self.steps)
    }

    /// Refuses parts that kernels cannot take.
    pub(super) fn check(
        &self,
        device: &Device,
        problem: &Problem,
        blueprint: &Blueprint,
    ) -> Result<(), PlanError> {
        let illegal = |reason: String| {
            Err(PlanError::Illegal {
                schedule: Box::new(blueprint.schedule.clone()),
                reason,
            })
        };
        let Split { columns, steps } = *self;
        let block = blueprint.schedule.block();
        if columns == 0 || !columns.is_multiple_of(block) {
            return illegal(format!(
                "{columns} columns of a part are no multiple of a block"
            ));
        }
        let most = problem.sizes.steps();
        if steps == 0 || steps > most {
            return illegal(format!(
                "a part has {steps} of {most} rows that are added up"
            ));
        }
        let unit = Unit {
            program: problem.program,
            blueprint,
        };
        match device.max_iterations {
            Some(limit) if unit.iterations(columns, steps) > limit => Err(PlanError::TooLong {
                iterations: unit.iterations(columns, steps),
                limit,
            }),
            _ => Ok(()),
        }
    }
}

/// The split that is expected to take the least time. `None` if a unit cannot take even one block.
pub fn best(device: &Device, problem: &Problem, blueprint: &Blueprint) -> Option<Split> {
    let sizes = problem.sizes;
    let block = blueprint.schedule.block();
    let columns = problem.columns(block);
    let workers = problem.workers(blueprint.schedule.rows(blueprint.units));
    let wanted = match device.cores {
        Some(cores) => tuning::PARTS_PER_CORE * cores,
        None => {
            tuning::PARTS_PER_PROCESSOR * device.processors.unwrap_or(tuning::UNKNOWN_PROCESSORS)
        }
    };
    let most = columns.div_ceil(tuning::LEAST_PART).max(1);
    let parts = wanted.div_ceil(workers.max(1)).min(most);
    let columns = columns.div_ceil(parts);
    let split = match device.max_iterations {
        Some(limit) => {
            let most = most_pairs(problem, blueprint, columns, limit)?;
            Split {
                columns: columns.min(most.columns),
                ..most
            }
        }
        None => Split {
            columns,
            steps: sizes.steps(),
        },
    };
    Some(Split {
        // If pairs are in ranges and all ranges are empty, there are 0 columns.
        columns: split.columns.next_multiple_of(block).max(block),
        ..split
    })
}

/// The best split, with shorter blocks if a unit cannot take one of the planned blocks.
pub fn best_of_any_block(
    device: &Device,
    problem: &Problem,
    mut blueprint: Blueprint,
) -> Result<(Blueprint, Split), PlanError> {
    loop {
        if let Some(split) = best(device, problem, &blueprint) {
            return Ok((blueprint, split));
        }
        let (block, columns) = (blueprint.schedule.block(), blueprint.schedule.columns());
        if block == columns {
            return Err(too_long(device, problem, &blueprint));
        }
        let half = block / 2 / columns * columns;
        blueprint.schedule = blueprint.schedule.with_block(half.max(columns));
    }
}

/// The error for a unit that would need too many iterations even for one block.
pub fn too_long(device: &Device, problem: &Problem, blueprint: &Blueprint) -> PlanError {
    let unit = Unit {
        program: problem.program,
        blueprint,
    };
    PlanError::TooLong {
        iterations: unit.iterations(blueprint.schedule.block(), 1),
        limit: device.max_iterations.unwrap_or(usize::MAX),
    }
}

/// The most columns, up to `columns` in whole blocks, and rows of a lane that a unit can take within `limit`
/// iterations of its loops.
fn most_pairs(
    problem: &Problem,
    blueprint: &Blueprint,
    columns: usize,
    limit: usize,
) -> Option<Split> {
    let block = blueprint.schedule.block();
    let unit = Unit {
        program: problem.program,
        blueprint,
    };
    let within = |blocks, steps| unit.iterations(blocks * block, steps) <= limit;
    let steps = largest(problem.sizes.steps(), |steps| within(1, steps));
    if steps == 0 {
        return None;
    }
    let blocks = largest(columns.div_ceil(block).max(1), |blocks| {
        within(blocks, steps)
    });
    Some(Split {
        columns: blocks * block,
        steps,
    })
}
