//! Integer arithmetic.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::function::{Translated, Translator, host, operands, unknown};
use super::modifiers::Modifiers;
use crate::machine::Unit;
use crate::ptx::{Instruction, Type};

impl Translator<'_> {
    /// Instructions that compute. The type decides how they are translated.
    pub(super) fn arithmetic(&mut self, instruction: &Instruction) -> Translated<()> {
        let name = instruction.parts[0].as_str();
        let last = instruction.parts.last().and_then(|part| Type::of(part));
        match last {
            Some(of) if of.is_float() => self.float(instruction),
            Some(Type::F16 | Type::BF16 | Type::F16x2 | Type::BF16x2) => self.half(instruction),
            Some(Type::U(_) | Type::S(_)) => match name {
                "add" | "sub" | "addc" | "subc" => self.sum(instruction),
                "mul" | "mad" | "madc" | "mul24" | "mad24" => self.product(instruction),
                "div" | "rem" => self.quotient(instruction),
                "min" | "max" | "neg" | "abs" | "sad" => self.choice(instruction),
                _ => Err(unknown(instruction)),
            },
            _ => Err(unknown(instruction)),
        }
    }

    /// The carry flag as 0 or 1 of a host type.
    fn carry(&mut self, of: cranelift_codegen::ir::Type) -> Value {
        let carry = self.field(I32, std::mem::offset_of!(Unit, carry));
        self.resize(carry, of, false)
    }

    fn set_carry(&mut self, carry: Value) {
        let carry = self.resize(carry, I32, false);
        let place = self.unit;
        self.write(carry, place, std::mem::offset_of!(Unit, carry) as i32);
    }

    /// `a + b + carry`, or `a - b - carry`, and the carry or borrow.
    fn sum_of(&mut self, a: Value, b: Value, carry: Option<Value>, minus: bool) -> (Value, Value) {
        let less = IntCC::UnsignedLessThan;
        let of = self.builder.func.dfg.value_type(a);
        let carry = carry.unwrap_or_else(|| self.integer(of, 0));
        if minus {
            let first = self.builder.ins().isub(a, b);
            let one = self.icmp(less, a, b);
            let all = self.builder.ins().isub(first, carry);
            let other = self.icmp(less, first, carry);
            let borrow = self.builder.ins().bor(one, other);
            return (all, borrow);
        }
        let first = self.builder.ins().iadd(a, b);
        let one = self.icmp(less, first, a);
        let all = self.builder.ins().iadd(first, carry);
        let other = self.icmp(less, all, first);
        let over = self.builder.ins().bor(one, other);
        (all, over)
    }

    fn sum(&mut self, instruction: &Instruction) -> Translated<()> {
        let name = instruction.parts[0].as_str();
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        let sets = modifiers.takes("cc");
        let saturates = modifiers.takes("sat");
        modifiers.end()?;
        let minus = name.starts_with("sub");
        let takes = name.ends_with('c');
        let [to, a, b] = operands(instruction)?;
        let (a, b) = (self.value(a, of)?, self.value(b, of)?);
        if saturates {
            if of != Type::S(32) || sets || takes {
                return Err(unknown(instruction));
            }
            let [a, b] = [a, b].map(|x| self.resize(x, I64, true));
            let sum = match minus {
                true => self.builder.ins().isub(a, b),
                false => self.builder.ins().iadd(a, b),
            };
            let sum = self.clamp(sum, of);
            let sum = self.resize(sum, I32, true);
            return self.set(to, sum, of);
        }
        let carry = takes.then(|| self.carry(host(of)));
        let (sum, over) = self.sum_of(a, b, carry, minus);
        if sets {
            self.set_carry(over);
        }
        self.set(to, sum, of)
    }

    /// Clamps an integer of 64 bits to the range of a smaller type.
    pub(super) fn clamp(&mut self, value: Value, of: Type) -> Value {
        let (least, most) = match of {
            Type::S(bits) => (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1),
            _ => (0, (1i64 << of.bits()) - 1),
        };
        let (least, most) = (self.integer(I64, least), self.integer(I64, most));
        let value = self.builder.ins().smax(value, least);
        self.builder.ins().smin(value, most)
    }

    fn product(&mut self, instruction: &Instruction) -> Translated<()> {
        let name = instruction.parts[0].as_str();
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        let part = modifiers.one_of(&["lo", "hi", "wide"]);
        let sets = modifiers.takes("cc");
        modifiers.end()?;
        let Some(part) = part else {
            return Err(unknown(instruction));
        };
        if name.ends_with("24") || part == "wide" && of.bits() > 32 {
            return Err(unknown(instruction));
        }
        let adds = name != "mul";
        let (to, a, b, c) = if adds {
            let [to, a, b, c] = operands(instruction)?;
            (to, a, b, Some(c))
        } else {
            let [to, a, b] = operands(instruction)?;
            (to, a, b, None)
        };
        let (a, b) = (self.value(a, of)?, self.value(b, of)?);
        let signed = of.is_signed();
        let wide = match of {
            Type::S(bits) => Type::S(2 * bits),
            _ => Type::U(2 * of.bits()),
        };
        let (product, result) = match part {
            "lo" => (self.builder.ins().imul(a, b), of),
            "hi" if of.bits() == 64 && signed => (self.builder.ins().smulhi(a, b), of),
            "hi" if of.bits() == 64 => (self.builder.ins().umulhi(a, b), of),
            _ => {
                let [a, b] = [a, b].map(|x| self.resize(x, host(wide), signed));
                let product = self.builder.ins().imul(a, b);
                if part == "wide" {
                    (product, wide)
                } else {
                    let high = self.builder.ins().ushr_imm_u(product, i64::from(of.bits()));
                    (self.resize(high, host(of), false), of)
                }
            }
        };
        let Some(c) = c else {
            return self.set(to, product, result);
        };
        let c = self.value(c, result)?;
        let carry = (name == "madc").then(|| self.carry(host(result)));
        let (sum, over) = self.sum_of(product, c, carry, false);
        if sets {
            self.set_carry(over);
        }
        self.set(to, sum, result)
    }

    fn quotient(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        modifiers.end()?;
        let [to, a, b] = operands(instruction)?;
        let (a, b) = (self.value(a, of)?, self.value(b, of)?);
        let signed = of.is_signed();
        let [a, b] = [a, b].map(|x| self.resize(x, I64, signed));
        let remainder = instruction.parts[0] == "rem";
        let code = of.bits() | if signed { 128 } else { 0 };
        let code = self.integer(I32, i64::from((code & !1) | u32::from(remainder)));
        let here = self.here();
        let result = self.helped("divide", &[self.unit, a, b, code, here])?;
        let result = self.resize(result, host(of), false);
        self.set(to, result, of)
    }

    fn choice(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        modifiers.end()?;
        let signed = of.is_signed();
        let name = instruction.parts[0].as_str();
        if matches!(name, "neg" | "abs") {
            let [to, a] = operands(instruction)?;
            let a = self.value(a, of)?;
            let negative = self.builder.ins().ineg(a);
            let value = match name {
                "neg" => negative,
                _ => self.builder.ins().smax(a, negative),
            };
            return match name {
                // The least number is its own absolute value.
                "abs" if signed => {
                    let zero = self.integer(host(of), 0);
                    let below = self.icmp(IntCC::SignedLessThan, a, zero);
                    let value = self.builder.ins().select(below, negative, a);
                    self.set(to, value, of)
                }
                "abs" => Err(unknown(instruction)),
                _ => self.set(to, value, of),
            };
        }
        if name == "sad" {
            let [to, a, b, c] = operands(instruction)?;
            let (a, b, c) = (self.value(a, of)?, self.value(b, of)?, self.value(c, of)?);
            let less = if signed {
                IntCC::SignedLessThan
            } else {
                IntCC::UnsignedLessThan
            };
            let below = self.icmp(less, a, b);
            let one = self.builder.ins().isub(b, a);
            let other = self.builder.ins().isub(a, b);
            let distance = self.builder.ins().select(below, one, other);
            let sum = self.builder.ins().iadd(c, distance);
            return self.set(to, sum, of);
        }
        let [to, a, b] = operands(instruction)?;
        let (a, b) = (self.value(a, of)?, self.value(b, of)?);
        let ins = self.builder.ins();
        let value = match (name, signed) {
            ("min", true) => ins.smin(a, b),
            ("min", false) => ins.umin(a, b),
            (_, true) => ins.smax(a, b),
            _ => ins.umax(a, b),
        };
        self.set(to, value, of)
    }
}
