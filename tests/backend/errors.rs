//! Wrong input gives an error that names operands, shapes and the formula. In panicking forms it
//! gives a panic at the line of the caller.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Mutex,
};

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axis, LazyError, LazyTensor};

use super::support::*;

fn zeros<const R: usize>(shape: [usize; R]) -> Tensor<R> {
    Tensor::zeros(shape, &device())
}

/// Asserts that the text of an error contains all `parts`.
#[track_caller]
fn assert_says(error: LazyError, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn wrong_ranks_and_empty_inner_axes_are_named() {
    let error = LazyTensor::try_vi(zeros([3])).unwrap_err();
    assert!(matches!(error, LazyError::Rank { .. }));
    assert_says(error, &["i-variable", "[.., M, D]", "[3]"]);
    let error = LazyTensor::try_vj(zeros([3])).unwrap_err();
    assert_says(error, &["j-variable", "[.., N, D]", "[3]"]);
    let error = LazyTensor::try_vi(zeros([3, 0])).unwrap_err();
    assert!(matches!(error, LazyError::EmptyInnerAxis { .. }));
    assert_says(error, &["i-variable", "[3, 0]"]);
}

#[test]
fn inner_dimensions_that_do_not_fit_are_named() {
    let x = LazyTensor::vi(zeros([10, 3]));
    let y = LazyTensor::vj(zeros([20, 2]));
    for error in [
        x.try_sub(&y).unwrap_err(),
        x.try_sqdist(&y).unwrap_err(),
        x.try_dot(&y).unwrap_err(),
        x.try_apply(burn_lazy::ScalarOp::Maximum, &y).unwrap_err(),
        (&x * &x).try_grad(&x, &y).unwrap_err(),
    ] {
        assert!(matches!(error, LazyError::Dimension { dims: [3, 2], .. }));
        assert_says(
            error,
            &["3 and 2", "x0", "[10, 3]", "y0", "[20, 2]", "(1, 20, 2)"],
        );
    }
    // A single component fits every operation except a dot product.
    assert!(x.try_mul(y.elem(0)).is_ok());
    assert!(x.try_dot(y.elem(0)).is_err());
}

#[test]
fn sizes_that_differ_are_named() {
    let x = LazyTensor::vi(zeros([10, 3]));
    let z = LazyTensor::vi(zeros([12, 3]));
    let error = (x.exp()).try_add(&z).unwrap_err();
    assert!(matches!(error, LazyError::Size { axis: Axis::I, .. }));
    assert_says(
        error,
        &[
            "`x0` of shape [10, 3]",
            "`x1` of shape [12, 3]",
            "M = 10",
            "M = 12",
            "(exp(x0) + x1)",
        ],
    );
    let k = x.sqdist(LazyTensor::vj(zeros([5, 3])));
    let error = k.try_matmul(zeros([6, 2])).unwrap_err();
    assert!(matches!(error, LazyError::Size { axis: Axis::J, .. }));
    assert_says(
        error,
        &[
            "`y0` of shape [5, 3]",
            "`y1` of shape [6, 2]",
            "N = 5",
            "N = 6",
        ],
    );
}

#[test]
fn batches_that_do_not_broadcast_are_named() {
    let x = LazyTensor::vi(zeros([2, 10, 3]));
    let y = LazyTensor::vj(zeros([3, 20, 3]));
    let error = x.try_sub(&y).unwrap_err();
    assert!(matches!(error, LazyError::Batch(_)));
    assert_says(
        error,
        &[
            "`x0` of shape [2, 10, 3]",
            "`y0` of shape [3, 20, 3]",
            "[2]",
            "(x0 - y0)",
        ],
    );
    let p = LazyTensor::pm(zeros([3, 3]));
    assert!(matches!(x.try_mul(p).unwrap_err(), LazyError::Batch(_)));
}

#[test]
fn types_that_differ_or_are_unsupported_are_named() {
    let x = LazyTensor::vi(zeros([10, 3]));
    let double = tensor(&[0.0; 6], [2, 3], DType::F64, &device());
    let error = x.try_sub(LazyTensor::vj(double)).unwrap_err();
    assert!(matches!(error, LazyError::MixedDtypes(_)));
    assert_says(
        error,
        &[
            "`x0` of shape [10, 3]",
            "F32",
            "`y0` of shape [2, 3]",
            "F64",
            "(x0 - y0)",
        ],
    );
}

#[cfg(all(feature = "cpu", feature = "wgpu"))]
#[test]
fn devices_that_differ_are_named() {
    let x = LazyTensor::vi(Tensor::<2>::zeros([10, 3], &Device::cpu()));
    let y = LazyTensor::vj(Tensor::<2>::zeros(
        [20, 3],
        &Device::wgpu(Default::default()),
    ));
    let error = x.try_sub(&y).unwrap_err();
    assert!(matches!(error, LazyError::MixedDevices(_)));
    assert_says(
        error,
        &[
            "`x0` of shape [10, 3]",
            "Cpu",
            "`y0` of shape [20, 3]",
            "Wgpu",
        ],
    );
}

#[cfg(feature = "wgpu")]
#[test]
fn doubles_are_refused_on_wgpu() {
    let device = Device::wgpu(Default::default());
    if !device.supports_dtype(DType::F64) {
        return skipped("the adapter has no F64");
    }
    let x = tensor(&[0.0; 6], [2, 3], DType::F64, &device);
    let error = LazyTensor::vi(x.clone())
        .sqdist(LazyTensor::vj(x))
        .try_sum::<2>(Axis::J);
    assert_says(
        error.unwrap_err(),
        &["F64", "wgpu", "sum(square((x0 - y0)))", "[2, 3]"],
    );
}

#[test]
fn slices_out_of_range_are_named() {
    let x = LazyTensor::vi(zeros([10, 3]));
    #[allow(clippy::reversed_empty_ranges)] // It must be refused.
    for range in [2..5, 3..4, 1..1, 2..1] {
        let error = x.try_slice(range).unwrap_err();
        assert!(matches!(error, LazyError::Slice { dim: 3, .. }));
        assert_says(error, &["x0", "[10, 3]", "the 3"]);
    }
    assert!(x.try_elem(3).is_err());
    assert!(x.try_elem(usize::MAX).is_err());
    assert!(matches!(
        LazyTensor::try_concat(&[]).unwrap_err(),
        LazyError::EmptyConcat
    ));
}

#[test]
fn impossible_reductions_are_named() {
    let x = LazyTensor::vi(zeros([10, 3]));
    let y = LazyTensor::vj(zeros([20, 3]));
    let error = (&x - &y).try_matmul(zeros([20, 1])).unwrap_err();
    assert!(matches!(error, LazyError::NotScalar { .. }));
    assert_says(error, &["matmul", "(x0 - y0)", "(10, 20, 3)"]);
    let error = x.try_sum::<2>(Axis::J).unwrap_err();
    assert!(matches!(
        error,
        LazyError::MissingAxis { axis: Axis::J, .. }
    ));
    assert_says(error, &["axis j", "x0", "[10, 3]"]);
    let error = (&x - &y).try_sum::<3>(Axis::J).unwrap_err();
    assert!(matches!(error, LazyError::OutputRank { rank: 3, .. }));
    assert_says(error, &["[10, 3]", "3 dimensions", "(x0 - y0)"]);
    let error = (&x - &y).try_grad(&(&x * 2.0), &x).unwrap_err();
    assert!(matches!(error, LazyError::NotAnOperand(_)));
    assert_says(error, &["(x0 * 2)"]);
}

#[test]
fn formulas_without_end_are_refused() {
    let x = LazyTensor::vi(zeros([2, 1]));
    let mut deep = x.clone();
    let error = loop {
        match deep.try_mul(&x) {
            Ok(next) => deep = next,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LazyError::TooDeep { .. }));
    // The text of shared squares is exponentially long, so it is cut.
    let mut tower = x.clone();
    for _ in 0..100 {
        tower = &tower * &tower;
    }
    assert!(tower.to_string().len() < 5000);
}

#[cfg(feature = "autodiff")]
#[test]
fn too_many_tracked_operands_are_refused() {
    let device = device().autodiff();
    let mut all = LazyTensor::vj(Tensor::<2>::zeros([2, 1], &device));
    for _ in 0..16 {
        all = all + LazyTensor::vi(Tensor::<2>::zeros([3, 1], &device));
    }
    let error = all.try_sum::<2>(Axis::J).unwrap_err();
    assert!(matches!(
        error,
        LazyError::TooManyOperands { count: 17, .. }
    ));
}

/// The place that the panic of `f` reports, and its message.
fn panic_of(f: impl FnOnce()) -> (String, String) {
    static HOOK: Mutex<()> = Mutex::new(());
    static PLACE: Mutex<Option<String>> = Mutex::new(None);
    let _one_at_a_time = HOOK.lock().unwrap_or_else(|e| e.into_inner());
    let thread = std::thread::current().id();
    let old = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == thread {
            *PLACE.lock().unwrap() = info
                .location()
                .map(|l| format!("{}:{}", l.file(), l.line()));
        }
    }));
    let payload = panic::catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
    panic::set_hook(old);
    let text = payload
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_default();
    (PLACE.lock().unwrap().take().unwrap_or_default(), text)
}

#[test]
fn short_forms_panic_at_the_line_of_the_caller() {
    let x = LazyTensor::vi(zeros([10, 3]));
    let y = LazyTensor::vj(zeros([20, 2]));
    macro_rules! assert_panics_here {
        ($call:expr, $error:expr) => {{
            let (place, text) = panic_of(|| drop($call));
            let (file, line) = place.rsplit_once(':').unwrap();
            assert_eq!(file, file!());
            // The arguments of the macro may be on the line below its name.
            let below = line.parse::<u32>().unwrap() - line!();
            assert!(below <= 1, "{place} is not the line of the call");
            assert_eq!(text, $error.to_string());
        }};
    }
    assert_panics_here!(&x - &y, x.try_sub(&y).unwrap_err());
    assert_panics_here!(x.clone() | y.clone(), x.try_dot(&y).unwrap_err());
    assert_panics_here!(x.sqdist(&y), x.try_sqdist(&y).unwrap_err());
    assert_panics_here!(
        x.maximum(&y),
        x.try_apply(burn_lazy::ScalarOp::Maximum, &y).unwrap_err()
    );
    assert_panics_here!(x.slice(2..4), x.try_slice(2..4).unwrap_err());
    assert_panics_here!(x.sum::<2>(Axis::J), x.try_sum::<2>(Axis::J).unwrap_err());
    assert_panics_here!(
        x.matmul(zeros([20, 1])),
        x.try_matmul(zeros([20, 1])).unwrap_err()
    );
    assert_panics_here!(
        LazyTensor::vi(zeros([3])),
        LazyTensor::try_vi(zeros([3])).unwrap_err()
    );
}

/// The tensors that the backward pass reads in addition to the operands must fit, too. Either the
/// forward pass gives an error, or there are gradients.
#[cfg(feature = "autodiff")]
#[test]
fn gradients_of_too_many_tensors_are_errors_of_the_forward_pass() {
    let device = device().autodiff();
    let mut refused = 0;
    for count in [2, 5, 6, 7, 8, 9, 10, 14, 15, 16] {
        let tensors: Vec<Tensor<2>> = (0..count)
            .map(|_| Tensor::ones([3, 1], (&device, DType::F32)).require_grad())
            .collect();
        let product = |tensors: &[Tensor<2>]| {
            let rows = tensors[1..].iter().cloned().map(LazyTensor::vi);
            rows.fold(LazyTensor::vj(tensors[0].clone()), |product, row| {
                product * row
            })
        };
        match product(&tensors).try_sum::<2>(Axis::J) {
            Ok(sum) => {
                let gradients = sum.sum().backward();
                let gradient = tensors[count - 1].grad(&gradients).expect("it is tracked");
                assert_eq!(host(gradient), [3.0; 3], "{count} tensors");
            }
            Err(LazyError::Launch { error, .. }) => {
                assert!(error.to_string().contains("tensors"), "{error}");
                refused += 1;
            }
            Err(error) => panic!("{count} tensors: {error}"),
        }
    }
    println!("{refused} refused");
}
