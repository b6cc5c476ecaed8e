//! Reductions on the host. A reduction has a file of its own, or shares one with similar reductions.
//!
//! [`Family`](crate::reduction::Family) says what their results are. The numbers of a state are in F64, whatever the
//! type of the values.

mod each_component;
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

/// What all rows of a reduction have in common.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    pub instructions: Instructions,
    pub spec: Spec,
    /// The largest finite number of the type of the values.
    pub largest: f64,
    /// The index of the column at each position, if columns do not come in the order of their indices.
    pub indices: Option<&'a [u32]>,
}

impl Rules<'_> {
    /// The index of the column at a position.
    pub fn index(&self, column: usize) -> u32 {
        match self.indices {
            None => column as u32,
            Some(indices) => indices[column],
        }
    }

    /// Whether the column `index` goes before the column `found`, which was taken in earlier and has an equal value.
    /// That is so only if columns come in another order and `index` is lower.
    fn precedes(&self, index: u32, found: u32) -> bool {
        self.spec.unordered && index < found
    }
}

/// The values of a component of the formula in consecutive columns, which one row or all rows of a tile take in.
#[derive(Clone, Copy)]
pub struct Taken<G> {
    /// The component.
    pub index: usize,
    /// The position of the first column.
    pub column: usize,
    /// How many columns there are.
    pub len: usize,
    /// Their values.
    pub given: G,
}

impl<G> Taken<G> {
    /// The same columns with other values.
    fn map<O>(self, given: impl FnOnce(G) -> O) -> Taken<O> {
        Taken {
            index: self.index,
            column: self.column,
            len: self.len,
            given: given(self.given),
        }
    }
}

impl<'a, T: Real> Taken<Given<Lanes<'a, T>>> {
    /// The values as a slice. They are written to `room`, unless they are in memory already.
    fn values(self, room: &'a mut [T], rules: &Rules) -> &'a [T] {
        self.given.values(rules.instructions, &mut room[..self.len])
    }
}

/// Room that a row of a tile needs while it takes in the components of the formula, from the first one to the last.
pub struct Room<T> {
    /// Values of some components, which are kept until later components have come.
    pub kept: Vec<T>,
    /// The values of the current component.
    pub values: Vec<T>,
    /// Positions in `values`.
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

    /// Makes room for `len` columns, and for `components` components that are kept.
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

/// What a row takes in at a time.
pub struct RowStep<'a, T> {
    /// The position of the row among the rows of the state.
    pub row: usize,
    pub room: &'a mut Room<T>,
    pub taken: Taken<Given<Lanes<'a, T>>>,
}

impl<'a, T: Real> RowStep<'a, T> {
    /// The values as a slice. They are written to the room, unless they are in memory already.
    fn values(self, rules: &Rules) -> &'a [T] {
        self.taken.values(&mut self.room.values, rules)
    }

    /// The same for a tile of one row.
    fn tile(self) -> TileStep<'a, T> {
        TileStep {
            first: self.row,
            rooms: std::slice::from_mut(self.room),
            taken: self.taken.map(|given| given.tile()),
        }
    }
}

/// What consecutive rows take in at a time.
pub struct TileStep<'a, T> {
    /// The position of the first row among the rows of the state.
    pub first: usize,
    /// A room for each of the rows.
    pub rooms: &'a mut [Room<T>],
    pub taken: Taken<Given<Tile<'a, T>>>,
}

/// The state machine of a reduction, for some rows at a time.
pub trait HostReduction {
    /// What a reduction keeps for its rows.
    type State: Clone + Send;

    /// How many components are [kept](Room::kept) until later ones have come.
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
    fn step<T: Real>(&self, state: &mut Self::State, step: RowStep<T>, rules: &Rules);

    /// Takes in a component of some columns for consecutive rows.
    fn step_rows<T: Real>(&self, state: &mut Self::State, step: TileStep<T>, rules: &Rules) {
        let TileStep {
            first,
            rooms,
            taken,
        } = step;
        for (row, room) in rooms.iter_mut().enumerate() {
            let own = RowStep {
                row: first + row,
                room,
                taken: taken.map(|given| given.row(row, taken.len)),
            };
            self.step(state, own, rules);
        }
    }

    /// Takes in the partial results of later columns.
    fn merge(&self, state: &mut Self::State, later: &Self::State, rules: &Rules);
}

/// What a reduction keeps for its rows, from which partial results are made, and which is made from partial results.
pub trait HostState {
    /// A value of the partial result of a row. `place` is its plane and its position in the plane.
    fn save(&self, row: usize, place: (usize, usize), rules: &Rules) -> f64;

    /// Sets a value of the partial result of a row. `place` is its plane and its position in the plane.
    fn load(&mut self, row: usize, place: (usize, usize), value: f64, rules: &Rules);

    /// Column or count `at` of a row, which is the same in the partial result and in the result.
    fn index(&self, row: usize, at: usize, rules: &Rules) -> u32 {
        let _ = (row, at, rules);
        0
    }

    /// Sets column or count `at` of the partial result of a row.
    fn load_index(&mut self, row: usize, at: usize, index: u32, rules: &Rules) {
        let _ = (row, at, index, rules);
    }
}

/// A reduction that has results.
pub trait HostResults: HostReduction<State: HostState> {
    /// Value `at` of the result of a row. By default it is that of the first plane of the partial result.
    fn result(&self, state: &Self::State, row: usize, at: usize, rules: &Rules) -> f64 {
        state.save(row, (0, at), rules)
    }
}

/// The two factors of a product and whether it is subtracted. A value is the product of itself and 1.
fn factors<T: Real>(given: Given<Tile<'_, T>>) -> ([Tile<'_, T>; 2], bool) {
    match given {
        Given::Value(value) => ([value, Tile::All(T::ONE)], false),
        Given::Product(factors, negated) => (factors, negated),
    }
}
