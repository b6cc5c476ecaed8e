//! Matrix instructions `wmma`.

use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{InstBuilder, StackSlot, StackSlotData, StackSlotKind};

use super::function::{Translated, Translator, host, unknown};
use super::modifiers::Modifiers;
use crate::operations::matrices::{FRAGMENT, Fragment, product_code, shape};
use crate::ptx::{Instruction, Operand, Type};

impl Translator<'_> {
    /// `wmma.load`, `wmma.store` and `wmma.mma`.
    pub(super) fn matrix(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let synchronous = modifiers.takes("sync");
        let aligned = modifiers.takes("aligned");
        if !synchronous || !aligned {
            return Err(unknown(instruction));
        }
        match modifiers.one_of(&["load", "store", "mma"]) {
            Some("mma") => self.multiply(instruction, modifiers),
            Some(what) => self.transfer(instruction, modifiers, what == "load"),
            None => Err(unknown(instruction)),
        }
    }

    fn room(&mut self, parts: usize) -> StackSlot {
        let size = (parts * FRAGMENT) as u32;
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, size, 4);
        self.builder.create_sized_stack_slot(data)
    }

    /// The type of the registers that hold a fragment.
    fn word(of: Type) -> Type {
        match of {
            Type::F32 => Type::F32,
            _ => Type::B(32),
        }
    }

    fn transfer(
        &mut self,
        instruction: &Instruction,
        mut modifiers: Modifiers,
        loads: bool,
    ) -> Translated<()> {
        let of = modifiers.last_type()?;
        let space = modifiers.space();
        let part = modifiers.one_of(&["a", "b", "c", "d"]);
        let layout = modifiers.one_of(&["row", "col"]);
        let shape = modifiers.next_as(shape);
        modifiers.end()?;
        let (Some(part), Some(layout), Some(shape)) = (part, layout, shape) else {
            return Err(unknown(instruction));
        };
        let (registers, address, stride) = match instruction.operands.as_slice() {
            [Operand::Vector(to), Operand::Address(address), stride] if loads => {
                (to, address, stride)
            }
            [Operand::Address(address), Operand::Vector(from), stride] if !loads => {
                (from, address, stride)
            }
            _ => return Err(unknown(instruction)),
        };
        let suits = match (part, of) {
            ("a" | "b", Type::F16 | Type::BF16 | Type::Tf32) => loads,
            ("c", Type::F16 | Type::F32) => loads,
            ("d", Type::F16 | Type::F32) => !loads,
            _ => false,
        };
        if !suits || registers.len() * 4 > FRAGMENT {
            return Err(unknown(instruction));
        }
        let fragment = Fragment {
            part: part.chars().next().unwrap_or('a'),
            shape,
            of,
            rows: layout == "row",
            space,
            words: registers.len() as u32,
        };
        self.uses(of);
        let address = self.address(address, space)?;
        let stride = self.value(stride, Type::U(32))?;
        let code = self.integer(I32, fragment.encode().into());
        let slot = self.room(1);
        let place = self.builder.ins().stack_addr(I64, slot, 0);
        let here = self.here();
        let arguments = [self.unit, address, stride, code, place, here];
        let word = Self::word(of);
        if loads {
            self.help("matrix_load", &arguments)?;
            for (k, to) in registers.iter().enumerate() {
                let value = self.read(host(word), place, 4 * k as i32);
                self.set(to, value, word)?;
            }
            return Ok(());
        }
        for (k, from) in registers.iter().enumerate() {
            let value = self.value(from, word)?;
            self.write(value, place, 4 * k as i32);
        }
        self.help("matrix_store", &arguments)?;
        Ok(())
    }

    fn multiply(&mut self, instruction: &Instruction, mut modifiers: Modifiers) -> Translated<()> {
        let types = modifiers.types();
        // Fragments do not depend on the layouts that factors had in memory, so the modifiers are
        // only checked.
        let layouts = [
            modifiers.one_of(&["row", "col"]),
            modifiers.one_of(&["row", "col"]),
        ];
        let shape = modifiers.next_as(shape);
        modifiers.end()?;
        // With two types these are the result and the added matrix, and the factors are of half
        // precision.
        let (result, factors, added) = match types.as_slice() {
            [result, added] => (*result, Type::F16, *added),
            [result, a, b, added] if a == b => (*result, *a, *added),
            _ => return Err(unknown(instruction)),
        };
        let code = shape.and_then(|shape| product_code(shape, factors, added, result));
        let (Some(code), [Some(_), Some(_)]) = (code, layouts) else {
            return Err(unknown(instruction));
        };
        let [
            Operand::Vector(to),
            Operand::Vector(a),
            Operand::Vector(b),
            Operand::Vector(c),
        ] = instruction.operands.as_slice()
        else {
            return Err(unknown(instruction));
        };
        if [to, a, b, c].iter().any(|list| list.len() * 4 > FRAGMENT) {
            return Err(unknown(instruction));
        }
        let slot = self.room(4);
        let place = self.builder.ins().stack_addr(I64, slot, 0);
        for (part, (list, of)) in [(a, factors), (b, factors), (c, added)]
            .into_iter()
            .enumerate()
        {
            for (k, from) in list.iter().enumerate() {
                let value = self.value(from, Self::word(of))?;
                self.write(value, place, (part * FRAGMENT + 4 * k) as i32);
            }
        }
        let code = self.integer(I32, code.into());
        let here = self.here();
        self.help("matrix_multiply", &[self.unit, place, code, here])?;
        let word = Self::word(result);
        for (k, to) in to.iter().enumerate() {
            let value = self.read(host(word), place, (3 * FRAGMENT + 4 * k) as i32);
            self.set(to, value, word)?;
        }
        Ok(())
    }
}
