//! Which sums over pairs of points of one set evaluate each pair once, and how that is planned. Nothing is launched.

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, Formula, Precision, Program, ReductionKind, Spec, Symmetric, Wanted,
    catalogue::{Parity, ScalarOp},
    expr::{Node, Place},
    plan::{self, Device, Packing, Plan, Problem, Sizes, Strategy},
};

use crate::{
    planner::cpus,
    support::{Rng, gaussian, p, s, x, y},
};

/// The lowered program of `expr`, and its symmetry. The operands 0 and 1 are the same points. Weights of columns have
/// other ids.
fn lower(expr: &Expr) -> (Program, Symmetric) {
    let (formula, leaves) = Formula::new(expr);
    let tensors: Vec<u64> = leaves.iter().filter(|v| !v.scalar).map(|v| v.id).collect();
    let point = |id: &u64| *id < 2;
    let first = tensors.iter().position(point).expect("there are points");
    let same: Vec<usize> = (0..tensors.len())
        .map(|k| if point(&tensors[k]) { first } else { k })
        .collect();
    let symmetric = Symmetric::new(&formula, Axis::J, &same).expect("rows are columns");
    (Program::lower(&formula, Axis::J), symmetric)
}

fn spec(dim: usize, accumulation: Accumulation) -> Spec {
    Spec::new(ReductionKind::Sum(accumulation), Wanted::VALUES, dim)
}

fn square(n: usize) -> Sizes {
    Sizes {
        batches: 1,
        rows: n,
        columns: n,
        fold: None,
    }
}

fn plan_of(
    device: &Device,
    expr: &Expr,
    accumulation: Accumulation,
    sizes: Sizes,
    precision: Precision,
) -> Option<Plan> {
    let (program, symmetric) = lower(expr);
    let spec = spec(program.dim, accumulation);
    let packing = vec![Packing::Adjacent; symmetric.tensors.len()];
    let problem = Problem {
        program: &symmetric.program,
        symmetric: Some(&symmetric),
        spec,
        sizes,
        precision,
        batch_rank: 0,
        packing,
        ranges: None,
    };
    let plan = plan::plan(device, &problem, &Strategy::Auto).expect("nothing refuses it")?;
    let valid = plan.blueprint.schedule.validate(device, &problem);
    assert_eq!(valid, Ok(()), "{plan:?}");
    Some(plan)
}

/// A CPU with AVX-512.
fn cpu() -> Device {
    let wide = |device: &Device| (device.load_width, device.registers) == (512, Some(32));
    let mut found = cpus().into_iter().filter(wide);
    found.next().expect("there is one")
}

fn taken(expr: &Expr) -> bool {
    plan_of(
        &cpu(),
        expr,
        Accumulation::Blocks,
        square(10_000),
        Precision::F32,
    )
    .is_some()
}

/// Symmetric kernels: the ready-made ones, kernels with parameters, and masks.
pub fn kernels() -> Vec<Expr> {
    let (x, y) = (x(0, 3), y(1, 3));
    let difference = || x.clone() - y.clone();
    let r = || difference().sqnorm().sqrt();
    let offset = Expr::place(Place::Offset);
    let at = |op, a: Expr, b: Expr| Expr::scalar(op, vec![a, b]);
    let [i, j] = [Axis::I, Axis::J].map(|axis| Expr::place(Place::Index(axis)));
    let scaled = (x.clone() - y.clone()) / p(3, 3);
    let mut turned = Vec::new();
    for k in 0..3 {
        turned.push(difference().dot(&p(3, 9).slice(3 * k, 3)));
    }
    vec![
        (-x.sqdist(&y)).exp(),
        (-(y.clone() - x.clone()).sqnorm() * s(5)).exp(),
        (scaled.sqnorm() * -0.5).exp() * s(5),
        (-difference().abs().inner_sum()).exp(),
        (-r()).exp(),
        (r() + 1.0) * (-r()).exp(),
        (x.dot(&y) * s(5) + 1.0).powi(3),
        (y.dot(&x) + x.dot(&y)).exp(),
        (difference() * s(5)).sin().sqnorm().exp(),
        difference().cos().inner_sum().exp(),
        (-Expr::concat(turned).dot(&difference())).exp(),
        x.sqnorm().sqrt() * y.sqnorm().sqrt() * x.dot(&y).exp(),
        -r(),
        (-x.sqdist(&y)).exp() * at(ScalarOp::LessEqual, offset.abs(), Expr::constant(7.0)),
        (-x.sqdist(&y)).exp() + s(5) * at(ScalarOp::Equal, i, j),
        (-x.sqdist(&y)).exp() + at(ScalarOp::Equal, offset, Expr::constant(0.0)),
        at(ScalarOp::Maximum, x.slice(0, 1), y.slice(0, 1)).exp(),
        (x.slice(0, 2) - y.slice(0, 2)).sqnorm().exp(),
    ]
}

#[test]
fn both_entries_of_a_symmetric_kernel_are_one() {
    for kernel in kernels() {
        for width in [1, 3] {
            let expr = kernel.clone() * y(2, width);
            let (program, symmetric) = lower(&expr);
            let more = symmetric.program.pair_work() - program.pair_work();
            assert_eq!(more, width, "{expr}:\n{}", *symmetric.program);
            assert!(taken(&expr), "{expr}");
        }
        let (program, symmetric) = lower(&kernel);
        assert_eq!(
            symmetric.program.pair_work() - program.pair_work(),
            1,
            "{kernel}"
        );
    }
}

#[test]
fn what_both_entries_share_is_computed_once() {
    // The gradient of a sum by the points, and a sum with weights of rows.
    let (x, y) = (x(0, 3), y(1, 3));
    let kernel = (-x.sqdist(&y)).exp();
    assert!(taken(&(kernel.clone() * (x.clone() - y.clone()))));
    assert!(taken(
        &(kernel * crate::support::x(4, 1) * crate::support::y(2, 1))
    ));
}

#[test]
fn formulas_without_symmetry_are_reduced_as_before() {
    let (x, y) = (x(0, 3), y(1, 3));
    for kernel in [
        x.slice(0, 1) * y.slice(1, 1),
        (x.slice(0, 2) - y.slice(1, 2)).sqnorm().exp(),
        (x.clone() - y.clone()).inner_sum().exp(),
        (x.exp() * p(3, 3)).dot(&y).exp(),
        x.sqnorm().exp() * y,
    ] {
        assert!(
            !taken(&(kernel.clone() * crate::support::y(2, 1))),
            "{kernel}"
        );
    }
}

#[test]
fn only_known_rows_are_columns() {
    let (formula, _) = Formula::new(&gaussian(3, 1));
    assert_eq!(Symmetric::new(&formula, Axis::J, &[0, 1, 2]), None);
    // Two rows and a parameter that are the same tensor.
    let expr = (x(0, 2) + x(1, 2) + p(2, 2)).dot(&y(3, 2));
    let (formula, _) = Formula::new(&expr);
    assert_eq!(Symmetric::new(&formula, Axis::J, &[0, 0, 0, 3]), None);
    let symmetric = Symmetric::new(&formula, Axis::J, &[0, 0, 0, 0]);
    let used = symmetric.expect("rows are columns").tensors;
    assert!(!used.contains(&1), "it is the first one");
}

#[test]
fn parities_are_those_of_the_functions() {
    let mut rng = Rng::new(3);
    for op in ScalarOp::all().into_iter().filter(|op| op.arity() == 1) {
        let (low, high) = op.domain().intervals[0];
        let (mut even, mut odd) = (true, true);
        for value in rng.vec(100, -high.abs().max(low.abs()), high.abs().max(low.abs())) {
            let [there, opposite] = [value, -value].map(|value| op.host(&[value]));
            // A function that is undefined on one side has no parity.
            even &= there == opposite || (there.is_nan() && opposite.is_nan());
            odd &= there == -opposite || (there.is_nan() && opposite.is_nan());
        }
        match op.parity() {
            Parity::Even => assert!(even, "{op}"),
            Parity::Odd => assert!(odd, "{op}"),
            Parity::Neither => {}
        }
    }
}

#[test]
fn plans_cover_the_triangle() {
    for device in cpus() {
        for n in [2000, 2001, 4096, 10_000] {
            for (dim, width) in [(1, 1), (3, 1), (3, 4), (20, 1), (64, 12), (500, 1)] {
                for precision in [Precision::F32, Precision::F64, Precision::F16] {
                    check_plan(&device, &gaussian(dim, width), n, precision);
                }
            }
        }
        check_plan(&device, &gaussian(3, 1), 100_000, Precision::F32);
    }
}

fn check_plan(device: &Device, expr: &Expr, n: usize, precision: Precision) {
    let Some(plan) = plan_of(device, expr, Accumulation::Blocks, square(n), precision) else {
        panic!("{expr} of {n} points is not planned for {device:?}");
    };
    let blueprint = &plan.blueprint;
    let strip = blueprint.schedule.strip().expect("there are strips");
    assert!(blueprint.partial && !blueprint.schedule.shared_tile() && plan.parts > 1);
    assert_eq!(blueprint.schedule.block() % blueprint.schedule.columns(), 0);
    assert_eq!(strip % blueprint.schedule.block(), 0);
    assert_eq!(strip % plan.lanes(), 0);
    let launched = plan.cubes.iter().product::<u32>() as usize * plan.blueprint.units;
    assert!(launched >= plan.parts);
    let tiles: usize = (0..n)
        .step_by(strip)
        .map(|first| {
            let blocks = (n - first).div_ceil(blueprint.schedule.block());
            2 * blocks - blocks.min(strip / blueprint.schedule.block())
        })
        .sum();
    assert!(plan.parts * plan.split.columns >= tiles);
    assert!((plan.parts - 1) * plan.split.columns <= tiles + plan.parts * plan.parts);
}

#[test]
fn plans_are_for_large_sums_on_processors() {
    let expr = gaussian(3, 1);
    let plan = |device: &Device, accumulation, sizes| {
        plan_of(device, &expr, accumulation, sizes, Precision::F32).is_some()
    };
    let (cpu, large) = (cpu(), square(10_000));
    let gpu = Device { cores: None, ..cpu };
    assert!(plan(&cpu, Accumulation::Blocks, large));
    assert!(plan(&cpu, Accumulation::Double, large));
    assert!(!plan(&cpu, Accumulation::Kahan, large));
    assert!(!plan(&gpu, Accumulation::Blocks, large));
    assert!(!plan(&cpu, Accumulation::Blocks, square(1999)));
    let batches = Sizes {
        batches: 2,
        ..large
    };
    assert!(!plan(&cpu, Accumulation::Blocks, batches));
    let folded = Sizes {
        fold: Some(100),
        ..large
    };
    assert!(!plan(&cpu, Accumulation::Blocks, folded));
    // The buffers for the sums of many units would take too much memory.
    let many = Device {
        cores: Some(64),
        ..cpu
    };
    let many = Device {
        max_units: 64,
        ..many
    };
    assert!(plan(&many, Accumulation::Blocks, large));
    assert!(!plan(&many, Accumulation::Blocks, square(1_000_000)));
}

#[test]
fn wide_weights_are_not_worth_it() {
    assert!(taken(&gaussian(3, 4)));
    assert!(!taken(&gaussian(3, 16)));
    assert!(!taken(&gaussian(1, 100)));
    assert!(matches!(
        gaussian(3, 16).node(),
        Node::Scalar(ScalarOp::Mul, _)
    ));
}
