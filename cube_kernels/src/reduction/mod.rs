//! Reductions as small state machines: one file each.
//!
//! A unit of a kernel holds one state for its rows, one row a lane. The same four steps serve the
//! loop over columns, the blocks of this loop and the merge of columns that were split over cubes.

mod sum;

use cubecl::prelude::*;
use serde::{Deserialize, Serialize};

pub use sum::Sum;

/// What is done with the values of a formula along the reduced axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReductionKind {
    /// The sum.
    Sum,
}

/// Binds a reduction to a floating point type and a number of lanes.
pub trait ReductionFamily: Send + Sync + 'static {
    /// The reduction for one type and number of lanes.
    type Reduction<F: Float, N: Size>: Reduction<F, N>;
}

/// The state machine of a reduction over `dim` outputs.
#[cube]
pub trait Reduction<F: Float, N: Size>: 'static {
    /// What is kept for the rows of a unit.
    type State: CubeType;

    /// The state before the first column.
    fn init(#[comptime] dim: usize) -> Self::State;

    /// Takes in output `index` of one column.
    fn step(state: &mut Self::State, index: usize, value: Vector<F, N>);

    /// Takes in the product of two values, fused where that is possible.
    fn step_product(
        state: &mut Self::State,
        index: usize,
        a: Vector<F, N>,
        b: Vector<F, N>,
        #[comptime] negated: bool,
    );

    /// Called after each block of columns.
    fn end_block(state: &mut Self::State, #[comptime] dim: usize);

    /// The result for output `index`; also what is written where columns are split over cubes.
    fn finish(state: &Self::State, index: usize) -> Vector<F, N>;

    /// Takes in the result of another part of the columns.
    fn merge(state: &mut Self::State, index: usize, part: Vector<F, N>);
}
