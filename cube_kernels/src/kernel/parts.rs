//! The kernel that merges the parts of a reduction.

use cubecl::{ir::ElemType, prelude::*};

use super::results::Results;
use crate::{
    math::narrow,
    plan::MergeBlueprint,
    program::UNROLL,
    reduction::{KindName, NO_INDEX, Plane, Reduction, Rule, for_each_family, relative_to_maximum},
};

/// An index as it is written to the result: -1 if nothing was found.
#[cube]
pub(super) fn final_index<I: Int>(index: u32) -> I {
    select(index == NO_INDEX, I::new(-1), I::cast_from(index))
}

/// Merges the parts of a reduction. A unit takes one component of one row. If `together` is given, a unit merges up
/// to that many parts into one part, which is merged again later or is wanted as a part. Otherwise it merges all
/// parts into the result.
#[cube(launch_unchecked, address_type = "dynamic")]
pub fn merge<F: Float, A: Float, O: Float, I: Int>(
    partial: &[A],
    partial_indices: &Sequence<Box<[u32]>>,
    values: &mut Sequence<Box<[O]>>,
    indices: &mut Sequence<Box<[I]>>,
    states: &mut Sequence<Box<[A]>>,
    rows: usize,
    parts: usize,
    infinity: InputScalar,
    #[comptime] together: Option<usize>,
    #[comptime] blueprint: MergeBlueprint,
    #[define(F)] _f: ElemType,
    #[define(A)] _a: ElemType,
    #[define(O)] _o: ElemType,
    #[define(I)] _i: ElemType,
) {
    let partial = Partial::<A>::new(partial, partial_indices, rows, parts);
    let mut results = Results::<A, O, I>::new(values, indices, states);
    let results = &mut results;
    if comptime!(blueprint.spec.is_list()) {
        merge_lists::<A, O, I>(&partial, results, together.is_none(), blueprint)
    } else {
        merge_by_kind::<F, A, O, I>(&partial, results, infinity, together, blueprint)
    }
}

macro_rules! define_merge_by_kind {
    ($($kind:ident => $family:ident,)*) => {
        /// Merges parts with the state of the reduction's family.
        #[cube]
        fn merge_by_kind<F: Float, A: Float, O: Float, I: Int>(
            partial: &Partial<'_, A>,
            results: &mut Results<'_, A, O, I>,
            infinity: InputScalar,
            #[comptime] together: Option<usize>,
            #[comptime] blueprint: MergeBlueprint,
        ) {
            let kind = comptime!(blueprint.spec.kind.name());
            match kind {
                $(
                    KindName::$kind => merge_parts::<F, A, O, I, crate::reduction::$family>(
                        partial, results, infinity, together, blueprint,
                    ),
                )*
            }
        }
    };
}

for_each_family!(define_merge_by_kind);

/// The partial results of all parts.
#[derive(CubeType)]
struct Partial<'a, A: Float> {
    values: &'a [A],
    /// Columns or counts, if the reduction keeps them.
    indices: &'a Sequence<Box<[u32]>>,
    /// Rows of the result.
    rows: usize,
    parts: usize,
}

#[cube]
impl<'a, A: Float> Partial<'a, A> {
    fn new(
        values: &'a [A],
        indices: &'a Sequence<Box<[u32]>>,
        rows: usize,
        parts: usize,
    ) -> Partial<'a, A> {
        Partial::<'a, A> {
            values,
            indices,
            rows,
            parts,
        }
    }
}

/// Merges the sorted lists of two parts whose columns follow each other, or copies the last list if it has no
/// partner. Lists stay in memory, because compilers of shaders take long for lists that are arrays of a unit.
#[cube]
fn merge_lists<A: Float, O: Float, I: Int>(
    partial: &Partial<'_, A>,
    results: &mut Results<'_, A, O, I>,
    #[comptime] last: bool,
    #[comptime] blueprint: MergeBlueprint,
) {
    let (rows, parts) = (partial.rows, partial.parts);
    let spec = comptime!(blueprint.spec);
    let width = comptime!(spec.width());
    let depth = comptime!(spec.depth());
    let columns = partial.indices.index(0usize);
    if ABSOLUTE_POS >= parts.div_ceil(2usize) * rows * width {
        terminate!();
    }
    let out_row = ABSOLUTE_POS / width;
    let component = ABSOLUTE_POS % width;
    let (part, row) = (out_row / rows * 2, out_row % rows);
    let two = part + 1 < parts;
    let first = (part * rows + row) * comptime!(spec.entries()) + component;
    let second = first + select(two, rows * comptime!(spec.entries()), 0usize);
    // How many values have been taken from the second list. The others came from the first one.
    let mut taken = 0usize.runtime();
    for place in 0..depth {
        let (at, other) = (first + (place - taken) * width, second + taken * width);
        // Of equal values the one of the earlier column comes first.
        let later = if comptime!(spec.unordered) {
            let equal = partial.values[other] == partial.values[at];
            let less = partial.values[other] < partial.values[at];
            two && (less || (equal && columns[other] < columns[at]))
        } else {
            two && partial.values[other] < partial.values[at]
        };
        let from = select(later, other, at);
        let to = (out_row * depth + place) * width + component;
        let (value, column) = (partial.values[from], columns[from]);
        if comptime!(!last) {
            results.values.index_mut(0usize)[to] = O::cast_from(value);
            results.indices.index_mut(0usize)[to] = I::cast_from(column);
        } else {
            if comptime!(spec.wanted.values) {
                results.values.index_mut(0usize)[to] =
                    narrow::<A, O>(value, comptime!(blueprint.written));
            }
            if comptime!(spec.wanted.indices) {
                results.indices.index_mut(0usize)[to] = final_index::<I>(column);
            }
        }
        taken += select(later, 1usize, 0usize);
    }
}

/// The place of value `k` of a plane for `component`, if the plane starts at `start`.
#[cube]
fn place_in_plane(
    start: usize,
    k: usize,
    component: usize,
    #[comptime] plane: Plane,
    #[comptime] width: usize,
) -> usize {
    if comptime!(plane.shared) {
        start + k
    } else {
        start + k * width + component
    }
}

#[cube]
fn merge_parts<F: Float, A: Float, O: Float, I: Int, R: Reduction<F, A, Const<1>>>(
    partial: &Partial<'_, A>,
    results: &mut Results<'_, A, O, I>,
    infinity: InputScalar,
    #[comptime] together: Option<usize>,
    #[comptime] blueprint: MergeBlueprint,
) {
    let (rows, parts) = (partial.rows, partial.parts);
    let spec = comptime!(blueprint.spec);
    let width = comptime!(spec.width());
    let depth = comptime!(spec.depth());
    let groups = if comptime!(together.is_some()) {
        parts.div_ceil(comptime!(together.unwrap()))
    } else {
        1usize.runtime()
    };
    let out_rows = if comptime!(together.is_some()) {
        groups * rows
    } else {
        rows
    };
    if ABSOLUTE_POS >= out_rows * width {
        terminate!();
    }
    let out_row = ABSOLUTE_POS / width;
    let component = ABSOLUTE_POS % width;
    let (row, first, end) = if comptime!(together.is_some()) {
        let first = out_row / rows * comptime!(together.unwrap());
        let end = min(first + comptime!(together.unwrap()), parts);
        (out_row % rows, first, end)
    } else {
        (out_row, 0usize.runtime(), parts)
    };
    let single = comptime!(spec.single());
    let math = comptime!(blueprint.math);
    let rule = comptime!(Rule { spec: single, math });
    let infinity = infinity.get::<F>();
    let mut state = R::init(NO_INDEX, infinity, rule);
    for part in first..end {
        let mut later = R::init(NO_INDEX, infinity, rule);
        #[unroll]
        for plane in 0..spec.planes().len() {
            let kind = comptime!(spec.planes()[plane]);
            let start = (part * rows + row) * comptime!(spec.partial_values())
                + comptime!(spec.plane_start(plane));
            #[unroll(kind.len <= UNROLL)]
            for k in 0..kind.len {
                let at = place_in_plane(start, k, component, kind, width);
                R::load(
                    &mut later,
                    k,
                    Vector::new(partial.values[at]),
                    plane,
                    single,
                );
            }
        }
        if comptime!(spec.keeps_indices()) {
            let start = (part * rows + row) * comptime!(spec.entries()) + component;
            #[unroll(depth <= UNROLL)]
            for k in 0..depth {
                let index = partial.indices.index(0usize)[start + k * width];
                R::load_index(&mut later, k, Vector::new(index));
            }
        }
        R::merge(&mut state, &later, rule);
    }
    if comptime!(together.is_some()) {
        let start = out_row * comptime!(spec.partial_values());
        #[unroll]
        for plane in 0..spec.planes().len() {
            let kind = comptime!(spec.planes()[plane]);
            let start = start + comptime!(spec.plane_start(plane));
            #[unroll(kind.len <= UNROLL)]
            for k in 0..kind.len {
                let at = place_in_plane(start, k, component, kind, width);
                let value = R::save(&state, k, plane, single).extract(0usize);
                // The units of all components write the same number where components share it.
                results.values.index_mut(0usize)[at] = O::cast_from(value);
            }
        }
        if comptime!(spec.keeps_indices()) {
            #[unroll(depth <= UNROLL)]
            for k in 0..depth {
                let at = (out_row * depth + k) * width + component;
                results.indices.index_mut(0usize)[at] =
                    I::cast_from(R::index(&state, k).extract(0usize));
            }
        }
    } else {
        #[unroll(depth <= UNROLL)]
        for k in 0..depth {
            let at = (row * depth + k) * width + component;
            if comptime!(spec.wanted.values) {
                results.values.index_mut(0usize)[at] = narrow::<A, O>(
                    R::value(&state, k, rule).extract(0usize),
                    comptime!(blueprint.written),
                );
            }
            if comptime!(spec.wanted.indices) {
                results.indices.index_mut(0usize)[at] =
                    final_index::<I>(R::index(&state, k).extract(0usize));
            }
        }
        if comptime!(spec.wanted.state) {
            let maximum = R::save(&state, 0usize, 0usize, single);
            #[unroll]
            for plane in 0..spec.state_planes() {
                let start = row * comptime!(spec.state_size()) + comptime!(spec.plane_start(plane));
                let at = if comptime!(spec.planes()[plane].shared) {
                    start
                } else {
                    start + component
                };
                let value = if comptime!(plane == 0) {
                    maximum
                } else {
                    let sum = R::save(&state, 0usize, plane, single);
                    relative_to_maximum::<F, A, Const<1>>(sum, maximum, math)
                };
                // The units of all components write the same number where components share it.
                results.states.index_mut(0usize)[at] = value.extract(0usize);
            }
        }
    }
}
