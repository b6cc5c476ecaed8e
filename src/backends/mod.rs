//! The backends that run reductions. Each has a file and a row in [`on_backend`].

#[cfg(feature = "autodiff")]
mod autodiff;
#[cfg(all(host_backend, feature = "cpu"))]
mod compiled;
#[cfg(cube_backend)]
mod cube;
#[cfg(any(feature = "fusion", feature = "router"))]
mod described;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "fusion")]
mod fusion;
#[cfg(host_backend)]
mod host;
#[cfg(all(any_backend, feature = "autodiff"))]
mod implicit;
#[cfg(feature = "ndarray")]
mod ndarray;
#[cfg(feature = "remote")]
mod remote;
#[cfg(feature = "router")]
mod router;
#[cfg(feature = "tch")]
mod tch;

#[cfg(feature = "autodiff")]
pub(crate) use autodiff::{EXACT_INDICES, MAX_OPERANDS};
#[cfg(all(any_backend, feature = "autodiff"))]
pub(crate) use implicit::implicit;
#[cfg(feature = "router")]
pub use router::register_lazy_ops;

use std::ops::Range;

use burn::{
    backend::{Backend, DispatchTensor, DispatchTensorKind, TensorMetadata, tensor::FloatTensor},
    tensor::{DType, Device, Slice},
};
#[cfg(any(any_backend, feature = "router"))]
use burn_lazy_kernels::Precision;
use burn_lazy_kernels::{LaunchError, ReductionKind, Wanted};

use crate::ops::Reduction;

/// The type in which kernels compute with operands of type `dtype`.
pub(crate) fn computed(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    }
}

/// The part `range` of `tensor` along `axis`.
pub(crate) fn narrow<B: Backend>(
    tensor: FloatTensor<B>,
    axis: usize,
    range: Range<usize>,
) -> FloatTensor<B> {
    let range = match tensor.shape().num_elements() {
        // All parts of an empty tensor are equal. Burn's Flex does not compute with a part that starts behind the end
        // of its storage.
        0 => 0..range.len(),
        _ => range,
    };
    let mut slices = vec![Slice::full(); tensor.shape().num_dims()];
    slices[axis] = range.into();
    B::float_slice(tensor, &slices)
}

/// The precision of reductions of tensors of `dtype`, if there are such reductions.
#[cfg(any(any_backend, feature = "router"))]
fn precision(dtype: DType) -> Option<Precision> {
    match dtype {
        DType::F16 => Some(Precision::F16),
        DType::BF16 => Some(Precision::BF16),
        DType::F32 => Some(Precision::F32),
        DType::F64 => Some(Precision::F64),
        _ => None,
    }
}

/// Why a backend cannot run a reduction.
pub(crate) enum Unsupported {
    /// The backend runs no reductions, or none of this type.
    Backend,
    /// The device refuses the reduction.
    #[allow(dead_code)] // Without a runtime there is no device to refuse.
    Launch(LaunchError),
    /// The reduction cannot be sent to the remote device.
    #[allow(dead_code)] // Only remote devices are sent to.
    Sent(String),
}

/// A backend that runs reductions.
#[allow(dead_code)] // Without a runtime there is none.
trait Supported: Backend {
    /// Checks that `device` runs reductions of tensors of type `dtype`.
    fn check_type(device: &Self::Device, dtype: DType) -> Result<(), Unsupported>;

    /// Checks that `device` runs the reduction of this kind of formulas of `tensors` tensors of type `dtype`, and
    /// gives the results that are wanted. The type has been checked, and most devices refuse nothing else.
    fn check_kind(
        _device: &Self::Device,
        _dtype: DType,
        _kind: (ReductionKind, Wanted),
        _tensors: usize,
    ) -> Result<(), Unsupported> {
        Ok(())
    }

    /// Checks that `device` can run a reduction of tensors of type `dtype` with these shapes, for the results that
    /// are wanted. The type has been checked.
    fn check_reduction(
        device: &Self::Device,
        dtype: DType,
        reduction: (&Reduction, Wanted),
        shapes: &[Vec<usize>],
    ) -> Result<(), Unsupported>;

    /// Whether `device` is the processor of the host.
    fn is_processor(device: &Self::Device) -> bool;

    /// Whether both are known to be the same tensor.
    fn is_same(left: &FloatTensor<Self>, right: &FloatTensor<Self>) -> bool;
}

/// Evaluates `$then` with the type of a device's backend and the device as this backend knows it. If the backend runs
/// no reductions, it evaluates `$otherwise`.
macro_rules! on_backend {
    ($device:expr, |$B:ident, $own:ident| $then:expr, $otherwise:expr) => {{
        let device = $device.clone().inner();
        match device.as_dispatch() {
            #[cfg(cube_backend)]
            burn::backend::DispatchDevice::Cube($own) => {
                type $B = burn::backend::Cube;
                $then
            }
            #[cfg(feature = "flex")]
            burn::backend::DispatchDevice::Flex($own) => {
                type $B = burn::backend::Flex;
                $then
            }
            #[cfg(feature = "ndarray")]
            burn::backend::DispatchDevice::NdArray($own) => {
                type $B = burn::backend::NdArray;
                $then
            }
            #[cfg(feature = "tch")]
            burn::backend::DispatchDevice::LibTorch($own) => {
                type $B = burn::backend::LibTorch;
                $then
            }
            #[cfg(feature = "remote")]
            burn::backend::DispatchDevice::Remote($own) => {
                type $B = burn::backend::Remote;
                $then
            }
            #[allow(unreachable_patterns)] // There may be no other backend.
            _ => $otherwise,
        }
    }};
}
#[cfg(all(any_backend, feature = "autodiff"))]
use on_backend;

/// Checks that the backend of `device` runs the reduction `kind` of formulas of `tensors` tensors of type `dtype`,
/// and gives the results that are `wanted`.
pub(crate) fn check(
    device: &Device,
    dtype: Option<DType>,
    kind: ReductionKind,
    wanted: Wanted,
    tensors: usize,
) -> Result<(), Unsupported> {
    let dtype = dtype.ok_or(Unsupported::Backend)?;
    let _ = (dtype, kind, wanted, tensors);
    on_backend!(
        device,
        |B, own| {
            <B as Supported>::check_type(own, dtype)?;
            <B as Supported>::check_kind(own, dtype, (kind, wanted), tensors)
        },
        Err(Unsupported::Backend)
    )
}

/// Checks that the backend of `device` can run `reduction` of tensors of type `dtype` with these shapes, for the
/// results that are wanted.
pub(crate) fn check_reduction(
    device: &Device,
    dtype: DType,
    reduction: (&Reduction, Wanted),
    shapes: &[Vec<usize>],
) -> Result<(), Unsupported> {
    let _ = (dtype, reduction, shapes);
    on_backend!(
        device,
        |B, own| {
            <B as Supported>::check_type(own, dtype)?;
            <B as Supported>::check_reduction(own, dtype, reduction, shapes)
        },
        Err(Unsupported::Backend)
    )
}

/// Whether `device` is the processor of the host.
pub(crate) fn is_processor(device: &Device) -> bool {
    on_backend!(device, |B, own| <B as Supported>::is_processor(own), false)
}

/// Whether `device` computes before a call returns, instead of queueing its work.
pub(crate) fn computes_in_call(device: &Device) -> bool {
    match device.clone().inner().as_dispatch() {
        #[cfg(cube_backend)]
        burn::backend::DispatchDevice::Cube(_) => false,
        #[allow(unreachable_patterns)] // There may be no other backend.
        _ => true,
    }
}

/// Whether autodiff tracks `tensor`.
pub(crate) fn is_tracked<const R: usize>(tensor: &burn::tensor::Tensor<R>) -> bool {
    #[cfg(feature = "autodiff")]
    return tensor.is_tracked();
    #[cfg(not(feature = "autodiff"))]
    {
        let _ = tensor;
        false
    }
}

/// Whether both are known to be the same tensor. Tracked tensors must also be the same node of the autodiff graph.
pub(crate) fn is_same(left: &DispatchTensor, right: &DispatchTensor) -> bool {
    is_same_kind(&left.kind, &right.kind)
}

fn is_same_kind(left: &DispatchTensorKind, right: &DispatchTensorKind) -> bool {
    match (left, right) {
        #[cfg(cube_backend)]
        (DispatchTensorKind::Cube(left), DispatchTensorKind::Cube(right)) => {
            is_same_of(left, right)
        }
        #[cfg(feature = "flex")]
        (DispatchTensorKind::Flex(left), DispatchTensorKind::Flex(right)) => {
            is_same_of(left, right)
        }
        #[cfg(feature = "ndarray")]
        (DispatchTensorKind::NdArray(left), DispatchTensorKind::NdArray(right)) => {
            is_same_of(left, right)
        }
        #[cfg(feature = "tch")]
        (DispatchTensorKind::LibTorch(left), DispatchTensorKind::LibTorch(right)) => {
            is_same_of(left, right)
        }
        #[cfg(feature = "remote")]
        (DispatchTensorKind::Remote(left), DispatchTensorKind::Remote(right)) => {
            is_same_of(left, right)
        }
        #[cfg(feature = "autodiff")]
        (DispatchTensorKind::Autodiff(left), DispatchTensorKind::Autodiff(right)) => {
            is_same_kind(left, right)
        }
        #[allow(unreachable_patterns)] // There may be no other backend.
        _ => false,
    }
}

/// Like [`is_same`], for tensors of one backend.
#[cfg(any_backend)]
fn is_same_of<B: Supported>(
    left: &burn::backend::BackendTensor<B>,
    right: &burn::backend::BackendTensor<B>,
) -> bool {
    use burn::backend::BackendTensor;

    match (left, right) {
        (BackendTensor::Float(left), BackendTensor::Float(right)) => B::is_same(left, right),
        #[cfg(feature = "autodiff")]
        (BackendTensor::Autodiff(left), BackendTensor::Autodiff(right)) => {
            left.node().id() == right.node().id() && B::is_same(left.primitive(), right.primitive())
        }
        _ => false,
    }
}
