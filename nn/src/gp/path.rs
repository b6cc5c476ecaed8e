//! Random functions of a process that is conditioned on data.

use burn::{prelude::*, tensor::TensorData};
use burn_lazy::LazyTensor;

use super::posterior::Posterior;
use crate::{
    dense,
    error::{LayerError, check_setting, expect},
    kernel::{Kernel, Spectral},
};

impl<K: Spectral> Posterior<K> {
    /// A random function of the process, which can be evaluated at any number of points, one after the other or all
    /// at once. It follows Matheron's rule as [`sample`](Self::sample) does, but approximates the prior function by
    /// a sum of waves with random frequencies (Wilson et al., 2020). The error of this approximation is inversely
    /// proportional to the square root of the number of waves. 1000 waves are usual.
    ///
    /// # Panics
    /// If [`try_path`](Self::try_path) returns an error.
    #[track_caller]
    pub fn path(&self, waves: usize, seed: u64) -> Path<K> {
        expect(self.try_path(waves, seed))
    }

    /// Like [`path`](Self::path), with an error instead of a panic.
    ///
    /// # Errors
    /// If there are no waves, or if the linear system cannot be solved.
    pub fn try_path(&self, waves: usize, seed: u64) -> Result<Path<K>, LayerError> {
        check_setting("waves", waves as f64, "at least 1", waves >= 1)?;
        let ([points, dim], [_, outputs]) = (self.x.dims(), self.t.dims());
        let spectrum = self.process.kernel.spectrum(dim, waves, seed)?;
        let options = (&self.t.device(), self.t.dtype());
        let frequencies = TensorData::new(spectrum.frequencies().to_vec(), [waves, dim]);
        let size = (spectrum.variance() / waves as f64).sqrt();
        let random = dense::normal(2 * waves + points, outputs, !seed);
        let part = |first: usize, rows: usize, scale: f64| {
            let numbers = random.rows(first, rows) * scale;
            dense::tensor(&numbers, options)
        };
        let prior = Waves {
            frequencies: Tensor::from_data(frequencies, options),
            cosines: part(0, waves, size),
            sines: part(waves, waves, size),
        };
        let noise = part(2 * waves, points, self.noise.sqrt());
        let missing = self.residuals.clone() - prior.at(&self.x)? - noise;
        Ok(Path {
            weights: self.system.solve(missing)?,
            posterior: self.clone(),
            prior,
        })
    }
}

/// A random function of a process that is conditioned on data; [`Posterior::path`] makes it.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy_nn::{gp::ExactGpConfig, kernel::RbfConfig};
///
/// let device = Device::default();
/// let process = ExactGpConfig::new().with_noise(1e-4).init(RbfConfig::new().init(&device), &device);
/// let x = Tensor::<2>::from_data([[0.0], [1.0]], &device);
/// let t = Tensor::<2>::from_data([[-1.0], [2.0]], &device);
/// let path = process.condition(x.clone(), t.clone()).path(1000, 0);
/// // It passes through the data, up to noise.
/// let error = (path.forward(x) - t).abs().max().into_scalar::<f32>();
/// assert!(error < 0.1);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Path<K: Kernel> {
    posterior: Posterior<K>,
    prior: Waves,
    weights: Tensor<2>,
}

impl<K: Kernel> Path<K> {
    /// The values of the function at points, differentiable by the points.
    ///
    /// # Shapes
    /// - at: `[M, D]`
    /// - output: `[M, T]`
    ///
    /// # Panics
    /// If [`try_forward`](Self::try_forward) returns an error.
    #[track_caller]
    pub fn forward(&self, at: Tensor<2>) -> Tensor<2> {
        expect(self.try_forward(at))
    }

    /// Like [`forward`](Self::forward), with an error instead of a panic.
    ///
    /// # Errors
    /// If the points have another number of coordinates than the data, or another type.
    pub fn try_forward(&self, at: Tensor<2>) -> Result<Tensor<2>, LayerError> {
        let moved = self
            .posterior
            .covariance(&at)?
            .try_matmul(self.weights.clone())?;
        let before = self.prior.at(&at)?;
        Ok(moved + before + self.posterior.process.mean.try_forward(at)?)
    }
}

/// Functions that are sums of waves: $\sum_k a_k \cos \langle w_k, z \rangle + b_k \sin \langle w_k, z \rangle$.
#[derive(Clone, Debug)]
struct Waves {
    /// $w$, one row for each wave.
    frequencies: Tensor<2>,
    /// $a$, one column for each function.
    cosines: Tensor<2>,
    /// $b$, one column for each function.
    sines: Tensor<2>,
}

impl Waves {
    /// The values of the functions at points, one column for each function.
    fn at(&self, points: &Tensor<2>) -> Result<Tensor<2>, LayerError> {
        let rows = LazyTensor::try_vi(points.clone())?;
        let columns = LazyTensor::try_vj(self.frequencies.clone())?;
        let phase = rows.try_dot(columns)?;
        let cosines = phase.cos().try_matmul(self.cosines.clone())?;
        Ok(cosines + phase.sin().try_matmul(self.sines.clone())?)
    }
}
