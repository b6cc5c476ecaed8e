//! Finds pairs that cannot affect the result of a reduction, by bounds of the formula for blocks of rows and columns.
//!
//! Rows and columns are cut into blocks of consecutive rows and columns, mostly after they were put into an
//! [order](Arrangement) in which points that are near in space are near each other. The smallest and largest values of
//! the operands in a block of rows and in a block of columns give bounds of the formula for all pairs of the two
//! blocks. These bounds are formulas themselves ([`Bounds`]), which the host engine evaluates with blocks as its rows
//! and columns.
//!
//! A pair counts if it may affect the result ([`Rule`]). If the bounds of a block of pairs show that none of them
//! counts, the block is left out. [`Pruning`] lists the pairs of the other blocks as ranges. It looks at whole groups
//! of blocks first, so that most blocks are never looked at one by one.
//!
//! A bound that is not known is NaN. Comparisons are written so that NaN keeps a block: its pairs count.

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
