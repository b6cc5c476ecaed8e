//! Gradients of kernels that are close to 0 for most pairs. On processors, values too small for normal numbers are
//! replaced by 0 there.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axis, LazyTensor};

use super::support::*;

const M: usize = 37;
const N: usize = 53;
/// The exponents of pairs range from 0 to about -300.
const SCALE: f64 = 300.0;

/// Points on a line, and a last row that is far from all columns: its exponents are between -51 and -300.
fn points() -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let mut random = Random::new(5);
    // They are numbers of F32, so that squared distances have the same values in both types.
    let x: Vec<f64> = (0..M).map(|i| (i * i % M) as f64 / 64.0).collect();
    let mut x: Vec<f64> = x.iter().map(|x| x * 0.75).collect();
    let y: Vec<f64> = (0..N).map(|j| (j * 7 % N) as f64 / 128.0).collect();
    x[M - 1] = -0.4140625;
    let weights: Vec<f64> = random.vec(N).iter().map(|w| w * 1e-3).collect();
    (x, y, weights)
}

/// Checks gradients by rows and columns, each relative to its own size, with the derivative of the loss by the
/// exponent of pair `(i, j)`.
fn check(
    what: &str,
    loss: impl Fn(LazyTensor, LazyTensor) -> Tensor<1>,
    by_exponent: impl Fn(usize, usize) -> f64,
) {
    let (x, y, weights) = points();
    let device = device().autodiff();
    let leaf = |v: &[f64]| tensor(v, [v.len(), 1], DType::F32, &device).require_grad();
    let (xt, yt) = (leaf(&x), leaf(&y));
    let exponent = LazyTensor::vi(xt.clone()).sqdist(LazyTensor::vj(yt.clone())) * -SCALE;
    let weights = LazyTensor::vj(tensor(&weights, [N, 1], DType::F32, &device));
    let gradients = loss(exponent, weights).backward();
    let by_pair = |i: usize, j: usize| by_exponent(i, j) * -2.0 * SCALE * (x[i] - y[j]);
    let by_x = (0..M).map(|i| (0..N).map(|j| by_pair(i, j)).collect::<Vec<_>>());
    let by_y = (0..N).map(|j| (0..M).map(|i| -by_pair(i, j)).collect::<Vec<_>>());
    for (name, leaf, terms) in [
        ("x", xt, by_x.collect::<Vec<_>>()),
        ("y", yt, by_y.collect::<Vec<_>>()),
    ] {
        let gradient = host(leaf.grad(&gradients).expect("it is tracked"));
        for (k, (got, terms)) in gradient.iter().zip(&terms).enumerate() {
            let want: f64 = terms.iter().sum();
            let size: f64 = terms.iter().map(|term| term.abs()).sum();
            assert!(
                (got - want).abs() <= 1e-4 * size,
                "{what}: gradient {k} by {name} is {got:e}, expected {want:e}"
            );
        }
    }
}

/// The exponents of all pairs, as rows.
fn exponents() -> Vec<Vec<f64>> {
    let (x, y, _) = points();
    let row = |x: &f64| y.iter().map(|y| -SCALE * (x - y).powi(2)).collect();
    x.iter().map(row).collect()
}

#[test]
fn gradients_of_gaussian_sums_are_right_far_from_all_columns() {
    let ((_, _, weights), exponents) = (points(), exponents());
    check(
        "a sum of Gaussian functions",
        |exponent, w| (exponent.exp() * w).sum::<2>(Axis::J).mean(),
        |i, j| exponents[i][j].exp() * weights[j] / M as f64,
    );
}

/// The exponent has an unknown sign, so that its exponential could be infinite.
#[test]
fn gradients_of_exponentials_of_any_sign_are_right_far_from_all_columns() {
    let ((_, _, weights), exponents) = (points(), exponents());
    let device = device().autodiff();
    let one = LazyTensor::pm(tensor(&[1.0], [1], DType::F32, &device));
    check(
        "a sum of exponentials",
        |exponent, w| {
            ((exponent * one.clone()).exp() * w)
                .sum::<2>(Axis::J)
                .mean()
        },
        |i, j| exponents[i][j].exp() * weights[j] / M as f64,
    );
}

#[test]
fn gradients_of_narrow_logsumexp_and_softmax_are_those_of_f64() {
    let (_, _, weights) = points();
    // The softmax of each row.
    let softmax = |row: &Vec<f64>| {
        let most = row.iter().fold(f64::MIN, |most, own| most.max(*own));
        let sum: f64 = row.iter().map(|own| (own - most).exp()).sum();
        row.iter()
            .map(|own| (own - most).exp() / sum)
            .collect::<Vec<_>>()
    };
    let parts: Vec<Vec<f64>> = exponents().iter().map(softmax).collect();
    check(
        "logsumexp",
        |exponent, _| exponent.logsumexp::<2>(Axis::J).mean(),
        |i, j| parts[i][j] / M as f64,
    );
    let mean = |row: &Vec<f64>| row.iter().zip(&weights).map(|(p, w)| p * w).sum::<f64>();
    let means: Vec<f64> = parts.iter().map(mean).collect();
    check(
        "a sum with weights of a softmax",
        |exponent, w| exponent.sumsoftmaxweight::<2>(w, Axis::J).mean(),
        |i, j| parts[i][j] * (weights[j] - means[i]) / M as f64,
    );
}
