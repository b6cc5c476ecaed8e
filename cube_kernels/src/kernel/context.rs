//! What stays the same for all that a unit computes in one form of a formula.

use std::marker::PhantomData;

use cubecl::prelude::*;

use super::{
    evaluate::{One, run_stage},
    operands::{Address, position, position_of_pair},
};
use crate::{
    math::widen,
    plan::Blueprint,
    program::{Program, Source, Space, UNROLL},
};

/// The `q` columns from `column` on, which are staged from `staged` on.
#[derive(CubeType)]
pub struct Columns {
    pub column: usize,
    pub staged: usize,
    #[cube(comptime)]
    pub q: usize,
}

/// The operands of a batch, and what is known of them at compile time.
///
/// It is made once, and borrowed by all that evaluates. Never `let mut`: CubeCL would make a variable of each number.
#[derive(CubeType)]
pub struct Context<'a, E: Float, F: Float> {
    pub tensors: &'a Sequence<Box<[E]>>,
    scalars: &'a Sequence<InputScalar>,
    /// Where ranges stand, if pairs are in ranges, and the indices of what comes in another order.
    pub lists: &'a Sequence<Box<[u32]>>,
    pub address: &'a Address,
    /// Rows of the operands.
    pub rows: usize,
    #[cube(comptime)]
    pub program: Program,
    #[cube(comptime)]
    pub blueprint: Blueprint,
    #[cube(comptime)]
    computed: PhantomData<F>,
}

#[cube]
impl<'a, E: Float, F: Float> Context<'a, E, F> {
    pub fn new(
        tensors: &'a Sequence<Box<[E]>>,
        lists: &'a Sequence<Box<[u32]>>,
        scalars: &'a Sequence<InputScalar>,
        address: &'a Address,
        rows: usize,
        #[comptime] program: Program,
        #[comptime] blueprint: Blueprint,
    ) -> Context<'a, E, F> {
        Context::<'a, E, F> {
            tensors,
            scalars,
            lists,
            address,
            rows,
            program,
            blueprint,
            computed: comptime!(PhantomData),
        }
    }

    /// The same for another program.
    pub fn with_program(&self, #[comptime] program: Program) -> Context<'a, E, F> {
        Context::<'a, E, F> {
            tensors: self.tensors,
            scalars: self.scalars,
            lists: self.lists,
            address: self.address,
            rows: self.rows,
            program,
            blueprint: comptime!(self.blueprint.clone()),
            computed: comptime!(PhantomData),
        }
    }

    /// One component of a row of a tensor.
    pub fn read(&self, row: usize, component: usize, #[comptime] tensor: usize) -> F {
        let stored = comptime!(self.blueprint.stored);
        let at = position(
            self.address,
            row,
            component,
            tensor,
            comptime!(self.blueprint.clone()),
        );
        widen::<E, F>(self.tensors.index(tensor)[at], stored)
    }

    /// One component of a pair of a tensor of pairs. Lanes beyond the last row repeat it.
    pub fn read_pair(
        &self,
        row: usize,
        column: usize,
        component: usize,
        #[comptime] tensor: usize,
    ) -> F {
        let stored = comptime!(self.blueprint.stored);
        let at = position_of_pair(
            self.address,
            min(row, self.rows - 1),
            column,
            component,
            tensor,
            comptime!(self.blueprint.clone()),
        );
        widen::<E, F>(self.tensors.index(tensor)[at], stored)
    }

    /// Fills the slots of `stage` that are copies, each lane from one row; those from `stop` on repeat the last one.
    fn load_stage<N: Size>(
        &self,
        slots: &mut [Vector<F, N>],
        row: usize,
        stop: usize,
        #[comptime] stage: Space,
    ) {
        let loads = comptime!(self.blueprint.schedule.loads(&self.program, stage));
        #[unroll]
        for e in 0..loads.len() {
            let load = comptime!(loads[e]);
            match load.source {
                Source::Scalar(scalar) => {
                    let value = self.scalars.index(scalar).get::<F>();
                    slots[load.slot] = Vector::new(value);
                }
                Source::Index => {
                    let mut value = Vector::<F, N>::empty();
                    #[unroll]
                    for lane in 0..N::value() {
                        value.insert(lane, F::cast_from(row + lane));
                    }
                    slots[load.slot] = value;
                }
                Source::Tensor(tensor) =>
                {
                    #[unroll(load.len <= UNROLL)]
                    for k in 0..load.len {
                        let mut value = Vector::<F, N>::empty();
                        #[unroll]
                        for lane in 0..N::value() {
                            let row = min(row + lane, stop - 1);
                            let component = self.read(row, load.offset + k, tensor);
                            value.insert(lane, component);
                        }
                        slots[load.slot + k] = value;
                    }
                }
            }
        }
    }

    /// Fills all slots of `stage`, each lane from one row: those that are copies and those that follow from them. Lanes
    /// from `stop` on repeat the row before.
    pub fn fill_stage<N: Size>(
        &self,
        slots: &mut [Vector<F, N>],
        uniform: &[One<F>],
        row: usize,
        stop: usize,
        #[comptime] stage: Space,
    ) {
        self.load_stage::<N>(slots, row, stop, stage);
        run_stage::<F, N>(
            slots,
            uniform,
            stage,
            comptime!(&self.program),
            comptime!(self.blueprint.math),
        );
    }

    /// What follows from the parameters.
    pub fn uniform_slots(&self) -> Array<One<F>> {
        let mut uniform = Array::<One<F>>::new(comptime!(self.program.uniform.slots.max(1)));
        let nothing = Array::<One<F>>::new(1usize);
        self.fill_stage::<Const<1>>(
            uniform.as_mut_slice(),
            nothing.as_slice(),
            0usize,
            1usize,
            comptime!(Space::Uniform),
        );
        uniform
    }

    /// Writes the staged slots of the columns `start .. stop` to the tile, every `step`-th from `offset`.
    pub fn stage_columns(
        &self,
        tile: &mut [One<F>],
        uniform: &[One<F>],
        start: usize,
        stop: usize,
        offset: usize,
        step: usize,
    ) {
        for column in range_stepped(start + offset, stop, step) {
            self.stage_column(tile, uniform, column, column - start);
        }
    }

    /// Writes the staged slots of `column` to place `at` of the tile.
    pub fn stage_column(&self, tile: &mut [One<F>], uniform: &[One<F>], column: usize, at: usize) {
        let ranges = comptime!(self.blueprint.schedule.staged_ranges(&self.program));
        let strides = comptime!(self.blueprint.schedule.tile_strides(&self.program));
        let mut own = Array::<One<F>>::new(comptime!(self.program.column.slots));
        self.fill_stage::<Const<1>>(
            own.as_mut_slice(),
            uniform,
            column,
            column + 1,
            comptime!(Space::Column),
        );
        let at = at * strides.column;
        #[unroll]
        for e in 0..ranges.len() {
            let range = comptime!(ranges[e]);
            #[unroll(range.len <= UNROLL)]
            for k in 0..range.len {
                tile[at + (range.place + k) * strides.slot] = own[range.slot + k];
            }
        }
    }
}
