//! The terms of a loss that depend on the logits of all classes.

use burn::prelude::*;
use burn_lazy::{Axis, LazyError, LazyTensor};

use super::Rows;

/// The linear layer that computes logits from representations.
#[derive(Clone)]
pub(in crate::loss) struct Classes {
    /// `[V, D]`
    pub weight: Tensor<2>,
    /// `[V, 1]`
    pub bias: Option<Tensor<2>>,
    pub softcap: Option<f64>,
}

/// The terms of the loss of each row, each `[T, 1]`.
pub(super) struct Terms {
    /// The logarithm of the sum of the exponentials of all logits.
    pub total: Tensor<2>,
    /// The logit of the target.
    pub own: Tensor<2>,
    /// The mean logit, if the loss depends on it.
    pub mean: Option<Tensor<2>>,
}

impl Classes {
    /// The terms of rows, computed without storing logits.
    pub(super) fn symbolic_terms(&self, rows: &Rows) -> Result<Terms, LazyError> {
        let logits = self.logits(rows.h.clone())?;
        let counting = match rows.left_out {
            Some(first) => {
                let is_left_out = LazyTensor::offset().equal(-(first as f64));
                logits.try_mask_where(is_left_out, f64::NEG_INFINITY)?
            }
            None => logits,
        };
        Ok(Terms {
            total: counting.try_logsumexp(Axis::J)?,
            own: self.own(rows.h.clone(), rows.targets.clone()),
            mean: match rows.wants_mean() {
                true => Some(self.mean(rows.h.clone())?),
                false => None,
            },
        })
    }

    /// The terms of rows, computed from stored logits.
    pub(super) fn stored_terms(&self, rows: &Rows) -> Terms {
        let logits = rows.h.clone().matmul(self.weight.clone().transpose());
        let logits = match &self.bias {
            Some(bias) => logits + bias.clone().transpose(),
            None => logits,
        };
        let logits = self.capped(logits);
        let counting = match rows.left_out {
            Some(first) => {
                let [count, vocab] = logits.dims();
                let device = logits.device().inner();
                let index = |from: usize, to: usize| {
                    Tensor::<1, Int>::arange(from as i64..to as i64, &device)
                };
                let own: Tensor<2, Int> = index(first, first + count).unsqueeze_dim(1);
                let all: Tensor<2, Int> = index(0, vocab).unsqueeze_dim(0);
                let is_left_out = own.repeat_dim(1, vocab).equal(all.repeat_dim(0, count));
                logits.clone().mask_fill(is_left_out, f64::NEG_INFINITY)
            }
            None => logits.clone(),
        };
        // If there is more than one class, a class remains that is not left out, so the largest logit is finite.
        let largest = counting.clone().detach().max_dim(1);
        let sum = (counting - largest.clone()).exp().sum_dim(1);
        Terms {
            total: sum.log() + largest,
            own: logits
                .clone()
                .gather(1, rows.targets.clone().unsqueeze_dim(1)),
            mean: rows.wants_mean().then(|| logits.mean_dim(1)),
        }
    }

    /// The logits of `h`, a symbolic T x V matrix.
    fn logits(&self, h: Tensor<2>) -> Result<LazyTensor, LazyError> {
        let weight = LazyTensor::try_vj(self.weight.clone())?;
        let logits = LazyTensor::try_vi(h)?.try_dot(weight)?;
        let logits = match &self.bias {
            Some(bias) => logits.try_add(LazyTensor::try_vj(bias.clone())?)?,
            None => logits,
        };
        Ok(match self.softcap {
            Some(cap) => (logits * (1.0 / cap)).tanh() * cap,
            None => logits,
        })
    }

    /// The logit of the target of each row, `[T, 1]`.
    fn own(&self, h: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<2> {
        let own = self.weight.clone().select(0, targets.clone());
        let logits = (h * own).sum_dim(1);
        self.capped(match &self.bias {
            Some(bias) => logits + bias.clone().select(0, targets),
            None => logits,
        })
    }

    /// The mean logit of each row, `[T, 1]`.
    fn mean(&self, h: Tensor<2>) -> Result<Tensor<2>, LazyError> {
        if self.softcap.is_some() {
            return self.logits(h)?.try_mean(Axis::J);
        }
        // The mean of the products is the product with the mean weight.
        let mean = self.weight.clone().mean_dim(0);
        let logits = (h * mean).sum_dim(1);
        Ok(match &self.bias {
            Some(bias) => logits + bias.clone().mean_dim(0),
            None => logits,
        })
    }

    fn capped(&self, logits: Tensor<2>) -> Tensor<2> {
        match self.softcap {
            Some(cap) => (logits * (1.0 / cap)).tanh() * cap,
            None => logits,
        }
    }
}
