//! Reductions on the host, for backends whose tensors are in the memory of the host.

use std::sync::Arc;

use burn::{
    backend::{
        Backend,
        tensor::{Device, FloatTensor},
    },
    tensor::{DType, Shape, TensorData},
};
use burn_lazy_kernels::{
    Axis, LaunchError, Program, ReductionKind, Wanted,
    host::{HostLaunch, HostOutput, HostProgram, HostTensor, HostValues, Instructions},
};

use super::{Supported, Unsupported, precision};
#[cfg(any(feature = "ndarray", feature = "tch"))]
use crate::ops::Operands;
use crate::{
    kept::Kept,
    ops::{Reduced, Reduction},
};

/// A formula that is ready to run on the host.
struct Prepared {
    /// The reduction that the engine computes, if it is not the one that was requested.
    kind: Option<ReductionKind>,
    program: HostProgram,
}

fn prepared(reduction: &Reduction) -> Arc<Prepared> {
    static PREPARED: Kept<(u128, ReductionKind, Axis), Prepared> = Kept::new();

    let digest = reduction.formula.root().digest();
    PREPARED.get((digest, reduction.kind, reduction.axis), |_| {
        let terms = reduction.terms();
        let formula = terms.as_ref().map_or(&reduction.formula, |terms| &terms.0);
        Prepared {
            kind: terms.as_ref().map(|(_, kind)| *kind),
            program: HostProgram::new(&Program::lower(formula, reduction.axis)),
        }
    })
}

/// About how many operations the formula of a reduction takes for each pair.
#[cfg(feature = "cpu")]
pub(super) fn pair_work(reduction: &Reduction) -> usize {
    prepared(reduction).program.pair_work()
}

/// A backend whose tensors are in the memory of the host. The host engine runs its reductions.
pub(super) trait OnHost: Backend {
    /// Whether `device` is the processor. Reductions on others are refused: their tensors would be copied to the host
    /// and back, which no user would expect.
    fn is_host(_device: &Self::Device) -> bool {
        true
    }

    /// Whether the backend has tensors of type `dtype`, which is one that the host engine supports.
    fn has_type(_dtype: DType) -> bool {
        true
    }

    /// Whether both are known to be the same tensor.
    fn are_same(left: &FloatTensor<Self>, right: &FloatTensor<Self>) -> bool;
}

impl<B: OnHost> Supported for B {
    fn check_type(device: &Self::Device, dtype: DType) -> Result<(), Unsupported> {
        match precision(dtype).is_some() && B::has_type(dtype) && B::is_host(device) {
            true => Ok(()),
            false => Err(Unsupported::Backend),
        }
    }

    fn check_reduction(
        _device: &Self::Device,
        _dtype: DType,
        (reduction, wanted): (&Reduction, Wanted),
        _shapes: &[Vec<usize>],
    ) -> Result<(), Unsupported> {
        let columns = reduction.size(reduction.axis);
        let indices = wanted.indices || reduction.spec().keeps_indices();
        match indices && columns >= u32::MAX as usize {
            false => Ok(()),
            true => Err(Unsupported::Launch(LaunchError::TooLarge {
                device: "host".into(),
                len: columns,
            })),
        }
    }

    fn is_processor(device: &Self::Device) -> bool {
        B::is_host(device)
    }

    fn is_same(left: &FloatTensor<Self>, right: &FloatTensor<Self>) -> bool {
        B::are_same(left, right)
    }
}

/// Reduces `tensors`, which are of type `dtype`, to tensors on `device`.
pub(super) fn reduce<B: Backend>(
    tensors: &[HostTensor],
    dtype: DType,
    reduction: &Reduction,
    device: &Device<B>,
) -> Reduced<B> {
    let output = run(tensors, dtype, reduction);
    let shape = reduction.output_shape();
    let values = |values, shape| B::float_from_data(data(values, shape), device);
    let indices = |indices| {
        let data = TensorData::new::<i64, _>(indices, shape.clone());
        B::int_from_data(data.convert_dtype(reduction.indices.into()), device)
    };
    Reduced {
        values: output.values.map(|own| values(own, shape.clone())),
        indices: output.indices.map(indices),
        state: output
            .state
            .map(|state| values(state, reduction.state_shape())),
    }
}

/// Reduces copies of the operands, for a backend that only gives copies of its tensors.
#[cfg(any(feature = "ndarray", feature = "tch"))]
pub(super) fn reduce_copies<B: Supported>(
    operands: Operands<B>,
    reduction: &Reduction,
) -> Reduced<B> {
    use burn::{backend::TensorMetadata, tensor::read_sync};
    use burn_lazy_kernels::host::HostSlice;

    #[cfg(feature = "cpu")]
    if let Some(reduced) = super::compiled::reduce(&operands, reduction) {
        return reduced;
    }
    let first = &operands.0[0];
    let (dtype, device) = (first.dtype(), first.device());
    let copies = operands.0.into_iter().map(|tensor| {
        let shape = tensor.shape().to_vec();
        let strides: Vec<isize> = (1..=shape.len())
            .map(|axis| shape[axis..].iter().product::<usize>() as isize)
            .collect();
        let data = read_sync(B::float_into_data(tensor)).expect("tensors can be read");
        (data, shape, strides)
    });
    let copies: Vec<_> = copies.collect();
    let tensors: Vec<HostTensor> = copies
        .iter()
        .map(|(data, shape, strides)| HostTensor {
            data: match dtype {
                DType::F16 => HostSlice::F16(data.as_slice().expect("its type")),
                DType::BF16 => HostSlice::BF16(data.as_slice().expect("its type")),
                DType::F32 => HostSlice::F32(data.as_slice().expect("its type")),
                DType::F64 => HostSlice::F64(data.as_slice().expect("its type")),
                other => unreachable!("{other:?} was refused"),
            },
            shape,
            strides,
            start: 0,
        })
        .collect();
    reduce::<B>(&tensors, dtype, reduction, &device)
}

fn data(values: HostValues, shape: Shape) -> TensorData {
    match values {
        HostValues::F16(values) => TensorData::new(values, shape),
        HostValues::BF16(values) => TensorData::new(values, shape),
        HostValues::F32(values) => TensorData::new(values, shape),
        HostValues::F64(values) => TensorData::new(values, shape),
    }
}

fn run(tensors: &[HostTensor], dtype: DType, reduction: &Reduction) -> HostOutput {
    let prepared = prepared(reduction);
    let precision = |dtype| precision(dtype).expect("the type was checked");
    let ranges = reduction.pairs_in_ranges();
    let launch = HostLaunch {
        program: &prepared.program,
        reduction: prepared.kind.unwrap_or(reduction.kind),
        batch_shape: &reduction.batch,
        rows: reduction.size(reduction.axis.other()),
        columns: reduction.size(reduction.axis),
        fold: reduction.fold,
        ranges: ranges.as_ref(),
        precision: precision(dtype),
        values: precision(reduction.values_dtype(dtype)),
        instructions: Instructions::detect(),
    };
    launch
        .run(tensors, &reduction.scalars, reduction.wanted)
        .unwrap_or_else(|error| {
            panic!(
                "{} over {} of {}: {error}",
                reduction.kind, reduction.axis, reduction.formula
            )
        })
}
