//! Merges what a reduction gives for parts of the axis that it reduces: chunks of columns that are read one after the
//! other, or blocks of rows and columns on several devices.
//!
//! A [`Parted`] reduction gives a [`Partial`] result of each part. Two partial results of neighbouring parts merge to one of
//! both, and the last one is finished. All of it is computed by Burn's operations, and differentiable.

#[cfg(feature = "autodiff")]
mod share;

use burn::{
    backend::{Dispatch, ops::FloatTensorOps},
    tensor::{Bool, DType, Device, Int, Shape, Tensor},
};
use burn_lazy_kernels::{Axis, ReductionKind, Wanted};

use crate::{
    cast::cast,
    error::LazyError,
    lazy::LazyTensor,
    operand::Operand,
    ops::Reduced,
    reduce::{Axes, largest},
    request::Request,
};

/// A reduction of a formula that is known only in parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Sum,
    Mean,
    Product,
    LogSumExp,
    /// The weighted sum of the components from the second one on, with the softmax of the first one.
    SoftmaxSum,
    Minimum,
    Maximum,
    Smallest(usize),
    Count,
    Variance {
        unbiased: bool,
    },
}

/// A reduction in parts, and how it is named in messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parted {
    pub operation: &'static str,
    pub kind: Kind,
    pub axes: Axes,
}

/// Values and indices: what a reduction gives.
#[derive(Clone, Debug)]
pub(crate) struct Results<const R: usize> {
    /// The values, none for a count. Softmax-weighted sums have the logarithms of the sums of exponentials beside them,
    /// `[.., 1]`, and variances the means.
    pub values: Vec<Tensor<R>>,
    /// The indices of selected values, or counts.
    pub indices: Option<Tensor<R, Int>>,
}

/// The result for a part of the reduced axis.
#[derive(Clone, Debug)]
pub(crate) struct Partial<const R: usize> {
    /// Values in the type in which kernels compute, F32 for halves. Variances are divided by the number of values.
    results: Results<R>,
    /// How many values were reduced, where that matters: `[.., 1]`, or of size 1 if it is the same everywhere.
    terms: Option<Tensor<R>>,
    /// Which dimension has the places of the smallest values.
    places: usize,
}

impl<const R: usize> Results<R> {
    /// The first of the values.
    pub fn value(mut self) -> Tensor<R> {
        self.values.swap_remove(0)
    }

    /// The indices.
    pub fn index(self) -> Tensor<R, Int> {
        self.indices.expect("the reduction gives indices")
    }

    /// The values with their indices.
    pub fn both(mut self) -> (Tensor<R>, Tensor<R, Int>) {
        let value = self.values.swap_remove(0);
        (value, self.index())
    }

    /// The first of the values and the second one.
    pub fn pair(mut self) -> (Tensor<R>, Tensor<R>) {
        let second = self.values.swap_remove(1);
        (self.value(), second)
    }

    /// The same on another device, with the integers of that device.
    pub fn on_device(self, device: &Device) -> Self {
        let moved = |tensor: Tensor<R>| tensor.to_device(device);
        let integers = device.settings().int_dtype;
        Self {
            values: self.values.into_iter().map(moved).collect(),
            indices: self
                .indices
                .map(|indices| indices.to_device(device).cast(integers)),
        }
    }

    /// The results for blocks of rows, one after the other along `dim`. There is at least one block.
    pub fn cat(blocks: Vec<Self>, dim: usize) -> Self {
        let places = blocks[0].values.len();
        let values = (0..places).map(|place| {
            let parts = blocks.iter().map(|block| block.values[place].clone());
            Tensor::cat(parts.collect(), dim)
        });
        let values = values.collect();
        let indices: Option<Vec<_>> = blocks.into_iter().map(|block| block.indices).collect();
        Self {
            values,
            indices: indices.map(|indices| Tensor::cat(indices, dim)),
        }
    }
}

impl<const R: usize> Partial<R> {
    /// Whether there are no rows.
    fn is_empty(&self) -> bool {
        let results = &self.results;
        let values = results.values.iter().map(Tensor::dims);
        let indices = results.indices.iter().map(Tensor::dims);
        values.chain(indices).any(|shape| shape.contains(&0))
    }

    /// The type of the values.
    #[cfg(feature = "autodiff")]
    pub fn dtype(&self) -> DType {
        self.results.values[0].dtype()
    }

    /// The same on another device.
    pub fn on_device(self, device: &Device) -> Self {
        Self {
            results: self.results.on_device(device),
            terms: self.terms.map(|terms| terms.to_device(device)),
            places: self.places,
        }
    }
}

impl Parted {
    pub fn new(operation: &'static str, kind: Kind, axes: impl Into<Axes>) -> Self {
        Self {
            operation,
            kind,
            axes: axes.into(),
        }
    }

    /// Checks that indices and counts along an axis of length `len` fit the integers of the device of `k`, which is
    /// a part of the formula.
    pub fn check_len(&self, k: &LazyTensor, len: usize) -> Result<(), LazyError> {
        let is_int = match self.kind {
            Kind::Count => true,
            Kind::Minimum | Kind::Maximum | Kind::Smallest(_) => self.axes != Axes::Both,
            _ => false,
        };
        let Some(device) = k.extent().device.filter(|_| is_int) else {
            return Ok(());
        };
        let limit = largest(device.settings().int_dtype);
        match len as u128 <= limit {
            true => Ok(()),
            false => Err(LazyError::TooManyPairs {
                operation: self.operation,
                pairs: len as u128,
                limit,
                formula: k.boxed_info(),
            }),
        }
    }

    /// Which dimension of results of `R` dimensions has the rows, for a formula of `dim` components that is reduced over one
    /// axis.
    pub fn rows(&self, rank: usize, dim: usize) -> usize {
        match self.kind {
            Kind::Smallest(_) if dim > 1 => rank.saturating_sub(3),
            _ => rank.saturating_sub(2),
        }
    }

    /// The result for a part of the axis that starts at `start`, where `k` is the formula of this part.
    pub fn partial<const R: usize>(
        &self,
        k: &LazyTensor,
        start: usize,
    ) -> Result<Partial<R>, LazyError> {
        let values = |kind| k.wide_values::<R>(self.operation, kind, self.axes);
        let mut indices = None;
        let values = match (self.kind, self.axes) {
            (Kind::Sum | Kind::Mean, _) => vec![values(ReductionKind::Sum(k.accumulation))?],
            (Kind::Product, _) => vec![values(ReductionKind::Product)?],
            (Kind::LogSumExp, _) => vec![values(ReductionKind::LogSumExp { scores: k.dim() })?],
            (Kind::SoftmaxSum, _) => self.softmax_sum(k)?.into(),
            (Kind::Variance { .. }, axes) => k.wide_moments(self.operation, false, axes)?.into(),
            (Kind::Count, axes) => {
                indices = Some(k.count_nonzero(self.operation, axes)?);
                vec![]
            }
            (Kind::Minimum, Axes::Both) => vec![values(ReductionKind::Minimum)?],
            (Kind::Maximum, Axes::Both) => vec![values(ReductionKind::Maximum)?],
            (kind, axes) => {
                let kind = match kind {
                    Kind::Smallest(count) => k.smallest(self.operation, count)?,
                    Kind::Maximum => ReductionKind::Maximum,
                    _ => ReductionKind::Minimum,
                };
                let axis = match axes {
                    Axes::One(axis) => axis,
                    Axes::Both => unreachable!("indices are those of one axis"),
                };
                let (values, own) = k.both(self.operation, kind, axis)?;
                indices = Some(moved(own, start));
                vec![values]
            }
        };
        let counts = matches!(self.kind, Kind::Mean | Kind::Variance { .. });
        let terms = counts.then(|| k.terms(self.axes, &values[0]));
        Ok(Partial {
            results: Results { values, indices },
            terms,
            places: self.rows(R, k.dim()) + 1,
        })
    }

    /// A softmax-weighted sum with the logarithm of the sum of exponentials.
    fn softmax_sum<const R: usize>(&self, k: &LazyTensor) -> Result<[Tensor<R>; 2], LazyError> {
        let kind = ReductionKind::SoftmaxSum;
        match self.axes {
            Axes::One(axis) => {
                let request = Request::new(kind, Wanted::VALUES, axis).wide();
                k.softmax_and_logsumexp(self.operation, request)
            }
            Axes::Both => {
                let sum = k.wide_values(self.operation, kind, Axes::Both)?;
                let kind = ReductionKind::LogSumExp { scores: 1 };
                let scores = k.try_slice(0..1)?;
                Ok([sum, scores.wide_values(self.operation, kind, Axes::Both)?])
            }
        }
    }

    /// The result for two parts, of which the indices of one come before those of the other.
    pub fn merge<const R: usize>(
        &self,
        earlier: Partial<R>,
        later: Partial<R>,
    ) -> Result<Partial<R>, LazyError> {
        if earlier.is_empty() {
            // Not all of Burn's operations take tensors of no elements.
            return Ok(earlier);
        }
        let terms = earlier.terms.clone().zip(later.terms.clone());
        let terms = terms.map(|(earlier, later)| [earlier, later]);
        let (first, second) = (earlier.results, later.results);
        let results = match self.kind {
            Kind::Sum | Kind::Mean => only(first.value() + second.value()),
            Kind::Product => only(first.value() * second.value()),
            Kind::LogSumExp => only(logaddexp(first.value(), second.value())),
            Kind::SoftmaxSum => softmax_sums(first, second),
            Kind::Minimum => selected(first, second, Tensor::lower),
            Kind::Maximum => selected(first, second, Tensor::greater),
            Kind::Smallest(count) => self.smallest([first, second], count, earlier.places)?,
            Kind::Count => Results {
                values: vec![],
                indices: Some(first.index() + second.index()),
            },
            Kind::Variance { .. } => {
                moments(first, second, terms.as_ref().expect("values are counted"))
            }
        };
        Ok(Partial {
            results,
            terms: terms.map(|[earlier, later]| earlier + later),
            places: earlier.places,
        })
    }

    /// The result for the whole axis, of a formula of type `dtype`.
    pub fn finish<const R: usize>(&self, partial: Partial<R>, dtype: DType) -> Results<R> {
        let Partial {
            mut results, terms, ..
        } = partial;
        match (self.kind, terms) {
            (Kind::Mean, Some(terms)) => results.values[0] = results.values[0].clone() / terms,
            (Kind::Variance { unbiased: true }, Some(terms)) => {
                results.values[0] = results.values[0].clone() * unbiased(terms);
            }
            _ => {}
        }
        let values = results.values.into_iter();
        Results {
            values: values.map(|value| cast(value, dtype.into())).collect(),
            indices: results.indices,
        }
    }

    /// The smallest of two lists. Equal values are in the order of their indices, as the library finds the smallest of all
    /// of them.
    fn smallest<const R: usize>(
        &self,
        lists: [Results<R>; 2],
        count: usize,
        places: usize,
    ) -> Result<Results<R>, LazyError> {
        let [first, second] = lists;
        let indices = [&first, &second].map(|list| list.indices.clone().expect("it has indices"));
        let indices = Tensor::cat(indices.into(), places);
        let values = Tensor::cat(vec![first.value(), second.value()], places);
        let device = values.device();
        let mut shape = values.dims().to_vec();
        if places + 1 == R {
            shape.push(1);
        }
        // All rows are batches of a formula of columns.
        let columns = Dispatch::float_reshape(values.into_dispatch(), Shape::from(shape));
        let columns = LazyTensor::leaf(Operand::dispatch(columns, device, Some(Axis::J))?);
        let kind = columns.smallest(self.operation, count)?;
        let request = Request::new(kind, Wanted::BOTH, Axis::J).squeezed(true);
        let Reduced {
            values,
            indices: found,
            ..
        } = columns.reduce::<R>(self.operation, request)?;
        let found = Tensor::<R, Int>::from_dispatch(found.expect("they are wanted"));
        let missing = found.clone().lower_elem(0);
        let known = indices.gather(places, found.mask_fill(missing.clone(), 0));
        Ok(Results {
            values: vec![Tensor::from_dispatch(values.expect("they are wanted"))],
            indices: Some(known.mask_fill(missing, -1)),
        })
    }
}

/// The results of a reduction that gives one value.
fn only<const R: usize>(value: Tensor<R>) -> Results<R> {
    Results {
        values: vec![value],
        indices: None,
    }
}

/// Indices in a part that starts at `start` as those in the whole. -1 stays: it stands for no index.
fn moved<const R: usize>(indices: Tensor<R, Int>, start: usize) -> Tensor<R, Int> {
    match start {
        0 => indices,
        // Not all of Burn's operations take them.
        _ if indices.dims().contains(&0) => indices,
        _ => {
            let none = indices.clone().lower_elem(0);
            indices.add_scalar(start as i64).mask_fill(none, -1)
        }
    }
}

fn is_nothing<const R: usize>(logarithm: &Tensor<R>) -> Tensor<R, Bool> {
    logarithm.clone().equal_elem(f64::NEG_INFINITY)
}

/// $\log(e^a + e^b)$. Where both are $-\infty$ the gradient is 0, as that of a row of the library's own `logsumexp`.
fn logaddexp<const R: usize>(a: Tensor<R>, b: Tensor<R>) -> Tensor<R> {
    let nothing = is_nothing(&a).bool_and(is_nothing(&b));
    let [a, b] = [a, b].map(|log| log.mask_fill(nothing.clone(), 0.0));
    let largest = a.clone().max_pair(b.clone()).detach();
    // An infinite one would give a difference of infinities.
    let infinite = largest.clone().is_inf();
    let largest = largest.mask_fill(infinite, 0.0);
    let sum = (a - largest.clone()).exp() + (b - largest.clone()).exp();
    (sum.log() + largest).mask_fill(nothing, f64::NEG_INFINITY)
}

/// Softmax-weighted sums of two parts, from their own ones and the logarithms of their sums of exponentials.
fn softmax_sums<const R: usize>(first: Results<R>, second: Results<R>) -> Results<R> {
    let totals = [&first, &second].map(|part| part.values[1].clone());
    let nothing = [0, 1].map(|part: usize| is_nothing(&totals[part]));
    let neither = nothing[0].clone().bool_and(nothing[1].clone());
    let [a, b] = totals.clone();
    let total = logaddexp(a, b);
    // Rows in which all scores are -inf have no weights.
    let known = total.clone().mask_fill(neither.clone(), 0.0);
    let [a, b] = [first, second];
    let weighted = |part: Results<R>, own: &Tensor<R>, nothing: &Tensor<R, Bool>| {
        let value = part.value();
        let nothing = nothing.clone().expand(value.dims());
        value.mask_fill(nothing, 0.0) * (own.clone() - known.clone()).exp()
    };
    let sum = weighted(a, &totals[0], &nothing[0]) + weighted(b, &totals[1], &nothing[1]);
    let neither = neither.expand(sum.dims());
    Results {
        values: vec![sum.mask_fill(neither, f64::NAN), total],
        indices: None,
    }
}

/// The selected one of two values: a NaN, or one that `is_better`, and else the earlier one. A part that has no value has
/// no index either.
fn selected<const R: usize>(
    first: Results<R>,
    second: Results<R>,
    is_better: fn(Tensor<R>, Tensor<R>) -> Tensor<R, Bool>,
) -> Results<R> {
    let (a, b) = (first.values[0].clone(), second.values[0].clone());
    let better = b.clone().is_nan().bool_or(is_better(b, a.clone()));
    let mut later = better.bool_and(a.is_nan().bool_not());
    let indices = first.indices.clone().zip(second.indices.clone());
    let indices = indices.map(|(earlier, other)| {
        let lacks = |indices: &Tensor<R, Int>| indices.clone().lower_elem(0);
        later = (later.clone().bool_or(lacks(&earlier))).bool_and(lacks(&other).bool_not());
        earlier.mask_where(later.clone(), other)
    });
    Results {
        values: vec![first.value().mask_where(later, second.value())],
        indices,
    }
}

/// Variances, divided by the numbers of values, and means of both parts together (Chan, Golub and LeVeque, "Updating
/// formulae and a pairwise algorithm for computing sample variances", 1979).
fn moments<const R: usize>(
    first: Results<R>,
    second: Results<R>,
    terms: &[Tensor<R>; 2],
) -> Results<R> {
    // A part without values has NaN, and does not count.
    let known = |part: Results<R>, terms: &Tensor<R>| {
        let shape = part.values[0].dims();
        let none = terms.clone().equal_elem(0.0).expand(shape);
        let mut values = part.values.into_iter();
        let mut next = || {
            values
                .next()
                .expect("two moments")
                .mask_fill(none.clone(), 0.0)
        };
        [next(), next()]
    };
    let [variance, mean] = known(first, &terms[0]);
    let [other_variance, other_mean] = known(second, &terms[1]);
    let all = terms[0].clone() + terms[1].clone();
    let [part, other_part] = [0, 1].map(|place: usize| terms[place].clone() / all.clone());
    let difference = other_mean - mean.clone();
    let between = difference.clone().square() * (part.clone() * other_part.clone());
    let within = variance * part + other_variance * other_part.clone();
    Results {
        values: vec![within + between, mean + difference * other_part],
        indices: None,
    }
}

/// What a variance that is divided by the number of values is multiplied by.
fn unbiased<const R: usize>(terms: Tensor<R>) -> Tensor<R> {
    terms.clone() / (terms - 1.0)
}
