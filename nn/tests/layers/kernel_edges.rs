//! Kernels with extreme points or parameters, wrong shapes, and training.

use burn::{
    module::Param,
    optim::{AdamConfig, GradientsParams},
    prelude::*,
    tensor::{DType, TensorData},
};
use burn_lazy::{Axis, LazyTensor};
use burn_lazy_nn::{PositiveConfig, kernel::*};

use super::support::*;

fn pair(x: &Tensor<2>, y: &Tensor<2>) -> [LazyTensor; 2] {
    [LazyTensor::vi(x.clone()), LazyTensor::vj(y.clone())]
}

#[test]
fn positive_parameters_start_with_their_values_and_stay_between_bounds() {
    for (dtype, tolerance) in dtypes() {
        let device = device().autodiff();
        let values = vec![1e-20, 0.3, 1.0, 1e20];
        let free = PositiveConfig::new(values.clone()).init((&device, dtype));
        assert_eq!(free.dim(), 4);
        for (own, value) in host(free.value()).iter().zip(&values) {
            assert!(
                (own / value - 1.0).abs() < tolerance,
                "{own} instead of {value}"
            );
        }
        let raw = free.raw.val();
        let gradients = free.value().sum().backward();
        // The parameter is the logarithm of the value, so the derivative of the value is the value
        // itself.
        assert_gradient("by logarithm", &raw, &gradients, &values, tolerance);

        let above = PositiveConfig::new(vec![0.2])
            .with_lower(0.1)
            .init((&device, dtype));
        assert_close("above a bound", &host(above.value()), &[0.2], tolerance);

        let bounded = PositiveConfig::new(vec![0.2, 0.7])
            .with_lower(0.1)
            .with_upper(Some(2.0))
            .with_batch(Some(3));
        let mut bounded = bounded.init((&device, dtype));
        assert_eq!(bounded.value().dims(), [3, 2]);
        assert_close(
            "bounded",
            &host(bounded.value()),
            &[0.2, 0.7].repeat(3),
            tolerance,
        );
        let ends = Tensor::from_data(TensorData::from([[-1e3, 1e3]]), (&device, dtype));
        bounded.raw = Param::from_tensor(ends);
        assert_close("bounds", &host(bounded.value()), &[0.1, 2.0], tolerance);
    }
}

#[test]
fn wrong_parameters_are_errors() {
    let device = device();
    let text = |config: PositiveConfig| config.try_init(&device).unwrap_err().to_string();
    let one = || PositiveConfig::new(vec![1.0]);
    assert_eq!(
        text(PositiveConfig::new(vec![])),
        "a positive parameter must not be empty"
    );
    assert_eq!(
        text(one().with_batch(Some(0))),
        "a positive parameter must not be empty"
    );
    let within = "but must be finite and between the bounds";
    assert_eq!(
        text(PositiveConfig::new(vec![1.0, -2.0])),
        format!("`value` is -2, {within}")
    );
    assert_eq!(
        text(PositiveConfig::new(vec![f64::NAN])),
        format!("`value` is NaN, {within}")
    );
    assert_eq!(
        text(one().with_lower(1.0)),
        format!("`value` is 1, {within}")
    );
    assert_eq!(
        text(one().with_upper(Some(0.5))),
        format!("`value` is 1, {within}")
    );
    assert_eq!(
        text(one().with_lower(-1.0)),
        "`lower` is -1, but must be finite and not negative"
    );
    let above = "finite and above the lower bound";
    assert_eq!(
        text(one().with_upper(Some(0.0))),
        format!("`upper` is 0, but must be {above}")
    );
    let error = RbfConfig::new()
        .with_length_scale(0.0)
        .try_init(&device)
        .unwrap_err();
    assert_eq!(error.to_string(), format!("`value` is 0, {within}"));
    let error = ArcCosineConfig::new(3).try_init().unwrap_err();
    assert_eq!(error.to_string(), "`order` is 3, but must be 0, 1 or 2");
    let error = SpectralMixtureConfig::new(0, 1)
        .try_init(&device)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`components` is 0, but must be at least 1"
    );
}

#[test]
#[should_panic(expected = "`value` is -1, but must be finite and between the bounds")]
fn a_negative_variance_panics() {
    let device = device();
    let _ = ScaleConfig::new()
        .with_variance(-1.0)
        .init(CosineConfig::new().init(), &device);
}

#[test]
fn points_that_do_not_fit_are_errors() {
    let device = device();
    let [x, y, one] = [[4, 3], [5, 2], [4, 1]].map(|shape| Tensor::<2>::ones(shape, &device));
    let error = |kernel: &dyn Fn(&[LazyTensor; 2]) -> Option<String>, x, y| {
        kernel(&pair(x, y)).expect("it is an error")
    };
    let rbf = RbfConfig::new().init(&device);
    let plain = |points: &[LazyTensor; 2]| {
        let [x, y] = points;
        rbf.try_forward(x, y).err().map(|error| error.to_string())
    };
    let expected = "dot: the inner dimensions 3 and 2 do not fit; left is x0 of symbolic shape (4, 1, 3) with `x0` of \
                    shape [4, 3]; right is y0 of symbolic shape (1, 5, 2) with `y0` of shape [5, 2]";
    assert_eq!(error(&plain, &x, &y), expected);
    // Points with one component are not broadcast either.
    assert!(error(&plain, &one, &y).starts_with("dot: the inner dimensions 1 and 2 do not fit"));

    let ard = RbfConfig::new().with_ard(Some(2)).init(&device);
    let by_coordinate = |points: &[LazyTensor; 2]| {
        let [x, y] = points;
        ard.try_forward(x, y).err().map(|error| error.to_string())
    };
    let text = error(&by_coordinate, &x, &x);
    assert!(
        text.starts_with("dot: the inner dimensions 3 and 2 do not fit"),
        "{text}"
    );
    assert!(
        text.ends_with("right is p0 of symbolic shape (1, 1, 2) with `p0` of shape [2]"),
        "{text}"
    );
    assert!(error(&by_coordinate, &one, &one).contains("1 and 2 do not fit"));
    let text = ard.try_diag(x.clone()).unwrap_err().to_string();
    assert!(
        text.starts_with("dot: the inner dimensions 3 and 2 do not fit"),
        "{text}"
    );

    let mixture = SpectralMixtureConfig::new(2, 2).init(&device);
    for points in [&x, &one] {
        let [x, y] = pair(points, points);
        let text = mixture.try_forward(&x, &y).unwrap_err().to_string();
        assert!(text.contains("do not fit"), "{text}");
        assert!(mixture.try_diag(points.clone()).is_err());
    }
    let batched = RbfConfig::new().with_batch(Some(3)).init(&device);
    let text = batched.try_diag(x).unwrap_err().to_string();
    assert!(text.contains("not a tensor of 2 dimensions"), "{text}");
}

#[test]
#[should_panic(expected = "dot: the inner dimensions 3 and 2 do not fit")]
fn a_matrix_of_points_that_do_not_fit_panics() {
    let device = device();
    let [x, y] = [[4, 3], [5, 2]].map(|shape| Tensor::<2>::ones(shape, &device));
    let [x, y] = pair(&x, &y);
    let _ = LinearConfig::new().init(&device).forward(&x, &y);
}

#[test]
fn empty_clouds_give_empty_results() {
    let device = device();
    let kernel = RbfConfig::new().init(&device) + ConstantConfig::new(1.0).init(&device);
    let [none, some] = [[0, 2], [3, 2]].map(|shape| Tensor::<2>::ones(shape, &device));
    let [x, y] = pair(&none, &some);
    let sums: Tensor<2> = kernel.forward(&x, &y).sum(Axis::J);
    assert_eq!(sums.dims(), [0, 1]);
    let [x, y] = pair(&some, &none);
    let sums: Tensor<2> = kernel.forward(&x, &y).sum(Axis::J);
    assert_eq!(host(sums), [0.0; 3]);
    assert_eq!(kernel.diag(none).dims(), [0, 1]);
}

#[test]
fn nan_stays_in_its_row() {
    let device = device();
    let kernel = RbfConfig::new().init(&device) + LinearConfig::new().init(&device);
    let x = Tensor::<2>::from_data([[0.0, 1.0], [f32::NAN, 0.0], [2.0, 1.0]], &device);
    let y = Tensor::<2>::ones([2, 2], &device);
    let [x_i, y_j] = pair(&x, &y);
    let sums: Tensor<2> = kernel.forward(&x_i, &y_j).sum(Axis::J);
    let is_nan: Vec<bool> = host(sums).iter().map(|value| value.is_nan()).collect();
    assert_eq!(is_nan, [false, true, false]);
    let is_nan: Vec<bool> = host(kernel.diag(x))
        .iter()
        .map(|value| value.is_nan())
        .collect();
    assert_eq!(is_nan, [false, true, false]);
}

#[test]
fn tiny_and_huge_length_scales_have_finite_gradients() {
    fn check<K: Kernel>(name: &str, expected: [f64; 2], kernel: K, dtype: DType, device: &Device) {
        // Two points coincide, and the second coordinate is constant.
        let x = tensor(&[0.5, 1.0, 0.5, 1.0, -0.5, 1.0], [3, 2], dtype, device).require_grad();
        let [x_i, y_j] = pair(&x, &x);
        let sums: Tensor<2> = kernel.forward(&x_i, &y_j).sum(Axis::J);
        let [near, far] = expected;
        let rows = [2.0 * near + far, 2.0 * near + far, near + 2.0 * far];
        assert_close(name, &host(sums.clone()), &rows, 1e-5);
        let gradients = sums.sum().backward();
        let by_points = host(x.grad(&gradients).expect("it is tracked"));
        assert!(
            by_points.iter().all(|value| value.is_finite()),
            "{name}: {by_points:?}"
        );
        let mut finite = Finite(gradients, true);
        kernel.visit(&mut finite);
        assert!(finite.1, "{name}: by parameters");
    }

    /// Whether all gradients of a module are finite.
    struct Finite(burn::tensor::Gradients, bool);

    impl burn::module::ModuleVisitor for Finite {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            let gradient = parameter.val().grad(&self.0).expect("it is learned");
            self.1 &= host(gradient).iter().all(|value| value.is_finite());
        }
    }

    for (dtype, _) in dtypes() {
        let device = device().autodiff();
        for (length, expected) in [(1e-20, [1.0, 0.0]), (1e20, [1.0, 1.0])] {
            let o = (&device, dtype);
            let name = |kernel: &str| format!("{kernel} of length scale {length:e} in {dtype:?}");
            let rbf = RbfConfig::new().with_length_scale(length);
            check(&name("rbf"), expected, rbf.clone().init(o), dtype, &device);
            let ard = rbf.with_ard(Some(2)).init(o);
            check(&name("rbf by coordinates"), expected, ard, dtype, &device);
            for smoothness in [
                Smoothness::Half,
                Smoothness::ThreeHalves,
                Smoothness::FiveHalves,
            ] {
                let matern = MaternConfig::new(smoothness)
                    .with_length_scale(length)
                    .init(o);
                check(
                    &name(&format!("{smoothness:?}")),
                    expected,
                    matern,
                    dtype,
                    &device,
                );
            }
        }
    }
}

#[test]
fn points_far_from_zero_and_points_at_zero_are_right() {
    let device = device();
    let x = Tensor::<2>::from_data([[1e-30, 0.0], [1e30, 1e30], [0.0, 0.0]], &device);
    let cosine = CosineConfig::new().init();
    assert_close(
        "diagonal",
        &host(cosine.diag(x.clone())),
        &[1.0, 1.0, 0.0],
        1e-6,
    );
    let [x_i, x_j] = pair(&x, &x);
    let half = 0.5f64.sqrt();
    let expected = [1.0, half, 0.0, half, 1.0, 0.0, 0.0, 0.0, 0.0];
    assert_close(
        "matrix",
        &host(cosine.forward(&x_i, &x_j).dense::<3>()),
        &expected,
        1e-6,
    );
    let steps = ArcCosineConfig::new(0).init().diag(x);
    assert_close("steps", &host(steps), &[1.0, 1.0, 0.5], 1e-6);
}

#[test]
fn arc_cosine_kernels_of_one_cloud_have_gradients() {
    for order in [1, 2] {
        let kernel = ArcCosineConfig::new(order).init();
        let dtype = DType::F64;
        if !dtypes().iter().any(|(own, _)| *own == dtype) {
            return;
        }
        let value = |x: &Tensor<2>| {
            let [x_i, y_j] = pair(x, x);
            let sums: Tensor<2> = kernel.forward(&x_i, &y_j).sum(Axis::J);
            sums.sum()
        };
        let values = Random::new(13).vec(8);
        let leaf = tensor(&values, [4, 2], dtype, &device().autodiff()).require_grad();
        let gradients = value(&leaf).backward();
        let expected = differences(&values, &|x| {
            value(&tensor(x, [4, 2], dtype, &device())).into_scalar()
        });
        let name = format!("order {order}");
        assert_gradient(&name, &leaf, &gradients, &expected, 1e-5);
    }
}

#[test]
fn points_of_half_precision_are_computed() {
    let device = device();
    let dtype = DType::F16;
    if !reduces(dtype) {
        return skipped("the device has no F16");
    }
    let kernel = RbfConfig::new().with_length_scale(1.0).init(&device);
    let x = tensor(&[0.0, 1.0, 2.0], [3, 1], dtype, &device);
    let [x_i, y_j] = pair(&x, &x);
    let sums: Tensor<2> = kernel.forward(&x_i, &y_j).sum(Axis::J);
    assert_eq!(sums.dtype(), dtype);
    let [one, two] = [(-0.5f64).exp(), (-2f64).exp()];
    let expected = [1.0 + one + two, 1.0 + 2.0 * one, 1.0 + one + two];
    assert_close("sums", &host(sums), &expected, 2e-3);
    assert_eq!(host(kernel.diag(x)), [1.0; 3]);
}

#[test]
fn training_fits_a_matrix() {
    let device = device().autodiff();
    let x = tensor(&Random::new(11).vec(16), [8, 2], DType::F32, &device);
    let [x_i, y_j] = pair(&x, &x);
    let b = tensor::<2>(&Random::new(12).vec(8), [8, 1], DType::F32, &device);
    let make = |length: f64, variance: f64| {
        let rbf = RbfConfig::new()
            .with_ard(Some(2))
            .with_length_scale(length)
            .init(&device);
        ScaleConfig::new()
            .with_variance(variance)
            .init(rbf, &device)
    };
    let target = make(0.6, 2.0)
        .forward(&x_i, &y_j)
        .matmul(b.clone())
        .detach();
    let mut kernel = make(1.5, 1.0);
    let mut optimiser = AdamConfig::new().init();
    let mut losses = Vec::new();
    for _ in 0..60 {
        let error = kernel.forward(&x_i, &y_j).matmul(b.clone()) - target.clone();
        let loss = error.square().mean();
        losses.push(loss.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &kernel);
        kernel = optimiser.step(0.05, kernel, gradients);
    }
    let (first, last) = (losses[0], losses[59]);
    assert!(last < 0.05 * first, "from {first} to {last}");
}
