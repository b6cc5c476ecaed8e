//! Measures how many pairs per second the engine on the host reduces:
//! `cargo run -p burn-lazy-kernels --example host_rates`. With the feature `rayon` it uses several threads.
//!
//! The first argument selects the workloads whose names begin with it. With a second argument only the best set of
//! instructions of the processor is measured.

use std::time::Instant;

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, Formula, Precision, Program, ReductionKind, Wanted,
    expr::Var,
    host::{HostLaunch, HostProgram, HostSlice, HostTensor, Instructions},
};

fn operand(id: u64, axis: Axis, dim: usize) -> Expr {
    Expr::var(Var {
        id,
        axes: Some(axis).into(),
        dim,
        scalar: false,
    })
}

/// The Gaussian kernel times weights.
fn gaussian(dim: usize, width: usize) -> Expr {
    (-distances(dim)).exp() * operand(2, Axis::J, width)
}

fn distances(dim: usize) -> Expr {
    operand(0, Axis::I, dim).sqdist(&operand(1, Axis::J, dim))
}

/// The shortest time of several runs, in seconds.
fn seconds(mut run: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    let mut turns = 0;
    let start = Instant::now();
    while turns < 3 || start.elapsed().as_secs_f64() < 0.5 {
        let own = Instant::now();
        run();
        best = best.min(own.elapsed().as_secs_f64());
        turns += 1;
    }
    best
}

fn measure(name: &str, expr: &Expr, kind: ReductionKind, points: usize, double: bool) {
    // The first argument selects the workloads whose names begin with it.
    let only = std::env::args().nth(1);
    if only.is_some_and(|only| !name.starts_with(&only)) {
        return;
    }
    let (formula, leaves) = Formula::new(expr);
    let program = HostProgram::new(&Program::lower(&formula, Axis::J));
    let mut seed = 1u64;
    let mut random = move || {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 40) as f64 / (1u64 << 24) as f64
    };
    let values: Vec<Vec<f64>> = leaves
        .iter()
        .map(|var| (0..points * var.dim).map(|_| random()).collect())
        .collect();
    let singles: Vec<Vec<f32>> = values
        .iter()
        .map(|values| values.iter().map(|value| *value as f32).collect())
        .collect();
    let shapes: Vec<[usize; 2]> = leaves.iter().map(|var| [points, var.dim]).collect();
    let strides: Vec<[isize; 2]> = leaves.iter().map(|var| [var.dim as isize, 1]).collect();
    let tensors: Vec<HostTensor> = (0..leaves.len())
        .map(|k| HostTensor {
            data: match double {
                true => HostSlice::F64(&values[k]),
                false => HostSlice::F32(&singles[k]),
            },
            shape: &shapes[k],
            strides: &strides[k],
            start: 0,
        })
        .collect();
    let precision = if double {
        Precision::F64
    } else {
        Precision::F32
    };
    let all = Instructions::all();
    // With a second argument only the best set of instructions of the processor is measured.
    let best = if std::env::args().len() > 2 {
        all.len() - 1
    } else {
        0
    };
    for &instructions in &all[best..] {
        let launch = HostLaunch {
            program: &program,
            reduction: kind,
            batch_shape: &[],
            rows: points,
            columns: points,
            fold: None,
            ranges: None,
            precision,
            values: precision,
            instructions,
        };
        let best = seconds(|| {
            let output = launch.run(&tensors, &[], Wanted::VALUES);
            std::hint::black_box(output.expect("the operands fit"));
        });
        let pairs = (points * points) as f64;
        println!(
            "{name:24} {precision:?} {points:6} points, {instructions:?}: {:8.1} us, {:7.3} G pairs/s",
            best * 1e6,
            pairs / best / 1e9
        );
    }
}

fn main() {
    let sum = ReductionKind::Sum(Accumulation::Blocks);
    measure("gaussian 3", &gaussian(3, 1), sum, 10_000, false);
    measure("gaussian 3", &gaussian(3, 1), sum, 100, false);
    measure("gaussian 3", &gaussian(3, 1), sum, 3_000, true);
    measure("gaussian 3 x 16", &gaussian(3, 16), sum, 5_000, false);
    measure("gaussian 64", &gaussian(64, 1), sum, 5_000, false);
    let smallest = ReductionKind::Smallest { k: 10 };
    measure("10 smallest 3", &distances(3), smallest, 10_000, false);
    let log_sum_exp = ReductionKind::LogSumExp { scores: 1 };
    measure("logsumexp 3", &-distances(3), log_sum_exp, 5_000, false);
}
