//! Work on several threads, if there are any.

/// Calls both functions, at the same time if that is worth it.
pub fn both(worth: bool, first: impl FnOnce() + Send, second: impl FnOnce() + Send) {
    #[cfg(feature = "rayon")]
    if worth && !cfg!(target_family = "wasm") {
        rayon::join(first, second);
        return;
    }
    let _ = worth;
    first();
    second();
}

/// The results of `each` for the numbers below `count`, computed by several threads if that is worth it.
pub fn map<O: Send>(count: usize, worth: bool, each: impl Fn(usize) -> O + Sync + Send) -> Vec<O> {
    #[cfg(feature = "rayon")]
    if worth && !cfg!(target_family = "wasm") {
        use rayon::prelude::*;

        return (0..count).into_par_iter().map(each).collect();
    }
    let _ = worth;
    (0..count).map(each).collect()
}

/// Calls `each` for pieces of `values`, with the position of their first one, on several threads if that is worth it.
pub fn fill<T: Send>(values: &mut [T], worth: bool, each: impl Fn(usize, &mut [T]) + Sync + Send) {
    /// Number of values of a piece.
    const PIECE: usize = 1 << 12;
    #[cfg(feature = "rayon")]
    if worth && !cfg!(target_family = "wasm") {
        use rayon::prelude::*;

        let pieces = values.par_chunks_mut(PIECE).enumerate();
        return pieces.for_each(|(piece, own)| each(piece * PIECE, own));
    }
    let _ = worth;
    for (piece, own) in values.chunks_mut(PIECE).enumerate() {
        each(piece * PIECE, own);
    }
}
