use cubecl::prelude::*;

use super::{Reduction, ReductionKind, Spec, running::RunningSums};
use crate::{
    kernel::math::{self, Math},
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
    /// The running maxima $m$, to which the current block is relative.
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
        let old = self.maximum[k];
        let mut new = old;
        #[unroll]
        for c in 0..q {
            let value = *values.index(c);
            new = select_many(value.greater_than(&new), value, new);
        }
        let grown = Vector::<u32, N>::cast_from(new.greater_than(&old));
        if grown.vector_sum() > 0u32 {
            let most = Vector::new(F::max_value());
            let new = select_many(new.greater_than(&most), most, new);
            let factor = math::exp::<F, N>(old - new, math);
            #[unroll(sums <= UNROLL)]
            for s in 0..sums {
                self.sums.scale_block(start + s, factor);
            }
            self.maximum[k] = new;
        }
        let maximum = self.maximum[k];
        #[unroll]
        for c in 0..q {
            self.exps[k * COLUMNS + c] = math::exp::<F, N>(*values.index(c) - maximum, math);
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
        let factor = math::exp::<F, N>(self.before[k] - self.maximum[k], math);
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
        Vector::<A, N>::cast_from(math::exp::<F, N>(later - new, math))
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

    fn value(state: &ExpState<F, A, N>, at: usize, #[comptime] spec: Spec) -> Vector<A, N> {
        let k = if comptime!(scores(&spec) == 1) {
            0usize.runtime()
        } else {
            at
        };
        Vector::<A, N>::cast_from(state.maximum[k]) + state.sums.total(at).ln()
    }
}
