//! Launching of reductions on tensors of any layout.

use std::sync::Arc;

use cubecl::{
    config::{CubeClRuntimeConfig, RuntimeConfig, compilation::BoundsCheckMode},
    features::{EnumSet, TypeUsage},
    ir::{AddressType, DeviceProperties, ElemType, IntKind, TargetProperties, UIntKind},
    prelude::*,
    server::Handle,
};

use crate::{
    kernel::{self, checked::Checked, layout},
    math::Precision,
    plan::{self, Device, Packing, Plan, PlanError, Sizes},
    program::{Program, Space, Symmetric},
    reduction::{NO_INDEX, ReductionKind, Spec, Wanted},
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
    /// The same with each pair evaluated once, if rows and columns are the same points.
    pub symmetric: Option<&'a Symmetric>,
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
    /// The type of all operands.
    pub precision: Precision,
    /// The type of the values: that of the operands, or that in which these are computed.
    pub values: Precision,
}

/// Where the results go: contiguous tensors `[batch.., rows, entries]`, or `[batch.., fold, entries]`.
#[derive(Debug, Default)]
pub struct Output {
    /// The values, where they are wanted.
    pub values: Option<TensorBinding>,
    /// The columns at which they were found, where they are wanted, and their type.
    pub indices: Option<(TensorBinding, IntKind)>,
    /// What the values are made of, where it is wanted, in the type in which sums are accumulated:
    /// `[batch.., rows, Spec::state_size]`.
    pub state: Option<TensorBinding>,
}

/// Whether the device runs the reduction `kind` of formulas of `tensors` tensors in `precision`, and gives what is
/// `wanted`.
pub fn check_device(
    client: &Client,
    precision: Precision,
    kind: ReductionKind,
    wanted: Wanted,
    tensors: usize,
) -> Result<(), LaunchError> {
    let (properties, runtime) = (client.properties(), client.name());
    check_properties(properties, runtime, precision, kind, wanted, tensors)
}

/// The same for a device of which only the properties and the name of the runtime are at hand.
pub fn check_properties(
    properties: &DeviceProperties,
    runtime: &str,
    precision: Precision,
    kind: ReductionKind,
    wanted: Wanted,
    tensors: usize,
) -> Result<(), LaunchError> {
    // The outputs and the sizes need buffers, too.
    let others = 2 + usize::from(kind.selects()) + usize::from(wanted.state);
    let limit = (properties.hardware.max_bindings as usize).saturating_sub(others);
    if tensors > limit {
        return Err(LaunchError::TooManyTensors {
            device: runtime.to_string(),
            tensors,
            limit,
        });
    }
    let accumulated = kind.accumulated(precision.computed());
    for (precision, usage) in [
        (precision, TypeUsage::Buffer | TypeUsage::Conversion),
        (
            precision.computed(),
            TypeUsage::Buffer | TypeUsage::Arithmetic,
        ),
        (accumulated, TypeUsage::Buffer | TypeUsage::Arithmetic),
    ] {
        check_type(properties, runtime, precision, usage)?;
    }
    Ok(())
}

/// Whether the device can do with values of type `precision` what `usage` says.
fn check_type(
    properties: &DeviceProperties,
    runtime: &str,
    precision: Precision,
    usage: EnumSet<TypeUsage>,
) -> Result<(), LaunchError> {
    let unsupported = |reason| LaunchError::Unsupported {
        device: runtime.to_string(),
        precision,
        reason,
    };
    if !properties.type_usage(precision.elem()).is_superset(usage) {
        return Err(unsupported("the device has no such type"));
    }
    // GLSL.std.450, which Vulkan and the translation from WGSL build on, has no exponential or
    // logarithm of 64 bits: drivers answer with garbage or crash.
    if precision == Precision::F64 && runtime.starts_with("wgpu") {
        return Err(unsupported("its functions of 64 bits are not reliable"));
    }
    Ok(())
}

/// For each tensor the first one that has its shape and its values at the same places.
pub fn same_tensors(tensors: &[TensorBinding]) -> Vec<usize> {
    let place = |tensor: &TensorBinding| {
        let handle = &tensor.handle;
        let ends = [handle.offset_start, handle.offset_end].map(Option::unwrap_or_default);
        (handle.memory.id(), ends)
    };
    let same = |a: &TensorBinding, b: &TensorBinding| {
        place(a) == place(b) && a.shape == b.shape && a.strides == b.strides
    };
    let first = |tensor| tensors.iter().position(|other| same(tensor, other));
    let found = tensors.iter().map(first);
    found
        .map(|first| first.expect("it is the same as itself"))
        .collect()
}

/// A tensor without its values.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// Its shape.
    pub shape: &'a [usize],
    /// Its strides.
    pub strides: &'a [usize],
}

/// The kernels of a reduction: all that is known before there are buffers. What is launched is made
/// from it, and what is compiled to look at it where there is no device.
pub struct Kernels<'a> {
    plan: Plan,
    program: &'a Program,
    /// Where the program is another form of the formula.
    symmetric: Option<&'a Symmetric>,
    address: AddressType,
    /// The run-time sizes and strides.
    numbers: Vec<usize>,
    stored: ElemType,
    computed: ElemType,
    accumulated: ElemType,
    /// Types of the values and indices that are given out.
    output: (ElemType, ElemType),
    /// One after the other, if there are parts.
    merges: Vec<Merge>,
}

/// How the kernel that merges parts is launched.
struct Merge {
    rows: usize,
    parts: usize,
    /// How many parts become one, where there will still be several.
    together: Option<usize>,
    cubes: [u32; 3],
    units: usize,
}

impl<'a> Kernels<'a> {
    fn new(
        launch: &Launch<'a>,
        device: &Device,
        runtime: &str,
        tensors: &[Layout],
        wanted: Wanted,
        index_kind: IntKind,
    ) -> Result<Self, LaunchError> {
        let program = launch.program;
        assert_eq!(tensors.len(), program.tensors.len());
        let spec = Spec {
            kind: launch.reduction,
            wanted,
            dim: program.dim,
        };
        let sizes = Sizes {
            batches: launch.batch_shape.iter().product(),
            rows: launch.rows,
            columns: launch.columns,
            fold: launch.fold,
        };
        if launch.fold.is_some() {
            assert!(matches!(launch.reduction, ReductionKind::Sum(_)) && launch.rows > 0);
        }
        let rows = sizes.batches * sizes.out_rows();
        if launch.columns >= NO_INDEX as usize && (wanted.indices || spec.keeps_indices()) {
            return Err(LaunchError::TooLarge {
                device: runtime.to_string(),
                len: launch.columns,
            });
        }
        // Of the tensors of a program, in its order.
        let strided = |program: &Program, order: &[usize]| -> Vec<Strided> {
            let spaces = order.iter().zip(&program.tensors);
            let strided = |(k, space): (&usize, &Space)| {
                Strided::new(tensors[*k], *space, launch.batch_shape)
            };
            spaces.map(strided).collect()
        };
        let packing = |strides: &[Strided]| strides.iter().map(|s| s.packing).collect();
        let rank = launch.batch_shape.len();
        let symmetric = launch.symmetric.and_then(|symmetric| {
            let strides = strided(&symmetric.program, &symmetric.tensors);
            let plan = plan::symmetric(
                device,
                symmetric,
                spec,
                sizes,
                launch.precision,
                rank,
                packing(&strides),
            )?;
            Some((symmetric, strides, plan))
        });
        let (symmetric, program, strides, plan) = match symmetric {
            Some((symmetric, strides, plan)) => {
                (Some(symmetric), &symmetric.program, strides, plan)
            }
            None => {
                let in_order: Vec<usize> = (0..tensors.len()).collect();
                let strides = strided(program, &in_order);
                let plan = plan::plan(
                    device,
                    program,
                    spec,
                    sizes,
                    launch.precision,
                    rank,
                    packing(&strides),
                )?;
                (None, program, strides, plan)
            }
        };

        let mut plan = plan;
        plan.blueprint.written = launch.values;
        let largest = strides.iter().map(|s| s.extent).max().unwrap_or(0);
        let columns = plan.parts * plan.part_columns + plan.blueprint.block;
        let written = match plan.parts {
            1 => spec.entries(),
            parts => parts * spec.partial_values().max(spec.entries()),
        };
        let last_row = (plan.part_steps + sizes.steps() + 1) * sizes.out_rows()
            + plan.lanes * plan.blueprint.units;
        let largest = largest.max(rows * written).max(columns).max(last_row);
        let address = plan::address_type(device, largest).ok_or_else(|| LaunchError::TooLarge {
            device: runtime.to_string(),
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
        numbers.extend(launch.batch_shape);
        for strided in &strides {
            numbers.extend([strided.row, strided.component]);
            numbers.extend(&strided.batch);
        }
        let units = 128.min(device.max_units);
        let mut merges = Vec::new();
        let mut parts = plan.parts;
        while parts > 1 {
            let together = Some(plan.together).filter(|together| *together < parts);
            let left = together.map_or(1, |together| parts.div_ceil(together));
            let cubes = (left * rows * spec.width()).div_ceil(units);
            merges.push(Merge {
                rows,
                parts,
                together,
                cubes: plan::spread(cubes, device.max_cubes)?,
                units,
            });
            parts = left;
        }
        Ok(Self {
            plan,
            program,
            symmetric,
            address,
            numbers,
            stored: launch.precision.elem(),
            computed: launch.precision.computed().elem(),
            accumulated: match symmetric {
                // What each unit adds to the sums of a point is many numbers.
                Some(_) => Precision::F64.elem(),
                None => {
                    let computed = launch.precision.computed();
                    launch.reduction.accumulated(computed).elem()
                }
            },
            output: (launch.values.elem(), ElemType::Int(index_kind)),
            merges,
        })
    }

    /// How the formula is reduced.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn spec(&self) -> Spec {
        self.plan.blueprint.spec
    }

    /// Types of the values and indices of a partial result.
    fn partial(&self) -> (ElemType, ElemType) {
        (self.accumulated, ElemType::UInt(UIntKind::U32))
    }

    /// Types of the values and indices that the first kernel writes.
    fn written(&self) -> (ElemType, ElemType) {
        match self.merges.is_empty() {
            true => self.output,
            false => self.partial(),
        }
    }

    /// The kernels as a compiler takes them, in the order in which they run: the one that reduces,
    /// and, where columns are split, those that merge the parts.
    pub fn define(&self, properties: &Arc<DeviceProperties>) -> Vec<Box<dyn CubeKernel>> {
        let target = Arc::new(TargetProperties::default());
        let settings = self.settings(self.plan.cube_dim());
        let reduce = self.reduce_kernel(settings, properties.clone(), target.clone());
        let mut kernels: Vec<Box<dyn CubeKernel>> = vec![Box::new(reduce)];
        for merge in &self.merges {
            let settings = self.settings(merge.cube_dim());
            let merge = self.merge_kernel(merge, settings, properties.clone(), target.clone());
            kernels.push(Box::new(merge));
        }
        kernels
    }

    fn settings(&self, dim: CubeDim) -> KernelSettings {
        // What CubeCL's own launches heed.
        let mode = match CubeClRuntimeConfig::get().compilation.check_mode {
            BoundsCheckMode::Enforce => ExecutionMode::Checked,
            BoundsCheckMode::Validate => ExecutionMode::Validate,
            BoundsCheckMode::Auto => ExecutionMode::Unchecked,
        };
        KernelSettings::new(dim.into(), mode, self.address)
    }

    fn reduce_kernel(
        &self,
        settings: KernelSettings,
        properties: Arc<DeviceProperties>,
        target: Arc<TargetProperties>,
    ) -> kernel::reduce::Reduce {
        let wanted = self.spec().wanted;
        let blueprint = &self.plan.blueprint;
        let scalar = || InputScalarCompilationArg::new(self.computed);
        let (o, i) = self.written();
        kernel::reduce::Reduce::new(
            settings,
            properties,
            target,
            buffers(self.program.tensors.len()).collect(),
            (0..self.program.scalars).map(|_| scalar()).collect(),
            self.numbers.iter().map(|_| ()).collect(),
            scalar(),
            buffers((wanted.values || blueprint.partial).into()).collect(),
            buffers(blueprint.writes_indices().into()).collect(),
            buffers((wanted.state && !blueprint.partial).into()).collect(),
            self.plan.lanes,
            self.program.clone(),
            blueprint.clone(),
            self.stored,
            self.computed,
            self.accumulated,
            o,
            i,
        )
    }

    fn merge_kernel(
        &self,
        merge: &Merge,
        settings: KernelSettings,
        properties: Arc<DeviceProperties>,
        target: Arc<TargetProperties>,
    ) -> kernel::merge::Merge {
        let Written {
            values,
            indices,
            state,
            types: (o, i),
        } = self.merged(merge);
        kernel::merge::Merge::new(
            settings,
            properties,
            target,
            BufferCompilationArg { inplace: None },
            buffers(self.spec().keeps_indices().into()).collect(),
            buffers(values.into()).collect(),
            buffers(indices.into()).collect(),
            buffers(state.into()).collect(),
            (),
            (),
            InputScalarCompilationArg::new(self.computed),
            merge.together,
            self.plan.blueprint.clone(),
            self.computed,
            self.accumulated,
            o,
            i,
        )
    }

    /// What a merge writes.
    fn merged(&self, merge: &Merge) -> Written {
        let wanted = self.spec().wanted;
        match merge.together {
            Some(_) => Written {
                values: true,
                indices: self.spec().keeps_indices(),
                state: false,
                types: self.partial(),
            },
            None => Written {
                values: wanted.values,
                indices: wanted.indices,
                state: wanted.state,
                types: self.output,
            },
        }
    }

    fn launch(
        &self,
        client: &Client,
        tensors: Vec<TensorBinding>,
        scalars: &[f64],
        output: Output,
    ) {
        let (tensors, scalars) = match self.symmetric {
            Some(symmetric) => (
                symmetric
                    .tensors
                    .iter()
                    .map(|k| tensors[*k].clone())
                    .collect(),
                symmetric.scalars.iter().map(|k| scalars[*k]).collect(),
            ),
            None => (tensors, scalars.to_vec()),
        };
        assert_eq!(scalars.len(), self.program.scalars);
        let buffer = |tensor: TensorBinding| tensor.into_tensor_arg().into_buffer_arg();
        let result = Results {
            values: output.values.map(buffer),
            indices: output.indices.map(|(tensor, _)| buffer(tensor)),
            state: output.state.map(buffer),
        };
        let tensors = tensors.into_iter().map(buffer);
        let Some((last, merges)) = self.merges.split_last() else {
            self.launch_reduce(client, tensors, &scalars, result);
            return;
        };
        let mut parts = self.parts(client, self.plan.parts);
        self.launch_reduce(client, tensors, &scalars, parts.results());
        for merge in merges {
            let together = merge.together.expect("others follow");
            let fewer = self.parts(client, merge.parts.div_ceil(together));
            self.launch_merge(merge, client, &parts, fewer.results());
            parts = fewer;
        }
        self.launch_merge(last, client, &parts, result);
    }

    /// Buffers for the partial results of `count` parts.
    fn parts(&self, client: &Client, count: usize) -> Parts {
        let spec = self.spec();
        let rows = count * self.merges[0].rows;
        let buffer = |len: usize, size: usize| (client.empty(len * size), len);
        let indices = || buffer(rows * spec.entries(), size_of::<u32>());
        Parts {
            // Counts have none, but a buffer is bound.
            values: buffer(
                (rows * spec.partial_values()).max(1),
                self.accumulated.size(),
            ),
            indices: spec.keeps_indices().then(indices),
        }
    }

    /// Launches the kernel with its arguments in the order of its parameters. It bounds rows, columns and
    /// output by the sizes among the numbers, and the strides were taken from the tensors; its loops are over
    /// these sizes.
    fn launch_reduce(
        &self,
        client: &Client,
        tensors: impl Iterator<Item = BufferArg>,
        scalars: &[f64],
        results: Results,
    ) {
        let (o, i) = self.written();
        let mut launcher = KernelLauncher::new(self.settings(self.plan.cube_dim()));
        launcher.declare_io(BufferIOAttr::ReadOnly);
        tensors.for_each(|tensor| launcher.register_buffer(tensor, self.stored.size()));
        for value in scalars {
            self.register_scalar(&mut launcher, *value);
        }
        for number in &self.numbers {
            <usize as LaunchArg>::register(*number, &mut launcher);
        }
        self.register_scalar(&mut launcher, f64::INFINITY);
        self.register_results(&mut launcher, results, (o, i));
        let kernel = self.reduce_kernel(
            launcher.settings.clone(),
            client.properties_shared(),
            client.target_properties_shared(),
        );
        launcher.launch(self.plan.cube_count(), Checked(kernel), client);
    }

    /// The same for the kernel that merges; a unit reads and writes only what belongs to its row and component.
    fn launch_merge(&self, merge: &Merge, client: &Client, parts: &Parts, results: Results) {
        let mut launcher = KernelLauncher::new(self.settings(merge.cube_dim()));
        launcher.declare_io(BufferIOAttr::ReadOnly);
        let (part, part_indices) = parts.arguments();
        launcher.register_buffer(part, self.accumulated.size());
        if let Some(indices) = part_indices {
            launcher.register_buffer(indices, size_of::<u32>());
        }
        self.register_results(&mut launcher, results, self.merged(merge).types);
        <usize as LaunchArg>::register(merge.rows, &mut launcher);
        <usize as LaunchArg>::register(merge.parts, &mut launcher);
        self.register_scalar(&mut launcher, f64::INFINITY);
        let kernel = self.merge_kernel(
            merge,
            launcher.settings.clone(),
            client.properties_shared(),
            client.target_properties_shared(),
        );
        launcher.launch(merge.cube_count(), Checked(kernel), client);
    }

    fn register_results(
        &self,
        launcher: &mut KernelLauncher,
        results: Results,
        (o, i): (ElemType, ElemType),
    ) {
        launcher.declare_io(BufferIOAttr::ReadWrite);
        if let Some(values) = results.values {
            launcher.register_buffer(values, o.size());
        }
        if let Some(indices) = results.indices {
            launcher.register_buffer(indices, i.size());
        }
        if let Some(state) = results.state {
            launcher.register_buffer(state, self.accumulated.size());
        }
    }

    fn register_scalar(&self, launcher: &mut KernelLauncher, value: f64) {
        InputScalar::register(InputScalar::new(value, self.computed), launcher);
    }
}

/// What a kernel writes.
struct Written {
    values: bool,
    indices: bool,
    state: bool,
    types: (ElemType, ElemType),
}

/// Where a kernel writes to.
struct Results {
    values: Option<BufferArg>,
    indices: Option<BufferArg>,
    state: Option<BufferArg>,
}

/// Partial results: buffers and their lengths.
struct Parts {
    values: (Handle, usize),
    indices: Option<(Handle, usize)>,
}

impl Parts {
    /// Values and indices as arguments of a kernel.
    fn arguments(&self) -> (BufferArg, Option<BufferArg>) {
        // SAFETY: the length is that of the buffer.
        let argument = |(handle, len): &(Handle, usize)| unsafe {
            BufferArg::from_raw_parts(handle.clone(), *len)
        };
        (argument(&self.values), self.indices.as_ref().map(argument))
    }

    /// The same as what a kernel writes to.
    fn results(&self) -> Results {
        let (values, indices) = self.arguments();
        Results {
            values: Some(values),
            indices,
            state: None,
        }
    }
}

/// Arguments of a kernel that are buffers of their own.
fn buffers(count: usize) -> impl Iterator<Item = BufferCompilationArg> {
    (0..count).map(|_| BufferCompilationArg { inplace: None })
}

impl Merge {
    fn cube_dim(&self) -> CubeDim {
        CubeDim::new_1d(self.units as u32)
    }

    fn cube_count(&self) -> CubeCount {
        let [x, y, z] = self.cubes;
        CubeCount::Static(x, y, z)
    }
}

impl<'a> Launch<'a> {
    /// The kernels of this reduction of tensors with `layouts` on a device with these properties,
    /// of a runtime of this name. There must be rows and columns.
    pub fn kernels(
        &self,
        properties: &DeviceProperties,
        runtime: &str,
        layouts: &[Layout],
        wanted: Wanted,
        index_kind: IntKind,
    ) -> Result<Kernels<'a>, LaunchError> {
        check_properties(
            properties,
            runtime,
            self.precision,
            self.reduction,
            wanted,
            layouts.len(),
        )?;
        let device = Device::new(properties, runtime);
        Kernels::new(self, &device, runtime, layouts, wanted, index_kind)
    }

    /// Whether a device with these properties, of a runtime of this name, runs this reduction of contiguous tensors
    /// with these `shapes`: what [`run`](Self::run) would refuse, before there are tensors.
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
            return check_properties(
                properties,
                runtime,
                self.precision,
                self.reduction,
                wanted,
                shapes.len(),
            );
        }
        self.kernels(properties, runtime, &layouts, wanted, IntKind::I32)
            .map(drop)
    }

    /// Whether there is nothing to compute.
    fn is_empty(&self) -> bool {
        let rows = self.fold.unwrap_or(self.rows);
        rows == 0 || self.batch_shape.contains(&0)
    }

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
        let device = Device::new(client.properties(), client.name());
        self.run_as(&device, client, tensors, scalars, output)
    }

    /// The same as planned for `device`, which must not be able to do more than that of the client.
    pub fn run_as(
        &self,
        device: &Device,
        client: &Client,
        tensors: Vec<TensorBinding>,
        scalars: &[f64],
        output: Output,
    ) -> Result<(), LaunchError> {
        let wanted = Wanted {
            values: output.values.is_some(),
            indices: output.indices.is_some(),
            state: output.state.is_some(),
        };
        check_device(
            client,
            self.precision,
            self.reduction,
            wanted,
            tensors.len(),
        )?;
        if self.is_empty() {
            return Ok(());
        }
        let layouts: Vec<Layout> = tensors
            .iter()
            .map(|tensor| Layout {
                shape: &tensor.shape,
                strides: &tensor.strides,
            })
            .collect();
        let index_kind = output
            .indices
            .as_ref()
            .map_or(IntKind::I32, |(_, kind)| *kind);
        Kernels::new(self, device, client.name(), &layouts, wanted, index_kind)?
            .launch(client, tensors, scalars, output);
        Ok(())
    }
}

/// The strides of a contiguous tensor.
fn contiguous(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// The strides of a tensor by what they step over.
struct Strided {
    row: usize,
    component: usize,
    batch: Vec<usize>,
    packing: Packing,
    /// One more than the largest offset.
    extent: usize,
}

impl Strided {
    fn new(tensor: Layout, space: Space, batch_shape: &[usize]) -> Self {
        let Layout { shape, strides } = tensor;
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
        let row = if own == 2 { stride(rank - 2) } else { 0 };
        // A single component has no stride that matters.
        let dim = shape[rank - 1];
        let component = if dim == 1 { 1 } else { strides[rank - 1] };
        Self {
            row,
            component,
            batch,
            packing: match (row, component) {
                (row, 1) if row == dim => Packing::Packed { dim },
                (_, 1) => Packing::Adjacent,
                _ => Packing::Strided,
            },
            extent,
        }
    }
}
