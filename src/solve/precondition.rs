//! Preconditioners: operators close to the inverse of a matrix, cheap to apply.

use std::{fmt, sync::Arc};

use burn::{
    backend::{Dispatch, ops::FloatTensorOps},
    tensor::{DType, Shape, Tensor},
};
use burn_lazy_kernels::{Axis, expr::Dependence};
use nalgebra::DMatrix;

use super::{
    SolveError,
    operator::{computed, scaled_rows},
    pivoted::{PivotedCholesky, Rank},
    system::{epsilon, host, square, tensor},
    vector::as_vector,
};
use crate::{error::LazyError, lazy::LazyTensor, operand::Operand};

/// A symmetric positive definite operator $M$ that is close to the inverse of the operator of a system.
pub trait Preconditioner<const R: usize>: fmt::Debug + Send + Sync {
    /// The product $M r$ with a block of vectors `[batch.., N, E]`, of the type of `r`.
    ///
    /// # Errors
    /// If `r` does not fit.
    fn apply(&self, r: Tensor<R>) -> Result<Tensor<R>, LazyError>;
}

/// Jacobi's preconditioner, the inverse of the diagonal of $\alpha I + K$.
///
/// It helps where the diagonal varies. Kernels of a distance are constant on the diagonal, and it does nothing for
/// them.
#[derive(Clone, Debug)]
pub struct Jacobi<const R: usize> {
    inverse: Tensor<R>,
}

impl<const R: usize> Jacobi<R> {
    /// The preconditioner of `k` with the given ridge. For F16 and BF16 it is computed in F32.
    ///
    /// # Errors
    /// If the matrix is not square, if it has other than `R - 2` batch dimensions (none for vectors, `R = 1`), or if
    /// an entry of the diagonal is not finite or, with the ridge, not positive.
    pub fn new(k: &LazyTensor, ridge: f64) -> Result<Self, SolveError> {
        let k = computed::<_, 2>(k.inner())?;
        let diagonal: Tensor<R> = match R {
            1 => as_vector(k.try_diag()?),
            _ => k.try_diag()?,
        };
        let diagonal = diagonal + ridge;
        let values = host(diagonal.clone());
        if values.iter().any(|value| !value.is_finite()) {
            return Err(SolveError::NotFinite("the diagonal of the matrix"));
        }
        if let Some(column) = values.iter().position(|value| *value <= 0.0) {
            return Err(SolveError::NotPositiveDefinite {
                what: "the diagonal of the matrix",
                iteration: 0,
                column,
            });
        }
        Ok(Self {
            inverse: diagonal.recip(),
        })
    }
}

impl<const R: usize> Preconditioner<R> for Jacobi<R> {
    fn apply(&self, r: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        let inverse = self.inverse.clone().cast(r.dtype());
        scaled_rows(r, inverse)
    }
}

/// The smallest ridge of $P$ relative to the largest eigenvalue, in rounding units. A product with $P^{-1}$ is a
/// difference of numbers that are larger than the result by the inverse of this ratio.
const ROUNDING: f64 = 300.0;

/// The Nyström preconditioner of $\alpha I + K$: the inverse of $P = \alpha I + F F^\top$, where
/// $F F^\top = K_{:S} K_{SS}^{-1} K_{S:}$ approximates $K$ by a few of its columns $S$.
///
/// The columns are drawn by randomly pivoted Cholesky (Chen, Epperly, Tropp and Webber, "Randomly
/// pivoted Cholesky", 2022), in blocks with rejection (Epperly, Tropp and Webber, "Embrace rejection",
/// 2024), from a fixed seed. Neither $K$ nor $F$ is stored: a product with $P^{-1}$ takes two products with
/// the symbolic $K_{:S}$ and two with small matrices.
///
/// Where rounding does not allow a small $\alpha$, $P$ has a larger one: in F32 about $4 \cdot 10^{-5}$ times the
/// largest eigenvalue. The solution is still that of the $\alpha$ of the system.
///
/// Each matrix of a batch has its own columns, the same that it would have alone. They are drawn for one matrix after
/// the other. Products are computed for all matrices together, and matrices with fewer columns are filled up with
/// zeros. The rank `R` is that of the tensors that the preconditioner is applied to: 2 for one matrix, 3 for a batch
/// of them, 1 for one matrix and single vectors.
///
/// Clones share their tensors.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::{prelude::*, tensor::Distribution};
/// use burn_lazy::{LazyTensor, solve::{Nystrom, Rank, SolveOptions}};
///
/// let device = Device::default();
/// let x = Tensor::<2>::random([500, 2], Distribution::Default, &device);
/// let b = Tensor::<2>::random([500, 1], Distribution::Default, &device);
/// let k_xx = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x))).exp();
/// let plain = SolveOptions::default().ridge(1e-3).tolerance(1e-4);
/// let nystrom = Nystrom::new(&k_xx, 1e-3, Rank::Auto)?;
/// let preconditioned = plain.clone().preconditioner(nystrom);
/// let [many, few] = [plain, preconditioned].map(|options| k_xx.solve(b.clone(), &options));
/// assert!(few?.info.iterations < many?.info.iterations);
/// # }
/// # Ok::<(), burn_lazy::solve::SolveError>(())
/// ```
#[derive(Clone)]
pub struct Nystrom<const R: usize = 2>(Arc<Factors>);

struct Factors {
    /// The type in which products are computed.
    dtype: DType,
    /// The rows of a matrix.
    rows: usize,
    /// The batch dimensions. Each list below has one number for each matrix.
    batch: Vec<usize>,
    /// The $\alpha$ of $P$, which may be larger than the ridge because of rounding.
    ridges: Vec<f64>,
    ranks: Vec<usize>,
    log_dets: Vec<f64>,
    /// `None` if no matrix has any columns.
    pivots: Option<Pivots>,
}

/// The columns of all matrices of a batch, and their small matrices, which are filled up with zeros to the size of
/// the largest.
struct Pivots {
    /// $K_{:S}$.
    columns: LazyTensor,
    /// $K_{S:}$.
    rows: LazyTensor,
    /// $B$ with $B^\top B = (\alpha K_{SS} + K_{S:} K_{:S})^{-1}$.
    root: LazyTensor,
    /// $R^{-1}$ with $R^\top R = K_{SS}$, so that $F = K_{:S} R^{-1}$.
    inverse: LazyTensor,
}

/// The columns, ridge and small matrices of the preconditioner of one matrix.
struct Single {
    pivots: Vec<usize>,
    ridge: f64,
    log_det: f64,
    root: DMatrix<f64>,
    inverse: DMatrix<f64>,
}

impl Single {
    fn new(pivoted: Option<PivotedCholesky>, n: usize, ridge: f64) -> Result<Self, SolveError> {
        let Some(pivoted) = pivoted else {
            return Ok(Self {
                pivots: vec![],
                ridge,
                log_det: n as f64 * ridge.ln(),
                root: DMatrix::zeros(0, 0),
                inverse: DMatrix::zeros(0, 0),
            });
        };
        let PivotedCholesky {
            pivots,
            inverse,
            gram,
            dtype,
            ..
        } = pivoted;
        let rank = pivots.len();
        // Within the range of F, a product with P^-1 is the small difference of large numbers. They are larger than
        // it by up to the ratio of the largest eigenvalue to the ridge.
        let mut ridge = ridge.max(ROUNDING * epsilon(dtype) * gram.norm());
        let cholesky = loop {
            let mut shifted = gram.clone();
            for k in 0..rank {
                shifted[(k, k)] += ridge;
            }
            match shifted.cholesky() {
                Some(cholesky) => break cholesky,
                None if ridge.is_finite() => ridge *= 10.0,
                None => return Err(SolveError::NotFinite("the matrix")),
            }
        };
        let lower = cholesky.l();
        let root = lower
            .solve_lower_triangular(&inverse.transpose())
            .expect("the diagonal of a Cholesky factor is positive");
        let log_det = 2.0 * lower.diagonal().map(f64::ln).sum() + (n - rank) as f64 * ridge.ln();
        Ok(Self {
            pivots,
            ridge,
            log_det,
            root,
            inverse,
        })
    }
}

impl<const R: usize> fmt::Debug for Nystrom<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nystrom")
            .field("ridges", &self.0.ridges)
            .field("ranks", &self.0.ranks)
            .finish_non_exhaustive()
    }
}

impl<const R: usize> Nystrom<R> {
    /// The preconditioner of $\alpha I + K$ for a symmetric positive definite `k` with `R - 2` batch dimensions (none
    /// for vectors, `R = 1`), with $\alpha$ = `ridge` > 0. For F16 and BF16 it is computed in F32.
    ///
    /// # Errors
    /// If the matrix is not square, has other batch dimensions or entries on the diagonal that are negative or
    /// not finite, or if the ridge is not positive.
    pub fn new(k: &LazyTensor, ridge: f64, rank: Rank) -> Result<Self, SolveError> {
        let n = square::<R>(k, "a Nyström preconditioner")?;
        let k = computed::<_, 2>(k.inner())?;
        if !(ridge > 0.0 && ridge.is_finite()) {
            return Err(SolveError::Option {
                option: "ridge",
                value: ridge,
            });
        }
        let extent = k.extent();
        let (batch, dtype) = (extent.batch, extent.dtype.expect("it has sizes"));
        let device = extent.device.expect("it has sizes").inner();
        let single = |number: usize| {
            let own = k.matrix(number)?;
            let pivoted = PivotedCholesky::new(&own, &device, dtype);
            let pivoted = pivoted.and_then(|own| own.run(rank, ridge));
            Single::new(
                pivoted.map_err(|error| of_matrix(error, number * n))?,
                n,
                ridge,
            )
        };
        let count = batch.iter().product();
        let all: Vec<Single> = (0..count).map(single).collect::<Result<_, _>>()?;
        let ranks: Vec<usize> = all.iter().map(|own| own.pivots.len()).collect();
        let size = ranks.iter().copied().max().unwrap_or(0);
        let stored = |matrix: &dyn Fn(&Single) -> DMatrix<f64>| {
            let values = all.iter().flat_map(|own| {
                let padded = matrix(own).resize(size, size, 0.0);
                padded.transpose().as_slice().to_vec()
            });
            let values = tensor(values.collect(), [count * size * size], (&device, dtype));
            let shape = Shape::from([&batch[..], &[size, size, 1]].concat());
            let values = Dispatch::float_reshape(values.into_dispatch(), shape);
            let operand = Operand::dispatch(values, device.clone(), Dependence::BOTH)?;
            Ok::<_, LazyError>(LazyTensor::leaf(operand))
        };
        let pivots = match size {
            0 => None,
            _ => {
                // A matrix with fewer columns is filled up with any column, as it is multiplied by zeros.
                let indices = all.iter().map(|own| {
                    let mut indices = own.pivots.clone();
                    indices.resize(size, indices.first().copied().unwrap_or(0));
                    indices
                });
                let indices: Vec<Vec<usize>> = indices.collect();
                Some(Pivots {
                    columns: k.gathered(Axis::J, &indices)?,
                    rows: k.gathered(Axis::I, &indices)?,
                    root: stored(&|own| own.root.clone())?,
                    inverse: stored(&|own| own.inverse.clone())?,
                })
            }
        };
        Ok(Self(Arc::new(Factors {
            dtype,
            ridges: all.iter().map(|own| own.ridge).collect(),
            log_dets: all.iter().map(|own| own.log_det).collect(),
            rows: n,
            batch,
            ranks,
            pivots,
        })))
    }

    /// Number of columns that were chosen. For a batch, this is the largest number of all matrices.
    pub fn rank(&self) -> usize {
        self.0.ranks.iter().copied().max().unwrap_or(0)
    }

    /// $\log \det P$ of each matrix of the batch, where the preconditioner is the inverse of $P$. Without batch
    /// dimensions there is one number.
    pub fn log_dets(&self) -> &[f64] {
        &self.0.log_dets
    }

    /// The number of columns of each matrix.
    pub(crate) fn ranks(&self) -> &[usize] {
        &self.0.ranks
    }

    /// The rows of a matrix.
    pub(crate) fn rows(&self) -> usize {
        self.0.rows
    }

    /// The batch dimensions of the matrices.
    pub(crate) fn batch(&self) -> &[usize] {
        &self.0.batch
    }

    /// Normally distributed random vectors with the covariance $P$. They are made from standard normal vectors:
    /// `small` with `rank` rows and `large` with N rows.
    pub(crate) fn color(&self, small: Tensor<R>, large: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        let large = self.by_matrix(large, Tensor::mul, |ridge| ridge.sqrt());
        Ok(match &self.0.pivots {
            None => large,
            Some(pivots) => {
                let parts = pivots.inverse.try_matmul(small)?;
                large + pivots.columns.try_matmul(parts)?
            }
        })
    }

    /// Combines the vectors `v` of each matrix with a number: `number` applied to the ridge of the matrix.
    fn by_matrix(
        &self,
        v: Tensor<R>,
        combine: impl Fn(Tensor<R>, Tensor<R>) -> Tensor<R>,
        number: impl Fn(f64) -> f64,
    ) -> Tensor<R> {
        if v.dims().contains(&0) {
            return v;
        }
        let numbers = self.0.ridges.iter().map(|ridge| number(*ridge)).collect();
        let mut shape = [1; R];
        shape[..self.0.batch.len()].copy_from_slice(&self.0.batch);
        let numbers = tensor(numbers, shape, (&v.device(), v.dtype()));
        combine(v, numbers)
    }
}

impl<const R: usize> Preconditioner<R> for Nystrom<R> {
    fn apply(&self, r: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        let dtype = r.dtype();
        let r = r.cast(self.0.dtype);
        let r_in_range = match &self.0.pivots {
            None => r,
            Some(pivots) => {
                let small = pivots.root.try_matmul(pivots.rows.try_matmul(r.clone())?)?;
                let small = pivots.root.t().try_matmul(small)?;
                r - pivots.columns.try_matmul(small)?
            }
        };
        Ok(self
            .by_matrix(r_in_range, Tensor::div, |ridge| ridge)
            .cast(dtype))
    }
}

/// The error for a matrix of a batch whose rows are counted from `first` on.
pub(crate) fn of_matrix(error: SolveError, first: usize) -> SolveError {
    match error {
        SolveError::NotPositiveDefinite {
            what,
            iteration: 0,
            column,
        } => SolveError::NotPositiveDefinite {
            what,
            iteration: 0,
            column: first + column,
        },
        other => other,
    }
}
