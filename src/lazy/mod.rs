//! The user's handle: a symbolic matrix over Burn tensors.

mod combine;
mod components;
mod print;

pub(crate) use components::elem;

use std::sync::Arc;

use burn::tensor::{Device, FloatDType, Tensor, kind::Basic};
use burn_lazy_kernels::{
    Accumulation, Axis, Expr, Formula, ReductionKind, Wanted,
    expr::{Dependence, Var},
};

use crate::{cast::cast, error::LazyError, operand::Operand, pruning::Pruning, ranges::Ranges};

/// A symbolic tensor of shape `[batch.., M, N, D]`: a formula over rows `x_i`, columns `y_j` and
/// parameters, whose M x N entries are never stored.
///
/// Operators build the formula. A reduction over [`Axis::I`] or [`Axis::J`] evaluates it on the device, in memory of
/// the size of its inputs and outputs. The inner axis of size D holds the components of an entry. Operations on
/// entries work component by component, and an entry of one component is broadcast.
///
/// Handles are cheap to clone, and operators take them by value or by reference. Methods panic at
/// the caller's line where their `try_` forms return a [`LazyError`].
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy::{Axis, LazyTensor};
///
/// let device = Device::default();
/// let x = Tensor::<2>::from_data([[0.0], [1.0]], &device);
/// let y = Tensor::<2>::from_data([[0.0], [2.0], [3.0]], &device);
/// let (x_i, y_j) = (LazyTensor::vi(x), LazyTensor::vj(y));
/// let d_ij = (x_i - y_j).abs(); // symbolic, 2 x 3
/// let sums: Tensor<2> = d_ij.sum(Axis::J); // [[0 + 2 + 3], [1 + 1 + 2]]
/// sums.into_data().assert_eq(&burn::tensor::TensorData::from([[5.0f32], [4.0]]), false);
/// # }
/// ```
///
/// # Tensors in operators
///
/// A tensor in an operator or as the argument of a method is a parameter `[batch.., D]`, as [`pm`](Self::pm) makes
/// it: `k * scale` with a `scale` of one number, `x_i / lengths` with as many lengths as `x_i` has components.
///
/// A tensor that could also be meant as values of rows or columns is refused with [`LazyError::TensorInOperator`]. So
/// `k * w` with a `w` of shape `[N]` or `[N, 1]` is an error. A tensor is refused
/// - if it has batch dimensions that the formula does not have, or longer ones;
/// - if its last batch dimension is as long as the formula has rows or columns;
/// - if it has M or N components, more than one, and the formula has another number of components.
///
/// `LazyTensor::pm(w)` is always a parameter, `LazyTensor::vi(w)` always one value a row and
/// `LazyTensor::vj(w)` one value a column.
///
/// # Integers and truth values
///
/// [`vi`](Self::vi), [`vj`](Self::vj), [`pm`](Self::pm) and operators also take tensors of kind Int and Bool: labels,
/// masks, counts. They are read as numbers in the type of the other operands. If there are no other operands, the
/// formula has the default type of the device. Whole numbers that the type does not hold are rounded, in F32 those
/// beyond 2^24. Comparisons do not round: an Int tensor, or components of one, is compared exactly with another, with
/// a Bool tensor and with numbers. Formulas of F16 and BF16 with Int tensors are computed from operands in F32. These
/// tensors have no gradient.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// # use burn::prelude::*;
/// # use burn_lazy::{Axis, LazyTensor};
/// // How many others have the same label.
/// let labels = Tensor::<2, Int>::from_data([[16_777_216], [16_777_217], [16_777_217]], &Device::default());
/// let same = LazyTensor::vi(labels.clone()).equal(LazyTensor::vj(labels));
/// let count: Tensor<2> = same.sum(Axis::J) - 1.0;
/// count.into_data().assert_eq(&burn::tensor::TensorData::from([[0.0f32], [1.0], [1.0]]), false);
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a formula computes nothing until it is reduced"]
pub struct LazyTensor {
    pub(crate) expr: Expr,
    pub(crate) operands: Arc<Vec<Operand>>,
    pub(crate) accumulation: Accumulation,
    pub(crate) ranges: Option<Ranges>,
    pub(crate) pruning: Pruning,
}

/// What can stand on either side of an operator: a lazy tensor, a number, or a Burn tensor of any kind. A number is a
/// run-time scalar: all values share one kernel. A tensor is a parameter `[batch.., D]`; see [Tensors in
/// operators](LazyTensor#tensors-in-operators).
pub trait IntoLazy {
    /// The lazy tensor.
    fn into_lazy(self) -> Result<LazyTensor, LazyError>;
}

impl IntoLazy for LazyTensor {
    fn into_lazy(self) -> Result<LazyTensor, LazyError> {
        Ok(self)
    }
}

impl IntoLazy for &LazyTensor {
    fn into_lazy(self) -> Result<LazyTensor, LazyError> {
        Ok(self.clone())
    }
}

impl<const R: usize, K: Basic> IntoLazy for Tensor<R, K> {
    fn into_lazy(self) -> Result<LazyTensor, LazyError> {
        Ok(LazyTensor::leaf(
            Operand::tensor(self, Dependence::default())?.unsaid(),
        ))
    }
}

impl<const R: usize, K: Basic> IntoLazy for &Tensor<R, K> {
    fn into_lazy(self) -> Result<LazyTensor, LazyError> {
        self.clone().into_lazy()
    }
}

macro_rules! number_into_lazy {
    ($($number:ty),*) => {$(
        impl IntoLazy for $number {
            fn into_lazy(self) -> Result<LazyTensor, LazyError> {
                Ok(LazyTensor::leaf(Operand::scalar(self.into())))
            }
        }
    )*};
}

number_into_lazy!(f64, f32, i32);

/// The result of a `try_` method. An error is passed on.
impl<T: IntoLazy> IntoLazy for Result<T, LazyError> {
    fn into_lazy(self) -> Result<LazyTensor, LazyError> {
        self?.into_lazy()
    }
}

/// The value, or a panic with the error at the caller's line.
#[track_caller]
pub(crate) fn expect<T>(result: Result<T, LazyError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

impl LazyTensor {
    pub(crate) fn leaf(operand: Operand) -> Self {
        Self {
            expr: operand.expr(),
            operands: Arc::new(vec![operand]),
            accumulation: Accumulation::default(),
            pruning: Pruning::default(),
            ranges: None,
        }
    }

    /// A variable indexed by `i`: the rows of `x`, of shape `[batch.., M, D]` and of any kind; see
    /// [Integers and truth values](Self#integers-and-truth-values).
    ///
    /// # Panics
    /// If `x` has fewer than two dimensions, an empty inner axis, or another type than F16, BF16, F32, F64,
    /// integers or booleans.
    #[track_caller]
    pub fn vi<const R: usize, K: Basic>(x: Tensor<R, K>) -> Self {
        expect(Self::try_vi(x))
    }

    /// Like [`vi`](Self::vi), with an error instead of a panic.
    pub fn try_vi<const R: usize, K: Basic>(x: Tensor<R, K>) -> Result<Self, LazyError> {
        Operand::tensor(x, Some(Axis::I)).map(Self::leaf)
    }

    /// A variable indexed by `j`: the rows of `y`, of shape `[batch.., N, D]` and of any kind.
    ///
    /// # Panics
    /// If `y` has fewer than two dimensions, an empty inner axis, or another type than F16, BF16, F32, F64,
    /// integers or booleans.
    #[track_caller]
    pub fn vj<const R: usize, K: Basic>(y: Tensor<R, K>) -> Self {
        expect(Self::try_vj(y))
    }

    /// Like [`vj`](Self::vj), with an error instead of a panic.
    pub fn try_vj<const R: usize, K: Basic>(y: Tensor<R, K>) -> Result<Self, LazyError> {
        Operand::tensor(y, Some(Axis::J)).map(Self::leaf)
    }

    /// A parameter, the same for all entries of a batch: `p` of shape `[batch.., D]` and of any kind.
    ///
    /// # Panics
    /// If `p` has an empty inner axis or another type than F16, BF16, F32, F64, integers or booleans.
    #[track_caller]
    pub fn pm<const R: usize, K: Basic>(p: Tensor<R, K>) -> Self {
        expect(Self::try_pm(p))
    }

    /// Like [`pm`](Self::pm), with an error instead of a panic.
    pub fn try_pm<const R: usize, K: Basic>(p: Tensor<R, K>) -> Result<Self, LazyError> {
        Operand::tensor(p, Dependence::default()).map(Self::leaf)
    }

    /// A variable of pairs: `z` of shape `[batch.., M, N, D]` and of any kind has a value for each pair. It puts a
    /// stored matrix into a formula, such as a bias or a mask of attention.
    ///
    /// `z` is read once for each pair. Floating point numbers in the type of the formula are read in place: views
    /// with any strides are not copied. Integers and truth values are first copied as numbers in F32, and integers of
    /// more than 16 bits as several numbers each. The gradient has the shape of `z`, also where batches share `z`:
    /// the gradients of the batches are added up, a few batches at a time.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::prelude::*;
    /// use burn_lazy::{Axis, LazyTensor};
    ///
    /// let device = Device::default();
    /// let x = LazyTensor::vi(Tensor::<2>::from_data([[1.0], [2.0]], &device));
    /// let y = LazyTensor::vj(Tensor::<2>::from_data([[1.0], [10.0], [100.0]], &device));
    /// let kept = Tensor::<3, Bool>::from_data([[[true], [false], [true]], [[false], [true], [true]]], &device);
    /// let sums: Tensor<2> = (x * y * LazyTensor::vij(kept)).sum(Axis::J);
    /// sums.into_data().assert_eq(&burn::tensor::TensorData::from([[101.0f32], [220.0]]), false);
    /// # }
    /// ```
    ///
    /// # Panics
    /// If `z` has fewer than three dimensions, an empty inner axis, or another type than F16, BF16, F32, F64,
    /// integers or booleans.
    #[track_caller]
    pub fn vij<const R: usize, K: Basic>(z: Tensor<R, K>) -> Self {
        expect(Self::try_vij(z))
    }

    /// Like [`vij`](Self::vij), with an error instead of a panic.
    pub fn try_vij<const R: usize, K: Basic>(z: Tensor<R, K>) -> Result<Self, LazyError> {
        Operand::tensor(z, Dependence::BOTH).map(Self::leaf)
    }

    /// The symbolic shape `[batch.., M, N, D]`; an axis on which nothing depends has size 1.
    pub fn shape(&self) -> Vec<usize> {
        let extent = self.extent();
        let mut shape = extent.batch;
        shape.extend([extent.m.unwrap_or(1), extent.n.unwrap_or(1), self.dim()]);
        shape
    }

    /// The simplified formula with numbered operands, without their values. It can be serialised;
    /// formulas written alike over different tensors are equal and share one kernel.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// # use burn::prelude::*;
    /// # use burn_lazy::LazyTensor;
    /// let kernel = |m, n| {
    ///     let x = LazyTensor::vi(Tensor::<2>::zeros([m, 3], &Device::default()));
    ///     let y = LazyTensor::vj(Tensor::<2>::zeros([n, 3], &Device::default()));
    ///     (-x.sqdist(y) * 0.5).exp().formula()
    /// };
    /// assert_eq!(kernel(10, 20), kernel(30, 40));
    /// assert_eq!(kernel(10, 20).to_string(), "exp((sum(-square((x0 - y1))) * s2))");
    /// # }
    /// ```
    pub fn formula(&self) -> Formula {
        Formula::new(&self.expr).0
    }

    /// Size D of the inner axis.
    pub fn dim(&self) -> usize {
        self.expr.dim()
    }

    /// The transpose: rows become columns, `k.t()[j, i] = k[i, j]`.
    pub fn t(&self) -> Self {
        let operands: Vec<Operand> = self.operands.iter().map(Operand::transposed).collect();
        let both = self.operands.iter().zip(&operands);
        let moved: Vec<(Var, Var)> = both
            .filter(|(own, _)| own.var.is_of_pairs())
            .map(|(own, new)| (own.var, new.var))
            .collect();
        let expr = self.expr.transpose();
        let expr = match moved.is_empty() {
            true => expr,
            false => expr.map_vars(|var| {
                let new = moved.iter().find(|(own, _)| own == var);
                Expr::var(new.map_or(*var, |(_, new)| *new))
            }),
        };
        Self {
            expr,
            operands: Arc::new(operands),
            accumulation: self.accumulation,
            pruning: self.pruning,
            ranges: self.ranges.as_ref().map(Ranges::t),
        }
    }

    /// The same formula over tensors that are not part of an autodiff graph, as
    /// [`Tensor::inner`] makes them.
    pub fn inner(&self) -> Self {
        self.map_tensors(Tensor::inner, |_| true)
    }

    /// The same formula over tensors on `device`. Gradients reach the tensors of this formula through the moves.
    pub(crate) fn to_device(&self, device: &Device) -> Self {
        self.map_tensors(|tensor| tensor.to_device(device), |_| true)
    }

    /// The same formula over tensors of type `dtype`, as [`Tensor::cast`] makes them. Gradients reach the tensors of
    /// this formula through the casts.
    ///
    /// # Panics
    /// If the device has no such type.
    #[track_caller]
    pub fn cast(&self, dtype: FloatDType) -> Self {
        expect(self.try_cast(dtype))
    }

    /// Like [`cast`](Self::cast), with an error instead of a panic.
    pub fn try_cast(&self, dtype: FloatDType) -> Result<Self, LazyError> {
        self.check_cast(dtype)?;
        let mut cast = self.map_tensors(|tensor| cast(tensor, dtype), Operand::is_float);
        let operands = Arc::make_mut(&mut cast.operands);
        operands
            .iter_mut()
            .for_each(|operand| operand.read_in(dtype.into()));
        Ok(cast)
    }

    /// Checks that the device of the tensors computes in `dtype`.
    pub(crate) fn check_cast(&self, dtype: FloatDType) -> Result<(), LazyError> {
        match self.extent().device {
            Some(device) => {
                let kind = ReductionKind::Sum(self.accumulation);
                self.check_device(&device, Some(dtype.into()), (kind, Wanted::VALUES), 1)
            }
            None => Ok(()),
        }
    }

    /// The same formula with `change` applied to the tensors of all operands for which `concerned` holds.
    fn map_tensors(
        &self,
        change: impl Fn(Tensor<1>) -> Tensor<1>,
        concerned: impl Fn(&Operand) -> bool,
    ) -> Self {
        let mut operands: Vec<Operand> = Vec::with_capacity(self.operands.len());
        for operand in self.operands.iter() {
            // A tensor of several operands is changed once, because kernels use whether rows and columns are the same
            // tensor.
            let mut before = self.operands.iter().zip(&operands);
            let same = before.find(|(other, _)| other.value.is_same(&operand.value));
            let value = match same {
                Some((_, changed)) => changed.value.clone(),
                None if concerned(operand) => operand.value.map(&change),
                None => operand.value.clone(),
            };
            operands.push(Operand {
                var: operand.var,
                value,
            });
        }
        Self {
            operands: Arc::new(operands),
            ..self.clone()
        }
    }

    /// Whether autodiff tracks an operand.
    pub(crate) fn is_tracked(&self) -> bool {
        let tensors = self.operands.iter().filter_map(Operand::as_tensor);
        tensors.into_iter().any(|value| value.is_tracked())
    }
}
