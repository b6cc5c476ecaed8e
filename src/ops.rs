//! The backend operation behind every reduction.

use burn::{
    backend::{
        Backend, BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind,
        ExtensionType, TensorMetadata, backend_extension,
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{DType, FloatDType, IntDType, Shape},
};
use burn_lazy_kernels::{
    Accumulation, Axis, Expr, Formula, ReductionKind, Spec, Wanted, catalogue::ScalarOp, expr::Var,
    reference,
};

use crate::ranges::Ranges;

/// The largest number of smallest values that a reduction can find.
pub(crate) const MOST_SMALLEST: usize = 1024;

/// The tensors that one operation reads. There can be any number of them.
///
/// [`ExtensionType`] is implemented by hand, because Burn's derive macro supports only a fixed number of fields.
#[derive(Clone, Debug)]
pub struct Operands<B: Backend>(pub Vec<FloatTensor<B>>);

impl<B: Backend> ExtensionType<B> for Operands<B> {
    type Target = Operands<burn::backend::Dispatch>;

    fn map_to_dispatch<F>(self, map_kind: F, autodiff: DispatchAutodiffContext) -> Self::Target
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        let tensor = |tensor| DispatchTensor {
            kind: map_kind(BackendTensor::Float(tensor)),
            autodiff,
        };
        Operands(self.0.into_iter().map(tensor).collect())
    }

    fn map_from_dispatch<F>(target: Self::Target, unwrap_kind: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        let tensor = |tensor| unwrap_kind(tensor).float();
        Operands(target.0.into_iter().map(tensor).collect())
    }

    fn routing_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first()
    }

    fn routing_float_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first()
    }

    fn autodiff_context(target: &Self::Target) -> DispatchAutodiffContext {
        target
            .0
            .iter()
            .fold(DispatchAutodiffContext::Disabled, |context, tensor| {
                context.merge(tensor.autodiff)
            })
    }
}

/// The results of a reduction.
#[derive(Clone, Debug)]
pub struct Reduced<B: Backend> {
    /// The values, if they are wanted.
    pub values: Option<FloatTensor<B>>,
    /// The indices where the values were found, or counts, if these are wanted.
    pub indices: Option<IntTensor<B>>,
    /// The maxima and sums of exponentials that the values are computed from, if these are wanted.
    pub state: Option<FloatTensor<B>>,
}

impl<B: Backend> ExtensionType<B> for Reduced<B> {
    type Target = Reduced<burn::backend::Dispatch>;

    fn map_to_dispatch<F>(self, map_kind: F, autodiff: DispatchAutodiffContext) -> Self::Target
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        let tensor = |tensor| DispatchTensor {
            kind: map_kind(tensor),
            autodiff,
        };
        Reduced {
            values: self
                .values
                .map(|values| tensor(BackendTensor::Float(values))),
            indices: self
                .indices
                .map(|indices| tensor(BackendTensor::Int(indices))),
            state: self.state.map(|state| tensor(BackendTensor::Float(state))),
        }
    }

    fn map_from_dispatch<F>(target: Self::Target, unwrap_kind: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        Self {
            values: target.values.map(|values| unwrap_kind(values).float()),
            indices: target.indices.map(|indices| unwrap_kind(indices).int()),
            state: target.state.map(|state| unwrap_kind(state).float()),
        }
    }

    fn routing_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.values.as_ref().or(target.indices.as_ref())
    }

    fn routing_float_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.values.as_ref()
    }

    fn autodiff_context(target: &Self::Target) -> DispatchAutodiffContext {
        target
            .values
            .iter()
            .chain(&target.indices)
            .chain(&target.state)
            .fold(DispatchAutodiffContext::Disabled, |context, tensor| {
                context.merge(tensor.autodiff)
            })
    }
}

/// A reduction of a formula over one symbolic axis, without its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Reduction {
    /// The formula.
    pub formula: Formula,
    /// The kind of reduction.
    pub kind: ReductionKind,
    /// The results that are wanted.
    pub wanted: Wanted,
    /// The type of the values, if it is not that of the operands.
    pub values: Option<FloatDType>,
    /// The type of indices.
    pub indices: IntDType,
    /// The axis that is reduced.
    pub axis: Axis,
    /// The batch dimensions.
    pub batch: Vec<usize>,
    /// Number of rows of the symbolic matrix.
    pub m: usize,
    /// Number of columns of the symbolic matrix.
    pub n: usize,
    /// Whether the other axis, of size 1, is left out of the result.
    pub squeezed: bool,
    /// The number of rows of the result of a sum, if rows are added up: row `k` of the result is then the sum of
    /// every `fold`-th row from row `k` on.
    pub fold: Option<usize>,
    /// The pairs that exist, if not all do. They count rows and columns in the order in which the operands have them.
    pub ranges: Option<Ranges>,
    /// The run-time scalars, in the order of the formula.
    pub scalars: Vec<f64>,
}

impl Reduction {
    /// Size of `axis`.
    pub fn size(&self, axis: Axis) -> usize {
        match axis {
            Axis::I => self.m,
            Axis::J => self.n,
        }
    }

    /// The ranges of the reduced axis for each row of the result. None if all pairs exist.
    pub(crate) fn pairs_in_ranges(&self) -> Option<burn_lazy_kernels::Ranges> {
        self.ranges.as_ref().map(|ranges| ranges.over(self.axis))
    }

    /// The number of pairs by which it is decided whether the host engine or a compiled kernel runs the reduction.
    #[cfg(all(host_backend, feature = "cpu"))]
    pub(crate) fn pairs(&self) -> u128 {
        let product = |sizes: &[usize]| sizes.iter().map(|size| *size as u128).product::<u128>();
        let all = || product(&self.batch) * product(&[self.m, self.n]);
        match &self.ranges {
            None => all(),
            Some(ranges) => ranges.pairs_that_count().map_or_else(all, |pairs| {
                pairs * product(&self.batch) / product(ranges.batch()).max(1)
            }),
        }
    }

    /// The reduction without its sizes.
    pub fn spec(&self) -> Spec {
        Spec::new(self.kind, self.wanted, self.formula.dim())
    }

    /// The type of the values for operands of type `dtype`.
    pub(crate) fn values_dtype(&self, dtype: DType) -> DType {
        self.values.map_or(dtype, DType::from)
    }

    /// The formula and the kind of reduction that kernels compute. None if they are those of this reduction.
    pub(crate) fn terms(&self) -> Option<(Formula, ReductionKind)> {
        self.kind.terms(&self.formula, self.axis)
    }

    /// The reduction without its sizes, as kernels compute it.
    pub(crate) fn spec_of_terms(&self) -> Spec {
        match self.terms() {
            Some((formula, kind)) => Spec::new(kind, self.wanted, formula.dim()),
            None => self.spec(),
        }
    }

    /// Shape of the maxima and sums that the values are computed from.
    pub(crate) fn state_shape(&self) -> Shape {
        let mut shape = self.batch.clone();
        shape.push(self.size(self.axis.other()));
        shape.push(self.spec_of_terms().state_size());
        Shape::from(shape)
    }

    /// Values and indices of one row of the result, for a formula without tensors. All rows are equal.
    pub(crate) fn equal_rows(&self) -> (Vec<f64>, Vec<i64>) {
        let operands: Vec<&[f64]> = self.scalars.iter().map(std::slice::from_ref).collect();
        let value = reference::evaluate(&self.formula, &operands, (0, 0));
        reference::reduce_equal(&self.spec(), &value, self.size(self.axis))
    }

    /// Shape of the result: `[batch.., M or N, D]`, or `[batch.., fold, D]`; for the `k` smallest values
    /// `[batch.., M or N, k]`, or `[batch.., M or N, k, D]` for a formula of several components.
    pub fn output_shape(&self) -> Shape {
        let spec = self.spec();
        let mut shape = self.batch.clone();
        if !self.squeezed {
            let rows = self.size(self.axis.other());
            shape.push(self.fold.unwrap_or(rows));
        }
        shape.extend(spec.places());
        if spec.places().is_none() || spec.width() > 1 {
            shape.push(spec.width());
        }
        Shape::from(shape)
    }
}

/// Reductions of symbolic matrices, supplied by a backend extension.
///
/// Use `LazyTensor` instead, which checks everything before it calls this.
#[backend_extension(
    Cube: cfg(cube_backend),
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    LibTorch: cfg(feature = "tch"),
    Remote: cfg(feature = "remote"),
    Autodiff: cfg(feature = "autodiff"),
)]
pub trait LazyOps: Backend {
    /// Reduces the formula over its axis, where `operands` are the tensors in the order of the
    /// formula.
    fn lazy_reduce(
        #[extension_type] operands: Operands<Self>,
        reduction: Reduction,
    ) -> Reduced<Self>;
}

/// Whether tensors are converted between these types by a kernel of this library, not by Burn.
pub(crate) fn by_hand(from: FloatDType, to: FloatDType) -> bool {
    [from, to].contains(&FloatDType::BF16)
}

/// `tensor` in another type. It is also right where Burn's conversion to or from BF16 gives wrong values. The backend
/// must run reductions of both types.
pub(crate) fn cast_of<B: LazyOps>(tensor: FloatTensor<B>, dtype: FloatDType) -> FloatTensor<B> {
    let own = FloatDType::from(tensor.dtype());
    let shape = tensor.shape();
    let count = shape.num_elements();
    if own == dtype {
        return tensor;
    }
    if !by_hand(own, dtype) || count == 0 {
        return B::float_cast(tensor, dtype);
    }
    let value = Expr::var(Var {
        id: 0,
        axes: Some(Axis::I).into(),
        dim: 1,
        scalar: false,
    });
    // A sum over a single column, which leaves the values as they are and is written in the other type.
    let reduction = Reduction {
        formula: Formula::new(&value).0,
        kind: ReductionKind::Sum(Accumulation::default()),
        wanted: Wanted::VALUES,
        values: Some(dtype),
        indices: IntDType::I32,
        axis: Axis::J,
        batch: Vec::new(),
        m: count,
        n: 1,
        squeezed: false,
        fold: None,
        ranges: None,
        scalars: Vec::new(),
    };
    let rows = B::float_reshape(tensor, Shape::from(vec![count, 1]));
    let reduced = B::lazy_reduce(Operands(vec![rows]), reduction);
    B::float_reshape(reduced.values.expect("they are wanted"), shape)
}

/// An expression with the values of `expr` that reads the tensor of `var`. A kernel needs at least one tensor.
pub(crate) fn anchored(expr: &Expr, var: Var) -> Expr {
    let tensor = Expr::var(var).slice(0, 1);
    let never = Expr::constant(0.0);
    Expr::scalar(ScalarOp::MaskWhere, vec![expr.clone(), never, tensor])
}
