//! Evaluation of programs: at expansion time the items are walked and turned into code.

use cubecl::prelude::*;

use super::{
    math::{Math, constant_vector},
    matrix::Products,
    operands::{Address, read},
    weighted::WeightedSums,
};
use crate::{
    catalogue::{ScalarOp, apply},
    plan::{Blueprint, LOADED_COLUMNS},
    program::{Code, Instruction, Item, Piece, Program, Register, Source, Space, Term},
    reduction::{Accumulator, ReductionKind},
};

/// What a sum starts from: unlike 0 it keeps the sign of a zero that is added to it.
const NOTHING: f64 = -0.0;

/// A value that is the same for all lanes.
pub type One<F> = Vector<F, Const<1>>;

/// Registers of one stage: register `r` of column `c` of `q` has the key `r * q + c`.
pub type Registers<F, N> = Registry<usize, Vector<F, N>>;

#[cube]
fn broadcast<F: Float, N: Size>(value: One<F>) -> Vector<F, N> {
    Vector::new(value.extract(0usize))
}

#[cube]
fn operate<F: Float, N: Size>(
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
        Instruction::Counter { offset: _ } => {
            comptime!(unreachable!("counters are handled by the stages"))
        }
    }
}

#[cube]
fn term_value<F: Float, N: Size>(
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

/// What a sum or fold starts from.
#[cube]
fn start<F: Float, N: Size>(
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
fn take_term<F: Float, N: Size>(
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
    #[comptime] register: usize,
    #[comptime] instruction: Instruction,
    #[comptime] stage: Space,
    #[comptime] math: Math,
) {
    match instruction {
        Instruction::Load {
            space,
            slot,
            looped,
        } => {
            let at = if comptime!(looped) {
                slot + k
            } else {
                slot.runtime()
            };
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
        let register = comptime!(body[e].0);
        let instruction = comptime!(body[e].1);
        stage_instruction::<F, N>(
            registers,
            own,
            uniform,
            k,
            register,
            instruction,
            stage,
            math,
        );
    }
}

/// Computes the slots of `stage` that are not loaded.
#[cube]
pub fn run_stage<F: Float, N: Size>(
    own: &mut [Vector<F, N>],
    uniform: &[One<F>],
    #[comptime] stage: Space,
    #[comptime] program: Program,
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
                register,
                instruction,
                stage,
                math,
            ),
            Item::Sum {
                register,
                len,
                body,
                term,
                fold,
            } => {
                let mut sum = start::<F, N>(&registers, fold, 0usize, 1usize);
                for k in 0..len {
                    stage_body::<F, N>(
                        &mut registers,
                        &*own,
                        uniform,
                        k,
                        comptime!(body.clone()),
                        stage,
                        math,
                    );
                    sum = take_term::<F, N>(&registers, sum, term, fold, 0usize, 1usize, math);
                }
                registers.insert(register, sum);
            }
            Item::Store {
                base,
                len,
                body,
                term,
            } => {
                if comptime!(len == 1) {
                    own[base] = term_value::<F, N>(&registers, term, 0usize, 1usize);
                } else {
                    for k in 0..len {
                        stage_body::<F, N>(
                            &mut registers,
                            &*own,
                            uniform,
                            k,
                            comptime!(body.clone()),
                            stage,
                            math,
                        );
                        own[base + k] = term_value::<F, N>(&registers, term, 0usize, 1usize);
                    }
                }
            }
        }
    }
}

/// Slot `slot + k` of a column, or `slot` where not `looped`: from the tile if it is staged there,
/// else from the operand itself.
#[cube]
fn column_slot<E: Float, F: Float>(
    tensors: &Sequence<Box<[E]>>,
    address: &Address,
    tile: &[One<F>],
    column: usize,
    staged: usize,
    k: usize,
    #[comptime] slot: usize,
    #[comptime] looped: bool,
    #[comptime] program: Program,
    #[comptime] blueprint: Blueprint,
) -> F {
    let place = comptime!(blueprint.place(&program, slot));
    if comptime!(place.is_some()) {
        let place = comptime!(place.unwrap());
        let strides = comptime!(blueprint.tile_strides(&program));
        let at = if comptime!(looped) {
            (place + k) * strides.slot
        } else {
            comptime!(place * strides.slot).runtime()
        };
        tile[staged * strides.column + at].extract(0usize)
    } else {
        let load = comptime!(*program.column.load_of(slot).unwrap());
        let offset = comptime!(load.offset + slot - load.slot);
        let component = if comptime!(looped) {
            offset + k
        } else {
            offset.runtime()
        };
        match load.source {
            Source::Tensor(tensor) => {
                read::<E, F>(tensors, address, column, component, tensor, blueprint)
            }
            Source::Index => F::cast_from(column),
            Source::Scalar(_) => comptime!(unreachable!("scalars are uniform")),
        }
    }
}

/// Component `k` of the operand that would fill slot `slot` of a row, from there on.
#[cube]
fn row_component<E: Float, F: Float, N: Size>(
    tensors: &Sequence<Box<[E]>>,
    address: &Address,
    row: usize,
    k: usize,
    #[comptime] slot: usize,
    #[comptime] program: Program,
    #[comptime] blueprint: Blueprint,
) -> Vector<F, N> {
    let load = comptime!(*program.row.load_of(slot).unwrap());
    let tensor = comptime!(match load.source {
        Source::Tensor(tensor) => tensor,
        _ => unreachable!("only operands are left out"),
    });
    let mut value = Vector::<F, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        let component = read::<E, F>(
            tensors,
            address,
            row + lane,
            comptime!(load.offset + slot - load.slot) + k,
            tensor,
            comptime!(blueprint.clone()),
        );
        value.insert(lane, component);
    }
    value
}

/// The index of each lane's row minus that of the column, or the opposite where `negated`.
#[cube]
fn offset<F: Float, N: Size>(row: usize, column: usize, #[comptime] negated: bool) -> Vector<F, N> {
    let mut offsets = Vector::<i32, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        let offset = i32::cast_from(row + lane) - i32::cast_from(column);
        let offset = if comptime!(negated) { -offset } else { offset };
        offsets.insert(lane, offset);
    }
    Vector::cast_from(offsets)
}

/// The instructions of a loop body, or single ones, for `q` columns from `column` on: what does not
/// depend on the column is done once.
#[cube]
fn pair_instruction<E: Float, F: Float, N: Size>(
    registers: &mut Registers<F, N>,
    tensors: &Sequence<Box<[E]>>,
    address: &Address,
    tile: &[One<F>],
    rows: &[Vector<F, N>],
    uniform: &[One<F>],
    row: usize,
    column: usize,
    staged: usize,
    k: usize,
    #[comptime] register: usize,
    #[comptime] instruction: Instruction,
    #[comptime] q: usize,
    #[comptime] program: Program,
    #[comptime] blueprint: Blueprint,
) {
    match instruction {
        Instruction::Load {
            space,
            slot,
            looped,
        } => {
            let place = comptime!(blueprint.place(&program, slot));
            let wide = comptime!(
                space == Space::Column
                    && q == LOADED_COLUMNS
                    && blueprint.wide_loads
                    && place.is_some()
            );
            if comptime!(wide) {
                let place = comptime!(place.unwrap());
                let slot = if comptime!(looped) {
                    place + k
                } else {
                    place.runtime()
                };
                let tile = tile.with_vector_size::<Const<LOADED_COLUMNS>>();
                let at = slot * comptime!(blueprint.block / LOADED_COLUMNS);
                let values = tile[at + staged / LOADED_COLUMNS];
                #[unroll]
                for c in 0..q {
                    let value = Vector::new(values.extract(c));
                    registers.insert(comptime!(register * q + c), value);
                }
            } else if comptime!(space == Space::Column) {
                #[unroll]
                for c in 0..q {
                    let value = column_slot::<E, F>(
                        tensors,
                        address,
                        tile,
                        column + c,
                        staged + c,
                        k,
                        slot,
                        looped,
                        comptime!(program.clone()),
                        comptime!(blueprint.clone()),
                    );
                    registers.insert(comptime!(register * q + c), Vector::new(value));
                }
            } else {
                let at = if comptime!(looped) {
                    slot + k
                } else {
                    slot.runtime()
                };
                let value = if comptime!(blueprint.leaves_out(space, slot)) {
                    row_component::<E, F, N>(
                        tensors,
                        address,
                        row,
                        at - slot,
                        slot,
                        comptime!(program.clone()),
                        comptime!(blueprint.clone()),
                    )
                } else if comptime!(space == Space::Row) {
                    rows[at]
                } else {
                    broadcast::<F, N>(uniform[at])
                };
                #[unroll]
                for c in 0..q {
                    registers.insert(comptime!(register * q + c), value);
                }
            }
        }
        Instruction::Counter { offset } => {
            let value = Vector::new(F::cast_from(k + offset));
            #[unroll]
            for c in 0..q {
                registers.insert(comptime!(register * q + c), value);
            }
        }
        Instruction::Offset { negated } =>
        {
            #[unroll]
            for c in 0..q {
                let value = offset::<F, N>(row, column + c, negated);
                registers.insert(comptime!(register * q + c), value);
            }
        }
        _ =>
        {
            #[unroll]
            for c in 0..q {
                operate::<F, N>(
                    registers,
                    register,
                    instruction,
                    c,
                    q,
                    comptime!(blueprint.math),
                );
            }
        }
    }
}

#[cube]
fn pair_body<E: Float, F: Float, N: Size>(
    registers: &mut Registers<F, N>,
    tensors: &Sequence<Box<[E]>>,
    address: &Address,
    tile: &[One<F>],
    rows: &[Vector<F, N>],
    uniform: &[One<F>],
    row: usize,
    column: usize,
    staged: usize,
    k: usize,
    #[comptime] body: Code,
    #[comptime] q: usize,
    #[comptime] program: Program,
    #[comptime] blueprint: Blueprint,
) {
    #[unroll]
    for e in 0..body.len() {
        let register = comptime!(body[e].0);
        let instruction = comptime!(body[e].1);
        pair_instruction::<E, F, N>(
            registers,
            tensors,
            address,
            tile,
            rows,
            uniform,
            row,
            column,
            staged,
            k,
            register,
            instruction,
            q,
            comptime!(program.clone()),
            comptime!(blueprint.clone()),
        );
    }
}

/// The sums or folds of a term for `q` columns.
#[cube]
fn pair_sum<E: Float, F: Float, N: Size>(
    sums: &mut Array<Vector<F, N>>,
    registers: &mut Registers<F, N>,
    tensors: &Sequence<Box<[E]>>,
    address: &Address,
    tile: &[One<F>],
    rows: &[Vector<F, N>],
    uniform: &[One<F>],
    row: usize,
    column: usize,
    staged: usize,
    #[comptime] len: usize,
    #[comptime] body: Code,
    #[comptime] term: Term,
    #[comptime] fold: Option<(ScalarOp, Register)>,
    #[comptime] q: usize,
    #[comptime] program: Program,
    #[comptime] blueprint: Blueprint,
) {
    #[unroll]
    for c in 0..q {
        sums[c] = start::<F, N>(&*registers, fold, c, q);
    }
    for k in 0..len {
        pair_body::<E, F, N>(
            registers,
            tensors,
            address,
            tile,
            rows,
            uniform,
            row,
            column,
            staged,
            k,
            comptime!(body.clone()),
            q,
            comptime!(program.clone()),
            comptime!(blueprint.clone()),
        );
        #[unroll]
        for c in 0..q {
            sums[c] = take_term::<F, N>(
                &*registers,
                sums[c],
                term,
                fold,
                c,
                q,
                comptime!(blueprint.math),
            );
        }
    }
}

#[cube]
fn reduce_term<F: Float, A: Float, N: Size, R: Accumulator<F, A, N>>(
    registers: &Registers<F, N>,
    state: &mut R::State,
    index: usize,
    column: usize,
    #[comptime] first: usize,
    #[comptime] term: Term,
    #[comptime] q: usize,
    #[comptime] blueprint: Blueprint,
) {
    let spec = comptime!(blueprint.narrow());
    let math = comptime!(blueprint.math);
    if comptime!(matches!(term, Term::Product { .. }) && R::fuses()) {
        match term {
            Term::Value(_) => comptime!(unreachable!("it is a product")),
            Term::Product { args, negated } =>
            {
                #[unroll]
                for c in 0..q {
                    let a = registers.find(comptime!(args[0] * q + c));
                    let b = registers.find(comptime!(args[1] * q + c));
                    let a = if comptime!(negated) { -a } else { a };
                    R::step_product(state, index, column + c, a, b, first, spec, math);
                }
            }
        }
    } else {
        let mut values = Sequence::<Vector<F, N>>::new();
        #[unroll]
        for c in 0..q {
            values.push(term_value::<F, N>(registers, term, c, q));
        }
        R::step(
            state,
            index,
            u32::cast_from(column),
            &values,
            first,
            q,
            spec,
            math,
        );
    }
}

/// Gives the weights of `q` columns to the sums that matrix instructions compute.
#[cube]
fn weigh<E: Float, F: Float, A: Float, N: Size, R: Accumulator<F, A, N>>(
    registers: &Registers<F, N>,
    state: &R::State,
    sums: &mut WeightedSums<F, A, N>,
    tensors: &Sequence<Box<[E]>>,
    address: &Address,
    row: usize,
    column: usize,
    staged: usize,
    exact: bool,
    #[comptime] q: usize,
    #[comptime] blueprint: Blueprint,
) {
    let weighted = comptime!(blueprint.weighted.expect("it is planned"));
    let sum = comptime!(weighted.sum);
    let mut weights = Sequence::<Vector<F, N>>::new();
    #[unroll]
    for c in 0..q {
        let value = if comptime!(sum.weight.is_some()) {
            registers.find(comptime!(sum.weight.unwrap_or_default() * q + c))
        } else {
            constant_vector::<F, N>(1.0)
        };
        let value = if comptime!(sum.negated) {
            -value
        } else {
            value
        };
        weights.push(R::weight(state, value, c));
    }
    if comptime!(matches!(blueprint.spec.kind, ReductionKind::SoftmaxSum)) {
        let base = R::base(state);
        sums.rebase(base, staged, weighted, comptime!(blueprint.math));
    }
    sums.take::<E>(
        &weights, exact, tensors, address, row, column, staged, q, blueprint,
    );
}

/// Executes items of pairs of the unit's rows with `q` columns. Where matrix instructions sum up, `usual` says whether
/// they do so for the block.
#[cube]
fn run_items<E: Float, F: Float, A: Float, N: Size, R: Accumulator<F, A, N>>(
    state: &mut R::State,
    registers: &mut Registers<F, N>,
    tensors: &Sequence<Box<[E]>>,
    address: &Address,
    tile: &[One<F>],
    products: &ComptimeOption<Products<E, F>>,
    weighted: &mut ComptimeOption<WeightedSums<F, A, N>>,
    rows: &[Vector<F, N>],
    uniform: &[One<F>],
    row: usize,
    column: usize,
    staged: usize,
    usual: bool,
    #[comptime] items: Vec<usize>,
    #[comptime] q: usize,
    #[comptime] program: Program,
    #[comptime] blueprint: Blueprint,
) {
    let mut usual = usual;
    #[unroll]
    for at in 0..items.len() {
        let e = comptime!(items[at]);
        let item = comptime!(program.pair[e].clone());
        match item {
            Item::Let(register, instruction) => pair_instruction::<E, F, N>(
                registers,
                tensors,
                address,
                tile,
                rows,
                uniform,
                row,
                column,
                staged,
                0usize,
                register,
                instruction,
                q,
                comptime!(program.clone()),
                comptime!(blueprint.clone()),
            ),
            Item::Sum {
                register,
                len,
                body,
                term,
                fold,
            } => {
                let mut sums = Array::<Vector<F, N>>::new(q);
                let matrix = comptime!(blueprint.matrix.filter(|matrix| matrix.product.item == e));
                if comptime!(matrix.is_some()) {
                    #[comptime]
                    match products {
                        ComptimeOption::None => {}
                        ComptimeOption::Some(products) => {
                            let matrix = comptime!(matrix.unwrap());
                            let exact = products.sums::<N>(
                                &mut sums,
                                staged,
                                q,
                                matrix,
                                comptime!(blueprint.clone()),
                            );
                            // Where differences are added up, too.
                            if comptime!(
                                blueprint.weighted.is_some_and(|own| own.sum.row.is_some())
                            ) {
                                usual = usual && exact;
                            }
                            if !exact {
                                pair_sum::<E, F, N>(
                                    &mut sums,
                                    registers,
                                    tensors,
                                    address,
                                    tile,
                                    rows,
                                    uniform,
                                    row,
                                    column,
                                    staged,
                                    len,
                                    comptime!(body.clone()),
                                    term,
                                    fold,
                                    q,
                                    comptime!(program.clone()),
                                    comptime!(blueprint.clone()),
                                );
                            }
                        }
                    }
                } else {
                    pair_sum::<E, F, N>(
                        &mut sums,
                        registers,
                        tensors,
                        address,
                        tile,
                        rows,
                        uniform,
                        row,
                        column,
                        staged,
                        len,
                        body,
                        term,
                        fold,
                        q,
                        comptime!(program.clone()),
                        comptime!(blueprint.clone()),
                    );
                }
                #[unroll]
                for c in 0..q {
                    registers.insert(comptime!(register * q + c), sums[c]);
                }
            }
            Item::Store {
                base,
                len,
                body,
                term,
            } => {
                if comptime!(blueprint.weighted.is_some_and(|own| own.sum.item == e)) {
                    #[comptime]
                    match weighted {
                        ComptimeOption::None => {}
                        ComptimeOption::Some(weighted) => weigh::<E, F, A, N, R>(
                            &*registers,
                            &*state,
                            weighted,
                            tensors,
                            address,
                            row,
                            column,
                            staged,
                            usual,
                            q,
                            comptime!(blueprint.clone()),
                        ),
                    }
                } else if comptime!(len == 1) {
                    reduce_term::<F, A, N, R>(
                        &*registers,
                        state,
                        base.runtime(),
                        column,
                        base,
                        term,
                        q,
                        comptime!(blueprint.clone()),
                    );
                } else {
                    for k in 0..len {
                        pair_body::<E, F, N>(
                            registers,
                            tensors,
                            address,
                            tile,
                            rows,
                            uniform,
                            row,
                            column,
                            staged,
                            k,
                            comptime!(body.clone()),
                            q,
                            comptime!(program.clone()),
                            comptime!(blueprint.clone()),
                        );
                        reduce_term::<F, A, N, R>(
                            &*registers,
                            state,
                            base + k,
                            column,
                            base,
                            term,
                            q,
                            comptime!(blueprint.clone()),
                        );
                    }
                }
            }
        }
    }
}

/// The items of a piece, with what others have kept for it and it keeps for others.
#[cube]
fn run_exchanging<E: Float, F: Float, A: Float, N: Size, R: Accumulator<F, A, N>>(
    state: &mut R::State,
    kept: &mut Array<Vector<F, N>>,
    tensors: &Sequence<Box<[E]>>,
    address: &Address,
    tile: &[One<F>],
    products: &ComptimeOption<Products<E, F>>,
    weighted: &mut ComptimeOption<WeightedSums<F, A, N>>,
    rows: &[Vector<F, N>],
    uniform: &[One<F>],
    row: usize,
    column: usize,
    staged: usize,
    usual: bool,
    #[comptime] piece: Piece,
    #[comptime] q: usize,
    #[comptime] program: Program,
    #[comptime] blueprint: Blueprint,
) {
    let mut registers = Registers::<F, N>::new();
    #[unroll]
    for at in 0..piece.taken.len() * q {
        let (register, place) = comptime!(piece.taken[at / q]);
        let value = kept[comptime!(place * q + at % q)];
        registers.insert(comptime!(register * q + at % q), value);
    }
    run_items::<E, F, A, N, R>(
        state,
        &mut registers,
        tensors,
        address,
        tile,
        products,
        weighted,
        rows,
        uniform,
        row,
        column,
        staged,
        usual,
        comptime!(piece.items.clone()),
        q,
        comptime!(program.clone()),
        comptime!(blueprint.clone()),
    );
    #[unroll]
    for at in 0..piece.kept.len() * q {
        let (register, place) = comptime!(piece.kept[at / q]);
        kept[comptime!(place * q + at % q)] = registers.find(comptime!(register * q + at % q));
    }
}

/// The items of a piece, where `here`, which is always so. A branch is compiled by itself by CubeCL, which does not see
/// that it is always taken; compilers to machine code do. What goes from piece to piece is in `kept`, so that there is
/// hardly any code outside of the branches. Results are taken outside of them.
#[cube]
#[allow(clippy::if_same_then_else)] // One decides what code there is, the other is code.
fn run_piece<E: Float, F: Float, A: Float, N: Size, R: Accumulator<F, A, N>>(
    state: &mut R::State,
    kept: &mut Array<Vector<F, N>>,
    tensors: &Sequence<Box<[E]>>,
    address: &Address,
    tile: &[One<F>],
    products: &ComptimeOption<Products<E, F>>,
    weighted: &mut ComptimeOption<WeightedSums<F, A, N>>,
    rows: &[Vector<F, N>],
    uniform: &[One<F>],
    row: usize,
    column: usize,
    staged: usize,
    usual: bool,
    here: bool,
    #[comptime] piece: Piece,
    #[comptime] q: usize,
    #[comptime] program: Program,
    #[comptime] blueprint: Blueprint,
) {
    if comptime!(piece.stores) {
        run_exchanging::<E, F, A, N, R>(
            state,
            kept,
            tensors,
            address,
            tile,
            products,
            weighted,
            rows,
            uniform,
            row,
            column,
            staged,
            usual,
            piece,
            q,
            comptime!(program.clone()),
            comptime!(blueprint.clone()),
        );
    } else if here {
        run_exchanging::<E, F, A, N, R>(
            state,
            kept,
            tensors,
            address,
            tile,
            products,
            weighted,
            rows,
            uniform,
            row,
            column,
            staged,
            usual,
            piece,
            q,
            comptime!(program.clone()),
            comptime!(blueprint.clone()),
        );
    }
}

/// Evaluates the pairs of the unit's rows with the `q` columns from `column` on, and takes them into
/// the state. Where matrix instructions sum up, `usual` says whether they do so for the block.
#[cube]
pub fn run_pair<E: Float, F: Float, A: Float, N: Size, R: Accumulator<F, A, N>>(
    state: &mut R::State,
    tensors: &Sequence<Box<[E]>>,
    address: &Address,
    tile: &[One<F>],
    products: &ComptimeOption<Products<E, F>>,
    weighted: &mut ComptimeOption<WeightedSums<F, A, N>>,
    rows: &[Vector<F, N>],
    uniform: &[One<F>],
    row: usize,
    column: usize,
    staged: usize,
    usual: bool,
    #[comptime] q: usize,
    #[comptime] program: Program,
    #[comptime] blueprint: Blueprint,
) {
    // What matrix instructions sum up reads registers, too.
    let pieces = comptime!(match blueprint.weighted {
        Some(_) => vec![],
        None => program.pieces(),
    });
    if comptime!(pieces.is_empty()) {
        let mut registers = Registers::<F, N>::new();
        run_items::<E, F, A, N, R>(
            state,
            &mut registers,
            tensors,
            address,
            tile,
            products,
            weighted,
            rows,
            uniform,
            row,
            column,
            staged,
            usual,
            comptime!((0..program.pair.len()).collect::<Vec<_>>()),
            q,
            comptime!(program.clone()),
            comptime!(blueprint.clone()),
        );
    } else {
        let places = comptime!(
            pieces
                .iter()
                .flat_map(|piece| &piece.kept)
                .map(|(_, place)| place + 1)
                .max()
                .unwrap_or(1)
        );
        let mut kept = Array::<Vector<F, N>>::new(comptime!(places * q));
        // A variable, so that no branch is left out.
        #[allow(unused_mut)]
        let mut here = true.runtime();
        #[unroll]
        for at in 0..pieces.len() {
            let piece = comptime!(pieces[at].clone());
            run_piece::<E, F, A, N, R>(
                state,
                &mut kept,
                tensors,
                address,
                tile,
                products,
                weighted,
                rows,
                uniform,
                row,
                column,
                staged,
                usual,
                here,
                piece,
                q,
                comptime!(program.clone()),
                comptime!(blueprint.clone()),
            );
        }
    }
}
