//! The method of minimal residuals.

use std::cell::RefCell;

use burn::tensor::Tensor;

use super::{
    LinearOperator, Solution, SolveError, SolveOptions,
    monitor::Monitor,
    operator::Ridge,
    scale::{balance, times_powers},
    system::{Refresh, differentiable, dots, epsilon, run},
    vector::{KeptOperator, Method, solver},
};

solver! {
    /// Solves $(\alpha I + A)\, a = b$ for a symmetric operator that may be indefinite, by MINRES (Paige and Saunders,
    /// "Solution of sparse indefinite systems of linear equations", SIAM J. Numer. Anal. 1975).
    ///
    /// It is called as [`conjugate_gradient`](super::conjugate_gradient) and is differentiable in the same way, but
    /// does not use a preconditioner. It stores a few more vectors and is not faster for positive definite operators.
    ///
    /// # Errors
    /// As [`LazyTensor::solve`](crate::LazyTensor::solve), without the errors about definiteness.
    pub fn minres by MinimalResiduals
}

struct MinimalResiduals;

impl Method for MinimalResiduals {
    fn solve<A: KeptOperator<R>, const R: usize>(
        a: &A,
        b: Tensor<R>,
        options: &SolveOptions<R>,
    ) -> Result<Solution<R>, SolveError> {
        let solve = |a: &Ridge<A>, b: Tensor<R>, options: &SolveOptions<R>| {
            let seen = RefCell::new(None);
            run(a, b, options, |a, r, monitor, refresh| {
                iterate(a, r, monitor, refresh, &mut seen.borrow_mut())
            })
        };
        let a = Ridge(a.clone(), options.ridge);
        let solved = solve(&a.inner(), b.clone().inner(), options)?;
        let residual = |solution| Ok(b.clone() - a.apply(solution)?);
        differentiable(&a, &b, solved, options, residual, solve)
    }
}

/// The magnitude of products with an operator, measured for each column. It is kept for later runs, as a later run
/// may start from a vector whose product is almost 0.
struct Seen<const R: usize> {
    /// The exponents by which the products are scaled, so that their squares are in range.
    exponents: Vec<i32>,
    /// The largest entry of the tridiagonal matrices.
    largest: Tensor<R>,
}

/// The number of iterations after which the residual of the rotations is compared with one that is computed from the
/// solution.
const COMPARED: usize = 64;

/// An approximate solution of $A d = r$. Parts of it that were handed to `refresh` on the way are not returned again.
///
/// Lanczos' three-term recurrence makes an orthonormal basis $v_k$ in which the operator is tridiagonal,
/// with $\alpha_k$ on the diagonal and $\beta_k$ beside it. Givens rotations $(c, s)$ make the
/// tridiagonal matrix triangular while it grows, with $\gamma, \delta, \epsilon$ in a column.
///
/// A $\beta$ of the size of rounding errors ends the basis. A diagonal entry of that size shows that the matrix is
/// singular: there is no step along it, and the run ends. Where rounding has enlarged such an entry, the solution
/// grows along the null space of the operator, while the residual that the rotations give goes on falling. So this
/// residual is now and then compared with one that is computed from the solution.
fn iterate<const R: usize>(
    a: &dyn LinearOperator<R>,
    r: &Tensor<R>,
    monitor: &mut Monitor<R>,
    refresh: &mut Refresh<R>,
    seen: &mut Option<Seen<R>>,
) -> Result<Tensor<R>, SolveError> {
    let rounding = 8.0 * epsilon(r.dtype());
    let norm = |v: &Tensor<R>| Ok::<_, SolveError>(dots(&[[v, v]])?.remove(0).sqrt());
    let inverse = |norm: &Tensor<R>| {
        let none = norm.clone().equal_elem(0.0);
        norm.clone().recip().mask_fill(none, 0.0)
    };
    let mut solution = r.zeros_like();
    let mut beta = norm(r)?;
    let mut v = r.clone() * inverse(&beta);
    let mut v_before = r.zeros_like();
    let mut w = r.zeros_like();
    let mut w_before = r.zeros_like();
    let zero = beta.zeros_like();
    let (mut c, mut s) = (zero.clone() - 1.0, zero.clone());
    let (mut delta_next, mut epsilon_next) = (zero.clone(), zero.clone());
    // The residual norm, with a sign.
    let mut residual = beta.clone();
    beta = zero.clone();
    for iteration in 1.. {
        let image = a.apply(v.clone())?;
        let seen = match seen {
            Some(seen) => seen,
            None => seen.insert(Seen {
                exponents: balance(&image)?,
                largest: zero.clone(),
            }),
        };
        let image = times_powers(image, &seen.exponents) - v_before * beta;
        let alpha = dots(&[[&v, &image]])?.remove(0);
        let image = image - v.clone() * alpha.clone();
        beta = norm(&image)?;
        let larger = alpha.clone().abs().max_pair(beta.clone());
        seen.largest = seen.largest.clone().max_pair(larger);
        let lowest = seen.largest.clone() * rounding;
        beta = beta
            .clone()
            .mask_fill(beta.lower_equal(lowest.clone()), 0.0);

        let epsilon = epsilon_next;
        let delta = c.clone() * delta_next.clone() + s.clone() * alpha.clone();
        let gamma = s.clone() * delta_next - c.clone() * alpha;
        epsilon_next = s * beta.clone();
        delta_next = -c * beta.clone();
        let radius = (gamma.clone() * gamma.clone() + beta.clone() * beta.clone()).sqrt();
        let none = radius.clone().lower_equal(lowest);
        let over = radius.recip().mask_fill(none, 0.0);
        c = gamma * over.clone();
        s = beta.clone() * over.clone();
        let step = monitor.only_active(c.clone() * residual.clone());
        residual = residual * s.clone();

        let w_new = (v.clone() - w_before * epsilon - w.clone() * delta) * over;
        w_before = w;
        w = w_new;
        solution = solution + w.clone() * step;
        v_before = v;
        v = image * inverse(&beta);
        let squares = residual.clone() * residual.clone();
        if monitor.end_iteration(squares.clone())? {
            break;
        }
        if iteration % COMPARED == 0 {
            let found = std::mem::replace(&mut solution, r.zeros_like());
            let r = refresh(times_powers(found, &seen.exponents))?;
            if monitor.has_drifted(&r, squares)? {
                break;
            }
        }
    }
    Ok(match seen {
        Some(seen) => times_powers(solution, &seen.exponents),
        None => solution,
    })
}
