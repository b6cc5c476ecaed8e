//! The machine: memory, and units that run one after another between barriers.

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

/// Where generic addresses of shared memory begin: no address of the host is there.
pub const SHARED_WINDOW: u64 = 0x0fff_0000_0000_0000;
/// The most bytes of shared memory.
pub const SHARED_BYTES: u64 = 1 << 24;
