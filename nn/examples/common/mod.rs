//! What the examples share: the checks and data of the examples of `burn-lazy`, an option for a picture, and a fit.
#![allow(dead_code, unused_imports)] // Each example uses only a part of this module.

#[path = "../../../examples/common/mod.rs"]
mod checks;
pub mod plot;

use std::{env, path::PathBuf};

use burn::{
    optim::{GradientsParams, LBFGSConfig, LineSearchFn},
    prelude::*,
};
use burn_lazy_nn::{
    gp::{ExactGp, LikelihoodOptions},
    kernel::Kernel,
};

pub use checks::{Checks, Diabetes, Reference, data_folder, host, read_rows, tracking_device};

/// The value of the option `name VALUE` of this program, if it is given.
pub fn option(name: &str) -> Result<Option<String>, String> {
    let mut rest = env::args().skip_while(|argument| argument != name);
    match (rest.next(), rest.next()) {
        (Some(_), None) => Err(format!("{name} takes a value")),
        (_, value) => Ok(value),
    }
}

/// The file of the option `--picture FILE`, into which the program draws.
pub fn picture_file() -> Result<Option<PathBuf>, String> {
    Ok(option("--picture")?.map(PathBuf::from))
}

/// The places `first..first + count` of a sequence that fills the unit square evenly (Roberts, "The unreasonable
/// effectiveness of quasirandom sequences", 2018).
pub fn unit_square(first: usize, count: usize) -> Vec<[f64; 2]> {
    let place = |k: usize| {
        [0.754_877_666_246_692_7, 0.569_840_290_998_053_2].map(|s| (k as f64 * s).fract())
    };
    (first..first + count).map(place).collect()
}

/// Points as a tensor `[N, 2]`.
pub fn tensor_of(points: &[[f64; 2]], device: &Device) -> Tensor<2> {
    let values = points.concat();
    Tensor::from_data(TensorData::new(values, [points.len(), 2]), device)
}

/// The process after at most `steps` steps of L-BFGS, which maximises the marginal likelihood.
pub fn fit<K: Kernel>(
    process: ExactGp<K>,
    x: &Tensor<2>,
    t: &Tensor<2>,
    steps: usize,
) -> ExactGp<K> {
    let mut optimiser = LBFGSConfig::new()
        .with_max_iter(steps)
        .with_line_search_fn(LineSearchFn::StrongWolfe)
        .init();
    let options = LikelihoodOptions::new();
    let (process, _) = optimiser.step(1.0, process, |process| {
        let loss = process
            .log_marginal_likelihood(x.clone(), t.clone(), &options)
            .neg();
        let value: f64 = loss.clone().into_scalar();
        (
            value,
            GradientsParams::from_grads(loss.backward(), &process),
        )
    });
    process
}
