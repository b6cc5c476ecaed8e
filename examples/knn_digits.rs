//! Handwritten digits classified by their nearest neighbours (Fix and Hodges, 1951; Cover and Hart,
//! 1967), by brute force: `cargo run --features cpu --example knn_digits`.
//!
//! Each check compares with values that `data/knn_digits.py` computes with NumPy. Pixels are small
//! integers, so distances and neighbours have to agree exactly.

mod common;

use std::{cmp::Reverse, error::Error, path::Path, process::ExitCode, time::Instant};

use burn::prelude::*;
use burn_lazy::{Axis, LazyTensor};
use common::{Checks, Reference, data_folder, read_rows};

/// The number of neighbours that are found.
const K: usize = 10;
/// The number of nearest neighbours that vote.
const VOTES: usize = 3;

/// The pixels of images, one image per row, and the digits that the images show.
struct Digits {
    pixels: Tensor<2>,
    labels: Vec<usize>,
}

/// Training rows and test rows. Every fifth row is a test row.
struct Data {
    train: Digits,
    test: Digits,
}

fn load(path: &Path, device: &Device) -> Result<Data, Box<dyn Error>> {
    let rows = read_rows(path)?;
    let features = rows[0].len() - 1;
    let (test, train): (Vec<_>, Vec<_>) = (0..rows.len()).partition(|r| r % 5 == 4);
    let digits = |selected: &[usize]| {
        let pixels: Vec<f64> = selected
            .iter()
            .flat_map(|&r| rows[r][..features].to_vec())
            .collect();
        let pixels = TensorData::new(pixels, [selected.len(), features]);
        Digits {
            pixels: Tensor::from_data(pixels, device),
            labels: selected
                .iter()
                .map(|&r| rows[r][features] as usize)
                .collect(),
        }
    };
    Ok(Data {
        train: digits(&train),
        test: digits(&test),
    })
}

/// The squared distances of each row of `x` to its `K` nearest rows of `y`, nearest first, and the
/// indices of these rows of `y`. Both are `[M, K]`, read back row by row.
fn nearest(x: &Tensor<2>, y: &Tensor<2>) -> (Vec<f64>, Vec<usize>) {
    let x_i = LazyTensor::vi(x.clone()); // (M, 1, 64)
    let y_j = LazyTensor::vj(y.clone()); // (1, N, 64)
    let (distances, neighbours): (Tensor<2>, Tensor<2, Int>) =
        x_i.sqdist(&y_j).kmin_argkmin(K, Axis::J);
    let neighbours = neighbours.into_data();
    (
        distances.into_data().iter::<f64>().collect(),
        neighbours.iter::<i64>().map(|j| j as usize).collect(),
    )
}

/// The most frequent label. Of equally frequent labels, the smallest.
fn vote(labels: impl Iterator<Item = usize>) -> usize {
    let mut counts = [0; 10];
    for label in labels {
        counts[label] += 1;
    }
    // `min_by_key` returns the first of equal keys.
    (0..counts.len())
        .min_by_key(|&label| Reverse(counts[label]))
        .expect("there are ten labels")
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let reference = Reference::load("knn_digits.json")?;
    let device = Device::default();
    println!("device: {device:?}");
    let Data { train, test } = load(&data_folder().join("digits.csv"), &device)?;
    println!(
        "{:?} training rows, {:?} test rows",
        train.pixels.dims(),
        test.pixels.dims()
    );

    nearest(&test.pixels, &train.pixels); // The first call also compiles the kernel.
    let start = Instant::now();
    let (distances, neighbours) = nearest(&test.pixels, &train.pixels);
    let seconds = start.elapsed().as_secs_f64();
    let pairs = (test.labels.len() * train.labels.len()) as f64;
    println!(
        "{K} neighbours of each test row: {:.2} ms, {:.1} million pairs per second",
        1e3 * seconds,
        1e-6 * pairs / seconds
    );

    let mut checks = Checks::default();
    let expected: Vec<Vec<f64>> = reference.get("squared_distances")?;
    checks.close("squared distances", &distances, &expected.concat(), 0.0);
    let expected: Vec<Vec<usize>> = reference.get("neighbours")?;
    let same = neighbours == expected.concat();
    checks.check("indices of the neighbours", same);

    let predictions: Vec<usize> = neighbours
        .chunks(K)
        .map(|row| vote(row[..VOTES].iter().map(|&j| train.labels[j])))
        .collect();
    let mistakes: Vec<String> = predictions
        .iter()
        .zip(&test.labels)
        .filter(|(predicted, label)| predicted != label)
        .map(|(predicted, label)| format!("{label} as {predicted}"))
        .collect();
    let count = test.labels.len();
    let correct = count - mistakes.len();
    println!(
        "{correct} of {count} test rows are right, {:.2} %; mistakes: {}",
        100.0 * correct as f64 / count as f64,
        mistakes.join(", ")
    );
    let known: u64 = reference.get("correct")?;
    checks.check("test rows that are right", correct as u64 == known);
    Ok(checks.exit_code())
}
