//! The CubeCL backend: formulas are lowered, planned and launched.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex},
};

use burn::{
    backend::{TensorMetadata, tensor::FloatTensor},
    tensor::DType,
};
use burn_cubecl::{
    CubeBackend,
    ops::numeric::{empty_device_contiguous_dtype, zeros_client},
};
use burn_lazy_kernels::{Axis, Formula, Launch, Precision, Program};

use crate::ops::{LazyOps, Operands, Reduction};

/// The precision of kernels on tensors of `dtype`, if there are such kernels.
pub(crate) fn precision(dtype: DType) -> Option<Precision> {
    match dtype {
        DType::F32 => Some(Precision::F32),
        DType::F64 => Some(Precision::F64),
        _ => None,
    }
}

/// The lowered formula. Training loops reduce the same few formulas again and again, so the last
/// ones are kept.
fn program(formula: &Formula, axis: Axis) -> Program {
    const KEPT: usize = 1024;
    static PROGRAMS: LazyLock<Mutex<HashMap<(u128, Axis), Program>>> =
        LazyLock::new(Default::default);

    let mut programs = PROGRAMS.lock().unwrap_or_else(|e| e.into_inner());
    if programs.len() >= KEPT {
        programs.clear();
    }
    programs
        .entry((formula.root().digest(), axis))
        .or_insert_with(|| Program::lower(formula, axis))
        .clone()
}

impl LazyOps for CubeBackend {
    fn lazy_reduce(operands: Operands<Self>, reduction: Reduction) -> FloatTensor<Self> {
        let first = &operands.0[0];
        let (client, device, dtype) = (first.client.clone(), first.device.clone(), first.dtype);
        let shape = reduction.output_shape();
        if reduction.size(reduction.axis) == 0 {
            // Buffers of no values cannot be bound everywhere; the sum of nothing is zero.
            return zeros_client(client, device, shape, dtype);
        }
        let out = empty_device_contiguous_dtype(client.clone(), device, shape, dtype);
        let launch = Launch {
            program: &program(&reduction.formula, reduction.axis),
            reduction: reduction.kind,
            batch_shape: &reduction.batch,
            rows: reduction.size(reduction.axis.other()),
            columns: reduction.size(reduction.axis),
            precision: precision(dtype).expect("the type was checked"),
        };
        let tensors = operands.0.into_iter().map(|t| t.binding()).collect();
        let launched = launch.run(&client, tensors, &reduction.scalars, out.clone().binding());
        if let Err(error) = launched {
            panic!(
                "sum over {} of {}: {error}",
                reduction.axis, reduction.formula
            );
        }
        debug_assert_eq!(out.shape(), reduction.output_shape());
        out
    }
}
