//! Tests, by reading the source, that every public function that panics on wrong input has a form that returns an
//! error.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The public functions in source text, each with its owner: a type, or the file for a free function.
#[derive(Default)]
struct Functions {
    /// Whether each function panics according to its documentation or its attributes.
    panics: BTreeMap<(String, String), bool>,
    /// Rows of macros whose two names do not fit together.
    misnamed: Vec<String>,
}

impl Functions {
    /// Reads a file that rustfmt has formatted: an item starts on its own line, and the block of an `impl` ends at its
    /// own indentation.
    fn read(&mut self, file: &str, text: &str) {
        // The indentation and type of the `impl` around the current line.
        let mut owner: Option<(usize, String)> = None;
        let mut above = String::new();
        for line in text.lines() {
            let indent = line.len() - line.trim_start().len();
            let line = line.trim();
            if line.starts_with('}') && owner.as_ref().is_some_and(|(own, _)| indent <= *own) {
                owner = None;
            }
            if line.starts_with("impl") && line.ends_with('{') {
                owner = implemented(line).map(|of| (indent, of));
            }
            if let Some(name) = function(line) {
                let of = match &owner {
                    Some((own, of)) if *own < indent => of.clone(),
                    _ => file.to_string(),
                };
                let panics = above.contains("#[track_caller]") || above.contains("# Panics");
                self.panics.insert((of, name), panics);
            }
            if !line.starts_with("//")
                && let Some((short, checked)) = line.split_once(" / try_")
            {
                let short = short.rsplit([' ', ':']).next().unwrap_or_default();
                let end = checked.find(['(', ' ']).unwrap_or(checked.len());
                if &checked[..end] != short {
                    self.misnamed.push(format!("{file}: {line}"));
                }
            }
            match line.is_empty() || line.ends_with(['{', '}', ';']) && !line.starts_with("//") {
                true => above.clear(),
                false => above.push_str(line),
            }
        }
    }

    /// The panicking functions without a form that returns an error.
    fn lacking(&self) -> Vec<String> {
        let names: BTreeSet<&(String, String)> = self.panics.keys().collect();
        let panicking = self.panics.iter().filter(|(_, panics)| **panics);
        panicking
            .filter(|((of, name), _)| !names.contains(&(of.clone(), format!("try_{name}"))))
            .map(|((of, name), _)| format!("{of}: {name}"))
            .collect()
    }
}

/// The type of `impl Type {`. `None` for implementations of traits.
fn implemented(line: &str) -> Option<String> {
    let mut rest = line.strip_prefix("impl")?;
    if rest.starts_with('<') {
        let mut open = 0;
        let end = rest.find(|c| {
            open += i32::from(c == '<') - i32::from(c == '>');
            open == 0
        })?;
        rest = &rest[end + 1..];
    }
    let of = rest.strip_suffix('{')?.trim();
    (!of.contains(" for ")).then(|| of.to_string())
}

/// The name of the public function that is defined on this line. `try_$name` for the second name in a macro.
fn function(line: &str) -> Option<String> {
    let rest = line
        .strip_prefix("pub fn ")
        .or_else(|| line.strip_prefix("pub const fn "))?;
    if let Some(pasted) = rest.strip_prefix("[<") {
        let (name, _) = pasted.split_once(">]")?;
        return Some(name.replace(' ', ""));
    }
    let end = rest.find(['(', '<'])?;
    match &rest[..end] {
        "$try" => Some("try_$name".into()),
        name => Some(name.into()),
    }
}

fn read_folder(folder: &Path, functions: &mut Functions) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_folder(&path, functions);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            functions.read(&path.display().to_string(), &text);
        }
    }
}

#[test]
fn every_function_that_panics_has_a_form_that_returns_an_error() {
    let mut functions = Functions::default();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    read_folder(&source, &mut functions);
    assert_eq!(functions.lacking(), Vec::<String>::new());
    assert_eq!(functions.misnamed, Vec::<String>::new());
    // Checks that the reader has found functions of all kinds: constructors, operators of the catalogue, reductions,
    // kernels, and complex formulas.
    let is_there = |of: &str, name: &str| {
        let mut found = functions.panics.iter();
        found.any(|((owner, own), panics)| owner.ends_with(of) && own == name && *panics)
    };
    for (of, name) in [
        ("LazyTensor", "vi"),
        ("LazyTensor", "pm"),
        ("LazyTensor", "$method"),
        ("$of", "$name"),
        ("LazyTensor", "matmul"),
        ("LazyTensor", "grad"),
        ("LazyTensor", "block"),
        ("kernels.rs", "$name"),
        ("Complex<LazyTensor>", "recip"),
        ("Complex<LazyTensor>", "matmul"),
    ] {
        assert!(is_there(of, name), "{of}: {name}");
    }
}

#[test]
fn the_reader_finds_what_lacks() {
    let text = "
impl LazyTensor {
    /// Halves.
    ///
    /// # Panics
    /// If it is odd.
    pub fn half(&self) -> Self {
        expect(self.checked())
    }

    #[track_caller]
    pub fn double<const R: usize>(&self) -> Self {
        expect(self.try_double())
    }

    pub fn try_double(&self) -> Result<Self, LazyError> {
        todo!()
    }

    #[track_caller]
    pub(crate) fn hidden(&self) -> Self {
        todo!()
    }

    /// Never panics.
    pub fn calm(&self) -> Self {
        todo!()
    }
}

impl<T: IntoLazy> Add<T> for LazyTensor {
    #[track_caller]
    fn add(self, other: T) -> LazyTensor {
        todo!()
    }
}

impl<const R: usize> Other<R> {
    /// # Panics
    /// Always.
    pub fn double(&self) -> Self {
        todo!()
    }
}

/// # Panics
/// Always.
pub fn free() {}

reductions! {
    sum / try_sum(axis: Axis) -> Tensor<R> = todo!();
    mean / try_sum(axis: Axis) -> Tensor<R> = todo!();
}
";
    let mut functions = Functions::default();
    functions.read("file", text);
    let lacking = ["LazyTensor: half", "Other<R>: double", "file: free"];
    assert_eq!(functions.lacking(), lacking);
    assert_eq!(functions.misnamed.len(), 1);
}
