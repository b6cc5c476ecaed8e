//! The cases that are measured.

use std::fmt;

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{contender::Call, losses, processes};

/// The contenders of this program other than the layers of this crate.
pub const OWN_PEERS: [&str; 2] = ["burn", "pair by pair"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The Sinkhorn divergence of two clouds, with its gradients by both clouds.
    SamplesLoss,
    /// Attention with eight heads, with the gradients by queries, keys and values.
    Attention,
    /// A marginal likelihood, with its gradients by the parameters.
    GaussianProcess,
    KernelRidge,
    Falkon,
    /// The contrastive loss of pairs of representations, with its gradients by both sides.
    Contrastive,
    /// Cross-entropy of a linear layer, with its gradients by the representations and by the weights of the classes.
    LinearCrossEntropy,
    /// The Chamfer loss of two clouds, with its gradients by both clouds.
    Chamfer,
}

impl Layer {
    pub fn name(self) -> &'static str {
        match self {
            Self::SamplesLoss => "samples_loss",
            Self::Attention => "attention",
            Self::GaussianProcess => "gaussian_process",
            Self::KernelRidge => "kernel_ridge",
            Self::Falkon => "falkon",
            Self::Contrastive => "contrastive",
            Self::LinearCrossEntropy => "linear_cross_entropy",
            Self::Chamfer => "chamfer",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    pub layer: Layer,
    /// The number of points, or the length of a sequence.
    pub n: usize,
    /// The number of classes or centres; 0 for layers without them.
    pub m: usize,
    pub d: usize,
    pub causal: bool,
    pub peers: Vec<String>,
    pub quick: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.layer.name(), self.sizes())
    }
}

impl Case {
    fn new(layer: Layer, n: usize, d: usize, peers: &[&str]) -> Self {
        Self {
            layer,
            n,
            m: 0,
            d,
            causal: false,
            peers: peers.iter().map(|name| (*name).into()).collect(),
            quick: false,
        }
    }

    fn m(self, m: usize) -> Self {
        Self { m, ..self }
    }

    fn quick(self) -> Self {
        Self {
            quick: true,
            ..self
        }
    }

    /// The sizes as text for the table.
    pub fn sizes(&self) -> String {
        let mut text = format!("N = {}, D = {}", self.n, self.d);
        match (self.layer, self.m) {
            (_, 0) => (),
            (Layer::LinearCrossEntropy, classes) => text += &format!(", {classes} classes"),
            (_, centers) => text += &format!(", {centers} centres"),
        }
        if self.causal {
            text += ", causal";
        }
        text
    }

    /// The call by which a contender of this program computes the case.
    pub fn call(&self, contender: &str, device: &Device) -> Option<Call> {
        let tracked = device.clone().autodiff();
        match (self.layer, contender) {
            (Layer::SamplesLoss, "burn-lazy-nn") => Some(losses::samples(self, &tracked)),
            (Layer::Chamfer, "burn-lazy-nn") => Some(losses::chamfer(self, &tracked)),
            (Layer::Attention, way) => losses::attention(self, way, &tracked),
            (Layer::Contrastive, way) => losses::contrastive(self, way, &tracked),
            (Layer::LinearCrossEntropy, way) => losses::linear_cross_entropy(self, way, &tracked),
            (Layer::GaussianProcess, "burn-lazy-nn") => Some(processes::likelihood(self, &tracked)),
            (Layer::KernelRidge, "burn-lazy-nn") => Some(processes::ridge(self, device)),
            (Layer::Falkon, "burn-lazy-nn") => Some(processes::falkon(self, device)),
            _ => None,
        }
    }
}

/// All cases, in the order in which they run. A peer that would take many minutes has only the smaller cases.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new(Layer::SamplesLoss, 500, 3, &["numpy", "pot"]).quick(),
        Case::new(Layer::SamplesLoss, 10_000, 3, &["numpy"]),
    ];
    for causal in [false, true] {
        for length in [1024, 4096] {
            cases.push(Case {
                causal,
                quick: length == 1024 && !causal,
                ..Case::new(Layer::Attention, length, 64, &["burn", "jax"])
            });
        }
    }
    cases.extend([
        Case::new(Layer::GaussianProcess, 1000, 3, &["sklearn"]).quick(),
        Case::new(Layer::GaussianProcess, 2000, 3, &["sklearn"]),
        Case::new(Layer::GaussianProcess, 10_000, 3, &[]),
        Case::new(Layer::KernelRidge, 1000, 3, &["sklearn"]).quick(),
        Case::new(Layer::KernelRidge, 10_000, 3, &["sklearn"]),
        Case::new(Layer::Falkon, 100_000, 3, &["sklearn"]).m(1000),
        Case::new(Layer::Contrastive, 1024, 128, &["burn", "jax"]).quick(),
        Case::new(Layer::Contrastive, 8192, 128, &["burn", "jax"]),
    ]);
    let peers = ["pair by pair", "burn", "jax"];
    let linear = |dim| Case::new(Layer::LinearCrossEntropy, 1024, dim, &peers).m(32_000);
    cases.extend([
        Case::new(Layer::LinearCrossEntropy, 256, 256, &peers)
            .m(8000)
            .quick(),
        linear(256),
        linear(768),
        Case::new(Layer::Chamfer, 2000, 3, &["scipy"]).quick(),
        Case::new(Layer::Chamfer, 16_000, 3, &["scipy"]),
    ]);
    cases
}
