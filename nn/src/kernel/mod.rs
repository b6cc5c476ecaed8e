//! Kernels with parameters, as modules.
