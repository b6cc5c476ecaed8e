//! The stand-in for NVIDIA's driver, which runs the kernels of the CUDA runtime on the host.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::process::{self, Artifact, Source};
use crate::turns::lock;

pub const PACKAGE: &str = "burn-lazy-standin";
/// The file name under which the runtime looks for the driver.
const NAME: &str = "libcuda.so";
const PATH: &str = "LD_LIBRARY_PATH";
/// The start of the line that the library prints at the end of a process that launched kernels.
const REPORT: &str = "stand-in for CUDA: ";
const LAUNCHES: &str = " launches, ";

/// The card that the stand-in represents, and how it runs launches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The compute capability of the card.
    pub capability: &'static str,
    /// The order in which cubes and units run.
    pub order: &'static str,
    /// The part of the allowed error by which the results of approximate instructions are off.
    pub approximate: &'static str,
    /// The folder where the runtime's compiler finds NVIDIA's library of functions.
    pub toolkit: PathBuf,
}

/// Builds the library and copies it, under the driver's name, to a folder that contains nothing else. The build
/// folder itself would not do, because cargo adds it to the loader's path for each program that it runs.
fn folder() -> Result<PathBuf> {
    let mut command = process::cargo();
    // The profile that its tests were built with.
    command.args(["build", "-p", PACKAGE, "--profile", "test"]);
    let built = library(process::build(&mut command)?)?;
    let parent = built.parent().context("a file has a folder")?;
    let folder = parent.join("standin");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    // The file is replaced in one step, because a process may have the old one open.
    let new = folder.join(format!("{NAME}.{}", std::process::id()));
    fs::copy(&built, &new).with_context(|| format!("copying {}", built.display()))?;
    fs::rename(&new, folder.join(NAME)).context("putting the library into its place")?;
    Ok(folder)
}

fn library(built: Vec<Artifact>) -> Result<PathBuf> {
    let libraries = built.into_iter().filter(|own| own.is("cdylib"));
    let mut files = libraries.flat_map(|own| own.filenames);
    let shared = files.find(|file| file.extension().is_some_and(|end| end == "so"));
    shared.ok_or_else(|| anyhow!("cargo built no library of {PACKAGE}"))
}

/// The folder, followed by the folders where the loader looks already.
fn path(folder: &Path) -> OsString {
    let mut path = folder.as_os_str().to_owned();
    if let Some(others) = env::var_os(PATH).filter(|others| !others.is_empty()) {
        path.push(":");
        path.push(others);
    }
    path
}

/// The variable that makes cargo run the tests through a program.
fn runner() -> String {
    let architecture = env::consts::ARCH.to_uppercase();
    format!("CARGO_TARGET_{architecture}_UNKNOWN_LINUX_GNU_RUNNER")
}

/// The program that sets the folder of the toolkit for the tests alone. If the variable were set for the build,
/// too, crates that look for a toolkit there, and all that depends on them, would be built again for each change
/// between steps with and without it.
fn with_toolkit(toolkit: &Path) -> OsString {
    let mut program = OsString::from("env CUDA_PATH=");
    program.push(toolkit);
    program
}

/// Runs the command with the stand-in as the driver, and hands on its output as [`process::stream`] does. Returns
/// whether the command succeeded, kernels were launched, and no launch failed.
pub fn run(
    command: &mut Command,
    machine: &Machine,
    on_line: impl Fn(Source, &str) + Sync,
) -> Result<bool> {
    let folder = folder()?;
    command
        .env(PATH, path(&folder))
        .env(runner(), with_toolkit(&machine.toolkit));
    for (name, value) in [
        ("BURN_LAZY_STANDIN_CAPABILITY", machine.capability),
        ("BURN_LAZY_STANDIN_ORDER", machine.order),
        ("BURN_LAZY_STANDIN_APPROXIMATE", machine.approximate),
    ] {
        on_line(Source::Stdout, &format!("{name}={value}"));
        command.env(name, value);
    }
    reported(command, on_line)
}

fn reported(command: &mut Command, on_line: impl Fn(Source, &str) + Sync) -> Result<bool> {
    let reports = std::sync::Mutex::new((0, 0));
    let passed = process::stream(command, |source, line| {
        if let Some((launches, failures)) = counts(line) {
            let mut all = lock(&reports);
            all.0 += launches;
            all.1 += failures;
        }
        on_line(source, line);
    })?;
    let (launches, failures) = reports.into_inner().unwrap_or_else(|e| e.into_inner());
    let line = format!("launches: {launches}, of which {failures} failed");
    on_line(Source::Stdout, &line);
    Ok(passed && launches > 0 && failures == 0)
}

/// The numbers of launches and of failed launches in the report of a process.
fn counts(line: &str) -> Option<(u64, u64)> {
    let (before, after) = line.strip_prefix(REPORT)?.split_once(LAUNCHES)?;
    let launches = before.rsplit(' ').next()?.parse().ok()?;
    let failures = after.split(' ').next()?.parse().ok()?;
    Some((launches, failures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_among_what_cargo_built() -> Result<()> {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["lib"]},"filenames":["/t/libother.rlib"]}
{"reason":"compiler-artifact","target":{"kind":["cdylib","rlib"]},"filenames":["/t/libx.rlib","/t/libx.so"]}
{"reason":"build-finished","success":true}"#;
        let built = process::artifacts(messages)?;
        assert_eq!(library(built)?, Path::new("/t/libx.so"));
        let nothing = process::artifacts(r#"{"reason":"build-finished","success":true}"#)?;
        assert!(library(nothing).is_err());
        Ok(())
    }

    #[test]
    fn a_run_without_launches_or_with_failed_ones_does_not_pass() -> Result<()> {
        let run = |text: &str| {
            let mut command = Command::new("echo");
            reported(command.arg(text), |_, _| {})
        };
        assert!(!run("test result: ok")?);
        assert!(run(
            "stand-in for CUDA: 3 kernels in 12 launches, 0 of which failed"
        )?);
        assert!(!run(
            "stand-in for CUDA: 3 kernels in 12 launches, 1 of which failed"
        )?);
        assert!(!run(
            "stand-in for CUDA: 0 kernels in 0 launches, 0 of which failed"
        )?);
        Ok(())
    }
}
