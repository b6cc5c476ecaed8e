//! The kernels: loading of operands, evaluation of a program, reduction.

mod evaluate;
mod kernels;
pub mod math;

pub use kernels::{layout, merge, reduce};
