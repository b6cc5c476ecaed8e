//! Tests of the crate through its public interface.
//!
//! Tests of derivatives, simplification, serialisation, lowering and planning need no device and run in every build.
//! Tests that launch kernels run in builds with a runtime: `BURN_LAZY_RUNTIME` names it (`cpu`, `cuda`, `wgpu` or
//! `vulkan`). By default it is the first of these that is compiled in.
//!
//! ```text
//! cargo test -p burn-lazy-kernels --features cpu,wgpu
//! BURN_LAZY_RUNTIME=wgpu cargo test -p burn-lazy-kernels --features cpu,wgpu
//! ```
//!
//! With `BURN_LAZY_ENGINE=host` reductions run on the host engine instead of kernels.
//!
//! With `BURN_LAZY_VALIDATE=1` kernels print each index that is beyond a buffer. `cargo xtask test` checks that there
//! is none.
//!
//! All random numbers come from fixed seeds. `BURN_LAZY_CASES` and `BURN_LAZY_SEED` set other numbers of cases of the
//! random tests and another seed, as `cargo xtask fuzz` does. With `BURN_LAZY_UPDATE=1` the stored accuracy of the
//! functions on the runtime, and the reference page, are written anew instead of compared. `cargo xtask reference` does
//! so for all runtimes.

mod contract;
mod derivatives;
mod formulas;
mod fuzz;
mod intervals;
mod intervals_on_host;
mod intervals_tight;
mod limits;
mod lowering;
mod masks;
mod planner;
mod pruning;
mod pruning_clouds;
mod pruning_problems;
mod random;
mod ranges;
mod reference_page;
mod special;
mod support;
mod symmetric;
mod tensors;

/// Tests that need a runtime.
#[cfg(any(
    feature = "cpu",
    feature = "cuda",
    feature = "wgpu",
    feature = "vulkan"
))]
#[path = "."]
mod on_device {
    pub mod accuracy;
    pub mod bounds;
    pub mod catalogue;
    pub mod device;
    pub mod folds;
    pub mod host;
    pub mod lists;
    pub mod matrices;
    pub mod of_pairs;
    pub mod pairs_once;
    pub mod parts;
    pub mod random_kernels;
    pub mod range;
    pub mod ranges_in_order;
    pub mod ranges_on_device;
    pub mod reductions;
    pub mod scaled;
    pub mod schedules;
    pub mod shapes;
    pub mod special_on_device;
}
#[cfg(any(
    feature = "cpu",
    feature = "cuda",
    feature = "wgpu",
    feature = "vulkan"
))]
use on_device::*;
