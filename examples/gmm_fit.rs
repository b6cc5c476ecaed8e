//! A mixture of Gaussians fitted to the petals of irises by gradient descent through a logsumexp:
//! `cargo run --features cpu --example gmm_fit`.
//!
//! The result is compared with that of the EM algorithm, computed by `data/gmm_fit.py`.

mod common;

use std::{error::Error, f64::consts::TAU, process::ExitCode};

use burn::{
    module::Param,
    optim::{AdamConfig, GradientsParams},
    prelude::*,
    tensor::activation::{log_softmax, softmax},
};
use burn_lazy::{Axis, LazyTensor};
use common::{Checks, Reference, data_folder, host, read_rows, tracking_device};

/// A mixture of K Gaussians in two dimensions, each with one standard deviation for both
/// coordinates.
#[derive(Module, Debug)]
struct Mixture {
    /// The means, `[K, 2]`.
    means: Param<Tensor<2>>,
    /// The logarithms of the standard deviations, `[K, 1]`.
    log_deviations: Param<Tensor<2>>,
    /// The logarithms of the weights up to a constant, `[K, 1]`.
    logits: Param<Tensor<2>>,
}

impl Mixture {
    fn new(means: [[f64; 2]; 3], device: &Device) -> Self {
        Self {
            means: Param::from_data(means, device),
            log_deviations: Param::from_data([[-0.5], [-0.5], [-0.5]], device),
            logits: Param::from_data([[0.0], [0.0], [0.0]], device),
        }
    }

    /// The mean over the points of $\log \sum_k w_k N(x; \mu_k, \sigma_k)$.
    fn log_likelihood(&self, x: Tensor<2>) -> Tensor<1> {
        let log_weights = log_softmax(self.logits.val(), 0);
        let x_i = LazyTensor::vi(x);
        let mean_k = LazyTensor::vj(self.means.val());
        let log_deviation_k = LazyTensor::vj(self.log_deviations.val());
        let precision_k = (-2.0 * &log_deviation_k).exp();
        let density = x_i.sqdist(mean_k) * precision_k * -0.5 - 2.0 * log_deviation_k;
        let scores = density + LazyTensor::vj(log_weights);
        let logs: Tensor<2> = scores.logsumexp(Axis::J);
        logs.mean() - TAU.ln()
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let reference = Reference::load("gmm_fit.json")?;
    let known = |key: &str| reference.get::<Vec<f64>>(key);
    let device = tracking_device();
    let rows = read_rows(&data_folder().join("iris.csv"))?;
    let count = rows.len();
    let x = Tensor::<2>::from_data(TensorData::new(rows.concat(), [count, 2]), &device);

    let mut model = Mixture::new([[1.0, 0.5], [4.0, 1.5], [6.0, 2.0]], &device);
    let mut optimiser = AdamConfig::new().init();
    let steps = 800;
    for step in 0..steps {
        let loss = model.log_likelihood(x.clone()).neg();
        if step % 100 == 0 {
            let loss: f64 = loss.clone().into_scalar();
            println!("step {step:3}: log-likelihood {:.5}", -loss);
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        let rate = 0.1 * 0.992f64.powi(step);
        model = optimiser.step(rate, model, gradients);
    }
    let reached: f64 = model.log_likelihood(x).into_scalar();
    println!("step {steps}: log-likelihood {reached:.5}");

    let mut checks = Checks::default();
    let best = reference.get("log_likelihood")?;
    checks.close("log-likelihood", &[reached], &[best], 1e-5);
    checks.close("means", &host(model.means.val()), &known("means")?, 2e-3);
    let deviations = host(model.log_deviations.val().exp());
    checks.close("deviations", &deviations, &known("deviations")?, 5e-3);
    let weights = host(softmax(model.logits.val(), 0));
    checks.close("weights", &weights, &known("weights")?, 5e-3);
    Ok(checks.exit_code())
}
