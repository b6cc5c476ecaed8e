//! The functions of the machine that generated code calls.

use cranelift_codegen::ir::Type;
use cranelift_codegen::ir::types::{F32, F64, I32, I64};
use half::{bf16, f16};

use crate::machine;
use crate::operations::{
    approximate, atomics, collective, floats, halves, integers, matrices, print,
};

/// A function that generated code calls, with the types of its arguments and of its result.
pub struct Helper {
    /// The name that code is linked with.
    pub name: &'static str,
    /// The address of the function.
    pub address: *const u8,
    /// The types of the arguments.
    pub takes: &'static [Type],
    /// The types of the result.
    pub gives: &'static [Type],
}

macro_rules! helpers {
    ($($name:literal $function:path : $takes:expr => $gives:expr;)*) => {
        vec![$(Helper {
            name: $name,
            address: $function as *const u8,
            takes: &$takes,
            gives: &$gives,
        }),*]
    };
}

/// All helper functions.
pub fn all() -> Vec<Helper> {
    helpers! {
        "access" machine::access: [I64, I64, I32, I32] => [I64];
        "barrier" collective::barrier: [I64, I32] => [];
        "trap" collective::trap: [I64, I32] => [];
        "runaway" collective::runaway: [I64, I32] => [];
        "plane_barrier" collective::plane_barrier: [I64, I32, I32] => [];
        "shuffle" collective::shuffle: [I64, I32, I32, I32, I32, I32, I32] => [I64];
        "vote" collective::vote: [I64, I32, I32, I32, I32] => [I32];
        "redux" collective::redux: [I64, I32, I32, I32, I32] => [I32];
        "elect" collective::elect: [I64, I32, I32] => [I64];
        "matrix_load" matrices::load: [I64, I64, I32, I32, I64, I32] => [];
        "matrix_store" matrices::store: [I64, I64, I32, I32, I64, I32] => [];
        "matrix_multiply" matrices::multiply: [I64, I64, I32, I32] => [];
        "atomic" atomics::atomic: [I64, I64, I32, I64, I64, I32] => [I64];
        "divide" integers::divide: [I64, I64, I64, I32, I32] => [I64];
        "extract" integers::extract: [I64, I32, I32, I32] => [I64];
        "insert" integers::insert: [I64, I64, I32, I32, I32] => [I64];
        "permute" integers::permute: [I32, I32, I32] => [I32];
        "highest" integers::highest: [I64, I32] => [I32];
        "print" print::print: [I64, I64, I64, I32] => [I32];
        "ex2" approximate::ex2: [F32] => [F32];
        "lg2" approximate::lg2: [F32] => [F32];
        "sin" approximate::sin: [F32] => [F32];
        "cos" approximate::cos: [F32] => [F32];
        "tanh" approximate::tanh: [F32] => [F32];
        "rcp" approximate::rcp: [F32] => [F32];
        "sqrt" approximate::sqrt: [F32] => [F32];
        "rsqrt" approximate::rsqrt: [F32] => [F32];
        "div_approx" approximate::div: [F32, F32] => [F32];
        "rcp_double" approximate::rcp_double: [F64] => [F64];
        "rsqrt_double" approximate::rsqrt_double: [F64] => [F64];
        "fma_rounded" floats::fma_rounded: [F32, F32, F32, I32] => [F32];
        "add_rounded" floats::add_rounded: [F32, F32, I32] => [F32];
        "single_rounded" floats::single_rounded: [F64, I32] => [F32];
        "fma_double_rounded" floats::fma_double_rounded: [F64, F64, F64, I32] => [F64];
        "add_double_rounded" floats::add_double_rounded: [F64, F64, I32] => [F64];
        "half_to_single" halves::to_single::<f16>: [I32] => [F32];
        "single_to_half" halves::of_single::<f16>: [F32] => [I32];
        "double_to_half" halves::of_double::<f16>: [F64] => [I32];
        "half_fma" halves::fma::<f16>: [I32, I32, I32] => [I32];
        "bfloat_to_single" halves::to_single::<bf16>: [I32] => [F32];
        "single_to_bfloat" halves::of_single::<bf16>: [F32] => [I32];
        "double_to_bfloat" halves::of_double::<bf16>: [F64] => [I32];
        "bfloat_fma" halves::fma::<bf16>: [I32, I32, I32] => [I32];
    }
}
