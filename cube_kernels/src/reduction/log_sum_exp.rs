use cubecl::prelude::*;

use super::{Reduction, ReductionKind, Spec, any, running::RunningSums};
use crate::{
    kernel::math::{self, Math, constant, constant_vector},
    plan,
    program::UNROLL,
};

/// $\log \sum e^{f} w$, stable for any $f$.
///
/// Exponentials are taken relative to a running maximum (Milakov and Gimelshein, "Online normalizer
/// calculation for softmax", 2018). It stays finite, so that no difference of infinities arises: the
/// result without a finite $f$ is an infinity. NaN where the sum is negative.
pub struct LogSumExp;

/// Sums of $e^{f - m} w$, and what they are relative to.
#[derive(CubeType)]
pub struct ExpState<F: Float, A: Float, N: Size> {
    /// The running maxima $m$, to which the current block is relative; in units of $\ln 2$ where
    /// exponentials are powers of 2.
    pub maximum: Array<Vector<F, N>>,
    /// The maxima when the last block ended, to which the blocks before are relative.
    pub before: Array<Vector<F, N>>,
    /// $e^{f - m}$ of the columns at hand, until their weights have come.
    pub exps: Array<Vector<F, N>>,
    /// The sums.
    pub sums: RunningSums<F, A, N>,
}

/// Room for the columns that are evaluated together.
const COLUMNS: usize = plan::LOOP_COLUMNS;

/// By how much the logarithm to base 2 of an exponential may exceed the running maximum, where that is
/// not raised for everything larger.
const ABOVE: f64 = 8.0;

/// The exponential of a difference to a maximum, in the units of the latter.
#[cube]
fn power<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.binary()) {
        math::exp2::<F, N>(x)
    } else {
        math::exp::<F, N>(x, math)
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
            exps: Array::new(comptime!(scores * COLUMNS)),
            sums: RunningSums::<F, A, N>::new(infinity, sums, math),
        };
        #[unroll(scores <= UNROLL)]
        for k in 0..scores {
            state.maximum[k] = Vector::new(F::min_value());
            state.before[k] = Vector::new(F::min_value());
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
                self.exps[k * COLUMNS + c] = power::<F, N>(*values.index(c) - maximum, math);
            }
        }
    }

    /// The same with the maximum in units of $\ln 2$. It grows only for what is far above it: what is less
    /// so is as exact, and compared after it was needed anyway.
    fn take_binary_scores(
        &mut self,
        k: usize,
        values: &Sequence<Vector<F, N>>,
        start: usize,
        #[comptime] sums: usize,
        #[comptime] q: usize,
        #[comptime] math: Math,
    ) {
        let log2_e = constant_vector::<F, N>(std::f64::consts::LOG2_E);
        let maximum = self.maximum[k];
        let mut exponents = Array::<Vector<F, N>>::new(q);
        #[unroll]
        for c in 0..q {
            exponents[c] = fma(*values.index(c), log2_e, -maximum);
        }
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
        if beyond {
            let mut new = maximum;
            #[unroll]
            for c in 0..q {
                let value = *values.index(c) * log2_e;
                new = select_many(value.greater_than(&new), value, new);
            }
            self.raise(k, new, start, sums, math);
            let maximum = self.maximum[k];
            #[unroll]
            for c in 0..q {
                exponents[c] = fma(*values.index(c), log2_e, -maximum);
            }
        }
        #[unroll]
        for c in 0..q {
            self.exps[k * COLUMNS + c] = math::exp2::<F, N>(exponents[c]);
        }
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
        let factor = power::<F, N>(self.maximum[k] - new, math);
        #[unroll(sums <= UNROLL)]
        for s in 0..sums {
            self.sums.scale_block(start + s, factor);
        }
        self.maximum[k] = new;
    }

    /// Makes the sums of all blocks relative to the present maximum `k`.
    pub fn rebase(
        &mut self,
        k: usize,
        start: usize,
        #[comptime] sums: usize,
        #[comptime] math: Math,
    ) {
        let factor = power::<F, N>(self.before[k] - self.maximum[k], math);
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
        Vector::<A, N>::cast_from(power::<F, N>(later - new, math))
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
impl<F: Float, A: Float, N: Size> Reduction<F, A, N> for LogSumExp {
    type State = ExpState<F, A, N>;

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

    fn step(
        state: &mut ExpState<F, A, N>,
        index: usize,
        _column: u32,
        values: &Sequence<Vector<F, N>>,
        #[comptime] first: usize,
        #[comptime] q: usize,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) {
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

    fn fuses() -> comptime_type!(bool) {
        false
    }

    fn step_product(
        _state: &mut ExpState<F, A, N>,
        _index: usize,
        _a: Vector<F, N>,
        _b: Vector<F, N>,
        #[comptime] _spec: Spec,
        #[comptime] _math: Math,
    ) {
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

    fn index(_state: &ExpState<F, A, N>, _at: usize) -> Vector<u32, N> {
        Vector::new(0u32)
    }

    fn load_index(_state: &mut ExpState<F, A, N>, _at: usize, _index: Vector<u32, N>) {}

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
        let maximum = Vector::<A, N>::cast_from(state.maximum[k]);
        let rest = state.sums.total(at).ln();
        if comptime!(math.binary()) {
            fma(
                maximum,
                constant_vector::<A, N>(std::f64::consts::LN_2),
                rest,
            )
        } else {
            maximum + rest
        }
    }
}
