//! What a device can do, and which tensors are the same.

use cubecl::{
    features::{EnumSet, TypeUsage},
    ir::DeviceProperties,
    prelude::*,
};

use super::LaunchError;
use crate::{
    math::Precision,
    reduction::{ReductionKind, Wanted},
};

/// Checks that the device runs the reduction `kind` in `precision` with `tensors` buffers to read and with outputs for
/// the `wanted` results.
pub fn check_device(
    client: &Client,
    precision: Precision,
    kind: ReductionKind,
    wanted: Wanted,
    tensors: usize,
) -> Result<(), LaunchError> {
    let (properties, runtime) = (client.properties(), client.name());
    check_properties(properties, runtime, precision, kind, wanted, tensors)
}

/// Like [`check_device`], for a device that is given by its properties and the name of its runtime.
pub fn check_properties(
    properties: &DeviceProperties,
    runtime: &str,
    precision: Precision,
    kind: ReductionKind,
    wanted: Wanted,
    tensors: usize,
) -> Result<(), LaunchError> {
    // The outputs and the sizes need buffers, too.
    let others = 2 + usize::from(kind.selects()) + usize::from(wanted.state);
    let limit = (properties.hardware.max_bindings as usize).saturating_sub(others);
    if tensors > limit {
        return Err(LaunchError::TooManyTensors {
            device: runtime.to_string(),
            tensors,
            limit,
        });
    }
    let accumulated = kind.accumulated(precision.computed());
    for (precision, usage) in [
        (precision, TypeUsage::Buffer | TypeUsage::Conversion),
        (
            precision.computed(),
            TypeUsage::Buffer | TypeUsage::Arithmetic,
        ),
        (accumulated, TypeUsage::Buffer | TypeUsage::Arithmetic),
    ] {
        check_type(properties, runtime, precision, usage)?;
    }
    Ok(())
}

/// Checks that the device supports every `usage` of values of type `precision`.
fn check_type(
    properties: &DeviceProperties,
    runtime: &str,
    precision: Precision,
    usage: EnumSet<TypeUsage>,
) -> Result<(), LaunchError> {
    let unsupported = |reason| LaunchError::Unsupported {
        device: runtime.to_string(),
        precision,
        reason,
    };
    if !properties.type_usage(precision.elem()).is_superset(usage) {
        return Err(unsupported("the device has no such type"));
    }
    // GLSL.std.450, which Vulkan and the translation from WGSL build on, has no exponential or
    // logarithm of 64 bits: drivers answer with garbage or crash.
    if precision == Precision::F64 && runtime.starts_with("wgpu") {
        return Err(unsupported("its functions of 64 bits are not reliable"));
    }
    Ok(())
}

/// For each tensor the position of the first tensor that has the same shape, strides and place in memory.
pub fn same_tensors(tensors: &[TensorBinding]) -> Vec<usize> {
    let place = |tensor: &TensorBinding| {
        let handle = &tensor.handle;
        let ends = [handle.offset_start, handle.offset_end].map(Option::unwrap_or_default);
        (handle.memory.id(), ends)
    };
    let same = |a: &TensorBinding, b: &TensorBinding| {
        place(a) == place(b) && a.shape == b.shape && a.strides == b.strides
    };
    let first = |tensor| tensors.iter().position(|other| same(tensor, other));
    let found = tensors.iter().map(first);
    found
        .map(|first| first.expect("it is the same as itself"))
        .collect()
}
