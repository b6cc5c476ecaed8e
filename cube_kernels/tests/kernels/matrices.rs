//! Inner products as tiles of a matrix product, against the host: the kernels of devices with matrix instructions. On
//! devices without such instructions loops take their place.

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, Precision, ReductionKind, Wanted,
    expr::Var,
    plan::{Device, MatrixUnits},
};

use crate::{
    device::{
        Problem, Runtime, Tensor, assert_close, client, only_where, precisions, runtime, skipped,
        small_gpu, takes,
    },
    support::{Rng, agree, gaussian, p, s, x, y, z},
};

/// Tolerance of `F32` relative to the largest value.
const SINGLE: f64 = 1e-5;

/// A small GPU with matrix instructions, which kernels replace by loops.
pub fn device() -> Device {
    let gpu = small_gpu();
    let units = gpu.max_units;
    Device {
        matrices: MatrixUnits {
            f16: Some([16, units, 16]),
            bf16: Some([16, units, 16]),
            tf32: Some([16, units, 8]),
            emulated: true,
        },
        ..gpu
    }
}

/// A device with a single plane, and with its own matrix instructions.
fn plane() -> Device {
    let client = client();
    let own = Device::new(client.properties(), client.name());
    Device {
        max_units: own.plane,
        plane: own.plane,
        shared_memory: own.shared_memory,
        matrices: own.matrices,
        ..small_gpu()
    }
}

/// `rows`, or on a device with real matrix instructions at least as many rows as are enough for an instruction.
/// Loops in the place of an instruction are long, and compilers unroll them.
fn of_a_plane(rows: usize) -> usize {
    match runtime() == Runtime::Cuda {
        true => rows.max(plane().max_units.div_ceil(2)),
        false => rows,
    }
}

/// The problem, planned for a device with matrix instructions: the real device if it has some.
fn planned(problem: Problem) -> Problem {
    match runtime() == Runtime::Cuda {
        true => problem.planned_for(plane()),
        false => problem.planned_for(device()),
    }
}

/// Whether the long tests run. Software Vulkan would take minutes for them.
fn runs() -> bool {
    let runs = matches!(runtime(), Runtime::Cpu | Runtime::Cuda);
    if !runs {
        skipped("software Vulkan takes minutes for it");
    }
    runs
}

#[track_caller]
fn run(problem: Problem, precision: Precision, wanted: Wanted) -> (Problem, Vec<f64>, Vec<i64>) {
    let problem = planned(problem);
    let client = client();
    let plan = problem.plan(&client, precision);
    let blueprint = &plan.blueprint;
    assert!(
        blueprint.schedule.matrix().is_some() || blueprint.schedule.weighted().is_some(),
        "{plan:?}"
    );
    let (values, indices) = problem
        .run_for(&client, precision, wanted)
        .expect("the launch succeeds");
    (problem, values, indices)
}

#[track_caller]
fn check(problem: Problem, relative: f64) {
    // The compiler to SPIR-V does not support the shared memory of these kernels.
    if runtime() == Runtime::Vulkan {
        return skipped("the compiler to SPIR-V does not bear its shared memory");
    }
    let (problem, got, _) = run(problem, Precision::F32, Wanted::VALUES);
    assert_close(&got, &problem.reference(), relative);
}

/// The Gaussian kernel with a scale at which many columns contribute.
fn wide(dim: usize) -> Expr {
    (-x(0, dim).sqdist(&y(1, dim)) * Expr::constant(1.0 / dim as f64)).exp() * y(2, 2)
}

#[test]
fn sizes_need_not_fill_tiles() {
    for (m, n, dim) in [
        (4, 1, 16),
        (8, 16, 16),
        (9, 64, 17),
        (20, 65, 24),
        (17, 150, 61),
        (16, 63, 100),
    ] {
        let problem = Problem::random(&wide(dim), Axis::J, (of_a_plane(m), n), 1, (-1.0, 1.0));
        check(problem, SINGLE);
    }
}

#[test]
fn either_axis_is_reduced() {
    only_where!(runs());
    let dot = x(0, 20).dot(&y(1, 20));
    for expr in [wide(16), dot.square() * y(2, 1), -dot] {
        for axis in [Axis::I, Axis::J] {
            let problem = Problem::random(&expr, axis, (19, 70), 2, (-1.0, 1.0));
            check(problem, SINGLE);
        }
    }
}

#[test]
fn all_reductions_take_products() {
    // Software Vulkan takes half a minute to compile each of these kernels.
    only_where!(runs());
    let scores = x(0, 16).dot(&y(1, 16)) * Expr::constant(0.2);
    let expr = Expr::concat(vec![scores, y(2, 2)]);
    for kind in ReductionKind::all() {
        if kind == ReductionKind::Sum(Accumulation::Double)
            && !precisions().contains(&Precision::F64)
        {
            continue;
        }
        let problem = Problem::random(&expr, Axis::J, (19, 70), 3, (0.5, 1.0)).reduced_by(kind);
        let indexed = matches!(
            kind,
            ReductionKind::Minimum | ReductionKind::Maximum | ReductionKind::Smallest { .. }
        );
        let wanted = match indexed {
            true => Wanted::BOTH,
            false => Wanted::VALUES,
        };
        let (problem, got, indices) = run(problem, Precision::F32, wanted);
        let (want, columns) = problem.reference_with_indices();
        for (got, want) in got.iter().zip(&want) {
            assert!(
                agree(*got, *want, 1e-4 * want.abs()),
                "{kind:?}: {got}, {want}"
            );
        }
        // If rounding may exchange values, the index of a nearly equal value is accepted.
        for (p, (got, wanted)) in indices.iter().zip(&columns).enumerate() {
            let near =
                |q: &usize| columns[*q] == *got && agree(want[*q], want[p], 1e-6 * want[p].abs());
            let close = got == wanted || (0..columns.len()).any(|q| near(&q));
            assert!(close || !indexed, "{kind:?}: {got} at {p}, not {wanted}");
        }
    }
}

#[test]
fn attention_and_nearest_neighbours() {
    only_where!(runs());
    let scores = x(0, 64).dot(&y(1, 64)) * Expr::constant(0.125);
    let attention = Expr::concat(vec![scores.clone(), y(2, 20)]);
    let problem = Problem::random(&attention, Axis::J, (17, 130), 4, (-1.0, 1.0));
    check(problem.reduced_by(ReductionKind::SoftmaxSum), SINGLE);
    let problem = Problem::random(&scores, Axis::J, (17, 130), 5, (-1.0, 1.0));
    check(
        problem.reduced_by(ReductionKind::LogSumExp { scores: 1 }),
        SINGLE,
    );
    let distance = x(0, 32).sqdist(&y(1, 32));
    let problem = Problem::random(&distance, Axis::J, (17, 130), 6, (-1.0, 1.0));
    check(problem.reduced_by(ReductionKind::Smallest { k: 5 }), SINGLE);
}

#[test]
fn differences_may_be_scaled() {
    only_where!(runs());
    let scaled = |scale: Expr| {
        let difference = (x(0, 18) - y(1, 18)) / scale;
        (-difference.square().inner_sum()).exp() * y(2, 1)
    };
    for scale in [s(3), p(3, 18)] {
        let problem = Problem::random(&scaled(scale), Axis::J, (20, 70), 7, (0.5, 3.0));
        check(problem, SINGLE);
    }
}

#[test]
fn factors_may_serve_the_rest_of_the_formula_too() {
    only_where!(runs());
    let norms = y(1, 16).square().inner_sum();
    let expr = wide(16) * norms.clone() + x(0, 16).dot(&y(1, 16));
    let gradient = Expr::concat(vec![wide(16), wide(16).slice(0, 1) * (x(0, 16) - y(1, 16))]);
    for expr in [expr, gradient] {
        let problem = Problem::random(&expr, Axis::J, (20, 70), 8, (-1.0, 1.0));
        check(problem, SINGLE);
    }
}

#[test]
fn batches_strides_parts_and_folds() {
    let mut rng = Rng::new(9);
    let tensor = |var: &Var| match var.axis() {
        Some(Axis::I) => Tensor::random(&[3, 1, 20, var.dim], &mut rng, -1.0, 1.0).transposed(),
        Some(Axis::J) => Tensor::random(&[2, 70, var.dim], &mut rng, -1.0, 1.0).spaced(),
        None => Tensor::random(&[var.dim], &mut rng, -1.0, 1.0),
    };
    let problem = Problem::new(&wide(16), Axis::J, &[3, 2], (20, 70), tensor, |_| 0.0);
    check(problem, SINGLE);
    // Skipped where a driver ends loops early, because the loops that replace the instruction have too many iterations.
    let client = client();
    let own = Device::new(client.properties(), client.name());
    if runs() && own.max_iterations.is_none() {
        let problem = Problem::random(&wide(16), Axis::J, (of_a_plane(3), 2100), 10, (-1.0, 1.0));
        let planned = planned(problem);
        assert!(planned.plan(&client, Precision::F32).parts > 1);
        check(planned, SINGLE);
    }
    let problem = Problem::random(&wide(16), Axis::J, (60, 70), 11, (-1.0, 1.0));
    check(problem.folded_into(17), SINGLE);
}

/// The squared distances between all pairs of `points`, computed and by the reference.
#[track_caller]
fn distances(points: Tensor, count: usize, dim: usize) -> (Vec<f64>, Vec<f64>) {
    let expr = x(0, dim).sqdist(&y(1, dim));
    let problem = Problem::new(
        &expr,
        Axis::J,
        &[],
        (count, count),
        |_| points.clone(),
        |_| 0.0,
    )
    .reduced_by(ReductionKind::Smallest { k: count });
    let (problem, got, _) = run(problem, Precision::F32, Wanted::BOTH);
    (got, problem.reference())
}

#[test]
fn distances_keep_their_digits_however_near_and_far_the_points_are() {
    only_where!(runs());
    let (count, dim) = (24, 16);
    let mut rng = Rng::new(12);
    for (offset, spread, scale) in [
        (0.0, 1.0, 1.0),
        (1000.0, 1.0, 1.0),
        (0.0, 1e-3, 1.0),
        (-3.0, 1e-5, 1e-12),
        (5.0, 1.0, 1e12),
    ] {
        // The points are pairs of neighbours, so that there are distances of all sizes.
        let mut values = Vec::new();
        for point in 0..count / 2 {
            let center = rng.vec(dim, -1.0, 1.0);
            for near in [0.0, spread * (point % 3) as f64] {
                let moved = center.iter().map(|c| {
                    let value = (offset + c + near * rng.uniform(-1.0, 1.0)) * scale;
                    value as f32 as f64
                });
                values.extend(moved.collect::<Vec<f64>>());
            }
        }
        let (got, want) = distances(Tensor::new(&[count, dim], values), count, dim);
        for (got, want) in got.iter().zip(&want) {
            assert!(
                agree(*got, *want, SINGLE * want),
                "{got}, not {want} ({offset}, {spread})"
            );
        }
    }
}

#[test]
fn products_are_off_by_rounding_only() {
    only_where!(runs());
    for (dim, scale) in [(16, 1.0), (64, 1e-15), (64, 1e15), (200, 1.0)] {
        // There is one column, so that the result is the inner product itself.
        let expr = x(0, dim).dot(&y(1, dim));
        let range = (-scale, scale);
        let problem = Problem::random(&expr, Axis::J, (40, 1), 13, range);
        let sizes = Problem::random(
            &x(0, dim).abs().dot(&y(1, dim).abs()),
            Axis::J,
            (40, 1),
            13,
            range,
        );
        let (problem, got, _) = run(problem, Precision::F32, Wanted::VALUES);
        for ((got, want), size) in got.iter().zip(problem.reference()).zip(sizes.reference()) {
            let off = (got - want).abs() / size;
            assert!(off < 1e-6, "{got}, not {want}: off by {off:.1e}");
        }
    }
}

#[test]
fn special_values_reach_what_they_reach_without() {
    only_where!(runs());
    let large = f32::MAX as f64;
    for special in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, large, -large] {
        for expr in [x(0, 16).dot(&y(1, 16)), x(0, 16).sqdist(&y(1, 16))] {
            for at_row in [true, false] {
                let mut rng = Rng::new(14);
                let tensor = |var: &Var| match var.axis() {
                    Some(Axis::I) if at_row => {
                        Tensor::random(&[20, 16], &mut rng, 0.5, 1.0).with(&[3, 5], special)
                    }
                    Some(Axis::J) if !at_row => {
                        Tensor::random(&[20, 16], &mut rng, 0.5, 1.0).with(&[3, 5], special)
                    }
                    _ => Tensor::random(&[20, 16], &mut rng, 0.5, 1.0),
                };
                // Minima ignore NaN and infinity if there are other columns.
                let problem = Problem::new(&expr, Axis::J, &[], (20, 20), tensor, |_| 0.0);
                let (problem, got, _) = run(problem, Precision::F32, Wanted::VALUES);
                for (k, (got, want)) in got.iter().zip(problem.reference()).enumerate() {
                    let want = match want.abs() > large {
                        true => want.signum() * f64::INFINITY,
                        false => want,
                    };
                    assert!(
                        agree(*got, want, SINGLE * want.abs()),
                        "row {k} of {expr} with {special} is {got}, not {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn halves_are_multiplied_as_they_are() {
    only_where!(runs());
    // Numbers that both types represent.
    let tensor = |seed: u64| {
        let mut rng = Rng::new(seed);
        move |var: &Var| {
            let len = if var.axis() == Some(Axis::I) { 20 } else { 70 };
            let values = rng.vec(len * var.dim, -8.0, 8.0);
            let values = values.iter().map(|v| v.round() / 8.0).collect();
            Tensor::new(&[len, var.dim], values)
        }
    };
    let dot = x(0, 40).dot(&y(1, 40)) * Expr::constant(0.1);
    for expr in [wide(20), dot.exp() * y(2, 1), gaussian(16, 1)] {
        for (precision, relative) in [(Precision::F16, 1e-3), (Precision::BF16, 8e-3)] {
            if !takes(precision) {
                continue;
            }
            let problem = Problem::new(&expr, Axis::J, &[], (20, 70), tensor(15), |_| 0.0);
            let (problem, got, _) = run(problem, precision, Wanted::VALUES);
            assert_close(&got, &problem.reference(), relative);
        }
    }
}

/// Asserts that sums of weighted columns are those of the host.
#[track_caller]
fn check_weighted(problem: Problem, relative: f64) {
    let planned = planned(problem);
    let plan = planned.plan(&client(), Precision::F32);
    assert!(plan.blueprint.schedule.weighted().is_some(), "{plan:?}");
    check(planned, relative);
}

/// The Gaussian kernel with a scale at which many columns contribute, times `width` components.
fn weighted(dim: usize, width: usize) -> Expr {
    (-x(0, dim).sqdist(&y(1, dim)) * Expr::constant(1.0 / dim as f64)).exp() * y(2, width)
}

fn attention(dim: usize, width: usize, scale: f64) -> Expr {
    let scores = x(0, dim).dot(&y(1, dim)) * Expr::constant(scale);
    Expr::concat(vec![scores, y(2, width)])
}

#[test]
fn weighted_sums_of_any_size() {
    only_where!(runs());
    for (m, n, dim, width) in [
        (4, 1, 3, 32),
        (9, 16, 16, 33),
        (8, 65, 3, 64),
        (17, 150, 24, 40),
        (11, 63, 61, 100),
    ] {
        let m = of_a_plane(m);
        let problem = Problem::random(&weighted(dim, width), Axis::J, (m, n), 20, (-1.0, 1.0));
        check_weighted(problem, SINGLE);
        let problem = Problem::random(
            &attention(dim, width, 1.0),
            Axis::J,
            (m, n),
            21,
            (-1.0, 1.0),
        );
        check_weighted(problem.reduced_by(ReductionKind::SoftmaxSum), SINGLE);
    }
    let over_rows = -(-x(0, 5).sqdist(&y(1, 5))).exp() * x(2, 40);
    let problem = Problem::random(&over_rows, Axis::I, (70, of_a_plane(9)), 22, (-1.0, 1.0));
    check_weighted(problem, SINGLE);
}

/// A bias of pairs is read from its operand, while instructions compute the products.
#[test]
fn scores_of_matrix_instructions_may_have_a_bias() {
    only_where!(runs());
    for reduced in [Axis::J, Axis::I] {
        let [rows, columns] = match reduced {
            Axis::J => [x, y],
            Axis::I => [y, x],
        };
        let scores = rows(0, 16).dot(&columns(1, 16)) + z(3, 1) * 4.0;
        let expr = Expr::concat(vec![scores, columns(2, 32)]);
        let (m, n) = match reduced {
            Axis::J => (of_a_plane(11), 63),
            Axis::I => (63, of_a_plane(11)),
        };
        let problem = Problem::random(&expr, reduced, (m, n), 24, (-1.0, 1.0));
        check_weighted(problem.reduced_by(ReductionKind::SoftmaxSum), SINGLE);
    }
}

#[test]
fn weights_of_exponentials_follow_their_maximum() {
    only_where!(runs());
    // Scores grow with the column, so that the maximum grows in each block.
    let (rows, columns, width) = (of_a_plane(12), 150, 32);
    for (step, sign) in [(0.3, 1.0), (40.0, 1.0), (40.0, -1.0)] {
        let mut rng = Rng::new(23);
        let tensor = |var: &Var| match (var.axis(), var.dim) {
            (Some(Axis::I), _) => Tensor::random(&[rows, 16], &mut rng, 0.5, 1.0),
            (_, 16) => {
                let value = |k: usize| (sign * step * (k / 16) as f64) as f32 as f64;
                Tensor::new(&[columns, 16], (0..columns * 16).map(value).collect())
            }
            _ => Tensor::random(&[columns, width], &mut rng, -1.0, 1.0),
        };
        let expr = attention(16, width, 0.1);
        let problem = Problem::new(&expr, Axis::J, &[], (rows, columns), tensor, |_| 0.0);
        check_weighted(problem.reduced_by(ReductionKind::SoftmaxSum), 1e-4);
    }
}

#[test]
fn weighted_sums_of_batches_strides_and_parts() {
    only_where!(runs());
    let mut rng = Rng::new(24);
    let tensor = |var: &Var| match var.axis() {
        Some(Axis::I) => Tensor::random(&[3, 1, 20, var.dim], &mut rng, -1.0, 1.0).transposed(),
        Some(Axis::J) => Tensor::random(&[2, 70, var.dim], &mut rng, -1.0, 1.0).spaced(),
        None => Tensor::random(&[var.dim], &mut rng, -1.0, 1.0),
    };
    let problem = Problem::new(
        &weighted(16, 32),
        Axis::J,
        &[3, 2],
        (20, 70),
        tensor,
        |_| 0.0,
    );
    check_weighted(problem, SINGLE);
    for (expr, kind) in [
        (weighted(3, 32), ReductionKind::Sum(Accumulation::Blocks)),
        (attention(16, 32, 1.0), ReductionKind::SoftmaxSum),
    ] {
        let problem = Problem::random(&expr, Axis::J, (of_a_plane(9), 2100), 25, (-1.0, 1.0))
            .reduced_by(kind);
        let planned = planned(problem);
        assert!(planned.plan(&client(), Precision::F32).parts > 1);
        check_weighted(planned, SINGLE);
    }
}

#[test]
fn special_values_reach_weighted_sums_as_without() {
    only_where!(runs());
    let (rows, columns, width) = (of_a_plane(10), 40, 32);
    let large = f32::MAX as f64;
    let specials = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, -large];
    for special in specials {
        for (expr, kind) in [
            (
                x(0, 16).dot(&y(1, 16)) * y(2, width),
                ReductionKind::Sum(Accumulation::Blocks),
            ),
            (attention(16, width, 1.0), ReductionKind::SoftmaxSum),
        ] {
            // The special value is in a row, in a column, or in a component that is summed up.
            for place in 0..3 {
                let mut rng = Rng::new(26);
                let tensor = |var: &Var| {
                    let (own, len) = match (var.axis(), var.dim) {
                        (Some(Axis::I), _) => (0, rows),
                        (_, 16) => (1, columns),
                        _ => (2, columns),
                    };
                    let values = Tensor::random(&[len, var.dim], &mut rng, 0.5, 1.0);
                    match own == place {
                        true => values.with(&[3, 5], special),
                        false => values,
                    }
                };
                let problem = Problem::new(&expr, Axis::J, &[], (rows, columns), tensor, |_| 0.0);
                let problem = problem.reduced_by(kind);
                let plain = problem.run(&client(), Precision::F32).expect("it runs");
                let (_, got, _) = run(problem, Precision::F32, Wanted::VALUES);
                for (k, (got, want)) in got.iter().zip(&plain).enumerate() {
                    assert!(
                        agree(*got, *want, SINGLE * want.abs()),
                        "value {k} of {expr} with {special} at {place} is {got}, without {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn weighted_sums_of_halves() {
    only_where!(runs());
    let tensor = |var: &Var| {
        let mut rng = Rng::new(27 + var.id);
        let len = if var.axis() == Some(Axis::I) {
            of_a_plane(9)
        } else {
            70
        };
        let values = rng.vec(len * var.dim, -8.0, 8.0);
        let values = values.iter().map(|v| v.round() / 8.0).collect();
        Tensor::new(&[len, var.dim], values)
    };
    for (expr, kind) in [
        (weighted(20, 32), ReductionKind::Sum(Accumulation::Blocks)),
        (attention(16, 40, 0.3), ReductionKind::SoftmaxSum),
    ] {
        for (precision, relative) in [(Precision::F16, 1e-3), (Precision::BF16, 8e-3)] {
            if !takes(precision) {
                continue;
            }
            let problem = Problem::new(&expr, Axis::J, &[], (of_a_plane(9), 70), tensor, |_| 0.0);
            let problem = planned(problem.reduced_by(kind));
            let plan = problem.plan(&client(), precision);
            assert!(plan.blueprint.schedule.weighted().is_some(), "{plan:?}");
            let (problem, got, _) = run(problem, precision, Wanted::VALUES);
            assert_close(&got, &problem.reference(), relative);
        }
    }
}

#[test]
fn sums_of_differences_keep_their_digits_however_near_and_far_the_points_are() {
    only_where!(runs());
    let (count, dim) = (24, 32);
    let mut rng = Rng::new(28);
    for (offset, spread, width) in [(0.0, 1.0, 0.05), (1000.0, 1.0, 0.05), (5.0, 1e-3, 1e4)] {
        // The points are pairs of neighbours. For a narrow kernel only neighbours contribute.
        let mut values = Vec::new();
        for _ in 0..count / 2 {
            let center = rng.vec(dim, -1.0, 1.0);
            for near in [0.0, spread] {
                let moved = center.iter().map(|c| {
                    let value = offset + c + near * rng.uniform(-1.0, 1.0);
                    value as f32 as f64
                });
                values.extend(moved.collect::<Vec<f64>>());
            }
        }
        let points = Tensor::new(&[count, dim], values);
        let weights = Tensor::new(&[count, 1], rng.vec(count, 0.5, 1.0));
        let tensor = |var: &Var| match var.dim {
            1 => weights.clone(),
            _ => points.clone(),
        };
        let weight = (-x(0, dim).sqdist(&y(1, dim)) * Expr::constant(width)).exp() * y(2, 1);
        let expr = weight.clone() * (x(0, dim) - y(1, dim));
        let problem = Problem::new(&expr, Axis::J, &[], (count, count), tensor, |_| 0.0);
        let problem = planned(problem);
        let plan = problem.plan(&client(), Precision::F32);
        assert!(plan.blueprint.schedule.weighted().is_some(), "{plan:?}");
        // The error is relative to the sum of the lengths of the summed vectors.
        let lengths = weight * x(0, dim).sqdist(&y(1, dim)).sqrt();
        let sizes = Problem::new(&lengths, Axis::J, &[], (count, count), tensor, |_| 0.0);
        let (problem, got, _) = run(problem, Precision::F32, Wanted::VALUES);
        let want = problem.reference();
        for (row, size) in sizes.reference().iter().enumerate() {
            for k in row * dim..(row + 1) * dim {
                let off = (got[k] - want[k]).abs() / size;
                assert!(
                    off < SINGLE,
                    "{} is not {}: off by {off:.1e} ({offset}, {spread}, {width})",
                    got[k],
                    want[k]
                );
            }
        }
    }
}
