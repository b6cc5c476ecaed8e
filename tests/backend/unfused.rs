//! Tests of the operation on the backend without fusion, which devices hide in builds with fusion.

use burn::{
    backend::{Backend, DispatchDevice, ops::FloatTensorOps, tensor::FloatTensor},
    prelude::*,
};
use burn_autodiff::Autodiff;
use burn_cubecl::CubeBackend;
use burn_lazy::{
    Accumulation, Axis, LazyOps, LazyTensor, Operands, Reduction, ReductionKind, Wanted,
};

use super::support::{Random, assert_close, device, skipped};

/// Whether the device under test belongs to CubeCL. Other devices have no fusion.
fn is_fused() -> bool {
    let device = device();
    let fused = matches!(device.as_dispatch(), DispatchDevice::Cube(_));
    if !fused {
        skipped("the device has no fusion");
    }
    fused
}

type Tracked = FloatTensor<Autodiff<CubeBackend>>;

fn from_data(values: &[f64], shape: [usize; 2]) -> FloatTensor<CubeBackend> {
    let device = device();
    #[allow(unreachable_patterns)] // CubeCL can be the only backend.
    let DispatchDevice::Cube(device) = device.as_dispatch() else {
        panic!("{device:?} is no device of CubeCL");
    };
    let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
    CubeBackend::float_from_data(TensorData::new(values, shape), device)
}

fn host(tensor: FloatTensor<CubeBackend>) -> Vec<f64> {
    burn_cubecl::ops::into_data_sync(tensor)
        .iter::<f64>()
        .collect()
}

/// Sums `x_i y_j` over j, and adds the rows up into `fold` rows.
fn sum<B: Backend + LazyOps>(
    operands: Vec<FloatTensor<B>>,
    m: usize,
    n: usize,
    fold: Option<usize>,
) -> FloatTensor<B> {
    reduce::<B>(
        ReductionKind::Sum(Accumulation::Blocks),
        operands,
        (m, n),
        fold,
    )
}

/// Reduces `x_i y_j` over j.
fn reduce<B: Backend + LazyOps>(
    kind: ReductionKind,
    operands: Vec<FloatTensor<B>>,
    (m, n): (usize, usize),
    fold: Option<usize>,
) -> FloatTensor<B> {
    let x = LazyTensor::vi(Tensor::<2>::zeros([m, 1], &device()));
    let y = LazyTensor::vj(Tensor::<2>::zeros([n, 1], &device()));
    let reduction = Reduction {
        formula: (x * y).formula(),
        kind,
        wanted: Wanted::VALUES,
        values: None,
        indices: burn::tensor::IntDType::I32,
        squeezed: false,
        fold,
        ranges: None,
        axis: Axis::J,
        batch: vec![],
        m,
        n,
        scalars: vec![],
    };
    let reduced = B::lazy_reduce(Operands(operands), reduction);
    reduced.values.expect("they are wanted")
}

#[test]
fn sums_and_gradients_need_no_fusion() {
    if !is_fused() {
        return;
    }
    let (m, n) = (3, 5);
    let mut random = Random::new(21);
    let (x, y) = (random.vec(m), random.vec(n));
    let total: f64 = y.iter().sum();
    let expected: Vec<f64> = x.iter().map(|x| x * total).collect();

    let plain = sum::<CubeBackend>(
        vec![from_data(&x, [m, 1]), from_data(&y, [n, 1])],
        m,
        n,
        None,
    );
    assert_close("sum", &host(plain), &expected, 1e-6);

    let tracked = Tracked::new(from_data(&x, [m, 1])).require_grad();
    let constant = Tracked::new(from_data(&y, [n, 1]));
    let out = sum::<Autodiff<CubeBackend>>(vec![tracked.clone(), constant.clone()], m, n, None);
    assert_close("sum", &host(out.primitive().clone()), &expected, 1e-6);
    let gradients = out.backward();
    assert_close(
        "gradient",
        &host(tracked.grad(&gradients).unwrap()),
        &vec![total; m],
        1e-6,
    );
    assert!(constant.grad(&gradients).is_none());
}

#[test]
fn rows_that_are_added_up_have_gradients() {
    if !is_fused() {
        return;
    }
    let (m, n, fold) = (7, 5, 3);
    let mut random = Random::new(22);
    let (x, y, weights) = (random.vec(m), random.vec(n), random.vec(fold));
    let total: f64 = y.iter().sum();
    let tracked = Tracked::new(from_data(&x, [m, 1])).require_grad();
    let constant = Tracked::new(from_data(&y, [n, 1]));
    let operands = vec![tracked.clone(), constant];
    let out = sum::<Autodiff<CubeBackend>>(operands, m, n, Some(fold));
    let mut expected = vec![0.0; fold];
    for (i, x) in x.iter().enumerate() {
        expected[i % fold] += x * total;
    }
    assert_close("sum", &host(out.primitive().clone()), &expected, 1e-6);
    let weighted = Tracked::new(from_data(&weights, [fold, 1]));
    let gradients = Autodiff::<CubeBackend>::float_mul(out, weighted).backward();
    let expected: Vec<f64> = (0..m).map(|i| weights[i % fold] * total).collect();
    let gradient = host(tracked.grad(&gradients).unwrap());
    assert_close("gradient", &gradient, &expected, 1e-6);
}

#[test]
fn exponentials_of_large_scores_need_no_fusion() {
    if !is_fused() {
        return;
    }
    let (m, n) = (2, 300);
    let x = [3e3, -3e3];
    let y: Vec<f64> = Random::new(23)
        .vec(n)
        .iter()
        .map(|y| 2e3 + (64.0 * y).round())
        .collect();
    let tracked = Tracked::new(from_data(&x, [m, 1])).require_grad();
    let columns = Tracked::new(from_data(&y, [n, 1])).require_grad();
    let operands = vec![tracked.clone(), columns.clone()];
    let kind = ReductionKind::LogSumExp { scores: 1 };
    let out = reduce::<Autodiff<CubeBackend>>(kind, operands, (m, n), None);
    let gradients = out.backward();
    // The largest scores of a row are thousands above the others, so they share the whole weight.
    let mut by_y = vec![0.0; n];
    let mut by_x = Vec::new();
    for x in x {
        let most = y.iter().fold(f64::MIN, |most, y| most.max(x * y));
        let ties = y.iter().filter(|y| x * **y == most).count() as f64;
        for (by_y, y) in by_y.iter_mut().zip(&y) {
            if x * y == most {
                *by_y += x / ties;
            }
        }
        by_x.push(most / x);
    }
    assert_close(
        "by x",
        &host(tracked.grad(&gradients).unwrap()),
        &by_x,
        1e-6,
    );
    assert_close(
        "by y",
        &host(columns.grad(&gradients).unwrap()),
        &by_y,
        1e-6,
    );
}
