//! Elementary functions of kernels.
//!
//! In `F32` they are computed here, with arithmetic and the square root only, as the functions of
//! graphics drivers are not accurate enough: Vulkan allows an arc tangent 4096 units in the last
//! place, a sine $2^{-11}$. The same code on every device also gives the same values. Polynomials are
//! minimax (Remez' algorithm) for the stated interval; the errors given are theirs, without those of
//! the rounding of each operation.
//!
//! In `F64` the functions of the runtime are used where it has them.

use cubecl::prelude::*;

use super::{
    Argument, LN_2_REST, Math, Precision, any, apart, constant_vector, exp_f32, exponent_bits,
};
use crate::math;

/// The largest normal number and the smallest, in single precision.
const LARGEST: f64 = f32::MAX as f64;
const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

/// Bits of $\sqrt{1/2}$ in single precision.
const SQRT_HALF: u32 = 0x3f35_04f3;

/// $\sin r = r + r^3 P(r^2)$ for $|r| \le \pi/4$; error 4e-9.
const SIN: [f64; 3] = [-0.166666552, 0.00833217334, -0.000195166562];
/// $\cos r = 1 - r^2/2 + r^4 P(r^2)$ for $|r| \le \pi/4$; error 1e-10.
const COS: [f64; 3] = [0.0416666456, -0.00138873619, 2.44377297e-05];
/// $\log \frac{1 + s}{1 - s} = 2 s + s^3 P(s^2)$ for $|s| \le 0.1716$; error 1e-11.
const LOG: [f64; 4] = [0.666666627, 0.400003463, 0.285366029, 0.235963315];
/// $\arctan r = r + r^3 P(r^2)$ for $|r| \le 1$; relative error 2e-8.
const ATAN: [f64; 8] = [
    -0.333331525,
    0.199937731,
    -0.142110556,
    0.106660053,
    -0.075522162,
    0.0432118848,
    -0.0163679421,
    0.00292069605,
];
/// $\arcsin r = r + r^3 P(r^2)$ for $|r| \le 1/2$; error 5e-9.
const ASIN: [f64; 5] = [
    0.166667551,
    0.0749519616,
    0.0454833359,
    0.0241144802,
    0.0422785319,
];
/// $\tanh r = r + r^3 P(r^2)$ for $|r| \le 0.63$; error 5e-9.
const TANH: [f64; 5] = [
    -0.333332777,
    0.133313283,
    -0.0537292287,
    0.0206020046,
    -0.00566078629,
];
/// $\sinh r = r + r^3 P(r^2)$ for $|r| \le 1$; error 6e-11.
const SINH: [f64; 4] = [0.166666672, 0.00833335146, 0.000198359616, 2.81806319e-06];
/// $e^f - 1 = f + f^2 P(f)$ for $|f| \le \ln 2 / 2$; relative error 1e-8.
const EXPM1: [f64; 5] = [0.5, 0.16666542, 0.0416662805, 0.00836664345, 0.00139465509];
/// $\mathrm{erf}\, x = x P(x^2)$ for $|x| \le 0.92$; relative error 2e-8.
const ERF: [f64; 6] = [
    1.12837911,
    -0.376124948,
    0.112818152,
    -0.0267665684,
    0.0049931095,
    -0.000599048799,
];
/// $\log(1 - \mathrm{erf}\, x) = P(x)$ for $0.9 \le x \le 4$; error of erf 2e-9.
const LOG_ERFC: [f64; 7] = [
    -0.000166463971,
    -1.12779713,
    -0.636976182,
    -0.104113571,
    0.0223151594,
    -0.00306547643,
    0.0001982182,
];
/// As [`ERF`], relative error 6e-19.
const ERF_DOUBLE: [f64; 12] = [
    std::f64::consts::FRAC_2_SQRT_PI,
    -0.37612638903183726,
    0.11283791670953695,
    -0.026866170644804874,
    0.005223977621584844,
    -0.0008548326753803242,
    0.00012055321000015634,
    -1.4925298718435879e-05,
    1.6455198087745657e-06,
    -1.6275323755291792e-07,
    1.4045220893025346e-08,
    -8.479917630812715e-10,
];
/// As [`LOG_ERFC`], of $x - 1.45$ for $0.9 \le x \le 2$; error of erf 5e-18.
const LOG_ERFC_NEAR: [f64; 14] = [
    -3.2112803843330977,
    -3.4197334928413654,
    -0.8886750164105058,
    -0.027057465102660223,
    0.006329246250221503,
    -0.0013231650963740449,
    0.00022361781548390722,
    -2.118875695119388e-05,
    -3.8097568960531647e-06,
    2.806592174490278e-06,
    -9.301640639875314e-07,
    2.1170526745771428e-07,
    -2.3647256533248294e-08,
    -6.680421092454158e-09,
];
/// As [`LOG_ERFC`], of $x - 2.75$ for $2 \le x \le 3.5$; error of erf 3e-18.
const LOG_ERFC_MIDDLE: [f64; 12] = [
    -9.204140410324301,
    -5.826535955024548,
    -0.9512867412774394,
    -0.008933257062792199,
    0.0017050156831505577,
    -0.00032065936513165695,
    5.759379370105365e-05,
    -9.57962546034161e-06,
    1.403031099422203e-06,
    -1.640208190472208e-07,
    6.652146120048375e-09,
    8.04138657098204e-09,
];
/// As [`LOG_ERFC`], of $x - 4.75$ for $3.5 \le x \le 6$; error of erf 1e-21.
const LOG_ERFC_FAR: [f64; 10] = [
    -24.714058941862483,
    -9.702088576202955,
    -0.9803406338969552,
    -0.002459588028357568,
    0.00033420668600041455,
    -4.6901561362488175e-05,
    6.395476756265775e-06,
    -1.092833537981815e-06,
    3.0736347912134496e-08,
    -4.288409808473448e-08,
];

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
fn odd<F: Float, N: Size>(r: Vector<F, N>, #[comptime] c: Vec<f64>) -> Vector<F, N> {
    let square = r * r;
    fma(r * square, polynomial::<F, N>(square, c), r)
}

/// NaN that keeps the sign of `x`; made of its bits, as shaders cannot write NaN.
#[cube]
pub(super) fn not_a_number<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let bits = Vector::<u32, N>::reinterpret(x) | Vector::new(0x7fc0_0000u32);
    Vector::<f32, N>::reinterpret(bits)
}

/// `magnitude`, which is not negative, with the sign of `x`.
#[cube]
fn with_sign<N: Size>(magnitude: Vector<f32, N>, x: Vector<f32, N>) -> Vector<f32, N> {
    let sign = Vector::<u32, N>::reinterpret(x) & Vector::new(0x8000_0000u32);
    Vector::<f32, N>::reinterpret(Vector::<u32, N>::reinterpret(magnitude) | sign)
}

/// The sine and cosine: $x = k \pi/2 + r$ (Cody and Waite, "Software manual for the elementary
/// functions", 1980).
#[derive(CubeType)]
struct Turn<N: Size> {
    sin: Vector<f32, N>,
    cos: Vector<f32, N>,
}

/// From here on multiples of the parts of $\pi/2$ are not exact any more: where a multiply-add rounds once, and
/// where the product is rounded, too, which then must have 24 digits at most.
fn large_angle(math: Math) -> f64 {
    if math.fused { 65536.0 } else { 8192.0 }
}

/// Of angles that are not large.
#[cube]
fn turn<N: Size>(x: Vector<f32, N>, #[comptime] math: Math) -> Turn<N> {
    let quarters = constant_vector::<f32, N>(std::f64::consts::FRAC_2_PI);
    let (k, quadrant) = if comptime!(math.fused && !math.simd()) {
        // Where numbers are this large, neighbours differ by 1, and the last bits are those of the integer.
        let integers = constant_vector::<f32, N>(12582912.0);
        let shifted = fma(x, quarters, integers);
        let quadrant = Vector::<u32, N>::reinterpret(shifted);
        (shifted - integers, quadrant)
    } else {
        let k = (x * quarters).round();
        (k, quadrant::<N>(k))
    };
    // A part of 8 digits, one of 11, whose products with small integers are exact, and the rest.
    let r = fma(
        k,
        constant_vector::<f32, N>(-1.5703125),
        apart::<N>(x, math),
    );
    let other = apart::<N>(k, math);
    let r = fma(other, constant_vector::<f32, N>(-4.837512969970703e-4), r);
    let r = fma(k, constant_vector::<f32, N>(-7.549789954891882e-8), r);
    turn_of::<N>(quadrant, r, math)
}

/// An integer `k` whose last two bits are the quadrant of the angle $k \pi/2$.
#[cube]
fn quadrant<N: Size>(k: Vector<f32, N>) -> Vector<u32, N> {
    Vector::<u32, N>::reinterpret(Vector::<i32, N>::cast_from(k))
}

/// A function of an angle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Circular {
    Sin,
    Cos,
    Tan,
}

#[cube]
impl<N: Size> Turn<N> {
    fn value(&self, #[comptime] function: Circular) -> Vector<f32, N> {
        match function {
            Circular::Sin => self.sin,
            Circular::Cos => self.cos,
            Circular::Tan => self.sin / self.cos,
        }
    }
}

/// The value where it is `near` for angles that are not large.
///
/// Few angles are large, so that this is a branch, and none where angles are known to be small. What is computed
/// for other angles is left outside, so that sines and cosines share it. On a CPU the branch calls the functions
/// of the host, which are right for all angles, as that takes less to compile; those of GPUs are not.
#[cube]
fn with_large<N: Size>(
    x: Vector<f32, N>,
    near: Vector<f32, N>,
    #[comptime] function: Circular,
    #[comptime] math: Math,
) -> Vector<f32, N> {
    let mut value = near;
    if comptime!(!math.argument.small) {
        let limit = constant_vector::<f32, N>(comptime!(large_angle(math)));
        if comptime!(math.simd()) {
            let large = x.abs().greater_equal(&limit);
            if any::<N>(large) {
                // Of single numbers, as those of vectors are not the host's.
                let mut far = x;
                #[unroll]
                for lane in 0..N::value() {
                    let angle = x.extract(lane);
                    let value = match function {
                        Circular::Sin => angle.sin(),
                        Circular::Cos => angle.cos(),
                        Circular::Tan => angle.tan(),
                    };
                    far.insert(lane, value);
                }
                value = select_many(large, far, near);
            }
        } else {
            let limit = limit.extract(0usize);
            if any_beyond::<N>(x, limit, math) {
                // A branch a lane: computed side by side they would take more registers, which all of the
                // kernel would pay for.
                #[unroll]
                for lane in 0..N::value() {
                    let angle = x.extract(lane);
                    let mut far = near.extract(lane);
                    if angle.abs() >= limit {
                        let turn = large_turn::<Const<1>>(Vector::new(angle), math);
                        far = turn.value(function).extract(0usize);
                    }
                    value.insert(lane, far);
                }
            }
        }
    }
    value
}

/// Whether any lane of `x` is `limit` or more in size. A lane that is NaN does not matter to others.
#[cube]
fn any_beyond<N: Size>(x: Vector<f32, N>, limit: f32, #[comptime] math: Math) -> bool {
    if comptime!(math.fused) {
        // The larger of NaN and a number is the number.
        let mut most = x.extract(0usize).abs();
        #[unroll]
        for lane in 1..N::value() {
            most = max(most, x.extract(lane).abs());
        }
        most >= limit
    } else {
        // One comparison a lane, as the result goes into the next one. Shaders may take NaN for the larger.
        let mut none = true.runtime();
        #[unroll]
        for lane in 0..N::value() {
            none = none && x.extract(lane).abs() < limit;
        }
        !none
    }
}

/// The sine and cosine of $k \pi/2 + r$ for $|r| \le \pi/4$.
#[cube]
fn turn_of<N: Size>(k: Vector<u32, N>, r: Vector<f32, N>, #[comptime] math: Math) -> Turn<N> {
    let square = r * r;
    let sin = odd::<f32, N>(r, comptime!(SIN.to_vec()));
    let cos = fma(
        square * square,
        polynomial::<f32, N>(square, comptime!(COS.to_vec())),
        fma(
            square,
            constant_vector::<f32, N>(-0.5),
            constant_vector::<f32, N>(1.0),
        ),
    );
    // In odd quadrants they change places; the sine is negative in quadrants 2 and 3, the cosine in 1 and 2.
    let one = Vector::new(1u32);
    let swapped = (k & one).not_equal(&Vector::new(0u32));
    let (s, c) = if comptime!(math.fused && !math.exp2 && !math.simd()) {
        // Clang takes fewer instructions for this than for two selections.
        let other = Vector::new(0u32) - (k & one);
        let (s, c) = (
            Vector::<u32, N>::reinterpret(sin),
            Vector::<u32, N>::reinterpret(cos),
        );
        let change = (s ^ c) & other;
        (
            Vector::<f32, N>::reinterpret(s ^ change),
            Vector::<f32, N>::reinterpret(c ^ change),
        )
    } else {
        (
            select_many(swapped, cos, sin),
            select_many(swapped, sin, cos),
        )
    };
    Turn::<N> {
        sin: negated_by::<N>(s, k),
        cos: negated_by::<N>(c, k + one),
    }
}

/// `x`, or `-x` where the last bit but one of `k` is set.
#[cube]
fn negated_by<N: Size>(x: Vector<f32, N>, k: Vector<u32, N>) -> Vector<f32, N> {
    let sign = (k << Vector::new(30u32)) & Vector::new(0x8000_0000u32);
    Vector::<f32, N>::reinterpret(Vector::<u32, N>::reinterpret(x) ^ sign)
}

/// The bits of $2/\pi$ behind 32 zeros.
const TWO_OVER_PI: [u32; 7] = [
    0,
    0xa2f9_836e,
    0x4e44_1529,
    0xfc27_57d1,
    0xf534_ddc0,
    0xdb62_9599,
    0x3c43_9041,
];

/// For finite $|x| \ge 1$, with an error of the angle of 4e-9 and its rounding; NaN for what is larger.
///
/// Of the product of $x = m 2^e$ with $2/\pi$ only what is left modulo 4 is computed, in units of $2^{-30}$: the
/// bits of $2/\pi$ that give multiples of 4 are skipped, those that give less than a unit left out (Payne and
/// Hanek, "Radian reduction for trigonometric functions", 1983).
#[cube]
fn large_turn<N: Size>(x: Vector<f32, N>, #[comptime] math: Math) -> Turn<N> {
    let bits = Vector::<u32, N>::reinterpret(x);
    // With the sign, and as an integer.
    let m = (bits & Vector::new(0x807f_ffffu32)) | Vector::new(0x4b00_0000u32);
    let m = Vector::<f32, N>::reinterpret(m);
    let integer = Vector::<u32, N>::reinterpret(Vector::<i32, N>::cast_from(m));
    // The first bit that is needed: its word and its place there.
    let first = ((bits >> Vector::new(23u32)) & Vector::new(0xffu32)) - Vector::new(120u32);
    let shift = first & Vector::new(31u32);
    let none = Vector::new(0u32);
    let by_1 = (first & Vector::new(32u32)).not_equal(&none);
    let by_2 = (first & Vector::new(64u32)).not_equal(&none);
    let by_4 = (first & Vector::new(128u32)).not_equal(&none);
    let mut words = Sequence::<Vector<u32, N>>::new();
    #[unroll]
    for k in 0..6 {
        let word = Vector::new(comptime!(TWO_OVER_PI[k]));
        if comptime!(k < 3) {
            let far = Vector::new(comptime!(TWO_OVER_PI[k + 4]));
            words.push(select_many(by_4, far, word));
        } else {
            words.push(word);
        }
    }
    let mut pairs = Sequence::<Vector<u32, N>>::new();
    #[unroll]
    for k in 0..4 {
        pairs.push(select_many(
            by_2,
            *words.index(comptime!(k + 2)),
            *words.index(k),
        ));
    }
    let mut window = Sequence::<Vector<u32, N>>::new();
    #[unroll]
    for k in 0..3 {
        window.push(select_many(
            by_1,
            *pairs.index(comptime!(k + 1)),
            *pairs.index(k),
        ));
    }
    // In two steps, as a shift by 32 is none.
    let back = Vector::new(31u32) - shift;
    let one = Vector::new(1u32);
    let high = (*window.index(0usize) << shift) | ((*window.index(1usize) >> one) >> back);
    let low = (*window.index(1usize) << shift) | ((*window.index(2usize) >> one) >> back);
    let product = integer * high;
    let quadrant = (product + Vector::new(0x2000_0000u32)) >> Vector::new(30u32);
    // Signed, as it is what is missed to the nearest quadrant.
    let fraction = Vector::<i32, N>::reinterpret(product << Vector::new(2u32));
    let unit = std::f64::consts::FRAC_PI_2 / 1073741824.0;
    let less = m * Vector::<f32, N>::cast_from(low >> Vector::new(8u32));
    let rest = fma(
        less,
        constant_vector::<f32, N>(comptime!(unit / 16777216.0)),
        Vector::<f32, N>::cast_from(fraction) * constant_vector::<f32, N>(comptime!(unit / 4.0)),
    );
    let finite = x.abs().less_equal(&constant_vector::<f32, N>(LARGEST));
    let rest = select_many(finite, rest, not_a_number::<N>(x));
    turn_of::<N>(quadrant, rest, math)
}

/// $\sin \pi r$ and $\cos \pi r$ for $|r| \le 1/2$.
#[derive(CubeType)]
pub(super) struct HalfTurn<F: Float, N: Size> {
    pub sin: Vector<F, N>,
    pub cos: Vector<F, N>,
}

#[cube]
pub(super) fn half_turn<F: Float, N: Size>(
    r: Vector<F, N>,
    #[comptime] math: Math,
) -> HalfTurn<F, N> {
    if comptime!(math.precision == Precision::F32) {
        let r = Vector::<f32, N>::cast_from(r);
        let k = (r + r).round();
        let half = constant_vector::<f32, N>(0.5);
        let rest = (r - k * half) * constant_vector::<f32, N>(std::f64::consts::PI);
        let turn = turn_of::<N>(quadrant::<N>(k), rest, math);
        HalfTurn::<F, N> {
            sin: Vector::<F, N>::cast_from(turn.sin),
            cos: Vector::<F, N>::cast_from(turn.cos),
        }
    } else {
        let angle = r * constant_vector::<F, N>(std::f64::consts::PI);
        HalfTurn::<F, N> {
            sin: angle.sin(),
            cos: angle.cos(),
        }
    }
}

/// The sine.
#[cube]
pub fn sin<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        let x = Vector::<f32, N>::cast_from(x);
        let near = turn::<N>(x, math).value(Circular::Sin);
        Vector::<F, N>::cast_from(with_large::<N>(x, near, Circular::Sin, math))
    } else {
        x.sin()
    }
}

/// The cosine.
#[cube]
pub fn cos<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        let x = Vector::<f32, N>::cast_from(x);
        let near = turn::<N>(x, math).value(Circular::Cos);
        Vector::<F, N>::cast_from(with_large::<N>(x, near, Circular::Cos, math))
    } else {
        x.cos()
    }
}

/// The tangent.
#[cube]
pub fn tan<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        let x = Vector::<f32, N>::cast_from(x);
        let near = turn::<N>(x, math).value(Circular::Tan);
        Vector::<F, N>::cast_from(with_large::<N>(x, near, Circular::Tan, math))
    } else {
        x.tan()
    }
}

/// $x = 2^e \frac{1 + s}{1 - s}$ with the second factor in $[\sqrt{1/2}, \sqrt 2)$; for positive
/// finite numbers.
#[derive(CubeType)]
struct Scaled<N: Size> {
    exponent: Vector<f32, N>,
    s: Vector<f32, N>,
}

#[cube]
fn scaled<N: Size>(x: Vector<f32, N>) -> Scaled<N> {
    let one = constant_vector::<f32, N>(1.0);
    let tiny = x.less_than(&constant_vector::<f32, N>(SMALLEST));
    let x = select_many(tiny, x * constant_vector::<f32, N>(8388608.0), x);
    let shift = select_many(
        tiny,
        constant_vector::<f32, N>(-23.0),
        constant_vector::<f32, N>(0.0),
    );
    // With 128 added to the exponent, as numbers below 1 have a negative one.
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
fn log_ratio<N: Size>(s: Vector<f32, N>) -> Vector<f32, N> {
    let square = s * s;
    fma(
        s * square,
        polynomial::<f32, N>(square, comptime!(LOG.to_vec())),
        s + s,
    )
}

#[cube]
fn log_f32<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let Scaled { exponent, s } = scaled::<N>(x);
    // ln 2 in a part of few digits and the rest.
    let low = fma(
        exponent,
        constant_vector::<f32, N>(comptime!(-LN_2_REST)),
        log_ratio::<N>(s),
    );
    let log = fma(exponent, constant_vector::<f32, N>(0.693359375), low);
    log_ends::<N>(x, log)
}

/// The logarithm of `x`, which is `log` where that is positive and finite.
#[cube]
fn log_ends<N: Size>(x: Vector<f32, N>, log: Vector<f32, N>) -> Vector<f32, N> {
    let zero = constant_vector::<f32, N>(0.0);
    let log = select_many(x.greater_than(&constant_vector::<f32, N>(LARGEST)), x, log);
    let infinite = Vector::<u32, N>::reinterpret(x) | Vector::new(0xff80_0000u32);
    let log = select_many(x.equal(&zero), Vector::<f32, N>::reinterpret(infinite), log);
    select_many(x.greater_equal(&zero), log, not_a_number::<N>(x))
}

/// $x = 2^e m$ with $m$ in $[\sqrt{1/2}, \sqrt 2)$, for positive finite numbers.
#[derive(CubeType)]
struct ScaledDouble<F: Float, N: Size> {
    exponent: Vector<F, N>,
    m: Vector<F, N>,
}

/// Bits of $\sqrt{1/2}$ in double precision.
const SQRT_HALF_DOUBLE: u64 = 0x3fe6_a09e_667f_3bcd;

#[cube]
fn scaled_double<F: Float, N: Size>(x: Vector<F, N>) -> ScaledDouble<F, N> {
    let x = Vector::<f64, N>::cast_from(x);
    let tiny = x.less_than(&constant_vector::<f64, N>(f64::MIN_POSITIVE));
    let x = select_many(tiny, x * constant_vector::<f64, N>(18014398509481984.0), x);
    let shift = select_many(
        tiny,
        constant_vector::<f64, N>(-54.0),
        constant_vector::<f64, N>(0.0),
    );
    // As for single precision, with 1024 added to the exponent.
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

/// The logarithm to another base, where `unit` is that of 2 in a part of few digits and the rest, and `of_e`
/// that of $e$. What is exact stays so, as the exponent is kept apart.
#[cube]
fn log_to_base<F: Float, N: Size>(
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

/// What 0.301025390625 is smaller than $\log_{10} 2$ by.
const LOG10_2_REST: f64 = 4.605038981195214e-6;

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
        // From sqrt(1/2) - 1 to sqrt(2) - 1.
        let is_near = (x - constant_vector::<f32, N>(0.06))
            .abs()
            .less_than(&constant_vector::<f32, N>(0.352));
        Vector::<F, N>::cast_from(select_many(is_near, near, far))
    } else {
        // The rounding error of 1 + x, relative to it (Kahan).
        let sum = one + x;
        let lost = ((sum - one) - x) / sum;
        // Zero and infinity have lost nothing.
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
        // One doubling of |x| <= ln 2 / 2.
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
fn exp_near<N: Size>(f: Vector<f32, N>) -> Vector<f32, N> {
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
        // Beyond this nothing is left.
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
        // The rest below 2e-5.
        let rest = polynomial::<F, N>(-delta, comptime!(vec![1.0, 0.5, 1.0 / 6.0]));
        let exp = (-x).exp();
        exp - exp * (delta * rest)
    }
}

/// The cube root: an estimate from the bits, improved by Halley's rule.
#[cube]
pub fn cbrt<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    let zero = constant_vector::<F, N>(0.0);
    let size = x.abs();
    let root = if comptime!(math.precision == Precision::F32) {
        let size = Vector::<f32, N>::cast_from(size);
        let one = constant_vector::<f32, N>(1.0);
        // Away from both ends of the range, by powers of 8.
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
        // Newton's, without powers that overflow.
        t - (t - size / (t * t)) * third
    };
    let root = select_many(x.less_than(&zero), -root, root);
    // What is its own root: zeros, infinities, NaN.
    let usual = size
        .greater_than(&zero)
        .vec_and(size.less_equal(&largest::<F, N>(math)));
    select_many(usual, root, x)
}

/// A step towards the cube root of `x` from `t`.
#[cube]
fn halley<F: Float, N: Size>(t: Vector<F, N>, x: Vector<F, N>) -> Vector<F, N> {
    let half = constant_vector::<F, N>(0.5);
    let cube = t * t * t;
    t + t * (((x - cube) * half) / fma(x, half, cube))
}

/// $2^{32 k}$ with an integer $k$, as near as that can be: between $2^{-16}$ and $2^{16}$ times a finite `x`, but
/// at the ends of the range; 1 for 0 and infinities, NaN for NaN.
#[cube]
pub fn magnitude<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    // The sixteenth exponent from below a multiple of 32 goes to that. An exponent is at least 0 and at most
    // 1 of all ones, so that the ends are left out: their reciprocals have to be normal, too.
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
    // NaN is not larger than anything, so that it is the shorter side beside 0.
    let length = select_many(short.equal(&short), length, short);
    // Infinite if a side is, whatever the other.
    let largest = largest::<F, N>(math);
    let length = select_many(b.greater_than(&largest), b, length);
    select_many(a.greater_than(&largest), a, length)
}

/// The largest finite number.
#[cube]
fn largest<F: Float, N: Size>(#[comptime] math: Math) -> Vector<F, N> {
    constant_vector::<F, N>(comptime!(math.precision.largest()))
}

/// $\log(e^a + e^b)$.
#[cube]
pub fn logaddexp<F: Float, N: Size>(
    a: Vector<F, N>,
    b: Vector<F, N>,
    #[comptime] math: Math,
) -> Vector<F, N> {
    let size = (a - b).abs();
    let exp = if comptime!(math.precision == Precision::F32) {
        let size = Vector::<f32, N>::cast_from(size);
        Vector::<F, N>::cast_from(exp_f32::<N>(-size, comptime!(math.nonpositive())))
    } else {
        (-size).exp()
    };
    let sum = math::maximum::<F, N>(a, b) + log1p::<F, N>(exp, math);
    // The difference of equal infinities is NaN.
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
        // Not left to the root of a negative number, which shaders may compute as they like.
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

/// $\log(1 + u)$, or $\log 2 x$ where $x$ is so large that nothing is left of a summand of 1.
#[cube]
fn log1p_or_double<F: Float, N: Size>(
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

/// `y`, which is that of $|x|$, for `x`; zeros keep their sign.
#[cube]
fn odd_value<F: Float, N: Size>(y: Vector<F, N>, x: Vector<F, N>) -> Vector<F, N> {
    let zero = constant_vector::<F, N>(0.0);
    let y = select_many(x.less_than(&zero), -y, y);
    select_many(x.equal(&zero), x, y)
}

#[cube]
fn atan_f32<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let one = constant_vector::<f32, N>(1.0);
    let size = x.abs();
    let steep = size.greater_than(&one);
    let r = select_many(steep, one / size, size);
    let angle = odd::<f32, N>(r, comptime!(ATAN.to_vec()));
    let quarter = constant_vector::<f32, N>(std::f64::consts::FRAC_PI_2);
    with_sign::<N>(select_many(steep, quarter - angle, angle), x)
}

/// The arc tangent.
#[cube]
pub fn atan<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        Vector::<F, N>::cast_from(atan_f32::<N>(Vector::<f32, N>::cast_from(x)))
    } else {
        x.atan()
    }
}

/// The angle of the point `(x, y)`.
#[cube]
pub fn atan2<F: Float, N: Size>(
    y: Vector<F, N>,
    x: Vector<F, N>,
    #[comptime] math: Math,
) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        let (y, x) = (
            Vector::<f32, N>::cast_from(y),
            Vector::<f32, N>::cast_from(x),
        );
        let (width, height) = (x.abs(), y.abs());
        let steep = height.greater_than(&width);
        let short = select_many(steep, width, height);
        let long = select_many(steep, height, width);
        // The quotient of infinities, and of zeros.
        let zero = constant_vector::<f32, N>(0.0);
        let one = constant_vector::<f32, N>(1.0);
        let r = select_many(short.equal(&long), one, short / long);
        let r = select_many(long.equal(&zero), zero, r);
        let angle = odd::<f32, N>(r, comptime!(ATAN.to_vec()));
        let quarter = constant_vector::<f32, N>(std::f64::consts::FRAC_PI_2);
        let angle = select_many(steep, quarter - angle, angle);
        // The sign bit, as there is a left of -0.
        let left = Vector::<i32, N>::reinterpret(x).less_than(&Vector::new(0i32));
        let half = constant_vector::<f32, N>(std::f64::consts::PI);
        let angle = with_sign::<N>(select_many(left, half - angle, angle), y);
        // NaN loses comparisons above.
        let sum = x + y;
        let known = x.equal(&x).vec_and(y.equal(&y));
        Vector::<F, N>::cast_from(select_many(known, angle, sum))
    } else {
        y.atan2(x)
    }
}

/// $\arcsin$ of the absolute value: the part of $\pi/2$ that is missed, where it is above 1/2.
#[derive(CubeType)]
struct Arc<N: Size> {
    angle: Vector<f32, N>,
    steep: Vector<bool, N>,
}

#[cube]
fn arc<N: Size>(x: Vector<f32, N>) -> Arc<N> {
    let half = constant_vector::<f32, N>(0.5);
    let size = x.abs();
    let steep = size.greater_than(&half);
    let chord = (half - half * size).sqrt();
    let angle = odd::<f32, N>(select_many(steep, chord, size), comptime!(ASIN.to_vec()));
    Arc::<N> {
        angle: select_many(steep, angle + angle, angle),
        steep,
    }
}

/// The arc sine.
#[cube]
pub fn asin<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        let x = Vector::<f32, N>::cast_from(x);
        let Arc { angle, steep } = arc::<N>(x);
        let quarter = constant_vector::<f32, N>(std::f64::consts::FRAC_PI_2);
        Vector::<F, N>::cast_from(with_sign::<N>(
            select_many(steep, quarter - angle, angle),
            x,
        ))
    } else {
        x.asin()
    }
}

/// The arc cosine.
#[cube]
pub fn acos<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        let x = Vector::<f32, N>::cast_from(x);
        let Arc { angle, steep } = arc::<N>(x);
        let quarter = constant_vector::<f32, N>(std::f64::consts::FRAC_PI_2);
        let left = x.less_than(&constant_vector::<f32, N>(0.0));
        let small = quarter - with_sign::<N>(angle, x);
        let half = constant_vector::<f32, N>(std::f64::consts::PI);
        let large = select_many(left, half - angle, angle);
        Vector::<F, N>::cast_from(select_many(steep, large, small))
    } else {
        x.acos()
    }
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

/// $\log(1 + e^x)$.
#[cube]
pub fn softplus<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    let zero = constant_vector::<F, N>(0.0);
    let exp = if comptime!(math.precision == Precision::F32) {
        let size = Vector::<f32, N>::cast_from(x).abs();
        Vector::<F, N>::cast_from(exp_f32::<N>(-size, comptime!(math.nonpositive())))
    } else {
        (-x.abs()).exp()
    };
    // Written so that NaN stays.
    let positive = select_many(x.less_than(&zero), zero, x);
    positive + log1p::<F, N>(exp, math)
}

/// The error function.
#[cube]
pub fn erf<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        let x = Vector::<f32, N>::cast_from(x);
        let one = constant_vector::<f32, N>(1.0);
        let near = x * polynomial::<f32, N>(x * x, comptime!(ERF.to_vec()));
        let size = x.abs();
        // Beyond 4 it is 1.
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
    // Infinite exponents are clipped, so that no difference or product of theirs is NaN. The product of
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
    // Zero, infinity: 2^(b log2 |a|) with an infinite logarithm.
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
    // The sign of an odd power, from the sign bit, as there is a -0.
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
fn clip<N: Size>(x: Vector<f32, N>, limit: Vector<f32, N>) -> Vector<f32, N> {
    let x = select_many(x.greater_than(&limit), limit, x);
    select_many(x.less_than(&-limit), -limit, x)
}

/// $2^n p$ for an integer $n$, $|n| \le 400$, in three factors, so that results beyond the ends of the
/// range are right.
#[cube]
fn scale<N: Size>(p: Vector<f32, N>, n: Vector<f32, N>) -> Vector<f32, N> {
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
    // An infinite divisor.
    let rest = select_many(quotient.equal(&zero), x, fma(-quotient, m, x));
    // The quotient may have been rounded up to an integer.
    let negative = rest.less_than(&zero).vec_and(m.greater_than(&zero));
    let positive = rest.greater_than(&zero).vec_and(m.less_than(&zero));
    select_many(negative.or(positive), rest + m, rest)
}

/// Terms of the series of spherical Bessel functions, beside their order.
fn terms(math: Math) -> u32 {
    match math.precision {
        Precision::F64 => 20,
        _ => 10,
    }
}

/// The coefficients of the polynomial in $s$ of the Matérn function of order $n$ by rising powers:
/// $\frac{n!}{(2 n)!} \frac{(2 n - k)!}{(n - k)! \, k!} 2^k$.
pub(crate) fn matern_coefficients(n: u32) -> Vec<f64> {
    let ratio = |k: u32| 2.0 * (n - k) as f64 / ((2 * n - k) as f64 * (k + 1) as f64);
    let mut coefficients = vec![1.0];
    for k in 0..n {
        coefficients.push(coefficients[k as usize] * ratio(k));
    }
    coefficients
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
        // The exponential is 0 long before; of an infinite s, the polynomial would be infinite.
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
    // sum_k (-x^2 / 2)^k / (k! (2n + 3) (2n + 5) .. (2n + 2k + 1)), from its last term.
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
