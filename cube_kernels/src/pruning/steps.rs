//! Launches of the host engine whose rows and columns are blocks.

use super::{
    bounds::{BlockProgram, Read},
    boxes::{Boxes, Place},
    limits::Limits,
    lists::Pruning,
    part::Part,
};
use crate::{
    host::{HostError, HostLaunch, HostOutput, HostSlice, HostTensor, Instructions},
    ranges::Runs,
    reduction::{ReductionKind, Wanted},
};

/// The rows and columns, which are blocks or groups, that a program is run for.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub rows: &'a Boxes,
    pub columns: &'a Boxes,
    /// The limits of the rows, if the program reads them.
    pub limits: Option<&'a Limits>,
    /// Which pairs of blocks are looked at, if not all.
    pub part: Option<&'a Part>,
}

impl Step<'_> {
    /// The column among all columns, given a column of the launch. These differ if columns were gathered.
    pub fn column(&self, column: u32) -> u32 {
        self.part.map_or(column, |part| part.column(column))
    }

    /// Runs among all columns, given runs of columns of the launch. These differ if columns were gathered.
    fn found(&self, runs: Runs) -> Runs {
        match self.part {
            Some(part) => part.found(runs),
            None => runs,
        }
    }
}

impl Pruning<'_> {
    /// The `count` smallest values of each row, their columns, or both, as `wanted`.
    pub(super) fn smallest(
        &self,
        program: &BlockProgram,
        step: Step,
        (count, wanted): (usize, Wanted),
    ) -> Result<HostOutput, HostError> {
        self.launch(program, step, |launch, tensors, scalars| {
            let launch = HostLaunch {
                reduction: ReductionKind::Smallest { k: count },
                ..*launch
            };
            launch.run(tensors, scalars, wanted)
        })
    }

    /// The columns that have the `count` least values of each row. Values that are infinite or NaN are left out.
    pub(super) fn least(
        &self,
        program: &BlockProgram,
        step: Step,
        count: usize,
    ) -> Result<Runs, HostError> {
        let count = count.clamp(1, step.columns.count());
        let output = self.smallest(program, step, (count, Wanted::INDICES))?;
        let indices = output.indices.expect("they are wanted");
        let sorted = indices.chunks(count).map(|own| {
            // The columns of places that were not filled are -1.
            let own = own.iter().filter_map(|own| u32::try_from(*own).ok());
            let mut own: Vec<u32> = own.collect();
            own.sort_unstable();
            own.into_iter()
        });
        Ok(step.found(Runs::of_columns(sorted)))
    }

    /// The columns of each row that are not excluded. `program` is 1 for excluded columns.
    pub(super) fn not_excluded(
        &self,
        program: &BlockProgram,
        step: Step,
    ) -> Result<Runs, HostError> {
        let found = self.launch(program, step, |launch, tensors, scalars| {
            launch.find(tensors, scalars)
        })?;
        Ok(step.found(found))
    }

    /// Makes a launch of a program with its operands, and hands them to `run`.
    fn launch<O>(
        &self,
        program: &BlockProgram,
        step: Step,
        run: impl FnOnce(&HostLaunch, &[HostTensor], &[f64]) -> Result<O, HostError>,
    ) -> Result<O, HostError> {
        let precision = self.bounds.precision.computed();
        let columns = step.part.and_then(Part::columns).unwrap_or(step.columns);
        let limits = step.limits.map(|limits| limits.numbers(precision));
        let tensor = |read: &Read| match *read {
            Read::Limits => {
                let (limits, numbers) = step.limits.zip(limits.as_ref()).expect("there are limits");
                (numbers.as_slice(), limits.place())
            }
            Read::Side(axis, source, side) => {
                let boxes = match axis == self.bounds.axis {
                    true => columns,
                    false => step.rows,
                };
                let place = boxes.place(source, side);
                (
                    boxes.numbers(),
                    place.expect("there are boxes of what a formula reads"),
                )
            }
            Read::Parameter(tensor) => {
                let numbers = self.parameters[tensor].as_slice();
                (numbers, Place::row(numbers.len()))
            }
        };
        let own: Vec<(HostSlice, Place)> = program.tensors.iter().map(tensor).collect();
        let tensors = own
            .iter()
            .zip(&program.tensors)
            .map(|((data, place), read)| {
                // A parameter has no dimension of rows.
                let first = usize::from(matches!(read, Read::Parameter(_)));
                HostTensor {
                    data: *data,
                    shape: &place.shape[first..],
                    strides: &place.strides[first..],
                    start: place.start,
                }
            });
        let tensors: Vec<HostTensor> = tensors.collect();
        let scalars: Vec<f64> = program.scalars.iter().map(|at| self.scalars[*at]).collect();
        let launch = HostLaunch {
            program: &program.program,
            reduction: ReductionKind::Count,
            batch_shape: &[],
            rows: step.rows.count(),
            columns: columns.count(),
            fold: None,
            ranges: step.part.map(|part| &part.ranges),
            precision,
            values: precision,
            instructions: Instructions::detect(),
        };
        run(&launch, &tensors, &scalars)
    }
}
