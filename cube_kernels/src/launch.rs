//! Launching of reductions on tensors of any layout.

use cubecl::{
    features::TypeUsage,
    ir::{AddressType, ElemType, FloatKind},
    prelude::*,
};

use crate::{
    kernel::{self, layout, math::Precision},
    plan::{self, Device, PlanError, Sizes},
    program::{Program, Space},
    reduction::{ReductionFamily, ReductionKind, Sum},
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
    /// Rows of the output in one batch.
    pub rows: usize,
    /// Reduced columns.
    pub columns: usize,
    /// The type of all tensors.
    pub precision: Precision,
}

/// Whether the device reduces formulas of `tensors` tensors in `precision`.
pub fn check_device(
    client: &Client,
    precision: Precision,
    tensors: usize,
) -> Result<(), LaunchError> {
    // The output and the sizes need buffers, too.
    let limit = (client.properties().hardware.max_bindings as usize).saturating_sub(2);
    if tensors > limit {
        return Err(LaunchError::TooManyTensors {
            device: client.name().to_string(),
            tensors,
            limit,
        });
    }
    let elem = match precision {
        Precision::F32 => FloatKind::F32,
        Precision::F64 => FloatKind::F64,
    };
    let unsupported = |reason| LaunchError::Unsupported {
        device: client.name().to_string(),
        precision,
        reason,
    };
    let usage = client.properties().type_usage(ElemType::Float(elem));
    if !usage.is_superset(TypeUsage::Buffer | TypeUsage::Arithmetic) {
        return Err(unsupported("the device has no such type"));
    }
    // GLSL.std.450, which Vulkan and the translation from WGSL build on, has no exponential or
    // logarithm of 64 bits: drivers answer with garbage or crash.
    if precision == Precision::F64 && client.name().starts_with("wgpu") {
        return Err(unsupported("its functions of 64 bits are not reliable"));
    }
    Ok(())
}

impl Launch<'_> {
    /// Reduces `tensors` and `scalars` into `out`, a contiguous tensor `[batch.., rows, dim]`.
    ///
    /// A tensor has the shape `[batch.., length, dim]` for a row or column operand and
    /// `[batch.., dim]` for a parameter; its batch dimensions broadcast against `batch_shape`. Any
    /// strides are read in place.
    ///
    /// Shapes are the caller's to check; here they are only asserted. Nothing is launched for an
    /// empty output; without columns the output is that of an empty reduction.
    pub fn run(
        &self,
        client: &Client,
        tensors: Vec<TensorBinding>,
        scalars: &[f64],
        out: TensorBinding,
    ) -> Result<(), LaunchError> {
        check_device(client, self.precision, tensors.len())?;
        match (self.precision, self.reduction) {
            (Precision::F32, ReductionKind::Sum) => {
                self.run_as::<f32, f32, Sum>(client, tensors, scalars, out)
            }
            (Precision::F64, ReductionKind::Sum) => {
                self.run_as::<f64, f64, Sum>(client, tensors, scalars, out)
            }
        }
    }

    fn run_as<E: Float, F: Float, R: ReductionFamily>(
        &self,
        client: &Client,
        tensors: Vec<TensorBinding>,
        scalars: &[f64],
        out: TensorBinding,
    ) -> Result<(), LaunchError> {
        let program = self.program;
        assert_eq!(tensors.len(), program.tensors.len());
        assert_eq!(scalars.len(), program.scalars);
        let sizes = Sizes {
            batches: self.batch_shape.iter().product(),
            rows: self.rows,
            columns: self.columns,
        };
        let len = sizes.batches * sizes.rows * program.dim;
        if len == 0 {
            return Ok(());
        }
        let properties = client.properties();
        let wide = properties.supports_address(AddressType::U64);
        let mut device = Device::new(&properties.hardware, wide);
        // Through SPIR-V, a tile in shared memory crashes the shader compiler of Mesa's software
        // driver, for which it would be ordinary memory anyway.
        if client.name().contains("spirv") && properties.identity.name.contains("llvmpipe") {
            device.shared_memory = 0;
        }
        let strides: Vec<Strided> = tensors
            .iter()
            .zip(&program.tensors)
            .map(|(tensor, space)| Strided::new(tensor, *space, self.batch_shape))
            .collect();
        let contiguous = strides.iter().map(|s| s.component == 1).collect();
        let rank = self.batch_shape.len();
        let plan = plan::plan(&device, program, sizes, self.precision, rank, contiguous)?;

        let largest = strides.iter().map(|s| s.extent).max().unwrap_or(0);
        let columns = plan.parts * plan.part_columns + plan.blueprint.block;
        let largest = largest.max(len * plan.parts).max(columns);
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
        numbers.extend(self.batch_shape);
        for strided in &strides {
            numbers.extend([strided.row, strided.component]);
            numbers.extend(&strided.batch);
        }
        let numbers: SequenceArg<usize> = numbers.into_iter().collect();
        let elem = F::elem_type_native();
        let scalars: SequenceArg<InputScalar> = scalars
            .iter()
            .map(|value| InputScalar::new(*value, elem))
            .collect();
        let tensors: SequenceArg<Box<[E]>> = tensors
            .into_iter()
            .map(|tensor| tensor.into_tensor_arg().into_buffer_arg())
            .collect();
        let launch = |target: BufferArg, tensors, scalars, numbers, partial: bool| {
            macro_rules! launch {
                ($O:ty) => {
                    // SAFETY: the kernel bounds rows, columns and output by the sizes in `layout`,
                    // and the strides were taken from the tensors; its loops are over these sizes.
                    unsafe {
                        kernel::reduce::launch_unchecked::<E, F, $O, R>(
                            client,
                            plan.cube_count(),
                            plan.cube_dim(),
                            address,
                            plan.lanes,
                            tensors,
                            scalars,
                            numbers,
                            target,
                            program.clone(),
                            plan.blueprint.clone(),
                        )
                    }
                };
            }
            if partial { launch!(F) } else { launch!(E) }
        };
        let out = out.into_tensor_arg().into_buffer_arg();
        if plan.parts == 1 {
            launch(out, tensors, scalars, numbers, false);
            return Ok(());
        }
        let partial = client.empty(len * plan.parts * self.precision.size());
        // SAFETY: the length is that of the buffer just made.
        let part = || unsafe { BufferArg::from_raw_parts(partial.clone(), len * plan.parts) };
        launch(part(), tensors, scalars, numbers, true);
        let units = 128.min(device.max_units);
        let [x, y, z] = plan::spread(len.div_ceil(units), device.max_cubes)?;
        // SAFETY: a unit reads and writes only below `len`, for each of the parts.
        unsafe {
            kernel::merge::launch_unchecked::<F, E, R>(
                client,
                CubeCount::Static(x, y, z),
                CubeDim::new_1d(units as u32),
                address,
                part(),
                out,
                len,
                plan.parts,
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
