//! Reductions on the host, in plain Rust.
//!
//! A program is run on tiles: some rows, and some hundred columns of each. An instruction is a loop over the values of
//! a tile, which compilers turn into vector instructions. What follows from rows and columns is computed once for a
//! tile, with rows or columns as lanes.
//!
//! Work is cut into rows and columns by the sizes alone, so that results do not depend on the number of threads.

mod arithmetic;
mod engine;
mod evaluate;
mod reductions;
mod results;
mod tape;
mod tensor;
mod terms;
mod vector;
mod worker;
mod writer;

use std::ops::Range;

use tape::Tape;
pub(crate) use tensor::Rows;
pub use tensor::{HostSlice, HostTensor, HostValues};
pub use vector::Instructions;

use crate::{
    math::Precision,
    program::{Extent, Program, Space},
    ranges::{Ranges, Runs},
    reduction::{NO_INDEX, ReductionKind, Spec, Wanted},
};

/// Why a reduction could not be run on the host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A program has another number of operands.
    #[error("{given} {what} for a formula of {expected}")]
    Operands {
        /// Which operands.
        what: &'static str,
        /// How many there are.
        given: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A tensor does not have what is read of it.
    #[error("tensor {index} of shape {shape:?} and strides {strides:?} does not fit: {reason}")]
    Tensor {
        /// Its position among the tensors.
        index: usize,
        /// Its shape.
        shape: Vec<usize>,
        /// Its strides.
        strides: Vec<isize>,
        /// What is wrong.
        reason: String,
    },
    /// Columns do not have indices of 32 bits.
    #[error("{0} columns are more than have an index")]
    TooManyColumns(usize),
    /// There are no partial results.
    #[error("there are no parts to merge")]
    NoParts,
    /// A partial result has another size.
    #[error("a part has {given} {what}, not {expected}")]
    PartSize {
        /// Which numbers.
        what: &'static str,
        /// How many there are.
        given: usize,
        /// How many there should be.
        expected: usize,
    },
    /// Ranges are of another matrix, or rows are added up.
    #[error("{given:?} do not fit {rows} rows and {columns} columns, of which none are added up")]
    Ranges {
        /// The ranges.
        given: Box<Ranges>,
        /// Rows of the operands.
        rows: usize,
        /// Columns of the operands.
        columns: usize,
    },
    /// Partial results are of all pairs of some columns.
    #[error("there are no partial results of ranges")]
    PartOfRanges,
    /// Only the rows of sums are added up.
    #[error("the rows of a {0} cannot be added up")]
    Folded(ReductionKind),
}

/// Checks that there are as many operands as a formula has.
pub(crate) fn check_count(
    what: &'static str,
    given: usize,
    expected: usize,
) -> Result<(), HostError> {
    match given == expected {
        true => Ok(()),
        false => Err(HostError::Operands {
            what,
            given,
            expected,
        }),
    }
}

/// A program as the host runs it. It is made once for a formula.
#[derive(Clone, Debug)]
pub struct HostProgram {
    program: Program,
    uniform: Tape,
    row: Tape,
    column: Tape,
    pair: Tape,
}

impl HostProgram {
    /// Prepares a program.
    pub fn new(program: &Program) -> Self {
        Self {
            uniform: Tape::new(&program.uniform.items, Space::Uniform),
            row: Tape::new(&program.row.items, Space::Row),
            column: Tape::new(&program.column.items, Space::Column),
            pair: Tape::new(&program.pair, Space::Pair),
            program: program.clone(),
        }
    }

    /// About how many operations a pair takes.
    pub fn pair_work(&self) -> usize {
        self.program.pair_work()
    }

    fn tape(&self, space: Space) -> &Tape {
        match space {
            Space::Uniform => &self.uniform,
            Space::Row => &self.row,
            Space::Column => &self.column,
            Space::Pair => &self.pair,
        }
    }
}

/// A reduction to run on the host.
#[derive(Clone, Copy, Debug)]
pub struct HostLaunch<'a> {
    /// The lowered formula.
    pub program: &'a HostProgram,
    /// What is done along the reduced axis.
    pub reduction: ReductionKind,
    /// Sizes of the batch dimensions.
    pub batch_shape: &'a [usize],
    /// Rows of the operands in one batch.
    pub rows: usize,
    /// Reduced columns.
    pub columns: usize,
    /// Into how many rows of the output those of a sum are added up, if they are: row `k` of the output
    /// is the sum of every `fold`-th row from row `k` on.
    pub fold: Option<usize>,
    /// The pairs that there are, if not all; then no rows are added up.
    pub ranges: Option<&'a Ranges>,
    /// The type of all operands.
    pub precision: Precision,
    /// The type of the values: that of the operands, or that in which these are computed.
    pub values: Precision,
    /// What code is compiled for.
    pub instructions: Instructions,
}

/// What a reduction gives: contiguous tensors `[batch.., rows, entries]`, or `[batch.., fold, entries]`.
#[derive(Clone, Debug, PartialEq)]
pub struct HostOutput {
    /// The values, where they are wanted.
    pub values: Option<HostValues>,
    /// The columns at which they were found, or counts, where this is wanted.
    pub indices: Option<Vec<i64>>,
    /// What the values are made of, where this is wanted, in the type in which operands are computed:
    /// `[batch.., rows, Spec::state_size]`.
    pub state: Option<HostValues>,
}

/// What a reduction knows of some of the columns, as [`Spec::planes`] says.
#[derive(Clone, Debug, PartialEq)]
pub struct HostPart {
    /// Values, `[batch.., rows, Spec::partial_values]`.
    pub values: Vec<f64>,
    /// Columns or counts, `[batch.., rows, Spec::entries]`, where the reduction [keeps](Spec::keeps_indices) them.
    pub indices: Vec<u32>,
}

impl HostLaunch<'_> {
    /// Reduces `tensors` and `scalars`.
    ///
    /// A tensor has the shape `[batch.., length, dim]` for a row or column operand and `[batch.., dim]` for a
    /// parameter; its batch dimensions broadcast against `batch_shape`.
    ///
    /// # Errors
    /// Where tensors do not have what is read of them.
    pub fn run(
        &self,
        tensors: &[HostTensor],
        scalars: &[f64],
        wanted: Wanted,
    ) -> Result<HostOutput, HostError> {
        self.check(tensors, scalars, self.columns, wanted)?;
        let columns = 0..self.columns;
        Ok(engine::run(self, tensors, scalars, wanted, columns))
    }

    /// Reduces the columns in `columns`, of those that tensors of columns have, into a partial result.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_part(
        &self,
        tensors: &[HostTensor],
        scalars: &[f64],
        wanted: Wanted,
        columns: Range<usize>,
    ) -> Result<HostPart, HostError> {
        if self.ranges.is_some() {
            return Err(HostError::PartOfRanges);
        }
        self.check(tensors, scalars, columns.end, wanted)?;
        Ok(engine::run_part(self, tensors, scalars, wanted, columns))
    }

    /// The columns of each row in which the formula, which has one component, is not 1. The reduction is not asked for.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) fn find(&self, tensors: &[HostTensor], scalars: &[f64]) -> Result<Runs, HostError> {
        self.check(tensors, scalars, self.columns, Wanted::INDICES)?;
        Ok(engine::find(self, tensors, scalars, 0..self.columns))
    }

    /// Merges partial results of the same rows, in the order of their columns, into results.
    ///
    /// # Errors
    /// Where there are none, or where they have other sizes.
    pub fn merge(&self, parts: &[HostPart], wanted: Wanted) -> Result<HostOutput, HostError> {
        self.check_parts(parts, wanted)?;
        Ok(engine::merge(self, parts, wanted))
    }

    /// Merges partial results into one.
    ///
    /// # Errors
    /// As [`merge`](Self::merge).
    pub fn merge_parts(&self, parts: &[HostPart], wanted: Wanted) -> Result<HostPart, HostError> {
        self.check_parts(parts, wanted)?;
        Ok(engine::merge_parts(self, parts, wanted))
    }

    fn spec(&self, wanted: Wanted) -> Spec {
        Spec {
            unordered: self
                .ranges
                .is_some_and(|ranges| ranges.unordered(self.reduction)),
            ..Spec::new(self.reduction, wanted, self.program.program.dim)
        }
    }

    /// Rows of the output in one batch.
    fn out_rows(&self) -> usize {
        self.fold.unwrap_or(self.rows)
    }

    /// Rows of the output in all batches.
    fn all_rows(&self) -> usize {
        self.batch_shape.iter().product::<usize>() * self.out_rows()
    }

    fn check(
        &self,
        tensors: &[HostTensor],
        scalars: &[f64],
        end: usize,
        wanted: Wanted,
    ) -> Result<(), HostError> {
        let program = &self.program.program;
        check_count("tensors", tensors.len(), program.tensors.len())?;
        check_count("scalars", scalars.len(), program.scalars)?;
        if self.fold.is_some() && !matches!(self.reduction, ReductionKind::Sum(_)) {
            return Err(HostError::Folded(self.reduction));
        }
        if let Some(ranges) = self.ranges {
            let sizes = [self.rows, self.columns];
            if !ranges.fits(sizes, self.batch_shape) || self.fold.is_some() {
                return Err(HostError::Ranges {
                    given: Box::new(ranges.clone()),
                    rows: sizes[0],
                    columns: sizes[1],
                });
            }
        }
        let keeps = self.spec(wanted).keeps_indices() || wanted.indices;
        if keeps && end >= NO_INDEX as usize {
            return Err(HostError::TooManyColumns(end));
        }
        if self.all_rows() == 0 {
            return Ok(());
        }
        let extent = Extent {
            batch: self.batch_shape,
            rows: self.rows,
            end,
        };
        for (index, tensor) in tensors.iter().enumerate() {
            let layout = (tensor.shape, tensor.strides.len());
            let fits = program.check_operand(index, layout, &extent);
            let fits = fits.and_then(|()| match tensor.data.precision() {
                own if own != self.precision => {
                    Err(format!("its values are {own:?}, not {:?}", self.precision))
                }
                _ if !tensor.has_room() => Err("its buffer is shorter".to_string()),
                _ => Ok(()),
            });
            fits.map_err(|reason| HostError::Tensor {
                index,
                shape: tensor.shape.to_vec(),
                strides: tensor.strides.to_vec(),
                reason,
            })?;
        }
        Ok(())
    }

    fn check_parts(&self, parts: &[HostPart], wanted: Wanted) -> Result<(), HostError> {
        if parts.is_empty() {
            return Err(HostError::NoParts);
        }
        let spec = self.spec(wanted);
        let rows = self.all_rows();
        let indices = if spec.keeps_indices() {
            rows * spec.entries()
        } else {
            0
        };
        for part in parts {
            let sizes = [
                ("values", part.values.len(), rows * spec.partial_values()),
                ("indices", part.indices.len(), indices),
            ];
            for (what, given, expected) in sizes {
                if given != expected {
                    return Err(HostError::PartSize {
                        what,
                        given,
                        expected,
                    });
                }
            }
        }
        Ok(())
    }
}
