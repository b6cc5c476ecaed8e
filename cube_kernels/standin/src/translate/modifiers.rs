//! The modifiers of an instruction, which are the parts of its name after the first. They are taken
//! one by one, so that none is overlooked.

use super::function::Fault;
use crate::ptx::{Instruction, Space, Type};

/// The modifiers that have not been taken yet.
pub struct Modifiers<'a> {
    left: Vec<&'a str>,
}

impl<'a> Modifiers<'a> {
    /// All parts of the name after the first.
    pub fn new(instruction: &'a Instruction) -> Self {
        let parts = instruction.parts.iter().skip(1);
        Self {
            left: parts.map(String::as_str).collect(),
        }
    }

    /// Takes a modifier. Returns whether it was there.
    pub fn takes(&mut self, name: &str) -> bool {
        self.one_of(&[name]).is_some()
    }

    /// Takes the first modifier that is one of `names`.
    pub fn one_of(&mut self, names: &[&str]) -> Option<&'a str> {
        let place = self.left.iter().position(|part| names.contains(part))?;
        Some(self.left.remove(place))
    }

    /// Takes the first modifier if `of` knows it.
    pub fn next_as<T>(&mut self, of: impl Fn(&str) -> Option<T>) -> Option<T> {
        let found = of(self.left.first()?)?;
        self.left.remove(0);
        Some(found)
    }

    /// Takes modifiers that make no difference here.
    pub fn ignore(&mut self, names: &[&str]) {
        self.left.retain(|part| !names.contains(part));
    }

    /// Takes modifiers that begin with `start`, which make no difference here.
    pub fn ignore_all_of(&mut self, start: &str) {
        self.left.retain(|part| !part.starts_with(start));
    }

    /// Takes the last modifier, which is a type.
    pub fn last_type(&mut self) -> Result<Type, Fault> {
        let last = self.left.pop().unwrap_or_default();
        Type::of(last).ok_or_else(|| Fault::new(format!("'{last}' is no type that is known")))
    }

    /// Takes all types, in their order.
    pub fn types(&mut self) -> Vec<Type> {
        let (types, left) = self.left.iter().partition(|part| Type::of(part).is_some());
        self.left = left;
        let types: Vec<&str> = types;
        types.into_iter().filter_map(Type::of).collect()
    }

    /// Takes the space of an address. Without one the space is generic.
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

    /// Checks that no modifier is left.
    pub fn end(self) -> Result<(), Fault> {
        match self.left.first() {
            None => Ok(()),
            Some(part) => Err(Fault::new(format!("'.{part}' is not known here"))),
        }
    }
}
