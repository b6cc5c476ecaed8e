//! Partial results as tensors: of some of the columns each, merged when all have come.

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

/// Partial results of a reduction, one behind the other, in contiguous tensors.
///
/// A part is what a reduction knows of some of the columns, as [`Spec::planes`] says. Parts of other columns are merged
/// in the order in which they stand, which is to be that of their columns: of equal values the first is found.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Values, `[count, batch.., rows, Spec::partial_values]` of type [`Launch::accumulated`]; one number where there are
    /// none.
    pub values: TensorBinding,
    /// Columns or counts, `[count, batch.., rows, Spec::entries]` as unsigned integers of 32 bits, where the reduction
    /// [keeps](Spec::keeps_indices) them.
    pub indices: Option<TensorBinding>,
    /// How many parts there are; the tensors may be longer.
    pub count: usize,
}

/// Where columns start, and where their parts are written.
#[derive(Clone, Copy, Debug)]
pub struct PartsAt<'a> {
    /// The first column, of the rows that tensors of columns have; [`Launch::columns`] says how many follow.
    pub start: usize,
    /// The tensors.
    pub parts: &'a Parts,
    /// The first part that is written.
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

    /// The types of a reduction whose indices are of `index_kind`.
    pub(super) fn types(&self, index_kind: IntKind) -> Types {
        Types {
            stored: self.precision.elem(),
            computed: self.precision.computed().elem(),
            accumulated: self.accumulated().elem(),
            output: (self.values.elem(), ElemType::Int(index_kind)),
        }
    }

    /// How many numbers `count` parts are.
    pub fn part_sizes(&self, wanted: Wanted, count: usize) -> PartSizes {
        PartSizes::new(self.spec(wanted), self.all_rows(), count)
    }

    /// Reduces some of the columns of `tensors` into parts of what is `wanted`; returns how many were written: as many as
    /// the [plan](super::Kernels::plan) has, none if there are no columns.
    ///
    /// # Errors
    /// As [`run`](Self::run), and where the parts do not fit.
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

    /// The same as planned for `device`, which must not be able to do more than that of the client.
    pub fn run_parts_as(
        &self,
        device: &Device,
        client: &Client,
        tensors: Vec<TensorBinding>,
        scalars: &[f64],
        wanted: Wanted,
        into: PartsAt,
    ) -> Result<usize, LaunchError> {
        let kind = self.reduction;
        check_device(client, self.precision, kind, wanted, tensors.len())?;
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
    /// Where there are no parts, or their tensors are shorter than [`part_sizes`](Self::part_sizes) or not contiguous.
    pub fn merge(&self, client: &Client, parts: &Parts, output: Output) -> Result<(), LaunchError> {
        let (wanted, kind) = (output.wanted(), output.index_kind());
        self.check_output(&output, wanted)?;
        let results = Results::of(output);
        self.merge_as(client, parts, wanted, (Becomes::Result, kind), results)
    }

    /// Merges parts of what is `wanted` into one: the first one of `into`, which are other tensors.
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
