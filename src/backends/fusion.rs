//! Fused backends: the reduction is queued and runs on the inner backend.

use std::marker::PhantomData;

use burn::backend::tensor::FloatTensor;
use burn_fusion::{
    ExecutionError, Fusion, FusionBackend, FusionRuntime,
    custom::{
        CustomOpIr, HandleContainer, Operation, OperationIr, OperationOutput, StreamId, TensorIr,
    },
};

use crate::ops::{LazyOps, Operands, Reduction};

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
        let out = B::lazy_reduce(operands, self.reduction.clone());
        handles.register_float_tensor::<B>(&self.desc.outputs[0].id, out);
        Ok(())
    }
}

impl<B: FusionBackend + LazyOps> LazyOps for Fusion<B> {
    fn lazy_reduce(operands: Operands<Self>, reduction: Reduction) -> FloatTensor<Self> {
        let client = operands.0[0].client.clone();
        let inputs: Vec<TensorIr> = operands.0.into_iter().map(|t| t.into_ir()).collect();
        let out = TensorIr::uninit(
            client.create_empty_handle(),
            reduction.output_shape(),
            inputs[0].dtype,
        );
        // The description names neither formula nor scalars: a custom operation is never fused with
        // another, so the plan that Burn caches for it only runs the operation registered here.
        let desc = CustomOpIr::with_scalars("lazy::reduce", &inputs, &[out], vec![]);
        client
            .register(
                StreamId::current(),
                OperationIr::Custom(desc.clone()),
                Reduce::<B> {
                    desc,
                    reduction,
                    _backend: PhantomData,
                },
            )
            .output()
    }
}
