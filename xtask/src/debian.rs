//! Installation of Debian's packages.

use std::process::Command;

use anyhow::Result;

use crate::process::capture;

/// The reason why nothing can be installed, if there is one.
pub fn obstacle() -> Option<&'static str> {
    if capture(Command::new("apt-get").arg("--version")).is_err() {
        return Some("only apt-get is known here as a way to install it");
    }
    let user = capture(Command::new("id").arg("-u")).unwrap_or_default();
    (user.trim() != "0").then_some("installing it takes root")
}

/// Installs packages, without the packages that they only recommend.
pub fn install(packages: &[&str]) -> Result<()> {
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    capture(apt_get().arg("update"))?;
    capture(
        apt_get()
            .args(["install", "-y", "--no-install-recommends"])
            .args(packages),
    )?;
    Ok(())
}
