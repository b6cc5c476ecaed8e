//! Variances and means against a computation with two passes in `f64`: over either axis and both, of any number of
//! values, far from 0, of values that are not finite, in batches, and their gradients.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axes, Axis, LazyError, LazyTensor};

use super::support::*;

/// The variance with the divisor n - c, and the mean.
fn moments(values: &[f64], c: f64) -> [f64; 2] {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    [squares / (n - c), mean]
}

/// The values of `x_i y_j + shift` for `m` rows and `n` columns with `D` components, and the formula.
struct Products {
    x: Vec<f64>,
    y: Vec<f64>,
    sizes: [usize; 2],
    shift: f64,
    formula: LazyTensor,
}

const D: usize = 3;

impl Products {
    fn new(sizes: [usize; 2], shift: f64, dtype: DType) -> Self {
        let mut random = Random::new(5);
        let [x, y] = sizes.map(|size| random.vec(size * D));
        let [m, n] = sizes;
        let x_i = LazyTensor::vi(tensor(&x, [m, D], dtype, &device()));
        let y_j = LazyTensor::vj(tensor(&y, [n, D], dtype, &device()));
        Self {
            x,
            y,
            sizes,
            shift,
            formula: x_i * y_j + shift,
        }
    }

    fn at(&self, i: usize, j: usize, k: usize) -> f64 {
        self.x[i * D + k] * self.y[j * D + k] + self.shift
    }

    /// The variances and means over `axes`.
    fn expected(&self, axes: Axes, c: f64) -> [Vec<f64>; 2] {
        let [m, n] = self.sizes;
        let mut all = [vec![], vec![]];
        let rows = match axes {
            Axes::One(Axis::J) => m,
            Axes::One(Axis::I) => n,
            Axes::Both => 1,
        };
        for row in 0..rows {
            for k in 0..D {
                let values: Vec<f64> = match axes {
                    Axes::One(Axis::J) => (0..n).map(|j| self.at(row, j, k)).collect(),
                    Axes::One(Axis::I) => (0..m).map(|i| self.at(i, row, k)).collect(),
                    Axes::Both => (0..m * n).map(|p| self.at(p / n, p % n, k)).collect(),
                };
                let own = moments(&values, c);
                all.iter_mut().zip(own).for_each(|(all, own)| all.push(own));
            }
        }
        all
    }
}

#[test]
fn variances_over_one_axis_equal_those_of_two_passes() {
    for (dtype, tolerance) in dtypes() {
        // One value, sizes around that of a block, several blocks, and columns that are split.
        for n in [1, 2, 31, 255, 256, 257, 5001] {
            let products = Products::new([3, n], 0.5, dtype);
            for (axis, rows) in [(Axis::J, 3), (Axis::I, n)] {
                let name = format!("{n} columns over {axis} in {dtype:?}");
                let (variance, mean): (Tensor<2>, Tensor<2>) = products.formula.var_mean_bias(axis);
                assert_eq!([variance.dims(), mean.dims()], [[rows, D]; 2], "{name}");
                let [expected, means] = products.expected(axis.into(), 0.0);
                assert_close(&name, &host(variance), &expected, tolerance);
                assert_close(&name, &host(mean), &means, tolerance);
                let biased: Tensor<2> = products.formula.var_bias(axis);
                assert_close(&name, &host(biased), &expected, tolerance);
            }
            let unbiased: Tensor<2> = products.formula.var(Axis::J);
            if n == 1 {
                assert!(host(unbiased).iter().all(|variance| variance.is_nan()));
                continue;
            }
            let (variance, mean): (Tensor<2>, Tensor<2>) = products.formula.var_mean(Axis::J);
            let [expected, means] = products.expected(Axis::J.into(), 1.0);
            let name = format!("unbiased of {n} columns in {dtype:?}");
            assert_close(&name, &host(unbiased), &expected, tolerance);
            assert_close(&name, &host(variance), &expected, tolerance);
            assert_close(&name, &host(mean), &means, tolerance);
        }
    }
}

#[test]
fn variances_over_both_axes_equal_those_of_two_passes() {
    for (dtype, tolerance) in dtypes() {
        for sizes in [[1, 1], [1, 7], [40, 1], [70, 300]] {
            let products = Products::new(sizes, 2.0, dtype);
            let name = format!("{sizes:?} in {dtype:?}");
            let (variance, mean): (Tensor<1>, Tensor<1>) =
                products.formula.var_mean_bias(Axes::Both);
            let [expected, means] = products.expected(Axes::Both, 0.0);
            assert_close(&name, &host(variance), &expected, tolerance);
            assert_close(&name, &host(mean), &means, tolerance);
            let unbiased = host(products.formula.var::<1>(Axes::Both));
            if sizes == [1, 1] {
                assert!(unbiased.iter().all(|variance| variance.is_nan()));
                continue;
            }
            let [expected, _] = products.expected(Axes::Both, 1.0);
            assert_close(&name, &unbiased, &expected, tolerance);
        }
    }
}

#[test]
fn digits_are_kept_far_from_zero() {
    // The difference between the mean of the squares and the square of the mean would have no correct digits, and a
    // running sum few.
    let n = 200_000;
    let mut random = Random::new(9);
    let y: Vec<f64> = random
        .vec(n)
        .iter()
        .map(|v| 4096.0 + (v * 64.0).round() / 64.0)
        .collect();
    let x_i = LazyTensor::vi(Tensor::<2>::ones([2, 1], (&device(), DType::F32)));
    let y_j = LazyTensor::vj(tensor(&y, [n, 1], DType::F32, &device()));
    let (variance, mean): (Tensor<2>, Tensor<2>) = (x_i.clone() * y_j).var_mean(Axis::J);
    let [expected, average] = moments(&y, 1.0);
    assert_close("variance", &host(variance), &[expected; 2], 2e-5);
    assert_close("mean", &host(mean), &[average; 2], 3e-7);
    // Constant values have the variance 0.
    let third = tensor(&vec![1.0 / 3.0; 1000], [1000, 1], DType::F32, &device());
    let constant: Tensor<2> = (x_i * LazyTensor::vj(third)).var(Axis::J);
    assert_eq!(host(constant), [0.0; 2]);
}

#[test]
fn what_is_not_finite_shows() {
    let inf = f64::INFINITY;
    // Infinite values at the start, in a later block, and of both signs, and NaN.
    let cases = [
        (vec![inf, 1.0, 2.0], 0, inf),
        (vec![1.0, 2.0, -inf], 600, -inf),
        (vec![inf, 1.0, inf], 300, inf),
        (vec![inf, 1.0, -inf], 300, f64::NAN),
        (vec![1.0, f64::NAN], 300, f64::NAN),
        (vec![f64::NAN, inf], 300, f64::NAN),
    ];
    for (values, before, expected) in cases {
        let mut y = vec![0.5; before];
        y.extend(&values);
        y.extend(vec![0.25; 300]);
        let y_j = LazyTensor::vj(tensor(&y, [y.len(), 1], DType::F32, &device()));
        let x_i = LazyTensor::vi(Tensor::<2>::ones([1, 1], (&device(), DType::F32)));
        let (variance, mean): (Tensor<2>, Tensor<2>) = (x_i * y_j).var_mean(Axis::J);
        let (variance, mean) = (host(variance)[0], host(mean)[0]);
        assert!(variance.is_nan(), "{values:?}: {variance}");
        assert!(
            mean == expected || (mean.is_nan() && expected.is_nan()),
            "{values:?}: {mean}"
        );
    }
    // The squares of the means of such large values would overflow.
    let y = [2e30, 2e30, 2e30];
    let y_j = LazyTensor::vj(tensor(&y, [3, 1], DType::F32, &device()));
    let x_i = LazyTensor::vi(Tensor::<2>::ones([1, 1], (&device(), DType::F32)));
    let (variance, mean): (Tensor<2>, Tensor<2>) = (x_i * y_j).var_mean(Axis::J);
    assert_eq!(host(variance), [0.0]);
    assert_close("large", &host(mean), &[2e30], 1e-6);
}

fn all_nan<const R: usize>(tensor: Tensor<R>) -> bool {
    host(tensor).iter().all(|value| value.is_nan())
}

#[test]
fn nothing_has_no_variance() {
    let x_i = LazyTensor::vi(Tensor::<2>::ones([2, 1], (&device(), DType::F32)));
    let y_j = LazyTensor::vj(Tensor::<2>::zeros([0, 1], (&device(), DType::F32)));
    let (variance, mean): (Tensor<2>, Tensor<2>) = (&x_i * &y_j).var_mean_bias(Axis::J);
    assert!(all_nan(variance) && all_nan(mean));
    let (variance, mean): (Tensor<1>, Tensor<1>) = (&x_i * &y_j).var_mean_bias(Axes::Both);
    assert!(all_nan(variance) && all_nan(mean));
    let none: Tensor<2> = (x_i * y_j).var(Axis::I);
    assert_eq!(none.dims(), [0, 1]);
}

#[test]
fn batches_broadcast_and_halves_are_computed_in_single_precision() {
    let mut random = Random::new(3);
    let (x, y) = (random.vec(2 * 5), random.vec(300));
    let formula = |dtype| {
        let x_i = LazyTensor::vi(tensor(&x, [2, 5, 1], dtype, &device()));
        let y_j = LazyTensor::vj(tensor(&y, [300, 1], dtype, &device()));
        x_i * y_j + 1000.0
    };
    let expected: Vec<[f64; 2]> = x
        .iter()
        .map(|x| moments(&y.iter().map(|y| x * y + 1000.0).collect::<Vec<_>>(), 1.0))
        .collect();
    let [variances, means] = [0, 1].map(|k| expected.iter().map(|own| own[k]).collect::<Vec<_>>());
    let (variance, mean): (Tensor<3>, Tensor<3>) = formula(DType::F32).var_mean(Axis::J);
    assert_eq!(variance.dims(), [2, 5, 1]);
    // The values are rounded with an error of up to 6e-5.
    assert_close("variances", &host(variance), &variances, 1e-4);
    assert_close("means", &host(mean), &means, 1e-6);
    let all: Vec<f64> = x[..5]
        .iter()
        .flat_map(|x| y.iter().map(move |y| x * y + 1000.0))
        .collect();
    let over_both: Tensor<2> = formula(DType::F32).var(Axes::Both);
    assert_eq!(over_both.dims(), [2, 1]);
    assert_close(
        "both",
        &host(over_both)[..1],
        &[moments(&all, 1.0)[0]],
        1e-4,
    );
    if reduces(DType::F16) {
        // F16 represents neither the values nor their squares.
        let variance: Tensor<3> = formula(DType::F16).var(Axis::J);
        assert_eq!(variance.dtype(), DType::F16);
        assert_close("halves", &host(variance), &variances, 3e-3);
    }
}

#[test]
fn a_wrong_rank_and_a_missing_axis_are_errors() {
    let products = Products::new([3, 4], 0.0, DType::F32);
    let error = products.formula.try_var::<3>(Axis::J).unwrap_err();
    assert!(
        matches!(
            error,
            LazyError::OutputRank {
                operation: "var",
                ..
            }
        ),
        "{error}"
    );
    let rows = LazyTensor::vi(Tensor::<2>::ones([2, 1], (&device(), DType::F32)));
    for axes in [Axes::One(Axis::J), Axes::Both] {
        let error = rows.try_var_mean::<2>(axes).unwrap_err();
        assert!(
            matches!(error, LazyError::MissingAxis { axis: Axis::J, .. }),
            "{error}"
        );
    }
}

#[cfg(feature = "autodiff")]
#[test]
fn gradients_equal_the_analytic_ones() {
    let (m, n) = (4, 270);
    let mut random = Random::new(12);
    let (x, y) = (random.vec(m), random.vec(n));
    let (u, w) = (random.vec(m), random.vec(m));
    let mean_y = y.iter().sum::<f64>() / n as f64;
    for (dtype, tolerance) in dtypes() {
        for unbiased in [true, false] {
            let device = device().autodiff();
            let leaf = |v: &[f64]| tensor(v, [v.len(), 1], dtype, &device).require_grad();
            let (xt, yt) = (leaf(&x), leaf(&y));
            let formula = LazyTensor::vi(xt.clone()) * LazyTensor::vj(yt.clone()) + 3.0;
            let (variance, mean): (Tensor<2>, Tensor<2>) = match unbiased {
                true => formula.var_mean(Axis::J),
                false => formula.var_mean_bias(Axis::J),
            };
            let weights = |v: &[f64]| tensor(v, [m, 1], dtype, &device);
            let loss = (variance * weights(&w)).sum() + (mean * weights(&u)).sum();
            let gradients = loss.backward();
            // The terms are x_i^2 v and x_i mean(y), where v is the variance of y.
            let c = f64::from(u8::from(unbiased));
            let [v, _] = moments(&y, c);
            let by_x: Vec<f64> = (0..m)
                .map(|i| 2.0 * w[i] * x[i] * v + u[i] * mean_y)
                .collect();
            let squares: f64 = (0..m).map(|i| w[i] * x[i] * x[i]).sum();
            let linear: f64 = (0..m).map(|i| u[i] * x[i]).sum();
            let by_y: Vec<f64> = y
                .iter()
                .map(|y| 2.0 * squares * (y - mean_y) / (n as f64 - c) + linear / n as f64)
                .collect();
            let name = format!("unbiased: {unbiased}, {dtype:?}");
            let given = |t: &Tensor<2>| host(t.grad(&gradients).expect("it is tracked"));
            assert_close(
                &format!("{name} by x"),
                &given(&xt),
                &by_x,
                10.0 * tolerance,
            );
            // The largest gradient is about 0.05, so the values are scaled before they are compared.
            let scaled = |v: Vec<f64>| v.into_iter().map(|v| v * 100.0).collect::<Vec<_>>();
            let (given, by_y) = (scaled(given(&yt)), scaled(by_y));
            assert_close(&format!("{name} by y"), &given, &by_y, 10.0 * tolerance);

            let formula = LazyTensor::vi(xt.clone()) * LazyTensor::vj(yt.clone());
            let total: Tensor<1> = match unbiased {
                true => formula.var(Axes::Both),
                false => formula.var_bias(Axes::Both),
            };
            let gradients = total.sum().backward();
            let all: Vec<f64> = x
                .iter()
                .flat_map(|x| y.iter().map(move |y| x * y))
                .collect();
            let [_, mean] = moments(&all, c);
            let by_x: Vec<f64> = x
                .iter()
                .map(|x| {
                    let terms = y.iter().map(|y| 2.0 * (x * y - mean) * y);
                    terms.sum::<f64>() / ((m * n) as f64 - c)
                })
                .collect();
            let given = host(xt.grad(&gradients).expect("it is tracked"));
            assert_close(
                &format!("{name} over both by x"),
                &given,
                &by_x,
                10.0 * tolerance,
            );
        }
    }
}
