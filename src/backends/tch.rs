//! The LibTorch backend, on the CPU: operands are copied, and reduced on the host.

use burn::backend::{LibTorch, tensor::FloatTensor};
use burn_tch::LibTorchDevice;

use super::host::{OnHost, reduce_copies};
use crate::ops::{LazyOps, Operands, Reduced, Reduction};

impl OnHost for LibTorch {
    fn is_host(device: &Self::Device) -> bool {
        matches!(device, LibTorchDevice::Cpu)
    }

    fn are_same(left: &FloatTensor<Self>, right: &FloatTensor<Self>) -> bool {
        let (left, right) = (&left.tensor, &right.tensor);
        left.data_ptr() == right.data_ptr()
            && left.size() == right.size()
            && left.stride() == right.stride()
            && left.kind() == right.kind()
    }
}

impl LazyOps for LibTorch {
    fn lazy_reduce(operands: Operands<Self>, reduction: Reduction) -> Reduced<Self> {
        reduce_copies(operands, &reduction)
    }
}
