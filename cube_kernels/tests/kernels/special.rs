//! Functions on the host and in kernels against values of mpmath with 20 digits, over the whole range of single
//! precision. `special.py` has written the values to `special.csv`.
//!
//! Errors are in units of the last place of the value. At most 4 are allowed in `f32`, and more for polygamma functions
//! of higher order, which are powers; see [`units`]. Where parts of a function cancel, errors are relative to a larger
//! size; see [`size`].

use std::{collections::BTreeMap, fs};

use burn_lazy_kernels::catalogue::ScalarOp;

use crate::support::package_folder;

/// A function, its arguments and its value.
pub struct Row {
    pub op: ScalarOp,
    pub args: Vec<f64>,
    pub value: f64,
}

pub fn rows() -> Vec<Row> {
    let mut ops: BTreeMap<String, ScalarOp> = BTreeMap::new();
    for op in (0..6).map(ScalarOp::Polygamma).chain(ScalarOp::all()) {
        ops.insert(op.to_string(), op);
    }
    let text = fs::read_to_string(package_folder().join("tests/kernels/special.csv"))
        .expect("the values are stored");
    let row = |line: &str| {
        let mut cells = line.split(',');
        let name = cells.next().expect("a line has a cell");
        let mut numbers = cells.map(|cell| cell.parse::<f64>().expect("a number"));
        Row {
            op: ops[name],
            value: numbers.next().expect("a value"),
            args: numbers.collect(),
        }
    };
    text.lines().skip(1).map(row).collect()
}

/// The size that errors are relative to.
pub fn size(row: &Row) -> f64 {
    let x = row.args[0];
    let value = row.value.abs();
    match row.op {
        // There are zeros between the poles, so errors are relative to the size of the terms.
        ScalarOp::Lgamma if x <= -0.5 => value.max(1.0).max(libm::lgamma(-x)),
        ScalarOp::Polygamma(n) if x < 0.0 => value.max(std::f64::consts::PI.powi(n as i32 + 1)),
        ScalarOp::Sin | ScalarOp::Cos | ScalarOp::Logaddexp => value.max(1.0),
        // Errors of the angle are multiplied by the derivative of the tangent.
        ScalarOp::Tan => value.max(1.0) * value.max(1.0),
        _ => value,
    }
}

/// The error that is allowed, in units of the last place.
pub fn units(op: ScalarOp) -> f64 {
    match op {
        ScalarOp::Polygamma(n) => 4.0 + 2.0 * n as f64,
        _ => 4.0,
    }
}

/// Asserts that the error of each row is at most `most`. On failure it shows the worst row of each function.
#[track_caller]
pub fn assert_near(what: &str, rows: &[Row], got: &[f64], most: impl Fn(&Row) -> f64) {
    let mut worst: BTreeMap<String, (f64, String)> = BTreeMap::new();
    for (row, got) in rows.iter().zip(got) {
        let off = (got - row.value).abs() / most(row);
        // A NaN fails this test, so it is reported.
        if *got == row.value || off <= 1.0 {
            continue;
        }
        let say = || {
            format!(
                "{got} of {:?}, expected {}: off by {off:.1} times what is allowed",
                row.args, row.value
            )
        };
        let own = worst.entry(row.op.to_string()).or_insert((0.0, say()));
        if off > own.0 {
            *own = (off, say());
        }
    }
    assert!(worst.is_empty(), "{what}: {worst:#?}");
}

#[test]
fn the_host_has_the_values_of_mpmath() {
    let rows = rows();
    let got: Vec<f64> = rows.iter().map(|row| row.op.host(&row.args)).collect();
    assert_near("the host", &rows, &got, |row| {
        // The host reference of the digamma function is not exact near its zero.
        let size = match row.op {
            ScalarOp::Polygamma(0) => size(row).max(1.0),
            _ => size(row),
        };
        (units(row.op) + 4.0) * f64::EPSILON * size
    });
}

#[test]
fn the_inverse_hyperbolic_cosine_is_nan_below_1() {
    let below = (1..200_000).map(|k| 1.0 - 0.05 * f64::from(k));
    for x in below.chain([-1e9, -1e300, f64::NEG_INFINITY]) {
        let value = ScalarOp::Acosh.host(&[x]);
        assert!(value.is_nan(), "acosh({x}) is {value}");
    }
}
