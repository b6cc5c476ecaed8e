mod errors;
#[cfg(feature = "autodiff")]
mod gradients;
mod operations;
mod reductions;
mod shapes;
mod support;
#[cfg(feature = "autodiff")]
mod unfused;
