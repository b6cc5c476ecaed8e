//! Columns that are read in chunks give what the same columns give at once.

use std::{
    cell::{Cell, RefCell},
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use burn::{
    prelude::*,
    tensor::{DType, FloatDType, TensorData},
};
use burn_lazy::{
    Axis, LazyTensor,
    stream::{self, Columns, InMemory, Progress, StreamError},
};

use super::support::{Random, assert_close, device, dtypes, host, is_interpreted, tensor};

/// Values that repeat, so that there are ties.
fn few(random: &mut Random, len: usize) -> Vec<f64> {
    (0..len).map(|_| (random.next() * 3.0).round()).collect()
}

/// Numbers as a source has them.
fn columns(values: &[f64], dim: usize) -> InMemory<Vec<f32>> {
    let values = values.iter().map(|value| *value as f32).collect();
    InMemory::new(values, dim).unwrap()
}

fn numbers<const R: usize>(tensor: Tensor<R, Int>) -> Vec<i64> {
    tensor.into_data().iter::<i64>().collect()
}

/// Sizes of chunks of `n` columns.
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
    for (dtype, tolerance) in dtypes() {
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
            // More than there are columns.
            let (least, at) = one().kmin_argkmin(n + 2, distance).unwrap();
            let (expected, places) = d.kmin_argkmin(n + 2, Axis::J);
            let finite = |list: Tensor<2>| list.clone().mask_fill(list.is_inf(), -1.0);
            close("kmin_argkmin", finite(least), finite(expected));
            equal("kmin_argkmin", at, places);
            // Of several components, a list each.
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
    // Each pair of chunks of two columns meets another combination.
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
    // The components of a column are the values of all rows.
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
    // A softmax has one score, so each row of values is one of its own.
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
    // Nor are rows needed.
    let x_i = LazyTensor::vi(Tensor::<2>::ones([0, 2], &device()));
    let one = columns(&[1.0; 6], 2);
    let stream = stream::over([&one], &device()).chunk(2);
    let none: Tensor<2> = stream.logsumexp(|[y_j]| x_i.sqdist(y_j)).unwrap();
    assert_eq!(none.dims(), [0, 1]);
}

#[test]
fn indices_are_exact_beyond_what_the_type_holds() {
    // The last chunks of 2^25 columns, of which no others are made: what is read before is equal.
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
fn progress_is_told_after_each_chunk() {
    let source = columns(&[1.0; 7], 1);
    let told = RefCell::new(Vec::new());
    let x_i = LazyTensor::vi(Tensor::<2>::ones([1, 1], &device()));
    let stream = stream::over([&source], &device()).chunk(3);
    let stream = stream.progress(|Progress { done, all, .. }| told.borrow_mut().push((done, all)));
    let _: Tensor<2> = stream.sum(|[y_j]| &x_i * y_j).unwrap();
    assert_eq!(*told.borrow(), [(3, 7), (6, 7), (7, 7)]);
}

#[test]
fn a_source_that_fails_gives_its_error_and_works_again() {
    let fails = AtomicUsize::new(1);
    let source = stream::from_fn(10, 1, |columns, out| {
        out.fill(1.0);
        match columns.start >= 6 && fails.load(Ordering::Relaxed) == 1 {
            true => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the tape is torn",
            )),
            false => Ok(()),
        }
    });
    let x_i = LazyTensor::vi(Tensor::<2>::ones([1, 1], &device()));
    let stream = stream::over([&source], &device()).chunk(2);
    let sum = || stream.sum::<2, _>(|[y_j]| &x_i * y_j);
    let error = sum().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the columns 6..8 of source 0 cannot be read: the tape is torn"
    );
    let StreamError::Read { error, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    fails.store(0, Ordering::Relaxed);
    assert_eq!(host(sum().unwrap()), [10.0]);
}

#[test]
fn a_formula_that_fails_ends_the_reader() {
    let reads = AtomicUsize::new(0);
    let source = stream::from_fn(100, 2, |_, out| {
        reads.fetch_add(1, Ordering::Relaxed);
        out.fill(1.0);
        Ok(())
    });
    let x_i = LazyTensor::vi(Tensor::<2>::ones([1, 3], &device()));
    let stream = stream::over([&source], &device()).chunk(2);
    let error = stream.sum::<2, _>(|[y_j]| x_i.try_sqdist(y_j)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("the inner dimensions 3 and 2 do not fit"),
        "{text}"
    );
    assert!(text.contains("`y0` of shape [2, 2]"), "{text}");
    // The first chunk, and those that were read ahead.
    assert!(reads.load(Ordering::Relaxed) <= 3);
    // A function that panics ends it, too, and the next call works.
    let calls = Cell::new(0);
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        stream.sum::<2, _>(|[y_j]| {
            calls.set(calls.get() + 1);
            assert!(calls.get() < 3, "enough");
            y_j.inner_sum()
        })
    }));
    assert!(panics.is_err());
    let x_i = LazyTensor::vi(Tensor::<2>::ones([1, 2], &device()));
    let sum: Tensor<2> = stream.sum(|[y_j]| x_i.dot(y_j)).unwrap();
    assert_eq!(host(sum), [200.0]);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let (three, two) = (columns(&[1.0; 3], 1), columns(&[1.0; 2], 1));
    let x = Tensor::<2>::ones([1, 1], &device());
    let x_i = LazyTensor::vi(x.clone());
    let text = |error: StreamError| error.to_string();
    let both = stream::over([&three, &two], &device());
    assert_eq!(
        text(both.sum::<2, _>(|[y_j, b_j]| y_j * b_j).unwrap_err()),
        "source 1 has 2 columns, and source 0 has 3"
    );
    let zero = stream::over([&three], &device()).chunk(0);
    let error = zero.sum::<2, _>(|[y_j]| &x_i * y_j).unwrap_err();
    assert_eq!(text(error), "columns cannot be read in chunks of 0");
    let none = stream::over([], &device());
    let error = none.sum::<2, _>(|[]| x_i.clone()).unwrap_err();
    assert_eq!(
        text(error),
        "a stream needs columns to read, and has no source"
    );
    let one = || stream::over([&three], &device()).chunk(2);
    let others = LazyTensor::vj(Tensor::<2>::ones([5, 1], &device()));
    let error = text(one().sum::<2, _>(|_| &x_i * &others).unwrap_err());
    assert!(
        error.starts_with("the formula should have the 2 columns of the chunk: (x0 * y0)"),
        "{error}"
    );
    let error = text(one().sum::<3, _>(|[y_j]| &x_i * y_j).unwrap_err());
    assert!(
        error.contains("sum gives shape [1, 1], not a tensor of 3 dimensions"),
        "{error}"
    );
    let error = text(one().kmin::<2, _>(0, |[y_j]| &x_i * y_j).unwrap_err());
    assert!(
        error.contains("kmin gives 1 to 1024 values, not 0"),
        "{error}"
    );
    let error = InMemory::new([1.0f32; 5], 2).unwrap_err().to_string();
    assert_eq!(error, "5 numbers are no columns of 2 numbers each");
    assert!(InMemory::new([1.0f32; 5], 0).is_err());
    let error = three.read(2..4, &mut [0.0; 2]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there are 3 columns, and 2..4 are asked for"
    );
    // More columns than the integers of the device count.
    let limit = match device().settings().int_dtype {
        burn::tensor::IntDType::I32 => i32::MAX as usize,
        _ => return,
    };
    let many = stream::from_fn(limit + 1, 1, |_, out| {
        out.fill(0.0);
        Ok(())
    });
    let error = stream::over([&many], &device()).argmin::<2, _>(|[y_j]| &x_i * y_j);
    assert!(text(error.unwrap_err()).contains("are more than an integer of the device holds"));
}

#[test]
fn two_streams_run_at_once() {
    let source = columns(&(0..50).map(f64::from).collect::<Vec<_>>(), 1);
    let x_i = LazyTensor::vi(Tensor::<2>::ones([1, 1], &device()));
    let sums = std::thread::scope(|scope| {
        let threads = [3, 7].map(|chunk| {
            let (x_i, source) = (&x_i, &source);
            scope.spawn(move || {
                let stream = stream::over([source], &device()).chunk(chunk);
                host::<2>(stream.sum(|[y_j]| x_i * y_j).unwrap())[0]
            })
        });
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(sums, [1225.0, 1225.0]);
}

#[cfg(feature = "autodiff")]
mod gradients {
    use super::*;

    /// Compares the loss and its gradients with those of all columns at once.
    macro_rules! compare {
        ($what:literal, $stream:expr, $x:expr, $p:expr, $y:expr, $tolerance:expr,
            $name:ident($($count:expr)?), |$x_i:ident, $p_i:ident, $y_j:ident| $formula:expr) => {{
            let loss = |a: Tensor<2>| a.sin().sum() + $x.clone().square().sum();
            let ($x_i, $p_i) = (|| LazyTensor::vi($x.clone()), || LazyTensor::pm($p.clone()));
            let formula = |$y_j: LazyTensor| $formula;
            let (value, (by_x, by_p)) = $stream
                .value_and_grad((&$x, &$p))
                .$name($($count,)? |[y_j]| formula(y_j), loss)
                .unwrap();
            let expected = loss(formula(LazyTensor::vj($y.clone())).$name($($count,)? Axis::J));
            assert_close($what, &host(value), &host(expected.clone().inner()), $tolerance);
            let gradients = expected.backward();
            let expected = $x.grad(&gradients).unwrap();
            assert_close($what, &host(by_x), &host(expected), $tolerance);
            let expected = $p.grad(&gradients).unwrap();
            assert_close($what, &host(by_p), &host(expected), $tolerance);
        }};
    }

    #[test]
    fn gradients_are_those_of_all_columns() {
        let (m, n) = (3, 7);
        let mut random = Random::new(5);
        let (x, y, p) = (random.vec(m * 2), random.vec(n * 2), random.vec(2));
        let source = columns(&y, 2);
        let tracked = device().autodiff();
        for (dtype, tolerance) in dtypes() {
            let tolerance = 10.0 * tolerance;
            let x = tensor(&x, [m, 2], dtype, &tracked).require_grad();
            let p = tensor(&p, [2], dtype, &tracked).require_grad();
            let y = tensor(&y, [n, 2], dtype, &tracked);
            let chunks: &[usize] = if is_interpreted() { &[1, 3, 7] } else { &[3] };
            for chunk in chunks {
                let one = || {
                    let stream = stream::over([&source], &device()).chunk(*chunk);
                    stream.dtype(FloatDType::from(dtype))
                };
                compare!("sum", one(), x, p, y, tolerance, sum(), |x_i, p_i, y_j| {
                    ((x_i() - y_j) * p_i()).sin()
                });
                compare!(
                    "mean",
                    one(),
                    x,
                    p,
                    y,
                    tolerance,
                    mean(),
                    |x_i, p_i, y_j| ((x_i() - y_j) * p_i()).sin()
                );
                compare!(
                    "logsumexp",
                    one(),
                    x,
                    p,
                    y,
                    tolerance,
                    logsumexp(),
                    |x_i, p_i, y_j| (x_i() - y_j) * p_i()
                );
                compare!(
                    "min",
                    one(),
                    x,
                    p,
                    y,
                    tolerance,
                    min(),
                    |x_i, p_i, y_j| (x_i() - y_j) * p_i()
                );
                compare!(
                    "max",
                    one(),
                    x,
                    p,
                    y,
                    tolerance,
                    max(),
                    |x_i, p_i, y_j| (x_i() - y_j) * p_i()
                );
                compare!(
                    "kmin",
                    one(),
                    x,
                    p,
                    y,
                    tolerance,
                    kmin(3),
                    |x_i, p_i, y_j| x_i().weighted_sqdist(p_i().square(), y_j)
                );
                compare!("var", one(), x, p, y, tolerance, var(), |x_i, p_i, y_j| {
                    ((x_i() - y_j) * p_i()).sin()
                });
                compare!(
                    "var_bias",
                    one(),
                    x,
                    p,
                    y,
                    tolerance,
                    var_bias(),
                    |x_i, p_i, y_j| ((x_i() - y_j) * p_i()).sin()
                );
            }
        }
    }

    #[test]
    fn the_gradient_of_a_softmax_is_that_of_all_columns() {
        let (m, n) = (3, 7);
        let mut random = Random::new(6);
        let (x, y) = (random.vec(m * 2), random.vec(n * 2));
        let source = columns(&y, 2);
        let tracked = device().autodiff();
        let x = tensor(&x, [m, 2], DType::F32, &tracked).require_grad();
        let y_j = LazyTensor::vj(tensor(&y, [n, 2], DType::F32, &tracked));
        let loss = |a: Tensor<2>| a.square().sum();
        let formula = |y_j: LazyTensor| {
            // The first row has no score at all.
            let score = -LazyTensor::vi(x.clone()).sqdist(&y_j);
            let score = score.mask_where(LazyTensor::row_index().equal(0.0), f64::NEG_INFINITY);
            (score, y_j * LazyTensor::vi(x.clone()))
        };
        let known = |a: Tensor<2>| loss(a.slice([1..m]));
        let stream = stream::over([&source], &device()).chunk(3);
        let (value, gradient) = stream
            .value_and_grad(&x)
            .sumsoftmaxweight(|[y_j]| formula(y_j), known)
            .unwrap();
        let (score, weight) = formula(y_j);
        let expected = known(score.sumsoftmaxweight(weight, Axis::J));
        assert_close("value", &host(value), &host(expected.clone().inner()), 1e-5);
        let expected = x.grad(&expected.backward()).unwrap();
        assert_close("gradient", &host(gradient), &host(expected), 1e-4);
    }

    #[test]
    fn a_leaf_that_nothing_depends_on_has_a_gradient_of_0() {
        let tracked = device().autodiff();
        let x = Tensor::<2>::ones([2, 1], &tracked).require_grad();
        let unused = Tensor::<1>::ones([3], &tracked).require_grad();
        let source = columns(&[1.0, 2.0, 3.0], 1);
        let stream = || stream::over([&source], &device()).chunk(2);
        let told = Cell::new(0);
        let counted = stream().progress(|Progress { done, all, .. }| {
            assert_eq!(all, 6);
            told.set(done);
        });
        let (_, (by_x, by_unused)) = counted
            .value_and_grad((&x, &unused))
            .sum(
                |[y_j]| LazyTensor::vi(x.clone()) * y_j,
                |a: Tensor<2>| a.sum(),
            )
            .unwrap();
        assert_eq!((host(by_x), host(by_unused)), (vec![6.0; 2], vec![0.0; 3]));
        assert_eq!(told.get(), 6);
        // The same for a loss that depends on nothing.
        let constant = |a: Tensor<2>| Tensor::<1>::ones([1], &a.device().inner());
        let formula = |[y_j]: [LazyTensor; 1]| LazyTensor::vi(x.clone()) * y_j;
        let (value, by_x) = stream().value_and_grad(&x).sum(formula, constant).unwrap();
        assert_eq!((host(value), host(by_x)), (vec![1.0], vec![0.0; 2]));
        // What is wrong is said.
        let loss = |a: Tensor<2>| a.reshape([2]);
        let error = stream().value_and_grad(&x).sum(formula, loss).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a loss is one number, not a tensor of shape [2]"
        );
        let plain = x.clone().inner();
        let error = stream()
            .value_and_grad(&plain)
            .sum(formula, |a: Tensor<2>| a.sum());
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("of shape [2, 1] to differentiate by is not tracked")
        );
    }
}

#[cfg(feature = "mmap")]
mod files {
    use super::*;
    use burn_lazy::stream::Mapped;

    #[test]
    fn files_are_columns() {
        let folder = std::env::temp_dir().join(format!("burn-lazy-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let values = [1.5f32, -2.0, 3.25, 4.0, 5.0, 6.0];
        let raw: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let path = folder.join("columns.f32");
        std::fs::write(&path, &raw).unwrap();
        let x_i = LazyTensor::vi(Tensor::<2>::ones([1, 2], &device()));
        let sum = |columns: &dyn Columns| {
            let stream = stream::over([columns], &device()).chunk(2);
            host::<2>(stream.sum(|[y_j]| x_i.clone() * y_j).unwrap())
        };
        let mapped = Mapped::raw(&path, 2).unwrap();
        assert_eq!((mapped.len(), mapped.dim()), (3, 2));
        assert_eq!(sum(&mapped), [9.75, 8.0]);
        let mut part = [0.0; 2];
        mapped.read(1..2, &mut part).unwrap();
        assert_eq!(part, [3.25, 4.0]);
        assert!(mapped.read(2..4, &mut [0.0; 4]).is_err());
        let error = Mapped::raw(&path, 5).unwrap_err().to_string();
        assert!(
            error.ends_with("24 bytes are no columns of 5 numbers of 4 bytes each"),
            "{error}"
        );
        assert!(Mapped::raw(&path, 0).is_err());

        let npy = |dtype: &str, shape: &str, numbers: Vec<u8>| {
            let header =
                format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n");
            let mut file = b"\x93NUMPY\x01\x00".to_vec();
            file.extend((header.len() as u16).to_le_bytes());
            file.extend(header.as_bytes());
            file.extend(numbers);
            let path = folder.join("columns.npy");
            std::fs::write(&path, file).unwrap();
            Mapped::npy(&path)
        };
        let double = |value: &f32| f64::from(*value);
        let big: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_be_bytes())
            .collect();
        let long: Vec<u8> = values
            .iter()
            .flat_map(|value| double(value).to_le_bytes())
            .collect();
        let big_long = values
            .iter()
            .flat_map(|value| double(value).to_be_bytes())
            .collect();
        for (dtype, numbers) in [
            ("<f4", raw.clone()),
            (">f4", big),
            ("<f8", long),
            (">f8", big_long),
        ] {
            assert_eq!(
                sum(&npy(dtype, "(3, 2)", numbers).unwrap()),
                [9.75, 8.0],
                "{dtype}"
            );
        }
        assert_eq!(npy("<f4", "(6,)", raw.clone()).unwrap().dim(), 1);
        let error =
            |dtype: &str, shape: &str| npy(dtype, shape, raw.clone()).unwrap_err().to_string();
        assert!(error("<i4", "(3, 2)").ends_with("numbers are of type <i4, not f4 or f8"));
        assert!(error("<f4", "(1, 3, 2)").ends_with("an array of shape [1, 3, 2] has no columns"));
        // A file that was cut.
        assert!(
            error("<f4", "(4, 2)").ends_with("the array has 32 bytes, and the file 24 of them")
        );
        let missing = Mapped::npy(folder.join("nothing.npy")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

/// A type that a `TensorData` of the test device has.
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
