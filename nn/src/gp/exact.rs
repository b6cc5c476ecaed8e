//! Gaussian processes that use all data points, without inducing points.

use std::f64::consts::PI;

use burn::{prelude::*, tensor::TensorCreationOptions};
use burn_lazy::{
    LazyTensor,
    solve::{Diagonal, LogDetOptions, Sum, log_det},
};

use super::{
    mean::{Mean, MeanConfig},
    posterior::Posterior,
};
use crate::{
    data::check_data,
    dense,
    error::{LayerError, check_not_negative, check_setting, expect},
    kernel::{Kernel, matrix},
    positive::{Positive, PositiveConfig},
    system::{Inference, Iterations, factored},
};

/// Configuration to create an [`ExactGp`] with [`init`](ExactGpConfig::init).
#[derive(Config, Debug)]
pub struct ExactGpConfig {
    /// The prior mean.
    #[config(default = "MeanConfig::Constant")]
    pub mean: MeanConfig,
    /// The initial variance of the noise of observations.
    #[config(default = 1e-2)]
    pub noise: f64,
    /// The lower bound of the variance of the noise, which it never reaches.
    #[config(default = 1e-6)]
    pub noise_bound: f64,
    /// How systems with the covariance are solved.
    #[config(default = "Inference::Auto")]
    pub inference: Inference,
    /// The rank of the preconditioner of iterative inference. By default it is a twentieth of the number of points,
    /// and at least 100.
    pub rank: Option<usize>,
    /// The relative residual at which iterative inference stops for predictions.
    #[config(default = 1e-6)]
    pub tolerance: f64,
}

impl ExactGpConfig {
    /// The process with the covariance `kernel`, on a device (`&device`) in its default type, or in a given type
    /// (`(&device, DType::F64)`).
    ///
    /// # Panics
    /// If [`try_init`](Self::try_init) returns an error.
    #[track_caller]
    pub fn init<K: Kernel>(
        &self,
        kernel: K,
        options: impl Into<TensorCreationOptions>,
    ) -> ExactGp<K> {
        expect(self.try_init(kernel, options))
    }

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// If the noise is not above its bound, or if the bound or the tolerance is negative.
    pub fn try_init<K: Kernel>(
        &self,
        kernel: K,
        options: impl Into<TensorCreationOptions>,
    ) -> Result<ExactGp<K>, LayerError> {
        let options = options.into();
        let (noise, tolerance) = (self.noise, self.tolerance);
        check_not_negative("tolerance", tolerance)?;
        check_setting("noise", noise, "above its bound", noise > self.noise_bound)?;
        let noise = PositiveConfig::new(vec![noise]).with_lower(self.noise_bound);
        Ok(ExactGp {
            kernel,
            mean: self.mean.init(options.clone()),
            noise: noise.try_init(options)?,
            inference: self.inference,
            iterations: Iterations {
                tolerance,
                rank: self.rank,
            },
        })
    }
}

/// How a marginal likelihood is computed by iterative inference.
#[derive(Config, Debug)]
pub struct LikelihoodOptions {
    /// The number of random vectors that estimate the determinant.
    #[config(default = 16)]
    pub probes: usize,
    /// The relative residual at which the iterative solves stop.
    #[config(default = 1e-3)]
    pub tolerance: f64,
    /// The seed of the random vectors. The same seed gives the same estimate.
    #[config(default = 0)]
    pub seed: u64,
}

/// A marginal likelihood, with its standard error and the solution of the linear system.
#[derive(Clone, Debug)]
pub struct MarginalLikelihood {
    /// The logarithm of the marginal likelihood, `[1]`, with gradients.
    pub logarithm: Tensor<1>,
    /// The standard error of the logarithm: 0 if the logarithm is exact, infinite if it is estimated from one
    /// random vector.
    pub standard_error: f64,
    /// The solution $A^{-1} (t - m)$, `[N, T]`, without gradients.
    pub solution: Tensor<2>,
}

/// A Gaussian process with the covariance $k$, the mean $m$ and noise of the variance $s$ (Rasmussen and Williams,
/// "Gaussian processes for machine learning", 2006, chapter 2).
///
/// The columns of the targets are independent processes with the same parameters.
///
/// By default, the covariance of up to 1000 points is stored and factored in F64. For more points it remains a
/// formula: linear systems are solved by conjugate gradients, and the determinant is estimated (Gardner et al.,
/// "GPyTorch", 2018).
///
/// ```
/// # #[cfg(all(feature = "flex", feature = "autodiff"))] {
/// use burn::{optim::{AdamConfig, GradientsParams}, prelude::*};
/// use burn_lazy_nn::{gp::{ExactGpConfig, LikelihoodOptions}, kernel::{RbfConfig, ScaleConfig}};
///
/// let device = Device::default().autodiff();
/// let x = Tensor::<1>::from_data([0.0, 0.5, 1.0, 1.5, 2.0], &device).unsqueeze_dim::<2>(1);
/// let t = (x.clone() * 3.0).sin();
/// let kernel = ScaleConfig::new().init(RbfConfig::new().init(&device), &device);
/// let mut process = ExactGpConfig::new().init(kernel, &device);
///
/// let mut optimiser = AdamConfig::new().init();
/// for _ in 0..20 {
///     let options = LikelihoodOptions::new();
///     let loss = process.log_marginal_likelihood(x.clone(), t.clone(), &options).neg();
///     let gradients = GradientsParams::from_grads(loss.backward(), &process);
///     process = optimiser.step(0.1, process, gradients);
/// }
/// let posterior = process.condition(x, t);
/// let at = Tensor::<2>::from_data([[0.75]], &device);
/// assert_eq!(posterior.mean(at.clone()).dims(), [1, 1]);
/// assert!(posterior.variance(at).into_scalar::<f32>() < 0.5);
/// # }
/// ```
#[derive(Module, Debug)]
pub struct ExactGp<K> {
    /// $k$.
    pub kernel: K,
    /// $m$.
    pub mean: Mean,
    /// $s$.
    pub noise: Positive,
    #[module(skip)]
    pub(super) inference: Inference,
    #[module(skip)]
    pub(super) iterations: Iterations,
}

impl<K: Kernel> ExactGp<K> {
    /// The logarithm of the probability density of the targets `t` at the points `x`, summed over the columns of the
    /// targets:
    ///
    /// $$-\frac 1 2 (t - m)^\top A^{-1} (t - m) - \frac 1 2 \log \det A - \frac N 2 \log 2 \pi, \quad A = K + s I.$$
    ///
    /// Differentiable once by all parameters, by `x` and by `t`. With iterative inference, the determinant and its
    /// gradient are estimates; keep the seed if an optimiser compares values.
    ///
    /// # Shapes
    /// - x: `[N, D]`
    /// - t: `[N, T]`
    /// - output: `[1]`
    ///
    /// # Panics
    /// If [`try_log_marginal_likelihood`](Self::try_log_marginal_likelihood) returns an error.
    #[track_caller]
    pub fn log_marginal_likelihood(
        &self,
        x: Tensor<2>,
        t: Tensor<2>,
        options: &LikelihoodOptions,
    ) -> Tensor<1> {
        expect(self.try_log_marginal_likelihood(x, t, options))
    }

    /// Like [`log_marginal_likelihood`](Self::log_marginal_likelihood), with an error instead of a panic.
    ///
    /// # Errors
    /// If there are no points or not as many targets, if values are not finite, if the covariance is not positive
    /// definite, or if a linear system cannot be solved.
    pub fn try_log_marginal_likelihood(
        &self,
        x: Tensor<2>,
        t: Tensor<2>,
        options: &LikelihoodOptions,
    ) -> Result<Tensor<1>, LayerError> {
        Ok(self.try_marginal_likelihood(x, t, options, None)?.logarithm)
    }

    /// The [logarithm of the marginal likelihood](Self::log_marginal_likelihood) with its error and the solution of
    /// the linear system of the data. With iterative inference, passing this solution as `initial` in the next step
    /// of training saves iterations.
    ///
    /// # Panics
    /// If [`try_marginal_likelihood`](Self::try_marginal_likelihood) returns an error.
    #[track_caller]
    pub fn marginal_likelihood(
        &self,
        x: Tensor<2>,
        t: Tensor<2>,
        options: &LikelihoodOptions,
        initial: Option<Tensor<2>>,
    ) -> MarginalLikelihood {
        expect(self.try_marginal_likelihood(x, t, options, initial))
    }

    /// Like [`marginal_likelihood`](Self::marginal_likelihood), with an error instead of a panic.
    ///
    /// # Errors
    /// As [`try_log_marginal_likelihood`](Self::try_log_marginal_likelihood), and if `initial` has another shape than
    /// `t`.
    pub fn try_marginal_likelihood(
        &self,
        x: Tensor<2>,
        t: Tensor<2>,
        options: &LikelihoodOptions,
        initial: Option<Tensor<2>>,
    ) -> Result<MarginalLikelihood, LayerError> {
        check_data(&x, &t)?;
        if let Some(initial) = initial.as_ref().filter(|own| own.dims() != t.dims()) {
            return Err(LayerError::Shape {
                what: "the initial solution",
                shape: initial.dims().to_vec(),
                other: "the targets",
                other_shape: t.dims().to_vec(),
                expected: "their shape",
            });
        }
        let ([points, _], [_, outputs]) = (x.dims(), t.dims());
        let dtype = t.dtype();
        let k = self.covariance(&x)?;
        let residuals = t - self.mean.try_forward(x)?;
        let parts = match self.inference.stores(points) {
            true => self.stored_likelihood(&k, residuals)?,
            false => self.symbolic_likelihood(&k, residuals, options, initial)?,
        };
        let constant = (points * outputs) as f64 * (2.0 * PI).ln();
        Ok(MarginalLikelihood {
            logarithm: (parts.logarithm + constant).cast(dtype) * -0.5,
            standard_error: parts.standard_error * 0.5,
            ..parts
        })
    }

    /// The symbolic covariance of points, without noise.
    pub(super) fn covariance(&self, x: &Tensor<2>) -> Result<LazyTensor, LayerError> {
        Ok(matrix(&self.kernel, x, x)?)
    }

    /// The variance of the noise as a number.
    pub(super) fn noise_variance(&self) -> f64 {
        self.noise.value().into_scalar()
    }

    /// $r^\top A^{-1} r + T \log \det A$, computed with the Cholesky factor of the stored matrix.
    fn stored_likelihood(
        &self,
        k: &LazyTensor,
        residuals: Tensor<2>,
    ) -> Result<MarginalLikelihood, LayerError> {
        let cholesky = factored(k, self.noise_variance())?;
        let values = dense::host(residuals.clone());
        let outputs = values.ncols() as f64;
        let weights = cholesky.solve(&values);
        let value = weights.dot(&values) + outputs * cholesky.log_det();
        // The derivatives by the entries of the matrix and by the residuals. `slope` below is a number with these
        // derivatives.
        let by_entries = cholesky.inverse() * outputs - &weights * weights.transpose();
        let entries: Tensor<2> = dense::in_f64(k).try_dense::<3>()?.squeeze_dim(2);
        let options = (&entries.device().inner(), entries.dtype());
        let noise = self.noise.value().cast(options.1) * by_entries.trace();
        let by_entries = dense::tensor(&by_entries, options);
        let stored = (&residuals.device().inner(), residuals.dtype());
        let solution = dense::tensor(&weights, stored);
        let by_residuals = dense::tensor(&(weights * 2.0), options);
        let slope = (entries * by_entries).sum()
            + (residuals.cast(options.1) * by_residuals).sum()
            + noise.sum();
        Ok(MarginalLikelihood {
            logarithm: with_value(slope, value),
            standard_error: 0.0,
            solution,
        })
    }

    /// $r^\top A^{-1} r + T \log \det A$, computed with products of the symbolic matrix and vectors.
    fn symbolic_likelihood(
        &self,
        k: &LazyTensor,
        residuals: Tensor<2>,
        options: &LikelihoodOptions,
        initial: Option<Tensor<2>>,
    ) -> Result<MarginalLikelihood, LayerError> {
        let [points, outputs] = residuals.dims();
        let shift = self.noise_variance();
        let iterations = Iterations {
            tolerance: options.tolerance,
            ..self.iterations
        };
        let inner = k.inner();
        let nystrom = iterations.preconditioner(&inner, points, shift)?;
        let solving = iterations.options(shift, nystrom.clone());
        let solving = match initial {
            Some(guess) => solving.initial(guess),
            None => solving,
        };
        let values = residuals.clone().inner();
        let weights = inner.solve(values.clone(), &solving)?.solution;
        let value: f64 = (weights.clone() * values).sum().into_scalar();
        // The quadratic form has the same derivative as 2 w^T r - w^T A w with w held constant.
        let dtype = residuals.dtype();
        let noise = self.noise.value().cast(dtype);
        let product = k.try_matmul(weights.clone())? + weights.clone() * noise.clone();
        let slope = (weights.clone() * (residuals * 2.0 - product)).sum();

        let operator = Sum(k.clone(), Diagonal::new(points, noise)?);
        let estimate = LogDetOptions::default()
            .exact_up_to(0)
            .probes(options.probes)
            .tolerance(options.tolerance)
            .seed(options.seed);
        let estimate = match nystrom {
            Some(nystrom) => estimate.preconditioner(nystrom),
            None => estimate,
        };
        let determinant = log_det(&operator, &estimate)?;
        let outputs = outputs as f64;
        Ok(MarginalLikelihood {
            logarithm: with_value(slope, value) + determinant.value.cast(dtype) * outputs,
            standard_error: determinant.standard_errors[0] * outputs,
            solution: weights,
        })
    }

    /// The process conditioned on the targets `t` at the points `x`.
    ///
    /// # Shapes
    /// - x: `[N, D]`
    /// - t: `[N, T]`
    ///
    /// # Panics
    /// If [`try_condition`](Self::try_condition) returns an error.
    #[track_caller]
    pub fn condition(&self, x: Tensor<2>, t: Tensor<2>) -> Posterior<K> {
        expect(self.try_condition(x, t))
    }

    /// Like [`condition`](Self::condition), with an error instead of a panic.
    ///
    /// # Errors
    /// If there are no points or not as many targets, if values are not finite, if the covariance is not positive
    /// definite, or if the linear system cannot be solved.
    pub fn try_condition(&self, x: Tensor<2>, t: Tensor<2>) -> Result<Posterior<K>, LayerError> {
        check_data(&x, &t)?;
        Posterior::new(self.valid(), x.inner(), t.inner())
    }
}

/// The number `value`, with the derivatives of `slope`.
fn with_value(slope: Tensor<1>, value: f64) -> Tensor<1> {
    (slope.clone() - slope.detach()) + value
}
