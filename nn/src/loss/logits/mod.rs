//! The cross-entropy of rows. Logits are products of rows and classes, which are never stored all at once.

mod classes;
mod parts;

use burn::prelude::*;
use burn_lazy::LazyError;

pub(super) use classes::Classes;
use classes::Terms;

/// The default for the largest number of logits that are stored at once: 16 MiB in F32. If all classes together
/// have more numbers than this, their number is the default.
const MAX_LOGITS: usize = 1 << 22;

/// The largest size of representations for which formulas compute the sums over all classes. For larger ones Burn's
/// matrix products compute the logits of some rows at a time, which is as fast at this size and faster beyond.
const MOST_SYMBOLIC: usize = 128;

/// Representations with their targets.
#[derive(Clone)]
pub(super) struct Rows {
    /// `[T, D]`
    pub h: Tensor<2>,
    /// `[T]`
    pub targets: Tensor<1, Int>,
    /// `[T, 1]`
    pub is_ignored: Option<Tensor<2, Bool>>,
    /// The number of rows that are not ignored.
    pub counted: usize,
    /// The class that the first row leaves out, if each row leaves out one class. Row $k$ leaves out this class
    /// plus $k$.
    pub left_out: Option<usize>,
    pub label_smoothing: f64,
    pub z_loss: f64,
}

impl Rows {
    /// The sum of all losses, `[1]`. For large representations at most `max_logits` logits are stored at once, but
    /// at least those of one row; with 0 none are stored. By default logits take no more memory than the gradient
    /// by the classes, to which each part adds, or the memory of `MAX_LOGITS` if that is more.
    pub fn sum_of_losses(
        &self,
        classes: &Classes,
        max_logits: Option<usize>,
    ) -> Result<Tensor<1>, LazyError> {
        let [vocab, dim] = classes.weight.dims();
        let max_logits = max_logits.unwrap_or_else(|| MAX_LOGITS.max(vocab * dim));
        match dim > MOST_SYMBOLIC && max_logits > 0 {
            true => Ok(parts::sum_of_losses(self, classes, max_logits)),
            false => Ok(self.symbolic_losses(classes)?.sum()),
        }
    }

    /// The `count` rows from `start` on.
    fn part(&self, start: usize, count: usize) -> Self {
        Self {
            h: self.h.clone().narrow(0, start, count),
            targets: self.targets.clone().narrow(0, start, count),
            is_ignored: self
                .is_ignored
                .clone()
                .map(|own| own.narrow(0, start, count)),
            left_out: self.left_out.map(|first| first + start),
            ..self.clone()
        }
    }

    /// The losses, computed without storing logits, `[T, 1]`.
    pub fn symbolic_losses(&self, classes: &Classes) -> Result<Tensor<2>, LazyError> {
        Ok(self.losses(classes.symbolic_terms(self)?))
    }

    /// The losses, computed from stored logits, `[T, 1]`.
    fn stored_losses(&self, classes: &Classes) -> Tensor<2> {
        self.losses(classes.stored_terms(self))
    }

    /// Whether the loss depends on the mean logit of each row.
    fn wants_mean(&self) -> bool {
        self.label_smoothing > 0.0
    }

    fn losses(&self, terms: Terms) -> Tensor<2> {
        let mut losses = terms.total.clone() - terms.own * (1.0 - self.label_smoothing);
        if let Some(mean) = terms.mean {
            losses = losses - mean * self.label_smoothing;
        }
        if self.z_loss > 0.0 {
            losses = losses + terms.total.square() * self.z_loss;
        }
        match &self.is_ignored {
            Some(is_ignored) => losses.mask_fill(is_ignored.clone(), 0.0),
            None => losses,
        }
    }
}
