//! How pairs that cannot matter are left out, and reasons why they are not.

use std::fmt;

/// Whether a reduction leaves out pairs that cannot matter. Set by [`LazyTensor::prune`](crate::LazyTensor::prune).
///
/// The smallest or largest values of a formula are found without evaluating most pairs. Points are sorted, so that
/// neighbours share blocks of 16 rows (64 on graphics cards) or 64 columns. Interval arithmetic on the least and
/// largest values of the operands in a block of rows and a block of columns gives bounds of the formula for all pairs
/// of both blocks. Blocks of pairs are not evaluated if their bounds are beyond the values that were found before.
/// Values and indices are the same in every bit as without pruning, in whatever order the points come: of equal
/// values, the one with the lowest index is found.
///
/// Reductions over both axes, a `logsumexp` with weights, and matrices with batches or [ranges](crate::Ranges)
/// evaluate all of their pairs, with one exception: blocks of pairs that a mask of indices hides, as in causal
/// attention, can be left out in matrices with batches, too.
///
/// Pruning pays where there are many points, and where operands of few components decide how far points are from each
/// other, as with distances of points in space.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Pruning {
    /// [`min`](crate::LazyTensor::min), [`max`](crate::LazyTensor::max), [`kmin`](crate::LazyTensor::kmin) and their
    /// indices leave out pairs where that pays: if there are many pairs, the operands have few components, and bounds
    /// exclude most of the pairs. [`sum`](crate::LazyTensor::sum) leaves out pairs that are 0, if there are very many
    /// pairs and a processor computes.
    #[default]
    Auto,
    /// All pairs are evaluated.
    Off,
    /// Pairs that cannot matter are left out wherever bounds show it, even if this takes longer. Sums leave out pairs
    /// that are 0, as a Gaussian is for points that are far apart. A [`logsumexp`](crate::LazyTensor::logsumexp) or a
    /// softmax leaves out pairs whose exponential is 0 next to the largest one.
    ///
    /// Sums are added up in another order, so that they may differ by rounding from the sums of all pairs.
    Exact,
    /// As `Exact`, and pairs that change the result little are left out, too. A sum changes by at most the tolerance
    /// times the sum of the absolute values of its terms, $\sum_j |f_{ij}|$. The logarithm of a sum changes by at
    /// most the tolerance. The weights of a softmax, which sum to 1, change by at most the tolerance. Reductions that
    /// select values stay exact.
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
    /// Only some pairs are evaluated. A few of them are evaluated twice.
    Pairs {
        /// The number of pairs that are evaluated.
        left: u128,
        /// The number of all pairs.
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
    /// The matrix has ranges or batch dimensions.
    RangesOrBatches,
    /// The reduction leaves out pairs only on request, or never.
    NotDone,
    /// Autodiff tracks an operand of a sum. A pair that is 0 may have a gradient that is not 0.
    Tracked,
    /// An axis is empty, or no operand depends on it.
    Empty,
    /// There are too many rows or columns to be numbered in 32 bits.
    TooLarge,
    /// Tensors cannot be read synchronously on this platform.
    Unreadable,
    /// There are so few pairs or points that pruning would not pay.
    FewPairs,
    /// So many values of each row are requested that pruning would not pay.
    ManyValues,
    /// Points have so many components that few blocks of pairs would be excluded.
    ManyComponents,
    /// No bounds of the formula are known, or they are the same for all blocks.
    NoBounds,
    /// Bounds exclude too few pairs for pruning to pay.
    FewExcluded {
        /// About which fraction of the pairs would remain.
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
