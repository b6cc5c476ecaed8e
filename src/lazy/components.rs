//! The inner axis of a formula: parts of it, and sums over it.

use burn_lazy_kernels::Expr;

use super::{IntoLazy, LazyTensor, expect};
use crate::error::LazyError;

/// Defines the methods that take one component, by the `try_slice` of a formula.
macro_rules! elem {
    () => {
        /// Component `index` of the inner axis.
        ///
        /// # Panics
        /// If there is no such component.
        #[track_caller]
        pub fn elem(&self, index: usize) -> Self {
            expect(self.try_elem(index))
        }

        /// Like [`elem`](Self::elem), with an error instead of a panic.
        pub fn try_elem(&self, index: usize) -> Result<Self, LazyError> {
            self.try_slice(index..index.saturating_add(1))
        }
    };
}
pub(crate) use elem;

impl LazyTensor {
    /// Components `range` of the inner axis.
    ///
    /// # Panics
    /// If the range is empty or leaves the inner axis.
    #[track_caller]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        expect(self.try_slice(range))
    }

    /// Like [`slice`](Self::slice), with an error instead of a panic.
    pub fn try_slice(&self, range: std::ops::Range<usize>) -> Result<Self, LazyError> {
        let (start, end) = (range.start, range.end);
        if start >= end || end > self.dim() {
            return Err(LazyError::Slice {
                start,
                end,
                dim: self.dim(),
                formula: self.boxed_info(),
            });
        }
        Ok(self.map(self.expr.slice(start, end - start)))
    }

    elem!();

    /// The components of all `parts`, one after the other.
    ///
    /// # Panics
    /// If there are no parts or their operands do not fit together.
    #[track_caller]
    pub fn concat(parts: &[LazyTensor]) -> Self {
        expect(Self::try_concat(parts))
    }

    /// Like [`concat`](Self::concat), with an error instead of a panic.
    pub fn try_concat(parts: &[LazyTensor]) -> Result<Self, LazyError> {
        if parts.is_empty() {
            return Err(LazyError::EmptyConcat);
        }
        let expr = Expr::concat(parts.iter().map(|part| part.expr.clone()).collect());
        Self::combine(expr, &parts.iter().collect::<Vec<_>>())
    }

    /// The sum over the inner axis, $\sum_k f_k$; stays symbolic.
    pub fn inner_sum(&self) -> Self {
        self.map(self.expr.inner_sum())
    }

    /// The squared Euclidean norm over the inner axis, $\sum_k f_k^2$.
    pub fn sqnorm(&self) -> Self {
        self.map(self.expr.sqnorm())
    }

    /// The Euclidean norm over the inner axis, $(\sum_k f_k^2)^{1/2}$; its gradient at 0 is 0.
    ///
    /// For a formula of rows alone, of columns alone or of parameters it is right in the whole range of the type: the
    /// components are scaled by a power of two before they are squared. For a formula of pairs they are not, as that
    /// would take time for each pair. There, in F32, F16 and BF16, a norm above about $1.8 \cdot 10^{19}$ is
    /// infinite, and one below about $10^{-19}$ loses digits; $10^{-22}$ is 0. In F64 the bounds are $1.3 \cdot
    /// 10^{154}$ and $10^{-154}$.
    pub fn norm(&self) -> Self {
        self.map(self.expr.norm())
    }

    /// The inner product over the inner axis, $\sum_k f_k g_k$; also written `f | g`.
    ///
    /// # Panics
    /// If the inner dimensions differ, or the operands do not fit together.
    #[track_caller]
    pub fn dot(&self, other: impl IntoLazy) -> Self {
        expect(self.try_dot(other))
    }

    /// Like [`dot`](Self::dot), with an error instead of a panic.
    pub fn try_dot(&self, other: impl IntoLazy) -> Result<Self, LazyError> {
        let other = other.into_lazy()?;
        if self.dim() != other.dim() {
            return Err(self.dimension_error("dot", &other));
        }
        Self::combine(self.expr.dot(&other.expr), &[self, &other])
    }

    /// The squared Euclidean distance over the inner axis, $\sum_k (f_k - g_k)^2$.
    ///
    /// # Panics
    /// If the inner dimensions do not fit, or the operands do not fit together.
    #[track_caller]
    pub fn sqdist(&self, other: impl IntoLazy) -> Self {
        expect(self.try_sqdist(other))
    }

    /// Like [`sqdist`](Self::sqdist), with an error instead of a panic.
    pub fn try_sqdist(&self, other: impl IntoLazy) -> Result<Self, LazyError> {
        let other = other.into_lazy()?;
        self.check_broadcast("sqdist", &other)?;
        Self::combine(self.expr.sqdist(&other.expr), &[self, &other])
    }
}
