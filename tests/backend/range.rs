//! Values far from 1: norms, directions, cosines, quotients that are computed once per row or column, and angles of any
//! size.
//!
//! Expected values have closed forms. Vectors are (3, 4, -12) times a scale, and their norm is 13 times the scale.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axis, Complex, LazyTensor, kernels};

use super::support::*;

const VECTOR: [f64; 3] = [3.0, 4.0, -12.0];
const OTHER: [f64; 3] = [-2.0, 1.0, 2.0];
const NORM: f64 = 13.0;
const SCALES: [f64; 9] = [1e-36, 3e-25, 1e-22, 1e-19, 1.0, 1e17, 1e19, 3e25, 1e37];

fn scaled(vector: [f64; 3], scale: f64) -> Vec<f64> {
    vector.map(|v| v * scale).to_vec()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Two points, which are `vector` and `-vector`.
fn points(vector: &[f64], dtype: DType, device: &Device) -> Tensor<2> {
    let opposite = vector.iter().map(|v| -v);
    let both: Vec<f64> = vector.iter().copied().chain(opposite).collect();
    tensor(&both, [2, vector.len()], dtype, device)
}

/// The values of `formula`, which depends on one axis only, for each of the two points on that axis.
fn of_axis(formula: LazyTensor, axis: Axis, dtype: DType, device: &Device) -> Vec<f64> {
    let one = tensor(&[1.0], [1, 1], dtype, device);
    match axis {
        Axis::I => host((formula * LazyTensor::vj(one)).sum::<2>(Axis::J)),
        Axis::J => host((formula * LazyTensor::vi(one)).sum::<2>(Axis::I)),
    }
}

fn variable(points: Tensor<2>, axis: Axis) -> LazyTensor {
    match axis {
        Axis::I => LazyTensor::vi(points),
        Axis::J => LazyTensor::vj(points),
    }
}

/// The error that is allowed for values of a type.
fn tolerance(dtype: DType) -> f64 {
    if dtype == DType::F64 { 1e-13 } else { 2e-6 }
}

/// Like [`assert_close`], but always relative to the largest value, even if that is small.
#[track_caller]
fn assert_relative(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    let size = want.iter().fold(0f64, |most, want| most.max(want.abs()));
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!(
            (got - want).abs() <= tolerance * size,
            "{what}: {got}, expected {want}"
        );
    }
}

#[test]
fn norms_and_directions_of_points_are_right_at_any_scale() {
    let device = device();
    for (dtype, _) in dtypes() {
        let unit = VECTOR.map(|v| v / NORM);
        let units = [unit, unit.map(|u| -u)].concat();
        for scale in SCALES {
            for axis in [Axis::I, Axis::J] {
                let what = format!("{dtype:?} at {scale:e}");
                let of = |f: LazyTensor| of_axis(f, axis, dtype, &device);
                let x = variable(points(&scaled(VECTOR, scale), dtype, &device), axis);
                let want = [NORM * scale; 2];
                assert_relative(&what, &of(x.norm()), &want, tolerance(dtype));
                assert_relative(&what, &of(x.normalize()), &units, tolerance(dtype));
                // The formula of the first derivative, and the formula of the second derivative.
                let slope = x.norm().grad(&x, 1.0);
                assert_relative(&what, &of(slope.clone()), &units, tolerance(dtype));
                if (1e-30..1e30).contains(&scale) {
                    let second = slope.elem(0).grad(&x, 1.0);
                    let own = [
                        1.0 - unit[0] * unit[0],
                        -unit[0] * unit[1],
                        -unit[0] * unit[2],
                    ];
                    let own = own.map(|h| h / (NORM * scale));
                    assert_relative(&what, &of(second), &[own, own].concat(), tolerance(dtype));
                }
            }
        }
    }
}

#[test]
fn the_reported_norms_are_right() {
    let device = device();
    for (scale, norm) in [(1e25, 5e25), (1e-25, 5e-25)] {
        let x = tensor(&[3.0 * scale, 4.0 * scale], [1, 2], DType::F32, &device);
        let x = LazyTensor::vi(x);
        let got = of_axis(x.norm(), Axis::I, DType::F32, &device);
        assert_relative("the norm", &got, &[norm], 1e-6);
        let got = of_axis(x.normalize(), Axis::I, DType::F32, &device);
        assert_relative("the direction", &got, &[0.6, 0.8], 1e-6);
    }
}

#[test]
fn norms_of_halves_are_right() {
    let device = device();
    for (dtype, scale) in [
        (DType::F16, 4000.0),
        (DType::F16, 1e-3),
        (DType::BF16, 1e30),
        (DType::BF16, 1e-30),
    ] {
        if !device.supports_dtype(dtype) {
            continue;
        }
        let values = tensor::<2>(&scaled(VECTOR, scale), [1, 3], dtype, &device);
        // The expected values are computed from the values after rounding.
        let stored = host(values.clone());
        let norm = dot(&stored, &stored).sqrt();
        let x = LazyTensor::vi(values);
        let got = of_axis(x.norm(), Axis::I, dtype, &device);
        let epsilon = if dtype == DType::F16 { 1e-3 } else { 8e-3 };
        assert_relative("the norm", &got, &[norm], epsilon);
        let got = of_axis(x.normalize(), Axis::I, dtype, &device);
        let unit: Vec<f64> = stored.iter().map(|v| v / norm).collect();
        assert_relative("the direction", &got, &unit, epsilon);
    }
}

#[test]
fn cosines_do_not_depend_on_scales() {
    let device = device();
    let want = dot(&VECTOR, &OTHER) / (NORM * 3.0);
    for (dtype, _) in dtypes() {
        for a in SCALES {
            for b in [1e-36, 1e-22, 1.0, 1e19, 1e36] {
                let x = LazyTensor::vi(points(&scaled(VECTOR, a), dtype, &device));
                let y = tensor(&scaled(OTHER, b), [1, 3], dtype, &device);
                let y = LazyTensor::vj(y);
                for axis in [Axis::I, Axis::J] {
                    let got = host(kernels::cosine(&x, &y).square().sum::<2>(axis));
                    let want = match axis {
                        Axis::I => vec![2.0 * want * want],
                        Axis::J => vec![want * want; 2],
                    };
                    assert_relative("the cosine", &got, &want, tolerance(dtype));
                }
                let got = host(kernels::arc_cosine(&x, &y, 0).sum::<2>(Axis::J));
                let angle = |cos: f64| 1.0 - cos.acos() / std::f64::consts::PI;
                let want = [angle(want), angle(-want)];
                assert_relative("the arc cosine", &got, &want, tolerance(dtype));
            }
        }
    }
}

#[cfg(feature = "autodiff")]
#[test]
fn gradients_of_norms_and_cosines_are_right_at_any_scale() {
    let device = device().autodiff();
    let unit = VECTOR.map(|v| v / NORM);
    let other = OTHER.map(|v| v / 3.0);
    let cosine = dot(&unit, &other);
    for (dtype, _) in dtypes() {
        for scale in SCALES {
            for batch in [1, 3] {
                // Several equal points in a batch.
                let values = scaled(VECTOR, scale).repeat(2 * batch);
                let x = tensor(&values, [batch, 2, 3], dtype, &device).require_grad();
                let y = tensor(&scaled(OTHER, scale), [1, 3], dtype, &device).require_grad();
                let (xi, yj) = (LazyTensor::vi(x.clone()), LazyTensor::vj(y.clone()));
                let sums: Tensor<3> = (xi.norm() * (yj.norm() / yj.norm())).sum(Axis::J);
                let gradients = sums.sum().backward();
                let got = host(x.grad(&gradients).expect("it is tracked"));
                let want = unit.repeat(2 * batch);
                assert_relative("the slope of the norm", &got, &want, tolerance(dtype));

                // For tiny vectors quotients by the norm overflow.
                if !(1e-30..1e30).contains(&scale) {
                    continue;
                }
                for axis in [Axis::I, Axis::J] {
                    let sums: Tensor<3> = kernels::cosine(&xi, &yj).sum(axis);
                    let gradients = sums.sum().backward();
                    let slope = |a: [f64; 3], b: [f64; 3], size: f64| {
                        [0, 1, 2].map(|k| (b[k] - a[k] * cosine) / size)
                    };
                    let got = host(x.grad(&gradients).expect("it is tracked"));
                    let want = slope(unit, other, NORM * scale).repeat(2 * batch);
                    assert_relative("the slope by rows", &got, &want, tolerance(dtype));
                    let got = host(y.grad(&gradients).expect("it is tracked"));
                    let points = (2 * batch) as f64;
                    let want = slope(other, unit, 3.0 * scale).map(|v| v * points);
                    assert_relative("the slope by columns", &got, &want, tolerance(dtype));
                }
            }
        }
    }
}

#[cfg(feature = "autodiff")]
#[test]
fn gradients_of_norms_and_cosines_at_the_origin_are_zero() {
    let device = device().autodiff();
    let x = Tensor::<2>::zeros([2, 3], &device).require_grad();
    let y = tensor(&OTHER, [1, 3], DType::F32, &device);
    let (xi, yj) = (LazyTensor::vi(x.clone()), LazyTensor::vj(y));
    let sums: Tensor<2> = (kernels::cosine(&xi, &yj) + xi.norm()).sum(Axis::J);
    assert_eq!(host(sums.clone()), [0.0, 0.0]);
    let gradients = sums.sum().backward();
    let got = host(x.grad(&gradients).expect("it is tracked"));
    assert_eq!(got, [0.0; 6]);
}

#[test]
fn absolute_values_of_complex_points_are_right_at_any_scale() {
    let device = device();
    for scale in SCALES {
        let re = tensor(&[3.0 * scale], [1, 1], DType::F32, &device);
        let im = tensor(&[-4.0 * scale], [1, 1], DType::F32, &device);
        let z = Complex::new(LazyTensor::vi(re), LazyTensor::vi(im));
        let got = of_axis(z.abs(), Axis::I, DType::F32, &device);
        assert_relative("the absolute value", &got, &[5.0 * scale], 1e-6);
    }
}

#[test]
fn quotients_of_points_are_right_where_reciprocals_overflow() {
    let device = device();
    let tiny = |value: f64| tensor(&[value], [1, 1], DType::F32, &device);
    let kept = of_axis(LazyTensor::vi(tiny(1e-39)), Axis::I, DType::F32, &device)[0];
    if kept == 0.0 {
        // The device flushes such numbers to zero.
        return;
    }
    for (above, want) in [(1e-39, 1.0), (1e-20, 1e19)] {
        for axis in [Axis::I, Axis::J] {
            let a = variable(tiny(above), axis);
            for b in [
                variable(tiny(1e-39), axis),
                LazyTensor::pm(tiny(1e-39).reshape([1])),
            ] {
                let got = of_axis(&a / b, axis, DType::F32, &device);
                assert_relative("the quotient", &got, &[want], 1e-6);
            }
            let got = of_axis(a / 1e-39, axis, DType::F32, &device);
            assert_relative("the quotient", &got, &[want], 1e-6);
        }
    }
}

#[test]
fn sines_cosines_and_tangents_of_large_angles_are_right() {
    let device = device();
    // Values of mpmath with 60 digits, at numbers that are exact in single precision.
    let angles: [(f64, f64, f64); 8] = [
        // The angle, its sine and its cosine.
        (10000000.0, 0.4205477931907825, -0.9072703861817396),
        (1000000000.0, 0.5458434494486996, 0.8378871813639023),
        (-4194304.0, -0.975129394941707, 0.22163633077774125),
        (8388608.0, 0.4322482022567978, -0.9017546737587593),
        (-999999995904.0, 0.020802977291315965, 0.9997835946522712),
        (
            1.0000000200408773e+20,
            0.6565766778545903,
            0.7542592830701055,
        ),
        (
            -1.0000000150474662e+30,
            0.7911634385219837,
            -0.6116047854178966,
        ),
        (
            3.4028234663852886e+38,
            -0.5218765233336585,
            0.8530210398303042,
        ),
    ];
    for (dtype, _) in dtypes() {
        // Angles of pairs. Each sum has a single column.
        let x: Vec<f64> = angles.iter().map(|(x, ..)| *x).collect();
        let x = LazyTensor::vi(tensor(&x, [angles.len(), 1], dtype, &device));
        let one = LazyTensor::vj(tensor(&[1.0], [1, 1], dtype, &device));
        let angle = x * one;
        let epsilon = if dtype == DType::F64 { 1e-15 } else { 2e-7 };
        let check = |what: &str, f: LazyTensor, of: &dyn Fn(f64, f64, f64) -> f64, most: f64| {
            let got = host(f.sum::<2>(Axis::J));
            for ((x, sin, cos), got) in angles.iter().zip(got) {
                let want = of(*x, *sin, *cos);
                assert!(
                    (got - want).abs() <= most * want.abs().max(1.0),
                    "{what} of {x} in {dtype:?}: {got}, expected {want}"
                );
            }
        };
        check("the sine", angle.sin(), &|_, sin, _| sin, epsilon);
        check("the cosine", angle.cos(), &|_, _, cos| cos, epsilon);
        check(
            "the tangent",
            angle.tan(),
            &|_, sin, cos| sin / cos,
            20.0 * epsilon,
        );
        check("sin x / x", angle.sinxdivx(), &|x, sin, _| sin / x, epsilon);
        let both = angle.exp1j();
        check("the imaginary part", both.im, &|_, sin, _| sin, epsilon);
        check("the real part", both.re, &|_, _, cos| cos, epsilon);
    }
}

#[test]
fn sines_and_cosines_of_angles_of_all_sizes_are_right() {
    let device = device();
    // Evenly distributed logarithms, and values on both sides of the limits between methods of reduction.
    let mut angles: Vec<f64> = (0..6000).map(|k| 1.0033f64.powi(k)).collect();
    let around = |edge: f64| (0..500).map(move |k| edge * (1.0 + f64::from(k - 250) / 2000.0));
    angles.extend([8192.0, 65536.0].into_iter().flat_map(around));
    let angles: Vec<f64> = angles.iter().map(|x| f64::from(*x as f32)).collect();
    for (dtype, _) in dtypes() {
        let x = LazyTensor::vi(tensor(&angles, [angles.len(), 1], dtype, &device));
        let [zero, one] =
            [0.0, 1.0].map(|value| LazyTensor::vj(tensor(&[value], [1, 1], dtype, &device)));
        let epsilon = if dtype == DType::F64 { 1e-15 } else { 3e-7 };
        // Compilers of shaders handle products differently.
        for (what, angle) in [("a sum", &x + zero), ("a product", &x * one)] {
            for (name, f) in [("sine", angle.sin()), ("cosine", angle.cos())] {
                for (x, got) in angles.iter().zip(host(f.sum::<2>(Axis::J))) {
                    let want = if name == "sine" { x.sin() } else { x.cos() };
                    assert!(
                        (got - want).abs() <= epsilon,
                        "the {name} of {what}, {x}, in {dtype:?}: {got}, expected {want}"
                    );
                }
            }
        }
    }
}
