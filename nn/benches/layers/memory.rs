//! The memory of this process, as Linux reports it.

use std::fs;

/// The value of a line of `/proc/self/status` in bytes.
fn bytes(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number = line.trim_start_matches(':').trim().strip_suffix(" kB")?;
    Some(number.parse::<u64>().ok()? * 1024)
}

/// Resets the peak of the resident set. Returns its present size.
pub fn reset_peak() -> Option<u64> {
    fs::write("/proc/self/clear_refs", "5").ok()?;
    bytes("VmRSS")
}

/// The peak of the resident set since the last reset.
pub fn peak() -> Option<u64> {
    bytes("VmHWM")
}
