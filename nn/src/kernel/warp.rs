//! Kernels of features of the points.

use burn::{
    module::{Module, ModuleDisplay},
    nn,
    prelude::*,
};
use burn_lazy::{Axis, LazyError, LazyTensor};

use super::{Kernel, check_points};

/// A module that maps points to features, such as a neural network.
///
/// ```
/// use burn::{nn, prelude::*, tensor::activation::relu};
/// use burn_lazy_nn::kernel::FeatureMap;
///
/// #[derive(Module, Debug)]
/// struct Network {
///     first: nn::Linear,
///     second: nn::Linear,
/// }
///
/// impl FeatureMap for Network {
///     fn features(&self, x: Tensor<2>) -> Tensor<2> {
///         self.second.forward(relu(self.first.forward(x)))
///     }
/// }
/// ```
pub trait FeatureMap: Module + ModuleDisplay {
    /// The features of each point.
    ///
    /// # Shapes
    /// - x: `[M, D]`
    /// - output: `[M, E]`
    fn features(&self, x: Tensor<2>) -> Tensor<2>;
}

impl FeatureMap for nn::Linear {
    fn features(&self, x: Tensor<2>) -> Tensor<2> {
        self.forward(x)
    }
}

/// A kernel of features of the points, $k(g(x), g(y))$, where $g$ is learned together with the kernel: deep kernel
/// learning (Wilson, Hu, Salakhutdinov and Xing, 2016).
///
/// The features are computed once for each row and each column, by Burn, when the formula is made. Points may have up
/// to two batch dimensions.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::{nn, prelude::*};
/// use burn_lazy::LazyTensor;
/// use burn_lazy_nn::kernel::{Kernel, RbfConfig, Warp};
///
/// let device = Device::default();
/// let features = nn::LinearConfig::new(8, 2).init(&device);
/// let kernel = Warp::new(features, RbfConfig::new().with_ard(Some(2)).init(&device));
/// let x = Tensor::<2>::ones([5, 8], &device);
/// let k_xx = kernel.forward(&LazyTensor::vi(x.clone()), &LazyTensor::vj(x));
/// assert_eq!(k_xx.shape(), [5, 5, 1]);
/// # }
/// ```
#[derive(Module, Debug)]
pub struct Warp<M, K> {
    /// $g$.
    pub map: M,
    /// $k$.
    pub kernel: K,
}

impl<M: FeatureMap, K: Kernel> Warp<M, K> {
    /// The kernel of the features that `map` computes.
    pub fn new(map: M, kernel: K) -> Self {
        Self { map, kernel }
    }

    /// The features of points, where `x` is a formula of rows.
    fn rows(&self, x: &LazyTensor) -> Result<LazyTensor, LazyError> {
        // Refuses formulas of columns alone. Evaluation refuses formulas of both axes, so `x` depends on rows
        // alone.
        if let Err(error) = x.try_block(0..0, 0..0)
            && !matches!(error, LazyError::MissingAxis { axis: Axis::J, .. })
        {
            return Err(error);
        }
        match x.shape().len() {
            3 => self.features(x.try_evaluate::<2>()?),
            4 => self.features(x.try_evaluate::<3>()?),
            _ => self.features(x.try_evaluate::<4>()?),
        }
    }

    /// The features of points that are given as a tensor.
    fn features<const R: usize>(&self, x: Tensor<R>) -> Result<LazyTensor, LazyError> {
        let mut shape = x.dims();
        let points: usize = shape[..R - 1].iter().product();
        let features = self.map.features(x.reshape([points, shape[R - 1]]));
        shape[R - 1] = features.dims()[1];
        LazyTensor::try_vi(features.reshape(shape))
    }
}

impl<M: FeatureMap, K: Kernel> Kernel for Warp<M, K> {
    const STATIONARY: bool = false;

    fn try_forward(&self, x: &LazyTensor, y: &LazyTensor) -> Result<LazyTensor, LazyError> {
        check_points(x, y)?;
        let columns = self.rows(&y.t())?.t();
        self.kernel.try_forward(&self.rows(x)?, &columns)
    }

    fn try_diagonal(&self, x: &LazyTensor) -> Result<LazyTensor, LazyError> {
        self.kernel.try_diagonal(&self.rows(x)?)
    }
}
