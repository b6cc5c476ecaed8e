//! Large reductions of tensors on the host run on the kernels of CubeCL's CPU runtime, if it is compiled in. Copies
//! of the operands and of the results take O(M + N).

use burn::{
    backend::{
        TensorMetadata,
        ops::{FloatTensorOps, IntTensorOps},
    },
    tensor::{TensorData, read_sync},
};
use burn_cubecl::{CubeBackend, cubecl::Device, tensor::CubeTensor};
use burn_lazy_kernels::{Wanted, expr::Var};

use super::{Supported, host};
use crate::ops::{LazyOps, Operands, Reduced, Reduction};

/// The smallest number of operations, for all pairs together, with which a reduction runs on kernels. The host engine
/// takes some 15 ms for so many operations on two cores. A kernel takes 0.1 s to compile and is then kept, so that it
/// pays from some ten calls on. The number is an estimate from the rates of both, not a measured bound.
const LARGE: usize = 1 << 27;

/// Reduces `operands` by kernels. None if this does not pay, or if the runtime cannot run the reduction.
pub(super) fn reduce<B: Supported>(
    operands: &Operands<B>,
    reduction: &Reduction,
) -> Option<Reduced<B>> {
    let pairs = usize::try_from(reduction.pairs()).unwrap_or(usize::MAX);
    let large = || pairs.saturating_mul(host::pair_work(reduction)) >= LARGE;
    // A tensor of pairs would have to be copied, which takes O(M N).
    let copies_pairs = reduction.formula.tensors().any(Var::is_of_pairs);
    // The pairs are compared first, because counting the operations takes the lowered program.
    if copies_pairs || pairs < LARGE >> 16 || !large() {
        return None;
    }
    let cpu = Device::Cpu(Default::default());
    let first = &operands.0[0];
    let (dtype, device) = (first.dtype(), first.device());
    let shapes: Vec<Vec<usize>> = operands.0.iter().map(|t| t.shape().to_vec()).collect();
    let wanted: Wanted = reduction.wanted;
    burn::backend::Cube::check_reduction(&cpu, dtype, (reduction, wanted), &shapes).ok()?;

    // A tensor that is passed twice is copied once and stays the same tensor. A symmetric kernel then evaluates $ij$
    // and $ji$ together.
    let mut copies: Vec<CubeTensor> = Vec::new();
    for (k, tensor) in operands.0.iter().enumerate() {
        let same = operands.0[..k]
            .iter()
            .position(|own| B::is_same(own, tensor));
        let copy = match same {
            Some(same) => copies[same].clone(),
            None => {
                let data = read(B::float_into_data(tensor.clone()));
                CubeBackend::float_from_data(data, &cpu)
            }
        };
        copies.push(copy);
    }
    let reduced = CubeBackend::lazy_reduce(Operands(copies), reduction.clone());
    let back = |tensor| B::float_from_data(read(CubeBackend::float_into_data(tensor)), &device);
    let indices = |tensor| B::int_from_data(read(CubeBackend::int_into_data(tensor)), &device);
    Some(Reduced {
        values: reduced.values.map(back),
        indices: reduced.indices.map(indices),
        state: reduced.state.map(back),
    })
}

fn read<E: std::fmt::Debug>(data: impl Future<Output = Result<TensorData, E>>) -> TensorData {
    let data = read_sync(data).expect("tensors in the memory of the host can be read");
    // The CPU runtime computes when the bytes are first needed. A backend on the host computes within the call, and
    // has nothing to wait for in `Device::sync`.
    let _ = data.as_bytes();
    data
}
