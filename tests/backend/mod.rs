mod algebra;
mod calculus;
mod complex;
mod dropped;
mod errors;
#[cfg(feature = "autodiff")]
mod gradients;
mod interface;
mod kernels;
mod masks;
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
