//! Reductions of lazy tensors to Burn tensors.

use burn::{
    backend::{
        Dispatch, DispatchTensor, TensorMetadata,
        ops::{FloatTensorOps, IntTensorOps},
    },
    tensor::{Bool, DType, Device, Int, Shape, Tensor, TensorData},
};
use burn_lazy_kernels::{
    Accumulation, Axis, Expr, Formula, ReductionKind, Wanted, catalogue::ScalarOp, expr::Node,
};

use crate::{
    backends::{Unsupported, check, check_reduction},
    error::LazyError,
    lazy::{IntoLazy, LazyTensor, expect},
    operand::{Operand, Value},
    ops::{LazyOps, Operands, Reduction},
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

/// Defines a reduction and the form of it that returns an error.
macro_rules! reductions {
    ($(
        $(#[$doc:meta])*
        $name:ident / $try:ident ($($arg:ident: $type:ty),*) -> $out:ty = |$this:ident| $body:expr;
    )*) => {
        impl LazyTensor {
            $(
                $(#[$doc])*
                ///
                /// # Panics
                /// If the result does not have `R` dimensions, if no operand depends on a reduced
                /// axis, or if the device does not support the type of the operands.
                #[track_caller]
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
}

reductions! {
    /// The sum over a symbolic axis: $\sum_j f_{ij}$ of shape `[batch.., M, D]` over [`Axis::J`],
    /// $\sum_i f_{ij}$ of shape `[batch.., N, D]` over [`Axis::I`], `[batch.., D]` over both.
    ///
    /// Values are added up in blocks, and these in blocks, so the error hardly grows with the length
    /// of the axis; see [`accumulate`](Self::accumulate) for more exact sums. The sum over an empty
    /// axis is 0; NaN and infinities propagate.
    ///
    /// Differentiable through Burn's autodiff with respect to every operand. Tensors may have any
    /// strides.
    sum / try_sum(axis: impl Into<Axes>) -> Tensor<R> =
        |k| k.values("sum", ReductionKind::Sum(k.accumulation), axis);

    /// The mean over a symbolic axis, shaped and differentiable as the [`sum`](Self::sum) that it is
    /// made of; NaN over an empty axis.
    mean / try_mean(axis: impl Into<Axes>) -> Tensor<R> = |k| {
        let axes = axis.into();
        let sum = k.values("mean", ReductionKind::Sum(k.accumulation), axes)?;
        let [m, n] = k.sizes();
        let count = match axes {
            Axes::One(Axis::I) => m as f64,
            Axes::One(Axis::J) => n as f64,
            Axes::Both => m as f64 * n as f64,
        };
        Ok(sum / count)
    };

    /// The product over a symbolic axis, $\prod_j f_{ij}$, shaped as the [`sum`](Self::sum); 1 over
    /// an empty axis. Differentiable, also next to zeros.
    prod / try_prod(axis: impl Into<Axes>) -> Tensor<R> =
        |k| k.values("prod", ReductionKind::Product, axis);

    /// $\log \sum_j e^{f_{ij}}$ of each component, shaped as the [`sum`](Self::sum).
    ///
    /// Stable for any values: exponentials are taken relative to a running maximum (Milakov and
    /// Gimelshein, "Online normalizer calculation for softmax", 2018). $-\infty$ where every $f$ is
    /// or the axis is empty, $\infty$ where any $f$ is, NaN where any is. Differentiable.
    logsumexp / try_logsumexp(axis: impl Into<Axes>) -> Tensor<R> = |k| {
        k.values("logsumexp", ReductionKind::LogSumExp { scores: k.dim() }, axis)
    };

    /// $\log \sum_j e^{f_{ij}} w_{ij}$ with a weight $w$: a number, a tensor or a formula. Shaped as
    /// the [`sum`](Self::sum), where D is the larger of the inner dimensions of $f$ and $w$, which
    /// are equal or 1.
    ///
    /// Weights may be negative; the result is NaN where their sum is. Differentiable with respect to
    /// the operands of both. See [`logsumexp`](Self::logsumexp).
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
    /// This is attention with scores $f$ and values $g$. Stable for any finite scores; NaN where all
    /// scores are $-\infty$, where one is $\infty$, and over an empty axis. Differentiable.
    sumsoftmaxweight / try_sumsoftmaxweight(
        weight: impl IntoLazy,
        axis: impl Into<Axes>
    ) -> Tensor<R> = |k| {
        k.check_scalar("sumsoftmaxweight")?;
        let both = LazyTensor::try_concat(&[k.clone(), weight.into_lazy()?])?;
        both.values("sumsoftmaxweight", ReductionKind::SoftmaxSum, axis)
    };

    /// The smallest value over a symbolic axis, $\min_j f_{ij}$ of each component, shaped as the
    /// [`sum`](Self::sum); NaN if any value is, $\infty$ over an empty axis. Its gradient goes to the first of
    /// equal values.
    min / try_min(axis: impl Into<Axes>) -> Tensor<R> =
        |k| k.values("min", ReductionKind::Minimum, axis);

    /// The largest value over a symbolic axis, $\max_j f_{ij}$ of each component, shaped as the
    /// [`sum`](Self::sum); NaN if any value is, $-\infty$ over an empty axis. Its gradient goes to the first
    /// of equal values.
    max / try_max(axis: impl Into<Axes>) -> Tensor<R> =
        |k| k.values("max", ReductionKind::Maximum, axis);

    /// Where the smallest value is, $\mathrm{argmin}_j f_{ij}$ of each component, shaped as the
    /// [`sum`](Self::sum): the first of equal ones, the first NaN if there is one, -1 over an empty
    /// axis. Indices are exact for any size, and count within a batch.
    argmin / try_argmin(axis: Axis) -> Tensor<R, Int> =
        |k| k.indices("argmin", ReductionKind::Minimum, axis);

    /// Where the largest value is, $\mathrm{argmax}_j f_{ij}$; see [`argmin`](Self::argmin).
    argmax / try_argmax(axis: Axis) -> Tensor<R, Int> =
        |k| k.indices("argmax", ReductionKind::Maximum, axis);

    /// [`min`](Self::min) and [`argmin`](Self::argmin) in one pass.
    min_argmin / try_min_argmin(axis: Axis) -> (Tensor<R>, Tensor<R, Int>) =
        |k| k.both("min_argmin", ReductionKind::Minimum, axis);

    /// [`max`](Self::max) and [`argmax`](Self::argmax) in one pass.
    max_argmax / try_max_argmax(axis: Axis) -> (Tensor<R>, Tensor<R, Int>) =
        |k| k.both("max_argmax", ReductionKind::Maximum, axis);

    /// The number of entries over a symbolic axis that are not 0, shaped as the [`sum`](Self::sum):
    /// with a comparison, the number of entries for which it holds. Counted in the type of the
    /// formula, so exact up to 2^24 in F32.
    count / try_count(axis: impl Into<Axes>) -> Tensor<R, Int> = |k| {
        let ones = k.try_apply(ScalarOp::NotEqual, 0.0)?;
        Ok(ones.try_sum::<R>(axis)?.int())
    };

    /// Whether any entry over a symbolic axis is not 0, shaped as the [`sum`](Self::sum); false over
    /// an empty axis.
    any / try_any(axis: impl Into<Axes>) -> Tensor<R, Bool> = |k| {
        let ones = k.try_apply(ScalarOp::NotEqual, 0.0)?;
        Ok(ones.try_max::<R>(axis)?.greater_scalar(0.5))
    };

    /// The `count` smallest values over a symbolic axis in ascending order: of shape
    /// `[batch.., M, count]` for a formula of one component, else `[batch.., M, count, D]`.
    ///
    /// NaN and $\infty$ are never among them. Where there are fewer values, $\infty$ stands in the
    /// last places. The gradient goes to the pairs at which the values are found.
    kmin / try_kmin(count: usize, axis: Axis) -> Tensor<R> =
        |k| k.values("kmin", k.smallest("kmin", count)?, axis);

    /// Where the `count` smallest values are, shaped as [`kmin`](Self::kmin): the first of equal ones
    /// first, -1 where there are fewer values. Indices are exact for any size, and count within a
    /// batch.
    argkmin / try_argkmin(count: usize, axis: Axis) -> Tensor<R, Int> =
        |k| k.indices("argkmin", k.smallest("argkmin", count)?, axis);

    /// [`kmin`](Self::kmin) and [`argkmin`](Self::argkmin) in one pass: the K nearest neighbours if
    /// the formula is a distance.
    ///
    /// ```
    /// # #[cfg(feature = "cpu")] {
    /// use burn::prelude::*;
    /// use burn_lazy::{Axis, LazyTensor};
    ///
    /// let device = Device::cpu();
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

/// The most values that `kmin` and the like give.
const MOST_SMALLEST: usize = 1024;

impl LazyTensor {
    /// How the sums of [`sum`](Self::sum), [`mean`](Self::mean) and [`matmul`](Self::matmul) of this
    /// formula are accumulated; formulas made from it are summed by default again.
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
    /// On the CPU runtime each pair is evaluated once for both of its entries where rows and columns are the same
    /// tensor, as in `(-vi(x.clone()).sqdist(vj(x))).exp()`, if there are 2000 or more of them, no batch, and
    /// the kernel is symmetric or its two entries share most of their work. Copies of a tensor are not known to be
    /// the same.
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

    fn smallest(&self, operation: &'static str, k: usize) -> Result<ReductionKind, LazyError> {
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

    /// Sizes of both axes, 1 where nothing depends on one.
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
        let [values, _] = match axes.into() {
            Axes::One(axis) => self.reduce::<R>(operation, kind, Wanted::VALUES, axis, false)?,
            Axes::Both => self.reduce_both::<R>(operation, kind)?,
        };
        Ok(Tensor::from_dispatch(values.expect("they are wanted")))
    }

    fn indices<const R: usize>(
        &self,
        operation: &'static str,
        kind: ReductionKind,
        axis: Axis,
    ) -> Result<Tensor<R, Int>, LazyError> {
        let [_, indices] = self.reduce::<R>(operation, kind, Wanted::INDICES, axis, false)?;
        Ok(Tensor::from_dispatch(indices.expect("they are wanted")))
    }

    fn both<const R: usize>(
        &self,
        operation: &'static str,
        kind: ReductionKind,
        axis: Axis,
    ) -> Result<(Tensor<R>, Tensor<R, Int>), LazyError> {
        let [values, indices] = self.reduce::<R>(operation, kind, Wanted::BOTH, axis, false)?;
        Ok((
            Tensor::from_dispatch(values.expect("they are wanted")),
            Tensor::from_dispatch(indices.expect("they are wanted")),
        ))
    }

    /// Reduces over j, and what this gives over i.
    fn reduce_both<const R: usize>(
        &self,
        operation: &'static str,
        kind: ReductionKind,
    ) -> Result<[Option<DispatchTensor>; 2], LazyError> {
        let over_j = |formula: &LazyTensor, kind| {
            let [values, _] = formula.reduce_unchecked(kind, Wanted::VALUES, Axis::J, false)?;
            let values = values.expect("they are wanted");
            let device = formula.extent().device.expect("it has been reduced");
            Operand::dispatch(values, device, Some(Axis::J)).map(LazyTensor::leaf)
        };
        self.check_axis(Axis::I)?;
        self.check_axis(Axis::J)?;
        let (rows, kind) = match kind {
            ReductionKind::LogSumExp { .. } => {
                let rows = over_j(self, kind)?;
                let scores = rows.dim();
                (rows, ReductionKind::LogSumExp { scores })
            }
            // The rows are weighted by the sums of their exponentials.
            ReductionKind::SoftmaxSum => {
                let scores = ReductionKind::LogSumExp { scores: 1 };
                let totals = over_j(&self.try_elem(0)?, scores)?;
                let means = over_j(self, kind)?;
                (LazyTensor::try_concat(&[totals, means])?, kind)
            }
            kind => (over_j(self, kind)?, kind),
        };
        rows.reduce::<R>(operation, kind, Wanted::VALUES, Axis::J, true)
    }

    pub(crate) fn check_axis(&self, axis: Axis) -> Result<(), LazyError> {
        match self.extent().size(axis) {
            Some(_) => Ok(()),
            None => Err(LazyError::MissingAxis {
                axis,
                formula: self.boxed_info(),
            }),
        }
    }

    /// The reduction over `axis`, for a tensor of `R` dimensions.
    fn reduce<const R: usize>(
        &self,
        operation: &'static str,
        kind: ReductionKind,
        wanted: Wanted,
        axis: Axis,
        squeezed: bool,
    ) -> Result<[Option<DispatchTensor>; 2], LazyError> {
        self.check_axis(axis)?;
        let shape = self
            .reduction(kind, wanted, axis, squeezed)?
            .0
            .output_shape();
        if shape.num_dims() != R {
            return Err(LazyError::OutputRank {
                operation,
                shape: shape.to_vec(),
                rank: R,
                formula: self.boxed_info(),
            });
        }
        self.reduce_unchecked(kind, wanted, axis, squeezed)
    }

    /// The reduction and its tensors.
    fn reduction(
        &self,
        kind: ReductionKind,
        wanted: Wanted,
        axis: Axis,
        squeezed: bool,
    ) -> Result<(Reduction, Vec<DispatchTensor>), LazyError> {
        let extent = self.extent();
        let Some(device) = &extent.device else {
            return Err(LazyError::NoTensor(self.boxed_info()));
        };
        let (formula, leaves) = Formula::new(&self.anchored());
        let mut tensors = Vec::new();
        let mut scalars = Vec::new();
        for leaf in leaves {
            let operand = self.operands.iter().find(|operand| operand.var == leaf);
            match &operand.expect("every leaf is an operand").value {
                Value::Tensor(tensor) => tensors.push(tensor.tensor.clone()),
                Value::Scalar(value) => scalars.push(*value),
            }
        }
        let reduction = Reduction {
            formula,
            kind,
            wanted,
            indices: device.settings().int_dtype,
            axis,
            batch: extent.batch.clone(),
            m: extent.m.unwrap_or(1),
            n: extent.n.unwrap_or(1),
            squeezed,
            fold: None,
            scalars,
        };
        Ok((reduction, tensors))
    }

    /// The expression, with a tensor in it if it varies without any: by the place of the pair alone.
    fn anchored(&self) -> Expr {
        let dependence = self.expr.dependence();
        let varies = dependence.i || dependence.j;
        let has_tensor = |expr: &Expr| matches!(expr.node(), Node::Var(var) if !var.scalar);
        if !varies || self.expr.simplify().topological().iter().any(has_tensor) {
            return self.expr.clone();
        }
        let tensor = self.operands.iter().find(|o| o.as_tensor().is_some());
        let tensor = Expr::var(tensor.expect("there is a tensor operand").var).slice(0, 1);
        let never = Expr::constant(0.0);
        Expr::scalar(ScalarOp::MaskWhere, vec![self.expr.clone(), never, tensor])
    }

    pub(crate) fn reduce_unchecked(
        &self,
        kind: ReductionKind,
        wanted: Wanted,
        axis: Axis,
        squeezed: bool,
    ) -> Result<[Option<DispatchTensor>; 2], LazyError> {
        let (reduction, tensors) = self.reduction(kind, wanted, axis, squeezed)?;
        let extent = self.extent();
        let device = extent.device.as_ref().expect("checked above");
        self.check_count(device, tensors.len())?;
        let dtype = extent.dtype.expect("there is a tensor operand");
        let shapes: Vec<Vec<usize>> = tensors
            .iter()
            .map(|tensor| tensor.shape().to_vec())
            .collect();
        check_reduction(device, dtype, &reduction, &shapes)
            .map_err(|error| self.unsupported(device, error))?;
        if tensors.is_empty() {
            return Ok(constant(&reduction, device, dtype));
        }
        let reduced = <Dispatch as LazyOps>::lazy_reduce(Operands(tensors), reduction);
        Ok([reduced.values, reduced.indices])
    }

    /// Checks what the backend would refuse for a formula of `count` tensors.
    pub(crate) fn check_device(
        &self,
        device: &Device,
        dtype: Option<DType>,
        kind: ReductionKind,
        count: usize,
    ) -> Result<(), LazyError> {
        self.check_count(device, count)?;
        check(device, dtype, kind, count).map_err(|error| self.unsupported(device, error))
    }

    /// Checks that `count` tensors are not too many for autodiff.
    fn check_count(&self, device: &Device, count: usize) -> Result<(), LazyError> {
        #[cfg(feature = "autodiff")]
        if count > crate::backends::MAX_OPERANDS && device.is_autodiff() {
            return Err(LazyError::TooManyOperands {
                count,
                limit: crate::backends::MAX_OPERANDS,
                formula: self.boxed_info(),
            });
        }
        let _ = (device, count);
        Ok(())
    }

    /// What the backend refuses, as an error of this formula.
    fn unsupported(&self, device: &Device, error: Unsupported) -> LazyError {
        match error {
            Unsupported::Backend => LazyError::Backend {
                device: format!("{device:?}"),
            },
            Unsupported::Launch(error) => LazyError::Launch {
                error,
                formula: self.boxed_info(),
            },
        }
    }
}

/// What a symbolic matrix is multiplied with: a tensor.
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
        let product = |b| Ok(matrix.try_mul(b)?.accumulate(matrix.accumulation));
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

/// The reduction of a formula in which simplification left no tensor: the same for every row.
fn constant(reduction: &Reduction, device: &Device, dtype: DType) -> [Option<DispatchTensor>; 2] {
    let (values, indices) = reduction.equal_rows();
    let shape = reduction.output_shape();
    let mut row = vec![1; shape.num_dims()];
    let inner = match reduction.spec() {
        spec if spec.depth() > 1 && spec.width() > 1 => 2,
        _ => 1,
    };
    let start = row.len() - inner;
    row[start..].copy_from_slice(&shape.to_vec()[start..]);
    let wanted = reduction.wanted;
    let values = wanted.values.then(|| {
        let row_data = TensorData::new(values, [reduction.spec().entries()]);
        let tensor = Tensor::<1>::from_data(row_data, (device, dtype)).into_dispatch();
        let tensor = Dispatch::float_reshape(tensor, Shape::from(row.clone()));
        Dispatch::float_expand(tensor, shape.clone())
    });
    let indices = wanted.indices.then(|| {
        let row_data = TensorData::new(indices, [reduction.spec().entries()]);
        let options = (device, DType::from(reduction.indices));
        let tensor = Tensor::<1, Int>::from_data(row_data, options).into_dispatch();
        let tensor = Dispatch::int_reshape(tensor, Shape::from(row.clone()));
        Dispatch::int_expand(tensor, shape.clone())
    });
    [values, indices]
}
