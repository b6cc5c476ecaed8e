//! Norms, and quotients that are computed once per row or column, over the whole range of each type, with their
//! derivatives.
//!
//! Vectors are $(3, 4, -12)$ times a scale. Their norm is 13 times the scale, so that all expected values have a closed
//! form.

use burn_lazy_kernels::{Axis, Expr, Precision, expr::Var};

use crate::{
    device::{Problem, Tensor, by_precision, client, precisions, small_gpu},
    support::{p, s, var_of, x, y},
};

const VECTOR: [f64; 3] = [3.0, 4.0, -12.0];
const NORM: f64 = 13.0;
/// The weights that a gradient is contracted with before it is differentiated again.
const WEIGHTS: [f64; 3] = [0.5, -1.0, 2.0];

/// Scales, including some whose squares leave the range of a type.
fn scales(precision: Precision) -> Vec<f64> {
    let mut scales = vec![1e-36, 3e-25, 1e-22, 1e-19, 1e-4, 1.0, 1e4, 1e19, 3e25, 1e37];
    if precision == Precision::F64 {
        scales.extend([1e-300, 1e-200, 1e-160, 1e160, 1e200, 1e306]);
    }
    scales
}

/// The unit vector, and its weighted derivative times the norm: $w - u (u \cdot w)$.
fn unit_and_slope() -> ([f64; 3], [f64; 3]) {
    let unit = VECTOR.map(|v| v / NORM);
    let dot: f64 = unit.iter().zip(WEIGHTS).map(|(u, w)| u * w).sum();
    let slope = [0, 1, 2].map(|k| WEIGHTS[k] - unit[k] * dot);
    (unit, slope)
}

/// The value of `expr` for one row, column and parameter, which are all `vector`, and with scalars `scalar`.
fn value(expr: &Expr, vector: &[f64], scalar: f64, precision: Precision) -> Vec<f64> {
    let tensor = |var: &Var| match var.axis() {
        None => Tensor::new(&[var.dim], vector[..var.dim].to_vec()),
        _ => Tensor::new(&[1, var.dim], vector[..var.dim].to_vec()),
    };
    let problem = Problem::new(expr, Axis::J, &[], (1, 1), tensor, |_| scalar);
    problem
        .run(&client(), precision)
        .expect("the launch succeeds")
}

#[track_caller]
fn assert_near(what: &str, got: &[f64], want: &[f64], precision: Precision) {
    let tolerance = by_precision(precision, 2e-6, 1e-14);
    let size = want.iter().fold(0f64, |most, want| most.max(want.abs()));
    for (got, want) in got.iter().zip(want) {
        assert!(
            (got - want).abs() <= tolerance * size,
            "{what} in {precision:?}: {got}, expected {want}"
        );
    }
}

fn each_place(dim: usize) -> [Expr; 3] {
    [x(0, dim), y(0, dim), p(0, dim)]
}

fn by(expr: &Expr, leaf: &Expr) -> Expr {
    expr.gradient(&var_of(leaf), &Expr::constant(1.0))
}

/// The weights as a formula.
fn weights() -> Expr {
    Expr::concat(WEIGHTS.map(Expr::constant).to_vec())
}

#[test]
fn norms_are_right_in_the_whole_range() {
    let (unit, slope) = unit_and_slope();
    for precision in precisions() {
        for scale in scales(*precision) {
            let vector = VECTOR.map(|v| v * scale);
            let size = NORM * scale;
            for leaf in each_place(3) {
                let what = |name: &str| format!("the {name} of {leaf} at {scale:e}");
                let of = |expr: &Expr| value(expr, &vector, 0.0, *precision);
                let norm = leaf.norm();
                assert_near(&what("norm"), &of(&norm), &[size], *precision);
                let gradient = by(&norm, &leaf);
                assert_near(&what("gradient"), &of(&gradient), &unit, *precision);
                assert_near(
                    &what("direction"),
                    &of(&leaf.normalize()),
                    &unit,
                    *precision,
                );
                // Quotients by the norm overflow for tiny norms and underflow for large ones.
                if (1e-35..1e35).contains(&size) || (*precision == Precision::F64 && size < 1e300) {
                    let want = slope.map(|v| v / size);
                    let second = by(&gradient.dot(&weights()), &leaf);
                    assert_near(&what("second derivative"), &of(&second), &want, *precision);
                    let slope = by(&leaf.normalize().dot(&weights()), &leaf);
                    assert_near(&what("change of direction"), &of(&slope), &want, *precision);
                }
            }
        }
    }
}

#[test]
fn norms_of_zeros_and_infinities_are_these() {
    for precision in precisions() {
        for leaf in each_place(3) {
            let of = |expr: &Expr, vector: &[f64]| value(expr, vector, 0.0, *precision);
            let zero = [0.0; 3];
            let norm = leaf.norm();
            assert_eq!(of(&norm, &zero), [0.0]);
            let gradient = by(&norm, &leaf);
            assert_eq!(of(&gradient, &zero), zero);
            assert_eq!(of(&by(&gradient.dot(&weights()), &leaf), &zero), zero);
            assert_eq!(of(&leaf.normalize(), &zero), zero);
            assert_eq!(of(&norm, &[1.0, -f64::INFINITY, 2.0]), [f64::INFINITY]);
            assert!(of(&norm, &[1.0, f64::NAN, 2.0])[0].is_nan());
        }
    }
}

#[test]
fn norms_of_long_vectors_are_right_in_the_whole_range() {
    // Vectors that are too long to be unrolled.
    for precision in precisions() {
        for scale in scales(*precision) {
            let vector: Vec<f64> = (0..40).map(|k| scale * (k % 5) as f64 / 8.0).collect();
            let size: f64 = scale
                * vector
                    .iter()
                    .map(|v| (v / scale).powi(2))
                    .sum::<f64>()
                    .sqrt();
            for leaf in each_place(40) {
                let got = value(&leaf.norm(), &vector, 0.0, *precision);
                assert_near("the norm", &got, &[size], *precision);
            }
        }
    }
}

#[test]
fn cosines_of_pairs_are_right_in_the_whole_range() {
    for precision in precisions() {
        for scale in scales(*precision) {
            let (a, b) = (x(0, 3).normalize(), (y(0, 3) + x(1, 3) * 0.0).normalize());
            let vector = VECTOR.map(|v| v * scale);
            let got = value(&a.dot(&y(0, 3).normalize()), &vector, 0.0, *precision);
            assert_near("the cosine", &got, &[1.0], *precision);
            // The cosine of a pair has the plain formula, because its cost counts for every pair.
            let plain = b
                .topological()
                .iter()
                .all(|node| node.to_string().len() < 200);
            assert!(plain && !b.to_string().contains("magnitude"), "{b}");
        }
    }
}

#[test]
fn quotients_of_rows_columns_and_parameters_are_divided() {
    // Numbers whose reciprocals overflow.
    for precision in precisions() {
        let tiny = by_precision(*precision, 1e-39, 1e-309);
        let kept = value(&x(0, 1), &[tiny], 0.0, *precision)[0];
        if kept == 0.0 {
            // The device flushes such numbers to zero.
            continue;
        }
        for (a, b) in [
            (x(0, 1), x(1, 1)),
            (y(0, 1), y(1, 1)),
            (p(0, 1), p(1, 1)),
            (x(0, 1), p(1, 1)),
            (y(0, 1), p(1, 1)),
            (x(0, 1), s(1)),
            (y(0, 1), s(1)),
            (p(0, 1), s(1)),
        ] {
            // The quotient is added to a term that depends on both the row and the column.
            let quotient = a.clone() / b.clone();
            let pair = (x(2, 1) - y(3, 1)) + quotient;
            let got = value(&pair, &[tiny], tiny, *precision);
            assert_eq!(got, [1.0], "{pair} in {precision:?}");
            let larger = a * 1e19 / b;
            let pair = (x(2, 1) - y(3, 1)) + larger;
            let got = value(&pair, &[tiny], tiny, *precision);
            assert_near("the quotient", &got, &[1e19], *precision);
        }
    }
}

/// Angles as a GPU reduces them, with and without lanes that are NaN or large beside other lanes.
#[test]
fn angles_of_all_sizes_are_reduced_as_on_a_gpu() {
    // Evenly distributed logarithms, and values on both sides of the limits between methods of reduction.
    let mut angles: Vec<f64> = (0..5800).map(|k| 1.0033f64.powi(k) * 1e-2).collect();
    let around = |edge: f64| (0..500).map(move |k| edge * (1.0 + f64::from(k - 250) / 2000.0));
    angles.extend([8192.0, 65536.0].into_iter().flat_map(around));
    let signs = [1.0, -1.0, -1.0].into_iter().cycle();
    let mut angles: Vec<f64> = signs
        .zip(&angles)
        .map(|(sign, x)| sign * f64::from(*x as f32))
        .collect();
    // One more angle than a multiple of the lanes. NaN and infinity stand beside large and small angles.
    angles.extend([
        f64::NAN,
        1e9,
        2.0,
        f64::NAN,
        f64::from(1e30f32),
        0.0,
        f64::INFINITY,
        3.0,
        1.0,
    ]);
    let count = angles.len();
    let angle = x(0, 1) + y(1, 1);
    type Function = fn(f64) -> f64;
    let functions: [(&str, Expr, Function); 2] = [
        ("sine", angle.sin(), f64::sin),
        ("cosine", angle.cos(), f64::cos),
    ];
    for (name, expr, function) in functions {
        let tensor = |var: &Var| match var.axis() {
            Some(Axis::I) => Tensor::new(&[count, 1], angles.clone()),
            _ => Tensor::new(&[1, 1], vec![0.0]),
        };
        let problem = Problem::new(&expr, Axis::J, &[], (count, 1), tensor, |_| 0.0);
        let problem = problem.planned_for(small_gpu());
        let got = problem.run(&client(), Precision::F32).expect("it launches");
        for (x, got) in angles.iter().zip(got) {
            let want = function(*x);
            assert!(
                (got - want).abs() <= 3e-7 || (got.is_nan() && want.is_nan()),
                "the {name} of {x}: {got}, expected {want}"
            );
        }
    }
}
