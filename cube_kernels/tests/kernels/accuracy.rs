//! Accuracy of long sums.
//!
//! Tolerances, relative to the norm of the result: 3e-7 in `f32` for 10 000 terms of one sign; for
//! terms of both signs relative to the sum of their sizes.

use burn_lazy_kernels::{Axis, Precision, expr::Var};

use crate::{
    device::{Problem, Tensor, by_precision, client, precisions},
    shapes::gaussian_sums,
    support::{Rng, gaussian},
};

const ROWS: usize = 64;
const COLUMNS: usize = 10_000;

/// Gaussian sums of points in the unit cube with weights in `low .. 1`.
fn problem(columns: usize, low: f64) -> Problem {
    let mut rng = Rng::new(31);
    let tensor = |var: &Var| match (var.axis(), var.dim) {
        (Some(Axis::I), dim) => Tensor::random(&[ROWS, dim], &mut rng, 0.0, 1.0),
        (_, 1) => Tensor::random(&[columns, 1], &mut rng, low, 1.0),
        (_, dim) => Tensor::random(&[columns, dim], &mut rng, 0.0, 1.0),
    };
    Problem::new(
        &gaussian(3, 1),
        Axis::J,
        &[],
        (ROWS, columns),
        tensor,
        |_| 0.0,
    )
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// The error relative to the norm of `scale`.
fn error(got: &[f64], want: &[f64], scale: &[f64]) -> f64 {
    let off = got.iter().zip(want).map(|(g, w)| g - w);
    norm(off) / norm(scale.iter().copied())
}

/// Asserts that in all types the error relative to the norm of `scale` is within the tolerance of
/// this module.
#[track_caller]
fn check(problem: &Problem, want: &[f64], scale: &[f64]) {
    for precision in precisions() {
        let got = problem
            .run(&client(), *precision)
            .expect("the launch succeeds");
        let off = error(&got, want, scale);
        let most = by_precision(*precision, 3e-7, 1e-15);
        assert!(off <= most, "off by {off:.2e} in {precision:?}");
    }
}

#[test]
fn ten_thousand_terms_are_summed_to_three_parts_in_ten_million() {
    let problem = problem(COLUMNS, 0.0);
    let want = gaussian_sums(&problem);
    check(&problem, &want, &want);
}

#[test]
fn the_error_does_not_grow_with_the_number_of_terms() {
    let error_of = |columns: usize| {
        let problem = problem(columns, 0.0);
        let want = gaussian_sums(&problem);
        let got = problem
            .run(&client(), Precision::F32)
            .expect("the launch succeeds");
        error(&got, &want, &want)
    };
    let (short, long) = (error_of(1000), error_of(100_000));
    assert!(long < 2.0 * short + 1e-7, "{short:.2e} and {long:.2e}");
}

#[test]
fn terms_of_both_signs_are_as_exact_as_the_sum_of_their_sizes() {
    let (signed, unsigned) = (problem(COLUMNS, -1.0), problem(COLUMNS, 0.0));
    let (want, scale) = (gaussian_sums(&signed), gaussian_sums(&unsigned));
    check(&signed, &want, &scale);
}
