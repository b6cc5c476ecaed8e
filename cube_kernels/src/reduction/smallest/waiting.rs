//! Values that wait until those of other lanes can be inserted together with them.

use cubecl::prelude::*;

use super::lists::{Lists, in_registers};
use crate::{
    math::{Math, any},
    program::LOOP_COLUMNS,
    reduction::{NO_INDEX, Spec, accumulator::below},
};

/// Columns with values that are small enough for a list in some lane, and have not been inserted yet.
///
/// An insertion takes as long for one lane as for all lanes, and a value is seldom small enough in more than one
/// lane. So each lane first collects its values. When a lane has no room left, the values of all lanes are
/// inserted, one of each lane at a time. No step of this depends on a comparison that a processor would have to
/// guess.
#[derive(CubeType)]
pub struct Waiting<F: Float, N: Size> {
    /// The values of columns that the lanes have not looked at yet. Value `k` of `component` is entry
    /// `component * COLUMNS_ROOM + k`.
    columns: Array<Vector<F, N>>,
    /// The indices of these columns.
    column_indices: Array<u32>,
    /// How many columns of each component there are.
    column_counts: Array<usize>,
    /// What the lanes have collected. Value `place` of `component` is entry `component * ROOM + place`. Other
    /// places hold infinity, or a value that is too large.
    values: Array<Vector<F, N>>,
    indices: Array<Vector<u32, N>>,
    /// How many values of each component each lane has collected.
    counts: Array<Vector<u32, N>>,
    infinity: F,
}

/// Number of columns that wait before the lanes look at them.
const COLUMNS: usize = 56;

/// Number of columns that there is room for.
const COLUMNS_ROOM: usize = COLUMNS + LOOP_COLUMNS;

/// Number of values that a lane collects.
const ROOM: usize = 32;

/// Whether values wait before they are inserted.
pub fn waits(spec: Spec, math: Math) -> bool {
    math.simd() && !in_registers(spec)
}

#[cube]
impl<F: Float, N: Size> Waiting<F, N> {
    pub fn new(infinity: F, #[comptime] spec: Spec) -> Waiting<F, N> {
        let dim = comptime!(spec.dim);
        let mut waiting = Waiting::<F, N> {
            columns: Array::new(comptime!(COLUMNS_ROOM * dim)),
            column_indices: Array::new(comptime!(COLUMNS_ROOM * dim)),
            column_counts: Array::new(dim),
            values: Array::new(comptime!(ROOM * dim)),
            indices: Array::new(comptime!(ROOM * dim)),
            counts: Array::new(dim),
            infinity,
        };
        for at in 0..comptime!(ROOM * dim) {
            waiting.values[at] = Vector::new(infinity);
            waiting.indices[at] = Vector::new(NO_INDEX);
        }
        for component in 0..dim {
            waiting.column_counts[component] = 0usize;
            waiting.counts[component] = Vector::new(0u32);
        }
        waiting
    }

    /// Adds a column if its value may belong in the list of any lane, whose last value is `last`.
    pub fn add(
        &mut self,
        component: usize,
        value: Vector<F, N>,
        column: u32,
        last: Vector<F, N>,
        #[comptime] spec: Spec,
    ) {
        let count = self.column_counts[component];
        let at = component * COLUMNS_ROOM + count;
        self.columns[at] = value;
        self.column_indices[at] = column;
        let small = any::<N>(below::<F, N>(value, last, comptime!(spec.unordered)));
        self.column_counts[component] = select(small, count + 1, count);
    }

    /// Lets the lanes look at the columns if no more of them may wait.
    pub fn make_room(
        &mut self,
        lists: &mut Lists<F, N>,
        component: usize,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) {
        if self.column_counts[component] > COLUMNS {
            self.collect(lists, component, spec, math);
        }
    }

    /// Adds the values of the columns to those of the lanes.
    pub fn collect(
        &mut self,
        lists: &mut Lists<F, N>,
        component: usize,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) {
        let last = comptime!((spec.depth() - 1) * spec.dim) + component;
        for column in 0..self.column_counts[component] {
            let at = component * COLUMNS_ROOM + column;
            let (value, index) = (self.columns[at], self.column_indices[at]);
            let small = below::<F, N>(value, lists.values[last], comptime!(spec.unordered));
            let counts = self.counts[component];
            // A value that is too large goes to the place of the next one. If it stays there, the insertion
            // leaves it out.
            #[unroll]
            for lane in 0..N::value() {
                let place = component * ROOM + usize::cast_from(counts.extract(lane));
                let mut values = self.values[place];
                values.insert(lane, value.extract(lane));
                self.values[place] = values;
                let mut indices = self.indices[place];
                indices.insert(lane, index);
                self.indices[place] = indices;
            }
            let counts = counts + Vector::cast_from(small);
            self.counts[component] = counts;
            if any::<N>(counts.equal(&Vector::new(comptime!(ROOM as u32)))) {
                self.insert_all(lists, component, spec, math);
            }
        }
        self.column_counts[component] = 0usize;
    }

    /// Inserts the values of the lanes into the list of `component`.
    pub fn insert_all(
        &mut self,
        lists: &mut Lists<F, N>,
        component: usize,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) {
        let counts = self.counts[component];
        self.counts[component] = Vector::new(0u32);
        let mut most = 0u32.runtime();
        #[unroll]
        for lane in 0..N::value() {
            most = max(most, counts.extract(lane));
        }
        for place in 0..usize::cast_from(most) {
            let at = component * ROOM + place;
            lists.insert(component, self.values[at], self.indices[at], spec, math);
            self.values[at] = Vector::new(self.infinity);
            self.indices[at] = Vector::new(NO_INDEX);
        }
    }
}
