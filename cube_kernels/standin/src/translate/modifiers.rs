//! The parts of an instruction's name behind the first, taken one by one, so that none is overlooked.

use super::function::Fault;
use crate::ptx::{Instruction, Space, Type};

/// What is left of the parts.
pub struct Modifiers<'a> {
    left: Vec<&'a str>,
}

impl<'a> Modifiers<'a> {
    /// All parts behind the first.
    pub fn new(instruction: &'a Instruction) -> Self {
        let parts = instruction.parts.iter().skip(1);
        Self {
            left: parts.map(String::as_str).collect(),
        }
    }

    /// Takes a part; whether it was there.
    pub fn takes(&mut self, name: &str) -> bool {
        self.one_of(&[name]).is_some()
    }

    /// Takes the first of the parts that is one of these.
    pub fn one_of(&mut self, names: &[&str]) -> Option<&'a str> {
        let place = self.left.iter().position(|part| names.contains(part))?;
        Some(self.left.remove(place))
    }

    /// Takes the first part if a function knows it.
    pub fn next_as<T>(&mut self, of: impl Fn(&str) -> Option<T>) -> Option<T> {
        let found = of(self.left.first()?)?;
        self.left.remove(0);
        Some(found)
    }

    /// Takes parts that make no difference here.
    pub fn ignore(&mut self, names: &[&str]) {
        self.left.retain(|part| !names.contains(part));
    }

    /// Takes parts that begin like this and make no difference here.
    pub fn ignore_all_of(&mut self, start: &str) {
        self.left.retain(|part| !part.starts_with(start));
    }

    /// Takes the last part, a type.
    pub fn last_type(&mut self) -> Result<Type, Fault> {
        let last = self.left.pop().unwrap_or_default();
        Type::of(last).ok_or_else(|| Fault::new(format!("'{last}' is no type that is known")))
    }

    /// Takes the types, in their order.
    pub fn types(&mut self) -> Vec<Type> {
        let (types, left) = self.left.iter().partition(|part| Type::of(part).is_some());
        self.left = left;
        let types: Vec<&str> = types;
        types.into_iter().filter_map(Type::of).collect()
    }

    /// Takes the space of an address; generic if there is none.
    pub fn space(&mut self) -> Space {
        let names = [
            ("global", Space::Global),
            ("shared", Space::Shared),
            ("shared::cta", Space::Shared),
            ("local", Space::Local),
            ("param", Space::Param),
            ("param::entry", Space::Param),
            ("param::func", Space::Param),
            ("const", Space::Const),
        ];
        let (words, _): (Vec<_>, Vec<_>) = names.into_iter().unzip();
        let found = self.one_of(&words);
        let row = names.iter().find(|row| Some(row.0) == found);
        row.map_or(Space::Generic, |row| row.1)
    }

    /// Asserts that nothing is left.
    pub fn end(self) -> Result<(), Fault> {
        match self.left.first() {
            None => Ok(()),
            Some(part) => Err(Fault::new(format!("'.{part}' is not known here"))),
        }
    }
}
