//! Gaussian processes of many data points, which are summarised by a few inducing points.

use burn::{module::Param, prelude::*};
use burn_lazy::solve::{
    SolveError,
    dense::{Triangle, cholesky, matmul, solve_triangular},
};

use super::{
    likelihood::{Likelihood, LikelihoodConfig},
    mean::{Mean, MeanConfig},
};
use crate::{
    data::check_data,
    dense,
    error::{LayerError, check_not_negative, check_setting, expect},
    kernel::{Kernel, matrix},
};

/// Configuration to create an [`Svgp`] with [`init`](SvgpConfig::init).
#[derive(Config, Debug)]
pub struct SvgpConfig {
    /// The kind of numbers that the targets are.
    #[config(default = "LikelihoodConfig::Gaussian(1e-2)")]
    pub likelihood: LikelihoodConfig,
    /// The prior mean.
    #[config(default = "MeanConfig::Constant")]
    pub mean: MeanConfig,
    /// The number that is added to the diagonal of the covariance of the inducing points.
    #[config(default = 1e-4)]
    pub jitter: f64,
}

impl SvgpConfig {
    /// The process with the covariance `kernel` and the initial inducing points, whose device and type it takes.
    /// Some of the data points, for example, can be the initial inducing points.
    ///
    /// # Shapes
    /// - inducing: `[M, D]`
    ///
    /// # Panics
    /// If [`try_init`](Self::try_init) returns an error.
    #[track_caller]
    pub fn init<K: Kernel>(&self, kernel: K, inducing: Tensor<2>) -> Svgp<K> {
        expect(self.try_init(kernel, inducing))
    }

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// If there are no inducing points, if the jitter is negative or not finite, or if the variance of the noise is
    /// not positive.
    pub fn try_init<K: Kernel>(
        &self,
        kernel: K,
        inducing: Tensor<2>,
    ) -> Result<Svgp<K>, LayerError> {
        let jitter = self.jitter;
        check_not_negative("jitter", jitter)?;
        let [count, _] = inducing.dims();
        if count == 0 {
            return Err(LayerError::Empty("the inducing points"));
        }
        let options = (&inducing.device(), inducing.dtype());
        let zeros = |columns| Param::from_tensor(Tensor::zeros([count, columns], options));
        Ok(Svgp {
            kernel,
            mean: self.mean.init(options),
            likelihood: self.likelihood.try_init(options)?,
            variational_mean: zeros(1),
            variational_root: zeros(count),
            inducing: Param::from_tensor(inducing.detach()),
            jitter,
        })
    }
}

/// A stochastic variational Gaussian process (Hensman, Fusi and Lawrence, "Gaussian processes for big data", 2013, and
/// with other likelihoods Hensman, Matthews and Ghahramani, 2015).
///
/// The function values at M inducing points $z$, which are learned, summarise the data. They are $L v$ with
/// $K_{zz} + \epsilon I = L L^\top$. The distribution of $v$ is approximated by a normal distribution with the mean
/// $m$ and the covariance $S S^\top$, which are learned, too. With $A = L^{-1} K_{zx}$ the function at $x$ has
///
/// $$\text{the mean } \mu(x) + A^\top m \text{ and the variance } k(x, x) - |A|^2 + |S^\top A|^2.$$
///
/// A step of training takes a batch of B points, memory of $M$ times $(M + B)$ numbers, and a Cholesky factor of
/// the M x M matrix, which is computed on the host.
///
/// ```
/// # #[cfg(all(feature = "flex", feature = "autodiff"))] {
/// use burn::{optim::{AdamConfig, GradientsParams}, prelude::*};
/// use burn_lazy_nn::{gp::{LikelihoodConfig, SvgpConfig}, kernel::RbfConfig};
///
/// // Two classes.
/// let device = Device::default().autodiff();
/// let x = Tensor::<2>::from_data([[-2.0], [-1.0], [-0.5], [0.5], [1.0], [2.0]], &device);
/// let t = Tensor::<2>::from_data([[0.0], [0.0], [0.0], [1.0], [1.0], [1.0]], &device);
/// let inducing = x.clone().slice([1..5]);
/// let config = SvgpConfig::new().with_likelihood(LikelihoodConfig::Bernoulli);
/// let mut process = config.init(RbfConfig::new().with_length_scale(1.0).init(&device), inducing);
///
/// let mut optimiser = AdamConfig::new().init();
/// for _ in 0..40 {
///     let loss = process.elbo(x.clone(), t.clone(), 6).neg();
///     let gradients = GradientsParams::from_grads(loss.backward(), &process);
///     process = optimiser.step(0.1, process, gradients);
/// }
/// let (mean, variance) = process.predict(x);
/// let probabilities = process.likelihood.expected_target(mean, variance);
/// let classes = probabilities.greater_elem(0.5).int().float();
/// classes.into_data().assert_eq(&t.into_data(), false);
/// # }
/// ```
#[derive(Module, Debug)]
pub struct Svgp<K> {
    /// $k$.
    pub kernel: K,
    /// $\mu$.
    pub mean: Mean,
    /// The distribution of targets, given the values of the function.
    pub likelihood: Likelihood,
    /// $z$, `[M, D]`.
    pub inducing: Param<Tensor<2>>,
    /// $m$, `[M, 1]`.
    pub variational_mean: Param<Tensor<2>>,
    /// $S$ below the diagonal, and the logarithms of its diagonal, `[M, M]`.
    pub variational_root: Param<Tensor<2>>,
    jitter: f64,
}

impl<K: Kernel> Svgp<K> {
    /// The lower bound of the logarithm of the marginal likelihood, estimated from a batch of B out of N points:
    ///
    /// $$\frac N B \sum_b \mathrm E \log p(t_b | f(x_b)) - \mathrm{KL},$$
    ///
    /// where KL is the divergence of the normal distribution of $v$ from the standard one,
    /// $\frac 1 2 (|S|^2 + |m|^2 - M) - \sum \log S_{ii}$. `total` is N. Differentiable once by all parameters, by
    /// `x` and by `t`.
    ///
    /// # Shapes
    /// - x: `[B, D]`
    /// - t: `[B, 1]`
    /// - output: `[1]`
    ///
    /// # Panics
    /// If [`try_elbo`](Self::try_elbo) returns an error.
    #[track_caller]
    pub fn elbo(&self, x: Tensor<2>, t: Tensor<2>, total: usize) -> Tensor<1> {
        expect(self.try_elbo(x, t, total))
    }

    /// Like [`elbo`](Self::elbo), with an error instead of a panic.
    ///
    /// # Errors
    /// If there are no points or not one target for each, if values are not finite, if the targets are not numbers
    /// of the kind of the likelihood, if `total` is less than the number of points in the batch, or if the
    /// covariance of the inducing points is not positive definite.
    pub fn try_elbo(
        &self,
        x: Tensor<2>,
        t: Tensor<2>,
        total: usize,
    ) -> Result<Tensor<1>, LayerError> {
        check_data(&x, &t)?;
        let [batch, outputs] = t.dims();
        if outputs != 1 {
            return Err(LayerError::Shape {
                what: "the targets",
                shape: vec![batch, outputs],
                other: "the points",
                other_shape: x.dims().to_vec(),
                expected: "one column",
            });
        }
        let enough = total >= batch;
        check_setting(
            "total",
            total as f64,
            "the number of points or more",
            enough,
        )?;
        let (mean, variance) = self.try_predict(x)?;
        let expected = self.likelihood.expected_log(t, mean, variance)?;
        let scale = total as f64 / batch as f64;
        Ok(expected.sum() * scale - self.divergence())
    }

    /// The mean and the variance of the function at points. Differentiable once by all parameters and by the points.
    ///
    /// # Shapes
    /// - at: `[N, D]`
    /// - output: `[N, 1]` and `[N, 1]`
    ///
    /// # Panics
    /// If [`try_predict`](Self::try_predict) returns an error.
    #[track_caller]
    pub fn predict(&self, at: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        expect(self.try_predict(at))
    }

    /// Like [`predict`](Self::predict), with an error instead of a panic.
    ///
    /// # Errors
    /// If the points have another number of coordinates than the inducing points, or another type, or if the covariance
    /// of the inducing points is not positive definite.
    pub fn try_predict(&self, at: Tensor<2>) -> Result<(Tensor<2>, Tensor<2>), LayerError> {
        // Variances are at least this, because the square root has no derivative at 0.
        const SMALLEST: f64 = 1e-12;

        let inducing = self.inducing.val();
        let [count, _] = inducing.dims();
        let between = matrix(&self.kernel, &inducing, &inducing)?;
        let between: Tensor<2> = between.try_dense::<3>()?.squeeze_dim(2);
        let across = matrix(&self.kernel, &inducing, &at)?;
        let across: Tensor<2> = across.try_dense::<3>()?.squeeze_dim(2);

        let noise = dense::identity(&between) * self.jitter;
        let root = cholesky(between + noise).map_err(|error| match error {
            SolveError::NotPositiveDefinite { column: row, .. } => {
                LayerError::NotPositiveDefinite {
                    what: "the covariance",
                    size: count,
                    row,
                    hint: "raise the jitter, or leave out inducing points that coincide",
                }
            }
            other => other.into(),
        })?;
        let a = solve_triangular(root, across, Triangle::Lower)?;
        let explained = a.clone().square().sum_dim(0);
        let added = matmul(self.root().transpose(), a.clone())?;
        let added = added.square().sum_dim(0);
        let variance = self.kernel.try_diag(at.clone())? + (added - explained).transpose();
        let mean = matmul(a.transpose(), self.variational_mean.val())?;
        let mean = mean + self.mean.try_forward(at)?;
        Ok((mean, variance.clamp_min(SMALLEST)))
    }

    /// $S$.
    fn root(&self) -> Tensor<2> {
        let raw = self.variational_root.val();
        let identity = dense::identity(&raw);
        let diagonal = (raw.clone() * identity.clone()).exp() * identity;
        raw.tril(-1) + diagonal
    }

    /// The divergence of the distribution of $v$ from the standard normal one.
    fn divergence(&self) -> Tensor<1> {
        let raw = self.variational_root.val();
        let [count, _] = raw.dims();
        let logarithms = (raw.clone() * dense::identity(&raw)).sum();
        let squares = self.root().square().sum() + self.variational_mean.val().square().sum();
        (squares - count as f64) * 0.5 - logarithms
    }
}
