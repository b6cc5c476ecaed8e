//! The code of a stage as it is run on tiles: what is loaded or constant is named where it is read, and tiles of
//! registers serve others once they have been read for the last time.

use std::collections::HashMap;

use super::writer::Writer;
use crate::{
    formula::catalogue::ScalarOp,
    program::{Item, Register, Space},
};

/// What a sum starts from: unlike 0 it keeps the sign of a zero that is added to it.
pub const NOTHING: f64 = -0.0;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A tile of registers.
    Register(usize),
    /// A slot: of the stage itself, one value for each lane; of an earlier one, a value for all lanes of a row.
    Slot {
        /// Whose slot it is.
        owner: Owner,
        /// The slot, the first one in a loop.
        slot: usize,
        /// Whether the counter of the loop is added.
        looped: bool,
    },
    /// The same number everywhere.
    Constant(f64),
    /// The counter of the loop, plus this.
    Counter(usize),
}

/// Whose slot it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Of the lanes.
    Lanes,
    /// Of the row.
    Row,
    /// The same for all.
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
        /// Its arguments; functions of fewer ignore the others.
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
    /// A component of a tensor of pairs.
    Entry {
        /// The tile that gets it.
        out: usize,
        /// The position of the tensor among the tensors.
        tensor: usize,
        /// The component, the first one in a loop.
        component: usize,
        /// Whether the counter of the loop is added.
        looped: bool,
    },
    /// The index of the row minus that of the lane, or the opposite.
    Offset {
        /// The tile that gets the result.
        out: usize,
        /// Whether that of the lane comes first.
        negated: bool,
    },
}

/// What is added, stored or handed on.
#[derive(Clone, Copy, Debug)]
pub enum Summand {
    /// A value.
    Value(Value),
    /// A product.
    Product {
        /// The factors.
        args: [Value; 2],
        /// Whether it is subtracted.
        negated: bool,
    },
}

/// A term of a sum.
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
    /// Whether it is subtracted.
    pub negated: bool,
}

/// A part of a stage.
#[derive(Clone, Debug)]
pub enum Action {
    /// One instruction.
    Do(Step),
    /// The sum over `k < len` of terms that are made of slots and numbers, and of a value. It is computed without
    /// memory in between.
    Terms {
        /// The tile that gets the result.
        out: usize,
        /// The terms for each `k`.
        parts: Vec<Signed>,
        /// How often they are added.
        len: usize,
        /// What is added to.
        summand: Value,
    },
    /// A sum over `k < len`, or what else values are folded by.
    Sum {
        /// The tile that gets the result.
        out: usize,
        /// Number of terms.
        len: usize,
        /// What is computed for each `k`.
        body: Vec<Step>,
        /// The term.
        term: Summand,
        /// A function of two values to fold by, and what it starts from.
        fold: Option<(ScalarOp, Value)>,
    },
    /// Slot or output `base + k` gets a term, for `k < len`.
    Store {
        /// The first slot or output.
        base: usize,
        /// Number of values.
        len: usize,
        /// What is computed for each `k`.
        body: Vec<Step>,
        /// The value.
        term: Summand,
    },
}

/// The code of a stage.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    /// What is done, in order.
    pub actions: Vec<Action>,
    /// How many tiles it needs.
    pub registers: usize,
}

impl Tape {
    /// The code of `items`, which are those of the stage `space`.
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
