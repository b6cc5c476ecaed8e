//! How long items and instructions take, and what they read.

use std::ops::Range;

use super::{FUNCTION, Instruction, Item, Loop, Register, Space, Term};
use crate::formula::catalogue::ScalarOp;

impl Loop {
    /// About how many instructions the body has.
    fn length(&self) -> usize {
        self.body.iter().map(|(_, i)| i.length()).sum()
    }

    /// About how many processor instructions all turns take.
    pub fn work(&self) -> usize {
        self.len * (self.body.iter().map(|(_, i)| i.work()).sum::<usize>() + 1)
    }
}

impl Item {
    /// The register that the item fills for other items.
    pub fn filled(&self) -> Option<Register> {
        match self {
            Item::Let(register, _) | Item::Sum { register, .. } => Some(*register),
            Item::Store { .. } => None,
        }
    }

    /// Whether the item takes no instructions of its own, because it is a load or a constant.
    pub fn is_free(&self) -> bool {
        matches!(self, Item::Let(_, instruction) if instruction.work() == 0)
    }

    /// About how many instructions the code of the item has. A loop counts as the length of its body.
    pub fn length(&self) -> usize {
        match self {
            Item::Let(_, instruction) => instruction.length(),
            Item::Sum { terms, .. } => terms.length() + 1,
            // Several values are stored by one loop. A single value was computed by an earlier item.
            Item::Store { terms, .. } => terms.length(),
        }
    }

    /// The registers that the item reads.
    pub fn registers(&self) -> Vec<Register> {
        let (term, fold) = match self {
            Item::Let(..) => (None, None),
            Item::Sum { terms, fold, .. } => (Some(&terms.term), fold.map(|fold| fold.1)),
            Item::Store { terms, .. } => (Some(&terms.term), None),
        };
        let (instructions, _) = self.instructions();
        let read = instructions.flat_map(|instruction| match instruction {
            Instruction::Apply { args, .. } | Instruction::Fma { args, .. } => args.as_slice(),
            _ => &[],
        });
        let term = term.map_or([].as_slice(), |term| match term {
            Term::Value(register) => std::slice::from_ref(register),
            Term::Product { args, .. } => args.as_slice(),
        });
        read.chain(term).copied().chain(fold).collect()
    }

    /// How many components tensor `index`, which has a value for each pair, must have for the item; `None` if the item
    /// does not read it.
    pub fn entries(&self, index: usize) -> Option<usize> {
        let (instructions, len) = self.instructions();
        let ends = instructions.filter_map(|instruction| match *instruction {
            Instruction::Entry {
                tensor,
                component,
                looped,
            } if tensor == index => Some(component + if looped { len } else { 1 }),
            _ => None,
        });
        ends.max()
    }

    /// The instructions of the item, and how often those of a loop are run.
    fn instructions(&self) -> (impl Iterator<Item = &Instruction>, usize) {
        let (single, body, len) = match self {
            Item::Let(_, instruction) => (Some(instruction), [].as_slice(), 1),
            Item::Sum { terms, .. } | Item::Store { terms, .. } => {
                (None, terms.body.as_slice(), terms.len)
            }
        };
        let body = body.iter().map(|(_, instruction)| instruction);
        (single.into_iter().chain(body), len)
    }

    /// The slots of `space` that the item reads.
    pub fn reads(&self, space: Space) -> impl Iterator<Item = Range<usize>> {
        let (instructions, len) = self.instructions();
        instructions.filter_map(move |instruction| match *instruction {
            Instruction::Load {
                space: own,
                slot,
                looped,
            } if own == space => Some(slot..slot + if looped { len } else { 1 }),
            _ => None,
        })
    }
}

impl Instruction {
    /// About how many instructions the code has. Functions count with all of their code.
    pub fn length(&self) -> usize {
        match self.work() {
            work @ ..=1 => work,
            _ => FUNCTION,
        }
    }

    /// About how many processor instructions it takes. Loads and constants count as 0, as they serve
    /// several pairs.
    pub fn work(&self) -> usize {
        /// A function that is made of a polynomial, or an instruction that is slow.
        const SLOW: usize = 8;
        match self {
            Instruction::Const(_) | Instruction::Load { .. } | Instruction::Counter { .. } => 0,
            // Each lane is read separately.
            Instruction::Offset { .. } | Instruction::Entry { .. } => SLOW,
            Instruction::Fma { .. } => 1,
            // A power of 2 takes one product less than an exponential.
            Instruction::Apply { argument, .. } if argument.binary => SLOW - 1,
            Instruction::Apply { op, .. } => match op {
                ScalarOp::Neg
                | ScalarOp::Rounded
                | ScalarOp::Square
                | ScalarOp::Abs
                | ScalarOp::Step
                | ScalarOp::Relu
                | ScalarOp::Add
                | ScalarOp::Sub
                | ScalarOp::Mul
                | ScalarOp::StrongMul
                | ScalarOp::FlushedMul
                | ScalarOp::StrongFlushedMul
                | ScalarOp::Maximum
                | ScalarOp::Minimum
                | ScalarOp::Equal
                | ScalarOp::NotEqual
                | ScalarOp::Less
                | ScalarOp::LessEqual
                | ScalarOp::Greater
                | ScalarOp::GreaterEqual
                | ScalarOp::Clamp
                | ScalarOp::IfElse
                | ScalarOp::MaskWhere => 1,
                _ => SLOW,
            },
        }
    }
}
