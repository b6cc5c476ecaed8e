//! That an index beyond a buffer does not go unseen where indices are checked.

use burn_lazy_kernels::{Axis, Precision, expr::Var};

use crate::{
    device::{Problem, Tensor, client},
    support::{x, y},
};

/// Prints that there are indices beyond a buffer, which is what `cargo xtask test` waits for, if kernels check
/// their indices. The buffer really is as long as they go.
#[test]
fn a_tensor_that_is_shorter_than_its_shape_is_reported() {
    if std::env::var_os("BURN_LAZY_VALIDATE").is_none() {
        return;
    }
    let (columns, used) = (4330, 4321);
    let ones = |var: &Var| {
        let rows = if var.axis == Some(Axis::I) {
            1
        } else {
            columns
        };
        Tensor::new(&[rows, 1], vec![1.0; rows])
    };
    let product = x(0, 1) * y(1, 1);
    let problem = Problem::new(&product, Axis::J, &[], (1, columns), ones, |_| 0.0);
    let problem = problem.with_short_tensors(used);
    let run = problem.run(&client(), Precision::F32);
    run.expect("the launch succeeds");
}
