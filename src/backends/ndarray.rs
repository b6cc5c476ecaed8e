//! The NdArray backend: operands are copied, and reduced on the host.

use burn::{
    backend::{NdArray, tensor::FloatTensor},
    tensor::DType,
};
use burn_ndarray::NdArrayTensor;

use super::host::{OnHost, reduce_copies};
use crate::ops::{LazyOps, Operands, Reduced, Reduction};

impl OnHost for NdArray {
    /// There are no tensors of 16 bits.
    fn has_type(dtype: DType) -> bool {
        matches!(dtype, DType::F32 | DType::F64)
    }

    fn are_same(left: &FloatTensor<Self>, right: &FloatTensor<Self>) -> bool {
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
        reduce_copies(operands, &reduction)
    }
}
