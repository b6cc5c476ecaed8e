//! Attention in memory that is linear in the length of the sequences.
//!
//! [`Attention`] is a function of queries, keys and values. [`MultiHeadAttention`] has projections, too, and takes the
//! place of the layer of that name of `burn-nn`, whose records it loads. Scores are formulas of queries and keys, and
//! are never stored, neither in the forward nor in the backward pass. See also the [guide](crate::guide::attention).

mod multi_head;
mod scaled;

pub use multi_head::{AttentionInput, MultiHeadAttention, MultiHeadAttentionConfig};
pub use scaled::Attention;
