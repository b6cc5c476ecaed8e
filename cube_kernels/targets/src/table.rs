//! The table of what machine code costs, and its comparison with the stored table.

use std::{collections::BTreeMap, fmt::Write};

use anyhow::{Context, Result};
use burn_lazy_kernels::plan::Plan;
use serde::{Deserialize, Serialize};

use crate::{
    sass::{self, Cost, Isa},
    tools::Compiled,
};

/// The cost of a kernel on a target. Figures of the innermost loop are left out if no such loop was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub kernel: String,
    pub target: String,
    pub registers: u32,
    pub spill_bytes: u32,
    pub shared_bytes: usize,
    /// The share of the warps of a multiprocessor that can be resident.
    pub occupancy: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_instructions: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots_per_pair: Option<f64>,
    pub matrix_instructions: u32,
    #[serde(skip)]
    cost: Option<Cost>,
}

impl Row {
    pub fn new(
        kernel: String,
        target: String,
        compiled: &Compiled,
        isa: Option<Isa>,
        shared_bytes: usize,
        plan: &Plan,
        column_bytes: Option<usize>,
    ) -> Self {
        let (lanes, units) = (plan.lanes(), plan.blueprint.units);
        let cost = isa.zip(column_bytes);
        let cost = cost.and_then(|(isa, bytes)| sass::cost(&compiled.loops, isa, bytes, lanes));
        let matrix = compiled.loops.iter().map(sass::Loop::matrix_instructions);
        Self {
            kernel,
            target,
            registers: compiled.registers,
            spill_bytes: compiled.spill_bytes,
            shared_bytes,
            occupancy: isa.map_or(0.0, |isa| {
                sass::occupancy(isa, compiled.registers, shared_bytes, units)
            }),
            loop_instructions: cost.as_ref().map(|cost| cost.inner.instructions),
            slots_per_pair: cost
                .as_ref()
                .map(|cost| (cost.slots_per_pair * 100.0).round() / 100.0),
            matrix_instructions: matrix.sum(),
            cost,
        }
    }
}

/// The rows as text for people.
pub fn render(rows: &[&Row]) -> String {
    let width = rows.iter().map(|row| row.kernel.len()).max().unwrap_or(0);
    let mut text = format!(
        "{:width$}  {:14}  regs  spill  shared  warps   loop  slots/pair  issue  fp32  mufu  mix\n",
        "kernel", "target"
    );
    for row in rows {
        let _ = write!(
            text,
            "{:width$}  {:14}  {:4}  {:5}  {:6}  {:4.0}%",
            row.kernel,
            row.target,
            row.registers,
            row.spill_bytes,
            row.shared_bytes,
            100.0 * row.occupancy
        );
        if let Some(cost) = &row.cost {
            let mut mix: Vec<(&String, &u32)> = cost.inner.mix.iter().collect();
            mix.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            let mix: Vec<String> = mix
                .iter()
                .take(8)
                .map(|(name, count)| format!("{count} {name}"))
                .collect();
            let _ = write!(
                text,
                "  {:5}  {:10.2}  {:4.0}%  {:3.0}%  {:3.0}%  {}",
                cost.inner.instructions,
                cost.slots_per_pair,
                100.0 * cost.issue,
                100.0 * cost.fp32,
                100.0 * cost.special,
                mix.join(", ")
            );
        }
        text.push('\n');
    }
    text
}

/// The rows as lines of JSON.
pub fn lines(rows: &[&Row]) -> Result<String> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&serde_json::to_string(row)?);
        text.push('\n');
    }
    Ok(text)
}

/// The rows that are worse than those of `kept`, by more than the order in which a compiler does things may change.
/// If `rows` are all rows, both tables must have the same kernels.
pub fn compare(rows: &[&Row], kept: &str, all: bool) -> Result<Vec<String>> {
    const RENEW: &str = "renew the table: cargo xtask sass --json cube_kernels/targets/sass.jsonl";
    let mut left: BTreeMap<(String, String), Row> = BTreeMap::new();
    for line in kept.lines() {
        let row: Row = serde_json::from_str(line).context("the kept table is no lines of JSON")?;
        left.insert((row.kernel.clone(), row.target.clone()), row);
    }
    let mut changes = Vec::new();
    for row in rows {
        let name = format!("{} on {}", row.kernel, row.target);
        let Some(kept) = left.remove(&(row.kernel.clone(), row.target.clone())) else {
            changes.push(format!("{name} is new: {RENEW}"));
            continue;
        };
        let mut worse = |what: &str, now: f64, before: f64, most: f64| {
            if now > most {
                changes.push(format!("{name}: {what} were {before}, are {now}"));
            }
        };
        let (now, before) = (row.registers.into(), kept.registers.into());
        worse("registers", now, before, before * 1.1 + 2.0);
        let (now, before) = (row.spill_bytes.into(), kept.spill_bytes.into());
        worse("spilled bytes", now, before, before);
        let before = kept.slots_per_pair.unwrap_or(f64::INFINITY);
        let now = row.slots_per_pair.unwrap_or(before);
        worse("issue slots a pair", now, before, before * 1.03);
        let (now, before) = (row.matrix_instructions, kept.matrix_instructions);
        if now < before {
            changes.push(format!(
                "{name}: matrix instructions were {before}, are {now}"
            ));
        }
    }
    if all {
        let gone = left.into_keys();
        changes
            .extend(gone.map(|(kernel, target)| format!("{kernel} on {target} is gone: {RENEW}")));
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(registers: u32, slots: f64) -> Row {
        Row {
            kernel: "sum".into(),
            target: "sm_90".into(),
            registers,
            spill_bytes: 0,
            shared_bytes: 0,
            occupancy: 1.0,
            loop_instructions: Some(10),
            slots_per_pair: Some(slots),
            matrix_instructions: 0,
            cost: None,
        }
    }

    #[test]
    fn only_what_is_worse_is_a_change() -> Result<()> {
        let kept = lines(&[&row(40, 10.0)])?;
        let changes = |row: &Row| compare(&[row], &kept, true);
        assert!(changes(&row(44, 10.2))?.is_empty());
        assert!(changes(&row(30, 5.0))?.is_empty());
        assert_eq!(changes(&row(60, 11.0))?.len(), 2);
        Ok(())
    }

    #[test]
    fn the_kernels_must_be_the_same() -> Result<()> {
        let kept = lines(&[&row(40, 10.0)])?;
        assert_eq!(compare(&[], &kept, true)?.len(), 1);
        assert!(compare(&[], &kept, false)?.is_empty());
        assert_eq!(compare(&[&row(40, 10.0)], "", true)?.len(), 1);
        Ok(())
    }
}
