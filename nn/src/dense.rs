//! Small dense matrices on the host, in F64, which are factored and used without going through tensors.
//! `burn_lazy::solve::dense` has the same operations for tensors, with gradients.

use burn::tensor::{DType, FloatDType, Tensor, TensorCreationOptions, TensorData};
use burn_lazy::{LazyError, LazyTensor, solve::LinearOperator};
use nalgebra::DMatrix;
use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, StandardNormal};

/// The values of a tensor as a matrix on the host.
pub(crate) fn host(tensor: Tensor<2>) -> DMatrix<f64> {
    let [rows, columns] = tensor.dims();
    let values = tensor.into_data();
    DMatrix::from_row_iterator(rows, columns, values.iter::<f64>())
}

/// The tensor with the values of `matrix`.
pub(crate) fn tensor(
    matrix: &DMatrix<f64>,
    options: impl Into<TensorCreationOptions>,
) -> Tensor<2> {
    let (rows, columns) = matrix.shape();
    // The matrix is stored column by column, a tensor row by row.
    let values = matrix.transpose().as_slice().to_vec();
    Tensor::from_data(TensorData::new(values, [rows, columns]), options)
}

/// Independent random numbers of the standard normal distribution.
pub(crate) fn normal(rows: usize, columns: usize, seed: u64) -> DMatrix<f64> {
    let mut random = StdRng::seed_from_u64(seed);
    let numbers = StandardNormal.sample_iter(&mut random);
    DMatrix::from_iterator(rows, columns, numbers.take(rows * columns))
}

/// The formula in F64 if the device supports it, otherwise the formula as it is.
pub(crate) fn in_f64(k: &LazyTensor) -> LazyTensor {
    k.try_cast(FloatDType::F64).unwrap_or_else(|_| k.clone())
}

/// The entries of a symbolic matrix, computed in F64 if the device supports it, and their relative rounding error.
pub(crate) fn entries(k: &LazyTensor) -> Result<(DMatrix<f64>, f64), LazyError> {
    let exact = in_f64(&k.inner());
    let stored: Tensor<3> = exact.try_dense()?;
    let (_, dtype) = LinearOperator::<2>::vectors(&exact)?;
    Ok((host(stored.squeeze_dim(2)), rounding(dtype)))
}

/// The relative rounding error of values that are computed from tensors of the given type.
pub(crate) fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        _ => f32::EPSILON.into(),
    }
}

/// The lower triangular factor $L$ of a symmetric positive definite matrix $A = L L^\top$.
#[derive(Clone, Debug)]
pub(crate) struct Cholesky {
    lower: DMatrix<f64>,
}

impl Cholesky {
    /// The factor of a matrix whose entries have the relative error `rounding`.
    ///
    /// # Errors
    /// The index of the first row that is a linear combination of earlier rows up to rounding, or whose pivot is
    /// not positive and finite.
    pub fn new(mut matrix: DMatrix<f64>, rounding: f64) -> Result<Self, usize> {
        const DIGITS: f64 = 8.0;

        let size = matrix.nrows();
        let values = matrix.as_mut_slice();
        for k in 0..size {
            let (done, rest) = values.split_at_mut(k * size);
            let column = &mut rest[..size];
            let smallest = DIGITS * rounding * column[k];
            column[..k].fill(0.0);
            for before in done.chunks(size) {
                let factor = before[k];
                let below = column[k..].iter_mut().zip(&before[k..]);
                below.for_each(|(entry, before)| *entry -= factor * before);
            }
            let pivot = column[k];
            // The comparison is negated so that NaN is refused, too.
            if !(pivot > smallest && pivot.is_finite()) {
                return Err(k);
            }
            let root = pivot.sqrt();
            column[k..].iter_mut().for_each(|entry| *entry /= root);
        }
        Ok(Self { lower: matrix })
    }

    /// The factor of a matrix that may be singular up to rounding. It adds `jitter` times the mean of the diagonal
    /// to the diagonal, and ten times as much each time that the factorisation fails.
    ///
    /// # Errors
    /// As [`new`](Self::new), if adding a ten thousandth of the mean is not enough.
    pub fn jittered(matrix: &DMatrix<f64>, mut jitter: f64, rounding: f64) -> Result<Self, usize> {
        const MOST: f64 = 1e-4;

        let size = matrix.nrows();
        let mean = matrix.trace() / size as f64;
        loop {
            let mut shifted = matrix.clone();
            (0..size).for_each(|i| shifted[(i, i)] += jitter * mean);
            match Self::new(shifted, rounding) {
                Err(_) if jitter < MOST => jitter *= 10.0,
                result => return result,
            }
        }
    }

    /// $L$.
    pub fn lower(&self) -> &DMatrix<f64> {
        &self.lower
    }

    /// The columns of $L$ with their indices, each from the first row on.
    fn columns(&self) -> impl DoubleEndedIterator<Item = (usize, &[f64])> {
        self.lower.as_slice().chunks(self.lower.nrows()).enumerate()
    }

    /// $L^{-1} b$.
    pub fn half_solve(&self, b: &DMatrix<f64>) -> DMatrix<f64> {
        let mut solved = b.clone();
        for x in solved.as_mut_slice().chunks_mut(self.lower.nrows()) {
            for (k, own) in self.columns() {
                x[k] /= own[k];
                // Columns of the identity matrix start with zeros, which change nothing below.
                if x[k] != 0.0 {
                    let (done, rest) = x.split_at_mut(k + 1);
                    let below = rest.iter_mut().zip(&own[k + 1..]);
                    below.for_each(|(x, own)| *x -= done[k] * own);
                }
            }
        }
        solved
    }

    /// $A^{-1} b$.
    pub fn solve(&self, b: &DMatrix<f64>) -> DMatrix<f64> {
        let mut solved = self.half_solve(b);
        for x in solved.as_mut_slice().chunks_mut(self.lower.nrows()) {
            for (k, own) in self.columns().rev() {
                let below = x[k + 1..].iter().zip(&own[k + 1..]);
                let known: f64 = below.map(|(x, own)| x * own).sum();
                x[k] = (x[k] - known) / own[k];
            }
        }
        solved
    }

    /// $L^{-1}$.
    pub fn inverse_root(&self) -> DMatrix<f64> {
        let size = self.lower.nrows();
        self.half_solve(&DMatrix::identity(size, size))
    }

    /// $A^{-1}$.
    pub fn inverse(&self) -> DMatrix<f64> {
        let root = self.inverse_root();
        root.transpose() * root
    }

    /// $\log \det A$.
    pub fn log_det(&self) -> f64 {
        2.0 * self.lower.diagonal().map(f64::ln).sum()
    }
}

/// The identity matrix of the size of a square matrix, on its device and in its type.
pub(crate) fn identity(like: &Tensor<2>) -> Tensor<2> {
    let [size, _] = like.dims();
    Tensor::<2>::eye(size, &like.device()).cast(like.dtype())
}
