//! Launching of reductions on tensors of any layout.

use cubecl::{
    features::{EnumSet, TypeUsage},
    ir::{ElemType, IntKind, UIntKind},
    prelude::*,
};

use crate::{
    kernel::{self, layout, math::Precision},
    plan::{self, Device, PlanError, Sizes},
    program::{Program, Space},
    reduction::{Accumulation, NO_INDEX, ReductionKind, Spec, Wanted},
};

/// Why a reduction could not be launched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The device does not compute in this type.
    #[error("the device {device} does not support {precision:?} reductions: {reason}")]
    Unsupported {
        /// Name of the runtime.
        device: String,
        /// The type.
        precision: Precision,
        /// What is missing.
        reason: &'static str,
    },
    /// A kernel cannot bind so many buffers.
    #[error("{tensors} tensors are more than a kernel can bind on the device {device}: {limit}")]
    TooManyTensors {
        /// Name of the runtime.
        device: String,
        /// Tensors in the formula.
        tensors: usize,
        /// The most there can be.
        limit: usize,
    },
    /// A buffer is larger than the device can address.
    #[error("a buffer of {len} values is larger than the device {device} can address")]
    TooLarge {
        /// Name of the runtime.
        device: String,
        /// Values in the buffer.
        len: usize,
    },
    /// No plan exists.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// A reduction to launch.
pub struct Launch<'a> {
    /// The lowered formula.
    pub program: &'a Program,
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
    /// The type of all operands and of the values.
    pub precision: Precision,
}

/// Where the results go: contiguous tensors `[batch.., rows, entries]`, or `[batch.., fold, entries]`.
#[derive(Debug, Default)]
pub struct Output {
    /// The values, where they are wanted.
    pub values: Option<TensorBinding>,
    /// The columns at which they were found, where they are wanted, and their type.
    pub indices: Option<(TensorBinding, IntKind)>,
}

/// Whether the device runs the reduction `kind` of formulas of `tensors` tensors in `precision`.
pub fn check_device(
    client: &Client,
    precision: Precision,
    kind: ReductionKind,
    tensors: usize,
) -> Result<(), LaunchError> {
    // The outputs and the sizes need buffers, too.
    let others = match kind {
        ReductionKind::Minimum | ReductionKind::Maximum | ReductionKind::Smallest { .. } => 3,
        _ => 2,
    };
    let limit = (client.properties().hardware.max_bindings as usize).saturating_sub(others);
    if tensors > limit {
        return Err(LaunchError::TooManyTensors {
            device: client.name().to_string(),
            tensors,
            limit,
        });
    }
    let accumulated = accumulated(kind, precision);
    for (precision, usage) in [
        (precision, TypeUsage::Buffer | TypeUsage::Conversion),
        (
            precision.computed(),
            TypeUsage::Buffer | TypeUsage::Arithmetic,
        ),
        (accumulated, TypeUsage::Buffer | TypeUsage::Arithmetic),
    ] {
        check_type(client, precision, usage)?;
    }
    Ok(())
}

/// Whether the device can do with values of type `precision` what `usage` says.
fn check_type(
    client: &Client,
    precision: Precision,
    usage: EnumSet<TypeUsage>,
) -> Result<(), LaunchError> {
    let unsupported = |reason| LaunchError::Unsupported {
        device: client.name().to_string(),
        precision,
        reason,
    };
    if !client
        .properties()
        .type_usage(precision.elem())
        .is_superset(usage)
    {
        return Err(unsupported("the device has no such type"));
    }
    // GLSL.std.450, which Vulkan and the translation from WGSL build on, has no exponential or
    // logarithm of 64 bits: drivers answer with garbage or crash.
    if precision == Precision::F64 && client.name().starts_with("wgpu") {
        return Err(unsupported("its functions of 64 bits are not reliable"));
    }
    Ok(())
}

/// The type in which `kind` accumulates.
fn accumulated(kind: ReductionKind, precision: Precision) -> Precision {
    match kind {
        ReductionKind::Sum(Accumulation::Double) => Precision::F64,
        _ => precision.computed(),
    }
}

impl Launch<'_> {
    /// Reduces `tensors` and `scalars` into `output`.
    ///
    /// A tensor has the shape `[batch.., length, dim]` for a row or column operand and
    /// `[batch.., dim]` for a parameter; its batch dimensions broadcast against `batch_shape`. Any
    /// strides are read in place.
    ///
    /// Shapes are the caller's to check; here they are only asserted. Nothing is launched for an
    /// empty output; there must be columns, and rows to add up.
    pub fn run(
        &self,
        client: &Client,
        tensors: Vec<TensorBinding>,
        scalars: &[f64],
        output: Output,
    ) -> Result<(), LaunchError> {
        check_device(client, self.precision, self.reduction, tensors.len())?;
        let program = self.program;
        assert_eq!(tensors.len(), program.tensors.len());
        assert_eq!(scalars.len(), program.scalars);
        let spec = Spec {
            kind: self.reduction,
            wanted: Wanted {
                values: output.values.is_some(),
                indices: output.indices.is_some(),
            },
            dim: program.dim,
        };
        let sizes = Sizes {
            batches: self.batch_shape.iter().product(),
            rows: self.rows,
            columns: self.columns,
            fold: self.fold,
        };
        if self.fold.is_some() {
            assert!(matches!(self.reduction, ReductionKind::Sum(_)) && self.rows > 0);
        }
        let rows = sizes.batches * sizes.out_rows();
        if rows == 0 {
            return Ok(());
        }
        if self.columns >= NO_INDEX as usize && (spec.wanted.indices || spec.keeps_indices()) {
            return Err(LaunchError::TooLarge {
                device: client.name().to_string(),
                len: self.columns,
            });
        }
        let properties = client.properties();
        let device = Device::new(properties, client.name());
        let strides: Vec<Strided> = tensors
            .iter()
            .zip(&program.tensors)
            .map(|(tensor, space)| Strided::new(tensor, *space, self.batch_shape))
            .collect();
        let contiguous = strides.iter().map(|s| s.component == 1).collect();
        let rank = self.batch_shape.len();
        let plan = plan::plan(
            &device,
            program,
            spec,
            sizes,
            self.precision,
            rank,
            contiguous,
        )?;

        let largest = strides.iter().map(|s| s.extent).max().unwrap_or(0);
        let columns = plan.parts * plan.part_columns + plan.blueprint.block;
        let written = match plan.parts {
            1 => spec.entries(),
            parts => parts * spec.partial_values().max(spec.entries()),
        };
        let last_row =
            (plan.part_steps + sizes.steps() + 1) * sizes.out_rows() + plan.lanes * plan.units;
        let largest = largest.max(rows * written).max(columns).max(last_row);
        let address =
            plan::address_type(&device, largest).ok_or_else(|| LaunchError::TooLarge {
                device: client.name().to_string(),
                len: largest,
            })?;

        let mut numbers = vec![0; layout::BATCH_SHAPE];
        numbers[layout::ROWS] = sizes.rows;
        numbers[layout::COLUMNS] = sizes.columns;
        numbers[layout::PART] = plan.part_columns;
        numbers[layout::PARTS] = plan.parts;
        numbers[layout::BATCHES] = sizes.batches;
        numbers[layout::FOLDED] = sizes.out_rows();
        numbers[layout::STEPS] = plan.part_steps;
        numbers.extend(self.batch_shape);
        for strided in &strides {
            numbers.extend([strided.row, strided.component]);
            numbers.extend(&strided.batch);
        }
        let numbers: SequenceArg<usize> = numbers.into_iter().collect();
        let computed = self.precision.computed().elem();
        let accumulated = accumulated(self.reduction, self.precision);
        let infinity = InputScalar::new(f64::INFINITY, computed);
        let scalars: SequenceArg<InputScalar> = scalars
            .iter()
            .map(|value| InputScalar::new(*value, computed))
            .collect();
        let tensors: SequenceArg<Box<[_]>> = tensors
            .into_iter()
            .map(|tensor| tensor.into_tensor_arg().into_buffer_arg())
            .collect();
        let buffer = |tensor: TensorBinding| tensor.into_tensor_arg().into_buffer_arg();
        let index_kind = output
            .indices
            .as_ref()
            .map_or(IntKind::I32, |(_, kind)| *kind);
        let final_types = (self.precision.elem(), ElemType::Int(index_kind));
        let part_types = (accumulated.elem(), ElemType::UInt(UIntKind::U32));
        let final_values = output.values.map(buffer);
        let final_indices = output.indices.map(|(tensor, _)| buffer(tensor));
        let launch = |values: Option<BufferArg>, indices: Option<BufferArg>, types| {
            let (o, i) = types;
            // SAFETY: the kernel bounds rows, columns and output by the sizes in `layout`, and the
            // strides were taken from the tensors; its loops are over these sizes.
            unsafe {
                kernel::reduce::launch_unchecked(
                    client,
                    plan.cube_count(),
                    plan.cube_dim(),
                    address,
                    plan.lanes,
                    tensors,
                    scalars,
                    numbers,
                    infinity,
                    values.into_iter().collect(),
                    indices.into_iter().collect(),
                    program.clone(),
                    plan.blueprint.clone(),
                    self.precision.elem(),
                    computed,
                    accumulated.elem(),
                    o,
                    i,
                )
            }
        };
        if plan.parts == 1 {
            launch(final_values, final_indices, final_types);
            return Ok(());
        }
        let len = rows * plan.parts * spec.partial_values();
        let partial = client.empty(len * accumulated.size());
        // SAFETY: the length is that of the buffer just made.
        let part = || unsafe { BufferArg::from_raw_parts(partial.clone(), len) };
        let index_len = rows * plan.parts * spec.entries();
        let partial_indices = spec
            .keeps_indices()
            .then(|| client.empty(index_len * size_of::<u32>()));
        // SAFETY: as above.
        let part_indices = || {
            let handle = partial_indices.clone();
            handle.map(|handle| unsafe { BufferArg::from_raw_parts(handle, index_len) })
        };
        launch(Some(part()), part_indices(), part_types);
        let units = 128.min(device.max_units);
        let [x, y, z] = plan::spread((rows * spec.width()).div_ceil(units), device.max_cubes)?;
        // SAFETY: a unit reads and writes only what belongs to its row and component.
        unsafe {
            kernel::merge::launch_unchecked(
                client,
                CubeCount::Static(x, y, z),
                CubeDim::new_1d(units as u32),
                address,
                part(),
                part_indices().into_iter().collect(),
                final_values.into_iter().collect(),
                final_indices.into_iter().collect(),
                rows,
                plan.parts,
                infinity,
                plan.blueprint.clone(),
                computed,
                accumulated.elem(),
                final_types.0,
                final_types.1,
            )
        }
        Ok(())
    }
}

/// The strides of a tensor by what they step over.
struct Strided {
    row: usize,
    component: usize,
    batch: Vec<usize>,
    /// One more than the largest offset.
    extent: usize,
}

impl Strided {
    fn new(tensor: &TensorBinding, space: Space, batch_shape: &[usize]) -> Self {
        let (shape, strides) = (&tensor.shape, &tensor.strides);
        let own = if space == Space::Uniform { 1 } else { 2 };
        let rank = shape.len();
        assert!(rank >= own && rank - own <= batch_shape.len());
        let stride = |axis: usize| if shape[axis] == 1 { 0 } else { strides[axis] };
        let pad = batch_shape.len() - (rank - own);
        let batch = (0..batch_shape.len())
            .map(|axis| if axis < pad { 0 } else { stride(axis - pad) })
            .collect();
        let extent = 1
            + (0..rank)
                .map(|axis| shape[axis].saturating_sub(1) * stride(axis))
                .sum::<usize>();
        Self {
            row: if own == 2 { stride(rank - 2) } else { 0 },
            // A single component has no stride that matters.
            component: if shape[rank - 1] == 1 {
                1
            } else {
                strides[rank - 1]
            },
            batch,
            extent,
        }
    }
}
