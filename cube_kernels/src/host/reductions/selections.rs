//! Reductions whose result is made of values of single columns.

use std::cmp::Ordering;

use super::{
    HostReduction, HostResults, HostState, Room, RowStep, Rules,
    loops::{AnyBeyond, LANES, LeastOfLanes, Places},
};
use crate::{
    math::lane::Real,
    reduction::{Extremum, NO_INDEX, Smallest},
};

/// Values and their columns, row by row.
#[derive(Clone)]
pub struct Found {
    values: Vec<f64>,
    columns: Vec<u32>,
}

impl Found {
    /// No values.
    fn new(rules: &Rules, rows: usize) -> Self {
        let len = rows * rules.spec.entries();
        Self {
            values: vec![rules.spec.empty(); len],
            columns: vec![NO_INDEX; len],
        }
    }
}

impl HostState for Found {
    fn save(&self, row: usize, (_, at): (usize, usize), rules: &Rules) -> f64 {
        self.values[row * rules.spec.entries() + at]
    }

    fn load(&mut self, row: usize, (_, at): (usize, usize), value: f64, rules: &Rules) {
        self.values[row * rules.spec.entries() + at] = value;
        // Any column, as a sign that there is a value. If columns are kept, `load_index` replaces it.
        self.load_index(row, at, 0, rules);
    }

    fn index(&self, row: usize, at: usize, rules: &Rules) -> u32 {
        self.columns[row * rules.spec.entries() + at]
    }

    fn load_index(&mut self, row: usize, at: usize, index: u32, rules: &Rules) {
        self.columns[row * rules.spec.entries() + at] = index;
    }
}

impl Extremum {
    /// Takes in the value of a column. If columns come in the order of their indices, the column is later than that of
    /// the best value so far; else it may be any.
    fn take(&self, state: &mut Found, at: usize, (value, column): (f64, u32), rules: &Rules) {
        let best = state.values[at];
        let beyond = match self.largest {
            true => value > best,
            false => value < best,
        };
        // The first column is always taken: if every value is infinite, none is better than the start value.
        let none = state.columns[at] == NO_INDEX;
        let better = !best.is_nan() && (beyond || value.is_nan());
        let same = value == best || (value.is_nan() && best.is_nan());
        if none || better || (same && rules.precedes(column, state.columns[at])) {
            state.values[at] = value;
            state.columns[at] = column;
        }
    }
}

impl HostReduction for Extremum {
    type State = Found;

    fn start(&self, rules: &Rules, rows: usize) -> Found {
        Found::new(rules, rows)
    }

    fn step<T: Real>(&self, state: &mut Found, step: RowStep<T>, rules: &Rules) {
        let at = step.row * rules.spec.dim + step.taken.index;
        let first = step.taken.column;
        let values = step.values(rules);
        let bound = T::of(state.values[at]);
        let largest = self.largest;
        // Few tiles have a better value, so that most are passed over after one test.
        let beyond = AnyBeyond {
            values,
            bound,
            largest,
            or_equal: rules.spec.unordered,
        };
        if state.columns[at] == NO_INDEX || rules.instructions.run(beyond) {
            for (column, value) in (first..).zip(values) {
                let own = (value.double(), rules.index(column));
                self.take(state, at, own, rules);
            }
        }
    }

    fn merge(&self, state: &mut Found, later: &Found, rules: &Rules) {
        for (at, (value, column)) in later.values.iter().zip(&later.columns).enumerate() {
            if *column != NO_INDEX {
                self.take(state, at, (*value, *column), rules);
            }
        }
    }
}

impl HostResults for Extremum {}

/// If there are at least this many times as many values as a list has places, the smallest are sorted before they are
/// inserted.
const MANY: usize = 2;

impl Smallest {
    /// Inserts a value into the sorted list of a component of a row, if it is among the smallest. It goes after equal
    /// values; if columns come in another order, equal values are sorted by their indices. The places of a list are as
    /// many values apart as the formula has components.
    ///
    /// It goes through one list at a time: if it goes through several side by side, in vectors, rustc 1.95 loses
    /// indices. It is not inlined for the same reason, as the code around it may be compiled to such vectors.
    #[inline(never)]
    fn insert(
        &self,
        state: &mut Found,
        (row, component): (usize, usize),
        (value, column): (f64, u32),
        rules: &Rules,
    ) {
        let (first, dim) = (row * rules.spec.entries() + component, rules.spec.dim);
        let list = first..first + (self.k - 1) * dim + 1;
        let (values, columns) = (&mut state.values[list.clone()], &mut state.columns[list]);
        let precedes = |held: f64, found: u32| {
            // An empty place holds infinity. An infinite value does not take it.
            let equal = value == held && found != NO_INDEX;
            value < held || (equal && rules.precedes(column, found))
        };
        let mut k = self.k;
        while k > 0 && precedes(values[(k - 1) * dim], columns[(k - 1) * dim]) {
            if k < self.k {
                values[k * dim] = values[(k - 1) * dim];
                columns[k * dim] = columns[(k - 1) * dim];
            }
            k -= 1;
        }
        if k < self.k {
            values[k * dim] = value;
            columns[k * dim] = column;
        }
    }
}

impl HostReduction for Smallest {
    type State = Found;

    fn start(&self, rules: &Rules, rows: usize) -> Found {
        Found::new(rules, rows)
    }

    fn step<T: Real>(&self, state: &mut Found, step: RowStep<T>, rules: &Rules) {
        let RowStep { row, room, taken } = step;
        let (entries, dim) = (rules.spec.entries(), rules.spec.dim);
        let last = row * entries + taken.index + (self.k - 1) * dim;
        let Room { values, places, .. } = room;
        let values = taken.values(values, rules);
        // A test for each case, as a test with a choice in it is not compiled to vector instructions.
        let mut find = |bound: T, or_equal: bool| match or_equal {
            false => rules.instructions.run(Places {
                values,
                places: &mut *places,
                is_one: |value| value < bound,
            }),
            true => rules.instructions.run(Places {
                values,
                places: &mut *places,
                is_one: |value| value <= bound,
            }),
        };
        let mut count = find(T::of(state.values[last]), rules.spec.unordered);
        if count >= MANY * self.k && MANY * self.k <= LANES {
            // Each of the values of the lanes is a value of another column. So the columns of this step alone have K
            // values that are not greater than the K-th of them.
            let mut lanes = rules.instructions.run(LeastOfLanes(values));
            let (_, bound, _) = lanes.select_nth_unstable_by(self.k - 1, |a, b| {
                a.partial_cmp(b).unwrap_or(Ordering::Equal)
            });
            if *bound < T::of(state.values[last]) {
                count = find(*bound, true);
            }
        }
        let own = |place: &u32| {
            let place = *place as usize;
            (values[place].double(), rules.index(taken.column + place))
        };
        let mut places = &mut places[..count];
        if count >= MANY * self.k {
            // Without this, most of the values would be inserted only to be pushed out again.
            let precedes = |a: &u32, b: &u32| {
                let (a, b) = (own(a), own(b));
                // No value is NaN, as NaN does not pass the test. Zeros of both signs are equal.
                let by_value = a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal);
                by_value.then(a.1.cmp(&b.1))
            };
            places.select_nth_unstable_by(self.k - 1, precedes);
            places = &mut places[..self.k];
            places.sort_unstable_by(precedes);
        }
        for place in places {
            self.insert(state, (row, taken.index), own(place), rules);
        }
    }

    fn merge(&self, state: &mut Found, later: &Found, rules: &Rules) {
        for (at, (value, column)) in later.values.iter().zip(&later.columns).enumerate() {
            let list = (at / rules.spec.entries(), at % rules.spec.dim);
            self.insert(state, list, (*value, *column), rules);
        }
    }
}

impl HostResults for Smallest {}
