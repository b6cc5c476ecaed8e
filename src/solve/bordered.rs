//! The operators of systems with linear constraints: the bordered matrix, and the projection of a matrix to the null
//! space of the constraints.

use std::sync::Arc;

use burn::tensor::{DType, Device, FloatDType, Tensor};
use nalgebra::DMatrix;

use super::{
    LinearOperator, Preconditioner, SolveError,
    system::{epsilon, gram, host, product, shape_of, tensor},
};
use crate::{backends::is_tracked, cast::cast, error::LazyError, operand::broadcast};

/// The name of $P$ in messages.
pub(crate) const FUNCTIONS: &str = "the matrix of constraints";

/// A column counts as a combination of others if the rest is at most this many rounding units of the column.
const DEPENDENT: f64 = 8.0;

/// An orthonormal basis $Q$ of the columns of $P = Q R$.
#[derive(Clone, Debug)]
pub(crate) struct Basis<const R: usize> {
    /// $Q$, `[batch.., N, Q]`.
    vectors: Tensor<R>,
    /// $R^{-1}$ and its transpose, `[batch.., Q, Q]`.
    inverse: Tensor<R>,
    inverse_transposed: Tensor<R>,
}

impl<const R: usize> Basis<R> {
    /// Computes the basis of the columns of `p`, `[batch.., N, Q]`, where Q is at least 1. This is done on the host
    /// in F64 by the method of Gram and Schmidt. Each column is orthogonalised twice, as one pass leaves rounding
    /// errors.
    pub fn new(p: &Tensor<R>) -> Result<Self, SolveError> {
        let shape = p.dims();
        let (rows, columns) = (shape[R - 2], shape[R - 1]);
        let batch = &shape[..R - 2];
        let place = (&p.device(), p.dtype());
        let values = host(p.clone());
        if values.iter().any(|value| !value.is_finite()) {
            return Err(SolveError::NotFinite(FUNCTIONS));
        }
        let (mut vectors, mut inverses, mut transposed) = (Vec::new(), Vec::new(), Vec::new());
        for matrix in 0..batch.iter().product() {
            let own = &values[matrix * rows * columns..(matrix + 1) * rows * columns];
            let own = DMatrix::from_row_slice(rows, columns, own);
            let (q, r) = orthonormal(own, DEPENDENT * epsilon(p.dtype()))
                .map_err(|column| SolveError::Dependent { matrix, column })?;
            let inverse = r
                .solve_upper_triangular(&DMatrix::identity(columns, columns))
                .expect("no entry of the diagonal is 0");
            vectors.extend_from_slice(q.transpose().as_slice());
            inverses.extend_from_slice(inverse.transpose().as_slice());
            transposed.extend_from_slice(inverse.as_slice());
        }
        let small = |values| tensor(values, shape_of(batch, columns, columns), place);
        Ok(Self {
            vectors: tensor(vectors, shape, place),
            inverse: small(inverses),
            inverse_transposed: small(transposed),
        })
    }

    /// The part of `v` that is orthogonal to the columns of $P$.
    pub fn project(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        let parts = gram(&self.vectors, &v)?;
        Ok(v - product(&self.vectors, &parts)?)
    }

    /// The $w$ of the smallest norm with $P^\top w = d$, which is $Q R^{-\top} d$.
    pub fn particular(&self, d: &Tensor<R>) -> Result<Tensor<R>, LazyError> {
        let parts = product(&self.inverse_transposed, d)?;
        product(&self.vectors, &parts)
    }

    /// The $c$ for which $P c$ is nearest to `v`, which is $R^{-1} Q^\top v$.
    pub fn coefficients(&self, v: &Tensor<R>) -> Result<Tensor<R>, LazyError> {
        product(&self.inverse, &gram(&self.vectors, v)?)
    }

    fn cast(&self, dtype: FloatDType) -> Self {
        Self {
            vectors: cast(self.vectors.clone(), dtype),
            inverse: cast(self.inverse.clone(), dtype),
            inverse_transposed: cast(self.inverse_transposed.clone(), dtype),
        }
    }
}

/// The factors of $P = Q R$, with orthonormal columns of $Q$ and an upper triangular $R$. The error is the index of a
/// column that is a combination of the columns before it, up to a relative error of `rounding`.
fn orthonormal(p: DMatrix<f64>, rounding: f64) -> Result<(DMatrix<f64>, DMatrix<f64>), usize> {
    let columns = p.ncols();
    let mut q = p;
    let mut r = DMatrix::zeros(columns, columns);
    for k in 0..columns {
        // The column is scaled so that squares of its entries are in range.
        let scale = q.column(k).amax();
        if scale == 0.0 {
            return Err(k);
        }
        let mut own = q.column(k) / scale;
        let before = own.norm();
        for _ in 0..2 {
            for i in 0..k {
                let part = q.column(i).dot(&own);
                own.axpy(-part, &q.column(i), 1.0);
                r[(i, k)] += part * scale;
            }
        }
        let length = own.norm();
        if length <= rounding * before {
            return Err(k);
        }
        r[(k, k)] = length * scale;
        q.set_column(k, &(own / length));
    }
    Ok((q, r))
}

/// The bordered operator $(A, P; P^\top, 0)$ on vectors of $w$ followed by $c$.
#[derive(Clone, Debug)]
pub(crate) struct Bordered<A, const R: usize> {
    /// $A$.
    pub a: A,
    /// $P$, `[batch.., N, Q]`.
    pub p: Tensor<R>,
    pub basis: Basis<R>,
}

impl<A, const R: usize> Bordered<A, R> {
    /// Splits a vector into its parts for $w$ and for $c$.
    pub fn parts(&self, v: &Tensor<R>) -> [Tensor<R>; 2] {
        let [rows, columns] = [self.p.dims()[R - 2], self.p.dims()[R - 1]];
        [(0, rows), (rows, columns)].map(|(start, len)| v.clone().narrow(R - 2, start, len))
    }

    fn bordered(
        &self,
        v: &Tensor<R>,
        product_with: impl FnOnce(Tensor<R>) -> Result<Tensor<R>, LazyError>,
    ) -> Result<Tensor<R>, LazyError> {
        let [w, c] = self.parts(v);
        let above = product_with(w.clone())? + product(&self.p, &c)?;
        Ok(Tensor::cat(vec![above, gram(&self.p, &w)?], R - 2))
    }
}

impl<A: LinearOperator<R>, const R: usize> LinearOperator<R> for Bordered<A, R> {
    fn sizes(&self) -> Result<[usize; 2], LazyError> {
        let added = self.p.dims()[R - 1];
        Ok(self.a.sizes()?.map(|size| size + added))
    }

    fn vectors(&self) -> Result<(Device, DType), LazyError> {
        self.a.vectors()
    }

    fn batch(&self) -> Vec<usize> {
        let own = self.a.batch();
        // The shapes were checked to broadcast.
        broadcast(&own, &self.p.dims()[..R - 2]).unwrap_or(own)
    }

    fn apply(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        self.bordered(&v, |w| self.a.apply(w))
    }

    fn apply_transposed(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        self.bordered(&v, |w| self.a.apply_transposed(w))
    }

    fn inner(&self) -> Self {
        Self {
            a: self.a.inner(),
            p: self.p.clone().inner(),
            basis: self.basis.clone(),
        }
    }

    fn cast(&self, dtype: FloatDType) -> Result<Self, LazyError> {
        Ok(Self {
            a: self.a.cast(dtype)?,
            p: cast(self.p.clone(), dtype),
            basis: self.basis.cast(dtype),
        })
    }

    fn is_tracked(&self) -> bool {
        self.a.is_tracked() || is_tracked(&self.p)
    }
}

/// $\Pi A \Pi$, where $\Pi$ projects to the null space of $P^\top$.
#[derive(Clone, Debug)]
pub(crate) struct Projected<A, const R: usize> {
    pub a: A,
    pub basis: Basis<R>,
}

impl<A: LinearOperator<R>, const R: usize> LinearOperator<R> for Projected<A, R> {
    fn sizes(&self) -> Result<[usize; 2], LazyError> {
        self.a.sizes()
    }

    fn vectors(&self) -> Result<(Device, DType), LazyError> {
        self.a.vectors()
    }

    fn batch(&self) -> Vec<usize> {
        let own = self.a.batch();
        broadcast(&own, &self.basis.vectors.dims()[..R - 2]).unwrap_or(own)
    }

    fn apply(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        self.basis.project(self.a.apply(self.basis.project(v)?)?)
    }

    fn apply_transposed(&self, v: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        self.basis
            .project(self.a.apply_transposed(self.basis.project(v)?)?)
    }

    fn inner(&self) -> Self {
        Self {
            a: self.a.inner(),
            basis: self.basis.clone(),
        }
    }

    fn cast(&self, dtype: FloatDType) -> Result<Self, LazyError> {
        Ok(Self {
            a: self.a.cast(dtype)?,
            basis: self.basis.cast(dtype),
        })
    }

    fn is_tracked(&self) -> bool {
        self.a.is_tracked()
    }
}

/// The preconditioner $M - M Q (Q^\top M Q)^{-1} Q^\top M$ of $\Pi A \Pi$, for a preconditioner $M$ of $A$. If $M$ is
/// the inverse of $A$, this is the inverse of $\Pi A \Pi$ in the null space of $P^\top$ (Gould, Hribar and Nocedal
/// 2001, section 3).
#[derive(Debug)]
pub(crate) struct Constrained<const R: usize> {
    inner: Arc<dyn Preconditioner<R>>,
    basis: Basis<R>,
    /// $M Q$, for each matrix of the batch.
    images: Tensor<R>,
    /// $(Q^\top M Q)^{-1}$.
    inverse: Tensor<R>,
}

impl<const R: usize> Constrained<R> {
    /// Makes the preconditioner from `inner`, the $M$ of the formula, for systems with the batch dimensions of
    /// `shape`.
    pub fn new(
        inner: Arc<dyn Preconditioner<R>>,
        basis: &Basis<R>,
        shape: [usize; R],
    ) -> Result<Self, SolveError> {
        const WHAT: &str = "the preconditioner";
        let mut of_all = basis.vectors.dims();
        of_all[..R - 2].copy_from_slice(&shape[..R - 2]);
        let vectors = basis.vectors.clone().expand(of_all);
        let columns = of_all[R - 1];
        let images = inner.apply(vectors.clone())?;
        let products = host(gram(&images, &vectors)?);
        let mut inverses = Vec::new();
        for (number, own) in products.chunks(columns * columns).enumerate() {
            let own = DMatrix::from_row_slice(columns, columns, own);
            if own.iter().any(|value| !value.is_finite()) {
                return Err(SolveError::NotFinite("a product with the preconditioner"));
            }
            let symmetric = (&own + own.transpose()) * 0.5;
            let cholesky = symmetric
                .cholesky()
                .ok_or(SolveError::NotPositiveDefinite {
                    what: WHAT,
                    iteration: 0,
                    column: number * shape[R - 2],
                })?;
            // The inverse is symmetric, so that the order by columns is also that by rows.
            inverses.extend_from_slice(cholesky.inverse().as_slice());
        }
        of_all[R - 2] = columns;
        let inverse = tensor(inverses, of_all, (&images.device(), images.dtype()));
        Ok(Self {
            inner,
            basis: basis.clone(),
            images,
            inverse,
        })
    }
}

impl<const R: usize> Preconditioner<R> for Constrained<R> {
    fn apply(&self, r: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        let dtype: FloatDType = r.dtype().into();
        let images = cast(self.images.clone(), dtype);
        let parts = gram(&images, &r)?;
        let parts = product(&cast(self.inverse.clone(), dtype), &parts)?;
        let image = self.inner.apply(r)? - product(&images, &parts)?;
        // The projection removes rounding errors of the difference along the constraints.
        self.basis.cast(dtype).project(image)
    }
}
