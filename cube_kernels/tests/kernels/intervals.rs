//! Bounds enclose what is computed, and are no wider than they have to be.
//!
//! Values and bounds are evaluated in three ways: in F64, with each node rounded to F32, and with each operation off by
//! what [`contract`](crate::contract) allows it, products fused and sums in another order.

use std::{collections::HashMap, sync::OnceLock};

use burn_lazy_kernels::{
    Axis, Expr, Formula, Precision, Program, ReductionKind, Wanted,
    catalogue::ScalarOp,
    expr::{Node, Place, Var},
    host::{HostLaunch, HostProgram, HostSlice, HostTensor, HostValues, Instructions},
    interval::{Interval, Leaf},
    reference,
};
use proptest::prelude::*;

use crate::{
    contract,
    random::{config, formula, recipe},
    support::{Rng, leaf, leaves},
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
            Self::Other(rng) => {
                if matches!(op, ScalarOp::Mul | ScalarOp::Square) && rng.below(2) == 0 {
                    return value;
                }
                let size = match op {
                    ScalarOp::Modulo => args[0].abs().max(args[1].abs()),
                    // Small angles are their own sines.
                    ScalarOp::Sin => value.abs().max(args[0].abs().min(1.0)),
                    ScalarOp::Tan => value.abs().max(value * value).max(args[0].abs().min(1.0)),
                    _ => value.abs().max(op.domain().scale),
                };
                // A half is the rounding itself.
                let most = documented().get(&op).map_or(0.0, |most| most - 0.5);
                let off = match most > 0.0 && value.is_finite() && value != 0.0 {
                    true => most * f64::from(f32::EPSILON) * size * rng.uniform(-1.0, 1.0),
                    false => 0.0,
                };
                single(value + off)
            }
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
    let middle = match rng.below(6) {
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
        ends.map(|(low, high)| if at % 2 == 0 { *low } else { *high })
            .collect::<Vec<f64>>()
    };
    let evaluate = |precision: Precision, arithmetic: &mut Arithmetic| -> Ends {
        let Interval { low, high } = bounds(&expr, precision);
        let mut side = |side: &Expr| arithmetic.evaluate(&side.simplify(), &known, (0, 0));
        (side(&low), side(&high))
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
        if var.id % 2 == 0 {
            low.clone()
        } else {
            high.clone()
        }
    };
    let evaluate = |precision: Precision, arithmetic: &mut Arithmetic| -> Ends {
        let Interval { low, high } = bounds(expr, precision);
        let mut side = |side: &Expr| arithmetic.evaluate(&side.simplify(), &sides, (0, 0));
        (side(&low), side(&high))
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
            ends.map(|(low, high)| if at % 2 == 0 { *low } else { *high })
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
