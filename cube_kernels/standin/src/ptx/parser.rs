//! Words to functions and instructions.

use super::PtxError;
use super::lexer::{Placed, Token, words};
use super::scope::{Meaning, Scopes};
use super::types::{
    Address, Base, Function, Guard, Instruction, Module, Operand, Space, Statement, Type, Variable,
};

type Result<T> = std::result::Result<T, PtxError>;

/// What a text says.
pub fn parse(text: &str) -> Result<Module> {
    let mut parser = Parser {
        words: words(text)?,
        at: 0,
        module: Module::default(),
        function: Function::default(),
        scopes: Scopes::default(),
    };
    while parser.at < parser.words.len() {
        parser.top()?;
    }
    Ok(parser.module)
}

struct Parser {
    words: Vec<Placed>,
    at: usize,
    module: Module,
    function: Function,
    scopes: Scopes,
}

impl Parser {
    fn line(&self) -> u32 {
        let last = self.words.len().saturating_sub(1);
        self.words.get(self.at.min(last)).map_or(1, |word| word.1)
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(PtxError {
            line: self.line(),
            message: message.into(),
        })
    }

    fn peek(&self) -> Option<&Token> {
        self.words.get(self.at).map(|word| &word.0)
    }

    fn peek_word(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn next(&mut self) -> Result<Token> {
        match self.peek().cloned() {
            Some(token) => {
                self.at += 1;
                Ok(token)
            }
            None => self.error("the text ends too early"),
        }
    }

    fn takes(&mut self, mark: char) -> bool {
        let there = self.peek() == Some(&Token::Mark(mark));
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, mark: char) -> Result<()> {
        if self.takes(mark) {
            return Ok(());
        }
        self.error(format!("'{mark}' expected, not {:?}", self.peek()))
    }

    fn word(&mut self) -> Result<String> {
        match self.next()? {
            Token::Word(word) => Ok(word),
            other => self.error(format!("a name expected, not {other:?}")),
        }
    }

    fn integer(&mut self) -> Result<i128> {
        let negative = self.takes('-');
        match self.next()? {
            Token::Integer(value) if negative => Ok(-i128::from(value)),
            Token::Integer(value) => Ok(value.into()),
            other => self.error(format!("an integer expected, not {other:?}")),
        }
    }

    fn size(&mut self) -> Result<u32> {
        let value = self.integer()?;
        match u32::try_from(value) {
            Ok(value) => Ok(value),
            Err(_) => self.error(format!("{value} is too large")),
        }
    }

    fn skip_line(&mut self) {
        let line = self.line();
        while self.words.get(self.at).is_some_and(|word| word.1 == line) {
            self.at += 1;
        }
    }

    // What is not within a function.

    fn top(&mut self) -> Result<()> {
        let mut external = false;
        loop {
            let word = self.word()?;
            match word.as_str() {
                ".visible" | ".weak" | ".common" => {}
                ".extern" => external = true,
                ".version" | ".address_size" | ".file" | ".loc" => {
                    self.at -= 1;
                    self.skip_line();
                    return Ok(());
                }
                ".target" => {
                    self.module.target = self.word()?;
                    while self.takes(',') {
                        self.word()?;
                    }
                    return Ok(());
                }
                ".pragma" => {
                    self.next()?;
                    return self.expect(';');
                }
                ".section" => return self.skip_braces(),
                ".global" | ".const" | ".shared" => {
                    let space = match word.as_str() {
                        ".shared" => Space::Shared,
                        ".const" => Space::Const,
                        _ => Space::Global,
                    };
                    let variable = self.variable(space)?;
                    let dynamic = space == Space::Shared && external;
                    if variable.size == 0 && !dynamic || external && !dynamic {
                        return self.error(format!("{} has no size here", variable.name));
                    }
                    self.module.variables.push(variable);
                    return self.expect(';');
                }
                ".entry" | ".func" => return self.function(word == ".entry"),
                _ => return self.error(format!("'{word}' is unknown outside of functions")),
            }
        }
    }

    fn skip_braces(&mut self) -> Result<()> {
        while !self.takes('{') {
            self.next()?;
        }
        while !self.takes('}') {
            self.next()?;
        }
        Ok(())
    }

    /// A variable behind the name of its space, without the semicolon.
    fn variable(&mut self, space: Space) -> Result<Variable> {
        let mut align = None;
        let mut count = 1;
        let name_of_type = loop {
            let word = self.word()?;
            match word.as_str() {
                ".align" => align = Some(self.size()?),
                ".v2" => count = 2,
                ".v4" => count = 4,
                // Said of a parameter that is an address.
                ".ptr" | ".global" | ".shared" | ".const" | ".local" => {}
                _ => break word,
            }
        };
        let Some(of) = name_of_type.strip_prefix('.').and_then(Type::of) else {
            return self.error(format!("'{name_of_type}' is no type of a variable"));
        };
        let mut name = self.word()?;
        if matches!(name.as_str(), ".ptr") {
            // What it points to does not matter.
            loop {
                name = self.word()?;
                match name.as_str() {
                    ".align" => _ = self.size()?,
                    ".global" | ".shared" | ".const" | ".local" => {}
                    _ => break,
                }
            }
        }
        while self.takes('[') {
            if self.takes(']') {
                count = 0;
            } else {
                count *= self.size()?;
                self.expect(']')?;
            }
        }
        let mut initial = Vec::new();
        if self.takes('=') {
            self.initial(of, &mut initial)?;
            if count == 0 {
                count = initial.len() as u32 / of.bytes();
            }
        }
        Ok(Variable {
            name,
            space,
            align: align.unwrap_or(of.bytes()).max(1),
            size: count * of.bytes(),
            initial,
        })
    }

    fn initial(&mut self, of: Type, bytes: &mut Vec<u8>) -> Result<()> {
        if self.takes('{') {
            while !self.takes('}') {
                self.initial(of, bytes)?;
                self.takes(',');
            }
            return Ok(());
        }
        let value = match self.peek() {
            Some(Token::Single(bits)) => i128::from(*bits),
            Some(Token::Double(bits)) => i128::from(*bits),
            _ => {
                self.at -= 0;
                let value = self.integer()?;
                self.at -= 1;
                value
            }
        };
        self.at += 1;
        bytes.extend(&value.to_le_bytes()[..of.bytes() as usize]);
        Ok(())
    }

    fn params(&mut self) -> Result<Vec<Variable>> {
        let mut params = Vec::new();
        if !self.takes('(') {
            return Ok(params);
        }
        while !self.takes(')') {
            let word = self.word()?;
            if !matches!(word.as_str(), ".param" | ".reg") {
                return self.error(format!("a parameter expected, not '{word}'"));
            }
            params.push(self.variable(Space::Param)?);
            self.takes(',');
        }
        Ok(params)
    }

    fn function(&mut self, kernel: bool) -> Result<()> {
        let result = if kernel { Vec::new() } else { self.params()? };
        let name = self.word()?;
        let params = self.params()?;
        loop {
            match self.peek() {
                Some(Token::Mark('{' | ';')) => break,
                Some(Token::Word(word)) if word.contains("cluster") => {
                    return self.error(format!("'{word}': clusters of cubes are not known"));
                }
                _ => _ = self.next()?,
            }
        }
        if self.takes(';') {
            return Ok(());
        }
        self.function = Function {
            name,
            kernel,
            params,
            result: result.into_iter().next(),
            ..Default::default()
        };
        self.scopes = Scopes::default();
        self.expect('{')?;
        self.scopes.open(0);
        while self.statement()? {}
        let function = std::mem::take(&mut self.function);
        self.module.functions.push(function);
        Ok(())
    }

    // What is within a function.

    /// A statement; false at the closing brace of the body.
    fn statement(&mut self) -> Result<bool> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn instructions(module: &Module) -> Vec<&Instruction> {
        let body = module.functions[0].body.iter();
        body.filter_map(|statement| match statement {
            Statement::Instruction(instruction) => Some(instruction),
            Statement::Label(_) => None,
        })
        .collect()
    }

    #[test]
    fn names_in_braces_are_their_own() {
        let text = ".version 8.7\n.target sm_90a\n.address_size 64\n.visible .entry k(\n.param .u64 .ptr .align 1 k_0,
            .param .align 8 .b8 k_1[24])\n.maxntid 32, 1, 1\n{ .reg .b32 %r<3>; { .reg .b32 %r1; mov.u32 %r1, 7; bra a; a: } 
            mov.u32 %r1, %tid.x; bra.uni a; a: @!%r2 ld.param.v2.b32 {%r1, _}, [k_1+8]; ret; }";
        let module = parse(text).unwrap();
        let function = &module.functions[0];
        assert_eq!(function.params[0].size, 8);
        assert_eq!((function.params[1].size, function.params[1].align), (24, 8));
        assert_eq!(module.target, "sm_90a");
        assert_eq!(function.registers.len(), 4);
        let all = instructions(&module);
        assert_eq!(all[0].operands[0], Operand::Register(3));
        assert_eq!(all[2].operands[0], Operand::Register(1));
        assert_eq!(all[2].operands[1], Operand::Special("%tid.x".into()));
        assert_ne!(all[1].operands, all[3].operands, "labels of their own");
        let guard = Guard {
            register: 2,
            negated: true,
        };
        assert_eq!(all[4].guard, Some(guard));
        let address = Address {
            base: Base::Variable("k_1".into()),
            offset: 8,
        };
        assert_eq!(all[4].operands[1], Operand::Address(address));
    }

    #[test]
    fn tables_and_shared_memory_are_variables() {
        let text =
            ".extern .shared .align 16 .b8 all[];\n.global .align 4 .b32 table[3] = {1, -1, 0x10};";
        let module = parse(text).unwrap();
        assert_eq!(module.variables[0].size, 0);
        assert_eq!(
            module.variables[1].initial[4..],
            [255, 255, 255, 255, 16, 0, 0, 0]
        );
    }

    #[test]
    fn what_is_unknown_is_an_error_with_its_line() {
        let error = parse(".version 8.0\n.texref t;").unwrap_err();
        assert_eq!(error.line, 2);
        assert!(error.message.contains(".texref"), "{error}");
        let error = parse(".entry k() { ld.u32 %r1, [%r7]; }").unwrap_err();
        assert!(error.message.contains("'%r7'"), "{error}");
    }
}
