//! Properties of plans for synthetic devices. Nothing is launched.
//!
//! The devices stand for GPUs of several makers, the minimum that WebGPU guarantees, a software GPU, and CPUs with few
//! and many cores and with registers of several widths.

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, Formula, Precision, Program, ReductionKind, Spec, Wanted,
    plan::{
        self, Device, MatrixProduct, MatrixUnits, Packing, Plan, PlanError, Problem, Schedule,
        Sizes, Strategy as Choice,
    },
    program::{Space, WeightedSum},
};
use cubecl::ir::AddressType;
use proptest::prelude::*;

use crate::{
    random::config,
    support::{Rng, gaussian, p, s, x, y},
};

pub const GPU: Device = Device {
    cores: None,
    load_width: 128,
    registers: None,
    max_units: 1024,
    plane: 32,
    shared_memory: 228 * 1024,
    max_cubes: [65535; 3],
    processors: Some(132),
    wide_addresses: true,
    max_iterations: None,
    wide_loads: false,
    exp2: false,
    fused: false,
    scales: false,
    matrices: NO_MATRICES,
};

/// The matrix instructions of NVIDIA's cards.
const MATRICES: MatrixUnits = MatrixUnits {
    f16: Some([16, 16, 16]),
    bf16: Some([16, 16, 16]),
    tf32: Some([16, 16, 8]),
    emulated: false,
};

const NO_MATRICES: MatrixUnits = MatrixUnits {
    f16: None,
    bf16: None,
    tf32: None,
    emulated: false,
};

/// Devices with the limits of common GPUs.
fn gpus() -> Vec<Device> {
    let unclamped = Device {
        max_cubes: [i32::MAX as u32, 65535, 65535],
        ..GPU
    };
    let wide_planes = Device {
        plane: 64,
        shared_memory: 64 * 1024,
        processors: Some(304),
        ..GPU
    };
    let apple = Device {
        shared_memory: 32 * 1024,
        processors: None,
        wide_addresses: false,
        ..GPU
    };
    let web = Device {
        max_units: 256,
        shared_memory: 16 * 1024,
        ..apple
    };
    let software = Device {
        plane: 8,
        load_width: 256,
        shared_memory: 32 * 1024,
        processors: None,
        wide_addresses: false,
        ..GPU
    };
    let tiny = Device {
        max_units: 32,
        plane: 4,
        shared_memory: 1024,
        max_cubes: [16, 4, 2],
        ..web
    };
    let cuda = Device {
        matrices: MATRICES,
        scales: true,
        ..GPU
    };
    let small = Device {
        max_units: 64,
        shared_memory: 48 * 1024,
        ..cuda
    };
    vec![
        GPU,
        unclamped,
        wide_planes,
        apple,
        web,
        software,
        tiny,
        cuda,
        small,
    ]
}

/// CPUs with few and many cores, and with registers of several widths.
pub fn cpus() -> Vec<Device> {
    let mut all = Vec::new();
    for cores in [1, 2, 64] {
        for (load_width, shared_memory) in [(128, 32 << 10), (256, 2 << 20), (512, 1 << 10)] {
            for registers in [None, Some(16), Some(32)] {
                all.push(Device {
                    cores: Some(cores),
                    load_width,
                    registers,
                    plane: 1,
                    shared_memory,
                    processors: None,
                    max_cubes: [65535; 3],
                    ..GPU
                });
            }
        }
    }
    all
}

/// Programs of formulas of all kinds: short and long, narrow and wide, with and without computed columns.
fn programs() -> Vec<Program> {
    let mut exprs: Vec<Expr> = Vec::new();
    for dim in [1, 3, 16, 17, 100, 500] {
        exprs.push(gaussian(dim, 1));
    }
    for width in [2, 16, 17, 100, 3000] {
        exprs.push(gaussian(3, width));
    }
    exprs.extend([
        gaussian(100, 100),
        x(0, 3) * y(1, 3).exp(),
        x(0, 100).dot(&y(1, 100).exp()),
        x(0, 20_000).dot(&y(1, 20_000)),
        x(0, 20_000).dot(&y(1, 20_000).square()),
        x(0, 3).exp(),
        p(0, 2),
        Expr::constant(1.0),
    ]);
    let lower = |expr: &Expr| Program::lower(&Formula::new(expr).0, Axis::J);
    exprs.iter().map(lower).collect()
}

/// Sizes over many orders of magnitude, including the neighbours of powers of two.
fn size(most: u32) -> impl Strategy<Value = usize> {
    let near = (0..most, -1i64..2).prop_map(|(bits, off)| ((1i64 << bits) + off).max(0) as usize);
    let any = (0..most).prop_flat_map(|bits| 0..(1usize << bits) + 1);
    prop_oneof![near, any]
}

fn sizes() -> impl Strategy<Value = Sizes> {
    let fold = prop::option::of(size(22).prop_map(|fold| fold.max(1)));
    let all = (size(8), size(24), size(30), fold);
    all.prop_map(|(batches, rows, columns, fold)| Sizes {
        batches: batches.max(1),
        rows: rows.max(1),
        columns,
        fold,
    })
}

/// The problem of reducing `program` with the reduction `kind`.
pub fn problem(
    program: &Program,
    kind: ReductionKind,
    sizes: Sizes,
    precision: Precision,
) -> Problem<'_> {
    let wanted = match kind {
        ReductionKind::Sum(_) => Wanted::VALUES,
        _ => Wanted::INDICES,
    };
    Problem {
        program,
        symmetric: None,
        spec: Spec::new(kind, wanted, program.dim),
        sizes,
        precision,
        batch_rank: 0,
        packing: vec![Packing::Adjacent; program.tensors.len()],
        ranges: None,
    }
}

/// The plan of a problem. Asserts that its schedule is legal.
fn planned(device: &Device, problem: &Problem) -> Result<Plan, PlanError> {
    let plan = plan::plan(device, problem, &Choice::Auto)?.expect("a formula has a plan");
    let valid = plan.blueprint.schedule.validate(device, problem);
    assert_eq!(valid, Ok(()), "{device:?} {problem:?} {plan:?}");
    Ok(plan)
}

fn make(
    device: &Device,
    program: &Program,
    sizes: Sizes,
    precision: Precision,
) -> Result<Plan, PlanError> {
    let sum = ReductionKind::Sum(Accumulation::Blocks);
    planned(device, &problem(program, sum, sizes, precision))
}

/// The plan of a reduction with many rows and columns.
fn reduce_many(device: &Device, program: &Program, kind: ReductionKind) -> Plan {
    let sizes = Sizes {
        batches: 1,
        rows: 1 << 20,
        columns: 1 << 20,
        fold: None,
    };
    planned(device, &problem(program, kind, sizes, Precision::F32)).expect("a plan exists")
}

/// Asserts the conditions under which a kernel with this plan is right.
fn assert_sound(device: &Device, program: &Program, sizes: Sizes, precision: Precision) {
    let context = format!("{device:?} {sizes:?} {precision:?}\n{:?}", program.tensors);
    let plan = match make(device, program, sizes, precision) {
        Ok(plan) => plan,
        Err(PlanError::TooLong { .. }) => unreachable!("no device has such a limit"),
        Err(PlanError::TooManyCubes { cubes, limit }) => {
            let most: usize = device.max_cubes.iter().map(|n| *n as usize).product();
            assert!(
                limit == most && cubes > most,
                "{cubes} fit {most}: {context}"
            );
            return;
        }
        Err(error) => unreachable!("formulas are short: {error}"),
    };
    let blueprint = &plan.blueprint;
    let context = format!("{context} {plan:?}");

    assert!(plan.lanes().is_power_of_two(), "{context}");
    assert!(
        (1..=device.max_units).contains(&plan.blueprint.units),
        "{context}"
    );
    assert!(
        blueprint.schedule.columns() > 0 && blueprint.schedule.block() > 0,
        "{context}"
    );
    assert!(
        blueprint
            .schedule
            .block()
            .is_multiple_of(blueprint.schedule.columns()),
        "{context}"
    );
    assert_eq!(blueprint.math.precision, precision, "{context}");
    assert_eq!(blueprint.folded, sizes.fold.is_some(), "{context}");
    if blueprint.schedule.shared_tile() {
        let products = blueprint
            .schedule
            .matrix()
            .map_or(0, |matrix| matrix.bytes(blueprint.schedule.block()))
            + blueprint
                .schedule
                .weighted()
                .map_or(0, |weighted| weighted.bytes(blueprint.schedule.block()));
        let bytes = blueprint.schedule.tile_len(program) * precision.size() + products;
        assert!(
            bytes > 0 && bytes <= device.shared_memory,
            "{bytes} bytes: {context}"
        );
        assert!(device.cores.is_none(), "{context}");
    }

    if let Some(matrix) = blueprint.schedule.matrix() {
        let [m, n, k] = matrix.shape;
        assert!(blueprint.schedule.shared_tile(), "{context}");
        assert_eq!(
            matrix.rows,
            plan.blueprint.units * plan.lanes(),
            "{context}"
        );
        assert!(
            plan.blueprint.units.is_multiple_of(matrix.plane),
            "{context}"
        );
        // Tiles are multiples of the shapes of the instructions, and the strides are aligned.
        assert!(blueprint.schedule.block().is_multiple_of(m), "{context}");
        assert!(matrix.rows.is_multiple_of(n), "{context}");
        assert!(matrix.padded().is_multiple_of(k), "{context}");
        assert!(matrix.padded() >= matrix.product.len, "{context}");
        for strided in [
            matrix.stride() * precision.size(),
            k * precision.size(),
            matrix.product_stride() * 4,
            n * 4,
        ] {
            let aligned = strided.is_multiple_of(MatrixProduct::ALIGNMENT);
            assert!(aligned, "{context}");
        }
    }

    if let Some(weighted) = blueprint.schedule.weighted() {
        let [m, n, k] = weighted.shape;
        assert!(blueprint.schedule.shared_tile(), "{context}");
        assert_eq!(
            weighted.rows,
            plan.blueprint.units * plan.lanes(),
            "{context}"
        );
        assert!(weighted.rows.is_multiple_of(n), "{context}");
        assert!(blueprint.schedule.block().is_multiple_of(k), "{context}");
        assert!(blueprint.schedule.block() <= weighted.run(), "{context}");
        assert!(weighted.padded().is_multiple_of(m), "{context}");
        assert!(weighted.padded() >= weighted.sum.len, "{context}");
        assert_eq!(
            weighted.in_place,
            blueprint.schedule.matrix().is_some(),
            "{context}"
        );
        let values = [weighted.stride(), weighted.column_stride(), m, n];
        for strided in values.map(|values| 4 * values) {
            let aligned = strided.is_multiple_of(MatrixProduct::ALIGNMENT);
            assert!(aligned, "{context}");
        }
    }

    assert!(plan.parts > 0 && plan.split.columns > 0, "{context}");
    assert!(
        plan.parts * plan.split.columns >= sizes.columns,
        "{context}"
    );
    match sizes.columns {
        0 => assert_eq!(plan.parts, 1, "{context}"),
        _ => assert!(
            (plan.parts - 1) * plan.split.columns < sizes.columns,
            "{context}"
        ),
    }

    for (cubes, most) in plan.cubes.iter().zip(device.max_cubes) {
        assert!((1..=most).contains(cubes), "{context}");
    }
    // The count of the kernel: a cube that shares a tile takes consecutive rows, otherwise a unit does.
    let cubes: usize = plan.cubes.iter().map(|n| *n as usize).product();
    let (workers, rows) = match blueprint.schedule.shared_tile() {
        true => (cubes, plan.lanes() * plan.blueprint.units),
        false => (cubes * plan.blueprint.units, plan.lanes()),
    };
    let needed = sizes.out_rows().div_ceil(rows) * sizes.batches * plan.parts;
    assert!(
        workers >= needed,
        "{workers} workers, {needed} needed: {context}"
    );
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn plans_for_gpus_cover_all_work_within_the_limits(sizes in sizes()) {
        for device in gpus() {
            for program in programs() {
                for precision in [Precision::F32, Precision::F64] {
                    assert_sound(&device, &program, sizes, precision);
                }
            }
        }
    }

    #[test]
    fn plans_for_cpus_cover_all_work_within_the_limits(sizes in sizes()) {
        for device in cpus() {
            for program in programs() {
                for precision in [Precision::F32, Precision::F64] {
                    assert_sound(&device, &program, sizes, precision);
                }
            }
        }
    }

    #[test]
    fn rows_that_are_added_up_take_the_workers_of_the_rows_of_the_output(sizes in sizes()) {
        for device in gpus().into_iter().chain(cpus()) {
            for program in programs() {
                let rows = sizes.out_rows();
                let output = Sizes { rows, fold: None, ..sizes };
                let plan = |sizes| {
                    let mut plan = make(&device, &program, sizes, Precision::F32)?;
                    plan.blueprint.folded = false;
                    // There is no scaled form if rows are added up: they are too many to be looked at beforehand.
                    if let Schedule::Tiled(own) = &mut plan.blueprint.schedule {
                        own.scaled = false;
                    }
                    plan.split.steps = 1;
                    Ok::<_, PlanError>(plan)
                };
                let (folded, whole) = (plan(sizes), plan(output));
                // Matrix instructions sum columns only if rows are not added up.
                if whole.as_ref().is_ok_and(|plan| plan.blueprint.schedule.weighted().is_some()) {
                    continue;
                }
                prop_assert_eq!(folded, whole);
            }
        }
    }

    #[test]
    fn a_spread_covers_within_each_limit_or_says_that_nothing_can(
        cubes in 0usize..100_000,
        max in prop::array::uniform3(1u32..60),
    ) {
        let limit: usize = max.iter().map(|n| *n as usize).product();
        match plan::spread(cubes, max) {
            Ok(spread) => {
                prop_assert!(cubes <= limit);
                let all: usize = spread.iter().map(|n| *n as usize).product();
                prop_assert!(all >= cubes);
                for (count, most) in spread.iter().zip(max) {
                    prop_assert!((1..=most).contains(count));
                }
            }
            Err(error) => {
                prop_assert!(cubes > limit);
                prop_assert_eq!(error, PlanError::TooManyCubes { cubes, limit });
            }
        }
    }
}

#[test]
fn a_spread_of_few_cubes_uses_one_axis() {
    assert_eq!(plan::spread(1000, [65535; 3]), Ok([1000, 1, 1]));
    assert_eq!(plan::spread(65536, [65535; 3]), Ok([65535, 2, 1]));
    assert_eq!(plan::spread(0, [65535; 3]), Ok([1, 1, 1]));
}

#[test]
fn more_cubes_than_all_axes_hold_are_refused_with_the_limit() {
    let error = plan::spread(9, [2, 2, 2]).unwrap_err();
    assert_eq!(error, PlanError::TooManyCubes { cubes: 9, limit: 8 });
    assert!(error.to_string().contains('9') && error.to_string().contains('8'));
}

#[test]
fn addresses_are_wide_only_where_they_must_be() {
    let narrow = Device {
        wide_addresses: false,
        ..GPU
    };
    let (small, large) = (u32::MAX as usize, u32::MAX as usize + 2);
    assert_eq!(plan::address_type(&GPU, small), Some(AddressType::U32));
    assert_eq!(plan::address_type(&GPU, large), Some(AddressType::U64));
    assert_eq!(plan::address_type(&narrow, small), Some(AddressType::U32));
    assert_eq!(plan::address_type(&narrow, large), None);
}

#[test]
fn rows_that_are_added_up_are_split_where_a_unit_may_not_run_long() {
    let limited = Device {
        max_iterations: Some(65_000),
        ..GPU
    };
    let program = &programs()[1];
    let plan = |steps: usize| {
        let sizes = Sizes {
            batches: 1,
            rows: steps << 20,
            columns: 1 << 14,
            fold: Some(1 << 20),
        };
        make(&limited, program, sizes, Precision::F32).expect("a plan exists")
    };
    // Columns are split first, then the rows that are added up. An iteration computes up to four pairs.
    for steps in [1, 100, 3000] {
        let plan = plan(steps);
        assert_eq!(plan.split.steps < steps, steps == 3000);
        assert!(
            plan.split.columns * plan.split.steps < 4 * 65_000,
            "{plan:?}"
        );
        let parts = [(1 << 14, plan.split.columns), (steps, plan.split.steps)];
        let parts: usize = parts.iter().map(|(all, own)| all.div_ceil(*own)).product();
        assert_eq!(plan.parts, parts);
    }
}

#[test]
fn only_what_is_added_up_plainly_is_compensated() {
    let spec = |kind, fold| {
        let sizes = Sizes {
            batches: 1,
            rows: 100,
            columns: 100,
            fold,
        };
        planned(&GPU, &problem(&programs()[0], kind, sizes, Precision::F32))
            .expect("a plan exists")
            .blueprint
            .total()
            .kind
    };
    let sum = ReductionKind::Sum;
    let (blocks, kahan, double) = (
        sum(Accumulation::Blocks),
        sum(Accumulation::Kahan),
        sum(Accumulation::Double),
    );
    for kind in [blocks, kahan, double] {
        assert_eq!(spec(kind, None), kind);
    }
    assert_eq!(spec(blocks, Some(10)), kahan);
    assert_eq!(spec(kahan, Some(10)), kahan);
    assert_eq!(spec(double, Some(10)), double);
}

/// The inner product of `expr` that matrix instructions compute in a plan for many pairs.
fn matrix_of(
    device: &Device,
    expr: &Expr,
    precision: Precision,
    rows: usize,
) -> Option<MatrixProduct> {
    let program = Program::lower(&Formula::new(expr).0, Axis::J);
    let sizes = Sizes {
        batches: 1,
        rows,
        columns: 10_000,
        fold: None,
    };
    let plan = make(device, &program, sizes, precision).expect("a plan exists");
    plan.blueprint.schedule.matrix()
}

/// The components of `expr` that neither registers nor the tile hold, because only matrix instructions read them: their
/// spaces and numbers.
fn left_out_of(device: &Device, expr: &Expr) -> Vec<(Space, usize)> {
    let program = Program::lower(&Formula::new(expr).0, Axis::J);
    let plan = plan_of(device, &program, 100_000, 10_000);
    let left_out = plan.blueprint.schedule.left_out().iter();
    left_out.map(|out| (out.space, out.len)).collect()
}

#[test]
fn inner_products_and_distances_are_found_whatever_is_made_of_them() {
    let cuda = Device {
        matrices: MATRICES,
        ..GPU
    };
    let many = 100_000;
    let found = |expr: &Expr| matrix_of(&cuda, expr, Precision::F32, many);
    let (a, b) = (x(0, 20), y(1, 20));
    for (expr, distance, negated) in [
        (a.dot(&b), false, false),
        (-b.dot(&a), false, true),
        (a.dot(&b).exp() * y(2, 70), false, false),
        (gaussian(16, 1), true, true),
        (
            (b.clone() - a.clone()).square().inner_sum().sqrt() * y(2, 1),
            true,
            false,
        ),
    ] {
        let matrix = found(&expr).unwrap_or_else(|| panic!("{expr} has one"));
        assert_eq!(matrix.product.distance, distance, "{expr}");
        assert_eq!(matrix.product.negated, negated, "{expr}");
        let len = matrix.product.len;
        let left_out = left_out_of(&cuda, &expr);
        assert!(
            left_out.contains(&(Space::Row, len)),
            "{expr}: {left_out:?}"
        );
        assert!(
            left_out.contains(&(Space::Column, len)),
            "{expr}: {left_out:?}"
        );
        assert_eq!((matrix.plane, matrix.emulated), (32, false));
    }
    for scale in [s(3), p(3, 20)] {
        let scaled = ((a.clone() - b.clone()) / scale.clone())
            .square()
            .inner_sum();
        let product = found(&scaled).expect("there is one").product;
        let own = product.scale.expect("it is scaled");
        assert_eq!(own.looped, scale.dim() > 1);
        // Operands in 16 bits are not scaled before they are multiplied.
        for precision in [Precision::F16, Precision::BF16] {
            assert_eq!(matrix_of(&cuda, &scaled, precision, many), None);
        }
    }
    // Columns that are also read outside of the product go through the tile.
    let used_twice = a.dot(&b) * b.square().inner_sum();
    assert_eq!(left_out_of(&cuda, &used_twice), [(Space::Row, 20)]);
    let components = gaussian(16, 1) * (x(0, 16) - y(1, 16));
    assert!(left_out_of(&cuda, &components).is_empty());
    // The product may be of slices of the operands.
    let slices = x(0, 50).slice(3, 40).dot(&y(1, 60).slice(20, 40));
    let product = found(&slices).expect("there is one").product;
    assert_eq!((product.row.offset, product.column.offset), (3, 20));
    assert_eq!(product.len, 40);
}

#[test]
fn matrix_instructions_compute_only_what_they_can() {
    let cuda = Device {
        matrices: MATRICES,
        ..GPU
    };
    let many = 100_000;
    let dot = |dim| x(0, dim).dot(&y(1, dim));
    let planned = |device: &Device, expr: &Expr, precision, rows| {
        matrix_of(device, expr, precision, rows).is_some()
    };
    for precision in [Precision::F16, Precision::BF16, Precision::F32] {
        assert!(planned(&cuda, &dot(16), precision, many));
        assert!(!planned(&cuda, &dot(15), precision, many));
        assert!(!planned(&cuda, &dot(16), precision, 10));
        assert!(!planned(&GPU, &dot(16), precision, many));
        // The factors are too long for any tile.
        assert!(!planned(&cuda, &dot(5000), precision, many));
    }
    assert!(!planned(&cuda, &dot(16), Precision::F64, many));
    assert!(planned(&cuda, &dot(300), Precision::F16, many));
    assert!(!planned(&cuda, &dot(300), Precision::F32, many));
    // Computed factors, and sums that are not sums of products.
    let computed = x(0, 16).exp().dot(&y(1, 16));
    let manhattan = (x(0, 16) - y(1, 16)).abs().inner_sum();
    let cubes = (x(0, 16) * y(1, 16) * y(1, 16)).inner_sum();
    let extremum = (x(0, 16) * y(1, 16)).inner_extremum(burn_lazy_kernels::expr::Extreme::Maximum);
    for expr in [computed, manhattan, cubes, extremum, x(0, 16) + y(1, 16)] {
        assert!(!planned(&cuda, &expr, Precision::F32, many), "{expr}");
    }
    for device in cpus() {
        let device = Device {
            matrices: MATRICES,
            ..device
        };
        assert!(!planned(&device, &dot(64), Precision::F32, many));
    }
}

/// The sum over columns of `expr` that matrix instructions compute.
fn weighted_of(
    expr: &Expr,
    kind: ReductionKind,
    precision: Precision,
    fold: Option<usize>,
) -> Option<WeightedSum> {
    let cuda = Device {
        matrices: MATRICES,
        ..GPU
    };
    let program = Program::lower(&Formula::new(expr).0, Axis::J);
    let sizes = Sizes {
        batches: 1,
        rows: 100_000,
        columns: 10_000,
        fold,
    };
    let plan = planned(&cuda, &problem(&program, kind, sizes, precision));
    let weighted = plan.expect("a plan exists").blueprint.schedule.weighted();
    weighted.map(|weighted| weighted.sum)
}

#[test]
fn sums_of_weighted_columns_are_found_where_they_are_all_of_the_result() {
    let sum = ReductionKind::Sum(Accumulation::Blocks);
    let found = |expr: &Expr, kind| weighted_of(expr, kind, Precision::F32, None);
    for dim in [3, 16] {
        let own = found(&gaussian(dim, 64), sum).expect("there is one");
        assert_eq!((own.len, own.row), (64, None));
        assert!(own.weight.is_some() && !own.negated);
    }
    let negated = found(&-gaussian(3, 64), sum).expect("there is one");
    assert!(negated.negated || negated.weight.is_some());
    let scores = x(0, 16).dot(&y(1, 16));
    let attention = Expr::concat(vec![scores.clone(), y(2, 64)]);
    let own = found(&attention, ReductionKind::SoftmaxSum).expect("there is one");
    assert_eq!((own.len, own.weight), (64, None));
    // Sums of 16-bit operands, and sums in F64, but neither compensated sums nor sums whose rows are added up.
    let wide = gaussian(3, 64);
    for precision in [Precision::F16, Precision::BF16] {
        assert!(weighted_of(&wide, sum, precision, None).is_some());
    }
    assert!(found(&wide, ReductionKind::Sum(Accumulation::Double)).is_some());
    assert_eq!(found(&wide, ReductionKind::Sum(Accumulation::Kahan)), None);
    assert_eq!(weighted_of(&wide, sum, Precision::F64, None), None);
    assert_eq!(weighted_of(&wide, sum, Precision::F32, Some(1000)), None);
    // Too few components, weights of rows, computed weights, and results with more than the sum.
    for expr in [
        gaussian(3, 31),
        gaussian(3, 1) * x(2, 64),
        gaussian(3, 1) * y(2, 64).exp(),
        gaussian(3, 1) * (x(2, 64) + y(3, 64)),
        Expr::concat(vec![gaussian(3, 64), gaussian(3, 2)]),
    ] {
        assert_eq!(found(&expr, sum), None, "{expr}");
    }
}

#[test]
fn sums_of_differences_are_those_of_their_distance() {
    let sum = ReductionKind::Sum(Accumulation::Blocks);
    let found = |expr: &Expr| weighted_of(expr, sum, Precision::F32, None);
    let gradient = gaussian(100, 1).gradient(
        &crate::support::leaf(0, Some(Axis::I), 100),
        &Expr::var(crate::support::leaf(3, Some(Axis::I), 1)),
    );
    let own = found(&gradient).unwrap_or_else(|| {
        panic!(
            "{gradient} has one: {}",
            *Program::lower(&Formula::new(&gradient).0, Axis::J)
        )
    });
    assert!(own.row.is_some() && own.len == 100);
    // The formula does not tell how much of such a difference cancels.
    assert_eq!(found(&(gaussian(40, 1) * (x(4, 40) - y(5, 40)))), None);
    assert_eq!(found(&(gaussian(3, 1) * (x(4, 40) - y(5, 40)))), None);
}

/// The relative error of a sum of `terms` terms if each addition cuts off all digits after 24 bits, as matrix
/// instructions may do.
fn cut_off(terms: usize) -> f64 {
    let cut = |value: f64| f64::from_bits(value.to_bits() >> 29 << 29);
    let mut rng = Rng::new(1);
    let (mut sum, mut exact) = (0.0, 0.0);
    for _ in 0..terms {
        let term = rng.uniform(0.5, 1.0);
        sum = cut(sum + term);
        exact += term;
    }
    (exact - sum) / exact
}

#[test]
fn as_much_as_matrix_instructions_add_up_keeps_its_digits() {
    const MOST: f64 = 1e-5;
    let cuda = Device {
        matrices: MATRICES,
        ..GPU
    };
    let sum = ReductionKind::Sum(Accumulation::Blocks);
    let gradient = gaussian(100, 1).gradient(
        &crate::support::leaf(0, Some(Axis::I), 100),
        &Expr::var(crate::support::leaf(3, Some(Axis::I), 1)),
    );
    // The gradient is a difference of two sums, each of which may be three times as large.
    for (expr, size) in [(gaussian(3, 64), 1.0), (gradient, 3.0)] {
        let program = Program::lower(&Formula::new(&expr).0, Axis::J);
        let sizes = Sizes {
            batches: 1,
            rows: 100_000,
            columns: 10_000,
            fold: None,
        };
        let plan = planned(&cuda, &problem(&program, sum, sizes, Precision::F32));
        let plan = plan.expect("a plan exists");
        let weighted = plan.blueprint.schedule.weighted().expect("there are sums");
        assert!(size * cut_off(weighted.run()) < MOST, "{expr}");
    }
    // A device whose shared memory is no limit.
    let large = Device {
        shared_memory: 64 << 20,
        ..cuda
    };
    let planned = |dim: usize| {
        let dot = x(0, dim).dot(&y(1, dim));
        matrix_of(&large, &dot, Precision::F32, 100_000).is_some()
    };
    let longest = (16..2000).take_while(|dim| planned(*dim)).last();
    assert!(longest.is_some_and(|dim| cut_off(dim) < MOST));
}

fn plan_of(device: &Device, program: &Program, rows: usize, columns: usize) -> Plan {
    let sizes = Sizes {
        batches: 1,
        rows,
        columns,
        fold: None,
    };
    make(device, program, sizes, Precision::F32).expect("a plan exists")
}

#[test]
fn few_rows_split_the_columns_and_many_do_not() {
    let program = &programs()[1];
    for device in gpus().into_iter().take(6).chain(cpus()) {
        let few = plan_of(&device, program, 3, 1_000_000);
        assert!(few.parts > 1, "{device:?}");
        let many = plan_of(&device, program, 1_000_000, 1_000_000);
        assert_eq!(many.parts, 1, "{device:?}");
        // Columns are not split if a part would be too short.
        assert_eq!(plan_of(&device, program, 3, 1000).parts, 1, "{device:?}");
    }
}

#[test]
fn every_core_gets_work_where_there_is_some() {
    for device in cpus() {
        let cores = device.cores.expect("a CPU");
        let plan = plan_of(&device, &programs()[1], 1, 1_000_000);
        assert!(plan.parts >= cores);
    }
}

#[test]
fn only_gpus_share_a_tile_and_only_where_columns_are_read() {
    let with_columns = &programs()[1];
    let without = Program::lower(&Formula::new(&x(0, 3).exp()).0, Axis::J);
    assert!(
        plan_of(&GPU, with_columns, 1000, 1000)
            .blueprint
            .schedule
            .shared_tile()
    );
    assert!(
        !plan_of(&GPU, &without, 1000, 1000)
            .blueprint
            .schedule
            .shared_tile()
    );
    for device in cpus() {
        assert!(
            !plan_of(&device, with_columns, 1000, 1000)
                .blueprint
                .schedule
                .shared_tile()
        );
    }
}

#[test]
fn columns_that_no_tile_can_hold_are_read_from_the_operands() {
    let expr = x(0, 20_000).dot(&y(1, 20_000));
    let program = Program::lower(&Formula::new(&expr).0, Axis::J);
    let web = gpus()[4];
    assert!(
        !plan_of(&web, &program, 1000, 1000)
            .blueprint
            .schedule
            .shared_tile()
    );
}

#[test]
fn a_unit_of_a_gpu_takes_as_many_rows_as_its_registers_hold() {
    for program in programs() {
        for kind in ReductionKind::all().chain([50, 1000].map(|k| ReductionKind::Smallest { k })) {
            let plan = reduce_many(&GPU, &program, kind);
            let each = program.row.slots + plan.blueprint.spec.vectors();
            let held = plan.lanes() * each;
            assert!(held < 255 || plan.lanes() == 1 || each > 208, "{plan:?}");
        }
    }
    let program = &programs()[1];
    let lanes = |k| reduce_many(&GPU, program, ReductionKind::Smallest { k }).lanes();
    assert_eq!([1, 10, 20, 50].map(lanes), [4, 4, 2, 1]);
}

#[test]
fn rows_of_a_gpu_share_a_unit_only_if_there_are_many() {
    let lanes = |rows| plan_of(&GPU, &programs()[1], rows, 1000).lanes();
    assert!(lanes(100) < lanes(1_000_000));
}

#[test]
fn coordinates_are_scaled_where_an_operation_counts() {
    let plan = |scales: bool, dim: usize, precision| {
        let program = Program::lower(&Formula::new(&gaussian(dim, 1)).0, Axis::J);
        let device = Device {
            scales,
            matrices: MATRICES,
            ..GPU
        };
        let sizes = Sizes {
            batches: 1,
            rows: 10_000,
            columns: 10_000,
            fold: None,
        };
        let plan = make(&device, &program, sizes, precision).expect("a plan exists");
        plan.blueprint.schedule.scaled()
    };
    assert!(plan(true, 3, Precision::F32) && plan(true, 3, Precision::F16));
    // F64 needs more digits, and 16 components are computed by matrix instructions.
    assert!(!plan(true, 3, Precision::F64) && !plan(true, 16, Precision::F32));
    assert!(!plan(false, 3, Precision::F32));
}

#[test]
fn lists_of_few_rows_have_a_unit_each() {
    let lanes = |k: usize, rows: usize| {
        let sizes = Sizes {
            batches: 1,
            rows,
            columns: 1 << 20,
            fold: None,
        };
        let kind = ReductionKind::Smallest { k };
        let plan = planned(&GPU, &problem(&programs()[1], kind, sizes, Precision::F32));
        plan.expect("a plan exists").lanes()
    };
    assert_eq!(
        [1, 100, 128, 129, 8192].map(|rows| lanes(10, rows)),
        [1, 1, 1, 2, 4]
    );
    // One value is no list.
    assert_eq!(lanes(1, 100), 2);
}

#[test]
fn exponentials_are_what_the_device_has() {
    for exp2 in [false, true] {
        let device = Device { exp2, ..GPU };
        let plan = plan_of(&device, &programs()[1], 1000, 1000);
        assert_eq!(plan.blueprint.math.exp2, exp2);
    }
}

#[test]
fn lists_are_bounded_beforehand_where_evaluating_twice_takes_less_than_inserting() {
    let ahead = |device: &Device, dim: usize, k: usize| {
        let formula = Formula::new(&x(0, dim).sqdist(&y(1, dim))).0;
        let program = Program::lower(&formula, Axis::J);
        let plan = reduce_many(device, &program, ReductionKind::Smallest { k });
        plan.blueprint.schedule.ahead()
    };
    for device in cpus() {
        // The bound comes from one in `short` or one in `long` columns.
        let [short, long] = [10, 50].map(|k| ahead(&device, 3, k).expect("pairs are short"));
        assert!(16 <= long * 4 && long < short && short <= 4096);
        let many = ahead(&device, 10, 10).expect("insertions take longer");
        assert!(short <= many);
        assert_eq!(ahead(&device, 16, 10), None);
        assert_eq!(ahead(&device, 3, 1), None);
        assert_eq!(ahead(&device, 500, 10), None);
    }
    assert_eq!(ahead(&GPU, 3, 10), None);
}

#[test]
fn no_lanes_are_wasted_on_few_rows_of_a_cpu() {
    for device in cpus() {
        let register = device.load_width / 32;
        let plan = plan_of(&device, &programs()[1], 1, 1000);
        assert_eq!(plan.lanes(), register);
    }
}

#[test]
fn columns_are_split_where_a_unit_may_not_run_long() {
    let limited = Device {
        max_iterations: Some(65_000),
        ..GPU
    };
    // With 3 components an iteration computes up to four columns. With 100 components a column takes at least 25
    // iterations.
    for (dim, most) in [(3, 4 * 65_000), (100, 65_000 / 25)] {
        let program = &Program::lower(&Formula::new(&gaussian(dim, 1)).0, Axis::J);
        let plan = plan_of(&limited, program, 1 << 20, 1 << 20);
        assert!(plan.parts > 1);
        assert!(plan.split.columns <= most, "{} columns", plan.split.columns);
        assert!(plan.parts * plan.split.columns >= 1 << 20);
        assert_eq!(plan_of(&GPU, program, 1 << 20, 1 << 20).parts, 1);
    }
    // Columns that are read in place take no additional iterations, with or without a tile.
    let tileless = Device {
        shared_memory: 0,
        ..limited
    };
    for device in [limited, tileless] {
        for program in programs().iter().filter(|p| p.pair_cost() < 10_000) {
            let plan = plan_of(&device, program, 1000, 1000);
            assert!(
                plan.split.columns >= plan.blueprint.schedule.block(),
                "{plan:?}"
            );
        }
    }
    let short = Device {
        max_iterations: Some(100),
        ..GPU
    };
    let program = &Program::lower(&Formula::new(&gaussian(500, 1)).0, Axis::J);
    let sizes = Sizes {
        batches: 1,
        rows: 1,
        columns: 1,
        fold: None,
    };
    let error = make(&short, program, sizes, Precision::F32).unwrap_err();
    assert!(
        matches!(error, PlanError::TooLong { limit: 100, .. }),
        "{error}"
    );
}
