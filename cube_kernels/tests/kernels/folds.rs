//! Sums whose rows are added up into fewer rows, against their definition in `f64`.

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, Precision, ReductionKind, Wanted, check_device,
    expr::{Place, Var},
    plan::Device,
};

use crate::{
    device::{
        Problem, Runtime, Tensor, assert_close, by_precision, client, precisions, runtime, takes,
    },
    support::{Rng, agree, gaussian, p, x, y},
};

/// Tolerances relative to the largest output.
const SINGLE: f64 = 2e-6;
const DOUBLE: f64 = 1e-13;

/// Numbers of rows just below, at and just above multiples of `fold`.
fn numbers_of_rows(fold: usize) -> Vec<usize> {
    let mut all = vec![1, fold - 1, fold, fold + 1];
    all.extend([3 * fold - 1, 3 * fold, 3 * fold + 1]);
    all.retain(|rows| *rows > 0);
    all
}

/// The number of rows of a unit, and the number of rows that share a tile, on the device under
/// test.
fn lanes_and_worker(problem: &Problem) -> (usize, usize) {
    let plan = problem.plan(&client(), Precision::F32);
    let units = match plan.blueprint.schedule.shared_tile() {
        true => plan.blueprint.units,
        false => 1,
    };
    (plan.lanes(), plan.lanes() * units)
}

/// Checks sums of `expr` over random operands for values of `fold` around the rows of a unit and of
/// a cube.
fn check_folds(expr: &Expr, reduced: Axis, columns: usize, tile: bool) {
    let problem = |rows: usize, fold: usize| {
        let sizes = match reduced {
            Axis::J => (rows, columns),
            Axis::I => (columns, rows),
        };
        Problem::random(expr, reduced, sizes, rows as u64, (0.0, 1.0)).folded_into(fold)
    };
    let (lanes, worker) = lanes_and_worker(&problem(1000, 100));
    for fold in [1, lanes, lanes + 1, worker, worker + lanes + 1] {
        for rows in numbers_of_rows(fold) {
            let problem = problem(rows, fold);
            let plan = problem.plan(&client(), Precision::F32);
            let shared = tile && matches!(runtime(), Runtime::Cuda | Runtime::Wgpu);
            assert_eq!(plan.blueprint.schedule.shared_tile(), shared);
            problem.check(SINGLE, DOUBLE);
        }
    }
}

#[test]
fn rows_of_all_numbers_are_added_up() {
    check_folds(&gaussian(3, 2), Axis::J, 21, true);
    check_folds(&gaussian(3, 2), Axis::I, 21, true);
}

#[test]
fn rows_are_added_up_without_a_tile() {
    check_folds(&(x(0, 3).exp() * p(1, 3)), Axis::J, 5, false);
}

#[test]
fn rows_are_added_up_in_loops() {
    check_folds(&gaussian(20, 18), Axis::J, 9, true);
}

#[test]
fn rows_that_are_added_up_know_their_index() {
    let (i, j) = (
        Expr::place(Place::Index(Axis::I)),
        Expr::place(Place::Index(Axis::J)),
    );
    let offset = Expr::place(Place::Offset);
    // The squared index is computed once per row, the product with the index j once per pair.
    let expr = x(0, 2) * i.square() * 1e-4 + y(1, 2) * j + offset;
    check_folds(&expr, Axis::J, 7, true);
    check_folds(&expr, Axis::I, 7, true);
}

#[test]
fn rows_of_each_batch_are_added_up() {
    let batches: [(&[usize], &[usize]); 2] = [(&[2, 3], &[3]), (&[2, 1], &[2, 3])];
    for (of_rows, of_columns) in batches {
        for rows in [10, 33, 34, 100] {
            let mut rng = Rng::new(rows as u64);
            let tensor = |var: &Var| {
                let (batch, length) = match var.axis() {
                    Some(Axis::I) => (of_rows, rows),
                    _ => (of_columns, 13),
                };
                let shape = [batch, &[length, var.dim]].concat();
                Tensor::random(&shape, &mut rng, 0.0, 1.0)
            };
            let sizes = (rows, 13);
            let problem = Problem::new(&gaussian(2, 2), Axis::J, &[2, 3], sizes, tensor, |_| 0.0);
            problem.folded_into(11).check(SINGLE, DOUBLE);
        }
    }
}

#[test]
fn rows_are_added_up_where_columns_are_split() {
    let problem = |kind| {
        let sizes = (50, 5001);
        Problem::random(&gaussian(3, 2), Axis::J, sizes, 1, (0.0, 1.0))
            .reduced_by(ReductionKind::Sum(kind))
            .folded_into(3)
    };
    for kind in [Accumulation::Blocks, Accumulation::Kahan] {
        let problem = problem(kind);
        assert!(problem.plan(&client(), Precision::F32).parts > 1);
        problem.check(SINGLE, DOUBLE);
    }
}

#[test]
fn rows_are_added_up_in_every_way_and_type() {
    let kinds = [
        Accumulation::Blocks,
        Accumulation::Kahan,
        Accumulation::Double,
    ]
    .map(ReductionKind::Sum);
    let all = [
        Precision::F32,
        Precision::F64,
        Precision::F16,
        Precision::BF16,
    ];
    // Small integers, which every type represents.
    let expr = x(0, 2) * y(1, 2);
    let tensor = |var: &Var| {
        let length = if var.axis() == Some(Axis::I) { 70 } else { 9 };
        let values = (0..2 * length).map(|k| (k % 5) as f64 - 1.0);
        Tensor::new(&[length, 2], values.collect())
    };
    for kind in kinds {
        let problem = Problem::new(&expr, Axis::J, &[], (70, 9), tensor, |_| 0.0)
            .reduced_by(kind)
            .folded_into(6);
        let want = problem.reference();
        for precision in all {
            let supported = check_device(&client(), precision, kind, Wanted::VALUES, 2).is_ok();
            if supported && takes(precision) {
                let got = problem.run(&client(), precision).expect("it is supported");
                let relative = match precision {
                    Precision::F16 => 1e-3,
                    Precision::BF16 => 8e-3,
                    _ => by_precision(precision, SINGLE, DOUBLE),
                };
                assert_close(&got, &want, relative);
            }
        }
    }
}

#[test]
fn special_values_of_a_row_are_added_once() {
    // The last row is the last lane of a unit, or the unit has more lanes after it.
    let fold = 64;
    for rows in [128, 129, 134] {
        for at in [rows - 1, rows - 2, 70, 0] {
            for special in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
                let tensor = |var: &Var| match var.axis() {
                    Some(Axis::I) => {
                        Tensor::new(&[rows, 1], vec![1.0; rows]).with(&[at, 0], special)
                    }
                    _ => Tensor::new(&[5, 1], vec![2.0; 5]),
                };
                let expr = x(0, 1) * y(1, 1);
                let problem = Problem::new(&expr, Axis::J, &[], (rows, 5), tensor, |_| 0.0);
                let problem = problem.folded_into(fold);
                for precision in precisions() {
                    let got = problem.run(&client(), *precision).expect("it launches");
                    for (k, got) in got.iter().enumerate() {
                        let count = (rows - k).div_ceil(fold) as f64;
                        let want = if k == at % fold {
                            special
                        } else {
                            10.0 * count
                        };
                        assert!(
                            agree(*got, want, 0.0),
                            "sum {k} with {special} in row {at} of {rows} is {got}, not {want}"
                        );
                    }
                }
            }
        }
    }
}

/// Rows whose sums are all `value`, added up into `fold` rows.
fn equal_rows(value: f64, rows: usize, fold: usize) -> Problem {
    let tensor = |var: &Var| match var.axis() {
        Some(Axis::I) => Tensor::new(&[rows, 1], vec![value; rows]),
        _ => Tensor::new(&[1, 1], vec![1.0]),
    };
    let expr = x(0, 1) * y(1, 1);
    Problem::new(&expr, Axis::J, &[], (rows, 1), tensor, |_| 0.0).folded_into(fold)
}

#[test]
fn sums_of_many_rows_keep_their_digits() {
    // Added one by one in single precision, the sum loses the last digits of the term.
    let term = 1.0 + 2f64.powi(-16);
    let rows = 200_000;
    let client = client();
    let limit = Device::new(client.properties(), client.name()).max_iterations;
    // Fewer rows per sum than a device with a limit of iterations takes in one part, and more.
    for fold in [rows / 20, 2] {
        let problem = equal_rows(term, rows, fold);
        let steps = rows / fold;
        let split = limit.is_some_and(|limit| limit < steps);
        let plan = problem.plan(&client, Precision::F32);
        assert_eq!(plan.split.steps < steps, split);
        let got = problem.run(&client, Precision::F32).expect("it launches");
        let want = steps as f64 * term;
        for got in got {
            assert!((got - want).abs() <= 3e-7 * want, "{got}, not {want}");
        }
    }
}

#[test]
fn rows_that_overflow_are_infinite() {
    for precision in precisions() {
        let large = by_precision(*precision, f32::MAX as f64, f64::MAX);
        for kind in [Accumulation::Blocks, Accumulation::Kahan] {
            let problem = equal_rows(large, 50, 7).reduced_by(ReductionKind::Sum(kind));
            let got = problem.run(&client(), *precision).expect("it launches");
            assert_eq!(got, [f64::INFINITY; 7]);
        }
    }
}
