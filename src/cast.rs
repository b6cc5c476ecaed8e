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
