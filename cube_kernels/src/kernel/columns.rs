//! Columns of a block: as many at a time as are evaluated together.

use cubecl::prelude::*;

use super::{
    context::Columns,
    pairs::{Pairs, run_pair},
    weighted::WeightedSums,
};
use crate::reduction::GivesWeights;

/// Consecutive columns of a block.
#[derive(CubeType)]
pub struct Run {
    /// The first of them.
    column: usize,
    /// How many there are.
    pub count: usize,
    /// How many times as many as are evaluated together.
    full: usize,
    /// How far behind the start of the tile they are staged, if they are not at its start.
    behind: ComptimeOption<usize>,
}

#[cube]
impl Run {
    /// The `count` columns from `column` on, of which `q` are evaluated together.
    pub fn new(
        column: usize,
        count: usize,
        behind: ComptimeOption<usize>,
        #[comptime] q: usize,
    ) -> Run {
        Run {
            column,
            count,
            full: count / q,
            behind,
        }
    }

    /// Where column `at` of the run is staged.
    fn staged(&self, at: usize) -> usize {
        #[comptime]
        match &self.behind {
            ComptimeOption::None => at,
            ComptimeOption::Some(behind) => *behind + at,
        }
    }
}

/// Takes in the pairs of a run: as many columns at a time as are evaluated together, and what is left over one by one.
#[cube]
pub fn take_run<E: Float, F: Float, A: Float, N: Size, R: GivesWeights<F, A, N>>(
    state: &mut R::State,
    pairs: &Pairs<'_, '_, E, F, N>,
    run: &Run,
    weighted: &mut ComptimeOption<WeightedSums<F, A, N>>,
    usual: bool,
) {
    let q = comptime!(pairs.context.blueprint.schedule.columns());
    for t in 0..run.full {
        let columns = Columns {
            column: run.column + t * q,
            staged: run.staged(t * q),
            q,
        };
        run_pair::<E, F, A, N, R>(state, pairs, &columns, weighted, usual);
    }
    if comptime!(q > 1) {
        for t in run.full * q..run.count {
            let columns = Columns {
                column: run.column + t,
                staged: run.staged(t),
                q: comptime!(1usize),
            };
            run_pair::<E, F, A, N, R>(state, pairs, &columns, weighted, usual);
        }
    }
}
