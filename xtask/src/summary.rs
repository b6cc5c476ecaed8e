//! The results of a list of steps and how they are reported.

use std::fmt;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    Skipped,
}

impl From<bool> for Outcome {
    fn from(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        })
    }
}

/// A finished step.
pub struct Row {
    pub name: &'static str,
    pub outcome: Outcome,
    pub time: Duration,
}

/// The numbers of steps that passed, failed and were skipped. Its text is the last line of a run, for scripts to
/// read.
#[derive(Default)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Tally {
    pub fn of(outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        let mut tally = Self::default();
        for outcome in outcomes {
            match outcome {
                Outcome::Passed => tally.passed += 1,
                Outcome::Failed => tally.failed += 1,
                Outcome::Skipped => tally.skipped += 1,
            }
        }
        tally
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// The rows as aligned text, one row a line, below a line of headings.
pub fn table(rows: &[Row]) -> String {
    let width = rows
        .iter()
        .map(|row| row.name.len())
        .max()
        .unwrap_or(0)
        .max("step".len());
    let mut text = format!("{:width$}  result   seconds\n", "step");
    for Row {
        name,
        outcome,
        time,
    } in rows
    {
        let seconds = time.as_secs_f64();
        text.push_str(&format!("{name:width$}  {outcome:7}  {seconds:7.1}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_steps_are_named_only_when_there_are_any() {
        let outcomes = [Outcome::Passed, Outcome::Failed, Outcome::Passed];
        assert_eq!(Tally::of(outcomes).to_string(), "2 passed, 1 failed");
        let outcomes = [Outcome::Passed, Outcome::Skipped];
        assert_eq!(
            Tally::of(outcomes).to_string(),
            "1 passed, 0 failed, 1 skipped"
        );
        assert_eq!(Tally::of([]).to_string(), "0 passed, 0 failed");
    }

    #[test]
    fn the_table_is_aligned() {
        let rows = [
            Row {
                name: "format",
                outcome: Outcome::Passed,
                time: Duration::from_millis(1250),
            },
            Row {
                name: "tests, cpu",
                outcome: Outcome::Skipped,
                time: Duration::ZERO,
            },
        ];
        assert_eq!(
            table(&rows),
            "step        result   seconds\n\
             format      passed       1.2\n\
             tests, cpu  skipped      0.0\n"
        );
    }
}
