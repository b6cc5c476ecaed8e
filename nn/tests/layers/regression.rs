//! Kernel regression against scikit-learn and dense computations.

use burn::{
    prelude::*,
    store::ModuleRecord,
    tensor::{DType, TensorData},
};
use burn_lazy_nn::{
    Inference,
    kernel::{ConstantConfig, Linear, LinearConfig, Rbf, RbfConfig},
    regression::*,
};
use nalgebra::DMatrix;

use super::{
    reference::{self, numbers},
    support::*,
};

const LENGTH: f64 = 0.8;
const ALPHA: f64 = 0.02;

fn rbf(device: &Device, dtype: DType) -> Rbf {
    RbfConfig::new()
        .with_length_scale(LENGTH)
        .init((device, dtype))
}

/// The points, the targets and the points of predictions.
fn data(dtype: DType, device: &Device) -> [Tensor<2>; 3] {
    let values = reference::read("regression");
    ["x", "t", "at"].map(|name| {
        let values = numbers(&values[name]);
        tensor(&values, [values.len() / 2, 2], dtype, device)
    })
}

/// The kernel matrix in F64.
fn dense(x: &Tensor<2>, y: &Tensor<2>) -> DMatrix<f64> {
    let [x, y] = [x, y].map(|own| host(own.clone()));
    DMatrix::from_fn(x.len() / 2, y.len() / 2, |i, j| {
        let square: f64 = (0..2).map(|k| (x[2 * i + k] - y[2 * j + k]).powi(2)).sum();
        (-0.5 * square / (LENGTH * LENGTH)).exp()
    })
}

/// The predictions of the Nyström approximation with the centres of a fitted function, in closed form.
fn closed_form(fitted: &Falkon<Rbf>, [x, t, at]: &[Tensor<2>; 3], alpha: f64) -> Vec<f64> {
    let centers = fitted.points.val();
    let (k, between) = (dense(x, &centers), dense(&centers, &centers));
    let [points, outputs] = t.dims();
    let t = DMatrix::from_row_slice(points, outputs, &host(t.clone()));
    // Least squares with the square root of the penalty. The condition number is the square root of that of the normal
    // equations.
    let root = between
        .cholesky()
        .expect("the centres differ")
        .l()
        .transpose();
    let all = DMatrix::from_fn(points + root.nrows(), root.ncols(), |i, j| {
        match i < points {
            true => k[(i, j)],
            false => root[(i - points, j)] * (alpha * points as f64).sqrt(),
        }
    });
    let right = t.resize_vertically(all.nrows(), 0.0);
    let weights = all
        .svd(true, true)
        .solve(&right, 0.0)
        .expect("both sides are there");
    let predicted = dense(at, &centers) * weights;
    predicted.transpose().as_slice().to_vec()
}

#[test]
fn ridge_regression_is_that_of_scikit_learn() {
    let values = reference::read("regression");
    for (dtype, tolerance) in dtypes() {
        let device = device().autodiff();
        let [x, t, at] = data(dtype, &device);
        for (inference, close) in [(Inference::Auto, tolerance), (Inference::Iterative, 1e-5)] {
            let config = KernelRidgeConfig::new(ALPHA).with_inference(inference);
            let config = config.with_tolerance(1e-9).with_rank(Some(10));
            let fitted = config.fit(rbf(&device, dtype), x.clone(), t.clone());
            let close = 20.0 * close.max(tolerance);
            let weights = host(fitted.weights.val());
            assert_close(
                "weights",
                &weights,
                &numbers(&values["weights"]),
                10.0 * close,
            );
            let predicted = host(fitted.predict(at.clone()));
            assert_close(
                "predicted",
                &predicted,
                &numbers(&values["predicted"]),
                close,
            );
        }
    }
}

#[test]
fn fitted_functions_are_not_trained() {
    let tracking = device().autodiff();
    let [x, t, at] = data(DType::F32, &tracking);
    let ridge = KernelRidgeConfig::new(ALPHA);
    let falkon = FalkonConfig::new(8, 1e-3);
    let kernel = || rbf(&tracking, DType::F32);
    for fitted in [
        ridge.fit(kernel(), x.clone(), t.clone()),
        falkon.fit(kernel(), x, t),
    ] {
        assert!(!fitted.predict(at.clone().inner()).is_autodiff());
        let trained = fitted.train();
        assert!(!trained.points.val().is_require_grad());
        assert!(!trained.weights.val().is_require_grad());
    }
}

#[test]
fn few_centers_give_the_nystrom_approximation() {
    for (dtype, tolerance) in dtypes() {
        let device = device();
        let data = data(dtype, &device);
        let [x, t, at] = &data;
        for selection in [Selection::Uniform, Selection::RandomlyPivotedCholesky] {
            let config = FalkonConfig::new(8, 1e-3)
                .with_selection(selection)
                .with_tolerance(1e-10);
            let fitted = config.fit(rbf(&device, dtype), x.clone(), t.clone());
            assert_eq!(fitted.points.val().dims(), [8, 2]);
            let expected = closed_form(&fitted, &data, 1e-3);
            let predicted = host(fitted.predict(at.clone()));
            assert_close(
                "predicted",
                &predicted,
                &expected,
                (10.0 * tolerance).max(1e-6),
            );

            let again = config.fit(rbf(&device, dtype), x.clone(), t.clone());
            assert_eq!(host(again.points.val()), host(fitted.points.val()));
            let other = config
                .with_seed(1)
                .fit(rbf(&device, dtype), x.clone(), t.clone());
            assert_ne!(host(other.points.val()), host(fitted.points.val()));
        }
    }
}

#[test]
fn all_points_as_centers_give_ridge_regression() {
    for (dtype, tolerance) in dtypes() {
        let device = device();
        let [x, t, at] = data(dtype, &device);
        let ridge = KernelRidgeConfig::new(0.4).fit(rbf(&device, dtype), x.clone(), t.clone());
        let falkon = FalkonConfig::new(40, 0.4 / 40.0).with_tolerance(1e-10);
        let falkon = falkon.fit(rbf(&device, dtype), x, t);
        let expected = host(ridge.predict(at.clone()));
        let close = (100.0 * tolerance).max(1e-7);
        assert_close("predicted", &host(falkon.predict(at)), &expected, close);
    }
}

#[test]
fn pivots_are_different_points_until_all_is_explained() {
    let device = device();
    // Six points, but only three different ones. A linear kernel of two coordinates has rank 2.
    let x = [0.0, 1.0, 2.0, 0.5, 0.0, 1.0, 2.0, 0.5, 0.0, 1.0, -1.0, 1.0];
    let x = tensor(&x, [6, 2], DType::F32, &device);
    let t = tensor(&[1.0; 6], [6, 1], DType::F32, &device);
    let config = FalkonConfig::new(6, 1e-3).with_selection(Selection::RandomlyPivotedCholesky);
    let fitted = config.fit(rbf(&device, DType::F32), x.clone(), t.clone());
    assert_eq!(fitted.points.val().dims(), [3, 2]);
    let many = tensor(&Random::new(6).vec(24), [12, 2], DType::F32, &device);
    let ones = tensor(&[1.0; 12], [12, 1], DType::F32, &device);
    let fitted = config.fit(LinearConfig::new().init(&device), many, ones);
    assert_eq!(fitted.points.val().dims(), [2, 2]);

    // Equal centres are allowed.
    let uniform = FalkonConfig::new(6, 1e-3).fit(rbf(&device, DType::F32), x.clone(), t.clone());
    let exact = KernelRidgeConfig::new(6e-3).fit(rbf(&device, DType::F32), x.clone(), t);
    let expected = host(exact.predict(x.clone()));
    assert_close("duplicates", &host(uniform.predict(x)), &expected, 1e-3);
}

#[test]
fn transposed_tensors_and_permutations_change_no_prediction() {
    let (device, dtype) = (device(), DType::F32);
    let [x, t, at] = data(dtype, &device);
    let order: Vec<i64> = (0..40).map(|k| k * 7 % 40).collect();
    let order = Tensor::from_data(TensorData::new(order, [40]), &device);
    let transposed = |own: &Tensor<2>| {
        let copy = own.clone().transpose().into_data();
        Tensor::<2>::from_data(copy, &device).transpose()
    };
    let others = [
        (transposed(&x), transposed(&t)),
        (
            x.clone().select(0, order.clone()),
            t.clone().select(0, order),
        ),
    ];
    let ridge = |x, t| {
        let fitted = KernelRidgeConfig::new(ALPHA).fit(rbf(&device, dtype), x, t);
        host(fitted.predict(at.clone()))
    };
    let falkon = |x, t| {
        let fitted = FalkonConfig::new(40, 1e-3).fit(rbf(&device, dtype), x, t);
        host(fitted.predict(at.clone()))
    };
    let expected = [ridge(x.clone(), t.clone()), falkon(x, t)];
    for (x, t) in others {
        assert_close("ridge", &ridge(x.clone(), t.clone()), &expected[0], 1e-5);
        assert_close("falkon", &falkon(x, t), &expected[1], 1e-4);
    }
}

#[test]
fn a_loaded_function_predicts_the_same() {
    let (device, dtype) = (device(), DType::F32);
    let [x, t, at] = data(dtype, &device);
    let fitted = FalkonConfig::new(8, 1e-3).fit(rbf(&device, dtype), x, t);
    let expected = host(fitted.predict(at.clone()));
    let bytes = fitted.into_record().into_bytes().expect("it is written");
    let record = || ModuleRecord::from_bytes(bytes.clone()).expect("it is read");
    let zeros = |points| {
        let kernel = RbfConfig::new().init(&device);
        KernelExpansion::zeros(kernel, [points, 2], 2, &device)
    };
    assert_eq!(host(zeros(8).predict(at.clone())), [0.0; 6]);
    assert_eq!(host(zeros(8).load_record(record()).predict(at)), expected);
    assert!(zeros(9).try_load_record(record()).is_err());
}

#[test]
fn predictions_have_derivatives_by_points() {
    let dtype = DType::F64;
    if !dtypes().iter().any(|(own, _)| *own == dtype) {
        return;
    }
    let [x, t, at] = data(dtype, &device());
    let fitted = KernelRidgeConfig::new(ALPHA).fit(rbf(&device(), dtype), x, t);
    let values = host(at);
    let leaf = tensor(&values, [3, 2], dtype, &device().autodiff()).require_grad();
    let gradients = fitted.predict(leaf.clone()).sum().backward();
    let expected = differences(&values, &|at| {
        fitted
            .predict(tensor(at, [3, 2], dtype, &device()))
            .sum()
            .into_scalar()
    });
    assert_gradient("predicted", &leaf, &gradients, &expected, 1e-7);
}

#[test]
fn no_ridge_interpolates_where_it_can() {
    let (device, dtype) = (device(), DType::F32);
    let x = tensor(&[-1.0, 0.0, 1.0], [3, 1], dtype, &device);
    let t = tensor(&[1.0, -2.0, 0.5], [3, 1], dtype, &device);
    for inference in [Inference::Cholesky, Inference::Iterative] {
        let config = KernelRidgeConfig::new(0.0).with_inference(inference);
        let fitted = config.fit(rbf(&device, dtype), x.clone(), t.clone());
        assert_close(
            "targets",
            &host(fitted.predict(x.clone())),
            &host(t.clone()),
            1e-4,
        );
    }
    let same = tensor(&[1.0, 1.0, 0.0], [3, 1], dtype, &device);
    let error = KernelRidgeConfig::new(0.0)
        .try_fit(rbf(&device, dtype), same, t)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the covariance of 3 points is not positive definite, as seen in row 1: raise the noise (the ridge), or leave \
         out points that coincide"
    );
}

#[test]
fn one_point_has_the_closed_form() {
    let (device, dtype) = (device(), DType::F32);
    let point = || tensor::<2>(&[0.5], [1, 1], dtype, &device);
    let ridge = KernelRidgeConfig::new(0.25).fit(rbf(&device, dtype), point(), point());
    assert_close("ridge", &host(ridge.predict(point())), &[0.4], 1e-5);
    let falkon = FalkonConfig::new(1, 0.25).fit(rbf(&device, dtype), point(), point());
    assert_close("falkon", &host(falkon.predict(point())), &[0.4], 1e-5);
}

#[test]
fn wrong_data_and_settings_are_errors() {
    let (device, dtype) = (device(), DType::F32);
    let points = |values: &[f64]| tensor::<2>(values, [values.len(), 1], dtype, &device);
    let ridge = |alpha: f64, x, t| {
        let error = KernelRidgeConfig::new(alpha).try_fit(rbf(&device, dtype), x, t);
        error.unwrap_err().to_string()
    };
    let falkon = |config: FalkonConfig, x, t| {
        let error = config.try_fit(rbf(&device, dtype), x, t);
        error.unwrap_err().to_string()
    };
    let two = || points(&[0.0, 1.0]);
    assert_eq!(
        ridge(-1.0, two(), two()),
        "`alpha` is -1, but must be finite and not negative"
    );
    let config = || FalkonConfig::new(2, 0.1);
    let positive = "but must be positive and finite";
    assert_eq!(
        falkon(FalkonConfig::new(2, 0.0), two(), two()),
        format!("`alpha` is 0, {positive}")
    );
    let infinite = FalkonConfig::new(2, f64::INFINITY);
    assert_eq!(
        falkon(infinite, two(), two()),
        format!("`alpha` is inf, {positive}")
    );
    for centers in [0, 3] {
        let text = falkon(FalkonConfig::new(centers, 0.1), two(), two());
        assert_eq!(
            text,
            format!("`centers` is {centers}, but must be 1 to the number of points")
        );
    }
    let negative = "`tolerance` is -1, but must be finite and not negative";
    assert_eq!(
        falkon(config().with_tolerance(-1.0), two(), two()),
        negative
    );
    let few = falkon(config().with_max_iterations(0), two(), two());
    assert!(few.starts_with("not converged after 0 iterations"), "{few}");

    let none = || Tensor::<2>::zeros([0, 1], &device);
    let nan = || points(&[0.0, f64::NAN]);
    let shape = "the targets of shape [1, 1] must have a row for each point, and a column or more, for the points of \
                 shape [2, 1]";
    let cases = [
        (none(), none(), "the points must not be empty"),
        (two(), points(&[0.0]), shape),
        (
            two(),
            nan(),
            "there are values that are not finite in the targets",
        ),
        (
            nan(),
            two(),
            "there are values that are not finite in the points",
        ),
    ];
    for (x, t, expected) in cases {
        assert_eq!(ridge(0.1, x.clone(), t.clone()), expected);
        assert_eq!(falkon(config(), x, t), expected);
    }
    let fitted = KernelRidgeConfig::new(0.1).fit(rbf(&device, dtype), two(), two());
    let error = fitted
        .try_predict(Tensor::zeros([1, 2], &device))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("dot: the inner dimensions 2 and 1 do not fit"),
        "{error}"
    );
    assert_eq!(fitted.predict(none()).dims(), [0, 1]);
}

#[test]
#[should_panic(expected = "`centers` is 3, but must be 1 to the number of points")]
fn too_many_centers_panic() {
    let device = device();
    let x = Tensor::<2>::zeros([2, 1], &device);
    let kernel = LinearConfig::new().init(&device) + ConstantConfig::new(1.0).init(&device);
    let _: Falkon<burn_lazy_nn::kernel::Sum<Linear, _>> =
        FalkonConfig::new(3, 0.1).fit(kernel, x.clone(), x);
}
