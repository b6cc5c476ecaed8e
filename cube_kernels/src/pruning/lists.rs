//! Lists of the blocks that may count.

use super::{
    arrangement::{Arrangement, BLOCKS, GROUPS, Level, MIDDLE},
    bounds::{BlockProgram, Bounds, End},
    limits::Limits,
    operands::parameter,
    part::{Part, ranges},
    steps::Step,
};
use crate::{
    host::{HostError, HostTensor, HostValues, check_count},
    ranges::{Ranges, Runs},
};

/// The bounds of a formula with all that they are bounds of.
#[derive(Clone, Debug)]
pub struct Pruning<'a> {
    pub(super) bounds: &'a Bounds,
    pub(super) rows: &'a Arrangement,
    pub(super) columns: &'a Arrangement,
    /// What parameters hold, by their positions among the tensors of the formula.
    pub(super) parameters: Vec<HostValues>,
    pub(super) scalars: &'a [f64],
}

/// Which pairs count.
#[derive(Clone, Copy, Debug)]
pub enum Rule<'a> {
    /// Those that are not greater than the limits of their rows: `[rows, dim]` for each position of the rows in their
    /// arrangement and each component of the formula. A pair counts if one of its components does.
    Smallest(&'a [f64]),
    /// Those that are not less than the limits.
    Largest(&'a [f64]),
    /// Those that are not 0.
    NotZero,
}

/// The pairs that may count.
#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    /// These, by the positions of rows and columns in their arrangements. Blocks of rows are clusters.
    Ranges(Ranges),
    /// About so many, which are more than are worth a list.
    TooMany(u128),
}

/// The most runs of blocks of columns, of all groups of rows. Lists of more would take as much memory as large operands.
const MOST_RUNS: usize = 1 << 22;

/// What says which blocks are excluded, with the limits of blocks and of groups of rows.
struct Excluded<'a> {
    program: &'a BlockProgram,
    limits: Option<[Limits; 2]>,
}

impl<'a> Pruning<'a> {
    /// For the bounds of a formula, with the tensors and scalars of the formula. `rows` are the rows of the result,
    /// `columns` those of the reduced axis.
    ///
    /// # Errors
    /// If there is another number of tensors or scalars than the formula has, or if a parameter does not fit.
    ///
    /// # Panics
    /// If the arrangements are of other axes, of another formula or of another type.
    pub fn new(
        bounds: &'a Bounds,
        [rows, columns]: [&'a Arrangement; 2],
        tensors: &[HostTensor],
        scalars: &'a [f64],
    ) -> Result<Self, HostError> {
        let Bounds {
            formula, precision, ..
        } = bounds;
        for (own, axis) in [(rows, bounds.axis.other()), (columns, bounds.axis)] {
            assert!(own.axis() == axis, "rows of the result, reduced columns");
            assert!(own.is_of(formula, *precision), "operands of the formula");
        }
        check_count("tensors", tensors.len(), formula.tensors().count())?;
        check_count("scalars", scalars.len(), formula.scalars().count())?;
        let vars = formula.tensors().enumerate();
        let parameters = vars
            .zip(tensors)
            .map(|(own, tensor)| match own.1.is_parameter() {
                false => Ok(HostValues::F32(Vec::new())),
                true => parameter(own, tensor, *precision),
            });
        Ok(Self {
            bounds,
            rows,
            columns,
            parameters: parameters.collect::<Result<_, _>>()?,
            scalars,
        })
    }

    /// For each block of rows `count` blocks of columns in which values are sure to be small (or large): those of the
    /// least upper bounds (or the largest lower ones). There are fewer where bounds are not known, or no more blocks.
    ///
    /// They are looked for among those that are best for a whole group of blocks of rows, unless there are few rows.
    ///
    /// # Errors
    /// If the host engine refuses a launch, which would be a mistake here.
    pub fn seeds(&self, count: usize, end: End) -> Result<Ranges, HostError> {
        self.best(count, &self.bounds.of(end).high)
    }

    /// For each block of rows `count` blocks of columns in which values may be the smallest (or largest): those of the least
    /// lower bounds (or the largest upper ones). See [`seeds`](Self::seeds).
    ///
    /// # Errors
    /// As those of the host engine, which should not be.
    pub fn nearest(&self, count: usize, end: End) -> Result<Ranges, HostError> {
        self.best(count, &self.bounds.of(end).low)
    }

    /// For each block of rows the `count` blocks of columns of which `program` gives the least values.
    fn best(&self, count: usize, program: &BlockProgram) -> Result<Ranges, HostError> {
        /// Bounds that are made for each block of rows, and not only for groups.
        const FEW: usize = 1 << 20;
        if self.is_empty() {
            return Ok(self.no_pairs());
        }
        let rows = self.rows.boxes(Level::Blocks).count();
        let columns = self.columns.boxes(Level::Groups).count();
        let groups = count.div_ceil(self.columns.blocks().group) + 1;
        let few = [Level::Blocks, Level::Groups];
        // Groups of rows are far larger than groups of columns then.
        let is_sparse = self.rows.boxes(Level::Groups).count() <= columns;
        let steps = match is_sparse && rows * columns <= FEW {
            true => vec![(few, groups), (BLOCKS, count)],
            // What is best for a group need not be best for each block of it.
            false => vec![(GROUPS, groups), (MIDDLE, 4 * count + 8), (BLOCKS, count)],
        };
        let (mut levels, most) = steps[0];
        let mut best = self.least(program, self.step(levels), most)?;
        for (next, most) in steps.into_iter().skip(1) {
            let part = self.part(&best, levels, next);
            let step = Step {
                part: Some(&part),
                ..self.step(next)
            };
            best = self.least(program, step, most)?;
            levels = next;
        }
        Ok(self.pairs(&best))
    }

    /// The pairs that may count: those of the blocks of which bounds do not show that no pair counts.
    ///
    /// If there are more than `most` pairs, it says so. It does not look at all blocks then, if those of a few rows
    /// show that there are far more.
    ///
    /// # Errors
    /// If the host engine refuses a launch, which would be a mistake here.
    ///
    /// # Panics
    /// If there is another number of limits than of rows and components.
    pub fn kept(&self, rule: Rule, most: u128) -> Result<Kept, HostError> {
        if self.is_empty() {
            return Ok(Kept::Ranges(self.no_pairs()));
        }
        let excluded = self.excluded(rule);
        let groups = self.kept_at(&excluded, GROUPS, None)?;
        if self.pairs_of_groups(&groups) > most {
            let about = self.estimate(&excluded, &groups)?;
            if about / 2 > most {
                return Ok(Kept::TooMany(about));
            }
        }
        let middle = self.middle_kept(&excluded, &groups)?;
        if middle.all.len() > MOST_RUNS {
            return Ok(Kept::TooMany(self.estimate(&excluded, &groups)?));
        }
        let kept = self.pairs(&self.blocks_kept(&excluded, &middle)?);
        match kept.pairs() {
            pairs if pairs > most => Ok(Kept::TooMany(pairs)),
            _ => Ok(Kept::Ranges(kept)),
        }
    }

    /// What a rule excludes.
    fn excluded(&self, rule: Rule) -> Excluded<'a> {
        let of_end = |end: End, limits: &[f64], sign: f64| {
            let blocks = self.limits(limits, sign);
            let groups = blocks.grouped(self.rows.blocks().group);
            Excluded {
                program: &self.bounds.of(end).beyond,
                limits: Some([blocks, groups]),
            }
        };
        match rule {
            Rule::Smallest(limits) => of_end(End::Smallest, limits, 1.0),
            // The smallest of the opposite values.
            Rule::Largest(limits) => of_end(End::Largest, limits, -1.0),
            Rule::NotZero => Excluded {
                program: self.bounds.zero(),
                limits: None,
            },
        }
    }

    /// What is kept of some pairs at a level.
    fn kept_at(
        &self,
        excluded: &Excluded,
        levels: [Level; 2],
        part: Option<&Part>,
    ) -> Result<Runs, HostError> {
        let limits = excluded.limits.as_ref();
        let step = Step {
            limits: limits.map(|own| &own[levels[0] as usize]),
            part,
            ..self.step(levels)
        };
        self.not_excluded(excluded.program, step)
    }

    /// The blocks of columns that are kept of groups, for groups of rows.
    fn middle_kept(&self, excluded: &Excluded, groups: &Runs) -> Result<Runs, HostError> {
        let part = self.part(groups, GROUPS, MIDDLE);
        self.kept_at(excluded, MIDDLE, Some(&part))
    }

    /// The blocks that are kept of these, for blocks of rows.
    fn blocks_kept(&self, excluded: &Excluded, middle: &Runs) -> Result<Runs, HostError> {
        let part = self.part(middle, MIDDLE, BLOCKS);
        self.kept_at(excluded, BLOCKS, Some(&part))
    }

    /// About how many pairs are kept of those of groups, by those of some groups of rows.
    fn estimate(&self, excluded: &Excluded, groups: &Runs) -> Result<u128, HostError> {
        /// Groups of rows that are looked at.
        const SAMPLES: usize = 16;
        let every = groups.ends.len().div_ceil(SAMPLES);
        let mut sampled = Runs::default();
        for (row, own) in groups.rows().enumerate() {
            if row % every == every / 2 {
                sampled.all.extend_from_slice(own);
            }
            sampled.ends.push(sampled.all.len());
        }
        let middle = self.middle_kept(excluded, &sampled)?;
        let kept = self.pairs(&self.blocks_kept(excluded, &middle)?).pairs();
        let part = kept as f64 / self.pairs_of_groups(&sampled).max(1) as f64;
        Ok((part * self.pairs_of_groups(groups) as f64) as u128)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.size() == 0 || self.columns.size() == 0
    }

    fn no_pairs(&self) -> Ranges {
        let [rows, columns] = [self.rows, self.columns].map(|own| [own.size()]);
        Ranges::lengths(&rows, &columns).expect("arrangements are numbered in 32 bits")
    }

    /// All that there is at a level of rows and one of columns.
    pub(super) fn step(&self, [rows, columns]: [Level; 2]) -> Step<'a> {
        Step {
            rows: self.rows.boxes(rows),
            columns: self.columns.boxes(columns),
            limits: None,
            part: None,
        }
    }

    /// What was found at coarse levels, at finer ones.
    fn part(&self, found: &Runs, coarse: [Level; 2], fine: [Level; 2]) -> Part {
        let axes = [
            self.rows.within(coarse[0], fine[0]),
            self.columns.within(coarse[1], fine[1]),
        ];
        Part::new(axes, found, self.columns.boxes(fine[1]))
    }

    /// The pairs of blocks.
    fn pairs(&self, blocks: &Runs) -> Ranges {
        ranges([self.rows, self.columns].map(Arrangement::rows), blocks)
    }

    /// How many pairs there are in groups.
    fn pairs_of_groups(&self, groups: &Runs) -> u128 {
        let axes = [self.rows, self.columns].map(Arrangement::rows_in_groups);
        ranges(axes, groups).pairs()
    }

    /// The limits of each block, the largest ones of its rows, times a sign.
    fn limits(&self, limits: &[f64], sign: f64) -> Limits {
        let (rows, dim) = (self.rows.size(), self.bounds.formula.dim());
        assert_eq!(
            limits.len(),
            rows * dim,
            "limits of {rows} rows and {dim} components"
        );
        let limits: Vec<f64> = limits.iter().map(|limit| sign * limit).collect();
        Limits::new(&limits, dim, self.rows.blocks().rows)
    }
}
