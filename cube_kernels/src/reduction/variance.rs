use super::{Entry, Family, Forward, Found, Plane, Wanted};
use crate::{formula::Cotangent, program::unrolled};

/// The variance $\frac{1}{N - c} \sum (f - \mu)^2$ and the mean $\mu$, in this order, with $c = 1$ if the variance is
/// unbiased and else 0. The variance is NaN if $N - c$ is 0, and both are NaN without columns.
///
/// The mean and the sum of squared deviations from it are updated by a few columns at a time (Welford, "Note on a
/// method for calculating corrected sums of squares and products", Technometrics 1962). The moments of blocks, of
/// several blocks and of partial results are merged (Chan, Golub and LeVeque, "Updating formulae and a pairwise
/// algorithm for computing sample variances", 1979), so that the error hardly grows with the number of columns.
pub struct Variance {
    /// Whether sums of squares are divided by one less than the number of columns.
    pub unbiased: bool,
}

impl Variance {
    /// What the sum of squared deviations of `count` values is divided by.
    fn divisor(&self, count: usize) -> f64 {
        count as f64 - f64::from(u8::from(self.unbiased))
    }
}

impl Family for Variance {
    fn name(&self) -> String {
        "variance and mean".into()
    }

    fn places(&self) -> Option<usize> {
        Some(2)
    }

    fn empty(&self) -> f64 {
        f64::NAN
    }

    /// The means and the sums of squared deviations, and the number of columns.
    fn planes(&self, _dim: usize) -> Vec<Plane> {
        let moments = Plane {
            len: 2,
            shared: false,
        };
        vec![moments, Plane::SHARED]
    }

    fn vectors(&self, dim: usize, _wanted: Wanted) -> usize {
        6 * dim
    }

    fn init_iterations(&self, dim: usize) -> usize {
        3 * unrolled(dim, 0)
    }

    /// The moments of the block are merged into those of several blocks and cleared. Sometimes those are merged into
    /// the total and cleared, too.
    fn end_block_iterations(&self, dim: usize) -> usize {
        4 * unrolled(dim, 0)
    }

    fn merge_iterations(&self, dim: usize) -> usize {
        4 * unrolled(dim, 0)
    }

    fn value(&self, columns: &[Vec<f64>], entry: Entry) -> Found {
        let count = columns.len();
        let mean = entry.of(columns).sum::<f64>() / count as f64;
        let squares: f64 = entry.of(columns).map(|value| (value - mean).powi(2)).sum();
        let moments = [squares / self.divisor(count), mean];
        (moments[entry.place], None)
    }

    fn value_of_equal(&self, column: &[f64], count: usize, entry: Entry) -> Found {
        let value = column[entry.component];
        let squares = if value.is_finite() { 0.0 } else { f64::NAN };
        let moments = [squares / self.divisor(count), value];
        (moments[entry.place], None)
    }

    fn needs_result(&self) -> bool {
        true
    }

    /// The derivative of the variance is $\frac{2}{N - c} (f - \mu)$, that of the mean is $1 / N$.
    fn derivative(&self, forward: &mut dyn Forward) -> Cotangent {
        let root = forward.root().clone();
        let dim = root.dim();
        let mean = forward.result().slice(dim, dim);
        let [by_variance, by_mean] =
            [0, 1].map(|place| forward.cotangent().slice(place * dim, dim));
        let of_variance = forward.of_count(&|count| 2.0 / self.divisor(count));
        let of_mean = forward.of_count(&|count| 1.0 / count as f64);
        Cotangent::from(by_variance * of_variance * (root - mean) + by_mean * of_mean)
    }
}

/// The kernel code of this reduction: its state, and how it takes in values.
#[cfg(feature = "cubecl")]
pub(super) mod kernel {
    use cubecl::prelude::*;

    use super::{
        super::{
            ReductionKind, Spec,
            accumulator::*,
            running::{BLOCKS, PARTS},
        },
        Variance,
    };
    use crate::{
        math::{all, constant_vector},
        program::UNROLL,
    };

    /// Means, sums of squared deviations from them, and the number of values.
    #[derive(CubeType)]
    pub struct Moments<F: Float, N: Size> {
        mean: Array<Vector<F, N>>,
        squares: Array<Vector<F, N>>,
        count: Array<F>,
    }

    /// The moments of one component.
    #[derive(CubeType)]
    struct Moment<F: Float, N: Size> {
        mean: Vector<F, N>,
        squares: Vector<F, N>,
    }

    /// Whether `x` is finite.
    #[cube]
    fn is_finite<F: Float, N: Size>(x: Vector<F, N>) -> Vector<bool, N> {
        x.abs().less_equal(&Vector::new(F::max_value()))
    }

    #[cube]
    impl<F: Float, N: Size> Moments<F, N> {
        fn new(#[comptime] dim: usize) -> Moments<F, N> {
            let mut moments = Moments::<F, N> {
                mean: Array::new(dim),
                squares: Array::new(dim),
                count: Array::new(1usize),
            };
            moments.clear(dim);
            moments
        }

        /// Sets all moments to those of no values.
        fn clear(&mut self, #[comptime] dim: usize) {
            #[unroll(dim <= UNROLL)]
            for k in 0..dim {
                self.mean[k] = constant_vector::<F, N>(0.0);
                self.squares[k] = constant_vector::<F, N>(0.0);
            }
            self.count[0] = F::cast_from(0u32);
        }

        /// The moments of component `k` of the values of `self` and of `other` together.
        fn with(&self, other: &Moments<F, N>, k: usize) -> Moment<F, N> {
            let count = max(self.count[0] + other.count[0], F::cast_from(1u32));
            let share = Vector::new(other.count[0] / count);
            let (a, b) = (self.mean[k], other.mean[k]);
            let distance = b - a;
            // The distance of infinite means is not finite. Their sum is the right mean then.
            let finite = is_finite::<F, N>(a).vec_and(is_finite::<F, N>(b));
            // Multiplied in this order, as the square of the distance may overflow if `self` has no values yet: the
            // product begins with the 0 of its count.
            let more = distance * (distance * (share * Vector::new(self.count[0])));
            Moment::<F, N> {
                mean: select_many(finite, fma(distance, share, a), a + b),
                squares: self.squares[k] + other.squares[k] + more,
            }
        }

        /// Merges `other` into these moments.
        fn take(&mut self, other: &Moments<F, N>, #[comptime] dim: usize) {
            #[unroll(dim <= UNROLL)]
            for k in 0..dim {
                let both = self.with(other, k);
                self.mean[k] = both.mean;
                self.squares[k] = both.squares;
            }
            self.count[0] += other.count[0];
        }

        /// Takes in values of component `k`, after `before` values of the same block.
        fn take_values(&mut self, k: usize, values: &Sequence<Vector<F, N>>, before: u32) {
            let q = values.len();
            let mut pivot = self.mean[k];
            if before == 0u32 {
                pivot = *values.index(0usize);
            }
            let mut sum = constant_vector::<F, N>(0.0);
            #[unroll]
            for c in 0..q {
                sum += *values.index(c) - pivot;
            }
            let count = before + comptime!(q as u32);
            let weight = Vector::new(F::cast_from(1u32) / F::cast_from(count));
            let mut mean = fma(sum, weight, pivot);
            if !all::<N>(is_finite::<F, N>(mean)) {
                // The differences of infinite values are not finite. The mean of such values is their sum.
                let mut total = select_many(
                    is_finite::<F, N>(pivot),
                    constant_vector::<F, N>(0.0),
                    pivot,
                );
                #[unroll]
                for c in 0..q {
                    total += *values.index(c);
                }
                mean = select_many(is_finite::<F, N>(total), mean, total);
            }
            let mut squares = self.squares[k];
            #[unroll]
            for c in 0..q {
                let value = *values.index(c);
                squares = fma(value - pivot, value - mean, squares);
            }
            self.mean[k] = mean;
            self.squares[k] = squares;
        }
    }

    /// The moments of the columns so far.
    #[derive(CubeType)]
    pub struct VarianceState<F: Float, N: Size> {
        /// The moments of the current block. Their count is set when the block ends.
        block: Moments<F, N>,
        /// The moments of up to [`BLOCKS`] ended blocks, or of up to [`PARTS`] partial results.
        middle: Moments<F, N>,
        /// The moments of everything before.
        total: Moments<F, N>,
        /// The first column of the current block.
        begin: Array<u32>,
        /// The column after the last one of the current block.
        end: Array<u32>,
        /// Number of blocks, or of partial results, that have been taken in.
        blocks: Array<u32>,
    }

    #[cube]
    impl<F: Float, N: Size> VarianceState<F, N> {
        /// Counts a block or a partial result that `middle` has taken in. Every `full` of them go to the total.
        fn count(&mut self, #[comptime] full: u32, #[comptime] dim: usize) {
            self.blocks[0] += 1u32;
            let over = self.blocks[0] % full;
            if over == 0 {
                self.total.take(&self.middle, dim);
                self.middle.clear(dim);
            }
        }
    }

    #[cube]
    impl<F: Float, A: Float, N: Size> Accumulator<F, A, N> for Variance {
        type State = VarianceState<F, N>;

        fn step(
            state: &mut VarianceState<F, N>,
            index: usize,
            columns: &Consecutive<'_>,
            values: &Sequence<Vector<F, N>>,
            #[comptime] _first: usize,
            #[comptime] _rule: Rule,
        ) {
            let before = columns.first - state.begin[0];
            state.block.take_values(index, values, before);
            // All components of these columns set the same value.
            state.end[0] = columns.first + values.len() as u32;
        }
    }

    products_are_values!(Variance);

    weights_are_values!(Variance);

    no_indices!(Variance);

    #[cube]
    impl<F: Float, A: Float, N: Size> KeepsValues<F, A, N> for Variance {
        fn end_block(state: &mut VarianceState<F, N>, #[comptime] rule: Rule) {
            let dim = comptime!(rule.spec.dim);
            state.block.count[0] = F::cast_from(state.end[0] - state.begin[0]);
            state.middle.take(&state.block, dim);
            state.block.clear(dim);
            state.begin[0] = state.end[0];
            state.count(BLOCKS, dim);
        }

        fn save(
            state: &VarianceState<F, N>,
            at: usize,
            #[comptime] plane: usize,
            #[comptime] spec: Spec,
        ) -> Vector<A, N> {
            if comptime!(plane == 0) {
                let dim = comptime!(spec.dim);
                let moment = state.total.with(&state.middle, at % dim);
                let value = select_many(Vector::new(at < dim), moment.mean, moment.squares);
                Vector::cast_from(value)
            } else {
                Vector::new(A::cast_from(state.total.count[0] + state.middle.count[0]))
            }
        }

        fn load(
            state: &mut VarianceState<F, N>,
            at: usize,
            value: Vector<A, N>,
            #[comptime] plane: usize,
            #[comptime] spec: Spec,
        ) {
            if comptime!(plane == 0) {
                let dim = comptime!(spec.dim);
                if at < dim {
                    state.total.mean[at] = Vector::cast_from(value);
                } else {
                    state.total.squares[at - dim] = Vector::cast_from(value);
                }
            } else {
                state.total.count[0] = F::cast_from(value.extract(0usize));
            }
        }

        fn value(state: &VarianceState<F, N>, at: usize, #[comptime] rule: Rule) -> Vector<A, N> {
            let spec = comptime!(rule.spec);
            let dim = comptime!(spec.dim);
            let moment = state.total.with(&state.middle, at % dim);
            let count = state.total.count[0] + state.middle.count[0];
            // Without columns, the variance and the mean are both 0 / 0, which is NaN.
            let none = count == F::from_int(0);
            let fewer = count - F::cast_from(comptime!(correction(spec)));
            let divisor = select(none, count, fewer);
            let variance = moment.squares / Vector::new(divisor);
            let first = at < dim || none;
            Vector::cast_from(select_many(Vector::new(first), variance, moment.mean))
        }
    }

    #[cube]
    impl<F: Float, A: Float, N: Size> FollowsColumns<F, A, N> for Variance {
        fn go_on(state: &mut VarianceState<F, N>, begin: u32) {
            state.begin[0] = begin;
            state.end[0] = begin;
        }

        fn end_columns(_state: &mut VarianceState<F, N>, #[comptime] _rule: Rule) {}
    }

    #[cube]
    impl<F: Float, A: Float, N: Size> Reduction<F, A, N> for Variance {
        fn init(begin: u32, _infinity: F, #[comptime] rule: Rule) -> VarianceState<F, N> {
            let dim = comptime!(rule.spec.dim);
            let mut state = VarianceState::<F, N> {
                block: Moments::<F, N>::new(dim),
                middle: Moments::<F, N>::new(dim),
                total: Moments::<F, N>::new(dim),
                begin: Array::new(1usize),
                end: Array::new(1usize),
                blocks: Array::new(1usize),
            };
            state.begin[0] = begin;
            state.end[0] = begin;
            state.blocks[0] = 0u32;
            state
        }

        fn merge(
            state: &mut VarianceState<F, N>,
            later: &VarianceState<F, N>,
            #[comptime] rule: Rule,
        ) {
            let dim = comptime!(rule.spec.dim);
            state.middle.take(&later.total, dim);
            state.middle.take(&later.middle, dim);
            state.count(PARTS, dim);
        }
    }

    /// What is subtracted from the number of columns to get the divisor of the variance.
    fn correction(spec: Spec) -> u32 {
        match spec.kind {
            ReductionKind::Variance { unbiased } => unbiased.into(),
            _ => 0,
        }
    }
}
