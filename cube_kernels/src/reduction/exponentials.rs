//! Sums of exponentials that are relative to a running maximum.

use cubecl::prelude::*;

use super::running::RunningSums;

use crate::{
    math::{self, Math, all, any, constant, constant_vector},
    program::{LOOP_COLUMNS, UNROLL},
};

/// Sums of $e^{f - m} w$, and the maxima $m$ that they are relative to.
#[derive(CubeType)]
pub struct ExpState<F: Float, A: Float, N: Size> {
    /// The running maxima $m$. The sums of the current block are relative to them.
    pub maximum: Array<Vector<F, N>>,
    /// The maxima at the end of the last block. The sums of all ended blocks are relative to them.
    pub before: Array<Vector<F, N>>,
    /// `a` and `b` of the [`Base`] of each maximum, if exponentials are computed as powers of 2.
    pub a: Array<Vector<F, N>>,
    pub b: Array<Vector<F, N>>,
    /// $e^{f - m}$ of the columns that are evaluated together, kept until their weights are known: score `k` of
    /// column `c` is at `k * COLUMNS + c`.
    pub exps: Array<Vector<F, N>>,
    /// The sums.
    pub sums: RunningSums<F, A, N>,
}

/// A score, and the sums that are relative to its maximum.
#[derive(CubeType)]
pub struct Score {
    /// The number of the score.
    pub k: usize,
    /// The first of the sums.
    pub start: usize,
    /// How many sums there are.
    #[cube(comptime)]
    pub sums: usize,
}

/// Room for the columns that are evaluated together.
pub const COLUMNS: usize = LOOP_COLUMNS;

/// The largest exponent of a power of 2, $a f - b$, for which the maximum is not raised. A small excess over the
/// maximum does no harm, so the maximum need not grow for every score that is larger.
pub const ABOVE: f64 = 8.0;

/// From this size on, scores that differ at all differ so much that the exponential of the smaller one is negligible
/// beside that of the larger one, whether powers of 2 or of $e$ are taken.
pub const LARGE: f64 = 536_870_912.0;

/// Powers of 2 instead of exponentials: $e^{f - m}$ is computed as $2^{a f - b}$, whose exponent is one operation if
/// multiply-adds are fused. With $a = \log_2 e$, $b$ differs from $a m$ by a rounding error, which is the same for all
/// scores. This error would grow without bound with $m$, so that for [large](LARGE) maxima $a = 1$.
#[derive(CubeType)]
pub struct Base<F: Float, N: Size> {
    pub a: Vector<F, N>,
    pub b: Vector<F, N>,
}

#[cube]
pub fn base<F: Float, N: Size>(maximum: Vector<F, N>) -> Base<F, N> {
    let small = maximum.abs().less_than(&constant_vector::<F, N>(LARGE));
    let log2_e = constant_vector::<F, N>(std::f64::consts::LOG2_E);
    let a = select_many(small, log2_e, constant_vector::<F, N>(1.0));
    let b = maximum * a;
    // The selection keeps compilers from fusing the product with a subtraction: all exponents must use the same rounded
    // value of `b`.
    let b = select_many(b.equal(&b), b, constant_vector::<F, N>(0.0));
    Base::<F, N> { a, b }
}

/// The factor that makes sums that are relative to the maximum `old` relative to the larger maximum `new`.
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

/// Makes a sum of exponentials relative to `maximum` itself. As [`ExpState`] keeps it, it is relative to the rounded
/// base of the maximum.
#[cube]
pub(crate) fn relative_to_maximum<F: Float, A: Float, N: Size>(
    sum: Vector<A, N>,
    maximum: Vector<A, N>,
    #[comptime] math: Math,
) -> Vector<A, N> {
    if comptime!(math.binary()) {
        let maximum = Vector::<F, N>::cast_from(maximum);
        let base = base::<F, N>(maximum);
        // The rounding error of the product in the base.
        let rest = fma(maximum, -base.a, base.b);
        sum * Vector::cast_from(math::exp2::<F, N>(rest, math))
    } else {
        sum
    }
}

/// Whether any of `q` exponents may be so large that the base must be raised. With SIMD this is also so for NaN, as
/// `exp2_below` takes only numbers there.
#[cube]
pub fn beyond<F: Float, N: Size>(
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
    /// The state before any column, with `scores` maxima and `sums` sums.
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

    /// Takes in the values of a score for several columns. If the maximum grows, the sums that are relative to it are
    /// scaled down.
    pub fn take_scores(
        &mut self,
        score: &Score,
        values: &Sequence<Vector<F, N>>,
        #[comptime] math: Math,
    ) {
        let q = values.len();
        if comptime!(math.binary()) {
            self.take_binary_scores(score, values, math);
        } else {
            let old = self.maximum[score.k];
            let mut new = old;
            #[unroll]
            for c in 0..q {
                let value = *values.index(c);
                new = select_many(value.greater_than(&new), value, new);
            }
            if any::<N>(new.greater_than(&old)) {
                self.raise(score, new, math);
            }
            let maximum = self.maximum[score.k];
            #[unroll]
            for c in 0..q {
                self.exps[score.k * COLUMNS + c] =
                    math::exp::<F, N>(*values.index(c) - maximum, math);
            }
        }
    }

    /// The same with powers of 2. The maxima of the lanes grow only if a score is [far above](ABOVE) its maximum. Other
    /// scores above a maximum do not harm the sums.
    pub fn take_binary_scores(
        &mut self,
        score: &Score,
        values: &Sequence<Vector<F, N>>,
        #[comptime] math: Math,
    ) {
        let q = values.len();
        let mut exponents = Array::<Vector<F, N>>::new(q);
        let (a, b) = (self.a[score.k], self.b[score.k]);
        #[unroll]
        for c in 0..q {
            exponents[c] = fma(*values.index(c), a, -b);
        }
        if beyond::<F, N>(&exponents, q, math) {
            let mut new = self.maximum[score.k];
            #[unroll]
            for c in 0..q {
                let value = *values.index(c);
                new = select_many(value.greater_than(&new), value, new);
            }
            self.raise(score, new, math);
            let (a, b) = (self.a[score.k], self.b[score.k]);
            #[unroll]
            for c in 0..q {
                let exponent = fma(*values.index(c), a, -b);
                self.exps[score.k * COLUMNS + c] = math::exp2::<F, N>(exponent, math);
            }
        } else {
            #[unroll]
            for c in 0..q {
                self.exps[score.k * COLUMNS + c] = math::exp2_below::<F, N>(exponents[c], math);
            }
        }
    }

    pub fn set_base(&mut self, k: usize) {
        let base = base::<F, N>(self.maximum[k]);
        self.a[k] = base.a;
        self.b[k] = base.b;
    }

    /// Raises the maximum of a score to `new`, and makes the sums of the current block relative to it.
    pub fn raise(&mut self, score: &Score, new: Vector<F, N>, #[comptime] math: Math) {
        let sums = comptime!(score.sums);
        let most = Vector::new(F::max_value());
        let new = select_many(new.greater_than(&most), most, new);
        let factor = factor::<F, N>(self.maximum[score.k], new, math);
        #[unroll(sums <= UNROLL)]
        for s in 0..sums {
            self.sums.scale_block(score.start + s, factor);
        }
        self.maximum[score.k] = new;
        if comptime!(math.binary()) {
            self.set_base(score.k);
        }
    }

    /// Makes the sums of the ended blocks relative to the present maximum of a score, as those of the current block
    /// are.
    pub fn rebase(&mut self, score: &Score, #[comptime] math: Math) {
        let sums = comptime!(score.sums);
        let factor = factor::<F, N>(self.before[score.k], self.maximum[score.k], math);
        #[unroll(sums <= UNROLL)]
        for s in 0..sums {
            self.sums
                .scale_total(score.start + s, Vector::<A, N>::cast_from(factor));
        }
        self.before[score.k] = self.maximum[score.k];
    }

    /// Takes in the maximum of a score of later columns. Returns the factor by which the sums of these columns are to
    /// be multiplied.
    pub fn merge_maximum(
        &mut self,
        score: &Score,
        later: Vector<F, N>,
        #[comptime] math: Math,
    ) -> Vector<A, N> {
        let old = self.maximum[score.k];
        let new = select_many(later.greater_than(&old), later, old);
        self.maximum[score.k] = new;
        self.rebase(score, math);
        Vector::<A, N>::cast_from(factor::<F, N>(later, new, math))
    }

    /// Value `at` of a partial result: of the maxima if `plane` is 0, otherwise of the sums.
    pub fn saved(&self, at: usize, #[comptime] plane: usize) -> Vector<A, N> {
        if comptime!(plane == 0) {
            Vector::cast_from(self.maximum[at])
        } else {
            self.sums.total(at)
        }
    }

    /// Sets value `at` of a partial result, of the same planes.
    pub fn set_saved(&mut self, at: usize, value: Vector<A, N>, #[comptime] plane: usize) {
        if comptime!(plane == 0) {
            self.maximum[at] = Vector::cast_from(value);
        } else {
            self.sums.set_total(at, value);
        }
    }
}

/// Implements [`GivesWeights`](crate::reduction::GivesWeights) for a reduction whose state is an `ExpState`: values are
/// weighted by the exponentials of the first score.
macro_rules! weights_are_exponentials {
    ($name:ident) => {
        #[cube]
        impl<F: Float, A: Float, N: Size> crate::reduction::GivesWeights<F, A, N> for $name {
            fn weight(
                state: &crate::reduction::exponentials::ExpState<F, A, N>,
                value: Vector<F, N>,
                #[comptime] c: usize,
            ) -> Vector<F, N> {
                state.exps[c] * value
            }

            fn base(state: &crate::reduction::exponentials::ExpState<F, A, N>) -> Vector<F, N> {
                state.maximum[0]
            }
        }
    };
}
pub(crate) use weights_are_exponentials;
