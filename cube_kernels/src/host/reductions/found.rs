//! Finds columns by the values of a formula.

use super::{HostReduction, Room, RowStep, Rules, loops::Places};
use crate::{math::lane::Real, ranges::Runs};

/// Finds the columns at which a formula of one component is not 1. NaN is not 1, either.
pub struct NotOne;

/// Runs of columns in the order in which they were found: the row, the first column, and the column after the last.
#[derive(Clone, Default)]
pub struct Columns(Vec<(u32, u32, u32)>);

impl Columns {
    /// The runs of each of `rows` rows. The runs of a row must have been found in ascending order of their columns.
    pub fn runs(&self, rows: usize) -> Runs {
        let mut starts = vec![0; rows + 1];
        for (row, ..) in &self.0 {
            starts[*row as usize + 1] += 1;
        }
        for row in 0..rows {
            starts[row + 1] += starts[row];
        }
        let mut sorted = vec![(0, 0); self.0.len()];
        let mut next = starts.clone();
        for (row, start, end) in &self.0 {
            let at = &mut next[*row as usize];
            sorted[*at] = (*start, *end);
            *at += 1;
        }
        let mut runs = Runs::default();
        for own in starts.windows(2) {
            let first = runs.all.len();
            for (start, end) in &sorted[own[0]..own[1]] {
                runs.push(first, *start, *end);
            }
            runs.ends.push(runs.all.len());
        }
        runs
    }
}

impl HostReduction for NotOne {
    type State = Columns;

    fn start(&self, _rules: &Rules, _rows: usize) -> Columns {
        Columns::default()
    }

    fn step<T: Real>(&self, state: &mut Columns, step: RowStep<T>, rules: &Rules) {
        let RowStep { row, room, taken } = step;
        let Room { values, places, .. } = room;
        let values = taken.values(values, rules);
        let count = rules.instructions.run(Places {
            values,
            places,
            is_one: |value: T| value != T::ONE,
        });
        let (row, first) = (row as u32, taken.column as u32);
        for run in places[..count].chunk_by(|a, b| a + 1 == *b) {
            let [start, end] = [run[0], run[run.len() - 1] + 1].map(|place| first + place);
            state.0.push((row, start, end));
        }
    }

    fn merge(&self, state: &mut Columns, later: &Columns, _rules: &Rules) {
        state.0.extend_from_slice(&later.0);
    }
}
