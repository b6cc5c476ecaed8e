mod attention;
mod attention_edges;
mod attention_hidden;
mod gp;
mod gp_edges;
mod kernel;
mod kernel_composed;
mod kernel_edges;
mod loss;
mod paths;
mod reference;
mod regression;
mod svgp;
// Shared with the tests of burn-lazy. Not all of it is used here.
#[allow(dead_code)]
#[path = "../../../tests/backend/support.rs"]
mod support;
