//! Columns that are read in chunks give the same results as all columns at once.

use burn::{
    prelude::*,
    tensor::{DType, FloatDType, TensorData},
};
use burn_lazy::{
    Axis, LazyTensor,
    stream::{self, InMemory},
};

use super::support::{
    Random, assert_close, device, dtypes, few, host, is_interpreted, numbers, some_of, tensor,
};

/// A source in memory with these columns, which have `dim` components.
pub fn columns(values: &[f64], dim: usize) -> InMemory<Vec<f32>> {
    let values = values.iter().map(|value| *value as f32).collect();
    InMemory::new(values, dim).unwrap()
}

/// Sizes of chunks for `n` columns.
fn chunks(n: usize) -> Vec<usize> {
    match is_interpreted() {
        true => vec![1, 4, n - 1, n, n + 1],
        false => vec![4, n],
    }
}

#[test]
fn every_reduction_gives_what_all_columns_give() {
    let (m, n) = (3, 11);
    let mut random = Random::new(1);
    let (x, y, b) = (
        few(&mut random, m * 2),
        few(&mut random, n * 2),
        random.vec(n),
    );
    let (points, weights) = (columns(&y, 2), columns(&b, 1));
    for (dtype, tolerance) in some_of(dtypes(), 2) {
        let x_i = LazyTensor::vi(tensor(&x, [m, 2], dtype, &device()));
        let y_j = LazyTensor::vj(tensor(&y, [n, 2], dtype, &device()));
        let b_j = LazyTensor::vj(tensor(&b, [n, 1], dtype, &device()));
        let distance = |[y_j]: [LazyTensor; 1]| x_i.sqdist(y_j);
        let vector = |[y_j]: [LazyTensor; 1]| &x_i * y_j;
        let (d, v) = (x_i.sqdist(&y_j), &x_i * &y_j);
        for chunk in chunks(n) {
            let one = || {
                let stream = stream::over([&points], &device()).chunk(chunk);
                stream.dtype(FloatDType::from(dtype))
            };
            let two = || {
                let stream = stream::over([&points, &weights], &device()).chunk(chunk);
                stream.dtype(FloatDType::from(dtype))
            };
            let close = |what: &str, given: Tensor<2>, expected: Tensor<2>| {
                assert_eq!(given.dtype(), dtype, "{what}");
                let what = format!("{what} of {dtype:?} in chunks of {chunk}");
                assert_close(&what, &host(given), &host(expected), tolerance);
            };
            let equal = |what: &str, given: Tensor<2, Int>, expected: Tensor<2, Int>| {
                assert_eq!(
                    numbers(given),
                    numbers(expected),
                    "{what} in chunks of {chunk}"
                );
            };
            let sum = two().sum(|[y_j, b_j]| (-x_i.sqdist(y_j)).exp() * b_j);
            let expected = ((-x_i.sqdist(&y_j)).exp() * &b_j).sum(Axis::J);
            close("sum", sum.unwrap(), expected);
            close("mean", one().mean(vector).unwrap(), v.mean(Axis::J));
            let factor = |y_j: &LazyTensor| (&x_i - y_j) * 0.5;
            let product = one().prod(|[y_j]| factor(&y_j)).unwrap();
            close("prod", product, factor(&y_j).prod(Axis::J));
            close(
                "logsumexp",
                one().logsumexp(vector).unwrap(),
                v.logsumexp(Axis::J),
            );
            // The weighted sums of some chunks are negative, and so are the sums of some rows.
            let weighted = two().logsumexp_weighted(|[y_j, b_j]| (&x_i * y_j, b_j + 0.25));
            let expected = v.logsumexp_weighted(&b_j + 0.25, Axis::J);
            let known = |a: &Tensor<2>| a.clone().mask_fill(a.clone().is_nan(), 9.0);
            close(
                "logsumexp_weighted",
                known(&weighted.unwrap()),
                known(&expected),
            );
            let softmax = two().sumsoftmaxweight(|[y_j, b_j]| (-x_i.sqdist(&y_j), y_j * b_j));
            let expected = (-&d).sumsoftmaxweight(&y_j * &b_j, Axis::J);
            close("sumsoftmaxweight", softmax.unwrap(), expected);
            close("min", one().min(vector).unwrap(), v.min(Axis::J));
            close("max", one().max(vector).unwrap(), v.max(Axis::J));
            equal("argmin", one().argmin(vector).unwrap(), v.argmin(Axis::J));
            equal("argmax", one().argmax(vector).unwrap(), v.argmax(Axis::J));
            let (least, at) = one().min_argmin(distance).unwrap();
            close("min_argmin", least, d.min(Axis::J));
            equal("min_argmin", at, d.argmin(Axis::J));
            let (most, at) = one().max_argmax(distance).unwrap();
            close("max_argmax", most, d.max(Axis::J));
            equal("max_argmax", at, d.argmax(Axis::J));
            close("kmin", one().kmin(4, distance).unwrap(), d.kmin(4, Axis::J));
            equal(
                "argkmin",
                one().argkmin(4, distance).unwrap(),
                d.argkmin(4, Axis::J),
            );
            // The list is longer than there are columns.
            let (least, at) = one().kmin_argkmin(n + 2, distance).unwrap();
            let (expected, places) = d.kmin_argkmin(n + 2, Axis::J);
            let finite = |list: Tensor<2>| list.clone().mask_fill(list.is_inf(), -1.0);
            close("kmin_argkmin", finite(least), finite(expected));
            equal("kmin_argkmin", at, places);
            // Each component has its own list.
            let lists: Tensor<3, Int> = one().argkmin(3, vector).unwrap();
            assert_eq!(
                numbers(lists),
                numbers(v.argkmin::<3>(3, Axis::J)),
                "{chunk}"
            );
            equal("count", one().count(vector).unwrap(), v.count(Axis::J));
            let any: Tensor<2, Bool> = one().any(|[y_j]| vector([y_j]).equal(4.0)).unwrap();
            let expected: Tensor<2, Bool> = v.equal(4.0).any(Axis::J);
            any.into_data().assert_eq(&expected.into_data(), true);
            close("var", one().var(vector).unwrap(), v.var(Axis::J));
            close(
                "var_bias",
                one().var_bias(vector).unwrap(),
                v.var_bias(Axis::J),
            );
            let (variance, mean) = one().var_mean(vector).unwrap();
            close("var_mean", variance, v.var(Axis::J));
            close("var_mean", mean, v.mean(Axis::J));
            let (variance, _) = one().var_mean_bias::<2, _>(vector).unwrap();
            close("var_mean_bias", variance, v.var_bias(Axis::J));
        }
    }
}

#[test]
fn values_that_are_not_finite_are_those_of_all_columns() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    // Chunks have two columns. Each row has another combination of values in its two chunks.
    let rows = [
        [1.0, nan, 2.0, nan],
        [3.0, 2.0, nan, 1.0],
        [inf, inf, inf, inf],
        [-inf, -inf, -inf, -inf],
        [-inf, -inf, 1.0, -inf],
        [1.0, 2.0, -inf, -inf],
        [inf, 0.0, 1.0, -inf],
        [0.0, 0.0, inf, 5.0],
        [-0.0, 1.0, 0.0, -0.0],
    ];
    let y: Vec<f64> = (0..4).flat_map(|j| rows.map(|row| row[j])).collect();
    let m = rows.len();
    // Each row of values is one component, so a column has a component per row.
    let source = columns(&y, m);
    let y_j = LazyTensor::vj(tensor(&y, [4, m], DType::F32, &device()));
    let one = || stream::over([&source], &device()).chunk(2);
    let x_i = LazyTensor::vi(Tensor::<2>::ones([1, 1], &device()));
    let f = |[y_j]: [LazyTensor; 1]| &x_i * y_j;
    let v = &x_i * &y_j;
    let same = |what: &str, given: Tensor<2>, expected: Tensor<2>| {
        for (row, (given, expected)) in host(given).iter().zip(host(expected)).enumerate() {
            let equal = (given - expected).abs() < 1e-6 || *given == expected;
            let equal = equal || given.is_nan() && expected.is_nan();
            assert!(
                equal,
                "{what} of {:?}: {given}, expected {expected}",
                rows[row]
            );
        }
    };
    same("sum", one().sum(f).unwrap(), v.sum(Axis::J));
    same(
        "logsumexp",
        one().logsumexp(f).unwrap(),
        v.logsumexp(Axis::J),
    );
    same("min", one().min(f).unwrap(), v.min(Axis::J));
    same("max", one().max(f).unwrap(), v.max(Axis::J));
    same("var", one().var(f).unwrap(), v.var(Axis::J));
    let indices = |given: Tensor<2, Int>, expected: Tensor<2, Int>| {
        assert_eq!(numbers(given), numbers(expected));
    };
    indices(one().argmin(f).unwrap(), v.argmin(Axis::J));
    indices(one().argmax(f).unwrap(), v.argmax(Axis::J));
    let lists: Tensor<3, Int> = one().argkmin(3, f).unwrap();
    assert_eq!(numbers(lists), numbers(v.argkmin::<3>(3, Axis::J)));
    // A softmax has one score, so each row of values needs its own source.
    for row in rows {
        let source = columns(&row, 1);
        let y_j = LazyTensor::vj(tensor(&row, [4, 1], DType::F32, &device()));
        let stream = stream::over([&source], &device()).chunk(2);
        let given = stream.sumsoftmaxweight(|[y_j]| (&x_i * y_j, LazyTensor::column_index() + 2.0));
        let expected: Tensor<2> =
            (&x_i * y_j).sumsoftmaxweight(LazyTensor::column_index().modulo(2.0) + 2.0, Axis::J);
        let (given, expected) = (host::<2>(given.unwrap())[0], host(expected)[0]);
        let equal = (given - expected).abs() < 1e-6 || given.is_nan() && expected.is_nan();
        assert!(equal, "softmax of {row:?}: {given}, expected {expected}");
    }
}

#[test]
fn no_columns_give_what_an_empty_axis_gives() {
    let none = InMemory::new(vec![], 2).unwrap();
    let x_i = LazyTensor::vi(Tensor::<2>::ones([2, 2], &device()));
    let f = |[y_j]: [LazyTensor; 1]| x_i.sqdist(y_j);
    let stream = stream::over([&none], &device());
    assert_eq!(host::<2>(stream.sum(f).unwrap()), [0.0, 0.0]);
    assert_eq!(host::<2>(stream.min(f).unwrap()), [f64::INFINITY; 2]);
    assert_eq!(numbers::<2>(stream.argkmin(2, f).unwrap()), [-1; 4]);
    assert!(
        host::<2>(stream.mean(f).unwrap())
            .iter()
            .all(|mean| mean.is_nan())
    );
    let weighted: Tensor<2> = stream.logsumexp_weighted(|y_j| (f(y_j), 2.0)).unwrap();
    assert_eq!(host(weighted), [f64::NEG_INFINITY; 2]);
    // A stream without rows works, too.
    let x_i = LazyTensor::vi(Tensor::<2>::ones([0, 2], &device()));
    let one = columns(&[1.0; 6], 2);
    let stream = stream::over([&one], &device()).chunk(2);
    let none: Tensor<2> = stream.logsumexp(|[y_j]| x_i.sqdist(y_j)).unwrap();
    assert_eq!(none.dims(), [0, 1]);
    let none: Tensor<2> = stream
        .logsumexp_weighted(|[y_j]| (x_i.sqdist(y_j), 2.0))
        .unwrap();
    assert_eq!(none.dims(), [0, 1]);
}

#[test]
fn indices_are_exact_beyond_what_the_type_holds() {
    // Only the last columns differ from the others, so that their indices beyond 2^24 matter.
    let len = (1 << 25) + 3;
    let far = stream::from_fn(len, 1, |columns, out| {
        out.fill(1.0);
        if columns.end == len {
            out[out.len() - 2] = 0.0;
        }
        Ok(())
    });
    if !is_interpreted() {
        return;
    }
    let x_i = LazyTensor::vi(Tensor::<2>::ones([1, 1], &device()));
    let stream = stream::over([&far], &device()).chunk(1 << 22);
    let at: Tensor<2, Int> = stream.argmin(|[y_j]| &x_i * y_j).unwrap();
    assert_eq!(numbers(at), [len as i64 - 2]);
}

#[test]
fn batches_have_rows_of_their_own() {
    let mut random = Random::new(3);
    let (x, y) = (random.vec(2 * 3 * 2), random.vec(5 * 2));
    let x_i = LazyTensor::vi(tensor(&x, [2, 3, 2], DType::F32, &device()));
    let y_j = LazyTensor::vj(tensor(&y, [5, 2], DType::F32, &device()));
    let source = columns(&y, 2);
    let stream = stream::over([&source], &device()).chunk(2);
    let f = |[y_j]: [LazyTensor; 1]| x_i.sqdist(y_j);
    let given: Tensor<3> = stream.logsumexp(f).unwrap();
    let expected: Tensor<3> = x_i.sqdist(&y_j).logsumexp(Axis::J);
    assert_close("logsumexp", &host(given), &host(expected), 1e-5);
    let given: Tensor<3, Int> = stream.argkmin(2, f).unwrap();
    assert_eq!(
        numbers(given),
        numbers(x_i.sqdist(&y_j).argkmin::<3>(2, Axis::J))
    );
}

#[test]
fn columns_have_the_type_that_is_asked_for() {
    let source = columns(&[0.5, 2.0], 1);
    for (dtype, _) in dtypes() {
        let x = Tensor::<2>::from_data(TensorData::from([[2.0]]), (&device(), dtype));
        let x_i = LazyTensor::vi(x);
        let stream = stream::over([&source], &device()).dtype(FloatDType::from(dtype));
        let sum: Tensor<2> = stream.sum(|[y_j]| &x_i * y_j).unwrap();
        assert_eq!((sum.dtype(), host(sum)), (dtype, vec![5.0]));
    }
}
