//! Ranges of blocks of equal sizes.

use super::{
    Ranges, RangesError,
    list::{Builder, Columns},
};

/// Runs of consecutive columns for each row, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    /// Where the runs of each row end in `all`.
    pub ends: Vec<usize>,
    /// The runs of all rows. No run is empty.
    pub all: Vec<Columns>,
}

impl Runs {
    /// No runs, for `rows` rows.
    pub fn empty(rows: usize) -> Self {
        Self {
            ends: vec![0; rows],
            all: Vec::new(),
        }
    }

    /// The runs of some columns of each row, which must come in ascending order.
    pub fn of_columns(rows: impl Iterator<Item = impl Iterator<Item = u32>>) -> Self {
        let mut runs = Self::default();
        for row in rows {
            let first = runs.all.len();
            for column in row {
                runs.push(first, column, column + 1);
            }
            runs.ends.push(runs.all.len());
        }
        runs
    }

    /// Adds the columns `start..end` to the last row, whose runs start with run `first`. They must come after the
    /// columns that the row has.
    pub fn push(&mut self, first: usize, start: u32, end: u32) {
        match self.all[first..].last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => self.all.push(Columns { start, end }),
        }
    }

    /// The runs of all rows of all parts, one part after the other.
    pub fn one_behind_the_other(parts: &[Self]) -> Self {
        let count = |of: fn(&Self) -> usize| parts.iter().map(of).sum();
        let mut runs = Self {
            ends: Vec::with_capacity(count(|part| part.ends.len())),
            all: Vec::with_capacity(count(|part| part.all.len())),
        };
        for part in parts {
            let before = runs.all.len();
            runs.ends.extend(part.ends.iter().map(|end| before + end));
            runs.all.extend_from_slice(&part.all);
        }
        runs
    }

    /// The runs of each row.
    pub fn rows(&self) -> impl Iterator<Item = &[Columns]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let own = &self.all[start..*end];
            start = *end;
            own
        })
    }
}

/// The length of an axis and of its blocks. The last block may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocked {
    pub size: usize,
    pub block: usize,
}

impl Ranges {
    /// The pairs of the blocks in `runs`, which hold the blocks of columns of each block of rows.
    ///
    /// # Errors
    /// If there are more rows or columns than can be numbered, or if the runs of a block of rows do not ascend.
    pub(crate) fn of_blocks(axes: [Blocked; 2], runs: &Runs) -> Result<Self, RangesError> {
        let [rows, columns] = axes;
        let mut builder = Builder::new([rows.size, columns.size])?;
        let first = |block: usize, axis: Blocked| (block * axis.block).min(axis.size);
        for (block, own) in runs.rows().enumerate() {
            builder.cluster(first(block, rows)..first(block + 1, rows))?;
            for run in own {
                let run = run.range();
                builder.push(first(run.start, columns)..first(run.end, columns))?;
            }
        }
        Ok(Self::single(builder.finish()))
    }
}
