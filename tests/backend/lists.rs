//! Long lists of smallest values, and reductions that a device refuses before anything is queued.

use burn::prelude::*;
use burn_lazy::{Axis, LazyError, LazyTensor};

use super::support::*;

/// A tensor with one column that has `values` as its rows.
fn column(values: impl Iterator<Item = f64>) -> Tensor<2> {
    let values: Vec<f64> = values.collect();
    let len = values.len();
    tensor(&values, [len, 1], burn::tensor::DType::F32, &device())
}

#[test]
fn lists_of_the_reported_lengths_are_those_of_the_definition() {
    for (m, n, k) in [
        (17, 300, 256),
        (17, 300, 300),
        (1, 70_000, 50),
        (1, 70_000, 100),
    ] {
        // Squares of integers below 4096 are exact.
        let x: Vec<f64> = (0..m).map(|i| (i * 91 % 1024) as f64).collect();
        let y: Vec<f64> = (0..n).map(|j| (j * 7919 % 2039) as f64).collect();
        let formula = LazyTensor::vi(column(x.iter().copied()))
            .sqdist(LazyTensor::vj(column(y.iter().copied())));
        let lists = formula.try_kmin_argkmin::<2>(k, Axis::J);
        let (values, indices) = lists.expect("it is not refused");
        let (values, indices) = (host(values), indices.into_data());
        let indices: Vec<usize> = indices.iter::<i64>().map(|j| j as usize).collect();
        for (i, x) in x.iter().enumerate() {
            let square = |j: &usize| (x - y[*j]) * (x - y[*j]);
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|a, b| square(a).total_cmp(&square(b)).then(a.cmp(b)));
            assert_eq!(
                indices[i * k..(i + 1) * k],
                order[..k],
                "row {i} of {m} x {n}"
            );
            let squares: Vec<f64> = order[..k].iter().map(square).collect();
            assert_eq!(values[i * k..(i + 1) * k], squares, "row {i} of {m} x {n}");
        }
    }
}

#[test]
fn what_the_device_cannot_end_is_refused_before_it_is_queued() {
    let (n, dim) = (70, 80);
    // Only drivers that end loops early have a reason to refuse a reduction.
    let limited = format!("{:?}", device()).contains("Wgpu");
    let k = if limited { 1024 } else { 4 };
    let y = Tensor::<2>::ones([n, dim], &device());
    let x = Tensor::<2>::ones([1, 1], &device());
    let formula = LazyTensor::vi(x) + LazyTensor::vj(y);
    match formula.try_kmin::<3>(k, Axis::J) {
        Ok(values) => assert_eq!(values.dims(), [1, k, dim]),
        Err(error) => {
            assert!(matches!(error, LazyError::Launch { .. }));
            let text = error.to_string();
            for part in ["iterations", "65000", "x0", "[1, 1]", "[70, 80]"] {
                assert!(text.contains(part), "{part:?} is not in {text:?}");
            }
        }
    }
    // The stream goes on as if the refused reduction had not been requested.
    let sum: Tensor<2> = formula.sum(Axis::J);
    assert_eq!(host(sum), vec![2.0 * n as f64; dim]);
}

#[test]
fn zeros_of_both_signs_are_equal() {
    // There are far more zeros than a list has places, and a few smaller values in between.
    let n = 600;
    let mut values: Vec<f64> = (0..n)
        .map(|j| if j % 2 == 0 { 0.0 } else { -0.0 })
        .collect();
    values[77] = -1.0;
    values[400] = -2.0;
    let y = column(values.into_iter());
    let f = LazyTensor::vj(y) * LazyTensor::vi(Tensor::<2>::ones([3, 1], &device()));
    for k in [1, 4, 20] {
        let found: Tensor<2, Int> = f.argkmin(k, Axis::J);
        let others = (0..n as i64).filter(|j| ![77, 400].contains(j));
        let row: Vec<i64> = [400, 77].into_iter().chain(others).take(k).collect();
        assert_eq!(numbers(found), row.repeat(3), "{k}");
    }
}
