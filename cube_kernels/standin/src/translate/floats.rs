//! Floating-point arithmetic of singles and doubles.

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::types::{F32, I32};
use cranelift_codegen::ir::{self, InstBuilder, Value};

use super::function::{Translated, Translator, host, unknown};
use super::modifiers::Modifiers;
use crate::operations::floats::Direction;
use crate::ptx::{Instruction, Type};

/// How an instruction rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rounding {
    Nearest,
    Directed(Direction),
    /// Approximate: any value within the error that the manual allows.
    Approximate,
}

impl Translator<'_> {
    /// A floating-point constant.
    pub(super) fn number(&mut self, value: f64, of: ir::Type) -> Value {
        match of {
            F32 => self.builder.ins().f32const(value as f32),
            _ => self.builder.ins().f64const(value),
        }
    }

    /// A single, or zero of the same sign if it is subnormal.
    pub(super) fn flush(&mut self, value: Value) -> Value {
        let size = self.builder.ins().fabs(value);
        let least = self.number(f32::MIN_POSITIVE.into(), F32);
        let small = self.builder.ins().fcmp(FloatCC::LessThan, size, least);
        let zero = self.number(0.0, F32);
        let zero = self.builder.ins().fcopysign(zero, value);
        self.builder.ins().select(small, zero, value)
    }

    /// Clamps a number to the range from 0 to 1. NaN becomes 0.
    pub(super) fn saturate(&mut self, value: Value) -> Value {
        let of = self.builder.func.dfg.value_type(value);
        let (zero, one) = (self.number(0.0, of), self.number(1.0, of));
        let positive = self.builder.ins().fcmp(FloatCC::GreaterThan, value, zero);
        let value = self.builder.ins().select(positive, value, zero);
        let small = self.builder.ins().fcmp(FloatCC::LessThan, value, one);
        self.builder.ins().select(small, value, one)
    }

    /// The minimum or maximum of two numbers. If one of them is NaN, the result is the other, or
    /// NaN if `nan_wins`.
    pub(super) fn extremum(&mut self, a: Value, b: Value, least: bool, nan_wins: bool) -> Value {
        let value = match least {
            true => self.builder.ins().fmin(a, b),
            false => self.builder.ins().fmax(a, b),
        };
        if nan_wins {
            return value;
        }
        let b_is_nan = self.builder.ins().fcmp(FloatCC::Unordered, b, b);
        let value = self.builder.ins().select(b_is_nan, a, value);
        let a_is_nan = self.builder.ins().fcmp(FloatCC::Unordered, a, a);
        self.builder.ins().select(a_is_nan, b, value)
    }

    /// Arithmetic instructions of singles and doubles.
    pub(super) fn float(&mut self, instruction: &Instruction) -> Translated<()> {
        let name = instruction.parts[0].as_str();
        let mut modifiers = Modifiers::new(instruction);
        let of = modifiers.last_type()?;
        let flushes = modifiers.takes("ftz");
        let saturates = modifiers.takes("sat");
        let nan_wins = modifiers.takes("NaN");
        let direction = modifiers.next_as(Direction::of);
        let rounding = match direction {
            Some(direction) => Rounding::Directed(direction),
            None if modifiers.takes("approx") || modifiers.takes("full") => Rounding::Approximate,
            None => {
                modifiers.takes("rn");
                Rounding::Nearest
            }
        };
        modifiers.end()?;
        if saturates && (of != Type::F32 || !matches!(name, "add" | "sub" | "mul" | "fma" | "mad"))
        {
            return Err(unknown(instruction));
        }
        if nan_wins && !matches!(name, "min" | "max") {
            return Err(unknown(instruction));
        }
        let Some((to, from)) = instruction.operands.split_first() else {
            return Err(unknown(instruction));
        };
        let mut values = Vec::new();
        for operand in from {
            let value = self.value(operand, of)?;
            values.push(match flushes && of == Type::F32 {
                true => self.flush(value),
                false => value,
            });
        }
        let value = match (rounding, values.as_slice()) {
            (Rounding::Nearest, [a]) => self.of_one(name, *a),
            (Rounding::Nearest, [a, b]) => self.of_two(name, *a, *b, nan_wins),
            (Rounding::Nearest, [a, b, c]) => self.of_three(name, *a, *b, *c, nan_wins),
            (Rounding::Approximate, values) => self.approximated(name, of, flushes, values)?,
            (Rounding::Directed(direction), values) => {
                self.directed(name, of, direction, values)?
            }
            _ => None,
        };
        let mut value = value.ok_or_else(|| unknown(instruction))?;
        if saturates {
            value = self.saturate(value);
        }
        if flushes && of == Type::F32 {
            value = self.flush(value);
        }
        self.set(to, value, of)
    }

    fn of_one(&mut self, name: &str, a: Value) -> Option<Value> {
        Some(match name {
            "neg" => self.builder.ins().fneg(a),
            "abs" => self.builder.ins().fabs(a),
            "sqrt" => self.builder.ins().sqrt(a),
            "rcp" => {
                let of = self.builder.func.dfg.value_type(a);
                let one = self.number(1.0, of);
                self.builder.ins().fdiv(one, a)
            }
            _ => return None,
        })
    }

    fn of_two(&mut self, name: &str, a: Value, b: Value, nan_wins: bool) -> Option<Value> {
        Some(match name {
            "add" => self.builder.ins().fadd(a, b),
            "sub" => self.builder.ins().fsub(a, b),
            "mul" => self.builder.ins().fmul(a, b),
            "div" => self.builder.ins().fdiv(a, b),
            "min" => self.extremum(a, b, true, nan_wins),
            "max" => self.extremum(a, b, false, nan_wins),
            // The sign comes from the first operand. Cranelift takes it from the second.
            "copysign" => self.builder.ins().fcopysign(b, a),
            _ => return None,
        })
    }

    fn of_three(
        &mut self,
        name: &str,
        a: Value,
        b: Value,
        c: Value,
        nan_wins: bool,
    ) -> Option<Value> {
        match name {
            "fma" | "mad" => Some(self.builder.ins().fma(a, b, c)),
            "min" | "max" => {
                let first = self.extremum(a, b, name == "min", nan_wins);
                Some(self.extremum(first, c, name == "min", nan_wins))
            }
            _ => None,
        }
    }

    fn approximated(
        &mut self,
        name: &str,
        of: Type,
        flushes: bool,
        values: &[Value],
    ) -> Translated<Option<Value>> {
        let helper = match (name, of, values.len()) {
            ("ex2", Type::F32, 1) => "ex2",
            ("lg2", Type::F32, 1) => "lg2",
            ("sin", Type::F32, 1) => "sin",
            ("cos", Type::F32, 1) => "cos",
            ("tanh", Type::F32, 1) => "tanh",
            ("rcp", Type::F32, 1) => "rcp",
            ("sqrt", Type::F32, 1) => "sqrt",
            ("rsqrt", Type::F32, 1) => "rsqrt",
            ("div", Type::F32, 2) => "div_approx",
            ("rcp", Type::F64, 1) if flushes => "rcp_double",
            ("rsqrt", Type::F64, 1) if flushes => "rsqrt_double",
            ("rsqrt", Type::F64, 1) => {
                let root = self.builder.ins().sqrt(values[0]);
                return Ok(self.of_one("rcp", root));
            }
            _ => return Ok(None),
        };
        self.help(helper, values)
    }

    fn directed(
        &mut self,
        name: &str,
        of: Type,
        direction: Direction,
        values: &[Value],
    ) -> Translated<Option<Value>> {
        let code = self.integer(I32, direction.code().into());
        let single = of == Type::F32;
        let (fma, add) = if single {
            ("fma_rounded", "add_rounded")
        } else {
            ("fma_double_rounded", "add_double_rounded")
        };
        match (name, values) {
            ("fma" | "mad", [a, b, c]) => self.help(fma, &[*a, *b, *c, code]),
            ("add", [a, b]) => self.help(add, &[*a, *b, code]),
            ("sub", [a, b]) => {
                let b = self.builder.ins().fneg(*b);
                self.help(add, &[*a, b, code])
            }
            ("mul", [a, b]) => {
                // A zero with the sign of the product, so that a sum that is zero has that sign,
                // too.
                let product = self.builder.ins().fmul(*a, *b);
                let zero = self.number(0.0, host(of));
                let zero = self.builder.ins().fcopysign(zero, product);
                self.help(fma, &[*a, *b, zero, code])
            }
            _ => Ok(None),
        }
    }
}
