//! Cuts the work of ranges into tasks: some rows of a batch with some of their columns.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, OnceLock},
};

use super::{Columns, Ranges, list::List};

/// The most rows of a group of clusters. Columns that the clusters do not all have are taken cluster by cluster, which
/// costs more the more rows there are.
const GROUP: usize = 16;

/// How the work is cut into tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The most rows of a task.
    pub rows: usize,
    /// Columns of a block. A range counts as whole blocks, even if it fills only a part of the last one.
    pub block: usize,
    /// The most blocks of a task.
    pub blocks: usize,
}

/// Some rows of a batch with ranges of their columns, which are given as a part of `Tasks::ranges`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub batch: usize,
    pub rows: Range<usize>,
    pub ranges: Range<usize>,
    /// Which part of the columns of these rows the ranges hold. Later parts hold later columns.
    pub part: usize,
}

/// The tasks of all rows. Each row has one task in each part, which may have no ranges.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Tasks {
    pub parts: usize,
    /// Whether the columns of a row are in several parts because they are too many for one.
    pub split: bool,
    pub tasks: Vec<Task>,
    pub units: Vec<Unit>,
    pub ranges: Vec<Columns>,
    /// The tasks as the numbers that kernels read, once these have been asked for.
    pub numbers: OnceLock<Arc<[u32]>>,
}

impl fmt::Debug for Tasks {
    /// Writes only how many there are. There may be millions, and they are part of plans, which are printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("parts", &self.parts)
            .field("tasks", &self.tasks.len())
            .field("ranges", &self.ranges.len())
            .finish()
    }
}

/// Consecutive rows of a batch with all of their tasks that have ranges, which are given as a part of `Tasks::tasks`.
/// Units come in the order of their rows. Of the tasks of a row, those with later columns come later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub batch: usize,
    pub rows: Range<usize>,
    pub tasks: Range<usize>,
}

impl Ranges {
    /// The number of tasks in batches of `shape` if a task has at most `rows` rows and all of their columns.
    pub(crate) fn count_tasks(&self, shape: &[usize], rows: usize) -> usize {
        let clusters = |list: &List| -> usize {
            list.clusters()
                .map(|(own, _)| own.len().div_ceil(rows))
                .sum()
        };
        match self.lists.len() {
            1 => clusters(&self.lists[0]) * shape.iter().product::<usize>(),
            _ => {
                let batches = 0..shape.iter().product();
                batches.map(|batch| clusters(self.list(shape, batch))).sum()
            }
        }
    }

    /// The most blocks of `block` columns that a row has.
    pub(crate) fn most_blocks(&self, block: usize) -> usize {
        let clusters = self.lists.iter().flat_map(|list| list.clusters());
        clusters
            .map(|(_, own)| blocks(own, block))
            .max()
            .unwrap_or(0)
    }

    /// Cuts the work in batches of `shape` into tasks.
    pub(super) fn make_tasks(&self, shape: &[usize], cut: Cut) -> Tasks {
        let batches: usize = shape.iter().product();
        let rows = cut.rows.min(GROUP);
        // If all batches have the same ranges, the tasks of one are made, and copied for the others.
        let same = self.lists.len() == 1;
        let own = if same { batches.min(1) } else { batches };
        let chunks: Vec<Vec<Chunk>> = (0..own)
            .map(|batch| chunks(self.list(shape, batch), rows))
            .collect();
        let all = || chunks.iter().flatten();
        let layers = all().map(Chunk::layers).max().unwrap_or(1);
        let most = all().map(|chunk| chunk.most_blocks(cut.block)).max();
        let each = most.unwrap_or(0).div_ceil(cut.blocks).max(1);
        let (count, ranges) = (all().count(), self.count());
        let mut made = Tasks {
            parts: layers * each,
            split: each > 1,
            tasks: Vec::with_capacity(count * layers * each),
            units: Vec::with_capacity(count),
            ranges: Vec::with_capacity(ranges),
            numbers: OnceLock::new(),
        };
        for (batch, chunks) in chunks.iter().enumerate() {
            for chunk in chunks {
                made.add(batch, chunk, cut, [layers, each]);
            }
        }
        if same {
            let (tasks, units) = (made.tasks.clone(), made.units.clone());
            for batch in 1..batches {
                let before = made.tasks.len();
                made.tasks
                    .extend(tasks.iter().cloned().map(|task| Task { batch, ..task }));
                made.units.extend(units.iter().cloned().map(|unit| Unit {
                    batch,
                    tasks: unit.tasks.start + before..unit.tasks.end + before,
                    ..unit
                }));
            }
        }
        made
    }
}

impl Tasks {
    /// Adds the tasks of consecutive rows. All rows get `layers` layers with `each` parts.
    fn add(&mut self, batch: usize, chunk: &Chunk, cut: Cut, [layers, each]: [usize; 2]) {
        let before = self.tasks.len();
        match chunk {
            Chunk::Alone(rows, columns) => {
                let place = Place { batch, layer: 0 };
                self.add_rows(place, (rows, columns), cut, each);
                for start in (before..self.tasks.len()).step_by(each) {
                    self.units.push(Unit {
                        batch,
                        rows: self.tasks[start].rows.clone(),
                        tasks: start..start + each,
                    });
                }
            }
            Chunk::Together(rows, own) => {
                for (layer, own) in own.iter().enumerate() {
                    for (rows, columns) in &own.tasks {
                        self.add_rows(Place { batch, layer }, (rows, columns), cut, each);
                    }
                }
                self.units.push(Unit {
                    batch,
                    rows: rows.clone(),
                    tasks: before..self.tasks.len(),
                });
            }
        }
        // Tasks without ranges for the layers that other chunks have and this one does not.
        let rows = chunk.rows();
        for part in chunk.layers() * each..layers * each {
            for start in rows.clone().step_by(cut.rows) {
                self.tasks.push(Task {
                    batch,
                    rows: start..rows.end.min(start + cut.rows),
                    ranges: 0..0,
                    part,
                });
            }
        }
    }

    /// Adds the tasks of rows that all have the same columns, with `each` parts.
    fn add_rows(
        &mut self,
        place: Place,
        (rows, columns): (&Range<usize>, &[Columns]),
        cut: Cut,
        each: usize,
    ) {
        let first = self.ranges.len();
        let ends = cut_into(columns, cut, each, &mut self.ranges);
        for start in rows.clone().step_by(cut.rows) {
            let mut begin = first;
            for (part, end) in ends.iter().enumerate() {
                self.tasks.push(Task {
                    batch: place.batch,
                    rows: start..rows.end.min(start + cut.rows),
                    ranges: begin..*end,
                    part: place.layer * each + part,
                });
                begin = *end;
            }
        }
    }
}

/// The batch and the layer of some tasks.
#[derive(Clone, Copy)]
struct Place {
    batch: usize,
    layer: usize,
}

/// Consecutive rows whose tasks are made together.
enum Chunk<'a> {
    /// A single cluster with its columns.
    Alone(Range<usize>, &'a [Columns]),
    /// A group of short clusters. Their columns are divided into layers: those of one layer come before those of the
    /// next one.
    Together(Range<usize>, Vec<Layer>),
}

impl Chunk<'_> {
    fn rows(&self) -> Range<usize> {
        match self {
            Self::Alone(rows, _) | Self::Together(rows, _) => rows.clone(),
        }
    }

    fn layers(&self) -> usize {
        match self {
            Self::Alone(..) => 1,
            Self::Together(_, layers) => layers.len(),
        }
    }

    /// The most blocks of `block` columns that rows have in a layer.
    fn most_blocks(&self, block: usize) -> usize {
        match self {
            Self::Alone(_, columns) => blocks(columns, block),
            Self::Together(_, layers) => {
                let tasks = layers.iter().flat_map(|layer| &layer.tasks);
                let counts = tasks.map(|(_, own)| blocks(own, block));
                counts.max().unwrap_or(0)
            }
        }
    }
}

/// A layer of the columns of a chunk: groups of rows, each with the columns that its rows have in common. Each row of
/// the chunk is in one of the groups.
struct Layer {
    tasks: Vec<(Range<usize>, Vec<Columns>)>,
}

/// The rows of a list in chunks: single clusters, or groups of short clusters that have many columns in common.
fn chunks(list: &List, rows: usize) -> Vec<Chunk<'_>> {
    let clusters: Vec<(Range<usize>, &[Columns])> = list.clusters().collect();
    let mut made = Vec::new();
    let mut at = 0;
    while at < clusters.len() {
        let first = clusters[at].0.start;
        let fits = |(own, _): &&(Range<usize>, &[Columns])| own.end - first <= rows;
        let count = clusters[at..].iter().take_while(fits).count();
        let group = &clusters[at..at + count];
        match together(group) {
            Some(chunk) => {
                made.push(chunk);
                at += count;
            }
            None => {
                // The group that starts with the next cluster may have more in common.
                let (rows, own) = &clusters[at];
                made.push(Chunk::Alone(rows.clone(), own));
                at += 1;
            }
        }
    }
    made
}

/// A group of clusters as three layers: the columns before the longest range that all clusters have, this range, and
/// the columns after it. `None` if the group would take more than three quarters of the work of its clusters one by
/// one.
fn together<'a>(group: &[(Range<usize>, &'a [Columns])]) -> Option<Chunk<'a>> {
    let [(first, _), .., (last, _)] = group else {
        return None;
    };
    let rows = first.start..last.end;
    let common = group[1..]
        .iter()
        .fold(group[0].1.to_vec(), |common, (_, own)| {
            overlap(&common, own)
        });
    let middle = common.into_iter().max_by_key(Columns::len)?;
    let total: usize = group
        .iter()
        .flat_map(|(_, own)| *own)
        .map(Columns::len)
        .sum();
    let left = total - (group.len() - 1) * middle.len();
    if 4 * left > 3 * total {
        return None;
    }
    let part = |start: u32, end: u32| Layer {
        tasks: group
            .iter()
            .map(|(rows, own)| (rows.clone(), overlap(own, &[Columns { start, end }])))
            .collect(),
    };
    let layers = vec![
        part(0, middle.start),
        Layer {
            tasks: vec![(rows.clone(), vec![middle])],
        },
        part(middle.end, u32::MAX),
    ];
    Some(Chunk::Together(rows, layers))
}

/// The columns that are in ranges of both lists.
fn overlap(left: &[Columns], right: &[Columns]) -> Vec<Columns> {
    let mut both = Vec::new();
    let (mut a, mut b) = (0, 0);
    while let (Some(own), Some(other)) = (left.get(a), right.get(b)) {
        let (start, end) = (own.start.max(other.start), own.end.min(other.end));
        if start < end {
            both.push(Columns { start, end });
        }
        if own.end < other.end {
            a += 1;
        } else {
            b += 1;
        }
    }
    both
}

fn blocks(ranges: &[Columns], block: usize) -> usize {
    ranges.iter().map(|own| own.len().div_ceil(block)).sum()
}

/// Adds the ranges `own` to `ranges`, cut where a part is full. Returns where the ranges of each of the `parts` parts
/// end in `ranges`.
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
