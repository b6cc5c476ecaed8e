//! The columns of a block, evaluated several at a time.

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
    /// The first column.
    column: usize,
    /// Number of columns.
    pub count: usize,
    /// Number of complete groups of columns that are evaluated together.
    full: usize,
    /// The place of the first column in the tile, if it is not the start of the tile.
    behind: ComptimeOption<usize>,
}

#[cube]
impl Run {
    /// The `count` columns from `column` on, of which `q` at a time are evaluated together.
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

    /// The place in the tile of column `at` of the run.
    fn staged(&self, at: usize) -> usize {
        #[comptime]
        match &self.behind {
            ComptimeOption::None => at,
            ComptimeOption::Some(behind) => *behind + at,
        }
    }
}

/// Takes in the pairs of a run: as many columns at a time as are evaluated together, and the columns that are left
/// over one by one. `usual` is passed to [`run_pair`].
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
