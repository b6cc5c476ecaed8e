//! Ranges that are made from clusters, labels, lengths, bands and lists of neighbours.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::{
    Ranges, RangesError,
    list::{Builder, List},
};

impl Ranges {
    /// The ranges `columns[slices[k - 1]..slices[k]]` for the rows `rows[k]`, where the first slice starts at 0. These
    /// are `ranges_i`, `slices_i` and `redranges_j` of KeOps.
    ///
    /// `size` is the number of rows and the number of columns. The clusters `rows` may come in any order.
    ///
    /// # Errors
    /// If rows are in no cluster or in two, if ranges leave the axes or overlap, or if the slices do not fit.
    pub fn new(
        size: [usize; 2],
        rows: &[Range<usize>],
        slices: &[usize],
        columns: &[Range<usize>],
    ) -> Result<Self, RangesError> {
        if slices.len() != rows.len() {
            return Err(RangesError::Count {
                what: "ends of lists of columns",
                given: slices.len(),
                expected: rows.len(),
            });
        }
        let used = slices.last().copied().unwrap_or(0);
        if used != columns.len() {
            return Err(RangesError::Count {
                what: "ranges of columns",
                given: columns.len(),
                expected: used,
            });
        }
        let mut start = 0;
        let mut lists = Vec::with_capacity(rows.len());
        for (index, end) in slices.iter().copied().enumerate() {
            if end < start || end > columns.len() {
                return Err(RangesError::Descending {
                    what: "columns",
                    index,
                    start,
                    end,
                });
            }
            lists.push(&columns[start..end]);
            start = end;
        }
        let mut builder = Builder::new(size)?;
        let mut sorted = Vec::new();
        for index in partition(rows, size[0])? {
            builder.cluster(rows[index].clone())?;
            let list = lists[index];
            if list.is_sorted_by_key(|own| own.start) {
                list.iter().try_for_each(|own| builder.push(own.clone()))?;
            } else {
                sorted.clear();
                sorted.extend_from_slice(list);
                sorted.sort_unstable_by_key(|own| own.start);
                sorted
                    .iter()
                    .try_for_each(|own| builder.push(own.clone()))?;
            }
        }
        Ok(Self::single(builder.finish()))
    }

    /// The pairs of those clusters for which `keep` is true. It has an entry for each cluster of rows and each cluster
    /// of columns, row by row.
    ///
    /// Clusters may come in any order. The clusters of rows must hold each row once, and those of columns no column
    /// twice. The matrix ends with the last row and the last column that are in a cluster.
    ///
    /// # Errors
    /// If clusters overlap, rows are in none, or `keep` has another length than there are pairs of clusters.
    pub fn from_matrix(
        rows: &[Range<usize>],
        columns: &[Range<usize>],
        keep: &[bool],
    ) -> Result<Self, RangesError> {
        if keep.len() != rows.len() * columns.len() {
            return Err(RangesError::Count {
                what: "pairs of clusters",
                given: keep.len(),
                expected: rows.len() * columns.len(),
            });
        }
        let size = [rows, columns].map(|axis| axis.iter().map(|own| own.end).max().unwrap_or(0));
        let mut builder = Builder::new(size)?;
        let order = sorted(columns, "columns")?;
        // Clusters are mostly sorted. Then the entries of `keep` that are false are passed over quickly.
        let in_order = order.is_sorted();
        for index in partition(rows, size[0])? {
            builder.cluster(rows[index].clone())?;
            let own = &keep[index * columns.len()..][..columns.len()];
            if in_order {
                let mut at = 0;
                while let Some(next) = find(&own[at..]) {
                    builder.push(columns[at + next].clone())?;
                    at += next + 1;
                }
            } else {
                for k in order.iter().filter(|k| own[**k]) {
                    builder.push(columns[*k].clone())?;
                }
            }
        }
        Ok(Self::single(builder.finish()))
    }

    /// The pairs of the `k`-th segment of rows and the `k`-th segment of columns, as for batches of unequal sizes.
    /// Segments have these lengths and follow one another.
    ///
    /// # Errors
    /// If there is another number of segments of columns than of rows.
    pub fn lengths(rows: &[usize], columns: &[usize]) -> Result<Self, RangesError> {
        if rows.len() != columns.len() {
            return Err(RangesError::Count {
                what: "segments of columns",
                given: columns.len(),
                expected: rows.len(),
            });
        }
        let total = |axis: &[usize], what| {
            let sum = axis
                .iter()
                .try_fold(0usize, |sum, own| sum.checked_add(*own));
            let size = usize::MAX;
            sum.ok_or(RangesError::TooLarge { what, size })
        };
        let size = [total(rows, "rows")?, total(columns, "columns")?];
        let mut builder = Builder::new(size)?;
        let mut start = [0, 0];
        for (rows, columns) in rows.iter().zip(columns) {
            let end = [start[0] + rows, start[1] + columns];
            if *rows > 0 {
                builder.cluster(start[0]..end[0])?;
                builder.push(start[1]..end[1])?;
            }
            start = end;
        }
        Ok(Self::single(builder.finish()))
    }

    /// The pairs of rows and columns with the same label, for labels that are sorted on both axes.
    ///
    /// # Errors
    /// If labels do not ascend.
    pub fn labels(rows: &[i64], columns: &[i64]) -> Result<Self, RangesError> {
        for (what, labels) in [("labels of rows", rows), ("labels of columns", columns)] {
            if let Some(at) = labels.windows(2).position(|pair| pair[1] < pair[0]) {
                return Err(RangesError::Descending {
                    what,
                    index: at,
                    start: at,
                    end: at + 1,
                });
            }
        }
        let mut of_label: BTreeMap<i64, Range<usize>> = BTreeMap::new();
        for (at, label) in columns.iter().enumerate() {
            of_label.entry(*label).or_insert(at..at).end = at + 1;
        }
        let mut builder = Builder::new([rows.len(), columns.len()])?;
        let mut at = 0;
        for own in rows.chunk_by(|a, b| a == b) {
            builder.cluster(at..at + own.len())?;
            if let Some(columns) = of_label.get(&own[0]) {
                builder.push(columns.clone())?;
            }
            at += own.len();
        }
        Ok(Self::single(builder.finish()))
    }

    /// For each row `i` the columns from `i - below` to `i + above`, both included, if they exist.
    ///
    /// # Errors
    /// If there are more rows or columns than can be numbered.
    pub fn band(size: [usize; 2], below: usize, above: usize) -> Result<Self, RangesError> {
        let [rows, columns] = size;
        let mut builder = Builder::new(size)?;
        let of = |row: usize| {
            let end = row.saturating_add(above).saturating_add(1).min(columns);
            row.saturating_sub(below).min(end)..end
        };
        let mut first = 0;
        while first < rows {
            let own = of(first);
            // Rows near an end of the matrix may all have the same columns.
            let next = (first + 1..rows).find(|row| of(*row) != own);
            let end = next.unwrap_or(rows);
            builder.cluster(first..end)?;
            builder.push(own)?;
            first = end;
        }
        Ok(Self::single(builder.finish()))
    }

    /// For each row `i` the columns up to and including column `i`.
    ///
    /// # Errors
    /// As [`band`](Self::band).
    pub fn causal(size: [usize; 2]) -> Result<Self, RangesError> {
        Self::band(size, usize::MAX, 0)
    }

    /// For each row the columns `index[starts[row]..starts[row + 1]]`: a graph in compressed rows. The columns of a
    /// row may come in any order, each once.
    ///
    /// # Errors
    /// If `starts` does not ascend from 0 to the number of neighbours, or a column does not exist or comes twice.
    pub fn neighbors(
        columns: usize,
        starts: &[usize],
        index: &[usize],
    ) -> Result<Self, RangesError> {
        let rows = starts.len().saturating_sub(1);
        let ends = [starts.first(), starts.last()].map(|end| end.copied().unwrap_or(0));
        for (given, expected) in ends.into_iter().zip([0, index.len()]) {
            if given != expected {
                return Err(RangesError::Count {
                    what: "neighbours at an end of the list",
                    given,
                    expected,
                });
            }
        }
        let mut builder = Builder::new([rows, columns])?;
        let mut own = Vec::new();
        for row in 0..rows {
            let (start, end) = (starts[row], starts[row + 1]);
            if end < start || end > index.len() {
                return Err(RangesError::Descending {
                    what: "neighbours",
                    index: row,
                    start,
                    end,
                });
            }
            builder.cluster(row..row + 1)?;
            own.clear();
            own.extend_from_slice(&index[start..end]);
            own.sort_unstable();
            for column in own.iter().copied() {
                builder.push(column..column.saturating_add(1))?;
            }
        }
        Ok(Self::single(builder.finish()))
    }

    /// Ranges with batch dimensions `shape`, made of the ranges of each batch.
    ///
    /// # Errors
    /// If there are not as many ranges as batches, if there are no batches, or if ranges are for different numbers of
    /// rows or columns or have batches already.
    pub fn batched(shape: &[usize], each: &[Ranges]) -> Result<Self, RangesError> {
        let expected = shape.iter().product();
        if each.len() != expected || expected == 0 {
            let expected = usize::max(expected, 1);
            return Err(RangesError::Count {
                what: "ranges of batches",
                given: each.len(),
                expected,
            });
        }
        let mut lists: Vec<Arc<List>> = Vec::with_capacity(expected);
        for (index, own) in each.iter().enumerate() {
            let [list] = &own.lists[..] else {
                return Err(RangesError::Count {
                    what: "batches of the ranges of one batch",
                    given: own.lists.len(),
                    expected: 1,
                });
            };
            if own.sizes() != each[0].sizes() {
                return Err(RangesError::Sizes {
                    index,
                    given: own.sizes(),
                    expected: each[0].sizes(),
                });
            }
            lists.push(list.clone());
        }
        Ok(Self::of_lists(each[0].sizes(), shape.to_vec(), lists))
    }
}

/// The position of the first entry that is true. Entries are tested sixteen at a time.
fn find(keep: &[bool]) -> Option<usize> {
    let none = |chunk: &&[bool]| !chunk.iter().fold(false, |any, own| any | own);
    let skipped = keep.chunks(16).take_while(none).map(<[bool]>::len).sum();
    let rest: &[bool] = &keep[skipped..];
    rest.iter().position(|own| *own).map(|at| skipped + at)
}

/// The positions of the ranges that are not empty, in the order of their starts. Fails if ranges overlap.
fn sorted(ranges: &[Range<usize>], what: &'static str) -> Result<Vec<usize>, RangesError> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    if let Some(own) = ranges.iter().find(|own| own.start > own.end) {
        return Err(RangesError::Reversed {
            what,
            start: own.start,
            end: own.end,
        });
    }
    order.retain(|k| !ranges[*k].is_empty());
    if !order.is_sorted_by_key(|k| ranges[*k].start) {
        order.sort_by_key(|k| ranges[*k].start);
    }
    for pair in order.windows(2) {
        let [first, second] = [pair[0], pair[1]].map(|k| &ranges[k]);
        if second.start < first.end {
            return Err(RangesError::Overlap {
                what,
                first: [first.start, first.end],
                second: [second.start, second.end],
            });
        }
    }
    Ok(order)
}

/// The positions of the clusters in the order of their rows. Fails if these do not hold each of `size` rows once.
fn partition(rows: &[Range<usize>], size: usize) -> Result<Vec<usize>, RangesError> {
    let order = sorted(rows, "rows")?;
    let mut end = 0;
    for own in order.iter().map(|k| &rows[*k]) {
        if own.start > end {
            return Err(RangesError::Uncovered {
                start: end,
                end: own.start,
            });
        }
        end = own.end;
    }
    match end < size {
        true => Err(RangesError::Uncovered {
            start: end,
            end: size,
        }),
        false => Ok(order),
    }
}
