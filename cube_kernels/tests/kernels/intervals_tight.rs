//! Tests that bounds are not wider than necessary, and unknown where nothing is known.

use std::collections::HashMap;

use burn_lazy_kernels::{
    Axis, Expr, Precision,
    catalogue::ScalarOp,
    expr::{Extreme, Place, Var},
    interval::Interval,
};

use crate::{
    intervals::{Arithmetic, Ends, INF, NAN, bounds, bounds_in, encloses},
    support::{Rng, leaf, x, y},
};

/// The boxes of a row operand and of a column operand.
fn two_boxes(row: Ends, column: Ends) -> HashMap<Var, Ends> {
    let dim = row.0.len();
    let vars = [leaf(0, Some(Axis::I), dim), leaf(1, Some(Axis::J), dim)];
    vars.into_iter().zip([row, column]).collect()
}

/// Bounds of a formula of `x(0, 1)` and `y(1, 1)`, evaluated by the reference.
fn bounds_of(expr: &Expr, row: (f64, f64), column: (f64, f64)) -> (f64, f64) {
    let ends = |(low, high)| (vec![low], vec![high]);
    let boxes = two_boxes(ends(row), ends(column));
    let (low, high) = bounds_in(expr, Precision::F32, &boxes, [(0, 0); 2]);
    (low[0], high[0])
}

fn scalar<const N: usize>(op: ScalarOp, args: [&Expr; N]) -> Expr {
    Expr::scalar(op, args.into_iter().cloned().collect())
}

#[track_caller]
fn assert_near(got: (f64, f64), want: (f64, f64), relative: f64) {
    let near = |got: f64, want: f64| got == want || (got - want).abs() <= relative * want.abs();
    assert!(
        near(got.0, want.0) && near(got.1, want.1),
        "{got:?}, expected {want:?}"
    );
}

#[test]
fn squared_distances_are_those_of_boxes() {
    let mut rng = Rng::new(3);
    for turn in 0..200 {
        let dim = 1 + turn % 20;
        let ends = |rng: &mut Rng| -> Ends {
            let low = rng.vec(dim, -1.0, 1.0);
            // Some boxes are wide. The other components must keep narrow bounds.
            let width = [1e-3, 0.3, 50.0][rng.below(3)];
            let high = low.iter().map(|low| low + rng.uniform(0.0, width));
            let high = high.collect();
            (low, high)
        };
        let boxes = two_boxes(ends(&mut rng), ends(&mut rng));
        let ((row_low, row_high), (low, high)) = (
            &boxes[&leaf(0, Some(Axis::I), dim)],
            &boxes[&leaf(1, Some(Axis::J), dim)],
        );
        let mut want = (0.0, 0.0);
        for k in 0..dim {
            let gap = (low[k] - row_high[k]).max(row_low[k] - high[k]).max(0.0);
            let reach = (high[k] - row_low[k]).max(row_high[k] - low[k]);
            want.0 += gap * gap;
            want.1 += reach * reach;
        }
        let difference = x(0, dim) - y(1, dim);
        for distance in [x(0, dim).sqdist(&y(1, dim)), difference.dot(&difference)] {
            let got = bounds_in(&distance, Precision::F32, &boxes, [(0, 0); 2]);
            assert_near((got.0[0], got.1[0]), want, 1e-5);
            let gaussian = (-distance).exp();
            let got = bounds_in(&gaussian, Precision::F32, &boxes, [(0, 0); 2]);
            let mut want = ((-want.1).exp(), (-want.0).exp());
            if want.0 < 1e-37 {
                // A value this small may be computed as 0.
                want.0 = 0.0;
            }
            if want.1 > 1e-37 {
                assert_near((got.0[0], got.1[0]), want, 2e-3);
            }
        }
    }
}

#[test]
fn sums_in_any_order_are_within_their_bounds() {
    let mut rng = Rng::new(4);
    let (dim, point) = (1000, leaf(0, Some(Axis::I), 1000));
    let expr = Expr::var(point).inner_sum();
    for _ in 0..50 {
        let mut values = rng.vec(dim, 0.0, 1.0);
        values[0] = 1e4;
        let ends = (values.clone(), values.clone());
        let (low, high) = bounds_in(&expr, Precision::F32, &[(point, ends)].into(), [(0, 0); 2]);
        for mut arithmetic in [Arithmetic::Single, Arithmetic::other(1)] {
            let value = arithmetic.evaluate(&expr, &|_| values.clone(), (0, 0))[0];
            assert!(
                encloses(low[0], high[0], value),
                "{value} from {low:?} to {high:?}"
            );
        }
        assert_near(
            (low[0], high[0]),
            (values.iter().sum(), values.iter().sum()),
            1e-3,
        );
    }
}

#[test]
fn far_terms_are_exactly_zero() {
    let (x, y) = (x(0, 1), y(1, 1));
    let gaussian = (-x.sqdist(&y)).exp();
    let far = |expr: &Expr| bounds_of(expr, (0.0, 1.0), (12.0, 13.0));
    assert_eq!(far(&gaussian), (0.0, 0.0));
    assert_eq!(far(&(gaussian.clone() * y.clone())), (0.0, 0.0));
    assert_eq!(far(&(gaussian.clone() * (x.clone() - 0.5))), (0.0, 0.0));
    assert_eq!(far(&(gaussian.clone() * 3.0 - gaussian.sqrt())), (0.0, 0.0));
    assert_eq!(far(&(gaussian.clone() / y.clone())), (0.0, 0.0));
    assert_eq!(far(&gaussian.tanh()), (0.0, 0.0));
    let matern = x.sqdist(&y).matern(1);
    assert_eq!(bounds_of(&matern, (0.0, 1.0), (200.0, 201.0)), (0.0, 0.0));
    let two = Expr::concat(vec![gaussian.clone(), gaussian.clone() * y.clone()]);
    assert_eq!(far(&two.inner_sum()), (0.0, 0.0));
    // For nearer points the value is not known to be 0.
    assert!(bounds_of(&gaussian, (0.0, 1.0), (11.0, 12.0)).1 > 0.0);
}

#[test]
fn what_does_not_round_has_exact_bounds() {
    let (x, y) = (x(0, 1), y(1, 1));
    let (row, column) = ((-2.0, 1.0), (0.5, 3.0));
    let of = |expr: &Expr| bounds_of(expr, row, column);
    assert_eq!(of(&x.abs()), (0.0, 2.0));
    assert_eq!(of(&-x.clone()), (-1.0, 2.0));
    assert_eq!(of(&x.relu()), (0.0, 1.0));
    assert_eq!(of(&x.step()), (0.0, 1.0));
    assert_eq!(of(&y.floor()), (0.0, 3.0));
    assert_eq!(of(&scalar(ScalarOp::Maximum, [&x, &y])), (0.5, 3.0));
    assert_eq!(of(&scalar(ScalarOp::Minimum, [&x, &y])), (-2.0, 1.0));
    let [low, high] = [-1.5, 0.25].map(Expr::constant);
    assert_eq!(
        of(&scalar(ScalarOp::Clamp, [&x, &low, &high])),
        (-1.5, 0.25)
    );
    let compare = |op, other: f64| of(&scalar(op, [&x, &Expr::constant(other)]));
    assert_eq!(compare(ScalarOp::Less, 1.5), (1.0, 1.0));
    assert_eq!(compare(ScalarOp::Less, 1.0), (0.0, 1.0));
    assert_eq!(compare(ScalarOp::LessEqual, 1.0), (1.0, 1.0));
    assert_eq!(compare(ScalarOp::Greater, 1.0), (0.0, 0.0));
    assert_eq!(compare(ScalarOp::GreaterEqual, 1.0), (0.0, 1.0));
    assert_eq!(compare(ScalarOp::Equal, 1.5), (0.0, 0.0));
    assert_eq!(compare(ScalarOp::NotEqual, 1.5), (1.0, 1.0));
    let vector = Expr::concat(vec![x.clone(), y.clone(), Expr::constant(2.0)]);
    let extreme = |extreme| of(&vector.inner_extremum(extreme));
    assert_eq!(extreme(Extreme::Minimum), (-2.0, 1.0));
    assert_eq!(extreme(Extreme::Maximum), (2.0, 3.0));
    assert_eq!(of(&vector.slice(1, 1)), (0.5, 3.0));
    let places = Expr::iota(2, 4).inner_extremum(Extreme::Maximum);
    assert_near(of(&(places * x.step())), (0.0, 5.0), 1e-6);
}

#[test]
fn what_rounds_has_tight_bounds() {
    let (x, y) = (x(0, 1), y(1, 1));
    let near = |expr: &Expr, want: (f64, f64)| {
        assert_near(bounds_of(expr, (-2.0, 1.0), (0.5, 3.0)), want, 2e-5);
    };
    near(&(x.clone() + y.clone()), (-1.5, 4.0));
    near(&(x.clone() - y.clone()), (-5.0, 0.5));
    near(&(x.clone() * y.clone()), (-6.0, 3.0));
    near(&(x.clone() * -3.0), (-3.0, 6.0));
    near(&(x.clone() / y.clone()), (-4.0, 2.0));
    near(&x.square(), (0.0, 4.0));
    near(&(x.clone() * x.clone()), (0.0, 4.0));
    near(&x.powi(3), (-8.0, 1.0));
    near(&y.powi(-2), (1.0 / 9.0, 4.0));
    near(&y.recip(), (1.0 / 3.0, 2.0));
    near(&y.sqrt(), (0.5f64.sqrt(), 3f64.sqrt()));
    near(&y.rsqrt(), (3f64.sqrt().recip(), 2f64.sqrt()));
    near(&y.log(), (0.5f64.ln(), 3f64.ln()));
    near(&x.exp(), ((-2f64).exp(), 1f64.exp()));
    near(
        &x.sigmoid(),
        (1.0 / (1.0 + 2f64.exp()), 1.0 / (1.0 + (-1f64).exp())),
    );
    near(&x.sin(), (-1.0, 1f64.sin()));
    near(&y.sin(), (3f64.sin(), 1.0));
    near(&y.cos(), (3f64.cos(), 0.5f64.cos()));
    near(&x.cos(), (2f64.cos(), 1.0));
    near(&x.atan(), ((-2f64).atan(), 1f64.atan()));
    near(&x.cosh(), (1.0, 2f64.cosh()));
    near(&y.powf(&x), (0.5f64.powi(1).min(1.0 / 9.0), 4.0));
    near(&y.matern(0), ((-3f64.sqrt()).exp(), (-0.5f64.sqrt()).exp()));
    let sinc = bounds_of(&y.spherical_bessel(0), (0.0, 0.0), (0.5, 3.0));
    assert_near(sinc, (3f64.sin() / 3.0, 0.5f64.sin() / 0.5), 5e-5);
    near(
        &y.erfc(),
        (2.209_049_699_858_544e-5, 0.479_500_122_186_953_5),
    );
    near(&scalar(ScalarOp::Hypot, [&x, &y]), (0.5, 13f64.sqrt()));
    near(
        &scalar(ScalarOp::Atan2, [&x, &y]),
        ((-4f64).atan(), 2f64.atan()),
    );
    near(
        &scalar(ScalarOp::Modulo, [&y, &Expr::constant(4.0)]),
        (0.5, 3.0),
    );
    let (low, high) = bounds_of(
        &scalar(ScalarOp::Modulo, [&y, &Expr::constant(2.0)]),
        (0.0, 0.0),
        (0.5, 3.0),
    );
    assert!(low > -1e-5 && high < 2.0 + 1e-5);
    // The reciprocal of a square that may be 0 is still positive.
    let inverse = 1.0 / x.sqdist(&y);
    assert_eq!(bounds_of(&inverse, (-2.0, 1.0), (0.5, 3.0)), (0.0, INF));
    assert_near(
        bounds_of(&inverse, (0.0, 1.0), (2.0, 3.0)),
        (1.0 / 9.0, 1.0),
        1e-5,
    );
}

/// Some implementations overflow before the value is infinite, so that a bound may be infinite
/// early, too.
#[test]
fn exponentials_may_overflow_early() {
    for (expr, most) in [
        (x(0, 1).exp(), 88.6),
        (x(0, 1).expm1(), 88.6),
        (x(0, 1).exp2(), 127.9),
    ] {
        let (low, high) = bounds_of(&expr, (most, most), (0.0, 0.0));
        assert!(low < 2e38 && high == INF, "{expr} from {low:e} to {high:e}");
    }
}

#[test]
fn blocks_decide_masks() {
    let score = x(0, 1) * y(1, 1);
    let offset = Expr::place(Place::Offset);
    let future = scalar(ScalarOp::Less, [&offset, &Expr::constant(0.0)]);
    let hidden = Expr::constant(-INF);
    let causal = scalar(ScalarOp::MaskWhere, [&score, &future, &hidden]);
    let boxes = two_boxes((vec![1.0], vec![2.0]), (vec![3.0], vec![5.0]));
    let of = |expr: &Expr, blocks| {
        let (low, high) = bounds_in(expr, Precision::F32, &boxes, blocks);
        (low[0], high[0])
    };
    let all = of(&score, [(0, 0); 2]);
    assert_near(all, (3.0, 10.0), 1e-6);
    assert_eq!(of(&causal, [(64, 127), (0, 64)]), all);
    assert_eq!(of(&causal, [(64, 127), (128, 191)]), (-INF, -INF));
    assert_eq!(of(&causal, [(64, 127), (64, 127)]), (-INF, all.1));
    let weight = (causal.clone() - 4.0).exp();
    assert_eq!(of(&weight, [(64, 127), (128, 191)]), (0.0, 0.0));
    // Bounds are known where an unknown value is hidden by the mask.
    let unknown = scalar(
        ScalarOp::MaskWhere,
        [&(-score.clone()).log(), &future, &hidden],
    );
    assert_eq!(of(&unknown, [(64, 127), (128, 191)]), (-INF, -INF));
    assert!(of(&unknown, [(64, 127), (0, 64)]).0.is_nan());
    // A band of pairs, as a choice between 0 and the score.
    let near = offset.abs() - 100.0;
    let band = scalar(ScalarOp::IfElse, [&near, &Expr::constant(0.0), &score]);
    assert_eq!(of(&band, [(0, 63), (164, 200)]), (0.0, 0.0));
    assert_eq!(of(&band, [(0, 63), (64, 99)]), all);
    assert_eq!(of(&band, [(0, 63), (64, 127)]), (0.0, all.1));
    let row = Expr::place(Place::Index(Axis::I));
    assert_eq!(of(&row, [(64, 127), (0, 63)]), (64.0, 127.0));
}

#[test]
fn bounds_that_say_nothing_are_known_to() {
    let (x, y) = (x(0, 3), y(1, 3));
    let is_top = |expr: &Expr| bounds(expr, Precision::F32).is_top();
    let product = x.clone() * y.clone();
    assert!(is_top(&product.spherical_bessel(1)));
    assert!(is_top(
        &(2.0 * product.spherical_bessel(2) + 1.0).inner_sum()
    ));
    assert!(is_top(&Expr::constant(3.0)));
    assert!(is_top(&Expr::var(leaf(3, None, 2)).exp()));
    assert!(!is_top(&x.sqdist(&y)));
    assert!(!is_top(&product.spherical_bessel(0)));
    assert!(!is_top(&product.powf(&x)));
    assert!(!is_top(&(product.spherical_bessel(1) + x)));
    let unknown = y.bounds(Precision::F32, |_| Interval::point(&Expr::constant(NAN)));
    assert!(unknown.is_top());
}

#[test]
fn infinities_that_may_meet_are_unknown() {
    let (x, y) = (x(0, 1), y(1, 1));
    let is_unknown = |expr: &Expr, row, column| {
        let (low, high) = bounds_of(expr, row, column);
        low.is_nan() && high.is_nan()
    };
    let sum = x.clone() + y.clone();
    assert!(is_unknown(&sum, (0.0, INF), (-INF, 0.0)));
    assert!(is_unknown(&(x.clone() - y.clone()), (0.0, INF), (0.0, INF)));
    assert!(!is_unknown(&sum, (0.0, INF), (0.0, INF)));
    let product = x.clone() * y.clone();
    assert!(is_unknown(&product, (-1.0, 1.0), (2.0, INF)));
    assert!(is_unknown(&product, (0.0, 1.0), (2.0, INF)));
    assert!(is_unknown(&product, (0.0, 0.0), (2.0, INF)));
    assert_eq!(bounds_of(&product, (1.0, 2.0), (2.0, INF)).1, INF);
    let strong = scalar(ScalarOp::StrongMul, [&x, &y]);
    assert_eq!(bounds_of(&strong, (0.0, 0.0), (2.0, INF)), (0.0, 0.0));
    let quotient = x.clone() / y.clone();
    assert!(is_unknown(&quotient, (1.0, INF), (1.0, INF)));
    assert!(is_unknown(&quotient, (0.0, 1.0), (-1.0, 1.0)));
    // Both sides are unknown even if only one end is outside of the domain.
    assert!(is_unknown(&x.sqrt(), (-1.0, 4.0), (0.0, 0.0)));
    assert!(is_unknown(&x.log(), (-1.0, 4.0), (0.0, 0.0)));
    assert!(is_unknown(&x.asin(), (0.0, 1.5), (0.0, 0.0)));
    assert!(is_unknown(&sum, (NAN, NAN), (0.0, 1.0)));
}

/// Bounds are evaluated once for thousands of pairs, so they may be longer than the formula, but
/// not without limit.
#[test]
fn bounds_have_few_nodes() {
    let nodes = |expr: &Expr| {
        let Interval { low, high } = bounds(expr, Precision::F32);
        Expr::concat(vec![low, high]).simplify().topological().len()
    };
    let distance = x(0, 3).sqdist(&y(1, 3));
    for op in ScalarOp::all() {
        let args = (0..op.arity() as u64).map(|id| x(id, 1));
        let expr = Expr::scalar(op, args.collect());
        assert!(nodes(&expr) <= 100, "{op} has {}", nodes(&expr));
    }
    assert!(nodes(&(-distance).exp()) <= 120);
}
