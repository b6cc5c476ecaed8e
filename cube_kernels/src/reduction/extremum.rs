use super::{Entry, Family, Forward, Found, Wanted, family::derivative_where_found};
use crate::formula::Cotangent;

/// The smallest or largest value and the column of its first occurrence.
///
/// NaN counts as both the smallest and the largest value, as in NumPy: if any value is NaN, the result is NaN, at the
/// column of the first NaN.
pub struct Extremum {
    pub largest: bool,
}

impl Family for Extremum {
    fn name(&self) -> String {
        if self.largest { "maximum" } else { "minimum" }.into()
    }

    fn empty(&self) -> f64 {
        if self.largest {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        }
    }

    fn keeps_indices(&self, wanted: Wanted) -> bool {
        wanted.indices
    }

    fn selects(&self) -> bool {
        true
    }

    fn vectors(&self, dim: usize, wanted: Wanted) -> usize {
        dim * (1 + usize::from(wanted.indices))
    }

    fn value(&self, columns: &[Vec<f64>], entry: Entry) -> Found {
        let mut best: Option<(usize, f64)> = None;
        for (index, value) in entry.of(columns).enumerate() {
            let better = |best: f64| match self.largest {
                true => value > best,
                false => value < best,
            };
            if best.is_none_or(|(_, best)| !best.is_nan() && (value.is_nan() || better(best))) {
                best = Some((index, value));
            }
        }
        best.map_or((self.empty(), None), |(index, value)| (value, Some(index)))
    }

    fn derivative(&self, forward: &mut dyn Forward) -> Cotangent {
        derivative_where_found(forward, 1)
    }
}

/// The kernel code of this reduction: its state, and how it takes in values.
#[cfg(feature = "cubecl")]
pub(super) mod kernel {
    use cubecl::prelude::*;

    use super::{
        super::{NO_INDEX, ReductionKind, Spec, accumulator::*},
        Extremum,
    };
    use crate::program::UNROLL;

    /// The best values so far and, if indices are wanted, their columns.
    #[derive(CubeType)]
    pub struct ExtremumState<F: Float, N: Size> {
        best: Array<Vector<F, N>>,
        index: Array<Vector<u32, N>>,
    }

    /// Whether `value` takes the place of `best`, which was found earlier.
    #[cube]
    fn better<F: Float, N: Size>(
        value: Vector<F, N>,
        best: Vector<F, N>,
        #[comptime] kind: ReductionKind,
    ) -> Vector<bool, N> {
        let beyond = if comptime!(kind == ReductionKind::Maximum) {
            value.greater_than(&best)
        } else {
            value.less_than(&best)
        };
        // Not `value != value`, which shaders may take to be false for NaN.
        select_many(value.equal(&value), beyond, best.equal(&best))
    }

    /// The same if columns are unordered, so that `best` may come from any column. Of equal values, the one with the
    /// lower index is better.
    #[cube]
    fn better_by_index<F: Float, N: Size>(
        value: Vector<F, N>,
        index: Vector<u32, N>,
        best: Vector<F, N>,
        best_index: Vector<u32, N>,
        #[comptime] spec: Spec,
    ) -> Vector<bool, N> {
        let (never, always) = (index.less_than(&index), index.equal(&index));
        let both_nan = select_many(best.equal(&best), never, always);
        let same = select_many(value.equal(&value), value.equal(&best), both_nan);
        let earlier = same.vec_and(index.less_than(&best_index));
        better::<F, N>(value, best, comptime!(spec.kind)).or(earlier)
    }

    /// Whether indices decide between equal values.
    fn by_index(spec: Spec) -> bool {
        spec.unordered && spec.wanted.indices
    }

    /// Whether a value surely does not take the place of `best`.
    #[cube]
    fn not_better<F: Float, N: Size>(
        value: Vector<F, N>,
        best: Vector<F, N>,
        #[comptime] spec: Spec,
    ) -> Vector<bool, N> {
        match comptime!((spec.kind == ReductionKind::Maximum, by_index(spec))) {
            (true, false) => value.less_equal(&best),
            (true, true) => value.less_than(&best),
            (false, false) => value.greater_equal(&best),
            (false, true) => value.greater_than(&best),
        }
    }

    /// Whether any of `q` values may be better than `best` in any lane.
    #[cube]
    fn any_may_be_better<F: Float, N: Size>(
        values: &Sequence<Vector<F, N>>,
        best: Vector<F, N>,
        #[comptime] q: usize,
        #[comptime] rule: Rule,
    ) -> bool {
        let spec = comptime!(rule.spec);
        if comptime!(rule.math.simd()) {
            let mut keeps = not_better::<F, N>(*values.index(0usize), best, spec);
            #[unroll]
            for c in 1..q {
                keeps = keeps.vec_and(not_better::<F, N>(*values.index(c), best, spec));
            }
            Vector::<u32, N>::cast_from(keeps).vector_sum() < u32::cast_from(N::value())
        } else {
            let mut keeps = true.runtime();
            #[unroll]
            for c in 0..q {
                let value = *values.index(c);
                #[unroll]
                for lane in 0..N::value() {
                    let (value, best) = (value.extract(lane), best.extract(lane));
                    keeps = match comptime!((spec.kind == ReductionKind::Maximum, by_index(spec))) {
                        (true, false) => keeps && value <= best,
                        (true, true) => keeps && value < best,
                        (false, false) => keeps && value >= best,
                        (false, true) => keeps && value > best,
                    };
                }
            }
            !keeps
        }
    }

    #[cube]
    fn take<F: Float, N: Size>(
        state: &mut ExtremumState<F, N>,
        at: usize,
        value: Vector<F, N>,
        index: Vector<u32, N>,
        #[comptime] spec: Spec,
    ) {
        let better = if comptime!(by_index(spec)) {
            let (best, best_index) = (state.best[at], state.index[at]);
            better_by_index::<F, N>(value, index, best, best_index, spec)
        } else {
            better::<F, N>(value, state.best[at], comptime!(spec.kind))
        };
        state.best[at] = select_many(better, value, state.best[at]);
        if comptime!(spec.wanted.indices) {
            state.index[at] = select_many(better, index, state.index[at]);
        }
    }

    #[cube]
    impl<F: Float, A: Float, N: Size> Accumulator<F, A, N> for Extremum {
        type State = ExtremumState<F, N>;

        fn step(
            state: &mut ExtremumState<F, N>,
            index: usize,
            columns: &Consecutive<'_>,
            values: &Sequence<Vector<F, N>>,
            #[comptime] _first: usize,
            #[comptime] rule: Rule,
        ) {
            let spec = comptime!(rule.spec);
            let q = values.len();
            // Few values are better in any lane, so all columns are tested at once. The test is also true for NaN.
            if any_may_be_better::<F, N>(values, state.best[index], q, rule) {
                #[unroll]
                for c in 0..q {
                    let column = Vector::<u32, N>::new(columns.known_index(c, spec));
                    take::<F, N>(state, index, *values.index(c), column, spec);
                }
            }
        }
    }

    products_are_values!(Extremum);

    weights_are_values!(Extremum);

    indices_are_kept!(Extremum, index);

    values_are_kept!(Extremum, best);

    columns_are_not_counted!(Extremum);

    #[cube]
    impl<F: Float, A: Float, N: Size> Reduction<F, A, N> for Extremum {
        fn init(begin: u32, infinity: F, #[comptime] rule: Rule) -> ExtremumState<F, N> {
            let spec = comptime!(rule.spec);
            let dim = comptime!(spec.dim);
            let mut state = ExtremumState::<F, N> {
                best: Array::new(dim),
                index: Array::new(comptime!(if spec.wanted.indices { dim } else { 1 })),
            };
            #[unroll(dim <= UNROLL)]
            for k in 0..dim {
                state.best[k] = Vector::new(if comptime!(spec.kind == ReductionKind::Maximum) {
                    -infinity
                } else {
                    infinity
                });
                if comptime!(spec.wanted.indices) {
                    // If every value equals this infinity, none is better, and the index stays: the first column is
                    // right. Where indices decide, any index is lower than `NO_INDEX`, and the lowest one is found.
                    state.index[k] = Vector::new(if comptime!(by_index(spec)) {
                        NO_INDEX.runtime()
                    } else {
                        begin
                    });
                }
            }
            state
        }

        fn merge(
            state: &mut ExtremumState<F, N>,
            later: &ExtremumState<F, N>,
            #[comptime] rule: Rule,
        ) {
            let spec = comptime!(rule.spec);
            for k in 0..spec.dim {
                let index = if comptime!(spec.wanted.indices) {
                    // The state that partial results are merged into starts without an index. It takes the one of the
                    // first partial result, which stays if every value is infinite and none is better.
                    let own = state.index[k];
                    let none = own.equal(&Vector::new(NO_INDEX));
                    state.index[k] = select_many(none, later.index[k], own);
                    later.index[k]
                } else {
                    Vector::new(0u32)
                };
                take::<F, N>(state, k, later.best[k], index, spec);
            }
        }
    }
}
