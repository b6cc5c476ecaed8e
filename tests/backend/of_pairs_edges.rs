//! Operands of pairs in combination with other features: empty axes, 16-bit types, orders of points, and solvers.

use burn::{
    prelude::*,
    tensor::{DType, FloatDType, TensorData},
};
use burn_lazy::{
    Axes, Axis, LazyTensor, Pruning, Ranges,
    solve::{Jacobi, Nystrom, Rank, SolveError, SolveOptions},
};

use super::support::*;

fn whole_numbers(shape: [usize; 3], seed: u64) -> Vec<f64> {
    let values = Random::new(seed).vec(shape.iter().product());
    values.iter().map(|value| (value * 4.0).round()).collect()
}

/// Sums of `x_i z_ij` over an axis, with one component.
fn weighted_sums(
    (m, n): (usize, usize),
    entry: impl Fn(usize, usize) -> f64,
    axis: Axis,
) -> Vec<f64> {
    match axis {
        Axis::J => (0..m).map(|i| (0..n).map(|j| entry(i, j)).sum()).collect(),
        Axis::I => (0..n).map(|j| (0..m).map(|i| entry(i, j)).sum()).collect(),
    }
}

#[test]
fn sums_over_nothing_are_zero() {
    let device = device();
    for [m, n] in [[0, 3], [3, 0], [0, 0], [1, 1]] {
        let x = LazyTensor::vi(Tensor::<2>::ones([m, 2], &device));
        let z = LazyTensor::vij(Tensor::<3>::ones([m, n, 2], &device));
        let k = x * z;
        let inner = if m * n == 1 { 1.0 } else { 0.0 };
        assert_eq!(host(k.sum::<2>(Axis::J)), vec![inner; m * 2]);
        assert_eq!(host(k.sum::<2>(Axis::I)), vec![inner; n * 2]);
        assert_eq!(k.dense::<3>().dims(), [m, n, 2]);
        assert_eq!(k.t().dense::<3>().dims(), [n, m, 2]);
        if m == n {
            assert_eq!(k.diag::<2>().dims(), [m, 2]);
        }
    }
    let z = LazyTensor::vij(Tensor::<4>::ones([0, 2, 3, 1], &device));
    assert_eq!(z.sum::<3>(Axis::J).dims(), [0, 2, 1]);
    assert_eq!(z.dense::<4>().dims(), [0, 2, 3, 1]);
}

#[test]
fn matrices_of_halves_are_read() {
    let shape = [4, 9, 1];
    let values = whole_numbers(shape, 3);
    for dtype in [DType::F16, DType::BF16] {
        if !reduces(dtype) {
            skipped("the device has no halves");
            continue;
        }
        let z = LazyTensor::vij(tensor(&values, shape, dtype, &device()));
        let x = LazyTensor::vi(tensor(&[1.0, -2.0, 3.0, 0.5], [4, 1], dtype, &device()));
        let at = |i: usize, j: usize| [1.0, -2.0, 3.0, 0.5][i] * values[i * 9 + j];
        for axis in [Axis::I, Axis::J] {
            let sums = (&x * &z).sum::<2>(axis);
            assert_eq!(sums.dtype(), dtype);
            assert_eq!(host(sums), weighted_sums((4, 9), at, axis), "{dtype:?}");
        }
        // In formulas, integers of pairs are computed in F32.
        let labels = (0..36).map(|at| 3000 + at).collect::<Vec<i64>>();
        let labels = Tensor::<3, Int>::from_data(TensorData::new(labels, shape), &device());
        let odd = LazyTensor::vij(labels).equal(LazyTensor::row_index() * 9.0 + 3001.0);
        assert_eq!(host((odd + &x * 0.0).sum::<2>(Axis::J)), [1.0; 4]);
    }
}

#[test]
fn repeated_and_cut_matrices_are_read() {
    let device = device();
    let row = tensor(&[1.0, 2.0, 3.0], [1, 3, 1], DType::F32, &device);
    let x = || LazyTensor::vi(Tensor::<2>::ones([4, 1], &device));
    let rows = LazyTensor::vij(row.clone().expand([4, 3, 1]));
    assert_eq!(host((x() * &rows).sum::<2>(Axis::J)), [6.0; 4]);
    assert_eq!(host((x() * rows).sum::<2>(Axis::I)), [4.0, 8.0, 12.0]);
    let columns = row.permute([1, 0, 2]).expand([3, 4, 1]);
    let columns = LazyTensor::vij(columns).t();
    assert_eq!(host((x() * columns).sum::<2>(Axis::J)), [6.0; 4]);
    let large: Vec<f64> = (0..2 * 6 * 8).map(f64::from).collect();
    let large = tensor(&large, [2, 6, 8], DType::F32, &device);
    // Rows and columns from the middle of one batch, as a matrix with one component.
    let cut: Tensor<3> = large
        .slice([1..2, 1..5, 2..8])
        .squeeze_dim::<2>(0)
        .unsqueeze_dim(2);
    let got = host((x() * LazyTensor::vij(cut)).sum::<2>(Axis::J));
    let at = |i: usize, j: usize| (48 + (1 + i) * 8 + 2 + j) as f64;
    assert_eq!(got, weighted_sums((4, 6), at, Axis::J));
}

#[test]
fn transposes_of_transposes_and_repeated_operands_agree() {
    let device = device();
    let shape = [3, 5, 2];
    let values = whole_numbers(shape, 7);
    let z = tensor(&values, shape, DType::F32, &device);
    let k = LazyTensor::vij(z.clone());
    let again = k.t().t();
    assert_eq!(again.shape(), k.shape());
    assert_eq!(host((&again - &k).dense::<3>()), [0.0; 30]);
    assert_eq!(host(again.sum::<2>(Axis::J)), host(k.sum::<2>(Axis::J)));
    // The same tensor as two operands.
    let squares: Vec<f64> = values.iter().map(|value| value * value).collect();
    let twice = LazyTensor::vij(z.clone()) * LazyTensor::vij(z);
    assert_eq!(host(twice.dense::<3>()), squares);
    assert_eq!(
        host(twice.t().sum::<2>(Axis::I)),
        host(twice.sum::<2>(Axis::J))
    );
    let text = format!("{}", &k * again);
    for part in ["z0", "z1", "(3, 5, 2)"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn masks_of_pairs_are_transposed_and_cut_too() {
    let device = device();
    let kept: Vec<bool> = (0..12).map(|at| at % 5 != 0).collect();
    let mask = Tensor::<3, Bool>::from_data(TensorData::new(kept.clone(), [3, 4, 1]), &device);
    let labels: Vec<i64> = (0..12).map(|at| 16_777_216 + at % 5).collect();
    let labels = Tensor::<3, Int>::from_data(TensorData::new(labels, [3, 4, 1]), &device);
    let (mask, labels) = (LazyTensor::vij(mask), LazyTensor::vij(labels));
    let number = Tensor::<1, Int>::from_data([16_777_216], &device);
    let first = labels.equal(LazyTensor::pm(number));
    let whole = [
        (
            "mask",
            mask.clone(),
            kept.iter().map(|kept| f64::from(u8::from(*kept))).collect(),
        ),
        (
            "labels",
            first,
            kept.iter()
                .map(|kept| f64::from(u8::from(!kept)))
                .collect::<Vec<f64>>(),
        ),
    ];
    for (what, k, want) in whole {
        assert_eq!(host(k.dense::<3>()), want, "{what}");
        let turned: Vec<f64> = (0..12).map(|at| want[at % 3 * 4 + at / 3]).collect();
        assert_eq!(host(k.t().dense::<3>()), turned, "{what}");
        let cut = [want[5], want[6], want[9], want[10]];
        assert_eq!(host(k.block(1..3, 1..3).dense::<3>()), cut, "{what}");
        assert_eq!(
            host(k.block(0..3, 0..3).diag::<2>()),
            [want[0], want[5], want[10]]
        );
        let inner = k.inner().cast(FloatDType::F32);
        assert_eq!(host(inner.dense::<3>()), want, "{what}");
    }
}

/// Labels in any order sort rows and columns, and with them the rows and columns of a matrix.
#[test]
fn matrices_follow_the_order_of_labels() {
    let (rows, columns) = (vec![2i64, 0, 1, 2, 0], vec![1i64, 2, 0, 2, 1, 0, 2]);
    let shape = [5, 7, 1];
    let values = whole_numbers(shape, 13);
    let z = tensor(&values, shape, DType::F32, &device());
    let ranges = Ranges::labels(&rows, &columns).expect("they are labels");
    let factors = LazyTensor::vi(tensor(
        &[1.0, 2.0, 3.0, 4.0, 5.0],
        [5, 1],
        DType::F32,
        &device(),
    ));
    let k = factors * LazyTensor::vij(z) + LazyTensor::column_index() * 10.0;
    let k = k.ranges(&ranges);
    let at = |i: usize, j: usize| match rows[i] == columns[j] {
        true => (i + 1) as f64 * values[i * 7 + j] + 10.0 * j as f64,
        false => 0.0,
    };
    for axis in [Axis::I, Axis::J] {
        assert_eq!(host(k.sum::<2>(axis)), weighted_sums((5, 7), at, axis));
    }
    let entries: Vec<f64> = (0..35).map(|entry| at(entry / 7, entry % 7)).collect();
    assert_eq!(host(k.dense::<3>()), entries);
    assert_eq!(host(k.t().sum::<2>(Axis::I)), host(k.sum::<2>(Axis::J)));
    let total: f64 = entries.iter().sum();
    assert_eq!(host(k.sum::<1>(Axes::Both)), [total]);
}

/// A matrix whose pairs are found once has sorted points. It can be combined with an operand of pairs.
#[test]
fn matrices_join_arranged_points() {
    let n = 300;
    let mut random = Random::new(3);
    let x = random.vec(n * 2);
    let z = random.vec(n * n);
    for (dtype, tolerance) in dtypes() {
        let points = tensor(&x, [n, 2], dtype, &device());
        let k = (-LazyTensor::vi(points.clone()).sqdist(LazyTensor::vj(points)) * 5000.0).exp();
        let z = LazyTensor::vij(tensor(&z, [n, n, 1], dtype, &device()));
        let want = host((&k * &z).sum::<2>(Axis::J));
        let near = k.arranged() * &z;
        assert_close("arranged", &host(near.sum::<2>(Axis::J)), &want, tolerance);
        assert_close(
            "arranged",
            &host(near.t().sum::<2>(Axis::I)),
            &want,
            tolerance,
        );
        let product = (&k * &z).prune(Pruning::Exact);
        assert_close("exact", &host(product.sum::<2>(Axis::J)), &want, tolerance);
        let arranged = product.arranged();
        assert_close(
            "nothing is known",
            &host(arranged.sum::<2>(Axis::J)),
            &want,
            tolerance,
        );
        let least = host(product.min::<2>(Axis::J));
        assert_close(
            "least",
            &host((&k * &z).min::<2>(Axis::J)),
            &least,
            tolerance,
        );
    }
}

/// A symmetric positive definite matrix, stored by rows.
fn definite(n: usize) -> Vec<f64> {
    let factor = Random::new(17).vec(n * n);
    let entry = |i: usize, j: usize| -> f64 {
        let product: f64 = (0..n).map(|k| factor[i * n + k] * factor[j * n + k]).sum();
        product / n as f64 + if i == j { 1.0 } else { 0.0 }
    };
    (0..n * n).map(|at| entry(at / n, at % n)).collect()
}

#[test]
fn stored_matrices_are_solved_with() {
    let n = 12;
    let a = definite(n);
    let b = Random::new(2).vec(n * 2);
    for (dtype, tolerance) in some_of(dtypes(), 2) {
        let k = LazyTensor::vij(tensor(&a, [n, n, 1], dtype, &device()));
        let right = tensor(&b, [n, 2], dtype, &device());
        let ridge = 0.1;
        let options = || {
            SolveOptions::default()
                .ridge(ridge)
                .tolerance(10.0 * tolerance)
        };
        let nystrom = Nystrom::new(&k, ridge, Rank::Columns(4)).expect("it is definite");
        let jacobi = Jacobi::new(&k, ridge).expect("the diagonal is positive");
        for (what, options) in [
            ("plain", options()),
            ("jacobi", options().preconditioner(jacobi)),
            ("nystrom", options().preconditioner(nystrom)),
        ] {
            let solution = k
                .solve(right.clone(), &options)
                .expect("it converges")
                .solution;
            let product = k.matmul(solution.clone()) + solution * ridge;
            assert_close(what, &host(product), &b, 100.0 * tolerance);
        }
        let mut skew = a.clone();
        skew[1] += 0.5;
        let skew = LazyTensor::vij(tensor(&skew, [n, n, 1], dtype, &device()));
        let refused = skew.solve(right, &options());
        assert!(matches!(refused, Err(SolveError::NotSymmetric(_))));
    }
}

#[test]
fn random_numbers_of_pairs_are_uniform_and_independent() {
    let device = device();
    let (m, n) = (64, 64);
    let ones = || LazyTensor::vi(Tensor::<2>::ones([m, 1], &device));
    let columns = || LazyTensor::vj(Tensor::<2>::ones([n, 1], &device));
    let numbers = |seed: i32| {
        let uniform = LazyTensor::uniform(seed);
        host((uniform * ones() * columns()).dense::<3>())
    };
    let count = (m * n) as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
    let correlation = |a: &[f64], b: &[f64]| {
        let products = a.iter().zip(b).map(|(a, b)| (a - 0.5) * (b - 0.5));
        12.0 * products.sum::<f64>() / count
    };
    // Each of these statistics is about normal with a standard deviation of at most 1 / 64.
    let bound = 5.0 / 64.0;
    for seed in [0, 1, 2, 77, 16_777_215] {
        let own = numbers(seed);
        assert!(own.iter().all(|value| (0.0..1.0).contains(value)));
        assert!((mean(&own) - 0.5).abs() < bound / 3.0, "{seed}");
        let square: Vec<f64> = own.iter().map(|value| value * value).collect();
        assert!((mean(&square) - 1.0 / 3.0).abs() < bound / 3.0, "{seed}");
        let next = numbers(if seed == 16_777_215 { 0 } else { seed + 1 });
        assert!(correlation(&own, &next).abs() < bound, "{seed}");
        for shift in [1, n, n + 1] {
            let mut moved = own.clone();
            moved.rotate_left(shift);
            assert!(correlation(&own, &moved).abs() < bound, "{seed} {shift}");
        }
        // Opposite pairs have different numbers.
        let turned: Vec<f64> = (0..m * n).map(|at| own[at % n * n + at / n]).collect();
        let pairs = own.iter().zip(&turned);
        assert!(pairs.filter(|(a, b)| a == b).count() <= m + 2, "{seed}");
        assert!(
            correlation(&own, &turned).abs() < bound + 1.0 / 64.0,
            "{seed}"
        );
    }
}

#[test]
fn random_numbers_of_pairs_are_the_same_in_every_reduction() {
    let n = 200;
    let x = Random::new(1).vec(n * 2);
    let points = tensor(&x, [n, 2], DType::F32, &device());
    let k = (-LazyTensor::vi(points.clone()).sqdist(LazyTensor::vj(points)) * 100.0).exp();
    let seeds = Tensor::<2, Int>::from_data([[5], [6]], &device());
    let dropped = &k * LazyTensor::uniform(5).less(0.5);
    let entries = host(dropped.dense::<3>());
    let sums: Vec<f64> = entries.chunks(n).map(|row| row.iter().sum()).collect();
    assert_close("sum", &host(dropped.sum::<2>(Axis::J)), &sums, 1e-5);
    let pruned = dropped.prune(Pruning::Exact);
    assert_close("pruned", &host(pruned.sum::<2>(Axis::J)), &sums, 1e-5);
    assert_close(
        "arranged",
        &host(pruned.arranged().sum::<2>(Axis::J)),
        &sums,
        1e-5,
    );
    let joined = k.arranged() * LazyTensor::uniform(5).less(0.5);
    assert_close("joined", &host(joined.sum::<2>(Axis::J)), &sums, 1e-5);
    assert_close(
        "transposed",
        &host(dropped.t().sum::<2>(Axis::I)),
        &sums,
        1e-5,
    );
    let block: Vec<f64> = (0..6)
        .map(|at| entries[(150 + at / 3) * n + 7 + at % 3])
        .collect();
    assert_eq!(host(dropped.block(150..152, 7..10).dense::<3>()), block);
    let diagonal: Vec<f64> = (0..n).map(|at| entries[at * n + at]).collect();
    assert_eq!(host(dropped.diag::<2>()), diagonal);
    // Each batch has its own seed.
    let batches = &k * LazyTensor::uniform(LazyTensor::pm(seeds)).less(0.5);
    let both = host(batches.sum::<3>(Axis::J));
    assert_close("first batch", &both[..n], &sums, 1e-5);
    assert_ne!(both[..n], both[n..]);
    assert!(
        host((&k * LazyTensor::uniform(f64::NAN)).sum::<2>(Axis::J))
            .iter()
            .all(|v| v.is_nan())
    );
}
