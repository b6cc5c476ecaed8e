//! The kernels of a reduction.

use std::sync::Arc;

use cubecl::{
    ir::{DeviceProperties, ElemType, IntKind, TargetProperties},
    prelude::*,
};

use super::{
    Launch, LaunchError, Layout, Output, PartsAt,
    merging::{Merging, Results, Turns, buffers},
    strided::Strided,
};
use crate::{
    formula::Axis,
    kernel::{self, checked::Checked, layout},
    math::Precision,
    plan::{self, ColumnSource, Device, Plan, PlanError, Problem, RangesOf, Sizes},
    program::{Program, Symmetric},
    ranges::Tasks,
    reduction::{NO_INDEX, ReductionKind, Wanted},
};

/// What the kernels of a launch write.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    /// Results, with indices of this type.
    Results(IntKind),
    /// Parts of the columns from `start` on, into tensors that hold `count` parts.
    Parts { start: usize, count: usize },
}

/// The kernels of a reduction, with all of their arguments that are known before there are buffers.
///
/// It is used to launch the kernels, and to compile them for inspection without a device.
pub struct Kernels<'a> {
    plan: Plan,
    program: &'a Program,
    /// The symmetric form of the formula, if `program` is the program of this form.
    symmetric: Option<&'a Symmetric>,
    /// The run-time sizes and strides.
    numbers: Vec<usize>,
    /// The lists that kernels read if pairs are in ranges: the tasks of workers with their ranges, then, as needed, the
    /// indices of columns in another order, the limits of rows, and the indices of rows in another order.
    lists: Vec<Arc<[u32]>>,
    /// How parts are merged.
    merging: Merging,
}

impl<'a> Kernels<'a> {
    pub(super) fn new(
        launch: &Launch<'a>,
        device: &Device,
        runtime: &str,
        tensors: &[Layout],
        wanted: Wanted,
        goal: Goal,
    ) -> Result<Self, LaunchError> {
        let program = launch.program;
        let spec = launch.spec(wanted);
        let sizes = Sizes {
            batches: launch.batch_shape.iter().product(),
            rows: launch.rows,
            columns: launch.columns,
            fold: launch.fold,
        };
        launch.check_ranges(matches!(goal, Goal::Parts { .. }))?;
        if launch.fold.is_some() {
            assert!(matches!(launch.reduction, ReductionKind::Sum(_)) && launch.rows > 0);
        }
        let rows = launch.all_rows();
        let (start, count, symmetric, index_kind) = match goal {
            Goal::Results(kind) => {
                let symmetric = launch.symmetric.filter(|_| launch.ranges.is_none());
                (0, 1, symmetric, kind)
            }
            Goal::Parts { start, count } => (start, count, None, IntKind::I32),
        };
        let end = start.saturating_add(launch.columns);
        if end >= NO_INDEX as usize && (wanted.indices || spec.keeps_indices()) {
            return Err(LaunchError::TooLarge {
                device: runtime.to_string(),
                len: end,
            });
        }
        launch.check_layouts(tensors, end)?;
        // The strides of the tensors of a program, in the order of the program.
        let strided = |program: &Program, order: &[usize]| -> Vec<Strided> {
            let strided = |(index, k): (usize, &usize)| {
                Strided::new(tensors[*k], (program, index), launch.batch_shape)
            };
            order.iter().enumerate().map(strided).collect()
        };
        let plan = |program, symmetric, strides: &[Strided]| {
            let problem = Problem {
                program,
                symmetric,
                spec,
                sizes,
                precision: launch.precision,
                batch_rank: launch.batch_shape.len(),
                packing: strides.iter().map(|own| own.packing).collect(),
                ranges: launch.ranges.map(|ranges| RangesOf {
                    ranges,
                    batch_shape: launch.batch_shape,
                }),
            };
            plan::plan(device, &problem, &launch.strategy)
        };
        let symmetric = symmetric.map(|form| {
            let strides = strided(&form.program, &form.tensors);
            let plan = plan(&form.program, Some(form), &strides)?;
            Ok::<_, PlanError>(plan.map(|plan| (Some(form), &form.program, strides, plan)))
        });
        let (symmetric, program, strides, plan) = match symmetric.transpose()?.flatten() {
            Some(planned) => planned,
            None => {
                let in_order: Vec<usize> = (0..tensors.len()).collect();
                let strides = strided(program, &in_order);
                let plan = plan(program, None, &strides)?;
                (None, program, strides, plan.expect("formulas have plans"))
            }
        };

        let mut plan = plan;
        plan.blueprint.written = launch.values;
        if let Goal::Parts { .. } = goal {
            plan.blueprint.partial = true;
            plan.blueprint.columns = ColumnSource::Placed;
        }
        let list = plan.tasks.as_deref().map(list).transpose();
        let list = list.map_err(|len| LaunchError::TooLarge {
            device: runtime.to_string(),
            len,
        })?;
        let of = |axis| launch.ranges.and_then(|ranges| ranges.order(axis)).cloned();
        let columns = of(Axis::J).filter(|_| plan.blueprint.spec.unordered);
        let limits = launch.ranges.and_then(|ranges| ranges.limits(spec.kind));
        let bits = |limits: &Arc<[f32]>| limits.iter().map(|limit| limit.to_bits()).collect();
        let lists: Vec<Arc<[u32]>> = [list, columns, limits.map(bits), of(Axis::I)]
            .into_iter()
            .flatten()
            .collect();
        let largest = strides.iter().map(|s| s.extent).max().unwrap_or(0);
        let columns = start + plan.parts * plan.split.columns + plan.blueprint.schedule.block();
        let written = match plan.blueprint.partial {
            false => spec.entries(),
            true => plan.parts.max(count) * spec.partial_values().max(spec.entries()),
        };
        let last_row = (plan.split.steps + sizes.steps() + 1) * sizes.out_rows()
            + plan.lanes() * plan.blueprint.units;
        let listed = lists.iter().map(|list| list.len()).max().unwrap_or(0);
        let largest = largest
            .max(rows * written)
            .max(columns)
            .max(last_row)
            .max(listed);
        let address = plan::address_type(device, largest).ok_or_else(|| LaunchError::TooLarge {
            device: runtime.to_string(),
            len: largest,
        })?;

        let mut numbers = vec![0; layout::BATCH_SHAPE];
        numbers[layout::ROWS] = sizes.rows;
        numbers[layout::COLUMNS] = sizes.columns;
        numbers[layout::PART] = plan.split.columns;
        numbers[layout::PARTS] = plan.parts;
        numbers[layout::BATCHES] = sizes.batches;
        numbers[layout::FOLDED] = sizes.out_rows();
        numbers[layout::STEPS] = plan.split.steps;
        numbers.extend(launch.batch_shape);
        for strided in &strides {
            numbers.extend([strided.row, strided.component]);
            numbers.extend(&strided.batch);
        }
        numbers.extend(strides.iter().filter_map(|own| own.column));
        match plan.blueprint.columns {
            ColumnSource::All => {}
            // The position of the first part is filled in at the launch.
            ColumnSource::Placed => numbers.extend([start, 0]),
            ColumnSource::Ranges => numbers.push(plan.workers),
        }
        let mut types = launch.types(index_kind);
        if symmetric.is_some() {
            // Each unit adds many numbers to the sums of a point, which takes F64 to be accurate.
            types.accumulated = Precision::F64.elem();
        }
        let turns = Turns {
            parts: match goal {
                Goal::Results(_) => plan.parts,
                // The caller merges them when all parts are there.
                Goal::Parts { .. } => 1,
            },
            together: plan.together,
            result: None,
        };
        let merging = Merging::new(
            device,
            plan.blueprint.merging(),
            types,
            address,
            rows,
            turns,
        )?;
        Ok(Self {
            plan,
            program,
            symmetric,
            numbers,
            lists,
            merging,
        })
    }

    /// How the formula is reduced.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Types of the values and indices that the first kernel writes.
    fn written(&self) -> (ElemType, ElemType) {
        match self.plan.blueprint.partial {
            false => self.merging.types.output,
            true => self.merging.types.partial(),
        }
    }

    /// The kernels as a compiler takes them, in the order in which they run: the one that reduces,
    /// and, where columns are split, those that merge the parts.
    pub fn define(&self, properties: &Arc<DeviceProperties>) -> Vec<Box<dyn CubeKernel>> {
        let target = Arc::new(TargetProperties::default());
        let settings = self.merging.settings(self.plan.cube_dim());
        let reduce = self.reduce_kernel(settings, properties.clone(), target);
        let mut kernels: Vec<Box<dyn CubeKernel>> = vec![Box::new(reduce)];
        kernels.extend(self.merging.define(properties));
        kernels
    }

    fn reduce_kernel(
        &self,
        settings: KernelSettings,
        properties: Arc<DeviceProperties>,
        target: Arc<TargetProperties>,
    ) -> kernel::reduce::Reduce {
        let wanted = self.plan.blueprint.spec.wanted;
        let blueprint = &self.plan.blueprint;
        let types = self.merging.types;
        let scalar = || InputScalarCompilationArg::new(types.computed);
        let (o, i) = self.written();
        kernel::reduce::Reduce::new(
            settings,
            properties,
            target,
            buffers(self.program.tensors.len()).collect(),
            buffers(self.lists.len()).collect(),
            (0..self.program.scalars).map(|_| scalar()).collect(),
            self.numbers.iter().map(|_| ()).collect(),
            scalar(),
            buffers((wanted.values || blueprint.partial).into()).collect(),
            buffers(blueprint.writes_indices().into()).collect(),
            buffers((wanted.state && !blueprint.partial).into()).collect(),
            self.plan.lanes(),
            self.program.clone(),
            blueprint.clone(),
            types.stored,
            types.computed,
            types.accumulated,
            o,
            i,
        )
    }

    pub(super) fn launch(
        &self,
        client: &Client,
        tensors: Vec<TensorBinding>,
        scalars: &[f64],
        output: Output,
    ) {
        let results = Results::of(output);
        if self.merging.is_empty() {
            self.launch_reduce(client, tensors, scalars, results, 0);
        } else {
            let parts = self.merging.buffers(client, self.plan.parts);
            self.launch_reduce(client, tensors, scalars, parts.results(), 0);
            self.merging.launch(client, parts, results);
        }
    }

    /// Writes parts to `results`, from the position `into.first` on, and returns how many.
    pub(super) fn launch_parts(
        &self,
        client: &Client,
        tensors: Vec<TensorBinding>,
        scalars: &[f64],
        into: PartsAt,
        results: Results,
    ) -> Result<usize, LaunchError> {
        let (own, first, count) = (self.plan.parts, into.first, into.parts.count);
        if first.saturating_add(own) > count {
            return Err(LaunchError::TooManyParts {
                parts: own,
                first,
                count,
            });
        }
        self.launch_reduce(client, tensors, scalars, results, first);
        Ok(own)
    }

    /// Launches the kernel with its arguments in the order of its parameters; parts are written from `first` on.
    ///
    /// The kernel bounds rows, columns and output by the sizes in `numbers`, and its loops are over these sizes.
    /// The strides in `numbers` were taken from the tensors.
    fn launch_reduce(
        &self,
        client: &Client,
        tensors: Vec<TensorBinding>,
        scalars: &[f64],
        results: Results,
        first: usize,
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
        let stored = self.merging.types.stored;
        let mut launcher = KernelLauncher::new(self.merging.settings(self.plan.cube_dim()));
        launcher.declare_io(BufferIOAttr::ReadOnly);
        for tensor in tensors {
            let buffer = tensor.into_tensor_arg().into_buffer_arg();
            launcher.register_buffer(buffer, stored.size());
        }
        for list in &self.lists {
            let handle = client.create_from_slice(u32::as_bytes(list));
            // SAFETY: the length is that of the buffer.
            let buffer = unsafe { BufferArg::from_raw_parts(handle, list.len()) };
            launcher.register_buffer(buffer, size_of::<u32>());
        }
        for value in &scalars {
            self.merging.register_scalar(&mut launcher, *value);
        }
        let mut numbers = self.numbers.clone();
        if self.plan.blueprint.columns == ColumnSource::Placed {
            let at = numbers.len() - layout::PLACED;
            numbers[at + layout::FIRST_PART] = first;
        }
        for number in numbers {
            <usize as LaunchArg>::register(number, &mut launcher);
        }
        self.merging.register_scalar(&mut launcher, f64::INFINITY);
        self.merging
            .register_results(&mut launcher, results, self.written());
        let kernel = self.reduce_kernel(
            launcher.settings.clone(),
            client.properties_shared(),
            client.target_properties_shared(),
        );
        launcher.launch(self.plan.cube_count(), Checked(kernel), client);
    }
}

/// The numbers of the tasks of all workers, followed by the ranges of columns with two numbers each. If there are too
/// many numbers to address with 32 bits, the error is how many there are.
fn list(tasks: &Tasks) -> Result<Arc<[u32]>, usize> {
    if let Some(list) = tasks.numbers.get() {
        return Ok(list.clone());
    }
    let behind = tasks.tasks.len() * layout::task::LEN;
    let len = behind + 2 * tasks.ranges.len();
    if u32::try_from(len).is_err() {
        return Err(len);
    }
    let mut list = Vec::with_capacity(len);
    for task in &tasks.tasks {
        let mut numbers = [0; layout::task::LEN];
        numbers[layout::task::BATCH] = task.batch;
        numbers[layout::task::ROW] = task.rows.start;
        numbers[layout::task::STOP] = task.rows.end;
        numbers[layout::task::FIRST] = behind + 2 * task.ranges.start;
        numbers[layout::task::LAST] = behind + 2 * task.ranges.end;
        numbers[layout::task::PART] = task.part;
        list.extend(numbers.map(|number| number as u32));
    }
    list.extend(tasks.ranges.iter().flat_map(|own| [own.start, own.end]));
    let list: Arc<[u32]> = list.into();
    Ok(tasks.numbers.get_or_init(|| list).clone())
}
