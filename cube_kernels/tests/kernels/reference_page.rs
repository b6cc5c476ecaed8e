//! The reference page of the operations, `src/formula/operations.md`. It is made from the catalogue and the measured
//! accuracy, and compared with the stored page.

use std::{fmt::Write, fs, path::PathBuf};

use burn_lazy_kernels::{
    Axis, Expr,
    catalogue::{Partial, ScalarOp},
    expr::{Printer, Var},
};

use crate::{
    contract::{self, COLUMNS},
    support::{leaf, package_folder},
};

fn path() -> PathBuf {
    package_folder().join("src/formula/operations.md")
}

const INTRODUCTION: &str = "\
# All operations

Arguments are $a$, $b$ and $c$, in this order; each has the dimension of the result, or 1. Errors are the
largest over samples of the domain and its edges, in units of the last place of the value, or of the
scale where that is larger than the value: on the CPU runtime in F32 and F64, and in F32 as a shader (WGSL
on Mesa's software driver). In F64 they are differences to the functions of the host, which are good to
about one unit themselves. On CUDA, ROCm and Metal the same code runs, but for the functions in F64, which
are the device's, and `exp`: on CUDA a power of 2 by the card's instruction, with its error, of about two
units, and up to three of our own; else the device's.
";

/// The derivatives by each argument as text, as formulas of the arguments and of the result $y$.
fn derivatives(op: ScalarOp) -> Vec<String> {
    let args: Vec<Expr> = (0..op.arity() as u64)
        .map(|id| Expr::var(leaf(id, Some(Axis::I), 1)))
        .collect();
    let y = Expr::var(leaf(9, Some(Axis::I), 1));
    let name = |var: &Var| {
        let names = ["a", "b", "c"];
        names.get(var.id as usize).unwrap_or(&"y").to_string()
    };
    let print = |expr: &Expr| {
        let expr = expr.simplify();
        Printer {
            expr: &expr,
            name: &name,
            budget: 400,
        }
        .to_string()
    };
    let partial = |partial: &Partial| match partial {
        Partial::Factor(factor) => print(factor),
        // A value that is not selected has no effect, even if it is NaN. A product with 0 would not express that.
        Partial::Unless(mask) => format!("1 unless {}", print(mask)),
    };
    op.partials(&args, &y).iter().map(partial).collect()
}

fn page() -> String {
    let stored = contract::load();
    let mut text = INTRODUCTION.to_string();
    let mut last = "";
    for op in ScalarOp::all() {
        if op.name() != last {
            last = op.name();
            write!(text, "\n## `{last}`\n\n").unwrap();
            for line in op.doc().lines() {
                writeln!(text, "{}", line.trim()).unwrap();
            }
            let domain = op.domain();
            let interval = |(low, high): &(f64, f64)| format!("{low} to {high}");
            let intervals: Vec<String> = domain.intervals[..op.arity()]
                .iter()
                .map(interval)
                .collect();
            let edges: Vec<String> = domain.edges.iter().map(f64::to_string).collect();
            write!(
                text,
                "\nSampled from {} and at {}",
                intervals.join(", "),
                edges.join(", ")
            )
            .unwrap();
            if domain.scale > 0.0 {
                write!(text, "; scale {}", domain.scale).unwrap();
            }
            text.push_str(".\n\n");
        }
        let [cpu, double, shader] = stored
            .get(&op.to_string())
            .map(|row| row.map(|error| error.map_or("?".into(), |error| format!("{error:.1}"))))
            .unwrap_or_else(|| [(); 3].map(|()| "?".into()));
        writeln!(
            text,
            "* `{op}`: derivative `{}`; errors {cpu} ({}), {double} ({}), {shader} ({})",
            derivatives(op).join("`, `"),
            COLUMNS[0],
            COLUMNS[1],
            COLUMNS[2],
        )
        .unwrap();
    }
    text
}

#[test]
fn the_reference_page_is_that_of_the_catalogue() {
    let page = page();
    if contract::updating() {
        fs::write(path(), page).expect("the page can be written");
        return;
    }
    let stored = fs::read_to_string(path()).unwrap_or_default();
    assert!(
        stored == page,
        "src/formula/operations.md is not that of the catalogue: run `cargo xtask reference`"
    );
}
