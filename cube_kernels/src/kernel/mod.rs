//! The kernels: loading of operands, evaluation of a program, reduction.

// Lists known at compile time are walked by index, which is what CubeCL can unroll.
#![allow(clippy::needless_range_loop)]
// CubeCL passes structures of mutable parts by value only, so that functions take the parts.
#![allow(clippy::too_many_arguments)]

pub mod checked;
pub mod elementary;
mod evaluate;
pub mod layout;
pub mod math;
mod matrix;
mod operands;
mod parts;
pub(crate) mod ptx;
mod rows;
pub mod special;
mod symmetric;
mod weighted;

pub use parts::merge;
pub use rows::reduce;
