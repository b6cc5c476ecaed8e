//! Sums of a kernel over all pairs of two clouds.

use burn::prelude::*;
use burn_lazy::{Axis, LazyError, LazyTensor};

use super::{
    cloud::{Pair, Side},
    error::LossError,
};

/// How means over the pairs of points of one cloud are estimated.
#[derive(Config, Debug, Copy, PartialEq)]
pub enum Estimator {
    /// From all pairs, including each point with itself. The loss is 0 or more, and too large by a term of order 1
    /// / N.
    Biased,
    /// From the pairs of different points, so that the expected value is correct. The loss may be negative.
    Unbiased,
}

/// The sums $\sum_{ij} w_i w_j k(x_i, x_j)$ of the first cloud, the second cloud, and between both, each
/// `[.., 1, 1]`.
pub(crate) struct Sums<const R: usize> {
    pub own: [Tensor<R>; 2],
    pub across: Tensor<R>,
}

impl<const R: usize> Sums<R> {
    /// The sums of `kernel`.
    pub fn new(
        pair: &Pair<R>,
        kernel: impl Fn(&LazyTensor, &LazyTensor) -> Result<LazyTensor, LazyError>,
    ) -> Result<Self, LazyError> {
        let sum = |rows: &Side<R>, columns: &Side<R>| {
            let x_i = LazyTensor::try_vi(rows.points.clone())?;
            let y_j = LazyTensor::try_vj(columns.points.clone())?;
            let w_j = LazyTensor::try_vj(columns.weights.clone())?;
            let sums = kernel(&x_i, &y_j)?.try_mul(w_j)?.try_sum::<R>(Axis::J)?;
            Ok::<_, LazyError>(rows.weighted(sums))
        };
        Ok(Self {
            own: [sum(&pair.x, &pair.x)?, sum(&pair.y, &pair.y)?],
            across: sum(&pair.x, &pair.y)?,
        })
    }

    /// The sums for an estimator. `at_itself` is the value of the kernel for two equal points.
    pub fn by(
        self,
        estimator: Estimator,
        pair: &Pair<R>,
        at_itself: f64,
    ) -> Result<Self, LossError> {
        match estimator {
            Estimator::Biased => Ok(self),
            Estimator::Unbiased => self.of_others(pair, at_itself),
        }
    }

    /// The sums without the pairs of a point and itself, where the kernel is `at_itself`. Each sum is divided by
    /// the total weight of the pairs that are left. The weights of each cloud have the sum 1.
    fn of_others(self, pair: &Pair<R>, at_itself: f64) -> Result<Self, LossError> {
        let sides = [&pair.x, &pair.y];
        for (operand, side) in ["x", "y"].into_iter().zip(sides) {
            let shape = side.points.dims();
            if shape[R - 2] < 2 {
                return Err(LossError::Empty {
                    operand,
                    shape: shape.to_vec(),
                    what: "second point, which the unbiased estimator needs",
                });
            }
        }
        let [x, y] = self.own;
        let without = |sum: Tensor<R>, side: &Side<R>| {
            let squares = side.weights.clone().square().sum_dim(R - 2);
            (sum - squares.clone() * at_itself) / (squares.neg() + 1.0)
        };
        Ok(Self {
            own: [without(x, sides[0]), without(y, sides[1])],
            across: self.across,
        })
    }

    /// $\langle a, k a \rangle + \langle b, k b \rangle - 2 \langle a, k b \rangle$.
    pub fn squared_distance(self) -> Tensor<R> {
        let [x, y] = self.own;
        x + y - self.across * 2.0
    }
}
