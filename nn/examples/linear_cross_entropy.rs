//! The time of a linear layer with its cross-entropy, forward and backward, without stored logits and with them:
//! `cargo run --release --example linear_cross_entropy -- [ROWS] [CLASSES]`.

use std::time::Instant;

use burn::{
    nn::loss::{CrossEntropyLossConfig, Reduction},
    prelude::*,
    tensor::Distribution,
};
use burn_lazy_nn::loss::{LinearCrossEntropyLoss, LinearCrossEntropyLossConfig};

/// The least time of three calls after a first one, in seconds, and the value of the loss.
fn timed(loss: impl Fn() -> Tensor<1>) -> (f64, f32) {
    let call = || {
        let start = Instant::now();
        let out = loss();
        let value: f32 = out.clone().into_scalar();
        let gradients = out.backward();
        drop(gradients);
        (start.elapsed().as_secs_f64(), value)
    };
    let (_, value) = call();
    let least = (0..3).map(|_| call().0).fold(f64::INFINITY, f64::min);
    (least, value)
}

fn dense(loss: &LinearCrossEntropyLoss, h: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let logits = h.matmul(loss.weight.val().transpose());
    let device = logits.device();
    CrossEntropyLossConfig::new()
        .init(&device)
        .forward(logits, targets)
}

fn main() {
    let mut sizes = std::env::args()
        .skip(1)
        .map(|size| size.parse().expect("a number"));
    let rows = sizes.next().unwrap_or(512);
    let classes = sizes.next().unwrap_or(8192);
    let device = Device::default().autodiff();
    println!("{rows} rows, {classes} classes");
    for dim in [64, 128, 256, 768, 2048] {
        let loss = LinearCrossEntropyLossConfig::new(dim, classes).init(&device);
        let h = Tensor::<2>::random([rows, dim], Distribution::Default, &device).require_grad();
        let targets = Tensor::<1, Int>::arange(0..rows as i64, &device);
        let (lazy, value) = timed(|| loss.forward(h.clone(), targets.clone(), Reduction::Mean));
        let (symbolic, _) = timed(|| loss.forward_no_reduction(h.clone(), targets.clone()).mean());
        let (stored, expected) = timed(|| dense(&loss, h.clone(), targets.clone()));
        assert!((value - expected).abs() < 1e-3, "{value} {expected}");
        println!(
            "D = {dim}: {lazy:.3} s, {symbolic:.3} s pair by pair, {stored:.3} s with all logits stored"
        );
    }
}
