//! Kernels that depend on the difference of two points.

use burn::{prelude::*, tensor::TensorCreationOptions};
use burn_lazy::{IntoLazy, LazyError, LazyTensor, kernels};

use super::{Kernel, check_points, init};
use crate::{
    error::LayerError,
    positive::{Positive, PositiveConfig},
};

/// A parameter with one number, or one for each coordinate, whose initial values are `value`.
pub(super) fn parameter(
    value: f64,
    ard: Option<usize>,
    batch: Option<usize>,
    options: impl Into<TensorCreationOptions>,
) -> Result<Positive, LayerError> {
    PositiveConfig::new(vec![value; ard.unwrap_or(1)])
        .with_batch(batch)
        .try_init(options)
}

/// The diagonal of a kernel that is 1 for equal points. It is an error if the points do not fit the length scales.
fn ones(length_scale: &Positive, x: &LazyTensor) -> Result<LazyTensor, LazyError> {
    // If the length scales have a batch, the diagonal has the same batch.
    let parts = [1.0.into_lazy()?, length_scale.by_coordinate(x)?];
    LazyTensor::try_concat(&parts)?.try_elem(0)
}

/// Configuration to create an [`Rbf`] kernel with [`init`](RbfConfig::init).
#[derive(Config, Debug)]
pub struct RbfConfig {
    /// The number of coordinates, if each has a length scale of its own.
    pub ard: Option<usize>,
    /// The number of kernels in a batch, if there is one.
    pub batch: Option<usize>,
    /// The initial length scales.
    #[config(default = "core::f64::consts::LN_2")]
    pub length_scale: f64,
}

impl RbfConfig {
    init!(Rbf);

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// If the length scale is not positive and finite, or there are no coordinates, or the batch has no kernels.
    pub fn try_init(&self, options: impl Into<TensorCreationOptions>) -> Result<Rbf, LayerError> {
        Ok(Rbf {
            length_scale: parameter(self.length_scale, self.ard, self.batch, options)?,
        })
    }
}

/// The Gaussian kernel $\exp(-r^2 / 2)$ with $r = |(x - y) / \ell|$, also called the squared exponential or radial
/// basis function kernel (Rasmussen and Williams, "Gaussian processes for machine learning", 2006, 4.2).
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy::{Axis, LazyTensor};
/// use burn_lazy_nn::kernel::{Kernel, RbfConfig};
///
/// let device = Device::default();
/// let kernel = RbfConfig::new().with_length_scale(2.0).init(&device);
/// let x = LazyTensor::vi(Tensor::<2>::from_data([[0.0], [2.0]], &device));
/// let y = LazyTensor::vj(Tensor::<2>::from_data([[0.0]], &device));
/// let values: Tensor<2> = kernel.forward(&x, &y).sum(Axis::J);
/// let expected = TensorData::from([[1.0f32], [(-0.5f32).exp()]]);
/// values.into_data().assert_approx_eq::<f32>(&expected, Default::default());
/// # }
/// ```
#[derive(Module, Debug)]
pub struct Rbf {
    /// $\ell$.
    pub length_scale: Positive,
}

impl Kernel for Rbf {
    const STATIONARY: bool = true;

    fn try_forward(&self, x: &LazyTensor, y: &LazyTensor) -> Result<LazyTensor, LazyError> {
        check_points(x, y)?;
        kernels::try_gaussian(x, y, self.length_scale.by_coordinate(x)?)
    }

    fn try_diagonal(&self, x: &LazyTensor) -> Result<LazyTensor, LazyError> {
        ones(&self.length_scale, x)
    }
}

/// How often a process with a [`Matern`] kernel can be differentiated.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Smoothness {
    /// $\nu = 1/2$: continuous, not differentiable.
    Half,
    /// $\nu = 3/2$: once differentiable.
    ThreeHalves,
    /// $\nu = 5/2$: twice differentiable.
    FiveHalves,
}

/// Configuration to create a [`Matern`] kernel with [`init`](MaternConfig::init).
#[derive(Config, Debug)]
pub struct MaternConfig {
    /// $\nu$.
    pub smoothness: Smoothness,
    /// The number of coordinates, if each has a length scale of its own.
    pub ard: Option<usize>,
    /// The number of kernels in a batch, if there is one.
    pub batch: Option<usize>,
    /// The initial length scales.
    #[config(default = "core::f64::consts::LN_2")]
    pub length_scale: f64,
}

impl MaternConfig {
    init!(Matern);

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// If the length scale is not positive and finite, or there are no coordinates, or the batch has no kernels.
    pub fn try_init(
        &self,
        options: impl Into<TensorCreationOptions>,
    ) -> Result<Matern, LayerError> {
        Ok(Matern {
            length_scale: parameter(self.length_scale, self.ard, self.batch, options)?,
            smoothness: self.smoothness,
        })
    }
}

/// The Matérn kernel (Rasmussen and Williams, 2006, 4.2), with $r = |(x - y) / \ell|$:
///
/// - $e^{-r}$ for smoothness 1/2,
/// - $(1 + \sqrt 3 r) e^{-\sqrt 3 r}$ for smoothness 3/2,
/// - $(1 + \sqrt 5 r + 5 r^2 / 3) e^{-\sqrt 5 r}$ for smoothness 5/2.
///
/// For smoothness 3/2 and 5/2 the first derivatives are correct where points coincide. The kernel of smoothness 1/2
/// has no derivative there; 0 is used.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy::LazyTensor;
/// use burn_lazy_nn::kernel::{Kernel, MaternConfig, Smoothness};
///
/// let device = Device::default();
/// let kernel = MaternConfig::new(Smoothness::FiveHalves).init(&device);
/// let x = Tensor::<2>::from_data([[0.0, 1.0], [2.0, 1.0]], &device);
/// let k_xx = kernel.forward(&LazyTensor::vi(x.clone()), &LazyTensor::vj(x));
/// assert_eq!(k_xx.shape(), [2, 2, 1]);
/// # }
/// ```
#[derive(Module, Debug)]
pub struct Matern {
    /// $\ell$.
    pub length_scale: Positive,
    #[module(skip)]
    smoothness: Smoothness,
}

impl Matern {
    /// $\nu$.
    #[must_use]
    pub fn smoothness(&self) -> Smoothness {
        self.smoothness
    }
}

impl Kernel for Matern {
    const STATIONARY: bool = true;

    fn try_forward(&self, x: &LazyTensor, y: &LazyTensor) -> Result<LazyTensor, LazyError> {
        check_points(x, y)?;
        let length_scale = self.length_scale.by_coordinate(x)?;
        match self.smoothness {
            Smoothness::Half => kernels::try_matern12(x, y, length_scale),
            Smoothness::ThreeHalves => kernels::try_matern32(x, y, length_scale),
            Smoothness::FiveHalves => kernels::try_matern52(x, y, length_scale),
        }
    }

    fn try_diagonal(&self, x: &LazyTensor) -> Result<LazyTensor, LazyError> {
        ones(&self.length_scale, x)
    }
}

/// Configuration to create a [`RationalQuadratic`] kernel with [`init`](RationalQuadraticConfig::init).
#[derive(Config, Debug)]
pub struct RationalQuadraticConfig {
    /// The number of coordinates, if each has a length scale of its own.
    pub ard: Option<usize>,
    /// The number of kernels in a batch, if there is one.
    pub batch: Option<usize>,
    /// The initial length scales.
    #[config(default = "core::f64::consts::LN_2")]
    pub length_scale: f64,
    /// The initial value of $\alpha$.
    #[config(default = 1.0)]
    pub alpha: f64,
}

impl RationalQuadraticConfig {
    init!(RationalQuadratic);

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// If a number is not positive and finite, or there are no coordinates, or the batch has no kernels.
    pub fn try_init(
        &self,
        options: impl Into<TensorCreationOptions>,
    ) -> Result<RationalQuadratic, LayerError> {
        let options = options.into();
        Ok(RationalQuadratic {
            length_scale: parameter(self.length_scale, self.ard, self.batch, options.clone())?,
            alpha: parameter(self.alpha, None, self.batch, options)?,
        })
    }
}

/// The rational quadratic kernel $(1 + r^2 / (2 \alpha))^{-\alpha}$ with $r = |(x - y) / \ell|$, a mixture of Gaussian
/// kernels of many length scales (Rasmussen and Williams, 2006, 4.2).
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy_nn::kernel::{Kernel, RationalQuadraticConfig};
///
/// let device = Device::default();
/// let kernel = RationalQuadraticConfig::new().with_alpha(0.5).init(&device);
/// assert_eq!(kernel.diag(Tensor::<2>::zeros([4, 3], &device)).dims(), [4, 1]);
/// # }
/// ```
#[derive(Module, Debug)]
pub struct RationalQuadratic {
    /// $\ell$.
    pub length_scale: Positive,
    /// $\alpha$.
    pub alpha: Positive,
}

impl Kernel for RationalQuadratic {
    const STATIONARY: bool = true;

    fn try_forward(&self, x: &LazyTensor, y: &LazyTensor) -> Result<LazyTensor, LazyError> {
        check_points(x, y)?;
        let length_scale = self.length_scale.by_coordinate(x)?;
        kernels::try_rational_quadratic(x, y, length_scale, self.alpha.of(x)?)
    }

    fn try_diagonal(&self, x: &LazyTensor) -> Result<LazyTensor, LazyError> {
        ones(&self.length_scale, x)
    }
}

/// Configuration to create a [`Periodic`] kernel with [`init`](PeriodicConfig::init).
#[derive(Config, Debug)]
pub struct PeriodicConfig {
    /// The number of coordinates, if each has a length scale and a period of its own.
    pub ard: Option<usize>,
    /// The number of kernels in a batch, if there is one.
    pub batch: Option<usize>,
    /// The initial length scales.
    #[config(default = "core::f64::consts::LN_2")]
    pub length_scale: f64,
    /// The initial periods.
    #[config(default = 1.0)]
    pub period: f64,
}

impl PeriodicConfig {
    init!(Periodic);

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// If a number is not positive and finite, or there are no coordinates, or the batch has no kernels.
    pub fn try_init(
        &self,
        options: impl Into<TensorCreationOptions>,
    ) -> Result<Periodic, LayerError> {
        let options = options.into();
        Ok(Periodic {
            length_scale: parameter(self.length_scale, self.ard, self.batch, options.clone())?,
            period: parameter(self.period, self.ard, self.batch, options)?,
        })
    }
}

/// The periodic kernel $\exp(-2 \sum_k \sin^2(\pi (x_k - y_k) / p_k) / \ell_k^2)$ (MacKay, "Introduction to Gaussian
/// processes", 1998).
///
/// It is a product over coordinates. scikit-learn's `ExpSineSquared` takes the sine of the distance instead, which
/// is the same for points of one coordinate.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy::{Axis, LazyTensor};
/// use burn_lazy_nn::kernel::{Kernel, PeriodicConfig};
///
/// let device = Device::default();
/// let kernel = PeriodicConfig::new().with_period(3.0).init(&device);
/// let x = LazyTensor::vi(Tensor::<2>::from_data([[0.0]], &device));
/// let y = LazyTensor::vj(Tensor::<2>::from_data([[6.0]], &device));
/// let value: Tensor<2> = kernel.forward(&x, &y).sum(Axis::J);
/// assert!((value.into_scalar::<f32>() - 1.0).abs() < 1e-5);
/// # }
/// ```
#[derive(Module, Debug)]
pub struct Periodic {
    /// $\ell$.
    pub length_scale: Positive,
    /// $p$.
    pub period: Positive,
}

impl Kernel for Periodic {
    const STATIONARY: bool = true;

    fn try_forward(&self, x: &LazyTensor, y: &LazyTensor) -> Result<LazyTensor, LazyError> {
        check_points(x, y)?;
        let length_scale = self.length_scale.by_coordinate(x)?;
        kernels::try_periodic(x, y, length_scale, self.period.by_coordinate(x)?)
    }

    fn try_diagonal(&self, x: &LazyTensor) -> Result<LazyTensor, LazyError> {
        ones(&self.length_scale, x)
    }
}

/// Configuration to create a [`Constant`] kernel with [`init`](ConstantConfig::init).
#[derive(Config, Debug)]
pub struct ConstantConfig {
    /// The initial constant.
    pub value: f64,
    /// The number of kernels in a batch, if there is one.
    pub batch: Option<usize>,
}

impl ConstantConfig {
    init!(Constant);

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// If the constant is not positive and finite, or the batch has no kernels.
    pub fn try_init(
        &self,
        options: impl Into<TensorCreationOptions>,
    ) -> Result<Constant, LayerError> {
        Ok(Constant {
            value: parameter(self.value, None, self.batch, options)?,
        })
    }
}

/// The kernel $k(x, y) = c$ of constant functions.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy::LazyTensor;
/// use burn_lazy_nn::kernel::{ConstantConfig, Kernel};
///
/// let device = Device::default();
/// let kernel = ConstantConfig::new(0.5).init(&device);
/// let x = Tensor::<2>::zeros([3, 2], &device);
/// let k_xx = kernel.forward(&LazyTensor::vi(x.clone()), &LazyTensor::vj(x));
/// let sums: Tensor<2> = k_xx.matmul(Tensor::ones([3, 1], &device));
/// assert_eq!(sums.dims(), [3, 1]);
/// # }
/// ```
#[derive(Module, Debug)]
pub struct Constant {
    /// $c$.
    pub value: Positive,
}

impl Kernel for Constant {
    const STATIONARY: bool = true;

    fn try_forward(&self, x: &LazyTensor, y: &LazyTensor) -> Result<LazyTensor, LazyError> {
        check_points(x, y)?;
        // The elements of `x` and `y` give the matrix its numbers of rows and columns.
        let parts = [self.value.of(x)?, x.try_elem(0)?, y.try_elem(0)?];
        LazyTensor::try_concat(&parts)?.try_elem(0)
    }

    fn try_diagonal(&self, x: &LazyTensor) -> Result<LazyTensor, LazyError> {
        self.value.of(x)
    }
}
