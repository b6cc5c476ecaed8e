//! Attention whose memory is linear in the length of the sequences.
//!
//! [`Attention`] is a function of queries, keys and values. [`MultiHeadAttention`] adds learned projections. It
//! replaces the layer of the same name of `burn-nn` and loads its records. Scores are formulas of queries and keys,
//! which neither the forward nor the backward pass stores. See also the [guide](crate::guide::attention).

mod multi_head;
mod scaled;

pub use multi_head::{AttentionInput, MultiHeadAttention, MultiHeadAttentionConfig};
pub use scaled::Attention;
