//! The kernel that reduces a formula over one symbolic axis.

use cubecl::{ir::ElemType, prelude::*};

use super::{
    context::{Columns, Context},
    evaluate::One,
    layout,
    matrix::Products,
    operands::address,
    pairs::{Pairs, run_pair},
    parts::final_index,
    results::Results,
    symmetric::sum_symmetric,
    weighted::WeightedSums,
};
use crate::{
    math::{Precision, constant, constant_vector, narrow},
    plan::Blueprint,
    program::{Program, REACH, Space, Stage, UNROLL},
    reduction::{
        KindName, LeastOfGroups, LeastState, Reduction, for_each_reduction, relative_to_maximum,
    },
};

/// The most bytes that a unit reads from shared memory at once, for which they must be aligned.
const LOAD: usize = 16;

/// The rows and columns of a unit.
#[derive(CubeType)]
struct Share<F: Float> {
    /// Its first row.
    row: usize,
    /// How far the rows that a lane adds up are from each other, and how many these are.
    out_rows: usize,
    steps: usize,
    /// Its columns.
    begin: usize,
    end: usize,
    infinity: F,
}

/// Reduces the columns of one part for the rows of the unit: one for each lane, or `steps` at a
/// distance of `out_rows`, which are added up. Returns how far behind the last column the last block ends.
#[cube]
fn reduce_unit<E: Float, F: Float, A: Float, N: Size, R: Reduction<F, A, N>>(
    state: &mut R::State,
    tile: &mut [One<F>],
    products: &ComptimeOption<Products<E, F>>,
    weighted: &mut ComptimeOption<WeightedSums<F, A, N>>,
    context: &Context<'_, E, F>,
    share: &Share<F>,
) -> usize {
    if comptime!(context.blueprint.scaled) {
        let scaled = comptime!(context.program.scaled.clone().expect("it is planned"));
        let near = in_reach::<E, F, N>(
            &context.with_program(comptime!(scaled.reach.clone())),
            share,
        );
        if near {
            let context = context.with_program(comptime!(scaled.program.clone()));
            reduce_form::<E, F, A, N, R>(state, tile, products, weighted, &context, share)
        } else {
            reduce_form::<E, F, A, N, R>(state, tile, products, weighted, context, share)
        }
    } else {
        reduce_form::<E, F, A, N, R>(state, tile, products, weighted, context, share)
    }
}

/// Whether the points that the units of the cube pair are within [`REACH`] of 0 when they are scaled, as the program
/// of `reach` computes it. The same for all units.
#[cube]
fn in_reach<E: Float, F: Float, N: Size>(reach: &Context<'_, E, F>, share: &Share<F>) -> bool {
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

/// Whether all computed slots are at most [`REACH`] squared. NaN is not.
#[cube]
fn within_reach<F: Float, N: Size>(slots: &[Vector<F, N>], #[comptime] stage: &Stage) -> bool {
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
fn reduce_form<E: Float, F: Float, A: Float, N: Size, R: Reduction<F, A, N>>(
    state: &mut R::State,
    tile: &mut [One<F>],
    products: &ComptimeOption<Products<E, F>>,
    weighted: &mut ComptimeOption<WeightedSums<F, A, N>>,
    context: &Context<'_, E, F>,
    share: &Share<F>,
) -> usize {
    let blueprint = comptime!(&context.blueprint);
    let uniform = context.uniform_slots();
    let mut slots = Array::<Vector<F, N>>::new(comptime!(context.program.row.slots.max(1)));
    let form = Form::<E, F>::new(context, uniform.as_slice(), share);
    if comptime!(blueprint.folded) {
        let mut behind = 0usize.runtime();
        // As many for all units, as those of a cube stage its columns together.
        for step in 0..share.steps {
            let own_row = share.row + step * share.out_rows;
            let mut own = R::init(
                u32::cast_from(share.begin),
                share.infinity,
                comptime!(blueprint.spec),
                comptime!(blueprint.math),
            );
            behind = reduce_part::<E, F, A, N, R>(
                &mut own,
                tile,
                products,
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
            products,
            weighted,
            slots.as_mut_slice(),
            &form,
            share.row,
        )
    }
}

/// One form of a formula for the rows and columns of a unit.
#[derive(CubeType)]
struct Form<'c, 'a, E: Float, F: Float> {
    context: &'c Context<'a, E, F>,
    /// What follows from the parameters.
    uniform: &'c [One<F>],
    share: &'c Share<F>,
}

#[cube]
impl<'c, 'a, E: Float, F: Float> Form<'c, 'a, E, F> {
    fn new(
        context: &'c Context<'a, E, F>,
        uniform: &'c [One<F>],
        share: &'c Share<F>,
    ) -> Form<'c, 'a, E, F> {
        Form::<'c, 'a, E, F> {
            context,
            uniform,
            share,
        }
    }
}

/// Adds the sums `own` of the rows from `row` on to `state`. Lanes beyond the last row repeat it, and
/// add nothing.
#[cube]
fn fold<F: Float, A: Float, N: Size, R: Reduction<F, A, N>>(
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
    R::merge(state, &*own, total, comptime!(blueprint.math));
}

/// Reduces the columns of one part for a row in each lane, from `row` on. Returns how far behind the last one the
/// last block ends.
#[cube]
fn reduce_part<E: Float, F: Float, A: Float, N: Size, R: Reduction<F, A, N>>(
    state: &mut R::State,
    tile: &mut [One<F>],
    products: &ComptimeOption<Products<E, F>>,
    weighted: &mut ComptimeOption<WeightedSums<F, A, N>>,
    slots: &mut [Vector<F, N>],
    form: &Form<'_, '_, E, F>,
    row: usize,
) -> usize {
    let context = form.context;
    let uniform = form.uniform;
    let blueprint = comptime!(&context.blueprint);
    let active = row < context.rows;
    context.fill_stage::<N>(slots, uniform, row, context.rows, comptime!(Space::Row));
    #[comptime]
    match products {
        ComptimeOption::None => {}
        ComptimeOption::Some(products) => {
            products.stage_rows(context, uniform, row - UNIT_POS as usize * N::value())
        }
    }
    if comptime!(blueprint.ahead.is_some()) {
        bound_lists::<E, F, A, N, R>(state, &*tile, products, &*slots, form, row);
    }
    let block = comptime!(blueprint.block);
    let q = comptime!(blueprint.columns);
    // No counter of blocks, which would take another register.
    let most = select(active, block, 0usize);
    let mut start = form.share.begin;
    while start < form.share.end {
        let stop = min(start + block, form.share.end);
        if comptime!(blueprint.reads_blocks(&context.program)) {
            if comptime!(blueprint.shared_tile) {
                sync_cube();
                // Compilers do not see that there is but one, and would unroll a loop.
                if comptime!(blueprint.block <= blueprint.units) {
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
        // The compiler does not see that it is no more than a block, which bounds all indices.
        let count = min(stop - start, most);
        let full = count / q;
        let usual = #[comptime]
        match weighted {
            ComptimeOption::None => true.runtime(),
            ComptimeOption::Some(weighted) => weighted.is_usual(start / block),
        };
        let pairs = Pairs::<E, F, N>::new(context, &*tile, products, &*slots, uniform, row);
        for t in 0..full {
            let columns = Columns {
                column: start + t * q,
                staged: t * q,
                q,
            };
            run_pair::<E, F, A, N, R>(state, &pairs, &columns, weighted, usual);
        }
        if comptime!(q > 1) {
            for t in full * q..count {
                let columns = Columns {
                    column: start + t,
                    staged: t,
                    q: comptime!(1usize),
                };
                run_pair::<E, F, A, N, R>(state, &pairs, &columns, weighted, usual);
            }
        }
        R::end_block(
            state,
            comptime!(blueprint.narrow()),
            comptime!(blueprint.math),
        );
        #[comptime]
        match weighted {
            ComptimeOption::None => {}
            ComptimeOption::Some(weighted) => {
                weighted.end_block::<E>(context, row, start / block, stop == form.share.end, count)
            }
        }
        start += block;
    }
    start - form.share.end
}

/// Fills lists of smallest values with a bound of these, which some of the columns give, so that fewer values are
/// inserted that others displace: an insertion for one lane is one for all. Values come out as they will again, by
/// the same instructions.
#[cube]
fn bound_lists<E: Float, F: Float, A: Float, N: Size, R: Reduction<F, A, N>>(
    state: &mut R::State,
    tile: &[One<F>],
    products: &ComptimeOption<Products<E, F>>,
    slots: &[Vector<F, N>],
    form: &Form<'_, '_, E, F>,
    row: usize,
) {
    let context = form.context;
    let spec = comptime!(context.blueprint.spec);
    let math = comptime!(context.blueprint.math);
    let q = comptime!(context.blueprint.columns);
    let distance = comptime!(q * context.blueprint.ahead.unwrap());
    let mut least = LeastState::<F, N>::new(form.share.infinity, spec);
    let mut weighted = ComptimeOption::new_None();
    let pairs = Pairs::<E, F, N>::new(context, tile, products, slots, form.uniform, row);
    for t in 0..(form.share.end - form.share.begin) / distance {
        let columns = Columns {
            column: form.share.begin + t * distance,
            staged: 0usize.runtime(),
            q,
        };
        let usual = true.runtime();
        run_pair::<E, F, A, N, LeastOfGroups>(&mut least, &pairs, &columns, &mut weighted, usual);
    }
    let bound = Vector::cast_from(least.bound(form.share.infinity, spec, math));
    #[unroll(spec.depth() <= UNROLL)]
    for at in 0..spec.depth() {
        R::load(state, at, bound, 0usize, spec);
    }
}

/// Reduces a formula over its columns: `out[part, batch, row, ..]` over the columns of each part.
///
/// A worker (a cube if the columns go through a shared tile, else a unit) takes consecutive rows of
/// one batch and one part, as many for each unit as there are lanes. Where the output has fewer rows than
/// the operands, a lane adds up the rows that follow at a distance of all of the output.
///
/// `values` and `indices` have one buffer each, or none where nothing is wanted of the kind. Types:
/// `E` of the operands, `F` of the computation, `A` of what is accumulated, `O` and `I` of the output.
#[cube(launch_unchecked, address_type = "dynamic")]
pub fn reduce<E: Float, F: Float, A: Float, O: Float, I: Int, N: Size>(
    tensors: &Sequence<Box<[E]>>,
    scalars: &Sequence<InputScalar>,
    layout: &Sequence<usize>,
    infinity: InputScalar,
    values: &mut Sequence<Box<[O]>>,
    indices: &mut Sequence<Box<[I]>>,
    states: &mut Sequence<Box<[A]>>,
    #[comptime] program: Program,
    #[comptime] blueprint: Blueprint,
    #[define(E)] _e: ElemType,
    #[define(F)] _f: ElemType,
    #[define(A)] _a: ElemType,
    #[define(O)] _o: ElemType,
    #[define(I)] _i: ElemType,
) {
    let mut results = Results::<A, O, I>::new(values, indices, states);
    let results = &mut results;
    if comptime!(blueprint.strip.is_some()) {
        sum_symmetric::<E, F, A, O, N>(
            tensors,
            scalars,
            layout,
            infinity,
            results.values,
            program,
            blueprint,
        )
    } else {
        reduce_by_kind::<E, F, A, O, I, N>(
            tensors, scalars, layout, infinity, results, program, blueprint,
        )
    }
}

macro_rules! define_reduce_by_kind {
    ($(
        $(#[$doc:meta])*
        $kind:ident $(($field:ident: $type:ty))? $({ $(#[$note:meta])* $name:ident: $own:ty })?
            => $family:ident $value:tt; $examples:tt,
    )*) => {
        /// Reduces rows by the family of the reduction.
        #[cube]
        fn reduce_by_kind<E: Float, F: Float, A: Float, O: Float, I: Int, N: Size>(
            tensors: &Sequence<Box<[E]>>,
            scalars: &Sequence<InputScalar>,
            layout: &Sequence<usize>,
            infinity: InputScalar,
            results: &mut Results<'_, A, O, I>,
            #[comptime] program: Program,
            #[comptime] blueprint: Blueprint,
        ) {
            let kind = comptime!(blueprint.spec.kind.name());
            match kind {
                $(
                    KindName::$kind => reduce_rows::<E, F, A, O, I, N, crate::reduction::$family>(
                        tensors, scalars, layout, infinity, results, program, blueprint,
                    ),
                )*
            }
        }
    };
}

for_each_reduction!(define_reduce_by_kind);

/// The work of a unit.
#[derive(CubeType)]
struct Work {
    /// Its first row.
    row: usize,
    batch: usize,
    part: usize,
    /// Whether there is none.
    nothing: bool,
}

/// What this unit does.
#[cube]
fn work<N: Size>(
    layout: &Sequence<usize>,
    out_rows: usize,
    #[comptime] blueprint: Blueprint,
) -> Work {
    let parts = parts(layout, comptime!(blueprint.clone()));
    let batches = batches(layout, comptime!(blueprint.clone()));
    let lanes = N::value();
    // Units that share a tile are in one cube and need the same columns; others stand alone.
    let (worker, worker_rows, unit) = if comptime!(blueprint.shared_tile) {
        (
            CUBE_POS,
            comptime!(blueprint.units) * lanes,
            UNIT_POS as usize,
        )
    } else {
        (ABSOLUTE_POS, lanes.runtime(), 0usize.runtime())
    };
    let groups = out_rows.div_ceil(worker_rows);
    // Nothing is divided that is known to be less.
    let (group, others) = if comptime!(blueprint.partial || blueprint.batch_rank > 0) {
        (worker % groups, worker / groups)
    } else {
        (worker, 0usize.runtime())
    };
    let (batch, part) = if comptime!(!blueprint.partial) {
        (others, 0usize.runtime())
    } else if comptime!(blueprint.batch_rank == 0) {
        (0usize.runtime(), others)
    } else {
        (others % batches, others / batches)
    };
    Work {
        row: group * worker_rows + unit * lanes,
        batch,
        part,
        nothing: worker >= groups * batches * parts,
    }
}

/// The number of batches.
#[cube]
fn batches(layout: &Sequence<usize>, #[comptime] blueprint: Blueprint) -> usize {
    if comptime!(blueprint.batch_rank > 0) {
        *layout.index(layout::BATCHES)
    } else {
        1usize.runtime()
    }
}

/// The number of parts.
#[cube]
fn parts(layout: &Sequence<usize>, #[comptime] blueprint: Blueprint) -> usize {
    if comptime!(blueprint.partial) {
        *layout.index(layout::PARTS)
    } else {
        1usize.runtime()
    }
}

#[cube]
fn reduce_rows<E: Float, F: Float, A: Float, O: Float, I: Int, N: Size, R: Reduction<F, A, N>>(
    tensors: &Sequence<Box<[E]>>,
    scalars: &Sequence<InputScalar>,
    layout: &Sequence<usize>,
    infinity: InputScalar,
    results: &mut Results<'_, A, O, I>,
    #[comptime] program: Program,
    #[comptime] blueprint: Blueprint,
) {
    let rows = *layout.index(layout::ROWS);
    let columns = *layout.index(layout::COLUMNS);
    let part_columns = *layout.index(layout::PART);
    let batches = batches(layout, comptime!(blueprint.clone()));
    let steps = *layout.index(layout::STEPS);
    let out_rows = if comptime!(blueprint.folded) {
        *layout.index(layout::FOLDED)
    } else {
        rows
    };
    let Work {
        row,
        batch,
        part,
        nothing,
    } = work::<N>(layout, out_rows, comptime!(blueprint.clone()));
    if nothing {
        terminate!();
    }
    // Where results go is needed at the end only, and would take registers until then. It is in memory, as it is
    // read at an index that compilers cannot know. Four numbers are written at once.
    let mut out = Array::<usize>::new(4usize);
    out[0] = row;
    let place = if comptime!(blueprint.placed) {
        part + *layout.index(comptime!(placed(&program, &blueprint) + layout::FIRST_PART))
    } else {
        part
    };
    out[1] = (place * batches + batch) * out_rows + row;
    out[2] = out_rows;
    // Where rows are added up, parts may take other columns or other rows.
    let (part_of_columns, first_row) = if comptime!(blueprint.folded) {
        let parts_of_columns = max(columns.div_ceil(part_columns), 1usize);
        let first_step = part / parts_of_columns * steps;
        (part % parts_of_columns, row + first_step * out_rows)
    } else {
        (part, row)
    };
    let begin = min(part_of_columns * part_columns, columns);
    let end = min(begin + part_columns, columns);
    let (begin, end) = if comptime!(blueprint.placed) {
        let first = *layout.index(comptime!(
            placed(&program, &blueprint) + layout::FIRST_COLUMN
        ));
        (begin + first, end + first)
    } else {
        (begin, end)
    };

    let address = address(layout, batch, comptime!(blueprint.clone()));
    let infinity = infinity.get::<F>();
    let spec = comptime!(blueprint.total());
    let narrow = comptime!(if blueprint.weighted.is_some() {
        blueprint.narrow()
    } else {
        spec
    });
    let mut state = R::init(
        u32::cast_from(begin),
        infinity,
        narrow,
        comptime!(blueprint.math),
    );
    let products = if comptime!(blueprint.matrix.is_some()) {
        ComptimeOption::new_Some(Products::<E, F>::new(
            comptime!(blueprint.matrix.unwrap()),
            comptime!(blueprint.clone()),
        ))
    } else {
        ComptimeOption::new_None()
    };
    let mut weighted = if comptime!(blueprint.weighted.is_some()) {
        ComptimeOption::new_Some(WeightedSums::<F, A, N>::new::<E>(
            &products,
            infinity,
            comptime!(blueprint.weighted.unwrap()),
            comptime!(blueprint.clone()),
        ))
    } else {
        ComptimeOption::new_None()
    };
    let tile_len = comptime!(blueprint.tile_len(&program).max(1));
    let context = Context::<E, F>::new(
        tensors,
        scalars,
        &address,
        rows,
        comptime!(program.clone()),
        comptime!(blueprint.clone()),
    );
    let share = Share::<F> {
        row: first_row,
        out_rows,
        steps,
        begin,
        end,
        infinity,
    };
    let behind = if comptime!(blueprint.shared_tile) {
        let mut tile = Shared::<[One<F>]>::new_aligned_slice(tile_len, LOAD);
        reduce_unit::<E, F, A, N, R>(
            &mut state,
            &mut tile,
            &products,
            &mut weighted,
            &context,
            &share,
        )
    } else {
        let mut tile = Array::<One<F>>::new(tile_len);
        reduce_unit::<E, F, A, N, R>(
            &mut state,
            tile.as_mut_slice(),
            &products,
            &mut weighted,
            &context,
            &share,
        )
    };

    // No block ends so far behind.
    let at = behind >> 20usize;
    let target = Target {
        row: out[at],
        first: out[at + 1],
        rows: out[at + 2],
    };
    if comptime!(blueprint.partial) {
        #[unroll]
        for plane in 0..spec.planes().len() {
            let size = comptime!(spec.plane_size(plane));
            #[unroll(size <= UNROLL)]
            for k in 0..size {
                let value =
                    saved::<F, A, N, R>(&state, &weighted, k, plane, comptime!(blueprint.clone()));
                let offset = comptime!(spec.plane_start(plane)) + k;
                write::<A, O, N>(
                    results.values.index_mut(0usize),
                    value,
                    &target,
                    offset,
                    comptime!(spec.partial_values()),
                    comptime!(blueprint.math.precision),
                );
            }
        }
    } else if comptime!(spec.wanted.values) {
        #[unroll(spec.entries() <= UNROLL)]
        for k in 0..spec.entries() {
            let value =
                value::<F, A, N, R>(&state, &weighted, k, infinity, comptime!(blueprint.clone()));
            write::<A, O, N>(
                results.values.index_mut(0usize),
                value,
                &target,
                k,
                comptime!(spec.entries()),
                comptime!(blueprint.written),
            );
        }
    }
    if comptime!(!blueprint.partial && spec.wanted.state) {
        #[unroll]
        for plane in 0..spec.state_planes() {
            let size = comptime!(spec.plane_size(plane));
            #[unroll(size <= UNROLL)]
            for k in 0..size {
                let value =
                    saved::<F, A, N, R>(&state, &weighted, k, plane, comptime!(blueprint.clone()));
                let value = if comptime!(plane == 0) {
                    value
                } else {
                    let maximum = if comptime!(spec.planes()[0].shared) {
                        0usize.runtime()
                    } else {
                        k
                    };
                    let maximum = saved::<F, A, N, R>(
                        &state,
                        &weighted,
                        maximum,
                        0usize,
                        comptime!(blueprint.clone()),
                    );
                    relative_to_maximum::<F, A, N>(value, maximum, comptime!(blueprint.math))
                };
                write::<A, A, N>(
                    results.states.index_mut(0usize),
                    value,
                    &target,
                    comptime!(spec.plane_start(plane)) + k,
                    comptime!(spec.state_size()),
                    comptime!(blueprint.math.precision),
                );
            }
        }
    }
    if comptime!(blueprint.writes_indices()) {
        #[unroll(spec.entries() <= UNROLL)]
        for k in 0..spec.entries() {
            let index = R::index(&state, k);
            #[unroll]
            for lane in 0..N::value() {
                if target.row + lane < target.rows {
                    let index = index.extract(lane);
                    let at = (target.first + lane) * comptime!(spec.entries()) + k;
                    results.indices.index_mut(0usize)[at] = if comptime!(blueprint.partial) {
                        I::cast_from(index)
                    } else {
                        final_index::<I>(index)
                    };
                }
            }
        }
    }
}

/// Where the numbers of parts that start anywhere are.
fn placed(program: &Program, blueprint: &Blueprint) -> usize {
    layout::placed(program.tensors.len(), blueprint.batch_rank)
}

/// Value `at` of `plane` of the partial result.
#[cube]
fn saved<F: Float, A: Float, N: Size, R: Reduction<F, A, N>>(
    state: &R::State,
    weighted: &ComptimeOption<WeightedSums<F, A, N>>,
    at: usize,
    #[comptime] plane: usize,
    #[comptime] blueprint: Blueprint,
) -> Vector<A, N> {
    #[comptime]
    match weighted {
        ComptimeOption::None => R::save(state, at, plane, comptime!(blueprint.total())),
        ComptimeOption::Some(weighted) => {
            if comptime!(blueprint.spec.planes()[plane].shared) {
                R::save(state, at, plane, comptime!(blueprint.narrow()))
            } else {
                weighted.total(at)
            }
        }
    }
}

/// Value `at` of the result.
#[cube]
fn value<F: Float, A: Float, N: Size, R: Reduction<F, A, N>>(
    state: &R::State,
    weighted: &ComptimeOption<WeightedSums<F, A, N>>,
    at: usize,
    infinity: F,
    #[comptime] blueprint: Blueprint,
) -> Vector<A, N> {
    let math = comptime!(blueprint.math);
    #[comptime]
    match weighted {
        ComptimeOption::None => R::value(state, at, comptime!(blueprint.total()), math),
        ComptimeOption::Some(_) => {
            // What all components share, and the own sum, as where parts are merged.
            let single = comptime!(blueprint.spec.single());
            let mut own = R::init(0u32, infinity, single, math);
            #[unroll]
            for plane in 0..single.planes().len() {
                let component = if comptime!(single.planes()[plane].shared) {
                    0usize.runtime()
                } else {
                    at
                };
                let value = saved::<F, A, N, R>(
                    state,
                    weighted,
                    component,
                    plane,
                    comptime!(blueprint.clone()),
                );
                R::load(&mut own, 0usize, value, plane, single);
            }
            R::value(&own, 0usize, single, math)
        }
    }
}

/// Where the results of a unit go.
#[derive(CubeType)]
struct Target {
    /// The first row of its batch and part.
    row: usize,
    /// The same among the rows of all batches and parts.
    first: usize,
    /// Rows of a batch and part.
    rows: usize,
}

/// Writes one value of each row that there is: `out[row * stride + offset]`, of the rows of all batches and parts.
#[cube]
fn write<A: Float, O: Float, N: Size>(
    out: &mut Box<[O]>,
    value: Vector<A, N>,
    target: &Target,
    offset: usize,
    #[comptime] stride: usize,
    #[comptime] stored: Precision,
) {
    #[unroll]
    for lane in 0..N::value() {
        if target.row + lane < target.rows {
            out[(target.first + lane) * stride + offset] =
                narrow::<A, O>(value.extract(lane), stored);
        }
    }
}
