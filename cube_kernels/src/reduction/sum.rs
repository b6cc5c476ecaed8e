use super::{Accumulation, Entry, Family, Forward, Found, Wanted};
use crate::{
    formula::Cotangent,
    math::Precision,
    program::{Weights, sums},
};

/// The sum.
pub struct Sum {
    pub accumulation: Accumulation,
}

impl Family for Sum {
    fn name(&self) -> String {
        "sum".into()
    }

    fn empty(&self) -> f64 {
        0.0
    }

    fn accumulated(&self, computed: Precision) -> Precision {
        match self.accumulation {
            Accumulation::Double => Precision::F64,
            Accumulation::Blocks | Accumulation::Kahan => computed,
        }
    }

    fn vectors(&self, dim: usize, _wanted: Wanted) -> usize {
        3 * dim
    }

    fn is_light(&self, dim: usize) -> bool {
        dim <= 4
    }

    fn weights(&self) -> Option<Weights> {
        Some(Weights::Factor)
    }

    fn end_block_iterations(&self, dim: usize) -> usize {
        sums(dim).end_block
    }

    fn merge_iterations(&self, dim: usize) -> usize {
        sums(dim).merge
    }

    fn value(&self, columns: &[Vec<f64>], entry: Entry) -> Found {
        (entry.of(columns).sum(), None)
    }

    fn value_of_equal(&self, column: &[f64], count: usize, entry: Entry) -> Found {
        (column[entry.component] * count as f64, None)
    }

    fn derivative(&self, forward: &mut dyn Forward) -> Cotangent {
        forward.cotangent().into()
    }
}

/// The kernel code of this reduction: its state, and how it takes in values.
#[cfg(feature = "cubecl")]
pub(super) mod kernel {
    use cubecl::prelude::*;

    use super::{
        super::{ReductionKind, Spec, accumulator::*, running::RunningSums},
        Accumulation, Sum,
    };
    use crate::program::UNROLL;

    fn compensated(spec: &Spec) -> bool {
        spec.kind == ReductionKind::Sum(Accumulation::Kahan)
    }

    #[cube]
    impl<F: Float, A: Float, N: Size> Accumulator<F, A, N> for Sum {
        type State = RunningSums<F, A, N>;

        fn step(
            state: &mut RunningSums<F, A, N>,
            index: usize,
            _columns: &Consecutive<'_>,
            values: &Sequence<Vector<F, N>>,
            #[comptime] _first: usize,
            #[comptime] rule: Rule,
        ) {
            let spec = comptime!(rule.spec);
            let math = comptime!(rule.math);
            let q = values.len();
            #[unroll]
            for c in 0..q {
                if comptime!(compensated(&spec)) {
                    state.add_compensated(index, *values.index(c), math);
                } else {
                    state.add(index, *values.index(c));
                }
            }
        }
    }

    #[cube]
    impl<F: Float, A: Float, N: Size> TakesProducts<F, A, N> for Sum {
        fn fuses() -> comptime_type!(bool) {
            true
        }

        fn step_product(
            state: &mut RunningSums<F, A, N>,
            index: usize,
            _column: usize,
            a: Vector<F, N>,
            b: Vector<F, N>,
            #[comptime] _first: usize,
            #[comptime] rule: Rule,
        ) {
            let spec = comptime!(rule.spec);
            let math = comptime!(rule.math);
            if comptime!(compensated(&spec)) {
                state.add_compensated(index, a * b, math);
            } else {
                state.add_product(index, a, b);
            }
        }
    }

    weights_are_values!(Sum);

    no_indices!(Sum);

    #[cube]
    impl<F: Float, A: Float, N: Size> KeepsValues<F, A, N> for Sum {
        fn end_block(state: &mut RunningSums<F, A, N>, #[comptime] rule: Rule) {
            let spec = comptime!(rule.spec);
            if comptime!(!compensated(&spec)) {
                state.end_block(comptime!(spec.dim));
            }
        }

        fn save(
            state: &RunningSums<F, A, N>,
            at: usize,
            #[comptime] _plane: usize,
            #[comptime] spec: Spec,
        ) -> Vector<A, N> {
            if comptime!(compensated(&spec)) {
                state.compensated(at)
            } else {
                state.total(at)
            }
        }

        fn load(
            state: &mut RunningSums<F, A, N>,
            at: usize,
            value: Vector<A, N>,
            #[comptime] _plane: usize,
            #[comptime] spec: Spec,
        ) {
            if comptime!(compensated(&spec)) {
                state.set_compensated(at, value);
            } else {
                state.set_total(at, value);
            }
        }

        fn value(state: &RunningSums<F, A, N>, at: usize, #[comptime] rule: Rule) -> Vector<A, N> {
            <Sum as KeepsValues<F, A, N>>::save(state, at, 0usize, comptime!(rule.spec))
        }
    }

    columns_are_not_counted!(Sum);

    #[cube]
    impl<F: Float, A: Float, N: Size> Reduction<F, A, N> for Sum {
        fn init(_begin: u32, infinity: F, #[comptime] rule: Rule) -> RunningSums<F, A, N> {
            RunningSums::<F, A, N>::new(infinity, comptime!(rule.spec.dim), comptime!(rule.math))
        }

        fn merge(
            state: &mut RunningSums<F, A, N>,
            later: &RunningSums<F, A, N>,
            #[comptime] rule: Rule,
        ) {
            let spec = comptime!(rule.spec);
            let math = comptime!(rule.math);
            #[unroll(spec.dim <= UNROLL)]
            for k in 0..spec.dim {
                if comptime!(compensated(&spec)) {
                    state.add_compensated(k, Vector::<F, N>::cast_from(later.compensated(k)), math);
                } else {
                    state.add_total(k, later.total(k));
                }
            }
            if comptime!(!compensated(&spec)) {
                state.end_part(comptime!(spec.dim));
            }
        }
    }
}
