use cubecl::prelude::*;

use super::{Accumulator, Reduction, Rule, Spec};
use crate::{
    kernel::math::{Math, constant_vector},
    program::UNROLL,
};

/// The product.
pub struct Product;

/// The running products.
#[derive(CubeType)]
pub struct ProductState<A: Float, N: Size> {
    product: Array<Vector<A, N>>,
}

#[cube]
impl<F: Float, A: Float, N: Size> Accumulator<F, A, N> for Product {
    type State = ProductState<A, N>;

    fn step(
        state: &mut ProductState<A, N>,
        index: usize,
        _column: u32,
        values: &Sequence<Vector<F, N>>,
        #[comptime] _first: usize,
        #[comptime] _rule: Rule,
    ) {
        let q = values.len();
        #[unroll]
        for c in 0..q {
            state.product[index] *= Vector::<A, N>::cast_from(*values.index(c));
        }
    }

    fn fuses() -> comptime_type!(bool) {
        false
    }

    fn step_product(
        _state: &mut ProductState<A, N>,
        _index: usize,
        _column: usize,
        _a: Vector<F, N>,
        _b: Vector<F, N>,
        #[comptime] _first: usize,
        #[comptime] _rule: Rule,
    ) {
    }

    fn weight(
        _state: &ProductState<A, N>,
        value: Vector<F, N>,
        #[comptime] _c: usize,
    ) -> Vector<F, N> {
        value
    }

    fn base(_state: &ProductState<A, N>) -> Vector<F, N> {
        Vector::new(F::min_value())
    }
}

#[cube]
impl<F: Float, A: Float, N: Size> Reduction<F, A, N> for Product {
    fn init(
        _begin: u32,
        _infinity: F,
        #[comptime] spec: Spec,
        #[comptime] _math: Math,
    ) -> ProductState<A, N> {
        let dim = comptime!(spec.dim);
        let mut state = ProductState::<A, N> {
            product: Array::new(dim),
        };
        #[unroll(dim <= UNROLL)]
        for k in 0..dim {
            state.product[k] = constant_vector::<A, N>(1.0);
        }
        state
    }

    fn end_block(
        _state: &mut ProductState<A, N>,
        #[comptime] _spec: Spec,
        #[comptime] _math: Math,
    ) {
    }

    fn save(
        state: &ProductState<A, N>,
        at: usize,
        #[comptime] _plane: usize,
        #[comptime] _spec: Spec,
    ) -> Vector<A, N> {
        state.product[at]
    }

    fn load(
        state: &mut ProductState<A, N>,
        at: usize,
        value: Vector<A, N>,
        #[comptime] _plane: usize,
        #[comptime] _spec: Spec,
    ) {
        state.product[at] = value;
    }

    fn index(_state: &ProductState<A, N>, _at: usize) -> Vector<u32, N> {
        Vector::new(0u32)
    }

    fn load_index(_state: &mut ProductState<A, N>, _at: usize, _index: Vector<u32, N>) {}

    fn merge(
        state: &mut ProductState<A, N>,
        later: &ProductState<A, N>,
        #[comptime] spec: Spec,
        #[comptime] _math: Math,
    ) {
        for k in 0..spec.dim {
            state.product[k] *= later.product[k];
        }
    }

    fn value(
        state: &ProductState<A, N>,
        at: usize,
        #[comptime] _spec: Spec,
        #[comptime] _math: Math,
    ) -> Vector<A, N> {
        state.product[at]
    }
}
