#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// The readme is the front page of the documentation: its links lead to the guide, and its snippets are run as
// tests.
#![cfg_attr(
    any(not(doctest), all(feature = "flex", feature = "autodiff")),
    doc = concat!(
        "[guide to kernels]: guide::kernels\n",
        "[guide to losses]: guide::losses\n",
        "[guide to attention]: guide::attention\n",
        "[guide to Gaussian processes]: guide::gaussian_processes\n",
        "[guide to kernel regression]: guide::regression\n\n",
        include_str!("../README.md")
    )
)]

pub mod attention;
mod data;
mod dense;
mod error;
pub mod gp;
pub mod kernel;
pub mod loss;
mod positive;
pub mod regression;
mod system;

pub use burn_lazy as lazy;
pub use error::{LayerError, SettingError};
pub use positive::{Positive, PositiveConfig};
pub use system::Inference;

/// Which layer and which setting to choose, what they cost, and how layers are combined: a page for each area.
#[cfg(any(not(doctest), all(feature = "flex", feature = "autodiff")))]
pub mod guide {
    #[doc = include_str!("../docs/kernels.md")]
    pub mod kernels {}
    #[doc = include_str!("../docs/losses.md")]
    pub mod losses {}
    #[doc = include_str!("../docs/attention.md")]
    pub mod attention {}
    #[doc = include_str!("../docs/gaussian_processes.md")]
    pub mod gaussian_processes {}
    #[doc = include_str!("../docs/regression.md")]
    pub mod regression {}
}
