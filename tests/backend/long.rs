//! Long formulas, which are compiled in pieces, against the same formulas in `f64`.

use burn::prelude::*;
use burn_lazy::{Axis, LazyError, LazyTensor};

use super::{algebra::softdtw, support::*};

/// The numbers of rows and columns.
const SIZES: [usize; 2] = [3, 5];

type Long = dyn Fn(LazyTensor, LazyTensor) -> LazyTensor;
type Reference = dyn Fn(&[f64], &[f64]) -> f64;

/// Asserts that sums over both axes, smallest values, logarithms of sums of exponentials and gradients of a formula
/// equal those of `reference`. A row and a column have `dim` components each.
fn assert_right(what: &str, dim: usize, formula: &Long, reference: &Reference) {
    let [m, n] = SIZES;
    let mut random = Random::new(29);
    let (x, y) = (random.vec(m * dim), random.vec(n * dim));
    let pair = |i: usize, j: usize| reference(&x[i * dim..][..dim], &y[j * dim..][..dim]);
    let of_row = |i: usize| (0..n).map(move |j| pair(i, j));
    for (dtype, error) in some_of(dtypes(), 2) {
        let what = format!("{what}, {dtype:?}");
        let tolerance = 10.0 * error;
        let lazy = {
            let x = tensor(&x, [m, dim], dtype, &device());
            let y = tensor(&y, [n, dim], dtype, &device());
            formula(LazyTensor::vi(x), LazyTensor::vj(y))
        };
        let sums: Vec<f64> = (0..m).map(|i| of_row(i).sum()).collect();
        assert_close(&what, &host(lazy.sum::<2>(Axis::J)), &sums, tolerance);
        let sums: Vec<f64> = (0..n).map(|j| (0..m).map(|i| pair(i, j)).sum()).collect();
        assert_close(&what, &host(lazy.sum::<2>(Axis::I)), &sums, tolerance);
        let logs = (0..m).map(|i| of_row(i).map(f64::exp).sum::<f64>().ln());
        let logs: Vec<f64> = logs.collect();
        assert_close(&what, &host(lazy.logsumexp::<2>(Axis::J)), &logs, tolerance);
        let least = (0..m).flat_map(|i| {
            let mut values: Vec<f64> = of_row(i).collect();
            values.sort_by(f64::total_cmp);
            values.truncate(2);
            values
        });
        let least: Vec<f64> = least.collect();
        assert_close(&what, &host(lazy.kmin::<2>(2, Axis::J)), &least, tolerance);
    }
}

/// Asserts that the gradients of the sum over all pairs equal differences of `reference`.
#[cfg(feature = "autodiff")]
fn assert_gradients(what: &str, dim: usize, formula: &Long, reference: &Reference) {
    let [m, n] = SIZES;
    let mut random = Random::new(31);
    let points = [random.vec(m * dim), random.vec(n * dim)];
    let total = |points: &[Vec<f64>; 2]| -> f64 {
        let rows = points[0].chunks(dim);
        rows.flat_map(|x| points[1].chunks(dim).map(move |y| reference(x, y)))
            .sum()
    };
    let expected = [0, 1].map(|side: usize| -> Vec<f64> {
        differences(&points[side], &|moved| {
            let mut points = points.clone();
            points[side] = moved.to_vec();
            total(&points)
        })
    });
    for (dtype, error) in some_of(dtypes(), 2) {
        let device = device().autodiff();
        let x = tensor(&points[0], [m, dim], dtype, &device).require_grad();
        let y = tensor(&points[1], [n, dim], dtype, &device).require_grad();
        let lazy = formula(LazyTensor::vi(x.clone()), LazyTensor::vj(y.clone()));
        let gradients = lazy.sum::<2>(Axis::J).sum().backward();
        for (leaf, expected) in [x, y].iter().zip(&expected) {
            let gradient = leaf.grad(&gradients).expect("it is tracked");
            let what = format!("gradient of {what}, {dtype:?}");
            assert_close(&what, &host(gradient), expected, (30.0 * error).max(1e-8));
        }
    }
}

fn nested(depth: usize) -> impl Fn(LazyTensor, LazyTensor) -> LazyTensor {
    move |x, y| (0..depth).fold(x * y, |value, k| (value * 1.1 + 0.2 * k as f64).sin())
}

fn nested_reference(depth: usize) -> impl Fn(&[f64], &[f64]) -> f64 {
    move |x, y| (0..depth).fold(x[0] * y[0], |value, k| (value * 1.1 + 0.2 * k as f64).sin())
}

#[test]
fn soft_time_warping_of_eight_by_eight() {
    let formula = |x: LazyTensor, y: LazyTensor| x.softdtw(y, 0.5) * 0.05;
    let reference = |x: &[f64], y: &[f64]| softdtw(x, y, 0.5) * 0.05;
    assert_right("softdtw", 8, &formula, &reference);
    #[cfg(feature = "autodiff")]
    assert_gradients("softdtw", 8, &formula, &reference);
}

#[test]
fn nested_functions() {
    for depth in [9, 12] {
        let what = format!("{depth} nested sines");
        assert_right(&what, 1, &nested(depth), &nested_reference(depth));
    }
    #[cfg(feature = "autodiff")]
    assert_gradients("nested sines", 1, &nested(9), &nested_reference(9));
}

/// A loop between functions that uses values from before and gives values for later, and a result that is a vector.
#[test]
fn loops_and_vectors_in_long_formulas() {
    let dim = 20;
    let formula = |x: LazyTensor, y: LazyTensor| {
        let first = (0..5).fold(x.elem(0) * y.elem(1), |value, _| value.sin() * 1.2);
        let distance = ((&x - &y) * &first).sqnorm() * 0.05;
        let last = (0..5).fold(distance, |value, _| value.cos() + &first);
        (last + first).exp()
    };
    let reference = |x: &[f64], y: &[f64]| {
        let first = (0..5).fold(x[0] * y[1], |value, _| value.sin() * 1.2);
        let squares = x.iter().zip(y).map(|(a, b)| ((a - b) * first).powi(2));
        let distance = squares.sum::<f64>() * 0.05;
        let last = (0..5).fold(distance, |value, _| value.cos() + first);
        (last + first).exp()
    };
    assert_right("functions around a loop", dim, &formula, &reference);
    #[cfg(feature = "autodiff")]
    assert_gradients("functions around a loop", dim, &formula, &reference);
}

#[test]
fn formulas_that_would_take_minutes_to_compile_are_refused() {
    if is_interpreted() {
        return skipped("nothing is compiled there");
    }
    if is_remote() {
        return skipped("only the server knows what it compiles");
    }
    let x = LazyTensor::vi(Tensor::<2>::ones([2, 1], &device()));
    let y = LazyTensor::vj(Tensor::<2>::ones([2, 1], &device()));
    let pair = x * y;
    let sum = |terms: Vec<LazyTensor>| terms.into_iter().reduce(|sum, term| sum + term);
    let of_sixty = |first: usize| {
        let terms = (0..60).map(|k| (&pair * ((first + k) as f64 * 1e-3)).sin());
        sum(terms.collect()).expect("there are sixty")
    };
    let formula = sum((0..60).map(|k| of_sixty(60 * k)).collect()).expect("there are sixty");
    let error = formula.try_sum::<2>(Axis::J).unwrap_err();
    assert!(matches!(error, LazyError::Launch { .. }), "{error}");
    let text = error.to_string();
    for part in ["instructions", "60000 at the most"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}
