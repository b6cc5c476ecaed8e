//! Tests that a value that a mask hides does not affect the result or derivatives of any order. The hidden values are
//! infinite, NaN, zero or huge.

use burn_lazy_kernels::{Axis, Expr, catalogue::ScalarOp, expr::Var};
use proptest::prelude::*;

use crate::{
    random::{config, formula, recipe},
    support::{Point, Rng, Tape, equal_points, leaf, leaves, p, s, var_of, x, y},
};

/// Ids of leaves of the formula around a mask are larger than this.
const OUTER: u64 = 1 << 30;
const COTANGENTS: u64 = 1 << 31;

/// Hidden values. A derivative that depends on them is wrong.
const BAD: [f64; 7] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    1e300,
    -1e300,
    0.0,
    -1.0,
];

fn mask_where(value: &Expr, mask: &Expr, other: &Expr) -> Expr {
    Expr::scalar(
        ScalarOp::MaskWhere,
        vec![value.clone(), mask.clone(), other.clone()],
    )
}

fn if_else(condition: &Expr, value: &Expr, other: &Expr) -> Expr {
    Expr::scalar(
        ScalarOp::IfElse,
        vec![condition.clone(), value.clone(), other.clone()],
    )
}

/// The values of the expression. Asserts that simplification does not change them.
fn evaluate(expr: &Expr, point: &Point) -> Vec<f64> {
    let at = |var: &Var| point[var].clone();
    let plain = Tape::new(expr).evaluate(&at);
    let simple = Tape::new(&expr.simplify()).evaluate(&at);
    assert_eq!(plain.len(), simple.len());
    for (a, b) in plain.iter().zip(&simple) {
        let zero = *a == 0.0 && *b == 0.0;
        let near = (a - b).abs() <= 1e-9 * a.abs();
        assert!(
            zero || near || !a.is_finite(),
            "{a} and simplified {b}: {expr}"
        );
    }
    plain
}

/// A formula that hides `inner` where `mask` is not 0, and the formula that stands there instead.
struct Hidden {
    masked: Expr,
    other: Expr,
    masks: Vec<Var>,
}

/// Formulas that hide `inner` in different ways: by one mask, by a mask of each component, by a condition, by two
/// nested masks, and by different masks for two parts.
fn hidden(inner: &Expr, way: usize) -> Hidden {
    let mask = |id: u64, dim: usize| leaf(OUTER + id, Some(Axis::J), dim);
    let (one, all, two) = (mask(1, 1), mask(2, inner.dim()), mask(3, 1));
    let constant = Expr::constant(0.7);
    let (masked, other, masks) = match way {
        0 => (
            mask_where(inner, &Expr::var(one), &constant),
            constant,
            vec![one],
        ),
        1 => (
            mask_where(inner, &Expr::var(all), &constant),
            constant,
            vec![all],
        ),
        2 => (
            if_else(&-Expr::var(one), inner, &constant),
            constant,
            vec![one],
        ),
        3 => {
            let once = mask_where(&inner.square(), &Expr::var(one), inner);
            (
                mask_where(&once, &Expr::var(two), &constant),
                constant,
                vec![two],
            )
        }
        4 => {
            let a = mask_where(inner, &Expr::var(one), &constant);
            let b = mask_where(&(inner.clone() * 2.0), &Expr::var(two), &constant);
            (a * b, constant.clone() * constant, vec![one, two])
        }
        _ => {
            let a = mask_where(&inner.inner_sum(), &Expr::var(one), &constant);
            let b = mask_where(inner, &Expr::var(all), &constant);
            (a + b, constant.clone() + constant, vec![one, all])
        }
    };
    let other = match other.dim() == masked.dim() {
        true => other,
        false => other.expand(masked.dim()),
    };
    Hidden {
        masked,
        other,
        masks,
    }
}

/// The formula of the recipe `outer`, with the sum of the components of `part` in the place of its first leaf.
fn around(outer: &[u8], part: &Expr) -> Expr {
    let outer = formula(outer).map_vars(|var| {
        Expr::var(Var {
            id: OUTER + 100 + var.id,
            ..*var
        })
    });
    let sum = part.inner_sum();
    match leaves(&outer).first().copied() {
        Some(first) => outer.map_vars(|var| match *var == first {
            true => sum.expand(var.dim),
            false => Expr::var(*var),
        }),
        None => outer * sum,
    }
}

fn cotangent(id: u64, dim: usize, point: &mut Point) -> Expr {
    let var = leaf(COTANGENTS + id, Some(Axis::I), dim);
    point.insert(var, Rng::new(id).vec(dim, 0.5, 1.5));
    Expr::var(var)
}

/// Checks that derivatives by leaves of `inner` are zero, and that all others are as in the formula without `inner`.
fn check(inner: &Expr, outer: &[u8], way: usize, seed: u64) -> Result<(), TestCaseError> {
    let Hidden {
        masked,
        other,
        masks,
    } = hidden(inner, way);
    let (with, without) = (around(outer, &masked), around(outer, &other));
    let mut rng = Rng::new(seed);
    let mut point = Point::new();
    for var in leaves(&with) {
        let values = match masks.contains(&var) {
            true => vec![1.0; var.dim],
            false if var.id < OUTER => (0..var.dim)
                .map(|_| BAD[rng.bits() as usize % BAD.len()])
                .collect(),
            false => rng.vec(var.dim, 0.4, 1.6),
        };
        point.insert(var, values);
    }
    let e = cotangent(1, with.dim(), &mut point);
    for var in leaves(&with) {
        let got = with.gradient(&var, &e);
        let want = without.gradient(&var, &e);
        let own = inner_or_mask(&var, &masks);
        compare(&got, &want, own, &point)?;
        // Derivatives of second order by all leaves, backward and forward.
        let e = cotangent(2, got.dim(), &mut point);
        for by in leaves(&got)
            .into_iter()
            .filter(|by| by.id < COTANGENTS)
            .take(4)
        {
            let own = own || inner_or_mask(&by, &masks);
            let second = [&got, &want].map(|gradient| gradient.gradient(&by, &e));
            compare(&second[0], &second[1], own, &point)?;
            // The forward derivative of a gradient that is NaN is NaN.
            if evaluate(&got, &point).iter().all(|v| v.is_finite()) {
                let u = cotangent(3, by.dim, &mut point);
                let second = [&got, &want].map(|gradient| gradient.differential(&by, &u));
                compare(&second[0], &second[1], own, &point)?;
            }
        }
    }
    Ok(())
}

fn inner_or_mask(var: &Var, masks: &[Var]) -> bool {
    var.id < OUTER || masks.contains(var)
}

fn compare(got: &Expr, want: &Expr, zero: bool, point: &Point) -> Result<(), TestCaseError> {
    let got_values = evaluate(got, point);
    if zero {
        prop_assert!(
            got_values.iter().all(|v| *v == 0.0),
            "{got_values:?}, expected 0, of {got}"
        );
        return Ok(());
    }
    let want = Tape::new(want).evaluate(&|var| point[var].clone());
    for (got, want) in got_values.iter().zip(want) {
        let near = (got - want).abs() <= 1e-9 * want.abs();
        prop_assert!(near || !want.is_finite(), "{got}, expected {want}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn what_a_mask_hides_has_no_derivative(
        inner in recipe(),
        outer in recipe(),
        way in 0usize..6,
        seed in any::<u64>(),
    ) {
        check(&formula(&inner), &outer, way, seed)?;
    }

    #[test]
    fn what_a_mask_shows_has_the_derivative_of_the_formula(
        inner in recipe(),
        outer in recipe(),
        way in 0usize..3,
        seed in any::<u64>(),
    ) {
        let inner = formula(&inner);
        let Hidden { masked, masks, .. } = hidden(&inner, way);
        let (with, without) = (around(&outer, &masked), around(&outer, &inner));
        let mut rng = Rng::new(seed);
        let mut point = Point::new();
        for var in leaves(&with) {
            let values = match masks.contains(&var) {
                true => vec![0.0; var.dim],
                false => rng.vec(var.dim, 0.4, 1.6),
            };
            point.insert(var, values);
        }
        let e = cotangent(1, with.dim(), &mut point);
        for var in leaves(&without) {
            compare(&with.gradient(&var, &e), &without.gradient(&var, &e), false, &point)?;
        }
    }
}

/// The gradients of `expr` by all leaves, and the gradients of these by all leaves.
fn derivatives(expr: &Expr, point: &Point) -> Vec<Vec<f64>> {
    let one = |expr: &Expr| Expr::constant(1.0).expand(expr.dim());
    let mut all = Vec::new();
    for var in leaves(expr) {
        let gradient = expr.gradient(&var, &one(expr));
        all.push(evaluate(&gradient, point));
        for by in leaves(&gradient) {
            all.push(evaluate(&gradient.gradient(&by, &one(&gradient)), point));
        }
    }
    all
}

#[test]
fn forces_of_coinciding_points_are_finite_where_these_do_not_count() {
    let (a, b) = (x(0, 3), y(1, 3));
    let square = a.sqdist(&b);
    let energies = [
        square.sqrt().recip(),
        Expr::constant(1.0) / square.sqrt(),
        square.powf(&Expr::constant(-0.5)),
        square.powi(-6) - square.powi(-3),
        square.log(),
        square.sqrt().log() * square.clone(),
        (-square.recip()).exp() * square.recip(),
    ];
    let same = Expr::var(leaf(2, Some(Axis::I), 1));
    let mut point = Point::new();
    point.insert(var_of(&a), vec![0.5, -1.0, 2.0]);
    point.insert(var_of(&b), vec![0.5, -1.0, 2.0]);
    point.insert(var_of(&same), vec![1.0]);
    for energy in energies {
        for masked in [
            mask_where(&energy, &same, &Expr::constant(0.0)),
            if_else(&-same.clone(), &energy, &Expr::constant(0.0)),
            mask_where(&energy, &same, &Expr::constant(0.0)) * s(3),
        ] {
            point.insert(var_of(&s(3)), vec![2.0]);
            for gradient in derivatives(&masked, &point) {
                assert!(
                    gradient.iter().all(|g| *g == 0.0),
                    "{gradient:?} of {masked}"
                );
            }
        }
    }
}

#[test]
fn a_cotangent_of_zero_stays_zero() {
    let (a, b) = (x(0, 1), p(1, 1));
    let mut point = Point::new();
    point.insert(var_of(&a), vec![-800.0]);
    point.insert(var_of(&b), vec![1.5]);
    // 1 / (1 + b e^-x), where the exponential is infinite.
    let logistic = (1.0 + (b.clone() * (-a.clone()).exp())).recip();
    let one = Expr::constant(1.0);
    for var in [var_of(&a), var_of(&b)] {
        assert_eq!(evaluate(&logistic.gradient(&var, &one), &point), [0.0]);
    }
    // A row that does not affect the result.
    let zero = Expr::var(leaf(2, Some(Axis::I), 1));
    point.insert(var_of(&zero), vec![0.0]);
    point.insert(var_of(&a), vec![0.0]);
    for f in [
        a.recip(),
        a.log(),
        a.powi(-3),
        b.clone() / a.clone(),
        (a.clone() + 1e3).exp(),
    ] {
        assert_eq!(
            evaluate(&f.gradient(&var_of(&a), &zero), &point),
            [0.0],
            "{f}"
        );
        assert_eq!(
            evaluate(&f.differential(&var_of(&a), &zero), &point),
            [0.0],
            "{f}"
        );
    }
}

#[test]
fn derivatives_of_products_with_a_strong_zero_do_not_vanish() {
    // x e^y at x = 0: the second derivative by x and y is e^y.
    let (a, b) = (x(0, 1), y(1, 1));
    let mut point = Point::new();
    point.insert(var_of(&a), vec![0.0]);
    point.insert(var_of(&b), vec![0.5]);
    let f = a.clone() * b.exp();
    let one = Expr::constant(1.0);
    let by_both = f.gradient(&var_of(&b), &one).gradient(&var_of(&a), &one);
    assert_eq!(evaluate(&by_both, &point), [0.5f64.exp()]);
}

#[test]
fn derivatives_that_are_infinite_where_the_value_is_finite_are_zero() {
    let a = x(0, 1);
    let half = Expr::constant(0.5);
    let mut point = Point::new();
    point.insert(var_of(&a), vec![0.0]);
    let one = Expr::constant(1.0);
    let thin_plate = a.square().xlogx() * 0.5;
    for f in [
        a.sqrt(),
        a.abs().sqrt(),
        a.powf(&half),
        a.abs().powf(&half),
        a.abs().powf(&Expr::constant(0.25)),
        a.xlogx(),
        thin_plate,
        (1.0 + a.clone()).asin(),
        (1.0 - a.square()).acos(),
        a.matern(0),
    ] {
        let gradient = f.gradient(&var_of(&a), &one);
        assert_eq!(evaluate(&gradient, &point), [0.0], "{f}: {gradient}");
    }
    // For other exponents the derivatives exist.
    let slope = |exponent: f64| {
        let power = a.powf(&Expr::constant(exponent));
        evaluate(&power.gradient(&var_of(&a), &one), &point)[0]
    };
    assert_eq!(
        [slope(1.0), slope(2.0), slope(1.5), slope(0.0)],
        [1.0, 0.0, 0.0, 0.0]
    );
}

#[test]
fn the_larger_of_two_infinities_has_half_of_the_derivative() {
    let (a, b) = (x(0, 1), y(1, 1));
    let mut point = Point::new();
    point.insert(var_of(&a), vec![f64::INFINITY]);
    point.insert(var_of(&b), vec![f64::INFINITY]);
    for op in [ScalarOp::Maximum, ScalarOp::Minimum] {
        let f = Expr::scalar(op, vec![a.clone(), b.clone()]);
        let gradient = f.gradient(&var_of(&a), &Expr::constant(1.0));
        assert_eq!(evaluate(&gradient, &point), [0.5]);
    }
}

#[test]
fn matern_functions_have_the_derivatives_of_their_definition_at_equal_points() {
    // The kernel with smoothness p + 1/2 and length l in three dimensions has at 0 the Laplacian
    // -3 (2 p + 1) / ((2 p - 1) l^2). A diagonal entry of its Hessian is a third of that.
    let ([a, b], point) = equal_points();
    let length = 0.8;
    let one = Expr::constant(1.0);
    for (order, want) in [(1, -14.0625), (2, -7.8125)] {
        let nu = order as f64 + 0.5;
        let kernel = (((a.clone() - b.clone()) / length).sqnorm() * (2.0 * nu)).matern(order);
        let gradient = kernel.gradient(&var_of(&a), &one);
        assert_eq!(evaluate(&gradient, &point), [0.0; 3]);
        let laplacian = evaluate(&gradient.divergence(&var_of(&a)), &point)[0];
        assert!(
            (laplacian - want).abs() <= 1e-12 * want.abs(),
            "{laplacian}, expected {want}"
        );
        let e = Expr::concat([1.0, 0.0, 0.0].map(Expr::constant).to_vec());
        for (var, sign) in [(var_of(&a), 1.0), (var_of(&b), -1.0)] {
            let column = evaluate(&gradient.gradient(&var, &e), &point);
            for (k, value) in column.iter().enumerate() {
                let want = if k == 0 { sign * want / 3.0 } else { 0.0 };
                assert!((value - want).abs() <= 1e-12, "{column:?}");
            }
        }
    }
}
