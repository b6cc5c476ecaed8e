//! Conjugate gradients under linear constraints.

use burn::tensor::{FloatDType, Tensor};

use super::{
    LinearOperator, Solution, SolveError, SolveInfo, SolveOptions,
    bordered::{Basis, Bordered, Constrained, FUNCTIONS, Projected},
    conjugate_gradient::{conjugate_gradient, solve_blocks},
    operator::Ridge,
    scale::{Scale, check_finite, norms},
    system::{PRODUCT, RIGHT, above_rounding, check_shape, checked, differentiable, epsilon, row},
    vector::{KeptOperator, check_range, in_single},
};
use crate::{cast::cast, operand::broadcast};

/// The name of $d$ in messages.
const VALUES: &str = "the values of the constraints";

/// Linear constraints $P^\top w = d$ on the solution $w$ of a system.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy::solve::Constraints;
///
/// // The solution sums to 1.
/// let device = Device::default();
/// let sum = Constraints::new(Tensor::<2>::ones([100, 1], &device))
///     .values(Tensor::ones([1, 1], &device));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Constraints<const R: usize> {
    functions: Tensor<R>,
    values: Option<Tensor<R>>,
}

impl<const R: usize> Constraints<R> {
    /// The constraints $P^\top w = 0$ with the matrix `p`, `[batch.., N, Q]`, which has one column for each
    /// constraint. In kriging a column holds the values of one function of the drift at the points, such as 1 or a
    /// coordinate.
    pub fn new(p: Tensor<R>) -> Self {
        Self {
            functions: p,
            values: None,
        }
    }

    /// The values $d$ of the constraints, `[batch.., Q, E]`, or `[batch.., Q, 1]` if they are the same for all
    /// right-hand sides; 0 by default.
    #[must_use]
    pub fn values(mut self, d: Tensor<R>) -> Self {
        self.values = Some(d);
        self
    }

    fn cast(&self, dtype: FloatDType) -> Self {
        Self {
            functions: cast(self.functions.clone(), dtype),
            values: self.values.clone().map(|values| cast(values, dtype)),
        }
    }
}

/// Solves $(\alpha I + A)\, w + P c = b$ with $P^\top w = d$ for a symmetric operator by conjugate gradients in the
/// null space of $P^\top$ (Gould, Hribar and Nocedal, "On the solution of equality constrained quadratic programming
/// problems arising in optimization", 2001). Returns $w$ and $c$.
///
/// The operator need only be positive definite under the constraints: $w^\top (\alpha I + A)\, w > 0$ for all
/// $w \ne 0$ with $P^\top w = 0$. This holds for thin plate splines and other conditionally positive definite
/// kernels. A preconditioner of the options is one for $\alpha I + A$ and must be positive definite; the constraints
/// are built into it here.
///
/// `b` and $w$ have the shape `[batch.., N, E]`, $P$ has `[batch.., N, Q]` and independent columns, and $c$ has
/// `[batch.., Q, E]`. Batch dimensions broadcast. Q is meant to be small: products with $P$ are taken in each
/// iteration, and $P$ is orthogonalised on the host in F64. All these tensors have the type of the operator; systems
/// in F16 and BF16 are solved in F32. An initial guess of the options is a guess of $w$.
///
/// Residuals are projected to the null space, and are relative to the projected right-hand side:
/// $\|\Pi\, (b - (\alpha I + A)\, w)\| / \|\Pi\, (b - (\alpha I + A)\, w_0)\|$ where $\Pi$ is the projection to the
/// null space and $w_0$ the vector of the smallest norm with $P^\top w_0 = d$.
///
/// Differentiable by `b`, $d$, $P$ and every operand of the operator. The backward pass solves one more system of the
/// same kind, and panics if it cannot be solved.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::{prelude::*, tensor::Distribution};
/// use burn_lazy::{LazyTensor, solve::{Constraints, SolveOptions, projected_conjugate_gradient}};
///
/// // Ordinary kriging: the mean is not known.
/// let device = Device::default();
/// let x = Tensor::<2>::random([200, 2], Distribution::Default, &device);
/// let b = x.clone().sum_dim(1).sin() + 5.0;
/// let ones = Tensor::<2>::ones([200, 1], &device);
/// let k_xx = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x))).exp();
/// let options = SolveOptions::default().ridge(0.01);
/// let (solved, mean) =
///     projected_conjugate_gradient(&k_xx, b.clone(), &Constraints::new(ones), &options)?;
/// let w = solved.solution;
/// let error = k_xx.matmul(w.clone()) + w.clone() * 0.01 + mean - b;
/// assert!(error.abs().max().into_scalar::<f32>() < 1e-3);
/// assert!(w.sum().abs().into_scalar::<f32>() < 1e-2);
/// # }
/// # Ok::<(), burn_lazy::solve::SolveError>(())
/// ```
///
/// # Errors
/// If $P$ or $d$ do not fit, are of another type than `b` or not finite, or if a column of $P$ is a combination of
/// those before it up to rounding. Other errors are those of [`LazyTensor::solve`](crate::LazyTensor::solve), except
/// that the operator must be positive definite only under the constraints.
pub fn projected_conjugate_gradient<A, const R: usize>(
    a: &A,
    b: Tensor<R>,
    constraints: &Constraints<R>,
    options: &SolveOptions<R>,
) -> Result<(Solution<R>, Tensor<R>), SolveError>
where
    A: LinearOperator<R> + Clone + Send + Sync + 'static,
{
    const { assert!(R >= 2, "constraints are the columns of a matrix") };
    let stored = b.dtype();
    let other = [
        (FUNCTIONS, Some(&constraints.functions)),
        (VALUES, constraints.values.as_ref()),
    ];
    for (what, tensor) in other {
        let own = tensor.map_or(stored, Tensor::dtype);
        if own != stored {
            return Err(SolveError::MixedTypes {
                what,
                own,
                right: stored,
            });
        }
    }
    let Some((a, options)) = in_single(a, stored, options)? else {
        return solve(a, b, constraints, options);
    };
    let single = FloatDType::F32;
    let (mut solved, c) = solve(&a, cast(b, single), &constraints.cast(single), &options)?;
    solved.solution = cast(solved.solution, stored.into());
    let c = cast(c, stored.into());
    check_range(&solved.solution)?;
    check_range(&c)?;
    Ok((solved, c))
}

/// [`projected_conjugate_gradient`] for tensors in F32 or F64.
fn solve<A: KeptOperator<R>, const R: usize>(
    a: &A,
    b: Tensor<R>,
    constraints: &Constraints<R>,
    options: &SolveOptions<R>,
) -> Result<(Solution<R>, Tensor<R>), SolveError> {
    let p = constraints.functions.clone();
    let of_operator = checked(a, &b, options)?;
    let rows = of_operator[R - 2];
    let mut shape = check_shape(a, FUNCTIONS, &p, rows)?;
    let (columns, right) = (p.dims()[R - 1], of_operator[R - 1]);
    let batch = broadcast(&of_operator[..R - 2], &shape[..R - 2]);
    let batch = batch.ok_or_else(|| SolveError::Shape {
        what: FUNCTIONS,
        shape: p.dims().to_vec(),
        rows,
        batch: of_operator[..R - 2].to_vec(),
    })?;
    shape[..R - 2].copy_from_slice(&batch);
    shape[R - 1] = right;
    let mut of_values = shape;
    of_values[R - 2] = columns;
    let d = match &constraints.values {
        Some(values) => {
            let own = values.dims();
            let mut sizes = own.iter().zip(&of_values).enumerate();
            let fits = |(dim, (own, full)): (usize, (&usize, &usize))| {
                own == full || *own == 1 && dim != R - 2
            };
            if !sizes.all(fits) {
                return Err(SolveError::ConstraintValues {
                    shape: own.to_vec(),
                    constraints: columns,
                    columns: right,
                    batch,
                });
            }
            values.clone().expand(of_values)
        }
        None => Tensor::zeros(of_values, (&b.device(), b.dtype())),
    };
    if columns == 0 {
        // Without constraints this is an ordinary system.
        let solved = conjugate_gradient(a, b.expand(shape), options)?;
        return Ok((solved, d));
    }
    let basis = Basis::new(&p.clone().inner())?;
    if shape.contains(&0) {
        let solution = Tensor::zeros(shape, (&b.device(), b.dtype()));
        let info = SolveInfo::default();
        return Ok((Solution { solution, info }, d));
    }
    check_finite(&d.clone().inner(), VALUES)?;
    let options = SolveOptions {
        check_symmetry: false,
        ..options.clone()
    };
    let bordered = Bordered {
        a: Ridge(a.clone(), options.ridge),
        p,
        basis,
    };
    let both = Tensor::cat(vec![b.expand(shape), d], R - 2);
    let solved = solve_bordered(&bordered.inner(), both.clone().inner(), &options)?;
    let residual = |solution| Ok(both.clone() - bordered.apply(solution)?);
    let solved = differentiable(&bordered, &both, solved, &options, residual, solve_bordered)?;
    check_range(&solved.solution)?;
    let [solution, c] = bordered.parts(&solved.solution);
    let info = solved.info;
    Ok((Solution { solution, info }, c))
}

/// Solves a bordered system, for vectors of $w$ followed by $c$, outside of autodiff. The initial guess is a guess of
/// $w$.
fn solve_bordered<A, const R: usize>(
    bordered: &Bordered<Ridge<A>, R>,
    both: Tensor<R>,
    options: &SolveOptions<R>,
) -> Result<Solution<R>, SolveError>
where
    A: LinearOperator<R> + Clone,
{
    let basis = &bordered.basis;
    let scale = Scale::of(&both, RIGHT)?;
    let [b, d] = bordered.parts(&scale.down(both));
    let shape = b.dims();

    let start = basis.particular(&d)?;
    let image = bordered.a.apply(start.clone())?;
    let precision = epsilon(b.dtype());
    let sizes = norms(&b, RIGHT)?.into_iter().zip(norms(&image, PRODUCT)?);
    let rounding: Vec<f64> = sizes.map(|(b, image)| precision * (b + image)).collect();
    // It is projected twice, as one projection leaves rounding errors along the constraints.
    let right = basis.project(basis.project(b.clone() - image)?)?;
    // With as many constraints as rows only rounding errors are left.
    let right = above_rounding(right, &rounding)?;

    let initial = match &options.initial {
        None => None,
        Some(guess) => {
            let guess = guess.clone().cast(b.dtype()).expand(shape);
            Some(basis.project(scale.down(guess))?)
        }
    };
    let inner = SolveOptions {
        initial,
        rounding: Some(row(&rounding, &right)),
        preconditioner: None,
        ..options.clone()
    };
    let inner = match &options.preconditioner {
        Some(own) => inner.preconditioner(Constrained::new(own.clone(), basis, shape)?),
        None => inner,
    };
    let projected = Projected {
        a: bordered.a.clone(),
        basis: basis.clone(),
    };
    let solved = solve_blocks(&projected, right, &inner)?;
    let w = start + basis.project(solved.solution)?;
    let c = basis.coefficients(&(b - bordered.a.apply(w.clone())?))?;
    Ok(Solution {
        solution: scale.up(Tensor::cat(vec![w, c], R - 2)),
        info: solved.info,
    })
}
