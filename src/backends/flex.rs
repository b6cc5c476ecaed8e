//! The Flex backend: tensors are read where they are, and reduced on the host.

use std::sync::Arc;

use burn::{
    backend::{Flex, TensorMetadata, tensor::FloatTensor},
    tensor::DType,
};
use burn_flex::FlexTensor;
use burn_lazy_kernels::host::{HostSlice, HostTensor};

use super::host::{OnHost, reduce};
use crate::ops::{LazyOps, Operands, Reduced, Reduction};

impl OnHost for Flex {
    fn are_same(left: &FloatTensor<Self>, right: &FloatTensor<Self>) -> bool {
        Arc::ptr_eq(&left.data_arc(), &right.data_arc())
            && left.layout() == right.layout()
            && left.dtype() == right.dtype()
    }
}

/// A tensor as the host reads it.
fn host_tensor(tensor: &FlexTensor) -> HostTensor<'_> {
    let layout = tensor.layout();
    HostTensor {
        data: match tensor.dtype() {
            DType::F16 => HostSlice::F16(tensor.storage()),
            DType::BF16 => HostSlice::BF16(tensor.storage()),
            DType::F32 => HostSlice::F32(tensor.storage()),
            DType::F64 => HostSlice::F64(tensor.storage()),
            other => unreachable!("{other:?} was refused"),
        },
        shape: layout.shape(),
        strides: layout.strides(),
        start: layout.start_offset(),
    }
}

impl LazyOps for Flex {
    fn lazy_reduce(operands: Operands<Self>, reduction: Reduction) -> Reduced<Self> {
        #[cfg(feature = "cpu")]
        if let Some(reduced) = super::compiled::reduce(&operands, &reduction) {
            return reduced;
        }
        let first = &operands.0[0];
        let (dtype, device) = (first.dtype(), first.device());
        let tensors: Vec<HostTensor> = operands.0.iter().map(host_tensor).collect();
        reduce::<Self>(&tensors, dtype, &reduction, &device)
    }
}
