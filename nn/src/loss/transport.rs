//! The transport of one measure to another.

use burn::prelude::*;
use burn_lazy::{LazyError, LazyTensor};

use super::{error::LossError, sinkhorn::Problem};

/// Potentials and plan of the transport of one measure to another. Made by
/// [`SamplesLoss::solve`](super::SamplesLoss::solve).
///
/// The value is differentiable. Potentials and plan are constants: `g` is the potential after the last step, and
/// `f` is computed from `g` by one more step.
///
/// ```
/// use burn::prelude::*;
/// use burn_lazy_nn::loss::SamplesLossConfig;
///
/// let device = Device::default();
/// let x = Tensor::<2>::from_data([[0.0], [1.0]], &device);
/// let y = Tensor::<2>::from_data([[1.1], [0.2]], &device);
/// let weights = Tensor::<1>::from_data([0.5, 0.5], &device);
/// let loss = SamplesLossConfig::sinkhorn().with_blur(0.01).with_scaling(0.9).init();
/// let transport = loss.solve(weights.clone(), x, weights.clone(), y.clone());
/// // Where the mass of each point goes.
/// let targets = transport.plan().matmul(y) / weights.unsqueeze_dim::<2>(1);
/// let expected = TensorData::from([[0.2f32], [1.1]]);
/// targets.into_data().assert_approx_eq::<f32>(&expected, Default::default());
/// ```
#[derive(Clone, Debug)]
pub struct Transport {
    /// The potential of each point of `x`, `[N]`.
    pub f: Tensor<1>,
    /// The potential of each point of `y`, `[M]`.
    pub g: Tensor<1>,
    /// The loss, `[1]`.
    pub value: Tensor<1>,
    plan: LazyTensor,
}

impl Transport {
    pub(crate) fn new(problem: &Problem<2>) -> Result<Self, LossError> {
        let potentials = problem.potentials()?;
        let value = problem.pair.values(problem.value(&potentials));
        let dtype = value.dtype();
        let [_, g] = potentials.across.map(Tensor::inner);
        let f = problem.answer(g.clone())?;
        let vector = |potential: &Tensor<2>| {
            let values = potential.clone() * problem.unit;
            values.squeeze_dim::<1>(1).cast(dtype)
        };
        Ok(Self {
            f: vector(&f),
            g: vector(&g),
            value,
            plan: plan(problem, [f, g])?,
        })
    }

    /// The plan $\pi_{ij} = a_i b_j e^{(f_i + g_j - C(x_i, y_j)) / \varepsilon}$ as a symbolic N x M matrix: how much
    /// mass goes from $x_i$ to $y_j$.
    ///
    /// If transport is balanced, its row sums are `a`, and its column sums are approximately `b`. The column sums
    /// are the more exact the closer the scaling is to 1. It is computed in F32 for points in F16 and BF16.
    pub fn plan(&self) -> LazyTensor {
        self.plan.clone()
    }
}

/// The plan that follows from the potentials.
fn plan(problem: &Problem<2>, potentials: [Tensor<2>; 2]) -> Result<LazyTensor, LazyError> {
    let epsilon = problem.temperature();
    let sides = [problem.pair.x.inner(), problem.pair.y.inner()];
    let [x, y] = sides.each_ref().map(|side| side.points.clone());
    let [a, b] = sides.map(|side| side.weights);
    let [f, g] = potentials;
    let score = LazyTensor::try_vi(f)?.try_add(LazyTensor::try_vj(g)?)?;
    let exponent = score.try_sub(problem.cost.constant(x, y)?)? / epsilon;
    let masses = LazyTensor::try_vi(a)?.try_mul(LazyTensor::try_vj(b)?)?;
    // At points without mass the exponent may have any value, so the plan is set to 0.
    let nothing = masses.try_equal(0.0)?;
    exponent
        .exp()
        .try_mul(&masses)?
        .try_mask_where(nothing, 0.0)
}
