//! The logarithm of the determinant: of small matrices by Cholesky's method, of large ones by stochastic Lanczos
//! quadrature.

use std::{cell::RefCell, fmt};

use burn::tensor::{FloatDType, Tensor};
use burn_lazy_kernels::place_in;
use nalgebra::DMatrix;
use rand::{SeedableRng, rngs::StdRng};

use super::{
    LinearOperator, Nystrom, SolveError, SolveInfo, SolveOptions,
    conjugate_gradient::iterate_columns,
    dense::factor,
    operator::{Ridge, computed},
    quadrature::{Probes, quadrature},
    setters,
    system::{epsilon, host, run, shape_of, square, tensor},
};
use crate::{cast::cast, operand::broadcast};

/// The options of [`log_det`].
///
/// The rank `R` is 2 for one matrix, and the number of batch dimensions plus 2 for a batch.
#[derive(Clone, Debug)]
pub struct LogDetOptions<const R: usize = 2> {
    ridge: f64,
    exact_up_to: usize,
    probes: usize,
    tolerance: f64,
    max_iterations: usize,
    seed: u64,
    preconditioner: Option<Nystrom<R>>,
}

impl<const R: usize> Default for LogDetOptions<R> {
    fn default() -> Self {
        Self {
            ridge: 0.0,
            exact_up_to: 512,
            probes: 16,
            tolerance: 1e-3,
            max_iterations: 1000,
            seed: 0,
            preconditioner: None,
        }
    }
}

impl<const R: usize> LogDetOptions<R> {
    setters! {
        /// The $\alpha$ that is added to the diagonal; 0 by default.
        pub fn ridge(alpha: f64);

        /// The largest number of rows for which the determinant is computed exactly; 512 by default. A matrix with at
        /// most this many rows is stored as $N^2$ numbers. This takes N products with the operator, and $N^3 / 3$
        /// operations on the host. With 0 the determinant is always estimated.
        pub fn exact_up_to(rows: usize);

        /// Number of random vectors; 16 by default. The statistical error is inversely proportional to the square root
        /// of this number.
        pub fn probes(count: usize);

        /// The relative residual at which the systems of the estimate are solved; $10^{-3}$ by default.
        pub fn tolerance(tolerance: f64);

        /// The largest number of iterations for each group of up to 16 random vectors; 1000 by default.
        pub fn max_iterations(count: usize);

        /// The seed of the random vectors. The same seed gives the same estimate.
        pub fn seed(seed: u64);
    }

    /// A preconditioner for the same ridge. Its determinant is known, so that only the quotient of the determinants
    /// of the matrix and of the preconditioner is estimated. The closer the preconditioner is to the matrix, the
    /// smaller is the statistical error.
    #[must_use]
    pub fn preconditioner(mut self, nystrom: Nystrom<R>) -> Self {
        self.preconditioner = Some(nystrom);
        self
    }
}

/// The logarithm of a determinant, or an estimate of it, of each matrix of a batch. It prints as `-0.7118 ± 0`: the
/// [estimate](Self::estimates) and its standard error, for each matrix.
#[derive(Clone)]
pub struct LogDet {
    /// The logarithm of the determinant of each matrix, or its estimate, in one dimension: `[1]` without batch
    /// dimensions, and `[batch]` with one. Several batch dimensions are flattened to one. It has the type of the
    /// operator (F32 for F16 and BF16). The gradient is exact where the value is exact. Otherwise it is an estimate
    /// from the same random vectors.
    pub value: Tensor<1>,
    /// The standard error of each value, from the standard deviation over random vectors. It is infinite for a single
    /// random vector, and 0 where the value is exact.
    pub standard_errors: Vec<f64>,
    /// How the systems of the estimate were solved, one group of random vectors after the other.
    pub info: SolveInfo,
    numbers: Vec<f64>,
}

impl LogDet {
    /// The values as numbers, one for each matrix.
    pub fn estimates(&self) -> &[f64] {
        &self.numbers
    }
}

impl fmt::Display for LogDet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (matrix, (number, error)) in self.numbers.iter().zip(&self.standard_errors).enumerate()
        {
            f.write_str(if matrix == 0 { "" } else { ", " })?;
            fmt::Display::fmt(number, f)?;
            f.write_str(" ± ")?;
            fmt::Display::fmt(error, f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for LogDet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogDet")
            .field("values", &self.numbers)
            .field("standard_errors", &self.standard_errors)
            .field("info", &self.info)
            .finish()
    }
}

/// $\log \det (\alpha I + A)$ of a symmetric positive definite operator, or of each matrix of a batch.
///
/// For up to 512 rows ([`exact_up_to`](LogDetOptions::exact_up_to)) it is exact. The matrix is stored and factored by
/// Cholesky's method in F64 on the host. Its entries are computed in F64, whatever the type of the operands is, or in
/// F32 if the device has no F64.
///
/// For more rows it is estimated by stochastic Lanczos quadrature (Ubaru, Chen and Saad, "Fast estimation of
/// tr(f(A))", 2017). The tridiagonal matrices come from the coefficients of conjugate gradients. With a
/// preconditioner $P$, $\log \det P$ is exact and $\mathrm{tr} \log (P^{-1} A)$ is estimated (Gardner et al.,
/// "GPyTorch", 2018).
///
/// Differentiable by every operand of the operator. The gradient is that of $\mathrm{tr}(A^{-1} \mathrm{d}A)$. For a
/// stored matrix it is computed from the inverse. Otherwise it is estimated from the solutions that were computed for
/// the value.
///
/// For an operator with batch dimensions, the rank `R` of [`LogDetOptions`] is their number plus 2. Each matrix of a
/// batch has the random vectors that it would have alone. Without a preconditioner they are the same for all
/// matrices. With one, their covariance is $P$, which may differ from matrix to matrix.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::{prelude::*, tensor::Distribution};
/// use burn_lazy::{LazyTensor, solve::{LogDetOptions, Nystrom, Rank, log_det}};
///
/// let device = Device::default();
/// let x = Tensor::<2>::random([300, 2], Distribution::Default, &device);
/// let k_xx = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x))).exp();
/// let options = LogDetOptions::<2>::default().ridge(0.1);
/// let exact = log_det(&k_xx, &options)?;
/// assert_eq!(exact.standard_errors, [0.0]);
///
/// // As for a large matrix.
/// let nystrom = Nystrom::new(&k_xx, 0.1, Rank::Auto)?;
/// let estimate = log_det(&k_xx, &options.exact_up_to(0).preconditioner(nystrom))?;
/// println!("{estimate:.3}"); // with its standard error
/// let error = (estimate.estimates()[0] - exact.estimates()[0]).abs();
/// assert!(error < 6.0 * estimate.standard_errors[0] + 0.1);
/// # }
/// # Ok::<(), burn_lazy::solve::SolveError>(())
/// ```
///
/// # Errors
/// If the options make no sense, if the operator has other than `R - 2` batch dimensions, if a stored matrix is not
/// positive definite up to the rounding of its entries (the error names the row where it was seen), and as
/// [`LazyTensor::solve`](crate::LazyTensor::solve).
pub fn log_det<A, const R: usize>(a: &A, options: &LogDetOptions<R>) -> Result<LogDet, SolveError>
where
    A: LinearOperator<R> + Clone,
{
    const { assert!(R >= 2, "matrices have two dimensions or more") };
    let wrong = |option, value| Err(SolveError::Option { option, value });
    if options.probes == 0 {
        return wrong("probes", 0.0);
    }
    if !options.ridge.is_finite() {
        return wrong("ridge", options.ridge);
    }
    let n = square(a, "log_det")?;
    if a.batch().contains(&0) {
        let (device, dtype) = computed(a.inner())?.vectors()?;
        return Ok(LogDet {
            value: Tensor::zeros([0], (&device, dtype)),
            standard_errors: vec![],
            info: SolveInfo::default(),
            numbers: vec![],
        });
    }
    match n <= options.exact_up_to {
        true => exact(a, options.ridge, n),
        false => estimated(&Ridge(computed(a.clone())?, options.ridge), options, n),
    }
}

/// The sum of all numbers of each matrix of `[batch.., N, E]`.
fn sums<const R: usize>(products: Tensor<R>) -> Tensor<1> {
    let shape = products.dims();
    let matrices = shape[..R - 2].iter().product();
    let each = products.reshape([matrices, shape[R - 2] * shape[R - 1]]);
    each.sum_dim(1).reshape([matrices])
}

/// The exact logarithms of the determinants, from stored matrices of `n` rows.
fn exact<A, const R: usize>(a: &A, ridge: f64, n: usize) -> Result<LogDet, SolveError>
where
    A: LinearOperator<R> + Clone,
{
    const WHAT: &str = "the matrix, up to the rounding of its entries,";
    let single = computed(a.clone())?;
    single.inner().check_symmetric()?;
    let (_, stored) = single.vectors()?;
    let a = single.cast(FloatDType::F64).unwrap_or(single);
    let inner = a.inner();
    let (device, dtype) = inner.vectors()?;
    let width = GROUP.min(n.max(1));
    let shape: [usize; R] = shape_of(&a.batch(), n, width);
    let matrices: usize = shape[..R - 2].iter().product();
    // The entries of a block of `width` columns from `first` on, with zeros after the last column.
    let values = |first: usize, entry: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
        let column = |k: usize| first + k % width;
        let value = |k: usize| match column(k) < n {
            true => entry(k / width, column(k)),
            false => 0.0,
        };
        (0..n * width).map(value).collect()
    };
    // Columns of the identity, for all matrices.
    let unit = |first: usize| {
        let unit = values(first, &|i, j| f64::from(u8::from(i == j)));
        let mut one = [1; R];
        (one[R - 2], one[R - 1]) = (n, width);
        tensor(unit, one, (&device, dtype)).expand(shape)
    };

    let mut entries = vec![DMatrix::zeros(n, n); matrices];
    for first in (0..n).step_by(width) {
        let columns = host(inner.apply(unit(first))?);
        for (matrix, columns) in entries.iter_mut().zip(columns.chunks(n * width)) {
            for (i, row) in columns.chunks(width).enumerate() {
                for (j, entry) in (first..n).zip(row) {
                    matrix[(i, j)] = *entry;
                }
            }
        }
    }
    let factor_of = |(number, matrix): (usize, DMatrix<f64>)| {
        if matrix.iter().any(|entry: &f64| !entry.is_finite()) {
            return Err(SolveError::NotFinite("the matrix"));
        }
        let mut matrix = (&matrix + matrix.transpose()) * 0.5;
        for k in 0..n {
            matrix[(k, k)] += ridge;
        }
        factor(matrix, epsilon(dtype)).map_err(|row| SolveError::NotPositiveDefinite {
            what: WHAT,
            iteration: 0,
            column: number * n + row,
        })
    };
    let factors = entries.into_iter().enumerate().map(factor_of);
    let factors: Vec<DMatrix<f64>> = factors.collect::<Result<_, _>>()?;
    let number =
        |factor: &DMatrix<f64>| 2.0 * factor.diagonal().iter().map(|root| root.ln()).sum::<f64>();
    let numbers: Vec<f64> = factors.iter().map(number).collect();

    let mut value = tensor(numbers.clone(), [matrices], (&device, stored));
    if a.is_tracked() {
        let inverse = |factor: &DMatrix<f64>| {
            let root = factor
                .solve_lower_triangular(&DMatrix::identity(n, n))
                .expect("the diagonal of a Cholesky factor is positive");
            root.tr_mul(&root)
        };
        let inverses: Vec<DMatrix<f64>> = factors.iter().map(inverse).collect();
        for first in (0..n).step_by(width) {
            let weights = inverses.iter();
            let weights = weights.flat_map(|own| values(first, &|i, j| own[(i, j)]));
            let weights: Tensor<R> = tensor(weights.collect(), shape, (&device, dtype));
            let part = sums(a.apply(unit(first))? * weights);
            value = cast(part.clone() - part.detach(), stored.into()) + value;
        }
    }
    Ok(LogDet {
        value,
        standard_errors: vec![0.0; matrices],
        info: SolveInfo {
            iterations: n.div_ceil(width),
            ..SolveInfo::default()
        },
        numbers,
    })
}

/// The estimates of the logarithms of the determinants, for matrices of `n` rows.
fn estimated<A, const R: usize>(
    a: &Ridge<A>,
    options: &LogDetOptions<R>,
    n: usize,
) -> Result<LogDet, SolveError>
where
    A: LinearOperator<R> + Clone,
{
    let inner = a.inner();
    let (device, dtype) = inner.vectors()?;
    let batch = inner.batch();
    let matrices: usize = batch.iter().product();
    let mut solve_options = SolveOptions::default()
        .tolerance(options.tolerance)
        .max_iterations(options.max_iterations);
    solve_options.restarts = false;
    let mut known = vec![0.0; matrices];
    if let Some(nystrom) = &options.preconditioner {
        let fits = broadcast(nystrom.batch(), &batch).as_ref() == Some(&batch);
        if !fits || nystrom.rows() != n {
            return Err(SolveError::Shape {
                what: "the preconditioner",
                shape: [nystrom.batch(), &[nystrom.rows(); 2]].concat(),
                rows: n,
                batch,
            });
        }
        for (number, known) in known.iter_mut().enumerate() {
            *known = nystrom.log_dets()[place_in(nystrom.batch(), &batch, number)];
        }
        solve_options = solve_options.preconditioner(nystrom.clone());
    }
    let mut random = Probes {
        preconditioner: options.preconditioner.as_ref(),
        rngs: (0..matrices)
            .map(|_| StdRng::seed_from_u64(options.seed))
            .collect(),
        batch: batch.clone(),
        rows: n,
        place: (device.clone(), dtype),
    };

    let mut estimates = vec![Vec::new(); matrices];
    let mut pairs: Vec<[Tensor<R>; 2]> = Vec::new();
    let mut info = SolveInfo::default();
    while estimates[0].len() < options.probes {
        let count = GROUP.min(options.probes - estimates[0].len());
        let [z, u] = random.draw(count)?;
        let coefficients = RefCell::new(Vec::new());
        let solved = run(&inner, z, &solve_options, |a, r, monitor, _| {
            iterate_columns(a, r, &solve_options, monitor, |step, ratio| {
                let mut coefficients = coefficients.borrow_mut();
                coefficients.extend([step.clone(), ratio.clone()]);
            })
        })?;
        let coefficients = match coefficients.into_inner() {
            // There are no rows. The determinant of an empty matrix is 1.
            none if none.is_empty() => vec![],
            some => host(Tensor::cat(some, R - 2)),
        };
        let of_each = coefficients.len() / matrices;
        for (number, estimates) in estimates.iter_mut().enumerate() {
            let own = &coefficients[number * of_each..(number + 1) * of_each];
            estimates.extend((0..count).map(|probe| {
                let own = own.iter().skip(probe).step_by(count).copied();
                n as f64 * quadrature(&own.collect::<Vec<f64>>())
            }));
        }
        info.iterations += solved.info.iterations;
        info.residuals.extend(solved.info.residuals);
        info.history.extend(solved.info.history);
        info.precision_limited |= solved.info.precision_limited;
        // The symmetry of the operator has been checked already.
        solve_options.check_symmetry = false;
        pairs.push([u, solved.solution]);
    }
    let probes = options.probes as f64;
    let mean = |estimates: &Vec<f64>| estimates.iter().sum::<f64>() / probes;
    let standard_error = |estimates: &Vec<f64>| {
        let mean = mean(estimates);
        let squares: f64 = estimates.iter().map(|value| (value - mean).powi(2)).sum();
        match options.probes {
            1 => f64::INFINITY,
            _ => (squares / (probes - 1.0) / probes).sqrt(),
        }
    };

    let numbers = known.iter().zip(&estimates);
    let numbers: Vec<f64> = numbers.map(|(known, own)| known + mean(own)).collect();
    let mut value = tensor(numbers.clone(), [matrices], (&device, dtype));
    if a.is_tracked() {
        for [u, solution] in pairs {
            let part = sums(a.apply(u)? * solution) / probes;
            value = part.clone() - part.detach() + value;
        }
    }
    Ok(LogDet {
        value,
        standard_errors: estimates.iter().map(standard_error).collect(),
        info,
        numbers,
    })
}

/// The number of random vectors whose systems are solved at a time, and of columns of a stored matrix that are
/// computed at a time. Kernels for more columns take long to compile.
const GROUP: usize = 16;
