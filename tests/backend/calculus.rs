//! Symbolic derivatives compared with closed forms.

use burn::prelude::*;
use burn_lazy::{Axis, LazyError, LazyTensor};

use super::support::*;

const D: usize = 3;
const M: usize = 6;
const N: usize = 5;

/// The values of the rows, of the columns and of a direction.
fn points() -> [Vec<f64>; 3] {
    let mut random = Random::new(31);
    [M * D, N * D, D].map(|len| random.vec(len))
}

/// Compares the sum over j of a formula that is made of the Gaussian kernel $e^{-|x - y|^2 / 2}$
/// with a closed form, which is a function of the difference $x - y$, the kernel and the direction.
fn check(
    what: &str,
    lazy: impl Fn(&LazyTensor, &LazyTensor, &LazyTensor, &LazyTensor) -> LazyTensor,
    closed: impl Fn(&[f64], f64, &[f64]) -> Vec<f64>,
) {
    let [x, y, u] = points();
    for (dtype, tolerance) in dtypes() {
        let device = device();
        let [x_i, y_j] = points_of(&x, &y, D, dtype);
        let direction = LazyTensor::pm(tensor(&u, [D], dtype, &device));
        let kernel = (-x_i.sqdist(&y_j) * 0.5).exp();
        let out: Tensor<2> = lazy(&kernel, &x_i, &y_j, &direction).sum(Axis::J);
        let dense = |a: &[f64], b: &[f64]| {
            let d: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            let kernel = (-0.5 * d.iter().map(|d| d * d).sum::<f64>()).exp();
            closed(&d, kernel, &u)
        };
        let expected = dense_sum(&x, &y, D, false, &dense);
        assert_close(what, &host(out), &expected, tolerance);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn gradients_and_differentials_of_a_gaussian() {
    let scaled = |d: &[f64], by: f64| -> Vec<f64> { d.iter().map(|d| d * by).collect() };
    check("grad", |k, x, _, _| k.grad(x, 1.0), |d, k, _| scaled(d, -k));
    check(
        "grad by y",
        |k, _, y, _| k.grad(y, 2.0),
        |d, k, _| scaled(d, 2.0 * k),
    );
    check(
        "diff",
        |k, x, _, u| k.diff(x, u),
        |d, k, u| vec![-k * dot(d, u)],
    );
    check(
        "grad_matrix",
        |k, x, _, u| (k * u).grad_matrix(x),
        |d, k, u| u.iter().flat_map(|u| scaled(d, -k * u)).collect(),
    );
}

#[test]
fn second_and_fourth_derivatives_of_a_gaussian() {
    check(
        "laplacian",
        |k, x, _, _| k.laplacian(x),
        |d, k, _| vec![k * (dot(d, d) - D as f64)],
    );
    check(
        "hessian_product",
        |k, x, _, u| k.hessian_product(x, u),
        |d, k, u| (0..D).map(|l| k * (d[l] * dot(d, u) - u[l])).collect(),
    );
    check(
        "divergence",
        |k, x, y, _| (k * (x - y)).divergence(x),
        |d, k, _| vec![k * (D as f64 - dot(d, d))],
    );
    check(
        "bilaplacian",
        |k, x, _, _| k.laplacian(x).laplacian(x),
        |d, k, _| {
            let (r, n) = (dot(d, d), D as f64);
            vec![k * (r * r - 2.0 * (n + 2.0) * r + n * (n + 2.0))]
        },
    );
}

#[test]
fn products_with_the_jacobian_of_a_sum_are_adjoint() {
    let mut random = Random::new(32);
    let [x, y, _] = points();
    let (direction, cotangent) = (random.vec(M * D), random.vec(M));
    for (dtype, tolerance) in dtypes() {
        let device = device();
        let [x_i, y_j] = points_of(&x, &y, D, dtype);
        let u_i = LazyTensor::vi(tensor(&direction, [M, D], dtype, &device));
        let e_i = LazyTensor::vi(tensor(&cotangent, [M, 1], dtype, &device));
        let kernel = (-x_i.sqdist(&y_j)).exp() * y_j.elem(0);
        let backward = host(kernel.grad(&x_i, &e_i).sum::<2>(Axis::J));
        let forward = host(kernel.diff(&x_i, &u_i).sum::<2>(Axis::J));
        let step = 1e-4;
        let moved =
            |by: f64| -> Vec<f64> { x.iter().zip(&direction).map(|(x, u)| x + by * u).collect() };
        let at = |x: &[f64]| {
            let value = |a: &[f64], b: &[f64]| {
                let d: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
                vec![(-dot(&d, &d)).exp() * b[0]]
            };
            dense_sum(x, &y, D, false, &value)
        };
        let ends = [at(&moved(step)), at(&moved(-step))];
        let expected: Vec<f64> = (0..M)
            .map(|i| (ends[0][i] - ends[1][i]) / (2.0 * step))
            .collect();
        assert_close("forward", &forward, &expected, tolerance.max(1e-6));
        let (left, right) = (dot(&backward, &direction), dot(&cotangent, &forward));
        assert_close("adjoint", &[left], &[right], 10.0 * tolerance);
    }
}

#[test]
fn only_operands_of_fitting_dimension_are_differentiated_by() {
    let device = device();
    let x = LazyTensor::vi(Tensor::<2>::zeros([4, 3], &device));
    let y = LazyTensor::vj(Tensor::<2>::zeros([5, 3], &device));
    let (k, v) = (x.sqdist(&y), &x - &y);
    let not_an_operand = |result: Result<LazyTensor, LazyError>| {
        assert!(matches!(result, Err(LazyError::NotAnOperand(_))));
    };
    not_an_operand(k.try_diff(&v, 1.0));
    not_an_operand(k.try_grad_matrix(&v));
    not_an_operand(v.try_divergence(&v));
    not_an_operand(k.try_laplacian(&v));
    let dimension = |result: Result<LazyTensor, LazyError>| {
        assert!(matches!(result, Err(LazyError::Dimension { .. })));
    };
    dimension(k.try_diff(&x, x.elem(0)));
    dimension(k.try_divergence(&x));
    dimension(v.try_laplacian(&x));
    dimension(k.try_hessian_product(&x, 1.0));
}
