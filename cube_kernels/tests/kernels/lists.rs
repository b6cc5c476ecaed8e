//! Long lists of smallest values, and other work that a device may end early without an error.
//!
//! Some drivers end a unit after a number of iterations of its loops. The rest is not computed, and nothing reports
//! that. The values are such that each column is inserted, so that the last iteration matters.

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, LaunchError, Precision, ReductionKind, Wanted,
    expr::Var,
    plan::{Device, PlanError},
};
use cubecl::prelude::*;

use crate::{
    device::{
        Problem, Runtime, Tensor, assert_close, client, not_of_kernels, precisions, runtime,
        skipped, small_gpu,
    },
    support::{Rng, gaussian, x, y},
};

/// Adds 1 for each of `inner` iterations in each of `outer`, and sets a flag after the last.
#[cube(launch_unchecked)]
fn count(out: &mut [u32], outer: u32, inner: u32) {
    let mut sum = 0u32;
    for i in 0..outer {
        for k in 0..inner {
            // The compiler must not know that the sum is a product.
            sum += 1u32 + ((i ^ k) >> 31u32);
        }
    }
    out[0] = sum;
    out[1] = 1u32;
}

#[test]
fn a_unit_does_all_iterations_that_it_is_taken_to_do() {
    let client = client();
    let limit = Device::new(client.properties(), client.name()).max_iterations;
    let most = limit.unwrap_or(1 << 22) as u32;
    // The test that ends a loop is counted as an iteration, too.
    for inner in [1, 7, 250, 10_000] {
        let outer = (most - 1) / (inner + 2);
        let out = client.create_from_slice(u32::as_bytes(&[0, 0]));
        // SAFETY: the kernel writes two values, and the buffer has two.
        unsafe {
            count::launch_unchecked(
                &client,
                CubeCount::new_single(),
                CubeDim::new_single(),
                BufferArg::from_raw_parts(out.clone(), 2),
                outer,
                inner,
            );
        }
        let bytes = client.read_one(out).expect("the device answers");
        assert_eq!(
            u32::from_bytes(&bytes),
            [outer * inner, 1],
            "{outer} x {inner}"
        );
    }
}

/// Distances to columns that descend, so that each column is nearer than those before it and is inserted. Or random
/// squared distances, many of which are equal. The values are exact in every type.
fn distances((m, n): (usize, usize), reduced: Axis, descending: bool) -> Problem {
    let mut rng = Rng::new(7);
    let tensor = |var: &Var| {
        let rows = if var.axis() == Some(Axis::I) { m } else { n };
        if var.axis() != Some(reduced) {
            Tensor::new(&[rows, 1], (0..rows).map(|k| (k % 5) as f64).collect())
        } else if descending {
            Tensor::new(&[rows, 1], (0..rows).rev().map(|k| k as f64).collect())
        } else {
            Tensor::random(&[rows, 1], &mut rng, 0.0, 512.0).rounded(1.0)
        }
    };
    let expr = match descending {
        true => x(0, 1) + y(1, 1),
        false => x(0, 1).sqdist(&y(1, 1)),
    };
    Problem::new(&expr, reduced, &[], (m, n), tensor, |_| 0.0)
}

#[track_caller]
fn assert_lists(problem: &Problem) {
    let (values, indices) = problem.reference_with_indices();
    for precision in precisions() {
        let got = problem.run_for(&client(), *precision, Wanted::BOTH);
        let (own, columns) = got.expect("it launches");
        let wrong = own.iter().zip(&values).filter(|(a, b)| a != b).count();
        let context = format!("{:?} of {} x {}", problem.reduction, problem.m, problem.n);
        assert_eq!(wrong, 0, "wrong values of {}, {context}", values.len());
        let wrong = columns.iter().zip(&indices).filter(|(a, b)| a != b).count();
        assert_eq!(wrong, 0, "wrong columns of {}, {context}", indices.len());
    }
}

#[test]
fn lists_of_few_rows_are_those_of_the_definition() {
    for (m, n, k) in [
        (17, 300, 256),
        (17, 300, 300),
        (3, 2500, 17),
        (2, 2000, 100),
        (1, 1300, 1024),
        // Longer lists than there are columns.
        (2, 700, 1024),
        (3, 1, 40),
    ] {
        // Some drivers take long to compile kernels for such long lists, and LLVM takes minutes to emit PTX.
        let of_cuda = runtime() == Runtime::Cuda;
        if of_cuda && !matches!(k, 17 | 40 | 100) {
            skipped("LLVM takes minutes to emit PTX for so long lists");
            continue;
        }
        let all = k < 1000 && !of_cuda;
        let orders: &[bool] = if all { &[false, true] } else { &[true] };
        for descending in orders {
            let problem = distances((m, n), Axis::J, *descending);
            assert_lists(&problem.reduced_by(ReductionKind::Smallest { k }));
        }
    }
    let problem = distances((600, 3), Axis::I, true);
    assert_lists(&problem.reduced_by(ReductionKind::Smallest { k: 200 }));
}

#[test]
fn lists_of_many_columns_are_those_of_the_definition() {
    let (lengths, orders): (&[usize], &[bool]) = match runtime() {
        // LLVM takes minutes to emit PTX for long lists.
        Runtime::Cuda => (&[50], &[true]),
        _ => (&[50, 100, 256], &[false, true]),
    };
    for k in lengths.iter().copied() {
        for descending in orders.iter().copied() {
            let problem = distances((1, 70_000), Axis::J, descending);
            assert_lists(&problem.reduced_by(ReductionKind::Smallest { k }));
        }
    }
}

#[test]
fn lists_of_several_components_are_those_of_the_definition() {
    // The second component descends. Each component has its own list.
    let (m, n) = (4, 900);
    let tensor = |var: &Var| match var.axis() {
        Some(Axis::I) => Tensor::new(&[m, 1], (0..m).map(|k| k as f64).collect()),
        _ => {
            let row = |k: usize| [k as f64, -(k as f64), ((k * 37) % 101) as f64];
            Tensor::new(&[n, 3], (0..n).flat_map(row).collect())
        }
    };
    let expr = x(0, 1) + y(1, 3);
    let problem = Problem::new(&expr, Axis::J, &[], (m, n), tensor, |_| 0.0);
    assert_lists(&problem.reduced_by(ReductionKind::Smallest { k: 90 }));
}

/// Rows beside each other, for which the values rise, fall, or are all equal. So the lists of the lanes of a vector are
/// changed by different columns, and some much more often than others. Some values are infinite or NaN.
#[test]
fn lists_of_rows_that_differ_are_those_of_the_definition() {
    let (m, n) = (37, 1003);
    let tensor = |var: &Var| match var.axis() {
        Some(Axis::I) => {
            let signs = (0..m).map(|row| [1.0, -1.0, 0.0, 1.0, -1.0][row % 5]);
            Tensor::new(&[m, 1], signs.collect())
        }
        _ => {
            let value = |k: usize| match k % 100 {
                31 => f64::INFINITY,
                57 => f64::NEG_INFINITY,
                83 => f64::NAN,
                _ => (k / 4) as f64,
            };
            Tensor::new(&[n, 1], (0..n).map(value).collect())
        }
    };
    let expr = x(0, 1) * y(1, 1);
    for k in [17, 40] {
        let problem = Problem::new(&expr, Axis::J, &[], (m, n), tensor, |_| 0.0);
        assert_lists(&problem.reduced_by(ReductionKind::Smallest { k }));
    }
}

#[test]
fn lists_of_batches_are_those_of_the_definition() {
    let (batches, m, n) = (3, 2, 500);
    let mut rng = Rng::new(3);
    let tensor = |var: &Var| {
        let rows = if var.axis() == Some(Axis::I) { m } else { n };
        Tensor::random(&[batches, rows, 1], &mut rng, 0.0, 64.0).rounded(1.0)
    };
    let expr = x(0, 1).sqdist(&y(1, 1));
    let problem = Problem::new(&expr, Axis::J, &[batches], (m, n), tensor, |_| 0.0);
    assert_lists(&problem.reduced_by(ReductionKind::Smallest { k: 130 }));
}

#[test]
fn maxima_that_grow_with_each_column_are_right() {
    // The maximum grows with each column, so that all sums are rescaled each time.
    let (m, n, dim) = (2, 9000, 61);
    let score = |k: usize| k as f64 / 1024.0;
    let tensor = |var: &Var| match var.axis() {
        Some(Axis::I) => Tensor::new(&[m, 1], vec![1.0; m]),
        _ if var.dim == 1 => Tensor::new(&[n, 1], (0..n).map(score).collect()),
        _ => {
            let weight = |k: usize| ((k * 13) % 97) as f64 / 64.0;
            Tensor::new(&[n, var.dim], (0..n * var.dim).map(weight).collect())
        }
    };
    let expr = Expr::concat(vec![x(0, 1) * y(1, 1), y(2, dim)]);
    for kind in [
        ReductionKind::SoftmaxSum,
        ReductionKind::LogSumExp { scores: 1 },
    ] {
        let problem = Problem::new(&expr, Axis::J, &[], (m, n), tensor, |_| 0.0);
        problem.reduced_by(kind).check(1e-5, 1e-12);
    }
}

/// A device that ends units early, so that there are many parts, which are merged several times.
fn impatient(limit: usize) -> Device {
    let own = Device::new(client().properties(), client().name()).max_iterations;
    Device {
        max_iterations: Some(limit.min(own.unwrap_or(limit))),
        ..small_gpu()
    }
}

#[test]
fn parts_that_no_unit_can_merge_at_once_are_merged_in_turns() {
    if not_of_kernels() {
        return;
    }
    // Without a tile a unit merges more parts at once, so more columns are needed.
    let (m, n) = match small_gpu().shared_memory {
        0 => (3, 60_000),
        _ => (3, 6000),
    };
    for (k, kind) in ReductionKind::all()
        .chain([
            ReductionKind::Smallest { k: 3 },
            ReductionKind::Smallest { k: 40 },
        ])
        .enumerate()
    {
        let double = ReductionKind::Sum(Accumulation::Double);
        let expr = match kind {
            ReductionKind::SoftmaxSum | ReductionKind::LogSumExp { .. } => {
                Expr::concat(vec![x(0, 2).sqdist(&y(1, 2)), y(2, 3)])
            }
            ReductionKind::Product => (x(0, 1) * y(1, 2) * 1e-3).exp(),
            _ => gaussian(2, 2),
        };
        let problem = Problem::random(&expr, Axis::J, (m, n), k as u64, (-1.0, 1.0));
        let mut problem = problem.reduced_by(kind);
        let (values, indices) = problem.reference_with_indices();
        for precision in precisions() {
            if kind == double && !precisions().contains(&Precision::F64) {
                continue;
            }
            // The device with the smallest limit that can still run the reduction.
            let refused = |problem: &Problem| problem.run(&client(), *precision).is_err();
            for limit in (50..).step_by(10) {
                problem = problem.planned_for(impatient(limit));
                if !refused(&problem) {
                    break;
                }
            }
            let plan = problem.plan(&client(), *precision);
            assert!(plan.parts > plan.together, "{kind:?}: {plan:?}");
            let wanted = match kind {
                ReductionKind::Minimum
                | ReductionKind::Maximum
                | ReductionKind::Smallest { .. } => Wanted::BOTH,
                _ => Wanted::VALUES,
            };
            let got = problem.run_for(&client(), *precision, wanted);
            let (own, columns) = got.expect("it launches");
            let relative = match (precision, kind) {
                (Precision::F64, _) => 1e-12,
                // The factors are near 1, where half a unit in the last place is 6e-8, and the errors of all factors
                // add up.
                (_, ReductionKind::Product) => 8e-8 * n as f64,
                _ => 2e-5,
            };
            assert_close(&own, &values, relative);
            if *precision == Precision::F64 && wanted.indices {
                assert_eq!(columns, indices, "{kind:?}");
            }
        }
    }
}

#[test]
fn lists_that_no_unit_can_end_are_refused() {
    if not_of_kernels() {
        return;
    }
    let problem = distances((2, 5000), Axis::J, true);
    let problem = problem.reduced_by(ReductionKind::Smallest { k: 700 });
    for limit in [100, 2000] {
        let problem = distances((2, 5000), Axis::J, true);
        let problem = problem.reduced_by(ReductionKind::Smallest { k: 700 });
        let refused = problem
            .planned_for(impatient(limit))
            .run(&client(), Precision::F32);
        let error = refused.expect_err("there is no such plan");
        assert!(
            matches!(error, LaunchError::Plan(PlanError::TooLong { limit: own, .. }) if own == limit),
            "{error}"
        );
    }
    assert_lists(&problem.planned_for(impatient(20_000)));
}
