//! Symbolic differentiation in reverse mode.
//!
//! The derivative of an expression is again an expression, so derivatives of any order exist, and
//! the derivative of a reduction is another reduction. The rules of scalar functions stand in the
//! [catalogue](crate::catalogue); here are those of the nodes that change the inner dimension.

use std::collections::{HashMap, HashSet};

use crate::expr::{Expr, Node, Var};

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
        let mut adjoints: HashMap<u128, Expr> = HashMap::new();
        adjoints.insert(self.digest(), cotangent.clone());
        for expr in order.iter().rev() {
            if !depends.contains(&expr.digest()) {
                continue;
            }
            let Some(adjoint) = adjoints.get(&expr.digest()).cloned() else {
                continue;
            };
            let mut add = |arg: &Expr, contribution: Expr| {
                debug_assert_eq!(arg.dim(), contribution.dim());
                let sum = match adjoints.remove(&arg.digest()) {
                    Some(sum) => sum + contribution,
                    None => contribution,
                };
                adjoints.insert(arg.digest(), sum);
            };
            let active = |arg: &Expr| depends.contains(&arg.digest());
            match expr.node() {
                Node::Var(_) | Node::Place(_) | Node::Const(_) => {}
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
                Node::Expand(arg, _) => add(arg, adjoint.inner_sum()),
                Node::Slice(arg, start, len) => {
                    let zeros = |len: usize| (len > 0).then(|| Expr::constant(0.0).expand(len));
                    let rest = arg.dim() - start - len;
                    let parts = [zeros(*start), Some(adjoint), zeros(rest)];
                    add(arg, Expr::concat(parts.into_iter().flatten().collect()));
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
        let gradient = adjoints.remove(&Expr::var(*var).digest());
        gradient.unwrap_or_else(|| Expr::constant(0.0).expand(var.dim))
    }
}

/// The adjoint times a partial derivative, of dimension `dim`.
///
/// Constant factors go to the adjoint, which is often a scalar where the partial is a vector.
fn chain(adjoint: &Expr, partial: &Expr, dim: usize) -> Expr {
    use crate::catalogue::ScalarOp;

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
    match partial.as_const() {
        Some(1.0) => adjoint.broadcast(dim),
        Some(-1.0) => (-adjoint.clone()).broadcast(dim),
        _ => (adjoint.clone() * partial.clone()).broadcast(dim),
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
