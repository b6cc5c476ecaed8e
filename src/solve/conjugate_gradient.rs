//! The method of conjugate gradients (Hestenes and Stiefel 1952), preconditioned.

use std::cell::RefCell;

use burn::tensor::Tensor;

use super::{
    LinearOperator, Solution, SolveError, SolveInfo, SolveOptions,
    block::{Directions, iterate},
    operator::{Normal, Ridge},
    system::{Monitor, checked, differentiable, dots, run},
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
    differentiable(&Ridge(a.clone(), options.ridge), b, options, solve_blocks)
}

/// The most columns of a block.
const WIDTH: usize = 16;

/// Solves for up to [`WIDTH`] columns at a time.
fn solve_blocks<A: LinearOperator<R>, const R: usize>(
    a: &A,
    b: Tensor<R>,
    options: &SolveOptions<R>,
) -> Result<Solution<R>, SolveError> {
    let shape = checked(a, &b, options)?;
    let options = SolveOptions {
        check_symmetry: false,
        ..options.clone()
    };
    let columns = shape[R - 1];
    let groups = columns.div_ceil(WIDTH).max(1);
    let mut solutions = Vec::new();
    let mut info = SolveInfo::default();
    let mut residuals = vec![Vec::new(); shape[..R - 2].iter().product()];
    for group in 0..groups {
        let (start, end) = (group * columns / groups, (group + 1) * columns / groups);
        let part = |tensor: &Tensor<R>| match groups > 1 && tensor.dims()[R - 1] > 1 {
            true => tensor.clone().narrow(R - 1, start, end - start),
            false => tensor.clone(),
        };
        let options = SolveOptions {
            initial: options.initial.as_ref().map(part),
            ..options.clone()
        };
        let mut shape = shape;
        shape[R - 1] = end - start;
        let directions = RefCell::new(Directions::new(options.keep_directions, shape));
        let solved = run(a, part(&b), &options, |a, r, monitor, refresh| {
            let directions = &mut directions.borrow_mut();
            iterate(a, r, &options, monitor, refresh, directions)
        });
        let solved = solved.map_err(|error| in_all(error, start, end - start, columns))?;
        solutions.push(solved.solution);
        let own = solved.info.residuals.chunks((end - start).max(1));
        residuals
            .iter_mut()
            .zip(own)
            .for_each(|(all, own)| all.extend(own));
        info.iterations += solved.info.iterations;
        info.restarts += solved.info.restarts;
        info.history.extend(solved.info.history);
        info.precision_limited |= solved.info.precision_limited;
    }
    info.residuals = residuals.concat();
    let solution = match solutions.len() {
        1 => solutions.remove(0),
        _ => Tensor::cat(solutions, R - 1),
    };
    Ok(Solution { solution, info })
}

/// The error of `own` columns from `start` on as one of all columns.
fn in_all(error: SolveError, start: usize, own: usize, columns: usize) -> SolveError {
    match error {
        SolveError::NotPositiveDefinite {
            what,
            iteration,
            column,
        } => SolveError::NotPositiveDefinite {
            what,
            iteration,
            column: column / own * columns + start + column % own,
        },
        other => other,
    }
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

/// An approximate solution of $A d = r$, each column by iterations of its own; `record` is given the step of each
/// iteration and the ratio of the squared residuals after and before it.
pub(crate) fn iterate_columns<const R: usize>(
    a: &dyn LinearOperator<R>,
    r: &Tensor<R>,
    options: &SolveOptions<R>,
    monitor: &mut Monitor<R>,
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
        let ratio = monitor.only_active(next.clone() / product);
        record(&step, &ratio);
        if done {
            return Ok(solution);
        }
        direction = z + direction * ratio;
        product = next;
    }
}
