//! Times other schedules against the one that the planner chooses, on CubeCL's CPU runtime. The constants in
//! `src/plan/tuning.rs` are chosen by these measurements.
//!
//! ```text
//! cargo xtask bench schedules
//! ```
//!
//! For each workload one parameter is changed at a time. A figure is the time of the changed schedule divided by that
//! of the chosen schedule, each the least of several runs in turns. Below 1 the changed schedule is faster.

use std::time::Instant;

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, Formula, IntKind, Launch, Layout, Output, Precision, Program,
    ReductionKind, Spec, Wanted,
    expr::Var,
    plan::{Alone, Device, Plan, Registers, Schedule, Split, Strategy},
};
use cubecl::{
    prelude::*,
    zspace::{Shape, Strides},
};

/// The number of runs of a schedule. The least time counts.
const RUNS: usize = 7;

/// A reduction of `rows` rows and `columns` columns.
struct Workload {
    name: &'static str,
    expr: Expr,
    kind: ReductionKind,
    rows: usize,
    columns: usize,
    precision: Precision,
}

fn leaf(id: u64, axis: Option<Axis>, dim: usize) -> Expr {
    Expr::var(Var {
        id,
        axes: axis.into(),
        dim,
        scalar: false,
    })
}

fn gaussian(dim: usize, width: usize) -> Expr {
    let (x, y) = (leaf(0, Some(Axis::I), dim), leaf(1, Some(Axis::J), dim));
    (-x.sqdist(&y)).exp() * leaf(2, Some(Axis::J), width)
}

/// Scores, and values of as many components.
fn attention(dim: usize) -> Expr {
    let (x, y) = (leaf(0, Some(Axis::I), dim), leaf(1, Some(Axis::J), dim));
    Expr::concat(vec![x.dot(&y), leaf(2, Some(Axis::J), dim)])
}

fn workloads() -> Vec<Workload> {
    let sum = ReductionKind::Sum(Accumulation::Blocks);
    let workload = |name, expr, kind| Workload {
        name,
        expr,
        kind,
        rows: 10_000,
        columns: 10_000,
        precision: Precision::F32,
    };
    let distance = |dim| leaf(0, Some(Axis::I), dim).sqdist(&leaf(1, Some(Axis::J), dim));
    let smallest = |name, dim, k| workload(name, distance(dim), ReductionKind::Smallest { k });
    vec![
        workload("Gaussian, D = 1", gaussian(1, 1), sum),
        workload("Gaussian, D = 3", gaussian(3, 1), sum),
        workload("Gaussian, D = 10", gaussian(10, 1), sum),
        workload("Gaussian, D = 64", gaussian(64, 1), sum),
        workload("Gaussian, D = 3, 4 weights", gaussian(3, 4), sum),
        workload("Gaussian, D = 3, 16 weights", gaussian(3, 16), sum),
        workload("Gaussian, D = 3, 100 weights", gaussian(3, 100), sum),
        Workload {
            precision: Precision::F16,
            ..workload("Gaussian, D = 3, F16", gaussian(3, 1), sum)
        },
        Workload {
            rows: 10,
            columns: 10_000_000,
            ..workload("Gaussian, D = 3, 10 rows", gaussian(3, 1), sum)
        },
        Workload {
            rows: 2000,
            columns: 2000,
            ..workload("Gaussian, D = 3, 2000 points", gaussian(3, 1), sum)
        },
        workload(
            "logsumexp, D = 3",
            -distance(3),
            ReductionKind::LogSumExp { scores: 1 },
        ),
        Workload {
            rows: 4096,
            columns: 4096,
            ..workload(
                "attention, D = 64",
                attention(64),
                ReductionKind::SoftmaxSum,
            )
        },
        smallest("10 smallest, D = 3", 3, 10),
        smallest("10 smallest, D = 16", 16, 10),
        smallest("10 smallest, D = 64", 64, 10),
        Workload {
            rows: 1000,
            columns: 1_000_000,
            ..smallest("10 smallest, D = 3, 1000 rows", 3, 10)
        },
        smallest("20 smallest, D = 3", 3, 20),
        smallest("50 smallest, D = 3", 3, 50),
        smallest("50 smallest, D = 16", 16, 50),
        smallest("50 smallest, D = 64", 64, 50),
    ]
}

/// A workload with its operands on the device.
struct Run<'a> {
    workload: &'a Workload,
    client: Client,
    program: Program,
    tensors: Vec<TensorBinding>,
    output: TensorBinding,
}

fn tensor(client: &Client, shape: &[usize], precision: Precision, first: f32) -> TensorBinding {
    let len: usize = shape.iter().product();
    let value = |k: usize| first + (k as f32 * 0.618).fract();
    let handle = match precision {
        Precision::F16 => {
            let values: Vec<half::f16> = (0..len).map(|k| half::f16::from_f32(value(k))).collect();
            client.create_from_slice(half::f16::as_bytes(&values))
        }
        _ => {
            let values: Vec<f32> = (0..len).map(value).collect();
            client.create_from_slice(f32::as_bytes(&values))
        }
    };
    let mut strides = vec![1; shape.len()];
    for k in (1..shape.len()).rev() {
        strides[k - 1] = strides[k] * shape[k];
    }
    TensorBinding {
        handle: handle.binding(),
        strides: Strides::new(&strides),
        shape: Shape::from(shape.to_vec()),
        tiling: Default::default(),
    }
}

impl<'a> Run<'a> {
    fn new(workload: &'a Workload) -> Self {
        let client = cubecl::Device::Cpu(Default::default()).client();
        let (formula, leaves) = Formula::new(&workload.expr);
        let program = Program::lower(&formula, Axis::J);
        let operand = |(k, var): (usize, &Var)| {
            let rows = match var.axis() {
                Some(Axis::I) => workload.rows,
                _ => workload.columns,
            };
            tensor(
                &client,
                &[rows, var.dim],
                workload.precision,
                0.1 * k as f32,
            )
        };
        let tensors = leaves.iter().enumerate().map(operand).collect();
        let spec = Spec::new(workload.kind, Wanted::VALUES, program.dim);
        let entries = spec.entries();
        let output = tensor(&client, &[workload.rows, entries], Precision::F32, 0.0);
        Self {
            workload,
            client,
            program,
            tensors,
            output,
        }
    }

    fn launch(&self, strategy: Strategy) -> Launch<'_> {
        Launch {
            program: &self.program,
            symmetric: None,
            reduction: self.workload.kind,
            batch_shape: &[],
            rows: self.workload.rows,
            columns: self.workload.columns,
            fold: None,
            ranges: None,
            precision: self.workload.precision,
            values: Precision::F32,
            strategy,
        }
    }

    /// The plan, if the schedule is legal for the workload.
    fn plan(&self, strategy: Strategy) -> Option<Plan> {
        let device = Device::new(self.client.properties(), self.client.name());
        let layouts: Vec<Layout> = self
            .tensors
            .iter()
            .map(|tensor| Layout {
                shape: &tensor.shape,
                strides: &tensor.strides,
            })
            .collect();
        let launch = self.launch(strategy);
        let kernels = launch.kernels_as(
            &device,
            self.client.name(),
            &layouts,
            Wanted::VALUES,
            IntKind::I32,
        );
        kernels.ok().map(|kernels| kernels.plan().clone())
    }

    /// The time of one run in milliseconds.
    fn time(&self, strategy: &Strategy) -> f64 {
        let start = Instant::now();
        let output = Output {
            values: Some(self.output.clone()),
            ..Output::default()
        };
        self.launch(strategy.clone())
            .run(&self.client, self.tensors.clone(), &[], output)
            .expect("the schedule does");
        cubecl::future::block_on(self.client.sync()).expect("the kernel ends");
        start.elapsed().as_secs_f64() * 1e3
    }
}

/// The parameters that are changed, each with the schedules for its values.
fn variants(plan: &Plan, columns: usize) -> Vec<(&'static str, Vec<(String, Strategy)>)> {
    let Schedule::Alone(own) = plan.blueprint.schedule else {
        unreachable!("units of a CPU stand alone");
    };
    let Registers { lanes, columns: q } = own.registers;
    let forced = |own: Alone, split| Strategy::Forced {
        schedule: Schedule::Alone(own),
        split,
    };
    let with = |lanes: usize, columns: usize| Alone {
        registers: Registers { lanes, columns },
        block: own.block / columns * columns,
        ..own
    };
    let row = |own: Alone, name: String| (name, forced(own, Some(plan.split)));
    vec![
        (
            "columns of a block",
            [32, 64, 128, 256, 512]
                .map(|block| (block / q * q).max(q))
                .map(|block| (block.to_string(), forced(Alone { block, ..own }, None)))
                .into(),
        ),
        (
            "columns together",
            [1, 2, 3, 4, 5, 6, 8, 12, 14]
                .map(|q| (q.to_string(), forced(with(lanes, q), None)))
                .into(),
        ),
        (
            "rows together",
            [lanes / 2, lanes, 2 * lanes]
                .map(|lanes| row(with(lanes, q), lanes.to_string()))
                .into(),
        ),
        (
            "columns of twice as many rows",
            [2, 3, 4, 6]
                .map(|q| (q.to_string(), forced(with(2 * lanes, q), None)))
                .into(),
        ),
        (
            "converted once a block",
            [false, true]
                .map(|yes| {
                    row(
                        Alone {
                            in_place: !yes,
                            ..own
                        },
                        yes.to_string(),
                    )
                })
                .into(),
        ),
        (
            "parts of columns",
            [1, 2, 4, 8, 16, 32]
                .map(|parts| {
                    let columns = columns.div_ceil(parts).next_multiple_of(own.block);
                    let split = Split { columns, steps: 1 };
                    (parts.to_string(), forced(own, Some(split)))
                })
                .into(),
        ),
        (
            "bound of one in",
            [None, Some(1), Some(4), Some(16), Some(64), Some(256)]
                .map(|ahead| {
                    let name = ahead.map_or("none".to_string(), |n| n.to_string());
                    row(Alone { ahead, ..own }, name)
                })
                .into(),
        ),
    ]
}

fn main() {
    let only = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    for workload in workloads() {
        if only
            .as_ref()
            .is_some_and(|only| !workload.name.contains(only.as_str()))
        {
            continue;
        }
        let run = Run::new(&workload);
        let plan = run.plan(Strategy::Auto).expect("a plan exists");
        run.time(&Strategy::Auto);
        let least = (0..RUNS)
            .map(|_| run.time(&Strategy::Auto))
            .fold(f64::MAX, f64::min);
        println!(
            "\n{}: {least:.2} ms, {} parts, {:?}",
            workload.name, plan.parts, plan.blueprint.schedule
        );
        for (what, all) in variants(&plan, workload.columns) {
            let mut line = format!("  {what}:");
            for (name, strategy) in all {
                let Some(own) = run.plan(strategy.clone()) else {
                    continue;
                };
                run.time(&strategy);
                let (mut time, mut chosen) = (f64::MAX, f64::MAX);
                for _ in 0..RUNS {
                    time = time.min(run.time(&strategy));
                    chosen = chosen.min(run.time(&Strategy::Auto));
                }
                let same =
                    own.blueprint.schedule == plan.blueprint.schedule && own.split == plan.split;
                let mark = if same { "*" } else { "" };
                line += &format!("  {name}{mark} {:.2}", time / chosen);
            }
            println!("{line}");
        }
    }
}
