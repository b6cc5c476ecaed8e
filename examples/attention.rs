//! Attention whose matrix of scores is never stored, as a layer with learned projections, compared with
//! dense attention: `cargo run --features cpu --example attention`.

mod common;

use std::process::ExitCode;

use burn::{
    module::{Param, ParamId},
    prelude::*,
    tensor::{Distribution, activation::softmax},
};
use burn_lazy::{Axis, LazyTensor};
use common::{Checks, host, tracking_device};

/// Attention of several heads: $\mathrm{softmax}(q k^T / \sqrt d) \, v$ with $q = x W_q$, $k = x W_k$,
/// $v = x W_v$.
#[derive(Module, Debug)]
struct Attention {
    /// Of queries, keys and values, each `[heads, features, d]`.
    weights: [Param<Tensor<3>>; 3],
    causal: bool,
}

impl Attention {
    fn new(heads: usize, features: usize, d: usize, causal: bool, device: &Device) -> Self {
        let scale = 1.0 / (features as f64).sqrt();
        let weight = || {
            let normal = Distribution::Normal(0.0, scale);
            let tensor = Tensor::random([heads, features, d], normal, device);
            Param::initialized(ParamId::new(), tensor.require_grad())
        };
        Self {
            weights: [weight(), weight(), weight()],
            causal,
        }
    }

    /// Queries, keys and values `[batch, heads, time, d]` of `x`, `[batch, time, features]`.
    fn projections(&self, x: Tensor<3>) -> [Tensor<4>; 3] {
        let x: Tensor<4> = x.unsqueeze_dim(1);
        self.weights
            .each_ref()
            .map(|weight| x.clone().matmul(weight.val().unsqueeze_dim(0)))
    }

    /// In memory that is linear in the time.
    fn lazy(&self, x: Tensor<3>) -> Tensor<4> {
        let [q, k, v] = self.projections(x);
        let scale = (q.dims()[3] as f64).sqrt();
        let (q_i, k_j, v_j) = (LazyTensor::vi(q), LazyTensor::vj(k), LazyTensor::vj(v));
        let mut scores = (q_i | k_j) / scale;
        if self.causal {
            let future = LazyTensor::offset().less(0.0);
            scores = scores.mask_where(future, f64::NEG_INFINITY);
        }
        scores.sumsoftmaxweight(v_j, Axis::J)
    }

    /// With all scores stored.
    fn dense(&self, x: Tensor<3>) -> Tensor<4> {
        let [q, k, v] = self.projections(x);
        let [_, _, time, d] = q.dims();
        let mut scores = q.matmul(k.swap_dims(2, 3)) / (d as f64).sqrt();
        if self.causal {
            let future = Tensor::<2, Bool>::tril_mask([time, time], 0, &scores.device());
            scores = scores.mask_fill(future.unsqueeze(), f64::NEG_INFINITY);
        }
        softmax(scores, 3).matmul(v)
    }
}

fn main() -> ExitCode {
    let device = tracking_device();
    device.seed(7);
    let mut checks = Checks::default();
    for causal in [false, true] {
        let model = Attention::new(4, 32, 16, causal, &device);
        let x = Tensor::<3>::random([2, 200, 32], Distribution::Default, &device).require_grad();
        let weights = Tensor::<4>::random([2, 4, 200, 16], Distribution::Default, &device);
        let (lazy, dense) = (model.lazy(x.clone()), model.dense(x.clone()));
        let name = if causal { "causal" } else { "full" };
        println!("{name} attention, output {:?}", lazy.dims());
        checks.close("output", &host(lazy.clone()), &host(dense.clone()), 1e-5);

        let [lazy, dense] = [lazy, dense].map(|out| (out * weights.clone()).sum().backward());
        let gradient = |gradients| host(x.grad(gradients).expect("it is tracked"));
        checks.close("gradient by x", &gradient(&lazy), &gradient(&dense), 1e-4);
        for (name, weight) in ["queries", "keys", "values"].iter().zip(&model.weights) {
            let gradient = |gradients| host(weight.val().grad(gradients).expect("it is tracked"));
            let what = format!("gradient by the weights of {name}");
            checks.close(&what, &gradient(&lazy), &gradient(&dense), 1e-4);
        }
    }
    checks.exit_code()
}
