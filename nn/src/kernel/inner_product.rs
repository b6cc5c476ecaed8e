//! Kernels of the inner product of two points and of their norms.

use burn::{prelude::*, tensor::TensorCreationOptions};
use burn_lazy::{LazyError, LazyTensor, kernels};

use super::{Kernel, check_points, init, stationary::parameter};
use crate::{
    error::{LayerError, check_setting},
    positive::Positive,
};

/// Configuration to create a [`Linear`] kernel with [`init`](LinearConfig::init).
#[derive(Config, Debug)]
pub struct LinearConfig {
    /// The number of coordinates, if each has a variance of its own.
    pub ard: Option<usize>,
    /// The number of kernels in a batch, if there is one.
    pub batch: Option<usize>,
    /// The initial variances.
    #[config(default = 1.0)]
    pub variance: f64,
}

impl LinearConfig {
    init!(Linear);

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// If the variance is not positive and finite, or there are no coordinates, or the batch has no kernels.
    pub fn try_init(
        &self,
        options: impl Into<TensorCreationOptions>,
    ) -> Result<Linear, LayerError> {
        Ok(Linear {
            variance: parameter(self.variance, self.ard, self.batch, options)?,
        })
    }
}

/// The kernel $\sum_k v_k x_k y_k$ of linear functions through 0, whose slopes have the variances $v$ (Rasmussen and
/// Williams, 2006, 4.2.2). Add a [`Constant`](super::Constant) for functions that do not pass through 0.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy_nn::kernel::{Kernel, LinearConfig};
///
/// let device = Device::default();
/// let kernel = LinearConfig::new().with_variance(0.5).init(&device);
/// let variances = kernel.diag(Tensor::<2>::from_data([[3.0, 4.0]], &device));
/// let expected = TensorData::from([[12.5f32]]);
/// variances.into_data().assert_approx_eq::<f32>(&expected, Default::default());
/// # }
/// ```
#[derive(Module, Debug)]
pub struct Linear {
    /// $v$.
    pub variance: Positive,
}

impl Kernel for Linear {
    const STATIONARY: bool = false;

    fn try_forward(&self, x: &LazyTensor, y: &LazyTensor) -> Result<LazyTensor, LazyError> {
        check_points(x, y)?;
        x.try_mul(self.variance.by_coordinate(x)?)?.try_dot(y)
    }
}

/// Configuration to create a [`Polynomial`] kernel with [`init`](PolynomialConfig::init).
#[derive(Config, Debug)]
pub struct PolynomialConfig {
    /// $n$.
    pub degree: u16,
    /// The number of kernels in a batch, if there is one.
    pub batch: Option<usize>,
    /// The initial value of $c$.
    #[config(default = 1.0)]
    pub offset: f64,
}

impl PolynomialConfig {
    init!(Polynomial);

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// If $c$ is not positive and finite, or the batch has no kernels.
    pub fn try_init(
        &self,
        options: impl Into<TensorCreationOptions>,
    ) -> Result<Polynomial, LayerError> {
        Ok(Polynomial {
            offset: parameter(self.offset, None, self.batch, options)?,
            degree: self.degree,
        })
    }
}

/// The polynomial kernel $(\langle x, y \rangle + c)^n$ (Rasmussen and Williams, 2006, 4.2.2).
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy_nn::kernel::{Kernel, PolynomialConfig};
///
/// let device = Device::default();
/// let kernel = PolynomialConfig::new(2).with_offset(1.0).init(&device);
/// let variances = kernel.diag(Tensor::<2>::from_data([[1.0, 1.0]], &device));
/// let expected = TensorData::from([[9.0f32]]);
/// variances.into_data().assert_approx_eq::<f32>(&expected, Default::default());
/// # }
/// ```
#[derive(Module, Debug)]
pub struct Polynomial {
    /// $c$.
    pub offset: Positive,
    degree: u16,
}

impl Kernel for Polynomial {
    const STATIONARY: bool = false;

    fn try_forward(&self, x: &LazyTensor, y: &LazyTensor) -> Result<LazyTensor, LazyError> {
        kernels::try_polynomial(x, y, self.degree, 1.0, self.offset.of(x)?)
    }
}

/// Configuration to create a [`Cosine`] kernel with [`init`](CosineConfig::init).
#[derive(Config, Debug)]
pub struct CosineConfig {}

impl CosineConfig {
    /// The kernel, which has no parameters.
    pub fn init(&self) -> Cosine {
        Cosine {}
    }
}

/// The cosine of the angle between two points, $\langle x, y \rangle / (|x| |y|)$, or 0 if one of the points is 0.
/// It has no parameters.
///
/// It is not the cosine of a distance, which is called a cosine kernel in GPyTorch. Such a kernel is a
/// [`SpectralMixture`](super::SpectralMixture).
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy_nn::kernel::{CosineConfig, Kernel};
///
/// let x = Tensor::<2>::from_data([[3.0, 4.0], [0.0, 0.0]], &Device::default());
/// let variances = CosineConfig::new().init().diag(x);
/// variances.into_data().assert_eq(&TensorData::from([[1.0f32], [0.0]]), true);
/// # }
/// ```
#[derive(Module, Debug)]
pub struct Cosine {}

impl Kernel for Cosine {
    const STATIONARY: bool = false;

    fn try_forward(&self, x: &LazyTensor, y: &LazyTensor) -> Result<LazyTensor, LazyError> {
        kernels::try_cosine(x, y)
    }

    fn try_diagonal(&self, x: &LazyTensor) -> Result<LazyTensor, LazyError> {
        x.norm().try_not_equal(0.0)
    }
}

/// Configuration to create an [`ArcCosine`] kernel with [`init`](ArcCosineConfig::init).
#[derive(Config, Debug)]
pub struct ArcCosineConfig {
    /// The order: 0, 1 or 2.
    pub order: u8,
}

impl ArcCosineConfig {
    /// The kernel, which has no parameters.
    ///
    /// # Panics
    /// If the order is above 2.
    #[track_caller]
    pub fn init(&self) -> ArcCosine {
        crate::error::expect(self.try_init())
    }

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// If the order is above 2.
    pub fn try_init(&self) -> Result<ArcCosine, LayerError> {
        check_setting("order", self.order.into(), "0, 1 or 2", self.order <= 2)?;
        Ok(ArcCosine { order: self.order })
    }
}

/// The arc-cosine kernel of order $n$, the covariance of an infinitely wide layer of a neural network with steps
/// ($n = 0$), rectified linear units ($n = 1$) or their squares ($n = 2$): $\frac 1 \pi |x|^n |y|^n J_n(\theta)$ with
/// the angle $\theta$ between the points and $J_0 = \pi - \theta$,
/// $J_1 = \sin \theta + (\pi - \theta) \cos \theta$,
/// $J_2 = 3 \sin \theta \cos \theta + (\pi - \theta) (1 + 2 \cos^2 \theta)$ (Cho and Saul, "Kernel methods for deep
/// learning", 2009). It has no parameters.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy_nn::kernel::{ArcCosineConfig, Kernel};
///
/// let x = Tensor::<2>::from_data([[3.0, 4.0]], &Device::default());
/// let variances = ArcCosineConfig::new(1).init().diag(x);
/// let expected = TensorData::from([[25.0f32]]);
/// variances.into_data().assert_approx_eq::<f32>(&expected, Default::default());
/// # }
/// ```
#[derive(Module, Debug)]
pub struct ArcCosine {
    order: u8,
}

impl Kernel for ArcCosine {
    const STATIONARY: bool = false;

    fn try_forward(&self, x: &LazyTensor, y: &LazyTensor) -> Result<LazyTensor, LazyError> {
        kernels::try_arc_cosine(x, y, self.order)
    }

    /// The angle between equal points is 0, except that it is $\pi / 2$ if the point is 0.
    fn try_diagonal(&self, x: &LazyTensor) -> Result<LazyTensor, LazyError> {
        match self.order {
            0 => x.norm().try_not_equal(0.0)?.try_mul(0.5)?.try_add(0.5),
            1 => Ok(x.sqnorm()),
            _ => x.sqnorm().square().try_mul(3.0),
        }
    }
}
