//! Operands that have a value for each pair: stored matrices in formulas.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axis, LazyError, LazyTensor, Pruning, Ranges};

use super::support::*;

const M: usize = 5;
const N: usize = 7;

/// The values of points and of a matrix with two components.
struct Values {
    x: Vec<f64>,
    y: Vec<f64>,
    z: Vec<f64>,
}

impl Values {
    fn new() -> Self {
        let mut random = Random::new(31);
        Self {
            x: random.vec(M * 3),
            y: random.vec(N * 3),
            z: random.vec(M * N * 2),
        }
    }

    /// The values of `exp(-|x_i - y_j|^2) z_ij`, with component k at `(i N + j) 2 + k`.
    fn products(&self) -> Vec<f64> {
        let kernel = |i: usize, j: usize| {
            let square = |k: usize| (self.x[i * 3 + k] - self.y[j * 3 + k]).powi(2);
            (-(0..3).map(square).sum::<f64>()).exp()
        };
        let entries = self.z.iter().enumerate();
        entries
            .map(|(at, z)| kernel(at / 2 / N, at / 2 % N) * z)
            .collect()
    }

    fn tensors(&self, dtype: DType, device: &Device) -> (Tensor<2>, Tensor<2>, Tensor<3>) {
        (
            tensor(&self.x, [M, 3], dtype, device),
            tensor(&self.y, [N, 3], dtype, device),
            tensor(&self.z, [M, N, 2], dtype, device),
        )
    }
}

fn product((x, y, z): (Tensor<2>, Tensor<2>, Tensor<3>)) -> LazyTensor {
    (-LazyTensor::vi(x).sqdist(LazyTensor::vj(y))).exp() * LazyTensor::vij(z)
}

/// Sums of entries `[M, N, 2]` over an axis.
fn sums(entries: &[f64], axis: Axis) -> Vec<f64> {
    let len = if axis == Axis::J { M } else { N };
    let mut sums = vec![0.0; len * 2];
    for (at, entry) in entries.iter().enumerate() {
        let (i, j) = (at / 2 / N, at / 2 % N);
        let row = if axis == Axis::J { i } else { j };
        sums[row * 2 + at % 2] += entry;
    }
    sums
}

#[test]
fn a_matrix_is_a_factor_of_each_pair() {
    let values = Values::new();
    let entries = values.products();
    for (dtype, tolerance) in dtypes() {
        let k = product(values.tensors(dtype, &device()));
        assert_eq!(k.shape(), [M, N, 2]);
        for axis in [Axis::I, Axis::J] {
            let got = host(k.sum::<2>(axis));
            assert_close("sums", &got, &sums(&entries, axis), tolerance);
        }
        assert_close("entries", &host(k.dense::<3>()), &entries, tolerance);
        // The largest entry of each row, and its column.
        let (largest, found) = k.elem(0).max_argmax::<2>(Axis::J);
        let rows: Vec<f64> = entries.iter().step_by(2).copied().collect();
        let largest_of = |row: &[f64]| row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let want: Vec<f64> = rows.chunks(N).map(largest_of).collect();
        assert_close("maxima", &host(largest), &want, tolerance);
        let found: Vec<i64> = found.into_data().iter::<i64>().collect();
        for ((row, at), want) in rows.chunks(N).zip(found).zip(want) {
            assert_eq!(row[at as usize], want);
        }
    }
}

#[test]
fn transposes_blocks_and_diagonals_take_their_entries() {
    let values = Values::new();
    let entries = values.products();
    let entry = |i: usize, j: usize| [0, 1].map(|k| entries[(i * N + j) * 2 + k]);
    let k = product(values.tensors(DType::F32, &device()));
    let transposed: Vec<f64> = (0..N * M).flat_map(|at| entry(at % M, at / M)).collect();
    assert_close("transpose", &host(k.t().dense::<3>()), &transposed, 1e-5);
    let sums_of_columns = sums(&entries, Axis::I);
    assert_close(
        "transpose",
        &host(k.t().sum::<2>(Axis::J)),
        &sums_of_columns,
        1e-5,
    );
    // A matrix and its transpose in one formula are two matrices.
    let square = k.block(0..M, 0..M);
    let both = host((&square + square.t()).dense::<3>());
    let want: Vec<f64> = (0..M * M)
        .flat_map(|at| {
            let (own, other) = (entry(at / M, at % M), entry(at % M, at / M));
            [own[0] + other[0], own[1] + other[1]]
        })
        .collect();
    assert_close("sum with the transpose", &both, &want, 1e-5);
    let block: Vec<f64> = (0..6)
        .flat_map(|at| entry(1 + at / 3, 2 + at % 3))
        .collect();
    assert_close(
        "block",
        &host(k.block(1..3, 2..5).dense::<3>()),
        &block,
        1e-5,
    );
    let diagonal: Vec<f64> = (0..M).flat_map(|i| entry(i, i)).collect();
    assert_close("diagonal", &host(square.diag::<2>()), &diagonal, 1e-5);
}

#[test]
fn matrices_are_shared_by_batches_or_have_their_own() {
    let mut random = Random::new(8);
    let (x, y) = (random.vec(2 * 3 * 4), random.vec(6));
    for batch in [[2, 3], [1, 3], [2, 1], [1, 1]] {
        let z = random.vec(batch[0] * batch[1] * 4 * 6);
        let device = device();
        let x_i = LazyTensor::vi(tensor(&x, [2, 3, 4, 1], DType::F32, &device));
        let y_j = LazyTensor::vj(tensor(&y, [6, 1], DType::F32, &device));
        let z_ij = tensor(&z, [batch[0], batch[1], 4, 6, 1], DType::F32, &device);
        let got = host(((x_i - y_j) * LazyTensor::vij(z_ij)).sum::<4>(Axis::J));
        let mut want = Vec::new();
        for (row, own_x) in x.iter().enumerate() {
            let (b, c, i) = (row / 12, row / 4 % 3, row % 4);
            let own = (b % batch[0]) * batch[1] + c % batch[1];
            let term = |j: usize| (own_x - y[j]) * z[(own * 4 + i) * 6 + j];
            want.push((0..6).map(term).sum());
        }
        assert_close("batches", &got, &want, 1e-5);
    }
}

#[test]
fn views_are_read_where_they_lie() {
    let values = Values::new();
    let (x, y, z) = values.tensors(DType::F32, &device());
    let want = sums(&values.products(), Axis::J);
    // In memory the components come first, then columns, then rows.
    let turned = z.clone().permute([2, 1, 0]);
    let turned = Tensor::<3>::from_data(turned.into_data(), &device()).permute([2, 1, 0]);
    let wide = Tensor::cat(vec![z.clone().ones_like(), z.clone(), z.ones_like()], 1);
    let part = wide.slice([0..M, N..2 * N, 0..2]);
    for view in [turned, part] {
        let got = host(product((x.clone(), y.clone(), view)).sum::<2>(Axis::J));
        assert_close("view", &got, &want, 1e-5);
    }
}

#[test]
fn truth_values_and_whole_numbers_of_pairs_are_read() {
    let device = device();
    let x = LazyTensor::vi(Tensor::<2>::from_data([[1.0], [2.0]], &device));
    let y = LazyTensor::vj(Tensor::<2>::from_data([[1.0], [10.0], [100.0]], &device));
    let kept = [[[true], [false], [true]], [[false], [false], [true]]];
    let kept = LazyTensor::vij(Tensor::<3, Bool>::from_data(kept, &device));
    let masked = (&x * &y).mask_where(kept.equal(0.0), 0.0);
    assert_eq!(host(masked.sum::<2>(Axis::J)), [101.0, 200.0]);
    // Labels beyond 2^24 are compared exactly.
    let labels = [
        [[16_777_217], [16_777_216], [3]],
        [[3], [16_777_217], [16_777_217]],
    ];
    let labels = LazyTensor::vij(Tensor::<3, Int>::from_data(labels, &device));
    let own = LazyTensor::vj(Tensor::<2, Int>::from_data([[16_777_217]; 3], &device));
    assert_eq!(host(labels.equal(own).sum::<2>(Axis::J)), [1.0, 2.0]);
}

#[test]
fn pairs_outside_of_ranges_are_left_out() {
    let values = Values::new();
    let entries = values.products();
    let k = product(values.tensors(DType::F32, &device()));
    let ranges = Ranges::lengths(&[2, 3], &[4, 3]).unwrap();
    let kept: Vec<f64> = entries
        .iter()
        .enumerate()
        .map(|(at, entry)| {
            let (i, j) = (at / 2 / N, at / 2 % N);
            if (i < 2) == (j < 4) { *entry } else { 0.0 }
        })
        .collect();
    for axis in [Axis::I, Axis::J] {
        let got = host(k.ranges(&ranges).sum::<2>(axis));
        assert_close("ranges", &got, &sums(&kept, axis), 1e-5);
    }
    // The entries of a stored matrix have no bounds for blocks.
    let pruned = k.elem(0).prune(Pruning::Exact);
    let want = host(k.elem(0).kmin::<2>(2, Axis::J));
    assert_eq!(host(pruned.kmin::<2>(2, Axis::J)), want);
}

#[test]
fn wrong_matrices_are_named() {
    let device = device();
    let zeros = |shape: [usize; 3]| Tensor::<3>::zeros(shape, &device);
    let x = LazyTensor::vi(Tensor::<2>::zeros([5, 2], &device));
    let y = LazyTensor::vj(Tensor::<2>::zeros([7, 2], &device));
    let error = LazyTensor::try_vij(Tensor::<2>::zeros([5, 7], &device)).unwrap_err();
    assert!(matches!(error, LazyError::Rank { .. }));
    for part in ["a variable of pairs", "[.., M, N, D]", "[5, 7]"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    for (shape, letter) in [([4, 7, 2], "M = 4"), ([5, 6, 2], "N = 6")] {
        let error = (&x - &y)
            .try_mul(LazyTensor::vij(zeros(shape)))
            .unwrap_err();
        assert!(matches!(error, LazyError::Size { .. }));
        for part in [letter, "z0"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }
    assert!(matches!(
        LazyTensor::vij(zeros([5, 7, 1])).try_evaluate::<3>(),
        Err(LazyError::BothAxes(_))
    ));
}

#[cfg(feature = "autodiff")]
mod gradients {
    use super::*;

    /// Asserts the gradients of `f` by `x`, `y` and `z`.
    fn check<const R: usize>(
        what: &str,
        (x, y): (Tensor<2>, Tensor<2>),
        z: Tensor<R>,
        f: &dyn Fn(LazyTensor, LazyTensor, LazyTensor) -> Tensor<1>,
    ) {
        let (x, y, z) = (
            x.autodiff().require_grad(),
            y.autodiff().require_grad(),
            z.autodiff().require_grad(),
        );
        let value = |x: Tensor<2>, y: Tensor<2>, z: Tensor<R>| {
            f(LazyTensor::vi(x), LazyTensor::vj(y), LazyTensor::vij(z))
        };
        let z_shape = z.dims();
        let gradients = value(x.clone(), y.clone(), z.clone()).backward();
        let [x0, y0, z0] = [host(x.clone()), host(y.clone()), host(z.clone())];
        let moved = |x: &[f64], y: &[f64], z: &[f64]| {
            let device = reference_device();
            let points =
                |values: &[f64]| tensor(values, [values.len() / 2, 2], DType::F64, &device);
            let z = tensor(z, z_shape, DType::F64, &device);
            host(value(points(x), points(y), z))[0]
        };
        let by_x = differences(&x0, &|x| moved(x, &y0, &z0));
        let by_y = differences(&y0, &|y| moved(&x0, y, &z0));
        let by_z = differences(&z0, &|z| moved(&x0, &y0, z));
        assert_gradient(what, &x, &gradients, &by_x, 1e-7);
        assert_gradient(what, &y, &gradients, &by_y, 1e-7);
        assert_gradient(what, &z, &gradients, &by_z, 1e-7);
    }

    type Function = dyn Fn(LazyTensor, LazyTensor, LazyTensor) -> Tensor<1>;

    #[test]
    fn gradients_by_all_operands_are_those_of_differences() {
        if !has(DType::F64) || !reduces(DType::F64) {
            return skipped("the device has no F64");
        }
        let mut random = Random::new(77);
        let mut points = |rows: usize| {
            let values = random.vec(rows * 2);
            tensor(&values, [rows, 2], DType::F64, &device())
        };
        let (x, y) = (points(4), points(6));
        let sum: Box<Function> = Box::new(|x, y, z| {
            let k = (-x.sqdist(&y) + z).exp() * y;
            k.sum::<2>(Axis::J).sin().sum()
        });
        let over_rows: Box<Function> =
            Box::new(|x, y, z| ((x.sqdist(y)) * z.square()).sum::<2>(Axis::I).exp().sum());
        let softmax: Box<Function> = Box::new(|x, y, z| {
            let scores = x.dot(&y) + z;
            scores.sumsoftmaxweight::<2>(y, Axis::J).sin().sum()
        });
        let log_sum: Box<Function> =
            Box::new(|x, y, z| (x.dot(y) * z).logsumexp::<2>(Axis::J).square().sum());
        let least: Box<Function> =
            Box::new(|x, y, z| (x.sqdist(y) * z).min::<2>(Axis::J).sin().sum());
        // The gradient also contains the index of a column.
        let places: Box<Function> = Box::new(|x, y, z| {
            let later = LazyTensor::offset().less(0.0);
            let k = x.sqdist(y) * z.square() * (LazyTensor::column_index() + 1.0);
            k.mask_where(later, 0.0).sum::<2>(Axis::J).sin().sum()
        });
        let in_ranges: Box<Function> = Box::new(|x, y, z| {
            let ranges = Ranges::lengths(&[1, 3], &[4, 2]).unwrap();
            let k = (x.sqdist(y) * z).ranges(&ranges);
            k.sum::<2>(Axis::J).sin().sum()
        });
        let transposed: Box<Function> = Box::new(|x, y, z| {
            let k = (x.sqdist(y) * z).t();
            k.sum::<2>(Axis::J).sin().sum()
        });
        for (what, f) in [
            ("sum", sum),
            ("over rows", over_rows),
            ("softmax", softmax),
            ("logsumexp", log_sum),
            ("minimum", least),
            ("places", places),
            ("ranges", in_ranges),
            ("transposed", transposed),
        ] {
            let z = tensor(&random.vec(24), [4, 6, 1], DType::F64, &device());
            check(what, (x.clone(), y.clone()), z, &f);
        }
        // Points that all batches of the matrix share.
        let batches: Box<Function> = Box::new(|x, y, z| {
            let k = (-x.sqdist(y)).exp() * z;
            k.sum::<3>(Axis::J).sin().sum()
        });
        let z = tensor(&random.vec(3 * 24), [3, 4, 6, 1], DType::F64, &device());
        check("batches", (x, y), z, &batches);
    }

    #[test]
    fn a_matrix_that_batches_share_has_the_sum_of_their_gradients() {
        let device = device().autodiff();
        let mut random = Random::new(5);
        let (x, z) = (random.vec(2 * 3), random.vec(3 * 4));
        let x = LazyTensor::vi(tensor(&x, [2, 3, 1], DType::F32, &device));
        let weights = tensor(&z, [3, 4, 1], DType::F32, &device).require_grad();
        let y = LazyTensor::vj(Tensor::<2>::ones([4, 1], &device));
        let values: Tensor<3> = ((x.clone() + y) * LazyTensor::vij(weights.clone())).sum(Axis::J);
        let gradients = values.sum().backward();
        let rows = host(x.evaluate::<3>());
        let want: Vec<f64> = (0..12)
            .map(|at| rows[at / 4] + rows[3 + at / 4] + 2.0)
            .collect();
        assert_gradient("shared", &weights, &gradients, &want, 1e-5);
    }
}
