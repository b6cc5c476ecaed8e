//! Kernel regression (Nadaraya, 1964; Watson, 1964) on the diabetes data, its bandwidth trained by
//! gradient descent through the reduction: `cargo run --features cpu --example regression`.
//!
//! Each check compares with values that `data/regression.py` computes with NumPy and SciPy.

mod common;

use std::{error::Error, process::ExitCode};

use burn::{
    module::Param,
    optim::{AdamConfig, GradientsParams},
    prelude::*,
};
use burn_lazy::LazyTensor;
use common::{Checks, Diabetes, Reference, host, tracking_device};

/// Predicts a weighted mean of known targets, with Gaussian weights of the distances.
#[derive(Module, Debug)]
struct NadarayaWatson {
    /// The logarithm of the bandwidth h.
    log_h: Param<Tensor<1>>,
}

impl NadarayaWatson {
    fn new(h: f64, device: &Device) -> Self {
        Self {
            log_h: Param::from_data([h.ln()], device),
        }
    }

    fn bandwidth(&self) -> f64 {
        self.log_h.val().exp().into_scalar()
    }

    /// `[M, 2]`: the sums of `k(x_i, y_j) t_j` and of `k(x_i, y_j)` over all j, where
    /// `k(x, y) = exp(-|x - y|^2 / (2 h^2))`.
    fn sums(&self, x: Tensor<2>, y: Tensor<2>, t: Tensor<2>) -> Tensor<2> {
        let scale = self.log_h.val().mul_scalar(-2.0).exp().mul_scalar(-0.5);
        let k_ij = (LazyTensor::vi(x).sqdist(LazyTensor::vj(y)) * scale).exp();
        k_ij.matmul(Tensor::cat(vec![t.clone(), t.ones_like()], 1))
    }

    /// The predictions `[M, 1]` at `x` from the points `y` with targets `t`.
    fn predict(&self, x: Tensor<2>, y: Tensor<2>, t: Tensor<2>) -> Tensor<2> {
        let sums = self.sums(x, y, t);
        sums.clone().narrow(1, 0, 1) / sums.narrow(1, 1, 1)
    }

    /// The mean squared error when the target of each point is predicted from all other points.
    fn leave_one_out(&self, x: Tensor<2>, t: Tensor<2>) -> Tensor<1> {
        // Each point contributes to its own sums with weight 1, which is taken off.
        let own = Tensor::cat(vec![t.clone(), t.ones_like()], 1);
        let sums = self.sums(x.clone(), x, t.clone()) - own;
        let prediction = sums.clone().narrow(1, 0, 1) / sums.narrow(1, 1, 1);
        (prediction - t).square().mean()
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let reference = Reference::load("regression.json")?;
    let known = |key: &str| reference.get::<f64>(key);
    let device = tracking_device();
    let Diabetes {
        train: (x, t),
        test: (test_x, test_t),
    } = Diabetes::load(&device)?;
    println!(
        "{:?} training rows, {:?} test rows",
        x.dims(),
        test_x.dims()
    );

    let mut checks = Checks::default();
    let start = NadarayaWatson::new(1.0, &device);
    let loss = start.leave_one_out(x.clone(), t.clone());
    let gradient = start
        .log_h
        .val()
        .grad(&loss.backward())
        .ok_or("the bandwidth is tracked")?;
    checks.close(
        "leave-one-out error at h = 1",
        &[loss.into_scalar()],
        &[known("loo_mse_at_1")?],
        1e-5,
    );
    checks.close(
        "its derivative by log h",
        &[gradient.into_scalar()],
        &[known("loo_grad_log_h_at_1")?],
        5e-4,
    );

    let mut model = NadarayaWatson::new(2.0, &device);
    let mut optimiser = AdamConfig::new().init();
    let steps = 160;
    for step in 0..steps {
        let loss = model.leave_one_out(x.clone(), t.clone());
        if step % 40 == 0 {
            let (h, loss) = (model.bandwidth(), loss.clone().into_scalar::<f64>());
            println!("step {step:3}: h = {h:.4}, leave-one-out error {loss:.1}");
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        let rate = 0.1 * 0.975f64.powi(step);
        model = optimiser.step(rate, model, gradients);
    }
    let loss: f64 = model.leave_one_out(x.clone(), t.clone()).into_scalar();
    println!(
        "step {steps}: h = {:.4}, leave-one-out error {loss:.1}",
        model.bandwidth()
    );
    checks.close(
        "trained bandwidth",
        &[model.bandwidth()],
        &[known("bandwidth")?],
        2e-3,
    );
    checks.close("trained error", &[loss], &[known("loo_mse")?], 1e-5);

    let model = NadarayaWatson::new(known("bandwidth")?, &device);
    let predictions = model.predict(test_x, x, t);
    let error: f64 = (predictions.clone() - test_t).square().mean().into_scalar();
    checks.close(
        "error on the test rows",
        &[error],
        &[known("test_mse")?],
        1e-5,
    );
    let expected: Vec<f64> = reference.get("test_predictions")?;
    checks.close("predictions", &host(predictions), &expected, 1e-5);
    Ok(checks.exit_code())
}
