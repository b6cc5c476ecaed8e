//! Numbers of 16 bits: half precision (f16), and bf16, the upper half of a single. They are kept in the lower bits of a
//! word.

use half::{bf16, f16};

/// The bits of NaN in both types.
const HALF_NAN: u32 = 0x7fff;

/// An f16 as a single.
pub extern "C" fn half_to_single(x: u32) -> f32 {
    f16::from_bits(x as u16).to_f32()
}

/// The f16 nearest to a single.
pub extern "C" fn single_to_half(x: f32) -> u32 {
    double_to_half(x.into())
}

/// The f16 nearest to a double.
pub extern "C" fn double_to_half(x: f64) -> u32 {
    if x.is_nan() {
        return HALF_NAN;
    }
    u32::from(nearest(x, 10, -14, 15).0)
}

/// A bf16 as a single.
pub extern "C" fn bfloat_to_single(x: u32) -> f32 {
    bf16::from_bits(x as u16).to_f32()
}

/// The bf16 nearest to a single.
pub extern "C" fn single_to_bfloat(x: f32) -> u32 {
    double_to_bfloat(x.into())
}

/// The bf16 nearest to a double.
pub extern "C" fn double_to_bfloat(x: f64) -> u32 {
    if x.is_nan() {
        return HALF_NAN;
    }
    u32::from(nearest(x, 7, -126, 127).0)
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

/// `fma.rn.f16`.
pub extern "C" fn half_fma(a: u32, b: u32, c: u32) -> u32 {
    let [a, b, c] = [a, b, c].map(|x| f64::from(half_to_single(x)));
    double_to_half(exact_enough(a, b, c))
}

/// `fma.rn.bf16`.
pub extern "C" fn bfloat_fma(a: u32, b: u32, c: u32) -> u32 {
    let [a, b, c] = [a, b, c].map(|x| f64::from(bfloat_to_single(x)));
    double_to_bfloat(exact_enough(a, b, c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_halves_come_back() {
        for bits in 0..=0xffffu32 {
            let value = half_to_single(bits);
            let back = single_to_half(value);
            assert_eq!(back, if value.is_nan() { HALF_NAN } else { bits });
            let value = bfloat_to_single(bits);
            let back = single_to_bfloat(value);
            assert_eq!(back, if value.is_nan() { HALF_NAN } else { bits });
        }
    }

    #[test]
    fn rounding_is_as_another_library_has_it() {
        let mut bits = 1u32;
        for _ in 0..100_000 {
            bits = bits.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            let value = f32::from_bits(bits);
            if !value.is_nan() {
                assert_eq!(single_to_half(value), f16::from_f32(value).to_bits().into());
                assert_eq!(
                    single_to_bfloat(value),
                    bf16::from_f32(value).to_bits().into()
                );
            }
        }
    }

    #[test]
    fn a_fused_product_is_rounded_once() {
        // (1 + 2^-10) (1 - 2^-10) + 2^-24 is 1 - 2^-20 + 2^-24, and 1 is the nearest half.
        let half = |x: f64| double_to_half(x);
        let (a, b) = (half(1.0 + 2f64.powi(-10)), half(1.0 - 2f64.powi(-10)));
        assert_eq!(half_fma(a, b, half(2f64.powi(-24))), half(1.0));
        // A tie that a small term decides: 1 + 2^-11 + 2^-24.
        let tie = half_fma(half(1.0 + 2f64.powi(-10)), half(2f64.powi(-11)), half(1.0));
        assert_eq!(tie, half(1.0 + 2f64.powi(-10)));
        let bfloat = |x: f64| double_to_bfloat(x);
        let tiny = bfloat(2f64.powi(-100));
        let tie = bfloat_fma(
            bfloat(1.0 + 2f64.powi(-7)),
            bfloat(2f64.powi(-8)),
            bfloat(1.0),
        );
        assert_eq!(tie, bfloat(1.0 + 2f64.powi(-7)));
        // 1 + 2^-8 is a tie that goes down to the even number. Anything more goes up.
        let ones = [bfloat(2f64.powi(-8)), bfloat(1.0)];
        assert_eq!(bfloat_fma(ones[0], ones[1], bfloat(1.0)), bfloat(1.0));
        let sum = exact_enough(2f64.powi(-8), 1.0 + f64::EPSILON, 1.0);
        assert_eq!(double_to_bfloat(sum), bfloat(1.0 + 2f64.powi(-7)));
        assert_ne!(tiny, 0);
    }
}
