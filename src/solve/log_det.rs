//! The logarithm of the determinant, by stochastic Lanczos quadrature.

use std::cell::RefCell;

use burn::tensor::Tensor;
use nalgebra::SymmetricEigen;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, StandardNormal};

use super::{
    LinearOperator, Nystrom, Preconditioner, SolveError, SolveInfo, SolveOptions,
    conjugate_gradient::iterate_columns,
    lanczos::tridiagonal,
    operator::Ridge,
    system::{host, one_square, run, tensor},
};

/// How [`log_det`] estimates.
#[derive(Clone, Debug)]
pub struct LogDetOptions {
    ridge: f64,
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

    /// Number of random vectors, to whose root the statistical error is inversely proportional; 16 by
    /// default.
    #[must_use]
    pub fn probes(mut self, count: usize) -> Self {
        self.probes = count;
        self
    }

    /// The relative residual of the systems that are solved on the way; $10^{-3}$ by default.
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

    /// What the random vectors are drawn from; the same seed gives the same estimate.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// A preconditioner for the same ridge. Its own determinant is known, and only the rest is
    /// estimated: the closer it is, the smaller the statistical error.
    #[must_use]
    pub fn preconditioner(mut self, nystrom: Nystrom) -> Self {
        self.preconditioner = Some(nystrom);
        self
    }
}

/// An estimate of the logarithm of a determinant.
#[derive(Clone, Debug)]
pub struct LogDet {
    /// The estimate, of shape `[1]`; its gradient is an estimate, too, from the same random vectors.
    pub value: Tensor<1>,
    /// The standard error of the value: the standard deviation over random vectors.
    pub standard_error: f64,
    /// How the systems on the way were solved, group after group of random vectors.
    pub info: SolveInfo,
}

/// Estimates $\log \det (\alpha I + A)$ of a symmetric positive definite operator, without batch dimensions, by
/// stochastic Lanczos quadrature (Ubaru, Chen and Saad, "Fast estimation of tr(f(A))", 2017). The
/// tridiagonal matrices come from the coefficients of conjugate gradients; with a preconditioner $P$, $\log \det
/// P$ is exact and $\mathrm{tr} \log (P^{-1} A)$ is estimated (Gardner et al., "GPyTorch", 2018).
///
/// Differentiable by every operand of the operator: the gradient of $\mathrm{tr}(A^{-1} \mathrm{d}A)$ is estimated by the
/// solutions that the estimate of the value has found.
///
/// ```
/// # #[cfg(feature = "cpu")] {
/// use burn::{prelude::*, tensor::Distribution};
/// use burn_lazy::{LazyTensor, solve::{LogDetOptions, Nystrom, Rank, log_det}};
///
/// let device = Device::cpu();
/// let x = Tensor::<2>::random([300, 2], Distribution::Default, &device);
/// let k_xx = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x))).exp();
/// let nystrom = Nystrom::new(&k_xx, 0.1, Rank::Auto)?;
/// let options = LogDetOptions::default().ridge(0.1).preconditioner(nystrom);
/// let estimate = log_det(&k_xx, &options)?;
/// println!("{} ± {}", estimate.value, estimate.standard_error);
/// # }
/// # Ok::<(), burn_lazy::solve::SolveError>(())
/// ```
///
/// # Errors
/// If the options make no sense, and as [`LazyTensor::solve`](crate::LazyTensor::solve).
pub fn log_det<A>(a: &A, options: &LogDetOptions) -> Result<LogDet, SolveError>
where
    A: LinearOperator<2> + Clone,
{
    if options.probes == 0 {
        return Err(SolveError::Option {
            option: "probes",
            value: 0.0,
        });
    }
    let a = Ridge(a.clone(), options.ridge);
    let inner = a.inner();
    let n = one_square(&inner, "log_det")?;
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
            // There are no rows, and the determinant of nothing is 1.
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
        // Its symmetry has been examined.
        solve_options.check_symmetry = false;
        pairs.push([u, solved.solution]);
    }
    let probes = options.probes as f64;
    let mean = estimates.iter().sum::<f64>() / probes;
    let squares: f64 = estimates.iter().map(|value| (value - mean).powi(2)).sum();
    let standard_error = (squares / (probes - 1.0).max(1.0) / probes).sqrt();

    let mut value = tensor(vec![known + mean], [1], (&device, dtype));
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
    })
}

/// Random vectors that are worked on at a time: kernels for many take long to compile.
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
