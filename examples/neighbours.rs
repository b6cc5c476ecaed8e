//! Nearest neighbours and sums of a narrow kernel that skip most pairs, and a picture of the blocks of pairs that
//! cannot be skipped: `cargo run --features cpu --example neighbours`.
//!
//! Each check compares with a computation over all pairs. Neighbours have to agree exactly.

mod common;

use std::{error::Error, f64::consts::TAU, process::ExitCode, time::Instant};

use burn::prelude::*;
use burn_lazy::{Axis, Clusters, LazyTensor, Pruning, Ranges};
use common::{Checks, host};

/// The number of blocks, and the number of points on the spiral. A block has 64 points.
const BLOCKS: usize = 48;
const POINTS: usize = 64 * BLOCKS;
/// The number of neighbours that are found.
const K: usize = 10;
/// The Gaussian kernel of points that are farther apart than this is less than 2e-8.
const RADIUS: f64 = 0.15;

/// Points on a spiral, in an order that says nothing about their positions.
fn spiral(device: &Device) -> Tensor<2> {
    let points = (0..POINTS).flat_map(|k| {
        let at = ((k * 1031) % POINTS) as f64 / POINTS as f64;
        let angle = 3.0 * TAU * at.sqrt();
        // Each point is moved off the curve by a small distance of its own.
        let radius = at.sqrt() + 0.02 * ((k * 7919) % 100) as f64 / 100.0;
        [radius * angle.cos(), radius * angle.sin()]
    });
    let points: Vec<f64> = points.collect();
    Tensor::from_data(TensorData::new(points, [POINTS, 2]), device)
}

/// Runs `run`. Returns its result and the time that it took.
fn timed<T>(run: impl FnOnce() -> T) -> (T, String) {
    let start = Instant::now();
    let out = run();
    (
        out,
        format!("{:.1} ms", start.elapsed().as_secs_f64() * 1e3),
    )
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut checks = Checks::default();
    let x = spiral(&Device::default());
    let squares = LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x.clone()));

    println!("{K} nearest neighbours of {POINTS} points on a spiral");
    let near = squares.prune(Pruning::Exact);
    println!("  {}", near.pruning(K, Axis::J));
    let indices = |k: &LazyTensor| {
        let found: Tensor<2, Int> = k.argkmin(K, Axis::J);
        found.into_data().iter::<i64>().collect::<Vec<i64>>()
    };
    // The first call also compiles kernels, so it is not timed.
    indices(&near);
    let (found, own) = timed(|| indices(&near));
    let all = squares.prune(Pruning::Off);
    indices(&all);
    let (expected, dense) = timed(|| indices(&all));
    println!("  {own}, of all pairs {dense}");
    checks.check("neighbours are those of all pairs", found == expected);

    println!("a Gaussian sum that is off by at most 1e-7 of it");
    let gaussian = (-&squares * (18.0 / RADIUS.powi(2))).exp();
    let narrow = gaussian.prune(Pruning::Relative(1e-7));
    println!("  {}", narrow.pruning_of_sum(Axis::J));
    let sums = |k: &LazyTensor| host(k.sum::<2>(Axis::J));
    let all = sums(&gaussian.prune(Pruning::Off));
    checks.close("sums", &sums(&narrow), &all, 5e-6);

    println!("blocks of 64 x 64 pairs, as the points come, sorted by a grid, and along the spiral");
    let by_grid = Clusters::grid(&x, &[0.1])?.sort(x.clone());
    // The position of a point along the spiral follows from its index.
    let labels: Vec<i64> = (0..POINTS).map(|k| (k * 1031 % POINTS) as i64).collect();
    let along = Clusters::new(&labels)?.sort(x.clone());
    let pictures: Vec<Vec<String>> = [x, by_grid, along]
        .into_iter()
        .map(|points| picture(&points))
        .collect::<Result<_, _>>()?;
    for line in 0..BLOCKS {
        let parts: Vec<&str> = pictures.iter().map(|own| own[line].as_str()).collect();
        println!("  {}", parts.join("   "));
    }
    let left = |lines: &[String]| lines.concat().matches('#').count();
    println!(
        "  {} of {} blocks are left along the spiral",
        left(&pictures[2]),
        BLOCKS * BLOCKS
    );
    checks.check(
        "sorting leaves fewer blocks",
        left(&pictures[2]) < left(&pictures[0]) / 2,
    );
    Ok(checks.exit_code())
}

/// A line of text for each block of rows, with a character for each block of columns: `#` where, by the bounds of the
/// two blocks, some pair may be nearer than the radius, and `.` elsewhere.
fn picture(points: &Tensor<2>) -> Result<Vec<String>, Box<dyn Error>> {
    let squares = LazyTensor::vi(points.clone()).sqdist(LazyTensor::vj(points.clone()));
    let near = squares.less(RADIUS * RADIUS);
    let ranges = Ranges::of_mask(&near, &squares)?;
    let there: Tensor<3> = (squares * 0.0 + 1.0).ranges(&ranges).dense();
    let there = host(there);
    let line = |row: usize| {
        let columns = (0..POINTS).step_by(64);
        let mark = |column| match there[row * POINTS + column] == 1.0 {
            true => '#',
            false => '.',
        };
        columns.map(mark).collect()
    };
    Ok((0..POINTS).step_by(64).map(line).collect())
}
