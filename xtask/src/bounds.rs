//! Runs of tests whose kernels check their indices into buffers.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;

use crate::process::{self, Source};

/// The variable of the environment that makes the kernels of the tests check their indices.
pub const VARIABLE: (&str, &str) = ("BURN_LAZY_VALIDATE", "1");
/// The text that a kernel prints for an index beyond a buffer.
const FINDING: &str = "[VALIDATION ";
/// A part of such a text, from the test that exceeds a buffer on purpose: its buffer has this length and is
/// declared longer.
const ON_PURPOSE: &str = "length is 4321";

/// Runs the command and hands on its output as [`process::stream`] does. Returns whether the command succeeded and
/// no index was beyond a buffer except on purpose. At least one must be on purpose, because a check that cannot
/// fail proves nothing.
pub fn checked(command: &mut Command, on_line: impl Fn(Source, &str) + Sync) -> Result<bool> {
    let (tried, found) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let passed = process::stream(command, |source, line| {
        match finding(line) {
            Some(true) => tried.fetch_add(1, Ordering::Relaxed),
            Some(false) => found.fetch_add(1, Ordering::Relaxed),
            None => 0,
        };
        on_line(source, line);
    })?;
    let (tried, found) = (tried.into_inner(), found.into_inner());
    let line = format!("indices: {found} beyond a buffer, and {tried} on purpose");
    on_line(Source::Stdout, &line);
    Ok(passed && found == 0 && tried > 0)
}

/// Whether the line reports an index beyond a buffer. If it does, whether the index is so on purpose.
fn finding(line: &str) -> Option<bool> {
    line.contains(FINDING).then(|| line.contains(ON_PURPOSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_indices_that_are_not_beyond_on_purpose_are_found() {
        let line = |length: usize| {
            format!(
                "[VALIDATION reduce_1]: Encountered OOB index in buffer at 5000, length is {length}"
            )
        };
        assert_eq!(finding(&line(4321)), Some(true));
        assert_eq!(finding(&line(12)), Some(false));
        assert_eq!(finding("test result: ok"), None);
    }

    #[test]
    fn a_run_without_the_index_on_purpose_says_nothing() -> Result<()> {
        let run = |text: &str| {
            let mut command = Command::new("echo");
            checked(command.arg(text), |_, _| {})
        };
        assert!(!run("test result: ok")?);
        assert!(!run("[VALIDATION a]: at 5, length is 3")?);
        assert!(run("[VALIDATION a]: at 5000, length is 4321")?);
        Ok(())
    }
}
