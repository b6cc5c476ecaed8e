//! Merges the results of a reduction for parts of the reduced axis: chunks of columns that are read one after the
//! other, or blocks of rows and columns on several devices.
//!
//! A [`Parted`] reduction gives a [`Partial`] result for each part. The partial results of neighbouring parts merge
//! into one. The one for the whole axis is then finished, which makes it the result of the reduction. All of this is
//! computed by Burn's operations, and is differentiable.

mod rules;
#[cfg(feature = "autodiff")]
mod share;

use burn::{
    backend::{Dispatch, ops::FloatTensorOps},
    tensor::{DType, Device, Int, Shape, Tensor},
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

use rules::{
    ZEROS, difference, factors, halves, logaddexp, moments, moved, only, selected, softmax_sums,
    unbiased,
};
pub(crate) use rules::{signed_scores, weighted_terms};

/// A reduction that is computed in parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Sum,
    Mean,
    Product {
        /// Whether the gradient is computed part by part, which takes the product of the other parts.
        by_parts: bool,
    },
    LogSumExp,
    /// The logarithm of a weighted sum of exponentials, for a formula that [`signed_scores`] has made.
    WeightedLogSumExp,
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

/// A reduction in parts, with its name in messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parted {
    pub operation: &'static str,
    pub kind: Kind,
    pub axes: Axes,
}

/// The values and indices that a reduction gives.
#[derive(Clone, Debug)]
pub(crate) struct Results<const R: usize> {
    /// The values; a count has none. After a softmax-weighted sum come the logarithms of the sums of exponentials,
    /// `[.., 1]`, and after a variance the means. A weighted sum of exponentials is given by two logarithms, of the
    /// terms of positive and of negative weight. After a product by parts come the product of the parts that are not
    /// 0, and the number of parts that are 0.
    pub values: Vec<Tensor<R>>,
    /// The indices of selected values, or counts.
    pub indices: Option<Tensor<R, Int>>,
}

/// The result for a part of the reduced axis.
#[derive(Clone, Debug)]
pub(crate) struct Partial<const R: usize> {
    /// Values in the type in which kernels compute, which is F32 for F16 and BF16. Variances are divided by the
    /// number of values.
    results: Results<R>,
    /// The number of values that were reduced, for means and variances: `[.., 1]`, or of size 1 if it is the same
    /// everywhere.
    terms: Option<Tensor<R>>,
    /// The dimension along which the smallest values are listed.
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

    /// The values of a reduction that gives two.
    fn two(self) -> [Tensor<R>; 2] {
        let values = self.values.try_into();
        values.expect("the reduction gives two values")
    }

    /// The same on another device, with indices in the integer type of that device.
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
    /// Whether a result has no elements, as without rows.
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

    /// Checks that indices and counts along an axis of length `len` fit the integer type of the device of `k`, which
    /// is a part of the formula.
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

    /// The dimension of the rows in results of `rank` dimensions, for a formula of `dim` components that is reduced
    /// over one axis.
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
            (Kind::Product { by_parts }, _) => {
                let product = values(ReductionKind::Product)?;
                match by_parts {
                    true => factors(product).into(),
                    false => vec![product],
                }
            }
            (Kind::LogSumExp, _) => vec![values(ReductionKind::LogSumExp { scores: k.dim() })?],
            (Kind::WeightedLogSumExp, _) => {
                // Half of the components are scores, and half are weights.
                let both = values(ReductionKind::LogSumExp {
                    scores: k.dim() / 2,
                })?;
                halves(both).into()
            }
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

    /// Merges the results of parts that follow each other. There is at least one part.
    pub fn merge<const R: usize>(
        &self,
        mut parts: Vec<Partial<R>>,
    ) -> Result<Partial<R>, LazyError> {
        let first = parts.first().expect("there is a part");
        // Not all of Burn's operations take tensors without elements.
        if parts.len() == 1 || first.is_empty() {
            return Ok(parts.swap_remove(0));
        }
        let places = first.places;
        let alone = |results| Partial {
            results,
            terms: None,
            places,
        };
        let results = parts.into_iter();
        match self.kind {
            // These are merged by a reduction, which takes all parts at once.
            Kind::LogSumExp => self.logsumexp(results.map(|part| part.results)).map(alone),
            Kind::Smallest(count) => {
                let lists = results.map(|part| part.results);
                self.smallest(lists, count, places).map(alone)
            }
            _ => {
                let all = results.reduce(|earlier, later| self.merge_two(earlier, later));
                Ok(all.expect("there is a part"))
            }
        }
    }

    /// Merges the results of two parts. The indices of `earlier` come before those of `later`.
    fn merge_two<const R: usize>(&self, earlier: Partial<R>, later: Partial<R>) -> Partial<R> {
        let terms = earlier.terms.clone().zip(later.terms.clone());
        let terms = terms.map(|(earlier, later)| [earlier, later]);
        let (first, second) = (earlier.results, later.results);
        let results = match self.kind {
            Kind::Sum | Kind::Mean => only(first.value() + second.value()),
            Kind::Product { .. } => {
                let pairs = first.values.into_iter().zip(second.values).enumerate();
                let values = pairs.map(|(place, (first, second))| match place {
                    ZEROS => first + second,
                    _ => first * second,
                });
                Results {
                    values: values.collect(),
                    indices: None,
                }
            }
            Kind::WeightedLogSumExp => {
                let ([a, negative_a], [b, negative_b]) = (first.two(), second.two());
                Results {
                    values: vec![logaddexp(a, b), logaddexp(negative_a, negative_b)],
                    indices: None,
                }
            }
            Kind::SoftmaxSum => softmax_sums(first, second),
            Kind::Minimum => selected(first, second, Tensor::lower),
            Kind::Maximum => selected(first, second, Tensor::greater),
            Kind::LogSumExp | Kind::Smallest(_) => unreachable!("all parts are merged at once"),
            Kind::Count => Results {
                values: vec![],
                indices: Some(first.index() + second.index()),
            },
            Kind::Variance { .. } => {
                moments(first, second, terms.as_ref().expect("values are counted"))
            }
        };
        Partial {
            results,
            terms: terms.map(|[earlier, later]| earlier + later),
            places: earlier.places,
        }
    }

    /// Makes the result of the reduction from the partial result for the whole axis, for a formula of type `dtype`.
    pub fn finish<const R: usize>(&self, partial: Partial<R>, dtype: DType) -> Results<R> {
        let Partial {
            mut results, terms, ..
        } = partial;
        match (self.kind, terms) {
            (Kind::Mean, Some(terms)) => results.values[0] = results.values[0].clone() / terms,
            (Kind::WeightedLogSumExp, _) => results = only(difference(results.two())),
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

    /// The logarithm of the sum of the exponentials of all values.
    fn logsumexp<const R: usize>(
        &self,
        parts: impl Iterator<Item = Results<R>>,
    ) -> Result<Results<R>, LazyError> {
        let values: Vec<_> = parts.map(Results::value).collect();
        let mut shape = values[0].dims().to_vec();
        shape.insert(R - 1, values.len());
        let columns = as_columns(Tensor::cat(values, R - 1), shape)?;
        let kind = ReductionKind::LogSumExp {
            scores: columns.dim(),
        };
        let request = Request::new(kind, Wanted::VALUES, Axis::J).squeezed(true);
        let Reduced { values, .. } = columns.reduce::<R>(self.operation, request)?;
        Ok(only(Tensor::from_dispatch(
            values.expect("they are wanted"),
        )))
    }

    /// The smallest values of several lists. Equal values are in the order of their indices, as in a reduction of the
    /// whole axis.
    fn smallest<const R: usize>(
        &self,
        lists: impl Iterator<Item = Results<R>>,
        count: usize,
        places: usize,
    ) -> Result<Results<R>, LazyError> {
        let (values, indices): (Vec<_>, Vec<_>) = lists.map(Results::both).unzip();
        let indices = Tensor::cat(indices, places);
        let values = Tensor::cat(values, places);
        let mut shape = values.dims().to_vec();
        if places + 1 == R {
            shape.push(1);
        }
        let columns = as_columns(values, shape)?;
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

/// The values in the given shape as a formula of columns. All dimensions before the last two are batch dimensions.
fn as_columns<const R: usize>(
    values: Tensor<R>,
    shape: Vec<usize>,
) -> Result<LazyTensor, LazyError> {
    let device = values.device();
    let columns = Dispatch::float_reshape(values.into_dispatch(), Shape::from(shape));
    Ok(LazyTensor::leaf(Operand::dispatch(
        columns,
        device,
        Some(Axis::J),
    )?))
}
