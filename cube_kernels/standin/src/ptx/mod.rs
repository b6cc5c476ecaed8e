//! Reads PTX text: splits it into words, and parses words into functions and instructions.

mod body;
mod lexer;
mod parser;
mod scope;
mod types;

pub use parser::parse;
pub use types::{
    Address, Base, Function, Guard, Instruction, Module, Operand, Register, Space, Statement, Type,
    Variable,
};

/// An error in a text, and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PtxError {
    /// The line, from 1.
    pub line: u32,
    /// The message.
    pub message: String,
}

impl std::fmt::Display for PtxError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} of the PTX: {}", self.line, self.message)
    }
}

impl std::error::Error for PtxError {}
