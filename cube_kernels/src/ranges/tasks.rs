//! The work of ranges in pieces: some rows of a batch, and some of their columns.

use std::ops::Range;

use super::{Columns, Ranges, list::List};

/// How the work is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// The most rows of a task.
    pub rows: usize,
    /// Columns of a block. A range takes whole blocks, whatever it fills of the last one.
    pub block: usize,
    /// The most blocks of a task.
    pub blocks: usize,
}

/// Some rows of a batch, and where their ranges are among all that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub batch: usize,
    pub rows: Range<usize>,
    pub ranges: Range<usize>,
}

/// The tasks of all rows, in their order. As many follow each other as a row has parts; the ranges of the later parts
/// may be none.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    pub parts: usize,
    pub tasks: Vec<Task>,
    pub ranges: Vec<Columns>,
}

impl Ranges {
    /// The number of tasks of `rows` rows each, at most, with all of their columns, in batches of `shape`.
    pub(crate) fn count_tasks(&self, shape: &[usize], rows: usize) -> usize {
        let clusters = |list: &List| -> usize {
            list.clusters().map(|(own, _)| own.len().div_ceil(rows)).sum()
        };
        match self.lists.len() {
            1 => clusters(&self.lists[0]) * shape.iter().product::<usize>(),
            _ => {
                let batches = 0..shape.iter().product();
                batches.map(|batch| clusters(self.list(shape, batch))).sum()
            }
        }
    }

    /// The most blocks of `block` columns of a row.
    pub(crate) fn most_blocks(&self, block: usize) -> usize {
        let clusters = self.lists.iter().flat_map(|list| list.clusters());
        clusters.map(|(_, own)| blocks(own, block)).max().unwrap_or(0)
    }

    /// The work in batches of `shape`.
    pub(crate) fn tasks(&self, shape: &[usize], cut: Cut) -> Tasks {
        let parts = self.most_blocks(cut.block).div_ceil(cut.blocks).max(1);
        let mut made = Tasks {
            parts,
            tasks: Vec::new(),
            ranges: Vec::new(),
        };
        let batches = shape.iter().product();
        match self.lists.len() {
            // All batches have the same ranges, which are there once.
            1 if batches > 0 => {
                made.add(&self.lists[0], 0, cut);
                let count = made.tasks.len();
                for batch in 1..batches {
                    let first = made.tasks[..count].to_vec().into_iter();
                    made.tasks.extend(first.map(|task| Task { batch, ..task }));
                }
            }
            _ => (0..batches).for_each(|batch| made.add(self.list(shape, batch), batch, cut)),
        }
        made
    }
}

impl Tasks {
    /// Adds the tasks of a batch.
    fn add(&mut self, list: &List, batch: usize, cut: Cut) {
        for (rows, own) in list.clusters() {
            let first = self.ranges.len();
            let ends = cut_into(own, cut, self.parts, &mut self.ranges);
            for start in rows.clone().step_by(cut.rows) {
                let mut begin = first;
                for end in &ends {
                    self.tasks.push(Task {
                        batch,
                        rows: start..rows.end.min(start + cut.rows),
                        ranges: begin..*end,
                    });
                    begin = *end;
                }
            }
        }
    }
}

fn blocks(ranges: &[Columns], block: usize) -> usize {
    ranges.iter().map(|own| own.len().div_ceil(block)).sum()
}

/// Adds `own` to `ranges`, cut where a part is full; returns where the ranges of each of the `parts` end.
fn cut_into(own: &[Columns], cut: Cut, parts: usize, ranges: &mut Vec<Columns>) -> Vec<usize> {
    let mut ends = Vec::with_capacity(parts);
    let mut room = cut.blocks;
    for range in own {
        let mut rest = *range;
        while rest.len() > 0 {
            if room == 0 {
                ends.push(ranges.len());
                room = cut.blocks;
            }
            let taken = rest.len().min(room.saturating_mul(cut.block));
            let end = rest.start + taken as u32;
            ranges.push(Columns {
                start: rest.start,
                end,
            });
            room -= taken.div_ceil(cut.block);
            rest.start = end;
        }
    }
    ends.resize(parts, ranges.len());
    ends
}
