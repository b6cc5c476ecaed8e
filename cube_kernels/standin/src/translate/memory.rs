//! Loads, stores and atomic instructions.

use cranelift_codegen::ir::types::{I32, I64, I128};
use cranelift_codegen::ir::{self, InstBuilder, MemFlagsData as MemFlags, Value};

use super::function::{Fault, Frame, Translated, Translator, host, operands, unknown};
use super::modifiers::Modifiers;
use crate::machine::{Spec, Use};
use crate::operations::atomics;
use crate::ptx::{Address, Base, Instruction, Operand, Space, Type};

/// Modifiers for caches, which change no value.
const CACHES: [&str; 9] = ["ca", "cg", "cs", "lu", "cv", "wb", "wt", "weak", "unified"];
const SCOPES: [&str; 4] = ["cta", "cluster", "gpu", "sys"];
const ORDERS: [&str; 5] = ["relaxed", "acquire", "release", "acq_rel", "volatile"];

impl Translator<'_> {
    /// Instructions that access memory.
    pub(super) fn memory(&mut self, instruction: &Instruction) -> Translated<()> {
        match instruction.parts[0].as_str() {
            "ld" | "ldu" => self.load(instruction),
            "st" => self.store(instruction),
            "atom" | "red" => self.atomic(instruction),
            "cvta" => self.convert_address(instruction),
            // A prefetch changes no value.
            "prefetch" => Ok(()),
            _ => Err(unknown(instruction)),
        }
    }

    /// The address of an operand within its space, as 64 bits.
    pub(super) fn address(&mut self, address: &Address, space: Space) -> Translated<Value> {
        let start = match &address.base {
            Base::Nothing => self.builder.ins().iconst(I64, 0),
            Base::Register(register) => {
                let value = self.raw(*register);
                let of = match self.function.registers[*register].bits() {
                    32 => I32,
                    64 => I64,
                    _ => return Err(Fault::new("an address has 32 or 64 bits")),
                };
                let value = self.cast(value, of);
                self.resize(value, I64, false)
            }
            Base::Variable(name) => self.address_of(name)?,
        };
        let place = self.builder.ins().iadd_imm_s(start, address.offset);
        // Instructions that name shared memory use only 32 bits of an address.
        if space == Space::Shared && matches!(address.base, Base::Register(_)) {
            return Ok(self.builder.ins().band_imm_u(place, 0xffff_ffff));
        }
        Ok(place)
    }

    /// The place of a parameter, if the address names one. An access beyond its size is an error.
    fn parameter(&mut self, address: &Address, bytes: u32) -> Translated<Option<Value>> {
        let Base::Variable(name) = &address.base else {
            return Ok(None);
        };
        let Some(frame) = self.frames.get(name).copied() else {
            return Ok(None);
        };
        let (Frame::Argument(_, size) | Frame::Passed(_, size) | Frame::Passing(_, size)) = frame;
        let end = address.offset + i64::from(bytes);
        if address.offset < 0 || end > i64::from(size) {
            let message = format!("{bytes} bytes at {} of {size}", address.offset);
            return Err(Fault::new(message));
        }
        let start = self.address_of(name)?;
        let place = self.builder.ins().iadd_imm_s(start, address.offset);
        Ok(Some(place))
    }

    /// Notes the size of a type that is read or written.
    pub(super) fn uses(&mut self, of: Type) {
        self.smallest = self.smallest.min(of.bytes());
    }

    /// Checks an access and gives its address on the host.
    fn place(&mut self, address: &Address, spec: Spec, of: Type) -> Translated<Value> {
        if spec.space == Space::Param
            && let Some(place) = self.parameter(address, spec.bytes)?
        {
            return Ok(place);
        }
        self.uses(of);
        let address = self.address(address, spec.space)?;
        let code = self.integer(I32, i64::from(spec.encode()));
        let here = self.here();
        self.helped("access", &[self.unit, address, code, here])
    }

    fn load(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        let (space, how, count) = access(&mut modifiers, Use::Read);
        modifiers.end()?;
        let [to, Operand::Address(address)] = operands(instruction)? else {
            return Err(unknown(instruction));
        };
        let to = list(to, count)?;
        let place = self.place(address, spec(space, how, count, of), of)?;
        // All values are read before a register is set, because a register may be part of the
        // address.
        let mut values = Vec::new();
        for k in 0..count {
            let offset = (k * of.bytes()) as i32;
            values.push(self.read(host(of), place, offset));
        }
        for (to, value) in to.iter().zip(values) {
            self.set(to, value, of)?;
        }
        Ok(())
    }

    fn store(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        let (space, how, count) = access(&mut modifiers, Use::Write);
        modifiers.end()?;
        let [Operand::Address(address), from] = operands(instruction)? else {
            return Err(unknown(instruction));
        };
        let from = list(from, count)?;
        let place = self.place(address, spec(space, how, count, of), of)?;
        for (k, from) in from.iter().enumerate() {
            let value = self.value(from, of)?;
            let offset = (k as u32 * of.bytes()) as i32;
            self.write(value, place, offset);
        }
        Ok(())
    }

    /// Reads a value from memory of the host.
    pub(super) fn read(&mut self, of: ir::Type, place: Value, offset: i32) -> Value {
        if of == I128 {
            let low = self.read(I64, place, offset);
            let high = self.read(I64, place, offset + 8);
            return self.builder.ins().iconcat(low, high);
        }
        let flags = MemFlags::new();
        self.builder.ins().load(of, flags, place, offset)
    }

    /// Writes a value to memory of the host.
    pub(super) fn write(&mut self, value: Value, place: Value, offset: i32) {
        if self.builder.func.dfg.value_type(value) == I128 {
            let (low, high) = self.builder.ins().isplit(value);
            self.write(low, place, offset);
            self.write(high, place, offset + 8);
            return;
        }
        let flags = MemFlags::new();
        self.builder.ins().store(flags, value, place, offset);
    }

    fn atomic(&mut self, instruction: &Instruction) -> Translated<()> {
        let reads = instruction.parts[0] == "atom";
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        let space = modifiers.space();
        modifiers.ignore(&SCOPES);
        modifiers.ignore(&ORDERS);
        // Sums of halves keep subnormal numbers, which is what `noftz` asks for.
        modifiers.ignore(&["noftz"]);
        let operation = modifiers.one_of(&atomics::OPERATIONS);
        modifiers.end()?;
        let code = operation.and_then(|operation| atomics::code(operation, of));
        let code = code.ok_or_else(|| unknown(instruction))?;
        let (to, rest) = match instruction.operands.split_first() {
            Some((to, rest)) if reads => (to, rest),
            _ => (&Operand::Sink, instruction.operands.as_slice()),
        };
        let (address, a, b) = match rest {
            [Operand::Address(address), a] if operation != Some("cas") => (address, a, a),
            [Operand::Address(address), a, b] if operation == Some("cas") => (address, a, b),
            _ => return Err(unknown(instruction)),
        };
        self.uses(of);
        let address = self.address(address, space)?;
        let whole = match of.bytes() {
            2 => Type::B(16),
            4 => Type::B(32),
            _ => Type::B(64),
        };
        let a = self.value(a, whole)?;
        let b = self.value(b, whole)?;
        let [a, b] = [a, b].map(|value| self.resize(value, I64, false));
        let access = spec(space, Use::Atomic, 1, of);
        let access = self.integer(I32, i64::from(access.encode()));
        if self.line >= 1 << 20 {
            return Err(Fault::new("the text has too many lines"));
        }
        let line = self.integer(I32, i64::from(self.line << 12 | code));
        let old = self.helped("atomic", &[self.unit, address, access, a, b, line])?;
        let old = self.resize(old, host(whole), false);
        self.set(to, old, whole)
    }

    fn convert_address(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        let to_space = modifiers.takes("to");
        let space = modifiers.space();
        modifiers.end()?;
        let [to, from] = operands(instruction)?;
        if of.bits() != 64 {
            return Err(Fault::new("only addresses of 64 bits are known"));
        }
        let address = self.value(from, of)?;
        let address = match space {
            Space::Shared => self.shift_window(address, !to_space),
            Space::Generic => return Err(unknown(instruction)),
            // Addresses of the other spaces are generic addresses already.
            _ => address,
        };
        self.set(to, address, of)
    }
}

/// The space and the use of a load or store, and its number of values.
fn access(modifiers: &mut Modifiers, how: Use) -> (Space, Use, u32) {
    let space = modifiers.space();
    modifiers.ignore(&CACHES);
    modifiers.ignore(&SCOPES);
    modifiers.ignore_all_of("L1::");
    modifiers.ignore_all_of("L2::");
    // Accesses with an order, or volatile ones, may run at the same time as others, so they count
    // as atomic.
    let strong = modifiers.one_of(&ORDERS).is_some();
    let how = match how {
        _ if strong => Use::Atomic,
        Use::Read if modifiers.takes("nc") => Use::ReadOnly,
        other => other,
    };
    let count = match modifiers.one_of(&["v2", "v4", "v8"]) {
        Some("v2") => 2,
        Some("v4") => 4,
        Some("v8") => 8,
        _ => 1,
    };
    (space, how, count)
}

fn spec(space: Space, how: Use, count: u32, of: Type) -> Spec {
    let bytes = count * of.bytes();
    Spec {
        space,
        how,
        bytes,
        align: bytes,
    }
}

/// The operands in braces, or a single operand. There must be `count`.
pub fn list(operand: &Operand, count: u32) -> Translated<&[Operand]> {
    let all = match operand {
        Operand::Vector(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    if all.len() == count as usize {
        return Ok(all);
    }
    let message = format!("{count} operands in braces expected, not {}", all.len());
    Err(Fault::new(message))
}
