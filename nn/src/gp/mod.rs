//! Gaussian processes.
//!
//! An [`ExactGp`] has a kernel, a mean and noise. Its parameters are trained by the [marginal
//! likelihood](ExactGp::log_marginal_likelihood). [Conditioning](ExactGp::condition) it on data gives a
//! [`Posterior`], which makes predictions.
//!
//! An [`Svgp`] is trained on batches of large data sets, also with targets of other kinds: classes and counts.
//!
//! The [guide](crate::guide::gaussian_processes) says when to use which one, and with which settings.

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
