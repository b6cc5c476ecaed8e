//! Reductions of lazy tensors to Burn tensors.

use burn::{
    backend::Dispatch,
    tensor::{DType, Device, Tensor, TensorData},
};
use burn_lazy_kernels::{Axis, Formula, ReductionKind, reference};

use crate::{
    backends::{Unsupported, check},
    error::LazyError,
    lazy::{LazyTensor, expect},
    operand::Value,
    ops::{LazyOps, Operands, Reduction},
};

impl LazyTensor {
    /// The sum over a symbolic axis: $\sum_j f_{ij}$ of shape `[batch.., M, D]` over [`Axis::J`],
    /// $\sum_i f_{ij}$ of shape `[batch.., N, D]` over [`Axis::I`].
    ///
    /// Values are added in blocks with compensation between the blocks, so the error does not grow
    /// with the length of the axis; compilers of shaders may remove the compensation, which leaves plain
    /// sums of blocks. The sum over an empty axis is 0; NaN and infinities propagate.
    ///
    /// Differentiable through Burn's autodiff with respect to every operand. Tensors may have any
    /// strides.
    ///
    /// # Panics
    /// If `R` is not the number of batch dimensions plus 2, if no operand depends on the reduced
    /// axis, or if the device does not support the type of the operands.
    #[track_caller]
    pub fn sum<const R: usize>(&self, axis: Axis) -> Tensor<R> {
        expect(self.try_sum(axis))
    }

    /// Like [`sum`](Self::sum), with an error instead of a panic.
    pub fn try_sum<const R: usize>(&self, axis: Axis) -> Result<Tensor<R>, LazyError> {
        self.reduce("sum", ReductionKind::Sum, axis)
    }

    /// The product of this symbolic matrix $K$ with `b`: $a_{ie} = \sum_j K_{ij} b_{je}$.
    ///
    /// `b` has shape `[batch.., N, E]` and the result `[batch.., M, E]`; a vector `[N]` gives a
    /// vector `[M]`. Use [`t`](Self::t) for the product with the transpose.
    ///
    /// # Panics
    /// If the formula has an inner dimension other than 1, or `b` does not fit it; see also
    /// [`sum`](Self::sum).
    #[track_caller]
    pub fn matmul<const R: usize>(&self, b: Tensor<R>) -> Tensor<R> {
        expect(self.try_matmul(b))
    }

    /// Like [`matmul`](Self::matmul), with an error instead of a panic.
    pub fn try_matmul<const R: usize>(&self, b: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        if self.dim() != 1 {
            return Err(LazyError::NotScalar {
                operation: "matmul",
                formula: self.boxed_info(),
            });
        }
        if R == 1 {
            let b = LazyTensor::try_vj(b.unsqueeze_dim::<2>(1))?;
            let product: Tensor<2> = self.try_mul(b)?.try_sum(Axis::J)?;
            let [rows, _] = product.dims();
            return Ok(product.reshape(vector::<R>(rows)));
        }
        self.try_mul(LazyTensor::try_vj(b)?)?.try_sum(Axis::J)
    }

    fn reduce<const R: usize>(
        &self,
        operation: &'static str,
        kind: ReductionKind,
        axis: Axis,
    ) -> Result<Tensor<R>, LazyError> {
        let extent = self.extent();
        let Some(device) = &extent.device else {
            return Err(LazyError::NoTensor(self.boxed_info()));
        };
        if extent.size(axis).is_none() {
            return Err(LazyError::MissingAxis {
                axis,
                formula: self.boxed_info(),
            });
        }
        let (formula, leaves) = Formula::new(&self.expr);
        let mut tensors = Vec::new();
        let mut scalars = Vec::new();
        for leaf in leaves {
            let operand = self.operands.iter().find(|operand| operand.var == leaf);
            match &operand.expect("every leaf is an operand").value {
                Value::Tensor(tensor) => tensors.push(tensor.tensor.clone()),
                Value::Scalar(value) => scalars.push(*value),
            }
        }
        let reduction = Reduction {
            formula,
            kind,
            axis,
            batch: extent.batch.clone(),
            m: extent.m.unwrap_or(1),
            n: extent.n.unwrap_or(1),
            scalars,
        };
        let shape = reduction.output_shape();
        if shape.num_dims() != R {
            return Err(LazyError::OutputRank {
                operation,
                shape: shape.to_vec(),
                rank: R,
                formula: self.boxed_info(),
            });
        }
        self.check_device(device, extent.dtype, tensors.len())?;
        if tensors.is_empty() {
            return Ok(constant(&reduction, device, extent.dtype));
        }
        let out = <Dispatch as LazyOps>::lazy_reduce(Operands(tensors), reduction);
        Ok(Tensor::from_dispatch(out))
    }

    /// Checks what the backend would refuse for a formula of `count` tensors.
    fn check_device(
        &self,
        device: &Device,
        dtype: Option<DType>,
        count: usize,
    ) -> Result<(), LazyError> {
        #[cfg(feature = "autodiff")]
        if count > crate::backends::MAX_OPERANDS && device.is_autodiff() {
            return Err(LazyError::TooManyOperands {
                count,
                limit: crate::backends::MAX_OPERANDS,
                formula: self.boxed_info(),
            });
        }
        check(device, dtype, count).map_err(|error| match error {
            Unsupported::Backend => LazyError::Backend {
                device: format!("{device:?}"),
            },
            Unsupported::Launch(error) => LazyError::Launch {
                error,
                formula: self.boxed_info(),
            },
        })
    }
}

/// The shape of a vector, for a tensor that is known to be one.
fn vector<const R: usize>(len: usize) -> [usize; R] {
    [len; R]
}

/// The reduction of a formula in which simplification left no tensor: the same value everywhere.
fn constant<const R: usize>(
    reduction: &Reduction,
    device: &Device,
    dtype: Option<DType>,
) -> Tensor<R> {
    let scalars: Vec<[f64; 1]> = reduction.scalars.iter().map(|value| [*value]).collect();
    let operands: Vec<&[f64]> = scalars.iter().map(|value| value.as_slice()).collect();
    let ReductionKind::Sum = reduction.kind;
    let count = reduction.size(reduction.axis) as f64;
    let mut row = reference::evaluate(&reduction.formula, &operands);
    row.iter_mut().for_each(|value| *value *= count);
    let dim = row.len();
    let row = Tensor::<1>::from_data(
        TensorData::new(row, [dim]),
        (device, dtype.expect("there is a tensor operand")),
    );
    row.expand(reduction.output_shape())
}
