//! Values of other programs, in `tests/data`. Each file is next to the script that made it.

use std::{fs, path::Path};

use serde_json::Value;

/// The values of a file `tests/data/NAME.json`.
pub fn read(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let path = folder.join(name).with_extension("json");
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    serde_json::from_str(&text).expect("the file is JSON")
}

/// The numbers in a list, or in nested lists, in order.
pub fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => vec![value.as_f64().expect("it is a number")],
    }
}
