//! Numbers that look random, computed from three whole numbers.

#[cfg(feature = "cubecl")]
use cubecl::prelude::*;

#[cfg(feature = "cubecl")]
use super::elementary::{largest, not_a_number};
#[cfg(feature = "cubecl")]
use super::{Math, constant_vector};

/// Factor and summand of the linear congruential generator that each of the three numbers goes through first.
const FACTOR: u32 = 1_664_525;
const SUMMAND: u32 = 1_013_904_223;

/// The distance between neighbouring results. Of the 32 bits of the hash, 24 are kept, as many as numbers in F32 have
/// binary digits.
const STEP: f64 = 1.0 / (1u64 << 24) as f64;
const DROPPED: u32 = 8;

/// A number in $[0, 1)$ for three whole numbers. The code has no branches, so that compilers turn loops over it into
/// vector instructions.
#[inline(always)]
pub fn random_on_host(args: [f64; 3]) -> f64 {
    let mix = |[x, y, z]: [u32; 3]| {
        let x = x.wrapping_add(y.wrapping_mul(z));
        let y = y.wrapping_add(z.wrapping_mul(x));
        let z = z.wrapping_add(x.wrapping_mul(y));
        [x, y, z]
    };
    let whole = args.map(|arg| arg.abs().round_ties_even() as u32);
    let own = whole.map(|x| x.wrapping_mul(FACTOR).wrapping_add(SUMMAND));
    let [hash, ..] = mix(mix(own).map(|x| x ^ (x >> 16)));
    // NaN if any argument is not finite.
    let [a, b, c] = args;
    f64::from(hash >> DROPPED) * STEP + (a + b + c) * 0.0
}

/// The same in a kernel.
#[cfg(feature = "cubecl")]
#[cube]
pub fn random<F: Float, N: Size>(
    a: Vector<F, N>,
    b: Vector<F, N>,
    c: Vector<F, N>,
    #[comptime] math: Math,
) -> Vector<F, N> {
    let (x, y, z) = (start::<F, N>(a), start::<F, N>(b), start::<F, N>(c));
    let x = x + y * z;
    let y = y + z * x;
    let z = z + x * y;
    let half = Vector::new(16u32);
    let (x, y, z) = (x ^ (x >> half), y ^ (y >> half), z ^ (z >> half));
    let hash = x + y * z;
    let value = Vector::cast_from(hash >> Vector::new(DROPPED)) * constant_vector::<F, N>(STEP);
    // NaN if any argument is not finite. Not by a product with 0, as on the host, which compilers of shaders simplify
    // to 0.
    let sum = a + b + c;
    let finite = sum.abs().less_equal(&largest::<F, N>(math));
    let nan = Vector::<F, N>::cast_from(not_a_number::<N>(Vector::<f32, N>::cast_from(sum)));
    select_many(finite, value, nan)
}

/// What the hash takes for an argument: its rounded size after one step of the generator.
#[cfg(feature = "cubecl")]
#[cube]
fn start<F: Float, N: Size>(x: Vector<F, N>) -> Vector<u32, N> {
    let whole = Vector::<u32, N>::cast_from(x.abs().round());
    whole * Vector::new(FACTOR) + Vector::new(SUMMAND)
}
