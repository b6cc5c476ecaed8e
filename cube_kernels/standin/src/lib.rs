//! Runs CUDA kernels on the host. This library takes the place of NVIDIA's driver: the loader finds it under the
//! driver's name, and the unmodified CUDA runtime runs its launches here.
//!
//! It shows faults that a card may hide. Memory that was never written is NaN, and units run in an order that the
//! tester chooses. Accesses out of bounds, misaligned accesses, races, and barriers that not all units reach are
//! errors.

#![warn(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]

pub mod driver;
pub mod machine;
pub mod operations;
pub mod ptx;
pub mod translate;
