//! Partial results as tensors: columns are split anywhere, and the partial results are merged.

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, LaunchError, Output, Parts, PartsAt, Precision, ReductionKind,
    Wanted,
    expr::{Place, Var},
};
use cubecl::{
    prelude::*,
    zspace::{Shape, Strides},
};

use super::reductions::{
    ALL_WANTED, all_kinds, has_indices, integers, precisions_of, problem, relative, supported,
};
use crate::{
    device::{Problem, Runtime, assert_close, client, runtime},
    support::{Rng, x, y},
};

/// Columns are split in two or more parts at any place. The merged parts must give the values, columns and counts of
/// the whole.
#[test]
fn merged_parts_of_columns_are_the_whole() {
    let mut rng = Rng::new(31);
    // Shaders take long to compile, so fewer kinds are tested there.
    let every = match runtime() {
        Runtime::Cpu | Runtime::Cuda => 1,
        Runtime::Wgpu => 2,
        Runtime::Vulkan => 4,
    };
    for (turn, (dim, kind)) in all_kinds().into_iter().enumerate().step_by(every) {
        let columns = match kind {
            // Longer products overflow.
            ReductionKind::Product => 40,
            _ => [5, 131, 700][turn % 3],
        };
        let problem = problem(kind, dim, Axis::J, (19, columns), &[2], 8 + turn as u64);
        let mut cuts: Vec<usize> = (0..1 + turn % 3)
            .map(|_| (rng.bits() % columns as u64) as usize)
            .collect();
        cuts.sort_unstable();
        let precision = precisions_of(dim)[turn % precisions_of(dim).len()];
        if !supported(kind, precision) {
            continue;
        }
        check_parts(&problem, precision, &cuts);
    }
    // A part with one column, and an empty part.
    for cuts in [&[1][..], &[130], &[0], &[131], &[]] {
        for kind in [
            ReductionKind::Sum(Accumulation::Blocks),
            ReductionKind::Smallest { k: 3 },
            ReductionKind::Count,
        ] {
            check_parts(
                &problem(kind, 1, Axis::J, (19, 131), &[], 3),
                Precision::F32,
                cuts,
            );
        }
    }
}

fn check_parts(problem: &Problem, precision: Precision, cuts: &[usize]) {
    let client = client();
    let kind = problem.reduction;
    let (values, indices) = problem.reference_with_indices();
    let all: &[Wanted] = if has_indices(kind) {
        &ALL_WANTED
    } else {
        &[Wanted::VALUES]
    };
    for wanted in all {
        for each_time in [false, true] {
            let (got, found) = problem
                .run_in_parts(&client, precision, *wanted, cuts, each_time)
                .expect("it is supported");
            let what = format!(
                "{kind:?} of {} cut at {cuts:?}, {wanted:?}",
                problem.formula
            );
            if wanted.values && has_indices(kind) {
                assert_eq!(got, values, "{what}");
            } else if wanted.values {
                println!("{what}");
                assert_close(&got, &values, relative(precision));
            }
            if wanted.indices {
                assert_eq!(found, indices, "{what}");
            }
        }
    }
}

#[test]
fn parts_know_where_their_columns_are() {
    // The index of a column counts all columns, not those of the part.
    let place = Expr::place(Place::Index(Axis::J));
    let expr = x(0, 1) * y(1, 1) + place.clone() * place;
    let mut rng = Rng::new(2);
    let tensor = |var: &Var| {
        integers(
            &[if var.axis() == Some(Axis::I) { 9 } else { 77 }, 1],
            &mut rng,
        )
    };
    let problem = Problem::new(&expr, Axis::J, &[], (9, 77), tensor, |_| 0.0);
    let problem = problem.reduced_by(ReductionKind::Maximum);
    check_parts(&problem, Precision::F32, &[13, 40]);
    let problem = problem.reduced_by(ReductionKind::Sum(Accumulation::Blocks));
    check_parts(&problem, Precision::F32, &[13, 40]);
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let client = client();
    let problem = problem(ReductionKind::Minimum, 1, Axis::J, (5, 40), &[], 1);
    let cuts: Vec<usize> = (1..40).flat_map(|cut| [cut; 11]).collect();
    let all = problem.run_in_parts(&client, Precision::F32, Wanted::VALUES, &cuts, false);
    // Empty ranges of columns make no parts, so the buffer is long enough.
    assert!(all.is_ok());
    let launch = problem.launch(40, Precision::F32);
    let sizes = launch.part_sizes(Wanted::BOTH, 3);
    assert_eq!((sizes.values, sizes.indices), (15, 15));
    assert_eq!(launch.part_sizes(Wanted::VALUES, 3).indices, 0);
    let short = client.empty(14 * size_of::<f32>());
    let binding = |len: usize, stride: usize| TensorBinding {
        handle: short.clone().binding(),
        strides: Strides::new(&[stride]),
        shape: Shape::from(vec![len]),
        tiling: Default::default(),
    };
    let parts = |values, count| Parts {
        values,
        indices: None,
        count,
    };
    let merge = |parts: Parts| launch.merge(&client, &parts, Output::default());
    let error = merge(parts(binding(14, 1), 3)).unwrap_err();
    assert_eq!(
        error,
        LaunchError::PartSize {
            what: "values",
            given: 14,
            len: 15
        }
    );
    let error = merge(parts(binding(10, 2), 2)).unwrap_err();
    assert_eq!(error, LaunchError::PartStrides { what: "values" });
    let error = merge(parts(binding(14, 1), 0)).unwrap_err();
    assert_eq!(error, LaunchError::NoParts);
    let own = parts(binding(10, 1), 2);
    let place = PartsAt {
        start: 0,
        parts: &own,
        first: 2,
    };
    let error = launch
        .run_parts(
            &client,
            problem.bindings(&client, Precision::F32),
            &[],
            Wanted::VALUES,
            place,
        )
        .unwrap_err();
    assert!(
        matches!(
            error,
            LaunchError::TooManyParts {
                first: 2,
                count: 2,
                ..
            }
        ),
        "{error}"
    );
}
