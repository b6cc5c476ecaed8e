//! Sines, cosines, tangents and their inverses.

use cubecl::prelude::*;

use super::coefficients::{ASIN, ATAN, COS, LARGEST, SIN, TWO_OVER_PI};
use super::elementary::{not_a_number, odd, polynomial, with_sign};
use super::{Math, Precision, any, apart, constant_vector};

/// The sine and cosine of an angle, which is reduced by $x = k \pi/2 + r$ (Cody and Waite, "Software manual for the
/// elementary functions", 1980).
#[derive(CubeType)]
pub struct Turn<N: Size> {
    pub sin: Vector<f32, N>,
    pub cos: Vector<f32, N>,
}

/// The size of angles from which on multiples of the parts of $\pi/2$ are not exact any more. It is smaller if the
/// product of a multiply-add is rounded, too, as the product must have at most 24 binary digits then.
pub fn large_angle(math: Math) -> f64 {
    if math.fused { 65536.0 } else { 8192.0 }
}

/// The sine and cosine of angles that are not [large](large_angle).
#[cube]
pub fn turn<N: Size>(x: Vector<f32, N>, #[comptime] math: Math) -> Turn<N> {
    let quarters = constant_vector::<f32, N>(std::f64::consts::FRAC_2_PI);
    let (k, quadrant) = if comptime!(math.fused && !math.simd()) {
        // Neighbouring numbers of this size differ by 1, so that the sum is rounded to an integer, and its last bits
        // are those of the integer.
        let integers = constant_vector::<f32, N>(12582912.0);
        let shifted = fma(x, quarters, integers);
        let quadrant = Vector::<u32, N>::reinterpret(shifted);
        (shifted - integers, quadrant)
    } else {
        let k = (x * quarters).round();
        (k, quadrant::<N>(k))
    };
    // pi/2 is split into a part of 8 digits and one of 11, whose products with small integers are exact, and the rest.
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
pub fn quadrant<N: Size>(k: Vector<f32, N>) -> Vector<u32, N> {
    Vector::<u32, N>::reinterpret(Vector::<i32, N>::cast_from(k))
}

/// A function of an angle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circular {
    Sin,
    Cos,
    Tan,
}

#[cube]
impl<N: Size> Turn<N> {
    pub fn value(&self, #[comptime] function: Circular) -> Vector<f32, N> {
        match function {
            Circular::Sin => self.sin,
            Circular::Cos => self.cos,
            Circular::Tan => self.sin / self.cos,
        }
    }
}

/// The value of `function` at the angle `x`, given the value `near`, which is right for angles that are not large.
///
/// Few angles are large, so that they are computed in a branch. There is no branch if angles are known to be small.
/// `near` is computed outside of the branch, so that sines and cosines share the work. On a CPU the branch calls the
/// functions of the host, which are right for all angles and take less time to compile. The functions of GPUs are not
/// right for all angles.
#[cube]
pub fn with_large<N: Size>(
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
                // Called for single numbers, as the functions of vectors are not those of the host.
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
                // A branch for each lane: if lanes were computed side by side, they would take more registers, at the
                // cost of the whole kernel.
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

/// Whether any lane of `x` is `limit` or more in size. A lane that is NaN does not hide others.
#[cube]
pub fn any_beyond<N: Size>(x: Vector<f32, N>, limit: f32, #[comptime] math: Math) -> bool {
    if comptime!(math.fused) {
        // The larger of NaN and a number is the number.
        let mut most = x.extract(0usize).abs();
        #[unroll]
        for lane in 1..N::value() {
            most = max(most, x.extract(lane).abs());
        }
        most >= limit
    } else {
        // A comparison for each lane, which takes in the result of the one before. Not the maximum, as shaders may
        // take NaN for the larger number.
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
pub fn turn_of<N: Size>(k: Vector<u32, N>, r: Vector<f32, N>, #[comptime] math: Math) -> Turn<N> {
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
    // In odd quadrants the sine and the cosine change places. The sine is negative in quadrants 2 and 3, the cosine
    // in 1 and 2.
    let one = Vector::new(1u32);
    let (s, c) = if comptime!(math.fused && !math.exp2 && !math.simd()) {
        // Clang makes fewer instructions of this than of two selections.
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
        let swapped = (k & one).not_equal(&Vector::new(0u32));
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

/// `x`, or `-x` if the second lowest bit of `k` is set.
#[cube]
pub fn negated_by<N: Size>(x: Vector<f32, N>, k: Vector<u32, N>) -> Vector<f32, N> {
    let sign = (k << Vector::new(30u32)) & Vector::new(0x8000_0000u32);
    Vector::<f32, N>::reinterpret(Vector::<u32, N>::reinterpret(x) ^ sign)
}

/// The sine and cosine of angles $|x| \ge 1$. The angle has an error of 4e-9 beside its rounding. NaN if $x$ is not
/// finite.
///
/// The product of $x = m 2^e$ and $2/\pi$ is only computed modulo 4, in units of $2^{-30}$. The bits of $2/\pi$ that
/// give multiples of 4 are skipped, and those that give less than a unit are left out (Payne and Hanek, "Radian
/// reduction for trigonometric functions", 1983).
#[cube]
pub fn large_turn<N: Size>(x: Vector<f32, N>, #[comptime] math: Math) -> Turn<N> {
    let bits = Vector::<u32, N>::reinterpret(x);
    // `m` with the sign of `x`, as a number and as an integer.
    let m = (bits & Vector::new(0x807f_ffffu32)) | Vector::new(0x4b00_0000u32);
    let m = Vector::<f32, N>::reinterpret(m);
    let integer = Vector::<u32, N>::reinterpret(Vector::<i32, N>::cast_from(m));
    // The first bit of 2/pi that is needed. It gives the word, and the place of the bit in the word.
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
    // Shifted in two steps, as a shift by 32 would not shift at all.
    let back = Vector::new(31u32) - shift;
    let one = Vector::new(1u32);
    let high = (*window.index(0usize) << shift) | ((*window.index(1usize) >> one) >> back);
    let low = (*window.index(1usize) << shift) | ((*window.index(2usize) >> one) >> back);
    let product = integer * high;
    let quadrant = (product + Vector::new(0x2000_0000u32)) >> Vector::new(30u32);
    // Signed, as it is the distance from the nearest quadrant.
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

/// The value of a function of the angle `x`.
#[cube]
fn circular<F: Float, N: Size>(
    x: Vector<F, N>,
    #[comptime] function: Circular,
    #[comptime] math: Math,
) -> Vector<F, N> {
    if comptime!(math.precision == Precision::F32) {
        let x = Vector::<f32, N>::cast_from(x);
        let near = turn::<N>(x, math).value(function);
        Vector::<F, N>::cast_from(with_large::<N>(x, near, function, math))
    } else {
        match function {
            Circular::Sin => x.sin(),
            Circular::Cos => x.cos(),
            Circular::Tan => x.tan(),
        }
    }
}

/// The sine.
#[cube]
pub fn sin<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    circular::<F, N>(x, Circular::Sin, math)
}

/// The cosine.
#[cube]
pub fn cos<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    circular::<F, N>(x, Circular::Cos, math)
}

/// The tangent.
#[cube]
pub fn tan<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    circular::<F, N>(x, Circular::Tan, math)
}

#[cube]
pub fn atan_f32<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
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
        // The quotients of two infinities and of two zeros are NaN, so these cases are set apart.
        let zero = constant_vector::<f32, N>(0.0);
        let one = constant_vector::<f32, N>(1.0);
        let r = select_many(short.equal(&long), one, short / long);
        let r = select_many(long.equal(&zero), zero, r);
        let angle = odd::<f32, N>(r, comptime!(ATAN.to_vec()));
        let quarter = constant_vector::<f32, N>(std::f64::consts::FRAC_PI_2);
        let angle = select_many(steep, quarter - angle, angle);
        // By the sign bit, as -0 is on the left, too.
        let left = Vector::<i32, N>::reinterpret(x).less_than(&Vector::new(0i32));
        let half = constant_vector::<f32, N>(std::f64::consts::PI);
        let angle = with_sign::<N>(select_many(left, half - angle, angle), y);
        // Comparisons above may have lost a NaN.
        let sum = x + y;
        let known = x.equal(&x).vec_and(y.equal(&y));
        Vector::<F, N>::cast_from(select_many(known, angle, sum))
    } else {
        y.atan2(x)
    }
}

/// $\arcsin |x|$, or $\pi/2 - \arcsin |x|$ where $|x|$ is above 1/2 (`steep`).
#[derive(CubeType)]
pub struct Arc<N: Size> {
    pub angle: Vector<f32, N>,
    pub steep: Vector<bool, N>,
}

#[cube]
pub fn arc<N: Size>(x: Vector<f32, N>) -> Arc<N> {
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
