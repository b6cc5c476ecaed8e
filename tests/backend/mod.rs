mod algebra;
mod calculus;
mod complex;
mod errors;
#[cfg(feature = "autodiff")]
mod gradients;
mod kernels;
mod operations;
mod reductions;
mod shapes;
mod support;
#[cfg(feature = "autodiff")]
mod unfused;
