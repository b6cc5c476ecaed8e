//! The operands of a lazy tensor and the rules by which they fit together.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use burn::{
    backend::{
        Dispatch, DispatchTensor, TensorMetadata,
        ops::{BoolTensorOps, FloatTensorOps, IntTensorOps},
    },
    tensor::{DType, Device, FloatDType, Scalar, Tensor, kind::Basic},
};
use burn_lazy_kernels::{
    Axis, Expr,
    expr::{Dependence, Var},
};

use crate::axes::dimensions;
use crate::cast::cast;
use crate::error::{Conflict, LazyError, OperandInfo};
use crate::ranges::Ranges;

/// A leaf of a formula with its value.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub var: Var,
    pub value: Value,
}

/// What a leaf stands for.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    // Shared, because each operation on a formula clones the list of its operands.
    Tensor(Arc<TensorValue>),
    Scalar(f64),
}

#[derive(Clone, Debug)]
pub(crate) struct TensorValue {
    /// Its values. Integers and booleans are stored as numbers in F32, see [`Source`].
    pub tensor: DispatchTensor,
    /// The shape of `tensor`.
    pub shape: Vec<usize>,
    /// The type of a formula that has no other operand: the type of the tensor, or for integers and booleans the
    /// default type of the device or the type of a cast.
    pub dtype: DType,
    pub device: Device,
    pub source: Source,
    /// Whether the tensor was written in an operator, and it is not yet known that a parameter is meant.
    pub unsaid: bool,
    /// An order of the rows and a copy of `tensor` with its rows in this order, if such a copy is kept.
    pub sorted: Option<(Arc<[u32]>, DispatchTensor)>,
}

/// The kind of tensor that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Numbers in the type of the formula.
    Float,
    /// Truth values, as 0 and 1.
    Bool,
    /// Whole numbers, written in digits of [`DIGIT_BITS`] bits: all components of the highest digit, then all
    /// components of the next one, and so on. A single number in F32 would hold them up to 2^24 only.
    Int {
        /// The number of digits.
        digits: usize,
    },
}

/// The bits of a digit of a whole number. A digit is exact in F32, and so is the sum of two.
pub(crate) const DIGIT_BITS: u32 = 22;

impl Source {
    /// The number of numbers as which each component is stored.
    pub fn digits(self) -> usize {
        match self {
            Source::Float | Source::Bool => 1,
            Source::Int { digits } => digits,
        }
    }
}

impl Value {
    /// The same value, with `change` applied if it is a tensor. `change` must keep the shape.
    pub fn map(&self, change: impl Fn(Tensor<1>) -> Tensor<1>) -> Self {
        match self {
            Value::Scalar(value) => Value::Scalar(*value),
            Value::Tensor(value) => {
                let tensor = change(value.any_rank());
                Value::Tensor(Arc::new(TensorValue {
                    shape: value.shape.clone(),
                    dtype: match value.source {
                        Source::Float => tensor.dtype(),
                        _ => value.dtype,
                    },
                    device: tensor.device(),
                    tensor: tensor.into_dispatch(),
                    source: value.source,
                    unsaid: value.unsaid,
                    sorted: None,
                }))
            }
        }
    }
}

impl Value {
    /// Whether both values are known to be the same tensor.
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
        crate::backends::is_tracked(&self.any_rank())
    }

    /// Its values in the type `dtype`.
    pub fn read_as(&self, dtype: DType) -> DispatchTensor {
        cast(self.any_rank(), dtype.into()).into_dispatch()
    }

    /// The shape of the tensor that was given.
    pub fn given_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if let Some(dim) = shape.last_mut() {
            *dim /= self.source.digits();
        }
        shape
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

/// Splits whole numbers into digits of [`DIGIT_BITS`] bits, along the inner axis. The highest digit has the sign.
fn digits(tensor: DispatchTensor) -> (DispatchTensor, Source) {
    let bits = 8 * tensor.dtype().size() as u32;
    let float = |tensor| Dispatch::int_into_float(tensor, FloatDType::F32);
    // All numbers of such a type are exact in F32.
    if bits <= DIGIT_BITS {
        return (float(tensor), Source::Int { digits: 1 });
    }
    let count = bits.div_ceil(DIGIT_BITS);
    let low = Scalar::from((1i32 << DIGIT_BITS) - 1);
    let digit = |k: u32| {
        let moved = match k {
            0 => tensor.clone(),
            k => {
                let by = Scalar::from((k * DIGIT_BITS) as i32);
                Dispatch::bitwise_right_shift_scalar(tensor.clone(), by)
            }
        };
        match k + 1 == count {
            true => moved,
            false => Dispatch::bitwise_and_scalar(moved, low),
        }
    };
    let digits = (0..count).rev().map(|k| float(digit(k))).collect();
    let inner = tensor.shape().num_dims() - 1;
    let source = Source::Int {
        digits: count as usize,
    };
    (Dispatch::float_cat(digits, inner), source)
}

fn fresh_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Operand {
    /// The operand of a tensor that varies along `axes`: `[batch.., M, N, dim]` along both, `[batch.., length, dim]`
    /// along one, `[batch.., dim]` along none.
    pub fn tensor<const R: usize, K: Basic>(
        tensor: Tensor<R, K>,
        axes: impl Into<Dependence>,
    ) -> Result<Self, LazyError> {
        let device = tensor.device();
        Self::dispatch(tensor.into_dispatch(), device, axes)
    }

    /// Like [`tensor`](Self::tensor), for a tensor whose number of dimensions is not known at compile time.
    pub fn dispatch(
        tensor: DispatchTensor,
        device: Device,
        axes: impl Into<Dependence>,
    ) -> Result<Self, LazyError> {
        let axes: Dependence = axes.into();
        let (role, expected) = match (axes.i, axes.j) {
            (true, true) => ("a variable of pairs", "[.., M, N, D]"),
            (true, false) => ("an i-variable", "[.., M, D]"),
            (false, true) => ("a j-variable", "[.., N, D]"),
            (false, false) => ("a parameter", "[.., D]"),
        };
        let shape = tensor.shape().to_vec();
        if shape.len() < dimensions(axes) {
            return Err(LazyError::Rank {
                role,
                expected,
                shape,
            });
        }
        if shape[shape.len() - 1] == 0 {
            return Err(LazyError::EmptyInnerAxis { role, shape });
        }
        let given = tensor.dtype();
        let (tensor, source) = match given {
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 => (tensor, Source::Float),
            _ if given.is_bool() => {
                let numbers = Dispatch::bool_into_float(tensor, FloatDType::F32);
                (numbers, Source::Bool)
            }
            _ if given.is_int() || given.is_uint() => digits(tensor),
            dtype => return Err(LazyError::Dtype { role, shape, dtype }),
        };
        let dtype = match source {
            Source::Float => given,
            _ => device.settings().float_dtype.into(),
        };
        let value = TensorValue {
            shape: tensor.shape().to_vec(),
            tensor,
            dtype,
            device,
            source,
            unsaid: false,
            sorted: None,
        };
        Ok(Self::of(value, axes))
    }

    /// A new operand with this value.
    fn of(value: TensorValue, axes: Dependence) -> Self {
        Self {
            var: Var {
                id: fresh_id(),
                axes,
                dim: value.shape[value.shape.len() - 1],
                scalar: false,
            },
            value: Value::Tensor(Arc::new(value)),
        }
    }

    /// A new operand with the values `tensor`, which varies along `axes`. The values are of the same kind as those of
    /// `value`.
    pub fn like(value: &TensorValue, tensor: DispatchTensor, axes: Dependence) -> Self {
        let dtype = match value.source {
            Source::Float => tensor.dtype(),
            _ => value.dtype,
        };
        let value = TensorValue {
            shape: tensor.shape().to_vec(),
            tensor,
            dtype,
            sorted: None,
            ..value.clone()
        };
        Self::of(value, axes)
    }

    /// The same operand with the axes swapped. A tensor of pairs becomes a new operand, because its values move.
    pub fn transposed(&self) -> Self {
        match &self.value {
            Value::Tensor(value) if self.var.is_of_pairs() => {
                let rank = value.shape.len();
                let swapped = Dispatch::float_swap_dims(value.tensor.clone(), rank - 3, rank - 2);
                Self::like(value, swapped, Dependence::BOTH)
            }
            value => Self {
                var: Var {
                    axes: self.var.axes.transposed(),
                    ..self.var
                },
                value: value.clone(),
            },
        }
    }

    /// The same operand, which also keeps the tensor of `sorted`: its own rows in the order of `ranges`.
    pub fn with_sorted(&self, sorted: &Self, ranges: &Ranges) -> Self {
        let order = self.var.axis().and_then(|axis| ranges.order(axis));
        let value = match (&self.value, &sorted.value, order) {
            (Value::Tensor(own), Value::Tensor(sorted), Some(order)) => {
                Value::Tensor(Arc::new(TensorValue {
                    sorted: Some((order.clone(), sorted.tensor.clone())),
                    ..(**own).clone()
                }))
            }
            (own, ..) => own.clone(),
        };
        Self {
            var: self.var,
            value,
        }
    }

    /// The components, as an expression. A whole number is put together from its digits, which rounds it to the type
    /// of the formula.
    pub fn expr(&self) -> Expr {
        let digits = self.digits();
        let first = digits[0].clone();
        let base = f64::from(1u32 << DIGIT_BITS);
        let put = |number: Expr, digit: &Expr| number * base + digit.clone();
        digits[1..].iter().fold(first, put)
    }

    /// The digits of a whole number, the highest first. A value of another kind is its only digit.
    pub fn digits(&self) -> Vec<Expr> {
        let count = self.as_tensor().map_or(1, |value| value.source.digits());
        let dim = self.var.dim / count;
        let var = Expr::var(self.var);
        (0..count).map(|k| var.slice(k * dim, dim)).collect()
    }

    /// The operand of a run-time scalar.
    pub fn scalar(value: f64) -> Self {
        Self {
            var: Var {
                id: fresh_id(),
                axes: Dependence::default(),
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

    /// Size of the inner axis of the tensor that was given.
    pub fn dim(&self) -> usize {
        self.var.dim / self.as_tensor().map_or(1, |value| value.source.digits())
    }

    /// Whether it was given as floating point numbers.
    pub fn is_float(&self) -> bool {
        self.as_tensor()
            .is_none_or(|value| value.source == Source::Float)
    }

    /// Whether it was given as integers.
    pub fn is_int(&self) -> bool {
        let int = |value: &TensorValue| matches!(value.source, Source::Int { .. });
        self.as_tensor().is_some_and(int)
    }

    /// Sets the type of a formula in which this is the only operand.
    pub fn read_in(&mut self, dtype: DType) {
        if let Value::Tensor(value) = &mut self.value {
            Arc::make_mut(value).dtype = dtype;
        }
    }

    /// Whether it is a tensor in an operator, and it is not yet known that a parameter is meant.
    pub fn is_unsaid(&self) -> bool {
        self.as_tensor().is_some_and(|value| value.unsaid)
    }

    /// The same operand, marked as a tensor in an operator that may not be meant as a parameter.
    pub fn unsaid(self) -> Self {
        self.with_unsaid(true)
    }

    /// The same operand, marked as known to be a parameter.
    pub fn said(self) -> Self {
        self.with_unsaid(false)
    }

    fn with_unsaid(mut self, unsaid: bool) -> Self {
        if let Value::Tensor(value) = &mut self.value
            && value.unsaid != unsaid
        {
            Arc::make_mut(value).unsaid = unsaid;
        }
        self
    }

    /// The batch dimensions.
    pub fn batch(&self) -> &[usize] {
        match &self.value {
            Value::Tensor(tensor) => {
                &tensor.shape[..tensor.shape.len() - dimensions(self.var.axes)]
            }
            Value::Scalar(_) => &[],
        }
    }

    /// The length along `axis`, if it varies along it.
    fn length(&self, axis: Axis) -> Option<usize> {
        let dim = self.dimension(axis)?;
        self.as_tensor().map(|tensor| tensor.shape[dim])
    }

    /// Which dimension of its tensor is `axis`, if it varies along it.
    pub fn dimension(&self, axis: Axis) -> Option<usize> {
        let rank = self.as_tensor()?.shape.len();
        let of_pairs = self.var.is_of_pairs();
        let back = if of_pairs && axis == Axis::I { 3 } else { 2 };
        self.var.axes.on(axis).then(|| rank - back)
    }

    pub fn info(&self, operands: &[Operand]) -> OperandInfo {
        OperandInfo {
            name: name(operands, &self.var),
            shape: self.as_tensor().map_or(vec![], TensorValue::given_shape),
        }
    }
}

/// The name of a leaf: a letter for its kind and its number among the operands of this kind. The name of a run-time
/// scalar is its value.
pub(crate) fn name(operands: &[Operand], var: &Var) -> String {
    let letter = match var.axis() {
        _ if var.scalar => {
            let scalar = operands.iter().find(|operand| operand.var == *var);
            return match scalar.map(|operand| &operand.value) {
                Some(Value::Scalar(value)) => value.to_string(),
                _ => "?".into(),
            };
        }
        Some(Axis::I) => 'x',
        Some(Axis::J) => 'y',
        None if var.is_of_pairs() => 'z',
        None => 'p',
    };
    let number = operands
        .iter()
        .take_while(|operand| operand.var != *var)
        .filter(|operand| operand.var.axes == var.axes && !operand.var.scalar)
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

/// Checks that operands fit together, and gives their common sizes, type and device. `formula` prints the formula for
/// error messages.
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
    let mut typed = None;
    for operand in operands {
        let Some(tensor) = operand.as_tensor() else {
            continue;
        };
        // Integers and booleans are read in the type of the floating point operands.
        if tensor.source == Source::Float {
            let (other, same) = *typed.get_or_insert((operand, tensor));
            if same.dtype != tensor.dtype {
                let wanted = [same, tensor].map(|t| format!("type {:?}", t.dtype));
                return Err(LazyError::MixedDtypes(conflict(other, operand, wanted)));
            }
        }
        // Devices are equal whether or not a tensor is part of an autodiff graph.
        let (other, same) = *first.get_or_insert((operand, tensor));
        if same.device != tensor.device {
            let wanted = [same, tensor].map(|t| format!("device {:?}", t.device));
            return Err(LazyError::MixedDevices(conflict(other, operand, wanted)));
        }
        let device = extent.device.get_or_insert_with(|| tensor.device.clone());
        #[cfg(feature = "autodiff")]
        if tensor.device.is_autodiff() {
            *device = tensor.device.clone();
        }
        #[cfg(not(feature = "autodiff"))]
        let _ = device;

        for axis in [Axis::I, Axis::J] {
            let Some(length) = operand.length(axis) else {
                continue;
            };
            let size = match axis {
                Axis::I => &mut extent.m,
                Axis::J => &mut extent.n,
            };
            if *size.get_or_insert(length) != length {
                let other = operands
                    .iter()
                    .find(|other| other.var.axes.on(axis))
                    .expect("some operand gave the size");
                let letter = if axis == Axis::I { "M" } else { "N" };
                let wanted = [other, operand]
                    .map(|o| format!("{letter} = {}", o.length(axis).unwrap_or_default()));
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
    extent.dtype = typed.or(first).map(|(_, tensor)| tensor.dtype);
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
