mod algebra;
mod calculus;
mod complex;
mod errors;
#[cfg(feature = "autodiff")]
mod gradients;
mod kernels;
mod lists;
mod operations;
#[cfg(feature = "autodiff")]
mod random_gradients;
mod reductions;
mod shapes;
mod solve;
mod support;
mod symmetric;
#[cfg(feature = "autodiff")]
mod unfused;
