//! Losses on a device that keeps fewer values for the backward pass.

use burn::{module::Param, nn::loss::Reduction, prelude::*, tensor::DType};
use burn_lazy_nn::loss::{
    ChamferLossConfig, Cloud, ContrastiveLossConfig, LinearCrossEntropyLossConfig, MmdLossConfig,
    SamplesLossConfig,
};

use super::support::{Random, assert_close, device, host, tensor};

/// The losses of two clouds, and the gradient of the sum of these losses by the first cloud.
fn losses_and_gradient(device: &Device) -> Vec<f64> {
    let leaf = |seed: u64, dim: usize| {
        let values = Random::new(seed).vec(4 * dim);
        tensor::<2>(&values, [4, dim], DType::F32, device).require_grad()
    };
    let padding = Tensor::<1, Bool>::from_data([false, false, true, false], device);
    let labels = Tensor::<1, Int>::from_data([1, 0, 1, -100], device);
    let mut out = vec![];
    for dim in [2, 130] {
        let (x, y) = (leaf(71, dim), leaf(72, dim));
        let [own, other] = [&x, &y].map(|points| Cloud::new(points.clone()));
        let own = own.with_padding(padding.clone());
        let mut classifier = LinearCrossEntropyLossConfig::new(dim, 4).init(device);
        classifier.weight = Param::from_tensor(leaf(73, dim));
        let contrastive = ContrastiveLossConfig::new()
            .with_learnable(true)
            .init(device);
        let samples = SamplesLossConfig::sinkhorn().with_blur(0.5).init();
        let losses = [
            samples.forward_clouds(&own, &other),
            samples
                .clone()
                .with_cost(|x, y| x.sqdist(y))
                .forward_clouds(&own, &other),
            SamplesLossConfig::hausdorff(2.0, 0.5)
                .init()
                .forward_clouds(&own, &other),
            ChamferLossConfig::new().init().forward_clouds(&own, &other),
            MmdLossConfig::new()
                .with_relative_to_median(true)
                .init()
                .forward_clouds(&own, &other),
            contrastive.forward(x.clone(), y.clone()),
            contrastive.forward_views(x.clone(), y.clone()),
            contrastive.forward_labels(x.clone(), labels.clone()),
            classifier.forward(x.clone(), labels.clone(), Reduction::Mean),
        ];
        let sum = Tensor::cat(losses.to_vec(), 0).sum();
        out.extend(losses.into_iter().flat_map(host));
        let gradients = sum.backward();
        for leaf in [x, classifier.weight.val()] {
            out.extend(host(leaf.grad(&gradients).expect("it is tracked")));
        }
    }
    out
}

#[test]
fn values_and_gradients_are_the_same() {
    let expected = losses_and_gradient(&device().autodiff());
    let out = losses_and_gradient(&device().autodiff().gradient_checkpointing());
    assert_close("checkpoints", &out, &expected, 1e-5);
}
