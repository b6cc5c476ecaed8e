//! Cuts a reduction into rows and columns, runs them, and puts the results together.

use std::ops::Range;

use super::{
    HostLaunch, HostOutput, HostPart, HostTensor, HostValues,
    arithmetic::Tile,
    evaluate::{Frame, Given, Machine, Sink},
    reductions::{HostReduction, Room, Rules, Taken},
    tensor::Rows,
};
use crate::{
    math::{Precision, lane::Real},
    program::{Source, Space},
    reduction::{NO_INDEX, ReductionKind, Wanted, for_each_reduction},
};

/// Columns of a tile.
const WIDTH: usize = 256;

/// Values of a tile, in all of its rows: with a few of them the first cache is full.
const TILE: usize = 1024;

/// The most rows that share what follows from columns.
const ROWS: usize = 128;

/// Pieces of work that are enough for any number of threads.
const PIECES: usize = 64;

/// The fewest pairs that are worth a piece of their own.
const PAIRS: usize = 1 << 15;

/// Numbers of the states of the rows that are reduced together, as far as that leaves rows.
const STATES: usize = 1 << 14;

/// Pairs from which on threads are worth it.
#[cfg(feature = "rayon")]
const PARALLEL: usize = 1 << 17;

/// Something to do with a reduction, whatever its family.
trait WithFamily {
    type Output;

    fn run<R: HostReduction + Sync>(self, family: R) -> Self::Output;
}

macro_rules! define_with_family {
    ($(
        $(#[$doc:meta])*
        $kind:ident $(($field:ident: $type:ty))? $({ $(#[$note:meta])* $name:ident: $own:ty })?
            => $family:ident $value:tt; $examples:tt,
    )*) => {
        fn with_family<W: WithFamily>(kind: ReductionKind, work: W) -> W::Output {
            match kind {
                $(
                    ReductionKind::$kind $(($field))? $({ $name })? => {
                        work.run(crate::reduction::$family $value)
                    }
                )*
            }
        }
    };
}

for_each_reduction!(define_with_family);

/// Reduces `columns`.
pub fn run(
    launch: &HostLaunch,
    tensors: &[HostTensor],
    scalars: &[f64],
    wanted: Wanted,
    columns: Range<usize>,
) -> HostOutput {
    if columns.is_empty() {
        return nothing(launch, wanted);
    }
    let job = Job {
        launch,
        tensors,
        scalars,
        wanted,
        columns,
    };
    let results = with_family(launch.reduction, Results(job));
    output(launch, wanted, results)
}

/// The same as a partial result.
pub fn run_part(
    launch: &HostLaunch,
    tensors: &[HostTensor],
    scalars: &[f64],
    wanted: Wanted,
    columns: Range<usize>,
) -> HostPart {
    let job = Job {
        launch,
        tensors,
        scalars,
        wanted,
        columns,
    };
    with_family(launch.reduction, Part(job))
}

/// Merges parts into results.
pub fn merge(launch: &HostLaunch, parts: &[HostPart], wanted: Wanted) -> HostOutput {
    let merging = Merging {
        launch,
        parts,
        wanted,
    };
    let results = with_family(launch.reduction, MergedResults(merging));
    output(launch, wanted, vec![results])
}

/// Merges parts into one.
pub fn merge_parts(launch: &HostLaunch, parts: &[HostPart], wanted: Wanted) -> HostPart {
    let merging = Merging {
        launch,
        parts,
        wanted,
    };
    with_family(launch.reduction, MergedPart(merging))
}

/// What is given without columns.
fn nothing(launch: &HostLaunch, wanted: Wanted) -> HostOutput {
    let spec = launch.spec(wanted);
    let len = launch.all_rows() * spec.entries();
    let state = vec![0.0; launch.all_rows() * spec.state_size()];
    HostOutput {
        values: wanted
            .values
            .then(|| HostValues::new(&vec![spec.empty(); len], launch.values)),
        indices: wanted.indices.then(|| vec![spec.empty_index(); len]),
        // No sum is relative to anything.
        state: wanted
            .state
            .then(|| HostValues::new(&state, launch.precision.computed())),
    }
}

/// The results of some rows.
#[derive(Default)]
struct Found {
    values: Vec<f64>,
    indices: Vec<i64>,
    state: Vec<f64>,
}

impl Found {
    fn of<R: HostReduction>(family: &R, state: &R::State, rows: usize, rules: &Rules) -> Self {
        let (spec, wanted) = (&rules.spec, rules.spec.wanted);
        let entries = spec.entries();
        let mut found = Self::default();
        for row in 0..rows {
            if wanted.values {
                let values = (0..entries).map(|at| family.result(state, row, at, rules));
                found.values.extend(values);
            }
            if wanted.indices {
                let indices = (0..entries).map(|at| match family.index(state, row, at, rules) {
                    NO_INDEX => -1,
                    index => index.into(),
                });
                found.indices.extend(indices);
            }
            if wanted.state {
                for plane in 0..spec.state_planes() {
                    let size = spec.plane_size(plane);
                    let save = |at| family.save(state, row, (plane, at), rules);
                    let values = (0..size).map(save);
                    found.state.extend(values);
                }
            }
        }
        found
    }
}

fn output(launch: &HostLaunch, wanted: Wanted, found: Vec<Found>) -> HostOutput {
    let all = |read: fn(&Found) -> &Vec<f64>| -> Vec<f64> {
        found.iter().flat_map(|f| read(f).iter().copied()).collect()
    };
    let indices = || found.iter().flat_map(|f| f.indices.iter().copied());
    let computed = launch.precision.computed();
    HostOutput {
        values: wanted
            .values
            .then(|| HostValues::new(&all(|f| &f.values), launch.values)),
        indices: wanted.indices.then(|| indices().collect()),
        state: wanted
            .state
            .then(|| HostValues::new(&all(|f| &f.state), computed)),
    }
}

fn part<R: HostReduction>(family: &R, state: &R::State, rows: usize, rules: &Rules) -> HostPart {
    let spec = &rules.spec;
    let mut part = HostPart {
        values: Vec::new(),
        indices: Vec::new(),
    };
    for row in 0..rows {
        for plane in 0..spec.planes().len() {
            let save = |at| family.save(state, row, (plane, at), rules);
            part.values.extend((0..spec.plane_size(plane)).map(save));
        }
        if spec.keeps_indices() {
            let indices = (0..spec.entries()).map(|at| family.index(state, row, at, rules));
            part.indices.extend(indices);
        }
    }
    part
}

fn rules(launch: &HostLaunch, wanted: Wanted) -> Rules {
    Rules {
        instructions: launch.instructions,
        spec: launch.spec(wanted),
        largest: match launch.precision {
            Precision::F64 => f64::MAX,
            _ => f32::MAX.into(),
        },
    }
}

/// Parts to merge.
struct Merging<'a> {
    launch: &'a HostLaunch<'a>,
    parts: &'a [HostPart],
    wanted: Wanted,
}

impl Merging<'_> {
    /// The state of all rows.
    fn state<R: HostReduction>(&self, family: &R, rules: &Rules) -> R::State {
        let mut parts = self.parts.iter().map(|part| self.load(family, part, rules));
        let mut own = parts.next().expect("there are parts");
        for later in parts {
            family.merge(&mut own, &later, rules);
        }
        own
    }

    fn load<R: HostReduction>(&self, family: &R, part: &HostPart, rules: &Rules) -> R::State {
        let (spec, rows) = (&rules.spec, self.launch.all_rows());
        let mut state = family.start(rules, rows);
        let (mut values, mut indices) = (part.values.iter(), part.indices.iter());
        for row in 0..rows {
            for plane in 0..spec.planes().len() {
                for at in 0..spec.plane_size(plane) {
                    let value = values.next().expect("the size was checked");
                    family.load(&mut state, row, (plane, at), *value, rules);
                }
            }
            if spec.keeps_indices() {
                for at in 0..spec.entries() {
                    let index = indices.next().expect("the size was checked");
                    family.load_index(&mut state, row, at, *index, rules);
                }
            }
        }
        state
    }
}

struct MergedResults<'a>(Merging<'a>);

impl WithFamily for MergedResults<'_> {
    type Output = Found;

    fn run<R: HostReduction + Sync>(self, family: R) -> Found {
        let rules = rules(self.0.launch, self.0.wanted);
        let state = self.0.state(&family, &rules);
        Found::of(&family, &state, self.0.launch.all_rows(), &rules)
    }
}

struct MergedPart<'a>(Merging<'a>);

impl WithFamily for MergedPart<'_> {
    type Output = HostPart;

    fn run<R: HostReduction + Sync>(self, family: R) -> HostPart {
        let rules = rules(self.0.launch, self.0.wanted);
        let state = self.0.state(&family, &rules);
        part(&family, &state, self.0.launch.all_rows(), &rules)
    }
}

/// A reduction with its operands.
struct Job<'a> {
    launch: &'a HostLaunch<'a>,
    tensors: &'a [HostTensor<'a>],
    scalars: &'a [f64],
    wanted: Wanted,
    columns: Range<usize>,
}

struct Results<'a>(Job<'a>);

impl WithFamily for Results<'_> {
    type Output = Vec<Found>;

    fn run<R: HostReduction + Sync>(self, family: R) -> Vec<Found> {
        let found = |state: &R::State, rows, rules: &Rules| Found::of(&family, state, rows, rules);
        self.0.run(&family, found)
    }
}

struct Part<'a>(Job<'a>);

impl WithFamily for Part<'_> {
    type Output = HostPart;

    fn run<R: HostReduction + Sync>(self, family: R) -> HostPart {
        let part = |state: &R::State, rows, rules: &Rules| part(&family, state, rows, rules);
        let parts = self.0.run(&family, part);
        let mut all = HostPart {
            values: Vec::new(),
            indices: Vec::new(),
        };
        for part in parts {
            all.values.extend(part.values);
            all.indices.extend(part.indices);
        }
        all
    }
}

/// Rows and columns of one batch.
#[derive(Clone, Debug)]
struct Piece {
    batch: usize,
    /// Rows of the output.
    rows: Range<usize>,
    /// Which of the rows that are added up to one.
    steps: Range<usize>,
    columns: Range<usize>,
}

/// The part `k` of `parts` of a range, where parts are multiples of `unit` long, but for the last.
fn share(range: &Range<usize>, k: usize, parts: usize, unit: usize) -> Range<usize> {
    let each = range.len().div_ceil(parts).next_multiple_of(unit);
    let at = |k: usize| (range.start + k * each).min(range.end);
    at(k)..at(k + 1)
}

impl Job<'_> {
    /// Makes results of states, each of as many rows as it says.
    fn run<R: HostReduction + Sync, O: Send>(
        &self,
        family: &R,
        finish: impl Fn(&R::State, usize, &Rules) -> O + Sync,
    ) -> Vec<O> {
        match self.launch.precision.computed() {
            Precision::F64 => self.run_in::<R, f64, O>(family, finish),
            _ => self.run_in::<R, f32, O>(family, finish),
        }
    }

    fn run_in<R: HostReduction + Sync, T: Real, O: Send>(
        &self,
        family: &R,
        finish: impl Fn(&R::State, usize, &Rules) -> O + Sync,
    ) -> Vec<O> {
        let rules = rules(self.launch, self.wanted);
        let (pieces, parts) = self.pieces(&rules);
        let state = |piece: &Piece| self.reduce::<R, T>(family, &rules, piece);
        if parts == 1 {
            let finish = |piece: &Piece| finish(&state(piece), piece.rows.len(), &rules);
            return self.map(&pieces, finish);
        }
        let mut states = self.map(&pieces, state).into_iter();
        let finish = |pieces: &[Piece]| {
            let mut own = states.next().expect("a state for each piece");
            for later in states.by_ref().take(pieces.len() - 1) {
                family.merge(&mut own, &later, &rules);
            }
            finish(&own, pieces[0].rows.len(), &rules)
        };
        pieces.chunks(parts).map(finish).collect()
    }

    /// How often the rows of the output are gone through.
    fn steps(&self) -> usize {
        match self.launch.fold {
            Some(fold) => self.launch.rows.div_ceil(fold.max(1)),
            None => 1,
        }
    }

    /// The work in pieces, and how many consecutive ones have the same rows.
    fn pieces(&self, rules: &Rules) -> (Vec<Piece>, usize) {
        let launch = self.launch;
        let (rows, steps) = (launch.out_rows(), self.steps());
        let batches: usize = launch.batch_shape.iter().product();
        let spec = &rules.spec;
        let each = spec.partial_values().max(spec.entries()).max(1);
        let pairs_of_row = self.columns.len().max(1).saturating_mul(steps.max(1));
        let few = (rows * batches)
            .div_ceil(PIECES)
            .max(PAIRS.div_ceil(pairs_of_row))
            .clamp(8, ROWS);
        let chunk = few.min((STATES / each).max(4));
        let chunks = rows.div_ceil(chunk);
        // Where there are few rows, columns are split, too, or what is added up to a row.
        let left = PIECES / (chunks * batches).max(1);
        let of_steps = steps.min(left).max(1);
        let tiles = self.columns.len() / (16 * WIDTH);
        let of_columns = tiles.min(left / of_steps).max(1);
        let mut pieces = Vec::new();
        for batch in 0..batches {
            for k in 0..chunks {
                for step in 0..of_steps {
                    for part in 0..of_columns {
                        pieces.push(Piece {
                            batch,
                            rows: k * chunk..rows.min((k + 1) * chunk),
                            steps: share(&(0..steps), step, of_steps, 1),
                            columns: share(&self.columns, part, of_columns, WIDTH),
                        });
                    }
                }
            }
        }
        (pieces, of_steps * of_columns)
    }

    /// `each` of all pieces, by several threads where it is worth it.
    fn map<O: Send>(&self, pieces: &[Piece], each: impl Fn(&Piece) -> O + Sync) -> Vec<O> {
        #[cfg(feature = "rayon")]
        {
            use rayon::prelude::*;

            let pairs = |piece: &Piece| piece.rows.len() * piece.columns.len() * piece.steps.len();
            let pairs = pieces.iter().map(pairs).fold(0, usize::saturating_add);
            let work = self.launch.program.program.pair_work().max(1);
            let worth = pairs.saturating_mul(work) / 8 > PARALLEL;
            if worth && pieces.len() > 1 && !cfg!(target_family = "wasm") {
                return pieces.par_iter().map(each).collect();
            }
        }
        pieces.iter().map(each).collect()
    }

    /// The state of the rows of a piece.
    fn reduce<R: HostReduction, T: Real>(
        &self,
        family: &R,
        rules: &Rules,
        piece: &Piece,
    ) -> R::State {
        let mut state = family.start(rules, piece.rows.len());
        let mut worker = Worker::<T>::new(self, piece.batch, rules);
        let out_rows = self.launch.out_rows();
        for step in piece.steps.clone() {
            let first = step * out_rows + piece.rows.start;
            let end = (first + piece.rows.len()).min(self.launch.rows);
            if first >= end {
                continue;
            }
            let rows = end - first;
            worker.fill_rows(first, rows);
            let mut column = piece.columns.start;
            while column < piece.columns.end {
                let width = WIDTH.min(piece.columns.end - column);
                worker.fill_columns(column, width);
                let height = (TILE / width).clamp(1, rows);
                for start in (0..rows).step_by(height) {
                    let own = height.min(rows - start);
                    worker.pairs(family, &mut state, start..start + own);
                }
                column += width;
            }
        }
        state
    }
}

/// Slots of a stage, one behind the other, for some lanes.
#[derive(Default)]
struct Slots<T> {
    values: Vec<T>,
    /// The index of the first lane, and how many there are.
    first: usize,
    lanes: usize,
}

/// What a thread needs for a piece.
struct Worker<'a, T> {
    job: &'a Job<'a>,
    rules: &'a Rules,
    tensors: Vec<Rows<'a>>,
    machine: Machine<T>,
    uniform: Slots<T>,
    rows: Slots<T>,
    columns: Slots<T>,
    rooms: Vec<Room<T>>,
}

impl<'a, T: Real> Worker<'a, T> {
    fn new(job: &'a Job<'a>, batch: usize, rules: &'a Rules) -> Self {
        let mut rest = batch;
        let mut at = vec![0; job.launch.batch_shape.len()];
        for (at, size) in at.iter_mut().zip(job.launch.batch_shape).rev() {
            *at = rest % size;
            rest /= size;
        }
        let spaces = &job.launch.program.program.tensors;
        let tensors = job.tensors.iter().zip(spaces);
        let mut worker = Self {
            job,
            rules,
            tensors: tensors
                .map(|(tensor, space)| Rows::new(tensor, *space, &at))
                .collect(),
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

    fn fill_rows(&mut self, first: usize, rows: usize) {
        let mut own = std::mem::take(&mut self.rows);
        let uniform = std::mem::take(&mut self.uniform);
        self.fill(Space::Row, &mut own, &uniform, first..first + rows);
        (self.rows, self.uniform) = (own, uniform);
    }

    fn fill_columns(&mut self, first: usize, columns: usize) {
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
        };
        self.machine.fill(program.tape(space), &mut frame);
    }

    /// Takes in the pairs of the columns at hand with some of the rows at hand.
    fn pairs<R: HostReduction>(&mut self, family: &R, state: &mut R::State, rows: Range<usize>) {
        let width = self.columns.lanes;
        let (start, height) = (rows.start, rows.len());
        if self.rooms.len() < height {
            self.rooms.resize_with(height, Room::new);
        }
        for room in &mut self.rooms[..height] {
            room.prepare(family.kept(), width);
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

/// Rows that take in pairs.
struct Taking<'a, R: HostReduction, T> {
    family: &'a R,
    state: &'a mut R::State,
    /// The first row of the tile among those of the state.
    first: usize,
    rooms: &'a mut [Room<T>],
    rules: &'a Rules,
    column: usize,
    width: usize,
}

impl<R: HostReduction, T: Real> Sink<T> for Taking<'_, R, T> {
    fn take(&mut self, index: usize, given: Given<Tile<T>>) {
        let taken = Taken {
            index,
            column: self.column,
            len: self.width,
            given,
        };
        let (state, rooms) = (&mut *self.state, &mut *self.rooms);
        self.family
            .step_rows(state, self.first, rooms, taken, self.rules);
    }
}
