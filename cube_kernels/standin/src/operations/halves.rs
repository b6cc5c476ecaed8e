//! Numbers of 16 bits: half precision (f16), and bf16, the upper half of a single. They are kept in the lower bits of a
//! word.

use half::{bf16, f16};

/// The bits of NaN in both types.
const HALF_NAN: u32 = 0x7fff;

/// A type of 16 bits.
pub trait Half: Into<f32> {
    /// The number of fraction bits.
    const FRACTION: i32;
    /// The smallest exponent of a normal number, and the largest one.
    const EXPONENTS: [i32; 2];
    /// The number that has these bits.
    const FROM_BITS: fn(u16) -> Self;
}

impl Half for f16 {
    const FRACTION: i32 = 10;
    const EXPONENTS: [i32; 2] = [-14, 15];
    const FROM_BITS: fn(u16) -> Self = Self::from_bits;
}

impl Half for bf16 {
    const FRACTION: i32 = 7;
    const EXPONENTS: [i32; 2] = [-126, 127];
    const FROM_BITS: fn(u16) -> Self = Self::from_bits;
}

/// A number of 16 bits as a single.
pub extern "C" fn to_single<H: Half>(x: u32) -> f32 {
    H::FROM_BITS(x as u16).into()
}

/// The number of 16 bits nearest to a single.
pub extern "C" fn of_single<H: Half>(x: f32) -> u32 {
    of_double::<H>(x.into())
}

/// The number of 16 bits nearest to a double.
pub extern "C" fn of_double<H: Half>(x: f64) -> u32 {
    if x.is_nan() {
        return HALF_NAN;
    }
    let [least, largest] = H::EXPONENTS;
    u32::from(nearest(x, H::FRACTION, least, largest).0)
}

/// Rounds to the nearest number with `fraction` fraction bits and exponents from `least` to `largest`, ties to even.
/// Gives its bits and its size.
fn nearest(x: f64, fraction: i32, least: i32, largest: i32) -> (u16, f64) {
    let size = x.abs();
    let exponent = if size == 0.0 {
        least
    } else {
        libm::ilogb(size).max(least)
    };
    // The size in steps of the result. Scaling is exact, because only the exponent changes.
    let steps = libm::rint(libm::scalbn(size, fraction - exponent));
    let value = libm::scalbn(steps, exponent - fraction);
    let limit = libm::scalbn(2.0 - libm::scalbn(1.0, -fraction), largest);
    let sign = if x.is_sign_negative() { 0x8000u16 } else { 0 };
    let infinity = ((largest * 2 + 1) as u16) << fraction;
    if size.is_infinite() || value > limit {
        return (sign | infinity, x.signum() * f64::INFINITY);
    }
    // If rounding fills the fraction up, the carry increases the exponent by itself.
    let biased = (exponent - least) as u16;
    let bits = (biased << fraction).wrapping_add(steps as u16);
    (sign | bits, value)
}

/// Computes `a * b + c` rounded to odd: a double that rounds to the same f16 or bf16 as the exact value. Its last bit
/// is 1 if the double is not exact.
fn exact_enough(a: f64, b: f64, c: f64) -> f64 {
    let product = a * b;
    let sum = product + c;
    if !sum.is_finite() {
        return sum;
    }
    let part = sum - product;
    let rest = (product - (sum - part)) + (c - part);
    if rest == 0.0 || sum.to_bits() & 1 == 1 {
        return sum;
    }
    // The sum is even and not exact, so its neighbour on the side of the exact value is odd.
    if rest > 0.0 {
        sum.next_up()
    } else {
        sum.next_down()
    }
}

/// `fma.rn.f16` and `fma.rn.bf16`.
pub extern "C" fn fma<H: Half>(a: u32, b: u32, c: u32) -> u32 {
    let [a, b, c] = [a, b, c].map(|x| f64::from(to_single::<H>(x)));
    of_double::<H>(exact_enough(a, b, c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_come_back<H: Half>() {
        for bits in 0..=0xffffu32 {
            let value = to_single::<H>(bits);
            let back = of_single::<H>(value);
            assert_eq!(back, if value.is_nan() { HALF_NAN } else { bits });
        }
    }

    #[test]
    fn all_halves_come_back() {
        all_come_back::<f16>();
        all_come_back::<bf16>();
    }

    #[test]
    fn rounding_is_as_another_library_has_it() {
        let mut bits = 1u32;
        for _ in 0..100_000 {
            bits = bits.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            let value = f32::from_bits(bits);
            if !value.is_nan() {
                assert_eq!(
                    of_single::<f16>(value),
                    f16::from_f32(value).to_bits().into()
                );
                assert_eq!(
                    of_single::<bf16>(value),
                    bf16::from_f32(value).to_bits().into()
                );
            }
        }
    }

    #[test]
    fn a_fused_product_is_rounded_once() {
        // (1 + 2^-10) (1 - 2^-10) + 2^-24 is 1 - 2^-20 + 2^-24, and 1 is the nearest half.
        let half = |x: f64| of_double::<f16>(x);
        let (a, b) = (half(1.0 + 2f64.powi(-10)), half(1.0 - 2f64.powi(-10)));
        assert_eq!(fma::<f16>(a, b, half(2f64.powi(-24))), half(1.0));
        // A tie that a small term decides: 1 + 2^-11 + 2^-24.
        let tie = fma::<f16>(half(1.0 + 2f64.powi(-10)), half(2f64.powi(-11)), half(1.0));
        assert_eq!(tie, half(1.0 + 2f64.powi(-10)));
        let bfloat = |x: f64| of_double::<bf16>(x);
        let tiny = bfloat(2f64.powi(-100));
        let tie = fma::<bf16>(
            bfloat(1.0 + 2f64.powi(-7)),
            bfloat(2f64.powi(-8)),
            bfloat(1.0),
        );
        assert_eq!(tie, bfloat(1.0 + 2f64.powi(-7)));
        // 1 + 2^-8 is a tie that goes down to the even number. Anything more goes up.
        let ones = [bfloat(2f64.powi(-8)), bfloat(1.0)];
        assert_eq!(fma::<bf16>(ones[0], ones[1], bfloat(1.0)), bfloat(1.0));
        let sum = exact_enough(2f64.powi(-8), 1.0 + f64::EPSILON, 1.0);
        assert_eq!(of_double::<bf16>(sum), bfloat(1.0 + 2f64.powi(-7)));
        assert_ne!(tiny, 0);
    }
}
