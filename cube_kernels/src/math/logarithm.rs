//! Logarithms, exponentials near 1, and the functions that are made of them.

use cubecl::prelude::*;

use super::coefficients::*;
use super::elementary::{clip, largest, not_a_number, polynomial, scale};
use super::{Math, Precision, apart, constant_vector, exp_f32};
use crate::math;

/// $x = 2^e \frac{1 + s}{1 - s}$ with the second factor in $[\sqrt{1/2}, \sqrt 2)$; for positive
/// finite numbers.
#[derive(CubeType)]
pub struct Scaled<N: Size> {
    pub exponent: Vector<f32, N>,
    pub s: Vector<f32, N>,
}

#[cube]
pub fn scaled<N: Size>(x: Vector<f32, N>) -> Scaled<N> {
    let one = constant_vector::<f32, N>(1.0);
    let tiny = x.less_than(&constant_vector::<f32, N>(SMALLEST));
    let x = select_many(tiny, x * constant_vector::<f32, N>(8388608.0), x);
    let shift = select_many(
        tiny,
        constant_vector::<f32, N>(-23.0),
        constant_vector::<f32, N>(0.0),
    );
    // 128 is added to the exponent, as numbers below 1 have a negative one.
    let offset = Vector::<u32, N>::reinterpret(x) + Vector::new(comptime!(0x4000_0000 - SQRT_HALF));
    let exponent = Vector::<f32, N>::cast_from(offset >> Vector::new(23u32))
        - constant_vector::<f32, N>(128.0);
    let bits = (offset & Vector::new(0x007f_ffffu32)) + Vector::new(SQRT_HALF);
    let m = Vector::<f32, N>::reinterpret(bits);
    Scaled::<N> {
        exponent: exponent + shift,
        s: (m - one) / (m + one),
    }
}

/// $\log \frac{1 + s}{1 - s}$.
#[cube]
pub fn log_ratio<N: Size>(s: Vector<f32, N>) -> Vector<f32, N> {
    let square = s * s;
    fma(
        s * square,
        polynomial::<f32, N>(square, comptime!(LOG.to_vec())),
        s + s,
    )
}

#[cube]
pub fn log_f32<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let Scaled { exponent, s } = scaled::<N>(x);
    // ln 2 is split into a part of few digits and the rest.
    let low = fma(
        exponent,
        constant_vector::<f32, N>(comptime!(-LN_2_REST)),
        log_ratio::<N>(s),
    );
    let log = fma(exponent, constant_vector::<f32, N>(0.693359375), low);
    log_ends::<N>(x, log)
}

/// The logarithm of `x`, given `log`, which is right for positive finite `x`.
#[cube]
pub fn log_ends<N: Size>(x: Vector<f32, N>, log: Vector<f32, N>) -> Vector<f32, N> {
    let zero = constant_vector::<f32, N>(0.0);
    let log = select_many(x.greater_than(&constant_vector::<f32, N>(LARGEST)), x, log);
    let infinite = Vector::<u32, N>::reinterpret(x) | Vector::new(0xff80_0000u32);
    let log = select_many(x.equal(&zero), Vector::<f32, N>::reinterpret(infinite), log);
    select_many(x.greater_equal(&zero), log, not_a_number::<N>(x))
}

/// $x = 2^e m$ with $m$ in $[\sqrt{1/2}, \sqrt 2)$, for positive finite numbers.
#[derive(CubeType)]
pub struct ScaledDouble<F: Float, N: Size> {
    pub exponent: Vector<F, N>,
    pub m: Vector<F, N>,
}

#[cube]
pub fn scaled_double<F: Float, N: Size>(x: Vector<F, N>) -> ScaledDouble<F, N> {
    let x = Vector::<f64, N>::cast_from(x);
    let tiny = x.less_than(&constant_vector::<f64, N>(f64::MIN_POSITIVE));
    let x = select_many(tiny, x * constant_vector::<f64, N>(18014398509481984.0), x);
    let shift = select_many(
        tiny,
        constant_vector::<f64, N>(-54.0),
        constant_vector::<f64, N>(0.0),
    );
    // As in single precision, but 1024 is added to the exponent.
    let offset = Vector::<u64, N>::reinterpret(x)
        + Vector::new(comptime!(0x4000_0000_0000_0000 - SQRT_HALF_DOUBLE));
    let exponent = Vector::<f64, N>::cast_from(offset >> Vector::new(52u64))
        - constant_vector::<f64, N>(1024.0);
    let bits = (offset & Vector::new(0x000f_ffff_ffff_ffffu64)) + Vector::new(SQRT_HALF_DOUBLE);
    ScaledDouble::<F, N> {
        exponent: Vector::<F, N>::cast_from(exponent + shift),
        m: Vector::<F, N>::cast_from(Vector::<f64, N>::reinterpret(bits)),
    }
}

/// The logarithm to another base. `unit` is the logarithm of 2 to this base, in a part of few digits and the rest, and
/// `of_e` is that of $e$. The exponent of `x` is kept apart, so that results that are exact stay exact.
#[cube]
pub fn log_to_base<F: Float, N: Size>(
    x: Vector<F, N>,
    #[comptime] unit: (f64, f64),
    #[comptime] of_e: f64,
    #[comptime] math: Math,
) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        let x = Vector::<f32, N>::cast_from(x);
        let Scaled { exponent, s } = scaled::<N>(x);
        let log = log_ratio::<N>(s) * constant_vector::<f32, N>(of_e);
        let log = fma(exponent, constant_vector::<f32, N>(comptime!(unit.1)), log);
        let log = fma(exponent, constant_vector::<f32, N>(comptime!(unit.0)), log);
        Vector::<F, N>::cast_from(log_ends::<N>(x, log))
    } else {
        let ScaledDouble { exponent, m } = scaled_double::<F, N>(x);
        let log = m.ln() * constant_vector::<F, N>(of_e);
        let log = fma(exponent, constant_vector::<F, N>(comptime!(unit.1)), log);
        let log = fma(exponent, constant_vector::<F, N>(comptime!(unit.0)), log);
        let zero = constant_vector::<F, N>(0.0);
        let finite = x
            .greater_than(&zero)
            .vec_and(x.less_equal(&largest::<F, N>(math)));
        select_many(finite, log, x.ln())
    }
}

/// The logarithm to base 2.
#[cube]
pub fn log2<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    log_to_base::<F, N>(x, comptime!((1.0, 0.0)), std::f64::consts::LOG2_E, math)
}

/// The logarithm to base 10.
#[cube]
pub fn log10<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    log_to_base::<F, N>(
        x,
        comptime!((0.301025390625, LOG10_2_REST)),
        std::f64::consts::LOG10_E,
        math,
    )
}

/// The natural logarithm.
#[cube]
pub fn log<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        Vector::<F, N>::cast_from(log_f32::<N>(Vector::<f32, N>::cast_from(x)))
    } else {
        x.ln()
    }
}

/// $\log(1 + x)$, exact for small $x$.
#[cube]
pub fn log1p<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    let one = constant_vector::<F, N>(1.0);
    if comptime!(math.precision == Precision::F32) {
        let x = Vector::<f32, N>::cast_from(x);
        let far = log_f32::<N>(x + constant_vector::<f32, N>(1.0));
        let near = log_ratio::<N>(x / (x + constant_vector::<f32, N>(2.0)));
        // From about sqrt(1/2) - 1 to about sqrt(2) - 1.
        let is_near = (x - constant_vector::<f32, N>(0.06))
            .abs()
            .less_than(&constant_vector::<f32, N>(0.352));
        Vector::<F, N>::cast_from(select_many(is_near, near, far))
    } else {
        // The rounding error of the sum, relative to the sum (Kahan).
        let sum = one + x;
        let lost = ((sum - one) - x) / sum;
        // For a sum of 0 or infinity, `lost` is NaN, and there is nothing to correct.
        select_many(lost.equal(&lost), sum.ln() - lost, sum.ln())
    }
}

/// $e^x - 1$, exact for small $x$.
#[cube]
pub fn expm1<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    let one = constant_vector::<F, N>(1.0);
    if comptime!(math.precision == Precision::F32) {
        let x = Vector::<f32, N>::cast_from(x);
        let one = constant_vector::<f32, N>(1.0);
        let far = exp_f32::<N>(x, math) - one;
        // With p = e^(x / 2) - 1, where |x / 2| <= ln 2 / 2, the result is p (p + 2).
        let half = x * constant_vector::<f32, N>(0.5);
        let p = fma(
            half * half,
            polynomial::<f32, N>(half, comptime!(EXPM1.to_vec())),
            half,
        );
        let near = fma(p, p, p + p);
        let is_near = x.abs().less_than(&constant_vector::<f32, N>(0.69));
        Vector::<F, N>::cast_from(select_many(is_near, near, far))
    } else {
        // Kahan: the error of the exponential cancels in the quotient.
        let exp = x.exp();
        let near = (exp - one) * x / exp.ln();
        let near = select_many(exp.equal(&one), x, near);
        let is_near = x.abs().less_than(&constant_vector::<F, N>(1.0));
        select_many(is_near, near, exp - one)
    }
}

/// The power $2^x$.
#[cube]
pub fn exp2<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.binary()) {
        math::exp2::<F, N>(x, math)
    } else if comptime!(math.precision == Precision::F32) {
        // Clipped, so that no difference of infinities is NaN.
        let x = Vector::<f32, N>::cast_from(x);
        let x = clip::<N>(x, constant_vector::<f32, N>(400.0));
        let k = x.round();
        let f = (x - k) * constant_vector::<f32, N>(std::f64::consts::LN_2);
        Vector::<F, N>::cast_from(scale::<N>(exp_near::<N>(f), k))
    } else {
        constant_vector::<F, N>(2.0).powf(x)
    }
}

/// $e^f$ for $|f| \le \ln 2 / 2$.
#[cube]
pub fn exp_near<N: Size>(f: Vector<f32, N>) -> Vector<f32, N> {
    let p = polynomial::<f32, N>(f, comptime!(EXPM1.to_vec()));
    fma(f * f, p, f) + constant_vector::<f32, N>(1.0)
}

/// $e^{-x - \delta}$ for $0 \le x$ and a small $\delta$, as exact as a product can be, also below the
/// smallest normal number.
#[cube]
pub(super) fn exp_of_negative<F: Float, N: Size>(
    x: Vector<F, N>,
    delta: Vector<F, N>,
    #[comptime] math: Math,
) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        // From here on the result is 0.
        let x = clip::<N>(
            Vector::<f32, N>::cast_from(x),
            constant_vector::<f32, N>(200.0),
        );
        let delta = Vector::<f32, N>::cast_from(delta);
        let k = ((x + delta) * constant_vector::<f32, N>(std::f64::consts::LOG2_E)).round();
        let f = fma(k, constant_vector::<f32, N>(0.693359375), -x);
        let f = fma(
            apart::<N>(k, math),
            constant_vector::<f32, N>(comptime!(-LN_2_REST)),
            f,
        );
        let f = f - delta;
        Vector::<F, N>::cast_from(scale::<N>(exp_near::<N>(f), -k))
    } else {
        // The series of (1 - e^-delta) / delta, which is enough for delta below 2e-5.
        let rest = polynomial::<F, N>(-delta, comptime!(vec![1.0, 0.5, 1.0 / 6.0]));
        let exp = (-x).exp();
        exp - exp * (delta * rest)
    }
}

/// $e^{-x}$ for $0 \le x$.
#[cube]
fn exp_of_minus<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        let x = Vector::<f32, N>::cast_from(x);
        Vector::<F, N>::cast_from(exp_f32::<N>(-x, comptime!(math.nonpositive())))
    } else {
        (-x).exp()
    }
}

/// $\log(e^a + e^b)$.
#[cube]
pub fn logaddexp<F: Float, N: Size>(
    a: Vector<F, N>,
    b: Vector<F, N>,
    #[comptime] math: Math,
) -> Vector<F, N> {
    let size = (a - b).abs();
    let exp = exp_of_minus::<F, N>(size, math);
    let sum = math::maximum::<F, N>(a, b) + log1p::<F, N>(exp, math);
    // Equal arguments are a case of their own, as the difference of equal infinities is NaN.
    let twice = a + constant_vector::<F, N>(std::f64::consts::LN_2);
    select_many(a.equal(&b), twice, sum)
}

/// The inverse hyperbolic cosine.
#[cube]
pub fn acosh<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    // With u = x - 1, which is exact where it is small, e^y - 1 = u + sqrt(u (u + 2)).
    let u = x - constant_vector::<F, N>(1.0);
    let root = (u * (u + constant_vector::<F, N>(2.0))).sqrt();
    let y = log1p_or_double::<F, N>(x, u + root, math);
    if comptime!(math.precision == Precision::F32) {
        // NaN below 1 is made here: shaders may give anything for the root of a negative number.
        let known = x.greater_equal(&constant_vector::<F, N>(1.0));
        let nan = not_a_number::<N>(Vector::<f32, N>::cast_from(x));
        select_many(known, y, Vector::<F, N>::cast_from(nan))
    } else {
        let known = x.greater_equal(&constant_vector::<F, N>(1.0));
        select_many(known, y, u.sqrt())
    }
}

/// The inverse hyperbolic sine.
#[cube]
pub fn asinh<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    // e^y - 1 = x + (sqrt(1 + x^2) - 1), where the second summand is x^2 / (1 + sqrt(1 + x^2)).
    let one = constant_vector::<F, N>(1.0);
    let size = x.abs();
    let square = size * size;
    let rest = square / (one + (one + square).sqrt());
    let y = log1p_or_double::<F, N>(size, size + rest, math);
    odd_value::<F, N>(y, x)
}

/// The inverse hyperbolic tangent.
#[cube]
pub fn atanh<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    let size = x.abs();
    let ratio = (size + size) / (constant_vector::<F, N>(1.0) - size);
    let y = log1p::<F, N>(ratio, math) * constant_vector::<F, N>(0.5);
    odd_value::<F, N>(y, x)
}

/// $\log(1 + u)$, or $\log 2 x$ if $x$ is so large that adding 1 does not change it.
#[cube]
pub fn log1p_or_double<F: Float, N: Size>(
    x: Vector<F, N>,
    u: Vector<F, N>,
    #[comptime] math: Math,
) -> Vector<F, N> {
    let limit = comptime!(match math.precision {
        Precision::F64 => 1e17,
        _ => 1e8,
    });
    let large = x.greater_than(&constant_vector::<F, N>(limit));
    let zero = constant_vector::<F, N>(0.0);
    let ln_2 = constant_vector::<F, N>(std::f64::consts::LN_2);
    log1p::<F, N>(select_many(large, x, u), math) + select_many(large, ln_2, zero)
}

/// The value of an odd function at `x`, given its value `y` at $|x|$. Zeros keep their sign.
#[cube]
pub fn odd_value<F: Float, N: Size>(y: Vector<F, N>, x: Vector<F, N>) -> Vector<F, N> {
    let zero = constant_vector::<F, N>(0.0);
    let y = select_many(x.less_than(&zero), -y, y);
    select_many(x.equal(&zero), x, y)
}

/// $\log(1 + e^x)$.
#[cube]
pub fn softplus<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    let zero = constant_vector::<F, N>(0.0);
    let exp = exp_of_minus::<F, N>(x.abs(), math);
    // Written so that NaN stays.
    let positive = select_many(x.less_than(&zero), zero, x);
    positive + log1p::<F, N>(exp, math)
}
