//! The licences of the packages that the libraries depend on.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result};
use serde::Deserialize;
use spdx::{Expression, LicenseReq, ParseMode};

use crate::process::{self, capture};

/// The libraries that are published.
const LIBRARIES: [&str; 3] = ["burn-lazy", "burn-lazy-kernels", "burn-lazy-nn"];

/// Licences that ask for nothing but to be named with the program.
const PERMISSIVE: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages with another licence, or with none in their metadata, whose licences were read. The text is the reason
/// why the package may be used.
const READ: [(&str, &str); 5] = [
    ("attohttpc", OWN_FILES),
    ("buildid", OWN_FILES),
    ("cfg_block", "its file of the licence is Apache-2.0"),
    ("colored", OWN_FILES),
    ("option-ext", OWN_FILES),
];
const OWN_FILES: &str = "MPL-2.0 covers its own files, which are not changed";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

impl Dependency {
    /// Whether the dependency is built for users of the libraries, not only for tests.
    fn is_built(&self) -> bool {
        let is_built = |kind: &DependencyKind| kind.kind.as_deref() != Some("dev");
        self.dep_kinds.iter().any(is_built)
    }
}

fn is_permissive(requirement: &LicenseReq) -> bool {
    let id = requirement.license.id();
    id.is_some_and(|id| PERMISSIVE.contains(&id.name))
}

/// Whether a package may be used under its licence: an SPDX expression, or the older form with a slash.
fn is_allowed(licence: &str) -> Result<bool> {
    let expression = Expression::parse_mode(licence, ParseMode::LAX)
        .with_context(|| format!("the licence '{licence}'"))?;
    Ok(expression.evaluate(is_permissive))
}

impl Metadata {
    /// The packages that a build of the libraries contains, including the libraries.
    fn built(&self) -> Vec<&Package> {
        let nodes: HashMap<&str, &Node> = self.resolve.nodes.iter().map(|n| (&*n.id, n)).collect();
        let mut seen = HashSet::new();
        let mut open: Vec<&str> = self
            .packages
            .iter()
            .filter(|package| LIBRARIES.contains(&&*package.name))
            .map(|package| &*package.id)
            .collect();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                let deps = nodes.get(id).into_iter().flat_map(|node| &node.deps);
                open.extend(deps.filter(|dep| dep.is_built()).map(|dep| &*dep.pkg));
            }
        }
        let is_seen = |package: &&Package| seen.contains(&*package.id);
        self.packages.iter().filter(is_seen).collect()
    }
}

/// Reports each package whose licence is not known to be permissive. Returns whether every package may be used.
pub fn run() -> Result<bool> {
    let mut command = process::cargo();
    command.args(["metadata", "--format-version", "1", "--all-features"]);
    let metadata: Metadata =
        serde_json::from_str(&capture(&mut command)?).context("what cargo says of packages")?;
    let built = metadata.built();
    let mut refused = 0;
    for package in &built {
        let read = READ.iter().find(|(name, _)| *name == package.name);
        let allowed = match &package.license {
            Some(licence) => is_allowed(licence)?,
            None => false,
        };
        if !allowed {
            let licence = package.license.as_deref().unwrap_or("none is named");
            let reason = read.map_or("another licence", |(_, reason)| reason);
            println!("{} {}: {licence}: {reason}", package.name, package.version);
            refused += usize::from(read.is_none());
        }
    }
    println!(
        "{} packages with all features, {refused} of another licence",
        built.len()
    );
    Ok(refused == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_permissive_choice_is_enough_and_all_parts_count() -> Result<()> {
        for licence in [
            "MIT",
            "MIT/Apache-2.0",
            "MIT OR GPL-3.0-only",
            "Apache-2.0 WITH LLVM-exception",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
        ] {
            assert!(is_allowed(licence)?, "{licence}");
        }
        for licence in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "MPL-2.0"] {
            assert!(!is_allowed(licence)?, "{licence}");
        }
        assert!(is_allowed("no such licence").is_err());
        Ok(())
    }

    #[test]
    fn what_tests_alone_need_does_not_count() -> Result<()> {
        let package = |name: &str| serde_json::json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT" });
        let dep = |name: &str, kind: Option<&str>| serde_json::json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let packages = ["burn-lazy", "used", "tried"].map(package);
        let metadata: Metadata = serde_json::from_value(serde_json::json!({
            "packages": packages,
            "resolve": { "nodes": [
                { "id": "burn-lazy", "deps": [dep("used", None), dep("tried", Some("dev"))] },
                { "id": "used", "deps": [] },
                { "id": "tried", "deps": [] },
            ] },
        }))?;
        let built: Vec<&str> = metadata
            .built()
            .iter()
            .map(|package| &*package.name)
            .collect();
        assert_eq!(built, ["burn-lazy", "used"]);
        Ok(())
    }
}
