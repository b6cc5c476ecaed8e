//! Results as rows of a table and as JSON objects.

use std::fmt;

use serde::Serialize;

use crate::{cases::Case, contender::Measured};

/// The head of the table.
pub const HEAD: &str = "| layer | sizes | by | time | first call | memory | value differs by | gradient by | \
times as long |\n|---|---|---|---|---|---|---|---|---|";

/// The result of one contender for a case.
#[derive(Debug, Serialize)]
pub struct Row {
    layer: &'static str,
    sizes: String,
    contender: String,
    /// The median time of a call.
    seconds: f64,
    first_call_s: f64,
    /// The growth of the resident set of the process in bytes.
    memory: Option<u64>,
    /// The norm of the difference from the value of this crate, relative to the norm of the
    /// contender's value.
    value_difference: Option<f64>,
    gradient_difference: Option<f64>,
    /// The time of the contender divided by the time of this crate.
    ratio: Option<f64>,
}

impl Row {
    /// The row of this crate.
    pub fn own(case: &Case, own: &Measured) -> Self {
        Self {
            layer: case.layer.name(),
            sizes: case.sizes(),
            contender: "burn-lazy-nn".into(),
            seconds: own.seconds(),
            first_call_s: own.first,
            memory: own.memory,
            value_difference: None,
            gradient_difference: None,
            ratio: None,
        }
    }

    /// The row of a peer, with its differences from this crate.
    pub fn peer(case: &Case, name: &str, peer: &Measured, own: &Measured) -> Self {
        Self {
            contender: name.into(),
            value_difference: difference(&own.value, &peer.value),
            gradient_difference: difference(&own.gradient, &peer.gradient),
            ratio: Some(peer.seconds() / own.seconds()),
            ..Self::own(case, peer)
        }
    }
}

/// The relative difference of two vectors. NaN if their lengths differ, `None` if both are empty.
fn difference(own: &[f64], other: &[f64]) -> Option<f64> {
    if own.is_empty() && other.is_empty() {
        return None;
    }
    if own.len() != other.len() {
        return Some(f64::NAN);
    }
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let apart = norm(&mut own.iter().zip(other).map(|(own, other)| own - other));
    Some(apart / norm(&mut other.iter().copied()))
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<f64>| value.map(|own| format!("{own:.0e}")).unwrap_or_default();
        let memory = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
        write!(
            f,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.layer,
            self.sizes,
            self.contender,
            time(self.seconds),
            time(self.first_call_s),
            self.memory.map(memory).unwrap_or_default(),
            number(self.value_difference),
            number(self.gradient_difference),
            self.ratio
                .map(|own| format!("{own:.2}"))
                .unwrap_or_default()
        )
    }
}

/// A time in seconds as text with its unit.
fn time(seconds: f64) -> String {
    match seconds < 1.0 {
        true => format!("{:.1} ms", seconds * 1e3),
        false => format!("{seconds:.2} s"),
    }
}
