//! A matrix that several devices share gives the same results as on one device.

use burn::{
    prelude::*,
    tensor::{DType, FloatDType},
};
use burn_lazy::{
    Axes, Axis, LazyError, LazyTensor, Ranges, Sharded, Shards,
    solve::{LinearOperator, LogDetOptions, SolveOptions, conjugate_gradient, log_det},
};

use super::support::{
    Random, assert_close, device, dtypes, few, host, is_interpreted, is_processor, numbers,
    other_device, some_of, tensor,
};

/// `count` devices, alternating between the device under test and another kind of device if there is one.
fn devices(count: usize) -> Vec<Device> {
    (0..count)
        .map(|k| if k % 2 == 0 { device() } else { other_device() })
        .collect()
}

/// Equal, uneven and empty shares, and more devices than there are rows.
fn ways() -> Vec<Shards> {
    let all = vec![
        Shards::new(devices(2)),
        Shards::new(devices(3)).weights([5.0, 0.0, 1.0]),
        Shards::new(devices(9)),
    ];
    match is_interpreted() {
        true => all,
        false => all.into_iter().take(1).collect(),
    }
}

#[test]
fn every_reduction_gives_what_one_device_gives() {
    let (m, n) = (5, 7);
    let mut random = Random::new(1);
    let (x, y, b) = (
        few(&mut random, m * 2),
        few(&mut random, n * 2),
        random.vec(n),
    );
    for (dtype, tolerance) in some_of(dtypes(), 2) {
        let x_i = LazyTensor::vi(tensor(&x, [m, 2], dtype, &device()));
        let y_j = LazyTensor::vj(tensor(&y, [n, 2], dtype, &device()));
        let b_j = LazyTensor::vj(tensor(&b, [n, 1], dtype, &device()));
        // The formula contains the offset of a pair, which must be that in the whole matrix.
        let d = x_i.sqdist(&y_j) + LazyTensor::offset() * 0.5;
        let v = &x_i * &y_j;
        for shards in ways() {
            for by in [Shards::rows, Shards::columns] {
                let (d_s, v_s): (Sharded, Sharded) = (by(&shards, &d), by(&shards, &v));
                let close = |what: &str, given: Tensor<2>, expected: Tensor<2>| {
                    assert_eq!(given.dtype(), dtype, "{what}");
                    assert_eq!(given.device(), device(), "{what}");
                    let what = format!("{what} of {dtype:?}, {d_s:?}");
                    assert_close(&what, &host(given), &host(expected), tolerance);
                };
                let equal = |what: &str, given: Tensor<2, Int>, expected: Tensor<2, Int>| {
                    assert_eq!(numbers(given), numbers(expected), "{what} of {d_s:?}");
                };
                for axis in [Axis::I, Axis::J] {
                    close("sum", v_s.sum(axis), v.sum(axis));
                    close("mean", v_s.mean(axis), v.mean(axis));
                    close("prod", d_s.prod(axis), d.prod(axis));
                    close("logsumexp", v_s.logsumexp(axis), v.logsumexp(axis));
                    // Sums with these weights are positive, but those of some blocks are not.
                    let (weight, scores) = (&b_j * &x_i + 0.75, v_s.clone());
                    let given = scores.logsumexp_weighted(&weight, axis);
                    close("weighted", given, v.logsumexp_weighted(weight, axis));
                    let given = d_s.sumsoftmaxweight(&b_j * &x_i, axis);
                    close("softmax", given, d.sumsoftmaxweight(&b_j * &x_i, axis));
                    close("min", v_s.min(axis), v.min(axis));
                    close("max", v_s.max(axis), v.max(axis));
                    equal("argmin", v_s.argmin(axis), v.argmin(axis));
                    equal("argmax", v_s.argmax(axis), v.argmax(axis));
                    let (least, at) = d_s.min_argmin(axis);
                    close("min_argmin", least, d.min(axis));
                    equal("min_argmin", at, d.argmin(axis));
                    let (most, at) = d_s.max_argmax(axis);
                    close("max_argmax", most, d.max(axis));
                    equal("max_argmax", at, d.argmax(axis));
                    close("kmin", d_s.kmin(3, axis), d.kmin(3, axis));
                    equal("argkmin", d_s.argkmin(9, axis), d.argkmin(9, axis));
                    let (least, at) = d_s.kmin_argkmin(2, axis);
                    close("kmin_argkmin", least, d.kmin(2, axis));
                    equal("kmin_argkmin", at, d.argkmin(2, axis));
                    let lists: Tensor<3, Int> = v_s.argkmin(4, axis);
                    assert_eq!(numbers(lists), numbers(v.argkmin::<3>(4, axis)), "{d_s:?}");
                    equal("count", v_s.count(axis), v.count(axis));
                    let any: Tensor<2, Bool> = v_s.any(axis);
                    any.into_data()
                        .assert_eq(&v.any::<2>(axis).into_data(), true);
                    close("var", v_s.var(axis), v.var(axis));
                    close("var_bias", v_s.var_bias(axis), v.var_bias(axis));
                    let (variance, mean) = v_s.var_mean(axis);
                    close("var_mean", variance, v.var(axis));
                    close("var_mean", mean, v.mean(axis));
                    let (variance, _) = v_s.var_mean_bias::<2>(axis);
                    close("var_mean_bias", variance, v.var_bias(axis));
                }
                let rows = |tensor: Tensor<1>| tensor.unsqueeze_dim::<2>(0);
                let both = Axes::Both;
                close("sum of all", rows(v_s.sum(both)), rows(v.sum(both)));
                close("mean of all", rows(v_s.mean(both)), rows(v.mean(both)));
                close(
                    "logsumexp of all",
                    rows(v_s.logsumexp(both)),
                    rows(v.logsumexp(both)),
                );
                let softmax = d_s.sumsoftmaxweight(&b_j, both);
                close(
                    "softmax of all",
                    rows(softmax),
                    rows(d.sumsoftmaxweight(&b_j, both)),
                );
                close("min of all", rows(v_s.min(both)), rows(v.min(both)));
                close("var of all", rows(v_s.var(both)), rows(v.var(both)));
                assert_eq!(numbers(v_s.count::<1>(both)), numbers(v.count::<1>(both)));
            }
        }
    }
}

#[test]
fn batches_ranges_and_halves_are_shared_out() {
    let mut random = Random::new(2);
    let (x, y) = (random.vec(2 * 4 * 2), random.vec(6 * 2));
    let shards = Shards::new(devices(2));
    let x_i = LazyTensor::vi(tensor(&x, [2, 4, 2], DType::F32, &device()));
    let y_j = LazyTensor::vj(tensor(&y, [6, 2], DType::F32, &device()));
    let k = x_i.sqdist(&y_j);
    let b = tensor(&random.vec(6), [6, 1], DType::F32, &device()).unsqueeze::<3>();
    for sharded in [shards.rows(&k), shards.columns(&k)] {
        let given: Tensor<3> = sharded.logsumexp(Axis::J);
        let expected: Tensor<3> = k.logsumexp(Axis::J);
        assert_close("logsumexp", &host(given), &host(expected), 1e-5);
        let product = sharded.matmul(b.clone());
        assert_close("matmul", &host(product), &host(k.matmul(b.clone())), 1e-5);
        let given: Tensor<3, Int> = sharded.argkmin(2, Axis::J);
        assert_eq!(numbers(given), numbers(k.argkmin::<3>(2, Axis::J)));
    }
    // The first two rows have columns of the first block only, the other rows have columns of both blocks.
    let x_i = LazyTensor::vi(tensor(&x[..8], [4, 2], DType::F32, &device()));
    let ranges = Ranges::lengths(&[2, 2], &[2, 4]).unwrap();
    let k = x_i.sqdist(&y_j).ranges(&ranges);
    for sharded in [shards.rows(&k), shards.columns(&k)] {
        for axis in [Axis::I, Axis::J] {
            let close = |what: &str, given: Tensor<2>, expected: Tensor<2>| {
                assert_close(what, &host(given), &host(expected), 1e-5);
            };
            close("mean", sharded.mean(axis), k.mean(axis));
            close("var", sharded.var(axis), k.var(axis));
            close("logsumexp", sharded.logsumexp(axis), k.logsumexp(axis));
            let given: Tensor<2, Int> = sharded.argmin(axis);
            assert_eq!(numbers(given), numbers(k.argmin::<2>(axis)));
            let given: Tensor<2, Int> = sharded.argkmin(3, axis);
            assert_eq!(numbers(given), numbers(k.argkmin::<2>(3, axis)));
        }
    }
    if super::support::reduces(DType::F16) {
        let x = tensor(&[1000.0; 3], [3, 1], DType::F16, &device());
        let y = tensor(&[1.0, 3.0, 2.0, 1.0], [4, 1], DType::F16, &device());
        let k = LazyTensor::vi(x) * LazyTensor::vj(y) * 10.0;
        let sharded = Shards::new(vec![device(); 2]).columns(&k);
        // The sum is out of the range of the type, but the mean is not.
        let mean: Tensor<2> = sharded.mean(Axis::J);
        assert_eq!((mean.dtype(), host(mean)), (DType::F16, vec![17504.0; 3]));
    }
}

#[test]
fn no_rows_and_no_columns_are_shared_out() {
    for (m, n) in [(0, 3), (3, 0), (0, 0)] {
        let x_i = LazyTensor::vi(Tensor::<2>::ones([m, 2], &device()));
        let y_j = LazyTensor::vj(Tensor::<2>::ones([n, 2], &device()));
        let k = x_i.sqdist(y_j);
        let shards = Shards::new(devices(2));
        for sharded in [shards.rows(&k), shards.columns(&k)] {
            let sums: Tensor<2> = sharded.sum(Axis::J);
            assert_eq!((sums.dims(), host(sums)), ([m, 1], vec![0.0; m]));
            let logarithms = sharded.logsumexp_weighted::<2>(0.5, Axis::J);
            assert_eq!(host(logarithms), vec![f64::NEG_INFINITY; m]);
            let indices: Tensor<2, Int> = sharded.argmin(Axis::J);
            assert_eq!(numbers(indices), vec![-1; m]);
            let product = sharded.matmul(Tensor::<2>::ones([n, 2], &device()));
            assert_eq!(product.dims(), [m, 2]);
        }
    }
}

#[test]
fn a_block_without_pairs_has_no_index_to_give() {
    // Each row has the columns from its own index on, so the last row has no columns in the first block. All values are
    // infinite, so they are no smaller than the value of a block without pairs.
    let x = tensor(&[f64::INFINITY; 3], [3, 1], DType::F32, &device());
    let ones = LazyTensor::vj(Tensor::<2>::ones([4, 1], &device()));
    let k = (LazyTensor::vi(x) * ones).ranges(&Ranges::band([3, 4], 0, 4).unwrap());
    let sharded = Shards::new(devices(2)).columns(&k);
    let expected: Tensor<2, Int> = k.argmin(Axis::J);
    assert_eq!(numbers(expected), [0, 1, 2]);
    let found: Tensor<2, Int> = sharded.argmin(Axis::J);
    assert_eq!(numbers(found), [0, 1, 2], "{sharded:?}");
}

#[test]
fn products_and_systems_run_on_all_devices() {
    let n = 30;
    let mut random = Random::new(4);
    let x = random.vec(n * 2);
    let (dtype, tolerance) = some_last();
    let x = tensor(&x, [n, 2], dtype, &device());
    let b = tensor(&random.vec(n * 2), [n, 2], dtype, &device());
    let k = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x))).exp();
    let options = SolveOptions::default().ridge(0.5).tolerance(1e-6);
    let solved = k.solve(b.clone(), &options).unwrap();
    let shards = Shards::new(devices(3)).weights([1.0, 2.0, 3.0]);
    for sharded in [shards.rows(&k), shards.columns(&k)] {
        let product = sharded.matmul(b.clone());
        assert_close(
            "matmul",
            &host(product),
            &host(k.matmul(b.clone())),
            tolerance,
        );
        let vector = b.clone().narrow(1, 0, 1).reshape([n]);
        let product: Tensor<1> = sharded.matmul(vector.clone());
        assert_close(
            "a vector",
            &host(product),
            &host(k.matmul(vector)),
            tolerance,
        );
        let transposed = sharded.apply_transposed(b.clone()).unwrap();
        let expected = k.t().matmul(b.clone());
        assert_close(
            "the transpose",
            &host(transposed),
            &host(expected),
            tolerance,
        );
        let own = conjugate_gradient(&sharded, b.clone(), &options).unwrap();
        assert!(own.info.residuals.iter().all(|residual| *residual <= 1e-6));
        assert_close(
            "solution",
            &host(own.solution),
            &host(solved.solution.clone()),
            1e-5,
        );
        let log = LogDetOptions::<2>::default().ridge(0.5);
        let own = log_det(&sharded, &log).unwrap().estimates()[0];
        let expected = log_det(&k, &log).unwrap().estimates()[0];
        assert!(
            (own - expected).abs() < 1e-5 * expected.abs(),
            "{own}, expected {expected}"
        );
    }
    // Only a square matrix is a system.
    let wide = LazyTensor::vi(b.clone().narrow(0, 0, 3)).sqdist(LazyTensor::vj(b));
    let error = conjugate_gradient(
        &shards.rows(&wide),
        Tensor::<2>::ones([3, 1], (&device(), dtype)),
        &options,
    );
    assert!(error.unwrap_err().to_string().contains("not one of 3 x 30"));
}

/// The most precise type of the device.
fn some_last() -> (DType, f64) {
    *dtypes().last().expect("there is a type")
}

#[cfg(feature = "autodiff")]
#[test]
fn gradients_reach_the_tensors_of_the_matrix() {
    let (m, n) = (5, 4);
    let mut random = Random::new(5);
    let tracked = device().autodiff();
    let (x, y, p) = (random.vec(m * 2), random.vec(n * 2), random.vec(1));
    let (dtype, tolerance) = some_last();
    let tolerance = 10.0 * tolerance;
    let leaves = || {
        let x = tensor(&x, [m, 2], dtype, &tracked).require_grad();
        let y = tensor(&y, [n, 2], dtype, &tracked).require_grad();
        (x, y, tensor(&p, [1], dtype, &tracked).require_grad())
    };
    type Reduce = fn(&Reduced) -> Tensor<2>;
    /// A matrix on one device or on several.
    enum Reduced {
        One(LazyTensor),
        Several(Sharded),
    }
    macro_rules! of {
        ($k:expr, $name:ident($($arg:expr),*)) => {
            match $k {
                Reduced::One(k) => k.$name($($arg),*),
                Reduced::Several(k) => k.$name($($arg),*),
            }
        };
    }
    let reductions: [(&str, Reduce); 9] = [
        ("sum", |k| of!(k, sum(Axis::J))),
        ("logsumexp", |k| of!(k, logsumexp(Axis::J))),
        ("prod", |k| of!(k, prod(Axis::J))),
        ("max", |k| of!(k, max(Axis::J))),
        ("kmin", |k| of!(k, kmin(2, Axis::J))),
        ("var", |k| of!(k, var(Axis::J))),
        ("softmax", |k| {
            of!(
                k,
                sumsoftmaxweight(LazyTensor::column_index() + 1.0, Axis::J)
            )
        }),
        ("weighted", |k| {
            of!(
                k,
                // The weights of the first columns are 0, negative and positive.
                logsumexp_weighted(
                    LazyTensor::column_index() * (LazyTensor::column_index() * 3.0 - 4.0),
                    Axis::J
                )
            )
        }),
        ("sum over rows", |k| of!(k, sum(Axis::I))),
    ];
    let count = if is_interpreted() { 9 } else { 2 };
    for (what, reduce) in &reductions[..count] {
        let run = |share: &dyn Fn(&LazyTensor) -> Reduced| {
            let (x, y, p) = leaves();
            let k = LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(y.clone()))
                * LazyTensor::pm(p.clone());
            let gradients = reduce(&share(&k)).sin().sum().backward();
            let all = [x.grad(&gradients), y.grad(&gradients)].map(|own| host(own.unwrap()));
            [all.concat(), host(p.grad(&gradients).unwrap())].concat()
        };
        let expected = run(&|k| Reduced::One(k.clone()));
        let shards = Shards::new(devices(3));
        let rows = run(&|k| Reduced::Several(shards.rows(k)));
        assert_close(&format!("{what}, rows"), &rows, &expected, tolerance);
        let columns = run(&|k| Reduced::Several(shards.columns(k)));
        assert_close(&format!("{what}, columns"), &columns, &expected, tolerance);
    }
    // Gradients through a system, and by the right-hand side of a product.
    let run = |sharded: bool| {
        let (x, _, p) = leaves();
        let k = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x.clone()))).exp()
            * LazyTensor::pm(p.clone().square());
        let b = tensor(&random_of(m), [m, 1], dtype, &tracked).require_grad();
        let options = SolveOptions::default().ridge(1.0).tolerance(1e-10);
        let options = if dtype == DType::F32 {
            options.tolerance(1e-6)
        } else {
            options
        };
        let solved = match sharded {
            true => conjugate_gradient(&Shards::new(devices(2)).columns(&k), b.clone(), &options),
            false => k.solve(b.clone(), &options),
        };
        let gradients = solved.unwrap().solution.square().sum().backward();
        let all = [x.grad(&gradients), b.grad(&gradients)].map(|own| host(own.unwrap()));
        [all.concat(), host(p.grad(&gradients).unwrap())].concat()
    };
    assert_close("a system", &run(true), &run(false), 1e-4);
}

#[cfg(feature = "autodiff")]
fn random_of(len: usize) -> Vec<f64> {
    Random::new(9).vec(len)
}

#[test]
fn a_block_that_fails_is_named_and_the_next_call_works() {
    let x_i = LazyTensor::vi(Tensor::<2>::ones([4, 2], &device()));
    let y_j = LazyTensor::vj(Tensor::<2>::ones([3, 2], &device()));
    let k = x_i.sqdist(&y_j);
    let sharded = Shards::new(vec![device(); 2]).rows(&k);
    let error = sharded.try_sum::<3>(Axis::J).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("the block 0..2 of the axis i on the device Device<"),
        "{text}"
    );
    assert!(
        text.contains("sum gives shape [2, 1], not a tensor of 3 dimensions"),
        "{text}"
    );
    assert!(matches!(
        error,
        LazyError::Shard {
            start: 0,
            end: 2,
            axis: Axis::I,
            ..
        }
    ));
    let error = sharded
        .try_kmin::<2>(2000, Axis::J)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("kmin gives 1 to 1024 values, not 2000"),
        "{error}"
    );
    let sums: Tensor<2> = sharded.sum(Axis::J);
    assert_eq!(host(sums), [0.0; 4]);
    // A product of the wrong size gives the same error as for the whole matrix.
    let error = sharded
        .try_matmul(Tensor::<2>::ones([5, 1], &device()))
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("sizes of the axis j differ") && text.contains("[5, 1]"),
        "{text}"
    );
    let vectors = Shards::new([device()]).rows(&(&x_i * &y_j));
    let error = vectors
        .try_matmul(Tensor::<2>::ones([3, 1], &device()))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("matmul needs a formula of inner dimension 1")
    );
}

#[test]
fn what_is_not_to_be_shared_out_is_an_error() {
    let error = Shards::try_new([]).unwrap_err().to_string();
    assert_eq!(
        error,
        "a matrix is shared out to at least one device, and there is none"
    );
    for weights in [
        vec![1.0],
        vec![1.0, -1.0],
        vec![0.0, 0.0],
        vec![f64::NAN, 1.0],
        vec![f64::INFINITY, 1.0],
    ] {
        let error = Shards::new(vec![device(); 2])
            .try_weights(weights.clone())
            .unwrap_err();
        let expected = format!(
            "the weights {weights:?} are no shares of 2 devices: one for each, not negative and not all 0"
        );
        assert_eq!(error.to_string(), expected);
    }
    let shards = Shards::new([device()]);
    let rows = LazyTensor::vi(Tensor::<2>::ones([4, 2], &device()));
    let error = shards.try_rows(&rows).unwrap_err().to_string();
    assert!(
        error.starts_with("no operand depends on the axis j"),
        "{error}"
    );
    assert!(shards.try_columns(&LazyTensor::offset()).is_err());
}

#[test]
fn measured_weights_share_out_everything() {
    let x_i = LazyTensor::vi(Tensor::<2>::ones([40, 2], &device()));
    let k = x_i.sqdist(LazyTensor::vj(Tensor::<2>::zeros([30, 2], &device())));
    let sharded = Shards::new(devices(2)).balanced(&k).rows(&k);
    let sums: Tensor<2> = sharded.sum(Axis::J);
    assert_eq!(host(sums), [60.0; 40]);
    // Two devices on the same processor slow each other down.
    if is_processor() {
        let text = format!("{sharded:?}");
        assert!(text.contains(" 0..40 on "), "{text}");
    }
}

#[test]
fn two_threads_share_one_device() {
    let x_i = LazyTensor::vi(Tensor::<2>::ones([6, 1], &device()));
    let k = x_i + LazyTensor::vj(Tensor::<2>::ones([5, 1], &device()));
    let sharded = Shards::new(vec![device(); 3]).columns(&k);
    std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| host::<2>(sharded.sum(Axis::J))));
        for thread in threads {
            assert_eq!(thread.join().unwrap(), [10.0; 6]);
        }
    });
}

#[test]
fn operators_are_cast_with_their_blocks() {
    let x_i = LazyTensor::vi(Tensor::<2>::ones([3, 1], (&device(), DType::F32)));
    let k = x_i + LazyTensor::vj(Tensor::<2>::ones([3, 1], (&device(), DType::F32)));
    let (dtype, _) = some_last();
    let sharded = Shards::new(devices(2)).rows(&k);
    let cast = LinearOperator::<2>::cast(&sharded, FloatDType::from(dtype)).unwrap();
    let product = cast.matmul(Tensor::<2>::ones([3, 1], (&device(), dtype)));
    assert_eq!((product.dtype(), host(product)), (dtype, vec![6.0; 3]));
}
