//! What the planner knows of a device.

use crate::math::{Precision, ptx};
use cubecl::ir::{AddressType, DeviceProperties, ElemType, FloatKind};

/// The shapes of matrices that a device multiplies by one instruction, which adds up in `F32`, by the type
/// of the factors: rows and columns of the product, and the length of what is summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatrixUnits {
    /// Factors of 16 bits, 11 of them significant.
    pub f16: Option<[usize; 3]>,
    /// Factors of 16 bits, 8 of them significant.
    pub bf16: Option<[usize; 3]>,
    /// Factors of 32 bits, 11 of them significant.
    pub tf32: Option<[usize; 3]>,
    /// Whether loops stand for the instruction.
    pub emulated: bool,
}

impl MatrixUnits {
    /// What a runtime of the given name reports. Others than that of CUDA may have the instructions, but
    /// no compiler here has accepted the kernels.
    fn new(properties: &DeviceProperties, runtime: &str) -> Self {
        let hardware = &properties.hardware;
        if runtime != "cuda" || hardware.plane_size_min != hardware.plane_size_max {
            return Self::default();
        }
        let shape = |kind| {
            let elem = ElemType::Float(kind);
            let single = ElemType::Float(FloatKind::F32);
            let configs = properties.features.matmul.cmma.iter();
            configs
                .filter(|c| (c.a_type, c.b_type, c.cd_type) == (elem, elem, single) && c.m == c.n)
                .map(|c| [c.m, c.n, c.k].map(|n| n as usize))
                .max()
        };
        Self {
            f16: shape(FloatKind::F16),
            bf16: shape(FloatKind::BF16),
            tf32: shape(FloatKind::TF32),
            emulated: false,
        }
    }

    /// The shape for operands of a type.
    pub fn shape(&self, stored: Precision) -> Option<[usize; 3]> {
        match stored {
            Precision::F16 => self.f16,
            Precision::BF16 => self.bf16,
            Precision::F32 => self.tf32,
            Precision::F64 => None,
        }
    }
}

/// What the planner knows of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Number of cores if the device is a CPU.
    pub cores: Option<usize>,
    /// Width of its loads in bits.
    pub load_width: usize,
    /// Number of vector registers, where known.
    pub registers: Option<usize>,
    /// Most units of a cube.
    pub max_units: usize,
    /// Units that run in lockstep.
    pub plane: usize,
    /// Shared memory of a cube in bytes.
    pub shared_memory: usize,
    /// Most cubes along each axis.
    pub max_cubes: [u32; 3],
    /// Number of multiprocessors, where known.
    pub processors: Option<usize>,
    /// Whether addresses may have 64 bits.
    pub wide_addresses: bool,
    /// Iterations of loops after which the device ends a unit, if there is such a limit.
    pub max_iterations: Option<usize>,
    /// Whether a pointer to scalars can be read as one to vectors, which saves loads where the compiler
    /// does not find out by itself.
    pub wide_loads: bool,
    /// Whether kernels reach an instruction for $2^x$.
    pub exp2: bool,
    /// Whether a multiply-add rounds once, and no compiler takes it apart, as compilers of shaders do.
    pub fused: bool,
    /// Whether an operation less a pair is worth a second form of the formula.
    pub scales: bool,
    /// The matrices that it multiplies.
    pub matrices: MatrixUnits,
}

impl Device {
    /// The facts that a runtime of the given name reports.
    pub fn new(properties: &DeviceProperties, runtime: &str) -> Self {
        let hardware = &properties.hardware;
        // Mesa's software driver. It leaves every loop when a unit has done 65 535 iterations in all,
        // without a word. And it lacks the explicit layout of shared memory, without which CubeCL 0.11.3
        // exchanges the type of a shared variable and that of its address in SPIR-V: the module is not valid,
        // and the driver crashes. A tile in shared memory would be ordinary memory there anyway.
        let software = properties.identity.name.contains("llvmpipe");
        // Some drivers report more cubes than they launch.
        let clamp = |n: u32| n.min(u16::MAX as u32);
        // A software GPU also runs on cores, but has planes.
        let cores = hardware
            .num_cpu_cores
            .filter(|_| hardware.plane_size_max == 1)
            .map(|n| n as usize);
        let exp2 = ptx::PRESENT && runtime == "cuda";
        let (x, y, z) = hardware.max_cube_count;
        Self {
            cores,
            load_width: hardware.load_width as usize,
            registers: hardware.vector_register_count.map(|n| n as usize),
            max_units: hardware.max_units_per_cube as usize,
            plane: hardware.plane_size_max.max(1) as usize,
            shared_memory: match software && runtime.contains("spirv") {
                true => 0,
                false => hardware.max_shared_memory_size,
            },
            max_cubes: [clamp(x), clamp(y), clamp(z)],
            processors: hardware.num_streaming_multiprocessors.map(|n| n as usize),
            wide_addresses: properties.supports_address(AddressType::U64),
            max_iterations: software.then_some(65_000),
            wide_loads: matches!(runtime, "cuda" | "hip"),
            exp2,
            fused: cores.is_some() || matches!(runtime, "cuda" | "hip"),
            // Elsewhere an exponential is many operations.
            scales: exp2,
            matrices: MatrixUnits::new(properties, runtime),
        }
    }
}
