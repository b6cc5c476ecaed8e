//! Tests that bounds enclose the values of the host engine with any set of instructions.

use std::collections::HashMap;

use burn_lazy_kernels::{
    Axis, Expr, Formula, Precision, Program, ReductionKind, Wanted,
    catalogue::ScalarOp,
    expr::Var,
    host::{HostProgram, HostTensor, HostValues, Instructions},
    interval::Interval,
};
use proptest::prelude::*;

use crate::{
    intervals::{
        SIDES, assert_each_operation, bounds, encloses, random_boxes, random_interval,
        random_point, random_points, side,
    },
    random::{config, formula, recipe},
    support::{Rng, leaf, leaves},
    tensors::{Tensor, of_all_pairs},
};

/// A formula as a program of the host engine, for reductions over one block.
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

    /// The reduction in F32. `size` is the number of rows and of columns. `known` gives the components of all rows of
    /// an operand.
    fn run(
        &self,
        kind: ReductionKind,
        size: (usize, usize),
        instructions: Instructions,
        known: &dyn Fn(&Var) -> Vec<f64>,
    ) -> Vec<f64> {
        let (scalars, tensors): (Vec<&Var>, Vec<&Var>) =
            self.leaves.iter().partition(|var| var.scalar);
        let scalars: Vec<f64> = scalars.into_iter().map(|var| known(var)[0]).collect();
        let tensor = |var: &Var| {
            let shape = match var.axis() {
                Some(Axis::I) => vec![size.0, var.dim],
                Some(Axis::J) => vec![size.1, var.dim],
                None => vec![var.dim],
            };
            Tensor::new(&known(var), &shape, Precision::F32)
        };
        let tensors: Vec<Tensor> = tensors.into_iter().map(tensor).collect();
        let tensors: Vec<HostTensor> = tensors.iter().map(Tensor::view).collect();
        let launch = of_all_pairs(&self.program, kind, size, Precision::F32, instructions);
        let output = launch.run(&tensors, &scalars, Wanted::VALUES);
        match output.expect("the operands fit").values {
            Some(HostValues::F32(values)) => values.into_iter().map(f64::from).collect(),
            other => panic!("values of another type: {other:?}"),
        }
    }
}

/// The bounds of a formula as a program.
fn bounds_on_host(expr: &Expr) -> OnHost {
    let Interval { low, high } = bounds(expr, Precision::F32);
    OnHost::new(&Expr::concat(vec![low, high]))
}

/// Compares values of `op` on the host engine with bounds that other instructions compute. The first and third argument
/// are of rows, the second one is of a column, so that quotients may use its reciprocal.
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
    assert_each_operation(check_operation_on_host);
}

/// Compares the smallest and largest values over the pairs of a block on the host engine with their bounds.
fn check_formula_on_host(expr: &Expr, seed: u64) {
    const ROWS: usize = 4;
    const COLUMNS: usize = 5;

    let mut rng = Rng::new(seed);
    let middle = random_boxes(expr, &mut rng);
    let rows = |var: &Var| match var.axis() {
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
