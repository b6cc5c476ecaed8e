use super::{Entry, Family, Forward, Found, Wanted, family::derivative_where_found};
use crate::{
    formula::Cotangent,
    program::{LOADED_COLUMNS, UNROLL, looped, unrolled},
};

/// The `k` smallest values in ascending order and their columns, by insertion into a sorted list.
///
/// Equal values stay in the order of their columns. NaN and positive infinity are never among the
/// smallest: places that no value fills hold infinity and the index -1.
pub struct Smallest {
    /// Number of values for each component.
    pub k: usize,
}

impl Family for Smallest {
    fn name(&self) -> String {
        format!("{} smallest", self.k)
    }

    fn places(&self) -> Option<usize> {
        Some(self.k)
    }

    fn empty(&self) -> f64 {
        f64::INFINITY
    }

    fn keeps_indices(&self, _wanted: Wanted) -> bool {
        true
    }

    fn selects(&self) -> bool {
        true
    }

    fn vectors(&self, dim: usize, _wanted: Wanted) -> usize {
        2 * self.k * dim
    }

    fn inserts(&self) -> bool {
        self.k > 1
    }

    fn is_list(&self) -> bool {
        self.k > SHORT
    }

    fn init_iterations(&self, dim: usize) -> usize {
        unrolled(self.k * dim, 0)
    }

    fn step_iterations(&self, _dim: usize, _first: usize, q: usize, simd: bool) -> usize {
        let insertion = match (self.is_list(), simd) {
            (false, _) => 0,
            (true, true) => looped(self.k - 1, 0),
            (true, false) => looped(self.k, 0),
        };
        match q {
            ..=LOADED_COLUMNS => q * insertion,
            _ => looped(q, insertion),
        }
    }

    fn merge_iterations(&self, dim: usize) -> usize {
        looped(self.k * dim, 0)
    }

    fn value(&self, columns: &[Vec<f64>], entry: Entry) -> Found {
        let values = entry.of(columns).enumerate();
        let mut sorted: Vec<(usize, f64)> =
            values.filter(|(_, value)| *value < f64::INFINITY).collect();
        // The sort is stable, and zeros of both signs are equal.
        sorted.sort_by(|a, b| a.1.partial_cmp(&b.1).expect("NaN is left out"));
        match sorted.get(entry.place) {
            Some((index, value)) => (*value, Some(*index)),
            None => (self.empty(), None),
        }
    }

    fn derivative(&self, forward: &mut dyn Forward) -> Cotangent {
        derivative_where_found(forward, self.k)
    }
}

/// Length of the longest list that is kept in registers.
const SHORT: usize = 2 * UNROLL;

/// The kernel code of this reduction: its state, and how it takes in values.
#[cfg(feature = "cubecl")]
pub(super) mod kernel {
    use cubecl::prelude::*;

    use super::{
        super::{
            NO_INDEX, Spec,
            accumulator::{any_may_be_less, *},
        },
        LOADED_COLUMNS, Smallest, UNROLL,
    };
    use crate::{
        math::{Math, any, constant_vector},
        program::LOOP_COLUMNS,
    };

    /// Sorted lists, one for each component. Place `place` of `component` is entry `place * dim + component`.
    #[derive(CubeType)]
    pub struct SmallestState<F: Float, N: Size> {
        values: Array<Vector<F, N>>,
        indices: Array<Vector<u32, N>>,
    }

    #[cube]
    impl<F: Float, N: Size> SmallestState<F, N> {
        /// Empty lists: all places hold infinity and no index.
        fn new(infinity: F, #[comptime] spec: Spec) -> SmallestState<F, N> {
            let len = comptime!(spec.entries());
            let mut state = SmallestState::<F, N> {
                values: Array::new(len),
                indices: Array::new(len),
            };
            #[unroll(len <= UNROLL)]
            for at in 0..len {
                state.values[at] = Vector::new(infinity);
                state.indices[at] = Vector::new(NO_INDEX);
            }
            state
        }
    }

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

    /// Number of groups for each place of a list. With more groups, the bound is closer, but takes longer to find.
    const GROUPS: usize = 2;

    /// Number of groups that there is room for. Columns that are evaluated together go to different groups, so that
    /// the last of them may go to groups beyond those that are counted.
    fn places(spec: Spec) -> usize {
        GROUPS * spec.depth() + LOOP_COLUMNS
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
        pub fn bound(
            &self,
            infinity: F,
            #[comptime] spec: Spec,
            #[comptime] math: Math,
        ) -> Vector<F, N> {
            let k = comptime!(spec.depth());
            let mut list = SmallestState::<F, N>::new(infinity, spec);
            for group in 0..comptime!(places(spec)) {
                insert_if_less::<F, N>(&mut list, 0usize, self.values[group], NO_INDEX, spec, math);
            }
            // Negative infinity cannot be raised, so the lowest finite number takes its place.
            let (last, lowest) = (list.values[k - 1], Vector::new(F::min_value()));
            let bound = select_many(last.less_than(&lowest), lowest, last);
            let raise = constant_vector::<F, N>(RAISE);
            bound + (bound.abs() * raise + constant_vector::<F, N>(LEAST_RAISE))
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
            let groups = comptime!(GROUPS * spec.depth());
            state.next[0] = select(next + q < groups, next + q, 0usize);
        }
    }

    products_are_values!(LeastOfGroups);

    weights_are_values!(LeastOfGroups);

    /// Whether lists are short enough to be kept in registers.
    fn in_registers(spec: Spec) -> bool {
        !spec.is_list()
    }

    /// Whether a value comes before one that the list holds: if it is less, or if it is equal and its column has a
    /// lower index. If columns come in the order of their indices, all columns in the list have lower indices, so
    /// that only values are compared. A place without a column holds infinity or a bound and no index. An equal value
    /// does not take this place.
    #[cube]
    fn precedes<F: Float, N: Size>(
        value: Vector<F, N>,
        index: Vector<u32, N>,
        held: Vector<F, N>,
        held_index: Vector<u32, N>,
        #[comptime] spec: Spec,
    ) -> Vector<bool, N> {
        let less = value.less_than(&held);
        if comptime!(spec.unordered) {
            let lower = index.less_than(&held_index);
            let lower = lower.vec_and(held_index.not_equal(&Vector::new(NO_INDEX)));
            less.or(value.equal(&held).vec_and(lower))
        } else {
            less
        }
    }

    /// Inserts a value into the list of `component`, after the values that it equals. If columns are unordered, equal
    /// values are sorted by their indices.
    #[cube]
    fn insert<F: Float, N: Size>(
        state: &mut SmallestState<F, N>,
        component: usize,
        value: Vector<F, N>,
        index: Vector<u32, N>,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) {
        if comptime!(math.simd() && !in_registers(spec)) {
            insert_from_end::<F, N>(state, component, value, index, spec);
        } else {
            insert_anywhere::<F, N>(state, component, value, index, spec);
        }
    }

    /// The same by visiting all places. Compilers for GPUs need fewer registers for this.
    #[cube]
    fn insert_anywhere<F: Float, N: Size>(
        state: &mut SmallestState<F, N>,
        component: usize,
        value: Vector<F, N>,
        index: Vector<u32, N>,
        #[comptime] spec: Spec,
    ) {
        let dim = comptime!(spec.dim);
        let k = comptime!(spec.depth());
        let mut carried = value;
        let mut carried_index = index;
        #[unroll(in_registers(spec))]
        for place in 0..k {
            let at = place * dim + component;
            let (held, held_index) = (state.values[at], state.indices[at]);
            // The new value is compared, not the carried one, so that equal values move together.
            let moves = precedes::<F, N>(value, index, held, held_index, spec);
            state.values[at] = select_many(moves, carried, held);
            state.indices[at] = select_many(moves, carried_index, held_index);
            carried = select_many(moves, held, carried);
            carried_index = select_many(moves, held_index, carried_index);
        }
    }

    /// The same by visiting places from the last one to the first, as long as values move.
    #[cube]
    fn insert_from_end<F: Float, N: Size>(
        state: &mut SmallestState<F, N>,
        component: usize,
        value: Vector<F, N>,
        index: Vector<u32, N>,
        #[comptime] spec: Spec,
    ) {
        let dim = comptime!(spec.dim);
        let mut at = comptime!((spec.depth() - 1) * spec.dim) + component;
        let (mut held, mut held_index) = (state.values[at], state.indices[at]);
        let mut moves = precedes::<F, N>(value, index, held, held_index, spec);
        while at >= dim && any::<N>(moves) {
            let (before, before_index) = (state.values[at - dim], state.indices[at - dim]);
            let shifts = precedes::<F, N>(value, index, before, before_index, spec);
            let own = select_many(moves, value, held);
            let own_index = select_many(moves, index, held_index);
            state.values[at] = select_many(shifts, before, own);
            state.indices[at] = select_many(shifts, before_index, own_index);
            held = before;
            held_index = before_index;
            moves = shifts;
            at -= dim;
        }
        state.values[at] = select_many(moves, value, held);
        state.indices[at] = select_many(moves, index, held_index);
    }

    /// Inserts the value of a column if it is among the smallest values in any lane.
    #[cube]
    fn insert_if_less<F: Float, N: Size>(
        state: &mut SmallestState<F, N>,
        component: usize,
        value: Vector<F, N>,
        column: u32,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) {
        let last = comptime!((spec.depth() - 1) * spec.dim) + component;
        if comptime!(spec.unordered) {
            let index = Vector::new(column);
            let (held, held_index) = (state.values[last], state.indices[last]);
            if any::<N>(precedes::<F, N>(value, index, held, held_index, spec)) {
                insert::<F, N>(state, component, value, index, spec, math);
            }
        } else if any::<N>(value.less_than(&state.values[last])) {
            insert::<F, N>(state, component, value, Vector::new(column), spec, math);
        }
    }

    #[cube]
    impl<F: Float, A: Float, N: Size> Accumulator<F, A, N> for Smallest {
        type State = SmallestState<F, N>;

        fn step(
            state: &mut SmallestState<F, N>,
            index: usize,
            columns: &Consecutive<'_>,
            values: &Sequence<Vector<F, N>>,
            #[comptime] _first: usize,
            #[comptime] rule: Rule,
        ) {
            let spec = comptime!(rule.spec);
            let math = comptime!(rule.math);
            let q = values.len();
            // Few values are small enough in any lane, so all columns are tested at once.
            let last = comptime!((spec.depth() - 1) * spec.dim) + index;
            if any_may_be_less::<F, N>(values, state.values[last], q, rule) {
                if comptime!(q > LOADED_COLUMNS) {
                    // A loop, as unrolled insertions for so many columns would take long to compile.
                    let mut together = Array::<Vector<F, N>>::new(q);
                    #[unroll]
                    for c in 0..q {
                        together[c] = *values.index(c);
                    }
                    for c in 0..q {
                        insert_if_less::<F, N>(
                            state,
                            index,
                            together[c],
                            columns.index(c as u32, spec),
                            spec,
                            math,
                        );
                    }
                } else {
                    #[unroll]
                    for c in 0..q {
                        let column = columns.index(comptime!(c as u32).runtime(), spec);
                        insert_if_less::<F, N>(state, index, *values.index(c), column, spec, math);
                    }
                }
            }
        }
    }

    products_are_values!(Smallest);

    weights_are_values!(Smallest);

    indices_are_kept!(Smallest, indices);

    values_are_kept!(Smallest, values);

    columns_are_not_counted!(Smallest);

    #[cube]
    impl<F: Float, A: Float, N: Size> Reduction<F, A, N> for Smallest {
        fn init(
            _begin: u32,
            infinity: F,
            #[comptime] spec: Spec,
            #[comptime] _math: Math,
        ) -> SmallestState<F, N> {
            SmallestState::<F, N>::new(infinity, spec)
        }

        fn merge(
            state: &mut SmallestState<F, N>,
            later: &SmallestState<F, N>,
            #[comptime] spec: Spec,
            #[comptime] math: Math,
        ) {
            for at in 0..spec.entries() {
                insert::<F, N>(
                    state,
                    at % spec.dim,
                    later.values[at],
                    later.indices[at],
                    spec,
                    math,
                );
            }
        }
    }
}
