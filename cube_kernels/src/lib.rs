#![warn(missing_docs)]
// Some methods of formulas and reductions are used only by the planner and the kernels.
#![cfg_attr(not(feature = "cubecl"), allow(dead_code))]
//! Symbolic formulas over rows `x_i` and columns `y_j`, compiled to CubeCL kernels that reduce them
//! without storing the M x N matrix they stand for. This is the kernel side of `burn-lazy` and does not
//! depend on Burn.
//!
//! ```text
//! Expr, Formula   immutable graph of operations over numbered operands     formula
//!   Program         once a parameter, a row, a column, a pair                program
//!     Reduction       what is done with the values of pairs                    reduction
//!       Plan            sizes and device to kernel variant and launch            plan
//!         kernel          loading, evaluation, reduction                           kernel
//!           Launch          on tensors of any layout                                 launch
//! ```
//!
//! `ARCHITECTURE.md` in the repository follows a formula from the call to machine code, and says where to add things.
//!
//! An operation, its derivative, its kernel code and its reference are defined together in one row of
//! the [`catalogue`]. That is why expressions are in this crate and not beside the tensors.

mod error;
mod formula;
pub mod host;
#[cfg(feature = "cubecl")]
mod kernel;
#[cfg(feature = "cubecl")]
mod launch;
mod math;
#[cfg(feature = "cubecl")]
pub mod plan;
pub mod program;
pub mod pruning;
mod ranges;
mod reduction;
pub mod reference;

#[cfg(feature = "cubecl")]
pub use cubecl::ir::IntKind;
pub use error::{LaunchError, OperandError};
pub use formula::{Axis, Cotangent, Expr, Formula, catalogue, expr, interval};
#[cfg(feature = "cubecl")]
pub use launch::{
    Kernels, Launch, Layout, Output, PartSizes, Parts, PartsAt, check_device, check_properties,
    same_tensors,
};
pub use math::{Argument, Math, Precision};
pub use program::{Program, Symmetric};
pub use ranges::{Ranges, RangesError, place_in};
pub use reduction::{Accumulation, Forward, Plane, ReductionKind, Spec, Stages, Wanted};

// Everything that is made before a launch can be sent to other threads and shared with them.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Expr>();
    is_shared::<Formula>();
    is_shared::<Program>();
    is_shared::<Symmetric>();
    is_shared::<LaunchError>();
    #[cfg(feature = "cubecl")]
    is_shared::<plan::Plan>();
};
