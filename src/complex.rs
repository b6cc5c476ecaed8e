//! Complex formulas, as pairs of real ones.

use std::ops::{Add, Div, Mul, Neg, Sub};

use burn::tensor::Tensor;

use crate::{
    error::LazyError,
    lazy::{IntoLazy, LazyTensor, expect},
    reduce::Axes,
};

/// A complex number of any kind: `Complex<LazyTensor>` is a complex formula, `Complex<Tensor<R>>` what
/// its reduction gives.
///
/// Complex formulas have the operations of complex numbers; derivatives are those of the two real
/// formulas, through Burn's autodiff or [`LazyTensor::grad`].
///
/// ```
/// # #[cfg(feature = "cpu")] {
/// use burn::prelude::*;
/// use burn_lazy::{Axis, Complex, LazyTensor};
///
/// // Fourier sums a_i = sum_j e^{i x_i w_j} b_j, here at x = pi.
/// let device = Device::cpu();
/// let x = LazyTensor::vi(Tensor::<2>::full([1, 1], std::f64::consts::PI, &device));
/// let w = LazyTensor::vj(Tensor::<2>::from_data([[0.0], [1.0], [2.0]], &device));
/// let b = Tensor::<2>::from_data([[1.0], [2.0], [4.0]], &device);
/// let a: Complex<Tensor<2>> = ((x * w).exp1j() * LazyTensor::vj(b)).sum(Axis::J);
/// let (re, im) = (a.re.into_scalar::<f32>(), a.im.into_scalar::<f32>());
/// assert!((re - 3.0).abs() < 1e-5 && im.abs() < 1e-5);
/// # }
/// ```
#[derive(Clone, Debug)]
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
        let zero = expect(self.try_zero());
        Complex::new(self.clone(), zero)
    }

    /// This formula as an imaginary part: $i f$.
    pub fn imag2complex(&self) -> Complex<LazyTensor> {
        let zero = expect(self.try_zero());
        Complex::new(zero, self.clone())
    }

    /// $e^{i f} = \cos f + i \sin f$.
    pub fn exp1j(&self) -> Complex<LazyTensor> {
        Complex::new(self.cos(), self.sin())
    }

    fn try_zero(&self) -> Result<Self, LazyError> {
        let zero = burn_lazy_kernels::Expr::constant(0.0);
        Self::combine(zero.expand(self.dim()), &[self])
    }
}

/// The right-hand side of an operator on complex formulas: complex, real, a tensor or a number.
pub trait IntoComplex {
    /// Both parts; no imaginary one of what is real.
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
    #[track_caller]
    pub fn square_abs(&self) -> LazyTensor {
        self.re.square() + self.im.square()
    }

    /// The absolute value; its gradient at 0 is 0. Of rows, columns and parameters it is right in the whole range
    /// of the type; of pairs where the squares are in it, as [`LazyTensor::norm`].
    #[track_caller]
    pub fn abs(&self) -> LazyTensor {
        let pairs = [&self.re, &self.im]
            .iter()
            .fold((false, false), |(i, j), part| {
                let own = part.expr.dependence();
                (i || own.i, j || own.j)
            });
        match pairs {
            (true, true) => self.square_abs().sqrt(),
            _ => self.re.hypot(&self.im),
        }
    }

    /// The angle, from $-\pi$ to $\pi$; its gradient at 0 is 0.
    #[track_caller]
    pub fn angle(&self) -> LazyTensor {
        self.im.atan2(&self.re)
    }

    /// $e^{re} (\cos im + i \sin im)$.
    #[track_caller]
    pub fn exp(&self) -> Self {
        let size = self.re.exp();
        Self::new(&size * self.im.cos(), size * self.im.sin())
    }

    /// $1 / z$, without overflow where the result has none.
    #[track_caller]
    pub fn recip(&self) -> Self {
        // Smith, "Algorithm 116: complex division", 1962, without its branches.
        let scale = self.re.abs().maximum(self.im.abs()).recip();
        let (re, im) = (&self.re * &scale, &self.im * &scale);
        let factor = scale / (re.square() + im.square());
        Self::new(re * &factor, -(im * factor))
    }

    /// The sum over the inner axis.
    pub fn inner_sum(&self) -> Self {
        Self::new(self.re.inner_sum(), self.im.inner_sum())
    }

    /// The bilinear product over the inner axis, $\sum_k a_k b_k$; of neither side the conjugate is
    /// taken.
    #[track_caller]
    pub fn dot(&self, other: impl IntoComplex) -> Self {
        (self * other).inner_sum()
    }

    /// Components `range` of the inner axis.
    #[track_caller]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        Self::new(self.re.slice(range.clone()), self.im.slice(range))
    }

    /// Component `index` of the inner axis.
    #[track_caller]
    pub fn elem(&self, index: usize) -> Self {
        self.slice(index..index + 1)
    }

    /// The sum over a symbolic axis, in one pass over the pairs; shaped as
    /// [`LazyTensor::sum`].
    ///
    /// # Panics
    /// Where [`LazyTensor::sum`] does.
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
        // Both parts as wide as the wider one.
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
    /// Where [`LazyTensor::matmul`] does.
    #[track_caller]
    pub fn matmul<const R: usize>(&self, b: Complex<Tensor<R>>) -> Complex<Tensor<R>> {
        let b = Complex::new(LazyTensor::vj(b.re), LazyTensor::vj(b.im));
        (self * b).sum(crate::Axis::J)
    }
}

fn sum(
    a: &Complex<LazyTensor>,
    (re, im): (LazyTensor, Option<LazyTensor>),
) -> Result<Complex<LazyTensor>, LazyError> {
    let imaginary = match im {
        Some(im) => a.im.try_add(im)?,
        None => a.im.clone(),
    };
    Ok(Complex::new(a.re.try_add(re)?, imaginary))
}

fn difference(
    a: &Complex<LazyTensor>,
    (re, im): (LazyTensor, Option<LazyTensor>),
) -> Result<Complex<LazyTensor>, LazyError> {
    sum(a, (re.negate(), im.map(|im| im.negate())))
}

fn product(
    a: &Complex<LazyTensor>,
    (re, im): (LazyTensor, Option<LazyTensor>),
) -> Result<Complex<LazyTensor>, LazyError> {
    let (real, imaginary) = (a.re.try_mul(&re)?, a.im.try_mul(&re)?);
    Ok(match im {
        Some(im) => Complex::new(
            real.try_sub(a.im.try_mul(&im)?)?,
            imaginary.try_add(a.re.try_mul(im)?)?,
        ),
        None => Complex::new(real, imaginary),
    })
}

fn quotient(
    a: &Complex<LazyTensor>,
    (re, im): (LazyTensor, Option<LazyTensor>),
) -> Result<Complex<LazyTensor>, LazyError> {
    match im {
        Some(im) => product(a, Complex::new(re, im).recip().into_parts()?),
        None => Ok(Complex::new(a.re.try_div(&re)?, a.im.try_div(re)?)),
    }
}

macro_rules! operator {
    ($($trait:ident $method:ident $function:ident)*) => {$(
        impl<T: IntoComplex> $trait<T> for Complex<LazyTensor> {
            type Output = Complex<LazyTensor>;
            #[track_caller]
            fn $method(self, other: T) -> Complex<LazyTensor> {
                expect(other.into_parts().and_then(|other| $function(&self, other)))
            }
        }

        impl<T: IntoComplex> $trait<T> for &Complex<LazyTensor> {
            type Output = Complex<LazyTensor>;
            #[track_caller]
            fn $method(self, other: T) -> Complex<LazyTensor> {
                expect(other.into_parts().and_then(|other| $function(self, other)))
            }
        }
    )*};
}

operator! {
    Add add sum
    Sub sub difference
    Mul mul product
    Div div quotient
}

impl Neg for Complex<LazyTensor> {
    type Output = Complex<LazyTensor>;

    fn neg(self) -> Complex<LazyTensor> {
        Complex::new(self.re.negate(), self.im.negate())
    }
}
