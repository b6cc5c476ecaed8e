//! The losses between samples: equal clouds, sizes, errors, records and training.

use burn::{
    module::{Module, Param},
    optim::{GradientsParams, SgdConfig},
    prelude::*,
    tensor::DType,
};
use burn_lazy::Axis;
use burn_lazy_nn::loss::{Cloud, Divergence, SamplesLoss, SamplesLossConfig};

use super::{
    cloud, message,
    reference::{numbers, read},
    support::{assert_close, device, dtypes, host, tensor},
    value,
};

/// One loss of each kind.
fn all_kinds() -> Vec<SamplesLoss> {
    let configs = [
        SamplesLossConfig::sinkhorn().with_blur(0.2),
        SamplesLossConfig::sinkhorn()
            .with_p(1.0)
            .with_blur(0.2)
            .with_reach(Some(0.7)),
        SamplesLossConfig::hausdorff(2.0, 0.2),
        SamplesLossConfig::gaussian(0.4),
        SamplesLossConfig::laplacian(0.4),
        SamplesLossConfig::energy(),
    ];
    configs.map(|config| config.init()).into()
}

#[test]
fn order_and_layout_do_not_matter() {
    for (dtype, tolerance) in dtypes() {
        let device = device();
        let (x, y) = (cloud(6, 5), cloud(5, 6));
        let y = tensor::<2>(&y, [5, 2], dtype, &device);
        let reversed: Vec<f64> = x.chunks(2).rev().flatten().copied().collect();
        let columns: Vec<f64> = [0, 1]
            .iter()
            .flat_map(|d| x.chunks(2).map(move |point| point[*d]))
            .collect();
        for loss in all_kinds() {
            let expected = host(loss.forward(tensor(&x, [6, 2], dtype, &device), y.clone()));
            let transposed = tensor::<2>(&columns, [2, 6], dtype, &device).transpose();
            let what = format!("{loss} {dtype:?}");
            let own = host(loss.forward(transposed, y.clone()));
            assert_close(&what, &own, &expected, 10.0 * tolerance);
            let own = host(loss.forward(tensor(&reversed, [6, 2], dtype, &device), y.clone()));
            assert_close(&what, &own, &expected, 10.0 * tolerance);
            // The loss with both clouds exchanged.
            let own = host(loss.forward(y.clone(), tensor(&x, [6, 2], dtype, &device)));
            assert_close(&what, &own, &expected, 10.0 * tolerance);
        }
    }
}

#[test]
fn equal_clouds_have_the_loss_0() {
    for (dtype, tolerance) in dtypes() {
        let device = device().autodiff();
        let values = cloud(6, 7);
        let duplicates = [1.0, 2.0].repeat(4);
        for loss in all_kinds() {
            for values in [&values, &duplicates, &vec![0.3, 0.4]] {
                let shape = [values.len() / 2, 2];
                let x = tensor::<2>(values, shape, dtype, &device).require_grad();
                let out = loss.forward(x.clone(), x.clone().detach());
                let what = format!("{loss} {dtype:?}");
                assert_eq!(value(out.clone()), 0.0, "{what}");
                let gradients = out.backward();
                let gradient = host(x.grad(&gradients).expect("it is tracked"));
                let largest = gradient.iter().fold(0.0f64, |max, own| max.max(own.abs()));
                assert!(largest <= tolerance, "{what}: {gradient:?}");
            }
        }
    }
}

#[test]
fn an_empty_batch_has_no_losses() {
    let batch = |count: usize| Tensor::<3>::zeros([0, count, 2], &device());
    for loss in all_kinds() {
        let out = loss.forward_batch(batch(3), batch(2));
        assert!(host(out).is_empty(), "{loss}");
    }
}

#[test]
fn points_far_away_large_and_tiny_lose_nothing() {
    let data = read("samples_loss");
    for (dtype, tolerance) in dtypes() {
        let device = device();
        // The coordinates have few bits, so that they stay the same far from 0.
        let few_bits = |own: &f64| (own * 1024.0).round() / 1024.0;
        let [x, y] = ["x", "y"].map(|name| {
            let values = numbers(&data[name]);
            values.iter().map(few_bits).collect::<Vec<f64>>()
        });
        // The points are moved by `shift` and multiplied by `scale`.
        let loss = |p: f64, is_unbalanced: bool, [shift, scale]: [f64; 2]| {
            let config = SamplesLossConfig::sinkhorn()
                .with_p(p)
                .with_blur(0.1 * scale)
                .with_reach(is_unbalanced.then_some(0.5 * scale));
            let points = |values: &[f64]| {
                let values: Vec<f64> = values.iter().map(|own| (own + shift) * scale).collect();
                tensor::<2>(&values, [values.len() / 2, 2], dtype, &device)
            };
            value(config.init().forward(points(&x), points(&y)))
        };
        for (p, is_unbalanced) in [(1.0, false), (2.0, false), (1.0, true), (2.0, true)] {
            let expected = [loss(p, is_unbalanced, [0.0, 1.0])];
            let what = format!("{dtype:?} {p} {is_unbalanced}");
            let far = loss(p, is_unbalanced, [1024.0, 1.0]);
            assert_close(&what, &[far], &expected, 10.0 * tolerance);
            // The squared distances are beyond the range of F32, but the loss is not.
            for scale in if p == 1.0 {
                [1e-25f64, 1e25]
            } else {
                [1e-15, 1e15]
            } {
                let scaled = loss(p, is_unbalanced, [0.0, scale]) / scale.powf(p);
                assert_close(&what, &[scaled], &expected, 100.0 * tolerance);
            }
        }
    }
}

#[test]
fn one_point_goes_to_another_by_the_distance() {
    for (dtype, tolerance) in dtypes() {
        let device = device();
        let point = |at: [f64; 2]| tensor::<2>(&at, [1, 2], dtype, &device);
        for (p, expected) in [(1.0, 5.0), (2.0, 12.5), (3.0, 125.0 / 3.0)] {
            let loss = SamplesLossConfig::sinkhorn().with_p(p).init();
            let out = value(loss.forward(point([0.0, 0.0]), point([3.0, 4.0])));
            assert_close("distance", &[out], &[expected], 10.0 * tolerance);
        }
        // If the blur is larger than the diameter, there is one step.
        let loss = SamplesLossConfig::sinkhorn().with_blur(1e3).init();
        let out = value(loss.forward(point([0.0, 0.0]), point([3.0, 4.0])));
        assert_close("one step", &[out], &[12.5], 100.0 * tolerance);
    }
}

#[test]
fn a_plan_has_the_masses_of_both_sides() {
    for (dtype, tolerance) in dtypes() {
        let device = device();
        let a = tensor::<1>(&[0.25, 0.0, 0.5, 0.125, 0.125], [5], dtype, &device);
        let b = tensor::<1>(&[0.5, 0.25, 0.25, 0.0], [4], dtype, &device);
        let (mut x, mut y) = (cloud(5, 8), cloud(4, 9));
        // The points without mass are so far away that the exponential for a pair of them is beyond
        // the range of F32.
        x[2..4].fill(4.0);
        y[6..8].fill(4.0);
        let x = tensor::<2>(&x, [5, 2], dtype, &device);
        let y = tensor::<2>(&y, [4, 2], dtype, &device);
        let loss = SamplesLossConfig::sinkhorn()
            .with_blur(0.3)
            .with_scaling(0.99)
            .init();
        let transport = loss.solve(a.clone(), x.clone(), b.clone(), y.clone());
        let rows: Tensor<2> = transport.plan().sum(Axis::J);
        let columns: Tensor<2> = transport.plan().sum(Axis::I);
        assert_close("rows", &host(rows), &host(a.clone()), 100.0 * tolerance);
        assert_close("columns", &host(columns), &host(b.clone()), 5e-2);
        // The entries of the plan follow from the potentials.
        let dense: Tensor<3> = transport.plan().dense();
        let (f, g) = (host(transport.f.clone()), host(transport.g.clone()));
        let (a, b, x, y) = (host(a), host(b), host(x), host(y));
        let expected: Vec<f64> = (0..20)
            .map(|k| {
                let (i, j) = (k / 4, k % 4);
                let square = (0..2).map(|d| (x[2 * i + d] - y[2 * j + d]).powi(2));
                let cost = square.sum::<f64>() / 2.0;
                a[i] * b[j] * ((f[i] + g[j] - cost) / 0.09).exp()
            })
            .collect();
        assert_close("entries", &host(dense), &expected, 100.0 * tolerance);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let device = device();
    let ones = |shape: [usize; 2]| Tensor::<2>::ones(shape, &device);
    let vector = |values: &[f64]| tensor::<1>(values, [values.len()], DType::F32, &device);
    let loss = SamplesLossConfig::sinkhorn().init();
    assert_eq!(
        message(loss.try_forward(ones([4, 2]), ones([5, 3]))),
        "`x` of shape [4, 2] and `y` of shape [5, 3] differ in the dimension of points, the last one"
    );
    assert_eq!(
        message(loss.try_forward(ones([0, 2]), ones([5, 2]))),
        "`x` of shape [0, 2] has no points"
    );
    assert_eq!(
        message(loss.try_forward(ones([1, 2]), ones([0, 2]))),
        "`y` of shape [0, 2] has no points"
    );
    let batch = |count: usize| Tensor::<3>::ones([count, 4, 2], &device);
    assert_eq!(
        message(loss.try_forward_batch(batch(2), batch(3))),
        "`x` of shape [2, 4, 2] and `y` of shape [3, 4, 2] differ in the dimensions of the batch"
    );
    let weighted = |a: &[f64], b: &[f64]| {
        loss.try_forward_weighted(vector(a), ones([2, 1]), vector(b), ones([2, 1]))
    };
    assert_eq!(
        message(weighted(&[0.5, 0.25, 0.25], &[0.5, 0.5])),
        "`weights of x` of shape [3, 1] and `x` of shape [2, 1] differ in the number of points"
    );
    assert_eq!(
        message(weighted(&[0.5, 0.5], &[1.5, 0.5])),
        "the weights of `x` have the sum 1 and those of `y` the sum 2, in the batch 0: balanced transport needs equal \
         sums; set `reach` for unbalanced transport"
    );
    assert_eq!(
        message(weighted(&[1.5, -0.5], &[0.5, 0.5])),
        "the weights of `x` have the sum 1 and the least value -0.5, in the batch 0: they have to be 0 or more, with \
         a positive sum"
    );
    assert_eq!(
        message(weighted(&[0.5, 0.5], &[0.0, 0.0])),
        "the weights of `y` have the sum 0 and the least value 0, in the batch 0: they have to be 0 or more, with a \
         positive sum"
    );
    for wrong in [f64::NAN, f64::INFINITY] {
        let x = tensor::<2>(&[0.0, wrong], [2, 1], DType::F32, &device);
        assert_eq!(
            message(loss.try_forward(x, ones([3, 1]))),
            "`x` of shape [2, 1] or `y` of shape [3, 1] holds values that are not finite"
        );
    }
    let padding = Tensor::<2, Bool>::from_data([[false, true], [true, true]], &device);
    let padded = Cloud::new(Tensor::<3>::ones([2, 2, 1], &device)).with_padding(padding);
    assert_eq!(
        message(loss.try_forward_clouds(&padded, &Cloud::new(Tensor::ones([2, 2, 1], &device)))),
        "all points of `x` in the batch 1 are padding"
    );
    let kernel = SamplesLossConfig::energy().init();
    let halves = || vector(&[0.5, 0.5]);
    assert_eq!(
        message(kernel.try_solve(halves(), ones([2, 1]), halves(), ones([2, 1]))),
        "`divergence` is \"Energy\", but must be Sinkhorn, as the others transport nothing"
    );
}

#[test]
fn halves_are_computed_in_f32() {
    let device = device();
    if !device.supports_dtype(DType::F16) {
        return;
    }
    let [x, y] = [13, 14].map(|seed| tensor::<2>(&cloud(5, seed), [5, 2], DType::F16, &device));
    let single = |points: &Tensor<2>| points.clone().cast(DType::F32);
    for loss in all_kinds() {
        let expected = host(loss.forward(single(&x), single(&y)));
        let out = loss.forward(x.clone(), y.clone());
        assert_eq!(out.dtype(), DType::F16, "{loss}");
        assert_close(&format!("{loss}"), &host(out), &expected, 1e-3);
    }
    let weights = Tensor::<1>::full([5], 0.2, (&device, DType::F16));
    let loss = SamplesLossConfig::sinkhorn().init();
    let transport = loss.solve(weights.clone(), x, weights, y);
    assert_eq!(transport.f.dtype(), DType::F16);
    let masses: Tensor<2> = transport.plan().sum(Axis::J);
    assert_eq!(masses.dtype(), DType::F32);
    assert_close("masses", &host(masses), &[0.2; 5], 1e-3);
}

#[test]
fn settings_out_of_their_range_are_named() {
    let config = SamplesLossConfig::sinkhorn;
    for (config, expected) in [
        (config().with_p(0.5), "`p` is 0.5, but must be 1 or more"),
        (
            config().with_blur(0.0),
            "`blur` is 0, but must be more than 0",
        ),
        (
            config().with_scaling(1.0),
            "`scaling` is 1, but must be between 0 and 1",
        ),
        (
            config().with_reach(Some(-1.0)),
            "`reach` is -1, but must be more than 0",
        ),
        (
            config().with_diameter(Some(f64::NAN)),
            "`diameter` is NaN, but must be more than 0",
        ),
        (
            SamplesLossConfig::energy().with_reach(Some(1.0)),
            "`reach` is 1, but must be without value but for Sinkhorn",
        ),
    ] {
        assert_eq!(message(config.try_init()), expected);
    }
}

/// A model whose parameters are points.
#[derive(Module, Debug)]
struct Points {
    at: Param<Tensor<2>>,
    loss: SamplesLoss,
}

#[test]
fn points_flow_to_others_and_records_load() {
    let device = device().autodiff();
    let target = tensor::<2>(&cloud(8, 11), [8, 2], DType::F32, &device);
    for loss in [
        SamplesLossConfig::sinkhorn().with_blur(0.1).init(),
        SamplesLossConfig::energy().init(),
    ] {
        let start: Tensor<2> = tensor(&cloud(8, 12), [8, 2], DType::F32, &device) + 1.0;
        let mut points = Points {
            at: Param::from_tensor(start),
            loss,
        };
        let mut optimizer = SgdConfig::new().init();
        let mut values = vec![];
        for _ in 0..5 {
            let loss = points.loss.forward(points.at.val(), target.clone());
            values.push(value(loss.clone()));
            let gradients = GradientsParams::from_grads(loss.backward(), &points);
            // The gradient by a point contains the weight 1/8 of the point.
            points = optimizer.step(6.0, points, gradients);
        }
        assert!(values[4] < 0.2 * values[0], "{values:?}");
        let fresh = Points {
            at: Param::from_tensor(Tensor::zeros([8, 2], &device)),
            loss: points.loss.clone(),
        };
        let loaded = fresh.load_record(points.clone().into_record());
        let out = |points: &Points| host(points.loss.forward(points.at.val(), target.clone()));
        assert_eq!(out(&loaded), out(&points));
    }
}

#[test]
fn a_configuration_is_saved_as_text() {
    let config = SamplesLossConfig::hausdorff(1.0, 0.2).with_scaling(0.7);
    let text = serde_json::to_string(&config).expect("it is text");
    let loaded: SamplesLossConfig = serde_json::from_str(&text).expect("it is a configuration");
    assert_eq!(loaded.divergence, Divergence::Hausdorff);
    assert_eq!((loaded.p, loaded.blur, loaded.scaling), (1.0, 0.2, 0.7));
}
