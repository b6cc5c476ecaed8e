//! Evaluation of the values that depend on a row, on a column or on the parameters only. At expansion time the
//! items of a program are walked and turned into code.

use cubecl::prelude::*;

use crate::{
    formula::catalogue::{ScalarOp, apply},
    math::{Math, constant_vector},
    program::{Code, Instruction, Item, Program, Register, Space, Term},
};

/// The start value of a sum. Unlike 0, it keeps the sign of a zero that is added to it.
const NOTHING: f64 = -0.0;

/// A value that is the same for all lanes.
pub type One<F> = Vector<F, Const<1>>;

/// Registers of one stage: register `r` of column `c` of `q` has the key `r * q + c`.
pub type Registers<F, N> = Registry<usize, Vector<F, N>>;

#[cube]
pub(super) fn broadcast<F: Float, N: Size>(value: One<F>) -> Vector<F, N> {
    Vector::new(value.extract(0usize))
}

#[cube]
pub(super) fn operate<F: Float, N: Size>(
    registers: &mut Registers<F, N>,
    #[comptime] register: usize,
    #[comptime] instruction: Instruction,
    #[comptime] c: usize,
    #[comptime] q: usize,
    #[comptime] math: Math,
) {
    match instruction {
        Instruction::Const(bits) => {
            let value = constant_vector::<F, N>(comptime!(bits.value()));
            registers.insert(comptime!(register * q + c), value);
        }
        Instruction::Apply { op, args, argument } => {
            let a = registers.find(comptime!(args[0] * q + c));
            let b = registers.find(comptime!(args[1] * q + c));
            let third = registers.find(comptime!(args[2] * q + c));
            let value = apply::<F, N>(a, b, third, op, comptime!(math.with(argument)));
            registers.insert(comptime!(register * q + c), value);
        }
        Instruction::Fma { args, negated } => {
            let a = registers.find(comptime!(args[0] * q + c));
            let b = registers.find(comptime!(args[1] * q + c));
            let d = registers.find(comptime!(args[2] * q + c));
            let a = if comptime!(negated) { -a } else { a };
            registers.insert(comptime!(register * q + c), fma(a, b, d));
        }
        Instruction::Load {
            space: _,
            slot: _,
            looped: _,
        } => comptime!(unreachable!("loads are handled by the stages")),
        Instruction::Offset { negated: _ } => {
            comptime!(unreachable!("offsets are those of pairs"))
        }
        Instruction::Entry {
            tensor: _,
            component: _,
            looped: _,
        } => comptime!(unreachable!("entries are those of pairs")),
        Instruction::Counter { offset: _ } => {
            comptime!(unreachable!("counters are handled by the stages"))
        }
    }
}

/// Slot or component `first`, or the one of turn `k` from `first` on in a loop.
#[cube]
pub(super) fn slot_at(#[comptime] first: usize, k: usize, #[comptime] looped: bool) -> usize {
    if comptime!(looped) {
        first + k
    } else {
        first.runtime()
    }
}

#[cube]
pub(super) fn term_value<F: Float, N: Size>(
    registers: &Registers<F, N>,
    #[comptime] term: Term,
    #[comptime] c: usize,
    #[comptime] q: usize,
) -> Vector<F, N> {
    match term {
        Term::Value(register) => registers.find(comptime!(register * q + c)),
        Term::Product { args, negated } => {
            let a = registers.find(comptime!(args[0] * q + c));
            let b = registers.find(comptime!(args[1] * q + c));
            let a = if comptime!(negated) { -a } else { a };
            a * b
        }
    }
}

#[cube]
fn add_term<F: Float, N: Size>(
    registers: &Registers<F, N>,
    sum: Vector<F, N>,
    #[comptime] term: Term,
    #[comptime] c: usize,
    #[comptime] q: usize,
) -> Vector<F, N> {
    match term {
        Term::Value(register) => sum + registers.find(comptime!(register * q + c)),
        Term::Product { args, negated } => {
            let a = registers.find(comptime!(args[0] * q + c));
            let b = registers.find(comptime!(args[1] * q + c));
            let a = if comptime!(negated) { -a } else { a };
            fma(a, b, sum)
        }
    }
}

/// The start value of a sum or fold.
#[cube]
pub(super) fn start<F: Float, N: Size>(
    registers: &Registers<F, N>,
    #[comptime] fold: Option<(ScalarOp, Register)>,
    #[comptime] c: usize,
    #[comptime] q: usize,
) -> Vector<F, N> {
    if comptime!(fold.is_some()) {
        let register = comptime!(fold.map_or(0, |fold| fold.1));
        registers.find(comptime!(register * q + c))
    } else {
        constant_vector::<F, N>(NOTHING)
    }
}

/// Takes a term into a sum or fold.
#[cube]
pub(super) fn take_term<F: Float, N: Size>(
    registers: &Registers<F, N>,
    sum: Vector<F, N>,
    #[comptime] term: Term,
    #[comptime] fold: Option<(ScalarOp, Register)>,
    #[comptime] c: usize,
    #[comptime] q: usize,
    #[comptime] math: Math,
) -> Vector<F, N> {
    if comptime!(fold.is_some()) {
        let op = comptime!(fold.map_or(ScalarOp::Add, |fold| fold.0));
        let value = term_value::<F, N>(registers, term, c, q);
        apply::<F, N>(sum, value, value, op, math)
    } else {
        add_term::<F, N>(registers, sum, term, c, q)
    }
}

/// Executes one instruction of a stage that fills slots.
#[cube]
fn stage_instruction<F: Float, N: Size>(
    registers: &mut Registers<F, N>,
    own: &[Vector<F, N>],
    uniform: &[One<F>],
    k: usize,
    #[comptime] step: (Register, Instruction),
    #[comptime] stage: Space,
    #[comptime] math: Math,
) {
    let (register, instruction) = comptime!(step);
    match instruction {
        Instruction::Load {
            space,
            slot,
            looped,
        } => {
            let at = slot_at(slot, k, looped);
            let value = if comptime!(space == stage) {
                own[at]
            } else {
                broadcast::<F, N>(uniform[at])
            };
            registers.insert(register, value);
        }
        Instruction::Counter { offset } => {
            registers.insert(register, Vector::new(F::cast_from(k + offset)));
        }
        _ => operate::<F, N>(registers, register, instruction, 0usize, 1usize, math),
    }
}

#[cube]
fn stage_body<F: Float, N: Size>(
    registers: &mut Registers<F, N>,
    own: &[Vector<F, N>],
    uniform: &[One<F>],
    k: usize,
    #[comptime] body: Code,
    #[comptime] stage: Space,
    #[comptime] math: Math,
) {
    #[unroll]
    for e in 0..body.len() {
        let step = comptime!(body[e]);
        stage_instruction::<F, N>(registers, own, uniform, k, step, stage, math);
    }
}

/// Computes the slots of `stage` that are not copies of operands.
#[cube]
pub fn run_stage<F: Float, N: Size>(
    own: &mut [Vector<F, N>],
    uniform: &[One<F>],
    #[comptime] stage: Space,
    #[comptime] program: &Program,
    #[comptime] math: Math,
) {
    let mut registers = Registers::<F, N>::new();
    let items = comptime!(program.stage(stage).items.clone());
    #[unroll]
    for e in 0..items.len() {
        let item = comptime!(items[e].clone());
        match item {
            Item::Let(register, instruction) => stage_instruction::<F, N>(
                &mut registers,
                &*own,
                uniform,
                0usize,
                comptime!((register, instruction)),
                stage,
                math,
            ),
            Item::Sum {
                register,
                terms,
                fold,
            } => {
                let (len, term) = comptime!((terms.len, terms.term));
                let mut sum = start::<F, N>(&registers, fold, 0usize, 1usize);
                for k in 0..len {
                    let body = comptime!(terms.body.clone());
                    stage_body::<F, N>(&mut registers, &*own, uniform, k, body, stage, math);
                    sum = take_term::<F, N>(&registers, sum, term, fold, 0usize, 1usize, math);
                }
                registers.insert(register, sum);
            }
            Item::Store { base, terms } => {
                let (len, term) = comptime!((terms.len, terms.term));
                if comptime!(len == 1) {
                    own[base] = term_value::<F, N>(&registers, term, 0usize, 1usize);
                } else {
                    for k in 0..len {
                        let body = comptime!(terms.body.clone());
                        stage_body::<F, N>(&mut registers, &*own, uniform, k, body, stage, math);
                        own[base + k] = term_value::<F, N>(&registers, term, 0usize, 1usize);
                    }
                }
            }
        }
    }
}
