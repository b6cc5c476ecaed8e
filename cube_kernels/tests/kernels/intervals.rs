//! Tests that bounds enclose the computed values, and that they are not wider than necessary.
//!
//! Values and bounds are evaluated in three ways: in F64, with each node rounded to F32, and with an error in each
//! operation that [`contract`](crate::contract) allows, with products fused and sums in another order.

use std::{collections::HashMap, sync::OnceLock};

use burn_lazy_kernels::{
    Axis, Expr, Formula, Precision,
    catalogue::ScalarOp,
    expr::{Node, Place, Var},
    interval::{Interval, Leaf},
    reference,
};
use proptest::prelude::*;

use crate::{
    contract,
    random::{config, formula, recipe},
    support::{Rng, extremum, leaf, leaves},
};

pub const INF: f64 = f64::INFINITY;
pub const NAN: f64 = f64::NAN;

/// The arithmetic of an evaluation.
pub enum Arithmetic {
    /// In F64.
    Double,
    /// Each node is rounded to F32.
    Single,
    /// F32 of another implementation: with errors in units of the last place, and without rounding of fused products.
    Other(Rng),
}

/// The largest documented error of each operation in F32.
fn documented() -> &'static HashMap<ScalarOp, f64> {
    static ERRORS: OnceLock<HashMap<ScalarOp, f64>> = OnceLock::new();
    ERRORS.get_or_init(|| {
        let stored = contract::load();
        let most = |op: &ScalarOp| {
            let [cpu, _, shader] = stored[&op.to_string()].map(|error| error.unwrap_or(0.0));
            cpu.max(shader)
        };
        let errors = ScalarOp::all().into_iter().map(|op| (op, most(&op)));
        errors.collect()
    })
}

fn single(value: f64) -> f64 {
    f64::from(value as f32)
}

/// The value of `op` as another implementation in F32 computes it: with a random error up to the documented one, and 0
/// for subnormal values.
fn elsewhere(rng: &mut Rng, op: ScalarOp, args: &[f64], value: f64) -> f64 {
    let unit = f64::from(f32::EPSILON);
    let normal = |value: f64| match value.abs() < f64::from(f32::MIN_POSITIVE) {
        true => 0.0 * value,
        false => single(value),
    };
    let value = match op {
        // A product that is fused with a sum is not rounded.
        ScalarOp::Mul | ScalarOp::Square if rng.below(2) == 0 => return value,
        ScalarOp::Div if rng.below(2) == 0 => args[0] * normal(1.0 / args[1]),
        ScalarOp::Exp if args[0] > 88.5 => INF,
        ScalarOp::Exp => (args[0] * (1.0 + 0.5 * unit * rng.uniform(-1.0, 1.0))).exp(),
        _ => value,
    };
    let size = match op {
        ScalarOp::Modulo => args[0].abs().max(args[1].abs()),
        // The sine of a small angle is about the angle, so the error is relative to that.
        ScalarOp::Sin => value.abs().max(args[0].abs().min(1.0)),
        ScalarOp::Tan => value.abs().max(value * value).max(args[0].abs().min(1.0)),
        _ => value.abs().max(op.domain().scale),
    };
    let documented = documented().get(&op).copied().unwrap_or(0.0);
    if documented == 0.0 || !value.is_finite() || value == 0.0 {
        return single(value);
    }
    // Half a unit is the rounding itself.
    let off = (documented - 0.5).max(0.0) * unit * size * rng.uniform(-1.0, 1.0);
    normal(value + off)
}

impl Arithmetic {
    pub fn other(seed: u64) -> Self {
        Self::Other(Rng::new(seed))
    }

    /// The value of an operation.
    fn apply(&mut self, op: ScalarOp, args: &[f64]) -> f64 {
        let value = op.host(args);
        match self {
            Self::Double => value,
            Self::Single => single(value),
            Self::Other(rng) => elsewhere(rng, op, args, value),
        }
    }

    /// A sum from the first term on, or from the last one on.
    fn sum(&mut self, terms: &[f64]) -> f64 {
        match self {
            Self::Double => terms.iter().sum(),
            Self::Single => terms.iter().fold(0.0, |sum, term| single(sum + term)),
            Self::Other(..) => terms.iter().rev().fold(0.0, |sum, term| single(sum + term)),
        }
    }

    fn constant(&self, value: f64) -> f64 {
        match self {
            Self::Double => value,
            _ => single(value),
        }
    }

    /// The components of `expr`.
    pub fn evaluate(
        &mut self,
        expr: &Expr,
        leaf: &dyn Fn(&Var) -> Vec<f64>,
        (i, j): (usize, usize),
    ) -> Vec<f64> {
        let mut values: HashMap<u128, Vec<f64>> = HashMap::new();
        for expr in expr.topological() {
            let get = |arg: &Expr| &values[&arg.digest()];
            let value = match expr.node() {
                Node::Var(var) => leaf(var),
                Node::Place(Place::Index(Axis::I)) => vec![i as f64],
                Node::Place(Place::Index(Axis::J)) => vec![j as f64],
                Node::Place(Place::Offset) => vec![i as f64 - j as f64],
                Node::Const(value) => vec![self.constant(*value)],
                Node::Iota(start, len) => (*start..start + len).map(|k| k as f64).collect(),
                Node::Scalar(op, args) => {
                    let args: Vec<&Vec<f64>> = args.iter().map(get).collect();
                    let mut component = |k: usize| {
                        let mut all = [0.0; 3];
                        for (arg, all) in args.iter().zip(&mut all) {
                            *all = arg[if arg.len() == 1 { 0 } else { k }];
                        }
                        self.apply(*op, &all[..args.len()])
                    };
                    (0..expr.dim()).map(&mut component).collect()
                }
                Node::InnerSum(arg) => vec![self.sum(get(arg))],
                Node::InnerExtremum(extreme, arg) => vec![extremum(extreme.op(), get(arg))],
                Node::Slice(arg, start, len) => get(arg)[*start..start + len].to_vec(),
                Node::Concat(parts) => parts.iter().flat_map(|part| get(part).clone()).collect(),
                Node::Expand(arg, dim) => vec![get(arg)[0]; *dim],
            };
            values.insert(expr.digest(), value);
        }
        values.remove(&expr.digest()).expect("evaluated last")
    }
}

/// Ids of the operands for sides of boxes begin here. No other operand has such an id.
pub const SIDES: u64 = 1 << 40;

/// The operand that holds the least values of `var`, or the largest ones.
pub fn side(var: &Var, high: bool) -> Var {
    Var {
        id: SIDES + 2 * var.id + u64::from(high),
        scalar: false,
        ..*var
    }
}

/// The operand that holds the first or last index of the rows or columns of a block.
fn index(axis: Axis, last: bool) -> Expr {
    let id = 2 * SIDES + 2 * axis as u64 + u64::from(last);
    Expr::var(leaf(id, Some(axis), 1))
}

/// Bounds of `expr` as expressions over the operands of sides.
pub fn bounds(expr: &Expr, precision: Precision) -> Interval {
    expr.bounds(precision, |leaf| match leaf {
        Leaf::Var(var) => Interval::new(Expr::var(side(&var, false)), Expr::var(side(&var, true))),
        Leaf::Place(Place::Index(axis)) => Interval::new(index(axis, false), index(axis, true)),
        Leaf::Place(Place::Offset) => Interval::new(
            index(Axis::I, false) - index(Axis::J, true),
            index(Axis::I, true) - index(Axis::J, false),
        ),
    })
}

/// The lower and upper ends of the components of an operand.
pub type Ends = (Vec<f64>, Vec<f64>);

/// Bounds of `expr` for boxes of its operands and for blocks of rows and columns, evaluated in F64 by the reference.
pub fn bounds_in(
    expr: &Expr,
    precision: Precision,
    boxes: &HashMap<Var, Ends>,
    [rows, columns]: [(usize, usize); 2],
) -> Ends {
    let Interval { low, high } = bounds(expr, precision);
    assert_eq!([low.dim(), high.dim()], [expr.dim(); 2]);
    let mut known: HashMap<Var, Vec<f64>> = HashMap::new();
    for (var, (low, high)) in boxes {
        known.insert(side(var, false), low.clone());
        known.insert(side(var, true), high.clone());
    }
    for (axis, (first, last)) in [(Axis::I, rows), (Axis::J, columns)] {
        for (at, value) in [(false, first), (true, last)] {
            let Node::Var(var) = *index(axis, at).node() else {
                unreachable!("it is an operand");
            };
            known.insert(var, vec![value as f64]);
        }
    }
    let evaluate = |side: &Expr| {
        let (formula, leaves) = Formula::new(side);
        let operands: Vec<&[f64]> = leaves.iter().map(|var| known[var].as_slice()).collect();
        reference::evaluate(&formula, &operands, (0, 0))
    };
    (evaluate(&low), evaluate(&high))
}

/// Whether a value is within its bounds. Unknown bounds (NaN) enclose every value.
pub fn encloses(low: f64, high: f64, value: f64) -> bool {
    match (low.is_nan(), high.is_nan()) {
        (true, true) => true,
        (false, false) => low <= value && value <= high,
        _ => false,
    }
}

/// A random interval with ends in F32: around zero, on one side of it, a point, infinite, unknown, tiny or huge.
pub fn random_interval(rng: &mut Rng) -> (f64, f64) {
    let sign = |rng: &mut Rng| if rng.below(2) == 0 { 1.0 } else { -1.0 };
    let middle = match rng.below(7) {
        6 => sign(rng) * 10f64.powf(sign(rng) * rng.uniform(36.0, 38.5)),
        0 => rng.uniform(-1.0, 1.0),
        1 => rng.uniform(-3.0, 3.0),
        2 => rng.uniform(-100.0, 100.0),
        3 => rng.below(7) as f64 - 3.0,
        4 => sign(rng) * 10f64.powf(rng.uniform(-44.0, 38.0)),
        _ => sign(rng) * 10f64.powf(rng.uniform(-8.0, 8.0)),
    };
    let width = match rng.below(6) {
        0 => 0.0,
        1 => 10f64.powf(rng.uniform(-7.0, 0.0)),
        2 => middle.abs() * 10f64.powf(rng.uniform(-7.0, 2.0)),
        3 => rng.uniform(0.0, 4.0),
        4 => rng.uniform(0.0, 300.0),
        _ => 1.0,
    };
    let (low, high) = (single(middle), single(middle + width));
    let zero = 0.0 * sign(rng);
    match rng.below(16) {
        0 => (zero, high.abs()),
        1 => (-high.abs(), zero),
        2 => (zero, zero),
        3 => (low, INF),
        4 => (-INF, high),
        5 if rng.below(4) == 0 => (-INF, INF),
        5 if rng.below(3) == 0 => (INF, INF),
        5 if rng.below(2) == 0 => (-INF, -INF),
        5 | 6 => (NAN, NAN),
        7 | 8 => (low.abs(), low.abs().max(high)),
        9 => (-1.0, single(-1.0 + width.min(2.0))),
        _ => (low, high),
    }
}

/// A random number in an interval. Any number if the interval is unknown.
pub fn random_point(rng: &mut Rng, (low, high): (f64, f64)) -> f64 {
    if low.is_nan() {
        let any = [NAN, 0.0, -0.0, 1.0, -1.0, INF, -INF, 0.3, -1e30, 1e-30];
        return any[rng.below(any.len())];
    }
    let most = f64::from(f32::MAX);
    let [least, largest] = [low, high].map(|end| end.clamp(-most, most));
    let inside = match rng.below(8) {
        0 | 1 => low,
        2 | 3 => high,
        4 => 0.0,
        5 => -0.0,
        6 => single(least + (largest - least) * 10f64.powf(rng.uniform(-9.0, 0.0))),
        _ => single(least + (largest - least) * rng.uniform(0.0, 1.0)),
    };
    match inside < low || inside > high {
        true => low,
        false => inside,
    }
}

/// Compares the bounds of `op` over random intervals with values at points in these intervals, in each arithmetic.
fn check_operation(op: ScalarOp, seed: u64) -> Result<(), String> {
    const INTERVALS: usize = 1500;
    const POINTS: usize = 16;

    let mut rng = Rng::new(seed);
    let vars: Vec<Var> = (0..op.arity() as u64)
        .map(|id| leaf(id, Some(Axis::I), INTERVALS))
        .collect();
    let boxes: Vec<Vec<(f64, f64)>> = vars
        .iter()
        .map(|_| (0..INTERVALS).map(|_| random_interval(&mut rng)).collect())
        .collect();
    let args = vars.iter().map(|var| Expr::var(*var)).collect();
    let expr = Expr::scalar(op, args);
    let known = |var: &Var| {
        let at = (var.id - SIDES) as usize;
        let ends = boxes[at / 2].iter();
        ends.map(|(low, high)| if at.is_multiple_of(2) { *low } else { *high })
            .collect::<Vec<f64>>()
    };
    let evaluate = |precision: Precision, arithmetic: &mut Arithmetic| -> Ends {
        let Interval { low, high } = bounds(&expr, precision);
        // Evaluates both sides at once, as programs do, so that shared nodes have the same errors.
        let both = Expr::concat(vec![low, high]).simplify();
        let mut low = arithmetic.evaluate(&both, &known, (0, 0));
        let high = low.split_off(expr.dim());
        (low, high)
    };
    let split = vars
        .iter()
        .zip(&boxes)
        .map(|(var, ends)| (*var, ends.iter().copied().unzip()));
    let by_reference = bounds_in(&expr, Precision::F32, &split.collect(), [(0, 0); 2]);
    let infinite_beyond = |side: Vec<f64>| {
        let most = f64::from(f32::MAX);
        let end = |end: f64| if end.abs() > most { end * INF } else { end };
        side.into_iter().map(end).collect()
    };
    let single_bounds = [
        (
            infinite_beyond(by_reference.0),
            infinite_beyond(by_reference.1),
        ),
        evaluate(Precision::F32, &mut Arithmetic::Single),
        evaluate(Precision::F32, &mut Arithmetic::other(seed + 1)),
    ];
    let double_bounds = evaluate(Precision::F64, &mut Arithmetic::Double);
    let mut other = Arithmetic::other(seed + 2);
    for k in 0..INTERVALS {
        for _ in 0..POINTS {
            let point: Vec<f64> = boxes
                .iter()
                .map(|intervals| random_point(&mut rng, intervals[k]))
                .collect();
            let double = op.host(&point);
            let check = |what: &str, (low, high): &Ends, value: f64| {
                if encloses(low[k], high[k], value) {
                    return Ok(());
                }
                let (low, high) = (low[k], high[k]);
                let own: Vec<(f64, f64)> = boxes.iter().map(|intervals| intervals[k]).collect();
                Err(format!(
                    "{what}: {op} at {point:?} in {own:?} is {value:e}, not from {low:e} to {high:e}"
                ))
            };
            check("in F64", &double_bounds, double)?;
            for bounds in &single_bounds {
                // Beyond the range of F32 the value is 0 or infinite.
                let range = 1e-45..=f64::from(f32::MAX);
                if range.contains(&double.abs()) || !double.is_finite() {
                    check("exactly", bounds, double)?;
                }
                check("in F32", bounds, single(double))?;
                check("elsewhere", bounds, other.apply(op, &point))?;
            }
        }
    }
    Ok(())
}

#[test]
fn every_operation_stays_within_its_bounds() {
    assert_each_operation(check_operation);
}

/// Asserts that `check` succeeds for each operation. It gets a different seed for each.
#[track_caller]
pub fn assert_each_operation(check: impl Fn(ScalarOp, u64) -> Result<(), String>) {
    let check = |(seed, op): (usize, ScalarOp)| check(op, 10 * seed as u64).err();
    let wrong: Vec<String> = ScalarOp::all()
        .into_iter()
        .enumerate()
        .filter_map(check)
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Random boxes of all operands of `expr`. Some are points.
pub fn random_boxes(expr: &Expr, rng: &mut Rng) -> HashMap<Var, Ends> {
    let width = [0.0, 1e-6, 1e-3, 0.1, 1.0][rng.below(5)];
    let wild = rng.below(4) == 0;
    let ends = |rng: &mut Rng| {
        if wild && rng.below(4) == 0 {
            return random_interval(rng);
        }
        let middle = crate::random::values(rng);
        let (low, high) = (middle - width * rng.uniform(0.0, 1.0), middle + width);
        (single(low), single(high))
    };
    let boxes = |var: Var| (var, (0..var.dim).map(|_| ends(rng)).unzip());
    leaves(expr).into_iter().map(boxes).collect()
}

/// Random points in the boxes.
pub fn random_points(boxes: &HashMap<Var, Ends>, rng: &mut Rng) -> HashMap<Var, Vec<f64>> {
    let mut vars: Vec<&Var> = boxes.keys().collect();
    vars.sort_by_key(|var| (var.id, var.dim));
    let mut point = |var: &Var| {
        let (low, high) = &boxes[var];
        let ends = low.iter().zip(high);
        let values = ends.map(|(low, high)| random_point(rng, (*low, *high)));
        (*var, values.collect())
    };
    vars.into_iter().map(&mut point).collect()
}

/// Checks that values are within their bounds. Returns the number of components with bounds on both sides, and the
/// number of all components.
fn check_formula(expr: &Expr, seed: u64) -> (usize, usize) {
    let mut rng = Rng::new(seed);
    let boxes = random_boxes(expr, &mut rng);
    let sides = |var: &Var| {
        let own = Var {
            id: (var.id - SIDES) / 2,
            ..*var
        };
        let found = boxes.iter().find(|(other, _)| {
            other.id == own.id && other.axes == own.axes && other.dim == own.dim
        });
        let (low, high) = found.expect("it is the side of an operand").1;
        if var.id.is_multiple_of(2) {
            low.clone()
        } else {
            high.clone()
        }
    };
    let evaluate = |precision: Precision, arithmetic: &mut Arithmetic| -> Ends {
        let Interval { low, high } = bounds(expr, precision);
        // Evaluates both sides at once, as programs do, so that shared nodes have the same errors.
        let both = Expr::concat(vec![low, high]).simplify();
        let mut low = arithmetic.evaluate(&both, &sides, (0, 0));
        let high = low.split_off(expr.dim());
        (low, high)
    };
    let check = |what: &str, (low, high): &Ends, values: &[f64]| {
        for ((low, high), value) in low.iter().zip(high).zip(values) {
            assert!(
                encloses(*low, *high, *value),
                "{what}: {value:e} is not from {low:e} to {high:e}: {expr}"
            );
        }
    };
    let double = evaluate(Precision::F64, &mut Arithmetic::Double);
    let single = [
        evaluate(Precision::F32, &mut Arithmetic::Single),
        evaluate(Precision::F32, &mut Arithmetic::other(seed + 1)),
    ];
    let mut other = Arithmetic::other(seed + 2);
    for _ in 0..6 {
        let point = random_points(&boxes, &mut rng);
        let at = |var: &Var| point[var].clone();
        check(
            "in F64",
            &double,
            &Arithmetic::Double.evaluate(expr, &at, (0, 0)),
        );
        let values = [
            Arithmetic::Single.evaluate(expr, &at, (0, 0)),
            other.evaluate(expr, &at, (0, 0)),
        ];
        for bounds in &single {
            check("in F32", bounds, &values[0]);
            check("elsewhere", bounds, &values[1]);
        }
    }
    let known = single[0].0.iter().zip(&single[0].1);
    let known = known.filter(|(low, high)| low.is_finite() && high.is_finite());
    (known.count(), expr.dim())
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn random_formulas_stay_within_their_bounds(recipe in recipe()) {
        let expr = formula(&recipe);
        check_formula(&expr, recipe.len() as u64);
    }
}

#[test]
fn bounds_of_most_random_formulas_say_something() {
    let mut rng = Rng::new(8);
    let (mut known, mut all) = (0, 0);
    for seed in 0..150 {
        let bytes: Vec<u8> = (0..40).map(|_| rng.bits() as u8).collect();
        let (own, dim) = check_formula(&formula(&bytes), seed);
        known += own;
        all += dim;
    }
    assert!(
        known * 2 > all,
        "{known} of {all} components have finite bounds"
    );
}
