//! Symbolic derivatives of formulas: gradients, differentials, and operators that are built from them.
//!
//! Every derivative is a formula again. Derivatives can be nested to any order, reduced, and differentiated by Burn's
//! autodiff. Summed over $j$, [`grad`](LazyTensor::grad) by an operand of the rows, with a cotangent that has a value
//! for each row, is the vector-Jacobian product of $\sum_j f_{ij}$, and [`diff`](LazyTensor::diff) is the
//! Jacobian-vector product. Both are sums of formulas, so autodiff gives derivatives of second order.
//!
//! `v` is an operand of the formula, as [`LazyTensor::vi`], [`vj`](LazyTensor::vj) or [`pm`](LazyTensor::pm) made it:
//! the handle from which the formula was made, or another handle of the same tensor and axis. A clone of a tensor is
//! the same tensor. A copy is another tensor, and so is the result of `detach` or `cast`.
//!
//! # What does not count
//!
//! A pair that a [`mask_where`](LazyTensor::mask_where) or an [`if_else`](LazyTensor::if_else) hides contributes
//! exactly 0 to every derivative of the hidden formula, of every order, also through Burn's autodiff. The hidden
//! value may be infinite or NaN. So the forces of charges are finite where the pairs $i = j$ are masked, and padded
//! rows may hold anything. A contribution is also 0 where the cotangent is 0 and the derivative that it is multiplied
//! by is infinite: $1 / (1 + e^{-x})$ has the derivative 0 where the exponential overflows.
//!
//! ```
//! # #[cfg(all(feature = "flex", feature = "autodiff"))] {
//! use burn::prelude::*;
//! use burn_lazy::{Axes, LazyTensor};
//!
//! let device = Device::default().autodiff();
//! let x = Tensor::<2>::from_data([[0.0, 0.0], [3.0, 4.0]], &device).require_grad();
//! let (x_i, x_j) = (LazyTensor::vi(x.clone()), LazyTensor::vj(x.clone()));
//! let own = LazyTensor::offset().equal(0.0); // i - j = 0
//! let energy: Tensor<1> = (x_i - x_j).norm().recip().mask_where(own, 0.0).sum(Axes::Both);
//! let forces = x.grad(&energy.backward()).unwrap();
//! assert!(forces.is_finite().all().into_scalar::<bool>());
//! # }
//! ```
//!
//! # Where a derivative does not exist
//!
//! - Where the value is finite and the derivative would be infinite, the derivative is 0: `sqrt`, `powf` with an
//!   exponent below 1, `cbrt` and `xlogx` at 0, `asin`, `acos` and `acosh` at the ends of their domains, a norm at
//!   the origin.
//! - Where the value jumps or has a kink, the derivative is 0 (`sign`, `step`, `round`, comparisons, `abs` at 0).
//!   `maximum` and `minimum` of two equal arguments have the derivative one half by each. At the bounds of `clamp`
//!   the derivative is 1 by the value and 0 by the bound.
//! - Where the value is infinite, the derivative may be infinite or NaN.
//!
//! A function of a distance, such as $(1 + r) e^{-r}$ of $r = |x - y|$, may have a second derivative where points
//! coincide, though the distance itself has none. If it is written with `norm()`, its second derivative is 0 there.
//! It is right if the function is written in terms of the squared distance, as the [kernels](crate::kernels) and
//! [`matern`](LazyTensor::matern) are.

use std::sync::Arc;

use burn_lazy_kernels::{
    Expr,
    expr::{Node, Var},
};

use crate::{
    error::LazyError,
    lazy::{IntoLazy, LazyTensor, expect},
    operand::Operand,
};

impl LazyTensor {
    /// The gradient of this formula $f$ with respect to the operand `v`, applied to a cotangent `e`:
    /// the formula $\sum_k e_k \, \partial f_k / \partial v$, of the dimension of `v`.
    ///
    /// # Panics
    /// If `v` is not an operand of this formula, if `e` has another inner dimension than this formula, or if
    /// the operands do not fit together.
    #[track_caller]
    pub fn grad(&self, v: &LazyTensor, e: impl IntoLazy) -> Self {
        expect(self.try_grad(v, e))
    }

    /// Like [`grad`](Self::grad), with an error instead of a panic.
    pub fn try_grad(&self, v: &LazyTensor, e: impl IntoLazy) -> Result<Self, LazyError> {
        let e = e.into_lazy()?;
        let (f, var) = self.in_terms_of(v)?;
        if e.dim() != self.dim() {
            return Err(self.dimension_error("grad", &e));
        }
        let expr = f.expr.gradient(var, &e.expr);
        Self::combine(expr, &[&f, v, &e])
    }

    /// The differential of this formula $f$ with respect to the operand `v` in the direction `u`:
    /// the formula $\sum_k u_k \, \partial f / \partial v_k$, of the dimension of $f$ (forward mode).
    ///
    /// # Panics
    /// If `v` is not an operand of this formula, if `u` has another inner dimension than `v`, or if the
    /// operands do not fit together.
    #[track_caller]
    pub fn diff(&self, v: &LazyTensor, u: impl IntoLazy) -> Self {
        expect(self.try_diff(v, u))
    }

    /// Like [`diff`](Self::diff), with an error instead of a panic.
    pub fn try_diff(&self, v: &LazyTensor, u: impl IntoLazy) -> Result<Self, LazyError> {
        let u = u.into_lazy()?;
        let (f, var) = self.in_terms_of(v)?;
        if u.dim() != v.dim() {
            return Err(v.dimension_error("diff", &u));
        }
        let expr = f.expr.differential(var, &u.expr);
        Self::combine(expr, &[&f, v, &u])
    }

    /// The Jacobian of this formula $f$ with respect to the operand `v`, flattened row by row: component
    /// $k D_v + l$ is $\partial f_k / \partial v_l$.
    ///
    /// The formula grows with the number of components of $f$, so this is meant for formulas of few components.
    ///
    /// # Panics
    /// If `v` is not an operand of this formula.
    #[track_caller]
    pub fn grad_matrix(&self, v: &LazyTensor) -> Self {
        expect(self.try_grad_matrix(v))
    }

    /// Like [`grad_matrix`](Self::grad_matrix), with an error instead of a panic.
    pub fn try_grad_matrix(&self, v: &LazyTensor) -> Result<Self, LazyError> {
        let (f, var) = self.in_terms_of(v)?;
        let one = Expr::constant(1.0);
        let row = |k: usize| f.expr.slice(k, 1).simplify().gradient(var, &one);
        let expr = Expr::concat((0..f.dim()).map(row).collect());
        Self::combine(expr, &[&f, v])
    }

    /// The divergence of this formula $f$ with respect to the operand `v` of the same inner dimension:
    /// $\sum_k \partial f_k / \partial v_k$.
    ///
    /// The formula grows with the number of components of $f$, so this is meant for formulas of few components.
    ///
    /// # Panics
    /// If `v` is not an operand of this formula, or has another inner dimension.
    #[track_caller]
    pub fn divergence(&self, v: &LazyTensor) -> Self {
        expect(self.try_divergence(v))
    }

    /// Like [`divergence`](Self::divergence), with an error instead of a panic.
    pub fn try_divergence(&self, v: &LazyTensor) -> Result<Self, LazyError> {
        let (f, var) = self.in_terms_of(v)?;
        if v.dim() != self.dim() {
            return Err(self.dimension_error("divergence", v));
        }
        Self::combine(f.expr.divergence(var), &[&f, v])
    }

    /// The Laplacian of this formula $f$ of one component with respect to the operand `v`:
    /// $\sum_k \partial^2 f / \partial v_k^2$.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::prelude::*;
    /// use burn_lazy::{Axis, LazyTensor};
    ///
    /// // The Laplacian of |x - y|^2 in three dimensions is 6.
    /// let device = Device::default();
    /// let x = LazyTensor::vi(Tensor::<2>::ones([2, 3], &device));
    /// let y = LazyTensor::vj(Tensor::<2>::zeros([4, 3], &device));
    /// let mean: Tensor<2> = x.sqdist(&y).laplacian(&x).mean(Axis::J);
    /// mean.into_data().assert_eq(&burn::tensor::TensorData::from([[6.0f32], [6.0]]), false);
    /// # }
    /// ```
    ///
    /// # Panics
    /// If `v` is not an operand of this formula, or this formula has several components.
    #[track_caller]
    pub fn laplacian(&self, v: &LazyTensor) -> Self {
        expect(self.try_laplacian(v))
    }

    /// Like [`laplacian`](Self::laplacian), with an error instead of a panic.
    pub fn try_laplacian(&self, v: &LazyTensor) -> Result<Self, LazyError> {
        self.try_grad(v, 1.0)?.try_divergence(v)
    }

    /// The product of the Hessian of this formula $f$ of one component with a direction `u`:
    /// $\sum_l u_l \, \partial^2 f / \partial v \, \partial v_l$, of the dimension of `v`.
    ///
    /// # Panics
    /// If `v` is not an operand of this formula, if `u` has another inner dimension, or this formula has several
    /// components.
    #[track_caller]
    pub fn hessian_product(&self, v: &LazyTensor, u: impl IntoLazy) -> Self {
        expect(self.try_hessian_product(v, u))
    }

    /// Like [`hessian_product`](Self::hessian_product), with an error instead of a panic.
    pub fn try_hessian_product(&self, v: &LazyTensor, u: impl IntoLazy) -> Result<Self, LazyError> {
        self.try_grad(v, 1.0)?.try_diff(v, u)
    }

    /// This formula with all operands that have the tensor and axis of `v` replaced by one variable, and that
    /// variable.
    fn in_terms_of<'a>(&self, v: &'a LazyTensor) -> Result<(Self, &'a Var), LazyError> {
        let Node::Var(var) = v.expr.node() else {
            return Err(LazyError::NotAnOperand(v.boxed_info()));
        };
        let own = v.operands.iter().find(|operand| operand.var == *var);
        let own = own.expect("a leaf is an operand");
        let is_same = |operand: &Operand| {
            operand.var == *var
                || (operand.var.axes == var.axes && operand.value.is_same(&own.value))
        };
        // An operand also counts if the formula no longer depends on it, as happens to derivatives: the second
        // derivative of a linear function is 0.
        if !self.operands.iter().any(is_same) {
            return Err(LazyError::NotInFormula {
                operand: Box::new(own.info(&v.operands)),
                formula: self.boxed_info(),
            });
        }
        let (same, others): (Vec<&Operand>, Vec<&Operand>) =
            self.operands.iter().partition(|operand| is_same(operand));
        if let [only] = same.as_slice()
            && only.var == *var
        {
            return Ok((self.clone(), var));
        }
        let expr = self.expr.map_vars(|leaf| {
            let is_same = same.iter().any(|operand| operand.var == *leaf);
            Expr::var(if is_same { *var } else { *leaf })
        });
        let mut operands: Vec<Operand> = others.into_iter().cloned().collect();
        operands.insert(0, own.clone());
        let f = Self {
            operands: Arc::new(operands),
            ..self.map(expr)
        };
        Ok((f, var))
    }
}
