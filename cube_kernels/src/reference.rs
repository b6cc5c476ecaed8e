//! Evaluation of formulas on the host in `f64`: the reference that kernels are tested against.

use std::collections::HashMap;

use crate::{
    expr::{Axis, Expr, Node},
    formula::Formula,
};

/// Evaluates `formula` for one pair, given the components of each operand (tensors and scalars in
/// the order of [`Formula::vars`]).
pub fn evaluate(formula: &Formula, operands: &[&[f64]]) -> Vec<f64> {
    let mut values: HashMap<u128, Vec<f64>> = HashMap::new();
    for expr in formula.root().topological() {
        let value = node(&expr, operands, &values);
        values.insert(expr.digest(), value);
    }
    values
        .remove(&formula.root().digest())
        .expect("evaluated last")
}

fn node(expr: &Expr, operands: &[&[f64]], values: &HashMap<u128, Vec<f64>>) -> Vec<f64> {
    let get = |arg: &Expr| &values[&arg.digest()];
    match expr.node() {
        Node::Var(var) => operands[var.id as usize][..var.dim].to_vec(),
        Node::Const(value) => vec![*value],
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
        Node::Slice(arg, start, len) => get(arg)[*start..start + len].to_vec(),
        Node::Concat(parts) => parts.iter().flat_map(|part| get(part).clone()).collect(),
        Node::Expand(arg, dim) => vec![get(arg)[0]; *dim],
    }
}

/// An operand on the host: `data[(b * rows + r) * dim + k]`, with `batch` and `rows` of 1 where it
/// does not vary.
#[derive(Clone, Debug)]
pub struct HostOperand {
    /// The values.
    pub data: Vec<f64>,
    /// Number of batches, 1 if it is shared by all.
    pub batch: usize,
}

/// The sum of `formula` over `reduced`, as `[batch, rows, dim]`, where `sizes` is `(batch, M, N)`.
pub fn sum(
    formula: &Formula,
    reduced: Axis,
    sizes: (usize, usize, usize),
    operands: &[HostOperand],
) -> Vec<f64> {
    let (batch, m, n) = sizes;
    let (rows, columns) = match reduced {
        Axis::J => (m, n),
        Axis::I => (n, m),
    };
    let dim = formula.dim();
    let mut out = vec![0.0; batch * rows * dim];
    for b in 0..batch {
        for row in 0..rows {
            for column in 0..columns {
                let (i, j) = match reduced {
                    Axis::J => (row, column),
                    Axis::I => (column, row),
                };
                let args: Vec<&[f64]> = formula
                    .vars()
                    .iter()
                    .zip(operands)
                    .map(|(var, operand)| {
                        let (length, r) = match var.axis {
                            Some(Axis::I) => (m, i),
                            Some(Axis::J) => (n, j),
                            None => (1, 0),
                        };
                        let b = if operand.batch == 1 { 0 } else { b };
                        let at = (b * length + r) * var.dim;
                        &operand.data[at..at + var.dim]
                    })
                    .collect();
                let at = (b * rows + row) * dim;
                for (sum, value) in out[at..at + dim].iter_mut().zip(evaluate(formula, &args)) {
                    *sum += value;
                }
            }
        }
    }
    out
}
