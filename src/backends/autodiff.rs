//! Autodiff: the gradient of a reduction is a reduction of the differentiated formula.

use burn::{
    backend::{Backend, TensorMetadata, tensor::FloatTensor},
    tensor::Shape,
};
use burn_autodiff::{
    Autodiff, NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn_lazy_kernels::{Axis, Expr, Formula, ReductionKind, expr::Var};

use crate::ops::{LazyOps, Operands, Reduction};

/// The most tensors of one tracked reduction: the number of parents of a node is fixed when Burn's
/// trait is instantiated.
pub(crate) const MAX_OPERANDS: usize = 16;

#[derive(Debug)]
struct Reduce;

impl<B: Backend + LazyOps, const N: usize> Backward<B, N> for Reduce {
    type State = (Vec<NodeId>, Reduction);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (ids, reduction) = ops.state;
        let cotangent = grads.consume::<B>(&ops.node);
        // All operands take part in the retrieval, also those whose gradient isn't wanted: any of
        // them may occur in the gradient of another.
        let operands: Vec<FloatTensor<B>> = ids
            .into_iter()
            .map(|id| checkpointer.retrieve_node_output(id))
            .collect();
        let vars: Vec<Var> = reduction.formula.tensors().copied().collect();
        for ((parent, var), operand) in ops.parents.iter().zip(vars).zip(&operands) {
            if let Some(parent) = parent {
                let gradient = gradient::<B>(&reduction, &var, operand, &operands, &cotangent);
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

/// The gradient with respect to `operand`, which is the tensor of `var`.
///
/// An operand of the output axis is differentiated under the same sum, one of the reduced axis under
/// the sum over the other axis; a parameter under the same sum, whose rows are then added.
fn gradient<B: Backend + LazyOps>(
    reduction: &Reduction,
    var: &Var,
    operand: &FloatTensor<B>,
    operands: &[FloatTensor<B>],
    cotangent: &FloatTensor<B>,
) -> FloatTensor<B> {
    let ReductionKind::Sum = reduction.kind;
    let rows = reduction.axis.other();
    let seed = Var {
        id: reduction.formula.vars().len() as u64,
        axis: Some(rows),
        dim: reduction.formula.dim(),
        scalar: false,
    };
    let root = reduction.formula.root().gradient(var, &Expr::var(seed));
    let (formula, leaves) = Formula::new(&root);
    let mut tensors = Vec::new();
    let mut scalars = Vec::new();
    for leaf in leaves {
        if leaf == seed {
            tensors.push(cotangent.clone());
        } else if leaf.scalar {
            scalars.push(reduction.scalars[reduction.formula.source(leaf.id as usize)]);
        } else {
            tensors.push(operands[reduction.formula.source(leaf.id as usize)].clone());
        }
    }
    let shape = operand.shape();
    if tensors.is_empty() {
        let dtype = operand.dtype().into();
        return B::float_zeros(shape, &operand.device(), dtype);
    }
    let axis = if var.axis == Some(reduction.axis) {
        rows
    } else {
        reduction.axis
    };
    let reduced = B::lazy_reduce(
        Operands(tensors),
        Reduction {
            formula,
            axis,
            scalars,
            ..reduction.clone()
        },
    );
    fold::<B>(reduced, var.axis, shape)
}

/// Adds up what the operand of shape `shape` was repeated over: the rows for a parameter, and the
/// batch dimensions along which it was broadcast.
fn fold<B: Backend>(gradient: FloatTensor<B>, axis: Option<Axis>, shape: Shape) -> FloatTensor<B> {
    let full = gradient.shape();
    let own = if axis.is_none() { 1 } else { 2 };
    let batch_rank = full.num_dims() - 2;
    let missing = batch_rank - (shape.num_dims() - own);
    let mut dims: Vec<usize> = (0..batch_rank)
        .filter(|&d| full[d] > 1 && (d < missing || shape[d - missing] == 1))
        .collect();
    if axis.is_none() {
        dims.push(batch_rank);
    }
    let gradient = match dims.is_empty() {
        true => gradient,
        false => B::float_sum_dims(gradient, &dims),
    };
    B::float_reshape(gradient, shape)
}

fn tracked<B: Backend + LazyOps, C: CheckpointStrategy, const N: usize>(
    operands: Operands<Autodiff<B, C>>,
    reduction: Reduction,
) -> FloatTensor<Autodiff<B, C>> {
    let tensors: [FloatTensor<Autodiff<B, C>>; N] = operands
        .0
        .try_into()
        .unwrap_or_else(|_| unreachable!("matched by the number of operands"));
    let inner = tensors.iter().map(|t| t.primitive().clone()).collect();
    let out = B::lazy_reduce(Operands(inner), reduction.clone());
    let nodes = tensors.each_ref().map(|t| t.node());
    match <Reduce as Backward<B, N>>::prepare::<C>(Reduce, nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            let ids = tensors.iter().map(|t| prep.checkpoint(t)).collect();
            prep.finish((ids, reduction), out)
        }
        OpsKind::UnTracked(prep) => prep.finish(out),
    }
}

macro_rules! by_count {
    ($operands:ident, $reduction:ident, $($n:literal)*) => {
        match $operands.0.len() {
            $( $n => tracked::<B, C, $n>($operands, $reduction), )*
            n => unreachable!("{n} operands, at most {MAX_OPERANDS} were allowed"),
        }
    };
}

impl<B: Backend + LazyOps, C: CheckpointStrategy> LazyOps for Autodiff<B, C> {
    fn lazy_reduce(operands: Operands<Self>, reduction: Reduction) -> FloatTensor<Self> {
        by_count!(operands, reduction, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
    }
}
