//! Cuts a reduction into pieces of rows and columns, runs the pieces, and puts their results together.

use std::{ops::Range, sync::Arc};

use super::{
    HostLaunch, HostOutput, HostPart, HostTensor,
    reductions::{HostReduction, HostResults, NotOne, Rules},
    results::{
        Found, MergedPart, MergedResults, Merging, WithFamily, nothing, output, part, rules,
        with_family,
    },
    worker::Worker,
};
use crate::{
    math::{Precision, lane::Real},
    ranges::{Cut, Ranges, Runs, Tasks, Unit},
    reduction::Wanted,
};

/// The most columns of a tile.
const WIDTH: usize = 256;

/// The most values of a tile, in all of its rows together. A few tiles of this size already fill the first-level
/// cache, and the loop of an instruction over one takes long compared with starting the instruction.
const TILE: usize = 4096;

/// The fewest values of a tile, if there are enough rows.
const LEAST_TILE: usize = 1024;

/// Number of values of all tiles of a program together: about as many as fill the first-level cache.
const CACHE: usize = 1 << 14;

/// The most rows of a piece. They share the values that are computed for its columns.
const ROWS: usize = 128;

/// Number of pieces of work that is enough for any number of threads.
const PIECES: usize = 64;

/// The fewest pairs that are worth a piece of their own.
const PAIRS: usize = 1 << 15;

/// The most numbers that the states of all rows of a piece have together, unless fewer than 4 rows would be left.
const STATES: usize = 1 << 14;

/// Number of pairs, of eight operations each, from which on several threads are worth it.
#[cfg(feature = "rayon")]
const PARALLEL: usize = 1 << 17;

/// Logs one warning, at the first reduction of many pairs, that the crate is built without optimisations and therefore
/// slow.
#[cfg(unoptimized)]
fn warn(launch: &HostLaunch, columns: usize) {
    /// Number of pairs that take some tenths of a second without optimisations.
    const MANY: usize = 1 << 18;
    static WARNED: std::sync::Once = std::sync::Once::new();
    if launch.all_rows().saturating_mul(columns) > MANY {
        WARNED.call_once(|| {
            log::warn!(
                "burn-lazy-kernels is built without optimisations, so that reductions on the host take some hundred \
                 times as long; add to Cargo.toml: [profile.dev.package.burn-lazy-kernels] opt-level = 3"
            );
        });
    }
}

/// Reduces columns to results.
pub fn run(job: Job) -> HostOutput {
    let (launch, wanted) = (job.launch, job.wanted);
    if job.columns.is_empty() {
        return nothing(launch, wanted);
    }
    #[cfg(unoptimized)]
    warn(launch, job.columns.len());
    let results = with_family(launch.reduction, Results(job));
    output(launch, wanted, results)
}

/// The columns of each row at which the formula is not 1.
pub fn find(job: Job) -> Runs {
    if job.columns.is_empty() {
        return Runs::empty(job.launch.all_rows());
    }
    let found = job.run(&NotOne, |found, rows, _| found.runs(rows));
    Runs::one_behind_the_other(&found)
}

/// Reduces columns to a partial result.
pub fn run_part(job: Job) -> HostPart {
    with_family(job.launch.reduction, Part(job))
}

/// Merges partial results into results.
pub fn merge(launch: &HostLaunch, parts: &[HostPart], wanted: Wanted) -> HostOutput {
    let merging = Merging {
        launch,
        parts,
        wanted,
    };
    let results = with_family(launch.reduction, MergedResults(merging));
    output(launch, wanted, vec![results])
}

/// Merges partial results into one.
pub fn merge_parts(launch: &HostLaunch, parts: &[HostPart], wanted: Wanted) -> HostPart {
    let merging = Merging {
        launch,
        parts,
        wanted,
    };
    with_family(launch.reduction, MergedPart(merging))
}

/// A reduction with its operands, which have been checked, and the columns that are reduced.
pub struct Job<'a> {
    pub launch: &'a HostLaunch<'a>,
    pub tensors: &'a [HostTensor<'a>],
    pub scalars: &'a [f64],
    pub wanted: Wanted,
    pub columns: Range<usize>,
}

struct Results<'a>(Job<'a>);

impl WithFamily for Results<'_> {
    type Output = Vec<Found>;

    fn run<R: HostResults + Sync>(self, family: R) -> Vec<Found> {
        let found = |state: &R::State, rows, rules: &Rules| Found::of(&family, state, rows, rules);
        self.0.run(&family, found)
    }
}

struct Part<'a>(Job<'a>);

impl WithFamily for Part<'_> {
    type Output = HostPart;

    fn run<R: HostResults + Sync>(self, family: R) -> HostPart {
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

/// A piece of work: some rows of one batch, with some of their columns.
#[derive(Clone, Debug)]
struct Piece {
    batch: usize,
    /// Rows of the output.
    rows: Range<usize>,
    /// If rows are added up, which of the rows of the operands the piece adds to a row of the output, counted from 0.
    /// Otherwise `0..1`.
    steps: Range<usize>,
    share: Share,
}

/// The columns of a piece.
#[derive(Clone, Debug)]
enum Share {
    /// The same for all rows.
    Columns(Range<usize>),
    /// The columns of the tasks of some units. If `part` is given, only those of the tasks of this part.
    Units {
        units: Range<usize>,
        part: Option<usize>,
    },
}

/// The pieces of a reduction, in the order of their rows.
struct Work {
    pieces: Vec<Piece>,
    /// How many consecutive pieces have the same rows.
    parts: usize,
    /// The tasks that the pieces are made of, if there are ranges.
    tasks: Option<Arc<Tasks>>,
}

impl Work {
    /// Calls `take` for all pairs of a piece, with some rows and a range of their columns at a time. Rows are counted
    /// from the first row of the piece.
    fn each(&self, piece: &Piece, mut take: impl FnMut(Range<usize>, Range<usize>)) {
        match &piece.share {
            Share::Columns(columns) => take(0..piece.rows.len(), columns.clone()),
            Share::Units { units, part } => {
                let all = self.tasks.as_ref().expect("pieces are made of them");
                let units = &all.units[units.clone()];
                let tasks = units.iter().flat_map(|unit| &all.tasks[unit.tasks.clone()]);
                for task in tasks.filter(|task| part.is_none_or(|part| task.part == part)) {
                    let first = piece.rows.start;
                    let rows = task.rows.start - first..task.rows.end - first;
                    for own in &all.ranges[task.ranges.clone()] {
                        take(rows.clone(), own.range());
                    }
                }
            }
        }
    }

    /// The number of pairs of a piece.
    #[cfg(feature = "rayon")]
    fn pairs(&self, piece: &Piece) -> usize {
        let mut pairs = 0;
        self.each(piece, |rows, columns| pairs += rows.len() * columns.len());
        pairs * piece.steps.len()
    }
}

/// Part `k` of a range that is cut into `parts` parts. The length of a part is a multiple of `unit`, unless the range
/// ends in it.
fn share(range: &Range<usize>, k: usize, parts: usize, unit: usize) -> Range<usize> {
    let each = range.len().div_ceil(parts).next_multiple_of(unit);
    let at = |k: usize| (range.start + k * each).min(range.end);
    at(k)..at(k + 1)
}

impl Job<'_> {
    /// Reduces all pieces. `finish` makes a result of each state, and is given the number of rows of the state.
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
        let work = match self.launch.ranges {
            Some(ranges) => self.pieces_of_ranges(&rules, ranges),
            None => self.pieces(&rules),
        };
        let state = |piece: &Piece| self.reduce::<R, T>(family, &rules, (&work, piece));
        if work.parts == 1 {
            let finish = |piece: &Piece| finish(&state(piece), piece.rows.len(), &rules);
            return self.map(&work, finish);
        }
        let mut states = self.map(&work, state).into_iter();
        let finish = |pieces: &[Piece]| {
            let mut own = states.next().expect("a state for each piece");
            for later in states.by_ref().take(pieces.len() - 1) {
                family.merge(&mut own, &later, &rules);
            }
            finish(&own, pieces[0].rows.len(), &rules)
        };
        work.pieces.chunks(work.parts).map(finish).collect()
    }

    /// The most rows of the operands that are added up to one row of the output.
    fn steps(&self) -> usize {
        match self.launch.fold {
            Some(fold) => self.launch.rows.div_ceil(fold.max(1)),
            None => 1,
        }
    }

    /// The number of rows of a piece, if there are `rows` rows in all, with `pairs` pairs each.
    fn chunk(&self, rules: &Rules, rows: usize, pairs: usize) -> usize {
        let spec = &rules.spec;
        let each = spec.partial_values().max(spec.entries()).max(1);
        let few = rows
            .div_ceil(PIECES)
            .max(PAIRS.div_ceil(pairs.max(1)))
            .clamp(8, ROWS);
        few.min((STATES / each).max(4))
    }

    /// The pieces of a reduction without ranges.
    fn pieces(&self, rules: &Rules) -> Work {
        let launch = self.launch;
        let (rows, steps) = (launch.out_rows(), self.steps());
        let batches: usize = launch.batch_shape.iter().product();
        let pairs_of_row = self.columns.len().max(1).saturating_mul(steps.max(1));
        let chunk = self.chunk(rules, rows * batches, pairs_of_row);
        let chunks = rows.div_ceil(chunk);
        // If there are too few rows for enough pieces, the rows that are added up and the columns are split, too.
        let left = PIECES / (chunks * batches).max(1);
        let of_steps = steps.min(left).max(1);
        let of_columns = parts_of(self.columns.len() / WIDTH, left / of_steps);
        let mut pieces = Vec::new();
        for batch in 0..batches {
            for k in 0..chunks {
                for step in 0..of_steps {
                    for part in 0..of_columns {
                        pieces.push(Piece {
                            batch,
                            rows: k * chunk..rows.min((k + 1) * chunk),
                            steps: share(&(0..steps), step, of_steps, 1),
                            share: Share::Columns(share(&self.columns, part, of_columns, WIDTH)),
                        });
                    }
                }
            }
        }
        Work {
            pieces,
            parts: of_steps * of_columns,
            tasks: None,
        }
    }

    /// The pieces of a reduction with ranges. Consecutive units with few rows are put together in one piece.
    fn pieces_of_ranges(&self, rules: &Rules, ranges: &Ranges) -> Work {
        let shape = self.launch.batch_shape;
        let rows = self.launch.all_rows();
        let lengths = ranges.pairs() / (ranges.rows_of_lists() as u128).max(1);
        let chunk = self.chunk(rules, rows, lengths as usize);
        let most = ranges.most_blocks(WIDTH);
        let parts = parts_of(most, PIECES / rows.div_ceil(chunk).max(1));
        let cut = Cut {
            rows: chunk,
            block: WIDTH,
            blocks: most.div_ceil(parts).max(1),
        };
        let tasks = ranges.tasks(shape, cut);
        let parts = if tasks.split { tasks.parts } else { 1 };
        let own = &tasks.units;
        let mut pieces = Vec::new();
        let mut start = 0;
        while start < own.len() {
            let (batch, first) = (own[start].batch, own[start].rows.start);
            let fits = |unit: &&Unit| unit.batch == batch && unit.rows.end - first <= chunk;
            let end = start + own[start..].iter().take_while(fits).count();
            for part in 0..parts {
                pieces.push(Piece {
                    batch,
                    rows: first..own[end - 1].rows.end,
                    steps: 0..1,
                    share: Share::Units {
                        units: start..end,
                        part: tasks.split.then_some(part),
                    },
                });
            }
            start = end;
        }
        Work {
            pieces,
            parts,
            tasks: Some(tasks),
        }
    }

    /// The results of `each` for all pieces in their order, computed by several threads if that is worth it.
    fn map<O: Send>(&self, work: &Work, each: impl Fn(&Piece) -> O + Sync) -> Vec<O> {
        let pieces = &work.pieces;
        #[cfg(feature = "rayon")]
        {
            use rayon::prelude::*;

            let pairs = pieces.iter().map(|piece| work.pairs(piece));
            let pairs = pairs.fold(0, usize::saturating_add);
            let operations = self.launch.program.program.pair_work().max(1);
            let worth = pairs.saturating_mul(operations) / 8 > PARALLEL;
            if worth && pieces.len() > 1 && !cfg!(target_family = "wasm") {
                return pieces.par_iter().map(&each).collect();
            }
        }
        pieces.iter().map(each).collect()
    }

    /// The state of the rows of a piece after all of its pairs.
    fn reduce<R: HostReduction, T: Real>(
        &self,
        family: &R,
        rules: &Rules,
        (work, piece): (&Work, &Piece),
    ) -> R::State {
        let mut state = family.start(rules, piece.rows.len());
        let registers = self.launch.program.pair.registers.max(1);
        let tile = (CACHE / registers).clamp(LEAST_TILE, TILE);
        let mut worker = Worker::<T>::new(self, piece.batch, rules);
        let out_rows = self.launch.out_rows();
        for step in piece.steps.clone() {
            let first = step * out_rows + piece.rows.start;
            let end = (first + piece.rows.len()).min(self.launch.rows);
            if first >= end {
                continue;
            }
            worker.fill_rows(first, end - first);
            work.each(piece, |rows, columns| {
                // The last step may have fewer rows.
                let rows = rows.start..rows.end.min(end - first);
                for column in columns.clone().step_by(WIDTH) {
                    let width = WIDTH.min(columns.end - column);
                    worker.fill_columns(column, width);
                    let height = (tile / width).clamp(1, rows.len());
                    for start in rows.clone().step_by(height) {
                        let stop = rows.end.min(start + height);
                        worker.pairs(family, &mut state, start..stop);
                    }
                }
            });
        }
        state
    }
}

/// Into how many parts `tiles` tiles of columns are split, at most `most`.
fn parts_of(tiles: usize, most: usize) -> usize {
    /// The fewest tiles that are worth a part of their own.
    const TILES: usize = 16;
    (tiles / TILES).min(most).max(1)
}
