//! Rules of functions of one argument: powers, exponentials and angles.

use std::f64::consts::{E, PI, TAU};

use super::{Interval, Rounding, any, constant};
use crate::{
    formula::{catalogue::ScalarOp, expr::Expr},
    math::series::matern_coefficients,
};

/// How far angles, in turns, may be off in addition to their rounding.
const TURN: f64 = 1e-6;

impl Rounding {
    /// Squares.
    pub(crate) fn square(self, a: &Interval) -> Interval {
        let size = a.abs();
        self.widen_unless_zero(&size.map(Expr::square), 0.5, &size)
            .at_least(0.0)
    }

    /// Integer powers.
    pub(crate) fn powi(self, a: &Interval, n: i32) -> Interval {
        // Each product rounds.
        let units = 0.5 * f64::from(n.unsigned_abs()) + 1.0;
        let power = |side: &Expr| side.powi(n);
        match n {
            // The power 0 of NaN is 1, too.
            0 => Interval::constants(1.0, 1.0),
            1 => a.clone(),
            2 => self.square(a),
            3.. if n % 2 == 0 => {
                let size = a.abs();
                self.widen_unless_zero(&size.map(power), units, &size)
                    .at_least(0.0)
            }
            3.. => self.widen_unless_zero(&a.map(power), units, a),
            // The power may underflow before its reciprocal overflows.
            _ => self.reciprocal(a, -n, units + 2.5, power),
        }
    }

    /// Reciprocals of powers of order `n`, computed by `f`.
    fn reciprocal(self, a: &Interval, n: i32, units: f64, f: impl Fn(&Expr) -> Expr) -> Interval {
        // Twice the argument at which the power becomes 0 or its reciprocal infinite.
        let least = 2.0 * self.tiny.powf(1.0 / f64::from(n));
        let singular = a.near_zero(least);
        let infinite = a.infinity();
        match n % 2 {
            0 => {
                let size = a.abs();
                let values = Interval::new(f(&size.high), f(&size.low));
                let wide = self.widen_always(&values, units).at_least(0.0);
                Interval::new(wide.low, wide.high.unless(&singular, &infinite))
            }
            _ => {
                let values = a.map(f).swapped();
                let wide = self.widen_always(&values, units);
                wide.unless(&singular, &a.whole_line())
            }
        }
    }

    /// Reciprocals.
    pub(crate) fn recip(self, a: &Interval) -> Interval {
        self.reciprocal(a, 1, 2.5, Expr::recip)
    }

    /// Reciprocal roots, which are 0 at 0.
    pub(crate) fn rsqrt(self, a: &Interval) -> Interval {
        let values = a.map(Expr::rsqrt).swapped();
        let wide = self.widen_always(&values, 2.5).at_least(0.0);
        // Tiny numbers may be taken as 0.
        let small = a.low.is(ScalarOp::Less, self.tiny);
        let most = a
            .infinity()
            .unless(&a.high.is(ScalarOp::Equal, 0.0), &constant(0.0));
        wide.unless(&small, &Interval::new(constant(0.0), most))
            .unknown_with(&values.high)
    }

    /// Exponentials. The argument may be rounded once more.
    pub(crate) fn exp(self, a: &Interval) -> Interval {
        let a = self.wider(a, 2.0 * self.unit);
        self.exponentials(
            &a,
            5.1,
            Expr::exp,
            [self.least_exponent, self.most_exponent],
        )
    }

    /// Powers of 2.
    pub(crate) fn exp2(self, a: &Interval) -> Interval {
        let ends = match self.unit == f64::EPSILON {
            true => [-1076.0, 1023.0],
            false => [-151.0, 127.0],
        };
        self.exponentials(a, 4.0, Expr::exp2, ends)
    }

    /// A function `f` that increases from 0 to infinity. It is 0 for arguments less than `least`, and may be infinite
    /// for arguments more than `most`.
    fn exponentials(
        self,
        a: &Interval,
        units: f64,
        f: impl Fn(&Expr) -> Expr,
        [least, most]: [f64; 2],
    ) -> Interval {
        let wide = self.vanishing(&a.map(&f), units, &a.high.is(ScalarOp::Less, least));
        self.overflowing(&wide, a, units, most, &f)
    }

    /// Results that may be infinite for arguments more than `most`, though `f` computes finite bounds for them.
    fn overflowing(
        self,
        wide: &Interval,
        a: &Interval,
        units: f64,
        most: f64,
        f: impl Fn(&Expr) -> Expr,
    ) -> Interval {
        let finite = self.below(&f(&constant(most)), self.relative(units));
        let beyond = a.high.is(ScalarOp::Greater, most);
        Interval::new(
            wide.low.minimum(&finite),
            wide.high.unless(&beyond, &a.infinity()),
        )
    }

    /// Positive results that are 0 where the mask `zero` is not 0.
    pub(super) fn vanishing(self, values: &Interval, units: f64, zero: &Expr) -> Interval {
        let wide = self.widen_always(values, units).at_least(0.0);
        Interval::new(wide.low, wide.high.unless(zero, &constant(0.0)))
    }

    /// $e^x - 1$.
    pub(crate) fn expm1(self, a: &Interval) -> Interval {
        let wide = self.increasing(a, 2.5, Expr::expm1);
        self.overflowing(&wide, a, 2.5, self.most_exponent, Expr::expm1)
    }

    /// Functions such as the logistic one, which behave as exponentials do far below 0.
    pub(crate) fn rising(self, a: &Interval, units: f64, f: impl Fn(&Expr) -> Expr) -> Interval {
        let zero = a.high.is(ScalarOp::Less, self.least_exponent);
        self.vanishing(&a.map(f), units, &zero)
    }

    /// The complement of the error function, which is less than $e^{-x^2}$ far above 0.
    pub(crate) fn erfc(self, a: &Interval) -> Interval {
        let zero = a.low.is(ScalarOp::Greater, (-self.least_exponent).sqrt());
        self.vanishing(&a.map(Expr::erfc).swapped(), 3.0, &zero)
    }

    /// Matérn functions, which decrease from 1 to 0. The root of the argument is rounded.
    pub(crate) fn matern(self, a: &Interval, n: u32) -> Interval {
        let coefficients = matern_coefficients(n);
        let polynomial = |s: f64| coefficients.iter().rev().fold(0.0, |sum, c| sum * s + c);
        // The root of the argument at which the function is as small as the exponential of the least exponent.
        let end = (0..20).fold(1.0, |s: f64, _| polynomial(s).ln() - self.least_exponent);
        let wide = self.wider(a, 8.0 * self.unit);
        let zero = wide.low.is(ScalarOp::Greater, (end + 1.0).powi(2));
        let values = wide.map(|side| side.matern(n)).swapped();
        self.vanishing(&values, 3.7, &zero)
            .unknown_where(&a.low.is(ScalarOp::Less, 0.0))
    }

    /// $x \log x$, which decreases to $-1/e$ at $1/e$.
    pub(crate) fn xlogx(self, a: &Interval) -> Interval {
        let ends = a.map(Expr::xlogx);
        let least = ends
            .low
            .minimum(&ends.high)
            .unless(&a.holds(1.0 / E), &constant(-1.0 / E));
        let values = Interval::new(least, ends.low.maximum(&ends.high));
        let source = Interval::point(&a.high);
        self.widen_unless_zero(&values, 2.0, &source)
            .unknown_if_any()
    }

    /// Sines or cosines, with their crest at `crest` turns.
    pub(crate) fn wave(self, a: &Interval, crest: f64, f: impl Fn(&Expr) -> Expr) -> Interval {
        let ends = a.map(f);
        let values = Interval::new(ends.low.minimum(&ends.high), ends.low.maximum(&ends.high));
        // Twice the largest error of a value, and the error of a bound.
        let error = 8.0 * self.unit;
        // The function is exact for an angle of 0.
        let nonzero = a.map(|side| side.is(ScalarOp::NotEqual, 0.0));
        let slack = error * nonzero.low.maximum(&nonzero.high);
        Interval::new(
            (values.low.clone() - slack.clone())
                .unless(&self.passes(a, TAU, crest + 0.5), &constant(-1.0 - error)),
            (values.high.clone() + slack)
                .unless(&self.passes(a, TAU, crest), &constant(1.0 + error)),
        )
        .unknown_with(&values.low)
    }

    /// Inverse hyperbolic cosines.
    pub(crate) fn acosh(self, a: &Interval) -> Interval {
        // The reference gives numbers for some arguments below 1.
        self.increasing(a, 1.7, Expr::acosh)
            .unknown_where(&a.low.is(ScalarOp::Less, 1.0))
            .unknown_if_any()
    }

    /// Arc cosines, which decrease.
    pub(crate) fn acos(self, a: &Interval) -> Interval {
        // Errors are in units of 1, and values up to pi.
        self.widen_from_one(&a.map(Expr::acos).swapped(), 1.2)
            .unknown_if_any()
    }

    /// Tangents.
    pub(crate) fn tan(self, a: &Interval) -> Interval {
        let ends = a.map(Expr::tan);
        // What an error of the angle changes, by the derivative.
        let errors = a.zip(&ends, |angle, tangent| {
            let nonzero = angle.is(ScalarOp::NotEqual, 0.0);
            8.0 * self.unit * (nonzero + tangent.square())
        });
        let wide = Interval::new(
            ends.low.clone() - errors.low,
            ends.high.clone() + errors.high,
        );
        let all = a.whole_line();
        wide.unless(&self.passes(a, PI, 0.5), &all)
            .unknown_with(&ends.low)
            .unknown_with(&ends.high)
    }

    /// 1 where the interval may contain an angle that is an integer plus `fraction` periods.
    fn passes(self, a: &Interval, period: f64, fraction: f64) -> Expr {
        let periods = self.wider(
            &a.map(|side| side.clone() * (1.0 / period)),
            4.0 * self.unit,
        );
        let first = (periods.low - (fraction + TURN)).floor();
        let last = (periods.high - (fraction - TURN)).floor();
        first.compare(ScalarOp::NotEqual, &last)
    }

    /// Powers of $2^{32}$ near the absolute value; 1 at 0 and at infinity.
    pub(crate) fn magnitude(self, a: &Interval) -> Interval {
        let size = a.abs();
        let values = size.map(Expr::magnitude);
        let zero = size.low.is(ScalarOp::Less, self.tiny);
        let infinite = size.high.is(ScalarOp::Greater, self.largest);
        let most = values
            .high
            .unless(&zero, &values.high.maximum(&constant(1.0)));
        Interval::new(
            values
                .low
                .unless(&any([zero, infinite.clone()]), &constant(0.0)),
            most.unless(&infinite, &size.infinity()),
        )
    }
}
