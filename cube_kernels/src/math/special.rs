//! Special functions of kernels: the error function's complement, the logarithm of the gamma function and its
//! derivatives.
//!
//! Near a zero of a function digits would cancel. Hence the zeros of $\log \Gamma$ at 1 and 2 and the positive zero
//! of its derivative have expansions of their own, which keep the relative error small.

use cubecl::prelude::*;

use super::{
    Math, Precision,
    circular::half_turn,
    coefficients::*,
    constant_vector,
    elementary::{erf, log, not_a_number, polynomial},
    logarithm::exp_of_negative,
    series::{Expansion, cotangent_derivative},
};
use crate::math;

/// The coefficients of a function for the precision of `math`.
fn table(math: Math, single: &[f64], double: &[f64]) -> Vec<f64> {
    match math.precision {
        Precision::F64 => double.to_vec(),
        _ => single.to_vec(),
    }
}

/// The complement of the error function, $1 - \mathrm{erf}\, x$, with a small relative error even where it is tiny.
#[cube]
pub fn erfc<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    let one = constant_vector::<F, N>(1.0);
    let near = one - erf::<F, N>(x, math);
    // e^(-x^2) is computed from the square of `head`, which has so few digits that its square is exact, and from the
    // rest of x^2.
    let size = x.abs();
    let end = constant_vector::<F, N>(comptime!(match math.precision {
        Precision::F64 => 28.0,
        _ => 10.2,
    }));
    let size = select_many(size.greater_than(&end), end, size);
    let head = if comptime!(math.precision == Precision::F32) {
        let bits = Vector::<u32, N>::reinterpret(Vector::<f32, N>::cast_from(size));
        let bits = bits & Vector::new(0xffff_f000u32);
        Vector::<F, N>::cast_from(Vector::<f32, N>::reinterpret(bits))
    } else {
        // Rounded to a multiple of 2^-21.
        let shift = constant_vector::<F, N>(3221225472.0);
        (size + shift) - shift
    };
    let exp = exp_of_negative::<F, N>(head * head, (size - head) * (size + head), math);
    let four = constant_vector::<F, N>(4.0);
    let p = polynomial::<F, N>(
        (size - four) / (size + four),
        comptime!(table(math, &ERFC, &ERFC_DOUBLE)),
    );
    let far = exp * p / (one + size + size);
    let far = select_many(
        x.less_than(&constant_vector::<F, N>(0.0)),
        constant_vector::<F, N>(2.0) - far,
        far,
    );
    let is_far = size.greater_than(&constant_vector::<F, N>(0.5));
    // NaN is not far, and `near` is NaN then.
    select_many(is_far, far, near)
}

/// $\log |\Gamma(x)|$.
#[cube]
pub fn lgamma<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    let one = constant_vector::<F, N>(1.0);
    let half = constant_vector::<F, N>(0.5);
    let size = x.abs();
    let reflected = x.less_equal(&-half);
    // `y` is above -1/2. Below 1/2 the value follows from Gamma(1 + y) = y Gamma(y).
    let y = select_many(reflected, size, x);
    let small = y.less_than(&half);
    let log_y = log::<F, N>(y.abs(), math);
    let u = select_many(small, y, y - one);
    let first = u * polynomial::<F, N>(u, comptime!(table(math, &LGAMMA_ONE, &LGAMMA_ONE_DOUBLE)));
    let v = y - constant_vector::<F, N>(2.0);
    let second = v * polynomial::<F, N>(v, comptime!(table(math, &LGAMMA_TWO, &LGAMMA_TWO_DOUBLE)));
    let z = one / y;
    let rest = z * polynomial::<F, N>(z * z, comptime!(table(math, &STIRLING, &STIRLING_DOUBLE)));
    let rest =
        rest + constant_vector::<F, N>(comptime!(0.5 * (2.0 * std::f64::consts::PI).ln() - 0.5));
    let far = fma(y - half, log_y - one, rest);
    let value = select_many(y.less_than(&constant_vector::<F, N>(3.0)), second, far);
    let value = select_many(y.less_than(&constant_vector::<F, N>(1.5)), first, value);
    let value = select_many(small, first - log_y, value);
    // Gamma(x) Gamma(-x) = -pi / (x sin(pi x)). At the poles, the sine is 0 and the result is infinite.
    let sin = half_turn::<F, N>(y - y.round(), math).sin.abs();
    let product = y * (sin * constant_vector::<F, N>(std::f64::consts::FRAC_1_PI));
    let mirrored = -log::<F, N>(product, math) - value;
    // For both infinities the value is infinite, so that negative infinity is not mirrored.
    let finite = y.less_equal(&constant_vector::<F, N>(comptime!(
        math.precision.largest()
    )));
    select_many(reflected.vec_and(finite), mirrored, value)
}

/// The derivative of order $n + 1$ of $\log \Gamma(x)$.
#[cube]
pub fn polygamma<F: Float, N: Size>(
    x: Vector<F, N>,
    #[comptime] n: u32,
    #[comptime] math: Math,
) -> Vector<F, N> {
    let zero = constant_vector::<F, N>(0.0);
    let one = constant_vector::<F, N>(1.0);
    let reflected = x.less_than(&zero);
    let y = select_many(reflected, one - x, x);
    let value = if comptime!(n == 0) {
        digamma_positive::<F, N>(y, math)
    } else {
        polygamma_positive::<F, N>(y, n, math)
    };
    // (-1)^n psi_n(1 - x) - psi_n(x) is the derivative of order n of pi cot(pi x), a polynomial of the cotangent.
    let r = x - x.round();
    let turn = half_turn::<F, N>(r, math);
    let p = polynomial::<F, N>(turn.cos / turn.sin, comptime!(cotangent_derivative(n)));
    let mirrored = if comptime!(n.is_multiple_of(2)) {
        // NaN at a pole, as the values on its two sides go to infinities of both signs. Not by a quotient of zeros,
        // which the compiler of the CUDA runtime simplifies to 0.
        let pole = Vector::<F, N>::cast_from(not_a_number::<N>(Vector::<f32, N>::cast_from(x)));
        select_many(r.equal(&zero), pole, value - p)
    } else {
        -value - p
    };
    select_many(reflected, mirrored, value)
}

/// $\psi(x)$ for $x \ge 0$.
#[cube]
fn digamma_positive<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    let one = constant_vector::<F, N>(1.0);
    let small = x.less_than(&one);
    let y = select_many(small, x + one, x);
    // The zero of the function, as the sum of two numbers.
    let zero = comptime!(match math.precision {
        Precision::F64 => (1.4616321449683622, 9.549995429965698e-17),
        _ => (1.4616321325302124, 1.2438149938918909e-8),
    });
    let distance = (y - constant_vector::<F, N>(comptime!(zero.0)))
        - constant_vector::<F, N>(comptime!(zero.1));
    let near = distance
        * polynomial::<F, N>(
            y - constant_vector::<F, N>(2.0),
            comptime!(table(math, &DIGAMMA, &DIGAMMA_DOUBLE)),
        );
    let z = one / y;
    let square = z * z;
    let rest = square
        * polynomial::<F, N>(
            square,
            comptime!(table(math, &DIGAMMA_FAR, &DIGAMMA_FAR_DOUBLE)),
        );
    let far = log::<F, N>(y, math) - fma(z, constant_vector::<F, N>(0.5), rest);
    let value = select_many(y.less_than(&constant_vector::<F, N>(3.0)), near, far);
    select_many(small, value - one / x, value)
}

/// $\psi^{(n)}(x)$ for $x \ge 0$ and $n \ge 1$: the first terms of
/// $(-1)^{n+1} n! \sum_k (x + k)^{-n-1}$, and an asymptotic expansion of the others (DLMF 5.15.8).
#[cube]
fn polygamma_positive<F: Float, N: Size>(
    x: Vector<F, N>,
    #[comptime] n: u32,
    #[comptime] math: Math,
) -> Vector<F, N> {
    let one = constant_vector::<F, N>(1.0);
    let mut sum = constant_vector::<F, N>(0.0);
    let expansion = comptime!(Expansion::new(n, math.precision == Precision::F64));
    let terms = comptime!(expansion.terms);
    #[unroll]
    for back in 0..terms {
        // The smallest terms are added first.
        let k = comptime!((terms - 1 - back) as f64);
        // Without an addition of 0, so that a negative zero keeps its sign.
        let shifted = if comptime!(k == 0.0) {
            x
        } else {
            x + constant_vector::<F, N>(k)
        };
        let inverse = one / shifted;
        sum += math::powi::<F, N>(inverse, comptime!(n as i32 + 1));
    }
    let z = one / (x + constant_vector::<F, N>(comptime!(terms as f64)));
    let rest = polynomial::<F, N>(z * z, comptime!(expansion.rest.clone()));
    let rest = fma(
        z * z,
        rest,
        fma(
            z,
            constant_vector::<F, N>(0.5),
            constant_vector::<F, N>(comptime!(1.0 / n as f64)),
        ),
    );
    let rest = math::powi::<F, N>(z, comptime!(n as i32)) * rest;
    let factor = comptime!(expansion.factor);
    (sum + rest) * constant_vector::<F, N>(factor)
}
