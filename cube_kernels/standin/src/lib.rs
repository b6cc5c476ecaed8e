//! Runs CUDA kernels on the host: a library that the loader finds in the place of NVIDIA's driver, so that the CUDA
//! runtime, unmodified, runs its launches here.
//!
//! It shows faults that a card may hide: what was never written is NaN, units run in an order of the tester's choice,
//! and accesses out of bounds, misaligned ones, races, and barriers that not all units reach are errors.

#![warn(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]

pub mod driver;
pub mod machine;
pub mod operations;
pub mod ptx;
pub mod translate;
