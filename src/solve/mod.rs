//! Linear systems with symbolic matrices, by iterative methods that only need products with the matrix.
//!
//! [`LazyTensor::solve`] solves $(\alpha I + K)\, a = b$ for a symmetric positive definite kernel matrix by the
//! method of conjugate gradients. It stores vectors, but never the matrix. [`conjugate_gradient`] does the same for
//! any positive definite [`LinearOperator`], [`minres`] solves with indefinite and [`least_squares`] with rectangular
//! operators. [`projected_conjugate_gradient`] solves under linear constraints, as kriging and thin plate splines
//! need. [`eigenpairs`] gives the largest eigenvalues and [`log_det`] the logarithm of the determinant. [`dense`] has
//! Cholesky factors, triangular systems and products of small stored matrices.
//!
//! The solvers work on many right-hand sides at once. They compute on the device; the host only computes with small
//! matrices and checks residuals. Each method ends, even if its iterations stagnate: with a result that says how
//! accurate it is, or with a [`SolveError`].
//!
//! Solutions are differentiable by the implicit function theorem. The backward pass solves one more system with the
//! same operator, so that no iterations are stored.
//!
//! The values of right-hand sides may have any finite magnitude, as each column is scaled by a power of two. Operands
//! may be stored in F16 and BF16; all methods compute with them in F32. Solutions are then rounded to the type of the
//! right-hand side. Eigenvectors and determinants stay in F32. Where F32 cannot reach a tolerance,
//! `k.cast(FloatDType::F64)` with [`iterate_in`](SolveOptions::iterate_in)`(FloatDType::F32)` can, at about the speed
//! of F32.
//!
//! ```
//! # #[cfg(all(feature = "flex", feature = "autodiff"))] {
//! # fn main() -> Result<(), burn_lazy::solve::SolveError> {
//! use burn::{prelude::*, tensor::Distribution};
//! use burn_lazy::{LazyTensor, solve::{Nystrom, Rank, SolveOptions}};
//!
//! let device = Device::default().autodiff();
//! let x = Tensor::<2>::random([300, 3], Distribution::Default, &device).require_grad();
//! let b = Tensor::<2>::random([300, 4], Distribution::Default, &device);
//! let k_xx = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x.clone()))).exp();
//!
//! let nystrom = Nystrom::new(&k_xx, 0.1, Rank::Auto)?;
//! let options = SolveOptions::default().ridge(0.1).preconditioner(nystrom);
//! let solved = k_xx.solve(b, &options)?;
//! println!("{} iterations", solved.info.iterations);
//! let gradients = solved.solution.square().sum().backward();
//! assert_eq!(x.grad(&gradients).unwrap().dims(), [300, 3]);
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```

mod block;
mod bordered;
mod conjugate_gradient;
mod constrained;
pub mod dense;
mod error;
mod lanczos;
mod log_det;
mod minres;
mod monitor;
mod operator;
mod pivoted;
mod precondition;
mod quadrature;
mod scale;
mod system;
mod vector;

use std::{fmt, sync::Arc};

use burn::tensor::{FloatDType, Tensor};

pub use conjugate_gradient::{conjugate_gradient, least_squares};
pub use constrained::{Constraints, projected_conjugate_gradient};
pub use error::SolveError;
pub use lanczos::{Eigenpairs, eigenpairs};
pub use log_det::{LogDet, LogDetOptions, log_det};
pub use minres::minres;
pub(crate) use operator::is_half;
pub use operator::{Diagonal, LinearOperator, Sum};
pub use pivoted::Rank;
pub use precondition::{Jacobi, Nystrom, Preconditioner};

use crate::lazy::LazyTensor;

type Observer = Arc<dyn Fn(&Progress) + Send + Sync>;

/// Defines methods that set options. Each has the name of its field.
macro_rules! setters {
    ($($(#[$doc:meta])* pub fn $name:ident($value:ident: $type:ty);)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $value: $type) -> Self {
            self.$name = $value;
            self
        }
    )*};
}
pub(crate) use setters;

/// How a linear system is solved.
///
/// ```
/// use burn_lazy::solve::SolveOptions;
///
/// let options = SolveOptions::<2>::default().ridge(0.1).tolerance(1e-5);
/// ```
#[derive(Clone)]
pub struct SolveOptions<const R: usize> {
    pub(crate) ridge: f64,
    pub(crate) tolerance: f64,
    pub(crate) max_iterations: usize,
    pub(crate) check_every: usize,
    pub(crate) keep_directions: usize,
    pub(crate) check_symmetry: bool,
    pub(crate) restarts: bool,
    pub(crate) iterate_in: Option<FloatDType>,
    pub(crate) initial: Option<Tensor<R>>,
    /// The norm of the rounding errors in the right-hand side, one number a column, `[batch.., 1, E]`.
    pub(crate) rounding: Option<Tensor<R>>,
    pub(crate) preconditioner: Option<Arc<dyn Preconditioner<R>>>,
    pub(crate) progress: Option<Observer>,
}

impl<const R: usize> Default for SolveOptions<R> {
    fn default() -> Self {
        Self {
            ridge: 0.0,
            tolerance: 1e-6,
            max_iterations: 10_000,
            check_every: 2,
            keep_directions: 128,
            check_symmetry: true,
            restarts: true,
            iterate_in: None,
            initial: None,
            rounding: None,
            preconditioner: None,
            progress: None,
        }
    }
}

impl<const R: usize> fmt::Debug for SolveOptions<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SolveOptions")
            .field("ridge", &self.ridge)
            .field("tolerance", &self.tolerance)
            .field("max_iterations", &self.max_iterations)
            .field("check_every", &self.check_every)
            .field("keep_directions", &self.keep_directions)
            .field("check_symmetry", &self.check_symmetry)
            .field("iterate_in", &self.iterate_in)
            .field("initial", &self.initial.is_some())
            .field("preconditioner", &self.preconditioner)
            .finish_non_exhaustive()
    }
}

impl<const R: usize> SolveOptions<R> {
    setters! {
        /// The $\alpha$ that is added to the diagonal; 0 by default. To learn it, add a [`Diagonal`] to the
        /// operator instead.
        pub fn ridge(alpha: f64);

        /// The residual $\|b - (\alpha I + K) a\|$ relative to $\|b\|$ at which a right-hand side counts as solved;
        /// $10^{-6}$ by default.
        pub fn tolerance(tolerance: f64);

        /// The largest number of iterations, those after restarts included; 10 000 by default. Conjugate gradients
        /// count them for each block of up to 16 right-hand sides.
        pub fn max_iterations(count: usize);

        /// The number of iterations after which the host reads the residuals and reports them; 2 by default. Conjugate
        /// gradients read them in every iteration, and only report them after this many. A larger number is no faster.
        /// On a CPU it is slower, as a thread that waits for a place in a full queue keeps a core busy.
        pub fn check_every(iterations: usize);

        /// The number of search directions that conjugate gradients keep; 128 by default, and never more than $2^{26}$
        /// numbers. The first directions are kept. All later ones are made conjugate to them, which rounding errors
        /// would prevent otherwise.
        ///
        /// The directions and their products with the operator take the memory of twice as many columns. They save the
        /// largest number of iterations in F32, for matrices with a few large eigenvalues such as kernel matrices. With
        /// 0, the memory is that of a few vectors.
        pub fn keep_directions(count: usize);

        /// Whether up to 32 rows of the matrix are compared with its columns before the first iteration; on by default.
        pub fn check_symmetry(check: bool);
    }

    /// The type in which iterations compute; by default the type of the operator and of `b`.
    ///
    /// With an operator in F64 and iterations in F32, F64 is only used for the residuals that are computed from the
    /// solution: at each restart, and now and then between restarts. This reaches about the residuals of F64 at about
    /// the speed of F32, provided that F32 can lower a residual at all. It can for condition numbers up to about
    /// $10^6$. A preconditioner should then be made from the operator in F32.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::{prelude::*, tensor::{Distribution, FloatDType}};
    /// use burn_lazy::{LazyTensor, solve::{Nystrom, Rank, SolveOptions}};
    ///
    /// let device = Device::default();
    /// let x = Tensor::<2>::random([400, 3], Distribution::Normal(0.0, 1.0), &device);
    /// let b = Tensor::<2>::random([400, 1], Distribution::Default, &device);
    /// let k_xx = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x))).exp();
    /// let options = SolveOptions::default()
    ///     .ridge(0.01)
    ///     .tolerance(1e-10)
    ///     .iterate_in(FloatDType::F32)
    ///     .preconditioner(Nystrom::new(&k_xx, 0.01, Rank::Auto)?);
    /// let solved = k_xx.cast(FloatDType::F64).solve(b.cast(FloatDType::F64), &options)?;
    /// assert!(solved.info.residuals[0] <= 1e-10);
    /// # }
    /// # Ok::<(), burn_lazy::solve::SolveError>(())
    /// ```
    #[must_use]
    pub fn iterate_in(mut self, dtype: FloatDType) -> Self {
        self.iterate_in = Some(dtype);
        self
    }

    /// A guess of the solution to start from, of the shape of the solution; 0 by default.
    #[must_use]
    pub fn initial(mut self, guess: Tensor<R>) -> Self {
        self.initial = Some(guess.inner());
        self
    }

    /// A preconditioner. Only the number of iterations depends on it, so the same one can be used for as long as the
    /// kernel changes little.
    #[must_use]
    pub fn preconditioner(mut self, preconditioner: impl Preconditioner<R> + 'static) -> Self {
        self.preconditioner = Some(Arc::new(preconditioner));
        self
    }

    /// Calls `observer` whenever the host reports residuals, see [`check_every`](Self::check_every).
    #[must_use]
    pub fn on_progress(mut self, observer: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(observer));
        self
    }

    /// The same options for right-hand sides of another rank, with a guess and a preconditioner of that rank.
    fn with_rank<const S: usize>(
        &self,
        initial: Option<Tensor<S>>,
        preconditioner: Option<Arc<dyn Preconditioner<S>>>,
    ) -> SolveOptions<S> {
        SolveOptions {
            ridge: self.ridge,
            tolerance: self.tolerance,
            max_iterations: self.max_iterations,
            check_every: self.check_every,
            keep_directions: self.keep_directions,
            check_symmetry: self.check_symmetry,
            restarts: self.restarts,
            iterate_in: self.iterate_in,
            initial,
            rounding: None,
            preconditioner,
            progress: self.progress.clone(),
        }
    }

    fn check(&self) -> Result<(), SolveError> {
        let wrong = |option, value| Err(SolveError::Option { option, value });
        if !self.ridge.is_finite() {
            return wrong("ridge", self.ridge);
        }
        if !(self.tolerance >= 0.0 && self.tolerance.is_finite()) {
            return wrong("tolerance", self.tolerance);
        }
        if self.check_every == 0 {
            return wrong("check_every", 0.0);
        }
        Ok(())
    }
}

/// How far a solver has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Iterations so far.
    pub iteration: usize,
    /// The largest relative residual of all right-hand sides.
    pub residual: f64,
}

/// A solution and how it was found.
#[derive(Clone)]
pub struct Solution<const R: usize> {
    /// The solution, of the shape of the right-hand side (with the batch dimensions of the operator).
    pub solution: Tensor<R>,
    /// How it was found.
    pub info: SolveInfo,
}

impl<const R: usize> fmt::Debug for Solution<R> {
    /// Prints the shape and the type of the solution, and how it was found. The values stay on the device.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Solution")
            .field("shape", &self.solution.dims())
            .field("dtype", &self.solution.dtype())
            .field("info", &self.info)
            .finish()
    }
}

/// How a solution was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SolveInfo {
    /// Number of iterations, each with one product with the operator.
    pub iterations: usize,
    /// How often the iteration was started again from a residual that was computed from the solution, because
    /// rounding errors had accumulated.
    pub restarts: usize,
    /// The relative residual $\|b - A a\| / \|b\|$ of each right-hand side, computed from the solution. The columns
    /// of one matrix of a batch come before those of the next matrix. 0 where $b = 0$.
    pub residuals: Vec<f64>,
    /// The largest relative residual of all right-hand sides after each iteration. These residuals are updated by the
    /// iteration, not computed from the solution.
    pub history: Vec<f64>,
    /// Whether a residual is above the tolerance because restarts did not lower it any more. The rounding of the
    /// solution and of the products limits residuals to about the condition number times the rounding unit. Cast the
    /// operands to F64 (with [`iterate_in`](SolveOptions::iterate_in) F32 if that should stay fast), or raise the
    /// ridge or the tolerance.
    ///
    /// If the residual is far larger than rounding explains, the system has no solution, and the method returns
    /// [`SolveError::NotConverged`] instead.
    pub precision_limited: bool,
}

impl LazyTensor {
    /// Solves $(\alpha I + K)\, a = b$ for this symmetric positive definite matrix $K$ by conjugate
    /// gradients; $\alpha$ is the [`ridge`](SolveOptions::ridge).
    ///
    /// `b` and the solution have the shape `[batch.., N, E]`, for E right-hand sides. Blocks of up to 16 of them
    /// share search directions. `b` has as many batch dimensions as the matrix, and they broadcast. As for
    /// [`matmul`](Self::matmul), a vector `[N]` gives a vector `[N]`, if the matrix has no batch.
    ///
    /// `b` has the type of the operands. In F16 and BF16 the system is solved in F32, and the solution is rounded at
    /// the end. Residuals are those before this rounding.
    ///
    /// Differentiable by `b` and by every operand of the matrix. The backward pass solves one more system, and panics
    /// if it cannot be solved.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::{prelude::*, tensor::Distribution};
    /// use burn_lazy::{LazyTensor, solve::SolveOptions};
    ///
    /// let device = Device::default();
    /// let x = Tensor::<2>::random([200, 3], Distribution::Default, &device);
    /// let b = Tensor::<2>::random([200, 4], Distribution::Default, &device);
    /// let k_xx = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x))).exp();
    /// let a = k_xx.solve(b.clone(), &SolveOptions::default().ridge(0.1))?.solution;
    /// let error = (a.clone() * 0.1 + k_xx.matmul(a) - b).abs().max().into_scalar::<f32>();
    /// assert!(error < 1e-3);
    /// # }
    /// # Ok::<(), burn_lazy::solve::SolveError>(())
    /// ```
    ///
    /// # Errors
    /// Before the first step: if the matrix is not square, is seen not to be symmetric, or does not fit `b`, or if
    /// `b` is not finite. Later: if the matrix turns out not to be positive definite or not finite, if the iteration
    /// limit is reached or the iterations stagnate above what rounding explains, or if the solution leaves the range
    /// of its type.
    pub fn solve<const R: usize>(
        &self,
        b: Tensor<R>,
        options: &SolveOptions<R>,
    ) -> Result<Solution<R>, SolveError> {
        conjugate_gradient(self, b, options)
    }

    /// Solves $(\alpha I + K)\, w + P c = b$ with $P^\top w = d$ for this symmetric matrix $K$. See
    /// [`projected_conjugate_gradient`] for the details.
    ///
    /// Universal kriging is such a system, with the functions of the drift as the columns of $P$. So is interpolation
    /// by thin plate splines, whose matrix is positive definite only under the constraints.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::{prelude::*, tensor::Distribution};
    /// use burn_lazy::{LazyTensor, solve::{Constraints, SolveOptions}};
    ///
    /// // A thin plate through values of a plane is the plane.
    /// let device = Device::default();
    /// let x = Tensor::<2>::random([50, 2], Distribution::Default, &device);
    /// let p = Tensor::cat(vec![Tensor::ones([50, 1], &device), x.clone()], 1); // 1, x, y
    /// let plane = Tensor::<2>::from_data([[3.0], [2.0], [-1.0]], &device);
    /// let k_xx = LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x)).xlogx() * 0.5;
    /// let b = p.clone().matmul(plane.clone());
    /// let (solved, drift) =
    ///     k_xx.solve_constrained(b, &Constraints::new(p), &SolveOptions::default().ridge(1e-3))?;
    /// assert!(solved.solution.abs().max().into_scalar::<f32>() < 1e-2);
    /// assert!((drift - plane).abs().max().into_scalar::<f32>() < 1e-3);
    /// # }
    /// # Ok::<(), burn_lazy::solve::SolveError>(())
    /// ```
    ///
    /// # Errors
    /// As [`projected_conjugate_gradient`].
    pub fn solve_constrained<const R: usize>(
        &self,
        b: Tensor<R>,
        constraints: &Constraints<R>,
        options: &SolveOptions<R>,
    ) -> Result<(Solution<R>, Tensor<R>), SolveError> {
        projected_conjugate_gradient(self, b, constraints, options)
    }
}
