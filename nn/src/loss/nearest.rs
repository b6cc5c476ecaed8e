//! The distance of each point of a cloud to the nearest point of another cloud.

use burn::prelude::*;
use burn_lazy::{Axis, LazyError, LazyTensor};

use super::cloud::Side;

/// The points for which the nearest point of the other cloud is found.
#[derive(Config, Debug, Copy, PartialEq)]
pub enum Direction {
    /// The points of both clouds.
    Both,
    /// The points of the first cloud, `x`.
    Forward,
    /// The points of the second cloud, `y`.
    Backward,
}

impl Direction {
    /// The indices of the clouds for whose points the nearest ones are found: 0 for `x` and 1 for `y`.
    pub(crate) fn places(self) -> &'static [usize] {
        match self {
            Self::Both => &[0, 1],
            Self::Forward => &[0],
            Self::Backward => &[1],
        }
    }
}

/// The distances of rows to columns, or of each row to the same row of another operand.
fn distances(x: &LazyTensor, y: &LazyTensor, squared: bool) -> Result<LazyTensor, LazyError> {
    match squared {
        true => x.try_sqdist(y),
        false => Ok(x.try_sub(y)?.norm()),
    }
}

/// The smallest distance of each row, `[.., N, 1]`.
pub(crate) fn nearest<const R: usize>(
    sides: [&Side<R>; 2],
    squared: bool,
) -> Result<Tensor<R>, LazyError> {
    let (distances, _) = nearest_with_index(sides, squared)?;
    Ok(distances)
}

/// The smallest distance of each row, with the index of the nearest point.
pub(crate) fn nearest_with_index<const R: usize>(
    [from, to]: [&Side<R>; 2],
    squared: bool,
) -> Result<(Tensor<R>, Tensor<R, Int>), LazyError> {
    let indices = indices([&from.inner(), &to.inner()], squared)?;
    // The gradient is that of the nearest pairs. Differentiating a minimum would take more passes over all pairs.
    let dim = to.points.dims()[R - 1];
    let matched = indices.clone().repeat_dim(R - 1, dim);
    let matched = to.points.clone().gather(R - 2, matched);
    let (x_i, y_i) = (
        LazyTensor::try_vi(from.points.clone())?,
        LazyTensor::try_vi(matched)?,
    );
    let distances = distances(&x_i, &y_i, squared)?.try_evaluate()?;
    Ok((distances, indices))
}

/// The index of the point of `to` that is nearest to each point of `from`. Padding of `to` is infinitely far away.
fn indices<const R: usize>(
    [from, to]: [&Side<R>; 2],
    squared: bool,
) -> Result<Tensor<R, Int>, LazyError> {
    let (x_i, y_j) = (
        LazyTensor::try_vi(from.points.clone())?,
        LazyTensor::try_vj(to.points.clone())?,
    );
    let distances = distances(&x_i, &y_j, squared)?;
    let distances = match &to.padding {
        Some(padding) => {
            let padding = LazyTensor::try_vj(padding.clone())?;
            distances.try_mask_where(padding, f64::INFINITY)?
        }
        None => distances,
    };
    distances.try_argmin(Axis::J)
}
