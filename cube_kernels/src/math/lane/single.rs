//! Functions in F32.

use std::f64::consts::{FRAC_2_PI, LN_2, LOG2_E};

use super::{
    super::{
        NORMAL_MARGIN,
        coefficients::{
            COS, ERF, EXP, EXP2, EXPM1, LN_2_REST, LOG, LOG_ERFC, MAGIC, SIN, SQRT_HALF, TANH,
        },
    },
    Arithmetic, Real, odd, polynomial, same_for_both,
};

/// When this is added to a number, the nearest integer `k` is in the low bits of the sum. When it is subtracted
/// again, `k` is left.
const SHIFT: f32 = MAGIC as f32;

/// When this is added to a number instead, $k + 127$ is in the low bits.
const BIASED: f32 = (MAGIC + 127.0) as f32;

/// ln 2 rounded up to a few binary digits. It is larger than ln 2 by [`LN_2_REST`].
const LN_2_HIGH: f32 = 355.0 / 512.0;

impl Real for f32 {
    same_for_both!(f32, wide_single, middle_single);

    // For smaller angles, products with the parts of pi/2 are exact, even if products are rounded.
    const LARGE_ANGLE: Self = 8192.0;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn double(self) -> f64 {
        self.into()
    }

    #[inline(always)]
    fn near_magnitude(self) -> Self {
        let exponent = self.to_bits() >> 23 & 0xff;
        let k = ((exponent + 17) >> 5).clamp(1, 7);
        f32::from_bits(((k << 5) - 1) << 23)
    }

    #[inline(always)]
    fn has_small_product(self, other: Self) -> bool {
        const LIMIT: f32 = 2.0 * NORMAL_MARGIN as f32;
        // The bits of a number are a little less than its binary logarithm, in a fixed scale and with an offset. NaN has
        // the largest bits.
        self.abs().to_bits() + other.abs().to_bits() < LIMIT.to_bits()
    }

    #[inline(always)]
    fn exp<M: Arithmetic>(self, math: M) -> Self {
        // Written so that NaN passes.
        let x = if self < -88.029_69 { -88.029_69 } else { self };
        let x = if x > 88.722_84 { 88.722_84 } else { x };
        let shifted = math.fma(x, LOG2_E as f32, BIASED);
        let k = shifted - BIASED;
        let f = if M::FUSED {
            math.fma(k, -LN_2 as f32, x)
        } else {
            (x - k * LN_2_HIGH) + k * LN_2_REST as f32
        };
        polynomial(math, f, &EXP) * f32::from_bits(shifted.to_bits() << 23)
    }

    #[inline(always)]
    fn expm1<M: Arithmetic>(self, math: M) -> Self {
        let x = if self < -30.0 { -30.0 } else { self };
        let x = if x > 30.0 { 30.0 } else { x };
        let shifted = math.fma(x, LOG2_E as f32, BIASED);
        let k = shifted - BIASED;
        let f = math.fma(k, LN_2_REST as f32, math.fma(k, -LN_2_HIGH, x));
        let near = math.fma(f * f, polynomial(math, f, &EXPM1), f);
        let power = f32::from_bits(shifted.to_bits() << 23);
        let value = math.fma(power, near, power - 1.0);
        // Above 30, subtracting 1 does not change the exponential.
        let far = Real::exp(self, math);
        if self > 30.0 { far } else { value }
    }

    #[inline(always)]
    fn exp2<M: Arithmetic>(self, math: M) -> Self {
        let x = if self < -127.0 { -127.0 } else { self };
        let x = if x > 128.0 { 128.0 } else { x };
        let shifted = x + BIASED;
        let f = x - (shifted - BIASED);
        polynomial(math, f, &EXP2) * f32::from_bits(shifted.to_bits() << 23)
    }

    #[inline(always)]
    fn log<M: Arithmetic>(self, math: M) -> Self {
        let tiny = self < f32::MIN_POSITIVE;
        let x = if tiny { self * 8_388_608.0 } else { self };
        let shift = if tiny { -23.0 } else { 0.0 };
        // 128 is added to the exponent, as numbers below 1 have a negative one.
        let offset = x.to_bits().wrapping_add(0x4000_0000 - SQRT_HALF);
        let exponent = (offset >> 23) as i32 as f32 - 128.0 + shift;
        let m = f32::from_bits((offset & 0x007f_ffff).wrapping_add(SQRT_HALF));
        let s = (m - 1.0) / (m + 1.0);
        let square = s * s;
        let ratio = math.fma(s * square, polynomial(math, square, &LOG), s + s);
        let low = math.fma(exponent, -LN_2_REST as f32, ratio);
        let log = math.fma(exponent, LN_2_HIGH, low);
        let log = if self > f32::MAX { self } else { log };
        let log = if self == 0.0 { f32::NEG_INFINITY } else { log };
        if self >= 0.0 { log } else { f32::NAN }
    }

    #[inline(always)]
    fn turn<M: Arithmetic>(self, math: M) -> (u32, Self, Self) {
        let shifted = math.fma(self, FRAC_2_PI as f32, SHIFT);
        let k = shifted - SHIFT;
        let r = math.fma(k, -1.570_312_5, self);
        let r = math.fma(k, -4.837_513e-4, r);
        let r = math.fma(k, -7.549_79e-8, r);
        let square = r * r;
        let sin = odd(math, r, &SIN);
        let cos = math.fma(
            square * square,
            polynomial(math, square, &COS),
            math.fma(square, -0.5, 1.0),
        );
        (shifted.to_bits(), sin, cos)
    }

    #[inline(always)]
    fn tanh<M: Arithmetic>(self, math: M) -> Self {
        let size = self.abs();
        let far = 1.0 - 2.0 / (Real::exp(size + size, math) + 1.0);
        let near = odd(math, self, &TANH);
        if size > 0.6 { far.copysign(self) } else { near }
    }

    #[inline(always)]
    fn erf<M: Arithmetic>(self, math: M) -> Self {
        let near = self * polynomial(math, self * self, &ERF);
        let size = self.abs();
        // Beyond 4 the value is 1.
        let clipped = if size > 4.0 { 4.0 } else { size };
        let far = 1.0 - Real::exp(polynomial(math, clipped, &LOG_ERFC), math);
        if size > 0.9 { far.copysign(self) } else { near }
    }
}
