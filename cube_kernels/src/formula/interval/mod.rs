//! Intervals of values as expressions, and how wide rounding makes them.
//!
//! The bounds of a formula are formulas themselves. Their operands are the smallest and the largest values that the
//! operands of the formula have in a block of rows and in a block of columns. The bounds enclose every value that is
//! *computed* for a pair of these blocks, however it is computed: with fused operations or not, with sums in any
//! order, with any implementation of the exponential. So each rule of an operation that rounds widens its interval by
//! the documented errors.
//!
//! Four things hold for every [`Interval`]:
//!
//! - **Unknown values are NaN on both sides.** A value that may be NaN has an unknown interval. So has a value that may
//!   be anything from $-\infty$ to $\infty$, as no information is lost by that. Arithmetic passes NaN on. A rule that
//!   may make only one side NaN calls `Interval::unknown_if_any`.
//! - **Infinite sides say that values may be infinite.** Infinities of both signs may meet in a sum, and infinity may
//!   meet zero in a product, which gives NaN. If the sides of the result are not NaN then, they are $-\infty$ and
//!   $\infty$.
//! - **Zeros stay exact.** A product with zero, a sum of zeros and an exponential of a very negative number have the
//!   interval $[0, 0]$. A sum can leave out a block of pairs that has this interval.
//! - **No constant is infinite or NaN**, as WGSL has no such constants.

mod bounds;
mod functions;
mod pairs;
mod special;

use super::{
    catalogue::{ScalarOp, Sign},
    expr::{Expr, Node},
};
use crate::math::Precision;

pub use bounds::Leaf;

/// Expressions for the smallest and the largest value that an expression may have.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// No value is less; NaN if nothing is known.
    pub low: Expr,
    /// No value is larger; NaN if nothing is known.
    pub high: Expr,
}

/// How the values that bounds enclose are rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounding {
    /// The distance from 1 to the next number.
    unit: f64,
    /// The smallest normal number. Smaller ones may become 0.
    tiny: f64,
    /// The largest finite number.
    largest: f64,
    /// The exponential of any smaller number is 0, in every implementation.
    least_exponent: f64,
    /// The exponential of any larger number may be infinite.
    most_exponent: f64,
}

impl From<Precision> for Rounding {
    fn from(precision: Precision) -> Self {
        match precision.computed() {
            Precision::F64 => Self {
                unit: f64::EPSILON,
                tiny: f64::MIN_POSITIVE,
                largest: f64::MAX,
                least_exponent: -746.0,
                most_exponent: 708.0,
            },
            _ => Self {
                unit: f32::EPSILON.into(),
                tiny: f32::MIN_POSITIVE.into(),
                largest: f32::MAX.into(),
                least_exponent: -104.0,
                most_exponent: 88.0,
            },
        }
    }
}

fn constant(value: f64) -> Expr {
    Expr::constant(value)
}

/// 1 where all masks are 1, else 0.
fn all<const N: usize>(masks: [Expr; N]) -> Expr {
    let all = masks.into_iter().reduce(|all, mask| all * mask);
    all.expect("there are masks")
}

/// Not 0 where any mask is not 0.
fn any<const N: usize>(masks: [Expr; N]) -> Expr {
    let any = masks.into_iter().reduce(|any, mask| any + mask);
    any.expect("there are masks")
}

impl Expr {
    fn is(&self, op: ScalarOp, value: f64) -> Expr {
        self.compare(op, &constant(value))
    }

    /// This value where `mask` is 0, else `other`.
    fn unless(&self, mask: &Expr, other: &Expr) -> Expr {
        let args = vec![self.clone(), mask.clone(), other.clone()];
        Expr::scalar(ScalarOp::MaskWhere, args)
    }

    /// 1 where this is NaN, or where its absolute value is more than the largest number in F32.
    ///
    /// It is not tested by a product with 0, as compilers of shaders replace such a product by 0.
    fn is_not_finite(&self) -> Expr {
        self.abs()
            .is(ScalarOp::LessEqual, f32::MAX.into())
            .is(ScalarOp::Equal, 0.0)
    }

    /// 1 where this is NaN.
    fn is_nan(&self) -> Expr {
        self.compare(ScalarOp::NotEqual, self)
    }
}

impl From<[Expr; 2]> for Interval {
    fn from([low, high]: [Expr; 2]) -> Self {
        Self { low, high }
    }
}

impl Interval {
    /// The interval from one value to another.
    pub fn new(low: Expr, high: Expr) -> Self {
        Self { low, high }
    }

    /// The interval of a single value.
    pub fn point(value: &Expr) -> Self {
        Self::new(value.clone(), value.clone())
    }

    /// The interval from one constant to another.
    fn constants(low: f64, high: f64) -> Self {
        Self::new(constant(low), constant(high))
    }

    /// Whether the sides are the same expression.
    fn is_point(&self) -> bool {
        self.low == self.high
    }

    /// The constant that is the only value, if there is one.
    fn as_const(&self) -> Option<f64> {
        self.low.as_const().filter(|_| self.is_point())
    }

    /// Infinity, made without an infinite constant: as the reciprocal of `side < side`, which is 0.
    fn infinity(&self) -> Expr {
        let side = match self.low.as_const() {
            Some(_) => &self.high,
            None => &self.low,
        };
        side.compare(ScalarOp::Less, side).recip()
    }

    /// From $-\infty$ to $\infty$.
    fn whole_line(&self) -> Self {
        let infinity = self.infinity();
        Self::new(-infinity.clone(), infinity)
    }

    /// The interval whose sides `f` makes of the two sides.
    pub(crate) fn map(&self, f: impl Fn(&Expr) -> Expr) -> Self {
        Self::new(f(&self.low), f(&self.high))
    }

    /// The interval whose sides `f` makes of each side and the same side of `other`.
    fn zip(&self, other: &Self, f: impl Fn(&Expr, &Expr) -> Expr) -> Self {
        Self::new(f(&self.low, &other.low), f(&self.high, &other.high))
    }

    /// The sides in the opposite order.
    fn swapped(self) -> Self {
        Self::new(self.high, self.low)
    }

    /// The opposite values.
    pub(crate) fn negated(&self) -> Self {
        self.map(|side| -side.clone()).swapped()
    }

    /// The absolute values.
    pub(crate) fn abs(&self) -> Self {
        match (self.low.known_sign(), self.high.known_sign()) {
            (Sign::NonNegative, _) => return self.clone(),
            (_, Sign::NonPositive) => return self.negated(),
            _ => {}
        }
        let below = -self.low.clone();
        let near = self.low.maximum(&-self.high.clone());
        Self::new(near.maximum(&constant(0.0)), below.maximum(&self.high))
    }

    /// An interval with the values of both.
    fn hull(&self, other: &Self) -> Self {
        Self::new(self.low.minimum(&other.low), self.high.maximum(&other.high))
    }

    /// This interval where `mask` is 0, else `others`.
    fn unless(&self, mask: &Expr, others: &Self) -> Self {
        self.zip(others, |own, other| own.unless(mask, other))
    }

    /// 1 where all values are positive or 0.
    fn never_negative(&self) -> Expr {
        self.low.is(ScalarOp::GreaterEqual, 0.0)
    }

    /// 1 where a value may be less than `size` in absolute value.
    fn near_zero(&self, size: f64) -> Expr {
        all([
            self.low.is(ScalarOp::Less, size),
            self.high.is(ScalarOp::Greater, -size),
        ])
    }

    /// 1 where a value may be `value`.
    fn holds(&self, value: f64) -> Expr {
        all([
            self.low.is(ScalarOp::LessEqual, value),
            self.high.is(ScalarOp::GreaterEqual, value),
        ])
    }

    /// Makes the interval unknown where either side is NaN, or where the sides are $-\infty$ and $\infty$.
    pub(crate) fn unknown_if_any(&self) -> Self {
        let sum = self.low.clone() + self.high.clone();
        self.unknown_with(&sum)
    }

    /// Makes the interval unknown where `value` is NaN.
    fn unknown_with(&self, value: &Expr) -> Self {
        let nan = value.is_nan();
        self.map(|side| side.unless(&nan, value))
    }

    /// Makes the interval unknown where `mask` is not 0.
    fn unknown_where(&self, mask: &Expr) -> Self {
        let nan = self.infinity() * 0.0;
        self.map(|side| side.unless(mask, &nan))
    }

    /// The interval of random numbers made of three numbers: from 0 to 1, and unknown where one of the numbers may be
    /// NaN or infinite.
    pub(crate) fn random(args: [&Self; 3]) -> Self {
        let sides = args.map(|arg| arg.low.clone() + arg.high.clone());
        Self::constants(0.0, 1.0).unknown_where(&Expr::sum(sides).is_not_finite())
    }

    /// The part of the interval from `low` up.
    fn at_least(&self, low: f64) -> Self {
        match low == 0.0 && self.low.known_sign() == Sign::NonNegative {
            true => self.clone(),
            false => Self::new(self.low.maximum(&constant(low)), self.high.clone()),
        }
    }

    /// The part of the interval up to `high`.
    fn at_most(&self, high: f64) -> Self {
        match high == 0.0 && self.high.known_sign() == Sign::NonPositive {
            true => self.clone(),
            false => Self::new(self.low.clone(), self.high.minimum(&constant(high))),
        }
    }

    /// Whether the sides, wherever they are known, are the same for all rows and columns. Then they tell no block of
    /// pairs from another.
    pub fn is_top(&self) -> bool {
        let depends = |side: &Expr| {
            let dependence = side.known_part().simplify().dependence();
            dependence.i || dependence.j
        };
        !depends(&self.low) && !depends(&self.high)
    }
}

impl Expr {
    /// The same value where it is not NaN, without the masks that make it NaN elsewhere.
    fn known_part(&self) -> Expr {
        self.rewrite(|expr, args| {
            let same = |tested: &Expr, is: ScalarOp| match tested.node() {
                Node::Scalar(op, tested) => *op == is && tested[0] == tested[1],
                _ => false,
            };
            match expr.node() {
                Node::Scalar(ScalarOp::MaskWhere, old)
                    if same(&old[1], ScalarOp::NotEqual) || args[2].is_never_known() =>
                {
                    args[0].expand(expr.dim())
                }
                Node::Scalar(ScalarOp::Recip, old) if same(&old[0], ScalarOp::Less) => {
                    constant(f64::INFINITY).expand(expr.dim())
                }
                _ => expr.with_args(args),
            }
        })
    }

    /// Whether this is the product of infinity and zero.
    fn is_never_known(&self) -> bool {
        match self.node() {
            Node::Scalar(ScalarOp::Mul, args) => {
                let infinite = args[0].as_const().is_some_and(f64::is_infinite);
                infinite && args[1].as_const() == Some(0.0)
            }
            _ => false,
        }
    }
}

impl Rounding {
    /// The relative error of a bound and of a value together, if each has the documented error of `units` in the last
    /// place. Devices may exceed the documented error by half of it and one unit.
    fn relative(self, units: f64) -> f64 {
        (3.0 * units + 3.0) * self.unit
    }

    /// `value` less the fraction `by` of its absolute value.
    fn below(self, value: &Expr, by: f64) -> Expr {
        let (less, more) = (value.clone() * (1.0 - by), value.clone() * (1.0 + by));
        match value.known_sign() {
            Sign::NonNegative => less,
            Sign::NonPositive => more,
            Sign::Unknown => less.minimum(&more),
        }
    }

    /// `value` plus the fraction `by` of its absolute value.
    fn above(self, value: &Expr, by: f64) -> Expr {
        let (less, more) = (value.clone() * (1.0 - by), value.clone() * (1.0 + by));
        match value.known_sign() {
            Sign::NonNegative => more,
            Sign::NonPositive => less,
            Sign::Unknown => less.maximum(&more),
        }
    }

    /// The interval, wider by the fraction `by` of each side.
    fn wider(self, interval: &Interval, by: f64) -> Interval {
        let Interval { low, high } = interval;
        Interval::new(self.below(low, by), self.above(high, by))
    }

    /// The interval, wider by the fraction `by` of each side and by `more`, an absolute error of each side.
    ///
    /// A lower side of $\infty$, or an upper side of $-\infty$, is first replaced by about the largest finite number
    /// of its sign, as it may only just have overflowed.
    fn wider_by(self, interval: &Interval, by: f64, more: Interval) -> Interval {
        let most = self.largest * (1.0 - 2.0 * by);
        let finite = Interval::new(
            match interval.low.known_sign() {
                Sign::NonPositive => interval.low.clone(),
                _ => interval.low.minimum(&constant(most)),
            },
            match interval.high.known_sign() {
                Sign::NonNegative => interval.high.clone(),
                _ => interval.high.maximum(&constant(-most)),
            },
        );
        let wide = self.wider(&finite, by);
        Interval::new(wide.low - more.low, wide.high + more.high)
    }

    /// Widens the results of an operation by an error of so many units in the last place. A side is exact where the
    /// same side of `source` is 0. A result of 0 does not make it exact, as it may have underflowed.
    fn widen_unless_zero(self, interval: &Interval, units: f64, source: &Interval) -> Interval {
        let tiny = source.map(|side| self.tiny * side.is(ScalarOp::NotEqual, 0.0));
        self.wider_by(interval, self.relative(units), tiny)
    }

    /// Like [`widen_unless_zero`](Self::widen_unless_zero), where no side is exact.
    fn widen_always(self, interval: &Interval, units: f64) -> Interval {
        let tiny = Interval::point(&constant(self.tiny));
        self.wider_by(interval, self.relative(units), tiny)
    }

    /// Widens the results of an operation whose errors are in units of the value or of 1, whichever is larger.
    fn widen_from_one(self, interval: &Interval, units: f64) -> Interval {
        let by = self.relative(units);
        self.wider_by(interval, by, Interval::point(&constant(by)))
    }

    /// The interval of a function `f` that never decreases, with errors of so many units in the last place.
    pub(crate) fn increasing(
        self,
        a: &Interval,
        units: f64,
        f: impl Fn(&Expr) -> Expr,
    ) -> Interval {
        self.widen_unless_zero(&a.map(f), units, a)
    }

    /// Like [`increasing`](Self::increasing), for a function that is NaN for some arguments.
    pub(crate) fn increasing_within(
        self,
        a: &Interval,
        units: f64,
        f: impl Fn(&Expr) -> Expr,
    ) -> Interval {
        self.increasing(a, units, f).unknown_if_any()
    }
}
