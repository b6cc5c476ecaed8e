//! The backend operation behind every reduction.

use burn::{
    backend::{
        Backend, BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind,
        ExtensionType, backend_extension, tensor::FloatTensor,
    },
    tensor::Shape,
};
use burn_lazy_kernels::{Axis, Formula, ReductionKind};

/// Any number of tensors that go into one operation.
///
/// Written by hand, as the derive macro of Burn knows only a fixed number of fields.
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

/// A reduction of a formula over one symbolic axis: all that is known of it but the tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Reduction {
    /// The formula.
    pub formula: Formula,
    /// What is done along the axis.
    pub kind: ReductionKind,
    /// The axis that is reduced.
    pub axis: Axis,
    /// The batch dimensions.
    pub batch: Vec<usize>,
    /// Number of rows of the symbolic matrix.
    pub m: usize,
    /// Number of its columns.
    pub n: usize,
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

    /// Shape of the result: `[batch.., M or N, D]`.
    pub fn output_shape(&self) -> Shape {
        let mut shape = self.batch.clone();
        shape.extend([self.size(self.axis.other()), self.formula.dim()]);
        Shape::from(shape)
    }
}

/// Reductions of symbolic matrices, supplied by a backend extension.
///
/// `LazyTensor` checks everything before it calls this; use it instead.
#[backend_extension(
    Cube: cfg(any(
        feature = "wgpu",
        feature = "webgpu",
        feature = "vulkan",
        feature = "metal",
        feature = "cuda",
        feature = "rocm",
        feature = "cpu"
    )),
    Autodiff: cfg(feature = "autodiff"),
)]
pub trait LazyOps: Backend {
    /// Reduces the formula over its axis, where `operands` are the tensors in the order of the
    /// formula.
    fn lazy_reduce(
        #[extension_type] operands: Operands<Self>,
        reduction: Reduction,
    ) -> FloatTensor<Self>;
}
