//! The machine: memory, and the units, which run one after another between barriers.

mod access;
mod fiber;
mod launch;
mod memory;
mod plane;
mod shadow;
mod unit;

pub use access::{Spec, access};
pub use fiber::{RESERVED, STACK};
pub use launch::{Kernel, Launch, Machine, Order, PARAMS};
pub use memory::{ALIGNMENT, Memory};
pub use plane::{LANES, barrier as plane_barrier, exchange};
pub use shadow::{UNITS, Use};
pub use unit::{State, Unit};

/// The first generic address of shared memory. The host has no memory at such addresses.
pub const SHARED_WINDOW: u64 = 0x0fff_0000_0000_0000;
/// The most bytes of shared memory of a cube.
pub const SHARED_BYTES: u64 = 1 << 24;
