//! Symbolic differentiation, in reverse and in forward mode.
//!
//! The derivative of an expression is again an expression, so derivatives of any order exist, and
//! the derivative of a reduction is another reduction. The rules of scalar functions stand in the
//! [catalogue](crate::catalogue); here are those of the nodes that change the inner dimension.

use std::collections::{HashMap, HashSet};

use crate::{
    catalogue::ScalarOp,
    expr::{Expr, Extreme, Node, Var},
};

impl Expr {
    /// The gradient $\sum_k e_k \, \partial f_k / \partial v$ of this expression $f$ with respect to
    /// the leaf `var`, of its dimension, for a cotangent $e$ of the dimension of $f$.
    ///
    /// # Panics
    /// If the cotangent has another dimension; callers check it.
    pub fn gradient(&self, var: &Var, cotangent: &Expr) -> Expr {
        assert_eq!(
            self.dim(),
            cotangent.dim(),
            "the cotangent has the dimension of the formula"
        );
        let order = self.topological();
        let mut depends = HashSet::new();
        for expr in &order {
            let itself = matches!(expr.node(), Node::Var(v) if v == var);
            if itself
                || expr
                    .node()
                    .children()
                    .iter()
                    .any(|c| depends.contains(&c.digest()))
            {
                depends.insert(expr.digest());
            }
        }
        let mut adjoints: HashMap<u128, Adjoint> = HashMap::new();
        adjoints
            .entry(self.digest())
            .or_default()
            .add(cotangent.clone());
        for expr in order.iter().rev() {
            if !depends.contains(&expr.digest()) {
                continue;
            }
            let Some(adjoint) = adjoints.remove(&expr.digest()) else {
                continue;
            };
            let adjoint = adjoint.total(expr.dim());
            if matches!(expr.node(), Node::Var(v) if v == var) {
                return adjoint;
            }
            let mut add = |arg: &Expr, contribution: Expr| {
                debug_assert_eq!(arg.dim(), contribution.dim());
                adjoints.entry(arg.digest()).or_default().add(contribution);
            };
            let active = |arg: &Expr| depends.contains(&arg.digest());
            match expr.node() {
                Node::Var(_) | Node::Place(_) | Node::Const(_) | Node::Iota(..) => {}
                Node::Scalar(op, args) => {
                    for (arg, partial) in args.iter().zip(op.partials(args, expr)) {
                        if active(arg) && partial.as_const() != Some(0.0) {
                            let full = chain(&adjoint, &partial, expr.dim());
                            match arg.dim() {
                                1 => add(arg, full.inner_sum()),
                                _ => add(arg, full),
                            }
                        }
                    }
                }
                Node::InnerSum(arg) => add(arg, adjoint.expand(arg.dim())),
                Node::InnerExtremum(extreme, arg) => {
                    add(arg, adjoint * first_of(arg, *extreme));
                }
                Node::Expand(arg, _) => add(arg, adjoint.inner_sum()),
                Node::Slice(arg, start, _) => {
                    let parts = &mut adjoints.entry(arg.digest()).or_default().parts;
                    parts.push((*start, adjoint));
                }
                Node::Concat(parts) => {
                    let mut start = 0;
                    for part in parts {
                        if active(part) {
                            add(part, adjoint.slice(start, part.dim()));
                        }
                        start += part.dim();
                    }
                }
            }
        }
        Expr::constant(0.0).expand(var.dim)
    }
}

/// What has been found of an adjoint: contributions to all components, and to some from a first one on.
#[derive(Default)]
struct Adjoint {
    full: Option<Expr>,
    parts: Vec<(usize, Expr)>,
}

impl Adjoint {
    fn add(&mut self, contribution: Expr) {
        self.full = Some(match self.full.take() {
            Some(sum) => sum + contribution,
            None => contribution,
        });
    }

    /// The sum. Where parts overlap, pieces are summed, so that many slices of one vector cost no more
    /// than their components.
    fn total(self, dim: usize) -> Expr {
        let Self { full, parts } = self;
        let mut cuts = vec![0, dim];
        cuts.extend(
            parts
                .iter()
                .flat_map(|(start, part)| [*start, start + part.dim()]),
        );
        cuts.sort_unstable();
        cuts.dedup();
        let piece = |ends: &[usize]| {
            let (low, len) = (ends[0], ends[1] - ends[0]);
            let covering = parts
                .iter()
                .filter(|(start, part)| (*start..start + part.dim()).contains(&low));
            let slices = covering.map(|(start, part)| part.slice(low - start, len));
            slices
                .reduce(|sum, slice| sum + slice)
                .unwrap_or_else(|| Expr::constant(0.0).expand(len))
        };
        match (full, parts.is_empty()) {
            (Some(full), true) => full,
            (full, _) => {
                let pieces = Expr::concat(cuts.windows(2).map(piece).collect());
                match full {
                    Some(full) => full + pieces,
                    None => pieces,
                }
            }
        }
    }
}

impl Expr {
    /// The differential $\sum_k u_k \, \partial f / \partial v_k$ of this expression $f$ with respect to
    /// the leaf `var` in the direction $u$ of its dimension; of the dimension of $f$.
    ///
    /// # Panics
    /// If the direction has another dimension than the leaf; callers check it.
    pub fn differential(&self, var: &Var, direction: &Expr) -> Expr {
        assert_eq!(
            var.dim,
            direction.dim(),
            "the direction has the dimension of the leaf"
        );
        // Nothing where an expression does not depend on the leaf.
        let mut tangents: HashMap<u128, Expr> = HashMap::new();
        for expr in self.topological() {
            let of = |arg: &Expr| tangents.get(&arg.digest()).cloned();
            let tangent = match expr.node() {
                Node::Var(v) if v == var => Some(direction.clone()),
                Node::Var(_) | Node::Place(_) | Node::Const(_) | Node::Iota(..) => None,
                Node::Scalar(op, args) => {
                    let partials = op.partials(args, &expr);
                    let terms = args.iter().zip(partials).filter_map(|(arg, partial)| {
                        let zero = partial.as_const() == Some(0.0);
                        let tangent = of(arg).filter(|_| !zero)?;
                        Some(chain(&tangent, &partial, expr.dim()))
                    });
                    terms.reduce(|sum, term| sum + term)
                }
                Node::InnerSum(arg) => of(arg).map(|tangent| tangent.inner_sum()),
                Node::InnerExtremum(extreme, arg) => {
                    of(arg).map(|tangent| tangent.dot(&first_of(arg, *extreme)))
                }
                Node::Expand(arg, dim) => of(arg).map(|tangent| tangent.expand(*dim)),
                Node::Slice(arg, start, len) => of(arg).map(|tangent| tangent.slice(*start, *len)),
                Node::Concat(parts) => {
                    let tangents: Vec<Option<Expr>> = parts.iter().map(of).collect();
                    tangents.iter().any(Option::is_some).then(|| {
                        let parts = parts.iter().zip(tangents);
                        let part = |(part, tangent): (&Expr, Option<Expr>)| {
                            tangent.unwrap_or_else(|| Expr::constant(0.0).expand(part.dim()))
                        };
                        Expr::concat(parts.map(part).collect())
                    })
                }
            };
            if let Some(tangent) = tangent {
                debug_assert_eq!(tangent.dim(), expr.dim());
                tangents.insert(expr.digest(), tangent);
            }
        }
        let differential = tangents.remove(&self.digest());
        differential.unwrap_or_else(|| Expr::constant(0.0).expand(self.dim()))
    }

    /// The divergence $\sum_k \partial f_k / \partial v_k$ of this expression with respect to the leaf
    /// `var` of its dimension.
    ///
    /// # Panics
    /// If the leaf has another dimension; callers check it.
    pub fn divergence(&self, var: &Var) -> Expr {
        assert_eq!(
            self.dim(),
            var.dim,
            "the leaf has the dimension of the field"
        );
        let one = Expr::constant(1.0);
        // Slices move to the leaves, so that little is left of a component.
        let component = |k: usize| self.slice(k, 1).simplify().gradient(var, &one).slice(k, 1);
        let terms = (0..self.dim()).map(|k| component(k).simplify());
        Expr::concat(terms.collect()).inner_sum()
    }
}

/// 1 at the first component that is the smallest or largest, else 0.
fn first_of(arg: &Expr, extreme: Extreme) -> Expr {
    arg.inner_position(extreme).one_hot(arg.dim())
}

/// The adjoint times a partial derivative, of dimension `dim`.
///
/// Constant factors go to the adjoint, which is often a scalar where the partial is a vector.
fn chain(adjoint: &Expr, partial: &Expr, dim: usize) -> Expr {
    if let Node::Expand(scalar, _) = adjoint.node() {
        if let Some(value) = partial.as_const() {
            return chain(scalar, &Expr::constant(value), 1).expand(dim);
        }
        if let Node::Scalar(ScalarOp::Mul, args) = partial.node()
            && let Some(value) = args[0].as_const()
        {
            let factor = chain(scalar, &Expr::constant(value), 1);
            return (factor * args[1].clone()).broadcast(dim);
        }
    }
    if let Node::Scalar(ScalarOp::Mul, args) = partial.node()
        && let Some(factor) = args[0].as_const().and_then(|value| scaled(adjoint, value))
    {
        return (factor * args[1].clone()).broadcast(dim);
    }
    match partial.as_const() {
        Some(1.0) => adjoint.broadcast(dim),
        Some(value) => match scaled(adjoint, value) {
            Some(product) => product.broadcast(dim),
            None if value == -1.0 => (-adjoint.clone()).broadcast(dim),
            None => (adjoint.clone() * value).broadcast(dim),
        },
        None => (adjoint.clone() * partial.clone()).broadcast(dim),
    }
}

/// `expr` times a power of two, which is exact, if a factor of it takes that in that is computed less than
/// once a pair.
fn scaled(expr: &Expr, by: f64) -> Option<Expr> {
    let power_of_two = by.is_normal() && by.to_bits().trailing_zeros() >= 52;
    if !power_of_two {
        return None;
    }
    let own = expr.dependence();
    let is_pair = own.i && own.j;
    match expr.node() {
        Node::Const(value) => Some(Expr::constant(value * by)),
        Node::Scalar(ScalarOp::Mul, args) => {
            let (a, b) = (&args[0], &args[1]);
            match (a.as_const(), b.as_const()) {
                (_, Some(_)) => scaled(b, by).map(|b| a.clone() * b),
                (Some(_), _) => scaled(a, by).map(|a| a * b.clone()),
                _ if !is_pair => Some(expr.clone() * by),
                _ => match scaled(a, by) {
                    Some(a) => Some(a * b.clone()),
                    None => scaled(b, by).map(|b| a.clone() * b),
                },
            }
        }
        Node::Expand(..) => None,
        _ => (!is_pair).then(|| expr.clone() * by),
    }
}

impl Expr {
    /// This value, repeated if its dimension is 1.
    fn broadcast(&self, dim: usize) -> Expr {
        if self.dim() == dim {
            self.clone()
        } else {
            self.expand(dim)
        }
    }
}
