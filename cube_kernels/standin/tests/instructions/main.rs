//! Tests each group of instructions against known answers, worked out from the definitions of the
//! PTX manual.

#![allow(missing_docs)]

mod bits;
mod conversions;
mod floats;
mod halves;
mod integers;
mod matrices;
mod planes;
mod strict;
mod support;
