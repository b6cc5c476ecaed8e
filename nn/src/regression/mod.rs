//! Regression with kernels.
