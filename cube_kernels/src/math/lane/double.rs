//! Functions in F64.

use std::f64::consts::{FRAC_2_PI, LN_2, LOG2_E};

use super::{
    super::{
        NORMAL_MARGIN,
        coefficients::{
            ERF_DOUBLE, LOG_ERFC_FAR, LOG_ERFC_MIDDLE, LOG_ERFC_NEAR, SQRT_HALF_DOUBLE,
        },
    },
    Arithmetic, Real, polynomial, same_for_both,
};

/// When this is added to a number, the nearest integer is in the low bits of the mantissa of the sum.
const SHIFT: f64 = 6_755_399_441_055_744.0;

/// ln 2 in a part of 32 binary digits and the rest.
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// $\pi/2$ in two parts of 33 binary digits and the rest.
const QUARTER: [f64; 3] = [
    1.570_796_326_734_125_6,
    6.077_100_506_303_966e-11,
    2.022_266_248_795_950_6e-21,
];

/// $e^f = 1 + f + f^2 P(f)$ for $|f| \le \ln 2 / 2$: the Taylor series. The terms that are left out sum to less than
/// 5e-18.
const EXP: [f64; 12] = [
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5_040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
    1.0 / 6_227_020_800.0,
];

/// $\log \frac{1 + s}{1 - s} = 2 s + s^3 P(s^2)$ for $|s| \le 0.1716$; relative error 2^-58 (as in fdlibm).
const LOG: [f64; 7] = [
    0.666_666_666_666_673_5,
    0.399_999_999_994_094_2,
    0.285_714_287_436_623_9,
    0.222_221_984_321_497_84,
    0.181_835_721_616_180_5,
    0.153_138_376_992_093_73,
    0.147_981_986_051_165_86,
];

/// $\sin r = r + r^3 P(r^2)$ for $|r| \le \pi/4$; relative error 2^-58 (as in fdlibm).
const SIN: [f64; 6] = [
    -1.666_666_666_666_663_2e-1,
    8.333_333_333_322_49e-3,
    -1.984_126_982_985_795e-4,
    2.755_731_370_707_006_8e-6,
    -2.505_076_025_340_686_3e-8,
    1.589_690_995_211_55e-10,
];

/// $\cos r = 1 - r^2/2 + r^4 P(r^2)$ for $|r| \le \pi/4$; error 2^-58 (as in fdlibm).
const COS: [f64; 6] = [
    4.166_666_666_666_66e-2,
    -1.388_888_888_887_411e-3,
    2.480_158_728_947_673e-5,
    -2.755_731_435_139_066_3e-7,
    2.087_572_321_298_175e-9,
    -1.135_964_755_778_819_5e-11,
];

/// $2^k p$ for $-1100 \le k \le 1100$, where `shifted` is the sum of `k` and [`SHIFT`].
#[inline(always)]
fn scale(p: f64, shifted: f64) -> f64 {
    // The power is split into two factors, as one cannot reach the ends of the range of `k`.
    let k = shifted.to_bits() as i64 - SHIFT.to_bits() as i64;
    let half = k >> 1;
    let power = |k: i64| f64::from_bits(((k + 1023) as u64) << 52);
    p * power(half) * power(k - half)
}

/// $e^f$ for $|f| \le \ln 2 / 2$.
#[inline(always)]
fn exp_near<M: Arithmetic>(math: M, f: f64) -> f64 {
    math.fma(f * f, polynomial(math, f, &EXP), f) + 1.0
}

impl Real for f64 {
    same_for_both!(f64, wide_double, middle_double);

    const LARGE_ANGLE: Self = 1e6;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn double(self) -> f64 {
        self
    }

    #[inline(always)]
    fn near_magnitude(self) -> Self {
        let exponent = self.to_bits() >> 52 & 0x7ff;
        let k = ((exponent + 17) >> 5).clamp(1, 63);
        f64::from_bits(((k << 5) - 1) << 52)
    }

    #[inline(always)]
    fn has_small_product(self, other: Self) -> bool {
        const LIMIT: f64 = 2.0 * NORMAL_MARGIN;
        // The bits of a number are a little less than its binary logarithm, in a fixed scale and with an offset. NaN has
        // the largest bits.
        self.abs().to_bits() + other.abs().to_bits() < LIMIT.to_bits()
    }

    #[inline(always)]
    fn exp<M: Arithmetic>(self, math: M) -> Self {
        // Written so that NaN passes.
        let x = if self < -750.0 { -750.0 } else { self };
        let x = if x > 710.0 { 710.0 } else { x };
        let shifted = math.fma(x, LOG2_E, SHIFT);
        let k = shifted - SHIFT;
        let f = math.fma(k, -LN_2_LOW, math.fma(k, -LN_2_HIGH, x));
        scale(exp_near(math, f), shifted)
    }

    #[inline(always)]
    fn expm1<M: Arithmetic>(self, math: M) -> Self {
        let x = if self < -60.0 { -60.0 } else { self };
        let x = if x > 60.0 { 60.0 } else { x };
        let shifted = math.fma(x, LOG2_E, SHIFT);
        let k = shifted - SHIFT;
        let f = math.fma(k, -LN_2_LOW, math.fma(k, -LN_2_HIGH, x));
        let near = math.fma(f * f, polynomial(math, f, &EXP), f);
        let power = scale(1.0, shifted);
        let value = math.fma(power, near, power - 1.0);
        // Above 60, subtracting 1 does not change the exponential.
        let far = Real::exp(self, math);
        if self > 60.0 { far } else { value }
    }

    #[inline(always)]
    fn exp2<M: Arithmetic>(self, math: M) -> Self {
        let x = if self < -1080.0 { -1080.0 } else { self };
        let x = if x > 1025.0 { 1025.0 } else { x };
        let shifted = x + SHIFT;
        let f = (x - (shifted - SHIFT)) * LN_2;
        scale(exp_near(math, f), shifted)
    }

    #[inline(always)]
    fn log<M: Arithmetic>(self, math: M) -> Self {
        let tiny = self < f64::MIN_POSITIVE;
        let x = if tiny {
            self * 18_014_398_509_481_984.0
        } else {
            self
        };
        let shift = if tiny { -54.0 } else { 0.0 };
        // 1024 is added to the exponent, as numbers below 1 have a negative one.
        let offset = x
            .to_bits()
            .wrapping_add(0x4000_0000_0000_0000 - SQRT_HALF_DOUBLE);
        let exponent = (offset >> 52) as i32 as f64 - 1024.0 + shift;
        let bits = (offset & 0x000f_ffff_ffff_ffff).wrapping_add(SQRT_HALF_DOUBLE);
        let f = f64::from_bits(bits) - 1.0;
        let s = f / (2.0 + f);
        let square = s * s;
        let half = 0.5 * f * f;
        let rest = s * math.fma(square, polynomial(math, square, &LOG), half);
        let low = math.fma(exponent, LN_2_LOW, rest);
        let log = math.fma(exponent, LN_2_HIGH, f - (half - low));
        let log = if self > f64::MAX { self } else { log };
        let log = if self == 0.0 { f64::NEG_INFINITY } else { log };
        if self >= 0.0 { log } else { f64::NAN }
    }

    #[inline(always)]
    fn turn<M: Arithmetic>(self, math: M) -> (u32, Self, Self) {
        let shifted = math.fma(self, FRAC_2_PI, SHIFT);
        let k = shifted - SHIFT;
        let r = math.fma(k, -QUARTER[0], self);
        let r = math.fma(k, -QUARTER[1], r);
        let r = math.fma(k, -QUARTER[2], r);
        let square = r * r;
        let sin = math.fma(r * square, polynomial(math, square, &SIN), r);
        let half = 0.5 * square;
        let less = 1.0 - half;
        let lost = (1.0 - less) - half;
        let cos = less + math.fma(square * square, polynomial(math, square, &COS), lost);
        (shifted.to_bits() as u32, sin, cos)
    }

    #[inline(always)]
    fn tanh<M: Arithmetic>(self, math: M) -> Self {
        // With t = e^(2 x) - 1 the value is t / (t + 2), which is 1 from x = 20 on.
        let size = self.abs();
        let x = if size > 20.0 { 20.0 } else { size };
        let t = Real::expm1(x + x, math);
        (t / (t + 2.0)).copysign(self)
    }

    #[inline(always)]
    fn erf<M: Arithmetic>(self, math: M) -> Self {
        let near = self * polynomial(math, self * self, &ERF_DOUBLE);
        let size = self.abs();
        // Beyond 6 the value is 1.
        let x = if size > 6.0 { 6.0 } else { size };
        let first = polynomial(math, x - 1.45, &LOG_ERFC_NEAR);
        let second = polynomial(math, x - 2.75, &LOG_ERFC_MIDDLE);
        let third = polynomial(math, x - 4.75, &LOG_ERFC_FAR);
        let log = if x < 2.0 { first } else { second };
        let log = if x < 3.5 { log } else { third };
        let far = 1.0 - Real::exp(log, math);
        if size > 0.9 { far.copysign(self) } else { near }
    }
}
