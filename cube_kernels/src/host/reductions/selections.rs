//! Reductions whose result is made of values of single columns.

use super::{HostReduction, Room, Rules, Taken, loops::AnyBeyond};
use crate::{
    math::lane::Real,
    reduction::{Extremum, NO_INDEX, Smallest},
};

/// Values and their columns.
#[derive(Clone)]
pub struct Found {
    values: Vec<f64>,
    columns: Vec<u32>,
}

impl Extremum {
    /// Takes a value that was found later than the best one.
    fn take(&self, state: &mut Found, at: usize, value: f64, column: u32) {
        let best = state.values[at];
        let beyond = match self.largest {
            true => value > best,
            false => value < best,
        };
        // Where every value is infinite, the first column is the extreme one.
        let none = state.columns[at] == NO_INDEX;
        if none || (!best.is_nan() && (beyond || value.is_nan())) {
            state.values[at] = value;
            state.columns[at] = column;
        }
    }
}

impl HostReduction for Extremum {
    type State = Found;

    fn start(&self, rules: &Rules) -> Found {
        let dim = rules.spec.dim;
        let worst = if self.largest {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        };
        Found {
            values: vec![worst; dim],
            columns: vec![NO_INDEX; dim],
        }
    }

    fn step<T: Real>(&self, state: &mut Found, room: &mut Room<T>, taken: Taken<T>, rules: &Rules) {
        let at = taken.index;
        let values = &mut room.values[..taken.len];
        let values = taken.given.values(rules.instructions, values);
        let bound = T::of(state.values[at]);
        let largest = self.largest;
        // Few tiles have a better value.
        let beyond = AnyBeyond {
            values,
            bound,
            largest,
        };
        if state.columns[at] == NO_INDEX || rules.instructions.run(beyond) {
            for (column, value) in (taken.column as u32..).zip(values) {
                self.take(state, at, value.double(), column);
            }
        }
    }

    fn save(&self, state: &Found, _plane: usize, at: usize, _rules: &Rules) -> f64 {
        state.values[at]
    }

    fn load(&self, state: &mut Found, (_, at): (usize, usize), value: f64, _rules: &Rules) {
        state.values[at] = value;
        // Some column, where none are kept.
        state.columns[at] = 0;
    }

    fn merge(&self, state: &mut Found, later: &Found, _rules: &Rules) {
        for (at, (value, column)) in later.values.iter().zip(&later.columns).enumerate() {
            if *column != NO_INDEX {
                self.take(state, at, *value, *column);
            }
        }
    }

    fn result(&self, state: &Found, at: usize, _rules: &Rules) -> f64 {
        state.values[at]
    }

    fn index(&self, state: &Found, at: usize) -> u32 {
        state.columns[at]
    }

    fn load_index(&self, state: &mut Found, at: usize, index: u32) {
        state.columns[at] = index;
    }
}

impl Smallest {
    /// Inserts a value of `component` behind those that it equals, if it is among the smallest. Lists are sorted, each
    /// component by itself.
    fn insert(&self, state: &mut Found, component: usize, value: f64, column: u32) {
        let dim = state.values.len() / self.k;
        let place = |k: usize| k * dim + component;
        let mut k = self.k;
        while k > 0 && value < state.values[place(k - 1)] {
            if k < self.k {
                state.values[place(k)] = state.values[place(k - 1)];
                state.columns[place(k)] = state.columns[place(k - 1)];
            }
            k -= 1;
        }
        if k < self.k {
            state.values[place(k)] = value;
            state.columns[place(k)] = column;
        }
    }
}

impl HostReduction for Smallest {
    type State = Found;

    fn start(&self, rules: &Rules) -> Found {
        let len = rules.spec.entries();
        Found {
            values: vec![f64::INFINITY; len],
            columns: vec![NO_INDEX; len],
        }
    }

    fn step<T: Real>(&self, state: &mut Found, room: &mut Room<T>, taken: Taken<T>, rules: &Rules) {
        /// Columns that are tested at once.
        const TOGETHER: usize = 32;
        let component = taken.index;
        let last = (self.k - 1) * rules.spec.dim + component;
        let values = &mut room.values[..taken.len];
        let values = taken.given.values(rules.instructions, values);
        let may_be_less = |state: &Found, values: &[T]| {
            rules.instructions.run(AnyBeyond {
                values,
                bound: T::of(state.values[last]),
                largest: false,
            })
        };
        if !may_be_less(state, values) {
            return;
        }
        for (column, values) in (taken.column..)
            .step_by(TOGETHER)
            .zip(values.chunks(TOGETHER))
        {
            if may_be_less(state, values) {
                for (column, value) in (column as u32..).zip(values) {
                    self.insert(state, component, value.double(), column);
                }
            }
        }
    }

    fn save(&self, state: &Found, _plane: usize, at: usize, _rules: &Rules) -> f64 {
        state.values[at]
    }

    fn load(&self, state: &mut Found, (_, at): (usize, usize), value: f64, _rules: &Rules) {
        state.values[at] = value;
    }

    fn merge(&self, state: &mut Found, later: &Found, rules: &Rules) {
        for (at, (value, column)) in later.values.iter().zip(&later.columns).enumerate() {
            self.insert(state, at % rules.spec.dim, *value, *column);
        }
    }

    fn result(&self, state: &Found, at: usize, _rules: &Rules) -> f64 {
        state.values[at]
    }

    fn index(&self, state: &Found, at: usize) -> u32 {
        state.columns[at]
    }

    fn load_index(&self, state: &mut Found, at: usize, index: u32) {
        state.columns[at] = index;
    }
}
