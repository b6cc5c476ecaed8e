//! Ranges of the pairs that a mask may select, found block by block.

use burn_lazy_kernels::Axis;

use crate::{bounded::Bounded, error::LazyError, lazy::LazyTensor, ranges::Ranges};

impl Ranges {
    /// The pairs of those blocks of 64 rows and 64 columns of `matrix` in which `mask`, a formula of one component, may be
    /// other than 0. All pairs that the mask selects are among them; others may be, too, so that the mask stays in the
    /// formula.
    ///
    /// What the mask may be is found by interval arithmetic, from the least and largest values of its operands in a block.
    /// So a mask of indices, as for causal attention, of sorted labels, or of distances of points that are
    /// [sorted](crate::Clusters::sort) leaves out most of the blocks in which it holds nowhere. A block with NaN or an
    /// infinite value is kept.
    ///
    /// Operands of the mask are read to the host, where this is found out, one evaluation for a pair of blocks, or of groups
    /// of blocks that no pair can be in.
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
    /// If the mask has several components, if it or the matrix has batch dimensions, if they do not fit together, or if no
    /// operand says how many rows or columns there are.
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
        // A mask that is not known to differ between blocks may hold anywhere.
        let all = || Self::lengths(&[sizes[0]], &[sizes[1]]).expect("one segment each");
        let Ok(bounded) = Bounded::new(&mask, &mask.expr, Axis::J, usize::MAX) else {
            return Ok(all());
        };
        Ok(bounded
            .pairs_not_zero(u128::MAX)
            .map_or_else(all, |pairs| Self::reduced_over(Axis::J, pairs)))
    }
}
