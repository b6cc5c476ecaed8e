//! The Flex backend: tensors are read where they are, and reduced on the host.

use std::sync::Arc;

use burn::{
    backend::{Flex, tensor::FloatTensor},
    tensor::{DType, Shape, TensorData},
};
use burn_flex::FlexTensor;
use burn_lazy_kernels::{
    ReductionKind, Wanted,
    host::{HostSlice, HostTensor, HostValues},
};

use super::{Supported, Unsupported, host};
use crate::ops::{LazyOps, Operands, Reduced, Reduction};

impl Supported for Flex {
    fn check(
        _device: &Self::Device,
        dtype: Option<DType>,
        _kind: ReductionKind,
        _wanted: Wanted,
        _tensors: usize,
    ) -> Result<(), Unsupported> {
        host::check(dtype)
    }

    fn check_reduction(
        _device: &Self::Device,
        dtype: DType,
        (reduction, wanted): (&Reduction, Wanted),
        _shapes: &[Vec<usize>],
    ) -> Result<(), Unsupported> {
        host::check_reduction(dtype, reduction, wanted)
    }

    fn is_same(left: &FloatTensor<Self>, right: &FloatTensor<Self>) -> bool {
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

/// Values as a tensor.
fn values(values: HostValues, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(match values {
        HostValues::F16(values) => TensorData::new(values, shape),
        HostValues::BF16(values) => TensorData::new(values, shape),
        HostValues::F32(values) => TensorData::new(values, shape),
        HostValues::F64(values) => TensorData::new(values, shape),
    })
}

impl LazyOps for Flex {
    fn lazy_reduce(operands: Operands<Self>, reduction: Reduction) -> Reduced<Self> {
        let dtype = operands.0[0].dtype();
        let tensors: Vec<HostTensor> = operands.0.iter().map(host_tensor).collect();
        let output = host::reduce(&tensors, dtype, &reduction);
        let shape = reduction.output_shape();
        let indices = |indices| {
            let data = TensorData::new::<i64, _>(indices, shape.clone());
            FlexTensor::from_data(data.convert_dtype(reduction.indices.into()))
        };
        Reduced {
            values: output.values.map(|own| values(own, shape.clone())),
            indices: output.indices.map(indices),
            state: output
                .state
                .map(|state| values(state, reduction.state_shape())),
        }
    }
}
