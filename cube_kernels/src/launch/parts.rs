//! Partial results as tensors: each covers some of the columns, and they are merged when all are there.

use cubecl::{
    ir::{ElemType, IntKind},
    prelude::*,
};

use super::{
    Launch, LaunchError, Output, check_device,
    kernels::{Goal, Kernels},
    layouts,
    merging::{Becomes, Merging, PartBuffers, PartSizes, Results, Turns, Types},
};
use crate::{
    plan::{self, Device},
    reduction::{Spec, Wanted},
};

/// Partial results of a reduction, one after the other, in contiguous tensors.
///
/// A part is the state of a reduction after some of the columns; [`Spec::planes`] lists its values. Parts are merged in
/// the order in which they are stored. This must be the order of their columns, because a reduction that finds columns
/// takes the first of several equal values.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Values, `[count, batch.., rows, Spec::partial_values]` of type [`Launch::accumulated`]. The tensor has one
    /// number if parts have no values.
    pub values: TensorBinding,
    /// Columns or counts, `[count, batch.., rows, Spec::entries]` as unsigned integers of 32 bits, if the reduction
    /// [keeps](Spec::keeps_indices) them.
    pub indices: Option<TensorBinding>,
    /// How many parts there are; the tensors may be longer.
    pub count: usize,
}

/// The first column of a launch, and where its partial results are written.
#[derive(Clone, Copy, Debug)]
pub struct PartsAt<'a> {
    /// The index of the first column in the operands of columns. [`Launch::columns`] columns are reduced from there on.
    pub start: usize,
    /// The tensors to write to.
    pub parts: &'a Parts,
    /// The position of the first part that is written.
    pub first: usize,
}

impl<'a> Launch<'a> {
    pub(super) fn spec(&self, wanted: Wanted) -> Spec {
        Spec {
            unordered: self
                .ranges
                .is_some_and(|ranges| ranges.unordered(self.reduction)),
            ..Spec::new(self.reduction, wanted, self.program.dim)
        }
    }

    /// Rows of the result in all batches.
    pub(super) fn all_rows(&self) -> usize {
        self.batch_shape.iter().product::<usize>() * self.fold.unwrap_or(self.rows)
    }

    /// The types of this reduction with indices of `index_kind`.
    pub(super) fn types(&self, index_kind: IntKind) -> Types {
        Types {
            stored: self.precision.elem(),
            computed: self.precision.computed().elem(),
            accumulated: self.accumulated().elem(),
            output: (self.values.elem(), ElemType::Int(index_kind)),
        }
    }

    /// How many numbers `count` parts take.
    pub fn part_sizes(&self, wanted: Wanted, count: usize) -> PartSizes {
        PartSizes::new(self.spec(wanted), self.all_rows(), count)
    }

    /// Reduces some of the columns of `tensors` to partial results, from which the `wanted` results can be merged.
    ///
    /// Returns how many parts were written: as many as the [plan](super::Kernels::plan) has, or 0 if there are no
    /// columns or the output is empty.
    ///
    /// # Errors
    /// As [`run`](Self::run), and if the parts do not fit in their tensors.
    pub fn run_parts(
        &self,
        client: &Client,
        tensors: Vec<TensorBinding>,
        scalars: &[f64],
        wanted: Wanted,
        into: PartsAt,
    ) -> Result<usize, LaunchError> {
        let device = Device::new(client.properties(), client.name());
        self.run_parts_as(&device, client, tensors, scalars, wanted, into)
    }

    /// Like [`run_parts`](Self::run_parts), planned for `device`, which must not have more capabilities than the device
    /// of the client.
    pub fn run_parts_as(
        &self,
        device: &Device,
        client: &Client,
        tensors: Vec<TensorBinding>,
        scalars: &[f64],
        wanted: Wanted,
        into: PartsAt,
    ) -> Result<usize, LaunchError> {
        self.check_properties(client.properties(), client.name(), wanted, tensors.len())?;
        if self.is_empty() || self.columns == 0 {
            return Ok(0);
        }
        self.check_buffers(&tensors, scalars)?;
        let goal = Goal::Parts {
            start: into.start,
            count: into.parts.count,
        };
        let kernels = Kernels::new(
            self,
            device,
            client.name(),
            &layouts(&tensors),
            wanted,
            goal,
        )?;
        let results = PartBuffers::of(into.parts, self, wanted)?.results();
        kernels.launch_parts(client, tensors, scalars, into, results)
    }

    /// Merges parts of the same rows into results.
    ///
    /// # Errors
    /// If there are no parts, or their tensors are shorter than [`part_sizes`](Self::part_sizes) or not contiguous.
    pub fn merge(&self, client: &Client, parts: &Parts, output: Output) -> Result<(), LaunchError> {
        let (wanted, kind) = (output.wanted(), output.index_kind());
        self.check_output(&output, wanted)?;
        let results = Results::of(output);
        self.merge_as(client, parts, wanted, (Becomes::Result, kind), results)
    }

    /// Merges parts, which were made for the `wanted` results, into one part: the first part of `into`.
    ///
    /// The tensors of `into` must be other ones than those of `parts`.
    ///
    /// # Errors
    /// As [`merge`](Self::merge).
    pub fn merge_parts(
        &self,
        client: &Client,
        parts: &Parts,
        wanted: Wanted,
        into: &Parts,
    ) -> Result<(), LaunchError> {
        let buffers = PartBuffers::of(into, self, wanted)?;
        let becomes = (Becomes::Part, IntKind::I32);
        self.merge_as(client, parts, wanted, becomes, buffers.results())
    }

    fn merge_as(
        &self,
        client: &Client,
        parts: &Parts,
        wanted: Wanted,
        (becomes, index_kind): (Becomes, IntKind),
        results: Results,
    ) -> Result<(), LaunchError> {
        check_device(client, self.precision, self.reduction, wanted, 1)?;
        let sizes = self.part_sizes(wanted, parts.count);
        let buffers = PartBuffers::of(parts, self, wanted)?;
        if parts.count == 0 {
            return Err(LaunchError::NoParts);
        }
        if self.is_empty() {
            return Ok(());
        }
        let device = Device::new(client.properties(), client.name());
        let largest = sizes.values.max(sizes.indices);
        let address =
            plan::address_type(&device, largest).ok_or_else(|| LaunchError::TooLarge {
                device: client.name().to_string(),
                len: largest,
            })?;
        let (mut blueprint, together) =
            plan::merge(&device, self.spec(wanted), self.precision, parts.count)?;
        blueprint.written = self.values;
        let types = self.types(index_kind);
        let turns = Turns {
            parts: parts.count,
            together,
            result: Some(becomes),
        };
        let merging = Merging::new(&device, blueprint, types, address, self.all_rows(), turns)?;
        merging.launch(client, buffers, results);
        Ok(())
    }
}
