//! Gradients through Burn's autodiff, against central differences of dense sums in `f64`.

use burn::{
    module::Param,
    optim::{AdamConfig, GradientsParams},
    prelude::*,
    tensor::DType,
};
use burn_lazy::{Axes, Axis, LazyTensor, kernels as kernels_of};

use super::{
    algebra, kernels,
    operations::{Case, M, N, Values, cases, values},
    support::*,
};

const D: usize = 3;

/// The types with the relative error of gradients in them: 1e-6 in `f64`.
fn types() -> Vec<(DType, f64)> {
    dtypes()
        .into_iter()
        .map(|(dtype, _)| (dtype, if dtype == DType::F64 { 1e-6 } else { 1e-4 }))
        .collect()
}

/// Checks the gradient of the sum of `case` over `axis` by each operand.
fn check_case(case: &Case, axis: Axis, dtype: DType, tolerance: f64) {
    let Values { x, y, p } = values();
    let device = device().autodiff();
    let transposed = axis == Axis::I;
    let leaf = |v: &[f64], rows| tensor(v, [rows, D], dtype, &device).require_grad();
    let (xt, yt) = (leaf(&x, M), leaf(&y, N));
    let pt = tensor(&p, [D], dtype, &device).require_grad();
    let t = tensor(&[1.0, 2.0, 3.0], [3], dtype, &device);
    let f_ij = (case.lazy)(
        &LazyTensor::vi(xt.clone()),
        &LazyTensor::vj(yt.clone()),
        &LazyTensor::pm(pt.clone()),
        &t,
    );
    let out: Tensor<2> = f_ij.sum(axis);
    let shape = out.dims();
    let weights = Random::new(11).vec(shape[0] * shape[1]);
    let loss = (out * tensor(&weights, shape, dtype, &device)).sum();
    let gradients = loss.backward();

    let dense = |x: &[f64], y: &[f64], p: &[f64]| {
        let f = |a: &[f64], b: &[f64]| (case.host)(a, b, p);
        let sums = dense_sum(x, y, D, transposed, &f);
        sums.iter().zip(&weights).map(|(s, w)| s * w).sum::<f64>()
    };
    let what = |v: &str| format!("{} by {v} over {axis} in {dtype:?}", case.name);
    let expected = differences(&x, &|x| dense(x, &y, &p));
    let zeros = |g: Option<Vec<f64>>, len| g.unwrap_or(vec![0.0; len]);
    let gx = zeros(xt.grad(&gradients).map(host), x.len());
    assert_close(&what("x"), &gx, &expected, tolerance);
    let expected = differences(&y, &|y| dense(&x, y, &p));
    let gy = zeros(yt.grad(&gradients).map(host), y.len());
    assert_close(&what("y"), &gy, &expected, tolerance);
    let expected = differences(&p, &|p| dense(&x, &y, p));
    let gp = zeros(pt.grad(&gradients).map(host), p.len());
    assert_close(&what("p"), &gp, &expected, tolerance);
}

#[test]
fn gradients_of_each_operation_equal_central_differences() {
    // Axes and types alternate between the cases. Gradients by rows and by columns are sums over either axis.
    let types = types();
    for (turn, case) in cases().iter().enumerate() {
        let axis = [Axis::J, Axis::I][turn % 2];
        let (dtype, tolerance) = types[turn / 2 % types.len()];
        check_case(case, axis, dtype, tolerance);
    }
}

#[test]
fn gradients_of_algebra_and_kernels_equal_central_differences() {
    let (dtype, tolerance) = *types().last().expect("there is a type");
    let (algebra, kernels) = (algebra::cases(), kernels::cases());
    for case in some_of(algebra.iter().chain(&kernels), 5) {
        check_case(case, Axis::J, dtype, tolerance);
    }
}

/// The name of a differentiable reduction of a formula of `x_i`, `y_j` and `p`, the reduction, and its value on the
/// host.
type Reduced = (
    &'static str,
    fn(&LazyTensor, &LazyTensor, &LazyTensor) -> Tensor<2>,
    fn(&[f64], &[f64], &[f64]) -> Vec<f64>,
);

fn squared_distance(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum()
}

/// The values of `of` for each row of `x`. `of` gets the row and all rows of `y`.
fn rows(x: &[f64], y: &[f64], of: impl Fn(&[f64], Vec<&[f64]>) -> Vec<f64>) -> Vec<f64> {
    let of = |row| of(row, y.chunks(D).collect());
    x.chunks(D).flat_map(of).collect()
}

/// The `k` smallest values of each component of `of`, in ascending order.
fn smallest(x: &[f64], y: &[f64], k: usize, of: impl Fn(&[f64], &[f64]) -> Vec<f64>) -> Vec<f64> {
    rows(x, y, |x, ys| {
        let values: Vec<Vec<f64>> = ys.iter().map(|y| of(x, y)).collect();
        let width = values[0].len();
        let mut out = vec![0.0; k * width];
        for component in 0..width {
            let mut all: Vec<f64> = values.iter().map(|value| value[component]).collect();
            all.sort_by(f64::total_cmp);
            for place in 0..k {
                out[place * width + component] = all[place];
            }
        }
        out
    })
}

/// $\log \sum_j e^{x_{ik} y_{jk} + p_k}$ for each $i$.
fn log_sums(x: &[f64], y: &[f64], p: &[f64]) -> Vec<f64> {
    rows(x, y, |x, ys| {
        let component = |k: usize| {
            let terms = ys.iter().map(|y| (x[k] * y[k] + p[k]).exp());
            terms.sum::<f64>().ln()
        };
        (0..D).map(component).collect()
    })
}

const REDUCTIONS: [Reduced; 14] = [
    (
        "logsumexp",
        |x, y, p| (x * y + p).logsumexp(Axis::J),
        log_sums,
    ),
    (
        "logsumexp over i",
        |x, y, p| (x * y + p).logsumexp(Axis::I),
        |x, y, p| log_sums(y, x, p),
    ),
    (
        "logsumexp with a weight",
        |x, y, p| (-x.sqdist(y)).logsumexp_weighted((y - x) * p + 2.5, Axis::J),
        |x, y, p| {
            rows(x, y, |x, ys| {
                let component = |k: usize| {
                    let weight = |y: &[f64]| (y[k] - x[k]) * p[k] + 2.5;
                    let terms = ys
                        .iter()
                        .map(|y| (-squared_distance(x, y)).exp() * weight(y));
                    terms.sum::<f64>().ln()
                };
                (0..D).map(component).collect()
            })
        },
    ),
    (
        "logsumexp of vectors with one weight",
        |x, y, p| (x + y).logsumexp_weighted(p.elem(0) + y.elem(1) + 4, Axis::J),
        |x, y, p| {
            rows(x, y, |x, ys| {
                let component = |k: usize| {
                    let terms = ys.iter().map(|y| (x[k] + y[k]).exp() * (p[0] + y[1] + 4.0));
                    terms.sum::<f64>().ln()
                };
                (0..D).map(component).collect()
            })
        },
    ),
    (
        "sumsoftmaxweight",
        |x, y, p| x.sqdist(y).sumsoftmaxweight(x * y + p, Axis::J),
        |x, y, p| {
            rows(x, y, |x, ys| {
                let exps: Vec<f64> = ys.iter().map(|y| squared_distance(x, y).exp()).collect();
                let norm: f64 = exps.iter().sum();
                let component = |k: usize| {
                    let terms = ys.iter().zip(&exps).map(|(y, e)| e * (x[k] * y[k] + p[k]));
                    terms.sum::<f64>() / norm
                };
                (0..D).map(component).collect()
            })
        },
    ),
    (
        "mean",
        |x, y, p| (x * y * p).mean(Axis::J),
        |x, y, p| {
            rows(x, y, |x, ys| {
                let component = |k: usize| {
                    let terms = ys.iter().map(|y| x[k] * y[k] * p[k]);
                    terms.sum::<f64>() / ys.len() as f64
                };
                (0..D).map(component).collect()
            })
        },
    ),
    (
        "prod",
        |x, y, p| (x * y * 0.5 + p + 2).prod(Axis::J),
        |x, y, p| {
            rows(x, y, |x, ys| {
                let component = |k: usize| {
                    let factors = ys.iter().map(|y| x[k] * y[k] * 0.5 + p[k] + 2.0);
                    factors.product()
                };
                (0..D).map(component).collect()
            })
        },
    ),
    (
        "prod over both axes",
        |x, y, p| {
            let all: Tensor<1> = (x * y * p * 0.2 + 1).prod(Axes::Both);
            all.unsqueeze()
        },
        |x, y, p| {
            let component = |k: usize| {
                let row = |x: &[f64]| -> f64 {
                    let factors = y.chunks(D).map(|y| x[k] * y[k] * p[k] * 0.2 + 1.0);
                    factors.product()
                };
                x.chunks(D).map(row).product()
            };
            (0..D).map(component).collect()
        },
    ),
    (
        "min",
        |x, y, p| (x * y + p).square().min(Axis::J),
        |x, y, p| {
            smallest(x, y, 1, |x, y| {
                (0..D).map(|k| (x[k] * y[k] + p[k]).powi(2)).collect()
            })
        },
    ),
    (
        "max over i",
        |x, y, p| (x * y + p).square().max(Axis::I),
        |x, y, p| {
            let negative = smallest(y, x, 1, |y, x| {
                (0..D).map(|k| -(x[k] * y[k] + p[k]).powi(2)).collect()
            });
            negative.iter().map(|v| -v).collect()
        },
    ),
    (
        "max over both axes",
        |x, y, p| {
            let all: Tensor<1> = (x * y * p).max(Axes::Both);
            all.unsqueeze()
        },
        |x, y, p| {
            let component = |k: usize| {
                let row = |x: &[f64]| {
                    let values = y.chunks(D).map(|y| x[k] * y[k] * p[k]);
                    values.fold(f64::NEG_INFINITY, f64::max)
                };
                x.chunks(D).map(row).fold(f64::NEG_INFINITY, f64::max)
            };
            (0..D).map(component).collect()
        },
    ),
    (
        "kmin",
        |x, y, p| x.sqdist(y * p).kmin(3, Axis::J),
        |x, y, p| {
            smallest(x, y, 3, |x, y| {
                vec![(0..D).map(|k| (x[k] - y[k] * p[k]).powi(2)).sum()]
            })
        },
    ),
    (
        "kmin of vectors",
        |x, y, p| {
            let all: Tensor<3> = (x - y * p).square().kmin(2, Axis::J);
            all.reshape([2 * M, D])
        },
        |x, y, p| {
            smallest(x, y, 2, |x, y| {
                (0..D).map(|k| (x[k] - y[k] * p[k]).powi(2)).collect()
            })
        },
    ),
    (
        "logsumexp over both axes",
        |x, y, p| {
            let all: Tensor<1> = (x * y * p).logsumexp(Axes::Both);
            all.unsqueeze()
        },
        |x, y, p| {
            let component = |k: usize| {
                let row =
                    |x: &[f64]| -> f64 { y.chunks(D).map(|y| (x[k] * y[k] * p[k]).exp()).sum() };
                x.chunks(D).map(row).sum::<f64>().ln()
            };
            (0..D).map(component).collect()
        },
    ),
];

#[test]
fn gradients_of_each_reduction_equal_central_differences() {
    let Values { x, y, p } = values();
    let types = types();
    for (number, (dtype, tolerance)) in types.iter().copied().enumerate() {
        let device = device().autodiff();
        // Types alternate between the reductions.
        let own = REDUCTIONS.into_iter().skip(number).step_by(types.len());
        for (name, lazy, dense) in own {
            let leaf = |v: &[f64], rows| tensor(v, [rows, D], dtype, &device).require_grad();
            let (xt, yt) = (leaf(&x, M), leaf(&y, N));
            let pt = tensor(&p, [D], dtype, &device).require_grad();
            let out = lazy(
                &LazyTensor::vi(xt.clone()),
                &LazyTensor::vj(yt.clone()),
                &LazyTensor::pm(pt.clone()),
            );
            let shape = out.dims();
            let weights = Random::new(11).vec(shape[0] * shape[1]);
            assert_close(name, &host(out.clone()), &dense(&x, &y, &p), tolerance);
            let loss = (out * tensor(&weights, shape, dtype, &device)).sum();
            let gradients = loss.backward();
            let dense = |x: &[f64], y: &[f64], p: &[f64]| {
                let values = dense(x, y, p);
                values.iter().zip(&weights).map(|(v, w)| v * w).sum::<f64>()
            };
            let what = |v: &str| format!("{name} by {v} in {dtype:?}");
            let gx = host(xt.grad(&gradients).unwrap());
            let expected = differences(&x, &|x| dense(x, &y, &p));
            assert_close(&what("x"), &gx, &expected, tolerance);
            let gy = host(yt.grad(&gradients).unwrap());
            let expected = differences(&y, &|y| dense(&x, y, &p));
            assert_close(&what("y"), &gy, &expected, tolerance);
            let gp = host(pt.grad(&gradients).unwrap());
            let expected = differences(&p, &|p| dense(&x, &y, p));
            assert_close(&what("p"), &gp, &expected, tolerance);
        }
    }
}

#[test]
fn gradients_of_products_with_zeros_are_products_of_the_others() {
    // Rows with no zero, with one, and with two.
    let (x, y) = ([2.0, 0.0, 1.0], [0.0, -1.0, -1.0, 0.5]);
    for (dtype, tolerance) in types() {
        let device = device().autodiff();
        let xt = tensor(&x, [3, 1], dtype, &device).require_grad();
        let yt = tensor(&y, [4, 1], dtype, &device).require_grad();
        let sum = LazyTensor::vi(xt.clone()) + LazyTensor::vj(yt.clone());
        let weights = tensor(&[1.0, 2.0, 3.0], [3, 1], dtype, &device);
        let gradients = (sum.prod::<2>(Axis::J) * weights).sum().backward();
        let dense = |x: &[f64], y: &[f64]| {
            let row =
                |(k, x): (usize, &f64)| (k as f64 + 1.0) * y.iter().map(|y| x + y).product::<f64>();
            x.iter().enumerate().map(row).sum::<f64>()
        };
        let expected = differences(&x, &|x| dense(x, &y));
        assert_gradient("x", &xt, &gradients, &expected, tolerance);
        let expected = differences(&y, &|y| dense(&x, y));
        assert_gradient("y", &yt, &gradients, &expected, tolerance);
    }
}

#[test]
fn gradients_of_equal_values_go_to_the_first() {
    let device = device().autodiff();
    let values = [[3.0], [1.0], [2.0], [1.0], [2.0]];
    let gradient = |of: fn(LazyTensor) -> Tensor<2>| {
        let y = Tensor::<2>::from_floats(values, &device).require_grad();
        let one = LazyTensor::vi(Tensor::<2>::ones([1, 1], &device));
        let gradients = of(LazyTensor::vj(y.clone()) * one).sum().backward();
        host(y.grad(&gradients).unwrap())
    };
    assert_eq!(gradient(|f| f.min(Axis::J)), [0.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(gradient(|f| f.max(Axis::J)), [1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(gradient(|f| f.kmin(3, Axis::J)), [0.0, 1.0, 1.0, 1.0, 0.0]);
    // The list is longer than there are columns. Its infinities have no gradient.
    assert_eq!(gradient(|f| f.kmin(8, Axis::J)), [1.0; 5]);
    // Indices have no gradient, and do not disturb the gradient of the values.
    let y = Tensor::<2>::from_floats(values, &device).require_grad();
    let (least, at): (Tensor<2>, Tensor<2, Int>) = (LazyTensor::vj(y.clone())
        * LazyTensor::vi(Tensor::<2>::ones([1, 1], &device)))
    .min_argmin(Axis::J);
    assert_eq!(at.into_data().iter::<i64>().collect::<Vec<_>>(), [1]);
    assert_eq!(host(y.grad(&least.sum().backward()).unwrap())[1], 1.0);
}

#[test]
fn halves_are_differentiated_in_single_precision() {
    let Values { x, y, p } = values();
    let many = 4000;
    let device = device().autodiff();
    for (dtype, tolerance) in [(DType::F16, 4e-3), (DType::BF16, 3e-2)] {
        if !reduces(dtype) {
            continue;
        }
        let rounded = |v: &[f64]| host(tensor::<1>(v, [v.len()], dtype, &device));
        let (x, y, p) = (rounded(&x), rounded(&y), rounded(&p));
        let xt = tensor(&x, [M, D], dtype, &device).require_grad();
        let yt = tensor(&y, [N, D], dtype, &device).require_grad();
        let pt = tensor(&p, [D], dtype, &device).require_grad();
        let f_ij =
            LazyTensor::vi(xt.clone()) * LazyTensor::vj(yt.clone()) * LazyTensor::pm(pt.clone());
        let gradients = f_ij.max::<2>(Axis::J).sum().backward();
        let dense = |x: &[f64], y: &[f64], p: &[f64]| {
            let negative = smallest(x, y, 1, |x, y| {
                (0..D).map(|k| -x[k] * y[k] * p[k]).collect()
            });
            -negative.iter().sum::<f64>()
        };
        let expected = differences(&y, &|y| dense(&x, y, &p));
        assert_gradient("y", &yt, &gradients, &expected, tolerance);
        let expected = differences(&p, &|p| dense(&x, &y, p));
        assert_gradient("p", &pt, &gradients, &expected, tolerance);

        // A sum of this many ones in 16 bits would stop growing.
        let ones = LazyTensor::vi(tensor(&vec![1.0; many], [many, 1], dtype, &device));
        let pt = tensor(&[1.0], [1], dtype, &device).require_grad();
        let one = LazyTensor::vj(tensor(&[1.0], [1, 1], dtype, &device));
        let out: Tensor<2> = (ones * LazyTensor::pm(pt.clone()) * one).sum(Axis::J);
        let gradient = host(pt.grad(&out.sum().backward()).unwrap());
        assert_close("sum", &gradient, &[many as f64], tolerance);
    }
}

/// A formula of `x_i`, `y_j` and a parameter, its derivative by the parameter, the reduced axis, and the numbers of
/// rows and columns.
type OfParameter = (
    fn(&LazyTensor, &LazyTensor, &LazyTensor) -> LazyTensor,
    fn(f64, f64, f64) -> f64,
    Axis,
    [usize; 2],
);

#[test]
fn parameters_of_many_rows_have_gradients() {
    // There are so many rows that the kernel adds them up into 65536 rows. 70,000 rows take one turn and a part of the
    // next, 140,001 rows take three turns. The last case has indices of rows.
    let d = 64;
    let cases: [OfParameter; 3] = [
        (|x, y, p| x * y * p, |x, y, _| x * y, Axis::J, [70_000, 2]),
        (
            |x, y, p| (x - y) * p.square(),
            |x, y, p| (x - y) * 2.0 * p,
            Axis::I,
            [3, 140_001],
        ),
        (
            |x, y, p| LazyTensor::row_index() * y * p + x,
            |x, y, _| x * y,
            Axis::J,
            [140_001, 3],
        ),
    ];
    let device = device().autodiff();
    for (k, (lazy, derivative, axis, [m, n])) in cases.into_iter().enumerate() {
        let indices = |len: usize| (0..len).map(|k| k as f64).collect::<Vec<_>>();
        let x = indices(m);
        let y: Vec<f64> = indices(n).iter().map(|y| (y * 7.0) % 5.0 - 1.0).collect();
        let p: Vec<f64> = (0..d).map(|k| 1.0 + k as f64 / 64.0).collect();
        let pt = tensor(&p, [d], DType::F32, &device).require_grad();
        let f_ij = lazy(
            &LazyTensor::vi(tensor(&x, [m, 1], DType::F32, &device)),
            &LazyTensor::vj(tensor(&y, [n, 1], DType::F32, &device)),
            &LazyTensor::pm(pt.clone()),
        );
        let out: Tensor<2> = f_ij.sum(axis);
        let gradient = host(pt.grad(&out.sum().backward()).unwrap());
        let expected: Vec<f64> = p
            .iter()
            .map(|p| {
                let row = |x: &f64| y.iter().map(|y| derivative(*x, *y, *p)).sum::<f64>();
                x.iter().map(row).sum()
            })
            .collect();
        assert_close(&format!("case {k}"), &gradient, &expected, 1e-6);
    }
}

#[test]
fn rows_of_several_parameters_in_batches_are_added_up() {
    // The kernel adds the rows of each batch up into 32768 rows.
    let (m, batches, d) = (50_000, 2, 63);
    let device = device().autodiff();
    let x: Vec<f64> = (0..batches * m).map(|k| (k % 11) as f64 - 3.0).collect();
    let xt = tensor(&x, [batches, m, 1], DType::F32, &device);
    let y = LazyTensor::vj(tensor(&[1.0, 2.0], [2, 1], DType::F32, &device));
    let p = tensor(&vec![1.0; d], [d], DType::F32, &device).require_grad();
    let q = tensor(&[0.5, 0.25], [batches, 1], DType::F32, &device).require_grad();
    let f_ij = LazyTensor::vi(xt) * y * LazyTensor::pm(p.clone()) * LazyTensor::pm(q.clone());
    let out: Tensor<3> = f_ij.sum(Axis::J);
    let gradients = out.sum().backward();
    let sums: Vec<f64> = x.chunks(m).map(|x| 3.0 * x.iter().sum::<f64>()).collect();
    let expected = vec![0.5 * sums[0] + 0.25 * sums[1]; d];
    assert_gradient("p", &p, &gradients, &expected, 1e-6);
    let expected: Vec<f64> = sums.iter().map(|sum| d as f64 * sum).collect();
    assert_gradient("q", &q, &gradients, &expected, 1e-6);
}

#[test]
fn gradients_of_broadcast_batches_are_summed() {
    let mut random = Random::new(12);
    let (m, n) = (4, 5);
    let x = random.vec(2 * m * D);
    let y = random.vec(3 * n * D);
    let p = random.vec(3);
    let weights = random.vec(6 * m);
    for (dtype, tolerance) in types() {
        let device = device().autodiff();
        let xt = tensor(&x, [2, 1, m, D], dtype, &device).require_grad();
        let yt = tensor(&y, [3, n, D], dtype, &device).require_grad();
        let pt = tensor(&p, [1, 3, 1], dtype, &device).require_grad();
        let k_ij = (LazyTensor::vi(xt.clone()).sqdist(LazyTensor::vj(yt.clone()))
            * LazyTensor::pm(pt.clone()))
        .exp();
        let out: Tensor<4> = k_ij.sum(Axis::J);
        let gradients = (out * tensor(&weights, [2, 3, m, 1], dtype, &device))
            .sum()
            .backward();
        let dense = |x: &[f64], y: &[f64], p: &[f64]| {
            let mut loss = 0.0;
            for a in 0..2 {
                for b in 0..3 {
                    let f = |u: &[f64], v: &[f64]| {
                        let s: f64 = u.iter().zip(v).map(|(u, v)| (u - v).powi(2)).sum();
                        vec![(s * p[b]).exp()]
                    };
                    let (x, y) = (&x[a * m * D..][..m * D], &y[b * n * D..][..n * D]);
                    let sums = dense_sum(x, y, D, false, &f);
                    let w = &weights[(a * 3 + b) * m..][..m];
                    loss += sums.iter().zip(w).map(|(s, w)| s * w).sum::<f64>();
                }
            }
            loss
        };
        let gx = xt.grad(&gradients).unwrap();
        assert_eq!(gx.dims(), [2, 1, m, D]);
        assert_close(
            "x",
            &host(gx),
            &differences(&x, &|x| dense(x, &y, &p)),
            tolerance,
        );
        let gy = yt.grad(&gradients).unwrap();
        assert_eq!(gy.dims(), [3, n, D]);
        assert_close(
            "y",
            &host(gy),
            &differences(&y, &|y| dense(&x, y, &p)),
            tolerance,
        );
        let gp = pt.grad(&gradients).unwrap();
        assert_eq!(gp.dims(), [1, 3, 1]);
        assert_close(
            "p",
            &host(gp),
            &differences(&p, &|p| dense(&x, &y, p)),
            tolerance,
        );
    }
}

#[test]
fn only_tracked_operands_get_gradients() {
    let device = device().autodiff();
    let x = Tensor::<2>::ones([3, 2], &device).require_grad();
    let y = Tensor::<2>::ones([4, 2], &device);
    // An operand on a device without autodiff is a constant.
    let b = Tensor::<2>::ones([4, 1], &super::support::device());
    let out = LazyTensor::vi(x.clone())
        .dot(LazyTensor::vj(y.clone()))
        .matmul(b);
    let gradients = out.sum().backward();
    assert_eq!(host(x.grad(&gradients).unwrap()), vec![4.0; 6]);
    assert!(y.grad(&gradients).is_none());
}

#[test]
fn one_tensor_in_several_places_gets_the_whole_gradient() {
    let mut random = Random::new(13);
    let x = random.vec(M * D);
    let device = device().autodiff();
    let xt = tensor(&x, [M, D], DType::F32, &device).require_grad();
    let k_ij = (-LazyTensor::vi(xt.clone()).sqdist(LazyTensor::vj(xt.clone()))).exp();
    let out = k_ij.matmul(xt.clone());
    let gradients = (out * xt.clone()).sum().backward();
    let dense = |x: &[f64]| {
        let mut loss = 0.0;
        for a in x.chunks(D) {
            for b in x.chunks(D) {
                let pairs = || a.iter().zip(b);
                let s: f64 = pairs().map(|(a, b)| (a - b).powi(2)).sum();
                loss += (-s).exp() * pairs().map(|(a, b)| a * b).sum::<f64>();
            }
        }
        loss
    };
    assert_gradient("x", &xt, &gradients, &differences(&x, &dense), 1e-4);
}

#[test]
fn incoming_gradients_of_any_layout_are_read() {
    let Values { x, y, .. } = values();
    let device = device().autodiff();
    let xt = tensor(&x, [M, D], DType::F32, &device).require_grad();
    let v_ij = LazyTensor::vi(xt.clone()) * LazyTensor::vj(tensor(&y, [N, D], DType::F32, &device));
    let out: Tensor<2> = v_ij.sum(Axis::J);
    let weights = Random::new(14).vec(M * D);
    // The cotangent is a transposed view.
    let gradients = (out.swap_dims(0, 1) * tensor(&weights, [D, M], DType::F32, &device))
        .sum()
        .backward();
    let total = |k: usize| y.iter().skip(k).step_by(D).sum::<f64>();
    let expected: Vec<f64> = (0..M * D)
        .map(|t| weights[t % D * M + t / D] * total(t % D))
        .collect();
    assert_gradient("x", &xt, &gradients, &expected, 1e-5);
    // The cotangent of a sum is one value that is expanded.
    let out: Tensor<2> = v_ij.sum(Axis::J);
    let gradients = out.sum().backward();
    let expected: Vec<f64> = (0..M * D).map(|t| total(t % D)).collect();
    assert_gradient("x", &xt, &gradients, &expected, 1e-5);
}

#[test]
fn a_symbolic_gradient_is_that_of_autodiff_and_differentiable() {
    let Values { x, y, .. } = values();
    let weights = Random::new(15).vec(M);
    for (dtype, tolerance) in types() {
        let device = device().autodiff();
        let xt = tensor(&x, [M, D], dtype, &device).require_grad();
        let x_i = LazyTensor::vi(xt.clone());
        let y_j = LazyTensor::vj(tensor(&y, [N, D], dtype, &device));
        let w_i = LazyTensor::vi(tensor(&weights, [M, 1], dtype, &device));
        let k_ij = (-x_i.sqdist(&y_j)).exp();
        let first: Tensor<2> = k_ij.grad(&x_i, &w_i).sum(Axis::J);
        let first_host = |x: &[f64]| {
            let f = |a: &[f64], b: &[f64]| {
                vec![(-a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>()).exp()]
            };
            let loss = |x: &[f64]| {
                let sums = dense_sum(x, &y, D, false, &f);
                sums.iter().zip(&weights).map(|(s, w)| s * w).sum::<f64>()
            };
            differences(x, &loss)
        };
        assert_close("first", &host(first.clone()), &first_host(&x), tolerance);
        let direction = Random::new(16).vec(M * D);
        let gradients = (first * tensor(&direction, [M, D], dtype, &device))
            .sum()
            .backward();
        // The Hessian times the direction in closed form. Row i of the gradient depends only on row i.
        let mut expected = vec![0.0; M * D];
        for i in 0..M {
            for b in y.chunks(D) {
                let diff: Vec<f64> = (0..D).map(|k| x[i * D + k] - b[k]).collect();
                let k = (-diff.iter().map(|t| t * t).sum::<f64>()).exp();
                let v = &direction[i * D..][..D];
                let along: f64 = diff.iter().zip(v).map(|(d, v)| d * v).sum();
                for q in 0..D {
                    expected[i * D + q] += weights[i] * k * (4.0 * diff[q] * along - 2.0 * v[q]);
                }
            }
        }
        assert_gradient("second", &xt, &gradients, &expected, tolerance);
    }
}

#[test]
fn large_inner_axes_have_gradients() {
    let mut random = Random::new(17);
    let (m, n, d, e) = (6, 9, 50, 20);
    let scaled = |v: Vec<f64>| v.iter().map(|t| 0.2 * t).collect::<Vec<f64>>();
    let (x, y, b) = (
        scaled(random.vec(m * d)),
        scaled(random.vec(n * d)),
        random.vec(n * e),
    );
    for (dtype, tolerance) in types() {
        let device = device().autodiff();
        let xt = tensor(&x, [m, d], dtype, &device).require_grad();
        let yt = tensor(&y, [n, d], dtype, &device).require_grad();
        let bt = tensor(&b, [n, e], dtype, &device).require_grad();
        let k_ij = (-LazyTensor::vi(xt.clone()).sqdist(LazyTensor::vj(yt.clone()))).exp();
        let gradients = k_ij.matmul(bt.clone()).sum().backward();
        let dense = |x: &[f64], y: &[f64], b: &[f64]| {
            let mut loss = 0.0;
            for u in x.chunks(d) {
                for (j, v) in y.chunks(d).enumerate() {
                    let s: f64 = u.iter().zip(v).map(|(u, v)| (u - v).powi(2)).sum();
                    loss += (-s).exp() * b[j * e..][..e].iter().sum::<f64>();
                }
            }
            loss
        };
        let gradient = |t: &Tensor<2>| host(t.grad(&gradients).unwrap());
        assert_close(
            "x",
            &gradient(&xt),
            &differences(&x, &|x| dense(x, &y, &b)),
            tolerance,
        );
        assert_close(
            "y",
            &gradient(&yt),
            &differences(&y, &|y| dense(&x, y, &b)),
            tolerance,
        );
        assert_close(
            "b",
            &gradient(&bt),
            &differences(&b, &|b| dense(&x, &y, b)),
            tolerance,
        );
    }
}

#[test]
fn norms_have_zero_gradient_at_the_origin() {
    let device = device().autodiff();
    let x = Tensor::<2>::from_data([[1.0, 2.0], [3.0, 1.0]], &device).require_grad();
    let distance = (LazyTensor::vi(x.clone()) - LazyTensor::vj(x.clone().detach())).norm();
    let out: Tensor<2> = distance.sum(Axis::J);
    let gradients = out.sum().backward();
    // For each point there is one other point, at (2, -1).
    let s = 5.0f64.sqrt();
    let expected = [-2.0 / s, 1.0 / s, 2.0 / s, -1.0 / s];
    assert_gradient("x", &x, &gradients, &expected, 1e-5);
}

/// A Gaussian kernel with learned length scales.
#[derive(Module, Debug)]
struct Kernel {
    log_scales: Param<Tensor<1>>,
}

impl Kernel {
    fn smooth(&self, x: Tensor<2>, y: Tensor<2>, t: Tensor<2>) -> Tensor<2> {
        let scales = self.log_scales.val().exp();
        let (x_i, y_j) = (LazyTensor::vi(x), LazyTensor::vj(y));
        kernels_of::gaussian(&x_i, &y_j, scales).matmul(t)
    }
}

#[test]
fn a_module_with_a_learned_kernel_trains() {
    let mut random = Random::new(18);
    let (x, t) = (random.vec(20 * 2), random.vec(20));
    let device = device().autodiff();
    let x: Tensor<2> = tensor(&x, [20, 2], DType::F32, &device);
    let t: Tensor<2> = tensor(&t, [20, 1], DType::F32, &device);
    let model = |scales: [f64; 2]| Kernel {
        log_scales: Param::from_data(scales.map(f64::ln), &device),
    };
    // The values of a kernel with known scales are learned.
    let goal = model([0.5, 2.0])
        .smooth(x.clone(), x.clone(), t.clone())
        .detach();
    let mut learned = model([1.0, 1.0]);
    let mut optimiser = AdamConfig::new().init();
    for step in 0..300 {
        let error = learned.smooth(x.clone(), x.clone(), t.clone()) - goal.clone();
        let gradients = error.square().sum().backward();
        let gradients = GradientsParams::from_grads(gradients, &learned);
        learned = optimiser.step(0.1 * 0.98f64.powi(step), learned, gradients);
    }
    let scales = host(learned.log_scales.val().exp());
    assert_close("scales", &scales, &[0.5, 2.0], 2e-2);
    // The same model without autodiff.
    let inner = |t: Tensor<2>| t.inner();
    let plain = Kernel {
        log_scales: Param::from_tensor(learned.log_scales.val().inner()),
    };
    let out = plain.smooth(inner(x.clone()), inner(x.clone()), inner(t.clone()));
    assert_close(
        "inner",
        &host(out),
        &host(learned.smooth(x.clone(), x, t)),
        1e-6,
    );
}

#[test]
fn gradient_checkpointing_gives_the_same_gradients() {
    let Values { x, y, .. } = values();
    let gradient = |device: &Device| {
        let xt = tensor(&x, [M, D], DType::F32, device).require_grad();
        let yt = tensor(&y, [N, D], DType::F32, device);
        let moved = xt.clone().exp();
        let k_ij = (-LazyTensor::vi(moved).sqdist(LazyTensor::vj(yt))).exp();
        let out: Tensor<2> = k_ij.sum(Axis::J);
        host(xt.grad(&out.sum().backward()).unwrap())
    };
    let plain = gradient(&device().autodiff());
    let checkpointed = gradient(&device().autodiff().gradient_checkpointing());
    assert_close("x", &checkpointed, &plain, 1e-6);
}

#[test]
fn means_are_differentiated_in_the_type_of_the_formula() {
    let device = device().autodiff();
    for (dtype, tolerance) in dtypes() {
        let x = tensor(&[2.0], [1, 1], dtype, &device).require_grad();
        let y = tensor(&[1.0, 1.0, 2.0], [3, 1], dtype, &device);
        let k = LazyTensor::vi(x.clone()) * LazyTensor::vj(y);
        let mean: Tensor<2> = k.mean(Axis::J);
        // The variance of x y is x^2 2 / 9.
        let variance: Tensor<1> = k.var_bias(burn_lazy::Axes::Both);
        let gradients = (mean.sum() + variance).backward();
        let expected = [4.0 / 3.0 + 8.0 / 9.0];
        assert_gradient("mean", &x, &gradients, &expected, tolerance);
    }
}
