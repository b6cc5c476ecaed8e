//! Stochastic variational Gaussian processes against NumPy, exact processes and differences.

use burn::{
    module::Param,
    optim::{AdamConfig, GradientsParams},
    prelude::*,
    store::ModuleRecord,
    tensor::{DType, TensorData},
};
use burn_lazy_nn::{
    gp::*,
    kernel::{Rbf, RbfConfig},
};
use nalgebra::DMatrix;

use super::{
    reference::{self, numbers},
    support::*,
};

const LENGTH: f64 = 0.9;
const NOISE: f64 = 0.2;
const TOTAL: usize = 30;

fn rbf(length: f64, device: &Device, dtype: DType) -> Rbf {
    RbfConfig::new()
        .with_length_scale(length)
        .init((device, dtype))
}

/// The process of the reference, with the given inducing points, mean and root.
fn process(
    likelihood: LikelihoodConfig,
    [inducing, mean, root]: [&[f64]; 3],
    device: &Device,
    dtype: DType,
) -> Svgp<Rbf> {
    let count = mean.len();
    let dim = inducing.len() / count;
    let config = SvgpConfig::new()
        .with_mean(MeanConfig::Zero)
        .with_likelihood(likelihood);
    let inducing = tensor(inducing, [count, dim], dtype, device);
    let mut process = config.init(rbf(LENGTH, device, dtype), inducing);
    process.variational_mean = Param::from_tensor(tensor(mean, [count, 1], dtype, device));
    process.variational_root = Param::from_tensor(tensor(root, [count, count], dtype, device));
    process
}

const EACH: [(&str, LikelihoodConfig); 3] = [
    ("gaussian", LikelihoodConfig::Gaussian(NOISE)),
    ("bernoulli", LikelihoodConfig::Bernoulli),
    ("poisson", LikelihoodConfig::Poisson),
];

fn stored() -> [Vec<f64>; 4] {
    let values = reference::read("svgp");
    ["inducing", "variational_mean", "variational_root", "x"].map(|name| numbers(&values[name]))
}

#[test]
fn bounds_and_predictions_are_those_of_numpy() {
    let values = reference::read("svgp");
    let [inducing, mean, root, x] = stored();
    for (dtype, tolerance) in dtypes() {
        let device = device();
        // The covariance of the inducing points is inverted, and its condition number is some
        // thousands.
        let close = tolerance.max(1e-11) * 100.0;
        let x: Tensor<2> = tensor(&x, [8, 2], dtype, &device);
        for (name, likelihood) in EACH {
            let process = process(likelihood, [&inducing, &mean, &root], &device, dtype);
            let t = tensor(&numbers(&values[name]["t"]), [8, 1], dtype, &device);
            let elbo = process.elbo(x.clone(), t, TOTAL);
            assert_eq!(elbo.dtype(), dtype);
            // The error of a quadrature with twenty points.
            let quadrature = if name == "bernoulli" { 1e-6 } else { 0.0 };
            let expected = numbers(&values[name]["elbo"]);
            assert_close(name, &host(elbo), &expected, close.max(quadrature));

            let (mean, variance) = process.predict(x.clone());
            assert_close(
                "mean",
                &host(mean.clone()),
                &numbers(&values["mean"]),
                close,
            );
            assert_close(
                "variance",
                &host(variance.clone()),
                &numbers(&values["variance"]),
                close,
            );
            let expected = match likelihood {
                LikelihoodConfig::Gaussian(_) => "mean",
                LikelihoodConfig::Bernoulli => "probabilities",
                LikelihoodConfig::Poisson => "rates",
            };
            let target = process.likelihood.expected_target(mean, variance);
            let expected = numbers(&values[expected]);
            assert_close("target", &host(target), &expected, close.max(quadrature));
        }
    }
}

#[test]
fn derivatives_are_differences() {
    let dtype = DType::F64;
    if !dtypes().iter().any(|(own, _)| *own == dtype) {
        return;
    }
    let values = reference::read("svgp");
    let [inducing, mean, root, x] = stored();
    let parts = [inducing, mean, root, x, vec![LENGTH.ln()], vec![NOISE.ln()]];
    let sizes = parts.clone().map(|part| part.len());
    let all = parts.concat();
    for (name, likelihood) in EACH {
        let t = numbers(&values[name]["t"]);
        let build = |device: &Device, all: &[f64]| {
            let mut rest = all;
            let [inducing, mean, root, x, length, noise] = sizes.map(|size| {
                let (part, after) = rest.split_at(size);
                rest = after;
                part
            });
            let mut process = process(likelihood, [inducing, mean, root], device, dtype);
            let raw = |value: &[f64]| Param::from_tensor(tensor(value, [1, 1], dtype, device));
            process.kernel.length_scale.raw = raw(length);
            if let Some(own) = &mut process.likelihood.noise {
                own.raw = raw(noise);
            }
            (process, tensor::<2>(x, [8, 2], dtype, device))
        };
        let target = |device: &Device| tensor::<2>(&t, [8, 1], dtype, device);
        let tracking = device().autodiff();
        let (process, x) = build(&tracking, &all);
        let x = x.require_grad();
        let gradients = process.elbo(x.clone(), target(&tracking), TOTAL).backward();
        let expected = differences(&all, &|all| {
            let (process, x) = build(&device(), all);
            process.elbo(x, target(&device()), TOTAL).into_scalar()
        });
        let noise = process.likelihood.noise.as_ref().map(|own| own.raw.val());
        let leaves = [
            Some(process.inducing.val()),
            Some(process.variational_mean.val()),
            Some(process.variational_root.val()),
            Some(x),
            Some(process.kernel.length_scale.raw.val()),
            noise,
        ];
        let mut first = 0;
        for (leaf, size) in leaves.into_iter().zip(sizes) {
            if let Some(leaf) = leaf {
                assert_gradient(
                    name,
                    &leaf,
                    &gradients,
                    &expected[first..first + size],
                    1e-6,
                );
            }
            first += size;
        }
    }
}

#[test]
fn the_best_distribution_at_all_points_gives_the_exact_process() {
    let [_, _, _, x] = stored();
    for (dtype, tolerance) in dtypes() {
        let device = device();
        let t = Random::new(1).vec(8);
        let points: Tensor<2> = tensor(&x, [8, 2], dtype, &device);
        let target: Tensor<2> = tensor(&t, [8, 1], dtype, &device);
        let k = DMatrix::from_fn(8, 8, |i, j| {
            let square: f64 = (0..2).map(|k| (x[2 * i + k] - x[2 * j + k]).powi(2)).sum();
            (-0.5 * square / (LENGTH * LENGTH)).exp() + if i == j { 1e-4 } else { 0.0 }
        });
        let factor = k.cholesky().expect("it is positive definite").l();
        // The posterior of v has the precision I + L^T L / s.
        let precision = DMatrix::identity(8, 8) + factor.transpose() * &factor / NOISE;
        let covariance = precision.try_inverse().expect("it is positive definite");
        let t = DMatrix::from_column_slice(8, 1, &t);
        let mean = &covariance * factor.transpose() * t / NOISE;
        let mut root = covariance.cholesky().expect("it is positive definite").l();
        (0..8).for_each(|i| root[(i, i)] = root[(i, i)].ln());
        let root = root.transpose();
        let likelihood = LikelihoodConfig::Gaussian(NOISE);
        let parts = [x.as_slice(), mean.as_slice(), root.as_slice()];
        let process = process(likelihood, parts, &device, dtype);

        let exact = ExactGpConfig::new()
            .with_mean(MeanConfig::Zero)
            .with_noise(NOISE)
            .init(rbf(LENGTH, &device, dtype), (&device, dtype));
        let expected = exact.log_marginal_likelihood(
            points.clone(),
            target.clone(),
            &LikelihoodOptions::new(),
        );
        let elbo = process.elbo(points.clone(), target.clone(), 8);
        // The exact process has no jitter, so its values differ a little.
        let close = 2e-3;
        assert_close("bound", &host(elbo), &host(expected), close);
        let (mean, variance) = process.predict(points.clone());
        let exact = exact.condition(points.clone(), target);
        assert_close(
            "mean",
            &host(mean),
            &host(exact.mean(points.clone())),
            close,
        );
        assert_close(
            "variance",
            &host(variance),
            &host(exact.variance(points)),
            close + tolerance,
        );
    }
}

#[test]
fn transposed_tensors_permutations_and_batches_change_no_prediction() {
    let [inducing, mean, root, x] = stored();
    let (device, dtype) = (device(), DType::F32);
    let likelihood = LikelihoodConfig::Bernoulli;
    let process = process(likelihood, [&inducing, &mean, &root], &device, dtype);
    let x: Tensor<2> = tensor(&x, [8, 2], dtype, &device);
    let both = |x: Tensor<2>| {
        let (mean, variance) = process.predict(x);
        host(Tensor::cat(vec![mean, variance], 1))
    };
    let expected = both(x.clone());
    let copy = x.clone().transpose().into_data();
    let transposed = Tensor::<2>::from_data(copy, &device).transpose();
    assert_close("transposed", &both(transposed), &expected, 1e-5);
    let order = [7, 2, 5, 0, 1, 6, 3, 4];
    let permuted = x
        .clone()
        .select(0, Tensor::from_data(TensorData::from(order), &device));
    let rows: Vec<f64> = order
        .iter()
        .flat_map(|i| &expected[2 * i..2 * i + 2])
        .copied()
        .collect();
    assert_close("permuted", &both(permuted), &rows, 1e-5);
    let parts = [
        both(x.clone().narrow(0, 0, 3)),
        both(x.clone().narrow(0, 3, 5)),
    ]
    .concat();
    assert_close("parts", &parts, &expected, 1e-5);

    // The terms of a batch are scaled to the given total number of points.
    let t: Tensor<2> = tensor(
        &[0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0],
        [8, 1],
        dtype,
        &device,
    );
    let twice = Tensor::cat(vec![x.clone(), x.clone()], 0);
    let targets = Tensor::cat(vec![t.clone(), t.clone()], 0);
    let expected = host(process.elbo(twice, targets, 16));
    assert_close("batch", &host(process.elbo(x, t, 16)), &expected, 1e-5);
}

#[test]
fn a_loaded_process_predicts_the_same() {
    let [inducing, mean, root, x] = stored();
    let (device, dtype) = (device(), DType::F32);
    let likelihood = LikelihoodConfig::Gaussian(NOISE);
    let own = process(likelihood, [&inducing, &mean, &root], &device, dtype);
    let x: Tensor<2> = tensor(&x, [8, 2], dtype, &device);
    let predict = |process: &Svgp<Rbf>| {
        let (mean, variance) = process.predict(x.clone());
        host(Tensor::cat(vec![mean, variance], 1))
    };
    let expected = predict(&own);
    let bytes = own.into_record().into_bytes().expect("it is written");
    let config = SvgpConfig::new().with_mean(MeanConfig::Zero);
    let other = config.init(rbf(2.0, &device, dtype), Tensor::ones([4, 2], &device));
    let record = ModuleRecord::from_bytes(bytes).expect("it is read");
    let loaded = other.load_record(record);
    assert_eq!(predict(&loaded), expected);
    let noise = loaded.likelihood.noise.expect("it is Gaussian").value();
    assert_close("noise", &host(noise), &[NOISE], 1e-6);
}

#[test]
fn training_tells_two_moons_apart() {
    let device = device().autodiff();
    let (mut points, mut classes) = (vec![], vec![]);
    for k in 0..30 {
        let angle = std::f64::consts::PI * f64::from(k) / 29.0;
        points.extend([
            angle.cos(),
            angle.sin(),
            1.0 - angle.cos(),
            0.5 - angle.sin(),
        ]);
        classes.extend([0.0, 1.0]);
    }
    let x: Tensor<2> = tensor(&points, [60, 2], DType::F32, &device);
    let t: Tensor<2> = tensor(&classes, [60, 1], DType::F32, &device);
    let chosen: Vec<i64> = (0..60).step_by(5).collect();
    let chosen = Tensor::from_data(TensorData::new(chosen, [12]), &device);
    let inducing = x.clone().select(0, chosen);
    let config = SvgpConfig::new().with_likelihood(LikelihoodConfig::Bernoulli);
    let mut process = config.init(rbf(0.5, &device, DType::F32), inducing);
    let mut optimiser = AdamConfig::new().init();
    let mut bounds = Vec::new();
    for step in 0..40 {
        // Batches alternate between two halves of the points. Both halves have both classes.
        let batch: Vec<i64> = (0..60).filter(|k| k / 2 % 2 == step % 2).collect();
        let batch = Tensor::from_data(TensorData::new(batch, [30]), &device);
        let elbo = process.elbo(
            x.clone().select(0, batch.clone()),
            t.clone().select(0, batch),
            60,
        );
        bounds.push(elbo.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(elbo.neg().backward(), &process);
        process = optimiser.step(0.1, process, gradients);
    }
    let (first, last) = (bounds[0], bounds[39]);
    assert!(last > first + 10.0, "from {first} to {last}");
    let (mean, _) = process.predict(x);
    let right = host(mean)
        .into_iter()
        .zip(classes)
        .filter(|(mean, class)| (*mean > 0.0) == (*class > 0.5));
    assert_eq!(right.count(), 60);
}

#[test]
fn wrong_data_and_settings_are_errors() {
    let (device, dtype) = (device(), DType::F32);
    let points = |values: &[f64]| tensor::<2>(values, [values.len(), 1], dtype, &device);
    let kernel = || rbf(1.0, &device, dtype);
    let text = |likelihood, x, t, total| {
        let config = SvgpConfig::new().with_likelihood(likelihood);
        let process = config.init(kernel(), points(&[0.0, 1.0]));
        process.try_elbo(x, t, total).unwrap_err().to_string()
    };
    let normal = LikelihoodConfig::Gaussian(0.1);
    let two = || points(&[0.0, 1.0]);
    let none = || Tensor::<2>::zeros([0, 1], &device);
    assert_eq!(
        text(normal, none(), none(), 5),
        "the points must not be empty"
    );
    let wide = text(normal, two(), Tensor::zeros([2, 2], &device), 5);
    assert_eq!(
        wide,
        "the targets of shape [2, 2] must have one column, for the points of shape [2, 1]"
    );
    let few = text(normal, two(), two(), 1);
    assert_eq!(
        few,
        "`total` is 1, but must be the number of points or more"
    );
    let nan = text(normal, two(), points(&[0.0, f64::NAN]), 2);
    assert_eq!(nan, "there are values that are not finite in the targets");
    let half = text(LikelihoodConfig::Bernoulli, two(), points(&[0.0, 0.5]), 2);
    assert_eq!(half, "`a target` is 0.5, but must be 0 or 1");
    for target in [-1.0, 0.5] {
        let count = text(LikelihoodConfig::Poisson, two(), points(&[0.0, target]), 2);
        assert_eq!(count, format!("`a target` is {target}, but must be counts"));
    }
    let wide = text(normal, Tensor::zeros([2, 3], &device), two(), 2);
    assert!(
        wide.starts_with("dot: the inner dimensions 1 and 3 do not fit"),
        "{wide}"
    );

    let refused =
        |config: SvgpConfig, inducing| config.try_init(kernel(), inducing).unwrap_err().to_string();
    assert_eq!(
        refused(SvgpConfig::new(), none()),
        "the inducing points must not be empty"
    );
    let jitter = SvgpConfig::new().with_jitter(-1.0);
    assert_eq!(
        refused(jitter, two()),
        "`jitter` is -1, but must be finite and not negative"
    );
    let noise = SvgpConfig::new().with_likelihood(LikelihoodConfig::Gaussian(0.0));
    let expected = "`value` is 0, but must be finite and between the bounds";
    assert_eq!(refused(noise, two()), expected);

    // Equal inducing points need jitter.
    let equal = || points(&[1.0, 1.0]);
    let predicted = SvgpConfig::new().init(kernel(), equal()).predict(two());
    assert!(host(predicted.1).iter().all(|value| value.is_finite()));
    let error = SvgpConfig::new()
        .with_jitter(0.0)
        .init(kernel(), equal())
        .try_predict(two());
    assert_eq!(
        error.unwrap_err().to_string(),
        "the covariance of 2 points is not positive definite, as seen in row 1: raise the jitter, or leave out inducing \
         points that coincide"
    );
}

#[test]
#[should_panic(expected = "the inducing points must not be empty")]
fn no_inducing_points_panic() {
    let device = device();
    let none = Tensor::<2>::zeros([0, 1], &device);
    let _ = SvgpConfig::new().init(rbf(1.0, &device, DType::F32), none);
}

#[test]
fn one_inducing_point_and_extreme_scores_are_finite() {
    let (device, dtype) = (device().autodiff(), DType::F32);
    for (_, likelihood) in EACH {
        let process = process(likelihood, [&[0.0], &[40.0], &[0.0]], &device, dtype);
        let one = || tensor::<2>(&[1.0], [1, 1], dtype, &device);
        let elbo = process.elbo(one() * 3.0, one(), 1);
        let gradients = elbo.clone().backward();
        assert!(host(elbo)[0].is_finite());
        let raw = process.kernel.length_scale.raw.val();
        assert!(host(raw.grad(&gradients).expect("it is learned"))[0].is_finite());
    }
}

#[test]
fn a_variance_of_zero_has_finite_derivatives() {
    let (device, dtype) = (device().autodiff(), DType::F32);
    let at = || tensor::<2>(&[0.0], [1, 1], dtype, &device);
    let config = SvgpConfig::new().with_jitter(0.0);
    let config = config.with_likelihood(LikelihoodConfig::Bernoulli);
    // Inducing points may be computed tensors.
    let computed = (at().require_grad() + 1.0) - 1.0;
    let mut process = config.init(rbf(1.0, &device, dtype), computed);
    process.variational_root = Param::from_tensor(tensor(&[-60.0], [1, 1], dtype, &device));
    let gradients = process.elbo(at(), at(), 1).backward();
    let leaves = [
        &process.inducing,
        &process.variational_mean,
        &process.variational_root,
    ];
    for leaf in leaves {
        let gradient = host(leaf.val().grad(&gradients).expect("it is learned"));
        assert!(gradient[0].is_finite(), "{gradient:?}");
    }
}

#[test]
fn a_mean_is_added() {
    let (device, dtype) = (device(), DType::F32);
    let points = tensor::<2>(&[0.0, 1.0], [2, 1], dtype, &device);
    let config = SvgpConfig::new().with_mean(MeanConfig::Constant);
    let mut process = config.init(rbf(1.0, &device, dtype), points.clone());
    process.mean.offset = Some(Param::from_tensor(tensor(&[2.5], [1], dtype, &device)));
    let (mean, _) = process.predict(points);
    assert_close("mean", &host(mean), &[2.5, 2.5], 1e-6);
}
