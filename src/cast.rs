//! Tensors in another floating point type.

use burn::{
    backend::{Dispatch, TensorMetadata, tensor::FloatTensor},
    prelude::*,
    tensor::{DType, FloatDType, IntDType, Shape},
};
use burn_lazy_kernels::{Accumulation, Axis, Expr, Formula, ReductionKind, Wanted, expr::Var};

use crate::{
    backends,
    ops::{LazyOps, Operands, Reduction},
};

/// `tensor` as [`Tensor::cast`] makes it, differentiable, also between BF16 and other types on CPUs without an
/// instruction for that: there a conversion by Burn ends in garbage with CubeCL 0.11.3, while the kernels of this
/// library convert by hand.
pub(crate) fn cast<const R: usize>(tensor: Tensor<R>, dtype: FloatDType) -> Tensor<R> {
    let own = tensor.dtype();
    if own == DType::from(dtype) {
        return tensor;
    }
    if !by_hand(own.into(), dtype) {
        return tensor.cast(dtype);
    }
    let device = tensor.device();
    let has_kernels = |dtype: DType| {
        let kind = ReductionKind::Sum(Accumulation::default());
        backends::check(&device, Some(dtype), kind, Wanted::VALUES, 1).is_ok()
    };
    match has_kernels(own) && has_kernels(dtype.into()) {
        true => Tensor::from_dispatch(cast_of::<Dispatch>(tensor.into_dispatch(), dtype)),
        false => tensor.cast(dtype),
    }
}

/// Whether kernels of this library convert between these types.
fn by_hand(from: FloatDType, to: FloatDType) -> bool {
    [from, to].contains(&FloatDType::BF16)
}

/// The same for a backend that has kernels.
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
        axis: Some(Axis::I),
        dim: 1,
        scalar: false,
    });
    // The sum over one column.
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
        scalars: Vec::new(),
    };
    let rows = B::float_reshape(tensor, Shape::from(vec![count, 1]));
    let reduced = B::lazy_reduce(Operands(vec![rows]), reduction);
    B::float_reshape(reduced.values.expect("they are wanted"), shape)
}
