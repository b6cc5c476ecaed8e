//! Tensors in another floating point type.

use burn::{
    backend::Dispatch,
    prelude::*,
    tensor::{DType, FloatDType},
};
use burn_lazy_kernels::{Accumulation, ReductionKind, Wanted};

use crate::{
    backends,
    ops::{by_hand, cast_of},
};

/// `tensor` in another type, differentiable as [`Tensor::cast`]. With CubeCL 0.11.3, Burn's conversion between BF16
/// and other types gives wrong values on CPUs without an instruction for it. The kernels of this library convert
/// without that instruction.
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
