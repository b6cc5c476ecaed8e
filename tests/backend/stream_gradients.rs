//! Losses of streams and their gradients are those of all columns at once.

use std::cell::Cell;

use burn::{
    prelude::*,
    tensor::{DType, FloatDType},
};
use burn_lazy::{
    Axis, LazyTensor,
    stream::{self, Progress},
};

use super::{
    stream::columns,
    support::{Random, assert_close, device, dtypes, host, is_interpreted, some_of, tensor},
};

/// Compares the loss and its gradients with those of all columns at once.
macro_rules! compare {
    ($what:literal, $stream:expr, $x:expr, $p:expr, $y:expr, $tolerance:expr,
        $name:ident($($count:expr)?), |$x_i:ident, $p_i:ident, $y_j:ident| $formula:expr) => {{
        let loss = |a: Tensor<2>| a.sin().sum() + $x.clone().square().sum();
        let ($x_i, $p_i) = (|| LazyTensor::vi($x.clone()), || LazyTensor::pm($p.clone()));
        let formula = |$y_j: LazyTensor| $formula;
        let (value, (by_x, by_p)) = $stream
            .value_and_grad((&$x, &$p))
            .$name($($count,)? |[y_j]| formula(y_j), loss)
            .unwrap();
        let expected = loss(formula(LazyTensor::vj($y.clone())).$name($($count,)? Axis::J));
        assert_close($what, &host(value), &host(expected.clone().inner()), $tolerance);
        let gradients = expected.backward();
        let expected = $x.grad(&gradients).unwrap();
        assert_close($what, &host(by_x), &host(expected), $tolerance);
        let expected = $p.grad(&gradients).unwrap();
        assert_close($what, &host(by_p), &host(expected), $tolerance);
    }};
}

#[test]
fn gradients_are_those_of_all_columns() {
    let (m, n) = (3, 7);
    let mut random = Random::new(5);
    let (x, y, p) = (random.vec(m * 2), random.vec(n * 2), random.vec(2));
    let source = columns(&y, 2);
    let tracked = device().autodiff();
    for (dtype, tolerance) in some_of(dtypes(), 2) {
        let tolerance = 10.0 * tolerance;
        let x = tensor(&x, [m, 2], dtype, &tracked).require_grad();
        let p = tensor(&p, [2], dtype, &tracked).require_grad();
        let y = tensor(&y, [n, 2], dtype, &tracked);
        let chunks: &[usize] = if is_interpreted() { &[1, 3, 7] } else { &[3] };
        for chunk in chunks {
            let one = || {
                let stream = stream::over([&source], &device()).chunk(*chunk);
                stream.dtype(FloatDType::from(dtype))
            };
            compare!("sum", one(), x, p, y, tolerance, sum(), |x_i, p_i, y_j| {
                ((x_i() - y_j) * p_i()).sin()
            });
            compare!(
                "mean",
                one(),
                x,
                p,
                y,
                tolerance,
                mean(),
                |x_i, p_i, y_j| ((x_i() - y_j) * p_i()).sin()
            );
            compare!(
                "logsumexp",
                one(),
                x,
                p,
                y,
                tolerance,
                logsumexp(),
                |x_i, p_i, y_j| (x_i() - y_j) * p_i()
            );
            compare!(
                "min",
                one(),
                x,
                p,
                y,
                tolerance,
                min(),
                |x_i, p_i, y_j| (x_i() - y_j) * p_i()
            );
            compare!(
                "max",
                one(),
                x,
                p,
                y,
                tolerance,
                max(),
                |x_i, p_i, y_j| (x_i() - y_j) * p_i()
            );
            compare!(
                "kmin",
                one(),
                x,
                p,
                y,
                tolerance,
                kmin(3),
                |x_i, p_i, y_j| x_i().weighted_sqdist(p_i().square(), y_j)
            );
            compare!("var", one(), x, p, y, tolerance, var(), |x_i, p_i, y_j| {
                ((x_i() - y_j) * p_i()).sin()
            });
            compare!(
                "var_bias",
                one(),
                x,
                p,
                y,
                tolerance,
                var_bias(),
                |x_i, p_i, y_j| ((x_i() - y_j) * p_i()).sin()
            );
        }
    }
}

#[test]
fn the_gradient_of_a_softmax_is_that_of_all_columns() {
    let (m, n) = (3, 7);
    let mut random = Random::new(6);
    let (x, y) = (random.vec(m * 2), random.vec(n * 2));
    let source = columns(&y, 2);
    let tracked = device().autodiff();
    let x = tensor(&x, [m, 2], DType::F32, &tracked).require_grad();
    let y_j = LazyTensor::vj(tensor(&y, [n, 2], DType::F32, &tracked));
    let loss = |a: Tensor<2>| a.square().sum();
    let formula = |y_j: LazyTensor| {
        // The first row has no score at all.
        let score = -LazyTensor::vi(x.clone()).sqdist(&y_j);
        let score = score.mask_where(LazyTensor::row_index().equal(0.0), f64::NEG_INFINITY);
        (score, y_j * LazyTensor::vi(x.clone()))
    };
    let known = |a: Tensor<2>| loss(a.narrow(0, 1, m - 1));
    let stream = stream::over([&source], &device()).chunk(3);
    let (value, gradient) = stream
        .value_and_grad(&x)
        .sumsoftmaxweight(|[y_j]| formula(y_j), known)
        .unwrap();
    let (score, weight) = formula(y_j);
    let expected = known(score.sumsoftmaxweight(weight, Axis::J));
    assert_close("value", &host(value), &host(expected.clone().inner()), 1e-5);
    let expected = x.grad(&expected.backward()).unwrap();
    assert_close("gradient", &host(gradient), &host(expected), 1e-4);
}

#[test]
fn a_leaf_that_nothing_depends_on_has_a_gradient_of_0() {
    let tracked = device().autodiff();
    let x = Tensor::<2>::ones([2, 1], &tracked).require_grad();
    let unused = Tensor::<1>::ones([3], &tracked).require_grad();
    let source = columns(&[1.0, 2.0, 3.0], 1);
    let stream = || stream::over([&source], &device()).chunk(2);
    let told = Cell::new(0);
    let counted = stream().progress(|Progress { done, all, .. }| {
        assert_eq!(all, 6);
        told.set(done);
    });
    let (_, (by_x, by_unused)) = counted
        .value_and_grad((&x, &unused))
        .sum(
            |[y_j]| LazyTensor::vi(x.clone()) * y_j,
            |a: Tensor<2>| a.sum(),
        )
        .unwrap();
    assert_eq!((host(by_x), host(by_unused)), (vec![6.0; 2], vec![0.0; 3]));
    assert_eq!(told.get(), 6);
    // The same for a loss that depends on nothing.
    let constant = |a: Tensor<2>| Tensor::<1>::ones([1], &a.device().inner());
    let formula = |[y_j]: [LazyTensor; 1]| LazyTensor::vi(x.clone()) * y_j;
    let (value, by_x) = stream().value_and_grad(&x).sum(formula, constant).unwrap();
    assert_eq!((host(value), host(by_x)), (vec![1.0], vec![0.0; 2]));
    // What is wrong is said.
    let loss = |a: Tensor<2>| a.reshape([2]);
    let error = stream().value_and_grad(&x).sum(formula, loss).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a loss is one number, not a tensor of shape [2]"
    );
    let plain = x.clone().inner();
    let error = stream()
        .value_and_grad(&plain)
        .sum(formula, |a: Tensor<2>| a.sum());
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("of shape [2, 1] to differentiate by is not tracked")
    );
}
