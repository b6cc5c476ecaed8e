use super::{Entry, Family, Forward, Found, Plane, Wanted};
use crate::formula::Cotangent;

/// The number of values that are not 0. NaN is counted. The count is an integer, so that it is exact whatever the
/// type of the values.
pub struct Count;

impl Family for Count {
    fn name(&self) -> String {
        "count".into()
    }

    fn empty(&self) -> f64 {
        0.0
    }

    fn empty_index(&self) -> i64 {
        0
    }

    fn planes(&self, _dim: usize) -> Vec<Plane> {
        vec![]
    }

    fn keeps_indices(&self, _wanted: Wanted) -> bool {
        true
    }

    fn vectors(&self, dim: usize, _wanted: Wanted) -> usize {
        dim
    }

    fn value(&self, columns: &[Vec<f64>], entry: Entry) -> Found {
        let count = entry.of(columns).filter(|value| *value != 0.0).count();
        (count as f64, Some(count))
    }

    fn value_of_equal(&self, column: &[f64], count: usize, entry: Entry) -> Found {
        let count = if column[entry.component] == 0.0 {
            0
        } else {
            count
        };
        (count as f64, Some(count))
    }

    fn derivative(&self, _forward: &mut dyn Forward) -> Cotangent {
        unreachable!("counts are integers")
    }
}

/// The kernel code of this reduction: its state, and how it takes in values.
#[cfg(feature = "cubecl")]
pub(super) mod kernel {
    use cubecl::prelude::*;

    use super::{
        super::{Spec, accumulator::*},
        Count,
    };
    use crate::{math::constant_vector, program::UNROLL};

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
            _columns: &Consecutive<'_>,
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
    }

    products_are_values!(Count);

    weights_are_values!(Count);

    indices_are_kept!(Count, counts);

    #[cube]
    impl<F: Float, A: Float, N: Size> KeepsValues<F, A, N> for Count {
        fn end_block(_state: &mut CountState<N>, #[comptime] _rule: Rule) {}

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

        fn value(state: &CountState<N>, at: usize, #[comptime] _rule: Rule) -> Vector<A, N> {
            Vector::cast_from(state.counts[at])
        }
    }

    columns_are_not_counted!(Count);

    #[cube]
    impl<F: Float, A: Float, N: Size> Reduction<F, A, N> for Count {
        fn init(_begin: u32, _infinity: F, #[comptime] rule: Rule) -> CountState<N> {
            let dim = comptime!(rule.spec.dim);
            let mut state = CountState::<N> {
                counts: Array::new(dim),
            };
            #[unroll(dim <= UNROLL)]
            for k in 0..dim {
                state.counts[k] = Vector::new(0u32);
            }
            state
        }

        fn merge(state: &mut CountState<N>, later: &CountState<N>, #[comptime] rule: Rule) {
            for k in 0..rule.spec.dim {
                state.counts[k] += later.counts[k];
            }
        }
    }
}
