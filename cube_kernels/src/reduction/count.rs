use cubecl::prelude::*;

use super::{Accumulator, Reduction, Rule, Spec};
use crate::{
    kernel::math::{Math, constant_vector},
    program::UNROLL,
};

/// The number of values that are not 0; NaN is not. Counted in integers, so exact in any type of the values.
pub struct Count;

/// The counts so far.
#[derive(CubeType)]
pub struct CountState<N: Size> {
    counts: Array<Vector<u32, N>>,
}

#[cube]
impl<F: Float, A: Float, N: Size> Accumulator<F, A, N> for Count {
    type State = CountState<N>;

    fn step(
        state: &mut CountState<N>,
        index: usize,
        _column: u32,
        values: &Sequence<Vector<F, N>>,
        #[comptime] _first: usize,
        #[comptime] _rule: Rule,
    ) {
        let q = values.len();
        let zero = constant_vector::<F, N>(0.0);
        #[unroll]
        for c in 0..q {
            let is_zero = (*values.index(c)).equal(&zero);
            state.counts[index] += select_many(is_zero, Vector::new(0u32), Vector::new(1u32));
        }
    }

    fn fuses() -> comptime_type!(bool) {
        false
    }

    fn step_product(
        _state: &mut CountState<N>,
        _index: usize,
        _column: usize,
        _a: Vector<F, N>,
        _b: Vector<F, N>,
        #[comptime] _first: usize,
        #[comptime] _rule: Rule,
    ) {
    }

    fn weight(_state: &CountState<N>, value: Vector<F, N>, #[comptime] _c: usize) -> Vector<F, N> {
        value
    }

    fn base(_state: &CountState<N>) -> Vector<F, N> {
        Vector::new(F::min_value())
    }
}

#[cube]
impl<F: Float, A: Float, N: Size> Reduction<F, A, N> for Count {
    fn init(
        _begin: u32,
        _infinity: F,
        #[comptime] spec: Spec,
        #[comptime] _math: Math,
    ) -> CountState<N> {
        let dim = comptime!(spec.dim);
        let mut state = CountState::<N> {
            counts: Array::new(dim),
        };
        #[unroll(dim <= UNROLL)]
        for k in 0..dim {
            state.counts[k] = Vector::new(0u32);
        }
        state
    }

    fn end_block(_state: &mut CountState<N>, #[comptime] _spec: Spec, #[comptime] _math: Math) {}

    fn save(
        _state: &CountState<N>,
        _at: usize,
        #[comptime] _plane: usize,
        #[comptime] _spec: Spec,
    ) -> Vector<A, N> {
        constant_vector::<A, N>(0.0)
    }

    fn load(
        _state: &mut CountState<N>,
        _at: usize,
        _value: Vector<A, N>,
        #[comptime] _plane: usize,
        #[comptime] _spec: Spec,
    ) {
    }

    fn index(state: &CountState<N>, at: usize) -> Vector<u32, N> {
        state.counts[at]
    }

    fn load_index(state: &mut CountState<N>, at: usize, index: Vector<u32, N>) {
        state.counts[at] = index;
    }

    fn merge(
        state: &mut CountState<N>,
        later: &CountState<N>,
        #[comptime] spec: Spec,
        #[comptime] _math: Math,
    ) {
        for k in 0..spec.dim {
            state.counts[k] += later.counts[k];
        }
    }

    fn value(
        state: &CountState<N>,
        at: usize,
        #[comptime] _spec: Spec,
        #[comptime] _math: Math,
    ) -> Vector<A, N> {
        Vector::cast_from(state.counts[at])
    }
}
