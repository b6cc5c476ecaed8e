//! The kernels that merge the partial results of a reduction.

use std::sync::Arc;

use cubecl::{
    config::{CubeClRuntimeConfig, RuntimeConfig, compilation::BoundsCheckMode},
    ir::{AddressType, DeviceProperties, ElemType, TargetProperties, UIntKind},
    prelude::*,
    server::{BufferBinding, Handle},
};

use super::{Launch, LaunchError, Output, Parts, shapes::has_room, strided::contiguous};
use crate::{
    kernel::{self, checked::Checked},
    plan::{self, Device, MergeBlueprint, PlanError},
    reduction::{Spec, Wanted},
};

/// The element types of a reduction.
#[derive(Clone, Copy)]
pub(super) struct Types {
    /// The type of the operands.
    pub stored: ElemType,
    pub computed: ElemType,
    pub accumulated: ElemType,
    /// The types of the values and indices of the result.
    pub output: (ElemType, ElemType),
}

impl Types {
    /// The types of the values and indices of a partial result.
    pub fn partial(&self) -> (ElemType, ElemType) {
        (self.accumulated, ElemType::UInt(UIntKind::U32))
    }
}

/// The launches of the merge kernel that turn parts into a result, one after the other. There are none if the only part
/// is the result already.
pub(super) struct Merging {
    pub blueprint: MergeBlueprint,
    pub types: Types,
    pub address: AddressType,
    /// Rows of a part in all batches.
    rows: usize,
    merges: Vec<Merge>,
}

/// One launch of the kernel that merges parts.
pub(super) struct Merge {
    parts: usize,
    /// How many parts are merged into one part. `None` if this launch merges all parts into the result.
    together: Option<usize>,
    cubes: [u32; 3],
    units: usize,
}

/// How many parts are merged, and into what.
#[derive(Clone, Copy)]
pub(super) struct Turns {
    /// Number of parts.
    pub parts: usize,
    /// The largest number of parts that one unit merges. If there are more, the merged parts are merged again.
    pub together: usize,
    /// What the merge writes, also if there is only one part. `None` also means the result, but then a single part is
    /// the result already and nothing is launched.
    pub result: Option<Becomes>,
}

/// What parts are merged into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Becomes {
    Result,
    Part,
}

impl Merging {
    pub fn new(
        device: &Device,
        blueprint: MergeBlueprint,
        types: Types,
        address: AddressType,
        rows: usize,
        turns: Turns,
    ) -> Result<Self, PlanError> {
        let units = 128.min(device.max_units);
        let mut merges = Vec::new();
        let mut parts = turns.parts;
        while parts > 1 || (merges.is_empty() && turns.result.is_some()) {
            let together = Some(turns.together.min(parts));
            let partial = turns.result == Some(Becomes::Part);
            let together = together.filter(|together| *together < parts || partial);
            let left = together.map_or(1, |together| parts.div_ceil(together));
            let cubes = (left * rows * blueprint.spec.width()).div_ceil(units);
            merges.push(Merge {
                parts,
                together,
                cubes: plan::spread(cubes, device.max_cubes)?,
                units,
            });
            parts = left;
        }
        Ok(Self {
            blueprint,
            types,
            address,
            rows,
            merges,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.merges.is_empty()
    }

    fn spec(&self) -> Spec {
        self.blueprint.spec
    }

    pub fn settings(&self, dim: CubeDim) -> KernelSettings {
        // CubeCL's own launches follow this setting, too.
        let mode = match CubeClRuntimeConfig::get().compilation.check_mode {
            BoundsCheckMode::Enforce => ExecutionMode::Checked,
            BoundsCheckMode::Validate => ExecutionMode::Validate,
            BoundsCheckMode::Auto => ExecutionMode::Unchecked,
        };
        KernelSettings::new(dim.into(), mode, self.address)
    }

    /// The kernels in the order in which they run.
    pub fn define(&self, properties: &Arc<DeviceProperties>) -> Vec<Box<dyn CubeKernel>> {
        let target = Arc::new(TargetProperties::default());
        let define = |merge: &Merge| -> Box<dyn CubeKernel> {
            let settings = self.settings(merge.cube_dim());
            Box::new(self.kernel(merge, settings, properties.clone(), target.clone()))
        };
        self.merges.iter().map(define).collect()
    }

    fn kernel(
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
        } = self.written(merge);
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
            InputScalarCompilationArg::new(self.types.computed),
            merge.together,
            self.blueprint.clone(),
            self.types.computed,
            self.types.accumulated,
            o,
            i,
        )
    }

    /// Which buffers a launch writes, and their types.
    fn written(&self, merge: &Merge) -> Written {
        let wanted = self.spec().wanted;
        match merge.together {
            Some(_) => Written {
                values: true,
                indices: self.spec().keeps_indices(),
                state: false,
                types: self.types.partial(),
            },
            None => Written {
                values: wanted.values,
                indices: wanted.indices,
                state: wanted.state,
                types: self.types.output,
            },
        }
    }

    /// Buffers for `count` parts.
    pub fn buffers(&self, client: &Client, count: usize) -> PartBuffers {
        let sizes = PartSizes::new(self.spec(), self.rows, count);
        let buffer = |len: usize, size: usize| Buffer {
            memory: Memory::Own(client.empty(len * size)),
            len,
        };
        PartBuffers {
            values: buffer(sizes.values, self.types.accumulated.size()),
            indices: (sizes.indices > 0).then(|| buffer(sizes.indices, size_of::<u32>())),
        }
    }

    /// Merges `parts` into `results`. There must be something to launch: [`is_empty`](Self::is_empty) must be false.
    pub fn launch(&self, client: &Client, parts: PartBuffers, results: Results) {
        let (last, merges) = self.merges.split_last().expect("there are parts");
        let mut parts = parts;
        for merge in merges {
            let together = merge.together.expect("others follow");
            let fewer = self.buffers(client, merge.parts.div_ceil(together));
            self.launch_merge(merge, client, &parts, fewer.results());
            parts = fewer;
        }
        self.launch_merge(last, client, &parts, results);
    }

    /// Launches one merge. A unit reads and writes only the numbers of its own row and component.
    fn launch_merge(&self, merge: &Merge, client: &Client, parts: &PartBuffers, results: Results) {
        let mut launcher = KernelLauncher::new(self.settings(merge.cube_dim()));
        launcher.declare_io(BufferIOAttr::ReadOnly);
        let (part, part_indices) = parts.arguments();
        launcher.register_buffer(part, self.types.accumulated.size());
        if let Some(indices) = part_indices {
            launcher.register_buffer(indices, size_of::<u32>());
        }
        self.register_results(&mut launcher, results, self.written(merge).types);
        <usize as LaunchArg>::register(self.rows, &mut launcher);
        <usize as LaunchArg>::register(merge.parts, &mut launcher);
        self.register_scalar(&mut launcher, f64::INFINITY);
        let kernel = self.kernel(
            merge,
            launcher.settings.clone(),
            client.properties_shared(),
            client.target_properties_shared(),
        );
        launcher.launch(merge.cube_count(), Checked(kernel), client);
    }

    pub fn register_results(
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
            launcher.register_buffer(state, self.types.accumulated.size());
        }
    }

    pub fn register_scalar(&self, launcher: &mut KernelLauncher, value: f64) {
        InputScalar::register(InputScalar::new(value, self.types.computed), launcher);
    }
}

/// Which buffers a kernel writes, and their types.
struct Written {
    values: bool,
    indices: bool,
    state: bool,
    types: (ElemType, ElemType),
}

/// The buffers that a kernel writes to.
#[derive(Default)]
pub(super) struct Results {
    pub values: Option<BufferArg>,
    pub indices: Option<BufferArg>,
    pub state: Option<BufferArg>,
}

impl Results {
    pub fn of(output: Output) -> Self {
        let buffer = |tensor: TensorBinding| tensor.into_tensor_arg().into_buffer_arg();
        Self {
            values: output.values.map(buffer),
            indices: output.indices.map(|(tensor, _)| buffer(tensor)),
            state: output.state.map(buffer),
        }
    }
}

/// A buffer and how many values it has.
struct Buffer {
    memory: Memory,
    len: usize,
}

/// The memory of a buffer.
enum Memory {
    /// Memory that is freed when the buffer is dropped.
    Own(Handle),
    /// The memory of a tensor.
    Given(BufferBinding),
}

impl Buffer {
    fn argument(&self) -> BufferArg {
        // SAFETY: the length is that of the buffer.
        unsafe {
            match &self.memory {
                Memory::Own(handle) => BufferArg::from_raw_parts(handle.clone(), self.len),
                Memory::Given(binding) => {
                    BufferArg::from_raw_parts_binding(binding.clone(), self.len)
                }
            }
        }
    }
}

/// Buffers of partial results.
pub(super) struct PartBuffers {
    values: Buffer,
    indices: Option<Buffer>,
}

impl PartBuffers {
    /// The buffers of the tensors of `parts`, which must be contiguous and hold `parts.count` parts for the `wanted`
    /// results.
    pub fn of(parts: &Parts, launch: &Launch, wanted: Wanted) -> Result<Self, LaunchError> {
        let sizes = launch.part_sizes(wanted, parts.count);
        let size = launch.accumulated().elem().size();
        let buffer = |tensor: &TensorBinding, len: usize, what, size: usize| {
            let given: usize = tensor.shape.iter().product();
            if given < len || !has_room(tensor, len, size) {
                return Err(LaunchError::PartSize { what, given, len });
            }
            if tensor.strides[..] != contiguous(&tensor.shape)[..] {
                return Err(LaunchError::PartStrides { what });
            }
            Ok(Buffer {
                memory: Memory::Given(tensor.handle.clone()),
                len,
            })
        };
        let indices = match (&parts.indices, sizes.indices) {
            (_, 0) => None,
            (Some(tensor), len) => Some(buffer(tensor, len, "indices", size_of::<u32>())?),
            (None, len) => {
                return Err(LaunchError::PartSize {
                    what: "indices",
                    given: 0,
                    len,
                });
            }
        };
        Ok(Self {
            values: buffer(&parts.values, sizes.values, "values", size)?,
            indices,
        })
    }

    /// Values and indices as arguments of a kernel.
    fn arguments(&self) -> (BufferArg, Option<BufferArg>) {
        let indices = self.indices.as_ref().map(Buffer::argument);
        (self.values.argument(), indices)
    }

    /// The same buffers as the ones that a kernel writes to.
    pub fn results(&self) -> Results {
        let (values, indices) = self.arguments();
        Results {
            values: Some(values),
            indices,
            state: None,
        }
    }
}

/// How many numbers partial results take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSizes {
    /// Number of values, in the type in which they are accumulated.
    pub values: usize,
    /// Number of columns or counts, as unsigned integers of 32 bits.
    pub indices: usize,
}

impl PartSizes {
    /// The sizes of `count` parts with `rows` rows in all batches together.
    pub(super) fn new(spec: Spec, rows: usize, count: usize) -> Self {
        let indices = if spec.keeps_indices() {
            spec.entries()
        } else {
            0
        };
        Self {
            // Parts of counts have no values, but the kernel always binds a buffer for them.
            values: (count * rows * spec.partial_values()).max(1),
            indices: count * rows * indices,
        }
    }
}

/// `count` arguments of a kernel that are buffers, none of which is written in place of another.
pub(super) fn buffers(count: usize) -> impl Iterator<Item = BufferCompilationArg> {
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
