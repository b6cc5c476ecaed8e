//! A formula: an expression whose leaves are numbered operands.

pub mod catalogue;
mod differentiate;
pub mod expr;
pub mod interval;
mod leaf;
mod printer;
mod simplify;
mod terms;

use std::collections::HashMap;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

pub use differentiate::Cotangent;
pub(crate) use differentiate::flushed;
pub(crate) use terms::{without_hidden_weights, without_zero_weights};

use catalogue::ScalarOp;
pub use expr::{Axis, Expr};
use expr::{Dependence, Extreme, Node, Place, Var};

/// A constant, compared and hashed by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bits(u64);

impl Bits {
    /// The value.
    pub fn value(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl From<f64> for Bits {
    fn from(value: f64) -> Self {
        Self(value.to_bits())
    }
}

/// An expression together with its operands in the order in which they are passed.
///
/// Two formulas are equal if their graphs are and their operands are numbered alike. Operands are
/// numbered in the order in which they first occur, so formulas written alike over different tensors
/// are equal and share one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Formula {
    root: Expr,
    vars: Vec<Var>,
}

impl Formula {
    /// Numbers the leaves of `root` in order of occurrence and simplifies it. Also returns the
    /// original leaves in that order.
    pub fn new(root: &Expr) -> (Self, Vec<Var>) {
        let root = root.simplify();
        let leaves: Vec<Var> = root
            .topological()
            .iter()
            .filter_map(|expr| match expr.node() {
                Node::Var(var) => Some(*var),
                _ => None,
            })
            .collect();
        let vars: Vec<Var> = (0..)
            .zip(&leaves)
            .map(|(id, var)| Var { id, ..*var })
            .collect();
        let numbered: FxHashMap<Var, Var> =
            leaves.iter().copied().zip(vars.iter().copied()).collect();
        let root = root.map_vars(|var| Expr::var(numbered[var]));
        (Self { root, vars }, leaves)
    }

    /// Another expression over the same operands.
    pub(crate) fn with_root(&self, root: Expr) -> Self {
        let vars = self.vars.clone();
        Self { root, vars }
    }

    /// The expression.
    pub fn root(&self) -> &Expr {
        &self.root
    }

    /// Size of the inner axis of the result.
    pub fn dim(&self) -> usize {
        self.root.dim()
    }

    /// Checks that the formula, which may come from an untrusted source, does not take much time, memory or stack to
    /// lower, beyond what its tensors take.
    ///
    /// # Errors
    /// A message that says which size of the formula is too large.
    pub fn check_size(&self) -> Result<(), String> {
        /// The most levels. Derivatives have a few times as many as the formulas that they are made of.
        const MOST_DEPTH: usize = 2000;
        /// The most components of all nodes together that are not operands. Operands are bounded by their tensors.
        const MOST_NUMBERS: usize = 1 << 22;

        let order = self.root.topological();
        let own = order.iter().filter(|e| !matches!(e.node(), Node::Var(_)));
        let numbers = own.fold(0usize, |all, expr| all.saturating_add(expr.dim()));
        let parts = [
            ("nodes", order.len(), MOST_NODES),
            ("levels", self.root.depth(), MOST_DEPTH),
            ("components", numbers, MOST_NUMBERS),
        ];
        match parts.iter().find(|(_, own, most)| own > most) {
            None => Ok(()),
            Some((what, own, most)) => Err(format!(
                "a formula of {own} {what}, where at most {most} are read"
            )),
        }
    }

    /// The operands, tensors and scalars mixed.
    pub fn vars(&self) -> &[Var] {
        &self.vars
    }

    /// The operands that are tensors, in order.
    pub fn tensors(&self) -> impl Iterator<Item = &Var> {
        self.vars.iter().filter(|var| !var.scalar)
    }

    /// The operands that are run-time scalars, in order.
    pub fn scalars(&self) -> impl Iterator<Item = &Var> {
        self.vars.iter().filter(|var| var.scalar)
    }

    /// Position of operand `index` among the tensors, or among the scalars if it is a scalar.
    pub fn source(&self, index: usize) -> usize {
        let scalar = self.vars[index].scalar;
        self.vars[..index]
            .iter()
            .filter(|var| var.scalar == scalar)
            .count()
    }
}

impl std::fmt::Display for Formula {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.root.fmt(f)
    }
}

/// The most nodes of a formula that is deserialized: more than a compiler would accept.
const MOST_NODES: usize = 1 << 16;

/// The most components of a node of a formula that is deserialized.
const MOST_COMPONENTS: usize = u32::MAX as usize;

/// The wire form of a node: its arguments are positions of earlier nodes.
#[derive(Serialize, Deserialize)]
enum Flat {
    Var {
        axes: Dependence,
        dim: usize,
        scalar: bool,
    },
    Place(Place),
    // Its bits, as JSON has no infinities.
    Const(Bits),
    Iota(usize, usize),
    Scalar(ScalarOp, Vec<usize>),
    InnerSum(usize),
    InnerExtremum(Extreme, usize),
    Slice(usize, usize, usize),
    Concat(Vec<usize>),
    Expand(usize, usize),
}

impl Serialize for Formula {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let order = self.root.topological();
        let place: HashMap<u128, usize> = order
            .iter()
            .enumerate()
            .map(|(k, expr)| (expr.digest(), k))
            .collect();
        let at = |expr: &Expr| place[&expr.digest()];
        let flat: Vec<Flat> = order
            .iter()
            .map(|expr| match expr.node() {
                Node::Var(var) => Flat::Var {
                    axes: var.axes,
                    dim: var.dim,
                    scalar: var.scalar,
                },
                Node::Place(place) => Flat::Place(*place),
                Node::Const(value) => Flat::Const((*value).into()),
                Node::Scalar(op, args) => Flat::Scalar(*op, args.iter().map(at).collect()),
                Node::Iota(start, len) => Flat::Iota(*start, *len),
                Node::InnerSum(arg) => Flat::InnerSum(at(arg)),
                Node::InnerExtremum(extreme, arg) => Flat::InnerExtremum(*extreme, at(arg)),
                Node::Slice(arg, start, len) => Flat::Slice(at(arg), *start, *len),
                Node::Concat(parts) => Flat::Concat(parts.iter().map(at).collect()),
                Node::Expand(arg, dim) => Flat::Expand(at(arg), *dim),
            })
            .collect();
        flat.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Formula {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;

        let flat = Vec::<Flat>::deserialize(deserializer)?;
        if flat.len() > MOST_NODES {
            return Err(D::Error::custom("a formula of too many nodes"));
        }
        let mut done: Vec<Expr> = Vec::with_capacity(flat.len());
        let mut vars = Vec::new();
        for node in flat {
            let get = |k: usize| {
                done.get(k)
                    .cloned()
                    .ok_or_else(|| D::Error::custom("a formula refers to a later node"))
            };
            let wrong = |what: &str| Err(D::Error::custom(format!("invalid formula: {what}")));
            done.push(match node {
                Flat::Var { axes, dim, scalar } => {
                    let single = dim == 1 && axes == Dependence::default();
                    if dim == 0 || dim > MOST_COMPONENTS || (scalar && !single) {
                        return wrong("an operand has an impossible dimension");
                    }
                    let var = Var {
                        id: vars.len() as u64,
                        axes,
                        dim,
                        scalar,
                    };
                    vars.push(var);
                    Expr::var(var)
                }
                Flat::Place(place) => Expr::place(place),
                Flat::Const(value) => Expr::constant(value.value()),
                Flat::Scalar(op, args) => {
                    let args = args.into_iter().map(get).collect::<Result<Vec<_>, _>>()?;
                    if args.len() != op.arity()
                        || crate::formula::expr::broadcast_dim(&args).is_none()
                    {
                        return wrong("arguments do not fit the operation");
                    }
                    Expr::scalar(op, args)
                }
                Flat::Iota(start, len) => {
                    let end = start.checked_add(len);
                    if len == 0 || end.is_none_or(|end| end > MOST_COMPONENTS) {
                        return wrong("a range is empty or too long");
                    }
                    Expr::iota(start, len)
                }
                Flat::InnerSum(arg) => get(arg)?.inner_sum(),
                Flat::InnerExtremum(extreme, arg) => get(arg)?.inner_extremum(extreme),
                Flat::Slice(arg, start, len) => {
                    let arg = get(arg)?;
                    if len == 0 || start.checked_add(len).is_none_or(|end| end > arg.dim()) {
                        return wrong("a slice is out of range");
                    }
                    arg.slice(start, len)
                }
                Flat::Concat(parts) => {
                    let parts = parts.into_iter().map(get).collect::<Result<Vec<_>, _>>()?;
                    let dim: usize = parts.iter().map(Expr::dim).sum();
                    if parts.is_empty() || dim > MOST_COMPONENTS {
                        return wrong("a concatenation of nothing or of too much");
                    }
                    Expr::concat(parts)
                }
                Flat::Expand(arg, dim) => {
                    let arg = get(arg)?;
                    let fits = arg.dim() == 1 || arg.dim() == dim;
                    if dim == 0 || dim > MOST_COMPONENTS || !fits {
                        return wrong("only a value of dimension 1 can be repeated");
                    }
                    arg.expand(dim)
                }
            });
        }
        let root = done
            .pop()
            .ok_or_else(|| D::Error::custom("an empty formula"))?;
        let formula = Self { root, vars };
        // The operands must be those that occur in the graph, in the order in which they occur.
        let order = formula.root.topological();
        let occur = order.iter().filter_map(|expr| match expr.node() {
            Node::Var(var) => Some(var),
            _ => None,
        });
        match occur.eq(&formula.vars) {
            true => Ok(formula),
            false => Err(D::Error::custom("a formula has operands that do not occur")),
        }
    }
}
