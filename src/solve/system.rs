//! The parts that iterative methods share: checks, scaling, restarts, and when they end.

use burn::{
    backend::{Dispatch, DispatchTensor, TensorMetadata, ops::FloatTensorOps},
    tensor::{DType, Device, Shape, Tensor, TensorData},
};
use burn_lazy_kernels::{Accumulation, Axis, ReductionKind, Wanted};

use super::monitor::{Monitor, relative};
use super::{
    LinearOperator, Solution, SolveError, SolveInfo, SolveOptions,
    operator::is_computed,
    scale::{Scale, norms, operator_norms},
};
use crate::{
    backends::is_tracked,
    error::LazyError,
    lazy::LazyTensor,
    operand::{Operand, broadcast},
    ops::Reduced,
    request::Request,
};

/// The name of $b$ in messages.
pub(crate) const RIGHT: &str = "the right-hand side";

/// The name of a guess in messages.
pub(crate) const GUESS: &str = "the initial guess";

/// The name of the products of iterations in messages.
pub(crate) const PRODUCT: &str = "a product with the operator";

/// The inner products of the columns of each pair, `[batch.., 1, E]` for each.
pub(crate) fn dots<const R: usize>(pairs: &[[&Tensor<R>; 2]]) -> Result<Vec<Tensor<R>>, LazyError> {
    let products = pairs.iter().map(|[left, right]| {
        let left = LazyTensor::try_vj((*left).clone())?;
        left.try_mul(LazyTensor::try_vj((*right).clone())?)
    });
    let products = products.collect::<Result<Vec<_>, _>>()?;
    let sums: Tensor<R> = LazyTensor::try_concat(&products)?.try_sum(Axis::J)?;
    Ok(match pairs.len() {
        1 => vec![sums],
        count => sums.chunk(count, R - 1),
    })
}

/// The product of stored matrices, `[batch.., P, Q]` by `[batch.., Q, E]`, where P or Q is small.
pub(crate) fn product<const R: usize>(
    left: &Tensor<R>,
    right: &Tensor<R>,
) -> Result<Tensor<R>, LazyError> {
    let columns = with_axis(left, R);
    contract(columns, right)
}

/// The product of the transpose of a stored matrix with another, `[batch.., N, P]` and `[batch.., N, E]`, where
/// P is small.
pub(crate) fn gram<const R: usize>(
    left: &Tensor<R>,
    right: &Tensor<R>,
) -> Result<Tensor<R>, LazyError> {
    let columns = Dispatch::float_swap_dims(with_axis(left, R), R - 2, R - 1);
    contract(columns, right)
}

/// The tensor with one more axis, of size 1, at `place`.
fn with_axis<const R: usize>(tensor: &Tensor<R>, place: usize) -> DispatchTensor {
    let mut shape = tensor.dims().to_vec();
    shape.insert(place, 1);
    Dispatch::float_reshape(tensor.clone().into_dispatch(), Shape::from(shape))
}

/// The sum over q of `left`, `[batch.., P, Q, 1]`, times `right`, `[batch.., Q, E]`. The reduction has P as a batch
/// dimension.
fn contract<const R: usize>(
    left: DispatchTensor,
    right: &Tensor<R>,
) -> Result<Tensor<R>, LazyError> {
    let device = right.device();
    let variable =
        |tensor| Operand::dispatch(tensor, device.clone(), Some(Axis::J)).map(LazyTensor::leaf);
    let rows = left.shape()[R - 2];
    let sum = variable(left)?.try_mul(variable(with_axis(right, R - 2))?)?;
    let kind = ReductionKind::Sum(Accumulation::default());
    let Reduced { values, .. } =
        sum.reduce_unchecked(Request::new(kind, Wanted::VALUES, Axis::J))?;
    let mut shape = right.dims();
    shape[R - 2] = rows;
    let values = values.expect("they are wanted");
    let values = Dispatch::float_reshape(values, Shape::from(shape.to_vec()));
    Ok(Tensor::from_dispatch(values))
}

/// The values on the host, as `f64`.
pub(crate) fn host<const R: usize>(tensor: Tensor<R>) -> Vec<f64> {
    // Burn may fail to compute tensors without elements.
    match tensor.dims().contains(&0) {
        true => vec![],
        false => tensor.into_data().iter::<f64>().collect(),
    }
}

/// A tensor of the given values.
pub(crate) fn tensor<const R: usize>(
    values: Vec<f64>,
    shape: [usize; R],
    (device, dtype): (&Device, DType),
) -> Tensor<R> {
    Tensor::from_data(TensorData::new(values, shape), (device, dtype))
}

/// Checks that an operator is square and has as many batch dimensions as tensors of rank `R`. Returns the number of
/// its rows. Errors name `method`.
pub(crate) fn square<const R: usize>(
    a: &dyn LinearOperator<R>,
    method: &'static str,
) -> Result<usize, SolveError> {
    let sizes = a.sizes()?;
    let [rows, columns] = sizes;
    if rows != columns {
        return Err(SolveError::NotSquare { sizes });
    }
    let (batch, dimensions) = (a.batch(), R.saturating_sub(2));
    match batch.len() == dimensions {
        true => Ok(rows),
        false => Err(SolveError::Batch {
            method,
            batch,
            dimensions,
        }),
    }
}

/// The shape `[batch.., rows, columns]`.
pub(crate) fn shape_of<const R: usize>(batch: &[usize], rows: usize, columns: usize) -> [usize; R] {
    let mut shape = [rows; R];
    shape[..R - 2].copy_from_slice(batch);
    shape[R - 1] = columns;
    shape
}

/// The rounding unit of a type.
pub(crate) fn epsilon(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        _ => f32::EPSILON.into(),
    }
}

/// A function that adds a part that an iteration has found to the solution, and returns the new residual.
pub(crate) type Refresh<'a, const R: usize> =
    dyn FnMut(Tensor<R>) -> Result<Tensor<R>, SolveError> + 'a;

/// One value for each column, `[batch.., 1, E]`, of the type and on the device of `like`.
pub(crate) fn row<const R: usize>(values: &[f64], like: &Tensor<R>) -> Tensor<R> {
    let mut shape = like.dims();
    shape[R - 2] = 1;
    tensor(values.to_vec(), shape, (&like.device(), like.dtype()))
}

/// One value for each column, as in [`row`]: 1 where the flag is set, else 0.
pub(crate) fn flags<const R: usize>(
    flags: impl Iterator<Item = bool>,
    like: &Tensor<R>,
) -> Tensor<R> {
    let values: Vec<f64> = flags.map(|flag| f64::from(u8::from(flag))).collect();
    row(&values, like)
}

/// A right-hand side with 0 in place of the columns that may be rounding errors. `rounding` has the rounding error of
/// the norm of each column.
pub(crate) fn above_rounding<const R: usize>(
    right: Tensor<R>,
    rounding: &[f64],
) -> Result<Tensor<R>, SolveError> {
    // The rounding errors are estimates: a column must be this many times as large.
    const UNITS: f64 = 4.0;
    let known = norms(&right, PRODUCT)?.into_iter().zip(rounding);
    let known = known.map(|(norm, rounding)| norm > UNITS * rounding);
    let known = flags(known, &right);
    Ok(right * known)
}

/// Solves $A a = b$ outside of autodiff. `method` gives an approximate solution of $A d = r$ in the type of the
/// iterations.
pub(crate) fn run<A: LinearOperator<R>, const R: usize>(
    a: &A,
    b: Tensor<R>,
    options: &SolveOptions<R>,
    method: impl Fn(&A, &Tensor<R>, &mut Monitor<R>, &mut Refresh<R>) -> Result<Tensor<R>, SolveError>,
) -> Result<Solution<R>, SolveError> {
    let shape = checked(a, &b, options)?;
    if shape.contains(&0) {
        return Ok(Solution {
            solution: Tensor::zeros(shape, (&b.device(), b.dtype())),
            info: SolveInfo::default(),
        });
    }
    let iterated = match options.iterate_in {
        Some(dtype) if DType::from(dtype) != b.dtype() => Some((a.cast(dtype)?, dtype)),
        _ => None,
    };
    let b = b.expand(shape);
    let scale = Scale::of(&b, RIGHT)?;
    let nothing = flags(scale.0.iter().map(Option::is_none), &b);
    let b = scale.down(b);
    let squares = |r: &Tensor<R>| Ok::<_, LazyError>(host(dots(&[[r, r]])?.remove(0)));

    let mut monitor = Monitor {
        options,
        squares: squares(&b)?,
        limits: Vec::new(),
        thresholds: nothing.zeros_like(),
        open: Vec::new(),
        active: nothing.clone().lower_elem(0.5),
        unseen: Vec::new(),
        info: SolveInfo::default(),
        coarse: iterated.is_some() && options.restarts,
        computed: Vec::new(),
        kept: Vec::new(),
        records: Vec::new(),
        idle: 0,
        // In exact arithmetic there are no more iterations than rows.
        patience: 100 + shape[R - 2].min(1000),
    };
    let mut solution = match &options.initial {
        Some(guess) => {
            let guess = guess.clone().cast(b.dtype()).expand(b.shape());
            // The solution for a right-hand side of zeros is 0.
            let unknown = nothing.greater_elem(0.5).expand(b.shape());
            scale.down(guess).mask_fill(unknown, 0.0)
        }
        None => b.zeros_like(),
    };
    let mut best: Option<(f64, Tensor<R>, Vec<f64>)> = None;
    loop {
        let first = best.is_none();
        let r = match first && options.initial.is_none() {
            true => b.clone(),
            false => b.clone() - a.apply(solution.clone())?,
        };
        let norms = squares(&r)?;
        let residuals: Vec<f64> = norms
            .iter()
            .zip(&monitor.squares)
            .map(|(r, b)| relative(*r, *b))
            .collect();
        if residuals.iter().any(|residual| !residual.is_finite()) {
            return Err(SolveError::NotFinite(match first {
                true => "the residual of the initial guess",
                false => PRODUCT,
            }));
        }
        let worst = residuals.iter().copied().fold(0.0, f64::max);
        let solved = worst <= options.tolerance;
        // A restart that lowers the residual by less than a factor of two has reached the rounding errors.
        let stalled = !first && !options.restarts
            || monitor.info.restarts > 0
                && best
                    .as_ref()
                    .is_some_and(|(before, ..)| worst > 0.5 * before);
        if best.as_ref().is_none_or(|(before, ..)| worst <= *before) {
            best = Some((worst, solution.clone(), residuals));
        }
        let exhausted = monitor.info.iterations >= options.max_iterations;
        if solved || stalled || exhausted {
            let (residual, solution, residuals) = best.expect("there is one");
            let explained = || {
                // Rounding explains a residual that is this small. Larger ones are rare, and the estimate of their
                // limit takes products with the operator.
                if residual <= iterated_precision(b.dtype(), options).sqrt() {
                    return Ok(true);
                }
                let limits = rounding_limits(a, &solution, options, &scale, &monitor.squares)?;
                let mut columns = residuals.iter().zip(limits);
                Ok::<_, SolveError>(columns.all(|(residual, limit)| *residual <= limit))
            };
            if !solved && (exhausted || !explained()?) {
                return Err(SolveError::NotConverged {
                    iterations: monitor.info.iterations,
                    residual,
                    tolerance: options.tolerance,
                    stagnated: !exhausted,
                });
            }
            return Ok(Solution {
                solution: scale.up(solution),
                info: SolveInfo {
                    residuals,
                    precision_limited: !solved,
                    ..monitor.info
                },
            });
        }
        if !first {
            monitor.info.restarts += 1;
        }
        let (inner, dtype) = match &iterated {
            Some((inner, dtype)) => (inner, DType::from(*dtype)),
            None => (a, b.dtype()),
        };
        let r = r.cast(dtype);
        monitor.start(&norms, &r, &vec![true; norms.len()]);
        let mut refresh = |found: Tensor<R>| {
            solution = solution.clone() + found.cast(b.dtype());
            Ok((b.clone() - a.apply(solution.clone())?).cast(dtype))
        };
        let found = method(inner, &r, &mut monitor, &mut refresh)?;
        solution = solution + found.cast(b.dtype());
    }
}

/// The rounding unit of the iterations for a right-hand side of type `dtype`.
fn iterated_precision<const R: usize>(dtype: DType, options: &SolveOptions<R>) -> f64 {
    epsilon(options.iterate_in.map_or(dtype, DType::from))
}

/// The largest relative residual of each column that rounding explains: the solution may be the exact one of a system
/// that differs from this one by rounding errors. `scale` is that of the right-hand sides, and `squares` are the
/// squared norms of the scaled right-hand sides.
fn rounding_limits<A: LinearOperator<R>, const R: usize>(
    a: &A,
    solution: &Tensor<R>,
    options: &SolveOptions<R>,
    scale: &Scale,
    squares: &[f64],
) -> Result<Vec<f64>, SolveError> {
    // Rounding errors add up over iterations, and norms are estimates.
    const UNITS: f64 = 1000.0;
    // Solutions of singular systems are large, and without this limit they would explain any residual.
    const MOST: f64 = 0.1;
    let precision = iterated_precision(solution.dtype(), options);
    let mut shape = solution.dims();
    let columns = std::mem::replace(&mut shape[R - 1], 1);
    let place = (&solution.device(), solution.dtype());
    let product = |v| a.apply(v);
    let of_operator = operator_norms(shape, place, product, product)?;
    let of_solution = norms(solution, "the solution")?;
    let of_right: Vec<f64> = match &options.rounding {
        None => vec![0.0; squares.len()],
        Some(rounding) => host(scale.down(rounding.clone())),
    };
    let limit = |(number, square): (usize, &f64)| {
        let of_product = of_operator[number / columns] * of_solution[number];
        let size = square.sqrt().max(f64::MIN_POSITIVE);
        let of_right = of_right[number] / size;
        (UNITS * precision * (of_product / size + 1.0)).min(MOST) + UNITS * of_right
    };
    Ok(squares.iter().enumerate().map(limit).collect())
}

/// Checks the operator, the right-hand side and the options. Returns the shape of the right-hand side with all batch
/// dimensions.
pub(crate) fn checked<const R: usize>(
    a: &dyn LinearOperator<R>,
    b: &Tensor<R>,
    options: &SolveOptions<R>,
) -> Result<[usize; R], SolveError> {
    options.check()?;
    let sizes = a.sizes()?;
    let [rows, columns] = sizes;
    if rows != columns {
        return Err(SolveError::NotSquare { sizes });
    }
    let iterated = options.iterate_in.map(DType::from);
    for dtype in [Some(b.dtype()), iterated].into_iter().flatten() {
        if !is_computed(dtype) {
            return Err(SolveError::Dtype(dtype));
        }
    }
    let shape = check_shape(a, RIGHT, b, rows)?;
    if let Some(guess) = &options.initial {
        check_guess(a, guess, shape)?;
    }
    if options.check_symmetry && !shape.contains(&0) {
        a.check_symmetric()?;
    }
    Ok(shape)
}

/// Checks that a tensor has `rows` rows and that its batch dimensions fit those of the operator. Returns its shape
/// with all batch dimensions.
pub(crate) fn check_shape<const R: usize>(
    a: &dyn LinearOperator<R>,
    what: &'static str,
    tensor: &Tensor<R>,
    rows: usize,
) -> Result<[usize; R], SolveError> {
    let dims = tensor.dims();
    let batch = a.batch();
    let fits = R >= 2 && dims[R - 2] == rows;
    let all = fits.then(|| broadcast(&batch, &dims[..R - 2])).flatten();
    let mut shape = dims;
    match all.filter(|all| all.len() + 2 == R) {
        Some(all) => shape[..R - 2].copy_from_slice(&all),
        None => {
            return Err(SolveError::Shape {
                what,
                shape: dims.to_vec(),
                rows,
                batch,
            });
        }
    }
    Ok(shape)
}

/// Checks that a guess fits a solution of the given shape.
pub(crate) fn check_guess<const R: usize>(
    a: &dyn LinearOperator<R>,
    guess: &Tensor<R>,
    shape: [usize; R],
) -> Result<(), SolveError> {
    let dims = guess.dims();
    check_shape(a, GUESS, guess, shape[R - 2])?;
    let mut both = dims.iter().zip(&shape);
    match both.all(|(own, full)| own == full || *own == 1) {
        true => Ok(()),
        false => Err(SolveError::Shape {
            what: GUESS,
            shape: dims.to_vec(),
            rows: shape[R - 2],
            batch: a.batch(),
        }),
    }
}

/// A function that solves systems with a symmetric operator outside of autodiff.
type Solve<A, const R: usize> =
    fn(&A, Tensor<R>, &SolveOptions<R>) -> Result<Solution<R>, SolveError>;

/// Makes a solution $a$ of $A a = b$ differentiable. The operator is symmetric, and the right-hand side depends on
/// `b`.
///
/// `residual` gives $r(\theta) = b(\theta) - A(\theta)\, a$ at the solution. The derivative of $a + A^{-1} r(\theta)$
/// is that of the solution. `solve` multiplies by $A^{-1}$ in the backward pass.
pub(crate) fn differentiable<A, const R: usize>(
    a: &A,
    b: &Tensor<R>,
    mut solved: Solution<R>,
    options: &SolveOptions<R>,
    residual: impl FnOnce(Tensor<R>) -> Result<Tensor<R>, LazyError>,
    solve: Solve<A, R>,
) -> Result<Solution<R>, SolveError>
where
    A: LinearOperator<R> + Send + Sync + 'static,
{
    // Without columns there is nothing to differentiate, and no product can be computed.
    if !(a.is_tracked() || is_tracked(b)) || b.dims()[R - 1] == 0 {
        solved.solution = constant_beside(solved.solution, b);
        return Ok(solved);
    }
    #[cfg(all(any_backend, feature = "autodiff"))]
    {
        let inner = a.inner();
        let solution = solved.solution;
        let residual = residual(solution.clone())?;
        // The guess is for this system, not for that of the backward pass. The symmetry of the operator has already
        // been checked.
        let options = SolveOptions {
            initial: None,
            rounding: None,
            check_symmetry: false,
            ..options.clone()
        };
        solved.solution = crate::backends::implicit(solution, residual, move |cotangent| {
            match solve(&inner, cotangent.clone(), &options) {
                Ok(solved) => solved.solution,
                // NaN and infinities propagate, as in other operations.
                Err(SolveError::NotFinite(RIGHT)) => cotangent * f64::NAN,
                Err(error) => panic!("the backward pass of a linear system: {error}"),
            }
        });
    }
    #[cfg(not(all(any_backend, feature = "autodiff")))]
    let _ = (options, residual, solve); // Nothing is tracked.
    Ok(solved)
}

/// `tensor`, which is not tracked, as a constant of the autodiff graph of `other`, if `other` has one.
pub(super) fn constant_beside<const R: usize>(tensor: Tensor<R>, other: &Tensor<R>) -> Tensor<R> {
    #[cfg(feature = "autodiff")]
    if let Some(strategy) = other.gradient_checkpointing_strategy() {
        return tensor
            .autodiff()
            .with_gradient_checkpointing_strategy(strategy);
    }
    let _ = other;
    tensor
}
