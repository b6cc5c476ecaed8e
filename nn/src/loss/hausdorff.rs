//! The largest distance from a point to the nearest point of another cloud.

use burn::prelude::*;
use burn_lazy::{Axis, LazyTensor};

use super::{
    cloud::{Cloud, Pair, Side, forward_clouds},
    error::LossError,
    nearest::{Direction, nearest},
};

/// Configuration to create a [`HausdorffLoss`] with [`init`](HausdorffLossConfig::init).
#[derive(Config, Debug)]
pub struct HausdorffLossConfig {
    /// The points for which the nearest point of the other cloud is found.
    #[config(default = "Direction::Both")]
    pub direction: Direction,
}

impl HausdorffLossConfig {
    /// Creates the loss.
    pub fn init(&self) -> HausdorffLoss {
        HausdorffLoss {
            direction: self.direction,
        }
    }
}

/// The Hausdorff distance of two clouds of points (Hausdorff, "Grundzüge der Mengenlehre", 1914):
/// $\max(\max_i \min_j |x_i - y_j|, \max_j \min_i |x_i - y_j|)$.
///
/// Created by [`HausdorffLossConfig`]. It has no parameters, and ignores weights. Its memory is proportional to the
/// number of points. The gradient goes to one pair of points, the first one if several have the same distance. For
/// a loss with a gradient by all points see [`SamplesLossConfig::hausdorff`](super::SamplesLossConfig::hausdorff).
/// A point that is NaN makes the loss NaN, unless it is padding.
///
/// ```
/// use burn::prelude::*;
/// use burn_lazy_nn::loss::HausdorffLossConfig;
///
/// let device = Device::default();
/// let x = Tensor::<2>::from_data([[0.0], [1.0]], &device);
/// let y = Tensor::<2>::from_data([[0.5], [4.0]], &device);
/// let value: f32 = HausdorffLossConfig::new().init().forward(x, y).into_scalar();
/// assert_eq!(value, 3.0);
/// ```
#[derive(Module, Debug)]
pub struct HausdorffLoss {
    #[module(skip)]
    direction: Direction,
}

forward_clouds!(HausdorffLoss);

impl HausdorffLoss {
    /// The loss of each batch, `[.., 1, 1]`.
    fn losses<const R: usize>(&self, pair: Pair<R>) -> Result<Tensor<R>, LossError> {
        let places = self.direction.places().iter();
        let largest = places.map(|k| furthest(pair.from(*k)));
        let largest = Tensor::cat(largest.collect::<Result<Vec<_>, LossError>>()?, R - 2);
        // The gradient of this maximum goes to one entry, and NaN is kept.
        Ok(LazyTensor::try_vj(largest)?.try_max(Axis::J)?)
    }
}

/// The largest distance from a point of `from` to the nearest point of `to`, `[.., 1, 1]`.
fn furthest<const R: usize>([from, to]: [&Side<R>; 2]) -> Result<Tensor<R>, LossError> {
    let nearest = LazyTensor::try_vj(nearest([from, to], false)?)?;
    let nearest = match &from.padding {
        Some(padding) => {
            nearest.try_mask_where(LazyTensor::try_vj(padding.clone())?, f64::NEG_INFINITY)?
        }
        None => nearest,
    };
    Ok(nearest.try_max(Axis::J)?)
}
