//! The constants by which schedules are chosen. They affect the time that a kernel takes, not what it computes:
//! `tests/kernels/schedules.rs` also runs schedules that these constants would never choose.
//!
//! Constants for CPUs are measured: `cargo xtask bench schedules` times other schedules beside the chosen one, and
//! the figures here are from that command. There was no card on which to measure the constants for GPUs. Unless
//! stated otherwise, they follow from counts of instructions and registers in the machine code, which
//! `cargo xtask sass` prints.

use crate::program::LOOP_COLUMNS;

/// The most instructions of a pair that are compiled. To compile this many takes up to about a minute.
/// `cargo xtask bench own --only compile` times compilation.
pub const MOST_CODE: usize = 60_000;

/// Columns of a block. The error of a sum grows with this number. The cost of ending a block is negligible beyond
/// about a hundred columns.
pub const BLOCK: usize = 128;

/// The fewest columns that are worth a part of their own.
pub const LEAST_PART: usize = 1024;

/// Parts for each core of a CPU. There are several, so that all cores end at about the same time.
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

/// The shapes for a CPU, by the kind of formula or reduction.
pub struct CpuShapes {
    /// Formulas whose code takes long to compile. Processors overlap the work of consecutive pairs anyway.
    pub long: Shape,
    /// Formulas whose code takes long to compile, with loops over components.
    pub long_looped: Shape,
    /// Lists of smallest values. A value that belongs in the list of one lane makes all lanes run the insertion.
    pub lists: Shape,
    /// Formulas of more than [`COSTLY`] instructions a pair.
    pub costly: Shape,
    /// Formulas of up to [`CHEAP`] instructions a pair that end in a sum.
    pub cheap: Shape,
    /// Other formulas.
    pub plain: Shape,
    /// Loops over components, with a sum for each vector of rows and each column. The other registers must hold the
    /// rows and the differences, because a spilled sum costs more than further columns save.
    pub looped: Shape,
}

/// The shapes for CPUs with 16 vector registers.
pub const REGISTERS_16: CpuShapes = CpuShapes {
    long: shape(1, 1),
    long_looped: shape(1, 2),
    lists: shape(1, 2),
    costly: shape(2, 2),
    cheap: shape(2, 2),
    plain: shape(2, 2),
    looped: shape(2, 3),
};

/// The shapes for CPUs with 32 vector registers.
pub const REGISTERS_32: CpuShapes = CpuShapes {
    long: shape(1, 1),
    long_looped: shape(1, 2),
    lists: shape(1, 2),
    costly: shape(1, 2),
    cheap: shape(1, 12),
    plain: shape(1, 8),
    looped: shape(1, LOOP_COLUMNS),
};

/// Above this number of instructions a pair, many columns take longer to compile than they save.
pub const COSTLY: usize = 256;

/// Up to this number of instructions a pair, more columns hide more of the latencies.
pub const CHEAP: usize = 64;

/// The most bytes of the slots and running sums of a unit's rows. They should stay in the first-level cache, which
/// has at least 32 KiB.
pub const ROWS_IN_CACHE: usize = 24 * 1024;

/// Registers of a unit of a GPU for slots and state. NVIDIA's cards have 255, and the others are for computing.
pub const ALL_REGISTERS: usize = 208;

/// The same for a unit that takes half of all registers. Then a card runs twice as many units, which hide the
/// latency of instructions that depend on each other.
pub const HALF_OF_REGISTERS: usize = 96;

/// Above this number of instructions a pair, loads do not matter to a GPU, but the length of the code does.
pub const LONG_ON_GPU: usize = 64;

/// The number of rows, for each unit of a plane, from which on all units of a card have work even if each of them
/// takes four rows.
pub const MANY_ROWS: usize = 64 * 4;

/// The fewest components of an inner product for which matrix instructions are worth their tiles.
pub const MATRIX_LEAST: usize = 16;

/// The fewest components whose weighted sums are computed by matrix instructions. Fewer sums fit in the registers
/// of a unit.
pub const WEIGHTED_LEAST: usize = 32;

/// Columns of a block of matrix instructions, in the order in which they are tried.
pub const MATRIX_BLOCKS: [usize; 3] = [64, 32, 16];

/// The most rows of a strip of a symmetric sum; the error of the sum of a column grows with it.
pub const STRIP: usize = 1024;

/// The most values of the sums of all units of a symmetric sum.
pub const SYMMETRIC_SUMS: usize = 1 << 25;

/// Bytes of the sums of a block of columns of a symmetric sum, which stay in the first-level cache.
pub const SYMMETRIC_COLUMNS: usize = 32 * 1024;

/// Bytes that are kept for a strip of rows. They are read in order, from the second-level cache.
pub const SYMMETRIC_ROWS: usize = 192 * 1024;

/// The most bytes of a strip of rows. If even a short strip takes more, it does not fit in the second-level cache.
pub const SYMMETRIC_MOST: usize = 1024 * 1024;

/// Instructions for a component of the sum of a column that is not kept in a register.
pub const KEPT_SUM: usize = 3;
