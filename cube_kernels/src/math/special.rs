//! Special functions of kernels: the error function's complement, the logarithm of the gamma function and its
//! derivatives.
//!
//! Polynomials interpolate at the nodes of Chebyshev, which is near minimax, relative to the function; the errors
//! given are theirs. Cancellation is kept away from what is relative: each zero that can be has an expansion of
//! its own.

use cubecl::prelude::*;

use super::{
    Math, Precision,
    circular::half_turn,
    constant_vector,
    elementary::{erf, log, not_a_number, polynomial},
    logarithm::exp_of_negative,
};
use crate::math;

/// What there is of one function for each precision.
fn table(math: Math, single: &[f64], double: &[f64]) -> Vec<f64> {
    match math.precision {
        Precision::F64 => double.to_vec(),
        _ => single.to_vec(),
    }
}

/// The complement of the error function, $1 - \mathrm{erf}\, x$, also where that is tiny.
#[cube]
pub fn erfc<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    let one = constant_vector::<F, N>(1.0);
    let near = one - erf::<F, N>(x, math);
    // e^(-x^2) from the square of few digits, which is exact, and what it misses.
    let size = x.abs();
    let end = constant_vector::<F, N>(comptime!(match math.precision {
        Precision::F64 => 28.0,
        _ => 10.2,
    }));
    let size = select_many(size.greater_than(&end), end, size);
    let head = if comptime!(math.precision == Precision::F32) {
        let bits = Vector::<u32, N>::reinterpret(Vector::<f32, N>::cast_from(size));
        let bits = bits & Vector::new(0xffff_f000u32);
        Vector::<F, N>::cast_from(Vector::<f32, N>::reinterpret(bits))
    } else {
        // To a multiple of 2^-21.
        let shift = constant_vector::<F, N>(3221225472.0);
        (size + shift) - shift
    };
    let exp = exp_of_negative::<F, N>(head * head, (size - head) * (size + head), math);
    let four = constant_vector::<F, N>(4.0);
    let p = polynomial::<F, N>(
        (size - four) / (size + four),
        comptime!(table(math, &ERFC, &ERFC_DOUBLE)),
    );
    let far = exp * p / (one + size + size);
    let far = select_many(
        x.less_than(&constant_vector::<F, N>(0.0)),
        constant_vector::<F, N>(2.0) - far,
        far,
    );
    let is_far = size.greater_than(&constant_vector::<F, N>(0.5));
    // NaN is near.
    select_many(is_far, far, near)
}

/// $\log |\Gamma(x)|$.
#[cube]
pub fn lgamma<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    let one = constant_vector::<F, N>(1.0);
    let half = constant_vector::<F, N>(0.5);
    let size = x.abs();
    let reflected = x.less_equal(&-half);
    // From -1/2 on; below 1/2 by Gamma(1 + y) = y Gamma(y).
    let y = select_many(reflected, size, x);
    let small = y.less_than(&half);
    let log_y = log::<F, N>(y.abs(), math);
    let u = select_many(small, y, y - one);
    let first = u * polynomial::<F, N>(u, comptime!(table(math, &LGAMMA_ONE, &LGAMMA_ONE_DOUBLE)));
    let v = y - constant_vector::<F, N>(2.0);
    let second = v * polynomial::<F, N>(v, comptime!(table(math, &LGAMMA_TWO, &LGAMMA_TWO_DOUBLE)));
    let z = one / y;
    let rest = z * polynomial::<F, N>(z * z, comptime!(table(math, &STIRLING, &STIRLING_DOUBLE)));
    let rest =
        rest + constant_vector::<F, N>(comptime!(0.5 * (2.0 * std::f64::consts::PI).ln() - 0.5));
    let far = fma(y - half, log_y - one, rest);
    let value = select_many(y.less_than(&constant_vector::<F, N>(3.0)), second, far);
    let value = select_many(y.less_than(&constant_vector::<F, N>(1.5)), first, value);
    let value = select_many(small, first - log_y, value);
    // Gamma(x) Gamma(-x) = -pi / (x sin(pi x)); at the poles the logarithm of 0.
    let sin = half_turn::<F, N>(y - y.round(), math).sin.abs();
    let product = y * (sin * constant_vector::<F, N>(std::f64::consts::FRAC_1_PI));
    let mirrored = -log::<F, N>(product, math) - value;
    // Infinite on both ends.
    let finite = y.less_equal(&constant_vector::<F, N>(comptime!(
        math.precision.largest()
    )));
    select_many(reflected.vec_and(finite), mirrored, value)
}

/// The derivative of order $n + 1$ of $\log \Gamma(x)$.
#[cube]
pub fn polygamma<F: Float, N: Size>(
    x: Vector<F, N>,
    #[comptime] n: u32,
    #[comptime] math: Math,
) -> Vector<F, N> {
    let zero = constant_vector::<F, N>(0.0);
    let one = constant_vector::<F, N>(1.0);
    let reflected = x.less_than(&zero);
    let y = select_many(reflected, one - x, x);
    let value = if comptime!(n == 0) {
        digamma_positive::<F, N>(y, math)
    } else {
        polygamma_positive::<F, N>(y, n, math)
    };
    // (-1)^n psi_n(1 - x) - psi_n(x) is the derivative of order n of pi cot(pi x), a polynomial of the cotangent.
    let r = x - x.round();
    let turn = half_turn::<F, N>(r, math);
    let p = polynomial::<F, N>(turn.cos / turn.sin, comptime!(cotangent_derivative(n)));
    let mirrored = if comptime!(n.is_multiple_of(2)) {
        // A pole between infinities of both signs.
        let pole = if comptime!(math.precision == Precision::F32) {
            Vector::<F, N>::cast_from(not_a_number::<N>(Vector::<f32, N>::cast_from(x)))
        } else {
            zero / r
        };
        select_many(r.equal(&zero), pole, value - p)
    } else {
        -value - p
    };
    select_many(reflected, mirrored, value)
}

/// $\psi(x)$ for $x \ge 0$.
#[cube]
fn digamma_positive<F: Float, N: Size>(x: Vector<F, N>, #[comptime] math: Math) -> Vector<F, N> {
    let one = constant_vector::<F, N>(1.0);
    let small = x.less_than(&one);
    let y = select_many(small, x + one, x);
    // The zero in two parts.
    let zero = comptime!(match math.precision {
        Precision::F64 => (1.4616321449683622, 9.549995429965698e-17),
        _ => (1.4616321325302124, 1.2438149938918909e-8),
    });
    let distance = (y - constant_vector::<F, N>(comptime!(zero.0)))
        - constant_vector::<F, N>(comptime!(zero.1));
    let near = distance
        * polynomial::<F, N>(
            y - constant_vector::<F, N>(2.0),
            comptime!(table(math, &DIGAMMA, &DIGAMMA_DOUBLE)),
        );
    let z = one / y;
    let square = z * z;
    let rest = square
        * polynomial::<F, N>(
            square,
            comptime!(table(math, &DIGAMMA_FAR, &DIGAMMA_FAR_DOUBLE)),
        );
    let far = log::<F, N>(y, math) - fma(z, constant_vector::<F, N>(0.5), rest);
    let value = select_many(y.less_than(&constant_vector::<F, N>(3.0)), near, far);
    select_many(small, value - one / x, value)
}

/// $\psi^{(n)}(x)$ for $x \ge 0$ and $n \ge 1$: the first terms of
/// $(-1)^{n+1} n! \sum_k (x + k)^{-n-1}$, and an asymptotic expansion of the others (DLMF 5.15.8).
#[cube]
fn polygamma_positive<F: Float, N: Size>(
    x: Vector<F, N>,
    #[comptime] n: u32,
    #[comptime] math: Math,
) -> Vector<F, N> {
    let one = constant_vector::<F, N>(1.0);
    let mut sum = constant_vector::<F, N>(0.0);
    let expansion = comptime!(Expansion::new(n, math.precision == Precision::F64));
    let terms = comptime!(expansion.terms);
    #[unroll]
    for back in 0..terms {
        // The smallest first.
        let k = comptime!((terms - 1 - back) as f64);
        // The sign of a zero stays.
        let shifted = if comptime!(k == 0.0) {
            x
        } else {
            x + constant_vector::<F, N>(k)
        };
        let inverse = one / shifted;
        sum += math::powi::<F, N>(inverse, comptime!(n as i32 + 1));
    }
    let z = one / (x + constant_vector::<F, N>(comptime!(terms as f64)));
    let rest = polynomial::<F, N>(z * z, comptime!(expansion.rest.clone()));
    let rest = fma(
        z * z,
        rest,
        fma(
            z,
            constant_vector::<F, N>(0.5),
            constant_vector::<F, N>(comptime!(1.0 / n as f64)),
        ),
    );
    let rest = math::powi::<F, N>(z, comptime!(n as i32)) * rest;
    let factor = comptime!(expansion.factor);
    (sum + rest) * constant_vector::<F, N>(factor)
}

/// Bernoulli numbers $B_2, B_4, ..$
const BERNOULLI: [f64; 11] = [
    1.0 / 6.0,
    -1.0 / 30.0,
    1.0 / 42.0,
    -1.0 / 30.0,
    5.0 / 66.0,
    -691.0 / 2730.0,
    7.0 / 6.0,
    -3617.0 / 510.0,
    43867.0 / 798.0,
    -174611.0 / 330.0,
    854513.0 / 138.0,
];

/// How $\psi^{(n)}$ is computed for $n \ge 1$: $(-1)^{n+1} n!$ times a number of terms and
/// $w^{-n} (1/n + 1/(2 w) + w^{-2} P(w^{-2}))$, where $w$ is the argument plus the number of terms.
pub(crate) struct Expansion {
    pub terms: u32,
    pub rest: Vec<f64>,
    pub factor: f64,
}

impl Expansion {
    /// With an error below 1e-17 or 1e-9.
    pub fn new(n: u32, double: bool) -> Self {
        let (len, most) = if double { (10, 1e-17) } else { (5, 1e-9) };
        // B_2k (2k + n - 1)! / ((2k)! n!)
        let coefficient = |k: usize| {
            let rising: f64 = (1..2 * k as u32)
                .map(|m| (n + m) as f64 / (m + 1) as f64)
                .product();
            BERNOULLI[k - 1] * rising
        };
        // The first term that is left out, beside 1 / n.
        let left_out = |terms: u32| {
            n as f64 * coefficient(len + 1).abs() * (terms as f64).powi(-2 * (len as i32 + 1))
        };
        let factorial: f64 = (1..=n).map(f64::from).product();
        Self {
            terms: (1..)
                .find(|terms| left_out(*terms) < most)
                .expect("powers get small"),
            rest: (1..=len).map(coefficient).collect(),
            factor: if n.is_multiple_of(2) {
                -factorial
            } else {
                factorial
            },
        }
    }
}

/// The derivative of order $n$ of $\pi \cot \pi x$ as a polynomial of $\cot \pi x$: that of $P(c)$ is
/// $-\pi (1 + c^2) P'(c)$.
pub(crate) fn cotangent_derivative(n: u32) -> Vec<f64> {
    let pi = std::f64::consts::PI;
    let mut p = vec![0.0, pi];
    for _ in 0..n {
        let mut next = vec![0.0; p.len() + 1];
        for (k, c) in p.iter().enumerate().skip(1) {
            next[k - 1] -= pi * k as f64 * c;
            next[k + 1] -= pi * k as f64 * c;
        }
        p = next;
    }
    p
}

/// $\log \Gamma(1 + u) = u P(u)$ for $|u| \le 1/2$; relative error 8e-10.
pub const LGAMMA_ONE: [f64; 15] = [
    -0.577215672,
    0.822467029,
    -0.400685638,
    0.270579517,
    -0.207384318,
    0.169612542,
    -0.144102305,
    0.124482617,
    -0.110362075,
    0.109705426,
    -0.100044578,
    0.0368487909,
    -0.0329418518,
    0.176718265,
    -0.166168869,
];
/// $\log \Gamma(2 + u) = u P(u)$ for $-1/2 \le u \le 1$; relative error 2e-09.
pub const LGAMMA_TWO: [f64; 11] = [
    0.422784328,
    0.322467029,
    -0.0673523173,
    0.0205810014,
    -0.00738532934,
    0.00288812863,
    -0.00119212316,
    0.000520163449,
    -0.000235325744,
    8.96139027e-5,
    -1.79925137e-5,
];
/// $\log \Gamma(x) = (x - 1/2) (\log x - 1) + (\log 2\pi - 1)/2 + P(x^{-2}) / x$ for $x \ge 3$; relative error 4e-10.
pub const STIRLING: [f64; 5] = [
    0.0833333358,
    -0.00277776388,
    0.000792611274,
    -0.000567181385,
    0.000504531898,
];
/// $\psi(2 + u) = (2 + u - x_0) P(u)$ for $|u| \le 1$, where $x_0$ is the positive zero; relative error 8e-10.
pub const DIGAMMA: [f64; 16] = [
    0.785307527,
    -0.260738969,
    0.108999975,
    -0.0495510623,
    0.0234460253,
    -0.0113377906,
    0.00556232454,
    -0.00274460739,
    0.00131983729,
    -0.000656163029,
    0.000413945265,
    -0.000206567245,
    2.29546075e-7,
    -7.6140914e-8,
    6.33610471e-5,
    -3.16729274e-5,
];
/// $\psi(x) = \log x - 1/(2 x) - P(x^{-2}) / x^2$ for $x \ge 3$; relative error 3e-10.
pub const DIGAMMA_FAR: [f64; 6] = [
    0.0833333358,
    -0.00833331887,
    0.00396671379,
    -0.00410354091,
    0.00633033644,
    -0.00794050749,
];
/// $e^{x^2} \mathrm{erfc}(x) (1 + 2 x) = P(\frac{x - 4}{x + 4})$ for $1/2 \le x \le 10.2$; relative error 2e-09.
pub const ERFC: [f64; 11] = [
    1.23299515,
    -0.139621079,
    0.0153796533,
    0.0680948421,
    -0.101040155,
    0.0937685817,
    -0.0662963539,
    0.0369518735,
    -0.0165008083,
    0.00543494569,
    8.01244678e-5,
];
/// As [`LGAMMA_ONE`]; relative error 4e-18.
pub const LGAMMA_ONE_DOUBLE: [f64; 29] = [
    -0.5772156649015329,
    0.8224670334241131,
    -0.4006856343865313,
    0.2705808084278337,
    -0.20738555102872175,
    0.16955717698926046,
    -0.14404989676093186,
    0.12550967015385275,
    -0.11133426648064039,
    0.10009943008747753,
    -0.09095399050709609,
    0.08335458900295017,
    -0.07693324338734528,
    0.07141935724662937,
    -0.06665550719444015,
    0.0626711104727693,
    -0.05898924031065899,
    0.054058776743014576,
    -0.051177808935222266,
    0.05928878667667664,
    -0.05663969322285954,
    0.005299145410064582,
    -0.004485262603857743,
    0.15846766634774326,
    -0.15340561526661967,
    -0.17310581118613022,
    0.16833795110458488,
    0.23220268431813382,
    -0.2251396034009193,
];
/// As [`LGAMMA_TWO`]; relative error 4e-18.
pub const LGAMMA_TWO_DOUBLE: [f64; 22] = [
    0.42278433509846713,
    0.3224670334241132,
    -0.06735230105319796,
    0.020580808427787502,
    -0.007385551028687111,
    0.0028905103306125996,
    -0.0011927539111748094,
    0.0005096695270786523,
    -0.00022315476914202685,
    9.945749459386184e-05,
    -4.4926118904862264e-05,
    2.050723289467849e-05,
    -9.440199753274835e-06,
    4.375472004777847e-06,
    -2.0371195482358996e-06,
    9.511969731319312e-07,
    -4.5041997201473635e-07,
    2.2102374422908605e-07,
    -1.0784595012220329e-07,
    4.4561979632842775e-08,
    -1.2394516911278076e-08,
    1.6305432352127331e-09,
];
/// As [`STIRLING`]; relative error 8e-18.
pub const STIRLING_DOUBLE: [f64; 13] = [
    0.08333333333333333,
    -0.0027777777777757695,
    0.000793650792622404,
    -0.0005952378854503139,
    0.0008417282394032316,
    -0.001916046419878926,
    0.006346110578287468,
    -0.027601910018877965,
    0.13605466943993075,
    -0.6346190865590811,
    2.348297111307376,
    -5.724231504923649,
    6.653396422214325,
];
/// As [`DIGAMMA`]; relative error 8e-18.
pub const DIGAMMA_DOUBLE: [f64; 30] = [
    0.7853075386041053,
    -0.2607389546830014,
    0.10899991701762626,
    -0.04955103291767291,
    0.023447309597724546,
    -0.011338432553333682,
    0.005552254171350814,
    -0.0027395728831692795,
    0.0013581421903714414,
    -0.000675313369799565,
    0.00033643237613001386,
    -0.00016781518722379935,
    8.377966540530644e-05,
    -4.184622931937881e-05,
    2.0891708911121205e-05,
    -1.044106631983514e-05,
    5.26871942897218e-06,
    -2.6338311326151924e-06,
    1.2119815782595426e-06,
    -6.059322795045256e-07,
    4.6173797029851077e-07,
    -2.3086248081342955e-07,
    -5.6422994902202784e-08,
    2.821220170829738e-08,
    1.1540536834062045e-07,
    -5.77025926771739e-08,
    -3.5705337308985145e-08,
    1.7852672191376552e-08,
    1.0201545142033868e-08,
    -5.100770214989469e-09,
];
/// As [`DIGAMMA_FAR`]; relative error 6e-18.
pub const DIGAMMA_FAR_DOUBLE: [f64; 15] = [
    0.08333333333333333,
    -0.00833333333333146,
    0.003968253966976144,
    -0.004166666318097985,
    0.007575707039086104,
    -0.02108830175939234,
    0.0830660088313229,
    -0.43197479150692436,
    2.6996290250826944,
    -17.801600496585763,
    107.92593503303368,
    -533.2993840006341,
    1920.8404423708398,
    -4373.090261537011,
    4664.339078947224,
];
/// As [`ERFC`], for $1/2 \le x \le 28$; relative error 3e-18.
pub const ERFC_DOUBLE: [f64; 22] = [
    1.2329951186255526,
    -0.13962111684056253,
    0.015379652102619027,
    0.0680970542546948,
    -0.10103906603625375,
    0.09373283499828751,
    -0.06633036581360713,
    0.03716751553818893,
    -0.01619773403826592,
    0.0050319699756138135,
    -0.0007577734486762808,
    -0.00019925671345040716,
    0.00015062249512264785,
    -2.4398983809134553e-05,
    -1.12247322473501e-05,
    5.7086428044048145e-06,
    2.9955790685567077e-07,
    -8.22559563206072e-07,
    6.702452833728971e-08,
    1.0568025135820959e-07,
    -1.2224048303152388e-08,
    -1.0476718674668371e-08,
];
