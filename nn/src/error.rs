//! What layers refuse, and why.

use burn_lazy::{LazyError, solve::SolveError};

/// A number or a name that is none of those that a setting or an argument can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}` is {value}, but must be {expected}")]
#[non_exhaustive]
pub struct SettingError {
    /// The name of the setting.
    pub setting: &'static str,
    /// Its value.
    pub value: String,
    /// What it must be.
    pub expected: &'static str,
}

impl SettingError {
    /// The error of a setting with that value.
    pub(crate) fn new(setting: &'static str, value: impl ToString, expected: &'static str) -> Self {
        Self {
            setting,
            value: value.to_string(),
            expected,
        }
    }
}

/// Why a kernel, attention, a Gaussian process or a regression cannot be made, or cannot compute. Losses have
/// [`LossError`](crate::loss::LossError).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// A formula is refused.
    #[error(transparent)]
    Lazy(#[from] LazyError),
    /// A system is not solved.
    #[error(transparent)]
    Solve(#[from] SolveError),
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A tensor has another shape than another one asks for.
    #[error("{what} of shape {shape:?} must have {expected}, for {other} of shape {other_shape:?}")]
    Shape {
        /// What the tensor is.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// What it does not fit.
        other: &'static str,
        /// The shape of that.
        other_shape: Vec<usize>,
        /// What it must have.
        expected: &'static str,
    },
    /// There is nothing to compute with.
    #[error("{0} must not be empty")]
    Empty(&'static str),
    /// There are values that are not finite.
    #[error("there are values that are not finite in {0}")]
    NotFinite(&'static str),
    /// A stored matrix has no Cholesky factor.
    #[error("{what} of {size} points is not positive definite, as seen in row {row}: {hint}")]
    NotPositiveDefinite {
        /// What the matrix is.
        what: &'static str,
        /// Its rows.
        size: usize,
        /// The first row in which it was seen.
        row: usize,
        /// What helps.
        hint: &'static str,
    },
    /// A matrix would have to be stored that is too large for it.
    #[error("{what} of {size} points would be stored, which is done for up to {limit}")]
    TooLarge {
        /// What the matrix is.
        what: &'static str,
        /// Its rows.
        size: usize,
        /// The most rows that are stored.
        limit: usize,
    },
}

/// The value, or a panic with the error at the caller's line.
#[track_caller]
pub(crate) fn expect<T, E: std::error::Error>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// An error unless the number is finite and one that `fits`.
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

/// An error if the number is negative or not finite.
pub(crate) fn check_not_negative(setting: &'static str, value: f64) -> Result<(), SettingError> {
    check_setting(setting, value, "finite and not negative", value >= 0.0)
}
