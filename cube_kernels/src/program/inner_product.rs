//! Inner products and squared distances of a row and a column: what the matrix units of a device can
//! compute for many pairs at once.

use super::{Instruction, Item, Listing, Load, Loop, Register, Source, Space, Stage, Term};
use crate::formula::catalogue::ScalarOp;

/// A sum over an inner axis of a pair that is $\pm \sum_k x_k y_k$ or $\pm \sum_k (x_k - y_k)^2 s_k^2$
/// for components $x_k$ of an operand of rows and $y_k$ of one of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InnerProduct {
    /// Which item of the pair it is.
    pub item: usize,
    /// Number of terms.
    pub len: usize,
    /// Whether it is a squared distance.
    pub distance: bool,
    /// Whether the terms are subtracted.
    pub negated: bool,
    /// The factors $x_k$.
    pub row: Factor,
    /// The factors $y_k$.
    pub column: Factor,
    /// The factors $s_k$ that differences are multiplied by, if there are any.
    pub scale: Option<Scale>,
}

/// Components of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Factor {
    /// The tensor.
    pub tensor: usize,
    /// The first component.
    pub offset: usize,
    /// The slot that the first component fills.
    pub slot: usize,
}

/// A factor in the uniform slot `slot`, or in slot `slot + k` for component `k` if `looped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scale {
    /// The slot; the first one if each component has a factor of its own.
    pub slot: usize,
    /// Whether each component has a factor of its own.
    pub looped: bool,
}

/// What a register of the body of a sum holds.
#[derive(Clone, Copy, PartialEq)]
enum Value {
    Row(usize),
    Column(usize),
    Uniform(Scale),
    Difference {
        row: usize,
        column: usize,
        scale: Option<Scale>,
    },
}

impl Listing {
    /// The longest inner product of operands in the pair, if there is one.
    pub fn inner_product(&self) -> Option<InnerProduct> {
        let products = (0..self.pair.len()).filter_map(|item| self.inner_product_at(item));
        products.max_by_key(|product| product.len)
    }

    fn inner_product_at(&self, item: usize) -> Option<InnerProduct> {
        let Item::Sum {
            terms:
                Loop {
                    len,
                    body,
                    term: Term::Product { args, negated },
                },
            fold: None,
            ..
        } = &self.pair[item]
        else {
            return None;
        };
        let mut values: Vec<(Register, Value)> = Vec::new();
        let known = |values: &[(Register, Value)], register: Register| {
            held(values, register).or_else(|| self.uniform_register(item, register))
        };
        for (register, instruction) in body {
            let value = match *instruction {
                Instruction::Load {
                    space,
                    slot,
                    looped,
                } => match space {
                    Space::Row if looped => Value::Row(slot),
                    Space::Column if looped => Value::Column(slot),
                    Space::Uniform => Value::Uniform(Scale { slot, looped }),
                    _ => return None,
                },
                Instruction::Apply {
                    op,
                    args: [a, b, _],
                    ..
                } => match (op, known(&values, a)?, known(&values, b)?) {
                    (ScalarOp::Sub, Value::Row(row), Value::Column(column))
                    | (ScalarOp::Sub, Value::Column(column), Value::Row(row)) => {
                        Value::Difference {
                            row,
                            column,
                            scale: None,
                        }
                    }
                    (
                        ScalarOp::Mul,
                        Value::Difference {
                            row,
                            column,
                            scale: None,
                        },
                        Value::Uniform(scale),
                    )
                    | (
                        ScalarOp::Mul,
                        Value::Uniform(scale),
                        Value::Difference {
                            row,
                            column,
                            scale: None,
                        },
                    ) => Value::Difference {
                        row,
                        column,
                        scale: Some(scale),
                    },
                    _ => return None,
                },
                _ => return None,
            };
            values.push((*register, value));
        }
        let (distance, row, column, scale) =
            match (known(&values, args[0])?, known(&values, args[1])?) {
                (Value::Row(row), Value::Column(column))
                | (Value::Column(column), Value::Row(row)) => (false, row, column, None),
                (Value::Difference { row, column, scale }, _) if args[0] == args[1] => {
                    (true, row, column, scale)
                }
                _ => return None,
            };
        Some(InnerProduct {
            item,
            len: *len,
            distance,
            negated: *negated,
            row: factor(&self.row, row, *len)?,
            column: factor(&self.column, column, *len)?,
            scale,
        })
    }

    /// What `register` holds, if an item before `item` loads it from a uniform slot.
    fn uniform_register(&self, item: usize, register: Register) -> Option<Value> {
        self.pair[..item].iter().find_map(|item| match *item {
            Item::Let(
                own,
                Instruction::Load {
                    space: Space::Uniform,
                    slot,
                    looped,
                },
            ) if own == register => Some(Value::Uniform(Scale { slot, looped })),
            _ => None,
        })
    }

    /// Whether the `len` components of `factor` are copied to slots of `space` by a copy of their own, and
    /// only these items of the pair read them.
    pub fn only_for(&self, items: &[usize], space: Space, factor: Factor, len: usize) -> bool {
        let (first, last) = (factor.slot, factor.slot + len);
        let copied = |load: &Load| load.slot == first && load.len == len;
        let reads = |item: &Item| {
            let mut slots = item.reads(space);
            slots.any(|slots| slots.start < last && slots.end > first)
        };
        let mut others = self.pair.iter().enumerate();
        let stage = self.stage(space);
        stage.load_of(first).is_some_and(copied)
            && !stage.items.iter().any(reads)
            && !others.any(|(at, item)| !items.contains(&at) && reads(item))
    }
}

/// What `register` holds, if the loop body sets it. `values` lists the registers of the body and what they hold.
pub(super) fn held<V: Copy>(values: &[(Register, V)], register: Register) -> Option<V> {
    let own = values.iter().find(|(own, _)| *own == register);
    own.map(|(_, value)| *value)
}

/// The operand whose components fill `len` slots from `slot` on.
pub(super) fn factor(stage: &Stage, slot: usize, len: usize) -> Option<Factor> {
    let load = stage.load_of(slot)?;
    match load.source {
        Source::Tensor(tensor) if slot + len <= load.slot + load.len => Some(Factor {
            tensor,
            offset: load.offset + slot - load.slot,
            slot,
        }),
        _ => None,
    }
}
