//! Shuffles, votes and other instructions of planes.

use cranelift_codegen::ir::types::I32;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::function::{Translated, Translator, operands, unknown};
use super::modifiers::Modifiers;
use crate::ptx::{Instruction, Operand, Type};

const WORD: Type = Type::B(32);

/// The index of a mode in `names`.
fn mode(modifiers: &mut Modifiers, names: &[&str]) -> Option<i64> {
    let found = modifiers.one_of(names)?;
    let place = names.iter().position(|name| *name == found)?;
    Some(place as i64)
}

impl Translator<'_> {
    /// Instructions that the lanes of a plane execute together.
    pub(super) fn plane(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        if !modifiers.takes("sync") {
            return Err(unknown(instruction));
        }
        match instruction.parts[0].as_str() {
            "shfl" => self.shuffle(instruction, modifiers),
            "vote" => self.vote(instruction, modifiers),
            "redux" => self.redux(instruction, modifiers),
            "elect" => {
                modifiers.end()?;
                let [to, mask] = operands(instruction)?;
                let mask = self.value(mask, WORD)?;
                let here = self.here();
                let value = self.helped("elect", &[self.unit, mask, here])?;
                self.set_pair(to, value)
            }
            _ => Err(unknown(instruction)),
        }
    }

    /// Sets a word to the lower half of a value, and a predicate to the upper half.
    fn set_pair(&mut self, to: &Operand, value: Value) -> Translated<()> {
        let (word, predicate) = match to {
            Operand::Pair(word, predicate) => (&**word, Some(&**predicate)),
            one => (one, None),
        };
        let low = self.builder.ins().ireduce(I32, value);
        self.set(word, low, WORD)?;
        if let Some(predicate) = predicate {
            let high = self.builder.ins().ushr_imm_u(value, 32);
            let high = self
                .builder
                .ins()
                .ireduce(cranelift_codegen::ir::types::I8, high);
            self.set(predicate, high, Type::Pred)?;
        }
        Ok(())
    }

    fn shuffle(&mut self, instruction: &Instruction, mut modifiers: Modifiers) -> Translated<()> {
        let of = modifiers.last_type()?;
        let mode = mode(&mut modifiers, &["up", "down", "bfly", "idx"]);
        modifiers.end()?;
        let (Some(mode), Type::B(32)) = (mode, of) else {
            return Err(unknown(instruction));
        };
        let [to, given, by, clamp, mask] = operands(instruction)?;
        let values = [
            self.unit,
            self.value(given, WORD)?,
            self.value(by, WORD)?,
            self.value(clamp, WORD)?,
            self.value(mask, WORD)?,
            self.integer(I32, mode),
            self.here(),
        ];
        let value = self.helped("shuffle", &values)?;
        self.set_pair(to, value)
    }

    fn vote(&mut self, instruction: &Instruction, mut modifiers: Modifiers) -> Translated<()> {
        let of = modifiers.last_type()?;
        let mode = mode(&mut modifiers, &["all", "any", "uni", "ballot"]);
        modifiers.end()?;
        let Some(mode) = mode else {
            return Err(unknown(instruction));
        };
        let [to, given, mask] = operands(instruction)?;
        let given = self.value(given, Type::Pred)?;
        let given = self.resize(given, I32, false);
        let mask = self.value(mask, WORD)?;
        let (mode, here) = (self.integer(I32, mode), self.here());
        let value = self.helped("vote", &[self.unit, given, mask, mode, here])?;
        match of {
            Type::Pred => {
                let value = self.resize(value, cranelift_codegen::ir::types::I8, false);
                self.set(to, value, of)
            }
            _ => self.set(to, value, WORD),
        }
    }

    fn redux(&mut self, instruction: &Instruction, mut modifiers: Modifiers) -> Translated<()> {
        let of = modifiers.last_type()?;
        let name = modifiers.one_of(&["add", "and", "or", "xor", "min", "max"]);
        modifiers.end()?;
        let mode = match (name, of) {
            (Some("add"), Type::U(32) | Type::S(32)) => 0,
            (Some("and"), Type::B(32)) => 1,
            (Some("or"), Type::B(32)) => 2,
            (Some("xor"), Type::B(32)) => 3,
            (Some("min"), Type::U(32)) => 4,
            (Some("max"), Type::U(32)) => 5,
            (Some("min"), Type::S(32)) => 6,
            (Some("max"), Type::S(32)) => 7,
            _ => return Err(unknown(instruction)),
        };
        let [to, given, mask] = operands(instruction)?;
        let values = [
            self.unit,
            self.value(given, WORD)?,
            self.value(mask, WORD)?,
            self.integer(I32, mode),
            self.here(),
        ];
        let value = self.helped("redux", &values)?;
        self.set(to, value, WORD)
    }
}
