//! Kernels of some coordinates, and kernels of features.

use burn::{
    nn,
    prelude::*,
    tensor::{DType, TensorData},
};
use burn_lazy::LazyTensor;
use burn_lazy_nn::kernel::*;

use super::{
    kernel::{ard_rbf, matrix, options},
    support::*,
};

#[test]
fn active_dims_take_some_coordinates() {
    for (dtype, tolerance) in dtypes() {
        let device = device();
        let o = || options(&device, dtype);
        let x = tensor(&Random::new(8).vec(15), [5, 3], dtype, &device);
        let kernel = ActiveDimsConfig::new(vec![2, 0]).init(ard_rbf(o()));
        let chosen = Tensor::from_data(TensorData::from([2, 0]), &device);
        let chosen = x.clone().select(1, chosen);
        let expected = host(matrix(&ard_rbf(o()), &chosen, &chosen));
        assert_close(
            "matrix",
            &host(matrix(&kernel, &x, &x)),
            &expected,
            tolerance,
        );
        assert_close("diagonal", &host(kernel.diag(x)), &[1.0; 5], tolerance);
    }
    let device = device();
    let kernel = ActiveDimsConfig::new(vec![3]).init(LinearConfig::new().init(&device));
    let error = kernel
        .try_diag(Tensor::<2>::ones([2, 3], &device))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("components 3..4 are not within the 3 of x0"),
        "{error}"
    );
    let [x, y] = [3, 4].map(|dim| Tensor::<2>::ones([2, dim], &device));
    let first = ActiveDimsConfig::new(vec![0]).init(LinearConfig::new().init(&device));
    let error = first
        .try_forward(&LazyTensor::vi(x), &LazyTensor::vj(y))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the inner dimensions 3 and 4 do not fit"),
        "{error}"
    );
    let none = ActiveDimsConfig::new(vec![]).try_init(kernel).unwrap_err();
    assert_eq!(
        none.to_string(),
        "`dims`, the coordinates of a kernel, must not be empty"
    );
}

#[test]
fn a_warped_kernel_is_the_kernel_of_features() {
    let device = device().autodiff();
    let map = nn::LinearConfig::new(3, 2).init(&device);
    let kernel = Warp::new(map, ard_rbf((&device).into()));
    let x = tensor(&Random::new(9).vec(30), [2, 5, 3], DType::F32, &device);
    let y: Tensor<2> = tensor(&Random::new(10).vec(12), [4, 3], DType::F32, &device);
    let k_xy = kernel.forward(&LazyTensor::vi(x.clone()), &LazyTensor::vj(y.clone()));
    assert_eq!(k_xy.shape(), [2, 5, 4, 1]);
    let (z, w) = (kernel.map.forward(x.clone()), kernel.map.forward(y.clone()));
    let plain = kernel
        .kernel
        .forward(&LazyTensor::vi(z), &LazyTensor::vj(w));
    let expected = plain.dense::<4>();
    let dense = k_xy.dense::<4>();
    assert_close(
        "features",
        &host(dense.clone()),
        &host(expected.clone()),
        1e-6,
    );
    let gradients = [dense, expected].map(|own| {
        let gradients = own.sum().backward();
        host(
            kernel
                .map
                .weight
                .val()
                .grad(&gradients)
                .expect("it is learned"),
        )
    });
    assert_close("gradient by weights", &gradients[0], &gradients[1], 1e-5);
    assert_close("diagonal", &host(kernel.diag(x)), &[1.0; 10], 1e-6);

    let columns = LazyTensor::vj(y);
    let error = kernel.try_forward(&columns, &columns).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("no operand depends on the axis i"),
        "{error}"
    );
}
