//! Ranges of columns for clusters of rows, compared with matrices of truth values.

// A list with a single range is intended.
#![allow(clippy::single_range_in_vec_init)]

use std::ops::Range;

use burn_lazy_kernels::{Axis, Ranges, RangesError};
use proptest::prelude::*;

use crate::support::Rng;

/// Whether each pair exists: `[batch][row][column]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(pub Vec<Vec<Vec<bool>>>);

impl Pattern {
    fn new([rows, columns]: [usize; 2], there: impl Fn(usize, usize) -> bool) -> Self {
        let row = |i| (0..columns).map(|j| there(i, j)).collect();
        Self(vec![(0..rows).map(row).collect()])
    }

    fn transposed(&self, [rows, columns]: [usize; 2]) -> Self {
        let batch = |own: &Vec<Vec<bool>>| {
            let column = |j| (0..rows).map(|i| own[i][j]).collect();
            (0..columns).map(column).collect()
        };
        Self(self.0.iter().map(batch).collect())
    }

    pub fn exists(&self, batch: usize, row: usize, column: usize) -> bool {
        self.0[batch % self.0.len()][row][column]
    }
}

/// The pairs that are in the ranges.
fn read(ranges: &Ranges) -> Pattern {
    let [rows, columns] = ranges.sizes();
    let batches: usize = ranges.batch().iter().product();
    let row = |batch, row| {
        let mut there = vec![false; columns];
        let mut before: Option<usize> = None;
        for range in ranges.of_row(batch, row) {
            assert!(range.start < range.end, "an empty range");
            assert!(before.is_none_or(|end| end < range.start), "ranges touch");
            before = Some(range.end);
            there[range].fill(true);
        }
        there
    };
    let batch = |batch| (0..rows).map(|i| row(batch, i)).collect();
    Pattern((0..batches).map(batch).collect())
}

/// Ranges that cover `0..size`, in random order. Some are empty.
fn clusters(size: usize, rng: &mut Rng) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    let mut start = 0;
    while start < size {
        let end = size.min(start + rng.below(9));
        all.push(start..end);
        start = end;
    }
    for at in (1..all.len()).rev() {
        all.swap(at, rng.below(at + 1));
    }
    all
}

/// Ranges made in every way for a matrix of this size, each with a name and the pairs that it must
/// have.
pub fn patterns(size: [usize; 2], seed: u64) -> Vec<(&'static str, Ranges, Pattern)> {
    let rng = &mut Rng::new(seed);
    let [m, n] = size;
    let all = |own: Vec<Range<usize>>, size: usize| match own.iter().any(|own| own.end == size) {
        true => own,
        false => [own, vec![size..size]].concat(),
    };
    let (rows, columns) = (all(clusters(m, rng), m), all(clusters(n, rng), n));
    let mut made = Vec::new();

    for (name, density) in [("few", 0.2), ("many", 0.8), ("none", 0.0), ("all", 1.1)] {
        let keep: Vec<bool> = (0..rows.len() * columns.len())
            .map(|_| rng.uniform(0.0, 1.0) < density)
            .collect();
        let ranges = Ranges::from_matrix(&rows, &columns, &keep).expect("clusters are disjoint");
        let of = |all: &[Range<usize>], at: usize| {
            all.iter()
                .position(|own| own.contains(&at))
                .expect("they cover the axis")
        };
        let there = |i, j| keep[of(&rows, i) * columns.len() + of(&columns, j)];
        made.push((name, ranges, Pattern::new(size, there)));
    }

    // The form of KeOps: each cluster of rows with some of the clusters of columns, in any order.
    let (mut slices, mut list, mut own) = (Vec::new(), Vec::new(), vec![vec![]; rows.len()]);
    for own in &mut own {
        *own = columns
            .iter()
            .filter(|_| rng.uniform(0.0, 1.0) < 0.5)
            .cloned()
            .collect();
        list.extend(own.iter().cloned());
        slices.push(list.len());
    }
    let ranges = Ranges::new(size, &rows, &slices, &list).expect("clusters are disjoint");
    let there = |i: usize, j: usize| {
        let row = rows
            .iter()
            .position(|own| own.contains(&i))
            .expect("covered");
        own[row].iter().any(|own| own.contains(&j))
    };
    made.push(("slices", ranges, Pattern::new(size, there)));

    for (name, below, above) in [("band", 2, 3), ("wide band", 40, 0), ("diagonal", 0, 0)] {
        let ranges = Ranges::band(size, below, above).expect("it is small");
        let there = |i: usize, j: usize| j + below >= i && j <= i + above;
        made.push((name, ranges, Pattern::new(size, there)));
    }
    let ranges = Ranges::causal(size).expect("it is small");
    made.push(("causal", ranges, Pattern::new(size, |i, j| j <= i)));

    let mut labels =
        [m, n].map(|size| -> Vec<i64> { (0..size).map(|_| rng.below(6) as i64 - 3).collect() });
    labels.iter_mut().for_each(|own| own.sort_unstable());
    let ranges = Ranges::labels(&labels[0], &labels[1]).expect("they are sorted");
    let there = |i: usize, j: usize| labels[0][i] == labels[1][j];
    made.push(("labels", ranges, Pattern::new(size, there)));

    let (mut starts, mut index) = (vec![0], Vec::new());
    for _ in 0..m {
        let mut own: Vec<usize> = (0..n).filter(|_| rng.uniform(0.0, 1.0) < 0.15).collect();
        own.reverse();
        index.extend(own);
        starts.push(index.len());
    }
    let ranges = Ranges::neighbors(n, &starts, &index).expect("each once");
    let there = |i: usize, j: usize| index[starts[i]..starts[i + 1]].contains(&j);
    made.push(("neighbors", ranges, Pattern::new(size, there)));

    let mut lengths = [m, n].map(|size| vec![size / 3, 0, size - size / 3 - size / 2, size / 2]);
    lengths[0].push(0);
    lengths[1].insert(2, 0);
    let ranges = Ranges::lengths(&lengths[0], &lengths[1]).expect("as many segments");
    let segment = |lengths: &[usize], at: usize| {
        let mut end = 0;
        lengths.iter().position(|own| {
            end += own;
            at < end
        })
    };
    let there = |i, j| segment(&lengths[0], i) == segment(&lengths[1], j);
    made.push(("lengths", ranges, Pattern::new(size, there)));
    made
}

#[test]
fn ranges_are_the_pairs_that_they_were_made_of() {
    for (m, n) in [
        (0, 0),
        (0, 7),
        (5, 0),
        (1, 1),
        (1, 30),
        (30, 1),
        (17, 23),
        (64, 65),
    ] {
        for (name, ranges, pattern) in patterns([m, n], (m * 100 + n) as u64) {
            assert_eq!(read(&ranges), pattern, "{name}, {m} x {n}");
            let transposed = ranges.transposed();
            assert_eq!(
                read(&transposed),
                pattern.transposed([m, n]),
                "{name} transposed, {m} x {n}"
            );
            assert_eq!(
                read(&transposed.transposed()),
                pattern,
                "{name} transposed twice"
            );
            let pairs = pattern.0[0].iter().flatten().filter(|own| **own).count();
            assert_eq!(ranges.pairs(), pairs as u128, "{name}, {m} x {n}");
            let lengths: Vec<usize> = pattern.0[0]
                .iter()
                .map(|row| row.iter().filter(|own| **own).count())
                .collect();
            assert_eq!(ranges.lengths_of_rows(&[]), lengths, "{name}, {m} x {n}");
        }
    }
}

#[test]
fn ranges_of_parts_of_a_matrix_are_those_of_its_pairs() {
    let size = [23, 31];
    for (name, ranges, pattern) in patterns(size, 5) {
        let rows = [22, 0, 7, 7, 3];
        let columns = [30, 1, 0, 1, 16, 17];
        let own = read(&ranges.select(Axis::I, &rows));
        let want = Pattern::new([5, 31], |i, j| pattern.exists(0, rows[i], j));
        assert_eq!(own, want, "rows of {name}");
        let own = read(&ranges.select(Axis::J, &columns));
        let want = Pattern::new([23, 6], |i, j| pattern.exists(0, i, columns[j]));
        assert_eq!(own, want, "columns of {name}");
        for (rows, columns) in [
            (0..23, 0..31),
            (3..4, 5..30),
            (22..23, 30..31),
            (4..4, 2..9),
        ] {
            let own = read(&ranges.block(rows.clone(), columns.clone()));
            let want = Pattern::new([rows.len(), columns.len()], |i, j| {
                pattern.exists(0, rows.start + i, columns.start + j)
            });
            assert_eq!(own, want, "a block of {name}");
        }
        let batches = read(&ranges.columns_as_batch());
        let want =
            (0..31).map(|j| Pattern::new([23, 1], |i, _| pattern.exists(0, i, j)).0[0].clone());
        assert_eq!(
            batches,
            Pattern(want.collect()),
            "columns of {name} as batches"
        );
    }
    for (name, ranges, pattern) in patterns([29, 29], 6) {
        let want = Pattern::new([29, 1], |i, _| pattern.exists(0, i, i));
        assert_eq!(read(&ranges.diagonal()), want, "the diagonal of {name}");
    }
}

proptest! {
    #[test]
    fn random_ranges_are_their_transposes_transposed(m in 0usize..60, n in 0usize..60, seed in any::<u64>()) {
        for (name, ranges, pattern) in patterns([m, n], seed) {
            prop_assert_eq!(read(&ranges), pattern.clone(), "{}", name);
            prop_assert_eq!(read(&ranges.transposed()), pattern.transposed([m, n]), "{}", name);
        }
    }
}

#[test]
fn what_are_no_ranges_is_an_error() {
    use RangesError::*;

    let size = [6, 8];
    let new = |rows: &[Range<usize>], slices: &[usize], columns: &[Range<usize>]| {
        Ranges::new(size, rows, slices, columns).expect_err("it is none")
    };
    let leaves = new(&[0..6], &[1], &[3..9]);
    assert!(
        matches!(
            leaves,
            Leaves {
                what: "columns",
                start: 3,
                end: 9,
                size: 8
            }
        ),
        "{leaves}"
    );
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = new(&[0..6], &[1], &[5..3]);
    assert!(
        matches!(
            reversed,
            Reversed {
                what: "columns",
                start: 5,
                end: 3
            }
        ),
        "{reversed}"
    );
    let leaves = new(&[0..7], &[0], &[]);
    assert!(
        matches!(
            leaves,
            Leaves {
                what: "rows",
                end: 7,
                size: 6,
                ..
            }
        ),
        "{leaves}"
    );
    let twice = new(&[0..6], &[2], &[2..5, 0..3]);
    assert!(
        matches!(
            twice,
            Overlap {
                first: [0, 3],
                second: [2, 5],
                ..
            }
        ),
        "{twice}"
    );
    let rows = new(&[0..4, 3..6], &[0, 0], &[]);
    assert!(
        matches!(
            rows,
            Overlap {
                what: "rows",
                first: [0, 4],
                second: [3, 6]
            }
        ),
        "{rows}"
    );
    let gap = new(&[0..2, 3..6], &[0, 0], &[]);
    assert_eq!(gap, Uncovered { start: 2, end: 3 });
    let end = new(&[0..2], &[0], &[]);
    assert_eq!(end, Uncovered { start: 2, end: 6 });
    let none = new(&[], &[], &[]);
    assert_eq!(none, Uncovered { start: 0, end: 6 });
    let count = new(&[0..6], &[1, 1], &[0..1]);
    assert!(
        matches!(
            count,
            Count {
                given: 2,
                expected: 1,
                ..
            }
        ),
        "{count}"
    );
    let left_over = new(&[0..6], &[1], &[0..1, 1..2]);
    assert!(
        matches!(
            left_over,
            Count {
                given: 2,
                expected: 1,
                ..
            }
        ),
        "{left_over}"
    );
    let back = new(&[0..3, 3..6], &[2, 1], &[0..1]);
    assert!(matches!(back, Descending { .. }), "{back}");

    let keep = Ranges::from_matrix(&[0..1], &[0..1], &[]).expect_err("no truth value");
    assert!(
        matches!(
            keep,
            Count {
                given: 0,
                expected: 1,
                ..
            }
        ),
        "{keep}"
    );
    let columns = Ranges::from_matrix(&[0..1, 1..2], &[0..4, 2..5], &[false; 4]);
    let columns = columns.expect_err("they overlap");
    assert!(
        matches!(
            columns,
            Overlap {
                what: "columns",
                ..
            }
        ),
        "{columns}"
    );
    let segments = Ranges::lengths(&[1, 2], &[3]).expect_err("one segment more");
    assert!(
        matches!(
            segments,
            Count {
                given: 1,
                expected: 2,
                ..
            }
        ),
        "{segments}"
    );
    let labels = Ranges::labels(&[1, 0], &[0, 1]).expect_err("they are not sorted");
    assert!(
        matches!(
            labels,
            Descending {
                what: "labels of rows",
                ..
            }
        ),
        "{labels}"
    );
    let twice = Ranges::neighbors(4, &[0, 3], &[1, 3, 1]).expect_err("1 comes twice");
    assert!(matches!(twice, Overlap { .. }), "{twice}");
    let missing = Ranges::neighbors(4, &[0, 1], &[4]).expect_err("there is no column 4");
    assert!(matches!(missing, Leaves { .. }), "{missing}");
    let short = Ranges::neighbors(4, &[0, 1], &[1, 2]).expect_err("2 belongs to no row");
    assert!(
        matches!(
            short,
            Count {
                given: 1,
                expected: 2,
                ..
            }
        ),
        "{short}"
    );
    let large = Ranges::lengths(&[1], &[u32::MAX as usize]).expect_err("it has no number");
    assert!(
        matches!(
            large,
            TooLarge {
                what: "columns",
                ..
            }
        ),
        "{large}"
    );

    let endless = Ranges::lengths(&[usize::MAX, 1], &[0, 0]).expect_err("more than a number");
    assert!(
        matches!(endless, TooLarge { what: "rows", .. }),
        "{endless}"
    );
    let none = Ranges::band([3, 0], 0, 0).expect("no columns");
    assert_eq!(none.columns_as_batch().sizes(), [3, 1]);

    let one = Ranges::causal([3, 4]).expect("it is small");
    let other = Ranges::causal([3, 5]).expect("it is small");
    let sizes = Ranges::batched(&[2], &[one.clone(), other]).expect_err("other columns");
    assert!(
        matches!(
            sizes,
            Sizes {
                index: 1,
                given: [3, 5],
                expected: [3, 4]
            }
        ),
        "{sizes}"
    );
    let few = Ranges::batched(&[2], std::slice::from_ref(&one)).expect_err("one is missing");
    assert!(
        matches!(
            few,
            Count {
                given: 1,
                expected: 2,
                ..
            }
        ),
        "{few}"
    );
    assert!(Ranges::batched(&[1, 2], &[one.clone(), one]).is_ok());
}

#[test]
fn ranges_that_touch_are_one() {
    let matrix = Ranges::from_matrix(
        &[0..2, 2..4],
        &[0..3, 3..6, 6..9],
        &[true, true, false, true, false, true],
    );
    let matrix = matrix.expect("they are clusters");
    assert_eq!(matrix.count(), 3);
    let same = Ranges::new([4, 9], &[0..2, 2..4], &[1, 3], &[0..6, 0..3, 6..9]);
    assert_eq!(Ok(matrix), same);
}
