//! The distributions of targets, given the values of a process.

use burn::{
    prelude::*,
    tensor::{
        TensorCreationOptions, TensorData,
        activation::{log_sigmoid, sigmoid},
    },
};
use burn_lazy::LazyTensor;
use nalgebra::{DMatrix, SymmetricEigen};

use crate::{
    error::{LayerError, SettingError},
    positive::{Positive, PositiveConfig},
};

/// The kind of numbers that the targets of an [`Svgp`](super::Svgp) are.
#[derive(Config, Debug, Copy, PartialEq)]
pub enum LikelihoodConfig {
    /// Values of the function plus normal noise. The variance of the noise is learned; this is its initial value.
    Gaussian(f64),
    /// 0 or 1, where the probability of 1 is $1 / (1 + e^{-f})$.
    Bernoulli,
    /// Counts with the expected value $e^f$.
    Poisson,
}

impl LikelihoodConfig {
    /// The likelihood, on a device (`&device`) in its default type, or in a given type (`(&device, DType::F64)`).
    ///
    /// # Panics
    /// If the variance of the noise is not positive and finite.
    #[track_caller]
    pub fn init(&self, options: impl Into<TensorCreationOptions>) -> Likelihood {
        crate::error::expect(self.try_init(options))
    }

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// If the variance of the noise is not positive and finite.
    pub fn try_init(
        &self,
        options: impl Into<TensorCreationOptions>,
    ) -> Result<Likelihood, LayerError> {
        let noise = match *self {
            LikelihoodConfig::Gaussian(noise) => {
                Some(PositiveConfig::new(vec![noise]).try_init(options)?)
            }
            _ => None,
        };
        Ok(Likelihood { noise, kind: *self })
    }
}

/// The density $p(t | f)$ of a target $t$, given the value $f$ of a process.
///
/// Expectations over normally distributed $f$ have closed forms, except those of [`LikelihoodConfig::Bernoulli`].
/// These are sums over the 20 points of Gauss-Hermite quadrature.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy_nn::gp::LikelihoodConfig;
///
/// let device = Device::default();
/// let likelihood = LikelihoodConfig::Bernoulli.init(&device);
/// let one = || Tensor::<2>::ones([1, 1], &device);
/// let probability: f32 = likelihood.expected_target(one() * 0.0, one()).into_scalar();
/// assert!((probability - 0.5).abs() < 1e-6);
/// # }
/// ```
#[derive(Module, Debug)]
pub struct Likelihood {
    /// The variance of the noise, if there is one.
    pub noise: Option<Positive>,
    #[module(skip)]
    kind: LikelihoodConfig,
}

/// The number of points of Gauss-Hermite quadrature.
const NODES: usize = 20;

impl Likelihood {
    /// The expectation of $\log p(t | f)$ over $f$ with the given means and variances.
    ///
    /// # Shapes
    /// - t, mean, variance: `[N, 1]`
    /// - output: `[N, 1]`
    ///
    /// # Errors
    /// If the targets are not numbers of the kind of the likelihood.
    pub(super) fn expected_log(
        &self,
        t: Tensor<2>,
        mean: Tensor<2>,
        variance: Tensor<2>,
    ) -> Result<Tensor<2>, LayerError> {
        Ok(match self.kind {
            LikelihoodConfig::Gaussian(_) => {
                let noise = self.noise_of(&mean);
                let squares = (t - mean).square() + variance;
                let constant = noise.clone().log() + (2.0 * std::f64::consts::PI).ln();
                (squares / noise + constant) * -0.5
            }
            LikelihoodConfig::Bernoulli => {
                check_targets(&t, "0 or 1", |target| target == 0.0 || target == 1.0)?;
                let sign = t * 2.0 - 1.0;
                expectation(mean, variance, |f| log_sigmoid(f * sign))
            }
            LikelihoodConfig::Poisson => {
                let is_count = |target: f64| target >= 0.0 && target.fract() == 0.0;
                check_targets(&t, "counts", is_count)?;
                let factorials = LazyTensor::try_vi(t.clone() + 1.0)?.lgamma();
                let rates = (mean.clone() + variance * 0.5).exp();
                t * mean - rates - factorials.try_evaluate::<2>()?
            }
        })
    }

    /// The expected target, where the function has the given means and variances. For
    /// [`LikelihoodConfig::Bernoulli`] it is the probability of 1. Differentiable.
    ///
    /// # Shapes
    /// - mean, variance: `[N, 1]`
    /// - output: `[N, 1]`
    #[must_use]
    pub fn expected_target(&self, mean: Tensor<2>, variance: Tensor<2>) -> Tensor<2> {
        match self.kind {
            LikelihoodConfig::Gaussian(_) => mean,
            LikelihoodConfig::Bernoulli => expectation(mean, variance, sigmoid),
            LikelihoodConfig::Poisson => (mean + variance * 0.5).exp(),
        }
    }

    /// The variance of the noise, in the type of `like`.
    fn noise_of(&self, like: &Tensor<2>) -> Tensor<2> {
        let noise = self.noise.as_ref().expect("normal observations have noise");
        noise.value().cast(like.dtype())
    }
}

/// Returns an error if `fits` does not hold for a target.
fn check_targets(
    t: &Tensor<2>,
    expected: &'static str,
    fits: impl Fn(f64) -> bool,
) -> Result<(), LayerError> {
    let targets = t.clone().into_data();
    match targets.iter::<f64>().find(|target| !fits(*target)) {
        None => Ok(()),
        Some(value) => Err(SettingError::new("a target", value, expected).into()),
    }
}

/// The expectation of a function of normally distributed numbers, by Gauss-Hermite quadrature (Golub and Welsch,
/// "Calculation of Gauss quadrature rules", 1969).
fn expectation(
    mean: Tensor<2>,
    variance: Tensor<2>,
    f: impl FnOnce(Tensor<2>) -> Tensor<2>,
) -> Tensor<2> {
    let jacobi = DMatrix::from_fn(NODES, NODES, |i, j| match i.abs_diff(j) {
        1 => (i.max(j) as f64).sqrt(),
        _ => 0.0,
    });
    let eigen = SymmetricEigen::new(jacobi);
    let weights: Vec<f64> = eigen.eigenvectors.row(0).iter().map(|x| x * x).collect();
    let options = (&mean.device(), mean.dtype());
    let row =
        |values: Vec<f64>| Tensor::<2>::from_data(TensorData::new(values, [1, NODES]), options);
    let nodes = row(eigen.eigenvalues.as_slice().to_vec());
    let values = f(mean + variance.sqrt() * nodes);
    (values * row(weights)).sum_dim(1)
}
