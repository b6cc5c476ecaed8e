//! The code of a stage in the form that runs on tiles.
//!
//! An instruction names slots and constants directly as its arguments, so that these need no registers. Each register
//! has a tile. Once a register has been read for the last time, its tile serves another one.

use std::collections::HashMap;

use super::writer::Writer;
use crate::{
    formula::catalogue::ScalarOp,
    program::{Item, Register, Space},
};

/// The number that a sum starts from. Unlike 0 it keeps the sign of a zero that is added to it.
pub const NOTHING: f64 = -0.0;

/// Where an argument of an instruction comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// The tile of a register, by its number.
    Register(usize),
    /// A slot, of this stage or of an earlier one.
    Slot {
        /// What the slot has values for.
        owner: Owner,
        /// The slot; in a loop, the slot for counter 0.
        slot: usize,
        /// Whether the counter of the loop is added to `slot`.
        looped: bool,
    },
    /// The same number everywhere.
    Constant(f64),
    /// The counter of the loop plus this number.
    Counter(usize),
}

/// What a slot has values for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// One value for each lane: a slot of the stage itself, or of columns in the stage of pairs.
    Lanes,
    /// One value for each row, in the stage of pairs.
    Row,
    /// One value for all.
    Uniform,
}

/// An instruction.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A function of up to three values.
    Apply {
        /// The tile that gets the result.
        out: usize,
        /// The function.
        op: ScalarOp,
        /// Its arguments. Functions of fewer than three ignore the others.
        args: [Value; 3],
    },
    /// $a b + c$, or $c - a b$.
    Fma {
        /// The tile that gets the result.
        out: usize,
        /// The factors and the summand.
        args: [Value; 3],
        /// Whether the product is subtracted.
        negated: bool,
    },
    /// A component of a tensor that has a value for each pair.
    Entry {
        /// The tile that gets the component.
        out: usize,
        /// The position of the tensor among the tensors.
        tensor: usize,
        /// The component; in a loop, the component for counter 0.
        component: usize,
        /// Whether the counter of the loop is added to `component`.
        looped: bool,
    },
    /// The index of the row minus the index of the lane, or the opposite.
    Offset {
        /// The tile that gets the result.
        out: usize,
        /// Whether it is the index of the lane minus the index of the row.
        negated: bool,
    },
}

/// A value that is added to a sum, stored in a slot, or handed on as a component of the formula.
#[derive(Clone, Copy, Debug)]
pub enum Summand {
    /// A value.
    Value(Value),
    /// A product.
    Product {
        /// The factors.
        args: [Value; 2],
        /// Whether the product is subtracted.
        negated: bool,
    },
}

/// A term of a sum, made of two values.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// $a b$.
    Product([Value; 2]),
    /// $(a - b)^2$.
    Square([Value; 2]),
}

/// A term of a sum with its sign.
#[derive(Clone, Copy, Debug)]
pub struct Signed {
    /// The term.
    pub part: Part,
    /// Whether the term is subtracted.
    pub negated: bool,
}

/// A part of a stage: an instruction or a loop.
#[derive(Clone, Debug)]
pub enum Action {
    /// One instruction.
    Do(Step),
    /// `summand` plus the sum over `k < len` of terms. The arguments of the terms are slots, constants and counters.
    /// It is computed without tiles for intermediate results.
    Terms {
        /// The tile that gets the result.
        out: usize,
        /// The terms for each `k`.
        parts: Vec<Signed>,
        /// Number of values of `k`.
        len: usize,
        /// The value that the terms are added to.
        summand: Value,
    },
    /// A sum over `k < len`, or a fold by another function.
    Sum {
        /// The tile that gets the result.
        out: usize,
        /// The terms.
        terms: Turns,
        /// The function of two values to fold by, and the value to start from. `None` for a sum.
        fold: Option<(ScalarOp, Value)>,
    },
    /// Slot or output `base + k` gets a term, for `k < len`.
    Store {
        /// The first slot or output.
        base: usize,
        /// The values.
        terms: Turns,
    },
}

/// The code of a [`Loop`](crate::program::Loop): a term for each `k < len`.
#[derive(Clone, Debug)]
pub struct Turns {
    /// Number of terms.
    pub len: usize,
    /// What is computed for each `k`.
    pub steps: Vec<Step>,
    /// The term.
    pub term: Summand,
}

/// The code of a stage.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    /// What is done, in order.
    pub actions: Vec<Action>,
    /// How many tiles of registers it needs.
    pub registers: usize,
}

impl Tape {
    /// The code of the stage `space`, whose items are `items`.
    pub fn new(items: &[Item], space: Space) -> Self {
        let mut last: HashMap<Register, usize> = HashMap::new();
        for (at, item) in items.iter().enumerate() {
            last.extend(item.registers().into_iter().map(|register| (register, at)));
        }
        let mut writer = Writer::new(items, space);
        let mut actions = Vec::new();
        for (at, item) in items.iter().enumerate() {
            writer.write(item, items, &mut actions);
            let over = item.registers().into_iter().chain(item.filled());
            for register in over {
                if last.get(&register).is_none_or(|last| *last <= at) {
                    writer.release(register);
                }
            }
        }
        Self {
            actions,
            registers: writer.registers(),
        }
    }
}
