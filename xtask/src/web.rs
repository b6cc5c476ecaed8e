//! The target of web browsers.

use std::process::Command;

use anyhow::{Context, Result};

use crate::process::capture;

pub const TARGET: &str = "wasm32-unknown-unknown";

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
