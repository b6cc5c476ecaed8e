//! Sizes, batches, layouts, special values and accuracy.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axis, LazyTensor};

use super::support::*;

fn gaussian(x: &LazyTensor, y: &LazyTensor) -> LazyTensor {
    (-x.sqdist(y)).exp()
}

fn host_gaussian(a: &[f64], b: &[f64]) -> f64 {
    (-a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>()).exp()
}

/// The sums `sum_j k(x_i, y_j) b_j` in `f64`.
fn host_product(x: &[f64], y: &[f64], b: &[f64], d: usize, e: usize) -> Vec<f64> {
    let mut out = Vec::new();
    for a in x.chunks(d) {
        let mut total = vec![0.0; e];
        for (j, c) in y.chunks(d).enumerate() {
            let k = host_gaussian(a, c);
            total
                .iter_mut()
                .enumerate()
                .for_each(|(q, t)| *t += k * b[j * e + q]);
        }
        out.extend(total);
    }
    out
}

#[test]
fn products_of_all_sizes_equal_dense_ones() {
    let mut random = Random::new(5);
    let sizes = [
        (1, 1, 1, 1),
        (1, 5, 2, 3),
        (2, 1, 3, 1),
        (33, 129, 3, 4),
        (64, 128, 16, 16),
        (17, 130, 17, 17),
        (40, 300, 100, 5),
        (3, 5000, 3, 1),
        (130, 7, 5, 40),
    ];
    for (dtype, tolerance) in dtypes() {
        for (m, n, d, e) in sizes {
            let (x, y, b) = (random.vec(m * d), random.vec(n * d), random.vec(n * e));
            let device = device();
            let x_i = LazyTensor::vi(tensor(&x, [m, d], dtype, &device));
            let y_j = LazyTensor::vj(tensor(&y, [n, d], dtype, &device));
            let a = gaussian(&x_i, &y_j).matmul(tensor(&b, [n, e], dtype, &device));
            assert_eq!(a.dims(), [m, e]);
            let what = format!("m={m} n={n} d={d} e={e}");
            assert_close(&what, &host(a), &host_product(&x, &y, &b, d, e), tolerance);
        }
    }
}

#[test]
fn a_vector_is_multiplied_to_a_vector() {
    let mut random = Random::new(6);
    let (x, y, b) = (random.vec(8), random.vec(10), random.vec(5));
    let device = device();
    let x_i = LazyTensor::vi(tensor(&x, [4, 2], DType::F32, &device));
    let y_j = LazyTensor::vj(tensor(&y, [5, 2], DType::F32, &device));
    let a: Tensor<1> = gaussian(&x_i, &y_j).matmul(tensor(&b, [5], DType::F32, &device));
    assert_eq!(a.dims(), [4]);
    assert_close("vector", &host(a), &host_product(&x, &y, &b, 2, 1), 1e-5);
}

#[test]
fn empty_axes_give_empty_or_zero_sums() {
    let device = device();
    let x = LazyTensor::vi(Tensor::<2>::ones([4, 3], &device));
    let none = LazyTensor::vj(Tensor::<2>::zeros([0, 3], &device));
    let zero: Tensor<2> = gaussian(&x, &none).sum(Axis::J);
    assert_eq!(host(zero), vec![0.0; 4]);
    let empty: Tensor<2> = gaussian(&x, &none).sum(Axis::I);
    assert_eq!(empty.dims(), [0, 1]);
    assert_eq!(gaussian(&x, &none).shape(), [4, 0, 1]);
}

#[test]
fn batch_dimensions_broadcast() {
    let mut random = Random::new(7);
    let (m, n, d) = (4, 6, 3);
    let x = random.vec(2 * m * d);
    let y = random.vec(3 * n * d);
    let p = random.vec(2 * 3);
    for (dtype, tolerance) in dtypes() {
        let device = device();
        // Batches [2, 1] of rows, [3] of columns and [2, 3] of parameters broadcast to [2, 3].
        let x_i = LazyTensor::vi(tensor(&x, [2, 1, m, d], dtype, &device));
        let y_j = LazyTensor::vj(tensor(&y, [3, n, d], dtype, &device));
        let scale = LazyTensor::pm(tensor(&p, [2, 3, 1], dtype, &device));
        let k_ij = (x_i.sqdist(&y_j) * scale).exp();
        assert_eq!(k_ij.shape(), [2, 3, m, n, 1]);
        let out: Tensor<4> = k_ij.sum(Axis::J);
        assert_eq!(out.dims(), [2, 3, m, 1]);
        let mut expected = Vec::new();
        for a in 0..2 {
            for b in 0..3 {
                let f = |u: &[f64], v: &[f64]| {
                    let s: f64 = u.iter().zip(v).map(|(u, v)| (u - v).powi(2)).sum();
                    vec![(s * p[a * 3 + b]).exp()]
                };
                let (x, y) = (&x[a * m * d..][..m * d], &y[b * n * d..][..n * d]);
                expected.extend(dense_sum(x, y, d, false, &f));
            }
        }
        assert_close("batches", &host(out), &expected, tolerance);
    }
}

#[test]
fn any_strides_are_read_in_place() {
    let mut random = Random::new(8);
    let (m, n, d) = (9, 12, 4);
    let (x, y) = (random.vec(2 * m * d), random.vec(n * d));
    let device = device();
    let f = |x: &[f64], y: &[f64]| {
        dense_sum(x, y, d, false, &|a: &[f64], b: &[f64]| {
            vec![host_gaussian(a, b)]
        })
    };
    // Every other row of a tensor.
    let wide = tensor(&x, [m, 2 * d], DType::F32, &device);
    let rows: Vec<f64> = x.chunks(2 * d).flat_map(|row| row[..d].to_vec()).collect();
    let x_i = LazyTensor::vi(wide.narrow(1, 0, d));
    // A tensor that is stored transposed.
    let columns: Vec<f64> = (0..d)
        .flat_map(|k| y.iter().skip(k).step_by(d))
        .copied()
        .collect();
    let y_j = LazyTensor::vj(tensor(&columns, [d, n], DType::F32, &device).swap_dims(0, 1));
    let sums: Tensor<2> = gaussian(&x_i, &y_j).sum(Axis::J);
    assert_close("strided", &host(sums), &f(&rows, &y), 1e-5);
    // A single row that is repeated.
    let repeated = tensor(&y[..d], [1, d], DType::F32, &device).expand([n, d]);
    let sums: Tensor<2> = gaussian(&x_i, &LazyTensor::vj(repeated)).sum(Axis::J);
    let expected: Vec<f64> = f(&rows, &y[..d]).iter().map(|v| v * n as f64).collect();
    assert_close("expanded", &host(sums), &expected, 1e-5);
}

#[test]
fn nan_and_infinities_stay_in_their_rows() {
    let device = device();
    let x = Tensor::<2>::from_data([[0.0], [f32::NAN], [f32::INFINITY], [1.0]], &device);
    let y = Tensor::<2>::from_data([[0.0], [2.0]], &device);
    let (x_i, y_j) = (LazyTensor::vi(x), LazyTensor::vj(y));
    let sums: Tensor<2> = (&x_i + &y_j).sum(Axis::J);
    let sums = host(sums);
    assert_eq!(sums[0], 2.0);
    assert!(sums[1].is_nan());
    assert_eq!(sums[2], f64::INFINITY);
    assert_eq!(sums[3], 4.0);
    let sums: Tensor<2> = gaussian(&x_i, &y_j).sum(Axis::J);
    let sums = host(sums);
    assert!(sums[1].is_nan());
    assert_eq!(sums[2], 0.0);
}

#[test]
fn the_gaussian_sum_of_ten_thousand_terms_is_accurate() {
    let mut random = Random::new(9);
    let (m, n, d) = (50, 10_000, 3);
    let (x, y, b) = (random.vec(m * d), random.vec(n * d), random.vec(n));
    let b: Vec<f64> = b.iter().map(|v| v.abs()).collect();
    let device = device();
    let x_i = LazyTensor::vi(tensor(&x, [m, d], DType::F32, &device));
    let y_j = LazyTensor::vj(tensor(&y, [n, d], DType::F32, &device));
    let a = host(gaussian(&x_i, &y_j).matmul(tensor(&b, [n, 1], DType::F32, &device)));
    let expected = host_product(&x, &y, &b, d, 1);
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|t| t * t).sum::<f64>().sqrt();
    let error = norm(&mut a.iter().zip(&expected).map(|(a, b)| a - b))
        / norm(&mut expected.iter().copied());
    assert!(error <= 3e-7, "relative error {error}");
}

#[test]
fn a_formula_that_simplifies_to_a_constant_is_summed() {
    let device = device();
    let x = LazyTensor::vi(Tensor::<2>::ones([4, 3], &device));
    let y = LazyTensor::vj(Tensor::<2>::ones([5, 3], &device));
    // The second derivative of a linear formula is 0.
    let zero = (&x * &y).grad(&y, &x).grad(&y, &x);
    let sums: Tensor<2> = zero.sum(Axis::I);
    assert_eq!(host(sums), vec![0.0; 15]);
    let one = (&x + &y).powi(0);
    let sums: Tensor<2> = one.sum(Axis::J);
    assert_eq!(host(sums), vec![5.0; 12]);
}

#[test]
fn a_reduction_over_the_other_operands_still_counts_them() {
    let device = device();
    let x = LazyTensor::vi(Tensor::<2>::ones([4, 2], &device));
    let y = LazyTensor::vj(Tensor::<2>::ones([5, 2], &device));
    // The derivative of x + y by x is the cotangent. Its sum over j still has 5 terms.
    let gradient = (&x + &y).grad(&x, &x);
    let sums: Tensor<2> = gradient.sum(Axis::J);
    assert_eq!(host(sums), vec![5.0; 8]);
}
