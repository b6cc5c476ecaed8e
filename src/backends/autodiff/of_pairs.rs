//! Gradients by tensors of pairs: a value for each pair, added up over the batches that share the tensor.

use std::ops::Range;

use burn::{
    backend::{Backend, TensorMetadata, tensor::FloatTensor},
    tensor::TensorData,
};
use burn_lazy_kernels::{
    Accumulation, Axis, Expr, Formula, ReductionKind, Wanted,
    expr::{Dependence, Node, Place, Var},
};

use super::{FOLDED_NUMBERS, Pairs};
use crate::{
    axes::{columns_first, dimensions, without_columns},
    backends::narrow,
    ops::{LazyOps, Operands, Reduction},
    ranges::Ranges,
};

impl<B: Backend + LazyOps> Pairs<B> {
    /// The values of `root` for all pairs, added up over the batch dimensions `shared`. The result is
    /// `[batch.., M, N, dim]`, with size 1 in the dimensions `shared`. None if all values are 0.
    ///
    /// Where all batches together would take much memory, a few are computed at a time, so that the memory stays in
    /// proportion to the result. Batches with ranges of their own are computed together.
    pub(super) fn entries(&self, root: &Expr, shared: &[usize]) -> Option<FloatTensor<B>> {
        let Reduction {
            m,
            n,
            ref batch,
            ref ranges,
            ..
        } = self.reduction;
        let all = batch.iter().product::<usize>() * m * n * root.dim();
        let longest = shared.iter().copied().max_by_key(|d| batch[*d]);
        let one_for_all = ranges.as_ref().is_none_or(|own| own.batch().is_empty());
        if let Some(d) = longest.filter(|d| all > FOLDED_NUMBERS && one_for_all && batch[*d] > 1) {
            let count = (FOLDED_NUMBERS / (all / batch[d])).max(1);
            let parts = (0..batch[d]).step_by(count).map(|start| {
                let part = self.of_batches(d, start..batch[d].min(start + count));
                part.entries(root, shared)
            });
            return parts
                .reduce(|sum, part| Some(B::float_add(sum?, part?)))
                .flatten();
        }
        let entries = self.entries_of_batches(root)?;
        let mut shape = entries.shape();
        shared.iter().for_each(|d| shape[*d] = 1);
        let added = match shared.is_empty() {
            true => entries,
            false => B::float_sum_dims(entries, shared),
        };
        Some(B::float_reshape(added, shape))
    }

    /// This derivative for the batches `range` of batch dimension `d` alone.
    fn of_batches(&self, d: usize, range: Range<usize>) -> Self {
        let rank = self.reduction.batch.len();
        let part = |tensor: &FloatTensor<B>, var: &Var| {
            let own = tensor.shape().num_dims() - dimensions(var.axes);
            match (d + own).checked_sub(rank) {
                Some(at) if tensor.shape()[at] > 1 => {
                    narrow::<B>(tensor.clone(), at, range.clone())
                }
                _ => tensor.clone(),
            }
        };
        let vars = self.reduction.formula.tensors();
        let operands = self.operands.iter().zip(vars);
        let mut own = Self {
            operands: operands.map(|(tensor, var)| part(tensor, var)).collect(),
            others: self
                .others
                .iter()
                .map(|(var, tensor)| (*var, part(tensor, var)))
                .collect(),
            ..self.clone()
        };
        own.reduction.batch[d] = range.len();
        own
    }

    /// The values of `root` for all pairs, `[batch.., M, N, dim]`. None if they are 0.
    ///
    /// The columns become a batch dimension, and each batch has a single column.
    fn entries_of_batches(&self, root: &Expr) -> Option<FloatTensor<B>> {
        let Reduction {
            m, n, ref batch, ..
        } = self.reduction;
        let operand = &self.operands[0];
        let index = Var {
            id: (self.reduction.formula.vars().len() + self.others.len() + self.parameters.len())
                as u64,
            axes: Dependence::default(),
            dim: 1,
            scalar: false,
        };
        let root = root.rewrite(|expr, args| match expr.node() {
            Node::Var(var) => Expr::var(Var {
                axes: without_columns(var.axes),
                ..*var
            }),
            Node::Place(Place::Index(Axis::J)) => Expr::var(index),
            Node::Place(Place::Offset) => Expr::place(Place::Index(Axis::I)) - Expr::var(index),
            _ => expr.with_args(args),
        });
        let (formula, leaves) = Formula::new(&root);
        let tensors = leaves.iter().filter(|leaf| !leaf.scalar);
        let tensors: Vec<FloatTensor<B>> = tensors
            .map(|leaf| match *leaf == index {
                true => {
                    let numbers: Vec<f64> = (0..n).map(|j| j as f64).collect();
                    let data = TensorData::new(numbers, [n, 1]).convert_dtype(operand.dtype());
                    B::float_from_data(data, &operand.device())
                }
                false => {
                    let (var, tensor) = self.tensor(leaf);
                    columns_first::<B>(tensor, var.axes)
                }
            })
            .collect();
        if tensors.is_empty() || batch.iter().product::<usize>() * m * n == 0 {
            return None;
        }
        let ranges = self.reduction.ranges.as_ref();
        let reduction = Reduction {
            scalars: self.scalars(&leaves),
            formula,
            kind: ReductionKind::Sum(Accumulation::Blocks),
            wanted: Wanted::VALUES,
            values: None,
            axis: Axis::J,
            batch: [batch.as_slice(), &[n]].concat(),
            n: 1,
            squeezed: false,
            fold: None,
            ranges: ranges.map(Ranges::columns_as_batch),
            ..self.reduction.clone()
        };
        let reduced = B::lazy_reduce(Operands(tensors), reduction);
        let entries = reduced.values.expect("they are wanted");
        Some(B::float_swap_dims(entries, batch.len(), batch.len() + 1))
    }
}
