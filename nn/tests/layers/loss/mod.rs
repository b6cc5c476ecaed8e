//! Losses between clouds of points, and losses of representations.

mod checkpoints;
mod clouds;
mod clouds_edges;
mod contrastive;
mod linear_cross_entropy;
mod samples;
mod samples_edges;

use burn::prelude::*;
use burn_lazy_nn::loss::LossError;

use super::{reference, support};
use support::{Random, host};

/// The value of a loss.
pub fn value(tensor: Tensor<1>) -> f64 {
    host(tensor)[0]
}

/// Random points in the plane.
pub fn cloud(count: usize, seed: u64) -> Vec<f64> {
    Random::new(seed).vec(2 * count)
}

/// The text of an error.
#[track_caller]
pub fn message<T: std::fmt::Debug>(result: Result<T, LossError>) -> String {
    result.expect_err("it is refused").to_string()
}
