//! A node of the autodiff graph whose derivative is any given function. Solutions of systems use it: their derivative
//! comes from the implicit function theorem.

use std::{fmt, sync::Arc};

use burn::{
    backend::{Backend, DispatchKindConversion, DispatchTensor, tensor::FloatTensor},
    tensor::{GradientCheckpointingStrategy, Tensor},
};
use burn_autodiff::{
    Autodiff,
    checkpoint::{
        base::Checkpointer,
        strategy::{BalancedCheckpointing, CheckpointStrategy, NoCheckpointing},
    },
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, unary},
};

use super::on_backend;

#[derive(Debug)]
struct Implicit;

/// The derivative, which maps the cotangent of the value to the cotangent of the residual.
struct Adjoint<B: Backend>(Arc<dyn Fn(FloatTensor<B>) -> FloatTensor<B> + Send + Sync>);

impl<B: Backend> Clone for Adjoint<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B: Backend> fmt::Debug for Adjoint<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Adjoint")
    }
}

impl<B: Backend> Backward<B, 1> for Implicit {
    type State = Adjoint<B>;

    fn backward(self, ops: Ops<Adjoint<B>, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Adjoint(adjoint) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |cotangent| adjoint(cotangent));
    }
}

/// `value` as a function of `residual` in the autodiff graph. `value` is not tracked, and `residual` is 0. The
/// derivative is the transpose of the linear function `adjoint`.
pub(crate) fn implicit<const R: usize>(
    value: Tensor<R>,
    residual: Tensor<R>,
    adjoint: impl Fn(Tensor<R>) -> Tensor<R> + Send + Sync + 'static,
) -> Tensor<R> {
    let balanced = matches!(
        residual.gradient_checkpointing_strategy(),
        Some(GradientCheckpointingStrategy::Balanced)
    );
    let device = residual.device();
    on_backend!(
        device,
        |B, _own| match balanced {
            true => node::<B, BalancedCheckpointing, R>(value, residual, adjoint),
            false => node::<B, NoCheckpointing, R>(value, residual, adjoint),
        },
        unreachable!("reductions are computed by one of these backends")
    )
}

fn primitive<B: Backend, const R: usize>(tensor: Tensor<R>) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let primitive = tensor.try_into_primitive::<B>();
    primitive.expect("reductions are computed by this backend")
}

fn node<B, C, const R: usize>(
    value: Tensor<R>,
    residual: Tensor<R>,
    adjoint: impl Fn(Tensor<R>) -> Tensor<R> + Send + Sync + 'static,
) -> Tensor<R>
where
    B: Backend,
    C: CheckpointStrategy,
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B, C>>,
{
    let adjoint = Adjoint::<B>(Arc::new(move |cotangent| {
        primitive::<B, R>(adjoint(Tensor::from_primitive::<B>(cotangent)))
    }));
    let residual = residual.try_into_primitive::<Autodiff<B, C>>();
    let residual = residual.expect("the strategy is that of the tensor");
    let value = primitive::<B, R>(value);
    let prepared = <Implicit as Backward<B, 1>>::prepare::<C>(Implicit, [residual.node()]);
    let value = match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(adjoint, value),
        OpsKind::UnTracked(prep) => prep.finish(value),
    };
    Tensor::from_primitive::<Autodiff<B, C>>(value)
}
