//! Lints and documentation from the build of the tests.
//!
//! `cargo clippy` and `cargo doc` compile the metadata of every dependency, and a build uses nothing of that. Together
//! they would take a sixth of the time of all checks from scratch. So cargo builds the tests instead, and calls this
//! program in place of the compiler or of rustdoc. This program then lints or documents the packages of the workspace
//! with the dependencies of the tests.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::process::{self, Source};

/// The variable of the environment that says which program this one is called in place of.
const ROLE: &str = "BURN_LAZY_XTASK_ROLE";
const COMPILER: &str = "compiler";
const RUSTDOC: &str = "rustdoc";

/// Has clippy lint the packages of the workspace in a build by the command. Nothing is linked.
pub fn linted(command: &mut Command, on_line: impl Fn(Source, &str) + Sync) -> Result<bool> {
    on_line(Source::Stdout, "with clippy in place of the compiler");
    run_as(COMPILER, "RUSTC_WORKSPACE_WRAPPER", command, on_line)
}

/// Has rustdoc document each library whose snippets the command tests. A warning is an error.
pub fn documented(command: &mut Command, on_line: impl Fn(Source, &str) + Sync) -> Result<bool> {
    on_line(Source::Stdout, "with documentation before the snippets");
    run_as(RUSTDOC, "RUSTDOC", command, on_line)
}

/// Runs the command of cargo, which calls this program as `role`. Cargo reads from `variable` what to call.
fn run_as(
    role: &str,
    variable: &str,
    command: &mut Command,
    on_line: impl Fn(Source, &str) + Sync,
) -> Result<bool> {
    command.env(variable, env::current_exe()?).env(ROLE, role);
    process::stream(command, on_line)
}

/// Runs the program that this one is called in place of, if there is one, and returns whether it succeeded.
pub fn run() -> Option<Result<bool>> {
    let role = env::var(ROLE).ok()?;
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    Some(match &*role {
        COMPILER => lint(&arguments),
        RUSTDOC => document(&arguments),
        other => Err(anyhow!("{ROLE}={other} is not known")),
    })
}

/// Runs clippy with the arguments of a call of the compiler. The first argument is the compiler.
fn lint(arguments: &[OsString]) -> Result<bool> {
    let Some((compiler, arguments)) = arguments.split_first() else {
        bail!("no compiler is named");
    };
    let mut clippy = Command::new(Path::new(compiler).with_file_name("clippy-driver"));
    clippy.arg(compiler);
    // Cargo also asks the compiler for its version and for the kinds of its files.
    let is_package = env::var_os("CARGO_PRIMARY_PACKAGE").is_some();
    if is_package && !is_build_script(arguments) {
        clippy.args(arguments.iter().map(|a| metadata_only(a, Path::exists)));
    } else {
        clippy.args(arguments);
    }
    if is_package {
        clippy.args(["-D", "warnings"]);
    }
    process::succeeds(&mut clippy)
}

/// Whether the compiler is called for a build script, which cargo runs afterwards.
fn is_build_script(arguments: &[OsString]) -> bool {
    let named = |pair: &[OsString]| {
        pair[0] == "--crate-name" && pair[1].to_string_lossy().starts_with("build_script_")
    };
    arguments.windows(2).any(named)
}

/// The argument of a call of the compiler that writes only metadata, and reads only metadata of libraries that were
/// compiled in this way.
fn metadata_only(argument: &OsStr, exists: impl Fn(&Path) -> bool) -> OsString {
    let Some(text) = argument.to_str() else {
        return argument.to_owned();
    };
    if let Some(kinds) = text.strip_prefix("--emit=") {
        let kinds = kinds
            .split(',')
            .filter(|kind| !matches!(*kind, "link" | "metadata"));
        let kinds: Vec<&str> = kinds.chain(["metadata"]).collect();
        return format!("--emit={}", kinds.join(",")).into();
    }
    // An argument of `--extern`, such as `burn_lazy=/target/debug/deps/libburn_lazy-0123.rlib`.
    if let Some((name, file)) = text.split_once('=')
        && let Some(stem) = file.strip_suffix(".rlib")
    {
        let metadata = PathBuf::from(format!("{stem}.rmeta"));
        if !exists(Path::new(file)) && exists(&metadata) {
            return format!("{name}={}", metadata.display()).into();
        }
    }
    argument.to_owned()
}

/// Runs rustdoc with these arguments. If they are those of a test of snippets, it writes the documentation before.
fn document(arguments: &[OsString]) -> Result<bool> {
    let cargo = env::var_os("CARGO").unwrap_or_default();
    let rustdoc = Path::new(&cargo).with_file_name("rustdoc");
    if let Some(arguments) = without_tests(arguments) {
        let program = env::current_exe()?;
        let target = program.ancestors().nth(2).context("no target folder")?;
        let mut command = Command::new(&rustdoc);
        command.args(arguments).args(["-D", "warnings"]);
        command.arg("--out-dir").arg(target.join("doc"));
        if !process::succeeds(&mut command)? {
            return Ok(false);
        }
    }
    process::succeeds(Command::new(rustdoc).args(arguments))
}

/// The arguments of rustdoc without those of a test of snippets, or nothing if they are not those of such a test.
fn without_tests(arguments: &[OsString]) -> Option<Vec<&OsString>> {
    if !arguments.iter().any(|argument| argument == "--test") {
        return None;
    }
    let mut kept = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--test" | "--nocapture") => {}
            Some("--test-args" | "--test-run-directory") => {
                arguments.next();
            }
            _ => kept.push(argument),
        }
    }
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn lints_need_no_more_than_metadata() {
        let exists = |path: &Path| path == "/d/liba.rmeta" || path.starts_with("/d/libb.rlib");
        let changed = |argument: &str| metadata_only(OsStr::new(argument), exists);
        assert_eq!(
            changed("--emit=dep-info,metadata,link"),
            "--emit=dep-info,metadata"
        );
        assert_eq!(changed("--emit=dep-info,link"), "--emit=dep-info,metadata");
        assert_eq!(changed("a=/d/liba.rlib"), "a=/d/liba.rmeta");
        assert_eq!(changed("b=/d/libb.rlib"), "b=/d/libb.rlib");
        assert_eq!(changed("feature=\"std\""), "feature=\"std\"");
    }

    #[test]
    fn build_scripts_are_linked() {
        assert!(is_build_script(&arguments(
            "--crate-name build_script_build build.rs"
        )));
        assert!(!is_build_script(&arguments(
            "--crate-name burn_lazy src/lib.rs"
        )));
    }

    #[test]
    fn documentation_has_the_arguments_of_the_snippets() {
        let test =
            arguments("--crate-name a --test a.rs --test-run-directory b --cfg c --test-args d");
        let kept = without_tests(&test).map(|kept| kept.into_iter().cloned().collect::<Vec<_>>());
        assert_eq!(kept, Some(arguments("--crate-name a a.rs --cfg c")));
        assert_eq!(without_tests(&arguments("-vV")), None);
    }
}
