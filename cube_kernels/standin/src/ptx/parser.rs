//! Parses words into functions and variables of a module.

use super::PtxError;
use super::lexer::{Placed, Token, words};
use super::scope::Scopes;
use super::types::{Function, Module, Space, Type, Variable};

/// The result of the functions of the parser.
pub type Result<T> = std::result::Result<T, PtxError>;

/// Parses a text of PTX.
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

/// The words of a text, and the state of parsing.
pub struct Parser {
    pub(super) words: Vec<Placed>,
    pub(super) at: usize,
    pub(super) module: Module,
    /// The function that is being parsed.
    pub(super) function: Function,
    pub(super) scopes: Scopes,
}

impl Parser {
    pub(super) fn line(&self) -> u32 {
        let last = self.words.len().saturating_sub(1);
        self.words.get(self.at.min(last)).map_or(1, |word| word.1)
    }

    pub(super) fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(PtxError {
            line: self.line(),
            message: message.into(),
        })
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.words.get(self.at).map(|word| &word.0)
    }

    pub(super) fn peek_word(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    pub(super) fn next(&mut self) -> Result<Token> {
        match self.peek().cloned() {
            Some(token) => {
                self.at += 1;
                Ok(token)
            }
            None => self.error("the text ends too early"),
        }
    }

    pub(super) fn takes(&mut self, mark: char) -> bool {
        let there = self.peek() == Some(&Token::Mark(mark));
        self.at += usize::from(there);
        there
    }

    pub(super) fn expect(&mut self, mark: char) -> Result<()> {
        if self.takes(mark) {
            return Ok(());
        }
        self.error(format!("'{mark}' expected, not {:?}", self.peek()))
    }

    pub(super) fn word(&mut self) -> Result<String> {
        match self.next()? {
            Token::Word(word) => Ok(word),
            other => self.error(format!("a name expected, not {other:?}")),
        }
    }

    pub(super) fn integer(&mut self) -> Result<i128> {
        let negative = self.takes('-');
        match self.next()? {
            Token::Integer(value) if negative => Ok(-i128::from(value)),
            Token::Integer(value) => Ok(value.into()),
            other => self.error(format!("an integer expected, not {other:?}")),
        }
    }

    pub(super) fn size(&mut self) -> Result<u32> {
        let value = self.integer()?;
        match u32::try_from(value) {
            Ok(value) => Ok(value),
            Err(_) => self.error(format!("{value} is too large")),
        }
    }

    pub(super) fn skip_line(&mut self) {
        let line = self.line();
        while self.words.get(self.at).is_some_and(|word| word.1 == line) {
            self.at += 1;
        }
    }

    // Statements outside of functions.

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
                    if !dynamic && (variable.size == 0 || external) {
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

    /// Parses a variable after the name of its space, up to but without the semicolon.
    pub(super) fn variable(&mut self, space: Space) -> Result<Variable> {
        let mut align = None;
        let mut count = 1;
        let name_of_type = loop {
            let word = self.word()?;
            match word.as_str() {
                ".align" => align = Some(self.size()?),
                ".v2" => count = 2,
                ".v4" => count = 4,
                // A parameter that is an address may name the space that it points to.
                ".ptr" | ".global" | ".shared" | ".const" | ".local" => {}
                _ => break word,
            }
        };
        let Some(of) = name_of_type.strip_prefix('.').and_then(Type::of) else {
            return self.error(format!("'{name_of_type}' is no type of a variable"));
        };
        let mut name = self.word()?;
        if matches!(name.as_str(), ".ptr") {
            // The space and the alignment of what it points to are ignored.
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
                let value = self.integer()?;
                // `integer` has moved behind its last word. The step below moves behind the last
                // word of every kind of value.
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
}

#[cfg(test)]
mod tests {
    use super::super::types::{Address, Base, Guard, Instruction, Operand, Statement};
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
