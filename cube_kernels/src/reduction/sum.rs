use cubecl::prelude::*;

use super::{Reduction, ReductionFamily};
use crate::{kernel::math::constant_vector, program::UNROLL};

/// The sum.
///
/// Columns are added plainly within a block and the blocks with Kahan's compensation (Kahan,
/// "Further remarks on reducing truncation errors", CACM 1965), so that the error grows with the
/// size of a block and not with the number of columns, at no cost per column.
pub struct Sum;

impl ReductionFamily for Sum {
    type Reduction<F: Float, N: Size> = Sum;
}

/// The running sums.
#[derive(CubeType)]
pub struct SumState<F: Float, N: Size> {
    block: Array<Vector<F, N>>,
    total: Array<Vector<F, N>>,
    lost: Array<Vector<F, N>>,
}

#[cube]
impl<F: Float, N: Size> Reduction<F, N> for Sum {
    type State = SumState<F, N>;

    fn init(#[comptime] dim: usize) -> SumState<F, N> {
        let zero = constant_vector::<F, N>(0.0);
        let mut state = SumState::<F, N> {
            block: Array::new(dim),
            total: Array::new(dim),
            lost: Array::new(dim),
        };
        #[unroll(dim <= UNROLL)]
        for k in 0..dim {
            state.block[k] = zero;
            state.total[k] = zero;
            state.lost[k] = zero;
        }
        state
    }

    fn step(state: &mut SumState<F, N>, index: usize, value: Vector<F, N>) {
        state.block[index] += value;
    }

    fn step_product(
        state: &mut SumState<F, N>,
        index: usize,
        a: Vector<F, N>,
        b: Vector<F, N>,
        #[comptime] negated: bool,
    ) {
        let a = if comptime!(negated) { -a } else { a };
        state.block[index] = fma(a, b, state.block[index]);
    }

    fn end_block(state: &mut SumState<F, N>, #[comptime] dim: usize) {
        let zero = constant_vector::<F, N>(0.0);
        #[unroll(dim <= UNROLL)]
        for k in 0..dim {
            let value = state.block[k] - state.lost[k];
            let total = state.total[k] + value;
            let lost = (total - state.total[k]) - value;
            // The difference of infinities is no rounding error.
            state.lost[k] = select_many(lost.equal(&lost), lost, zero);
            state.total[k] = total;
            state.block[k] = zero;
        }
    }

    fn finish(state: &SumState<F, N>, index: usize) -> Vector<F, N> {
        state.total[index]
    }

    fn merge(state: &mut SumState<F, N>, index: usize, part: Vector<F, N>) {
        state.block[index] += part;
    }
}
