//! A kernel system from the tutorial of KeOps, solved by conjugate gradients and differentiated:
//! `cargo run --features cpu --example solve -- --points 1000`.

mod common;

use std::{error::Error, process::ExitCode};

use burn::{prelude::*, tensor::Distribution};
use burn_lazy::{
    LazyTensor,
    solve::{Nystrom, Rank, SolveOptions},
};
use clap::Parser;
use common::Checks;

#[derive(Parser)]
struct Options {
    /// Number of points
    #[arg(long, default_value_t = 1000)]
    points: usize,
    /// The ridge alpha, which is added to the diagonal of the kernel matrix
    #[arg(long, default_value_t = 0.1)]
    alpha: f64,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Options { points, alpha } = Options::parse();
    let device = Device::default();
    device.seed(0);
    let device = device.autodiff();
    println!("device: {device:?}");
    let normal = Distribution::Normal(0.0, 1.0);
    let x = Tensor::<2>::random([points, 3], normal, &device).require_grad();
    let b = Tensor::<2>::random([points, 4], normal, &device);

    let k_xx = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x.clone()))).exp();
    println!("{k_xx}");
    let nystrom = Nystrom::new(&k_xx, alpha, Rank::Auto)?;
    println!("preconditioner: {nystrom:?}");
    let options = SolveOptions::default()
        .ridge(alpha)
        .preconditioner(nystrom)
        .on_progress(|progress| {
            println!(
                "  {:4} iterations: {:.1e}",
                progress.iteration, progress.residual
            );
        });
    let solved = k_xx.solve(b.clone(), &options)?;
    let a = solved.solution;
    println!("a is now a tensor of shape {:?}.", a.dims());
    let residuals = solved.info.residuals.iter().map(|r| format!("{r:.1e}"));
    println!(
        "relative residuals: {}",
        residuals.collect::<Vec<_>>().join(", ")
    );

    let c = a.clone() * alpha + k_xx.matmul(a.clone());
    let error: f64 = (c - b).square().mean().into_scalar();
    println!("Mean squared reconstruction error: {error:.2e}");
    let mut checks = Checks::default();
    checks.check(
        "reconstruction error at most that of KeOps, 7.29e-6",
        error <= 7.29e-6,
    );

    let gradients = a.square().sum().backward();
    let g = x.grad(&gradients).ok_or("the points are tracked")?;
    println!("g is now a tensor of shape {:?}.", g.dims());
    checks.check("gradient of the shape of x", g.dims() == x.dims());
    // The solution does not change when all points are translated, so the gradients of the points
    // add up to zero.
    let drift: Vec<f64> = g.clone().sum_dim(0).into_data().iter().collect();
    let scale: f64 = g.abs().sum().into_scalar();
    let drift = drift.iter().fold(0.0f64, |max, x| max.max(x.abs())) / scale;
    checks.check(
        &format!("translation invariance: {drift:.1e}"),
        drift <= 1e-3,
    );
    Ok(checks.exit_code())
}
