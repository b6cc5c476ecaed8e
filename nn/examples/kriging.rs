//! Heights at scattered places, interpolated in two ways: by a Gaussian process ("kriging"), which also gives standard
//! deviations, and by a thin plate spline, which is a system with constraints: `cargo run -p burn-lazy-nn --example
//! kriging -- --picture kriging.svg`.
//!
//! The results are compared with values that `data/kriging.py` computes with scikit-learn and SciPy.

mod common;

use std::{error::Error, path::Path, process::ExitCode};

use burn::prelude::*;
use burn_lazy_nn::{
    gp::{ExactGp, ExactGpConfig, LikelihoodOptions, MeanConfig, Posterior},
    kernel::{Matern, MaternConfig, Scale, ScaleConfig, Smoothness},
    lazy::{
        LazyTensor,
        solve::{Constraints, SolveOptions},
    },
};
use common::{
    Checks, Reference, fit, host, picture_file,
    plot::{self, Area, Drawn, prelude::*, ramp},
    tensor_of, tracking_device, unit_square,
};
use plotters::style::text_anchor::HPos;

/// The true height: hills, a hollow and a slope.
fn height([x, y]: [f64; 2]) -> f64 {
    const HILLS: [([f64; 2], f64, f64); 3] = [
        ([0.3, 0.7], 0.15, 1.0),
        ([0.75, 0.6], 0.1, 0.8),
        ([0.55, 0.2], 0.2, -0.7),
    ];
    let hill = |([u, v], width, height): ([f64; 2], f64, f64)| {
        let square = (x - u).powi(2) + (y - v).powi(2);
        height * (-square / (2.0 * width * width)).exp()
    };
    0.4 * x + HILLS.into_iter().map(hill).sum::<f64>()
}

/// Whether there are observations around a place: the upper right corner is not surveyed.
fn surveyed([x, y]: &[f64; 2]) -> bool {
    x + y < 1.5
}

/// A Gaussian process with the given variance, length scale and noise.
fn process([variance, length, noise]: [f64; 3], device: &Device) -> ExactGp<Scale<Matern>> {
    let matern = MaternConfig::new(Smoothness::FiveHalves)
        .with_length_scale(length)
        .init(device);
    let kernel = ScaleConfig::new()
        .with_variance(variance)
        .init(matern, device);
    ExactGpConfig::new()
        .with_mean(MeanConfig::Zero)
        .with_noise(noise)
        .init(kernel, device)
}

/// Means and standard deviations of the heights at places.
fn predict(
    posterior: &Posterior<Scale<Matern>>,
    at: &[[f64; 2]],
    device: &Device,
) -> Result<[Vec<f64>; 2], Box<dyn Error>> {
    let at = tensor_of(at, device);
    let deviation = posterior.try_variance(at.clone())?.sqrt();
    Ok([host(posterior.try_mean(at)?), host(deviation)])
}

/// The thin plate spline through the heights `t` at `x`, evaluated at the places `at`. The weights that bend the plate
/// are orthogonal to planes, and a plane is added.
fn spline(
    x: &Tensor<2>,
    t: &Tensor<2>,
    smoothing: f64,
    at: &Tensor<2>,
) -> Result<Tensor<2>, Box<dyn Error>> {
    // The functions of the plane: 1 and the coordinates.
    let plane = |x: &Tensor<2>| {
        let ones = Tensor::ones([x.dims()[0], 1], &x.device());
        Tensor::cat(vec![ones, x.clone()], 1)
    };
    // r^2 log r.
    let bent = |x: &Tensor<2>, y: &Tensor<2>| {
        LazyTensor::vi(x.clone())
            .sqdist(LazyTensor::vj(y.clone()))
            .xlogx()
            * 0.5
    };
    let constraints = Constraints::new(plane(x));
    let options = SolveOptions::default().ridge(smoothing).tolerance(1e-5);
    let (weights, drift) = bent(x, x).solve_constrained(t.clone(), &constraints, &options)?;
    println!("  {} iterations", weights.info.iterations);
    let drift = LazyTensor::vi(plane(at)).dot(LazyTensor::vj(drift.transpose()));
    let drift: Tensor<3> = drift.try_dense()?;
    Ok(bent(at, x).try_matmul(weights.solution)? + drift.squeeze_dim(2))
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let reference = Reference::load("kriging.json")?;
    let list = |key: &str| reference.get::<Vec<f64>>(key);
    let device = tracking_device();
    let seen: Vec<_> = unit_square(1, 260).into_iter().filter(surveyed).collect();
    let noisy = |(k, place): (usize, &[f64; 2])| height(*place) + 0.02 * (37.0 * k as f64).sin();
    let heights: Vec<f64> = seen.iter().enumerate().map(noisy).collect();
    let x = tensor_of(&seen, &device);
    let t = Tensor::from_data(TensorData::new(heights, [seen.len(), 1]), &device);

    println!("{} places, with given parameters", seen.len());
    let mut checks = Checks::default();
    let start = process([0.5, 0.3, 1e-3], &device);
    let options = LikelihoodOptions::new();
    let likelihood = start.try_log_marginal_likelihood(x.clone(), t.clone(), &options)?;
    let value = [likelihood.into_scalar::<f64>()];
    let expected = [reference.get::<f64>("log_likelihood")?];
    checks.close("log marginal likelihood", &value, &expected, 1e-3);
    let posterior = start.try_condition(x.clone(), t.clone())?;
    let [means, deviations] = predict(&posterior, &unit_square(1000, 40), &device)?;
    checks.close("heights", &means, &list("means")?, 1e-3);
    checks.close("deviations", &deviations, &list("deviations")?, 1e-3);

    println!("a thin plate spline");
    let at = tensor_of(&unit_square(1000, 40), &device);
    let heights = host(spline(&x, &t, 1e-3, &at)?.inner());
    checks.close("heights", &heights, &list("spline")?, 1e-3);

    println!("after a fit");
    let fitted = fit(start, &x, &t, 30);
    let likelihood = fitted.try_log_marginal_likelihood(x.clone(), t.clone(), &options)?;
    let value = [likelihood.into_scalar::<f64>()];
    let expected = [reference.get::<f64>("fitted_log_likelihood")?];
    checks.close("log marginal likelihood", &value, &expected, 1e-3);
    let posterior = fitted.try_condition(x, t)?;
    let held_out: Vec<_> = unit_square(5000, 400)
        .into_iter()
        .filter(surveyed)
        .collect();
    let [means, deviations] = predict(&posterior, &held_out, &device)?;
    let errors: Vec<f64> = held_out
        .iter()
        .zip(&means)
        .map(|(at, mean)| mean - height(*at))
        .collect();
    let squares: f64 = errors.iter().map(|error| error * error).sum();
    let error = (squares / errors.len() as f64).sqrt();
    let within = errors
        .iter()
        .zip(&deviations)
        .filter(|(error, deviation)| error.abs() < 1.96 * *deviation);
    let within = within.count() as f64 / errors.len() as f64;
    println!(
        "  error at {} other places {error:.4}, {:.0} % of them within the band of 95 %",
        errors.len(),
        within * 100.0
    );
    checks.check(
        "the error is less than the noise of the observations",
        error < 0.02 / 2f64.sqrt(),
    );
    checks.check("most errors are as large as expected", within > 0.85);

    if let Some(file) = picture_file()? {
        let centres: Vec<_> = (0..CELLS * CELLS)
            .map(|cell| [cell % CELLS, cell / CELLS].map(|k| (k as f64 + 0.5) / CELLS as f64))
            .collect();
        let truth = centres.iter().map(|at| height(*at)).collect();
        let [means, deviations] = predict(&posterior, &centres, &device)?;
        draw(&file, &seen, [truth, means, deviations])?;
    }
    Ok(checks.exit_code())
}

/// The cells along each side of a map, the pixels along each side of a cell, and the colours of a map.
const CELLS: usize = 54;
const PIXELS: i32 = 4;
const LEVELS: usize = 12;

/// The true heights, those that were found, and their standard deviations.
fn draw(file: &Path, seen: &[[f64; 2]], maps: [Vec<f64>; 3]) -> Drawn {
    let side = CELLS as i32 * PIXELS;
    let [truth, found, deviations] = maps;
    // The smallest deviations are a small fraction of the largest one, so the map shows logarithms.
    let maps = [
        truth,
        found,
        deviations.iter().map(|own| own.ln()).collect(),
    ];
    let names = [
        "true heights and places",
        "interpolated heights",
        "standard deviation, by logarithms",
    ];
    let range = |values: &[f64]| {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        [
            least,
            values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ]
    };
    // Both maps of heights have the same colour scale.
    let heights = range(&maps[..2].concat());
    let ranges = [heights, heights, range(&maps[2])];
    plot::picture(file, side as u32 + 74, |area| {
        for (k, ((values, name), [low, high])) in (0..).zip(maps.iter().zip(names).zip(ranges)) {
            let panel = area
                .clone()
                .shrink((16 + k * (side + 20), 0), (side, side + 74));
            plot::write(&panel, name, (side / 2, 14), HPos::Center)?;
            let levels: Vec<usize> = values
                .iter()
                .map(|value| ((value - low) / (high - low) * LEVELS as f64) as usize)
                .map(|level| level.min(LEVELS - 1))
                .collect();
            let map = panel.clone().shrink((0, 28), (side, side));
            draw_levels(&map, &levels)?;
            let pixel = |part: f64| (part * f64::from(side)).round() as i32;
            let places = || seen.iter().map(|[x, y]| (pixel(*x), pixel(1.0 - y)));
            if k == 0 {
                let dots = |radius, colour: RGBColor| {
                    places().map(move |at| Circle::new(at, radius, colour.filled()))
                };
                for dot in dots(2, BLACK).chain(dots(1, WHITE)) {
                    map.draw(&dot)?;
                }
            }
            let bar = panel.shrink((0, side + 36), (side, 34));
            let ends = if k == 2 {
                [low.exp(), high.exp()]
            } else {
                [low, high]
            };
            draw_bar(&bar, ends)?;
        }
        Ok(())
    })
}

/// The fill colour of a level.
fn colour(level: usize) -> ShapeStyle {
    ramp(level as f64 / (LEVELS - 1) as f64).filled()
}

/// Draws the cells row by row from below. Neighbours in a row that have the same colour become one rectangle.
fn draw_levels(map: &Area<'_>, levels: &[usize]) -> Drawn {
    for level in 0..LEVELS {
        for (row, cells) in levels.chunks(CELLS).rev().enumerate() {
            let mut first = 0;
            for run in cells.chunk_by(|a, b| a == b) {
                let last = first + run.len();
                if run[0] == level {
                    let corner = |column, row| (column as i32 * PIXELS, row as i32 * PIXELS);
                    let corners = [corner(first, row), corner(last, row + 1)];
                    map.draw(&Rectangle::new(corners, colour(level)))?;
                }
                first = last;
            }
        }
    }
    Ok(())
}

/// Draws the colour scale of a map.
fn draw_bar(bar: &Area<'_>, [low, high]: [f64; 2]) -> Drawn {
    let side = CELLS as i32 * PIXELS;
    let step = side / LEVELS as i32;
    for level in 0..LEVELS {
        let left = level as i32 * step;
        bar.draw(&Rectangle::new(
            [(left, 0), (left + step, 10)],
            colour(level),
        ))?;
    }
    plot::write(bar, &format!("{low:.3}"), (0, 22), HPos::Left)?;
    plot::write(bar, &format!("{high:.3}"), (side, 22), HPos::Right)
}
