//! The external compilers and validators.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    ptr,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    emit::Language,
    sass::{self, Isa},
};

/// A kernel in some language, and the target that it is compiled or checked for.
pub struct Job {
    pub source: Vec<u8>,
    pub language: Language,
    pub target: String,
}

/// The result of compiling a kernel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Compiled {
    pub registers: u32,
    pub spill_bytes: u32,
    /// The loops of the machine code, if it was analysed.
    pub loops: Vec<sass::Loop>,
}

impl Language {
    /// The targets that a kernel in this language is compiled or checked for.
    pub fn targets(self) -> Vec<String> {
        match self {
            Language::Cuda => vec!["sm_80".into(), "sm_90".into()],
            Language::Ptx(capability) => vec![format!("sm_{capability}")],
            Language::Hip { architectures, .. } => {
                architectures.iter().map(|name| name.to_string()).collect()
            }
            Language::Metal | Language::SpirV | Language::Wgsl => vec![self.name().to_lowercase()],
            Language::CubeCl => vec!["cpu".into()],
        }
    }
}

/// The tools that were found. Kernels whose tool is missing are not checked.
pub struct Tools {
    pub nvidia: Option<Nvidia>,
    pub clang: Option<Clang>,
    pub spirv_val: Option<PathBuf>,
    /// The folder in which results are kept. Failures are not kept.
    pub cache: PathBuf,
}

impl Tools {
    /// Whether kernels in this language are compiled or checked, not only emitted.
    pub fn have(&self, language: Language) -> bool {
        match language {
            Language::Cuda | Language::Ptx(_) => self.nvidia.is_some(),
            Language::Hip { .. } | Language::Metal => self.clang.is_some(),
            Language::SpirV => self.spirv_val.is_some(),
            Language::Wgsl => true,
            Language::CubeCl => false,
        }
    }

    /// Compiles or checks a kernel. Slow compilers only run if their result is not in the cache.
    pub fn run(&self, job: &Job) -> Result<Compiled> {
        if matches!(job.language, Language::SpirV | Language::Wgsl) {
            return self.run_anew(job);
        }
        let kept = self.cache.join(format!("{:016x}.json", self.key(job)));
        if let Ok(text) = fs::read(&kept)
            && let Ok(compiled) = serde_json::from_slice(&text)
        {
            return Ok(compiled);
        }
        let compiled = self.run_anew(job)?;
        fs::write(&kept, serde_json::to_vec(&compiled)?)
            .with_context(|| format!("writing {}", kept.display()))?;
        Ok(compiled)
    }

    fn key(&self, job: &Job) -> u64 {
        // Increase this when a change of this program changes results.
        const VERSION: u32 = 3;
        let mut hasher = DefaultHasher::new();
        VERSION.hash(&mut hasher);
        job.source.hash(&mut hasher);
        job.target.hash(&mut hasher);
        job.language.name().hash(&mut hasher);
        let nvidia = self.nvidia.as_ref().map(|tool| &tool.version);
        let clang = self.clang.as_ref().map(|tool| &tool.version);
        match job.language {
            Language::Cuda | Language::Ptx(_) => nvidia.hash(&mut hasher),
            _ => clang.hash(&mut hasher),
        }
        hasher.finish()
    }

    fn run_anew(&self, job: &Job) -> Result<Compiled> {
        let missing = || anyhow!("there is no tool for {}", job.language.name());
        match job.language {
            Language::Cuda => {
                let nvidia = self.nvidia.as_ref().ok_or_else(missing)?;
                nvidia.assemble(&nvidia.compile(&job.source, &job.target)?, &job.target)
            }
            Language::Ptx(_) => {
                let nvidia = self.nvidia.as_ref().ok_or_else(missing)?;
                nvidia.assemble(&job.source, &job.target)
            }
            Language::Hip { plane, .. } => {
                let clang = self.clang.as_ref().ok_or_else(missing)?;
                clang.compile(&job.source, &job.target, plane)
            }
            Language::SpirV => {
                let validator = self.spirv_val.as_ref().ok_or_else(missing)?;
                let file = scratch(".spv", &job.source)?;
                let mut command = Command::new(validator);
                command.args(["--target-env", "vulkan1.3"]).arg(file.path());
                succeed(&mut command)?;
                Ok(Compiled::default())
            }
            Language::Wgsl => {
                wgsl(&job.source)?;
                Ok(Compiled::default())
            }
            Language::Metal => {
                let clang = self.clang.as_ref().ok_or_else(missing)?;
                clang.parse_metal(&job.source)?;
                Ok(Compiled::default())
            }
            Language::CubeCl => Err(missing()),
        }
    }
}

/// Parses and validates WGSL as a browser without extensions would.
fn wgsl(source: &[u8]) -> Result<()> {
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    let source = std::str::from_utf8(source)?;
    let module = naga::front::wgsl::parse_str(source)
        .map_err(|error| anyhow!("{}", error.emit_to_string(source)))?;
    Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .map_err(|error| anyhow!("{}", error.emit_to_string(source)))?;
    Ok(())
}

/// NVIDIA's compilers, as installed by their Python wheels.
pub struct Nvidia {
    nvrtc: libloading::Library,
    includes: Vec<PathBuf>,
    ptxas: PathBuf,
    nvdisasm: PathBuf,
    version: String,
}

/// The folder below `folder`, which holds the Python packages, that is laid out as a CUDA toolkit.
pub fn toolkit(folder: &Path) -> Option<PathBuf> {
    let within = "nvvm/libdevice/libdevice.10.bc";
    let library = files(folder)
        .into_iter()
        .find(|path| path.ends_with(within))?;
    library.ancestors().nth(3).map(Path::to_path_buf)
}

impl Nvidia {
    /// Finds the compilers below the folder `nvidia` of the installed Python packages.
    pub fn new(folder: &Path) -> Result<Self> {
        let find = |names: &[&str]| -> Result<PathBuf> {
            for path in files(folder) {
                if names.iter().any(|name| path.ends_with(name)) {
                    return Ok(path);
                }
            }
            bail!("{} is not below {}", names[0], folder.display())
        };
        let library = find(&["lib/libnvrtc.so.12", "lib/libnvrtc.so.13"])?;
        // The headers are spread over several packages.
        let include = |header: &str| -> Result<PathBuf> {
            let found = find(&[header])?;
            let folder = found
                .ancestors()
                .nth(Path::new(header).components().count());
            Ok(folder.context("a file has a folder")?.join("include"))
        };
        let includes = vec![
            include("include/cuda_fp16.h")?,
            include("include/crt/mma.h")?,
        ];
        let ptxas = find(&["bin/ptxas"])?;
        let nvdisasm = find(&["bin/nvdisasm"])?;
        let version = succeed(Command::new(&ptxas).arg("--version"))?
            + &succeed(Command::new(&nvdisasm).arg("--version"))?;
        // SAFETY: initialising NVRTC has no requirements.
        let nvrtc = unsafe { libloading::Library::new(&library) }
            .with_context(|| format!("loading {}", library.display()))?;
        Ok(Self {
            nvrtc,
            includes,
            ptxas,
            nvdisasm,
            version,
        })
    }

    /// The name of the architecture that the runtime uses, which includes features that only this generation has.
    fn architecture(target: &str) -> &str {
        match target {
            "sm_90" => "sm_90a",
            target => target,
        }
    }

    /// Compiles CUDA C++ to PTX.
    fn compile(&self, source: &[u8], target: &str) -> Result<Vec<u8>> {
        type Program = *mut c_void;
        type Strings = *const *const c_char;
        type Create = unsafe extern "C" fn(
            *mut Program,
            *const c_char,
            *const c_char,
            c_int,
            Strings,
            Strings,
        ) -> c_int;
        type Compile = unsafe extern "C" fn(Program, c_int, Strings) -> c_int;
        type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
        type Get = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
        type Destroy = unsafe extern "C" fn(*mut Program) -> c_int;

        let source = CString::new(source)?;
        let architecture = format!("--gpu-architecture={}", Self::architecture(target));
        let mut options = vec![CString::new(architecture)?];
        for folder in &self.includes {
            options.push(CString::new(format!(
                "--include-path={}",
                folder.display()
            ))?);
        }
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let nothing: Strings = ptr::null();
        // SAFETY: the types are those of `nvrtc.h`; strings end with a zero and outlive the calls;
        // buffers have the sizes that the library asks for.
        unsafe {
            let text = |size: &[u8], get: &[u8], program| -> Result<Vec<u8>> {
                let mut len = 0;
                ensure!(self.nvrtc.get::<Size>(size)?(program, &mut len) == 0);
                let mut text = vec![0u8; len.max(1)];
                let start = text.as_mut_ptr().cast();
                ensure!(self.nvrtc.get::<Get>(get)?(program, start) == 0);
                Ok(CStr::from_bytes_until_nul(&text)?.to_bytes().to_vec())
            };
            let mut program: Program = ptr::null_mut();
            let create = self.nvrtc.get::<Create>(b"nvrtcCreateProgram\0")?;
            let name = ptr::null();
            let code = create(&mut program, source.as_ptr(), name, 0, nothing, nothing);
            ensure!(code == 0, "nvrtcCreateProgram: error {code}");
            let compile = self.nvrtc.get::<Compile>(b"nvrtcCompileProgram\0")?;
            let code = compile(program, options.len() as c_int, options.as_ptr());
            let result = if code == 0 {
                text(b"nvrtcGetPTXSize\0", b"nvrtcGetPTX\0", program)
            } else {
                let log = text(
                    b"nvrtcGetProgramLogSize\0",
                    b"nvrtcGetProgramLog\0",
                    program,
                )?;
                Err(anyhow!("NVRTC: {}", String::from_utf8_lossy(&log)))
            };
            self.nvrtc.get::<Destroy>(b"nvrtcDestroyProgram\0")?(&mut program);
            result
        }
    }

    /// Assembles PTX to machine code.
    fn assemble(&self, ptx: &[u8], target: &str) -> Result<Compiled> {
        let source = scratch(".ptx", ptx)?;
        let code = scratch(".cubin", &[])?;
        let mut ptxas = Command::new(&self.ptxas);
        ptxas
            .arg("-v")
            .arg(format!("-arch={}", Self::architecture(target)))
            .arg(source.path());
        ptxas.arg("-o").arg(code.path());
        // ptxas writes its messages to the standard error.
        let output = ptxas.stdin(Stdio::null()).output()?;
        let messages = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ptxas: {messages}");
        let listing = succeed(Command::new(&self.nvdisasm).arg("-c").arg(code.path()))?;
        let number = |before: &str, after: &str| number(&messages, before, after);
        Ok(Compiled {
            registers: number("Used ", " registers").context("ptxas names no registers")?,
            spill_bytes: number("", " bytes spill stores").unwrap_or(0)
                + number("", " bytes spill loads").unwrap_or(0),
            loops: sass::loops(&listing, Isa::Sass),
        })
    }
}

/// A Clang that supports the target AMDGPU, with AMD's device libraries.
pub struct Clang {
    program: PathBuf,
    libraries: PathBuf,
    version: String,
}

/// The declarations that HIP's run-time compiler adds to every kernel.
const HIP_PRELUDE: &str = include_str!("hip.h");
/// Declarations in the place of Metal's standard library.
const METAL_LIBRARY: &str = include_str!("metal.h");

impl Clang {
    pub fn new(program: &Path, libraries: &Path) -> Result<Self> {
        let mut version = succeed(Command::new(program).arg("--version"))?;
        version.push_str(HIP_PRELUDE);
        version.push_str(METAL_LIBRARY);
        Ok(Self {
            program: program.to_path_buf(),
            libraries: libraries.to_path_buf(),
            version,
        })
    }

    /// Whether it has the version that made the table of costs.
    pub fn is_that_of_the_table(&self) -> bool {
        self.version.contains("clang version 19.")
    }

    /// Checks the syntax of Metal by parsing it as C++.
    fn parse_metal(&self, source: &[u8]) -> Result<()> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("metal_stdlib"), METAL_LIBRARY)?;
        let file = folder.path().join("kernel.metal");
        fs::write(&file, source)?;
        let mut clang = Command::new(&self.program);
        clang.args([
            "-x",
            "c++",
            "-std=c++17",
            "-fsyntax-only",
            "-nostdinc",
            "-w",
        ]);
        clang.arg("-I").arg(folder.path()).arg(&file);
        succeed(&mut clang)?;
        Ok(())
    }

    /// Compiles HIP C++ to assembly, with the library of mathematical functions.
    fn compile(&self, source: &[u8], target: &str, plane: usize) -> Result<Compiled> {
        let folder = tempfile::tempdir()?;
        let prelude = folder.path().join("hip.h");
        fs::write(&prelude, HIP_PRELUDE)?;
        fs::create_dir(folder.path().join("hip"))?;
        // The types of this header are in the prelude.
        fs::write(folder.path().join("hip/hip_bf16.h"), "")?;
        let file = folder.path().join("kernel.hip");
        fs::write(&file, source)?;
        let mut clang = Command::new(&self.program);
        clang.args([
            "-x",
            "hip",
            "--offload-device-only",
            "-S",
            "-O3",
            "-std=c++17",
        ]);
        clang.args([
            "-nogpuinc",
            "-nogpulib",
            "-Rpass-analysis=kernel-resource-usage",
        ]);
        clang.arg(format!("--offload-arch={target}"));
        clang.arg("-I").arg(folder.path());
        clang.arg("-include").arg(&prelude);
        let wide = if plane == 64 { "on" } else { "off" };
        // The libraries may be older than the target. The previous target has the same features that the libraries
        // ask for, such as fast fused multiply-add.
        let isa = match target.trim_start_matches("gfx") {
            "942" => "940",
            "1100" => "1036",
            isa => isa,
        };
        for library in [
            "ocml",
            "ockl",
            "oclc_daz_opt_off",
            "oclc_unsafe_math_off",
            "oclc_finite_only_off",
            "oclc_correctly_rounded_sqrt_on",
            &format!("oclc_wavefrontsize64_{wide}"),
            &format!("oclc_isa_version_{isa}"),
            "oclc_abi_version_500",
        ] {
            let library = self.libraries.join(format!("{library}.bc"));
            clang
                .args(["-Xclang", "-mlink-builtin-bitcode", "-Xclang"])
                .arg(library);
        }
        let assembly = folder.path().join("kernel.s");
        clang.arg("-o").arg(&assembly).arg(&file);
        let output = clang.stdin(Stdio::null()).output()?;
        let messages = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "clang: {messages}");
        Ok(Compiled {
            registers: number(&messages, "    VGPRs: ", " ")
                .with_context(|| format!("clang names no registers: {messages}"))?,
            spill_bytes: 4 * number(&messages, "VGPRs Spill: ", " ").unwrap_or(0),
            loops: sass::loops(&fs::read_to_string(assembly)?, Isa::Gcn),
        })
    }
}

/// The number in `text` that is between `before` and `after`.
fn number(text: &str, before: &str, after: &str) -> Option<u32> {
    text.match_indices(after).find_map(|(end, _)| {
        let head = &text[..end];
        let digits = head.trim_end_matches(|c: char| c.is_ascii_digit());
        let value = head[digits.len()..].parse().ok()?;
        digits.ends_with(before).then_some(value)
    })
}

/// All files below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => found.push(entry.path()),
            }
        }
    }
    found
}

fn scratch(suffix: &str, content: &[u8]) -> Result<tempfile::NamedTempFile> {
    let file = tempfile::Builder::new().suffix(suffix).tempfile()?;
    fs::write(file.path(), content)?;
    Ok(file)
}

/// Runs the command and returns what it prints. If it fails, the error contains its messages.
fn succeed(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {:?}", command.get_program()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{:?}: {text}{}",
        command.get_program(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text.into_owned())
}
