//! The kernel side of a reduction: what a unit keeps for its rows, and how it takes in values.

use cubecl::prelude::*;

use super::Spec;
use crate::math::{Math, any};

/// How values are taken in: the reduction, and how functions are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    pub spec: Spec,
    pub math: Math,
}

/// Consecutive columns.
#[derive(CubeType)]
pub struct Consecutive<'a> {
    /// The first of them.
    pub first: u32,
    /// The buffers of ranges, of which the second one has the indices of columns that come in another order.
    lists: &'a Sequence<Box<[u32]>>,
}

#[cube]
impl<'a> Consecutive<'a> {
    pub fn new(first: u32, lists: &'a Sequence<Box<[u32]>>) -> Consecutive<'a> {
        Consecutive::<'a> { first, lists }
    }

    /// The index of column `c` of these.
    pub fn index(&self, c: u32, #[comptime] spec: Spec) -> u32 {
        let column = self.first + c;
        if comptime!(spec.unordered) {
            self.lists.index(1usize)[usize::cast_from(column)]
        } else {
            column
        }
    }
}

/// What takes in the values of pairs, in the floating point type `F` of the values and `A` of what is
/// accumulated.
#[cube]
pub trait Accumulator<F: Float, A: Float, N: Size>: 'static {
    /// What is kept for the rows of a unit.
    type State: CubeType;

    /// Takes in component `index` of the first of `columns`, as many as there are values; `first` is the lowest
    /// value that `index` takes.
    fn step(
        state: &mut Self::State,
        index: usize,
        columns: &Consecutive<'_>,
        values: &Sequence<Vector<F, N>>,
        #[comptime] first: usize,
        #[comptime] rule: Rule,
    );
}

/// How products are taken in.
#[cube]
pub trait TakesProducts<F: Float, A: Float, N: Size>: Accumulator<F, A, N> {
    /// Whether `step_product` is to be used for products.
    fn fuses() -> comptime_type!(bool);

    /// Takes in component `index` of a column, a product of two values, fused; `first` as in
    /// [`step`](Accumulator::step).
    fn step_product(
        state: &mut Self::State,
        index: usize,
        column: usize,
        a: Vector<F, N>,
        b: Vector<F, N>,
        #[comptime] first: usize,
        #[comptime] rule: Rule,
    );
}

/// Implements [`TakesProducts`] for what takes in products as other values.
macro_rules! products_are_values {
    ($name:ident) => {
        #[cube]
        impl<F: Float, A: Float, N: Size> crate::reduction::TakesProducts<F, A, N> for $name {
            fn fuses() -> comptime_type!(bool) {
                false
            }

            fn step_product(
                _state: &mut <$name as crate::reduction::Accumulator<F, A, N>>::State,
                _index: usize,
                _column: usize,
                _a: Vector<F, N>,
                _b: Vector<F, N>,
                #[comptime] _first: usize,
                #[comptime] _rule: Rule,
            ) {
            }
        }
    };
}
pub(crate) use products_are_values;

/// What components are multiplied by where matrix instructions sum them up.
#[cube]
pub trait GivesWeights<F: Float, A: Float, N: Size>: TakesProducts<F, A, N> {
    /// The weight of the `c`-th column at hand; `value` is what the formula has of it.
    fn weight(state: &Self::State, value: Vector<F, N>, #[comptime] c: usize) -> Vector<F, N>;

    /// The maximum to which these weights are relative.
    fn base(state: &Self::State) -> Vector<F, N>;
}

/// Implements [`GivesWeights`] for what has no weights but those of the formula.
macro_rules! weights_are_values {
    ($name:ident) => {
        #[cube]
        impl<F: Float, A: Float, N: Size> crate::reduction::GivesWeights<F, A, N> for $name {
            fn weight(
                _state: &<$name as crate::reduction::Accumulator<F, A, N>>::State,
                value: Vector<F, N>,
                #[comptime] _c: usize,
            ) -> Vector<F, N> {
                value
            }

            fn base(
                _state: &<$name as crate::reduction::Accumulator<F, A, N>>::State,
            ) -> Vector<F, N> {
                Vector::new(F::min_value())
            }
        }
    };
}
pub(crate) use weights_are_values;

/// Columns or counts, where a reduction gives them.
#[cube]
pub trait GivesIndices<F: Float, A: Float, N: Size>: Accumulator<F, A, N> {
    /// Column or count `at` of the partial result and of the result.
    fn index(state: &Self::State, at: usize) -> Vector<u32, N>;

    /// Sets column `at` of the partial result.
    fn load_index(state: &mut Self::State, at: usize, index: Vector<u32, N>);
}

/// Implements [`GivesIndices`] for what keeps them in an array of its state.
macro_rules! indices_are_kept {
    ($name:ident, $indices:ident) => {
        #[cube]
        impl<F: Float, A: Float, N: Size> crate::reduction::GivesIndices<F, A, N> for $name {
            fn index(
                state: &<$name as crate::reduction::Accumulator<F, A, N>>::State,
                at: usize,
            ) -> Vector<u32, N> {
                state.$indices[at]
            }

            fn load_index(
                state: &mut <$name as crate::reduction::Accumulator<F, A, N>>::State,
                at: usize,
                index: Vector<u32, N>,
            ) {
                state.$indices[at] = index;
            }
        }
    };
}
pub(crate) use indices_are_kept;

/// Implements [`GivesIndices`] for what has none.
macro_rules! no_indices {
    ($name:ident) => {
        #[cube]
        impl<F: Float, A: Float, N: Size> crate::reduction::GivesIndices<F, A, N> for $name {
            fn index(
                _state: &<$name as crate::reduction::Accumulator<F, A, N>>::State,
                _at: usize,
            ) -> Vector<u32, N> {
                Vector::new(0u32)
            }

            fn load_index(
                _state: &mut <$name as crate::reduction::Accumulator<F, A, N>>::State,
                _at: usize,
                _index: Vector<u32, N>,
            ) {
            }
        }
    };
}
pub(crate) use no_indices;

/// The values of a state: what becomes of them at the end of a block, in a partial result and in the result.
#[cube]
pub trait KeepsValues<F: Float, A: Float, N: Size>: Accumulator<F, A, N> {
    /// Called after each block of columns.
    fn end_block(state: &mut Self::State, #[comptime] spec: Spec, #[comptime] math: Math);

    /// Value `at` of `plane` of the partial result.
    fn save(
        state: &Self::State,
        at: usize,
        #[comptime] plane: usize,
        #[comptime] spec: Spec,
    ) -> Vector<A, N>;

    /// Sets value `at` of `plane` of the partial result.
    fn load(
        state: &mut Self::State,
        at: usize,
        value: Vector<A, N>,
        #[comptime] plane: usize,
        #[comptime] spec: Spec,
    );

    /// Value `at` of the result.
    fn value(
        state: &Self::State,
        at: usize,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) -> Vector<A, N>;
}

/// Implements [`KeepsValues`] for what keeps them in an array of its state, which is the partial result and the result.
macro_rules! values_are_kept {
    ($name:ident, $values:ident) => {
        #[cube]
        impl<F: Float, A: Float, N: Size> crate::reduction::KeepsValues<F, A, N> for $name {
            fn end_block(
                _state: &mut <$name as crate::reduction::Accumulator<F, A, N>>::State,
                #[comptime] _spec: Spec,
                #[comptime] _math: Math,
            ) {
            }

            fn save(
                state: &<$name as crate::reduction::Accumulator<F, A, N>>::State,
                at: usize,
                #[comptime] _plane: usize,
                #[comptime] _spec: Spec,
            ) -> Vector<A, N> {
                Vector::cast_from(state.$values[at])
            }

            fn load(
                state: &mut <$name as crate::reduction::Accumulator<F, A, N>>::State,
                at: usize,
                value: Vector<A, N>,
                #[comptime] _plane: usize,
                #[comptime] _spec: Spec,
            ) {
                state.$values[at] = Vector::cast_from(value);
            }

            fn value(
                state: &<$name as crate::reduction::Accumulator<F, A, N>>::State,
                at: usize,
                #[comptime] _spec: Spec,
                #[comptime] _math: Math,
            ) -> Vector<A, N> {
                Vector::cast_from(state.$values[at])
            }
        }
    };
}
pub(crate) use values_are_kept;

/// Columns that do not follow those before.
#[cube]
pub trait LeavesOut<F: Float, A: Float, N: Size>: Accumulator<F, A, N> {
    /// Goes on with the columns from `begin` on, after the end of a block.
    fn go_on(state: &mut Self::State, begin: u32);
}

/// Implements [`LeavesOut`] for what does not count columns.
macro_rules! columns_are_not_counted {
    ($name:ident) => {
        #[cube]
        impl<F: Float, A: Float, N: Size> crate::reduction::LeavesOut<F, A, N> for $name {
            fn go_on(
                _state: &mut <$name as crate::reduction::Accumulator<F, A, N>>::State,
                _begin: u32,
            ) {
            }
        }
    };
}
pub(crate) use columns_are_not_counted;

/// The state machine of a reduction.
#[cube]
pub trait Reduction<F: Float, A: Float, N: Size>:
    GivesWeights<F, A, N> + GivesIndices<F, A, N> + KeepsValues<F, A, N> + LeavesOut<F, A, N>
{
    /// The state before the first column, `begin`. Infinity is given, as WGSL cannot write it.
    fn init(begin: u32, infinity: F, #[comptime] spec: Spec, #[comptime] math: Math)
    -> Self::State;

    /// Takes in the partial result of later columns.
    fn merge(
        state: &mut Self::State,
        later: &Self::State,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    );
}

/// Whether any of `q` values may be less than `bound` in any lane, or equal to it where that matters; it is so for NaN,
/// too, on some devices.
#[cube]
pub(super) fn any_may_be_less<F: Float, N: Size>(
    values: &Sequence<Vector<F, N>>,
    bound: Vector<F, N>,
    #[comptime] q: usize,
    #[comptime] rule: Rule,
) -> bool {
    let equal = comptime!(rule.spec.unordered);
    if comptime!(rule.math.simd()) {
        let mut found = below::<F, N>(*values.index(0usize), bound, equal);
        #[unroll]
        for c in 1..q {
            found = found.or(below::<F, N>(*values.index(c), bound, equal));
        }
        any::<N>(found)
    } else {
        // One comparison each, as the result goes into the next one. Of a vector of them compilers make
        // a number first.
        let mut none = true.runtime();
        #[unroll]
        for c in 0..q {
            let value = *values.index(c);
            #[unroll]
            for lane in 0..N::value() {
                none = if comptime!(equal) {
                    none && value.extract(lane) > bound.extract(lane)
                } else {
                    none && value.extract(lane) >= bound.extract(lane)
                };
            }
        }
        !none
    }
}

/// Whether values are less than `bound`, or equal to it where that matters.
#[cube]
fn below<F: Float, N: Size>(
    value: Vector<F, N>,
    bound: Vector<F, N>,
    #[comptime] equal: bool,
) -> Vector<bool, N> {
    if comptime!(equal) {
        value.less_equal(&bound)
    } else {
        value.less_than(&bound)
    }
}
