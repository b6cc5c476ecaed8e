//! Bounds of whole expressions.

use rustc_hash::FxHashMap;

use super::{Interval, Rounding};
use crate::{
    formula::{
        catalogue::{ScalarOp, Sign},
        expr::{Expr, Node, Place, Var},
    },
    math::Precision,
};

/// A leaf of a formula, whose interval is needed for that of the formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leaf {
    /// An operand.
    Var(Var),
    /// The position of the pair in the matrix.
    Place(Place),
}

impl Expr {
    /// Expressions of the smallest and the largest value, given those of each leaf, where values and bounds are
    /// computed in `precision`.
    ///
    /// `leaf` gives the interval of a leaf and is called once for each. Both sides of the interval have the dimension
    /// of the leaf, or 1. They may have operands of their own, and are NaN if nothing is known. The result has the
    /// dimension of this expression. It is not simplified, but [`Formula::new`](crate::Formula::new) does that.
    pub fn bounds(&self, precision: Precision, mut leaf: impl FnMut(Leaf) -> Interval) -> Interval {
        let rounding = Rounding::from(precision);
        let mut done: FxHashMap<u128, Interval> = Default::default();
        for expr in self.topological() {
            let of = |arg: &Expr| done[&arg.digest()].clone();
            let interval = match expr.node() {
                Node::Var(var) => leaf(Leaf::Var(*var)),
                Node::Place(place) => leaf(Leaf::Place(*place)),
                Node::Const(_) | Node::Iota(..) => Interval::point(expr),
                // The product of a value with itself is never negative.
                Node::Scalar(ScalarOp::Mul, args) if args[0] == args[1] => {
                    rounding.square(&of(&args[0]))
                }
                Node::Scalar(op, args) => {
                    let args: Vec<Interval> = args.iter().map(of).collect();
                    op.bounds(&args, rounding).with_sign(expr.known_sign())
                }
                Node::InnerSum(arg) => rounding
                    .inner_sum(&of(arg), arg.dim())
                    .with_sign(expr.known_sign()),
                Node::InnerExtremum(extreme, arg) => {
                    of(arg).map(|side| side.inner_extremum(*extreme))
                }
                Node::Slice(arg, start, len) => of(arg).map(|side| side.slice(*start, *len)),
                Node::Concat(parts) => {
                    let parts: Vec<Interval> = parts.iter().map(of).collect();
                    let side = |side: fn(&Interval) -> &Expr| {
                        Expr::concat(parts.iter().map(|part| side(part).clone()).collect())
                    };
                    Interval::new(side(|part| &part.low), side(|part| &part.high))
                }
                Node::Expand(arg, _) => of(arg),
            };
            let interval = interval.map(|side| side.expand(expr.dim()));
            done.insert(expr.digest(), interval);
        }
        done.remove(&self.digest())
            .expect("the root is visited last")
    }
}

impl Interval {
    /// The part of the interval that has the sign that is known of all values.
    fn with_sign(&self, sign: Sign) -> Self {
        match sign {
            Sign::Unknown => self.clone(),
            Sign::NonNegative => self.at_least(0.0),
            Sign::NonPositive => self.at_most(0.0),
        }
    }
}

impl Rounding {
    /// Sums of `len` components. The result of an addition never decreases when a term grows, so that the effect of
    /// order and fusing on a side is an error of the sum of this side.
    fn inner_sum(self, terms: &Interval, len: usize) -> Interval {
        let terms = terms.map(|side| side.expand(len));
        let by = 2.0 * len as f64 * self.unit;
        let sums = terms.map(Expr::inner_sum);
        let sizes = terms.map(|side| match side.known_sign() {
            Sign::NonNegative => side.inner_sum(),
            Sign::NonPositive => -side.inner_sum(),
            Sign::Unknown => side.abs().inner_sum(),
        });
        // A sum of zeros is 0.
        let errors = sizes.map(|size| {
            let tiny = len as f64 * self.tiny * size.is(ScalarOp::NotEqual, 0.0);
            size.clone() * by + tiny
        });
        self.wider_by(&sums, 0.0, errors).unknown_if_any()
    }
}
