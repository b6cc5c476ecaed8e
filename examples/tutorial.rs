//! Symbolic matrices and their sums, the beginning of KeOps' tutorial on reductions:
//! `cargo run --features cpu --example tutorial -- --rows 1000 --cols 2000`.

mod common;

use std::process::ExitCode;

use burn::{prelude::*, tensor::Distribution};
use burn_lazy::{Axis, LazyTensor};
use clap::Parser;
use common::Checks;

/// Sums symbolic matrices over either axis.
#[derive(Parser)]
struct Options {
    /// Number of rows M.
    #[arg(long, default_value_t = 1000)]
    rows: usize,
    /// Number of columns N.
    #[arg(long, default_value_t = 2000)]
    cols: usize,
}

const D: usize = 3;

fn host(tensor: Tensor<2>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

fn main() -> ExitCode {
    let Options { rows: m, cols: n } = Options::parse();
    let device = Device::default();
    println!("device: {device:?}");
    let x = Tensor::<2>::random([m, D], Distribution::Normal(0.0, 1.0), &device);
    let y = Tensor::<2>::random([n, D], Distribution::Normal(0.0, 1.0), &device);

    let x_i = LazyTensor::vi(x.clone()); // (M, 1, D)
    let y_j = LazyTensor::vj(y.clone()); // (1, N, D)
    let v_ij = &x_i - &y_j; // (M, N, D) symbolic tensor of differences
    let s_ij = v_ij.square().inner_sum(); // (M, N) symbolic matrix of squared distances
    println!("{s_ij}\n{v_ij}");

    let s_i: Tensor<2> = s_ij.sum(Axis::J);
    println!("Sum of S_ij over the N columns: {:?}", s_i.dims());
    let v_j: Tensor<2> = v_ij.sum(Axis::I);
    println!("Sum of V_ij over the M rows: {:?}", v_j.dims());

    // A Gaussian kernel matrix, applied to a signal on the columns and transposed to one on the rows.
    let k_ij = (-&s_ij).exp();
    let b = Tensor::<2>::random([n, 4], Distribution::Default, &device);
    let c = Tensor::<2>::random([m, 4], Distribution::Default, &device);
    let a = k_ij.matmul(b.clone());
    let d = k_ij.t().matmul(c.clone());
    println!("K @ b: {:?}, K.T @ c: {:?}", a.dims(), d.dims());

    // Sums of squared distances and of differences have closed forms in the moments of the points.
    let mut checks = Checks::default();
    checks.check("shapes", {
        let shapes = [s_i.dims(), v_j.dims(), a.dims(), d.dims()];
        shapes == [[m, 1], [n, D], [m, 4], [n, 4]]
    });
    let (x, y) = (host(x), host(y));
    let total = |points: &[f64], k: usize| points.iter().skip(k).step_by(D).sum::<f64>();
    let square = |point: &[f64]| point.iter().map(|t| t * t).sum::<f64>();
    let y_total: Vec<f64> = (0..D).map(|k| total(&y, k)).collect();
    let y_square: f64 = square(&y);
    let expected: Vec<f64> = x
        .chunks(D)
        .map(|p| {
            let cross: f64 = p.iter().zip(&y_total).map(|(a, b)| a * b).sum();
            n as f64 * square(p) - 2.0 * cross + y_square
        })
        .collect();
    checks.close("sum of S_ij over j", &host(s_i), &expected, 1e-6);
    let expected: Vec<f64> = y
        .chunks(D)
        .flat_map(|p| {
            (0..D)
                .map(|k| total(&x, k) - m as f64 * p[k])
                .collect::<Vec<_>>()
        })
        .collect();
    checks.close("sum of V_ij over i", &host(v_j), &expected, 1e-5);
    // <c, K b> = <K^T c, b>, whatever the kernel.
    let inner = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (left, right) = (
        inner(host(a.clone()), host(c)),
        inner(host(d), host(b.clone())),
    );
    checks.close("<c, K b> = <K.T c, b>", &[left], &[right], 1e-6);
    // The first row of K b, in f64.
    let b = host(b);
    let mut expected = vec![0.0; 4];
    for (j, p) in y.chunks(D).enumerate() {
        let distance: f64 = p.iter().zip(&x).map(|(a, b)| (a - b) * (a - b)).sum();
        for (e, sum) in expected.iter_mut().enumerate() {
            *sum += (-distance).exp() * b[4 * j + e];
        }
    }
    checks.close("first row of K @ b", &host(a)[..4], &expected, 1e-6);
    checks.exit_code()
}
