//! Writes the code of a stage. It gives tiles to registers, and finds sums of terms that need no tiles for
//! intermediate results.

use std::collections::HashMap;

use super::tape::{Action, NOTHING, Owner, Part, Signed, Step, Summand, Turns, Value};
use crate::{
    formula::catalogue::ScalarOp,
    math::series::matern_coefficients,
    program::{Instruction, Item, Loop, Register, Space, Term},
};

/// Writes the code of a stage, item by item.
pub struct Writer {
    space: Space,
    values: HashMap<Register, Value>,
    /// Tiles that no register uses.
    free: Vec<usize>,
    registers: usize,
    /// The positions of the items that read each register.
    readers: HashMap<Register, Vec<usize>>,
    /// The arguments of differences that are only squared. No code has been written for them: it is written with the
    /// square.
    differences: HashMap<Register, [Value; 2]>,
}

/// The positions of the items that read each register.
fn readers(items: &[Item]) -> HashMap<Register, Vec<usize>> {
    let mut readers: HashMap<Register, Vec<usize>> = HashMap::new();
    for (at, item) in items.iter().enumerate() {
        for register in item.registers() {
            let readers = readers.entry(register).or_default();
            if readers.last() != Some(&at) {
                readers.push(at);
            }
        }
    }
    readers
}

/// Whether an item squares `register`, and does nothing else with it.
fn squares(item: &Item, register: Register) -> bool {
    match item {
        Item::Let(_, Instruction::Apply { op, args, .. }) => match op {
            ScalarOp::Square => args[0] == register,
            ScalarOp::Mul => args[..2] == [register; 2],
            _ => false,
        },
        Item::Let(_, Instruction::Fma { args, .. }) => {
            args[..2] == [register; 2] && args[2] != register
        }
        _ => false,
    }
}

/// Whether the sum of the negated terms is exactly the negated sum, including the sign of a zero. It is not if terms
/// of both signs may cancel, as that gives 0 and never -0.
fn never_cancel(parts: &[Signed], len: usize) -> bool {
    let is_square = |signed: &Signed| matches!(signed.part, Part::Square(_)) && !signed.negated;
    parts.iter().all(is_square) || (parts.len() == 1 && len == 1)
}

/// Whether a value is read in place: it is a slot, a constant or a counter, which needs no tile.
fn in_place(value: &Value) -> bool {
    !matches!(value, Value::Register(_))
}

impl Writer {
    pub fn new(items: &[Item], space: Space) -> Self {
        Self {
            space,
            values: HashMap::new(),
            free: Vec::new(),
            registers: 0,
            readers: readers(items),
            differences: HashMap::new(),
        }
    }

    /// How many tiles the code needs.
    pub fn registers(&self) -> usize {
        self.registers
    }

    /// Writes an item as a part of a sum of terms ([`Action::Terms`]), if it can be one. Returns whether it did.
    fn write_term(
        &mut self,
        register: Register,
        instruction: &Instruction,
        items: &[Item],
        actions: &mut Vec<Action>,
    ) -> bool {
        let value = |register: &Register| self.values.get(register).copied();
        match *instruction {
            Instruction::Apply {
                op: ScalarOp::Sub,
                args: [a, b, _],
                ..
            } => {
                let reader = match self.readers.get(&register).map(Vec::as_slice) {
                    Some([reader]) => *reader,
                    _ => return false,
                };
                let (Some(a), Some(b)) = (value(&a), value(&b)) else {
                    return false;
                };
                let read = in_place(&a) && in_place(&b) && squares(&items[reader], register);
                if read {
                    self.differences.insert(register, [a, b]);
                }
                read
            }
            Instruction::Apply {
                op: op @ (ScalarOp::Square | ScalarOp::Mul),
                args: [a, b, _],
                ..
            } => {
                let part = match self.differences.remove(&a) {
                    Some(difference) => Some(Part::Square(difference)),
                    None if op == ScalarOp::Mul => self.product(a, b),
                    None => None,
                };
                part.is_some_and(|part| {
                    let part = Signed {
                        part,
                        negated: false,
                    };
                    self.push_terms(register, part, Value::Constant(NOTHING), actions)
                })
            }
            Instruction::Fma {
                args: [a, b, c],
                negated,
            } => {
                let part = match self.differences.remove(&a) {
                    Some(difference) => Some(Part::Square(difference)),
                    None => self.product(a, b),
                };
                let Some(part) = part else {
                    return false;
                };
                let summand = self.value(c);
                if self.ends_with(c, actions)
                    && let Some(Action::Terms { parts, len: 1, .. }) = actions.last_mut()
                {
                    parts.push(Signed { part, negated });
                    self.values.remove(&c);
                    self.values.insert(register, summand);
                    return true;
                }
                self.push_terms(register, Signed { part, negated }, summand, actions)
            }
            Instruction::Apply {
                op: ScalarOp::Neg,
                args: [a, ..],
                ..
            } if self.ends_with(a, actions) => match actions.last_mut() {
                Some(Action::Terms {
                    parts,
                    len,
                    summand: Value::Constant(zero),
                    ..
                }) if zero.to_bits() == NOTHING.to_bits() && never_cancel(parts, *len) => {
                    for signed in parts {
                        signed.negated = !signed.negated;
                    }
                    let value = self.values.remove(&a).expect("it is there");
                    self.values.insert(register, value);
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether the last action is a sum of terms that fills `register`, and only one item reads this register.
    fn ends_with(&self, register: Register, actions: &[Action]) -> bool {
        let alone = self.readers.get(&register).is_some_and(|r| r.len() == 1);
        let tile = self.values.get(&register);
        match actions.last() {
            Some(Action::Terms { out, .. }) => alone && tile == Some(&Value::Register(*out)),
            _ => false,
        }
    }

    /// The product of two registers as a term, if both values are read in place.
    fn product(&self, a: Register, b: Register) -> Option<Part> {
        let values = [self.values.get(&a)?, self.values.get(&b)?].map(|value| *value);
        values.iter().all(in_place).then_some(Part::Product(values))
    }

    fn push_terms(
        &mut self,
        register: Register,
        part: Signed,
        summand: Value,
        actions: &mut Vec<Action>,
    ) -> bool {
        let out = self.tile();
        self.values.insert(register, Value::Register(out));
        actions.push(Action::Terms {
            out,
            parts: vec![part],
            len: 1,
            summand,
        });
        true
    }

    /// Writes an item of `items`.
    pub fn write(&mut self, item: &Item, items: &[Item], actions: &mut Vec<Action>) {
        match item {
            Item::Let(register, instruction) => {
                if self.write_term(*register, instruction, items, actions) {
                    return;
                }
                let mut steps = Vec::new();
                self.instruction(*register, instruction, &mut steps);
                actions.extend(steps.into_iter().map(Action::Do));
            }
            Item::Sum {
                register,
                terms,
                fold,
            } => {
                let out = self.tile();
                let fold = fold.map(|(op, first)| (op, self.value(first)));
                let terms = self.turns(terms);
                self.values.insert(*register, Value::Register(out));
                let part = match fold {
                    None => part_of(&terms.steps, &terms.term),
                    Some(_) => None,
                };
                actions.push(match part {
                    Some(part) => Action::Terms {
                        out,
                        parts: vec![part],
                        len: terms.len,
                        summand: Value::Constant(NOTHING),
                    },
                    None => Action::Sum { out, terms, fold },
                });
            }
            Item::Store { base, terms } => {
                let (base, terms) = (*base, self.turns(terms));
                actions.push(Action::Store { base, terms });
            }
        }
    }

    /// Writes a loop. The registers of its body are free after the loop.
    fn turns(&mut self, terms: &Loop) -> Turns {
        let Loop { len, body, term } = terms;
        let mut last: HashMap<Register, usize> = HashMap::new();
        for (at, (register, instruction)) in body.iter().enumerate() {
            last.insert(*register, at);
            for read in arguments(instruction) {
                // Only registers of the body are released in it. Others are read again in the next turn of the loop.
                if last.contains_key(read) {
                    last.insert(*read, at);
                }
            }
        }
        let own: Vec<Register> = body.iter().map(|(register, _)| *register).collect();
        let in_term = |register: &Register| match term {
            Term::Value(own) => own == register,
            Term::Product { args, .. } => args.contains(register),
        };
        let mut steps = Vec::new();
        for (at, (register, instruction)) in body.iter().enumerate() {
            self.instruction(*register, instruction, &mut steps);
            for register in own.iter().filter(|own| !in_term(own)) {
                if last[register] == at {
                    self.release(*register);
                }
            }
        }
        let term = match term {
            Term::Value(register) => Summand::Value(self.value(*register)),
            Term::Product { args, negated } => Summand::Product {
                args: args.map(|register| self.value(register)),
                negated: *negated,
            },
        };
        for register in own {
            self.release(register);
        }
        let len = *len;
        Turns { len, steps, term }
    }

    fn value(&self, register: Register) -> Value {
        self.values[&register]
    }

    /// A tile that no register uses.
    fn tile(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.registers += 1;
            self.registers - 1
        })
    }

    /// Frees the tile of `register`, which is not read any more.
    pub fn release(&mut self, register: Register) {
        if let Some(Value::Register(tile)) = self.values.remove(&register) {
            self.free.push(tile);
        }
    }

    fn instruction(
        &mut self,
        register: Register,
        instruction: &Instruction,
        steps: &mut Vec<Step>,
    ) {
        let value = match *instruction {
            Instruction::Const(bits) => Value::Constant(bits.value()),
            Instruction::Load {
                space,
                slot,
                looped,
            } => {
                let owner = match space {
                    Space::Uniform if self.space != Space::Uniform => Owner::Uniform,
                    Space::Row if self.space == Space::Pair => Owner::Row,
                    _ => Owner::Lanes,
                };
                Value::Slot {
                    owner,
                    slot,
                    looped,
                }
            }
            Instruction::Entry {
                tensor,
                component,
                looped,
            } => {
                let out = self.tile();
                steps.push(Step::Entry {
                    out,
                    tensor,
                    component,
                    looped,
                });
                Value::Register(out)
            }
            Instruction::Counter { offset } => Value::Counter(offset),
            Instruction::Offset { negated } => {
                let out = self.tile();
                steps.push(Step::Offset { out, negated });
                Value::Register(out)
            }
            Instruction::Fma { args, negated } => {
                let args = args.map(|register| self.value(register));
                let out = self.tile();
                steps.push(Step::Fma { out, args, negated });
                Value::Register(out)
            }
            Instruction::Apply { op, args, argument } => {
                let args = args.map(|register| self.value(register));
                let op = match op {
                    // The argument is the exponent of a power of 2.
                    ScalarOp::Exp if argument.binary => ScalarOp::Exp2,
                    op => op,
                };
                self.apply(op, args, steps)
            }
        };
        self.values.insert(register, value);
    }

    /// Writes a scalar function and returns its value. Integer powers and Matérn functions are written as products,
    /// sums and simpler functions.
    fn apply(&mut self, op: ScalarOp, args: [Value; 3], steps: &mut Vec<Step>) -> Value {
        match op {
            ScalarOp::Powi(0) => Value::Constant(1.0),
            ScalarOp::Powi(1) => {
                // A copy, as the register of the argument may be released before that of the result.
                self.push(ScalarOp::Rounded, args, steps)
            }
            ScalarOp::Powi(n) if n < 0 && n > i32::MIN => {
                let power = self.apply(ScalarOp::Powi(-n), args, steps);
                self.then(ScalarOp::Recip, power, [power; 3], steps)
            }
            ScalarOp::Powi(2) => self.push(ScalarOp::Square, args, steps),
            ScalarOp::Powi(n) if n > 0 && n % 2 == 0 => {
                let half = self.apply(ScalarOp::Powi(n / 2), args, steps);
                self.then(ScalarOp::Square, half, [half; 3], steps)
            }
            ScalarOp::Powi(n) if n > 0 => {
                let rest = self.apply(ScalarOp::Powi(n - 1), args, steps);
                self.then(ScalarOp::Mul, rest, [rest, args[0], args[0]], steps)
            }
            ScalarOp::Matern(n) => {
                // Beyond this limit the exponential of the negated root is 0.
                let most = Value::Constant(1e12);
                let square = self.push(ScalarOp::Minimum, [args[0], most, most], steps);
                let root = self.then(ScalarOp::Sqrt, square, [square; 3], steps);
                let opposite = self.push(ScalarOp::Neg, [root; 3], steps);
                let exp = self.then(ScalarOp::Exp, opposite, [opposite; 3], steps);
                let coefficients = matern_coefficients(n);
                let mut terms = coefficients.iter().rev();
                let mut sum = Value::Constant(*terms.next().expect("there is one"));
                for coefficient in terms {
                    let out = self.tile();
                    let args = [sum, root, Value::Constant(*coefficient)];
                    steps.push(Step::Fma {
                        out,
                        args,
                        negated: false,
                    });
                    self.free_tile(sum);
                    sum = Value::Register(out);
                }
                let out = self.push(ScalarOp::Mul, [sum, exp, exp], steps);
                for value in [root, exp, sum] {
                    self.free_tile(value);
                }
                out
            }
            op => self.push(op, args, steps),
        }
    }

    fn push(&mut self, op: ScalarOp, args: [Value; 3], steps: &mut Vec<Step>) -> Value {
        let out = self.tile();
        steps.push(Step::Apply { out, op, args });
        Value::Register(out)
    }

    /// Writes a function as [`push`](Self::push) does, and then frees the tile of `over`, which is not read any more.
    fn then(
        &mut self,
        op: ScalarOp,
        over: Value,
        args: [Value; 3],
        steps: &mut Vec<Step>,
    ) -> Value {
        let value = self.push(op, args, steps);
        self.free_tile(over);
        value
    }

    fn free_tile(&mut self, value: Value) {
        if let Value::Register(tile) = value {
            self.free.push(tile);
        }
    }
}

/// The term that a loop adds, if it is a product or a squared difference of values that are read in place.
fn part_of(body: &[Step], term: &Summand) -> Option<Signed> {
    let Summand::Product { args, negated } = *term else {
        return None;
    };
    let part = match *body {
        [] if args.iter().all(in_place) => Part::Product(args),
        [
            Step::Apply {
                out,
                op: ScalarOp::Sub,
                args: [a, b, _],
            },
        ] if in_place(&a) && in_place(&b) && args == [Value::Register(out); 2] => {
            Part::Square([a, b])
        }
        _ => return None,
    };
    Some(Signed { part, negated })
}

/// The registers that an instruction reads.
fn arguments(instruction: &Instruction) -> &[Register] {
    match instruction {
        Instruction::Apply { args, .. } | Instruction::Fma { args, .. } => args,
        _ => &[],
    }
}
