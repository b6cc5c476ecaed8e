use cubecl::prelude::*;

use super::{
    Accumulator, Entry, Family, Forward, Found, GivesWeights, Plane, Reduction, ReductionKind,
    Rule, Spec, Stages, Wanted, no_indices, products_are_values, running::RunningSums,
};
use crate::{
    formula::{
        Cotangent,
        catalogue::ScalarOp,
        expr::{Axis, Expr},
        {without_hidden_weights, without_zero_weights},
    },
    math::{self, Math, all, any, constant, constant_vector},
    program::{LOOP_COLUMNS, UNROLL, looped, sums, unrolled},
};

/// $\log \sum e^{f} w$, stable for any $f$.
///
/// Exponentials are taken relative to a running maximum (Milakov and Gimelshein, "Online normalizer
/// calculation for softmax", 2018). It stays finite, so that no difference of infinities arises: the
/// result without a finite $f$ is an infinity. NaN where the sum is negative.
pub struct LogSumExp {
    /// Components of $f$.
    pub scores: usize,
}

impl LogSumExp {
    /// Sums that are relative to each maximum.
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

    /// A term of weight 0 does not exist, whatever its score is.
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
            // Where the maximum grows, all sums that are relative to it are multiplied.
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
        // What has no weight does not exist.
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

    /// With the maximum $m$ and $S = \sum e^{f - m} w$, it is $e^{f - m} w / S$ by $f$ and $e^{f - m} / S$ by $w$.
    fn derivative(&self, forward: &mut dyn Forward) -> Cotangent {
        let scores = self.scores;
        let (_, each) = exponential(forward);
        let root = forward.root().clone();
        let exp = (root.slice(0, scores).rounded() - forward.state(0)).exp() * each;
        match root.dim() - scores {
            0 => exp,
            weights => {
                let weight = root.slice(scores, weights);
                // Where the weight is 0, the exponential may be infinite.
                let by_score = Expr::scalar(ScalarOp::StrongMul, vec![weight, exp.clone()]);
                Expr::concat(vec![narrowed(by_score, scores), narrowed(exp, weights)])
            }
        }
        .into()
    }
}

/// `expr`, summed if what it belongs to has one component.
fn narrowed(expr: Expr, dim: usize) -> Expr {
    match (expr.dim(), dim) {
        (own, dim) if own == dim => expr,
        (_, 1) => expr.inner_sum(),
        (_, dim) => expr.expand(dim),
    }
}

/// Where the sum $S$ of exponentials has no terms, and what an exponential is multiplied by elsewhere: the cotangent of
/// the result over $S$. Exponentials are relative to a maximum, near which a score is exact however large it is; it is a
/// score as that is rounded.
pub(super) fn exponential(forward: &mut dyn Forward) -> (Expr, Expr) {
    let sum = forward.state(1);
    let nothing = sum.equal_to(0.0);
    let each = (forward.cotangent() / sum).zero_where(&nothing);
    (nothing, each)
}

/// The sum of $e^{f - m} w$ of some columns, and $m$.
pub(super) struct Exponentials {
    pub sum: f64,
    pub most: f64,
}

impl Exponentials {
    /// With the component `score` as $f$.
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

/// Sums of $e^{f - m} w$, and what they are relative to.
#[derive(CubeType)]
pub struct ExpState<F: Float, A: Float, N: Size> {
    /// The running maxima $m$, to which the current block is relative.
    pub maximum: Array<Vector<F, N>>,
    /// The maxima when the last block ended, to which the blocks before are relative.
    pub before: Array<Vector<F, N>>,
    /// The bases of the maxima, where exponentials are powers of 2.
    a: Array<Vector<F, N>>,
    b: Array<Vector<F, N>>,
    /// $e^{f - m}$ of the columns at hand, until their weights have come.
    pub exps: Array<Vector<F, N>>,
    /// The sums.
    pub sums: RunningSums<F, A, N>,
}

/// Room for the columns that are evaluated together.
const COLUMNS: usize = LOOP_COLUMNS;

/// By how much the logarithm to base 2 of an exponential may exceed its base, where that is not raised
/// for everything larger.
const ABOVE: f64 = 8.0;

/// From here on the neighbours of a score have exponentials that are negligible, whatever their base.
const LARGE: f64 = 536_870_912.0;

/// Powers of 2 instead of exponentials: $e^{f - m}$ is taken as $2^{a f - b}$, in one operation where
/// that is fused. With $a = \log_2 e$ the difference of $b$ to $a m$, which is a rounding error, is the
/// same for all scores; it would grow beyond bounds with $m$, so that large scores have $a = 1$.
#[derive(CubeType)]
struct Base<F: Float, N: Size> {
    a: Vector<F, N>,
    b: Vector<F, N>,
}

#[cube]
fn base<F: Float, N: Size>(maximum: Vector<F, N>) -> Base<F, N> {
    let small = maximum.abs().less_than(&constant_vector::<F, N>(LARGE));
    let log2_e = constant_vector::<F, N>(std::f64::consts::LOG2_E);
    let a = select_many(small, log2_e, constant_vector::<F, N>(1.0));
    let b = maximum * a;
    // Not what compilers may fuse with a difference of it: all exponents have it as it is rounded here.
    let b = select_many(b.equal(&b), b, constant_vector::<F, N>(0.0));
    Base::<F, N> { a, b }
}

/// What sums that are relative to the maximum `old` are multiplied by to be relative to the larger `new`.
#[cube]
pub(crate) fn factor<F: Float, N: Size>(
    old: Vector<F, N>,
    new: Vector<F, N>,
    #[comptime] math: Math,
) -> Vector<F, N> {
    if comptime!(math.binary()) {
        let (old, new) = (base::<F, N>(old), base::<F, N>(new));
        let power = math::exp2::<F, N>(old.b - new.b, math);
        select_many(old.a.equal(&new.a), power, constant_vector::<F, N>(0.0))
    } else {
        math::exp::<F, N>(old - new, math)
    }
}

/// A sum of exponentials as [`ExpState`] keeps it, which are relative to the base of `maximum` as that is rounded, as the
/// sum relative to the maximum itself.
#[cube]
pub(crate) fn relative_to_maximum<F: Float, A: Float, N: Size>(
    sum: Vector<A, N>,
    maximum: Vector<A, N>,
    #[comptime] math: Math,
) -> Vector<A, N> {
    if comptime!(math.binary()) {
        let maximum = Vector::<F, N>::cast_from(maximum);
        let base = base::<F, N>(maximum);
        // The product in the base without what it lost.
        let rest = fma(maximum, -base.a, base.b);
        sum * Vector::cast_from(math::exp2::<F, N>(rest, math))
    } else {
        sum
    }
}

/// Whether any of `q` exponents may be so large that the base must be raised, or not be a number.
#[cube]
fn beyond<F: Float, N: Size>(
    exponents: &Array<Vector<F, N>>,
    #[comptime] q: usize,
    #[comptime] math: Math,
) -> bool {
    if comptime!(math.simd()) {
        let most = constant_vector::<F, N>(ABOVE);
        let mut within = exponents[0].less_equal(&most);
        #[unroll]
        for c in 1..q {
            within = within.vec_and(exponents[c].less_equal(&most));
        }
        !all::<N>(within)
    } else {
        let most = constant::<F>(ABOVE);
        let mut beyond = false.runtime();
        #[unroll]
        for c in 0..q {
            let exponent = exponents[c];
            #[unroll]
            for lane in 0..N::value() {
                beyond = beyond || exponent.extract(lane) > most;
            }
        }
        beyond
    }
}

#[cube]
impl<F: Float, A: Float, N: Size> ExpState<F, A, N> {
    /// Nothing, for `scores` maxima and `sums` sums.
    pub fn new(
        infinity: F,
        #[comptime] scores: usize,
        #[comptime] sums: usize,
        #[comptime] math: Math,
    ) -> ExpState<F, A, N> {
        let mut state = ExpState::<F, A, N> {
            maximum: Array::new(scores),
            before: Array::new(scores),
            a: Array::new(comptime!(if math.binary() { scores } else { 1 })),
            b: Array::new(comptime!(if math.binary() { scores } else { 1 })),
            exps: Array::new(comptime!(scores * COLUMNS)),
            sums: RunningSums::<F, A, N>::new(infinity, sums, math),
        };
        #[unroll(scores <= UNROLL)]
        for k in 0..scores {
            state.maximum[k] = Vector::new(F::min_value());
            state.before[k] = Vector::new(F::min_value());
            if comptime!(math.binary()) {
                state.set_base(k);
            }
        }
        state
    }

    /// Takes in scores: the maximum grows where it must, and the `sums` sums relative to it, from
    /// `start` on, shrink.
    pub fn take_scores(
        &mut self,
        k: usize,
        values: &Sequence<Vector<F, N>>,
        start: usize,
        #[comptime] sums: usize,
        #[comptime] q: usize,
        #[comptime] math: Math,
    ) {
        if comptime!(math.binary()) {
            self.take_binary_scores(k, values, start, sums, q, math);
        } else {
            let old = self.maximum[k];
            let mut new = old;
            #[unroll]
            for c in 0..q {
                let value = *values.index(c);
                new = select_many(value.greater_than(&new), value, new);
            }
            if any::<N>(new.greater_than(&old)) {
                self.raise(k, new, start, sums, math);
            }
            let maximum = self.maximum[k];
            #[unroll]
            for c in 0..q {
                self.exps[k * COLUMNS + c] = math::exp::<F, N>(*values.index(c) - maximum, math);
            }
        }
    }

    /// The same with powers of 2. The maximum grows only for what is far above it: what is less so does
    /// not matter to the sums.
    fn take_binary_scores(
        &mut self,
        k: usize,
        values: &Sequence<Vector<F, N>>,
        start: usize,
        #[comptime] sums: usize,
        #[comptime] q: usize,
        #[comptime] math: Math,
    ) {
        let mut exponents = Array::<Vector<F, N>>::new(q);
        let (a, b) = (self.a[k], self.b[k]);
        #[unroll]
        for c in 0..q {
            exponents[c] = fma(*values.index(c), a, -b);
        }
        if beyond::<F, N>(&exponents, q, math) {
            let mut new = self.maximum[k];
            #[unroll]
            for c in 0..q {
                let value = *values.index(c);
                new = select_many(value.greater_than(&new), value, new);
            }
            self.raise(k, new, start, sums, math);
            let (a, b) = (self.a[k], self.b[k]);
            #[unroll]
            for c in 0..q {
                let exponent = fma(*values.index(c), a, -b);
                self.exps[k * COLUMNS + c] = math::exp2::<F, N>(exponent, math);
            }
        } else {
            #[unroll]
            for c in 0..q {
                self.exps[k * COLUMNS + c] = math::exp2_below::<F, N>(exponents[c], math);
            }
        }
    }

    fn set_base(&mut self, k: usize) {
        let base = base::<F, N>(self.maximum[k]);
        self.a[k] = base.a;
        self.b[k] = base.b;
    }

    /// Makes the sums of the current block relative to a larger maximum `k`.
    fn raise(
        &mut self,
        k: usize,
        new: Vector<F, N>,
        start: usize,
        #[comptime] sums: usize,
        #[comptime] math: Math,
    ) {
        let most = Vector::new(F::max_value());
        let new = select_many(new.greater_than(&most), most, new);
        let factor = factor::<F, N>(self.maximum[k], new, math);
        #[unroll(sums <= UNROLL)]
        for s in 0..sums {
            self.sums.scale_block(start + s, factor);
        }
        self.maximum[k] = new;
        if comptime!(math.binary()) {
            self.set_base(k);
        }
    }

    /// Makes the sums of all blocks relative to the present maximum `k`.
    pub fn rebase(
        &mut self,
        k: usize,
        start: usize,
        #[comptime] sums: usize,
        #[comptime] math: Math,
    ) {
        let factor = factor::<F, N>(self.before[k], self.maximum[k], math);
        #[unroll(sums <= UNROLL)]
        for s in 0..sums {
            self.sums
                .scale_total(start + s, Vector::<A, N>::cast_from(factor));
        }
        self.before[k] = self.maximum[k];
    }

    /// Takes in the maximum `k` of later columns; returns what their sums are to be multiplied by.
    pub fn merge_maximum(
        &mut self,
        k: usize,
        later: Vector<F, N>,
        start: usize,
        #[comptime] sums: usize,
        #[comptime] math: Math,
    ) -> Vector<A, N> {
        let old = self.maximum[k];
        let new = select_many(later.greater_than(&old), later, old);
        self.maximum[k] = new;
        self.rebase(k, start, sums, math);
        Vector::<A, N>::cast_from(factor::<F, N>(later, new, math))
    }
}

fn scores(spec: &Spec) -> usize {
    match spec.kind {
        ReductionKind::LogSumExp { scores } => scores,
        _ => 1,
    }
}

/// Sums that are relative to each maximum.
fn sums_each(spec: &Spec) -> usize {
    spec.width() / scores(spec)
}

#[cube]
impl<F: Float, A: Float, N: Size> Accumulator<F, A, N> for LogSumExp {
    type State = ExpState<F, A, N>;

    fn step(
        state: &mut ExpState<F, A, N>,
        index: usize,
        _column: u32,
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
            state.take_scores(index, values, index * each, each, q, math);
            if comptime!(weights == 0) {
                #[unroll]
                for c in 0..q {
                    let value = state.exps[index * COLUMNS + c];
                    state.sums.add(index, value);
                }
            }
        } else if comptime!(weights == 1) {
            // One weight for each of the scores.
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

#[cube]
impl<F: Float, A: Float, N: Size> GivesWeights<F, A, N> for LogSumExp {
    fn weight(
        state: &ExpState<F, A, N>,
        value: Vector<F, N>,
        #[comptime] c: usize,
    ) -> Vector<F, N> {
        state.exps[c] * value
    }

    fn base(state: &ExpState<F, A, N>) -> Vector<F, N> {
        state.maximum[0]
    }
}

no_indices!(LogSumExp);

#[cube]
impl<F: Float, A: Float, N: Size> Reduction<F, A, N> for LogSumExp {
    fn init(
        _begin: u32,
        infinity: F,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) -> ExpState<F, A, N> {
        ExpState::<F, A, N>::new(
            infinity,
            comptime!(scores(&spec)),
            comptime!(spec.width()),
            math,
        )
    }

    fn end_block(state: &mut ExpState<F, A, N>, #[comptime] spec: Spec, #[comptime] math: Math) {
        let scores = comptime!(scores(&spec));
        let each = comptime!(sums_each(&spec));
        #[unroll(scores <= UNROLL)]
        for k in 0..scores {
            state.rebase(k, k * each, each, math);
        }
        state.sums.end_block(comptime!(spec.width()));
    }

    fn save(
        state: &ExpState<F, A, N>,
        at: usize,
        #[comptime] plane: usize,
        #[comptime] _spec: Spec,
    ) -> Vector<A, N> {
        if comptime!(plane == 0) {
            Vector::cast_from(state.maximum[at])
        } else {
            state.sums.total(at)
        }
    }

    fn load(
        state: &mut ExpState<F, A, N>,
        at: usize,
        value: Vector<A, N>,
        #[comptime] plane: usize,
        #[comptime] _spec: Spec,
    ) {
        if comptime!(plane == 0) {
            state.maximum[at] = Vector::cast_from(value);
        } else {
            state.sums.set_total(at, value);
        }
    }

    fn merge(
        state: &mut ExpState<F, A, N>,
        later: &ExpState<F, A, N>,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) {
        let each = comptime!(sums_each(&spec));
        let scores = comptime!(scores(&spec));
        for k in 0..scores {
            let start = k * each;
            let factor = state.merge_maximum(k, later.maximum[k], start, each, math);
            for s in 0..each {
                state
                    .sums
                    .add_total(start + s, later.sums.total(start + s) * factor);
            }
        }
        state.sums.end_part(comptime!(spec.width()));
    }

    fn value(
        state: &ExpState<F, A, N>,
        at: usize,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) -> Vector<A, N> {
        let k = if comptime!(scores(&spec) == 1) {
            0usize.runtime()
        } else {
            at
        };
        let rest = state.sums.total(at).ln();
        if comptime!(math.binary()) {
            let base = base::<F, N>(state.maximum[k]);
            let b = Vector::<A, N>::cast_from(base.b);
            // Either the logarithm of 2, or that of the base that neighbours do not matter to.
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
