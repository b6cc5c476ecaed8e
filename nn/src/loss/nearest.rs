//! The distance of each point of a cloud to the nearest one of another.

use burn::prelude::*;
use burn_lazy::{Axis, LazyError, LazyTensor};

use super::cloud::Side;

/// Which points look for their nearest ones.
#[derive(Config, Debug, Copy, PartialEq)]
pub enum Direction {
    /// Those of both clouds.
    Both,
    /// Those of the first cloud, `x`.
    Forward,
    /// Those of the second cloud, `y`.
    Backward,
}

impl Direction {
    /// The clouds whose points look for their nearest ones, by their places.
    pub(crate) fn places(self) -> &'static [usize] {
        match self {
            Self::Both => &[0, 1],
            Self::Forward => &[0],
            Self::Backward => &[1],
        }
    }
}

/// The distances of the points `from` to those of `to`, as a symbolic matrix. Padding of `to` is infinitely far away.
fn distances<const R: usize>(
    [from, to]: [&Side<R>; 2],
    squared: bool,
) -> Result<LazyTensor, LazyError> {
    let x_i = LazyTensor::try_vi(from.points.clone())?;
    let y_j = LazyTensor::try_vj(to.points.clone())?;
    let distances = match squared {
        true => x_i.try_sqdist(y_j)?,
        false => x_i.try_sub(y_j)?.norm(),
    };
    match &to.padding {
        Some(padding) => {
            distances.try_mask_where(LazyTensor::try_vj(padding.clone())?, f64::INFINITY)
        }
        None => Ok(distances),
    }
}

/// The least of the distances of each row, `[.., N, 1]`.
pub(crate) fn nearest<const R: usize>(
    [from, to]: [&Side<R>; 2],
    squared: bool,
) -> Result<Tensor<R>, LazyError> {
    distances([from, to], squared)?.try_min(Axis::J)
}

/// The same with the indices at which it is found.
pub(crate) fn nearest_with_index<const R: usize>(
    [from, to]: [&Side<R>; 2],
    squared: bool,
) -> Result<(Tensor<R>, Tensor<R, Int>), LazyError> {
    distances([from, to], squared)?.try_min_argmin(Axis::J)
}
