//! The random vectors of stochastic Lanczos quadrature, and the quadrature from the coefficients of their iterations.

use burn::tensor::{DType, Device, Tensor};
use burn_lazy_kernels::place_in;
use nalgebra::SymmetricEigen;
use rand::{RngExt, rngs::StdRng};
use rand_distr::{Distribution, StandardNormal};

use super::{
    Nystrom, Preconditioner,
    lanczos::tridiagonal,
    system::{shape_of, tensor},
};
use crate::error::LazyError;

/// Draws random vectors $z$ with the covariance $P$ for all matrices, and gives $P^{-1} z$ with them. Without a
/// preconditioner, $P$ is the identity.
pub(crate) struct Probes<'a, const R: usize> {
    pub preconditioner: Option<&'a Nystrom<R>>,
    /// One generator for each matrix. All have the same seed, so that a matrix has the vectors that it would have
    /// alone.
    pub rngs: Vec<StdRng>,
    pub batch: Vec<usize>,
    pub rows: usize,
    pub place: (Device, DType),
}

impl<const R: usize> Probes<'_, R> {
    /// Draws `count` vectors $z$ for each matrix, and returns $z$ and $P^{-1} z$.
    pub fn draw(&mut self, count: usize) -> Result<[Tensor<R>; 2], LazyError> {
        let (n, batch) = (self.rows, &self.batch);
        let place = (&self.place.0, self.place.1);
        let block = |values, rows| tensor(values, shape_of(batch, rows, count), place);
        let Some(nystrom) = self.preconditioner else {
            let signs = self.rngs.iter_mut().flat_map(|rng| {
                let sign = |_| if rng.random() { 1.0 } else { -1.0 };
                (0..n * count).map(sign).collect::<Vec<f64>>()
            });
            let z = block(signs.collect(), n);
            return Ok([z.clone(), z]);
        };
        let rank = nystrom.rank();
        let (mut small, mut large) = (Vec::new(), Vec::new());
        for (number, rng) in self.rngs.iter_mut().enumerate() {
            let own = nystrom.ranks()[place_in(nystrom.batch(), batch, number)];
            let mut normal = |rows: usize| -> Vec<f64> {
                let numbers = StandardNormal.sample_iter(&mut *rng);
                numbers.take(rows * count).collect()
            };
            small.extend(normal(own));
            // Filled up to the columns of the matrix of the batch that has the most.
            small.resize((number + 1) * rank * count, 0.0);
            large.extend(normal(n));
        }
        let z = nystrom.color(block(small, rank), block(large, n))?;
        Ok([z.clone(), nystrom.apply(z)?])
    }
}

/// Gauss quadrature of the logarithm for the spectral measure of a vector, from the steps and the ratios of
/// conjugate gradients that start from it.
pub(crate) fn quadrature(coefficients: &[f64]) -> f64 {
    let pairs = coefficients.chunks(2).take_while(|pair| pair[0] > 0.0);
    let (mut diagonal, mut beside) = (Vec::new(), Vec::new());
    let mut before = 0.0;
    for pair in pairs {
        let (step, ratio) = (pair[0], pair[1]);
        diagonal.push(1.0 / step + before);
        beside.push(ratio.sqrt() / step);
        before = ratio / step;
    }
    let SymmetricEigen {
        eigenvalues,
        eigenvectors,
    } = tridiagonal(&diagonal, &beside).symmetric_eigen();
    let weights = eigenvectors.row(0).into_iter().map(|first| first * first);
    let logs = eigenvalues
        .iter()
        .map(|value| value.max(f64::MIN_POSITIVE).ln());
    weights.zip(logs).map(|(weight, log)| weight * log).sum()
}
