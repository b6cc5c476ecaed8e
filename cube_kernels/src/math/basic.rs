//! The basic functions of kernels, of which others are made: exponentials, powers, signs, conversions.

// Lists known at compile time are walked by index, which is what CubeCL can unroll.
#![allow(clippy::needless_range_loop)]

use cubecl::{
    intrinsic,
    ir::{ConstantValue, ElemType, FloatKind},
    prelude::*,
};

use super::{
    Math, NORMAL_MARGIN, Precision,
    coefficients::{EXP, EXP2, LN_2_REST, LOG2_E_UP, MAGIC},
    elementary::polynomial,
    ptx,
};

impl Precision {
    /// The type as CubeCL names it.
    pub fn elem(self) -> ElemType {
        ElemType::Float(match self {
            Precision::F16 => FloatKind::F16,
            Precision::BF16 => FloatKind::BF16,
            Precision::F32 => FloatKind::F32,
            Precision::F64 => FloatKind::F64,
        })
    }
}

/// Whether `mask` is true in any lane.
#[cube]
pub fn any<N: Size>(mask: Vector<bool, N>) -> bool {
    Vector::<u32, N>::cast_from(mask).vector_sum() > 0u32
}

/// Whether `mask` is true in all lanes.
#[cube]
pub fn all<N: Size>(mask: Vector<bool, N>) -> bool {
    Vector::<u32, N>::cast_from(mask).vector_sum() == u32::cast_from(N::value())
}

/// A constant of a kernel, rounded once from `f64`.
#[cube]
pub fn constant<F: Float>(#[comptime] value: f64) -> F {
    intrinsic!(|scope| {
        let elem = F::elem_type(scope);
        elem.constant(ConstantValue::Float(value)).into()
    })
}

/// The same constant in every lane.
#[cube]
pub fn constant_vector<F: Float, N: Size>(#[comptime] value: f64) -> Vector<F, N> {
    Vector::new(constant::<F>(value))
}

/// Converts a stored value to the type `F` in which kernels compute. `E` is the type `stored`.
#[cube]
pub fn widen<E: Float, F: Float>(value: E, #[comptime] stored: Precision) -> F {
    if comptime!(stored == Precision::BF16) {
        F::cast_from(f32::reinterpret(
            u32::cast_from(u16::reinterpret(value)) << 16u32,
        ))
    } else {
        F::cast_from(value)
    }
}

/// Converts a result to the type `O` in which it is stored, which is the type `stored`.
///
/// BF16 is converted by hand in both directions. Not every CPU has instructions for the conversions, and the compiler's
/// own library, which would do them instead, is not there when kernels are linked.
#[cube]
pub fn narrow<A: Float, O: Float>(value: A, #[comptime] stored: Precision) -> O {
    if comptime!(stored == Precision::BF16) {
        let single = f32::cast_from(value);
        let bits = u32::reinterpret(single);
        let rounded = (bits + 0x7fffu32 + ((bits >> 16u32) & 1u32)) >> 16u32;
        let bits = select(single.is_nan(), 0x7fc0u32, rounded);
        O::reinterpret(u16::cast_from(bits))
    } else {
        O::cast_from(value)
    }
}

/// `x` to the power `n`, by repeated squaring.
#[cube]
pub fn powi<F: Float, N: Size>(x: Vector<F, N>, #[comptime] n: i32) -> Vector<F, N> {
    if comptime!(n < 0) {
        let positive = powi::<F, N>(x, comptime!(-n));
        constant_vector::<F, N>(1.0) / positive
    } else if comptime!(n == 0) {
        constant_vector::<F, N>(1.0)
    } else if comptime!(n == 1) {
        x
    } else if comptime!(n % 2 == 0) {
        let half = powi::<F, N>(x, comptime!(n / 2));
        half * half
    } else {
        let rest = powi::<F, N>(x, comptime!(n - 1));
        rest * x
    }
}

/// The same value, in a form that compilers cannot fuse with the operations that use it.
#[cube]
pub fn rounded<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    let most = constant_vector::<F, N>(comptime!(math.precision.largest()));
    // Doubling leaves infinity and NaN as they are, so that the value is `x` in any case.
    select_many(x.less_equal(&most), x, x + x)
}

/// -1, 0 or 1; NaN for NaN.
#[cube]
pub fn sign<F: Float, N: Size>(x: Vector<F, N>) -> Vector<F, N> {
    let zero = constant_vector::<F, N>(0.0);
    let negative = select_many(x.less_than(&zero), constant_vector::<F, N>(-1.0), x);
    select_many(
        x.greater_than(&zero),
        constant_vector::<F, N>(1.0),
        negative,
    )
}

/// 0 below zero, 1 from zero on; NaN for NaN.
#[cube]
pub fn step<F: Float, N: Size>(x: Vector<F, N>) -> Vector<F, N> {
    let zero = constant_vector::<F, N>(0.0);
    let value = select_many(x.less_than(&zero), zero, x);
    select_many(x.greater_equal(&zero), constant_vector::<F, N>(1.0), value)
}

/// The larger value; NaN if either is.
#[cube]
pub fn maximum<F: Float, N: Size>(a: Vector<F, N>, b: Vector<F, N>) -> Vector<F, N> {
    let larger = select_many(a.greater_than(&b), a, b);
    select_many(a.equal(&a), larger, a)
}

/// The smaller value; NaN if either is.
#[cube]
pub fn minimum<F: Float, N: Size>(a: Vector<F, N>, b: Vector<F, N>) -> Vector<F, N> {
    let smaller = select_many(a.less_than(&b), a, b);
    select_many(a.equal(&a), smaller, a)
}

/// The reciprocal square root, with 0 at 0.
#[cube]
pub fn rsqrt<F: Float, N: Size>(x: Vector<F, N>) -> Vector<F, N> {
    // Not the runtimes' own function: several of them answer with an estimate.
    let value = constant_vector::<F, N>(1.0) / x.sqrt();
    let zero = constant_vector::<F, N>(0.0);
    select_many(x.equal(&zero), zero, value)
}

/// The exponential, or $2^x$ if the argument is known to be an exponent of a power of 2. If `x` has been rounded and
/// powers of 2 take fewer operations, it is the power of 2 of a product, which is rounded again.
#[cube]
pub fn exp<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.argument.binary && math.binary()) {
        exp2::<F, N>(x, math)
    } else if comptime!(math.argument.binary) {
        let x = x * constant_vector::<F, N>(std::f64::consts::LN_2);
        exp::<F, N>(x, comptime!(math.of_e()))
    } else if comptime!(math.argument.rounded && math.binary()) {
        exp2::<F, N>(x * constant_vector::<F, N>(std::f64::consts::LOG2_E), math)
    } else if comptime!(math.polynomial_exp && math.precision == Precision::F32) {
        Vector::<F, N>::cast_from(exp_f32::<N>(Vector::<f32, N>::cast_from(x), math))
    } else if comptime!(math.binary()) {
        exp_of_exp2::<F, N>(x, math)
    } else {
        x.exp()
    }
}

/// $2^x$ by a polynomial or the card's instruction, where [`Math::binary`] holds.
#[cube]
pub fn exp2<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.polynomial_exp) {
        let x = Vector::<f32, N>::cast_from(x);
        let x = if comptime!(math.argument.nonpositive) {
            x
        } else {
            // Written as a select, not as a minimum, so that a NaN passes.
            let high = constant_vector::<f32, N>(128.0);
            select_many(high.less_than(&x), high, x)
        };
        Vector::cast_from(exp2_f32::<N>(x, false))
    } else {
        let mut y = Vector::<F, N>::empty();
        #[unroll]
        for lane in 0..N::value() {
            let power = ptx::exp2(f32::cast_from(x.extract(lane)));
            y.insert(lane, F::cast_from(power));
        }
        y
    }
}

/// The same for arguments below 128 that are not NaN.
#[cube]
pub fn exp2_below<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.polynomial_exp) {
        Vector::cast_from(exp2_f32::<N>(Vector::<f32, N>::cast_from(x), true))
    } else {
        exp2::<F, N>(x, math)
    }
}

/// $2^x$ for $x \le 128$ or NaN, as $2^k 2^f$ with $k = \mathrm{round}(x)$. With `number`, $x$ must not be NaN.
///
/// The rounding is that of [`exp_f32`] on a CPU. The polynomial of degree 5 is the minimax one with the
/// constant coefficient fixed at 1; its relative error is 9.3e-8. Results below $2^{-126}$ are 0 or lose
/// precision.
#[cube]
fn exp2_f32<N: Size>(x: Vector<f32, N>, #[comptime] number: bool) -> Vector<f32, N> {
    // At -127, $f$ is 0 and the polynomial is 1. Adding the exponent to its bits leaves none: the result is 0.
    let low = constant_vector::<f32, N>(-127.0);
    let x = select_many(low.greater_than(&x), low, x);
    let magic = constant_vector::<f32, N>(MAGIC);
    let shifted = x + magic;
    let f = x - (shifted - magic);
    let p = polynomial::<f32, N>(f, comptime!(EXP2.to_vec()));
    let bits = Vector::<u32, N>::reinterpret(shifted);
    let bits = if comptime!(number) {
        bits
    } else {
        // The bits of a NaN are larger than `nothing`, and nothing is left of `nothing` when it is shifted. The
        // polynomial is NaN then, and stays so.
        let nothing = Vector::new(comptime!((MAGIC as f32).to_bits() + (1 << 9)));
        select_many(bits.less_than(&nothing), bits, nothing)
    };
    let exponent = bits << Vector::new(23u32);
    Vector::<f32, N>::reinterpret(Vector::<u32, N>::reinterpret(p) + exponent)
}

/// $e^x = 2^t (1 + r)$, where $t$ is $x \log_2 e$ after rounding and $r = x - t \ln 2$.
///
/// For arguments that are not positive, $\log_2 e$ is rounded up, so that $r$ is not negative. Clamping $r$ to the
/// range from 0 to 1, which costs nothing, does not change it then, except for infinite arguments, where it gives 0
/// instead of NaN. The relative error of $\ln 2$ is 2.7e-9.
#[cube]
fn exp_of_exp2<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    let mut y = Vector::<F, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        let x = f32::cast_from(x.extract(lane));
        let minus_ln_2 = constant::<f32>(-std::f64::consts::LN_2);
        let value = if comptime!(math.argument.nonpositive) {
            let t = x * constant::<f32>(LOG2_E_UP);
            let power = ptx::exp2(t);
            fma(power, ptx::fma_saturated(t, minus_ln_2, x), power)
        } else {
            let t = x * constant::<f32>(std::f64::consts::LOG2_E);
            let power = ptx::exp2(t);
            let value = fma(power, fma(t, minus_ln_2, x), power);
            // A power of 0 or infinity is left as it is. Its correction could be NaN.
            select(t.abs() < 128.0f32, value, power)
        };
        y.insert(lane, F::cast_from(value));
    }
    y
}

/// $e^x$ as $2^k e^f$ with $k = \mathrm{round}(x / \ln 2)$ and $|f| \le \ln 2 / 2$.
///
/// On a CPU the rounding adds a number so large that the integer is in the low bits of the mantissa.
/// With the bias of the exponent added, a shift turns these bits into $2^k$. Compilers of shaders simplify
/// the addition, so on other devices the rounding is a call of `round`. The polynomial of degree 5 is the
/// minimax one with the constant and linear coefficients fixed at 1; its relative error is 1.05e-7. NaN stays
/// NaN; results below $2^{-126}$ are 0 or lose precision; arguments above $127.5 \ln 2 = 88.376$ give
/// infinity.
#[cube]
pub(super) fn exp_f32<N: Size>(x: Vector<f32, N>, #[comptime] math: Math) -> Vector<f32, N> {
    // Written as selects, not as max and min, so that a NaN passes both.
    let low = constant_vector::<f32, N>(-88.02969193);
    let x = select_many(low.greater_than(&x), low, x);
    let x = if comptime!(math.argument.nonpositive) {
        x
    } else {
        let high = constant_vector::<f32, N>(88.7228394);
        select_many(high.less_than(&x), high, x)
    };
    let log2_e = constant_vector::<f32, N>(std::f64::consts::LOG2_E);
    let (f, bits) = if comptime!(math.polynomial_exp) {
        let magic = constant_vector::<f32, N>(MAGIC + 127.0);
        let shifted = fma(x, log2_e, magic);
        let k = shifted - magic;
        let f = fma(k, constant_vector::<f32, N>(-std::f64::consts::LN_2), x);
        (
            f,
            Vector::<u32, N>::reinterpret(shifted) << Vector::new(23u32),
        )
    } else {
        let k = (x * log2_e).round();
        // ln 2 is split into a part of few digits and the rest, as products may be rounded.
        let f = fma(k, constant_vector::<f32, N>(-0.693359375), x);
        let f = fma(apart::<N>(k, math), constant_vector::<f32, N>(LN_2_REST), f);
        (f, exponent_bits::<N>(k))
    };
    let p = polynomial::<f32, N>(f, comptime!(EXP.to_vec()));
    p * Vector::<f32, N>::reinterpret(bits)
}

/// `x`. Where the lanes of a vector are computed by one instruction, it is 0 with the sign of `x` where its product with
/// `factor` is so small that products with that may not be normal numbers. `x` itself is replaced, and not the product,
/// because already the product would take long.
#[cube]
pub fn flushed<F: Float, N: Size>(
    x: Vector<F, N>,
    factor: Vector<F, N>,
    #[comptime] math: Math,
) -> Vector<F, N> {
    if comptime!(math.simd()) {
        let is_small = has_small_product::<F, N>(x, factor, math);
        select_many(is_small, signed_zero::<F, N>(x, math), x)
    } else {
        x
    }
}

/// 0 with the sign of `x`.
#[cube]
fn signed_zero<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F64) {
        let bits = Vector::<u64, N>::reinterpret(Vector::<f64, N>::cast_from(x));
        let sign = bits & Vector::<u64, N>::new(0x8000_0000_0000_0000u64);
        Vector::<F, N>::cast_from(Vector::<f64, N>::reinterpret(sign))
    } else {
        let bits = Vector::<u32, N>::reinterpret(Vector::<f32, N>::cast_from(x));
        let sign = bits & Vector::<u32, N>::new(0x8000_0000u32);
        Vector::<F, N>::cast_from(Vector::<f32, N>::reinterpret(sign))
    }
}

/// The product `a * b`, but 0 where `a` is 0, whatever `b` is. If `flushes`, `b` is [`flushed`] first.
#[cube]
pub fn strong_mul<F: Float, N: Size>(
    a: Vector<F, N>,
    b: Vector<F, N>,
    #[comptime] flushes: bool,
    #[comptime] math: Math,
) -> Vector<F, N> {
    select_many(
        a.equal(&constant_vector::<F, N>(0.0)),
        constant_vector::<F, N>(0.0),
        if comptime!(flushes) {
            a * flushed::<F, N>(b, a, math)
        } else {
            a * b
        },
    )
}

/// Where the product of `a` and `b` may be less than the least normal number times [`NORMAL_MARGIN`]. False where one of
/// them is NaN.
#[cube]
fn has_small_product<F: Float, N: Size>(
    a: Vector<F, N>,
    b: Vector<F, N>,
    #[comptime] math: Math,
) -> Vector<bool, N> {
    // The bits of a number are a little less than its binary logarithm, in a fixed scale and with an offset. NaN has the
    // largest bits. Sums of the bits of two numbers without a sign stay in range.
    let (a, b) = (a.abs(), b.abs());
    if comptime!(math.precision == Precision::F64) {
        let a = Vector::<u64, N>::reinterpret(Vector::<f64, N>::cast_from(a));
        let b = Vector::<u64, N>::reinterpret(Vector::<f64, N>::cast_from(b));
        let limit = Vector::<u64, N>::new(comptime!((2.0 * NORMAL_MARGIN).to_bits()));
        (a + b).less_than(&limit)
    } else {
        let a = Vector::<u32, N>::reinterpret(Vector::<f32, N>::cast_from(a));
        let b = Vector::<u32, N>::reinterpret(Vector::<f32, N>::cast_from(b));
        let limit = Vector::<u32, N>::new(comptime!((2.0 * NORMAL_MARGIN as f32).to_bits()));
        (a + b).less_than(&limit)
    }
}

/// `x`, which must be below $2^{30}$, in a form that compilers of shaders cannot know to be `x`.
///
/// Otherwise they would contract $a x + b x$ to $(a + b) x$ with a rounded $a + b$. If `x` is a product, they would
/// also compute $x - a - b$ as $x - (a + b)$ with a rounded sum.
#[cube]
pub(super) fn apart<N: Size>(x: Vector<f32, N>, #[comptime] math: Math) -> Vector<f32, N> {
    if comptime!(math.fused) {
        x
    } else {
        let limit = constant_vector::<f32, N>(1073741824.0);
        select_many(x.greater_than(&limit), limit, x)
    }
}

/// The bits of $2^k$ for an integer $-127 \le k \le 128$; 0 and infinity at the ends.
#[cube]
pub(super) fn exponent_bits<N: Size>(k: Vector<f32, N>) -> Vector<u32, N> {
    Vector::<u32, N>::cast_from(k + constant_vector::<f32, N>(127.0)) << Vector::new(23u32)
}
