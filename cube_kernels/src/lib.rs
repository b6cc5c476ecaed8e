#![warn(missing_docs)]
// What only the planner and the kernels ask of formulas and reductions.
#![cfg_attr(not(feature = "cubecl"), allow(dead_code))]
//! Symbolic formulas over rows `x_i` and columns `y_j`, compiled to CubeCL kernels that reduce them
//! without storing the M x N matrix they stand for. The kernel side of `burn-lazy`; knows nothing of
//! Burn.
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
//! An operation, its derivative, its kernel code and its reference stand together in one row of the
//! [`catalogue`]. That is why expressions live in this crate and not beside the tensors.

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
pub use error::LaunchError;
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

// What is known before a launch goes between threads.
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
