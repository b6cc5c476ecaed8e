//! Errors of launches.

use crate::{math::Precision, ranges::Ranges};

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
        /// What is missing.
        reason: &'static str,
    },
    /// A kernel cannot bind so many buffers.
    #[error("{tensors} tensors are more than a kernel can bind on the device {device}: {limit}")]
    TooManyTensors {
        /// Name of the runtime.
        device: String,
        /// Tensors in the formula.
        tensors: usize,
        /// The most there can be.
        limit: usize,
    },
    /// A program has another number of operands.
    #[error("{given} {what} for a formula of {expected}")]
    Operands {
        /// Which operands.
        what: &'static str,
        /// How many there are.
        given: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A tensor does not have what is read of it.
    #[error("tensor {index} of shape {shape:?} and strides {strides:?} does not fit: {reason}")]
    Tensor {
        /// Its position among the tensors.
        index: usize,
        /// Its shape.
        shape: Vec<usize>,
        /// Its strides.
        strides: Vec<usize>,
        /// What is wrong.
        reason: String,
    },
    /// Ranges are of another matrix, or rows are added up, or partial results are asked for.
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
    /// A tensor for results is not contiguous, or has another size or a shorter buffer.
    #[error("the tensor of shape {shape:?} is not one of {len} contiguous {what}")]
    Output {
        /// What goes there.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// How many numbers are written.
        len: usize,
    },
    /// A buffer is larger than the device can address.
    #[error("a buffer of {len} values is larger than the device {device} can address")]
    TooLarge {
        /// Name of the runtime.
        device: String,
        /// Values in the buffer.
        len: usize,
    },
    /// A tensor of partial results is too short.
    #[error("the {what} of parts are {given} numbers, less than {len}")]
    PartSize {
        /// Which numbers.
        what: &'static str,
        /// How many there are.
        given: usize,
        /// How many there must be.
        len: usize,
    },
    /// A tensor of partial results has gaps.
    #[error("the {what} of parts are not contiguous")]
    PartStrides {
        /// Which numbers.
        what: &'static str,
    },
    /// There are no partial results.
    #[error("there are no parts to merge")]
    NoParts,
    /// Partial results do not fit where they are to be written.
    #[error("{parts} parts from part {first} on are more than the {count} there are")]
    TooManyParts {
        /// The parts that are written.
        parts: usize,
        /// The first of them.
        first: usize,
        /// How many there are.
        count: usize,
    },
    /// No plan exists.
    #[cfg(feature = "cubecl")]
    #[error(transparent)]
    Plan(#[from] crate::plan::PlanError),
}
