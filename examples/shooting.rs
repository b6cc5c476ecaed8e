//! Geodesic shooting of landmarks, through second derivatives of a kernel:
//! `cargo run --features cpu --example shooting`.
//!
//! Landmarks $q$ with momenta $p$ move by Hamilton's equations of
//! $H(q, p) = \frac 1 2 \sum_{ij} k(q_i, q_j) \langle p_i, p_j \rangle$ with a Gaussian kernel (Miller,
//! Trouvé and Younes, "Geodesic shooting for computational anatomy", 2006). The right-hand side is a symbolic gradient.
//! The derivative of the end points is of second order, and Burn's autodiff takes it through all steps. Energy and
//! total momentum are conserved, and a single landmark moves along a straight line.

mod common;

use std::process::ExitCode;

use burn::{prelude::*, tensor::Distribution};
use burn_lazy::{Axis, LazyTensor, kernels};
use common::{Checks, host, tracking_device};

const STEPS: usize = 10;
const LENGTH_SCALE: f64 = 0.5;

/// The symbolic energy of all pairs of landmarks. Its sum over a row is the energy of one landmark with all others.
fn energy(q_i: &LazyTensor, q_j: &LazyTensor, p: &Tensor<2>) -> LazyTensor {
    let (p_i, p_j) = (LazyTensor::vi(p.clone()), LazyTensor::vj(p.clone()));
    kernels::gaussian(q_i, q_j, LENGTH_SCALE) * (p_i | p_j) * 0.5
}

fn hamiltonian(q: &Tensor<2>, p: &Tensor<2>) -> Tensor<1> {
    let (q_i, q_j) = (LazyTensor::vi(q.clone()), LazyTensor::vj(q.clone()));
    let sums: Tensor<2> = energy(&q_i, &q_j, p).sum(Axis::J);
    sums.sum()
}

/// $(\dot q, \dot p) = (\partial_p H, -\partial_q H)$.
fn motion(q: &Tensor<2>, p: &Tensor<2>) -> [Tensor<2>; 2] {
    let (q_i, q_j) = (LazyTensor::vi(q.clone()), LazyTensor::vj(q.clone()));
    let velocity = kernels::gaussian(&q_i, &q_j, LENGTH_SCALE).matmul(p.clone());
    // By symmetry the derivative by a landmark is twice the derivative by the landmark as a row.
    let force: Tensor<2> = energy(&q_i, &q_j, p).grad(&q_i, -2.0).sum(Axis::J);
    [velocity, force]
}

/// The landmarks and momenta at time 1, by the classical method of Runge and Kutta.
fn shoot(q: Tensor<2>, p: Tensor<2>) -> [Tensor<2>; 2] {
    let h = 1.0 / STEPS as f64;
    let mut state = [q, p];
    for _ in 0..STEPS {
        let [q, p] = state;
        let moved = |k: &[Tensor<2>; 2], by: f64| {
            [q.clone() + k[0].clone() * by, p.clone() + k[1].clone() * by]
        };
        let k1 = motion(&q, &p);
        let [a, b] = moved(&k1, 0.5 * h);
        let k2 = motion(&a, &b);
        let [a, b] = moved(&k2, 0.5 * h);
        let k3 = motion(&a, &b);
        let [a, b] = moved(&k3, h);
        let k4 = motion(&a, &b);
        let mean = |part: usize| {
            let middle = (k2[part].clone() + k3[part].clone()) * 2.0;
            (k1[part].clone() + middle + k4[part].clone()) * (h / 6.0)
        };
        state = [q.clone() + mean(0), p.clone() + mean(1)];
    }
    state
}

fn main() -> ExitCode {
    let device = tracking_device();
    device.seed(3);
    let mut checks = Checks::default();

    let count = 60;
    let unit = Distribution::Uniform(-1.0, 1.0);
    let q = Tensor::<2>::random([count, 2], unit, &device);
    let p = Tensor::<2>::random([count, 2], unit, &device) * 0.1;
    let [end, momenta] = shoot(q.clone(), p.clone());
    println!("{count} landmarks, {STEPS} steps");
    let before = host(hamiltonian(&q, &p));
    checks.close("energy", &host(hamiltonian(&end, &momenta)), &before, 1e-5);
    let total = host(p.clone().sum_dim(0));
    checks.close(
        "total momentum",
        &host(momenta.clone().sum_dim(0)),
        &total,
        1e-4,
    );
    let [back, _] = shoot(end, momenta.neg());
    checks.close("there and back", &host(back), &host(q.clone()), 1e-5);

    // A single landmark ends at q + p, so the derivative of |end - target|^2 / 2 by p is end - target.
    let q = Tensor::<2>::from_floats([[0.1, 0.2]], &device);
    let p = Tensor::<2>::from_floats([[0.5, -0.3]], &device).require_grad();
    let target = Tensor::<2>::from_floats([[1.0, 1.0]], &device);
    let [end, _] = shoot(q, p.clone());
    let loss = (end - target).square().sum() * 0.5;
    let gradient = p.grad(&loss.backward()).expect("it is tracked");
    checks.close(
        "derivative by the momentum",
        &host(gradient),
        &[-0.4, -1.1],
        1e-5,
    );

    // Two landmarks: compare the gradient with finite differences.
    let q = [[0.0, 0.0], [0.3, 0.1]];
    let start = [0.4, 0.3, -0.2, 0.5];
    let loss = |p: Tensor<2>| {
        let [end, _] = shoot(Tensor::from_data(q, &device), p);
        (end - 1.0).square().sum()
    };
    let tensor = |p: [f64; 4]| Tensor::<2>::from_data([[p[0], p[1]], [p[2], p[3]]], &device);
    let p = tensor(start).require_grad();
    let gradient = host(p.grad(&loss(p.clone()).backward()).expect("it is tracked"));
    let difference = |k: usize| {
        let at = |by: f64| {
            let mut moved = start;
            moved[k] += by;
            loss(tensor(moved)).into_scalar::<f64>()
        };
        let step = 0.02;
        (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * step)
    };
    let differences: Vec<f64> = (0..4).map(difference).collect();
    checks.close("derivative by two momenta", &gradient, &differences, 1e-3);
    checks.exit_code()
}
