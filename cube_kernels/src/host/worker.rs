//! What a thread does for a piece of a reduction: it evaluates the formula on tiles and hands the values to the
//! reduction.

use std::ops::Range;

use super::{
    arithmetic::Tile,
    engine::Job,
    evaluate::{Frame, Given, Machine, Sink},
    reductions::{HostReduction, Room, Rules, Taken, TileStep},
    tensor::Rows,
};
use crate::{
    math::lane::Real,
    program::{Source, Space},
};

/// Slots of a stage for some lanes. Slots are stored one after the other, each with a value for every lane.
#[derive(Default)]
struct Slots<T> {
    values: Vec<T>,
    /// The index of the first lane, and the number of lanes.
    first: usize,
    lanes: usize,
}

/// What a thread needs to compute a piece.
pub struct Worker<'a, T> {
    job: &'a Job<'a>,
    rules: &'a Rules<'a>,
    tensors: Vec<Rows<'a>>,
    machine: Machine<T>,
    uniform: Slots<T>,
    rows: Slots<T>,
    columns: Slots<T>,
    rooms: Vec<Room<T>>,
}

impl<'a, T: Real> Worker<'a, T> {
    pub fn new(job: &'a Job<'a>, batch: usize, rules: &'a Rules) -> Self {
        let mut rest = batch;
        let mut at = vec![0; job.launch.batch_shape.len()];
        for (at, size) in at.iter_mut().zip(job.launch.batch_shape).rev() {
            *at = rest % size;
            rest /= size;
        }
        let program = &job.launch.program.program;
        let tensors = job.tensors.iter().zip(&program.tensors);
        let tensors = tensors.map(|(tensor, space)| {
            let rows = Rows::new(tensor, *space, &at);
            match space {
                Space::Pair if program.columns_first => rows.columns_first(),
                _ => rows,
            }
        });
        let mut worker = Self {
            job,
            rules,
            tensors: tensors.collect(),
            machine: Machine::new(job.launch.instructions),
            uniform: Slots::default(),
            rows: Slots::default(),
            columns: Slots::default(),
            rooms: Vec::new(),
        };
        let nothing = Slots::default();
        let mut uniform = std::mem::take(&mut worker.uniform);
        worker.fill(Space::Uniform, &mut uniform, &nothing, 0..1);
        worker.uniform = uniform;
        worker
    }

    pub fn fill_rows(&mut self, first: usize, rows: usize) {
        let mut own = std::mem::take(&mut self.rows);
        let uniform = std::mem::take(&mut self.uniform);
        self.fill(Space::Row, &mut own, &uniform, first..first + rows);
        (self.rows, self.uniform) = (own, uniform);
    }

    pub fn fill_columns(&mut self, first: usize, columns: usize) {
        let mut own = std::mem::take(&mut self.columns);
        let uniform = std::mem::take(&mut self.uniform);
        self.fill(Space::Column, &mut own, &uniform, first..first + columns);
        (self.columns, self.uniform) = (own, uniform);
    }

    /// Fills the slots of a stage for some lanes.
    fn fill(
        &mut self,
        space: Space,
        slots: &mut Slots<T>,
        uniform: &Slots<T>,
        lanes: Range<usize>,
    ) {
        let program = self.job.launch.program;
        let stage = program.program.stage(space);
        let (first, width) = (lanes.start, lanes.len());
        (slots.first, slots.lanes) = (first, width);
        slots.values.resize(stage.slots * width, T::ZERO);
        for load in &stage.loads {
            for k in 0..load.len {
                let own = &mut slots.values[(load.slot + k) * width..][..width];
                match load.source {
                    Source::Tensor(tensor) => {
                        self.tensors[tensor].read(load.offset + k, first, own)
                    }
                    Source::Scalar(scalar) => own.fill(T::of(self.job.scalars[scalar])),
                    Source::Index => {
                        for (own, lane) in own.iter_mut().zip(first..) {
                            *own = T::of(lane as f64);
                        }
                    }
                }
            }
        }
        let mut frame = Frame {
            lanes: &mut slots.values,
            rows: &[],
            stride: 0,
            start: 0,
            uniform: &uniform.values,
            width,
            height: 1,
            first: [0, first],
            tensors: &[],
        };
        self.machine.fill(program.tape(space), &mut frame);
    }

    /// Evaluates the pairs of some rows with all columns of the last [`fill_columns`](Self::fill_columns), and takes
    /// them into the state. Rows count from the first one of the last [`fill_rows`](Self::fill_rows).
    pub fn pairs<R: HostReduction>(
        &mut self,
        family: &R,
        state: &mut R::State,
        rows: Range<usize>,
    ) {
        let width = self.columns.lanes;
        let (start, height) = (rows.start, rows.len());
        if self.rooms.len() < height {
            self.rooms.resize_with(height, Room::new);
        }
        if family.needs_room() {
            for room in &mut self.rooms[..height] {
                room.prepare(family.kept(), width);
            }
        }
        let frame = Frame {
            lanes: &mut self.columns.values,
            rows: &self.rows.values,
            stride: self.rows.lanes,
            start,
            uniform: &self.uniform.values,
            width,
            height,
            first: [self.rows.first + start, self.columns.first],
            tensors: &self.tensors,
        };
        let mut sink = Taking {
            family,
            state,
            first: start,
            rooms: &mut self.rooms[..height],
            rules: self.rules,
            column: self.columns.first,
            width,
        };
        let tape = self.job.launch.program.tape(Space::Pair);
        self.machine.pairs(tape, &frame, &mut sink);
    }
}

/// Hands the values of pairs to the states of their rows.
struct Taking<'a, R: HostReduction, T> {
    family: &'a R,
    state: &'a mut R::State,
    /// The position of the first row of the tile among the rows of the state.
    first: usize,
    rooms: &'a mut [Room<T>],
    rules: &'a Rules<'a>,
    column: usize,
    width: usize,
}

impl<R: HostReduction, T: Real> Sink<T> for Taking<'_, R, T> {
    fn take(&mut self, index: usize, given: Given<Tile<T>>) {
        let step = TileStep {
            first: self.first,
            rooms: self.rooms,
            taken: Taken {
                index,
                column: self.column,
                len: self.width,
                given,
            },
        };
        self.family.step_rows(self.state, step, self.rules);
    }
}
