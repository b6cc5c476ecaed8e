//! Reductions as custom operations of Burn's intermediate representation, for fused streams and for remote servers.

use burn::{
    backend::{
        Backend,
        ir::{BackendIr, CustomOpIr, HandleContainer, ScalarIr, TensorId, TensorIr},
        tensor::{FloatTensor, IntTensor},
    },
    tensor::{DType, Shape},
};
use burn_lazy_kernels::Wanted;

use super::computed;
use crate::ops::{Reduced, Reduction};

/// The name of the operation.
pub(super) const ID: &str = "lazy::reduce";

/// Shapes and types of the results of `reduction` for operands of type `dtype`, in the order of the fields of
/// [`Reduced`].
pub(super) fn results(reduction: &Reduction, dtype: DType) -> Vec<(Shape, DType)> {
    let wanted = reduction.wanted;
    let shape = reduction.output_shape();
    let dtype = reduction.values_dtype(dtype);
    let indices = DType::from(reduction.indices);
    let results = [
        wanted.values.then(|| (shape.clone(), dtype)),
        wanted.indices.then_some((shape, indices)),
        wanted
            .state
            .then(|| (reduction.state_shape(), computed(dtype))),
    ];
    results.into_iter().flatten().collect()
}

/// The custom operation for `reduction` of `inputs`, with these scalars. `id` makes the ids of the results.
pub(super) fn describe(
    inputs: &[TensorIr],
    reduction: &Reduction,
    scalars: Vec<ScalarIr>,
    mut id: impl FnMut() -> TensorId,
) -> CustomOpIr {
    let results = results(reduction, inputs[0].dtype).into_iter();
    let outputs: Vec<TensorIr> = results
        .map(|(shape, dtype)| TensorIr::uninit(id(), shape, dtype))
        .collect();
    CustomOpIr::with_scalars(ID, inputs, &outputs, scalars)
}

/// The results of a reduction from the output tensors of its custom operation.
pub(super) fn reduced<B: Backend, T>(tensors: Vec<T>, wanted: Wanted) -> Reduced<B>
where
    FloatTensor<B>: From<T>,
    IntTensor<B>: From<T>,
{
    let mut tensors = tensors.into_iter();
    let mut next = || tensors.next().expect("as many as are wanted");
    Reduced {
        values: wanted.values.then(|| next().into()),
        indices: wanted.indices.then(|| next().into()),
        state: wanted.state.then(|| next().into()),
    }
}

/// Registers the results of a reduction as the outputs of `desc`.
pub(super) fn register<B: BackendIr>(
    handles: &mut HandleContainer<B::Handle>,
    desc: &CustomOpIr,
    reduced: Reduced<B>,
) {
    let mut outputs = desc.outputs.iter();
    let mut next = || &outputs.next().expect("as many as are wanted").id;
    if let Some(values) = reduced.values {
        handles.register_float_tensor::<B>(next(), values);
    }
    if let Some(indices) = reduced.indices {
        handles.register_int_tensor::<B>(next(), indices);
    }
    if let Some(state) = reduced.state {
        handles.register_float_tensor::<B>(next(), state);
    }
}
