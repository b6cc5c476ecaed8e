//! Converts right-hand sides for the methods, which take blocks of vectors in F32 or F64. Users may also give single
//! vectors, and vectors in F16 or BF16.

use std::sync::Arc;

use burn::tensor::{DType, Device, FloatDType, Tensor};

use super::{
    LinearOperator, Preconditioner, Solution, SolveError, SolveOptions,
    operator::{is_half, wraps_operator},
    scale::check_finite,
    system::{GUESS, RIGHT},
};
use crate::{cast::cast, error::LazyError};

/// An operator that the backward pass can keep: autodiff may run it later, on another thread.
pub(crate) trait KeptOperator<const R: usize>:
    LinearOperator<R> + Clone + Send + Sync + 'static
{
}

impl<const R: usize, A> KeptOperator<R> for A where
    A: LinearOperator<R> + Clone + Send + Sync + 'static
{
}

/// A method for right-hand sides of at least two dimensions, in F32 or F64.
pub(crate) trait Method {
    fn solve<A: KeptOperator<R>, const R: usize>(
        a: &A,
        b: Tensor<R>,
        options: &SolveOptions<R>,
    ) -> Result<Solution<R>, SolveError>;
}

/// Solves for `b` by a method. F16 and BF16 are cast to F32, and the solution is cast back.
pub(crate) fn solve_by<M: Method, A: KeptOperator<R>, const R: usize>(
    a: &A,
    b: Tensor<R>,
    options: &SolveOptions<R>,
) -> Result<Solution<R>, SolveError> {
    let stored = b.dtype();
    let solved = match in_single(a, stored, options)? {
        Some((a, options)) => {
            let mut solved = in_blocks::<M, A, R>(&a, cast(b, FloatDType::F32), &options)?;
            solved.solution = cast(solved.solution, stored.into());
            solved
        }
        None => in_blocks::<M, A, R>(a, b, options)?,
    };
    check_range(&solved.solution)?;
    Ok(solved)
}

/// Defines the public function that solves by a [`Method`].
macro_rules! solver {
    ($(#[$doc:meta])* pub fn $name:ident by $method:ident) => {
        $(#[$doc])*
        pub fn $name<A, const R: usize>(
            a: &A,
            b: Tensor<R>,
            options: &SolveOptions<R>,
        ) -> Result<Solution<R>, SolveError>
        where
            A: LinearOperator<R> + Clone + Send + Sync + 'static,
        {
            crate::solve::vector::solve_by::<$method, A, R>(a, b, options)
        }
    };
}
pub(crate) use solver;

/// The operator and the options in F32, if the operator has the type `stored` of right-hand sides, F16 or BF16.
pub(crate) fn in_single<A: LinearOperator<R>, const R: usize>(
    a: &A,
    stored: DType,
    options: &SolveOptions<R>,
) -> Result<Option<(A, SolveOptions<R>)>, LazyError> {
    if !is_half(stored) || a.vectors()?.1 != stored {
        return Ok(None);
    }
    let mut options = options.clone();
    options.initial = options.initial.map(|v| cast(v, FloatDType::F32));
    Ok(Some((a.cast(FloatDType::F32)?, options)))
}

/// Checks that a solution is in the range of its type.
pub(crate) fn check_range<const R: usize>(solution: &Tensor<R>) -> Result<(), SolveError> {
    const WHAT: &str = "the solution (it leaves the range of its type)";
    match solution.dims().contains(&0) {
        true => Ok(()),
        false => check_finite(&as_block(solution.clone().inner()), WHAT),
    }
}

/// Solves for `b` by a method. A vector is treated as a block of one column.
fn in_blocks<M: Method, A: KeptOperator<R>, const R: usize>(
    a: &A,
    b: Tensor<R>,
    options: &SolveOptions<R>,
) -> Result<Solution<R>, SolveError> {
    if R != 1 {
        return M::solve(a, b, options);
    }
    let [rows, columns] = a.sizes()?;
    let batch = a.batch();
    for (what, tensor, len) in [
        (RIGHT, Some(&b), rows),
        (GUESS, options.initial.as_ref(), columns),
    ] {
        if let Some(tensor) = tensor
            && (!batch.is_empty() || tensor.dims()[0] != len)
        {
            return Err(SolveError::Shape {
                what,
                shape: tensor.dims().to_vec(),
                rows: len,
                batch,
            });
        }
    }
    let options = options.with_rank(
        options.initial.clone().map(as_column),
        options.preconditioner.clone().map(|of_vectors| {
            Arc::new(ColumnPreconditioner(of_vectors)) as Arc<dyn Preconditioner<2>>
        }),
    );
    let solved = M::solve(&Column::<A, R>(a.clone()), as_column(b), &options)?;
    Ok(Solution {
        solution: as_vector(solved.solution),
        info: solved.info,
    })
}

/// A vector as a block of one column.
fn as_column<const R: usize>(v: Tensor<R>) -> Tensor<2> {
    let len = v.dims()[0];
    v.reshape([len, 1])
}

/// A block of one column as a vector: `R` is 1.
pub(crate) fn as_vector<const R: usize>(v: Tensor<2>) -> Tensor<R> {
    let [len, _] = v.dims();
    v.reshape([len; R])
}

/// A block of any rank, or a vector, as a block with one batch dimension.
pub(crate) fn as_block<const R: usize>(v: Tensor<R>) -> Tensor<3> {
    let shape = v.dims();
    let (rows, columns) = match R {
        1 => (shape[0], 1),
        _ => (shape[R - 2], shape[R - 1]),
    };
    let batch = shape[..R.saturating_sub(2)].iter().product();
    v.reshape([batch, rows, columns])
}

/// An operator on vectors, as an operator on blocks of one column.
#[derive(Clone)]
struct Column<A, const R: usize>(A);

impl<A: LinearOperator<R>, const R: usize> LinearOperator<2> for Column<A, R> {
    wraps_operator!();

    fn sizes(&self) -> Result<[usize; 2], LazyError> {
        self.0.sizes()
    }

    fn apply(&self, v: Tensor<2>) -> Result<Tensor<2>, LazyError> {
        Ok(as_column(self.0.apply(as_vector(v))?))
    }

    fn apply_transposed(&self, v: Tensor<2>) -> Result<Tensor<2>, LazyError> {
        Ok(as_column(self.0.apply_transposed(as_vector(v))?))
    }

    fn inner(&self) -> Self {
        Self(self.0.inner())
    }

    fn cast(&self, dtype: FloatDType) -> Result<Self, LazyError> {
        Ok(Self(self.0.cast(dtype)?))
    }

    fn check_symmetric(&self) -> Result<(), SolveError> {
        self.0.check_symmetric()
    }
}

/// A preconditioner of vectors, as a preconditioner of blocks of one column.
#[derive(Debug)]
struct ColumnPreconditioner<const R: usize>(Arc<dyn Preconditioner<R>>);

impl<const R: usize> Preconditioner<2> for ColumnPreconditioner<R> {
    fn apply(&self, r: Tensor<2>) -> Result<Tensor<2>, LazyError> {
        Ok(as_column(self.0.apply(as_vector(r))?))
    }
}
