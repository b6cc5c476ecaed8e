//! The code of a stage while it is built.

use std::collections::HashMap;

use super::{Code, Instruction, Item, Load, Register, Stage};
use crate::formula::expr::Expr;

/// A component of a vector expression, as lowering asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    /// A component whose number is known, in unrolled code.
    At(usize),
    /// Component `offset + k` in the innermost loop, which runs over `k`.
    Looped(usize),
}

impl Component {
    pub fn shift(self, by: usize) -> Self {
        match self {
            Component::At(k) => Component::At(k + by),
            Component::Looped(offset) => Component::Looped(offset + by),
        }
    }

    pub fn unshift(self, by: usize) -> Self {
        match self {
            Component::At(k) => Component::At(k - by),
            Component::Looped(offset) => Component::Looped(offset - by),
        }
    }

    pub fn first(self) -> usize {
        match self {
            Component::At(k) | Component::Looped(k) => k,
        }
    }
}

#[derive(Default)]
pub struct Body {
    pub code: Code,
    pub known: HashMap<(u128, usize), Register>,
}

/// The code of one stage while it is built.
#[derive(Default)]
pub struct Builder {
    pub items: Vec<Item>,
    pub known: HashMap<(u128, usize), Register>,
    pub bodies: Vec<Body>,
    pub registers: usize,
    pub loads: Vec<Load>,
    pub loaded: usize,
    pub computed: usize,
    pub slots: HashMap<u128, usize>,
}

impl Builder {
    pub fn push(&mut self, instruction: Instruction, looped: bool) -> Register {
        let register = self.registers;
        self.registers += 1;
        match self.bodies.last_mut() {
            Some(body) if looped => body.code.push((register, instruction)),
            _ => self.items.push(Item::Let(register, instruction)),
        }
        register
    }

    pub fn known(&self, expr: &Expr, component: Component) -> Option<Register> {
        match component {
            Component::At(k) => self.known.get(&(expr.digest(), k)),
            Component::Looped(offset) => {
                let body = self.bodies.last().expect("a looped component is in a loop");
                body.known.get(&(expr.digest(), offset))
            }
        }
        .copied()
    }

    pub fn remember(&mut self, expr: &Expr, component: Component, register: Register) {
        match component {
            Component::At(k) => self.known.insert((expr.digest(), k), register),
            Component::Looped(offset) => {
                let body = self
                    .bodies
                    .last_mut()
                    .expect("a looped component is in a loop");
                body.known.insert((expr.digest(), offset), register)
            }
        };
    }

    pub fn into_stage(self) -> Stage {
        Stage {
            loaded: self.loaded,
            slots: self.loaded + self.computed,
            loads: self.loads,
            items: self.items,
        }
    }
}
