//! The static LLVM that CubeCL's CPU runtime links.
//!
//! CubeCL's build script downloads a prebuilt LLVM, which fails on a closed network. The same libraries also come
//! as a Python wheel. Networks that block the download often allow the Python package index, so the wheel is the
//! fallback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use tempfile::TempDir;

use crate::process::capture;

/// The release that `tracel-llvm-bundler` of `Cargo.lock` asks for.
const RELEASE: &str = "23.1.0-4";
/// The wheel that contains the same major version of LLVM.
const WHEEL: &str = "mlc-llvm-static==23.1.1.post0";
/// The wheel that adds the targets of GPUs to it, and a file that this wheel contains.
const GPU_WHEEL: &str = "mlc-llvm-static-extra-targets==23.1.1.post0";
const GPU_FILE: &str = "share/mlc-llvm-static/extra.json";
/// A file that the first wheel contains.
const WHEEL_FILE: &str = "share/mlc-llvm-static/base.json";
/// The folder within the wheels that has the layout of an LLVM installation.
const WHEEL_FOLDER: &str = "mlc_llvm_static/static";
/// The build script regards LLVM as installed in a folder that contains this file.
const SENTINEL: &str = ".tracel-llvm-installed";

/// Makes sure that a build with the feature `cpu` finds its LLVM, or can download it itself.
pub fn ensure(say: &dyn Fn(&str)) -> Result<()> {
    let folder = folder()?;
    if folder.join(SENTINEL).exists() {
        return Ok(());
    }
    say("LLVM: not installed yet, looking for the prebuilt download");
    let platform = platform()
        .ok_or_else(|| anyhow!("there is no prebuilt LLVM for this system: cannot use `cpu`"))?;
    if reachable(&download_url(platform)) {
        say("LLVM: the build will download it");
        return Ok(());
    }
    say(&format!(
        "LLVM: the download is out of reach, fetching the Python wheel {WHEEL}"
    ));
    install_wheel(&folder).with_context(|| {
        format!(
            "LLVM is missing: {} is out of reach, and the Python wheel {WHEEL} could not be \
             installed to {}",
            download_url(platform),
            folder.display()
        )
    })?;
    say(&format!("LLVM: installed to {}", folder.display()));
    Ok(())
}

/// Like [`ensure`], for builds that also emit code for GPUs. The prebuilt download contains these targets.
pub fn ensure_gpu(say: &dyn Fn(&str)) -> Result<()> {
    ensure(say)?;
    let folder = folder()?;
    if !folder.join(WHEEL_FILE).exists() || folder.join(GPU_FILE).exists() {
        return Ok(());
    }
    say(&format!(
        "LLVM: adding the targets of GPUs from the Python wheel {GPU_WHEEL}"
    ));
    let temporary = unpack_wheel(&folder, GPU_WHEEL)?;
    merge(&temporary.path().join(WHEEL_FOLDER), &folder)
}

/// Moves the files below `from` to `to`. The file by which the installed wheel is recognised is moved last.
fn merge(from: &Path, to: &Path) -> Result<()> {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let within = to.join(&folder);
        fs::create_dir_all(&within).with_context(|| format!("creating {}", within.display()))?;
        for entry in fs::read_dir(from.join(&folder))? {
            let entry = entry?;
            let name = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(name);
            } else if name != Path::new(GPU_FILE) {
                fs::rename(entry.path(), to.join(&name))
                    .with_context(|| format!("moving {}", name.display()))?;
            }
        }
    }
    fs::rename(from.join(GPU_FILE), to.join(GPU_FILE)).context("the wheel has another layout")
}

/// The folder in which the build script looks for LLVM.
fn folder() -> Result<PathBuf> {
    let data = dirs::data_local_dir()
        .ok_or_else(|| anyhow!("no folder for user data: set HOME, or XDG_DATA_HOME on Linux"))?;
    Ok(data.join("tracel").join(format!("tracel-llvm-{RELEASE}")))
}

/// The name of this system in the names of the downloads.
fn platform() -> Option<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Some("linux-x64"),
        ("linux", "aarch64") => Some("linux-AArch64"),
        ("macos", "x86_64") => Some("macos-x64"),
        ("macos", "aarch64") => Some("macos-AArch64"),
        ("windows", "x86_64") => Some("windows-x64"),
        ("windows", "aarch64") => Some("windows-AArch64"),
        _ => None,
    }
}

/// The address of the download's checksums, a small file that the build script asks for first.
fn download_url(platform: &str) -> String {
    let base = "https://github.com/tracel-ai/tracel-llvm/releases/download";
    format!("{base}/v{RELEASE}/{platform}.checksums.json")
}

/// Whether the file can be fetched with curl or Python.
fn reachable(url: &str) -> bool {
    const FETCH: &str =
        "import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=10).read()";
    let mut curl = Command::new("curl");
    curl.args([
        "--fail",
        "--silent",
        "--location",
        "--connect-timeout",
        "5",
        "--max-time",
        "20",
    ]);
    curl.arg(url);
    let mut python = Command::new("python3");
    python.args(["-c", FETCH, url]);
    capture(&mut curl).is_ok() || capture(&mut python).is_ok()
}

fn install_wheel(folder: &Path) -> Result<()> {
    if !matches!(platform(), Some("linux-x64" | "linux-AArch64")) {
        bail!(
            "that wheel is used on Linux on x86_64 and aarch64 only: build once on an open network"
        );
    }
    let temporary = unpack_wheel(folder, WHEEL)?;
    let unpacked = temporary.path().join(WHEEL_FOLDER);
    make_executable(&unpacked.join("bin"))?;
    let sentinel = unpacked.join(SENTINEL);
    fs::write(&sentinel, "").with_context(|| format!("writing {}", sentinel.display()))?;
    publish(&unpacked, folder)
}

/// Unpacks a wheel into a temporary folder beside `folder`, so that its content can be moved to `folder` in one
/// step.
fn unpack_wheel(folder: &Path, wheel: &str) -> Result<TempDir> {
    capture(Command::new("python3").args(["-m", "pip", "--version"]))
        .context("Python 3 with pip is needed (Debian: apt-get install python3-pip)")?;

    let parent = folder
        .parent()
        .ok_or_else(|| anyhow!("{} has no parent", folder.display()))?;
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let temporary = tempfile::Builder::new()
        .prefix(".llvm-")
        .tempdir_in(parent)
        .with_context(|| format!("creating a folder in {}", parent.display()))?;

    let mut download = Command::new("python3");
    download.args([
        "-m",
        "pip",
        "download",
        "--disable-pip-version-check",
        "--no-deps",
    ]);
    download
        .args(["--only-binary", ":all:", "--dest"])
        .arg(temporary.path())
        .arg(wheel);
    capture(&mut download)?;
    let file = find_wheel(temporary.path())?;
    let mut unpack = Command::new("python3");
    capture(
        unpack
            .args(["-m", "zipfile", "-e"])
            .arg(&file)
            .arg(temporary.path()),
    )?;
    Ok(temporary)
}

fn find_wheel(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("reading {}", folder.display()))?
            .path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(path);
        }
    }
    bail!("pip left no wheel in {}", folder.display())
}

/// Makes the programs in a folder executable: Python loses their permissions when it unpacks zip files.
fn make_executable(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("reading {}", folder.display()))?
            .path();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("making {} executable", path.display()))?;
        }
        #[cfg(not(unix))]
        let _ = path;
    }
    Ok(())
}

/// Moves a finished folder to where the build script looks. An unfinished folder there is replaced.
fn publish(finished: &Path, folder: &Path) -> Result<()> {
    if folder.join(SENTINEL).exists() {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::rename(finished, folder).with_context(|| format!("moving LLVM to {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_the_one_of_the_lock_file() {
        let lock = include_str!("../../Cargo.lock");
        let entry = format!("name = \"tracel-llvm-bundler\"\nversion = \"{RELEASE}\"");
        assert!(
            lock.replace('\r', "").contains(&entry),
            "update RELEASE and WHEEL"
        );
    }

    #[test]
    fn the_download_is_named_after_the_release_and_the_system() {
        let url = download_url("linux-x64");
        assert!(
            url.ends_with(&format!("/v{RELEASE}/linux-x64.checksums.json")),
            "{url}"
        );
    }

    #[test]
    fn publishing_replaces_an_unfinished_folder_only() -> Result<()> {
        let temporary = tempfile::tempdir()?;
        let finished = |name: &str| -> Result<PathBuf> {
            let folder = temporary.path().join(name);
            fs::create_dir(&folder)?;
            fs::write(folder.join(SENTINEL), name)?;
            Ok(folder)
        };
        let target = temporary.path().join("target");
        fs::create_dir(&target)?;
        fs::write(target.join("unfinished"), "")?;

        publish(&finished("first")?, &target)?;
        assert!(!target.join("unfinished").exists());
        publish(&finished("second")?, &target)?;
        assert_eq!(fs::read_to_string(target.join(SENTINEL))?, "first");
        Ok(())
    }

    #[test]
    fn merging_keeps_what_was_there() -> Result<()> {
        let (from, to) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let write = |folder: &Path, name: &str| -> Result<()> {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().context("a file has a folder")?)?;
            Ok(fs::write(file, name)?)
        };
        write(to.path(), "lib/first.a")?;
        write(from.path(), "lib/second.a")?;
        write(from.path(), GPU_FILE)?;
        merge(from.path(), to.path())?;
        for name in ["lib/first.a", "lib/second.a", GPU_FILE] {
            assert!(to.path().join(name).exists(), "{name}");
        }
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn programs_become_executable() -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir()?;
        let program = folder.path().join("program");
        fs::write(&program, "")?;
        make_executable(folder.path())?;
        assert_eq!(fs::metadata(&program)?.permissions().mode() & 0o777, 0o755);
        Ok(())
    }
}
