use super::{Entry, Family, Forward, Found, Plane, ReductionKind, Stages, Wanted};
use crate::{
    formula::{
        Cotangent,
        expr::{Axis, Expr},
        flushed, without_hidden_weights, without_zero_weights,
    },
    program::{looped, sums, unrolled},
};

/// $\log \sum e^{f} w$, stable for any $f$.
///
/// Exponentials are taken relative to a running maximum (Milakov and Gimelshein, "Online normalizer
/// calculation for softmax", 2018). The maximum stays finite, so that no difference of infinities arises:
/// if no $f$ is finite, the result is an infinity. It is NaN if the sum is negative.
pub struct LogSumExp {
    /// Number of components of $f$.
    pub scores: usize,
}

impl LogSumExp {
    /// Number of sums that are relative to each maximum.
    fn sums_each(&self, dim: usize) -> usize {
        self.width(dim) / self.scores
    }

    /// The component of the formula that is the weight of `component` of the result, if there is one.
    fn weight(&self, dim: usize, component: usize) -> Option<usize> {
        match dim - self.scores {
            0 => None,
            1 => Some(self.scores),
            _ => Some(self.scores + component),
        }
    }
}

impl Family for LogSumExp {
    fn name(&self) -> String {
        "logsumexp".into()
    }

    fn width(&self, dim: usize) -> usize {
        self.scores.max(dim - self.scores)
    }

    fn single(&self, dim: usize) -> Option<(ReductionKind, usize)> {
        let dim = if dim > self.scores { 2 } else { 1 };
        Some((ReductionKind::LogSumExp { scores: 1 }, dim))
    }

    fn empty(&self) -> f64 {
        f64::NEG_INFINITY
    }

    /// The maxima and the sums of exponentials.
    fn planes(&self, _dim: usize) -> Vec<Plane> {
        match self.scores {
            1 => vec![Plane::SHARED, Plane::EACH],
            _ => vec![Plane::EACH, Plane::EACH],
        }
    }

    fn state_planes(&self) -> usize {
        2
    }

    fn vectors(&self, dim: usize, _wanted: Wanted) -> usize {
        2 * self.scores + 3 * self.width(dim)
    }

    /// A term of weight 0 counts as absent, whatever its score is.
    fn terms(&self, root: &Expr, axis: Axis) -> Option<(Expr, ReductionKind)> {
        let scores = self.scores;
        if root.dim() == scores {
            return None;
        }
        let shown = without_hidden_weights(root, scores, axis);
        let (root, scores) = match without_zero_weights(shown.as_ref().unwrap_or(root), scores) {
            Some(terms) => terms,
            None => (shown?, scores),
        };
        Some((root, ReductionKind::LogSumExp { scores }))
    }

    fn over_both(&self, dim: usize) -> Option<Stages> {
        let own = ReductionKind::LogSumExp {
            scores: self.scores,
        };
        Some(Stages {
            first: vec![(0..dim, own)],
            second: ReductionKind::LogSumExp {
                scores: self.width(dim),
            },
        })
    }

    fn init_iterations(&self, dim: usize) -> usize {
        unrolled(self.scores, 0) + unrolled(self.width(dim), 0)
    }

    fn step_iterations(&self, dim: usize, first: usize, _q: usize, _simd: bool) -> usize {
        if first < self.scores {
            // If the maximum grows, all sums that are relative to it are multiplied by a factor.
            unrolled(self.sums_each(dim), 0)
        } else if dim == self.scores + 1 {
            unrolled(self.scores, 0)
        } else {
            0
        }
    }

    fn end_block_iterations(&self, dim: usize) -> usize {
        unrolled(self.scores, unrolled(self.sums_each(dim), 0)) + sums(self.width(dim)).end_block
    }

    fn merge_iterations(&self, dim: usize) -> usize {
        let each = sums(self.sums_each(dim)).merge;
        looped(self.scores, each) + looped(self.width(dim), 0)
    }

    fn value(&self, columns: &[Vec<f64>], entry: Entry) -> Found {
        let score = if self.scores == 1 { 0 } else { entry.component };
        let weight = |column: &[f64]| match self.weight(column.len(), entry.component) {
            Some(weight) => column[weight],
            None => 1.0,
        };
        // Terms of weight 0 count as absent.
        let terms: Vec<Vec<f64>> = columns
            .iter()
            .filter(|column| weight(column) != 0.0)
            .cloned()
            .collect();
        let Exponentials { sum, most } = Exponentials::of(&terms, score, weight);
        (most + sum.ln(), None)
    }

    fn value_of_equal(&self, column: &[f64], count: usize, entry: Entry) -> Found {
        let (value, index) = self.value(&[column.to_vec()], entry);
        (value + (count as f64).ln(), index)
    }

    /// With the maximum $m$ and $S = \sum e^{f - m} w$, the derivative by $f$ is $e^{f - m} w / S$, and by $w$ it is
    /// $e^{f - m} / S$.
    fn derivative(&self, forward: &mut dyn Forward) -> Cotangent {
        let scores = self.scores;
        let (_, each) = exponential(forward);
        let root = forward.root().clone();
        let exp = (root.slice(0, scores).rounded() - forward.state(0)).exp();
        match root.dim() - scores {
            0 => flushed(each, exp, true),
            weights => {
                let weight = root.slice(scores, weights);
                // Terms of weight 0 have no part in the maximum, so that their exponentials may be infinite.
                let exp = flushed(each, exp, false);
                let by_score = flushed(weight, exp.clone(), false);
                Expr::concat(vec![narrowed(by_score, scores), narrowed(exp, weights)])
            }
        }
        .into()
    }
}

/// `expr` brought to `dim` components: summed over its components if `dim` is 1, else repeated for each component.
fn narrowed(expr: Expr, dim: usize) -> Expr {
    match (expr.dim(), dim) {
        (own, dim) if own == dim => expr,
        (_, 1) => expr.inner_sum(),
        (_, dim) => expr.expand(dim),
    }
}

/// Where the sum $S$ of exponentials has no terms, and the factor of an exponential elsewhere: the cotangent of the
/// result divided by $S$. Exponentials are relative to the maximum, because the difference to a score near it is
/// exact, however large both are. The maximum is a rounded score, so the scores must be rounded, too, before it is
/// subtracted.
pub(super) fn exponential(forward: &mut dyn Forward) -> (Expr, Expr) {
    let sum = forward.state(1);
    let nothing = sum.equal_to(0.0);
    let each = (forward.cotangent() / sum).zero_where(&nothing);
    (nothing, each)
}

/// The sum of $e^{f - m} w$ over some columns, and the maximum $m$.
pub(super) struct Exponentials {
    pub sum: f64,
    pub most: f64,
}

impl Exponentials {
    /// The sum over `columns`, with component `score` as $f$ and `weight` as $w$.
    pub fn of(columns: &[Vec<f64>], score: usize, weight: impl Fn(&[f64]) -> f64) -> Self {
        let scores = columns.iter().map(|column| column[score]);
        let most = scores.fold(f64::MIN, f64::max).min(f64::MAX);
        let term = |column: &Vec<f64>| (column[score] - most).exp() * weight(column);
        Self {
            sum: columns.iter().map(term).sum(),
            most,
        }
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
            exponentials::{COLUMNS, ExpState, Score, base, weights_are_exponentials},
        },
        LogSumExp, ReductionKind,
    };
    use crate::{math::constant_vector, program::UNROLL};

    fn scores(spec: &Spec) -> usize {
        match spec.kind {
            ReductionKind::LogSumExp { scores } => scores,
            _ => 1,
        }
    }

    /// Number of sums that are relative to each maximum.
    fn sums_each(spec: &Spec) -> usize {
        spec.width() / scores(spec)
    }

    /// Score `k` with its `each` sums.
    #[cube]
    fn score(k: usize, #[comptime] each: usize) -> Score {
        Score {
            k,
            start: k * each,
            sums: each,
        }
    }

    #[cube]
    impl<F: Float, A: Float, N: Size> Accumulator<F, A, N> for LogSumExp {
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
            let math = comptime!(rule.math);
            let q = values.len();
            let scores = comptime!(scores(&spec));
            let weights = comptime!(spec.dim - scores);
            if comptime!(first < scores) {
                let each = comptime!(sums_each(&spec));
                let score = score(index, each);
                state.take_scores(&score, values, math);
                if comptime!(weights == 0) {
                    #[unroll]
                    for c in 0..q {
                        let value = state.exps[index * COLUMNS + c];
                        state.sums.add(index, value);
                    }
                }
            } else if comptime!(weights == 1) {
                // The one weight belongs to all scores.
                #[unroll(scores <= UNROLL)]
                for k in 0..scores {
                    #[unroll]
                    for c in 0..q {
                        let exp = state.exps[k * COLUMNS + c];
                        state.sums.add_product(k, exp, *values.index(c));
                    }
                }
            } else {
                let component = index - scores;
                let score = if comptime!(scores == 1) {
                    0usize.runtime()
                } else {
                    component
                };
                #[unroll]
                for c in 0..q {
                    let exp = state.exps[score * COLUMNS + c];
                    state.sums.add_product(component, exp, *values.index(c));
                }
            }
        }
    }

    products_are_values!(LogSumExp);

    weights_are_exponentials!(LogSumExp);

    no_indices!(LogSumExp);

    #[cube]
    impl<F: Float, A: Float, N: Size> KeepsValues<F, A, N> for LogSumExp {
        fn end_block(state: &mut ExpState<F, A, N>, #[comptime] rule: Rule) {
            let spec = comptime!(rule.spec);
            let scores = comptime!(scores(&spec));
            let each = comptime!(sums_each(&spec));
            #[unroll(scores <= UNROLL)]
            for k in 0..scores {
                let score = score(k, each);
                state.rebase(&score, comptime!(rule.math));
            }
            state.sums.end_block(comptime!(spec.width()));
        }

        fn save(
            state: &ExpState<F, A, N>,
            at: usize,
            #[comptime] plane: usize,
            #[comptime] _spec: Spec,
        ) -> Vector<A, N> {
            state.saved(at, plane)
        }

        fn load(
            state: &mut ExpState<F, A, N>,
            at: usize,
            value: Vector<A, N>,
            #[comptime] plane: usize,
            #[comptime] _spec: Spec,
        ) {
            state.set_saved(at, value, plane);
        }

        fn value(state: &ExpState<F, A, N>, at: usize, #[comptime] rule: Rule) -> Vector<A, N> {
            let spec = comptime!(rule.spec);
            let k = if comptime!(scores(&spec) == 1) {
                0usize.runtime()
            } else {
                at
            };
            let rest = state.sums.total(at).ln();
            if comptime!(rule.math.binary()) {
                let base = base::<F, N>(state.maximum[k]);
                let b = Vector::<A, N>::cast_from(base.b);
                // With small scores, `b` is the maximum times log2(e), so that it is multiplied by ln(2). With large
                // ones it is the maximum itself.
                let small = base.a.greater_than(&constant_vector::<F, N>(1.0));
                let unit = select_many(
                    small,
                    constant_vector::<A, N>(std::f64::consts::LN_2),
                    constant_vector::<A, N>(1.0),
                );
                fma(b, unit, rest)
            } else {
                Vector::<A, N>::cast_from(state.maximum[k]) + rest
            }
        }
    }

    columns_are_not_counted!(LogSumExp);

    #[cube]
    impl<F: Float, A: Float, N: Size> Reduction<F, A, N> for LogSumExp {
        fn init(_begin: u32, infinity: F, #[comptime] rule: Rule) -> ExpState<F, A, N> {
            let spec = comptime!(rule.spec);
            ExpState::<F, A, N>::new(
                infinity,
                comptime!(scores(&spec)),
                comptime!(spec.width()),
                comptime!(rule.math),
            )
        }

        fn merge(state: &mut ExpState<F, A, N>, later: &ExpState<F, A, N>, #[comptime] rule: Rule) {
            let spec = comptime!(rule.spec);
            let each = comptime!(sums_each(&spec));
            let scores = comptime!(scores(&spec));
            for k in 0..scores {
                let score = score(k, each);
                let factor = state.merge_maximum(&score, later.maximum[k], comptime!(rule.math));
                for s in 0..each {
                    state
                        .sums
                        .add_total(score.start + s, later.sums.total(score.start + s) * factor);
                }
            }
            state.sums.end_part(comptime!(spec.width()));
        }
    }
}
