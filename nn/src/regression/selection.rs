//! The choice of centres among the points.

use burn::prelude::*;
use burn_lazy::{LazyTensor, solve::LinearOperator};
use nalgebra::{DMatrix, DVector};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{dense, error::LayerError};

/// How the centres are chosen among the points.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Selection {
    /// At random, each with the same probability.
    Uniform,
    /// By randomly pivoted Cholesky: each point is chosen with a probability proportional to the part of its
    /// variance that the points chosen before do not explain (Chen, Epperly, Tropp and Webber, "Randomly pivoted
    /// Cholesky", 2022). The kernel matrix is approximated as well as by a larger number of uniformly chosen
    /// centres. It stores a number for each point and centre on the host, and takes time proportional to the number
    /// of points times the square of the number of centres.
    RandomlyPivotedCholesky,
}

impl Selection {
    /// The indices of `count` points, where `k` is the kernel matrix of all points. Fewer indices are returned if
    /// fewer points explain all points up to rounding.
    pub(super) fn choose(
        self,
        k: &LazyTensor,
        count: usize,
        seed: u64,
    ) -> Result<Vec<i64>, LayerError> {
        let mut random = StdRng::seed_from_u64(seed);
        match self {
            Selection::Uniform => {
                let [points, _] = LinearOperator::<2>::sizes(k)?;
                Ok(uniform(points, count, &mut random))
            }
            Selection::RandomlyPivotedCholesky => pivoted(k, count, &mut random),
        }
    }
}

/// `count` different random numbers below `points`.
fn uniform(points: usize, count: usize, random: &mut StdRng) -> Vec<i64> {
    let mut indices: Vec<i64> = (0..points as i64).collect();
    for k in 0..count {
        indices.swap(k, random.random_range(k..points));
    }
    indices.truncate(count);
    indices
}

/// The pivots of the randomly pivoted Cholesky factorisation of a matrix.
fn pivoted(k: &LazyTensor, count: usize, random: &mut StdRng) -> Result<Vec<i64>, LayerError> {
    // The diagonal is computed in the type of the columns below, so that only rounding is left after subtracting
    // them.
    let diagonal: Tensor<2> = dense::in_f64(&k.inner()).try_diag()?;
    let rounding = dense::rounding(diagonal.dtype());
    let diagonal: Vec<f64> = diagonal.into_data().iter::<f64>().collect();
    let points = diagonal.len();
    let mut left = DVector::from_vec(diagonal);
    let mut factor = DMatrix::<f64>::zeros(points, count);
    let mut pivots: Vec<i64> = Vec::with_capacity(count);
    let smallest = 100.0 * rounding * left.sum();
    while pivots.len() < count && left.sum() > smallest {
        let mut rest = random.random::<f64>() * left.sum();
        let pivot = left.iter().position(|own| {
            rest -= own;
            rest <= 0.0 && *own > 0.0
        });
        // Because of rounding, a rest may be left after the last point.
        let pivot = pivot.unwrap_or_else(|| left.imax());
        let (column, _) = dense::entries(&k.try_block(0..points, pivot..pivot + 1)?)?;
        let done = pivots.len();
        let known = factor.columns(0, done);
        let column = column - known * known.row(pivot).transpose();
        let variance = column[pivot];
        pivots.push(pivot as i64);
        if variance > 0.0 {
            let column = column / variance.sqrt();
            left.zip_apply(&column, |left, own| *left = (*left - own * own).max(0.0));
            factor.set_column(done, &column);
        }
        left[pivot] = 0.0;
    }
    Ok(pivots)
}
