//! A kernel whose spectrum is a mixture of Gaussians.

use std::f64::consts::PI;

use burn::{prelude::*, tensor::TensorCreationOptions};
use burn_lazy::{LazyError, LazyTensor};

use super::{Kernel, check_points, init, stationary::parameter};
use crate::{
    error::{LayerError, check_setting},
    positive::{Positive, PositiveConfig},
};

/// Configuration to create a [`SpectralMixture`] kernel with [`init`](SpectralMixtureConfig::init).
#[derive(Config, Debug)]
pub struct SpectralMixtureConfig {
    /// The number of components of the mixture, Q. Up to 8 take little time to compile.
    pub components: usize,
    /// The number of coordinates, D.
    pub dim: usize,
    /// The number of kernels in a batch, if there is one.
    pub batch: Option<usize>,
    /// The initial frequencies are spread evenly between 0 and this one. The highest frequency that data can
    /// resolve is half the inverse of the smallest distance between neighbouring points.
    #[config(default = 1.0)]
    pub max_frequency: f64,
    /// The initial variance of all frequencies.
    #[config(default = 0.1)]
    pub variance: f64,
    /// The initial sum of all weights, which is the variance $k(x, x)$.
    #[config(default = 1.0)]
    pub weight: f64,
}

impl SpectralMixtureConfig {
    init!(SpectralMixture);

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// If a number is not positive and finite, or there are no components or coordinates, or the batch has no
    /// kernels.
    pub fn try_init(
        &self,
        options: impl Into<TensorCreationOptions>,
    ) -> Result<SpectralMixture, LayerError> {
        let options = options.into();
        let (components, dim) = (self.components, self.dim);
        for (setting, count) in [("components", components), ("dim", dim)] {
            check_setting(setting, count as f64, "at least 1", count >= 1)?;
        }
        let step = self.max_frequency / components as f64;
        let frequencies = (0..components * dim).map(|k| step * ((k / dim) as f64 + 0.5));
        let frequencies = PositiveConfig::new(frequencies.collect()).with_batch(self.batch);
        let spread = Some(components * dim);
        let weight = self.weight / components as f64;
        Ok(SpectralMixture {
            weights: parameter(weight, Some(components), self.batch, options.clone())?,
            frequencies: frequencies.try_init(options.clone())?,
            variances: parameter(self.variance, spread, self.batch, options)?,
            dim,
        })
    }
}

/// The spectral mixture kernel (Wilson and Adams, "Gaussian process kernels for pattern discovery and extrapolation",
/// 2013),
///
/// $$\sum_{q = 1}^Q w_q \prod_{k = 1}^D e^{-2 \pi^2 (x - y)_k^2 v_{qk}} \cos(2 \pi (x - y)_k \mu_{qk}).$$
///
/// Any stationary kernel is the limit of such kernels. It finds periods in data and continues them.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy::LazyTensor;
/// use burn_lazy_nn::kernel::{Kernel, SpectralMixtureConfig};
///
/// let device = Device::default();
/// let kernel = SpectralMixtureConfig::new(4, 1).with_max_frequency(2.0).init(&device);
/// let x = Tensor::<2>::from_data([[0.0], [0.3]], &device);
/// let k_xx = kernel.forward(&LazyTensor::vi(x.clone()), &LazyTensor::vj(x.clone()));
/// assert_eq!(k_xx.shape(), [2, 2, 1]);
/// let expected = TensorData::from([[1.0f32], [1.0]]);
/// kernel.diag(x).into_data().assert_approx_eq::<f32>(&expected, Default::default());
/// # }
/// ```
#[derive(Module, Debug)]
pub struct SpectralMixture {
    /// $w$, one for each component.
    pub weights: Positive,
    /// $\mu$: the frequencies of all coordinates of the first component, then those of the next component, and so
    /// on.
    pub frequencies: Positive,
    /// $v$, in the same order.
    pub variances: Positive,
    dim: usize,
}

impl Kernel for SpectralMixture {
    const STATIONARY: bool = true;

    fn try_forward(&self, x: &LazyTensor, y: &LazyTensor) -> Result<LazyTensor, LazyError> {
        check_points(x, y)?;
        let difference = x.try_sub(y)?;
        let [weights, frequencies, variances] =
            [&self.weights, &self.frequencies, &self.variances].map(|part| part.of(x));
        let (weights, frequencies, variances) = (weights?, frequencies?, variances?);
        let mut sum: Option<LazyTensor> = None;
        for component in 0..weights.dim() {
            let own = component * self.dim..(component + 1) * self.dim;
            // The dot product is an error if the dimensions differ. A product would broadcast points of one
            // coordinate.
            let decay = difference
                .square()
                .try_dot(variances.try_slice(own.clone())?)?
                .try_mul(-2.0 * PI * PI)?
                .exp();
            let phase = difference
                .try_mul(frequencies.try_slice(own)?)?
                .try_mul(2.0 * PI)?
                .cos();
            let mut term = decay.try_mul(weights.try_elem(component)?)?;
            for coordinate in 0..self.dim {
                term = term.try_mul(phase.try_elem(coordinate)?)?;
            }
            sum = Some(match sum {
                None => term,
                Some(sum) => sum.try_add(term)?,
            });
        }
        Ok(sum.expect("there is a component"))
    }

    fn try_diagonal(&self, x: &LazyTensor) -> Result<LazyTensor, LazyError> {
        let first = self.variances.of(x)?.try_slice(0..self.dim)?;
        let _ = x.try_dot(first)?;
        Ok(self.weights.of(x)?.inner_sum())
    }
}
