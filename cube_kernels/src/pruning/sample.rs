//! Estimates how many pairs are kept, from a few blocks of rows.

use super::{
    arrangement::{GROUPS, Level},
    bounds::End,
    boxes::Boxes,
    limits::Limits,
    lists::Pruning,
    part::{Part, ranges},
    steps::Step,
};
use crate::{host::HostError, ranges::Blocked, reduction::Wanted};

/// The most blocks of rows that are looked at.
const SAMPLES: usize = 32;

impl Pruning<'_> {
    /// The estimated fraction of the pairs, from 0 to 1, that is kept if the `count` smallest (or largest) values of
    /// each row are looked for.
    ///
    /// It only evaluates bounds, for a few blocks of rows, so that it is cheap. Limits from values of pairs keep less:
    /// a fifth of it, for example.
    ///
    /// # Errors
    /// If the host engine refuses a launch, which would be a mistake here.
    pub fn sample(&self, count: usize, end: End) -> Result<f64, HostError> {
        if self.is_empty() {
            return Ok(0.0);
        }
        let sample = self.sample_rows();
        let whole = Step {
            rows: &sample,
            ..self.step(GROUPS)
        };
        let columns = self.columns.rows_in_groups();
        let limits = self.limits_of_bounds(whole, columns, (count, end))?;
        let program = &self.bounds.of(end).beyond;
        let groups = self.not_excluded(
            program,
            Step {
                limits: Some(&limits),
                ..whole
            },
        )?;
        let blocks = self.columns.boxes(Level::Blocks);
        let part = Part::new([single(&sample), self.columns.groups()], &groups, blocks);
        let step = Step {
            columns: blocks,
            part: Some(&part),
            ..whole
        };
        let columns = self.columns.rows();
        let limits = self.limits_of_bounds(step, columns, (count, end))?;
        let kept = self.not_excluded(
            program,
            Step {
                limits: Some(&limits),
                ..step
            },
        )?;
        let kept = ranges([single(&sample), columns], &kept);
        Ok(kept.pairs() as f64 / (sample.count() as f64 * self.columns.size() as f64))
    }

    /// Some blocks of rows, spread evenly over the axis.
    fn sample_rows(&self) -> Boxes {
        let blocks = self.rows.boxes(Level::Blocks);
        let samples = blocks.count().min(SAMPLES);
        let at = |sample: usize| ((2 * sample + 1) * blocks.count() / (2 * samples)) as u32;
        let chosen: Vec<u32> = (0..samples).map(at).collect();
        blocks.select(&chosen)
    }

    /// For each row of a step, a limit that at least `count` values do not exceed: the blocks whose upper bounds are
    /// not larger have at least `count` columns. The limit is infinite if there are no such blocks.
    fn limits_of_bounds(
        &self,
        step: Step,
        columns: Blocked,
        (count, end): (usize, End),
    ) -> Result<Limits, HostError> {
        // One block more than needed, as the last block of the axis may have few columns.
        let most = (count.div_ceil(columns.block) + 1).clamp(1, step.columns.count());
        let program = &self.bounds.of(end).high;
        let output = self.smallest(program, step, (most, Wanted::BOTH))?;
        let values = output.values.expect("they are wanted").to_f64();
        let indices = output.indices.expect("they are wanted");
        let limit = |(values, indices): (&[f64], &[i64])| {
            let mut columns_left = count;
            for (value, index) in values.iter().zip(indices) {
                let Ok(column) = u32::try_from(*index) else {
                    break;
                };
                let block = step.column(column) as usize;
                let own = columns.size.min((block + 1) * columns.block) - block * columns.block;
                if own >= columns_left {
                    return *value;
                }
                columns_left -= own;
            }
            f64::INFINITY
        };
        let limits: Vec<f64> = values
            .chunks(most)
            .zip(indices.chunks(most))
            .map(limit)
            .collect();
        // All components have the same limit.
        let dim = self.bounds.formula.dim();
        let all: Vec<f64> = limits.iter().flat_map(|limit| vec![*limit; dim]).collect();
        Ok(Limits::new(&all, dim, 1))
    }
}

/// An axis of blocks, each of which is one row.
fn single(boxes: &Boxes) -> Blocked {
    Blocked {
        size: boxes.count(),
        block: 1,
    }
}
