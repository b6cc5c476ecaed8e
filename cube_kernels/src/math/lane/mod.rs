//! Functions of single numbers on the host, without branches, so that compilers turn loops over them into vector
//! instructions.
//!
//! In F32 they use the same polynomials as the functions of kernels. The errors of polynomials are stated with their
//! coefficients.

// A NaN is not equal to itself.
#![allow(clippy::eq_op)]

#[cfg(target_arch = "x86_64")]
mod dot;
mod double;
mod single;

use std::ops::{Add, Div, Mul, Neg, Sub};

/// The second factors of a sum of products.
#[derive(Clone, Copy)]
pub enum Factor<'a, T> {
    /// One for each first factor.
    Each(&'a [T]),
    /// The same for all.
    All(T),
}

/// The arithmetic of a set of instructions: multiply-adds and sums of products.
pub trait Arithmetic: Copy {
    /// Whether $a b + c$ is rounded once.
    const FUSED: bool;

    /// $a b + c$.
    #[inline(always)]
    fn fma<T: Real>(self, a: T, b: T, c: T) -> T {
        match Self::FUSED {
            true => a.mul_add(b, c),
            false => a * b + c,
        }
    }

    /// $\sum_k a_k b_k$.
    #[inline(always)]
    fn dot<T: Real>(self, a: &[T], b: Factor<T>) -> T {
        match b {
            Factor::Each(b) => sum_of(a.len(), |sum, k| self.fma(a[k], b[k], sum)),
            Factor::All(b) => sum_of(a.len(), |sum, k| self.fma(a[k], b, sum)),
        }
    }
}

/// Number of sums that are added up side by side: enough to keep the adders of any processor busy.
const SIDE_BY_SIDE: usize = 64;

/// The sum over `len` lanes, where `add(sum, k)` adds the value of lane `k` to a sum. There are several sums side by
/// side, which are added up in pairs at the end.
#[inline(always)]
pub fn sum_of<T: Real>(len: usize, add: impl Fn(T, usize) -> T) -> T {
    let mut sums = [T::ZERO; SIDE_BY_SIDE];
    let mut start = 0;
    while start < len {
        // The length is not a constant, so that this is a loop over lanes for the compiler.
        let own = SIDE_BY_SIDE.min(len - start);
        for (k, sum) in sums[..own].iter_mut().enumerate() {
            *sum = add(*sum, start + k);
        }
        start += own;
    }
    let mut half = SIDE_BY_SIDE / 2;
    while half > 0 {
        for k in 0..half {
            sums[k] = sums[k] + sums[k + half];
        }
        half /= 2;
    }
    sums[0]
}

/// A multiply-add in one instruction, which is rounded once.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy)]
pub struct Fused;

/// A product, which is rounded, and then a sum, for processors that have no instruction for both.
#[derive(Clone, Copy)]
pub struct Separate;

/// Multiply-adds of AVX-512.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Wide(());

/// Multiply-adds of AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Middle(());

#[cfg(target_arch = "x86_64")]
impl Wide {
    /// # Safety
    /// The processor must have AVX-512F, AVX2 and FMA.
    pub unsafe fn new() -> Self {
        Self(())
    }
}

#[cfg(target_arch = "x86_64")]
impl Middle {
    /// # Safety
    /// The processor must have AVX2 and FMA.
    pub unsafe fn new() -> Self {
        Self(())
    }
}

#[cfg(target_arch = "aarch64")]
impl Arithmetic for Fused {
    const FUSED: bool = true;
}

#[cfg(target_arch = "x86_64")]
impl Arithmetic for Wide {
    const FUSED: bool = true;

    #[inline(always)]
    fn dot<T: Real>(self, a: &[T], b: Factor<T>) -> T {
        // SAFETY: there is a `Wide` only where the processor has these instructions.
        unsafe { T::dot_wide(a, b) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Arithmetic for Middle {
    const FUSED: bool = true;

    #[inline(always)]
    fn dot<T: Real>(self, a: &[T], b: Factor<T>) -> T {
        // SAFETY: there is a `Middle` only where the processor has these instructions.
        unsafe { T::dot_middle(a, b) }
    }
}

impl Arithmetic for Separate {
    const FUSED: bool = false;
}

/// A type in which the host computes.
pub trait Real:
    Copy
    + Default
    + Send
    + Sync
    + PartialEq
    + PartialOrd
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Infinity.
    const INFINITY: Self;
    /// The largest finite number.
    const LARGEST: Self;
    /// The size of angles from which on [`sin`](Self::sin) and [`cos`](Self::cos) are not to be used.
    const LARGE_ANGLE: Self;

    /// `value`, rounded to this type.
    fn of(value: f64) -> Self;
    /// The same value in F64.
    fn double(self) -> f64;
    /// $a b + c$, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The absolute value.
    fn abs(self) -> Self;
    /// The largest integer that is not above this number.
    fn floor(self) -> Self;
    /// The smallest integer that is not below this number.
    fn ceil(self) -> Self;
    /// The nearest integer. Of two that are equally near, the even one.
    fn round(self) -> Self;
    /// The absolute value of this number with the sign of `sign`.
    fn copysign(self, sign: Self) -> Self;
    /// A power of $2^{32}$ near the absolute value of a finite number other than 0.
    fn near_magnitude(self) -> Self;
    /// Whether the product of the two numbers may be less than the least normal number times
    /// [`NORMAL_MARGIN`](super::NORMAL_MARGIN). False if one of them is NaN.
    fn has_small_product(self, other: Self) -> bool;
    /// $e^x$.
    fn exp<M: Arithmetic>(self, math: M) -> Self;
    /// $e^x - 1$, exact for small $x$.
    fn expm1<M: Arithmetic>(self, math: M) -> Self;
    /// $2^x$.
    fn exp2<M: Arithmetic>(self, math: M) -> Self;
    /// The natural logarithm.
    fn log<M: Arithmetic>(self, math: M) -> Self;
    /// $x = k \pi/2 + r$ for an angle $x$ that is not large: the last bits of $k$, the sine and the cosine of $r$.
    fn turn<M: Arithmetic>(self, math: M) -> (u32, Self, Self);
    /// The hyperbolic tangent.
    fn tanh<M: Arithmetic>(self, math: M) -> Self;
    /// The error function.
    fn erf<M: Arithmetic>(self, math: M) -> Self;

    /// The sine of an angle that is not large.
    #[inline(always)]
    fn sin<M: Arithmetic>(self, math: M) -> Self {
        let (k, sin, cos) = self.turn(math);
        in_quadrant(sin, cos, k)
    }

    /// The cosine of an angle that is not large.
    #[inline(always)]
    fn cos<M: Arithmetic>(self, math: M) -> Self {
        let (k, sin, cos) = self.turn(math);
        in_quadrant(sin, cos, k.wrapping_add(1))
    }

    /// $\sum_k a_k b_k$ with AVX-512.
    ///
    /// # Safety
    /// The processor must have AVX-512F, AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    unsafe fn dot_wide(a: &[Self], b: Factor<Self>) -> Self;

    /// The same with AVX2.
    ///
    /// # Safety
    /// The processor must have AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    unsafe fn dot_middle(a: &[Self], b: Factor<Self>) -> Self;
}

/// Implements what of [`Real`] is the same for both types: constants, functions that the type `$T` has itself, and the
/// sums of products `$wide` and `$middle`.
macro_rules! same_for_both {
    ($T:ident, $wide:ident, $middle:ident) => {
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;
        const INFINITY: Self = $T::INFINITY;
        const LARGEST: Self = $T::MAX;

        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            $T::mul_add(self, b, c)
        }

        #[inline(always)]
        fn sqrt(self) -> Self {
            $T::sqrt(self)
        }

        #[inline(always)]
        fn abs(self) -> Self {
            $T::abs(self)
        }

        #[inline(always)]
        fn floor(self) -> Self {
            $T::floor(self)
        }

        #[inline(always)]
        fn ceil(self) -> Self {
            $T::ceil(self)
        }

        #[inline(always)]
        fn round(self) -> Self {
            $T::round_ties_even(self)
        }

        #[inline(always)]
        fn copysign(self, sign: Self) -> Self {
            $T::copysign(self, sign)
        }

        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        unsafe fn dot_wide(a: &[Self], b: super::Factor<Self>) -> Self {
            // SAFETY: the caller has these instructions.
            unsafe { super::dot::$wide(a, b) }
        }

        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        unsafe fn dot_middle(a: &[Self], b: super::Factor<Self>) -> Self {
            // SAFETY: the caller has these instructions.
            unsafe { super::dot::$middle(a, b) }
        }
    };
}
use same_for_both;

/// $\sum_k c_k x^k$ by Horner's scheme.
#[inline(always)]
pub fn polynomial<T: Real, M: Arithmetic, const N: usize>(math: M, x: T, c: &[f64; N]) -> T {
    let mut sum = T::of(c[N - 1]);
    let mut k = N - 1;
    while k > 0 {
        k -= 1;
        sum = math.fma(sum, x, T::of(c[k]));
    }
    sum
}

/// $r + r^3 P(r^2)$.
#[inline(always)]
fn odd<T: Real, M: Arithmetic, const N: usize>(math: M, r: T, c: &[f64; N]) -> T {
    let square = r * r;
    math.fma(r * square, polynomial(math, square, c), r)
}

/// The sine of an angle in `quadrant`, given the sine and the cosine of its rest: `sin` in even quadrants, `cos` in odd
/// ones, with the sign of the quadrant. With the next quadrant it is the cosine of the angle.
#[inline(always)]
fn in_quadrant<T: Real>(sin: T, cos: T, quadrant: u32) -> T {
    let value = if quadrant & 1 == 0 { sin } else { cos };
    if quadrant & 2 == 0 { value } else { -value }
}

/// -1, 0 or 1; NaN for NaN.
#[inline(always)]
pub fn sign<T: Real>(x: T) -> T {
    let negative = if x < T::ZERO { -T::ONE } else { x };
    if x > T::ZERO { T::ONE } else { negative }
}

/// 0 below zero, 1 from zero on; NaN for NaN.
#[inline(always)]
pub fn step<T: Real>(x: T) -> T {
    let value = if x < T::ZERO { T::ZERO } else { x };
    if x >= T::ZERO { T::ONE } else { value }
}

/// The reciprocal square root, with 0 at 0.
#[inline(always)]
pub fn rsqrt<T: Real>(x: T) -> T {
    let value = T::ONE / x.sqrt();
    if x == T::ZERO { T::ZERO } else { value }
}

/// The larger value; NaN if either is.
#[inline(always)]
pub fn maximum<T: Real>(a: T, b: T) -> T {
    let larger = if a > b { a } else { b };
    if a == a { larger } else { a }
}

/// The smaller value; NaN if either is.
#[inline(always)]
pub fn minimum<T: Real>(a: T, b: T) -> T {
    let smaller = if a < b { a } else { b };
    if a == a { smaller } else { a }
}

/// 1 if `holds`, else 0.
#[inline(always)]
pub fn truth<T: Real>(holds: bool) -> T {
    if holds { T::ONE } else { T::ZERO }
}

/// The product, but 0 where `a` is 0.
#[inline(always)]
pub fn strong_mul<T: Real>(a: T, b: T) -> T {
    let product = a * b;
    if a == T::ZERO { T::ZERO } else { product }
}

/// `x`, but 0 with the sign of `x` where its product with `factor` is so small that products with that may not be normal
/// numbers. `x` itself is replaced, and not the product, because already the product would take long.
#[inline(always)]
pub fn flushed<T: Real>(x: T, factor: T) -> T {
    if x.has_small_product(factor) {
        T::ZERO.copysign(x)
    } else {
        x
    }
}

/// $x \log x$, 0 at 0.
#[inline(always)]
pub fn xlogx<T: Real, M: Arithmetic>(math: M, x: T) -> T {
    let value = x * x.log(math);
    if x == T::ZERO { T::ZERO } else { value }
}

/// The logistic function.
#[inline(always)]
pub fn sigmoid<T: Real, M: Arithmetic>(math: M, x: T) -> T {
    T::ONE / (T::ONE + (-x).exp(math))
}

/// A power of $2^{32}$ near the absolute value; 1 at 0 and infinities, NaN for NaN.
#[inline(always)]
pub fn magnitude<T: Real>(x: T) -> T {
    let power = x.near_magnitude();
    let size = x.abs();
    let power = if size == T::ZERO || size == T::INFINITY {
        T::ONE
    } else {
        power
    };
    if x == x { power } else { x }
}

/// $\log(1 + x)$, exact for small $x$.
#[inline(always)]
pub fn log1p<T: Real, M: Arithmetic>(math: M, x: T) -> T {
    // The rounding error of the sum, relative to the sum (Kahan).
    let sum = T::ONE + x;
    let lost = ((sum - T::ONE) - x) / sum;
    let log = sum.log(math);
    // For a sum of 0 or infinity, `lost` is NaN, and there is nothing to correct.
    if lost == lost { log - lost } else { log }
}

/// $\log(1 + e^x)$.
#[inline(always)]
pub fn softplus<T: Real, M: Arithmetic>(math: M, x: T) -> T {
    // Written so that NaN stays.
    let positive = if x < T::ZERO { T::ZERO } else { x };
    positive + log1p(math, (-x.abs()).exp(math))
}

/// $\log(e^a + e^b)$.
#[inline(always)]
pub fn logaddexp<T: Real, M: Arithmetic>(math: M, a: T, b: T) -> T {
    let sum = maximum(a, b) + log1p(math, (-(a - b).abs()).exp(math));
    // Equal arguments are a case of their own, as the difference of equal infinities is NaN.
    if a == b {
        a + T::of(std::f64::consts::LN_2)
    } else {
        sum
    }
}

/// The hyperbolic sine.
#[inline(always)]
pub fn sinh<T: Real, M: Arithmetic>(math: M, x: T) -> T {
    let half = T::of(0.5);
    let size = x.abs();
    let less = size.expm1(math);
    let near = half * (less + less / (less + T::ONE));
    // Overflows only where the result does.
    let root = (half * size).exp(math);
    let far = root * (half * root);
    let value = if size > T::of(20.0) { far } else { near };
    value.copysign(x)
}

/// The hyperbolic cosine.
#[inline(always)]
pub fn cosh<T: Real, M: Arithmetic>(math: M, x: T) -> T {
    let half = T::of(0.5);
    let root = (half * x.abs()).exp(math);
    let far = root * (half * root);
    far + T::of(0.25) / far
}
