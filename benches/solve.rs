//! The system $(\alpha I + K)\, a = b$ of the tutorial of KeOps, with a Gaussian kernel matrix $K$ of normal points, on the
//! device that `BURN_DEVICE` selects: seconds, iterations and residuals of a few solves each.
//!
//! `cargo xtask bench --name solve` runs it on the CPU runtime. Compare with `solve_pykeops.py`.

use std::time::Instant;

use burn::{prelude::*, tensor::Distribution};
use burn_lazy::{
    LazyTensor,
    solve::{Nystrom, Rank, Solution, SolveError, SolveOptions},
};
use clap::Parser;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 10_000)]
    points: usize,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), SolveError> {
    let Options { points, .. } = Options::parse();
    let device = Device::default();
    device.seed(0);
    let normal = Distribution::Normal(0.0, 1.0);
    let x = Tensor::<2>::random([points, 3], normal, &device);
    let b = Tensor::<2>::random([points, 4], normal, &device);
    let k_xx = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x))).exp();
    println!("{points} points, D = 3, 4 right-hand sides, F32");
    for (ridge, tolerance) in [(0.1, 1.3e-4), (0.1, 1e-6), (1e-3, 1e-2)] {
        let options = SolveOptions::default().ridge(ridge).tolerance(tolerance);
        let plain = || k_xx.solve(b.clone(), &options);
        let preconditioned = || {
            let nystrom = Nystrom::new(&k_xx, ridge, Rank::Auto)?;
            k_xx.solve(b.clone(), &options.clone().preconditioner(nystrom))
        };
        report(ridge, tolerance, "plain", &plain)?;
        report(
            ridge,
            tolerance,
            "Nyström, with its making",
            &preconditioned,
        )?;
    }
    Ok(())
}

fn report(
    ridge: f64,
    tolerance: f64,
    what: &str,
    solve: &dyn Fn() -> Result<Solution<2>, SolveError>,
) -> Result<(), SolveError> {
    let timed = || {
        let start = Instant::now();
        let solved = solve()?;
        let _ = solved.solution.into_data();
        Ok::<_, SolveError>((start.elapsed().as_secs_f64(), solved.info))
    };
    let (first, info) = timed()?;
    let mean = (timed()?.0 + timed()?.0) / 2.0;
    let residual = info.residuals.iter().copied().fold(0.0, f64::max);
    println!(
        "alpha {ridge:.0e}, tolerance {tolerance:.0e}, {what}: mean {mean:.3} s (first {first:.3} s), {} iterations, \
         {} restarts, relative residual {residual:.1e}",
        info.iterations, info.restarts
    );
    Ok(())
}
