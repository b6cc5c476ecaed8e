//! Linear systems whose matrix is a kernel matrix plus a multiple of the identity.

use burn::prelude::*;
use burn_lazy::{
    LazyTensor,
    solve::{LinearOperator, Nystrom, Rank, SolveOptions},
};
use nalgebra::DMatrix;

use crate::{
    dense::{self, Cholesky},
    error::LayerError,
};

/// How systems with a kernel matrix of N points are solved.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Inference {
    /// By Cholesky's method for up to 1000 points, otherwise iteratively.
    Auto,
    /// The matrix is stored and factored on the host, in F64. This takes $N^2$ numbers and $N^3 / 3$ operations.
    Cholesky,
    /// By conjugate gradients with a Nyström preconditioner. The preconditioner takes $N$ times its rank numbers.
    Iterative,
}

impl Inference {
    /// The largest number of points for which [`Inference::Auto`] stores the matrix.
    const STORED: usize = 1000;

    /// Whether the matrix of `points` points is stored.
    pub(crate) fn stores(self, points: usize) -> bool {
        match self {
            Inference::Auto => points <= Self::STORED,
            Inference::Cholesky => true,
            Inference::Iterative => false,
        }
    }
}

/// The settings of iterative solves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Iterations {
    /// The relative residual at which the iteration stops.
    pub tolerance: f64,
    /// The rank of the preconditioner. If there is none, it follows from the number of points.
    pub rank: Option<usize>,
}

impl Iterations {
    /// The preconditioner of $K + s I$ for `points` points. There is none if $s$ is not positive.
    pub fn preconditioner(
        &self,
        k: &LazyTensor,
        points: usize,
        shift: f64,
    ) -> Result<Option<Nystrom>, LayerError> {
        if shift <= 0.0 {
            return Ok(None);
        }
        let rank = self.rank.unwrap_or_else(|| (points / 20).max(100));
        let rank = Rank::Columns(rank.clamp(1, points));
        Ok(Some(Nystrom::new(k, shift, rank)?))
    }

    /// The options of solves with $K + s I$: $s$ as the ridge, the tolerance and the preconditioner.
    pub fn options(&self, shift: f64, nystrom: Option<Nystrom>) -> SolveOptions<2> {
        let options = SolveOptions::default()
            .ridge(shift)
            .tolerance(self.tolerance);
        match nystrom {
            Some(nystrom) => options.preconditioner(nystrom),
            None => options,
        }
    }
}

/// The symmetric positive definite matrix $A = K + s I$ of N points, without gradients.
#[derive(Clone, Debug)]
pub(crate) enum System {
    /// The Cholesky factor of the stored matrix.
    Stored(Cholesky),
    /// The symbolic matrix, which is only multiplied by vectors.
    Symbolic {
        /// $K$.
        k: Box<LazyTensor>,
        /// The options of solves with $K$, whose ridge is $s$.
        options: Box<SolveOptions<2>>,
    },
}

/// The number of columns that are computed and stored at once.
const BLOCK: usize = 64;

impl System {
    /// The matrix $K + s I$, where `k` is the kernel matrix of `points` points and `shift` is $s$.
    pub fn new(
        k: &LazyTensor,
        points: usize,
        shift: f64,
        inference: Inference,
        iterations: Iterations,
    ) -> Result<Self, LayerError> {
        let k = k.inner();
        match inference.stores(points) {
            true => Ok(Self::Stored(factored(&k, shift)?)),
            false => {
                let nystrom = iterations.preconditioner(&k, points, shift)?;
                let options = Box::new(iterations.options(shift, nystrom));
                let k = Box::new(k);
                Ok(Self::Symbolic { k, options })
            }
        }
    }

    /// $A^{-1} b$, where `b` has the shape `[N, E]`.
    pub fn solve(&self, b: Tensor<2>) -> Result<Tensor<2>, LayerError> {
        match self {
            Self::Stored(cholesky) => {
                let options = (&b.device(), b.dtype());
                Ok(dense::tensor(&cholesky.solve(&dense::host(b)), options))
            }
            Self::Symbolic { k, options } => Ok(k.solve(b, options)?.solution),
        }
    }

    /// $c^\top A^{-1} c$ for each of the M columns $c$ of a symbolic matrix of N rows.
    pub fn explained(&self, columns: &LazyTensor) -> Result<Vec<f64>, LayerError> {
        let [rows, count] = LinearOperator::<2>::sizes(columns)?;
        let columns = columns.inner();
        let mut explained = Vec::with_capacity(count);
        for first in (0..count).step_by(BLOCK) {
            let block = columns.try_block(0..rows, first..count.min(first + BLOCK))?;
            match self {
                Self::Stored(cholesky) => {
                    let (block, _) = dense::entries(&block)?;
                    explained.extend(squares(&cholesky.half_solve(&block)));
                }
                Self::Symbolic { .. } => {
                    let block: Tensor<2> = block.try_dense::<3>()?.squeeze_dim(2);
                    let products = block.clone() * self.solve(block)?;
                    explained.extend(products.sum_dim(0).into_data().iter::<f64>());
                }
            }
        }
        Ok(explained)
    }

    /// The diagonal of $A^{-1}$, where $N$ is `points`.
    pub fn inverse_diagonal(&self, points: usize) -> Result<Vec<f64>, LayerError> {
        match self {
            Self::Stored(cholesky) => Ok(squares(&cholesky.inverse_root()).collect()),
            Self::Symbolic { k, .. } => {
                let options =
                    LinearOperator::<2>::vectors(k.as_ref()).map(|(d, t)| (d.inner(), t))?;
                let mut diagonal = Vec::with_capacity(points);
                for first in (0..points).step_by(BLOCK) {
                    let width = BLOCK.min(points - first);
                    let mut unit = DMatrix::zeros(points, width);
                    (0..width).for_each(|column| unit[(first + column, column)] = 1.0);
                    let solved = self.solve(dense::tensor(&unit, (&options.0, options.1)))?;
                    let solved = dense::host(solved);
                    diagonal.extend((0..width).map(|column| solved[(first + column, column)]));
                }
                Ok(diagonal)
            }
        }
    }
}

/// The squared norm of each column.
fn squares(matrix: &DMatrix<f64>) -> impl Iterator<Item = f64> {
    matrix.column_iter().map(|column| column.norm_squared())
}

/// The Cholesky factor of the stored matrix $K + s I$.
pub(crate) fn factored(k: &LazyTensor, shift: f64) -> Result<Cholesky, LayerError> {
    let (mut matrix, rounding) = dense::entries(k)?;
    let size = matrix.nrows();
    (0..size).for_each(|i| matrix[(i, i)] += shift);
    Cholesky::new(matrix, rounding).map_err(|row| LayerError::NotPositiveDefinite {
        what: "the covariance",
        size,
        row,
        hint: "raise the noise (the ridge), or leave out points that coincide",
    })
}
