//! Preconditioners: operators close to the inverse of a matrix, cheap to apply.

use std::{fmt, sync::Arc};

use burn::tensor::{DType, Device, Tensor};
use burn_lazy_kernels::Axis;
use nalgebra::{DMatrix, DVector};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    SolveError,
    operator::{computed, scaled_rows},
    system::{epsilon, host, one_square, product, tensor},
    vector::as_vector,
};
use crate::{error::LazyError, lazy::LazyTensor};

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

/// How many columns of a matrix stand for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rank {
    /// As many columns as it takes until the missing part of the trace is below ten times the ridge. There are at
    /// most 1000 columns, and at most an eighth of all columns, or 256 if an eighth is less.
    Auto,
    /// At most this many columns. There are fewer if these already give the matrix up to rounding.
    Columns(usize),
}

/// The smallest ridge of $P$ relative to the largest eigenvalue, in rounding units. A product with $P^{-1}$ is the
/// difference of numbers that are larger by the inverse of this ratio.
const ROUNDING: f64 = 300.0;

/// The smallest entry of the diagonal of $K - F F^\top$ relative to that of $K$, in rounding units, that becomes
/// a pivot.
const SMALLEST_PIVOT: f64 = 16_000.0;

/// The number of columns that are drawn at a time.
const BLOCK: usize = 32;

/// The Nyström preconditioner of $\alpha I + K$: with a few columns $S$ of $K$ the inverse of $P = \alpha I
/// + F F^\top$, where $F F^\top = K_{:S} K_{SS}^{-1} K_{S:}$.
///
/// The columns are drawn by randomly pivoted Cholesky (Chen, Epperly, Tropp and Webber, "Randomly
/// pivoted Cholesky", 2022), in blocks with rejection (Epperly, Tropp and Webber, "Embrace rejection",
/// 2024), from a fixed seed. Neither $K$ nor $F$ is stored: a product with $P^{-1}$ takes two products with
/// the symbolic $K_{:S}$ and two with small matrices.
///
/// Where rounding does not allow a small $\alpha$, $P$ has a larger one: in F32 about $4 \cdot 10^{-5}$ times the
/// largest eigenvalue. The solution is still that of the $\alpha$ of the system.
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
pub struct Nystrom(Arc<Factors>);

struct Factors {
    /// The type in which products are computed.
    dtype: DType,
    /// The $\alpha$ of $P$, which may be larger than the ridge because of rounding.
    ridge: f64,
    rank: usize,
    log_det: f64,
    /// None for a matrix of rank 0.
    pivots: Option<Pivots>,
}

struct Pivots {
    /// $K_{:S}$.
    columns: LazyTensor,
    /// $K_{S:}$.
    rows: LazyTensor,
    /// $B$ and $B^\top$ with $B^\top B = (\alpha K_{SS} + K_{S:} K_{:S})^{-1}$.
    root: Tensor<2>,
    root_transposed: Tensor<2>,
    /// $R^{-1}$ with $R^\top R = K_{SS}$, so that $F = K_{:S} R^{-1}$.
    inverse: Tensor<2>,
}

impl fmt::Debug for Nystrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nystrom")
            .field("ridge", &self.0.ridge)
            .field("rank", &self.0.rank)
            .finish_non_exhaustive()
    }
}

impl Nystrom {
    /// The preconditioner of $\alpha I + K$ for a symmetric positive definite `k` without batch dimensions,
    /// with $\alpha$ = `ridge` > 0. For F16 and BF16 it is computed in F32.
    ///
    /// # Errors
    /// If the matrix is not square, has batch dimensions or entries on the diagonal that are negative or
    /// not finite, or if the ridge is not positive.
    pub fn new(k: &LazyTensor, ridge: f64, rank: Rank) -> Result<Self, SolveError> {
        let n = one_square(k, "a Nyström preconditioner")?;
        let k = computed::<_, 2>(k.inner())?;
        if !(ridge > 0.0 && ridge.is_finite()) {
            return Err(SolveError::Option {
                option: "ridge",
                value: ridge,
            });
        }
        let extent = k.extent();
        let dtype = extent.dtype.expect("it has sizes");
        let device = extent.device.expect("it has sizes").inner();
        let pivoted = PivotedCholesky::new(&k, &device, dtype)?.run(rank, ridge)?;
        let Some(pivoted) = pivoted else {
            return Ok(Self(Arc::new(Factors {
                dtype,
                ridge,
                rank: 0,
                log_det: n as f64 * ridge.ln(),
                pivots: None,
            })));
        };
        let PivotedCholesky {
            pivots,
            inverse,
            gram,
            ..
        } = pivoted;
        let rank = pivots.len();
        // Within the range of F, P^-1 is the small difference of large numbers: their quotient is the largest
        // eigenvalue over the ridge.
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
        let stored = |matrix: &DMatrix<f64>| {
            let (rows, columns) = matrix.shape();
            let values = matrix.transpose().as_slice().to_vec();
            tensor(values, [rows, columns], (&device, dtype))
        };
        Ok(Self(Arc::new(Factors {
            dtype,
            ridge,
            rank,
            log_det,
            pivots: Some(Pivots {
                columns: k.select(Axis::J, &pivots)?,
                rows: k.select(Axis::I, &pivots)?,
                root: stored(&root),
                root_transposed: stored(&root.transpose()),
                inverse: stored(&inverse),
            }),
        })))
    }

    /// Number of columns that were chosen.
    pub fn rank(&self) -> usize {
        self.0.rank
    }

    /// $\log \det P$, where the preconditioner is the inverse of $P$.
    pub fn log_det(&self) -> f64 {
        self.0.log_det
    }

    /// Random vectors of the normal distribution with the covariance $P$, made of vectors of two standard normal
    /// distributions, with `rank` rows and with N rows.
    pub(crate) fn color(&self, small: Tensor<2>, large: Tensor<2>) -> Result<Tensor<2>, LazyError> {
        let large = large * self.0.ridge.sqrt();
        Ok(match &self.0.pivots {
            None => large,
            Some(pivots) => {
                large
                    + pivots
                        .columns
                        .try_matmul(product(&pivots.inverse, &small)?)?
            }
        })
    }
}

impl Preconditioner<2> for Nystrom {
    fn apply(&self, r: Tensor<2>) -> Result<Tensor<2>, LazyError> {
        let dtype = r.dtype();
        let r = r.cast(self.0.dtype);
        let r_in_range = match &self.0.pivots {
            None => r,
            Some(pivots) => {
                let small = product(&pivots.root, &pivots.rows.try_matmul(r.clone())?)?;
                let small = product(&pivots.root_transposed, &small)?;
                r - pivots.columns.try_matmul(small)?
            }
        };
        Ok((r_in_range / self.0.ridge).cast(dtype))
    }
}

impl Preconditioner<1> for Nystrom {
    fn apply(&self, r: Tensor<1>) -> Result<Tensor<1>, LazyError> {
        let column: Tensor<2> = self.apply(r.unsqueeze_dim(1))?;
        Ok(as_vector(column))
    }
}

/// A partial Cholesky factorisation $K \approx F F^\top$ that grows by columns.
struct PivotedCholesky<'a> {
    k: &'a LazyTensor,
    device: &'a Device,
    dtype: DType,
    rng: StdRng,
    /// The diagonal of $K$ and that of $K - F F^\top$.
    diagonal: Vec<f64>,
    missing: Vec<f64>,
    /// The columns $S$.
    pivots: Vec<usize>,
    /// $R^{-1}$ with $R^\top R = K_{SS}$.
    inverse: DMatrix<f64>,
    /// $F^\top F$ with $F = K_{:S} R^{-1}$.
    gram: DMatrix<f64>,
}

impl<'a> PivotedCholesky<'a> {
    fn new(k: &'a LazyTensor, device: &'a Device, dtype: DType) -> Result<Self, SolveError> {
        let diagonal = k.host_diagonal()?;
        if diagonal.iter().any(|value| !value.is_finite()) {
            return Err(SolveError::NotFinite("the diagonal of the matrix"));
        }
        if let Some(column) = diagonal.iter().position(|value| *value < 0.0) {
            return Err(SolveError::NotPositiveDefinite {
                what: "the matrix",
                iteration: 0,
                column,
            });
        }
        Ok(Self {
            k,
            device,
            dtype,
            rng: StdRng::seed_from_u64(0),
            missing: diagonal.clone(),
            diagonal,
            pivots: Vec::new(),
            inverse: DMatrix::zeros(0, 0),
            gram: DMatrix::zeros(0, 0),
        })
    }

    /// Adds columns until there are enough; none if there is nothing to add.
    fn run(mut self, rank: Rank, ridge: f64) -> Result<Option<Self>, SolveError> {
        let n = self.diagonal.len();
        let (most, enough) = match rank {
            Rank::Auto => ((n / 8).clamp(256, 1000).min(n), 10.0 * ridge),
            Rank::Columns(most) => (most.min(n), 0.0),
        };
        // Smaller pivots are mostly rounding errors, which a division by them would enlarge.
        let noise = SMALLEST_PIVOT * epsilon(self.dtype);
        let mut failures = 0;
        while self.pivots.len() < most && failures < 3 {
            let left: Vec<usize> = (0..n)
                .filter(|&i| self.missing[i] > noise * self.diagonal[i])
                .collect();
            let trace: f64 = left.iter().map(|&i| self.missing[i]).sum();
            if trace <= enough {
                break;
            }
            let amount = BLOCK.min(most - self.pivots.len()).min(left.len());
            let weight = |at: usize| self.missing[left[at]];
            let drawn =
                rand::seq::index::sample_weighted(&mut self.rng, left.len(), weight, amount)
                    .expect("the weights are positive and finite");
            let candidates: Vec<usize> = drawn.iter().map(|at| left[at]).collect();
            match self.extend(&candidates)? {
                true => failures = 0,
                false => failures += 1,
            }
        }
        Ok((!self.pivots.is_empty()).then_some(self))
    }

    /// Adds the candidates that are accepted. Returns whether there were any.
    fn extend(&mut self, candidates: &[usize]) -> Result<bool, SolveError> {
        let old = self.pivots.len();
        let all: Vec<usize> = self.pivots.iter().chain(candidates).copied().collect();
        let block = self.k.select(Axis::J, candidates)?.select(Axis::I, &all)?;
        let block = DMatrix::from_vec(all.len(), candidates.len(), block.host_entries()?);
        if block.iter().any(|value| !value.is_finite()) {
            return Err(SolveError::NotFinite("the matrix"));
        }
        let projected = self.inverse.tr_mul(&block.rows(0, old));
        let mut rest = block.rows(old, candidates.len()) - projected.tr_mul(&projected);

        // The candidates were drawn by the diagonal as it was before any of them was added. Each is accepted with the
        // probability of what is left of its diagonal entry after those before it. This draws as if they had been
        // drawn one by one.
        let mut accepted: Vec<usize> = Vec::new();
        let mut factor: Vec<DVector<f64>> = Vec::new();
        for at in 0..candidates.len() {
            let pivot = rest[(at, at)];
            let before = self.missing[candidates[at]];
            if pivot <= 1e-3 * before || self.rng.random::<f64>() * before >= pivot {
                continue;
            }
            let column = rest.column(at) / pivot.sqrt();
            rest.ger(-1.0, &column, &column, 1.0);
            accepted.push(at);
            factor.push(column);
        }
        if accepted.is_empty() {
            return Ok(false);
        }
        let added = accepted.len();
        let lower = DMatrix::from_fn(added, added, |i, j| match i >= j {
            true => factor[j][accepted[i]],
            false => 0.0,
        });
        let lower_inverse = lower
            .solve_lower_triangular(&DMatrix::identity(added, added))
            .expect("pivots are positive");
        let upper = lower_inverse.transpose();
        let projected = projected.select_columns(&accepted);
        let mut columns = DMatrix::zeros(old + added, added);
        columns
            .rows_mut(0, old)
            .copy_from(&(-(&self.inverse * projected * &upper)));
        columns.rows_mut(old, added).copy_from(&upper);
        self.inverse = std::mem::take(&mut self.inverse).resize(old + added, old + added, 0.0);
        self.inverse.columns_mut(old, added).copy_from(&columns);
        self.pivots
            .extend(accepted.iter().map(|&at| candidates[at]));

        // The new columns of F.
        let values = columns.transpose().as_slice().to_vec();
        let columns = tensor(values, [old + added, added], (self.device, self.dtype));
        let f = self.k.select(Axis::J, &self.pivots)?.try_matmul(columns)?;
        let squares: Tensor<2> = LazyTensor::try_vi(f.clone())?.sqnorm().entries()?;
        for (missing, square) in self.missing.iter_mut().zip(host(squares)) {
            *missing = (*missing - square).max(0.0);
        }
        for pivot in &self.pivots {
            self.missing[*pivot] = 0.0;
        }
        let products = host(self.k.select(Axis::I, &self.pivots)?.try_matmul(f)?);
        let products = DMatrix::from_row_slice(old + added, added, &products);
        let new = self.inverse.tr_mul(&products);
        self.gram = std::mem::take(&mut self.gram).resize(old + added, old + added, 0.0);
        self.gram.columns_mut(old, added).copy_from(&new);
        self.gram.rows_mut(old, added).copy_from(&new.transpose());
        let corner = new.rows(old, added).clone_owned();
        let corner = (&corner + corner.transpose()) * 0.5;
        self.gram
            .view_mut((old, old), (added, added))
            .copy_from(&corner);
        Ok(true)
    }
}
