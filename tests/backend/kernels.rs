//! Ready kernels against their definitions in `f64`.

use std::f64::consts::PI;

use burn_lazy::{Axis, kernels};

use super::operations::{Case, case, check_sums};

const D: usize = 3;

fn sum(f: impl Fn(usize) -> f64) -> f64 {
    (0..D).map(f).sum()
}

/// The distance of two points in units of the length scales `p + 2`.
fn distance(x: &[f64], y: &[f64], p: &[f64]) -> f64 {
    sum(|k| ((x[k] - y[k]) / (p[k] + 2.0)).powi(2)).sqrt()
}

fn cosine(x: &[f64], y: &[f64]) -> f64 {
    sum(|k| x[k] * y[k]) / (norm(x) * norm(y))
}

fn norm(x: &[f64]) -> f64 {
    sum(|k| x[k] * x[k]).sqrt()
}

pub fn cases() -> Vec<Case> {
    /// A case with one component.
    macro_rules! kernel {
        ($name:literal, |$x:ident, $y:ident, $p:pat_param| $lazy:expr, |$hx:ident, $hy:ident, $hp:pat_param| $host:expr) => {
            case!($name, |$x, $y, $p| $lazy, |$hx, $hy, $hp| vec![$host])
        };
    }
    vec![
        kernel!(
            "gaussian",
            |x, y, p| kernels::gaussian(x, y, p + 2.0),
            |x, y, p| (-0.5 * distance(x, y, p).powi(2)).exp()
        ),
        kernel!(
            "gaussian with one length scale",
            |x, y, p| kernels::gaussian(x, y, p.elem(0) + 2.0),
            |x, y, p| (-0.5 * distance(x, y, &[p[0]; D]).powi(2)).exp()
        ),
        kernel!(
            "laplacian",
            |x, y, p| kernels::laplacian(x, &(y + 3.0), p + 2.0),
            |x, y, p| (-sum(|k| (x[k] - y[k] - 3.0).abs() / (p[k] + 2.0))).exp()
        ),
        kernel!(
            "matern12",
            |x, y, p| kernels::matern12(x, y, p + 2.0),
            |x, y, p| (-distance(x, y, p)).exp()
        ),
        kernel!(
            "matern32",
            |x, y, p| kernels::matern32(x, y, p + 2.0),
            |x, y, p| {
                let s = 3f64.sqrt() * distance(x, y, p);
                (1.0 + s) * (-s).exp()
            }
        ),
        kernel!(
            "matern52",
            |x, y, p| kernels::matern52(x, y, p + 2.0),
            |x, y, p| {
                let s = 5f64.sqrt() * distance(x, y, p);
                (1.0 + s + s * s / 3.0) * (-s).exp()
            }
        ),
        kernel!(
            "rational_quadratic",
            |x, y, p| kernels::rational_quadratic(x, y, p + 2.0, p.elem(0) + 1.5),
            |x, y, p| {
                let alpha = p[0] + 1.5;
                (1.0 + distance(x, y, p).powi(2) / (2.0 * alpha)).powf(-alpha)
            }
        ),
        kernel!(
            "periodic",
            |x, y, p| kernels::periodic(x, y, p + 2.0, 1.5),
            |x, y, p| {
                let wave = |k: usize| (PI * (x[k] - y[k]) / 1.5).sin() / (p[k] + 2.0);
                (-2.0 * sum(|k| wave(k).powi(2))).exp()
            }
        ),
        kernel!(
            "polynomial",
            |x, y, p| kernels::polynomial(x, y, 3, p.elem(1), 0.5),
            |x, y, p| (p[1] * sum(|k| x[k] * y[k]) + 0.5).powi(3)
        ),
        kernel!("cosine", |x, y, _| kernels::cosine(x, y), |x, y, _| cosine(
            x, y
        )),
        kernel!(
            "energy_distance",
            |x, y, _| kernels::energy_distance(x, y),
            |x, y, _| -distance(x, y, &[-1.0; D])
        ),
        kernel!(
            "arc_cosine of order 0",
            |x, y, _| kernels::arc_cosine(x, y, 0),
            |x, y, _| 1.0 - cosine(x, y).acos() / PI
        ),
        kernel!(
            "arc_cosine of order 1",
            |x, y, _| kernels::arc_cosine(x, y, 1),
            |x, y, _| {
                let t = cosine(x, y).acos();
                norm(x) * norm(y) / PI * (t.sin() + (PI - t) * t.cos())
            }
        ),
        kernel!(
            "arc_cosine of order 2",
            |x, y, _| kernels::arc_cosine(x, y, 2),
            |x, y, _| {
                let t = cosine(x, y).acos();
                let j = 3.0 * t.sin() * t.cos() + (PI - t) * (1.0 + 2.0 * t.cos().powi(2));
                (norm(x) * norm(y)).powi(2) / PI * j
            }
        ),
        kernel!(
            "a sum of products",
            |x, y, p| kernels::gaussian(x, y, 1.0) * kernels::cosine(x, y)
                + kernels::matern12(x, y, 2.0) * p.elem(0),
            |x, y, p| {
                let r = distance(x, y, &[-1.0; D]);
                (-0.5 * r * r).exp() * cosine(x, y) + (-0.5 * r).exp() * p[0]
            }
        ),
    ]
}

#[test]
fn sums_of_kernels_equal_dense_sums() {
    check_sums(&cases(), &[Axis::J]);
}

#[cfg(feature = "autodiff")]
#[test]
fn gradients_at_coinciding_points_are_finite() {
    use super::support::*;
    use burn::prelude::*;
    use burn_lazy::LazyTensor;

    type Kernel = fn(&LazyTensor, &LazyTensor) -> LazyTensor;
    let all: [(&str, Kernel, f64); 8] = [
        ("gaussian", |x, y| kernels::gaussian(x, y, 1.5), 0.0),
        ("laplacian", |x, y| kernels::laplacian(x, y, 1.5), 0.0),
        ("matern12", |x, y| kernels::matern12(x, y, 1.5), 0.0),
        ("matern52", |x, y| kernels::matern52(x, y, 1.5), 0.0),
        ("energy", kernels::energy_distance, 0.0),
        // The value is |x|^2 on the diagonal, and the gradient by one side is half of its
        // derivative.
        ("arc-cosine 1", |x, y| kernels::arc_cosine(x, y, 1), 1.0),
        // The value is 3 |x|^4.
        (
            "arc-cosine 2",
            |x, y| kernels::arc_cosine(x, y, 2),
            6.0 * 1.5,
        ),
        ("cosine", kernels::cosine, 0.0),
    ];
    let device = device().autodiff();
    for (name, kernel, radial) in all {
        let x = Tensor::<2>::from_floats([[0.5, -1.0, 0.5]], &device).require_grad();
        let y = Tensor::<2>::from_floats([[0.5, -1.0, 0.5]], &device);
        let sum: Tensor<2> = kernel(&LazyTensor::vi(x.clone()), &LazyTensor::vj(y)).sum(Axis::J);
        let gradient = host(x.grad(&sum.sum().backward()).unwrap());
        let expected = [0.5, -1.0, 0.5].map(|x| x * radial);
        assert_close(name, &gradient, &expected, 2e-3);
    }
}
