//! Operands that simplification removes from a formula, and axes and batches without elements.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axes, Axis, LazyTensor};

use super::support::*;

fn zeros<const R: usize>(shape: [usize; R]) -> Tensor<R> {
    Tensor::zeros(shape, &device())
}

#[cfg(feature = "autodiff")]
mod gradients {
    use super::*;

    /// Formulas of `x`, `[3, 2]`, whose derivative by `x` is 0 everywhere. `one` has two components.
    fn flat(
        x: &LazyTensor,
        other: &LazyTensor,
        one: &LazyTensor,
    ) -> Vec<(&'static str, LazyTensor)> {
        let both = LazyTensor::concat(&[x.clone(), other.clone()]);
        vec![
            ("power 0", (x * other).powi(0)),
            ("power 0 of a formula", (x - other).exp().powi(0)),
            ("beside another", x.powi(0) * other),
            ("a slice of a concatenation", both.slice(2..3)),
            ("a constant times", (x.powi(0) - 1.0) * other),
            ("sign", x.sign() * other),
            ("step", x.step() * other),
            ("one-hot", x.elem(0).one_hot(2) * other),
            ("rounded", x.round() + other),
            ("gradient of a linear formula", (x * other).grad(x, one)),
            ("gradient of a sum", (x + other).grad(other, one)),
            ("complex", other.real2complex().re + x.real2complex().im),
            ("compared", x.less(other)),
        ]
    }

    #[test]
    fn the_gradient_by_what_is_left_out_is_zero_and_not_missing() {
        let device = device().autodiff();
        for (dtype, _) in dtypes() {
            for k in 0.. {
                // Each formula has a new graph.
                let data = [f64::NAN, -1.5, 0.5, 2.0, f64::INFINITY, 0.0];
                let x = tensor::<2>(&data, [3, 2], dtype, &device).require_grad();
                let y = tensor::<2>(&[1.0, 2.0], [1, 2], dtype, &device);
                let x_i = LazyTensor::vi(x.clone());
                let y_j = LazyTensor::vj(y);
                let one = LazyTensor::pm(tensor::<1>(&[1.0; 2], [2], dtype, &device));
                let Some((what, formula)) = flat(&x_i, &y_j, &one).into_iter().nth(k) else {
                    break;
                };
                let sums: Tensor<2> = formula.sum(Axis::J);
                let gradients = sums.sum().backward();
                let gradient = x.grad(&gradients);
                let gradient = gradient.unwrap_or_else(|| panic!("{what}: no gradient"));
                assert_eq!(gradient.dims(), [3, 2], "{what}");
                assert_eq!(gradient.dtype(), dtype, "{what}");
                assert_eq!(host(gradient), [0.0; 6], "{what}");
            }
        }
    }

    #[test]
    fn the_gradient_by_a_power_of_zero_is_zero() {
        let device = device().autodiff();
        for (dtype, _) in dtypes() {
            let x = tensor::<2>(&[f64::NAN, 0.5, 0.0], [3, 1], dtype, &device).require_grad();
            let y = tensor::<2>(&[1.0, 2.0], [2, 1], dtype, &device).require_grad();
            let p = tensor::<1>(&[3.0], [1], dtype, &device).require_grad();
            let (x_i, y_j) = (LazyTensor::vi(x.clone()), LazyTensor::vj(y.clone()));
            // No operand is left in the formula.
            let sums: Tensor<2> = (&x_i * &y_j * &p).powi(0).sum(Axis::J);
            assert_eq!(host(sums.clone()), [2.0; 3]);
            let gradients = (sums * 2.0).sum().backward();
            assert_eq!(host(x.grad(&gradients).unwrap()), [0.0; 3]);
            assert_eq!(host(y.grad(&gradients).unwrap()), [0.0; 2]);
            assert_eq!(host(p.grad(&gradients).unwrap()), [0.0]);
            // One operand is left. The cotangents may be infinite.
            for axis in [Axis::I, Axis::J] {
                let sums: Tensor<2> = (x_i.powi(0) * &y_j).sum(axis);
                let expected: &[f64] = match axis {
                    Axis::I => &[3.0, 6.0],
                    Axis::J => &[3.0; 3],
                };
                assert_eq!(host(sums.clone()), expected);
                let gradients = (sums * f64::INFINITY).sum().backward();
                assert_eq!(host(x.grad(&gradients).unwrap()), [0.0; 3]);
                assert_eq!(host(y.grad(&gradients).unwrap()), [f64::INFINITY; 2]);
            }
            let both: Tensor<1> = (x_i.powi(0) * &y_j).sum(Axes::Both);
            let gradients = both.sum().backward();
            assert_eq!(host(x.grad(&gradients).unwrap()), [0.0; 3]);
            assert_eq!(host(y.grad(&gradients).unwrap()), [3.0; 2]);
        }
    }

    #[test]
    fn every_reduction_keeps_what_is_left_out() {
        let device = device().autodiff();
        let x = tensor::<2>(&[0.5, 2.0], [2, 1], DType::F32, &device).require_grad();
        let y = tensor::<2>(&[1.0, 2.0, 3.0], [3, 1], DType::F32, &device);
        let f = LazyTensor::vi(x.clone()).powi(0) * LazyTensor::vj(y.clone());
        let results: Vec<(&str, Tensor<2>)> = vec![
            ("sum", f.sum(Axis::J)),
            ("mean", f.mean(Axis::J)),
            ("prod", f.prod(Axis::J)),
            ("logsumexp", f.logsumexp(Axis::J)),
            ("weighted", f.logsumexp_weighted(2.0, Axis::J)),
            ("softmax", f.sumsoftmaxweight(2.0, Axis::J)),
            ("min", f.min(Axis::J)),
            ("max", f.max(Axis::J)),
            ("max and place", f.max_argmax(Axis::J).0),
            ("kmin", f.kmin(2, Axis::J)),
            ("kmin and place", f.kmin_argkmin(2, Axis::J).0),
            ("product", f.matmul(y.clone())),
            ("diagonal", f.block(0..2, 0..2).diag()),
            ("dense", f.dense::<3>().squeeze_dim(2)),
        ];
        for (what, result) in results {
            let gradients = result.sum().backward();
            let gradient = x.grad(&gradients);
            let gradient = gradient.unwrap_or_else(|| panic!("{what}: no gradient"));
            assert_eq!(host(gradient), [0.0; 2], "{what}");
        }
    }

    #[test]
    fn an_empty_tensor_that_is_left_out_has_an_empty_gradient() {
        let device = device().autodiff();
        let x = Tensor::<2>::zeros([0, 2], &device).require_grad();
        let y = Tensor::<2>::ones([3, 2], &device);
        let sums: Tensor<2> = (LazyTensor::vi(x.clone()).powi(0) * LazyTensor::vj(y)).sum(Axis::I);
        assert_eq!(host(sums.clone()), [0.0; 6]);
        let gradient = x.grad(&sums.sum().backward()).expect("a gradient");
        assert_eq!(gradient.dims(), [0, 2]);
    }

    #[test]
    fn a_tensor_that_only_gives_the_sizes_stays_in_the_graph() {
        let device = device().autodiff();
        let x = Tensor::<2>::ones([3, 1], &device).require_grad();
        let y = Tensor::<2>::ones([2, 1], &device).require_grad();
        let sizes = LazyTensor::vi(x.clone()).powi(0) * LazyTensor::vj(y.clone()).powi(0);
        // Not a constant, because it depends on the index of the row. But it reads no tensor.
        let places = (LazyTensor::row_index() + 1.0) * sizes;
        let sums: Tensor<2> = places.sum(Axis::J);
        assert_eq!(host(sums.clone()), [2.0, 4.0, 6.0]);
        let gradients = sums.sum().backward();
        assert_eq!(host(x.grad(&gradients).unwrap()), [0.0; 3]);
        assert_eq!(host(y.grad(&gradients).unwrap()), [0.0; 2]);
    }
}

#[test]
fn a_formula_of_places_alone_keeps_a_tensor() {
    // Simplification must leave a tensor in the formula even though its values do not matter. Without a tensor there is
    // nothing to launch.
    for dim in [1, 3] {
        let (x, y) = (
            LazyTensor::vi(zeros([3, dim])),
            LazyTensor::vj(zeros([2, dim])),
        );
        let places = (LazyTensor::offset() + 1.0) * (x.powi(0) * y.powi(0));
        let sums: Tensor<2> = places.sum(Axis::J);
        let row = |i: f64| vec![2.0 * i + 1.0; dim];
        assert_eq!(host(sums), [row(0.0), row(1.0), row(2.0)].concat());
        let dense: Tensor<3> = places.dense();
        let entries = [[1.0, 0.0], [2.0, 1.0], [3.0, 2.0]];
        let expected: Vec<f64> = entries
            .iter()
            .flatten()
            .flat_map(|e| vec![*e; dim])
            .collect();
        assert_eq!(host(dense), expected);
        let both: Tensor<1> = places.sum(Axes::Both);
        assert_eq!(host(both), vec![9.0; dim]);
    }
}

#[test]
fn nothing_is_reduced_to_empty_results_or_to_what_nothing_gives() {
    type Shape = ([usize; 3], [usize; 3]);
    let cases: [Shape; 6] = [
        ([0, 3, 2], [0, 4, 2]),
        ([0, 3, 2], [1, 4, 2]),
        ([2, 0, 2], [2, 4, 2]),
        ([2, 3, 2], [2, 0, 2]),
        ([2, 0, 2], [2, 0, 2]),
        ([0, 0, 2], [0, 0, 2]),
    ];
    for (x, y) in cases {
        let batch = if x[0] == 0 { 0 } else { x[0].max(y[0]) };
        let (m, n) = (x[1], y[1]);
        let (x, y) = (LazyTensor::vi(zeros(x)), LazyTensor::vj(zeros(y)));
        for axis in [Axis::I, Axis::J] {
            let (kept, reduced) = if axis == Axis::J { (m, n) } else { (n, m) };
            let s = x.sqdist(&y) + 1.0;
            let check = |what: &str, result: Tensor<3>, of_nothing: f64, of_ones: f64| {
                let what = format!("{what} over {axis} of {m} x {n}, batch {batch}");
                assert_eq!(result.dims(), [batch, kept, 1], "{what}");
                let value = if reduced == 0 { of_nothing } else { of_ones };
                for found in host(result) {
                    let same = found == value || (found.is_nan() && value.is_nan());
                    assert!(same, "{what}: {found} and not {value}");
                }
            };
            let count = reduced as f64;
            check("sum", s.sum(axis), 0.0, count);
            check("mean", s.mean(axis), f64::NAN, 1.0);
            check("prod", s.prod(axis), 1.0, 1.0);
            let log = f64::from((1.0 + count.ln()) as f32);
            let logsumexp: Tensor<3> = s.logsumexp(axis);
            assert_eq!(logsumexp.dims(), [batch, kept, 1]);
            assert_close(
                "logsumexp",
                &host(logsumexp.clone().clamp_min(-1e3)),
                &vec![if reduced == 0 { -1e3 } else { log }; batch * kept],
                1e-5,
            );
            check("softmax", s.sumsoftmaxweight(2.0, axis), f64::NAN, 2.0);
            check("min", s.min(axis), f64::INFINITY, 1.0);
            check("max", s.max(axis), f64::NEG_INFINITY, 1.0);
            let (values, places) = s.min_argmin(axis);
            check("min of both", values, f64::INFINITY, 1.0);
            check("argmin", places.float(), -1.0, 0.0);
            let places: Tensor<3, Int> = s.argmax(axis);
            check("argmax", places.float(), -1.0, 0.0);
            let counts: Tensor<3, Int> = s.count(axis);
            check("count", counts.float(), 0.0, count);
            let any: Tensor<3, Bool> = s.any(axis);
            check("any", any.float(), 0.0, 1.0);
            let (values, places): (Tensor<3>, Tensor<3, Int>) = s.kmin_argkmin(2, axis);
            assert_eq!(values.dims(), [batch, kept, 2]);
            assert_eq!(host(values).len(), batch * kept * 2);
            assert_eq!(places.into_data().iter::<i64>().count(), batch * kept * 2);
        }
        let both: Tensor<2> = x.sqdist(&y).sum(Axes::Both);
        assert_eq!(both.dims(), [batch, 1]);
        assert_eq!(host(both), vec![0.0; batch]);
        let both: Tensor<2> = x.sqdist(&y).mean(Axes::Both);
        assert_eq!(both.dims(), [batch, 1]);
        assert_eq!(host(both).len(), batch);
        let dense: Tensor<4> = x.sqdist(&y).dense();
        assert_eq!(dense.dims(), [batch, m, n, 1]);
        assert_eq!(host(dense).len(), batch * m * n);
        let product: Tensor<3> = x.sqdist(&y).matmul(zeros([y.shape()[0], n, 5]));
        assert_eq!(product.dims(), [batch, m, 5]);
        assert_eq!(host(product).len(), batch * m * 5);
        if m == n {
            let diagonal: Tensor<3> = x.sqdist(&y).diag();
            assert_eq!(diagonal.dims(), [batch, m, 1]);
            assert_eq!(host(diagonal).len(), batch * m);
        }
        // Simplification turns this formula into a constant.
        let ones: Tensor<3> = x.sqdist(&y).powi(0).mean(Axis::J);
        assert_eq!(ones.dims(), [batch, m, 1]);
        assert_eq!(host(ones).len(), batch * m);
    }
}
