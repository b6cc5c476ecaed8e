//! The functions of [`special`](crate::special) in kernels, and their values at the ends of
//! domains.

use burn_lazy_kernels::{Axis, Expr, Precision, catalogue::ScalarOp, expr::Var};

use crate::{
    device::{Engine, Problem, Runtime, Tensor, by_precision, client, engine, precisions, runtime},
    special::{assert_near, rows, size, units},
    support::{var_of, x},
};

const INFINITY: f64 = f64::INFINITY;

/// The values of `expr`, a formula of the components of `x(0, width)`, at `points`.
fn values(expr: &Expr, points: &[Vec<f64>], precision: Precision) -> Vec<f64> {
    let width = points[0].len();
    let tensor = |_: &Var| Tensor::new(&[points.len(), width], points.concat());
    let sizes = (points.len(), 1);
    let problem = Problem::new(expr, Axis::J, &[], sizes, tensor, |_| 0.0);
    problem
        .run(&client(), precision)
        .expect("the launch succeeds")
}

fn apply(op: ScalarOp) -> Expr {
    let arity = op.arity();
    let args = (0..arity).map(|k| x(0, arity).slice(k, 1));
    Expr::scalar(op, args.collect())
}

#[test]
fn kernels_have_the_values_of_mpmath() {
    let rows = rows();
    for precision in precisions() {
        let mut got = Vec::new();
        for rows in rows.chunk_by(|a, b| a.op == b.op) {
            let points: Vec<Vec<f64>> = rows.iter().map(|row| row.args.clone()).collect();
            got.extend(values(&apply(rows[0].op), &points, *precision));
        }
        let epsilon = by_precision(*precision, f32::EPSILON as f64, f64::EPSILON);
        // Functions of the host have an error of about one unit.
        let more = by_precision(*precision, 0.0, 2.0);
        assert_near(&format!("{precision:?}"), &rows, &got, |row| {
            let size = match (row.op, engine()) {
                // The host engine uses the digamma function of the reference.
                (ScalarOp::Polygamma(0), Engine::Host) => size(row).max(1.0),
                _ => size(row),
            };
            (units(row.op) + more) * epsilon * size
        });
    }
}

/// Asserts the value of `expr` for each of the given arguments in every precision.
#[track_caller]
fn assert_values(expr: &Expr, cases: &[(&[f64], f64)]) {
    let points: Vec<Vec<f64>> = cases.iter().map(|(args, _)| args.to_vec()).collect();
    for precision in precisions() {
        let got = values(expr, &points, *precision);
        for ((args, want), got) in cases.iter().zip(got) {
            let same = got == *want || (got.is_nan() && want.is_nan());
            let off = (got - want).abs();
            assert!(
                same || off <= by_precision(*precision, 1e-6, 1e-14) * want.abs(),
                "{expr} of {args:?} in {precision:?} is {got}, expected {want}"
            );
        }
    }
}

#[test]
fn ends_of_domains_are_right() {
    let nan = f64::NAN;
    let unary: &[(ScalarOp, &[(f64, f64)])] = &[
        (
            ScalarOp::Acosh,
            &[(1.0, 0.0), (0.5, nan), (-2.0, nan), (INFINITY, INFINITY)],
        ),
        (
            ScalarOp::Asinh,
            &[(0.0, 0.0), (INFINITY, INFINITY), (-INFINITY, -INFINITY)],
        ),
        (
            ScalarOp::Atanh,
            &[(1.0, INFINITY), (-1.0, -INFINITY), (1.5, nan), (-3.0, nan)],
        ),
        (
            ScalarOp::Erfc,
            &[(INFINITY, 0.0), (-INFINITY, 2.0), (40.0, 0.0), (-40.0, 2.0)],
        ),
        (
            ScalarOp::Lgamma,
            &[
                (0.0, INFINITY),
                (-1.0, INFINITY),
                (-2.0, INFINITY),
                (-16777216.0, INFINITY),
                (1.0, 0.0),
                (2.0, 0.0),
                (INFINITY, INFINITY),
            ],
        ),
        (
            ScalarOp::Polygamma(0),
            &[
                (0.0, -INFINITY),
                (-1.0, nan),
                (-8.0, nan),
                (INFINITY, INFINITY),
            ],
        ),
        (
            ScalarOp::Polygamma(1),
            &[(0.0, INFINITY), (-1.0, INFINITY), (INFINITY, 0.0)],
        ),
        (ScalarOp::Polygamma(2), &[(0.0, -INFINITY), (-1.0, nan)]),
        (
            ScalarOp::Exp2,
            &[
                (INFINITY, INFINITY),
                (-INFINITY, 0.0),
                (2000.0, INFINITY),
                (-2000.0, 0.0),
            ],
        ),
        (
            ScalarOp::Log2,
            &[
                (0.0, -INFINITY),
                (-1.0, nan),
                (INFINITY, INFINITY),
                (8.0, 3.0),
            ],
        ),
        (
            ScalarOp::Log10,
            &[
                (0.0, -INFINITY),
                (-1.0, nan),
                (INFINITY, INFINITY),
                (1000.0, 3.0),
            ],
        ),
        (
            ScalarOp::Cbrt,
            &[
                (0.0, 0.0),
                (INFINITY, INFINITY),
                (-INFINITY, -INFINITY),
                (-8.0, -2.0),
            ],
        ),
        (
            ScalarOp::Magnitude,
            &[
                (0.0, 1.0),
                (-5.0, 1.0),
                (65535.0, 1.0),
                (65536.0, 4294967296.0),
            ],
        ),
        (ScalarOp::Sin, &[(INFINITY, nan), (-INFINITY, nan)]),
        (ScalarOp::Cos, &[(INFINITY, nan), (-INFINITY, nan)]),
    ];
    for (op, cases) in unary {
        for (arg, want) in *cases {
            assert_values(&apply(*op), &[(&[*arg], *want)]);
        }
    }
    assert_values(
        &apply(ScalarOp::Hypot),
        &[
            (&[0.0, 0.0], 0.0),
            (&[INFINITY, 3.0], INFINITY),
            (&[-1.0, -INFINITY], INFINITY),
            (&[INFINITY, INFINITY], INFINITY),
            (&[-3e25, 4e25], 5e25),
            (&[3e-25, -4e-25], 5e-25),
        ],
    );
    assert_values(
        &apply(ScalarOp::Logaddexp),
        &[
            (&[INFINITY, INFINITY], INFINITY),
            (&[-INFINITY, -INFINITY], -INFINITY),
            (&[INFINITY, -INFINITY], INFINITY),
            (&[-INFINITY, 3.0], 3.0),
            (&[1e30, 1.0], 1e30),
            (&[5.0, 5.0], 5.0 + std::f64::consts::LN_2),
        ],
    );
    if runtime() == Runtime::Cpu {
        assert_values(
            &apply(ScalarOp::Hypot),
            &[(&[INFINITY, nan], INFINITY), (&[nan, 1.0], nan)],
        );
        assert_values(
            &apply(ScalarOp::Logaddexp),
            &[(&[nan, 1.0], nan), (&[1.0, nan], nan)],
        );
        for (op, _) in unary {
            assert_values(&apply(*op), &[(&[nan], nan)]);
        }
    }
}

/// The derivative of order `order` by the first argument.
fn derivative(op: ScalarOp, order: usize) -> Expr {
    let width = op.arity();
    let var = var_of(&x(0, width));
    let one = Expr::constant(1.0);
    (0..order).fold(apply(op), |expr, _| expr.gradient(&var, &one).slice(0, 1))
}

#[test]
fn derivatives_follow_the_convention_where_they_do_not_exist() {
    for order in [1, 2, 3] {
        for (op, at) in [(ScalarOp::Acosh, 1.0), (ScalarOp::Cbrt, 0.0)] {
            assert_values(&derivative(op, order), &[(&[at], 0.0)]);
        }
        assert_values(&derivative(ScalarOp::Hypot, order), &[(&[0.0, 0.0], 0.0)]);
    }
    assert_values(
        &derivative(ScalarOp::Atanh, 1),
        &[(&[1.0], INFINITY), (&[-1.0], INFINITY)],
    );
    let logaddexp = |order| derivative(ScalarOp::Logaddexp, order);
    assert_values(
        &logaddexp(1),
        &[
            (&[2.0, 2.0], 0.5),
            (&[INFINITY, INFINITY], 0.5),
            (&[-INFINITY, -INFINITY], 0.5),
            (&[-INFINITY, 3.0], 0.0),
            (&[INFINITY, 3.0], 1.0),
            (&[1e4, 3.0], 1.0),
            (&[-1e4, 3.0], 0.0),
        ],
    );
    // For two infinities the first derivative is the constant 1/2, so the second is 0.
    assert_values(
        &logaddexp(2),
        &[(&[2.0, 2.0], 0.25), (&[INFINITY, INFINITY], 0.0)],
    );
}

#[test]
fn derivatives_are_right_in_the_whole_range() {
    assert_values(
        &derivative(ScalarOp::Asinh, 1),
        &[(&[1e30], 1e-30), (&[-1e30], 1e-30), (&[1e-30], 1.0)],
    );
    assert_values(&derivative(ScalarOp::Acosh, 1), &[(&[1e30], 1e-30)]);
    assert_values(
        &derivative(ScalarOp::Hypot, 1),
        &[
            (&[3e25, 4e25], 0.6),
            (&[-3e-25, 4e-25], -0.6),
            (&[1.5e38, 2e38], 0.6),
            (&[0.0, 4e-25], 0.0),
        ],
    );
    // b^2 / y^3.
    assert_values(
        &derivative(ScalarOp::Hypot, 2),
        &[(&[3e10, 4e10], 0.64 / 5e10)],
    );
    // 1 / (3 x^(2/3)), -2 / (9 x^(5/3)).
    assert_values(
        &derivative(ScalarOp::Cbrt, 1),
        &[(&[1e30], 1e-20 / 3.0), (&[-1e-30], 1e20 / 3.0)],
    );
    assert_values(&derivative(ScalarOp::Cbrt, 2), &[(&[8.0], -1.0 / 144.0)]);
    // The derivatives of the logarithm of the gamma function at 1.
    let zeta_3 = 1.2020569031595942;
    let pi = std::f64::consts::PI;
    for (order, want) in [
        -0.5772156649015329,
        pi * pi / 6.0,
        -2.0 * zeta_3,
        pi.powi(4) / 15.0,
    ]
    .into_iter()
    .enumerate()
    {
        assert_values(&derivative(ScalarOp::Lgamma, order + 1), &[(&[1.0], want)]);
    }
}
