//! Runs the code of a stage on a tile: some rows, and for each of them as many lanes.

use super::{
    arithmetic::{Accumulate, Copies, Lanes, MultiplyAdd, apply, product},
    tape::{Action, Owner, Step, Summand, Tape, Value},
    vector::Instructions,
};
use crate::{formula::catalogue::ScalarOp, math::lane::Real};

/// What a tile is made of.
pub struct Frame<'a, T> {
    /// Slots of the lanes, `width` each.
    pub lanes: &'a mut [T],
    /// Slots of the rows, `stride` each, and where the rows of the tile start there.
    pub rows: &'a [T],
    pub stride: usize,
    pub start: usize,
    /// Slots that are the same for all.
    pub uniform: &'a [T],
    /// Lanes of each row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// The index of the first row, and of the first lane.
    pub first: [usize; 2],
}

/// A value that is stored or handed on.
#[derive(Clone, Copy)]
pub enum Given<'a, T> {
    /// A value in each lane.
    Value(Lanes<'a, T>),
    /// A product, subtracted where this is true.
    Product([Lanes<'a, T>; 2], bool),
}

impl<'a, T: Real> Given<'a, T> {
    /// As values, one for each of the lanes that `room` has.
    pub fn values(self, instructions: Instructions, room: &'a mut [T]) -> &'a [T] {
        match self {
            Given::Value(Lanes::Each(values)) => &values[..room.len()],
            Given::Value(Lanes::All(value)) => {
                room.fill(value);
                room
            }
            Given::Product(factors, negated) => {
                product(instructions, factors, negated, room);
                room
            }
        }
    }

    /// Writes the values, one for each lane.
    fn write(self, instructions: Instructions, out: &mut [T]) {
        match self {
            Given::Value(Lanes::Each(values)) => out.copy_from_slice(&values[..out.len()]),
            Given::Value(Lanes::All(value)) => out.fill(value),
            Given::Product(factors, negated) => product(instructions, factors, negated, out),
        }
    }
}

/// Takes what a pair gives.
pub trait Sink<T> {
    /// Component `index` of the lanes of a row of the tile.
    fn take(&mut self, row: usize, index: usize, given: Given<T>);
}

/// Tiles for the values of registers.
pub struct Machine<T> {
    instructions: Instructions,
    registers: Vec<Vec<T>>,
    copies: Copies<T>,
    /// Room for what is stored, and for what is folded.
    stored: Vec<T>,
    folded: Vec<T>,
}

/// The lanes of a row of the tile that have a value, in turn `k` of a loop.
fn lanes<'b, T: Real>(
    registers: &'b [Vec<T>],
    frame: &'b Frame<T>,
    value: Value,
    row: usize,
    k: usize,
) -> Lanes<'b, T> {
    let width = frame.width;
    match value {
        Value::Register(tile) => Lanes::Each(&registers[tile][row * width..][..width]),
        Value::Constant(value) => Lanes::All(T::of(value)),
        Value::Counter(offset) => Lanes::All(T::of((k + offset) as f64)),
        Value::Slot {
            owner,
            slot,
            looped,
        } => {
            let slot = slot + if looped { k } else { 0 };
            match owner {
                Owner::Lanes => Lanes::Each(&frame.lanes[slot * width..][..width]),
                Owner::Row => Lanes::All(frame.rows[slot * frame.stride + frame.start + row]),
                Owner::Uniform => Lanes::All(frame.uniform[slot]),
            }
        }
    }
}

/// The same for a summand.
fn given<'b, T: Real>(
    registers: &'b [Vec<T>],
    frame: &'b Frame<T>,
    summand: &Summand,
    row: usize,
    k: usize,
) -> Given<'b, T> {
    let lanes = |value| lanes(registers, frame, value, row, k);
    match *summand {
        Summand::Value(value) => Given::Value(lanes(value)),
        Summand::Product { args, negated } => Given::Product(args.map(lanes), negated),
    }
}

impl<T: Real> Machine<T> {
    pub fn new(instructions: Instructions) -> Self {
        Self {
            instructions,
            registers: Vec::new(),
            copies: Default::default(),
            stored: Vec::new(),
            folded: Vec::new(),
        }
    }

    /// Fills the slots of the lanes that are not loaded.
    pub fn fill(&mut self, tape: &Tape, frame: &mut Frame<T>) {
        self.prepare(tape, frame);
        for action in &tape.actions {
            match action {
                Action::Store {
                    base,
                    len,
                    body,
                    term,
                } => {
                    for k in 0..*len {
                        self.steps(body, frame, k);
                        self.store(base + k, term, frame, k);
                    }
                }
                other => self.act(other, frame),
            }
        }
    }

    /// Hands the results of pairs to `sink`.
    pub fn pairs(&mut self, tape: &Tape, frame: &Frame<T>, sink: &mut impl Sink<T>) {
        self.prepare(tape, frame);
        for action in &tape.actions {
            match action {
                Action::Store {
                    base,
                    len,
                    body,
                    term,
                } => {
                    for k in 0..*len {
                        self.steps(body, frame, k);
                        for row in 0..frame.height {
                            sink.take(row, base + k, given(&self.registers, frame, term, row, k));
                        }
                    }
                }
                other => self.act(other, frame),
            }
        }
    }

    /// Makes room for the tile.
    fn prepare(&mut self, tape: &Tape, frame: &Frame<T>) {
        let grow = |values: &mut Vec<T>, len: usize| {
            if values.len() < len {
                values.resize(len, T::ZERO);
            }
        };
        if self.registers.len() < tape.registers {
            self.registers.resize_with(tape.registers, Vec::new);
        }
        for register in &mut self.registers {
            grow(register, frame.width * frame.height);
        }
        grow(&mut self.stored, frame.width);
        grow(&mut self.folded, frame.width);
    }

    /// Writes a value to a slot of the lanes.
    fn store(&mut self, slot: usize, term: &Summand, frame: &mut Frame<T>, k: usize) {
        let width = frame.width;
        let stored = &mut self.stored[..width];
        let given = given(&self.registers, frame, term, 0, k);
        given.write(self.instructions, stored);
        frame.lanes[slot * width..][..width].copy_from_slice(stored);
    }

    fn act(&mut self, action: &Action, frame: &Frame<T>) {
        match action {
            Action::Do(step) => self.step(step, frame, 0),
            Action::Sum {
                out,
                len,
                body,
                term,
                fold,
            } => {
                // Unlike 0 it keeps the sign of a zero that is added to it.
                let first = fold.map_or(Value::Constant(-0.0), |(_, first)| first);
                let first = Summand::Value(first);
                for row in 0..frame.height {
                    let mut tile = std::mem::take(&mut self.registers[*out]);
                    let own = &mut tile[row * frame.width..][..frame.width];
                    given(&self.registers, frame, &first, row, 0).write(self.instructions, own);
                    self.registers[*out] = tile;
                }
                for k in 0..*len {
                    self.steps(body, frame, k);
                    self.take_term(*out, term, fold.map(|(op, _)| op), frame, k);
                }
            }
            Action::Store { .. } => unreachable!("what is stored is handled by the stages"),
        }
    }

    /// Takes a term into a sum or fold.
    fn take_term(
        &mut self,
        out: usize,
        term: &Summand,
        fold: Option<ScalarOp>,
        frame: &Frame<T>,
        k: usize,
    ) {
        let width = frame.width;
        let mut tile = std::mem::take(&mut self.registers[out]);
        for row in 0..frame.height {
            let own = &mut tile[row * width..][..width];
            let given = given(&self.registers, frame, term, row, k);
            match fold {
                None => {
                    let (factors, negated) = match given {
                        Given::Value(value) => ([value, Lanes::All(T::ONE)], false),
                        Given::Product(factors, negated) => (factors, negated),
                    };
                    self.instructions.run(Accumulate {
                        sum: own,
                        factors,
                        negated,
                    });
                }
                Some(op) => {
                    let term = given.values(self.instructions, &mut self.stored[..width]);
                    let so_far = &mut self.folded[..width];
                    so_far.copy_from_slice(own);
                    let args = [&*so_far, term, term].map(Lanes::Each);
                    apply(self.instructions, op, own, args, &mut self.copies);
                }
            }
        }
        self.registers[out] = tile;
    }

    fn steps(&mut self, steps: &[Step], frame: &Frame<T>, k: usize) {
        for step in steps {
            self.step(step, frame, k);
        }
    }

    fn step(&mut self, step: &Step, frame: &Frame<T>, k: usize) {
        let (out, args) = match *step {
            Step::Apply { out, args, .. } | Step::Fma { out, args, .. } => (out, args),
            Step::Offset { out, .. } => (out, [Value::Constant(0.0); 3]),
        };
        let mut tile = std::mem::take(&mut self.registers[out]);
        // All rows at once, where they are in tiles.
        let in_tiles = |value: &Value| matches!(value, Value::Register(_));
        let whole = match step {
            Step::Apply { op, .. } => args[..op.arity()].iter().all(in_tiles),
            Step::Fma { .. } => args.iter().all(in_tiles),
            Step::Offset { .. } => false,
        };
        let (turns, len) = match whole {
            true => (1, frame.width * frame.height),
            false => (frame.height, frame.width),
        };
        for row in 0..turns {
            let own = &mut tile[row * len..][..len];
            let args = args.map(|value| match value {
                Value::Register(tile) => Lanes::Each(&self.registers[tile][row * len..][..len]),
                value => lanes(&self.registers, frame, value, row, k),
            });
            match *step {
                Step::Apply { op, .. } => apply(self.instructions, op, own, args, &mut self.copies),
                Step::Fma { negated, .. } => self.instructions.run(MultiplyAdd {
                    out: own,
                    factors: [args[0], args[1]],
                    summand: args[2],
                    negated,
                }),
                Step::Offset { negated, .. } => {
                    let row = (frame.first[0] + row) as f64;
                    for (lane, out) in (frame.first[1]..).zip(own) {
                        let offset = row - lane as f64;
                        *out = T::of(if negated { -offset } else { offset });
                    }
                }
            }
        }
        self.registers[out] = tile;
    }
}
