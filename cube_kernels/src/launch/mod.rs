//! Launching of reductions on tensors of any layout.

mod checks;
mod kernels;
mod merging;
mod parts;
mod shapes;
mod strided;

use cubecl::{
    ir::{DeviceProperties, IntKind},
    prelude::*,
};

pub use checks::{check_device, check_properties, same_tensors};
use kernels::Goal;
pub use kernels::Kernels;
pub use merging::PartSizes;
pub use parts::{Parts, PartsAt};
pub use strided::Layout;
use strided::contiguous;

use crate::{
    error::LaunchError,
    math::Precision,
    plan::{Device, Strategy},
    program::{Program, Symmetric},
    ranges::Ranges,
    reduction::{ReductionKind, Wanted},
};

/// A reduction to launch.
pub struct Launch<'a> {
    /// The lowered formula.
    pub program: &'a Program,
    /// The lowered form that evaluates each pair of points once, if rows and columns are the same points.
    pub symmetric: Option<&'a Symmetric>,
    /// What is done along the reduced axis.
    pub reduction: ReductionKind,
    /// Sizes of the batch dimensions.
    pub batch_shape: &'a [usize],
    /// Rows of the operands in one batch.
    pub rows: usize,
    /// Reduced columns.
    pub columns: usize,
    /// Number of output rows in a batch, if the rows of a sum are added up: row `k` of the output is the
    /// sum of every `fold`-th row, starting with row `k`.
    pub fold: Option<usize>,
    /// The pairs that exist, if not all do. `fold` is `None` then.
    pub ranges: Option<&'a Ranges>,
    /// The type of all operands.
    pub precision: Precision,
    /// The type of the values of the result: the type of the operands, or the one in which formulas of such
    /// operands are computed.
    pub values: Precision,
    /// How the schedule is chosen.
    pub strategy: Strategy,
}

/// Where the results go: contiguous tensors `[batch.., rows, entries]`, or `[batch.., fold, entries]`.
#[derive(Debug, Default)]
pub struct Output {
    /// The values, if they are wanted.
    pub values: Option<TensorBinding>,
    /// The columns at which the values were found, or counts, if they are wanted, and their type.
    pub indices: Option<(TensorBinding, IntKind)>,
    /// The maxima and the sums of exponentials that the values are made of, if they are wanted:
    /// `[batch.., rows, Spec::state_size]` in the type in which sums are accumulated.
    pub state: Option<TensorBinding>,
}

impl Output {
    /// Which results have a tensor.
    fn wanted(&self) -> Wanted {
        Wanted {
            values: self.values.is_some(),
            indices: self.indices.is_some(),
            state: self.state.is_some(),
        }
    }

    /// The type of indices. It does not matter if they are not wanted.
    fn index_kind(&self) -> IntKind {
        self.indices
            .as_ref()
            .map_or(IntKind::I32, |(_, kind)| *kind)
    }
}

impl<'a> Launch<'a> {
    /// The kernels that reduce tensors with `layouts` on a device with these properties and a runtime of
    /// this name. There must be rows and columns.
    pub fn kernels(
        &self,
        properties: &DeviceProperties,
        runtime: &str,
        layouts: &[Layout],
        wanted: Wanted,
        index_kind: IntKind,
    ) -> Result<Kernels<'a>, LaunchError> {
        self.check_properties(properties, runtime, wanted, layouts.len())?;
        let device = Device::new(properties, runtime);
        self.kernels_as(&device, runtime, layouts, wanted, index_kind)
    }

    /// Like [`kernels`](Self::kernels), planned for `device`.
    pub fn kernels_as(
        &self,
        device: &Device,
        runtime: &str,
        layouts: &[Layout],
        wanted: Wanted,
        index_kind: IntKind,
    ) -> Result<Kernels<'a>, LaunchError> {
        let goal = Goal::Results(index_kind);
        Kernels::new(self, device, runtime, layouts, wanted, goal)
    }

    /// Checks whether a device with these properties and a runtime of this name runs this reduction of contiguous
    /// tensors with these `shapes`. It finds errors of [`run`](Self::run) before there are tensors.
    pub fn check(
        &self,
        properties: &DeviceProperties,
        runtime: &str,
        shapes: &[Vec<usize>],
        wanted: Wanted,
    ) -> Result<(), LaunchError> {
        let strides: Vec<Vec<usize>> = shapes.iter().map(|shape| contiguous(shape)).collect();
        let layouts = shapes.iter().zip(&strides);
        let layouts: Vec<Layout> = layouts
            .map(|(shape, strides)| Layout { shape, strides })
            .collect();
        if self.is_empty() {
            return self.check_properties(properties, runtime, wanted, shapes.len());
        }
        self.kernels(properties, runtime, &layouts, wanted, IntKind::I32)
            .map(drop)
    }

    /// Number of buffers that a kernel reads for this many tensors. Ranges take buffers of their own.
    fn buffers(&self, tensors: usize) -> usize {
        let ranges = self.ranges;
        tensors + ranges.map_or(0, |ranges| ranges.buffers(self.reduction))
    }

    /// Checks that a device runs the reduction of this many tensors in the type of the operands.
    fn check_properties(
        &self,
        properties: &DeviceProperties,
        runtime: &str,
        wanted: Wanted,
        tensors: usize,
    ) -> Result<(), LaunchError> {
        let (precision, kind) = (self.precision, self.reduction);
        let buffers = self.buffers(tensors);
        check_properties(properties, runtime, precision, kind, wanted, buffers)
    }

    /// The type in which the reduction accumulates values.
    pub fn accumulated(&self) -> Precision {
        self.reduction.accumulated(self.precision.computed())
    }

    /// Whether the output is empty, so that there is nothing to compute.
    fn is_empty(&self) -> bool {
        let rows = self.fold.unwrap_or(self.rows);
        rows == 0 || self.batch_shape.contains(&0)
    }

    /// Reduces `tensors` and `scalars` into `output`.
    ///
    /// A tensor has the shape `[batch.., length, dim]` for a row or column operand, `[batch.., M, N, dim]`
    /// for an operand with a value for each pair, and `[batch.., dim]` for a parameter. Its batch
    /// dimensions broadcast against `batch_shape`. Tensors with any strides are read in place.
    ///
    /// Nothing is launched for an empty output. Otherwise there must be columns, and rows if `fold` is set.
    ///
    /// # Errors
    /// If the device cannot run the reduction, or a tensor does not fit what is read from it or written to it.
    pub fn run(
        &self,
        client: &Client,
        tensors: Vec<TensorBinding>,
        scalars: &[f64],
        output: Output,
    ) -> Result<(), LaunchError> {
        let device = Device::new(client.properties(), client.name());
        self.run_as(&device, client, tensors, scalars, output)
    }

    /// Like [`run`](Self::run), planned for `device`, which must not have more capabilities than the device
    /// of the client.
    pub fn run_as(
        &self,
        device: &Device,
        client: &Client,
        tensors: Vec<TensorBinding>,
        scalars: &[f64],
        output: Output,
    ) -> Result<(), LaunchError> {
        let wanted = output.wanted();
        self.check_properties(client.properties(), client.name(), wanted, tensors.len())?;
        if self.is_empty() {
            return Ok(());
        }
        self.check_buffers(&tensors, scalars)?;
        self.check_output(&output, wanted)?;
        let layouts = layouts(&tensors);
        let goal = Goal::Results(output.index_kind());
        Kernels::new(self, device, client.name(), &layouts, wanted, goal)?
            .launch(client, tensors, scalars, output);
        Ok(())
    }
}

/// The shape and strides of each tensor.
fn layouts(tensors: &[TensorBinding]) -> Vec<Layout<'_>> {
    tensors
        .iter()
        .map(|tensor| Layout {
            shape: &tensor.shape,
            strides: &tensor.strides,
        })
        .collect()
}
