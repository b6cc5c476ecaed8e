//! Data that peers compute themselves by the same formula, so that no data is sent.

use burn::{prelude::*, tensor::TensorData};

/// The offset between the row indices of consecutive operands.
const APART: usize = 1_000_000;

/// The fractional parts of $(i + 1) \sqrt{4 k + 2}$ for rows $i$ and coordinates $k$. None of these roots is rational.
/// Each operand has its own range of row indices.
pub fn fractions(operand: usize, [rows, columns]: [usize; 2], device: &Device) -> Tensor<2> {
    let first = operand * APART + 1;
    let roots: Vec<f64> = (0..columns).map(|k| ((4 * k + 2) as f64).sqrt()).collect();
    let values: Vec<f32> = (first..first + rows)
        .flat_map(|i| {
            roots
                .iter()
                .map(move |root| (i as f64 * root).fract() as f32)
        })
        .collect();
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

/// Numbers with mean 0 and variance 1.
pub fn centred(operand: usize, shape: [usize; 2], device: &Device) -> Tensor<2> {
    (fractions(operand, shape, device) * 2.0 - 1.0) * 3f64.sqrt()
}

/// Two clouds of points in a cube. The second cloud is in the middle of the cube.
pub fn clouds(shape: [usize; 2], device: &Device) -> [Tensor<2>; 2] {
    let middle = fractions(1, shape, device) * 0.6 + 0.3;
    [fractions(0, shape, device), middle]
}

/// Points, and noisy values of a function at them.
pub fn observations(shape: [usize; 2], device: &Device) -> [Tensor<2>; 2] {
    let x = fractions(0, shape, device);
    let noise = fractions(1, [shape[0], 1], device) * 0.2 - 0.1;
    let t = (x.clone() * 5.0).sin().sum_dim(1) + noise;
    [x, t]
}

/// A class for each row.
pub fn targets(rows: usize, classes: usize, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = (0..rows).map(|i| (i * 7919 % classes) as i64).collect();
    Tensor::from_data(TensorData::new(values, [rows]), device)
}

/// The first rows as one vector, which is enough to compare results.
pub fn head(tensor: Tensor<2>) -> Tensor<1> {
    const ROWS: usize = 64;
    let [rows, _] = tensor.dims();
    tensor.narrow(0, 0, rows.min(ROWS)).flatten(0, 1)
}
