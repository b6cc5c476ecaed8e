//! Cholesky factors, triangular systems and products of small stored matrices, in batches and differentiable.
//!
//! They are meant for computations beside a kernel matrix that is not stored: the covariance of a few inducing
//! points, an exact Gaussian process of a thousand points, the change of basis of a variational distribution. Up to
//! about 2000 rows they take seconds.
//!
//! Factors and systems are computed on the host in F64, whatever the type of the tensors is. Derivatives are products
//! on the device. Everything is differentiable once.
//!
//! ```
//! # #[cfg(all(feature = "flex", feature = "autodiff"))] {
//! # fn main() -> Result<(), burn_lazy::solve::SolveError> {
//! use burn::{prelude::*, tensor::Distribution};
//! use burn_lazy::{LazyTensor, solve::dense::{Triangle, cholesky, solve_triangular}};
//!
//! let device = Device::default().autodiff();
//! let z = Tensor::<2>::random([5, 2], Distribution::Default, &device).require_grad();
//! let x = Tensor::<2>::random([40, 2], Distribution::Default, &device);
//! let (z_i, x_j) = (LazyTensor::vi(z.clone()), LazyTensor::vj(x));
//! let stored = |k: LazyTensor| k.dense::<3>().squeeze_dim::<2>(2);
//! let k_zz = stored((-z_i.sqdist(LazyTensor::vj(z.clone()))).exp()) + Tensor::eye(5, &device) * 1e-3;
//! let k_zx = stored((-z_i.sqdist(x_j)).exp());
//!
//! // The variance that the inducing points z explain, the diagonal of K_xz K_zz^-1 K_zx.
//! let root = cholesky(k_zz)?;
//! let whitened = solve_triangular(root, k_zx, Triangle::Lower)?;
//! let explained = whitened.square().sum_dim(0);
//! let gradients = explained.sum().backward();
//! assert_eq!(z.grad(&gradients).unwrap().dims(), [5, 2]);
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```

use burn::tensor::{DType, Device, FloatDType, Tensor};
use burn_lazy_kernels::place_in;
use nalgebra::DMatrix;

use super::{
    SolveError,
    operator::is_half,
    system::{RIGHT, constant_beside, epsilon, host, shape_of, tensor},
};
use crate::{backends::is_tracked, cast::cast, operand::broadcast};

/// The names of matrices in messages.
const MATRIX: &str = "the matrix";
const TRIANGULAR: &str = "the triangular matrix";

/// Which entries of a matrix count; the others are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triangle {
    /// Those on the diagonal and below it.
    Lower,
    /// Those on the diagonal and above it.
    Upper,
}

/// A pivot must be larger than this many rounding units of its entry on the diagonal.
const DIGITS: f64 = 8.0;

/// The lower triangular factor $L$ of symmetric positive definite matrices $A = L L^\top$, `[batch.., M, M]`.
///
/// Where $A$ is not symmetric, the factor is that of $(A + A^\top) / 2$. The derivative is
/// $\mathrm d L = L \, \Phi(L^{-1} \mathrm d A \, L^{-\top})$, where $\Phi$ takes the lower triangle with half the
/// diagonal (Murray, "Differentiation of the Cholesky decomposition", 2016).
///
/// # Errors
/// If the matrices are not square, have values that are not finite, or if a matrix is not positive definite up to the
/// rounding of F32 (of F64 for entries in F64).
pub fn cholesky<const R: usize>(a: Tensor<R>) -> Result<Tensor<R>, SolveError> {
    let (_, sizes) = sizes(MATRIX, &a)?;
    let size = square(sizes)?;
    let precision = DIGITS * epsilon(a.dtype());
    let mut factors = Vec::with_capacity(a.dims().iter().product());
    let mut roots = Vec::new();
    for (number, matrix) in matrices(&a, sizes).into_iter().enumerate() {
        let matrix = finite(matrix, MATRIX)?;
        let symmetric = (&matrix + matrix.transpose()) * 0.5;
        let not_definite = |row| SolveError::NotPositiveDefinite {
            what: MATRIX,
            iteration: 0,
            column: number * size + row,
        };
        let factor = factor(symmetric, precision).map_err(not_definite)?;
        push(&mut factors, &factor);
        if is_tracked(&a) {
            let root = solved(&factor, DMatrix::identity(size, size), Triangle::Lower);
            push(&mut roots, &root);
        }
    }
    let device = a.device().inner();
    let exact = exact(&device);
    let wide: Tensor<R> = tensor(factors, a.dims(), (&device, exact.into()));
    let factor = constant_beside(cast(wide.clone(), a.dtype().into()), &a);
    if roots.is_empty() {
        return Ok(factor);
    }
    let root: Tensor<R> = tensor(roots, a.dims(), (&device, exact.into()));
    let stored = a.dtype();
    let change = cast(a.clone() - a.detach(), exact) * 0.5;
    let change = change.clone() + change.transpose();
    let change = root.clone().matmul(change).matmul(root.transpose());
    let phi = (change.clone().tril(0) + change.tril(-1)) * 0.5;
    Ok(factor + cast(wide.matmul(phi), stored.into()))
}

/// The solution $X$ of triangular systems $L X = B$, where $L$ is `[batch.., M, M]` and $B$ `[batch.., M, E]`. Batch
/// dimensions broadcast. To solve systems with $L^\top$, give `l.transpose()` and the other triangle.
///
/// # Errors
/// If the matrices are not square, the right-hand sides do not fit them, the types or devices differ, values are not
/// finite, or if a number on a diagonal is 0.
pub fn solve_triangular<const R: usize>(
    l: Tensor<R>,
    b: Tensor<R>,
    triangle: Triangle,
) -> Result<Tensor<R>, SolveError> {
    let (batch, own) = sizes(TRIANGULAR, &l)?;
    let size = square(own)?;
    let (of_right, right) = sizes(RIGHT, &b)?;
    let all = broadcast(&batch, &of_right).filter(|_| right[0] == size);
    let all = all.ok_or_else(|| SolveError::Shape {
        what: RIGHT,
        shape: b.dims().to_vec(),
        rows: size,
        batch: batch.clone(),
    })?;
    check_alike(TRIANGULAR, &l, &b)?;
    let has_gradient = is_tracked(&l) || is_tracked(&b);
    let (mut triangles, mut inverses) = (Vec::new(), Vec::new());
    for (number, matrix) in matrices(&l, own).into_iter().enumerate() {
        let matrix = match triangle {
            Triangle::Lower => matrix.lower_triangle(),
            Triangle::Upper => matrix.upper_triangle(),
        };
        let matrix = finite(matrix, TRIANGULAR)?;
        if let Some(row) = matrix.diagonal().iter().position(|entry| *entry == 0.0) {
            return Err(SolveError::Singular {
                matrix: number,
                row,
            });
        }
        if has_gradient {
            let inverse = solved(&matrix, DMatrix::identity(size, size), triangle);
            push(&mut inverses, &inverse);
        }
        triangles.push(matrix);
    }
    let rights = matrices(&b, right);
    let mut solutions = Vec::new();
    if !triangles.is_empty() && !rights.is_empty() {
        let place = |shape: &[usize], matrix| place_in(&all, shape, matrix);
        for matrix in 0..all.iter().product() {
            let right = &rights[place(&of_right, matrix)];
            let right = finite(right.clone(), RIGHT)?;
            let solution = solved(&triangles[place(&batch, matrix)], right, triangle);
            push(&mut solutions, &solution);
        }
    }
    let shape = shape_of(&all, size, right[1]);
    let device = b.device().inner();
    let exact = exact(&device);
    let stored = b.dtype();
    let wide: Tensor<R> = tensor(solutions, shape, (&device, exact.into()));
    let solution = cast(wide.clone(), stored.into());
    // The solution belongs to the autodiff graph of `b` if `b` has one, and else to that of `l`.
    #[cfg(feature = "autodiff")]
    let solution = match b.gradient_checkpointing_strategy() {
        Some(_) => constant_beside(solution, &b),
        None => constant_beside(solution, &l),
    };
    if inverses.is_empty() || shape.contains(&0) {
        return Ok(solution);
    }
    let inverse: Tensor<R> = tensor(inverses, l.dims(), (&device, exact.into()));
    // These terms have the value 0, and carry the derivatives by `l` and by `b`.
    let change = cast(l.clone() - l.detach(), exact);
    let change = match triangle {
        Triangle::Lower => change.tril(0),
        Triangle::Upper => change.triu(0),
    };
    let of_right = cast(b.clone() - b.detach(), exact);
    let change = inverse.matmul(of_right - change.matmul(wide));
    Ok(solution + cast(change, stored.into()))
}

/// The product $A B$ of stored matrices `[batch.., M, K]` and `[batch.., K, N]`, as Burn's
/// [`matmul`](Tensor::matmul), computed in F64 where the device has it. On graphics cards with matrix instructions
/// Burn's own product of F32 is rounded to about three digits. Batch dimensions broadcast.
///
/// # Errors
/// If the shapes do not fit, or the types or devices differ.
pub fn matmul<const R: usize>(a: Tensor<R>, b: Tensor<R>) -> Result<Tensor<R>, SolveError> {
    let (batch, [_, inner]) = sizes(MATRIX, &a)?;
    let (of_right, [rows, _]) = sizes(RIGHT, &b)?;
    if inner != rows || broadcast(&batch, &of_right).is_none() {
        return Err(SolveError::Product {
            left: a.dims().to_vec(),
            right: b.dims().to_vec(),
        });
    }
    check_alike(MATRIX, &a, &b)?;
    let stored = a.dtype();
    match stored == DType::F32 || is_half(stored) {
        true => {
            let exact = exact(&a.device());
            Ok(cast(cast(a, exact).matmul(cast(b, exact)), stored.into()))
        }
        false => Ok(a.matmul(b)),
    }
}

/// The type in which products are computed: F64 if the device has it, else F32.
fn exact(device: &Device) -> FloatDType {
    match device.supports_dtype(DType::F64) {
        true => FloatDType::F64,
        false => FloatDType::F32,
    }
}

/// Checks that both tensors have the same type and are on the same device.
fn check_alike<const R: usize>(
    what: &'static str,
    a: &Tensor<R>,
    b: &Tensor<R>,
) -> Result<(), SolveError> {
    if a.dtype() != b.dtype() {
        return Err(SolveError::MixedTypes {
            what,
            own: a.dtype(),
            right: b.dtype(),
        });
    }
    let [own, right] = [a, b].map(|tensor| tensor.device().inner());
    match own == right {
        true => Ok(()),
        false => Err(SolveError::MixedDevices {
            what,
            own: format!("{own:?}"),
            right: format!("{right:?}"),
        }),
    }
}

/// The Cholesky factor $L$ of a matrix $L L^\top$, of which only the lower triangle is read. The error is the row of
/// the first pivot that is at most `precision` times its entry on the diagonal.
pub(crate) fn factor(mut matrix: DMatrix<f64>, precision: f64) -> Result<DMatrix<f64>, usize> {
    let n = matrix.nrows();
    for k in 0..n {
        let entry = matrix[(k, k)];
        let row = matrix.view((k, 0), (1, k)).transpose();
        let known = matrix.view((k, 0), (n - k, k)) * row;
        let mut column = matrix.view_mut((k, k), (n - k, 1));
        column -= known;
        let pivot = column[0];
        if pivot.is_nan() || pivot <= precision * entry.abs() {
            return Err(k);
        }
        column /= pivot.sqrt();
    }
    matrix.fill_upper_triangle(0.0, 1);
    Ok(matrix)
}

/// The solution of a triangular system whose diagonal has no 0.
fn solved(matrix: &DMatrix<f64>, b: DMatrix<f64>, triangle: Triangle) -> DMatrix<f64> {
    let solved = match triangle {
        Triangle::Lower => matrix.solve_lower_triangular(&b),
        Triangle::Upper => matrix.solve_upper_triangular(&b),
    };
    solved.expect("no entry of the diagonal is 0")
}

/// The batch dimensions of matrices, and their rows and columns.
fn sizes<const R: usize>(
    what: &'static str,
    a: &Tensor<R>,
) -> Result<(Vec<usize>, [usize; 2]), SolveError> {
    match a.dims()[..] {
        [ref batch @ .., rows, columns] => Ok((batch.to_vec(), [rows, columns])),
        _ => Err(SolveError::NotMatrix {
            what,
            shape: a.dims().to_vec(),
        }),
    }
}

fn square([rows, columns]: [usize; 2]) -> Result<usize, SolveError> {
    match rows == columns {
        true => Ok(rows),
        false => Err(SolveError::NotSquare {
            sizes: [rows, columns],
        }),
    }
}

/// The matrices of a batch on the host. There are none if they have no entries.
fn matrices<const R: usize>(a: &Tensor<R>, [rows, columns]: [usize; 2]) -> Vec<DMatrix<f64>> {
    let values = host(a.clone().inner());
    let own = values.chunks_exact((rows * columns).max(1));
    own.map(|own| DMatrix::from_row_slice(rows, columns, own))
        .collect()
}

/// Appends the entries row by row, as tensors store them. `DMatrix` stores them column by column.
fn push(values: &mut Vec<f64>, matrix: &DMatrix<f64>) {
    values.extend_from_slice(matrix.transpose().as_slice());
}

fn finite(matrix: DMatrix<f64>, what: &'static str) -> Result<DMatrix<f64>, SolveError> {
    match matrix.iter().all(|entry| entry.is_finite()) {
        true => Ok(matrix),
        false => Err(SolveError::NotFinite(what)),
    }
}
