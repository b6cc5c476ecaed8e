//! Evaluation of formulas on the host in `f64`: the reference that kernels are tested against.

use std::collections::HashMap;

use crate::{
    formula::{
        Formula,
        expr::{Axis, Expr, Node, Place},
    },
    reduction::{ReductionKind, Spec, Wanted},
};

/// Evaluates `formula` for the pair `(i, j)`, given the components of each operand (tensors and
/// scalars in the order of [`Formula::vars`]).
pub fn evaluate(formula: &Formula, operands: &[&[f64]], pair: (usize, usize)) -> Vec<f64> {
    let mut values: HashMap<u128, Vec<f64>> = HashMap::new();
    for expr in formula.root().topological() {
        let value = node(expr, operands, pair, &values);
        values.insert(expr.digest(), value);
    }
    values
        .remove(&formula.root().digest())
        .expect("evaluated last")
}

fn node(
    expr: &Expr,
    operands: &[&[f64]],
    (i, j): (usize, usize),
    values: &HashMap<u128, Vec<f64>>,
) -> Vec<f64> {
    let get = |arg: &Expr| &values[&arg.digest()];
    match expr.node() {
        Node::Var(var) => operands[var.id as usize][..var.dim].to_vec(),
        Node::Place(Place::Index(Axis::I)) => vec![i as f64],
        Node::Place(Place::Index(Axis::J)) => vec![j as f64],
        Node::Place(Place::Offset) => vec![i as f64 - j as f64],
        Node::Const(value) => vec![*value],
        Node::Iota(start, len) => (*start..start + len).map(|k| k as f64).collect(),
        Node::Scalar(op, args) => {
            let args: Vec<&Vec<f64>> = args.iter().map(get).collect();
            let component = |k: usize| {
                let args: Vec<f64> = args
                    .iter()
                    .map(|arg| arg[if arg.len() == 1 { 0 } else { k }])
                    .collect();
                op.host(&args)
            };
            (0..expr.dim()).map(component).collect()
        }
        Node::InnerSum(arg) => vec![get(arg).iter().sum()],
        Node::InnerExtremum(extreme, arg) => {
            let better = |a: f64, b: &f64| extreme.op().host(&[a, *b]);
            let values = get(arg);
            vec![values.iter().fold(values[0], better)]
        }
        Node::Slice(arg, start, len) => get(arg)[*start..start + len].to_vec(),
        Node::Concat(parts) => parts.iter().flat_map(|part| get(part).clone()).collect(),
        Node::Expand(arg, dim) => vec![get(arg)[0]; *dim],
    }
}

/// An operand on the host: component `k` of row `r` in batch `b` is `data[(b * rows + r) * dim + k]`.
///
/// `batch` and `rows` are 1 if the operand does not vary along them. If it has a value for each pair, its
/// row `i * N + j` is that of the pair `(i, j)`.
#[derive(Clone, Debug)]
pub struct HostOperand {
    /// The values.
    pub data: Vec<f64>,
    /// Number of batches, or 1 if all batches share the operand.
    pub batch: usize,
}

/// Reduces `formula` over the axis `reduced`, where `sizes` is `(batch, M, N)`.
///
/// Returns the values and the column indices (or counts), both `[batch, rows, entries]`. Indices are -1
/// if the reduction has none.
pub fn reduce(
    formula: &Formula,
    kind: ReductionKind,
    reduced: Axis,
    sizes: (usize, usize, usize),
    operands: &[HostOperand],
) -> (Vec<f64>, Vec<i64>) {
    reduce_where(formula, kind, reduced, sizes, operands, &|_, _| true)
}

/// Like [`reduce`], but only over the pairs for which `exist` is true.
///
/// `exist` is called with a batch and a pair `(i, j)` of the formula.
pub fn reduce_where(
    formula: &Formula,
    kind: ReductionKind,
    reduced: Axis,
    sizes: (usize, usize, usize),
    operands: &[HostOperand],
    exist: &dyn Fn(usize, (usize, usize)) -> bool,
) -> (Vec<f64>, Vec<i64>) {
    let (batch, m, n) = sizes;
    let (rows, columns) = match reduced {
        Axis::J => (m, n),
        Axis::I => (n, m),
    };
    let spec = Spec::new(kind, Wanted::BOTH, formula.dim());
    let (mut values, mut indices) = (Vec::new(), Vec::new());
    for b in 0..batch {
        for row in 0..rows {
            let pair = |column| match reduced {
                Axis::J => (row, column),
                Axis::I => (column, row),
            };
            let value = |(i, j)| {
                let args: Vec<&[f64]> = formula
                    .vars()
                    .iter()
                    .zip(operands)
                    .map(|(var, operand)| {
                        let (length, r) = match (var.axes.i, var.axes.j) {
                            (true, true) => (m * n, i * n + j),
                            (true, false) => (m, i),
                            (false, true) => (n, j),
                            (false, false) => (1, 0),
                        };
                        let b = if operand.batch == 1 { 0 } else { b };
                        let at = (b * length + r) * var.dim;
                        &operand.data[at..at + var.dim]
                    })
                    .collect();
                evaluate(formula, &args, (i, j))
            };
            let there: Vec<usize> = (0..columns)
                .filter(|column| exist(b, pair(*column)))
                .collect();
            let columns: Vec<Vec<f64>> = there.iter().map(|column| value(pair(*column))).collect();
            for entry in spec.all_entries() {
                let (value, index) = spec.value(&columns, entry);
                values.push(value);
                indices.push(match usize::try_from(index) {
                    Ok(found) if kind.selects() => there[found] as i64,
                    _ => index,
                });
            }
        }
    }
    (values, indices)
}

/// One row of the result for `count` columns that all have the value `value`: the values and the column
/// indices of its entries.
pub fn reduce_equal(spec: &Spec, value: &[f64], count: usize) -> (Vec<f64>, Vec<i64>) {
    let entries = spec.all_entries();
    entries
        .map(|entry| spec.value_of_equal(value, count, entry))
        .unzip()
}
