//! Losses of streams and their gradients equal those of all columns at once.

use std::cell::Cell;

use burn::{
    prelude::*,
    tensor::{DType, FloatDType},
};
use burn_lazy::{
    Axis, LazyTensor,
    stream::{self, InMemory, Progress},
};

use super::{
    stream::columns,
    support::{
        Random, assert_close, device, differences, dtypes, host, is_interpreted, skipped, some_of,
        tensor,
    },
};

/// Compares the loss of a stream and its gradients with those of all columns at once.
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
                "prod",
                one(),
                x,
                p,
                y,
                tolerance,
                prod(),
                |x_i, p_i, y_j| { (x_i() - y_j) * p_i() }
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

/// A function that gives a loss and its gradient by `x`, with the points `y` in chunks.
type Differentiated = fn(&Tensor<2>, &InMemory<Vec<f32>>, usize) -> (Tensor<1>, Tensor<2>);

/// A function that computes the loss and its gradient in a stream of F64 in chunks of `$chunk`.
macro_rules! differentiated {
    ($name:ident($($count:expr)?), $formula:expr) => {
        |x, y, chunk| {
            let stream = stream::over([y], &device()).chunk(chunk).dtype(FloatDType::F64);
            let formula = |[y_j]: [LazyTensor; 1]| {
                let formula: fn(LazyTensor, LazyTensor) -> _ = $formula;
                formula(LazyTensor::vi(x.clone()), y_j)
            };
            let loss = |a: Tensor<2>| a.sin().sum();
            stream.value_and_grad(x).$name($($count,)? formula, loss).unwrap()
        }
    };
}

#[test]
fn gradients_are_differences_of_losses() {
    if !is_interpreted() {
        return skipped("differences are taken in F64, and on the host");
    }
    let (m, n) = (2, 5);
    let all: [(&str, Differentiated); 9] = [
        ("sum", differentiated!(sum(), |x, y| (x - y).sin())),
        ("mean", differentiated!(mean(), |x, y| (x - y).sin())),
        ("prod", differentiated!(prod(), |x, y| x - y)),
        ("logsumexp", differentiated!(logsumexp(), |x, y| x * y)),
        ("max", differentiated!(max(), |x, y| x * y)),
        ("kmin", differentiated!(kmin(3), |x, y| x.sqdist(y))),
        ("var", differentiated!(var(), |x, y| x * y)),
        (
            "softmax",
            differentiated!(sumsoftmaxweight(), |x, y| (-x.sqdist(&y), y * x)),
        ),
        // Terms of both signs, whose sums are positive.
        (
            "weighted",
            differentiated!(logsumexp_weighted(), |x, y| (
                x * &y,
                y.square() * 3.0 - 0.1
            )),
        ),
    ];
    let mut random = Random::new(8);
    let (at, y) = (random.vec(m * 2), random.vec(n * 2));
    let source = columns(&y, 2);
    let tracked = device().autodiff();
    for (what, differentiated) in all {
        for chunk in [1, 2, 5] {
            let run = |x: &[f64]| {
                let x = tensor(x, [m, 2], DType::F64, &tracked).require_grad();
                differentiated(&x, &source, chunk)
            };
            let (value, gradient) = run(&at);
            assert!(host(value)[0].is_finite(), "{what}");
            let expected = differences(&at, &|x| host(run(x).0)[0]);
            let what = format!("{what} in chunks of {chunk}");
            assert_close(&what, &host(gradient), &expected, 1e-6);
        }
    }
}

#[test]
fn a_product_with_zeros_has_the_gradient_of_all_columns() {
    // Rows with no zero, with one, with two in one chunk, and with one in each of two chunks.
    let (y, x) = (
        [1.0, 2.0, 3.0, 4.0],
        [[5.0, 5.0], [1.0, 5.0], [1.0, 2.0], [1.0, 4.0]],
    );
    let source = columns(&y, 1);
    let tracked = device().autodiff();
    let x = Tensor::<2>::from_data(x, &tracked).require_grad();
    let factors = |y_j: LazyTensor| {
        let x_i = LazyTensor::vi(x.clone());
        (x_i.slice(0..1) - &y_j) * (x_i.slice(1..2) - y_j)
    };
    let loss = |a: Tensor<2>| a.sum();
    let stream = stream::over([&source], &device()).chunk(2);
    let (value, gradient) = stream
        .value_and_grad(&x)
        .prod(|[y_j]| factors(y_j), loss)
        .unwrap();
    let columns = Tensor::<2>::from_data([[1.0], [2.0], [3.0], [4.0]], &tracked);
    let expected = loss(factors(LazyTensor::vj(columns)).prod(Axis::J));
    assert_close("value", &host(value), &host(expected.clone().inner()), 1e-6);
    let expected = x.grad(&expected.backward()).unwrap();
    assert_close("gradient", &host(gradient), &host(expected), 1e-6);
}

#[test]
fn the_gradient_by_a_weight_of_0_is_that_of_all_columns() {
    // Some chunks have no positive weight, and some rows have the sum 0.
    let source = columns(&[0.5, -1.0, 2.0, 0.0], 1);
    let tracked = device().autodiff();
    let weights = [[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [0.0, 0.0]];
    let w = Tensor::<2>::from_data(weights, &tracked).require_grad();
    // The row has two numbers. The index of the column decides which of them are its weight.
    let formula = |y_j: LazyTensor, column: LazyTensor| {
        let w_i = LazyTensor::vi(w.clone());
        let weight = w_i.slice(0..1) + w_i.slice(1..2) * column;
        (y_j, weight)
    };
    let sum = |a: Tensor<2>| {
        let nothing = a
            .clone()
            .equal_elem(f64::NEG_INFINITY)
            .bool_or(a.clone().is_nan());
        a.mask_fill(nothing, 0.0).sum()
    };
    let marks = columns(&[0.0, 1.0, 0.0, 3.0], 1);
    for chunk in [1, 2, 4] {
        let (_, gradient) = stream::over([&source, &marks], &device())
            .chunk(chunk)
            .value_and_grad(&w)
            .logsumexp_weighted(|[y_j, mark]| formula(y_j, mark), sum)
            .unwrap();
        let y = Tensor::<2>::from_data([[0.5], [-1.0], [2.0], [0.0]], &tracked);
        let marks = Tensor::<2>::from_data([[0.0], [1.0], [0.0], [3.0]], &tracked);
        let (score, weight) = formula(LazyTensor::vj(y), LazyTensor::vj(marks));
        let expected = sum(score.logsumexp_weighted(weight, Axis::J));
        let expected = w.grad(&expected.backward()).unwrap();
        assert_close("gradient", &host(gradient), &host(expected), 1e-5);
    }
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
    // The same for a loss that does not depend on the result.
    let constant = |a: Tensor<2>| Tensor::<1>::ones([1], &a.device().inner());
    let formula = |[y_j]: [LazyTensor; 1]| LazyTensor::vi(x.clone()) * y_j;
    let (value, by_x) = stream().value_and_grad(&x).sum(formula, constant).unwrap();
    assert_eq!((host(value), host(by_x)), (vec![1.0], vec![0.0; 2]));
    // The same without rows.
    let none = Tensor::<2>::ones([0, 1], &tracked).require_grad();
    let sum = |a: Tensor<2>| a.sum();
    let factor = |[y_j]: [LazyTensor; 1]| LazyTensor::vi(none.clone()) * y_j;
    let weighted = |[y_j]: [LazyTensor; 1]| (LazyTensor::vi(none.clone()), y_j - 1.5);
    let (_, by_product) = stream().value_and_grad(&none).prod(factor, sum).unwrap();
    let (_, by_weighted) = stream()
        .value_and_grad(&none)
        .logsumexp_weighted(weighted, sum)
        .unwrap();
    assert_eq!((by_product.dims(), by_weighted.dims()), ([0, 1], [0, 1]));
    // The error names the problem.
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
