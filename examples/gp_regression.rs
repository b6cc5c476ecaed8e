//! Kernel ridge regression and Gaussian processes (Rasmussen and Williams, 2006) on the diabetes data,
//! trained by their marginal likelihood: `cargo run --features cpu --example gp_regression`.
//!
//! Each check compares with values that `data/gp_regression.py` computes with scikit-learn.

mod common;

use std::{error::Error, f64::consts::PI, process::ExitCode};

use burn::{
    module::Param,
    optim::{AdamConfig, GradientsParams},
    prelude::*,
};
use burn_lazy::{
    LazyTensor,
    solve::{
        Diagonal, LogDetOptions, Nystrom, Rank, SolveError, SolveOptions, Sum, conjugate_gradient,
        log_det,
    },
};
use common::{Checks, Diabetes, Reference, host, tracking_device};

/// A Gaussian process of mean 0 with the covariance $v e^{-|x - y|^2 / (2 l^2)}$ and noise of variance $s$, by
/// the logarithms of $v$, $l$ and $s$.
#[derive(Module, Debug)]
struct GaussianProcess {
    log_variance: Param<Tensor<1>>,
    log_length: Param<Tensor<1>>,
    log_noise: Param<Tensor<1>>,
}

impl GaussianProcess {
    fn new([variance, length, noise]: [f64; 3], device: &Device) -> Self {
        let log = |value: f64| Param::from_data([value.ln()], device);
        Self {
            log_variance: log(variance),
            log_length: log(length),
            log_noise: log(noise),
        }
    }

    /// Variance, length and noise.
    fn parameters(&self) -> [f64; 3] {
        let all = [&self.log_variance, &self.log_length, &self.log_noise];
        all.map(|log| log.val().exp().into_scalar())
    }

    /// The covariance of the values at `x` with those at `y`.
    fn covariance(&self, x: Tensor<2>, y: Tensor<2>) -> LazyTensor {
        let scale = self
            .log_length
            .val()
            .mul_scalar(-2.0)
            .exp()
            .mul_scalar(-0.5);
        (LazyTensor::vi(x).sqdist(LazyTensor::vj(y)) * scale).exp() * self.log_variance.val().exp()
    }

    /// A preconditioner, worth its price as the same matrix is solved with several times.
    fn preconditioner(&self, x: &Tensor<2>) -> Result<Nystrom, SolveError> {
        let [_, _, noise] = self.parameters();
        Nystrom::new(
            &self.covariance(x.clone(), x.clone()),
            noise,
            Rank::Columns(x.dims()[0]),
        )
    }

    fn observed(&self, x: &Tensor<2>) -> Result<Sum<LazyTensor, Diagonal<2>>, SolveError> {
        let noise = self.log_noise.val().exp().unsqueeze_dim(1);
        let diagonal = Diagonal::new(x.dims()[0], noise)?;
        Ok(Sum(self.covariance(x.clone(), x.clone()), diagonal))
    }

    /// The log marginal likelihood of the targets `t`, of which the determinant is estimated with `probes`
    /// random vectors from `seed`.
    fn log_likelihood(
        &self,
        x: &Tensor<2>,
        t: &Tensor<2>,
        probes: usize,
        seed: u64,
    ) -> Result<Tensor<1>, SolveError> {
        let (operator, nystrom) = (self.observed(x)?, self.preconditioner(x)?);
        let options = SolveOptions::default().preconditioner(nystrom.clone());
        let solution = conjugate_gradient(&operator, t.clone(), &options)?.solution;
        let fit = (solution * t.clone()).sum();
        let options = LogDetOptions::default()
            .probes(probes)
            .seed(seed)
            .preconditioner(nystrom);
        let determinant = log_det(&operator, &options)?.value;
        let constant = x.dims()[0] as f64 * (2.0 * PI).ln();
        Ok((fit + determinant + constant) * -0.5)
    }

    /// Mean and standard deviation at `at` of the process that passes through the targets `t` at `x`.
    fn predict(
        &self,
        x: &Tensor<2>,
        t: &Tensor<2>,
        at: &Tensor<2>,
    ) -> Result<[Tensor<2>; 2], SolveError> {
        let operator = self.observed(x)?;
        let options = SolveOptions::default().preconditioner(self.preconditioner(x)?);
        // One system for the mean and one for each point.
        let covariance = self.covariance(at.clone(), x.clone());
        let columns = covariance.dense::<3>().squeeze_dim::<2>(2).transpose();
        let right = Tensor::cat(vec![t.clone(), columns.clone()], 1);
        let solution = conjugate_gradient(&operator, right, &options)?.solution;
        let [rows, points] = columns.dims();
        let mean = covariance.try_matmul(solution.clone().slice([0..rows, 0..1]))?;
        let explained = columns * solution.slice([0..rows, 1..points + 1]);
        let [variance, ..] = self.parameters();
        let deviation = (explained.sum_dim(0).neg() + variance).sqrt();
        Ok([mean, deviation.transpose()])
    }
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
    let deviation = t
        .clone()
        .sub(mean.clone())
        .square()
        .mean()
        .sqrt()
        .unsqueeze();
    let t = (t - mean) / deviation;
    let mut checks = Checks::default();

    let start = [known("variance")?, known("length")?, known("noise")?];
    let process = GaussianProcess::new(start, &device);
    let ridge = known("ridge")?;
    let unit = GaussianProcess::new([1.0, known("length")?, 1.0], &device);
    let weights = unit
        .covariance(x.clone(), x.clone())
        .solve(t.clone(), &SolveOptions::default().ridge(ridge))?
        .solution;
    let predictions = unit.covariance(test_x.clone(), x.clone()).matmul(weights);
    let expected = list("ridge_predictions")?;
    checks.close(
        "kernel ridge predictions",
        &host(predictions),
        &expected,
        1e-4,
    );

    let likelihood = process.log_likelihood(&x, &t, 64, 0)?;
    let value: f64 = likelihood.clone().into_scalar();
    checks.close(
        "log marginal likelihood",
        &[value],
        &[known("log_likelihood")?],
        1e-4,
    );
    let gradients = likelihood.backward();
    let gradient = [
        &process.log_variance,
        &process.log_length,
        &process.log_noise,
    ];
    let gradient: Vec<f64> = gradient
        .iter()
        .map(|log| {
            log.val()
                .grad(&gradients)
                .map_or(f64::NAN, Tensor::into_scalar)
        })
        .collect();
    let expected = list("gradient_by_logs")?;
    checks.close("its gradient, an estimate", &gradient, &expected, 0.1);
    let [mean, deviation] = process.predict(&x, &t, &test_x)?;
    checks.close("means", &host(mean), &list("means")?, 1e-4);
    checks.close("deviations", &host(deviation), &list("deviations")?, 1e-4);

    let mut process = process;
    let mut optimiser = AdamConfig::new().init();
    let steps = 80;
    for step in 0..=steps {
        let loss = process.log_likelihood(&x, &t, 16, step)?.neg();
        if step % 20 == 0 {
            let value: f64 = loss.clone().into_scalar();
            println!(
                "step {step:2}: {:.3?}, log likelihood {:.2}",
                process.parameters(),
                -value
            );
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &process);
        let rate = 0.2 * 0.96f64.powi(step as i32);
        process = optimiser.step(rate, process, gradients);
    }
    let value: f64 = process.log_likelihood(&x, &t, 64, 0)?.into_scalar();
    checks.close(
        "fitted log likelihood",
        &[value],
        &[known("fitted_log_likelihood")?],
        1e-3,
    );
    checks.close(
        "fitted noise",
        &process.parameters()[2..],
        &list("fitted")?[2..],
        0.05,
    );
    Ok(checks.exit_code())
}
