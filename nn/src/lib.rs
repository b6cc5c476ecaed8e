#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

mod error;
pub mod kernel;
pub mod loss;
mod positive;

pub use burn_lazy as lazy;
pub use error::LayerError;
pub use positive::{Positive, PositiveConfig};
