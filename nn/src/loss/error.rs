//! The errors of the inputs and the settings of a loss.

use burn::tensor::DType;
use burn_lazy::{LazyError, OperandInfo};

use crate::error::SettingError;

/// Why a loss is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Two tensors do not fit together.
    #[error("{left} and {right} differ in {what}")]
    Shapes {
        /// One tensor.
        left: Box<OperandInfo>,
        /// The other tensor.
        right: Box<OperandInfo>,
        /// The property in which they differ.
        what: &'static str,
    },
    /// Two tensors are of different types.
    #[error("`{left}` is of type {left_dtype:?} and `{right}` of type {right_dtype:?}")]
    Dtypes {
        /// One tensor.
        left: &'static str,
        /// Its type.
        left_dtype: DType,
        /// The other tensor.
        right: &'static str,
        /// Its type.
        right_dtype: DType,
    },
    /// A tensor has no entries.
    #[error("`{operand}` of shape {shape:?} has no {what}")]
    Empty {
        /// The tensor.
        operand: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// What it has none of, such as rows.
        what: &'static str,
    },
    /// Every point of a cloud is padding.
    #[error("all points of `{operand}` in the batch {batch} are padding")]
    AllPadding {
        /// The cloud.
        operand: &'static str,
        /// The batch.
        batch: usize,
    },
    /// The sums of the weights differ, but the transport is balanced.
    #[error(
        "the weights of `x` have the sum {x} and those of `y` the sum {y}, in the batch {batch}: balanced transport \
         needs equal sums; set `reach` for unbalanced transport"
    )]
    Masses {
        /// The mass of the first cloud.
        x: f64,
        /// The mass of the second cloud.
        y: f64,
        /// The batch.
        batch: usize,
    },
    /// Weights are not the weights of a measure.
    #[error(
        "the weights of `{operand}` have the sum {sum} and the least value {least}, in the batch {batch}: {wanted}"
    )]
    Weights {
        /// The cloud.
        operand: &'static str,
        /// The sum of the weights.
        sum: f64,
        /// The smallest weight.
        least: f64,
        /// The batch.
        batch: usize,
        /// The condition that the weights have to satisfy.
        wanted: &'static str,
    },
    /// Coordinates are infinite or NaN, so the clouds have no diameter.
    #[error("`x` of shape {x:?} or `y` of shape {y:?} holds values that are not finite")]
    NotFinite {
        /// The shape of the first cloud.
        x: Vec<usize>,
        /// The shape of the second cloud.
        y: Vec<usize>,
    },
    /// A cloud has no normals.
    #[error("`{operand}` has no normals")]
    NoNormals {
        /// The cloud.
        operand: &'static str,
    },
    /// Targets are out of the range of the classes.
    #[error("`targets` are from {least} to {largest}, but there are {classes} classes, from 0")]
    Targets {
        /// The smallest target.
        least: i64,
        /// The largest target.
        largest: i64,
        /// The number of classes.
        classes: usize,
    },
    /// The loss does not have this reduction.
    #[error("the loss has no reduction {0}; it has Mean, Auto and Sum")]
    Reduction(String),
    /// The formula is refused.
    #[error(transparent)]
    Lazy(#[from] LazyError),
}

/// The error of two tensors that do not fit together.
pub(crate) fn differ<const L: usize, const R: usize>(
    (left, left_shape): (&str, [usize; L]),
    (right, right_shape): (&str, [usize; R]),
    what: &'static str,
) -> LossError {
    let info = |name: &str, shape: &[usize]| {
        Box::new(OperandInfo {
            name: name.into(),
            shape: shape.to_vec(),
        })
    };
    LossError::Shapes {
        left: info(left, &left_shape),
        right: info(right, &right_shape),
        what,
    }
}
