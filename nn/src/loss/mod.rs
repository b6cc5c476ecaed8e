//! Losses between clouds of points, and of representations.

mod chamfer;
mod cloud;
mod contrastive;
mod cost;
mod energy;
mod error;
mod hausdorff;
mod linear_cross_entropy;
mod logits;
mod mmd;
mod nearest;
mod quadratic;
mod samples;
mod sinkhorn;
mod transport;

pub use chamfer::{ChamferLoss, ChamferLossConfig, ChamferOutput};
pub use cloud::Cloud;
pub use contrastive::{ContrastiveLoss, ContrastiveLossConfig};
pub use energy::{EnergyDistance, EnergyDistanceConfig};
pub use error::LossError;
pub use hausdorff::{HausdorffLoss, HausdorffLossConfig};
pub use linear_cross_entropy::{LinearCrossEntropyLoss, LinearCrossEntropyLossConfig};
pub use mmd::{MmdLoss, MmdLossConfig};
pub use nearest::Direction;
pub use quadratic::Estimator;
pub use samples::{Divergence, SamplesLoss, SamplesLossConfig};
pub use transport::Transport;
