//! Reductions that leave out pairs which cannot matter, as bounds of the formula show.

use std::{cell::RefCell, sync::Arc};

use burn::{
    backend::{Dispatch, DispatchTensor, TensorMetadata, ops::FloatTensorOps},
    tensor::{DType, Slice, Tensor},
};
use burn_lazy_kernels::{
    Accumulation, Axis, Expr, Ranges as Pairs, ReductionKind, Wanted,
    pruning::{Blocks, End, Kept, Pruning as Lists, Rule},
};

use crate::{
    backends::{self, computed},
    bounded::{Bounded, in_order},
    error::LazyError,
    lazy::{LazyTensor, expect},
    ops::Reduced,
    pruning::{Pruned, Pruning, Unpruned},
    ranges::Ranges,
    request::Request,
};

/// The smallest number of pairs for which pruning is tried. Trying it takes some ten milliseconds.
const FEW_PAIRS: u128 = 1 << 28;

/// The smallest number of points on either axis for which pruning is tried.
const FEW_POINTS: usize = 1 << 12;

/// The smallest number of pairs on graphics cards. It is larger, as points are sorted on the host.
const FEW_PAIRS_OF_GPU: u128 = 1 << 32;

/// The smallest number of pairs of a sum. For most formulas nothing is left out of a sum, and finding that out takes
/// some hundredths of the time of the sum.
const FEW_PAIRS_OF_SUM: u128 = 1 << 31;

/// The largest number of components of the points of an axis. With more components, few blocks of pairs are excluded.
const COMPONENTS: usize = 8;

/// The largest fraction of the pairs that may remain. If more remain, pruning does not pay.
const MOST_LEFT: f64 = 0.4;

/// The largest fraction of the pairs that may remain with limits from bounds alone. If more remain, limits from
/// values are not tried.
const MOST_BY_BOUNDS: f64 = 0.97;

/// The relative difference by which the kernel of the result may round a value differently from the kernel that found
/// the limits.
const ROUNDING: f64 = 1e-6;

/// The fraction of a computed sum of absolute values that the exact sum is sure to reach, in spite of rounding.
const SURE: f64 = 0.99;

/// The number of blocks of columns, for each block of rows, from which a lower bound of a sum of absolute values is
/// computed: those that may hold the largest terms.
const BLOCKS_OF_SUM: usize = 8;

impl LazyTensor {
    /// This formula with another way to leave out pairs that cannot matter. Formulas that are made from it prune in the
    /// default way again.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::{prelude::*, tensor::Distribution};
    /// use burn_lazy::{Axis, LazyTensor, Pruning};
    ///
    /// let x = Tensor::<2>::random([2000, 3], Distribution::Default, &Device::default());
    /// let squares = LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x));
    /// let near: Tensor<2, Int> = squares.prune(Pruning::Exact).argkmin(4, Axis::J);
    /// let dense: Tensor<2, Int> = squares.prune(Pruning::Off).argkmin(4, Axis::J);
    /// near.into_data().assert_eq(&dense.into_data(), true);
    /// # }
    /// ```
    ///
    /// # Panics
    /// If a tolerance is negative or NaN.
    #[track_caller]
    pub fn prune(&self, pruning: Pruning) -> Self {
        expect(self.try_prune(pruning))
    }

    /// Like [`prune`](Self::prune), with an error instead of a panic.
    pub fn try_prune(&self, pruning: Pruning) -> Result<Self, LazyError> {
        match pruning.tolerance() {
            Some(tolerance) if tolerance.is_nan() || tolerance < 0.0 => Err(LazyError::Tolerance {
                tolerance: tolerance.to_string(),
                formula: self.boxed_info(),
            }),
            _ => Ok(Self {
                pruning,
                ..self.clone()
            }),
        }
    }

    /// The number of pairs that [`kmin`](Self::kmin) evaluates to find the `count` smallest values over `axis`, or
    /// the reason why it evaluates all pairs. The call takes as long as [`kmin`](Self::kmin) takes to decide this.
    ///
    /// # Panics
    /// As [`kmin`](Self::kmin).
    #[track_caller]
    #[must_use]
    pub fn pruning(&self, count: usize, axis: Axis) -> Pruned {
        expect(self.try_pruning(count, axis))
    }

    /// Like [`pruning`](Self::pruning), with an error instead of a panic.
    pub fn try_pruning(&self, count: usize, axis: Axis) -> Result<Pruned, LazyError> {
        self.pruning_of(self.smallest("pruning", count)?, axis)
    }

    /// The number of pairs that [`sum`](Self::sum) evaluates over `axis`, or the reason why it evaluates all pairs;
    /// see [`pruning`](Self::pruning).
    ///
    /// # Panics
    /// As [`sum`](Self::sum).
    #[track_caller]
    #[must_use]
    pub fn pruning_of_sum(&self, axis: Axis) -> Pruned {
        expect(self.try_pruning_of_sum(axis))
    }

    /// Like [`pruning_of_sum`](Self::pruning_of_sum), with an error instead of a panic.
    pub fn try_pruning_of_sum(&self, axis: Axis) -> Result<Pruned, LazyError> {
        self.pruning_of(ReductionKind::Sum(self.accumulation), axis)
    }

    /// This matrix with its points sorted, and without the pairs that a [`sum`](Self::sum) over [`Axis::J`] leaves
    /// out. These are the pairs that are 0, and with [`Pruning::Relative`] or [`Pruning::Absolute`] also those below
    /// the tolerance. The pairs are found once for all products, as a solver takes hundreds with one matrix.
    ///
    /// It is meant for [`sum`](Self::sum), [`matmul`](Self::matmul) and solvers: the result is a matrix with
    /// [`ranges`](Self::ranges), in which the pairs that are left out do not exist. So a `mean` or a `min` of it is
    /// that of the remaining pairs. With a tolerance $t$ an entry of a product with $b$ changes by at most
    /// $t \max_j |b_j| \sum_j |k_{ij}|$ (or $t \max_j |b_j|$ if it is absolute), and the matrix may lose its
    /// symmetry, which solvers rely on. If nothing can be left out, for example because autodiff tracks an operand or
    /// no bounds are known, the result is this matrix.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::{prelude::*, tensor::Distribution};
    /// use burn_lazy::LazyTensor;
    ///
    /// let device = Device::default();
    /// let x = Tensor::<2>::random([1000, 2], Distribution::Default, &device);
    /// let k = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x)) * 5000.0).exp();
    /// let near = k.arranged();
    /// let b = Tensor::<2>::random([1000, 4], Distribution::Default, &device);
    /// let (a, all) = (near.matmul(b.clone()), k.matmul(b));
    /// a.into_data().assert_approx_eq::<f32>(&all.into_data(), Default::default());
    /// # }
    /// ```
    ///
    /// # Panics
    /// If no operand depends on an axis, or if the device does not support the type of the operands.
    #[track_caller]
    pub fn arranged(&self) -> Self {
        expect(self.try_arranged())
    }

    /// Like [`arranged`](Self::arranged), with an error instead of a panic.
    pub fn try_arranged(&self) -> Result<Self, LazyError> {
        self.check_axis(Axis::I)?;
        self.check_axis(Axis::J)?;
        self.check_tensor()?;
        let exact = match self.pruning {
            Pruning::Auto => self.try_prune(Pruning::Exact)?,
            _ => self.clone(),
        };
        let kind = ReductionKind::Sum(self.accumulation);
        let request = Request::new(kind, Wanted::VALUES, Axis::J);
        let Ok(pruned) = exact.find_pairs(request)? else {
            return Ok(self.clone());
        };
        let ranges = pruned.ranges.as_ref().expect("it was made with ranges");
        // The sorted operands are listed in the same order as the operands from which they were made.
        let operands = self.operands.iter().zip(pruned.operands.iter());
        let operands = operands.map(|(own, sorted)| own.with_sorted(sorted, ranges));
        Ok(Self {
            operands: Arc::new(operands.collect()),
            ranges: pruned.ranges.clone(),
            ..self.clone()
        })
    }

    fn pruning_of(&self, kind: ReductionKind, axis: Axis) -> Result<Pruned, LazyError> {
        self.check_axis(axis)?;
        self.check_tensor()?;
        let request = Request::new(kind, Wanted::VALUES, axis);
        let found = match self.find_pairs(request)? {
            Err(why) => self.of_masks(request).ok_or(why),
            found => found,
        };
        Ok(match found {
            Err(why) => Pruned::All(why),
            Ok(pruned) => {
                let [m, n] = pruned.sizes();
                let ranges = pruned.ranges.expect("it was made with ranges");
                Pruned::Pairs {
                    left: ranges.pairs(),
                    all: m as u128 * n as u128,
                }
            }
        })
    }

    /// This formula with sorted operands and only the pairs that may matter to the reduction. None if pruning does
    /// not pay or is not possible.
    pub(crate) fn pruned(&self, request: Request) -> Result<Option<Self>, LazyError> {
        Ok(self.find_pairs(request)?.ok())
    }

    fn find_pairs(&self, request: Request) -> Result<Result<Self, Unpruned>, LazyError> {
        let Some(what) = What::of(self, request) else {
            return Ok(Err(Unpruned::NotDone));
        };
        match self.why_not(request, &what) {
            Some(why) => Ok(Err(why)),
            None => match Attempt::new(self, request, what) {
                Ok(attempt) => attempt.run(),
                Err(why) => Ok(Err(why)),
            },
        }
    }

    /// The reason not to try pruning, if the settings, the sizes or the operands give one.
    fn why_not(&self, request: Request, what: &What) -> Option<Unpruned> {
        let extent = self.extent();
        let (Some(m), Some(n), Some(device)) = (extent.m, extent.n, &extent.device) else {
            return Some(Unpruned::Empty);
        };
        let few = || match (backends::is_processor(device), what) {
            (true, What::Sum(_)) => FEW_PAIRS_OF_SUM,
            (false, What::Sum(_)) => u128::MAX,
            (true, _) => FEW_PAIRS,
            (false, _) => FEW_PAIRS_OF_GPU,
        };
        let columns = extent.size(request.axis).expect("checked");
        let auto = self.pruning == Pruning::Auto;
        match () {
            _ if self.pruning == Pruning::Off => Some(Unpruned::Off),
            _ if self.ranges.is_some() || !extent.batch.is_empty() => {
                Some(Unpruned::RangesOrBatches)
            }
            _ if m == 0 || n == 0 => Some(Unpruned::Empty),
            _ if m.max(n) >= u32::MAX as usize => Some(Unpruned::TooLarge),
            _ if cfg!(target_family = "wasm") => Some(Unpruned::Unreadable),
            // A pair that is 0 may have a gradient that is not 0, as a product has by a factor that is 0.
            _ if matches!(what, What::Sum(_)) && self.is_tracked() => Some(Unpruned::Tracked),
            // The time to sort grows with the longer axis, and does not pay if the other axis is short.
            _ if auto && m.min(n) < FEW_POINTS => Some(Unpruned::FewPairs),
            _ if auto && (m as u128 * n as u128) < few() => Some(Unpruned::FewPairs),
            _ if auto && what.places() > columns / 16 => Some(Unpruned::ManyValues),
            _ => None,
        }
    }
}

/// Which pairs matter to a reduction.
enum What {
    /// The pairs with the smallest or largest values of each row. The number says how many values of a row matter.
    Values(usize, End),
    /// The pairs that are not 0, or with a tolerance those that are not below it.
    Sum(Option<Pruning>),
    /// The pairs whose exponential is not negligible next to the largest one of the row.
    Exponentials,
}

impl What {
    fn of(lazy: &LazyTensor, request: Request) -> Option<Self> {
        let is_asked_for = !matches!(lazy.pruning, Pruning::Auto | Pruning::Off);
        Some(match request.kind {
            ReductionKind::Smallest { k } => Self::Values(k, End::Smallest),
            ReductionKind::Minimum => Self::Values(1, End::Smallest),
            ReductionKind::Maximum => Self::Values(1, End::Largest),
            ReductionKind::Sum(_) if lazy.pruning != Pruning::Off => {
                Self::Sum(lazy.pruning.tolerance().map(|_| lazy.pruning))
            }
            ReductionKind::Count if is_asked_for => Self::Sum(None),
            ReductionKind::LogSumExp { scores } if is_asked_for && scores == lazy.dim() => {
                Self::Exponentials
            }
            ReductionKind::SoftmaxSum if is_asked_for => Self::Exponentials,
            _ => return None,
        })
    }

    fn places(&self) -> usize {
        match self {
            Self::Values(places, _) => *places,
            _ => 1,
        }
    }

    /// The formula whose bounds decide which pairs matter.
    fn bounded(&self, lazy: &LazyTensor, kind: ReductionKind) -> Expr {
        match (self, kind) {
            (Self::Sum(Some(_)), _) => -lazy.expr.abs(),
            (Self::Exponentials, ReductionKind::SoftmaxSum) => {
                let values = lazy.expr.slice(1, lazy.dim() - 1);
                // The added term is NaN if a value is infinite or NaN. The pair then counts, whatever its score is.
                lazy.expr.slice(0, 1) + values.inner_sum() * 0.0
            }
            _ => lazy.expr.clone(),
        }
    }
}

/// A reduction that may be pruned.
struct Attempt<'a> {
    lazy: &'a LazyTensor,
    request: Request,
    what: What,
    bounded: Bounded,
    /// Whether the processor of the host runs the reduction.
    on_processor: bool,
}

impl<'a> Attempt<'a> {
    fn new(lazy: &'a LazyTensor, request: Request, what: What) -> Result<Self, Unpruned> {
        let expr = what.bounded(lazy, request.kind);
        let most = match lazy.pruning {
            Pruning::Auto => COMPONENTS,
            _ => usize::MAX,
        };
        let device = lazy.extent().device.ok_or(Unpruned::Empty)?;
        Ok(Self {
            bounded: Bounded::new(lazy, &expr, request.axis, most)?,
            on_processor: backends::is_processor(&device),
            lazy,
            request,
            what,
        })
    }

    fn run(&self) -> Result<Result<LazyTensor, Unpruned>, LazyError> {
        let rows = match self.on_processor {
            true => Blocks::ROWS,
            false => Blocks::COLUMNS,
        };
        let blocks = [rows, Blocks::COLUMNS];
        self.bounded
            .with_blocks(blocks, true, |lists, [rows, columns]| {
                let order = [rows, columns].map(|axis| axis.order().cloned());
                self.prune(lists, order)
            })
    }

    fn prune(
        &self,
        lists: &Lists,
        order: [Option<Arc<[u32]>>; 2],
    ) -> Result<Result<LazyTensor, Unpruned>, LazyError> {
        let expect = "bounds can be evaluated";
        let auto = self.lazy.pruning == Pruning::Auto;
        let few = |left| Ok(Err(Unpruned::FewExcluded { left }));
        if let (true, What::Values(places, end)) = (auto, &self.what) {
            // Limits from values exclude several times as many pairs as the limits from bounds of this sample. They
            // are tried unless the sample excludes almost nothing.
            let left = lists.sample(*places, *end).expect(expect);
            if left > MOST_BY_BOUNDS {
                return few(left);
            }
        }
        let [m, n] = self.lazy.sizes();
        let all = m as u128 * n as u128;
        let most = match auto {
            true => (all as f64 * MOST_LEFT) as u128,
            false => all,
        };
        let orders = match self.request.axis {
            Axis::J => order.clone(),
            Axis::I => [order[1].clone(), order[0].clone()],
        };
        // Zeros are found from bounds alone, without sorted operands. Mostly there are few zeros, and nothing is
        // sorted in the end.
        let mut sorted = None;
        let limits = match self.what {
            What::Sum(None) => None,
            _ => {
                let own = sorted.insert(self.sorted(&orders)?);
                Some(self.limits(lists, own)?)
            }
        };
        let kept = match &limits {
            None => lists.kept(Rule::NotZero, most),
            Some((End::Smallest, limits)) => lists.kept(Rule::Smallest(limits), most),
            Some((End::Largest, limits)) => lists.kept(Rule::Largest(limits), most),
        };
        let pairs = match kept.expect(expect) {
            Kept::Ranges(pairs) => pairs,
            Kept::TooMany(pairs) => return few(pairs as f64 / all as f64),
        };
        let pairs = pairs.with_order(order).expect("each index has a place");
        let pairs = match (self.request.kind, limits) {
            // Compilers for graphics cards may round the same value differently in two kernels. With limits, the list
            // of the smallest values could then miss it.
            (ReductionKind::Smallest { .. }, Some((_, limits))) if self.on_processor => {
                pairs.with_limits(limits.into_iter().map(rounded_up).collect())
            }
            _ => pairs,
        };
        let sorted = match (self.lazy.is_tracked(), sorted) {
            (true, _) => self.lazy.in_orders(&orders)?,
            (false, Some(sorted)) => sorted,
            (false, None) => self.sorted(&orders)?,
        };
        Ok(Ok(self.of_pairs(&sorted, pairs)))
    }

    fn of_pairs(&self, sorted: &LazyTensor, pairs: Pairs) -> LazyTensor {
        LazyTensor {
            ranges: Some(Ranges::reduced_over(self.request.axis, pairs).chosen_as_all()),
            accumulation: self.lazy.accumulation,
            ..sorted.clone()
        }
    }

    /// The formula with its operands in the given orders. Autodiff does not track the sorted copies.
    fn sorted(&self, orders: &[Option<Arc<[u32]>>; 2]) -> Result<LazyTensor, LazyError> {
        let mut sorted = self.lazy.clone();
        // Rows and columns are often the same points. They are then sorted once.
        let done: RefCell<Vec<Sorted>> = RefCell::default();
        for (axis, order) in [Axis::I, Axis::J].into_iter().zip(orders) {
            if let Some(order) = order {
                let indices: Vec<usize> = order.iter().map(|at| *at as usize).collect();
                sorted = sorted.picked(axis, &indices, |tensor| {
                    let own = &tensor.tensor;
                    let mut done = done.borrow_mut();
                    let is_it = |made: &&Sorted| {
                        Arc::ptr_eq(&made.order, order) && backends::is_same(&made.of, own)
                    };
                    if let Some(same) = done.iter().find(is_it) {
                        return same.sorted.clone();
                    }
                    let sorted = in_order(own, order);
                    done.push(Sorted {
                        of: own.clone(),
                        order: order.clone(),
                        sorted: sorted.clone(),
                    });
                    sorted
                })?;
            }
        }
        Ok(sorted)
    }

    /// The limit up to which values matter, for each place of a row and each component. With [`End::Smallest`] values
    /// above the limit do not matter, with [`End::Largest`] values below it.
    fn limits(&self, lists: &Lists, sorted: &LazyTensor) -> Result<(End, Vec<f64>), LazyError> {
        let Request { kind, axis, .. } = self.request;
        let expect = "bounds can be evaluated";
        let seeds = |count, end| lists.seeds(count, end).expect(expect);
        let values = |formula: &LazyTensor, kind, seeds| {
            let request = Request::new(kind, Wanted::VALUES, axis).wide();
            let Reduced { values, .. } = self.of_pairs(formula, seeds).reduce_unchecked(request)?;
            let values = Tensor::<1>::from_dispatch(values.expect("they are wanted"));
            Ok::<_, LazyError>(match kind {
                ReductionKind::Smallest { k } => last_places(values, k),
                _ => values,
            })
        };
        let columns = self.lazy.extent().size(axis).expect("it is reduced") as f64;
        let dtype = self.lazy.extent().dtype.expect("it is reduced");
        let is_double = computed(dtype) == DType::F64;
        let margin = |value: f64| value.abs() * ROUNDING + f64::from(f32::MIN_POSITIVE);
        Ok(match &self.what {
            What::Values(places, end) => {
                let seeds = seeds(places.div_ceil(Blocks::COLUMNS.rows) + 1, *end);
                let sign = match end {
                    End::Smallest => 1.0,
                    End::Largest => -1.0,
                };
                let found = values(sorted, kind, seeds)?;
                let least = f64::from(f32::MIN);
                let beyond = |value: f64| match value.is_finite() {
                    true => value + sign * margin(value),
                    // The limit is finite, so that infinite values are within it when they are computed again.
                    false if value * sign < 0.0 => sign * least,
                    false => value,
                };
                (*end, numbers(found, beyond))
            }
            What::Sum(Some(Pruning::Absolute(tolerance))) => {
                let rows = self.lazy.extent().size(axis.other()).expect("it has rows");
                let limit = -least_size(tolerance / columns, is_double);
                (End::Smallest, vec![limit; rows * self.bounded.dim()])
            }
            What::Sum(tolerance) => {
                let tolerance = tolerance.and_then(Pruning::tolerance).unwrap_or(0.0);
                let seeds = lists.nearest(BLOCKS_OF_SUM, End::Smallest).expect(expect);
                let sizes = sorted.map(sorted.expr.abs());
                let sums = values(&sizes, ReductionKind::Sum(Accumulation::Blocks), seeds)?;
                let limit = |sum: f64| match sum.is_finite() {
                    true => -least_size(sum * SURE * tolerance / columns, is_double),
                    // The sum may have overflowed. With a limit of NaN, no pair is excluded.
                    false => f64::NAN,
                };
                (End::Smallest, numbers(sums, limit))
            }
            What::Exponentials => {
                let scores = match kind {
                    ReductionKind::SoftmaxSum => sorted.map(sorted.expr.slice(0, 1)),
                    _ => sorted.clone(),
                };
                let found = values(&scores, ReductionKind::Maximum, seeds(1, End::Largest))?;
                let least = if is_double { -746.0 } else { -104.0 };
                let tolerance = self.lazy.pruning.tolerance().unwrap_or(0.0);
                let below = (tolerance / columns).ln().max(least).min(0.0);
                let limit = |value: f64| match value.is_finite() {
                    true => value + below - margin(value),
                    false => value,
                };
                (End::Largest, numbers(found, limit))
            }
        })
    }
}

/// The smallest number in F32 that is not less than `number`.
fn rounded_up(number: f64) -> f32 {
    let single = number as f32;
    match f64::from(single) < number {
        true => single.next_up(),
        false => single,
    }
}

/// A tensor, an order of its rows, and a copy with the rows in this order.
struct Sorted {
    of: DispatchTensor,
    order: Arc<[u32]>,
    sorted: DispatchTensor,
}

/// The size below which values do not matter. It is at least the smallest positive number, so that 0 is below it.
fn least_size(size: f64, is_double: bool) -> f64 {
    size.max(match is_double {
        true => f64::from_bits(1),
        false => f32::from_bits(1).into(),
    })
}

/// The last of the `places` values of each row.
fn last_places(values: Tensor<1>, places: usize) -> Tensor<1> {
    let values = values.into_dispatch();
    let mut slices = vec![Slice::full(); values.shape().num_dims()];
    slices[1] = (places - 1..places).into();
    Tensor::from_dispatch(Dispatch::float_slice(values, &slices))
}

/// The values of a tensor, with `each` applied to each of them.
fn numbers(values: Tensor<1>, each: impl Fn(f64) -> f64) -> Vec<f64> {
    let data = values.into_data();
    match data.as_slice::<f32>() {
        Ok(values) => values.iter().map(|value| each((*value).into())).collect(),
        Err(_) => data.iter::<f64>().map(each).collect(),
    }
}
