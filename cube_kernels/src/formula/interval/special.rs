//! Rules of gamma functions and Bessel functions.

use super::{Interval, Rounding, constant};
use crate::formula::{catalogue::ScalarOp, expr::Expr};

/// The argument above 0 at which $\log \Gamma$ is smallest, and its value there.
const LEAST_GAMMA: (f64, f64) = (1.461_632_144_968_362_3, -0.121_486_290_535_849_61);

/// The smallest value of $\sin x / x$, the value of $|x|$ up to which it decreases, and a little more than its largest
/// value beyond that.
const SINC: (f64, f64, f64) = (-0.217_24, 4.49, 0.1285);

/// A little more than the largest value of $j_1$. The values of higher orders are smaller.
const LARGEST_BESSEL: f64 = 0.4363;

impl Rounding {
    /// $\log |\Gamma(x)|$. Below 0 there is a pole after each integer.
    pub(crate) fn lgamma(self, a: &Interval) -> Interval {
        let ends = a.map(Expr::lgamma);
        let (place, least) = LEAST_GAMMA;
        let low = ends.low.minimum(&ends.high);
        let values = Interval::new(
            low.unless(&a.holds(place), &constant(least)),
            ends.low.maximum(&ends.high),
        );
        let known = self.widen_from_one(&values, 4.0).unknown_if_any();
        known.unknown_where(&a.low.is(ScalarOp::Less, 0.0))
    }

    /// Derivatives of $\log \Gamma$ of order $n + 1$. For arguments above 0 they increase if $n$ is even, and decrease
    /// to 0 if $n$ is odd.
    pub(crate) fn polygamma(self, a: &Interval, n: u32) -> Interval {
        let units = if n < 2 { 5.0 } else { 48.0 };
        let values = a.map(|side| side.polygamma(n));
        let infinite = a.infinity();
        let positive = a.low.is(ScalarOp::Greater, 0.0);
        let otherwise = positive.is(ScalarOp::Equal, 0.0);
        match n {
            0 => self
                .widen_from_one(&values, units)
                .unknown_where(&otherwise)
                .unknown_if_any(),
            _ if n.is_multiple_of(2) => self
                .widen_always(&values, units)
                .at_most(0.0)
                .unknown_where(&otherwise)
                .unknown_if_any(),
            // A sum of even powers is positive, but it may be NaN at $-\infty$.
            _ => {
                let wide = self
                    .widen_always(&values.clone().swapped(), units)
                    .at_least(0.0);
                let any = Interval::new(constant(0.0), infinite);
                wide.unless(&otherwise, &any)
                    .unknown_with(&a.low)
                    .unknown_where(&a.low.is(ScalarOp::Less, -self.largest))
            }
        }
    }

    /// Spherical Bessel functions.
    pub(crate) fn spherical_bessel(self, a: &Interval, n: u32) -> Interval {
        let error = 8.0 * self.unit;
        let most = LARGEST_BESSEL + error;
        if n > 0 {
            return Interval::constants(-most, most).unknown_with(&a.low);
        }
        let (least, end, beyond) = SINC;
        let size = a.abs();
        let values = size.map(|side| side.spherical_bessel(0)).swapped();
        let far = size.map(|side| side.is(ScalarOp::Greater, end));
        let (beyond, least) = (constant(beyond), constant(least));
        Interval::new(
            (values.low - error).unless(&far.high, &least),
            (values.high + error)
                .maximum(&beyond)
                .unless(&far.low, &beyond),
        )
        .unknown_with(&a.low)
    }
}
