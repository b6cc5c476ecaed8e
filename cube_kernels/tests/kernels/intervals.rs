//! Bounds enclose what is computed, and are no wider than they have to be.
//!
//! Values and bounds are evaluated in three ways: in F64, with each node rounded to F32, and with each operation off by
//! what [`contract`](crate::contract) allows it, products fused and sums in another order.

use std::{collections::HashMap, sync::OnceLock};

use burn_lazy_kernels::{
    Axis, Expr, Formula, Precision, Program, ReductionKind, Wanted,
    catalogue::ScalarOp,
    expr::{Extreme, Node, Place, Var},
    host::{HostLaunch, HostProgram, HostSlice, HostTensor, HostValues, Instructions},
    interval::{Interval, Leaf},
    reference,
};
use proptest::prelude::*;

use crate::{
    contract,
    random::{config, formula, recipe},
    support::{Rng, leaf, leaves, x, y},
};

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

/// How numbers are computed.
enum Arithmetic {
    /// In F64.
    Double,
    /// Each node is rounded to F32.
    Single,
    /// In F32, by another implementation: with errors in units of the last place, and with what is fused not rounded.
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

/// The value of `op` as another implementation in F32 has it: off by as much as is documented, and 0 where it is less than
/// any normal number.
fn elsewhere(rng: &mut Rng, op: ScalarOp, args: &[f64], value: f64) -> f64 {
    let unit = f64::from(f32::EPSILON);
    let normal = |value: f64| match value.abs() < f64::from(f32::MIN_POSITIVE) {
        true => 0.0 * value,
        false => single(value),
    };
    let value = match op {
        // Fused with a sum it is not rounded.
        ScalarOp::Mul | ScalarOp::Square if rng.below(2) == 0 => return value,
        ScalarOp::Div if rng.below(2) == 0 => args[0] * normal(1.0 / args[1]),
        ScalarOp::Exp if args[0] > 88.5 => INF,
        ScalarOp::Exp => (args[0] * (1.0 + 0.5 * unit * rng.uniform(-1.0, 1.0))).exp(),
        _ => value,
    };
    let size = match op {
        ScalarOp::Modulo => args[0].abs().max(args[1].abs()),
        // Small angles are their own sines.
        ScalarOp::Sin => value.abs().max(args[0].abs().min(1.0)),
        ScalarOp::Tan => value.abs().max(value * value).max(args[0].abs().min(1.0)),
        _ => value.abs().max(op.domain().scale),
    };
    let documented = documented().get(&op).copied().unwrap_or(0.0);
    if documented == 0.0 || !value.is_finite() || value == 0.0 {
        return single(value);
    }
    // A half is the rounding itself.
    let off = (documented - 0.5).max(0.0) * unit * size * rng.uniform(-1.0, 1.0);
    normal(value + off)
}

impl Arithmetic {
    fn other(seed: u64) -> Self {
        Self::Other(Rng::new(seed))
    }

    /// What an operation gives.
    fn apply(&mut self, op: ScalarOp, args: &[f64]) -> f64 {
        let value = op.host(args);
        match self {
            Self::Double => value,
            Self::Single => single(value),
            Self::Other(rng) => elsewhere(rng, op, args, value),
        }
    }

    /// A sum, from one end or the other.
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
    fn evaluate(
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
                Node::InnerExtremum(extreme, arg) => {
                    let better = |a: f64, b: &f64| extreme.op().host(&[a, *b]);
                    let values = get(arg);
                    vec![values.iter().fold(values[0], better)]
                }
                Node::Slice(arg, start, len) => get(arg)[*start..start + len].to_vec(),
                Node::Concat(parts) => parts.iter().flat_map(|part| get(part).clone()).collect(),
                Node::Expand(arg, dim) => vec![get(arg)[0]; *dim],
            };
            values.insert(expr.digest(), value);
        }
        values.remove(&expr.digest()).expect("evaluated last")
    }
}

/// Where no operand has its sides.
const SIDES: u64 = 1 << 40;

/// The operand of the least values of another, or of the largest.
fn side(var: &Var, high: bool) -> Var {
    Var {
        id: SIDES + 2 * var.id + u64::from(high),
        scalar: false,
        ..*var
    }
}

/// The operands of the first and last index of the rows or columns of a block.
fn index(axis: Axis, last: bool) -> Expr {
    let id = 2 * SIDES + 2 * axis as u64 + u64::from(last);
    Expr::var(leaf(id, Some(axis), 1))
}

/// Bounds over operands that are sides.
fn bounds(expr: &Expr, precision: Precision) -> Interval {
    expr.bounds(precision, |leaf| match leaf {
        Leaf::Var(var) => Interval::new(Expr::var(side(&var, false)), Expr::var(side(&var, true))),
        Leaf::Place(Place::Index(axis)) => Interval::new(index(axis, false), index(axis, true)),
        Leaf::Place(Place::Offset) => Interval::new(
            index(Axis::I, false) - index(Axis::J, true),
            index(Axis::I, true) - index(Axis::J, false),
        ),
    })
}

/// Values between two ends, component by component.
type Ends = (Vec<f64>, Vec<f64>);

/// Bounds of `expr` in F64, for boxes of its operands and blocks of places, by the reference.
fn bounds_in(
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

/// Whether a value is where its bounds say.
fn encloses(low: f64, high: f64, value: f64) -> bool {
    match (low.is_nan(), high.is_nan()) {
        (true, true) => true,
        (false, false) => low <= value && value <= high,
        _ => false,
    }
}

/// An interval of one number that F32 has: around zero, on one side, a point, infinite, unknown, tiny or huge.
fn random_interval(rng: &mut Rng) -> (f64, f64) {
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

/// A number of an interval, or any where nothing is known.
fn random_point(rng: &mut Rng, (low, high): (f64, f64)) -> f64 {
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

/// Compares the bounds of `op` over random intervals in each arithmetic with values at points of these.
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
        // Both sides at once, as programs do, with the same errors in what they share.
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
                // Beyond the range of F32 it is 0 or infinite.
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
    let check = |(seed, op): (usize, ScalarOp)| check_operation(op, 10 * seed as u64).err();
    let wrong: Vec<String> = ScalarOp::all()
        .into_iter()
        .enumerate()
        .filter_map(check)
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Boxes of all operands of `expr`, some of them points.
fn random_boxes(expr: &Expr, rng: &mut Rng) -> HashMap<Var, Ends> {
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

/// Points of boxes.
fn random_points(boxes: &HashMap<Var, Ends>, rng: &mut Rng) -> HashMap<Var, Vec<f64>> {
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

/// How many components have bounds on both sides, of all, where values are within theirs.
fn check_formula(expr: &Expr, seed: u64) -> (usize, usize) {
    let mut rng = Rng::new(seed);
    let boxes = random_boxes(expr, &mut rng);
    let sides = |var: &Var| {
        let own = Var {
            id: (var.id - SIDES) / 2,
            ..*var
        };
        let found = boxes.iter().find(|(other, _)| {
            other.id == own.id && other.axis == own.axis && other.dim == own.dim
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
        // Both sides at once, as programs do, with the same errors in what they share.
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

/// Reductions of formulas of one block on the host engine.
struct OnHost {
    program: HostProgram,
    leaves: Vec<Var>,
}

impl OnHost {
    fn new(expr: &Expr) -> Self {
        let (formula, leaves) = Formula::new(expr);
        let program = HostProgram::new(&Program::lower(&formula, Axis::J));
        Self { program, leaves }
    }

    /// The reduction of so many rows and columns in F32, given the components of all rows of each operand.
    fn run(
        &self,
        kind: ReductionKind,
        (rows, columns): (usize, usize),
        instructions: Instructions,
        known: &dyn Fn(&Var) -> Vec<f64>,
    ) -> Vec<f64> {
        let (scalars, tensors): (Vec<&Var>, Vec<&Var>) =
            self.leaves.iter().partition(|var| var.scalar);
        let scalars: Vec<f64> = scalars.into_iter().map(|var| known(var)[0]).collect();
        let data: Vec<Vec<f32>> = tensors
            .iter()
            .map(|var| known(var).iter().map(|value| *value as f32).collect())
            .collect();
        let shape = |var: &&Var| match var.axis {
            Some(Axis::I) => vec![rows, var.dim],
            Some(Axis::J) => vec![columns, var.dim],
            None => vec![var.dim],
        };
        let shapes: Vec<Vec<usize>> = tensors.iter().map(shape).collect();
        let stride = |shape: &Vec<usize>| match shape[..] {
            [_, dim] => vec![dim as isize, 1],
            _ => vec![1],
        };
        let strides: Vec<Vec<isize>> = shapes.iter().map(stride).collect();
        let tensors: Vec<HostTensor> = (0..data.len())
            .map(|k| HostTensor {
                data: HostSlice::F32(&data[k]),
                shape: &shapes[k],
                strides: &strides[k],
                start: 0,
            })
            .collect();
        let launch = HostLaunch {
            program: &self.program,
            reduction: kind,
            batch_shape: &[],
            rows,
            columns,
            fold: None,
            ranges: None,
            precision: Precision::F32,
            values: Precision::F32,
            instructions,
        };
        let output = launch.run(&tensors, &scalars, Wanted::VALUES);
        match output.expect("the operands fit").values {
            Some(HostValues::F32(values)) => values.into_iter().map(f64::from).collect(),
            other => panic!("values of another type: {other:?}"),
        }
    }
}

/// Bounds as a program.
fn bounds_on_host(expr: &Expr) -> OnHost {
    let Interval { low, high } = bounds(expr, Precision::F32);
    OnHost::new(&Expr::concat(vec![low, high]))
}

/// Compares values of `op` on the host engine with bounds that other instructions compute. The first and third argument
/// belong to rows, the second one to a column, whose reciprocal quotients may take.
fn check_operation_on_host(op: ScalarOp, seed: u64) -> Result<(), String> {
    const ROWS: usize = 60;
    const POINTS: usize = 6;
    const COLUMNS: usize = 25;

    let mut rng = Rng::new(seed);
    let axis = |k: usize| if k == 1 { Axis::J } else { Axis::I };
    let args = (0..op.arity()).map(|k| Expr::var(leaf(k as u64, Some(axis(k)), 1)));
    let expr = Expr::scalar(op, args.collect());
    let (values, bounds) = (OnHost::new(&expr), bounds_on_host(&expr));
    let all = Instructions::all();
    for turn in 0..COLUMNS {
        let mut intervals = |k: usize| -> Vec<(f64, f64)> {
            let rows = if k == 1 { 1 } else { ROWS };
            (0..rows).map(|_| random_interval(&mut rng)).collect()
        };
        let boxes: Vec<Vec<(f64, f64)>> = (0..op.arity()).map(&mut intervals).collect();
        let points: Vec<Vec<f64>> = boxes
            .iter()
            .map(|intervals| {
                let each = if intervals.len() == 1 { 1 } else { POINTS };
                let mut point = |k: usize| random_point(&mut rng, intervals[k / each]);
                (0..intervals.len() * each).map(&mut point).collect()
            })
            .collect();
        let ends = |var: &Var| -> Vec<f64> {
            let at = (var.id - SIDES) as usize;
            let ends = boxes[at / 2].iter();
            ends.map(|(low, high)| if at.is_multiple_of(2) { *low } else { *high })
                .collect()
        };
        let at = |var: &Var| points[var.id as usize].clone();
        let kind = ReductionKind::Maximum;
        let ends = bounds.run(kind, (ROWS, 1), all[turn % all.len()], &ends);
        let own = all[turn / all.len() % all.len()];
        let values = values.run(kind, (ROWS * POINTS, 1), own, &at);
        for (k, value) in values.iter().enumerate() {
            let (low, high) = (ends[k / POINTS * 2], ends[k / POINTS * 2 + 1]);
            if !encloses(low, high, *value) {
                let of = |values: &Vec<f64>| values[if values.len() == 1 { 0 } else { k }];
                let point: Vec<f64> = points.iter().map(of).collect();
                return Err(format!(
                    "{op} at {point:?} is {value:e}, not from {low:e} to {high:e}"
                ));
            }
        }
    }
    Ok(())
}

#[test]
fn operations_on_the_host_engine_stay_within_their_bounds() {
    let check = |(seed, op): (usize, ScalarOp)| check_operation_on_host(op, 10 * seed as u64).err();
    let wrong: Vec<String> = ScalarOp::all()
        .into_iter()
        .enumerate()
        .filter_map(check)
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Compares the smallest and largest values of the pairs of a block on the host engine with their bounds.
fn check_formula_on_host(expr: &Expr, seed: u64) {
    const ROWS: usize = 4;
    const COLUMNS: usize = 5;

    let mut rng = Rng::new(seed);
    let middle = random_boxes(expr, &mut rng);
    let rows = |var: &Var| match var.axis {
        Some(Axis::I) => ROWS,
        Some(Axis::J) => COLUMNS,
        None => 1,
    };
    let mut points: HashMap<Var, Vec<f64>> = HashMap::new();
    for var in leaves(expr) {
        let all = (0..rows(&var)).map(|_| random_points(&middle, &mut rng)[&var].clone());
        points.insert(var, all.collect::<Vec<_>>().concat());
    }
    let ends = |var: &Var| -> Vec<f64> {
        let of = |own: &&Var| side(own, var.id % 2 == 1) == *var;
        let own = points
            .keys()
            .find(of)
            .expect("it is the side of an operand");
        let extreme = if var.id % 2 == 1 {
            ScalarOp::Maximum
        } else {
            ScalarOp::Minimum
        };
        let all: Vec<&[f64]> = points[own].chunks(var.dim).collect();
        let component = |k: usize| {
            let values = all.iter().map(|row| row[k]);
            values
                .reduce(|a, b| extreme.host(&[a, b]))
                .expect("there are rows")
        };
        (0..var.dim).map(component).collect()
    };
    let at = |var: &Var| points[var].clone();
    let all = Instructions::all();
    let [first, second] = [0, 1].map(|_| all[rng.below(all.len())]);
    let bounds = bounds_on_host(expr).run(ReductionKind::Maximum, (1, 1), first, &ends);
    let values = OnHost::new(expr);
    for kind in [ReductionKind::Minimum, ReductionKind::Maximum] {
        let values = values.run(kind, (ROWS, COLUMNS), second, &at);
        for (k, value) in values.iter().enumerate() {
            let k = k % expr.dim();
            let (low, high) = (bounds[k], bounds[k + expr.dim()]);
            assert!(
                encloses(low, high, *value),
                "{kind:?} {value:e} is not from {low:e} to {high:e}: {expr}"
            );
        }
    }
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn random_formulas_on_the_host_engine_stay_within_their_bounds(recipe in recipe()) {
        check_formula_on_host(&formula(&recipe), recipe.len() as u64);
    }
}

/// The sides of the box of a row and of that of a column.
fn two_boxes(row: Ends, column: Ends) -> HashMap<Var, Ends> {
    let dim = row.0.len();
    let vars = [leaf(0, Some(Axis::I), dim), leaf(1, Some(Axis::J), dim)];
    vars.into_iter().zip([row, column]).collect()
}

/// Bounds of a formula of `x(0, 1)` and `y(1, 1)`, by the reference.
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
            // Some are wide, so that other components must not pay for them.
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
                // What may be 0.
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
    // A little nearer they are not known to be.
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
    // The reciprocal of a square that may be 0 is positive all the same.
    let inverse = 1.0 / x.sqdist(&y);
    assert_eq!(bounds_of(&inverse, (-2.0, 1.0), (0.5, 3.0)), (0.0, INF));
    assert_near(
        bounds_of(&inverse, (0.0, 1.0), (2.0, 3.0)),
        (1.0 / 9.0, 1.0),
        1e-5,
    );
}

/// Some implementations do before the value is infinite, and so a bound may be, too.
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
    // What is hidden may be unknown.
    let unknown = scalar(
        ScalarOp::MaskWhere,
        [&(-score.clone()).log(), &future, &hidden],
    );
    assert_eq!(of(&unknown, [(64, 127), (128, 191)]), (-INF, -INF));
    assert!(of(&unknown, [(64, 127), (0, 64)]).0.is_nan());
    // A band, and the same as a choice.
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
    // Both sides, though only one end is outside.
    assert!(is_unknown(&x.sqrt(), (-1.0, 4.0), (0.0, 0.0)));
    assert!(is_unknown(&x.log(), (-1.0, 4.0), (0.0, 0.0)));
    assert!(is_unknown(&x.asin(), (0.0, 1.5), (0.0, 0.0)));
    assert!(is_unknown(&sum, (NAN, NAN), (0.0, 1.0)));
}

/// Bounds are evaluated once for thousands of pairs, so that they may be longer, but not without end.
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
