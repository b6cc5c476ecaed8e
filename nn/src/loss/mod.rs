//! Losses between point clouds, and losses of representations.
//!
//! Losses of point clouds store nothing for each pair of points. Cross-entropy and contrastive losses of long
//! representations store at once at most as many scores as their setting `max_logits` allows. All losses have forms
//! that return an error instead of a panic. The [guide](crate::guide::losses) says when to use which loss.
//!
//! | loss | what it measures | elsewhere |
//! |---|---|---|
//! | [`SamplesLoss`] | optimal transport, kernels and Hausdorff divergences of measures | `geomloss.SamplesLoss` |
//! | [`ChamferLoss`] | the mean distance to the nearest point | `pytorch3d.loss.chamfer_distance` |
//! | [`HausdorffLoss`] | the largest distance to the nearest point | `scipy.spatial.distance.directed_hausdorff` |
//! | [`MmdLoss`] | the squared maximum mean discrepancy of Gaussians | |
//! | [`EnergyDistance`] | the energy distance | the square of `scipy.stats.energy_distance` |
//! | [`ContrastiveLoss`] | whether matching representations are close | `pytorch_metric_learning`, `open_clip` |
//! | [`LinearCrossEntropyLoss`] | a linear layer with cross-entropy over many classes | `cut_cross_entropy` |

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
