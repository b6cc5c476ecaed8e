//! Reductions on the host, for backends whose tensors are there.

use std::sync::Arc;

use burn::tensor::DType;
use burn_lazy_kernels::{
    Axis, LaunchError, Program, ReductionKind, Wanted,
    host::{HostLaunch, HostOutput, HostProgram, HostTensor, Instructions},
};

use super::{Unsupported, kept::Kept, precision};
use crate::ops::Reduction;

/// A formula that is prepared.
struct Prepared {
    /// The reduction that it is for, if it is another than the one that was asked for.
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

/// Checks that the host has the type of the operands.
pub(super) fn check(dtype: Option<DType>) -> Result<(), Unsupported> {
    let precision = dtype.and_then(precision);
    precision.map(|_| ()).ok_or(Unsupported::Backend)
}

/// Checks that the host runs `reduction` of operands of `dtype`, and gives what is `wanted`.
pub(super) fn check_reduction(
    dtype: DType,
    reduction: &Reduction,
    wanted: Wanted,
) -> Result<(), Unsupported> {
    check(Some(dtype))?;
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

/// Reduces `tensors`, which are of type `dtype`.
pub(super) fn reduce(tensors: &[HostTensor], dtype: DType, reduction: &Reduction) -> HostOutput {
    let prepared = prepared(reduction);
    let precision = |dtype| precision(dtype).expect("the type was checked");
    let launch = HostLaunch {
        program: &prepared.program,
        reduction: prepared.kind.unwrap_or(reduction.kind),
        batch_shape: &reduction.batch,
        rows: reduction.size(reduction.axis.other()),
        columns: reduction.size(reduction.axis),
        fold: reduction.fold,
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
