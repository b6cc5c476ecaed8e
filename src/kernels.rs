//! Common kernels, as formulas.
//!
//! `x` and `y` are points, `[.., M, D]` and `[.., N, D]`. Parameters are numbers, tensors (learnable, if
//! they are tracked) or formulas; a length scale has one component, or D of them: one for each
//! coordinate ("automatic relevance determination"). As kernels are formulas, `+`, `*` and functions
//! of them give further ones.
//!
//! ```
//! # #[cfg(all(feature = "cpu", feature = "autodiff"))] {
//! use burn::prelude::*;
//! use burn_lazy::{Axis, LazyTensor, kernels};
//!
//! let device = Device::cpu().autodiff();
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
//! together.

use std::f64::consts::PI;

use crate::lazy::{IntoLazy, LazyTensor, expect};

/// The difference in units of the length scale.
#[track_caller]
fn scaled(x: &LazyTensor, y: &LazyTensor, length_scale: impl IntoLazy) -> LazyTensor {
    (x - y) / length_scale
}

/// The Gaussian or RBF kernel $\exp(-r^2 / 2)$ with $r = |(x - y) / \ell|$.
#[track_caller]
pub fn gaussian(x: &LazyTensor, y: &LazyTensor, length_scale: impl IntoLazy) -> LazyTensor {
    (scaled(x, y, length_scale).sqnorm() * -0.5).exp()
}

/// The Laplacian kernel $\exp(-\sum_k |x_k - y_k| / \ell_k)$, as scikit-learn's; for the one with the
/// Euclidean norm see [`matern12`].
#[track_caller]
pub fn laplacian(x: &LazyTensor, y: &LazyTensor, length_scale: impl IntoLazy) -> LazyTensor {
    (-scaled(x, y, length_scale).abs().inner_sum()).exp()
}

/// The Matérn kernel of smoothness 1/2, $\exp(-r)$ with $r = |(x - y) / \ell|$; its gradient at $r = 0$
/// is 0.
#[track_caller]
pub fn matern12(x: &LazyTensor, y: &LazyTensor, length_scale: impl IntoLazy) -> LazyTensor {
    (-scaled(x, y, length_scale).norm()).exp()
}

/// The Matérn kernel of smoothness 3/2, $(1 + s) e^{-s}$ with $s = \sqrt 3 \, |(x - y) / \ell|$.
#[track_caller]
pub fn matern32(x: &LazyTensor, y: &LazyTensor, length_scale: impl IntoLazy) -> LazyTensor {
    let s = scaled(x, y, length_scale).norm() * 3f64.sqrt();
    (&s + 1.0) * (-s).exp()
}

/// The Matérn kernel of smoothness 5/2, $(1 + s + s^2 / 3) e^{-s}$ with
/// $s = \sqrt 5 \, |(x - y) / \ell|$.
#[track_caller]
pub fn matern52(x: &LazyTensor, y: &LazyTensor, length_scale: impl IntoLazy) -> LazyTensor {
    let s = scaled(x, y, length_scale).norm() * 5f64.sqrt();
    (s.square() / 3.0 + &s + 1.0) * (-s).exp()
}

/// The rational quadratic kernel $(1 + r^2 / (2 \alpha))^{-\alpha}$ with $r = |(x - y) / \ell|$.
#[track_caller]
pub fn rational_quadratic(
    x: &LazyTensor,
    y: &LazyTensor,
    length_scale: impl IntoLazy,
    alpha: impl IntoLazy,
) -> LazyTensor {
    let alpha = expect(alpha.into_lazy());
    let ratio = scaled(x, y, length_scale).sqnorm() / (&alpha * 2.0);
    (-alpha * ratio.log1p()).exp()
}

/// The periodic kernel $\exp(-2 \sum_k \sin^2(\pi (x_k - y_k) / p_k) / \ell_k^2)$.
#[track_caller]
pub fn periodic(
    x: &LazyTensor,
    y: &LazyTensor,
    length_scale: impl IntoLazy,
    period: impl IntoLazy,
) -> LazyTensor {
    let wave = ((x - y) / period * PI).sin() / length_scale;
    (wave.sqnorm() * -2.0).exp()
}

/// The polynomial kernel $(\gamma \langle x, y \rangle + c)^n$.
#[track_caller]
pub fn polynomial(
    x: &LazyTensor,
    y: &LazyTensor,
    degree: u16,
    gamma: impl IntoLazy,
    constant: impl IntoLazy,
) -> LazyTensor {
    (x.dot(y) * gamma + constant).powi(degree.into())
}

/// The cosine kernel $\langle x, y \rangle / (|x| |y|)$; 0 where a point is 0. Right for points of any size, as
/// points are normalized once a row or column.
#[track_caller]
pub fn cosine(x: &LazyTensor, y: &LazyTensor) -> LazyTensor {
    x.normalize().dot(y.normalize())
}

/// The kernel of the energy distance, $-|x - y|$: conditionally positive definite.
#[track_caller]
pub fn energy_distance(x: &LazyTensor, y: &LazyTensor) -> LazyTensor {
    -(x - y).norm()
}

/// The arc-cosine kernel of order 0, 1 or 2 (Cho and Saul, "Kernel methods for deep learning", 2009):
/// $\frac 1 \pi |x|^n |y|^n J_n(\theta)$ with the angle $\theta$ between the points and
/// $J_0 = \pi - \theta$, $J_1 = \sin \theta + (\pi - \theta) \cos \theta$,
/// $J_2 = 3 \sin \theta \cos \theta + (\pi - \theta) (1 + 2 \cos^2 \theta)$.
///
/// # Panics
/// Also if the order is above 2.
#[track_caller]
pub fn arc_cosine(x: &LazyTensor, y: &LazyTensor, order: u8) -> LazyTensor {
    let cos = cosine(x, y).clamp(-1.0, 1.0);
    let rest = PI - cos.acos();
    let sizes = x.norm() * y.norm() / PI;
    let sin = || (1.0 - cos.square()).sqrt();
    match order {
        0 => rest / PI,
        1 => sizes * (sin() + rest * &cos),
        2 => {
            let j = 3.0 * sin() * &cos + rest * (2.0 * cos.square() + 1.0);
            sizes.square() * PI * j
        }
        _ => panic!("the order of an arc-cosine kernel is 0, 1 or 2, not {order}"),
    }
}
