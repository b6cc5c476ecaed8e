//! Reductions on the host: a file each, or one for several that are alike.
//!
//! What they give is what [`Family`] says; numbers of the state are in F64 whatever the type of the values.

mod exponentials;
mod loops;
mod selections;
mod sums;
mod variance;

use super::{arithmetic::Lanes, evaluate::Given, vector::Instructions};
use crate::{
    math::lane::Real,
    reduction::{Family, Spec},
};

pub(super) use sums::Running;

/// What all rows of a reduction share.
#[derive(Clone, Copy)]
pub struct Rules {
    pub instructions: Instructions,
    pub spec: Spec,
    /// The largest finite number of the type of the values.
    pub largest: f64,
}

/// Values of a component that a row takes in.
pub struct Taken<'a, T> {
    /// The component.
    pub index: usize,
    /// The first column.
    pub column: usize,
    /// How many columns there are.
    pub len: usize,
    /// Their values.
    pub given: Given<'a, T>,
}

/// Room of a row of a tile, from its first component to its last.
pub struct Room<T> {
    /// What is kept of some components until others come.
    pub kept: Vec<T>,
    /// The values at hand.
    pub values: Vec<T>,
}

impl<T: Real> Room<T> {
    pub fn new() -> Self {
        Self {
            kept: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Room for `len` columns, of which `components` are kept.
    pub fn prepare(&mut self, components: usize, len: usize) {
        if self.values.len() < len {
            self.values.resize(len, T::ZERO);
        }
        if self.kept.len() < components * len {
            self.kept.resize(components * len, T::ZERO);
        }
    }
}

/// The state machine of a reduction.
pub trait HostReduction: Family {
    /// What is kept for a row.
    type State: Clone + Send;

    /// How many components are [kept](Room::kept) until others come.
    fn kept(&self) -> usize {
        0
    }

    /// The state before the first column.
    fn start(&self, rules: &Rules) -> Self::State;

    /// Takes in a component of some columns.
    fn step<T: Real>(
        &self,
        state: &mut Self::State,
        room: &mut Room<T>,
        taken: Taken<T>,
        rules: &Rules,
    );

    /// Value `at` of `plane` of the partial result.
    fn save(&self, state: &Self::State, plane: usize, at: usize, rules: &Rules) -> f64;

    /// Sets a value of the partial result, by its plane and its place there.
    fn load(&self, state: &mut Self::State, place: (usize, usize), value: f64, rules: &Rules);

    /// Takes in the partial result of later columns.
    fn merge(&self, state: &mut Self::State, later: &Self::State, rules: &Rules);

    /// Value `at` of the result.
    fn result(&self, state: &Self::State, at: usize, rules: &Rules) -> f64;

    /// Column or count `at` of the partial result and of the result.
    fn index(&self, state: &Self::State, at: usize) -> u32 {
        let _ = (state, at);
        0
    }

    /// Sets column or count `at` of the partial result.
    fn load_index(&self, state: &mut Self::State, at: usize, index: u32) {
        let _ = (state, at, index);
    }
}

/// The factors of a product, or a value and 1.
fn factors<T: Real>(given: Given<'_, T>) -> [Lanes<'_, T>; 2] {
    match given {
        Given::Value(value) => [value, Lanes::All(T::ONE)],
        Given::Product([a, b], false) => [a, b],
        Given::Product(..) => unreachable!("signs are taken apart"),
    }
}
