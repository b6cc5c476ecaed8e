//! `cargo xtask gpu-bundle`: packs the tests, the benchmark and some examples into one archive, for a machine with
//! an NVIDIA card and without Rust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::process::{self, Artifact, capture};
use crate::{bench, llvm, steps};

const NAME: &str = "burn-lazy-gpu";
/// The largest size of the archive, because files are often sent to machines through channels of limited size.
const LARGEST: u64 = 60 << 20;
/// The programs, as the runner names them: a kind of target and its name. Only the most instructive examples are
/// included, because each adds some megabytes.
const PROGRAMS: [(&str, &str); 6] = [
    ("test", "kernels"),
    ("test", "backend"),
    ("bench", "peers"),
    ("example", "tutorial"),
    ("example", "knn_digits"),
    ("example", "solve"),
];
/// The files that the programs read, relative to the folder of the package.
const FILES: [&str; 4] = [
    "benches/peers/peers.py",
    "cube_kernels/src/formula/operations.md",
    "cube_kernels/tests/kernels/contract.csv",
    "examples/data",
];
/// The peer and the packages that it imports, except NumPy and PyTorch. They contain Python code only.
const PEER_WHEELS: [&str; 3] = [bench::PYKEOPS, "keopscore==2.3", "pybind11==3.1.0"];
const RUNNER: &str = include_str!("gpu_bundle/run.sh");

/// Builds everything for CUDA and packs it. It is an error if the archive is too large.
pub fn run() -> Result<bool> {
    if !cfg!(target_os = "linux") {
        bail!("the programs of the bundle are for Linux, and built there");
    }
    llvm::ensure_gpu(&|message| eprintln!("{message}"))?;
    let root = process::repository_root();
    let target = root.join("target/gpu-bundle");
    let folder = target.join(NAME);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    let programs = folder.join("bin");
    fs::create_dir_all(&programs)?;
    for (name, file) in build()? {
        install(&file, &programs.join(name))?;
    }
    // The xtask makes the table of the results.
    install(&std::env::current_exe()?, &programs.join("xtask"))?;
    for file in FILES {
        copy(&root.join(file), &folder.join(file))?;
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--no-compile"]);
    pip.arg("--target")
        .arg(folder.join("python"))
        .args(PEER_WHEELS);
    capture(&mut pip).context("pykeops could not be added")?;
    let mut git = Command::new("git");
    let commit = git
        .current_dir(&root)
        .args(["describe", "--always", "--dirty"]);
    fs::write(folder.join("commit"), capture(commit).unwrap_or_default())?;
    let runner = folder.join("run.sh");
    fs::write(&runner, RUNNER)?;
    capture(Command::new("chmod").arg("+x").arg(&runner))?;
    pack(&target)
}

/// Builds the programs and returns their files by name.
fn build() -> Result<Vec<(&'static str, PathBuf)>> {
    let mut command = process::cargo();
    command.arg("build").args(steps::LIBRARIES.split(' '));
    command.args(["--features", "cuda"]);
    for (kind, name) in PROGRAMS {
        command.args([&format!("--{kind}"), name]);
    }
    programs(&process::build(&mut command)?)
}

fn programs(built: &[Artifact]) -> Result<Vec<(&'static str, PathBuf)>> {
    let program = |(kind, name): (&str, &'static str)| {
        let mut own = built
            .iter()
            .filter(|own| own.target.name == name && own.is(kind));
        let file = own.find_map(|own| own.executable.clone());
        let file = file.ok_or_else(|| anyhow!("cargo built no {kind} {name}"))?;
        Ok((name, file))
    };
    PROGRAMS.into_iter().map(program).collect()
}

/// Copies a program without its symbols.
fn install(file: &Path, to: &Path) -> Result<()> {
    capture(Command::new("strip").arg("-o").arg(to).arg(file))
        .context("`strip` is needed (Debian: binutils)")?;
    Ok(())
}

fn copy(file: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().context("a file has a folder")?;
    fs::create_dir_all(parent)?;
    capture(Command::new("cp").arg("-r").arg(file).arg(to))?;
    Ok(())
}

/// Makes the archive of the folder. It is an error if the archive is too large.
fn pack(target: &Path) -> Result<bool> {
    let tar = target.join(format!("{NAME}.tar"));
    let mut command = Command::new("tar");
    command
        .current_dir(target)
        .args(["--sort=name", "--owner=0", "--group=0", "-cf"]);
    capture(command.arg(&tar).arg(NAME))?;
    // The programs are nearly the same, so a window that spans two of them compresses well.
    let mut xz = Command::new("xz");
    capture(
        xz.args(["--force", "--threads=1", "--lzma2=preset=9,dict=256MiB"])
            .arg(&tar),
    )?;
    let archive = target.join(format!("{NAME}.tar.xz"));
    let size = fs::metadata(&archive)?.len();
    println!(
        "{}: {:.1} MiB",
        archive.display(),
        size as f64 / f64::from(1 << 20)
    );
    if size > LARGEST {
        bail!("the archive is larger than {} MiB", LARGEST >> 20);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_what_cargo_prints() -> Result<()> {
        let mut messages = String::from(
            r#"{"reason":"compiler-artifact","target":{"name":"peers","kind":["lib"]},"executable":null}
{"reason":"build-script-executed","package_id":"x"}
"#,
        );
        for (kind, name) in PROGRAMS {
            messages += &format!(
                "{{\"target\":{{\"name\":\"{name}\",\"kind\":[\"{kind}\"]}},\"executable\":\"/t/{name}\"}}\n"
            );
        }
        let found = programs(&process::artifacts(&messages)?)?;
        assert_eq!(found.len(), PROGRAMS.len());
        assert_eq!(found[2], ("peers", PathBuf::from("/t/peers")));
        assert!(programs(&process::artifacts("{\"reason\":\"build-finished\"}")?).is_err());
        Ok(())
    }

    #[test]
    fn the_runner_runs_every_program() {
        for (_, name) in PROGRAMS {
            assert!(RUNNER.contains(name), "{name}");
        }
    }
}
