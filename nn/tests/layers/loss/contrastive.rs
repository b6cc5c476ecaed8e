//! Contrastive losses, against SciPy.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    optim::{GradientsParams, SgdConfig},
    prelude::*,
    tensor::{DType, TensorData},
};
use burn_lazy_nn::loss::{ContrastiveLoss, ContrastiveLossConfig};

use super::{
    cloud, message,
    reference::{numbers, read},
    support::{Random, assert_close, assert_gradient, device, differences, dtypes, host, tensor},
    value,
};

fn config(temperature: f64) -> ContrastiveLossConfig {
    ContrastiveLossConfig::new().with_temperature(temperature)
}

fn labels_of(values: &[i64]) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &device())
}

/// The losses of the rows by each method.
fn all_rows(
    loss: &ContrastiveLoss,
    a: &Tensor<2>,
    b: &Tensor<2>,
    labels: &[i64],
) -> [Tensor<1>; 3] {
    [
        loss.forward_no_reduction(a.clone(), b.clone()),
        loss.forward_views_no_reduction(a.clone(), b.clone()),
        loss.forward_labels_no_reduction(a.clone(), labels_of(labels)),
    ]
}

#[test]
fn values_are_those_of_scipy() {
    let data = read("contrastive");
    let labels: Vec<i64> = numbers(&data["labels"])
        .iter()
        .map(|own| *own as i64)
        .collect();
    for (dtype, tolerance) in dtypes() {
        let [a, b] =
            ["a", "b"].map(|name| tensor::<2>(&numbers(&data[name]), [7, 5], dtype, &device()));
        for case in data["cases"].as_array().expect("a list") {
            let temperature = case["temperature"].as_f64().expect("it is there");
            // The error is relative to the largest score, 1 / t.
            let tolerance = 10.0 * tolerance * (1.0 / temperature).max(1.0);
            let check = |name: &str, rows: Tensor<1>, mean: Option<Tensor<1>>| {
                let expected = numbers(&case[name]);
                assert_close(name, &host(rows), &expected, tolerance);
                if let Some(out) = mean {
                    let mean = expected.iter().sum::<f64>() / expected.len() as f64;
                    assert_close(name, &host(out), &[mean], tolerance);
                }
            };
            let loss = config(temperature).init(&device());
            let [both, views, same] = all_rows(&loss, &a, &b, &labels);
            check("both_sides", both, Some(loss.forward(a.clone(), b.clone())));
            check(
                "views",
                views,
                Some(loss.forward_views(a.clone(), b.clone())),
            );
            let mean = loss.forward_labels(a.clone(), labels_of(&labels));
            check("labels", same, Some(mean));
            let loss = config(temperature).with_symmetric(false).init(&device());
            check(
                "one_side",
                loss.forward_no_reduction(a.clone(), b.clone()),
                None,
            );
            if temperature > 0.01 {
                // A learnable temperature gives the same values, except for the rounding of its
                // logarithm.
                let loss = config(temperature).with_learnable(true).init(&device());
                let rows = all_rows(&loss, &a, &b, &labels);
                for (name, rows) in ["both_sides", "views", "labels"].into_iter().zip(rows) {
                    assert_close(
                        name,
                        &host(rows),
                        &numbers(&case[name]),
                        tolerance.max(1e-5),
                    );
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
    let labels = [0, 1, 0, 2];
    let at = cloud(8, 41);
    let parts = |at: &[f64], device: &Device| {
        [0..8, 8..16].map(|range| tensor::<2>(&at[range], [4, 2], DType::F64, device))
    };
    for which in 0..3 {
        let loss = config(0.3).init(&device());
        // Rows have different weights, so that an error in any of them shows.
        let factors: Vec<f64> = (1..=8).map(f64::from).collect();
        let of = |[a, b]: [Tensor<2>; 2]| {
            let [first, second, third] = all_rows(&loss, &a, &b, &labels);
            let rows = [first, second, third][which].clone();
            let count = rows.dims()[0];
            (rows * tensor(&factors[..count], [count], DType::F64, &device())).sum()
        };
        let expected = differences(&at, &|at| value(of(parts(at, &device()))));
        let own = parts(&at, &device().autodiff()).map(Tensor::require_grad);
        let gradients = of(own.clone()).backward();
        assert_gradient("a", &own[0], &gradients, &expected[..8], 1e-8);
        if which < 2 {
            assert_gradient("b", &own[1], &gradients, &expected[8..], 1e-8);
        }
    }
}

/// A loss of pairs of rows.
type Pairs = fn(&ContrastiveLoss, Tensor<2>, Tensor<2>) -> Tensor<1>;

#[test]
fn long_representations_have_the_mean_of_the_losses_of_rows() {
    let dim = 130;
    for (dtype, tolerance) in dtypes() {
        let device = device().autodiff();
        let loss = config(0.3).with_learnable(true);
        let losses: [[Pairs; 2]; 2] = [
            [
                ContrastiveLoss::forward,
                ContrastiveLoss::forward_no_reduction,
            ],
            [
                ContrastiveLoss::forward_views,
                ContrastiveLoss::forward_views_no_reduction,
            ],
        ];
        for (which, is_symmetric) in [(0, true), (0, false), (1, true)] {
            let of = |forward: Pairs, max_logits: Option<usize>| {
                let loss = loss.clone().with_symmetric(is_symmetric);
                let loss = loss.with_max_logits(max_logits).init(&device);
                let leaf = |seed: u64| {
                    let values = Random::new(seed).vec(4 * dim);
                    tensor::<2>(&values, [4, dim], dtype, &device).require_grad()
                };
                let (a, b) = (leaf(61), leaf(62));
                let out = forward(&loss, a.clone(), b.clone()).mean();
                let gradients = out.backward();
                let scale = loss.log_scale.expect("it is learnable").val();
                let scale = scale.grad(&gradients).expect("it is tracked");
                let [a, b] = [a, b].map(|own| host(own.grad(&gradients).expect("it is tracked")));
                [host(out), host(scale), a, b]
            };
            let what = format!("{which} {is_symmetric} {dtype:?}");
            // The gradient of the parameter is in F32, and Burn rounds the factor of a mean to F32.
            let tolerance = (100.0 * tolerance).max(1e-6);
            let [mean, rows] = losses[which];
            let expected = of(rows, Some(0));
            // No stored logits, one row at a time, two or three rows at a time, and all rows.
            for max_logits in [Some(0), Some(1), Some(20), None] {
                for (own, expected) in of(mean, max_logits).iter().zip(&expected) {
                    assert_close(&what, own, expected, tolerance);
                }
            }
        }
    }
}

#[test]
fn the_temperature_gets_its_gradient_and_is_limited() {
    let device = device().autodiff();
    let [a, b] = [42, 43].map(|seed| tensor::<2>(&cloud(5, seed), [5, 2], DType::F32, &device));
    let labels = [0, 1, 0, 1, 1];
    let with = |log_scale: f64, max_scale: f64| {
        let config = config((-log_scale).exp()).with_learnable(true);
        config.with_max_scale(max_scale).init(&device)
    };
    for which in 0..3 {
        let of = |loss: &ContrastiveLoss| all_rows(loss, &a, &b, &labels)[which].clone().mean();
        let loss = with(1.0, 100.0);
        let gradients = of(&loss).backward();
        let scale = loss.log_scale.as_ref().expect("it is learnable").val();
        let [more, less] = [1.01, 0.99].map(|own| value(of(&with(own, 100.0))));
        assert_gradient(
            "log scale",
            &scale,
            &gradients,
            &[(more - less) / 0.02],
            1e-3,
        );

        // Beyond the limit the scale has no gradient.
        let mut limited = with(1.0, 100.0);
        limited = limited.load_record(with(6.0, 1e3).into_record());
        let gradients = of(&limited).backward();
        let scale = limited.log_scale.as_ref().expect("it is learnable").val();
        assert_gradient("limit", &scale, &gradients, &[0.0], 1e-6);
        let fixed = config(0.01).init(&device);
        assert_close("limit", &host(of(&limited)), &host(of(&fixed)), 1e-5);
    }
}

#[test]
fn few_rows_and_labels_have_their_limits() {
    for (dtype, tolerance) in dtypes() {
        let device = device().autodiff();
        let loss = config(0.5).init(&device);
        let one = tensor::<2>(&[0.6, 0.8], [1, 2], dtype, &device).require_grad();
        let other = tensor::<2>(&[1.0, 0.0], [1, 2], dtype, &device);
        // If there is only one row, its partner is certain.
        let [pair, views, same] = all_rows(&loss, &one, &other, &[7]);
        let values = [pair, views, same].map(host);
        assert_close("pair", &values[0], &[0.0], 1e3 * tolerance);
        assert_close("views", &values[1], &[0.0, 0.0], 1e3 * tolerance);
        assert_eq!(values[2], [0.0]);
        let gradients = loss.forward_labels(one.clone(), labels_of(&[7])).backward();
        assert_gradient("alone", &one, &gradients, &[0.0, 0.0], tolerance);

        let z = tensor::<2>(&cloud(4, 44), [4, 2], dtype, &device).require_grad();
        let out = loss.forward_labels(z.clone(), labels_of(&[1, 2, 3, 4]));
        assert_eq!(value(out.clone()), 0.0);
        assert_gradient("all different", &z, &out.backward(), &[0.0; 8], tolerance);
        // If all labels and all rows are equal, each row is as likely as all others.
        let equal = tensor::<2>(&[0.3, 0.4].repeat(4), [4, 2], dtype, &device);
        let out = host(loss.forward_labels(equal, labels_of(&[5; 4])));
        assert_close("all equal", &out, &[3f64.ln()], 10.0 * tolerance);

        // Zero vectors.
        let zero = Tensor::<2>::zeros([3, 2], (&device, dtype)).require_grad();
        let out = loss.forward(zero.clone(), zero.clone().detach());
        assert_close("zeros", &host(out.clone()), &[3f64.ln()], 10.0 * tolerance);
        let gradient = host(zero.grad(&out.backward()).expect("it is tracked"));
        assert!(gradient.iter().all(|own| own.is_finite()), "{gradient:?}");
        // A NaN is not hidden.
        let nan = tensor::<2>(&[f64::NAN, 0.0, 1.0, 1.0], [2, 2], dtype, &device);
        let rows = host(loss.forward_no_reduction(nan.clone(), nan));
        assert!(rows[0].is_nan());
    }
}

#[test]
fn length_order_and_layout_do_not_matter() {
    for (dtype, tolerance) in dtypes() {
        let device = device();
        let loss = config(0.2).init(&device);
        let labels = [0, 1, 0, 1, 1];
        let (a, b) = (cloud(5, 45), cloud(5, 46));
        let of = |values: &[f64], scale: f64| {
            let values: Vec<f64> = values.iter().map(|own| own * scale).collect();
            tensor::<2>(&values, [5, 2], dtype, &device)
        };
        let expected = all_rows(&loss, &of(&a, 1.0), &of(&b, 1.0), &labels).map(host);
        let check = |what: &str, a: Tensor<2>, b: Tensor<2>, labels: &[i64], reversed: bool| {
            let out = all_rows(&loss, &a, &b, labels).map(host);
            for (rows, expected) in out.into_iter().zip(&expected) {
                // The losses of both views come one after the other.
                let mut rows: Vec<Vec<f64>> = rows.chunks(5).map(<[f64]>::to_vec).collect();
                if reversed {
                    rows.iter_mut().for_each(|rows| rows.reverse());
                }
                assert_close(what, &rows.concat(), expected, 100.0 * tolerance);
            }
        };
        for scale in [1e-15, 1e15] {
            check("scaled", of(&a, scale), of(&b, scale), &labels, false);
        }
        let columns = |values: &[f64]| {
            let columns = [0, 1].map(|d| values.chunks(2).map(move |point| point[d]));
            let columns: Vec<f64> = columns.into_iter().flatten().collect();
            tensor::<2>(&columns, [2, 5], dtype, &device).transpose()
        };
        check("transposed", columns(&a), columns(&b), &labels, false);
        let [a, b] = [a, b].map(|values| of(&values, 1.0).flip([0]));
        check("reversed", a, b, &[1, 1, 0, 1, 0], true);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let device = device();
    let loss = config(0.1).init(&device);
    let ones = |shape: [usize; 2]| Tensor::<2>::ones(shape, &device);
    assert_eq!(
        message(loss.try_forward(ones([4, 2]), ones([5, 2]))),
        "`a` of shape [4, 2] and `b` of shape [5, 2] differ in their sizes"
    );
    assert_eq!(
        message(loss.try_forward_views(ones([4, 2]), ones([4, 3]))),
        "`a` of shape [4, 2] and `b` of shape [4, 3] differ in their sizes"
    );
    assert_eq!(
        message(loss.try_forward(ones([0, 2]), ones([0, 2]))),
        "`a` of shape [0, 2] has no rows"
    );
    assert_eq!(
        message(loss.try_forward_labels(ones([0, 2]), labels_of(&[]))),
        "`z` of shape [0, 2] has no rows"
    );
    assert_eq!(
        message(loss.try_forward_labels(ones([4, 2]), labels_of(&[1, 2]))),
        "`labels` of shape [2] and `z` of shape [4, 2] differ in the number of rows"
    );
    let half = Tensor::<2>::ones([4, 2], (&device, DType::F16));
    assert_eq!(
        message(loss.try_forward(ones([4, 2]), half)),
        "`a` is of type F32 and `b` of type F16"
    );
    assert_eq!(
        message(config(0.0).try_init(&device)),
        "`temperature` is 0, but must be more than 0"
    );
    assert_eq!(
        message(config(1e-3).with_learnable(true).try_init(&device)),
        "`temperature` is 0.001, but must be 1 / max_scale or more"
    );
    assert_eq!(
        message(config(0.1).with_max_scale(-1.0).try_init(&device)),
        "`max_scale` is -1, but must be more than 0"
    );
}

/// A model of two views with its loss.
#[derive(Module, Debug)]
struct Model {
    encoder: Linear,
    loss: ContrastiveLoss,
}

impl Model {
    fn new(device: &Device) -> Self {
        Self {
            encoder: LinearConfig::new(4, 3).init(device),
            loss: config(0.2).with_learnable(true).init(device),
        }
    }

    fn forward(&self, a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
        self.loss
            .forward(self.encoder.forward(a), self.encoder.forward(b))
    }
}

#[test]
fn a_model_learns_and_its_record_loads() {
    let device = device().autodiff();
    device.seed(5);
    let [a, noise] =
        [47, 48].map(|seed| tensor::<2>(&cloud(12, seed), [6, 4], DType::F32, &device));
    let b = a.clone() + noise * 0.3;
    let mut model = Model::new(&device);
    let mut optimizer = SgdConfig::new().init();
    let before = value(model.forward(a.clone(), b.clone()));
    for _ in 0..10 {
        let out = model.forward(a.clone(), b.clone());
        let gradients = GradientsParams::from_grads(out.backward(), &model);
        model = optimizer.step(0.3, model, gradients);
    }
    let after = value(model.forward(a.clone(), b.clone()));
    assert!(after < 0.9 * before, "{before} {after}");
    let scale = |model: &Model| host(model.loss.log_scale.as_ref().expect("it is there").val());
    assert_ne!(scale(&model), scale(&Model::new(&device)));
    let loaded = Model::new(&device).load_record(model.clone().into_record());
    assert_eq!(scale(&loaded), scale(&model));
    assert_eq!(value(loaded.forward(a, b)), after);
}
