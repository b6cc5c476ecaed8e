//! The constants by which schedules are chosen. They affect the time that a kernel takes, not what it computes:
//! `tests/kernels/schedules.rs` also runs schedules that these constants would never choose.
//!
//! Constants for CPUs with 32 vector registers are measured: `cargo xtask bench schedules` times other schedules beside
//! the chosen one. The figures here are from that command on two cores of an Intel Xeon with AVX-512 (a virtual
//! machine), medians of three runs for 10 000 points unless stated otherwise. A figure is the time divided by the time
//! of the chosen schedule. The chosen schedule itself comes out between 0.94 and 1.11 there, and in single runs it is
//! off by up to a third, so smaller differences mean nothing.
//!
//! There was no card on which to measure the constants for GPUs. Unless stated otherwise, they follow from counts of
//! instructions and registers in the machine code, which `cargo xtask sass` prints.

use crate::program::LOOP_COLUMNS;

/// The most instructions of a pair that are compiled. To compile this many takes up to about a minute.
/// `cargo xtask bench own --only compile` times compilation.
pub const MOST_CODE: usize = 60_000;

/// Columns of a block. The error of a sum grows with this number. The cost of ending a block is negligible beyond
/// about a hundred columns: with blocks of 24 to 32 columns sums take 1.00 to 1.11, `logsumexp` 1.09 and lists 1.07;
/// with 504 to 512 columns sums take 0.99 to 1.02, and `logsumexp` and lists 0.98.
pub const BLOCK: usize = 128;

/// The fewest columns that are worth a part of their own. Eight parts of 1250 columns take 0.87 to 1.03 for sums and
/// 1.05 for `logsumexp`, 32 parts of 313 columns up to 1.17. Lists start again in each part: two parts take 1.45, eight
/// parts 2.64. With 64 components the columns of a part fit in the second-level cache, which makes eight parts faster
/// (0.87). That is not used, as the partial results of many rows would take much memory.
pub const LEAST_PART: usize = 1024;

/// Parts for each core of a CPU. There are several, so that all cores end at about the same time. For 10 rows and ten
/// million columns on two cores, one part takes 1.93, and 2 to 32 parts take 0.98 to 1.01.
pub const PARTS_PER_CORE: usize = 4;

/// Cubes for each multiprocessor of a GPU, which runs several at a time.
pub const PARTS_PER_PROCESSOR: usize = 4;

/// Multiprocessors of a GPU that does not say how many it has: those of a small card.
pub const UNKNOWN_PROCESSORS: usize = 32;

/// Units of a cube on a GPU.
pub const UNITS: usize = 128;

/// The time of an insertion into a list of `k` smallest values, in instructions of a pair. It decides how many columns
/// are evaluated twice, to find a bound of the lists first. In long lists, values wait to be inserted together. For the
/// 50 smallest values with D = 3, all columns are evaluated twice; no bound takes 1.67 of the time, and one column in
/// four 1.49. With D = 16, it is one column in four; no bound takes 1.00, and all columns 1.31. For the 20 smallest with
/// D = 3, it is one in four; no bound takes 1.45. For the 10 smallest with D = 3, it is one in 16; no bound takes 0.92
/// to 1.00, and all columns 1.25 to 1.61. (One or two runs each.)
pub const fn insertion(k: usize, is_list: bool) -> usize {
    match is_list {
        true => 75 + k / 3,
        false => 3 * k,
    }
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
    /// Lists of smallest values in registers. A value that belongs in the list of one lane makes all lanes run the
    /// insertion.
    pub lists: Shape,
    /// Lists of smallest values that are too long for registers.
    pub long_lists: Shape,
    /// Formulas of more than [`COSTLY`] instructions a pair.
    pub costly: Shape,
    /// Formulas of up to [`CHEAP`] instructions a pair that end in a sum.
    pub cheap: Shape,
    /// Other formulas.
    pub plain: Shape,
    /// Loops over components, with a sum for each vector of rows and each column. The other registers must hold the
    /// rows and the differences, because a spilled sum costs more than further columns save.
    pub looped: Shape,
    /// The same if the result has at least [`MANY_SUMS`] components, whose sums are not in registers.
    pub looped_sums: Shape,
}

/// The shapes for CPUs with 16 vector registers, which were not measured.
pub const REGISTERS_16: CpuShapes = CpuShapes {
    long: shape(1, 1),
    long_looped: shape(1, 2),
    lists: shape(1, 2),
    long_lists: shape(1, 2),
    costly: shape(2, 2),
    cheap: shape(2, 2),
    plain: shape(2, 2),
    looped: shape(2, 3),
    looped_sums: shape(2, 3),
};

/// The shapes for CPUs with 32 vector registers. They were measured with vectors of 512 bits. Half a vector of rows
/// takes 1.4 to 1.65 everywhere.
///
/// - `cheap`, sums for D = 3: one column 1.13, 2 columns 1.05, 8 columns 0.98, two vectors of rows 0.96.
/// - `plain`, `logsumexp`: one column 1.09, 4 columns 0.98, 14 columns 1.09; two vectors of rows 1.25.
/// - `looped`, D = 10: one column 1.37, 4 columns 1.02. D = 64: one column 1.95, 12 columns 0.99. Six columns took 0.90
///   for D = 64 and 1.01 for D = 10.
/// - `looped_sums`, as a part of the time with the shape `looped`: 0.70 for sums of 16 components, 0.69 for sums of 100
///   components, and 0.82 for attention of 4096 points with 64 components. Two vectors of rows took 0.78, 0.55 and 0.60,
///   but would leave lanes without rows in short ranges. (Two runs.)
/// - `lists`, 10 values: one column 0.99, 3 columns 0.94, 8 columns 0.98.
/// - `long_lists`, 50 values: 2 columns 1.74, 6 columns 1.09, 14 columns 0.94. (One run.)
pub const REGISTERS_32: CpuShapes = CpuShapes {
    long: shape(1, 1),
    long_looped: shape(1, 2),
    lists: shape(1, 2),
    long_lists: shape(1, 8),
    costly: shape(1, 2),
    cheap: shape(1, 12),
    plain: shape(1, 8),
    looped: shape(1, LOOP_COLUMNS),
    looped_sums: shape(1, 4),
};

/// The fewest components of a result for which [`CpuShapes::looped_sums`] is used. Results of 16, 64 and 100 components
/// were measured.
pub const MANY_SUMS: usize = 16;

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
