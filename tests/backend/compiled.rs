//! Large reductions of tensors on the host. If the CPU runtime is compiled in, they run on its kernels, and the results
//! equal those of tensors of that runtime bit by bit.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{Axis, LazyTensor};

use super::support::*;

/// The numbers of rows and columns. They have enough pairs to use kernels for a distance and an exponential per pair.
const SIZES: [usize; 2] = [6000, 6100];

/// The points of rows and columns of a Gaussian, and the tensor that it is multiplied by.
struct Points {
    x: Tensor<2>,
    y: Tensor<2>,
    b: Tensor<2>,
}

impl Points {
    fn new(device: &Device) -> Self {
        let mut random = Random::new(5);
        let [m, n] = SIZES;
        let mut points = |len: usize, dim: usize| {
            tensor::<2>(&random.vec(len * dim), [len, dim], DType::F32, device)
        };
        Self {
            x: points(m, 3),
            y: points(n, 3),
            b: points(n, 2),
        }
    }

    fn distances(&self) -> LazyTensor {
        LazyTensor::vi(self.x.clone()).sqdist(LazyTensor::vj(self.y.clone()))
    }
}

/// Asserts that `run` gives the same results on both devices.
fn assert_same(what: &str, run: impl Fn(&Device) -> Vec<f64>) {
    let [host, runtime] = [device(), Device::cpu()].map(|device| run(&device));
    assert_eq!(host.len(), runtime.len(), "{what}");
    let differ = host.iter().zip(&runtime).filter(|(a, b)| a != b).count();
    assert_eq!(
        differ,
        0,
        "{what}: {differ} of {} values differ",
        host.len()
    );
}

#[test]
fn large_reductions_on_the_host_are_those_of_the_runtime() {
    if !is_interpreted() {
        return skipped("it is a test of backends on the host");
    }
    assert_same("products", |device| {
        let points = Points::new(device);
        host((-points.distances()).exp().matmul(points.b))
    });
    assert_same("one tensor", |device| {
        let x = Points::new(device).x;
        let pairs = LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x));
        host((-pairs).exp().sum::<2>(Axis::J))
    });
    assert_same("lists", |device| {
        let points = Points::new(device);
        let (values, indices): (Tensor<2>, Tensor<2, Int>) =
            points.distances().kmin_argkmin(5, Axis::I);
        let indices = indices.into_data().iter::<f64>().collect::<Vec<_>>();
        [host(values), indices].concat()
    });
    if !has(DType::F16) {
        return skipped("the backend has no halves");
    }
    assert_same("halves", |device| {
        let half = |points: Tensor<2>| points.cast(burn::tensor::FloatDType::F16);
        let points = Points::new(device);
        let (x, y) = (half(points.x), half(points.y));
        let pairs = LazyTensor::vi(x).sqdist(LazyTensor::vj(y));
        let means: Tensor<2> = (-pairs).exp().mean(Axis::J);
        host(means)
    });
}

#[cfg(feature = "autodiff")]
#[test]
fn large_gradients_on_the_host_are_those_of_the_runtime() {
    if !is_interpreted() {
        return skipped("it is a test of backends on the host");
    }
    assert_same("gradients", |device| {
        let points = Points::new(&device.clone().autodiff());
        let (x, y) = (points.x.require_grad(), points.y.require_grad());
        let pairs = LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(y.clone()));
        let sums: Tensor<2> = (-pairs).logsumexp(Axis::J);
        let gradients = sums.sum().backward();
        [x, y]
            .map(|leaf| host(leaf.grad(&gradients).unwrap()))
            .concat()
    });
}
