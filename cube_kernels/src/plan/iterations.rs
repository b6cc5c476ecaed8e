//! The most iterations that a unit takes in all of its loops together.
//!
//! Some drivers end a unit after a number of iterations, without an error. The count here is an upper bound: it
//! includes every loop that a kernel may have, with its full length, whatever the values are. The test that ends a
//! loop counts as an iteration, as it does on these devices.

use super::{Blueprint, ColumnSource};
use crate::{
    program::{Item, Program, Stage, looped, unrolled},
    reduction::Spec,
};

/// The work of a unit of the kernel that reduces.
pub struct Unit<'a> {
    /// The formula.
    pub program: &'a Program,
    /// The kernel variant.
    pub blueprint: &'a Blueprint,
}

impl Unit<'_> {
    /// Iterations for a part of `columns` columns, with `steps` rows for each lane.
    pub fn iterations(&self, columns: usize, steps: usize) -> usize {
        let blueprint = self.blueprint;
        let spec = blueprint.total();
        let reach = self
            .program
            .scaled
            .as_ref()
            .filter(|_| blueprint.schedule.scaled());
        let forms = [Some(self.program), reach.map(|scaled| &scaled.program)];
        let forms = forms.into_iter().flatten();
        let form = forms.map(|program| self.form(program, columns, steps));
        spec.init_iterations()
            + reach.map_or(0, |scaled| self.in_reach(&scaled.reach, columns))
            + form.max().unwrap_or(0)
            + written(spec)
    }

    /// Iterations for one form of the formula.
    fn form(&self, program: &Program, columns: usize, steps: usize) -> usize {
        let blueprint = self.blueprint;
        let row = stage(&program.row) + self.part(program, columns);
        let rows = match blueprint.folded {
            false => row,
            true => {
                let (own, total) = (blueprint.spec, blueprint.total());
                let fold = unrolled(own.dim, 0) + total.merge_iterations();
                looped(steps, own.init_iterations() + row + fold)
            }
        };
        stage(&program.uniform) + rows
    }

    /// Iterations for the columns of a part.
    fn part(&self, program: &Program, columns: usize) -> usize {
        let schedule = &self.blueprint.schedule;
        let (block, q) = (schedule.block(), schedule.columns());
        let spec = self.blueprint.narrow();
        let full = self.staging(program, block)
            + looped(block / q, self.pair(program, spec, q))
            + spec.end_block_iterations()
            // The end of the loop over columns that are left over in a block. Only the last block has such columns.
            + usize::from(q > 1);
        let rest = (q - 1) * (1 + self.pair(program, spec, 1));
        match self.blueprint.columns {
            // Each block may be a range of its own.
            ColumnSource::Ranges => looped(columns.div_ceil(block), full + rest + 2),
            _ => looped(columns.div_ceil(block), full) + rest,
        }
    }

    /// Iterations for staging the columns of a block before its pairs.
    fn staging(&self, program: &Program, block: usize) -> usize {
        let ranges = self.blueprint.schedule.staged_ranges(program);
        if ranges.is_empty() {
            return 0;
        }
        let stores = ranges.iter().map(|range| unrolled(range.len, 0));
        let column = stage(&program.column) + stores.sum::<usize>();
        match (
            self.blueprint.schedule.shared_tile(),
            block.div_ceil(self.blueprint.units),
        ) {
            (true, 1) => column,
            (true, own) => looped(own, column),
            (false, _) => looped(block, column),
        }
    }

    /// Iterations for the pairs of a unit's rows with `q` columns.
    fn pair(&self, program: &Program, spec: Spec, q: usize) -> usize {
        let simd = self.blueprint.math.simd();
        let items = program.pair.iter().map(|item| match item {
            Item::Let(..) => 0,
            Item::Sum { terms, .. } => looped(terms.len, 0),
            Item::Store { base, terms } => {
                match (terms.len, spec.step_iterations(*base, q, simd)) {
                    (1, own) => own,
                    (len, own) => looped(len, own),
                }
            }
        });
        items.sum()
    }

    /// Iterations for finding out whether points are near 0.
    fn in_reach(&self, reach: &Program, columns: usize) -> usize {
        let own = columns.div_ceil(self.blueprint.units);
        stage(&reach.uniform) + stage(&reach.row) + looped(own, stage(&reach.column))
    }
}

/// Iterations for filling the slots of a stage.
fn stage(stage: &Stage) -> usize {
    let loads = stage.loads.iter().map(|load| unrolled(load.len, 0));
    let items = stage.items.iter().map(|item| match item {
        Item::Let(..) => 0,
        Item::Store { terms, .. } if terms.len == 1 => 0,
        Item::Sum { terms, .. } | Item::Store { terms, .. } => looped(terms.len, 0),
    });
    loads.sum::<usize>() + items.sum::<usize>()
}

/// Iterations for writing a result or a partial one.
fn written(spec: Spec) -> usize {
    let planes = (0..spec.planes().len()).map(|plane| unrolled(spec.plane_size(plane), 0));
    let state = (0..spec.state_planes()).map(|plane| unrolled(spec.plane_size(plane), 0));
    planes.sum::<usize>()
        + unrolled(spec.entries(), 0)
        + unrolled(spec.entries(), 0)
        + state.sum::<usize>()
}

/// Iterations of a unit that merges `parts` partial results.
pub fn merging(spec: Spec, parts: usize) -> usize {
    if spec.is_list() {
        return looped(spec.depth(), 0);
    }
    let single = spec.single();
    let planes = single.planes();
    let loads = planes.iter().map(|plane| unrolled(plane.len, 0));
    let indices = unrolled(single.depth(), 0);
    let part =
        single.init_iterations() + loads.sum::<usize>() + indices + single.merge_iterations();
    single.init_iterations() + looped(parts, part) + written(single)
}

/// The largest number of `1 ..= most` for which `fits` holds, or 0. It must hold up to some number, and for none
/// above.
pub fn largest(most: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        match fits(middle) {
            true => low = middle,
            false => high = middle - 1,
        }
    }
    low
}
