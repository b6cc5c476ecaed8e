//! The gradient of a reduction by the result of one part of the axis, so that parts can be differentiated one after
//! the other.

use burn::tensor::{Int, Tensor};
use burn_lazy_kernels::{Accumulation, ReductionKind};

use super::{
    Kind, Parted, Partial,
    rules::{ZEROS, difference, is_nothing, unbiased, weighted_terms},
};
use crate::{error::LazyError, lazy::LazyTensor};

impl Parted {
    /// A number whose gradient by the operands of `k`, the formula of the part that starts at `start`, is that of
    /// $\sum_k c_k r_k$, where $r$ is the finished result of all parts and $c$ its cotangent, in the type of partial
    /// results. `whole` is the merged result of all parts. The number itself means nothing.
    pub(crate) fn share<const R: usize>(
        &self,
        k: &LazyTensor,
        start: usize,
        whole: &Partial<R>,
        cotangent: Tensor<R>,
    ) -> Result<Tensor<1>, LazyError> {
        if self.kind != Kind::WeightedLogSumExp {
            let part = self.partial(k, start)?;
            return Ok(self.share_of(part, whole, cotangent));
        }
        let [positive, negative] = &whole.results.values[..] else {
            unreachable!("there are two logarithms")
        };
        let total = difference([positive.clone(), negative.clone()]);
        let terms = weighted_terms(&k.try_cast(total.dtype().into())?, total, self.axes)?;
        let kind = ReductionKind::Sum(Accumulation::default());
        let sums = terms.wide_values::<R>(self.operation, kind, self.axes)?;
        Ok((sums * cotangent).sum())
    }

    /// [`share`](Self::share) from the result of the part, for all kinds but the weighted sum of exponentials.
    fn share_of<const R: usize>(
        &self,
        part: Partial<R>,
        whole: &Partial<R>,
        cotangent: Tensor<R>,
    ) -> Tensor<1> {
        let values = &part.results.values;
        let all = &whole.results.values;
        match self.kind {
            Kind::Mean => {
                let terms = whole.terms.clone().expect("values are counted");
                (values[0].clone() * (cotangent / terms)).sum()
            }
            Kind::LogSumExp => {
                let weight = part_of(&values[0], &all[0]);
                (values[0].clone() * (cotangent * weight)).sum()
            }
            Kind::Product { .. } => {
                let has_zero = (all[ZEROS].clone() - values[ZEROS].clone()).greater_elem(0.0);
                // Where both products are equal, the product of the others is taken as 1, also if both overflow.
                let alone = values[1].clone().equal(all[1].clone());
                let others = (all[1].clone() / values[1].clone()).mask_fill(alone, 1.0);
                let others = others.mask_fill(has_zero, 0.0);
                (values[0].clone() * (cotangent * others)).sum()
            }
            Kind::SoftmaxSum => {
                let weight = part_of(&values[1], &all[1]);
                let nothing = is_nothing(&values[1]).expand(values[0].dims());
                let distance = values[0].clone().inner() - all[0].clone();
                let by_total = (cotangent.clone() * distance).mask_fill(nothing, 0.0);
                let by_total = by_total.sum_dim(R - 1) * weight.clone();
                (values[0].clone() * (cotangent * weight)).sum()
                    + (values[1].clone() * by_total).sum()
            }
            Kind::Minimum | Kind::Maximum => {
                let other = self.indices(&part).not_equal(self.indices(whole));
                (values[0].clone() * cotangent.mask_fill(other, 0.0)).sum()
            }
            Kind::Smallest(count) => {
                let (own, found) = (self.indices(&part), self.indices(whole));
                let dims = own.dims();
                let own_cotangent = (0..count).fold(cotangent.zeros_like(), |sum, place| {
                    let at = |tensor: Tensor<R>| tensor.narrow(part.places, place, 1).expand(dims);
                    let index = found.clone().narrow(part.places, place, 1).expand(dims);
                    let other = own.clone().not_equal(index.clone());
                    let none = other.bool_or(index.lower_elem(0));
                    sum + at(cotangent.clone()).mask_fill(none, 0.0)
                });
                // Places without a value hold infinities, which times 0 would be NaN.
                let values = values[0].clone().mask_fill(own.lower_elem(0), 0.0);
                (values * own_cotangent).sum()
            }
            Kind::Variance { unbiased: divided } => {
                let terms = whole.terms.clone().expect("values are counted");
                let own = part.terms.clone().expect("values are counted");
                let cotangent = match divided {
                    true => cotangent * unbiased(terms.clone()),
                    false => cotangent,
                };
                let by_variance = cotangent * (own / terms);
                let distance = values[1].clone().inner() - all[1].clone();
                let by_mean = by_variance.clone() * distance * 2.0;
                (values[0].clone() * by_variance).sum() + (values[1].clone() * by_mean).sum()
            }
            Kind::Sum => (values[0].clone() * cotangent).sum(),
            Kind::WeightedLogSumExp | Kind::Count => {
                unreachable!("no gradient of a {} is asked for in parts", self.operation)
            }
        }
    }

    fn indices<const R: usize>(&self, partial: &Partial<R>) -> Tensor<R, Int> {
        let indices = partial.results.indices.clone();
        indices.expect("selected values have indices")
    }
}

/// The sum of exponentials of a part relative to that of all, from their logarithms; 0 where both are 0.
fn part_of<const R: usize>(part: &Tensor<R>, all: &Tensor<R>) -> Tensor<R> {
    let own = part.clone().inner();
    let nothing = is_nothing(&own);
    (own - all.clone()).exp().mask_fill(nothing, 0.0)
}
