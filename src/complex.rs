//! Complex formulas, as pairs of real ones.

use std::ops::{Add, Div, Mul, Neg, Sub};

use burn::tensor::Tensor;
use burn_lazy_kernels::catalogue::ScalarOp;

use crate::{
    arithmetic::operator,
    error::LazyError,
    lazy::{IntoLazy, LazyTensor, elem, expect},
    reduce::Axes,
};

/// A pair of a real and an imaginary part. `Complex<LazyTensor>` is a complex formula, and `Complex<Tensor<R>>` is
/// the result of its reduction.
///
/// Complex formulas have the operations of complex numbers. Derivatives are those of the two real formulas, through
/// Burn's autodiff or [`LazyTensor::grad`].
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy::{Axis, Complex, LazyTensor};
///
/// // Fourier sums a_i = sum_j e^{i x_i w_j} b_j, here at x = pi.
/// let device = Device::default();
/// let x = LazyTensor::vi(Tensor::<2>::full([1, 1], std::f64::consts::PI, &device));
/// let w = LazyTensor::vj(Tensor::<2>::from_data([[0.0], [1.0], [2.0]], &device));
/// let b = Tensor::<2>::from_data([[1.0], [2.0], [4.0]], &device);
/// let a: Complex<Tensor<2>> = ((x * w).exp1j() * LazyTensor::vj(b)).sum(Axis::J);
/// let (re, im) = (a.re.into_scalar::<f32>(), a.im.into_scalar::<f32>());
/// assert!((re - 3.0).abs() < 1e-5 && im.abs() < 1e-5);
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a formula computes nothing until it is reduced"]
pub struct Complex<T> {
    /// The real part.
    pub re: T,
    /// The imaginary part.
    pub im: T,
}

impl<T> Complex<T> {
    /// $re + i \, im$.
    pub fn new(re: T, im: T) -> Self {
        Self { re, im }
    }
}

impl LazyTensor {
    /// This formula as a complex one: $f + 0 i$.
    pub fn real2complex(&self) -> Complex<LazyTensor> {
        Complex::new(self.clone(), self.zero())
    }

    /// This formula as an imaginary part: $i f$.
    pub fn imag2complex(&self) -> Complex<LazyTensor> {
        Complex::new(self.zero(), self.clone())
    }

    /// $e^{i f} = \cos f + i \sin f$.
    pub fn exp1j(&self) -> Complex<LazyTensor> {
        Complex::new(self.cos(), self.sin())
    }

    fn zero(&self) -> Self {
        let zero = burn_lazy_kernels::Expr::constant(0.0);
        self.map(zero.expand(self.dim()))
    }
}

/// The right-hand side of an operator on complex formulas: complex, real, a tensor or a number.
pub trait IntoComplex {
    /// The real and the imaginary part. A real value has no imaginary part.
    fn into_parts(self) -> Result<(LazyTensor, Option<LazyTensor>), LazyError>;
}

impl IntoComplex for Complex<LazyTensor> {
    fn into_parts(self) -> Result<(LazyTensor, Option<LazyTensor>), LazyError> {
        Ok((self.re, Some(self.im)))
    }
}

impl IntoComplex for &Complex<LazyTensor> {
    fn into_parts(self) -> Result<(LazyTensor, Option<LazyTensor>), LazyError> {
        self.clone().into_parts()
    }
}

impl<T: IntoLazy> IntoComplex for T {
    fn into_parts(self) -> Result<(LazyTensor, Option<LazyTensor>), LazyError> {
        Ok((self.into_lazy()?, None))
    }
}

impl Complex<LazyTensor> {
    /// The conjugate, $re - i \, im$.
    pub fn conj(&self) -> Self {
        Self::new(self.re.clone(), self.im.negate())
    }

    /// The squared absolute value, $re^2 + im^2$.
    ///
    /// # Panics
    /// If the parts do not fit together.
    #[track_caller]
    pub fn square_abs(&self) -> LazyTensor {
        expect(self.try_square_abs())
    }

    /// Like [`square_abs`](Self::square_abs), with an error instead of a panic.
    pub fn try_square_abs(&self) -> Result<LazyTensor, LazyError> {
        self.re.square().try_add(self.im.square())
    }

    /// The absolute value; its gradient at 0 is 0. For rows, columns and parameters it is right in the whole range of
    /// the type. For pairs it is right where the squares are in the range, as for [`LazyTensor::norm`].
    ///
    /// # Panics
    /// If the parts do not fit together.
    #[track_caller]
    pub fn abs(&self) -> LazyTensor {
        expect(self.try_abs())
    }

    /// Like [`abs`](Self::abs), with an error instead of a panic.
    pub fn try_abs(&self) -> Result<LazyTensor, LazyError> {
        let (re, im) = (self.re.expr.dependence(), self.im.expr.dependence());
        let dependence = re.union(im);
        match dependence.i && dependence.j {
            true => Ok(self.try_square_abs()?.sqrt()),
            false => self.re.try_hypot(&self.im),
        }
    }

    /// The angle, from $-\pi$ to $\pi$; its gradient at 0 is 0.
    ///
    /// # Panics
    /// If the parts do not fit together.
    #[track_caller]
    pub fn angle(&self) -> LazyTensor {
        expect(self.try_angle())
    }

    /// Like [`angle`](Self::angle), with an error instead of a panic.
    pub fn try_angle(&self) -> Result<LazyTensor, LazyError> {
        self.im.try_atan2(&self.re)
    }

    /// $e^{re} (\cos im + i \sin im)$.
    ///
    /// # Panics
    /// If the parts do not fit together.
    #[track_caller]
    pub fn exp(&self) -> Self {
        expect(self.try_exp())
    }

    /// Like [`exp`](Self::exp), with an error instead of a panic.
    pub fn try_exp(&self) -> Result<Self, LazyError> {
        let size = self.re.exp();
        Ok(Self::new(
            size.try_mul(self.im.cos())?,
            size.try_mul(self.im.sin())?,
        ))
    }

    /// $1 / z$. Intermediate values do not overflow where the result does not.
    ///
    /// # Panics
    /// If the parts do not fit together.
    #[track_caller]
    pub fn recip(&self) -> Self {
        expect(self.try_recip())
    }

    /// Like [`recip`](Self::recip), with an error instead of a panic.
    pub fn try_recip(&self) -> Result<Self, LazyError> {
        // Smith, "Algorithm 116: complex division", 1962, without its branches.
        let scale = self.re.abs().try_maximum(self.im.abs())?.recip();
        let (re, im) = (self.re.try_mul(&scale)?, self.im.try_mul(&scale)?);
        let factor = scale.try_div(re.square().try_add(im.square())?)?;
        Ok(Self::new(
            re.try_mul(&factor)?,
            im.try_mul(factor)?.negate(),
        ))
    }

    /// The sum over the inner axis.
    pub fn inner_sum(&self) -> Self {
        Self::new(self.re.inner_sum(), self.im.inner_sum())
    }

    /// The bilinear product over the inner axis, $\sum_k a_k b_k$. Neither side is conjugated.
    ///
    /// # Panics
    /// If the inner dimensions do not fit, or the operands do not fit together.
    #[track_caller]
    pub fn dot(&self, other: impl IntoComplex) -> Self {
        expect(self.try_dot(other))
    }

    /// Like [`dot`](Self::dot), with an error instead of a panic.
    pub fn try_dot(&self, other: impl IntoComplex) -> Result<Self, LazyError> {
        Ok(self.try_mul(other)?.inner_sum())
    }

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
        Ok(Self::new(
            self.re.try_slice(range.clone())?,
            self.im.try_slice(range)?,
        ))
    }

    elem!();

    /// The sum over a symbolic axis, in one pass over the pairs; shaped as
    /// [`LazyTensor::sum`].
    ///
    /// # Panics
    /// In the same cases as [`LazyTensor::sum`].
    #[track_caller]
    pub fn sum<const R: usize>(&self, axis: impl Into<Axes>) -> Complex<Tensor<R>> {
        expect(self.try_sum(axis))
    }

    /// Like [`sum`](Self::sum), with an error instead of a panic.
    pub fn try_sum<const R: usize>(
        &self,
        axis: impl Into<Axes>,
    ) -> Result<Complex<Tensor<R>>, LazyError> {
        let dim = self.re.dim().max(self.im.dim());
        // A part of one component is repeated, so that both parts have the same number of components.
        let wide = |part: &LazyTensor| match part.dim() {
            1 => part.map(part.expr.expand(dim)),
            _ => part.clone(),
        };
        let both = LazyTensor::try_concat(&[wide(&self.re), wide(&self.im)])?;
        let sums: Tensor<R> = both.try_sum(axis)?;
        Ok(Complex::new(
            sums.clone().narrow(R - 1, 0, dim),
            sums.narrow(R - 1, dim, dim),
        ))
    }

    /// The product of this symbolic matrix of one component with a tensor `[batch.., N, E]`:
    /// $a_{ie} = \sum_j z_{ij} b_{je}$.
    ///
    /// # Panics
    /// In the same cases as [`LazyTensor::matmul`].
    #[track_caller]
    pub fn matmul<const R: usize>(&self, b: Complex<Tensor<R>>) -> Complex<Tensor<R>> {
        expect(self.try_matmul(b))
    }

    /// Like [`matmul`](Self::matmul), with an error instead of a panic.
    pub fn try_matmul<const R: usize>(
        &self,
        b: Complex<Tensor<R>>,
    ) -> Result<Complex<Tensor<R>>, LazyError> {
        let b = Complex::new(LazyTensor::try_vj(b.re)?, LazyTensor::try_vj(b.im)?);
        self.try_mul(b)?.try_sum(crate::Axis::J)
    }
}

/// Operators as methods that return an error.
impl Complex<LazyTensor> {
    /// The sum `self + other`, or an error.
    pub fn try_add(&self, other: impl IntoComplex) -> Result<Self, LazyError> {
        self.try_apply_to_parts(ScalarOp::Add, other)
    }

    /// The difference `self - other`, or an error.
    pub fn try_sub(&self, other: impl IntoComplex) -> Result<Self, LazyError> {
        self.try_apply_to_parts(ScalarOp::Sub, other)
    }

    /// Applies `op` to the real parts and to the imaginary parts. If `other` is real, the imaginary part stays as it
    /// is.
    fn try_apply_to_parts(&self, op: ScalarOp, other: impl IntoComplex) -> Result<Self, LazyError> {
        let (re, im) = other.into_parts()?;
        let imaginary = match im {
            Some(im) => self.im.try_apply(op, im)?,
            None => self.im.clone(),
        };
        Ok(Self::new(self.re.try_apply(op, re)?, imaginary))
    }

    /// The product `self * other`, or an error.
    pub fn try_mul(&self, other: impl IntoComplex) -> Result<Self, LazyError> {
        let (re, im) = other.into_parts()?;
        let (real, imaginary) = (self.re.try_mul(&re)?, self.im.try_mul(&re)?);
        Ok(match im {
            Some(im) => Self::new(
                real.try_sub(self.im.try_mul(&im)?)?,
                imaginary.try_add(self.re.try_mul(im)?)?,
            ),
            None => Self::new(real, imaginary),
        })
    }

    /// The quotient `self / other`, or an error.
    pub fn try_div(&self, other: impl IntoComplex) -> Result<Self, LazyError> {
        let (re, im) = other.into_parts()?;
        match im {
            Some(im) => self.try_mul(Self::new(re, im).try_recip()?),
            None => Ok(Self::new(self.re.try_div(&re)?, self.im.try_div(re)?)),
        }
    }
}

operator!(Complex<LazyTensor>, IntoComplex: Add add try_add);
operator!(Complex<LazyTensor>, IntoComplex: Sub sub try_sub);
operator!(Complex<LazyTensor>, IntoComplex: Mul mul try_mul);
operator!(Complex<LazyTensor>, IntoComplex: Div div try_div);

impl Neg for Complex<LazyTensor> {
    type Output = Complex<LazyTensor>;

    fn neg(self) -> Complex<LazyTensor> {
        Complex::new(self.re.negate(), self.im.negate())
    }
}
