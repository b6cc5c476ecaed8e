//! Test data, dense references in `f64`, and comparisons.

#[cfg(feature = "autodiff")]
use burn::tensor::Gradients;
use burn::{
    prelude::*,
    tensor::{DType, TensorData},
};
use burn_lazy::{Axis, LazyTensor};

/// The device under test.
pub fn device() -> Device {
    Device::default()
}

/// The device on which references that are formulas are computed: the host, where nothing is compiled.
#[cfg(feature = "autodiff")]
pub fn reference_device() -> Device {
    #[cfg(feature = "flex")]
    return Device::flex();
    #[cfg(not(feature = "flex"))]
    return device();
}

/// Whether Burn has tensors of `dtype` on the device.
pub fn has(dtype: DType) -> bool {
    device().supports_dtype(dtype)
}

/// Whether reductions of tensors of `dtype` run on the device.
pub fn reduces(dtype: DType) -> bool {
    let row = || LazyTensor::vi(Tensor::<2>::ones([1, 1], (&device(), dtype)));
    has(dtype) && row().try_sum::<2>(Axis::I).is_ok()
}

/// The types that the device computes in, with the relative error that sums of a few values may have in each.
pub fn dtypes() -> Vec<(DType, f64)> {
    let device = format!("{:?}", device());
    let single = (DType::F32, 1e-5);
    let doubles = ["Cpu(", "Cuda(", "Flex(", "LibTorch(", "NdArray("];
    if doubles.iter().any(|name| device.contains(name)) || is_remote() && has(DType::F64) {
        vec![single, (DType::F64, 1e-12)]
    } else {
        vec![single]
    }
}

/// Whether formulas run on the host without being compiled.
pub fn is_interpreted() -> bool {
    let device = format!("{:?}", device());
    ["Flex(", "LibTorch(", "NdArray("]
        .iter()
        .any(|name| device.contains(name))
}

/// Whether the device is a processor.
pub fn is_processor() -> bool {
    is_interpreted() || format!("{:?}", device()).contains("Cpu(")
}

/// The part of `all` that a test has time for: everything where nothing is compiled, else one of `every`.
pub fn some_of<T>(all: impl IntoIterator<Item = T>, every: usize) -> Vec<T> {
    let every = if is_interpreted() { 1 } else { every };
    all.into_iter().step_by(every).collect()
}

/// Another kind of device, if there is one.
#[cfg(all(feature = "flex", feature = "ndarray"))]
#[allow(deprecated)] // Burn's backend NdArray is supported as long as Burn has it.
pub fn other_device() -> Device {
    match format!("{:?}", device()).contains("Flex(") {
        true => Device::ndarray(),
        false => Device::flex(),
    }
}

/// Another kind of device, if there is one.
#[cfg(not(all(feature = "flex", feature = "ndarray")))]
pub fn other_device() -> Device {
    device()
}

/// Whether the device belongs to a server. Only the server knows what kind of device it is.
pub fn is_remote() -> bool {
    format!("{:?}", device()).contains("Remote(")
}

/// Prints that the current test, or a part of it, is skipped, and why. It writes to the standard error directly,
/// because the output of `eprintln!` is captured.
pub fn skipped(why: &str) {
    use std::io::Write;

    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "{name} skipped: {why}");
}

/// Reproducible values in [-1, 1).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    pub fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        // Few bits, so that the values are the same in all types.
        ((self.0 >> 44) as f64) / (1u64 << 19) as f64 - 1.0
    }

    pub fn vec(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| self.next()).collect()
    }
}

/// A tensor of the given values, shape and type.
pub fn tensor<const R: usize>(
    values: &[f64],
    shape: [usize; R],
    dtype: DType,
    device: &Device,
) -> Tensor<R> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, dtype))
}

/// Rows of `dim` components with the values `x`, and columns with the values `y`.
pub fn points_of(x: &[f64], y: &[f64], dim: usize, dtype: DType) -> [LazyTensor; 2] {
    let points = |values: &[f64]| tensor(values, [values.len() / dim, dim], dtype, &device());
    [LazyTensor::vi(points(x)), LazyTensor::vj(points(y))]
}

pub fn host<const R: usize>(tensor: Tensor<R>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

pub fn numbers<const R: usize>(tensor: Tensor<R, Int>) -> Vec<i64> {
    tensor.into_data().iter::<i64>().collect()
}

/// Values that repeat, so that reductions meet equal values.
pub fn few(random: &mut Random, len: usize) -> Vec<f64> {
    (0..len).map(|_| (random.next() * 3.0).round()).collect()
}

/// Asserts equality up to `tolerance` relative to the largest expected value.
#[track_caller]
pub fn assert_close(what: &str, values: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(values.len(), expected.len(), "{what}: lengths differ");
    let scale = expected.iter().fold(1e-3f64, |max, x| max.max(x.abs()));
    for (k, (value, expected)) in values.iter().zip(expected).enumerate() {
        assert!(
            (value - expected).abs() <= tolerance * scale,
            "{what}: entry {k} is {value}, expected {expected}"
        );
    }
}

/// Asserts that the gradient by `leaf` is close to the expected gradient.
#[cfg(feature = "autodiff")]
#[track_caller]
pub fn assert_gradient<const R: usize>(
    what: &str,
    leaf: &Tensor<R>,
    gradients: &Gradients,
    expected: &[f64],
    tolerance: f64,
) {
    let gradient = leaf.grad(gradients).expect("it is tracked");
    assert_close(what, &host(gradient), expected, tolerance);
}

/// The derivatives of `f` at `at` by central differences.
#[cfg(feature = "autodiff")]
pub fn differences(at: &[f64], f: &dyn Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    (0..at.len())
        .map(|k| {
            let moved = |by: f64| {
                let mut moved = at.to_vec();
                moved[k] += by;
                f(&moved)
            };
            // Differences of fourth order, so that rounding and truncation errors are both below 1e-9.
            (8.0 * (moved(step) - moved(-step)) - (moved(2.0 * step) - moved(-2.0 * step)))
                / (12.0 * step)
        })
        .collect()
}

/// A function of one row and one column.
pub type Pair<'a> = dyn Fn(&[f64], &[f64]) -> Vec<f64> + 'a;

/// The sums over j of `f(x_i, y_j)` for each i, by rows. With `transposed` the sums are over i.
pub fn dense_sum(x: &[f64], y: &[f64], dim: usize, transposed: bool, f: &Pair) -> Vec<f64> {
    let (outer, inner) = if transposed { (y, x) } else { (x, y) };
    let mut out = Vec::new();
    for a in outer.chunks(dim) {
        let mut total: Vec<f64> = vec![];
        for b in inner.chunks(dim) {
            let value = if transposed { f(b, a) } else { f(a, b) };
            total.resize(value.len(), 0.0);
            total.iter_mut().zip(value).for_each(|(t, v)| *t += v);
        }
        out.extend(total);
    }
    out
}

/// The Gaussian kernel $e^{-|x_i - x_j|^2}$ of points.
pub fn gaussian(x: &Tensor<2>) -> LazyTensor {
    (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x.clone()))).exp()
}

/// The Gaussian kernel of points with the factor `scale` in the exponent.
#[cfg(feature = "autodiff")]
pub fn scaled_gaussian(x: &Tensor<2>, scale: &Tensor<1>) -> LazyTensor {
    let distance = LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x.clone()));
    (-(distance * LazyTensor::pm(scale.clone()))).exp()
}
