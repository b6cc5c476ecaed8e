use super::{
    Entry, Family, Forward, Found, Plane, ReductionKind, Stages, Wanted,
    log_sum_exp::{Exponentials, exponential},
};
use crate::{
    formula::{
        Cotangent,
        expr::{Axis, Expr},
        flushed, without_hidden_weights,
    },
    program::{Weights, sums, unrolled},
};

/// $\sum e^{f} g / \sum e^{f}$, the mean of $g$ with the softmax of $f$ as weights; stable for any
/// finite $f$. NaN where $f$ is $-\infty$ everywhere or $+\infty$ anywhere.
pub struct SoftmaxSum;

impl Family for SoftmaxSum {
    fn name(&self) -> String {
        "softmax-weighted sum".into()
    }

    fn width(&self, dim: usize) -> usize {
        dim - 1
    }

    fn single(&self, _dim: usize) -> Option<(ReductionKind, usize)> {
        Some((ReductionKind::SoftmaxSum, 2))
    }

    fn empty(&self) -> f64 {
        f64::NAN
    }

    /// The maximum, the sum of exponentials and the sums of the weighted components.
    fn planes(&self, _dim: usize) -> Vec<Plane> {
        vec![Plane::SHARED, Plane::SHARED, Plane::EACH]
    }

    fn state_planes(&self) -> usize {
        2
    }

    fn vectors(&self, dim: usize, _wanted: Wanted) -> usize {
        2 + 3 * dim
    }

    fn weights(&self) -> Option<Weights> {
        Some(Weights::Exponential)
    }

    fn terms(&self, root: &Expr, axis: Axis) -> Option<(Expr, ReductionKind)> {
        let root = without_hidden_weights(root, 1, axis)?;
        Some((root, ReductionKind::SoftmaxSum))
    }

    /// The second stage weights the results of rows by the sums of their exponentials.
    fn over_both(&self, dim: usize) -> Option<Stages> {
        Some(Stages {
            first: vec![
                (0..1, ReductionKind::LogSumExp { scores: 1 }),
                (0..dim, ReductionKind::SoftmaxSum),
            ],
            second: ReductionKind::SoftmaxSum,
        })
    }

    fn step_iterations(&self, dim: usize, first: usize, _q: usize, _simd: bool) -> usize {
        // If the maximum grows, all sums that are relative to it are multiplied by a factor.
        if first == 0 { unrolled(dim, 0) } else { 0 }
    }

    fn end_block_iterations(&self, dim: usize) -> usize {
        unrolled(dim, 0) + sums(dim).end_block
    }

    fn merge_iterations(&self, dim: usize) -> usize {
        unrolled(dim, 0) + sums(dim).merge
    }

    fn value(&self, columns: &[Vec<f64>], entry: Entry) -> Found {
        let weighted = |column: &[f64]| column[1 + entry.component];
        let sum = Exponentials::of(columns, 0, weighted).sum;
        (sum / Exponentials::of(columns, 0, |_| 1.0).sum, None)
    }

    fn needs_result(&self) -> bool {
        true
    }

    /// With $p = e^{f - m} / S$ and the result $s$, the derivative by $f$ is $\sum p (g - s)$, and by $g$ it is $p$.
    fn derivative(&self, forward: &mut dyn Forward) -> Cotangent {
        let (nothing, each) = exponential(forward);
        let root = forward.root().clone();
        let mean = forward.result().zero_where(&nothing);
        let exp = (root.slice(0, 1).rounded() - forward.state(0)).exp();
        let exp = flushed(each, exp, true);
        let weight = root.slice(1, root.dim() - 1);
        Expr::concat(vec![(exp.clone() * (weight - mean)).inner_sum(), exp]).into()
    }
}

/// The kernel code of this reduction: its state, and how it takes in values.
#[cfg(feature = "cubecl")]
pub(super) mod kernel {
    use cubecl::prelude::*;

    use super::{
        super::{
            Spec,
            accumulator::*,
            exponentials::{ExpState, Score, weights_are_exponentials},
        },
        SoftmaxSum,
    };
    use crate::program::UNROLL;

    /// The only score, which all `sums` are relative to.
    #[cube]
    fn score(#[comptime] sums: usize) -> Score {
        Score {
            k: 0usize.runtime(),
            start: 0usize.runtime(),
            sums,
        }
    }

    #[cube]
    impl<F: Float, A: Float, N: Size> Accumulator<F, A, N> for SoftmaxSum {
        // Its sums are those of the weighted components, followed by the sum of the exponentials.
        type State = ExpState<F, A, N>;

        fn step(
            state: &mut ExpState<F, A, N>,
            index: usize,
            _columns: &Consecutive<'_>,
            values: &Sequence<Vector<F, N>>,
            #[comptime] first: usize,
            #[comptime] rule: Rule,
        ) {
            let spec = comptime!(rule.spec);
            let q = values.len();
            if comptime!(first == 0) {
                let score = score(comptime!(spec.dim));
                state.take_scores(&score, values, comptime!(rule.math));
                #[unroll]
                for c in 0..q {
                    let exp = state.exps[c];
                    state.sums.add(comptime!(spec.dim - 1), exp);
                }
            } else {
                #[unroll]
                for c in 0..q {
                    let exp = state.exps[c];
                    state.sums.add_product(index - 1, exp, *values.index(c));
                }
            }
        }
    }

    products_are_values!(SoftmaxSum);

    weights_are_exponentials!(SoftmaxSum);

    no_indices!(SoftmaxSum);

    #[cube]
    impl<F: Float, A: Float, N: Size> KeepsValues<F, A, N> for SoftmaxSum {
        fn end_block(state: &mut ExpState<F, A, N>, #[comptime] rule: Rule) {
            let sums = comptime!(rule.spec.dim);
            let score = score(sums);
            state.rebase(&score, comptime!(rule.math));
            state.sums.end_block(sums);
        }

        fn save(
            state: &ExpState<F, A, N>,
            at: usize,
            #[comptime] plane: usize,
            #[comptime] spec: Spec,
        ) -> Vector<A, N> {
            if comptime!(plane == 1) {
                state.saved(comptime!(spec.dim - 1), plane)
            } else {
                state.saved(at, plane)
            }
        }

        fn load(
            state: &mut ExpState<F, A, N>,
            at: usize,
            value: Vector<A, N>,
            #[comptime] plane: usize,
            #[comptime] spec: Spec,
        ) {
            if comptime!(plane == 1) {
                state.set_saved(comptime!(spec.dim - 1), value, plane);
            } else {
                state.set_saved(at, value, plane);
            }
        }

        fn value(state: &ExpState<F, A, N>, at: usize, #[comptime] rule: Rule) -> Vector<A, N> {
            state.sums.total(at) / state.sums.total(comptime!(rule.spec.dim - 1))
        }
    }

    columns_are_not_counted!(SoftmaxSum);

    #[cube]
    impl<F: Float, A: Float, N: Size> Reduction<F, A, N> for SoftmaxSum {
        fn init(_begin: u32, infinity: F, #[comptime] rule: Rule) -> ExpState<F, A, N> {
            let sums = comptime!(rule.spec.dim);
            ExpState::<F, A, N>::new(infinity, 1usize, sums, comptime!(rule.math))
        }

        fn merge(state: &mut ExpState<F, A, N>, later: &ExpState<F, A, N>, #[comptime] rule: Rule) {
            let sums = comptime!(rule.spec.dim);
            let score = score(sums);
            let factor = state.merge_maximum(&score, later.maximum[0], comptime!(rule.math));
            #[unroll(sums <= UNROLL)]
            for s in 0..sums {
                state.sums.add_total(s, later.sums.total(s) * factor);
            }
            state.sums.end_part(sums);
        }
    }
}
