#![warn(missing_docs)]
//! Symbolic formulas over rows `x_i` and columns `y_j`, compiled to CubeCL kernels that reduce them
//! without storing the M x N matrix they stand for. The kernel side of `burn-lazy`; knows nothing of
//! Burn.
//!
//! ```text
//! Expr        immutable graph of operations                       expr, catalogue
//!   Formula     operands numbered, simplified, serialisable         formula, simplify, differentiate
//!     Program     once a parameter, a row, a column, a pair           program
//!       Plan        sizes and device to kernel variant and launch       plan
//!         kernel      loading, evaluation, reduction                      kernel, reduction
//!           Launch      on tensors of any layout                            launch
//! ```
//!
//! `ARCHITECTURE.md` in the repository follows a formula from the call to machine code, and says where to add things.
//!
//! An operation, its derivative, its kernel code and its reference stand together in one row of the
//! [`catalogue`]. That is why expressions live in this crate and not beside the tensors.

pub mod catalogue;
mod differentiate;
pub mod expr;
mod formula;
mod iterations;
mod kernel;
mod launch;
pub mod plan;
pub mod program;
mod reduction;
pub mod reference;
mod simplify;
mod terms;

pub use cubecl::ir::IntKind;
pub use differentiate::Cotangent;
pub use expr::{Axis, Expr};
pub use formula::Formula;
pub use kernel::math::{Math, Precision};
pub use launch::{
    Kernels, Launch, LaunchError, Layout, Output, check_device, check_properties, same_tensors,
};
pub use program::{Program, Symmetric};
pub use reduction::{Accumulation, Forward, Plane, ReductionKind, Spec, Stages, Wanted};
