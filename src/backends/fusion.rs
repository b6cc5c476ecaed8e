//! Fused backends: the reduction is queued and runs on the inner backend.

use std::marker::PhantomData;

use burn::tensor::DType;
use burn_fusion::{
    ExecutionError, Fusion, FusionBackend, FusionRuntime,
    custom::{CustomOpIr, HandleContainer, Operation, OperationIr, StreamId, TensorIr},
};

use crate::{
    backends::computed,
    ops::{LazyOps, Operands, Reduced, Reduction},
};

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
        let mut outputs = self.desc.outputs.iter();
        if let Some(values) = reduced.values {
            let id = &outputs.next().expect("as many as are wanted").id;
            handles.register_float_tensor::<B>(id, values);
        }
        if let Some(indices) = reduced.indices {
            let id = &outputs.next().expect("as many as are wanted").id;
            handles.register_int_tensor::<B>(id, indices);
        }
        if let Some(state) = reduced.state {
            let id = &outputs.next().expect("as many as are wanted").id;
            handles.register_float_tensor::<B>(id, state);
        }
        Ok(())
    }
}

impl<B: FusionBackend + LazyOps> LazyOps for Fusion<B> {
    fn lazy_reduce(operands: Operands<Self>, reduction: Reduction) -> Reduced<Self> {
        let client = operands.0[0].client.clone();
        let inputs: Vec<TensorIr> = operands.0.into_iter().map(|t| t.into_ir()).collect();
        let wanted = reduction.wanted;
        let shape = reduction.output_shape();
        let out = |shape, dtype| TensorIr::uninit(client.create_empty_handle(), shape, dtype);
        let dtype = reduction.values_dtype(inputs[0].dtype);
        let outputs: Vec<TensorIr> = [
            wanted.values.then(|| out(shape.clone(), dtype)),
            wanted
                .indices
                .then(|| out(shape, DType::from(reduction.indices))),
            wanted
                .state
                .then(|| out(reduction.state_shape(), computed(dtype))),
        ]
        .into_iter()
        .flatten()
        .collect();
        // The description need not name the formula and the scalars. Burn never fuses a custom operation with
        // another, so the plan that it caches runs the operation that is registered here, and nothing else.
        let desc = CustomOpIr::with_scalars("lazy::reduce", &inputs, &outputs, vec![]);
        let mut outputs = client
            .register(
                StreamId::current(),
                OperationIr::Custom(desc.clone()),
                Reduce::<B> {
                    desc,
                    reduction,
                    _backend: PhantomData,
                },
            )
            .into_iter();
        Reduced {
            values: wanted.values.then(|| outputs.next().expect("registered")),
            indices: wanted.indices.then(|| outputs.next().expect("registered")),
            state: wanted.state.then(|| outputs.next().expect("registered")),
        }
    }
}
