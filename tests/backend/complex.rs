//! Complex formulas against complex arithmetic in `f64`.

use burn::prelude::*;
use burn_lazy::{Axis, Complex, LazyTensor};

use super::support::*;

/// A complex number on the host.
#[derive(Clone, Copy)]
struct C(f64, f64);

impl std::ops::Add for C {
    type Output = C;
    fn add(self, o: C) -> C {
        C(self.0 + o.0, self.1 + o.1)
    }
}

impl std::ops::Sub for C {
    type Output = C;
    fn sub(self, o: C) -> C {
        C(self.0 - o.0, self.1 - o.1)
    }
}

impl std::ops::Mul for C {
    type Output = C;
    fn mul(self, o: C) -> C {
        C(self.0 * o.0 - self.1 * o.1, self.0 * o.1 + self.1 * o.0)
    }
}

impl std::ops::Div for C {
    type Output = C;
    fn div(self, o: C) -> C {
        let size = o.0 * o.0 + o.1 * o.1;
        self * C(o.0 / size, -o.1 / size)
    }
}

fn exp(z: C) -> C {
    C(z.0.exp() * z.1.cos(), z.0.exp() * z.1.sin())
}

const M: usize = 6;
const N: usize = 9;

type Lazy = fn(&Complex<LazyTensor>, &Complex<LazyTensor>) -> Complex<LazyTensor>;
type Host = fn(C, C) -> C;

/// Operations on a row `x` and a column `y`, with their names.
const CASES: [(&str, Lazy, Host); 11] = [
    ("add", |x, y| x + y, |x, y| x + y),
    ("sub", |x, y| x - y, |x, y| x - y),
    ("mul", |x, y| x * y, |x, y| x * y),
    ("div", |x, y| x / (y + 2.0), |x, y| x / (y + C(2.0, 0.0))),
    (
        "real",
        |x, y| (x * &y.re - &x.im) / (&y.im + 2.0),
        |x, y| (x * C(y.0, 0.0) - C(x.1, 0.0)) / C(y.1 + 2.0, 0.0),
    ),
    (
        "neg, conj",
        |x, y| -x.clone() * y.conj(),
        |x, y| C(0.0, 0.0) - x * C(y.0, -y.1),
    ),
    ("exp", |x, y| (x * y).exp(), |x, y| exp(x * y)),
    (
        "exp1j",
        |x, y| (&x.re * &y.im).exp1j() + y.re.imag2complex() + x.im.real2complex(),
        |x, y| exp(C(0.0, x.0 * y.1)) + C(x.1, y.0),
    ),
    (
        "abs, angle",
        |x, y| Complex::new((x * y).abs(), (x + y).angle()),
        |x, y| {
            let (z, w) = (x * y, x + y);
            C(z.0.hypot(z.1), w.1.atan2(w.0))
        },
    ),
    (
        "recip",
        |x, y| (x + y * 3.0).recip(),
        |x, y| C(1.0, 0.0) / (x + y * C(3.0, 0.0)),
    ),
    (
        "square_abs",
        |x, y| y * (x - y).square_abs(),
        |x, y| {
            let z = x - y;
            y * C(z.0 * z.0 + z.1 * z.1, 0.0)
        },
    ),
];

struct Values {
    x: [Vec<f64>; 2],
    y: [Vec<f64>; 2],
}

fn values() -> Values {
    let mut random = Random::new(41);
    Values {
        x: [random.vec(M), random.vec(M)],
        y: [random.vec(N), random.vec(N)],
    }
}

fn dense(values: &Values, f: impl Fn(C, C) -> C) -> [Vec<f64>; 2] {
    let Values { x, y } = values;
    let row = |i: usize| {
        let terms = (0..N).map(|j| f(C(x[0][i], x[1][i]), C(y[0][j], y[1][j])));
        terms.fold(C(0.0, 0.0), |sum, term| sum + term)
    };
    let sums: Vec<C> = (0..M).map(row).collect();
    [
        sums.iter().map(|z| z.0).collect(),
        sums.iter().map(|z| z.1).collect(),
    ]
}

#[test]
fn sums_of_complex_operations_equal_dense_ones() {
    let values = values();
    let types = dtypes();
    for (number, (dtype, tolerance)) in types.iter().copied().enumerate() {
        let device = device();
        let rows = |part: usize| LazyTensor::vi(tensor(&values.x[part], [M, 1], dtype, &device));
        let columns = |part: usize| LazyTensor::vj(tensor(&values.y[part], [N, 1], dtype, &device));
        let x = Complex::new(rows(0), rows(1));
        let y = Complex::new(columns(0), columns(1));
        // Types alternate between the cases.
        for (name, lazy, exact) in CASES.into_iter().skip(number).step_by(types.len()) {
            let out: Complex<Tensor<2>> = lazy(&x, &y).sum(Axis::J);
            let [re, im] = dense(&values, exact);
            assert_close(name, &host(out.re), &re, tolerance);
            assert_close(name, &host(out.im), &im, tolerance);
        }
    }
}

#[test]
fn vectors_have_products_parts_and_matrix_products() {
    let values = values();
    let device = device();
    for (dtype, tolerance) in dtypes() {
        let pair = |values: &[Vec<f64>; 2], shape: [usize; 2]| {
            [0, 1].map(|part| tensor::<2>(&values[part], shape, dtype, &device))
        };
        let [re, im] = pair(&values.x, [M / 2, 2]).map(LazyTensor::vi);
        let x = Complex::new(re, im);
        let [re, im] = pair(&values.x, [M / 2, 2]).map(LazyTensor::vj);
        let y = Complex::new(re, im);
        let row = |i: usize, k: usize| C(values.x[0][2 * i + k], values.x[1][2 * i + k]);
        let out: Complex<Tensor<2>> = (x.dot(&y) * x.elem(1)).sum(Axis::J);
        let sums: Vec<C> = (0..M / 2)
            .map(|i| {
                let terms =
                    (0..M / 2).map(|j| (row(i, 0) * row(j, 0) + row(i, 1) * row(j, 1)) * row(i, 1));
                terms.fold(C(0.0, 0.0), |sum, term| sum + term)
            })
            .collect();
        let re: Vec<f64> = sums.iter().map(|z| z.0).collect();
        assert_close("dot", &host(out.re), &re, tolerance);

        let [re, im] = pair(&values.y, [N, 1]);
        let kernel = (x.re.elem(0) * LazyTensor::vj(re.clone())).exp1j();
        let out: Complex<Tensor<2>> = kernel.matmul(Complex::new(re, im));
        let expected: Vec<f64> = (0..M / 2)
            .map(|i| {
                let term = |j: usize| {
                    let b = C(values.y[0][j], values.y[1][j]);
                    (exp(C(0.0, row(i, 0).0 * b.0)) * b).1
                };
                (0..N).map(term).sum()
            })
            .collect();
        assert_close("matmul", &host(out.im), &expected, tolerance);
    }
}

#[test]
fn division_does_not_overflow_where_its_result_does_not() {
    let device = device();
    let of = |re: f64, im: f64| {
        let part = |value: f64| LazyTensor::vi(Tensor::<2>::full([1, 1], value, &device));
        Complex::new(part(re), part(im))
    };
    let one = LazyTensor::vj(Tensor::<2>::ones([1, 1], &device));
    for size in [1e30, 1e-30] {
        let quotient = of(size, 0.0) / of(size, size) * &one;
        let out: Complex<Tensor<2>> = quotient.sum(Axis::J);
        assert_close("re", &host(out.re), &[0.5], 1e-5);
        assert_close("im", &host(out.im), &[-0.5], 1e-5);
    }
}

/// The Cauchy kernel of S4 (Gu et al., "Efficiently modeling long sequences with structured state
/// spaces", 2022): $k_l = \sum_n v_n / (z_l - \lambda_n)$ on the unit circle.
#[test]
fn cauchy_sums_of_state_spaces_and_their_gradients() {
    let (length, states) = (32, 16);
    let mut random = Random::new(43);
    let v = [random.vec(states), random.vec(states)];
    let z: Vec<C> = (0..length)
        .map(|l| {
            exp(C(
                0.0,
                2.0 * std::f64::consts::PI * l as f64 / length as f64,
            ))
        })
        .collect();
    // Diagonal initialisation: -1/2 + i pi n, scaled into the unit disc.
    let lambda: Vec<C> = (0..states)
        .map(|n| C(-0.5, std::f64::consts::PI * n as f64) * C(0.015, 0.0))
        .collect();
    let parts = |all: &[C]| -> [Vec<f64>; 2] {
        [
            all.iter().map(|z| z.0).collect(),
            all.iter().map(|z| z.1).collect(),
        ]
    };
    for (dtype, tolerance) in dtypes() {
        let device = device();
        #[cfg(feature = "autodiff")]
        let device = device.autodiff();
        let [z_re, z_im] =
            parts(&z).map(|p| LazyTensor::vi(tensor(&p, [length, 1], dtype, &device)));
        let column = |p: &Vec<f64>| tensor::<2>(p, [states, 1], dtype, &device);
        let [l_re, l_im] = parts(&lambda).map(|p| LazyTensor::vj(column(&p)));
        let [v_re, v_im] = [0, 1].map(|part| column(&v[part]));
        #[cfg(feature = "autodiff")]
        let v_re = v_re.require_grad();
        let weight = Complex::new(LazyTensor::vj(v_re.clone()), LazyTensor::vj(v_im));
        let kernel = weight / (Complex::new(z_re, z_im) - Complex::new(l_re, l_im));
        let out: Complex<Tensor<2>> = kernel.sum(Axis::J);
        let exact = |l: usize| {
            let terms = (0..states).map(|n| C(v[0][n], v[1][n]) / (z[l] - lambda[n]));
            terms.fold(C(0.0, 0.0), |sum, term| sum + term)
        };
        let exact: Vec<C> = (0..length).map(exact).collect();
        let [re, im] = parts(&exact);
        assert_close("re", &host(out.re.clone()), &re, tolerance);
        assert_close("im", &host(out.im.clone()), &im, tolerance);

        #[cfg(feature = "autodiff")]
        {
            // The derivative of a weighted sum of re + 2 im by the real part of $v_n$.
            let weights = Random::new(44).vec(length);
            let w: Tensor<2> = tensor(&weights, [length, 1], dtype, &device);
            let gradients = ((out.re + out.im * 2.0) * w).sum().backward();
            let gradient = host(v_re.grad(&gradients).unwrap());
            let expected: Vec<f64> = (0..states)
                .map(|n| {
                    let pairs = z.iter().zip(&weights);
                    let terms = pairs.map(|(z, w)| C(*w, 0.0) / (*z - lambda[n]));
                    let sum = terms.fold(C(0.0, 0.0), |sum, term| sum + term);
                    sum.0 + 2.0 * sum.1
                })
                .collect();
            assert_close("gradient", &gradient, &expected, 100.0 * tolerance);
        }
    }
}
