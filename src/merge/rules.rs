//! The rules by which the values of two parts are merged.

use burn::tensor::{Bool, Int, Tensor};
use burn_lazy_kernels::{Axis, catalogue::ScalarOp};

use super::Results;
use crate::{error::LazyError, lazy::LazyTensor, reduce::Axes};

/// The results of a reduction that gives one value.
pub(super) fn only<const R: usize>(value: Tensor<R>) -> Results<R> {
    Results {
        values: vec![value],
        indices: None,
    }
}

/// Makes indices within a part that starts at `start` indices within the whole axis. -1 stays, as it stands for no
/// index.
pub(super) fn moved<const R: usize>(indices: Tensor<R, Int>, start: usize) -> Tensor<R, Int> {
    match start {
        0 => indices,
        // Not all of Burn's operations take tensors without elements.
        _ if indices.dims().contains(&0) => indices,
        _ => {
            let none = indices.clone().lower_elem(0);
            indices.add_scalar(start as i64).mask_fill(none, -1)
        }
    }
}

/// Where a logarithm is $-\infty$, as the sum of exponentials of a row without terms is 0.
pub(super) fn is_nothing<const R: usize>(logarithm: &Tensor<R>) -> Tensor<R, Bool> {
    logarithm.clone().equal_elem(f64::NEG_INFINITY)
}

/// $\log(e^a + e^b)$. Where both are $-\infty$ the gradient is 0, as for a row of the library's own `logsumexp`.
pub(super) fn logaddexp<const R: usize>(a: Tensor<R>, b: Tensor<R>) -> Tensor<R> {
    let nothing = is_nothing(&a).bool_and(is_nothing(&b));
    let [a, b] = [a, b].map(|log| log.mask_fill(nothing.clone(), 0.0));
    let largest = a.clone().max_pair(b.clone()).detach();
    // If the largest is infinite, it is not subtracted, as the difference of infinities is NaN.
    let infinite = largest.clone().is_inf();
    let largest = largest.mask_fill(infinite, 0.0);
    let sum = (a - largest.clone()).exp() + (b - largest.clone()).exp();
    (sum.log() + largest).mask_fill(nothing, f64::NEG_INFINITY)
}

/// Scores and weights as one formula whose sums of exponentials can be merged: the terms of positive weight, and
/// apart from them the terms of negative weight, with their absolute values. They are kept apart because a sum over
/// the whole axis may be positive even if the sum over one part is negative and has no logarithm.
pub(crate) fn signed_scores(
    operation: &'static str,
    scores: LazyTensor,
    weight: LazyTensor,
) -> Result<LazyTensor, LazyError> {
    scores.check_broadcast(operation, &weight)?;
    let dim = scores.dim().max(weight.dim());
    let repeated = |k: &LazyTensor| match k.dim() {
        1 => LazyTensor::try_concat(&vec![k.clone(); dim]),
        _ => Ok(k.clone()),
    };
    let (repeated_scores, weight) = (repeated(&scores)?, repeated(&weight)?);
    let is_negative = weight.try_apply(ScalarOp::Less, 0.0)?;
    let is_other = is_negative.try_apply(ScalarOp::Equal, 0.0)?;
    let without = |k: LazyTensor, mask| k.try_apply_three(ScalarOp::MaskWhere, mask, 0.0);
    let positive = without(weight.clone(), is_negative)?;
    let negative = without(-weight, is_other)?;
    let all = [repeated_scores.clone(), repeated_scores, positive, negative];
    LazyTensor::try_concat(&all)?.try_prune(scores.pruning)
}

/// The formula $w_{ij} e^{f_{ij} - L}$, for a formula that [`signed_scores`] has made, where $L$ is the result of all
/// parts. Its sum has the gradient of $L$. The logarithms that $L$ is computed from do not give this gradient: they
/// have none by a weight of 0 in a row without positive weights.
pub(crate) fn weighted_terms<const R: usize>(
    signed: &LazyTensor,
    total: Tensor<R>,
    axes: Axes,
) -> Result<LazyTensor, LazyError> {
    let dim = signed.dim() / 4;
    let part = |place: usize| signed.try_slice(place * dim..(place + 1) * dim);
    let (scores, weight) = (part(0)?, part(2)?.try_sub(part(3)?)?);
    // Where there are no terms, the gradient is 0.
    let nothing = is_nothing(&total);
    let total = total.mask_fill(nothing, f64::INFINITY);
    let total = match axes {
        Axes::One(Axis::J) => LazyTensor::try_vi(total)?,
        Axes::One(Axis::I) => LazyTensor::try_vj(total)?,
        Axes::Both => LazyTensor::try_pm(total)?,
    };
    weight.try_apply(ScalarOp::StrongMul, scores.try_sub(total)?.exp())
}

/// Splits the components into two halves.
pub(super) fn halves<const R: usize>(both: Tensor<R>) -> [Tensor<R>; 2] {
    let dim = both.dims()[R - 1] / 2;
    [0, dim].map(|start| both.clone().narrow(R - 1, start, dim))
}

/// The place among the values of a product by parts where the number of parts that are 0 is.
pub(super) const ZEROS: usize = 2;

/// The values of one part of a product by parts: the product, the product with 1 in place of 0, and 1 where the
/// product is 0.
pub(super) fn factors<const R: usize>(product: Tensor<R>) -> [Tensor<R>; 3] {
    let inner = product.clone().inner();
    let is_zero = inner.clone().equal_elem(0.0);
    let zeros = inner.zeros_like().mask_fill(is_zero.clone(), 1.0);
    [product, inner.mask_fill(is_zero, 1.0), zeros]
}

/// $\log(e^a - e^b)$: NaN where the difference is negative.
pub(super) fn difference<const R: usize>([a, b]: [Tensor<R>; 2]) -> Tensor<R> {
    // Where both are -inf, their difference would be NaN. The result is a wherever b is -inf.
    let nothing = is_nothing(&b);
    let distance = (b - a.clone()).mask_fill(nothing.clone(), 0.0);
    let share = (-distance.exp()).mask_fill(nothing, 0.0);
    a + share.log1p()
}

/// Merges the softmax-weighted sums of two parts by the logarithms of their sums of exponentials.
pub(super) fn softmax_sums<const R: usize>(first: Results<R>, second: Results<R>) -> Results<R> {
    let totals = [&first, &second].map(|part| part.values[1].clone());
    let nothing = [0, 1].map(|part: usize| is_nothing(&totals[part]));
    let neither = nothing[0].clone().bool_and(nothing[1].clone());
    let [a, b] = totals.clone();
    let total = logaddexp(a, b);
    // Rows in which all scores are -inf have no weights.
    let known = total.clone().mask_fill(neither.clone(), 0.0);
    let [a, b] = [first, second];
    let weighted = |part: Results<R>, own: &Tensor<R>, nothing: &Tensor<R, Bool>| {
        let value = part.value();
        let nothing = nothing.clone().expand(value.dims());
        value.mask_fill(nothing, 0.0) * (own.clone() - known.clone()).exp()
    };
    let sum = weighted(a, &totals[0], &nothing[0]) + weighted(b, &totals[1], &nothing[1]);
    let neither = neither.expand(sum.dims());
    Results {
        values: vec![sum.mask_fill(neither, f64::NAN), total],
        indices: None,
    }
}

/// Merges the selected values of two parts. A NaN is selected before any other value, then the better value by
/// `is_better`, and of equal values the earlier one. A part without values has the index -1, and the value of the
/// other part is selected.
pub(super) fn selected<const R: usize>(
    first: Results<R>,
    second: Results<R>,
    is_better: fn(Tensor<R>, Tensor<R>) -> Tensor<R, Bool>,
) -> Results<R> {
    let (a, b) = (first.values[0].clone(), second.values[0].clone());
    let better = b.clone().is_nan().bool_or(is_better(b, a.clone()));
    let mut later = better.bool_and(a.is_nan().bool_not());
    let indices = first.indices.clone().zip(second.indices.clone());
    let indices = indices.map(|(earlier, other)| {
        let lacks = |indices: &Tensor<R, Int>| indices.clone().lower_elem(0);
        later = (later.clone().bool_or(lacks(&earlier))).bool_and(lacks(&other).bool_not());
        earlier.mask_where(later.clone(), other)
    });
    Results {
        values: vec![first.value().mask_where(later, second.value())],
        indices,
    }
}

/// Merges the variances, divided by the numbers of values, and the means of two parts (Chan, Golub and LeVeque,
/// "Updating formulae and a pairwise algorithm for computing sample variances", 1979).
pub(super) fn moments<const R: usize>(
    first: Results<R>,
    second: Results<R>,
    terms: &[Tensor<R>; 2],
) -> Results<R> {
    // A part without values has NaN. It is replaced by 0 and has the weight 0.
    let known = |part: Results<R>, terms: &Tensor<R>| {
        let shape = part.values[0].dims();
        let none = terms.clone().equal_elem(0.0).expand(shape);
        let mut values = part.values.into_iter();
        let mut next = || {
            values
                .next()
                .expect("two moments")
                .mask_fill(none.clone(), 0.0)
        };
        [next(), next()]
    };
    let [variance, mean] = known(first, &terms[0]);
    let [other_variance, other_mean] = known(second, &terms[1]);
    let all = terms[0].clone() + terms[1].clone();
    let [part, other_part] = [0, 1].map(|place: usize| terms[place].clone() / all.clone());
    let difference = other_mean - mean.clone();
    let between = difference.clone().square() * (part.clone() * other_part.clone());
    let within = variance * part + other_variance * other_part.clone();
    Results {
        values: vec![within + between, mean + difference * other_part],
        indices: None,
    }
}

/// The factor that makes a variance that is divided by the number of values unbiased.
pub(super) fn unbiased<const R: usize>(terms: Tensor<R>) -> Tensor<R> {
    terms.clone() / (terms - 1.0)
}
