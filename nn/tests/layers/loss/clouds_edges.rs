//! Chamfer, Hausdorff and energy distances and the maximum mean discrepancy: equal points, errors, types and training.

use burn::{
    module::{Module, Param},
    optim::{GradientsParams, SgdConfig},
    prelude::*,
    tensor::DType,
};
use burn_lazy_nn::loss::{Cloud, MmdLossConfig};

use super::{
    cloud,
    clouds::{Loss, chamfer, kinds, mmd},
    message,
    support::{assert_close, device, dtypes, host, tensor},
    value,
};

#[test]
fn equal_clouds_single_points_and_nan() {
    for (dtype, _) in dtypes() {
        let device = device().autodiff();
        for (name, loss) in kinds() {
            let what = format!("{name} {dtype:?}");
            let is_unbiased = name.ends_with("unbiased");
            for values in [cloud(5, 26), [0.25, 0.5].repeat(4), vec![0.25, 0.5]] {
                let shape = [values.len() / 2, 2];
                if is_unbiased {
                    continue;
                }
                let x = tensor::<2>(&values, shape, dtype, &device).require_grad();
                let y = tensor::<2>(&values, shape, dtype, &device);
                let out = loss.forward(&Cloud::new(x.clone()), &Cloud::new(y));
                let out = out.expect("clouds fit");
                assert_eq!(value(out.clone()), 0.0, "{what}");
                let gradient = host(x.grad(&out.backward()).expect("it is tracked"));
                assert!(
                    gradient.iter().all(|own| own.abs() < 1e-6),
                    "{what}: {gradient:?}"
                );
            }
            // A NaN affects only the loss of its own cloud.
            let mut values = cloud(6, 27);
            values[3] = f64::NAN;
            let nan = tensor::<3>(&values, [2, 3, 2], dtype, &device);
            let y = tensor::<3>(&cloud(4, 28), [2, 2, 2], dtype, &device);
            let out = loss.value(nan, y);
            assert!(out[0].is_nan() && out[1].is_finite(), "{what}: {out:?}");
        }
    }
}

#[test]
fn an_empty_batch_has_no_losses() {
    let batch = |count: usize| Tensor::<3>::zeros([0, count, 2], &device());
    for (name, loss) in kinds() {
        assert!(loss.value(batch(3), batch(2)).is_empty(), "{name}");
    }
}

#[test]
fn many_equal_points_have_a_mean_distance() {
    for (dtype, tolerance) in dtypes() {
        let points = |values: &[f64]| tensor::<2>(values, [values.len(), 1], dtype, &device());
        let loss = MmdLossConfig::new().with_relative_to_median(true).init();
        let out = loss.forward(points(&[0.0; 5]), points(&[0.0, 1.0]));
        // 6 of the 21 pairs have the distance 1.
        let bandwidth = 6.0f64 / 21.0;
        let expected = 0.5 - 0.5 * (-0.5 / bandwidth.powi(2)).exp();
        assert_close("mean", &host(out), &[expected], 10.0 * tolerance);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let device = device();
    let ones = |shape: [usize; 2]| Tensor::<2>::ones(shape, &device);
    for (name, loss) in kinds() {
        let of = |x: [usize; 2], y: [usize; 2]| {
            message(loss.forward(&Cloud::new(ones(x)), &Cloud::new(ones(y))))
        };
        assert_eq!(
            of([4, 2], [5, 3]),
            "`x` of shape [4, 2] and `y` of shape [5, 3] differ in the dimension of points, the last one",
            "{name}"
        );
        assert_eq!(
            of([0, 2], [5, 2]),
            "`x` of shape [0, 2] has no points",
            "{name}"
        );
        assert_eq!(
            of([5, 2], [0, 2]),
            "`y` of shape [0, 2] has no points",
            "{name}"
        );
        if name.ends_with("unbiased") {
            assert_eq!(
                of([1, 2], [5, 2]),
                "`x` of shape [1, 2] has no second point, which the unbiased estimator needs"
            );
        }
    }
    let x = Cloud::new(ones([4, 2])).with_weights(Tensor::ones([3], &device));
    assert_eq!(
        message(
            chamfer()
                .init()
                .try_forward_clouds(&x, &Cloud::new(ones([4, 2])))
        ),
        "`weights of x` of shape [3, 1] and `x` of shape [4, 2] differ in the number of points"
    );
    let x = Cloud::new(ones([4, 2])).with_normals(ones([4, 2]));
    assert_eq!(
        message(
            chamfer()
                .init()
                .try_forward_normals(&x, &Cloud::new(ones([3, 2])))
        ),
        "`y` has no normals"
    );
    let y = Tensor::<2>::ones([3, 2], (&device, DType::F16));
    assert_eq!(
        message(chamfer().init().try_forward(ones([3, 2]), y)),
        "`x` is of type F32 and `y` of type F16"
    );
    assert_eq!(
        message(mmd().with_bandwidths(vec![1.0, -1.0]).try_init()),
        "`bandwidths` is -1, but must be more than 0"
    );
    assert_eq!(
        message(mmd().with_bandwidths(vec![]).try_init()),
        "`number of bandwidths` is 0, but must be 1 or more"
    );
    assert_eq!(
        message(mmd().with_median_points(1).try_init()),
        "`median_points` is 1, but must be 2 or more"
    );
}

#[test]
#[should_panic(expected = "`x` of shape [0, 2] has no points")]
fn short_forms_panic_with_the_text() {
    let x = Tensor::<2>::ones([0, 2], &device());
    let _ = chamfer().init().forward(x.clone(), x);
}

#[test]
fn halves_are_computed_in_f32() {
    let device = device();
    if !device.supports_dtype(DType::F16) {
        return;
    }
    let [x, y] = [31, 32].map(|seed| tensor::<2>(&cloud(5, seed), [5, 2], DType::F16, &device));
    let single = |points: &Tensor<2>| points.clone().cast(DType::F32);
    for (name, loss) in kinds() {
        let expected = loss.value(single(&x), single(&y));
        let out = loss.forward(&Cloud::new(x.clone()), &Cloud::new(y.clone()));
        let out = out.expect("clouds fit");
        assert_eq!(out.dtype(), DType::F16, "{name}");
        assert_close(name, &host(out), &expected, 1e-3);
    }
}

/// A model whose parameters are points.
#[derive(Module, Debug)]
struct Points {
    at: Param<Tensor<2>>,
    loss: Loss,
}

#[test]
fn points_move_to_others_and_records_load() {
    let device = device().autodiff();
    let target = tensor::<2>(&cloud(6, 33), [6, 2], DType::F32, &device);
    for (name, loss) in kinds() {
        let start: Tensor<2> = tensor(&cloud(6, 34), [6, 2], DType::F32, &device);
        let mut points = Points {
            at: Param::from_tensor(start + 0.5),
            loss,
        };
        let of = |points: &Points| {
            let out = points
                .loss
                .forward(&Cloud::new(points.at.val()), &Cloud::new(target.clone()));
            out.expect("clouds fit")
        };
        let mut optimizer = SgdConfig::new().init();
        let before = value(of(&points));
        for _ in 0..5 {
            let gradients = GradientsParams::from_grads(of(&points).backward(), &points);
            points = optimizer.step(0.2, points, gradients);
        }
        let after = value(of(&points));
        assert!(after < 0.95 * before, "{name}: {before} {after}");
        let fresh = Points {
            at: Param::from_tensor(Tensor::zeros([6, 2], &device)),
            loss: points.loss.clone(),
        };
        let loaded = fresh.load_record(points.clone().into_record());
        assert_eq!(host(of(&loaded)), host(of(&points)), "{name}");
    }
}
