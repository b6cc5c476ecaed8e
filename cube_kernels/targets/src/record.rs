//! The record of what kernels are: a hash of their text in each language, and of their plans.
//!
//! Kernels are made by programs, so a change of the structure of these programs that leaves the record alone has
//! changed nothing that runs.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use burn_lazy_kernels::plan::Plan;
use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::emit::Language;

/// A kernel on all devices: hashes by the name of the device and of the language, or of `plan`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    kernel: String,
    #[serde(flatten)]
    hashes: BTreeMap<String, String>,
}

/// The hashes of kernels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    kernels: BTreeMap<String, BTreeMap<String, String>>,
}

impl Record {
    /// Adds what a kernel is in a language, and its plan.
    pub fn add(&mut self, kernel: &str, device: &str, language: Language, hashes: &Hashes) {
        let own = self.kernels.entry(kernel.to_string()).or_default();
        own.insert(
            format!("{device} {}", language.extension()),
            hashes.text.clone(),
        );
        own.insert(format!("{device} plan"), hashes.plan.clone());
    }

    /// Lines of JSON.
    pub fn lines(&self) -> Result<String> {
        let mut text = String::new();
        for (kernel, hashes) in &self.kernels {
            let line = Line {
                kernel: kernel.clone(),
                hashes: hashes.clone(),
            };
            text.push_str(&serde_json::to_string(&line)?);
            text.push('\n');
        }
        Ok(text)
    }

    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(serde_json::from_str::<Line>);
        let kernels = lines
            .map(|line| line.map(|line| (line.kernel, line.hashes)))
            .collect::<Result<_, _>>()
            .context("a line of the record")?;
        Ok(Self { kernels })
    }

    /// What differs from the record that is `kept`. If these are `all` kernels, none may be missing.
    pub fn compare(&self, kept: &Record, all: bool) -> Vec<String> {
        let mut changes = Vec::new();
        for (kernel, hashes) in &self.kernels {
            let Some(known) = kept.kernels.get(kernel) else {
                changes.push(format!("{kernel} is not in the record"));
                continue;
            };
            let differs = |(what, hash): &(&String, &String)| known.get(*what) != Some(hash);
            let names: Vec<&str> = hashes
                .iter()
                .filter(differs)
                .map(|(n, _)| n.as_str())
                .collect();
            if !names.is_empty() {
                changes.push(format!("{kernel} has changed: {}", names.join(", ")));
            }
        }
        if all {
            let gone = kept
                .kernels
                .keys()
                .filter(|kernel| !self.kernels.contains_key(*kernel));
            changes.extend(gone.map(|kernel| format!("{kernel} is in the record only")));
        }
        changes
    }
}

/// The hashes of an emitted kernel.
#[derive(Clone, Debug)]
pub struct Hashes {
    text: String,
    plan: String,
}

impl Hashes {
    pub fn new(source: &[u8], language: Language, plan: &Plan) -> Self {
        Self {
            text: hash(&normalized(source, language)),
            plan: hash(format!("{plan:?}").as_bytes()),
        }
    }
}

/// Twelve digits of a hash.
fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The text of a kernel without what CubeCL makes anew each time: the hash in the name of the kernel, the order of
/// what Metal gives a kernel, and, in languages for people, the numbers of values.
fn normalized(source: &[u8], language: Language) -> Vec<u8> {
    let name =
        regex::bytes::Regex::new(r"\b((?:reduce|merge)(?:_[a-z]_[A-Za-z0-9]+)+_)[0-9a-f]{8}");
    let name = name.expect("the expression is one");
    let source = name.replace_all(source, b"${1}00000000".as_slice());
    if language == Language::SpirV {
        return source.into_owned();
    }
    let mut text = String::from_utf8_lossy(&source).into_owned();
    if language == Language::Metal {
        text = text
            .lines()
            .map(without_order)
            .collect::<Vec<_>>()
            .join("\n");
    }
    let value = Regex::new(r"\bv(\d+)\b").expect("the expression is one");
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let renumbered = value.replace_all(&text, |found: &Captures| {
        let next = numbers.len();
        format!("v{}", numbers.entry(found[1].to_string()).or_insert(next))
    });
    renumbered.into_owned().into_bytes()
}

/// The parameters of a kernel for Metal in the order of their names; those that Metal gives without their numbers.
fn without_order(line: &str) -> String {
    let builtin = Regex::new(
        r"\b((?:thread|threads|threadgroup|threadgroups|simdgroup|thread_index|simdgroup_index)_[a-z_]+)_v\d+\b",
    );
    let line = builtin
        .expect("the expression is one")
        .replace_all(line, "$1");
    let open = |kernel: usize| line[kernel..].find('(').map(|at| kernel + at + 1);
    let Some(open) = line.find("[[kernel]]").and_then(open) else {
        return line.into_owned();
    };
    let (head, parameters) = line.split_at(open);
    let mut parameters: Vec<&str> = parameters
        .split(", ")
        .map(|p| p.trim_end_matches([')', ' ', '{']))
        .collect();
    parameters.sort_unstable();
    format!("{head}{}", parameters.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(hash: &str) -> Record {
        let mut record = Record::default();
        let hashes = Hashes {
            text: hash.to_string(),
            plan: "p".to_string(),
        };
        record.add("gaussian/reduce", "h100", Language::Cuda, &hashes);
        record
    }

    #[test]
    fn lines_are_read_back() {
        let own = record("a");
        let lines = own.lines().expect("it is written");
        assert_eq!(Record::parse(&lines).expect("it is read"), own);
    }

    #[test]
    fn changes_are_named() {
        let (old, new) = (record("a"), record("b"));
        assert!(old.compare(&old, true).is_empty());
        assert_eq!(
            new.compare(&old, true),
            ["gaussian/reduce has changed: h100 cu"]
        );
        assert_eq!(new.compare(&Record::default(), false).len(), 1);
        assert!(Record::default().compare(&old, false).is_empty());
        assert_eq!(Record::default().compare(&old, true).len(), 1);
    }

    #[test]
    fn names_and_numbers_of_values_do_not_count() {
        let text = |name: &str, first: u32, second: u32| {
            format!("void reduce_e_f32_i_u32_n_1_{name}() {{ v{first} = v{second} + v{first}; }}")
        };
        let plain = |text: String| normalized(text.as_bytes(), Language::Cuda);
        assert_eq!(plain(text("017c8dca", 4, 9)), plain(text("117c8dcb", 1, 0)));
        assert_ne!(plain(text("017c8dca", 4, 9)), plain(text("017c8dca", 4, 4)));
    }

    #[test]
    fn the_order_of_parameters_of_metal_does_not_count() {
        let buffer = |number: u32| format!("constant info& i [[buffer({number})]]");
        let given = |number: u32| format!("uint3 threads_per_grid_v{number} [[threads_per_grid]]");
        let plain = |first: String, second: String| {
            let text = format!("[[kernel]] void f({first}, {second}) {{\n}}");
            normalized(text.as_bytes(), Language::Metal)
        };
        let own = plain(buffer(0), given(3));
        assert_eq!(own, plain(buffer(0), given(1)));
        assert_eq!(own, plain(given(1), buffer(0)));
        assert_ne!(own, plain(buffer(1), given(3)));
    }
}
