//! The errors of linear systems.

use burn::tensor::DType;

use crate::error::{FormulaInfo, LazyError};

/// Why a system was not solved.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SolveError {
    /// A formula, or a product with the operator, is refused.
    #[error(transparent)]
    Lazy(#[from] LazyError),
    /// An option has a value that is not allowed.
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
        /// The name of the tensor.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// The number of rows that the tensor needs.
        rows: usize,
        /// Batch dimensions of the operator.
        batch: Vec<usize>,
    },
    /// The number of batch dimensions of a matrix does not fit the rank of the tensors.
    #[error(
        "{method} takes a matrix with {dimensions} batch dimensions here, not one of batch {batch:?}"
    )]
    Batch {
        /// The method that takes the matrix.
        method: &'static str,
        /// The batch dimensions of the matrix.
        batch: Vec<usize>,
        /// The number of batch dimensions that the matrix must have: the rank of the tensors minus 2, or 0 for
        /// vectors.
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
    /// A tensor is a vector where a matrix is needed.
    #[error("{what} of shape {shape:?} is no matrix")]
    NotMatrix {
        /// The name of the tensor.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The shapes of two matrices do not allow a product.
    #[error("matrices of shapes {left:?} and {right:?} have no product")]
    Product {
        /// The shape of the matrix on the left.
        left: Vec<usize>,
        /// The shape of the matrix on the right.
        right: Vec<usize>,
    },
    /// Tensors are on different devices.
    #[error("{what} is on {own}, the right-hand side on {right}; move one of them")]
    MixedDevices {
        /// The name of the tensor.
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
        /// The name of the tensor.
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
        /// The right-hand side for which it was seen, counted as in
        /// [`SolveInfo::residuals`](super::SolveInfo::residuals). If it was seen in the matrix itself, the row,
        /// counted through the matrices of a batch.
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
        /// The relative residual that was asked for.
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
