//! Routed backends, such as Burn's remote devices: a reduction is sent to a server, which runs it.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use burn::backend::{
    ExecutionError, TensorMetadata,
    ir::{BackendIr, CustomOpIr, HandleContainer, OperationIr, TensorError, TensorIr},
};
use burn_lazy_kernels::expr::Var;
use burn_router::{BackendRouter, CustomOpRegistry, RouterChannel, RouterClient};

use super::described::{ID, describe, reduced, register, results};
use crate::{
    ops::{LazyOps, Operands, Reduced, Reduction},
    wire,
};

impl<C: RouterChannel> LazyOps for BackendRouter<C> {
    fn lazy_reduce(operands: Operands<Self>, reduction: Reduction) -> Reduced<Self> {
        let client = operands.0[0].client.clone();
        let inputs: Vec<TensorIr> = operands.0.into_iter().map(|t| t.into_ir()).collect();
        let scalars = wire::encode(&reduction);
        let desc = describe(&inputs, &reduction, scalars, || {
            client.create_empty_handle()
        });
        reduced(client.register(OperationIr::Custom(desc)), reduction.wanted)
    }
}

/// Adds the reductions of symbolic matrices to the custom operations of a server. Clients with remote devices need
/// them.
///
/// `B` is the backend of the server's devices. The feature of this crate for this backend must be on, such as `flex`
/// for `Flex`.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::backend::Flex;
/// use burn_router::CustomOpRegistry;
///
/// let mut registry = CustomOpRegistry::<Flex>::new();
/// burn_lazy::register_lazy_ops(&mut registry);
/// # }
/// ```
///
/// With the feature `remote-server` of Burn the registry is given to the server:
///
/// ```ignore
/// RemoteServer::new([Device::flex()])
///     .with_custom_ops::<Flex>(registry)
///     .serve(WebSocketTransport::new(3000))?;
/// ```
///
/// A server trusts no client. The formula, its sizes, the tensors and the results are checked before anything is
/// computed. A refused reduction is logged with the reason, and its results hold an error instead of values. Burn
/// 0.22.1 ends the session of a client that reads such a result. Other sessions and the server go on.
///
/// Client and server must be built with the same version of this crate: a server refuses the reductions of a client
/// with another version or other functions.
pub fn register_lazy_ops<B: BackendIr + LazyOps>(registry: &mut CustomOpRegistry<B>) {
    registry.register(ID, |handles, desc, _device| serve::<B>(handles, desc));
}

/// Runs the reduction that a client asks for. If it is refused, the results hold the reason as an error.
fn serve<B: BackendIr + LazyOps>(handles: &mut HandleContainer<B::Handle>, desc: &CustomOpIr) {
    // Burn ends the session if anything panics, and the backend panics where its device refuses a reduction.
    let run = AssertUnwindSafe(|| run::<B>(handles, desc));
    let done = catch_unwind(run).unwrap_or_else(|panic| Err(text(&*panic)));
    let Err(reason) = done else {
        return;
    };
    log::error!("a reduction of a client was refused: {reason}");
    // Frees the inputs that the operation would have used up.
    desc.inputs.iter().for_each(|input| handles.free(input));
    let error = TensorError::new(ExecutionError::generic(format!("{ID}: {reason}")));
    for output in &desc.outputs {
        handles.set_error(output.id, error.clone());
    }
}

/// The message of a panic.
fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("the backend panicked").to_string()
}

fn run<B: BackendIr + LazyOps>(
    handles: &mut HandleContainer<B::Handle>,
    desc: &CustomOpIr,
) -> Result<(), String> {
    let reduction = wire::decode(&desc.scalars).map_err(|error| error.to_string())?;
    let vars: Vec<&Var> = reduction.formula.tensors().collect();
    if vars.len() != desc.inputs.len() {
        let (given, expected) = (desc.inputs.len(), vars.len());
        return Err(format!(
            "{given} tensors for {expected} in {}",
            reduction.formula
        ));
    }
    for (k, input) in desc.inputs.iter().enumerate() {
        if let Some(error) = handles.error(&input.id) {
            return Err(format!("tensor {k}: {error}"));
        }
        if !handles.has_handle(&input.id) {
            return Err(format!("tensor {k} does not exist"));
        }
    }
    let tensors = desc.inputs.iter();
    let tensors: Vec<_> = tensors
        .map(|input| handles.get_float_tensor::<B>(input))
        .collect();
    let dtype = tensors[0].dtype();
    for (k, (tensor, var)) in tensors.iter().zip(vars).enumerate() {
        let (own, shape) = (tensor.dtype(), tensor.shape());
        if own != dtype || super::precision(own).is_none() {
            return Err(format!(
                "tensor {k} is of type {own:?}, tensor 0 of {dtype:?}"
            ));
        }
        check_shape(var, &shape, &reduction)
            .map_err(|what| format!("tensor {k} of shape {:?} {what}", shape.to_vec()))?;
    }
    let outputs: Vec<_> = desc
        .outputs
        .iter()
        .map(|output| (output.shape.clone(), output.dtype))
        .collect();
    let expected = results(&reduction, dtype);
    if outputs != expected {
        return Err(format!("results {outputs:?} instead of {expected:?}"));
    }
    let given = B::lazy_reduce(Operands(tensors), reduction);
    register::<B>(handles, desc, given);
    Ok(())
}

/// Checks that a tensor of shape `shape` fits the operand `var`.
fn check_shape(var: &Var, shape: &[usize], reduction: &Reduction) -> Result<(), String> {
    let rows = var.axes.i.then_some(("rows", reduction.m));
    let columns = var.axes.j.then_some(("columns", reduction.n));
    let axes: Vec<(&str, usize)> = rows.into_iter().chain(columns).collect();
    let own = axes.len() + 1;
    let Some((batch, rest)) = shape.len().checked_sub(own).map(|at| shape.split_at(at)) else {
        return Err(format!("needs {own} dimensions"));
    };
    if rest[axes.len()] != var.dim {
        return Err(format!("needs {} components", var.dim));
    }
    // A dimension of size 1 is broadcast.
    let fits = |own: usize, size: usize| own == 1 || own == size;
    if let Some((_, (what, size))) = rest.iter().zip(&axes).find(|(a, (_, b))| !fits(**a, *b)) {
        return Err(format!("needs {size} {what}"));
    }
    let all = &reduction.batch;
    let mut pairs = batch.iter().rev().zip(all.iter().rev());
    match batch.len() <= all.len() && pairs.all(|(own, size)| fits(*own, *size)) {
        true => Ok(()),
        false => Err(format!("does not broadcast to batches of {all:?}")),
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::{
        backend::{
            Flex,
            ir::{ScalarIr, TensorId, TensorStatus},
        },
        tensor::{DType, IntDType, TensorData, read_sync},
    };
    use burn_lazy_kernels::{Axis, Expr, Formula, ReductionKind, Wanted};
    use burn_router::TensorInterpreter;

    use super::*;

    fn server() -> TensorInterpreter<Flex> {
        let mut registry = CustomOpRegistry::<Flex>::new();
        register_lazy_ops(&mut registry);
        TensorInterpreter::with_custom_ops(Default::default(), registry)
    }

    fn var(id: u64, axis: Axis) -> Expr {
        Expr::var(Var {
            id,
            axes: Some(axis).into(),
            dim: 1,
            scalar: false,
        })
    }

    /// The smallest $|x_i - y_j|$ of each row, and its column.
    fn nearest() -> Reduction {
        let root = (var(0, Axis::I) - var(1, Axis::J)).abs();
        Reduction {
            formula: Formula::new(&root).0,
            kind: ReductionKind::Minimum,
            wanted: Wanted::BOTH,
            values: None,
            indices: IntDType::I64,
            axis: Axis::J,
            batch: vec![],
            m: 2,
            n: 3,
            squeezed: false,
            fold: None,
            ranges: None,
            scalars: vec![],
        }
    }

    /// A description of [`nearest`] on tensors of a server, with a `change`.
    fn described(
        server: &mut TensorInterpreter<Flex>,
        first: u64,
        change: &dyn Fn(&mut CustomOpIr),
    ) -> CustomOpIr {
        let x = TensorData::from([[0.0f32], [10.0]]);
        let y = TensorData::from([[1.0f32], [8.0], [2.0]]);
        let inputs = [x, y].map(|data| server.register_tensor_data_desc(data));
        let mut id = first;
        let reduction = nearest();
        let mut desc = describe(&inputs, &reduction, wire::encode(&reduction), || {
            id += 1;
            TensorId::new(id)
        });
        change(&mut desc);
        desc
    }

    fn read(server: &mut TensorInterpreter<Flex>, output: &TensorIr) -> Vec<f64> {
        let output = TensorIr {
            status: TensorStatus::ReadWrite,
            ..output.clone()
        };
        let data = read_sync(server.read_tensor_async(output)).unwrap();
        data.iter::<f64>().collect()
    }

    #[test]
    fn a_server_gives_values_and_indices() {
        let mut server = server();
        let desc = described(&mut server, 1 << 40, &|_| ());
        server.register_op(OperationIr::Custom(desc.clone()));
        assert_eq!(read(&mut server, &desc.outputs[0]), [1.0, 2.0]);
        assert_eq!(read(&mut server, &desc.outputs[1]), [0.0, 1.0]);
    }

    /// The results of a refused reduction hold the reason, and the server goes on.
    #[test]
    fn what_does_not_fit_is_refused() {
        fn reduction(change: impl Fn(&mut Reduction)) -> Vec<ScalarIr> {
            let mut reduction = nearest();
            change(&mut reduction);
            wire::encode(&reduction)
        }
        let other = reduction(|own| own.axis = Axis::I);
        let rows = reduction(|own| own.m = 7);
        let more = reduction(|own| own.batch = vec![4]);
        let wide = reduction(|own| {
            let root = own
                .formula
                .root()
                .map_vars(|var| Expr::var(Var { dim: 2, ..*var }));
            own.formula = Formula::new(&root.inner_sum()).0;
        });
        type Change<'a> = &'a dyn Fn(&mut CustomOpIr);
        let refused: [(Change, &str); 11] = [
            (&|desc| desc.scalars.clear(), "scalar 0 of 0 is None"),
            (
                &|desc| desc.scalars[0] = ScalarIr::UInt(99),
                "the client sends reductions in version 99",
            ),
            (&|desc| desc.inputs.truncate(1), "1 tensors for 2 in"),
            (
                &|desc| desc.inputs[1].id = TensorId::new(1 << 50),
                "tensor 1 does not exist",
            ),
            (&|desc| desc.outputs[0].dtype = DType::F64, "results ["),
            (&|desc| desc.outputs.truncate(1), "results ["),
            (
                &|desc| desc.inputs.swap(0, 1),
                "tensor 0 of shape [3, 1] needs 2 rows",
            ),
            (&|desc| desc.scalars = other.clone(), "results ["),
            (
                &|desc| desc.scalars = rows.clone(),
                "tensor 0 of shape [2, 1] needs 7 rows",
            ),
            (&|desc| desc.scalars = more.clone(), "results ["),
            (
                &|desc| desc.scalars = wide.clone(),
                "tensor 0 of shape [2, 1] needs 2 components",
            ),
        ];
        for (k, (change, expected)) in refused.into_iter().enumerate() {
            let mut handles = HandleContainer::new();
            let mut interpreter = server();
            let desc = described(&mut interpreter, (k as u64 + 1) << 40, &|_| ());
            for input in &desc.inputs {
                handles.register_handle(input.id, interpreter.get_tensor_handle(input));
            }
            let mut wrong = desc.clone();
            change(&mut wrong);
            serve::<Flex>(&mut handles, &wrong);
            for output in &wrong.outputs {
                let error = handles.error(&output.id).expect("it has no values");
                assert!(
                    error.root().contains(expected),
                    "{} is not: {expected}",
                    error.root()
                );
            }
            // Inputs that the operation would have used up are freed.
            assert!(!handles.has_handle(&wrong.inputs[0].id));
        }
    }

    /// A tensor that holds an error cannot be an operand, and the results name the first error.
    #[test]
    fn an_error_is_handed_on() {
        let mut handles = HandleContainer::new();
        let mut interpreter = server();
        let desc = described(&mut interpreter, 1 << 40, &|_| ());
        for input in &desc.inputs {
            handles.register_handle(input.id, interpreter.get_tensor_handle(input));
        }
        let cause = TensorError::new(ExecutionError::generic("no memory"));
        handles.set_error(desc.inputs[1].id, cause);
        serve::<Flex>(&mut handles, &desc);
        let error = handles.error(&desc.outputs[0].id).unwrap();
        assert!(
            error
                .root()
                .contains("tensor 1: the work writing it failed: no memory")
        );
    }

    /// If the backend panics, the results hold an error, too.
    #[test]
    fn a_panic_is_an_error_of_the_results() {
        let mut handles = HandleContainer::new();
        let mut interpreter = server();
        let desc = described(&mut interpreter, 1 << 40, &|_| ());
        let whole = interpreter.register_tensor_data_desc(TensorData::from([[1i64], [2]]));
        let own = [whole, desc.inputs[1].clone()];
        for input in &own {
            handles.register_handle(input.id, interpreter.get_tensor_handle(input));
        }
        let desc = CustomOpIr {
            inputs: own.to_vec(),
            ..desc
        };
        serve::<Flex>(&mut handles, &desc);
        assert!(handles.error(&desc.outputs[0].id).is_some());
    }
}
