//! The constants that schedules are chosen by. They make a difference to the time that a kernel takes, not to
//! what it computes: `tests/kernels/schedules.rs` also runs schedules that none of them would choose.
//!
//! Constants of CPUs are measured: `cargo xtask bench schedules` times the schedules beside the one that is chosen,
//! and the figures here are of that command. There was no card to measure those of GPUs on. They follow from counts
//! of instructions and registers in the machine code, which `cargo xtask sass` prints, as far as nothing else is said.

use crate::program::LOOP_COLUMNS;

/// The most instructions of a pair that are compiled, which takes up to about a minute.
/// `cargo xtask bench own --only compile` times compilation.
pub const MOST_CODE: usize = 60_000;

/// Columns of a block. The error of a sum grows with it, the cost of ending a block vanishes beyond about a hundred
/// columns.
pub const BLOCK: usize = 128;

/// The fewest columns that are worth a part of their own.
pub const LEAST_PART: usize = 1024;

/// Parts for each core of a CPU: several, so that all cores end together.
pub const PARTS_PER_CORE: usize = 4;

/// Cubes for each multiprocessor of a GPU, which runs several at a time.
pub const PARTS_PER_PROCESSOR: usize = 4;

/// Multiprocessors of a GPU that does not say how many it has: those of a small card.
pub const UNKNOWN_PROCESSORS: usize = 32;

/// Units of a cube on a GPU.
pub const UNITS: usize = 128;

/// Instructions of an insertion into a list of `k` smallest values.
pub const fn insertion(k: usize) -> usize {
    80 + 5 * k
}

/// How many vectors of rows, and how many columns, a unit of a CPU evaluates together.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Vectors of rows.
    pub wide: usize,
    /// Columns.
    pub columns: usize,
}

const fn shape(wide: usize, columns: usize) -> Shape {
    Shape { wide, columns }
}

/// The shapes of a CPU by what is computed.
pub struct CpuShapes {
    /// Formulas whose code takes long to compile. Processors overlap their pairs anyway.
    pub long: Shape,
    /// The same with loops over components.
    pub long_looped: Shape,
    /// Lists of smallest values: a value that is among those of one lane is inserted in all of them.
    pub lists: Shape,
    /// Formulas of more than [`COSTLY`] instructions a pair.
    pub costly: Shape,
    /// Formulas of up to [`CHEAP`] instructions a pair that end in a sum.
    pub cheap: Shape,
    /// Other formulas.
    pub plain: Shape,
    /// Loops over components, with a sum for each vector of rows and each column. What is left of the registers must
    /// hold the rows and the differences, as a sum that is spilled costs more than columns can save.
    pub looped: Shape,
}

/// Of CPUs with 16 vector registers.
pub const REGISTERS_16: CpuShapes = CpuShapes {
    long: shape(1, 1),
    long_looped: shape(1, 2),
    lists: shape(1, 2),
    costly: shape(2, 2),
    cheap: shape(2, 2),
    plain: shape(2, 2),
    looped: shape(2, 3),
};

/// Of CPUs with 32 vector registers.
pub const REGISTERS_32: CpuShapes = CpuShapes {
    long: shape(1, 1),
    long_looped: shape(1, 2),
    lists: shape(1, 2),
    costly: shape(1, 2),
    cheap: shape(1, 12),
    plain: shape(1, 8),
    looped: shape(1, LOOP_COLUMNS),
};

/// Instructions a pair from which on several columns take longer to compile than they save.
pub const COSTLY: usize = 256;

/// Up to so many instructions a pair, latencies are hidden the better the more columns there are.
pub const CHEAP: usize = 64;

/// Bytes of the slots and running sums of a unit's rows that stay in the first-level cache, of at least 32 KiB.
pub const ROWS_IN_CACHE: usize = 24 * 1024;

/// Registers of a unit of a GPU beside those in which it computes: NVIDIA's cards have 255.
pub const ALL_REGISTERS: usize = 208;

/// With half of them a card runs twice as many units, which hide the latency of instructions that depend on each
/// other.
pub const HALF_OF_REGISTERS: usize = 96;

/// Instructions a pair from which on loads do not matter to a GPU, but the length of the code does.
pub const LONG_ON_GPU: usize = 64;

/// Rows, for each unit that runs in lockstep, from which on there is work for all of a card's units if each of them
/// takes four.
pub const MANY_ROWS: usize = 64 * 4;

/// The fewest components of an inner product for which matrix instructions are worth their tiles.
pub const MATRIX_LEAST: usize = 16;

/// The fewest components of which matrix instructions sum up products with weights: fewer sums fit in the
/// registers of a unit.
pub const WEIGHTED_LEAST: usize = 32;

/// Columns of a block of matrix instructions, in the order in which they are tried.
pub const MATRIX_BLOCKS: [usize; 3] = [64, 32, 16];

/// The most rows of a strip of a symmetric sum; the error of the sum of a column grows with it.
pub const STRIP: usize = 1024;

/// The most values of the sums of all units of a symmetric sum.
pub const SYMMETRIC_SUMS: usize = 1 << 25;

/// Bytes of the sums of a block of columns of a symmetric sum, which stay in the first-level cache.
pub const SYMMETRIC_COLUMNS: usize = 32 * 1024;

/// Bytes of what is kept of a strip of rows. It is read in order, from the second-level cache.
pub const SYMMETRIC_ROWS: usize = 192 * 1024;

/// Bytes beyond which not even a short strip of rows fits there.
pub const SYMMETRIC_MOST: usize = 1024 * 1024;

/// Instructions for a component of the sum of a column that is not kept in a register.
pub const KEPT_SUM: usize = 3;
