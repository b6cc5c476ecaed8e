//! What instructions do that generated code leaves to a function.

pub mod approximate;
pub mod atomics;
pub mod collective;
pub mod floats;
pub mod halves;
pub mod integers;
pub mod matrices;
pub mod print;
