//! A node of the autodiff graph whose derivative is any given function. Solutions of systems use it: their derivative
//! comes from the implicit function theorem.

use std::{fmt, sync::Arc};

use burn::{
    backend::{DispatchKindConversion, DispatchTensor, tensor::FloatTensor},
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
use burn_cubecl::Cube;

#[derive(Debug)]
struct Implicit;

type Primitive = FloatTensor<Cube>;

/// The derivative, which maps the cotangent of the value to the cotangent of the residual.
#[derive(Clone)]
struct Adjoint(Arc<dyn Fn(Primitive) -> Primitive + Send + Sync>);

impl fmt::Debug for Adjoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Adjoint")
    }
}

impl Backward<Cube, 1> for Implicit {
    type State = Adjoint;

    fn backward(self, ops: Ops<Adjoint, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Adjoint(adjoint) = ops.state;
        unary::<Cube, _>(ops.parents, ops.node, grads, |cotangent| adjoint(cotangent));
    }
}

/// `value` as a function of `residual` in the autodiff graph. `value` is not tracked, and `residual` is 0. The
/// derivative is the transpose of the linear function `adjoint`.
pub(crate) fn implicit<const R: usize>(
    value: Tensor<R>,
    residual: Tensor<R>,
    adjoint: impl Fn(Tensor<R>) -> Tensor<R> + Send + Sync + 'static,
) -> Tensor<R> {
    let adjoint = Adjoint(Arc::new(move |cotangent| {
        primitive(adjoint(Tensor::from_primitive::<Cube>(cotangent)))
    }));
    match residual.gradient_checkpointing_strategy() {
        Some(GradientCheckpointingStrategy::Balanced) => {
            node::<BalancedCheckpointing, R>(value, residual, adjoint)
        }
        _ => node::<NoCheckpointing, R>(value, residual, adjoint),
    }
}

fn primitive<const R: usize>(tensor: Tensor<R>) -> Primitive {
    let primitive = tensor.try_into_primitive::<Cube>();
    primitive.expect("reductions are computed by this backend")
}

fn node<C, const R: usize>(value: Tensor<R>, residual: Tensor<R>, adjoint: Adjoint) -> Tensor<R>
where
    C: CheckpointStrategy,
    DispatchTensor: DispatchKindConversion<Autodiff<Cube, C>>,
{
    let residual = residual.try_into_primitive::<Autodiff<Cube, C>>();
    let residual = residual.expect("the strategy is that of the tensor");
    let value = primitive(value);
    let prepared = <Implicit as Backward<Cube, 1>>::prepare::<C>(Implicit, [residual.node()]);
    let value = match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(adjoint, value),
        OpsKind::UnTracked(prep) => prep.finish(value),
    };
    Tensor::from_primitive::<Autodiff<Cube, C>>(value)
}
