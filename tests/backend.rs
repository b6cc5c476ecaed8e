//! The suite that runs on any runtime: `BURN_DEVICE` selects it. Without a runtime it is empty.
#![cfg(any(cube_backend, feature = "flex"))]

#[path = "backend/mod.rs"]
mod backend;
