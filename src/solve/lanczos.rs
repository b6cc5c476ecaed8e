//! The largest eigenvalues of a symmetric operator, by Lanczos' method.

use std::fmt;

use burn::tensor::Tensor;
use burn_lazy_kernels::Axis;
use nalgebra::{DMatrix, SymmetricEigen};
use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, StandardNormal};

use super::{
    LinearOperator, SolveError,
    operator::computed,
    scale::{balance, norms, times_powers},
    system::{PRODUCT, dots, epsilon, host, one_square, row, tensor},
};
use crate::{error::LazyError, lazy::LazyTensor};

/// Eigenvalues and eigenvectors.
#[derive(Clone)]
pub struct Eigenpairs {
    /// The eigenvalues, the largest first.
    pub values: Vec<f64>,
    /// The eigenvectors of norm 1 as columns, `[N, count]`, in F32 for an operator in F16 or BF16.
    pub vectors: Tensor<2>,
    /// Number of products with the operator that were computed.
    pub iterations: usize,
    /// The residuals $\|A v - \lambda v\|$ relative to the largest $|\lambda|$ that was seen, computed from the
    /// vectors. If the tolerance is below the rounding errors of a product, they are above the tolerance.
    pub residuals: Vec<f64>,
}

impl fmt::Debug for Eigenpairs {
    /// The numbers. The vectors are on the device and are not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eigenpairs")
            .field("values", &self.values)
            .field("residuals", &self.residuals)
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// The `count` largest eigenvalues of a symmetric operator and their eigenvectors, by Lanczos' method with full
/// reorthogonalisation (Golub and Van Loan, "Matrix Computations", 10.3).
///
/// A pair is found when its residual $\|A v - \lambda v\|$ is below `tolerance` times the largest $|\lambda|$. Each
/// iteration stores one vector, and there are at most `max_iterations` of them. The copies of a multiple eigenvalue
/// may be found late or not at all. Not differentiable.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::{prelude::*, tensor::Distribution};
/// use burn_lazy::{LazyTensor, solve::eigenpairs};
///
/// let x = Tensor::<2>::random([400, 2], Distribution::Default, &Device::default());
/// let k_xx = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x))).exp();
/// let pairs = eigenpairs(&k_xx, 3, 1e-4, 100)?;
/// let v = pairs.vectors.clone().slice([0..400, 0..1]);
/// let error = k_xx.matmul(v.clone()) - v * pairs.values[0];
/// assert!(error.abs().max().into_scalar::<f32>() < 1e-2);
/// # }
/// # Ok::<(), burn_lazy::solve::SolveError>(())
/// ```
///
/// # Errors
/// If the operator is not square, if it is seen not to be symmetric, or if it has batch dimensions or fewer than
/// `count` rows; if its products are not finite; if the tolerance is negative; or if `max_iterations` are not enough
/// or fewer than `count`.
pub fn eigenpairs<A: LinearOperator<2>>(
    a: &A,
    count: usize,
    tolerance: f64,
    max_iterations: usize,
) -> Result<Eigenpairs, SolveError> {
    let a = computed(a.inner())?;
    let n = one_square(&a, "eigenpairs")?;
    let wrong = |option, value| Err(SolveError::Option { option, value });
    if count == 0 || count > n {
        return wrong("count", count as f64);
    }
    if max_iterations < count {
        return wrong("max_iterations", max_iterations as f64);
    }
    if !(tolerance >= 0.0 && tolerance.is_finite()) {
        return wrong("tolerance", tolerance);
    }
    a.check_symmetric()?;
    let (device, dtype) = a.vectors()?;
    let mut rng = StdRng::seed_from_u64(0);
    let mut random = || {
        let values: Vec<f64> = StandardNormal.sample_iter(&mut rng).take(n).collect();
        tensor(values, [n, 1], (&device, dtype))
    };

    let mut basis = Basis::default();
    basis.push(random())?;
    let (mut diagonal, mut beside) = (Vec::<f64>::new(), Vec::<f64>::new());
    let most = max_iterations.min(n);
    // The operator is scaled so that squares of its products are in range.
    let mut exponent: Option<i32> = None;
    loop {
        let image = a.apply(basis.last())?;
        let exponent = match exponent {
            Some(exponent) => exponent,
            None => *exponent.insert(balance(&image)?[0]),
        };
        let image = times_powers(image, &[exponent]);
        let alpha = host(dots(&[[&basis.last(), &image]])?.remove(0))[0];
        if !alpha.is_finite() {
            return Err(SolveError::NotFinite(PRODUCT));
        }
        diagonal.push(alpha);
        let iterations = diagonal.len();
        let rest = basis.orthogonal(image)?;
        let beta = norm(&rest)?;
        let scale = diagonal
            .iter()
            .chain(&beside)
            .fold(0.0f64, |max, x| max.max(x.abs()));
        // Where the basis spans an invariant subspace, the rest is a rounding error.
        let closed = beta <= 8.0 * epsilon(dtype) * scale;

        let last = iterations >= most;
        if iterations >= count && (last || closed || iterations.is_multiple_of(5)) {
            let eigen = tridiagonal(&diagonal, &beside).symmetric_eigen();
            let mut order: Vec<usize> = (0..iterations).collect();
            order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
            order.truncate(count);
            let largest = eigen.eigenvalues.amax();
            let left = if closed { 0.0 } else { beta };
            let residual = order
                .iter()
                .map(|&k| left * eigen.eigenvectors[(iterations - 1, k)].abs())
                .fold(0.0, f64::max);
            // A small invariant subspace may lack some of the largest eigenvalues.
            let found =
                residual <= tolerance * largest && !(closed && iterations < most.min(2 * count));
            if found || iterations == n {
                let vectors = basis.combine(&eigen, &order)?;
                let scaled: Vec<f64> = order.iter().map(|&k| eigen.eigenvalues[k]).collect();
                return Ok(Eigenpairs {
                    residuals: residuals(&a, &vectors, &scaled, exponent)?
                        .into_iter()
                        .map(|residual| residual / largest.max(f64::MIN_POSITIVE))
                        .collect(),
                    values: scaled
                        .into_iter()
                        .map(|value| value * 2f64.powi(-exponent))
                        .collect(),
                    vectors,
                    iterations,
                });
            }
            if last {
                return Err(SolveError::NotConverged {
                    iterations,
                    residual: residual / largest,
                    tolerance,
                    stagnated: false,
                });
            }
        }
        beside.push(if closed { 0.0 } else { beta });
        match closed {
            true => {
                let fresh = basis.orthogonal(random())?;
                basis.push(fresh)?;
            }
            false => basis.push(rest)?,
        }
    }
}

/// The norms of $2^e A v - \lambda v$ of the columns $v$.
fn residuals<A: LinearOperator<2>>(
    a: &A,
    vectors: &Tensor<2>,
    values: &[f64],
    exponent: i32,
) -> Result<Vec<f64>, SolveError> {
    let mut all = Vec::new();
    for (number, values) in values.chunks(WIDTH).enumerate() {
        let own = vectors.clone().narrow(1, number * WIDTH, values.len());
        let images = times_powers(a.apply(own.clone())?, &vec![exponent; values.len()]);
        let values = row(values, &own);
        all.extend(norms(&(images - own * values), PRODUCT)?);
    }
    Ok(all)
}

fn norm(v: &Tensor<2>) -> Result<f64, LazyError> {
    Ok(host(dots(&[[v, v]])?.remove(0))[0].sqrt())
}

/// The symmetric matrix with `diagonal` and, on both sides of it, `beside`.
pub(crate) fn tridiagonal(diagonal: &[f64], beside: &[f64]) -> DMatrix<f64> {
    let n = diagonal.len();
    DMatrix::from_fn(n, n, |i, j| match i.abs_diff(j) {
        0 => diagonal[i],
        1 => beside[i.min(j)],
        _ => 0.0,
    })
}

/// Vectors in a block of the basis. Blocks have one width so that they share their kernels.
const WIDTH: usize = 16;

/// Orthonormal vectors, in blocks `[N, WIDTH]`. The last block is filled up with zeros.
#[derive(Default)]
struct Basis {
    len: usize,
    blocks: Vec<Tensor<2>>,
}

impl Basis {
    /// Adds `v`, normalised.
    fn push(&mut self, v: Tensor<2>) -> Result<(), LazyError> {
        let v = v.clone() / norm(&v)?;
        let [n, _] = v.dims();
        let at = self.len % WIDTH;
        if at == 0 {
            self.blocks
                .push(Tensor::zeros([n, WIDTH], (&v.device(), v.dtype())));
        }
        let block = self.blocks.pop().expect("there is one");
        self.blocks.push(block.slice_assign([0..n, at..at + 1], v));
        self.len += 1;
        Ok(())
    }

    fn last(&self) -> Tensor<2> {
        let block = self.blocks.last().expect("there is a vector");
        let [n, _] = block.dims();
        let at = (self.len - 1) % WIDTH;
        block.clone().slice([0..n, at..at + 1])
    }

    /// The part of `v` that is orthogonal to all vectors. The projection is done twice, as the first one leaves
    /// rounding errors.
    fn orthogonal(&self, mut v: Tensor<2>) -> Result<Tensor<2>, LazyError> {
        for _ in 0..2 {
            for block in &self.blocks {
                let parts =
                    LazyTensor::try_vj(block.clone())?.try_mul(LazyTensor::try_vj(v.clone())?)?;
                let parts: Tensor<2> = parts.try_sum(Axis::J)?;
                v = v - combination(block, parts.squeeze_dim(0))?;
            }
        }
        Ok(v)
    }

    /// The combinations of the vectors by the columns `order` of a matrix.
    fn combine(
        &self,
        eigen: &SymmetricEigen<f64, nalgebra::Dyn>,
        order: &[usize],
    ) -> Result<Tensor<2>, LazyError> {
        let mut vectors = Vec::new();
        for &k in order {
            let column = eigen.eigenvectors.column(k);
            let mut sum: Option<Tensor<2>> = None;
            for (number, block) in self.blocks.iter().enumerate() {
                let at = |w: usize| column.get(number * WIDTH + w).copied().unwrap_or(0.0);
                let weights: Vec<f64> = (0..WIDTH).map(at).collect();
                let weights = tensor(weights, [WIDTH], (&block.device(), block.dtype()));
                let part = combination(block, weights)?;
                sum = Some(match sum {
                    None => part,
                    Some(sum) => sum + part,
                });
            }
            vectors.push(sum.expect("there is a block"));
        }
        Ok(Tensor::cat(vectors, 1))
    }
}

/// The sum of the columns of `block` with the given weights, `[N, 1]`.
fn combination(block: &Tensor<2>, weights: Tensor<1>) -> Result<Tensor<2>, LazyError> {
    let weights = LazyTensor::try_pm(weights)?;
    LazyTensor::try_vi(block.clone())?
        .try_dot(weights)?
        .entries()
}
