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
    system::{PRODUCT, dots, epsilon, host, row, shape_of, square, tensor},
};
use crate::{error::LazyError, lazy::LazyTensor};

/// Eigenvalues and eigenvectors, of one matrix (`R` = 2) or of each matrix of a batch. In the lists of numbers, those
/// of one matrix come before those of the next.
#[derive(Clone)]
pub struct Eigenpairs<const R: usize = 2> {
    /// The eigenvalues, for each matrix in descending order.
    pub values: Vec<f64>,
    /// The eigenvectors of norm 1 as columns, `[batch.., N, count]`, in F32 for an operator in F16 or BF16.
    pub vectors: Tensor<R>,
    /// Number of products with the operator that were computed.
    pub iterations: usize,
    /// The residuals $\|A v - \lambda v\|$ relative to the largest $|\lambda|$ that was seen for the matrix, computed
    /// from the vectors. They are above the tolerance if the tolerance is below the rounding errors of a product.
    pub residuals: Vec<f64>,
}

impl<const R: usize> fmt::Debug for Eigenpairs<R> {
    /// Prints the numbers. The vectors stay on the device and are not printed.
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
/// The rank `R` of the eigenvectors is 2 for one matrix, and the number of batch dimensions plus 2 for a batch. All
/// matrices of a batch are iterated together. Each matrix has the same pairs that it would have alone, as its pairs
/// are kept from the iteration in which they are found.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::{prelude::*, tensor::Distribution};
/// use burn_lazy::{LazyTensor, solve::{Eigenpairs, eigenpairs}};
///
/// let x = Tensor::<2>::random([400, 2], Distribution::Default, &Device::default());
/// let s_xx = LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x));
/// let k_xx = (-s_xx.clone()).exp();
/// let pairs: Eigenpairs = eigenpairs(&k_xx, 3, 1e-4, 100)?;
/// let v = pairs.vectors.clone().slice([0..400, 0..1]);
/// let error = k_xx.matmul(v.clone()) - v * pairs.values[0];
/// assert!(error.abs().max().into_scalar::<f32>() < 1e-2);
///
/// // Two scales of the same points: a batch of two matrices.
/// let scales = Tensor::<2>::from_data([[1.0], [4.0]], &Device::default());
/// let both = (-s_xx * LazyTensor::pm(scales)).exp();
/// let pairs: Eigenpairs<3> = eigenpairs(&both, 3, 1e-4, 100)?;
/// assert_eq!(pairs.vectors.dims(), [2, 400, 3]);
/// assert!(pairs.values[0] > pairs.values[3]); // the largest of each
/// # }
/// # Ok::<(), burn_lazy::solve::SolveError>(())
/// ```
///
/// # Errors
/// If the operator is not square, if it is seen not to be symmetric, or if it has other than `R - 2` batch dimensions
/// or fewer than `count` rows; if its products are not finite; if the tolerance is negative; or if `max_iterations`
/// are not enough or fewer than `count`.
pub fn eigenpairs<A: LinearOperator<R>, const R: usize>(
    a: &A,
    count: usize,
    tolerance: f64,
    max_iterations: usize,
) -> Result<Eigenpairs<R>, SolveError> {
    const { assert!(R >= 2, "eigenvectors are the columns of a matrix") };
    let a = computed(a.inner())?;
    let n = square(&a, "eigenpairs")?;
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
    let wanted = Wanted {
        count,
        tolerance,
        most: max_iterations.min(n),
        rows: n,
    };
    let (device, dtype) = a.vectors()?;
    let batch = a.batch();
    let shape: [usize; R] = shape_of(&batch, n, 1);
    let matrices = shape[..R - 2].iter().product();
    if matrices == 0 {
        return Ok(Eigenpairs {
            values: vec![],
            vectors: Tensor::zeros(shape_of::<R>(&batch, n, count), (&device, dtype)),
            iterations: 0,
            residuals: vec![],
        });
    }
    a.check_symmetric()?;
    let mut all: Vec<Lanczos> = (0..matrices).map(|_| Lanczos::new()).collect();
    // Normally distributed vectors for the matrices that `asks` accepts, and 0 for the others.
    let random = |all: &mut [Lanczos], asks: &dyn Fn(&Lanczos) -> bool| {
        let vectors = all.iter_mut().flat_map(|own| match asks(own) {
            true => StandardNormal.sample_iter(&mut own.rng).take(n).collect(),
            false => vec![0.0; n],
        });
        tensor(vectors.collect(), shape, (&device, dtype))
    };

    let mut basis = Basis::default();
    let start: Tensor<R> = random(&mut all, &|_| true);
    let lengths = lengths(&start)?;
    basis.push(
        start,
        &lengths.iter().map(|own| own.recip()).collect::<Vec<_>>(),
    );
    // The operator is scaled so that squares of its products are in range.
    let mut exponents: Option<Vec<i32>> = None;
    loop {
        let image = a.apply(basis.last())?;
        let exponents = match &exponents {
            Some(exponents) => exponents,
            None => exponents.insert(balance(&image)?),
        };
        let image = times_powers(image, exponents);
        let alphas = host(dots(&[[&basis.last(), &image]])?.remove(0));
        let rest = basis.orthogonal(image)?;
        let betas = self::lengths(&rest)?;
        for (own, (alpha, beta)) in all.iter_mut().zip(alphas.into_iter().zip(betas)) {
            if own.found.is_none() {
                own.step(alpha, beta, &wanted, epsilon(dtype))?;
            }
        }
        if all.iter().all(|own| own.found.is_some()) {
            return finish(&a, &basis, all, exponents);
        }
        // The vectors of matrices whose pairs are found are 0 from here on.
        let goes_on = |own: &Lanczos| own.found.is_none() && !own.closed;
        let factors: Vec<f64> = all
            .iter()
            .map(|own| if goes_on(own) { own.beta.recip() } else { 0.0 })
            .collect();
        let begins = |own: &Lanczos| own.found.is_none() && own.closed;
        if !all.iter().any(begins) {
            basis.push(rest, &factors);
            continue;
        }
        let fresh = basis.orthogonal(random(&mut all, &begins))?;
        let lengths = self::lengths(&fresh)?;
        let asks = all.iter().zip(lengths);
        let of_fresh: Vec<f64> = asks
            .map(|(own, length)| if begins(own) { length.recip() } else { 0.0 })
            .collect();
        let next = rest.clone() * row(&factors, &rest) + fresh * row(&of_fresh, &rest);
        basis.push(next, &vec![1.0; matrices]);
    }
}

/// The eigenpairs that are wanted of each matrix, and the limits of the iteration.
struct Wanted {
    count: usize,
    tolerance: f64,
    /// The largest number of iterations.
    most: usize,
    /// The rows of the matrix.
    rows: usize,
}

/// The state of the iteration for one matrix.
struct Lanczos {
    rng: StdRng,
    /// The tridiagonal matrix: its diagonal, and the entries beside the diagonal.
    diagonal: Vec<f64>,
    beside: Vec<f64>,
    /// The norm of the part of the last product that is orthogonal to the basis.
    beta: f64,
    /// Whether the basis spans an invariant subspace.
    closed: bool,
    found: Option<Found>,
}

/// The eigenvalues and eigenvectors of a tridiagonal matrix, with the indices of the wanted ones.
struct Found {
    eigen: SymmetricEigen<f64, nalgebra::Dyn>,
    order: Vec<usize>,
}

impl Lanczos {
    fn new() -> Self {
        Self {
            rng: StdRng::seed_from_u64(0),
            diagonal: Vec::new(),
            beside: Vec::new(),
            beta: 0.0,
            closed: false,
            found: None,
        }
    }

    /// Adds the next row of the tridiagonal matrix, and checks whether the wanted eigenpairs are found.
    fn step(
        &mut self,
        alpha: f64,
        beta: f64,
        wanted: &Wanted,
        precision: f64,
    ) -> Result<(), SolveError> {
        if !(alpha.is_finite() && beta.is_finite()) {
            return Err(SolveError::NotFinite(PRODUCT));
        }
        self.diagonal.push(alpha);
        let iterations = self.diagonal.len();
        let scale = self
            .diagonal
            .iter()
            .chain(&self.beside)
            .fold(0.0f64, |max, x| max.max(x.abs()));
        // If the basis spans an invariant subspace, the orthogonal part is a rounding error.
        self.closed = beta <= 8.0 * precision * scale;
        self.beta = beta;

        let count = wanted.count;
        let last = iterations >= wanted.most;
        if iterations >= count && (last || self.closed || iterations.is_multiple_of(5)) {
            let eigen = tridiagonal(&self.diagonal, &self.beside).symmetric_eigen();
            let mut order: Vec<usize> = (0..iterations).collect();
            order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
            order.truncate(count);
            let largest = eigen.eigenvalues.amax();
            let left = if self.closed { 0.0 } else { beta };
            let residual = order
                .iter()
                .map(|&k| left * eigen.eigenvectors[(iterations - 1, k)].abs())
                .fold(0.0, f64::max);
            // A small invariant subspace may lack some of the largest eigenvalues.
            let lacks = self.closed && iterations < wanted.most.min(2 * count);
            let found = residual <= wanted.tolerance * largest && !lacks;
            if found || iterations == wanted.rows {
                self.found = Some(Found { eigen, order });
                return Ok(());
            }
            if last {
                return Err(SolveError::NotConverged {
                    iterations,
                    residual: residual / largest,
                    tolerance: wanted.tolerance,
                    stagnated: false,
                });
            }
        }
        self.beside.push(if self.closed { 0.0 } else { beta });
        Ok(())
    }
}

/// The eigenpairs of all matrices, once all of them are found.
fn finish<A: LinearOperator<R>, const R: usize>(
    a: &A,
    basis: &Basis<R>,
    all: Vec<Lanczos>,
    exponents: &[i32],
) -> Result<Eigenpairs<R>, SolveError> {
    let found: Vec<Found> = all.into_iter().filter_map(|own| own.found).collect();
    let vectors = basis.combine(&found)?;
    let scaled = found.iter().map(|own| {
        let values = own.order.iter().map(|&k| own.eigen.eigenvalues[k]);
        values.collect::<Vec<f64>>()
    });
    let scaled: Vec<Vec<f64>> = scaled.collect();
    let mut residuals = residuals(a, &vectors, &scaled, exponents)?;
    for (own, residuals) in found.iter().zip(&mut residuals) {
        let largest = own.eigen.eigenvalues.amax().max(f64::MIN_POSITIVE);
        residuals
            .iter_mut()
            .for_each(|residual| *residual /= largest);
    }
    let values = scaled
        .iter()
        .zip(exponents)
        .flat_map(|(own, exponent)| own.iter().map(move |value| value * 2f64.powi(-exponent)));
    Ok(Eigenpairs {
        values: values.collect(),
        vectors,
        iterations: basis.len,
        residuals: residuals.concat(),
    })
}

/// The norms of $2^e A v - \lambda v$ of the columns $v$, for each matrix.
fn residuals<A: LinearOperator<R>, const R: usize>(
    a: &A,
    vectors: &Tensor<R>,
    values: &[Vec<f64>],
    exponents: &[i32],
) -> Result<Vec<Vec<f64>>, SolveError> {
    let mut all = vec![Vec::new(); values.len()];
    let count = vectors.dims()[R - 1];
    for first in (0..count).step_by(WIDTH) {
        let width = WIDTH.min(count - first);
        let own = vectors.clone().narrow(R - 1, first, width);
        let exponents = exponents.iter().flat_map(|exponent| vec![*exponent; width]);
        let images = times_powers(a.apply(own.clone())?, &exponents.collect::<Vec<_>>());
        let values = values.iter().map(|own| &own[first..first + width]);
        let values = row(&values.collect::<Vec<_>>().concat(), &own);
        let norms = norms(&(images - own * values), PRODUCT)?;
        for (all, own) in all.iter_mut().zip(norms.chunks(width)) {
            all.extend(own);
        }
    }
    Ok(all)
}

/// The norm of each column.
fn lengths<const R: usize>(v: &Tensor<R>) -> Result<Vec<f64>, LazyError> {
    let squares = host(dots(&[[v, v]])?.remove(0));
    Ok(squares.into_iter().map(f64::sqrt).collect())
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

/// The number of vectors in a block of the basis. All blocks have the same width, so that they share kernels.
const WIDTH: usize = 16;

/// Orthonormal vectors of each matrix, in blocks `[batch.., N, WIDTH]`. Vectors of a matrix whose pairs are already
/// found are 0. The last block is filled up with zeros.
#[derive(Default)]
struct Basis<const R: usize> {
    len: usize,
    blocks: Vec<Tensor<R>>,
}

impl<const R: usize> Basis<R> {
    /// The ranges that vector `number` has in its block, which has the given shape.
    fn place(mut shape: [usize; R], number: usize) -> [std::ops::Range<usize>; R] {
        shape[R - 1] = 1;
        let mut ranges = shape.map(|size| 0..size);
        let at = number % WIDTH;
        ranges[R - 1] = at..at + 1;
        ranges
    }

    /// Adds the vectors `v`, each times the factor of its matrix.
    fn push(&mut self, v: Tensor<R>, factors: &[f64]) {
        let v = v.clone() * row(factors, &v);
        let mut shape = v.dims();
        if self.len.is_multiple_of(WIDTH) {
            shape[R - 1] = WIDTH;
            self.blocks
                .push(Tensor::zeros(shape, (&v.device(), v.dtype())));
        }
        let block = self.blocks.pop().expect("there is one");
        let place = Self::place(shape, self.len);
        self.blocks.push(block.slice_assign(place, v));
        self.len += 1;
    }

    fn last(&self) -> Tensor<R> {
        let block = self.blocks.last().expect("there is a vector");
        let place = Self::place(block.dims(), self.len - 1);
        block.clone().slice(place)
    }

    /// The part of `v` that is orthogonal to all vectors. The projection is done twice, as the first one leaves
    /// rounding errors.
    fn orthogonal(&self, mut v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        for _ in 0..2 {
            for block in &self.blocks {
                let parts =
                    LazyTensor::try_vj(block.clone())?.try_mul(LazyTensor::try_vj(v.clone())?)?;
                v = v - combination(block, parts.try_sum(Axis::J)?)?;
            }
        }
        Ok(v)
    }

    /// The wanted eigenvectors of each matrix, as combinations of the vectors of its basis.
    fn combine(&self, found: &[Found]) -> Result<Tensor<R>, LazyError> {
        let mut vectors = Vec::new();
        for k in 0..found[0].order.len() {
            let mut sum: Option<Tensor<R>> = None;
            for (number, block) in self.blocks.iter().enumerate() {
                // If the pairs of a matrix were found early, the vectors after that have the weight 0.
                let weights = found.iter().flat_map(|own| {
                    let column = own.eigen.eigenvectors.column(own.order[k]);
                    let at = |w: usize| column.get(number * WIDTH + w).copied().unwrap_or(0.0);
                    (0..WIDTH).map(at).collect::<Vec<f64>>()
                });
                let weights = row(&weights.collect::<Vec<_>>(), block);
                let part = combination(block, weights)?;
                sum = Some(match sum {
                    None => part,
                    Some(sum) => sum + part,
                });
            }
            vectors.push(sum.expect("there is a block"));
        }
        Ok(Tensor::cat(vectors, R - 1))
    }
}

/// The sum of the columns of `block` with the given weights, `[batch.., 1, WIDTH]`.
fn combination<const R: usize>(
    block: &Tensor<R>,
    weights: Tensor<R>,
) -> Result<Tensor<R>, LazyError> {
    // The weights are a single column, which is summed over. As parameters they would need one dimension less.
    let weights = LazyTensor::try_vj(weights)?;
    let products = LazyTensor::try_vi(block.clone())?.try_dot(weights)?;
    products.try_sum(Axis::J)
}
