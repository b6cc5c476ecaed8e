//! Which pairs cannot count, from bounds of the formula for blocks of rows and columns.
//!
//! Rows and columns are cut into blocks of consecutive ones, after they were put into an [order](Arrangement) in which
//! neighbours stand together. From the least and largest values of the operands in a block follow bounds of the formula
//! for all pairs of a block of rows and one of columns. They are formulas themselves ([`Bounds`]), which the host
//! engine evaluates with blocks as its rows and columns.
//!
//! A block of pairs whose bounds show that none of them counts is left out: [`Pruning`] makes lists of those that are
//! left, as ranges. Whole groups of blocks are looked at first, so that most blocks are never looked at.
//!
//! Comparisons are such that NaN keeps: what is not known counts.

mod arrangement;
mod bounds;
mod boxes;
mod limits;
mod lists;
mod operands;
mod order;
mod part;
mod sample;
mod steps;
mod threads;

pub use arrangement::{Arrangement, Blocks};
pub use bounds::{Bounds, End};
pub use lists::{Kept, Pruning, Rule};
pub use operands::Operands;
