//! Sorted lists of values, and insertions into them.

use cubecl::prelude::*;

use crate::{
    math::{Math, any},
    program::{LOADED_COLUMNS, UNROLL},
    reduction::{
        NO_INDEX, Spec,
        accumulator::{Consecutive, Rule},
    },
};

/// Sorted lists, one for each component. Place `place` of `component` is entry `place * dim + component`.
#[derive(CubeType)]
pub struct Lists<F: Float, N: Size> {
    pub values: Array<Vector<F, N>>,
    pub indices: Array<Vector<u32, N>>,
}

/// Whether lists are short enough to be kept in registers.
pub fn in_registers(spec: Spec) -> bool {
    !spec.is_list()
}

/// Whether a value comes before one that the list holds: if it is less, or if it is equal and its column has a
/// lower index. If columns come in the order of their indices, all columns in the list have lower indices, so
/// that only values are compared. A place without a column holds infinity or a bound and no index. An equal value
/// does not take this place.
#[cube]
fn precedes<F: Float, N: Size>(
    value: Vector<F, N>,
    index: Vector<u32, N>,
    held: Vector<F, N>,
    held_index: Vector<u32, N>,
    #[comptime] spec: Spec,
) -> Vector<bool, N> {
    let less = value.less_than(&held);
    if comptime!(spec.unordered) {
        let lower = index.less_than(&held_index);
        let lower = lower.vec_and(held_index.not_equal(&Vector::new(NO_INDEX)));
        less.or(value.equal(&held).vec_and(lower))
    } else {
        less
    }
}

#[cube]
impl<F: Float, N: Size> Lists<F, N> {
    /// Empty lists: all places hold infinity and no index.
    pub fn new(infinity: F, #[comptime] spec: Spec) -> Lists<F, N> {
        let len = comptime!(spec.entries());
        let mut lists = Lists::<F, N> {
            values: Array::new(len),
            indices: Array::new(len),
        };
        #[unroll(len <= UNROLL)]
        for at in 0..len {
            lists.values[at] = Vector::new(infinity);
            lists.indices[at] = Vector::new(NO_INDEX);
        }
        lists
    }

    /// Inserts a value into the list of `component`, after the values that it equals. If columns are unordered, equal
    /// values are sorted by their indices.
    pub fn insert(
        &mut self,
        component: usize,
        value: Vector<F, N>,
        index: Vector<u32, N>,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) {
        if comptime!(math.simd() && !in_registers(spec)) {
            self.insert_from_end(component, value, index, spec);
        } else {
            // Compilers for GPUs need fewer registers for visiting all places.
            let dim = comptime!(spec.dim);
            let k = comptime!(spec.depth());
            let mut carried = value;
            let mut carried_index = index;
            #[unroll(in_registers(spec))]
            for place in 0..k {
                let at = place * dim + component;
                let (held, held_index) = (self.values[at], self.indices[at]);
                // The new value is compared, not the carried one, so that equal values move together.
                let moves = precedes::<F, N>(value, index, held, held_index, spec);
                self.values[at] = select_many(moves, carried, held);
                self.indices[at] = select_many(moves, carried_index, held_index);
                carried = select_many(moves, held, carried);
                carried_index = select_many(moves, held_index, carried_index);
            }
        }
    }

    /// The same by visiting places from the last one to the first, as long as values move.
    fn insert_from_end(
        &mut self,
        component: usize,
        value: Vector<F, N>,
        index: Vector<u32, N>,
        #[comptime] spec: Spec,
    ) {
        let dim = comptime!(spec.dim);
        let mut at = comptime!((spec.depth() - 1) * spec.dim) + component;
        let (mut held, mut held_index) = (self.values[at], self.indices[at]);
        let mut moves = precedes::<F, N>(value, index, held, held_index, spec);
        while at >= dim && any::<N>(moves) {
            let (before, before_index) = (self.values[at - dim], self.indices[at - dim]);
            let shifts = precedes::<F, N>(value, index, before, before_index, spec);
            let own = select_many(moves, value, held);
            let own_index = select_many(moves, index, held_index);
            self.values[at] = select_many(shifts, before, own);
            self.indices[at] = select_many(shifts, before_index, own_index);
            held = before;
            held_index = before_index;
            moves = shifts;
            at -= dim;
        }
        self.values[at] = select_many(moves, value, held);
        self.indices[at] = select_many(moves, index, held_index);
    }

    /// Inserts the value of a column if it is among the smallest values in any lane.
    pub fn insert_if_less(
        &mut self,
        component: usize,
        value: Vector<F, N>,
        column: u32,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) {
        let last = comptime!((spec.depth() - 1) * spec.dim) + component;
        if comptime!(spec.unordered) {
            let index = Vector::new(column);
            let (held, held_index) = (self.values[last], self.indices[last]);
            if any::<N>(precedes::<F, N>(value, index, held, held_index, spec)) {
                self.insert(component, value, index, spec, math);
            }
        } else if any::<N>(value.less_than(&self.values[last])) {
            self.insert(component, value, Vector::new(column), spec, math);
        }
    }

    /// Inserts those of several columns that are among the smallest values in any lane.
    pub fn insert_columns(
        &mut self,
        component: usize,
        columns: &Consecutive<'_>,
        values: &Sequence<Vector<F, N>>,
        #[comptime] rule: Rule,
    ) {
        let spec = comptime!(rule.spec);
        let math = comptime!(rule.math);
        let q = values.len();
        if comptime!(q > LOADED_COLUMNS) {
            // A loop, as unrolled insertions for so many columns would take long to compile.
            let mut together = Array::<Vector<F, N>>::new(q);
            #[unroll]
            for c in 0..q {
                together[c] = *values.index(c);
            }
            for c in 0..q {
                let column = columns.index(c as u32, spec);
                self.insert_if_less(component, together[c], column, spec, math);
            }
        } else {
            #[unroll]
            for c in 0..q {
                let column = columns.known_index(c, spec);
                self.insert_if_less(component, *values.index(c), column, spec, math);
            }
        }
    }
}
