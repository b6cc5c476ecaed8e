//! Multi-head attention that never stores its matrix of scores, as a replacement of the layer of `burn-nn`. Both have
//! the same record, outputs and gradients: `cargo run -p burn-lazy-nn --example attention`.

mod common;

use std::{error::Error, process::ExitCode};

use burn::{
    nn::attention::{MhaInput, MultiHeadAttentionConfig as DenseConfig},
    prelude::*,
    store::ModuleRecord,
    tensor::Distribution,
};
use burn_lazy_nn::attention::{AttentionInput, MultiHeadAttentionConfig};
use common::{Checks, host, tracking_device};

/// The number of sequences, their length, the number of features of a token, and the number of heads.
const BATCH: usize = 2;
const LENGTH: usize = 200;
const FEATURES: usize = 64;
const HEADS: usize = 4;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let device = tracking_device();
    device.seed(7);
    let mut checks = Checks::default();
    let dense = DenseConfig::new(FEATURES, HEADS)
        .with_dropout(0.0)
        .init(&device);
    let record = ModuleRecord::from_bytes(dense.clone().into_record().into_bytes()?)?;
    let lazy = MultiHeadAttentionConfig::new(FEATURES, HEADS)
        .with_dropout(0.0)
        .init(&device)
        .load_record(record);

    let shape = [BATCH, LENGTH, FEATURES];
    let x = Tensor::<3>::random(shape, Distribution::Default, &device).require_grad();
    let weights = Tensor::<3>::random(shape, Distribution::Default, &device);
    // `padding` marks the positions of each sequence that hold no token. `later` marks, for each position, the later
    // positions that it may not attend to.
    let lengths = Tensor::<2>::from_data([[LENGTH as f32], [120.0]], &device.clone().inner());
    let places = Tensor::<1, Int>::arange(0..LENGTH as i64, &device.clone().inner());
    let padding = places.float().unsqueeze_dim::<2>(0).greater_equal(lengths);
    let later = Tensor::<2, Bool>::tril_mask([LENGTH; 2], 0, &device.clone().inner());
    let later = later.unsqueeze_dim::<3>(0).repeat_dim(0, BATCH);

    let input = || {
        (
            MhaInput::self_attn(x.clone()),
            AttentionInput::self_attn(x.clone()),
        )
    };
    let (of_dense, of_lazy) = input();
    let cases = [
        ("all places", of_dense, of_lazy),
        {
            let (of_dense, of_lazy) = input();
            ("causal", of_dense.mask_attn(later), of_lazy.causal())
        },
        {
            let (of_dense, of_lazy) = input();
            let mask = padding.clone();
            (
                "padding",
                of_dense.mask_pad(mask),
                of_lazy.mask_pad(padding),
            )
        },
    ];
    for (what, of_dense, of_lazy) in cases {
        println!("{what}, {BATCH} x {LENGTH} tokens of {FEATURES} features, {HEADS} heads");
        let expected = dense.forward(of_dense).context;
        let own = lazy.try_forward(of_lazy)?;
        checks.close("output", &host(own.clone()), &host(expected.clone()), 1e-5);
        let [own, expected] = [own, expected].map(|out| (out * weights.clone()).sum().backward());
        let by_x = |gradients| x.grad(gradients).map_or(vec![], host);
        checks.close("gradient by x", &by_x(&own), &by_x(&expected), 1e-4);
        for (name, own_part, part) in [
            ("queries", &lazy.query, &dense.query),
            ("keys", &lazy.key, &dense.key),
            ("values", &lazy.value, &dense.value),
        ] {
            let by_own = own_part.weight.val().grad(&own).map_or(vec![], host);
            let by_part = part.weight.val().grad(&expected).map_or(vec![], host);
            let what = format!("gradient by the weights of {name}");
            checks.close(&what, &by_own, &by_part, 1e-4);
        }
    }
    Ok(checks.exit_code())
}
