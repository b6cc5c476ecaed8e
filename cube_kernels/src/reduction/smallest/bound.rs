//! A bound of the smallest values, found from the least values of groups of columns.

use cubecl::prelude::*;

use crate::{
    math::constant_vector,
    program::LOOP_COLUMNS,
    reduction::{
        Spec,
        accumulator::{Accumulator, Consecutive, Rule, products_are_values, weights_are_values},
    },
};

/// Takes in the least value of each group of columns. The `k`-th smallest of these least values is a bound: it is
/// not less than the `k`-th smallest of all values.
pub struct LeastOfGroups;

/// The least value of each group.
#[derive(CubeType)]
pub struct LeastState<F: Float, N: Size> {
    values: Array<Vector<F, N>>,
    /// The group of the next column.
    next: Array<usize>,
}

/// The number of groups: a power of 2, which the sort in [`LeastState::bound`] needs. With more groups, the bound is
/// closer, but takes longer to find.
fn groups(spec: Spec) -> usize {
    (2 * spec.depth()).next_power_of_two()
}

/// Number of groups that there is room for. Columns that are evaluated together go to different groups, so that
/// the last of them may go beyond the groups that are sorted.
fn places(spec: Spec) -> usize {
    groups(spec) + LOOP_COLUMNS
}

/// The part of its size by which a bound is raised. Only values below the bound are inserted, so that the `k`
/// smallest values must be below it.
const RAISE: f64 = 1e-6;

/// What a bound is raised by in addition, for bounds near 0.
const LEAST_RAISE: f64 = 1e-37;

#[cube]
impl<F: Float, N: Size> LeastState<F, N> {
    /// The state before any column: all least values are infinite.
    pub fn new(infinity: F, #[comptime] spec: Spec) -> LeastState<F, N> {
        let len = comptime!(places(spec));
        let mut state = LeastState::<F, N> {
            values: Array::new(len),
            next: Array::new(1usize),
        };
        for group in 0..len {
            state.values[group] = Vector::new(infinity);
        }
        state.next[0] = 0usize;
        state
    }

    /// A bound that is greater than the `k` smallest values of each lane, or infinity.
    pub fn bound(&mut self, #[comptime] spec: Spec) -> Vector<F, N> {
        self.sort(spec);
        // Negative infinity cannot be raised, so the lowest finite number takes its place.
        let last = self.values[comptime!(spec.depth() - 1)];
        let lowest = Vector::new(F::min_value());
        let bound = select_many(last.less_than(&lowest), lowest, last);
        let raise = constant_vector::<F, N>(RAISE);
        bound + (bound.abs() * raise + constant_vector::<F, N>(LEAST_RAISE))
    }

    /// Sorts the least values of each lane by Batcher's bitonic network, in the form in which all runs rise.
    fn sort(&mut self, #[comptime] spec: Spec) {
        let len = comptime!(groups(spec));
        let mut run = 2usize.runtime();
        while run <= len {
            for start in range_stepped(0usize, len, run) {
                for offset in 0..run / 2 {
                    self.exchange(start + offset, start + run - 1 - offset);
                }
            }
            let mut distance = run / 4;
            while distance > 0 {
                for start in range_stepped(0usize, len, 2 * distance) {
                    for first in start..start + distance {
                        self.exchange(first, first + distance);
                    }
                }
                distance /= 2;
            }
            run *= 2;
        }
    }

    /// Puts the lesser value first.
    fn exchange(&mut self, first: usize, second: usize) {
        let (a, b) = (self.values[first], self.values[second]);
        self.values[first] = min(a, b);
        self.values[second] = max(a, b);
    }
}

#[cube]
impl<F: Float, A: Float, N: Size> Accumulator<F, A, N> for LeastOfGroups {
    type State = LeastState<F, N>;

    fn step(
        state: &mut LeastState<F, N>,
        _index: usize,
        _columns: &Consecutive<'_>,
        values: &Sequence<Vector<F, N>>,
        #[comptime] _first: usize,
        #[comptime] rule: Rule,
    ) {
        let spec = comptime!(rule.spec);
        let q = values.len();
        let next = state.next[0];
        #[unroll]
        for c in 0..q {
            let (value, least) = (*values.index(c), state.values[next + c]);
            state.values[next + c] = select_many(value.less_than(&least), value, least);
        }
        let groups = comptime!(groups(spec));
        state.next[0] = select(next + q < groups, next + q, 0usize);
    }
}

products_are_values!(LeastOfGroups);

weights_are_values!(LeastOfGroups);
