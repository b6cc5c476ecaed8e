//! Moves and operations on bits.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{self, InstBuilder, Value};

use super::function::{Fault, Translated, Translator, host, operands, unknown};
use super::modifiers::Modifiers;
use crate::ptx::{Instruction, Operand, Type};

/// The untyped type with the same number of bits.
fn plain(of: Type) -> Type {
    match of {
        Type::Pred => Type::Pred,
        other => Type::B(other.bits()),
    }
}

impl Translator<'_> {
    /// Instructions that move and change bits.
    pub(super) fn bits(&mut self, instruction: &Instruction) -> Translated<()> {
        match instruction.parts[0].as_str() {
            "mov" => self.mov(instruction),
            "selp" => self.select(instruction),
            "and" | "or" | "xor" | "not" | "cnot" => self.logic(instruction),
            "shl" | "shr" => self.shift(instruction),
            "shf" => self.funnel(instruction),
            "lop3" => self.table(instruction),
            "prmt" => self.permute(instruction),
            "bfe" | "bfi" => self.field_of_bits(instruction),
            _ => self.count(instruction),
        }
    }

    fn mov(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        modifiers.end()?;
        match operands(instruction)? {
            [Operand::Vector(parts), from] => {
                let bits = of.bits() / parts.len() as u32;
                let value = self.value(from, Type::B(of.bits()))?;
                let piece = Type::B(bits);
                for (k, part) in parts.iter().enumerate() {
                    let shifted = self
                        .builder
                        .ins()
                        .ushr_imm_u(value, (k as u32 * bits) as i64);
                    let value = self.resize(shifted, host(piece), false);
                    self.set(part, value, piece)?;
                }
                Ok(())
            }
            [to, Operand::Vector(parts)] => {
                let bits = of.bits() / parts.len() as u32;
                let whole = host(Type::B(of.bits()));
                let mut all = None;
                for (k, part) in parts.iter().enumerate() {
                    let value = self.value(part, Type::B(bits))?;
                    let value = self.resize(value, whole, false);
                    let value = self
                        .builder
                        .ins()
                        .ishl_imm_u(value, (k as u32 * bits) as i64);
                    all = Some(match all {
                        None => value,
                        Some(all) => self.builder.ins().bor(all, value),
                    });
                }
                let all = all.ok_or_else(|| unknown(instruction))?;
                self.set(to, all, Type::B(of.bits()))
            }
            [to, from] => {
                let value = self.value(from, of)?;
                self.set(to, value, plain(of))
            }
        }
    }

    fn select(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        modifiers.end()?;
        let [to, a, b, condition] = operands(instruction)?;
        let (a, b) = (self.value(a, of)?, self.value(b, of)?);
        let condition = self.value(condition, Type::Pred)?;
        let value = self.builder.ins().select(condition, a, b);
        self.set(to, value, plain(of))
    }

    fn logic(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        modifiers.end()?;
        if !matches!(of, Type::B(_) | Type::Pred) {
            return Err(unknown(instruction));
        }
        let name = instruction.parts[0].as_str();
        if matches!(name, "not" | "cnot") {
            let [to, a] = operands(instruction)?;
            let a = self.value(a, of)?;
            let value = match (name, of) {
                ("not", Type::Pred) => self.builder.ins().bxor_imm_u(a, 1),
                ("not", _) => self.builder.ins().bnot(a),
                _ => {
                    let zero = self.integer(host(of), 0);
                    let is_zero = self.icmp(IntCC::Equal, a, zero);
                    self.resize(is_zero, host(of), false)
                }
            };
            return self.set(to, value, of);
        }
        let [to, a, b] = operands(instruction)?;
        let (a, b) = (self.value(a, of)?, self.value(b, of)?);
        let ins = self.builder.ins();
        let value = match name {
            "and" => ins.band(a, b),
            "or" => ins.bor(a, b),
            _ => ins.bxor(a, b),
        };
        self.set(to, value, of)
    }

    /// Whether a 32-bit amount is at least `bits`.
    fn is_beyond(&mut self, amount: Value, bits: u32) -> Value {
        let bits = self.integer(I32, i64::from(bits));
        self.icmp(IntCC::UnsignedGreaterThanOrEqual, amount, bits)
    }

    fn shift(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        modifiers.end()?;
        let [to, a, amount] = operands(instruction)?;
        let a = self.value(a, of)?;
        let amount = self.value(amount, Type::U(32))?;
        // Amounts beyond the type shift everything out.
        let beyond = self.is_beyond(amount, of.bits());
        let zero = self.integer(host(of), 0);
        let value = match (instruction.parts[0].as_str(), of.is_signed()) {
            ("shl", _) => {
                let value = self.builder.ins().ishl(a, amount);
                self.builder.ins().select(beyond, zero, value)
            }
            (_, false) => {
                let value = self.builder.ins().ushr(a, amount);
                self.builder.ins().select(beyond, zero, value)
            }
            _ => {
                let most = self.integer(I32, i64::from(of.bits() - 1));
                let amount = self.builder.ins().select(beyond, most, amount);
                self.builder.ins().sshr(a, amount)
            }
        };
        self.set(to, value, of)
    }

    fn funnel(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        let left = match modifiers.one_of(&["l", "r"]) {
            Some(way) => way == "l",
            None => return Err(unknown(instruction)),
        };
        let wraps = match modifiers.one_of(&["wrap", "clamp"]) {
            Some(how) => how == "wrap",
            None => return Err(unknown(instruction)),
        };
        modifiers.end()?;
        let [to, low, high, amount] = operands(instruction)?;
        let (low, high) = (self.value(low, of)?, self.value(high, of)?);
        let amount = self.value(amount, Type::U(32))?;
        let amount = if wraps {
            self.builder.ins().band_imm_u(amount, 31)
        } else {
            let most = self.integer(I32, 32);
            self.builder.ins().umin(amount, most)
        };
        let [low, high] = [low, high].map(|value| self.resize(value, I64, false));
        let high = self.builder.ins().ishl_imm_u(high, 32);
        let both = self.builder.ins().bor(high, low);
        let value = if left {
            let shifted = self.builder.ins().ishl(both, amount);
            self.builder.ins().ushr_imm_u(shifted, 32)
        } else {
            self.builder.ins().ushr(both, amount)
        };
        let value = self.resize(value, I32, false);
        self.set(to, value, of)
    }

    fn table(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        modifiers.end()?;
        let [to, a, b, c, table] = operands(instruction)?;
        let Operand::Integer(table) = table else {
            return Err(unknown(instruction));
        };
        let values = [self.value(a, of)?, self.value(b, of)?, self.value(c, of)?];
        let mut all = self.integer(host(of), 0);
        for row in 0..8 {
            if table >> row & 1 == 0 {
                continue;
            }
            let mut term = self.integer(host(of), -1);
            for (k, value) in values.into_iter().enumerate() {
                // The first operand is the highest bit of the index of a row of the table.
                let factor = match row >> (2 - k) & 1 {
                    1 => value,
                    _ => self.builder.ins().bnot(value),
                };
                term = self.builder.ins().band(term, factor);
            }
            all = self.builder.ins().bor(all, term);
        }
        self.set(to, all, of)
    }

    fn permute(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        modifiers.end()?;
        let [to, a, b, selector] = operands(instruction)?;
        let values = [
            self.value(a, of)?,
            self.value(b, of)?,
            self.value(selector, of)?,
        ];
        let value = self.helped("permute", &values)?;
        self.set(to, value, of)
    }

    fn wide(&mut self, operand: &Operand, of: Type) -> Translated<Value> {
        let value = self.value(operand, of)?;
        Ok(self.resize(value, I64, false))
    }

    fn field_of_bits(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        modifiers.end()?;
        let amount = Type::U(32);
        if instruction.parts[0] == "bfe" {
            let [to, a, place, count] = operands(instruction)?;
            let a = self.wide(a, of)?;
            let (place, count) = (self.value(place, amount)?, self.value(count, amount)?);
            let code = self.code(of, 0);
            let value = self.helped("extract", &[a, place, count, code])?;
            let value = self.resize(value, host(of), false);
            return self.set(to, value, of);
        }
        let [to, a, b, place, count] = operands(instruction)?;
        let (a, b) = (self.wide(a, of)?, self.wide(b, of)?);
        let (place, count) = (self.value(place, amount)?, self.value(count, amount)?);
        let bits = self.integer(I32, i64::from(of.bits()));
        let value = self.helped("insert", &[a, b, place, count, bits])?;
        let value = self.resize(value, host(of), false);
        self.set(to, value, of)
    }

    /// The number of bits of a type, plus 128 for a signed type, plus `more`.
    fn code(&mut self, of: Type, more: u32) -> Value {
        let code = of.bits() | if of.is_signed() { 128 } else { 0 } | more;
        self.integer(I32, i64::from(code))
    }

    fn count(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        let from_top = modifiers.takes("shiftamt");
        modifiers.end()?;
        let [to, a] = operands(instruction)?;
        let value = self.value(a, of)?;
        let result: (Value, ir::Type) = match instruction.parts[0].as_str() {
            "popc" => (self.builder.ins().popcnt(value), I32),
            "clz" => (self.builder.ins().clz(value), I32),
            "brev" => (self.builder.ins().bitrev(value), host(of)),
            "bfind" => {
                let wide = self.resize(value, I64, false);
                let code = self.code(of, if from_top { 256 } else { 0 });
                (self.helped("highest", &[wide, code])?, I32)
            }
            _ => return Err(unknown(instruction)),
        };
        if of.bits() < 32 {
            return Err(Fault::new("only words of 32 and 64 bits are counted"));
        }
        let value = self.resize(result.0, result.1, false);
        self.set(to, value, Type::B(result.1.bits()))
    }
}
