//! Formulas as values: equality, numbering, printing, serialisation, simplification by rule.

use burn_lazy_kernels::{
    Axis, Expr, Formula, Program,
    catalogue::{ScalarOp, Sign},
    expr::{Node, Var, broadcast_dim},
};

use crate::support::{Point, gaussian, leaf, p, s, x, y};

fn formula(expr: &Expr) -> Formula {
    Formula::new(expr).0
}

/// `x * x` of `x * x` of ..., `levels` deep. Its text doubles with each level.
fn tower(levels: usize) -> Expr {
    (0..levels).fold(x(0, 1), |expr, _| expr.clone() * expr)
}

#[test]
fn printing_a_tower_of_shared_squares_is_bounded() {
    for levels in [10, 20, 200] {
        let expr = tower(levels);
        let text = expr.to_string();
        assert!(text.len() < 2000 + 20 * levels, "{} characters", text.len());
        assert_eq!(formula(&expr).to_string().len(), text.len());
        let quotient = (0..levels).fold(x(0, 3), |e, _| {
            Expr::concat(vec![e.clone(), e]).slice(1, 3) / y(1, 3)
        });
        assert!(quotient.to_string().len() < 2000 + 100 * levels);
    }
}

#[test]
fn a_tower_of_shared_squares_is_handled_without_unfolding_it() {
    let expr = tower(200);
    assert_eq!(expr.topological().len(), 201);
    let gradient = expr.gradient(&leaf(0, Some(Axis::I), 1), &Expr::constant(1.0));
    assert!(gradient.topological().len() < 2000);
    let (formula, _) = Formula::new(&gradient);
    let program = Program::lower(&formula, Axis::J);
    assert!(program.row.items.len() < 2000);
    let text = serde_json::to_string(&formula).unwrap();
    assert_eq!(serde_json::from_str::<Formula>(&text).unwrap(), formula);
}

/// Runs on a thread whose stack is too small for a recursive call per level.
#[test]
fn deep_formulas_are_handled_without_recursion() {
    let levels = 20_000;
    let work = move || {
        let deep = (0..levels).fold(x(0, 1) + y(1, 1), |expr, _| expr.sin());
        let gradient = deep.gradient(&leaf(0, Some(Axis::I), 1), &Expr::constant(1.0));
        let (formula, _) = Formula::new(&gradient);
        assert!(formula.root().depth() >= levels);
        assert!(formula.to_string().len() < 10_000);
        let program = Program::lower(&formula, Axis::J);
        assert!(program.pair.len() >= levels);
        let text = serde_json::to_string(&formula).unwrap();
        let back = serde_json::from_str::<Formula>(&text);
        assert!(back.is_ok_and(|back| back == formula));
    };
    let thread = std::thread::Builder::new().stack_size(256 << 10);
    thread.spawn(work).unwrap().join().unwrap();
}

#[test]
fn formulas_print_as_they_are_written() {
    let expr = (-x(3, 2).sqdist(&y(4, 2))).exp() * p(5, 1) + s(6);
    let text = formula(&expr).to_string();
    assert_eq!(text, "((exp(sum(-square((x0 - y1)))) * p2) + s3)");
    let structure = Expr::concat(vec![x(0, 4).slice(1, 2).powi(3), y(1, 1).expand(2)]);
    assert_eq!(
        structure.to_string(),
        "concat(powi[3](x0[1..3]), expand(y1, 2))"
    );
}

#[test]
fn formulas_written_alike_over_other_operands_are_equal() {
    let alike = |a: u64, b: u64, c: u64| {
        let (expr, _) = Formula::new(&((-x(a, 3).sqdist(&y(b, 3))).exp() * y(c, 2)));
        expr
    };
    assert_eq!(alike(0, 1, 2), alike(70, 3, 5));
    // A formula that uses one operand twice differs from a formula of two operands.
    assert_ne!(
        alike(0, 1, 2),
        formula(&((-x(0, 3).sqdist(&y(1, 3))).exp() * y(1, 3)))
    );
}

#[test]
fn formulas_that_differ_in_anything_are_different() {
    let all = [
        gaussian(3, 1),
        gaussian(4, 1),
        gaussian(3, 2),
        gaussian(3, 1) + 1.0,
        gaussian(3, 1) + 2.0,
        gaussian(3, 1).transpose(),
        gaussian(3, 1) * p(3, 1),
        gaussian(3, 1) * s(3),
        gaussian(3, 1).powi(3),
        gaussian(3, 1).powi(4),
        x(0, 5).slice(0, 2),
        x(0, 5).slice(1, 2),
        x(0, 1).expand(2),
        x(0, 1).expand(3),
    ];
    for (k, a) in all.iter().enumerate() {
        for b in &all[k + 1..] {
            assert_ne!(a, b);
            assert_ne!(formula(a), formula(b));
        }
    }
}

#[test]
fn operands_are_numbered_by_their_first_occurrence() {
    let expr = y(9, 2) * x(4, 2) + s(8) * (y(9, 2) - p(1, 2));
    let (formula, leaves) = Formula::new(&expr);
    let ids: Vec<u64> = leaves.iter().map(|var| var.id).collect();
    assert_eq!(ids, [9, 4, 8, 1]);
    let numbers: Vec<u64> = formula.vars().iter().map(|var| var.id).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    assert_eq!(formula.tensors().count(), 3);
    assert_eq!(formula.scalars().count(), 1);
    let sources: Vec<usize> = (0..4).map(|k| formula.source(k)).collect();
    assert_eq!(sources, [0, 1, 0, 2]);
}

#[test]
fn constants_survive_json_bit_by_bit() {
    let constants = [
        0.1,
        -0.0,
        1.0 / 3.0,
        std::f64::consts::PI,
        8.41e21,
        1.7976931348623157e308,
        5e-324,
        -123456789.12345679,
    ];
    for value in constants {
        let formula = formula(&(x(0, 1) * Expr::constant(value)));
        let text = serde_json::to_string(&formula).unwrap();
        assert_eq!(
            serde_json::from_str::<Formula>(&text).unwrap(),
            formula,
            "{value:e}"
        );
    }
}

#[test]
fn constants_that_are_not_finite_survive_json() {
    for value in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        let formula = formula(&(x(0, 1) * Expr::constant(value)));
        let text = serde_json::to_string(&formula).unwrap();
        let back = serde_json::from_str::<Formula>(&text);
        assert_eq!(back.map_err(|e| e.to_string()), Ok(formula), "{value}");
    }
}

#[test]
fn every_operation_survives_json() {
    for op in ScalarOp::all() {
        let args = [x(0, 2), y(1, 2), p(2, 1)][..op.arity()].to_vec();
        let formula = formula(&Expr::scalar(op, args));
        let text = serde_json::to_string(&formula).unwrap();
        assert_eq!(serde_json::from_str::<Formula>(&text).unwrap(), formula);
    }
}

#[test]
fn malformed_formulas_are_refused() {
    let var = r#"{"Var":{"axes":{"i":true,"j":false},"dim":3,"scalar":false}}"#;
    let other = r#"{"Var":{"axes":{"i":false,"j":true},"dim":2,"scalar":false}}"#;
    for (nodes, why) in [
        (vec![], "an empty formula"),
        (vec![r#"{"InnerSum":0}"#], "later node"),
        (vec![var, r#"{"InnerSum":1}"#], "later node"),
        (vec![var, r#"{"Slice":[0,2,2]}"#], "out of range"),
        (vec![var, r#"{"Slice":[0,2,0]}"#], "out of range"),
        (
            vec![var, r#"{"Slice":[0,18446744073709551615,2]}"#],
            "out of range",
        ),
        (vec![r#"{"Concat":[]}"#], "concatenation of nothing"),
        (vec![var, r#"{"Expand":[0,5]}"#], "repeated"),
        (vec![var, r#"{"Scalar":["Add",[0]]}"#], "do not fit"),
        (
            vec![var, other, r#"{"Scalar":["Add",[0,1]]}"#],
            "do not fit",
        ),
        (
            vec![r#"{"Var":{"axes":{"i":true,"j":false},"dim":0,"scalar":false}}"#],
            "impossible dimension",
        ),
        (
            vec![r#"{"Var":{"axes":{"i":true,"j":false},"dim":1,"scalar":true}}"#],
            "impossible dimension",
        ),
    ] {
        let text = format!("[{}]", nodes.join(","));
        let error = serde_json::from_str::<Formula>(&text).expect_err(&text);
        assert!(error.to_string().contains(why), "{text}: {error}");
    }
}

#[test]
fn neutral_elements_and_double_negations_vanish() {
    let a = x(0, 3);
    for expr in [
        a.clone() * 1.0,
        1.0 * a.clone(),
        a.clone() / 1.0,
        a.clone() - 0.0,
        -(-a.clone()),
        a.powi(1),
        a.clone() * Expr::constant(1.0).expand(3),
        a.slice(0, 3),
    ] {
        assert_eq!(expr.simplify(), a, "{expr}");
    }
    // The same across a sum, into which a negation moves.
    let sum = -(-a.clone()).inner_sum();
    assert_eq!(sum.simplify(), a.inner_sum());
    // Multiplication by 1 may still widen the other factor, so it cannot always be dropped.
    let widened = x(0, 1) * Expr::constant(1.0).expand(3);
    assert_eq!(widened.simplify(), x(0, 1).expand(3));
}

#[test]
fn constants_are_folded() {
    let two = Expr::constant(2.0);
    let folded = (two.exp() * 3.0 + two.clone()).simplify();
    assert_eq!(folded, Expr::constant(2f64.exp() * 3.0 + 2.0));
    let sum = Expr::constant(2.0).expand(5).inner_sum();
    assert_eq!(sum.simplify(), Expr::constant(10.0));
}

#[test]
fn a_product_by_zero_stays_as_it_may_be_nan() {
    let expr = x(0, 3) * 0.0;
    assert_eq!(expr.simplify(), expr);
}

#[test]
fn adding_zero_to_minus_zero_keeps_its_sign_rule() {
    // -0 + 0 is +0, so adding 0 may not be dropped where the sign is used again.
    let expr = (x(0, 1) + 0.0).recip();
    let (formula, _) = Formula::new(&expr);
    let value = burn_lazy_kernels::reference::evaluate(&formula, &[&[-0.0]], (0, 0));
    assert_eq!(value, [f64::INFINITY]);
}

#[test]
fn slices_move_to_the_leaves() {
    let (a, b) = (x(0, 6), y(1, 6));
    let expr = (a.clone() * b.clone() + p(2, 1)).slice(2, 3);
    let moved = a.slice(2, 3) * b.slice(2, 3) + p(2, 1);
    assert_eq!(expr.simplify(), moved);
    let joined = Expr::concat(vec![a.clone(), b.clone(), a.exp()]);
    assert_eq!(joined.slice(6, 6).simplify(), b);
    let across = Expr::concat(vec![a.slice(4, 2), b.slice(0, 3)]);
    assert_eq!(joined.slice(4, 5).simplify(), across);
    assert_eq!(a.slice(1, 4).slice(1, 2).simplify(), a.slice(2, 2));
    assert_eq!(p(0, 1).expand(7).slice(2, 3).simplify(), p(0, 1).expand(3));
}

#[test]
fn dependence_follows_the_leaves() {
    let of = |expr: Expr| (expr.dependence().i, expr.dependence().j);
    assert_eq!(of(x(0, 2).inner_sum()), (true, false));
    assert_eq!(of(y(0, 2).slice(0, 1)), (false, true));
    assert_eq!(of(p(0, 2) * s(1)), (false, false));
    assert_eq!(of(Expr::concat(vec![x(0, 2), y(0, 2)])), (true, true));
    assert_eq!(of(Expr::constant(1.0)), (false, false));
}

#[test]
fn known_signs_hold_at_random_points_and_for_zeros() {
    use crate::{
        random,
        support::{Rng, Tape, leaves},
    };
    let mut rng = Rng::new(9);
    let (mut known, mut zeros) = (0, 0);
    for _ in 0..400 {
        let bytes: Vec<u8> = (0..50).map(|_| rng.bits() as u8).collect();
        let expr = random::formula(&bytes);
        let mut value = || match rng.bits() % 4 {
            0 => 0.0,
            1 => -0.0,
            _ => random::values(&mut rng),
        };
        let mut point = Point::new();
        for var in leaves(&expr) {
            point.insert(var, (0..var.dim).map(|_| value()).collect());
        }
        for expr in expr.topological() {
            let sign = expr.known_sign();
            if sign == Sign::Unknown {
                continue;
            }
            known += 1;
            let values = Tape::new(expr).evaluate(&|var: &Var| point[var].clone());
            zeros += values.iter().filter(|v| **v == 0.0).count();
            // The reciprocal turns the sign of a zero into the sign of an infinity.
            let holds = values
                .iter()
                .all(|v| v.is_nan() || v.is_sign_negative() == (sign == Sign::NonPositive));
            assert!(holds, "{expr} is said to be {sign:?} but is {values:?}");
        }
    }
    assert!(known > 300 && zeros > 100, "{known} signs, {zeros} zeros");
}

#[test]
fn dimensions_broadcast_from_one_only() {
    assert_eq!(broadcast_dim(&[x(0, 3), y(1, 1), x(2, 3)]), Some(3));
    assert_eq!(broadcast_dim(&[x(0, 1), y(1, 1)]), Some(1));
    assert_eq!(broadcast_dim(&[x(0, 3), y(1, 2)]), None);
    assert_eq!((x(0, 3) * y(1, 1)).dim(), 3);
}

#[test]
#[should_panic(expected = "slice out of range")]
fn a_slice_past_the_end_is_refused() {
    x(0, 3).slice(2, 2);
}

#[test]
#[should_panic(expected = "only a value of dimension 1 can be repeated")]
fn a_vector_is_not_repeated() {
    x(0, 3).expand(6);
}

#[test]
fn trivial_nodes_are_not_made() {
    let a = x(0, 1);
    assert_eq!(a.inner_sum(), a);
    assert_eq!(a.expand(1), a);
    assert_eq!(Expr::concat(vec![a.clone()]), a);
    assert!(matches!(x(0, 2).inner_sum().node(), Node::InnerSum(_)));
}
