//! Tests that modules import each other in one direction only: no module uses one that builds on
//! it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use syn::{ItemUse, UseTree, visit::Visit};

/// The modules of the first level of a crate, each with the other modules that it names.
#[derive(Default)]
struct Modules(BTreeMap<String, BTreeSet<String>>);

impl Modules {
    /// The modules of all files below `folder`, which has `lib.rs`.
    fn of(folder: &Path) -> Self {
        let mut modules = Self::default();
        modules.read_folder(folder, &[]);
        modules
    }

    fn read_folder(&mut self, folder: &Path, module: &[String]) {
        for entry in fs::read_dir(folder).expect("a folder of source text") {
            let path = entry.expect("an entry").path();
            let stem = path.file_stem().expect("a name").to_string_lossy();
            let own = |name: &str| [module, &[name.to_string()]].concat();
            if path.is_dir() {
                self.read_folder(&path, &own(&stem));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source text");
                match &*stem {
                    // The names in the root of the crate are not imports of a module.
                    "lib" => {}
                    "mod" => self.read(module, &text),
                    stem => self.read(&own(stem), &text),
                }
            }
        }
    }

    /// Reads the source text of a module.
    fn read(&mut self, module: &[String], text: &str) {
        let file = syn::parse_file(text).expect("it compiles");
        let mut paths = Paths {
            module: module.to_vec(),
            found: BTreeSet::new(),
        };
        paths.visit_file(&file);
        paths.found.remove(&module[0]);
        self.0
            .entry(module[0].clone())
            .or_default()
            .extend(paths.found);
    }

    /// A chain of imports from a module back to itself, if there is one.
    fn circle(&self) -> Option<Vec<String>> {
        self.0
            .keys()
            .find_map(|start| self.way(start, start, &mut BTreeSet::new()))
    }

    fn way(&self, from: &str, to: &str, seen: &mut BTreeSet<String>) -> Option<Vec<String>> {
        for next in self.0.get(from)? {
            if next == to {
                return Some(vec![from.to_string(), to.to_string()]);
            }
            if seen.insert(next.clone())
                && let Some(mut way) = self.way(next, to, seen)
            {
                way.insert(0, from.to_string());
                return Some(way);
            }
        }
        None
    }
}

/// The modules of the first level that a file names in imports and in other paths.
struct Paths {
    /// The module of the file.
    module: Vec<String>,
    found: BTreeSet<String>,
}

impl Paths {
    /// Notes the module that a path names by its first segments.
    fn take(&mut self, segments: &[String]) {
        let up = segments
            .iter()
            .take_while(|segment| *segment == "super")
            .count();
        let first = match segments.first().map(String::as_str) {
            Some("crate") => segments.get(1),
            // As many `super` as there are levels lead to the root.
            Some("super") if up == self.module.len() => segments.get(up),
            _ => None,
        };
        // Names in the root that begin with a capital letter are items that it exports, not
        // modules.
        if let Some(first) = first.filter(|first| first.starts_with(char::is_lowercase)) {
            self.found.insert(first.clone());
        }
    }

    fn take_tree(&mut self, tree: &UseTree, before: &[String]) {
        match tree {
            UseTree::Path(path) => {
                let before = [before, &[path.ident.to_string()]].concat();
                self.take_tree(&path.tree, &before);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.take_tree(tree, before);
                }
            }
            UseTree::Name(name) => self.take(&[before, &[name.ident.to_string()]].concat()),
            UseTree::Rename(name) => self.take(&[before, &[name.ident.to_string()]].concat()),
            UseTree::Glob(_) => self.take(before),
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.take_tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        self.take(&segments.collect::<Vec<_>>());
        syn::visit::visit_path(self, path);
    }
}

#[test]
fn modules_do_not_import_each_other_in_circles() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "cube_kernels/src"] {
        let modules = Modules::of(&root.join(folder));
        assert!(modules.0.len() > 5, "{folder} has modules");
        assert!(
            modules.0.values().flatten().count() > 10,
            "{folder} has imports"
        );
        let circle = modules.circle();
        assert!(
            circle.is_none(),
            "{folder}: {}",
            circle.unwrap().join(" -> ")
        );
    }
}

#[test]
fn circles_are_found() {
    let module = |path: &str| path.split("::").map(str::to_string).collect::<Vec<_>>();
    let mut modules = Modules::default();
    modules.read(&module("a"), "use crate::b::{self, c::D};");
    modules.read(&module("b::c"), "use super::super::e::F; use super::g;");
    assert_eq!(modules.circle(), None);
    // A path within an expression counts, too.
    modules.read(&module("e"), "fn f() { crate::a::g() }");
    let circle = modules.circle().expect("there is one");
    assert_eq!(circle, ["a", "b", "e", "a"]);
}
