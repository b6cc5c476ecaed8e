//! Rules of functions of two and three arguments: arithmetic, comparisons and choices.

use std::f64::consts::PI;

use super::{Interval, Rounding, all, any, constant};
use crate::formula::{
    catalogue::ScalarOp,
    expr::{Expr, Extreme},
};

/// How far quotients whose floor is taken may be off in addition to their rounding.
const QUOTIENT: f64 = 1e-6;

/// The least or largest of some values.
fn extreme<const N: usize>(values: &[Expr; N], extreme: Extreme) -> Expr {
    let better = |best: Expr, value: Expr| match extreme {
        Extreme::Minimum => best.minimum(&value),
        Extreme::Maximum => best.maximum(&value),
    };
    let best = values.iter().cloned().reduce(better);
    best.expect("there are values")
}

/// The interval from the least to the largest value of `f` in the four corners.
fn corners(a: &Interval, b: &Interval, f: impl Fn(&Expr, &Expr) -> Expr) -> Interval {
    let values = [
        f(&a.low, &b.low),
        f(&a.low, &b.high),
        f(&a.high, &b.low),
        f(&a.high, &b.high),
    ];
    Interval::new(
        extreme(&values, Extreme::Minimum),
        extreme(&values, Extreme::Maximum),
    )
}

impl Rounding {
    /// Sums.
    pub(crate) fn add(self, a: &Interval, b: &Interval) -> Interval {
        let sums = a.zip(b, |a, b| a.clone() + b.clone());
        let tiny = a.zip(b, |a, b| {
            self.tiny * a.compare(ScalarOp::NotEqual, &-b.clone())
        });
        self.wider_by(&sums, self.relative(0.5), tiny)
            .unknown_if_any()
    }

    /// Products, computed by `times`.
    pub(crate) fn mul(
        self,
        a: &Interval,
        b: &Interval,
        times: impl Fn(&Expr, &Expr) -> Expr,
    ) -> Interval {
        let products = match (a.as_const(), b.as_const()) {
            (Some(factor), _) if factor.is_finite() => {
                let products = b.map(|side| times(&a.low, side));
                if factor < 0.0 {
                    products.swapped()
                } else {
                    products
                }
            }
            (_, Some(factor)) if factor.is_finite() => {
                let products = a.map(|side| times(side, &b.low));
                if factor < 0.0 {
                    products.swapped()
                } else {
                    products
                }
            }
            _ => corners(a, b, times),
        };
        let wide = self.widen_always(&products, 0.5);
        self.with_signs_of_factors(&wide, a, b)
            .unknown_with(&(products.low + products.high))
    }

    /// Limits products or quotients to the signs that are possible with the signs of `a` and `b`. So the product with
    /// zero is 0.
    fn with_signs_of_factors(self, wide: &Interval, a: &Interval, b: &Interval) -> Interval {
        let [negative, positive] = [a, b].map(|factor| {
            let negative = factor.low.is(ScalarOp::Less, 0.0);
            let positive = factor.high.is(ScalarOp::Greater, 0.0);
            (negative, positive)
        });
        let (a, b) = (negative, positive);
        let below = any([
            all([a.0.clone(), b.1.clone()]),
            all([a.1.clone(), b.0.clone()]),
        ]);
        let above = any([all([a.0, b.0]), all([a.1, b.1])]);
        let zero = constant(0.0);
        Interval::new(
            wide.low.maximum(&zero).unless(&below, &wide.low),
            wide.high.minimum(&zero).unless(&above, &wide.high),
        )
    }

    /// Quotients. They may be computed as products with the reciprocal.
    pub(crate) fn div(self, a: &Interval, b: &Interval) -> Interval {
        let quotients = corners(a, b, |a, b| a.clone() / b.clone());
        let wide = self.widen_always(&quotients, 2.5);
        // The reciprocal of a large number may be 0, also where a bound is computed.
        let tiny = 4.0 * self.tiny;
        let small = b.abs().high.is(ScalarOp::Greater, 1.0 / tiny);
        let zero = wide.hull(&Interval::constants(0.0, 0.0));
        let lost = a.abs().high * tiny;
        let zero = Interval::new(zero.low - lost.clone(), zero.high + lost);
        let wide = wide.unless(&small, &zero);
        let wide = self.with_signs_of_factors(&wide, a, b);
        let wide = wide.unknown_with(&(quotients.low + quotients.high));
        let singular = b.near_zero(tiny);
        // Zero divided by zero, infinity divided by infinity, or infinity times a reciprocal that is 0.
        let infinite = a.abs().high.is(ScalarOp::Greater, self.largest);
        let undefined = any([
            all([singular.clone(), a.near_zero(tiny)]),
            all([infinite, small.clone()]),
        ]);
        let all_values = b.whole_line();
        wide.unless(&singular, &all_values)
            .unknown_where(&undefined)
            .unknown_with(&a.low)
    }

    /// Lengths of the hypotenuse of a right triangle.
    pub(crate) fn hypot(self, a: &Interval, b: &Interval) -> Interval {
        let lengths = a.abs().zip(&b.abs(), |a, b| a.compare(ScalarOp::Hypot, b));
        let source = a.abs().zip(&b.abs(), Expr::maximum);
        self.widen_unless_zero(&lengths, 2.0, &source)
            .at_least(0.0)
            .unknown_if_any()
    }

    /// $\log(e^a + e^b)$.
    pub(crate) fn logaddexp(self, a: &Interval, b: &Interval) -> Interval {
        let values = a.zip(b, |a, b| a.compare(ScalarOp::Logaddexp, b));
        self.widen_from_one(&values, 1.5).unknown_if_any()
    }

    /// Angles of points. They jump where y changes its sign to the left of the origin.
    pub(crate) fn atan2(self, y: &Interval, x: &Interval) -> Interval {
        let angles = corners(y, x, |y, x| y.compare(ScalarOp::Atan2, x));
        let wide = self.widen_from_one(&angles, 2.0);
        let left = x.low.is(ScalarOp::Less, self.tiny);
        let cut = all([left, y.near_zero(self.tiny)]);
        let half = PI * (1.0 + 8.0 * self.unit);
        wide.unless(&cut, &Interval::constants(-half, half))
    }

    /// Powers.
    pub(crate) fn powf(self, a: &Interval, b: &Interval) -> Interval {
        if let Some(n) = b.as_const()
            && n == n.round()
            && n.abs() <= 64.0
        {
            let wide = self.powi(a, n as i32);
            return self.widen_unless_zero(&wide, 4.0, a);
        }
        let values = corners(a, b, |a, b| a.powf(b));
        // The logarithm is rounded, and its product with the exponent.
        let log = a.map(|side| side.maximum(&constant(self.tiny)).log().abs());
        let exponent = log.low.maximum(&log.high) * b.abs().high;
        let error = self.relative(16.0) + exponent * (4.0 * self.unit);
        // Where the error is as large as the value, the value is 0 or infinite.
        let error = error.minimum(&constant(1.0));
        let finite = values.low.minimum(&constant(self.largest));
        let tiny = self.tiny * a.high.is(ScalarOp::NotEqual, 0.0);
        let wide = Interval::new(
            finite.clone() - finite * error.clone() - tiny.clone(),
            values.high.clone() + values.high * error + tiny,
        );
        // Tiny numbers may be taken as 0.
        let zero = a.low.is(ScalarOp::Less, self.tiny);
        let negative = b.low.is(ScalarOp::Less, 0.0);
        let infinite = a.infinity();
        let wide = Interval::new(
            wide.low
                .maximum(&constant(0.0))
                .unless(&zero, &constant(0.0)),
            wide.high.unless(&all([zero, negative]), &infinite),
        );
        let outside = any([
            a.low.is(ScalarOp::Less, 0.0),
            a.high.is(ScalarOp::Greater, self.largest),
            b.abs().high.is(ScalarOp::Greater, self.largest),
        ]);
        // An odd power of -0 is negative.
        let wide = match b.as_const() {
            Some(_) => wide,
            None => wide.unknown_where(&all([
                a.low.is(ScalarOp::LessEqual, 0.0),
                b.low.is(ScalarOp::Less, 0.0),
            ])),
        };
        wide.unknown_where(&outside)
            .unknown_where(&a.low.is_not_finite())
            .unknown_where(&b.low.is_not_finite())
    }

    /// Remainders of the division by one number. They jump where the quotient is an integer.
    pub(crate) fn modulo(self, x: &Interval, m: &Interval) -> Interval {
        let quotients = x.map(|side| side.clone() / m.low.clone());
        let ordered = Interval::new(
            quotients.low.minimum(&quotients.high),
            quotients.low.maximum(&quotients.high),
        );
        let wide = self.wider(&ordered, 4.0 * self.unit);
        let first = (wide.low - QUOTIENT).floor();
        let last = (wide.high + QUOTIENT).floor();
        let same = all([
            first.compare(ScalarOp::Equal, &last),
            m.low.compare(ScalarOp::Equal, &m.high),
        ]);
        let error = 8.0 * self.unit * (x.abs().high + m.abs().high) + self.tiny;
        let ends = x.map(|side| side.compare(ScalarOp::Modulo, &m.low));
        let between = Interval::new(
            m.low.minimum(&constant(0.0)),
            m.high.maximum(&constant(0.0)),
        );
        let values = between.unless(&same, &ends);
        // Infinite arguments and a divisor of 0 have no remainder.
        let undefined = any([
            m.near_zero(self.tiny),
            x.abs().high.is(ScalarOp::Greater, self.largest),
            m.abs().high.is(ScalarOp::Greater, self.largest),
        ]);
        Interval::new(values.low - error.clone(), values.high + error)
            .unknown_where(&undefined)
            .unknown_with(&x.low)
    }
}

impl Interval {
    /// The larger of two values.
    pub(crate) fn maximum(&self, other: &Interval) -> Interval {
        self.zip(other, Expr::maximum)
    }

    /// The smaller of two values.
    pub(crate) fn minimum(&self, other: &Interval) -> Interval {
        self.zip(other, Expr::minimum)
    }

    /// This interval and 0.
    pub(crate) fn or_zero(&self) -> Interval {
        self.hull(&Interval::point(&Expr::constant(0.0)))
    }

    /// A comparison: 1 where `always` holds, 0 where `never` does.
    fn truth(always: Expr, never: Expr) -> Interval {
        Interval::new(always, 1.0 - never)
    }

    /// Whether values are less than others. Where nothing is known of a value, both results are possible, as in all
    /// comparisons.
    pub(crate) fn less(&self, other: &Interval) -> Interval {
        Self::truth(
            self.high.compare(ScalarOp::Less, &other.low),
            self.low.compare(ScalarOp::GreaterEqual, &other.high),
        )
    }

    /// Whether values are at most others.
    pub(crate) fn less_equal(&self, other: &Interval) -> Interval {
        Self::truth(
            self.high.compare(ScalarOp::LessEqual, &other.low),
            self.low.compare(ScalarOp::Greater, &other.high),
        )
    }

    /// Whether values are equal.
    pub(crate) fn equal(&self, other: &Interval) -> Interval {
        let same = |a: &Expr, b: &Expr| a.compare(ScalarOp::Equal, b);
        Self::truth(
            all([
                same(&self.low, &other.high),
                same(&self.high, &other.low),
                same(&self.low, &self.high),
            ]),
            any([
                self.high.compare(ScalarOp::Less, &other.low),
                other.high.compare(ScalarOp::Less, &self.low),
            ]),
        )
    }

    /// The negation of a comparison.
    pub(crate) fn not(&self) -> Interval {
        self.map(|side| 1.0 - side.clone()).swapped()
    }

    /// `a` where all of these values are at least 0, `b` where all are negative, and the values of both elsewhere.
    pub(crate) fn if_else(&self, a: &Interval, b: &Interval) -> Interval {
        let negative = self.high.is(ScalarOp::Less, 0.0);
        a.hull(b)
            .unless(&negative, b)
            .unless(&self.never_negative(), a)
    }

    /// This interval where the mask is certainly 0, `source` where it is certainly not 0, and the values of both
    /// elsewhere.
    pub(crate) fn mask_where(&self, mask: &Interval, source: &Interval) -> Interval {
        let taken = any([
            mask.low.is(ScalarOp::Greater, 0.0),
            mask.high.is(ScalarOp::Less, 0.0),
        ]);
        let zero = all([
            mask.low.is(ScalarOp::Equal, 0.0),
            mask.high.is(ScalarOp::Equal, 0.0),
        ]);
        self.hull(source).unless(&taken, source).unless(&zero, self)
    }
}
