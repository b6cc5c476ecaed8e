#[cfg(feature = "autodiff")]
mod autodiff;
#[cfg(cube_backend)]
pub(crate) mod cube;
#[cfg(feature = "fusion")]
mod fusion;
#[cfg(all(feature = "autodiff", feature = "cubecl-backend"))]
mod implicit;

#[cfg(feature = "autodiff")]
pub(crate) use autodiff::{EXACT_INDICES, MAX_OPERANDS};
#[cfg(all(feature = "autodiff", feature = "cubecl-backend"))]
pub(crate) use implicit::implicit;

/// The type in which kernels compute with operands of type `dtype`.
pub(crate) fn computed(dtype: burn::tensor::DType) -> burn::tensor::DType {
    use burn::tensor::DType;

    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    }
}

/// Why a backend cannot run a reduction.
pub(crate) enum Unsupported {
    /// It has no kernels.
    Backend,
    /// The device cannot run the kernel.
    #[allow(dead_code)] // Without a runtime there is no device to refuse.
    Launch(burn_lazy_kernels::LaunchError),
}

/// Checks that the backend of `device` has kernels for formulas of `tensors` tensors of `dtype`.
pub(crate) fn check(
    device: &burn::tensor::Device,
    dtype: Option<burn::tensor::DType>,
    kind: burn_lazy_kernels::ReductionKind,
    wanted: burn_lazy_kernels::Wanted,
    tensors: usize,
) -> Result<(), Unsupported> {
    let device = device.clone().inner();
    match device.as_dispatch() {
        #[cfg(cube_backend)]
        burn::backend::DispatchDevice::Cube(device) => {
            let precision = dtype
                .and_then(cube::precision)
                .ok_or(Unsupported::Backend)?;
            burn_lazy_kernels::check_device(&device.client(), precision, kind, wanted, tensors)
                .map_err(Unsupported::Launch)
        }
        #[allow(unreachable_patterns)] // A CubeCL runtime can be the only backend.
        _ => {
            let _ = (dtype, kind, wanted, tensors);
            Err(Unsupported::Backend)
        }
    }
}

/// Checks that the backend of `device` can run `reduction` of tensors of `dtype` and these shapes for the results
/// `wanted`.
pub(crate) fn check_reduction(
    device: &burn::tensor::Device,
    dtype: burn::tensor::DType,
    (reduction, wanted): (&crate::ops::Reduction, burn_lazy_kernels::Wanted),
    shapes: &[Vec<usize>],
) -> Result<(), Unsupported> {
    let device = device.clone().inner();
    match device.as_dispatch() {
        #[cfg(cube_backend)]
        burn::backend::DispatchDevice::Cube(device) => {
            let _ = cube::precision(dtype).ok_or(Unsupported::Backend)?;
            let client = device.client();
            cube::check(&client, (reduction, wanted), dtype, shapes).map_err(Unsupported::Launch)
        }
        #[allow(unreachable_patterns)] // A CubeCL runtime can be the only backend.
        _ => {
            let _ = (dtype, reduction, wanted, shapes);
            Err(Unsupported::Backend)
        }
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

/// Whether both are known to be one tensor. Tracked tensors must also be one node of the autodiff graph.
pub(crate) fn is_same(
    left: &burn::backend::DispatchTensor,
    right: &burn::backend::DispatchTensor,
) -> bool {
    is_same_kind(&left.kind, &right.kind)
}

fn is_same_kind(
    left: &burn::backend::DispatchTensorKind,
    right: &burn::backend::DispatchTensorKind,
) -> bool {
    #[cfg(cube_backend)]
    {
        use burn::backend::{BackendTensor, DispatchTensorKind};

        match (left, right) {
            (
                DispatchTensorKind::Cube(BackendTensor::Float(left)),
                DispatchTensorKind::Cube(BackendTensor::Float(right)),
            ) => return cube::is_same(left, right),
            #[cfg(feature = "autodiff")]
            (
                DispatchTensorKind::Cube(BackendTensor::Autodiff(left)),
                DispatchTensorKind::Cube(BackendTensor::Autodiff(right)),
            ) => {
                return left.node().id() == right.node().id()
                    && cube::is_same(left.primitive(), right.primitive());
            }
            #[cfg(feature = "autodiff")]
            (DispatchTensorKind::Autodiff(left), DispatchTensorKind::Autodiff(right)) => {
                return is_same_kind(left, right);
            }
            #[allow(unreachable_patterns)] // A CubeCL runtime can be the only backend.
            _ => {}
        }
    }
    let _ = (left, right);
    false
}
