//! Operands: registers, constants, special registers and addresses as values of the host.

use cranelift_codegen::ir::types::{I8, I16, I32, I64, I128};
use cranelift_codegen::ir::{self, InstBuilder, MemFlagsData as MemFlags, Value};

use super::function::{Fault, Frame, Translated, Translator, host};
use crate::machine::{SHARED_WINDOW, Unit};
use crate::ptx::{Operand, Register, Type};

impl Translator<'_> {
    /// The value of a register, with its own host type.
    pub(super) fn raw(&mut self, register: Register) -> Value {
        self.builder.use_var(self.slots[register])
    }

    /// Reinterprets a value as another type of the same size.
    pub(super) fn cast(&mut self, value: Value, to: ir::Type) -> Value {
        let from = self.builder.func.dfg.value_type(value);
        if from == to {
            return value;
        }
        self.builder.ins().bitcast(to, MemFlags::new(), value)
    }

    /// The value of an operand as a type.
    pub(super) fn value(&mut self, operand: &Operand, of: Type) -> Translated<Value> {
        let to = host(of);
        let integer = ir::Type::int(to.bits() as u16).unwrap_or(I8);
        let value = match operand {
            Operand::Register(register) => {
                let value = self.raw(*register);
                let declared = self.function.registers[*register];
                if (declared == Type::Pred) != (of == Type::Pred) {
                    return Err(Fault::new("a predicate is no number"));
                }
                let from = self.builder.func.dfg.value_type(value);
                if from.bits() < to.bits() {
                    return Err(Fault::new("a register is too small for its type"));
                }
                if from.bits() == to.bits() {
                    return Ok(self.cast(value, to));
                }
                // Instructions that convert or store use the lower part of a larger register.
                let whole = ir::Type::int(from.bits() as u16).unwrap_or(I64);
                let value = self.cast(value, whole);
                let part = self.builder.ins().ireduce(integer, value);
                return Ok(self.cast(part, to));
            }
            Operand::Not(register) if of == Type::Pred => {
                let value = self.raw(*register);
                return Ok(self.builder.ins().bxor_imm_u(value, 1));
            }
            Operand::Integer(value) if of == Type::Pred => {
                self.builder.ins().iconst(I8, i64::from(*value != 0))
            }
            Operand::Integer(value) if to == I128 => {
                let low = self.builder.ins().iconst(I64, *value as i64);
                let high = self.builder.ins().iconst(I64, (*value >> 64) as i64);
                self.builder.ins().iconcat(low, high)
            }
            Operand::Integer(value) if of.is_float() => {
                return Err(Fault::new(format!("{value} is no floating-point number")));
            }
            Operand::Integer(value) => self.integer(integer, *value as i64),
            Operand::Single(bits) if of.bits() == 32 => {
                if of == Type::F32 {
                    return Ok(self.builder.ins().f32const(f32::from_bits(*bits)));
                }
                self.integer(I32, i64::from(*bits))
            }
            // A single as a constant of type double stands for the same value.
            Operand::Single(bits) if of == Type::F64 => {
                let value = f64::from(f32::from_bits(*bits));
                return Ok(self.builder.ins().f64const(value));
            }
            Operand::Double(bits) if of.bits() == 64 => {
                if of == Type::F64 {
                    return Ok(self.builder.ins().f64const(f64::from_bits(*bits)));
                }
                self.builder.ins().iconst(I64, *bits as i64)
            }
            Operand::Double(bits) if of == Type::F32 => {
                let value = f64::from_bits(*bits) as f32;
                return Ok(self.builder.ins().f32const(value));
            }
            Operand::Special(name) => {
                let value = self.special(name)?;
                self.resize(value, integer, false)
            }
            Operand::Variable(name, offset) => {
                let address = self.address_of(name)?;
                let address = self.builder.ins().iadd_imm_s(address, *offset);
                self.resize(address, integer, false)
            }
            other => return Err(Fault::new(format!("{other:?} is no value of {of:?}"))),
        };
        Ok(self.cast(value, to))
    }

    /// An integer constant. Only the bits of the type count.
    pub(super) fn integer(&mut self, of: ir::Type, value: i64) -> Value {
        let value = match of {
            I8 => i64::from(value as u8),
            I16 => i64::from(value as u16),
            I32 => i64::from(value as u32),
            _ => value,
        };
        self.builder.ins().iconst(of, value)
    }

    /// An integer with more or fewer bits.
    pub(super) fn resize(&mut self, value: Value, to: ir::Type, signed: bool) -> Value {
        let from = self.builder.func.dfg.value_type(value);
        match from.bits().cmp(&to.bits()) {
            std::cmp::Ordering::Equal => value,
            std::cmp::Ordering::Greater => self.builder.ins().ireduce(to, value),
            std::cmp::Ordering::Less if signed => self.builder.ins().sextend(to, value),
            std::cmp::Ordering::Less => self.builder.ins().uextend(to, value),
        }
    }

    /// Sets a register to a value of type `of`. A smaller value is extended to a larger register,
    /// signed or unsigned as the type says.
    pub(super) fn set(&mut self, operand: &Operand, value: Value, of: Type) -> Translated<()> {
        let register = match operand {
            Operand::Register(register) => *register,
            Operand::Sink => return Ok(()),
            other => return Err(Fault::new(format!("{other:?} is no register"))),
        };
        let kind = self.kinds[register];
        let from = self.builder.func.dfg.value_type(value);
        let value = if from.bits() == kind.bits() {
            self.cast(value, kind)
        } else if from.bits() < kind.bits() && from.is_int() {
            let whole = ir::Type::int(kind.bits() as u16).unwrap_or(I64);
            let value = self.resize(value, whole, of.is_signed());
            self.cast(value, kind)
        } else {
            return Err(Fault::new("a register does not suit its type"));
        };
        self.builder.def_var(self.slots[register], value);
        Ok(())
    }

    /// Reads the field of the unit at this offset.
    pub(super) fn field(&mut self, of: ir::Type, offset: usize) -> Value {
        let flags = MemFlags::trusted();
        self.builder.ins().load(of, flags, self.unit, offset as i32)
    }

    fn special(&mut self, name: &str) -> Translated<Value> {
        let (stem, part) = name.split_once('.').unwrap_or((name, ""));
        let part = ["x", "y", "z"].iter().position(|axis| *axis == part);
        let vector = match stem {
            "%tid" => Some(std::mem::offset_of!(Unit, place)),
            "%ntid" => Some(std::mem::offset_of!(Unit, units)),
            "%ctaid" => Some(std::mem::offset_of!(Unit, cube)),
            "%nctaid" => Some(std::mem::offset_of!(Unit, cubes)),
            _ => None,
        };
        if let (Some(offset), Some(part)) = (vector, part) {
            return Ok(self.field(I32, offset + 4 * part));
        }
        let lane = std::mem::offset_of!(Unit, lane);
        Ok(match name {
            "%laneid" => self.field(I32, lane),
            "%warpid" => self.field(I32, std::mem::offset_of!(Unit, plane)),
            "%dynamic_smem_size" => self.field(I32, std::mem::offset_of!(Unit, dynamic_bytes)),
            "%total_smem_size" => self.field(I32, std::mem::offset_of!(Unit, shared_bytes)),
            "%lanemask_eq" | "%lanemask_lt" | "%lanemask_le" | "%lanemask_gt" | "%lanemask_ge" => {
                let lane = self.field(I32, lane);
                let one = self.builder.ins().iconst(I32, 1);
                let own = self.builder.ins().ishl(one, lane);
                let below = self.builder.ins().iadd_imm_s(own, -1);
                let up_to = self.builder.ins().bor(own, below);
                match &name[10..] {
                    "eq" => own,
                    "lt" => below,
                    "le" => up_to,
                    "gt" => self.builder.ins().bnot(up_to),
                    _ => self.builder.ins().bnot(below),
                }
            }
            _ => return Err(Fault::new(format!("'{name}' is not known"))),
        })
    }

    /// The address of a variable within its own space, as 64 bits.
    pub(super) fn address_of(&mut self, name: &str) -> Translated<Value> {
        if let Some(frame) = self.frames.get(name).copied() {
            return Ok(match frame {
                Frame::Argument(offset, _) => {
                    let start = self.field(I64, std::mem::offset_of!(Unit, params));
                    self.builder.ins().iadd_imm_s(start, i64::from(offset))
                }
                Frame::Passed(value, _) => value,
                Frame::Passing(slot, _) => self.builder.ins().stack_addr(I64, slot, 0),
            });
        }
        if let Some(offset) = self.places.shared.get(name) {
            return Ok(self.builder.ins().iconst(I64, i64::from(*offset)));
        }
        if let Some(address) = self.places.global.get(name) {
            return Ok(self.builder.ins().iconst(I64, *address as i64));
        }
        let key = (self.function.name.clone(), name.to_string());
        if let Some(offset) = self.places.local.get(&key) {
            let start = self.field(I64, std::mem::offset_of!(Unit, local));
            return Ok(self.builder.ins().iadd_imm_s(start, i64::from(*offset)));
        }
        Err(Fault::new(format!("'{name}' is not known")))
    }

    /// Converts an address of shared memory to a generic address, or back.
    pub(super) fn shift_window(&mut self, address: Value, to_generic: bool) -> Value {
        let window = SHARED_WINDOW as i64;
        let by = if to_generic { window } else { -window };
        self.builder.ins().iadd_imm_s(address, by)
    }
}
