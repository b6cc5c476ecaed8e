//! The logarithm of the determinant: of small matrices by Cholesky's method, of others by stochastic Lanczos
//! quadrature.

use std::{cell::RefCell, fmt};

use burn::tensor::{FloatDType, Tensor};
use nalgebra::{DMatrix, SymmetricEigen};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, StandardNormal};

use super::{
    LinearOperator, Nystrom, Preconditioner, SolveError, SolveInfo, SolveOptions,
    conjugate_gradient::iterate_columns,
    lanczos::tridiagonal,
    operator::{Ridge, computed},
    system::{epsilon, host, one_square, run, tensor},
};
use crate::cast::cast;

/// How [`log_det`] computes.
#[derive(Clone, Debug)]
pub struct LogDetOptions {
    ridge: f64,
    exact_up_to: usize,
    probes: usize,
    tolerance: f64,
    max_iterations: usize,
    seed: u64,
    preconditioner: Option<Nystrom>,
}

impl Default for LogDetOptions {
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

impl LogDetOptions {
    /// The $\alpha$ that is added to the diagonal; 0 by default.
    #[must_use]
    pub fn ridge(mut self, alpha: f64) -> Self {
        self.ridge = alpha;
        self
    }

    /// The most rows of a matrix whose determinant is computed exactly; 512 by default. Such a matrix is stored as
    /// $N^2$ numbers. This takes N products with the operator, and $N^3 / 3$ operations on the host. With 0 the
    /// determinant is always estimated.
    #[must_use]
    pub fn exact_up_to(mut self, rows: usize) -> Self {
        self.exact_up_to = rows;
        self
    }

    /// Number of random vectors; 16 by default. The statistical error is inversely proportional to its root.
    #[must_use]
    pub fn probes(mut self, count: usize) -> Self {
        self.probes = count;
        self
    }

    /// The relative residual at which the systems of the estimate are solved; $10^{-3}$ by default.
    #[must_use]
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The most iterations; 1000 by default.
    #[must_use]
    pub fn max_iterations(mut self, count: usize) -> Self {
        self.max_iterations = count;
        self
    }

    /// The seed of the random vectors. The same seed gives the same estimate.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// A preconditioner for the same ridge. Its determinant is known, and only the quotient of both determinants is
    /// estimated. The closer the preconditioner is to the matrix, the smaller is the statistical error.
    #[must_use]
    pub fn preconditioner(mut self, nystrom: Nystrom) -> Self {
        self.preconditioner = Some(nystrom);
        self
    }
}

/// The logarithm of a determinant, or an estimate of it. Printed, it is `-0.7118 ± 0`: the
/// [`estimate`](Self::estimate) and its standard error.
#[derive(Clone)]
pub struct LogDet {
    /// The logarithm or its estimate, of shape `[1]` and the type of the operator (F32 for F16 and BF16). The
    /// gradient is exact where the value is exact. Otherwise it is an estimate from the same random vectors.
    pub value: Tensor<1>,
    /// The standard error of the value, from the standard deviation over random vectors. It is infinite for a single
    /// random vector, and 0 where the value is exact.
    pub standard_error: f64,
    /// How the systems of the estimate were solved, group after group of random vectors.
    pub info: SolveInfo,
    number: f64,
}

impl LogDet {
    /// The value as a number.
    pub fn estimate(&self) -> f64 {
        self.number
    }
}

impl fmt::Display for LogDet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.number, f)?;
        f.write_str(" ± ")?;
        fmt::Display::fmt(&self.standard_error, f)
    }
}

impl fmt::Debug for LogDet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogDet")
            .field("value", &self.number)
            .field("standard_error", &self.standard_error)
            .field("info", &self.info)
            .finish()
    }
}

/// $\log \det (\alpha I + A)$ of a symmetric positive definite operator without batch dimensions.
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
/// Differentiable by every operand of the operator. The gradient is that of $\mathrm{tr}(A^{-1} \mathrm{d}A)$. It
/// uses the inverse of a stored matrix. Otherwise it is estimated from the solutions that the estimate of the value
/// has found.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::{prelude::*, tensor::Distribution};
/// use burn_lazy::{LazyTensor, solve::{LogDetOptions, Nystrom, Rank, log_det}};
///
/// let device = Device::default();
/// let x = Tensor::<2>::random([300, 2], Distribution::Default, &device);
/// let k_xx = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x))).exp();
/// let options = LogDetOptions::default().ridge(0.1);
/// let exact = log_det(&k_xx, &options)?;
/// assert_eq!(exact.standard_error, 0.0);
///
/// // As for a large matrix.
/// let nystrom = Nystrom::new(&k_xx, 0.1, Rank::Auto)?;
/// let estimate = log_det(&k_xx, &options.exact_up_to(0).preconditioner(nystrom))?;
/// println!("{estimate:.3}"); // with its standard error
/// let error = (estimate.estimate() - exact.estimate()).abs();
/// assert!(error < 6.0 * estimate.standard_error + 0.1);
/// # }
/// # Ok::<(), burn_lazy::solve::SolveError>(())
/// ```
///
/// # Errors
/// If the options make no sense, if a stored matrix is not positive definite up to the rounding of its entries
/// (the error names the row where it was seen), and as [`LazyTensor::solve`](crate::LazyTensor::solve).
pub fn log_det<A>(a: &A, options: &LogDetOptions) -> Result<LogDet, SolveError>
where
    A: LinearOperator<2> + Clone,
{
    let wrong = |option, value| Err(SolveError::Option { option, value });
    if options.probes == 0 {
        return wrong("probes", 0.0);
    }
    if !options.ridge.is_finite() {
        return wrong("ridge", options.ridge);
    }
    match one_square(a, "log_det")? {
        few if few <= options.exact_up_to => exact(a, options.ridge, few),
        many => estimated(&Ridge(computed(a.clone())?, options.ridge), options, many),
    }
}

/// The logarithm of the determinant of a stored matrix of `n` rows.
fn exact<A>(a: &A, ridge: f64, n: usize) -> Result<LogDet, SolveError>
where
    A: LinearOperator<2> + Clone,
{
    const WHAT: &str = "the matrix, up to the rounding of its entries,";
    let single = computed(a.clone())?;
    single.inner().check_symmetric()?;
    let (_, stored) = single.vectors()?;
    let a = single.cast(FloatDType::F64).unwrap_or(single);
    let inner = a.inner();
    let (device, dtype) = inner.vectors()?;
    let width = GROUP.min(n.max(1));
    // A block of columns of a matrix, with zeros where there are no more columns.
    let block = |first: usize, entry: &dyn Fn(usize, usize) -> f64| {
        let column = |k: usize| first + k % width;
        let value = |k: usize| match column(k) < n {
            true => entry(k / width, column(k)),
            false => 0.0,
        };
        let values = (0..n * width).map(value).collect();
        tensor::<2>(values, [n, width], (&device, dtype))
    };
    let unit = |i: usize, j: usize| f64::from(u8::from(i == j));

    let mut matrix = DMatrix::zeros(n, n);
    for first in (0..n).step_by(width) {
        let columns = host(inner.apply(block(first, &unit))?);
        for (i, row) in columns.chunks(width).enumerate() {
            for (j, entry) in (first..n).zip(row) {
                matrix[(i, j)] = *entry;
            }
        }
    }
    if matrix.iter().any(|entry: &f64| !entry.is_finite()) {
        return Err(SolveError::NotFinite("the matrix"));
    }
    let mut matrix = (&matrix + matrix.transpose()) * 0.5;
    for k in 0..n {
        matrix[(k, k)] += ridge;
    }
    let factor =
        cholesky(matrix, epsilon(dtype)).map_err(|row| SolveError::NotPositiveDefinite {
            what: WHAT,
            iteration: 0,
            column: row,
        })?;
    let number = 2.0 * factor.diagonal().iter().map(|root| root.ln()).sum::<f64>();

    let mut value = tensor(vec![number], [1], (&device, stored));
    if a.is_tracked() {
        let root = factor
            .solve_lower_triangular(&DMatrix::identity(n, n))
            .expect("the diagonal of a Cholesky factor is positive");
        let inverse = root.tr_mul(&root);
        for first in (0..n).step_by(width) {
            let weights = block(first, &|i, j| inverse[(i, j)]);
            let part = (a.apply(block(first, &unit))? * weights).sum();
            value = cast(part.clone() - part.detach(), stored.into()) + value;
        }
    }
    Ok(LogDet {
        value,
        standard_error: 0.0,
        info: SolveInfo {
            iterations: n.div_ceil(width),
            ..SolveInfo::default()
        },
        number,
    })
}

/// Cholesky's factor $L$ of $L L^\top$. If a pivot is not larger than the rounding errors of its entry on the
/// diagonal, the row of the first such pivot is the error.
fn cholesky(mut matrix: DMatrix<f64>, precision: f64) -> Result<DMatrix<f64>, usize> {
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

/// An estimate for a matrix of `n` rows.
fn estimated<A>(a: &Ridge<A>, options: &LogDetOptions, n: usize) -> Result<LogDet, SolveError>
where
    A: LinearOperator<2> + Clone,
{
    let inner = a.inner();
    let (device, dtype) = inner.vectors()?;
    let mut rng = StdRng::seed_from_u64(options.seed);
    let mut solve_options = SolveOptions::default()
        .tolerance(options.tolerance)
        .max_iterations(options.max_iterations);
    solve_options.restarts = false;
    if let Some(nystrom) = &options.preconditioner {
        solve_options = solve_options.preconditioner(nystrom.clone());
    }

    let mut estimates = Vec::new();
    let mut pairs: Vec<[Tensor<2>; 2]> = Vec::new();
    let mut info = SolveInfo::default();
    let known = options
        .preconditioner
        .as_ref()
        .map_or(0.0, Nystrom::log_det);
    while estimates.len() < options.probes {
        let count = GROUP.min(options.probes - estimates.len());
        let block = |values, rows| tensor(values, [rows, count], (&device, dtype));
        // Random vectors z with the covariance P, and u = z / P.
        let (z, u) = match &options.preconditioner {
            None => {
                let sign = |_| if rng.random() { 1.0 } else { -1.0 };
                let z = block((0..n * count).map(sign).collect(), n);
                (z.clone(), z)
            }
            Some(nystrom) => {
                let mut normal = |rows: usize| {
                    let values = StandardNormal.sample_iter(&mut rng).take(rows * count);
                    block(values.collect(), rows)
                };
                let (small, large) = (normal(nystrom.rank()), normal(n));
                let z = nystrom.color(small, large)?;
                (z.clone(), nystrom.apply(z)?)
            }
        };
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
            some => host(Tensor::cat(some, 0)),
        };
        estimates.extend((0..count).map(|probe| {
            let own = coefficients.iter().skip(probe).step_by(count).copied();
            n as f64 * quadrature(&own.collect::<Vec<f64>>())
        }));
        info.iterations += solved.info.iterations;
        info.residuals.extend(solved.info.residuals);
        info.history.extend(solved.info.history);
        info.precision_limited |= solved.info.precision_limited;
        // The symmetry of the operator has been checked already.
        solve_options.check_symmetry = false;
        pairs.push([u, solved.solution]);
    }
    let probes = options.probes as f64;
    let mean = estimates.iter().sum::<f64>() / probes;
    let squares: f64 = estimates.iter().map(|value| (value - mean).powi(2)).sum();
    let standard_error = match options.probes {
        1 => f64::INFINITY,
        _ => (squares / (probes - 1.0) / probes).sqrt(),
    };

    let number = known + mean;
    let mut value = tensor(vec![number], [1], (&device, dtype));
    if a.is_tracked() {
        for [u, solution] in pairs {
            let part = (a.apply(u)? * solution).sum() / probes;
            value = part.clone() - part.detach() + value;
        }
    }
    Ok(LogDet {
        value,
        standard_error,
        info,
        number,
    })
}

/// Random vectors whose systems are solved at a time. Kernels for more take long to compile.
const GROUP: usize = 16;

/// Gauss quadrature of the logarithm for the spectral measure of a vector, from the steps and the ratios of
/// conjugate gradients that start from it.
fn quadrature(coefficients: &[f64]) -> f64 {
    let pairs = coefficients.chunks(2).take_while(|pair| pair[0] > 0.0);
    let (mut diagonal, mut beside) = (Vec::new(), Vec::new());
    let mut before = 0.0;
    for pair in pairs {
        let (step, ratio) = (pair[0], pair[1]);
        diagonal.push(1.0 / step + before);
        beside.push(ratio.sqrt() / step);
        before = ratio / step;
    }
    let SymmetricEigen {
        eigenvalues,
        eigenvectors,
    } = tridiagonal(&diagonal, &beside).symmetric_eigen();
    let weights = eigenvectors.row(0).into_iter().map(|first| first * first);
    let logs = eigenvalues
        .iter()
        .map(|value| value.max(f64::MIN_POSITIVE).ln());
    weights.zip(logs).map(|(weight, log)| weight * log).sum()
}
