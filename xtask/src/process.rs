//! Running other programs.

use std::borrow::Cow;
use std::env;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

/// The stream from which [`stream`] read a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Stdout,
    Stderr,
}

/// Prints the line to the stream from which it was read.
pub fn print(source: Source, line: &str) {
    match source {
        Source::Stdout => println!("{line}"),
        Source::Stderr => eprintln!("{line}"),
    }
}

/// A cargo command in the repository root.
///
/// The package variables that the outer `cargo run` gave this process are left out: some build
/// scripts ask cargo to watch them, so passing them on would rebuild most of the dependencies
/// after every switch between `cargo xtask` and plain `cargo`.
pub fn cargo() -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(repository_root());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_package_variable) {
            command.env_remove(name);
        }
    }
    command
}

pub fn repository_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

fn is_package_variable(name: &str) -> bool {
    const PREFIXES: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || matches!(
            name,
            "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE" | "OUT_DIR"
        )
}

/// The command as one would type it, without the folder of its program.
pub fn display(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_stem().unwrap_or(program.as_os_str());
    let mut text = name.to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&quoted(&argument.to_string_lossy()));
    }
    text
}

/// The text, quoted for a shell if necessary.
pub fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into()
    } else {
        format!("'{}'", text.replace('\'', r"'\''")).into()
    }
}

/// Runs the command on this terminal and returns whether it exited with success.
pub fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command.status().with_context(|| cannot_start(command))?;
    Ok(status.success())
}

/// Runs the command and hands on each line of its output as it comes. Returns whether the command exited with
/// success.
pub fn stream(command: &mut Command, on_line: impl Fn(Source, &str) + Sync) -> Result<bool> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| cannot_start(command))?;
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| anyhow!("no pipe for standard output"))?;
    let stderr = child
        .stderr
        .take()
        .ok_or_else(|| anyhow!("no pipe for standard error"))?;
    thread::scope(|scope| {
        scope.spawn(|| each_line(stderr, |line| on_line(Source::Stderr, line)));
        each_line(stdout, |line| on_line(Source::Stdout, line));
    });
    let status = child
        .wait()
        .with_context(|| format!("waiting for `{}`", display(command)))?;
    Ok(status.success())
}

fn each_line(pipe: impl Read, on_line: impl Fn(&str)) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line), Ok(length) if length > 0) {
        on_line(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
        line.clear();
    }
}

/// Runs the command without showing its output and returns what it printed. If it fails, the error contains its
/// messages.
pub fn capture(command: &mut Command) -> Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| cannot_start(command))?;
    if !status.success() {
        let messages = String::from_utf8_lossy(&stderr);
        bail!(
            "`{}` failed ({status})\n{}",
            display(command),
            messages.trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// What cargo built of a target, such as a library or a test: the fields of its message that are needed here. Messages
/// of other kinds have none of them.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Artifact {
    pub target: Target,
    /// The file of a program.
    pub executable: Option<PathBuf>,
    pub filenames: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Target {
    pub name: String,
    pub kind: Vec<String>,
}

impl Artifact {
    /// Whether the target is of a kind such as `test`.
    pub fn is(&self, kind: &str) -> bool {
        self.target.kind.iter().any(|own| own == kind)
    }
}

/// Runs a command of cargo and returns what it built.
pub fn build(command: &mut Command) -> Result<Vec<Artifact>> {
    let output = command
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`{}` failed", display(command));
    }
    artifacts(&String::from_utf8_lossy(&output.stdout))
}

/// What cargo built, by the messages that it printed.
pub fn artifacts(messages: &str) -> Result<Vec<Artifact>> {
    let read = |line| serde_json::from_str(line).context("a message of cargo");
    messages.lines().map(read).collect()
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start `{}`", display(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_package_variables_are_left_out() {
        assert!(is_package_variable("CARGO_PKG_VERSION_MAJOR"));
        assert!(is_package_variable("CARGO_MANIFEST_DIR"));
        assert!(!is_package_variable("CARGO_TARGET_DIR"));
        assert!(!is_package_variable("CARGO_HOME"));
        assert!(!is_package_variable("RUSTFLAGS"));
    }

    #[test]
    fn a_command_is_shown_without_its_folder() {
        let mut command = Command::new("/opt/rust/bin/cargo");
        command.args(["test", "--test", "*", "it's", ""]);
        assert_eq!(display(&command), r"cargo test --test '*' 'it'\''s' ''");
    }

    #[test]
    fn lines_lose_their_ends_and_nothing_else() {
        let lines = std::cell::RefCell::new(Vec::new());
        each_line(&b" one \r\n\ntwo\xff"[..], |line| {
            lines.borrow_mut().push(line.to_owned())
        });
        assert_eq!(lines.into_inner(), [" one ", "", "two\u{fffd}"]);
    }
}
