//! Results and partial results of a unit, and where they are written.

use cubecl::prelude::*;

use super::weighted::WeightedSums;
use crate::{
    math::{Precision, narrow},
    plan::Blueprint,
    reduction::Reduction,
};

/// Value `at` of `plane` of the partial result.
#[cube]
pub fn saved<F: Float, A: Float, N: Size, R: Reduction<F, A, N>>(
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
pub fn value<F: Float, A: Float, N: Size, R: Reduction<F, A, N>>(
    state: &R::State,
    weighted: &ComptimeOption<WeightedSums<F, A, N>>,
    at: usize,
    infinity: F,
    #[comptime] blueprint: Blueprint,
) -> Vector<A, N> {
    #[comptime]
    match weighted {
        ComptimeOption::None => R::value(state, at, comptime!(blueprint.rule(blueprint.total()))),
        ComptimeOption::Some(_) => {
            // The state of a single component, as in a merge of parts: the values that all components share, and
            // its sum.
            let single = comptime!(blueprint.spec.single());
            let rule = comptime!(blueprint.rule(single));
            let mut own = R::init(0u32, infinity, rule);
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
            R::value(&own, 0usize, rule)
        }
    }
}

/// The rows of the output to which the results of a unit go.
#[derive(CubeType)]
pub struct Target<'a> {
    /// The unit's first row, counted within its batch and part.
    pub row: usize,
    /// The unit's first row, counted among the rows of all batches and parts. If rows come in another order, the
    /// first of all rows of its batch and part instead.
    pub first: usize,
    /// The end of the unit's rows, counted within its batch and part.
    pub rows: usize,
    /// The buffers of ranges. If rows come in another order, the last one has their indices.
    pub lists: &'a Sequence<Box<[u32]>>,
}

#[cube]
impl<'a> Target<'a> {
    pub fn new(
        row: usize,
        first: usize,
        rows: usize,
        lists: &'a Sequence<Box<[u32]>>,
    ) -> Target<'a> {
        Target::<'a> {
            row,
            first,
            rows,
            lists,
        }
    }

    /// The row of the output, among those of all batches and parts, of a lane. The row of the lane must exist.
    pub fn place(&self, lane: usize, #[comptime] blueprint: &Blueprint) -> usize {
        if comptime!(blueprint.unordered_rows) {
            let indices = self.lists.index(comptime!(blueprint.indices_of_rows()));
            self.first + usize::cast_from(indices[self.row + lane])
        } else {
            self.first + lane
        }
    }
}

/// Writes one value for each lane whose row exists, to `out[row * stride + offset]`. Here `row` is counted among
/// the rows of all batches and parts.
#[cube]
pub fn write<A: Float, O: Float, N: Size>(
    out: &mut Box<[O]>,
    value: Vector<A, N>,
    target: &Target<'_>,
    offset: usize,
    #[comptime] stride: usize,
    #[comptime] stored: Precision,
    #[comptime] blueprint: &Blueprint,
) {
    #[unroll]
    for lane in 0..N::value() {
        if target.row + lane < target.rows {
            out[target.place(lane, blueprint) * stride + offset] =
                narrow::<A, O>(value.extract(lane), stored);
        }
    }
}
