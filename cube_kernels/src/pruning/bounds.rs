//! Bounds of a formula as programs of the host engine.

use super::operands::{Side, Source};
use crate::{
    formula::{
        Axis, Expr, Formula,
        catalogue::ScalarOp,
        expr::{Extreme, Place, Var},
        interval::{Interval, Leaf},
    },
    host::HostProgram,
    math::Precision,
    program::Program,
};

/// Which values are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The smallest ones.
    Smallest,
    /// The largest ones.
    Largest,
}

/// Bounds of a formula for blocks of pairs. They are made once for a formula.
#[derive(Clone, Debug)]
pub struct Bounds {
    pub(super) axis: Axis,
    pub(super) formula: Formula,
    pub(super) precision: Precision,
    smallest: OfEnd,
    largest: OfEnd,
    zero: BlockProgram,
}

/// The programs that are run for blocks if the smallest values are looked for. For the largest values, they are the
/// programs for the smallest of the opposite values.
#[derive(Clone, Debug)]
pub(super) struct OfEnd {
    /// A lower bound of the values of all components.
    pub low: BlockProgram,
    /// An upper bound of the values of all components.
    pub high: BlockProgram,
    /// 1 if each value is greater than the limit of its component.
    pub beyond: BlockProgram,
}

/// A formula whose rows and columns are blocks, and the operands that it reads.
#[derive(Clone, Debug)]
pub(super) struct BlockProgram {
    pub program: HostProgram,
    pub tensors: Vec<Read>,
    /// The positions of its scalars among those of the formula.
    pub scalars: Vec<usize>,
}

/// A tensor that a formula of blocks reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The low or high sides of a source on an axis.
    Side(Axis, Source, Side),
    /// A parameter, by its position among the tensors of the formula.
    Parameter(usize),
    /// The limits of blocks of rows.
    Limits,
}

impl Bounds {
    /// The bounds of `formula` for reductions over `axis`, where its operands are of type `precision`.
    ///
    /// `None` if they cannot exclude any block: the bounds vary neither along rows nor along columns, or an operand
    /// has a value for each pair, about which boxes of rows and columns say nothing.
    pub fn new(formula: &Formula, axis: Axis, precision: Precision) -> Option<Self> {
        if formula.tensors().any(Var::is_of_pairs) {
            return None;
        }
        let leaves = Leaves { formula, axis };
        let interval = formula
            .root()
            .bounds(precision, |leaf| leaves.interval(leaf));
        if interval.is_top() {
            return None;
        }
        // NaN is not equal to 0.
        let is_zero = |side: &Expr| compare(ScalarOp::Equal, side, &Expr::constant(0.0));
        let zero = is_zero(&interval.low) * is_zero(&interval.high);
        let limits = Expr::var(leaves.limits());
        let of_end = |interval: Interval| {
            let beyond = compare(ScalarOp::Greater, &interval.low, &limits);
            OfEnd {
                low: leaves.program(&interval.low.inner_extremum(Extreme::Minimum)),
                high: leaves.program(&interval.high.inner_extremum(Extreme::Maximum)),
                beyond: leaves.program(&beyond.inner_extremum(Extreme::Minimum)),
            }
        };
        Some(Self {
            axis,
            formula: formula.clone(),
            precision,
            zero: leaves.program(&zero.inner_extremum(Extreme::Minimum)),
            largest: of_end(interval.negated()),
            smallest: of_end(interval),
        })
    }

    /// The reduced axis.
    pub fn axis(&self) -> Axis {
        self.axis
    }

    /// The programs for an end.
    pub(super) fn of(&self, end: End) -> &OfEnd {
        match end {
            End::Smallest => &self.smallest,
            End::Largest => &self.largest,
        }
    }

    /// The program that is 1 if all values are 0.
    pub(super) fn zero(&self) -> &BlockProgram {
        &self.zero
    }
}

fn compare(op: ScalarOp, a: &Expr, b: &Expr) -> Expr {
    Expr::scalar(op, vec![a.clone(), b.clone()])
}

/// The leaves of formulas of blocks. The low and high sides of operand `k` have the numbers `2 k` and `2 k + 1`. The
/// indices of both axes follow as if they were two more operands, and then the limits.
#[derive(Clone, Copy)]
struct Leaves<'a> {
    formula: &'a Formula,
    axis: Axis,
}

impl Leaves<'_> {
    fn count(&self) -> u64 {
        self.formula.vars().len() as u64
    }

    /// The leaf of the limits of each component, which depend on the row.
    fn limits(&self) -> Var {
        Var {
            id: 2 * (self.count() + 2),
            axes: Some(self.axis.other()).into(),
            dim: self.formula.dim(),
            scalar: false,
        }
    }

    fn interval(&self, leaf: Leaf) -> Interval {
        let sides = |var: Var| {
            let [low, high] = [0, 1].map(|side| {
                Expr::var(Var {
                    id: 2 * var.id + side,
                    ..var
                })
            });
            Interval::new(low, high)
        };
        let index = |axis: Axis| {
            sides(Var {
                id: self.count() + axis as u64,
                axes: Some(axis).into(),
                dim: 1,
                scalar: false,
            })
        };
        match leaf {
            Leaf::Var(var) if var.is_parameter() => Interval::point(&sides(var).low),
            Leaf::Var(var) => sides(var),
            Leaf::Place(Place::Index(axis)) => index(axis),
            Leaf::Place(Place::Offset) => {
                let (i, j) = (index(Axis::I), index(Axis::J));
                Interval::new(i.low - j.high, i.high - j.low)
            }
        }
    }

    /// What a leaf of a formula of blocks reads.
    fn read(&self, leaf: &Var) -> Read {
        let side = match leaf.id % 2 {
            0 => Side::Low,
            _ => Side::High,
        };
        let (operand, count) = (leaf.id / 2, self.count());
        match (leaf.axis(), operand) {
            (_, operand) if operand == count + 2 => Read::Limits,
            (Some(axis), operand) if operand >= count => Read::Side(axis, Source::Index, side),
            (axis, operand) => {
                let tensor = self.formula.source(operand as usize);
                match axis {
                    Some(axis) => Read::Side(axis, Source::Tensor(tensor), side),
                    None => Read::Parameter(tensor),
                }
            }
        }
    }

    fn program(&self, root: &Expr) -> BlockProgram {
        let (formula, leaves) = Formula::new(root);
        let (scalars, tensors): (Vec<&Var>, Vec<&Var>) =
            leaves.iter().partition(|leaf| leaf.scalar);
        let scalar = |leaf: &Var| self.formula.source(leaf.id as usize / 2);
        BlockProgram {
            program: HostProgram::new(&Program::lower(&formula, self.axis)),
            tensors: tensors.into_iter().map(|leaf| self.read(leaf)).collect(),
            scalars: scalars.into_iter().map(scalar).collect(),
        }
    }
}
