//! Operands that have a value for each pair.
//!
//! Operands are small integers unless stated otherwise, so that every type represents them.

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, LaunchError, OperandError, Precision, Ranges, ReductionKind, Wanted,
    expr::Var,
};

use crate::{
    device::{
        Engine, Problem, Tensor, assert_close, by_precision, client, engine, own_shape, precisions,
        small_gpu,
    },
    reductions::{all_kinds, check_wanted, formula, has_indices, integers},
    support::{Rng, p, x, y, z},
};

const SUM: ReductionKind = ReductionKind::Sum(Accumulation::Blocks);

const SINGLE: f64 = 2e-6;
const DOUBLE: f64 = 1e-13;

/// The memory layout of the tensors of pairs.
#[derive(Clone, Copy, Debug)]
enum Form {
    Packed,
    /// Columns before rows.
    Swapped,
    /// With gaps between rows and between columns.
    Spaced,
    /// All rows are the same, or all columns are.
    OneRow,
    OneColumn,
    /// One tensor for all batches.
    Shared,
}

const FORMS: [Form; 6] = [
    Form::Packed,
    Form::Swapped,
    Form::Spaced,
    Form::OneRow,
    Form::OneColumn,
    Form::Shared,
];

/// The sum of `expr` over two batches.
fn problem(expr: &Expr, reduced: Axis, (m, n): (usize, usize), form: Form) -> Problem {
    let mut rng = Rng::new((m * 1000 + n) as u64);
    let tensor = |var: &Var| {
        let mut shape = own_shape(var, (m, n));
        let of_pairs = var.is_of_pairs();
        match form {
            Form::OneRow if of_pairs => shape[0] = 1,
            Form::OneColumn if of_pairs => shape[1] = 1,
            _ => {}
        }
        let shared = matches!(form, Form::Shared) && of_pairs || var.axis() == Some(Axis::J);
        if !shared {
            shape.insert(0, 2);
        }
        let tensor = integers(&shape, &mut rng);
        match form {
            Form::Swapped if of_pairs => tensor.swapped([1, 2]),
            Form::Spaced => tensor.spaced(),
            Form::OneRow if of_pairs => tensor.repeated(1, m),
            Form::OneColumn if of_pairs => tensor.repeated(2, n),
            _ => tensor,
        }
    };
    Problem::new(expr, reduced, &[2], (m, n), tensor, |_| 0.0)
}

/// A Gaussian of distances with a bias of pairs, times a factor of pairs.
fn biased(dim: usize) -> Expr {
    (-(x(0, dim).sqdist(&y(1, dim)) * 0.05) + z(2, 1) * 0.25).exp() * z(3, 2) * y(4, 2)
}

#[test]
fn every_reduction_of_an_operand_of_pairs_matches_its_definition() {
    // More components use the same code.
    let kinds = all_kinds().into_iter().filter(|(dim, _)| *dim < 10);
    for (turn, (dim, kind)) in kinds.enumerate() {
        // Pairs are added to all components, also to scores.
        let expr = formula(kind, dim);
        let pairs = z(9, expr.dim());
        let expr = match kind {
            ReductionKind::Product => expr * (pairs * 0.25 + 1.25),
            _ => expr + pairs,
        };
        let form = FORMS[turn % FORMS.len()];
        let (reduced, sizes) = match turn % 2 {
            0 => (Axis::J, (9, 37)),
            _ => (Axis::I, (37, 9)),
        };
        let problem = problem(&expr, reduced, sizes, form).reduced_by(kind);
        let wanted = match has_indices(kind) {
            true => Wanted::BOTH,
            false => Wanted::VALUES,
        };
        let all = precisions();
        check_wanted(&problem, all[turn / 2 % all.len()], &[wanted]);
    }
}

#[test]
fn sums_of_all_sizes_and_layouts_match_the_host() {
    let sizes = [(1, 1), (2, 130), (17, 16), (130, 3), (16, 1), (33, 129)];
    for (turn, form) in FORMS.into_iter().enumerate() {
        for reduced in [Axis::J, Axis::I] {
            for sizes in [sizes[turn], sizes[(turn + 3) % sizes.len()]] {
                problem(&biased(3), reduced, sizes, form).check(SINGLE, DOUBLE);
            }
        }
    }
}

#[test]
fn sums_over_nothing_are_zero() {
    for (reduced, sizes) in [(Axis::J, (5, 0)), (Axis::I, (0, 5)), (Axis::J, (0, 5))] {
        problem(&biased(3), reduced, sizes, Form::Packed).check(SINGLE, DOUBLE);
    }
}

/// Components of pairs are read in a loop, from the first component or from a later one.
#[test]
fn long_inner_axes_of_pairs_match_the_host() {
    let dot = (z(0, 20) * y(1, 20)).inner_sum();
    let sliced = (z(0, 40).slice(13, 20) * x(1, 20)).inner_sum() + y(2, 1);
    let stored = z(0, 20) * y(1, 1) + x(2, 20);
    for expr in [dot, sliced, stored] {
        for form in [Form::Packed, Form::Swapped, Form::Spaced] {
            for reduced in [Axis::J, Axis::I] {
                problem(&expr, reduced, (19, 21), form).check(SINGLE, DOUBLE);
            }
        }
    }
}

/// Kernels for graphics cards stage columns for several rows. Values of pairs are read from their operand.
#[test]
fn tiles_that_rows_share_leave_pairs_where_they_are() {
    for expr in [biased(3), biased(20)] {
        for reduced in [Axis::J, Axis::I] {
            let problem = problem(&expr, reduced, (37, 70), Form::Packed);
            problem.planned_for(small_gpu()).check(SINGLE, DOUBLE);
        }
    }
}

#[test]
fn weighted_sums_of_pairs_match_the_host() {
    // Scores with a bias, as in attention, with as many components as matrix instructions take.
    let scores = (x(0, 16) * y(1, 16)).inner_sum() * 0.1 + z(2, 1);
    let expr = Expr::concat(vec![scores, y(3, 16)]);
    for reduced in [Axis::J, Axis::I] {
        for form in [Form::Packed, Form::Swapped] {
            let problem = problem(&expr, reduced, (70, 65), form);
            let problem = problem.reduced_by(ReductionKind::SoftmaxSum);
            let want = problem.reference();
            for precision in precisions() {
                let got = problem
                    .run(&client(), *precision)
                    .expect("the launch succeeds");
                assert_close(&got, &want, by_precision(*precision, 2e-3, 1e-12));
            }
        }
    }
}

#[test]
fn rows_of_pairs_are_added_up() {
    for reduced in [Axis::J, Axis::I] {
        let problem = problem(&biased(3), reduced, (29, 31), Form::Packed);
        problem.folded_into(4).check(SINGLE, DOUBLE);
    }
}

#[test]
fn pairs_in_ranges_match_the_host() {
    let lengths = [3usize, 0, 17, 10];
    let ranges = Ranges::lengths(&lengths, &[5, 1, 20, 14]).expect("they fit");
    let problem = problem(&biased(3), Axis::J, (30, 40), Form::Packed).in_ranges(ranges);
    let bounds = |sizes: &[usize], at: usize| {
        let ends = sizes.iter().scan(0, |end, size| {
            *end += size;
            Some(*end)
        });
        ends.take_while(|end| *end <= at).count()
    };
    let exist = |_, i, j| bounds(&lengths, i) == bounds(&[5, 1, 20, 14], j);
    let (want, _) = problem.reference_where(&exist);
    for precision in precisions() {
        let got = problem
            .run(&client(), *precision)
            .expect("the launch succeeds");
        assert_close(&got, &want, by_precision(*precision, SINGLE, DOUBLE));
    }
}

#[test]
fn parts_of_columns_match_the_whole() {
    let problem = problem(&biased(3), Axis::J, (9, 60), Form::Packed).reduced_by(SUM);
    let want = problem.reference();
    for precision in precisions() {
        let cuts = [1, 17, 40];
        let got = problem.run_in_parts(&client(), *precision, Wanted::VALUES, &cuts, false);
        let (got, _) = got.expect("the launch succeeds");
        assert_close(&got, &want, by_precision(*precision, SINGLE, DOUBLE));
    }
}

#[test]
fn tensors_of_pairs_that_are_too_small_are_refused() {
    if engine() == Engine::Host {
        return;
    }
    let expr = x(0, 1) + z(1, 2) + p(2, 1);
    for (shape, reason) in [
        ([4, 6, 2], "5 rows are read"),
        ([5, 5, 2], "6 columns are read"),
        ([5, 6, 1], "2 components are read"),
    ] {
        let tensor = |var: &Var| match var.is_of_pairs() {
            true => Tensor::new(&shape, vec![1.0; shape.iter().product()]),
            false => Tensor::new(
                &own_shape(var, (5, 6)),
                vec![1.0; own_shape(var, (5, 6))[0]],
            ),
        };
        let problem = Problem::new(&expr, Axis::J, &[], (5, 6), tensor, |_| 0.0);
        match problem.run(&client(), Precision::F32) {
            Err(LaunchError::Operands(OperandError::Tensor {
                index, reason: own, ..
            })) => {
                assert_eq!((index, own.as_str()), (1, reason));
            }
            other => panic!("it is refused, not {other:?}"),
        }
    }
}
