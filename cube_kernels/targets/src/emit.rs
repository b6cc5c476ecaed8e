//! Kernels as text or binary for each kind of device, emitted by the compilers of the runtimes.

use anyhow::{Context, Result};
use cubecl::{
    Compiler, VulkanCompilationOptions, WgpuCompilationOptions,
    prelude::{CubeKernel, KernelDefinition},
};
use cubecl_cpp::{
    shared::{CompilationOptions, CppCompiler, CppSupportedFeatures},
    target,
};

use crate::sass::Isa;

/// A language in which kernels are emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// CUDA C++, which the CUDA runtime emits with its feature `cpp`.
    Cuda,
    /// PTX for a compute capability, which the CUDA runtime emits by default.
    Ptx(u32),
    /// HIP C++ for planes of a size, and the architectures with planes of this size.
    Hip {
        plane: usize,
        architectures: &'static [&'static str],
    },
    /// Metal Shading Language.
    Metal,
    SpirV,
    Wgsl,
    /// CubeCL's representation, from which all of the others and the code of the CPU runtime are made. No compiler
    /// checks it here.
    CubeCl,
}

/// A kernel in some language.
pub struct Emitted {
    pub source: Vec<u8>,
    /// The shared memory of a cube.
    pub shared_bytes: usize,
}

impl Language {
    pub fn name(self) -> &'static str {
        match self {
            Language::Cuda => "CUDA C++",
            Language::Ptx(_) => "PTX",
            Language::Hip { .. } => "HIP C++",
            Language::Metal => "Metal",
            Language::SpirV => "SPIR-V",
            Language::Wgsl => "WGSL",
            Language::CubeCl => "CubeCL IR",
        }
    }

    /// The instruction set of the machine code that is made from this language, if the machine code is analysed.
    pub fn isa(self) -> Option<Isa> {
        match self {
            Language::Cuda | Language::Ptx(_) => Some(Isa::Sass),
            Language::Hip { .. } => Some(Isa::Gcn),
            Language::Metal | Language::SpirV | Language::Wgsl | Language::CubeCl => None,
        }
    }

    /// The extension of files in this language.
    pub fn extension(self) -> &'static str {
        match self {
            Language::Cuda => "cu",
            Language::Ptx(80) => "sm_80.ptx",
            Language::Ptx(_) => "ptx",
            Language::Hip { .. } => "hip",
            Language::Metal => "metal",
            Language::SpirV => "spv",
            Language::Wgsl => "wgsl",
            Language::CubeCl => "ir",
        }
    }

    /// The kernel in this language.
    pub fn emit(self, kernel: &dyn CubeKernel) -> Result<Emitted> {
        let kernel = cubecl::define_kernel(kernel).context("the kernel does not expand")?;
        match self {
            Language::Cuda => cpp::<target::Cuda>(kernel, 32),
            Language::Hip { plane, .. } => cpp::<target::Hip>(kernel, plane),
            Language::Metal => cpp::<target::Metal>(kernel, 32),
            Language::Ptx(capability) => ptx(kernel, capability),
            Language::SpirV => {
                let options = WgpuCompilationOptions {
                    supports_u64: true,
                    supports_vulkan_compiler: true,
                    vulkan: VulkanCompilationOptions {
                        max_spirv_version: (1, 6),
                        max_vector_size: 4,
                        push_constant_size: 128,
                        supports_uniform_standard_layout: true,
                        // Without this, CubeCL 0.11.3 exchanges the types of a shared variable and of its address,
                        // and the module is not valid.
                        supports_explicit_smem: true,
                        ..Default::default()
                    },
                    ..Default::default()
                };
                let module = cubecl_spirv::SpirvCompiler.compile(kernel, &options)?;
                let words = module.assembled_module.iter();
                Ok(Emitted {
                    source: words.flat_map(|word| word.to_le_bytes()).collect(),
                    shared_bytes: module.shared_size,
                })
            }
            Language::Wgsl => {
                let options = WgpuCompilationOptions::default();
                let shader = cubecl_wgpu::WgslCompiler.compile(kernel, &options)?;
                Ok(Emitted {
                    source: shader.to_string().into_bytes(),
                    shared_bytes: shader.shared_memory_size,
                })
            }
            Language::CubeCl => Ok(Emitted {
                source: kernel.body.to_string().into_bytes(),
                shared_bytes: 0,
            }),
        }
    }
}

fn cpp<T: target::CppTarget>(kernel: KernelDefinition, plane: usize) -> Result<Emitted>
where
    CppCompiler<T>: Compiler<
            Representation = cubecl_cpp::ComputeKernel,
            CompilationOptions = CompilationOptions,
        >,
{
    let options = CompilationOptions {
        warp_size: plane,
        supports_features: CppSupportedFeatures {
            fast_math: true,
            ..Default::default()
        },
        amd_wmma: None,
    };
    let kernel = CppCompiler::<T>::default().compile(kernel, &options)?;
    Ok(Emitted {
        source: kernel.source.into_bytes(),
        shared_bytes: kernel.shared_memory_size,
    })
}

#[cfg(feature = "ptx")]
fn ptx(kernel: KernelDefinition, capability: u32) -> Result<Emitted> {
    use cubecl::ir::nvidia::SmArch;
    use cubecl_llvm::{
        PlironArtifact, PlironCompiler, PlironOptions, nvptx::ptx_version::PtxVersion,
        target::LlvmTarget,
    };

    /// CUDA 12.8, as `cuDriverGetVersion` encodes it.
    const DRIVER: i32 = 12080;
    let options = PlironOptions {
        sm_arch: Some(SmArch::new(capability, true)),
        ptx_version: PtxVersion::for_driver(DRIVER),
        ..Default::default()
    };
    let mut compiler = PlironCompiler {
        target: LlvmTarget::Nvptx,
    };
    let PlironArtifact::NvptxCode(module) = compiler.compile(kernel, &options)? else {
        anyhow::bail!("the target NVPTX gave something else than PTX");
    };
    let text = module.ptx.iter().take_while(|byte| **byte != 0);
    Ok(Emitted {
        source: text.map(|byte| *byte as u8).collect(),
        shared_bytes: module.shared_memory_size,
    })
}

#[cfg(not(feature = "ptx"))]
fn ptx(_: KernelDefinition, _: u32) -> Result<Emitted> {
    anyhow::bail!("built without the feature `ptx`")
}
