//! The layers on any device: `BURN_DEVICE` selects it.

#[path = "layers/mod.rs"]
mod layers;
