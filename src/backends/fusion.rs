//! Fused backends: the reduction is queued and runs on the inner backend.

use std::marker::PhantomData;

use burn::backend::ir::ScalarIr;
use burn_fusion::{
    ExecutionError, Fusion, FusionBackend, FusionRuntime,
    custom::{CustomOpIr, HandleContainer, Operation, OperationIr, StreamId, TensorIr},
};

use super::described::{describe, reduced, register};
use crate::ops::{LazyOps, Operands, Reduced, Reduction};

/// A backend that a fused backend can have inside.
pub(crate) trait Fused: FusionBackend + LazyOps {
    /// The scalars with which a custom operation describes the reduction.
    fn scalars(reduction: &Reduction) -> Vec<ScalarIr>;
}

#[cfg(cube_backend)]
impl Fused for burn_cubecl::CubeBackend {
    /// No scalars are needed. Burn never fuses a custom operation with another one, so the plan that it keeps runs
    /// the operation that is registered, and nothing else.
    fn scalars(_reduction: &Reduction) -> Vec<ScalarIr> {
        Vec::new()
    }
}

#[cfg(feature = "router")]
impl<C: burn_router::RouterChannel> Fused for burn_router::BackendRouter<C> {
    /// The scalars hold the whole reduction. The server keeps a graph with the description in it, and gets only the
    /// scalars for each run.
    fn scalars(reduction: &Reduction) -> Vec<ScalarIr> {
        crate::wire::encode(reduction)
    }
}

#[derive(Debug)]
struct Reduce<B> {
    desc: CustomOpIr,
    reduction: Reduction,
    _backend: PhantomData<B>,
}

impl<B: FusionBackend + LazyOps> Operation<B::FusionRuntime> for Reduce<B> {
    fn execute(
        &self,
        handles: &mut HandleContainer<<B::FusionRuntime as FusionRuntime>::FusionHandle>,
    ) -> Result<(), ExecutionError> {
        let tensor = |tensor| handles.get_float_tensor::<B>(tensor);
        let operands = Operands(self.desc.inputs.iter().map(tensor).collect());
        let reduced = B::lazy_reduce(operands, self.reduction.clone());
        register::<B>(handles, &self.desc, reduced);
        Ok(())
    }
}

impl<B: Fused> LazyOps for Fusion<B> {
    fn lazy_reduce(operands: Operands<Self>, reduction: Reduction) -> Reduced<Self> {
        let client = operands.0[0].client.clone();
        let inputs: Vec<TensorIr> = operands.0.into_iter().map(|t| t.into_ir()).collect();
        let desc = describe(&inputs, &reduction, B::scalars(&reduction), || {
            client.create_empty_handle()
        });
        let wanted = reduction.wanted;
        let outputs = client.register(
            StreamId::current(),
            OperationIr::Custom(desc.clone()),
            Reduce::<B> {
                desc,
                reduction,
                _backend: PhantomData,
            },
        );
        reduced(outputs, wanted)
    }
}
