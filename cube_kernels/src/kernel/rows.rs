//! The kernel that reduces a formula over one symbolic axis.

use cubecl::{ir::ElemType, prelude::*};

use super::{
    context::Context,
    evaluate::One,
    layout,
    matrix::Products,
    operands::{Operands, address},
    parts::final_index,
    results::Results,
    symmetric::sum_symmetric,
    walk::{Inputs, Share, reduce_unit},
    weighted::WeightedSums,
    write::{Target, saved, value, write},
};
use crate::{
    plan::{Blueprint, ColumnSource},
    program::{Program, UNROLL},
    reduction::{KindName, NO_INDEX, Reduction, for_each_family, relative_to_maximum},
};

/// The most bytes that a unit reads from shared memory at once. The tile must be aligned to them.
const LOAD: usize = 16;

/// Reduces a formula over its columns: `out[part, batch, row, ..]` is the result over the columns of a part.
///
/// A worker is a cube if its units share a tile of columns, otherwise a unit. It takes consecutive rows of one
/// batch and one part, one row for each lane of its units. If rows are added up, the output has fewer rows than the
/// operands, and a lane adds up every `n`-th row of the operands, where `n` is the number of rows of the output.
///
/// If pairs are in ranges, the first buffer of `lists` has the tasks of all workers and their ranges. The other
/// buffers follow if the kernel needs them: the indices of columns that come in another order, the limits of rows,
/// and the indices of rows that come in another order.
///
/// `values`, `indices` and `states` have one buffer each, or none if the kernel does not write this kind of output.
/// Types: `E` of the operands, `F` of the computation, `A` of accumulated values, `O` and `I` of the values and
/// indices of the output.
#[cube(launch_unchecked, address_type = "dynamic")]
pub fn reduce<E: Float, F: Float, A: Float, O: Float, I: Int, N: Size>(
    tensors: &Sequence<Box<[E]>>,
    lists: &Sequence<Box<[u32]>>,
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
    let operands = Operands::<E>::new(tensors, lists, scalars, layout);
    if comptime!(blueprint.schedule.strip().is_some()) {
        sum_symmetric::<E, F, A, O, N>(&operands, infinity, results.values, program, blueprint)
    } else {
        reduce_by_kind::<E, F, A, O, I, N>(&operands, infinity, results, program, blueprint)
    }
}

macro_rules! define_reduce_by_kind {
    ($($kind:ident => $family:ident,)*) => {
        /// Reduces rows with the state of the reduction's family.
        #[cube]
        fn reduce_by_kind<E: Float, F: Float, A: Float, O: Float, I: Int, N: Size>(
            operands: &Operands<'_, E>,
            infinity: InputScalar,
            results: &mut Results<'_, A, O, I>,
            #[comptime] program: Program,
            #[comptime] blueprint: Blueprint,
        ) {
            let kind = comptime!(blueprint.spec.kind.name());
            match kind {
                $(
                    KindName::$kind => reduce_rows::<E, F, A, O, I, N, crate::reduction::$family>(
                        operands, infinity, results, program, blueprint,
                    ),
                )*
            }
        }
    };
}

for_each_family!(define_reduce_by_kind);

/// The work of a unit.
#[derive(CubeType)]
struct Work {
    /// Its first row.
    row: usize,
    batch: usize,
    part: usize,
    /// Whether there is no work for the unit.
    nothing: bool,
}

/// The work of this unit in the task of its worker, and the task.
#[cube]
fn work_of_task<N: Size>(
    list: &[u32],
    tasks: usize,
    #[comptime] blueprint: Blueprint,
) -> (Work, ComptimeOption<Task>) {
    let (worker, unit) = if comptime!(blueprint.schedule.shared_tile()) {
        (CUBE_POS, UNIT_POS as usize)
    } else {
        (ABSOLUTE_POS, 0usize.runtime())
    };
    if worker >= tasks {
        terminate!();
    }
    let at = worker * comptime!(layout::task::LEN);
    let first = usize::cast_from(list[at + comptime!(layout::task::FIRST)]);
    let last = usize::cast_from(list[at + comptime!(layout::task::LAST)]);
    // If every value is infinite, a minimum or maximum is found at the first column.
    let mut begin = NO_INDEX.runtime();
    if first < last {
        begin = list[first];
    }
    let work = Work {
        row: usize::cast_from(list[at + comptime!(layout::task::ROW)]) + unit * N::value(),
        batch: usize::cast_from(list[at + comptime!(layout::task::BATCH)]),
        part: usize::cast_from(list[at + comptime!(layout::task::PART)]),
        nothing: false.runtime(),
    };
    let task = Task {
        stop: usize::cast_from(list[at + comptime!(layout::task::STOP)]),
        first,
        last,
        begin,
    };
    (work, ComptimeOption::new_Some(task))
}

/// The rows and ranges of a task.
#[derive(CubeType)]
struct Task {
    /// The end of its rows.
    stop: usize,
    /// The position of its first range in the buffer.
    first: usize,
    /// The position at which its ranges end.
    last: usize,
    /// Its first column, or `NO_INDEX` if it has no ranges.
    begin: u32,
}

/// The work of this unit, if pairs are not in ranges.
#[cube]
fn work<N: Size>(
    layout: &Sequence<usize>,
    out_rows: usize,
    #[comptime] blueprint: Blueprint,
) -> Work {
    let parts = parts(layout, comptime!(blueprint.clone()));
    let batches = batches(layout, comptime!(blueprint.clone()));
    let lanes = N::value();
    // Units that share a tile are in one cube and need the same columns. Other units are workers by themselves.
    let (worker, worker_rows, unit) = if comptime!(blueprint.schedule.shared_tile()) {
        (
            CUBE_POS,
            comptime!(blueprint.units) * lanes,
            UNIT_POS as usize,
        )
    } else {
        (ABSOLUTE_POS, lanes.runtime(), 0usize.runtime())
    };
    let groups = out_rows.div_ceil(worker_rows);
    // With one part and one batch, a worker's number is the number of its group, and no division is needed.
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
    operands: &Operands<'_, E>,
    infinity: InputScalar,
    results: &mut Results<'_, A, O, I>,
    #[comptime] program: Program,
    #[comptime] blueprint: Blueprint,
) {
    let layout = operands.layout;
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
    let (work, task) = if comptime!(blueprint.columns == ColumnSource::Ranges) {
        let tasks = *layout.index(comptime!(others(&blueprint) + layout::TASKS));
        work_of_task::<N>(
            operands.lists.index(0usize),
            tasks,
            comptime!(blueprint.clone()),
        )
    } else {
        let work = work::<N>(layout, out_rows, comptime!(blueprint.clone()));
        (work, ComptimeOption::new_None())
    };
    let Work {
        row,
        batch,
        part,
        nothing,
    } = work;
    if nothing {
        terminate!();
    }
    // These numbers say where the results go. They are needed only at the end, and would take registers until then.
    // The array stays in memory, because it is read at an index that compilers cannot know. It has four places,
    // because four numbers are written at once.
    let mut out = Array::<usize>::new(4usize);
    out[0] = row;
    let place = if comptime!(blueprint.columns == ColumnSource::Placed) {
        part + *layout.index(comptime!(others(&blueprint) + layout::FIRST_PART))
    } else {
        part
    };
    let first = (place * batches + batch) * out_rows;
    out[1] = if comptime!(blueprint.unordered_rows) {
        first
    } else {
        first + row
    };
    out[2] = #[comptime]
    match &task {
        ComptimeOption::Some(task) => task.stop,
        ComptimeOption::None => out_rows,
    };
    // If rows are added up, parts divide the columns and the rows that a lane adds up.
    let (part_of_columns, first_row) = if comptime!(blueprint.folded) {
        let parts_of_columns = max(columns.div_ceil(part_columns), 1usize);
        let first_step = part / parts_of_columns * steps;
        (part % parts_of_columns, row + first_step * out_rows)
    } else {
        (part, row)
    };
    let begin = min(part_of_columns * part_columns, columns);
    let end = min(begin + part_columns, columns);
    let (begin, end) = match comptime!(blueprint.columns) {
        ColumnSource::All => (begin, end),
        ColumnSource::Placed => {
            let first = *layout.index(comptime!(others(&blueprint) + layout::FIRST_COLUMN));
            (begin + first, end + first)
        }
        // Here `begin` and `end` are positions of ranges.
        ColumnSource::Ranges =>
        {
            #[comptime]
            match &task {
                ComptimeOption::Some(task) => (task.first, task.last),
                ComptimeOption::None => (begin, end),
            }
        }
    };

    let address = address(layout, batch, comptime!(blueprint.clone()));
    let infinity = infinity.get::<F>();
    let spec = comptime!(blueprint.total());
    let narrow = comptime!(if blueprint.schedule.weighted().is_some() {
        blueprint.narrow()
    } else {
        spec
    });
    let first_column = #[comptime]
    match &task {
        ComptimeOption::Some(task) => task.begin,
        ComptimeOption::None => u32::cast_from(begin),
    };
    let mut state = R::init(first_column, infinity, comptime!(blueprint.rule(narrow)));
    let products = if comptime!(blueprint.schedule.matrix().is_some()) {
        ComptimeOption::new_Some(Products::<E, F>::new(
            comptime!(blueprint.matrix()),
            comptime!(blueprint.clone()),
        ))
    } else {
        ComptimeOption::new_None()
    };
    let mut weighted = if comptime!(blueprint.schedule.weighted().is_some()) {
        ComptimeOption::new_Some(WeightedSums::<F, A, N>::new::<E>(
            &products,
            infinity,
            comptime!(blueprint.weighted()),
            comptime!(blueprint.clone()),
        ))
    } else {
        ComptimeOption::new_None()
    };
    let tile_len = comptime!(blueprint.schedule.tile_len(&program).max(1));
    let rows = #[comptime]
    match &task {
        ComptimeOption::Some(task) => task.stop,
        ComptimeOption::None => rows,
    };
    let context = Context::<E, F>::new(operands, &address, rows, program, blueprint);
    let blueprint = comptime!(&context.blueprint);
    let share = Share::<F> {
        row: first_row,
        out_rows,
        steps,
        begin,
        end,
        infinity,
    };
    let inputs = Inputs::<E, F>::new(&share, &products);
    let behind = if comptime!(blueprint.schedule.shared_tile()) {
        let mut tile = Shared::<[One<F>]>::new_aligned_slice(tile_len, LOAD);
        reduce_unit::<E, F, A, N, R>(&mut state, &mut tile, &mut weighted, &context, &inputs)
    } else {
        let mut tile = Array::<One<F>>::new(tile_len);
        reduce_unit::<E, F, A, N, R>(
            &mut state,
            tile.as_mut_slice(),
            &mut weighted,
            &context,
            &inputs,
        )
    };

    // This is 0, because no block ends 2^20 columns beyond the last one. Compilers do not know that.
    let at = behind >> 20usize;
    let target = Target::new(out[at], out[at + 1], out[at + 2], operands.lists);
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
                    blueprint,
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
                blueprint,
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
                    blueprint,
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
                    let at = target.place(lane, blueprint) * comptime!(spec.entries()) + k;
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

/// The start in the layout of the numbers that only some kernels have.
fn others(blueprint: &Blueprint) -> usize {
    let tensors = blueprint.packing.len();
    let of_pairs = blueprint.tensors_of_pairs(tensors);
    layout::others(tensors, of_pairs, blueprint.batch_rank)
}
