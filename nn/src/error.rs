//! What layers refuse, and why.

use burn_lazy::{LazyError, solve::SolveError};

/// Why a layer cannot be made, or cannot compute.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// A formula is refused.
    #[error(transparent)]
    Lazy(#[from] LazyError),
    /// A system is not solved.
    #[error(transparent)]
    Solve(#[from] SolveError),
    /// A number in a configuration makes no sense.
    #[error("`{setting}` is {value}, but must be {expected}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        expected: &'static str,
    },
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

/// An error if the number is not one that `fits`.
pub(crate) fn check_setting(
    setting: &'static str,
    value: f64,
    expected: &'static str,
    fits: bool,
) -> Result<(), LayerError> {
    match fits {
        true => Ok(()),
        false => Err(LayerError::Setting {
            setting,
            value,
            expected,
        }),
    }
}
