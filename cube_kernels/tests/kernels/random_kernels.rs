//! Random formulas in kernels against the reference; see [`crate::random`] for the formulas.
//!
//! Tolerance of an output: 32 times the effect of perturbed evaluation on its terms, plus 16 units
//! in the last place of the sum of their sizes. An output is ill-conditioned and left out if a term
//! changes by more than a hundredth. If a term is infinite or NaN with every perturbation, the
//! output must be so, too.

use burn_lazy_kernels::{Axis, Precision, Wanted, expr::Var, host::Instructions};
use proptest::prelude::*;

use crate::{
    device::{Problem, Runtime, Tensor, client, runtime},
    random::{config, formula, recipe, values},
    support::{Noise, Rng, Tape, agree},
};

/// The expected value of a sum.
pub struct Expected {
    pub value: f64,
    /// The allowed error. Infinite if nothing can be said about the value.
    pub tolerance: f64,
}

/// The sums of `problem`, with the effect of rounding errors in `precision`.
pub fn expected(problem: &Problem, precision: Precision) -> Vec<Expected> {
    let (rows, columns) = problem.rows_and_columns();
    let tape = Tape::new(problem.formula.root());
    let operands = problem.host_operands();
    let mut noise = match precision {
        Precision::F64 => Noise::f64(7),
        _ => Noise {
            rng: Rng::new(7),
            eps: f32::EPSILON as f64,
            largest: f32::MAX as f64,
            smallest: f32::MIN_POSITIVE as f64,
            flushes: true,
        },
    };
    let reference = problem.reference();
    let dim = problem.formula.dim();
    let mut out = Vec::new();
    for row in 0..rows {
        let mut tolerance = vec![noise.smallest; dim];
        for column in 0..columns {
            let (i, j) = match problem.reduced {
                Axis::J => (row, column),
                Axis::I => (column, row),
            };
            let at = |var: &Var| {
                let index = match var.axis() {
                    Some(Axis::I) => i,
                    Some(Axis::J) => j,
                    None => 0,
                };
                operands[var.id as usize].data[index * var.dim..][..var.dim].to_vec()
            };
            let terms = tape.evaluate(&at);
            let moved = tape.wobble(&at, &mut noise);
            for ((tolerance, term), moved) in tolerance.iter_mut().zip(terms).zip(moved) {
                *tolerance += match term.is_finite() {
                    _ if moved.is_infinite() => f64::INFINITY,
                    true if moved > 1e-2 * term.abs() || term.abs() > 1e-3 * noise.largest => {
                        f64::INFINITY
                    }
                    true => 32.0 * moved + 16.0 * noise.eps * term.abs(),
                    false => 0.0,
                };
            }
        }
        let values = &reference[row * dim..][..dim];
        let expected = values.iter().zip(tolerance);
        out.extend(expected.map(|(value, tolerance)| Expected {
            value: *value,
            tolerance,
        }));
    }
    out
}

/// A random reduction.
#[derive(Clone, Debug)]
pub struct Case {
    recipe: Vec<u8>,
    sizes: (usize, usize),
    over_rows: bool,
    pub double: bool,
    pub seed: u64,
}

pub fn case() -> impl Strategy<Value = Case> {
    // A few pairs show as much of a formula as many pairs. Many pairs show more of the loops over
    // them.
    let sizes = prop_oneof![3 => (1usize..6, 1usize..6), 1 => (1usize..41, 1usize..41)];
    (recipe(), sizes, any::<bool>(), any::<bool>(), 0u64..1000).prop_map(
        |(recipe, sizes, over_rows, double, seed)| Case {
            recipe,
            sizes,
            over_rows,
            double,
            seed,
        },
    )
}

impl Case {
    pub fn problem(&self) -> Problem {
        let expr = formula(&self.recipe);
        let reduced = if self.over_rows { Axis::I } else { Axis::J };
        let (m, n) = self.sizes;
        let (mut rng, mut other) = (Rng::new(self.seed), Rng::new(!self.seed));
        let tensor = |var: &Var| {
            let length = match var.axis() {
                Some(Axis::I) => Some(m),
                Some(Axis::J) => Some(n),
                None => None,
            };
            let shape: Vec<usize> = length.into_iter().chain([var.dim]).collect();
            let len = shape.iter().product();
            Tensor::new(&shape, (0..len).map(|_| values(&mut rng)).collect())
        };
        let scalar = |_: &Var| values(&mut other);
        Problem::new(&expr, reduced, &[], self.sizes, tensor, scalar)
    }
}

/// Asserts that `got` is the result of `problem` in `precision`, up to the tolerance.
pub fn assert_expected(
    problem: &Problem,
    precision: Precision,
    got: &[f64],
) -> Result<(), TestCaseError> {
    let want = expected(problem, precision);
    prop_assert_eq!(got.len(), want.len());
    for (k, (got, want)) in got.iter().zip(&want).enumerate() {
        prop_assert!(
            want.tolerance.is_infinite() || agree(*got, want.value, want.tolerance),
            "output {}: {}, expected {} up to {:.1e}, of {} over {} in {:?}\n{}",
            k,
            got,
            want.value,
            want.tolerance,
            problem.formula,
            problem.reduced,
            precision,
            *problem.program
        );
    }
    Ok(())
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let client = client();
    let precision = match runtime() {
        Runtime::Cpu | Runtime::Cuda if case.double => Precision::F64,
        _ => Precision::F32,
    };
    let problem = case.problem();
    let got = problem
        .run(&client, precision)
        .expect("the launch succeeds");
    assert_expected(&problem, precision, &got)?;
    // Also compare the host engine in F64.
    let host = problem.run_on_host(Precision::F64, Wanted::VALUES, Instructions::detect());
    assert_expected(&problem, Precision::F64, &host.expect("the host runs it").0)
}

#[test]
fn kernels_of_random_formulas_match_the_reference() {
    let cases = match runtime() {
        Runtime::Cpu => 24,
        _ => 8,
    };
    let mut runner = proptest::test_runner::TestRunner::new(proptest::test_runner::Config {
        max_shrink_iters: 60,
        ..config(cases)
    });
    if let Err(error) = runner.run(&case(), |case| check(&case)) {
        panic!("{error}");
    }
}
