//! The run-time sizes and strides of a launch: their order in the `layout` argument.

/// Rows of the operands in one batch.
pub const ROWS: usize = 0;
/// Columns that are reduced.
pub const COLUMNS: usize = 1;
/// Columns of one part, if the columns are split into parts. For a symmetric sum, the part's share of the tiles: a
/// tile on the diagonal counts as one, another tile as two.
pub const PART: usize = 2;
/// Number of parts.
pub const PARTS: usize = 3;
/// Number of batches.
pub const BATCHES: usize = 4;
/// Rows of the output in one batch. Only kernels that add up rows read this number; in others it equals [`ROWS`].
pub const FOLDED: usize = 5;
/// Rows that a lane adds up in one part, if rows are added up.
pub const STEPS: usize = 6;
/// The sizes of the batch dimensions start here. The strides of each tensor follow them.
pub const BATCH_SHAPE: usize = 7;

/// Start of the strides of tensor `index`: the stride of its rows, the stride of its components, and one stride for
/// each batch dimension.
pub const fn strides(index: usize, batch_rank: usize) -> usize {
    BATCH_SHAPE + batch_rank + index * (2 + batch_rank)
}

/// Start of the numbers that only some kernels have. They follow the strides of `tensors` tensors and the strides
/// of the columns of those `of_pairs` tensors that have a value for each pair.
pub const fn others(tensors: usize, of_pairs: usize, batch_rank: usize) -> usize {
    strides(tensors, batch_rank) + of_pairs
}

/// Offset from [`others`] of the first column, in kernels whose columns start anywhere (`ColumnSource::Placed`).
pub const FIRST_COLUMN: usize = 0;
/// Offset from [`others`] of the place of the first part that is written, in the same kernels.
pub const FIRST_PART: usize = 1;
/// How many numbers these kernels have there.
pub const PLACED: usize = 2;
/// Offset from [`others`] of the number of tasks, in kernels whose pairs are in ranges (`ColumnSource::Ranges`).
pub const TASKS: usize = 0;

/// The numbers that describe a task, in this order.
pub mod task {
    /// The batch of its rows.
    pub const BATCH: usize = 0;
    /// Its first row.
    pub const ROW: usize = 1;
    /// The end of its rows.
    pub const STOP: usize = 2;
    /// The position of its first range in the buffer of tasks and ranges. A range has two numbers, its first column
    /// and its end.
    pub const FIRST: usize = 3;
    /// The position at which its ranges end.
    pub const LAST: usize = 4;
    /// Which part of the columns of its rows the ranges are.
    pub const PART: usize = 5;
    /// How many numbers a task has.
    pub const LEN: usize = 6;
}
