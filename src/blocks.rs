//! Ranges of the pairs that a mask may select, found block by block.

use burn_lazy_kernels::Axis;

use crate::{bounded::Bounded, error::LazyError, lazy::LazyTensor, ranges::Ranges};

impl Ranges {
    /// The pairs in all blocks of `matrix` in which `mask` may be other than 0. `mask` is a formula of one component,
    /// and a block has 64 rows and 64 columns. All pairs that the mask selects are among these pairs. There may be
    /// others, so the mask must stay in the formula.
    ///
    /// The values that the mask may have in a block are found by interval arithmetic from the least and largest
    /// values of its operands there. Most of the blocks in which the mask is 0 everywhere are left out for masks of
    /// indices, as for causal attention, for masks of sorted labels, and for masks of distances between
    /// [sorted](crate::Clusters::sort) points. A block with NaN or an infinite value is kept.
    ///
    /// The operands of the mask are copied to the host, where the bounds are evaluated: first for pairs of groups of
    /// blocks, then for the pairs of blocks in the groups that are not excluded.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::{prelude::*, tensor::Distribution};
    /// use burn_lazy::{Axis, LazyTensor, Ranges};
    ///
    /// let device = Device::default();
    /// let [q, k, v] = [(); 3].map(|()| Tensor::<2>::random([1000, 8], Distribution::Default, &device));
    /// let (q_i, k_j) = (LazyTensor::vi(q), LazyTensor::vj(k));
    /// // A token attends to the 100 before it, and to itself.
    /// let offset = LazyTensor::offset();
    /// let window = offset.greater_equal(0.0) * offset.less_equal(100.0);
    /// let scores = q_i.dot(k_j).mask_where(window.equal(0.0), f64::NEG_INFINITY);
    /// let near = Ranges::of_mask(&window, &scores)?;
    /// assert!(near.pairs() < 220_000);
    /// let out: Tensor<2> = scores.ranges(&near).sumsoftmaxweight(LazyTensor::vj(v), Axis::J);
    /// # let _ = out;
    /// # }
    /// # Ok::<(), burn_lazy::LazyError>(())
    /// ```
    ///
    /// # Errors
    /// If the mask has several components, if the mask or the matrix has batch dimensions, if they do not fit
    /// together, or if no operand says how many rows or columns there are.
    pub fn of_mask(mask: &LazyTensor, matrix: &LazyTensor) -> Result<Self, LazyError> {
        mask.check_scalar("of_mask")?;
        let mask = LazyTensor::combine(mask.expr.clone(), &[mask, matrix])?;
        mask.check_axis(Axis::I)?;
        mask.check_axis(Axis::J)?;
        let extent = mask.extent();
        if !extent.batch.is_empty() {
            return Err(LazyError::MaskOfBatches(mask.boxed_info()));
        }
        let sizes = mask.sizes();
        // Without bounds that differ between blocks, no block can be excluded.
        let all = || Self::lengths(&[sizes[0]], &[sizes[1]]).expect("one segment each");
        let Ok(bounded) = Bounded::new(&mask, &mask.expr, Axis::J, usize::MAX) else {
            return Ok(all());
        };
        Ok(bounded
            .pairs_not_zero(u128::MAX)
            .map_or_else(all, |pairs| Self::reduced_over(Axis::J, pairs)))
    }
}
