//! Sums of all sizes, batches, layouts and widths, and with special values.
//!
//! Tolerance unless stated otherwise, relative to the largest output: 2e-6 in `f32`, 1e-13 in `f64`.

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, LaunchError, Precision, Ranges, ReductionKind, Wanted, check_device,
    expr::Var,
};

use crate::{
    device::{
        Problem, Runtime, Tensor, assert_close, by_precision, client, held, precisions, runtime,
    },
    support::{Rng, agree, gaussian, leaf, p, s, x, y},
};

const SUM: ReductionKind = ReductionKind::Sum(Accumulation::Blocks);

const SINGLE: f64 = 2e-6;
const DOUBLE: f64 = 1e-13;

/// The values of [`Problem::reference`] for [`gaussian`], fast enough for millions of pairs, and with compensated sums
/// so that rounding errors of the reference do not matter.
pub fn gaussian_sums(problem: &Problem) -> Vec<f64> {
    let operands = problem.host_operands();
    let [x, y, w] = operands.as_slice() else {
        panic!("a Gaussian sum has three operands")
    };
    let dims: Vec<usize> = problem.formula.vars().iter().map(|var| var.dim).collect();
    let (dim, width) = (dims[0], dims[2]);
    let (over_columns, (rows, columns)) = (problem.reduced == Axis::J, problem.rows_and_columns());
    let mut out = vec![0.0; rows * width];
    for row in 0..rows {
        let mut lost = vec![0.0; width];
        for column in 0..columns {
            let (i, j) = if over_columns {
                (row, column)
            } else {
                (column, row)
            };
            let (x, y) = (&x.data[i * dim..][..dim], &y.data[j * dim..][..dim]);
            let distance: f64 = x.iter().zip(y).map(|(a, b)| (a - b) * (a - b)).sum();
            let kernel = (-distance).exp();
            for k in 0..width {
                let sum = &mut out[row * width + k];
                let term = kernel * w.data[j * width + k] - lost[k];
                let new = *sum + term;
                lost[k] = (new - *sum) - term;
                *sum = new;
            }
        }
    }
    out
}

/// A Gaussian sum over random points whose distances are about one.
fn gaussian_problem(dim: usize, width: usize, reduced: Axis, sizes: (usize, usize)) -> Problem {
    let scale = 2.0 / (dim as f64).sqrt();
    let seed = (dim * 1000 + width) as u64;
    Problem::random(&gaussian(dim, width), reduced, sizes, seed, (0.0, scale))
}

fn check_gaussian(dim: usize, width: usize, reduced: Axis, sizes: (usize, usize)) {
    let problem = gaussian_problem(dim, width, reduced, sizes);
    let want = gaussian_sums(&problem);
    for precision in precisions() {
        let got = problem
            .run(&client(), *precision)
            .expect("the launch succeeds");
        assert_close(&got, &want, by_precision(*precision, SINGLE, DOUBLE));
    }
}

/// Sizes around zero, a unit, a block and several blocks.
fn interesting_sizes() -> Vec<usize> {
    let plan = gaussian_problem(3, 1, Axis::J, (1000, 1)).plan(&client(), Precision::F32);
    let lanes = plan.lanes();
    let mut sizes = vec![0, 1, 2, lanes - 1, lanes, lanes + 1, 127, 128, 129, 1000];
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

#[test]
fn sums_over_columns_of_all_sizes_match_the_host() {
    for m in interesting_sizes() {
        for n in interesting_sizes() {
            check_gaussian(3, 1, Axis::J, (m, n));
        }
    }
}

#[test]
fn sums_over_rows_of_all_sizes_match_the_host() {
    for m in [0, 1, 2, 9, 127, 129, 1000] {
        for n in [0, 1, 3, 8, 17, 128, 1000] {
            check_gaussian(3, 1, Axis::I, (m, n));
        }
    }
}

#[test]
fn loops_over_components_of_all_sizes_match_the_host() {
    for m in [1, 2, 7, 33, 129] {
        for n in [0, 1, 2, 3, 4, 5, 7, 9, 127, 130] {
            check_gaussian(20, 1, Axis::J, (m, n));
        }
    }
}

#[test]
fn a_sum_over_no_columns_is_zero() {
    let expr = gaussian(3, 2) + x(0, 2) + 1.0;
    for (reduced, sizes) in [(Axis::J, (5, 0)), (Axis::I, (0, 5))] {
        let problem = Problem::random(&expr, reduced, sizes, 1, (0.0, 1.0));
        for precision in precisions() {
            let got = problem
                .run(&client(), *precision)
                .expect("the launch succeeds");
            assert_eq!(got, vec![0.0; 10]);
        }
    }
}

#[test]
fn an_output_without_rows_launches_nothing() {
    for (reduced, sizes) in [(Axis::J, (0, 7)), (Axis::I, (7, 0)), (Axis::J, (0, 0))] {
        let problem = gaussian_problem(3, 2, reduced, sizes);
        let got = problem
            .run(&client(), Precision::F32)
            .expect("nothing fails");
        assert!(got.is_empty());
    }
    let none = |var: &Var| match var.axis() {
        Some(Axis::I) => Tensor::new(&[0, 4, var.dim], vec![]),
        _ => Tensor::new(&[0, 5, var.dim], vec![]),
    };
    let problem = Problem::new(&gaussian(3, 1), Axis::J, &[0], (4, 5), none, |_| 0.0);
    assert!(problem.run(&client(), Precision::F32).unwrap().is_empty());
}

#[test]
fn points_of_all_dimensions_match_the_host() {
    for dim in [1, 3, 16, 17, 64, 100, 500] {
        check_gaussian(dim, 1, Axis::J, (19, 37));
    }
    for dim in [1, 16, 17, 64] {
        check_gaussian(dim, 1, Axis::I, (37, 10));
    }
}

#[test]
fn outputs_of_all_widths_match_the_host() {
    for width in [1, 2, 16, 17, 100] {
        check_gaussian(3, width, Axis::J, (19, 37));
    }
    check_gaussian(17, 17, Axis::J, (19, 37));
    check_gaussian(2, 20, Axis::I, (300, 9));
}

#[test]
fn a_long_and_wide_sum_matches_the_host() {
    check_gaussian(100, 100, Axis::J, (9, 200));
}

#[test]
fn few_rows_with_many_columns_are_split_and_merged() {
    for (reduced, sizes) in [(Axis::J, (3, 200_000)), (Axis::I, (200_000, 3))] {
        let problem = gaussian_problem(3, 1, reduced, sizes);
        assert!(problem.plan(&client(), Precision::F32).parts > 1);
        let want = gaussian_sums(&problem);
        for precision in precisions() {
            let got = problem
                .run(&client(), *precision)
                .expect("the launch succeeds");
            assert_close(&got, &want, by_precision(*precision, 1e-6, 1e-14));
        }
    }
}

#[test]
fn wide_outputs_are_split_and_merged() {
    check_gaussian(3, 17, Axis::J, (2, 5000));
    check_gaussian(20, 2, Axis::J, (5, 5000));
}

#[test]
fn many_rows_with_few_columns_match_the_host() {
    check_gaussian(3, 1, Axis::J, (20_001, 5));
}

#[test]
fn gradients_of_gaussian_sums_match_the_host() {
    for dim in [3, 17, 40] {
        let gradient = gaussian(dim, 2).gradient(&leaf(0, Some(Axis::I), dim), &x(9, 2));
        let range = (0.0, 2.0 / (dim as f64).sqrt());
        Problem::random(&gradient, Axis::J, (9, 30), dim as u64, range).check(SINGLE, DOUBLE);
    }
}

/// The ways in which an operand may vary over the batches `[2, 3]`.
const BATCHED: [&[usize]; 6] = [&[2, 3], &[1, 3], &[2, 1], &[3], &[1, 1], &[]];

#[test]
fn batches_of_operands_broadcast() {
    let expr = (-(x(0, 2).sqdist(&y(1, 2)) * p(2, 1).square())).exp() * y(3, 2) * p(4, 2);
    let (m, n) = (11, 13);
    for reduced in [Axis::J, Axis::I] {
        for turn in 0..BATCHED.len() {
            let mut rng = Rng::new(turn as u64);
            let tensor = |var: &Var| {
                // Every operand varies in another way, and each way occurs once.
                let mut shape = BATCHED[(turn + var.id as usize) % BATCHED.len()].to_vec();
                shape.extend(match var.axis() {
                    Some(Axis::I) => vec![m, var.dim],
                    Some(Axis::J) => vec![n, var.dim],
                    None => vec![var.dim],
                });
                Tensor::random(&shape, &mut rng, 0.1, 1.0)
            };
            let problem = Problem::new(&expr, reduced, &[2, 3], (m, n), tensor, |_| 0.0);
            problem.check(SINGLE, DOUBLE);
        }
    }
}

#[test]
fn batches_are_split_and_merged() {
    let mut rng = Rng::new(3);
    let n = 3000;
    let tensor = |var: &Var| match (var.axis(), var.id) {
        (Some(Axis::I), _) => Tensor::random(&[2, 1, 2, var.dim], &mut rng, 0.0, 1.0),
        (_, 1) => Tensor::random(&[1, 2, n, var.dim], &mut rng, 0.0, 1.0),
        _ => Tensor::random(&[n, var.dim], &mut rng, 0.0, 1.0),
    };
    let expr = gaussian(2, 1);
    let problem = Problem::new(&expr, Axis::J, &[2, 2], (2, n), tensor, |_| 0.0);
    assert!(problem.plan(&client(), Precision::F32).parts > 1);
    problem.check(SINGLE, DOUBLE);
}

#[test]
fn a_single_batch_dimension_and_four_of_them_work() {
    for batch in [vec![5], vec![2, 1, 3, 2]] {
        let mut rng = Rng::new(4);
        let tensor = |var: &Var| {
            let mut shape = batch.clone();
            shape.extend([if var.axis() == Some(Axis::I) { 3 } else { 7 }, var.dim]);
            Tensor::random(&shape, &mut rng, 0.0, 1.0)
        };
        let expr = gaussian(2, 1);
        Problem::new(&expr, Axis::J, &batch, (3, 7), tensor, |_| 0.0).check(SINGLE, DOUBLE);
    }
}

/// The ways to store an operand of shape `[length, dim]`.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Contiguous,
    Transposed,
    Spaced,
    OneRow,
    OneComponent,
}

fn stored(layout: Layout, length: usize, dim: usize, rng: &mut Rng) -> Tensor {
    let mut random = |shape: &[usize]| Tensor::random(shape, rng, 0.0, 2.0 / (dim as f64).sqrt());
    match layout {
        Layout::Contiguous => random(&[length, dim]),
        Layout::Transposed => random(&[length, dim]).transposed(),
        Layout::Spaced => random(&[length, dim]).spaced(),
        Layout::OneRow => random(&[1, dim]).repeated(0, length),
        Layout::OneComponent => random(&[length, 1]).repeated(1, dim),
    }
}

/// Checks Gaussian sums with each combination of layouts of their three operands.
fn check_layouts(dim: usize, width: usize, all: &[[Layout; 3]]) {
    let (m, n) = (21, 37);
    for layouts in all {
        let mut rng = Rng::new(5);
        let tensor = |var: &Var| {
            let length = if var.axis() == Some(Axis::I) { m } else { n };
            stored(layouts[var.id as usize], length, var.dim, &mut rng)
        };
        let expr = gaussian(dim, width);
        Problem::new(&expr, Axis::J, &[], (m, n), tensor, |_| 0.0).check(SINGLE, DOUBLE);
    }
}

#[test]
fn short_operands_of_any_layout_are_read_in_place() {
    use Layout::*;
    let all = [
        [Transposed, Contiguous, Contiguous],
        [Contiguous, Transposed, Spaced],
        [Transposed, Transposed, Transposed],
        [Spaced, Spaced, Contiguous],
        [OneRow, Contiguous, OneRow],
        [OneComponent, OneRow, OneComponent],
    ];
    check_layouts(3, 2, &all);
}

#[test]
fn long_operands_of_any_layout_are_read_in_place() {
    use Layout::*;
    let all = [
        [Transposed, Spaced, Transposed],
        [Spaced, Transposed, OneRow],
        [OneComponent, OneRow, OneComponent],
    ];
    check_layouts(20, 18, &all);
}

#[test]
fn more_batches_than_one_axis_of_cubes_holds_are_launched() {
    let batches = 70_000;
    let mut rng = Rng::new(13);
    let tensor = |var: &Var| {
        let length = if var.axis() == Some(Axis::I) { 1 } else { 2 };
        Tensor::random(&[batches, length, var.dim], &mut rng, 0.0, 1.0)
    };
    let expr = x(0, 1) * y(1, 1).square();
    Problem::new(&expr, Axis::J, &[batches], (1, 2), tensor, |_| 0.0).check(SINGLE, DOUBLE);
}

#[test]
fn batched_operands_of_any_layout_are_read_in_place() {
    let mut rng = Rng::new(6);
    let expr = gaussian(3, 1) * p(5, 3).sqnorm();
    let tensor = |var: &Var| {
        let mut random = |shape: &[usize]| Tensor::random(shape, &mut rng, 0.0, 1.0);
        match var.id {
            0 => random(&[4, 6, var.dim]).transposed(),
            1 => random(&[1, 9, var.dim]).repeated(0, 4),
            2 => random(&[4, 9, var.dim]).spaced(),
            _ => random(&[4, var.dim]).transposed(),
        }
    };
    Problem::new(&expr, Axis::J, &[4], (6, 9), tensor, |_| 0.0).check(SINGLE, DOUBLE);
}

#[test]
fn one_tensor_may_stand_for_rows_and_columns() {
    let expr = (-x(0, 3).sqdist(&y(0, 3))).exp();
    let points = Tensor::random(&[23, 3], &mut Rng::new(7), 0.0, 1.0);
    let tensor = |_: &Var| points.clone();
    Problem::new(&expr, Axis::J, &[], (23, 23), tensor, |_| 0.0).check(SINGLE, DOUBLE);
}

#[test]
fn formulas_without_rows_columns_or_operands_are_summed() {
    for expr in [
        Expr::constant(1.5),
        Expr::constant(0.5).expand(20),
        p(0, 3),
        s(0) * 2.0,
        x(0, 3).exp(),
        y(0, 3).exp(),
        y(0, 40),
        x(0, 20) * p(1, 20),
    ] {
        for sizes in [(1, 1), (9, 5), (33, 200)] {
            Problem::random(&expr, Axis::J, sizes, 8, (-1.0, 1.0)).check(SINGLE, DOUBLE);
        }
    }
}

#[test]
fn run_time_scalars_are_passed_in_order() {
    let expr = (x(0, 2) * s(1) - y(2, 2) / s(3)).square() * s(1) + s(4);
    let mut tensors = Rng::new(9);
    let tensor = |var: &Var| Tensor::random(&[5, var.dim], &mut tensors, 0.0, 1.0);
    let scalar = |var: &Var| [0.0, 2.0, 0.0, -0.25, 10.0][var.id as usize];
    let problem = Problem::new(&expr, Axis::J, &[], (5, 5), tensor, scalar);
    problem.check(SINGLE, DOUBLE);
}

#[test]
fn a_nan_poisons_its_own_row_only() {
    let (m, n) = (37, 140);
    let clean = gaussian_problem(3, 2, Axis::J, (m, n));
    let want = gaussian_sums(&clean);
    for row in [0, 1, 7, 8, 36] {
        let mut rng = Rng::new(3002);
        let scale = 2.0 / 3f64.sqrt();
        let tensor = |var: &Var| {
            let length = if var.axis() == Some(Axis::I) { m } else { n };
            let tensor = Tensor::random(&[length, var.dim], &mut rng, 0.0, scale);
            if var.axis() == Some(Axis::I) {
                tensor.with(&[row, 1], f64::NAN)
            } else {
                tensor
            }
        };
        let problem = Problem::new(&gaussian(3, 2), Axis::J, &[], (m, n), tensor, |_| 0.0);
        for precision in precisions() {
            let got = problem
                .run(&client(), *precision)
                .expect("the launch succeeds");
            let mut want = want.clone();
            want[row * 2..][..2].fill(f64::NAN);
            assert_close(&got, &want, by_precision(*precision, SINGLE, DOUBLE));
        }
    }
}

/// Sums of `w_j` times a positive function of `x_i`, where `w` is 1 except for the values in `special`.
fn weights(m: usize, n: usize, special: &[(usize, f64)]) -> Problem {
    let expr = y(0, 1) * x(1, 1).square().exp();
    let tensor = |var: &Var| match var.axis() {
        Some(Axis::I) => Tensor::random(&[m, 1], &mut Rng::new(1), 0.0, 1.0),
        _ => special
            .iter()
            .fold(Tensor::new(&[n, 1], vec![1.0; n]), |tensor, (at, value)| {
                tensor.with(&[*at, 0], *value)
            }),
    };
    Problem::new(&expr, Axis::J, &[], (m, n), tensor, |_| 0.0)
}

#[test]
fn infinite_terms_make_an_infinite_sum() {
    let inf = f64::INFINITY;
    // Several blocks, and several parts that are merged.
    for (m, n) in [(5, 400), (3, 6000)] {
        for (special, want) in [
            (vec![(0, inf)], inf),
            (vec![(n / 2, inf)], inf),
            (vec![(n - 1, inf)], inf),
            (vec![(3, inf), (n - 2, inf)], inf),
            (vec![(3, -inf), (n / 2, -inf)], -inf),
            (vec![(3, inf), (4, -inf)], f64::NAN),
            (vec![(3, inf), (n - 1, -inf)], f64::NAN),
            (vec![(n / 3, f64::NAN)], f64::NAN),
        ] {
            let problem = weights(m, n, &special);
            for precision in precisions() {
                let got = problem
                    .run(&client(), *precision)
                    .expect("the launch succeeds");
                assert!(
                    got.iter().all(|v| agree(*v, want, 0.0)),
                    "{special:?} of {n} in {precision:?}: {got:?}"
                );
            }
        }
    }
}

#[test]
fn sums_that_overflow_are_infinite() {
    for precision in precisions() {
        let large = by_precision(*precision, f32::MAX as f64, f64::MAX);
        for kind in [Accumulation::Blocks, Accumulation::Kahan] {
            // The terms are finite: at most e times these values.
            let special: Vec<_> = (0..10).map(|k| (40 * k, large / 4.0)).collect();
            let problem = weights(5, 400, &special).reduced_by(ReductionKind::Sum(kind));
            let got = problem
                .run(&client(), *precision)
                .expect("the launch succeeds");
            assert!(got.iter().all(|v| *v == f64::INFINITY), "{got:?}");
        }
    }
}

/// The sums of `expr` over one column, for one operand with each of `values`.
fn at_each(expr: &Expr, values: &[f64], precision: Precision) -> Vec<f64> {
    let tensor = |var: &Var| match var.axis() {
        Some(Axis::I) => Tensor::new(&[values.len(), 1], values.to_vec()),
        _ => Tensor::new(&[1, 1], vec![1.0]),
    };
    let sizes = (values.len(), 1);
    let problem = Problem::new(expr, Axis::J, &[], sizes, tensor, |_| 0.0);
    problem
        .run(&client(), precision)
        .expect("the launch succeeds")
}

#[test]
fn the_exponential_underflows_to_zero_and_overflows_to_infinity() {
    for precision in precisions() {
        let far = by_precision(*precision, 200.0, 2000.0);
        let values = [
            -far,
            far,
            -far * 100.0,
            far * 100.0,
            f64::NEG_INFINITY,
            f64::INFINITY,
            f64::NAN,
        ];
        let want = [
            0.0,
            f64::INFINITY,
            0.0,
            f64::INFINITY,
            0.0,
            f64::INFINITY,
            f64::NAN,
        ];
        let got = at_each(&(x(0, 1) * y(1, 1)).exp(), &values, *precision);
        for ((value, got), want) in values.iter().zip(got).zip(want) {
            assert!(
                agree(got, want, 0.0),
                "exp({value}) in {precision:?} is {got}"
            );
        }
        // The same if the argument is known to be at most 0.
        let got = at_each(&(-(x(0, 1) * y(1, 1)).abs()).exp(), &values, *precision);
        let want = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, f64::NAN];
        for ((value, got), want) in values.iter().zip(got).zip(want) {
            assert!(
                agree(got, want, 0.0),
                "exp(-|{value}|) in {precision:?} is {got}"
            );
        }
    }
}

#[test]
fn the_exponential_is_exact_up_to_the_ends_of_its_range() {
    for precision in precisions() {
        let ends = by_precision(*precision, 87.0, 700.0);
        let values: Vec<f64> = (0..200)
            .map(|k| (ends * (k as f64 / 100.0 - 1.0)) as f32 as f64)
            .collect();
        let on_cpu = runtime() == Runtime::Cpu;
        // The argument is an operand, or a product, which is rounded even if the factor is 1.
        for (expr, ulps) in [(x(0, 1).exp(), 0.0), ((x(0, 1) * y(1, 1)).exp(), 0.75)] {
            let got = at_each(&(expr + 0.0 * y(1, 1)), &values, *precision);
            for (value, got) in values.iter().zip(got) {
                let ulps = if on_cpu { ulps } else { 2.0 };
                let units = 3.0 + ulps * value.abs();
                let most = by_precision(*precision, units * 1.2e-7, 1e-15);
                let off = (got / value.exp() - 1.0).abs();
                assert!(
                    off <= most,
                    "exp({value}) in {precision:?} is {got}, off by {off:.1e}"
                );
            }
        }
    }
}

#[test]
fn functions_of_special_values_match_the_host() {
    let inf = f64::INFINITY;
    let values = [0.0, -0.0, 1.0, -1.0, inf, -inf, f64::NAN, 1e-30, -1e30];
    let unary = burn_lazy_kernels::catalogue::ScalarOp::all();
    let unary = unary.into_iter().filter(|op| op.arity() == 1);
    let all: Vec<_> = unary.collect();
    for ops in all.chunks(8) {
        let argument = x(0, 1) * y(1, 1);
        let each = ops
            .iter()
            .map(|op| Expr::scalar(*op, vec![argument.clone()]));
        let expr = Expr::concat(each.collect());
        for precision in precisions() {
            let got = at_each(&expr, &values, *precision);
            for (k, value) in values.iter().enumerate() {
                for (op, got) in ops.iter().zip(&got[k * ops.len()..]) {
                    if value.abs() > 1e5 && op.domain().scale == 1.0 {
                        continue; // Reduction of such large angles loses digits.
                    }
                    let want = held(op.host(&[*value]), *precision);
                    let smallest =
                        by_precision(*precision, f32::MIN_POSITIVE as f64, f64::MIN_POSITIVE);
                    let size = want.abs().max(op.domain().scale);
                    let tolerance = smallest + by_precision(*precision, 1e-6, 1e-14) * size;
                    assert!(
                        agree(*got, want, tolerance),
                        "{op} of {value} in {precision:?} is {got}, expected {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_exponential_of_a_reciprocal_of_nothing_negated_vanishes() {
    // exp(-1 / d) with d = 0: the sign of the zero decides between 0 and infinity.
    for dim in [1, 3, 20] {
        let points = Tensor::new(&[2, dim], vec![0.5; 2 * dim]);
        for expr in [
            (-x(0, dim).sqdist(&y(1, dim)).recip()).exp(),
            (-1.0 / x(0, dim).sqdist(&y(1, dim))).exp(),
            (-x(0, dim).sqdist(&y(1, dim))).recip().exp(),
        ] {
            let tensor = |_: &Var| points.clone();
            let problem = Problem::new(&expr, Axis::J, &[], (2, 2), tensor, |_| 0.0);
            for precision in precisions() {
                let got = problem
                    .run(&client(), *precision)
                    .expect("the launch succeeds");
                assert_eq!(got, [0.0; 2], "{expr} of {dim} components in {precision:?}");
            }
        }
    }
}

#[test]
fn types_that_the_device_does_not_compute_in_are_refused() {
    let client = client();
    assert_eq!(
        check_device(&client, Precision::F32, SUM, Wanted::VALUES, 3),
        Ok(())
    );
    let problem = gaussian_problem(3, 1, Axis::J, (4, 4));
    let double = problem.run(&client, Precision::F64);
    match runtime() {
        Runtime::Cpu | Runtime::Cuda => {
            assert_eq!(
                check_device(&client, Precision::F64, SUM, Wanted::VALUES, 3),
                Ok(())
            );
            assert!(double.is_ok());
        }
        Runtime::Wgpu | Runtime::Vulkan => {
            let error = check_device(&client, Precision::F64, SUM, Wanted::VALUES, 3).unwrap_err();
            assert!(matches!(
                error,
                LaunchError::Unsupported {
                    precision: Precision::F64,
                    ..
                }
            ));
            assert!(error.to_string().contains("F64"));
            assert_eq!(double, Err(error));
        }
    }
}

/// The sum of `tensors` row operands with one component.
fn many_operands(tensors: usize) -> Problem {
    let sum = (1..tensors).fold(x(0, 1), |sum, id| sum + x(id as u64, 1));
    let sizes = (3, 2);
    Problem::random(&sum, Axis::J, sizes, 12, (0.0, 1.0))
}

#[test]
fn more_tensors_than_a_kernel_can_bind_are_refused() {
    let client = client();
    let limit = client.properties().hardware.max_bindings as usize - 2;
    let error = check_device(&client, Precision::F32, SUM, Wanted::VALUES, limit + 1).unwrap_err();
    assert!(matches!(error, LaunchError::TooManyTensors { .. }));
    assert!(error.to_string().contains(&limit.to_string()));
    assert_eq!(
        check_device(&client, Precision::F32, SUM, Wanted::VALUES, limit),
        Ok(())
    );
    if limit < 200 {
        many_operands(limit).check(SINGLE, DOUBLE);
        assert_eq!(
            many_operands(limit + 1).run(&client, Precision::F32),
            Err(error)
        );
    }
}

/// A kernel binds the buffers of ranges beside those of tensors.
#[test]
fn checks_before_there_are_tensors_count_the_buffers_of_ranges() {
    let client = client();
    let mut properties = client.properties().clone();
    // An output, the sizes and four buffers to read.
    properties.hardware.max_bindings = 6;
    let check = |problem: &Problem, tensors: usize| {
        let launch = problem.launch(2, Precision::F32);
        let shapes = vec![vec![3, 1]; tensors];
        launch.check(&properties, client.name(), &shapes, Wanted::VALUES)
    };
    let in_ranges = |tensors| {
        let ranges = Ranges::lengths(&[3], &[2]).expect("it is small");
        many_operands(tensors).in_ranges(ranges)
    };
    assert_eq!(check(&many_operands(4), 4), Ok(()));
    assert_eq!(check(&in_ranges(3), 3), Ok(()));
    let error = check(&in_ranges(4), 4).unwrap_err();
    assert!(
        matches!(
            error,
            LaunchError::TooManyTensors {
                tensors: 5,
                limit: 4,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn twenty_operands_are_told_apart() {
    many_operands(20).check(SINGLE, DOUBLE);
}

#[test]
fn functions_of_two_special_values_match_the_host() {
    let inf = f64::INFINITY;
    let values = [0.0, -0.0, 1.0, -1.0, 0.5, inf, -inf, f64::NAN];
    let pairs: Vec<(f64, f64)> = values
        .iter()
        .flat_map(|a| values.map(|b| (*a, b)))
        .collect();
    let binary = burn_lazy_kernels::catalogue::ScalarOp::all();
    let binary: Vec<_> = binary.into_iter().filter(|op| op.arity() == 2).collect();
    let argument = |k: usize| x(0, 2).slice(k, 1) * y(1, 1);
    let each = binary
        .iter()
        .map(|op| Expr::scalar(*op, vec![argument(0), argument(1)]));
    let expr = Expr::concat(each.collect());
    let tensor = |var: &Var| match var.axis() {
        Some(Axis::I) => Tensor::new(
            &[pairs.len(), 2],
            pairs.iter().flat_map(|p| [p.0, p.1]).collect(),
        ),
        _ => Tensor::new(&[1, 1], vec![1.0]),
    };
    let problem = Problem::new(&expr, Axis::J, &[], (pairs.len(), 1), tensor, |_| 0.0);
    for precision in precisions() {
        let got = problem
            .run(&client(), *precision)
            .expect("the launch succeeds");
        for (k, (a, b)) in pairs.iter().enumerate() {
            for (op, got) in binary.iter().zip(&got[k * binary.len()..]) {
                let want = op.host(&[*a, *b]);
                assert!(
                    agree(*got, want, 1e-7 * want.abs().max(op.domain().scale)),
                    "{op} of {a} and {b} in {precision:?} is {got}, expected {want}"
                );
            }
        }
    }
}
