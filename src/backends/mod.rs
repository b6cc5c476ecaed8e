#[cfg(feature = "autodiff")]
mod autodiff;
#[cfg(any(
    feature = "wgpu",
    feature = "webgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "cuda",
    feature = "rocm",
    feature = "cpu"
))]
pub(crate) mod cube;
#[cfg(feature = "fusion")]
mod fusion;
#[cfg(all(feature = "autodiff", feature = "cubecl-backend"))]
mod implicit;

#[cfg(feature = "autodiff")]
pub(crate) use autodiff::MAX_OPERANDS;
#[cfg(all(feature = "autodiff", feature = "cubecl-backend"))]
pub(crate) use implicit::implicit;

/// Why a backend cannot run a reduction.
pub(crate) enum Unsupported {
    /// It has no kernels.
    Backend,
    /// The device refuses.
    #[allow(dead_code)] // Without a runtime there is no device to refuse.
    Launch(burn_lazy_kernels::LaunchError),
}

/// Checks that the backend of `device` has kernels for formulas of `tensors` tensors of `dtype`.
pub(crate) fn check(
    device: &burn::tensor::Device,
    dtype: Option<burn::tensor::DType>,
    kind: burn_lazy_kernels::ReductionKind,
    tensors: usize,
) -> Result<(), Unsupported> {
    let device = device.clone().inner();
    match device.as_dispatch() {
        #[cfg(any(
            feature = "wgpu",
            feature = "webgpu",
            feature = "vulkan",
            feature = "metal",
            feature = "cuda",
            feature = "rocm",
            feature = "cpu"
        ))]
        burn::backend::DispatchDevice::Cube(device) => {
            let precision = dtype
                .and_then(cube::precision)
                .ok_or(Unsupported::Backend)?;
            burn_lazy_kernels::check_device(&device.client(), precision, kind, tensors)
                .map_err(Unsupported::Launch)
        }
        #[allow(unreachable_patterns)] // A CubeCL runtime can be the only backend.
        _ => {
            let _ = (dtype, kind, tensors);
            Err(Unsupported::Backend)
        }
    }
}

/// Checks that the backend of `device` runs `reduction` of tensors of `dtype` and these shapes.
pub(crate) fn check_reduction(
    device: &burn::tensor::Device,
    dtype: burn::tensor::DType,
    reduction: &crate::ops::Reduction,
    shapes: &[Vec<usize>],
) -> Result<(), Unsupported> {
    let device = device.clone().inner();
    match device.as_dispatch() {
        #[cfg(any(
            feature = "wgpu",
            feature = "webgpu",
            feature = "vulkan",
            feature = "metal",
            feature = "cuda",
            feature = "rocm",
            feature = "cpu"
        ))]
        burn::backend::DispatchDevice::Cube(device) => {
            let precision = cube::precision(dtype).ok_or(Unsupported::Backend)?;
            cube::check(&device.client(), reduction, precision, shapes).map_err(Unsupported::Launch)
        }
        #[allow(unreachable_patterns)] // A CubeCL runtime can be the only backend.
        _ => {
            let _ = (dtype, reduction, shapes);
            Err(Unsupported::Backend)
        }
    }
}

/// Whether both are known to be one tensor, outside of autodiff.
pub(crate) fn is_same(
    left: &burn::backend::DispatchTensor,
    right: &burn::backend::DispatchTensor,
) -> bool {
    #[cfg(any(
        feature = "wgpu",
        feature = "webgpu",
        feature = "vulkan",
        feature = "metal",
        feature = "cuda",
        feature = "rocm",
        feature = "cpu"
    ))]
    {
        use burn::backend::{BackendTensor::Float, DispatchTensorKind::Cube};

        #[allow(irrefutable_let_patterns)] // A CubeCL runtime can be the only backend.
        if let (Cube(Float(left)), Cube(Float(right))) = (&left.kind, &right.kind) {
            return cube::is_same(left, right);
        }
    }
    let _ = (left, right);
    false
}
