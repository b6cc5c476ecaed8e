//! Arithmetic of numbers of 16 bits, alone or in pairs. Sums, products and quotients are computed as singles. Singles
//! have enough digits that rounding twice gives the same result as rounding once.

use cranelift_codegen::ir::types::{I16, I32};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::function::{Translated, Translator, unknown};
use super::modifiers::Modifiers;
use crate::ptx::{Instruction, Type};

impl Translator<'_> {
    /// A number of 16 bits as a single.
    pub(super) fn half_as_single(&mut self, value: Value, of: Type) -> Translated<Value> {
        let value = self.resize(value, I32, false);
        let name = match of {
            Type::F16 => "half_to_single",
            _ => "bfloat_to_single",
        };
        self.helped(name, &[value])
    }

    /// The number of 16 bits nearest to a single.
    pub(super) fn single_as_half(&mut self, value: Value, of: Type) -> Translated<Value> {
        let name = match of {
            Type::F16 => "single_to_half",
            _ => "single_to_bfloat",
        };
        let value = self.helped(name, &[value])?;
        Ok(self.resize(value, I16, false))
    }

    /// The number of 16 bits nearest to a double.
    pub(super) fn double_as_half(&mut self, value: Value, of: Type) -> Translated<Value> {
        let name = match of {
            Type::F16 => "double_to_half",
            _ => "double_to_bfloat",
        };
        let value = self.helped(name, &[value])?;
        Ok(self.resize(value, I16, false))
    }

    /// Arithmetic instructions of f16 and bf16, alone or in pairs.
    pub(super) fn half(&mut self, instruction: &Instruction) -> Translated<()> {
        let name = instruction.parts[0].as_str();
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        let nan_wins = modifiers.takes("NaN");
        let approximate = modifiers.takes("approx");
        modifiers.takes("rn");
        modifiers.end()?;
        if nan_wins && !matches!(name, "min" | "max")
            || approximate != matches!(name, "ex2" | "tanh")
        {
            return Err(unknown(instruction));
        }
        let Some((to, from)) = instruction.operands.split_first() else {
            return Err(unknown(instruction));
        };
        let mut values = Vec::new();
        for operand in from {
            values.push(self.value(operand, of)?);
        }
        let part = match of {
            Type::F16x2 => Type::F16,
            Type::BF16x2 => Type::BF16,
            other => other,
        };
        if part == of {
            let value = self.of_halves(instruction, of, &values, nan_wins)?;
            return self.set(to, value, of);
        }
        let mut both = [self.unit; 2];
        for (k, result) in both.iter_mut().enumerate() {
            let mut parts = Vec::new();
            for value in &values {
                let shifted = self.builder.ins().ushr_imm_u(*value, 16 * k as i64);
                parts.push(self.resize(shifted, I16, false));
            }
            let value = self.of_halves(instruction, part, &parts, nan_wins)?;
            let value = self.resize(value, I32, false);
            *result = self.builder.ins().ishl_imm_u(value, 16 * k as i64);
        }
        let value = self.builder.ins().bor(both[0], both[1]);
        self.set(to, value, of)
    }

    fn of_halves(
        &mut self,
        instruction: &Instruction,
        of: Type,
        values: &[Value],
        nan_wins: bool,
    ) -> Translated<Value> {
        let name = instruction.parts[0].as_str();
        match (name, values) {
            ("neg", [a]) => return Ok(self.builder.ins().bxor_imm_u(*a, 0x8000)),
            ("abs", [a]) => return Ok(self.builder.ins().band_imm_u(*a, 0x7fff)),
            ("fma", [a, b, c]) => {
                let values = [a, b, c].map(|value| self.resize(*value, I32, false));
                let helper = match of {
                    Type::F16 => "half_fma",
                    _ => "bfloat_fma",
                };
                let value = self.helped(helper, &values)?;
                return Ok(self.resize(value, I16, false));
            }
            _ => {}
        }
        let mut singles = Vec::new();
        for value in values {
            singles.push(self.half_as_single(*value, of)?);
        }
        let result = match (name, singles.as_slice()) {
            ("add", [a, b]) => self.builder.ins().fadd(*a, *b),
            ("sub", [a, b]) => self.builder.ins().fsub(*a, *b),
            ("mul", [a, b]) => self.builder.ins().fmul(*a, *b),
            ("min" | "max", [a, b]) => self.extremum(*a, *b, name == "min", nan_wins),
            ("ex2", [a]) => self.helped("ex2", &[*a])?,
            ("tanh", [a]) => self.helped("tanh", &[*a])?,
            _ => return Err(unknown(instruction)),
        };
        self.single_as_half(result, of)
    }
}
