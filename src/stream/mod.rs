//! Reductions of columns that are read in chunks, from the memory of the host, from files or from functions.
//!
//! Neither all columns nor all pairs are ever on the device: a thread reads the next chunk while the device computes
//! with the current one, and the results of chunks are merged. The memory depends on the number of rows and on the
//! size of a chunk, not on the number of columns.
//!
//! ```
//! # #[cfg(feature = "flex")] {
//! use burn::{prelude::*, tensor::Distribution};
//! use burn_lazy::{LazyTensor, stream};
//!
//! let device = Device::default();
//! let x = Tensor::<2>::random([10, 3], Distribution::Default, &device);
//! let points: Vec<f32> = (0..3 * 5000).map(|k| (k as f32).sin()).collect();
//! let weights: Vec<f32> = (0..5000).map(|k| (k as f32).cos()).collect();
//! let points = stream::InMemory::new(points, 3)?;
//! let weights = stream::InMemory::new(weights, 1)?;
//!
//! // The sum over j of exp(-|x_i - y_j|^2) b_j, a thousand columns at a time.
//! let x_i = LazyTensor::vi(x);
//! let a: Tensor<2> = stream::over([&points, &weights], &device)
//!     .chunk(1000)
//!     .sum(|[y_j, b_j]| (-x_i.sqdist(y_j)).exp() * b_j)?;
//! assert_eq!(a.dims(), [10, 1]);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod columns;
#[cfg(feature = "autodiff")]
mod gradient;
#[cfg(feature = "mmap")]
mod mapped;
#[cfg(feature = "mmap")]
mod npy;
mod reader;

use std::{fmt, io, mem, ops::Range};

use burn::tensor::{Bool, Device, FloatDType, Int, Tensor, TensorData};
use burn_lazy_kernels::Axis;

use crate::{
    error::{FormulaInfo, LazyError},
    lazy::{IntoLazy, LazyTensor},
    merge::{Kind, Parted, Partial, Results, signed_scores},
};

pub use columns::{Columns, FromFn, InMemory, from_fn};
#[cfg(feature = "autodiff")]
pub use gradient::{Leaves, ValueAndGrad};
#[cfg(feature = "mmap")]
pub use mapped::Mapped;

use reader::{Chunk, for_each_chunk};

/// The default for how many numbers a chunk has: so many that the fixed cost of a chunk hardly counts. With a quarter of
/// it, the 10 nearest columns of 1000 rows took a sixth longer (`cargo xtask bench own --only stream`).
const NUMBERS: usize = 1 << 22;
/// The number of partial results that are kept until they are merged. Some reductions merge any number of them in a
/// few small operations.
const TOGETHER: usize = 8;

/// Why columns were not reduced. The partial results of other columns are dropped. The stream and its sources can be
/// used again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The formula or its reduction is refused.
    #[error(transparent)]
    Lazy(#[from] LazyError),
    /// Columns cannot be read.
    #[error("the columns {columns:?} of source {number} cannot be read: {error}")]
    Read {
        /// The index of the source, from 0.
        number: usize,
        /// The columns that were asked for.
        columns: Range<usize>,
        /// The error of the source.
        #[source]
        error: io::Error,
    },
    /// No sources are given.
    #[error("a stream needs columns to read, and has no source")]
    NoSource,
    /// Sources have different numbers of columns.
    #[error("source {number} has {len} columns, and source 0 has {first}")]
    Lengths {
        /// The index of the source, from 0.
        number: usize,
        /// The number of its columns.
        len: usize,
        /// The number of columns of the first source.
        first: usize,
    },
    /// The size of a chunk is 0.
    #[error("columns cannot be read in chunks of 0")]
    Chunk,
    /// A formula does not have as many columns as the chunk.
    #[error("the formula should have the {expected} columns of the chunk: {formula}")]
    OtherColumns {
        /// The number of columns of the chunk.
        expected: usize,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),
    /// A tensor to differentiate by is not tracked by autodiff.
    #[error("a tensor of shape {shape:?} to differentiate by is not tracked: call require_grad()")]
    Untracked {
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A loss is not a single number.
    #[error("a loss is one number, not a tensor of shape {shape:?}")]
    Loss {
        /// The shape of the loss.
        shape: Vec<usize>,
    },
}

/// How far a stream has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The number of columns that have been reduced.
    pub done: usize,
    /// The number of all columns. With gradients the columns are read twice, and count twice.
    pub all: usize,
}

/// Columns to be read in chunks. Made by [`over`].
///
/// Each method is a reduction over all columns, and is named like the method of [`LazyTensor`]. It takes the formula
/// as a function of the columns of a chunk, one [`LazyTensor`] for each source. The function is called for each chunk
/// and must give the same formula each time. Values and indices are then those of a reduction over all columns, and
/// indices count all columns. Sums are rounded once more for each chunk. The formula can use
/// [`LazyTensor::row_index`], but [`LazyTensor::column_index`] and [`LazyTensor::offset`] count the columns within
/// the chunk.
///
/// Results are not part of an autodiff graph. [`value_and_grad`](Self::value_and_grad) gives gradients.
///
/// # Errors
/// Each reduction gives the error of a source that cannot be read ([`StreamError::Read`]), or of the formula.
pub struct Stream<'a, const S: usize> {
    sources: [&'a dyn Columns; S],
    device: Device,
    dtype: FloatDType,
    chunk: usize,
    progress: Option<Box<dyn Fn(Progress) + 'a>>,
}

impl<const S: usize> fmt::Debug for Stream<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("columns", &self.sources.map(Columns::len))
            .field("device", &self.device)
            .field("dtype", &self.dtype)
            .field("chunk", &self.chunk)
            .finish_non_exhaustive()
    }
}

/// The columns of one or several sources, to be reduced on `device`. All sources have the same number of columns,
/// such as points and their weights in the [example](self).
pub fn over<'a, const S: usize>(sources: [&'a dyn Columns; S], device: &Device) -> Stream<'a, S> {
    let numbers: usize = sources.iter().map(|source| source.dim()).sum();
    Stream {
        sources,
        device: device.clone().inner(),
        dtype: FloatDType::F32,
        chunk: (NUMBERS / numbers.max(1)).max(1),
        progress: None,
    }
}

/// Defines the reductions.
macro_rules! reductions {
    ($(
        $(#[$doc:meta])*
        $name:ident ($($arg:ident: $type:ty),*) -> $out:ty = ($kind:expr) |$results:ident| $body:expr;
    )*) => {
        impl<const S: usize> Stream<'_, S> {
            $(
                $(#[$doc])*
                pub fn $name<const R: usize, T: IntoLazy>(
                    &self,
                    $($arg: $type,)*
                    mut formula: impl FnMut([LazyTensor; S]) -> T,
                ) -> Result<$out, StreamError> {
                    let reduction = Parted::new(stringify!($name), $kind, Axis::J);
                    let $results = self.reduce::<R>(reduction, &mut |chunk| formula(chunk).into_lazy())?;
                    Ok($body)
                }
            )*
        }
    };
}

reductions! {
    /// [`LazyTensor::sum`] over all columns.
    sum() -> Tensor<R> = (Kind::Sum) |results| results.value();

    /// [`LazyTensor::mean`] over all columns.
    mean() -> Tensor<R> = (Kind::Mean) |results| results.value();

    /// [`LazyTensor::prod`] over all columns.
    prod() -> Tensor<R> = (Kind::Product { by_parts: false }) |results| results.value();

    /// [`LazyTensor::logsumexp`] over all columns.
    logsumexp() -> Tensor<R> = (Kind::LogSumExp) |results| results.value();

    /// [`LazyTensor::min`] over all columns.
    min() -> Tensor<R> = (Kind::Minimum) |results| results.value();

    /// [`LazyTensor::max`] over all columns.
    max() -> Tensor<R> = (Kind::Maximum) |results| results.value();

    /// [`LazyTensor::argmin`] over all columns.
    argmin() -> Tensor<R, Int> = (Kind::Minimum) |results| results.index();

    /// [`LazyTensor::argmax`] over all columns.
    argmax() -> Tensor<R, Int> = (Kind::Maximum) |results| results.index();

    /// [`LazyTensor::min_argmin`] over all columns.
    min_argmin() -> (Tensor<R>, Tensor<R, Int>) = (Kind::Minimum) |results| results.both();

    /// [`LazyTensor::max_argmax`] over all columns.
    max_argmax() -> (Tensor<R>, Tensor<R, Int>) = (Kind::Maximum) |results| results.both();

    /// [`LazyTensor::kmin`] over all columns.
    kmin(count: usize) -> Tensor<R> = (Kind::Smallest(count)) |results| results.value();

    /// [`LazyTensor::argkmin`] over all columns.
    argkmin(count: usize) -> Tensor<R, Int> = (Kind::Smallest(count)) |results| results.index();

    /// [`LazyTensor::kmin_argkmin`] over all columns: the K nearest neighbours among them, if the formula is a
    /// distance.
    kmin_argkmin(count: usize) -> (Tensor<R>, Tensor<R, Int>) =
        (Kind::Smallest(count)) |results| results.both();

    /// [`LazyTensor::count`] over all columns.
    count() -> Tensor<R, Int> = (Kind::Count) |results| results.index();

    /// [`LazyTensor::any`] over all columns.
    any() -> Tensor<R, Bool> = (Kind::Count) |results| results.index().greater_elem(0);

    /// [`LazyTensor::var`] over all columns.
    var() -> Tensor<R> = (Kind::Variance { unbiased: true }) |results| results.value();

    /// [`LazyTensor::var_bias`] over all columns.
    var_bias() -> Tensor<R> = (Kind::Variance { unbiased: false }) |results| results.value();

    /// [`LazyTensor::var_mean`] over all columns.
    var_mean() -> (Tensor<R>, Tensor<R>) =
        (Kind::Variance { unbiased: true }) |results| results.pair();

    /// [`LazyTensor::var_mean_bias`] over all columns.
    var_mean_bias() -> (Tensor<R>, Tensor<R>) =
        (Kind::Variance { unbiased: false }) |results| results.pair();
}

impl<'a, const S: usize> Stream<'a, S> {
    /// The number of columns in a chunk; by default so many that they have 2^22 numbers (16 MiB) in all sources
    /// together. Two chunks are in memory at a time.
    #[must_use]
    pub fn chunk(mut self, columns: usize) -> Self {
        self.chunk = columns;
        self
    }

    /// The type of the columns on the device; F32 by default. The other operands of the formula must have the same
    /// type.
    #[must_use]
    pub fn dtype(mut self, dtype: FloatDType) -> Self {
        self.dtype = dtype;
        self
    }

    /// Calls `progress` after each chunk.
    #[must_use]
    pub fn progress(mut self, progress: impl Fn(Progress) + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// [`LazyTensor::sumsoftmaxweight`] over all columns, of the scores and of the weights that `formula` gives.
    /// Chunks are merged by the logarithms of their sums of exponentials.
    pub fn sumsoftmaxweight<const R: usize, T: IntoLazy, U: IntoLazy>(
        &self,
        mut formula: impl FnMut([LazyTensor; S]) -> (T, U),
    ) -> Result<Tensor<R>, StreamError> {
        let reduction = Parted::new("sumsoftmaxweight", Kind::SoftmaxSum, Axis::J);
        let results = self.reduce(reduction, &mut |chunk| softmax(formula(chunk)))?;
        Ok(results.value())
    }

    /// [`LazyTensor::logsumexp_weighted`] over all columns, of the scores and of the weights that `formula` gives.
    /// Terms of positive and of negative weight are merged separately, as the sum of a chunk may be negative and have
    /// no logarithm.
    pub fn logsumexp_weighted<const R: usize, T: IntoLazy, U: IntoLazy>(
        &self,
        mut formula: impl FnMut([LazyTensor; S]) -> (T, U),
    ) -> Result<Tensor<R>, StreamError> {
        let reduction = Parted::new("logsumexp_weighted", Kind::WeightedLogSumExp, Axis::J);
        let results = self.reduce(reduction, &mut |chunk| signed(formula(chunk)))?;
        Ok(results.value())
    }

    /// Reductions of the same columns that also give gradients by `leaves`: a tensor, or a tuple of up to four
    /// tensors of any ranks, that [require gradients](Tensor::require_grad).
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::prelude::*;
    /// use burn_lazy::{LazyTensor, stream};
    ///
    /// let device = Device::default();
    /// let x = Tensor::<2>::from_data([[1.0], [2.0]], &device.clone().autodiff()).require_grad();
    /// let columns = stream::InMemory::new([3.0, 4.0, 5.0], 1)?;
    /// let (value, gradient) = stream::over([&columns], &device)
    ///     .chunk(2)
    ///     .value_and_grad(&x)
    ///     .sum(|[y_j]| LazyTensor::vi(x.clone()) * y_j, |sums: Tensor<2>| sums.square().sum())?;
    /// // The sums are 12 x.
    /// value.into_data().assert_eq(&TensorData::from([720.0f32]), false);
    /// gradient.into_data().assert_eq(&TensorData::from([[288.0f32], [576.0]]), false);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "autodiff")]
    pub fn value_and_grad<L: Leaves>(self, leaves: L) -> ValueAndGrad<'a, L, S> {
        ValueAndGrad::new(self, leaves)
    }

    /// The result of a reduction over all columns.
    fn reduce<const R: usize>(
        &self,
        reduction: Parted,
        formula: &mut Formula<'_, S>,
    ) -> Result<Results<R>, StreamError> {
        let mut dtype = None;
        let whole = self.partial(reduction, 1, &mut |chunk| {
            let k = formula(chunk)?;
            dtype = k.extent().dtype;
            Ok(k)
        })?;
        Ok(reduction.finish(whole, dtype.expect("a chunk has been reduced")))
    }

    /// The merged partial results of all columns. `passes` is how often all columns are read in the end, for the
    /// progress.
    fn partial<const R: usize>(
        &self,
        reduction: Parted,
        passes: usize,
        formula: &mut Formula<'_, S>,
    ) -> Result<Partial<R>, StreamError> {
        let mut parts = Vec::with_capacity(TOGETHER);
        self.for_each(formula, (0, passes), &mut |k, columns| {
            let k = k.inner();
            if columns.start == 0 {
                reduction.check_len(&k, self.sources[0].len())?;
            }
            let part = reduction.partial(&k, columns.start)?;
            parts.push(part);
            if parts.len() == TOGETHER {
                let merged = reduction.merge(mem::take(&mut parts))?;
                parts.push(merged);
            }
            Ok(())
        })?;
        Ok(reduction.merge(parts)?)
    }

    /// Calls `take` with the formula of each chunk and the range of its columns, in pass `pass` of `passes`.
    fn for_each(
        &self,
        formula: &mut Formula<'_, S>,
        (pass, passes): (usize, usize),
        take: &mut dyn FnMut(LazyTensor, Range<usize>) -> Result<(), StreamError>,
    ) -> Result<(), StreamError> {
        let len = self.check()?;
        for_each_chunk(&self.sources, self.chunk.min(len.max(1)), &mut |chunk| {
            let Chunk { columns, values } = chunk;
            let done = columns.end;
            let expected = columns.len();
            let mut values = values.into_iter().zip(self.sources);
            let mut operands = Vec::with_capacity(S);
            for (values, source) in values.by_ref() {
                let data = TensorData::new(values, [expected, source.dim()]);
                let options = (&self.device, burn::tensor::DType::from(self.dtype));
                operands.push(LazyTensor::try_vj(Tensor::<2>::from_data(data, options))?);
            }
            let Ok(operands) = operands.try_into() else {
                unreachable!("there is an operand for each source")
            };
            let k = formula(operands)?;
            if k.extent().n != Some(expected) {
                return Err(StreamError::OtherColumns {
                    expected,
                    formula: k.boxed_info(),
                });
            }
            take(k, columns)?;
            // Queued operations keep their operands in memory. So the operations of this chunk end before the next
            // one is taken.
            let synced = self.device.sync();
            synced.map_err(|error| StreamError::Device(error.to_string()))?;
            if let Some(progress) = &self.progress {
                progress(Progress {
                    done: pass * len + done,
                    all: passes * len,
                });
            }
            Ok(())
        })
    }

    /// Checks the chunk size and the sources. Returns the number of columns.
    fn check(&self) -> Result<usize, StreamError> {
        if self.chunk == 0 {
            return Err(StreamError::Chunk);
        }
        let first = self.sources.first().ok_or(StreamError::NoSource)?.len();
        for (number, source) in self.sources.iter().enumerate() {
            if source.len() != first {
                return Err(StreamError::Lengths {
                    number,
                    len: source.len(),
                    first,
                });
            }
        }
        Ok(first)
    }
}

/// A function that gives the formula of a chunk.
type Formula<'f, const S: usize> = dyn FnMut([LazyTensor; S]) -> Result<LazyTensor, LazyError> + 'f;

/// Scores and weights as one formula.
fn softmax((scores, weights): (impl IntoLazy, impl IntoLazy)) -> Result<LazyTensor, LazyError> {
    scores
        .into_lazy()?
        .with_weights("sumsoftmaxweight", weights)
}

/// Scores and weights as one formula, with terms of positive and of negative weight.
fn signed((scores, weights): (impl IntoLazy, impl IntoLazy)) -> Result<LazyTensor, LazyError> {
    let scores = scores.into_lazy()?;
    signed_scores("logsumexp_weighted", scores, weights.into_lazy()?)
}
