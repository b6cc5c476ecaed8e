//! A part of all pairs of blocks, which a step looks at.

use super::boxes::Boxes;
use crate::ranges::{Blocked, Ranges, Runs};

/// Runs of columns are gathered into longer ones if they are shorter than this on average, as the host engine
/// evaluates the columns of a run together.
const SHORT: usize = 32;

/// The most columns that are gathered.
const MOST: usize = 1 << 22;

/// The pairs of blocks that are looked at.
pub(super) struct Part {
    pub ranges: Ranges,
    gathered: Option<Gathered>,
}

/// Copies of the columns that each cluster of rows looks at, one cluster after the other. So the columns of a cluster
/// are one run.
struct Gathered {
    boxes: Boxes,
    /// The position of each of them among all columns.
    columns: Vec<u32>,
}

impl Part {
    /// The pairs of rows and columns in `runs`. Each row of `runs` is a cluster of rows, and each column of `runs`
    /// some consecutive columns, as `axes` says. `boxes` are the boxes of the columns.
    pub fn new(axes: [Blocked; 2], runs: &Runs, boxes: &Boxes) -> Self {
        let [rows, columns] = axes;
        let of_run = |first: u32, end: u32| {
            let at = |k: u32| (k as usize * columns.block).min(columns.size);
            at(first)..at(end)
        };
        let each = runs.all.iter().map(|run| of_run(run.start, run.end));
        let total: usize = each.clone().map(|own| own.len()).sum();
        if total > MOST || total >= runs.all.len() * SHORT {
            return Self {
                ranges: ranges(axes, runs),
                gathered: None,
            };
        }
        let gathered: Vec<u32> = each.flatten().map(|column| column as u32).collect();
        let mut end = 0;
        let ends = runs.rows().map(|own| {
            let start = end;
            end += own
                .iter()
                .map(|run| of_run(run.start, run.end).len())
                .sum::<usize>();
            start as u32..end as u32
        });
        let columns = Blocked {
            size: total,
            block: 1,
        };
        Self {
            ranges: ranges([rows, columns], &Runs::of_columns(ends)),
            gathered: Some(Gathered {
                boxes: boxes.select(&gathered),
                columns: gathered,
            }),
        }
    }

    /// The boxes of the gathered columns, if columns were gathered.
    pub fn columns(&self) -> Option<&Boxes> {
        self.gathered.as_ref().map(|own| &own.boxes)
    }

    /// The position among all columns of a column of this part.
    pub fn column(&self, column: u32) -> u32 {
        let gathered = self.gathered.as_ref();
        gathered.map_or(column, |own| own.columns[column as usize])
    }

    /// Runs among all columns, given runs of columns of this part.
    pub fn found(&self, runs: Runs) -> Runs {
        let Some(gathered) = &self.gathered else {
            return runs;
        };
        let mut made = Runs::default();
        for own in runs.rows() {
            let first = made.all.len();
            for column in own.iter().flat_map(|run| &gathered.columns[run.range()]) {
                made.push(first, *column, column + 1);
            }
            made.ends.push(made.all.len());
        }
        made
    }
}

/// The pairs of rows and columns of the blocks in `runs`.
pub(super) fn ranges(axes: [Blocked; 2], runs: &Runs) -> Ranges {
    Ranges::of_blocks(axes, runs).expect("arrangements are numbered in 32 bits")
}
