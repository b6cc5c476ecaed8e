use cubecl::prelude::*;

use super::{Accumulator, Reduction, Rule, Spec, log_sum_exp::ExpState};
use crate::{kernel::math::Math, program::UNROLL};

/// $\sum e^{f} g / \sum e^{f}$, the mean of $g$ with the softmax of $f$ as weights; stable for any
/// finite $f$. NaN where $f$ is $-\infty$ everywhere or $+\infty$ anywhere.
pub struct SoftmaxSum;

#[cube]
impl<F: Float, A: Float, N: Size> Accumulator<F, A, N> for SoftmaxSum {
    // The sums of the weighted components, and behind them the sum of the exponentials.
    type State = ExpState<F, A, N>;

    fn step(
        state: &mut ExpState<F, A, N>,
        index: usize,
        _column: u32,
        values: &Sequence<Vector<F, N>>,
        #[comptime] first: usize,
        #[comptime] rule: Rule,
    ) {
        let spec = comptime!(rule.spec);
        let math = comptime!(rule.math);
        let q = values.len();
        if comptime!(first == 0) {
            let sums = comptime!(spec.dim);
            state.take_scores(0usize, values, 0usize, sums, q, math);
            #[unroll]
            for c in 0..q {
                let exp = state.exps[c];
                state.sums.add(comptime!(spec.dim - 1), exp);
            }
        } else {
            #[unroll]
            for c in 0..q {
                let exp = state.exps[c];
                state.sums.add_product(index - 1, exp, *values.index(c));
            }
        }
    }

    fn fuses() -> comptime_type!(bool) {
        false
    }

    fn step_product(
        _state: &mut ExpState<F, A, N>,
        _index: usize,
        _column: usize,
        _a: Vector<F, N>,
        _b: Vector<F, N>,
        #[comptime] _first: usize,
        #[comptime] _rule: Rule,
    ) {
    }

    fn weight(
        state: &ExpState<F, A, N>,
        value: Vector<F, N>,
        #[comptime] c: usize,
    ) -> Vector<F, N> {
        state.exps[c] * value
    }

    fn base(state: &ExpState<F, A, N>) -> Vector<F, N> {
        state.maximum[0]
    }
}

#[cube]
impl<F: Float, A: Float, N: Size> Reduction<F, A, N> for SoftmaxSum {
    fn init(
        _begin: u32,
        infinity: F,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) -> ExpState<F, A, N> {
        ExpState::<F, A, N>::new(infinity, 1usize, comptime!(spec.dim), math)
    }

    fn end_block(state: &mut ExpState<F, A, N>, #[comptime] spec: Spec, #[comptime] math: Math) {
        state.rebase(0usize, 0usize, comptime!(spec.dim), math);
        state.sums.end_block(comptime!(spec.dim));
    }

    fn save(
        state: &ExpState<F, A, N>,
        at: usize,
        #[comptime] plane: usize,
        #[comptime] spec: Spec,
    ) -> Vector<A, N> {
        if comptime!(plane == 0) {
            Vector::cast_from(state.maximum[at])
        } else if comptime!(plane == 1) {
            state.sums.total(comptime!(spec.dim - 1))
        } else {
            state.sums.total(at)
        }
    }

    fn load(
        state: &mut ExpState<F, A, N>,
        at: usize,
        value: Vector<A, N>,
        #[comptime] plane: usize,
        #[comptime] spec: Spec,
    ) {
        if comptime!(plane == 0) {
            state.maximum[at] = Vector::cast_from(value);
        } else if comptime!(plane == 1) {
            state.sums.set_total(comptime!(spec.dim - 1), value);
        } else {
            state.sums.set_total(at, value);
        }
    }

    fn index(_state: &ExpState<F, A, N>, _at: usize) -> Vector<u32, N> {
        Vector::new(0u32)
    }

    fn load_index(_state: &mut ExpState<F, A, N>, _at: usize, _index: Vector<u32, N>) {}

    fn merge(
        state: &mut ExpState<F, A, N>,
        later: &ExpState<F, A, N>,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) {
        let sums = comptime!(spec.dim);
        let factor = state.merge_maximum(0usize, later.maximum[0], 0usize, sums, math);
        #[unroll(sums <= UNROLL)]
        for s in 0..sums {
            state.sums.add_total(s, later.sums.total(s) * factor);
        }
        state.sums.end_part(sums);
    }

    fn value(
        state: &ExpState<F, A, N>,
        at: usize,
        #[comptime] spec: Spec,
        #[comptime] _math: Math,
    ) -> Vector<A, N> {
        state.sums.total(at) / state.sums.total(comptime!(spec.dim - 1))
    }
}
