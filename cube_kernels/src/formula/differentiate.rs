//! Symbolic differentiation, in reverse and in forward mode.
//!
//! The derivative of an expression is again an expression, so derivatives of any order exist, and
//! the derivative of a reduction is another reduction. The rules of scalar functions are in the
//! [catalogue](crate::formula::catalogue); here are those of the nodes that change the inner dimension.
//!
//! What does not count in the value does not count in the derivative, even if it is infinite or NaN. Two rules ensure
//! this:
//!
//! - The condition of a mask is passed on with the [cotangent](Cotangent) of the expression that the mask may hide. It
//!   is applied at the leaf, where it selects whether the contribution counts. Until then the contribution may be NaN.
//! - A derivative that may be infinite is multiplied by [`StrongMul`](ScalarOp::StrongMul), so that a cotangent
//!   of zero stays zero.

use std::collections::{HashMap, HashSet};

use super::{
    catalogue::{Partial, ScalarOp},
    expr::{Expr, Extreme, Node, Var},
};

/// The factor that the derivative of an expression is multiplied with in a gradient, and where it counts.
#[derive(Clone, Debug)]
pub struct Cotangent {
    /// The factor, of the dimension of the expression.
    value: Expr,
    /// Masks, of this dimension or of dimension 1: where any of them is not 0, the expression does not count, and the
    /// factor may be anything.
    masks: Vec<Expr>,
}

impl From<Expr> for Cotangent {
    fn from(value: Expr) -> Self {
        let masks = Vec::new();
        Self { value, masks }
    }
}

impl Cotangent {
    /// The same cotangent, which counts only where `mask`, of this dimension or of dimension 1, is 0.
    pub fn unless(mut self, mask: Expr) -> Self {
        if !self.masks.contains(&mask) {
            self.masks.push(mask);
        }
        self
    }

    /// A cotangent with another factor, which counts where this one does.
    fn with(&self, value: Expr) -> Self {
        let masks = self.masks.clone();
        Self { value, masks }
    }

    /// The factor where it counts, else 0.
    fn selected(&self) -> Expr {
        match any(&self.masks) {
            Some(mask) => self.value.zero_where(&mask),
            None => self.value.clone(),
        }
    }

    /// Components `start .. start + len`.
    fn slice(&self, start: usize, len: usize) -> Self {
        let masks = self.masks.iter().map(|mask| match mask.dim() {
            1 => mask.clone(),
            _ => mask.slice(start, len),
        });
        Self {
            masks: masks.collect(),
            value: self.value.slice(start, len),
        }
    }

    /// The sum of the components, for an expression of dimension 1 that was repeated.
    fn inner_sum(&self) -> Self {
        let (shared, own): (Vec<Expr>, Vec<Expr>) =
            self.masks.iter().cloned().partition(|mask| mask.dim() == 1);
        let sum = |value: Expr| Self {
            value: value.inner_sum(),
            masks: shared.clone(),
        };
        match any(&own) {
            None => sum(self.value.clone()),
            Some(mask) => {
                let hidden =
                    Expr::scalar(ScalarOp::NotEqual, vec![mask.clone(), Expr::constant(0.0)]);
                sum(self.value.zero_where(&mask)).unless(hidden.inner_extremum(Extreme::Minimum))
            }
        }
    }

    /// The sum of several contributions, or `None` if there are none.
    fn sum(all: Vec<Cotangent>) -> Option<Cotangent> {
        let first = all.first()?;
        let shared = |mask: &&Expr| all.iter().all(|other| other.masks.contains(mask));
        let shared: Vec<Expr> = first.masks.iter().filter(shared).cloned().collect();
        let own: Vec<Cotangent> = all
            .iter()
            .map(|one| Self {
                value: one.value.clone(),
                masks: one
                    .masks
                    .iter()
                    .filter(|mask| !shared.contains(mask))
                    .cloned()
                    .collect(),
            })
            .collect();
        let value = own
            .iter()
            .map(Self::selected)
            .reduce(|sum, one| sum + one)?;
        let mut sum = Self {
            value,
            masks: shared,
        };
        // Where every contribution is hidden by a mask of its own, the sum does not count.
        let hidden: Option<Vec<Expr>> = own.iter().map(|one| any(&one.masks)).collect();
        if let Some(hidden) = hidden {
            sum.masks.extend(hidden.into_iter().reduce(|all, one| {
                Expr::scalar(ScalarOp::MaskWhere, vec![Expr::constant(0.0), all, one])
            }));
        }
        Some(sum)
    }

    /// The cotangents of consecutive pieces of an expression, joined. A piece without a cotangent contributes nothing.
    fn concat(pieces: Vec<(usize, Option<Cotangent>)>) -> Self {
        let present = || pieces.iter().filter_map(|(_, piece)| piece.as_ref());
        let shared =
            |mask: &&Expr| mask.dim() == 1 && present().all(|other| other.masks.contains(mask));
        let first = present().next();
        let shared: Vec<Expr> = first.map_or(vec![], |first| {
            first.masks.iter().filter(shared).cloned().collect()
        });
        let is_own = |mask: &&Expr| !shared.contains(mask);
        let own = |piece: &Cotangent| {
            any(&piece
                .masks
                .iter()
                .filter(is_own)
                .cloned()
                .collect::<Vec<_>>())
        };
        let value = Expr::concat(
            pieces
                .iter()
                .map(|(len, piece)| match piece {
                    Some(piece) => piece.value.clone(),
                    None => Expr::constant(0.0).expand(*len),
                })
                .collect(),
        );
        let concat = Self {
            value,
            masks: shared.clone(),
        };
        if present().all(|piece| own(piece).is_none()) {
            return concat;
        }
        let mask = |(len, piece): &(usize, Option<Cotangent>)| {
            let mask = match piece {
                Some(piece) => own(piece).unwrap_or_else(|| Expr::constant(0.0)),
                None => Expr::constant(1.0),
            };
            mask.broadcast(*len)
        };
        concat.unless(Expr::concat(pieces.iter().map(mask).collect()))
    }
}

/// A mask that is not 0 where any of `masks` is not 0; `None` if there are no masks.
fn any(masks: &[Expr]) -> Option<Expr> {
    masks
        .iter()
        .cloned()
        .reduce(|all, mask| Expr::scalar(ScalarOp::MaskWhere, vec![all, mask, Expr::constant(1.0)]))
}

impl Expr {
    /// The gradient $\sum_k e_k \, \partial f_k / \partial v$ of this expression $f$ with respect to
    /// the leaf `var`, of its dimension, for a cotangent $e$ of the dimension of $f$.
    ///
    /// # Panics
    /// If the cotangent has another dimension; callers check it.
    pub fn gradient(&self, var: &Var, cotangent: &Expr) -> Expr {
        self.pullback(var, cotangent.clone().into())
    }

    /// The [gradient](Self::gradient) for a cotangent that counts only where its masks are 0.
    ///
    /// # Panics
    /// If the cotangent has another dimension; callers check it.
    pub fn pullback(&self, var: &Var, cotangent: Cotangent) -> Expr {
        assert_eq!(
            self.dim(),
            cotangent.value.dim(),
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
            .full
            .push(cotangent);
        for expr in order.iter().rev() {
            if !depends.contains(&expr.digest()) {
                continue;
            }
            let Some(adjoint) = adjoints.remove(&expr.digest()) else {
                continue;
            };
            let adjoint = adjoint.total(expr.dim());
            if matches!(expr.node(), Node::Var(v) if v == var) {
                return adjoint.selected();
            }
            let mut add = |arg: &Expr, contribution: Cotangent| {
                debug_assert_eq!(arg.dim(), contribution.value.dim());
                let full = &mut adjoints.entry(arg.digest()).or_default().full;
                full.push(contribution);
            };
            let active = |arg: &Expr| depends.contains(&arg.digest());
            match expr.node() {
                Node::Var(_) | Node::Place(_) | Node::Const(_) | Node::Iota(..) => {}
                Node::Scalar(op, args) => {
                    for (arg, partial) in args.iter().zip(op.partials(args, expr)) {
                        if !active(arg) {
                            continue;
                        }
                        let full = match partial {
                            Partial::Factor(factor) if factor.as_const() == Some(0.0) => continue,
                            Partial::Factor(factor) => {
                                adjoint.with(chain(&adjoint.value, &factor, expr.dim()))
                            }
                            Partial::Unless(mask) => match mask.as_const() {
                                Some(0.0) => adjoint.clone(),
                                Some(_) => continue,
                                None => adjoint.clone().unless(mask),
                            },
                        };
                        match arg.dim() {
                            1 => add(arg, full.inner_sum()),
                            _ => add(arg, full),
                        }
                    }
                }
                Node::InnerSum(arg) => add(arg, adjoint.with(adjoint.value.expand(arg.dim()))),
                Node::InnerExtremum(extreme, arg) => {
                    let value = adjoint.value.clone() * first_of(arg, *extreme);
                    add(arg, adjoint.with(value));
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

/// The contributions to an adjoint found so far: `full` to all components, `parts` to some from a first one on.
#[derive(Default)]
struct Adjoint {
    full: Vec<Cotangent>,
    parts: Vec<(usize, Cotangent)>,
}

impl Adjoint {
    /// The sum of all contributions. Overlapping parts are cut into pieces, which are summed one by one, so
    /// that many slices of one vector cost no more than their components.
    fn total(self, dim: usize) -> Cotangent {
        let Self { mut full, parts } = self;
        let end = |(start, part): &(usize, Cotangent)| start + part.value.dim();
        if !parts.is_empty() {
            let mut cuts = vec![0, dim];
            cuts.extend(parts.iter().flat_map(|part| [part.0, end(part)]));
            cuts.sort_unstable();
            cuts.dedup();
            let piece = |ends: &[usize]| {
                let (low, len) = (ends[0], ends[1] - ends[0]);
                let covering = parts
                    .iter()
                    .filter(|part| (part.0..end(part)).contains(&low));
                let slices = covering.map(|(start, part)| part.slice(low - start, len));
                (len, Cotangent::sum(slices.collect()))
            };
            let pieces = Cotangent::concat(cuts.windows(2).map(piece).collect());
            full = Cotangent::sum(full).into_iter().chain([pieces]).collect();
        }
        Cotangent::sum(full).expect("something has been found")
    }
}

impl Expr {
    /// The differential $\sum_k u_k \, \partial f / \partial v_k$ of this expression $f$ with respect to
    /// the leaf `var` in the direction $u$, which has the dimension of the leaf. The result has that of $f$.
    ///
    /// # Panics
    /// If the direction has another dimension than the leaf; callers check it.
    pub fn differential(&self, var: &Var, direction: &Expr) -> Expr {
        assert_eq!(
            var.dim,
            direction.dim(),
            "the direction has the dimension of the leaf"
        );
        // There is no tangent of expressions that do not depend on the leaf.
        let mut tangents: HashMap<u128, Expr> = HashMap::new();
        for expr in self.topological() {
            let of = |arg: &Expr| tangents.get(&arg.digest()).cloned();
            let tangent = match expr.node() {
                Node::Var(v) if v == var => Some(direction.clone()),
                Node::Var(_) | Node::Place(_) | Node::Const(_) | Node::Iota(..) => None,
                Node::Scalar(op, args) => {
                    let partials = op.partials(args, expr);
                    let terms = args.iter().zip(partials).filter_map(|(arg, partial)| {
                        let tangent = of(arg)?;
                        match partial {
                            Partial::Factor(factor) if factor.as_const() == Some(0.0) => None,
                            Partial::Factor(factor) => Some(chain(&tangent, &factor, expr.dim())),
                            Partial::Unless(mask) => match mask.as_const() {
                                Some(0.0) => Some(tangent.broadcast(expr.dim())),
                                Some(_) => None,
                                None => {
                                    let tangent = tangent.zero_where(&mask);
                                    Some(tangent.broadcast(expr.dim()))
                                }
                            },
                        }
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
    /// `var`, which has the same dimension.
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
        // Simplification moves slices to the leaves, so that little of the graph is left for one component.
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
            return times(factor, &args[1]).broadcast(dim);
        }
    }
    if let Node::Scalar(ScalarOp::Mul, args) = partial.node()
        && let Some(factor) = args[0].as_const().and_then(|value| scaled(adjoint, value))
    {
        return times(factor, &args[1]).broadcast(dim);
    }
    match partial.as_const() {
        Some(1.0) => adjoint.broadcast(dim),
        Some(value) => match scaled(adjoint, value) {
            Some(product) => product.broadcast(dim),
            None if value == -1.0 => (-adjoint.clone()).broadcast(dim),
            None => (adjoint.clone() * value).broadcast(dim),
        },
        None => times(adjoint.clone(), partial).broadcast(dim),
    }
}

/// The product of a cotangent, or of a tangent, and a derivative. It is 0 where the cotangent or tangent is 0, even if
/// the derivative is infinite there.
fn times(adjoint: Expr, partial: &Expr) -> Expr {
    let nonzero = adjoint.as_const().is_some_and(|value| value != 0.0);
    let is_plain = nonzero || partial.is_finite();
    if decays(partial, DEPTH) {
        flushed(adjoint, partial.clone(), is_plain)
    } else if is_plain {
        adjoint * partial.clone()
    } else {
        Expr::scalar(ScalarOp::StrongMul, vec![adjoint, partial.clone()])
    }
}

/// The number of nested products in which [`decays`] looks for a function.
const DEPTH: usize = 4;

/// Whether the value is a function that falls to 0 within a few units of its argument, or a product with one.
fn decays(expr: &Expr, depth: usize) -> bool {
    let any = |args: &[Expr]| depth > 0 && args.iter().any(|arg| decays(arg, depth - 1));
    match expr.node() {
        Node::Scalar(op, args) => match op {
            ScalarOp::Exp
            | ScalarOp::Exp2
            | ScalarOp::Matern(_)
            | ScalarOp::Erfc
            | ScalarOp::Sigmoid => true,
            ScalarOp::Neg
            | ScalarOp::Rounded
            | ScalarOp::Square
            | ScalarOp::Mul
            | ScalarOp::StrongMul
            | ScalarOp::FlushedMul
            | ScalarOp::StrongFlushedMul => any(args),
            _ => false,
        },
        Node::Expand(arg, _) => decays(arg, depth),
        _ => false,
    }
}

/// The product of a cotangent and a value that is often close to 0. If the value may be infinite, the product is not
/// `plain`: it is 0 where the cotangent is 0.
pub(crate) fn flushed(adjoint: Expr, value: Expr, plain: bool) -> Expr {
    let op = match plain {
        true => ScalarOp::FlushedMul,
        false => ScalarOp::StrongFlushedMul,
    };
    Expr::scalar(op, vec![adjoint, value])
}

/// `expr` times `by`, multiplied into a factor of `expr` that is computed less often than once a pair. `None` if
/// there is no such factor, or if `by` is not a power of two, with which the product is exact.
fn scaled(expr: &Expr, by: f64) -> Option<Expr> {
    let power_of_two = by.is_normal() && by.to_bits().trailing_zeros() >= 52;
    if !power_of_two {
        return None;
    }
    let own = expr.dependence();
    let is_pair = own.i && own.j;
    match expr.node() {
        Node::Const(value) => Some(Expr::constant(value * by)),
        Node::Scalar(
            op @ (ScalarOp::Mul | ScalarOp::FlushedMul | ScalarOp::StrongFlushedMul),
            args,
        ) => {
            let (a, b) = (&args[0], &args[1]);
            let product = |a: Expr, b: Expr| match op {
                ScalarOp::Mul => a * b,
                _ => Expr::scalar(*op, vec![a, b]),
            };
            match (a.as_const(), b.as_const()) {
                (_, Some(_)) => scaled(b, by).map(|b| product(a.clone(), b)),
                (Some(_), _) => scaled(a, by).map(|a| product(a, b.clone())),
                _ if !is_pair => Some(expr.clone() * by),
                _ => match scaled(a, by) {
                    Some(a) => Some(product(a, b.clone())),
                    None => scaled(b, by).map(|b| product(a.clone(), b)),
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
