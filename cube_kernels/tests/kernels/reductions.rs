//! Every reduction against its definition in `f64`.

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, Precision, ReductionKind, Wanted,
    catalogue::ScalarOp,
    check_device,
    expr::{Place, Var},
};
use proptest::prelude::*;

use crate::{
    device::{
        Problem, Runtime, Tensor, assert_close, by_precision, client, precisions, runtime, skipped,
        takes,
    },
    random::config,
    support::{Rng, p, x, y},
};

/// A formula of `dim` components for `kind` to reduce. For reductions with weights the first `scores` components are
/// scores.
pub fn formula(kind: ReductionKind, dim: usize) -> Expr {
    let scores = x(0, dim) * y(1, dim) + p(2, 1);
    match kind {
        ReductionKind::LogSumExp { scores: 1 } => {
            Expr::concat(vec![scores.slice(0, 1), y(3, dim) + 2.5])
        }
        ReductionKind::SoftmaxSum => Expr::concat(vec![scores.inner_sum(), x(0, dim) - y(3, dim)]),
        ReductionKind::Product => scores * 0.25 + 1.0,
        _ => scores,
    }
}

/// Every kind of reduction for formulas of `dim` components.
fn kinds(dim: usize) -> Vec<ReductionKind> {
    // Shader compilers take minutes for long lists.
    let long = if dim == 1 && runtime() == Runtime::Cpu {
        20
    } else {
        5
    };
    vec![
        ReductionKind::Sum(Accumulation::Blocks),
        ReductionKind::Sum(Accumulation::Kahan),
        ReductionKind::Sum(Accumulation::Double),
        ReductionKind::Product,
        ReductionKind::LogSumExp { scores: dim },
        ReductionKind::LogSumExp { scores: 1 },
        ReductionKind::SoftmaxSum,
        ReductionKind::Minimum,
        ReductionKind::Maximum,
        ReductionKind::Smallest { k: 1 },
        ReductionKind::Smallest { k: 3 },
        ReductionKind::Smallest { k: long },
        ReductionKind::Variance { unbiased: true },
        ReductionKind::Variance { unbiased: false },
    ]
}

/// Numbers of components with kinds of reductions: all of them, except those that shader compilers take minutes for.
pub fn all_kinds() -> Vec<(usize, ReductionKind)> {
    let quick = |dim: usize, kind: &ReductionKind| {
        let listed = matches!(kind, ReductionKind::Smallest { .. });
        match runtime() {
            Runtime::Cpu | Runtime::Cuda => true,
            Runtime::Wgpu => dim < 10 || !listed,
            Runtime::Vulkan => dim == 1 || (dim == 3 && !listed),
        }
    };
    let all = [1, 3, 10].into_iter();
    all.flat_map(|dim| kinds(dim).into_iter().map(move |kind| (dim, kind)))
        .filter(|(dim, kind)| quick(*dim, kind))
        .collect()
}

/// All precisions for one component, and one precision for several components, because kernels take long to compile.
pub fn precisions_of(dim: usize) -> &'static [Precision] {
    let all = precisions();
    match dim {
        1 => all,
        _ => &all[dim % all.len()..][..1],
    }
}

/// Whether the result has column indices.
pub fn has_indices(kind: ReductionKind) -> bool {
    matches!(
        kind,
        ReductionKind::Minimum | ReductionKind::Maximum | ReductionKind::Smallest { .. }
    )
}

pub fn supported(kind: ReductionKind, precision: Precision) -> bool {
    check_device(&client(), precision, kind, Wanted::BOTH, 4).is_ok()
}

/// Small integers, so that every type represents them and equal values are frequent.
pub fn integers(shape: &[usize], rng: &mut Rng) -> Tensor {
    let len = shape.iter().product();
    let values = rng.vec(len, -4.0, 5.0).into_iter().map(f64::floor);
    Tensor::new(shape, values.collect())
}

pub fn problem(
    kind: ReductionKind,
    dim: usize,
    reduced: Axis,
    (m, n): (usize, usize),
    batch: &[usize],
    seed: u64,
) -> Problem {
    problem_of(&formula(kind, dim), reduced, (m, n), batch, seed).reduced_by(kind)
}

/// The sum of a formula over operands of small integers.
pub fn problem_of(
    expr: &Expr,
    reduced: Axis,
    (m, n): (usize, usize),
    batch: &[usize],
    seed: u64,
) -> Problem {
    let mut rng = Rng::new(seed);
    let tensor = |var: &Var| {
        // The columns have no batch dimensions, the rows have all of them.
        let mut shape = match var.axis() {
            Some(Axis::I) => batch.to_vec(),
            _ => vec![],
        };
        match var.axis() {
            Some(Axis::I) => shape.push(m),
            Some(Axis::J) => shape.push(n),
            None => {}
        }
        shape.push(var.dim);
        integers(&shape, &mut rng)
    };
    Problem::new(expr, reduced, batch, (m, n), tensor, |_| 0.0)
}

/// The results that may be wanted of a reduction with column indices.
pub const ALL_WANTED: [Wanted; 3] = [Wanted::VALUES, Wanted::INDICES, Wanted::BOTH];

/// The relative error that is allowed for values of reductions without indices.
pub fn relative(precision: Precision) -> f64 {
    match precision {
        Precision::F16 => 1e-3,
        Precision::BF16 => 8e-3,
        _ => by_precision(precision, 2e-6, 1e-13),
    }
}

/// Checks the values and, if there are any, the column indices.
fn check(problem: &Problem, precision: Precision) {
    check_wanted(problem, precision, &[Wanted::BOTH]);
}

pub fn check_wanted(problem: &Problem, precision: Precision, all: &[Wanted]) {
    if supported(problem.reduction, precision) {
        check_given(
            problem,
            precision,
            all,
            problem.reference_with_indices(),
            "",
        );
    }
}

/// Asserts that `problem` gives these values and columns. `what` describes the problem in messages.
pub fn check_given(
    problem: &Problem,
    precision: Precision,
    all: &[Wanted],
    (values, indices): (Vec<f64>, Vec<i64>),
    what: &str,
) {
    let kind = problem.reduction;
    let client = client();
    let what = format!(
        "{what} {kind:?} over {} of {}",
        problem.reduced, problem.formula
    );
    if !has_indices(kind) {
        let got = problem.run(&client, precision).expect("it is supported");
        println!("{what}");
        assert_close(&got, &values, relative(precision));
        return;
    }
    for wanted in all {
        let (got, found) = problem
            .run_for(&client, precision, *wanted)
            .expect("it is supported");
        if wanted.values {
            assert_eq!(got, values, "{what}");
        }
        if wanted.indices {
            assert_eq!(found, indices, "{what}");
        }
    }
}

#[test]
fn every_reduction_matches_its_definition() {
    for (dim, kind) in all_kinds() {
        let reduced = if dim == 3 { Axis::I } else { Axis::J };
        let problem = problem(kind, dim, reduced, (34, 131), &[], 3);
        for precision in precisions_of(dim) {
            check_wanted(&problem, *precision, &ALL_WANTED);
        }
    }
}

#[test]
fn every_reduction_over_split_columns_matches_its_definition() {
    for (dim, kind) in all_kinds() {
        if kind == ReductionKind::Product {
            continue; // The product overflows.
        }
        let problem = problem(kind, dim, Axis::J, (3, 5001), &[2], 4);
        assert!(problem.plan(&client(), Precision::F32).parts > 1);
        let wanted: &[Wanted] = match dim {
            1 => &ALL_WANTED,
            _ => &[Wanted::BOTH],
        };
        for precision in precisions_of(dim) {
            check_wanted(&problem, *precision, wanted);
        }
    }
}

#[test]
fn long_lists_and_long_vectors_match_their_definition() {
    // Mesa's shader compiler takes minutes for arrays of this length.
    if runtime() != Runtime::Cpu {
        return skipped("shader compilers take minutes for it");
    }
    let all = [
        (1000, ReductionKind::Minimum),
        (1, ReductionKind::Smallest { k: 128 }),
        (1, ReductionKind::Smallest { k: 200 }),
        (1000, ReductionKind::Sum(Accumulation::Blocks)),
        (1000, ReductionKind::LogSumExp { scores: 1000 }),
        (1000, ReductionKind::SoftmaxSum),
    ];
    for (dim, kind) in all {
        // Fewer columns than the list has places, and more.
        for n in if dim == 1 { [150, 400] } else { [5, 40] } {
            check(&problem(kind, dim, Axis::J, (9, n), &[], 6), Precision::F32);
        }
    }
}

#[test]
fn halves_are_reduced_in_single_precision() {
    for precision in [Precision::F16, Precision::BF16] {
        if !takes(precision) {
            continue;
        }
        for kind in kinds(3) {
            if matches!(kind, ReductionKind::Product) {
                continue; // The values are not representable in 16 bits.
            }
            for n in [40, 2500] {
                check(&problem(kind, 3, Axis::J, (9, n), &[], 5), precision);
            }
        }
    }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn reductions_of_random_shapes_match_their_definition(
        which in 0usize..12,
        dim in prop_oneof![Just(1usize), Just(2), Just(9)],
        m in 0usize..70,
        n in 1usize..300,
        batch in prop_oneof![Just(vec![]), Just(vec![2usize]), Just(vec![2, 3])],
        over_rows in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let kind = kinds(dim)[which];
        let (reduced, size) = if over_rows { (Axis::I, (n, m)) } else { (Axis::J, (m, n)) };
        let mut problem = problem(kind, dim, reduced, size, &batch, seed);
        if kind == ReductionKind::Product {
            problem = problem.reduced_by(ReductionKind::Maximum);
        }
        let precisions = precisions();
        let wanted = ALL_WANTED[(seed >> 1) as usize % ALL_WANTED.len()];
        check_wanted(&problem, precisions[seed as usize % precisions.len()], &[wanted]);
    }
}

/// The reduction over j of these values, for one row, in each precision.
fn of_row(kind: ReductionKind, values: &[f64]) -> Vec<(Vec<f64>, Vec<i64>)> {
    let columns = Tensor::new(&[values.len(), 1], values.to_vec());
    let problem = Problem::new(
        &y(0, 1),
        Axis::J,
        &[],
        (1, values.len()),
        |_| columns.clone(),
        |_| 0.0,
    )
    .reduced_by(kind);
    let wanted = if has_indices(kind) {
        Wanted::BOTH
    } else {
        Wanted::VALUES
    };
    let run = |precision: &Precision| {
        problem
            .run_for(&client(), *precision, wanted)
            .expect("it is supported")
    };
    precisions().iter().map(run).collect()
}

const INF: f64 = f64::INFINITY;

#[test]
fn the_first_of_equal_values_is_found() {
    for (values, index) in of_row(ReductionKind::Minimum, &[3.0, 1.0, 2.0, 1.0]) {
        assert_eq!((values[0], index[0]), (1.0, 1));
    }
    for (values, index) in of_row(ReductionKind::Maximum, &[3.0, 1.0, 3.0, 1.0]) {
        assert_eq!((values[0], index[0]), (3.0, 0));
    }
    let smallest = ReductionKind::Smallest { k: 3 };
    for (values, index) in of_row(smallest, &[3.0, 1.0, 2.0, 1.0, 1.0, 1.0]) {
        assert_eq!(values, [1.0, 1.0, 1.0]);
        assert_eq!(index, [1, 3, 4]);
    }
}

#[test]
fn infinite_values_have_a_place() {
    for (values, index) in of_row(ReductionKind::Minimum, &[INF, INF]) {
        assert_eq!((values[0], index[0]), (INF, 0));
    }
    for (values, index) in of_row(ReductionKind::Maximum, &[-INF, -INF]) {
        assert_eq!((values[0], index[0]), (-INF, 0));
    }
    for (values, index) in of_row(ReductionKind::Minimum, &[INF, -INF, 0.0]) {
        assert_eq!((values[0], index[0]), (-INF, 1));
    }
}

#[test]
fn the_first_nan_is_the_extreme_value() {
    for kind in [ReductionKind::Minimum, ReductionKind::Maximum] {
        for row in [
            vec![1.0, f64::NAN, -7.0, f64::NAN, 9.0],
            vec![-INF, f64::NAN, INF],
        ] {
            for (values, index) in of_row(kind, &row) {
                assert!(values[0].is_nan(), "{kind:?} of {row:?} is {values:?}");
                assert_eq!(index[0], 1);
            }
        }
        let mut long = vec![0.0; 5000];
        long[1700] = f64::NAN;
        long[4100] = f64::NAN;
        for (values, index) in of_row(kind, &long) {
            assert!(values[0].is_nan());
            assert_eq!(index[0], 1700);
        }
    }
}

#[test]
fn nan_and_infinity_are_never_among_the_smallest() {
    let smallest = ReductionKind::Smallest { k: 4 };
    for (values, index) in of_row(smallest, &[f64::NAN, 2.0, INF, -INF, f64::NAN]) {
        assert_eq!(values, [-INF, 2.0, INF, INF]);
        assert_eq!(index, [3, 1, -1, -1]);
    }
}

#[test]
fn the_smallest_of_many_columns_are_found_in_any_order() {
    const N: usize = 3001;
    let row = |value: &dyn Fn(usize) -> f64| (0..N).map(value).collect::<Vec<f64>>();
    let mixed = |i: usize| (i * 37 % 101) as f64 - 50.0;
    let rows = [
        row(&|i| (i / 30) as f64 - 50.0),
        row(&|i| 50.0 - (i / 30) as f64),
        row(&mixed),
        row(&|_| 0.0),
        row(&|_| -INF),
        row(&|i| if i < 2000 { f64::NAN } else { mixed(i) }),
        row(&|i| if i < 2000 { INF } else { mixed(i) }),
        // Fewer values than are wanted, first among the first columns and then among all.
        row(&|i| if i % 500 == 7 { mixed(i) } else { INF }),
        row(&|i| if i % 1500 == 7 { mixed(i) } else { f64::NAN }),
        row(&|i| if i == 1 { -INF } else { mixed(i).abs() }),
        // The smallest values are in one lane of vectors of any length.
        row(&|i| if i % 64 == 5 { mixed(i) } else { 100.0 }),
    ];
    for row in &rows {
        let mut sorted: Vec<usize> = (0..N).filter(|i| row[*i] < INF).collect();
        sorted.sort_by(|i, j| row[*i].total_cmp(&row[*j]));
        for k in [1, 5, 20] {
            let at = |i: usize| sorted.get(i).copied();
            let expected: Vec<f64> = (0..k).map(|i| at(i).map_or(INF, |i| row[i])).collect();
            let columns: Vec<i64> = (0..k).map(|i| at(i).map_or(-1, |i| i as i64)).collect();
            for (values, indices) in of_row(ReductionKind::Smallest { k }, row) {
                assert_eq!(values, expected);
                assert_eq!(indices, columns);
            }
        }
    }
}

#[test]
fn log_sum_exp_is_exact_at_infinities() {
    let kind = ReductionKind::LogSumExp { scores: 1 };
    let long = |value: f64, other: f64| {
        let mut values = vec![value; 3000];
        values[2900] = other;
        values
    };
    for (row, want) in [
        (vec![-INF, 0.0, 1.0], 1.0f64 + (-1.0f64).exp().ln_1p()),
        (vec![-INF; 3], -INF),
        (vec![-INF; 3000], -INF),
        (long(-INF, 2.5), 2.5),
        (long(1.0, INF), INF),
        (vec![INF, INF, -INF], INF),
        (vec![1e30, -1e30], 1e30),
        (vec![-1e30, -1e30], -1e30),
        (vec![-1e30, 1e30, 1e30], 1e30),
        (vec![6e8, 5e8, 5.4e8], 6e8),
        (long(-6e8, -5e8), -5e8),
        (long(5e8, 5.5e8), 5.5e8),
        (vec![3e38, -3e38], 3e38),
        (vec![-3e38, -3e38], -3e38),
        (vec![1000.0, 1000.0], 1000.0 + 2f64.ln()),
        (vec![-1000.0; 4096], -1000.0 + 4096f64.ln()),
    ] {
        for (values, _) in of_row(kind, &row) {
            let fine = values[0] == want || (values[0] - want).abs() <= 1e-6 * want.abs();
            assert!(fine, "{} instead of {want}", values[0]);
        }
    }
    for row in [
        vec![f64::NAN, 1.0],
        vec![INF, f64::NAN],
        long(0.0, f64::NAN),
    ] {
        for (values, _) in of_row(kind, &row) {
            assert!(values[0].is_nan(), "{}", values[0]);
        }
    }
}

#[test]
fn sums_of_many_terms_keep_their_digits() {
    // A plain sum in single precision is off by 1e-4, or stops growing. For `Blocks` the last level adds some 25 sums
    // of blocks, and may round all of them in the same direction.
    let kinds = [
        (Accumulation::Blocks, 1e-6),
        (Accumulation::Kahan, 1.5e-7),
        (Accumulation::Double, 1.5e-7),
    ];
    let term = 1.0 + 2f64.powi(-16);
    let n = 200_000;
    let rows = 300;
    let expr = x(0, 1) * y(1, 1);
    for (accumulation, relative) in kinds {
        let kind = ReductionKind::Sum(accumulation);
        let tensor = |var: &Var| match var.axis() {
            Some(Axis::I) => Tensor::new(&[rows, 1], vec![1.0; rows]),
            _ => Tensor::new(&[n, 1], vec![term; n]),
        };
        let problem =
            Problem::new(&expr, Axis::J, &[], (rows, n), tensor, |_| 0.0).reduced_by(kind);
        if !supported(kind, Precision::F32) {
            continue;
        }
        let got = problem.run(&client(), Precision::F32).unwrap();
        let want = n as f64 * term;
        for got in got {
            assert!(
                (got - want).abs() <= relative * want,
                "{kind:?}: {got}, not {want}"
            );
        }
    }
}

#[test]
fn scores_far_from_zero_keep_their_weights_over_many_blocks() {
    for dim in [1, 3, 9] {
        for kind in [
            ReductionKind::SoftmaxSum,
            ReductionKind::LogSumExp { scores: 1 },
        ] {
            let problem = problem(kind, dim, Axis::J, (34, 900), &[], 7);
            let got = problem.run(&client(), Precision::F32).unwrap();
            assert_close(&got, &problem.reference(), 6e-7);
        }
    }
}

/// Checks a formula `expr` of places and of operands that are 1, over both axes, in alternating types.
fn check_places(expr: &Expr, (m, n): (usize, usize), kinds: &[ReductionKind]) {
    for (turn, reduced) in [Axis::I, Axis::J].into_iter().enumerate() {
        let tensor = |var: &Var| {
            let len = match var.axis() {
                Some(Axis::I) => m,
                _ => n,
            };
            Tensor::new(&[len, 1], (0..len).map(|k| (k % 7) as f64).collect())
        };
        for kind in kinds {
            let problem =
                Problem::new(expr, reduced, &[], (m, n), tensor, |_| 0.0).reduced_by(*kind);
            check(&problem, precisions()[turn % precisions().len()]);
        }
    }
}

#[test]
fn formulas_may_use_where_a_pair_stands() {
    let value = x(0, 1) + y(1, 1);
    let (i, j) = (
        Expr::place(Place::Index(Axis::I)),
        Expr::place(Place::Index(Axis::J)),
    );
    let offset = Expr::place(Place::Offset);
    let compare = |op, a: &Expr, b: f64| Expr::scalar(op, vec![a.clone(), Expr::constant(b)]);
    let kinds = [
        ReductionKind::Sum(Accumulation::Blocks),
        ReductionKind::Smallest { k: 3 },
    ];
    let exprs = [
        value.clone() + i.clone() * 0.5 - j.clone() * 0.25,
        value.clone() * compare(ScalarOp::Equal, &offset, 0.0),
        value.clone() * compare(ScalarOp::GreaterEqual, &offset, 0.0),
        value.clone() * compare(ScalarOp::LessEqual, &offset.abs(), 3.0),
        value.clone() * offset.clone() + i.square(),
    ];
    for expr in &exprs {
        check_places(expr, (40, 33), &kinds[..1]);
        check_places(&expr.transpose(), (33, 40), &kinds[..1]);
    }
    for size in [(5, 7), (40, 33)] {
        check_places(&exprs[0], size, &kinds);
    }
}

#[test]
fn indices_are_exact_where_single_precision_is_not() {
    // In floats of 32 bits 2^24 and 2^24 + 1 are equal.
    let n = (1 << 24) + 4;
    let mut values = vec![1.0; n];
    values[n - 1] = 0.0;
    let values = Tensor::new(&[n, 1], values);
    let problem = Problem::new(&y(0, 1), Axis::J, &[], (1, n), |_| values.clone(), |_| 0.0)
        .reduced_by(ReductionKind::Minimum);
    let (_, index) = problem
        .run_for(&client(), Precision::F32, Wanted::INDICES)
        .unwrap();
    assert_eq!(index, [n as i64 - 1]);
}

#[test]
fn long_columns_of_long_formulas_are_complete() {
    let (rows, n, dim) = (700, 20_000, 100);
    let expr = x(0, dim).sqdist(&y(1, dim));
    let tensor = |var: &Var| match var.axis() {
        Some(Axis::I) => Tensor::new(&[rows, dim], vec![0.0; rows * dim]),
        _ => Tensor::new(&[n, dim], vec![1.0; n * dim]),
    };
    let problem = Problem::new(&expr, Axis::J, &[], (rows, n), tensor, |_| 0.0);
    let got = problem.run(&client(), Precision::F32).unwrap();
    assert!(got.iter().all(|sum| *sum == (n * dim) as f64), "{got:?}");
}
