//! How programs are printed.

use std::fmt;

use super::{Instruction, Item, Listing, Loop, Source, Space, Term};

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Instruction::Const(bits) => write!(f, "{}", bits.value()),
            Instruction::Load {
                space,
                slot,
                looped,
            } => {
                let name = match space {
                    Space::Uniform => "uniform",
                    Space::Row => "row",
                    Space::Column => "column",
                    Space::Pair => "pair",
                };
                write!(f, "{name}[{slot}{}]", if *looped { " + k" } else { "" })
            }
            Instruction::Entry {
                tensor,
                component,
                looped,
            } => {
                let k = if *looped { " + k" } else { "" };
                write!(f, "tensor {tensor} of pairs [{component}{k}]")
            }
            Instruction::Counter { offset } => write!(f, "k + {offset}"),
            Instruction::Offset { negated: false } => f.write_str("row - column"),
            Instruction::Offset { negated: true } => f.write_str("column - row"),
            Instruction::Apply {
                op,
                args: [a, b, c],
                ..
            } => match op.arity() {
                3 => write!(f, "{op}(r{a}, r{b}, r{c})"),
                2 => write!(f, "{op}(r{a}, r{b})"),
                _ => write!(f, "{op}(r{a})"),
            },
            Instruction::Fma {
                args: [a, b, c],
                negated,
            } => write!(f, "r{c} {} r{a} * r{b}", if *negated { "-" } else { "+" }),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Value(r) => write!(f, "r{r}"),
            Term::Product {
                args: [a, b],
                negated,
            } => write!(f, "{}r{a} * r{b}", if *negated { "-" } else { "" }),
        }
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = |f: &mut fmt::Formatter<'_>, terms: &Loop| {
            let mut body = terms.body.iter();
            body.try_for_each(|(r, instruction)| writeln!(f, "    r{r} = {instruction}"))?;
            writeln!(f, "    {}", terms.term)
        };
        let items = |f: &mut fmt::Formatter<'_>, items: &[Item]| {
            items.iter().try_for_each(|item| match item {
                Item::Let(r, instruction) => writeln!(f, "  r{r} = {instruction}"),
                Item::Sum {
                    register,
                    terms,
                    fold,
                } => {
                    let len = terms.len;
                    match fold {
                        None => writeln!(f, "  r{register} = sum of k < {len}:")?,
                        Some((op, first)) => {
                            writeln!(f, "  r{register} = {op} of r{first} and k < {len}:")?
                        }
                    }
                    code(f, terms)
                }
                Item::Store { base, terms } => {
                    writeln!(f, "  store {base} + k, k < {}:", terms.len)?;
                    code(f, terms)
                }
            })
        };
        for (name, stage) in [
            ("uniform", &self.uniform),
            ("row", &self.row),
            ("column", &self.column),
        ] {
            writeln!(f, "{name}: {} slots", stage.slots)?;
            for load in &stage.loads {
                let end = load.offset + load.len;
                write!(f, "  {}.. = ", load.slot)?;
                match load.source {
                    Source::Tensor(k) => writeln!(f, "tensor {k} [{}..{end}]", load.offset)?,
                    Source::Scalar(k) => writeln!(f, "scalar {k}")?,
                    Source::Index => writeln!(f, "index")?,
                }
            }
            items(f, &stage.items)?;
        }
        writeln!(f, "pair: {} outputs", self.dim)?;
        items(f, &self.pair)
    }
}
