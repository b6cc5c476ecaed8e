//! What a program reads from its operands.

use super::{Listing, Source, Space};

/// The sizes of a reduction that its operands must cover.
pub(crate) struct Extent<'a> {
    /// Sizes of the batch dimensions.
    pub batch: &'a [usize],
    /// Rows of the operands in one batch.
    pub rows: usize,
    /// One more than the last column that is read.
    pub end: usize,
}

impl Listing {
    /// How many components of tensor `index` are read.
    fn components(&self, index: usize) -> usize {
        let stages = [&self.uniform, &self.row, &self.column];
        let loads = stages.into_iter().flat_map(|stage| &stage.loads);
        let ends = loads
            .filter(|load| load.source == Source::Tensor(index))
            .map(|load| load.offset + load.len);
        let entries = self.pair.iter().filter_map(|item| item.entries(index));
        ends.chain(entries).max().unwrap_or(0)
    }

    /// Checks that tensor `index`, given by its shape and its number of strides, covers what the program reads from it.
    /// The error says what does not fit.
    pub(crate) fn check_operand(
        &self,
        index: usize,
        (shape, strides): (&[usize], usize),
        extent: &Extent,
    ) -> Result<(), String> {
        let (rank, batch) = (shape.len(), extent.batch);
        if strides != rank {
            return Err("it has another number of strides than of dimensions".to_string());
        }
        let (rows, columns) = (("rows", extent.rows), ("columns", extent.end));
        // The dimensions between the batch dimensions and the inner one.
        let axes = match self.tensors[index] {
            Space::Uniform => vec![],
            Space::Row => vec![rows],
            Space::Column => vec![columns],
            Space::Pair if self.columns_first => vec![columns, rows],
            Space::Pair => vec![rows, columns],
        };
        let own = 1 + axes.len();
        if rank < own || rank - own > batch.len() {
            let most = own + batch.len();
            return Err(format!("it needs {own} to {most} dimensions"));
        }
        let components = self.components(index);
        if shape[rank - 1] < components {
            return Err(format!("{components} components are read"));
        }
        // A dimension of size 1 broadcasts: all rows or columns have the same value.
        let short = |(size, (_, read)): &(&usize, &(&str, usize))| **size != 1 && **size < *read;
        if let Some((_, (what, read))) = shape[rank - own..].iter().zip(&axes).find(short) {
            return Err(format!("{read} {what} are read"));
        }
        let batches = batch[batch.len() - (rank - own)..].iter();
        let fits = |(size, all): (&usize, &usize)| *size == 1 || size == all;
        match shape[..rank - own].iter().zip(batches).all(fits) {
            true => Ok(()),
            false => Err(format!("its batch does not broadcast to {batch:?}")),
        }
    }
}
