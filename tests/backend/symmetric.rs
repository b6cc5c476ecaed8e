//! Sums over pairs of points of one tensor, for which the CPU runtime evaluates each pair once, against sums over
//! points and a copy of them.

use burn::{
    prelude::*,
    tensor::{DType, FloatDType},
};
use burn_lazy::{Axis, LazyTensor};

use super::support::*;

/// More points than are needed for that.
const N: usize = 2100;

/// The values of points, and of weights with two components.
fn data(n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut random = Random::new(77);
    (random.vec(n * 3), random.vec(n * 2))
}

fn kernel(x: &Tensor<2>, y: &Tensor<2>) -> LazyTensor {
    (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(y.clone()))).exp()
}

#[test]
fn products_with_points_and_with_copies_are_equal() {
    for (dtype, tolerance) in dtypes() {
        for n in [0, 1, 17, N] {
            let (points, weights) = data(n);
            let make = || tensor(&points, [n, 3], dtype, &device());
            let (x, y) = (make(), make());
            let b = tensor(&weights, [n, 2], dtype, &device());
            let want = host(kernel(&x, &y).matmul(b.clone()));
            let k = kernel(&x, &x);
            assert_close("product", &host(k.matmul(b.clone())), &want, tolerance);
            assert_close(
                "transposed",
                &host(k.t().matmul(b.clone())),
                &want,
                tolerance,
            );
            let sums = |k: LazyTensor, axis| host::<2>(k.sum(axis));
            for axis in [Axis::I, Axis::J] {
                let want = sums(kernel(&x, &y), axis);
                assert_close("sum", &sums(k.clone(), axis), &want, tolerance);
            }
            // Tensors that have just been computed may still be in a queue.
            let moved = kernel(&(x.clone() * 2.0), &(y * 2.0)).matmul(b.clone());
            let x = x * 2.0;
            assert_close(
                "queued",
                &host(kernel(&x, &x).matmul(b)),
                &host(moved),
                tolerance,
            );
        }
    }
}

#[test]
fn parts_of_a_tensor_are_different_points() {
    let (points, weights) = data(N + 1);
    let b = tensor(&weights[..N * 2], [N, 2], DType::F32, &device());
    let all = tensor(&points, [N + 1, 3], DType::F32, &device());
    let [x, y] = [0, 1].map(|first| all.clone().slice([first..first + N, 0..3]));
    let copies = [&points[..N * 3], &points[3..]];
    let [x_copy, y_copy] = copies.map(|values| tensor(values, [N, 3], DType::F32, &device()));
    let product = |x: &Tensor<2>, y: &Tensor<2>| host(kernel(x, y).matmul(b.clone()));
    let want = product(&x_copy, &y_copy);
    assert_close("slices", &product(&x, &y), &want, 1e-5);
    // The same values with another layout in memory.
    let turned = x_copy.clone().transpose();
    let turned = (turned * 1.0).transpose();
    let want = product(&x_copy, &x_copy);
    assert_close("strides", &product(&turned, &turned), &want, 1e-5);
    assert_close("strides", &product(&turned, &x_copy), &want, 1e-5);
}

#[test]
fn points_stay_the_same_in_another_type() {
    let (points, weights) = data(N);
    let make = || tensor(&points, [N, 3], DType::F32, &device());
    let (x, y) = (make(), make());
    let b = tensor(&weights, [N, 2], DType::F32, &device());
    for (dtype, tolerance) in [(FloatDType::F16, 1e-2), (FloatDType::F64, 1e-5)] {
        let (Ok(same), Ok(copy)) = (
            kernel(&x, &x).try_cast(dtype),
            kernel(&x, &y).try_cast(dtype),
        ) else {
            continue;
        };
        let want = host(copy.matmul(b.clone().cast(dtype)));
        let got = host(same.matmul(b.clone().cast(dtype)));
        assert_close("cast", &got, &want, tolerance);
    }
}

#[cfg(feature = "autodiff")]
#[test]
fn gradients_are_those_by_rows_and_columns() {
    let device = device().autodiff();
    let (points, weights) = data(N);
    let make = || tensor(&points, [N, 3], DType::F32, &device).require_grad();
    let b = || tensor(&weights, [N, 2], DType::F32, &device).require_grad();
    let cotangent = tensor(&Random::new(5).vec(N * 2), [N, 2], DType::F32, &device);

    let (x, y, b_copy) = (make(), make(), b());
    let loss = |k: LazyTensor, b: &Tensor<2>| (k.matmul(b.clone()) * cotangent.clone()).sum();
    let want = loss(kernel(&x, &y), &b_copy).backward();
    let by_points = x.grad(&want).unwrap() + y.grad(&want).unwrap();

    let (x, b_own) = (make(), b());
    let got = loss(kernel(&x, &x), &b_own).backward();
    let close = |what: &str, got: Tensor<2>, want: Tensor<2>| {
        assert_close(what, &host(got), &host(want), 2e-5);
    };
    close("points", x.grad(&got).unwrap(), by_points);
    close(
        "weights",
        b_own.grad(&got).unwrap(),
        b_copy.grad(&want).unwrap(),
    );
}
