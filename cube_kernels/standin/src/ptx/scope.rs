//! Names of registers, variables and labels within the braces of a body.

use std::collections::HashMap;

use super::types::{Operand, Register, Statement};

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Meaning {
    /// A register.
    Register(Register),
    /// A variable, by the unique name that the parser gives it.
    Variable(String),
}

/// The names declared between two braces.
#[derive(Default)]
struct Scope {
    names: HashMap<String, Meaning>,
    labels: HashMap<String, String>,
    /// The number of statements before the scope.
    start: usize,
}

/// The scopes that are open, the innermost one last.
#[derive(Default)]
pub struct Scopes {
    open: Vec<Scope>,
    count: usize,
}

impl Scopes {
    /// Opens a scope after `start` statements.
    pub fn open(&mut self, start: usize) {
        self.open.push(Scope {
            start,
            ..Default::default()
        });
    }

    /// Closes the innermost scope, and gives branches within it the unique names of its labels. Returns whether another
    /// scope is open.
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

    /// Declares a label in the innermost scope. Returns a unique name for it.
    pub fn label(&mut self, name: &str) -> String {
        let unique = self.unique(name);
        if let Some(scope) = self.open.last_mut() {
            scope.labels.insert(name.into(), unique.clone());
        }
        unique
    }

    /// A unique name made from `name`.
    pub fn unique(&mut self, name: &str) -> String {
        self.count += 1;
        format!("{name}@{}", self.count)
    }

    /// The meaning of a name in the open scopes.
    pub fn find(&self, name: &str) -> Option<&Meaning> {
        self.open
            .iter()
            .rev()
            .find_map(|scope| scope.names.get(name))
    }
}
