//! Parses words into the statements of a function.

use super::lexer::Token;
use super::parser::{Parser, Result};
use super::scope::Meaning;
use super::types::{Address, Base, Guard, Instruction, Operand, Space, Statement, Type};

impl Parser {
    /// Parses a statement. False at the closing brace of the body.
    pub(super) fn statement(&mut self) -> Result<bool> {
        if self.takes('{') {
            self.scopes.open(self.function.body.len());
            return Ok(true);
        }
        if self.takes('}') {
            return Ok(self.scopes.close(&mut self.function.body));
        }
        if self.takes(';') {
            return Ok(true);
        }
        match self.peek_word() {
            Some(".reg") => self.registers()?,
            Some(".local") => self.declaration(Space::Local)?,
            Some(".shared") => self.declaration(Space::Shared)?,
            Some(".param") => self.declaration(Space::Param)?,
            Some(".pragma") => {
                self.at += 2;
                self.expect(';')?;
            }
            Some(".loc") => self.skip_line(),
            Some(word) if word.starts_with('.') => {
                return self.error(format!("'{word}' is unknown within a function"));
            }
            Some(word) if self.words.get(self.at + 1).map(|w| &w.0) == Some(&Token::Mark(':')) => {
                let label = word.to_string();
                let unique = self.scopes.label(&label);
                self.function.body.push(Statement::Label(unique));
                self.at += 2;
            }
            _ => self.instruction()?,
        }
        Ok(true)
    }

    fn registers(&mut self) -> Result<()> {
        self.at += 1;
        let word = self.word()?;
        let Some(of) = word.strip_prefix('.').and_then(Type::of) else {
            return self.error(format!("'{word}' is no type of registers"));
        };
        loop {
            let name = self.word()?;
            if self.takes('<') {
                let count = self.size()?;
                self.expect('>')?;
                for k in 0..count {
                    self.register(&format!("{name}{k}"), of);
                }
            } else {
                self.register(&name, of);
            }
            if !self.takes(',') {
                return self.expect(';');
            }
        }
    }

    fn register(&mut self, name: &str, of: Type) {
        let register = self.function.registers.len();
        self.function.registers.push(of);
        self.scopes.declare(name, Meaning::Register(register));
    }

    fn declaration(&mut self, space: Space) -> Result<()> {
        self.at += 1;
        let mut variable = self.variable(space)?;
        if variable.size == 0 {
            return self.error(format!("{} has no size here", variable.name));
        }
        let unique = self.scopes.unique(&variable.name);
        let meaning = Meaning::Variable(unique.clone());
        self.scopes.declare(&variable.name, meaning);
        variable.name = unique;
        self.function.variables.push(variable);
        self.expect(';')
    }

    fn instruction(&mut self) -> Result<()> {
        let guard = if self.takes('@') {
            let negated = self.takes('!');
            let name = self.word()?;
            match self.scopes.find(&name) {
                Some(Meaning::Register(register)) => Some(Guard {
                    register: *register,
                    negated,
                }),
                _ => return self.error(format!("'{name}' is no predicate")),
            }
        } else {
            None
        };
        let line = self.line();
        let name = self.word()?;
        let mut operands = Vec::new();
        while !self.takes(';') {
            operands.push(self.operand()?);
            if !self.takes(',') {
                self.expect(';')?;
                break;
            }
        }
        let parts = name.split('.').map(str::to_string).collect();
        let instruction = Instruction {
            guard,
            parts,
            operands,
            line,
        };
        self.function.body.push(Statement::Instruction(instruction));
        Ok(())
    }

    fn operand(&mut self) -> Result<Operand> {
        if self.takes('{') {
            return Ok(Operand::Vector(self.operands('}')?));
        }
        if self.takes('(') {
            return Ok(Operand::List(self.operands(')')?));
        }
        if self.takes('[') {
            let address = self.address()?;
            self.expect(']')?;
            return Ok(Operand::Address(address));
        }
        if self.takes('!') {
            let name = self.word()?;
            return match self.scopes.find(&name) {
                Some(Meaning::Register(register)) => Ok(Operand::Not(*register)),
                _ => self.error(format!("'{name}' is no predicate")),
            };
        }
        let operand = match self.peek().cloned() {
            Some(Token::Word(word)) => {
                self.at += 1;
                self.named(&word)?
            }
            Some(Token::Single(bits)) => {
                self.at += 1;
                Operand::Single(bits)
            }
            Some(Token::Double(bits)) => {
                self.at += 1;
                Operand::Double(bits)
            }
            _ => Operand::Integer(self.integer()?),
        };
        if self.takes('|') {
            let second = self.operand()?;
            return Ok(Operand::Pair(Box::new(operand), Box::new(second)));
        }
        Ok(operand)
    }

    fn operands(&mut self, end: char) -> Result<Vec<Operand>> {
        let mut operands = Vec::new();
        while !self.takes(end) {
            operands.push(self.operand()?);
            if !self.takes(',') {
                self.expect(end)?;
                break;
            }
        }
        Ok(operands)
    }

    fn named(&mut self, word: &str) -> Result<Operand> {
        match self.scopes.find(word) {
            Some(Meaning::Register(register)) => return Ok(Operand::Register(*register)),
            Some(Meaning::Variable(unique)) => {
                let unique = unique.clone();
                return Ok(Operand::Variable(unique, self.offset()?));
            }
            None => {}
        }
        if word == "_" {
            return Ok(Operand::Sink);
        }
        if word == "WARP_SZ" {
            return Ok(Operand::Integer(32));
        }
        if word.starts_with('%') {
            return Ok(Operand::Special(word.into()));
        }
        if self.is_variable(word) {
            return Ok(Operand::Variable(word.into(), self.offset()?));
        }
        Ok(Operand::Name(word.into()))
    }

    fn is_variable(&self, name: &str) -> bool {
        let params = self.function.params.iter().chain(&self.function.result);
        let mut all = self.module.variables.iter().chain(params);
        all.any(|variable| variable.name == name)
    }

    fn offset(&mut self) -> Result<i64> {
        let negative = match self.peek() {
            Some(Token::Mark('+')) => false,
            Some(Token::Mark('-')) => true,
            _ => return Ok(0),
        };
        self.at += 1;
        let offset = self.integer()?;
        let offset = if negative { -offset } else { offset };
        match i64::try_from(offset) {
            Ok(offset) => Ok(offset),
            Err(_) => self.error(format!("{offset} is too far")),
        }
    }

    fn address(&mut self) -> Result<Address> {
        if !matches!(self.peek(), Some(Token::Word(_))) {
            let offset = self.integer()? as i64;
            return Ok(Address {
                base: Base::Nothing,
                offset,
            });
        }
        let word = self.word()?;
        let (base, offset) = match self.named(&word)? {
            Operand::Register(register) => (Base::Register(register), self.offset()?),
            Operand::Variable(name, offset) => (Base::Variable(name), offset),
            _ => return self.error(format!("'{word}' is no address")),
        };
        Ok(Address { base, offset })
    }
}
