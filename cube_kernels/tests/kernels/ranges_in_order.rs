//! Reductions of pairs in ranges, with rows and columns that do not come in the order of their indices.
//!
//! Values and indices must be equal in every bit to those with operands in the order of their indices.

use std::sync::Arc;

use burn_lazy_kernels::{
    Accumulation, Axis, LaunchError, Precision, Ranges, RangesError, ReductionKind, Wanted,
    expr::Var,
};

use crate::{
    device::{Engine, Problem, Tensor, client, engine},
    ranges::{Pattern, patterns},
    ranges_on_device::{problem, problem_of_size, size_for},
    reductions::{ALL_WANTED, all_kinds, check_given, precisions_of, supported},
    support::{Rng, y},
};

/// A random permutation of the numbers below `size`.
fn shuffled(size: usize, rng: &mut Rng) -> Arc<[u32]> {
    let mut keys: Vec<(u64, u32)> = (0..size as u32).map(|k| (rng.bits(), k)).collect();
    keys.sort_unstable();
    keys.into_iter().map(|(_, k)| k).collect()
}

fn inverse(order: &[u32]) -> Vec<usize> {
    let mut inverse = vec![0; order.len()];
    for (place, index) in order.iter().enumerate() {
        inverse[*index as usize] = place;
    }
    inverse
}

/// The orders of rows and columns. `None` for the order of their indices.
struct Orders([Option<Arc<[u32]>>; 2]);

impl Orders {
    fn random(size: [usize; 2], which: [bool; 2], rng: &mut Rng) -> Self {
        Self([0, 1].map(|axis| which[axis].then(|| shuffled(size[axis], rng))))
    }

    /// The position of each row or column, by its index.
    fn place(&self, axis: usize, size: usize) -> Vec<usize> {
        match &self.0[axis] {
            Some(order) => inverse(order),
            None => (0..size).collect(),
        }
    }

    /// The expected result of `problem` over the pairs of `pattern`, and the problem with its operands in this order.
    /// The operands of `problem` are in the order of their indices. The pattern is of positions in this order.
    fn of(&self, problem: Problem, pattern: &Pattern) -> ((Vec<f64>, Vec<i64>), Problem) {
        let (m, n) = problem.rows_and_columns();
        let [rows, columns] = [self.place(0, m), self.place(1, n)];
        let given = problem.reference_where(&|b, i, j| pattern.exists(b, rows[i], columns[j]));
        let axes = [problem.reduced.other(), problem.reduced];
        let ordered = self.0.iter().zip(axes);
        let problem = ordered.fold(problem, |problem, (order, axis)| match order {
            Some(order) => problem.selected(axis, order),
            None => problem,
        });
        (given, problem)
    }

    /// `ranges` of positions, with this order.
    fn of_ranges(&self, ranges: Ranges) -> Ranges {
        let ranges = ranges.with_order(self.0.clone());
        ranges.expect("they are permutations")
    }
}

/// Asserts that `problem`, whose operands are in the order of their indices, gives the same result in another order.
/// The ranges and the pattern are of positions in that order.
fn check(
    problem: Problem,
    (ranges, pattern): (Ranges, &Pattern),
    orders: &Orders,
    precision: Precision,
    all: &[Wanted],
    what: &str,
) {
    if !supported(problem.reduction, precision) {
        return;
    }
    let (given, problem) = orders.of(problem, pattern);
    let problem = problem.in_ranges(orders.of_ranges(ranges));
    check_given(&problem, precision, all, given, what);
}

#[test]
fn every_reduction_matches_that_of_the_order_of_indices() {
    let kinds = all_kinds().into_iter().filter(|(dim, _)| *dim < 10);
    let mut rng = Rng::new(9);
    for (at, (dim, kind)) in kinds.enumerate() {
        let size = size_for(kind);
        for (k, (name, ranges, pattern)) in patterns(size, 1).into_iter().enumerate() {
            let which = [[true, true], [false, true], [true, false]][(at + k) % 3];
            let orders = Orders::random(size, which, &mut rng);
            let wanted = match k % 3 {
                0 => &ALL_WANTED[..],
                _ => &[Wanted::BOTH],
            };
            for precision in precisions_of(dim) {
                let problem = problem_of_size(kind, dim, size);
                let own = (ranges.clone(), &pattern);
                check(problem, own, &orders, *precision, wanted, name);
            }
        }
    }
}

const SELECTIONS: [ReductionKind; 4] = [
    ReductionKind::Minimum,
    ReductionKind::Maximum,
    ReductionKind::Smallest { k: 3 },
    ReductionKind::Smallest { k: 20 },
];

#[test]
fn batches_share_an_order() {
    let size = [21, 90];
    let mut rng = Rng::new(1);
    let sum = ReductionKind::Sum(Accumulation::Blocks);
    for kind in SELECTIONS.into_iter().chain([sum]) {
        for (name, ranges, pattern) in patterns(size, 2) {
            let problem = problem(kind, 1, Axis::J, (size[0], size[1]), &[2, 3], 3);
            let orders = Orders::random(size, [true, true], &mut rng);
            let own = (ranges, &pattern);
            check(problem, own, &orders, Precision::F32, &[Wanted::BOTH], name);
        }
    }
}

/// There are few rows, so that columns are split into parts, which are merged.
#[test]
fn parts_are_merged_in_the_order_of_indices() {
    let size = [3, 6001];
    let mut rng = Rng::new(2);
    let sum = ReductionKind::Sum(Accumulation::Blocks);
    for kind in SELECTIONS.into_iter().chain([sum]) {
        for (name, ranges, pattern) in patterns(size, 4) {
            if name == "neighbors" {
                continue; // Single columns are slow, and other tests cover them.
            }
            let problem = problem(kind, 1, Axis::J, (size[0], size[1]), &[2], 3);
            if name == "many" && engine() == Engine::Kernels {
                let planned = problem.clone().in_ranges(ranges.clone());
                assert!(planned.plan(&client(), Precision::F32).parts > 1);
            }
            let orders = Orders::random(size, [true, true], &mut rng);
            let own = (ranges, &pattern);
            check(problem, own, &orders, Precision::F32, &[Wanted::BOTH], name);
        }
    }
}

/// Among equal values, infinities, zeros of both signs and NaN, the lowest index is found.
#[test]
fn the_lowest_index_is_found_among_infinities_zeros_and_nan() {
    let size = [18, 75];
    let mut rng = Rng::new(3);
    let special = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0, -0.0, 1.0];
    for kind in SELECTIONS {
        for count in 1..=special.len() {
            for shift in 0..special.len() {
                let mut value = || special[(shift + rng.below(count)) % special.len()];
                let columns = Tensor::new(&[size[1], 1], (0..size[1]).map(|_| value()).collect());
                // The formula has only columns, because compilers of shaders may or may not add 0 to -0.
                let expr = y(0, 1);
                let tensor = |_: &Var| columns.clone();
                let problem =
                    Problem::new(&expr, Axis::J, &[], (size[0], size[1]), tensor, |_| 0.0)
                        .reduced_by(kind);
                let (_, ranges, pattern) = &patterns(size, 5)[0];
                let orders = Orders::random(size, [true, true], &mut rng);
                let own = (ranges.clone(), pattern);
                let what = format!("{count} special values from {shift} on");
                check_bits(problem, own, &orders, &what);
            }
        }
    }
}

/// Like [`check`], but NaN equals NaN.
fn check_bits(
    problem: Problem,
    (ranges, pattern): (Ranges, &Pattern),
    orders: &Orders,
    what: &str,
) {
    let ((values, indices), problem) = orders.of(problem, pattern);
    let problem = problem.in_ranges(orders.of_ranges(ranges));
    let (got, found) = problem
        .run_for(&client(), Precision::F32, Wanted::BOTH)
        .expect("it is supported");
    let what = format!("{what}: {:?}", problem.reduction);
    let bits = |values: &[f64]| -> Vec<Option<u64>> {
        let bits = |value: &f64| (!value.is_nan()).then(|| value.to_bits());
        values.iter().map(bits).collect()
    };
    assert_eq!(found, indices, "{what}");
    assert_eq!(bits(&got), bits(&values), "{what}");
}

/// Lists that start with limits give the same result: also in parts, and if short clusters share ranges.
#[test]
fn limits_change_nothing() {
    let mut rng = Rng::new(4);
    for (size, kinds) in [
        (
            [45, 151],
            [
                ReductionKind::Smallest { k: 3 },
                ReductionKind::Smallest { k: 20 },
            ],
        ),
        (
            [3, 6001],
            [
                ReductionKind::Smallest { k: 2 },
                ReductionKind::Smallest { k: 3 },
            ],
        ),
    ] {
        for kind in kinds {
            for (name, ranges, pattern) in patterns(size, 6) {
                if name == "neighbors" && size[0] < 10 {
                    continue; // Single columns are slow.
                }
                let problem = problem(kind, 3, Axis::J, (size[0], size[1]), &[], 3);
                let orders = Orders::random(size, [true, true], &mut rng);
                let (given, problem) = orders.of(problem, &pattern);
                let places = problem.spec().depth();
                let dim = problem.spec().dim;
                // The values in the last place of each list, in the order of the rows.
                let last = |row: &usize| &given.0[row * places * dim + (places - 1) * dim..][..dim];
                let order = orders.0[0].as_ref().expect("rows are in another order");
                let indices: Vec<usize> = order.iter().map(|row| *row as usize).collect();
                let limits: Arc<[f32]> = indices
                    .iter()
                    .flat_map(|row| last(row).iter().map(|value| (*value + 0.25) as f32))
                    .collect();
                let ranges = orders.of_ranges(ranges).with_limits(limits);
                let problem = problem.in_ranges(ranges);
                check_given(&problem, Precision::F32, &[Wanted::BOTH], given, name);
            }
        }
    }
    if engine() == Engine::Kernels {
        let kind = ReductionKind::Smallest { k: 3 };
        let few = problem(kind, 3, Axis::J, (4, 5), &[], 3);
        let ranges = Ranges::causal([4, 5]).expect("few rows");
        let few = few.in_ranges(ranges.with_limits([1.0; 4].into()));
        let refused = few.run_for(&client(), Precision::F32, Wanted::BOTH);
        assert!(matches!(refused, Err(LaunchError::Ranges { .. })));
    }
}

#[test]
fn an_order_has_each_index_once() {
    let ranges = || Ranges::causal([3, 2]).expect("few rows");
    let order = |values: &[u32]| Some(Arc::from(values));
    let error = |rows, columns| {
        let error = ranges()
            .with_order([rows, columns])
            .expect_err("it is wrong");
        error.to_string()
    };
    assert!(
        ranges()
            .with_order([order(&[2, 0, 1]), order(&[1, 0])])
            .is_ok()
    );
    assert_eq!(
        error(order(&[0, 1]), None),
        "there are 2 indices of rows, not 3"
    );
    assert_eq!(
        error(None, order(&[1, 2])),
        "the order of columns does not have each index from 0 to 1 once: 2 at place 1"
    );
    assert_eq!(
        error(order(&[0, 2, 0]), None),
        "the order of rows does not have each index from 0 to 2 once: 0 at place 2"
    );
    assert!(matches!(
        ranges().with_order([order(&[0, 2, 0]), None]),
        Err(RangesError::Permutation { .. })
    ));
}

/// The transposed ranges exchange rows and columns, and their orders.
#[test]
fn transposed_ranges_have_the_other_order() {
    let (rows, columns): (Arc<[u32]>, Arc<[u32]>) = (Arc::from([2, 0, 1]), Arc::from([1, 0]));
    let ranges = Ranges::causal([3, 2]).expect("few rows");
    let ordered = ranges
        .clone()
        .with_order([Some(rows.clone()), Some(columns.clone())])
        .expect("they are permutations");
    let transposed = ordered.transposed();
    assert_eq!(transposed.order(Axis::I), Some(&columns));
    assert_eq!(transposed.order(Axis::J), Some(&rows));
    assert_eq!(transposed.in_place(), ranges.transposed());
    assert_ne!(ordered, ranges);
    assert_eq!(ordered.in_place(), ranges);
}
