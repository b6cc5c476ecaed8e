//! Which pairs of rows and columns exist, if not all do: ranges of columns for clusters of rows.

mod blocks;
mod build;
mod list;
mod tasks;
mod transpose;
mod views;
mod wire;

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, OnceLock},
};

pub(crate) use blocks::{Blocked, Runs};
pub(crate) use list::Columns;
use list::List;
pub(crate) use tasks::{Cut, Tasks, Unit};

use crate::{formula::Axis, reduction::ReductionKind};

/// Which pairs of M rows and N columns exist: those of each row with the columns in its ranges.
///
/// Rows are divided into clusters of consecutive rows, and all rows of a cluster have the same ranges of columns. A
/// pair that is in no range does not exist: it is not evaluated, whatever its value would be. A row without ranges has
/// no columns.
///
/// There are ranges for each batch, or the same ones for all. They are stored in compressed rows, as KeOps does, so
/// that they take memory in proportion to the number of clusters and ranges. Ranges that touch become one, and empty
/// ones are dropped.
#[derive(Clone)]
pub struct Ranges {
    sizes: [usize; 2],
    batch: Vec<usize>,
    lists: Arc<[Arc<List>]>,
    /// The indices of the rows and of the columns in the order in which operands have them, if it is another.
    order: [Option<Arc<[u32]>>; 2],
    /// Upper limits of the values that are to be found; see [`with_limits`](Self::with_limits).
    limits: Option<Arc<[f32]>>,
    kept: Arc<Kept>,
}

/// What is computed from ranges once and shared by their clones.
#[derive(Default)]
struct Kept {
    transposed: OnceLock<Ranges>,
    tasks: Mutex<Vec<Made>>,
}

/// Tasks, and the batch dimensions and the cut that they are for.
struct Made {
    shape: Vec<usize>,
    cut: Cut,
    tasks: Arc<Tasks>,
}

/// Why ranges are not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RangesError {
    /// A range reaches beyond the end of its axis.
    #[error("the range {start}..{end} of {what} leaves the {size} {what} there are")]
    Leaves {
        /// Rows or columns.
        what: &'static str,
        /// Where it starts.
        start: usize,
        /// Where it ends.
        end: usize,
        /// How many there are.
        size: usize,
    },
    /// A range ends before it starts.
    #[error("the range {start}..{end} of {what} ends before it starts")]
    Reversed {
        /// Rows or columns.
        what: &'static str,
        /// Where it starts.
        start: usize,
        /// Where it ends.
        end: usize,
    },
    /// Two ranges overlap, so that pairs would count twice.
    #[error("the ranges {}..{} and {}..{} of {what} overlap", first[0], first[1], second[0], second[1])]
    Overlap {
        /// Rows, or columns of the same rows.
        what: &'static str,
        /// The one that starts first.
        first: [usize; 2],
        /// The other one.
        second: [usize; 2],
    },
    /// Rows are in no cluster.
    #[error(
        "the rows {start}..{end} are in no cluster; rows without columns are a cluster with no ranges"
    )]
    Uncovered {
        /// The first of them.
        start: usize,
        /// The first row that is in a cluster again.
        end: usize,
    },
    /// There are too many or too few of something.
    #[error("there are {given} {what}, not {expected}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        given: usize,
        /// How many there must be.
        expected: usize,
    },
    /// The ends of lists do not ascend, an end is beyond the last entry, or labels do not ascend.
    #[error("list {index} of {what} would go from {start} to {end}")]
    Descending {
        /// What the lists hold, or which labels.
        what: &'static str,
        /// The position of the list or label.
        index: usize,
        /// Where it starts.
        start: usize,
        /// Where it would end.
        end: usize,
    },
    /// A number is negative.
    #[error("{value} is no position")]
    Negative {
        /// The number.
        value: i64,
    },
    /// A point is infinite or NaN, so that it is in no cell of a grid.
    #[error("the point of row {row} is infinite or NaN")]
    Point {
        /// Its row.
        row: usize,
    },
    /// The size of the cells of a grid is not positive along an axis.
    #[error("the size of a cell along axis {axis} is not positive")]
    Cell {
        /// The axis.
        axis: usize,
    },
    /// Ranges that are to become those of a batch are transposed, or made from clusters or unsorted labels.
    #[error("the ranges of batch {index} are transposed, of clusters or of unsorted labels")]
    Order {
        /// The batch.
        index: usize,
    },
    /// An order does not have each index of its axis exactly once.
    #[error("the order of {what} does not have each index from 0 to {} once: {index} at place {place}", size - 1)]
    Permutation {
        /// Rows or columns.
        what: &'static str,
        /// How many there are.
        size: usize,
        /// The first index that comes twice or is too large.
        index: u32,
        /// Its place in the order.
        place: usize,
    },
    /// There are too many rows or columns to number them in 32 bits.
    #[error("{size} {what} are too many to be numbered in 32 bits")]
    TooLarge {
        /// Rows or columns.
        what: &'static str,
        /// How many there are.
        size: usize,
    },
    /// The ranges of a batch are for a matrix of other sizes than those of the first batch.
    #[error("the ranges of batch {index} are for {} x {} pairs, those of batch 0 for {} x {}", given[0], given[1], expected[0], expected[1])]
    Sizes {
        /// The batch.
        index: usize,
        /// Its numbers of rows and columns.
        given: [usize; 2],
        /// Those of the first batch.
        expected: [usize; 2],
    },
}

impl Ranges {
    fn single(list: List) -> Self {
        Self::of_lists(list.sizes(), Vec::new(), vec![Arc::new(list)])
    }

    /// Ranges with a list for each batch. All lists have the given sizes. There may be no batches, and then no lists.
    fn of_lists(sizes: [usize; 2], batch: Vec<usize>, lists: Vec<Arc<List>>) -> Self {
        Self {
            sizes,
            batch,
            lists: lists.into(),
            order: [None, None],
            limits: None,
            kept: Arc::default(),
        }
    }

    /// The same ranges for operands whose rows and columns come in another order: `rows[k]` is the index of the row at
    /// place `k` of the operands, and likewise for columns. Ranges count places. Results are in the order of the
    /// indices: row `rows[k]` of the result is that of the row at place `k`, and a reduction gives the columns that it
    /// finds by their indices. Of columns with equal values, the one of the lowest index comes first.
    ///
    /// # Errors
    /// If an order has another number of indices than its axis, or does not have each index from 0 on exactly once.
    pub fn with_order(self, [rows, columns]: [Option<Arc<[u32]>>; 2]) -> Result<Self, RangesError> {
        for (what, order, size) in [
            ("rows", &rows, self.sizes[0]),
            ("columns", &columns, self.sizes[1]),
        ] {
            if let Some(order) = order {
                check_order(what, order, size)?;
            }
        }
        Ok(Self {
            order: [rows, columns],
            kept: Arc::default(),
            ..self
        })
    }

    /// The same ranges with limits of the values that are to be found in each row: `[rows, dim]`, by the places of
    /// rows and the components of a formula. The `k` smallest values of a row must all be below its limit, unless the
    /// limit is infinite. If a row has fewer than `k` values, its limit must be infinite. A reduction that finds the
    /// `k` smallest values may use the limits to skip other values.
    ///
    /// The limits are for one batch. A launch of kernels with several batches, or of a formula with another number of
    /// components, is refused.
    pub fn with_limits(self, limits: Arc<[f32]>) -> Self {
        Self {
            limits: Some(limits),
            ..self
        }
    }

    /// The limits, if the reduction can use them: only [`ReductionKind::Smallest`] can.
    pub(crate) fn limits(&self, kind: ReductionKind) -> Option<&Arc<[f32]>> {
        let is_list = matches!(kind, ReductionKind::Smallest { .. });
        self.limits.as_ref().filter(|_| is_list)
    }

    /// Whether the limits, if the reduction uses any, fit a formula of `dim` components in batches of `shape`.
    pub fn has_limits_for(&self, kind: ReductionKind, dim: usize, shape: &[usize]) -> bool {
        let is_one_batch = shape.iter().product::<usize>() == 1;
        self.limits(kind)
            .is_none_or(|limits| is_one_batch && limits.len() == self.sizes[0] * dim)
    }

    /// The index of the row (or column) at each place of the operands, if they come in another order than that of the
    /// indices.
    pub fn order(&self, axis: Axis) -> Option<&Arc<[u32]>> {
        let [rows, columns] = &self.order;
        match axis {
            Axis::I => rows.as_ref(),
            Axis::J => columns.as_ref(),
        }
    }

    /// The same ranges without an order and without limits: rows and columns are numbered by their places.
    pub fn in_place(&self) -> Self {
        match (&self.order, &self.limits) {
            ([None, None], None) => self.clone(),
            _ => Self::of_lists(self.sizes, self.batch.clone(), self.lists.to_vec()),
        }
    }

    /// How many buffers a kernel reads ranges, their order and their limits from.
    pub fn buffers(&self, kind: ReductionKind) -> usize {
        let others = [
            self.unordered(kind),
            self.limits(kind).is_some(),
            self.order(Axis::I).is_some(),
        ];
        1 + others.into_iter().filter(|own| *own).count()
    }

    /// Whether a reduction must know the indices of columns: it selects columns, and these come in another order.
    pub(crate) fn unordered(&self, kind: ReductionKind) -> bool {
        kind.selects() && self.order(Axis::J).is_some()
    }

    /// The number of rows and of columns.
    pub fn sizes(&self) -> [usize; 2] {
        self.sizes
    }

    /// The batch dimensions: none if all batches have the same ranges.
    pub fn batch(&self) -> &[usize] {
        &self.batch
    }

    /// The number of pairs, of all batches together.
    pub fn pairs(&self) -> u128 {
        self.lists.iter().map(|list| list.pairs()).sum()
    }

    /// The number of ranges, of all batches together.
    pub fn count(&self) -> usize {
        self.lists.iter().map(|list| list.count()).sum()
    }

    /// The number of rows of all batches together. Rows of batches that share their ranges count once.
    pub(crate) fn rows_of_lists(&self) -> usize {
        self.lists.len() * self.sizes()[0]
    }

    /// The ranges of columns of a row, in batch `batch` of the batches that these ranges have.
    ///
    /// # Panics
    /// If there is no such batch or row.
    pub fn of_row(&self, batch: usize, row: usize) -> impl Iterator<Item = Range<usize>> {
        let columns = self.lists[batch].of_row(row);
        columns.iter().map(|own| own.range())
    }

    /// The number of columns of each row, `[batch.., M]` in batches of `shape`.
    ///
    /// # Panics
    /// If the batch dimensions do not broadcast to `shape`.
    pub fn lengths_of_rows(&self, shape: &[usize]) -> Vec<usize> {
        let batches = 0..shape.iter().product();
        let lists = batches.map(|batch| self.list(shape, batch));
        lists.flat_map(|list| list.lengths()).collect()
    }

    /// The same pairs with rows and columns exchanged: ranges of rows for clusters of columns. They are computed once
    /// and kept.
    pub fn transposed(&self) -> Self {
        let make = || {
            let lists = self.lists.iter().map(List::transposed).collect();
            let [rows, columns] = self.sizes;
            let [of_rows, of_columns] = self.order.clone();
            Self {
                order: [of_columns, of_rows],
                ..Self::of_lists([columns, rows], self.batch.clone(), lists)
            }
        };
        self.kept.transposed.get_or_init(make).clone()
    }

    /// The tasks of a reduction in batches of `shape`. The last few results are kept, as a solver or a training loop
    /// asks for the same again.
    pub(crate) fn tasks(&self, shape: &[usize], cut: Cut) -> Arc<Tasks> {
        const MOST: usize = 4;
        let mut kept = self.kept.tasks.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(own) = kept.iter().find(|own| own.shape == shape && own.cut == cut) {
            return own.tasks.clone();
        }
        let tasks = Arc::new(self.make_tasks(shape, cut));
        if kept.len() == MOST {
            kept.remove(0);
        }
        kept.push(Made {
            shape: shape.to_vec(),
            cut,
            tasks: tasks.clone(),
        });
        tasks
    }

    /// The list of ranges for batch `index` of batches of `shape`, to which the batch dimensions of the ranges
    /// broadcast.
    fn list(&self, shape: &[usize], index: usize) -> &Arc<List> {
        &self.lists[place_in(&self.batch, shape, index)]
    }

    /// Whether these are ranges of a matrix of these sizes in batches of `shape`.
    pub(crate) fn fits(&self, sizes: [usize; 2], shape: &[usize]) -> bool {
        self.sizes() == sizes && self.fits_batch(shape)
    }

    /// Whether the batch dimensions broadcast to `shape`.
    pub fn fits_batch(&self, shape: &[usize]) -> bool {
        let own = self.batch.iter().rev().copied();
        let mut sizes = own.zip(shape.iter().rev().copied());
        self.batch.len() <= shape.len() && sizes.all(|(own, size)| own == 1 || own == size)
    }
}

/// The position in a batch of shape `own` of the matrix for position `number` of a batch of shape `batch`, to which
/// `own` broadcasts.
pub fn place_in(own: &[usize], batch: &[usize], number: usize) -> usize {
    let mut rest = number;
    let (mut at, mut step) = (0, 1);
    for (back, size) in batch.iter().rev().enumerate() {
        let own = own.iter().rev().nth(back).copied().unwrap_or(1);
        if own > 1 {
            at += rest % size * step;
        }
        step *= own;
        rest /= size;
    }
    at
}

/// Checks that `order` has each index of an axis once.
pub(crate) fn check_order(
    what: &'static str,
    order: &[u32],
    size: usize,
) -> Result<(), RangesError> {
    if order.len() != size {
        return Err(RangesError::Count {
            what: match what {
                "rows" => "indices of rows",
                _ => "indices of columns",
            },
            given: order.len(),
            expected: size,
        });
    }
    let mut found = vec![false; size];
    for (place, index) in order.iter().copied().enumerate() {
        match found.get_mut(index as usize) {
            Some(found) if !*found => *found = true,
            _ => {
                return Err(RangesError::Permutation {
                    what,
                    size,
                    index,
                    place,
                });
            }
        }
    }
    Ok(())
}

impl PartialEq for Ranges {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<List>, &Arc<List>)| Arc::ptr_eq(a, b) || **a == **b;
        let mut lists = self.lists.iter().zip(other.lists.iter());
        (self.sizes, &self.batch, &self.order) == (other.sizes, &other.batch, &other.order)
            && self.limits == other.limits
            && (Arc::ptr_eq(&self.lists, &other.lists) || lists.all(same))
    }
}

impl Eq for Ranges {}

impl fmt::Debug for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, columns] = self.sizes();
        f.debug_struct("Ranges")
            .field("rows", &rows)
            .field("columns", &columns)
            .field("batch", &self.batch)
            .field("ranges", &self.count())
            .field("pairs", &self.pairs())
            .finish()
    }
}
