//! The suite that runs on any runtime: `BURN_DEVICE` selects it. Without a runtime it is empty.
#![cfg(any(
    feature = "wgpu",
    feature = "webgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "cuda",
    feature = "rocm",
    feature = "cpu",
    feature = "flex"
))]

#[path = "backend/mod.rs"]
mod backend;
