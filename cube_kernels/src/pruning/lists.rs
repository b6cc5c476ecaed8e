//! Lists of the blocks of pairs that may count.

use super::{
    arrangement::{Arrangement, BLOCKS, GROUPS, Level, MIDDLE},
    bounds::{BlockProgram, Bounds, End},
    limits::Limits,
    operands::parameter,
    part::{Part, ranges},
    steps::Step,
};
use crate::{
    error::check_count,
    host::{HostError, HostTensor, HostValues},
    ranges::{Ranges, Runs},
};

/// The bounds of a formula, with the operands that they are evaluated for.
#[derive(Clone, Debug)]
pub struct Pruning<'a> {
    pub(super) bounds: &'a Bounds,
    pub(super) rows: &'a Arrangement,
    pub(super) columns: &'a Arrangement,
    /// The values of parameters, by their positions among the tensors of the formula. Other tensors have none here.
    pub(super) parameters: Vec<HostValues>,
    pub(super) scalars: &'a [f64],
}

/// Which pairs count.
#[derive(Clone, Copy, Debug)]
pub enum Rule<'a> {
    /// Pairs whose value is not greater than the limit of their row. The limits are `[rows, dim]`, for each position
    /// of the rows in their arrangement and each component of the formula. A pair counts if one of its components
    /// does.
    Smallest(&'a [f64]),
    /// Pairs whose value is not less than the limit of their row.
    Largest(&'a [f64]),
    /// Pairs whose value is not 0.
    NotZero,
}

/// The pairs that may count.
#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    /// Ranges of the pairs, by the positions of rows and columns in their arrangements. Blocks of rows are clusters.
    Ranges(Ranges),
    /// About this many pairs, which are too many to be worth a list.
    TooMany(u128),
}

/// The most runs of blocks of columns, of all groups of rows together. Longer lists would take as much memory as large
/// operands.
const MOST_RUNS: usize = 1 << 22;

/// The program that says which blocks are excluded, with the limits of blocks and of groups of rows that it reads.
struct Excluded<'a> {
    program: &'a BlockProgram,
    limits: Option<[Limits; 2]>,
}

impl<'a> Pruning<'a> {
    /// Prepares the bounds of a formula for the tensors and scalars of the formula. `rows` are the rows of the result,
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

    /// For each block of rows, the `count` blocks of columns in which values are sure to be small (or large): those
    /// with the least upper bounds (or the largest lower bounds). There are fewer if there are not as many blocks, or
    /// if bounds are not known.
    ///
    /// They are searched for only among the blocks that are best for a whole group of blocks of rows, unless there are
    /// few rows.
    ///
    /// # Errors
    /// If the host engine refuses a launch, which would be a mistake here.
    pub fn seeds(&self, count: usize, end: End) -> Result<Ranges, HostError> {
        self.best(count, &self.bounds.of(end).high)
    }

    /// For each block of rows, the `count` blocks of columns in which values may be the smallest (or largest): those
    /// with the least lower bounds (or the largest upper bounds). See [`seeds`](Self::seeds).
    ///
    /// # Errors
    /// As [`seeds`](Self::seeds).
    pub fn nearest(&self, count: usize, end: End) -> Result<Ranges, HostError> {
        self.best(count, &self.bounds.of(end).low)
    }

    /// For each block of rows, the `count` blocks of columns for which `program` gives the least values.
    fn best(&self, count: usize, program: &BlockProgram) -> Result<Ranges, HostError> {
        /// The most bounds of groups of columns that are computed for each block of rows, and not only for groups of
        /// rows.
        const FEW: usize = 1 << 20;
        if self.is_empty() {
            return Ok(self.no_pairs());
        }
        let rows = self.rows.boxes(Level::Blocks).count();
        let columns = self.columns.boxes(Level::Groups).count();
        let groups = count.div_ceil(self.columns.blocks().group) + 1;
        let few = [Level::Blocks, Level::Groups];
        // Then a group of rows spans far more than a group of columns.
        let is_sparse = self.rows.boxes(Level::Groups).count() <= columns;
        let steps = match is_sparse && rows * columns <= FEW {
            true => vec![(few, groups), (BLOCKS, count)],
            // The middle step keeps more blocks than `count`, as those that are best for a group need not be best for
            // each block of it.
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

    /// The pairs that may count: all pairs of the blocks for which bounds do not show that no pair counts.
    ///
    /// If there are more than `most` pairs, the result is [`Kept::TooMany`]. It does not look at all blocks then, if
    /// the blocks of a few rows show that there are far more.
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

    /// The program and the limits that say what a rule excludes.
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
            // The largest values are the smallest of the opposite values.
            Rule::Largest(limits) => of_end(End::Largest, limits, -1.0),
            Rule::NotZero => Excluded {
                program: self.bounds.zero(),
                limits: None,
            },
        }
    }

    /// The blocks (or groups) of columns that are kept for each block (or group) of rows, of all of them or of a part.
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

    /// The blocks of columns that are kept for each group of rows, out of the groups of columns in `groups`.
    fn middle_kept(&self, excluded: &Excluded, groups: &Runs) -> Result<Runs, HostError> {
        let part = self.part(groups, GROUPS, MIDDLE);
        self.kept_at(excluded, MIDDLE, Some(&part))
    }

    /// The blocks of columns that are kept for each block of rows, out of those in `middle`.
    fn blocks_kept(&self, excluded: &Excluded, middle: &Runs) -> Result<Runs, HostError> {
        let part = self.part(middle, MIDDLE, BLOCKS);
        self.kept_at(excluded, BLOCKS, Some(&part))
    }

    /// About how many of the pairs in `groups` are kept, estimated from some groups of rows.
    fn estimate(&self, excluded: &Excluded, groups: &Runs) -> Result<u128, HostError> {
        /// The most groups of rows that are looked at.
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

    /// A step that looks at all rows and columns of these levels.
    pub(super) fn step(&self, [rows, columns]: [Level; 2]) -> Step<'a> {
        Step {
            rows: self.rows.boxes(rows),
            columns: self.columns.boxes(columns),
            limits: None,
            part: None,
        }
    }

    /// The pairs that were found at coarse levels, as pairs of finer levels.
    fn part(&self, found: &Runs, coarse: [Level; 2], fine: [Level; 2]) -> Part {
        let axes = [
            self.rows.within(coarse[0], fine[0]),
            self.columns.within(coarse[1], fine[1]),
        ];
        Part::new(axes, found, self.columns.boxes(fine[1]))
    }

    /// The pairs of rows and columns in these blocks.
    fn pairs(&self, blocks: &Runs) -> Ranges {
        ranges([self.rows, self.columns].map(Arrangement::rows), blocks)
    }

    /// The number of pairs of rows and columns in these groups.
    fn pairs_of_groups(&self, groups: &Runs) -> u128 {
        let axes = [self.rows, self.columns].map(Arrangement::rows_in_groups);
        ranges(axes, groups).pairs()
    }

    /// The limits of each block of rows: the largest ones of its rows, after these are multiplied by a sign.
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
