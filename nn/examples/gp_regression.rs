//! Kernel ridge regression and Gaussian processes (Rasmussen and Williams, 2006) on the diabetes data, trained by
//! maximising the marginal likelihood: `cargo run -p burn-lazy-nn --example gp_regression`.
//!
//! Each check compares with values that `data/gp_regression.py` computes with scikit-learn.

mod common;

use std::{error::Error, process::ExitCode};

use burn_lazy_nn::{
    Positive,
    gp::{ExactGp, ExactGpConfig, LikelihoodOptions, MeanConfig},
    kernel::{Rbf, RbfConfig, Scale, ScaleConfig},
    regression::KernelRidgeConfig,
};
use common::{Checks, Diabetes, Reference, fit, host, tracking_device};

/// The variance, the length scale and the noise.
fn parameters(process: &ExactGp<Scale<Rbf>>) -> [&Positive; 3] {
    let kernel = &process.kernel;
    [
        &kernel.variance,
        &kernel.kernel.length_scale,
        &process.noise,
    ]
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let reference = Reference::load("gp_regression.json")?;
    let known = |key: &str| reference.get::<f64>(key);
    let list = |key: &str| reference.get::<Vec<f64>>(key);
    let device = tracking_device();
    let Diabetes {
        train: (x, t),
        test: (test_x, _),
    } = Diabetes::load(&device)?;
    // Targets are standardised, too.
    let mean = t.clone().mean().unsqueeze();
    let centred = t - mean;
    let deviation = centred.clone().square().mean().sqrt().unsqueeze();
    let t = centred / deviation;
    let mut checks = Checks::default();

    let rbf = RbfConfig::new()
        .with_length_scale(known("length")?)
        .init(&device);
    println!("kernel ridge regression on {} rows", x.dims()[0]);
    let ridge = KernelRidgeConfig::new(known("ridge")?);
    let fitted = ridge.try_fit(rbf.clone(), x.clone(), t.clone())?;
    let predictions = host(fitted.try_predict(test_x.clone())?);
    let expected = list("ridge_predictions")?;
    checks.close("predictions", &predictions, &expected, 1e-4);

    println!("a Gaussian process with given parameters");
    let kernel = ScaleConfig::new()
        .with_variance(known("variance")?)
        .init(rbf, &device);
    let process = ExactGpConfig::new()
        .with_mean(MeanConfig::Zero)
        .with_noise(known("noise")?)
        .init(kernel, &device);
    let options = LikelihoodOptions::new();
    let likelihood =
        |process: &ExactGp<_>| process.try_log_marginal_likelihood(x.clone(), t.clone(), &options);
    let value = likelihood(&process)?;
    let expected = [known("log_likelihood")?];
    let what = "log marginal likelihood";
    checks.close(what, &host(value.clone()), &expected, 1e-4);
    let gradients = value.backward();
    // The gradient by the logarithms of the parameters, because the logarithms are what is stored.
    let by = |own: &Positive| own.raw.val().grad(&gradients).map_or(vec![], host);
    let gradient = parameters(&process).map(by).concat();
    let expected = list("gradient_by_logs")?;
    checks.close("its gradient", &gradient, &expected, 1e-3);
    let posterior = process.try_condition(x.clone(), t.clone())?;
    let means = host(posterior.try_mean(test_x.clone())?);
    checks.close("means", &means, &list("means")?, 1e-4);
    let deviations = host(posterior.try_variance(test_x)?.sqrt());
    checks.close("deviations", &deviations, &list("deviations")?, 1e-4);

    println!("after a fit");
    let process = fit(process, &x, &t, 30);
    let fitted = parameters(&process).map(|own| host(own.value())).concat();
    let value = host(likelihood(&process)?);
    println!(
        "  variance, length scale, noise {fitted:.3?}, log likelihood {:.2}",
        value[0]
    );
    let expected = [known("fitted_log_likelihood")?];
    checks.close(what, &value, &expected, 1e-4);
    checks.close("noise", &fitted[2..], &list("fitted")?[2..], 0.05);
    Ok(checks.exit_code())
}
