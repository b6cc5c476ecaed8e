//! Functions that are sums of kernels.

use burn::{module::Param, prelude::*, tensor::TensorCreationOptions};
use burn_lazy::LazyError;

use crate::{
    error::expect,
    kernel::{Kernel, matrix},
};

/// The function $f(z) = \sum_j k(z, x_j) c_j$, a sum of kernels at the points $x_j$, which
/// [kernel ridge regression](super::KernelRidgeConfig) and [Falkon](super::FalkonConfig) fit.
///
/// Points and weights are part of the record, but are not trained.
#[derive(Module, Debug)]
pub struct KernelExpansion<K> {
    /// $k$.
    pub kernel: K,
    /// $x$, `[N, D]`.
    pub points: Param<Tensor<2>>,
    /// $c$, `[N, T]`.
    pub weights: Param<Tensor<2>>,
}

impl<K: Kernel> KernelExpansion<K> {
    /// A function that is 0, with `points` points of `dim` coordinates and `outputs` output values. The record of a
    /// fitted function of the same sizes can be loaded into it.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::prelude::*;
    /// use burn_lazy_nn::{kernel::RbfConfig, regression::{KernelExpansion, KernelRidgeConfig}};
    ///
    /// let device = Device::default();
    /// let kernel = || RbfConfig::new().init(&device);
    /// let x = Tensor::<2>::from_data([[0.0], [1.0]], &device);
    /// let fitted = KernelRidgeConfig::new(0.1).fit(kernel(), x.clone(), x.clone());
    /// let record = fitted.clone().into_record();
    /// let loaded = KernelExpansion::zeros(kernel(), [2, 1], 1, &device).load_record(record);
    /// loaded.predict(x.clone()).into_data().assert_eq(&fitted.predict(x).into_data(), true);
    /// # }
    /// ```
    pub fn zeros(
        kernel: K,
        [points, dim]: [usize; 2],
        outputs: usize,
        options: impl Into<TensorCreationOptions>,
    ) -> Self {
        let options = options.into();
        let zeros = |shape| Tensor::zeros(shape, options.clone());
        Self::new(kernel, zeros([points, dim]), zeros([points, outputs]))
    }

    /// The function with kernels at `points`, multiplied by `weights`.
    pub(super) fn new(kernel: K, points: Tensor<2>, weights: Tensor<2>) -> Self {
        let fixed = |own| Param::from_tensor(own).set_require_grad(false);
        Self {
            kernel,
            points: fixed(points),
            weights: fixed(weights),
        }
    }

    /// The values of the function at the points `at`, differentiable by `at`.
    ///
    /// # Shapes
    /// - at: `[M, D]`
    /// - output: `[M, T]`
    ///
    /// # Panics
    /// If [`try_predict`](Self::try_predict) returns an error.
    #[track_caller]
    pub fn predict(&self, at: Tensor<2>) -> Tensor<2> {
        expect(self.try_predict(at))
    }

    /// Like [`predict`](Self::predict), with an error instead of a panic.
    ///
    /// # Errors
    /// If the points have another number of coordinates than those of the function, or another type.
    pub fn try_predict(&self, at: Tensor<2>) -> Result<Tensor<2>, LazyError> {
        matrix(&self.kernel, &at, &self.points.val())?.try_matmul(self.weights.val())
    }
}

/// Defines the method `fit` of a configuration by its `try_fit`. `$fitted` is the function that it fits.
macro_rules! fit {
    ($config:ident, $fitted:ident) => {
        impl $config {
            /// Fits the function to the targets `t` at the points `x`. The parameters of the kernel are not trained.
            ///
            /// # Shapes
            /// - x: `[N, D]`
            /// - t: `[N, T]`
            ///
            /// # Panics
            /// If [`try_fit`](Self::try_fit) returns an error.
            #[track_caller]
            pub fn fit<K: Kernel>(&self, kernel: K, x: Tensor<2>, t: Tensor<2>) -> $fitted<K> {
                crate::error::expect(self.try_fit(kernel, x, t))
            }
        }
    };
}
pub(super) use fit;
