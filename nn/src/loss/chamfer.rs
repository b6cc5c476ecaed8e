//! The mean distance from points to the nearest points of another cloud.

use burn::prelude::*;
use burn_lazy::LazyTensor;

use super::{
    cloud::{Cloud, Pair, Side, forward_clouds},
    error::LossError,
    nearest::{Direction, nearest, nearest_with_index},
};
use crate::error::expect;

/// Configuration to create a [`ChamferLoss`] with [`init`](ChamferLossConfig::init).
#[derive(Config, Debug)]
pub struct ChamferLossConfig {
    /// Whether distances are squared.
    #[config(default = true)]
    pub squared: bool,
    /// The points for which the nearest point of the other cloud is found.
    #[config(default = "Direction::Both")]
    pub direction: Direction,
}

impl ChamferLossConfig {
    /// Creates the loss.
    pub fn init(&self) -> ChamferLoss {
        ChamferLoss {
            squared: self.squared,
            direction: self.direction,
        }
    }
}

/// The Chamfer distance of two clouds of points (Fan, Su and Guibas, "A point set generation network for 3D object
/// reconstruction from a single image", 2017):
/// $$\sum_i a_i \min_j |x_i - y_j|^2 + \sum_j b_j \min_i |x_i - y_j|^2,$$
/// with weights $a$ and $b$ that sum to 1; by default all weights of a cloud are equal. Given weights are divided
/// by their sum.
///
/// Created by [`ChamferLossConfig`]. It has no parameters. Its memory is proportional to the number of points. The
/// gradient goes to the first of several equally near points, and is 0 where points coincide. A point that is NaN
/// makes the loss NaN, unless it is padding.
///
/// ```
/// use burn::prelude::*;
/// use burn_lazy_nn::loss::{ChamferLossConfig, Direction};
///
/// let device = Device::default();
/// let x = Tensor::<2>::from_data([[0.0, 0.0], [1.0, 0.0]], &device);
/// let y = Tensor::<2>::from_data([[0.0, 3.0], [1.0, 0.0]], &device);
/// let loss = ChamferLossConfig::new().with_squared(false).init();
/// // Both sides have the mean distances (1 + 0) / 2 and (3 + 0) / 2.
/// let value: f32 = loss.forward(x.clone(), y.clone()).into_scalar();
/// assert_eq!(value, 2.0);
/// let loss = ChamferLossConfig::new().with_direction(Direction::Backward).init();
/// let value: f32 = loss.forward(x, y).into_scalar();
/// assert_eq!(value, 4.5);
/// ```
#[derive(Module, Debug)]
pub struct ChamferLoss {
    squared: bool,
    #[module(skip)]
    direction: Direction,
}

forward_clouds!(ChamferLoss);

/// The output of a [`ChamferLoss`] for clouds with normals.
#[derive(Clone, Debug)]
pub struct ChamferOutput {
    /// The mean distance, `[1]`, or `[B]` for a batch.
    pub distance: Tensor<1>,
    /// The mean deviation of normals, in the shape of the distance.
    pub normals: Tensor<1>,
}

impl ChamferLoss {
    /// The loss of each batch, `[.., 1, 1]`.
    fn losses<const R: usize>(&self, pair: Pair<R>) -> Result<Tensor<R>, LossError> {
        let pair = pair.normalized();
        let of = |k| Ok(nearest(pair.from(k), self.squared)?);
        self.mean(&pair, of)
    }

    /// The loss of clouds with normals, and the mean deviation of the normals of nearest points:
    /// $\sum_i a_i (1 - |\cos(n_i, m_{j(i)})|)$ plus the same sum over the points of `y`, with normals $n$ of `x`
    /// and $m$ of `y` and the index $j(i)$ of the point nearest to $x_i$. The cosine of a normal that is 0 is 0.
    ///
    /// # Shapes
    /// - points and normals of x: `[N, D]`, or `[B, N, D]` for a batch
    /// - points and normals of y: `[M, D]`, or `[B, M, D]` for a batch
    ///
    /// # Panics
    /// If a cloud has no normals; see also [`forward_clouds`](Self::forward_clouds).
    #[track_caller]
    pub fn forward_normals<const R: usize>(&self, x: &Cloud<R>, y: &Cloud<R>) -> ChamferOutput {
        expect(self.try_forward_normals(x, y))
    }

    /// Like [`forward_normals`](Self::forward_normals), with an error instead of a panic.
    ///
    /// # Errors
    /// Where [`forward_normals`](Self::forward_normals) panics.
    pub fn try_forward_normals<const R: usize>(
        &self,
        x: &Cloud<R>,
        y: &Cloud<R>,
    ) -> Result<ChamferOutput, LossError> {
        let pair = Pair::new(x, y)?.normalized();
        let normals = [unit_normals("x", &pair.x)?, unit_normals("y", &pair.y)?];
        let both = |k: usize| {
            let (distances, indices) = nearest_with_index(pair.from(k), self.squared)?;
            let [own, other] = [&normals[k], &normals[1 - k]];
            let dim = own.dims()[R - 1];
            let matched = other.clone().gather(R - 2, indices.repeat_dim(R - 1, dim));
            let cosines = (own.clone() * matched).sum_dim(R - 1);
            let deviations = cosines.abs().neg() + 1.0;
            Ok(Tensor::cat(vec![distances, deviations], R - 1))
        };
        let means = self.mean(&pair, both)?;
        let part = |k: usize| pair.values(means.clone().narrow(R - 1, k, 1));
        Ok(ChamferOutput {
            distance: part(0),
            normals: part(1),
        })
    }

    /// The weighted means of values of the points, summed over the clouds that `direction` names. `of(k)` gives the
    /// values of cloud `k`.
    fn mean<const R: usize>(
        &self,
        pair: &Pair<R>,
        of: impl Fn(usize) -> Result<Tensor<R>, LossError>,
    ) -> Result<Tensor<R>, LossError> {
        let places = self.direction.places().iter();
        let means = places.map(|k| Ok(pair.from(*k)[0].weighted(of(*k)?)));
        let means = means.collect::<Result<Vec<_>, LossError>>()?;
        Ok(Tensor::cat(means, R - 2).sum_dim(R - 2))
    }
}

/// The normals of a cloud, scaled to the length 1. Normals of 0 stay 0.
fn unit_normals<const R: usize>(
    operand: &'static str,
    side: &Side<R>,
) -> Result<Tensor<R>, LossError> {
    match &side.normals {
        Some(normals) => Ok(LazyTensor::try_vi(normals.clone())?
            .normalize()
            .try_evaluate()?),
        None => Err(LossError::NoNormals { operand }),
    }
}
