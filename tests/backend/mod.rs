mod algebra;
mod blocks;
mod calculus;
mod clusters;
mod coinciding;
#[cfg(all(host_backend, feature = "cpu"))]
mod compiled;
mod complex;
mod constrained;
mod dense;
#[cfg(feature = "autodiff")]
mod devices;
mod dropped;
mod errors;
mod exact;
#[cfg(feature = "autodiff")]
mod gradients;
mod interface;
mod kernels;
mod lists;
mod long;
mod masks;
#[cfg(feature = "autodiff")]
mod narrow;
#[cfg(feature = "autodiff")]
mod not_counted;
mod of_pairs;
mod of_pairs_edges;
#[cfg(feature = "autodiff")]
mod of_pairs_gradients;
mod operations;
mod pruning;
#[cfg(feature = "autodiff")]
mod random_gradients;
mod range;
mod ranges;
mod reductions;
mod shapes;
mod shards;
mod softmax_total;
mod solve;
mod solve_batches;
mod solve_edges;
mod stream;
mod stream_edges;
#[cfg(feature = "autodiff")]
mod stream_gradients;
mod support;
mod symmetric;
#[cfg(all(feature = "autodiff", feature = "cubecl-backend"))]
mod unfused;
mod uniform;
mod variance;
