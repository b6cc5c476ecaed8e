//! Operators and scalar functions of lazy tensors, from the catalogue of operations.

use std::ops::{Add, BitOr, Div, Mul, Neg, Sub};

use burn::tensor::{Tensor, kind::Basic};
use burn_lazy_kernels::{Expr, catalogue::ScalarOp};

use crate::{
    error::LazyError,
    lazy::{IntoLazy, LazyTensor, expect},
};

macro_rules! unary {
    ($( [$($doc:tt)*] $method:ident $(($parameter:ident: $type:ty))?; )*) => {
        /// Scalar functions, applied to each component.
        impl LazyTensor {
            $(
                $($doc)*
                pub fn $method(&self $(, $parameter: $type)?) -> Self {
                    self.map(self.expr.$method($($parameter)?))
                }
            )*
        }
    };
}

burn_lazy_kernels::unary_methods!(unary);

/// Defines a method and its `try_` form for each operation of several arguments. `$apply` is the function that
/// applies the operation to this formula and the other arguments.
macro_rules! checked {
    ($( [$($doc:tt)*] $method:ident $op:ident $apply:ident($($argument:ident),*); )*) => {
        pastey::paste! {
            /// Operators and functions of several arguments, applied to each component.
            impl LazyTensor {
                $(
                    $($doc)*
                    ///
                    /// # Panics
                    /// If the inner dimensions do not fit, or the operands do not fit together.
                    #[track_caller]
                    pub fn $method(&self, $($argument: impl IntoLazy),*) -> Self {
                        expect(self.[<try_ $method>]($($argument),*))
                    }

                    #[doc = concat!(
                        "Like [`", stringify!($method), "`](Self::", stringify!($method),
                        "), with an error instead of a panic."
                    )]
                    pub fn [<try_ $method>](
                        &self,
                        $($argument: impl IntoLazy),*
                    ) -> Result<Self, LazyError> {
                        self.$apply(ScalarOp::$op, $($argument),*)
                    }
                )*
            }
        }
    };
}

macro_rules! binary {
    ($( [$($doc:tt)*] $method:ident $op:ident; )*) => {
        checked! { $( [$($doc)*] $method $op try_apply(other); )* }
    };
}

burn_lazy_kernels::binary_methods!(binary);

macro_rules! ternary {
    ($( [$($doc:tt)*] $method:ident $op:ident; )*) => {
        checked! { $( [$($doc)*] $method $op try_apply_three(second, third); )* }
    };
}

burn_lazy_kernels::ternary_methods!(ternary);

impl LazyTensor {
    /// Applies a scalar function of two arguments to each component of this and another formula. All operators and
    /// functions of two arguments that work component by component use this method.
    ///
    /// # Errors
    /// If the inner dimensions do not fit, or the operands do not fit together.
    pub fn try_apply(&self, op: ScalarOp, other: impl IntoLazy) -> Result<Self, LazyError> {
        let other = other.into_lazy()?;
        self.check_broadcast(op.name(), &other)?;
        if let Some(result) = self.compare_whole(op, &other) {
            return result;
        }
        let expr = Expr::scalar(op, vec![self.expr.clone(), other.expr.clone()]);
        Self::combine(expr, &[self, &other])
    }

    /// Applies a scalar function of three arguments to each component of this and two other formulas.
    ///
    /// # Errors
    /// If the inner dimensions do not fit, or the operands do not fit together.
    pub fn try_apply_three(
        &self,
        op: ScalarOp,
        second: impl IntoLazy,
        third: impl IntoLazy,
    ) -> Result<Self, LazyError> {
        let (second, third) = (second.into_lazy()?, third.into_lazy()?);
        for (left, right) in [(self, &second), (self, &third), (&second, &third)] {
            left.check_broadcast(op.name(), right)?;
        }
        let args = [self, &second, &third].map(|part| part.expr.clone());
        Self::combine(Expr::scalar(op, args.to_vec()), &[self, &second, &third])
    }
}

/// Implements an operator for a type and for references to it. The right side is anything that implements `$right`.
macro_rules! operator {
    ($own:ty, $right:ident: $trait:ident $method:ident $try:ident) => {
        crate::arithmetic::operator!(@for $own, $own, $right: $trait $method $try);
        crate::arithmetic::operator!(@for &$own, $own, $right: $trait $method $try);
    };
    (@for $left:ty, $own:ty, $right:ident: $trait:ident $method:ident $try:ident) => {
        impl<T: $right> $trait<T> for $left {
            type Output = $own;
            #[track_caller]
            fn $method(self, other: T) -> $own {
                expect(self.$try(other))
            }
        }
    };
}
pub(crate) use operator;

/// Implements operators for formulas, also with a number or a tensor on the left.
macro_rules! formula_operators {
    ($($trait:ident $method:ident $try:ident)*) => {$(
        operator!(LazyTensor, IntoLazy: $trait $method $try);

        // `f32` is left out: with a single floating point type, `(1.0 - k).sqrt()` needs no type annotation.
        formula_operators!(@left $trait $method $try; (f64) (i32));

        formula_operators!(@left $trait $method $try;
            (Tensor<R, K>, const R: usize, K: Basic) (&Tensor<R, K>, const R: usize, K: Basic)
        );
    )*};
    (@left $trait:ident $method:ident $try:ident; $(($left:ty $(, $($generic:tt)+)?))*) => {$(
        impl $(<$($generic)+>)? $trait<LazyTensor> for $left {
            type Output = LazyTensor;
            #[track_caller]
            fn $method(self, other: LazyTensor) -> LazyTensor {
                expect(self.into_lazy().and_then(|left| left.$try(other)))
            }
        }

        impl $(<$($generic)+>)? $trait<&LazyTensor> for $left {
            type Output = LazyTensor;
            #[track_caller]
            fn $method(self, other: &LazyTensor) -> LazyTensor {
                expect(self.into_lazy().and_then(|left| left.$try(other)))
            }
        }
    )*};
}

formula_operators! {
    Add add try_add
    Sub sub try_sub
    Mul mul try_mul
    Div div try_div
    BitOr bitor try_dot
}

impl Neg for LazyTensor {
    type Output = LazyTensor;

    fn neg(self) -> LazyTensor {
        self.negate()
    }
}

impl Neg for &LazyTensor {
    type Output = LazyTensor;

    fn neg(self) -> LazyTensor {
        self.negate()
    }
}
