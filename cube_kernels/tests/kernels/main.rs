//! Tests of the crate through its public interface.
//!
//! What needs no device (derivatives, simplification, serialisation, lowering, planning) runs in every
//! build. What launches kernels runs in builds with a runtime: `BURN_LAZY_RUNTIME` names it (`cpu`,
//! `cuda`, `wgpu` or `vulkan`), else it is the first of these that is compiled in.
//!
//! ```text
//! cargo test -p burn-lazy-kernels --features cpu,wgpu
//! BURN_LAZY_RUNTIME=wgpu cargo test -p burn-lazy-kernels --features cpu,wgpu
//! ```
//!
//! All random numbers come from fixed seeds. With `BURN_LAZY_UPDATE=1` the stored accuracy of the
//! functions on the runtime, and the reference page, are written anew instead of compared; `cargo xtask
//! reference` does so for all runtimes.

mod derivatives;
mod formulas;
mod lowering;
mod planner;
mod random;
mod reference_page;
mod support;

#[cfg(any(
    feature = "cpu",
    feature = "cuda",
    feature = "wgpu",
    feature = "vulkan"
))]
mod accuracy;
#[cfg(any(
    feature = "cpu",
    feature = "cuda",
    feature = "wgpu",
    feature = "vulkan"
))]
mod catalogue;
mod contract;
#[cfg(any(
    feature = "cpu",
    feature = "cuda",
    feature = "wgpu",
    feature = "vulkan"
))]
mod device;
#[cfg(any(
    feature = "cpu",
    feature = "cuda",
    feature = "wgpu",
    feature = "vulkan"
))]
mod folds;
#[cfg(any(
    feature = "cpu",
    feature = "cuda",
    feature = "wgpu",
    feature = "vulkan"
))]
mod matrices;
#[cfg(any(
    feature = "cpu",
    feature = "cuda",
    feature = "wgpu",
    feature = "vulkan"
))]
mod random_kernels;
#[cfg(any(
    feature = "cpu",
    feature = "cuda",
    feature = "wgpu",
    feature = "vulkan"
))]
mod reductions;
#[cfg(any(
    feature = "cpu",
    feature = "cuda",
    feature = "wgpu",
    feature = "vulkan"
))]
mod shapes;
