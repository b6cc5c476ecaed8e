//! Tensors, problems and launches, for the tests that need a runtime.

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, Formula, Launch, LaunchError, Layout, Output, Parts, PartsAt,
    Precision, Program, Ranges, ReductionKind, Spec, Symmetric, Wanted,
    expr::Var,
    host::Instructions,
    plan::{Device, MatrixUnits, Plan, Sizes, Strategy},
    reference::{self, HostOperand},
};
use cubecl::{
    config::{CubeClRuntimeConfig, RuntimeConfig, compilation::BoundsCheckMode},
    ir::IntKind,
    prelude::*,
    zspace::{Shape, Strides},
};
use half::{bf16, f16};

use crate::support::{Rng, agree};

/// The runtimes that the tests can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    Cpu,
    Cuda,
    Wgpu,
    Vulkan,
}

const COMPILED: &[(&str, Runtime, bool)] = &[
    ("cpu", Runtime::Cpu, cfg!(feature = "cpu")),
    ("cuda", Runtime::Cuda, cfg!(feature = "cuda")),
    ("wgpu", Runtime::Wgpu, cfg!(feature = "wgpu")),
    ("vulkan", Runtime::Vulkan, cfg!(feature = "vulkan")),
];

/// The runtime that `BURN_LAZY_RUNTIME` names, else the first one that is compiled in.
pub fn runtime() -> Runtime {
    match std::env::var("BURN_LAZY_RUNTIME") {
        Ok(name) => {
            let row = COMPILED.iter().find(|row| row.0 == name);
            let (_, runtime, compiled) = row.unwrap_or_else(|| {
                panic!("BURN_LAZY_RUNTIME is '{name}', which is none of cpu, cuda, wgpu, vulkan")
            });
            assert!(
                compiled,
                "BURN_LAZY_RUNTIME is '{name}', but the tests were built without the feature '{name}'"
            );
            *runtime
        }
        Err(_) => COMPILED.iter().find(|row| row.2).expect("one is on").1,
    }
}

/// What runs the reductions of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Kernels,
    Host,
}

/// The host engine with `BURN_LAZY_ENGINE=host`, else kernels.
pub fn engine() -> Engine {
    match std::env::var("BURN_LAZY_ENGINE").as_deref() {
        Ok("host") => Engine::Host,
        Ok("kernels") | Err(_) => Engine::Kernels,
        Ok(other) => panic!("BURN_LAZY_ENGINE is '{other}', which is none of kernels, host"),
    }
}

/// Whether reductions run on the host. Tests of kernels and of their plans are skipped then.
pub fn not_of_kernels() -> bool {
    let host = engine() == Engine::Host;
    if host {
        skipped("the host has no kernels");
    }
    host
}

/// A client of the runtime under test. If `BURN_LAZY_VALIDATE` is set, its kernels print each index that is out of
/// the bounds of a buffer.
pub fn client() -> Client {
    if std::env::var_os("BURN_LAZY_VALIDATE").is_some() {
        let mut config = CubeClRuntimeConfig::default();
        config.compilation.check_mode = BoundsCheckMode::Validate;
        // Another test of the process may have set it already, so the result is ignored.
        CubeClRuntimeConfig::try_set(config);
    }
    match runtime() {
        Runtime::Cpu => cubecl::Device::Cpu(Default::default()),
        Runtime::Cuda => cubecl::Device::Cuda(Default::default()),
        Runtime::Wgpu | Runtime::Vulkan => cubecl::Device::Wgpu(Default::default()),
    }
    .client()
}

/// A GPU with small cubes, so that few rows and columns are enough for all edge cases. On a CPU each unit is a thread
/// that waits actively for the others, so that there should be no more units than cores.
pub fn small_gpu() -> Device {
    let client = client();
    let units = if runtime() == Runtime::Cpu { 2 } else { 8 };
    let own = Device::new(client.properties(), client.name());
    Device {
        cores: None,
        max_units: units,
        plane: 1,
        shared_memory: match runtime() {
            // The device has no shared memory where the compiler to SPIR-V does not support it.
            Runtime::Vulkan => own.shared_memory,
            _ => 64 << 10,
        },
        processors: Some(2),
        max_iterations: None,
        wide_loads: false,
        scales: false,
        matrices: MatrixUnits::default(),
        ..own
    }
}

/// Prints that the current test, or a part of it, is skipped, and why. It writes to the standard error directly,
/// because the output of `eprintln!` is captured.
pub fn skipped(why: &str) {
    use std::io::Write;

    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "{name} skipped: {why}");
}

/// Returns from a test unless a condition holds.
macro_rules! only_where {
    ($runs:expr) => {
        if !$runs {
            return;
        }
    };
}
pub(crate) use only_where;

/// The types in which the engine under test computes.
pub fn precisions() -> &'static [Precision] {
    if engine() == Engine::Host {
        return &[Precision::F32, Precision::F64];
    }
    match runtime() {
        Runtime::Cpu | Runtime::Cuda => &[Precision::F32, Precision::F64],
        Runtime::Wgpu | Runtime::Vulkan => &[Precision::F32],
    }
}

/// Whether kernels of the runtime under test take operands of this type. Kernels that check indices select between
/// values of BF16, which on a CPU needs an instruction that many processors lack.
pub fn takes(precision: Precision) -> bool {
    use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig, compilation::BoundsCheckMode};

    #[cfg(target_arch = "x86_64")]
    let converts = std::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    let converts = true;
    let mode = CubeClRuntimeConfig::get().compilation.check_mode;
    let checked = !matches!(mode, BoundsCheckMode::Auto);
    let kernels = engine() == Engine::Kernels && runtime() == Runtime::Cpu;
    let takes = precision != Precision::BF16 || !kernels || !checked || converts;
    if !takes {
        skipped("this processor lacks what checked kernels of BF16 take");
    }
    takes
}

/// `single` or `double`, whichever belongs to `precision`.
pub fn by_precision(precision: Precision, single: f64, double: f64) -> f64 {
    match precision {
        Precision::F64 => double,
        _ => single,
    }
}

/// `value`, or infinity if it is too large for `precision`.
pub fn held(value: f64, precision: Precision) -> f64 {
    match precision {
        Precision::F32 if value.abs() > f32::MAX as f64 => value.signum() * f64::INFINITY,
        _ => value,
    }
}

/// Values with a shape and strides, as operands have them.
#[derive(Clone, Debug)]
pub struct Tensor {
    storage: Vec<f64>,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

fn contiguous_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// The indices of all elements of a tensor. The last index changes fastest.
fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let strides = contiguous_strides(shape);
    (0..shape.iter().product()).map(move |flat: usize| {
        let mut rest = flat;
        strides
            .iter()
            .map(|stride| {
                let index = rest / stride;
                rest %= stride;
                index
            })
            .collect()
    })
}

impl Tensor {
    /// A contiguous tensor.
    pub fn new(shape: &[usize], storage: Vec<f64>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), storage.len());
        Self {
            strides: contiguous_strides(shape),
            shape: shape.to_vec(),
            storage,
        }
    }

    /// A contiguous tensor of random values.
    pub fn random(shape: &[usize], rng: &mut Rng, low: f64, high: f64) -> Self {
        Self::new(shape, rng.vec(shape.iter().product(), low, high))
    }

    fn offset(&self, index: &[usize]) -> usize {
        index.iter().zip(&self.strides).map(|(i, s)| i * s).sum()
    }

    /// The same values stored with other strides. Elements of the storage in between are NaN.
    fn stored(&self, strides: Vec<usize>) -> Self {
        let mut new = Self {
            storage: Vec::new(),
            shape: self.shape.clone(),
            strides,
        };
        for index in indices(&self.shape) {
            let at = new.offset(&index);
            if new.storage.len() <= at {
                new.storage.resize(at + 1, f64::NAN);
            }
            new.storage[at] = self.storage[self.offset(&index)];
        }
        new
    }

    /// The same values, stored as the transpose of the last two axes.
    pub fn transposed(&self) -> Self {
        let rank = self.shape.len();
        self.swapped([rank - 2, rank - 1])
    }

    /// The same values, stored with these two axes swapped.
    pub fn swapped(&self, axes: [usize; 2]) -> Self {
        let mut shape = self.shape.clone();
        shape.swap(axes[0], axes[1]);
        let mut strides = contiguous_strides(&shape);
        strides.swap(axes[0], axes[1]);
        self.stored(strides)
    }

    /// The same values with every stride but the last one doubled.
    pub fn spaced(&self) -> Self {
        let rank = self.shape.len();
        let mut strides = self.strides.clone();
        strides[..rank - 1].iter_mut().for_each(|s| *s *= 2);
        self.stored(strides)
    }

    /// The same tensor with an axis of size 1 repeated by a stride of 0.
    pub fn repeated(&self, axis: usize, size: usize) -> Self {
        assert_eq!(self.shape[axis], 1);
        let mut new = self.clone();
        new.shape[axis] = size;
        new.strides[axis] = 0;
        new
    }

    /// The tensor with only the elements at `places` of an axis.
    pub fn selected(&self, axis: usize, places: &[u32]) -> Self {
        let mut shape = self.shape.clone();
        shape[axis] = places.len();
        let value = |mut index: Vec<usize>| {
            index[axis] = places[index[axis]] as usize;
            self.storage[self.offset(&index)]
        };
        let values = indices(&shape).map(value).collect();
        Self::new(&shape, values)
    }

    /// The tensor with `value` at `index`.
    pub fn with(mut self, index: &[usize], value: f64) -> Self {
        let at = self.offset(index);
        self.storage[at] = value;
        self
    }

    /// Whether both tensors have the same shape, strides and bits.
    fn equals(&self, other: &Self) -> bool {
        let bits = |tensor: &Self| {
            tensor
                .storage
                .iter()
                .map(|v| v.to_bits())
                .collect::<Vec<_>>()
        };
        (&self.shape, &self.strides) == (&other.shape, &other.strides) && bits(self) == bits(other)
    }

    /// The values rounded to multiples of `1 / parts`.
    pub fn rounded(mut self, parts: f64) -> Self {
        let round = |value: &mut f64| *value = (*value * parts).round() / parts;
        self.storage.iter_mut().for_each(round);
        self
    }

    /// The tensor as an operand of the reference, with the values of every batch. The last `own` axes are no batch
    /// axes.
    fn host(&self, batch_shape: &[usize], own: usize) -> HostOperand {
        let rank = self.shape.len();
        let pad = batch_shape.len() - (rank - own);
        let mut full = batch_shape.to_vec();
        full.extend(&self.shape[rank - own..]);
        if full == self.shape && self.strides == contiguous_strides(&full) {
            return HostOperand {
                data: self.storage.clone(),
                batch: batch_shape.iter().product(),
            };
        }
        let data = indices(&full)
            .map(|index| {
                let clipped: Vec<usize> = index[pad..]
                    .iter()
                    .zip(&self.shape)
                    .map(|(i, size)| if *size == 1 { 0 } else { *i })
                    .collect();
                self.storage[self.offset(&clipped)]
            })
            .collect();
        HostOperand {
            data,
            batch: batch_shape.iter().product(),
        }
    }

    fn binding(&self, client: &Client, precision: Precision, most: Option<usize>) -> TensorBinding {
        let buffer = upload(client, precision, &guarded(&self.storage, f64::NAN));
        let len = self.storage.len();
        let left_out = len - most.map_or(len, |most| most.min(len));
        let behind = (left_out * precision.size()) as u64;
        TensorBinding {
            handle: inside(buffer, precision.size())
                .offset_end(behind)
                .binding(),
            strides: Strides::new(&self.strides),
            shape: Shape::from(self.shape.clone()),
            tiling: Default::default(),
        }
    }
}

/// The number of values on either side of every tensor, where no kernel may read or write. With this number buffers
/// keep the alignment that devices want.
const GUARD: usize = 256;
const UNTOUCHED: f64 = -12345.0;

/// `values` between guards.
fn guarded<T: Clone>(values: &[T], guard: T) -> Vec<T> {
    let guard = vec![guard; GUARD];
    [&guard, values, &guard].concat()
}

/// The part of a buffer between its guards, for values of `size` bytes.
fn inside(buffer: cubecl::server::Handle, size: usize) -> cubecl::server::Handle {
    let guard = (GUARD * size) as u64;
    buffer.offset_start(guard).offset_end(guard)
}

/// Runs a task in which each buffer is an allocation of its own, if the driver checks allocations. Buffers are then
/// fresh, and nothing else is beyond their ends.
fn apart<T: Send>(client: &Client, task: impl FnOnce() -> T + Send) -> T {
    match runtime() {
        Runtime::Cuda => client.memory_dedicated_allocation((), |()| task()),
        _ => task(),
    }
}

fn upload(client: &Client, precision: Precision, values: &[f64]) -> cubecl::server::Handle {
    match precision {
        Precision::F32 => {
            let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
            client.create_from_slice(f32::as_bytes(&values))
        }
        Precision::F64 => client.create_from_slice(f64::as_bytes(values)),
        Precision::F16 => {
            let values: Vec<f16> = values.iter().map(|v| f16::from_f64(*v)).collect();
            client.create_from_slice(f16::as_bytes(&values))
        }
        Precision::BF16 => {
            let values: Vec<bf16> = values.iter().map(|v| bf16::from_f64(*v)).collect();
            client.create_from_slice(bf16::as_bytes(&values))
        }
        other => unreachable!("no test has {other:?}"),
    }
}

fn download(client: &Client, precision: Precision, handle: cubecl::server::Handle) -> Vec<f64> {
    let bytes = client.read_one(handle).expect("the device answers");
    match precision {
        Precision::F32 => f32::from_bytes(&bytes).iter().map(|v| *v as f64).collect(),
        Precision::F64 => f64::from_bytes(&bytes).to_vec(),
        Precision::F16 => f16::from_bytes(&bytes).iter().map(|v| v.to_f64()).collect(),
        Precision::BF16 => bf16::from_bytes(&bytes)
            .iter()
            .map(|v| v.to_f64())
            .collect(),
        other => unreachable!("no test has {other:?}"),
    }
}

/// The shape of an operand without batch dimensions.
pub fn own_shape(var: &Var, (m, n): (usize, usize)) -> Vec<usize> {
    let axes = [(var.axes.i, m), (var.axes.j, n)].into_iter();
    let sizes = axes.filter(|(varies, _)| *varies).map(|(_, size)| size);
    sizes.chain([var.dim]).collect()
}

/// Buffers for results between guards, and which results are wanted.
struct Results {
    values: cubecl::server::Handle,
    indices: cubecl::server::Handle,
    shape: Vec<usize>,
    precision: Precision,
    wanted: Wanted,
}

impl Results {
    fn new(problem: &Problem, client: &Client, precision: Precision, wanted: Wanted) -> Self {
        let sizes = problem.sizes();
        let mut shape = problem.batch.clone();
        shape.extend([sizes.out_rows(), problem.spec().entries()]);
        let len = shape.iter().product::<usize>();
        let indices = vec![UNTOUCHED as i32; len + 2 * GUARD];
        Self {
            values: upload(client, precision, &vec![UNTOUCHED; len + 2 * GUARD]),
            indices: client.create_from_slice(i32::as_bytes(&indices)),
            shape,
            precision,
            wanted,
        }
    }

    fn output(&self) -> Output {
        let binding = |buffer: &cubecl::server::Handle, size: usize| TensorBinding {
            handle: inside(buffer.clone(), size).binding(),
            strides: Strides::new(&contiguous_strides(&self.shape)),
            shape: Shape::from(self.shape.clone()),
            tiling: Default::default(),
        };
        let wanted = self.wanted;
        let values = || binding(&self.values, self.precision.size());
        let indices = || (binding(&self.indices, size_of::<i32>()), IntKind::I32);
        Output {
            values: wanted.values.then(values),
            indices: wanted.indices.then(indices),
            state: None,
        }
    }

    /// Reads the results that the launch has written.
    fn read(self, client: &Client) -> (Vec<f64>, Vec<i64>) {
        let values = download(client, self.precision, self.values);
        let bytes = client.read_one(self.indices).expect("the device answers");
        let indices: Vec<i64> = i32::from_bytes(&bytes).iter().map(|v| *v as i64).collect();
        let untouched = untouched(self.precision);
        let values = written(&values, untouched, self.wanted.values);
        let indices = written(&indices, UNTOUCHED as i64, self.wanted.indices);
        (values, indices)
    }
}

/// A reduction over one axis with all of its operands. By default it is a sum.
#[derive(Clone)]
pub struct Problem {
    pub formula: Formula,
    pub program: Program,
    pub symmetric: Option<Symmetric>,
    pub reduction: ReductionKind,
    pub reduced: Axis,
    pub batch: Vec<usize>,
    pub m: usize,
    pub n: usize,
    pub fold: Option<usize>,
    /// The pairs that are reduced, as ranges of the reduced axis. `None` for all pairs.
    pub ranges: Option<Ranges>,
    /// The device that the launch is planned for. `None` for the device of the client.
    pub device: Option<Device>,
    /// How the schedule is found.
    pub strategy: Strategy,
    /// The number of values that bindings of operands are cut to, if they are cut.
    most: Option<usize>,
    tensors: Vec<Tensor>,
    scalars: Vec<f64>,
}

/// [`UNTOUCHED`] after it is stored in `precision`.
fn untouched(precision: Precision) -> f64 {
    match precision {
        Precision::F16 => f16::from_f64(UNTOUCHED).to_f64(),
        Precision::BF16 => bf16::from_f64(UNTOUCHED).to_f64(),
        _ => UNTOUCHED,
    }
}

/// The values between the guards, if they are wanted. Asserts that nothing else has been written.
fn written<T: Copy + PartialEq>(all: &[T], guard: T, wanted: bool) -> Vec<T> {
    let (before, rest) = all.split_at(GUARD);
    let (values, after) = rest.split_at(rest.len() - GUARD);
    let untouched = |values: &[T]| values.iter().all(|value| *value == guard);
    assert!(
        untouched(before) && untouched(after) && (wanted || untouched(values)),
        "a kernel wrote beside its output"
    );
    if wanted { values.to_vec() } else { Vec::new() }
}

impl Problem {
    /// The sum of `expr` over `reduced`. `tensor` and `scalar` give the values of the leaves.
    pub fn new(
        expr: &Expr,
        reduced: Axis,
        batch: &[usize],
        (m, n): (usize, usize),
        mut tensor: impl FnMut(&Var) -> Tensor,
        mut scalar: impl FnMut(&Var) -> f64,
    ) -> Self {
        let (formula, leaves) = Formula::new(expr);
        let (scalars, tensors): (Vec<Var>, Vec<Var>) = leaves.iter().partition(|var| var.scalar);
        Self {
            program: Program::lower(&formula, reduced),
            symmetric: None,
            reduction: ReductionKind::Sum(Accumulation::Blocks),
            formula,
            reduced,
            batch: batch.to_vec(),
            m,
            n,
            fold: None,
            ranges: None,
            device: None,
            strategy: Strategy::Auto,
            most: None,
            tensors: tensors.iter().map(&mut tensor).collect(),
            scalars: scalars.iter().map(&mut scalar).collect(),
        }
    }

    /// A problem with contiguous operands without batch dimensions, whose values are uniform in `low .. high`.
    pub fn random(
        expr: &Expr,
        reduced: Axis,
        (m, n): (usize, usize),
        seed: u64,
        (low, high): (f64, f64),
    ) -> Self {
        let mut rng = Rng::new(seed);
        let mut other = Rng::new(!seed);
        let tensor = |var: &Var| Tensor::random(&own_shape(var, (m, n)), &mut rng, low, high);
        let scalar = |_: &Var| other.uniform(low, high);
        Self::new(expr, reduced, &[], (m, n), tensor, scalar)
    }

    /// The number of rows of the output, and the number of reduced columns.
    pub fn rows_and_columns(&self) -> (usize, usize) {
        match self.reduced {
            Axis::J => (self.m, self.n),
            Axis::I => (self.n, self.m),
        }
    }

    fn sizes(&self) -> Sizes {
        let (rows, columns) = self.rows_and_columns();
        Sizes {
            batches: self.batch.iter().product(),
            rows,
            columns,
            fold: self.fold,
        }
    }

    /// The plan that the launch will make.
    pub fn plan(&self, client: &Client, precision: Precision) -> Plan {
        self.try_plan(client, precision).expect("a plan exists")
    }

    /// The plan that the launch will make, or the reason why there is none.
    pub fn try_plan(&self, client: &Client, precision: Precision) -> Result<Plan, LaunchError> {
        self.plan_for(&self.device(client), precision)
    }

    /// The plan for another device.
    pub fn plan_for(&self, device: &Device, precision: Precision) -> Result<Plan, LaunchError> {
        let client = client();
        let tensors = self.bindings(&client, precision);
        let layouts: Vec<Layout> = tensors
            .iter()
            .map(|tensor| Layout {
                shape: &tensor.shape,
                strides: &tensor.strides,
            })
            .collect();
        let (_, columns) = self.rows_and_columns();
        let launch = self.launch(columns, precision);
        let (name, wanted) = (client.name(), self.spec().wanted);
        let kernels = launch.kernels_as(device, name, &layouts, wanted, IntKind::I32)?;
        Ok(kernels.plan().clone())
    }

    fn device(&self, client: &Client) -> Device {
        let own = || Device::new(client.properties(), client.name());
        self.device.unwrap_or_else(own)
    }

    /// The operands in the order of the formula, as the reference takes them.
    pub fn host_operands(&self) -> Vec<HostOperand> {
        let (mut tensors, mut scalars) = (self.tensors.iter(), self.scalars.iter());
        let operand = |var: &Var| match var.scalar {
            true => HostOperand {
                data: vec![*scalars.next().expect("a value for each scalar")],
                batch: 1,
            },
            false => {
                let own = own_shape(var, (self.m, self.n)).len();
                let tensor = tensors.next().expect("a value for each tensor");
                tensor.host(&self.batch, own)
            }
        };
        self.formula.vars().iter().map(operand).collect()
    }

    /// The problem with another reduction.
    pub fn reduced_by(mut self, reduction: ReductionKind) -> Self {
        self.reduction = reduction;
        self
    }

    /// The problem with the knowledge which tensors are the same. From `least` points on, pairs are evaluated once, if
    /// the device does that.
    pub fn of_the_same_points(mut self, least: usize) -> Self {
        let first = |tensor| self.tensors.iter().position(|other| other.equals(tensor));
        let same = self.tensors.iter().map(first);
        let same: Vec<usize> = same.map(|first| first.expect("itself")).collect();
        let symmetric = Symmetric::new(&self.formula, self.reduced, &same);
        self.symmetric = symmetric.map(|symmetric| Symmetric { least, ..symmetric });
        self
    }

    /// The problem, planned for another device.
    pub fn planned_for(mut self, device: Device) -> Self {
        self.device = Some(device);
        self
    }

    /// The problem with bindings of operands that are cut to `most` values.
    pub fn with_short_tensors(mut self, most: usize) -> Self {
        self.most = Some(most);
        self
    }

    /// The problem with its rows added up into `fold` rows.
    pub fn folded_into(mut self, fold: usize) -> Self {
        self.fold = Some(fold);
        self
    }

    /// The problem with only the rows (or columns) at these places.
    pub fn selected(mut self, axis: Axis, places: &[u32]) -> Self {
        let vars = self.formula.tensors();
        for (tensor, var) in self.tensors.iter_mut().zip(vars) {
            if var.axis() == Some(axis) {
                *tensor = tensor.selected(tensor.shape.len() - 2, places);
            }
        }
        self
    }

    /// The problem with only the pairs in `ranges` of the reduced axis.
    pub fn in_ranges(mut self, ranges: Ranges) -> Self {
        self.ranges = Some(ranges);
        self
    }

    pub fn spec(&self) -> Spec {
        Spec::new(self.reduction, Wanted::VALUES, self.program.dim)
    }

    /// The values of the result, computed in `f64` by the reference.
    pub fn reference(&self) -> Vec<f64> {
        self.reference_with_indices().0
    }

    /// The values and column indices of the result, computed in `f64` by the reference.
    pub fn reference_with_indices(&self) -> (Vec<f64>, Vec<i64>) {
        let sizes = (self.batch.iter().product(), self.m, self.n);
        let operands = self.host_operands();
        let (values, indices) = reference::reduce(
            &self.formula,
            self.reduction,
            self.reduced,
            sizes,
            &operands,
        );
        let Some(fold) = self.fold else {
            return (values, indices);
        };
        let (rows, dim) = (self.rows_and_columns().0, self.spec().entries());
        let mut folded = vec![0.0; sizes.0 * fold * dim];
        for (k, value) in values.iter().enumerate() {
            let (batch, row, component) = (k / (rows * dim), k / dim % rows, k % dim);
            folded[(batch * fold + row % fold) * dim + component] += value;
        }
        (folded, vec![])
    }

    /// The values and column indices of the result over the pairs that `exist`. Its arguments are a batch, a row of the
    /// result and a reduced column.
    pub fn reference_where(
        &self,
        exist: &dyn Fn(usize, usize, usize) -> bool,
    ) -> (Vec<f64>, Vec<i64>) {
        let sizes = (self.batch.iter().product(), self.m, self.n);
        let reduced = self.reduced;
        let exist = |batch, (i, j)| match reduced {
            Axis::J => exist(batch, i, j),
            Axis::I => exist(batch, j, i),
        };
        let operands = self.host_operands();
        reference::reduce_where(
            &self.formula,
            self.reduction,
            reduced,
            sizes,
            &operands,
            &exist,
        )
    }

    /// The values of the result on the device. It also checks that nothing except the output is written. What a kernel
    /// reads beyond its operands is NaN.
    pub fn run(&self, client: &Client, precision: Precision) -> Result<Vec<f64>, LaunchError> {
        self.run_for(client, precision, Wanted::VALUES)
            .map(|(values, _)| values)
    }

    /// The wanted values and column indices on the device, with the checks of [`Self::run`].
    pub fn run_for(
        &self,
        client: &Client,
        precision: Precision,
        wanted: Wanted,
    ) -> Result<(Vec<f64>, Vec<i64>), LaunchError> {
        if engine() == Engine::Host {
            let run = self.run_on_host(precision, wanted, Instructions::detect());
            return Ok(run.expect("the host runs it"));
        }
        apart(client, || {
            let results = Results::new(self, client, precision, wanted);
            let launch = self.launch(self.sizes().columns, precision);
            let tensors = self.bindings(client, precision);
            let output = results.output();
            launch.run_as(&self.device(client), client, tensors, &self.scalars, output)?;
            Ok(results.read(client))
        })
    }

    /// The result computed in parts: of the columns between `cuts`. With `each_time` the parts are merged into one
    /// after each part, else all at the end.
    pub fn run_in_parts(
        &self,
        client: &Client,
        precision: Precision,
        wanted: Wanted,
        cuts: &[usize],
        each_time: bool,
    ) -> Result<(Vec<f64>, Vec<i64>), LaunchError> {
        const MOST: usize = 400;
        if engine() == Engine::Host {
            let run = self.run_on_host_in_parts(precision, wanted, cuts, each_time);
            return Ok(run.expect("the host runs it"));
        }
        apart(client, || {
            let launch = |columns| self.launch(columns, precision);
            let whole = launch(self.sizes().columns);
            let sizes = whole.part_sizes(wanted, MOST);
            let tensor = |buffer: &cubecl::server::Handle, len: usize| TensorBinding {
                handle: buffer.clone().binding(),
                strides: Strides::new(&[1]),
                shape: Shape::from(vec![len]),
                tiling: Default::default(),
            };
            let buffers = [0, 1].map(|_| {
                let values = client.empty(sizes.values * whole.accumulated().size());
                (
                    values,
                    client.empty(sizes.indices.max(1) * size_of::<u32>()),
                )
            });
            let [mut own, mut other] = buffers.each_ref().map(|(values, indices)| Parts {
                values: tensor(values, sizes.values),
                indices: (sizes.indices > 0).then(|| tensor(indices, sizes.indices)),
                count: MOST,
            });
            let ends = cuts.iter().copied().chain([self.sizes().columns]);
            let (mut start, mut count) = (0, 0);
            for end in ends {
                let place = PartsAt {
                    start,
                    parts: &own,
                    first: count,
                };
                let device = self.device(client);
                let tensors = self.bindings(client, precision);
                let scalars = &self.scalars;
                count += launch(end - start)
                    .run_parts_as(&device, client, tensors, scalars, wanted, place)?;
                start = end;
                if each_time && count > 0 {
                    let all = Parts {
                        count,
                        ..own.clone()
                    };
                    whole.merge_parts(client, &all, wanted, &other)?;
                    std::mem::swap(&mut own, &mut other);
                    count = 1;
                }
            }
            let results = Results::new(self, client, precision, wanted);
            let all = Parts { count, ..own };
            whole.merge(client, &all, results.output())?;
            Ok(results.read(client))
        })
    }

    /// The values, shapes and strides of the tensors.
    pub fn stored(&self) -> impl Iterator<Item = (&[f64], &[usize], &[usize])> {
        let tensors = self.tensors.iter();
        tensors.map(|t| (&t.storage[..], &t.shape[..], &t.strides[..]))
    }

    /// The run-time scalars.
    pub fn scalars(&self) -> &[f64] {
        &self.scalars
    }

    /// The tensors as bindings for kernels.
    pub fn bindings(&self, client: &Client, precision: Precision) -> Vec<TensorBinding> {
        let tensors = self.tensors.iter();
        tensors
            .map(|t| t.binding(client, precision, self.most))
            .collect()
    }

    /// A launch over `columns` columns.
    pub fn launch(&self, columns: usize, precision: Precision) -> Launch<'_> {
        Launch {
            program: &self.program,
            symmetric: self.symmetric.as_ref(),
            reduction: self.reduction,
            batch_shape: &self.batch,
            rows: self.sizes().rows,
            columns,
            fold: self.fold,
            ranges: self.ranges.as_ref(),
            precision,
            values: precision,
            strategy: self.strategy.clone(),
        }
    }

    /// Asserts that the device gives the values of the reference in each precision of the runtime, up to `single` or
    /// `double` times the largest value.
    #[track_caller]
    pub fn check(&self, single: f64, double: f64) {
        let client = client();
        let want = self.reference();
        for precision in precisions() {
            let got = self.run(&client, *precision).expect("the launch succeeds");
            let relative = by_precision(*precision, single, double);
            assert_close(&got, &want, relative);
        }
    }
}

/// Asserts that every value is within `relative` times the largest finite expected value.
#[track_caller]
pub fn assert_close(got: &[f64], want: &[f64], relative: f64) {
    assert_eq!(got.len(), want.len(), "number of values");
    let largest = want
        .iter()
        .filter(|w| w.is_finite())
        .fold(0f64, |largest, w| largest.max(w.abs()));
    for (k, (got, want)) in got.iter().zip(want).enumerate() {
        let off = (got - want).abs() / largest;
        assert!(
            agree(*got, *want, relative * largest),
            "value {k} is {got}, expected {want}: off by {off:.2e} of the largest, {relative:.2e} allowed"
        );
    }
}
