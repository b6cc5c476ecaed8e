//! Errors of launches, and of operands that do not fit a formula.

use crate::{math::Precision, ranges::Ranges};

/// Why operands do not fit a formula, on the host or on a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperandError {
    /// The number of tensors or scalars is not that of the formula.
    #[error("{given} {what} for a formula of {expected}")]
    Count {
        /// Tensors or scalars.
        what: &'static str,
        /// How many there are.
        given: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A tensor does not fit the reduction: its type, batch dimensions, shape, strides or buffer are not those that are
    /// read.
    #[error("tensor {index} of shape {shape:?} and strides {strides:?} does not fit: {reason}")]
    Tensor {
        /// Its position among the tensors.
        index: usize,
        /// Its shape.
        shape: Vec<usize>,
        /// Its strides.
        strides: Vec<isize>,
        /// What is wrong.
        reason: String,
    },
}

impl OperandError {
    /// The error of tensor `index`. On a device, strides are not signed.
    pub(crate) fn of_tensor<S: Copy + TryInto<isize>>(
        index: usize,
        (shape, strides): (&[usize], &[S]),
        reason: String,
    ) -> Self {
        // No buffer is so large that a stride beyond those of an `isize` makes a difference.
        let signed = |stride: &S| (*stride).try_into().unwrap_or(isize::MAX);
        Self::Tensor {
            index,
            shape: shape.to_vec(),
            strides: strides.iter().map(signed).collect(),
            reason,
        }
    }
}

/// Checks that there are as many operands as a formula has.
pub(crate) fn check_count(
    what: &'static str,
    given: usize,
    expected: usize,
) -> Result<(), OperandError> {
    match given == expected {
        true => Ok(()),
        false => Err(OperandError::Count {
            what,
            given,
            expected,
        }),
    }
}

/// Why a reduction could not be launched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The device does not compute in this type.
    #[error("the device {device} does not support {precision:?} reductions: {reason}")]
    Unsupported {
        /// Name of the runtime.
        device: String,
        /// The type.
        precision: Precision,
        /// Why it is not supported.
        reason: &'static str,
    },
    /// A kernel cannot bind so many buffers.
    #[error("{tensors} tensors are more than a kernel can bind on the device {device}: {limit}")]
    TooManyTensors {
        /// Name of the runtime.
        device: String,
        /// Buffers that the kernel reads: the tensors of the formula and lists of ranges.
        tensors: usize,
        /// The most such buffers that the device allows beside those for outputs and sizes.
        limit: usize,
    },
    /// The operands do not fit the formula.
    #[error(transparent)]
    Operands(#[from] OperandError),
    /// Ranges cannot be used: they or their limits are for another matrix or batch, or the launch adds up rows or
    /// writes partial results.
    #[error(
        "{given:?} do not fit {rows} rows and {columns} columns, of which none are added up and no parts are given out"
    )]
    Ranges {
        /// The ranges.
        given: Box<Ranges>,
        /// Rows of the operands.
        rows: usize,
        /// Columns of the operands.
        columns: usize,
    },
    /// A tensor for results is not contiguous, has another size than the results, or has a buffer that is too short.
    #[error("the tensor of shape {shape:?} is not one of {len} contiguous {what}")]
    Output {
        /// What is written to it: values, indices or state.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// How many numbers are written.
        len: usize,
    },
    /// A buffer is larger than the device can address, or the indices of its columns do not fit in 32 bits.
    #[error("a buffer of {len} values is larger than the device {device} can address")]
    TooLarge {
        /// Name of the runtime.
        device: String,
        /// Values in the buffer, or the number of columns.
        len: usize,
    },
    /// A tensor of partial results is too short.
    #[error("the {what} of parts are {given} numbers, less than {len}")]
    PartSize {
        /// Which numbers: values or indices.
        what: &'static str,
        /// How many there are.
        given: usize,
        /// How many there must be.
        len: usize,
    },
    /// A tensor of partial results has gaps.
    #[error("the {what} of parts are not contiguous")]
    PartStrides {
        /// Which numbers: values or indices.
        what: &'static str,
    },
    /// There are no partial results.
    #[error("there are no parts to merge")]
    NoParts,
    /// The tensors of partial results have no room for the parts that a launch writes.
    #[error("{parts} parts from part {first} on are more than the {count} there are")]
    TooManyParts {
        /// Number of parts that are written.
        parts: usize,
        /// Position of the first part that is written.
        first: usize,
        /// Number of parts that the tensors hold.
        count: usize,
    },
    /// No plan exists.
    #[cfg(feature = "cubecl")]
    #[error(transparent)]
    Plan(#[from] crate::plan::PlanError),
}
