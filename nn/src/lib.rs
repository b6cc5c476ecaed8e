#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

pub mod kernel;
pub mod loss;

pub use burn_lazy as lazy;
