//! The cross-entropy of rows whose logits are products of representations, which are never stored all at once.

mod classes;
mod parts;

use burn::prelude::*;
use burn_lazy::LazyError;

pub(super) use classes::Classes;
use classes::Terms;

/// The most logits that are stored at once by default, if representations of all classes have fewer numbers: 16 MiB in
/// F32.
const MAX_LOGITS: usize = 1 << 22;

/// The largest representations whose sums over all classes are computed pair by pair. Larger ones are multiplied by
/// Burn's products of matrices, some rows at a time, which was as fast at this size and is faster beyond.
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
    /// How many are not ignored.
    pub counted: usize,
    /// The class that the first row leaves out, if each leaves out one: the second row leaves out the next one.
    pub left_out: Option<usize>,
    pub label_smoothing: f64,
    pub z_loss: f64,
}

impl Rows {
    /// The sum of all losses, `[1]`. For large representations at most `max_logits` logits are stored at once, but
    /// those of one row at least, or none if it is 0. By default they take no more memory than the gradients of the
    /// classes do, which each part adds to.
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

    /// Some of the rows.
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

    /// The losses without stored logits, `[T, 1]`.
    pub fn symbolic_losses(&self, classes: &Classes) -> Result<Tensor<2>, LazyError> {
        Ok(self.losses(classes.symbolic_terms(self)?))
    }

    /// The losses from stored logits, `[T, 1]`.
    fn stored_losses(&self, classes: &Classes) -> Tensor<2> {
        self.losses(classes.stored_terms(self))
    }

    /// Whether the mean logit of each row is wanted.
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
