//! Sums over the pairs of a set of points with itself, each pair evaluated once.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
};

use super::{Program, lower::listing};
use crate::formula::{
    Formula,
    catalogue::{Parity, ScalarOp},
    expr::{Axis, Digest, Expr, Node, Var, digest},
};

/// The lowered form of a formula $f$ over rows and columns that are the same points: a program that
/// computes $f_{ij}$ for the sum of row $i$, and $f_{ji}$ for that of row $j$.
///
/// Values that both have in common are computed once. These are nearly all values if $f$ is a symmetric
/// kernel times a weight of the column. The form is right for any $f$; the planner decides whether it saves work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symmetric {
    /// Stores the components of $f_{ij}$, and then those of $f_{ji}$.
    pub program: Program,
    /// For each tensor of the program, its position among the tensors of the formula.
    pub tensors: Vec<usize>,
    /// For each scalar of the program, its position among the scalars of the formula.
    pub scalars: Vec<usize>,
    /// About how many instructions of a processor $f_{ij}$ alone takes.
    pub single_work: usize,
    /// The fewest points for which it is used.
    pub least: usize,
}

/// The fewest points for which evaluating only half of the pairs saves more than the second kernel costs, which
/// merges the sums of the units.
const LEAST: usize = 2000;

impl Symmetric {
    /// Lowers `formula` for a reduction over `reduced`, where `same` gives for each tensor the first one that
    /// has the same values. `None` if no tensor of rows is known to have the values of a tensor of columns, or if
    /// a tensor has a value for each pair.
    pub fn new(formula: &Formula, reduced: Axis, same: &[usize]) -> Option<Self> {
        let tensors: Vec<&Var> = formula.tensors().collect();
        assert_eq!(tensors.len(), same.len());
        // The value that a tensor has for a pair says nothing about its value for the opposite pair.
        if tensors.iter().any(|var| var.is_of_pairs()) {
            return None;
        }
        // Operands of rows or columns with the same values all get the number of the first one of them.
        let first = |k: usize| {
            let equal = |other: &usize| same[*other] == same[k] && tensors[*other].axis().is_some();
            (0..k).find(equal).unwrap_or(k)
        };
        let mut numbered: HashMap<u64, u64> = HashMap::new();
        let mut found = false;
        for (k, var) in tensors
            .iter()
            .enumerate()
            .filter(|(_, var)| var.axis().is_some())
        {
            let first = tensors[first(k)];
            assert_eq!(first.dim, var.dim);
            found |= first.axes != var.axes;
            numbered.insert(var.id, first.id);
        }
        if !found {
            return None;
        }
        let own = formula.root().map_vars(|var| {
            let id = numbered.get(&var.id).copied().unwrap_or(var.id);
            Expr::var(Var { id, ..*var })
        });
        let other = like(&own.transpose(), &own);
        let (both, leaves) = Formula::new(&Expr::concat(vec![own, other]));
        let position = |var: &Var| formula.source(var.id as usize);
        let (scalars, tensors): (Vec<Var>, Vec<Var>) = leaves.iter().partition(|var| var.scalar);
        Some(Self {
            program: Program::new(listing(&both, both.root(), reduced)),
            tensors: tensors.iter().map(position).collect(),
            scalars: scalars.iter().map(position).collect(),
            single_work: listing(formula, formula.root(), reduced).pair_work(),
            least: LEAST,
        })
    }
}

/// `expr`, with each of its parts replaced by the part of `model` that has the same value, if there is one.
fn like(expr: &Expr, model: &Expr) -> Expr {
    let mut known = HashMap::new();
    let of_model = values(model);
    for part in model.topological() {
        known.entry(of_model[&part.digest()]).or_insert(part);
    }
    let own = values(expr);
    expr.rewrite(|part, args| match known.get(&own[&part.digest()]) {
        Some(same) => Expr::clone(same),
        None => part.with_args(args),
    })
}

/// What an expression computes, up to its sign: expressions with the same `key` have the same value if
/// `negated` is equal, and opposite values otherwise. The sign of a zero does not count.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Value {
    negated: bool,
    key: u128,
}

/// The value of each part of `expr`.
///
/// The arguments of operations that commute are ordered, and signs are moved outwards until an even
/// function removes them. Nothing is reordered if that changes how it is rounded.
fn values(expr: &Expr) -> HashMap<u128, Value> {
    let mut values = HashMap::new();
    for part in expr.topological() {
        let children = part.node().children();
        let args: Vec<Value> = children.iter().map(|c| values[&c.digest()]).collect();
        values.insert(part.digest(), value(part, &args));
    }
    values
}

fn value(expr: &Expr, args: &[Value]) -> Value {
    let keyed = |negated: bool, feed: &dyn Fn(&mut Digest)| Value {
        negated,
        key: digest(|h| {
            std::mem::discriminant(expr.node()).hash(h);
            feed(h);
        }),
    };
    match expr.node() {
        Node::Scalar(op, operands) => scalar(*op, operands, args),
        Node::InnerSum(_) => keyed(args[0].negated, &|h| args[0].key.hash(h)),
        Node::Slice(_, start, len) => {
            keyed(args[0].negated, &|h| (args[0].key, start, len).hash(h))
        }
        Node::Expand(_, dim) => keyed(args[0].negated, &|h| (args[0].key, dim).hash(h)),
        Node::InnerExtremum(extreme, _) => keyed(false, &|h| (extreme, args[0]).hash(h)),
        Node::Concat(_) => {
            let negated = args[0].negated;
            let relative = |h: &mut dyn Hasher| {
                for arg in args {
                    h.write_u128(arg.key);
                    h.write_u8((arg.negated != negated).into());
                }
            };
            keyed(negated, &|h| relative(h))
        }
        Node::Var(_) | Node::Place(_) | Node::Const(_) | Node::Iota(..) => {
            keyed(false, &|h| expr.digest().hash(h))
        }
    }
}

fn scalar(op: ScalarOp, operands: &[Expr], args: &[Value]) -> Value {
    let keyed = |negated: bool, op: ScalarOp, args: &[Value]| Value {
        negated,
        key: digest(|h| (op, args).hash(h)),
    };
    let positive = |arg: Value| Value {
        negated: false,
        ..arg
    };
    let relative = |arg: Value, to: Value| Value {
        negated: arg.negated != to.negated,
        ..arg
    };
    let mut sorted = args.to_vec();
    sorted.sort_by_key(|arg| (arg.key, arg.negated));
    match (op, op.parity()) {
        (ScalarOp::Neg, _) => Value {
            negated: !args[0].negated,
            ..args[0]
        },
        (_, Parity::Even) => keyed(false, op, &[positive(args[0])]),
        (_, Parity::Odd) => keyed(args[0].negated, op, &[positive(args[0])]),
        (ScalarOp::Mul, _) => {
            let negated = sorted[0].negated != sorted[1].negated;
            keyed(negated, op, &[positive(sorted[0]), positive(sorted[1])])
        }
        (ScalarOp::Div, _) => {
            let negated = args[0].negated != args[1].negated;
            keyed(negated, op, &[positive(args[0]), positive(args[1])])
        }
        (ScalarOp::Add | ScalarOp::Sub, _) => {
            let mut terms = args.to_vec();
            terms[1].negated ^= op == ScalarOp::Sub;
            terms.sort_by_key(|term| (term.key, term.negated));
            let other = relative(terms[1], terms[0]);
            keyed(
                terms[0].negated,
                ScalarOp::Add,
                &[positive(terms[0]), other],
            )
        }
        (ScalarOp::Equal | ScalarOp::NotEqual, _) => {
            let zero = operands.iter().any(|arg| arg.as_const() == Some(0.0));
            let other = match zero {
                true => positive(sorted[1]),
                false => relative(sorted[1], sorted[0]),
            };
            keyed(false, op, &[positive(sorted[0]), other])
        }
        (ScalarOp::Maximum | ScalarOp::Minimum, _) => keyed(false, op, &sorted),
        _ => keyed(false, op, args),
    }
}
