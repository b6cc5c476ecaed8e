//! Cuts a reduction into rows and columns, runs them, and puts the results together.

use std::ops::Range;

use super::{
    HostLaunch, HostOutput, HostPart, HostTensor,
    reductions::{HostReduction, Rules},
    results::{
        Found, MergedPart, MergedResults, Merging, WithFamily, nothing, output, part, rules,
        with_family,
    },
    worker::Worker,
};
use crate::{
    math::{Precision, lane::Real},
    reduction::Wanted,
};

/// Columns of a tile.
const WIDTH: usize = 256;

/// Values of a tile, in all of its rows: few tiles fill the first cache, and an instruction takes long beside what it
/// takes to start it.
const TILE: usize = 4096;

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

/// Says once that loops without optimisations take long, where they are those of many pairs.
#[cfg(unoptimized)]
fn warn(launch: &HostLaunch, columns: usize) {
    /// Pairs that take some tenths of a second.
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
    #[cfg(unoptimized)]
    warn(launch, columns.len());
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

/// A reduction with its operands.
pub struct Job<'a> {
    pub launch: &'a HostLaunch<'a>,
    pub tensors: &'a [HostTensor<'a>],
    pub scalars: &'a [f64],
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
                return pieces.par_iter().map(&each).collect();
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
