//! The NdArray backend: operands are copied, and reduced on the host.

use burn::{
    backend::{NdArray, tensor::FloatTensor},
    tensor::DType,
};
use burn_lazy_kernels::{ReductionKind, Wanted};
use burn_ndarray::NdArrayTensor;

use super::{Supported, Unsupported, host};
use crate::ops::{LazyOps, Operands, Reduced, Reduction};

/// Checks the type of the operands. The backend has no tensors of 16 bits.
fn check(dtype: Option<DType>) -> Result<(), Unsupported> {
    match dtype {
        Some(DType::F32 | DType::F64) => host::check(dtype),
        _ => Err(Unsupported::Backend),
    }
}

impl Supported for NdArray {
    fn check(
        _device: &Self::Device,
        dtype: Option<DType>,
        _kind: ReductionKind,
        _wanted: Wanted,
        _tensors: usize,
    ) -> Result<(), Unsupported> {
        check(dtype)
    }

    fn check_reduction(
        _device: &Self::Device,
        dtype: DType,
        (reduction, wanted): (&Reduction, Wanted),
        _shapes: &[Vec<usize>],
    ) -> Result<(), Unsupported> {
        check(Some(dtype))?;
        host::check_reduction(dtype, reduction, wanted)
    }

    fn is_processor(_device: &Self::Device) -> bool {
        true
    }

    fn is_same(left: &FloatTensor<Self>, right: &FloatTensor<Self>) -> bool {
        macro_rules! is_same {
            ($($Kind:ident),*) => {
                match (left, right) {
                    $((NdArrayTensor::$Kind(left), NdArrayTensor::$Kind(right)) => {
                        let (left, right) = (left.view(), right.view());
                        left.as_ptr() == right.as_ptr()
                            && left.shape() == right.shape()
                            && left.strides() == right.strides()
                    })*
                    _ => false,
                }
            };
        }
        is_same!(F32, F64)
    }
}

impl LazyOps for NdArray {
    fn lazy_reduce(operands: Operands<Self>, reduction: Reduction) -> Reduced<Self> {
        host::reduce_copies(operands, &reduction)
    }
}
