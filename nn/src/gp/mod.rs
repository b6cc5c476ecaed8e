//! Gaussian processes.
//!
//! An [`ExactGp`] has a kernel, a mean and noise. Its parameters are trained by the
//! [marginal likelihood](ExactGp::log_marginal_likelihood). [Conditioned](ExactGp::condition) on data it is a
//! [`Posterior`], which predicts.
//!
//! An [`Svgp`] takes batches of many data, and targets of other kinds: classes and counts.
//!
//! The [guide](crate::guide::gaussian_processes) says which one when, and with which settings.

mod exact;
mod likelihood;
mod mean;
mod path;
mod posterior;
mod svgp;

pub use exact::{ExactGp, ExactGpConfig, LikelihoodOptions, MarginalLikelihood};
pub use likelihood::{Likelihood, LikelihoodConfig};
pub use mean::{Mean, MeanConfig};
pub use path::Path;
pub use posterior::{LeaveOneOut, Posterior};
pub use svgp::{Svgp, SvgpConfig};
