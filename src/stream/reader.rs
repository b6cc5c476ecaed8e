//! Reads chunks of columns on a thread of its own.

use std::{ops::Range, panic::resume_unwind, sync::mpsc::sync_channel, thread};

use super::{Columns, StreamError};

/// A range of columns, read from all sources.
pub(super) struct Chunk {
    pub columns: Range<usize>,
    /// The numbers of each source.
    pub values: Vec<Vec<f32>>,
}

/// Calls `take` with all chunks of up to `size` columns, one after the other, or with one empty chunk if there are no
/// columns.
///
/// While `take` computes with one chunk, a thread reads the next one and then waits. So at most two chunks are in
/// memory, if `take` keeps none.
pub(super) fn for_each_chunk(
    sources: &[&dyn Columns],
    size: usize,
    take: &mut dyn FnMut(Chunk) -> Result<(), StreamError>,
) -> Result<(), StreamError> {
    let len = sources[0].len();
    let count = len.div_ceil(size).max(1);
    let range = move |chunk: usize| chunk * size..((chunk + 1) * size).min(len);
    if count == 1 {
        return take(read(sources, range(0))?);
    }
    thread::scope(|scope| {
        let (send, receive) = sync_channel(0);
        let reader = thread::Builder::new().spawn_scoped(scope, move || {
            for chunk in (0..count).map(|chunk| read(sources, range(chunk))) {
                let failed = chunk.is_err();
                // If the computation failed, nothing receives more chunks.
                if send.send(chunk).is_err() || failed {
                    return;
                }
            }
        });
        let Ok(reader) = reader else {
            // No thread can be started, so that chunks are read on this one.
            return (0..count).try_for_each(|chunk| take(read(sources, range(chunk))?));
        };
        let taken = receive.iter().try_for_each(|chunk| take(chunk?));
        // Without a receiver, a reader that waits to send a chunk ends.
        drop(receive);
        match reader.join() {
            Ok(()) => taken,
            Err(panic) => resume_unwind(panic),
        }
    })
}

fn read(sources: &[&dyn Columns], columns: Range<usize>) -> Result<Chunk, StreamError> {
    let values = sources.iter().enumerate().map(|(number, source)| {
        let mut values = vec![0.0; columns.len() * source.dim()];
        let read = source.read(columns.clone(), &mut values);
        read.map(|()| values).map_err(|error| StreamError::Read {
            number,
            columns: columns.clone(),
            error,
        })
    });
    let values = values.collect::<Result<_, _>>()?;
    Ok(Chunk { columns, values })
}
