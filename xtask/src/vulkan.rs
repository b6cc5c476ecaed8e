//! A Vulkan driver for the GPU tests, which is Mesa's software driver if no driver is installed, and the layer that
//! checks how Vulkan is used.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::debian;
use crate::process::{self, Source, capture};

const PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];
/// The folders in which drivers put the files by which the Vulkan loader finds them.
const DRIVER_FOLDERS: [&str; 4] = [
    "/usr/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/usr/local/etc/vulkan/icd.d",
];
/// The variables for lists of driver files. The loader reads the first one that is set, instead of those folders.
const DRIVER_VARIABLES: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

const VALIDATION_PACKAGE: &str = "vulkan-validationlayers";
const VALIDATION_LAYER: &str = "VK_LAYER_KHRONOS_validation";
/// The names of the settings and of the log within the temporary folder.
const VALIDATION_SETTINGS_FILE: &str = "vk_layer_settings.txt";
const VALIDATION_LOG: &str = "messages";
/// The layer checks arguments and SPIR-V by default. These settings also check how kernels access memory.
const VALIDATION_SETTINGS: &str = "\
khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG
khronos_validation.report_flags = error,warn,info
khronos_validation.enables = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT
";
/// The message by which the layer reports that it is active.
const ACTIVE: &str = "UNASSIGNED-khronos-validation-createinstance-status-message";
/// A program in Python that creates a Vulkan instance from a structure of the wrong type.
const MISUSE: &str = "
from ctypes import CDLL, POINTER, Structure, byref, c_char_p, c_uint32, c_void_p, pointer
class Application(Structure):
    _fields_ = [('type', c_uint32), ('next', c_void_p), ('name', c_char_p), ('version', c_uint32),
                ('engine', c_char_p), ('engine_version', c_uint32), ('api', c_uint32)]
class Instance(Structure):
    _fields_ = [('type', c_uint32), ('next', c_void_p), ('flags', c_uint32), ('application', POINTER(Application)),
                ('layers', c_uint32), ('layer_names', c_void_p),
                ('extensions', c_uint32), ('extension_names', c_void_p)]
application = Application(type=7, api=1 << 22)
create = Instance(type=1, application=pointer(application))
CDLL('libvulkan.so.1').vkCreateInstance(byref(create), None, byref(c_void_p()))
";
/// The identifier by which the layer reports this misuse.
const MISUSE_ID: &str = "VUID-VkApplicationInfo-sType-sType";

/// Makes sure that there is a Vulkan driver, and installs a software driver if necessary and possible.
///
/// This only looks for drivers and installs them on Linux: Windows has its own drivers, and macOS needs none,
/// because wgpu uses Metal there.
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

/// What Vulkan lacks on this machine, if anything.
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

/// The variable that tells the loader which drivers to use, and its value, if one is set.
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

/// Makes sure that the validation layer is installed and reports misuse.
pub fn ensure_validation(say: &dyn Fn(&str)) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("the validation layer of Vulkan is set up on Linux only");
    }
    let Err(missing) = Validation::new()?.try_out() else {
        return Ok(());
    };
    if let Some(obstacle) = debian::obstacle() {
        bail!("{missing:#}; {obstacle} (Debian: {VALIDATION_PACKAGE})");
    }
    say(&format!("Vulkan: installing {VALIDATION_PACKAGE}"));
    debian::install(&[VALIDATION_PACKAGE]).context("no validation layer")?;
    Validation::new()?.try_out()
}

/// Runs the command under the validation layer and hands on its output as [`process::stream`] does. Returns whether
/// the command succeeded and the layer found nothing.
pub fn validated(command: &mut Command, on_line: impl Fn(Source, &str) + Sync) -> Result<bool> {
    let validation = Validation::new()?;
    // The layer is tried out in each run, because a check that cannot fail proves nothing.
    validation.try_out()?;
    let passed = process::stream(validation.apply(command), &on_line)?;
    let log = validation.log()?;
    if !log.contains(ACTIVE) {
        bail!("the validation layer was not loaded: was Vulkan used?");
    }
    let findings = findings(&log);
    for finding in &findings {
        on_line(Source::Stderr, finding);
    }
    let count = findings.len();
    let line = format!("validation layer: active, {count} errors and warnings");
    on_line(Source::Stdout, &line);
    Ok(passed && findings.is_empty())
}

/// The settings of the validation layer and its messages, in a temporary folder.
struct Validation {
    folder: TempDir,
}

impl Validation {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join(VALIDATION_LOG);
        let settings = format!(
            "{VALIDATION_SETTINGS}khronos_validation.log_filename = {}\n",
            log.display()
        );
        fs::write(folder.path().join(VALIDATION_SETTINGS_FILE), settings)?;
        Ok(Self { folder })
    }

    fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let settings = self.folder.path().join(VALIDATION_SETTINGS_FILE);
        command
            .env("VK_INSTANCE_LAYERS", VALIDATION_LAYER)
            .env("VK_LAYER_SETTINGS_PATH", settings)
    }

    /// The messages since the last call.
    fn log(&self) -> Result<String> {
        let file = self.folder.path().join(VALIDATION_LOG);
        if !file.exists() {
            return Ok(String::new());
        }
        let log = fs::read(&file)?;
        fs::remove_file(&file)?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// Misuses Vulkan on purpose, which the layer must report.
    fn try_out(&self) -> Result<()> {
        let mut python = Command::new("python3");
        capture(self.apply(python.args(["-c", MISUSE]))).context("no Vulkan through Python")?;
        let log = self.log()?;
        if !log.contains(ACTIVE) {
            bail!("the layer {VALIDATION_LAYER} is not installed");
        }
        if findings(&log).len() != 1 || !log.contains(MISUSE_ID) {
            bail!("the validation layer does not report {MISUSE_ID}:\n{log}");
        }
        Ok(())
    }
}

/// The first lines of the errors and warnings in the messages of the layer.
fn findings(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| {
            let severity = line.split_once('(').map(|(_, rest)| rest);
            severity.is_some_and(|rest| {
                line.contains(": msgNum: ")
                    && (rest.starts_with("ERROR / ") || rest.starts_with("WARN / "))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_warnings_are_told_from_information() {
        let information = format!(
            "{ACTIVE}(INFO / SPEC): msgNum: -67 - Validation Information: [ {ACTIVE} ] Object 0: \
             handle = 0x5, type = VK_OBJECT_TYPE_INSTANCE; | Khronos Validation Layer Active:\n    \
             Current Enables: None.\n"
        );
        assert!(findings(&information).is_empty());
        let error = format!(
            "{MISUSE_ID}(ERROR / SPEC): msgNum: 11 - Validation Error: [ {MISUSE_ID} ] Object 0: \
             VK_NULL_HANDLE | vkCreateInstance: parameter sType must be valid (ERROR / SPEC)\n"
        );
        let warning =
            "UNASSIGNED-x(WARN / PERF): msgNum: 3 - Validation Performance Warning: slow\n";
        let log = format!("{error}{information}    Objects: 1\n{warning}");
        assert_eq!(findings(&log), [error.trim_end(), warning.trim_end()]);
    }

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
