//! The compilers for devices that this machine need not have, and the programs that run them on the kernels.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::process::{self, capture};
use crate::{debian, llvm, steps};

/// NVRTC, ptxas and nvdisasm, and the headers that kernels include. Their versions are fixed because the machine
/// code is compared with a table.
const WHEELS: [&str; 4] = [
    "nvidia-cuda-nvrtc-cu12==12.9.86",
    "nvidia-cuda-nvcc-cu12==12.9.86",
    "nvidia-cuda-runtime-cu12==12.9.79",
    "nvidia-cuda-nvdisasm==13.5.37",
];
/// The folder in the user's data that they are installed to. It is renamed when the versions change.
const WHEELS_FOLDER: &str = "burn-lazy/nvidia-12.9.86";
/// The Clangs that support all of the architectures.
const CLANGS: [&str; 4] = ["clang-19", "clang-20", "clang-21", "clang-22"];
const SPIRV_VAL: &str = "spirv-val";
/// The folders where AMD's device libraries may be.
const AMD_LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/amdgcn/bitcode",
    "/usr/lib/aarch64-linux-gnu/amdgcn/bitcode",
    "/opt/rocm/amdgcn/bitcode",
];
const PACKAGES: [&str; 3] = ["clang-19", "rocm-device-libs", "spirv-tools"];
/// The table that the machine code is compared with.
pub const TABLE: &str = "cube_kernels/targets/sass.jsonl";

/// The record that the text of the kernels and their plans are compared with.
pub const RECORD: &str = "cube_kernels/targets/record.jsonl";

/// The feature that gives the program that compiles the corpus all of its compilers.
pub const FEATURE: &str = "burn-lazy-targets/ptx";

/// The arguments of `cargo test` for the test that hands its further arguments on to the program.
pub const PROGRAM: &str = "--test program -- --program";

/// The places of the tools.
pub struct Tools {
    cuda: PathBuf,
    clang: &'static str,
    amd_libraries: &'static str,
}

impl Tools {
    /// Finds the tools, and installs missing ones where that is possible.
    pub fn ensure(say: &dyn Fn(&str)) -> Result<Self> {
        if !cfg!(target_os = "linux") {
            bail!("the compilers of other devices are set up on Linux only");
        }
        llvm::ensure_gpu(say)?;
        let (clang, amd_libraries) = match packages() {
            Some(found) => found,
            None => {
                let names = PACKAGES.join(", ");
                if let Some(obstacle) = debian::obstacle() {
                    bail!(
                        "the compilers of other devices are missing; {obstacle} (Debian: {names})"
                    );
                }
                say(&format!("other targets: installing {names}"));
                debian::install(&PACKAGES).context("no compilers of other devices")?;
                packages().ok_or_else(|| anyhow!("{names} do not bring what they should"))?
            }
        };
        Ok(Self {
            cuda: wheels(say)?,
            clang,
            amd_libraries,
        })
    }

    /// The folder of NVIDIA's toolkit, which contains its library of functions.
    pub fn toolkit(&self) -> PathBuf {
        self.cuda.join("cuda_nvcc")
    }

    /// The arguments that tell the program where the tools are.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        for (name, value) in [
            ("--nvidia", self.cuda.as_os_str()),
            ("--clang", self.clang.as_ref()),
            ("--amd-libraries", self.amd_libraries.as_ref()),
            ("--spirv-val", SPIRV_VAL.as_ref()),
        ] {
            arguments.extend([name.into(), value.to_owned()]);
        }
        arguments
    }
}

/// The Clang and the device libraries, if all Debian packages are installed.
fn packages() -> Option<(&'static str, &'static str)> {
    capture(Command::new(SPIRV_VAL).arg("--version")).ok()?;
    let clang = CLANGS.into_iter().find(|name| {
        let targets = capture(Command::new(name).arg("--print-targets"));
        targets.is_ok_and(|targets| targets.contains("amdgcn"))
    })?;
    let libraries = AMD_LIBRARIES
        .into_iter()
        .find(|folder| Path::new(folder).join("ocml.bc").exists())?;
    Some((clang, libraries))
}

/// The folder `nvidia` of the installed Python packages.
fn wheels(say: &dyn Fn(&str)) -> Result<PathBuf> {
    let data = dirs::data_local_dir().context("no folder for user data: set HOME")?;
    let folder = data.join(WHEELS_FOLDER);
    if !folder.exists() {
        say(&format!(
            "CUDA: fetching the Python wheels {}",
            WHEELS.join(", ")
        ));
        let parent = folder.parent().context("a folder has a parent")?;
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        let temporary = tempfile::tempdir_in(parent)?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--disable-pip-version-check"]);
        pip.args(["--no-deps", "--only-binary", ":all:", "--target"]);
        pip.arg(temporary.path()).args(WHEELS);
        capture(&mut pip).context("the CUDA compilers could not be installed")?;
        fs::rename(temporary.path().join("nvidia"), &folder)
            .with_context(|| format!("moving the wheels to {}", folder.display()))?;
    }
    Ok(folder)
}

/// The program that compiles the corpus, with its tools. Commands that only emit need the tools, too: emitting PTX
/// takes an LLVM that has this target, and NVIDIA's library of functions.
fn program(what: &str) -> Result<Command> {
    let tools = Tools::ensure(&|message| eprintln!("{message}"))?;
    let mut command = process::cargo();
    command.args(["test", "--quiet"]);
    command.args(steps::libraries()).args(PROGRAM.split(' '));
    command.arg(what).args(tools.arguments());
    Ok(command)
}

/// `cargo xtask record`: writes the record of the text of all kernels and of their plans anew.
pub fn record() -> Result<bool> {
    process::succeeds(program("record")?.arg(RECORD))
}

/// `cargo xtask emit`: writes the text of the kernels whose names contain `only` to a folder.
pub fn emit(folder: &Path, only: Option<&str>) -> Result<bool> {
    let mut command = program("emit")?;
    command.arg(std::env::current_dir()?.join(folder));
    if let Some(only) = only {
        command.args(["--only", only]);
    }
    process::succeeds(&mut command)
}

/// `cargo xtask sass`: prints what the machine code for an H100 and an MI300X costs, and writes the costs to
/// `json`.
pub fn sass(json: Option<&Path>, only: Option<&str>) -> Result<bool> {
    let mut command = program("sass")?;
    if let Some(file) = json {
        let folder = std::env::current_dir()?;
        command.arg("--json").arg(folder.join(file));
    }
    if let Some(only) = only {
        command.args(["--only", only]);
    }
    process::succeeds(&mut command)
}
