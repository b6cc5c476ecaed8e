//! Functions that generated code calls for instructions that need more than a few instructions of
//! the host.

pub mod approximate;
pub mod atomics;
pub mod collective;
pub mod floats;
pub mod halves;
pub mod integers;
pub mod matrices;
pub mod print;
