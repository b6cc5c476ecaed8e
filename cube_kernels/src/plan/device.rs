//! The properties of a device that the planner uses.

use crate::math::{Precision, ptx};
use cubecl::ir::{AddressType, DeviceProperties, ElemType, FloatKind};

/// The shapes of matrices that a device multiplies by one instruction, by the type of the factors. A shape has the
/// rows and columns of the product, and the number of terms that are added up for each entry. Sums are in `F32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatrixUnits {
    /// Factors of 16 bits, 11 of them significant.
    pub f16: Option<[usize; 3]>,
    /// Factors of 16 bits, 8 of them significant.
    pub bf16: Option<[usize; 3]>,
    /// Factors of 32 bits, 11 of them significant.
    pub tf32: Option<[usize; 3]>,
    /// Whether loops replace the instruction.
    pub emulated: bool,
}

impl MatrixUnits {
    /// The shapes that a runtime of the given name reports. Runtimes other than that of CUDA may have the
    /// instructions, but no compiler here has accepted the kernels for them.
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

/// The properties of a device that the planner uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Number of cores if the device is a CPU.
    pub cores: Option<usize>,
    /// Width of its loads in bits.
    pub load_width: usize,
    /// Number of vector registers, where known.
    pub registers: Option<usize>,
    /// The most units of a cube.
    pub max_units: usize,
    /// Units that run in lockstep.
    pub plane: usize,
    /// Shared memory of a cube in bytes.
    pub shared_memory: usize,
    /// The most cubes along each axis.
    pub max_cubes: [u32; 3],
    /// Number of multiprocessors, where known.
    pub processors: Option<usize>,
    /// Whether addresses may have 64 bits.
    pub wide_addresses: bool,
    /// Iterations of loops after which the device ends a unit, if there is such a limit.
    pub max_iterations: Option<usize>,
    /// Whether a pointer to scalars can be read as a pointer to vectors. That saves loads if the compiler does not
    /// combine them by itself.
    pub wide_loads: bool,
    /// Whether kernels can use an instruction for $2^x$.
    pub exp2: bool,
    /// Whether a multiply-add surely rounds once. Compilers of shaders may take it apart into a product and a sum.
    pub fused: bool,
    /// Whether saving one operation a pair is worth a second form of the formula.
    pub scales: bool,
    /// The shapes of the matrices that it multiplies by one instruction.
    pub matrices: MatrixUnits,
}

impl Device {
    /// The properties that a runtime of the given name reports.
    pub fn new(properties: &DeviceProperties, runtime: &str) -> Self {
        let hardware = &properties.hardware;
        // This is Mesa's software driver. When a unit has done 65 535 iterations in all, it leaves every loop,
        // without an error. It also lacks the explicit layout of shared memory. Without this layout CubeCL 0.11.3
        // exchanges the type of a shared variable and the type of its address in SPIR-V, so that the module is not
        // valid and the driver crashes. A tile in shared memory would be ordinary memory there anyway.
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
            // On other devices an exponential takes many operations.
            scales: exp2,
            matrices: MatrixUnits::new(properties, runtime),
        }
    }
}
