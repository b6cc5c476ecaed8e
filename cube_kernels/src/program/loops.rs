//! The largest number of iterations that loops take. The test that ends a loop counts as an iteration.

use super::UNROLL;

/// The iterations of a loop that runs `len` times and takes `inner` iterations of inner loops each time.
pub fn looped(len: usize, inner: usize) -> usize {
    len.saturating_mul(1 + inner).saturating_add(1)
}

/// Like [`looped`], for a loop that is unrolled if it is short.
pub fn unrolled(len: usize, inner: usize) -> usize {
    match len {
        ..=UNROLL => len * inner,
        _ => looped(len, inner),
    }
}

/// The iterations of loops that [`RunningSums`](crate::reduction::RunningSums) of some components take.
pub struct SumIterations {
    /// At the end of a block, when its sums are added to the sums of earlier blocks, and sometimes these to the total.
    pub end_block: usize,
    /// To merge a partial result.
    pub merge: usize,
}

/// The iterations of `len` running sums.
pub fn sums(len: usize) -> SumIterations {
    SumIterations {
        end_block: unrolled(len, 0) + looped(len, 0),
        merge: looped(len, 0) + looped(len, 0),
    }
}
