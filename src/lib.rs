#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// Burn has deprecated its NdArray backend. It is supported here as long as Burn has it.
#![cfg_attr(feature = "ndarray", allow(deprecated))]
//! Symbolic kernel matrices for [Burn](https://burn.dev): formulas over rows `x_i` and columns `y_j`
//! that are reduced without ever being stored.
//!
//! A [`LazyTensor`] stands for an M x N matrix (of vectors of size D) given by a formula. Reducing it
//! over a symbolic axis costs O(M N) time and O(M + N) memory, on Burn's backends for processors
//! and graphics cards, and is differentiable through Burn's autodiff.
//!
//! ```
//! # #[cfg(feature = "flex")] {
//! use burn::{prelude::*, tensor::Distribution};
//! use burn_lazy::{Axis, LazyTensor};
//!
//! let device = Device::default().autodiff();
//! let x = Tensor::<2>::random([1000, 3], Distribution::Default, &device).require_grad();
//! let y = Tensor::<2>::random([2000, 3], Distribution::Default, &device);
//! let b = Tensor::<2>::random([2000, 4], Distribution::Default, &device);
//!
//! let x_i = LazyTensor::vi(x.clone());
//! let y_j = LazyTensor::vj(y);
//! let k_ij = (-x_i.sqdist(&y_j) / 0.5).exp(); // symbolic, 1000 x 2000
//! let a = k_ij.matmul(b); // [1000, 4]
//! let gradients = a.sum().backward();
//! assert_eq!(x.grad(&gradients).unwrap().dims(), [1000, 3]);
//! # }
//! ```
//!
//! # What there is
//!
//! - scalar functions, with their derivatives and accuracy: [`ScalarOp`] lists them all; most are methods of
//!   [`LazyTensor`], and numbers, tensors and formulas mix as arguments;
//! - the inner axis: norms, distances, extrema, products of vectors, matrices and tensors ([`Contraction`]),
//!   splines;
//! - reductions over rows, columns or both ([`Axes`]), which give values, the indices where they were found, or both;
//! - symbolic derivatives: [`grad`](LazyTensor::grad), [`diff`](LazyTensor::diff),
//!   [`laplacian`](LazyTensor::laplacian) and others, of any order;
//! - complex formulas ([`Complex`]) and ready kernels ([`kernels`]);
//! - linear systems with symbolic matrices, eigenvalues and determinants: [`solve`];
//! - matrices of which only some pairs exist: [`Ranges`], [`Clusters`];
//! - several devices ([`Shards`]), and columns that are read in chunks from the memory of the host or from files
//!   ([`stream`]);
//! - entries: [`dense`](LazyTensor::dense), [`diag`](LazyTensor::diag), [`block`](LazyTensor::block), and
//!   [`evaluate`](LazyTensor::evaluate) for formulas of rows, of columns or of parameters alone.
//!
//! # Choosing a backend
//!
//! The feature `flex` (default) runs everything in plain Rust on the processor, with `rayon` (default) on all cores.
//! The features `ndarray` and `tch` do the same for tensors of the backends of these names. The features `cpu`,
//! `cuda`, `rocm`, `wgpu`, `vulkan`, `webgpu` and `metal` compile kernels for a runtime of CubeCL while the program
//! runs. Each feature has the name that it has in Burn, and enables the backend in Burn, too. With `remote`, formulas
//! are sent to a server that has the device. The server runs them after a call of `register_lazy_ops` (feature
//! `router`). `fusion` (default) supports Burn's fused backends, and `autodiff` (default) gradients.
//!
//! # How it works
//!
//! A formula is a value. It is simplified and split into four parts: values that are computed once, once for each
//! row, once for each column and once for each pair. The parts are a program. On the host it is run on tiles of some
//! rows and columns, an instruction at a time. For CubeCL it is the compile-time argument of one kernel. Equal
//! formulas share a kernel, whatever the tensors and the values of scalars are.
//!
//! The gradient of a reduction is the reduction of the differentiated formula. It is computed only for the operands
//! that are tracked. All operands of an axis share one pass over the pairs.
//!
//! The crate `burn-lazy-kernels` documents how a formula becomes a kernel. `ARCHITECTURE.md` in the repository
//! follows a call to machine code, file by file.
//!
//! # Numbers
//!
//! - Formulas are computed in the type of their operands, except that formulas of F16 and BF16 are computed in F32.
//!   Gradients by operands in F16 and BF16 are computed in F32, too.
//! - All operands of a formula are on one device and have one type. Integers and truth values are the exception: they
//!   are read in the type of the others.
//! - Softmax weights sum to 1 at any finite scores. A term of weight 0 is left out, whatever its score is.
//! - Counts are integers. Sums of F16 and BF16 are divided in F32.
//! - F64 is refused on wgpu devices, whose exponentials and logarithms of 64 bits are not reliable.
//! - If a value of a pair is divided by a value that does not depend on both axes, it is multiplied by the reciprocal
//!   instead. This may round once more. The reciprocal is infinite for divisors below 2.9e-39 in F32 and 5.6e-309 in
//!   F64. Quotients of two values of rows, columns or parameters are divided directly.
//! - Norms of rows, columns and parameters are right in the whole range of the type. Norms of pairs are right where
//!   the squares are in the range.
//! - On a CPU, `exp` in F32 is a polynomial with a relative error of about 2e-7. Results below $2^{-126}$ are 0, and
//!   arguments above 88.37 overflow.

mod algebra;
mod arithmetic;
mod axes;
mod backends;
#[cfg(feature = "autodiff")]
mod backward;
mod blocks;
mod bounded;
mod calculus;
mod cast;
mod cluster;
mod complex;
mod contraction;
mod entries;
mod error;
mod kept;
pub mod kernels;
mod lazy;
mod masked;
mod merge;
mod operand;
mod ops;
mod pairs;
mod picked;
mod pruned;
mod pruning;
mod ranges;
mod reduce;
mod request;
mod shards;
pub mod solve;
pub mod stream;
mod variance;
mod whole;
#[cfg(feature = "router")]
mod wire;

#[cfg(feature = "router")]
pub use backends::register_lazy_ops;
pub use burn_lazy_kernels::{
    Accumulation, Axis, Formula, RangesError, ReductionKind, Spec, Wanted, catalogue::ScalarOp,
};
pub use cluster::Clusters;
pub use complex::{Complex, IntoComplex};
pub use contraction::Contraction;
pub use error::{Conflict, FormulaInfo, LazyError, OperandInfo};
pub use lazy::{IntoLazy, LazyTensor};
pub use ops::{LazyOps, Operands, Reduced, Reduction};
pub use pruning::{Pruned, Pruning, Unpruned};
pub use ranges::{Ranges, Values};
pub use reduce::{Axes, RightHandSide};
pub use shards::{Sharded, Shards};

// Formulas and errors can be sent to other threads and shared between them.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<LazyTensor>();
    is_shared::<Complex<LazyTensor>>();
    is_shared::<LazyError>();
    is_shared::<solve::SolveError>();
    is_shared::<Contraction>();
    is_shared::<Ranges>();
    is_shared::<Sharded>();
    is_shared::<stream::StreamError>();
};

/// Guides that accompany the reference of the items.
#[cfg(doc)]
pub mod guide {
    #[doc = include_str!("../docs/keops.md")]
    pub mod keops {}
    #[doc = include_str!("../docs/sparse.md")]
    pub mod sparse {}
    #[doc = include_str!("../docs/large.md")]
    pub mod large {}
    #[doc = include_str!("../docs/speed.md")]
    pub mod speed {}
    #[doc = include_str!("../docs/devices.md")]
    pub mod devices {}
    #[doc = include_str!("../docs/remote.md")]
    pub mod remote {}
}

// The snippets of the readme are tests.
#[cfg(all(doctest, feature = "flex", feature = "autodiff"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "flex", feature = "autodiff"))]
#[doc = include_str!("../docs/large.md")]
struct Large;
