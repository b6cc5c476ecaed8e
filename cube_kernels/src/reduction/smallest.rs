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
            accumulator::{any_may_be_less, below, *},
        },
        LOADED_COLUMNS, Smallest, UNROLL,
    };
    use crate::{
        math::{Math, any, constant_vector},
        program::LOOP_COLUMNS,
    };

    /// What a unit keeps for its rows.
    #[derive(CubeType)]
    pub struct SmallestState<F: Float, N: Size> {
        lists: Lists<F, N>,
        waiting: ComptimeOption<Waiting<F, N>>,
    }

    #[cube]
    impl<F: Float, N: Size> SmallestState<F, N> {
        /// The state before any column.
        fn new(infinity: F, #[comptime] spec: Spec, #[comptime] math: Math) -> SmallestState<F, N> {
            let waiting = if comptime!(waits(spec, math)) {
                ComptimeOption::new_Some(Waiting::<F, N>::new(infinity, spec))
            } else {
                ComptimeOption::new_None()
            };
            SmallestState::<F, N> {
                lists: Lists::<F, N>::new(infinity, spec),
                waiting,
            }
        }
    }

    /// Sorted lists, one for each component. Place `place` of `component` is entry `place * dim + component`.
    #[derive(CubeType)]
    struct Lists<F: Float, N: Size> {
        values: Array<Vector<F, N>>,
        indices: Array<Vector<u32, N>>,
    }

    #[cube]
    impl<F: Float, N: Size> Lists<F, N> {
        /// Empty lists: all places hold infinity and no index.
        fn new(infinity: F, #[comptime] spec: Spec) -> Lists<F, N> {
            let len = comptime!(spec.entries());
            let mut lists = Lists::<F, N> {
                values: Array::new(len),
                indices: Array::new(len),
            };
            #[unroll(len <= UNROLL)]
            for at in 0..len {
                lists.values[at] = Vector::new(infinity);
                lists.indices[at] = Vector::new(NO_INDEX);
            }
            lists
        }
    }

    /// Columns with values that are small enough for a list in some lane, and have not been inserted yet.
    ///
    /// An insertion takes as long for one lane as for all lanes, and a value is seldom small enough in more than one
    /// lane. So each lane first collects its values. When a lane has no room left, the values of all lanes are
    /// inserted, one of each lane at a time. No step of this depends on a comparison that a processor would have to
    /// guess.
    #[derive(CubeType)]
    struct Waiting<F: Float, N: Size> {
        /// The values of columns that the lanes have not looked at yet. Value `k` of `component` is entry
        /// `component * COLUMNS_ROOM + k`.
        columns: Array<Vector<F, N>>,
        /// The indices of these columns.
        column_indices: Array<u32>,
        /// How many columns of each component there are.
        column_counts: Array<usize>,
        /// What the lanes have collected. Value `place` of `component` is entry `component * ROOM + place`. Other
        /// places hold infinity, or a value that is too large.
        values: Array<Vector<F, N>>,
        indices: Array<Vector<u32, N>>,
        /// How many values of each component each lane has collected.
        counts: Array<Vector<u32, N>>,
        infinity: F,
    }

    /// Number of columns that wait before the lanes look at them.
    const COLUMNS: usize = 56;

    /// Number of columns that there is room for.
    const COLUMNS_ROOM: usize = COLUMNS + LOOP_COLUMNS;

    /// Number of values that a lane collects.
    const ROOM: usize = 32;

    /// Whether values wait before they are inserted.
    fn waits(spec: Spec, math: Math) -> bool {
        math.simd() && !in_registers(spec)
    }

    #[cube]
    impl<F: Float, N: Size> Waiting<F, N> {
        fn new(infinity: F, #[comptime] spec: Spec) -> Waiting<F, N> {
            let dim = comptime!(spec.dim);
            let mut waiting = Waiting::<F, N> {
                columns: Array::new(comptime!(COLUMNS_ROOM * dim)),
                column_indices: Array::new(comptime!(COLUMNS_ROOM * dim)),
                column_counts: Array::new(dim),
                values: Array::new(comptime!(ROOM * dim)),
                indices: Array::new(comptime!(ROOM * dim)),
                counts: Array::new(dim),
                infinity,
            };
            for at in 0..comptime!(ROOM * dim) {
                waiting.values[at] = Vector::new(infinity);
                waiting.indices[at] = Vector::new(NO_INDEX);
            }
            for component in 0..dim {
                waiting.column_counts[component] = 0usize;
                waiting.counts[component] = Vector::new(0u32);
            }
            waiting
        }

        /// Adds a column if its value may belong in the list of any lane, whose last value is `last`.
        fn add(
            &mut self,
            component: usize,
            value: Vector<F, N>,
            column: u32,
            last: Vector<F, N>,
            #[comptime] spec: Spec,
        ) {
            let count = self.column_counts[component];
            let at = component * COLUMNS_ROOM + count;
            self.columns[at] = value;
            self.column_indices[at] = column;
            let small = any::<N>(below::<F, N>(value, last, comptime!(spec.unordered)));
            self.column_counts[component] = select(small, count + 1, count);
        }

        /// Lets the lanes look at the columns if no more of them may wait.
        fn make_room(
            &mut self,
            lists: &mut Lists<F, N>,
            component: usize,
            #[comptime] spec: Spec,
            #[comptime] math: Math,
        ) {
            if self.column_counts[component] > COLUMNS {
                self.collect(lists, component, spec, math);
            }
        }

        /// Adds the values of the columns to those of the lanes.
        fn collect(
            &mut self,
            lists: &mut Lists<F, N>,
            component: usize,
            #[comptime] spec: Spec,
            #[comptime] math: Math,
        ) {
            let last = comptime!((spec.depth() - 1) * spec.dim) + component;
            for column in 0..self.column_counts[component] {
                let at = component * COLUMNS_ROOM + column;
                let (value, index) = (self.columns[at], self.column_indices[at]);
                let small = below::<F, N>(value, lists.values[last], comptime!(spec.unordered));
                let counts = self.counts[component];
                // A value that is too large goes to the place of the next one. If it stays there, the insertion
                // leaves it out.
                #[unroll]
                for lane in 0..N::value() {
                    let place = component * ROOM + usize::cast_from(counts.extract(lane));
                    let mut values = self.values[place];
                    values.insert(lane, value.extract(lane));
                    self.values[place] = values;
                    let mut indices = self.indices[place];
                    indices.insert(lane, index);
                    self.indices[place] = indices;
                }
                let counts = counts + Vector::cast_from(small);
                self.counts[component] = counts;
                if any::<N>(counts.equal(&Vector::new(comptime!(ROOM as u32)))) {
                    self.insert_all(lists, component, spec, math);
                }
            }
            self.column_counts[component] = 0usize;
        }

        /// Inserts the values of the lanes into the list of `component`.
        fn insert_all(
            &mut self,
            lists: &mut Lists<F, N>,
            component: usize,
            #[comptime] spec: Spec,
            #[comptime] math: Math,
        ) {
            let counts = self.counts[component];
            self.counts[component] = Vector::new(0u32);
            let mut most = 0u32.runtime();
            #[unroll]
            for lane in 0..N::value() {
                most = max(most, counts.extract(lane));
            }
            for place in 0..usize::cast_from(most) {
                let at = component * ROOM + place;
                insert::<F, N>(
                    lists,
                    component,
                    self.values[at],
                    self.indices[at],
                    spec,
                    math,
                );
                self.values[at] = Vector::new(self.infinity);
                self.indices[at] = Vector::new(NO_INDEX);
            }
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
        lists: &mut Lists<F, N>,
        component: usize,
        value: Vector<F, N>,
        index: Vector<u32, N>,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) {
        if comptime!(math.simd() && !in_registers(spec)) {
            insert_from_end::<F, N>(lists, component, value, index, spec);
        } else {
            insert_anywhere::<F, N>(lists, component, value, index, spec);
        }
    }

    /// The same by visiting all places. Compilers for GPUs need fewer registers for this.
    #[cube]
    fn insert_anywhere<F: Float, N: Size>(
        lists: &mut Lists<F, N>,
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
            let (held, held_index) = (lists.values[at], lists.indices[at]);
            // The new value is compared, not the carried one, so that equal values move together.
            let moves = precedes::<F, N>(value, index, held, held_index, spec);
            lists.values[at] = select_many(moves, carried, held);
            lists.indices[at] = select_many(moves, carried_index, held_index);
            carried = select_many(moves, held, carried);
            carried_index = select_many(moves, held_index, carried_index);
        }
    }

    /// The same by visiting places from the last one to the first, as long as values move.
    #[cube]
    fn insert_from_end<F: Float, N: Size>(
        lists: &mut Lists<F, N>,
        component: usize,
        value: Vector<F, N>,
        index: Vector<u32, N>,
        #[comptime] spec: Spec,
    ) {
        let dim = comptime!(spec.dim);
        let mut at = comptime!((spec.depth() - 1) * spec.dim) + component;
        let (mut held, mut held_index) = (lists.values[at], lists.indices[at]);
        let mut moves = precedes::<F, N>(value, index, held, held_index, spec);
        while at >= dim && any::<N>(moves) {
            let (before, before_index) = (lists.values[at - dim], lists.indices[at - dim]);
            let shifts = precedes::<F, N>(value, index, before, before_index, spec);
            let own = select_many(moves, value, held);
            let own_index = select_many(moves, index, held_index);
            lists.values[at] = select_many(shifts, before, own);
            lists.indices[at] = select_many(shifts, before_index, own_index);
            held = before;
            held_index = before_index;
            moves = shifts;
            at -= dim;
        }
        lists.values[at] = select_many(moves, value, held);
        lists.indices[at] = select_many(moves, index, held_index);
    }

    /// Inserts the value of a column if it is among the smallest values in any lane.
    #[cube]
    fn insert_if_less<F: Float, N: Size>(
        lists: &mut Lists<F, N>,
        component: usize,
        value: Vector<F, N>,
        column: u32,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) {
        let last = comptime!((spec.depth() - 1) * spec.dim) + component;
        if comptime!(spec.unordered) {
            let index = Vector::new(column);
            let (held, held_index) = (lists.values[last], lists.indices[last]);
            if any::<N>(precedes::<F, N>(value, index, held, held_index, spec)) {
                insert::<F, N>(lists, component, value, index, spec, math);
            }
        } else if any::<N>(value.less_than(&lists.values[last])) {
            insert::<F, N>(lists, component, value, Vector::new(column), spec, math);
        }
    }

    /// Inserts those of several columns that are among the smallest values in any lane.
    #[cube]
    fn insert_columns<F: Float, N: Size>(
        lists: &mut Lists<F, N>,
        component: usize,
        columns: &Consecutive<'_>,
        values: &Sequence<Vector<F, N>>,
        #[comptime] rule: Rule,
    ) {
        let spec = comptime!(rule.spec);
        let math = comptime!(rule.math);
        let q = values.len();
        if comptime!(q > LOADED_COLUMNS) {
            // A loop, as unrolled insertions for so many columns would take long to compile.
            let mut together = Array::<Vector<F, N>>::new(q);
            #[unroll]
            for c in 0..q {
                together[c] = *values.index(c);
            }
            for c in 0..q {
                let column = columns.index(c as u32, spec);
                insert_if_less::<F, N>(lists, component, together[c], column, spec, math);
            }
        } else {
            #[unroll]
            for c in 0..q {
                let column = columns.index(comptime!(c as u32).runtime(), spec);
                insert_if_less::<F, N>(lists, component, *values.index(c), column, spec, math);
            }
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
            let q = values.len();
            // Few values are small enough in any lane, so all columns are tested at once.
            let last = state.lists.values[comptime!((spec.depth() - 1) * spec.dim) + index];
            if any_may_be_less::<F, N>(values, last, q, rule) {
                #[comptime]
                match &mut state.waiting {
                    ComptimeOption::None => {
                        insert_columns::<F, N>(&mut state.lists, index, columns, values, rule)
                    }
                    ComptimeOption::Some(waiting) => {
                        #[unroll]
                        for c in 0..q {
                            let column = columns.index(comptime!(c as u32).runtime(), spec);
                            waiting.add(index, *values.index(c), column, last, spec);
                        }
                        waiting.make_room(&mut state.lists, index, spec, comptime!(rule.math));
                    }
                }
            }
        }
    }

    products_are_values!(Smallest);

    weights_are_values!(Smallest);

    indices_are_kept!(Smallest, lists.indices);

    values_are_kept!(Smallest, lists.values);

    #[cube]
    impl<F: Float, A: Float, N: Size> FollowsColumns<F, A, N> for Smallest {
        fn go_on(_state: &mut SmallestState<F, N>, _begin: u32) {}

        fn end_columns(
            state: &mut SmallestState<F, N>,
            #[comptime] spec: Spec,
            #[comptime] math: Math,
        ) {
            #[comptime]
            match &mut state.waiting {
                ComptimeOption::None => {}
                ComptimeOption::Some(waiting) => {
                    for component in 0..spec.dim {
                        waiting.collect(&mut state.lists, component, spec, math);
                        waiting.insert_all(&mut state.lists, component, spec, math);
                    }
                }
            }
        }
    }

    #[cube]
    impl<F: Float, A: Float, N: Size> Reduction<F, A, N> for Smallest {
        fn init(
            _begin: u32,
            infinity: F,
            #[comptime] spec: Spec,
            #[comptime] math: Math,
        ) -> SmallestState<F, N> {
            SmallestState::<F, N>::new(infinity, spec, math)
        }

        fn merge(
            state: &mut SmallestState<F, N>,
            later: &SmallestState<F, N>,
            #[comptime] spec: Spec,
            #[comptime] math: Math,
        ) {
            for at in 0..spec.entries() {
                insert::<F, N>(
                    &mut state.lists,
                    at % spec.dim,
                    later.lists.values[at],
                    later.lists.indices[at],
                    spec,
                    math,
                );
            }
        }
    }
}
