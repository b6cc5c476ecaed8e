//! Symbolic derivatives against central differences of the host reference in `f64`.
//!
//! Differences are of fourth order with steps of a thousandth, so that their error is about 1e-9.
//! The tolerance is 1e-6 of the largest component. Second derivatives are differences of the
//! symbolic gradient, contracted with another cotangent. The derivative is taken by every operand:
//! rows, columns, parameters, and the cotangent itself.

use burn_lazy_kernels::{
    Axis, Expr, Formula,
    catalogue::ScalarOp,
    expr::{Extreme, Node, Var},
    reference,
};

use crate::support::{Point, Rng, Tape, equal_points, leaf, leaves, p, s, var_of, x, y};

/// The value of `expr` by the reference, after simplification to a formula.
fn value(expr: &Expr, point: &Point) -> Vec<f64> {
    let (formula, leaves) = Formula::new(expr);
    let operands: Vec<&[f64]> = leaves.iter().map(|var| point[var].as_slice()).collect();
    reference::evaluate(&formula, &operands, (0, 0))
}

/// The gradient of the scalar expression `expr` by differences.
pub fn differences(expr: &Expr, var: &Var, point: &Point, step: f64) -> Vec<f64> {
    assert_eq!(expr.dim(), 1);
    let tape = Tape::new(expr);
    let component = |k: usize| {
        let at = |shift: f64| {
            let mut point = point.clone();
            point.get_mut(var).expect("the point has the leaf")[k] += shift;
            tape.evaluate(&|v| point[v].clone())[0]
        };
        let first = (at(step) - at(-step)) * 8.0;
        let second = at(2.0 * step) - at(-2.0 * step);
        (first - second) / (12.0 * step)
    };
    (0..var.dim).map(component).collect()
}

#[track_caller]
fn assert_gradient(expr: &Expr, var: &Var, point: &Point, gradient: &Expr) {
    assert_eq!(gradient.dim(), var.dim);
    let want = differences(expr, var, point, 1e-3);
    let finer = differences(expr, var, point, 5e-4);
    let got = value(gradient, point);
    let largest = want.iter().fold(1e-3f64, |a, w| a.max(w.abs()));
    for ((got, want), finer) in got.iter().zip(&want).zip(&finer) {
        // Differences with two steps disagree where there is a kink within a step.
        assert!(
            (got - want).abs() <= 1e-6 * largest || (want - finer).abs() > 1e-6 * largest,
            "the derivative of {expr} by {var:?} is {got}, expected {want}\n{gradient}\nat {point:?}"
        );
    }
}

/// Checks the first and second derivatives of `expr` with respect to all of its leaves.
#[track_caller]
fn check(expr: &Expr, point: &Point, rng: &mut Rng) {
    let mut point = point.clone();
    let mut cotangent = |id: u64, dim: usize, point: &mut Point| {
        let var = leaf(id, Some(Axis::I), dim);
        point.insert(var, rng.vec(dim, 0.5, 1.5));
        Expr::var(var)
    };
    let e = cotangent(1000, expr.dim(), &mut point);
    let contracted = expr.dot(&e);
    for var in leaves(expr) {
        let gradient = expr.gradient(&var, &e);
        assert_gradient(&contracted, &var, &point, &gradient);
        let e = cotangent(1001, var.dim, &mut point);
        let contracted = gradient.dot(&e);
        for by in leaves(&gradient) {
            let second = gradient.gradient(&by, &e);
            assert_gradient(&contracted, &by, &point, &second);
        }
    }
}

/// A random point without components near zero.
fn point(expr: &Expr, rng: &mut Rng) -> Point {
    let var = |var: Var| {
        let mut values = rng.vec(var.dim, 0.4, 1.6);
        values.iter_mut().for_each(|v| {
            if rng.bits().is_multiple_of(2) {
                *v = -*v
            }
        });
        (var, values)
    };
    leaves(expr).into_iter().map(var).collect()
}

fn check_at_random_points(expr: &Expr, seed: u64) {
    let mut rng = Rng::new(seed);
    for _ in 0..3 {
        let point = point(expr, &mut rng);
        check(expr, &point, &mut rng);
    }
}

/// A sample of an argument away from singular points: zero, integers, half-integers, and the ends
/// of the domain.
fn sample(op: ScalarOp, argument: usize, rng: &mut Rng) -> f64 {
    let (low, high) = op.domain().intervals[argument];
    let margin = 0.1 * (high - low);
    loop {
        let value = rng.uniform((low + margin).max(-3.0), (high - margin).min(3.0));
        let halves = (2.0 * value).round() / 2.0;
        if value.abs() > 0.3 && (value - halves).abs() > 0.02 {
            return value;
        }
    }
}

/// Checks the derivatives of `op` over operands of the given kinds, at random points of its domain.
fn check_operation(op: ScalarOp, operands: &[Expr], seed: u64) {
    let expr = Expr::scalar(op, operands.to_vec());
    let mut rng = Rng::new(seed);
    for _ in 0..4 {
        let mut point = Point::new();
        for (argument, operand) in operands.iter().enumerate() {
            let var = var_of(operand);
            let values = (0..var.dim).map(|_| sample(op, argument, &mut rng));
            point.insert(var, values.collect());
        }
        check(&expr, &point, &mut rng);
    }
}

#[test]
fn derivatives_of_unary_operations_are_limits_of_differences() {
    for op in ScalarOp::all().into_iter().filter(|op| op.arity() == 1) {
        for operand in [x(0, 3), y(0, 3), p(0, 3), s(0)] {
            check_operation(op, &[operand], 1);
        }
    }
}

#[test]
fn derivatives_of_binary_operations_are_limits_of_differences() {
    let operands = |id: u64| [x(id, 3), y(id, 3), p(id, 3), s(id), x(id, 1), y(id, 1)];
    for op in ScalarOp::all().into_iter().filter(|op| op.arity() == 2) {
        for a in operands(0) {
            for b in operands(1) {
                check_operation(op, &[a.clone(), b], 2);
            }
        }
    }
}

#[test]
fn derivatives_of_ternary_operations_are_limits_of_differences() {
    let operands = |id: u64| [x(id, 3), y(id, 3), p(id, 1)];
    for op in ScalarOp::all().into_iter().filter(|op| op.arity() == 3) {
        for a in operands(0) {
            for b in operands(1) {
                for c in operands(2) {
                    check_operation(op, &[a.clone(), b.clone(), c], 2);
                }
            }
        }
    }
}

#[test]
fn derivatives_at_both_arguments_add_up() {
    let a = x(0, 3);
    check_at_random_points(&(a.clone() * a.clone()), 3);
    check_at_random_points(&((a.clone() / (a.clone() + 5.0)) - a.exp()), 4);
}

#[test]
fn derivatives_of_inner_sums_spread_the_cotangent() {
    for operand in [x(0, 4), y(0, 4), p(0, 4)] {
        check_at_random_points(&operand.inner_sum(), 5);
        check_at_random_points(&(operand.square().inner_sum().exp() * operand.clone()), 6);
    }
}

#[test]
fn derivatives_of_extreme_components_go_to_their_place() {
    for operand in [x(0, 4), y(0, 4), p(0, 20)] {
        for extreme in [Extreme::Minimum, Extreme::Maximum] {
            let best = operand.inner_extremum(extreme);
            check_at_random_points(&best.square(), 24);
            check_at_random_points(&(best.exp() * operand.clone()), 25);
            check_at_random_points(&(operand.clone() - best).sqnorm(), 26);
        }
    }
}

#[test]
fn divergences_are_sums_of_derivatives() {
    let (a, b) = (x(0, 3), y(1, 3));
    let kernel = (-a.sqdist(&b) * 0.3).exp();
    let gradient = kernel.gradient(&var_of(&a), &Expr::constant(1.0));
    let laplacian = gradient.divergence(&var_of(&a));
    let mut rng = Rng::new(27);
    for _ in 0..5 {
        let point = point(&kernel, &mut rng);
        let distance = value(&a.sqdist(&b), &point)[0];
        // exp(-c r^2) has the Laplacian (4 c^2 r^2 - 2 c D) exp(-c r^2).
        let want = (0.36 * distance - 1.8) * (-0.3 * distance).exp();
        let got = value(&laplacian, &point)[0];
        assert!((got - want).abs() <= 1e-12, "{got}, expected {want}");
    }
    check_at_random_points(&laplacian, 28);
}

#[test]
fn derivatives_of_slices_are_zero_outside() {
    for operand in [x(0, 5), y(0, 5), p(0, 5)] {
        for (start, len) in [(0, 2), (1, 3), (3, 2), (0, 5)] {
            check_at_random_points(&operand.slice(start, len).square(), 7);
        }
        let overlapping = operand.slice(0, 3) * operand.slice(2, 3);
        check_at_random_points(&overlapping, 8);
    }
}

#[test]
fn derivatives_of_concatenations_take_their_part() {
    let parts = [x(0, 2), y(1, 3), p(2, 1), s(3)];
    let joined = Expr::concat(parts.to_vec());
    check_at_random_points(&joined.square(), 9);
    let twice = Expr::concat(vec![parts[0].exp(), parts[1].clone(), parts[0].square()]);
    check_at_random_points(&(twice.square() * joined), 10);
}

#[test]
fn derivatives_of_expansions_are_summed() {
    for operand in [x(0, 1), y(0, 1), p(0, 1), s(0)] {
        check_at_random_points(&operand.expand(4).exp(), 11);
        check_at_random_points(&(operand.exp().expand(3) * x(7, 3).square()), 12);
    }
}

#[test]
fn derivatives_of_products_norms_and_distances_are_limits_of_differences() {
    for (a, b) in [
        (x(0, 3), y(1, 3)),
        (p(0, 3), y(1, 3)),
        (x(0, 3), p(1, 3)),
        (x(0, 1), y(1, 1)),
    ] {
        check_at_random_points(&a.dot(&b), 13);
        check_at_random_points(&a.sqnorm(), 14);
        check_at_random_points(&a.sqdist(&b), 15);
        check_at_random_points(&(a.sqdist(&b) + 1.0).sqrt(), 16);
        check_at_random_points(&((-(a.sqdist(&b) * s(5).square())).exp() * y(2, 2)), 17);
        check_at_random_points(&((a.dot(&b) / 4.0).exp() * a.sqnorm().recip()), 18);
    }
}

#[test]
fn derivatives_beside_repeated_constants_exist() {
    let a = x(0, 3);
    let repeated = |value: f64| Expr::constant(value).expand(3);
    check_at_random_points(&(a.clone() * repeated(2.0)).inner_sum(), 19);
    check_at_random_points(&(repeated(1.0) * a.clone()).inner_sum(), 20);
    check_at_random_points(&(a.clone() / repeated(2.0)).inner_sum(), 21);
    let scaled = repeated(0.5) * y(1, 1).expand(3);
    check_at_random_points(&(a.clone() * scaled).inner_sum(), 22);
    let long = repeated(0.5) * y(1, 3);
    check_at_random_points(&(a * long).inner_sum(), 23);
}

#[test]
fn the_derivative_by_an_absent_leaf_is_zero() {
    let expr = x(0, 3).sqdist(&y(1, 3));
    let gradient = expr.gradient(&leaf(7, Some(Axis::J), 4), &Expr::constant(1.0));
    assert_eq!(
        value(&gradient, &point(&gradient, &mut Rng::new(0))),
        vec![0.0; 4]
    );
}

#[test]
fn the_derivative_of_a_leaf_by_itself_is_the_cotangent() {
    let cotangent = y(5, 3);
    assert_eq!(
        x(0, 3).gradient(&leaf(0, Some(Axis::I), 3), &cotangent),
        cotangent
    );
}

#[test]
fn leaves_of_one_tensor_on_both_axes_are_told_apart() {
    let (row, column) = (x(0, 2), y(0, 2));
    let expr = row.dot(&column);
    let by_row = expr
        .gradient(&var_of(&row), &Expr::constant(1.0))
        .simplify();
    let by_column = expr
        .gradient(&var_of(&column), &Expr::constant(1.0))
        .simplify();
    assert_eq!((by_row, by_column), (column, row));
}

#[test]
fn the_derivatives_of_norms_at_the_origin_are_zero() {
    let ([a, b], point) = equal_points();
    let distance = a.sqdist(&b).sqrt();
    for var in leaves(&distance) {
        let gradient = distance.gradient(&var, &Expr::constant(1.0));
        assert!(value(&gradient, &point).iter().all(|v| *v == 0.0));
    }
    let absolute = (a.clone() - b.clone()).abs().inner_sum();
    let gradient = absolute.gradient(&var_of(&a), &Expr::constant(1.0));
    assert!(value(&gradient, &point).iter().all(|v| *v == 0.0));
}

#[test]
fn a_gradient_is_no_leaf_of_what_does_not_depend_on_it() {
    // The derivative of the sign is zero, which prunes the graph, so that the gradient reads no
    // operand.
    let gradient = x(0, 3)
        .sign()
        .gradient(&leaf(0, Some(Axis::I), 3), &y(1, 3));
    assert!(matches!(gradient.simplify().node(), Node::Expand(..)));
    assert!(leaves(&gradient).is_empty());
}

#[test]
#[should_panic(expected = "cotangent has the dimension")]
fn a_cotangent_of_another_dimension_is_refused() {
    x(0, 3).gradient(&leaf(0, Some(Axis::I), 3), &y(1, 2));
}
