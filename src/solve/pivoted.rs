//! Partial Cholesky factors by randomly chosen columns.

use burn::tensor::{DType, Device, Tensor};
use burn_lazy_kernels::Axis;
use nalgebra::{DMatrix, DVector};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    SolveError,
    system::{epsilon, host, tensor},
};
use crate::lazy::LazyTensor;

/// The number of columns by which a matrix is approximated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rank {
    /// As many columns as it takes until the missing part of the trace is below ten times the ridge. There are at
    /// most 1000 columns, and at most an eighth of all columns, or 256 if an eighth is less.
    Auto,
    /// At most this many columns. Fewer are used if they already give the matrix up to rounding.
    Columns(usize),
}

/// The smallest entry of the diagonal of $K - F F^\top$ relative to that of $K$, in rounding units, that becomes
/// a pivot.
const SMALLEST_PIVOT: f64 = 16_000.0;

/// The number of columns that are drawn at a time.
const BLOCK: usize = 32;

/// A partial Cholesky factorisation $K \approx F F^\top$ that grows by columns.
pub(crate) struct PivotedCholesky<'a> {
    k: &'a LazyTensor,
    device: &'a Device,
    pub dtype: DType,
    rng: StdRng,
    /// The diagonal of $K$ and that of $K - F F^\top$.
    diagonal: Vec<f64>,
    missing: Vec<f64>,
    /// The columns $S$.
    pub pivots: Vec<usize>,
    /// $R^{-1}$ with $R^\top R = K_{SS}$.
    pub inverse: DMatrix<f64>,
    /// $F^\top F$ with $F = K_{:S} R^{-1}$.
    pub gram: DMatrix<f64>,
}

impl<'a> PivotedCholesky<'a> {
    pub fn new(k: &'a LazyTensor, device: &'a Device, dtype: DType) -> Result<Self, SolveError> {
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

    /// Adds columns until there are enough. Returns `None` if no column was added.
    pub fn run(mut self, rank: Rank, ridge: f64) -> Result<Option<Self>, SolveError> {
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

        // The candidates were drawn by the diagonal as it was before any of them was added. Each is accepted with a
        // probability: the part of its diagonal entry that is left after the accepted candidates before it. The
        // result is distributed as if they had been drawn one by one.
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
