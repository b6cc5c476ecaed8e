//! Approximate instructions. They give the nearest value, or on request a value with an error that the PTX manual
//! allows.

use std::sync::atomic::{AtomicI32, Ordering};

/// The part of the allowed error by which results are off, in hundredths.
static SHIFT: AtomicI32 = AtomicI32::new(0);

/// Makes results off by `part` of the allowed error, from -1 to 1.
pub fn set_shift(part: f64) {
    SHIFT.store((part.clamp(-1.0, 1.0) * 100.0) as i32, Ordering::Relaxed);
}

/// `value` as a single, off by the chosen part of the larger of `relative` times its size and `absolute`.
fn off(value: f64, relative: f64, absolute: f64) -> f32 {
    let part = f64::from(SHIFT.load(Ordering::Relaxed)) / 100.0;
    if part == 0.0 || !value.is_finite() || value == 0.0 {
        return value as f32;
    }
    (value + part * (relative * value.abs()).max(absolute)) as f32
}

fn unit_in_last_place() -> f64 {
    (-23f64).exp2()
}

/// `ex2.approx.f32`: the error is 2^-22 of the result. Powers with integer exponents are exact, because NVIDIA's
/// functions of doubles rely on that.
pub extern "C" fn ex2(x: f32) -> f32 {
    if x.fract() == 0.0 {
        return f64::from(x).exp2() as f32;
    }
    off(f64::from(x).exp2(), (-22f64).exp2(), 0.0)
}

/// `lg2.approx.f32`: the error is 2^-22 for arguments between 1/2 and 2, and 2^-22 of the result for others.
pub extern "C" fn lg2(x: f32) -> f32 {
    let near = (0.5..=2.0).contains(&x);
    let (relative, absolute) = if near { (0.0, 1.0) } else { (1.0, 0.0) };
    let error = (-22f64).exp2();
    off(f64::from(x).log2(), relative * error, absolute * error)
}

/// `sin.approx.f32`: the error is 2^-20.5 between -pi and pi, and 2^-14.7 up to a hundred pi.
pub extern "C" fn sin(x: f32) -> f32 {
    off(f64::from(x).sin(), 0.0, circular(x))
}

/// `cos.approx.f32`, with the same error as the sine.
pub extern "C" fn cos(x: f32) -> f32 {
    off(f64::from(x).cos(), 0.0, circular(x))
}

fn circular(x: f32) -> f64 {
    let near = x.abs() <= std::f32::consts::PI;
    if near {
        (-20.5f64).exp2()
    } else {
        (-14.7f64).exp2()
    }
}

/// `tanh.approx.f32`: the error is 2^-11 of the result.
pub extern "C" fn tanh(x: f32) -> f32 {
    off(f64::from(x).tanh(), (-11f64).exp2(), 0.0)
}

/// `rcp.approx.f32`: the error is one unit in the last place.
pub extern "C" fn rcp(x: f32) -> f32 {
    off(1.0 / f64::from(x), unit_in_last_place(), 0.0)
}

/// `sqrt.approx.f32`: the error is 2^-23 of the result.
pub extern "C" fn sqrt(x: f32) -> f32 {
    off(f64::from(x).sqrt(), unit_in_last_place(), 0.0)
}

/// `rsqrt.approx.f32`: the error is 2^-22.9 of the result.
pub extern "C" fn rsqrt(x: f32) -> f32 {
    off(1.0 / f64::from(x).sqrt(), (-22.9f64).exp2(), 0.0)
}

/// `div.approx.f32` and `div.full.f32`: the error is two units in the last place. In the manual `div.approx.f32` gives
/// zero where the divisor is beyond 2^126; this is not done here.
pub extern "C" fn div(a: f32, b: f32) -> f32 {
    off(f64::from(a) / f64::from(b), 2.0 * unit_in_last_place(), 0.0)
}

/// `rcp.approx.ftz.f64`: the upper 32 bits of the result. The lower 32 bits are zero. Subnormal arguments and results
/// are zero.
pub extern "C" fn rcp_double(x: f64) -> f64 {
    upper_half(1.0 / flushed(x))
}

/// `rsqrt.approx.ftz.f64`: the upper 32 bits of the result, as for the reciprocal.
pub extern "C" fn rsqrt_double(x: f64) -> f64 {
    upper_half(1.0 / flushed(x).sqrt())
}

fn flushed(x: f64) -> f64 {
    if x.is_subnormal() {
        0.0f64.copysign(x)
    } else {
        x
    }
}

fn upper_half(x: f64) -> f64 {
    flushed(f64::from_bits(x.to_bits() & !0xffff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_near_and_off_by_what_is_allowed() {
        assert_eq!(ex2(3.0), 8.0);
        assert_eq!(ex2(f32::NEG_INFINITY), 0.0);
        assert_eq!(lg2(8.0), 3.0);
        assert_eq!(lg2(0.0), f32::NEG_INFINITY);
        assert!(lg2(-1.0).is_nan());
        assert_eq!(rcp(4.0), 0.25);
        assert_eq!(rcp(0.0), f32::INFINITY);
        assert_eq!(rsqrt(4.0), 0.5);
        assert_eq!(sqrt(9.0), 3.0);
        assert_eq!((sin(0.0), cos(0.0), tanh(0.0)), (0.0, 1.0, 0.0));
        assert_eq!(div(1.0, 4.0), 0.25);
        assert_eq!(rcp_double(3.0), f64::from_bits(0x3fd5_5555_0000_0000));
        assert_eq!(rsqrt_double(f64::MIN_POSITIVE / 2.0), f64::INFINITY);
        let value = |part| {
            SHIFT.store(part, Ordering::Relaxed);
            (ex2(0.5), ex2(3.0))
        };
        let (above, below) = (value(100), value(-100));
        SHIFT.store(0, Ordering::Relaxed);
        // 2^-22 of the root of 2 is three units in the last place.
        let root = 2f32.sqrt().to_bits();
        assert_eq!((above.0.to_bits(), below.0.to_bits()), (root + 3, root - 3));
        assert_eq!((above.1, below.1), (8.0, 8.0));
    }
}
