//! The suite that runs on any runtime: `BURN_DEVICE` selects it. Without a runtime it is empty.
#![cfg(any_backend)]

#[path = "backend/mod.rs"]
mod backend;
