//! The energy distance.

use burn::prelude::*;
use burn_lazy::kernels;

use super::{
    cloud::{Cloud, Pair, forward_clouds},
    error::LossError,
    quadratic::{Estimator, Sums},
};

/// Configuration to create an [`EnergyDistance`] with [`init`](EnergyDistanceConfig::init).
#[derive(Config, Debug)]
pub struct EnergyDistanceConfig {
    /// How means over pairs are estimated.
    #[config(default = "Estimator::Biased")]
    pub estimator: Estimator,
}

impl EnergyDistanceConfig {
    /// Creates the loss.
    pub fn init(&self) -> EnergyDistance {
        EnergyDistance {
            estimator: self.estimator,
        }
    }
}

/// The energy distance of two clouds of points (Székely and Rizzo, "Energy statistics: a class of statistics based on
/// distances", 2013):
/// $$2 \sum_{ij} a_i b_j |x_i - y_j| - \sum_{ij} a_i a_j |x_i - x_j| - \sum_{ij} b_i b_j |y_i - y_j|$$
/// with weights $a$ and $b$ that sum to 1; by default all weights of a cloud are equal. Given weights are divided
/// by their sum. The [unbiased](Estimator::Unbiased) estimator divides the last two sums by $1 - \sum_i a_i^2$ and
/// $1 - \sum_j b_j^2$.
///
/// Created by [`EnergyDistanceConfig`]. It has no parameters. Its memory is proportional to the number of points.
/// The gradient of a distance is 0 where points coincide.
///
/// ```
/// use burn::prelude::*;
/// use burn_lazy_nn::loss::EnergyDistanceConfig;
///
/// let device = Device::default();
/// let x = Tensor::<2>::from_data([[0.0], [1.0]], &device);
/// let y = Tensor::<2>::from_data([[0.0], [3.0]], &device);
/// // 2 (0 + 3 + 1 + 2) / 4 - 1 / 2 - 3 / 2
/// let value: f32 = EnergyDistanceConfig::new().init().forward(x, y).into_scalar();
/// assert!((value - 1.0).abs() < 1e-6);
/// ```
#[derive(Module, Debug)]
pub struct EnergyDistance {
    #[module(skip)]
    estimator: Estimator,
}

forward_clouds!(EnergyDistance);

impl EnergyDistance {
    /// The loss of each batch, `[.., 1, 1]`.
    fn losses<const R: usize>(&self, pair: Pair<R>) -> Result<Tensor<R>, LossError> {
        let pair = pair.normalized().centred();
        let sums = Sums::new(&pair, kernels::try_energy_distance)?;
        let sums = sums.by(self.estimator, &pair, 0.0)?;
        Ok(sums.squared_distance())
    }
}
