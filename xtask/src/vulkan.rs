//! A Vulkan driver for the GPU tests: the one that is there, or else Mesa's software driver.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{debian, process::capture};

const PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];
/// Where drivers put the file by which the Vulkan loader finds them.
const DRIVER_FOLDERS: [&str; 4] = [
    "/usr/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/usr/local/etc/vulkan/icd.d",
];
/// Lists of driver files which the loader reads instead of those folders, the first one set.
const DRIVER_VARIABLES: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

/// Makes sure that there is a Vulkan driver, installing a software one where that can be done.
///
/// Nothing is looked for or installed but on Linux: Windows has its drivers, and macOS has none
/// and needs none, as wgpu uses Metal there.
pub fn ensure(say: &dyn Fn(&str)) -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    if let Some((name, list)) = driver_variable()
        && !driver_files(&list).any(|file| file.exists())
    {
        bail!("no Vulkan: {name} names no file that exists");
    }
    let Some(missing) = missing() else {
        return Ok(());
    };
    if let Some(obstacle) = debian::obstacle() {
        let packages = PACKAGES.join(" and ");
        bail!("no Vulkan: {missing}; {obstacle}. Install a driver (Debian: {packages})");
    }
    say(&format!(
        "Vulkan: {missing}, installing Mesa's software driver"
    ));
    debian::install(&PACKAGES).with_context(|| format!("no Vulkan: {missing}"))?;
    match self::missing() {
        None => Ok(()),
        Some(missing) => bail!(
            "no Vulkan, even after installing {}: {missing}",
            PACKAGES.join(" ")
        ),
    }
}

/// What is missing for Vulkan, if anything.
fn missing() -> Option<&'static str> {
    // Ordinary users often lack /sbin in their search path.
    let libraries = capture(Command::new("ldconfig").arg("-p"))
        .or_else(|_| capture(Command::new("/sbin/ldconfig").arg("-p")))
        .unwrap_or_default();
    if !lists_loader(&libraries) {
        return Some("the loader libvulkan.so.1 is not installed");
    }
    let found = driver_variable().is_some()
        || DRIVER_FOLDERS
            .iter()
            .any(|folder| holds_driver_file(Path::new(folder)));
    (!found).then_some("no driver is installed")
}

/// The variable that tells the loader which drivers to use, if one is set, and its value.
fn driver_variable() -> Option<(&'static str, OsString)> {
    DRIVER_VARIABLES.into_iter().find_map(|name| {
        let list = env::var_os(name).filter(|list| !list.is_empty())?;
        Some((name, list))
    })
}

fn lists_loader(libraries: &str) -> bool {
    libraries
        .lines()
        .any(|line| line.split_whitespace().next() == Some("libvulkan.so.1"))
}

fn driver_files(list: &OsStr) -> impl Iterator<Item = PathBuf> {
    env::split_paths(list).filter(|path| !path.as_os_str().is_empty())
}

fn holds_driver_file(folder: &Path) -> bool {
    let Ok(entries) = folder.read_dir() else {
        return false;
    };
    entries.flatten().any(|entry| {
        entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "json")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_loader_is_not_confused_with_a_driver() {
        let driver = "\tlibvulkan_lvp.so (libc6,x86-64) => /lib/libvulkan_lvp.so\n";
        let loader = "\tlibvulkan.so.1 (libc6,x86-64) => /lib/libvulkan.so.1\n";
        assert!(!lists_loader(""));
        assert!(!lists_loader(driver));
        assert!(lists_loader(&format!("2 libs found\n{driver}{loader}")));
    }

    #[cfg(unix)]
    #[test]
    fn driver_lists_are_split_at_colons() {
        let files: Vec<_> = driver_files(OsStr::new("/a/x.json::/b/y.json")).collect();
        assert_eq!(files, [Path::new("/a/x.json"), Path::new("/b/y.json")]);
    }

    #[test]
    fn only_json_files_are_driver_files() -> Result<()> {
        let folder = tempfile::tempdir()?;
        assert!(!holds_driver_file(&folder.path().join("none")));
        fs::write(folder.path().join("README"), "")?;
        assert!(!holds_driver_file(folder.path()));
        fs::write(folder.path().join("lvp_icd.json"), "")?;
        assert!(holds_driver_file(folder.path()));
        Ok(())
    }
}
