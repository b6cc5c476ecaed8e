//! Random numbers of pairs.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axis, LazyTensor};

use super::support::*;

const M: usize = 60;
const N: usize = 80;

/// The random numbers of all pairs of a matrix, `[M, N]`.
fn numbers(seed: i32, dtype: DType) -> Vec<f64> {
    let ones = |rows: usize| Tensor::<2>::ones([rows, 1], (&device(), dtype));
    let pairs = LazyTensor::vi(ones(M)) * LazyTensor::vj(ones(N));
    host((pairs * LazyTensor::uniform(seed)).dense::<3>())
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let len = values.len() as f64;
    values.sum::<f64>() / len
}

#[test]
fn they_are_uniform_and_differ_between_pairs_and_seeds() {
    let own = numbers(3, DType::F32);
    assert!(own.iter().all(|value| (0.0..1.0).contains(value)));
    // Four standard deviations of the mean of this many uniform numbers.
    let most = |deviation: f64| 4.0 * deviation / ((M * N) as f64).sqrt();
    let first = mean(own.iter().copied());
    assert!(
        (first - 0.5).abs() < most((1.0f64 / 12.0).sqrt()),
        "{first}"
    );
    let square = mean(own.iter().map(|value| (value - 0.5).powi(2)));
    assert!((square - 1.0 / 12.0).abs() < most(0.0745), "{square}");
    // Neighbours along either axis, opposite pairs and other seeds are not correlated.
    let other = numbers(4, DType::F32);
    let together =
        |pairs: Vec<(f64, f64)>| mean(pairs.into_iter().map(|(a, b)| (a - 0.5) * (b - 0.5))) * 12.0;
    let at = |i: usize, j: usize| own[i * N + j];
    let pairs = |second: &dyn Fn(usize, usize) -> f64| {
        let all = (0..M - 1).flat_map(|i| (0..M - 1).map(move |j| (i, j)));
        let all = all.filter(|(i, j)| i != j);
        all.map(|(i, j)| (at(i, j), second(i, j))).collect()
    };
    for (name, second) in [
        (
            "row",
            &(|i: usize, j: usize| at(i + 1, j)) as &dyn Fn(usize, usize) -> f64,
        ),
        ("column", &|i: usize, j: usize| at(i, j + 1)),
        ("opposite", &|i: usize, j: usize| at(j, i)),
        ("seed", &|i: usize, j: usize| other[i * N + j]),
    ] {
        let correlation = together(pairs(second));
        assert!(correlation.abs() < 0.08, "{name}: {correlation}");
    }
    let mut sorted = own;
    sorted.sort_by(f64::total_cmp);
    sorted.dedup();
    assert!(sorted.len() > M * N - 10, "{}", sorted.len());
}

/// The numbers are the same in each type and over each axis, and equal those of the definition.
#[test]
fn they_are_the_same_everywhere() {
    let want = numbers(7, DType::F32);
    for (dtype, tolerance) in dtypes() {
        assert_eq!(numbers(7, dtype), want);
        let ones = |rows: usize| Tensor::<2>::ones([rows, 1], (&device(), dtype));
        let pairs = LazyTensor::vi(ones(M)) * LazyTensor::vj(ones(N));
        let sums = host((&pairs * LazyTensor::uniform(7)).sum::<2>(Axis::I));
        let columns: Vec<f64> = (0..N)
            .map(|j| (0..M).map(|i| want[i * N + j]).sum())
            .collect();
        assert_close("sums of columns", &sums, &columns, tolerance);
        // The numbers as a function of three formulas.
        let places = [LazyTensor::row_index(), LazyTensor::column_index()];
        let seed = LazyTensor::pm(Tensor::<1>::from_data([7.0], (&device(), dtype)));
        let [i, j] = places;
        assert_eq!(host((&pairs * seed.random(i, j)).dense::<3>()), want);
    }
}

#[test]
fn batches_have_the_numbers_of_their_seeds() {
    let ones = |rows: usize| Tensor::<3>::ones([2, rows, 1], &device());
    let pairs = LazyTensor::vi(ones(M)) * LazyTensor::vj(ones(N));
    let seeds = Tensor::<2, Int>::from_data([[5], [6]], &device());
    let got = host((&pairs * LazyTensor::uniform(LazyTensor::pm(seeds))).dense::<4>());
    assert_eq!(got[..M * N], numbers(5, DType::F32));
    assert_eq!(got[M * N..], numbers(6, DType::F32));
    let shared = host((&pairs * LazyTensor::uniform(5)).dense::<4>());
    assert_eq!(shared[..M * N], shared[M * N..]);
}

/// The backward pass computes the same numbers again.
#[cfg(feature = "autodiff")]
#[test]
fn gradients_have_the_same_numbers() {
    let device = device().autodiff();
    let x = Tensor::<2>::ones([M, 1], &device).require_grad();
    let y = Tensor::<2>::ones([N, 1], &device).require_grad();
    let pairs = LazyTensor::vi(x.clone()) * LazyTensor::vj(y.clone());
    let kept = pairs.mask_where(LazyTensor::uniform(9).less(0.4), 0.0);
    let gradients = kept.sum::<2>(Axis::J).sum().backward();
    let numbers = numbers(9, DType::F32);
    let count = |row: &mut dyn Iterator<Item = &f64>| row.filter(|value| **value >= 0.4).count();
    let rows: Vec<f64> = numbers
        .chunks(N)
        .map(|row| count(&mut row.iter()) as f64)
        .collect();
    let columns: Vec<f64> = (0..N)
        .map(|j| count(&mut numbers.iter().skip(j).step_by(N)) as f64)
        .collect();
    assert_gradient("rows", &x, &gradients, &rows, 1e-6);
    assert_gradient("columns", &y, &gradients, &columns, 1e-6);
}
