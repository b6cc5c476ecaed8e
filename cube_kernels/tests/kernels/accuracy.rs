//! Accuracy of long sums.
//!
//! Tolerances, relative to the norm of the result: 3e-7 in `f32` for 10 000 terms of one sign; for
//! terms of both signs relative to the sum of their sizes.

use burn_lazy_kernels::{Axis, Expr, Precision, catalogue::ScalarOp, expr::Var};

use crate::{
    device::{Engine, Problem, Runtime, Tensor, by_precision, client, engine, precisions, runtime},
    shapes::gaussian_sums,
    support::{Rng, gaussian, x, y},
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

/// The products of these pairs. They are computed for each pair of a row and the only column.
fn products(pairs: &[(f64, f64)]) -> Problem {
    with_products(pairs, |product| product)
}

/// The values of `expr` for the products of these pairs.
fn with_products(pairs: &[(f64, f64)], expr: impl Fn(Expr) -> Expr) -> Problem {
    let factors = vec![x(0, 1), x(1, 1) * y(2, 1)];
    let product = expr(Expr::scalar(ScalarOp::FlushedMul, factors));
    let factors =
        |of: fn(&(f64, f64)) -> f64| Tensor::new(&[pairs.len(), 1], pairs.iter().map(of).collect());
    let tensor = |var: &Var| match var.id {
        0 => factors(|pair| pair.0),
        1 => factors(|pair| pair.1),
        _ => Tensor::new(&[1, 1], vec![1.0]),
    };
    let sizes = (pairs.len(), 1);
    Problem::new(&product, Axis::J, &[], sizes, tensor, |_| 0.0)
}

/// Products of which one factor is close to 0. On processors they are 0 where they are so small that they or a product
/// with them may not be a normal number, but nowhere else.
#[test]
fn products_with_small_factors_are_normal_numbers_or_zero() {
    let powers: Vec<i32> = (-126..=126).step_by(6).collect();
    let factors = |sign: f64| powers.iter().map(move |k| sign * 2f64.powi(*k));
    let first: Vec<f64> = factors(1.375).chain(factors(-1.0)).chain([0.0]).collect();
    let second: Vec<f64> = factors(1.625).chain(factors(-1.0)).chain([0.0]).collect();
    let pairs = first
        .iter()
        .flat_map(|a| second.iter().map(move |b| (*a, *b)));
    let pairs: Vec<(f64, f64)> = pairs
        .filter(|(a, b)| (a * b).abs() < f32::MAX.into())
        .collect();
    let problem = products(&pairs);
    let is_processor = engine() == Engine::Host || runtime() == Runtime::Cpu;
    let normal = f64::from(f32::MIN_POSITIVE);
    let got = problem
        .run(&client(), Precision::F32)
        .expect("the launch succeeds");
    for ((a, b), got) in pairs.iter().zip(got) {
        let want = a * b;
        let is_zero = got == 0.0;
        let right = match want.abs() {
            size if size >= 2f64.powi(17) * normal => got == f64::from(want as f32),
            size if size >= normal => is_zero || got == f64::from(want as f32),
            _ if is_processor => is_zero,
            // Cards round such numbers or replace them by 0.
            _ => is_zero || got == f64::from(want as f32),
        };
        assert!(right, "{a:e} times {b:e} is {got:e}");
    }
}

/// Products that are replaced by 0 keep their sign, which shows in quotients by them.
#[test]
fn products_that_are_replaced_by_zero_keep_their_sign() {
    if engine() != Engine::Host && runtime() != Runtime::Cpu {
        return;
    }
    let sizes = [1.0, 1e-20, 0.0, -0.0, -1e-20, -1.0];
    let pairs = sizes.map(|a| [0.0, 1e-30, -1e-30, -0.0].map(|b| (a, b)));
    let is_zero = |(a, b): &(f64, f64)| (a * b).abs() < f32::MIN_POSITIVE.into();
    let pairs: Vec<(f64, f64)> = pairs.into_iter().flatten().filter(is_zero).collect();
    let problem = with_products(&pairs, |product| Expr::constant(1.0) / product);
    let got = problem
        .run(&client(), Precision::F32)
        .expect("the launch succeeds");
    for ((a, b), got) in pairs.iter().zip(got) {
        let want = f64::INFINITY.copysign(a * b);
        assert_eq!(got, want, "1 divided by the product of {a:e} and {b:e}");
    }
}

/// Factors that are not finite have the products that they always have.
#[test]
fn products_with_small_factors_keep_infinities() {
    let inf = f64::INFINITY;
    let pairs = [
        (inf, 1e-30),
        (-inf, 1e-30),
        (1e-30, inf),
        (inf, 0.0),
        (0.0, inf),
        (f64::NAN, 0.0),
        (f64::NAN, 1e-30),
        (0.0, f64::NAN),
        (1.0, f64::NAN),
    ];
    let problem = products(&pairs);
    for precision in precisions() {
        let got = problem
            .run(&client(), *precision)
            .expect("the launch succeeds");
        for ((a, b), got) in pairs.iter().zip(got) {
            let want = a * b;
            let right = got == want || (got.is_nan() && want.is_nan());
            assert!(right, "{a:e} times {b:e} is {got:e} in {precision:?}");
        }
    }
}
