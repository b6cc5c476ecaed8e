//! The sum of losses, computed from the logits of some rows at a time.
//!
//! Burn's graph would keep the logits of all parts until the backward pass. So the gradients of a part are computed
//! while its logits are stored. They enter the graph as the gradients of a term whose value is 0.

use burn::prelude::*;

use super::{Rows, classes::Classes};

/// A tensor whose gradient is known.
struct Known<const R: usize> {
    tensor: Tensor<R>,
    gradient: Option<Tensor<R>>,
}

impl<const R: usize> Known<R> {
    /// A term that has the value 0 and the known gradient, if there is one.
    fn term(self) -> Option<Tensor<1>> {
        let gradient = self.gradient?;
        let zero = self.tensor.clone() - self.tensor.detach();
        Some((zero * gradient).sum())
    }
}

/// Adds a term to a sum. Each of them may be missing.
fn add<const R: usize>(sum: &mut Option<Tensor<R>>, term: Option<Tensor<R>>) {
    *sum = match (sum.take(), term) {
        (Some(sum), Some(term)) => Some(sum + term),
        (sum, term) => sum.or(term),
    };
}

/// The sum of the losses of all rows, `[1]`. At most `most` logits are stored at once, but at least those of one
/// row.
pub(super) fn sum_of_losses(rows: &Rows, classes: &Classes, most: usize) -> Tensor<1> {
    let [count, _] = rows.h.dims();
    let [vocab, _] = classes.weight.dims();
    let step = (most / vocab).max(1);
    let mut value = Tensor::<1>::zeros([1], (&rows.h.device().inner(), rows.h.dtype()));
    let mut gradients = Vec::with_capacity(count.div_ceil(step));
    let (mut by_weight, mut by_bias) = (None, None);
    for start in (0..count).step_by(step) {
        let part = rows.part(start, step.min(count - start));
        let (sum, part) = differentiated(&part, classes);
        value = value + sum;
        gradients.extend(part.by_h);
        add(&mut by_weight, part.by_weight);
        add(&mut by_bias, part.by_bias);
    }
    let by_h = match gradients.is_empty() {
        true => None,
        false => Some(Tensor::cat(gradients, 0)),
    };
    let h = Known {
        tensor: rows.h.clone(),
        gradient: by_h,
    };
    let weight = Known {
        tensor: classes.weight.clone(),
        gradient: by_weight,
    };
    let bias = classes.bias.clone().map(|tensor| Known {
        tensor,
        gradient: by_bias,
    });
    let terms = [h.term(), weight.term(), bias.and_then(Known::term)];
    terms
        .into_iter()
        .flatten()
        .fold(value, |sum, term| sum + term)
}

/// The gradients of a sum of losses by the tensors that are tracked.
#[derive(Default)]
struct Gradients {
    by_h: Option<Tensor<2>>,
    by_weight: Option<Tensor<2>>,
    by_bias: Option<Tensor<2>>,
}

/// The sum of the losses of some rows without its graph, and the gradients of this sum.
#[cfg(feature = "autodiff")]
fn differentiated(rows: &Rows, classes: &Classes) -> (Tensor<1>, Gradients) {
    // The leaves start a separate graph, which ends in this function.
    let leaf = |tensor: &Tensor<2>| match tensor.is_tracked() {
        true => tensor.clone().inner().autodiff().require_grad(),
        false => tensor.clone().inner(),
    };
    let rows = Rows {
        h: leaf(&rows.h),
        targets: rows.targets.clone().inner(),
        is_ignored: rows.is_ignored.clone().map(Tensor::inner),
        ..rows.clone()
    };
    let classes = Classes {
        weight: leaf(&classes.weight),
        bias: classes.bias.as_ref().map(leaf),
        softcap: classes.softcap,
    };
    let sum = rows.stored_losses(&classes).sum();
    let value = sum.clone().inner();
    if !sum.is_tracked() {
        return (value, Gradients::default());
    }
    let gradients = sum.backward();
    let of = |leaf: &Tensor<2>| match leaf.is_require_grad() {
        true => leaf.grad(&gradients),
        false => None,
    };
    let own = Gradients {
        by_h: of(&rows.h),
        by_weight: of(&classes.weight),
        by_bias: classes.bias.as_ref().and_then(of),
    };
    (value, own)
}

/// The sum of the losses of some rows. Without autodiff there are no gradients.
#[cfg(not(feature = "autodiff"))]
fn differentiated(rows: &Rows, classes: &Classes) -> (Tensor<1>, Gradients) {
    (rows.stored_losses(classes).sum(), Gradients::default())
}
