//! Sums of exponentials that are relative to a running maximum.

use cubecl::prelude::*;

use super::running::RunningSums;

use crate::{
    math::{self, Math, all, any, constant, constant_vector},
    program::{LOOP_COLUMNS, UNROLL},
};

/// Sums of $e^{f - m} w$, and what they are relative to.
#[derive(CubeType)]
pub struct ExpState<F: Float, A: Float, N: Size> {
    /// The running maxima $m$, to which the current block is relative.
    pub maximum: Array<Vector<F, N>>,
    /// The maxima when the last block ended, to which the blocks before are relative.
    pub before: Array<Vector<F, N>>,
    /// The bases of the maxima, where exponentials are powers of 2.
    pub a: Array<Vector<F, N>>,
    pub b: Array<Vector<F, N>>,
    /// $e^{f - m}$ of the columns at hand, until their weights have come.
    pub exps: Array<Vector<F, N>>,
    /// The sums.
    pub sums: RunningSums<F, A, N>,
}

/// Room for the columns that are evaluated together.
pub const COLUMNS: usize = LOOP_COLUMNS;

/// By how much the logarithm to base 2 of an exponential may exceed its base, where that is not raised
/// for everything larger.
pub const ABOVE: f64 = 8.0;

/// From here on the neighbours of a score have exponentials that are negligible, whatever their base.
pub const LARGE: f64 = 536_870_912.0;

/// Powers of 2 instead of exponentials: $e^{f - m}$ is taken as $2^{a f - b}$, in one operation where
/// that is fused. With $a = \log_2 e$ the difference of $b$ to $a m$, which is a rounding error, is the
/// same for all scores; it would grow beyond bounds with $m$, so that large scores have $a = 1$.
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
    pub fn take_binary_scores(
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

    pub fn set_base(&mut self, k: usize) {
        let base = base::<F, N>(self.maximum[k]);
        self.a[k] = base.a;
        self.b[k] = base.b;
    }

    /// Makes the sums of the current block relative to a larger maximum `k`.
    pub fn raise(
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

/// Implements [`GivesWeights`](crate::reduction::GivesWeights) for what has such sums: values are weighted by the
/// exponentials of the first score.
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
