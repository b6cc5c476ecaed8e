//! Which terms of a sum $\sum e^f w$ of weighted exponentials exist. $f$ is the score of a term, and $w$ its weight.
//!
//! A term of weight 0 does not exist, whatever its score is. Kernels multiply exponentials and weights, so the formula
//! that they reduce has to express this: a term that does not exist has a score that is less than all others, and a
//! weight of 0.

use super::{
    catalogue::ScalarOp,
    expr::{Axis, Expr, Node},
};

/// The score of terms that do not exist: relative to any other score, its exponential is 0. It is finite, as WGSL has
/// no infinite constants.
const LEAST: f64 = f32::MIN as f64;

/// The formula of $f$ and $w$ in which $f$ is `LEAST` where $w$ is 0, and the number of components of $f$ in it.
///
/// Each component of the result has its own maximum, as it has its own terms. `None` if $w$ is a constant other than 0.
pub fn without_zero_weights(root: &Expr, scores: usize) -> Option<(Expr, usize)> {
    let weights = root.dim() - scores;
    let score = root.slice(0, scores).simplify();
    let weight = root.slice(scores, weights).simplify();
    if weight.as_const().is_some_and(|weight| weight != 0.0) {
        return None;
    }
    let zero = Expr::constant(0.0);
    let hidden = Expr::scalar(ScalarOp::Equal, vec![weight.clone(), zero]);
    let score = Expr::scalar(
        ScalarOp::MaskWhere,
        vec![score, hidden, Expr::constant(LEAST)],
    );
    let scores = score.dim();
    Some((Expr::concat(vec![score, weight]), scores))
}

/// The formula of $f$ and $w$ in which $w$ is 0 where a mask within $f$ makes the score $-\infty$.
///
/// Without that, an infinite or NaN $w$ times an exponential that is 0 would be NaN. The masks are applied to weights
/// once a column if they depend on nothing but columns, else once a pair. `None` if $f$ has no masks.
pub fn without_hidden_weights(root: &Expr, scores: usize, axis: Axis) -> Option<Expr> {
    let score = root.slice(0, scores).simplify();
    let weight = root.slice(scores, root.dim() - scores);
    let masks = masks(&score);
    if masks.is_empty() {
        return None;
    }
    let infinite =
        |value: &Expr| Expr::scalar(ScalarOp::Less, vec![value.clone(), Expr::constant(LEAST)]);
    let of_columns = |expr: &Expr| !expr.dependence().on(axis.other());
    let hidden = match masks
        .iter()
        .all(|(mask, other)| of_columns(mask) && of_columns(other))
    {
        true => {
            let hide = |(mask, other): (Expr, Expr)| {
                let nothing = Expr::constant(0.0);
                Expr::scalar(ScalarOp::MaskWhere, vec![nothing, mask, infinite(&other)])
            };
            Expr::sum(masks.into_iter().map(hide))
        }
        false => infinite(&score),
    };
    Some(Expr::concat(vec![score, weight.zero_where(&hidden)]))
}

/// The masks within `expr`, each with the value that is taken where the mask is not 0. There, `expr` is this value up
/// to finite summands.
fn masks(expr: &Expr) -> Vec<(Expr, Expr)> {
    match expr.node() {
        Node::Scalar(ScalarOp::MaskWhere, args) => {
            let mut all = masks(&args[0]);
            all.push((args[1].clone(), args[2].clone()));
            all
        }
        Node::Scalar(ScalarOp::IfElse, args) => {
            let zero = Expr::constant(0.0);
            let held = Expr::scalar(ScalarOp::GreaterEqual, vec![args[0].clone(), zero.clone()]);
            let failed = Expr::scalar(ScalarOp::Equal, vec![held.clone(), zero]);
            vec![(held, args[1].clone()), (failed, args[2].clone())]
        }
        Node::Scalar(ScalarOp::Add, args) => args.iter().flat_map(masks).collect(),
        Node::Scalar(ScalarOp::Sub, args) => masks(&args[0]),
        _ => vec![],
    }
}
