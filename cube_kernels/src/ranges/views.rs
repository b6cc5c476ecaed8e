//! The ranges of parts of a matrix.

use std::{ops::Range, sync::Arc};

use super::{
    Ranges,
    list::{Builder, Columns, List},
};
use crate::formula::Axis;

impl Ranges {
    /// The ranges of the matrix of only the rows (or columns) at `indices`, in this order.
    ///
    /// # Panics
    /// If there is no such row or column.
    pub fn select(&self, axis: Axis, indices: &[usize]) -> Self {
        match axis {
            Axis::I => {
                let sizes = [indices.len(), self.sizes[1]];
                self.map(sizes, |list| {
                    let mut made = builder(sizes);
                    let mut row = 0;
                    // Neighbouring rows of one cluster stay together.
                    for own in indices.chunk_by(|a, b| list.cluster(*a) == list.cluster(*b)) {
                        add(&mut made, row..row + own.len(), list.of_row(own[0]).iter());
                        row += own.len();
                    }
                    made.finish()
                })
            }
            Axis::J => self.transposed().select(Axis::I, indices).transposed(),
        }
    }

    /// The ranges of the block of these rows and columns. Its rows and columns are counted from its first ones.
    ///
    /// # Panics
    /// If the block leaves the matrix.
    pub fn block(&self, rows: Range<usize>, columns: Range<usize>) -> Self {
        let sizes = self.sizes();
        assert!(rows.end <= sizes[0] && columns.end <= sizes[1]);
        let of_block = [rows.len(), columns.len()];
        self.map(of_block, |list| {
            let mut made = builder(of_block);
            for (own, ranges) in list.clusters() {
                let own = within(&own, &rows);
                if own.is_empty() {
                    continue;
                }
                made.cluster(own).expect("within the rows");
                for range in ranges {
                    made.push(within(&range.range(), &columns))
                        .expect("within the columns");
                }
            }
            made.finish()
        })
    }

    /// The pairs of each row with the column of the same index, as ranges of a matrix with a single column.
    ///
    /// # Panics
    /// If there are not as many columns as rows.
    pub fn diagonal(&self) -> Self {
        let [rows, columns] = self.sizes();
        assert_eq!(rows, columns);
        self.map([rows, 1], |list| {
            let mut made = builder([rows, 1]);
            for (own, ranges) in list.clusters() {
                let mut start = own.start;
                for range in ranges {
                    let here = range.start as usize..range.end as usize;
                    let here =
                        here.start.clamp(own.start, own.end)..here.end.clamp(own.start, own.end);
                    if here.is_empty() {
                        continue;
                    }
                    mark(&mut made, start..here.start, false);
                    mark(&mut made, here.clone(), true);
                    start = here.end;
                }
                mark(&mut made, start..own.end, false);
            }
            made.finish()
        })
    }

    /// The pairs of each column as those of a matrix of its own, with M rows and a single column. The batch dimensions
    /// become `[batch.., N]`.
    pub fn columns_as_batch(&self) -> Self {
        let [rows, columns] = self.sizes();
        let mut batch = self.batch.clone();
        batch.push(columns);
        let lists = self.lists.iter().flat_map(|list| {
            let transposed = list.transposed();
            let of_column = move |column| {
                let mut made = builder([rows, 1]);
                let mut start = 0;
                for range in transposed.of_row(column) {
                    mark(&mut made, start..range.start as usize, false);
                    mark(&mut made, range.range(), true);
                    start = range.end as usize;
                }
                mark(&mut made, start..rows, false);
                Arc::new(made.finish())
            };
            (0..columns).map(of_column)
        });
        Self::of_lists([rows, 1], batch, lists.collect())
    }

    /// The ranges of matrix `number` of batches of `shape`, to which the batch dimensions of the ranges broadcast. The
    /// order is kept, but limits are dropped.
    ///
    /// # Panics
    /// If there is no such matrix.
    pub fn matrix(&self, shape: &[usize], number: usize) -> Self {
        let list = self.list(shape, number).clone();
        Self {
            order: self.order.clone(),
            ..Self::of_lists(self.sizes(), Vec::new(), vec![list])
        }
    }

    fn map(&self, sizes: [usize; 2], make: impl Fn(&List) -> List) -> Self {
        let lists = self.lists.iter().map(|list| Arc::new(make(list)));
        Self::of_lists(sizes, self.batch.clone(), lists.collect())
    }
}

fn builder(sizes: [usize; 2]) -> Builder {
    Builder::new(sizes).expect("no more than the matrix has")
}

fn add<'a>(made: &mut Builder, rows: Range<usize>, ranges: impl Iterator<Item = &'a Columns>) {
    made.cluster(rows).expect("rows ascend");
    for range in ranges {
        made.push(range.range()).expect("ranges ascend");
    }
}

/// Adds a cluster of `rows`, which has the single column if `there`.
fn mark(made: &mut Builder, rows: Range<usize>, there: bool) {
    if !rows.is_empty() {
        made.cluster(rows).expect("rows ascend");
        made.push(0..there.into()).expect("there is one column");
    }
}

/// The part of `range` that is in `part`, counted from the start of `part`.
fn within(range: &Range<usize>, part: &Range<usize>) -> Range<usize> {
    let at = |at: usize| at.clamp(part.start, part.end.max(part.start)) - part.start;
    at(range.start)..at(range.end)
}
