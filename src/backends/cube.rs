//! The CubeCL backend: formulas are lowered, planned and launched.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
};

use burn::{
    backend::tensor::FloatTensor,
    tensor::{DType, IntDType},
};
use burn_cubecl::{
    Cube, CubeBackend,
    cubecl::{
        ir::ElemType,
        prelude::{Client, InputScalar, TensorBinding},
    },
    ops::numeric::{empty_device_contiguous_dtype, full_device_dtype},
};
use burn_lazy_kernels::{
    Axis, Formula, IntKind, Launch, LaunchError, Output, Precision, Program, Symmetric,
    check_device, plan::Device, same_tensors,
};

use crate::ops::{LazyOps, Operands, Reduced, Reduction};

/// The precision of kernels on tensors of `dtype`, if there are such kernels.
pub(crate) fn precision(dtype: DType) -> Option<Precision> {
    match dtype {
        DType::F16 => Some(Precision::F16),
        DType::BF16 => Some(Precision::BF16),
        DType::F32 => Some(Precision::F32),
        DType::F64 => Some(Precision::F64),
        _ => None,
    }
}

/// The forms of a formula that are launched.
struct Lowered {
    program: Program,
    symmetric: Option<Symmetric>,
}

/// The lowered formula, where `same` says which tensors are the same. Training loops reduce the same few
/// formulas again and again, so the last ones are kept.
fn lowered(formula: &Formula, axis: Axis, same: Vec<usize>) -> Arc<Lowered> {
    const KEPT: usize = 1024;
    type Key = (u128, Axis, Vec<usize>);
    static FORMULAS: LazyLock<Mutex<HashMap<Key, Arc<Lowered>>>> = LazyLock::new(Default::default);

    let mut formulas = FORMULAS.lock().unwrap_or_else(|e| e.into_inner());
    if formulas.len() >= KEPT {
        formulas.clear();
    }
    let key = (formula.root().digest(), axis, same);
    let lower = |key: &Key| {
        Arc::new(Lowered {
            program: Program::lower(formula, axis),
            symmetric: Symmetric::new(formula, axis, &key.2),
        })
    };
    formulas.entry(key).or_insert_with_key(lower).clone()
}

fn int_kind(dtype: IntDType) -> IntKind {
    match dtype {
        IntDType::I64 => IntKind::I64,
        IntDType::I32 => IntKind::I32,
        IntDType::I16 => IntKind::I16,
        IntDType::I8 => IntKind::I8,
        other => unreachable!("{other:?} was refused"),
    }
}

/// Whether both are the same tensor.
pub(crate) fn is_same(left: &FloatTensor<Cube>, right: &FloatTensor<Cube>) -> bool {
    #[cfg(feature = "fusion")]
    return left.id == right.id;
    #[cfg(not(feature = "fusion"))]
    {
        let bindings = [left, right].map(|tensor| tensor.clone().binding());
        same_tensors(&bindings) == [0, 0]
    }
}

/// The reduction as the kernels take it.
fn launch<'a>(reduction: &'a Reduction, lowered: &'a Lowered, precision: Precision) -> Launch<'a> {
    Launch {
        program: &lowered.program,
        symmetric: lowered.symmetric.as_ref(),
        reduction: reduction.kind,
        batch_shape: &reduction.batch,
        rows: reduction.size(reduction.axis.other()),
        columns: reduction.size(reduction.axis),
        fold: reduction.fold,
        precision,
    }
}

/// Checks that the device of `client` runs `reduction` of tensors of these shapes.
pub(crate) fn check(
    client: &Client,
    reduction: &Reduction,
    precision: Precision,
    shapes: &[Vec<usize>],
) -> Result<(), LaunchError> {
    check_device(client, precision, reduction.kind, shapes.len())?;
    if reduction.size(reduction.axis) == 0 || !may_be_refused(client, reduction, shapes) {
        return Ok(());
    }
    let same = (0..shapes.len()).collect();
    let lowered = lowered(&reduction.formula, reduction.axis, same);
    let launch = launch(reduction, &lowered, precision);
    launch.check(client.properties(), client.name(), shapes, reduction.wanted)
}

/// Whether planning is worth it only to see whether there is a plan: devices that end long loops may refuse any
/// reduction, others only large ones.
fn may_be_refused(client: &Client, reduction: &Reduction, shapes: &[Vec<usize>]) -> bool {
    /// Far below what addresses of 32 bits reach, with what is read and written beyond the last row or column.
    const SMALL: usize = 1 << 30;
    /// More rows of partial results than columns are split into, where there are few rows.
    const PARTS: usize = 1 << 20;
    let device = Device::new(client.properties(), client.name());
    let product = |sizes: &[usize]| sizes.iter().fold(1usize, |a, b| a.saturating_mul(*b));
    let spec = reduction.spec();
    let rows = product(&reduction.batch).saturating_mul(reduction.m.max(reduction.n));
    let each = spec.partial_values().max(spec.entries()).max(1);
    let written = (rows.saturating_add(PARTS)).saturating_mul(each);
    let read = shapes.iter().map(|shape| product(shape)).max();
    device.max_iterations.is_some() || written.max(read.unwrap_or(0)) > SMALL
}

impl LazyOps for CubeBackend {
    fn lazy_reduce(operands: Operands<Self>, reduction: Reduction) -> Reduced<Self> {
        let first = &operands.0[0];
        let (client, device, dtype) = (first.client.clone(), first.device.clone(), first.dtype);
        let shape = reduction.output_shape();
        let Reduction { wanted, .. } = reduction;
        let index_dtype = DType::from(reduction.indices);
        if reduction.size(reduction.axis) == 0 {
            // Buffers of no values cannot be bound everywhere.
            let full = |value: f64, dtype: DType| {
                let elem = match precision(dtype) {
                    Some(precision) => precision.elem(),
                    None => ElemType::Int(int_kind(reduction.indices)),
                };
                let value = InputScalar::new(value, elem);
                full_device_dtype(client.clone(), shape.clone(), device.clone(), value, dtype)
            };
            return Reduced {
                values: wanted.values.then(|| full(reduction.spec().empty(), dtype)),
                indices: wanted.indices.then(|| full(-1.0, index_dtype)),
            };
        }
        let empty = |dtype| {
            empty_device_contiguous_dtype(client.clone(), device.clone(), shape.clone(), dtype)
        };
        let reduced = Reduced::<Self> {
            values: wanted.values.then(|| empty(dtype)),
            indices: wanted.indices.then(|| empty(index_dtype)),
        };
        let tensors: Vec<TensorBinding> = operands.0.into_iter().map(|t| t.binding()).collect();
        let same = same_tensors(&tensors);
        let lowered = lowered(&reduction.formula, reduction.axis, same);
        let precision = precision(dtype).expect("the type was checked");
        let launch = launch(&reduction, &lowered, precision);
        let output = Output {
            values: reduced.values.clone().map(|t| t.binding()),
            indices: reduced
                .indices
                .clone()
                .map(|t| (t.binding(), int_kind(reduction.indices))),
        };
        if let Err(error) = launch.run(&client, tensors, &reduction.scalars, output) {
            panic!(
                "{:?} over {} of {}: {error}",
                reduction.kind, reduction.axis, reduction.formula
            );
        }
        reduced
    }
}
