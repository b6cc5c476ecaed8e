//! The method of conjugate gradients (Hestenes and Stiefel 1952), preconditioned.

use burn::tensor::Tensor;

use super::{
    LinearOperator, Solution, SolveError, SolveOptions,
    operator::{Normal, Ridge},
    system::{Monitor, Refresh, differentiable, dots, run},
};

/// Solves $(\alpha I + A)\, a = b$ for a symmetric positive definite operator by conjugate gradients.
///
/// See [`LazyTensor::solve`](crate::LazyTensor::solve), which this is for a symbolic matrix.
///
/// ```
/// # #[cfg(feature = "cpu")] {
/// use burn::{prelude::*, tensor::Distribution};
/// use burn_lazy::{LazyTensor, solve::{Diagonal, SolveOptions, Sum, conjugate_gradient}};
///
/// let device = Device::cpu();
/// let x = Tensor::<2>::random([100, 2], Distribution::Default, &device);
/// let b = Tensor::<2>::ones([100, 1], &device);
/// let noise = Tensor::<2>::random([100, 1], Distribution::Uniform(0.1, 0.2), &device);
/// let k_xx = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x))).exp();
/// let operator = Sum(k_xx, Diagonal::new(100, noise)?);
/// let solved = conjugate_gradient(&operator, b, &SolveOptions::default())?;
/// assert!(solved.info.residuals[0] < 1e-5);
/// # }
/// # Ok::<(), burn_lazy::solve::SolveError>(())
/// ```
///
/// # Errors
/// As [`LazyTensor::solve`](crate::LazyTensor::solve).
pub fn conjugate_gradient<A, const R: usize>(
    a: &A,
    b: Tensor<R>,
    options: &SolveOptions<R>,
) -> Result<Solution<R>, SolveError>
where
    A: LinearOperator<R> + Clone + Send + Sync + 'static,
{
    differentiable(
        &Ridge(a.clone(), options.ridge),
        b,
        options,
        |a, b, options| {
            run(a, b, options, |a, r, monitor, refresh| {
                iterate(a, r, options, monitor, refresh, |_, _| ())
            })
        },
    )
}

/// The least-squares solution of $A a \approx b$ for a rectangular operator: the $a$ that minimises
/// $\|A a - b\|^2 + \alpha \|a\|^2$, by conjugate gradients on the normal equations
/// $(A^\top A + \alpha I)\, a = A^\top b$.
///
/// `b` has the shape `[batch.., M, E]` and the solution `[batch.., N, E]`. Residuals are those of the normal
/// equations, whose condition number is the square of that of $A$. Differentiable as other solutions.
///
/// # Errors
/// If `b` does not fit the operator, and as [`LazyTensor::solve`](crate::LazyTensor::solve).
pub fn least_squares<A, const R: usize>(
    a: &A,
    b: Tensor<R>,
    options: &SolveOptions<R>,
) -> Result<Solution<R>, SolveError>
where
    A: LinearOperator<R> + Clone + Send + Sync + 'static,
{
    let right = a.apply_transposed(b)?;
    conjugate_gradient(&Normal(a.clone()), right, options)
}

/// An approximate solution of $A d = r$, or what is missing of one that `refresh` has been given in part;
/// `record` is given the step of each iteration and the ratio of the squared residuals after and before it.
///
/// In a coarse type the residual is now and then replaced by one that is computed from the solution,
/// while directions go on (Clark et al., "Solving lattice QCD systems of equations using mixed precision
/// solvers on GPUs", 2010): that costs hardly any iterations, where starting again would forget all
/// directions.
pub(crate) fn iterate<const R: usize>(
    a: &dyn LinearOperator<R>,
    r: &Tensor<R>,
    options: &SolveOptions<R>,
    monitor: &mut Monitor<R>,
    refresh: &mut Refresh<R>,
    mut record: impl FnMut(&Tensor<R>, &Tensor<R>),
) -> Result<Tensor<R>, SolveError> {
    let mut r = r.clone();
    let precondition = |r: &Tensor<R>| match &options.preconditioner {
        Some(preconditioner) => preconditioner.apply(r.clone()),
        None => Ok(r.clone()),
    };
    let mut solution = r.zeros_like();
    let mut direction = precondition(&r)?;
    let mut product = dots(&[[&r, &direction]])?.remove(0);
    loop {
        let image = a.apply(direction.clone())?;
        let curvature = dots(&[[&direction, &image]])?.remove(0);
        if options.preconditioner.is_some() {
            monitor.check_positive("the preconditioner", product.clone());
        }
        monitor.check_positive("the operator", curvature.clone());
        let step = monitor.only_active(product.clone() / curvature);
        solution = solution + direction.clone() * step.clone();
        r = r - image * step.clone();
        let (z, squares, next) = match options.preconditioner {
            Some(_) => {
                let z = precondition(&r)?;
                let mut both = dots(&[[&r, &r], [&r, &z]])?.into_iter();
                let mut next = || both.next().expect("there are two");
                (z, next(), next())
            }
            None => {
                let squares = dots(&[[&r, &r]])?.remove(0);
                (r.clone(), squares.clone(), squares)
            }
        };
        let done = monitor.end_iteration(squares)?;
        if !done && monitor.wants_refresh() {
            r = refresh(std::mem::replace(&mut solution, r.zeros_like()))?;
            let Some(good) = monitor.refreshed(&r)? else {
                return Ok(solution);
            };
            let z = precondition(&r)?;
            let mut both = dots(&[[&r, &z], [&r, &direction]])?.into_iter();
            let mut dot = || both.next().expect("there are two");
            let (next, overlap) = (dot(), dot());
            // Directions before are orthogonal to a residual.
            let overlap = monitor.only_active(overlap / next.clone());
            let ratio = monitor.only_active(next.clone() / product) * good;
            direction = z.clone() + (direction - z * overlap) * ratio;
            product = next;
            continue;
        }
        let ratio = monitor.only_active(next.clone() / product);
        record(&step, &ratio);
        if done {
            return Ok(solution);
        }
        direction = z + direction * ratio;
        product = next;
    }
}
