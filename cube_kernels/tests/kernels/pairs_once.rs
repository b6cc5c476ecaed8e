//! Sums over pairs of points of one set, each pair evaluated once where the runtime does that, against their definition
//! in `f64` and against the same sums with each pair evaluated twice.

use std::collections::HashMap;

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, Precision, ReductionKind, Wanted,
    catalogue::ScalarOp,
    check_device,
    expr::{Place, Var},
    same_tensors,
};
use cubecl::{
    prelude::*,
    zspace::{Shape, Strides},
};

use crate::{
    device::{
        Problem, Runtime, Tensor, assert_close, by_precision, client, precisions, runtime, takes,
    },
    shapes::gaussian_sums,
    support::{Rng, agree, gaussian, x, y},
    symmetric::kernels,
};

/// Tolerances relative to the largest output.
const SINGLE: f64 = 2e-6;
const DOUBLE: f64 = 1e-13;

/// The sum of `expr`, in which the operands 0 and 1 are the same `n` points. `change` may change the operands.
fn problem(
    expr: &Expr,
    reduced: Axis,
    n: usize,
    change: impl Fn(&Var, Tensor) -> Tensor,
) -> Problem {
    let mut known: HashMap<u64, Tensor> = HashMap::new();
    let mut rng = Rng::new(n as u64);
    let tensor = |var: &Var| {
        let id = if var.id == 1 { 0 } else { var.id };
        let new = || {
            let shape = match var.axis() {
                Some(_) => vec![n, var.dim],
                None => vec![var.dim],
            };
            let scale = 2.0 / (var.dim as f64).sqrt();
            change(var, Tensor::random(&shape, &mut rng, 0.1, 0.1 + scale))
        };
        known.entry(id).or_insert_with(new).clone()
    };
    Problem::new(expr, reduced, &[], (n, n), tensor, |_| 0.7).of_the_same_points(0)
}

fn plain(expr: &Expr, n: usize) -> Problem {
    problem(expr, Axis::J, n, |_, tensor| tensor)
}

/// The number of rows of a vector and of a strip, if pairs are evaluated once.
fn strip(problem: &Problem, precision: Precision) -> Option<(usize, usize)> {
    let plan = problem.plan(&client(), precision);
    Some((plan.lanes(), plan.blueprint.schedule.strip()?))
}

#[track_caller]
fn assert_once(problem: &Problem) {
    let once = strip(problem, Precision::F32).is_some();
    assert_eq!(once, runtime() == Runtime::Cpu, "{}", problem.formula);
}

/// Checks Gaussian sums for sizes around those of vectors, blocks and strips.
fn check_sizes(dim: usize, width: usize, reduced: Axis) {
    let expr = match reduced {
        Axis::J => gaussian(dim, width),
        Axis::I => gaussian(dim, width).transpose(),
    };
    for precision in precisions() {
        let any = problem(&expr, reduced, 100, |_, tensor| tensor);
        assert_once(&any);
        let (lanes, strip) = strip(&any, *precision).unwrap_or((16, 100));
        let mut sizes = vec![1, 2, lanes - 1, lanes, lanes + 1, 2 * lanes + 1];
        sizes.extend([strip - 1, strip, strip + 1, strip + lanes + 1]);
        if strip * dim < 4000 {
            sizes.push(3 * strip + 5);
        }
        for n in sizes {
            let problem = problem(&expr, reduced, n, |_, tensor| tensor);
            let got = problem
                .run(&client(), *precision)
                .expect("the launch succeeds");
            let relative = by_precision(*precision, SINGLE, DOUBLE);
            match reduced {
                Axis::J => assert_close(&got, &gaussian_sums(&problem), relative),
                Axis::I if n < 200 => assert_close(&got, &problem.reference(), relative),
                Axis::I => {}
            }
        }
    }
}

#[test]
fn sums_of_all_sizes_are_those_of_the_definition() {
    check_sizes(3, 1, Axis::J);
    check_sizes(1, 3, Axis::J);
    check_sizes(3, 2, Axis::I);
}

#[test]
fn loops_over_long_vectors_are_shared() {
    check_sizes(20, 1, Axis::J);
    check_sizes(64, 16, Axis::J);
}

#[test]
fn symmetric_kernels_of_all_kinds_are_summed() {
    for kernel in kernels() {
        let problem = plain(&(kernel * y(2, 1)), 75);
        assert_once(&problem);
        let got = problem
            .run(&client(), Precision::F32)
            .expect("the launch succeeds");
        assert_close(&got, &problem.reference(), 1e-5);
    }
    let kernel = kernels().swap_remove(0);
    for expr in [kernel.clone(), kernel * y(2, 5)] {
        let problem = plain(&expr, 75);
        assert_once(&problem);
        problem.check(SINGLE, DOUBLE);
    }
}

#[test]
fn formulas_that_share_a_kernel_are_summed() {
    let (a, b) = (x(0, 3), y(1, 3));
    let kernel = (-a.sqdist(&b)).exp();
    let offset = Expr::place(Place::Offset);
    let below = Expr::scalar(ScalarOp::GreaterEqual, vec![offset, Expr::constant(0.0)]);
    let difference = a - b;
    for expr in [
        kernel.clone() * difference.clone(),
        kernel.clone() * x(4, 1) * y(2, 1),
        kernel.clone() * below,
        kernel.clone() * difference.slice(0, 1) * y(2, 1).exp(),
        // Only the kernel depends on columns, or only the kernel depends on rows.
        kernel.clone() + x(4, 1),
        (kernel + y(2, 1).square()) * y(2, 1),
    ] {
        let problem = plain(&expr, 83);
        assert_once(&problem);
        problem.check(SINGLE, DOUBLE);
    }
}

#[test]
fn tensors_of_any_strides_are_read() {
    for change in [Tensor::transposed, Tensor::spaced] {
        let problem = problem(&gaussian(3, 2), Axis::J, 61, |_, tensor| change(&tensor));
        assert_once(&problem);
        problem.check(SINGLE, DOUBLE);
    }
}

/// Asserts that evaluating pairs once or twice gives the same values up to rounding, and NaN at the same places.
#[track_caller]
fn check_against_twice(problem: impl Fn() -> Problem) {
    let (once, mut twice) = (problem(), problem());
    assert_once(&once);
    twice.symmetric = None;
    for precision in precisions() {
        let [got, want] = [&once, &twice].map(|problem| {
            problem
                .run(&client(), *precision)
                .expect("the launch succeeds")
        });
        let finite = want.iter().filter(|value| value.is_finite());
        let largest = finite.fold(1e-30, |largest: f64, value| largest.max(value.abs()));
        let relative = by_precision(*precision, SINGLE, DOUBLE);
        for (k, (got, want)) in got.iter().zip(&want).enumerate() {
            assert!(
                agree(*got, *want, relative * largest),
                "{k}: {got} and {want}"
            );
        }
    }
}

#[test]
fn nan_and_infinity_go_where_they_go() {
    let n = 1030;
    let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    for value in special {
        for row in [0, 5, 15, 16, 700, n - 1] {
            for changed in [0, 2] {
                let change = |var: &Var, tensor: Tensor| match var.id {
                    id if id == changed => tensor.with(&[row, 0], value),
                    _ => tensor,
                };
                check_against_twice(|| problem(&gaussian(2, 1), Axis::J, n, change));
            }
        }
    }
    // Products with 0 that are NaN, and products that overflow.
    let change = |var: &Var, tensor: Tensor| match var.id {
        2 => tensor.with(&[7, 0], f64::INFINITY).with(&[90, 1], 1e38),
        _ => tensor.with(&[3, 0], 1e4),
    };
    check_against_twice(|| problem(&gaussian(2, 3), Axis::J, n, change));
    let inverse = (x(0, 1) - y(1, 1)).square().recip() * y(2, 1);
    check_against_twice(|| problem(&inverse, Axis::J, 75, |_, tensor| tensor));
}

#[test]
fn results_are_the_same_each_time() {
    let problem = plain(&gaussian(3, 2), 3000);
    let [first, second] = [0, 1].map(|_| {
        problem
            .run(&client(), Precision::F32)
            .expect("the launch succeeds")
    });
    assert_eq!(first, second);
}

#[test]
fn ten_thousand_points_are_summed_to_three_parts_in_ten_million() {
    let problem = plain(&gaussian(3, 1), 10_000);
    let want = gaussian_sums(&problem);
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    for precision in precisions() {
        let got = problem
            .run(&client(), *precision)
            .expect("the launch succeeds");
        let off = norm(&mut got.iter().zip(&want).map(|(g, w)| g - w));
        let off = off / norm(&mut want.iter().copied());
        let most = by_precision(*precision, 3e-7, 1e-15);
        assert!(off <= most, "off by {off:.2e} in {precision:?}");
    }
}

#[test]
fn halves_and_double_sums_are_supported() {
    let client = client();
    for accumulation in [Accumulation::Blocks, Accumulation::Double] {
        for (precision, relative) in [
            (Precision::F16, 2e-3),
            (Precision::BF16, 1.6e-2),
            (Precision::F32, SINGLE),
        ] {
            let kind = ReductionKind::Sum(accumulation);
            let supported = check_device(&client, precision, kind, Wanted::VALUES, 3).is_ok();
            if !supported || !takes(precision) {
                continue;
            }
            // Values that 16 bits represent.
            let round = |_: &Var, tensor: Tensor| tensor.rounded(64.0);
            let problem = problem(&gaussian(3, 1), Axis::J, 75, round).reduced_by(kind);
            assert_once(&problem);
            let got = problem
                .run(&client, precision)
                .expect("the launch succeeds");
            assert_close(&got, &problem.reference(), relative);
        }
    }
}

#[test]
fn the_same_tensors_are_found() {
    let client = client();
    let buffer = client.create_from_slice(f32::as_bytes(&[0.0; 1024]));
    let other = client.create_from_slice(f32::as_bytes(&[0.0; 1024]));
    let binding =
        |handle: cubecl::server::Handle, shape: [usize; 2], strides: [usize; 2]| TensorBinding {
            handle: handle.binding(),
            strides: Strides::new(&strides),
            shape: Shape::from(shape.to_vec()),
            tiling: Default::default(),
        };
    let own = || binding(buffer.clone(), [10, 3], [3, 1]);
    let all = [
        own(),
        binding(other, [10, 3], [3, 1]),
        own(),
        // Another part of the buffer, other strides, another shape.
        binding(buffer.clone().offset_start(512), [10, 3], [3, 1]),
        binding(buffer.clone(), [10, 3], [1, 10]),
        binding(buffer.clone(), [9, 3], [3, 1]),
        binding(buffer.clone().offset_start(512), [10, 3], [3, 1]),
    ];
    assert_eq!(same_tensors(&all), [0, 1, 0, 3, 4, 5, 3]);
}
