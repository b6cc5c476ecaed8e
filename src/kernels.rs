//! Common kernels, as formulas.
//!
//! `x` and `y` are points, `[.., M, D]` and `[.., N, D]`. Parameters are numbers, tensors (which are learned if
//! autodiff tracks them) or formulas. A length scale has one component, or D components: one for each coordinate
//! ("automatic relevance determination"). Kernels are formulas, so `+`, `*` and functions of kernels give further
//! kernels.
//!
//! ```
//! # #[cfg(all(feature = "flex", feature = "autodiff"))] {
//! use burn::prelude::*;
//! use burn_lazy::{Axis, LazyTensor, kernels};
//!
//! let device = Device::default().autodiff();
//! let x = LazyTensor::vi(Tensor::<2>::from_data([[0.0, 1.0], [2.0, 1.0]], &device));
//! let y = LazyTensor::vj(Tensor::<2>::from_data([[0.0, 0.0]], &device));
//! let scales = Tensor::<1>::from_data([1.0, 2.0], &device).require_grad();
//! let k = kernels::gaussian(&x, &y, scales.clone()) + kernels::polynomial(&x, &y, 2, 1.0, 0.5) * 0.1;
//! let sums: Tensor<2> = k.sum(Axis::J);
//! let gradient = scales.grad(&sums.sum().backward()).unwrap();
//! assert_eq!(gradient.dims(), [2]);
//! # }
//! ```
//!
//! All functions panic at the caller's line if the dimensions do not fit, or the operands do not fit
//! together; their `try_` forms return an error.

use std::f64::consts::PI;

use crate::{
    error::LazyError,
    lazy::{IntoLazy, LazyTensor, expect},
};

/// Defines a kernel and its `try_` form.
macro_rules! kernels {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident / $try:ident ($x:ident, $y:ident $(, $arg:ident: $type:ty)*) => $body:expr;
    )*) => {$(
        $(#[doc = $doc])*
        ///
        /// # Panics
        /// If the dimensions do not fit, or the operands do not fit together.
        #[track_caller]
        pub fn $name($x: &LazyTensor, $y: &LazyTensor $(, $arg: $type)*) -> LazyTensor {
            expect($try($x, $y $(, $arg)*))
        }

        #[doc = concat!(
            "Like [`", stringify!($name), "`], with an error instead of a panic."
        )]
        pub fn $try(
            $x: &LazyTensor,
            $y: &LazyTensor
            $(, $arg: $type)*
        ) -> Result<LazyTensor, LazyError> {
            $body
        }
    )*};
}

/// The difference in units of the length scale.
fn scaled(
    x: &LazyTensor,
    y: &LazyTensor,
    length_scale: impl IntoLazy,
) -> Result<LazyTensor, LazyError> {
    x.try_sub(y)?.try_div(length_scale)
}

/// The Matérn kernel of smoothness $n + 1/2$, a function of the square $(2 n + 1) r^2$.
fn matern(
    x: &LazyTensor,
    y: &LazyTensor,
    length_scale: impl IntoLazy,
    n: u32,
) -> Result<LazyTensor, LazyError> {
    let square = scaled(x, y, length_scale)?.sqnorm();
    Ok((square * f64::from(2 * n + 1)).matern(n))
}

kernels! {
    /// The Gaussian or RBF kernel $\exp(-r^2 / 2)$ with $r = |(x - y) / \ell|$.
    gaussian / try_gaussian(x, y, length_scale: impl IntoLazy) => {
        Ok((scaled(x, y, length_scale)?.sqnorm() * -0.5).exp())
    };

    /// The Laplacian kernel $\exp(-\sum_k |x_k - y_k| / \ell_k)$, as in scikit-learn. For the kernel with the
    /// Euclidean norm, see [`matern12`].
    laplacian / try_laplacian(x, y, length_scale: impl IntoLazy) => {
        Ok((-scaled(x, y, length_scale)?.abs().inner_sum()).exp())
    };

    /// The Matérn kernel of smoothness 1/2, $\exp(-r)$ with $r = |(x - y) / \ell|$. Where points coincide the
    /// gradient does not exist, and is taken as 0.
    matern12 / try_matern12(x, y, length_scale: impl IntoLazy) => matern(x, y, length_scale, 0);

    /// The Matérn kernel of smoothness 3/2, $(1 + s) e^{-s}$ with $s = \sqrt 3 \, |(x - y) / \ell|$. Its first
    /// and second derivatives, also the mixed ones, are right where points coincide.
    matern32 / try_matern32(x, y, length_scale: impl IntoLazy) => matern(x, y, length_scale, 1);

    /// The Matérn kernel of smoothness 5/2, $(1 + s + s^2 / 3) e^{-s}$ with
    /// $s = \sqrt 5 \, |(x - y) / \ell|$. Its derivatives up to the fourth order are right where points coincide.
    matern52 / try_matern52(x, y, length_scale: impl IntoLazy) => matern(x, y, length_scale, 2);

    /// The rational quadratic kernel $(1 + r^2 / (2 \alpha))^{-\alpha}$ with $r = |(x - y) / \ell|$.
    rational_quadratic / try_rational_quadratic(
        x,
        y,
        length_scale: impl IntoLazy,
        alpha: impl IntoLazy
    ) => {
        let alpha = alpha.into_lazy()?;
        let ratio = scaled(x, y, length_scale)?.sqnorm().try_div(&alpha * 2.0)?;
        Ok((-alpha).try_mul(ratio.log1p())?.exp())
    };

    /// The periodic kernel $\exp(-2 \sum_k \sin^2(\pi (x_k - y_k) / p_k) / \ell_k^2)$.
    periodic / try_periodic(x, y, length_scale: impl IntoLazy, period: impl IntoLazy) => {
        let wave = (scaled(x, y, period)? * PI).sin().try_div(length_scale)?;
        Ok((wave.sqnorm() * -2.0).exp())
    };

    /// The polynomial kernel $(\gamma \langle x, y \rangle + c)^n$.
    polynomial / try_polynomial(
        x,
        y,
        degree: u16,
        gamma: impl IntoLazy,
        constant: impl IntoLazy
    ) => {
        let product = x.try_dot(y)?.try_mul(gamma)?;
        Ok(product.try_add(constant)?.powi(degree.into()))
    };

    /// The cosine kernel $\langle x, y \rangle / (|x| |y|)$; 0 where a point is 0. It is right for points of any
    /// size, as each row and each column is normalised once.
    cosine / try_cosine(x, y) => x.normalize().try_dot(y.normalize());

    /// The kernel of the energy distance, $-|x - y|$: conditionally positive definite.
    energy_distance / try_energy_distance(x, y) => Ok(-x.try_sub(y)?.norm());

    /// The arc-cosine kernel of order 0, 1 or 2 (Cho and Saul, "Kernel methods for deep learning", 2009):
    /// $\frac 1 \pi |x|^n |y|^n J_n(\theta)$ with the angle $\theta$ between the points and
    /// $J_0 = \pi - \theta$, $J_1 = \sin \theta + (\pi - \theta) \cos \theta$,
    /// $J_2 = 3 \sin \theta \cos \theta + (\pi - \theta) (1 + 2 \cos^2 \theta)$. Orders above 2 are an
    /// error.
    arc_cosine / try_arc_cosine(x, y, order: u8) => {
        let cos = try_cosine(x, y)?.clamp(-1.0, 1.0);
        let rest = PI - cos.acos();
        let sizes = x.norm().try_mul(y.norm())? / PI;
        let sin = || (1.0 - cos.square()).sqrt();
        match order {
            0 => Ok(rest / PI),
            1 => Ok(sizes * (sin() + rest * &cos)),
            2 => {
                let j = 3.0 * sin() * &cos + rest * (2.0 * cos.square() + 1.0);
                Ok(sizes.square() * PI * j)
            }
            order => Err(LazyError::KernelOrder { order }),
        }
    };
}
