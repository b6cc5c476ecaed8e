//! The host side of a reduction.

use super::{ReductionKind, Wanted};
use crate::{
    formula::{
        Cotangent,
        catalogue::ScalarOp,
        expr::{Axis, Expr, Place},
    },
    math::Precision,
    program::{Weights, looped, unrolled},
};

/// Values that make up a partial result, for each row: `len` for each component of the result, or
/// `len` altogether where the components share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Number of values.
    pub len: usize,
    /// Whether all components share them.
    pub shared: bool,
}

impl Plane {
    /// One value for each component of the result.
    pub const EACH: Self = Self {
        len: 1,
        shared: false,
    };
    /// One value for all components of the result.
    pub const SHARED: Self = Self {
        len: 1,
        shared: true,
    };
}

/// How a reduction over both axes is made of reductions over one.
pub struct Stages {
    /// The reductions over the first axis: of which components of the formula, and how. Their results, one behind the
    /// other, are the components of the formula of the second stage.
    pub first: Vec<(std::ops::Range<usize>, ReductionKind)>,
    /// The reduction over the second axis.
    pub second: ReductionKind,
}

/// An entry of the result of one row: the `place`-th of component `component`.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub place: usize,
    pub component: usize,
}

impl Entry {
    /// The values of the component.
    pub fn of(self, columns: &[Vec<f64>]) -> impl Iterator<Item = f64> {
        columns.iter().map(move |column| column[self.component])
    }
}

/// The value of an entry, and where it was found or how many were counted.
pub type Found = (f64, Option<usize>);

/// A reduction whose derivative is taken. What it gives are formulas of the operands and of values of the row.
pub trait Forward {
    /// The formula that was reduced.
    fn root(&self) -> &Expr;

    /// The axis that was reduced.
    fn axis(&self) -> Axis;

    /// What `of` gives for the number of columns of a row. It is not compiled into kernels.
    fn of_count(&mut self, of: &dyn Fn(usize) -> f64) -> Expr;

    /// The derivative by each entry of the result.
    fn cotangent(&self) -> Expr;

    /// The entries of the result, if the reduction [needs](ReductionKind::needs_result) them.
    fn result(&mut self) -> Expr;

    /// Where the entries of the result were found, if the reduction [selects](ReductionKind::selects).
    fn indices(&mut self) -> Expr;

    /// One of the planes that are given out as [state](super::Wanted::state).
    fn state(&mut self, plane: usize) -> Expr;

    /// Another reduction of the same columns, of the formula `root`.
    fn reduced(&mut self, kind: ReductionKind, root: &Expr) -> Expr;
}

/// What a reduction is, apart from its kernel code: what it gives and keeps, its value on the host, its derivative.
///
/// It is implemented by the type that holds the parameters of the reduction. `dim` is the number of components of the
/// formula.
pub trait Family {
    /// What it is called in messages.
    fn name(&self) -> String;

    /// Components of the result.
    fn width(&self, dim: usize) -> usize {
        dim
    }

    /// Entries of the result for each component, where the result has a dimension of them; else there is one.
    fn places(&self) -> Option<usize> {
        None
    }

    /// The reduction that gives one component of the result, and the components of its formula; none where it is this
    /// one, of a formula of one component.
    fn single(&self, dim: usize) -> Option<(ReductionKind, usize)> {
        let _ = dim;
        None
    }

    /// The value of the result without columns.
    fn empty(&self) -> f64;

    /// The index of the result without columns.
    fn empty_index(&self) -> i64 {
        -1
    }

    /// The floating point part of a partial result.
    fn planes(&self, dim: usize) -> Vec<Plane> {
        let _ = dim;
        vec![Plane {
            len: self.places().unwrap_or(1),
            shared: false,
        }]
    }

    /// How many planes of a result are given out beside its values, where this is wanted: the maxima, and the sums of
    /// exponentials relative to them.
    fn state_planes(&self) -> usize {
        0
    }

    /// Whether a partial result holds columns or counts, as many as the result has entries.
    fn keeps_indices(&self, wanted: Wanted) -> bool {
        let _ = wanted;
        false
    }

    /// Whether the result is made of values of single columns, which are found again by their indices.
    fn selects(&self) -> bool {
        false
    }

    /// The type in which values are taken in, where formulas are computed in `computed`.
    fn accumulated(&self, computed: Precision) -> Precision {
        computed
    }

    /// Vectors of lanes that a unit holds while it reduces.
    fn vectors(&self, dim: usize, wanted: Wanted) -> usize;

    /// Whether taking in a value is one operation, so that a CPU has registers for many columns at a time.
    fn is_light(&self, dim: usize) -> bool {
        let _ = dim;
        false
    }

    /// Whether matrix instructions may sum up the components, and what they are multiplied by then.
    fn weights(&self) -> Option<Weights> {
        None
    }

    /// Whether values are inserted into sorted lists.
    fn inserts(&self) -> bool {
        false
    }

    /// Whether partial results are lists too long for registers, of which two are merged at a time.
    fn is_list(&self) -> bool {
        false
    }

    /// The formula and the reduction as kernels reduce them over `axis`, where they are others than these.
    fn terms(&self, root: &Expr, axis: Axis) -> Option<(Expr, ReductionKind)> {
        let _ = (root, axis);
        None
    }

    /// How both axes are reduced, where it is not by this reduction twice.
    fn over_both(&self, dim: usize) -> Option<Stages> {
        let _ = dim;
        None
    }

    /// Iterations of loops for the state before the first column, at most.
    fn init_iterations(&self, dim: usize) -> usize {
        unrolled(dim, 0)
    }

    /// The same for taking in a component of `q` columns, where `first` is the lowest of the components that the
    /// same code takes in.
    fn step_iterations(&self, dim: usize, first: usize, q: usize, simd: bool) -> usize {
        let _ = (dim, first, q, simd);
        0
    }

    /// The same for the end of a block of columns.
    fn end_block_iterations(&self, dim: usize) -> usize {
        let _ = dim;
        0
    }

    /// The same for taking in a partial result.
    fn merge_iterations(&self, dim: usize) -> usize {
        looped(dim, 0)
    }

    /// An entry of the result of a row with the components of each of its `columns`; there is at least one.
    fn value(&self, columns: &[Vec<f64>], entry: Entry) -> Found;

    /// The same for `count` equal columns.
    fn value_of_equal(&self, column: &[f64], count: usize, entry: Entry) -> Found {
        // A few columns give what many do.
        let few = vec![column.to_vec(); count.min(entry.place + 1)];
        let (value, index) = self.value(&few, entry);
        (value, index.map(|_| entry.place))
    }

    /// Whether the derivative is written in terms of the result.
    fn needs_result(&self) -> bool {
        false
    }

    /// The derivative of the result by the formula at each pair.
    fn derivative(&self, forward: &mut dyn Forward) -> Cotangent;
}

/// The derivative of values that were found at single pairs, `depth` for each component: that of these pairs.
pub(super) fn derivative_where_found(forward: &mut dyn Forward, depth: usize) -> Cotangent {
    let here = Expr::place(Place::Index(forward.axis()));
    let is_here = Expr::scalar(ScalarOp::Equal, vec![forward.indices(), here]);
    let width = is_here.dim() / depth;
    let all = |places: &Expr| match width {
        1 => places.inner_sum(),
        width => Expr::sum((0..depth).map(|k| places.slice(k * width, width))),
    };
    // Elsewhere nothing counts, whatever it is.
    let value = all(&(is_here.clone() * forward.cotangent()));
    Cotangent::from(value).unless(all(&is_here).equal_to(0.0))
}
