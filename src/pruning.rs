//! Whether pairs that cannot matter are left out, and why not.

use std::fmt;

/// Whether a reduction leaves out pairs that cannot matter. Set by [`LazyTensor::prune`](crate::LazyTensor::prune).
///
/// The smallest values of a formula, or the largest, are found without a look at most pairs. Points are sorted, so that
/// neighbours share blocks of 16 rows or 64 columns. From the least and largest values of the operands in a block follow
/// bounds of the formula for all pairs of two blocks, by interval arithmetic. Blocks of pairs whose bounds are beyond what
/// was found already are not evaluated. The result is the same in every bit, values and indices, in whatever order points
/// come: of equal values that of the lowest index is found.
///
/// Reductions over both axes, a `logsumexp` with weights, and matrices with batches or [ranges](crate::Ranges) have all of
/// their pairs.
///
/// That pays where operands of few components say how far points are from each other, as the distances of points in space
/// do, and where there are many points.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Pruning {
    /// [`min`](crate::LazyTensor::min), [`max`](crate::LazyTensor::max), [`kmin`](crate::LazyTensor::kmin) and their indices
    /// leave out pairs where that pays: where there are many pairs and operands have few components, and bounds exclude
    /// most of the pairs. So does [`sum`](crate::LazyTensor::sum) with pairs that are 0, of very many pairs, where the
    /// processor computes.
    #[default]
    Auto,
    /// All pairs are evaluated.
    Off,
    /// Pairs that cannot matter are left out wherever bounds show that, even if it takes longer. That holds for sums,
    /// too: pairs that are 0 are left out, as those of a Gaussian far away are, and of exponentials in a
    /// [`logsumexp`](crate::LazyTensor::logsumexp) or a softmax those that are 0 next to the largest one.
    ///
    /// Sums are added up in another order, so that they are not equal in every bit.
    Exact,
    /// As `Exact`, and pairs are left out that change little: a sum by at most the tolerance times the sum of the absolute
    /// values of its terms, $\sum_j |f_{ij}|$, a logarithm of a sum by at most the tolerance, and softmax weights by the
    /// tolerance next to 1. What selects values stays exact.
    Relative(f64),
    /// As `Relative`, but a sum changes by at most the tolerance itself.
    Absolute(f64),
}

impl Pruning {
    /// The tolerance, if there is one.
    pub(crate) fn tolerance(self) -> Option<f64> {
        match self {
            Self::Relative(tolerance) | Self::Absolute(tolerance) => Some(tolerance),
            _ => None,
        }
    }
}

/// What pruning does for a reduction. Made by [`LazyTensor::pruning`](crate::LazyTensor::pruning).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Pruned {
    /// Only these pairs are evaluated, but for a few that are evaluated twice.
    Pairs {
        /// How many there are.
        left: u128,
        /// How many pairs there are in all.
        all: u128,
    },
    /// All pairs are evaluated.
    All(Unpruned),
}

/// Why all pairs are evaluated.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Unpruned {
    /// [`Pruning::Off`].
    Off,
    /// Pairs are in ranges, or there are batch dimensions.
    RangesOrBatches,
    /// The reduction is one that leaves out pairs on request only, or never.
    NotDone,
    /// Autodiff tracks an operand of a sum. A pair may be 0 and its gradient may not.
    Tracked,
    /// An axis is empty, or no operand has it.
    Empty,
    /// Rows or columns are too many to be numbered in 32 bits.
    TooLarge,
    /// Tensors cannot be read at once where this runs.
    Unreadable,
    /// There are so few pairs that it would not pay.
    FewPairs,
    /// So many values are looked for in each row that it would not pay.
    ManyValues,
    /// Points have so many components that few blocks of pairs would be excluded.
    ManyComponents,
    /// No bounds of the formula are known, or they are the same for all blocks.
    NoBounds,
    /// Bounds exclude too few pairs to pay.
    FewExcluded {
        /// About which part of the pairs is left.
        left: f64,
    },
}

impl fmt::Display for Pruned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pairs { left, all } => {
                let part = *left as f64 / *all as f64 * 100.0;
                write!(f, "{left} of {all} pairs are evaluated, {part:.2} %")
            }
            Self::All(why) => write!(f, "all pairs are evaluated: {why}"),
        }
    }
}

impl fmt::Display for Unpruned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self {
            Self::Off => "pruning is off",
            Self::RangesOrBatches => "pairs are in ranges or in batches",
            Self::NotDone => "this reduction leaves out none, or none unless it is asked for",
            Self::Tracked => "autodiff tracks an operand of the sum",
            Self::Empty => "there are no pairs",
            Self::TooLarge => "there are more rows or columns than can be numbered",
            Self::Unreadable => "tensors cannot be read at once",
            Self::FewPairs => "there are few",
            Self::ManyValues => "many values of each row are looked for",
            Self::ManyComponents => "points have many components",
            Self::NoBounds => "no bounds of the formula are known that differ between blocks",
            Self::FewExcluded { left } => {
                return write!(f, "bounds leave about {:.0} % of them", left * 100.0);
            }
        };
        f.write_str(why)
    }
}
