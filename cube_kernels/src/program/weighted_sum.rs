//! Sums over columns of a value of the pair times components of the column: rows of a matrix product,
//! whose left factor holds the values of all pairs.

use super::{
    Instruction, Item, Listing, Loop, Register, Space, Term,
    inner_product::{Factor, factor, held},
};
use crate::formula::catalogue::ScalarOp;

/// Components of the formula that are $\pm p\, v_k$, or $\pm p\, (v_k - u_k)$: $v_k$ is component $k$ of an
/// operand of columns and $u_k$ of one of rows, and $p$ a value of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightedSum {
    /// Which item of the pair stores the components.
    pub item: usize,
    /// Number of components.
    pub len: usize,
    /// The register of $p$; `None` if $p$ is 1.
    pub weight: Option<Register>,
    /// Whether $p$ is taken with the opposite sign.
    pub negated: bool,
    /// The components $v_k$.
    pub column: Factor,
    /// The components $u_k$, if they are subtracted.
    pub row: Option<Factor>,
}

/// What components are multiplied by when matrix instructions sum them up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// A factor in the formula.
    Factor,
    /// A factor in the formula, if there is one, and the exponential of the first component of the formula.
    Exponential,
}

/// What a register of the body of the loop over components holds.
#[derive(Clone, Copy, PartialEq)]
enum Value {
    Row(usize),
    Column(usize),
    /// The component of the column minus that of the row, or the opposite if `negated`.
    Difference {
        row: usize,
        column: usize,
        negated: bool,
    },
}

impl Listing {
    /// The components that are summed with these `weights`, if they are all components of the formula. For
    /// [`Weights::Exponential`] they are all but the first.
    pub fn weighted_sum(&self, weights: Weights) -> Option<WeightedSum> {
        let stores: Vec<(usize, usize, usize)> = (0..)
            .zip(&self.pair)
            .filter_map(|(item, own)| match own {
                Item::Store { base, terms } => Some((item, *base, terms.len)),
                _ => None,
            })
            .collect();
        let item = match (weights, &stores[..]) {
            (Weights::Factor, [(item, 0, len)]) if *len == self.dim => *item,
            (Weights::Exponential, [(_, 0, 1), (item, 1, len)]) if 1 + len == self.dim => *item,
            _ => return None,
        };
        let sum = self.weighted_sum_at(item)?;
        (sum.weight.is_some() || weights == Weights::Exponential).then_some(sum)
    }

    fn weighted_sum_at(&self, item: usize) -> Option<WeightedSum> {
        let Item::Store { terms, .. } = &self.pair[item] else {
            return None;
        };
        let Loop { len, body, term } = terms;
        let mut values: Vec<(Register, Value)> = Vec::new();
        for (register, instruction) in body {
            let value = match *instruction {
                Instruction::Load {
                    space,
                    slot,
                    looped: true,
                } => match space {
                    Space::Row => Value::Row(slot),
                    Space::Column => Value::Column(slot),
                    _ => return None,
                },
                Instruction::Apply {
                    op: ScalarOp::Sub,
                    args: [a, b, _],
                    ..
                } => match (held(&values, a)?, held(&values, b)?) {
                    (Value::Column(column), Value::Row(row)) => Value::Difference {
                        row,
                        column,
                        negated: false,
                    },
                    (Value::Row(row), Value::Column(column)) => Value::Difference {
                        row,
                        column,
                        negated: true,
                    },
                    _ => return None,
                },
                _ => return None,
            };
            values.push((*register, value));
        }
        // A register that the body does not fill is the same for all components.
        let (weight, value, negated) = match *term {
            Term::Value(value) => (None, held(&values, value)?, false),
            Term::Product {
                args: [a, b],
                negated,
            } => match (held(&values, a), held(&values, b)) {
                (None, Some(value)) => (Some(a), value, negated),
                (Some(value), None) => (Some(b), value, negated),
                _ => return None,
            },
        };
        let (column, row, opposite) = match value {
            Value::Row(_) => return None,
            Value::Column(column) => (column, None, false),
            Value::Difference {
                row,
                column,
                negated,
            } => (column, Some(factor(&self.row, row, *len)?), negated),
        };
        Some(WeightedSum {
            item,
            len: *len,
            weight,
            negated: negated != opposite,
            column: factor(&self.column, column, *len)?,
            row,
        })
    }
}
