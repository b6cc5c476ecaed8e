//! The ranges of one batch in compressed rows.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use super::{RangesError, transpose};

/// Consecutive columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    pub start: u32,
    pub end: u32,
}

impl Columns {
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Ranges of columns for clusters of consecutive rows.
#[derive(Debug)]
pub(super) struct List {
    columns: u32,
    /// The first row of each cluster, and at the end the number of rows.
    rows: Vec<u32>,
    /// The first range of each cluster, and at the end the number of ranges.
    starts: Vec<usize>,
    /// The ranges of all clusters. Those of a cluster ascend, with gaps between them.
    ranges: Vec<Columns>,
    transposed: OnceLock<Arc<List>>,
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        let parts = |list: &Self| (list.columns, list.rows.len(), list.ranges.len());
        parts(self) == parts(other)
            && self.rows == other.rows
            && self.starts == other.starts
            && self.ranges == other.ranges
    }
}

impl List {
    pub fn sizes(&self) -> [usize; 2] {
        let rows = self.rows.last().expect("their number is the last");
        [*rows, self.columns].map(|size| size as usize)
    }

    pub fn count(&self) -> usize {
        self.ranges.len()
    }

    /// The clusters: their rows and ranges.
    pub fn clusters(&self) -> impl Iterator<Item = (Range<usize>, &[Columns])> {
        let rows = self.rows.windows(2);
        let ranges = self.starts.windows(2);
        rows.zip(ranges).map(|(rows, ranges)| {
            (
                rows[0] as usize..rows[1] as usize,
                &self.ranges[ranges[0]..ranges[1]],
            )
        })
    }

    pub fn pairs(&self) -> u128 {
        let own = |(rows, ranges): (Range<usize>, &[Columns])| rows.len() as u128 * total(ranges);
        self.clusters().map(own).sum()
    }

    /// The number of columns of each row.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        self.clusters().flat_map(|(rows, ranges)| {
            let length = total(ranges) as usize;
            rows.map(move |_| length)
        })
    }

    /// The position of the cluster that has a row.
    pub fn cluster(&self, row: usize) -> usize {
        let [rows, _] = self.sizes();
        assert!(row < rows, "row {row} of {rows}");
        self.rows.partition_point(|first| *first as usize <= row) - 1
    }

    pub fn of_row(&self, row: usize) -> &[Columns] {
        let cluster = self.cluster(row);
        &self.ranges[self.starts[cluster]..self.starts[cluster + 1]]
    }

    pub fn transposed(self: &Arc<Self>) -> Arc<Self> {
        let make = || Arc::new(transpose::transposed(self));
        self.transposed.get_or_init(make).clone()
    }
}

fn total(ranges: &[Columns]) -> u128 {
    ranges.iter().map(|own| own.len() as u128).sum()
}

/// Makes a list cluster by cluster.
pub(super) struct Builder {
    columns: u32,
    size: u32,
    rows: Vec<u32>,
    starts: Vec<usize>,
    ranges: Vec<Columns>,
}

impl Builder {
    /// For `rows` rows and `columns` columns.
    pub fn new([rows, columns]: [usize; 2]) -> Result<Self, RangesError> {
        let number = |size: usize, what| {
            // The largest number of 32 bits stands for no column.
            let fits = u32::try_from(size).ok().filter(|size| *size < u32::MAX);
            fits.ok_or(RangesError::TooLarge { what, size })
        };
        Ok(Self {
            columns: number(columns, "columns")?,
            size: number(rows, "rows")?,
            rows: Vec::new(),
            starts: Vec::new(),
            ranges: Vec::new(),
        })
    }

    /// Starts a cluster of `rows`, which must follow the rows before. Its ranges are then added by
    /// [`push`](Self::push).
    pub fn cluster(&mut self, rows: Range<usize>) -> Result<(), RangesError> {
        let size = self.size as usize;
        if rows.end > size {
            return Err(RangesError::Leaves {
                what: "rows",
                start: rows.start,
                end: rows.end,
                size,
            });
        }
        self.rows.push(rows.start as u32);
        self.starts.push(self.ranges.len());
        Ok(())
    }

    /// Adds a range of columns to the last cluster. The ranges of a cluster must come in ascending order.
    pub fn push(&mut self, columns: Range<usize>) -> Result<(), RangesError> {
        if columns.start > columns.end {
            return Err(RangesError::Reversed {
                what: "columns",
                start: columns.start,
                end: columns.end,
            });
        }
        if columns.end > self.columns as usize {
            return Err(RangesError::Leaves {
                what: "columns",
                start: columns.start,
                end: columns.end,
                size: self.columns as usize,
            });
        }
        if columns.is_empty() {
            return Ok(());
        }
        let first = *self.starts.last().expect("a cluster was started");
        if let Some(last) = self.ranges[first..].last_mut() {
            if columns.start < last.end as usize {
                return Err(RangesError::Overlap {
                    what: "columns of the same rows",
                    first: [last.start, last.end].map(|at| at as usize),
                    second: [columns.start, columns.end],
                });
            }
            if columns.start == last.end as usize {
                last.end = columns.end as u32;
                return Ok(());
            }
        }
        self.ranges.push(Columns {
            start: columns.start as u32,
            end: columns.end as u32,
        });
        Ok(())
    }

    pub fn finish(mut self) -> List {
        self.rows.push(self.size);
        self.starts.push(self.ranges.len());
        List {
            columns: self.columns,
            rows: self.rows,
            starts: self.starts,
            ranges: self.ranges,
            transposed: OnceLock::new(),
        }
    }
}
