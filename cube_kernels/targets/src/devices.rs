//! Devices that this machine need not have, with the properties that the runtimes would report.

use std::sync::Arc;

use cubecl::{
    features::{Features, MmaConfig, TypeUsage},
    ir::{
        AddressType, DeviceIdentity, DeviceProperties, ElemType, FloatKind, HardwareProperties,
        IntKind, MemoryDeviceProperties, UIntKind, VectorSize,
    },
    profile::TimingMethod,
};

use crate::emit::Language;

/// A device, and the languages in which kernels are emitted for it.
pub struct Device {
    pub name: &'static str,
    /// The name of the runtime that drives it.
    pub runtime: &'static str,
    pub properties: Arc<DeviceProperties>,
    pub languages: Vec<Language>,
}

/// The devices of the corpus.
pub fn all() -> Vec<Device> {
    let mut cuda = vec![Language::Cuda];
    if cfg!(feature = "ptx") {
        cuda.extend([Language::Ptx(80), Language::Ptx(90)]);
    }
    vec![
        Device {
            name: "h100",
            runtime: "cuda",
            properties: properties(
                Hardware {
                    plane: 32,
                    shared_memory: 227 * 1024,
                    units: 1024,
                    processors: Some(132),
                    bindings: 1024,
                },
                |properties| {
                    cubecl_cpp::register_supported_types(properties);
                    register_matrices(properties);
                },
            ),
            languages: cuda,
        },
        Device {
            name: "mi300x",
            runtime: "hip",
            properties: properties(
                Hardware {
                    plane: 64,
                    shared_memory: 64 * 1024,
                    units: 1024,
                    processors: Some(304),
                    bindings: 1024,
                },
                cubecl_cpp::register_supported_types,
            ),
            languages: vec![Language::Hip {
                plane: 64,
                architectures: &["gfx90a", "gfx942"],
            }],
        },
        Device {
            name: "rx7900",
            runtime: "hip",
            properties: properties(
                Hardware {
                    plane: 32,
                    shared_memory: 64 * 1024,
                    units: 1024,
                    processors: Some(48),
                    bindings: 1024,
                },
                cubecl_cpp::register_supported_types,
            ),
            languages: vec![Language::Hip {
                plane: 32,
                architectures: &["gfx1100"],
            }],
        },
        Device {
            name: "apple-m",
            runtime: "wgpu<msl>",
            properties: properties(
                Hardware {
                    plane: 32,
                    shared_memory: 32 * 1024,
                    units: 1024,
                    processors: None,
                    bindings: 31,
                },
                |properties| {
                    register(properties, &[FloatKind::F16, FloatKind::BF16], true);
                },
            ),
            languages: vec![Language::Metal],
        },
        Device {
            name: "intel",
            runtime: "wgpu<spirv>",
            properties: properties(
                Hardware {
                    plane: 32,
                    shared_memory: 64 * 1024,
                    units: 1024,
                    processors: None,
                    bindings: 64,
                },
                |properties| register(properties, &[FloatKind::F16], true),
            ),
            languages: vec![Language::SpirV],
        },
        Device {
            name: "webgpu",
            runtime: "wgpu<wgsl>",
            // The smallest limits that the specification guarantees.
            properties: properties(
                Hardware {
                    plane: 32,
                    shared_memory: 16 * 1024,
                    units: 256,
                    processors: None,
                    bindings: 8,
                },
                |properties| register(properties, &[], false),
            ),
            languages: vec![Language::Wgsl],
        },
        Device {
            name: "epyc",
            runtime: "cpu",
            // The properties that the CPU runtime reports for a processor with AVX-512.
            properties: properties(
                Hardware {
                    plane: 1,
                    shared_memory: 32 * 1024,
                    units: 2,
                    processors: None,
                    bindings: 1024,
                },
                |properties| {
                    let floats = [FloatKind::F16, FloatKind::BF16, FloatKind::F64];
                    register(properties, &floats, true);
                    let properties = &mut properties.hardware;
                    properties.load_width = 512;
                    properties.vector_register_count = Some(32);
                    properties.num_cpu_cores = Some(2);
                },
            ),
            languages: vec![Language::CubeCl],
        },
    ]
}

struct Hardware {
    plane: u32,
    shared_memory: usize,
    units: u32,
    processors: Option<u32>,
    bindings: u32,
}

fn properties(
    hardware: Hardware,
    register: impl Fn(&mut DeviceProperties),
) -> Arc<DeviceProperties> {
    let axis = u16::MAX as u32;
    let name = "not here".to_string();
    let mut properties = DeviceProperties::new(
        Features::default(),
        MemoryDeviceProperties::new(u64::MAX, 256),
        HardwareProperties {
            load_width: 128,
            vector_register_count: None,
            plane_size_min: hardware.plane,
            plane_size_max: hardware.plane,
            max_bindings: hardware.bindings,
            max_shared_memory_size: hardware.shared_memory,
            max_cube_count: (axis, axis, axis),
            max_units_per_cube: hardware.units,
            max_cube_dim: (hardware.units, hardware.units, 64),
            num_streaming_multiprocessors: hardware.processors,
            num_tensor_cores: None,
            min_tensor_cores_dim: None,
            num_cpu_cores: None,
            last_level_cache_size: None,
            max_vector_size: VectorSize::MAX,
            cube_mma_reserved_shared_memory: 0,
        },
        TimingMethod::Device,
        DeviceIdentity {
            fingerprint: name.clone(),
            name,
            physical: None,
        },
    );
    register(&mut properties);
    Arc::new(properties)
}

/// Registers the matrix products of NVIDIA's cards since compute capability 8.0 that both compilers of the CUDA
/// runtime support.
fn register_matrices(properties: &mut DeviceProperties) {
    for (factors, k) in [
        (FloatKind::F16, 16),
        (FloatKind::BF16, 16),
        (FloatKind::TF32, 8),
    ] {
        let factors = ElemType::Float(factors);
        properties.features.matmul.cmma.insert(MmaConfig {
            a_type: factors,
            b_type: factors,
            cd_type: ElemType::Float(FloatKind::F32),
            m: 16,
            n: 16,
            k,
        });
    }
}

/// Registers the types of every GPU and the given floating point types. With `integers` also 64-bit addresses and
/// integers of other sizes.
fn register(properties: &mut DeviceProperties, floats: &[FloatKind], integers: bool) {
    properties.register_address_type(AddressType::U32);
    let mut types = vec![
        ElemType::Index,
        ElemType::UInt(UIntKind::U32),
        ElemType::Int(IntKind::I32),
        ElemType::Float(FloatKind::F32),
        ElemType::Bool,
    ];
    types.extend(floats.iter().map(|float| ElemType::Float(*float)));
    if integers {
        properties.register_address_type(AddressType::U64);
        types.extend([UIntKind::U8, UIntKind::U16, UIntKind::U64].map(ElemType::UInt));
        types.extend([IntKind::I8, IntKind::I16, IntKind::I64].map(ElemType::Int));
    }
    for elem in types {
        properties.register_type_usage(elem, TypeUsage::all());
    }
}
