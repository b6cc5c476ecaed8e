//! Gaussian processes and regression.

use burn::prelude::*;
use burn_lazy_nn::{
    gp::{ExactGpConfig, LikelihoodOptions, MeanConfig},
    kernel::{Rbf, RbfConfig, ScaleConfig},
    regression::{FalkonConfig, KernelRidgeConfig},
};

use crate::{
    cases::Case,
    contender::{Call, Outcome},
    data::{fractions, head, observations},
};

const LENGTH_SCALE: f64 = 0.3;
const RIDGE: f64 = 1e-2;

fn kernel(device: &Device) -> Rbf {
    RbfConfig::new()
        .with_length_scale(LENGTH_SCALE)
        .init(device)
}

/// The log marginal likelihood, with its gradients by the logarithms of the variance, the length scale and the noise.
pub fn likelihood(case: &Case, device: &Device) -> Call {
    let [x, t] = observations([case.n, case.d], device);
    let kernel = ScaleConfig::new()
        .with_variance(1.0)
        .init(kernel(device), device);
    let process = ExactGpConfig::new()
        .with_mean(MeanConfig::Zero)
        .with_noise(RIDGE)
        .with_noise_bound(0.0)
        .init(kernel, device);
    Box::new(move || {
        let options = LikelihoodOptions::new();
        let value = process.log_marginal_likelihood(x.clone(), t.clone(), &options);
        let gradients = value.backward();
        let kernel = &process.kernel;
        let parts = [
            &kernel.variance,
            &kernel.kernel.length_scale,
            &process.noise,
        ]
        .map(|own| {
            let gradient = own.raw.val().grad(&gradients);
            head(gradient.expect("it is tracked"))
        });
        Outcome {
            value: value.inner(),
            gradient: Some(Tensor::cat(parts.into(), 0)),
        }
    })
}

/// Kernel ridge regression: a fit, and its predictions at new points.
pub fn ridge(case: &Case, device: &Device) -> Call {
    let [x, t] = observations([case.n, case.d], device);
    let (kernel, at) = (kernel(device), at(case, device));
    let config = KernelRidgeConfig::new(RIDGE);
    Box::new(move || {
        let fitted = config.fit(kernel.clone(), x.clone(), t.clone());
        predictions(fitted.predict(at.clone()))
    })
}

/// Falkon: a fit with a few centres, and its predictions at new points.
pub fn falkon(case: &Case, device: &Device) -> Call {
    let [x, t] = observations([case.n, case.d], device);
    let (kernel, at) = (kernel(device), at(case, device));
    let config = FalkonConfig::new(case.m, RIDGE / case.n as f64);
    Box::new(move || {
        let fitted = config.fit(kernel.clone(), x.clone(), t.clone());
        predictions(fitted.predict(at.clone()))
    })
}

/// New points, at which predictions are made.
fn at(case: &Case, device: &Device) -> Tensor<2> {
    fractions(2, [64, case.d], device)
}

fn predictions(values: Tensor<2>) -> Outcome {
    Outcome {
        value: head(values),
        gradient: None,
    }
}
