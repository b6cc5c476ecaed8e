//! What the examples share: checks that decide their exit code, and functions that read their data.
#![allow(dead_code)] // Each example uses only a part of this module.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use burn::prelude::*;
use serde::de::DeserializeOwned;

/// The folder `examples/data` of the package. Cargo says where the package is; without cargo it is where it was when
/// this was built.
pub fn data_folder() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR");
    let package = package.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).join("examples/data")
}

/// Reads a file of comma-separated numbers below one line of names. No field is quoted, so a split at the commas is
/// enough.
pub fn read_rows(path: &Path) -> Result<Vec<Vec<f64>>, Box<dyn Error>> {
    let text = fs::read_to_string(path)?;
    let lines = text.lines().skip(1);
    let rows = lines
        .map(|line| line.split(',').map(str::parse).collect())
        .collect::<Result<Vec<Vec<f64>>, _>>()?;
    Ok(rows)
}

/// The default device with autodiff. Prints the device.
pub fn tracking_device() -> Device {
    let device = Device::default().autodiff();
    println!("device: {device:?}");
    device
}

/// The values of a tensor on the host.
pub fn host<const R: usize>(tensor: Tensor<R>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Reference values that a script has computed, against which an example is checked.
pub struct Reference(serde_json::Value);

impl Reference {
    /// Reads the file `name` in the folder of the data.
    pub fn load(name: &str) -> Result<Self, Box<dyn Error>> {
        let text = fs::read_to_string(data_folder().join(name))?;
        Ok(Self(serde_json::from_str(&text)?))
    }

    /// The value of the entry `key`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<T, String> {
        let value = serde_json::from_value(self.0[key].clone());
        value.map_err(|error| format!("the entry {key}: {error}"))
    }
}

/// The diabetes data. Every fifth row is a test row, and the others are training rows. The features are standardised by
/// the mean and the standard deviation of the training rows.
pub struct Diabetes {
    /// Features `[M, 10]` and targets `[M, 1]` of the training rows.
    pub train: (Tensor<2>, Tensor<2>),
    /// Features and targets of the test rows.
    pub test: (Tensor<2>, Tensor<2>),
}

impl Diabetes {
    /// Reads `diabetes.csv` in the folder of the data of `burn-lazy`.
    pub fn load(device: &Device) -> Result<Self, Box<dyn Error>> {
        // The examples of the layers use this module, too. Their package is below this one and has its own data folder.
        let own = data_folder().join("diabetes.csv");
        let other = data_folder().join("../../../examples/data/diabetes.csv");
        let mut rows = read_rows(if own.exists() { &own } else { &other })?;
        let features = rows[0].len() - 1;
        let (test, train): (Vec<_>, Vec<_>) = (0..rows.len()).partition(|r| r % 5 == 4);
        let count = train.len() as f64;
        for k in 0..features {
            let mean = train.iter().map(|&r| rows[r][k]).sum::<f64>() / count;
            let squares = train.iter().map(|&r| (rows[r][k] - mean).powi(2));
            let deviation = (squares.sum::<f64>() / count).sqrt();
            for row in &mut rows {
                row[k] = (row[k] - mean) / deviation;
            }
        }
        let tensors = |selected: &[usize]| {
            let x = selected.iter().flat_map(|&r| rows[r][..features].to_vec());
            let t = selected.iter().map(|&r| rows[r][features]);
            let (x, t): (Vec<f64>, Vec<f64>) = (x.collect(), t.collect());
            let count = selected.len();
            (
                Tensor::from_data(TensorData::new(x, [count, features]), device),
                Tensor::from_data(TensorData::new(t, [count, 1]), device),
            )
        };
        Ok(Self {
            train: tensors(&train),
            test: tensors(&test),
        })
    }
}

/// Counts the checks of an example that failed.
#[derive(Default)]
pub struct Checks {
    failed: usize,
}

impl Checks {
    /// Prints whether `what` holds.
    pub fn check(&mut self, what: &str, holds: bool) {
        println!("  [{}] {what}", if holds { "ok" } else { "FAILED" });
        self.failed += usize::from(!holds);
    }

    /// Checks that the largest absolute difference between `value` and `expected`, divided by the largest absolute
    /// expected value, is at most `tolerance`.
    pub fn close(&mut self, what: &str, value: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(value.len(), expected.len(), "{what}: lengths differ");
        let scale = expected.iter().fold(0.0f64, |max, x| max.max(x.abs()));
        let error = value
            .iter()
            .zip(expected)
            .map(|(a, b)| (a - b).abs() / scale)
            .fold(0.0, |max, x| if x > max || x.is_nan() { x } else { max });
        let text = format!("{what}: relative error {error:.1e}, at most {tolerance:.0e}");
        self.check(&text, error <= tolerance);
    }

    /// Success if all checks held.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(u8::from(self.failed > 0))
    }
}
