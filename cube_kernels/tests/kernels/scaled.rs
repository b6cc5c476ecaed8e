//! Exponentials of distances between scaled coordinates, against the host and against the formula without scaling: the
//! kernels of devices on which one operation less per pair matters.

use burn_lazy_kernels::{Axis, Expr, Precision, expr::Var, plan::Device, program::REACH};
use proptest::prelude::*;

use crate::{
    device::{
        Problem, Runtime, Tensor, assert_close, client, not_of_kernels, only_where, runtime,
        skipped, small_gpu,
    },
    random::config,
    support::{Rng, p, s, x, y},
};

/// A small GPU that scales coordinates, or does not.
fn device(scales: bool) -> Device {
    Device {
        scales,
        ..small_gpu()
    }
}

/// Whether the kernels that choose between forms can run. Shaders must prove that all units of a cube make the same
/// choice, so they have no such kernels.
fn runs() -> bool {
    let runs = matches!(runtime(), Runtime::Cpu | Runtime::Cuda);
    if !runs {
        skipped("shaders have no such kernels");
    }
    runs && !not_of_kernels()
}

/// The values in two ways: with the form that the device chooses, and without scaling.
fn both(problem: Problem) -> (Problem, [Vec<f64>; 2]) {
    let client = client();
    let values = |problem: &Problem| {
        let run = problem.run(&client, Precision::F32);
        run.expect("the launch succeeds")
    };
    let problem = problem.planned_for(device(false));
    let plain = values(&problem);
    let problem = problem.planned_for(device(true));
    let plan = problem.plan(&client, Precision::F32);
    assert!(plan.blueprint.schedule.scaled(), "{plan:?}");
    let chosen = values(&problem);
    (problem, [chosen, plain])
}

/// Whether values are equal bit by bit.
fn same(some: &[f64], others: &[f64]) -> bool {
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    bits(some) == bits(others)
}

/// Asserts that both forms give the values of the host, and that the chosen form is the scaled one.
#[track_caller]
fn check(problem: Problem, relative: f64) {
    let (problem, [chosen, plain]) = both(problem);
    let want = problem.reference();
    assert_close(&chosen, &want, relative);
    assert_close(&plain, &want, relative);
    assert!(!same(&chosen, &plain), "there is but one form");
}

/// Asserts that the device chooses the form without scaling.
#[track_caller]
fn check_plain(problem: Problem, relative: f64) {
    let (problem, [chosen, plain]) = both(problem);
    assert!(same(&chosen, &plain), "there are two forms");
    assert_close(&chosen, &problem.reference(), relative);
}

/// $\sum_j e^{-1.3 |x_i - y_j|^2} b_j$ for points of dimension `dim`.
fn gaussian(dim: usize, width: usize) -> Expr {
    (x(0, dim).sqdist(&y(1, dim)) * -1.3).exp() * y(2, width)
}

/// The problem with these operands, in order.
fn problem(expr: &Expr, sizes: (usize, usize), tensors: Vec<Tensor>, scalars: &[f64]) -> Problem {
    let (mut tensors, mut scalars) = (tensors.into_iter(), scalars.iter());
    Problem::new(
        expr,
        Axis::J,
        &[],
        sizes,
        |_| tensors.next().expect("a tensor for each leaf"),
        |_| *scalars.next().expect("a number for each leaf"),
    )
}

/// The problem with tensors that are uniform in `low .. high`.
fn uniform(expr: &Expr, sizes: (usize, usize), (low, high): (f64, f64)) -> Problem {
    Problem::random(expr, Axis::J, sizes, 5, (low, high))
}

#[test]
fn sizes_need_not_fill_tiles() {
    only_where!(runs());
    for sizes in [(1, 1), (9, 1), (5, 127), (17, 128), (4, 129), (13, 300)] {
        check(uniform(&gaussian(3, 2), sizes, (-1.0, 1.0)), 1e-6);
    }
    let (problem, [chosen, _]) = both(uniform(&gaussian(3, 2), (5, 0), (-1.0, 1.0)));
    assert_eq!(chosen, problem.reference());
}

#[test]
fn coefficients_may_be_parameters() {
    only_where!(runs());
    let (sizes, dim) = ((9, 70), 3);
    let difference = || x(0, dim) - y(1, dim);
    let squared = || difference().square().inner_sum();
    let exprs = [
        (-(squared() * s(3))).exp() * y(2, 1),
        ((difference() / p(3, dim)).square().inner_sum() * -0.5).exp() * y(2, 1),
        (-(difference().square() * p(3, dim)).inner_sum() / s(4)).exp() * y(2, 1),
        (-(y(1, 1) - x(0, 1)).square() / (s(3).square() * 0.25)).exp() * y(2, 1),
        // A different factor for each component.
        (difference().square() * -p(3, dim)).exp(),
    ];
    for expr in exprs {
        check(uniform(&expr, sizes, (0.5, 1.5)), 1e-6);
        let problem = Problem::random(&expr, Axis::I, sizes, 6, (0.5, 1.5));
        check(problem, 1e-6);
    }
}

#[test]
fn sums_with_several_coefficients_are_several_sums() {
    let squared = || x(0, 3).sqdist(&y(1, 3));
    for width in [2, 3, 5] {
        let exprs = [
            (-(squared() * p(2, width))).exp(),
            ((squared() / p(2, width)) * -0.5).exp() * y(3, 1),
            (((x(0, 3) - y(1, 3)) * p(2, 3)).sqnorm() * -p(3, width)).exp(),
        ];
        for expr in exprs {
            let problem = uniform(&expr, (5, 40), (0.5, 1.5));
            let got = problem.run(&client(), Precision::F32);
            assert_close(&got.expect("it runs"), &problem.reference(), 1e-6);
            if runs() {
                let problem = problem.planned_for(device(true));
                let got = problem.run(&client(), Precision::F32);
                assert_close(&got.expect("it runs"), &problem.reference(), 1e-6);
            }
        }
    }
}

#[test]
fn operands_may_be_batched_and_of_any_layout() {
    only_where!(runs());
    let (m, n) = (7, 40);
    let mut rng = Rng::new(7);
    let tensor = |var: &Var| {
        let rows = if var.axis() == Some(Axis::I) { m } else { n };
        let tensor = Tensor::random(&[2, 3, rows, var.dim], &mut rng, -1.0, 1.0);
        match var.id {
            0 => tensor.transposed(),
            1 => tensor.spaced(),
            _ => tensor,
        }
    };
    let expr = gaussian(3, 2);
    check(
        Problem::new(&expr, Axis::J, &[2, 3], (m, n), tensor, |_| 0.0),
        1e-6,
    );
}

#[test]
fn points_beyond_reach_lose_no_digits() {
    only_where!(runs());
    let (m, n) = (20, 150);
    let mut rng = Rng::new(8);
    // Numbers that F32 represents, far from 0 and near to each other.
    let mut far = |rows: usize| Tensor::random(&[rows, 3], &mut rng, 999.0, 1001.0).rounded(4096.0);
    let tensors = vec![far(m), far(n), Tensor::new(&[n, 1], vec![1.0; n])];
    check_plain(problem(&gaussian(3, 1), (m, n), tensors, &[]), 1e-6);
}

#[test]
fn one_point_beyond_reach_is_enough() {
    only_where!(runs());
    // Both rows are in one cube.
    let (m, n) = (2, 200);
    // The limit of coordinates for the scale sqrt(1.3 log2 e) = 1.3695. Beyond it the scaled form is not used.
    let edge = REACH / 1.3695;
    for (at, value, plain) in [
        (0, edge - 0.01, false),
        (0, edge + 0.01, true),
        (1, -edge - 0.01, true),
        (1, f64::NAN, true),
        (1, f64::INFINITY, true),
        (0, f64::NEG_INFINITY, true),
    ] {
        let mut rng = Rng::new(9);
        let mut near = |rows: usize, dim: usize| Tensor::random(&[rows, dim], &mut rng, -1.0, 1.0);
        let mut tensors = vec![near(m, 3), near(n, 3), near(n, 1)];
        let last = if at == 0 { m - 1 } else { n - 1 };
        for (k, value) in [value, 0.0, 0.0].into_iter().enumerate() {
            tensors[at] = tensors[at].clone().with(&[last, k], value);
        }
        let (problem, [chosen, as_it_is]) = both(problem(&gaussian(3, 1), (m, n), tensors, &[]));
        assert_eq!(same(&chosen, &as_it_is), plain, "{value} at {at}");
        assert_close(&chosen, &problem.reference(), 1e-6);
    }
}

#[test]
fn coefficients_that_do_not_fit_are_taken_as_they_are() {
    only_where!(runs());
    let (m, n) = (5, 30);
    let scaled_by = |difference: Expr| (-difference.square().inner_sum()).exp() * y(2, 1);
    let difference = || x(0, 3) - y(1, 3);
    let of_scalar = (-(difference().square().inner_sum() * s(3))).exp() * y(2, 1);
    let mut rng = Rng::new(10);
    let mut operands = |low: f64, high: f64| {
        let mut near = |rows: usize| Tensor::random(&[rows, 3], &mut rng, low, high);
        vec![near(m), near(n), Tensor::new(&[n, 1], vec![0.5; n])]
    };
    // The exponential grows with the distance, does not depend on it, or is NaN.
    for coefficient in [-0.4, 0.0, f64::NAN] {
        let tensors = operands(-1.0, 1.0);
        check_plain(problem(&of_scalar, (m, n), tensors, &[coefficient]), 1e-6);
    }
    // The scale is too small for a normal number, and the points are large.
    let large = f64::powi(2.0, 126);
    let tensors = operands(-large, large);
    let tiny = scaled_by(difference() / s(3));
    check_plain(problem(&tiny, (m, n), tensors, &[1.5 * large]), 1e-6);
}

#[test]
fn the_error_is_no_larger_than_claimed() {
    only_where!(runs());
    let (m, n) = (64, 64);
    let mut rng = Rng::new(11);
    // Single pairs near the limit of coordinates, where the exponential is steepest.
    let scale = (std::f64::consts::LOG2_E).sqrt();
    let points = |rng: &mut Rng, rows: usize| {
        let point = |_| {
            let turn = rng.uniform(0.0, 0.2);
            let radius = rng.uniform(0.9, 0.999) * REACH / scale;
            [radius * turn.cos(), radius * turn.sin()].map(|v| v as f32 as f64)
        };
        Tensor::new(&[rows, 2], (0..rows).flat_map(point).collect())
    };
    let x_values = points(&mut rng, m);
    let expr = (-x(0, 2).sqdist(&y(1, 2))).exp();
    let mut worst = 0f64;
    for _ in 0..n {
        let tensors = vec![x_values.clone(), points(&mut rng, 1)];
        let (problem, [chosen, _]) = both(problem(&expr, (m, 1), tensors, &[]));
        for (got, want) in chosen.iter().zip(problem.reference()) {
            worst = worst.max((got - want).abs());
        }
    }
    // 7e-7 is the bound of the scaled form, and the error of the exponential itself comes on top. An error far below
    // the bound would mean that the test does not reach the worst case.
    assert!((1e-7..7e-7 + 3e-7).contains(&worst), "{worst:.2e}");
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn random_points_are_as_on_the_host(
        dim in 1usize..9,
        sizes in (1usize..30, 1usize..200),
        spread in 0.1f64..12.0,
        coefficient in 0.05f64..4.0,
        seed: u64,
    ) {
        if !runs() {
            return Ok(());
        }
        let expr = (-(x(0, dim).sqdist(&y(1, dim)) * s(2))).exp();
        let mut rng = Rng::new(seed);
        let (m, n) = sizes;
        let mut points = |rows: usize| {
            let values = rng.vec(rows * dim, -spread, spread);
            Tensor::new(&[rows, dim], values.iter().map(|v| *v as f32 as f64).collect())
        };
        let tensors = vec![points(m), points(n)];
        let (problem, forms) = both(problem(&expr, sizes, tensors, &[coefficient as f32 as f64]));
        let want = problem.reference();
        for values in forms {
            for (got, want) in values.iter().zip(&want) {
                let off = (got - want).abs();
                prop_assert!(off <= 1e-6 * (1.0 + want), "{got} instead of {want}");
            }
        }
    }
}
