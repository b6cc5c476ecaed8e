//! Gradients by operands of pairs, for matrices that are products of a value of the row and a value of the column. The
//! gradients must equal those of the formula with both values as operands.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axes, Axis, LazyTensor, Ranges, solve::SolveOptions};

use super::support::*;

const M: usize = 5;
const N: usize = 7;

/// A function of rows, columns and a matrix, each with one component.
type Function = fn(&LazyTensor, &LazyTensor, &LazyTensor) -> Tensor<1>;

fn flat<const R: usize>(tensor: Tensor<R>) -> Tensor<1> {
    let len = tensor.shape().num_elements();
    tensor.reshape([len])
}

/// A sum with different weights, so that the gradients of entries differ.
fn weighed<const R: usize>(tensor: Tensor<R>) -> Tensor<1> {
    let all = flat(tensor);
    let weights: Vec<f64> = (0..all.dims()[0]).map(|at| 1.0 + at as f64 / 4.0).collect();
    let weights = self::tensor(&weights, all.dims(), DType::F32, &all.device());
    (all.clone() * weights.cast(all.dtype())).sum()
}

/// Compares the gradients of a product that is an operand of pairs with those of a product in the formula.
fn check<const R: usize>(
    what: &str,
    [a, b]: [(&[f64], [usize; R]); 2],
    (dtype, tolerance): (DType, f64),
    f: impl Fn(&LazyTensor, &LazyTensor, &LazyTensor) -> Tensor<1>,
) {
    let run = |stored: bool, dtype: DType, device: Device| {
        let device = device.autodiff();
        let [a, b] = [a, b].map(|(values, shape)| tensor(values, shape, dtype, &device));
        let [a, b] = [a, b].map(Tensor::require_grad);
        let (x, y) = (LazyTensor::vi(a.clone()), LazyTensor::vj(b.clone()));
        let z = match stored {
            false => &x * &y,
            true => {
                // Not a matrix product, because graphics cards round those to TF32.
                let product = a.clone() * b.clone().swap_dims(R - 2, R - 1);
                match R {
                    2 => LazyTensor::vij(product.unsqueeze_dim::<3>(2)),
                    _ => LazyTensor::vij(product.unsqueeze_dim::<4>(3)),
                }
            }
        };
        let value = f(&x, &y, &z);
        let gradients = value.backward();
        let gradient = |leaf: &Tensor<R>| host(leaf.grad(&gradients).expect("it is tracked"));
        (host(value), gradient(&a), gradient(&b))
    };
    let (value, by_a, by_b) = run(false, DType::F64, reference_device());
    let (own, own_a, own_b) = run(true, dtype, device());
    assert_close(what, &own, &value, tolerance);
    assert_close(&format!("{what} by rows"), &own_a, &by_a, 10.0 * tolerance);
    assert_close(
        &format!("{what} by columns"),
        &own_b,
        &by_b,
        10.0 * tolerance,
    );
}

fn both_axes(f: impl Fn(Axis) -> Tensor<1>) -> Tensor<1> {
    f(Axis::J) + f(Axis::I)
}

#[test]
fn gradients_of_all_reductions_reach_matrices() {
    let mut random = Random::new(23);
    let (a, b) = (random.vec(M), random.vec(N));
    let functions: [(&str, Function); 19] = [
        ("matrix alone", |_, _, z| {
            both_axes(|axis| weighed(z.sum::<2>(axis)))
        }),
        ("sum", |x, y, z| {
            both_axes(|axis| weighed(((x - y) * z).sum::<2>(axis)))
        }),
        ("mean", |x, _, z| {
            both_axes(|axis| weighed((z.sin() + x).mean::<2>(axis)))
        }),
        ("prod", |_, y, z| {
            both_axes(|axis| weighed((z * y + 1.5).prod::<2>(axis)))
        }),
        ("logsumexp", |x, _, z| {
            both_axes(|axis| weighed((z * 3.0 + x).logsumexp::<2>(axis)))
        }),
        ("weighted", |x, y, z| {
            both_axes(|axis| {
                weighed(z.logsumexp_weighted::<2>((x - y).square() + z.square() + 0.5, axis))
            })
        }),
        ("softmax", |x, y, z| {
            both_axes(|axis| {
                weighed((z * 2.0).sumsoftmaxweight::<2>(LazyTensor::concat(&[z * y, x + y]), axis))
            })
        }),
        ("min", |x, y, z| {
            both_axes(|axis| weighed((z + (x - y).abs()).min::<2>(axis)))
        }),
        ("max", |x, y, z| {
            both_axes(|axis| weighed((z * x - y).max::<2>(axis)))
        }),
        ("kmin", |x, y, z| {
            both_axes(|axis| weighed((z * x - y).kmin::<2>(3, axis)))
        }),
        ("var", |x, y, z| {
            both_axes(|axis| weighed((z + x * 0.5 - y).var::<2>(axis)))
        }),
        ("places", |_, _, z| {
            let k = z.square() * (LazyTensor::row_index() * 0.5 + LazyTensor::column_index() + 1.0);
            both_axes(|axis| weighed((&k + z * LazyTensor::offset()).sum::<2>(axis)))
        }),
        ("masked", |x, _, z| {
            let k = (z / (x * 0.0)).mask_where(LazyTensor::offset().less(100.0), 0.0);
            both_axes(|axis| {
                weighed((&k + z.mask_where(LazyTensor::offset().less(0.0), 0.0)).sum::<2>(axis))
            })
        }),
        ("both axes", |x, y, z| {
            let k = z * 2.0 + x * y.square();
            k.logsumexp::<1>(Axes::Both)
                + k.max::<1>(Axes::Both)
                + k.sum::<1>(Axes::Both)
                + k.prod::<1>(Axes::Both)
        }),
        ("ranges", |x, _, z| {
            let ranges = Ranges::labels(&[2i64, 0, 1, 2, 0][..], &[1i64, 2, 0, 2, 1, 0, 2][..]);
            let k = (z.square() * (LazyTensor::column_index() + x))
                .ranges(&ranges.expect("they are labels"));
            both_axes(|axis| weighed(k.sum::<2>(axis)) + weighed(k.logsumexp::<2>(axis)))
        }),
        ("ranges of the matrix alone", |_, _, z| {
            let ranges = Ranges::band([M, N], 1, 2).expect("it is a band");
            let k = z.ranges(&ranges);
            both_axes(|axis| weighed(k.sum::<2>(axis)) + weighed(k.max::<2>(axis)))
        }),
        ("random", |x, _, z| {
            let k = (z.exp() + x) * LazyTensor::uniform(3).less(0.6);
            both_axes(|axis| weighed(k.sum::<2>(axis)))
        }),
        ("dense, blocks and diagonals", |x, _, z| {
            let k = z.square() + x * LazyTensor::column_index();
            let square = k.block(0..M, 1..M + 1);
            weighed(k.dense::<3>())
                + weighed(square.t().sum::<2>(Axis::J))
                + weighed(square.diag::<2>())
        }),
        ("transposes", |x, y, z| {
            let k = z * x + y;
            let square = k.block(0..M, 0..M);
            both_axes(|axis| weighed((square.t() * &square + square.t().t()).sum::<2>(axis)))
        }),
    ];
    for precision in dtypes() {
        for (what, f) in functions {
            // Where kernels are compiled, only one case for each way in which a matrix contributes to a gradient.
            let ways = [
                "matrix alone",
                "softmax",
                "min",
                "kmin",
                "masked",
                "ranges",
                "dense, blocks and diagonals",
            ];
            if !is_interpreted() && !ways.contains(&what) {
                continue;
            }
            check(what, [(&a, [M, 1]), (&b, [N, 1])], precision, f);
        }
    }
    // Batches of rows with shared columns.
    let a = random.vec(3 * M);
    for precision in dtypes() {
        check(
            "batches",
            [(&a, [3, M, 1]), (&b, [1, N, 1])],
            precision,
            |x, y, z| {
                let k = z.sin() * x + y * z;
                both_axes(|axis| weighed(k.sum::<3>(axis)) + weighed(k.logsumexp::<3>(axis)))
            },
        );
    }
}

#[test]
fn gradients_of_halves_have_their_type() {
    for dtype in [DType::F16, DType::BF16] {
        if !reduces(dtype) {
            skipped("the device has no halves");
            continue;
        }
        let device = device().autodiff();
        let z = tensor(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3, 1], dtype, &device).require_grad();
        let k = LazyTensor::vij(z.clone()) * (LazyTensor::column_index() + 2048.0);
        let gradients = k.sum::<2>(Axis::J).sum().backward();
        let gradient = z.grad(&gradients).expect("it is tracked");
        assert_eq!(gradient.dtype(), dtype);
        let rounded = tensor(&[2048.0, 2049.0, 2050.0], [3], dtype, &device);
        assert_eq!(
            host(gradient),
            [host(rounded.clone()), host(rounded)].concat()
        );
    }
}

#[test]
fn gradients_by_empty_matrices_are_empty() {
    let device = device().autodiff();
    for [m, n] in [[0, 3], [3, 0], [0, 0]] {
        let z = Tensor::<3>::ones([m, n, 1], &device).require_grad();
        let x = Tensor::<2>::ones([m, 1], &device).require_grad();
        let k = LazyTensor::vij(z.clone()) * LazyTensor::vi(x.clone());
        let gradients = k.sum::<2>(Axis::J).sum().backward();
        assert_eq!(z.grad(&gradients).expect("it is tracked").dims(), [m, n, 1]);
        assert_eq!(
            host(x.grad(&gradients).expect("it is tracked")),
            vec![0.0; m]
        );
    }
    let z = Tensor::<4>::ones([1, 2, 3, 1], &device).require_grad();
    let x = Tensor::<3>::ones([0, 2, 1], &device);
    let k = LazyTensor::vij(z.clone()) * LazyTensor::vi(x);
    let gradients = k.sum::<3>(Axis::J).sum().backward();
    assert_eq!(host(z.grad(&gradients).expect("it is tracked")), [0.0; 6]);
}

#[test]
fn a_repeated_matrix_has_the_sum_of_its_gradients() {
    let device = device().autodiff();
    let row = tensor(&[1.0, 2.0, 3.0], [1, 3, 1], DType::F32, &device).require_grad();
    let k = LazyTensor::vij(row.clone().expand([4, 3, 1])) * (LazyTensor::row_index() + 1.0);
    let gradients = k.sum::<2>(Axis::J).sum().backward();
    assert_gradient("a row", &row, &gradients, &[10.0; 3], 1e-6);
    // The tensor is used as pairs and as rows. As rows its first axis is the batch, which is as long as the axis of
    // rows.
    let z = tensor(&Random::new(4).vec(9), [3, 3, 1], DType::F32, &device).require_grad();
    let values = host(z.clone());
    let k = LazyTensor::vij(z.clone()) * LazyTensor::vi(z.clone());
    let gradients = k.sum::<3>(Axis::J).sum().backward();
    let column = |i: usize| (0..3).map(|b| values[b * 3 + i]).sum::<f64>();
    let row = |i: usize| (0..3).map(|j| values[i * 3 + j]).sum::<f64>();
    let want: Vec<f64> = (0..9).map(|at| column(at / 3) + row(at % 3)).collect();
    assert_gradient("rows and pairs", &z, &gradients, &want, 1e-5);
}

#[test]
fn gradients_of_solutions_reach_matrices() {
    if !has(DType::F64) || !reduces(DType::F64) {
        return skipped("the device has no F64");
    }
    let n = 4;
    let factor = Random::new(6).vec(n * n);
    let b = Random::new(8).vec(n);
    let options = SolveOptions::default().ridge(0.5).tolerance(1e-13);
    // The sum of the matrix and its transpose, so that it stays symmetric when entries change.
    let value = |z: &Tensor<3>| {
        let k = LazyTensor::vij(z.clone());
        let right = tensor(&b, [n, 1], DType::F64, &z.device());
        let symmetric = &k + k.t() + LazyTensor::offset().equal(0.0) * 6.0;
        let solved = symmetric.solve(right, &options).expect("it converges");
        weighed(solved.solution)
    };
    let at = |values: &[f64], device: &Device| tensor(values, [n, n, 1], DType::F64, device);
    let expected = differences(&factor, &|moved| {
        host(value(&at(moved, &reference_device())))[0]
    });
    let leaf = at(&factor, &device().autodiff()).require_grad();
    let gradients = value(&leaf).backward();
    assert_gradient("solution", &leaf, &gradients, &expected, 1e-7);
}

#[test]
fn derivatives_by_matrices_are_formulas_too() {
    let (z, y) = (Random::new(1).vec(6), Random::new(2).vec(3));
    let z_ij = LazyTensor::vij(tensor(&z, [2, 3, 1], DType::F32, &device()));
    let y_j = LazyTensor::vj(tensor(&y, [3, 1], DType::F32, &device()));
    let k = (z_ij.square() * &y_j).sin();
    let slope = k.grad(&z_ij, 1.0);
    let want: Vec<f64> = (0..6)
        .map(|at| (z[at] * z[at] * y[at % 3]).cos() * 2.0 * z[at] * y[at % 3])
        .collect();
    assert_close("derivative", &host(slope.dense::<3>()), &want, 1e-5);
}

#[test]
fn as_many_matrices_as_operands_are_tracked() {
    let device = device().autodiff();
    let leaf =
        |k: usize| tensor(&[k as f64 + 1.0; 6], [2, 3, 1], DType::F32, &device).require_grad();
    let leaves: Vec<Tensor<3>> = (0..16).map(leaf).collect();
    let square = |z: &Tensor<3>| LazyTensor::vij(z.clone()).square();
    let sum = leaves[1..]
        .iter()
        .fold(square(&leaves[0]), |sum, z| sum + square(z));
    let gradients = sum.sum::<2>(Axis::J).sum().backward();
    for (k, z) in leaves.iter().enumerate() {
        assert_gradient("square", z, &gradients, &[2.0 * (k as f64 + 1.0); 6], 1e-6);
    }
}

/// Batches are added up a few at a time, because the values of all pairs of all batches would take too much memory.
#[test]
fn a_large_matrix_that_batches_share_has_the_sum_of_their_gradients() {
    let (m, n, dim) = (230, 200, 16);
    let device = device().autodiff();
    let mut random = Random::new(12);
    let [x, y, w] = [3 * m, 2 * n, 6 * m].map(|len| random.vec(len));
    let z = Tensor::<3>::ones([m, n, dim], &device).require_grad();
    let x_i = LazyTensor::vi(tensor(&x, [3, 1, m, 1], DType::F32, &device));
    let y_j = LazyTensor::vj(tensor(&y, [2, n, 1], DType::F32, &device));
    let sums = (x_i * y_j * LazyTensor::vij(z.clone())).sum::<4>(Axis::J);
    let weights = tensor(&w, [3, 2, m, 1], DType::F32, &device);
    let gradients = (sums * weights).sum().backward();
    let entry = |i: usize, j: usize| -> f64 {
        let term = |at: usize| w[at * m + i] * x[at / 2 * m + i] * y[at % 2 * n + j];
        (0..6).map(term).sum()
    };
    let entries = (0..m * n).map(|at| entry(at / n, at % n));
    let want: Vec<f64> = entries.flat_map(|entry| vec![entry; dim]).collect();
    assert_gradient("shared", &z, &gradients, &want, 1e-5);
}
