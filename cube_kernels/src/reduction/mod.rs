//! Reductions as small state machines: one file each.
//!
//! A unit of a kernel holds one state for its rows, one row a lane. The same steps serve the loop
//! over columns, the blocks of this loop and the merge of columns that were split over cubes.
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
        Accumulator, Consecutive, GivesIndices, GivesWeights, KeepsValues, LeavesOut, Reduction,
        Rule, TakesProducts, weights_are_values,
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

/// The index of what was not found.
pub(crate) const NO_INDEX: u32 = u32::MAX;

/// Hands the list of all reductions to the macro `$then`. A row has the documentation of the kind, the kind and its
/// parameters, the type of its family and how this is made of the parameters, and kinds for tests.
macro_rules! for_each_reduction {
    ($then:ident) => {
        $then! {
            /// The sum of each component.
            Sum(accumulation: Accumulation) => Sum { accumulation };
                [Sum(Accumulation::Blocks), Sum(Accumulation::Kahan), Sum(Accumulation::Double)],
            /// The product of each component.
            Product => Product {}; [Product],
            /// How many values of each component are not 0, as an integer in the place of a column.
            Count => Count {}; [Count],
            /// $\log \sum e^{f} w$, where the first `scores` components of the formula are $f$ and the
            /// others $w$; without others, $w = 1$. Either has one component or as many as the result.
            LogSumExp {
                /// Components of $f$.
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
                /// How many.
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

        /// A kind without its parameters, by which kernels are told apart.
        #[cfg(feature = "cubecl")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum KindName {
            $( $kind, )*
        }

        impl ReductionKind {
            /// Reductions of each kind, for tests that walk them; parameters have some values.
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

            /// What `read` tells of the family.
            fn family<T>(self, read: impl FnOnce(&dyn Family) -> T) -> T {
                match self {
                    $( Self::$kind $(($field))? $({ $name })? => read(&$family $value), )*
                }
            }
        }
    };
}

for_each_reduction!(define_kinds);

impl ReductionKind {
    /// Whether values are made of maxima and sums relative to them, which can be [wanted](Wanted::state), too.
    pub fn has_state(self) -> bool {
        self.family(|family| family.state_planes() > 0)
    }

    /// Whether the result is made of values of single columns, which are found again by their indices.
    pub fn selects(self) -> bool {
        self.family(|family| family.selects())
    }

    /// Whether the derivative is written in terms of the result.
    pub fn needs_result(self) -> bool {
        self.family(|family| family.needs_result())
    }

    /// The derivative of the result by the formula at each pair.
    pub fn derivative(self, forward: &mut dyn Forward) -> Cotangent {
        self.family(|family| family.derivative(forward))
    }

    /// How both axes are reduced of a formula of `dim` components, where it is not by this reduction twice.
    pub fn over_both(self, dim: usize) -> Option<Stages> {
        self.family(|family| family.over_both(dim))
    }

    /// The formula and the reduction as kernels reduce them over `axis`, where they are others than these.
    pub fn terms(self, formula: &Formula, axis: Axis) -> Option<(Formula, Self)> {
        let terms: Option<(Expr, Self)> = self.family(|family| family.terms(formula.root(), axis));
        terms.map(|(root, kind)| (formula.with_root(root.simplify()), kind))
    }

    /// What components are multiplied by where matrix instructions may sum them up.
    pub(crate) fn weights(self) -> Option<Weights> {
        self.family(|family| family.weights())
    }

    /// The type in which values are taken in, where formulas are computed in `computed`.
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
    /// The columns at which they were found, or counts.
    pub indices: bool,
    /// What the values are made of, as [`Spec::state_size`] says: exponentials are taken relative to it in
    /// derivatives, as the logarithm of their sum has lost digits where scores are large.
    pub state: bool,
}

impl Wanted {
    /// Only the values.
    pub const VALUES: Self = Self {
        values: true,
        indices: false,
        state: false,
    };
    /// Only the columns.
    pub const INDICES: Self = Self {
        values: false,
        indices: true,
        state: false,
    };
    /// Both.
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
    /// What it gives.
    pub wanted: Wanted,
    /// Components of the formula.
    pub dim: usize,
    /// Whether columns come in another order than that of their indices. Of equal values the one with the lowest index is
    /// the first all the same.
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

    /// Components of the result.
    pub fn width(&self) -> usize {
        self.family(|family| family.width(self.dim))
    }

    /// Entries of the result for each component.
    pub fn depth(&self) -> usize {
        self.places().unwrap_or(1)
    }

    /// The same where the result has a dimension of them.
    pub fn places(&self) -> Option<usize> {
        self.family(|family| family.places())
    }

    /// The same reduction for one component of the result.
    pub fn single(&self) -> Self {
        let single = self.family(|family| family.single(self.dim));
        let (kind, dim) = single.unwrap_or((self.kind, 1));
        Self { kind, dim, ..*self }
    }

    /// The floating point part of a partial result.
    pub fn planes(&self) -> Vec<Plane> {
        self.family(|family| family.planes(self.dim))
    }

    /// How many [planes](Self::planes) of a result are given out beside its values, where this is
    /// [wanted](Wanted::state): the maxima, and the sums of exponentials relative to them.
    pub fn state_planes(&self) -> usize {
        self.family(|family| family.state_planes())
    }

    /// The number of values that this is for each row.
    pub fn state_size(&self) -> usize {
        self.plane_start(self.state_planes())
    }

    /// Whether a partial result holds columns, as many as the result has entries.
    pub fn keeps_indices(&self) -> bool {
        self.family(|family| family.keeps_indices(self.wanted))
    }

    /// Size of `plane` for each row.
    pub fn plane_size(&self, plane: usize) -> usize {
        let plane = self.planes()[plane];
        plane.len * if plane.shared { 1 } else { self.width() }
    }

    /// Where `plane` starts among the values of a row.
    pub fn plane_start(&self, plane: usize) -> usize {
        (0..plane).map(|p| self.plane_size(p)).sum()
    }

    /// Floating point values of a partial result for each row.
    pub fn partial_values(&self) -> usize {
        self.plane_start(self.planes().len())
    }

    /// Entries of the result for each row; also the columns of a partial result that keeps them.
    pub fn entries(&self) -> usize {
        self.depth() * self.width()
    }

    /// Vectors of lanes that a unit holds while it reduces.
    pub fn vectors(&self) -> usize {
        self.family(|family| family.vectors(self.dim, self.wanted))
    }

    /// Whether taking in a value is one operation, so that a CPU has registers for many columns at a time.
    pub(crate) fn is_light(&self) -> bool {
        self.family(|family| family.is_light(self.dim))
    }

    /// Whether values are inserted into sorted lists.
    pub(crate) fn inserts(&self) -> bool {
        self.family(|family| family.inserts())
    }

    /// Whether partial results are lists too long for registers, of which two are merged at a time.
    pub(crate) fn is_list(&self) -> bool {
        self.family(|family| family.is_list())
    }

    /// The index of the result without columns.
    pub fn empty_index(&self) -> i64 {
        self.family(|family| family.empty_index())
    }

    /// The value of the result without columns.
    pub fn empty(&self) -> f64 {
        self.family(|family| family.empty())
    }

    /// Iterations of loops for the state before the first column, at most.
    pub(crate) fn init_iterations(&self) -> usize {
        self.family(|family| family.init_iterations(self.dim))
    }

    /// The same for taking in a component of `q` columns, where `first` is the lowest of the components that the
    /// same code takes in.
    pub(crate) fn step_iterations(&self, first: usize, q: usize, simd: bool) -> usize {
        self.family(|family| family.step_iterations(self.dim, first, q, simd))
    }

    /// The same for the end of a block of columns.
    pub(crate) fn end_block_iterations(&self) -> usize {
        self.family(|family| family.end_block_iterations(self.dim))
    }

    /// The same for taking in a partial result.
    pub(crate) fn merge_iterations(&self) -> usize {
        self.family(|family| family.merge_iterations(self.dim))
    }

    /// An entry of the result of a row with the components of each of its `columns`, and its column or count.
    pub(crate) fn value(&self, columns: &[Vec<f64>], entry: Entry) -> (f64, i64) {
        match columns.len() {
            0 => (self.empty(), self.empty_index()),
            _ => given(self.family(|family| family.value(columns, entry))),
        }
    }

    /// The same for `count` equal columns.
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

/// An index as it is given out.
fn given((value, index): Found) -> (f64, i64) {
    (value, index.map_or(-1, |index| index as i64))
}
