//! The test suite that runs on any runtime. `BURN_DEVICE` selects the runtime. In builds without a
//! runtime it is empty.
#![cfg(any_backend)]

#[path = "backend/mod.rs"]
mod backend;
