//! Calls of functions.

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_module::Module as _;

use super::function::{Fault, Translated, Translator, unknown};
use super::modifiers::Modifiers;
use crate::ptx::{Instruction, Operand};

impl Translator<'_> {
    /// `call (result), name, (arguments)`.
    pub(super) fn call(&mut self, instruction: &Instruction) -> Translated<()> {
        let mut modifiers = Modifiers::new(instruction);
        modifiers.ignore(&["uni"]);
        modifiers.end()?;
        let (results, rest) = match instruction.operands.as_slice() {
            [Operand::List(results), rest @ ..] => (results.as_slice(), rest),
            rest => ([].as_slice(), rest),
        };
        let (name, passed) = match rest {
            [Operand::Name(name)] => (name, [].as_slice()),
            [Operand::Name(name), Operand::List(passed)] => (name, passed.as_slice()),
            _ => return Err(unknown(instruction)),
        };
        let mut places = vec![self.unit];
        for operand in results.iter().chain(passed) {
            places.push(self.variable(operand)?);
        }
        if name == "vprintf" {
            return self.print(&places);
        }
        let Some((id, function)) = self.functions.get(name) else {
            return Err(Fault::new(format!("'{name}' has no body")));
        };
        let count = 1 + function.result.iter().len() + function.params.len();
        if function.kernel || places.len() != count {
            return Err(Fault::new(format!(
                "'{name}' does not take these arguments"
            )));
        }
        if self.calls_back(name, 0) {
            return Err(Fault::new(format!("'{name}' calls itself")));
        }
        let function = self.code.declare_func_in_func(*id, self.builder.func);
        self.builder.ins().call(function, &places);
        Ok(())
    }

    /// Whether a function calls this one, directly or through others. Such calls are refused,
    /// because all calls of a function share the memory of its variables.
    fn calls_back(&self, name: &str, depth: usize) -> bool {
        if name == self.function.name || depth > self.functions.len() {
            return true;
        }
        let Some((_, function)) = self.functions.get(name) else {
            return false;
        };
        function.body.iter().any(|statement| match statement {
            crate::ptx::Statement::Instruction(call) if call.parts[0] == "call" => {
                let mut names = call.operands.iter().filter_map(|operand| match operand {
                    Operand::Name(name) => Some(name),
                    _ => None,
                });
                names.any(|name| self.calls_back(name, depth + 1))
            }
            _ => false,
        })
    }

    fn variable(&mut self, operand: &Operand) -> Translated<Value> {
        match operand {
            Operand::Variable(name, 0) => self.address_of(name),
            other => Err(Fault::new(format!("{other:?} is no variable"))),
        }
    }

    /// `vprintf`. If the call has a result, it comes first.
    fn print(&mut self, places: &[Value]) -> Translated<()> {
        let (result, [format, arguments]) = match *places {
            [_, result, format, arguments] => (Some(result), [format, arguments]),
            [_, format, arguments] => (None, [format, arguments]),
            _ => return Err(Fault::new("'vprintf' takes a text and arguments")),
        };
        let [format, arguments] = [format, arguments].map(|place| self.read(I64, place, 0));
        let here = self.here();
        let count = self.helped("print", &[self.unit, format, arguments, here])?;
        if let Some(result) = result {
            self.write(count, result, 0);
        }
        Ok(())
    }
}
