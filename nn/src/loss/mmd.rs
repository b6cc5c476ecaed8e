//! The maximum mean discrepancy of Gaussian kernels.

use burn::{prelude::*, tensor::TensorData};
use burn_lazy::{LazyError, LazyTensor};

use super::{
    cloud::{Cloud, Pair, Side, forward_clouds},
    error::LossError,
    quadratic::{Estimator, Sums},
};
use crate::error::{check_setting, expect};

/// Configuration to create an [`MmdLoss`] with [`init`](MmdLossConfig::init).
#[derive(Config, Debug)]
pub struct MmdLossConfig {
    /// The standard deviations of the Gaussians. The kernel is the sum of the Gaussians.
    #[config(default = "vec![1.0]")]
    pub bandwidths: Vec<f64>,
    /// Whether bandwidths are multiples of the median distance between two different points of both clouds together
    /// (Gretton et al., "Optimal kernel choice for large-scale two-sample tests", 2012).
    #[config(default = false)]
    pub relative_to_median: bool,
    /// The largest number of points from which the median is computed, at least 2. They are evenly spread over the
    /// points of both clouds, and are read from the device.
    #[config(default = 256)]
    pub median_points: usize,
    /// How means over pairs are estimated.
    #[config(default = "Estimator::Biased")]
    pub estimator: Estimator,
}

impl MmdLossConfig {
    /// Creates the loss.
    ///
    /// # Panics
    /// If there are no bandwidths, if a bandwidth is not positive, or if `median_points` is less than 2.
    #[track_caller]
    pub fn init(&self) -> MmdLoss {
        expect(self.try_init())
    }

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// Where [`init`](Self::init) panics.
    pub fn try_init(&self) -> Result<MmdLoss, LossError> {
        for bandwidth in &self.bandwidths {
            check_setting("bandwidths", *bandwidth, "more than 0", *bandwidth > 0.0)?;
        }
        let count = self.bandwidths.len();
        check_setting("number of bandwidths", count as f64, "1 or more", count > 0)?;
        let points = self.median_points;
        check_setting("median_points", points as f64, "2 or more", points >= 2)?;
        Ok(MmdLoss {
            bandwidths: self.bandwidths.clone(),
            relative_to_median: self.relative_to_median,
            median_points: self.median_points,
            estimator: self.estimator,
        })
    }
}

/// The squared maximum mean discrepancy of two clouds of points (Gretton et al., "A kernel two-sample test", 2012):
/// $$\sum_{ij} a_i a_j k(x_i, x_j) + \sum_{ij} b_i b_j k(y_i, y_j) - 2 \sum_{ij} a_i b_j k(x_i, y_j)$$
/// with the kernel $k(x, y) = \sum_s e^{-|x - y|^2 / (2 s^2)}$ of bandwidths $s$ and weights $a$, $b$ that sum to
/// 1; by default all weights of a cloud are equal. Given weights are divided by their sum. The
/// [unbiased](Estimator::Unbiased) estimator leaves the pairs $i = j$ out of the first two sums, and divides these
/// by $1 - \sum_i a_i^2$ and $1 - \sum_j b_j^2$.
///
/// Created by [`MmdLossConfig`]. It has no parameters. Its memory is proportional to the number of points. No
/// gradient goes through the median. If the median distance is 0, the mean distance is used, and 1 if that is 0,
/// too.
///
/// ```
/// use burn::{prelude::*, tensor::Distribution};
/// use burn_lazy_nn::loss::{Estimator, MmdLossConfig};
///
/// let device = Device::default();
/// let x = Tensor::<2>::random([100, 5], Distribution::Default, &device);
/// let y = Tensor::<2>::random([80, 5], Distribution::Default, &device) + 1.0;
/// let loss = MmdLossConfig::new()
///     .with_bandwidths(vec![0.5, 1.0, 2.0])
///     .with_relative_to_median(true)
///     .with_estimator(Estimator::Unbiased)
///     .init();
/// let value: f32 = loss.forward(x, y).into_scalar();
/// assert!(value > 0.1);
/// ```
#[derive(Module, Debug)]
pub struct MmdLoss {
    bandwidths: Vec<f64>,
    relative_to_median: bool,
    median_points: usize,
    #[module(skip)]
    estimator: Estimator,
}

forward_clouds!(MmdLoss);

impl MmdLoss {
    /// The loss of each batch, `[.., 1, 1]`.
    fn losses<const R: usize>(&self, pair: Pair<R>) -> Result<Tensor<R>, LossError> {
        let pair = pair.normalized().centred();
        let pair = match self.relative_to_median {
            true => {
                let inverse = medians(&pair, self.median_points).recip();
                pair.map_points(|points| points * inverse.clone())
            }
            false => pair,
        };
        let sums = Sums::new(&pair, |x, y| self.kernel(x, y))?;
        let sums = sums.by(self.estimator, &pair, self.bandwidths.len() as f64)?;
        Ok(sums.squared_distance())
    }

    /// The sum of the Gaussians.
    fn kernel(&self, x: &LazyTensor, y: &LazyTensor) -> Result<LazyTensor, LazyError> {
        let squares = x.try_sqdist(y)?;
        let gaussians = self.bandwidths.iter().map(|bandwidth| {
            // The square of the bandwidth may be out of the range of the type, so the factor is applied in two
            // steps.
            let scaled = &squares * (-0.5 / bandwidth);
            (scaled * (1.0 / bandwidth)).exp()
        });
        let gaussians: Vec<LazyTensor> = gaussians.collect();
        Ok(LazyTensor::try_concat(&gaussians)?.inner_sum())
    }
}

/// For each batch, the median distance between the points of both clouds, `[.., 1, 1]`.
fn medians<const R: usize>(pair: &Pair<R>, most: usize) -> Tensor<R> {
    let device = pair.x.points.device().inner();
    let mut shape = pair.x.points.dims();
    (shape[R - 2], shape[R - 1]) = (1, 1);
    let batches = shape.iter().product::<usize>();
    let sides = [&pair.x, &pair.y].map(|side| points_of_batches(side, batches));
    let [x, y] = sides;
    let of_batch = |(x, y): (Vec<Vec<f64>>, Vec<Vec<f64>>)| {
        let points = [x, y].concat();
        let count = points.len().min(most);
        let spread = (0..count).map(|k| &points[k * points.len() / count]);
        median_distance(&spread.collect::<Vec<_>>())
    };
    let medians: Vec<f64> = x.into_iter().zip(y).map(of_batch).collect();
    let dtype = pair.x.points.dtype();
    Tensor::from_data(TensorData::new(medians, shape), (&device, dtype))
}

/// The points of each batch that are not padding.
fn points_of_batches<const R: usize>(side: &Side<R>, batches: usize) -> Vec<Vec<Vec<f64>>> {
    let dims = side.points.dims();
    let (count, dim) = (dims[R - 2], dims[R - 1]);
    let values: Vec<f64> = side
        .points
        .clone()
        .inner()
        .into_data()
        .iter::<f64>()
        .collect();
    let padding: Vec<bool> = match &side.padding {
        Some(padding) => padding.clone().into_data().iter::<bool>().collect(),
        None => vec![false; count * batches],
    };
    let points: Vec<&[f64]> = values.chunks(dim).collect();
    let batch = |(points, padding): (&[&[f64]], &[bool])| {
        let present = points
            .iter()
            .zip(padding)
            .filter(|(_, is_padding)| !**is_padding);
        present.map(|(point, _)| point.to_vec()).collect()
    };
    points
        .chunks(count)
        .zip(padding.chunks(count))
        .map(batch)
        .collect()
}

/// The median distance of all pairs of different points. If it is 0, the mean distance, and if that is 0, too, 1.
fn median_distance(points: &[&Vec<f64>]) -> f64 {
    let distance = |x: &[f64], y: &[f64]| {
        let squares = x.iter().zip(y).map(|(x, y)| (x - y).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let mut distances: Vec<f64> = Vec::with_capacity(points.len() * points.len() / 2);
    for (k, x) in points.iter().enumerate() {
        distances.extend(points[..k].iter().map(|y| distance(x, y)));
    }
    distances.sort_by(f64::total_cmp);
    let count = distances.len();
    let median = match count % 2 {
        0 => (distances[count / 2 - 1] + distances[count / 2]) / 2.0,
        _ => distances[count / 2],
    };
    let mean = distances.iter().sum::<f64>() / count as f64;
    match (median, mean) {
        (0.0, 0.0) => 1.0,
        (0.0, mean) => mean,
        (median, _) => median,
    }
}
