//! A million points in a file, at most two chunks of which are on the device at a time: a density, the nearest
//! neighbours, and a gradient, with a progress bar: `cargo run --features mmap --example streaming`.
//!
//! Each check compares with a computation that has all points on the device at once. The indices of the neighbours have
//! to agree exactly.

mod common;

use std::{
    cell::RefCell,
    error::Error,
    fs::{self, File},
    io::{self, BufWriter, IsTerminal, Write, stderr},
    path::Path,
    process::ExitCode,
    time::Instant,
};

use burn::prelude::*;
use burn_lazy::{Axis, LazyTensor, stream};
use common::{Checks, host};
use kdam::{Bar, BarBuilder, BarExt};

/// The number of points in the file, which are the columns, and the number of rows.
const POINTS: usize = 1_000_000;
const ROWS: usize = 100;
/// The number of points that are read at once.
const CHUNK: usize = 1 << 16;
/// The bandwidth of the density.
const BANDWIDTH: f64 = 0.05;

/// A point on a torus knot.
fn point(k: usize) -> [f32; 3] {
    let at = k as f64 * 0.618_033_988_749_894_9;
    let (turn, small) = (at.fract() * std::f64::consts::TAU, (k as f64).sin() * 0.1);
    let radius = 1.0 + 0.4 * (3.0 * turn).cos() + small;
    let z = 0.4 * (3.0 * turn).sin() + small;
    let (x, y) = (radius * (2.0 * turn).cos(), radius * (2.0 * turn).sin());
    [x, y, z].map(|v| v as f32)
}

/// Writes the points in the format of `numpy.save`.
fn save(path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({POINTS}, 3), }}");
    // The format wants the numbers to start at a multiple of 64 bytes.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header.push_str(&" ".repeat(length - header.len() - 1));
    header.push('\n');
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&(length as u16).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for k in 0..POINTS {
        for number in point(k) {
            file.write_all(&number.to_le_bytes())?;
        }
    }
    file.flush()
}

/// A progress bar on the terminal that counts columns.
fn bar(what: &str, passes: usize) -> Result<RefCell<Bar>, String> {
    let bar = BarBuilder::default()
        .total(passes * POINTS)
        .desc(what)
        .unit(" columns")
        .unit_scale(true)
        .disable(!stderr().is_terminal())
        .build()?;
    Ok(RefCell::new(bar))
}

/// Tells the progress bar how many columns have been read.
fn tell(bar: &RefCell<Bar>, progress: stream::Progress) {
    // The computation goes on if the terminal is gone.
    let _ = bar.borrow_mut().update_to(progress.done);
}

/// The exponents of Gaussians around the points. The bandwidth is the exponential of `log_bandwidth`.
fn scores(x: &Tensor<2>, y_j: LazyTensor, log_bandwidth: &Tensor<1>) -> LazyTensor {
    let scale = (log_bandwidth.clone() * -2.0).exp();
    -LazyTensor::vi(x.clone()).sqdist(y_j) * LazyTensor::pm(scale) * 0.5
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("burn-lazy-streaming-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let path = folder.join("points.npy");
    let done = save(&path).map_err(Box::from).and_then(|()| run(&path));
    fs::remove_dir_all(&folder)?;
    done
}

fn run(path: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let mut checks = Checks::default();
    let device = Device::default();
    println!("device: {device:?}");
    let points = stream::Mapped::npy(path)?;
    let rows: Vec<f32> = (0..ROWS).flat_map(|k| point(k * 7919)).collect();
    let x = Tensor::<2>::from_data(TensorData::new(rows, [ROWS, 3]), &device);
    let log_bandwidth = Tensor::<1>::from_data([BANDWIDTH.ln()], &device);
    let x_i = LazyTensor::vi(x.clone());

    println!("{ROWS} rows by {POINTS} columns of a file, {CHUNK} at a time");
    let over = || stream::over([&points], &device).chunk(CHUNK);
    let timed = |what: &str, start: Instant| {
        let seconds = start.elapsed().as_secs_f64();
        let rate = (ROWS * POINTS) as f64 / seconds / 1e9;
        println!("  {what}: {seconds:.2} s, {rate:.2} G pairs/s");
    };

    let told = bar("density", 1)?;
    let stream = over().progress(|progress| tell(&told, progress));
    let start = Instant::now();
    let density: Tensor<2> = stream.logsumexp(|[y_j]| scores(&x, y_j, &log_bandwidth))?;
    let density = host(density);
    timed("density", start);

    let told = bar("neighbours", 1)?;
    let stream = over().progress(|progress| tell(&told, progress));
    let start = Instant::now();
    let nearest: Tensor<2, Int> = stream.argkmin(5, |[y_j]| x_i.sqdist(y_j))?;
    let nearest: Vec<i64> = nearest.into_data().iter::<i64>().collect();
    timed("neighbours", start);

    // The mean log-density, and its derivative by the logarithm of the bandwidth. The gradient reads the columns twice.
    let told = bar("gradient", 2)?;
    let stream = over().progress(|progress| tell(&told, progress));
    let leaf = log_bandwidth.clone().autodiff().require_grad();
    let tracked = x.clone().autodiff();
    let start = Instant::now();
    let (mean, slope) = stream.value_and_grad(&leaf).logsumexp(
        |[y_j]| scores(&tracked, y_j, &leaf),
        |density: Tensor<2>| density.mean(),
    )?;
    let (mean, slope) = (host(mean), host(slope));
    timed("gradient", start);
    println!(
        "  mean log-density {:.4}, derivative by log bandwidth {:.4}",
        mean[0], slope[0]
    );

    println!("the same, with all columns on the device");
    let all: Vec<f32> = (0..POINTS).flat_map(point).collect();
    let all = Tensor::<2>::from_data(TensorData::new(all, [POINTS, 3]), &device);
    let y_j = LazyTensor::vj(all.clone());
    let expected = host(scores(&x, y_j.clone(), &log_bandwidth).logsumexp::<2>(Axis::J));
    checks.close("densities", &density, &expected, 1e-5);
    let expected: Tensor<2, Int> = x_i.sqdist(y_j).argkmin(5, Axis::J);
    let expected: Vec<i64> = expected.into_data().iter::<i64>().collect();
    checks.check("neighbours", nearest == expected);
    let y_j = LazyTensor::vj(all.autodiff());
    let density: Tensor<2> = scores(&tracked, y_j, &leaf).logsumexp(Axis::J);
    let expected = density.mean();
    checks.close("the mean", &mean, &host(expected.clone().inner()), 1e-5);
    let gradients = expected.backward();
    let expected = leaf
        .grad(&gradients)
        .ok_or("the bandwidth has a gradient")?;
    checks.close("the derivative", &slope, &host(expected), 1e-4);

    println!("a file that is cut");
    let cut = path.with_file_name("cut.npy");
    fs::write(&cut, &fs::read(path)?[..POINTS])?;
    let error = stream::Mapped::npy(&cut).map(drop).unwrap_err();
    println!("  {}", error.to_string().rsplit(": ").next().unwrap_or(""));
    checks.check("it is refused", error.kind() == io::ErrorKind::InvalidData);
    Ok(checks.exit_code())
}
