//! Picks rows or columns of a symbolic matrix, or one matrix of a batch.

use std::{cell::OnceCell, sync::Arc};

use burn::{
    backend::{
        Dispatch, DispatchTensor,
        ops::{FloatTensorOps, IntTensorOps},
    },
    tensor::{Int, Shape, Tensor, TensorData},
};
use burn_lazy_kernels::{Axis, Expr, expr::Place, place_in};

use crate::{
    backends::narrow,
    error::LazyError,
    lazy::LazyTensor,
    operand::{Operand, TensorValue},
};

impl LazyTensor {
    /// The rows (or columns) at `indices` of this matrix, as a symbolic matrix.
    pub(crate) fn select(&self, axis: Axis, indices: &[usize]) -> Result<Self, LazyError> {
        self.check_axis(axis)?;
        Ok(Self {
            ranges: self.ranges.as_ref().map(|own| own.select(axis, indices)),
            ..self.selected(axis, indices)?
        })
    }

    /// Like [`select`](Self::select), but all pairs exist in the result. The size of the axis must be known.
    pub(crate) fn selected(&self, axis: Axis, indices: &[usize]) -> Result<Self, LazyError> {
        let numbers = self.numbered(indices).into_dispatch();
        self.picked(axis, indices, |tensor| {
            let dim = tensor.shape.len() - 2;
            Dispatch::float_select(tensor.tensor.clone(), dim, numbers.clone())
        })
    }

    /// All rows (or columns) in another order, which `indices` and `order` both hold. All pairs exist in the result.
    /// If an operand keeps a copy of its rows in this order, the copy is used.
    pub(crate) fn sorted(
        &self,
        axis: Axis,
        (indices, order): (&[usize], &Arc<[u32]>),
    ) -> Result<Self, LazyError> {
        let numbers = OnceCell::new();
        self.picked(axis, indices, |tensor| match &tensor.sorted {
            Some((own, sorted)) if Arc::ptr_eq(own, order) => sorted.clone(),
            _ => {
                let numbers = numbers.get_or_init(|| self.numbered(indices).into_dispatch());
                let dim = tensor.shape.len() - 2;
                Dispatch::float_select(tensor.tensor.clone(), dim, numbers.clone())
            }
        })
    }

    /// Indices as a tensor on the device of this formula.
    pub(crate) fn numbered(&self, indices: &[usize]) -> Tensor<1, Int> {
        let device = self.extent().device.expect("it has tensors");
        let numbers: Vec<i64> = indices.iter().map(|index| *index as i64).collect();
        Tensor::from_data(TensorData::new(numbers, [indices.len()]), &device)
    }

    /// Matrix `number` of the batch, without batch dimensions.
    pub(crate) fn matrix(&self, number: usize) -> Result<Self, LazyError> {
        let batch = self.extent().batch;
        if batch.is_empty() {
            return Ok(self.clone());
        }
        let (expr, operands) = self.replace(
            |operand, tensor| {
                let own = of_batch(operand, tensor, (&batch, number));
                let shape = &tensor.shape[operand.batch().len()..];
                let matrix = Dispatch::float_reshape(own, Shape::from(shape.to_vec()));
                Ok((matrix, operand.var.axes))
            },
            Expr::place,
        )?;
        let ranges = self.ranges.as_ref();
        Ok(Self {
            expr,
            operands: Arc::new(operands),
            accumulation: self.accumulation,
            pruning: self.pruning,
            ranges: ranges.map(|own| own.matrix(&batch, number)),
        })
    }

    /// For each matrix of the batch, the rows (or columns) at its own list of indices. All lists have the same
    /// length.
    pub(crate) fn gathered(&self, axis: Axis, indices: &[Vec<usize>]) -> Result<Self, LazyError> {
        let batch = self.extent().batch;
        if batch.is_empty() {
            return self.select(axis, &indices[0]);
        }
        self.check_axis(axis)?;
        let shape = |rest: &[usize]| Shape::from([&batch, rest].concat());
        let numbers: Vec<Tensor<1, Int>> = indices.iter().map(|own| self.numbered(own)).collect();
        let index = || {
            let numbers = Tensor::cat(numbers.clone(), 0).into_dispatch();
            let shape = shape(&[indices[0].len(), 1]);
            let device = self.extent().device.expect("it has tensors");
            Operand::dispatch(Dispatch::int_reshape(numbers, shape), device, Some(axis))
        };
        let gathered = self.picked_by(axis, index, |operand, tensor, dim| {
            // The dimension of the axis in the result of `of_batch`, which has one batch dimension.
            let dim = 1 + dim - operand.batch().len();
            let pick = |(number, own): (usize, &Tensor<1, Int>)| {
                let matrix = of_batch(operand, tensor, (&batch, number));
                Dispatch::float_select(matrix, dim, own.clone().into_dispatch())
            };
            let all = Dispatch::float_cat(numbers.iter().enumerate().map(pick).collect(), 0);
            let mut rest = tensor.shape[operand.batch().len()..].to_vec();
            rest[dim - 1] = indices[0].len();
            Dispatch::float_reshape(all, shape(&rest))
        })?;
        let ranges = self.ranges.as_ref();
        Ok(Self {
            ranges: ranges.map(|own| own.gathered(axis, (&batch, indices))),
            ..gathered
        })
    }

    /// Like [`selected`](Self::selected), but `pick` gives the rows at `indices` of a tensor that varies along one
    /// axis.
    pub(crate) fn picked(
        &self,
        axis: Axis,
        indices: &[usize],
        pick: impl Fn(&TensorValue) -> DispatchTensor,
    ) -> Result<Self, LazyError> {
        let index = || {
            let numbers = self.numbered(indices).reshape([indices.len(), 1]);
            Operand::tensor(numbers, Some(axis))
        };
        self.picked_by(axis, index, |operand, tensor, dim| {
            match operand.var.is_of_pairs() {
                true => {
                    let numbers = self.numbered(indices).into_dispatch();
                    Dispatch::float_select(tensor.tensor.clone(), dim, numbers)
                }
                false => pick(tensor),
            }
        })
    }

    /// Some rows (or columns), with all pairs. `pick` gives them for a tensor that varies along the axis; its last
    /// argument is the dimension of the tensor that is the axis. `index` gives their indices as an operand.
    fn picked_by(
        &self,
        axis: Axis,
        index: impl FnOnce() -> Result<Operand, LazyError>,
        pick: impl Fn(&Operand, &TensorValue, usize) -> DispatchTensor,
    ) -> Result<Self, LazyError> {
        let is_read = self.expr.reads_index(axis);
        // Some operand must have the size of the axis.
        let has_size = self.operands.iter().any(|own| own.var.axes.on(axis));
        // The operand is of kind Int, as F16 and BF16 hold few indices.
        let here = (is_read || !has_size).then(index).transpose()?;
        let index = |of: Axis| match (of == axis, &here) {
            (true, Some(here)) => here.expr(),
            _ => Expr::place(Place::Index(of)),
        };
        let (expr, mut operands) = self.replace(
            |operand, tensor| {
                let picked = match operand.dimension(axis) {
                    Some(dim) => pick(operand, tensor, dim),
                    None => tensor.tensor.clone(),
                };
                Ok((picked, operand.var.axes))
            },
            |place| match place {
                Place::Index(of) => index(of),
                Place::Offset => index(Axis::I) - index(Axis::J),
            },
        )?;
        operands.extend(here);
        Ok(Self {
            expr,
            operands: Arc::new(operands),
            accumulation: self.accumulation,
            pruning: self.pruning,
            ranges: None,
        })
    }
}

/// The part of an operand's tensor that belongs to matrix `number` of the batch dimensions `batch`. It has one batch
/// dimension, of size 1.
fn of_batch(
    operand: &Operand,
    tensor: &TensorValue,
    (batch, number): (&[usize], usize),
) -> DispatchTensor {
    let own = operand.batch();
    let mut shape: Vec<usize> = vec![own.iter().product()];
    shape.extend(&tensor.shape[own.len()..]);
    let flat = Dispatch::float_reshape(tensor.tensor.clone(), Shape::from(shape));
    let at = place_in(own, batch, number);
    narrow::<Dispatch>(flat, 0, at..at + 1)
}
