//! Runs the code of a stage on a tile: some rows, with the same number of lanes each.

use super::{
    arithmetic::{Accumulate, Copies, Lanes, MultiplyAdd, Tile, apply, write},
    tape::{Action, NOTHING, Owner, Part, Step, Summand, Tape, Turns, Value},
    tensor::Rows,
    terms::{Kind, SumOfTerms, Term},
    vector::Instructions,
};
use crate::{formula::catalogue::ScalarOp, math::lane::Real};

/// A tile, with the slots and operands that its code reads.
pub struct Frame<'a, T> {
    /// Slots of the lanes, with `width` values each.
    pub lanes: &'a mut [T],
    /// Slots of the rows, with `stride` values each. In each slot, the rows of the tile start at value `start`.
    pub rows: &'a [T],
    pub stride: usize,
    pub start: usize,
    /// Slots that are the same for all.
    pub uniform: &'a [T],
    /// Number of lanes of each row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// The index of the first row, and of the first lane.
    pub first: [usize; 2],
    /// The operands, if pairs are evaluated.
    pub tensors: &'a [Rows<'a>],
}

/// Values that are stored or handed on. `V` is the values of a tile, or of one of its rows.
#[derive(Clone, Copy)]
pub enum Given<V> {
    /// A value.
    Value(V),
    /// A product of two values; its opposite if the flag is true.
    Product([V; 2], bool),
}

impl<'a, T: Real> Given<Tile<'a, T>> {
    /// The values of a row.
    pub fn row(self, row: usize, width: usize) -> Given<Lanes<'a, T>> {
        match self {
            Given::Value(tile) => Given::Value(tile.row(row, width)),
            Given::Product(factors, negated) => {
                Given::Product(factors.map(|tile| tile.row(row, width)), negated)
            }
        }
    }

    /// Writes the values, row by row.
    fn write(self, instructions: Instructions, out: &mut [T], width: usize) {
        match self {
            Given::Value(tile) => write(tile, out, width),
            Given::Product(factors, negated) => instructions.run(MultiplyAdd {
                out,
                width,
                factors,
                summand: Tile::All(-T::ZERO),
                negated,
            }),
        }
    }
}

impl<'a, T: Real> Given<Lanes<'a, T>> {
    /// The same values as those of a tile of one row.
    pub fn tile(self) -> Given<Tile<'a, T>> {
        match self {
            Given::Value(lanes) => Given::Value(lanes.tile()),
            Given::Product(factors, negated) => Given::Product(factors.map(Lanes::tile), negated),
        }
    }

    /// The values as a slice, one for each lane. They are written to `room`, whose length is the number of lanes,
    /// unless they are in memory already.
    pub fn values(self, instructions: Instructions, room: &'a mut [T]) -> &'a [T] {
        let width = room.len();
        match self {
            Given::Value(Lanes::Each(values)) => &values[..width],
            Given::Value(value) => {
                write(value.tile(), room, width);
                room
            }
            Given::Product(factors, negated) => {
                let tile = Given::Product(factors.map(Lanes::tile), negated);
                tile.write(instructions, room, width);
                room
            }
        }
    }
}

/// Takes in the values of pairs.
pub trait Sink<T> {
    /// Takes in component `index` of all pairs of the tile.
    fn take(&mut self, index: usize, given: Given<Tile<T>>);
}

/// Runs code on tiles. It keeps the tiles of the registers from one run to the next.
pub struct Machine<T> {
    instructions: Instructions,
    registers: Vec<Vec<T>>,
    copies: Copies<T>,
    /// Room for a value that is stored or folded in, and for the earlier value of a fold.
    stored: Vec<T>,
    folded: Vec<T>,
}

/// The values of an argument in a tile, in turn `k` of a loop.
fn tile<'b, T: Real>(
    registers: &'b [Vec<T>],
    frame: &'b Frame<T>,
    value: Value,
    k: usize,
) -> Tile<'b, T> {
    let (width, height) = (frame.width, frame.height);
    match value {
        Value::Register(tile) => Tile::Own(&registers[tile][..width * height]),
        Value::Constant(value) => Tile::All(T::of(value)),
        Value::Counter(offset) => Tile::All(T::of((k + offset) as f64)),
        Value::Slot {
            owner,
            slot,
            looped,
        } => {
            let slot = slot + if looped { k } else { 0 };
            match owner {
                Owner::Lanes => Tile::Lanes(&frame.lanes[slot * width..][..width]),
                Owner::Row => {
                    Tile::Rows(&frame.rows[slot * frame.stride + frame.start..][..height])
                }
                Owner::Uniform => Tile::All(frame.uniform[slot]),
            }
        }
    }
}

/// The values of a summand in a tile, in turn `k` of a loop.
fn given<'b, T: Real>(
    registers: &'b [Vec<T>],
    frame: &'b Frame<T>,
    summand: &Summand,
    k: usize,
) -> Given<Tile<'b, T>> {
    let tile = |value| tile(registers, frame, value, k);
    match *summand {
        Summand::Value(value) => Given::Value(tile(value)),
        Summand::Product { args, negated } => Given::Product(args.map(tile), negated),
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

    /// Computes the slots of the lanes that are not copied from operands. The frame has one row.
    pub fn fill(&mut self, tape: &Tape, frame: &mut Frame<T>) {
        self.prepare(tape, frame);
        for action in &tape.actions {
            match action {
                Action::Store { base, terms } => self.store(*base, terms, frame),
                other => self.act(other, frame),
            }
        }
    }

    /// Evaluates pairs, and hands their components to `sink`.
    pub fn pairs(&mut self, tape: &Tape, frame: &Frame<T>, sink: &mut impl Sink<T>) {
        self.prepare(tape, frame);
        for action in &tape.actions {
            match action {
                Action::Store { base, terms } => {
                    for k in 0..terms.len {
                        self.steps(&terms.steps, frame, k);
                        sink.take(base + k, given(&self.registers, frame, &terms.term, k));
                    }
                }
                other => self.act(other, frame),
            }
        }
    }

    /// Makes room for the registers of the code.
    fn prepare(&mut self, tape: &Tape, frame: &Frame<T>) {
        let len = frame.width * frame.height;
        let grow = |values: &mut Vec<T>| {
            if values.len() < len {
                values.resize(len, T::ZERO);
            }
        };
        if self.registers.len() < tape.registers {
            self.registers.resize_with(tape.registers, Vec::new);
        }
        self.registers[..tape.registers].iter_mut().for_each(grow);
    }

    /// Writes values to the slots of the lanes from `base` on.
    fn store(&mut self, base: usize, terms: &Turns, frame: &mut Frame<T>) {
        let width = frame.width;
        for k in 0..terms.len {
            self.steps(&terms.steps, frame, k);
            self.stored.resize(width, T::ZERO);
            let given = given(&self.registers, frame, &terms.term, k);
            given.write(self.instructions, &mut self.stored, width);
            frame.lanes[(base + k) * width..][..width].copy_from_slice(&self.stored);
        }
    }

    fn act(&mut self, action: &Action, frame: &Frame<T>) {
        match action {
            Action::Do(step) => self.step(step, frame, 0),
            Action::Terms {
                out,
                parts,
                len,
                summand,
            } => {
                let len_of = frame.width * frame.height;
                let mut own = std::mem::take(&mut self.registers[*out]);
                let value = |value: Value, k: usize| tile(&self.registers, frame, value, k);
                let terms = (0..*len).flat_map(|k| {
                    parts.iter().map(move |signed| {
                        let (kind, args) = match signed.part {
                            Part::Product(args) => (Kind::Product, args),
                            Part::Square(args) => (Kind::Square, args),
                        };
                        Term {
                            kind,
                            args: args.map(|own| value(own, k)),
                            negated: signed.negated,
                        }
                    })
                });
                let terms: Vec<Term<T>> = terms.collect();
                self.instructions.run(SumOfTerms {
                    out: &mut own[..len_of],
                    width: frame.width,
                    terms: &terms,
                    summand: value(*summand, 0),
                });
                self.registers[*out] = own;
            }
            Action::Sum { out, terms, fold } => {
                let first = fold.map_or(Value::Constant(NOTHING), |(_, first)| first);
                let mut own = std::mem::take(&mut self.registers[*out]);
                let size = frame.width * frame.height;
                write(
                    tile(&self.registers, frame, first, 0),
                    &mut own[..size],
                    frame.width,
                );
                self.registers[*out] = own;
                for k in 0..terms.len {
                    self.steps(&terms.steps, frame, k);
                    self.take_term(*out, &terms.term, fold.map(|(op, _)| op), frame, k);
                }
            }
            Action::Store { .. } => unreachable!("what is stored is handled by the stages"),
        }
    }

    /// Adds a term to the sum in tile `out`, or folds it in.
    fn take_term(
        &mut self,
        out: usize,
        term: &Summand,
        fold: Option<ScalarOp>,
        frame: &Frame<T>,
        k: usize,
    ) {
        let (width, size) = (frame.width, frame.width * frame.height);
        let mut all = std::mem::take(&mut self.registers[out]);
        let own = &mut all[..size];
        let given = given(&self.registers, frame, term, k);
        match fold {
            None => {
                let (factors, negated) = match given {
                    Given::Value(value) => ([value, Tile::All(T::ONE)], false),
                    Given::Product(factors, negated) => (factors, negated),
                };
                self.instructions.run(Accumulate {
                    sum: own,
                    width,
                    factors,
                    negated,
                });
            }
            Some(op) => {
                self.stored.resize(size, T::ZERO);
                given.write(self.instructions, &mut self.stored, width);
                self.folded.clear();
                self.folded.extend_from_slice(own);
                let args = [&self.folded, &self.stored, &self.stored];
                let args = args.map(|values| Tile::Own(values));
                let out = (own, width);
                apply(self.instructions, op, out, args, &mut self.copies);
            }
        }
        self.registers[out] = all;
    }

    fn steps(&mut self, steps: &[Step], frame: &Frame<T>, k: usize) {
        for step in steps {
            self.step(step, frame, k);
        }
    }

    fn step(&mut self, step: &Step, frame: &Frame<T>, k: usize) {
        let (width, size) = (frame.width, frame.width * frame.height);
        let out = match *step {
            Step::Apply { out, .. }
            | Step::Fma { out, .. }
            | Step::Entry { out, .. }
            | Step::Offset { out, .. } => out,
        };
        let mut all = std::mem::take(&mut self.registers[out]);
        let own = &mut all[..size];
        let value = |value| tile(&self.registers, frame, value, k);
        match *step {
            Step::Apply { op, args, .. } => {
                let args = args.map(value);
                apply(self.instructions, op, (own, width), args, &mut self.copies);
            }
            Step::Fma { args, negated, .. } => {
                let [a, b, c] = args.map(value);
                self.instructions.run(MultiplyAdd {
                    out: own,
                    width,
                    factors: [a, b],
                    summand: c,
                    negated,
                });
            }
            Step::Entry {
                tensor,
                component,
                looped,
                ..
            } => {
                let component = component + if looped { k } else { 0 };
                let [first, column] = frame.first;
                for (row, own) in (first..).zip(own.chunks_exact_mut(width)) {
                    frame.tensors[tensor].read_pairs(component, (row, column), own);
                }
            }
            Step::Offset { negated, .. } => {
                for (row, own) in (frame.first[0]..).zip(own.chunks_exact_mut(width)) {
                    for (lane, own) in (frame.first[1]..).zip(own) {
                        let offset = row as f64 - lane as f64;
                        *own = T::of(if negated { -offset } else { offset });
                    }
                }
            }
        }
        self.registers[out] = all;
    }
}
