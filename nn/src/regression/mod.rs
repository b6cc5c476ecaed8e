//! Kernel regression: fitted functions are sums of kernels.
//!
//! [`KernelRidgeConfig`] fits a function with a kernel at each point of the data. [`FalkonConfig`] is meant for
//! many points and fits a function with kernels at a few of them. Both return a [`KernelExpansion`], which makes
//! predictions.
//!
//! The [guide](crate::guide::regression) says when to use which one, and with which settings.

mod expansion;
mod falkon;
mod ridge;
mod selection;

pub use expansion::KernelExpansion;
pub use falkon::{Falkon, FalkonConfig};
pub use ridge::{KernelRidge, KernelRidgeConfig};
pub use selection::Selection;
