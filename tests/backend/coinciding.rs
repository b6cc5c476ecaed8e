//! Derivatives of radial kernels where points coincide. There the Hessian of a kernel $k(|x - y|)$ is $-c$ times the
//! identity with $c = -k''(0)$, and the mixed derivative by $x$ and $y$ is $c$ times the identity.

use std::f64::consts::PI;

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axis, LazyTensor, kernels};

use super::support::*;

const D: usize = 3;
const LENGTH: f64 = 0.8;

type Kernel = fn(&LazyTensor, &LazyTensor) -> LazyTensor;

/// Kernels with their $c$, and with their values as functions of the squared distance.
type Radial = (&'static str, Kernel, f64, fn(f64) -> f64);

fn radial() -> [Radial; 5] {
    let inverse = 1.0 / (LENGTH * LENGTH);
    [
        (
            "gaussian",
            |x, y| kernels::gaussian(x, y, LENGTH),
            inverse,
            |s| (-0.5 * s / (LENGTH * LENGTH)).exp(),
        ),
        (
            "matern32",
            |x, y| kernels::matern32(x, y, LENGTH),
            3.0 * inverse,
            |s| {
                let t = (3.0 * s).sqrt() / LENGTH;
                (1.0 + t) * (-t).exp()
            },
        ),
        (
            "matern52",
            |x, y| kernels::matern52(x, y, LENGTH),
            5.0 / 3.0 * inverse,
            |s| {
                let t = (5.0 * s).sqrt() / LENGTH;
                (1.0 + t + t * t / 3.0) * (-t).exp()
            },
        ),
        (
            "rational quadratic",
            |x, y| kernels::rational_quadratic(x, y, LENGTH, 1.5),
            inverse,
            |s| (1.0 + s / (3.0 * LENGTH * LENGTH)).powf(-1.5),
        ),
        // Made of the distance as a single component, so that it is radial.
        (
            "inverse multiquadric",
            |x, y| (x.sqdist(y) / (LENGTH * LENGTH) + 1.0).rsqrt(),
            inverse,
            |s| (1.0 + s / (LENGTH * LENGTH)).powf(-0.5),
        ),
    ]
}

/// Four points. The first two are equal.
fn points() -> Vec<f64> {
    let mut points = Random::new(21).vec(4 * D);
    points.copy_within(0..D, D);
    points
}

#[test]
fn second_derivatives_of_equal_points_are_those_of_the_kernel() {
    let point = &points()[..D];
    for (dtype, _) in dtypes() {
        let one = |values: &[f64]| tensor::<2>(values, [1, D], dtype, &device());
        let (x, y) = (LazyTensor::vi(one(point)), LazyTensor::vj(one(point)));
        for (name, kernel, c, _) in radial() {
            let k = kernel(&x, &y);
            let value: Tensor<2> = k.sum(Axis::J);
            assert_close(name, &host(value), &[1.0], 1e-6);
            let gradient: Tensor<2> = k.grad(&x, 1.0).sum(Axis::J);
            assert_close(name, &host(gradient), &[0.0; D], 1e-6);
            let laplacian: Tensor<2> = k.laplacian(&x).sum(Axis::J);
            assert_close(name, &host(laplacian), &[-(D as f64) * c], 1e-5);
            for axis in 0..D {
                let direction: Vec<f64> = (0..D).map(|k| f64::from(k == axis)).collect();
                let u = LazyTensor::pm(tensor::<1>(&direction, [D], dtype, &device()));
                let column: Vec<f64> = direction.iter().map(|d| -c * d).collect();
                let hessian: Tensor<2> = k.hessian_product(&x, &u).sum(Axis::J);
                assert_close(name, &host(hessian), &column, 1e-5);
                let mixed: Tensor<2> = k.grad(&x, 1.0).diff(&y, &u).sum(Axis::J);
                let column: Vec<f64> = column.iter().map(|v| -v).collect();
                assert_close(name, &host(mixed), &column, 1e-5);
            }
        }
    }
}

/// The gradient by $x_i$ of the sum over all pairs of the first component of the gradient by $x$. The expected value
/// comes from differences for pairs of distinct points, and from the Hessian for equal points.
#[cfg(feature = "autodiff")]
#[test]
fn gradients_of_gradients_count_pairs_of_equal_points() {
    let values = points();
    let n = values.len() / D;
    let at = |p: usize| &values[p * D..][..D];
    let dtype = DType::F32;
    let device = device().autodiff();
    for (name, kernel, c, closed) in radial() {
        let k = |x: &[f64], y: &[f64]| {
            closed(x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>())
        };
        let moved = |x: &[f64], axis: usize, by: f64| {
            let mut x = x.to_vec();
            x[axis] += by;
            x
        };
        let second = |x: &[f64], y: &[f64], axis: usize| -> f64 {
            let h = 1e-4;
            let first = |x: &[f64]| (k(&moved(x, 0, h), y) - k(&moved(x, 0, -h), y)) / (2.0 * h);
            (first(&moved(x, axis, h)) - first(&moved(x, axis, -h))) / (2.0 * h)
        };
        let mut want = Vec::new();
        for i in 0..n {
            for axis in 0..D {
                let pair = |j: usize| match at(i) == at(j) {
                    true if axis == 0 => -c,
                    true => 0.0,
                    false => second(at(i), at(j), axis),
                };
                want.push((0..n).map(pair).sum::<f64>());
            }
        }
        let x = tensor::<2>(&values, [n, D], dtype, &device).require_grad();
        let y = LazyTensor::vj(tensor::<2>(&values, [n, D], dtype, &device));
        let x_i = LazyTensor::vi(x.clone());
        let slopes: Tensor<2> = kernel(&x_i, &y).grad(&x_i, 1.0).elem(0).sum(Axis::J);
        let gradient = x.grad(&slopes.sum().backward()).unwrap();
        assert_close(name, &host(gradient), &want, 1e-4);
    }
}

#[test]
fn periodic_kernels_have_the_curvature_of_their_definition() {
    let (period, length) = (1.7, 0.6);
    let point = tensor::<2>(&points()[..1], [1, 1], DType::F32, &device());
    let (x, y) = (LazyTensor::vi(point.clone()), LazyTensor::vj(point));
    let k = kernels::periodic(&x, &y, length, period);
    let laplacian: Tensor<2> = k.laplacian(&x).sum(Axis::J);
    let want = -4.0 * (PI / (period * length)).powi(2);
    assert_close("periodic", &host(laplacian), &[want], 1e-5);
}

/// A derivative that does not exist is taken as 0.
#[test]
fn kernels_with_a_kink_have_no_gradient_at_it() {
    let point = tensor::<2>(&points()[..D], [1, D], DType::F32, &device());
    let (x, y) = (LazyTensor::vi(point.clone()), LazyTensor::vj(point));
    let kinks = [
        kernels::matern12(&x, &y, LENGTH),
        kernels::laplacian(&x, &y, LENGTH),
        kernels::energy_distance(&x, &y),
        x.sqdist(&y).powf(0.3),
        x.sqdist(&y).xlogx(),
        (&x - &y).abs().powf(0.5).inner_sum(),
    ];
    for k in kinks {
        for v in [&x, &y] {
            let gradient: Tensor<2> = k.grad(v, 1.0).sum(Axis::J);
            assert_eq!(host(gradient), [0.0; D], "{k}");
        }
    }
}
