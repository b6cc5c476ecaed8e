//! The cost of moving a point to another point.

use std::{fmt, sync::Arc};

use burn::prelude::*;
use burn_lazy::{LazyError, LazyTensor};

/// A formula of rows and columns.
type Formula = dyn Fn(&LazyTensor, &LazyTensor) -> LazyTensor + Send + Sync;

/// The cost of a pair of points.
#[derive(Clone)]
pub(crate) enum Cost {
    /// $|x - y|^p / p$.
    Power(f64),
    /// A formula given by the user, which may contain tensors of its own.
    Custom(Arc<Formula>),
}

impl Cost {
    /// The costs of pairs of two clouds, as a symbolic matrix.
    pub fn between<const R: usize>(
        &self,
        x: Tensor<R>,
        y: Tensor<R>,
    ) -> Result<LazyTensor, LazyError> {
        let (x_i, y_j) = (LazyTensor::try_vi(x)?, LazyTensor::try_vj(y)?);
        match self {
            Self::Power(2.0) => Ok(x_i.try_sqdist(y_j)? * 0.5),
            Self::Power(1.0) => Ok(x_i.try_sub(y_j)?.norm()),
            Self::Power(p) => Ok(x_i.try_sub(y_j)?.norm().try_powf(*p)? / *p),
            Self::Custom(formula) => Ok(formula(&x_i, &y_j)),
        }
    }

    /// The costs of pairs without gradients, also without gradients by tensors of the formula.
    pub fn constant<const R: usize>(
        &self,
        x: Tensor<R>,
        y: Tensor<R>,
    ) -> Result<LazyTensor, LazyError> {
        Ok(self.between(x.inner(), y.inner())?.inner())
    }

    /// The power $p$, if the cost stays the same when both points move by the same vector, and is multiplied by
    /// $s^p$ when both points are multiplied by $s$.
    pub fn power(&self) -> Option<f64> {
        match self {
            Self::Power(p) => Some(*p),
            Self::Custom(_) => None,
        }
    }
}

impl fmt::Debug for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Power(p) => write!(f, "|x - y|^{p} / {p}"),
            Self::Custom(_) => f.write_str("a formula"),
        }
    }
}
