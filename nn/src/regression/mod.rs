//! Regression with kernels: functions that are sums of kernels.
//!
//! [`KernelRidgeConfig`] fits a function with a kernel at each point of the data, [`FalkonConfig`] one with kernels at
//! a few of them, for many points. Both give a [`KernelExpansion`], which predicts.
//!
//! The [guide](crate::guide::regression) says which one when, and with which settings.

mod expansion;
mod falkon;
mod ridge;
mod selection;

pub use expansion::KernelExpansion;
pub use falkon::{Falkon, FalkonConfig};
pub use ridge::{KernelRidge, KernelRidgeConfig};
pub use selection::Selection;
