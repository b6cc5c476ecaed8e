//! The context of a unit: operands, sizes and compile-time parameters that stay the same while it evaluates one
//! form of a formula.

use std::marker::PhantomData;

use cubecl::prelude::*;

use super::{
    evaluate::{One, run_stage},
    operands::{Address, Operands, position, position_of_pair},
};
use crate::{
    math::widen,
    plan::Blueprint,
    program::{Program, Source, Space, UNROLL},
};

/// The `q` consecutive columns from `column` on. They are in the tile from place `staged` on, if they are staged.
#[derive(CubeType)]
pub struct Columns {
    pub column: usize,
    pub staged: usize,
    #[cube(comptime)]
    pub q: usize,
}

/// The operands of one batch, with the program and the blueprint, which are known at compile time.
///
/// It is made once, and the functions that evaluate the formula borrow it. Do not bind it by `let mut`: CubeCL
/// would turn each number into a variable.
#[derive(CubeType)]
pub struct Context<'a, E: Float, F: Float> {
    pub tensors: &'a Sequence<Box<[E]>>,
    scalars: &'a Sequence<InputScalar>,
    /// The buffers of ranges: the tasks with their ranges, then the indices of columns, the limits of rows and the
    /// indices of rows. A kernel has only the buffers that it needs.
    pub lists: &'a Sequence<Box<[u32]>>,
    pub address: &'a Address,
    /// The end of the rows that are read: of all rows of the operands, or of the rows of the task if pairs are in
    /// ranges.
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
        operands: &'a Operands<'_, E>,
        address: &'a Address,
        rows: usize,
        #[comptime] program: Program,
        #[comptime] blueprint: Blueprint,
    ) -> Context<'a, E, F> {
        Context::<'a, E, F> {
            tensors: operands.tensors,
            scalars: operands.scalars,
            lists: operands.lists,
            address,
            rows,
            program,
            blueprint,
            computed: comptime!(PhantomData),
        }
    }

    /// The same context with another program.
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

    /// One component of a pair, from a tensor that has a value for each pair. Beyond the last row, the last row is
    /// read.
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

    /// Fills the slots of `stage` that are copies of operands, each lane from one row. Lanes whose row would be
    /// `stop` or beyond read row `stop - 1` of a tensor.
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

    /// Fills all slots of `stage`, each lane from one row: first the copies of operands, then the computed slots.
    /// Lanes whose row would be `stop` or beyond read row `stop - 1` of a tensor.
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

    /// The uniform slots: the values that depend on the parameters only.
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

    /// Writes the staged slots of columns of the block `start .. stop` to the tile: of every `step`-th column, from
    /// column `start + offset` on.
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
