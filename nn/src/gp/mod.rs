//! Gaussian processes.
//!
//! An [`ExactGp`] has a kernel, a mean and noise. Its parameters are trained by the
//! [marginal likelihood](ExactGp::log_marginal_likelihood). [Conditioned](ExactGp::condition) on data it is a
//! [`Posterior`], which predicts.

mod exact;
mod mean;
mod posterior;

pub use exact::{ExactGp, ExactGpConfig, LikelihoodOptions};
pub use mean::{Mean, MeanConfig};
pub use posterior::{LeaveOneOut, Posterior};
