//! The CubeCL backend: formulas are lowered, planned and launched.

use std::sync::Arc;

use burn::{
    backend::tensor::FloatTensor,
    tensor::{DType, IntDType, Shape},
};
use burn_cubecl::{
    Cube, CubeBackend,
    cubecl::{
        ir::ElemType,
        prelude::{Client, InputScalar, TensorBinding},
    },
    ops::numeric::{empty_device_contiguous_dtype, full_device_dtype},
    tensor::CubeTensor,
};
use burn_lazy_kernels::{
    Axis, IntKind, Launch, LaunchError, Output, Precision, Program, Ranges, ReductionKind,
    Symmetric, Wanted, check_device,
    plan::{Device, Strategy},
    same_tensors,
};

use super::{Supported, Unsupported, computed, precision};
use crate::{
    kept::Kept,
    ops::{LazyOps, Operands, Reduced, Reduction},
};

/// A formula that is ready to be launched.
struct Lowered {
    /// The reduction that kernels compute, if it is not the one that was requested.
    kind: Option<ReductionKind>,
    program: Program,
    symmetric: Option<Symmetric>,
}

/// The lowered formula of a reduction. `same` holds for each tensor the position of the first tensor that is the
/// same.
fn lowered(reduction: &Reduction, same: Vec<usize>) -> Arc<Lowered> {
    type Key = (u128, ReductionKind, Axis, Vec<usize>);
    static LOWERED: Kept<Key, Lowered> = Kept::new();

    let axis = reduction.axis;
    let digest = reduction.formula.root().digest();
    LOWERED.get((digest, reduction.kind, axis, same), |key| {
        let terms = reduction.terms();
        let formula = terms
            .as_ref()
            .map_or(&reduction.formula, |(formula, _)| formula);
        Lowered {
            kind: terms.as_ref().map(|(_, kind)| *kind),
            program: Program::lower(formula, axis),
            symmetric: Symmetric::new(formula, axis, &key.3),
        }
    })
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

impl Supported for Cube {
    fn check_type(_device: &Self::Device, dtype: DType) -> Result<(), Unsupported> {
        match precision(dtype) {
            Some(_) => Ok(()),
            None => Err(Unsupported::Backend),
        }
    }

    fn check_kind(
        device: &Self::Device,
        dtype: DType,
        (kind, wanted): (ReductionKind, Wanted),
        tensors: usize,
    ) -> Result<(), Unsupported> {
        let precision = precision(dtype).ok_or(Unsupported::Backend)?;
        check_device(&device.client(), precision, kind, wanted, tensors)
            .map_err(Unsupported::Launch)
    }

    fn check_reduction(
        device: &Self::Device,
        dtype: DType,
        reduction: (&Reduction, Wanted),
        shapes: &[Vec<usize>],
    ) -> Result<(), Unsupported> {
        let precision = precision(dtype).ok_or(Unsupported::Backend)?;
        check(&device.client(), reduction, precision, dtype, shapes).map_err(Unsupported::Launch)
    }

    fn is_processor(device: &Self::Device) -> bool {
        let client = device.client();
        Device::new(client.properties(), client.name())
            .cores
            .is_some()
    }

    fn is_same(left: &FloatTensor<Cube>, right: &FloatTensor<Cube>) -> bool {
        #[cfg(feature = "fusion")]
        return left.id == right.id;
        #[cfg(not(feature = "fusion"))]
        {
            let bindings = [left, right].map(|tensor| tensor.clone().binding());
            same_tensors(&bindings) == [0, 0]
        }
    }
}

/// The same tensor, with strides of 0 if it has no values. To find out whether values overlap, Burn subtracts 1 from
/// each size of a tensor that has no stride of 0. For a size of 0 this panics in builds that check for overflow.
fn without_strides_of_nothing(mut tensor: CubeTensor) -> CubeTensor {
    if tensor.meta.shape().num_elements() == 0 {
        tensor.meta.strides_mut().fill(0);
    }
    tensor
}

/// The launch of a reduction.
fn launch<'a>(
    reduction: &'a Reduction,
    ranges: Option<&'a Ranges>,
    lowered: &'a Lowered,
    dtype: DType,
) -> Launch<'a> {
    let precision = |dtype| precision(dtype).expect("the type was checked");
    Launch {
        program: &lowered.program,
        symmetric: lowered.symmetric.as_ref(),
        reduction: lowered.kind.unwrap_or(reduction.kind),
        batch_shape: &reduction.batch,
        rows: reduction.size(reduction.axis.other()),
        columns: reduction.size(reduction.axis),
        fold: reduction.fold,
        ranges,
        precision: precision(dtype),
        values: precision(reduction.values_dtype(dtype)),
        strategy: Strategy::Auto,
    }
}

/// Checks that the device of `client` can run `reduction` of tensors with these shapes, for the results that are
/// `wanted`.
fn check(
    client: &Client,
    (reduction, wanted): (&Reduction, Wanted),
    precision: Precision,
    dtype: DType,
    shapes: &[Vec<usize>],
) -> Result<(), LaunchError> {
    let ranges = reduction.pairs_in_ranges();
    let listed = ranges.map_or(0, |ranges| ranges.buffers(reduction.kind));
    let buffers = shapes.len() + listed;
    check_device(client, precision, reduction.kind, wanted, buffers)?;
    if reduction.size(reduction.axis) == 0 || !may_be_refused(client, reduction, shapes) {
        return Ok(());
    }
    let same = (0..shapes.len()).collect();
    let lowered = lowered(reduction, same);
    let ranges = reduction.pairs_in_ranges();
    let launch = launch(reduction, ranges.as_ref(), &lowered, dtype);
    launch.check(client.properties(), client.name(), shapes, wanted)
}

/// Whether the device may refuse the reduction, so that it must be planned to find out. A device that ends long loops
/// may refuse any reduction. Others refuse only large ones and long formulas.
fn may_be_refused(client: &Client, reduction: &Reduction, shapes: &[Vec<usize>]) -> bool {
    /// Tensors of at most this many numbers can be addressed in 32 bits, even if more is read and written beyond the
    /// last row or column.
    const SMALL: usize = 1 << 30;
    /// Formulas that take long to compile are deeper than this, and most formulas are not. The depth is known at
    /// once.
    const DEEP: usize = 20;
    /// An upper bound for the rows of partial results if the columns of a few rows are split.
    const PARTS: usize = 1 << 20;
    let device = Device::new(client.properties(), client.name());
    let product = |sizes: &[usize]| sizes.iter().fold(1usize, |a, b| a.saturating_mul(*b));
    let spec = reduction.spec();
    let rows = product(&reduction.batch).saturating_mul(reduction.m.max(reduction.n));
    let each = spec.partial_values().max(spec.entries()).max(1);
    // Rows that share a range have three partial results: for the shared range, for the columns before it and for
    // those behind it.
    let layers = if reduction.ranges.is_some() { 3 } else { 1 };
    let written = (rows.saturating_mul(layers).saturating_add(PARTS)).saturating_mul(each);
    let read = shapes.iter().map(|shape| product(shape)).max();
    device.max_iterations.is_some()
        || written.max(read.unwrap_or(0)) > SMALL
        || reduction.formula.root().depth() > DEEP
}

impl LazyOps for CubeBackend {
    fn lazy_reduce(operands: Operands<Self>, reduction: Reduction) -> Reduced<Self> {
        let first = &operands.0[0];
        let (client, device, dtype) = (first.client.clone(), first.device.clone(), first.dtype);
        let shape = reduction.output_shape();
        let Reduction { wanted, .. } = reduction;
        let index_dtype = DType::from(reduction.indices);
        let values_dtype = reduction.values_dtype(dtype);
        if reduction.size(reduction.axis) == 0 {
            // Some devices cannot bind empty buffers.
            let full = |shape: &Shape, value: f64, dtype: DType| {
                let elem = match precision(dtype) {
                    Some(precision) => precision.elem(),
                    None => ElemType::Int(int_kind(reduction.indices)),
                };
                let value = InputScalar::new(value, elem);
                let full =
                    full_device_dtype(client.clone(), shape.clone(), device.clone(), value, dtype);
                without_strides_of_nothing(full)
            };
            let spec = reduction.spec();
            return Reduced {
                values: wanted
                    .values
                    .then(|| full(&shape, spec.empty(), values_dtype)),
                indices: wanted
                    .indices
                    .then(|| full(&shape, spec.empty_index() as f64, index_dtype)),
                // There are no exponentials to sum up, so maxima and sums are 0.
                state: wanted
                    .state
                    .then(|| full(&reduction.state_shape(), 0.0, computed(dtype))),
            };
        }
        let empty = |shape: &Shape, dtype| {
            let empty =
                empty_device_contiguous_dtype(client.clone(), device.clone(), shape.clone(), dtype);
            without_strides_of_nothing(empty)
        };
        let reduced = Reduced::<Self> {
            values: wanted.values.then(|| empty(&shape, values_dtype)),
            indices: wanted.indices.then(|| empty(&shape, index_dtype)),
            state: wanted
                .state
                .then(|| empty(&reduction.state_shape(), computed(dtype))),
        };
        let tensors: Vec<TensorBinding> = operands.0.into_iter().map(|t| t.binding()).collect();
        let same = same_tensors(&tensors);
        let lowered = lowered(&reduction, same);
        let ranges = reduction.pairs_in_ranges();
        let launch = launch(&reduction, ranges.as_ref(), &lowered, dtype);
        let output = Output {
            values: reduced.values.clone().map(|t| t.binding()),
            indices: reduced
                .indices
                .clone()
                .map(|t| (t.binding(), int_kind(reduction.indices))),
            state: reduced.state.clone().map(|t| t.binding()),
        };
        if let Err(error) = launch.run(&client, tensors, &reduction.scalars, output) {
            panic!(
                "{} over {} of {}: {error}",
                reduction.kind, reduction.axis, reduction.formula
            );
        }
        reduced
    }
}
