//! The losses between samples, against values of NumPy and POT.

use burn::{
    prelude::*,
    tensor::{DType, TensorData},
};
use burn_lazy_nn::loss::{Cloud, SamplesLoss, SamplesLossConfig};
use serde_json::Value;

use super::{
    cloud,
    reference::{numbers, read},
    support::{assert_close, assert_gradient, device, differences, dtypes, host, tensor},
    value,
};

/// Measures of 12 and 10 points in the plane.
struct Measures {
    a: Tensor<1>,
    x: Tensor<2>,
    b: Tensor<1>,
    y: Tensor<2>,
}

impl Measures {
    fn of(points: &Value, weights: &Value, dtype: DType) -> Self {
        let device = device().autodiff();
        let cloud = |name: &str, count: usize| {
            let values = numbers(&points[name])[..2 * count].to_vec();
            tensor::<2>(&values, [count, 2], dtype, &device).require_grad()
        };
        let masses = |name: &str| {
            let values = numbers(&weights[name]);
            tensor::<1>(&values, [values.len()], dtype, &device).require_grad()
        };
        let (a, b) = (masses("a"), masses("b"));
        let (x, y) = (cloud("x", a.dims()[0]), cloud("y", b.dims()[0]));
        Self { a, x, b, y }
    }

    fn loss(&self, loss: &SamplesLoss) -> Tensor<1> {
        let (a, b) = (self.a.clone(), self.b.clone());
        loss.forward_weighted(a, self.x.clone(), b, self.y.clone())
    }
}

fn configured(case: &Value) -> SamplesLossConfig {
    let number = |name: &str| case[name].as_f64();
    SamplesLossConfig::sinkhorn()
        .with_p(number("p").expect("it is there"))
        .with_blur(number("blur").expect("it is there"))
        .with_reach(number("reach"))
        .with_debias(case["debias"].as_bool().expect("it is there"))
}

#[test]
fn values_gradients_and_potentials_are_those_of_the_algorithm() {
    let data = read("samples_loss");
    for (dtype, tolerance) in dtypes() {
        for case in data["steps"].as_array().expect("a list") {
            let scaling = case["scaling"].as_f64().expect("it is there");
            let loss = configured(case).with_scaling(scaling).init();
            let measures = Measures::of(&data, case, dtype);
            let out = measures.loss(&loss);
            let what = format!("{loss} {dtype:?}");
            // The loss is a difference of larger potentials, so its relative error is larger.
            let tolerance = 10.0 * tolerance;
            assert_close(
                &what,
                &host(out.clone()),
                &numbers(&case["value"]),
                tolerance,
            );
            let gradients = out.backward();
            let expected = case["gradients"].as_array().expect("a list");
            let expected: Vec<Vec<f64>> = expected.iter().map(numbers).collect();
            assert_gradient(&what, &measures.x, &gradients, &expected[0], tolerance);
            assert_gradient(&what, &measures.y, &gradients, &expected[1], tolerance);
            assert_gradient(&what, &measures.a, &gradients, &expected[2], tolerance);
            assert_gradient(&what, &measures.b, &gradients, &expected[3], tolerance);

            let Measures { a, x, b, y } = measures;
            let transport = loss.solve(a, x, b, y);
            assert_close(
                &what,
                &host(transport.value),
                &numbers(&case["value"]),
                tolerance,
            );
            for (own, expected) in [transport.f, transport.g].into_iter().zip(0..) {
                let expected = numbers(&case["potentials"][expected]);
                assert_close(&what, &host(own), &expected, tolerance);
            }
        }
    }
}

#[test]
fn the_limit_is_the_least_cost_of_the_primal_problem() {
    let data = read("samples_loss");
    let (dtype, _) = dtypes()[dtypes().len() - 1];
    for case in data["limits"].as_array().expect("a list") {
        let loss = configured(case).with_scaling(0.99).init();
        let measures = Measures::of(&data, case, dtype);
        let out = measures.loss(&loss);
        let what = format!("{loss}");
        let expected = numbers(&case["value"]);
        assert_close(&what, &host(out.clone()), &expected, 1e-2);
        let gradients = out.backward();
        let expected = numbers(&case["gradient"]);
        assert_gradient(&what, &measures.x, &gradients, &expected, 1e-2);
        if !case["weights"].is_null() {
            let expected = numbers(&case["weights"]);
            assert_gradient(&what, &measures.a, &gradients, &expected, 1e-2);
        }
    }
}

#[test]
fn the_limit_is_that_of_pot_and_values_those_of_the_schedule() {
    let data = read("samples_loss");
    let fraction = |value: f64| value - value.floor();
    let point = |k: usize, shift: [f64; 2]| {
        let steps = [0.7548776662466927, 0.5698402909980532];
        [0, 1].map(|d| fraction(k as f64 * steps[d] + shift[d]))
    };
    let x: Vec<f64> = (1..=60).flat_map(|k| point(k, [0.0, 0.0])).collect();
    let y = (1..=50).flat_map(|k| point(k, [0.25, 0.5]));
    let y: Vec<f64> = y.map(|value| 0.6 * value + 0.3).collect();
    for (dtype, tolerance) in dtypes() {
        let cloud = |values: &[f64]| tensor(values, [values.len() / 2, 2], dtype, &device());
        let loss = |scaling: f64| {
            let loss = SamplesLossConfig::sinkhorn().with_scaling(scaling).init();
            host(loss.forward(cloud(&x), cloud(&y)))
        };
        // Ten digits of the expected values are known.
        let tolerance = (1e3 * tolerance).max(1e-8);
        assert_close("half", &loss(0.5), &[0.0211923415], tolerance);
        assert_close("nine tenths", &loss(0.9), &[0.0211517675], tolerance);
        assert_close("the limit", &loss(0.9), &numbers(&data["pot"]), 1e-3);
        let wide = SamplesLossConfig::hausdorff(2.0, 10.0).init();
        let expected = numbers(&data["hausdorff_many"]);
        let wide = host(wide.forward(cloud(&x), cloud(&y)));
        assert_close("Hausdorff", &wide, &expected, (1e4 * tolerance).min(2e-2));
    }
}

#[test]
fn kernels_and_hausdorff_are_those_of_a_dense_computation() {
    let data = read("samples_loss");
    for (dtype, tolerance) in dtypes() {
        let measures = Measures::of(&data, &data, dtype);
        for (name, config) in [
            ("gaussian", SamplesLossConfig::gaussian(0.3)),
            ("laplacian", SamplesLossConfig::laplacian(0.3)),
            ("energy", SamplesLossConfig::energy()),
        ] {
            let out = host(measures.loss(&config.init()));
            assert_close(
                name,
                &out,
                &numbers(&data["kernels"][name]),
                10.0 * tolerance,
            );
        }
        for case in data["hausdorff"].as_array().expect("a list") {
            let number = |name: &str| case[name].as_f64().expect("it is there");
            let loss = SamplesLossConfig::hausdorff(number("p"), number("blur")).init();
            let out = host(measures.loss(&loss));
            // The error of the potentials is 2^-30, and a blur of 10 is large relative to the diameter.
            let tolerance = (100.0 * tolerance).max(1e-7);
            assert_close("Hausdorff", &out, &numbers(&case["value"]), tolerance);
        }
    }
}

#[test]
fn gradients_are_differences() {
    let data = read("samples_loss");
    if !dtypes().iter().any(|(dtype, _)| *dtype == DType::F64) {
        return;
    }
    let [x, y] = ["x", "y"].map(|name| numbers(&data[name])[..8].to_vec());
    let at = [&x[..], &y, &[0.1, 0.2, 0.3, 0.4]].concat();
    let losses = [
        SamplesLossConfig::gaussian(0.3).init(),
        SamplesLossConfig::laplacian(0.3).init(),
        SamplesLossConfig::energy().init(),
        SamplesLossConfig::hausdorff(2.0, 0.3).init(),
        SamplesLossConfig::hausdorff(1.0, 0.3).init(),
    ];
    for loss in losses {
        let parts = |at: &[f64], device: &Device| {
            let part = |range: std::ops::Range<usize>| {
                let len = range.len();
                tensor::<1>(&at[range], [len], DType::F64, device)
            };
            [part(0..8), part(8..16), part(16..20)]
        };
        let of = |[x, y, a]: [Tensor<1>; 3]| {
            let b = tensor(&[0.3, 0.3, 0.3, 0.1], [4], DType::F64, &device());
            loss.forward_weighted(a, x.reshape([4, 2]), b, y.reshape([4, 2]))
        };
        let expected = differences(&at, &|at| value(of(parts(at, &device()))));
        let own = parts(&at, &device().autodiff()).map(Tensor::require_grad);
        let gradients = of(own.clone()).backward();
        let what = format!("{loss}");
        // The tolerance allows for what is left of the series of the self-transport potentials.
        for (own, range) in own.iter().zip([0..8, 8..16, 16..20]) {
            assert_gradient(&what, own, &gradients, &expected[range], 1e-7);
        }
    }
}

#[test]
fn a_formula_is_a_cost_and_its_tensors_get_gradients() {
    let (dtype, tolerance) = dtypes()[dtypes().len() - 1];
    let device = device().autodiff();
    let points = |seed: u64| tensor::<2>(&cloud(7, seed), [7, 2], dtype, &device);
    for reach in [None, Some(0.5)] {
        let config = SamplesLossConfig::sinkhorn()
            .with_blur(0.3)
            .with_scaling(0.99)
            .with_reach(reach)
            .with_diameter(Some(3.0));
        // A cost that is given as a formula equals the cost with the same power.
        let [x, y] = [1, 2].map(|seed| points(seed).require_grad());
        let power = config.init().forward(x.clone(), y.clone());
        let squared = config.init().with_cost(|x, y| x.sqdist(y) * 0.5);
        let formula = squared.forward(x.clone(), y.clone());
        let what = format!("{reach:?}");
        assert_close(
            &what,
            &host(formula.clone()),
            &host(power.clone()),
            100.0 * tolerance,
        );
        let [power, formula] = [power.backward(), formula.backward()];
        for leaf in [&x, &y] {
            let expected = host(leaf.grad(&power).expect("it is tracked"));
            // Each of the two sides of the last step gives half of the gradient.
            assert_gradient(&what, leaf, &formula, &expected, 2e-2);
        }

        // The scale is a factor of the cost.
        let scaled = |scale: f64| {
            let scale = tensor::<1>(&[scale], [1], dtype, &device).require_grad();
            let own = scale.clone();
            let loss = config
                .init()
                .with_cost(move |x, y| x.sqdist(y) * own.clone());
            (loss.forward(points(1), points(2)), scale)
        };
        let (out, scale) = scaled(0.5);
        let [more, less] = [0.51, 0.49].map(|by| value(scaled(by).0));
        let expected = [(more - less) / 0.02];
        assert_gradient(&what, &scale, &out.backward(), &expected, 2e-2);
    }
}

#[test]
fn a_batch_is_its_clouds_one_by_one() {
    for (dtype, tolerance) in dtypes() {
        let device = device();
        let (x, y) = (cloud(12, 3), cloud(9, 4));
        let weights = [0.5, 0.5, 0.0, 0.25, 0.25, 0.5];
        for config in [
            SamplesLossConfig::sinkhorn().with_diameter(Some(3.0)),
            SamplesLossConfig::sinkhorn()
                .with_reach(Some(0.5))
                .with_diameter(Some(3.0)),
            SamplesLossConfig::hausdorff(2.0, 0.2).with_diameter(Some(3.0)),
            SamplesLossConfig::gaussian(0.5),
            SamplesLossConfig::energy(),
        ] {
            let loss = config.with_blur(0.2).init();
            let batch = host(loss.forward_clouds(
                &Cloud::new(tensor::<3>(&x, [3, 4, 2], dtype, &device)),
                &Cloud::new(tensor::<3>(&y, [3, 3, 2], dtype, &device)),
            ));
            let plain = host(loss.forward_batch(
                tensor(&x, [3, 4, 2], dtype, &device),
                tensor(&y, [3, 3, 2], dtype, &device),
            ));
            assert_eq!(batch, plain);
            let single = |k: usize| {
                let x = tensor::<2>(&x[8 * k..8 * k + 8], [4, 2], dtype, &device);
                let y = tensor::<2>(&y[6 * k..6 * k + 6], [3, 2], dtype, &device);
                (x, y)
            };
            let expected: Vec<f64> = (0..3)
                .map(|k| {
                    let (x, y) = single(k);
                    value(loss.forward(x, y))
                })
                .collect();
            let what = format!("{loss} {dtype:?}");
            assert_close(&what, &batch, &expected, 10.0 * tolerance);

            // Weights and padding. A padded point is like a point with a weight of 0.
            let two = |values: &[f64], shape| tensor::<3>(&values[..12], shape, dtype, &device);
            let padding = [false, false, true, false, false, false];
            let padding = TensorData::new(padding.to_vec(), [2, 3]);
            let clouds = [two(&x, [2, 3, 2]), two(&y, [2, 3, 2])].map(Cloud::new);
            let [own, other] = clouds;
            let masses = tensor::<2>(&weights, [2, 3], dtype, &device);
            let weighted = loss.forward_clouds(&own.clone().with_weights(masses.clone()), &other);
            let nan: Vec<f64> = x[..12]
                .iter()
                .enumerate()
                .map(|(k, own)| match k {
                    4 | 5 => f64::NAN,
                    _ => *own,
                })
                .collect();
            let padded = Cloud::new(two(&nan, [2, 3, 2]))
                .with_weights(masses)
                .with_padding(Tensor::from_data(padding, &device));
            let padded = loss.forward_clouds(&padded, &other);
            let out = (host(weighted), host(padded));
            assert_close(&what, &out.1[1..], &out.0[1..], 10.0 * tolerance);
            let [a, b] = [&weights[..2], &[1.0 / 3.0; 3]];
            let first = loss.forward_weighted(
                tensor(a, [2], dtype, &device),
                tensor(&x[..4], [2, 2], dtype, &device),
                tensor(b, [3], dtype, &device),
                tensor(&y[..6], [3, 2], dtype, &device),
            );
            // The clouds are centred at different points, so roundings differ.
            assert_close(&what, &out.1[..1], &host(first), 100.0 * tolerance);
        }
    }
}
