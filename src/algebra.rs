//! Operations on the inner axis: extreme components, norms, products of vectors and matrices, splines.
//!
//! Matrices on the inner axis are flattened row by row. Everything here is composed of other operations, so
//! derivatives of any order exist. A formula grows with the number of components of its result, or with the number of
//! runs of consecutive components that it reads.

use burn_lazy_kernels::{Expr, catalogue::ScalarOp, expr::Extreme};

use crate::{
    contraction::Contraction,
    error::LazyError,
    lazy::{IntoLazy, LazyTensor, expect},
};

impl LazyTensor {
    /// The smallest component, $\min_k f_k$; NaN if any is NaN. The gradient goes to the first of equal components.
    pub fn inner_min(&self) -> Self {
        self.map(self.expr.inner_extremum(Extreme::Minimum))
    }

    /// The largest component, $\max_k f_k$; NaN if any is NaN. The gradient goes to the first of equal components.
    pub fn inner_max(&self) -> Self {
        self.map(self.expr.inner_extremum(Extreme::Maximum))
    }

    /// The index of the smallest component, as a number. If several components are equal, it is the first of their
    /// indices; if any component is NaN, it is the index of the first NaN. Its derivative is 0.
    pub fn inner_argmin(&self) -> Self {
        self.map(self.expr.inner_position(Extreme::Minimum))
    }

    /// The index of the largest component, as a number. If several components are equal, it is the first of their
    /// indices; if any component is NaN, it is the index of the first NaN. Its derivative is 0.
    pub fn inner_argmax(&self) -> Self {
        self.map(self.expr.inner_position(Extreme::Maximum))
    }

    /// A vector of `dim` components: 1 at the index that this formula gives when it is rounded, and 0 elsewhere. An
    /// index outside the vector gives a vector of zeros. Its derivative is 0.
    ///
    /// # Panics
    /// If this formula has several components, or `dim` is 0.
    #[track_caller]
    pub fn one_hot(&self, dim: usize) -> Self {
        expect(self.try_one_hot(dim))
    }

    /// Like [`one_hot`](Self::one_hot), with an error instead of a panic.
    pub fn try_one_hot(&self, dim: usize) -> Result<Self, LazyError> {
        self.check_scalar("one_hot")?;
        if dim == 0 {
            return Err(LazyError::Slice {
                start: 0,
                end: 0,
                dim,
                formula: self.boxed_info(),
            });
        }
        Ok(self.map(self.expr.one_hot(dim)))
    }

    /// $\sin x / x$, 1 at zero, with derivatives of any order there.
    pub fn sinxdivx(&self) -> Self {
        self.spherical_bessel(0)
    }

    /// $\sin(\pi x) / (\pi x)$, 1 at zero, as NumPy's `sinc`.
    pub fn sinc(&self) -> Self {
        self.map((self.expr.clone() * std::f64::consts::PI).spherical_bessel(0))
    }

    /// The nearest multiple of $10^{-d}$; if two are equally near, the even one. $d$ may be negative. Its derivative
    /// is 0.
    pub fn round_to(&self, decimals: i32) -> Self {
        let scale = 10f64.powi(decimals.abs());
        // Powers of ten are exact, their inverses are not.
        self.map(match decimals {
            0 => self.expr.round(),
            1.. => (self.expr.clone() * scale).round() / scale,
            _ => (self.expr.clone() / scale).round() * scale,
        })
    }

    /// The vector divided by its norm, $f / |f|$; 0 where the norm is 0. It is right in the same range as
    /// [`norm`](Self::norm), which is the whole range for rows, columns and parameters.
    pub fn normalize(&self) -> Self {
        self.map(self.expr.normalize())
    }

    /// The digamma function $\psi$, the derivative of [`lgamma`](Self::lgamma): [`polygamma`](Self::polygamma)
    /// of order 0.
    pub fn digamma(&self) -> Self {
        self.polygamma(0)
    }

    /// A weighted squared norm: $s |f|^2$ for a weight of one component, $\sum_k s_k f_k^2$ for a weight of as many
    /// components as $f$ has, and $\sum_{kl} s_{kl} f_k f_l$ for a weight whose number of components is the square of
    /// that of $f$.
    ///
    /// # Panics
    /// If the weight has another number of components, or the operands do not fit together.
    #[track_caller]
    pub fn weighted_sqnorm(&self, weight: impl IntoLazy) -> Self {
        expect(self.try_weighted_sqnorm(weight))
    }

    /// Like [`weighted_sqnorm`](Self::weighted_sqnorm), with an error instead of a panic.
    pub fn try_weighted_sqnorm(&self, weight: impl IntoLazy) -> Result<Self, LazyError> {
        let weight = weight.into_lazy()?;
        let dim = self.dim();
        let s = weight.expr.clone();
        let expr = if weight.dim() == 1 {
            s * self.expr.sqnorm()
        } else if weight.dim() == dim {
            s.dot(&self.expr.square())
        } else if weight.dim() == dim * dim {
            let row = |k: usize| s.slice(k * dim, dim).dot(&self.expr);
            Expr::concat((0..dim).map(row).collect()).dot(&self.expr)
        } else {
            return Err(self.dimension_error("weighted_sqnorm", &weight));
        };
        Self::combine(expr, &[self, &weight])
    }

    /// The [weighted squared norm](Self::weighted_sqnorm) of the difference to another formula.
    ///
    /// # Panics
    /// If the inner dimensions do not fit, or the operands do not fit together.
    #[track_caller]
    pub fn weighted_sqdist(&self, other: impl IntoLazy, weight: impl IntoLazy) -> Self {
        expect(self.try_weighted_sqdist(other, weight))
    }

    /// Like [`weighted_sqdist`](Self::weighted_sqdist), with an error instead of a panic.
    pub fn try_weighted_sqdist(
        &self,
        other: impl IntoLazy,
        weight: impl IntoLazy,
    ) -> Result<Self, LazyError> {
        self.try_sub(other)?.try_weighted_sqnorm(weight)
    }

    /// The product of this matrix of $n p$ components and a vector of $p$:
    /// $\sum_l f_{kl} b_l$, of dimension $n$.
    ///
    /// # Panics
    /// If the dimensions do not fit, or the operands do not fit together.
    #[track_caller]
    pub fn matvecmult(&self, vector: impl IntoLazy) -> Self {
        expect(self.try_matvecmult(vector))
    }

    /// Like [`matvecmult`](Self::matvecmult), with an error instead of a panic.
    pub fn try_matvecmult(&self, vector: impl IntoLazy) -> Result<Self, LazyError> {
        let vector = vector.into_lazy()?;
        let (all, p) = (self.dim(), vector.dim());
        if !all.is_multiple_of(p) {
            return Err(self.dimension_error("matvecmult", &vector));
        }
        self.try_tensordot(vector, &Contraction::new(&[all / p, p], &[p], &[1], &[0]))
    }

    /// The product of this vector of $n$ components and a matrix of $n p$:
    /// $\sum_k f_k A_{kl}$, of dimension $p$.
    ///
    /// # Panics
    /// If the dimensions do not fit, or the operands do not fit together.
    #[track_caller]
    pub fn vecmatmult(&self, matrix: impl IntoLazy) -> Self {
        expect(self.try_vecmatmult(matrix))
    }

    /// Like [`vecmatmult`](Self::vecmatmult), with an error instead of a panic.
    pub fn try_vecmatmult(&self, matrix: impl IntoLazy) -> Result<Self, LazyError> {
        let matrix = matrix.into_lazy()?;
        let (n, all) = (self.dim(), matrix.dim());
        if !all.is_multiple_of(n) {
            return Err(self.dimension_error("vecmatmult", &matrix));
        }
        self.try_tensordot(matrix, &Contraction::new(&[n], &[n, all / n], &[0], &[0]))
    }

    /// The outer product $f_k g_l$. Its dimension is the product of both dimensions.
    ///
    /// # Panics
    /// If the operands do not fit together.
    #[track_caller]
    pub fn tensorprod(&self, other: impl IntoLazy) -> Self {
        expect(self.try_tensorprod(other))
    }

    /// Like [`tensorprod`](Self::tensorprod), with an error instead of a panic.
    pub fn try_tensorprod(&self, other: impl IntoLazy) -> Result<Self, LazyError> {
        let other = other.into_lazy()?;
        let dims = [&[self.dim()], &[other.dim()]];
        self.try_tensordot(other, &Contraction::new(dims[0], dims[1], &[], &[]))
    }

    /// The contraction of two tensors on the inner axis, as NumPy's `tensordot`: the sum of products over the
    /// contracted axes. The axes of the result are the remaining axes of this tensor, then those of the other.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::prelude::*;
    /// use burn_lazy::{Axis, Contraction, LazyTensor};
    ///
    /// // The product of 2 x 3 and 3 x 1 matrices.
    /// let device = Device::default();
    /// let a = LazyTensor::vi(Tensor::<2>::from_data([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]], &device));
    /// let b = LazyTensor::vj(Tensor::<2>::from_data([[1.0, 0.0, -1.0]], &device));
    /// let product = a.tensordot(b, &Contraction::new(&[2, 3], &[3, 1], &[1], &[0]));
    /// let out: Tensor<2> = product.sum(Axis::J);
    /// out.into_data().assert_eq(&burn::tensor::TensorData::from([[-2.0f32, -2.0]]), false);
    /// # }
    /// ```
    ///
    /// # Panics
    /// If the axes do not fit the inner dimensions or each other, or the operands do not fit together.
    #[track_caller]
    pub fn tensordot(&self, other: impl IntoLazy, contraction: &Contraction) -> Self {
        expect(self.try_tensordot(other, contraction))
    }

    /// Like [`tensordot`](Self::tensordot), with an error instead of a panic.
    pub fn try_tensordot(
        &self,
        other: impl IntoLazy,
        contraction: &Contraction,
    ) -> Result<Self, LazyError> {
        let other = other.into_lazy()?;
        let wrong = |reason| LazyError::Contraction {
            reason,
            contraction: Box::new(contraction.clone()),
            left: self.boxed_info(),
            right: other.boxed_info(),
        };
        let places = contraction
            .places([self.dim(), other.dim()])
            .map_err(wrong)?;
        let expr = places.sum_of_products(&self.expr, &other.expr);
        Self::combine(expr, &[self, &other])
    }

    /// The Kronecker product of two tensors of equal rank on the inner axis: component
    /// $(k_1 m_1 + l_1, k_2 m_2 + l_2, ..)$ is $f_{k_1 k_2 ..} \, g_{l_1 l_2 ..}$.
    ///
    /// # Panics
    /// If the axes do not fit the inner dimensions or each other, or the operands do not fit together.
    #[track_caller]
    pub fn kron(&self, other: impl IntoLazy, left: &[usize], right: &[usize]) -> Self {
        expect(self.try_kron(other, left, right))
    }

    /// Like [`kron`](Self::kron), with an error instead of a panic.
    pub fn try_kron(
        &self,
        other: impl IntoLazy,
        left: &[usize],
        right: &[usize],
    ) -> Result<Self, LazyError> {
        let rank = left.len().max(right.len());
        let interleaved = (0..rank).flat_map(|axis| [axis, rank + axis]).collect();
        let contraction = Contraction::new(left, right, &[], &[]).permuted(interleaved);
        self.try_tensordot(other, &contraction)
    }

    /// The B-spline basis functions of order `order` at `x`, which has one component (de Boor, "On calculating with
    /// B-splines", 1972). The components of this formula are the knots. The result has a component for each function:
    /// `order + 1` fewer than there are knots. Each interval between two knots contains its left end.
    ///
    /// # Panics
    /// If `x` has several components, if there are fewer than `order + 2` knots, or the operands do not
    /// fit together.
    #[track_caller]
    pub fn bspline(&self, x: impl IntoLazy, order: usize) -> Self {
        expect(self.try_bspline(x, order))
    }

    /// Like [`bspline`](Self::bspline), with an error instead of a panic.
    pub fn try_bspline(&self, x: impl IntoLazy, order: usize) -> Result<Self, LazyError> {
        let x = x.into_lazy()?;
        x.check_scalar("bspline")?;
        let knots = self.dim();
        if knots < order + 2 {
            return Err(LazyError::Slice {
                start: 0,
                end: order + 2,
                dim: knots,
                formula: self.boxed_info(),
            });
        }
        let t = |start: usize, len: usize| self.expr.slice(start, len);
        let apply = |op, args: [&Expr; 2]| Expr::scalar(op, args.map(Expr::clone).to_vec());
        let begun = apply(ScalarOp::GreaterEqual, [&x.expr, &t(0, knots - 1)]);
        let ended = apply(ScalarOp::Less, [&x.expr, &t(1, knots - 1)]);
        let mut basis = begun * ended;
        for degree in 1..=order {
            let len = knots - degree;
            let width = t(degree, len) - t(0, len);
            let zero = Expr::constant(0.0);
            let empty = apply(ScalarOp::Equal, [&width, &zero]);
            let w = (x.expr.clone() - t(0, len)) / width;
            // Where these knots coincide, the basis function that `w` multiplies is 0 everywhere, so `w` can be 0.
            let w = Expr::scalar(ScalarOp::MaskWhere, vec![w, empty, zero]);
            let rising = w.slice(0, len - 1) * basis.slice(0, len - 1);
            let falling = (1.0 - w.slice(1, len - 1)) * basis.slice(1, len - 1);
            basis = rising + falling;
        }
        Self::combine(basis, &[self, &x])
    }

    /// The soft dynamic time warping discrepancy of two sequences of numbers on the inner axis, with
    /// squared differences and smoothing `gamma` > 0 (Cuturi and Blondel, "Soft-DTW: a differentiable
    /// loss function for time-series", 2017).
    ///
    /// Both sequences together may have up to about 20 numbers. The formula has about four functions for each pair of
    /// numbers, and the time to compile grows with the number of functions. A reduction of a formula of more than
    /// some 60 000 instructions, where a function counts as 20, is an error.
    ///
    /// # Panics
    /// If `gamma` has several components, if the sequences are too long, or the operands do not fit
    /// together.
    #[track_caller]
    pub fn softdtw(&self, other: impl IntoLazy, gamma: impl IntoLazy) -> Self {
        expect(self.try_softdtw(other, gamma))
    }

    /// Like [`softdtw`](Self::softdtw), with an error instead of a panic.
    pub fn try_softdtw(
        &self,
        other: impl IntoLazy,
        gamma: impl IntoLazy,
    ) -> Result<Self, LazyError> {
        let (other, gamma) = (other.into_lazy()?, gamma.into_lazy()?);
        gamma.check_scalar("softdtw")?;
        let inverse = gamma.expr.recip();
        let soft_min = |terms: Vec<Expr>| -> Expr {
            let least = Expr::concat(terms.clone()).inner_extremum(Extreme::Minimum);
            match terms.len() {
                1 => least,
                _ => {
                    let exponents = (least.clone() - Expr::concat(terms)) * inverse.clone();
                    least - gamma.expr.clone() * exponents.exp().inner_sum().log()
                }
            }
        };
        let (n, m) = (self.dim(), other.dim());
        let mut rows: Vec<Vec<Expr>> = Vec::with_capacity(n);
        for i in 0..n {
            let mut row: Vec<Expr> = Vec::with_capacity(m);
            for j in 0..m {
                let cost = (self.expr.slice(i, 1) - other.expr.slice(j, 1)).square();
                let mut before = Vec::new();
                if let Some(above) = i.checked_sub(1) {
                    before.push(rows[above][j].clone());
                    before.extend(j.checked_sub(1).map(|left| rows[above][left].clone()));
                }
                before.extend(j.checked_sub(1).map(|left| row[left].clone()));
                row.push(match before.is_empty() {
                    true => cost,
                    false => cost + soft_min(before),
                });
            }
            rows.push(row);
        }
        let last = rows[n - 1][m - 1].clone();
        Self::combine(last, &[self, &other, &gamma])
    }
}
