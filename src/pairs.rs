//! Symbolic matrices in which only some pairs exist.

use burn::tensor::{Tensor, TensorData};
use burn_lazy_kernels::Axis;

use crate::{
    error::LazyError,
    lazy::{LazyTensor, expect},
    ranges::{Ranges, common},
    reduce::Axes,
};

impl LazyTensor {
    /// This matrix with the pairs in `ranges` only. Other pairs do not exist for a reduction: they are not evaluated,
    /// and are not counted by [`mean`](Self::mean), [`var`](Self::var) and [`count`](Self::count). Rows and columns
    /// without pairs give the result of an empty axis. Indices are those of the whole matrix. In
    /// [`dense`](Self::dense) and [`diag`](Self::diag), pairs that do not exist are 0. So products with the matrix
    /// are those of a sparse matrix.
    ///
    /// Formulas that are made from this matrix have the same pairs. Two formulas with different ranges cannot be
    /// combined.
    ///
    /// Differentiable, on all backends.
    ///
    /// # Panics
    /// If the ranges are for another number of rows or columns, or for other batches, or if the formula has other
    /// ranges.
    #[track_caller]
    pub fn ranges(&self, ranges: &Ranges) -> Self {
        expect(self.try_ranges(ranges))
    }

    /// Like [`ranges`](Self::ranges), with an error instead of a panic.
    pub fn try_ranges(&self, ranges: &Ranges) -> Result<Self, LazyError> {
        let own = Self {
            ranges: common(&[self.ranges.as_ref(), Some(ranges)], || self.boxed_info())?,
            ..self.clone()
        };
        own.check_ranges()?;
        Ok(own)
    }

    /// The number of pairs of each row of a reduction over `axes`: `[batch.., M or N, 1]`, or `[batch.., 1]` over
    /// both axes. None if all pairs exist. The type, the device and the number of dimensions are those of `result`.
    pub(crate) fn counts<const R: usize>(
        &self,
        axes: Axes,
        result: &Tensor<R>,
    ) -> Option<Tensor<R>> {
        let ranges = self.ranges.as_ref()?;
        let extent = self.extent();
        let (axis, rows) = match axes {
            Axes::One(axis) => (axis, extent.size(axis.other()).unwrap_or(1)),
            Axes::Both => (Axis::J, 1),
        };
        let lengths = ranges.lengths_over(axis, &extent.batch);
        let batches = extent.batch.iter().product::<usize>();
        let each = (lengths.len() / (batches * rows).max(1)).max(1);
        let totals = lengths
            .chunks(each)
            .map(|own| own.iter().sum::<usize>() as f64);
        let mut numbers: Vec<f64> = totals.collect();
        numbers.resize(batches * rows, 0.0);
        let mut shape = extent.batch;
        if let Axes::One(_) = axes {
            shape.push(rows);
        }
        shape.push(1);
        let options = (&result.device(), result.dtype());
        Some(Tensor::from_data(TensorData::new(numbers, shape), options))
    }
}
