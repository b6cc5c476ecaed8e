//! Why systems are not solved.

use burn::tensor::DType;

use crate::error::{FormulaInfo, LazyError};

/// Why a system was not solved.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SolveError {
    /// The products with the operator are refused.
    #[error(transparent)]
    Lazy(#[from] LazyError),
    /// An option makes no sense.
    #[error("the option `{option}` cannot be {value}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        value: f64,
    },
    /// The operator is not square.
    #[error("a system needs a square operator, not one of {} x {}", sizes[0], sizes[1])]
    NotSquare {
        /// Its rows and columns.
        sizes: [usize; 2],
    },
    /// The operator is not symmetric.
    #[error("the matrix is not symmetric: {0}")]
    NotSymmetric(Box<FormulaInfo>),
    /// A tensor does not fit the operator.
    #[error(
        "{what} of shape {shape:?} does not fit an operator of {rows} rows and batch {batch:?}"
    )]
    Shape {
        /// What the tensor is.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// Rows that it needs.
        rows: usize,
        /// Batch dimensions of the operator.
        batch: Vec<usize>,
    },
    /// A matrix has other batch dimensions than tensors of the rank for which something is computed.
    #[error(
        "{method} takes a matrix with {dimensions} batch dimensions here, not one of batch {batch:?}"
    )]
    Batch {
        /// What takes the matrix.
        method: &'static str,
        /// The batch dimensions of the matrix.
        batch: Vec<usize>,
        /// How many there must be: the rank of tensors less 2, and none for vectors.
        dimensions: usize,
    },
    /// A column of the matrix of constraints is a combination of those before it, up to rounding.
    #[error(
        "the constraints are dependent: column {column} of matrix {matrix} of their batch is a combination of those \
         before it, up to rounding"
    )]
    Dependent {
        /// The matrix of the batch; 0 without batch dimensions.
        matrix: usize,
        /// The column.
        column: usize,
    },
    /// A vector stands where a matrix is asked for.
    #[error("{what} of shape {shape:?} is no matrix")]
    NotMatrix {
        /// What the tensor is.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Matrices have no product.
    #[error("matrices of shapes {left:?} and {right:?} have no product")]
    Product {
        /// The shape of the matrix on the left.
        left: Vec<usize>,
        /// That of the matrix on the right.
        right: Vec<usize>,
    },
    /// Tensors are on different devices.
    #[error("{what} is on {own}, the right-hand side on {right}; move one of them")]
    MixedDevices {
        /// What the tensor is.
        what: &'static str,
        /// Its device.
        own: String,
        /// The device of the right-hand side.
        right: String,
    },
    /// A triangular matrix has a 0 on its diagonal.
    #[error(
        "the triangular matrix {matrix} of its batch is singular: entry {row} of its diagonal is 0"
    )]
    Singular {
        /// The matrix of the batch; 0 without batch dimensions.
        matrix: usize,
        /// The row.
        row: usize,
    },
    /// The values of constraints do not fit them or the right-hand side.
    #[error(
        "the values of the constraints of shape {shape:?} do not fit {constraints} constraints and {columns} right-hand \
         sides, of batch {batch:?}"
    )]
    ConstraintValues {
        /// The shape of the values.
        shape: Vec<usize>,
        /// How many constraints there are.
        constraints: usize,
        /// How many right-hand sides there are.
        columns: usize,
        /// The batch dimensions of the system.
        batch: Vec<usize>,
    },
    /// A tensor has another type than the right-hand side.
    #[error("{what} is of type {own:?}, the right-hand side of type {right:?}; cast one of them")]
    MixedTypes {
        /// What the tensor is.
        what: &'static str,
        /// Its type.
        own: DType,
        /// The type of the right-hand side.
        right: DType,
    },
    /// Iterations cannot compute in this type, or a right-hand side in F16 or BF16 meets an operator of another type.
    #[error(
        "systems are solved in F32 or F64, not in {0:?}; cast the right-hand side and the operator to one type"
    )]
    Dtype(DType),
    /// There are values that are not finite.
    #[error("{0} has values that are not finite")]
    NotFinite(&'static str),
    /// The operator (or the preconditioner) is not positive definite.
    #[error("{what} is not positive definite: {}", seen(*iteration, *column))]
    NotPositiveDefinite {
        /// The operator or the preconditioner.
        what: &'static str,
        /// The iteration in which it was seen, counted from 1; 0 if it was seen in the matrix itself.
        iteration: usize,
        /// The right-hand side for which it was seen, counted as in [`SolveInfo::residuals`](super::SolveInfo::residuals). If it was seen in the
        /// matrix itself, the row, where all rows of a matrix of a batch come before those of the next.
        column: usize,
    },
    /// The iteration limit was reached, or the iterations stagnate.
    #[error(
        "not converged after {iterations} iterations: the relative residual is {residual:.1e} and \
         should be {tolerance:.1e}{}", outlook(*stagnated)
    )]
    NotConverged {
        /// The iterations that were made: the limit, or fewer if the iterations stagnate.
        iterations: usize,
        /// The largest relative residual.
        residual: f64,
        /// What it should be.
        tolerance: f64,
        /// Whether the iterations stagnate, so that more of them would not lower the residual.
        stagnated: bool,
    },
}

fn seen(iteration: usize, column: usize) -> String {
    match iteration {
        0 => format!("seen in row {column}"),
        _ => format!("seen in iteration {iteration} for right-hand side {column}"),
    }
}

fn outlook(stagnated: bool) -> &'static str {
    match stagnated {
        true => {
            "; the iterations stagnate. Where the matrix is singular, a right-hand side outside of its range has \
             no solution: add a ridge. Where rounding is to blame, cast the operands to F64"
        }
        false => "",
    }
}
