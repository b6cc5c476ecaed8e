//! Tests that reductions that are too large are refused, without a device and without memory for
//! them.

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, Formula, IntKind, Launch, LaunchError, Layout, Precision, Program,
    ReductionKind, Wanted,
    plan::{Device, Strategy},
};

use crate::{
    planner::GPU,
    support::{p, x},
};

/// The sizes of a reduction of one operand `[rows, dim]` or `[dim]`, and the stride of its rows.
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    columns: usize,
    fold: Option<usize>,
    stride: usize,
}

const SMALL: Sizes = Sizes {
    rows: 2,
    columns: 2,
    fold: None,
    stride: 1,
};

/// The size that a device refuses as too large. `None` if it runs the reduction.
fn too_large(expr: &Expr, sizes: Sizes, wide: bool, wanted: Wanted) -> Option<usize> {
    let device = Device {
        wide_addresses: wide,
        ..GPU
    };
    let program = Program::lower(&Formula::new(expr).0, Axis::J);
    let reduction = match wanted.indices {
        true => ReductionKind::Minimum,
        false => ReductionKind::Sum(Accumulation::Blocks),
    };
    let launch = Launch {
        program: &program,
        symmetric: None,
        reduction,
        batch_shape: &[],
        rows: sizes.rows,
        columns: sizes.columns,
        fold: sizes.fold,
        ranges: None,
        precision: Precision::F32,
        values: Precision::F32,
        strategy: Strategy::Auto,
    };
    let (shape, strides) = ([sizes.rows, expr.dim()], [sizes.stride, 1]);
    // A parameter has no rows.
    let rank = match program.row.loaded {
        0 => 1,
        _ => 2,
    };
    let layouts = [Layout {
        shape: &shape[2 - rank..],
        strides: &strides[2 - rank..],
    }];
    match launch.kernels_as(&device, "cuda", &layouts, wanted, IntKind::I32) {
        Ok(_) => None,
        Err(LaunchError::TooLarge { len, .. }) => Some(len),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn buffers_and_counters_beyond_the_addresses_of_a_device_are_refused() {
    const MOST: usize = u32::MAX as usize;
    let (rows, parameters) = (x(0, 1), p(0, 4));
    let cases = [
        // Too large are, in turn: an operand, the result, the number of columns, and the number of
        // rows that are added up.
        (
            &rows,
            Sizes {
                stride: MOST,
                ..SMALL
            },
            Sizes {
                stride: MOST - 2,
                ..SMALL
            },
        ),
        (
            &parameters,
            Sizes {
                rows: MOST / 4 + 1,
                ..SMALL
            },
            Sizes {
                rows: MOST / 5,
                ..SMALL
            },
        ),
        (
            &parameters,
            Sizes {
                columns: MOST,
                ..SMALL
            },
            Sizes {
                columns: MOST / 2,
                ..SMALL
            },
        ),
        (
            &parameters,
            Sizes {
                rows: MOST,
                fold: Some(1),
                ..SMALL
            },
            Sizes {
                rows: MOST / 3,
                fold: Some(1),
                ..SMALL
            },
        ),
    ];
    for (expr, large, small) in cases {
        let len = too_large(expr, large, false, Wanted::VALUES);
        assert!(len.is_some_and(|len| len > MOST), "{len:?}");
        assert_eq!(too_large(expr, large, true, Wanted::VALUES), None);
        assert_eq!(too_large(expr, small, false, Wanted::VALUES), None);
    }
}

#[test]
fn columns_that_have_no_index_are_refused_where_indices_are_wanted() {
    let most = u32::MAX as usize;
    let of = |columns, wanted| too_large(&p(0, 1), Sizes { columns, ..SMALL }, true, wanted);
    assert_eq!(of(most, Wanted::INDICES), Some(most));
    assert_eq!(of(most - 1, Wanted::INDICES), None);
    assert_eq!(of(most, Wanted::VALUES), None);
}
