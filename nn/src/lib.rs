#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

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
