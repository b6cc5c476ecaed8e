//! Linear cross-entropy, against Burn's loss of stored logits and sums on the host.

use burn::{
    module::{Module, Param},
    nn::loss::{CrossEntropyLossConfig, Reduction},
    optim::{GradientsParams, SgdConfig},
    prelude::*,
    tensor::{DType, TensorData},
};
use burn_lazy_nn::loss::{LinearCrossEntropyLoss, LinearCrossEntropyLossConfig};

use super::{
    message,
    support::{Random, assert_close, assert_gradient, device, differences, dtypes, host, tensor},
    value,
};

/// Numbers of features. Losses with the first one are computed pair by pair, with the second one by
/// matrix products.
const DIMS: [usize; 2] = [3, 130];
const CLASSES: usize = 6;
const TARGETS: [i64; 5] = [2, -100, 0, 5, 2];

fn ints(values: &[i64]) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &device())
}

/// Configurations without options, with some of them, and with all.
fn configs(dim: usize) -> Vec<LinearCrossEntropyLossConfig> {
    let plain = LinearCrossEntropyLossConfig::new(dim, CLASSES);
    vec![
        plain.clone(),
        plain.clone().with_bias(true),
        plain.clone().with_label_smoothing(0.2),
        plain.clone().with_bias(true).with_label_smoothing(0.2),
        plain
            .clone()
            .with_bias(true)
            .with_softcap(Some(1.5))
            .with_label_smoothing(0.2)
            .with_z_loss(0.1),
    ]
}

/// A loss with the parameters in `values`: the biases of the classes come first, then the weights.
fn with(
    config: &LinearCrossEntropyLossConfig,
    values: &[f64],
    dtype: DType,
    device: &Device,
) -> LinearCrossEntropyLoss {
    let mut loss = config.init(device);
    let dim = config.d_model;
    if config.bias {
        let bias = tensor::<1>(&values[..CLASSES], [CLASSES], dtype, device);
        loss.bias = Some(Param::from_tensor(bias));
    }
    let weight = &values[CLASSES..CLASSES + CLASSES * dim];
    loss.weight = Param::from_tensor(tensor(weight, [CLASSES, dim], dtype, device));
    loss
}

/// The losses of the rows by the formula.
fn expected_rows(config: &LinearCrossEntropyLossConfig, values: &[f64], h: &[f64]) -> Vec<f64> {
    let dim = config.d_model;
    let row = |(h, target): (&[f64], &i64)| {
        let logit = |class: usize| {
            let weight = &values[CLASSES + class * dim..CLASSES + (class + 1) * dim];
            let product: f64 = weight.iter().zip(h).map(|(w, h)| w * h).sum();
            let logit = product + if config.bias { values[class] } else { 0.0 };
            config
                .softcap
                .map_or(logit, |cap| cap * (logit / cap).tanh())
        };
        let logits: Vec<f64> = (0..CLASSES).map(logit).collect();
        let total = logits.iter().map(|own| own.exp()).sum::<f64>().ln();
        let mean = logits.iter().sum::<f64>() / CLASSES as f64;
        let smoothing = config.label_smoothing;
        match usize::try_from(*target) {
            Ok(target) => {
                let own = (1.0 - smoothing) * logits[target] + smoothing * mean;
                total - own + config.z_loss * total * total
            }
            Err(_) => 0.0,
        }
    };
    h.chunks(dim).zip(&TARGETS).map(row).collect()
}

fn random(dim: usize) -> (Vec<f64>, Vec<f64>) {
    let mut random = Random::new(51);
    (
        random.vec(CLASSES + CLASSES * dim),
        random.vec(TARGETS.len() * dim),
    )
}

#[test]
fn values_are_those_of_the_formula() {
    for (dtype, tolerance) in dtypes() {
        let device = device();
        for dim in DIMS {
            let (values, rows) = random(dim);
            for config in configs(dim) {
                let loss = with(&config, &values, dtype, &device);
                let h = || tensor::<2>(&rows, [TARGETS.len(), dim], dtype, &device);
                let expected = expected_rows(&config, &values, &rows);
                let what = format!("{loss} {dtype:?}");
                let tolerance = 10.0 * tolerance;
                let out = loss.forward_no_reduction(h(), ints(&TARGETS));
                assert_close(&what, &host(out), &expected, tolerance);
                let sum: f64 = expected.iter().sum();
                let out = host(loss.forward(h(), ints(&TARGETS), Reduction::Sum));
                assert_close(&what, &out, &[sum], tolerance);
                for reduction in [Reduction::Mean, Reduction::Auto] {
                    let out = host(loss.forward(h(), ints(&TARGETS), reduction));
                    assert_close(&what, &out, &[sum / 4.0], tolerance);
                }
            }
        }
    }
}

#[test]
fn values_and_gradients_are_those_of_burn() {
    for (dtype, tolerance) in dtypes() {
        let device = device().autodiff();
        for dim in DIMS {
            let (values, rows) = random(dim);
            let targets = ints(&[2, 1, 0, 5, 2]);
            for smoothing in [None, Some(0.25)] {
                // Burn computes the smoothed probabilities in F32.
                if smoothing.is_some() && dtype != DType::F32 {
                    continue;
                }
                let config = LinearCrossEntropyLossConfig::new(dim, CLASSES)
                    .with_label_smoothing(smoothing.unwrap_or(0.0).into());
                let loss = with(&config, &values, dtype, &device);
                let h = tensor::<2>(&rows, [5, dim], dtype, &device).require_grad();
                let logits = h.clone().matmul(loss.weight.val().transpose());
                let burn = CrossEntropyLossConfig::new()
                    .with_smoothing(smoothing)
                    .init(&device);
                let expected = burn.forward(logits, targets.clone());
                let out = loss.forward(h.clone(), targets.clone(), Reduction::Mean);
                let what = format!("{dim} {smoothing:?} {dtype:?}");
                let tolerance = 10.0 * tolerance;
                assert_close(
                    &what,
                    &host(out.clone()),
                    &host(expected.clone()),
                    tolerance,
                );
                // If the loss is multiplied by a factor, its gradients are, too.
                let [expected, out] = [expected * 3.0, out * 3.0].map(|loss| loss.backward());
                for leaf in [&h, &loss.weight.val()] {
                    let expected = host(leaf.grad(&expected).expect("it is tracked"));
                    // Burn's own gradients round some factors to F32.
                    assert_gradient(&what, leaf, &out, &expected, tolerance.max(1e-7));
                }
            }
        }
    }
}

#[test]
fn gradients_are_differences() {
    if !dtypes().iter().any(|(dtype, _)| *dtype == DType::F64) {
        return;
    }
    for (dim, is_sum) in [(3, false), (3, true), (130, true)] {
        let (values, rows) = random(dim);
        for config in configs(dim).into_iter().skip(3) {
            let of = |h: Tensor<2>, loss: &LinearCrossEntropyLoss| match is_sum {
                true => loss.forward(h, ints(&TARGETS), Reduction::Sum),
                false => {
                    let factors = tensor(&[1.0, 2.0, 3.0, 4.0, 5.0], [5], DType::F64, &device());
                    (loss.forward_no_reduction(h, ints(&TARGETS)) * factors).sum()
                }
            };
            // The derivatives are by the bias, the first vector of weights and the first row.
            // Everything else stays fixed.
            let at = [&values[..CLASSES + 3], &rows[..3]].concat();
            let parts = |at: &[f64], device: &Device| {
                let (mut values, mut rows) = (values.clone(), rows.clone());
                values[..CLASSES + 3].copy_from_slice(&at[..CLASSES + 3]);
                rows[..3].copy_from_slice(&at[CLASSES + 3..]);
                let h = tensor::<2>(&rows, [5, dim], DType::F64, device);
                (h, with(&config, &values, DType::F64, device))
            };
            let expected = differences(&at, &|at| {
                let (h, loss) = parts(at, &device());
                value(of(h, &loss))
            });
            let (h, loss) = parts(&at, &device().autodiff());
            let h = h.require_grad();
            let gradients = of(h.clone(), &loss).backward();
            let by_bias = loss
                .bias
                .as_ref()
                .expect("it is there")
                .val()
                .grad(&gradients);
            let by_weight = loss.weight.val().grad(&gradients);
            let (by_bias, by_weight) = (by_bias.expect("tracked"), by_weight.expect("tracked"));
            let by_h = host(h.grad(&gradients).expect("tracked"));
            let what = format!("{loss}");
            let own = [&host(by_bias)[..], &host(by_weight)[..3], &by_h[..3]].concat();
            assert_close(&what, &own, &expected, 1e-7);
            // The target of the second row is ignored.
            assert!(by_h[dim..2 * dim].iter().all(|own| *own == 0.0), "{what}");
        }
    }
}

#[test]
fn parts_of_any_size_are_the_whole() {
    let dim = DIMS[1];
    let (values, rows) = random(dim);
    for (dtype, tolerance) in dtypes() {
        let device = device().autodiff();
        for config in configs(dim) {
            let of = |max_logits: Option<usize>| {
                let config = config.clone().with_max_logits(max_logits);
                let loss = with(&config, &values, dtype, &device);
                let h = tensor::<2>(&rows, [5, dim], dtype, &device).require_grad();
                let out = loss.forward(h.clone(), ints(&TARGETS), Reduction::Mean);
                let gradients = out.backward();
                let bias = loss.bias.as_ref().map(|bias| bias.val().grad(&gradients));
                let bias = bias.map_or(vec![], |bias| host(bias.expect("it is tracked")));
                let weight = loss.weight.val().grad(&gradients).expect("it is tracked");
                let h = h.grad(&gradients).expect("it is tracked");
                [host(out), bias, host(weight), host(h)]
            };
            // No stored logits, one row at a time, two of five rows at a time, and all rows.
            let expected = of(Some(0));
            for max_logits in [Some(1), Some(2 * CLASSES), None] {
                let what = format!("{max_logits:?} {dtype:?}");
                for (own, expected) in of(max_logits).iter().zip(&expected) {
                    // Burn rounds the factor of a mean to F32, for label smoothing.
                    assert_close(&what, own, expected, (10.0 * tolerance).max(1e-8));
                }
            }
        }
    }
}

#[test]
fn what_is_not_learned_gets_no_gradient() {
    let device = device().autodiff();
    for dim in DIMS {
        let (values, rows) = random(dim);
        let config = LinearCrossEntropyLossConfig::new(dim, CLASSES).with_bias(true);
        let loss = with(&config, &values, DType::F32, &device);
        let h = tensor::<2>(&rows, [5, dim], DType::F32, &device).require_grad();
        let expected = loss
            .forward(h.clone(), ints(&TARGETS), Reduction::Mean)
            .backward();
        let expected = host(h.grad(&expected).expect("it is tracked"));
        let frozen = loss.clone().no_grad();
        let gradients = frozen
            .forward(h.clone(), ints(&TARGETS), Reduction::Mean)
            .backward();
        assert_gradient("h", &h, &gradients, &expected, 1e-6);
        assert!(frozen.weight.val().grad(&gradients).is_none());

        // The loss without autodiff.
        let valid = loss.valid();
        let out = valid.forward(h.clone().inner(), ints(&TARGETS), Reduction::Mean);
        assert!(!out.is_autodiff());
        let expected = loss.forward(h, ints(&TARGETS), Reduction::Mean);
        assert_close("value", &host(out), &host(expected), 1e-6);
    }
}

#[test]
fn ignored_rows_leave_no_trace() {
    for (dtype, tolerance) in dtypes() {
        let device = device().autodiff();
        for dim in DIMS {
            let (values, mut rows) = random(dim);
            let config = LinearCrossEntropyLossConfig::new(dim, CLASSES).with_bias(true);
            let loss = with(&config, &values, dtype, &device);
            let clean = tensor::<2>(&rows, [5, dim], dtype, &device);
            let expected = loss.forward(clean, ints(&TARGETS), Reduction::Mean);
            rows[dim..2 * dim].fill(f64::NAN);
            let h = tensor::<2>(&rows, [5, dim], dtype, &device).require_grad();
            let out = loss.forward(h.clone(), ints(&TARGETS), Reduction::Mean);
            assert_close("value", &host(out.clone()), &host(expected), tolerance);
            let gradients = out.backward();
            for gradient in [h.grad(&gradients), loss.weight.val().grad(&gradients)] {
                let gradient = host(gradient.expect("it is tracked"));
                assert!(
                    gradient.iter().all(|own| own.is_finite()),
                    "{dim} {dtype:?}"
                );
            }
            // A NaN in a row that counts stays in this row.
            let rows = host(loss.forward_no_reduction(h.clone(), ints(&[0, 1, 2, 3, 4])));
            let is_nan: Vec<bool> = rows.iter().map(|own| own.is_nan()).collect();
            assert_eq!(is_nan, [false, true, false, false, false]);
            // First all rows are ignored, then there are no rows.
            let none = Tensor::<2>::zeros([0, dim], (&device, dtype));
            for h in [h, none] {
                let targets = ints(&vec![-100; h.dims()[0]]);
                let rows = loss.forward_no_reduction(h.clone(), targets.clone());
                assert!(host(rows).iter().all(|own| *own == 0.0));
                let out = loss.forward(h, targets, Reduction::Mean);
                assert_eq!(host(out), [0.0], "{dim} {dtype:?}");
            }
        }
    }
}

#[test]
fn large_logits_layout_and_one_class() {
    for (dtype, tolerance) in dtypes() {
        let device = device();
        for dim in DIMS {
            let (values, rows) = random(dim);
            let config = LinearCrossEntropyLossConfig::new(dim, CLASSES);
            let loss = with(&config, &values, dtype, &device);
            let large: Vec<f64> = rows.iter().map(|own| own * 1e4).collect();
            let h = tensor::<2>(&large, [5, dim], dtype, &device);
            let out = host(loss.forward(h.clone(), ints(&TARGETS), Reduction::Sum));
            let rows_out = host(loss.forward_no_reduction(h, ints(&TARGETS)));
            assert_close("large", &out, &[rows_out.iter().sum()], 10.0 * tolerance);
            assert!(out[0].is_finite());

            let h = tensor::<2>(&rows, [5, dim], dtype, &device);
            let expected = host(loss.forward(h.clone(), ints(&TARGETS), Reduction::Sum));
            let columns = host(h.transpose());
            let transposed = tensor::<2>(&columns, [dim, 5], dtype, &device).transpose();
            let out = host(loss.forward(transposed.clone(), ints(&TARGETS), Reduction::Sum));
            assert_close("transposed", &out, &expected, 10.0 * tolerance);
            let mut reversed = TARGETS;
            reversed.reverse();
            let out = loss.forward(transposed.flip([0]), ints(&reversed), Reduction::Sum);
            assert_close("reversed", &host(out), &expected, 10.0 * tolerance);

            // With one class the target is certain.
            let one = LinearCrossEntropyLossConfig::new(dim, 1).init(&device);
            let h = tensor::<2>(&rows, [5, dim], DType::F32, &device);
            let out = one.forward(h, ints(&[0, 0, 0, -100, 0]), Reduction::Mean);
            assert_close("one class", &host(out), &[0.0], 1e-3);
        }
    }
}

#[test]
fn halves_are_computed_in_f32() {
    let device = device();
    if !device.supports_dtype(DType::F16) {
        return;
    }
    for dim in DIMS {
        let (values, rows) = random(dim);
        let config = LinearCrossEntropyLossConfig::new(dim, CLASSES);
        let loss = with(&config, &values, DType::F32, &device);
        let h = tensor::<2>(&rows, [5, dim], DType::F16, &device);
        let expected = loss.forward(h.clone().cast(DType::F32), ints(&TARGETS), Reduction::Mean);
        let out = loss.forward(h, ints(&TARGETS), Reduction::Mean);
        assert_eq!(out.dtype(), DType::F16);
        assert_close("halves", &host(out), &host(expected), 1e-3);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let device = device();
    let config = || LinearCrossEntropyLossConfig::new(3, 6);
    let loss = config().init(&device);
    let ones = |shape: [usize; 2]| Tensor::<2>::ones(shape, &device);
    let of = |h: Tensor<2>, targets: &[i64]| {
        message(loss.try_forward(h, ints(targets), Reduction::Mean))
    };
    assert_eq!(
        of(ones([2, 4]), &[0, 1]),
        "`h` of shape [2, 4] and `weight` of shape [6, 3] differ in the last dimension"
    );
    assert_eq!(
        of(ones([2, 3]), &[0, 1, 2]),
        "`targets` of shape [3] and `h` of shape [2, 3] differ in the number of rows"
    );
    assert_eq!(
        of(ones([2, 3]), &[-1, 6]),
        "`targets` are from -1 to 6, but there are 6 classes, from 0"
    );
    let batch = loss.try_forward(ones([2, 3]), ints(&[0, 1]), Reduction::BatchMean);
    assert_eq!(
        message(batch),
        "the loss has no reduction BatchMean; it has Mean, Auto and Sum"
    );
    if dtypes().len() > 1 {
        let wide = Tensor::<2>::ones([2, 3], (&device, DType::F64));
        assert_eq!(
            of(wide, &[0, 1]),
            "`h` is of type F64 and `weight` of type F32"
        );
    }
    for (config, expected) in [
        (
            LinearCrossEntropyLossConfig::new(0, 6),
            "`d_model` is 0, but must be more than 0",
        ),
        (
            LinearCrossEntropyLossConfig::new(3, 0),
            "`vocab` is 0, but must be more than 0",
        ),
        (
            config().with_softcap(Some(0.0)),
            "`softcap` is 0, but must be more than 0",
        ),
        (
            config().with_label_smoothing(1.5),
            "`label_smoothing` is 1.5, but must be from 0 to 1",
        ),
        (
            config().with_z_loss(-1.0),
            "`z_loss` is -1, but must be 0 or more",
        ),
    ] {
        assert_eq!(message(config.try_init(&device)), expected);
    }
}

#[test]
fn a_classifier_learns_and_its_record_loads() {
    let device = device().autodiff();
    device.seed(9);
    for dim in DIMS {
        let (_, rows) = random(dim);
        let h = tensor::<2>(&rows, [5, dim], DType::F32, &device);
        let config = LinearCrossEntropyLossConfig::new(dim, CLASSES).with_bias(true);
        let mut loss = config.init(&device);
        let mut optimizer = SgdConfig::new().init();
        let of = |loss: &LinearCrossEntropyLoss| {
            loss.forward(h.clone(), ints(&TARGETS), Reduction::Mean)
        };
        let before = value(of(&loss));
        for _ in 0..5 {
            let gradients = GradientsParams::from_grads(of(&loss).backward(), &loss);
            loss = optimizer.step(0.2, loss, gradients);
        }
        let after = value(of(&loss));
        assert!(after < 0.9 * before, "{dim}: {before} {after}");
        let loaded = config.init(&device).load_record(loss.clone().into_record());
        assert_eq!(value(of(&loaded)), after);
    }
}
