//! Spectra of stationary kernels.

use nalgebra::DMatrix;

use super::{ActiveDims, Kernel, Matern, Product, Rbf, Scale, Smoothness};
use crate::{
    dense,
    error::{LayerError, SettingError},
    positive::Positive,
};

/// A stationary kernel whose spectrum is known: $k(x, y) = v \, \mathrm E \cos \langle w, x - y \rangle$ for random
/// frequencies $w$ (Rahimi and Recht, "Random features for large-scale kernel machines", 2007).
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy_nn::kernel::{RbfConfig, Spectral};
///
/// let kernel = RbfConfig::new().with_length_scale(1.0).init(&Device::default());
/// let spectrum = kernel.spectrum(1, 2000, 0)?;
/// let mean: f64 = spectrum.frequencies().iter().map(|w| (w * 0.5).cos()).sum::<f64>() / 2000.0;
/// assert!((mean - (-0.125f64).exp()).abs() < 0.03);
/// # }
/// # Ok::<(), burn_lazy_nn::LayerError>(())
/// ```
pub trait Spectral: Kernel {
    /// Random frequencies for points of `dim` coordinates. The same seed gives the same frequencies.
    ///
    /// # Errors
    /// If the kernel has another number of coordinates, or if it is a batch of kernels.
    fn spectrum(&self, dim: usize, count: usize, seed: u64) -> Result<Spectrum, LayerError>;
}

/// Random frequencies of a [`Spectral`] kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    frequencies: Vec<f64>,
    dim: usize,
    variance: f64,
}

impl Spectrum {
    /// The frequencies of a kernel with the given variance $k(x, x)$: the `dim` coordinates of the first frequency,
    /// then those of the next one, and so on.
    #[must_use]
    pub fn new(frequencies: Vec<f64>, dim: usize, variance: f64) -> Self {
        Self {
            frequencies,
            dim,
            variance,
        }
    }

    /// The frequencies: all coordinates of the first frequency, then those of the next one, and so on.
    #[must_use]
    pub fn frequencies(&self) -> &[f64] {
        &self.frequencies
    }

    /// The number of coordinates.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The variance $k(x, x)$.
    #[must_use]
    pub fn variance(&self) -> f64 {
        self.variance
    }
}

/// The values of a parameter, one for each coordinate.
fn by_coordinate(parameter: &Positive, dim: usize) -> Result<Vec<f64>, LayerError> {
    let values: Vec<f64> = parameter.value().into_data().iter::<f64>().collect();
    match (parameter.batch(), values.len()) {
        (None, 1) => Ok(vec![values[0]; dim]),
        (None, own) if own == dim => Ok(values),
        _ => Err(LayerError::Shape {
            what: "the parameter of a kernel",
            shape: parameter.value().dims().to_vec(),
            other: "points",
            other_shape: vec![dim],
            expected: "one number or one for each coordinate, and no batch",
        }),
    }
}

/// Normally distributed random numbers, divided by the length scales. Rows are coordinates.
fn normal(
    length_scale: &Positive,
    dim: usize,
    count: usize,
    seed: u64,
) -> Result<DMatrix<f64>, LayerError> {
    let lengths = by_coordinate(length_scale, dim)?;
    let mut numbers = dense::normal(dim, count, seed);
    let rows = numbers.row_iter_mut().zip(lengths);
    rows.for_each(|(mut row, length)| row /= length);
    Ok(numbers)
}

/// A seed that follows from another one.
fn next(seed: u64) -> u64 {
    seed.wrapping_add(0x9e37_79b9_7f4a_7c15)
}

impl Spectral for Rbf {
    fn spectrum(&self, dim: usize, count: usize, seed: u64) -> Result<Spectrum, LayerError> {
        let numbers = normal(&self.length_scale, dim, count, seed)?;
        Ok(Spectrum::new(numbers.as_slice().to_vec(), dim, 1.0))
    }
}

impl Spectral for Matern {
    /// The frequencies have Student's distribution with $2 \nu$ degrees of freedom.
    fn spectrum(&self, dim: usize, count: usize, seed: u64) -> Result<Spectrum, LayerError> {
        let freedom = match self.smoothness() {
            Smoothness::Half => 1,
            Smoothness::ThreeHalves => 3,
            Smoothness::FiveHalves => 5,
        };
        let mut numbers = normal(&self.length_scale, dim, count, seed)?;
        let squares = dense::normal(freedom, count, next(seed));
        for (mut own, squares) in numbers.column_iter_mut().zip(squares.column_iter()) {
            own *= (freedom as f64 / squares.norm_squared()).sqrt();
        }
        Ok(Spectrum::new(numbers.as_slice().to_vec(), dim, 1.0))
    }
}

impl<K: Spectral> Spectral for Scale<K> {
    fn spectrum(&self, dim: usize, count: usize, seed: u64) -> Result<Spectrum, LayerError> {
        let variance: f64 = by_coordinate(&self.variance, 1)?.iter().sum();
        let own = self.kernel.spectrum(dim, count, seed)?;
        Ok(Spectrum::new(own.frequencies, dim, own.variance * variance))
    }
}

impl<A: Spectral, B: Spectral> Spectral for Product<A, B> {
    /// Each frequency is the sum of one frequency of each kernel.
    fn spectrum(&self, dim: usize, count: usize, seed: u64) -> Result<Spectrum, LayerError> {
        let left = self.left.spectrum(dim, count, seed)?;
        // The seed is two steps on, because the left kernel may have used the next one.
        let right = self.right.spectrum(dim, count, next(next(!seed)))?;
        let both = left.frequencies.iter().zip(&right.frequencies);
        let sums = both.map(|(left, right)| left + right).collect();
        Ok(Spectrum::new(sums, dim, left.variance * right.variance))
    }
}

impl<K: Spectral> Spectral for ActiveDims<K> {
    /// The frequencies are 0 in the other coordinates.
    fn spectrum(&self, dim: usize, count: usize, seed: u64) -> Result<Spectrum, LayerError> {
        let active = self.dims();
        if let Some(own) = active.iter().find(|own| **own >= dim) {
            return Err(SettingError::new("a coordinate", own, "one of the points").into());
        }
        let own = self.kernel.spectrum(active.len(), count, seed)?;
        let mut frequencies = vec![0.0; dim * count];
        for (all, own) in frequencies
            .chunks_mut(dim)
            .zip(own.frequencies.chunks(own.dim))
        {
            active.iter().zip(own).for_each(|(at, own)| all[*at] += own);
        }
        Ok(Spectrum::new(frequencies, dim, own.variance))
    }
}
