//! What can be wrong with a formula, its operands or its reduction.

use std::fmt;

use burn::tensor::DType;
use burn_lazy_kernels::{Axis, LaunchError};

use crate::contraction::Contraction;

/// An operand as it is named in a message: its name in the formula and its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperandInfo {
    /// The name in the formula.
    pub name: String,
    /// The shape of the tensor; empty for a scalar.
    pub shape: Vec<usize>,
}

impl fmt::Display for OperandInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of shape {:?}", self.name, self.shape)
    }
}

/// Two operands that don't fit together, and the formula that holds both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// One operand.
    pub left: OperandInfo,
    /// The other.
    pub right: OperandInfo,
    /// What each of the two has, for example `M = 3`, its type or its device.
    pub wanted: [String; 2],
    /// The formula.
    pub formula: String,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [left, right] = &self.wanted;
        write!(
            f,
            "operand {} has {left} but operand {} has {right}, in the formula {}",
            self.left, self.right, self.formula
        )
    }
}

/// A formula as it is named in a message: its text, symbolic shape and operands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormulaInfo {
    /// The text.
    pub text: String,
    /// The symbolic shape.
    pub shape: String,
    /// The tensors in it.
    pub operands: Vec<OperandInfo>,
}

impl fmt::Display for FormulaInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of symbolic shape {}", self.text, self.shape)?;
        for (k, operand) in self.operands.iter().enumerate() {
            write!(f, "{}{operand}", if k == 0 { " with " } else { ", " })?;
        }
        Ok(())
    }
}

/// Why a formula or a reduction is refused. Nothing has been computed when it is returned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LazyError {
    /// A tensor has too few dimensions for its role.
    #[error("{role} needs a tensor of shape {expected}, got shape {shape:?}")]
    Rank {
        /// The role of the tensor in the formula.
        role: &'static str,
        /// The shape that this role needs.
        expected: &'static str,
        /// The shape of the tensor.
        shape: Vec<usize>,
    },
    /// An inner axis is empty.
    #[error("{role} of shape {shape:?} has an empty inner axis")]
    EmptyInnerAxis {
        /// The role of the tensor in the formula.
        role: &'static str,
        /// The shape of the tensor.
        shape: Vec<usize>,
    },
    /// A tensor has a type that formulas do not support.
    #[error(
        "{role} of shape {shape:?} has the type {dtype:?}; operands are of type F16, BF16, F32, F64, \
         integers or booleans"
    )]
    Dtype {
        /// The role of the tensor in the formula.
        role: &'static str,
        /// The shape of the tensor.
        shape: Vec<usize>,
        /// The type of the tensor.
        dtype: DType,
    },
    /// Ranges were made for a matrix of another size or for other batch dimensions.
    #[error("ranges of {rows} rows, {columns} columns and batches {batch:?} do not fit {formula}")]
    RangesOfOthers {
        /// The number of rows that the ranges are for.
        rows: usize,
        /// The number of columns that the ranges are for.
        columns: usize,
        /// The batch dimensions of the ranges.
        batch: Vec<usize>,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// [`Ranges::of_mask`](crate::Ranges::of_mask) got a mask or a matrix with batch dimensions.
    #[error("ranges of a mask with batch dimensions cannot be found, in {0}")]
    MaskOfBatches(Box<FormulaInfo>),
    /// A tensor does not have one row for each point of the clusters.
    #[error("clusters of {points} points have no tensor of shape {shape:?}")]
    Points {
        /// The shape of the tensor.
        shape: Vec<usize>,
        /// The number of points of the clusters.
        points: usize,
    },
    /// Parts of a formula have different ranges.
    #[error("{left} and {right} are different ranges, in {formula}")]
    MixedRanges {
        /// The ranges of one part.
        left: String,
        /// The ranges of another one.
        right: String,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// There are more pairs than the integers of the device can count.
    #[error(
        "{operation}: {pairs} pairs are more than an integer of the device holds, {limit}, in {formula}"
    )]
    TooManyPairs {
        /// The operation.
        operation: &'static str,
        /// The number of pairs.
        pairs: u128,
        /// The largest integer of the device.
        limit: u128,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// The gradient of a selected value, such as a minimum, needs the index of the value. The type in which the
    /// gradient is computed does not hold all indices exactly.
    #[error(
        "{operation}: of {columns} values the gradient needs the index of one, which {dtype:?} does not hold beyond \
         {limit}; compute in F64 or detach the operands, in {formula}"
    )]
    TooManyTracked {
        /// The operation.
        operation: &'static str,
        /// The number of values from which one is selected.
        columns: usize,
        /// The type of the operands. Gradients of F16 and BF16 are computed in F32.
        dtype: DType,
        /// The largest number of values whose indices the type of the gradient holds.
        limit: usize,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// Inner dimensions do not broadcast.
    #[error(
        "{operation}: the inner dimensions {} and {} do not fit; left is {left}; right is {right}",
        dims[0], dims[1]
    )]
    Dimension {
        /// The operation.
        operation: &'static str,
        /// The inner dimensions of both sides.
        dims: [usize; 2],
        /// The left side.
        left: Box<FormulaInfo>,
        /// The right side.
        right: Box<FormulaInfo>,
    },
    /// Operands of one axis have different lengths.
    #[error("sizes of the axis {axis} differ: {conflict}")]
    Size {
        /// The axis.
        axis: Axis,
        /// The operands.
        conflict: Box<Conflict>,
    },
    /// A tensor in an operator counts as a parameter, but this one could also be meant as values of rows or columns.
    #[error(
        "the tensor {operand} stands in an operator, where it is a parameter [.., D], but {reason}; \
         write LazyTensor::vi(w) or LazyTensor::vj(w), with w of shape [.., M, D] or [.., N, D], if it \
         has a value for each row or column, or LazyTensor::pm(w) if it is a parameter, in the \
         formula {formula}"
    )]
    TensorInOperator {
        /// The tensor.
        operand: Box<OperandInfo>,
        /// Why it may not be meant as a parameter.
        reason: String,
        /// The formula.
        formula: String,
    },
    /// Batch dimensions do not broadcast.
    #[error("batch dimensions do not broadcast: {0}")]
    Batch(Box<Conflict>),
    /// Operands have different types.
    #[error("types differ: {0}")]
    MixedDtypes(Box<Conflict>),
    /// Operands are on different devices.
    #[error("devices differ: {0}")]
    MixedDevices(Box<Conflict>),
    /// The axes of a [`tensordot`](crate::LazyTensor::tensordot) do not fit the inner dimensions or each other.
    #[error("tensordot: {reason} in {contraction:?}; left is {left}; right is {right}")]
    Contraction {
        /// What does not fit.
        reason: &'static str,
        /// The contraction with its axes.
        contraction: Box<Contraction>,
        /// The left side.
        left: Box<FormulaInfo>,
        /// The right side.
        right: Box<FormulaInfo>,
    },
    /// A range of components is empty or leaves the inner axis.
    #[error("components {start}..{end} are not within the {dim} of {formula}")]
    Slice {
        /// First component.
        start: usize,
        /// One after the last component.
        end: usize,
        /// Size of the inner axis.
        dim: usize,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// Nothing was given to concatenate.
    #[error("concat needs at least one formula")]
    EmptyConcat,
    /// A formula that must have one component has several.
    #[error("{operation} needs a formula of inner dimension 1, got {formula}")]
    NotScalar {
        /// The operation.
        operation: &'static str,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// A matrix has too many entries to be stored.
    #[error("more than {limit} entries would be stored, of {formula}")]
    TooDense {
        /// The largest number of entries that can be stored.
        limit: usize,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// A matrix that must be square is not.
    #[error("only a square matrix has a diagonal, not {0}")]
    NotSquare(Box<FormulaInfo>),
    /// Operators are combined whose sizes do not fit together.
    #[error(
        "{operation}: operators of {} x {} and {} x {} do not fit together",
        left[0], left[1], right[0], right[1]
    )]
    OperatorSizes {
        /// The operation that combines them.
        operation: &'static str,
        /// Rows and columns of the left one.
        left: [usize; 2],
        /// Rows and columns of the right one.
        right: [usize; 2],
    },
    /// A tensor does not fit as a diagonal.
    #[error(
        "a diagonal of {size} rows needs the shape [.., {size}, 1] or [.., 1, 1], not {shape:?}"
    )]
    Diagonal {
        /// Rows of the matrix.
        size: usize,
        /// Shape of the tensor.
        shape: Vec<usize>,
    },
    /// A range of rows or columns leaves the matrix.
    #[error("{start}..{end} are not within the {size} of the axis {axis}, of {formula}")]
    Block {
        /// The axis.
        axis: Axis,
        /// First index.
        start: usize,
        /// One after the last index.
        end: usize,
        /// Size of the axis.
        size: usize,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// A matrix is to be distributed over devices, and the list of devices is empty.
    #[error("a matrix is shared out to at least one device, and there is none")]
    NoDevices,
    /// The weights by which a matrix is distributed over devices are not valid.
    #[error(
        "the weights {weights} are no shares of {devices} devices: one for each, not negative and not all 0"
    )]
    ShardWeights {
        /// The weights.
        weights: String,
        /// The number of devices.
        devices: usize,
    },
    /// A device cannot reduce its block of a distributed matrix.
    #[error("the block {start}..{end} of the axis {axis} on the device {device}: {error}")]
    Shard {
        /// The device.
        device: String,
        /// The axis that is distributed over the devices.
        axis: Axis,
        /// The first index of the block.
        start: usize,
        /// One after the last index of the block.
        end: usize,
        /// Why the block cannot be reduced.
        error: Box<LazyError>,
    },
    /// The tolerance of a [`Pruning`](crate::Pruning) is negative or NaN.
    #[error("a tolerance of {tolerance} is no size, for {formula}")]
    Tolerance {
        /// The tolerance.
        tolerance: String,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// The requested number of values is 0 or too large.
    #[error("{operation} gives 1 to {limit} values, not {count}, for {formula}")]
    Count {
        /// The operation.
        operation: &'static str,
        /// The requested number of values.
        count: usize,
        /// The largest number of values that the operation gives.
        limit: usize,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// The order of an [arc-cosine kernel](crate::kernels::arc_cosine) is not 0, 1 or 2.
    #[error("the order of an arc-cosine kernel is 0, 1 or 2, not {order}")]
    KernelOrder {
        /// The requested order.
        order: u8,
    },
    /// A formula was to be differentiated by a formula that is not an operand.
    #[error("grad needs an operand to differentiate by, got the formula {0}")]
    NotAnOperand(Box<FormulaInfo>),
    /// A formula is differentiated by an operand that is not in it.
    #[error(
        "the operand {operand} to differentiate by is not in the formula {formula}; an operand is \
         known by its tensor and axis, and a copy of a tensor is another tensor"
    )]
    NotInFormula {
        /// The operand.
        operand: Box<OperandInfo>,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// An axis has no size, because no operand depends on it.
    #[error(
        "no operand depends on the axis {axis}, its size is unknown, in {formula}; evaluate() gives the \
         values of a formula of rows, of columns or of parameters alone"
    )]
    MissingAxis {
        /// The axis.
        axis: Axis,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// A formula of rows and columns cannot be evaluated without a reduction.
    #[error(
        "the formula depends on rows and columns: reduce it over an axis, or store all entries with \
         dense(), in {0}"
    )]
    BothAxes(Box<FormulaInfo>),
    /// The result has another number of dimensions than the tensor it is assigned to.
    #[error("{operation} gives shape {shape:?}, not a tensor of {rank} dimensions, for {formula}")]
    OutputRank {
        /// The operation.
        operation: &'static str,
        /// The shape of the result.
        shape: Vec<usize>,
        /// The number of dimensions of the tensor that it is assigned to.
        rank: usize,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// A formula consists of scalars only.
    #[error("a formula needs at least one tensor, got {0}")]
    NoTensor(Box<FormulaInfo>),
    /// A formula that autodiff tracks has too many tensors.
    #[error("{count} tensors are in the formula, at most {limit} can be, in {formula}")]
    TooManyOperands {
        /// The number of tensors in the formula.
        count: usize,
        /// The largest number of tensors that autodiff can track in one formula.
        limit: usize,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// A formula is nested too deeply.
    #[error("the formula is nested {depth} levels deep, at most {limit} are supported")]
    TooDeep {
        /// Its depth.
        depth: usize,
        /// The greatest depth.
        limit: usize,
    },
    /// The device cannot run the reduction.
    #[error("{error}, for {formula}")]
    Launch {
        /// The reason.
        error: LaunchError,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// The reduction is too large to be sent to a server, or the server does not answer.
    #[error("a reduction is not sent to a remote device: {reason}, for {formula}")]
    Sent {
        /// The reason.
        reason: String,
        /// The formula.
        formula: Box<FormulaInfo>,
    },
    /// The backend of the tensors runs no reductions on their device, or none of their type.
    #[error(
        "no reductions run on the device {device}: use tensors of Flex, NdArray or LibTorch in the memory of the host, \
         of a CubeCL runtime (on a card of NVIDIA the feature `cuda`), or of a remote device (the feature `remote`)"
    )]
    Backend {
        /// The device.
        device: String,
    },
}
