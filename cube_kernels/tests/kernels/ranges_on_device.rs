//! Reductions of pairs in ranges, compared with a reference over the pairs that exist.
//!
//! The tolerance is that of reductions over all pairs.

// A list with a single range is intended.
#![allow(clippy::single_range_in_vec_init)]

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, LaunchError, Precision, Ranges, ReductionKind, Wanted,
    host::{HostError, Instructions},
    plan::{Alone, Registers, Schedule, Strategy, Tiled},
};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{
    device::{
        Engine, Problem, Runtime, Tensor, client, engine, not_of_kernels, precisions, runtime,
        skipped, small_gpu,
    },
    random::config,
    random_kernels::case,
    ranges::{Pattern, patterns},
    reductions::{
        ALL_WANTED, all_kinds, check_given, formula, precisions_of, problem_of, supported,
    },
    support::{Rng, x, y},
};

/// A formula of `dim` components that `kind` reduces over any number of columns. Weights of exponentials are positive:
/// a sum of few terms of both signs may be near 0, and its logarithm has no correct digits.
pub fn problem(
    kind: ReductionKind,
    dim: usize,
    reduced: Axis,
    sizes: (usize, usize),
    batch: &[usize],
    seed: u64,
) -> Problem {
    let formula = formula(kind, dim);
    let expr = match kind {
        ReductionKind::LogSumExp { scores: 1 } => {
            let score = formula.slice(0, 1);
            Expr::concat(vec![score, y(3, dim) * y(3, dim) + 0.5])
        }
        _ => formula,
    };
    problem_of(&expr, reduced, sizes, batch, seed).reduced_by(kind)
}

/// The rows and columns of the ranges that each reduction is tested with.
pub fn size_for(kind: ReductionKind) -> [usize; 2] {
    match kind {
        // Products of many numbers overflow.
        ReductionKind::Product => [45, 31],
        _ => [45, 151],
    }
}

/// A formula of `dim` components that `kind` reduces over `rows` and `columns`. Those of three components are reduced
/// over i, so that both axes are tested.
pub fn problem_of_size(kind: ReductionKind, dim: usize, [rows, columns]: [usize; 2]) -> Problem {
    let (reduced, sizes) = match dim {
        3 => (Axis::I, (columns, rows)),
        _ => (Axis::J, (rows, columns)),
    };
    problem(kind, dim, reduced, sizes, &[], 3)
}

/// Asserts that `problem` gives the result of the reference over the pairs of `pattern`.
fn check(problem: &Problem, pattern: &Pattern, precision: Precision, all: &[Wanted], what: &str) {
    if supported(problem.reduction, precision) {
        let given = problem.reference_where(&|b, i, j| pattern.exists(b, i, j));
        check_given(problem, precision, all, given, what);
    }
}

#[test]
fn every_reduction_of_ranges_matches_its_definition() {
    // More components use the same code.
    let kinds = all_kinds().into_iter().filter(|(dim, _)| *dim < 10);
    for (at, (dim, kind)) in kinds.enumerate() {
        let size = size_for(kind);
        for (k, (name, ranges, pattern)) in patterns(size, 1).into_iter().enumerate() {
            let problem = problem_of_size(kind, dim, size).in_ranges(ranges);
            let wanted = if (at + k).is_multiple_of(3) {
                &ALL_WANTED[..]
            } else {
                &[Wanted::BOTH]
            };
            for precision in precisions_of(dim) {
                check(&problem, &pattern, *precision, wanted, name);
            }
        }
    }
}

#[test]
fn ranges_of_all_sizes_match_their_definition() {
    // Sizes around those of a vector of lanes, a block, and the units of a cube. Launches take long where kernels do
    // not run on a processor, so fewer sizes are tested there.
    let sizes: &[usize] = match (engine(), runtime()) {
        (Engine::Host, _) | (_, Runtime::Cpu) => &[0, 1, 2, 15, 16, 17, 33, 127, 128, 129, 300],
        _ => &[0, 1, 17, 129, 300],
    };
    let kinds = [
        ReductionKind::Sum(Accumulation::Blocks),
        ReductionKind::Minimum,
        ReductionKind::SoftmaxSum,
    ];
    // All numbers of rows with few and with many columns, and the other way round.
    let of_rows = sizes.iter().flat_map(|m| [(*m, 1), (*m, 129)]);
    let of_columns = sizes.iter().flat_map(|n| [(17, *n), (129, *n)]);
    for (m, n) in of_rows.chain(of_columns).filter(|(_, n)| *n > 0) {
        for kind in kinds {
            for (name, ranges, pattern) in patterns([m, n], (m * 1000 + n) as u64) {
                let problem = problem(kind, 1, Axis::J, (m, n), &[], 7).in_ranges(ranges);
                let what = format!("{name}, {m} x {n}");
                check(&problem, &pattern, Precision::F32, &[Wanted::BOTH], &what);
            }
        }
    }
}

#[test]
fn batches_have_the_same_ranges_or_ranges_of_their_own() {
    let kinds = [
        ReductionKind::Sum(Accumulation::Blocks),
        ReductionKind::Maximum,
        ReductionKind::SoftmaxSum,
        ReductionKind::Smallest { k: 3 },
        ReductionKind::Variance { unbiased: true },
    ];
    let size = [21, 90];
    for kind in kinds {
        for (name, ranges, pattern) in patterns(size, 2) {
            let problem = problem(kind, 1, Axis::J, (size[0], size[1]), &[2, 3], 4);
            let problem = problem.in_ranges(ranges);
            check(&problem, &pattern, Precision::F32, &[Wanted::BOTH], name);
        }
        // Only the last batch dimension has ranges of its own.
        let own: Vec<(Ranges, Pattern)> = patterns(size, 3)
            .into_iter()
            .map(|(_, ranges, pattern)| (ranges, pattern))
            .take(3)
            .collect();
        let (ranges, each): (Vec<Ranges>, Vec<Pattern>) = own.into_iter().unzip();
        let pattern = Pattern(each.into_iter().flat_map(|own| own.0).collect());
        for shape in [&[3][..], &[1, 3]] {
            let ranges = Ranges::batched(shape, &ranges).expect("as many as batches");
            let problem = problem(kind, 1, Axis::J, (size[0], size[1]), &[2, 3], 4);
            let problem = problem.in_ranges(ranges);
            check(
                &problem,
                &pattern,
                Precision::F32,
                &[Wanted::BOTH],
                "three of six",
            );
        }
    }
}

/// There are few rows, so that columns are split into parts, which are merged. A part may cut a range, or be empty.
#[test]
fn ranges_in_parts_match_their_definition() {
    for (dim, kind) in all_kinds() {
        if kind == ReductionKind::Product || dim == 10 {
            continue; // Products overflow, and other dimensions use the same code.
        }
        let size = [3, 6001];
        for (name, ranges, pattern) in patterns(size, 4) {
            if name == "neighbors" {
                continue; // Single columns are slow, and other tests cover them.
            }
            let problem = problem(kind, dim, Axis::J, (size[0], size[1]), &[2], 4);
            let problem = problem.in_ranges(ranges);
            if name == "many" && engine() == Engine::Kernels {
                assert!(problem.plan(&client(), Precision::F32).parts > 1);
            }
            check(&problem, &pattern, Precision::F32, &[Wanted::BOTH], name);
        }
    }
}

/// If all values of a row are infinite, the first column that exists is found. Without columns none is found.
#[test]
fn the_first_of_infinite_values_is_that_of_the_ranges() {
    let size = [20, 5000];
    let ranges = Ranges::new(
        size,
        &[0..7, 7..9, 9..20],
        &[2, 2, 3],
        &[300..400, 700..4000, 41..42],
    );
    let ranges = ranges.expect("they are disjoint");
    for (kind, infinity) in [
        (ReductionKind::Minimum, f64::INFINITY),
        (ReductionKind::Maximum, f64::NEG_INFINITY),
    ] {
        let value = Tensor::new(&[1, 1], vec![infinity]).repeated(0, size[1]);
        let rows = Tensor::new(&[size[0], 1], vec![0.0; size[0]]);
        let tensor = |var: &burn_lazy_kernels::expr::Var| match var.axis() {
            Some(Axis::J) => value.clone(),
            _ => rows.clone(),
        };
        let problem = Problem::new(
            &(x(0, 1) + y(1, 1)),
            Axis::J,
            &[],
            (size[0], size[1]),
            tensor,
            |_| 0.0,
        );
        let problem = problem.reduced_by(kind).in_ranges(ranges.clone());
        let run = problem.run_for(&client(), Precision::F32, Wanted::BOTH);
        let (values, indices) = run.expect("it is supported");
        assert_eq!(values, [infinity; 20]);
        let want = [vec![300; 7], vec![-1; 2], vec![41; 11]].concat();
        assert_eq!(indices, want);
    }
}

/// NaN in columns outside of all ranges has no effect. NaN in a column of a range has.
#[test]
fn what_is_in_no_range_is_not_read() {
    let size = [9, 200];
    let ranges = Ranges::new(size, &[0..4, 4..9], &[1, 3], &[10..70, 0..9, 100..200]);
    let ranges = ranges.expect("they are disjoint");
    let mut rng = Rng::new(8);
    let rows = Tensor::random(&[size[0], 1], &mut rng, -1.0, 1.0);
    let columns = Tensor::random(&[size[1], 1], &mut rng, -1.0, 1.0).with(&[80, 0], f64::NAN);
    for (at, seen) in [
        (9, [false, false]),
        (75, [false, false]),
        (69, [true, false]),
        (199, [false, true]),
    ] {
        let columns = columns.clone().with(&[at, 0], f64::NAN);
        let tensor = |var: &burn_lazy_kernels::expr::Var| match var.axis() {
            Some(Axis::J) => columns.clone(),
            _ => rows.clone(),
        };
        let sum = Problem::new(
            &(x(0, 1) * y(1, 1)),
            Axis::J,
            &[],
            (size[0], size[1]),
            tensor,
            |_| 0.0,
        );
        let got = sum
            .in_ranges(ranges.clone())
            .run(&client(), Precision::F32)
            .expect("it is supported");
        for (row, value) in got.iter().enumerate() {
            assert_eq!(
                value.is_nan(),
                seen[usize::from(row >= 4)],
                "NaN at {at}, row {row}"
            );
        }
    }
}

/// Every schedule that is legal for ranges gives the right result on a small device.
#[test]
fn every_schedule_of_ranges_matches_its_definition() {
    if not_of_kernels() {
        return;
    }
    let registers = |lanes, columns| Registers { lanes, columns };
    let alone = |lanes, columns, block, in_place| {
        Schedule::Alone(Alone {
            registers: registers(lanes, columns),
            block,
            in_place,
            ahead: None,
        })
    };
    let tiled = |lanes, columns, block| {
        Schedule::Tiled(Tiled {
            registers: registers(lanes, columns),
            block,
            wide_loads: false,
            scaled: false,
        })
    };
    let schedules = [
        alone(1, 1, 4, true),
        alone(4, 2, 6, true),
        alone(4, 4, 8, false),
        tiled(1, 4, 8),
        tiled(2, 1, 32),
    ];
    let size = [70, 150];
    let kinds = [
        ReductionKind::Sum(Accumulation::Blocks),
        ReductionKind::SoftmaxSum,
        ReductionKind::Minimum,
        ReductionKind::Smallest { k: 3 },
    ];
    for schedule in schedules {
        let tile = matches!(schedule, Schedule::Tiled(_)) || !schedule.in_place();
        if tile && small_gpu().shared_memory == 0 {
            skipped("there is no shared memory for a tile");
            continue;
        }
        for kind in kinds {
            for (name, ranges, pattern) in patterns(size, 9) {
                let mut problem = problem(kind, 3, Axis::J, (size[0], size[1]), &[], 4)
                    .in_ranges(ranges)
                    .planned_for(small_gpu());
                problem.strategy = Strategy::Forced {
                    schedule: schedule.clone(),
                    split: None,
                };
                let what = format!("{name} by {schedule:?}");
                check(&problem, &pattern, Precision::F32, &[Wanted::BOTH], &what);
            }
        }
    }
}

/// All pairs as ranges, in one segment or in two halves of the rows, give the same result as all pairs.
#[test]
fn random_formulas_of_all_pairs_in_ranges_are_those_of_all_pairs() {
    // The values of a formula do not depend on the ranges, so a few formulas are enough to test the loops over them.
    let cases = match runtime() {
        Runtime::Cpu => 16,
        _ => 6,
    };
    let mut runner = TestRunner::new(config(cases));
    let run = runner.run(&case(), |case| {
        let problem = case.problem();
        let (m, n) = problem.rows_and_columns();
        let precision = *precisions().last().expect("there is one");
        let run = |problem: &Problem| problem.run(&client(), precision).expect("it is supported");
        let whole = run(&problem);
        let one = Ranges::lengths(&[m], &[n]).expect("it is small");
        let half = m / 2;
        let two = Ranges::new([m, n], &[half..m, 0..half], &[1, 2], &[0..n, 0..n]);
        let mut problem = problem;
        for ranges in [one, two.expect("they cover the rows")] {
            problem = problem.in_ranges(ranges);
            for (a, b) in whole.iter().zip(run(&problem)) {
                // The columns may be cut into other blocks, so that rounding differs.
                let close = (a - b).abs() <= 1e-3 * a.abs().max(b.abs());
                let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
                prop_assert!(same || close, "{} and {} of {}", a, b, problem.formula);
            }
        }
        Ok(())
    });
    if let Err(error) = run {
        panic!("{error}");
    }
}

#[test]
fn ranges_of_another_matrix_are_refused() {
    let of = |m, n| {
        let problem = problem(ReductionKind::Minimum, 1, Axis::J, (5, 9), &[2], 1);
        problem.in_ranges(Ranges::causal([m, n]).expect("it is small"))
    };
    let batched = Ranges::batched(&[3], &vec![Ranges::causal([5, 9]).expect("it is small"); 3]);
    let batched = of(5, 9).in_ranges(batched.expect("three"));
    for problem in [of(5, 8), of(6, 9), batched] {
        if engine() == Engine::Host {
            let run = problem.run_on_host(Precision::F32, Wanted::VALUES, Instructions::detect());
            assert!(matches!(
                run,
                Err(HostError::Ranges {
                    rows: 5,
                    columns: 9,
                    ..
                })
            ));
        } else {
            let run = problem.run(&client(), Precision::F32);
            assert!(matches!(
                run,
                Err(LaunchError::Ranges {
                    rows: 5,
                    columns: 9,
                    ..
                })
            ));
        }
    }
}
