//! Ranges of the blocks of pairs in which a mask may hold.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axis, Clusters, LazyError, LazyTensor, Ranges};

use super::support::*;

const M: usize = 300;
const N: usize = 333;
const BLOCK: usize = 64;

/// A mask with its name, and a function that says whether it holds for a pair.
type Mask = (&'static str, LazyTensor, Box<dyn Fn(usize, usize) -> bool>);

fn points() -> [Vec<f64>; 2] {
    let mut random = Random::new(51);
    // Sorted, so that the points of a block are near each other.
    [M, N].map(|size| {
        let mut values = random.vec(size);
        values.sort_by(f64::total_cmp);
        values
    })
}

fn masks(dtype: DType) -> Vec<Mask> {
    let offset = LazyTensor::offset;
    let [x, y] = points();
    let [x_i, y_j] = points_of(&x, &y, 1, dtype);
    let (documents, own) = (|i: usize| (i * i / 9000) as i64, |j: usize| (j / 40) as i64);
    let labels = |size: usize, of: &dyn Fn(usize) -> i64| {
        let numbers: Vec<i64> = (0..size).map(of).collect();
        let data = burn::tensor::TensorData::new(numbers, [size, 1]);
        Tensor::<2, Int>::from_data(data, &device())
    };
    let same = LazyTensor::vi(labels(M, &documents)).equal(LazyTensor::vj(labels(N, &own)));
    let ball = (&x_i - &y_j).square().less(0.01);
    vec![
        (
            "causal",
            offset().greater_equal(0.0),
            Box::new(|i, j| j <= i),
        ),
        (
            "window",
            offset().greater_equal(-3.0) * offset().less(70.0),
            Box::new(|i, j| j <= i + 3 && i < j + 70),
        ),
        (
            "prefix",
            LazyTensor::column_index().less(10.0) + offset().equal(0.0),
            Box::new(|i, j| j < 10 || i == j),
        ),
        (
            "documents",
            same,
            Box::new(move |i, j| documents(i) == own(j)),
        ),
        (
            "ball",
            ball,
            Box::new(move |i, j| ((x[i] - y[j]) * (x[i] - y[j])) < 0.01),
        ),
    ]
}

fn matrix(dtype: DType) -> LazyTensor {
    let [x, y] = points();
    let [x_i, y_j] = points_of(&x, &y, 1, dtype);
    (x_i * y_j).cos()
}

#[test]
fn ranges_of_a_mask_have_all_pairs_that_it_selects() {
    let dtype = dtypes()[0].0;
    for (name, mask, holds) in masks(dtype) {
        let k = matrix(dtype);
        let ranges = Ranges::of_mask(&mask, &k).expect("a mask");
        let there: Tensor<3> = (k * 0.0 + 1.0).ranges(&ranges).dense();
        let there = host(there);
        let (mut selected, mut blocks) = (0, 0);
        for bi in (0..M).step_by(BLOCK) {
            for bj in (0..N).step_by(BLOCK) {
                let (rows, columns) = (bi..M.min(bi + BLOCK), bj..N.min(bj + BLOCK));
                let pairs = || {
                    rows.clone()
                        .flat_map(|i| columns.clone().map(move |j| (i, j)))
                };
                let any = pairs().any(|(i, j)| holds(i, j));
                let kept = pairs().filter(|(i, j)| there[i * N + j] == 1.0).count();
                assert!(
                    !any || kept == rows.len() * columns.len(),
                    "{name}: block {bi}, {bj}"
                );
                selected += usize::from(any);
                blocks += usize::from(kept > 0);
            }
        }
        // No block is kept without a pair, except where rounding may decide.
        assert!(
            blocks <= selected + 2,
            "{name}: {blocks} blocks, {selected} have a pair"
        );
        assert!(blocks < 30, "{name}: all blocks are kept");
    }
}

#[test]
fn reductions_of_the_blocks_are_those_of_the_mask() {
    for (dtype, tolerance) in some_of(dtypes(), 2) {
        for (name, mask, _) in masks(dtype) {
            let k = matrix(dtype);
            let outside = mask.equal(0.0);
            let ranges = Ranges::of_mask(&mask, &k).expect("a mask");
            let check = |of: &str, all: Tensor<2>, few: Tensor<2>| {
                let (all, few) = (host(all), host(few));
                for (a, b) in all.iter().zip(&few) {
                    let same =
                        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * 100.0;
                    assert!(same, "{of} of {name} in {dtype:?}: {b}, expected {a}");
                }
            };
            for axis in [Axis::J, Axis::I] {
                let sums = k.mask_where(&outside, 0.0);
                check("sum", sums.sum(axis), sums.ranges(&ranges).sum(axis));
                let scores = k.mask_where(&outside, f64::NEG_INFINITY);
                check("max", scores.max(axis), scores.ranges(&ranges).max(axis));
                check(
                    "logsumexp",
                    scores.logsumexp(axis),
                    scores.ranges(&ranges).logsumexp(axis),
                );
                let few = scores.ranges(&ranges);
                check(
                    "softmax",
                    scores.sumsoftmaxweight(&k, axis),
                    few.sumsoftmaxweight(k.ranges(&ranges), axis),
                );
            }
        }
    }
}

#[test]
fn near_points_are_found_in_clusters() {
    let values = Random::new(52).vec(2000);
    let x = tensor(&values, [1000, 2], DType::F32, &device());
    let clusters = Clusters::grid(&x, &[0.1]).expect("points are finite");
    let sorted = clusters.sort(x);
    let squares = LazyTensor::vi(sorted.clone()).sqdist(LazyTensor::vj(sorted));
    let near = squares.less(0.01);
    let ranges = Ranges::of_mask(&near, &squares).expect("a mask");
    assert!(ranges.pairs() < 600_000, "{ranges:?}");
    let (all, few): (Tensor<2, Int>, Tensor<2, Int>) =
        (near.count(Axis::J), near.ranges(&ranges).count(Axis::J));
    let numbers = |counts: Tensor<2, Int>| counts.into_data().iter::<i64>().collect::<Vec<i64>>();
    assert_eq!(numbers(all), numbers(few));
}

#[test]
fn blocks_of_what_is_not_known_are_kept() {
    let device = device();
    let mut values = vec![0.0f32; 200];
    values[70] = f32::NAN;
    values[130] = f32::INFINITY;
    let data = burn::tensor::TensorData::new(values, [200, 1]);
    let x = LazyTensor::vi(Tensor::<2>::from_data(data, &device));
    let y = LazyTensor::vj(Tensor::<2>::ones([64, 1], &device));
    let mask = (&x * &y).greater(0.5);
    let ranges = Ranges::of_mask(&mask, &mask).expect("a mask");
    // In the first and last block of rows the mask is zero everywhere.
    assert_eq!(ranges.pairs(), 2 * 64 * 64);
    let batched = LazyTensor::vi(Tensor::<3>::ones([2, 5, 1], &device))
        * LazyTensor::vj(Tensor::<2>::ones([5, 1], &device));
    assert!(matches!(
        Ranges::of_mask(&batched, &batched),
        Err(LazyError::MaskOfBatches(_))
    ));
    let empty = LazyTensor::vi(Tensor::<2>::ones([0, 1], &device))
        * LazyTensor::vj(Tensor::<2>::ones([5, 1], &device));
    assert_eq!(Ranges::of_mask(&empty, &empty).expect("a mask").pairs(), 0);
    let vector = LazyTensor::vi(Tensor::<2>::ones([5, 2], &device))
        * LazyTensor::vj(Tensor::<2>::ones([5, 2], &device));
    assert!(matches!(
        Ranges::of_mask(&vector, &vector),
        Err(LazyError::NotScalar { .. })
    ));
}
