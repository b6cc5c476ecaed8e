//! Kernel ridge regression.

use burn::prelude::*;

use super::expansion::{KernelExpansion, fit};
use crate::{
    data::check_data,
    error::{LayerError, check_not_negative},
    kernel::{Kernel, matrix},
    system::{Inference, Iterations, System},
};

/// The function that [`KernelRidgeConfig`] fits.
pub type KernelRidge<K> = KernelExpansion<K>;

/// Kernel ridge regression: the function $f(z) = \sum_j k(z, x_j) c_j$ that minimises
///
/// $$\sum_i |f(x_i) - t_i|^2 + \alpha \|f\|^2, \quad \text{so that} \quad (K + \alpha I) c = t$$
///
/// (Saunders, Gammerman and Vovk, "Ridge regression learning algorithm in dual variables", 1998). It equals the
/// mean of a Gaussian process whose noise has the variance $\alpha$.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::{prelude::*, tensor::Tolerance};
/// use burn_lazy_nn::{kernel::RbfConfig, regression::KernelRidgeConfig};
///
/// let device = Device::default();
/// let x = Tensor::<2>::from_data([[0.0], [0.5], [1.0], [1.5]], &device);
/// let t = x.clone().square();
/// let fitted = KernelRidgeConfig::new(1e-4).fit(RbfConfig::new().init(&device), x.clone(), t.clone());
/// let predicted = fitted.predict(x).into_data();
/// predicted.assert_approx_eq::<f32>(&t.into_data(), Tolerance::absolute(1e-2));
/// # }
/// ```
#[derive(Config, Debug)]
pub struct KernelRidgeConfig {
    /// $\alpha$. With 0 the function passes through all targets, if no points are too close to each other.
    pub alpha: f64,
    /// How the linear system is solved.
    #[config(default = "Inference::Auto")]
    pub inference: Inference,
    /// The rank of the preconditioner of iterative solves. By default it is a twentieth of the number of points,
    /// and at least 100.
    pub rank: Option<usize>,
    /// The relative residual at which iterative solves stop.
    #[config(default = 1e-6)]
    pub tolerance: f64,
}

fit!(KernelRidgeConfig, KernelRidge);

impl KernelRidgeConfig {
    /// Like [`fit`](Self::fit), with an error instead of a panic.
    ///
    /// # Errors
    /// If there are no points or not as many targets, if values are not finite, if $\alpha$ or the tolerance is
    /// negative, if the matrix is not positive definite, or if the linear system cannot be solved.
    pub fn try_fit<K: Kernel>(
        &self,
        kernel: K,
        x: Tensor<2>,
        t: Tensor<2>,
    ) -> Result<KernelRidge<K>, LayerError> {
        let (alpha, tolerance) = (self.alpha, self.tolerance);
        check_not_negative("alpha", alpha)?;
        check_not_negative("tolerance", tolerance)?;
        check_data(&x, &t)?;
        let (kernel, x, t) = (kernel.valid(), x.inner(), t.inner());
        let k = matrix(&kernel, &x, &x)?;
        let iterations = Iterations {
            tolerance,
            rank: self.rank,
        };
        let [points, _] = x.dims();
        let system = System::new(&k, points, alpha, self.inference, iterations)?;
        let weights = system.solve(t)?;
        Ok(KernelExpansion::new(kernel, x, weights))
    }
}
