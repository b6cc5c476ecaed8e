//! Tests of the layers on any device. `BURN_DEVICE` selects the device.

#[path = "layers/mod.rs"]
mod layers;
