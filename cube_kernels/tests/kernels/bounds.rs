//! Tests that no launch reads or writes beyond a buffer, and that an index beyond a buffer is reported where kernels
//! check indices.

use burn_lazy_kernels::{
    Axis, LaunchError, OperandError, Output, Parts, PartsAt, Precision, Wanted, expr::Var,
};
use cubecl::{
    prelude::*,
    server::Handle,
    zspace::{Shape, Strides},
};

use crate::{
    device::{Problem, Tensor, client, skipped},
    support::{s, x, y},
};

/// Reads indices beyond the end that a buffer is said to have. If kernels check their indices, they print these
/// indices, and `cargo xtask test` expects that output. The buffer is long enough in truth, so that the test is safe.
#[test]
fn a_tensor_that_is_shorter_than_its_shape_is_reported() {
    if std::env::var_os("BURN_LAZY_VALIDATE").is_none() {
        return skipped("indices are not checked");
    }
    let (columns, used) = (4330, 4321);
    let ones = |var: &Var| {
        let rows = if var.axis() == Some(Axis::I) {
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

/// A tensor at the start of `buffer`.
fn tensor(buffer: &Handle, shape: &[usize], strides: &[usize]) -> TensorBinding {
    TensorBinding {
        handle: buffer.clone().binding(),
        strides: Strides::new(strides),
        shape: Shape::from(shape.to_vec()),
        tiling: Default::default(),
    }
}

/// Tested with sums of `x_i y_j s` with 3 components over 5 columns, for 2 batches of 4 rows.
#[test]
fn tensors_that_do_not_fit_are_refused() {
    let client = client();
    let ones = |var: &Var| match var.axis() {
        Some(Axis::I) => Tensor::new(&[2, 4, 3], vec![1.0; 24]),
        _ => Tensor::new(&[5, 3], vec![1.0; 15]),
    };
    let sum = x(0, 3) * y(1, 3) * s(2);
    let problem = Problem::new(&sum, Axis::J, &[2], (4, 5), ones, |_| 1.0);
    let launch = problem.launch(5, Precision::F32);
    let buffer = client.empty(24 * size_of::<f32>());
    let rows = || tensor(&buffer, &[2, 4, 3], &[12, 3, 1]);
    let columns = || tensor(&buffer, &[5, 3], &[3, 1]);
    // The result has its own buffer, because a kernel may read operands again after others have written their results.
    let result = client.empty(24 * size_of::<f32>());
    let values = || tensor(&result, &[2, 4, 3], &[12, 3, 1]);
    let run = |tensors: Vec<TensorBinding>, scalars: &[f64], values: TensorBinding| {
        let output = Output {
            values: Some(values),
            ..Output::default()
        };
        launch.run(&client, tensors, scalars, output)
    };
    assert_eq!(run(vec![rows(), columns()], &[1.0], values()), Ok(()));

    let operands = |what, given, expected| {
        LaunchError::Operands(OperandError::Count {
            what,
            given,
            expected,
        })
    };
    let error = run(vec![rows()], &[1.0], values());
    assert_eq!(error, Err(operands("tensors", 1, 2)));
    let error = run(vec![rows(), columns()], &[], values());
    assert_eq!(error, Err(operands("scalars", 0, 1)));

    let fits_not =
        |tensors: Vec<TensorBinding>, at: usize, why: &str| match run(tensors, &[1.0], values()) {
            Err(LaunchError::Operands(OperandError::Tensor { index, reason, .. })) => {
                assert_eq!(index, at, "{reason}");
                assert!(reason.contains(why), "{reason}");
            }
            other => panic!("{why}: {other:?}"),
        };
    let of = |shape: &[usize], strides: &[usize]| tensor(&buffer, shape, strides);
    fits_not(vec![of(&[2, 3, 3], &[9, 3, 1]), columns()], 0, "4 rows");
    fits_not(vec![rows(), of(&[4, 3], &[3, 1])], 1, "5 columns");
    fits_not(vec![rows(), of(&[5, 2], &[2, 1])], 1, "3 components");
    fits_not(
        vec![of(&[3, 4, 3], &[0, 3, 1]), columns()],
        0,
        "broadcast to [2]",
    );
    fits_not(
        vec![of(&[1, 2, 4, 3], &[0, 12, 3, 1]), columns()],
        0,
        "2 to 3 dimensions",
    );
    fits_not(vec![rows(), of(&[3], &[1])], 1, "2 to 3 dimensions");
    fits_not(vec![rows(), of(&[5, 3], &[1])], 1, "strides");
    // The buffer has 24 numbers, plus padding, because buffers start at aligned addresses.
    fits_not(vec![rows(), of(&[5, 3], &[600, 1])], 1, "shorter");
    let huge = usize::MAX / 2;
    fits_not(vec![rows(), of(&[5, 3], &[huge, huge])], 1, "shorter");
    let end = buffer.size() - 12;
    let last = tensor(&buffer.clone().offset_start(end), &[5, 3], &[3, 1]);
    fits_not(vec![rows(), last], 1, "shorter");
    // An operand that is broadcast has one row, so its stride does not matter.
    let row = of(&[1, 3], &[huge, 1]);
    assert_eq!(run(vec![rows(), row], &[1.0], values()), Ok(()));

    for values in [
        of(&[2, 4, 2], &[8, 2, 1]),
        of(&[2, 4, 3], &[3, 6, 1]),
        of(&[25, 1], &[1, 1]),
    ] {
        let error = run(vec![rows(), columns()], &[1.0], values);
        let is_refused = matches!(
            error,
            Err(LaunchError::Output {
                what: "values",
                len: 24,
                ..
            })
        );
        assert!(is_refused, "{error:?}");
    }
    let parts = Parts {
        values: values(),
        indices: None,
        count: 1,
    };
    let place = PartsAt {
        start: 1,
        parts: &parts,
        first: 0,
    };
    let tensors = vec![rows(), columns()];
    let error = launch.run_parts(&client, tensors, &[1.0], Wanted::VALUES, place);
    assert!(
        matches!(
            error,
            Err(LaunchError::Operands(OperandError::Tensor { index: 1, .. }))
        ),
        "{error:?}"
    );
}
