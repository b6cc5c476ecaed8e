//! Every reduction through the public interface: shapes, values against dense ones, batches, both axes, types and
//! errors.

use burn::{
    prelude::*,
    tensor::{DType, TensorData},
};
use burn_lazy::{Accumulation, Axes, Axis, LazyError, LazyTensor};

use super::support::*;

const D: usize = 3;

/// Points, and the symbolic matrices of the tutorial over them.
struct Points {
    x: Vec<f64>,
    y: Vec<f64>,
    m: usize,
    n: usize,
    s_ij: LazyTensor,
    v_ij: LazyTensor,
}

impl Points {
    fn new(m: usize, n: usize, dtype: DType) -> Self {
        let mut random = Random::new(41);
        let (x, y) = (random.vec(m * D), random.vec(n * D));
        let x_i = LazyTensor::vi(tensor(&x, [m, D], dtype, &device()));
        let y_j = LazyTensor::vj(tensor(&y, [n, D], dtype, &device()));
        let v_ij = x_i - y_j;
        Self {
            x,
            y,
            m,
            n,
            s_ij: v_ij.square().inner_sum(),
            v_ij,
        }
    }

    fn v(&self, i: usize, j: usize, k: usize) -> f64 {
        self.x[i * D + k] - self.y[j * D + k]
    }

    fn s(&self, i: usize, j: usize) -> f64 {
        (0..D).map(|k| self.v(i, j, k).powi(2)).sum()
    }

    /// The value of `f` for each row or column of the squared distances.
    fn over(&self, axis: Axis, f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
        self.over_components(axis, 1, |i, j, _| self.s(i, j), f)
    }

    /// The value of `f` for each component of each row or column.
    fn over_components(
        &self,
        axis: Axis,
        dim: usize,
        value: impl Fn(usize, usize, usize) -> f64,
        f: impl Fn(&[f64]) -> f64,
    ) -> Vec<f64> {
        let (rows, columns) = match axis {
            Axis::J => (self.m, self.n),
            Axis::I => (self.n, self.m),
        };
        let mut out = Vec::new();
        for row in 0..rows {
            for k in 0..dim {
                let at = |column| match axis {
                    Axis::J => value(row, column, k),
                    Axis::I => value(column, row, k),
                };
                let values: Vec<f64> = (0..columns).map(at).collect();
                out.push(f(&values));
            }
        }
        out
    }
}

fn ints<const R: usize>(tensor: Tensor<R, Int>) -> Vec<i64> {
    tensor.into_data().iter::<i64>().collect()
}

fn argmin(values: &[f64]) -> usize {
    let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
    values.iter().position(|v| *v == smallest).unwrap()
}

/// The indices in ascending order of the values. Equal values are ordered by their indices.
fn order(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    order
}

fn logsumexp(values: &[f64]) -> f64 {
    values.iter().map(|v| v.exp()).sum::<f64>().ln()
}

/// Checks reductions of the same points in all types over each axis. `check` gets the relative error.
fn over_either_axis(check: impl Fn(&Points, Axis, f64)) {
    for (dtype, tolerance) in dtypes() {
        let points = Points::new(40, 70, dtype);
        for axis in [Axis::I, Axis::J] {
            check(&points, axis, tolerance);
        }
    }
}

#[test]
fn values_over_either_axis_equal_dense_ones() {
    over_either_axis(|points, axis, tolerance| {
        let v = |i, j, k| points.v(i, j, k);
        type Case<'a> = (&'a str, Tensor<2>, &'a dyn Fn(&[f64]) -> f64);
        let s = &points.s_ij;
        let scalar: [Case; 6] = [
            ("mean", s.mean(axis), &|v| {
                v.iter().sum::<f64>() / v.len() as f64
            }),
            ("prod", (s * 0.2 + 0.8).prod(axis), &|v| {
                v.iter().map(|v| v * 0.2 + 0.8).product()
            }),
            ("logsumexp", s.logsumexp(axis), &logsumexp),
            ("min", s.min(axis), &|v| v[argmin(v)]),
            ("max", s.max(axis), &|v| {
                v.iter().copied().fold(f64::MIN, f64::max)
            }),
            ("sum", s.accumulate(Accumulation::Kahan).sum(axis), &|v| {
                v.iter().sum()
            }),
        ];
        for (name, got, f) in scalar {
            let want = points.over(axis, f);
            assert_eq!(got.dims(), [want.len(), 1], "{name}");
            assert_close(name, &host(got), &want, tolerance);
        }
        let vector: [Case; 4] = [
            ("logsumexp", points.v_ij.logsumexp(axis), &logsumexp),
            ("min", points.v_ij.min(axis), &|v| v[argmin(v)]),
            ("max", points.v_ij.max(axis), &|v| {
                v.iter().copied().fold(f64::MIN, f64::max)
            }),
            ("mean", points.v_ij.mean(axis), &|v| {
                v.iter().sum::<f64>() / v.len() as f64
            }),
        ];
        for (name, got, f) in vector {
            let want = points.over_components(axis, D, v, f);
            assert_eq!(got.dims(), [want.len() / D, D], "{name}");
            assert_close(name, &host(got), &want, tolerance);
        }
    });
}

#[test]
fn indices_over_either_axis_equal_dense_ones() {
    over_either_axis(|points, axis, tolerance| {
        let v = |i, j, k| points.v(i, j, k);
        let first = |f: &[f64]| argmin(f) as f64;
        let as_float =
            |t: Tensor<2, Int>| -> Vec<f64> { ints(t).into_iter().map(|v| v as f64).collect() };
        assert_eq!(as_float(points.s_ij.argmin(axis)), points.over(axis, first));
        assert_eq!(
            as_float(points.v_ij.argmax(axis)),
            points.over_components(axis, D, |i, j, k| -v(i, j, k), first)
        );
        let (values, indices) = points.v_ij.min_argmin::<2>(axis);
        assert_eq!(as_float(indices), points.over_components(axis, D, v, first));
        let want = points.over_components(axis, D, v, |f| f[argmin(f)]);
        assert_close("min", &host(values), &want, tolerance);
        let (values, indices) = points.s_ij.max_argmax::<2>(axis);
        let negative = |f: &[f64]| argmin(&f.iter().map(|v| -v).collect::<Vec<_>>()) as f64;
        assert_eq!(as_float(indices), points.over(axis, negative));
        let want = points.over(axis, |f| f.iter().copied().fold(f64::MIN, f64::max));
        assert_close("max", &host(values), &want, tolerance);
    });
}

#[test]
fn the_smallest_values_are_sorted_and_have_the_shapes_of_the_formula() {
    let points = Points::new(30, 50, DType::F32);
    for k in [1, 4, 40, 64] {
        let (values, indices) = points.s_ij.kmin_argkmin::<2>(k, Axis::I);
        assert_eq!((values.dims(), indices.dims()), ([50, k], [50, k]));
        assert_eq!(
            ints(points.s_ij.argkmin::<2>(k, Axis::I)),
            ints(indices.clone())
        );
        let (values, indices) = (host(values), ints(indices));
        for j in 0..50 {
            let column: Vec<f64> = (0..30).map(|i| points.s(i, j)).collect();
            let order = order(&column);
            for place in 0..k {
                let (value, index) = (values[j * k + place], indices[j * k + place]);
                match order.get(place) {
                    Some(&i) => {
                        assert_eq!(index, i as i64);
                        assert!((value - column[i]).abs() < 1e-5);
                    }
                    None => assert_eq!((value, index), (f64::INFINITY, -1)),
                }
            }
        }
    }
    let (values, indices) = points.v_ij.kmin_argkmin::<3>(7, Axis::J);
    assert_eq!((values.dims(), indices.dims()), ([30, 7, D], [30, 7, D]));
    let indices = ints(indices);
    for i in 0..30 {
        for c in 0..D {
            let row: Vec<f64> = (0..50).map(|j| points.v(i, j, c)).collect();
            for (place, j) in order(&row).into_iter().take(7).enumerate() {
                assert_eq!(indices[(i * 7 + place) * D + c], j as i64);
            }
        }
    }
}

#[test]
fn weights_are_numbers_tensors_or_formulas() {
    for (dtype, tolerance) in dtypes() {
        let points = Points::new(20, 33, dtype);
        let v = |i, j, k| points.v(i, j, k);
        let weighted = |i: usize, weight: &dyn Fn(usize) -> f64| -> (f64, f64) {
            let terms = (0..33).map(|j| points.s(i, j).exp());
            let sum = terms.clone().enumerate().map(|(j, e)| e * weight(j)).sum();
            (sum, terms.sum())
        };
        let want = |weight: &dyn Fn(usize, usize, usize) -> f64, dim: usize| -> Vec<f64> {
            let each = |i| (0..dim).map(move |k| (i, k));
            let pairs = (0..20).flat_map(each);
            pairs
                .map(|(i, k)| weighted(i, &|j| weight(i, j, k)).0.ln())
                .collect()
        };
        let got: Tensor<2> = points.s_ij.logsumexp_weighted(2.0, Axis::J);
        assert_eq!(got.dims(), [20, 1]);
        assert_close("number", &host(got), &want(&|_, _, _| 2.0, 1), tolerance);

        let p = tensor(&[1.0, 2.0, 3.0], [3], dtype, &device());
        let got: Tensor<2> = points.s_ij.logsumexp_weighted(p, Axis::J);
        assert_eq!(got.dims(), [20, 3]);
        let expected = want(&|_, _, k| k as f64 + 1.0, 3);
        assert_close("tensor", &host(got), &expected, tolerance);

        // Some weights are negative, but their sums are not.
        let got: Tensor<2> = points.s_ij.logsumexp_weighted(&points.v_ij + 0.75, Axis::J);
        let expected = want(&|i, j, k| v(i, j, k) + 0.75, 3);
        assert!(
            host(got.clone())
                .iter()
                .zip(&expected)
                .all(|(a, b)| a.is_nan() == b.is_nan())
        );
        let finite = |v: Vec<f64>| v.into_iter().filter(|v| !v.is_nan()).collect::<Vec<_>>();
        assert_close(
            "formula",
            &finite(host(got)),
            &finite(expected),
            20.0 * tolerance,
        );

        let got: Tensor<2> = points.s_ij.sumsoftmaxweight(&points.v_ij, Axis::J);
        assert_eq!(got.dims(), [20, 3]);
        let expected: Vec<f64> = (0..20)
            .flat_map(|i| (0..3).map(move |k| (i, k)))
            .map(|(i, k)| {
                let (sum, norm) = weighted(i, &|j| v(i, j, k));
                sum / norm
            })
            .collect();
        assert_close("softmax", &host(got), &expected, tolerance);

        // Scores with several components, and a weight for each component.
        let got: Tensor<2> = points
            .v_ij
            .logsumexp_weighted(points.v_ij.square(), Axis::I);
        let expected = points.over_components(Axis::I, D, v, |f| {
            f.iter().map(|v| v.exp() * v * v).sum::<f64>().ln()
        });
        assert_close("vector", &host(got), &expected, tolerance);
    }
}

#[test]
fn both_axes_give_one_value() {
    for (dtype, tolerance) in dtypes() {
        let points = Points::new(20, 33, dtype);
        let all: Vec<f64> = (0..20)
            .flat_map(|i| (0..33).map(move |j| (i, j)))
            .map(|(i, j)| points.s(i, j))
            .collect();
        let s = &points.s_ij;
        let sum: f64 = all.iter().sum();
        let check = |name: &str, got: Tensor<1>, want: f64| {
            assert_eq!(got.dims(), [1], "{name}");
            assert_close(name, &host(got), &[want], tolerance);
        };
        check("sum", s.sum(Axes::Both), sum);
        check("mean", s.mean(Axes::Both), sum / all.len() as f64);
        check("min", s.min(Axes::Both), all[argmin(&all)]);
        check(
            "max",
            s.max(Axes::Both),
            all.iter().copied().fold(0.0, f64::max),
        );
        check("logsumexp", s.logsumexp(Axes::Both), logsumexp(&all));
        check(
            "weighted",
            s.logsumexp_weighted(s + 1.0, Axes::Both),
            all.iter().map(|v| v.exp() * (v + 1.0)).sum::<f64>().ln(),
        );
        let norm: f64 = all.iter().map(|v| v.exp()).sum();
        check(
            "softmax",
            s.sumsoftmaxweight(s.square(), Axes::Both),
            all.iter().map(|v| v.exp() * v * v).sum::<f64>() / norm,
        );
    }
}

#[test]
fn batches_broadcast() {
    let (b, m, n) = (2, 5, 9);
    let mut random = Random::new(5);
    let (x, y) = (random.vec(b * m), random.vec(n));
    let x_i = LazyTensor::vi(tensor(&x, [b, m, 1], DType::F32, &device()));
    let y_j = LazyTensor::vj(tensor(&y, [n, 1], DType::F32, &device()));
    let s_ij = (x_i - y_j).square();
    let (values, indices) = s_ij.kmin_argkmin::<3>(2, Axis::J);
    assert_eq!((values.dims(), indices.dims()), ([b, m, 2], [b, m, 2]));
    let wanted: Vec<i64> = x
        .iter()
        .flat_map(|x| {
            let row: Vec<f64> = y.iter().map(|y| (x - y).powi(2)).collect();
            order(&row).into_iter().take(2).map(|j| j as i64)
        })
        .collect();
    assert_eq!(ints(indices), wanted);
    let over_rows: Tensor<3> = s_ij.min(Axis::I);
    assert_eq!(over_rows.dims(), [b, n, 1]);
    let over_both: Tensor<2> = s_ij.max(Axes::Both);
    assert_eq!(over_both.dims(), [b, 1]);
}

#[test]
fn empty_axes_give_what_nothing_gives() {
    let x = LazyTensor::vi(Tensor::<2>::ones([3, 2], &device()));
    let y = LazyTensor::vj(Tensor::<2>::ones([0, 2], &device()));
    let s = &x * &y;
    let values = |t: Tensor<2>| host(t);
    assert_eq!(values(s.min(Axis::J)), [f64::INFINITY; 6]);
    assert_eq!(values(s.max(Axis::J)), [f64::NEG_INFINITY; 6]);
    assert_eq!(values(s.prod(Axis::J)), [1.0; 6]);
    assert_eq!(values(s.logsumexp(Axis::J)), [f64::NEG_INFINITY; 6]);
    assert!(values(s.mean(Axis::J)).iter().all(|v| v.is_nan()));
    assert_eq!(ints(s.argmin::<2>(Axis::J)), [-1; 6]);
    assert_eq!(ints(s.argkmin::<3>(2, Axis::J)), [-1; 12]);
    assert_eq!(s.min::<2>(Axis::I).dims(), [0, 2]);
    assert_eq!(s.argkmin::<3>(2, Axis::I).dims(), [0, 2, 2]);
}

#[test]
fn constant_formulas_are_reduced() {
    let x = LazyTensor::vi(Tensor::<2>::ones([3, 1], &device()));
    let y = LazyTensor::vj(Tensor::<2>::ones([4, 1], &device()));
    // The derivative of a sum is 1 and does not depend on the operands.
    let one = (&x + &y).grad(&x, 2.0);
    assert_eq!(host(one.sum::<2>(Axis::J)), [8.0; 3]);
    assert_eq!(host(one.prod::<2>(Axis::J)), [16.0; 3]);
    assert_close(
        "logsumexp",
        &host(one.logsumexp::<2>(Axis::J)),
        &[2.0 + 4f64.ln(); 3],
        1e-6,
    );
    let (values, indices) = one.kmin_argkmin::<2>(5, Axis::J);
    assert_eq!(host(values)[..5], [2.0, 2.0, 2.0, 2.0, f64::INFINITY]);
    assert_eq!(ints(indices)[..5], [0, 1, 2, 3, -1]);
}

#[test]
fn halves_are_reduced_where_the_device_has_them() {
    for (dtype, tolerance) in [(DType::F16, 2e-3), (DType::BF16, 2e-2)] {
        if !has(dtype) {
            skipped("the backend has no halves");
            continue;
        }
        let x = [0.5, 1.5, -2.0];
        let row = |values: &[f64], dtype| {
            Tensor::<2>::from_data(
                TensorData::new(values.to_vec(), [values.len(), 1]),
                (&device(), dtype),
            )
        };
        let (x_i, y_j) = (row(&x, dtype), row(&[1.0, 0.25], dtype));
        let s = LazyTensor::vi(x_i) * LazyTensor::vj(y_j);
        match s.try_logsumexp::<2>(Axis::J) {
            Ok(got) => {
                assert_eq!(got.dtype(), dtype);
                let want: Vec<f64> = x.iter().map(|x| (x.exp() + (x / 4.0).exp()).ln()).collect();
                assert_close("logsumexp", &host(got), &want, tolerance);
            }
            Err(error) => {
                assert!(matches!(error, LazyError::Launch { .. }), "{error}");
                assert!(error.to_string().contains("F16"), "{error}");
            }
        }
    }
}

#[test]
fn wrong_reductions_are_refused() {
    let points = Points::new(4, 5, DType::F32);
    let error = points.s_ij.try_kmin::<2>(0, Axis::J).unwrap_err();
    assert!(
        matches!(error, LazyError::Count { count: 0, .. }),
        "{error}"
    );
    let error = points.s_ij.try_argkmin::<2>(5000, Axis::J).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("argkmin gives 1 to 1024 values, not 5000"),
        "{error}"
    );
    let error = points.v_ij.try_kmin::<2>(3, Axis::J).unwrap_err();
    assert!(
        matches!(&error, LazyError::OutputRank { shape, .. } if shape == &[4, 3, 3]),
        "{error}"
    );
    let error = points
        .v_ij
        .try_sumsoftmaxweight::<2>(&points.s_ij, Axis::J)
        .unwrap_err();
    assert!(matches!(error, LazyError::NotScalar { .. }), "{error}");
    let other = LazyTensor::vj(Tensor::<2>::ones([5, 2], &device()));
    let error = points
        .v_ij
        .try_logsumexp_weighted::<2>(other, Axis::J)
        .unwrap_err();
    assert!(matches!(error, LazyError::Dimension { .. }), "{error}");
    let rows = LazyTensor::vi(Tensor::<2>::ones([5, 2], &device()));
    let error = rows.try_max::<1>(Axes::Both).unwrap_err();
    assert!(
        matches!(error, LazyError::MissingAxis { axis: Axis::J, .. }),
        "{error}"
    );
}

/// The formula `exp(x_i y_j) p` over batches of rows, and a function that gives its entries.
fn batched() -> (LazyTensor, impl Fn(usize, usize, usize, usize) -> f64) {
    let (b, m, n) = (2, 4, 6);
    let mut random = Random::new(51);
    let (x, y, p) = (random.vec(b * m), random.vec(n), random.vec(b * 2));
    let f = LazyTensor::vi(tensor(&x, [b, m, 1], DType::F32, &device()))
        * LazyTensor::vj(tensor(&y, [n, 1], DType::F32, &device()));
    let f = f.exp() * LazyTensor::pm(tensor(&p, [b, 2], DType::F32, &device()));
    let entry =
        move |b: usize, i: usize, j: usize, k: usize| (x[b * m + i] * y[j]).exp() * p[b * 2 + k];
    (f, entry)
}

#[test]
fn dense_matrices_hold_every_entry() {
    let (f, entry) = batched();
    let places = LazyTensor::offset() * 10.0 + LazyTensor::column_index();
    for (f, place) in [(f.clone(), 0.0), (f + places, 1.0)] {
        let dense: Tensor<4> = f.dense();
        assert_eq!(dense.dims(), [2, 4, 6, 2]);
        let mut want = vec![];
        for b in 0..2 {
            for i in 0..4 {
                for j in 0..6 {
                    let at = place * (10.0 * (i as f64 - j as f64) + j as f64);
                    want.extend([0, 1].map(|k| entry(b, i, j, k) + at));
                }
            }
        }
        assert_close("dense", &host(dense), &want, 1e-6);
    }
}

#[test]
fn blocks_are_matrices_of_their_own() {
    let (f, entry) = batched();
    let f = f + LazyTensor::offset() + LazyTensor::row_index() * 0.5;
    let block = f.block(1..3, 2..6);
    assert_eq!(block.shape(), [2, 2, 4, 2]);
    let sums: Tensor<3> = block.sum(Axis::J);
    let mut want = vec![];
    for b in 0..2 {
        for i in 1..3 {
            for k in 0..2 {
                let at = |j| entry(b, i, j, k) + i as f64 - j as f64 + 0.5 * i as f64;
                want.push((2..6).map(at).sum::<f64>());
            }
        }
    }
    assert_close("sum of a block", &host(sums), &want, 1e-6);
    let error = f.try_block(0..5, 0..1).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("0..5 are not within the 4 of the axis i"),
        "{error}"
    );
}

#[test]
fn diagonals_are_vectors() {
    let mut random = Random::new(52);
    let (x, y) = (random.vec(5), random.vec(5));
    let [x_t, y_t] = [&x, &y].map(|v| tensor(v, [5, 1], DType::F32, &device()));
    let f = LazyTensor::vi(x_t) * LazyTensor::vj(y_t) + LazyTensor::offset() * 9.0
        - LazyTensor::column_index();
    let want: Vec<f64> = (0..5).map(|i| x[i] * y[i] - i as f64).collect();
    let diag: Tensor<2> = f.diag();
    assert_eq!(diag.dims(), [5, 1]);
    assert_close("diagonal", &host(diag), &want, 1e-6);
    let points = Points::new(4, 5, DType::F32);
    let error = points.s_ij.try_diag::<2>().unwrap_err();
    assert!(
        error.to_string().contains("only a square matrix"),
        "{error}"
    );
}

#[test]
fn masks_choose_entries_by_their_place() {
    let points = Points::new(6, 6, DType::F32);
    let offset = LazyTensor::offset();
    let zero = |mask: &LazyTensor| points.s_ij.mask_where(mask.equal(0.0), 0.0);
    type Mask = (LazyTensor, fn(i64, i64) -> bool);
    let masks: [Mask; 4] = [
        (offset.equal(0.0), |i, j| i == j),
        (offset.greater_equal(0.0), |i, j| i >= j),
        (offset.abs().less_equal(2.0), |i, j| (i - j).abs() <= 2),
        (offset.less(1.0), |i, j| i - j < 1),
    ];
    for (mask, holds) in masks {
        let want: Vec<f64> = (0..6)
            .map(|i| {
                let chosen = (0..6).filter(|j| holds(i as i64, *j as i64));
                chosen.map(|j| points.s(i, j)).sum()
            })
            .collect();
        assert_close("sum", &host(zero(&mask).sum::<2>(Axis::J)), &want, 1e-6);
        let transposed: Tensor<2> = zero(&mask).t().sum(Axis::I);
        assert_close("sum", &host(transposed), &want, 1e-6);
        // Masked entries are infinitely far, so they are not among the neighbours.
        let far = points.s_ij.mask_where(mask.equal(0.0), f64::INFINITY);
        for (i, row) in ints(far.argkmin::<2>(6, Axis::J)).chunks(6).enumerate() {
            let count = (0..6).filter(|j| holds(i as i64, *j)).count();
            assert!(row[..count].iter().all(|j| holds(i as i64, *j)));
            assert!(row[count..].iter().all(|j| *j == -1));
        }
        // The other operand of the count matters only for the sizes.
        let counts: Tensor<2> = (mask + points.s_ij.clone() * 0.0).sum(Axis::J);
        let want: Vec<f64> = (0..6)
            .map(|i| (0..6).filter(|j| holds(i, *j)).count() as f64)
            .collect();
        assert_eq!(host(counts), want);
    }
}

#[test]
fn places_alone_are_reduced() {
    let x = LazyTensor::vi(Tensor::<2>::ones([3, 2], &device()));
    let y = LazyTensor::vj(Tensor::<2>::ones([4, 2], &device()));
    // The derivative of x (i - j) by x is i - j, which contains no tensor.
    let f = (&x * LazyTensor::offset() + &y).grad(
        &x,
        LazyTensor::concat(&[LazyTensor::offset().equal(0.0), LazyTensor::row_index()]),
    );
    let sums: Tensor<2> = f.sum(Axis::J);
    let want: Vec<f64> = (0..3)
        .flat_map(|i| [0.0, (0..4).map(|j| i as f64 * (i as f64 - j as f64)).sum()])
        .collect();
    assert_eq!(host(sums), want);
}

#[test]
fn nan_is_skipped_on_request() {
    let y = [2.0, f64::NAN, 1.0, f64::NAN];
    let f = LazyTensor::vj(tensor(&y, [4, 1], DType::F32, &device()));
    let value = |t: Tensor<2>| host(t)[0];
    assert!(value(f.min(Axis::J)).is_nan());
    assert_eq!(value(f.nan_to(f64::INFINITY).min(Axis::J)), 1.0);
    assert_eq!(value(f.nan_to(f64::NEG_INFINITY).max(Axis::J)), 2.0);
    assert!(value(f.sum(Axis::J)).is_nan());
    assert_eq!(value(f.nan_to(0.0).sum(Axis::J)), 3.0);
}

#[test]
fn comparisons_are_counted() {
    let points = Points::new(7, 9, DType::F32);
    let near = points.s_ij.less(1.0);
    let count = |v: &[f64]| v.iter().filter(|v| **v < 1.0).count() as f64;
    for axis in [Axis::I, Axis::J] {
        let want = points.over(axis, count);
        let counts: Tensor<2, Int> = near.count(axis);
        assert_eq!(
            ints(counts),
            want.iter().map(|c| *c as i64).collect::<Vec<_>>()
        );
        let any: Tensor<2, Bool> = near.any(axis);
        let any: Vec<bool> = any.into_data().iter::<bool>().collect();
        assert_eq!(any, want.iter().map(|c| *c > 0.0).collect::<Vec<_>>());
    }
    let all: Tensor<1, Int> = near.count(Axes::Both);
    let want: f64 = points.over(Axis::J, count).iter().sum();
    assert_eq!(ints(all), [want as i64]);
}

#[test]
fn reductions_of_one_formula_are_not_taken_for_each_other() {
    let (x, y) = ([1.0, -2.0], [0.5, 3.0, -1.0]);
    let row = |values: &[f64]| tensor::<2>(values, [values.len(), 1], DType::F32, &device());
    let f = LazyTensor::vi(row(&x)) * LazyTensor::vj(row(&y));
    let each = |reduce: &dyn Fn(&[f64]) -> f64| -> Vec<f64> {
        let products = x.map(|x| y.map(|y| x * y));
        products.iter().map(|row| reduce(row)).collect()
    };
    let sums: Tensor<2> = f.sum(Axis::J);
    assert_close("sum", &host(sums), &each(&|row| row.iter().sum()), 1e-6);
    let products: Tensor<2> = f.prod(Axis::J);
    assert_close(
        "prod",
        &host(products),
        &each(&|row| row.iter().product()),
        1e-6,
    );
    let least: Tensor<2> = f.min(Axis::J);
    let want = each(&|row| row.iter().fold(f64::INFINITY, |a, b| a.min(*b)));
    assert_close("min", &host(least.clone()), &want, 1e-6);
    let first: Tensor<2> = f.kmin(1, Axis::J);
    assert_eq!(host(first), host(least));
    let counts: Tensor<2, Int> = f.count(Axis::J);
    assert_eq!(ints(counts), [3, 3]);
}
