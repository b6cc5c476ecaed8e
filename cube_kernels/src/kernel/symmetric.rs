//! Sums over the pairs of a set of points with itself, each pair evaluated once.
//!
//! ```text
//!         columns
//!        +-----+-----+-----+--        A unit takes tiles, of a strip of rows and a block of columns,
//! strip  | \ . | . . | . . |          right of the diagonal. Of each pair $f_{ij}$ goes to the sum of
//!        |   \ | . . | . . |          row $i$, in a register, and $f_{ji}$ to that of column $j$, which
//!        +-----+-----+-----+--        has a lane for each row of a vector.
//! strip        | \ . | . . |
//!              |   \ | . . |          The columns of a vector's own rows go to the sums of rows only, in
//!              +-----+-----+--        both orders, so that nothing is masked.
//! ```
//!
//! Each unit adds its values to sums of its own for all points. The sums of all units are merged like those of
//! parts of columns.

use cubecl::prelude::*;

use super::{
    columns::{Run, take_run},
    context::Context,
    evaluate::One,
    layout,
    operands::{Operands, address},
    pairs::Pairs,
};
use crate::{
    math::constant_vector,
    plan::Blueprint,
    program::{Program, Space, UNROLL},
    reduction::{Accumulator, Consecutive, Rule, RunningSums, TakesProducts, weights_are_values},
};

/// Places between the sums of a block for one component and those for the next. Without them the addresses would
/// differ by a multiple of a power of 2, and a processor would take a read of one sum for a read of the other sum
/// that it has just written.
const GAP: usize = 17;

/// Sums of one vector of rows and of a block of columns.
#[derive(CubeType)]
pub struct PairSums<F: Float, N: Size> {
    /// The sums of the rows, for each component.
    rows: Array<Vector<F, N>>,
    /// The sums of a block of columns, component by component, so that neighbouring columns lie side by side. There
    /// are two copies. The first one takes the sums of columns on the diagonal, which nobody reads.
    columns: Array<Vector<F, N>>,
    /// The first column of the block.
    start: Array<usize>,
    /// The place in `columns` of the first column's sum for the first component, and the distance to its sum for
    /// the next component.
    places: Array<usize>,
}

/// The number `n`, as a bound of loops that would take long to compile if they were unrolled. Compilers cannot know
/// this bound, because they cannot know that there are less than $2^{31}$ cubes.
#[cube]
fn unforeseen(#[comptime] n: usize) -> usize {
    n + (((CUBE_COUNT_Y * CUBE_COUNT_Z) >> 31u32) << 20u32) as usize
}

/// Adds the first half of the components of a program to the sums of rows, and the second half to the sums of
/// columns.
pub struct Both;

#[cube]
impl<F: Float, N: Size> PairSums<F, N> {
    fn place(&self, column: usize, component: usize) -> usize {
        self.places[0] + component * self.places[1] + (column - self.start[0])
    }
}

#[cube]
impl<F: Float, A: Float, N: Size> Accumulator<F, A, N> for Both {
    type State = PairSums<F, N>;

    fn step(
        state: &mut PairSums<F, N>,
        index: usize,
        columns: &Consecutive<'_>,
        values: &Sequence<Vector<F, N>>,
        #[comptime] first: usize,
        #[comptime] rule: Rule,
    ) {
        let spec = comptime!(rule.spec);
        let q = values.len();
        let dim = comptime!(spec.dim);
        #[unroll]
        for c in 0..q {
            if comptime!(first < dim) {
                state.rows[index] += *values.index(c);
            } else {
                let at = state.place(usize::cast_from(columns.first) + c, index - dim);
                state.columns[at] += *values.index(c);
            }
        }
    }
}

#[cube]
impl<F: Float, A: Float, N: Size> TakesProducts<F, A, N> for Both {
    fn fuses() -> comptime_type!(bool) {
        true
    }

    fn step_product(
        state: &mut PairSums<F, N>,
        index: usize,
        column: usize,
        a: Vector<F, N>,
        b: Vector<F, N>,
        #[comptime] first: usize,
        #[comptime] rule: Rule,
    ) {
        let spec = comptime!(rule.spec);
        let dim = comptime!(spec.dim);
        if comptime!(first < dim) {
            state.rows[index] = fma(a, b, state.rows[index]);
        } else {
            let at = state.place(column, index - dim);
            state.columns[at] = fma(a, b, state.columns[at]);
        }
    }
}

weights_are_values!(Both);

/// Sums a formula over the columns: `out[part, row, ..]` is the sum over the pairs of a part. The sums of all parts
/// have to be added up.
#[cube]
pub fn sum_symmetric<E: Float, F: Float, A: Float, O: Float, N: Size>(
    operands: &Operands<'_, E>,
    infinity: InputScalar,
    values: &mut Sequence<Box<[O]>>,
    #[comptime] program: Program,
    #[comptime] blueprint: Blueprint,
) {
    let layout = operands.layout;
    let rows = *layout.index(layout::ROWS);
    let share = *layout.index(layout::PART);
    let parts = *layout.index(layout::PARTS);
    if ABSOLUTE_POS >= parts {
        terminate!();
    }
    let part = ABSOLUTE_POS;
    let dim = comptime!(blueprint.spec.dim);
    let math = comptime!(blueprint.math);
    let block = comptime!(blueprint.schedule.block());
    let stride = comptime!(block + GAP);
    let strip = comptime!(blueprint.schedule.strip().unwrap());
    let lanes = N::value();
    let vectors = comptime!(strip / lanes);
    let slots = comptime!(program.row.slots.max(1));

    let out = values.index_mut(0usize);
    let first_out = part * rows * dim;
    for at in first_out..first_out + rows * dim {
        out[at] = O::cast_from(0.0f32);
    }
    let address = address(layout, 0usize, comptime!(blueprint.clone()));
    let tile_len = comptime!(blueprint.schedule.tile_len(&program).max(1));
    let context = Context::<E, F>::new(operands, &address, rows, program, blueprint);
    let uniform = context.uniform_slots();
    let mut tile = Array::<One<F>>::new(tile_len);
    let mut own = Array::<Vector<F, N>>::new(slots);
    let mut kept = Array::<Vector<F, N>>::new(comptime!(vectors * slots));
    let mut sums = RunningSums::<F, A, N>::new(infinity.get::<F>(), comptime!(vectors * dim), math);
    let mut state = PairSums::<F, N> {
        rows: Array::new(dim),
        columns: Array::new(comptime!(2 * stride * dim)),
        start: Array::new(1usize),
        places: Array::new(2usize),
    };
    state.places[1] = stride.runtime();
    for k in 0..stride * dim {
        state.columns[k] = constant_vector::<F, N>(0.0);
    }

    // The tiles are counted strip by strip. A tile on the diagonal, which is about half empty, counts as one,
    // another tile as two. A part has `share` of this count.
    let from = part * share;
    let mut passed = 0usize.runtime();
    for s in 0..rows.div_ceil(strip) {
        let first = s * strip;
        let blocks = (rows - first).div_ceil(block);
        let diagonal = min(blocks, comptime!(strip / block));
        let begin = tiles_before(from, passed, blocks, diagonal);
        let end = tiles_before(from + share, passed, blocks, diagonal);
        passed += 2 * blocks - diagonal;
        if begin < end {
            let strip =
                Strip::<E, F>::new(&context, uniform.as_slice(), part * rows, first, begin, end);
            sum_strip::<E, F, A, O, N>(
                out,
                &mut state,
                &mut sums,
                tile.as_mut_slice(),
                own.as_mut_slice(),
                kept.as_mut_slice(),
                &strip,
            );
        }
    }
}

/// How many of the `blocks` tiles of a strip are counted before `position`. The first `diagonal` of them are on the
/// diagonal, and `passed` is the count before the strip.
#[cube]
fn tiles_before(position: usize, passed: usize, blocks: usize, diagonal: usize) -> usize {
    let within = position - min(passed, position);
    let tiles = if within <= diagonal {
        within
    } else {
        diagonal + (within - diagonal).div_ceil(2usize)
    };
    min(tiles, blocks)
}

/// A strip of rows from `first` on with the blocks `begin .. end` of columns. `out_row` is the row of the output
/// for the first of all points.
#[derive(CubeType)]
struct Strip<'c, 'a, E: Float, F: Float> {
    context: &'c Context<'a, E, F>,
    uniform: &'c [One<F>],
    out_row: usize,
    first: usize,
    begin: usize,
    end: usize,
}

#[cube]
impl<'c, 'a, E: Float, F: Float> Strip<'c, 'a, E, F> {
    fn new(
        context: &'c Context<'a, E, F>,
        uniform: &'c [One<F>],
        out_row: usize,
        first: usize,
        begin: usize,
        end: usize,
    ) -> Strip<'c, 'a, E, F> {
        Strip::<'c, 'a, E, F> {
            context,
            uniform,
            out_row,
            first,
            begin,
            end,
        }
    }
}

/// Adds the pairs of a strip to `out[out_row + row, ..]`.
#[cube]
fn sum_strip<E: Float, F: Float, A: Float, O: Float, N: Size>(
    out: &mut Box<[O]>,
    state: &mut PairSums<F, N>,
    sums: &mut RunningSums<F, A, N>,
    tile: &mut [One<F>],
    own: &mut [Vector<F, N>],
    kept: &mut [Vector<F, N>],
    part: &Strip<'_, '_, E, F>,
) {
    let context = part.context;
    let uniform = part.uniform;
    let (out_row, first) = (part.out_row, part.first);
    let program = comptime!(&context.program);
    let blueprint = comptime!(&context.blueprint);
    let rows = context.rows;
    let dim = comptime!(blueprint.spec.dim);
    let block = comptime!(blueprint.schedule.block());
    let stride = comptime!(block + GAP);
    let strip = comptime!(blueprint.schedule.strip().unwrap());
    let slots = comptime!(program.row.slots);
    let lanes = N::value();
    let most = comptime!(strip / lanes);

    let vectors = min((rows - first).div_ceil(lanes), most);
    for v in 0..vectors {
        let row = first + v * lanes;
        context.fill_stage::<N>(own, uniform, row, rows, comptime!(Space::Row));
        #[unroll(slots <= UNROLL)]
        for k in 0..slots {
            kept[v * slots + k] = own[k];
        }
    }
    sums.clear(comptime!(most * dim));
    for b in part.begin..part.end {
        let start = first + b * block;
        let stop = min(start + block, rows);
        if comptime!(blueprint.schedule.staged(program) > 0) {
            context.stage_columns(tile, uniform, start, stop, 0usize, 1usize);
        }
        for k in 0..stride * dim {
            state.columns[stride * dim + k] = constant_vector::<F, N>(0.0);
        }
        for v in 0..vectors {
            #[unroll(slots <= UNROLL)]
            for k in 0..slots {
                own[k] = kept[v * slots + k];
            }
            #[unroll(dim <= UNROLL)]
            for k in 0..dim {
                state.rows[k] = constant_vector::<F, N>(0.0);
            }
            let products = ComptimeOption::new_None();
            let row = first + v * lanes;
            let pairs = Pairs::<E, F, N>::new(context, &*tile, &products, &*own, uniform, row);
            sum_block::<E, F, A, N>(state, &pairs, row, start, stop, blueprint);
            #[unroll(dim <= UNROLL)]
            for k in 0..dim {
                sums.add(v * dim + k, state.rows[k]);
            }
        }
        sums.end_block(comptime!(most * dim));
        for k in 0..unforeseen(dim) {
            for c in 0..stop - start {
                let sum = lane_sum::<F, N>(state.columns[stride * (dim + k) + c]);
                out[(out_row + start + c) * dim + k] += O::cast_from(sum);
            }
        }
    }
    for v in 0..vectors {
        let row = first + v * lanes;
        for k in 0..unforeseen(dim) {
            let sum = sums.total(v * dim + k);
            #[unroll]
            for lane in 0..lanes {
                if row + lane < rows {
                    let at = (out_row + row + lane) * dim + k;
                    out[at] += O::cast_from(sum.extract(lane));
                }
            }
        }
    }
}

/// The sum of all lanes. If possible, four sums are computed side by side, because each addition waits for the one
/// before.
#[cube]
fn lane_sum<F: Float, N: Size>(value: Vector<F, N>) -> F {
    let lanes = N::value();
    let side = comptime!(if lanes.is_multiple_of(4) { 4usize } else { 1 });
    let mut sums = Array::<F>::new(side);
    #[unroll]
    for lane in 0..lanes {
        if comptime!(lane < side) {
            sums[lane] = value.extract(lane);
        } else {
            sums[comptime!(lane % side)] += value.extract(lane);
        }
    }
    if comptime!(side == 4) {
        (sums[0usize] + sums[1usize]) + (sums[2usize] + sums[3usize])
    } else {
        sums[0usize]
    }
}

/// Takes in the pairs of the rows from `row` on with the columns of `start .. stop` that do not lie before `row`.
#[cube]
fn sum_block<E: Float, F: Float, A: Float, N: Size>(
    state: &mut PairSums<F, N>,
    pairs: &Pairs<'_, '_, E, F, N>,
    row: usize,
    start: usize,
    stop: usize,
    #[comptime] blueprint: &Blueprint,
) {
    let block = comptime!(blueprint.schedule.block());
    let q = comptime!(blueprint.schedule.columns());
    let mut weighted = ComptimeOption::new_None();
    let behind = row + N::value();
    // The first step takes the columns of the rows themselves, for which only the sums of rows are kept. The second
    // step takes the columns behind them.
    for step in 0..2u32 {
        let diagonal = step == 0;
        let low = max(start, select(diagonal, row, behind));
        let high = select(diagonal, min(stop, behind), stop);
        state.start[0] = start;
        state.places[0] = select(
            diagonal,
            0usize,
            comptime!((block + GAP) * blueprint.spec.dim).runtime(),
        );
        // The minimum tells the compiler that the count is at most a block, which bounds all indices.
        let count = min(max(low, high) - low, block);
        let behind = ComptimeOption::new_Some(low - start);
        let run = Run::new(low, count, behind, q);
        take_run::<E, F, A, N, Both>(state, pairs, &run, &mut weighted, true.runtime());
    }
}
