//! The kernels: loading of operands, evaluation of a program, reduction.

// Lists known at compile time are walked by index, which is what CubeCL can unroll.
#![allow(clippy::needless_range_loop)]

pub mod checked;
mod columns;
mod context;
mod evaluate;
pub mod layout;
mod matrix;
mod multiplier;
mod operands;
mod pairs;
mod parts;
mod results;
mod rows;
mod symmetric;
mod walk;
mod weighted;
mod write;

pub use parts::merge;
pub use rows::reduce;
