//! Kernels that are composed of other kernels.

use std::ops::{Add, Mul};

use burn::{prelude::*, tensor::TensorCreationOptions};
use burn_lazy::{LazyError, LazyTensor};

use super::{
    ArcCosine, Constant, Cosine, FeatureMap, Kernel, Linear, Matern, Periodic, Polynomial,
    RationalQuadratic, Rbf, SpectralMixture, Warp, stationary::parameter,
};
use crate::{
    error::{LayerError, expect},
    positive::Positive,
};

/// Configuration to create a [`Scale`] with [`init`](ScaleConfig::init).
#[derive(Config, Debug)]
pub struct ScaleConfig {
    /// The number of variances in a batch, if there is one.
    pub batch: Option<usize>,
    /// The initial variance.
    #[config(default = "core::f64::consts::LN_2")]
    pub variance: f64,
}

impl ScaleConfig {
    /// `kernel` with a variance, on a device (`&device`) in its default type, or in a given type
    /// (`(&device, DType::F64)`).
    ///
    /// # Panics
    /// If [`try_init`](Self::try_init) returns an error.
    #[track_caller]
    pub fn init<K: Kernel>(
        &self,
        kernel: K,
        options: impl Into<TensorCreationOptions>,
    ) -> Scale<K> {
        expect(self.try_init(kernel, options))
    }

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// If the variance is not positive and finite, or the batch has no kernels.
    pub fn try_init<K: Kernel>(
        &self,
        kernel: K,
        options: impl Into<TensorCreationOptions>,
    ) -> Result<Scale<K>, LayerError> {
        Ok(Scale {
            kernel,
            variance: parameter(self.variance, None, self.batch, options)?,
        })
    }
}

/// A kernel times a variance that is learned, $v \, k(x, y)$.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy_nn::kernel::{Kernel, RbfConfig, ScaleConfig};
///
/// let device = Device::default();
/// let kernel = ScaleConfig::new().with_variance(2.0).init(RbfConfig::new().init(&device), &device);
/// let variances = kernel.diag(Tensor::<2>::zeros([1, 3], &device));
/// let expected = TensorData::from([[2.0f32]]);
/// variances.into_data().assert_approx_eq::<f32>(&expected, Default::default());
/// # }
/// ```
#[derive(Module, Debug)]
pub struct Scale<K> {
    /// $k$.
    pub kernel: K,
    /// $v$.
    pub variance: Positive,
}

impl<K: Kernel> Kernel for Scale<K> {
    const STATIONARY: bool = K::STATIONARY;

    fn try_forward(&self, x: &LazyTensor, y: &LazyTensor) -> Result<LazyTensor, LazyError> {
        self.kernel.try_forward(x, y)?.try_mul(self.variance.of(x)?)
    }

    fn try_diagonal(&self, x: &LazyTensor) -> Result<LazyTensor, LazyError> {
        self.kernel.try_diagonal(x)?.try_mul(self.variance.of(x)?)
    }
}

/// Defines a kernel that combines two kernels.
macro_rules! pair {
    ($(#[doc = $doc:literal])* $name:ident $combine:ident) => {
        $(#[doc = $doc])*
        #[derive(Module, Debug)]
        pub struct $name<A, B> {
            /// The left kernel.
            pub left: A,
            /// The right kernel.
            pub right: B,
        }

        impl<A: Kernel, B: Kernel> $name<A, B> {
            /// The combination of two kernels.
            pub fn new(left: A, right: B) -> Self {
                Self { left, right }
            }
        }

        impl<A: Kernel, B: Kernel> Kernel for $name<A, B> {
            const STATIONARY: bool = A::STATIONARY && B::STATIONARY;

            fn try_forward(
                &self,
                x: &LazyTensor,
                y: &LazyTensor,
            ) -> Result<LazyTensor, LazyError> {
                let (left, right) = (self.left.try_forward(x, y)?, self.right.try_forward(x, y)?);
                left.$combine(right)
            }

            fn try_diagonal(&self, x: &LazyTensor) -> Result<LazyTensor, LazyError> {
                let (left, right) = (self.left.try_diagonal(x)?, self.right.try_diagonal(x)?);
                left.$combine(right)
            }
        }
    };
}

pair! {
    /// The sum of two kernels, $k(x, y) + l(x, y)$: the covariance of the sum of two independent functions.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::prelude::*;
    /// use burn_lazy_nn::kernel::{ConstantConfig, Kernel, RbfConfig};
    ///
    /// let device = Device::default();
    /// let kernel = RbfConfig::new().init(&device) + ConstantConfig::new(0.5).init(&device);
    /// let variances = kernel.diag(Tensor::<2>::zeros([1, 3], &device));
    /// let expected = TensorData::from([[1.5f32]]);
    /// variances.into_data().assert_approx_eq::<f32>(&expected, Default::default());
    /// # }
    /// ```
    Sum try_add
}

pair! {
    /// The product of two kernels, $k(x, y) \, l(x, y)$.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::prelude::*;
    /// use burn_lazy_nn::kernel::{Kernel, LinearConfig, PeriodicConfig};
    ///
    /// // A wave that grows.
    /// let device = Device::default();
    /// let kernel = PeriodicConfig::new().init(&device) * LinearConfig::new().init(&device);
    /// let variances = kernel.diag(Tensor::<2>::from_data([[2.0]], &device));
    /// let expected = TensorData::from([[4.0f32]]);
    /// variances.into_data().assert_approx_eq::<f32>(&expected, Default::default());
    /// # }
    /// ```
    Product try_mul
}

/// Configuration to create an [`ActiveDims`] with [`init`](ActiveDimsConfig::init).
#[derive(Config, Debug)]
pub struct ActiveDimsConfig {
    /// The indices of the coordinates, in the order in which the kernel gets them.
    pub dims: Vec<usize>,
}

impl ActiveDimsConfig {
    /// `kernel` applied to these coordinates.
    ///
    /// # Panics
    /// If there are no coordinates.
    #[track_caller]
    pub fn init<K: Kernel>(&self, kernel: K) -> ActiveDims<K> {
        expect(self.try_init(kernel))
    }

    /// Like [`init`](Self::init), with an error instead of a panic.
    ///
    /// # Errors
    /// If there are no coordinates.
    pub fn try_init<K: Kernel>(&self, kernel: K) -> Result<ActiveDims<K>, LayerError> {
        match self.dims.is_empty() {
            true => Err(LayerError::Empty("`dims`, the coordinates of a kernel,")),
            false => Ok(ActiveDims {
                kernel,
                dims: self.dims.clone(),
            }),
        }
    }
}

/// A kernel of some coordinates of the points, $k(x_S, y_S)$.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy_nn::kernel::{ActiveDimsConfig, Kernel, LinearConfig};
///
/// let device = Device::default();
/// let kernel = ActiveDimsConfig::new(vec![0, 2]).init(LinearConfig::new().init(&device));
/// let variances = kernel.diag(Tensor::<2>::from_data([[3.0, 9.0, 4.0]], &device));
/// let expected = TensorData::from([[25.0f32]]);
/// variances.into_data().assert_approx_eq::<f32>(&expected, Default::default());
/// # }
/// ```
#[derive(Module, Debug)]
pub struct ActiveDims<K> {
    /// $k$.
    pub kernel: K,
    #[module(skip)]
    dims: Vec<usize>,
}

impl<K: Kernel> ActiveDims<K> {
    /// The indices of the coordinates $S$.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The coordinates $S$ of points.
    fn active(&self, x: &LazyTensor) -> Result<LazyTensor, LazyError> {
        let parts: Result<Vec<LazyTensor>, LazyError> =
            self.dims.iter().map(|dim| x.try_elem(*dim)).collect();
        LazyTensor::try_concat(&parts?)
    }
}

impl<K: Kernel> Kernel for ActiveDims<K> {
    const STATIONARY: bool = K::STATIONARY;

    fn try_forward(&self, x: &LazyTensor, y: &LazyTensor) -> Result<LazyTensor, LazyError> {
        super::check_points(x, y)?;
        self.kernel.try_forward(&self.active(x)?, &self.active(y)?)
    }

    fn try_diagonal(&self, x: &LazyTensor) -> Result<LazyTensor, LazyError> {
        self.kernel.try_diagonal(&self.active(x)?)
    }
}

/// Implements `+` and `*` with any other kernel.
macro_rules! operators {
    ($([$($generics:tt)*] $kernel:ty;)*) => {$(
        impl<$($generics)* Other: Kernel> Add<Other> for $kernel {
            type Output = Sum<Self, Other>;

            fn add(self, other: Other) -> Self::Output {
                Sum::new(self, other)
            }
        }

        impl<$($generics)* Other: Kernel> Mul<Other> for $kernel {
            type Output = Product<Self, Other>;

            fn mul(self, other: Other) -> Self::Output {
                Product::new(self, other)
            }
        }
    )*};
}

operators! {
    [] ArcCosine;
    [] Constant;
    [] Cosine;
    [] Linear;
    [] Matern;
    [] Periodic;
    [] Polynomial;
    [] RationalQuadratic;
    [] Rbf;
    [] SpectralMixture;
    [K: Kernel,] ActiveDims<K>;
    [K: Kernel,] Scale<K>;
    [A: Kernel, B: Kernel,] Sum<A, B>;
    [A: Kernel, B: Kernel,] Product<A, B>;
    [M: FeatureMap, K: Kernel,] Warp<M, K>;
}
