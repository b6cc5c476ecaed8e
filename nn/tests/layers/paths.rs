//! Spectra of kernels, and random functions drawn from processes.

use burn::{prelude::*, tensor::DType};
use burn_lazy::LazyTensor;
use burn_lazy_nn::{gp::*, kernel::*};

use super::{kernel::ard_rbf, support::*};

fn points<const N: usize>(values: [f64; N], dtype: DType, device: &Device) -> Tensor<2> {
    tensor(&values, [N, 1], dtype, device)
}

#[test]
fn frequencies_give_the_kernel() {
    fn check<K: Spectral>(name: &str, kernel: K) {
        let count = 20_000;
        let spectrum = kernel.spectrum(2, count, 1).expect("it has one");
        assert_eq!(
            (spectrum.dim(), spectrum.frequencies().len()),
            (2, 2 * count)
        );
        assert_eq!(kernel.spectrum(2, count, 1).expect("it has one"), spectrum);
        assert_ne!(kernel.spectrum(2, count, 2).expect("it has one"), spectrum);
        for difference in [[0.0, 0.0], [0.3, 0.0], [0.0, 0.5], [0.6, -0.7]] {
            let x = tensor::<2>(&difference, [1, 2], DType::F32, &device());
            let zero = Tensor::<2>::zeros([1, 2], &device());
            let k = kernel.forward(&LazyTensor::vi(x), &LazyTensor::vj(zero));
            let expected = host(k.dense::<3>())[0];
            let wave = |w: &[f64]| (w[0] * difference[0] + w[1] * difference[1]).cos();
            let sum: f64 = spectrum.frequencies().chunks(2).map(wave).sum();
            let own = spectrum.variance() * sum / count as f64;
            // The bound is five standard errors of a mean of cosines.
            let bound = 5.0 * spectrum.variance() / (2.0 * count as f64).sqrt();
            assert!(
                (own - expected).abs() < bound,
                "{name} at {difference:?}: {own}, {expected}"
            );
        }
    }

    let device = device();
    let o = || (&device).into();
    check("rbf", ard_rbf(o()));
    for smoothness in [
        Smoothness::Half,
        Smoothness::ThreeHalves,
        Smoothness::FiveHalves,
    ] {
        let matern = MaternConfig::new(smoothness)
            .with_length_scale(0.6)
            .init(&device);
        check(&format!("{smoothness:?}"), matern);
    }
    let scaled = ScaleConfig::new()
        .with_variance(2.5)
        .init(ard_rbf(o()), &device);
    let matern = MaternConfig::new(Smoothness::Half)
        .with_length_scale(0.9)
        .init(&device);
    check("scaled product", scaled * matern);
    check("square", ard_rbf(o()) * ard_rbf(o()));
    let scaled = ScaleConfig::new()
        .with_variance(0.4)
        .init(ard_rbf(o()), &device);
    check("product with a variance", ard_rbf(o()) * scaled);
    let matern = MaternConfig::new(Smoothness::ThreeHalves).init(&device);
    check(
        "second coordinate",
        ActiveDimsConfig::new(vec![1]).init(matern),
    );
}

#[test]
fn frequencies_of_one_coordinate_are_those_of_cauchy() {
    let config = MaternConfig::new(Smoothness::Half).with_length_scale(1.0);
    let spectrum = config.init(&device()).spectrum(1, 4000, 0);
    let frequencies = spectrum.expect("it has one").frequencies().to_vec();
    // The quartiles of the absolute values are the tangents of multiples of pi / 8.
    for quarter in [1.0, 2.0, 3.0] {
        let bound = (quarter * std::f64::consts::PI / 8.0).tan();
        let below = frequencies.iter().filter(|own| own.abs() < bound).count();
        let share = below as f64 / 4000.0;
        assert!(
            (share - quarter / 4.0).abs() < 0.04,
            "{share} below {bound}"
        );
    }
}

#[test]
fn spectra_of_other_points_are_errors() {
    let device = device();
    let text = |result: Result<Spectrum, burn_lazy_nn::LayerError>| result.unwrap_err().to_string();
    let ard = RbfConfig::new().with_ard(Some(3)).init(&device);
    assert_eq!(
        text(ard.spectrum(2, 5, 0)),
        "the parameter of a kernel of shape [1, 3] must have one number or one for each coordinate, and no batch, for \
         points of shape [2]"
    );
    let batch = RbfConfig::new().with_batch(Some(1)).init(&device);
    assert!(text(batch.spectrum(2, 5, 0)).contains("of shape [1, 1] must have one number"));
    let third = ActiveDimsConfig::new(vec![2]).init(RbfConfig::new().init(&device));
    assert_eq!(
        text(third.spectrum(2, 5, 0)),
        "`a coordinate` is 2, but must be one of the points"
    );
}

#[test]
fn paths_have_the_mean_and_variance_of_the_process() {
    let (device, dtype) = (device(), DType::F32);
    let kernel = ScaleConfig::new().with_variance(1.5).init(
        RbfConfig::new().with_length_scale(0.8).init(&device),
        &device,
    );
    let process = ExactGpConfig::new()
        .with_mean(MeanConfig::Constant)
        .with_noise(0.1);
    let mut process = process.init(kernel, &device);
    let offset = tensor(&[0.5], [1], dtype, &device);
    process.mean.offset = Some(burn::module::Param::from_tensor(offset));
    let x = points([-1.0, 0.0, 0.3], dtype, &device);
    let t = points([1.0, -0.5, 0.2], dtype, &device);
    let posterior = process.condition(x, t);
    // The last point is far from all data.
    let at = points([-0.7, 0.1, 1.0, 9.0], dtype, &device);
    let (mean, variance) = (posterior.mean(at.clone()), posterior.variance(at.clone()));
    let (mean, variance) = (host(mean), host(variance));
    let count = 400;
    let paths: Vec<Vec<f64>> = (0..count)
        .map(|seed| host(posterior.path(100, seed).forward(at.clone())))
        .collect();
    assert_ne!(paths[0], paths[1]);
    assert_eq!(host(posterior.path(100, 0).forward(at)), paths[0]);
    for k in 0..4 {
        let errors: Vec<f64> = paths.iter().map(|path| path[k] - mean[k]).collect();
        let average = errors.iter().sum::<f64>() / count as f64;
        let bound = 5.0 * (variance[k] / count as f64).sqrt();
        assert!(average.abs() < bound, "mean {k}: {average}, beyond {bound}");
        let own = errors.iter().map(|error| error * error).sum::<f64>() / count as f64;
        let bound = 5.0 * variance[k] * (2.0 / count as f64).sqrt();
        let expected = variance[k];
        assert!(
            (own - expected).abs() < bound,
            "variance {k}: {own}, not {expected}"
        );
    }
}

#[test]
fn paths_have_derivatives_by_points_and_refuse_others() {
    for (dtype, tolerance) in dtypes() {
        let path = |device: &Device| {
            let kernel = RbfConfig::new().init((device, dtype));
            let process = ExactGpConfig::new().init(kernel, (device, dtype));
            let x = points([0.0, 1.0], dtype, device);
            process.condition(x.clone(), x).path(20, 3)
        };
        let plain = path(&device());
        let error = plain
            .try_forward(Tensor::zeros([1, 2], (&device(), dtype)))
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("dot: the inner dimensions 2 and 1"),
            "{error}"
        );
        assert_eq!(
            plain
                .forward(Tensor::zeros([0, 1], (&device(), dtype)))
                .dims(),
            [0, 1]
        );
        let tracking = device().autodiff();
        let leaf = points([0.2, 0.7, 3.0], dtype, &tracking).require_grad();
        let values = path(&tracking).forward(leaf.clone());
        let same = host(plain.forward(points([0.2, 0.7, 3.0], dtype, &device())));
        assert_close("values", &host(values.clone()), &same, 100.0 * tolerance);
        if dtype == DType::F64 {
            let gradients = values.sum().backward();
            let expected = differences(&[0.2, 0.7, 3.0], &|at| {
                plain
                    .forward(tensor(at, [3, 1], dtype, &device()))
                    .sum()
                    .into_scalar()
            });
            assert_gradient("path", &leaf, &gradients, &expected, 1e-7);
        }
    }
    let device = device();
    let process = ExactGpConfig::new().init(RbfConfig::new().init(&device), &device);
    let one = points([0.0], DType::F32, &device);
    let error = process
        .condition(one.clone(), one)
        .try_path(0, 0)
        .unwrap_err();
    assert_eq!(error.to_string(), "`waves` is 0, but must be at least 1");
}
