//! Branches, returns, traps and barriers.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::I64;

use super::function::{Fault, Translated, Translator, operands, unknown};
use super::modifiers::Modifiers;
use crate::machine::Unit;
use crate::ptx::{Instruction, Operand, Type};

impl Translator<'_> {
    /// `bra`, with or without a predicate.
    pub(super) fn branch(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        modifiers.ignore(&["uni"]);
        modifiers.end()?;
        let [Operand::Name(name)] = operands(instruction)? else {
            return Err(unknown(instruction));
        };
        if self.is_behind(name) {
            self.count_turn()?;
        }
        let target = self.way(name)?;
        match instruction.guard {
            None => {
                self.builder.ins().jump(target, &[]);
                self.seal(name);
                self.after_the_end();
            }
            Some(guard) => {
                let after = self.builder.create_block();
                let condition = self.raw(guard.register);
                let (yes, no) = if guard.negated {
                    (after, target)
                } else {
                    (target, after)
                };
                self.builder.ins().brif(condition, yes, &[], no, &[]);
                self.seal(name);
                self.builder.switch_to_block(after);
                self.builder.seal_block(after);
            }
        }
        Ok(())
    }

    /// Ends the launch if a unit takes too many backward branches, because it would not end.
    fn count_turn(&mut self) -> Translated<()> {
        let offset = std::mem::offset_of!(Unit, turns);
        let turns = self.field(I64, offset);
        let turns = self.builder.ins().iadd_imm_s(turns, -1);
        self.write(turns, self.unit, offset as i32);
        let (over, after) = (self.builder.create_block(), self.builder.create_block());
        self.builder.set_cold_block(over);
        self.builder.ins().brif(turns, after, &[], over, &[]);
        self.builder.switch_to_block(over);
        self.builder.seal_block(over);
        let here = self.here();
        self.help("runaway", &[self.unit, here])?;
        self.builder.ins().jump(after, &[]);
        self.builder.switch_to_block(after);
        self.builder.seal_block(after);
        Ok(())
    }

    /// Starts a block for the code after a jump or return, which nothing reaches.
    fn after_the_end(&mut self) {
        let block = self.builder.create_block();
        self.builder.switch_to_block(block);
        self.builder.seal_block(block);
    }

    /// Instructions of control other than branches.
    pub(super) fn control(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        match instruction.parts[0].as_str() {
            "ret" | "exit" => {
                modifiers.ignore(&["uni"]);
                modifiers.end()?;
                if instruction.parts[0] == "exit" && !self.function.kernel {
                    return Err(Fault::new("only a kernel ends a unit"));
                }
                self.builder.ins().return_(&[]);
                self.after_the_end();
                Ok(())
            }
            "trap" => {
                modifiers.end()?;
                let here = self.here();
                self.help("trap", &[self.unit, here])?;
                Ok(())
            }
            "call" => self.call(instruction),
            // Units run one after another, so each unit sees everything that was written before.
            "membar" | "fence" => {
                modifiers.ignore(&[
                    "cta", "gl", "gpu", "sys", "sc", "acq_rel", "acquire", "release",
                ]);
                modifiers.end()
            }
            _ => self.barrier(instruction),
        }
    }

    fn barrier(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        let of_plane = modifiers.takes("warp");
        modifiers.ignore(&["cta", "aligned"]);
        let waits = modifiers.takes("sync");
        modifiers.end()?;
        let here = self.here();
        match instruction.operands.as_slice() {
            [mask] if of_plane && waits => {
                let mask = self.value(mask, Type::B(32))?;
                self.help("plane_barrier", &[self.unit, mask, here])?;
                Ok(())
            }
            [Operand::Integer(0)] if waits && !of_plane => {
                self.help("barrier", &[self.unit, here])?;
                Ok(())
            }
            _ => Err(unknown(instruction)),
        }
    }
}
