//! How many iterations loops take, at most, where the test that ends a loop counts as one.

use super::UNROLL;

/// A loop of `len` iterations, each with `inner` in loops of its own.
pub fn looped(len: usize, inner: usize) -> usize {
    len.saturating_mul(1 + inner).saturating_add(1)
}

/// The same for a loop that is unrolled if it is short.
pub fn unrolled(len: usize, inner: usize) -> usize {
    match len {
        ..=UNROLL => len * inner,
        _ => looped(len, inner),
    }
}

/// Iterations of [`RunningSums`](crate::reduction::RunningSums) of some components.
pub struct SumIterations {
    /// For the end of a block: sums of blocks are added up, and sometimes these sums, too.
    pub end_block: usize,
    /// For taking in a partial result.
    pub merge: usize,
}

/// The iterations of `len` running sums.
pub fn sums(len: usize) -> SumIterations {
    SumIterations {
        end_block: unrolled(len, 0) + looped(len, 0),
        merge: looped(len, 0) + looped(len, 0),
    }
}
