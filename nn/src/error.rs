//! The errors of layers and their settings.

use burn_lazy::{LazyError, solve::SolveError};

/// A setting or an argument whose value is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}` is {value}, but must be {expected}")]
#[non_exhaustive]
pub struct SettingError {
    /// The name of the setting.
    pub setting: &'static str,
    /// The value that it has.
    pub value: String,
    /// The values that are allowed.
    pub expected: &'static str,
}

impl SettingError {
    /// The error of `setting` with this value.
    pub(crate) fn new(setting: &'static str, value: impl ToString, expected: &'static str) -> Self {
        Self {
            setting,
            value: value.to_string(),
            expected,
        }
    }
}

/// Why a kernel, attention, a Gaussian process or a regression cannot be created, or cannot compute. Losses have
/// their own [`LossError`](crate::loss::LossError).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The formula is refused.
    #[error(transparent)]
    Lazy(#[from] LazyError),
    /// The linear system cannot be solved.
    #[error(transparent)]
    Solve(#[from] SolveError),
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The shape of a tensor does not fit the shape of another one.
    #[error("{what} of shape {shape:?} must have {expected}, for {other} of shape {other_shape:?}")]
    Shape {
        /// The name of the tensor.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// The name of the other tensor.
        other: &'static str,
        /// The shape of the other tensor.
        other_shape: Vec<usize>,
        /// The shape that is expected.
        expected: &'static str,
    },
    /// A tensor is empty.
    #[error("{0} must not be empty")]
    Empty(&'static str),
    /// A tensor has values that are not finite.
    #[error("there are values that are not finite in {0}")]
    NotFinite(&'static str),
    /// A stored matrix has no Cholesky factor, because it is not positive definite.
    #[error("{what} of {size} points is not positive definite, as seen in row {row}: {hint}")]
    NotPositiveDefinite {
        /// The name of the matrix.
        what: &'static str,
        /// The number of its rows.
        size: usize,
        /// The first row at which the factorisation fails.
        row: usize,
        /// What the caller can change.
        hint: &'static str,
    },
    /// A matrix that would have to be stored is too large.
    #[error("{what} of {size} points would be stored, which is done for up to {limit}")]
    TooLarge {
        /// The name of the matrix.
        what: &'static str,
        /// The number of its rows.
        size: usize,
        /// The largest number of rows for which the matrix is stored.
        limit: usize,
    },
}

/// The value of `result`, or a panic with the error at the caller's line.
#[track_caller]
pub(crate) fn expect<T, E: std::error::Error>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// Returns an error unless `fits` holds and the number is finite.
pub(crate) fn check_setting(
    setting: &'static str,
    value: f64,
    expected: &'static str,
    fits: bool,
) -> Result<(), SettingError> {
    match fits && value.is_finite() {
        true => Ok(()),
        false => Err(SettingError::new(setting, value, expected)),
    }
}

/// Returns an error if the number is negative or not finite.
pub(crate) fn check_not_negative(setting: &'static str, value: f64) -> Result<(), SettingError> {
    check_setting(setting, value, "finite and not negative", value >= 0.0)
}
