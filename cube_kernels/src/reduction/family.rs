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

/// Values of one kind in a partial result. A row has `len` of them for each component of the result, or `len`
/// altogether if the components share them.
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

/// How a reduction over both axes is made of reductions over one axis.
pub struct Stages {
    /// The reductions over the first axis, each with the components of the formula that it reduces. Their results, one
    /// after the other, are the components of the formula of the second stage.
    pub first: Vec<(std::ops::Range<usize>, ReductionKind)>,
    /// The reduction over the second axis.
    pub second: ReductionKind,
}

/// An entry of the result of one row: entry `place` of component `component`.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub place: usize,
    pub component: usize,
}

impl Entry {
    /// The values of the component in each of `columns`.
    pub fn of(self, columns: &[Vec<f64>]) -> impl Iterator<Item = f64> {
        columns.iter().map(move |column| column[self.component])
    }
}

/// The value of an entry, and the column where it was found or its count. None if there is neither.
pub type Found = (f64, Option<usize>);

/// A reduction whose derivative is taken. Its methods give formulas of its operands and of values of the row.
pub trait Forward {
    /// The formula that was reduced.
    fn root(&self) -> &Expr;

    /// The axis that was reduced.
    fn axis(&self) -> Axis;

    /// The value of `of` for the number of columns of a row. It is an operand, not a constant of the kernel, so that
    /// other numbers of columns need no other kernel.
    fn of_count(&mut self, of: &dyn Fn(usize) -> f64) -> Expr;

    /// The cotangent of the result: the derivative by each of its entries.
    fn cotangent(&self) -> Expr;

    /// The entries of the result, if the reduction [needs](ReductionKind::needs_result) them.
    fn result(&mut self) -> Expr;

    /// The columns at which the entries of the result were found, if the reduction [selects](ReductionKind::selects).
    fn indices(&mut self) -> Expr;

    /// One of the planes that are given out as [state](super::Wanted::state).
    fn state(&mut self, plane: usize) -> Expr;

    /// The result of the reduction `kind` of another formula, `root`, over the same columns.
    fn reduced(&mut self, kind: ReductionKind, root: &Expr) -> Expr;
}

/// What a reduction is, apart from its kernel code: its result, its partial results, its value on the host and its
/// derivative.
///
/// It is implemented by the type that holds the parameters of the reduction. `dim` is the number of components of the
/// formula.
pub trait Family {
    /// The name of the reduction in messages.
    fn name(&self) -> String;

    /// Number of components of the result.
    fn width(&self, dim: usize) -> usize {
        dim
    }

    /// Number of entries of the result for each component, if the result has a dimension for them. None stands for one
    /// entry.
    fn places(&self) -> Option<usize> {
        None
    }

    /// The reduction that gives one component of the result, and the number of components of its formula. None stands
    /// for this reduction, of a formula of one component.
    fn single(&self, dim: usize) -> Option<(ReductionKind, usize)> {
        let _ = dim;
        None
    }

    /// The value that a row without columns gets.
    fn empty(&self) -> f64;

    /// The index or count that a row without columns gets.
    fn empty_index(&self) -> i64 {
        -1
    }

    /// The floating point values of a partial result, by planes.
    fn planes(&self, dim: usize) -> Vec<Plane> {
        let _ = dim;
        vec![Plane {
            len: self.places().unwrap_or(1),
            shared: false,
        }]
    }

    /// How many of the first planes are given out beside the values, if they are wanted: the maxima, and the sums of
    /// exponentials relative to them.
    fn state_planes(&self) -> usize {
        0
    }

    /// Whether a partial result holds an index of a column, or a count, for each entry of the result.
    fn keeps_indices(&self, wanted: Wanted) -> bool {
        let _ = wanted;
        false
    }

    /// Whether each value of the result is the value of a single column, which can be found again by its index.
    fn selects(&self) -> bool {
        false
    }

    /// The type in which values are accumulated if formulas are computed in the type `computed`.
    fn accumulated(&self, computed: Precision) -> Precision {
        computed
    }

    /// Number of vectors of lanes that a unit holds while it reduces.
    fn vectors(&self, dim: usize, wanted: Wanted) -> usize;

    /// Whether taking in a value is one operation. A CPU then has registers left to take many columns at a time.
    fn is_light(&self, dim: usize) -> bool {
        let _ = dim;
        false
    }

    /// What components are multiplied by if matrix instructions sum them up. None if matrix instructions cannot compute
    /// this reduction.
    fn weights(&self) -> Option<Weights> {
        None
    }

    /// Whether values are inserted into sorted lists.
    fn inserts(&self) -> bool {
        false
    }

    /// Whether partial results are lists that are too long for registers. Such lists are merged two at a time.
    fn is_list(&self) -> bool {
        false
    }

    /// The formula and the reduction over `axis` that kernels compute instead. None if kernels compute `root` and this
    /// reduction as they are.
    fn terms(&self, root: &Expr, axis: Axis) -> Option<(Expr, ReductionKind)> {
        let _ = (root, axis);
        None
    }

    /// How a formula is reduced over both axes. None if this reduction is applied over one axis, and again to its
    /// results over the other.
    fn over_both(&self, dim: usize) -> Option<Stages> {
        let _ = dim;
        None
    }

    /// The most iterations of loops that making the state takes, before the first column.
    fn init_iterations(&self, dim: usize) -> usize {
        unrolled(dim, 0)
    }

    /// The most iterations of loops that taking in one component of `q` columns takes. `first` is the lowest of the
    /// components that the same code takes in.
    fn step_iterations(&self, dim: usize, first: usize, q: usize, simd: bool) -> usize {
        let _ = (dim, first, q, simd);
        0
    }

    /// The most iterations of loops that the end of a block of columns takes.
    fn end_block_iterations(&self, dim: usize) -> usize {
        let _ = dim;
        0
    }

    /// The most iterations of loops that merging a partial result takes.
    fn merge_iterations(&self, dim: usize) -> usize {
        looped(dim, 0)
    }

    /// An entry of the result of a row. `columns` holds the components of the formula for each column of the row, of
    /// which there is at least one.
    fn value(&self, columns: &[Vec<f64>], entry: Entry) -> Found;

    /// The same for a row of `count` equal columns.
    fn value_of_equal(&self, column: &[f64], count: usize, entry: Entry) -> Found {
        // Further equal columns do not change the entry.
        let few = vec![column.to_vec(); count.min(entry.place + 1)];
        let (value, index) = self.value(&few, entry);
        (value, index.map(|_| entry.place))
    }

    /// Whether the derivative is written in terms of the result.
    fn needs_result(&self) -> bool {
        false
    }

    /// The cotangent of the formula at each pair, made from the cotangent of the result that `forward` gives.
    fn derivative(&self, forward: &mut dyn Forward) -> Cotangent;
}

/// The derivative of a reduction that selects values of single pairs, `depth` for each component. The cotangent of a
/// value goes to the pair at which the value was found.
pub(super) fn derivative_where_found(forward: &mut dyn Forward, depth: usize) -> Cotangent {
    let here = Expr::place(Place::Index(forward.axis()));
    let is_here = Expr::scalar(ScalarOp::Equal, vec![forward.indices(), here]);
    let width = is_here.dim() / depth;
    let all = |places: &Expr| match width {
        1 => places.inner_sum(),
        width => Expr::sum((0..depth).map(|k| places.slice(k * width, width))),
    };
    // Other pairs do not count, whatever their values are, even NaN.
    let value = all(&(is_here.clone() * forward.cotangent()));
    Cotangent::from(value).unless(all(&is_here).equal_to(0.0))
}
