//! Evaluation of pairs: the rows of a unit with several columns at a time. At expansion time the items of a program
//! are walked and turned into code.

use cubecl::prelude::*;

use super::{
    context::{Columns, Context},
    evaluate::{One, Registers, broadcast, operate, slot_at, start, take_term, term_value},
    matrix::Products,
    weighted::WeightedSums,
};
use crate::{
    math::constant_vector,
    program::{
        Code, Instruction, Item, LOADED_COLUMNS, Piece, Register, Source, Space, Term, Weights,
    },
    reduction::{Consecutive, GivesWeights, Rule},
};

/// The inputs from which pairs of the unit's rows with columns are evaluated.
#[derive(CubeType)]
pub struct Pairs<'c, 'a, E: Float, F: Float, N: Size> {
    pub context: &'c Context<'a, E, F>,
    /// Staged slots of columns.
    tile: &'c [One<F>],
    /// Inner products that matrix instructions have computed.
    products: &'c ComptimeOption<Products<E, F>>,
    /// Slots of the rows.
    rows: &'c [Vector<F, N>],
    uniform: &'c [One<F>],
    /// The first row.
    row: usize,
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

#[cube]
impl<'c, 'a, E: Float, F: Float, N: Size> Pairs<'c, 'a, E, F, N> {
    pub fn new(
        context: &'c Context<'a, E, F>,
        tile: &'c [One<F>],
        products: &'c ComptimeOption<Products<E, F>>,
        rows: &'c [Vector<F, N>],
        uniform: &'c [One<F>],
        row: usize,
    ) -> Pairs<'c, 'a, E, F, N> {
        Pairs::<'c, 'a, E, F, N> {
            context,
            tile,
            products,
            rows,
            uniform,
            row,
        }
    }

    /// Slot `slot + k` of column `c`, or slot `slot` if not `looped`. It is read from the tile if it is staged
    /// there, otherwise from the operand itself.
    fn column_slot(
        &self,
        columns: &Columns,
        k: usize,
        #[comptime] c: usize,
        #[comptime] slot: usize,
        #[comptime] looped: bool,
    ) -> F {
        let program = comptime!(&self.context.program);
        let blueprint = comptime!(&self.context.blueprint);
        let column = columns.column + c;
        let staged = columns.staged + c;
        let place = comptime!(blueprint.schedule.place(program, slot));
        if comptime!(place.is_some()) {
            let place = comptime!(place.unwrap());
            let strides = comptime!(blueprint.schedule.tile_strides(program));
            let at = if comptime!(looped) {
                (place + k) * strides.slot
            } else {
                comptime!(place * strides.slot).runtime()
            };
            self.tile[staged * strides.column + at].extract(0usize)
        } else {
            let load = comptime!(*program.column.load_of(slot).unwrap());
            let offset = comptime!(load.offset + slot - load.slot);
            let component = if comptime!(looped) {
                offset + k
            } else {
                offset.runtime()
            };
            match load.source {
                Source::Tensor(tensor) => self.context.read(column, component, tensor),
                Source::Index => F::cast_from(column),
                Source::Scalar(_) => comptime!(unreachable!("scalars are uniform")),
            }
        }
    }

    /// The component of an operand that would fill slot `slot + k` of the rows. It is read from the operand,
    /// because the schedule leaves this slot out.
    fn row_component(&self, k: usize, #[comptime] slot: usize) -> Vector<F, N> {
        let load = comptime!(*self.context.program.row.load_of(slot).unwrap());
        let tensor = comptime!(match load.source {
            Source::Tensor(tensor) => tensor,
            _ => unreachable!("only operands are left out"),
        });
        let mut value = Vector::<F, N>::empty();
        #[unroll]
        for lane in 0..N::value() {
            let component = self.context.read(
                self.row + lane,
                comptime!(load.offset + slot - load.slot) + k,
                tensor,
            );
            value.insert(lane, component);
        }
        value
    }

    /// Executes an instruction, of a loop body or a single one, for all columns. Slots of rows and counters, which
    /// do not depend on the column, are read once.
    fn instruction(
        &self,
        registers: &mut Registers<F, N>,
        columns: &Columns,
        k: usize,
        #[comptime] register: Register,
        #[comptime] instruction: Instruction,
    ) {
        let blueprint = comptime!(&self.context.blueprint);
        let q = comptime!(columns.q);
        match instruction {
            Instruction::Load {
                space,
                slot,
                looped,
            } => {
                let place = comptime!(blueprint.schedule.place(&self.context.program, slot));
                let wide = comptime!(
                    space == Space::Column
                        && q == LOADED_COLUMNS
                        && blueprint.schedule.wide_loads()
                        && place.is_some()
                );
                if comptime!(wide) {
                    let place = comptime!(place.unwrap());
                    let slot = if comptime!(looped) {
                        place + k
                    } else {
                        place.runtime()
                    };
                    let tile = self.tile.with_vector_size::<Const<LOADED_COLUMNS>>();
                    let at = slot * comptime!(blueprint.schedule.block() / LOADED_COLUMNS);
                    let values = tile[at + columns.staged / LOADED_COLUMNS];
                    #[unroll]
                    for c in 0..q {
                        let value = Vector::new(values.extract(c));
                        registers.insert(comptime!(register * q + c), value);
                    }
                } else if comptime!(space == Space::Column) {
                    #[unroll]
                    for c in 0..q {
                        let value = self.column_slot(columns, k, c, slot, looped);
                        registers.insert(comptime!(register * q + c), Vector::new(value));
                    }
                } else {
                    let at = slot_at(slot, k, looped);
                    let value = if comptime!(blueprint.schedule.leaves_out(space, slot)) {
                        self.row_component(at - slot, slot)
                    } else if comptime!(space == Space::Row) {
                        self.rows[at]
                    } else {
                        broadcast::<F, N>(self.uniform[at])
                    };
                    #[unroll]
                    for c in 0..q {
                        registers.insert(comptime!(register * q + c), value);
                    }
                }
            }
            Instruction::Entry {
                tensor,
                component,
                looped,
            } => {
                let at = slot_at(component, k, looped);
                #[unroll]
                for c in 0..q {
                    let column = columns.column + c;
                    let mut value = Vector::<F, N>::empty();
                    #[unroll]
                    for lane in 0..N::value() {
                        let own = self.context.read_pair(self.row + lane, column, at, tensor);
                        value.insert(lane, own);
                    }
                    registers.insert(comptime!(register * q + c), value);
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
                    let value = offset::<F, N>(self.row, columns.column + c, negated);
                    registers.insert(comptime!(register * q + c), value);
                }
            }
            _ =>
            {
                #[unroll]
                for c in 0..q {
                    let math = comptime!(blueprint.math);
                    operate::<F, N>(registers, register, instruction, c, q, math);
                }
            }
        }
    }

    fn body(
        &self,
        registers: &mut Registers<F, N>,
        columns: &Columns,
        k: usize,
        #[comptime] body: &Code,
    ) {
        #[unroll]
        for e in 0..body.len() {
            let register = comptime!(body[e].0);
            let instruction = comptime!(body[e].1);
            self.instruction(registers, columns, k, register, instruction);
        }
    }

    /// Computes the sum or fold of a term for each column.
    fn sum(
        &self,
        sums: &mut Array<Vector<F, N>>,
        registers: &mut Registers<F, N>,
        columns: &Columns,
        #[comptime] item: &Item,
    ) {
        let q = comptime!(columns.q);
        match comptime!(item.clone()) {
            Item::Sum {
                register: _,
                terms,
                fold,
            } => {
                let (len, term) = comptime!((terms.len, terms.term));
                #[unroll]
                for c in 0..q {
                    sums[c] = start::<F, N>(&*registers, fold, c, q);
                }
                for k in 0..len {
                    self.body(registers, columns, k, comptime!(&terms.body));
                    #[unroll]
                    for c in 0..q {
                        let math = comptime!(self.context.blueprint.math);
                        sums[c] = take_term::<F, N>(&*registers, sums[c], term, fold, c, q, math);
                    }
                }
            }
            _ => comptime!(unreachable!("it is a sum")),
        }
    }
}

/// Takes a term of each column into the state.
#[cube]
fn reduce_term<E: Float, F: Float, A: Float, N: Size, R: GivesWeights<F, A, N>>(
    registers: &Registers<F, N>,
    state: &mut R::State,
    index: usize,
    columns: &Columns,
    context: &Context<'_, E, F>,
    #[comptime] first: usize,
    #[comptime] term: Term,
) {
    let q = comptime!(columns.q);
    let blueprint = comptime!(&context.blueprint);
    let rule = comptime!(Rule {
        spec: blueprint.narrow(),
        math: blueprint.math,
    });
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
                    R::step_product(state, index, columns.column + c, a, b, first, rule);
                }
            }
        }
    } else {
        let mut values = Sequence::<Vector<F, N>>::new();
        #[unroll]
        for c in 0..q {
            values.push(term_value::<F, N>(registers, term, c, q));
        }
        let columns = Consecutive::new(u32::cast_from(columns.column), context.lists);
        R::step(state, index, &columns, &values, first, rule);
    }
}

/// Passes the weights of the columns to the sums that matrix instructions compute.
#[cube]
fn weigh<E: Float, F: Float, A: Float, N: Size, R: GivesWeights<F, A, N>>(
    registers: &Registers<F, N>,
    state: &R::State,
    sums: &mut WeightedSums<F, A, N>,
    pairs: &Pairs<'_, '_, E, F, N>,
    columns: &Columns,
    exact: bool,
) {
    let blueprint = comptime!(&pairs.context.blueprint);
    let q = comptime!(columns.q);
    let weighted = comptime!(blueprint.weighted());
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
    if comptime!(blueprint.spec.kind.weights() == Some(Weights::Exponential)) {
        let base = R::base(state);
        sums.rebase(base, columns.staged, weighted, comptime!(blueprint.math));
    }
    sums.take::<E>(&weights, exact, pairs.context, pairs.row, columns);
}

/// Executes items of pairs. If matrix instructions compute sums over columns, `usual` says whether they do so for
/// this block.
#[cube]
fn run_items<E: Float, F: Float, A: Float, N: Size, R: GivesWeights<F, A, N>>(
    state: &mut R::State,
    registers: &mut Registers<F, N>,
    pairs: &Pairs<'_, '_, E, F, N>,
    columns: &Columns,
    weighted: &mut ComptimeOption<WeightedSums<F, A, N>>,
    usual: bool,
    #[comptime] items: Vec<usize>,
) {
    let program = comptime!(&pairs.context.program);
    let blueprint = comptime!(&pairs.context.blueprint);
    let q = comptime!(columns.q);
    let mut usual = usual;
    #[unroll]
    for at in 0..items.len() {
        let e = comptime!(items[at]);
        let item = comptime!(program.pair[e].clone());
        match comptime!(item.clone()) {
            Item::Let(register, instruction) => {
                pairs.instruction(registers, columns, 0usize, register, instruction)
            }
            Item::Sum {
                register,
                terms: _,
                fold: _,
            } => {
                let mut sums = Array::<Vector<F, N>>::new(q);
                let matrix = comptime!(
                    blueprint
                        .schedule
                        .matrix()
                        .filter(|matrix| matrix.product.item == e)
                );
                if comptime!(matrix.is_some()) {
                    #[comptime]
                    match pairs.products {
                        ComptimeOption::None => {}
                        ComptimeOption::Some(products) => {
                            let matrix = comptime!(matrix.unwrap());
                            let exact = products.sums::<N>(
                                &mut sums,
                                columns.staged,
                                q,
                                matrix,
                                comptime!(blueprint.clone()),
                            );
                            // Sums of differences by matrix instructions are exact enough only where the squared
                            // distances are.
                            if comptime!(
                                blueprint
                                    .schedule
                                    .weighted()
                                    .is_some_and(|own| own.sum.row.is_some())
                            ) {
                                usual = usual && exact;
                            }
                            if !exact {
                                pairs.sum(&mut sums, registers, columns, comptime!(&item));
                            }
                        }
                    }
                } else {
                    pairs.sum(&mut sums, registers, columns, comptime!(&item));
                }
                #[unroll]
                for c in 0..q {
                    registers.insert(comptime!(register * q + c), sums[c]);
                }
            }
            Item::Store { base, terms } => {
                let (len, term) = comptime!((terms.len, terms.term));
                if comptime!(
                    blueprint
                        .schedule
                        .weighted()
                        .is_some_and(|own| own.sum.item == e)
                ) {
                    #[comptime]
                    match weighted {
                        ComptimeOption::None => {}
                        ComptimeOption::Some(weighted) => weigh::<E, F, A, N, R>(
                            &*registers,
                            &*state,
                            weighted,
                            pairs,
                            columns,
                            usual,
                        ),
                    }
                } else if comptime!(len == 1) {
                    reduce_term::<E, F, A, N, R>(
                        &*registers,
                        state,
                        base.runtime(),
                        columns,
                        pairs.context,
                        base,
                        term,
                    );
                } else {
                    for k in 0..len {
                        pairs.body(registers, columns, k, comptime!(&terms.body));
                        reduce_term::<E, F, A, N, R>(
                            &*registers,
                            state,
                            base + k,
                            columns,
                            pairs.context,
                            base,
                            term,
                        );
                    }
                }
            }
        }
    }
}

/// Executes the items of a piece. It takes the values that other pieces have kept for it, and keeps the values that
/// other pieces read.
#[cube]
fn run_piece<E: Float, F: Float, A: Float, N: Size, R: GivesWeights<F, A, N>>(
    state: &mut R::State,
    kept: &mut Array<Vector<F, N>>,
    pairs: &Pairs<'_, '_, E, F, N>,
    columns: &Columns,
    weighted: &mut ComptimeOption<WeightedSums<F, A, N>>,
    usual: bool,
    #[comptime] piece: &Piece,
) {
    let q = comptime!(columns.q);
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
        pairs,
        columns,
        weighted,
        usual,
        comptime!(piece.items.clone()),
    );
    #[unroll]
    for at in 0..piece.kept.len() * q {
        let (register, place) = comptime!(piece.kept[at / q]);
        kept[comptime!(place * q + at % q)] = registers.find(comptime!(register * q + at % q));
    }
}

/// Evaluates pairs, and takes them into the state. If matrix instructions compute sums over columns, `usual` says
/// whether they do so for this block.
///
/// A long pair is compiled in pieces, each in a branch that is always taken. CubeCL compiles a branch by itself,
/// and does not see that it is always taken; compilers to machine code do. Values that go from piece to piece are
/// in an array, so that there is hardly any code outside of the branches. Pieces that store results are not in a
/// branch.
#[cube]
pub fn run_pair<E: Float, F: Float, A: Float, N: Size, R: GivesWeights<F, A, N>>(
    state: &mut R::State,
    pairs: &Pairs<'_, '_, E, F, N>,
    columns: &Columns,
    weighted: &mut ComptimeOption<WeightedSums<F, A, N>>,
    usual: bool,
) {
    let program = comptime!(&pairs.context.program);
    let q = comptime!(columns.q);
    // Sums by matrix instructions also read registers of the pair, so such a pair is not cut into pieces.
    let pieces = comptime!(match pairs.context.blueprint.schedule.weighted() {
        Some(_) => vec![],
        None => program.pieces(),
    });
    if comptime!(pieces.is_empty()) {
        let mut registers = Registers::<F, N>::new();
        let items = comptime!((0..program.pair.len()).collect::<Vec<_>>());
        run_items::<E, F, A, N, R>(
            state,
            &mut registers,
            pairs,
            columns,
            weighted,
            usual,
            items,
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
        // A run-time variable, so that CubeCL keeps the branches.
        #[allow(unused_mut)]
        let mut here = true.runtime();
        #[unroll]
        for at in 0..pieces.len() {
            let piece = comptime!(&pieces[at]);
            // CubeCL makes no branch of a constant.
            let taken = if comptime!(piece.stores) {
                true.runtime()
            } else {
                here
            };
            if taken {
                run_piece::<E, F, A, N, R>(
                    state, &mut kept, pairs, columns, weighted, usual, piece,
                );
            }
        }
    }
}
