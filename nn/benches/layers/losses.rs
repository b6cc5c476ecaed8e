//! Losses and attention, forward and backward.

use burn::{
    module::Param,
    nn::loss::{CrossEntropyLossConfig, Reduction},
    prelude::*,
    tensor::{activation, module, ops::AttentionModuleOptions},
};
use burn_lazy_nn::{
    attention::Attention,
    loss::{
        ChamferLossConfig, ContrastiveLossConfig, LinearCrossEntropyLossConfig, SamplesLossConfig,
    },
};

use crate::{
    cases::Case,
    contender::{Call, Outcome},
    data::{centred, clouds, head, targets},
};

/// The number of heads of attention.
const HEADS: usize = 8;

const TEMPERATURE: f64 = 0.07;

/// A loss of two operands, with its gradients by both.
fn of_two(
    operands: [Tensor<2>; 2],
    loss: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<1> + 'static,
) -> Call {
    Box::new(move || {
        let [a, b] = operands.clone().map(|own| own.detach().require_grad());
        let value = loss(a.clone(), b.clone());
        let gradients = value.backward();
        let parts = [a, b].map(|own| head(own.grad(&gradients).expect("it is tracked")));
        Outcome {
            value: value.inner(),
            gradient: Some(Tensor::cat(parts.into(), 0)),
        }
    })
}

pub fn samples(case: &Case, device: &Device) -> Call {
    let loss = SamplesLossConfig::sinkhorn().init();
    of_two(clouds([case.n, case.d], device), move |x, y| {
        loss.forward(x, y)
    })
}

pub fn chamfer(case: &Case, device: &Device) -> Call {
    let loss = ChamferLossConfig::new().init();
    of_two(clouds([case.n, case.d], device), move |x, y| {
        loss.forward(x, y)
    })
}

pub fn contrastive(case: &Case, way: &str, device: &Device) -> Option<Call> {
    let shape = [case.n, case.d];
    let a = centred(0, shape, device);
    // The two sides of a pair are correlated.
    let b = a.clone() * 0.5 + centred(1, shape, device);
    let loss = ContrastiveLossConfig::new()
        .with_temperature(TEMPERATURE)
        .init(device);
    match way {
        "burn-lazy-nn" => Some(of_two([a, b], move |a, b| loss.forward(a, b))),
        "burn" => Some(of_two([a, b], |a, b| {
            let directions = |rows: Tensor<2>| {
                let length = rows.clone().square().sum_dim(1).sqrt();
                rows / length
            };
            let scores = directions(a).matmul(directions(b).transpose()) / TEMPERATURE;
            let [count, _] = scores.dims();
            let own = targets_of_rows(count, &scores.device());
            let side = |scores: Tensor<2>| {
                let losses = activation::log_softmax(scores, 1).gather(1, own.clone());
                losses.mean().neg()
            };
            (side(scores.clone()) + side(scores.transpose())) * 0.5
        })),
        _ => None,
    }
}

/// The index of each row, `[N, 1]`.
fn targets_of_rows(count: usize, device: &Device) -> Tensor<2, Int> {
    Tensor::<1, Int>::arange(0..count as i64, device).unsqueeze_dim(1)
}

pub fn linear_cross_entropy(case: &Case, way: &str, device: &Device) -> Option<Call> {
    let h = centred(0, [case.n, case.d], device);
    let weight = centred(1, [case.m, case.d], device) / (case.d as f64).sqrt();
    let targets = targets(case.n, case.m, device);
    let layer = LinearCrossEntropyLossConfig::new(case.d, case.m).init(device);
    let with = move |weight: Tensor<2>| {
        let mut layer = layer.clone();
        layer.weight = Param::from_tensor(weight);
        layer
    };
    let loss: Box<dyn Fn(Tensor<2>, Tensor<2>) -> Tensor<1>> = match way {
        "burn-lazy-nn" => {
            Box::new(move |h, weight| with(weight).forward(h, targets.clone(), Reduction::Mean))
        }
        "pair by pair" => {
            Box::new(move |h, weight| with(weight).forward_no_reduction(h, targets.clone()).mean())
        }
        "burn" => {
            let loss = CrossEntropyLossConfig::new().init(device);
            Box::new(move |h, weight| loss.forward(h.matmul(weight.transpose()), targets.clone()))
        }
        _ => return None,
    };
    Some(of_two([h, weight], loss))
}

pub fn attention(case: &Case, way: &str, device: &Device) -> Option<Call> {
    let operand = |k: usize| {
        let rows = centred(k, [HEADS * case.n, case.d], device);
        rows.reshape([1, HEADS, case.n, case.d])
    };
    let [q, k, v, weights] = [0, 1, 2, 3].map(operand);
    let layer = Attention::new();
    let layer = if case.causal { layer.causal() } else { layer };
    let causal = case.causal;
    let forward: Box<dyn Fn(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>> = match way {
        "burn-lazy-nn" => Box::new(move |q, k, v| layer.forward(q, k, v)),
        "burn" => Box::new(move |q, k, v| {
            let options = AttentionModuleOptions {
                is_causal: causal,
                ..Default::default()
            };
            module::attention(q, k, v, None, None, options)
        }),
        _ => return None,
    };
    Some(Box::new(move || {
        let [q, k, v] = [&q, &k, &v].map(|own| own.clone().detach().require_grad());
        let out = forward(q.clone(), k.clone(), v.clone());
        let gradients = (out.clone() * weights.clone()).sum().backward();
        let rows = |own: Tensor<4>| head(own.flatten(0, 2));
        let parts = [q, k, v].map(|own| rows(own.grad(&gradients).expect("it is tracked")));
        Outcome {
            value: rows(out.inner()),
            gradient: Some(Tensor::cat(parts.into(), 0)),
        }
    }))
}
