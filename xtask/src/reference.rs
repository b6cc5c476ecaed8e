//! `cargo xtask reference`: the measured accuracy of the functions and the page that lists them.

use anyhow::Result;

use crate::{llvm, process, steps, vulkan};

/// Measures on both runtimes, then writes the page. Returns whether all of this worked.
pub fn run() -> Result<bool> {
    let say = |message: &str| eprintln!("{message}");
    llvm::ensure_gpu(&say)?;
    vulkan::ensure(&say)?;
    for (runtime, tests) in [
        ("cpu", "contract::"),
        ("wgpu", "contract::"),
        ("cpu", "reference_page::"),
    ] {
        let mut command = process::cargo();
        command.arg("test").args(steps::libraries());
        command.args(["--test", "kernels", tests]);
        command
            .env("BURN_LAZY_RUNTIME", runtime)
            .env("BURN_LAZY_UPDATE", "1");
        if !process::succeeds(&mut command)? {
            return Ok(false);
        }
    }
    Ok(true)
}
