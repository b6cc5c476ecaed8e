//! Kernels with learned parameters, as modules.
//!
//! A [`Kernel`] makes a symbolic matrix $k(x_i, y_j)$ of two point clouds. Its parameters are trained like those of
//! any module. The formulas are those of [`burn_lazy::kernels`], so a product with such a matrix costs as much as
//! with the plain formula.
//!
//! | kernel | formula | parameters |
//! |---|---|---|
//! | [`Rbf`] | $\exp(-r^2 / 2)$ | length scales |
//! | [`Matern`] | of smoothness 1/2, 3/2 or 5/2 | length scales |
//! | [`RationalQuadratic`] | $(1 + r^2 / 2 \alpha)^{-\alpha}$ | length scales, $\alpha$ |
//! | [`Periodic`] | $\exp(-2 \sum_k \sin^2(\pi (x - y)_k / p_k) / \ell_k^2)$ | length scales, periods |
//! | [`SpectralMixture`] | a sum of Gaussians times cosines | weights, frequencies, variances |
//! | [`Constant`] | $c$ | the constant |
//! | [`Linear`] | $\sum_k v_k x_k y_k$ | variances |
//! | [`Polynomial`] | $(\langle x, y \rangle + c)^n$ | the constant |
//! | [`Cosine`] | $\langle x, y \rangle / (\lvert x \rvert \lvert y \rvert)$ | none |
//! | [`ArcCosine`] | of order 0, 1 or 2 | none |
//!
//! Kernels are composed: `a + b` and `a * b` are [`Sum`] and [`Product`], [`Scale`] multiplies by a variance,
//! [`ActiveDims`] uses some of the coordinates, and [`Warp`] uses features of the points, such as those of a neural
//! network.
//!
//! Length scales, periods and similar parameters are one number for all coordinates, or one for each coordinate:
//! `with_ard(Some(D))` ("automatic relevance determination"). With `with_batch(Some(B))` there are B kernels in a
//! batch, and the formula has the batch dimension `B`.
//!
//! White noise is not a kernel of points, because it depends on whether two points are the same observation. It is
//! added to the diagonal by a Gaussian process, [`ExactGpConfig::noise`](crate::gp::ExactGpConfig::noise).
//!
//! The [guide](crate::guide::kernels) says when to use which kernel.
//!
//! ```
//! # #[cfg(all(feature = "flex", feature = "autodiff"))] {
//! use burn::prelude::*;
//! use burn_lazy::LazyTensor;
//! use burn_lazy_nn::kernel::{ConstantConfig, Kernel, LinearConfig, RbfConfig, ScaleConfig};
//!
//! let device = Device::default().autodiff();
//! let smooth = RbfConfig::new().with_ard(Some(2)).init(&device);
//! let kernel = ScaleConfig::new().with_variance(2.0).init(smooth, &device)
//!     + LinearConfig::new().init(&device) * ConstantConfig::new(0.5).init(&device);
//! let x = Tensor::<2>::from_data([[0.0, 1.0], [2.0, 1.0], [0.5, 0.0]], &device);
//! let k_xx = kernel.forward(&LazyTensor::vi(x.clone()), &LazyTensor::vj(x.clone()));
//! let products: Tensor<2> = k_xx.matmul(Tensor::ones([3, 1], &device));
//! let gradients = products.sum().backward();
//! assert_eq!(kernel.left.kernel.length_scale.raw.val().grad(&gradients).unwrap().dims(), [1, 2]);
//! assert_eq!(kernel.diag(x).dims(), [3, 1]);
//! # }
//! ```

mod composite;
mod inner_product;
mod spectral_mixture;
mod spectrum;
mod stationary;
mod warp;

use burn::{
    module::{Module, ModuleDisplay},
    prelude::*,
};
use burn_lazy::{LazyError, LazyTensor};

pub use composite::{ActiveDims, ActiveDimsConfig, Product, Scale, ScaleConfig, Sum};
pub use inner_product::{
    ArcCosine, ArcCosineConfig, Cosine, CosineConfig, Linear, LinearConfig, Polynomial,
    PolynomialConfig,
};
pub use spectral_mixture::{SpectralMixture, SpectralMixtureConfig};
pub use spectrum::{Spectral, Spectrum};
pub use stationary::{
    Constant, ConstantConfig, Matern, MaternConfig, Periodic, PeriodicConfig, RationalQuadratic,
    RationalQuadraticConfig, Rbf, RbfConfig, Smoothness,
};
pub use warp::{FeatureMap, Warp};

use crate::error::expect;

/// A positive definite function $k(x, y)$ of two points, with parameters.
///
/// A kernel of your own implements [`try_forward`](Self::try_forward), and [`try_diagonal`](Self::try_diagonal) if
/// there is a simpler formula for two equal points. [`Sum::new`] and [`Product::new`] combine it with other
/// kernels.
///
/// ```
/// use burn::prelude::*;
/// use burn_lazy::{LazyError, LazyTensor};
/// use burn_lazy_nn::kernel::Kernel;
///
/// /// The kernel $\min(x, y)$ of the Wiener process.
/// #[derive(Module, Debug)]
/// struct Wiener {}
///
/// impl Kernel for Wiener {
///     const STATIONARY: bool = false;
///
///     fn try_forward(&self, x: &LazyTensor, y: &LazyTensor) -> Result<LazyTensor, LazyError> {
///         x.try_minimum(y)
///     }
/// }
/// # #[cfg(feature = "flex")] {
/// let times = Tensor::<2>::from_data([[1.0], [3.0]], &Device::default());
/// let variances = Wiener {}.diag(times.clone());
/// variances.into_data().assert_eq(&times.into_data(), true);
/// # }
/// ```
pub trait Kernel: Module + ModuleDisplay {
    /// Whether $k(x, y)$ depends on the difference $x - y$ alone, whatever the parameters are.
    const STATIONARY: bool;

    /// The matrix $k(x_i, y_j)$ of a formula `x` of rows and a formula `y` of columns.
    ///
    /// # Shapes
    /// - x: `[batch.., M, D]`, the symbolic shape `[batch.., M, 1, D]`
    /// - y: `[batch.., N, D]`, the symbolic shape `[batch.., 1, N, D]`
    /// - output: the symbolic shape `[batch.., M, N, 1]`
    ///
    /// Batch dimensions broadcast with those of the parameters.
    ///
    /// # Errors
    /// If the points have different numbers of coordinates, if the number of coordinates does not fit the
    /// parameters, or if batch dimensions do not broadcast.
    fn try_forward(&self, x: &LazyTensor, y: &LazyTensor) -> Result<LazyTensor, LazyError>;

    /// The matrix $k(x_i, y_j)$; see [`try_forward`](Self::try_forward).
    ///
    /// # Panics
    /// If [`try_forward`](Self::try_forward) returns an error.
    #[track_caller]
    fn forward(&self, x: &LazyTensor, y: &LazyTensor) -> LazyTensor {
        expect(self.try_forward(x, y))
    }

    /// The diagonal $k(x_i, x_i)$ as a formula of rows, for the rows `x`. It may be a number or a formula of
    /// parameters alone.
    ///
    /// # Errors
    /// As [`try_forward`](Self::try_forward).
    fn try_diagonal(&self, x: &LazyTensor) -> Result<LazyTensor, LazyError> {
        // Both points are formulas of rows, so this is not a formula of pairs.
        self.try_forward(x, x)
    }

    /// The variances $k(x_i, x_i)$, in time proportional to the number of points. Differentiable.
    ///
    /// # Shapes
    /// - x: `[batch.., M, D]`
    /// - output: `[batch.., M, 1]`
    ///
    /// # Errors
    /// As [`try_forward`](Self::try_forward), and if the parameters have a batch and `x` has none.
    fn try_diag<const R: usize>(&self, x: Tensor<R>) -> Result<Tensor<R>, LazyError> {
        let rows = LazyTensor::try_vi(x)?;
        let values = self.try_diagonal(&rows)?;
        // The values may depend on no point. A coordinate of the points adds the number of rows and the type.
        let both = LazyTensor::try_concat(&[values, rows.try_elem(0)?])?;
        let both: Tensor<R> = both.try_evaluate()?;
        Ok(both.narrow(R - 1, 0, 1))
    }

    /// The variances $k(x_i, x_i)$; see [`try_diag`](Self::try_diag).
    ///
    /// # Panics
    /// If [`try_diag`](Self::try_diag) returns an error.
    #[track_caller]
    fn diag<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        expect(self.try_diag(x))
    }
}

/// The matrix $k(x_i, y_j)$ of the points `x`, `[M, D]`, and `y`, `[N, D]`.
pub(crate) fn matrix(
    kernel: &impl Kernel,
    x: &Tensor<2>,
    y: &Tensor<2>,
) -> Result<LazyTensor, LazyError> {
    let (rows, columns) = (
        LazyTensor::try_vi(x.clone())?,
        LazyTensor::try_vj(y.clone())?,
    );
    kernel.try_forward(&rows, &columns)
}

/// Returns an error if the points have different numbers of coordinates. Without this check, points of one
/// coordinate would be broadcast to the number of coordinates of the other points.
fn check_points(x: &LazyTensor, y: &LazyTensor) -> Result<(), LazyError> {
    x.try_dot(y).map(drop)
}

/// Defines `init` of a kernel's configuration, which panics where `try_init` returns an error.
macro_rules! init {
    ($kernel:ident) => {
        /// The kernel, on a device (`&device`) in its default type, or in a given type (`(&device, DType::F64)`).
        ///
        /// # Panics
        /// If [`try_init`](Self::try_init) returns an error.
        #[track_caller]
        pub fn init(&self, options: impl Into<burn::tensor::TensorCreationOptions>) -> $kernel {
            crate::error::expect(self.try_init(options))
        }
    };
}
use init;
