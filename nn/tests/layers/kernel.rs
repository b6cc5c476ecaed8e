//! Kernels against scikit-learn, against differences of their own values, and against each other.

use burn::{
    prelude::*,
    tensor::{DType, TensorCreationOptions, TensorData},
};
use burn_lazy::{Axis, LazyTensor, kernels};
use burn_lazy_nn::{Positive, kernel::*};

use super::{
    reference::{self, numbers},
    support::*,
};

/// Calls `$check` with each kernel: its name, the function that makes it, and its parameters in the order of the
/// reference.
macro_rules! each_kernel {
    ($check:ident $(, $argument:expr)*) => {
        $check("rbf", |o| ard_rbf(o), |k| vec![&k.length_scale] $(, $argument)*);
        $check(
            "rbf of one length scale",
            |o| RbfConfig::new().with_length_scale(0.8).init(o),
            |k| vec![&k.length_scale]
            $(, $argument)*
        );
        $check("matern 1/2", |o| matern(Smoothness::Half, o), |k| vec![&k.length_scale] $(, $argument)*);
        $check("matern 3/2", |o| matern(Smoothness::ThreeHalves, o), |k| vec![&k.length_scale] $(, $argument)*);
        $check("matern 5/2", |o| matern(Smoothness::FiveHalves, o), |k| vec![&k.length_scale] $(, $argument)*);
        $check(
            "rational quadratic",
            |o| RationalQuadraticConfig::new().with_length_scale(0.8).with_alpha(1.5).init(o),
            |k| vec![&k.length_scale, &k.alpha]
            $(, $argument)*
        );
        $check("periodic", |o| periodic(o), |k| vec![&k.length_scale, &k.period] $(, $argument)*);
        $check(
            "scale",
            |o: TensorCreationOptions| {
                ScaleConfig::new().with_variance(2.5).init(ard_rbf(o.clone()), o)
            },
            |k| vec![&k.variance, &k.kernel.length_scale]
            $(, $argument)*
        );
        $check(
            "sum",
            |o: TensorCreationOptions| ard_rbf(o.clone()) + iso_matern(o),
            |k| vec![&k.left.length_scale, &k.right.length_scale]
            $(, $argument)*
        );
        $check(
            "product",
            |o: TensorCreationOptions| ard_rbf(o.clone()) * iso_matern(o),
            |k| vec![&k.left.length_scale, &k.right.length_scale]
            $(, $argument)*
        );
        $check(
            "linear and constant",
            |o: TensorCreationOptions| {
                LinearConfig::new().init(o.clone()).fixed() + ConstantConfig::new(0.49).init(o)
            },
            |k| vec![&k.right.value]
            $(, $argument)*
        );
        $check("linear", |o| linear(o), |k| vec![&k.variance] $(, $argument)*);
        $check(
            "polynomial",
            |o| PolynomialConfig::new(3).with_offset(0.49).init(o),
            |k| vec![&k.offset]
            $(, $argument)*
        );
        $check("cosine", |_| CosineConfig::new().init(), |_| vec![] $(, $argument)*);
        $check("arc-cosine 0", |_| ArcCosineConfig::new(0).init(), |_| vec![] $(, $argument)*);
        $check("arc-cosine 1", |_| ArcCosineConfig::new(1).init(), |_| vec![] $(, $argument)*);
        $check("arc-cosine 2", |_| ArcCosineConfig::new(2).init(), |_| vec![] $(, $argument)*);
        $check(
            "spectral mixture",
            |o| SpectralMixtureConfig::new(2, 2).with_max_frequency(1.2).init(o),
            |k| vec![&k.weights, &k.frequencies, &k.variances]
            $(, $argument)*
        );
    };
}

/// Turns off the gradients of a kernel.
trait Fixed: Module {
    fn fixed(self) -> Self {
        self.no_grad()
    }
}

impl<M: Module> Fixed for M {}

/// Sets a parameter to one value for each coordinate.
fn set(parameter: &mut Positive, values: [f64; 2], options: TensorCreationOptions) {
    let raws = values.map(f64::ln).to_vec();
    let raws = Tensor::from_data(TensorData::new(raws, [1, 2]), options);
    parameter.raw = burn::module::Param::from_tensor(raws);
}

pub fn ard_rbf(o: TensorCreationOptions) -> Rbf {
    let mut kernel = RbfConfig::new().with_ard(Some(2)).init(o.clone());
    set(&mut kernel.length_scale, [0.7, 1.3], o);
    kernel
}

fn matern(smoothness: Smoothness, o: TensorCreationOptions) -> Matern {
    let mut kernel = MaternConfig::new(smoothness)
        .with_ard(Some(2))
        .init(o.clone());
    set(&mut kernel.length_scale, [0.7, 1.3], o);
    kernel
}

fn iso_matern(o: TensorCreationOptions) -> Matern {
    MaternConfig::new(Smoothness::ThreeHalves)
        .with_length_scale(0.8)
        .init(o)
}

fn periodic(o: TensorCreationOptions) -> Periodic {
    let mut kernel = PeriodicConfig::new().with_ard(Some(2)).init(o.clone());
    set(&mut kernel.length_scale, [0.7, 1.3], o.clone());
    set(&mut kernel.period, [0.9, 1.7], o);
    kernel
}

fn linear(o: TensorCreationOptions) -> Linear {
    let mut kernel = LinearConfig::new().with_ard(Some(2)).init(o.clone());
    set(&mut kernel.variance, [0.6, 2.5], o);
    kernel
}

pub fn options(device: &Device, dtype: DType) -> TensorCreationOptions {
    (device, dtype).into()
}

pub fn matrix<K: Kernel>(kernel: &K, x: &Tensor<2>, y: &Tensor<2>) -> Tensor<2> {
    let k_xy = kernel.forward(&LazyTensor::vi(x.clone()), &LazyTensor::vj(y.clone()));
    k_xy.dense::<3>().squeeze_dim(2)
}

fn points() -> Vec<f64> {
    numbers(&reference::read("kernels")["x"])
}

#[test]
fn kernels_and_derivatives_by_parameters_are_those_of_scikit_learn() {
    fn check<K: Kernel>(
        name: &str,
        make: impl Fn(TensorCreationOptions) -> K,
        parameters: impl Fn(&K) -> Vec<&Positive>,
    ) {
        let values = reference::read("kernels");
        let case = &values["cases"][name];
        for (dtype, tolerance) in dtypes() {
            let device = device().autodiff();
            let kernel = make(options(&device, dtype));
            let x = tensor(&numbers(&values["x"]), [7, 2], dtype, &device);
            let dense = matrix(&kernel, &x, &x);
            // The angle between parallel points is the square root of the rounding error of its cosine.
            let close = match name {
                "arc-cosine 0" => tolerance.sqrt(),
                _ => 2.0 * tolerance,
            };
            assert_close(name, &host(dense), &numbers(&case["matrix"]), close);

            let vector = |name: &str| tensor(&numbers(&values[name]), [7, 1], dtype, &device);
            let k_xx = kernel.forward(&LazyTensor::vi(x.clone()), &LazyTensor::vj(x));
            let number = (k_xx.matmul(vector("right")) * vector("left")).sum();
            let parameters = parameters(&kernel);
            if parameters.is_empty() {
                continue;
            }
            let gradients = number.backward();
            let own: Vec<f64> = parameters
                .iter()
                .flat_map(|own| host(own.raw.val().grad(&gradients).expect("it is learned")))
                .collect();
            assert_close(name, &own, &numbers(&case["gradient"]), 10.0 * tolerance);
        }
    }

    each_kernel!(check);
}

#[test]
fn derivatives_by_points_are_differences() {
    fn check<K: Kernel>(
        name: &str,
        make: impl Fn(TensorCreationOptions) -> K,
        _parameters: impl Fn(&K) -> Vec<&Positive>,
    ) {
        let dtype = DType::F64;
        let x = points();
        let y = Random::new(3).vec(8);
        let weights = Random::new(4).vec(28);
        let value = |x: &Tensor<2>, device: &Device| {
            let y = tensor(&y, [4, 2], dtype, device);
            let dense = matrix(&make(options(device, dtype)), x, &y);
            (dense * tensor(&weights, [7, 4], dtype, device)).sum()
        };
        let tracking = device().autodiff();
        let leaf = tensor(&x, [7, 2], dtype, &tracking).require_grad();
        let gradients = value(&leaf, &tracking).backward();
        let expected = differences(&x, &|x| {
            value(&tensor(x, [7, 2], dtype, &device()), &device()).into_scalar()
        });
        assert_gradient(name, &leaf, &gradients, &expected, 1e-7);
    }

    if dtypes().iter().any(|(dtype, _)| *dtype == DType::F64) {
        each_kernel!(check);
    }
}

#[test]
fn batches_transposed_tensors_and_permutations_change_no_value() {
    fn check<K: Kernel>(
        name: &str,
        make: impl Fn(TensorCreationOptions) -> K,
        _parameters: impl Fn(&K) -> Vec<&Positive>,
    ) {
        let (device, dtype) = (device(), DType::F32);
        let kernel = make(options(&device, dtype));
        let values = points();
        let x: Tensor<2> = tensor(&values, [7, 2], dtype, &device);
        let y: Tensor<2> = tensor(&Random::new(5).vec(6), [3, 2], dtype, &device);
        let expected = host(matrix(&kernel, &x, &y));

        let columns: Vec<f64> = (0..14).map(|k| values[(k % 7) * 2 + k / 7]).collect();
        let transposed = tensor::<2>(&columns, [2, 7], dtype, &device).transpose();
        assert_close(
            name,
            &host(matrix(&kernel, &transposed, &y)),
            &expected,
            1e-6,
        );

        let order = [3, 0, 6, 1, 5, 2, 4];
        let permuted = Tensor::from_data(TensorData::from(order), &device);
        let permuted = x.clone().select(0, permuted);
        let rows: Vec<f64> = order
            .iter()
            .flat_map(|i| &expected[i * 3..i * 3 + 3])
            .copied()
            .collect();
        assert_close(name, &host(matrix(&kernel, &permuted, &y)), &rows, 1e-6);

        let both: Tensor<3> = Tensor::stack(vec![x.clone(), permuted.clone()], 0);
        let k = kernel.forward(&LazyTensor::vi(both.clone()), &LazyTensor::vj(y));
        let batch = host(k.dense::<4>());
        assert_close(name, &batch, &[expected, rows].concat(), 1e-6);

        let diagonals = host(kernel.diag(both));
        let single = [x, permuted].map(|x| host(kernel.diag(x))).concat();
        assert_close(name, &diagonals, &single, 1e-6);
    }

    each_kernel!(check);
}

#[test]
fn the_diagonal_is_that_of_the_matrix() {
    fn check<K: Kernel>(
        name: &str,
        make: impl Fn(TensorCreationOptions) -> K,
        parameters: impl Fn(&K) -> Vec<&Positive>,
    ) {
        for (dtype, tolerance) in dtypes() {
            let device = device().autodiff();
            let kernel = make(options(&device, dtype));
            let leaf = || tensor(&points(), [7, 2], dtype, &device).require_grad();
            let [own, formula] = [leaf(), leaf()];
            let diagonal = kernel.diag(own.clone());
            let x = (
                LazyTensor::vi(formula.clone()),
                LazyTensor::vj(formula.clone()),
            );
            let expected: Tensor<2> = kernel.forward(&x.0, &x.1).diag();
            let close = match name {
                "arc-cosine 0" => tolerance.sqrt(),
                _ => tolerance,
            };
            assert_close(
                name,
                &host(diagonal.clone()),
                &host(expected.clone()),
                close,
            );
            // The matrix has no gradient where the angle is 0.
            if name.starts_with("arc") {
                continue;
            }
            let weights = tensor(&Random::new(6).vec(7), [7, 1], dtype, &device);
            let gradients =
                [diagonal, expected].map(|own| (own * weights.clone()).sum().backward());
            let zero = || Tensor::zeros([7, 2], (&device, dtype));
            let by_points = |leaf: &Tensor<2>, at: usize| {
                host(leaf.grad(&gradients[at]).unwrap_or_else(|| zero().inner()))
            };
            let [left, right] = [by_points(&own, 0), by_points(&formula, 1)].map(one_and);
            assert_close(name, &left, &right, 10.0 * tolerance);
            for parameter in parameters(&kernel) {
                let raw = parameter.raw.val();
                let Some(right) = raw.grad(&gradients[1]) else {
                    continue;
                };
                let right = host(right);
                let left = raw.grad(&gradients[0]).map_or(vec![0.0; right.len()], host);
                let [left, right] = [left, right].map(one_and);
                assert_close(name, &left, &right, 10.0 * tolerance);
            }
        }
    }

    /// Appends a 1, so that errors are relative to at least 1.
    fn one_and(mut values: Vec<f64>) -> Vec<f64> {
        values.push(1.0);
        values
    }

    each_kernel!(check);
}

#[test]
fn a_loaded_kernel_gives_the_same_matrix() {
    fn check<K: Kernel>(
        name: &str,
        make: impl Fn(TensorCreationOptions) -> K,
        parameters: impl Fn(&K) -> Vec<&Positive>,
    ) {
        let (device, dtype) = (device(), DType::F32);
        let kernel = make(options(&device, dtype));
        let x = tensor(&points(), [7, 2], dtype, &device);
        let expected = host(matrix(&kernel, &x, &x));
        let count = parameters(&kernel).len();
        let bytes = kernel.into_record().into_bytes().expect("it is written");
        let other = make(options(&device, dtype)).map(&mut Doubled);
        if count > 0 {
            assert_ne!(host(matrix(&other, &x, &x)), expected, "{name}");
        }
        let record = burn::store::ModuleRecord::from_bytes(bytes).expect("it is read");
        let loaded = other.load_record(record);
        assert_eq!(host(matrix(&loaded, &x, &x)), expected, "{name}");
    }

    /// Changes all parameters.
    struct Doubled;

    impl burn::module::ModuleMapper for Doubled {
        fn map_float<const D: usize>(
            &mut self,
            parameter: burn::module::Param<Tensor<D>>,
        ) -> burn::module::Param<Tensor<D>> {
            parameter.map(|raw| raw + 0.7)
        }
    }

    each_kernel!(check);
}

#[test]
fn a_batch_of_parameters_gives_a_batch_of_matrices() {
    let device = device();
    let lengths = [[0.5, 1.5], [2.0, 0.25]];
    let x = tensor(&points(), [7, 2], DType::F32, &device);
    let mut kernel = RbfConfig::new()
        .with_ard(Some(2))
        .with_batch(Some(2))
        .init(&device);
    let raws = Tensor::from_data(lengths.map(|row| row.map(f64::ln)), &device);
    kernel.length_scale.raw = burn::module::Param::from_tensor(raws);
    assert_eq!(kernel.length_scale.batch(), Some(2));
    let batched = ScaleConfig::new()
        .with_batch(Some(2))
        .with_variance(3.0)
        .init(kernel, &device);
    let k_xx = batched.forward(&LazyTensor::vi(x.clone()), &LazyTensor::vj(x.clone()));
    assert_eq!(k_xx.shape(), [2, 7, 7, 1]);
    let single = lengths.map(|own| {
        let mut kernel = ard_rbf((&device).into());
        set(&mut kernel.length_scale, own, (&device).into());
        let kernel = ScaleConfig::new().with_variance(3.0).init(kernel, &device);
        host(matrix(&kernel, &x, &x))
    });
    assert_close("batch", &host(k_xx.dense::<4>()), &single.concat(), 1e-6);
    let variances = batched.diag::<3>(x.unsqueeze());
    assert_eq!(variances.dims(), [2, 7, 1]);
    assert_close("diagonal", &host(variances), &[3.0; 14], 1e-6);
}

#[test]
fn a_kernel_is_the_bare_formula() {
    let device = device();
    let x = tensor(&points(), [7, 2], DType::F32, &device);
    let (x_i, y_j) = (LazyTensor::vi(x.clone()), LazyTensor::vj(x));
    let number = || LazyTensor::pm(Tensor::<1>::ones([1], &device));
    let gaussian = kernels::gaussian(&x_i, &y_j, number());
    let scaled = ScaleConfig::new().init(RbfConfig::new().init(&device), &device);
    let formula = scaled.forward(&x_i, &y_j).formula();
    assert_eq!(formula, (gaussian.clone() * number()).formula());
    let smooth = MaternConfig::new(Smoothness::FiveHalves).init(&device);
    let sum = (scaled + smooth).forward(&x_i, &y_j).formula();
    let bare = gaussian * number() + kernels::matern52(&x_i, &y_j, number());
    assert_eq!(sum, bare.formula());
    let constant = ConstantConfig::new(2.0).init(&device).forward(&x_i, &y_j);
    assert_eq!(constant.shape(), [7, 7, 1]);
    assert_eq!(constant.formula().to_string(), "p0");
    let sums: Tensor<2> = constant.sum(Axis::J);
    assert_close("constant", &host(sums), &[14.0; 7], 1e-6);
}
