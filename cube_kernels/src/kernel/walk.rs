//! The loop over the columns of a part: for each block, its columns are staged in a tile, and their pairs with a
//! unit's rows are taken in.

use cubecl::prelude::*;

use super::{
    columns::{Run, take_run},
    context::{Columns, Context},
    evaluate::One,
    matrix::Products,
    pairs::{Pairs, run_pair},
    weighted::WeightedSums,
};
use crate::{
    math::{constant, constant_vector},
    plan::{Blueprint, ColumnSource},
    program::{REACH, Space, Stage, UNROLL},
    reduction::{LeastOfGroups, LeastState, Reduction},
};

/// The rows and columns of a unit.
#[derive(CubeType)]
pub struct Share<F: Float> {
    /// Its first row.
    pub row: usize,
    /// The distance between the rows that a lane adds up.
    pub out_rows: usize,
    /// How many rows a lane adds up.
    pub steps: usize,
    /// The first column, or the position of the first range if pairs are in ranges.
    pub begin: usize,
    /// The end of the columns, or of the ranges.
    pub end: usize,
    pub infinity: F,
}

/// The inputs of a unit that are the same for each form of the formula.
#[derive(CubeType)]
pub struct Inputs<'a, E: Float, F: Float> {
    share: &'a Share<F>,
    /// The inner products that matrix instructions compute, if they compute any.
    products: &'a ComptimeOption<Products<E, F>>,
}

#[cube]
impl<'a, E: Float, F: Float> Inputs<'a, E, F> {
    pub fn new(
        share: &'a Share<F>,
        products: &'a ComptimeOption<Products<E, F>>,
    ) -> Inputs<'a, E, F> {
        Inputs::<'a, E, F> { share, products }
    }
}

/// Reduces the columns of one part for the rows of the unit. A lane has one row, or adds up `steps` rows at a
/// distance of `out_rows`. Returns by how many columns the last block extends beyond the last column.
#[cube]
pub fn reduce_unit<E: Float, F: Float, A: Float, N: Size, R: Reduction<F, A, N>>(
    state: &mut R::State,
    tile: &mut [One<F>],
    weighted: &mut ComptimeOption<WeightedSums<F, A, N>>,
    context: &Context<'_, E, F>,
    inputs: &Inputs<'_, E, F>,
) -> usize {
    if comptime!(context.blueprint.schedule.scaled()) {
        let scaled = comptime!(context.program.scaled.clone().expect("it is planned"));
        let near = in_reach::<E, F, N>(
            &context.with_program(comptime!(scaled.reach.clone())),
            inputs.share,
        );
        if near {
            let context = context.with_program(comptime!(scaled.program.clone()));
            reduce_form::<E, F, A, N, R>(state, tile, weighted, &context, inputs)
        } else {
            reduce_form::<E, F, A, N, R>(state, tile, weighted, context, inputs)
        }
    } else {
        reduce_form::<E, F, A, N, R>(state, tile, weighted, context, inputs)
    }
}

/// Whether the scaled points of the cube's rows and of its columns are all within [`REACH`] of 0. The program of
/// `reach` computes their squared distances from 0. All units of the cube get the same answer.
#[cube]
pub fn in_reach<E: Float, F: Float, N: Size>(reach: &Context<'_, E, F>, share: &Share<F>) -> bool {
    let uniform = reach.uniform_slots();
    let mut far = Shared::<[u32]>::new_slice(1usize);
    if UNIT_POS == 0 {
        far[0] = 0u32;
    }
    sync_cube();
    let mut slots = Array::<Vector<F, N>>::new(comptime!(reach.program.row.slots));
    reach.fill_stage::<N>(
        slots.as_mut_slice(),
        uniform.as_slice(),
        share.row,
        reach.rows,
        comptime!(Space::Row),
    );
    let mut near = within_reach::<F, N>(slots.as_slice(), comptime!(&reach.program.row));
    let step = comptime!(reach.blueprint.units);
    for column in range_stepped(share.begin + UNIT_POS as usize, share.end, step) {
        let mut slots = Array::<One<F>>::new(comptime!(reach.program.column.slots));
        reach.fill_stage::<Const<1>>(
            slots.as_mut_slice(),
            uniform.as_slice(),
            column,
            column + 1,
            comptime!(Space::Column),
        );
        near =
            near && within_reach::<F, Const<1>>(slots.as_slice(), comptime!(&reach.program.column));
    }
    if !near {
        far[0] = 1u32;
    }
    sync_cube();
    far[0] == 0
}

/// Whether all computed slots are at most [`REACH`] squared. It is false if one of them is NaN.
#[cube]
pub fn within_reach<F: Float, N: Size>(slots: &[Vector<F, N>], #[comptime] stage: &Stage) -> bool {
    let most = constant::<F>(comptime!(REACH * REACH));
    let mut near = true.runtime();
    #[unroll]
    for slot in stage.loaded..stage.slots {
        #[unroll]
        for lane in 0..N::value() {
            near = near && slots[slot].extract(lane) <= most;
        }
    }
    near
}

/// Reduces the columns of one part in one form of the formula, as [`reduce_unit`] does.
#[cube]
pub fn reduce_form<E: Float, F: Float, A: Float, N: Size, R: Reduction<F, A, N>>(
    state: &mut R::State,
    tile: &mut [One<F>],
    weighted: &mut ComptimeOption<WeightedSums<F, A, N>>,
    context: &Context<'_, E, F>,
    inputs: &Inputs<'_, E, F>,
) -> usize {
    let blueprint = comptime!(&context.blueprint);
    let uniform = context.uniform_slots();
    let mut slots = Array::<Vector<F, N>>::new(comptime!(context.program.row.slots.max(1)));
    let share = inputs.share;
    let form = Form::<E, F>::new(context, uniform.as_slice(), inputs);
    if comptime!(blueprint.folded) {
        let mut behind = 0usize.runtime();
        // The number of steps is the same for all units, because the units of a cube stage its columns together.
        for step in 0..share.steps {
            let own_row = share.row + step * share.out_rows;
            let mut own = R::init(
                u32::cast_from(share.begin),
                share.infinity,
                comptime!(blueprint.rule(blueprint.spec)),
            );
            behind = reduce_part::<E, F, A, N, R>(
                &mut own,
                tile,
                weighted,
                slots.as_mut_slice(),
                &form,
                own_row,
            );
            fold::<F, A, N, R>(state, &mut own, own_row, context.rows, blueprint);
        }
        behind
    } else {
        reduce_part::<E, F, A, N, R>(
            state,
            tile,
            weighted,
            slots.as_mut_slice(),
            &form,
            share.row,
        )
    }
}

/// One form of a formula for the rows and columns of a unit.
#[derive(CubeType)]
pub struct Form<'c, 'a, 'b, E: Float, F: Float> {
    pub context: &'c Context<'a, E, F>,
    /// The uniform slots: the values that depend on the parameters only.
    pub uniform: &'c [One<F>],
    pub inputs: &'c Inputs<'b, E, F>,
}

#[cube]
impl<'c, 'a, 'b, E: Float, F: Float> Form<'c, 'a, 'b, E, F> {
    fn new(
        context: &'c Context<'a, E, F>,
        uniform: &'c [One<F>],
        inputs: &'c Inputs<'b, E, F>,
    ) -> Form<'c, 'a, 'b, E, F> {
        Form::<'c, 'a, 'b, E, F> {
            context,
            uniform,
            inputs,
        }
    }
}

/// Adds the sums `own` of the rows from `row` on to `state`. Lanes beyond the last row hold that row's sums again,
/// and add nothing.
#[cube]
pub fn fold<F: Float, A: Float, N: Size, R: Reduction<F, A, N>>(
    state: &mut R::State,
    own: &mut R::State,
    row: usize,
    rows: usize,
    #[comptime] blueprint: &Blueprint,
) {
    let spec = comptime!(blueprint.spec);
    let total = comptime!(blueprint.total());
    let mut inside = Vector::<u32, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        inside.insert(lane, select(row + lane < rows, 1u32, 0u32));
    }
    let inside = inside.equal(&Vector::new(1u32));
    #[unroll(spec.dim <= UNROLL)]
    for k in 0..spec.dim {
        let value = R::save(&*own, k, 0usize, spec);
        let value = select_many(inside, value, constant_vector::<A, N>(0.0));
        R::load(own, k, value, 0usize, total);
    }
    R::merge(state, &*own, comptime!(blueprint.rule(total)));
}

/// Reduces the columns of one part for a row in each lane, from `row` on. Returns by how many columns the last
/// block extends beyond the last column.
#[cube]
pub fn reduce_part<E: Float, F: Float, A: Float, N: Size, R: Reduction<F, A, N>>(
    state: &mut R::State,
    tile: &mut [One<F>],
    weighted: &mut ComptimeOption<WeightedSums<F, A, N>>,
    slots: &mut [Vector<F, N>],
    form: &Form<'_, '_, '_, E, F>,
    row: usize,
) -> usize {
    let context = form.context;
    let uniform = form.uniform;
    let share = form.inputs.share;
    let products = form.inputs.products;
    let blueprint = comptime!(&context.blueprint);
    let rows = Rows {
        row,
        active: row < context.rows,
    };
    context.fill_stage::<N>(slots, uniform, row, context.rows, comptime!(Space::Row));
    #[comptime]
    match products {
        ComptimeOption::None => {}
        ComptimeOption::Some(products) => {
            products.stage_rows(context, uniform, row - UNIT_POS as usize * N::value())
        }
    }
    if comptime!(blueprint.schedule.ahead().is_some()) {
        bound_lists::<E, F, A, N, R>(state, &*tile, &*slots, form, row);
    }
    if comptime!(blueprint.limited) {
        start_lists::<E, F, A, N, R>(state, context, row);
    }
    let behind = if comptime!(blueprint.columns == ColumnSource::Ranges) {
        let list = context.lists.index(0usize);
        for at in range_stepped(share.begin, share.end, 2usize) {
            let columns = Span {
                begin: usize::cast_from(list[at]),
                end: usize::cast_from(list[at + 1]),
            };
            R::go_on(state, u32::cast_from(columns.begin));
            take_columns::<E, F, A, N, R>(state, tile, weighted, &*slots, form, &rows, &columns);
        }
        // The caller needs only a number that is far less than 2^20, and 0 is one.
        0usize.runtime()
    } else {
        let columns = Span {
            begin: share.begin,
            end: share.end,
        };
        take_columns::<E, F, A, N, R>(state, tile, weighted, &*slots, form, &rows, &columns)
    };
    R::end_columns(state, comptime!(blueprint.rule(blueprint.narrow())));
    behind
}

/// The rows of a unit.
#[derive(CubeType)]
pub struct Rows {
    /// The first row.
    row: usize,
    /// Whether the first row exists. A unit without rows evaluates no pairs, but helps to stage columns.
    active: bool,
}

/// Consecutive columns.
#[derive(CubeType)]
pub struct Span {
    begin: usize,
    end: usize,
}

/// Takes in the pairs of the rows with consecutive columns, block by block. Returns by how many columns the last
/// block extends beyond the last column.
#[cube]
fn take_columns<E: Float, F: Float, A: Float, N: Size, R: Reduction<F, A, N>>(
    state: &mut R::State,
    tile: &mut [One<F>],
    weighted: &mut ComptimeOption<WeightedSums<F, A, N>>,
    slots: &[Vector<F, N>],
    form: &Form<'_, '_, '_, E, F>,
    rows: &Rows,
    columns: &Span,
) -> usize {
    let context = form.context;
    let uniform = form.uniform;
    let products = form.inputs.products;
    let blueprint = comptime!(&context.blueprint);
    let row = rows.row;
    let block = comptime!(blueprint.schedule.block());
    let q = comptime!(blueprint.schedule.columns());
    // There is no counter of blocks, because it would take another register.
    let most = select(rows.active, block, 0usize);
    let mut start = columns.begin;
    while start < columns.end {
        let stop = min(start + block, columns.end);
        if comptime!(blueprint.schedule.reads_blocks(&context.program)) {
            if comptime!(blueprint.schedule.shared_tile()) {
                sync_cube();
                // A unit stages at most one column here. Compilers do not see that, and would unroll a loop.
                if comptime!(blueprint.schedule.block() <= blueprint.units) {
                    if start + (UNIT_POS as usize) < stop {
                        context.stage_column(
                            tile,
                            uniform,
                            start + UNIT_POS as usize,
                            UNIT_POS as usize,
                        );
                    }
                } else {
                    context.stage_columns(
                        tile,
                        uniform,
                        start,
                        stop,
                        UNIT_POS as usize,
                        comptime!(blueprint.units),
                    );
                }
                #[comptime]
                match weighted {
                    ComptimeOption::None => {}
                    ComptimeOption::Some(weighted) => {
                        weighted.stage::<E>(context, start, stop, start / block)
                    }
                }
                #[comptime]
                match products {
                    ComptimeOption::None => {}
                    ComptimeOption::Some(products) => {
                        products.stage_columns(context, uniform, start, stop);
                        sync_cube();
                        products.multiply(comptime!(blueprint.clone()));
                    }
                }
                sync_cube();
            } else {
                context.stage_columns(tile, uniform, start, stop, 0usize, 1usize);
            }
        }
        // The minimum tells the compiler that the count is at most a block, which bounds all indices.
        let count = min(stop - start, most);
        let at_start = ComptimeOption::new_None();
        let run = Run::new(start, count, at_start, q);
        let usual = #[comptime]
        match weighted {
            ComptimeOption::None => true.runtime(),
            ComptimeOption::Some(weighted) => weighted.is_usual(start / block),
        };
        let pairs = Pairs::<E, F, N>::new(context, &*tile, products, slots, uniform, row);
        take_run::<E, F, A, N, R>(state, &pairs, &run, weighted, usual);
        R::end_block(state, comptime!(blueprint.rule(blueprint.narrow())));
        #[comptime]
        match weighted {
            ComptimeOption::None => {}
            ComptimeOption::Some(weighted) => {
                weighted.end_block::<E>(context, row, start / block, stop == columns.end, run.count)
            }
        }
        start += block;
    }
    start - columns.end
}

/// Fills lists of smallest values with the limits of their rows, so that values beyond the limits are never
/// inserted. Lanes beyond the last row have the limits of the last row.
#[cube]
fn start_lists<E: Float, F: Float, A: Float, N: Size, R: Reduction<F, A, N>>(
    state: &mut R::State,
    context: &Context<'_, E, F>,
    row: usize,
) {
    let blueprint = comptime!(&context.blueprint);
    let spec = comptime!(blueprint.spec);
    let (dim, depth) = comptime!((spec.dim, spec.depth()));
    let limits = context.lists.index(comptime!(blueprint.limits()));
    #[unroll(dim <= UNROLL)]
    for component in 0..dim {
        let mut limit = Vector::<A, N>::empty();
        #[unroll]
        for lane in 0..N::value() {
            let own = min(row + lane, context.rows - 1) * dim + component;
            limit.insert(lane, A::cast_from(f32::reinterpret(limits[own])));
        }
        #[unroll(depth <= UNROLL)]
        for place in 0..depth {
            R::load(state, place * dim + component, limit, 0usize, spec);
        }
    }
}

/// Fills lists of smallest values with an upper bound of these values, found from some of the columns. Without the
/// bound, many values would be inserted that later values displace, and an insertion for one lane takes the time of
/// an insertion for all lanes. The columns are evaluated again later by the same instructions, so their values come
/// out the same.
#[cube]
pub fn bound_lists<E: Float, F: Float, A: Float, N: Size, R: Reduction<F, A, N>>(
    state: &mut R::State,
    tile: &[One<F>],
    slots: &[Vector<F, N>],
    form: &Form<'_, '_, '_, E, F>,
    row: usize,
) {
    let context = form.context;
    let share = form.inputs.share;
    let products = form.inputs.products;
    let spec = comptime!(context.blueprint.spec);
    let q = comptime!(context.blueprint.schedule.columns());
    let distance = comptime!(q * context.blueprint.schedule.ahead().unwrap());
    let mut least = LeastState::<F, N>::new(share.infinity, spec);
    let mut weighted = ComptimeOption::new_None();
    let pairs = Pairs::<E, F, N>::new(context, tile, products, slots, form.uniform, row);
    for t in 0..(share.end - share.begin) / distance {
        let columns = Columns {
            column: share.begin + t * distance,
            staged: 0usize.runtime(),
            q,
        };
        let usual = true.runtime();
        run_pair::<E, F, A, N, LeastOfGroups>(&mut least, &pairs, &columns, &mut weighted, usual);
    }
    let bound = Vector::cast_from(least.bound(spec));
    #[unroll(spec.depth() <= UNROLL)]
    for at in 0..spec.depth() {
        R::load(state, at, bound, 0usize, spec);
    }
}
