//! PTX text: its words, and the functions and instructions that they make.

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

/// Why a text is not understood, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PtxError {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for PtxError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} of the PTX: {}", self.line, self.message)
    }
}

impl std::error::Error for PtxError {}
