//! Schedules that the planner would not choose. They are refused with a reason, or give the right result. So a wrong
//! constant of the planner can only affect speed.

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, LaunchError, Precision, ReductionKind, Wanted,
    expr::Var,
    plan::{
        Alone, Device, Matrices, PlanError, Registers, Schedule, Split, Strategy, Strips, Tiled,
    },
};
use proptest::{strategy::Strategy as _, test_runner::TestRunner};

use crate::{
    device::{
        Problem, Runtime, Tensor, assert_close, client, not_of_kernels, precisions, runtime,
        small_gpu,
    },
    matrices,
    random::config,
    reductions,
    support::{Rng, gaussian, x, y},
};

/// The number of kinds of schedules.
const KINDS: usize = 4;

/// A problem and a schedule, each drawn from a random number.
#[derive(Clone, Copy, Debug)]
struct Case {
    kind: usize,
    problem: u64,
    schedule: u64,
}

fn case() -> impl proptest::strategy::Strategy<Value = Case> {
    (0..KINDS, 0u64..1 << 32, 0u64..1 << 32).prop_map(|(kind, problem, schedule)| Case {
        kind,
        problem,
        schedule,
    })
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.below(from.len())]
}

/// A random size: small, near the size of a vector or block, or several blocks.
fn size(rng: &mut Rng) -> usize {
    let near = pick(rng, &[2, 8, 16, 32, 64, 128]);
    match rng.below(3) {
        0 => 1 + rng.below(6),
        1 => near - 1 + rng.below(3),
        _ => 1 + rng.below(300),
    }
}

/// A random formula with a random reduction.
fn problem(kind: usize, rng: &mut Rng) -> Problem {
    let (sum, wide) = (Accumulation::Blocks, pick(rng, &[32, 40]));
    let (dim, reduction) = pick(rng, &reductions::all_kinds());
    let points = pick(rng, &[1, 3, 17, 20]);
    let (expr, reduction) = match (kind, rng.below(2)) {
        (2, 0) => (x(0, points).dot(&y(1, points)), ReductionKind::Sum(sum)),
        (2, _) => (gaussian(points, wide), ReductionKind::Sum(sum)),
        (3, _) => (gaussian(points, 1), ReductionKind::Sum(sum)),
        (_, 0) => (gaussian(points, 1), ReductionKind::Sum(sum)),
        (_, _) => (reductions::formula(reduction, dim), reduction),
    };
    let (m, n) = (size(rng), size(rng));
    let (m, n) = if kind == 3 { (n, n) } else { (m, n) };
    let reduced = if kind == 3 || rng.below(2) == 0 {
        Axis::J
    } else {
        Axis::I
    };
    let expr = match reduced {
        Axis::J => expr,
        Axis::I => expr.transpose(),
    };
    let batch: &[usize] = match rng.below(3) {
        0 if kind != 3 => &[2],
        _ => &[],
    };
    let same = kind == 3;
    let mut known: Vec<(u64, Tensor)> = Vec::new();
    let mut values = Rng::new(rng.below(1 << 30) as u64);
    let tensor = |var: &Var| {
        let id = if same && var.id == 1 { 0 } else { var.id };
        if let Some((_, tensor)) = known.iter().find(|(other, _)| *other == id) {
            return tensor.clone();
        }
        let length = match var.axis() {
            Some(Axis::I) => Some(m),
            Some(Axis::J) => Some(n),
            None => None,
        };
        let shape: Vec<usize> = batch
            .iter()
            .copied()
            .chain(length)
            .chain([var.dim])
            .collect();
        let new = Tensor::random(&shape, &mut values, 0.2, 1.0);
        known.push((id, new.clone()));
        new
    };
    let problem =
        Problem::new(&expr, reduced, batch, (m, n), tensor, |_| 0.7).reduced_by(reduction);
    match (kind, rng.below(4)) {
        (3, _) => problem.of_the_same_points(0),
        (_, 0) if matches!(reduction, ReductionKind::Sum(_)) => {
            let rows = problem.rows_and_columns().0;
            problem.folded_into(1 + rng.below(rows))
        }
        _ => problem,
    }
}

fn registers(rng: &mut Rng, device: &Device) -> Registers {
    let lanes: &[usize] = match device.cores {
        Some(_) => &[1, 2, 4, 8, 16, 32],
        None => &[1, 2, 4],
    };
    // Compilers of shaders take minutes for many columns.
    let columns: &[usize] = match runtime() {
        Runtime::Cpu | Runtime::Cuda => &[1, 2, 3, 4, 4, 5, 8, 14],
        Runtime::Wgpu | Runtime::Vulkan => &[1, 2, 3, 4],
    };
    Registers {
        lanes: pick(rng, lanes),
        columns: pick(rng, columns),
    }
}

/// A random schedule of the kind of the case, if there is one, and the device that it is for.
fn schedule(case: &Case, problem: &Problem, precision: Precision) -> (Device, Option<Schedule>) {
    let rng = &mut Rng::new(case.schedule);
    let own = Device::new(client().properties(), client().name());
    let shared = Device {
        scales: runtime() == Runtime::Cpu,
        ..small_gpu()
    };
    let device = match (case.kind, rng.below(2)) {
        (0, 0) | (3, _) => own,
        (2, _) => matrices::device(),
        _ => shared,
    };
    let device = match runtime() {
        Runtime::Cpu => device,
        // The runtime may have less shared memory than the GPU of the tests.
        _ => Device {
            shared_memory: own.shared_memory.min(device.shared_memory),
            ..device
        },
    };
    let registers = registers(rng, &device);
    let block = registers.columns * (1 + rng.below(40));
    let schedule = match case.kind {
        0 => Some(Schedule::Alone(Alone {
            registers,
            block,
            in_place: rng.below(2) == 0,
            ahead: pick(rng, &[None, None, Some(1), Some(4)]),
        })),
        1 => Some(Schedule::Tiled(Tiled {
            registers,
            block,
            wide_loads: false,
            scaled: rng.below(4) == 0,
        })),
        // Software Vulkan takes minutes for it.
        2 if runtime() != Runtime::Cpu => None,
        2 => match problem
            .plan_for(&device, precision)
            .expect("a plan exists")
            .blueprint
            .schedule
        {
            Schedule::Matrices(planned) => Some(Schedule::Matrices(Box::new(Matrices {
                block: pick(rng, &[16, 32, 48, 64]),
                ..*planned
            }))),
            _ => None,
        },
        _ => Some(Schedule::Symmetric(Strips {
            registers,
            block,
            in_place: rng.below(2) == 0,
            rows: block * registers.lanes * (1 + rng.below(3)),
        })),
    };
    (device, schedule)
}

/// Compares the result of a case with the reference, unless the schedule is refused. Returns whether the kernel ran.
fn check(case: &Case) -> bool {
    let rng = &mut Rng::new(case.problem);
    let mut problem = problem(case.kind, rng);
    let precision = pick(rng, precisions());
    let (device, schedule) = schedule(case, &problem, precision);
    let Some(schedule) = schedule else {
        return false;
    };
    let (rows, columns) = problem.rows_and_columns();
    let steps = problem.fold.map_or(1, |fold| rows.div_ceil(fold));
    let split = Split {
        columns: schedule.block() * (1 + rng.below(columns.div_ceil(schedule.block()))),
        steps: 1 + rng.below(steps),
    };
    problem.strategy = Strategy::Forced {
        split: (rng.below(2) == 0).then_some(split),
        schedule: schedule.clone(),
    };
    let problem = problem.planned_for(device);
    let client = client();
    let plan = match problem.try_plan(&client, precision) {
        Ok(plan) => plan,
        Err(LaunchError::Plan(PlanError::Illegal { reason, .. })) => {
            assert!(!reason.is_empty());
            return false;
        }
        Err(LaunchError::Plan(PlanError::TooLong { .. })) => return false,
        Err(error) => panic!("{case:?}: {error}"),
    };
    assert_eq!(plan.blueprint.schedule, schedule);
    let listed = matches!(problem.reduction, ReductionKind::Smallest { .. });
    let wanted = if listed {
        Wanted::INDICES
    } else {
        Wanted::VALUES
    };
    let (values, indices) = match problem.run_for(&client, precision, wanted) {
        Ok(results) => results,
        // The runtime may not support sums in F64.
        Err(LaunchError::Unsupported { .. }) => return false,
        Err(error) => panic!("{case:?}: {error}"),
    };
    let (want, want_indices) = problem.reference_with_indices();
    if listed {
        assert_eq!(indices, want_indices, "{case:?} {plan:?}");
    } else {
        let relative = match precision {
            Precision::F64 => 1e-12,
            _ => 2e-5,
        };
        eprintln!("{case:?} {}", problem.formula);
        assert_close(&values, &want, relative);
    }
    true
}

#[test]
fn any_schedule_is_refused_or_right() {
    if not_of_kernels() {
        return;
    }
    // Shaders take long to compile.
    let cases = match runtime() {
        Runtime::Cpu | Runtime::Cuda => 120,
        Runtime::Wgpu => 80,
        Runtime::Vulkan => 20,
    };
    let ran = std::cell::Cell::new([0; KINDS]);
    let mut runner = TestRunner::new(proptest::test_runner::Config {
        max_shrink_iters: 0,
        ..config(cases)
    });
    let result = runner.run(&case(), |case| {
        let mut all = ran.get();
        all[case.kind] += usize::from(check(&case));
        ran.set(all);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let ran = ran.get();
    eprintln!("{ran:?} kernels ran");
    match runtime() {
        Runtime::Cpu => assert!(ran.iter().all(|ran| *ran >= 8), "{ran:?}"),
        _ => assert!(ran[0] > 0, "{ran:?}"),
    }
}

/// The reason why a schedule is refused.
fn reason(
    problem: Problem,
    device: Device,
    schedule: Schedule,
    split: Option<Split>,
    precision: Precision,
) -> String {
    let mut problem = problem.planned_for(device);
    problem.strategy = Strategy::Forced { schedule, split };
    match problem.try_plan(&client(), precision) {
        Err(LaunchError::Plan(error @ PlanError::Illegal { .. })) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn schedules_that_do_not_do_are_refused_with_the_reason() {
    let own = Device {
        shared_memory: 32 << 10,
        max_iterations: None,
        wide_loads: false,
        scales: false,
        ..small_gpu()
    };
    let of = |expr: &Expr| Problem::random(expr, Axis::J, (20, 30), 1, (0.0, 1.0));
    let registers = |lanes, columns| Registers { lanes, columns };
    let tiled = Tiled {
        registers: registers(1, 4),
        block: 128,
        wide_loads: false,
        scaled: false,
    };
    let alone = Alone {
        registers: registers(1, 4),
        block: 128,
        in_place: true,
        ahead: None,
    };
    let strips = Strips {
        registers: registers(1, 4),
        block: 8,
        in_place: true,
        rows: 16,
    };
    let short = gaussian(3, 1);
    let cases = [
        (
            &short,
            Schedule::Tiled(Tiled {
                registers: registers(3, 4),
                ..tiled
            }),
            "3 lanes",
        ),
        (
            &short,
            Schedule::Tiled(Tiled {
                registers: registers(8, 4),
                ..tiled
            }),
            "8 lanes",
        ),
        (
            &short,
            Schedule::Tiled(Tiled {
                registers: registers(1, 15),
                ..tiled
            }),
            "15 columns",
        ),
        (
            &short,
            Schedule::Tiled(Tiled {
                registers: registers(1, 0),
                ..tiled
            }),
            "0 columns",
        ),
        (
            &short,
            Schedule::Tiled(Tiled { block: 6, ..tiled }),
            "6 columns of a block",
        ),
        (
            &short,
            Schedule::Tiled(Tiled { block: 0, ..tiled }),
            "0 columns of a block",
        ),
        (
            &short,
            Schedule::Tiled(Tiled {
                block: 4096,
                ..tiled
            }),
            "4096 columns of a block",
        ),
        (
            &short,
            Schedule::Tiled(Tiled {
                wide_loads: true,
                ..tiled
            }),
            "at once",
        ),
        (
            &short,
            Schedule::Tiled(Tiled {
                scaled: true,
                ..tiled
            }),
            "not scaled",
        ),
        (&gaussian(500, 1), Schedule::Tiled(tiled), "bytes"),
        (
            &x(0, 3).exp(),
            Schedule::Tiled(tiled),
            "nothing of the columns",
        ),
        (
            &short,
            Schedule::Alone(Alone {
                ahead: Some(0),
                ..alone
            }),
            "0th column",
        ),
        (
            &short,
            Schedule::Alone(Alone {
                ahead: Some(4),
                ..alone
            }),
            "beforehand",
        ),
        (
            &gaussian(500, 1),
            Schedule::Alone(Alone {
                in_place: false,
                ..alone
            }),
            "bytes",
        ),
        (&short, Schedule::Symmetric(strips), "symmetric"),
        (
            &short,
            Schedule::Matrices(Box::new(Matrices {
                block: 64,
                wide_loads: false,
                product: None,
                weighted: None,
                left_out: Vec::new(),
            })),
            "nothing",
        ),
    ];
    for (expr, schedule, want) in cases {
        let error = reason(of(expr), own, schedule.clone(), None, Precision::F32);
        assert!(error.contains(want), "{schedule:?}: {error}");
    }
}

#[test]
fn parts_bounds_and_strips_that_do_not_do_are_refused_with_the_reason() {
    let registers = Registers {
        lanes: 2,
        columns: 4,
    };
    let gpu = Device {
        shared_memory: 32 << 10,
        max_iterations: None,
        ..small_gpu()
    };
    let cpu = Device {
        cores: Some(2),
        ..gpu
    };
    let random = |expr: &Expr| Problem::random(expr, Axis::J, (20, 30), 1, (0.0, 1.0));
    let alone = Alone {
        registers,
        block: 8,
        in_place: true,
        ahead: None,
    };
    for (split, want) in [
        ((0, 1), "0 columns of a part"),
        ((12, 1), "12 columns of a part"),
        ((8, 0), "0 of 4 rows"),
        ((8, 5), "5 of 4 rows"),
    ] {
        let split = Split {
            columns: split.0,
            steps: split.1,
        };
        let problem = random(&gaussian(3, 1)).folded_into(5);
        let error = reason(
            problem,
            gpu,
            Schedule::Alone(alone),
            Some(split),
            Precision::F32,
        );
        assert!(error.contains(want), "{error}");
    }
    // Columns in 16 bits that are converted once a block are not available before the reduction.
    let lists = random(&x(0, 3).sqdist(&y(1, 3))).reduced_by(ReductionKind::Smallest { k: 3 });
    let bounded = Alone {
        in_place: false,
        ahead: Some(1),
        ..alone
    };
    let error = reason(lists, gpu, Schedule::Alone(bounded), None, Precision::F16);
    assert!(error.contains("beforehand"), "{error}");
    let points = Rng::new(1).vec(3 * 20, 0.0, 1.0);
    let tensor = |var: &Var| Tensor::new(&[20, var.dim], points[..20 * var.dim].to_vec());
    let distances = (-x(0, 3).sqdist(&y(1, 3))).exp();
    for (device, rows, want) in [
        (cpu, 12, "12 rows of a strip"),
        (cpu, 0, "0 rows"),
        (gpu, 16, "CPU"),
    ] {
        let problem = Problem::new(&distances, Axis::J, &[], (20, 20), tensor, |_| 1.0);
        let strips = Strips {
            registers,
            block: 8,
            in_place: true,
            rows,
        };
        let schedule = Schedule::Symmetric(strips);
        let problem = problem.of_the_same_points(0);
        let error = reason(problem, device, schedule, None, Precision::F32);
        assert!(error.contains(want), "{error}");
    }
}
