//! Gaussian processes against scikit-learn, and against differences of their own values.

use burn::{
    optim::{AdamConfig, GradientsParams},
    prelude::*,
    store::ModuleRecord,
    tensor::DType,
};
use burn_lazy_nn::{
    Inference,
    gp::*,
    kernel::{Kernel, Matern, MaternConfig, Rbf, RbfConfig, Scale, ScaleConfig, Smoothness},
};
use serde_json::Value;

use super::{
    reference::{self, numbers},
    support::*,
};

const VARIANCE: f64 = 1.7;
const LENGTHS: [f64; 2] = [0.6, 1.1];
const NOISE: f64 = 0.05;

/// The settings of the reference values. Without a lower bound the parameter of the noise is its logarithm.
fn settings(inference: Inference) -> ExactGpConfig {
    ExactGpConfig::new()
        .with_mean(MeanConfig::Zero)
        .with_noise(NOISE)
        .with_noise_bound(0.0)
        .with_inference(inference)
}

fn set_lengths(parameter: &mut burn_lazy_nn::Positive, device: &Device, dtype: DType) {
    let raws = LENGTHS.map(f64::ln);
    parameter.raw = burn::module::Param::from_tensor(tensor(&raws, [1, 2], dtype, device));
}

fn scale<K: Kernel>(kernel: K, device: &Device, dtype: DType) -> Scale<K> {
    ScaleConfig::new()
        .with_variance(VARIANCE)
        .init(kernel, (device, dtype))
}

fn rbf(device: &Device, dtype: DType) -> Scale<Rbf> {
    let mut kernel = RbfConfig::new().with_ard(Some(2)).init((device, dtype));
    set_lengths(&mut kernel.length_scale, device, dtype);
    scale(kernel, device, dtype)
}

fn matern(device: &Device, dtype: DType) -> Scale<Matern> {
    let config = MaternConfig::new(Smoothness::ThreeHalves).with_ard(Some(2));
    let mut kernel = config.init((device, dtype));
    set_lengths(&mut kernel.length_scale, device, dtype);
    scale(kernel, device, dtype)
}

fn read(case: &Value, name: &str, dtype: DType, device: &Device) -> Tensor<2> {
    let values = numbers(&case[name]);
    let rows = case[name].as_array().expect("it is a list").len();
    tensor(&values, [rows, values.len() / rows], dtype, device)
}

/// The derivatives by the logarithms of the variance, the length scales and the noise.
macro_rules! gradient {
    ($process:expr, $value:expr) => {{
        let gradients = $value.backward();
        let kernel = &$process.kernel;
        let parameters = [
            &kernel.variance,
            &kernel.kernel.length_scale,
            &$process.noise,
        ];
        let raws = parameters.map(|own| own.raw.val().grad(&gradients).expect("it is learned"));
        raws.into_iter().flat_map(host).collect::<Vec<f64>>()
    }};
}

/// Asserts that the standard deviations of two lists of variances differ by less than `tolerance`, relative to the
/// standard deviation of the process.
#[track_caller]
fn assert_deviations(name: &str, variances: Vec<f64>, expected: &[f64], tolerance: f64) {
    let roots = |values: &[f64]| {
        values
            .iter()
            .map(|value| value.sqrt())
            .collect::<Vec<f64>>()
    };
    let (own, expected) = (roots(&variances), roots(expected));
    for (own, expected) in own.iter().zip(&expected) {
        let error = (own - expected).abs() / VARIANCE.sqrt();
        assert!(error < tolerance, "{name}: {own} instead of {expected}");
    }
}

#[test]
fn a_stored_process_is_that_of_scikit_learn() {
    let values = reference::read("gp");
    let case = &values["small"];
    for (dtype, tolerance) in dtypes() {
        let device = device().autodiff();
        let process = settings(Inference::Auto).init(rbf(&device, dtype), (&device, dtype));
        let [x, t, at] = ["x", "t", "at"].map(|name| read(case, name, dtype, &device));
        let options = LikelihoodOptions::new();
        let value = process.log_marginal_likelihood(x.clone(), t.clone(), &options);
        assert_eq!(value.dtype(), dtype);
        let loose = 100.0 * tolerance;
        assert_close(
            "value",
            &host(value.clone()),
            &numbers(&case["value"]),
            10.0 * tolerance,
        );
        let own = gradient!(process, value);
        assert_close("gradient", &own, &numbers(&case["gradient"]), loose);

        let posterior = process.condition(x, t);
        let mean = posterior.mean(at.clone());
        assert_close("mean", &host(mean), &numbers(&case["mean"]), loose);
        let covariance = numbers(&case["covariance"]);
        let variances: Vec<f64> = (0..5).map(|k| covariance[6 * k]).collect();
        assert_deviations("deviation", host(posterior.variance(at)), &variances, 1e-3);

        let left_out = posterior.leave_one_out();
        let own: Vec<f64> = host(left_out.mean)
            .chunks(2)
            .zip(host(left_out.variance))
            .flat_map(|(mean, variance)| [mean[0], mean[1], variance])
            .collect();
        assert_close("left out", &own, &numbers(&case["left_out"]), loose);
    }
}

#[test]
fn an_iterative_process_is_that_of_scikit_learn() {
    let values = reference::read("gp");
    let case = &values["larger"];
    for (dtype, tolerance) in dtypes() {
        let device = device().autodiff();
        let settings = settings(Inference::Iterative)
            .with_rank(Some(60))
            .with_tolerance(1e-7);
        let process = settings.init(matern(&device, dtype), (&device, dtype));
        let [x, t, at] = ["x", "t", "at"].map(|name| read(case, name, dtype, &device));
        let options = LikelihoodOptions::new().with_probes(64);
        let value = process.log_marginal_likelihood(x.clone(), t.clone(), &options);
        assert_eq!(value.dtype(), dtype);
        assert_close(
            "value",
            &host(value.clone()),
            &numbers(&case["value"]),
            0.02,
        );
        let own = gradient!(process, value);
        assert_close("gradient", &own, &numbers(&case["gradient"]), 0.1);

        let posterior = process.condition(x, t);
        let close = tolerance.max(1e-6) * 100.0;
        assert_close(
            "mean",
            &host(posterior.mean(at.clone())),
            &numbers(&case["mean"]),
            close,
        );
        let covariance = numbers(&case["covariance"]);
        let variances: Vec<f64> = (0..5).map(|k| covariance[6 * k]).collect();
        assert_deviations("deviation", host(posterior.variance(at)), &variances, 1e-3);
        let left_out = posterior.leave_one_out();
        let own = host(left_out.mean).into_iter().zip(host(left_out.variance));
        let own: Vec<f64> = own
            .take(12)
            .flat_map(|(mean, variance)| [mean, variance])
            .collect();
        assert_close("left out", &own, &numbers(&case["left_out"]), close);
    }
}

#[test]
fn derivatives_by_points_targets_and_means_are_differences() {
    let dtype = DType::F64;
    if !dtypes().iter().any(|(own, _)| *own == dtype) {
        return;
    }
    let options = LikelihoodOptions::new().with_tolerance(1e-12);
    for inference in [Inference::Cholesky, Inference::Iterative] {
        // The last values are the offset and the slope of the mean.
        let all = [Random::new(1).vec(12 + 6), vec![0.3, -0.4, 0.2]].concat();
        let parts = |device: &Device, all: &[f64]| {
            let x = tensor(&all[..12], [6, 2], dtype, device);
            let t = tensor(&all[12..18], [6, 1], dtype, device);
            let config = settings(inference).with_mean(MeanConfig::Linear(2));
            let mut process = config.init(rbf(device, dtype), (device, dtype));
            let param = |values: &[f64]| {
                let values = tensor(values, [values.len()], dtype, device);
                Some(burn::module::Param::from_tensor(values))
            };
            process.mean.offset = param(&all[18..19]);
            process.mean.slope = param(&all[19..]);
            (process, x, t)
        };
        let (process, x, t) = parts(&device().autodiff(), &all);
        let (x, t) = (x.require_grad(), t.require_grad());
        let value = process.log_marginal_likelihood(x.clone(), t.clone(), &options);
        let gradients = value.backward();
        let expected = differences(&all, &|all| {
            let (process, x, t) = parts(&device(), all);
            process
                .log_marginal_likelihood(x, t, &options)
                .into_scalar()
        });
        let name = format!("{inference:?}");
        assert_gradient(&name, &t, &gradients, &expected[12..18], 1e-6);
        let [offset, slope] = [process.mean.offset, process.mean.slope].map(Option::unwrap);
        assert_gradient(&name, &offset.val(), &gradients, &expected[18..19], 1e-6);
        assert_gradient(&name, &slope.val(), &gradients, &expected[19..], 1e-6);
        // With iterative inference the determinant is an estimate. Its probes change the value in another way than the
        // gradient.
        if inference == Inference::Cholesky {
            assert_gradient(&name, &x, &gradients, &expected[..12], 1e-6);
        }
    }
}

#[test]
fn means_have_derivatives_by_the_points_of_predictions() {
    let dtype = DType::F64;
    if !dtypes().iter().any(|(own, _)| *own == dtype) {
        return;
    }
    let posterior = |device: &Device| {
        let config = settings(Inference::Auto).with_mean(MeanConfig::Constant);
        let process = config.init(rbf(device, dtype), (device, dtype));
        let mut random = Random::new(2);
        let x = tensor(&random.vec(10), [5, 2], dtype, device);
        process.condition(x, tensor(&random.vec(5), [5, 1], dtype, device))
    };
    let values = Random::new(3).vec(6);
    let at = tensor(&values, [3, 2], dtype, &device().autodiff()).require_grad();
    let gradients = posterior(&device().autodiff())
        .mean(at.clone())
        .sum()
        .backward();
    let plain = posterior(&device());
    let expected = differences(&values, &|at| {
        plain
            .mean(tensor(at, [3, 2], dtype, &device()))
            .sum()
            .into_scalar()
    });
    assert_gradient("mean", &at, &gradients, &expected, 1e-7);
}

#[test]
fn samples_have_the_mean_and_covariance_of_the_process() {
    let values = reference::read("gp");
    let case = &values["small"];
    let (device, dtype) = (device(), DType::F32);
    let [x, t, at] = ["x", "t", "at"].map(|name| read(case, name, dtype, &device));
    let conditioned = |inference| {
        let process = settings(inference).init(rbf(&device, dtype), &device);
        process.condition(x.clone(), t.clone())
    };
    let posterior = conditioned(Inference::Cholesky);
    let few = host(posterior.sample(at.clone(), 3, 1));
    assert_eq!(host(posterior.sample(at.clone(), 3, 1)), few);
    assert_ne!(host(posterior.sample(at.clone(), 3, 2)), few);
    let same = conditioned(Inference::Iterative).sample(at.clone(), 3, 1);
    assert_close("iterative", &host(same), &few, 1e-3);

    let count = 3000;
    let samples = posterior.sample(at, count, 1);
    assert_eq!(samples.dims(), [count, 5, 2]);
    let drawn = host(samples);
    let (mean, covariance) = (numbers(&case["mean"]), numbers(&case["covariance"]));
    let centred = |sample: usize, point: usize, output: usize| {
        drawn[(sample * 5 + point) * 2 + output] - mean[point * 2 + output]
    };
    let average = |f: &dyn Fn(usize) -> f64| (0..count).map(f).sum::<f64>() / count as f64;
    let deviation = |i: usize| covariance[6 * i].sqrt();
    for i in 0..5 {
        for output in 0..2 {
            // The bound is five standard errors.
            let error = average(&|sample| centred(sample, i, output)).abs();
            let bound = 5.0 * deviation(i) / (count as f64).sqrt();
            assert!(error < bound, "mean {i} {output}: {error}, beyond {bound}");
        }
        for j in 0..5 {
            let own = average(&|sample| centred(sample, i, 0) * centred(sample, j, 0));
            let bound = 5.0 * deviation(i) * deviation(j) * (2.0 / count as f64).sqrt();
            let error = (own - covariance[5 * i + j]).abs();
            assert!(error < bound, "covariance {i} {j}: {error}, beyond {bound}");
            // Columns of targets are independent.
            let mixed = average(&|sample| centred(sample, i, 0) * centred(sample, j, 1));
            assert!(mixed.abs() < bound, "{i} {j}: {mixed}, beyond {bound}");
        }
    }
}

#[test]
fn transposed_tensors_and_permutations_change_no_prediction() {
    let values = reference::read("gp");
    let case = &values["small"];
    let (device, dtype) = (device(), DType::F32);
    let process = settings(Inference::Auto).init(rbf(&device, dtype), &device);
    let [x, t, at] = ["x", "t", "at"].map(|name| read(case, name, dtype, &device));
    let posterior = process.condition(x.clone(), t.clone());
    let expected = [
        host(posterior.mean(at.clone())),
        host(posterior.variance(at.clone())),
    ];
    let transposed = |own: &Tensor<2>| {
        let copy = own.clone().transpose().into_data();
        Tensor::<2>::from_data(copy, &device).transpose()
    };
    let order: Vec<i64> = (0..12).map(|k| k * 5 % 12).collect();
    let order = Tensor::from_data(burn::tensor::TensorData::new(order, [12]), &device);
    let others = [
        (transposed(&x), transposed(&t), transposed(&at)),
        (x.select(0, order.clone()), t.select(0, order), at),
    ];
    for (x, t, at) in others {
        let posterior = process.condition(x, t);
        assert_close(
            "mean",
            &host(posterior.mean(at.clone())),
            &expected[0],
            1e-4,
        );
        assert_deviations(
            "deviation",
            host(posterior.variance(at)),
            &expected[1],
            1e-3,
        );
    }
}

#[test]
fn a_loaded_process_predicts_the_same() {
    let values = reference::read("gp");
    let case = &values["small"];
    let (device, dtype) = (device(), DType::F32);
    let config = settings(Inference::Auto).with_mean(MeanConfig::Linear(2));
    let mut process = config.clone().init(rbf(&device, dtype), &device);
    let slope = tensor(&[0.5, -1.0], [2], dtype, &device);
    process.mean.slope = Some(burn::module::Param::from_tensor(slope));
    let [x, t, at] = ["x", "t", "at"].map(|name| read(case, name, dtype, &device));
    let predict = |process: &ExactGp<Scale<Rbf>>| {
        host(process.condition(x.clone(), t.clone()).mean(at.clone()))
    };
    let expected = predict(&process);
    let bytes = process.into_record().into_bytes().expect("it is written");
    let kernel = ScaleConfig::new().init(RbfConfig::new().with_ard(Some(2)).init(&device), &device);
    let other = config.with_noise(0.9).init(kernel, &device);
    assert_ne!(predict(&other), expected);
    let record = ModuleRecord::from_bytes(bytes).expect("it is read");
    assert_eq!(predict(&other.load_record(record)), expected);
}

#[test]
fn training_raises_the_likelihood() {
    let values = reference::read("gp");
    let case = &values["larger"];
    let device = device().autodiff();
    let [x, t] = ["x", "t"].map(|name| read(case, name, DType::F32, &device));
    for inference in [Inference::Cholesky, Inference::Iterative] {
        let kernel = ScaleConfig::new().init(RbfConfig::new().init(&device), &device);
        let config = ExactGpConfig::new()
            .with_noise(0.1)
            .with_inference(inference);
        let mut process = config.with_rank(Some(20)).init(kernel, &device);
        let mut optimiser = AdamConfig::new().init();
        let mut likelihoods = Vec::new();
        for _ in 0..12 {
            let options = LikelihoodOptions::new().with_probes(8);
            let value = process.log_marginal_likelihood(x.clone(), t.clone(), &options);
            likelihoods.push(value.clone().into_scalar::<f32>());
            let gradients = GradientsParams::from_grads(value.neg().backward(), &process);
            process = optimiser.step(0.1, process, gradients);
        }
        let (first, last) = (likelihoods[0], likelihoods[11]);
        assert!(last > first + 30.0, "{inference:?}: from {first} to {last}");
    }
}
