//! Symbolic matrices with pairs only in ranges, against dense computations over these pairs.

use std::ops::Range;

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axes, Axis, LazyError, LazyTensor, Ranges, RangesError};

use super::support::*;

const D: usize = 2;
const M: usize = 19;
const N: usize = 33;

/// Whether each pair exists, by row and column.
type Pattern = Vec<Vec<bool>>;

fn pattern(there: impl Fn(usize, usize) -> bool) -> Pattern {
    let row = |i| (0..N).map(|j| there(i, j)).collect();
    (0..M).map(row).collect()
}

/// Ranges made in several ways. All of them have rows without a column.
fn patterns() -> Vec<(&'static str, Ranges, Pattern)> {
    let rows: [Range<usize>; 4] = [0..3, 3..4, 4..11, 11..M];
    let columns: [Range<usize>; 5] = [0..7, 7..8, 8..20, 20..21, 21..N];
    let keep: [[bool; 5]; 4] = [
        [true, false, false, true, true],
        [false; 5],
        [false, true, true, false, false],
        [true, true, true, false, true],
    ];
    let clusters = Ranges::from_matrix(&rows, &columns, keep.as_flattened()).expect("clusters");
    let of = |all: &[Range<usize>], at: usize| {
        all.iter()
            .position(|own| own.contains(&at))
            .expect("they cover the axis")
    };
    let kept = |i, j| keep[of(&rows, i)][of(&columns, j)];

    let labels = [
        (0..M)
            .map(|i| [4, 1, 9, 1, 0][i * i % 5])
            .collect::<Vec<i64>>(),
        (0..N).map(|j| [1, 4, 0, 0, 7, 1, 4][j * 3 % 7]).collect(),
    ];
    let labelled = Ranges::labels(&labels[0], &labels[1]).expect("labels");
    let same = |i: usize, j: usize| labels[0][i] == labels[1][j];
    vec![
        ("clusters", clusters, pattern(kept)),
        ("labels", labelled, pattern(same)),
        (
            "lengths",
            Ranges::lengths(&[5, 0, 4, 10], &[11, 9, 0, 13]).expect("segments"),
            pattern(|i, j| (i < 5 && j < 11) || (i >= 9 && j >= 20)),
        ),
        (
            "band",
            Ranges::band([M, N], 2, 5).expect("a band"),
            pattern(|i, j| j + 2 >= i && j <= i + 5),
        ),
    ]
}

fn points() -> [Vec<f64>; 2] {
    let mut random = Random::new(17);
    [random.vec(M * D), random.vec(N * D)]
}

/// A formula with two components.
fn formula(x: &LazyTensor, y: &LazyTensor, p: &LazyTensor) -> LazyTensor {
    (x * y + p).sin() * 2.0
}

fn value(x: &[f64], y: &[f64], p: &[f64], (i, j): (usize, usize)) -> [f64; D] {
    [0, 1].map(|k| 2.0 * (x[i * D + k] * y[j * D + k] + p[k]).sin())
}

const P: [f64; D] = [0.3, -0.4];

/// For each row of the result its pairs: the index on the reduced axis, and the components of the value.
fn rows(
    pattern: &Pattern,
    axis: Axis,
    value: impl Fn(usize, usize) -> [f64; D],
) -> Vec<Vec<(usize, [f64; D])>> {
    let (rows, columns) = match axis {
        Axis::J => (M, N),
        Axis::I => (N, M),
    };
    let pair = |row, column| match axis {
        Axis::J => (row, column),
        Axis::I => (column, row),
    };
    let of = |row| {
        let there = (0..columns).filter(|column| {
            let (i, j) = pair(row, *column);
            pattern[i][j]
        });
        let values = there.map(|column| {
            let (i, j) = pair(row, column);
            (column, value(i, j))
        });
        values.collect()
    };
    (0..rows).map(of).collect()
}

/// The value of `of` for each component of each row.
fn each(rows: &[Vec<(usize, [f64; D])>], of: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let component = |row: &Vec<(usize, [f64; D])>, k: usize| -> Vec<f64> {
        row.iter().map(|(_, v)| v[k]).collect()
    };
    rows.iter()
        .flat_map(|row| [0, 1].map(|k| of(&component(row, k))))
        .collect()
}

fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}

fn mean(values: &[f64]) -> f64 {
    sum(values) / values.len() as f64
}

/// The variance of `values`, with `fewer` subtracted from their number. NaN if there are not more values than `fewer`.
fn variance(values: &[f64], fewer: usize) -> f64 {
    if values.len() <= fewer {
        return f64::NAN;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    squares / (values.len() - fewer) as f64
}

fn log_sum(values: &[f64]) -> f64 {
    values.iter().map(|v| v.exp()).sum::<f64>().ln()
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn numbers<const R: usize>(tensor: Tensor<R, Int>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Like [`assert_close`], but NaN and infinities are allowed where they are expected.
#[track_caller]
fn assert_same(what: &str, values: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(values.len(), expected.len(), "{what}: lengths differ");
    let finite = |own: &[f64]| -> Vec<f64> {
        own.iter()
            .zip(expected)
            .map(|(v, e)| if e.is_finite() { *v } else { 0.0 })
            .collect()
    };
    for (k, (value, expected)) in values.iter().zip(expected).enumerate() {
        let same =
            expected.is_finite() || value == expected || (value.is_nan() && expected.is_nan());
        assert!(same, "{what}: entry {k} is {value}, expected {expected}");
    }
    assert_close(what, &finite(values), &finite(expected), tolerance);
}

fn lazy(dtype: DType) -> LazyTensor {
    let [x, y] = points();
    let [x, y] = points_of(&x, &y, D, dtype);
    let p = LazyTensor::pm(tensor(&P, [D], dtype, &device()));
    formula(&x, &y, &p)
}

#[test]
fn every_reduction_is_that_of_the_pairs() {
    let [x, y] = points();
    for (dtype, tolerance) in dtypes() {
        let all = lazy(dtype);
        for (name, ranges, pattern) in patterns() {
            let k = all.ranges(&ranges);
            for axis in [Axis::J, Axis::I] {
                let what = |of: &str| format!("{of} of {name} over {axis} in {dtype:?}");
                let rows = rows(&pattern, axis, |i, j| value(&x, &y, &P, (i, j)));
                let check = |of: &str, got: Tensor<2>, want: Vec<f64>| {
                    assert_same(&what(of), &host(got), &want, tolerance);
                };
                check("sum", k.sum(axis), each(&rows, sum));
                check("mean", k.mean(axis), each(&rows, mean));
                check("var", k.var(axis), each(&rows, |v| variance(v, 1)));
                let (variances, means): (Tensor<2>, Tensor<2>) = k.var_mean_bias(axis);
                check("var_bias", variances, each(&rows, |v| variance(v, 0)));
                check("var_mean", means, each(&rows, mean));
                check("prod", k.prod(axis), each(&rows, |v| v.iter().product()));
                check("logsumexp", k.logsumexp(axis), each(&rows, log_sum));
                check("max", k.max(axis), each(&rows, largest));
                let index = |row: &Vec<(usize, [f64; D])>, k: usize| {
                    let best = least(&row.iter().map(|(_, v)| v[k]).collect::<Vec<f64>>());
                    row.iter()
                        .find(|(_, v)| v[k] == best)
                        .map_or(-1.0, |(at, _)| *at as f64)
                };
                let (values, indices): (Tensor<2>, Tensor<2, Int>) = k.min_argmin(axis);
                check("min", values, each(&rows, least));
                let want: Vec<f64> = rows
                    .iter()
                    .flat_map(|row| [0, 1].map(|k| index(row, k)))
                    .collect();
                assert_eq!(numbers(indices), want, "{}", what("argmin"));

                let first = k.elem(0);
                let (values, indices): (Tensor<2>, Tensor<2, Int>) = first.kmin_argkmin(4, axis);
                let mut smallest: (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
                for row in &rows {
                    let mut own: Vec<(f64, f64)> =
                        row.iter().map(|(at, v)| (v[0], *at as f64)).collect();
                    own.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
                    own.resize(4, (f64::INFINITY, -1.0));
                    smallest.0.extend(own.iter().map(|(value, _)| *value));
                    smallest.1.extend(own.iter().map(|(_, at)| *at));
                }
                check("kmin", values, smallest.0);
                assert_eq!(numbers(indices), smallest.1, "{}", what("argkmin"));

                let weighted: Tensor<2> = first.sumsoftmaxweight(k.elem(1), axis);
                let want = rows.iter().map(|row| {
                    let total: f64 = row.iter().map(|(_, v)| v[0].exp()).sum();
                    row.iter().map(|(_, v)| v[0].exp() * v[1]).sum::<f64>() / total
                });
                check("sumsoftmaxweight", weighted, want.collect());

                let counts: Tensor<2, Int> = k.greater(0.5).count(axis);
                let want = each(&rows, |v| v.iter().filter(|v| **v > 0.5).count() as f64);
                assert_eq!(numbers(counts), want, "{}", what("count"));
                let any: Tensor<2, Bool> = k.greater(0.5).any(axis);
                let want: Vec<bool> = want.iter().map(|count| *count > 0.0).collect();
                assert_eq!(
                    any.into_data().iter::<bool>().collect::<Vec<bool>>(),
                    want,
                    "{}",
                    what("any")
                );
            }
            let values: Vec<[f64; D]> = (0..M * N)
                .filter(|at| pattern[at / N][at % N])
                .map(|at| value(&x, &y, &P, (at / N, at % N)))
                .collect();
            let both = |of: &dyn Fn(&[f64]) -> f64| -> Vec<f64> {
                [0, 1]
                    .map(|k| of(&values.iter().map(|v| v[k]).collect::<Vec<f64>>()))
                    .to_vec()
            };
            let check = |of: &str, got: Tensor<1>, want: Vec<f64>| {
                assert_same(
                    &format!("{of} of all pairs of {name}"),
                    &host(got),
                    &want,
                    tolerance,
                );
            };
            check("sum", k.sum(Axes::Both), both(&sum));
            check("mean", k.mean(Axes::Both), both(&mean));
            check("var", k.var(Axes::Both), both(&|v| variance(v, 1)));
            check(
                "var_bias",
                k.var_bias(Axes::Both),
                both(&|v| variance(v, 0)),
            );
            check("logsumexp", k.logsumexp(Axes::Both), both(&log_sum));
            check("min", k.min(Axes::Both), both(&least));
            let total: f64 = values.iter().map(|v| v[0].exp()).sum();
            let weighted = values.iter().map(|v| v[0].exp() * v[1]).sum::<f64>() / total;
            let got = k.elem(0).sumsoftmaxweight(k.elem(1), Axes::Both);
            check("sumsoftmaxweight", got, vec![weighted]);
            let count: Tensor<1, Int> = k.greater(0.5).count(Axes::Both);
            let want = both(&|v| v.iter().filter(|v| **v > 0.5).count() as f64);
            assert_eq!(numbers(count), want);
        }
    }
}

/// Counts of columns, and sums of formulas that depend only on columns.
#[test]
fn formulas_of_one_axis_or_none_have_pairs_in_ranges() {
    let [x, y] = points();
    let device = device();
    let columns = LazyTensor::vj(tensor(&y, [N, D], DType::F32, &device));
    for (name, ranges, pattern) in patterns() {
        for axis in [Axis::J, Axis::I] {
            let sums: Tensor<2> = columns.ranges(&ranges).sum(axis);
            let want = each(&rows(&pattern, axis, |_, j| [y[j * D], y[j * D + 1]]), sum);
            assert_close(name, &host(sums), &want, 1e-5);
            // The formula is 2 for every pair, so that the points do not matter.
            let number =
                (LazyTensor::vi(tensor(&x, [M, D], DType::F32, &device)) * 0.0 + 2.0).slice(0..1);
            let number = number.ranges(&ranges);
            let want = rows(&pattern, axis, |_, _| [1.0; D]);
            let counts: Vec<f64> = want.iter().map(|row| row.len() as f64).collect();
            let twice: Vec<f64> = counts.iter().map(|count| 2.0 * count).collect();
            let sums: Tensor<2> = number.sum(axis);
            assert_eq!(host(sums), twice, "{name} over {axis}");
            let counted: Tensor<2, Int> = number.count(axis);
            assert_eq!(numbers(counted), counts, "{name} over {axis}");
        }
    }
}

#[test]
fn products_with_the_matrix_are_those_of_its_entries() {
    let [x, y] = points();
    let device = device();
    let b = Random::new(5).vec(N * 3);
    for (name, ranges, pattern) in patterns() {
        let k = lazy(DType::F32).elem(0).ranges(&ranges);
        let entry = |i: usize, j: usize| match pattern[i][j] {
            true => value(&x, &y, &P, (i, j))[0],
            false => 0.0,
        };
        let product = k.matmul(tensor(&b, [N, 3], DType::F32, &device));
        let want: Vec<f64> = (0..M * 3)
            .map(|at| (0..N).map(|j| entry(at / 3, j) * b[j * 3 + at % 3]).sum())
            .collect();
        assert_close(name, &host(product), &want, 1e-5);
        let transposed = k.t().matmul(tensor(&b[..M], [M, 1], DType::F32, &device));
        let want: Vec<f64> = (0..N)
            .map(|j| (0..M).map(|i| entry(i, j) * b[i]).sum())
            .collect();
        assert_close(name, &host(transposed), &want, 1e-5);

        let dense: Tensor<3> = k.dense();
        let entries: Vec<f64> = (0..M * N).map(|at| entry(at / N, at % N)).collect();
        assert_close(name, &host(dense), &entries, 1e-5);
        let dense: Tensor<3> = k.t().dense();
        let entries: Vec<f64> = (0..M * N).map(|at| entry(at % M, at / M)).collect();
        assert_close(name, &host(dense), &entries, 1e-5);
        let block: Tensor<2> = k.block(2..M, 5..9).sum(Axis::J);
        let want: Vec<f64> = (2..M).map(|i| (5..9).map(|j| entry(i, j)).sum()).collect();
        assert_close(name, &host(block), &want, 1e-5);
        let diagonal: Tensor<2> = k.block(0..M, 3..3 + M).diag();
        let want: Vec<f64> = (0..M).map(|i| entry(i, i + 3)).collect();
        assert_close(name, &host(diagonal), &want, 1e-5);
    }
}

#[test]
fn batches_have_ranges_of_their_own() {
    let mut random = Random::new(23);
    let device = device();
    let (x, y) = (random.vec(3 * M * D), random.vec(2 * 3 * N * D));
    let k = LazyTensor::vi(tensor(&x, [3, M, D], DType::F32, &device))
        * LazyTensor::vj(tensor(&y, [2, 3, N, D], DType::F32, &device));
    let all = patterns();
    let three: Vec<&(&str, Ranges, Pattern)> = [&all[0], &all[2], &all[3]].to_vec();
    let ranges: Vec<Ranges> = three.iter().map(|own| own.1.clone()).collect();
    let batched = Ranges::batched(&[3], &ranges).expect("three");
    for axis in [Axis::J, Axis::I] {
        for (own, each_of) in [(&batched, true), (&all[1].1, false)] {
            let got: Tensor<4> = k.ranges(own).sum(axis);
            let smallest: Tensor<4, Int> = k.ranges(own).argmin(axis);
            let (mut sums, mut places) = (Vec::new(), Vec::new());
            for outer in 0..2 {
                for inner in 0..3 {
                    let pattern = if each_of { &three[inner].2 } else { &all[1].2 };
                    let value = |i: usize, j: usize| {
                        [0, 1].map(|k| {
                            let row = x[(inner * M + i) * D + k];
                            row * y[((outer * 3 + inner) * N + j) * D + k]
                        })
                    };
                    let rows = rows(pattern, axis, value);
                    sums.extend(each(&rows, sum));
                    for row in &rows {
                        for k in 0..D {
                            let best = least(&row.iter().map(|(_, v)| v[k]).collect::<Vec<f64>>());
                            let found = row.iter().find(|(_, v)| v[k] == best);
                            places.push(found.map_or(-1.0, |(at, _)| *at as f64));
                        }
                    }
                }
            }
            assert_close("sums of batches", &host(got), &sums, 1e-5);
            assert_eq!(numbers(smallest), places);
        }
    }
}

#[test]
fn empty_matrices_have_ranges() {
    let device = device();
    let k = |m: usize, n: usize| {
        LazyTensor::vi(Tensor::<2>::ones([m, 1], &device))
            * LazyTensor::vj(Tensor::<2>::ones([n, 1], &device))
    };
    for (m, n) in [(0, 3), (3, 0), (0, 0)] {
        let ranges = Ranges::lengths(&[m], &[n]).expect("one segment");
        let k = k(m, n).ranges(&ranges);
        let sums: Tensor<2> = k.sum(Axis::J);
        assert_eq!(host(sums), vec![0.0; m]);
        let (smallest, places): (Tensor<2>, Tensor<2, Int>) = k.min_argmin(Axis::I);
        assert_eq!(host(smallest), vec![f64::INFINITY; n]);
        assert_eq!(
            places.into_data().iter::<i64>().collect::<Vec<i64>>(),
            vec![-1; n]
        );
        let means: Tensor<2> = k.mean(Axis::J);
        assert!(host(means).iter().all(|mean| mean.is_nan()));
    }
}

/// Matrices without pairs, without columns or without tensors do not panic.
#[test]
fn nothing_is_left_without_a_panic() {
    let device = device();
    let k = |m: usize, n: usize| {
        let columns = LazyTensor::vj(Tensor::<2>::ones([n, 1], &device));
        LazyTensor::vi(Tensor::<2>::ones([m, 1], &device)) * columns
    };
    let none = Ranges::lengths(&[2, 0], &[0, 3]).expect("two segments");
    let moments: [Tensor<1>; 3] = [
        k(2, 3).ranges(&none).var(Axes::Both),
        k(2, 3).ranges(&none).var_bias(Axes::Both),
        k(2, 3).ranges(&none).mean(Axes::Both),
    ];
    assert!(moments.into_iter().all(|own| host(own)[0].is_nan()));
    for (m, n) in [(3, 0), (0, 3)] {
        let ranges = Ranges::lengths(&[m], &[n]).expect("one segment");
        let dense: Tensor<3> = k(m, n).ranges(&ranges).dense();
        assert_eq!(dense.dims(), [m, n, 1]);
    }
    let unsorted = Ranges::labels(&[1, 0], &[0, 1]).expect("labels");
    let place = LazyTensor::offset().ranges(&unsorted);
    assert!(matches!(
        place.try_dense::<3>(),
        Err(LazyError::NoTensor(_))
    ));
    assert!(matches!(
        place.try_var::<1>(Axes::Both),
        Err(LazyError::NoTensor(_))
    ));
    assert!(matches!(
        place.try_sum::<2>(Axis::J),
        Err(LazyError::NoTensor(_))
    ));
    assert!(matches!(
        place.try_count::<1>(Axes::Both),
        Err(LazyError::NoTensor(_))
    ));
}

/// Ranges with the same blocks are equal, so that a matrix can be added to its transpose.
#[test]
fn ranges_are_equal_whichever_way_they_were_made() {
    let sizes = [4, 7, 2];
    let ranges = Ranges::lengths(&sizes, &sizes).expect("as many segments");
    assert_eq!(ranges, ranges.t());
    assert_ne!(
        ranges,
        Ranges::lengths(&[4, 9], &[4, 9]).expect("as many segments")
    );
    let x = Random::new(61).vec(13);
    let points = tensor(&x, [13, 1], DType::F32, &device());
    let k = (LazyTensor::vi(points.clone()) * 2.0 + LazyTensor::vj(points)).ranges(&ranges);
    let sums: Tensor<2> = (&k + k.t()).sum(Axis::J);
    let segment = |i: usize| {
        if i < 4 {
            0..4
        } else if i < 11 {
            4..11
        } else {
            11..13
        }
    };
    let want: Vec<f64> = (0..13)
        .map(|i| segment(i).map(|j| 3.0 * (x[i] + x[j])).sum())
        .collect();
    assert_close("both halves", &host(sums), &want, 1e-5);
}

/// Indices are exact even in types that cannot represent them, and if operands are sorted.
#[test]
fn places_of_unsorted_labels_are_exact_in_halves() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        if !reduces(dtype) {
            continue;
        }
        let size = 700;
        let labels: Vec<i64> = (0..size as i64).map(|i| i % 2).collect();
        let ranges = Ranges::labels(&labels, &labels).expect("labels");
        let values = vec![1.0; size];
        let [x, y] = points_of(&values, &values, 1, dtype);
        let others = (x * y).mask_where(LazyTensor::offset().equal(0.0), f64::INFINITY);
        let first: Tensor<2, Int> = others.ranges(&ranges).argmin(Axis::J);
        // The first other point with the same label.
        let want: Vec<f64> = (0..size)
            .map(|i| {
                if i < 2 {
                    i as f64 + 2.0
                } else {
                    (i % 2) as f64
                }
            })
            .collect();
        assert_eq!(numbers(first), want, "{dtype:?}");
        let offsets = LazyTensor::row_index() - LazyTensor::column_index();
        let [x, y] = points_of(&values, &values, 1, dtype);
        let near = (x * y * 0.0 + offsets).equal(-2.0).ranges(&ranges);
        let count: Tensor<2, Int> = near.count(Axis::J);
        let want: Vec<f64> = (0..size).map(|i| f64::from(i + 2 < size)).collect();
        assert_eq!(numbers(count), want, "{dtype:?}");
    }
}

/// Tensors of any integer type and with any strides give the same ranges as slices.
#[test]
fn numbers_come_in_tensors_and_slices() {
    let device = device();
    let rows = [0..3, 3..M];
    let columns = [0..10, 10..11, 11..N];
    let slices = [2, 3];
    let lists = [11..N, 0..10, 10..11];
    let want = Ranges::new([M, N], &rows, &slices, &lists).expect("they are disjoint");
    let starts = |all: &[Range<usize>]| {
        let numbers: Vec<i64> = all
            .iter()
            .map(|own| own.start as i64)
            .chain(all.iter().map(|own| own.end as i64))
            .collect();
        let len = all.len();
        // The starts come before the ends in memory, so that the tensor of ranges has strides.
        Tensor::<2, Int>::from_data(burn::tensor::TensorData::new(numbers, [2, len]), &device)
            .transpose()
    };
    let ends = Tensor::<1, Int>::from_data([2, 3], &device);
    let got = Ranges::new([M, N], &starts(&rows), &ends, &starts(&lists));
    assert_eq!(got.as_ref(), Ok(&want));
    let got = Ranges::new([M, N], &rows.to_vec(), &ends, &lists[..]);
    assert_eq!(got.as_ref(), Ok(&want));
    let keep = Tensor::<2, Bool>::from_data([[true, false, true], [false, true, false]], &device);
    let matrix = Ranges::from_matrix(&starts(&rows), &columns, &keep);
    assert_eq!(matrix.as_ref(), Ok(&want));
    let negative = Tensor::<1, Int>::from_data([-2, 3], &device);
    let negative = Ranges::new([M, N], &rows, &negative, &lists);
    assert_eq!(negative, Err(RangesError::Negative { value: -2 }));
    let labels = Tensor::<1, Int>::from_data([1, 1, 0], &device);
    assert_eq!(
        Ranges::labels(&labels, &[0, 1]),
        Ranges::labels(&[1, 1, 0], &[0, 1])
    );
}

#[test]
fn ranges_that_do_not_fit_are_errors() {
    let k = lazy(DType::F32);
    let causal = |size| Ranges::causal(size).expect("it is small");
    let error = k
        .try_ranges(&causal([M, N + 1]))
        .expect_err("another column");
    let message = error.to_string();
    assert!(
        message.contains(&format!("{M} rows, {} columns", N + 1)),
        "{message}"
    );
    assert!(message.contains("sin("), "{message}");
    let batched = Ranges::batched(&[2], &[causal([M, N]), causal([M, N])]).expect("two");
    assert!(matches!(
        k.try_ranges(&batched),
        Err(LazyError::RangesOfOthers { .. })
    ));

    let one = k.ranges(&causal([M, N]));
    let other = k.ranges(&Ranges::band([M, N], 1, 1).expect("it is small"));
    let error = one.try_add(&other).expect_err("other ranges");
    assert!(matches!(error, LazyError::MixedRanges { .. }), "{error}");
    let again = k.ranges(&causal([M, N]));
    let same: Tensor<2> = (&one + &again).sum(Axis::J);
    let twice: Tensor<2> = (one.clone() * 2.0).sum(Axis::J);
    assert_close("the same ranges", &host(same), &host(twice), 1e-5);
    // A row operand that is added later must fit the ranges, too.
    let short = LazyTensor::vj(Tensor::<2>::ones([4, 1], &device()));
    let rows = LazyTensor::vi(Tensor::<2>::ones([M, 1], &device())).ranges(&causal([M, N]));
    assert!(matches!(
        rows.try_mul(&short),
        Err(LazyError::RangesOfOthers { .. })
    ));
}

#[cfg(feature = "autodiff")]
mod gradients {
    use super::*;

    type Reduce = fn(&LazyTensor) -> Tensor<2>;
    type OfRow = fn(&[(usize, [f64; D])]) -> Vec<f64>;

    fn by_component(row: &[(usize, [f64; D])], of: fn(&[f64]) -> f64) -> Vec<f64> {
        each(&[row.to_vec()], of)
    }

    /// Reductions, and their values on the host. For rows without a column the value is 0, because the loss leaves
    /// these out.
    fn cases(axis: Axis) -> Vec<(&'static str, Reduce, OfRow)> {
        let over_j: Vec<(&'static str, Reduce, OfRow)> = vec![
            ("sum", |k| k.sum(Axis::J), |row| by_component(row, sum)),
            ("mean", |k| k.mean(Axis::J), |row| by_component(row, mean)),
            (
                "var",
                |k| k.var_bias(Axis::J),
                |row| by_component(row, |v| variance(v, 0)),
            ),
            (
                "prod",
                |k| k.prod(Axis::J),
                |row| by_component(row, |v| v.iter().product()),
            ),
            (
                "logsumexp",
                |k| k.logsumexp(Axis::J),
                |row| by_component(row, log_sum),
            ),
            ("min", |k| k.min(Axis::J), |row| by_component(row, least)),
            (
                "softmax",
                |k| k.elem(0).sumsoftmaxweight(k.elem(1), Axis::J),
                |row| {
                    let total: f64 = row.iter().map(|(_, v)| v[0].exp()).sum();
                    vec![row.iter().map(|(_, v)| v[0].exp() * v[1]).sum::<f64>() / total]
                },
            ),
            (
                "kmin",
                |k| k.elem(0).kmin(2, Axis::J),
                |row| {
                    let mut own: Vec<f64> = row.iter().map(|(_, v)| v[0]).collect();
                    own.sort_by(f64::total_cmp);
                    own.resize(2, 0.0);
                    own
                },
            ),
        ];
        let over_i: Vec<(&'static str, Reduce, OfRow)> = vec![
            ("sum", |k| k.sum(Axis::I), |row| by_component(row, sum)),
            ("mean", |k| k.mean(Axis::I), |row| by_component(row, mean)),
            (
                "logsumexp",
                |k| k.logsumexp(Axis::I),
                |row| by_component(row, log_sum),
            ),
            ("max", |k| k.max(Axis::I), |row| by_component(row, largest)),
        ];
        match axis {
            Axis::J => over_j,
            Axis::I => over_i,
        }
    }

    #[test]
    fn gradients_are_those_of_the_pairs() {
        let (dtype, _) = *dtypes().last().expect("there is a type");
        let tolerance = if dtype == DType::F64 { 1e-6 } else { 2e-4 };
        let device = device().autodiff();
        let [x, y] = points();
        for axis in [Axis::J, Axis::I] {
            for (at, (name, reduce, of_row)) in cases(axis).into_iter().enumerate() {
                // Each case uses two of the patterns.
                for (origin, ranges, pattern) in patterns().into_iter().skip(at % 2).step_by(2) {
                    let leaf =
                        |v: &[f64], rows| tensor(v, [rows, D], dtype, &device).require_grad();
                    let (xt, yt) = (leaf(&x, M), leaf(&y, N));
                    let pt = tensor(&P, [D], dtype, &device).require_grad();
                    let k = formula(
                        &LazyTensor::vi(xt.clone()),
                        &LazyTensor::vj(yt.clone()),
                        &LazyTensor::pm(pt.clone()),
                    );
                    let out = reduce(&k.ranges(&ranges));
                    let shape = out.dims();
                    let there: Vec<bool> = rows(&pattern, axis, |_, _| [0.0; D])
                        .iter()
                        .flat_map(|row| vec![!row.is_empty(); shape[1]])
                        .collect();
                    let mut weights = Random::new(3).vec(shape[0] * shape[1]);
                    let absent = there.iter().map(|there| !there).collect::<Vec<bool>>();
                    weights.iter_mut().zip(&there).for_each(|(w, there)| {
                        if !there {
                            *w = 0.0
                        }
                    });
                    let absent = burn::tensor::TensorData::new(absent, shape);
                    let absent = Tensor::<2, Bool>::from_data(absent, &device);
                    // Missing values at the end of a list are infinite.
                    let infinite = out.clone().is_inf();
                    let loss = (out.mask_fill(absent, 0.0).mask_fill(infinite, 0.0)
                        * tensor(&weights, shape, dtype, &device))
                    .sum();
                    let gradients = loss.backward();
                    let dense = |x: &[f64], y: &[f64], p: &[f64]| -> f64 {
                        let rows = rows(&pattern, axis, |i, j| value(x, y, p, (i, j)));
                        let values = rows.iter().flat_map(|row| match row.is_empty() {
                            true => vec![0.0; shape[1]],
                            false => of_row(row),
                        });
                        values.zip(&weights).map(|(v, w)| v * w).sum()
                    };
                    let what = |by: &str| format!("{name} of {origin} over {axis} by {by}");
                    let want = differences(&x, &|x| dense(x, &y, &P));
                    assert_gradient(&what("x"), &xt, &gradients, &want, tolerance);
                    let want = differences(&y, &|y| dense(&x, y, &P));
                    assert_gradient(&what("y"), &yt, &gradients, &want, tolerance);
                    let want = differences(&P, &|p| dense(&x, &y, p));
                    assert_gradient(&what("p"), &pt, &gradients, &want, tolerance);
                }
            }
        }
    }

    /// Means and variances over both axes, in batches with their own ranges.
    #[test]
    fn gradients_of_batches_and_of_all_pairs() {
        let device = device().autodiff();
        let all = patterns();
        let own = [&all[0], &all[3]];
        let ranges = own.map(|own| own.1.clone());
        let batched = Ranges::batched(&[2], &ranges).expect("two");
        let mut random = Random::new(29);
        let (x, y) = (random.vec(2 * M), random.vec(N));
        let xt = tensor(&x, [2, M, 1], DType::F32, &device).require_grad();
        let yt = tensor(&y, [N, 1], DType::F32, &device).require_grad();
        let k = (LazyTensor::vi(xt.clone()) * LazyTensor::vj(yt.clone())).ranges(&batched);
        let total: Tensor<2> = k.mean(Axes::Both);
        let variance: Tensor<2> = k.var_bias(Axes::Both);
        let gradients = (total + variance).sum().backward();
        let dense = |x: &[f64], y: &[f64]| -> f64 {
            let batches = own.iter().enumerate().map(|(b, (_, _, pattern))| {
                let pairs = (0..M * N).filter(|at| pattern[at / N][at % N]);
                let values: Vec<f64> = pairs.map(|at| x[b * M + at / N] * y[at % N]).collect();
                mean(&values) + super::variance(&values, 0)
            });
            batches.sum()
        };
        let want = differences(&x, &|x| dense(x, &y));
        assert_gradient("x", &xt, &gradients, &want, 2e-4);
        let want = differences(&y, &|y| dense(&x, y));
        assert_gradient("y", &yt, &gradients, &want, 2e-4);
    }
}
