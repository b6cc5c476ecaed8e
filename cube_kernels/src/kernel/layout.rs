//! The run-time sizes and strides of a launch: their order in the `layout` argument.

/// Rows of the operands in one batch.
pub const ROWS: usize = 0;
/// Columns that are reduced.
pub const COLUMNS: usize = 1;
/// Columns of one part, where they are split; its share of the tiles, where each serves rows and
/// columns.
pub const PART: usize = 2;
/// Number of parts.
pub const PARTS: usize = 3;
/// Number of batches.
pub const BATCHES: usize = 4;
/// Rows of the output in one batch, where they are fewer.
pub const FOLDED: usize = 5;
/// Rows of a lane in one part, where they are added up.
pub const STEPS: usize = 6;
/// The sizes of the batch dimensions start here, then the strides of each tensor.
pub const BATCH_SHAPE: usize = 7;

/// Start of the strides of tensor `index`: that of its rows, of its components and of each batch
/// dimension.
pub const fn strides(index: usize, batch_rank: usize) -> usize {
    BATCH_SHAPE + batch_rank + index * (2 + batch_rank)
}

/// Start of the numbers that only some kernels have, behind the strides of `tensors` tensors and those of the columns of
/// the `of_pairs` ones among them that have a value for each pair.
pub const fn others(tensors: usize, of_pairs: usize, batch_rank: usize) -> usize {
    strides(tensors, batch_rank) + of_pairs
}

/// There, where columns start anywhere: the first column.
pub const FIRST_COLUMN: usize = 0;
/// There, too: the place of the first part.
pub const FIRST_PART: usize = 1;
/// How many numbers these are.
pub const PLACED: usize = 2;
/// There, where pairs are in ranges: the number of tasks.
pub const TASKS: usize = 0;

/// The numbers of a task, one behind the other.
pub mod task {
    /// Its batch.
    pub const BATCH: usize = 0;
    /// Its first row.
    pub const ROW: usize = 1;
    /// Where its rows end.
    pub const STOP: usize = 2;
    /// Where its ranges start, of two numbers each.
    pub const FIRST: usize = 3;
    /// Where they end.
    pub const LAST: usize = 4;
    /// Which part of the columns of its rows they are.
    pub const PART: usize = 5;
    /// How many numbers there are.
    pub const LEN: usize = 6;
}
