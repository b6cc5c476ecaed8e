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

#[cfg(feature = "cubecl")]
mod bound;
#[cfg(feature = "cubecl")]
mod lists;
#[cfg(feature = "cubecl")]
mod waiting;

/// The kernel code of this reduction: its state, and how it takes in values.
#[cfg(feature = "cubecl")]
pub(super) mod kernel {
    use cubecl::prelude::*;

    pub use super::bound::{LeastOfGroups, LeastState};
    use super::{
        super::{
            Spec,
            accumulator::{any_may_be_less, *},
        },
        Smallest,
        lists::Lists,
        waiting::{Waiting, waits},
    };
    use crate::math::Math;

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
                        state.lists.insert_columns(index, columns, values, rule)
                    }
                    ComptimeOption::Some(waiting) => {
                        #[unroll]
                        for c in 0..q {
                            let column = columns.known_index(c, spec);
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

        fn end_columns(state: &mut SmallestState<F, N>, #[comptime] rule: Rule) {
            let spec = comptime!(rule.spec);
            let math = comptime!(rule.math);
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
        fn init(_begin: u32, infinity: F, #[comptime] rule: Rule) -> SmallestState<F, N> {
            SmallestState::<F, N>::new(infinity, comptime!(rule.spec), comptime!(rule.math))
        }

        fn merge(
            state: &mut SmallestState<F, N>,
            later: &SmallestState<F, N>,
            #[comptime] rule: Rule,
        ) {
            let spec = comptime!(rule.spec);
            for at in 0..spec.entries() {
                state.lists.insert(
                    at % spec.dim,
                    later.lists.values[at],
                    later.lists.indices[at],
                    spec,
                    comptime!(rule.math),
                );
            }
        }
    }
}
