//! The Gaussian sum $a_i = \sum_j \exp(-|x_i - y_j|^2) b_j$ on the device that `BURN_DEVICE` selects.
//!
//! `cargo xtask bench` runs it on the CPU runtime. First the time of the first call with compilation
//! and the error against `f64` are printed for each inner dimension, then throughput is measured;
//! an item is a pair.

use std::time::Instant;

use burn::{prelude::*, tensor::Distribution};
use burn_lazy::{Axis, LazyTensor};
use divan::{Bencher, counter::ItemsCount};

const POINTS: usize = 10_000;
const DIMS: [usize; 6] = [1, 3, 10, 16, 64, 100];

struct Problem {
    x: Tensor<2>,
    y: Tensor<2>,
    b: Tensor<2>,
}

impl Problem {
    /// Points of which a good part are near each other at any dimension.
    fn new(d: usize, device: &Device) -> Self {
        Self::of_size(POINTS, d, device)
    }

    fn of_size(points: usize, d: usize, device: &Device) -> Self {
        let uniform = Distribution::Uniform(0.0, 1.0 / (d as f64).sqrt());
        Self {
            x: Tensor::random([points, d], uniform, device),
            y: Tensor::random([points, d], uniform, device),
            b: Tensor::random([points, 1], Distribution::Uniform(0.0, 1.0), device),
        }
    }

    fn squared_distances(&self) -> LazyTensor {
        let x_i = LazyTensor::vi(self.x.clone());
        x_i.sqdist(LazyTensor::vj(self.y.clone()))
    }

    fn sum(&self) -> Tensor<2> {
        (-self.squared_distances()).exp().matmul(self.b.clone())
    }

    /// The relative error of every hundredth row against a sum in `f64`.
    fn error(&self, out: Tensor<2>) -> f64 {
        let host = |t: Tensor<2>| t.into_data().iter::<f64>().collect::<Vec<f64>>();
        let d = self.x.dims()[1];
        let (x, y, b) = (
            host(self.x.clone()),
            host(self.y.clone()),
            host(self.b.clone()),
        );
        let out = host(out);
        let (mut error, mut norm) = (0.0, 0.0);
        for i in (0..out.len()).step_by(100) {
            let row = &x[i * d..][..d];
            let terms = y.chunks(d).zip(&b).map(|(column, b)| {
                let pairs = row.iter().zip(column);
                (-pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>()).exp() * b
            });
            let exact: f64 = terms.sum();
            error += (out[i] - exact).powi(2);
            norm += exact.powi(2);
        }
        (error / norm).sqrt()
    }
}

fn first_calls(device: &Device) {
    println!("device {device:?}, M = N = {POINTS}");
    for (d, points) in DIMS.map(|d| (d, POINTS)).into_iter().chain([(500, 100)]) {
        let problem = Problem::of_size(points, d, device);
        device.sync().expect("the device runs");
        let start = Instant::now();
        let out = problem.sum();
        device.sync().expect("the device runs");
        let seconds = start.elapsed().as_secs_f64();
        let error = problem.error(out);
        println!(
            "D = {d:3}, {points:5} points: first call {seconds:.3} s, relative error {error:.1e}"
        );
    }
}

#[divan::bench(args = DIMS, sample_count = 20, sample_size = 1)]
fn sum(bencher: Bencher, d: usize) {
    let device = Device::default();
    let problem = Problem::new(d, &device);
    bencher
        .counter(ItemsCount::new(POINTS * POINTS))
        .bench_local(|| {
            let out = problem.sum();
            device.sync().expect("the device runs");
            out
        });
}

#[divan::bench(args = DIMS, sample_count = 10, sample_size = 1)]
fn logsumexp(bencher: Bencher, d: usize) {
    let device = Device::default();
    let problem = Problem::new(d, &device);
    bencher
        .counter(ItemsCount::new(POINTS * POINTS))
        .bench_local(|| {
            let out: Tensor<2> = problem.squared_distances().logsumexp(Axis::J);
            device.sync().expect("the device runs");
            out
        });
}

#[divan::bench(args = DIMS, sample_count = 10, sample_size = 1)]
fn argkmin_10(bencher: Bencher, d: usize) {
    let device = Device::default();
    let problem = Problem::new(d, &device);
    bencher
        .counter(ItemsCount::new(POINTS * POINTS))
        .bench_local(|| {
            let out: Tensor<2, Int> = problem.squared_distances().argkmin(10, Axis::J);
            device.sync().expect("the device runs");
            out
        });
}

#[divan::bench(args = DIMS, sample_count = 10, sample_size = 1)]
fn argmin(bencher: Bencher, d: usize) {
    let device = Device::default();
    let problem = Problem::new(d, &device);
    bencher
        .counter(ItemsCount::new(POINTS * POINTS))
        .bench_local(|| {
            let out: Tensor<2, Int> = problem.squared_distances().argmin(Axis::J);
            device.sync().expect("the device runs");
            out
        });
}

#[cfg(feature = "autodiff")]
#[divan::bench(args = [3, 100], sample_count = 10, sample_size = 1)]
fn gradient_by_x(bencher: Bencher, d: usize) {
    let device = Device::default().autodiff();
    let problem = Problem::new(d, &device);
    bencher
        .counter(ItemsCount::new(POINTS * POINTS))
        .bench_local(|| {
            let x = problem.x.clone().detach().require_grad();
            let tracked = Problem {
                x: x.clone(),
                y: problem.y.clone(),
                b: problem.b.clone(),
            };
            let gradient = x.grad(&tracked.sum().sum().backward());
            device.sync().expect("the device runs");
            gradient
        });
}

#[cfg(feature = "autodiff")]
#[divan::bench(args = [3, 100], sample_count = 10, sample_size = 1)]
fn gradient_by_all(bencher: Bencher, d: usize) {
    let device = Device::default().autodiff();
    let problem = Problem::new(d, &device);
    bencher
        .counter(ItemsCount::new(POINTS * POINTS))
        .bench_local(|| {
            let leaf = |t: &Tensor<2>| t.clone().detach().require_grad();
            let tracked = Problem {
                x: leaf(&problem.x),
                y: leaf(&problem.y),
                b: leaf(&problem.b),
            };
            let gradients = tracked.sum().sum().backward();
            device.sync().expect("the device runs");
            gradients
        });
}

/// The cost of a call where the work is next to nothing.
#[divan::bench(sample_count = 200, sample_size = 1)]
fn latency_of_100_points(bencher: Bencher) {
    let device = Device::default();
    let [x, y] = [(); 2].map(|()| Tensor::<2>::random([100, 3], Distribution::Default, &device));
    bencher.bench_local(|| {
        let (x_i, y_j) = (LazyTensor::vi(x.clone()), LazyTensor::vj(y.clone()));
        let out: Tensor<2> = (-x_i.sqdist(&y_j)).exp().sum(Axis::J);
        device.sync().expect("the device runs");
        out
    });
}

fn main() {
    // Cargo also runs this in tests, where a glance is enough.
    if !std::env::args().any(|arg| arg == "--test") {
        first_calls(&Device::default());
    }
    divan::main();
}
