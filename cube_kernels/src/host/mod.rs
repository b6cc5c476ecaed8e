//! Reductions on the host, in plain Rust.
//!
//! A program runs on tiles. A tile is some rows with up to 256 columns each. An instruction is a loop over the values
//! of a tile, which compilers turn into vector instructions. Values that depend on a row alone, or on a column alone,
//! are computed before the pairs of a piece of work, by loops over rows or over columns.
//!
//! Work is cut into pieces of rows and columns by the sizes alone, so that results do not depend on the number of
//! threads.

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

use engine::Job;
use tape::Tape;
pub(crate) use tensor::Rows;
pub use tensor::{HostSlice, HostTensor, HostValues};
pub use vector::Instructions;

use crate::{
    error::{OperandError, check_count},
    math::Precision,
    program::{Extent, Program, Space},
    ranges::{Ranges, Runs},
    reduction::{NO_INDEX, ReductionKind, Spec, Wanted},
};

/// Why a reduction could not be run on the host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The operands do not fit the formula.
    #[error(transparent)]
    Operands(#[from] OperandError),
    /// An axis is too long for indices of 32 bits.
    #[error("{0} columns are more than have an index")]
    TooManyColumns(usize),
    /// There are no partial results to merge.
    #[error("there are no parts to merge")]
    NoParts,
    /// A partial result does not have the size that the reduction expects.
    #[error("a part has {given} {what}, not {expected}")]
    PartSize {
        /// Values or indices.
        what: &'static str,
        /// How many there are.
        given: usize,
        /// How many there should be.
        expected: usize,
    },
    /// The ranges are for a matrix of other sizes or batch dimensions, or rows are added up, which ranges do not
    /// allow.
    #[error("{given:?} do not fit {rows} rows and {columns} columns, of which none are added up")]
    Ranges {
        /// The ranges.
        given: Box<Ranges>,
        /// Number of rows of the operands.
        rows: usize,
        /// Number of columns of the operands.
        columns: usize,
    },
    /// A partial result was asked for of a reduction with ranges. Partial results cover all pairs of their columns.
    #[error("there are no partial results of ranges")]
    PartOfRanges,
    /// Rows were to be added up ([`HostLaunch::fold`]) in a reduction that is not a sum.
    #[error("the rows of a {0} cannot be added up")]
    Folded(ReductionKind),
}

/// A program in the form that the host engine runs. It is made once for a formula.
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
    /// Number of rows of the operands in one batch.
    pub rows: usize,
    /// Number of columns, which are reduced.
    pub columns: usize,
    /// If rows of a sum are to be added up, the number of rows of the output. Row `k` of the output is then the sum of
    /// every `fold`-th row, from row `k` on.
    pub fold: Option<usize>,
    /// The pairs that exist, if not all do. With ranges, `fold` must be `None`.
    pub ranges: Option<&'a Ranges>,
    /// The type of all operands.
    pub precision: Precision,
    /// The type of the resulting values: that of the operands, or that in which formulas of such operands are computed
    /// (F32 for halves).
    pub values: Precision,
    /// The vector instructions to run with.
    pub instructions: Instructions,
}

/// The results of a reduction: contiguous tensors `[batch.., rows, entries]`, or `[batch.., fold, entries]` if rows
/// are added up.
#[derive(Clone, Debug, PartialEq)]
pub struct HostOutput {
    /// The values, if they are wanted.
    pub values: Option<HostValues>,
    /// The columns at which the values were found, or counts, if they are wanted.
    pub indices: Option<Vec<i64>>,
    /// The numbers that the values are made of (maxima, and sums of exponentials relative to them), if they are
    /// wanted: `[batch.., rows, Spec::state_size]`, in the type in which formulas of the operands are computed.
    pub state: Option<HostValues>,
}

/// The partial result of a reduction over some of the columns. [`Spec::planes`] says what its values are.
#[derive(Clone, Debug, PartialEq)]
pub struct HostPart {
    /// Values, `[batch.., rows, Spec::partial_values]`.
    pub values: Vec<f64>,
    /// Columns or counts, `[batch.., rows, Spec::entries]`, if the reduction [keeps](Spec::keeps_indices) them.
    pub indices: Vec<u32>,
}

impl HostLaunch<'_> {
    /// Runs the reduction on `tensors` and `scalars`.
    ///
    /// A tensor has the shape `[batch.., length, dim]` for a row or column operand and `[batch.., dim]` for a
    /// parameter; its batch dimensions broadcast against `batch_shape`.
    ///
    /// # Errors
    /// If the number of tensors or scalars is wrong, if a tensor does not fit the formula, or if the fold, the ranges
    /// or the number of columns do not fit the reduction.
    pub fn run(
        &self,
        tensors: &[HostTensor],
        scalars: &[f64],
        wanted: Wanted,
    ) -> Result<HostOutput, HostError> {
        self.job(tensors, scalars, wanted, 0..self.columns)
            .map(engine::run)
    }

    /// Reduces only the columns `columns` of the column operands, into a partial result.
    ///
    /// # Errors
    /// As [`run`](Self::run), and if the launch has ranges.
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
        self.job(tensors, scalars, wanted, columns)
            .map(engine::run_part)
    }

    /// The columns of each row at which the formula is not 1. The formula must have one component. The result does not
    /// depend on the reduction of the launch.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) fn find(&self, tensors: &[HostTensor], scalars: &[f64]) -> Result<Runs, HostError> {
        self.job(tensors, scalars, Wanted::INDICES, 0..self.columns)
            .map(engine::find)
    }

    /// Merges partial results of the same rows, in the order of their columns, into results.
    ///
    /// # Errors
    /// If there are no parts, or if one has another size than the reduction expects.
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

    /// Number of rows of the output in one batch.
    fn out_rows(&self) -> usize {
        self.fold.unwrap_or(self.rows)
    }

    /// Number of rows of the output in all batches together.
    fn all_rows(&self) -> usize {
        self.batch_shape.iter().product::<usize>() * self.out_rows()
    }

    /// The reduction of some columns, if its operands and the columns fit the launch.
    fn job<'a>(
        &'a self,
        tensors: &'a [HostTensor<'a>],
        scalars: &'a [f64],
        wanted: Wanted,
        columns: Range<usize>,
    ) -> Result<Job<'a>, HostError> {
        let end = columns.end;
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
        let job = Job {
            launch: self,
            tensors,
            scalars,
            wanted,
            columns,
        };
        if self.all_rows() == 0 {
            return Ok(job);
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
            fits.map_err(|reason| {
                OperandError::of_tensor(index, (tensor.shape, tensor.strides), reason)
            })?;
        }
        Ok(job)
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
