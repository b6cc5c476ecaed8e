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

use crate::ops::{LazyOps, Operands, Reduced, Reduction};

/// The most tensors of one tracked reduction: the number of parents of a node is fixed when Burn's
/// trait is instantiated.
pub(crate) const MAX_OPERANDS: usize = 16;

#[derive(Debug)]
struct Reduce;

/// What the backward pass needs beside the operands.
#[derive(Clone, Debug)]
struct Forward<B: Backend> {
    operands: Vec<NodeId>,
    reduction: Reduction,
    /// The result, where the derivative is written in terms of it.
    result: Option<FloatTensor<B>>,
}

impl<B: Backend + LazyOps, const N: usize> Backward<B, N> for Reduce {
    type State = Forward<B>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let forward = ops.state;
        let cotangent = grads.consume::<B>(&ops.node);
        // All operands take part in the retrieval, also those whose gradient isn't wanted: any of
        // them may occur in the gradient of another.
        let operands: Vec<FloatTensor<B>> = forward
            .operands
            .into_iter()
            .map(|id| checkpointer.retrieve_node_output(id))
            .collect();
        let summed = Summed::<B>::new(forward.reduction, operands, cotangent, forward.result);
        let vars: Vec<Var> = summed.reduction.formula.tensors().copied().collect();
        for (k, (parent, var)) in ops.parents.iter().zip(vars).enumerate() {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, summed.gradient(&var, k));
            }
        }
    }
}

/// Whether the derivative of a reduction of `kind` is known.
pub(crate) fn is_differentiable(kind: ReductionKind) -> bool {
    matches!(
        kind,
        ReductionKind::Sum(_) | ReductionKind::LogSumExp { .. } | ReductionKind::SoftmaxSum
    )
}

/// A reduction, written as a sum that has the same derivatives: some of its leaves are results of
/// the reduction and count as constants.
struct Summed<B: Backend> {
    reduction: Reduction,
    /// What is summed.
    root: Expr,
    /// The cotangent of the sum.
    cotangent: Var,
    operands: Vec<FloatTensor<B>>,
    /// Further leaves with their tensors, the cotangent among them.
    others: Vec<(Var, FloatTensor<B>)>,
}

impl<B: Backend + LazyOps> Summed<B> {
    fn new(
        reduction: Reduction,
        operands: Vec<FloatTensor<B>>,
        cotangent: FloatTensor<B>,
        result: Option<FloatTensor<B>>,
    ) -> Self {
        let width = reduction.spec().width();
        let rows = reduction.axis.other();
        let mut others: Vec<(Var, FloatTensor<B>)> = Vec::new();
        let mut leaf = |tensor: FloatTensor<B>, dim: usize| {
            let var = Var {
                id: (reduction.formula.vars().len() + others.len()) as u64,
                axis: Some(rows),
                dim,
                scalar: false,
            };
            let mut shape = reduction.batch.clone();
            shape.extend([reduction.size(rows), dim]);
            others.push((var, B::float_reshape(tensor, Shape::from(shape))));
            var
        };
        let cotangent = leaf(cotangent, width);
        let root = reduction.formula.root().clone();
        let root = match reduction.kind {
            ReductionKind::Sum(_) => root,
            // With L = log sum e^f w, the derivative of L is that of sum e^(f - L) w.
            ReductionKind::LogSumExp { scores } => {
                let total = Expr::var(leaf(result.expect("it is kept"), width));
                let exp = (root.slice(0, scores) - total).exp();
                match root.dim() - scores {
                    0 => exp,
                    weights => exp * root.slice(scores, weights),
                }
            }
            // With L = log sum e^f and s the result, its derivative is that of
            // sum e^(f - L) (g - s).
            ReductionKind::SoftmaxSum => {
                let scores = root.slice(0, 1);
                let (formula, leaves) = Formula::new(&scores);
                let normalizer = Reduction {
                    scalars: scalars(&reduction, &leaves),
                    formula,
                    kind: ReductionKind::LogSumExp { scores: 1 },
                    ..reduction.clone()
                };
                let tensors = leaves.iter().filter(|leaf| !leaf.scalar);
                let tensors: Vec<_> = tensors
                    .map(|leaf| {
                        let source = reduction.formula.source(leaf.id as usize);
                        operands[source].clone()
                    })
                    .collect();
                let mean = Expr::var(leaf(result.expect("it is kept"), width));
                let weighted = root.slice(1, width) - mean;
                if tensors.is_empty() {
                    // A constant score: all weights are equal.
                    let count = reduction.size(reduction.axis) as f64;
                    weighted * (1.0 / count)
                } else {
                    let total = B::lazy_reduce(Operands(tensors), normalizer);
                    let total = Expr::var(leaf(total.values.expect("they are wanted"), 1));
                    (scores - total).exp() * weighted
                }
            }
            kind => unreachable!("{kind:?} was refused"),
        };
        Self {
            root,
            cotangent,
            operands,
            others,
            reduction,
        }
    }

    /// The gradient with respect to the operand `index`, which is the tensor of `var`.
    ///
    /// An operand of the output axis is differentiated under the same sum, one of the reduced axis
    /// under the sum over the other axis; a parameter under the same sum, whose rows are then added.
    fn gradient(&self, var: &Var, index: usize) -> FloatTensor<B> {
        let root = self.root.gradient(var, &Expr::var(self.cotangent));
        let (formula, leaves) = Formula::new(&root);
        let tensors: Vec<FloatTensor<B>> = leaves
            .iter()
            .filter(|leaf| !leaf.scalar)
            .map(|leaf| {
                let other = self.others.iter().find(|(var, _)| var == leaf);
                match other {
                    Some((_, tensor)) => tensor.clone(),
                    None => {
                        let source = self.reduction.formula.source(leaf.id as usize);
                        self.operands[source].clone()
                    }
                }
            })
            .collect();
        let operand = &self.operands[index];
        let shape = operand.shape();
        if tensors.is_empty() {
            let dtype = operand.dtype().into();
            return B::float_zeros(shape, &operand.device(), dtype);
        }
        let axis = self.reduction.axis;
        let reduced = B::lazy_reduce(
            Operands(tensors),
            Reduction {
                scalars: scalars(&self.reduction, &leaves),
                formula,
                kind: ReductionKind::Sum(match self.reduction.kind {
                    ReductionKind::Sum(accumulation) => accumulation,
                    _ => Default::default(),
                }),
                axis: if var.axis == Some(axis) {
                    axis.other()
                } else {
                    axis
                },
                squeezed: false,
                ..self.reduction.clone()
            },
        );
        fold::<B>(reduced.values.expect("they are wanted"), var.axis, shape)
    }
}

/// The values of the scalars among `leaves`.
fn scalars(reduction: &Reduction, leaves: &[Var]) -> Vec<f64> {
    let scalars = leaves.iter().filter(|leaf| leaf.scalar);
    scalars
        .map(|leaf| reduction.scalars[reduction.formula.source(leaf.id as usize)])
        .collect()
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
) -> Reduced<Autodiff<B, C>> {
    let tensors: [FloatTensor<Autodiff<B, C>>; N] = operands
        .0
        .try_into()
        .unwrap_or_else(|_| unreachable!("matched by the number of operands"));
    let inner = tensors.iter().map(|t| t.primitive().clone()).collect();
    let reduced = B::lazy_reduce(Operands(inner), reduction.clone());
    let indices = reduced.indices;
    let Some(values) = reduced.values else {
        return Reduced {
            values: None,
            indices,
        };
    };
    let nodes = tensors.each_ref().map(|t| t.node());
    let values = match <Reduce as Backward<B, N>>::prepare::<C>(Reduce, nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            assert!(
                is_differentiable(reduction.kind),
                "{:?} over {} of {} has no derivative here; detach its operands",
                reduction.kind,
                reduction.axis,
                reduction.formula
            );
            let result = match reduction.kind {
                ReductionKind::Sum(_) => None,
                _ => Some(values.clone()),
            };
            let forward = Forward {
                operands: tensors.iter().map(|t| prep.checkpoint(t)).collect(),
                reduction,
                result,
            };
            prep.finish(forward, values)
        }
        OpsKind::UnTracked(prep) => prep.finish(values),
    };
    Reduced {
        values: Some(values),
        indices,
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
    fn lazy_reduce(operands: Operands<Self>, reduction: Reduction) -> Reduced<Self> {
        by_count!(operands, reduction, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
    }
}
