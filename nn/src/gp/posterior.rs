//! Gaussian processes that are conditioned on data.

use burn::{prelude::*, tensor::TensorData};
use burn_lazy::LazyTensor;
use nalgebra::DMatrix;

use super::exact::ExactGp;
use crate::{
    data::check_finite,
    dense::{self, Cholesky},
    error::{LayerError, expect},
    kernel::{Kernel, matrix},
    system::System,
};

/// A Gaussian process that is conditioned on data; [`ExactGp::condition`] makes it.
///
/// It holds the data and the solution of one linear system. It has no gradients by the parameters of the process.
/// To save it, save the record of the process and condition the process again.
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
/// let posterior = process.condition(x.clone(), t);
/// let (mean, variance) = (posterior.mean(x.clone()), posterior.variance(x.clone()));
/// let expected = TensorData::from([[-1.0f32], [2.0]]);
/// mean.into_data().assert_approx_eq::<f32>(&expected, burn::tensor::Tolerance::absolute(1e-2));
/// assert!(variance.max().into_scalar::<f32>() < 1e-3);
/// assert_eq!(posterior.sample(x, 5, 0).dims(), [5, 2, 1]);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Posterior<K: Kernel> {
    pub(super) process: ExactGp<K>,
    pub(super) x: Tensor<2>,
    pub(super) t: Tensor<2>,
    pub(super) residuals: Tensor<2>,
    weights: Tensor<2>,
    pub(super) noise: f64,
    pub(super) system: System,
}

/// The predictions of a process at each of its own points, where that point is left out.
#[derive(Clone, Debug)]
pub struct LeaveOneOut {
    /// The means, `[N, T]`.
    pub mean: Tensor<2>,
    /// The variances of the targets, including noise, `[N, 1]`.
    pub variance: Tensor<2>,
}

impl<K: Kernel> Posterior<K> {
    /// The largest number of points for which samples are drawn: those of the data and the new ones together.
    const MOST_SAMPLED: usize = 4096;

    /// The posterior of a process without gradients, for data that have been checked.
    pub(super) fn new(process: ExactGp<K>, x: Tensor<2>, t: Tensor<2>) -> Result<Self, LayerError> {
        let [points, _] = x.dims();
        let k = process.covariance(&x)?;
        let noise = process.noise_variance();
        let system = System::new(&k, points, noise, process.inference, process.iterations)?;
        let residuals = t.clone() - process.mean.try_forward(x.clone())?;
        let weights = system.solve(residuals.clone())?;
        Ok(Self {
            process,
            x,
            t,
            residuals,
            weights,
            noise,
            system,
        })
    }

    /// The covariance of the function values at `at` with those at the data.
    pub(super) fn covariance(&self, at: &Tensor<2>) -> Result<LazyTensor, LayerError> {
        Ok(matrix(&self.process.kernel, at, &self.x)?)
    }

    /// The mean $m(z) + k(z, x) A^{-1} (t - m(x))$ at the points `at`, differentiable by `at`.
    ///
    /// # Shapes
    /// - at: `[M, D]`
    /// - output: `[M, T]`
    ///
    /// # Panics
    /// If [`try_mean`](Self::try_mean) returns an error.
    #[track_caller]
    pub fn mean(&self, at: Tensor<2>) -> Tensor<2> {
        expect(self.try_mean(at))
    }

    /// Like [`mean`](Self::mean), with an error instead of a panic.
    ///
    /// # Errors
    /// If the points have another number of coordinates than the data, or another type.
    pub fn try_mean(&self, at: Tensor<2>) -> Result<Tensor<2>, LayerError> {
        let product = self.covariance(&at)?.try_matmul(self.weights.clone())?;
        Ok(product + self.process.mean.try_forward(at)?)
    }

    /// The variance $k(z, z) - k(z, x) A^{-1} k(x, z)$ of the function at the points `at`, which is the same for
    /// each column of the targets. Add the noise to get the variance of observations. Without gradients.
    ///
    /// # Shapes
    /// - at: `[M, D]`
    /// - output: `[M, 1]`
    ///
    /// # Panics
    /// If [`try_variance`](Self::try_variance) returns an error.
    #[track_caller]
    pub fn variance(&self, at: Tensor<2>) -> Tensor<2> {
        expect(self.try_variance(at))
    }

    /// Like [`variance`](Self::variance), with an error instead of a panic.
    ///
    /// # Errors
    /// If the points have another number of coordinates than the data, or another type, or if a linear system
    /// cannot be solved.
    pub fn try_variance(&self, at: Tensor<2>) -> Result<Tensor<2>, LayerError> {
        let at = at.inner();
        let explained = self.system.explained(&self.covariance(&at)?.t())?;
        let options = (&at.device(), at.dtype());
        let before = self.process.kernel.try_diag(at)?.into_data();
        // Rounding may make a small variance negative.
        let values = before.iter::<f64>().zip(explained);
        let values: Vec<f64> = values
            .map(|(before, known)| (before - known).max(0.0))
            .collect();
        let shape = [values.len(), 1];
        Ok(Tensor::from_data(TensorData::new(values, shape), options))
    }

    /// Random functions of the process at the points `at`, by Matheron's rule:
    /// $f(z) + k(z, x) A^{-1} (t - f(x) - e)$ with a random function $f$ of the prior process and random noise $e$
    /// (Wilson et al., "Efficiently sampling functions from Gaussian process posteriors", 2020). Without gradients.
    ///
    /// The covariance of all N + M points is stored. [`path`](Self::path) needs no such matrix, but is approximate.
    ///
    /// # Shapes
    /// - at: `[M, D]`
    /// - output: `[count, M, T]`
    ///
    /// # Panics
    /// If [`try_sample`](Self::try_sample) returns an error.
    #[track_caller]
    pub fn sample(&self, at: Tensor<2>, count: usize, seed: u64) -> Tensor<3> {
        expect(self.try_sample(at, count, seed))
    }

    /// Like [`sample`](Self::sample), with an error instead of a panic.
    ///
    /// # Errors
    /// If the data and the new points are more than 4096 points together, if the new points have another number of
    /// coordinates than the data, another type or values that are not finite, or if a linear system cannot be
    /// solved.
    pub fn try_sample(
        &self,
        at: Tensor<2>,
        count: usize,
        seed: u64,
    ) -> Result<Tensor<3>, LayerError> {
        let at = at.inner();
        check_finite("the points", &at)?;
        // Refuses points with another number of coordinates before Burn concatenates them with the data.
        let covariance = self.covariance(&at)?;
        let ([known, outputs], [new, _]) = (self.t.dims(), at.dims());
        let size = known + new;
        if size > Self::MOST_SAMPLED {
            return Err(LayerError::TooLarge {
                what: "the covariance",
                size,
                limit: Self::MOST_SAMPLED,
            });
        }
        let all = Tensor::cat(vec![self.x.clone(), at.clone()], 0);
        let root = self.root(&all)?;
        let columns = count * outputs;
        // One block of random numbers gives the prior functions, the other one gives the noise.
        let random = dense::normal(size + known, columns, seed);
        let functions = root * random.rows(0, size);
        let observed = functions.rows(0, known) + random.rows(size, known) * self.noise.sqrt();
        let options = (&at.device(), at.dtype());
        let observed = dense::tensor(&observed, options);
        let functions = dense::tensor(&functions.rows(known, new).into_owned(), options);
        let missing = self.residuals.clone().repeat_dim(1, count) - observed;
        let moved = covariance.try_matmul(self.system.solve(missing)?)?;
        let mean = self.process.mean.try_forward(at)?;
        let samples = functions + moved + mean;
        Ok(samples.reshape([new, count, outputs]).swap_dims(0, 1))
    }

    /// $L$ where $L L^\top$ is the prior covariance of the points, up to rounding.
    fn root(&self, points: &Tensor<2>) -> Result<DMatrix<f64>, LayerError> {
        let (matrix, rounding) = dense::entries(&self.process.covariance(points)?)?;
        let size = matrix.nrows();
        // The covariance of smooth functions is singular up to rounding.
        let jitter = rounding * size as f64;
        match Cholesky::jittered(&matrix, jitter, rounding) {
            Ok(cholesky) => Ok(cholesky.lower().clone()),
            Err(row) => Err(LayerError::NotPositiveDefinite {
                what: "the covariance before there are data",
                size,
                row,
                hint: "it is that of no process",
            }),
        }
    }

    /// The predictions at each point of the data, where that point is left out (Rasmussen and Williams, 2006,
    /// 5.4.2), with $a = A^{-1} (t - m)$:
    ///
    /// $$t_i - a_i / (A^{-1})_{ii} \quad \text{with the variance} \quad 1 / (A^{-1})_{ii}.$$
    ///
    /// Iterative inference solves N linear systems for this.
    ///
    /// # Panics
    /// If [`try_leave_one_out`](Self::try_leave_one_out) returns an error.
    #[track_caller]
    #[must_use]
    pub fn leave_one_out(&self) -> LeaveOneOut {
        expect(self.try_leave_one_out())
    }

    /// Like [`leave_one_out`](Self::leave_one_out), with an error instead of a panic.
    ///
    /// # Errors
    /// If a linear system cannot be solved.
    pub fn try_leave_one_out(&self) -> Result<LeaveOneOut, LayerError> {
        let [points, _] = self.x.dims();
        let precisions = self.system.inverse_diagonal(points)?;
        let options = (&self.t.device(), self.t.dtype());
        let precisions = Tensor::from_data(TensorData::new(precisions, [points, 1]), options);
        Ok(LeaveOneOut {
            mean: self.t.clone() - self.weights.clone() / precisions.clone(),
            variance: precisions.recip(),
        })
    }
}
