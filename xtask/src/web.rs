//! The target of web browsers.

use std::process::Command;

use anyhow::{Context, Result};

use crate::process::capture;

pub const TARGET: &str = "wasm32-unknown-unknown";
/// The runner that cargo runs the tests of this target with, relative to the folder of the kernels.
pub const RUNNER: (&str, &str) = (
    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER",
    "node ../xtask/src/web.mjs",
);

/// Makes sure that the compiler has the target.
pub fn ensure(say: &dyn Fn(&str)) -> Result<()> {
    let mut list = Command::new("rustup");
    let installed = capture(list.args(["target", "list", "--installed"]))
        .context("rustup is needed to build for the web")?;
    if installed.lines().any(|line| line == TARGET) {
        return Ok(());
    }
    say(&format!("web: adding the target {TARGET}"));
    capture(Command::new("rustup").args(["target", "add", TARGET]))
        .context("no target for the web")?;
    Ok(())
}

/// Makes sure that Node is installed, which runs programs for the web without a browser.
pub fn check_node() -> Result<()> {
    let version = capture(Command::new("node").arg("--version"));
    version
        .map(|_| ())
        .context("node is needed to run programs for the web")
}
