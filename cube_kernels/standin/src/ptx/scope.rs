//! Names within the braces of a body.

use std::collections::HashMap;

use super::types::{Operand, Register, Statement};

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Meaning {
    /// A register.
    Register(Register),
    /// A variable, by its unique name.
    Variable(String),
}

/// The names declared between two braces.
#[derive(Default)]
struct Scope {
    names: HashMap<String, Meaning>,
    labels: HashMap<String, String>,
    /// Statements before it.
    start: usize,
}

/// The scopes that are open, the innermost one last.
#[derive(Default)]
pub struct Scopes {
    open: Vec<Scope>,
    count: usize,
}

impl Scopes {
    /// An opening brace, after so many statements.
    pub fn open(&mut self, start: usize) {
        self.open.push(Scope {
            start,
            ..Default::default()
        });
    }

    /// The closing brace: branches within go to the labels within. Gives whether another scope is open.
    pub fn close(&mut self, body: &mut [Statement]) -> bool {
        let scope = self.open.pop().unwrap_or_default();
        for statement in body.iter_mut().skip(scope.start) {
            let Statement::Instruction(instruction) = statement else {
                continue;
            };
            for operand in &mut instruction.operands {
                if let Operand::Name(name) = operand
                    && let Some(unique) = scope.labels.get(name)
                {
                    *name = unique.clone();
                }
            }
        }
        !self.open.is_empty()
    }

    /// Declares a name in the innermost scope.
    pub fn declare(&mut self, name: &str, meaning: Meaning) {
        if let Some(scope) = self.open.last_mut() {
            scope.names.insert(name.into(), meaning);
        }
    }

    /// The name of a label that no other has.
    pub fn label(&mut self, name: &str) -> String {
        let unique = self.unique(name);
        if let Some(scope) = self.open.last_mut() {
            scope.labels.insert(name.into(), unique.clone());
        }
        unique
    }

    /// A name that no other has.
    pub fn unique(&mut self, name: &str) -> String {
        self.count += 1;
        format!("{name}@{}", self.count)
    }

    /// What the name stands for here.
    pub fn find(&self, name: &str) -> Option<&Meaning> {
        self.open
            .iter()
            .rev()
            .find_map(|scope| scope.names.get(name))
    }
}
