//! Autodiff: the gradient of a reduction is a reduction of the differentiated formula.

/// Calls a function that has the number of operands as a constant parameter.
macro_rules! by_count {
    ($function:ident, $operands:ident, $($argument:expr),*) => {
        by_count!(@ $function, $operands, ($($argument),*), 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
    };
    (@ $function:ident, $operands:ident, $arguments:tt, $($n:literal)*) => {
        match $operands.0.len() {
            $( $n => by_count!(@@ $function::<B, C, $n>, $operands, $arguments), )*
            n => unreachable!("{n} operands, at most {MAX_OPERANDS} were allowed"),
        }
    };
    (@@ $function:expr, $operands:ident, ($($argument:expr),*)) => {
        $function($operands, $($argument),*)
    };
}

mod exponentials;
mod of_pairs;

use std::sync::Arc;

use burn::{
    backend::{
        AutodiffBackend, Backend, TensorMetadata,
        tensor::{Device, FloatTensor, IntTensor},
    },
    tensor::{FloatDType, Shape, TensorData},
};
use burn_autodiff::{
    Autodiff, NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn_lazy_kernels::{
    Accumulation, Axis, Cotangent, Expr, Formula, ReductionKind, Wanted,
    expr::{Dependence, Var},
};

use crate::{
    axes::shared,
    backends::{computed, narrow},
    backward::{Derivative, Source},
    ops::{LazyOps, Operands, Reduced, Reduction, anchored, cast_of},
    ranges::{Ranges, inverse},
};

/// The largest number of tensors of one tracked reduction. Burn's trait has the number of parents of a node as a
/// constant parameter.
pub(crate) const MAX_OPERANDS: usize = 16;

/// A node of the autodiff graph, by what it holds.
#[derive(Debug)]
enum Reduce {
    /// The values of a reduction.
    Values,
    /// The maxima of scores and the sums of exponentials relative to them, `[batch.., rows, 2]`, that a softmax was
    /// computed from. The maxima count as constants: the logarithm of the sum of exponentials does not depend on them.
    ///
    /// The reduction that is kept for the backward pass is [`LogSumExp`](ReductionKind::LogSumExp) of the scores.
    Exponentials,
}

/// What the backward pass needs besides the operands.
#[derive(Clone, Debug)]
struct Kept<B: Backend> {
    operands: Vec<NodeId>,
    reduction: Reduction,
    /// The result, if the derivative is written in terms of it. It is not rounded to F16 or BF16.
    values: Option<FloatTensor<B>>,
    /// The indices where the result was found, if the reduction selects values, as a minimum does.
    indices: Option<IntTensor<B>>,
    /// The maxima that exponentials are relative to, and their sums.
    state: Option<FloatTensor<B>>,
}

impl<B: Backend + LazyOps, const N: usize> Backward<B, N> for Reduce {
    type State = Kept<B>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let cotangent = grads.consume::<B>(&ops.node);
        let kept = ops.state;
        let cotangent = match self {
            Self::Values => cotangent,
            Self::Exponentials => {
                let state = kept.state.clone().expect("it is kept");
                exponentials::of_logarithm::<B>(cotangent, state)
            }
        };
        // All operands are retrieved, even those whose gradient is not wanted. The gradient by another operand may
        // read them.
        let operands: Vec<FloatTensor<B>> = kept
            .operands
            .iter()
            .map(|id| checkpointer.retrieve_node_output(*id))
            .collect();
        let wanted: Vec<usize> = (0..N).filter(|k| ops.parents[*k].is_some()).collect();
        let pairs = Pairs::<B>::new(&kept, operands, cotangent);
        for (k, gradient) in pairs.gradients(&wanted) {
            let parent = ops.parents[k].as_ref().expect("it is wanted");
            grads.register::<B>(parent.id, gradient);
        }
    }
}

/// F32 holds all integers up to this one, so that indices up to it are exact.
pub(crate) const EXACT_INDICES: usize = 1 << 24;

/// The derivative of a reduction: its formula, and the cotangent of the formula at each pair. The cotangent is a
/// formula, too: of the operands, of the cotangent of the result, and of results of the forward pass.
///
/// The gradient by an operand is the sum of the symbolic gradient over the axis on which the operand does not depend.
#[derive(Clone)]
struct Pairs<B: Backend> {
    reduction: Reduction,
    cotangent: Cotangent,
    operands: Vec<FloatTensor<B>>,
    /// The leaves of the cotangent that are not operands, with their tensors.
    others: Vec<(Var, FloatTensor<B>)>,
    /// The leaves of the cotangent that are numbers.
    parameters: Vec<(Var, f64)>,
    /// The types of the gradients. Derivatives of F16 and BF16 are computed in F32, as these types hold neither
    /// indices nor long sums.
    dtypes: Vec<FloatDType>,
}

impl<B: Backend + LazyOps> Pairs<B> {
    fn new(kept: &Kept<B>, operands: Vec<FloatTensor<B>>, cotangent: FloatTensor<B>) -> Self {
        let reduction = kept.reduction.clone();
        let dtypes: Vec<FloatDType> = operands.iter().map(|t| t.dtype().into()).collect();
        let computed: FloatDType = computed(operands[0].dtype()).into();
        // Rows that were added up into one row of the result all have the cotangent of this row.
        let cotangent = match reduction.fold {
            Some(fold) => repeat::<B>(cotangent, fold, reduction.size(reduction.axis.other())),
            None => cotangent,
        };
        // The operands are in the order of the ranges. The cotangent and the results of the forward pass are in the
        // order of the indices, and are sorted below.
        let order = Order::of(&reduction);
        let reduction = Reduction {
            fold: None,
            ranges: reduction.ranges.as_ref().map(Ranges::in_place),
            ..reduction
        };
        let cast = |tensor: FloatTensor<B>| cast_of::<B>(tensor, computed);
        let Derivative {
            cotangent: symbolic,
            leaves,
        } = Derivative::of(&reduction);
        let mut pairs = Self {
            reduction,
            cotangent: symbolic,
            operands: operands.into_iter().map(cast).collect(),
            others: Vec::new(),
            parameters: Vec::new(),
            dtypes,
        };
        for (var, source) in leaves {
            let tensor = match source {
                Source::Parameter(value) => {
                    pairs.parameters.push((var, value));
                    continue;
                }
                Source::Rows(numbers) => {
                    let len = numbers.len();
                    let data = TensorData::new(numbers, [len]).convert_dtype(computed.into());
                    B::float_from_data(data, &pairs.operands[0].device())
                }
                Source::Cotangent => order.rows::<B>(cast(cotangent.clone())),
                Source::Result => {
                    let values = kept.values.clone().expect("the result is kept");
                    order.rows::<B>(values)
                }
                Source::Indices => {
                    let indices = kept.indices.clone().expect("indices are kept");
                    let places = order.places::<B>(indices);
                    order.rows::<B>(B::int_into_float(places, computed))
                }
                Source::State => order.rows::<B>(kept.state.clone().expect("it is kept")),
                Source::Reduced(kind, root) => pairs.reduced(kind, &root),
            };
            let tensor = pairs.rows(tensor, var.dim);
            pairs.others.push((var, tensor));
        }
        pairs
    }

    /// A tensor with `dim` numbers for each row of the result, in the shape of an operand.
    fn rows(&self, tensor: FloatTensor<B>, dim: usize) -> FloatTensor<B> {
        let mut shape = self.reduction.batch.clone();
        shape.extend([self.reduction.size(self.reduction.axis.other()), dim]);
        B::float_reshape(tensor, Shape::from(shape))
    }

    /// The result of a reduction of another formula of the same operands.
    fn reduced(&self, kind: ReductionKind, root: &Expr) -> FloatTensor<B> {
        let dim = root.dim();
        let axis = self.reduction.axis;
        self.reduce(root, kind, axis, None).unwrap_or_else(|equal| {
            let operand = &self.operands[0];
            let rows = self.reduction.size(axis.other());
            let count: usize = self.reduction.batch.iter().product();
            let data = TensorData::new(equal.repeat(count * rows), [count * rows * dim]);
            let data = data.convert_dtype(operand.dtype());
            B::float_from_data(data, &operand.device())
        })
    }

    /// The variable and the tensor of a leaf.
    fn tensor(&self, leaf: &Var) -> (Var, FloatTensor<B>) {
        let id = leaf.id as usize;
        match self.others.iter().find(|(var, _)| var.id == leaf.id) {
            Some((var, tensor)) => (*var, tensor.clone()),
            None => {
                let own = &self.reduction.formula;
                (own.vars()[id], self.operands[own.source(id)].clone())
            }
        }
    }

    /// The values of the run-time scalars among the leaves.
    fn scalars(&self, leaves: &[Var]) -> Vec<f64> {
        let scalars = leaves.iter().filter(|leaf| leaf.scalar);
        let number = |leaf: &Var| {
            let own = self.parameters.iter().find(|(var, _)| var == leaf);
            let source = || self.reduction.formula.source(leaf.id as usize);
            own.map_or_else(|| self.reduction.scalars[source()], |(_, value)| *value)
        };
        scalars.map(number).collect()
    }

    /// The reduction of `root` over `axis`, where `root` is a formula of the operands and of the other leaves. With
    /// `fold`, rows are added up into `fold` rows. If simplification leaves no tensor, all rows are equal, and the
    /// values of one row are returned as the error.
    fn reduce(
        &self,
        root: &Expr,
        kind: ReductionKind,
        axis: Axis,
        fold: Option<usize>,
    ) -> Result<FloatTensor<B>, Vec<f64>> {
        let (mut formula, mut leaves) = Formula::new(root);
        if self.reduction.ranges.is_some() && leaves.iter().all(|leaf| leaf.scalar) {
            // Rows have different numbers of pairs, so that they are not equal.
            let tensor = self.reduction.formula.tensors().next();
            let tensor = tensor.expect("a formula that is differentiated has a tensor");
            (formula, leaves) = Formula::new(&anchored(root, *tensor));
        }
        let tensors = leaves.iter().filter(|leaf| !leaf.scalar);
        let tensors: Vec<FloatTensor<B>> = tensors.map(|leaf| self.tensor(leaf).1).collect();
        let reduction = Reduction {
            scalars: self.scalars(&leaves),
            formula,
            kind,
            wanted: Wanted::VALUES,
            values: None,
            axis,
            squeezed: false,
            fold,
            ..self.reduction.clone()
        };
        if tensors.is_empty() {
            return Err(reduction.equal_rows().0);
        }
        let reduced = B::lazy_reduce(Operands(tensors), reduction);
        Ok(reduced.values.expect("they are wanted"))
    }

    /// The gradients by the operands at the positions `wanted`.
    ///
    /// Gradients by operands that are summed over the same axis come from one pass over the pairs, so that values
    /// that they share, such as exponentials, are computed once.
    fn gradients(&self, wanted: &[usize]) -> Vec<(usize, FloatTensor<B>)> {
        let vars: Vec<Var> = self.reduction.formula.tensors().copied().collect();
        let axis = self.reduction.axis;
        let of = |axes: Dependence| -> Vec<usize> {
            let own = wanted.iter().copied().filter(|k| vars[*k].axes == axes);
            own.collect()
        };
        let on = |axis: Axis| of(Some(axis).into());
        let (mut rows, columns) = (on(axis.other()), on(axis));
        // The gradient by a parameter is summed like the gradient by an operand of the axis that is not reduced, and
        // then over the rows.
        let parameters = of(Dependence::default());
        let mut groups = vec![(columns, Summed::Over(axis.other(), None))];
        match self.fold(parameters.iter().map(|k| vars[*k].dim).sum()) {
            None => rows.extend(parameters),
            fold => groups.push((parameters, Summed::Over(axis, fold))),
        }
        groups.push((rows, Summed::Over(axis, None)));
        // Gradients by tensors of pairs that batches share are added up over these batches meanwhile, each in a group
        // of its own.
        let sharing = |k: usize| {
            let shape = self.operands[k].shape();
            shared(&self.reduction.batch, &shape, vars[k].axes)
        };
        let of_pairs = of(Dependence::BOTH).into_iter();
        let (added, kept): (Vec<usize>, Vec<usize>) =
            of_pairs.partition(|k| !sharing(*k).is_empty());
        groups.push((kept, Summed::Not(vec![])));
        groups.extend(
            added
                .into_iter()
                .map(|k| (vec![k], Summed::Not(sharing(k)))),
        );

        let root = self.reduction.formula.root();
        let mut all = Vec::new();
        for (own, summed) in groups {
            if own.is_empty() {
                continue;
            }
            let gradient = |k: &usize| root.pullback(&vars[*k], self.cotangent.clone());
            let joint = Expr::concat(own.iter().map(gradient).collect());
            let sums = match summed {
                Summed::Over(axis, fold) => self.sums(&joint, axis, fold),
                Summed::Not(shared) => self.entries(&joint, &shared),
            };
            let mut start = 0;
            for k in own {
                let (var, operand) = (&vars[k], &self.operands[k]);
                let end = start + var.dim;
                let gradient = match &sums {
                    Some(sums) => {
                        let part = match joint.dim() == var.dim {
                            true => sums.clone(),
                            false => {
                                let last = sums.shape().num_dims() - 1;
                                narrow::<B>(sums.clone(), last, start..end)
                            }
                        };
                        let part = match var.is_parameter() {
                            true => self.add_rows(part),
                            false => part,
                        };
                        let shape = (operand.shape(), var.axes);
                        add_batches::<B>(part, self.reduction.batch.len(), shape)
                    }
                    None => {
                        let dtype = operand.dtype().into();
                        B::float_zeros(operand.shape(), &operand.device(), dtype)
                    }
                };
                all.push((k, cast_of::<B>(gradient, self.dtypes[k])));
                start = end;
            }
        }
        all
    }

    /// The number of rows into which the rows of gradients by parameters are added up, if there are too many rows to
    /// store. `dim` is the number of components of these parameters together.
    fn fold(&self, dim: usize) -> Option<usize> {
        let batches = self.reduction.batch.iter().product::<usize>().max(1);
        let most = (FOLDED_NUMBERS / (dim * batches).max(1)).max(FOLDED_ROWS.div_ceil(batches));
        let rows = self.reduction.size(self.reduction.axis.other());
        // Kernels do not add up rows that have ranges.
        (rows > most && self.reduction.ranges.is_none()).then_some(most)
    }

    /// The sums of `root` over `axis`, `[batch.., rows or fold, dim]`. None if they are 0.
    fn sums(&self, root: &Expr, axis: Axis, fold: Option<usize>) -> Option<FloatTensor<B>> {
        let kind = ReductionKind::Sum(match self.reduction.kind {
            ReductionKind::Sum(accumulation) => accumulation,
            _ => Accumulation::Blocks,
        });
        match self.reduce(root, kind, axis, fold) {
            // There are no batches or no rows.
            Ok(sums) if sums.shape().num_elements() == 0 => None,
            Ok(sums) => Some(sums),
            Err(equal) if equal.iter().all(|value| *value == 0.0) => None,
            Err(equal) => unreachable!("a gradient without tensors is 0, not {equal:?}"),
        }
    }

    /// Adds up the rows of `[batch.., rows, dim]` to `[batch.., 1, dim]`, as exactly as other sums.
    fn add_rows(&self, tensor: FloatTensor<B>) -> FloatTensor<B> {
        let shape = tensor.shape();
        let [rows, dim] = [2, 1].map(|back| shape[shape.num_dims() - back]);
        let column = Expr::var(Var {
            id: 0,
            axes: Some(Axis::J).into(),
            dim,
            scalar: false,
        });
        let reduction = Reduction {
            formula: Formula::new(&column).0,
            kind: ReductionKind::Sum(Accumulation::Blocks),
            wanted: Wanted::VALUES,
            values: None,
            axis: Axis::J,
            m: 1,
            n: rows,
            squeezed: false,
            ranges: None,
            scalars: vec![],
            ..self.reduction.clone()
        };
        let reduced = B::lazy_reduce(Operands(vec![tensor]), reduction);
        reduced.values.expect("they are wanted")
    }
}

/// The orders in which ranges count rows and columns, where they are not those of the indices.
struct Order {
    /// The dimension of the rows in a result.
    dim: usize,
    rows: Option<Arc<[u32]>>,
    columns: Option<Arc<[u32]>>,
}

impl Order {
    fn of(reduction: &Reduction) -> Self {
        let ranges = reduction.ranges.as_ref();
        let of = |axis| ranges.and_then(|ranges| ranges.order(axis)).cloned();
        Self {
            dim: reduction.batch.len(),
            rows: of(reduction.axis.other()),
            columns: of(reduction.axis),
        }
    }

    /// The rows of a result in the order of the ranges.
    fn rows<B: Backend>(&self, tensor: FloatTensor<B>) -> FloatTensor<B> {
        match &self.rows {
            None => tensor,
            Some(order) => {
                let order = order.iter().map(|at| i64::from(*at)).collect();
                let order = integers::<B>(order, &tensor.device());
                B::float_select(tensor, self.dim, order)
            }
        }
    }

    /// The places at which the ranges count the columns with these indices. An index of -1 stays -1.
    fn places<B: Backend>(&self, indices: IntTensor<B>) -> IntTensor<B> {
        let Some(order) = &self.columns else {
            return indices;
        };
        let places = inverse(order).into_iter().map(|at| at as i64);
        // The first number is for the index -1.
        let places = std::iter::once(-1).chain(places).collect();
        let places = integers::<B>(places, &indices.device());
        let shape = indices.shape();
        let behind = B::int_add_scalar(indices, 1.into());
        let flat = B::int_reshape(behind, Shape::from(vec![shape.num_elements()]));
        B::int_reshape(B::int_select(places, 0, flat), shape)
    }
}

fn integers<B: Backend>(values: Vec<i64>, device: &Device<B>) -> IntTensor<B> {
    let len = values.len();
    B::int_from_data(TensorData::new(values, [len]), device)
}

/// What a gradient is summed over.
enum Summed {
    /// Over an axis. If there is a number, rows are added up into this many rows.
    Over(Axis, Option<usize>),
    /// Over no axis, as the gradient is by a tensor of pairs, but over these batch dimensions, which share the
    /// tensor.
    Not(Vec<usize>),
}

/// The largest number of values that are stored for gradients by parameters before rows are added up, and for
/// gradients by tensors of pairs before batches are added up: 16 MiB in F32.
const FOLDED_NUMBERS: usize = 1 << 22;

/// At least this many rows are stored in all batches together, as fewer would leave a large device idle.
const FOLDED_ROWS: usize = 1 << 14;

/// The rows of `[batch.., fold, dim]`, repeated to `[batch.., rows, dim]`.
fn repeat<B: Backend>(tensor: FloatTensor<B>, fold: usize, rows: usize) -> FloatTensor<B> {
    let axis = tensor.shape().num_dims() - 2;
    let repeated = B::float_repeat_dim(tensor, axis, rows.div_ceil(fold));
    narrow::<B>(repeated, axis, 0..rows)
}

/// Adds up a gradient over the batch dimensions along which the operand of shape `shape` was broadcast. There are
/// `batch_rank` batch dimensions. The rows of a gradient by a parameter have been added up to one row before.
fn add_batches<B: Backend>(
    gradient: FloatTensor<B>,
    batch_rank: usize,
    (shape, axes): (Shape, Dependence),
) -> FloatTensor<B> {
    let full = gradient.shape();
    let dims = shared(&full[..batch_rank], &shape, axes);
    let gradient = match dims.is_empty() {
        true => gradient,
        false => B::float_sum_dims(gradient, &dims),
    };
    B::float_reshape(gradient, shape)
}

/// The operands as the `N` parents of a node.
fn parents<B: Backend, C: CheckpointStrategy, const N: usize>(
    operands: Operands<Autodiff<B, C>>,
) -> [FloatTensor<Autodiff<B, C>>; N] {
    let tensors = operands.0.try_into();
    tensors.unwrap_or_else(|_| unreachable!("matched by the number of operands"))
}

fn tracked<B: Backend + LazyOps, C: CheckpointStrategy, const N: usize>(
    operands: Operands<Autodiff<B, C>>,
    reduction: Reduction,
) -> Reduced<Autodiff<B, C>> {
    let tensors = parents::<B, C, N>(operands);
    let inner = || Operands(tensors.iter().map(|t| t.primitive().clone()).collect());
    if !reduction.wanted.values {
        let indices = B::lazy_reduce(inner(), reduction).indices;
        return Reduced {
            values: None,
            indices,
            state: None,
        };
    }
    let nodes = tensors.each_ref().map(|t| t.node());
    let prepared = <Reduce as Backward<B, N>>::prepare::<C>(Reduce::Values, nodes);
    match prepared.compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let selection = reduction.kind.selects();
            let dtype = tensors[0].primitive().dtype();
            let needs_result = reduction.kind.needs_result();
            let mut all = reduction.clone();
            all.wanted.indices |= selection;
            all.wanted.state = reduction.kind.has_state();
            if needs_result && computed(dtype) != dtype {
                all.values = Some(computed(dtype).into());
            }
            let reduced = B::lazy_reduce(inner(), all);
            let values = reduced.values.expect("they are wanted");
            let given = cast_of::<B>(values.clone(), reduction.values_dtype(dtype).into());
            let wanted = reduction.wanted;
            let state = reduced.state.clone().filter(|_| wanted.state);
            let state =
                state.map(|state| exponentials::of_scores::<B, C>(&tensors, &reduction, state));
            let kept = Kept {
                operands: tensors.iter().map(|t| prep.checkpoint(t)).collect(),
                values: needs_result.then_some(values),
                indices: reduced.indices.clone().filter(|_| selection),
                state: reduced.state,
                reduction,
            };
            Reduced {
                values: Some(prep.finish(kept, given)),
                indices: reduced.indices.filter(|_| wanted.indices),
                state,
            }
        }
        OpsKind::UnTracked(prep) => {
            let reduced = B::lazy_reduce(inner(), reduction);
            Reduced {
                values: reduced.values.map(|values| prep.finish(values)),
                indices: reduced.indices,
                state: reduced
                    .state
                    .map(<Autodiff<B, C> as AutodiffBackend>::from_inner),
            }
        }
    }
}

impl<B: Backend + LazyOps, C: CheckpointStrategy> LazyOps for Autodiff<B, C> {
    fn lazy_reduce(operands: Operands<Self>, reduction: Reduction) -> Reduced<Self> {
        by_count!(tracked, operands, reduction)
    }
}
