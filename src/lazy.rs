//! The user's handle: a symbolic matrix over Burn tensors.

use std::{fmt, sync::Arc};

use burn::tensor::{Device, FloatDType, Tensor, kind::Basic};
use burn_lazy_kernels::{
    Accumulation, Axis, Expr, Formula, ReductionKind, Wanted,
    expr::{Dependence, Printer, Var, broadcast_dim},
};

use crate::{
    cast::cast,
    error::{FormulaInfo, LazyError},
    operand::{Extent, Operand, broadcast, extent, name, union},
    pruning::Pruning,
    ranges::{Ranges, common},
};

/// The greatest depth of a formula. A deeper one is most likely built by a loop that does not end.
const MAX_DEPTH: usize = 500;

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
/// masks, counts. They are read as numbers in the type of the other operands. If there are no others, the formula has
/// the default type of the device. Whole numbers that the type does not hold are rounded, in F32 those beyond 2^24.
/// Comparisons do not round: an Int tensor, or components of one, is compared exactly with another, with a Bool
/// tensor and with numbers. Formulas of F16 and BF16 with Int tensors are computed from operands in F32. There is no
/// gradient by these tensors.
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
/// run-time scalar: another value needs no other kernel. A tensor is a parameter `[batch.., D]`; see
/// [Tensors in operators](LazyTensor#tensors-in-operators).
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

/// What a method with a `try_` form gave.
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

    /// A variable of pairs: `z` of shape `[batch.., M, N, D]` and of any kind has a value for each pair. So a matrix that is
    /// stored, as a bias or a mask of attention, goes into a formula.
    ///
    /// It is read once a pair. Floating point numbers in the type of the formula are read where they lie: views with any
    /// strides are not copied. Integers and truth values are first copied as numbers in F32, integers of more than 16 bits
    /// as several. The gradient is a tensor of the same shape, also where batches share `z`: they are added up a few at a
    /// time.
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

    /// Whether the device of the tensors computes in `dtype`.
    pub(crate) fn check_cast(&self, dtype: FloatDType) -> Result<(), LazyError> {
        match self.extent().device {
            Some(device) => {
                let kind = ReductionKind::Sum(self.accumulation);
                self.check_device(&device, Some(dtype.into()), (kind, Wanted::VALUES), 1)
            }
            None => Ok(()),
        }
    }

    /// The same formula with tensors changed by `change`, but only those of operands that are `concerned`.
    fn map_tensors(
        &self,
        change: impl Fn(Tensor<1>) -> Tensor<1>,
        concerned: impl Fn(&Operand) -> bool,
    ) -> Self {
        let mut operands: Vec<Operand> = Vec::with_capacity(self.operands.len());
        for operand in self.operands.iter() {
            // A tensor that is several operands is changed once: kernels read whether rows and columns are the same.
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

    /// Components `range` of the inner axis.
    ///
    /// # Panics
    /// If the range is empty or leaves the inner axis.
    #[track_caller]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        expect(self.try_slice(range))
    }

    /// Like [`slice`](Self::slice), with an error instead of a panic.
    pub fn try_slice(&self, range: std::ops::Range<usize>) -> Result<Self, LazyError> {
        let (start, end) = (range.start, range.end);
        if start >= end || end > self.dim() {
            return Err(LazyError::Slice {
                start,
                end,
                dim: self.dim(),
                formula: self.boxed_info(),
            });
        }
        Ok(self.map(self.expr.slice(start, end - start)))
    }

    /// Component `index` of the inner axis.
    ///
    /// # Panics
    /// If there is no such component.
    #[track_caller]
    pub fn elem(&self, index: usize) -> Self {
        expect(self.try_elem(index))
    }

    /// Like [`elem`](Self::elem), with an error instead of a panic.
    pub fn try_elem(&self, index: usize) -> Result<Self, LazyError> {
        self.try_slice(index..index.saturating_add(1))
    }

    /// The components of all `parts`, one after the other.
    ///
    /// # Panics
    /// If there are no parts or their operands do not fit together.
    #[track_caller]
    pub fn concat(parts: &[LazyTensor]) -> Self {
        expect(Self::try_concat(parts))
    }

    /// Like [`concat`](Self::concat), with an error instead of a panic.
    pub fn try_concat(parts: &[LazyTensor]) -> Result<Self, LazyError> {
        if parts.is_empty() {
            return Err(LazyError::EmptyConcat);
        }
        let expr = Expr::concat(parts.iter().map(|part| part.expr.clone()).collect());
        Self::combine(expr, &parts.iter().collect::<Vec<_>>())
    }

    /// The sum over the inner axis, $\sum_k f_k$; stays symbolic.
    pub fn inner_sum(&self) -> Self {
        self.map(self.expr.inner_sum())
    }

    /// The squared Euclidean norm over the inner axis, $\sum_k f_k^2$.
    pub fn sqnorm(&self) -> Self {
        self.map(self.expr.sqnorm())
    }

    /// The Euclidean norm over the inner axis, $(\sum_k f_k^2)^{1/2}$; its gradient at 0 is 0.
    ///
    /// For a formula of rows alone, of columns alone or of parameters it is right in the whole range of the type: the
    /// components are scaled by a power of two before they are squared. For a formula of pairs they are not, as that
    /// would take time for each pair. There, in F32, F16 and BF16, a norm above about $1.8 \cdot 10^{19}$ is
    /// infinite, and one below about $10^{-19}$ loses digits; $10^{-22}$ is 0. In F64 the bounds are $1.3 \cdot
    /// 10^{154}$ and $10^{-154}$.
    pub fn norm(&self) -> Self {
        self.map(self.expr.norm())
    }

    /// The inner product over the inner axis, $\sum_k f_k g_k$; also written `f | g`.
    ///
    /// # Panics
    /// If the inner dimensions differ, or the operands do not fit together.
    #[track_caller]
    pub fn dot(&self, other: impl IntoLazy) -> Self {
        expect(self.try_dot(other))
    }

    /// Like [`dot`](Self::dot), with an error instead of a panic.
    pub fn try_dot(&self, other: impl IntoLazy) -> Result<Self, LazyError> {
        let other = other.into_lazy()?;
        if self.dim() != other.dim() {
            return Err(self.dimension_error("dot", &other));
        }
        Self::combine(self.expr.dot(&other.expr), &[self, &other])
    }

    /// The squared Euclidean distance over the inner axis, $\sum_k (f_k - g_k)^2$.
    ///
    /// # Panics
    /// If the inner dimensions do not fit, or the operands do not fit together.
    #[track_caller]
    pub fn sqdist(&self, other: impl IntoLazy) -> Self {
        expect(self.try_sqdist(other))
    }

    /// Like [`sqdist`](Self::sqdist), with an error instead of a panic.
    pub fn try_sqdist(&self, other: impl IntoLazy) -> Result<Self, LazyError> {
        let other = other.into_lazy()?;
        self.check_broadcast("sqdist", &other)?;
        Self::combine(self.expr.sqdist(&other.expr), &[self, &other])
    }

    /// This handle with another expression over the same operands.
    pub(crate) fn map(&self, expr: Expr) -> Self {
        Self {
            expr,
            operands: self.operands.clone(),
            accumulation: Accumulation::default(),
            pruning: Pruning::default(),
            ranges: self.ranges.clone(),
        }
    }

    /// An expression over the operands of all `parts`, which must fit together.
    pub(crate) fn combine(expr: Expr, parts: &[&LazyTensor]) -> Result<Self, LazyError> {
        if expr.depth() > MAX_DEPTH {
            return Err(LazyError::TooDeep {
                depth: expr.depth(),
                limit: MAX_DEPTH,
            });
        }
        let mut operands = parts
            .iter()
            .fold(vec![], |all, part| union(&all, &part.operands));
        if operands.iter().any(Operand::is_unsaid) {
            operands = settled(&expr, &operands, parts)?;
        }
        extent(&operands, || print(&expr, &operands))?;
        let own = Self {
            expr,
            operands: Arc::new(operands),
            accumulation: Accumulation::default(),
            pruning: Pruning::default(),
            ranges: None,
        };
        let ranges: Vec<Option<&Ranges>> = parts.iter().map(|part| part.ranges.as_ref()).collect();
        let own = Self {
            ranges: common(&ranges, || own.boxed_info())?,
            ..own
        };
        own.check_ranges()?;
        Ok(own)
    }

    pub(crate) fn check_broadcast(
        &self,
        operation: &'static str,
        other: &LazyTensor,
    ) -> Result<(), LazyError> {
        match broadcast_dim([&self.expr, &other.expr]) {
            Some(_) => Ok(()),
            None => Err(self.dimension_error(operation, other)),
        }
    }

    /// An error where the inner dimension is not 1.
    pub(crate) fn check_scalar(&self, operation: &'static str) -> Result<(), LazyError> {
        match self.dim() {
            1 => Ok(()),
            _ => Err(LazyError::NotScalar {
                operation,
                formula: self.boxed_info(),
            }),
        }
    }

    pub(crate) fn dimension_error(&self, operation: &'static str, other: &LazyTensor) -> LazyError {
        LazyError::Dimension {
            operation,
            dims: [self.dim(), other.dim()],
            left: self.boxed_info(),
            right: other.boxed_info(),
        }
    }

    pub(crate) fn extent(&self) -> Extent {
        let extent =
            extent(&self.operands, String::new).expect("operands were checked when they met");
        match &self.ranges {
            None => extent,
            Some(ranges) => {
                let [m, n] = ranges.sizes();
                Extent {
                    m: extent.m.or(Some(m)),
                    n: extent.n.or(Some(n)),
                    ..extent
                }
            }
        }
    }

    /// Checks that the ranges fit the operands.
    pub(crate) fn check_ranges(&self) -> Result<(), LazyError> {
        let Some(ranges) = &self.ranges else {
            return Ok(());
        };
        let extent = self.extent();
        let [rows, columns] = ranges.sizes();
        let fits = extent.m == Some(rows) && extent.n == Some(columns);
        match fits && (extent.device.is_none() || ranges.fits_batch(&extent.batch)) {
            true => Ok(()),
            false => Err(LazyError::RangesOfOthers {
                rows,
                columns,
                batch: ranges.batch().to_vec(),
                formula: self.boxed_info(),
            }),
        }
    }

    pub(crate) fn boxed_info(&self) -> Box<FormulaInfo> {
        Box::new(FormulaInfo {
            text: print(&self.expr, &self.operands),
            shape: self.symbolic_shape(),
            operands: self
                .operands
                .iter()
                .filter(|operand| operand.as_tensor().is_some())
                .map(|operand| operand.info(&self.operands))
                .collect(),
        })
    }

    /// The shape as KeOps prints it: without the inner axis if its size is 1.
    fn symbolic_shape(&self) -> String {
        let mut shape = self.shape();
        if self.dim() == 1 {
            shape.pop();
        }
        let sizes: Vec<String> = shape.iter().map(|size| size.to_string()).collect();
        format!("({})", sizes.join(", "))
    }
}

/// The operands of a formula of `parts`. A tensor in an operator is a parameter from now on; if it could be meant
/// otherwise, it is an error.
fn settled(
    expr: &Expr,
    operands: &[Operand],
    parts: &[&LazyTensor],
) -> Result<Vec<Operand>, LazyError> {
    let said: Vec<Operand> = operands
        .iter()
        .filter(|o| !o.is_unsaid())
        .cloned()
        .collect();
    let Ok(extent) = extent(&said, String::new) else {
        // These do not fit together, whatever the tensors in operators are meant as.
        return Ok(operands.to_vec());
    };
    let is_bare = |part: &LazyTensor| matches!(part.operands.as_slice(), [own] if own.is_unsaid() && part.expr == own.expr());
    let (bare, others): (Vec<&LazyTensor>, Vec<&LazyTensor>) =
        parts.iter().partition(|part| is_bare(part));
    let has_rows = extent.m.is_some() || extent.n.is_some();
    let batch = &extent.batch;
    let named = |size: usize| match [Axis::I, Axis::J].map(|axis| extent.size(axis) == Some(size)) {
        _ if size == 1 => None,
        [true, _] => Some(format!("M = {size}")),
        [_, true] => Some(format!("N = {size}")),
        _ => None,
    };
    let settle = |operand: &Operand| -> Result<Operand, LazyError> {
        if !operand.is_unsaid() {
            return Ok(operand.clone());
        }
        let wrong = |reason: String| LazyError::TensorInOperator {
            operand: Box::new(operand.info(operands)),
            reason,
            formula: print(expr, operands),
        };
        let (dim, own) = (operand.dim(), operand.batch());
        if has_rows && broadcast(batch, own).as_ref() != Some(batch) {
            return Err(wrong(format!(
                "its batch dimensions {own:?} are not those of the formula, {batch:?}"
            )));
        }
        if let Some(size) = own.last().and_then(|last| named(*last)) {
            return Err(wrong(format!(
                "its last batch dimension could also stand for {size}"
            )));
        }
        let is_bare = bare.iter().any(|part| part.operands[0].var == operand.var);
        let fits = dim == 1 || (is_bare && others.iter().any(|other| other.dim() == dim));
        if fits && (has_rows || own.is_empty()) {
            return Ok(operand.clone().said());
        }
        match named(dim) {
            Some(size) if !fits => Err(wrong(format!(
                "its {dim} components could also stand for {size}"
            ))),
            _ => Ok(operand.clone()),
        }
    };
    operands.iter().map(settle).collect()
}

fn print(expr: &Expr, operands: &[Operand]) -> String {
    let printer = Printer {
        expr,
        name: &|var| name(operands, var),
        budget: 2000,
    };
    printer.to_string()
}

impl fmt::Display for LazyTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "LazyTensor")?;
        writeln!(f, "    formula: {}", print(&self.expr, &self.operands))?;
        write!(f, "    shape: {}", self.symbolic_shape())
    }
}

impl fmt::Debug for LazyTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
