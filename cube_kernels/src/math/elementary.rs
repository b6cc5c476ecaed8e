//! Elementary functions of kernels.
//!
//! In `F32` they are computed here, with arithmetic and the square root only, as the functions of
//! graphics drivers are not accurate enough: Vulkan allows an arc tangent an error of 4096 units in
//! the last place, and a sine one of $2^{-11}$. The same code on every device also gives the same
//! values.
//!
//! In `F64` the functions of the runtime are used where it has them.

use cubecl::prelude::*;

use super::coefficients::*;
use super::logarithm::{Scaled, log_ratio, scaled};
use super::series::matern_coefficients;
use super::{Argument, Math, Precision, constant_vector, exp_f32, exponent_bits};
pub use super::{
    circular::{acos, asin, atan, atan2, cos, sin, tan},
    logarithm::{acosh, asinh, atanh, exp2, expm1, log, log1p, log2, log10, logaddexp, softplus},
};
use crate::math;

/// $\sum_k c_k x^k$ by Horner's scheme.
#[cube]
pub(super) fn polynomial<F: Float, N: Size>(
    x: Vector<F, N>,
    #[comptime] c: Vec<f64>,
) -> Vector<F, N> {
    let last = comptime!(c.len() - 1);
    let mut sum = constant_vector::<F, N>(comptime!(c[last]));
    #[unroll]
    for k in 0..last {
        sum = fma(sum, x, constant_vector::<F, N>(comptime!(c[last - 1 - k])));
    }
    sum
}

/// $r + r^3 P(r^2)$.
#[cube]
pub(super) fn odd<F: Float, N: Size>(r: Vector<F, N>, #[comptime] c: Vec<f64>) -> Vector<F, N> {
    let square = r * r;
    fma(r * square, polynomial::<F, N>(square, c), r)
}

/// NaN with the sign of `x`. It is made from the bits of `x`, as shaders cannot write NaN as a constant.
#[cube]
pub(super) fn not_a_number<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let bits = Vector::<u32, N>::reinterpret(x) | Vector::new(0x7fc0_0000u32);
    Vector::<f32, N>::reinterpret(bits)
}

/// `magnitude`, which is not negative, with the sign of `x`.
#[cube]
pub(super) fn with_sign<N: Size>(magnitude: Vector<f32, N>, x: Vector<f32, N>) -> Vector<f32, N> {
    let sign = Vector::<u32, N>::reinterpret(x) & Vector::new(0x8000_0000u32);
    Vector::<f32, N>::reinterpret(Vector::<u32, N>::reinterpret(magnitude) | sign)
}

/// The cube root: an estimate from the bits, improved by Halley's rule.
#[cube]
pub fn cbrt<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    let zero = constant_vector::<F, N>(0.0);
    let size = x.abs();
    let root = if comptime!(math.precision == Precision::F32) {
        let size = Vector::<f32, N>::cast_from(size);
        let one = constant_vector::<f32, N>(1.0);
        // Numbers near both ends of the range are scaled by powers of 8.
        let tiny = size.less_than(&constant_vector::<f32, N>(1e-15));
        let huge = size.greater_than(&constant_vector::<f32, N>(1e36));
        let up = constant_vector::<f32, N>(comptime!(2f64.powi(72)));
        let down = constant_vector::<f32, N>(comptime!(2f64.powi(-24)));
        let factor = select_many(huge, down, select_many(tiny, up, one));
        let far = constant_vector::<f32, N>(256.0);
        let back = select_many(huge, far, select_many(tiny, down, one));
        let size = size * factor;
        let bits = Vector::<u32, N>::reinterpret(size) / Vector::new(3u32);
        let t = Vector::<f32, N>::reinterpret(bits + Vector::new(709958130u32));
        Vector::<F, N>::cast_from(halley::<f32, N>(halley::<f32, N>(t, size), size) * back)
    } else {
        let third = constant_vector::<F, N>(1.0 / 3.0);
        let t = size.powf(third);
        // A step of Newton's method, without powers that overflow.
        t - (t - size / (t * t)) * third
    };
    let root = select_many(x.less_than(&zero), -root, root);
    // Zeros, infinities and NaN are their own roots.
    let usual = size
        .greater_than(&zero)
        .vec_and(size.less_equal(&largest::<F, N>(math)));
    select_many(usual, root, x)
}

/// A step of Halley's rule from `t` towards the cube root of `x`.
#[cube]
fn halley<F: Float, N: Size>(t: Vector<F, N>, x: Vector<F, N>) -> Vector<F, N> {
    let half = constant_vector::<F, N>(0.5);
    let cube = t * t * t;
    t + t * (((x - cube) * half) / fma(x, half, cube))
}

/// The power $2^{32 k}$ with an integer $k$ that is nearest to $|x|$. For a finite `x` it is between $2^{-16} |x|$ and
/// $2^{16} |x|$, except at the ends of the range. It is 1 for 0 and infinities, and NaN for NaN.
#[cube]
pub fn magnitude<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    // Exponents from 16 below a multiple of 32 on go to this multiple. `k` is clamped, which leaves out the powers at
    // the ends of the range: the reciprocals of powers have to be normal numbers, too.
    let power = if comptime!(math.precision == Precision::F32) {
        let bits = Vector::<u32, N>::reinterpret(Vector::<f32, N>::cast_from(x));
        let exponent = (bits >> Vector::new(23u32)) & Vector::new(0xffu32);
        let k = (exponent + Vector::new(17u32)) >> Vector::new(5u32);
        let k = select_many(k.less_than(&Vector::new(1u32)), Vector::new(1u32), k);
        let k = select_many(k.greater_than(&Vector::new(7u32)), Vector::new(7u32), k);
        let bits = ((k << Vector::new(5u32)) - Vector::new(1u32)) << Vector::new(23u32);
        Vector::<F, N>::cast_from(Vector::<f32, N>::reinterpret(bits))
    } else {
        let bits = Vector::<u64, N>::reinterpret(Vector::<f64, N>::cast_from(x));
        let exponent = (bits >> Vector::new(52u64)) & Vector::new(0x7ffu64);
        let k = (exponent + Vector::new(17u64)) >> Vector::new(5u64);
        let k = select_many(k.less_than(&Vector::new(1u64)), Vector::new(1u64), k);
        let k = select_many(k.greater_than(&Vector::new(63u64)), Vector::new(63u64), k);
        let bits = ((k << Vector::new(5u64)) - Vector::new(1u64)) << Vector::new(52u64);
        Vector::<F, N>::cast_from(Vector::<f64, N>::reinterpret(bits))
    };
    let infinite = x.abs().greater_than(&largest::<F, N>(math));
    let power = select_many(
        x.equal(&constant_vector::<F, N>(0.0)).or(infinite),
        constant_vector::<F, N>(1.0),
        power,
    );
    select_many(x.equal(&x), power, x)
}

/// $\sqrt{a^2 + b^2}$ from the quotient of the smaller and the larger, so that no square leaves the range.
#[cube]
pub fn hypot<F: Float, N: Size>(
    a: Vector<F, N>,
    b: Vector<F, N>,
    #[comptime] math: Math,
) -> Vector<F, N> {
    let zero = constant_vector::<F, N>(0.0);
    let one = constant_vector::<F, N>(1.0);
    let (a, b) = (a.abs(), b.abs());
    let first = a.greater_than(&b);
    let (long, short) = (select_many(first, a, b), select_many(first, b, a));
    let ratio = short / long;
    let ratio = select_many(long.equal(&zero), zero, ratio);
    let length = long * fma(ratio, ratio, one).sqrt();
    // `a` is the shorter side if it is NaN, as it is not larger than `b`. If `b` is 0, the ratio and the length have
    // lost this NaN.
    let length = select_many(short.equal(&short), length, short);
    // Infinite if a side is infinite, even if the other one is NaN.
    let largest = largest::<F, N>(math);
    let length = select_many(b.greater_than(&largest), b, length);
    select_many(a.greater_than(&largest), a, length)
}

/// The largest finite number.
#[cube]
pub(super) fn largest<F: Float, N: Size>(#[comptime] math: Math) -> Vector<F, N> {
    constant_vector::<F, N>(comptime!(math.precision.largest()))
}

/// $e^{|x|} / 2$, which overflows only where the hyperbolic functions do.
#[cube]
fn half_exp<N: Size>(x: Vector<f32, N>, #[comptime] math: Math) -> Vector<f32, N> {
    let half = constant_vector::<f32, N>(0.5);
    let root = exp_f32::<N>(x.abs() * half, comptime!(math.any_sign()));
    root * (half * root)
}

/// The hyperbolic sine.
#[cube]
pub fn sinh<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        let x = Vector::<f32, N>::cast_from(x);
        let half = half_exp::<N>(x, math);
        let far = half - constant_vector::<f32, N>(0.25) / half;
        let near = odd::<f32, N>(x, comptime!(SINH.to_vec()));
        let is_far = x.abs().greater_than(&constant_vector::<f32, N>(1.0));
        Vector::<F, N>::cast_from(select_many(is_far, with_sign::<N>(far, x), near))
    } else {
        x.sinh()
    }
}

/// The hyperbolic cosine.
#[cube]
pub fn cosh<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        let half = half_exp::<N>(Vector::<f32, N>::cast_from(x), math);
        Vector::<F, N>::cast_from(half + constant_vector::<f32, N>(0.25) / half)
    } else {
        x.cosh()
    }
}

/// The hyperbolic tangent.
#[cube]
pub fn tanh<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        let x = Vector::<f32, N>::cast_from(x);
        let one = constant_vector::<f32, N>(1.0);
        let size = x.abs();
        let exp = exp_f32::<N>(size + size, comptime!(math.any_sign()));
        let far = one - constant_vector::<f32, N>(2.0) / (exp + one);
        let near = odd::<f32, N>(x, comptime!(TANH.to_vec()));
        let is_far = size.greater_than(&constant_vector::<f32, N>(0.6));
        Vector::<F, N>::cast_from(select_many(is_far, with_sign::<N>(far, x), near))
    } else {
        x.tanh()
    }
}

/// The logistic function $1 / (1 + e^{-x})$.
#[cube]
pub fn sigmoid<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    let one = constant_vector::<F, N>(1.0);
    if comptime!(math.precision == Precision::F32) {
        let exp = Vector::<F, N>::cast_from(exp_f32::<N>(
            Vector::<f32, N>::cast_from(-x),
            comptime!(math.any_sign()),
        ));
        one / (one + exp)
    } else {
        one / (one + (-x).exp())
    }
}

/// The error function.
#[cube]
pub fn erf<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        let x = Vector::<f32, N>::cast_from(x);
        let one = constant_vector::<f32, N>(1.0);
        let near = x * polynomial::<f32, N>(x * x, comptime!(ERF.to_vec()));
        let size = x.abs();
        // Beyond 4 the value is 1.
        let end = constant_vector::<f32, N>(4.0);
        let clipped = select_many(size.greater_than(&end), end, size);
        let log = polynomial::<f32, N>(clipped, comptime!(LOG_ERFC.to_vec()));
        let far = one - exp_f32::<N>(log, comptime!(math.nonpositive()));
        let is_far = size.greater_than(&constant_vector::<f32, N>(0.9));
        Vector::<F, N>::cast_from(select_many(is_far, with_sign::<N>(far, x), near))
    } else {
        let near = x * polynomial::<F, N>(x * x, comptime!(ERF_DOUBLE.to_vec()));
        let one = constant_vector::<F, N>(1.0);
        let size = x.abs();
        let end = constant_vector::<F, N>(6.0);
        let clipped = select_many(size.greater_than(&end), end, size);
        let log_near = polynomial::<F, N>(
            clipped - constant_vector::<F, N>(1.45),
            comptime!(LOG_ERFC_NEAR.to_vec()),
        );
        let log_middle = polynomial::<F, N>(
            clipped - constant_vector::<F, N>(2.75),
            comptime!(LOG_ERFC_MIDDLE.to_vec()),
        );
        let log_far = polynomial::<F, N>(
            clipped - constant_vector::<F, N>(4.75),
            comptime!(LOG_ERFC_FAR.to_vec()),
        );
        let log = select_many(
            clipped.less_than(&constant_vector::<F, N>(2.0)),
            log_near,
            log_middle,
        );
        let log = select_many(
            clipped.less_than(&constant_vector::<F, N>(3.5)),
            log,
            log_far,
        );
        let far = one - log.exp();
        let negative = x.less_than(&constant_vector::<F, N>(0.0));
        let far = select_many(negative, -far, far);
        let is_far = size.greater_than(&constant_vector::<F, N>(0.9));
        select_many(is_far, far, near)
    }
}

/// $a^b$: NaN for a negative $a$ unless $b$ is an integer.
#[cube]
pub fn powf<F: Float, N: Size>(
    a: Vector<F, N>,
    b: Vector<F, N>,
    #[comptime] math: Math,
) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        Vector::<F, N>::cast_from(powf_f32::<N>(
            Vector::<f32, N>::cast_from(a),
            Vector::<f32, N>::cast_from(b),
        ))
    } else {
        a.powf(b)
    }
}

/// $2^{b \log_2 |a|}$ with the integer part of the exponent kept apart, so that the error does not
/// grow with the exponent of $a$.
#[cube]
fn powf_f32<N: Size>(a: Vector<f32, N>, b: Vector<f32, N>) -> Vector<f32, N> {
    let zero = constant_vector::<f32, N>(0.0);
    let one = constant_vector::<f32, N>(1.0);
    let size = a.abs();
    let Scaled { exponent, s } = scaled::<N>(size);
    let log2 = log_ratio::<N>(s) * constant_vector::<f32, N>(std::f64::consts::LOG2_E);
    // Infinite exponents are clipped, so that their differences and products are not NaN. The product of
    // the leading digits with the exponent of a is exact.
    let finite = clip::<N>(b, constant_vector::<f32, N>(1e10));
    let leading = Vector::<u32, N>::reinterpret(finite) & Vector::new(0xffff_f000u32);
    let leading = Vector::<f32, N>::reinterpret(leading);
    let product = leading * exponent;
    let whole = product.round();
    let rest = (product - whole) + fma(finite - leading, exponent, finite * log2);
    let more = rest.round();
    let f = (rest - more) * constant_vector::<f32, N>(std::f64::consts::LN_2);
    let p = fma(f * f, polynomial::<f32, N>(f, comptime!(EXPM1.to_vec())), f) + one;
    let power = scale::<N>(p, clip::<N>(whole + more, constant_vector::<f32, N>(400.0)));

    let power = select_many(b.equal(&zero).or(a.equal(&one)), one, power);
    // If `a` is 0 or infinite, the logarithm in 2^(b log2 |a|) is infinite.
    let infinite = size.greater_than(&constant_vector::<f32, N>(LARGEST));
    let extreme = size.equal(&zero).or(infinite);
    let up = infinite
        .vec_and(b.greater_than(&zero))
        .or(size.equal(&zero).vec_and(b.less_than(&zero)));
    let infinity = Vector::<u32, N>::reinterpret(size) | Vector::new(0x7f80_0000u32);
    let infinity = Vector::<f32, N>::reinterpret(infinity);
    let extreme_power = select_many(up, infinity, zero);
    let extreme_power = select_many(b.equal(&zero), one, extreme_power);
    let power = select_many(extreme, extreme_power, power);
    // An odd power has the sign of `a`, which is read from the sign bit, as `a` may be -0.
    let half = b * constant_vector::<f32, N>(0.5);
    let integral = b.floor().equal(&b);
    let is_odd = integral.vec_and(half.floor().not_equal(&half));
    let negative = Vector::<i32, N>::reinterpret(a).less_than(&Vector::new(0i32));
    let power = select_many(negative.vec_and(is_odd), -power, power);
    let undefined = a
        .less_than(&zero)
        .vec_and(b.floor().less_than(&b))
        .vec_and(size.less_equal(&constant_vector::<f32, N>(LARGEST)));
    let power = select_many(undefined, not_a_number::<N>(a), power);
    // NaN to the power 0 is 1, as is 1 to the power NaN.
    let known = a.equal(&a).vec_and(b.equal(&b));
    let forced = b.equal(&zero).or(a.equal(&one));
    select_many(known.or(forced), power, a + b)
}

/// `x` between `-limit` and `limit`.
#[cube]
pub(super) fn clip<N: Size>(x: Vector<f32, N>, limit: Vector<f32, N>) -> Vector<f32, N> {
    let x = select_many(x.greater_than(&limit), limit, x);
    select_many(x.less_than(&-limit), -limit, x)
}

/// $2^n p$ for an integer $n$, $|n| \le 400$. The power is split into four factors, so that results beyond
/// the ends of the range are right.
#[cube]
pub(super) fn scale<N: Size>(p: Vector<f32, N>, n: Vector<f32, N>) -> Vector<f32, N> {
    let third = (n * constant_vector::<f32, N>(0.25)).floor();
    let rest = n - third * constant_vector::<f32, N>(3.0);
    let factor = Vector::<f32, N>::reinterpret(exponent_bits::<N>(third));
    let rest = Vector::<f32, N>::reinterpret(exponent_bits::<N>(rest));
    p * rest * factor * factor * factor
}

/// $x - m \lfloor x / m \rfloor$, which has the sign of `m`.
#[cube]
pub fn modulo<F: Float, N: Size>(x: Vector<F, N>, m: Vector<F, N>) -> Vector<F, N> {
    let zero = constant_vector::<F, N>(0.0);
    let quotient = (x / m).floor();
    // With an infinite divisor, the product with a quotient of 0 would be NaN.
    let rest = select_many(quotient.equal(&zero), x, fma(-quotient, m, x));
    // The quotient may have been rounded up to an integer, so that the rest has the wrong sign.
    let negative = rest.less_than(&zero).vec_and(m.greater_than(&zero));
    let positive = rest.greater_than(&zero).vec_and(m.less_than(&zero));
    select_many(negative.or(positive), rest + m, rest)
}

/// Number of terms of the series of spherical Bessel functions, in addition to their order.
fn terms(math: Math) -> u32 {
    match math.precision {
        Precision::F64 => 20,
        _ => 10,
    }
}

/// The Matérn function of order `n` of the square $s^2$: a polynomial in $s$ times $e^{-s}$.
#[cube]
pub fn matern<F: Float, N: Size>(
    square: Vector<F, N>,
    #[comptime] n: u32,
    #[comptime] math: Math,
) -> Vector<F, N> {
    let s = square.sqrt();
    let exponent = comptime!(math.with(Argument {
        nonpositive: true,
        rounded: true,
        ..Argument::default()
    }));
    if comptime!(n == 0) {
        math::exp::<F, N>(-s, exponent)
    } else {
        // The exponential is 0 long before. For an infinite s the polynomial would be infinite, and the product NaN.
        let most = constant_vector::<F, N>(1e6);
        let s = select_many(s.greater_than(&most), most, s);
        let exp = math::exp::<F, N>(-s, exponent);
        polynomial::<F, N>(s, comptime!(matern_coefficients(n))) * exp
    }
}

/// The spherical Bessel function $j_n$ (DLMF 10.49): a series where $|x| < n + 1$, else the recurrence
/// from $\sin x / x$ upwards, which is stable there.
#[cube]
pub fn spherical_bessel<F: Float, N: Size>(
    x: Vector<F, N>,
    #[comptime] n: u32,
    #[comptime] math: Math,
) -> Vector<F, N> {
    let one = constant_vector::<F, N>(1.0);
    // sum_k (-x^2 / 2)^k / (k! (2n + 3) (2n + 5) .. (2n + 2k + 1)), evaluated from its last term.
    let y = x * x * constant_vector::<F, N>(-0.5);
    let end = comptime!(terms(math) + n);
    let mut sum = constant_vector::<F, N>(1.0);
    #[unroll]
    for back in 0..end {
        let k = comptime!(end - back);
        let factor = comptime!(1.0 / (k as f64 * (2 * n + 2 * k + 1) as f64));
        sum = fma(sum, y * constant_vector::<F, N>(factor), one);
    }
    #[unroll]
    for k in 0..n {
        sum *= x * constant_vector::<F, N>(comptime!(1.0 / (2 * k + 3) as f64));
    }
    let inverse = one / x;
    let mut last = cos::<F, N>(x, math) * inverse;
    let mut far = sin::<F, N>(x, math) * inverse;
    #[unroll]
    for k in 0..n {
        let next = constant_vector::<F, N>(comptime!((2 * k + 1) as f64)) * inverse * far - last;
        last = far;
        far = next;
    }
    let is_near = x
        .abs()
        .less_than(&constant_vector::<F, N>(comptime!(n as f64 + 1.0)));
    let far = select_many(
        x.abs().greater_than(&constant_vector::<F, N>(comptime!(
            if math.precision == Precision::F64 {
                f64::MAX
            } else {
                f32::MAX as f64
            }
        ))),
        constant_vector::<F, N>(0.0),
        far,
    );
    select_many(is_near, sum, far)
}
