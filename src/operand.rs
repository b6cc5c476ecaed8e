//! The leaves of a lazy tensor and the rules by which they fit together.

use std::sync::atomic::{AtomicU64, Ordering};

use burn::{
    backend::{DispatchTensor, TensorMetadata},
    tensor::{DType, Device, Tensor},
};
use burn_lazy_kernels::{Axis, expr::Var};

use crate::error::{Conflict, LazyError, OperandInfo};

/// A leaf with its value.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub var: Var,
    pub value: Value,
}

/// What a leaf stands for.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Tensor(Box<TensorValue>),
    Scalar(f64),
}

#[derive(Clone, Debug)]
pub(crate) struct TensorValue {
    pub tensor: DispatchTensor,
    pub shape: Vec<usize>,
    pub dtype: DType,
    pub device: Device,
}

impl Value {
    /// The same with a tensor, if it is one, of the same shape that `change` makes of it.
    pub fn map(&self, change: impl Fn(Tensor<1>) -> Tensor<1>) -> Self {
        match self {
            Value::Scalar(value) => Value::Scalar(*value),
            Value::Tensor(value) => {
                let tensor = change(value.any_rank());
                Value::Tensor(Box::new(TensorValue {
                    shape: value.shape.clone(),
                    dtype: tensor.dtype(),
                    device: tensor.device(),
                    tensor: tensor.into_dispatch(),
                }))
            }
        }
    }
}

impl Value {
    /// Whether both are known to be one tensor.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Tensor(own), Value::Tensor(other)) => {
                crate::backends::is_same(&own.tensor, &other.tensor)
            }
            _ => false,
        }
    }
}

impl TensorValue {
    /// Whether autodiff tracks it.
    pub fn is_tracked(&self) -> bool {
        crate::solve::is_tracked(&self.any_rank())
    }

    /// The tensor for methods to which the number of dimensions does not matter.
    fn any_rank(&self) -> Tensor<1> {
        Tensor::from_dispatch(self.tensor.clone())
    }
}

/// The common sizes, type and device of operands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extent {
    pub m: Option<usize>,
    pub n: Option<usize>,
    pub batch: Vec<usize>,
    pub dtype: Option<DType>,
    pub device: Option<Device>,
}

impl Extent {
    pub fn size(&self, axis: Axis) -> Option<usize> {
        match axis {
            Axis::I => self.m,
            Axis::J => self.n,
        }
    }
}

fn fresh_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Operand {
    /// The operand of a tensor: `[batch.., length, dim]` along `axis`, `[batch.., dim]` without.
    pub fn tensor<const R: usize>(
        tensor: Tensor<R>,
        axis: Option<Axis>,
    ) -> Result<Self, LazyError> {
        let device = tensor.device();
        Self::dispatch(tensor.into_dispatch(), device, axis)
    }

    /// The same for a tensor whose number of dimensions is not known.
    pub fn dispatch(
        tensor: DispatchTensor,
        device: Device,
        axis: Option<Axis>,
    ) -> Result<Self, LazyError> {
        let (role, expected) = match axis {
            Some(Axis::I) => ("an i-variable", "[.., M, D]"),
            Some(Axis::J) => ("a j-variable", "[.., N, D]"),
            None => ("a parameter", "[.., D]"),
        };
        let shape = tensor.shape().to_vec();
        if shape.len() < if axis.is_some() { 2 } else { 1 } {
            return Err(LazyError::Rank {
                role,
                expected,
                shape,
            });
        }
        let dim = shape[shape.len() - 1];
        if dim == 0 {
            return Err(LazyError::EmptyInnerAxis { role, shape });
        }
        let dtype = tensor.dtype();
        if !matches!(dtype, DType::F16 | DType::BF16 | DType::F32 | DType::F64) {
            return Err(LazyError::Dtype { role, shape, dtype });
        }
        let value = TensorValue {
            tensor,
            shape,
            dtype,
            device,
        };
        Ok(Self {
            var: Var {
                id: fresh_id(),
                axis,
                dim,
                scalar: false,
            },
            value: Value::Tensor(Box::new(value)),
        })
    }

    /// The operand of a run-time scalar.
    pub fn scalar(value: f64) -> Self {
        Self {
            var: Var {
                id: fresh_id(),
                axis: None,
                dim: 1,
                scalar: true,
            },
            value: Value::Scalar(value),
        }
    }

    pub fn as_tensor(&self) -> Option<&TensorValue> {
        match &self.value {
            Value::Tensor(tensor) => Some(tensor),
            Value::Scalar(_) => None,
        }
    }

    /// The batch dimensions.
    fn batch(&self) -> &[usize] {
        match &self.value {
            Value::Tensor(tensor) => {
                let own = if self.var.axis.is_some() { 2 } else { 1 };
                &tensor.shape[..tensor.shape.len() - own]
            }
            Value::Scalar(_) => &[],
        }
    }

    /// The length along its axis.
    fn length(&self) -> Option<usize> {
        let tensor = self.as_tensor()?;
        self.var.axis?;
        Some(tensor.shape[tensor.shape.len() - 2])
    }

    pub fn info(&self, operands: &[Operand]) -> OperandInfo {
        OperandInfo {
            name: name(operands, &self.var),
            shape: self.as_tensor().map_or(vec![], |t| t.shape.clone()),
        }
    }
}

/// The name of a leaf: numbered among the operands of its kind, in their order.
pub(crate) fn name(operands: &[Operand], var: &Var) -> String {
    let letter = match (var.scalar, var.axis) {
        (true, _) => {
            let scalar = operands.iter().find(|operand| operand.var == *var);
            return match scalar.map(|operand| &operand.value) {
                Some(Value::Scalar(value)) => value.to_string(),
                _ => "?".into(),
            };
        }
        (_, Some(Axis::I)) => 'x',
        (_, Some(Axis::J)) => 'y',
        (_, None) => 'p',
    };
    let number = operands
        .iter()
        .take_while(|operand| operand.var != *var)
        .filter(|operand| operand.var.axis == var.axis && !operand.var.scalar)
        .count();
    format!("{letter}{number}")
}

/// The operands of both sides, each once.
pub(crate) fn union(left: &[Operand], right: &[Operand]) -> Vec<Operand> {
    let new = right
        .iter()
        .filter(|r| !left.iter().any(|l| l.var == r.var));
    left.iter().chain(new).cloned().collect()
}

/// Checks that operands fit together; `formula` prints what they are part of.
pub(crate) fn extent(
    operands: &[Operand],
    formula: impl Fn() -> String,
) -> Result<Extent, LazyError> {
    let conflict = |left: &Operand, right: &Operand, wanted: [String; 2]| {
        Box::new(Conflict {
            left: left.info(operands),
            right: right.info(operands),
            wanted,
            formula: formula(),
        })
    };
    let mut extent = Extent::default();
    let mut first: Option<(&Operand, &TensorValue)> = None;
    for operand in operands {
        let Some(tensor) = operand.as_tensor() else {
            continue;
        };
        let (other, same) = *first.get_or_insert((operand, tensor));
        if same.dtype != tensor.dtype {
            let wanted = [same, tensor].map(|t| format!("type {:?}", t.dtype));
            return Err(LazyError::MixedDtypes(conflict(other, operand, wanted)));
        }
        if same.device != tensor.device {
            let wanted = [same, tensor].map(|t| format!("device {:?}", t.device));
            return Err(LazyError::MixedDevices(conflict(other, operand, wanted)));
        }
        extent.dtype = Some(tensor.dtype);
        extent.device.get_or_insert_with(|| tensor.device.clone());

        if let (Some(axis), Some(length)) = (operand.var.axis, operand.length()) {
            let size = match axis {
                Axis::I => &mut extent.m,
                Axis::J => &mut extent.n,
            };
            if *size.get_or_insert(length) != length {
                let other = operands
                    .iter()
                    .find(|other| other.var.axis == Some(axis))
                    .expect("some operand gave the size");
                let letter = if axis == Axis::I { "M" } else { "N" };
                let wanted = [other, operand]
                    .map(|o| format!("{letter} = {}", o.length().unwrap_or_default()));
                return Err(LazyError::Size {
                    axis,
                    conflict: conflict(other, operand, wanted),
                });
            }
        }
        match broadcast(&extent.batch, operand.batch()) {
            Some(batch) => extent.batch = batch,
            None => {
                let other = operands
                    .iter()
                    .find(|other| broadcast(other.batch(), operand.batch()).is_none())
                    .unwrap_or(other);
                let wanted = [other, operand].map(|o| format!("batch dimensions {:?}", o.batch()));
                return Err(LazyError::Batch(conflict(other, operand, wanted)));
            }
        }
    }
    Ok(extent)
}

/// The common shape of batch dimensions, aligned at the last one; 1 fits everything.
pub(crate) fn broadcast(left: &[usize], right: &[usize]) -> Option<Vec<usize>> {
    let rank = left.len().max(right.len());
    let at = |shape: &[usize], axis: usize| {
        let pad = rank - shape.len();
        if axis < pad { 1 } else { shape[axis - pad] }
    };
    (0..rank)
        .map(|axis| match (at(left, axis), at(right, axis)) {
            (1, size) | (size, 1) => Some(size),
            (a, b) if a == b => Some(a),
            _ => None,
        })
        .collect()
}
