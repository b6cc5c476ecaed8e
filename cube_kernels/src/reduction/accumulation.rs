use serde::{Deserialize, Serialize};

/// How sums are accumulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Accumulation {
    /// Plain sums of blocks, sums of the sums of several blocks, and a total of these: about as exact as
    /// pairwise summation, at no cost.
    #[default]
    Blocks,
    /// Kahan's compensated summation (Kahan, "Further remarks on reducing truncation errors",
    /// CACM 1965): the error does not depend on the number of terms, for four more operations a
    /// term.
    Kahan,
    /// The sums of blocks are added up in F64, which the device must have.
    Double,
}
