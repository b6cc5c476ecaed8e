//! Softmax-weighted sums together with the logarithms of the sums of exponentials, against two separate reductions.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axis, LazyError, LazyTensor, Pruning, Ranges};

use super::support::*;

const M: usize = 7;
const N: usize = 12;

/// Asserts that both results equal those of separate reductions.
#[track_caller]
fn check<const R: usize>(what: &str, scores: &LazyTensor, weights: &LazyTensor, tolerance: f64) {
    for axis in [Axis::J, Axis::I] {
        let (values, logarithms) = scores.sumsoftmaxweight_logsumexp::<R>(weights, axis);
        let what = format!("{what} over {axis}");
        let same = |what: String, own: Tensor<R>, want: Tensor<R>| {
            assert_eq!(own.dims(), want.dims(), "shape of {what}");
            assert_eq!(own.dtype(), want.dtype(), "type of {what}");
            for (own, want) in host(own).into_iter().zip(host(want)) {
                let close = (own - want).abs() <= tolerance * want.abs().max(1.0);
                let equal = own == want || (own.is_nan() && want.is_nan());
                assert!(close || equal, "{what}: {own}, expected {want}");
            }
        };
        same(
            format!("softmax of {what}"),
            values,
            scores.sumsoftmaxweight(weights, axis),
        );
        same(
            format!("logsumexp of {what}"),
            logarithms,
            scores.logsumexp(axis),
        );
    }
}

#[test]
fn both_results_are_those_of_two_reductions() {
    let mut random = Random::new(3);
    for (dtype, tolerance) in dtypes() {
        let [x, y] = points_of(&random.vec(M * 2), &random.vec(N * 2), 2, dtype);
        let scores = x.dot(&y) * 3.0;
        check::<2>("scores", &scores, &y, tolerance);
        check::<2>("large scores", &(&scores * 1e3 - 5e4), &y, tolerance);
        let later = LazyTensor::offset().less(0.0);
        let masked = scores.mask_where(later, f64::NEG_INFINITY);
        check::<2>("masked scores", &masked, &y, tolerance);
        let ranges = Ranges::lengths(&[3, 4], &[7, 5]).expect("they are lengths");
        check::<2>("ranges", &scores.ranges(&ranges), &y, tolerance);
        let far = (-x.sqdist(&y) * 300.0).prune(Pruning::Exact);
        check::<2>("pruned scores", &far, &y, tolerance);
        // Scores without tensors, and a formula without any tensor.
        let nothing = &scores * 0.0;
        check::<2>("places", &(&nothing + LazyTensor::offset()), &y, tolerance);
        check::<2>("numbers", &nothing, &(&nothing + 2.0), tolerance);
        let batches = tensor(&random.vec(3 * M), [3, M, 1], dtype, &device());
        let batches = LazyTensor::vi(batches) * y.slice(0..1);
        check::<3>("batches", &batches, &y, tolerance);
    }
}

#[test]
fn nothing_and_infinities_are_as_in_two_reductions() {
    let infinity = f64::INFINITY;
    let scores = [
        [0.0, 1.0, f64::NEG_INFINITY],
        [f64::NEG_INFINITY; 3],
        [infinity, 0.0, 1.0],
        [f64::NAN, 0.0, 1.0],
        [1e30, -1e30, 1e30],
    ];
    let values = tensor(&scores.concat(), [5, 3, 1], DType::F32, &device());
    let weights = LazyTensor::vj(tensor(&[1.0, 2.0, -3.0], [3, 1], DType::F32, &device()));
    let rows = LazyTensor::vij(values);
    check::<2>("special scores", &rows, &weights, 1e-6);
    let none = LazyTensor::vj(Tensor::<2>::zeros([0, 1], &device()));
    let x = LazyTensor::vi(Tensor::<2>::ones([4, 1], &device()));
    check::<2>("no columns", &(&x * &none), &none, 1e-6);
}

#[test]
fn halves_are_rounded_once() {
    for dtype in [DType::F16, DType::BF16] {
        if !reduces(dtype) {
            skipped("the device has no halves");
            continue;
        }
        let mut random = Random::new(8);
        let [x, y] = points_of(&random.vec(M), &random.vec(N), 1, dtype);
        check::<2>("halves", &(x * &y), &y, 0.0);
    }
}

#[test]
fn both_axes_of_a_result_are_checked() {
    let [x, y] = points_of(&[0.0; M], &[0.0; N], 1, DType::F32);
    let wrong = (&x * &y).try_sumsoftmaxweight_logsumexp::<3>(&y, Axis::J);
    let error = wrong.expect_err("the rank is wrong");
    assert!(matches!(error, LazyError::OutputRank { .. }), "{error}");
    assert!(
        error.to_string().contains("sumsoftmaxweight_logsumexp"),
        "{error}"
    );
}

#[cfg(feature = "autodiff")]
mod gradients {
    use super::*;

    /// A number computed from both results, in one pass or in two.
    fn value(scores: LazyTensor, weights: LazyTensor, once: bool) -> Tensor<1> {
        let (values, logarithms): (Tensor<2>, Tensor<2>) = match once {
            true => scores.sumsoftmaxweight_logsumexp(weights, Axis::J),
            false => (
                scores.sumsoftmaxweight(weights, Axis::J),
                scores.logsumexp(Axis::J),
            ),
        };
        values.sin().sum() + (logarithms.clone() * logarithms).sum()
    }

    #[test]
    fn of_both_results_are_those_of_differences() {
        let mut random = Random::new(14);
        let (x, y, w) = (random.vec(M * 2), random.vec(N * 2), random.vec(N * 3));
        let of = |[x, y, w]: [&[f64]; 3], dtype, device: &Device, once| {
            let points = |values: &[f64], dim| {
                let tensor = tensor(values, [values.len() / dim, dim], dtype, device);
                match device.is_autodiff() {
                    true => tensor.require_grad(),
                    false => tensor,
                }
            };
            let all = [points(x, 2), points(y, 2), points(w, 3)];
            let [x_i, y_j, w_j] = all.clone();
            let scores = LazyTensor::vi(x_i).dot(LazyTensor::vj(y_j)) * 2.0;
            (value(scores, LazyTensor::vj(w_j), once), all)
        };
        let reference = |all: [&[f64]; 3]| {
            let (value, _) = of(all, DType::F64, &reference_device(), false);
            host(value)[0]
        };
        let by = [
            differences(&x, &|x| reference([x, &y, &w])),
            differences(&y, &|y| reference([&x, y, &w])),
            differences(&w, &|w| reference([&x, &y, w])),
        ];
        for (dtype, tolerance) in dtypes() {
            let device = device().autodiff();
            let (value, leaves) = of([&x, &y, &w], dtype, &device, true);
            let gradients = value.backward();
            for (leaf, by) in leaves.iter().zip(&by) {
                let tolerance = (20.0 * tolerance).max(1e-8);
                assert_gradient("both", leaf, &gradients, by, tolerance);
            }
        }
    }

    /// Each result may be used without the other, and a row that is fully masked has no gradient.
    #[test]
    fn of_one_result_and_of_masked_rows_are_those_of_two_reductions() {
        let mut random = Random::new(15);
        let (x, y) = (random.vec(M), random.vec(N));
        let run = |once: bool, which: usize| {
            let device = device().autodiff();
            let leaf = |values: &[f64]| {
                tensor(values, [values.len(), 1], DType::F32, &device).require_grad()
            };
            let (x_i, y_j) = (leaf(&x), leaf(&y));
            let (rows, columns) = (LazyTensor::vi(x_i.clone()), LazyTensor::vj(y_j.clone()));
            let hidden = LazyTensor::row_index().less(2.0);
            let scores = (&rows * &columns).mask_where(hidden, f64::NEG_INFINITY);
            let [values, logarithms]: [Tensor<2>; 2] = match once {
                true => scores.sumsoftmaxweight_logsumexp(&columns, Axis::J).into(),
                false => [
                    scores.sumsoftmaxweight(&columns, Axis::J),
                    scores.logsumexp(Axis::J),
                ],
            };
            let used = [values, logarithms][which].clone();
            // The results of the first rows are not used.
            let gradients = used.narrow(0, 2, M - 2).sin().sum().backward();
            [x_i, y_j].map(|leaf| leaf.grad(&gradients).map(host))
        };
        for which in [0, 1] {
            let (own, want) = (run(true, which), run(false, which));
            for (own, want) in own.into_iter().zip(want) {
                let (own, want) = (own.expect("it is tracked"), want.expect("it is tracked"));
                assert!(own.iter().all(|value| value.is_finite()), "{own:?}");
                assert_close("alone", &own, &want, 1e-5);
            }
        }
    }
}
