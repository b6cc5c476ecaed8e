//! Counts, means, weights and selections for which the obvious computation has too few digits: 16-bit types, large
//! scores, many columns, and sizes of 0.

use burn::{
    prelude::*,
    tensor::{DType, IntDType},
};
use burn_lazy::{Axes, Axis, LazyError, LazyTensor};

use super::support::*;

/// The types of the device, including 16-bit types.
fn all_dtypes() -> Vec<DType> {
    let all = [DType::F16, DType::BF16, DType::F32, DType::F64];
    all.into_iter().filter(|dtype| reduces(*dtype)).collect()
}

fn ones(n: usize, dtype: DType) -> LazyTensor {
    LazyTensor::vj(Tensor::<2>::ones([n, 1], (&device(), dtype)))
}

fn ints<const R: usize>(tensor: Tensor<R, Int>) -> Vec<i64> {
    tensor.into_data().iter::<i64>().collect()
}

#[test]
fn counts_are_exact_in_all_types() {
    for dtype in all_dtypes() {
        for n in [1, 2048, 2049, 5001, 70_000] {
            let counts: Tensor<2, Int> = ones(n, dtype).count(Axis::J);
            assert_eq!(ints(counts), [n as i64], "{dtype:?}");
            // Counts of all values but one, of vectors, over the other axis, and over both axes.
            let index = LazyTensor::column_index();
            let some =
                LazyTensor::concat(&[ones(n, dtype) * 2.0, ones(n, dtype) * index.greater(0.0)]);
            let row = LazyTensor::vi(tensor::<2>(&[1.0, 0.0, f64::NAN], [3, 1], dtype, &device()));
            let both: Tensor<1, Int> = (some.clone() * &row).count(Axes::Both);
            let rows = 2 * n as i64;
            // NaN is not 0, so it is counted. The same holds for products with NaN.
            assert_eq!(ints(both), [rows, n as i64 - 1 + n as i64], "{dtype:?}");
            let over_rows: Tensor<2, Int> = (some.t() * row.t()).count(Axis::I);
            assert_eq!(ints(over_rows)[..2], [n as i64, n as i64 - 1], "{dtype:?}");
        }
    }
}

#[test]
fn counts_go_beyond_the_integers_of_the_type() {
    let n = (1 << 24) + 3;
    let counts: Tensor<2, Int> = ones(n, DType::F32).count(Axis::J);
    assert_eq!(ints(counts), [n as i64]);
}

#[test]
fn counts_are_of_all_that_is_not_zero() {
    let infinity = f64::INFINITY;
    let values = [-1.0, 0.0, 3.0, -0.0, f64::NAN, infinity, -infinity, -0.25];
    for dtype in all_dtypes() {
        let values = LazyTensor::vj(tensor::<2>(&values, [8, 1], dtype, &device()));
        let counts: Tensor<2, Int> = values.count(Axis::J);
        assert_eq!(ints(counts), [6], "{dtype:?}");
    }
}

#[test]
fn counts_of_nothing_and_of_batches() {
    let device = device();
    let empty = LazyTensor::vj(Tensor::<2>::zeros([0, 2], &device));
    let counts: Tensor<2, Int> = empty.count(Axis::J);
    assert_eq!(ints(counts), [0, 0]);
    let values = tensor::<3>(
        &[0.0, 1.0, 2.0, 0.0, 0.0, 3.0],
        [2, 3, 1],
        DType::F32,
        &device,
    );
    let counts: Tensor<3, Int> = LazyTensor::vj(values.clone()).count(Axis::J);
    assert_eq!(ints(counts), [2, 1]);
    let x = LazyTensor::vi(Tensor::<2>::ones([2, 1], &device));
    let counts: Tensor<2, Int> = (x * LazyTensor::vj(values)).count(Axes::Both);
    assert_eq!(ints(counts), [4, 2]);
    // The formula becomes the constant 1, without a tensor. The count is the same for all rows.
    let one = LazyTensor::vj(Tensor::<2>::zeros([5, 1], &device)).powi(0);
    let counts: Tensor<2, Int> = one.count(Axis::J);
    assert_eq!(ints(counts), [5]);
}

#[test]
fn more_pairs_than_an_integer_holds_are_refused() {
    let device = device();
    let n = 50_000;
    let x = LazyTensor::vi(Tensor::<2>::ones([n, 1], &device));
    let k = x * LazyTensor::vj(Tensor::<2>::ones([n, 1], &device));
    if device.settings().int_dtype == IntDType::I32 {
        let error = k.try_count::<1>(Axes::Both).unwrap_err();
        assert!(matches!(error, LazyError::TooManyPairs { .. }), "{error}");
        assert!(error.to_string().contains("2500000000"), "{error}");
    }
}

#[test]
fn means_of_halves_are_divided_before_they_are_rounded() {
    let n = 100_000;
    let values: Vec<f64> = (0..n)
        .map(|k| 10.0 + (k % 8) as f64 / 128.0 - 0.02)
        .collect();
    for dtype in all_dtypes() {
        let y = tensor::<2>(&values, [n, 1], dtype, &device());
        let exact = host(y.clone()).iter().sum::<f64>() / n as f64;
        let y = LazyTensor::vj(y);
        let digits = match dtype {
            DType::F16 => 1e-3,
            DType::BF16 => 8e-3,
            _ => 5e-6,
        };
        let mean: Tensor<2> = y.mean(Axis::J);
        assert_eq!(mean.dtype(), dtype);
        assert_close(&format!("{dtype:?}"), &host(mean), &[exact], digits);
        let x = LazyTensor::vi(Tensor::<2>::ones([3, 1], (&device(), dtype)));
        let mean: Tensor<1> = (x * y).mean(Axes::Both);
        assert_eq!(mean.dtype(), dtype);
        assert_close(&format!("{dtype:?}"), &host(mean), &[exact], digits);
    }
}

/// The sum over the columns of the gradient by the scores is 1.
#[cfg(feature = "autodiff")]
#[test]
fn weights_of_a_softmax_sum_to_one_at_any_scores() {
    let total_of = |leaf: &Tensor<2>, gradients: &burn::tensor::Gradients| -> f64 {
        let gradient = leaf.grad(gradients).expect("it is tracked");
        host(gradient).iter().sum()
    };
    let device = device().autodiff();
    let n = 1000;
    for (dtype, _) in dtypes() {
        let digits = if dtype == DType::F32 { 2e-6 } else { 1e-12 };
        for size in [1.0, 1e4, 1e6, 1e7, 1e12, 1e30] {
            for sign in [1.0, -1.0] {
                let mut random = Random::new(7);
                let scores: Vec<f64> = (0..n).map(|_| sign * (size + random.next())).collect();
                let values = random.vec(n);
                let scores = tensor::<2>(&scores, [n, 1], dtype, &device).require_grad();
                let values = tensor::<2>(&values, [n, 1], dtype, &device).require_grad();
                let one = LazyTensor::vi(tensor::<2>(&[1.0, 1.0], [2, 1], dtype, &device));
                let f = LazyTensor::vj(scores.clone()) * one;
                let is_one = |total: f64| {
                    let what = format!("{dtype:?} {sign} {size}");
                    assert_close(&what, &[total], &[1.0], digits);
                };
                let sums: Tensor<2> = f.logsumexp(Axis::J);
                let gradients = sums.narrow(0, 0, 1).sum().backward();
                is_one(total_of(&scores, &gradients));
                let means: Tensor<2> = f.sumsoftmaxweight(LazyTensor::vj(values.clone()), Axis::J);
                let gradients = means.narrow(0, 1, 1).sum().backward();
                is_one(total_of(&values, &gradients));
                // The gradients by the scores sum to 0.
                let total = total_of(&scores, &gradients);
                assert!(total.abs() < 1e3 * digits, "{total}");
            }
        }
    }
}

/// Compared with a dense softmax in `f64` of the rounded scores.
#[cfg(feature = "autodiff")]
#[test]
fn gradients_of_large_scores_are_those_of_a_dense_softmax() {
    let device = device().autodiff();
    let (m, n) = (3, 200);
    let mut random = Random::new(8);
    let x: Vec<f64> = random.vec(m).iter().map(|x| 3e3 * (x + 1.5)).collect();
    let y: Vec<f64> = random
        .vec(n)
        .iter()
        .map(|y| 3e3 * (1.0 + 1e-7 * y))
        .collect();
    let (vx, vy) = (
        tensor::<2>(&x, [m, 1], DType::F32, &device).require_grad(),
        tensor::<2>(&y, [n, 1], DType::F32, &device).require_grad(),
    );
    let (x, y) = (host(vx.clone()), host(vy.clone()));
    let f = LazyTensor::vi(vx.clone()) * LazyTensor::vj(vy.clone());
    let sums: Tensor<2> = f.logsumexp(Axis::J);
    let gradients = sums.sum().backward();
    // The scores are the products after rounding to F32.
    let score = |i: usize, j: usize| f64::from(x[i] as f32 * y[j] as f32);
    let weights: Vec<Vec<f64>> = (0..m)
        .map(|i| {
            let most = (0..n).map(|j| score(i, j)).fold(f64::MIN, f64::max);
            let all: Vec<f64> = (0..n).map(|j| (score(i, j) - most).exp()).collect();
            let sum: f64 = all.iter().sum();
            all.iter().map(|e| e / sum).collect()
        })
        .collect();
    let by_x: Vec<f64> = (0..m)
        .map(|i| (0..n).map(|j| weights[i][j] * y[j]).sum())
        .collect();
    let by_y: Vec<f64> = (0..n)
        .map(|j| (0..m).map(|i| weights[i][j] * x[i]).sum())
        .collect();
    assert_gradient("by x", &vx, &gradients, &by_x, 1e-5);
    assert_gradient("by y", &vy, &gradients, &by_y, 1e-4);
}

#[test]
fn a_term_of_weight_zero_does_not_exist() {
    let run = |scores: &[f64], weights: &[f64], width: usize| -> Vec<f64> {
        let n = scores.len();
        let scores = LazyTensor::vj(tensor::<2>(scores, [n, 1], DType::F32, &device()));
        let weights = LazyTensor::vj(tensor::<2>(weights, [n, width], DType::F32, &device()));
        let one = LazyTensor::vi(Tensor::<2>::ones([1, 1], &device()));
        let sums: Tensor<2> = (scores * one).logsumexp_weighted(weights, Axis::J);
        host(sums)
    };
    let inf = f64::INFINITY;
    // The values are those of SciPy's `logsumexp` with `b`.
    assert_close(
        "far above",
        &run(&[89.0, 0.0], &[0.0, 1.0], 1),
        &[0.0],
        1e-6,
    );
    assert_close(
        "far above",
        &run(&[1e4, 0.5, 0.5], &[0.0, 1.0, 2.0], 1),
        &[0.5 + 3f64.ln()],
        1e-6,
    );
    assert_close(
        "infinite",
        &run(&[inf, 1.0], &[0.0, 2.0], 1),
        &[1.0 + 2f64.ln()],
        1e-6,
    );
    assert_close(
        "NaN",
        &run(&[f64::NAN, 1.0], &[0.0, 2.0], 1),
        &[1.0 + 2f64.ln()],
        1e-6,
    );
    assert_eq!(run(&[3.0, inf], &[0.0, 0.0], 1), [-inf]);
    // Each component has its own weights, and so its own terms.
    let weights = [0.0, 1.0, 1.0, 0.0, 2.0, 3.0];
    let want = [3f64.ln(), (1f64 + 3.0 * (-200f64).exp()).ln() + 200.0];
    assert_close(
        "components",
        &run(&[200.0, 0.0, 0.0], &weights, 2),
        &want,
        1e-6,
    );
}

#[cfg(feature = "autodiff")]
#[test]
fn gradients_of_terms_of_weight_zero() {
    let device = device().autodiff();
    let run = |scores: &[f64], weights: &[f64]| {
        let n = scores.len();
        let scores = tensor::<2>(scores, [n, 1], DType::F32, &device).require_grad();
        let weights = tensor::<2>(weights, [n, 1], DType::F32, &device).require_grad();
        let one = LazyTensor::vi(tensor::<2>(&[1.0], [1, 1], DType::F32, &device));
        let f = LazyTensor::vj(scores.clone()) * one;
        let sums: Tensor<2> = f.logsumexp_weighted(LazyTensor::vj(weights.clone()), Axis::J);
        let gradients = sums.sum().backward();
        [scores, weights].map(|t| host(t.grad(&gradients).unwrap()))
    };
    let [by_score, _] = run(&[89.0, 0.0], &[0.0, 1.0]);
    assert_eq!(by_score, [0.0, 1.0]);
    let [by_score, _] = run(&[f64::INFINITY, 0.0], &[0.0, 1.0]);
    assert_eq!(by_score, [0.0, 1.0]);
    // The derivative by a weight of 0 exists.
    let [by_score, by_weight] = run(&[1.0, 0.0], &[0.0, 2.0]);
    assert_close("by score", &by_score, &[0.0, 1.0], 1e-6);
    assert_close("by weight", &by_weight, &[0.5 * 1f64.exp(), 0.5], 1e-6);
}

/// Both computations take parts of tensors without elements.
#[test]
fn variances_and_blocks_of_no_batches_are_empty() {
    let x = LazyTensor::vi(Tensor::<3>::ones([0, 3, 2], &device()));
    let y = LazyTensor::vj(Tensor::<3>::ones([1, 4, 2], &device()));
    let f = x.sqdist(y);
    let (variances, means): (Tensor<3>, Tensor<3>) = f.var_mean(Axis::J);
    assert_eq!(variances.dims(), [0, 3, 1]);
    assert!(host(means.clone()).is_empty());
    // Burn's operations on CubeCL do not support parts of tensors without elements.
    if is_interpreted() {
        assert!(host(variances.square() + means).is_empty());
    }
    let sums: Tensor<3> = f.block(1..3, 2..4).sum(Axis::J);
    assert_eq!(sums.dims(), [0, 2, 1]);
    let dense: Tensor<4> = f.block(1..3, 2..4).dense();
    assert_eq!(dense.dims(), [0, 2, 2, 1]);
}

#[cfg(feature = "autodiff")]
#[test]
fn gradients_over_no_batches_are_zero() {
    let device = device().autodiff();
    let x = Tensor::<3>::ones([0, 3, 2], &device).require_grad();
    let y = Tensor::<3>::ones([1, 4, 2], &device).require_grad();
    let z = Tensor::<2>::ones([4, 2], &device).require_grad();
    let p = Tensor::<1>::ones([2], &device).require_grad();
    let f = || {
        let (x, y) = (LazyTensor::vi(x.clone()), LazyTensor::vj(y.clone()));
        (x * LazyTensor::pm(p.clone())).dot(y) + LazyTensor::vj(z.clone()).inner_sum()
    };
    let losses: [&dyn Fn() -> Tensor<1>; 6] = [
        &|| f().sum::<3>(Axis::J).sum(),
        &|| f().mean::<3>(Axis::I).sum(),
        &|| f().logsumexp::<3>(Axis::J).sum(),
        &|| f().sumsoftmaxweight::<3>(f(), Axis::J).sum(),
        &|| f().min::<3>(Axis::J).sum(),
        &|| f().kmin::<3>(2, Axis::J).sum(),
    ];
    for loss in losses {
        let gradients = loss().backward();
        assert_eq!(x.grad(&gradients).unwrap().dims(), [0, 3, 2]);
        assert_eq!(host(y.grad(&gradients).unwrap()), [0.0; 8]);
        assert_eq!(host(z.grad(&gradients).unwrap()), [0.0; 8]);
        assert_eq!(host(p.grad(&gradients).unwrap()), [0.0; 2]);
    }
}

#[cfg(feature = "autodiff")]
#[test]
fn selections_among_more_columns_than_the_type_counts_are_errors_where_they_are_tracked() {
    let device = device().autodiff();
    let n = (1 << 24) + 1;
    let y = Tensor::<2>::zeros([n, 1], &device);
    let tracked = LazyTensor::vj(y.clone().require_grad());
    let errors = [
        tracked.try_min::<2>(Axis::J).unwrap_err(),
        tracked
            .try_max::<1>(Axes::Both)
            .err()
            .unwrap_or_else(|| tracked.try_max::<2>(Axis::J).unwrap_err()),
        tracked.try_kmin::<2>(3, Axis::J).unwrap_err(),
        tracked.try_min_argmin::<2>(Axis::J).unwrap_err(),
    ];
    for error in errors {
        assert!(!error.to_string().is_empty());
    }
    let error = tracked.try_min::<2>(Axis::J).unwrap_err();
    assert!(
        matches!(error, LazyError::TooManyTracked { columns, .. } if columns == n),
        "{error}"
    );
    // Without a gradient the values are right.
    let smallest: Tensor<2> = LazyTensor::vj(y).min(Axis::J);
    assert_eq!(host(smallest), [0.0]);
}

#[cfg(feature = "autodiff")]
#[test]
fn a_row_without_weight_leaves_no_trace_in_gradients() {
    let tracked = device().autodiff();
    let x = Tensor::<2>::from_data([[0.5], [1.5]], &tracked).require_grad();
    let w = Tensor::<2>::from_data([[0.0], [2.0]], &tracked).require_grad();
    let y = Tensor::<2>::from_data([[3.0], [-1.0], [0.25]], &tracked).require_grad();
    let scores = LazyTensor::vi(x.clone()) + LazyTensor::vj(y.clone());
    let sums: Tensor<2> = scores.logsumexp_weighted(LazyTensor::vi(w.clone()), Axis::J);
    let nothing = sums.clone().equal_elem(f64::NEG_INFINITY);
    assert_eq!(host(nothing.clone().float()), [1.0, 0.0]);
    let gradients = sums.mask_fill(nothing, 0.0).sum().backward();
    let by = |leaf: &Tensor<2>| host(leaf.grad(&gradients).unwrap());
    assert_close("scores", &by(&x), &[0.0, 1.0], 1e-6);
    assert_close("weights", &by(&w), &[0.0, 0.5], 1e-6);
    let exponentials = [3.0f64, -1.0, 0.25].map(f64::exp);
    let total: f64 = exponentials.iter().sum();
    let expected = exponentials.map(|own| own / total);
    assert_close("columns", &by(&y), &expected, 1e-6);
}
