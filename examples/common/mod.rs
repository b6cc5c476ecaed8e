//! What the examples share: checks that decide their exit code, and the reader of their data.

use std::{error::Error, fs, path::Path, process::ExitCode};

/// The rows of a file of plain numbers behind one line of names: nothing in them needs a parser of
/// quotes.
#[allow(dead_code)] // Not every example reads data.
pub fn read_rows(path: &Path) -> Result<Vec<Vec<f64>>, Box<dyn Error>> {
    let text = fs::read_to_string(path)?;
    let lines = text.lines().skip(1);
    let rows = lines
        .map(|line| line.split(',').map(str::parse).collect())
        .collect::<Result<Vec<Vec<f64>>, _>>()?;
    Ok(rows)
}

/// Counts the checks of an example that did not hold.
#[derive(Default)]
pub struct Checks {
    failed: usize,
}

impl Checks {
    /// Prints whether `what` holds.
    pub fn check(&mut self, what: &str, holds: bool) {
        println!("  [{}] {what}", if holds { "ok" } else { "FAILED" });
        self.failed += usize::from(!holds);
    }

    /// Checks that `value` equals `expected` up to a relative error, the greatest over all entries
    /// relative to the largest expected one.
    pub fn close(&mut self, what: &str, value: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(value.len(), expected.len(), "{what}: lengths differ");
        let scale = expected.iter().fold(0.0f64, |max, x| max.max(x.abs()));
        let error = value
            .iter()
            .zip(expected)
            .map(|(a, b)| (a - b).abs() / scale)
            .fold(0.0, |max, x| if x > max || x.is_nan() { x } else { max });
        let text = format!("{what}: relative error {error:.1e}, at most {tolerance:.0e}");
        self.check(&text, error <= tolerance);
    }

    /// Success if all checks held.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(u8::from(self.failed > 0))
    }
}
