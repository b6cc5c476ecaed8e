//! The kernel side of a reduction: what a unit keeps for its rows, and how it takes in values.

use cubecl::prelude::*;

use super::Spec;
use crate::math::{Math, any};

/// What a state is told at compile time: the reduction, and how functions are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    pub spec: Spec,
    pub math: Math,
}

/// Consecutive columns.
#[derive(CubeType)]
pub struct Consecutive<'a> {
    /// The first column.
    pub first: u32,
    /// The buffers of ranges. The second one holds the indices of columns, if these come in another order.
    lists: &'a Sequence<Box<[u32]>>,
}

#[cube]
impl<'a> Consecutive<'a> {
    pub fn new(first: u32, lists: &'a Sequence<Box<[u32]>>) -> Consecutive<'a> {
        Consecutive::<'a> { first, lists }
    }

    /// The index of the `c`-th of these columns.
    pub fn index(&self, c: u32, #[comptime] spec: Spec) -> u32 {
        let column = self.first + c;
        if comptime!(spec.unordered) {
            self.lists.index(1usize)[usize::cast_from(column)]
        } else {
            column
        }
    }

    /// The same for a `c` that is known when the kernel is built.
    pub fn known_index(&self, #[comptime] c: usize, #[comptime] spec: Spec) -> u32 {
        self.index(comptime!(c as u32).runtime(), spec)
    }
}

/// A state machine that takes in the values of pairs. `F` is the floating point type of the values, `A` that of the
/// accumulated results.
#[cube]
pub trait Accumulator<F: Float, A: Float, N: Size>: 'static {
    /// What a unit keeps for its rows.
    type State: CubeType;

    /// Takes in component `index` of as many of the `columns` as there are values. `first` is the lowest index that
    /// this code takes in, which is known when the kernel is built even if the code is a loop over components.
    fn step(
        state: &mut Self::State,
        index: usize,
        columns: &Consecutive<'_>,
        values: &Sequence<Vector<F, N>>,
        #[comptime] first: usize,
        #[comptime] rule: Rule,
    );
}

/// How products of two values are taken in.
#[cube]
pub trait TakesProducts<F: Float, A: Float, N: Size>: Accumulator<F, A, N> {
    /// Whether `step_product` is to be used for products.
    fn fuses() -> comptime_type!(bool);

    /// Takes in the product of `a` and `b`, which is component `index` of a column, without computing the product
    /// first if the reduction can. `first` is as in [`step`](Accumulator::step).
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

/// Implements [`TakesProducts`] for an accumulator that takes in products like other values.
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

/// The weights that components are multiplied by if matrix instructions sum them up.
#[cube]
pub trait GivesWeights<F: Float, A: Float, N: Size>: TakesProducts<F, A, N> {
    /// The weight of the `c`-th of the columns that are evaluated together. `value` is the factor of the weight that
    /// is in the formula.
    fn weight(state: &Self::State, value: Vector<F, N>, #[comptime] c: usize) -> Vector<F, N>;

    /// The maximum to which these weights are relative.
    fn base(state: &Self::State) -> Vector<F, N>;
}

/// Implements [`GivesWeights`] for an accumulator whose weights are only the factors in the formula.
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

/// The indices of columns, or the counts, that a reduction gives.
#[cube]
pub trait GivesIndices<F: Float, A: Float, N: Size>: Accumulator<F, A, N> {
    /// The index or count of entry `at`, which is the same in the partial result and in the result.
    fn index(state: &Self::State, at: usize) -> Vector<u32, N>;

    /// Sets the index or count of entry `at` of the partial result.
    fn load_index(state: &mut Self::State, at: usize, index: Vector<u32, N>);
}

/// Implements [`GivesIndices`] for an accumulator that keeps indices or counts in an array of its state.
macro_rules! indices_are_kept {
    ($name:ident, $($indices:ident).+) => {
        #[cube]
        impl<F: Float, A: Float, N: Size> crate::reduction::GivesIndices<F, A, N> for $name {
            fn index(
                state: &<$name as crate::reduction::Accumulator<F, A, N>>::State,
                at: usize,
            ) -> Vector<u32, N> {
                state.$($indices).+[at]
            }

            fn load_index(
                state: &mut <$name as crate::reduction::Accumulator<F, A, N>>::State,
                at: usize,
                index: Vector<u32, N>,
            ) {
                state.$($indices).+[at] = index;
            }
        }
    };
}
pub(crate) use indices_are_kept;

/// Implements [`GivesIndices`] for an accumulator without indices and counts.
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
    fn end_block(state: &mut Self::State, #[comptime] rule: Rule);

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
    fn value(state: &Self::State, at: usize, #[comptime] rule: Rule) -> Vector<A, N>;
}

/// Implements [`KeepsValues`] for an accumulator that keeps its values in an array of its state. This array is both the
/// partial result and the result.
macro_rules! values_are_kept {
    ($name:ident, $($values:ident).+) => {
        #[cube]
        impl<F: Float, A: Float, N: Size> crate::reduction::KeepsValues<F, A, N> for $name {
            fn end_block(
                _state: &mut <$name as crate::reduction::Accumulator<F, A, N>>::State,
                #[comptime] _rule: Rule,
            ) {
            }

            fn save(
                state: &<$name as crate::reduction::Accumulator<F, A, N>>::State,
                at: usize,
                #[comptime] _plane: usize,
                #[comptime] _spec: Spec,
            ) -> Vector<A, N> {
                Vector::cast_from(state.$($values).+[at])
            }

            fn load(
                state: &mut <$name as crate::reduction::Accumulator<F, A, N>>::State,
                at: usize,
                value: Vector<A, N>,
                #[comptime] _plane: usize,
                #[comptime] _spec: Spec,
            ) {
                state.$($values).+[at] = Vector::cast_from(value);
            }

            fn value(
                state: &<$name as crate::reduction::Accumulator<F, A, N>>::State,
                at: usize,
                #[comptime] _rule: Rule,
            ) -> Vector<A, N> {
                Vector::cast_from(state.$($values).+[at])
            }
        }
    };
}
pub(crate) use values_are_kept;

/// What a state does where consecutive columns begin, and after the last column.
#[cube]
pub trait FollowsColumns<F: Float, A: Float, N: Size>: Accumulator<F, A, N> {
    /// Goes on with the columns from `begin` on, which do not follow the ones before. The block before has ended.
    fn go_on(state: &mut Self::State, begin: u32);

    /// Takes in what the state has put off. Called after the last column, before the state is read or merged.
    fn end_columns(state: &mut Self::State, #[comptime] rule: Rule);
}

/// Implements [`FollowsColumns`] for an accumulator that does not count columns and puts nothing off.
macro_rules! columns_are_not_counted {
    ($name:ident) => {
        #[cube]
        impl<F: Float, A: Float, N: Size> crate::reduction::FollowsColumns<F, A, N> for $name {
            fn go_on(
                _state: &mut <$name as crate::reduction::Accumulator<F, A, N>>::State,
                _begin: u32,
            ) {
            }

            fn end_columns(
                _state: &mut <$name as crate::reduction::Accumulator<F, A, N>>::State,
                #[comptime] _rule: Rule,
            ) {
            }
        }
    };
}
pub(crate) use columns_are_not_counted;

/// The state machine of a reduction.
#[cube]
pub trait Reduction<F: Float, A: Float, N: Size>:
    GivesWeights<F, A, N> + GivesIndices<F, A, N> + KeepsValues<F, A, N> + FollowsColumns<F, A, N>
{
    /// The state before the first column, which is `begin`. Infinity is an argument, as WGSL has no constant for it.
    fn init(begin: u32, infinity: F, #[comptime] rule: Rule) -> Self::State;

    /// Takes in the partial result of later columns.
    fn merge(state: &mut Self::State, later: &Self::State, #[comptime] rule: Rule);
}

/// Whether any of `q` values may be less than `bound` in any lane, or equal to it if columns are unordered. On some
/// devices this is also so for NaN.
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
        // Single comparisons, each of which takes in the result of the one before. From a vector of comparisons,
        // compilers make a number first.
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

/// Whether values are less than `bound`, or equal to it if `equal`.
#[cube]
pub(super) fn below<F: Float, N: Size>(
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
