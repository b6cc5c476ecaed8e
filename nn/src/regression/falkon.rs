//! Kernel ridge regression of many points with kernels at a few of them.

use burn::{
    prelude::*,
    tensor::{DType, FloatDType, TensorData},
};
use burn_lazy::{
    LazyError, LazyTensor,
    solve::{LinearOperator, SolveOptions, conjugate_gradient},
};
use nalgebra::DMatrix;

use super::{
    expansion::{KernelExpansion, fit},
    selection::Selection,
};
use crate::{
    data::check_data,
    dense::{self, Cholesky},
    error::{LayerError, check_not_negative, check_setting},
    kernel::{Kernel, matrix},
};

/// The function that [`FalkonConfig`] fits.
pub type Falkon<K> = KernelExpansion<K>;

/// Kernel ridge regression of N points with kernels at M of them, the centres $z_j$ (Rudi, Carratino and Rosasco,
/// "FALKON: an optimal large scale kernel method", 2017): the function $f(x) = \sum_j k(x, z_j) c_j$ that minimises
///
/// $$\frac 1 N \sum_i |f(x_i) - t_i|^2 + \alpha \, c^\top K_{MM} c.$$
///
/// If all points are centres, it is [kernel ridge regression](super::KernelRidgeConfig) with the ridge $\alpha N$.
///
/// The linear system of the weights is solved by conjugate gradients. The preconditioner is made from $K_{MM}$,
/// which is stored and factored on the host. An iteration takes two products with the symbolic N x M matrix. All of
/// this is computed in F64 if the device supports it.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::{prelude::*, tensor::Tolerance};
/// use burn_lazy_nn::{kernel::RbfConfig, regression::FalkonConfig};
///
/// let device = Device::default();
/// let x = Tensor::<1, Int>::arange(0..200, &device).float().div_scalar(100.0).unsqueeze_dim::<2>(1);
/// let t = (x.clone() * 3.0).sin();
/// let fitted = FalkonConfig::new(20, 1e-7).fit(RbfConfig::new().init(&device), x.clone(), t.clone());
/// assert_eq!(fitted.points.val().dims(), [20, 1]);
/// let predicted = fitted.predict(x).into_data();
/// predicted.assert_approx_eq::<f32>(&t.into_data(), Tolerance::absolute(1e-2));
/// # }
/// ```
#[derive(Config, Debug)]
pub struct FalkonConfig {
    /// The number of centres, M.
    pub centers: usize,
    /// $\alpha$, which is larger than 0.
    pub alpha: f64,
    /// How the centres are chosen.
    #[config(default = "Selection::Uniform")]
    pub selection: Selection,
    /// The seed of the random choice of the centres.
    #[config(default = 0)]
    pub seed: u64,
    /// The relative residual of the preconditioned system at which the iteration stops.
    #[config(default = 1e-6)]
    pub tolerance: f64,
    /// The largest number of iterations.
    #[config(default = 1000)]
    pub max_iterations: usize,
}

fit!(FalkonConfig, Falkon);

impl FalkonConfig {
    /// Like [`fit`](Self::fit), with an error instead of a panic.
    ///
    /// # Errors
    /// If there are no points or not as many targets, if values are not finite, if there are no centres or more
    /// centres than points, if $\alpha$ is not positive or the tolerance is negative, or if the linear system
    /// cannot be solved.
    pub fn try_fit<K: Kernel>(
        &self,
        kernel: K,
        x: Tensor<2>,
        t: Tensor<2>,
    ) -> Result<Falkon<K>, LayerError> {
        let (alpha, tolerance) = (self.alpha, self.tolerance);
        check_setting("alpha", alpha, "positive and finite", alpha > 0.0)?;
        check_not_negative("tolerance", tolerance)?;
        check_data(&x, &t)?;
        let [points, _] = x.dims();
        let within = (1..=points).contains(&self.centers);
        check_setting(
            "centers",
            self.centers as f64,
            "1 to the number of points",
            within,
        )?;
        let (kernel, x, t) = (kernel.valid(), x.inner(), t.inner());
        let dtype = t.dtype();

        let centers = self.chosen(&kernel, &x)?;
        let k = dense::in_f64(&matrix(&kernel, &x, &centers)?);
        let between = matrix(&kernel, &centers, &centers)?;
        let system = Preconditioned::new(k, &between, alpha, dtype)?;
        let weights = system.solve(t, tolerance, self.max_iterations)?.cast(dtype);
        Ok(KernelExpansion::new(kernel, centers, weights))
    }

    /// The centres, chosen among the points `x`.
    fn chosen<K: Kernel>(&self, kernel: &K, x: &Tensor<2>) -> Result<Tensor<2>, LayerError> {
        let k = matrix(kernel, x, x)?;
        let chosen = self.selection.choose(&k, self.centers, self.seed)?;
        let count = chosen.len();
        let chosen = Tensor::from_data(TensorData::new(chosen, [count]), &x.device());
        Ok(x.clone().select(0, chosen))
    }
}

/// The matrix $P^\top (K^\top K / N + \alpha K_{MM}) P$, which is close to the identity. With $K_{MM} = L L^\top$
/// and $L^\top L / M + \alpha I = R R^\top$, the preconditioner is $P = L^{-\top} R^{-\top}$, and
/// $P^\top K_{MM} P = R^{-1} R^{-\top}$.
#[derive(Clone)]
struct Preconditioned {
    /// $K$, N x M.
    k: LazyTensor,
    points: usize,
    /// $P$ and $P^\top$.
    outer: [Tensor<2>; 2],
    /// $\alpha R^{-1} R^{-\top}$.
    ridge: Tensor<2>,
}

impl Preconditioned {
    /// The matrix for the kernel matrix `between` of the centres and for weights that are stored in the type
    /// `stored`.
    fn new(
        k: LazyTensor,
        between: &LazyTensor,
        alpha: f64,
        stored: DType,
    ) -> Result<Self, LayerError> {
        // Predictions are sums in which large weights of alternating signs cancel. The jitter limits the size of
        // the weights.
        let jitter = match stored {
            DType::F64 => 1e-12,
            _ => 1e-6,
        };
        let (matrix, rounding) = dense::entries(between)?;
        let size = matrix.nrows();
        let refused = |row| LayerError::NotPositiveDefinite {
            what: "the kernel matrix",
            size,
            row,
            hint: "the kernel is not positive definite",
        };
        let left = Cholesky::jittered(&matrix, jitter, rounding).map_err(refused)?;
        let mut gram = left.lower().transpose() * left.lower() / size as f64;
        (0..size).for_each(|i| gram[(i, i)] += alpha);
        let right = Cholesky::new(gram, f64::EPSILON).map_err(refused)?;

        // R^-1 L^-1 and R^-1.
        let transposed = right.half_solve(&left.inverse_root());
        let root = right.inverse_root();
        let ridge = &root * root.transpose() * alpha;
        let [points, _] = LinearOperator::<2>::sizes(&k)?;
        let (device, dtype) = LinearOperator::<2>::vectors(&k)?;
        let tensor = |matrix: &DMatrix<f64>| dense::tensor(matrix, (&device, dtype));
        Ok(Self {
            outer: [tensor(&transposed.transpose()), tensor(&transposed)],
            ridge: tensor(&ridge),
            k,
            points,
        })
    }

    /// The weights that fit the targets `t`.
    fn solve(
        &self,
        t: Tensor<2>,
        tolerance: f64,
        max_iterations: usize,
    ) -> Result<Tensor<2>, LayerError> {
        let (_, dtype) = LinearOperator::<2>::vectors(&self.k)?;
        let right = self.k.t().try_matmul(t.cast(dtype))? / self.points as f64;
        let [outer, transposed] = self.outer.clone();
        let options = SolveOptions::default()
            .tolerance(tolerance)
            .max_iterations(max_iterations);
        let solved = conjugate_gradient(self, transposed.matmul(right), &options)?;
        Ok(outer.matmul(solved.solution))
    }
}

impl LinearOperator<2> for Preconditioned {
    fn sizes(&self) -> Result<[usize; 2], LazyError> {
        Ok(self.ridge.dims())
    }

    fn vectors(&self) -> Result<(Device, DType), LazyError> {
        LinearOperator::<2>::vectors(&self.k)
    }

    fn apply(&self, v: Tensor<2>) -> Result<Tensor<2>, LazyError> {
        let [outer, transposed] = self.outer.clone();
        let product = self.k.try_matmul(outer.matmul(v.clone()))?;
        let product = self.k.t().try_matmul(product)? / self.points as f64;
        Ok(transposed.matmul(product) + self.ridge.clone().matmul(v))
    }

    fn apply_transposed(&self, v: Tensor<2>) -> Result<Tensor<2>, LazyError> {
        self.apply(v)
    }

    fn inner(&self) -> Self {
        // The tensors have no gradients.
        self.clone()
    }

    fn cast(&self, dtype: FloatDType) -> Result<Self, LazyError> {
        Ok(Self {
            k: self.k.try_cast(dtype)?,
            points: self.points,
            outer: self.outer.clone().map(|own| own.cast(dtype)),
            ridge: self.ridge.clone().cast(dtype),
        })
    }

    fn is_tracked(&self) -> bool {
        false
    }
}
