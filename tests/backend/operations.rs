//! Each operation in formulas of `x_i`, `y_j` and a parameter `p`. Sums over both axes must equal dense sums in `f64`,
//! and gradients by each operand must equal central differences.

use burn::prelude::*;
use burn_lazy::{Axis, LazyTensor};

use super::support::*;

const D: usize = 3;

type Lazy = fn(&LazyTensor, &LazyTensor, &LazyTensor, &Tensor<1>) -> LazyTensor;
type Host = fn(&[f64], &[f64], &[f64]) -> Vec<f64>;

/// A formula as a symbolic expression and as a function on the host.
pub struct Case {
    pub name: &'static str,
    pub lazy: Lazy,
    pub host: Host,
}

/// A case from its name, its formula and the function on the host. A few formulas use the tensor `t`.
macro_rules! case {
    ($name:literal, |$x:pat_param, $y:pat_param, $p:pat_param| $lazy:expr, $host:expr) => {
        case!($name, |$x, $y, $p, _| $lazy, $host)
    };
    ($name:literal, |$x:pat_param, $y:pat_param, $p:pat_param, $t:pat_param| $lazy:expr, $host:expr) => {
        $crate::backend::operations::Case {
            name: $name,
            lazy: |$x, $y, $p, $t| $lazy,
            host: $host,
        }
    };
}
pub(super) use case;

fn each(f: impl Fn(usize) -> f64) -> Vec<f64> {
    (0..D).map(f).collect()
}

fn sum(f: impl Fn(usize) -> f64) -> f64 {
    (0..D).map(f).sum()
}

/// Formulas that stay away from singular points for values in [-1, 1).
pub fn cases() -> Vec<Case> {
    vec![
        case!("add", |x, y, p, _| x + y + p, |x, y, p| each(|k| x[k]
            + y[k]
            + p[k])),
        case!("sub", |x, y, p, _| (x - y) * (p - x), |x, y, p| each(|k| {
            (x[k] - y[k]) * (p[k] - x[k])
        })),
        case!("mul", |x, y, p, _| x * y * p, |x, y, p| each(|k| x[k]
            * y[k]
            * p[k])),
        case!("div", |x, y, p, _| x / (y + 2.5) / (p - 3), |x, y, p| each(
            |k| { x[k] / (y[k] + 2.5) / (p[k] - 3.0) }
        )),
        case!(
            "scalars left",
            |x, y, p, _| 2.0 * x + (1.5 - y) * (0.5 / (p + 2)) + 3 + x,
            |x, y, p| { each(|k| 2.0 * x[k] + (1.5 - y[k]) * (0.5 / (p[k] + 2.0)) + 3.0 + x[k]) }
        ),
        case!(
            "scalars right",
            |x, y, p, _| (x * 0.25 - 1) / 4.0 * (y + 1.5f32) - p,
            |x, y, p| { each(|k| (x[k] * 0.25 - 1.0) / 4.0 * (y[k] + 1.5) - p[k]) }
        ),
        // The tensor holds the values 1, 2, 3.
        case!(
            "tensors on both sides",
            |x, y, p, t| t.clone() * x - y * t.clone() + (t.clone() - p) / (p + t.clone() + 1),
            |x, y, p| each(|k| {
                let t = k as f64 + 1.0;
                t * x[k] - y[k] * t + (t - p[k]) / (p[k] + t + 1.0)
            })
        ),
        case!("neg", |x, y, p, _| -(x * y) - -p, |x, y, p| each(|k| -(x
            [k]
            * y[k])
            + p[k])),
        case!("square", |x, y, p, _| (x - y).square() * p, |x, y, p| each(
            |k| { (x[k] - y[k]).powi(2) * p[k] }
        )),
        case!(
            "powi",
            |x, y, p, _| (x - y).powi(3) + (p + 2.5).powi(-2) * x.powi(1),
            |x, y, p| { each(|k| (x[k] - y[k]).powi(3) + (p[k] + 2.5).powi(-2) * x[k]) }
        ),
        case!("sqrt", |x, y, p, _| (x * y + p + 3.5).sqrt(), |x, y, p| {
            each(|k| (x[k] * y[k] + p[k] + 3.5).sqrt())
        }),
        case!(
            "rsqrt",
            |x, y, p, _| (x * y + p + 3.5).rsqrt(),
            |x, y, p| each(|k| { 1.0 / (x[k] * y[k] + p[k] + 3.5).sqrt() })
        ),
        case!(
            "recip",
            |x, y, p, _| (x * y + p + 3.5).recip(),
            |x, y, p| each(|k| { 1.0 / (x[k] * y[k] + p[k] + 3.5) })
        ),
        case!(
            "abs",
            |x, y, p, _| (x * y * 0.25 + p + 1.75).abs() * (x - 3.5).abs(),
            |x, y, p| { each(|k| (x[k] * y[k] * 0.25 + p[k] + 1.75).abs() * (x[k] - 3.5).abs()) }
        ),
        case!("sign", |x, y, p, _| (x - 3.5).sign() * y * p, |_, y, p| {
            each(|k| -y[k] * p[k])
        }),
        case!("exp", |x, y, p, _| (x * y - p).exp(), |x, y, p| each(|k| {
            (x[k] * y[k] - p[k]).exp()
        })),
        case!("log", |x, y, p, _| (x * y + p + 3.5).log(), |x, y, p| each(
            |k| { (x[k] * y[k] + p[k] + 3.5).ln() }
        )),
        case!(
            "maximum, minimum",
            |x, y, p, _| x.maximum(y - 3.5) * y.minimum(x + 3.5) * p.maximum(5.0),
            |x, y, _| { each(|k| x[k] * y[k] * 5.0) }
        ),
        case!(
            "inner_sum",
            |x, y, p, _| (x * y * p).inner_sum() * x,
            |x, y, p| {
                let s = sum(|k| x[k] * y[k] * p[k]);
                each(|k| s * x[k])
            }
        ),
        case!("dot", |x, y, p, _| x.dot(y) * (x | p), |x, y, p| {
            vec![sum(|k| x[k] * y[k]) * sum(|k| x[k] * p[k])]
        }),
        case!(
            "sqdist",
            |x, y, p, _| (-(x * p).sqdist(y)).exp(),
            |x, y, p| { vec![(-sum(|k| (x[k] * p[k] - y[k]).powi(2))).exp()] }
        ),
        case!(
            "sqnorm",
            |x, y, p, _| (x - y).sqnorm() * (x + p).sqnorm(),
            |x, y, p| { vec![sum(|k| (x[k] - y[k]).powi(2)) * sum(|k| (x[k] + p[k]).powi(2))] }
        ),
        case!("norm", |x, y, p, _| (x - (y + 3)).norm() * p, |x, y, p| {
            let norm = sum(|k| (x[k] - y[k] - 3.0).powi(2)).sqrt();
            each(|k| norm * p[k])
        }),
        case!(
            "concat, slice, elem",
            |x, y, p, _| LazyTensor::concat(&[x.slice(1..3), y * x, p.elem(0) * y.elem(2)]),
            |x, y, p| {
                let mut all = vec![x[1], x[2]];
                all.extend(each(|k| x[k] * y[k]));
                all.push(p[0] * y[2]);
                all
            }
        ),
        case!(
            "slice of a concat",
            |x, y, p, _| LazyTensor::concat(&[x.clone(), y * p])
                .slice(1..5)
                .exp()
                .inner_sum(),
            |x, y, p| {
                let all = [x[1], x[2], y[0] * p[0], y[1] * p[1]];
                vec![all.iter().map(|v| v.exp()).sum()]
            }
        ),
    ]
}

/// The values of the operands that all cases share.
pub struct Values {
    pub x: Vec<f64>,
    pub y: Vec<f64>,
    pub p: Vec<f64>,
}

pub const M: usize = 5;
pub const N: usize = 7;

pub fn values() -> Values {
    let mut random = Random::new(3);
    Values {
        x: random.vec(M * D),
        y: random.vec(N * D),
        p: random.vec(D),
    }
}

/// Compares the sums of `cases` over each of `axes` with dense sums. Types alternate between the cases: the tests of
/// kernels check each operation in all types.
pub fn check_sums(cases: &[Case], axes: &[Axis]) {
    let Values { x, y, p } = values();
    let types = dtypes();
    for (number, (dtype, tolerance)) in types.iter().copied().enumerate() {
        let device = device();
        let [x_i, y_j] = points_of(&x, &y, D, dtype);
        let parameter = LazyTensor::pm(tensor(&p, [D], dtype, &device));
        let t = tensor(&[1.0, 2.0, 3.0], [3], dtype, &device);
        for (turn, case) in cases.iter().enumerate() {
            let f_ij = (case.lazy)(&x_i, &y_j, &parameter, &t);
            let dense = |a: &[f64], b: &[f64]| (case.host)(a, b, &p);
            for (k, axis) in axes.iter().enumerate() {
                if (turn + k) % types.len() != number {
                    continue;
                }
                let what = format!("{} over {axis} in {dtype:?}", case.name);
                let sum: Tensor<2> = f_ij.sum(*axis);
                let transposed = *axis == Axis::I;
                let rows = if transposed { N } else { M };
                assert_eq!(sum.dims(), [rows, f_ij.dim()], "{what}");
                let expected = dense_sum(&x, &y, D, transposed, &dense);
                assert_close(&what, &host(sum), &expected, tolerance);
            }
        }
    }
}

#[test]
fn sums_over_both_axes_equal_dense_sums() {
    check_sums(&cases(), &[Axis::J, Axis::I]);
}

#[test]
fn a_transposed_formula_swaps_the_axes() {
    let Values { x, y, p } = values();
    for (dtype, tolerance) in dtypes() {
        let device = device();
        let [x_i, y_j] = points_of(&x, &y, D, dtype);
        let parameter = LazyTensor::pm(tensor(&p, [D], dtype, &device));
        let k_ij = (x_i.dot(&y_j) * parameter.elem(0)).exp();
        let direct: Tensor<2> = k_ij.sum(Axis::I);
        let transposed: Tensor<2> = k_ij.t().sum(Axis::J);
        assert_close("t", &host(transposed), &host(direct), tolerance);
        // A formula is mixed with its transpose, so that both axes have operands of both clouds.
        let w_i = LazyTensor::vi(tensor(&x, [M, D], dtype, &device));
        let square = w_i.sqdist(w_i.t());
        assert_eq!(square.shape(), [M, M, 1]);
        let distances: Tensor<2> = square.sum(Axis::J);
        let f = |a: &[f64], b: &[f64]| vec![sum(|k| (a[k] - b[k]).powi(2))];
        assert_close(
            "mixed",
            &host(distances),
            &dense_sum(&x, &x, D, false, &f),
            tolerance,
        );
    }
}

#[test]
fn display_prints_formula_and_shape() {
    let device = device();
    let x = LazyTensor::vi(Tensor::<2>::zeros([4, 3], &device));
    let y = LazyTensor::vj(Tensor::<2>::zeros([6, 3], &device));
    let p = LazyTensor::pm(Tensor::<1>::zeros([3], &device));
    assert_eq!(
        (&x - &y).to_string(),
        "LazyTensor\n    formula: (x0 - y0)\n    shape: (4, 6, 3)"
    );
    assert_eq!(
        (-(&x - y).square().inner_sum() / 0.5).exp().to_string(),
        "LazyTensor\n    formula: exp((-sum(square((x0 - y0))) / 0.5))\n    shape: (4, 6)"
    );
    assert_eq!(
        (x * p).to_string(),
        "LazyTensor\n    formula: (x0 * p0)\n    shape: (4, 1, 3)"
    );
}
