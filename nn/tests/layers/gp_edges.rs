//! Gaussian processes with few, equal or extreme data, and with wrong shapes.

use burn::{prelude::*, tensor::DType};
use burn_lazy_nn::{
    Inference,
    gp::*,
    kernel::{ConstantConfig, LinearConfig, Rbf, RbfConfig, ScaleConfig},
};

use super::support::*;

fn rbf(device: &Device) -> Rbf {
    RbfConfig::new().with_length_scale(1.0).init(device)
}

fn points(values: &[f64]) -> Tensor<2> {
    tensor(values, [values.len(), 1], DType::F32, &device())
}

const EACH: [Inference; 2] = [Inference::Cholesky, Inference::Iterative];

#[test]
fn one_point_has_the_closed_form() {
    let device = device();
    for inference in EACH {
        let config = ExactGpConfig::new()
            .with_mean(MeanConfig::Zero)
            .with_noise(0.25);
        let process = config.with_inference(inference).init(rbf(&device), &device);
        let (x, t) = (points(&[0.5]), points(&[2.0]));
        let options = LikelihoodOptions::new();
        let value = process.log_marginal_likelihood(x.clone(), t.clone(), &options);
        let expected = -0.5 * (4.0 / 1.25 + 1.25f64.ln() + (2.0 * std::f64::consts::PI).ln());
        assert_close("likelihood", &host(value), &[expected], 1e-4);
        let posterior = process.condition(x, t);
        let at = points(&[0.5, 1.5]);
        let near = (-0.5f64).exp();
        let expected = [2.0 / 1.25, near * 2.0 / 1.25];
        assert_close("mean", &host(posterior.mean(at.clone())), &expected, 1e-5);
        let expected = [1.0 - 1.0 / 1.25, 1.0 - near * near / 1.25];
        assert_close("variance", &host(posterior.variance(at)), &expected, 1e-4);
        let left_out = posterior.leave_one_out();
        assert_close("left out", &host(left_out.mean), &[0.0], 1e-5);
        assert_close("its variance", &host(left_out.variance), &[1.25], 1e-5);
    }
}

#[test]
fn duplicates_need_noise() {
    let device = device();
    let (x, t) = (points(&[0.5, 0.5, 2.0]), points(&[1.0, 1.0, 0.0]));
    let process = |noise: f64| {
        let config = ExactGpConfig::new().with_noise_bound(0.0).with_noise(noise);
        config.init(rbf(&device), &device)
    };
    let error = process(1e-30)
        .try_condition(x.clone(), t.clone())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the covariance of 3 points is not positive definite, as seen in row 1: raise the noise (the ridge), or leave \
         out points that coincide"
    );
    let options = LikelihoodOptions::new();
    let same = process(1e-30).try_log_marginal_likelihood(x.clone(), t.clone(), &options);
    assert_eq!(same.unwrap_err(), error);
    let mean = process(0.01).condition(x.clone(), t).mean(x);
    let [first, second, _] = host(mean)[..] else {
        panic!("there are three")
    };
    assert!((first - second).abs() < 1e-6 && (first - 1.0).abs() < 0.1);
}

#[test]
fn a_parameter_that_is_lost_is_an_error() {
    let device = device();
    let mut kernel = rbf(&device);
    let lost = tensor(&[f64::NAN], [1, 1], DType::F32, &device);
    kernel.length_scale.raw = burn::module::Param::from_tensor(lost);
    let process = ExactGpConfig::new().init(kernel, &device);
    let error = process
        .try_condition(points(&[0.0, 1.0]), points(&[0.0, 1.0]))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is not positive definite, as seen in row 0"),
        "{error}"
    );
}

#[test]
fn the_smallest_noise_still_interpolates() {
    let device = device();
    let process = ExactGpConfig::new()
        .with_noise(1.1e-6)
        .init(rbf(&device), &device);
    let (x, t) = (
        points(&[-1.0, 0.0, 1.0, 2.0]),
        points(&[1.0, -1.0, 0.5, 0.5]),
    );
    let posterior = process.condition(x.clone(), t.clone());
    assert_close("mean", &host(posterior.mean(x.clone())), &host(t), 1e-3);
    let variances = host(posterior.variance(x));
    assert!(
        variances.iter().all(|value| (0.0..1e-5).contains(value)),
        "{variances:?}"
    );
}

#[test]
fn constant_targets_and_constant_coordinates_are_no_problem() {
    let device = device();
    for inference in EACH {
        let kernel = rbf(&device)
            + ConstantConfig::new(1.0).init(&device) * LinearConfig::new().init(&device);
        let config = ExactGpConfig::new().with_inference(inference);
        let process = config.init(kernel, &device);
        let x = tensor(&[0.0, 3.0, 1.0, 3.0, 2.0, 3.0], [3, 2], DType::F32, &device);
        let posterior = process.condition(x.clone(), points(&[0.0; 3]));
        assert_close("mean", &host(posterior.mean(x.clone())), &[0.0; 3], 1e-6);
        let sample = host(posterior.sample(x, 1, 0));
        assert!(sample.iter().all(|value| value.abs() < 1.0), "{sample:?}");
    }
}

#[test]
fn no_points_to_predict_at_give_nothing() {
    let device = device();
    for inference in EACH {
        let config = ExactGpConfig::new().with_inference(inference);
        let process = config.init(rbf(&device), &device);
        let posterior = process.condition(points(&[0.0, 1.0]), points(&[0.0, 1.0]));
        let none = Tensor::<2>::zeros([0, 1], &device);
        assert_eq!(posterior.mean(none.clone()).dims(), [0, 1]);
        assert_eq!(posterior.variance(none).dims(), [0, 1]);
    }
}

#[test]
fn wrong_data_are_errors() {
    let device = device();
    let process = ExactGpConfig::new().init(rbf(&device), &device);
    let options = LikelihoodOptions::new();
    let text = |x: Tensor<2>, t: Tensor<2>| {
        let error = process.try_condition(x.clone(), t.clone()).unwrap_err();
        let same = process.try_log_marginal_likelihood(x, t, &options);
        assert_eq!(same.unwrap_err(), error);
        error.to_string()
    };
    let none = || Tensor::<2>::zeros([0, 1], &device);
    assert_eq!(text(none(), none()), "the points must not be empty");
    assert_eq!(
        text(points(&[0.0, 1.0]), points(&[0.0])),
        "the targets of shape [1, 1] must have a row for each point, and a column or more, for the points of shape [2, 1]"
    );
    let no_column = Tensor::<2>::zeros([2, 0], &device);
    assert!(
        text(points(&[0.0, 1.0]), no_column).starts_with("the targets of shape [2, 0] must have")
    );
    let nan = || points(&[0.0, f64::NAN]);
    assert_eq!(
        text(points(&[0.0, 1.0]), nan()),
        "there are values that are not finite in the targets"
    );
    assert_eq!(
        text(nan(), points(&[0.0, 1.0])),
        "there are values that are not finite in the points"
    );

    let posterior = process.condition(points(&[0.0, 1.0]), points(&[0.0, 1.0]));
    let wide = || Tensor::<2>::zeros([3, 2], &device);
    let fit = "dot: the inner dimensions 2 and 1 do not fit";
    assert!(
        posterior
            .try_mean(wide())
            .unwrap_err()
            .to_string()
            .starts_with(fit)
    );
    assert!(
        posterior
            .try_variance(wide())
            .unwrap_err()
            .to_string()
            .starts_with(fit)
    );
    assert!(
        posterior
            .try_sample(wide(), 1, 0)
            .unwrap_err()
            .to_string()
            .starts_with(fit)
    );
    let error = posterior
        .try_sample(points(&vec![0.0; 4095]), 1, 0)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the covariance of 4097 points would be stored, which is done for up to 4096"
    );

    let error = posterior.try_sample(points(&[f64::NAN]), 1, 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there are values that are not finite in the points"
    );

    let linear = ExactGpConfig::new().with_mean(MeanConfig::Linear(2));
    let linear = linear.init(rbf(&device), &device);
    let error = linear
        .try_condition(points(&[0.0]), points(&[0.0]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the points of shape [1, 1] must have a coordinate for each number, for the slope of the mean of shape [2]"
    );
}

#[test]
fn a_mean_is_added_to_what_is_predicted_of_the_rest() {
    let device = device();
    let (x, at) = (points(&[-1.0, 0.5, 1.0]), points(&[0.0, 3.0]));
    let t = points(&[1.0, -2.0, 0.5]);
    let config = ExactGpConfig::new().with_mean(MeanConfig::Linear(1));
    let mut process = config.init(rbf(&device), &device);
    let param = |value: f64| {
        let value = tensor(&[value], [1], DType::F32, &device);
        Some(burn::module::Param::from_tensor(value))
    };
    (process.mean.offset, process.mean.slope) = (param(2.0), param(-3.0));
    let mean = |x: &Tensor<2>| x.clone() * -3.0 + 2.0;
    let config = ExactGpConfig::new().with_mean(MeanConfig::Zero);
    let rest = config
        .init(rbf(&device), &device)
        .condition(x.clone(), t.clone() - mean(&x));
    let posterior = process.condition(x.clone(), t);

    let expected = rest.mean(at.clone()) + mean(&at);
    assert_close(
        "mean",
        &host(posterior.mean(at.clone())),
        &host(expected),
        1e-5,
    );
    let expected = rest.sample(at.clone(), 2, 0) + mean(&at).unsqueeze();
    assert_close(
        "samples",
        &host(posterior.sample(at, 2, 0)),
        &host(expected),
        1e-5,
    );
    let expected = rest.leave_one_out().mean + mean(&x);
    assert_close(
        "left out",
        &host(posterior.leave_one_out().mean),
        &host(expected),
        1e-5,
    );
}

#[test]
fn many_predictions_are_those_of_single_points() {
    let device = device();
    let mut random = Random::new(4);
    let (x, t) = (points(&random.vec(70)), points(&random.vec(70)));
    let conditioned = |inference| {
        let config = ExactGpConfig::new()
            .with_noise(0.1)
            .with_inference(inference);
        config
            .init(rbf(&device), &device)
            .condition(x.clone(), t.clone())
    };
    let [stored, iterative] = EACH.map(conditioned);
    let values = random.vec(130);
    let variances = [&stored, &iterative].map(|own| host(own.variance(points(&values))));
    assert_close("variances", &variances[1], &variances[0], 1e-3);
    for k in [0, 63, 64, 129] {
        let own = host(stored.variance(points(&values[k..=k])));
        assert_close("one of them", &variances[0][k..=k], &own, 1e-6);
    }
    let left_out = [stored, iterative].map(|own| own.leave_one_out());
    let [expected, own] = left_out.map(|own| [own.mean, own.variance].map(host).concat());
    assert_close("left out", &own, &expected, 1e-3);
}

#[test]
fn a_seed_gives_the_same_estimate() {
    let device = device();
    let mut random = Random::new(5);
    let (x, t) = (points(&random.vec(40)), points(&random.vec(40)));
    let config = ExactGpConfig::new().with_inference(Inference::Iterative);
    let process = config.with_rank(Some(2)).init(rbf(&device), &device);
    let value = |seed: u64| {
        let options = LikelihoodOptions::new().with_probes(2).with_seed(seed);
        host(process.log_marginal_likelihood(x.clone(), t.clone(), &options))
    };
    assert_eq!(value(1), value(1));
    assert_ne!(value(1), value(2));
}

#[test]
fn a_likelihood_gives_its_error_and_its_solution() {
    let device = device().autodiff();
    let mut random = Random::new(6);
    let [x, t] = [2, 1].map(|dim| tensor(&random.vec(40 * dim), [40, dim], DType::F32, &device));
    let given = |inference, options: &LikelihoodOptions, initial| {
        let config = ExactGpConfig::new()
            .with_inference(inference)
            .with_rank(Some(5));
        let process = config.with_noise(0.1).init(rbf(&device), &device);
        process.marginal_likelihood(x.clone(), t.clone(), options, initial)
    };
    let options = LikelihoodOptions::new();
    let exact = given(Inference::Cholesky, &options, None);
    assert_eq!(exact.standard_error, 0.0);
    assert!(!exact.solution.is_autodiff());
    let value = |own: &MarginalLikelihood| host(own.logarithm.clone())[0];
    let estimates: Vec<MarginalLikelihood> = (0..20)
        .map(|seed| given(Inference::Iterative, &options.clone().with_seed(seed), None))
        .collect();
    let errors = estimates
        .iter()
        .map(|own| (value(own) - value(&exact)) / own.standard_error);
    // The mean of the squared errors, relative to the standard error. It is about 1.
    let mean = errors.map(|error| error * error).sum::<f64>() / 20.0;
    assert!((0.2..3.0).contains(&mean), "{mean}");

    let closer = options.with_tolerance(1e-5);
    let found = given(Inference::Iterative, &closer, None).solution;
    assert_close(
        "solution",
        &host(found),
        &host(exact.solution.clone()),
        1e-3,
    );
    // If a solution is given, it is not improved.
    let rough = LikelihoodOptions::new().with_tolerance(0.5);
    let same = given(Inference::Iterative, &rough, Some(exact.solution.clone()));
    assert_close("given", &host(same.solution), &host(exact.solution), 1e-6);
}

#[test]
fn an_initial_solution_of_another_shape_is_an_error() {
    let device = device();
    let process = ExactGpConfig::new().init(rbf(&device), &device);
    let two = || points(&[0.0, 1.0]);
    let options = LikelihoodOptions::new();
    let error = process.try_marginal_likelihood(two(), two(), &options, Some(points(&[0.0])));
    assert_eq!(
        error.unwrap_err().to_string(),
        "the initial solution of shape [1, 1] must have their shape, for the targets of shape [2, 1]"
    );
}

#[test]
fn predictions_are_not_tracked() {
    let tracking = device().autodiff();
    let process = ExactGpConfig::new().init(rbf(&tracking), &tracking);
    let on = |values: &[f64]| tensor::<2>(values, [2, 1], DType::F32, &tracking);
    let posterior = process.condition(on(&[0.0, 1.0]), on(&[1.0, 0.0]));
    assert!(!posterior.mean(points(&[0.5])).is_autodiff());
    assert!(!posterior.variance(on(&[0.5, 1.5])).is_autodiff());
}

#[test]
fn data_of_half_precision_are_computed() {
    let (device, dtype) = (device(), DType::F16);
    if !reduces(dtype) {
        return skipped("the device has no F16");
    }
    let in_type = |values: &[f64]| tensor::<2>(values, [values.len(), 1], dtype, &device);
    let (x, t, at) = ([-1.0, 0.0, 0.5, 2.0], [1.0, -1.0, 0.5, 0.5], [0.25, 1.0]);
    for inference in EACH {
        let config = ExactGpConfig::new()
            .with_noise(0.1)
            .with_inference(inference);
        let process = config.init(rbf(&device), &device);
        let exact = process.condition(points(&x), points(&t));
        let half = process.condition(in_type(&x), in_type(&t));
        let (mean, variance) = (half.mean(in_type(&at)), half.variance(in_type(&at)));
        assert_eq!([mean.dtype(), variance.dtype()], [dtype; 2]);
        assert_close("mean", &host(mean), &host(exact.mean(points(&at))), 1e-2);
        assert_close(
            "variance",
            &host(variance),
            &host(exact.variance(points(&at))),
            1e-2,
        );
        let options = LikelihoodOptions::new();
        let value = process.log_marginal_likelihood(in_type(&x), in_type(&t), &options);
        let expected = process.log_marginal_likelihood(points(&x), points(&t), &options);
        assert_close("likelihood", &host(value), &host(expected), 1e-2);
    }
}

#[test]
fn variances_are_not_negative() {
    let device = device();
    let kernel = ScaleConfig::new()
        .with_variance(1e12)
        .init(rbf(&device), &device);
    let process = ExactGpConfig::new().with_noise(1e-5).init(kernel, &device);
    let x: Vec<f64> = (0..40).map(f64::from).collect();
    let posterior = process.condition(points(&x), points(&[0.0; 40]));
    let variances = host(posterior.variance(points(&x)));
    assert!(variances.iter().all(|value| *value >= 0.0), "{variances:?}");
}

#[test]
fn samples_at_equal_points_are_equal() {
    let device = device();
    let process = ExactGpConfig::new().init(rbf(&device), &device);
    let posterior = process.condition(points(&[0.0]), points(&[1.0]));
    let samples = host(posterior.sample(points(&[0.7, 0.7]), 20, 0));
    for pair in samples.chunks(2) {
        assert!((pair[0] - pair[1]).abs() < 1e-2, "{pair:?}");
    }
}

#[test]
fn wrong_settings_are_errors() {
    let device = device();
    let text = |config: ExactGpConfig| {
        let error = config.try_init(rbf(&device), &device).unwrap_err();
        error.to_string()
    };
    let noise = ExactGpConfig::new().with_noise(1e-7);
    assert_eq!(
        text(noise),
        "`noise` is 0.0000001, but must be above its bound"
    );
    let tolerance = ExactGpConfig::new().with_tolerance(-1.0);
    assert_eq!(
        text(tolerance),
        "`tolerance` is -1, but must be finite and not negative"
    );
    let bound = ExactGpConfig::new().with_noise_bound(-1.0);
    assert_eq!(
        text(bound),
        "`lower` is -1, but must be finite and not negative"
    );
}

#[test]
#[should_panic(expected = "the points must not be empty")]
fn conditioning_on_nothing_panics() {
    let device = device();
    let none = Tensor::<2>::zeros([0, 1], &device);
    let _ = ExactGpConfig::new()
        .init(rbf(&device), &device)
        .condition(none.clone(), none);
}
