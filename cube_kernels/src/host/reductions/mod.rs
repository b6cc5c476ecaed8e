//! Reductions on the host: a file each, or one for several that are alike.
//!
//! What they give is what [`Family`](crate::reduction::Family) says; numbers of the state are in F64 whatever the type
//! of the values.

mod exponentials;
mod found;
mod loops;
mod selections;
mod sums;
mod variance;

use super::{
    arithmetic::{Lanes, Tile},
    evaluate::Given,
    vector::Instructions,
};
use crate::{math::lane::Real, reduction::Spec};

pub(super) use found::NotOne;
pub(super) use sums::Running;

/// What all rows of a reduction share.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    pub instructions: Instructions,
    pub spec: Spec,
    /// The largest finite number of the type of the values.
    pub largest: f64,
    /// The indices of columns that come in another order.
    pub indices: Option<&'a [u32]>,
}

impl Rules<'_> {
    /// The index of a column.
    pub fn index(&self, column: usize) -> u32 {
        match self.indices {
            None => column as u32,
            Some(indices) => indices[column],
        }
    }

    /// Whether a column comes before another one that was found earlier, where they have equal values.
    fn precedes(&self, index: u32, found: u32) -> bool {
        self.spec.unordered && index < found
    }
}

/// Values of a component that rows take in.
#[derive(Clone, Copy)]
pub struct Taken<G> {
    /// The component.
    pub index: usize,
    /// The first column.
    pub column: usize,
    /// How many columns there are.
    pub len: usize,
    /// Their values.
    pub given: G,
}

/// Room of a row of a tile, from its first component to its last.
pub struct Room<T> {
    /// What is kept of some components until others come.
    pub kept: Vec<T>,
    /// The values at hand.
    pub values: Vec<T>,
    /// Places among them.
    pub places: Vec<u32>,
}

impl<T: Real> Room<T> {
    pub fn new() -> Self {
        Self {
            kept: Vec::new(),
            values: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Room for `len` columns, of which `components` are kept.
    pub fn prepare(&mut self, components: usize, len: usize) {
        if self.values.len() < len {
            self.values.resize(len, T::ZERO);
            self.places.resize(len, 0);
        }
        if self.kept.len() < components * len {
            self.kept.resize(components * len, T::ZERO);
        }
    }
}

/// The state machine of a reduction, for some rows at a time.
pub trait HostReduction {
    /// What is kept for rows.
    type State: Clone + Send;

    /// How many components are [kept](Room::kept) until others come.
    fn kept(&self) -> usize {
        0
    }

    /// Whether rows need [room](Room) for their values.
    fn needs_room(&self) -> bool {
        true
    }

    /// The state of `rows` rows before the first column.
    fn start(&self, rules: &Rules, rows: usize) -> Self::State;

    /// Takes in a component of some columns for a row.
    fn step<T: Real>(
        &self,
        state: &mut Self::State,
        row: usize,
        room: &mut Room<T>,
        taken: Taken<Given<Lanes<T>>>,
        rules: &Rules,
    );

    /// Takes in a component of some columns for the rows from `first` on, of which each has a room.
    fn step_rows<T: Real>(
        &self,
        state: &mut Self::State,
        first: usize,
        rooms: &mut [Room<T>],
        taken: Taken<Given<Tile<T>>>,
        rules: &Rules,
    ) {
        for (row, room) in rooms.iter_mut().enumerate() {
            let own = Taken {
                index: taken.index,
                column: taken.column,
                len: taken.len,
                given: taken.given.row(row, taken.len),
            };
            self.step(state, first + row, room, own, rules);
        }
    }

    /// Takes in the partial results of later columns.
    fn merge(&self, state: &mut Self::State, later: &Self::State, rules: &Rules);
}

/// What is read from the states of a reduction: results, and partial results, of which states are made again.
pub trait HostResults: HostReduction {
    /// Value `at` of `plane` of the partial result of a row.
    fn save(&self, state: &Self::State, row: usize, place: (usize, usize), rules: &Rules) -> f64;

    /// Sets a value of the partial result of a row, by its plane and its place there.
    fn load(
        &self,
        state: &mut Self::State,
        row: usize,
        place: (usize, usize),
        value: f64,
        rules: &Rules,
    );

    /// Value `at` of the result of a row.
    fn result(&self, state: &Self::State, row: usize, at: usize, rules: &Rules) -> f64;

    /// Column or count `at` of the partial result and of the result of a row.
    fn index(&self, state: &Self::State, row: usize, at: usize, rules: &Rules) -> u32 {
        let _ = (state, row, at, rules);
        0
    }

    /// Sets column or count `at` of the partial result of a row.
    fn load_index(
        &self,
        state: &mut Self::State,
        row: usize,
        at: usize,
        index: u32,
        rules: &Rules,
    ) {
        let _ = (state, row, at, index, rules);
    }
}

/// The factors of a product, or a value and 1, and whether it is subtracted.
fn factors<T: Real>(given: Given<Tile<'_, T>>) -> ([Tile<'_, T>; 2], bool) {
    match given {
        Given::Value(value) => ([value, Tile::All(T::ONE)], false),
        Given::Product(factors, negated) => (factors, negated),
    }
}
