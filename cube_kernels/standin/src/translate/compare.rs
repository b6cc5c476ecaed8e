//! Comparisons.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, I32};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::function::{Fault, Translated, Translator, host, operands, unknown};
use super::modifiers::Modifiers;
use crate::ptx::{Instruction, Operand, Type};

const COMPARISONS: [&str; 18] = [
    "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu",
    "geu", "num", "nan",
];

fn of_integers(name: &str, of: Type) -> Option<IntCC> {
    use IntCC::*;
    let signed = of.is_signed();
    Some(match name {
        "eq" => Equal,
        "ne" => NotEqual,
        // Bits without a type can only be equal or not equal.
        _ if matches!(of, Type::B(_)) => return None,
        "lt" if signed => SignedLessThan,
        "le" if signed => SignedLessThanOrEqual,
        "gt" if signed => SignedGreaterThan,
        "ge" if signed => SignedGreaterThanOrEqual,
        "lo" | "lt" if !signed => UnsignedLessThan,
        "ls" | "le" if !signed => UnsignedLessThanOrEqual,
        "hi" | "gt" if !signed => UnsignedGreaterThan,
        "hs" | "ge" if !signed => UnsignedGreaterThanOrEqual,
        _ => return None,
    })
}

fn of_floats(name: &str) -> Option<FloatCC> {
    use FloatCC::*;
    Some(match name {
        "eq" => Equal,
        "ne" => OrderedNotEqual,
        "lt" => LessThan,
        "le" => LessThanOrEqual,
        "gt" => GreaterThan,
        "ge" => GreaterThanOrEqual,
        "equ" => UnorderedOrEqual,
        "neu" => NotEqual,
        "ltu" => UnorderedOrLessThan,
        "leu" => UnorderedOrLessThanOrEqual,
        "gtu" => UnorderedOrGreaterThan,
        "geu" => UnorderedOrGreaterThanOrEqual,
        "num" => Ordered,
        "nan" => Unordered,
        _ => return None,
    })
}

impl Translator<'_> {
    /// `setp`, `set` and `testp`.
    pub(super) fn comparison(&mut self, instruction: &Instruction) -> Translated<()> {
        if instruction.parts[0] == "testp" {
            return self.test(instruction);
        }
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        let name = modifiers.one_of(&COMPARISONS);
        let name = name.ok_or_else(|| unknown(instruction))?;
        let flushes = modifiers.takes("ftz");
        let joined = modifiers.one_of(&["and", "or", "xor"]);
        let set = instruction.parts[0] == "set";
        let result = match set {
            true => Some(modifiers.last_type()?),
            false => None,
        };
        modifiers.end()?;
        let (to, a, b, other) = match instruction.operands.as_slice() {
            [to, a, b] if joined.is_none() => (to, a, b, None),
            [to, a, b, c] if joined.is_some() => (to, a, b, Some(c)),
            _ => return Err(unknown(instruction)),
        };
        let truth = self.compared(name, of, [a, b], flushes)?;
        if let Some(result) = result {
            if joined.is_some() {
                return Err(unknown(instruction));
            }
            return self.set_number(to, truth, result);
        }
        let other = match other {
            Some(other) => Some(self.value(other, Type::Pred)?),
            None => None,
        };
        let (first, second) = match to {
            Operand::Pair(first, second) => (&**first, Some(&**second)),
            one => (one, None),
        };
        let opposite = self.builder.ins().bxor_imm_u(truth, 1);
        for (to, truth) in [(Some(first), truth), (second, opposite)] {
            let Some(to) = to else {
                continue;
            };
            let value = match (joined, other) {
                (Some("and"), Some(other)) => self.builder.ins().band(truth, other),
                (Some("or"), Some(other)) => self.builder.ins().bor(truth, other),
                (_, Some(other)) => self.builder.ins().bxor(truth, other),
                _ => truth,
            };
            self.set(to, value, Type::Pred)?;
        }
        Ok(())
    }

    fn compared(
        &mut self,
        name: &str,
        of: Type,
        [a, b]: [&Operand; 2],
        flushes: bool,
    ) -> Translated<Value> {
        let fault = || Fault::new(format!("'.{name}' does not suit {of:?}"));
        if of.is_float() || of.is_half() {
            let how = of_floats(name).ok_or_else(fault)?;
            let mut values = [self.value(a, of)?, self.value(b, of)?];
            for value in &mut values {
                if of.is_half() {
                    *value = self.half_as_single(*value, of)?;
                }
                if flushes {
                    if of != Type::F32 {
                        return Err(Fault::new("only singles are flushed"));
                    }
                    *value = self.flush(*value);
                }
            }
            return Ok(self.builder.ins().fcmp(how, values[0], values[1]));
        }
        let how = of_integers(name, of).ok_or_else(fault)?;
        let (a, b) = (self.value(a, of)?, self.value(b, of)?);
        Ok(self.icmp(how, a, b))
    }

    fn set_number(&mut self, to: &Operand, truth: Value, of: Type) -> Translated<()> {
        let value = match of {
            Type::F32 => {
                let one = self.builder.ins().f32const(1.0f32);
                let zero = self.builder.ins().f32const(0.0f32);
                self.builder.ins().select(truth, one, zero)
            }
            Type::U(32) | Type::S(32) => {
                let all = self.integer(I32, -1);
                let none = self.integer(I32, 0);
                self.builder.ins().select(truth, all, none)
            }
            _ => return Err(Fault::new(format!("a comparison gives no {of:?}"))),
        };
        self.set(to, value, of)
    }

    fn test(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        let what = modifiers.one_of(&[
            "finite",
            "infinite",
            "number",
            "notanumber",
            "normal",
            "subnormal",
        ]);
        modifiers.end()?;
        if !of.is_float() {
            return Err(unknown(instruction));
        }
        let [to, a] = operands(instruction)?;
        let a = self.value(a, of)?;
        let size = self.builder.ins().fabs(a);
        let infinity = self.number(f64::INFINITY, host(of));
        let least = match host(of) {
            F32 => f64::from(f32::MIN_POSITIVE),
            _ => f64::MIN_POSITIVE,
        };
        let (least, zero) = (self.number(least, host(of)), self.number(0.0, host(of)));
        let fcmp = |this: &mut Self, how, b| this.builder.ins().fcmp(how, size, b);
        let value = match what {
            Some("finite") => fcmp(self, FloatCC::LessThan, infinity),
            Some("infinite") => fcmp(self, FloatCC::Equal, infinity),
            Some("number") => fcmp(self, FloatCC::Ordered, size),
            Some("notanumber") => fcmp(self, FloatCC::Unordered, size),
            Some("normal") => {
                let large = fcmp(self, FloatCC::GreaterThanOrEqual, least);
                let finite = fcmp(self, FloatCC::LessThan, infinity);
                self.builder.ins().band(large, finite)
            }
            Some("subnormal") => {
                let small = fcmp(self, FloatCC::LessThan, least);
                let some = fcmp(self, FloatCC::GreaterThan, zero);
                self.builder.ins().band(small, some)
            }
            _ => return Err(unknown(instruction)),
        };
        self.set(to, value, Type::Pred)
    }
}
