//! Gradients of the maxima and sums of exponentials that a softmax is computed from.

use burn::backend::{AutodiffBackend, Backend, TensorMetadata, tensor::FloatTensor};
use burn_autodiff::{
    Autodiff,
    checkpoint::strategy::CheckpointStrategy,
    ops::{Backward, OpsKind},
};
use burn_lazy_kernels::{Formula, ReductionKind, Wanted, expr::Var};

use super::{Kept, MAX_OPERANDS, Reduce, parents};
use crate::{
    backends::narrow,
    ops::{LazyOps, Operands, Reduction},
};

/// The cotangent of the logarithm of a sum of exponentials. `cotangent` is that of the maximum and the sum, which are
/// the `state`.
pub(super) fn of_logarithm<B: Backend>(
    cotangent: FloatTensor<B>,
    state: FloatTensor<B>,
) -> FloatTensor<B> {
    let last = cotangent.shape().num_dims() - 1;
    let of_sum = narrow::<B>(cotangent, last, 1..2);
    let sum = narrow::<B>(state, last, 1..2);
    // The cotangent of the logarithm of the sum is the cotangent of the sum, times the sum.
    B::float_mul(of_sum, sum)
}

/// The maxima and sums of a softmax, tracked as [`Reduce::Exponentials`] of the operands of its scores.
pub(super) fn of_scores<B: Backend + LazyOps, C: CheckpointStrategy>(
    operands: &[FloatTensor<Autodiff<B, C>>],
    softmax: &Reduction,
    state: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let own = &softmax.formula;
    let (formula, leaves) = Formula::new(&own.root().slice(0, 1));
    let (scalars, tensors): (Vec<_>, Vec<_>) = leaves.iter().partition(|leaf| leaf.scalar);
    let source = |leaf: &Var| own.source(leaf.id as usize);
    let tensors = tensors.iter().map(|leaf| operands[source(leaf)].clone());
    let operands = Operands::<Autodiff<B, C>>(tensors.collect());
    let scalars = scalars.iter().map(|leaf| softmax.scalars[source(leaf)]);
    let reduction = Reduction {
        scalars: scalars.collect(),
        formula,
        kind: ReductionKind::LogSumExp { scores: 1 },
        wanted: Wanted::VALUES,
        ..softmax.clone()
    };
    if operands.0.is_empty() {
        return <Autodiff<B, C> as AutodiffBackend>::from_inner(state);
    }
    by_count!(tracked_exponentials, operands, reduction, state)
}

fn tracked_exponentials<B: Backend + LazyOps, C: CheckpointStrategy, const N: usize>(
    operands: Operands<Autodiff<B, C>>,
    reduction: Reduction,
    state: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let tensors = parents::<B, C, N>(operands);
    let nodes = tensors.each_ref().map(|t| t.node());
    let prepared = <Reduce as Backward<B, N>>::prepare::<C>(Reduce::Exponentials, nodes);
    match prepared.compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let kept = Kept {
                operands: tensors.iter().map(|t| prep.checkpoint(t)).collect(),
                values: None,
                indices: None,
                state: Some(state.clone()),
                reduction,
            };
            prep.finish(kept, state)
        }
        OpsKind::UnTracked(prep) => prep.finish(state),
    }
}
