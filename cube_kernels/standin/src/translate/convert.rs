//! Conversions between types.

use cranelift_codegen::ir::types::{F32, F64, I8, I16, I32, I64};
use cranelift_codegen::ir::{self, InstBuilder, Value};

use super::function::{Translated, Translator, host, operands, unknown};
use super::modifiers::Modifiers;
use crate::operations::floats::Direction;
use crate::ptx::{Instruction, Type};

const ROUNDINGS: [&str; 9] = ["rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi"];

fn is_number(of: Type) -> bool {
    of.is_float() || of.is_half()
}

/// The types of a conversion, and how it rounds.
#[derive(Clone, Copy)]
struct Conversion<'a> {
    from: Type,
    to: Type,
    /// Empty if the instruction says nothing about it.
    rounding: &'a str,
}

impl Translator<'_> {
    /// `cvt`.
    pub(super) fn conversion(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let from = modifiers.last_type()?;
        let to = modifiers.last_type()?;
        let rounding = modifiers.one_of(&ROUNDINGS).unwrap_or("");
        let flushes = modifiers.takes("ftz");
        let saturates = modifiers.takes("sat");
        modifiers.end()?;
        if matches!(to, Type::F16x2 | Type::BF16x2) {
            if from != Type::F32 || rounding != "rn" || saturates || flushes {
                return Err(unknown(instruction));
            }
            return self.pack(instruction, to);
        }
        let [target, source] = operands(instruction)?;
        if to == Type::Tf32 {
            if from != Type::F32 || rounding != "rna" || saturates || flushes {
                return Err(unknown(instruction));
            }
            let value = self.value(source, Type::B(32))?;
            let value = self.tf32(value)?;
            return self.set(target, value, Type::B(32));
        }
        let mut value = self.value(source, from)?;
        if flushes && from == Type::F32 {
            value = self.flush(value);
        }
        if from.is_half() {
            value = self.half_as_single(value, from)?;
        }
        let wanted = Conversion { from, to, rounding };
        let converted = match (is_number(from), is_number(to)) {
            (false, false) if rounding.is_empty() && !flushes => {
                self.between_integers(value, wanted, saturates)
            }
            (true, false) if !saturates || to.bits() <= 64 => self.integer_of(value, wanted),
            (false, true) if !saturates && !flushes => self.float_of(value, wanted)?,
            (true, true) => self.between_floats(value, wanted)?,
            _ => None,
        };
        let mut value = converted.ok_or_else(|| unknown(instruction))?;
        if saturates && is_number(to) {
            if !to.is_float() {
                return Err(unknown(instruction));
            }
            value = self.saturate(value);
        }
        if flushes && to == Type::F32 {
            value = self.flush(value);
        }
        self.set(target, value, to)
    }

    fn pack(&mut self, instruction: &Instruction, to: Type) -> Translated<()> {
        let part = match to {
            Type::F16x2 => Type::F16,
            _ => Type::BF16,
        };
        // The first operand becomes the upper half.
        let [target, high, low] = operands::<3>(instruction)?;
        let mut halves = [self.unit; 2];
        for (half, operand) in halves.iter_mut().zip([high, low]) {
            let value = self.value(operand, Type::F32)?;
            let value = self.single_as_half(value, part)?;
            *half = self.resize(value, I32, false);
        }
        let high = self.builder.ins().ishl_imm_u(halves[0], 16);
        let value = self.builder.ins().bor(high, halves[1]);
        self.set(target, value, to)
    }

    /// The nearest single with ten fraction bits, ties away from zero.
    fn tf32(&mut self, bits: Value) -> Translated<Value> {
        let exponent = self.builder.ins().band_imm_u(bits, 0x7f80_0000);
        let all = self.integer(I32, 0x7f80_0000);
        let special = self.icmp(ir::condcodes::IntCC::Equal, exponent, all);
        let up = self.builder.ins().iadd_imm_s(bits, 0x1000);
        let cut = self.builder.ins().band_imm_u(up, 0xffff_e000);
        Ok(self.builder.ins().select(special, bits, cut))
    }

    fn between_integers(
        &mut self,
        value: Value,
        wanted: Conversion,
        saturates: bool,
    ) -> Option<Value> {
        let Conversion { from, to, .. } = wanted;
        if !saturates {
            return Some(self.resize(value, host(to), from.is_signed()));
        }
        if from.bits() > 32 || to.bits() > 32 {
            return None;
        }
        let wide = self.resize(value, I64, from.is_signed());
        let value = self.clamp(wide, to);
        Some(self.resize(value, host(to), false))
    }

    /// A single or a double rounded to a whole number.
    fn whole(&mut self, value: Value, rounding: &str) -> Option<Value> {
        let ins = self.builder.ins();
        Some(match rounding {
            "rni" => ins.nearest(value),
            "rzi" => ins.trunc(value),
            "rmi" => ins.floor(value),
            "rpi" => ins.ceil(value),
            _ => return None,
        })
    }

    /// Converts a single or a double to an integer. A value beyond the range of the type becomes the nearest integer of
    /// the type, and NaN becomes zero.
    fn integer_of(&mut self, value: Value, wanted: Conversion) -> Option<Value> {
        let Conversion { to, rounding, .. } = wanted;
        let value = self.whole(value, rounding)?;
        let signed = to.is_signed();
        if matches!(to, Type::B(_)) {
            return None;
        }
        if to.bits() >= 32 {
            let ins = self.builder.ins();
            return Some(match signed {
                true => ins.fcvt_to_sint_sat(host(to), value),
                false => ins.fcvt_to_uint_sat(host(to), value),
            });
        }
        let wide = self.builder.ins().fcvt_to_sint_sat(I64, value);
        let value = self.clamp(wide, to);
        Some(self.resize(value, host(to), false))
    }

    fn float_of(&mut self, value: Value, wanted: Conversion) -> Translated<Option<Value>> {
        let Conversion { from, to, rounding } = wanted;
        let signed = from.is_signed();
        let of = self.builder.func.dfg.value_type(value);
        let value = match of {
            I8 | I16 => self.resize(value, I32, signed),
            _ => value,
        };
        let exact = from.bits() <= 32;
        let convert = |this: &mut Self, of| match signed {
            true => this.builder.ins().fcvt_from_sint(of, value),
            false => this.builder.ins().fcvt_from_uint(of, value),
        };
        match (to, Direction::of(rounding)) {
            (Type::F64, _) if exact => Ok(Some(convert(self, F64))),
            (Type::F64, None) if rounding == "rn" => Ok(Some(convert(self, F64))),
            (Type::F32, None) if rounding == "rn" => Ok(Some(convert(self, F32))),
            (Type::F32, Some(direction)) if exact => {
                let wide = convert(self, F64);
                let code = self.integer(I32, direction.code().into());
                self.help("single_rounded", &[wide, code])
            }
            (Type::F16 | Type::BF16, None) if exact && rounding == "rn" => {
                let wide = convert(self, F64);
                self.double_as_half(wide, to).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A number in another type, or rounded to a whole one. Halves come as singles.
    fn between_floats(&mut self, value: Value, wanted: Conversion) -> Translated<Option<Value>> {
        let Conversion { from, to, rounding } = wanted;
        if from == to {
            let rounded = match rounding {
                "" => Some(value),
                _ => self.whole(value, rounding),
            };
            return match rounded {
                Some(value) if from.is_half() => self.single_as_half(value, to).map(Some),
                other => Ok(other),
            };
        }
        let now = self.builder.func.dfg.value_type(value);
        match (to, Direction::of(rounding)) {
            (Type::F64, None) if rounding.is_empty() => {
                Ok(Some(self.builder.ins().fpromote(F64, value)))
            }
            (Type::F32, None) if from.is_half() && rounding.is_empty() => Ok(Some(value)),
            (Type::F32, None) if rounding == "rn" => {
                Ok(Some(self.builder.ins().fdemote(F32, value)))
            }
            (Type::F32, Some(direction)) => {
                let code = self.integer(I32, direction.code().into());
                self.help("single_rounded", &[value, code])
            }
            (Type::F16 | Type::BF16, None) if rounding == "rn" && now == F32 => {
                self.single_as_half(value, to).map(Some)
            }
            (Type::F16 | Type::BF16, None) if rounding == "rn" => {
                self.double_as_half(value, to).map(Some)
            }
            _ => Ok(None),
        }
    }
}
