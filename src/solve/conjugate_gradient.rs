//! The method of conjugate gradients (Hestenes and Stiefel 1952), preconditioned.

use std::cell::RefCell;

use burn::tensor::Tensor;

use super::{
    LinearOperator, Solution, SolveError, SolveInfo, SolveOptions,
    block::{Directions, iterate},
    monitor::Monitor,
    operator::{Normal, Ridge},
    scale::{Scale, norms, operator_norms},
    system::{
        RIGHT, above_rounding, check_guess, check_shape, checked, differentiable, dots, epsilon,
        row, run,
    },
    vector::{KeptOperator, Method, solver},
};

solver! {
    /// Solves $(\alpha I + A)\, a = b$ for a symmetric positive definite operator by conjugate gradients.
    ///
    /// [`LazyTensor::solve`](crate::LazyTensor::solve) does the same for a symbolic matrix, and documents it in detail.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::{prelude::*, tensor::Distribution};
    /// use burn_lazy::{LazyTensor, solve::{Diagonal, SolveOptions, Sum, conjugate_gradient}};
    ///
    /// let device = Device::default();
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
    pub fn conjugate_gradient by ConjugateGradients
}

struct ConjugateGradients;

impl Method for ConjugateGradients {
    fn solve<A: KeptOperator<R>, const R: usize>(
        a: &A,
        b: Tensor<R>,
        options: &SolveOptions<R>,
    ) -> Result<Solution<R>, SolveError> {
        let a = Ridge(a.clone(), options.ridge);
        let solved = solve_blocks(&a.inner(), b.clone().inner(), options)?;
        let residual = |solution| Ok(b.clone() - a.apply(solution)?);
        differentiable(&a, &b, solved, options, residual, solve_blocks)
    }
}

/// The largest number of columns in a block.
const WIDTH: usize = 16;

/// Solves for blocks of up to [`WIDTH`] columns, one block after the other.
pub(crate) fn solve_blocks<A: LinearOperator<R>, const R: usize>(
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
    let groups = groups(columns);
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
            rounding: options.rounding.as_ref().map(part),
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

/// The number of blocks into which this many columns are divided.
fn groups(columns: usize) -> usize {
    columns.div_ceil(WIDTH).max(1)
}

/// The error of a block of `own` columns that begins at column `start`, with its column counted among all `columns`.
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

solver! {
    /// The least-squares solution of $A a \approx b$ for a rectangular operator: the $a$ that minimises
    /// $\|A a - b\|^2 + \alpha \|a\|^2$, by conjugate gradients on the normal equations
    /// $(A^\top A + \alpha I)\, a = A^\top b$.
    ///
    /// `b` has the shape `[batch.., M, E]` and the solution `[batch.., N, E]`, or `[M]` and `[N]`. Residuals are those
    /// of the normal equations, $\|A^\top (b - A a) - \alpha a\| / \|A^\top b\|$. The condition number of these
    /// equations is the square of that of $A$. Differentiable as [`LazyTensor::solve`](crate::LazyTensor::solve) is.
    ///
    /// Where $A$ has dependent columns and there is no ridge, the solution is the one of the smallest norm. The
    /// solution is 0 if `b` is orthogonal to all columns up to rounding: if $\|A^\top b\|$ is at most a few rounding
    /// units of $\|A\| \|b\|$.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::{prelude::*, tensor::Distribution};
    /// use burn_lazy::{LazyTensor, solve::{SolveOptions, least_squares}};
    ///
    /// let device = Device::default();
    /// let x = Tensor::<2>::random([100, 1], Distribution::Default, &device);
    /// let b = x.clone().mul_scalar(6.0).sin().reshape([100]);
    /// let y = x.clone().slice([0..10, 0..1]);
    /// let k_xy = (LazyTensor::vi(x).sqdist(LazyTensor::vj(y)) * -5.0).exp(); // 100 x 10
    /// let a = least_squares(&k_xy, b.clone(), &SolveOptions::default().ridge(1e-3))?.solution;
    /// assert_eq!(a.dims(), [10]);
    /// assert!((k_xy.matmul(a) - b).abs().max().into_scalar::<f32>() < 0.3);
    /// # }
    /// # Ok::<(), burn_lazy::solve::SolveError>(())
    /// ```
    ///
    /// # Errors
    /// If `b` does not fit the operator, and as [`LazyTensor::solve`](crate::LazyTensor::solve).
    pub fn least_squares by LeastSquares
}

struct LeastSquares;

impl Method for LeastSquares {
    fn solve<A: KeptOperator<R>, const R: usize>(
        a: &A,
        b: Tensor<R>,
        options: &SolveOptions<R>,
    ) -> Result<Solution<R>, SolveError> {
        let normal = Ridge(Normal(a.clone()), options.ridge);
        let solved = solve_normal(&a.inner(), b.clone().inner(), options)?;
        let residual = |solution| Ok(a.apply_transposed(b.clone())? - normal.apply(solution)?);
        differentiable(&normal, &b, solved, options, residual, solve_blocks)
    }
}

/// Solves the normal equations outside of autodiff.
fn solve_normal<A, const R: usize>(
    a: &A,
    b: Tensor<R>,
    options: &SolveOptions<R>,
) -> Result<Solution<R>, SolveError>
where
    A: LinearOperator<R> + Clone,
{
    let [rows, columns] = a.sizes()?;
    let mut shape = check_shape(a, RIGHT, &b, rows)?;
    let normal = Ridge(Normal(a.clone()), options.ridge);
    if shape.contains(&0) || columns == 0 {
        shape[R - 2] = columns;
        let nothing = Tensor::zeros(shape, (&b.device(), b.dtype()));
        return solve_blocks(&normal, nothing, options);
    }
    // Columns are scaled before the product A^T b, which may leave the range of the type even where b and the
    // solution do not.
    let b = b.expand(shape);
    let scale = Scale::of(&b, RIGHT)?;
    let b = scale.down(b);
    let right = a.apply_transposed(b.clone())?;

    let place = (&b.device(), b.dtype());
    let mut of_random = shape;
    (of_random[R - 2], of_random[R - 1]) = (columns, shape[R - 1] / groups(shape[R - 1]));
    let of_operator = operator_norms(of_random, place, |v| a.apply(v), |v| a.apply_transposed(v))?;
    let precision = epsilon(b.dtype());
    let of_right = norms(&b, RIGHT)?;
    let rounding = of_right.iter().enumerate();
    let rounding: Vec<f64> = rounding
        .map(|(number, norm)| precision * of_operator[number / shape[R - 1]] * norm)
        .collect();
    let right = above_rounding(right, &rounding)?;

    let initial = options.initial.as_ref();
    let initial = match initial {
        None => None,
        Some(guess) => {
            let mut full = shape;
            full[R - 2] = columns;
            check_guess(a, guess, full)?;
            Some(scale.down(guess.clone().expand(full)))
        }
    };
    let options = SolveOptions {
        initial,
        rounding: Some(row(&rounding, &right)),
        ..options.clone()
    };
    let mut solved = solve_blocks(&normal, right, &options)?;
    solved.solution = scale.up(solved.solution);
    Ok(solved)
}

/// An approximate solution of $A d = r$, where each column has its own iterations. `record` is called after each
/// iteration with its step, and with the ratio of $r^\top M r$ after and before it, where $M$ is the preconditioner.
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
