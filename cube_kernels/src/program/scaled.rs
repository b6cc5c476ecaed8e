//! Exponentials of squared distances whose coordinates are scaled before they are subtracted.

use super::{Program, UNROLL, lower::listing};
use crate::formula::{
    Formula,
    catalogue::ScalarOp,
    expr::{Axis, Expr, Node},
};

/// The lowered form of a formula that takes each $\exp \sum_k c_k (x_k - y_k)^2$, where $c_k < 0$ is the same
/// for all pairs, as $2^{-\sum_k (s_k x_k - s_k y_k)^2}$ with $s_k = \sqrt{-c_k \log_2 e}$: the products with
/// $s_k$ are computed once a row and once a column, and nothing is left to multiply in a pair.
///
/// Rounding $s x$ and $s y$ changes the exponent by up to $2 |s x - s y| \, (|s x| + |s y|) \, u$ with the unit
/// roundoff $u = 2^{-24}$, and the exponential by no more than $0.72 \, (|s x| + |s y|) \, u$, as $2 t 2^{-t^2}
/// \ln 2$ is at most 0.72. Within [`REACH`] of 0 that is below 7e-7 of the largest value of the exponential, 1.
/// Points beyond it are computed by the original formula, which loses no digits however far they are from 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scaled {
    /// Computes the formula.
    pub program: Program,
    /// Computes the squared distances of the scaled points from 0, in its computed slots of rows and columns.
    /// None of them may be above [`REACH`] squared where `program` is used.
    pub reach: Program,
}

/// The largest $|s x|$ and $|s y|$ for which the scaled form is used.
pub const REACH: f64 = 8.0;

impl Scaled {
    /// Lowers `formula` in its scaled form. `None` if it has no such form, or a pair takes no less than `work`, the
    /// instructions of the original form.
    pub(super) fn new(formula: &Formula, reduced: Axis, work: usize) -> Option<Self> {
        let mut norms: Vec<Expr> = Vec::new();
        let root = formula
            .root()
            .rewrite(|expr, args| match Exponent::new(expr) {
                Some(exponent) => {
                    norms.extend(exponent.norms());
                    exponent.exponential()
                }
                None => expr.with_args(args),
            });
        if norms.is_empty() {
            return None;
        }
        let lower = |root: &Expr| Program::new(listing(formula, root, reduced));
        let program = lower(&root);
        (program.pair_work() < work).then(|| Self {
            reach: lower(&Expr::concat(norms)),
            program,
        })
    }
}

/// The argument $\sum_k c_k \lambda_k^2 (a_k - b_k)^2$ of an exponential, or one such term for each component if it is
/// not `summed`.
struct Exponent {
    /// The scaled points, with components $s_k a_k$ and $s_k b_k$.
    points: [Expr; 2],
    /// $s_k = \lambda_k \sqrt{-c_k \log_2 e}$, NaN where $c_k$ is positive.
    scale: Expr,
    summed: bool,
}

impl Exponent {
    /// The exponent of `expr`, if `expr` is an exponential with such an argument.
    fn new(expr: &Expr) -> Option<Self> {
        let Node::Scalar(ScalarOp::Exp, args) = expr.node() else {
            return None;
        };
        Self::read(&args[0], Expr::constant(1.0), false)
    }

    /// The product of `coefficient` and `expr`, if it is such an exponent.
    fn read(expr: &Expr, coefficient: Expr, summed: bool) -> Option<Self> {
        match expr.node() {
            // A coefficient with several components multiplies several copies of the sum, not its terms.
            Node::InnerSum(arg) if !summed && coefficient.dim() == 1 => {
                Self::read(arg, coefficient, true)
            }
            Node::Scalar(ScalarOp::Neg, args) => Self::read(&args[0], -coefficient, summed),
            Node::Scalar(ScalarOp::Square, args) => {
                let coefficient = coefficient.simplify();
                if coefficient.as_const().is_some_and(|c| c >= 0.0) {
                    return None;
                }
                let (length, points) = difference(&args[0], Expr::constant(1.0))?;
                let root = (-coefficient * std::f64::consts::LOG2_E).sqrt();
                let scale = (root * length).simplify();
                let points = points.map(|point| point * scale.clone());
                (points[0].dim() <= UNROLL).then_some(Self {
                    points,
                    scale,
                    summed,
                })
            }
            _ => {
                let (factor, rest) = factor(expr)?;
                Self::read(&rest, coefficient * factor, summed)
            }
        }
    }

    /// $\exp(-\ln 2 \sum_k (s_k a_k - s_k b_k)^2)$.
    fn exponential(&self) -> Expr {
        let [a, b] = self.points.clone();
        let negated = -(a - b).square();
        let power = match self.summed {
            true => negated.inner_sum(),
            false => negated,
        };
        (power * std::f64::consts::LN_2).exp()
    }

    /// $\sum_k (s_k a_k)^2$ and the same for $b$. Where a scale is so small that it may have lost digits, both are
    /// far above [`REACH`] squared.
    fn norms(&self) -> [Expr; 2] {
        /// $2^{-110}$: scales below about this value are too small.
        const SMALL: f64 = 7.703719777548943e-34;
        let small = Expr::constant(SMALL) / self.scale.abs();
        let norm = |point: &Expr| (point.square() + small.clone()).inner_sum();
        [norm(&self.points[0]), norm(&self.points[1])]
    }
}

/// The factor $\lambda$ times `scale`, and the points $a$ and $b$, if `expr` is $\pm \lambda (a - b)$ with one point
/// of rows and one of columns. The sign is dropped, as the difference is squared.
fn difference(expr: &Expr, scale: Expr) -> Option<(Expr, [Expr; 2])> {
    match expr.node() {
        Node::Scalar(ScalarOp::Sub, args) => {
            let on = |expr: &Expr| [Axis::I, Axis::J].map(|axis| expr.dependence().on(axis));
            let apart = matches!(
                [on(&args[0]), on(&args[1])],
                [[true, false], [false, true]] | [[false, true], [true, false]]
            );
            apart.then(|| (scale, [args[0].clone(), args[1].clone()]))
        }
        Node::Scalar(ScalarOp::Neg, args) => difference(&args[0], scale),
        _ => {
            let (factor, rest) = factor(expr)?;
            difference(&rest, scale * factor)
        }
    }
}

/// A factor of `expr` that is the same for all pairs, and the other factor.
fn factor(expr: &Expr) -> Option<(Expr, Expr)> {
    let uniform = |expr: &Expr| {
        ![Axis::I, Axis::J]
            .map(|axis| expr.dependence().on(axis))
            .contains(&true)
    };
    let Node::Scalar(op, args) = expr.node() else {
        return None;
    };
    match op {
        ScalarOp::Mul if uniform(&args[0]) => Some((args[0].clone(), args[1].clone())),
        ScalarOp::Mul if uniform(&args[1]) => Some((args[1].clone(), args[0].clone())),
        ScalarOp::Div if uniform(&args[1]) => Some((args[1].recip(), args[0].clone())),
        _ => None,
    }
}
