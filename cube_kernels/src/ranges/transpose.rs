//! The same pairs with rows and columns exchanged.

use std::collections::BTreeMap;

use super::list::{Builder, Columns, List};

/// The start or end of a range at a column. `rows` are the rows of the cluster that has the range.
struct Event {
    column: u32,
    starts: bool,
    rows: Columns,
}

/// Ranges of rows for clusters of columns. Columns between two neighbouring starts or ends of ranges have the same
/// rows, so that they form a cluster. The clusters are gone through in order. The rows of the current one are kept as
/// ranges with gaps between them, which each start or end of a range changes.
pub(super) fn transposed(list: &List) -> List {
    let [rows, columns] = list.sizes();
    let mut events = Vec::with_capacity(2 * list.count());
    for (own, ranges) in list.clusters() {
        let own = Columns {
            start: own.start as u32,
            end: own.end as u32,
        };
        for range in ranges.iter().filter(|_| own.len() > 0) {
            for (column, starts) in [(range.start, true), (range.end, false)] {
                events.push(Event {
                    column,
                    starts,
                    rows: own,
                });
            }
        }
    }
    events.sort_unstable_by_key(|event| (event.column, event.rows.start));

    let mut made = Builder::new([columns, rows]).expect("the sizes are those of a list");
    let mut active = Active::default();
    let mut at = 0;
    let mut start = 0;
    while start < columns {
        while let Some(event) = events
            .get(at)
            .filter(|event| event.column as usize == start)
        {
            match event.starts {
                true => active.insert(event.rows),
                false => active.remove(event.rows),
            }
            at += 1;
        }
        let end = events
            .get(at)
            .map_or(columns, |event| event.column as usize);
        made.cluster(start..end).expect("within the columns");
        for (first, last) in &active.0 {
            made.push(*first as usize..*last as usize)
                .expect("ranges ascend");
        }
        start = end;
    }
    made.finish()
}

/// Ranges of rows with gaps between them: the end of each by its start.
#[derive(Default)]
struct Active(BTreeMap<u32, u32>);

impl Active {
    /// Adds rows, of which none may be there.
    fn insert(&mut self, rows: Columns) {
        let Columns { mut start, mut end } = rows;
        if let Some(behind) = self.0.remove(&end) {
            end = behind;
        }
        if let Some((&before, &stop)) = self.0.range(..start).next_back()
            && stop == start
        {
            start = before;
        }
        self.0.insert(start, end);
    }

    /// Takes away rows, of which all must be there.
    fn remove(&mut self, rows: Columns) {
        let (&start, &end) = self
            .0
            .range(..=rows.start)
            .next_back()
            .expect("the rows are there");
        self.0.remove(&start);
        if start < rows.start {
            self.0.insert(start, rows.start);
        }
        if rows.end < end {
            self.0.insert(rows.end, end);
        }
    }
}
