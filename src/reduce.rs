//! Reductions of lazy tensors to Burn tensors.

use burn::{
    backend::{Dispatch, TensorMetadata, ops::IntTensorOps},
    tensor::{Bool, Int, IntDType, Shape, Tensor},
};
use burn_lazy_kernels::{Accumulation, Axis, ReductionKind, Stages, Wanted, catalogue::ScalarOp};

use crate::{
    cast::cast,
    error::LazyError,
    lazy::{IntoLazy, LazyTensor, expect},
    operand::Operand,
    ops::{MOST_SMALLEST, Reduced},
    request::Request,
};

/// The symbolic axes that are reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axes {
    /// One of them; the result keeps the other.
    One(Axis),
    /// Both: one result for each batch, of shape `[batch.., D]`.
    Both,
}

impl From<Axis> for Axes {
    fn from(axis: Axis) -> Self {
        Axes::One(axis)
    }
}

/// Defines reductions and their `try_` forms as methods of lazy tensors, or of another type.
macro_rules! reductions {
    (impl $of:ty; $(
        $(#[$doc:meta])*
        $name:ident / $try:ident ($($arg:ident: $type:ty),*) -> $out:ty = |$this:ident| $body:expr;
    )*) => {
        impl $of {
            $(
                $(#[$doc])*
                ///
                /// # Panics
                /// If the result does not have `R` dimensions, if no operand depends on a reduced
                /// axis, or if the device does not support the type of the operands.
                #[track_caller]
                #[must_use]
                pub fn $name<const R: usize>(&self, $($arg: $type),*) -> $out {
                    expect(self.$try($($arg),*))
                }

                #[doc = concat!(
                    "Like [`", stringify!($name), "`](Self::", stringify!($name),
                    "), with an error instead of a panic."
                )]
                pub fn $try<const R: usize>(&self, $($arg: $type),*) -> Result<$out, LazyError> {
                    let $this = self;
                    $body
                }
            )*
        }
    };
    ($($reductions:tt)*) => {
        reductions! { impl LazyTensor; $($reductions)* }
    };
}

pub(crate) use reductions;

reductions! {
    /// The sum over a symbolic axis: $\sum_j f_{ij}$ of shape `[batch.., M, D]` over [`Axis::J`],
    /// $\sum_i f_{ij}$ of shape `[batch.., N, D]` over [`Axis::I`], `[batch.., D]` over both.
    ///
    /// Values are added up in blocks, and the sums of blocks in blocks again, so that the error hardly grows with the
    /// length of the axis. [`accumulate`](Self::accumulate) gives more exact sums. The sum over an empty axis is 0.
    /// NaN and infinities propagate.
    ///
    /// Differentiable through Burn's autodiff with respect to every operand. Tensors may have any
    /// strides.
    sum / try_sum(axis: impl Into<Axes>) -> Tensor<R> =
        |k| k.values("sum", ReductionKind::Sum(k.accumulation), axis);

    /// The mean over a symbolic axis, shaped and differentiable as the [`sum`](Self::sum). NaN over an empty axis.
    /// For F16 and BF16 the sum is divided in F32, before it is rounded.
    mean / try_mean(axis: impl Into<Axes>) -> Tensor<R> = |k| {
        let axes = axis.into();
        // The sum may be too large for F16 and BF16, so it is divided before it is rounded.
        let kind = ReductionKind::Sum(k.accumulation);
        let sum: Tensor<R> = k.wide_values("mean", kind, axes)?;
        let dtype = k.extent().dtype.expect("it has been summed");
        Ok(cast(k.divided_by_count(sum, axes, 0.0), dtype.into()))
    };

    /// The product over a symbolic axis, $\prod_j f_{ij}$, shaped as the [`sum`](Self::sum); 1 over an empty axis.
    /// Differentiable, also where values are 0.
    prod / try_prod(axis: impl Into<Axes>) -> Tensor<R> =
        |k| k.values("prod", ReductionKind::Product, axis);

    /// $\log \sum_j e^{f_{ij}}$ of each component, shaped as the [`sum`](Self::sum).
    ///
    /// Stable for any values: exponentials are taken relative to a running maximum (Milakov and Gimelshein, "Online
    /// normalizer calculation for softmax", 2018). The result is $-\infty$ where every $f$ is $-\infty$ or the axis
    /// is empty, $\infty$ where any $f$ is $\infty$, and NaN where any $f$ is NaN.
    ///
    /// Differentiable. The gradient by $f_{ij}$ is the softmax of the row, computed relative to the largest score, so
    /// that its weights sum to 1 at any finite scores. A row in which every $f$ is $-\infty$ has a gradient of 0. So
    /// the result of a row that is masked as a whole can be dropped or masked afterwards.
    logsumexp / try_logsumexp(axis: impl Into<Axes>) -> Tensor<R> = |k| {
        k.values("logsumexp", ReductionKind::LogSumExp { scores: k.dim() }, axis)
    };

    /// $\log \sum_j e^{f_{ij}} w_{ij}$ with a weight $w$: a number, a tensor or a formula. Shaped as the
    /// [`sum`](Self::sum). The inner dimensions of $f$ and $w$ are equal, or one of them is 1; D is the larger one.
    ///
    /// Weights may be negative; the result is NaN where the sum is negative. A term of weight 0 is left out, whatever
    /// its score is, as in SciPy's `logsumexp` with `b`. Differentiable with respect to the operands of $f$ and $w$.
    /// See [`logsumexp`](Self::logsumexp).
    logsumexp_weighted / try_logsumexp_weighted(
        weight: impl IntoLazy,
        axis: impl Into<Axes>
    ) -> Tensor<R> = |k| {
        let weight = weight.into_lazy()?;
        k.check_broadcast("logsumexp_weighted", &weight)?;
        let kind = ReductionKind::LogSumExp { scores: k.dim() };
        LazyTensor::try_concat(&[k.clone(), weight])?.values("logsumexp_weighted", kind, axis)
    };

    /// $\sum_j p_{ij} g_{ij}$ with the softmax $p_{ij} = e^{f_{ij}} / \sum_j e^{f_{ij}}$ of this
    /// formula, which has one component, and a weight $g$ of any dimension D: a number, a tensor or a
    /// formula. Shaped as the [`sum`](Self::sum).
    ///
    /// This is attention with scores $f$ and values $g$. Stable for any finite scores. The result is NaN where all
    /// scores are $-\infty$, where one is $\infty$, and over an empty axis.
    ///
    /// Differentiable. The softmax weights sum to 1 at any finite scores. Where a [mask](Self::mask_where) within $f$
    /// makes a score $-\infty$, the value $g$ is left out, even if it is NaN. A row in which every score is $-\infty$
    /// has a gradient of 0, so that its result can be dropped or masked afterwards.
    sumsoftmaxweight / try_sumsoftmaxweight(
        weight: impl IntoLazy,
        axis: impl Into<Axes>
    ) -> Tensor<R> = |k| {
        let both = k.with_weights("sumsoftmaxweight", weight)?;
        both.values("sumsoftmaxweight", ReductionKind::SoftmaxSum, axis)
    };

    /// [`sumsoftmaxweight`](Self::sumsoftmaxweight), and the [`logsumexp`](Self::logsumexp) of the scores, in one
    /// pass: $\sum_j p_{ij} g_{ij}$ of shape `[batch.., M, D]` and $\log \sum_j e^{f_{ij}}$ of shape
    /// `[batch.., M, 1]`, with N in place of M over [`Axis::I`].
    ///
    /// With both results, a softmax over some of the columns can be combined with a softmax over the others, and a
    /// further term can be added to the sum of the weights. Both are differentiable.
    sumsoftmaxweight_logsumexp / try_sumsoftmaxweight_logsumexp(
        weight: impl IntoLazy,
        axis: Axis
    ) -> (Tensor<R>, Tensor<R>) = |k| {
        const OPERATION: &str = "sumsoftmaxweight_logsumexp";

        let both = k.with_weights(OPERATION, weight)?;
        let request = Request::new(ReductionKind::SoftmaxSum, Wanted::VALUES, axis);
        let [values, logarithms] = both.softmax_and_logsumexp(OPERATION, request)?;
        let dtype = values.dtype();
        Ok((values, cast(logarithms, dtype.into())))
    };

    /// The smallest value over a symbolic axis, $\min_j f_{ij}$ of each component, shaped as the [`sum`](Self::sum).
    /// NaN if any value is NaN, $\infty$ over an empty axis. The gradient goes to the first of equal values.
    min / try_min(axis: impl Into<Axes>) -> Tensor<R> =
        |k| k.values("min", ReductionKind::Minimum, axis);

    /// The largest value over a symbolic axis, $\max_j f_{ij}$ of each component, shaped as the [`sum`](Self::sum).
    /// NaN if any value is NaN, $-\infty$ over an empty axis. The gradient goes to the first of equal values.
    max / try_max(axis: impl Into<Axes>) -> Tensor<R> =
        |k| k.values("max", ReductionKind::Maximum, axis);

    /// The index of the smallest value, $\mathrm{argmin}_j f_{ij}$ of each component, shaped as the
    /// [`sum`](Self::sum). If several values are equal, it is the first of their indices. It is the index of the
    /// first NaN if there is one, and -1 over an empty axis. Indices are exact for any size, and count within a
    /// batch.
    argmin / try_argmin(axis: Axis) -> Tensor<R, Int> =
        |k| k.indices("argmin", ReductionKind::Minimum, axis);

    /// The index of the largest value, $\mathrm{argmax}_j f_{ij}$; see [`argmin`](Self::argmin).
    argmax / try_argmax(axis: Axis) -> Tensor<R, Int> =
        |k| k.indices("argmax", ReductionKind::Maximum, axis);

    /// [`min`](Self::min) and [`argmin`](Self::argmin) in one pass.
    min_argmin / try_min_argmin(axis: Axis) -> (Tensor<R>, Tensor<R, Int>) =
        |k| k.both("min_argmin", ReductionKind::Minimum, axis);

    /// [`max`](Self::max) and [`argmax`](Self::argmax) in one pass.
    max_argmax / try_max_argmax(axis: Axis) -> (Tensor<R>, Tensor<R, Int>) =
        |k| k.both("max_argmax", ReductionKind::Maximum, axis);

    /// The number of entries over a symbolic axis that are not 0, shaped as the [`sum`](Self::sum). For a comparison
    /// this is the number of entries for which it holds. NaN is not 0. The count is an integer, exact for any type of
    /// the formula. More entries than the integers of the device can count are an error.
    count / try_count(axis: impl Into<Axes>) -> Tensor<R, Int> =
        |k| k.count_nonzero("count", axis.into());

    /// Whether any entry over a symbolic axis is not 0, shaped as the [`sum`](Self::sum); false over
    /// an empty axis.
    any / try_any(axis: impl Into<Axes>) -> Tensor<R, Bool> = |k| {
        let ones = k.try_apply(ScalarOp::NotEqual, 0.0)?.try_prune(k.pruning)?;
        Ok(ones.try_max::<R>(axis)?.greater_scalar(0.5))
    };

    /// The `count` smallest values over a symbolic axis in ascending order: of shape
    /// `[batch.., M, count]` for a formula of one component, else `[batch.., M, count, D]`.
    ///
    /// NaN and $\infty$ are left out. Where there are fewer values, $\infty$ stands in the last places. The gradient
    /// goes to the pairs of the values.
    kmin / try_kmin(count: usize, axis: Axis) -> Tensor<R> =
        |k| k.values("kmin", k.smallest("kmin", count)?, axis);

    /// The indices of the `count` smallest values, shaped as [`kmin`](Self::kmin). Equal values are in the order of
    /// their indices. The last indices are -1 where there are fewer values. Indices are exact for any size, and count
    /// within a batch.
    argkmin / try_argkmin(count: usize, axis: Axis) -> Tensor<R, Int> =
        |k| k.indices("argkmin", k.smallest("argkmin", count)?, axis);

    /// [`kmin`](Self::kmin) and [`argkmin`](Self::argkmin) in one pass: the K nearest neighbours if
    /// the formula is a distance.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::prelude::*;
    /// use burn_lazy::{Axis, LazyTensor};
    ///
    /// let device = Device::default();
    /// let x = Tensor::<2>::from_data([[0.0], [10.0]], &device);
    /// let y = Tensor::<2>::from_data([[1.0], [9.0], [2.0]], &device);
    /// let s_ij = LazyTensor::vi(x).sqdist(LazyTensor::vj(y));
    /// let (squares, neighbours): (Tensor<2>, Tensor<2, Int>) = s_ij.kmin_argkmin(2, Axis::J);
    /// squares.into_data().assert_eq(&TensorData::from([[1.0f32, 4.0], [1.0, 64.0]]), false);
    /// neighbours.into_data().assert_eq(&TensorData::from([[0, 2], [1, 2]]), false);
    /// # }
    /// ```
    kmin_argkmin / try_kmin_argkmin(count: usize, axis: Axis) -> (Tensor<R>, Tensor<R, Int>) =
        |k| k.both("kmin_argkmin", k.smallest("kmin_argkmin", count)?, axis);
}

impl LazyTensor {
    /// This formula with another way to add up [`sum`](Self::sum), [`mean`](Self::mean) and [`matmul`](Self::matmul).
    /// Formulas that are made from it are added up in the default way again.
    pub fn accumulate(&self, accumulation: Accumulation) -> Self {
        Self {
            accumulation,
            ..self.clone()
        }
    }

    /// The product of this symbolic matrix $K$ with `b`: $a_{ie} = \sum_j K_{ij} b_{je}$.
    ///
    /// `b` has shape `[batch.., N, E]` and the result `[batch.., M, E]`, where batch dimensions
    /// broadcast; a vector `[N]` gives a vector `[M]`, if the matrix has no batch. Use [`t`](Self::t)
    /// for the product with the transpose.
    ///
    /// Where rows and columns are the same tensor, as in `(-vi(x.clone()).sqdist(vj(x))).exp()`, the CPU runtime
    /// evaluates the pairs $ij$ and $ji$ together. It does so for 2000 rows or more, without a batch, if the kernel
    /// is symmetric or the two entries share most of their work. A clone of a tensor is the same tensor; a copy is
    /// not.
    ///
    /// The product of two symbolic matrices would have to be stored, so it does not compile; apply
    /// them one after the other, `k.matmul(l.matmul(b))`.
    ///
    /// ```compile_fail
    /// # use burn_lazy::LazyTensor;
    /// fn product(k: LazyTensor, l: LazyTensor) -> LazyTensor {
    ///     k.matmul(l)
    /// }
    /// ```
    ///
    /// # Panics
    /// If the formula has an inner dimension other than 1, or `b` does not fit it; see also
    /// [`sum`](Self::sum).
    #[track_caller]
    pub fn matmul<B: RightHandSide>(&self, b: B) -> B {
        expect(self.try_matmul(b))
    }

    /// Like [`matmul`](Self::matmul), with an error instead of a panic.
    pub fn try_matmul<B: RightHandSide>(&self, b: B) -> Result<B, LazyError> {
        self.check_scalar("matmul")?;
        b.multiplied_by(self)
    }

    /// Scores and weights of a softmax, as the components of one formula.
    pub(crate) fn with_weights(
        &self,
        operation: &'static str,
        weight: impl IntoLazy,
    ) -> Result<Self, LazyError> {
        self.check_scalar(operation)?;
        let both = Self::try_concat(&[self.clone(), weight.into_lazy()?])?;
        both.try_prune(self.pruning)
    }

    pub(crate) fn smallest(
        &self,
        operation: &'static str,
        k: usize,
    ) -> Result<ReductionKind, LazyError> {
        if k == 0 || k > MOST_SMALLEST {
            return Err(LazyError::Count {
                operation,
                count: k,
                limit: MOST_SMALLEST,
                formula: self.boxed_info(),
            });
        }
        Ok(ReductionKind::Smallest { k })
    }

    /// Sizes of both axes. An axis on which nothing depends has size 1.
    pub(crate) fn sizes(&self) -> [usize; 2] {
        let extent = self.extent();
        [Axis::I, Axis::J].map(|axis| extent.size(axis).unwrap_or(1))
    }

    fn values<const R: usize>(
        &self,
        operation: &'static str,
        kind: ReductionKind,
        axes: impl Into<Axes>,
    ) -> Result<Tensor<R>, LazyError> {
        let values: Tensor<R> = match axes.into() {
            Axes::One(axis) => {
                let request = Request::new(kind, Wanted::VALUES, axis);
                let Reduced { values, .. } = self.reduce::<R>(operation, request)?;
                Tensor::from_dispatch(values.expect("they are wanted"))
            }
            // The values of the first stage are not rounded to F16 or BF16.
            Axes::Both => {
                let values: Tensor<R> = self.wide_values(operation, kind, Axes::Both)?;
                let dtype = self.extent().dtype.expect("it has been reduced");
                cast(values, dtype.into())
            }
        };
        Ok(values)
    }

    /// The values in the type in which kernels compute: F32 for F16 and BF16.
    pub(crate) fn wide_values<const R: usize>(
        &self,
        operation: &'static str,
        kind: ReductionKind,
        axes: Axes,
    ) -> Result<Tensor<R>, LazyError> {
        let Reduced { values, .. } = match axes {
            Axes::One(axis) => {
                let request = Request::new(kind, Wanted::VALUES, axis);
                self.reduce::<R>(operation, request.wide())?
            }
            Axes::Both => self.reduce_both::<R>(operation, kind)?,
        };
        Ok(Tensor::from_dispatch(values.expect("they are wanted")))
    }

    /// A sum over `axes`, divided by the number of terms minus `fewer`. The divisor is a tensor: Burn's derivative of
    /// a division by a scalar divides in F32, whatever the type is.
    pub(crate) fn divided_by_count<const R: usize>(
        &self,
        sum: Tensor<R>,
        axes: Axes,
        fewer: f64,
    ) -> Tensor<R> {
        let terms = self.terms(axes, &sum);
        sum / (terms - fewer)
    }

    /// The number of values that are reduced to each value of `result`: `[.., 1]`, or a tensor with a single number
    /// if it is the same everywhere.
    pub(crate) fn terms<const R: usize>(&self, axes: Axes, result: &Tensor<R>) -> Tensor<R> {
        self.counts(axes, result).unwrap_or_else(|| {
            let [m, n] = self.sizes().map(|size| size as f64);
            let count = match axes {
                Axes::One(Axis::I) => m,
                Axes::One(Axis::J) => n,
                Axes::Both => m * n,
            };
            Tensor::full([1; R], count, (&result.device(), result.dtype()))
        })
    }

    /// The number of entries that are not 0.
    pub(crate) fn count_nonzero<const R: usize>(
        &self,
        operation: &'static str,
        axes: Axes,
    ) -> Result<Tensor<R, Int>, LazyError> {
        let kind = ReductionKind::Count;
        if let Some(device) = self.extent().device {
            let most = largest(device.settings().int_dtype);
            let [m, n] = self.sizes().map(|size| size as u128);
            let pairs = match (axes, &self.ranges) {
                (Axes::One(Axis::I), _) => m,
                (Axes::One(Axis::J), _) => n,
                (Axes::Both, None) => m * n,
                (Axes::Both, Some(ranges)) => ranges.pairs(),
            };
            if pairs > most {
                return Err(LazyError::TooManyPairs {
                    operation,
                    pairs,
                    limit: most,
                    formula: self.boxed_info(),
                });
            }
        }
        match axes {
            Axes::One(axis) => self.indices(operation, kind, axis),
            Axes::Both => {
                self.check_axis(Axis::I)?;
                self.check_axis(Axis::J)?;
                let request = Request::new(kind, Wanted::INDICES, Axis::J);
                let Reduced {
                    indices: counts, ..
                } = self.reduce_unchecked(request)?;
                let counts = counts.expect("they are wanted");
                let mut shape = counts.shape().to_vec();
                let rows = shape.len() - 2;
                shape.remove(rows);
                self.check_rank::<R>(operation, &shape)?;
                let counts = Dispatch::int_sum_dim(counts, rows);
                let counts = Dispatch::int_reshape(counts, Shape::from(shape));
                Ok(Tensor::from_dispatch(counts))
            }
        }
    }

    fn indices<const R: usize>(
        &self,
        operation: &'static str,
        kind: ReductionKind,
        axis: Axis,
    ) -> Result<Tensor<R, Int>, LazyError> {
        let Reduced { indices, .. } =
            self.reduce::<R>(operation, Request::new(kind, Wanted::INDICES, axis))?;
        Ok(Tensor::from_dispatch(indices.expect("they are wanted")))
    }

    /// Values with their indices.
    pub(crate) fn both<const R: usize>(
        &self,
        operation: &'static str,
        kind: ReductionKind,
        axis: Axis,
    ) -> Result<(Tensor<R>, Tensor<R, Int>), LazyError> {
        let Reduced {
            values, indices, ..
        } = self.reduce::<R>(operation, Request::new(kind, Wanted::BOTH, axis))?;
        Ok((
            Tensor::from_dispatch(values.expect("they are wanted")),
            Tensor::from_dispatch(indices.expect("they are wanted")),
        ))
    }

    /// The softmax-weighted sums of a formula of [scores and weights](Self::with_weights), and the logarithms of the
    /// sums of exponentials. The logarithms are in the type in which kernels compute.
    pub(crate) fn softmax_and_logsumexp<const R: usize>(
        &self,
        operation: &'static str,
        request: Request,
    ) -> Result<[Tensor<R>; 2], LazyError> {
        let Reduced { values, state, .. } = self.reduce::<R>(operation, request.with_state())?;
        let values: Tensor<R> = Tensor::from_dispatch(values.expect("they are wanted"));
        let Some(state) = state else {
            // A formula without tensors is not computed by kernels, which would give the state.
            let kind = ReductionKind::LogSumExp { scores: 1 };
            let scores = self.try_slice(0..1)?;
            let logarithms = scores.wide_values(operation, kind, request.axis.into())?;
            return Ok([values, logarithms]);
        };
        let state: Tensor<R> = Tensor::from_dispatch(state);
        let maxima = state.clone().narrow(R - 1, 0, 1).detach();
        let sums = state.narrow(R - 1, 1, 1);
        // A row whose exponentials are all 0 has no gradient.
        let nothing = sums.clone().equal_elem(0.0);
        let logarithms = sums.mask_fill(nothing.clone(), 1.0).log() + maxima;
        Ok([values, logarithms.mask_fill(nothing, f64::NEG_INFINITY)])
    }

    /// Scores and values of rows, with the value 0 for rows without pairs. Such a row has the score $-\infty$ and the
    /// value NaN, which must not count.
    fn without_empty_rows(&self) -> Result<Self, LazyError> {
        let score = self.try_slice(0..1)?;
        let nothing = score.try_apply(ScalarOp::Equal, f64::NEG_INFINITY)?;
        let values = self.try_slice(1..self.dim())?;
        LazyTensor::try_concat(&[score, values.try_mask_where(nothing, 0.0)?])
    }

    /// Reduces over $j$, and then the results over $i$, in the type in which kernels compute.
    fn reduce_both<const R: usize>(
        &self,
        operation: &'static str,
        kind: ReductionKind,
    ) -> Result<Reduced<Dispatch>, LazyError> {
        let over_j = |formula: &LazyTensor, kind| {
            let request = Request::new(kind, Wanted::VALUES, Axis::J);
            let Reduced { values, .. } = formula.reduce_unchecked(request.wide())?;
            let values = values.expect("they are wanted");
            let device = formula.extent().device.expect("it has been reduced");
            Operand::dispatch(values, device, Some(Axis::J)).map(LazyTensor::leaf)
        };
        self.check_axis(Axis::I)?;
        self.check_axis(Axis::J)?;
        let stages = kind.over_both(self.dim()).unwrap_or_else(|| Stages {
            first: vec![(0..self.dim(), kind)],
            second: kind,
        });
        let first = stages.first.into_iter().map(|(components, kind)| {
            match components == (0..self.dim()) {
                true => over_j(self, kind),
                false => over_j(&self.try_slice(components)?, kind),
            }
        });
        let first = first.collect::<Result<Vec<_>, LazyError>>()?;
        let rows = match &first[..] {
            [rows] => rows.clone(),
            several => LazyTensor::try_concat(several)?,
        };
        let kind = stages.second;
        let rows = match kind {
            ReductionKind::SoftmaxSum => rows.without_empty_rows()?,
            _ => rows,
        };
        let request = Request::new(kind, Wanted::VALUES, Axis::J);
        rows.reduce::<R>(operation, request.squeezed(true))
    }
}

/// The largest number that integers of type `dtype` hold.
pub(crate) fn largest(dtype: IntDType) -> u128 {
    match dtype {
        IntDType::I64 => i64::MAX as u128,
        IntDType::I32 => i32::MAX as u128,
        IntDType::I16 => i16::MAX as u128,
        IntDType::I8 => i8::MAX as u128,
        IntDType::U64 => u64::MAX.into(),
        IntDType::U32 => u32::MAX.into(),
        IntDType::U16 => u16::MAX.into(),
        IntDType::U8 => u8::MAX.into(),
    }
}

/// The right-hand side of a product with a symbolic matrix: a tensor.
#[diagnostic::on_unimplemented(
    message = "a symbolic matrix is multiplied with a tensor, not with `{Self}`",
    note = "the product of two symbolic matrices would have to be stored: apply them one after the \
            other, `k.matmul(l.matmul(b))`, or store one of them with `dense()`"
)]
pub trait RightHandSide: Sized {
    #[doc(hidden)]
    fn multiplied_by(self, matrix: &LazyTensor) -> Result<Self, LazyError>;
}

impl<const R: usize> RightHandSide for Tensor<R> {
    fn multiplied_by(self, matrix: &LazyTensor) -> Result<Self, LazyError> {
        let product = |b| {
            let product = matrix.try_mul(b)?.accumulate(matrix.accumulation);
            product.try_prune(matrix.pruning)
        };
        if R == 1 {
            let b = LazyTensor::try_vj(self.unsqueeze_dim::<2>(1))?;
            let product: Tensor<2> = product(b)?.try_sum(Axis::J)?;
            let [rows, _] = product.dims();
            return Ok(product.reshape(vector::<R>(rows)));
        }
        product(LazyTensor::try_vj(self)?)?.try_sum(Axis::J)
    }
}

/// The shape of a vector, for a tensor that is known to be one.
fn vector<const R: usize>(len: usize) -> [usize; R] {
    [len; R]
}
