//! Operations on the inner axis and functions of several arguments, against dense loops in `f64`.

use burn::prelude::*;
use burn_lazy::{Axis, Contraction, LazyError, LazyTensor};

use super::{
    operations::{Case, case, check_sums},
    support::*,
};

const D: usize = 3;

fn each(f: impl Fn(usize) -> f64) -> Vec<f64> {
    (0..D).map(f).collect()
}

/// `f(k, l)` for all pairs of components, row by row.
fn pairs(f: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    (0..D * D).map(|k| f(k / D, k % D)).collect()
}

fn sum(f: impl Fn(usize) -> f64) -> f64 {
    (0..D).map(f).sum()
}

fn place(values: &[f64], better: impl Fn(f64, f64) -> bool) -> usize {
    let first = |best, k| {
        if better(values[k], values[best]) {
            k
        } else {
            best
        }
    };
    (1..values.len()).fold(0, first)
}

/// The B-spline basis function `i` of `order` at `x`, by its recursive definition.
fn basis(t: &[f64], i: usize, order: usize, x: f64) -> f64 {
    if order == 0 {
        return f64::from(t[i] <= x && x < t[i + 1]);
    }
    let part = |from: usize, to: usize, at: f64| match t[to] - t[from] {
        0.0 => 0.0,
        width => at / width,
    };
    part(i, i + order, x - t[i]) * basis(t, i, order - 1, x)
        + part(i + 1, i + order + 1, t[i + order + 1] - x) * basis(t, i + 1, order - 1, x)
}

/// Six increasing knots around zero, made from three numbers.
fn knots(p: &[f64]) -> Vec<f64> {
    let k = |k: usize| 0.1 * p[k];
    vec![
        k(0) - 2.0,
        k(1) - 1.0,
        k(2) - 0.3,
        k(0) + 0.2,
        k(1) + 1.0,
        k(2) + 2.5,
    ]
}

fn soft_min(values: &[f64], gamma: f64) -> f64 {
    -gamma * values.iter().map(|v| (-v / gamma).exp()).sum::<f64>().ln()
}

pub fn softdtw(x: &[f64], y: &[f64], gamma: f64) -> f64 {
    let mut r = vec![vec![f64::INFINITY; y.len() + 1]; x.len() + 1];
    r[0][0] = 0.0;
    for i in 1..=x.len() {
        for j in 1..=y.len() {
            let before = [r[i - 1][j], r[i][j - 1], r[i - 1][j - 1]];
            r[i][j] = (x[i - 1] - y[j - 1]).powi(2) + soft_min(&before, gamma);
        }
    }
    r[x.len()][y.len()]
}

/// Formulas that are smooth for values in [-1, 1), up to the order to which they are
/// differentiated.
pub fn cases() -> Vec<Case> {
    vec![
        case!(
            "inner_min, inner_max",
            |x, y, p| (x * y).inner_min() * p + (x - y).inner_max(),
            |x, y, p| {
                let min = each(|k| x[k] * y[k])
                    .into_iter()
                    .fold(f64::INFINITY, f64::min);
                let max = each(|k| x[k] - y[k])
                    .into_iter()
                    .fold(-f64::INFINITY, f64::max);
                each(|k| min * p[k] + max)
            }
        ),
        case!(
            "inner_argmin, inner_argmax",
            |x, y, p| (x * y).inner_argmin() * p + (x - y).inner_argmax(),
            |x, y, p| {
                let low = place(&each(|k| x[k] * y[k]), |a, b| a < b) as f64;
                let high = place(&each(|k| x[k] - y[k]), |a, b| a > b) as f64;
                each(|k| low * p[k] + high)
            }
        ),
        case!(
            "one_hot",
            |x, y, p| (x - y).inner_argmax().one_hot(3) * p,
            |x, y, p| {
                let high = place(&each(|k| x[k] - y[k]), |a, b| a > b);
                each(|k| if k == high { p[k] } else { 0.0 })
            }
        ),
        case!(
            "normalize",
            |x, y, p| (x * 0.25 + y * 0.25 + 2.0).normalize() * p,
            |x, y, p| {
                let v = each(|k| x[k] * 0.25 + y[k] * 0.25 + 2.0);
                let norm = sum(|k| v[k] * v[k]).sqrt();
                each(|k| v[k] / norm * p[k])
            }
        ),
        case!(
            "weighted_sqnorm",
            |x, y, p| LazyTensor::concat(&[
                (x - y).weighted_sqnorm(p.elem(0)),
                (x - y).weighted_sqnorm(p),
                x.weighted_sqdist(y, p.tensorprod(p) + 0.5),
            ]),
            |x, y, p| {
                let d = each(|k| x[k] - y[k]);
                let full = pairs(|k, l| (p[k] * p[l] + 0.5) * d[k] * d[l]);
                vec![
                    p[0] * sum(|k| d[k] * d[k]),
                    sum(|k| p[k] * d[k] * d[k]),
                    full.iter().sum(),
                ]
            }
        ),
        case!(
            "matvecmult",
            |x, y, p| x.tensorprod(y).matvecmult(p),
            |x, y, p| each(|k| x[k] * sum(|l| y[l] * p[l]))
        ),
        case!(
            "vecmatmult",
            |x, y, p| p.vecmatmult(x.tensorprod(y)),
            |x, y, p| each(|l| y[l] * sum(|k| x[k] * p[k]))
        ),
        case!("tensorprod", |x, y, p| (x * p).tensorprod(y), |x, y, p| {
            pairs(|k, l| x[k] * p[k] * y[l])
        }),
        case!(
            "kron",
            |x, y, p| x.tensorprod(p).kron(y.tensorprod(y), &[3, 3], &[3, 3]),
            |x, y, p| {
                let entry = |k: usize| {
                    let (row, column) = (k / 9, k % 9);
                    x[row / 3] * p[column / 3] * y[row % 3] * y[column % 3]
                };
                (0..81).map(entry).collect()
            }
        ),
        case!(
            "tensordot",
            |x, y, p| {
                let (a, b) = (x.tensorprod(p), y.tensorprod(y).tensorprod(p));
                // sum_k a[k, l] b[m, k, n], as [n, l, m].
                let contraction = Contraction::new(&[3, 3], &[3, 3, 3], &[0], &[1]);
                a.tensordot(b, &contraction.permuted(vec![2, 0, 1]))
            },
            |x, y, p| {
                let entry = |k: usize| {
                    let (n, l, m) = (k / 9, k / 3 % 3, k % 3);
                    sum(|k| x[k] * p[l] * y[m] * y[k] * p[n])
                };
                (0..27).map(entry).collect()
            }
        ),
        case!(
            "bspline",
            |x, y, p| {
                let k = |k: usize, at: f64| p.elem(k) * 0.1 + at;
                let knots = LazyTensor::concat(&[
                    k(0, -2.0),
                    k(1, -1.0),
                    k(2, -0.3),
                    k(0, 0.2),
                    k(1, 1.0),
                    k(2, 2.5),
                ]);
                knots.bspline(x.elem(0) * y.elem(1), 2)
            },
            |x, y, p| (0..3)
                .map(|i| basis(&knots(p), i, 2, x[0] * y[1]))
                .collect()
        ),
        case!(
            "softdtw",
            |x, y, p| x.softdtw(y, p.elem(0).square() + 0.5),
            |x, y, p| vec![softdtw(x, y, p[0] * p[0] + 0.5)]
        ),
        case!(
            "powf with one exponent for all components",
            |x, y, p| (x + y + 3.0).powf(p.elem(1)),
            |x, y, p| each(|k| (x[k] + y[k] + 3.0f64).powf(p[1]))
        ),
        case!(
            "powf with one base",
            |x, y, p| (x.elem(0) + 2.0).powf(y * p),
            |x, y, p| each(|k| (x[0] + 2.0).powf(y[k] * p[k]))
        ),
        case!(
            "atan2 of one against several components",
            |x, y, p| (x + 2.0).atan2(y.elem(0)) * p,
            |x, y, p| each(|k| (x[k] + 2.0).atan2(y[0]) * p[k])
        ),
        case!(
            "clamp with bounds of one component",
            |x, y, p| (x * 3.0).clamp(y.elem(0) - 1.0, 1.5) * p,
            |x, y, p| each(|k| (3.0 * x[k]).clamp(y[0] - 1.0, 1.5) * p[k])
        ),
        case!(
            "if_else with branches that mix components",
            |x, y, p| x.if_else(y.vecmatmult(p.tensorprod(p)), y.inner_sum()),
            |x, y, p| each(|k| if x[k] >= 0.0 {
                p[k] * sum(|l| y[l] * p[l])
            } else {
                y.iter().sum()
            })
        ),
        case!(
            "sinc",
            |x, y, p| (x * y).sinc() * p.sinxdivx(),
            |x, y, p| {
                let sinc = |x: f64| if x == 0.0 { 1.0 } else { x.sin() / x };
                each(|k| sinc(std::f64::consts::PI * x[k] * y[k]) * sinc(p[k]))
            }
        ),
    ]
}

#[test]
fn sums_of_algebra_equal_dense_sums() {
    check_sums(&cases(), &[Axis::J]);
}

#[test]
fn places_and_decimals_at_the_ends() {
    let device = device();
    let lazy = |values: &[f32]| {
        let len = values.len();
        LazyTensor::vi(Tensor::<1>::from_floats(values, &device).reshape([len, 1]))
    };
    let one = LazyTensor::vj(Tensor::<2>::ones([1, 1], &device));
    let of = |f: LazyTensor| -> Vec<f64> { host((f * &one).sum::<2>(Axis::J)) };
    // Labels out of range have no component. 1.4 is rounded to 1, and 2.5 to the even number 2.
    let hot = of(lazy(&[-1.0, 0.0, 1.4, 2.5, 3.0, f32::NAN]).one_hot(3));
    let want = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    assert_eq!(hot, want.map(f64::from));
    let numbers = lazy(&[1250.0, -1350.0, 0.375, 2.5]);
    assert_eq!(of(numbers.round_to(-2)), [1200.0, -1400.0, 0.0, 0.0]);
    assert_eq!(of(numbers.round_to(0)), [1250.0, -1350.0, 0.0, 2.0]);
    let decimals = of(numbers.round_to(2));
    assert_close("decimals", &decimals, &[1250.0, -1350.0, 0.38, 2.5], 1e-7);
    let row = Tensor::<2>::from_floats([[3.0, 1.0, 1.0, 3.0], [2.0, f32::NAN, 0.0, 9.0]], &device);
    let row = LazyTensor::vi(row);
    assert_eq!(of(row.inner_argmin()), [1.0, 1.0]);
    assert_eq!(of(row.inner_argmax()), [0.0, 1.0]);
    assert_eq!(of(row.inner_min())[0], 1.0);
    assert!(of(row.inner_max())[1].is_nan());
}

#[test]
fn coinciding_knots_make_no_nan() {
    let device = device();
    let knots = [0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 2.0];
    let t = LazyTensor::pm(Tensor::<1>::from_floats(knots, &device));
    let at = [0.0, 0.5, 1.0, 1.75, 2.0];
    let x = LazyTensor::vi(Tensor::<1>::from_floats(at, &device).reshape([5, 1]));
    let one = LazyTensor::vj(Tensor::<2>::ones([1, 1], &device));
    let out: Tensor<2> = (t.bspline(x, 2) * one).sum(Axis::J);
    let knots = knots.map(f64::from);
    let want = at
        .iter()
        .flat_map(|x| (0..5).map(move |i| basis(&knots, i, 2, *x)));
    assert_close("basis", &host(out), &want.collect::<Vec<_>>(), 1e-6);
}

#[test]
fn wrong_axes_are_named() {
    let device = device();
    let x = LazyTensor::vi(Tensor::<2>::zeros([4, 6], &device));
    let y = LazyTensor::vj(Tensor::<2>::zeros([5, 4], &device));
    let refused = |contraction: Contraction| {
        let error = x.try_tensordot(&y, &contraction).unwrap_err();
        assert!(matches!(error, LazyError::Contraction { .. }));
        error.to_string()
    };
    let new = Contraction::new;
    assert!(refused(new(&[2, 2], &[4], &[], &[])).contains("do not multiply"));
    assert!(refused(new(&[2, 3], &[4], &[2], &[0])).contains("does not exist"));
    assert!(refused(new(&[2, 3], &[2, 2], &[1], &[0])).contains("different sizes"));
    assert!(refused(new(&[2, 3], &[2, 2], &[0], &[])).contains("different sizes"));
    assert!(
        refused(new(&[2, 3], &[2, 2], &[0], &[0]).permuted(vec![0, 0])).contains("permutation")
    );
    let error = x.try_matvecmult(&y).unwrap_err().to_string();
    assert!(error.contains("matvecmult") && error.contains("[4, 6]") && error.contains("[5, 4]"));
    assert!(x.try_bspline(&y, 1).is_err() && y.try_bspline(x.elem(0), 3).is_err());
    assert!(x.try_one_hot(3).is_err() && x.elem(0).try_one_hot(0).is_err());
    assert!(x.try_weighted_sqnorm(&y).is_err());
}
