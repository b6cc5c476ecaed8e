//! How a reduction is requested, checked and passed to the backend.

use std::sync::Arc;

use burn::{
    backend::{
        Dispatch, DispatchTensor, TensorMetadata,
        ops::{BoolTensorOps, FloatTensorOps, IntTensorOps},
    },
    tensor::{Bool, DType, Device, Int, Shape, Slice, Tensor, TensorData},
};
use burn_lazy_kernels::{Axis, Expr, Formula, ReductionKind, Wanted, expr::Var};

use crate::{
    backends::{Unsupported, check, check_reduction, computed},
    error::LazyError,
    kept::Kept,
    lazy::LazyTensor,
    operand::{Operand, Value},
    ops::{LazyOps, Operands, Reduced, Reduction, anchored, cast_of},
};

/// A reduction as a method requests it.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub kind: ReductionKind,
    pub wanted: Wanted,
    pub axis: Axis,
    squeezed: bool,
    wide: bool,
}

impl Request {
    pub(crate) fn new(kind: ReductionKind, wanted: Wanted, axis: Axis) -> Self {
        Self {
            kind,
            wanted,
            axis,
            squeezed: false,
            wide: false,
        }
    }

    /// The same request. If `squeezed`, the result leaves out the axis that is not reduced, which has size 1.
    pub(crate) fn squeezed(self, squeezed: bool) -> Self {
        Self { squeezed, ..self }
    }

    /// The same request, also for the maxima and sums of exponentials that the values are computed from.
    pub(crate) fn with_state(self) -> Self {
        let wanted = Wanted {
            state: true,
            ..self.wanted
        };
        Self { wanted, ..self }
    }

    /// The same request for values in the type in which kernels compute: F32 for F16 and BF16.
    pub(crate) fn wide(self) -> Self {
        Self { wide: true, ..self }
    }
}

impl LazyTensor {
    /// Checks that there is a tensor, which determines the device.
    pub(crate) fn check_tensor(&self) -> Result<(), LazyError> {
        match self.extent().device {
            Some(_) => Ok(()),
            None => Err(LazyError::NoTensor(self.boxed_info())),
        }
    }

    pub(crate) fn check_axis(&self, axis: Axis) -> Result<(), LazyError> {
        match self.extent().size(axis) {
            Some(_) => Ok(()),
            None => Err(LazyError::MissingAxis {
                axis,
                formula: self.boxed_info(),
            }),
        }
    }

    /// Runs a reduction whose result is a tensor of `R` dimensions.
    pub(crate) fn reduce<const R: usize>(
        &self,
        operation: &'static str,
        request: Request,
    ) -> Result<Reduced<Dispatch>, LazyError> {
        self.check_axis(request.axis)?;
        let prepared = self.reduction(request)?;
        #[cfg(feature = "autodiff")]
        self.check_selection(operation, &prepared)?;
        let shape = prepared.reduction.output_shape();
        self.check_rank::<R>(operation, &shape)?;
        if let Some(ordered) = self.in_order()? {
            return ordered.run(ordered.reduction(request)?);
        }
        let fewer = match self.pruned(request) {
            Ok(Some(pruned)) => Some(pruned),
            Ok(None) => self.of_masks(request),
            // The device may refuse ranges. It may still run all pairs.
            Err(LazyError::Launch { .. }) => None,
            Err(error) => return Err(error),
        };
        match fewer.map(|fewer| fewer.run_pruned(request)) {
            None | Some(Err(LazyError::Launch { .. })) => self.run(prepared),
            Some(results) => results,
        }
    }

    /// Runs a reduction of sorted operands. Selected values are the same in every bit as those of unsorted operands.
    /// For this, indices are computed even if they are not requested: they decide between 0 and -0, which are equal.
    fn run_pruned(&self, request: Request) -> Result<Reduced<Dispatch>, LazyError> {
        let mut prepared = self.reduction(request)?;
        prepared.reduction.wanted.indices |= request.kind.selects();
        let reduced = self.run(prepared)?;
        Ok(Reduced {
            indices: reduced.indices.filter(|_| request.wanted.indices),
            ..reduced
        })
    }

    /// This formula with its operands in the order in which its ranges count them. None if they are in this order.
    fn in_order(&self) -> Result<Option<Self>, LazyError> {
        let Some(ranges) = self.ranges.as_ref().filter(|ranges| ranges.is_ordered()) else {
            return Ok(None);
        };
        self.check_tensor()?;
        let orders = [Axis::I, Axis::J].map(|axis| ranges.order(axis).cloned());
        Ok(Some(Self {
            ranges: self.ranges.clone(),
            ..self.in_orders(&orders)?
        }))
    }

    /// This formula with its rows and columns in the given orders. An order drops the ranges.
    pub(crate) fn in_orders(&self, orders: &[Option<Arc<[u32]>>; 2]) -> Result<Self, LazyError> {
        let mut ordered = self.clone();
        for (axis, order) in [Axis::I, Axis::J].into_iter().zip(orders) {
            if let Some(order) = order {
                let indices: Vec<usize> = order.iter().map(|at| *at as usize).collect();
                ordered = ordered.sorted(axis, (&indices, order))?;
            }
        }
        Ok(ordered)
    }

    /// Checks that a result of this shape is a tensor of `R` dimensions.
    pub(crate) fn check_rank<const R: usize>(
        &self,
        operation: &'static str,
        shape: &[usize],
    ) -> Result<(), LazyError> {
        match shape.len() == R {
            true => Ok(()),
            false => Err(LazyError::OutputRank {
                operation,
                shape: shape.to_vec(),
                rank: R,
                formula: self.boxed_info(),
            }),
        }
    }

    fn reduction(&self, request: Request) -> Result<Prepared, LazyError> {
        let Request {
            kind,
            wanted,
            axis,
            squeezed,
            wide,
        } = request;
        let extent = self.extent();
        let Some(device) = &extent.device else {
            return Err(LazyError::NoTensor(self.boxed_info()));
        };
        let (formula, leaves) = self.anchored();
        let operand = |leaf: &Var| {
            let operand = self.operands.iter().find(|operand| operand.var == *leaf);
            operand.expect("every leaf is an operand")
        };
        let dtype = self.computed(leaves.iter().map(operand));
        let mut tensors = Vec::new();
        let mut scalars = Vec::new();
        for leaf in &leaves {
            match &operand(leaf).value {
                Value::Tensor(tensor) => tensors.push(tensor.read_as(dtype)),
                Value::Scalar(value) => scalars.push(*value),
            }
        }
        let reduction = Reduction {
            formula,
            kind,
            wanted,
            values: match computed(dtype) {
                computed if wide && computed != dtype => Some(computed.into()),
                _ => None,
            },
            indices: device.settings().int_dtype,
            axis,
            batch: extent.batch.clone(),
            m: extent.m.unwrap_or(1),
            n: extent.n.unwrap_or(1),
            squeezed,
            fold: None,
            ranges: self.ranges.clone(),
            scalars,
        };
        // Simplification has removed the other operands from the formula, so that their gradient is 0.
        let is_dropped = |operand: &&Operand| !leaves.contains(&operand.var);
        let dropped = self.operands.iter().filter(is_dropped);
        let dropped = dropped.filter_map(Operand::as_tensor);
        let dropped = dropped.filter(|tensor| wanted.values && tensor.is_tracked());
        Ok(Prepared {
            reduction,
            tensors,
            dtype,
            wide,
            dropped: dropped.map(|tensor| tensor.tensor.clone()).collect(),
        })
    }

    /// Checks that the backward pass can find selected values again: their indices must be exact in the type in which
    /// gradients are computed.
    #[cfg(feature = "autodiff")]
    fn check_selection(
        &self,
        operation: &'static str,
        prepared: &Prepared,
    ) -> Result<(), LazyError> {
        use crate::backends::EXACT_INDICES;

        let Prepared {
            reduction, dtype, ..
        } = prepared;
        let columns = reduction.size(reduction.axis);
        let fits = columns <= EXACT_INDICES || computed(*dtype) == DType::F64;
        let is_needed = || reduction.wanted.values && self.is_tracked();
        match fits || !reduction.kind.selects() || !is_needed() {
            true => Ok(()),
            false => Err(LazyError::TooManyTracked {
                operation,
                columns,
                dtype: *dtype,
                limit: EXACT_INDICES,
                formula: self.boxed_info(),
            }),
        }
    }

    /// The type of the operands as kernels read them. It is the type of the formula, except if a formula of F16 or
    /// BF16 has integer operands. These types hold few integers, so it is F32 then.
    fn computed<'a>(&self, mut operands: impl Iterator<Item = &'a Operand>) -> DType {
        let dtype = self.extent().dtype.expect("there is a tensor operand");
        let is_half = matches!(dtype, DType::F16 | DType::BF16);
        match is_half && operands.any(Operand::is_int) {
            true => DType::F32,
            false => dtype,
        }
    }

    /// The formula and its leaves. If a kernel must compute it, a tensor is among the leaves. A formula of row and
    /// column indices alone has no tensor, and neither has a number in a matrix with ranges, but a kernel needs one.
    fn anchored(&self) -> (Formula, Vec<Var>) {
        let (formula, leaves) = simplified(&self.expr);
        let dependence = self.expr.dependence();
        let varies = dependence.i || dependence.j || self.ranges.is_some();
        if !varies || leaves.iter().any(|leaf| !leaf.scalar) {
            return (formula, leaves);
        }
        let tensor = self.operands.iter().find(|o| o.as_tensor().is_some());
        let tensor = tensor.expect("there is a tensor operand");
        simplified(&anchored(&self.expr, tensor.var))
    }

    pub(crate) fn reduce_unchecked(
        &self,
        request: Request,
    ) -> Result<Reduced<Dispatch>, LazyError> {
        let ordered = self.in_order()?;
        let own = ordered.as_ref().unwrap_or(self);
        own.run(own.reduction(request)?)
    }

    fn run(&self, prepared: Prepared) -> Result<Reduced<Dispatch>, LazyError> {
        let Prepared {
            reduction,
            tensors,
            dtype,
            wide,
            dropped,
        } = prepared;
        let extent = self.extent();
        let device = extent.device.as_ref().expect("checked above");
        self.check_count(device, tensors.len())?;
        let shapes: Vec<Vec<usize>> = tensors
            .iter()
            .map(|tensor| tensor.shape().to_vec())
            .collect();
        // The derivative of exponentials needs the maxima that they are relative to, and their sums.
        let mut wanted = reduction.wanted;
        wanted.state |= reduction.kind.has_state() && wanted.values && self.is_tracked();
        check_reduction(device, dtype, (&reduction, wanted), &shapes)
            .map_err(|error| self.unsupported(device, error))?;
        #[cfg(feature = "autodiff")]
        if reduction.wanted.values && self.is_tracked() {
            self.check_backward(device, dtype, &reduction)?;
        }
        let written = reduction.values_dtype(dtype);
        let reduced = match tensors.is_empty() {
            true => constant(&reduction, device, written),
            false => <Dispatch as LazyOps>::lazy_reduce(Operands(tensors), reduction),
        };
        let own = extent.dtype.expect("there is a tensor operand");
        let own = if wide { computed(own) } else { own };
        let values = reduced.values.map(|values| {
            let values = cast_of::<Dispatch>(values, own.into());
            dropped.into_iter().fold(values, with_graph_of)
        });
        Ok(Reduced { values, ..reduced })
    }

    /// Checks that the reductions of the backward pass do not read more tensors than a kernel can bind.
    #[cfg(feature = "autodiff")]
    fn check_backward(
        &self,
        device: &Device,
        dtype: DType,
        reduction: &Reduction,
    ) -> Result<(), LazyError> {
        /// The largest number of tensors of a derivative besides the operands: the cotangent, the result, its
        /// indices, its state, and two other reductions.
        const MORE: usize = 6;
        let kind = ReductionKind::Sum(burn_lazy_kernels::Accumulation::Blocks);
        // The ranges take one more buffer. They have no order, as the operands of the backward pass are sorted.
        let ranges = usize::from(reduction.ranges.is_some());
        let own = computed(dtype);
        let binds = |count| check(device, Some(own), kind, Wanted::VALUES, count + ranges);
        // Making the derivative takes time, and few formulas have so many operands that it is needed for this check.
        let count = reduction.formula.tensors().count();
        if binds(count + MORE).is_ok() {
            return Ok(());
        }
        let derivative = crate::backward::Derivative::of(reduction);
        binds(derivative.tensors(reduction)).map_err(|error| self.unsupported(device, error))
    }

    /// Checks that the backend runs a reduction of formulas of `count` tensors.
    pub(crate) fn check_device(
        &self,
        device: &Device,
        dtype: Option<DType>,
        (kind, wanted): (ReductionKind, Wanted),
        count: usize,
    ) -> Result<(), LazyError> {
        self.check_count(device, count)?;
        check(device, dtype, kind, wanted, count).map_err(|error| self.unsupported(device, error))
    }

    /// Checks that `count` tensors are not too many for autodiff.
    pub(crate) fn check_count(&self, device: &Device, count: usize) -> Result<(), LazyError> {
        #[cfg(feature = "autodiff")]
        if count > crate::backends::MAX_OPERANDS && device.is_autodiff() {
            return Err(LazyError::TooManyOperands {
                count,
                limit: crate::backends::MAX_OPERANDS,
                formula: self.boxed_info(),
            });
        }
        let _ = (device, count);
        Ok(())
    }

    /// The error that the backend cannot run this formula.
    pub(crate) fn unsupported(&self, device: &Device, error: Unsupported) -> LazyError {
        match error {
            Unsupported::Backend => LazyError::Backend {
                device: format!("{device:?}"),
            },
            Unsupported::Launch(error) => LazyError::Launch {
                error,
                formula: self.boxed_info(),
            },
            Unsupported::Sent(reason) => LazyError::Sent {
                reason,
                formula: self.boxed_info(),
            },
        }
    }
}

/// The simplified formula of an expression, and its leaves, as [`Formula::new`] makes them. Expressions that are
/// written alike share one cached formula.
pub(crate) fn simplified(expr: &Expr) -> (Formula, Vec<Var>) {
    static FORMULAS: Kept<u128, (Formula, Vec<usize>)> = Kept::new();

    let (digest, leaves) = expr.numbered();
    let made = FORMULAS.get(digest, |_| {
        let (formula, own) = Formula::new(expr);
        let place = |var: &Var| leaves.iter().position(|leaf| leaf == var);
        let places = own.iter().map(place).collect::<Option<Vec<usize>>>();
        (
            formula,
            places.expect("its leaves are some of the expression"),
        )
    });
    let (formula, places) = &*made;
    (
        formula.clone(),
        places.iter().map(|place| leaves[*place]).collect(),
    )
}

/// A reduction that is ready to run, with its operands.
struct Prepared {
    reduction: Reduction,
    /// The tensors in the order of the formula.
    tensors: Vec<DispatchTensor>,
    /// Their type.
    dtype: DType,
    /// Whether values stay in the type in which kernels compute.
    wide: bool,
    /// Tracked tensors that simplification has left out of the formula.
    dropped: Vec<DispatchTensor>,
}

/// The same `values`, plus a 0 that is made from `dropped`. So they become part of the autodiff graph of `dropped`,
/// and the gradient by `dropped` is 0 and not missing.
fn with_graph_of(values: DispatchTensor, dropped: DispatchTensor) -> DispatchTensor {
    let device = Tensor::<1>::from_dispatch(dropped.clone()).device();
    let (shape, rank) = (dropped.shape(), values.shape().num_dims());
    let first = match shape.num_elements() {
        // The sum of an empty tensor is a tensor of one 0.
        0 => Dispatch::float_sum(dropped),
        _ => Dispatch::float_slice(dropped, &vec![Slice::from(0..1); shape.num_dims()]),
    };
    // Masked, and not multiplied by 0, as it may be NaN.
    let first = Dispatch::float_reshape(first, Shape::from(vec![1; rank]));
    let all = Tensor::<1, Bool>::from_data([true], &device).into_dispatch();
    let all = Dispatch::bool_reshape(all, Shape::from(vec![1; rank]));
    let nothing = Dispatch::float_mask_fill(first, all, 0.0.into());
    let nothing = cast_of::<Dispatch>(nothing, values.dtype().into());
    Dispatch::float_add(values, nothing)
}

/// The reduction of a formula in which simplification left no tensor. All rows are equal.
fn constant(reduction: &Reduction, device: &Device, dtype: DType) -> Reduced<Dispatch> {
    let (values, indices) = reduction.equal_rows();
    let shape = reduction.output_shape();
    let mut row = vec![1; shape.num_dims()];
    let inner = match reduction.spec() {
        spec if spec.depth() > 1 && spec.width() > 1 => 2,
        _ => 1,
    };
    let start = row.len() - inner;
    row[start..].copy_from_slice(&shape.to_vec()[start..]);
    let wanted = reduction.wanted;
    let values = wanted.values.then(|| {
        let row_data = TensorData::new(values, [reduction.spec().entries()]);
        let tensor = Tensor::<1>::from_data(row_data, (device, dtype)).into_dispatch();
        let tensor = Dispatch::float_reshape(tensor, Shape::from(row.clone()));
        Dispatch::float_expand(tensor, shape.clone())
    });
    let indices = wanted.indices.then(|| {
        let row_data = TensorData::new(indices, [reduction.spec().entries()]);
        let options = (device, DType::from(reduction.indices));
        let tensor = Tensor::<1, Int>::from_data(row_data, options).into_dispatch();
        let tensor = Dispatch::int_reshape(tensor, Shape::from(row.clone()));
        Dispatch::int_expand(tensor, shape.clone())
    });
    Reduced {
        values,
        indices,
        state: None,
    }
}
