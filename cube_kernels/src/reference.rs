//! Evaluation of formulas on the host in `f64`: the reference that kernels are tested against.

use std::collections::HashMap;

use crate::{
    expr::{Axis, Expr, Node, Place},
    formula::Formula,
    reduction::{ReductionKind, Spec, Wanted},
};

/// Evaluates `formula` for the pair `(i, j)`, given the components of each operand (tensors and
/// scalars in the order of [`Formula::vars`]).
pub fn evaluate(formula: &Formula, operands: &[&[f64]], pair: (usize, usize)) -> Vec<f64> {
    let mut values: HashMap<u128, Vec<f64>> = HashMap::new();
    for expr in formula.root().topological() {
        let value = node(&expr, operands, pair, &values);
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

/// An operand on the host: `data[(b * rows + r) * dim + k]`, with `batch` and `rows` of 1 where it
/// does not vary.
#[derive(Clone, Debug)]
pub struct HostOperand {
    /// The values.
    pub data: Vec<f64>,
    /// Number of batches, 1 if it is shared by all.
    pub batch: usize,
}

/// The reduction of `formula` over `reduced`, where `sizes` is `(batch, M, N)`: the values and the
/// columns of `[batch, rows, entries]`. Columns are -1 where the reduction has none.
pub fn reduce(
    formula: &Formula,
    kind: ReductionKind,
    reduced: Axis,
    sizes: (usize, usize, usize),
    operands: &[HostOperand],
) -> (Vec<f64>, Vec<i64>) {
    let (batch, m, n) = sizes;
    let (rows, columns) = match reduced {
        Axis::J => (m, n),
        Axis::I => (n, m),
    };
    let spec = Spec {
        kind,
        wanted: Wanted::BOTH,
        dim: formula.dim(),
    };
    let (mut values, mut indices) = (Vec::new(), Vec::new());
    for b in 0..batch {
        for row in 0..rows {
            let column = |column| {
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
                evaluate(formula, &args, (i, j))
            };
            let columns: Vec<Vec<f64>> = (0..columns).map(column).collect();
            let entries = (0..spec.depth()).flat_map(|k| (0..spec.width()).map(move |w| (k, w)));
            for (k, w) in entries {
                let (value, index) = entry(&spec, &columns, k, w);
                values.push(value);
                indices.push(index.map_or(-1, |index| index as i64));
            }
        }
    }
    (values, indices)
}

/// Entry `k` of component `w` of the reduction of one row, and where it was found.
fn entry(spec: &Spec, columns: &[Vec<f64>], k: usize, w: usize) -> (f64, Option<usize>) {
    let component = |w: usize| columns.iter().map(move |column| column[w]);
    let first = |better: fn(f64, f64) -> bool| {
        let mut best: Option<(usize, f64)> = None;
        for (index, value) in component(w).enumerate() {
            if best
                .is_none_or(|(_, best)| !best.is_nan() && (value.is_nan() || better(value, best)))
            {
                best = Some((index, value));
            }
        }
        best.map_or((spec.empty(), None), |(index, value)| (value, Some(index)))
    };
    // The sum of e^(f - m) w over the columns that exist, and m.
    let exponentials = |f: usize, weight: &dyn Fn(usize) -> f64, exists: &dyn Fn(usize) -> bool| {
        let terms = || component(f).enumerate().filter(|(c, _)| exists(*c));
        let most = terms()
            .map(|(_, f)| f)
            .fold(f64::MIN, f64::max)
            .min(f64::MAX);
        let sum: f64 = terms().map(|(c, f)| (f - most).exp() * weight(c)).sum();
        (sum, most)
    };
    match spec.kind {
        ReductionKind::Sum(_) => (component(w).sum(), None),
        ReductionKind::Product => (component(w).product(), None),
        ReductionKind::Count => {
            let count = component(w).filter(|value| *value != 0.0).count();
            (count as f64, Some(count))
        }
        ReductionKind::LogSumExp { scores } => {
            let weight = |c: usize| match spec.dim - scores {
                0 => 1.0,
                1 => columns[c][scores],
                _ => columns[c][scores + w],
            };
            // What has no weight does not exist.
            let exists = |c: usize| weight(c) != 0.0;
            let (sum, most) = exponentials(if scores == 1 { 0 } else { w }, &weight, &exists);
            (most + sum.ln(), None)
        }
        ReductionKind::SoftmaxSum => {
            let (sum, _) = exponentials(0, &|c| columns[c][1 + w], &|_| true);
            (sum / exponentials(0, &|_| 1.0, &|_| true).0, None)
        }
        ReductionKind::Minimum => first(|value, best| value < best),
        ReductionKind::Maximum => first(|value, best| value > best),
        ReductionKind::Smallest { .. } => {
            let mut sorted: Vec<(usize, f64)> = component(w)
                .enumerate()
                .filter(|(_, value)| *value < f64::INFINITY)
                .collect();
            // The sort is stable, and zeros of both signs are equal.
            sorted.sort_by(|a, b| a.1.partial_cmp(&b.1).expect("NaN is left out"));
            match sorted.get(k) {
                Some((index, value)) => (*value, Some(*index)),
                None => (spec.empty(), None),
            }
        }
    }
}

/// One row of the reduction of `columns` equal columns `value`: the values and columns of its entries.
pub fn reduce_equal(spec: &Spec, value: &[f64], columns: usize) -> (Vec<f64>, Vec<i64>) {
    let count = columns as f64;
    let (mut values, mut indices) = (Vec::new(), Vec::new());
    for k in 0..spec.depth() {
        for w in 0..spec.width() {
            let (value, index) = match spec.kind {
                ReductionKind::Sum(_) => (value[w] * count, None),
                ReductionKind::Product => (value[w].powf(count), None),
                ReductionKind::Count => {
                    let count = if value[w] == 0.0 { 0 } else { columns };
                    (count as f64, Some(count))
                }
                _ if k >= columns => (spec.empty(), None),
                // A few columns give what many do, but for the logarithm of their number.
                kind => {
                    let few = vec![value.to_vec(); columns.min(k + 1)];
                    let (value, index) = entry(spec, &few, k, w);
                    let many = match kind {
                        ReductionKind::LogSumExp { .. } => (count / few.len() as f64).ln(),
                        _ => 0.0,
                    };
                    (value + many, index.map(|_| k))
                }
            };
            values.push(value);
            indices.push(index.map_or(-1, |index| index as i64));
        }
    }
    (values, indices)
}
