//! Reductions as small state machines: one file each.
//!
//! A unit of a kernel holds one state for its rows, one row in each lane. The same state serves the loop over columns,
//! the ends of the blocks of this loop, and the merge of partial results if columns were split over cubes.
//!
//! Adding a reduction is adding a file and its row in [`for_each_reduction`]. The file has the type of its parameters,
//! which implements [`Family`] for the host and [`Reduction`] for kernels.

mod accumulation;
#[cfg(feature = "cubecl")]
mod accumulator;
mod count;
#[cfg(feature = "cubecl")]
mod exponentials;
mod extremum;
mod family;
mod log_sum_exp;
mod product;
#[cfg(feature = "cubecl")]
mod running;
mod smallest;
mod softmax_sum;
mod sum;
mod variance;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use accumulation::Accumulation;
pub(crate) use count::Count;
pub(crate) use extremum::Extremum;
pub(crate) use family::{Entry, Family, Found};
pub use family::{Forward, Plane, Stages};
pub(crate) use log_sum_exp::LogSumExp;
pub(crate) use product::Product;
pub(crate) use smallest::Smallest;
pub(crate) use softmax_sum::SoftmaxSum;
pub(crate) use sum::Sum;
pub(crate) use variance::Variance;

#[cfg(feature = "cubecl")]
pub(crate) use self::{
    accumulator::{
        Accumulator, Consecutive, FollowsColumns, GivesIndices, GivesWeights, KeepsValues,
        Reduction, Rule, TakesProducts, weights_are_values,
    },
    exponentials::{factor, relative_to_maximum},
    running::RunningSums,
    smallest::kernel::{LeastOfGroups, LeastState},
};

use crate::{
    formula::{
        Cotangent, Formula,
        expr::{Axis, Expr},
    },
    math::Precision,
    program::Weights,
};

/// The index that says that no column was found.
pub(crate) const NO_INDEX: u32 = u32::MAX;

/// Hands the list of all reductions to the macro `$then`. A row has the documentation of the kind, the kind with its
/// parameters, the value of the type that implements `Family`, made from these parameters, and example kinds for
/// tests. If there is a second argument, it precedes the list.
macro_rules! for_each_reduction {
    ($($then:ident)::+ $(, $first:ident)?) => {
        $($then)::+! {
            $($first:)?
            /// The sum of each component.
            Sum(accumulation: Accumulation) => Sum { accumulation };
                [Sum(Accumulation::Blocks), Sum(Accumulation::Kahan), Sum(Accumulation::Double)],
            /// The product of each component.
            Product => Product {}; [Product],
            /// The number of values of each component that are not 0. It is an integer, and is given where other
            /// reductions give the index of a column.
            Count => Count {}; [Count],
            /// $\log \sum e^{f} w$, where the first `scores` components of the formula are $f$ and the others are $w$.
            /// If there are no others, $w = 1$. Each of $f$ and $w$ has one component or as many as the result.
            LogSumExp {
                /// Number of components of $f$.
                scores: usize
            } => LogSumExp { scores }; [LogSumExp { scores: 1 }],
            /// $\sum e^{f} g / \sum e^{f}$, where the first component of the formula is $f$ and the others
            /// are $g$.
            SoftmaxSum => SoftmaxSum {}; [SoftmaxSum],
            /// The smallest value of each component, and the column of its first occurrence.
            Minimum => Extremum { largest: false }; [Minimum],
            /// The largest value of each component, and the column of its first occurrence.
            Maximum => Extremum { largest: true }; [Maximum],
            /// The `k` smallest values of each component in ascending order, and their columns.
            Smallest {
                /// Number of values for each component.
                k: usize
            } => Smallest { k }; [Smallest { k: 10 }],
            /// The variance and the mean of each component, in this order.
            Variance {
                /// Whether sums of squares are divided by one less than the number of columns.
                unbiased: bool
            } => Variance { unbiased }; [Variance { unbiased: true }],
        }
    };
}
pub(crate) use for_each_reduction;

macro_rules! define_kinds {
    ($(
        $(#[$doc:meta])*
        $kind:ident $(($field:ident: $type:ty))? $({ $(#[$note:meta])* $name:ident: $own:ty })?
            => $family:ident $value:tt; [$($example:expr),*],
    )*) => {
        /// What is done with the values of a formula along the reduced axis.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum ReductionKind {
            $( $(#[$doc])* $kind $(($type))? $({ $(#[$note])* $name: $own })?, )*
        }

        /// A kind without its parameters. The kernel code is selected by it.
        #[cfg(feature = "cubecl")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum KindName {
            $( $kind, )*
        }

        impl ReductionKind {
            /// Reductions of every kind, with example parameters, for tests that run them all.
            pub fn all() -> impl Iterator<Item = Self> {
                use ReductionKind::*;

                [$($($example),*),*].into_iter()
            }

            /// The kind without its parameters.
            #[cfg(feature = "cubecl")]
            pub(crate) fn name(self) -> KindName {
                match self {
                    $( Self::$kind $(($field))? $({ $name })? => {
                        $( let _ = $field; )?
                        $( let _ = $name; )?
                        KindName::$kind
                    } )*
                }
            }

            /// What `read` returns for the family of this kind.
            fn family<T>(self, read: impl FnOnce(&dyn Family) -> T) -> T {
                match self {
                    $( Self::$kind $(($field))? $({ $name })? => read(&$family $value), )*
                }
            }
        }
    };
}

for_each_reduction!(define_kinds);

/// Hands only the names of the reductions to the macro `$then`, each with the type that implements `Family`, such as
/// `Minimum => Extremum`.
#[cfg(feature = "cubecl")]
macro_rules! for_each_family {
    ($then:ident) => {
        $crate::reduction::for_each_reduction!($crate::reduction::only_families, $then);
    };
}
#[cfg(feature = "cubecl")]
pub(crate) use for_each_family;

#[cfg(feature = "cubecl")]
macro_rules! only_families {
    ($then:ident: $(
        $(#[$doc:meta])*
        $kind:ident $(($field:ident: $type:ty))? $({ $(#[$note:meta])* $name:ident: $own:ty })?
            => $family:ident $value:tt; $examples:tt,
    )*) => {
        $then! { $($kind => $family,)* }
    };
}
#[cfg(feature = "cubecl")]
pub(crate) use only_families;

impl ReductionKind {
    /// Whether values are computed from maxima and from sums of exponentials relative to these. Such a state can be
    /// [wanted](Wanted::state), too.
    pub fn has_state(self) -> bool {
        self.family(|family| family.state_planes() > 0)
    }

    /// Whether each value of the result is the value of a single column, which can be found again by its index.
    pub fn selects(self) -> bool {
        self.family(|family| family.selects())
    }

    /// Whether the derivative is written in terms of the result.
    pub fn needs_result(self) -> bool {
        self.family(|family| family.needs_result())
    }

    /// The cotangent of the formula at each pair, made from the cotangent of the result that `forward` gives.
    pub fn derivative(self, forward: &mut dyn Forward) -> Cotangent {
        self.family(|family| family.derivative(forward))
    }

    /// How a formula of `dim` components is reduced over both axes. None if this reduction is applied over one axis,
    /// and again to its results over the other.
    pub fn over_both(self, dim: usize) -> Option<Stages> {
        self.family(|family| family.over_both(dim))
    }

    /// The formula and the reduction over `axis` that kernels compute instead. None if kernels compute `formula` and
    /// this reduction as they are.
    pub fn terms(self, formula: &Formula, axis: Axis) -> Option<(Formula, Self)> {
        let terms: Option<(Expr, Self)> = self.family(|family| family.terms(formula.root(), axis));
        terms.map(|(root, kind)| (formula.with_root(root.simplify()), kind))
    }

    /// What components are multiplied by if matrix instructions sum them up. None if matrix instructions cannot compute
    /// this reduction.
    pub(crate) fn weights(self) -> Option<Weights> {
        self.family(|family| family.weights())
    }

    /// The type in which values are accumulated if formulas are computed in the type `computed`.
    pub(crate) fn accumulated(self, computed: Precision) -> Precision {
        self.family(|family| family.accumulated(computed))
    }
}

impl fmt::Display for ReductionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.family(|family| family.name()))
    }
}

/// Which results of a reduction are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wanted {
    /// The values.
    pub values: bool,
    /// The indices of the columns at which the values were found, or the counts.
    pub indices: bool,
    /// The maxima and the sums of exponentials that the values are computed from, [`Spec::state_size`] numbers for each
    /// row. Derivatives take exponentials relative to these maxima, because the logarithm of the sum loses digits where
    /// scores are large.
    pub state: bool,
}

impl Wanted {
    /// Only the values.
    pub const VALUES: Self = Self {
        values: true,
        indices: false,
        state: false,
    };
    /// Only the indices of columns, or the counts.
    pub const INDICES: Self = Self {
        values: false,
        indices: true,
        state: false,
    };
    /// Both the values and the indices.
    pub const BOTH: Self = Self {
        values: true,
        indices: true,
        state: false,
    };
}

/// A reduction of a formula with `dim` components.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Spec {
    /// The reduction.
    pub kind: ReductionKind,
    /// The results that are wanted.
    pub wanted: Wanted,
    /// Number of components of the formula.
    pub dim: usize,
    /// Whether columns come in another order than that of their indices. Among equal values, the one with the lowest
    /// index still counts as the first.
    pub unordered: bool,
}

impl Spec {
    /// A reduction of columns in the order of their indices.
    pub fn new(kind: ReductionKind, wanted: Wanted, dim: usize) -> Self {
        Self {
            kind,
            wanted,
            dim,
            unordered: false,
        }
    }

    fn family<T>(&self, read: impl FnOnce(&dyn Family) -> T) -> T {
        self.kind.family(read)
    }

    /// Number of components of the result.
    pub fn width(&self) -> usize {
        self.family(|family| family.width(self.dim))
    }

    /// Number of entries of the result for each component.
    pub fn depth(&self) -> usize {
        self.places().unwrap_or(1)
    }

    /// Number of entries of the result for each component, if the result has a dimension for them.
    pub fn places(&self) -> Option<usize> {
        self.family(|family| family.places())
    }

    /// The same reduction for one component of the result.
    pub fn single(&self) -> Self {
        let single = self.family(|family| family.single(self.dim));
        let (kind, dim) = single.unwrap_or((self.kind, 1));
        Self { kind, dim, ..*self }
    }

    /// The floating point values of a partial result, by planes.
    pub fn planes(&self) -> Vec<Plane> {
        self.family(|family| family.planes(self.dim))
    }

    /// How many of the first [planes](Self::planes) are given out beside the values, if they are
    /// [wanted](Wanted::state): the maxima, and the sums of exponentials relative to them.
    pub fn state_planes(&self) -> usize {
        self.family(|family| family.state_planes())
    }

    /// Number of values of these planes for each row.
    pub fn state_size(&self) -> usize {
        self.plane_start(self.state_planes())
    }

    /// Whether a partial result holds an index of a column, or a count, for each entry of the result.
    pub fn keeps_indices(&self) -> bool {
        self.family(|family| family.keeps_indices(self.wanted))
    }

    /// Number of values of `plane` for each row.
    pub fn plane_size(&self, plane: usize) -> usize {
        let plane = self.planes()[plane];
        plane.len * if plane.shared { 1 } else { self.width() }
    }

    /// Where `plane` starts among the values of a row.
    pub fn plane_start(&self, plane: usize) -> usize {
        (0..plane).map(|p| self.plane_size(p)).sum()
    }

    /// Number of floating point values of a partial result for each row.
    pub fn partial_values(&self) -> usize {
        self.plane_start(self.planes().len())
    }

    /// Number of entries of the result for each row, and of indices or counts in a partial result that keeps them.
    pub fn entries(&self) -> usize {
        self.depth() * self.width()
    }

    /// Number of vectors of lanes that a unit holds while it reduces.
    pub fn vectors(&self) -> usize {
        self.family(|family| family.vectors(self.dim, self.wanted))
    }

    /// Whether taking in a value is one operation. A CPU then has registers left to take many columns at a time.
    pub(crate) fn is_light(&self) -> bool {
        self.family(|family| family.is_light(self.dim))
    }

    /// Whether values are inserted into sorted lists.
    pub(crate) fn inserts(&self) -> bool {
        self.family(|family| family.inserts())
    }

    /// Whether partial results are lists that are too long for registers. Such lists are merged two at a time.
    pub(crate) fn is_list(&self) -> bool {
        self.family(|family| family.is_list())
    }

    /// The index or count that a row without columns gets.
    pub fn empty_index(&self) -> i64 {
        self.family(|family| family.empty_index())
    }

    /// The value that a row without columns gets.
    pub fn empty(&self) -> f64 {
        self.family(|family| family.empty())
    }

    /// The most iterations of loops that making the state takes, before the first column.
    pub(crate) fn init_iterations(&self) -> usize {
        self.family(|family| family.init_iterations(self.dim))
    }

    /// The most iterations of loops that taking in one component of `q` columns takes. `first` is the lowest of the
    /// components that the same code takes in.
    pub(crate) fn step_iterations(&self, first: usize, q: usize, simd: bool) -> usize {
        self.family(|family| family.step_iterations(self.dim, first, q, simd))
    }

    /// The most iterations of loops that the end of a block of columns takes.
    pub(crate) fn end_block_iterations(&self) -> usize {
        self.family(|family| family.end_block_iterations(self.dim))
    }

    /// The most iterations of loops that merging a partial result takes.
    pub(crate) fn merge_iterations(&self) -> usize {
        self.family(|family| family.merge_iterations(self.dim))
    }

    /// An entry of the result of a row: its value, and the column where it was found or its count. `columns` holds the
    /// components of the formula for each column of the row.
    pub(crate) fn value(&self, columns: &[Vec<f64>], entry: Entry) -> (f64, i64) {
        match columns.len() {
            0 => (self.empty(), self.empty_index()),
            _ => given(self.family(|family| family.value(columns, entry))),
        }
    }

    /// The same for a row of `count` equal columns.
    pub(crate) fn value_of_equal(&self, column: &[f64], count: usize, entry: Entry) -> (f64, i64) {
        match count {
            0 => (self.empty(), self.empty_index()),
            _ => given(self.family(|family| family.value_of_equal(column, count, entry))),
        }
    }

    /// All entries of the result of a row.
    pub(crate) fn all_entries(&self) -> impl Iterator<Item = Entry> + use<> {
        let width = self.width();
        (0..self.depth())
            .flat_map(move |place| (0..width).map(move |component| Entry { place, component }))
    }
}

/// A value and its index as results hold them, with -1 for no index.
fn given((value, index): Found) -> (f64, i64) {
    (value, index.map_or(-1, |index| index as i64))
}
