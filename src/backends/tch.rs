//! The LibTorch backend, on the CPU: operands are copied, and reduced on the host.

use burn::{
    backend::{LibTorch, tensor::FloatTensor},
    tensor::DType,
};
use burn_lazy_kernels::{ReductionKind, Wanted};
use burn_tch::LibTorchDevice;

use super::{Supported, Unsupported, host};
use crate::ops::{LazyOps, Operands, Reduced, Reduction};

/// Checks the device and the type of the operands. Tensors on a graphics card are refused: they would be copied to
/// the host and back, which no user would expect.
fn check(device: &LibTorchDevice, dtype: Option<DType>) -> Result<(), Unsupported> {
    match device {
        LibTorchDevice::Cpu => host::check(dtype),
        _ => Err(Unsupported::Backend),
    }
}

impl Supported for LibTorch {
    fn check(
        device: &Self::Device,
        dtype: Option<DType>,
        _kind: ReductionKind,
        _wanted: Wanted,
        _tensors: usize,
    ) -> Result<(), Unsupported> {
        check(device, dtype)
    }

    fn check_reduction(
        device: &Self::Device,
        dtype: DType,
        (reduction, wanted): (&Reduction, Wanted),
        _shapes: &[Vec<usize>],
    ) -> Result<(), Unsupported> {
        check(device, Some(dtype))?;
        host::check_reduction(dtype, reduction, wanted)
    }

    fn is_processor(device: &Self::Device) -> bool {
        matches!(device, Self::Device::Cpu)
    }

    fn is_same(left: &FloatTensor<Self>, right: &FloatTensor<Self>) -> bool {
        let (left, right) = (&left.tensor, &right.tensor);
        left.data_ptr() == right.data_ptr()
            && left.size() == right.size()
            && left.stride() == right.stride()
            && left.kind() == right.kind()
    }
}

impl LazyOps for LibTorch {
    fn lazy_reduce(operands: Operands<Self>, reduction: Reduction) -> Reduced<Self> {
        host::reduce_copies(operands, &reduction)
    }
}
