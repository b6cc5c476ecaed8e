//! Chamfer, Hausdorff and energy distances and the maximum mean discrepancy, against SciPy and NumPy.

use burn::{
    module::Module,
    prelude::*,
    tensor::{DType, TensorData},
};
use burn_lazy_nn::loss::{
    ChamferLoss, ChamferLossConfig, Cloud, Direction, EnergyDistance, EnergyDistanceConfig,
    Estimator, HausdorffLoss, HausdorffLossConfig, LossError, MmdLoss, MmdLossConfig,
};

use super::{
    cloud,
    reference::{numbers, read},
    support::{assert_close, assert_gradient, device, differences, dtypes, host, tensor},
    value,
};

/// Any of the losses.
#[derive(Module, Debug)]
pub enum Loss {
    Chamfer(ChamferLoss),
    Hausdorff(HausdorffLoss),
    Mmd(MmdLoss),
    Energy(EnergyDistance),
}

impl Loss {
    pub fn forward<const R: usize>(
        &self,
        x: &Cloud<R>,
        y: &Cloud<R>,
    ) -> Result<Tensor<1>, LossError> {
        match self {
            Self::Chamfer(loss) => loss.try_forward_clouds(x, y),
            Self::Hausdorff(loss) => loss.try_forward_clouds(x, y),
            Self::Mmd(loss) => loss.try_forward_clouds(x, y),
            Self::Energy(loss) => loss.try_forward_clouds(x, y),
        }
    }

    pub fn value<const R: usize>(&self, x: Tensor<R>, y: Tensor<R>) -> Vec<f64> {
        let out = self.forward(&Cloud::new(x), &Cloud::new(y));
        host(out.expect("clouds fit"))
    }
}

pub fn mmd() -> MmdLossConfig {
    MmdLossConfig::new().with_bandwidths(vec![0.5, 2.0])
}

pub fn chamfer() -> ChamferLossConfig {
    ChamferLossConfig::new()
}

fn hausdorff(direction: Direction) -> Loss {
    Loss::Hausdorff(HausdorffLossConfig::new().with_direction(direction).init())
}

fn energy(estimator: Estimator) -> Loss {
    Loss::Energy(EnergyDistanceConfig::new().with_estimator(estimator).init())
}

/// All losses with their names in the file of reference values, and whether those values are for
/// weighted clouds.
fn all() -> Vec<(&'static str, Loss, bool)> {
    let (forward, backward) = (Direction::Forward, Direction::Backward);
    let unbiased = mmd().with_estimator(Estimator::Unbiased).init();
    let median = mmd().with_relative_to_median(true).init();
    vec![
        ("chamfer", Loss::Chamfer(chamfer().init()), false),
        ("chamfer_weighted", Loss::Chamfer(chamfer().init()), true),
        (
            "chamfer_plain",
            Loss::Chamfer(chamfer().with_squared(false).init()),
            false,
        ),
        (
            "chamfer_forward",
            Loss::Chamfer(chamfer().with_direction(forward).init()),
            false,
        ),
        (
            "chamfer_backward",
            Loss::Chamfer(chamfer().with_direction(backward).init()),
            false,
        ),
        // The distance from x to y is the larger one.
        ("hausdorff_forward", hausdorff(Direction::Both), false),
        ("hausdorff_forward", hausdorff(forward), false),
        ("hausdorff_backward", hausdorff(backward), false),
        ("mmd", Loss::Mmd(mmd().init()), false),
        ("mmd_weighted", Loss::Mmd(mmd().init()), true),
        ("mmd_median", Loss::Mmd(median), false),
        ("mmd_unbiased", Loss::Mmd(unbiased.clone()), false),
        ("mmd_unbiased_weighted", Loss::Mmd(unbiased), true),
        ("energy", energy(Estimator::Biased), false),
        ("energy_weighted", energy(Estimator::Biased), true),
        ("energy_unbiased", energy(Estimator::Unbiased), false),
    ]
}

/// The losses with their names, without the weighted cases.
pub fn kinds() -> Vec<(&'static str, Loss)> {
    let unweighted = all().into_iter().filter(|(_, _, weighted)| !weighted);
    unweighted.map(|(name, loss, _)| (name, loss)).collect()
}

#[test]
fn values_are_those_of_scipy_and_numpy() {
    let data = read("cloud_losses");
    for (dtype, tolerance) in dtypes() {
        let points = |name: &str, count: usize| {
            tensor::<2>(&numbers(&data[name]), [count, 3], dtype, &device())
        };
        let weights = |name: &str, count: usize| {
            tensor::<1>(&numbers(&data[name]), [count], dtype, &device())
        };
        let (x, y) = (points("x", 14), points("y", 11));
        for (name, loss, is_weighted) in all() {
            let clouds = [Cloud::new(x.clone()), Cloud::new(y.clone())];
            let [own, other] = match is_weighted {
                true => {
                    let [own, other] = clouds;
                    [
                        own.with_weights(weights("a", 14)),
                        other.with_weights(weights("b", 11)),
                    ]
                }
                false => clouds,
            };
            let out = host(loss.forward(&own, &other).expect("clouds fit"));
            assert_close(name, &out, &numbers(&data[name]), 10.0 * tolerance);
        }
        let with_normals =
            |points: &Tensor<2>, normals| Cloud::new(points.clone()).with_normals(normals);
        let own = with_normals(&x, points("normals_x", 14));
        let other = with_normals(&y, points("normals_y", 11));
        let out = chamfer().init().forward_normals(&own, &other);
        assert_close(
            "distance",
            &host(out.distance),
            &numbers(&data["chamfer"]),
            10.0 * tolerance,
        );
        let expected = numbers(&data["chamfer_normals"]);
        assert_close("normals", &host(out.normals), &expected, 10.0 * tolerance);

        // Points on a line.
        let [x, y] = [x, y].map(|points| points.narrow(1, 0, 1));
        let loss = EnergyDistanceConfig::new().init();
        let out = host(loss.forward(x.clone(), y.clone()));
        assert_close(
            "line",
            &out,
            &numbers(&data["energy_line"]),
            100.0 * tolerance,
        );
        let own = Cloud::new(x).with_weights(weights("a", 14));
        let other = Cloud::new(y).with_weights(weights("b", 11));
        let out = host(loss.forward_clouds(&own, &other));
        assert_close(
            "line",
            &out,
            &numbers(&data["energy_line_weighted"]),
            100.0 * tolerance,
        );
    }
}

#[test]
fn gradients_are_differences() {
    if !dtypes().iter().any(|(dtype, _)| *dtype == DType::F64) {
        return;
    }
    // Points, normals and weights. No two distances are equal.
    let at = [&cloud(14, 21)[..], &[0.1, 0.2, 0.4, 0.3]].concat();
    let parts = |at: &[f64], device: &Device| {
        let part = |range: std::ops::Range<usize>| {
            let len = range.len();
            tensor::<1>(&at[range], [len], DType::F64, device)
        };
        [
            part(0..8),
            part(8..14),
            part(14..22),
            part(22..28),
            part(28..32),
        ]
    };
    let clouds = |[x, y, n, m, a]: [Tensor<1>; 5]| {
        let x = Cloud::new(x.reshape([4, 2])).with_normals(n.reshape([4, 2]));
        (
            x.with_weights(a),
            Cloud::new(y.reshape([3, 2])).with_normals(m.reshape([3, 2])),
        )
    };
    let check = |what: &str, of: &dyn Fn([Tensor<1>; 5]) -> Tensor<1>, concerned: usize| {
        let expected = differences(&at, &|at| value(of(parts(at, &device()))));
        let own = parts(&at, &device().autodiff()).map(Tensor::require_grad);
        let gradients = of(own.clone()).backward();
        let ranges = [0..8, 8..14, 14..22, 22..28, 28..32];
        for (k, (own, range)) in own.iter().zip(ranges).enumerate() {
            if concerned & (1 << k) != 0 {
                assert_gradient(what, own, &gradients, &expected[range], 1e-8);
            }
        }
    };
    for (name, loss) in kinds() {
        if name == "mmd_median" {
            // The median counts as a constant for the gradient.
            continue;
        }
        let of = |parts| {
            let (x, y) = clouds(parts);
            loss.forward(&x, &y).expect("clouds fit")
        };
        let concerned = if name.starts_with("hausdorff") || name == "chamfer_backward" {
            0b00011
        } else {
            0b10011
        };
        check(name, &of, concerned);
    }
    let normals = |parts| {
        let (x, y) = clouds(parts);
        let out = chamfer().init().forward_normals(&x, &y);
        out.normals + out.distance
    };
    check("normals", &normals, 0b11111);
}

#[test]
fn a_batch_is_its_clouds_one_by_one_and_padding_is_none() {
    for (dtype, tolerance) in dtypes() {
        let device = device();
        // The points are far from 0, so that the result would change if padding counted as points
        // at 0.
        let [x, y] = [(8, 22), (6, 23)].map(|(count, seed)| {
            let values = cloud(count, seed);
            values.iter().map(|own| own + 8.0).collect::<Vec<f64>>()
        });
        let points = |values: &[f64]| tensor::<2>(values, [values.len() / 2, 2], dtype, &device);
        for (name, loss) in kinds() {
            let what = format!("{name} {dtype:?}");
            let out = loss.value(
                tensor::<3>(&x, [2, 4, 2], dtype, &device),
                tensor::<3>(&y, [2, 3, 2], dtype, &device),
            );
            let expected = [0, 1].map(|k| {
                let (x, y) = (&x[8 * k..8 * k + 8], &y[6 * k..6 * k + 6]);
                loss.value(points(x), points(y))[0]
            });
            assert_close(&what, &out, &expected, 10.0 * tolerance);

            // The third point of the first cloud and the first point of the other cloud are
            // padding.
            let mut padded = (x.clone(), y.clone());
            padded.0[4..6].fill(f64::NAN);
            padded.1[6..8].fill(f64::INFINITY);
            let mask = |at: usize, shape: [usize; 2]| {
                let mut values = vec![false; shape[0] * shape[1]];
                values[at] = true;
                Tensor::<2, Bool>::from_data(TensorData::new(values, shape), &device)
            };
            let own = tensor::<3>(&padded.0, [2, 4, 2], dtype, &device);
            let other = tensor::<3>(&padded.1, [2, 3, 2], dtype, &device);
            let own = Cloud::new(own).with_padding(mask(2, [2, 4]));
            let other = Cloud::new(other).with_padding(mask(3, [2, 3]));
            let out = host(loss.forward(&own, &other).expect("clouds fit"));
            let without = [&x[..4], &x[6..8]].concat();
            let expected = [
                loss.value(points(&without), points(&y[..6]))[0],
                loss.value(points(&x[8..]), points(&y[8..]))[0],
            ];
            assert_close(&what, &out, &expected, 10.0 * tolerance);
        }
    }
}

#[test]
fn order_and_layout_do_not_matter() {
    for (dtype, tolerance) in dtypes() {
        let device = device();
        let x = cloud(6, 24);
        let y = tensor::<2>(&cloud(5, 25), [5, 2], dtype, &device);
        let reversed: Vec<f64> = x.chunks(2).rev().flatten().copied().collect();
        let columns = [0, 1].map(|d| x.chunks(2).map(move |point| point[d]));
        let columns: Vec<f64> = columns.into_iter().flatten().collect();
        for (name, loss) in kinds() {
            let what = format!("{name} {dtype:?}");
            let expected = loss.value(tensor::<2>(&x, [6, 2], dtype, &device), y.clone());
            let transposed = tensor::<2>(&columns, [2, 6], dtype, &device).transpose();
            let out = loss.value(transposed, y.clone());
            assert_close(&what, &out, &expected, 10.0 * tolerance);
            let out = loss.value(tensor::<2>(&reversed, [6, 2], dtype, &device), y.clone());
            assert_close(&what, &out, &expected, 10.0 * tolerance);
        }
    }
}

#[test]
fn scales_of_distances_are_those_of_losses() {
    for (dtype, tolerance) in dtypes() {
        let points = |values: &[f64], scale: f64| {
            let values: Vec<f64> = values.iter().map(|own| own * scale).collect();
            tensor::<2>(&values, [values.len() / 2, 2], dtype, &device())
        };
        let (x, y) = (cloud(5, 29), cloud(4, 30));
        for (name, loss) in kinds() {
            let of = |scale: f64| loss.value(points(&x, scale), points(&y, scale));
            let power = match name {
                "chamfer" | "chamfer_forward" | "chamfer_backward" => 2.0,
                "mmd_median" => 0.0,
                "mmd" | "mmd_unbiased" => continue,
                _ => 1.0,
            };
            let expected = of(1.0);
            for scale in [1e-12f64, 1e12] {
                let out = [of(scale)[0] / scale.powf(power)];
                let what = format!("{name} {dtype:?} {scale}");
                assert_close(&what, &out, &expected, 100.0 * tolerance);
            }
        }
    }
}

#[test]
fn the_gradient_goes_to_the_first_of_equally_near_points() {
    let device = device().autodiff();
    let x = tensor::<2>(&[0.0], [1, 1], DType::F32, &device);
    let y = tensor::<2>(&[1.0, -1.0], [2, 1], DType::F32, &device).require_grad();
    let forward = chamfer().with_direction(Direction::Forward).init();
    let gradients = forward.forward(x.clone(), y.clone()).backward();
    assert_gradient("Chamfer", &y, &gradients, &[2.0, 0.0], 1e-6);
    let backward = HausdorffLossConfig::new()
        .with_direction(Direction::Backward)
        .init();
    let gradients = backward.forward(x, y.clone()).backward();
    assert_gradient("Hausdorff", &y, &gradients, &[1.0, 0.0], 1e-6);
}
