//! Reductions as small state machines: one file each.
//!
//! A unit of a kernel holds one state for its rows, one row a lane. The same steps serve the loop
//! over columns, the blocks of this loop and the merge of columns that were split over cubes.
//!
//! Adding a reduction is adding a file with its state, its row in [`ReductionKind`] and in
//! [`ReductionKind::all`], and its arms in [`Spec`] and the two kernels.

mod count;
mod extremum;
mod log_sum_exp;
mod product;
mod running;
mod smallest;
mod softmax_sum;
mod sum;

use cubecl::prelude::*;
use serde::{Deserialize, Serialize};

pub use count::Count;
pub use extremum::Extremum;
pub use log_sum_exp::LogSumExp;
pub(crate) use log_sum_exp::{factor, relative_to_maximum};
pub use product::Product;
pub use running::Accumulation;
pub(crate) use running::RunningSums;
pub use smallest::Smallest;
pub(crate) use smallest::{LeastOfGroups, LeastState, in_registers};
pub use softmax_sum::SoftmaxSum;
pub use sum::Sum;

use crate::kernel::math::Math;

/// What is done with the values of a formula along the reduced axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReductionKind {
    /// The sum of each component.
    Sum(Accumulation),
    /// The product of each component.
    Product,
    /// How many values of each component are not 0, as an integer in the place of a column.
    Count,
    /// $\log \sum e^{f} w$, where the first `scores` components of the formula are $f$ and the
    /// others $w$; without others, $w = 1$. Either has one component or as many as the result.
    LogSumExp {
        /// Components of $f$.
        scores: usize,
    },
    /// $\sum e^{f} g / \sum e^{f}$, where the first component of the formula is $f$ and the others
    /// are $g$.
    SoftmaxSum,
    /// The smallest value of each component, and the column of its first occurrence.
    Minimum,
    /// The largest value of each component, and the column of its first occurrence.
    Maximum,
    /// The `k` smallest values of each component in ascending order, and their columns.
    Smallest {
        /// How many.
        k: usize,
    },
}

impl ReductionKind {
    /// Whether values are made of maxima and sums relative to them, which can be [wanted](Wanted::state), too.
    pub fn has_state(self) -> bool {
        matches!(self, Self::LogSumExp { .. } | Self::SoftmaxSum)
    }

    /// One reduction of each kind, for tests that walk them; parameters have one value.
    pub fn all() -> impl Iterator<Item = Self> {
        // As a match, so that a kind that is missing does not compile.
        let next = |kind: &Self| match kind {
            Self::Sum(Accumulation::Blocks) => Some(Self::Sum(Accumulation::Kahan)),
            Self::Sum(Accumulation::Kahan) => Some(Self::Sum(Accumulation::Double)),
            Self::Sum(Accumulation::Double) => Some(Self::Product),
            Self::Product => Some(Self::Count),
            Self::Count => Some(Self::LogSumExp { scores: 1 }),
            Self::LogSumExp { .. } => Some(Self::SoftmaxSum),
            Self::SoftmaxSum => Some(Self::Minimum),
            Self::Minimum => Some(Self::Maximum),
            Self::Maximum => Some(Self::Smallest { k: 10 }),
            Self::Smallest { .. } => None,
        };
        std::iter::successors(Some(Self::Sum(Accumulation::Blocks)), next)
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
}

/// Values that make up a partial result, for each row: `len` for each component of the result, or
/// `len` altogether where the components share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Number of values.
    pub len: usize,
    /// Whether all components share them.
    pub shared: bool,
}

impl Spec {
    /// Components of the result.
    pub fn width(&self) -> usize {
        match self.kind {
            ReductionKind::LogSumExp { scores } => scores.max(self.dim - scores),
            ReductionKind::SoftmaxSum => self.dim - 1,
            _ => self.dim,
        }
    }

    /// Entries of the result for each component.
    pub fn depth(&self) -> usize {
        match self.kind {
            ReductionKind::Smallest { k } => k,
            _ => 1,
        }
    }

    /// The same reduction for one component of the result.
    pub fn single(&self) -> Self {
        let (kind, dim) = match self.kind {
            ReductionKind::LogSumExp { scores } => (
                ReductionKind::LogSumExp { scores: 1 },
                if self.dim > scores { 2 } else { 1 },
            ),
            ReductionKind::SoftmaxSum => (self.kind, 2),
            kind => (kind, 1),
        };
        Self { kind, dim, ..*self }
    }

    /// The floating point part of a partial result.
    pub fn planes(&self) -> Vec<Plane> {
        let own = Plane {
            len: self.depth(),
            shared: false,
        };
        let shared = Plane {
            len: 1,
            shared: true,
        };
        match self.kind {
            ReductionKind::LogSumExp { scores } => {
                vec![if scores == 1 { shared } else { own }, own]
            }
            ReductionKind::SoftmaxSum => vec![shared, shared, own],
            ReductionKind::Count => vec![],
            _ => vec![own],
        }
    }

    /// How many [planes](Self::planes) of a result are given out beside its values, where this is
    /// [wanted](Wanted::state): the maxima, and the sums of exponentials relative to them.
    pub fn state_planes(&self) -> usize {
        if self.kind.has_state() { 2 } else { 0 }
    }

    /// The number of values that this is for each row.
    pub fn state_size(&self) -> usize {
        self.plane_start(self.state_planes())
    }

    /// Whether a partial result holds columns, as many as the result has entries.
    pub fn keeps_indices(&self) -> bool {
        match self.kind {
            ReductionKind::Minimum | ReductionKind::Maximum => self.wanted.indices,
            ReductionKind::Smallest { .. } | ReductionKind::Count => true,
            _ => false,
        }
    }

    /// Whether it keeps running sums.
    pub fn keeps_sums(&self) -> bool {
        matches!(
            self.kind,
            ReductionKind::Sum(_) | ReductionKind::LogSumExp { .. } | ReductionKind::SoftmaxSum
        )
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
    pub fn state(&self) -> usize {
        match self.kind {
            ReductionKind::Sum(_) => 3 * self.dim,
            ReductionKind::Product | ReductionKind::Count => self.dim,
            ReductionKind::LogSumExp { scores } => 2 * scores + 3 * self.width(),
            ReductionKind::SoftmaxSum => 2 + 3 * self.dim,
            _ => self.entries() * (1 + usize::from(self.keeps_indices())),
        }
    }

    /// The index of the result without columns.
    pub fn empty_index(&self) -> i64 {
        match self.kind {
            ReductionKind::Count => 0,
            _ => -1,
        }
    }

    /// The value of the result without columns.
    pub fn empty(&self) -> f64 {
        match self.kind {
            ReductionKind::Sum(_) | ReductionKind::Count => 0.0,
            ReductionKind::Product => 1.0,
            ReductionKind::LogSumExp { .. } | ReductionKind::Maximum => f64::NEG_INFINITY,
            ReductionKind::SoftmaxSum => f64::NAN,
            ReductionKind::Minimum | ReductionKind::Smallest { .. } => f64::INFINITY,
        }
    }
}

/// How values are taken in: the reduction, and how functions are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    pub spec: Spec,
    pub math: Math,
}

/// The index of what was not found.
pub const NO_INDEX: u32 = u32::MAX;

/// What takes in the values of pairs, in the floating point type `F` of the values and `A` of what is
/// accumulated.
#[cube]
pub trait Accumulator<F: Float, A: Float, N: Size>: 'static {
    /// What is kept for the rows of a unit.
    type State: CubeType;

    /// Takes in component `index` of the columns from `column` on, as many as there are values; `first` is the lowest
    /// value that `index` takes.
    fn step(
        state: &mut Self::State,
        index: usize,
        column: u32,
        values: &Sequence<Vector<F, N>>,
        #[comptime] first: usize,
        #[comptime] rule: Rule,
    );

    /// Whether `step_product` is to be used for products.
    fn fuses() -> comptime_type!(bool);

    /// Takes in component `index` of a column, a product of two values, fused; `first` as above.
    fn step_product(
        state: &mut Self::State,
        index: usize,
        column: usize,
        a: Vector<F, N>,
        b: Vector<F, N>,
        #[comptime] first: usize,
        #[comptime] rule: Rule,
    );

    /// What the components of the `c`-th column at hand are multiplied by before they are summed up, where
    /// something else does that; `value` is what the formula has of it.
    fn weight(state: &Self::State, value: Vector<F, N>, #[comptime] c: usize) -> Vector<F, N>;

    /// The maximum to which these weights are relative.
    fn base(state: &Self::State) -> Vector<F, N>;
}

/// The state machine of a reduction.
#[cube]
pub trait Reduction<F: Float, A: Float, N: Size>: Accumulator<F, A, N> {
    /// The state before the first column, `begin`. Infinity is given, as WGSL cannot write it.
    fn init(begin: u32, infinity: F, #[comptime] spec: Spec, #[comptime] math: Math)
    -> Self::State;

    /// Called after each block of columns.
    fn end_block(state: &mut Self::State, #[comptime] spec: Spec, #[comptime] math: Math);

    /// Value `at` of `plane` of the partial result.
    fn save(
        state: &Self::State,
        at: usize,
        #[comptime] plane: usize,
        #[comptime] spec: Spec,
    ) -> Vector<A, N>;

    /// Sets value `at` of `plane` of the partial result.
    fn load(
        state: &mut Self::State,
        at: usize,
        value: Vector<A, N>,
        #[comptime] plane: usize,
        #[comptime] spec: Spec,
    );

    /// Column or count `at` of the partial result and of the result.
    fn index(state: &Self::State, at: usize) -> Vector<u32, N>;

    /// Sets column `at` of the partial result.
    fn load_index(state: &mut Self::State, at: usize, index: Vector<u32, N>);

    /// Takes in the partial result of later columns.
    fn merge(
        state: &mut Self::State,
        later: &Self::State,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    );

    /// Value `at` of the result.
    fn value(
        state: &Self::State,
        at: usize,
        #[comptime] spec: Spec,
        #[comptime] math: Math,
    ) -> Vector<A, N>;
}

/// Whether something is true of any lane.
#[cube]
pub(crate) fn any<N: Size>(mask: Vector<bool, N>) -> bool {
    Vector::<u32, N>::cast_from(mask).vector_sum() > 0u32
}

/// Whether something is true of all lanes.
#[cube]
fn all<N: Size>(mask: Vector<bool, N>) -> bool {
    Vector::<u32, N>::cast_from(mask).vector_sum() == u32::cast_from(N::value())
}

/// Whether any of `q` values may be less than `bound` in any lane; it is so for NaN, too, on some devices.
#[cube]
fn any_may_be_less<F: Float, N: Size>(
    values: &Sequence<Vector<F, N>>,
    bound: Vector<F, N>,
    #[comptime] q: usize,
    #[comptime] math: Math,
) -> bool {
    if comptime!(math.simd()) {
        let mut found = (*values.index(0usize)).less_than(&bound);
        #[unroll]
        for c in 1..q {
            found = found.or((*values.index(c)).less_than(&bound));
        }
        any::<N>(found)
    } else {
        // One comparison each, as the result goes into the next one. Of a vector of them compilers make
        // a number first.
        let mut none = true.runtime();
        #[unroll]
        for c in 0..q {
            let value = *values.index(c);
            #[unroll]
            for lane in 0..N::value() {
                none = none && value.extract(lane) >= bound.extract(lane);
            }
        }
        !none
    }
}
