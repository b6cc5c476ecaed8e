//! The leaves of expressions: operands and positions, and the axes along which they vary.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::catalogue::ScalarOp;

/// One of the two symbolic axes of the M x N matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Axis {
    /// The rows, `i < M`.
    I,
    /// The columns, `j < N`.
    J,
}

impl Axis {
    /// The other axis.
    pub fn other(self) -> Self {
        match self {
            Axis::I => Axis::J,
            Axis::J => Axis::I,
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Axis::I => "i",
            Axis::J => "j",
        })
    }
}

/// Which symbolic axes a value depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dependence {
    /// Varies with `i`.
    pub i: bool,
    /// Varies with `j`.
    pub j: bool,
}

impl From<Option<Axis>> for Dependence {
    /// A dependence on this axis alone, or on none.
    fn from(axis: Option<Axis>) -> Self {
        Self {
            i: axis == Some(Axis::I),
            j: axis == Some(Axis::J),
        }
    }
}

impl Dependence {
    /// A dependence on both axes.
    pub const BOTH: Self = Self { i: true, j: true };

    /// Depends on what either side depends on.
    pub fn union(self, other: Self) -> Self {
        Self {
            i: self.i || other.i,
            j: self.j || other.j,
        }
    }

    /// Whether the value varies along `axis`.
    pub fn on(self, axis: Axis) -> bool {
        match axis {
            Axis::I => self.i,
            Axis::J => self.j,
        }
    }

    /// The axis, if the value varies along exactly one.
    pub fn only(self) -> Option<Axis> {
        match (self.i, self.j) {
            (true, false) => Some(Axis::I),
            (false, true) => Some(Axis::J),
            _ => None,
        }
    }

    /// Whether the value varies along both axes.
    pub fn is_both(self) -> bool {
        self == Self::BOTH
    }

    /// The same with the axes swapped.
    pub fn transposed(self) -> Self {
        Self {
            i: self.j,
            j: self.i,
        }
    }
}

/// A leaf of a formula: one operand tensor, or one run-time scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Var {
    /// Identity of the operand; in a [`Formula`](crate::Formula) its position among the operands.
    pub id: u64,
    /// The axes along which the operand varies: both, if it has a value for each pair; none, if it is a parameter.
    pub axes: Dependence,
    /// Size of the inner axis.
    pub dim: usize,
    /// Whether the value is a run-time scalar instead of a tensor.
    pub scalar: bool,
}

impl Var {
    /// The axis along which the operand varies; none for a parameter, and none for an operand that varies along both.
    pub fn axis(&self) -> Option<Axis> {
        self.axes.only()
    }

    /// Whether the operand is the same for all rows and columns.
    pub fn is_parameter(&self) -> bool {
        self.axes == Dependence::default()
    }

    /// Whether the operand has a value for each pair.
    pub fn is_of_pairs(&self) -> bool {
        self.axes.is_both()
    }
}

/// The position of a pair in the matrix, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Place {
    /// The index of the row or column, exact as far as the type of the formula represents all integers:
    /// up to 2^24 in F32.
    Index(Axis),
    /// $i - j$, subtracted as integers, so that comparisons with small numbers are always exact.
    Offset,
}

/// Which of several values is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Extreme {
    /// The smallest.
    Minimum,
    /// The largest.
    Maximum,
}

impl Extreme {
    /// The function that takes this one of two values.
    pub fn op(self) -> ScalarOp {
        match self {
            Extreme::Minimum => ScalarOp::Minimum,
            Extreme::Maximum => ScalarOp::Maximum,
        }
    }
}
