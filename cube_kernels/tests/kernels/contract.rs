//! The accuracy of each function, measured against `f64` and compared with the errors stored in `contract.csv`.
//!
//! Errors are in units of the last place of the value, or of the scale of the function where the value is smaller.
//! Devices differ, so a function may exceed the stored error by half of it plus one unit.

use std::{collections::BTreeMap, fmt::Write, fs, path::PathBuf};

use burn_lazy_kernels::catalogue::ScalarOp;

use crate::support::package_folder;

fn path() -> PathBuf {
    package_folder().join("tests/kernels/contract.csv")
}

/// Whether the stored errors are to be replaced by the measured ones.
pub fn updating() -> bool {
    std::env::var("BURN_LAZY_UPDATE").is_ok_and(|value| value == "1")
}

/// The runtimes and types with a contract.
pub const COLUMNS: [&str; 3] = ["cpu f32", "cpu f64", "shader f32"];

/// The stored errors of each function, one for each column that was measured.
pub fn load() -> BTreeMap<String, [Option<f64>; 3]> {
    let text = fs::read_to_string(path()).unwrap_or_default();
    let row = |line: &str| {
        let mut cells = line.split(',');
        let name = cells.next().expect("a line has a cell").to_string();
        let errors = [(); 3].map(|()| cells.next().and_then(|cell| cell.parse().ok()));
        (name, errors)
    };
    text.lines().skip(1).map(row).collect()
}

#[cfg_attr(
    not(any(
        feature = "cpu",
        feature = "cuda",
        feature = "wgpu",
        feature = "vulkan"
    )),
    allow(dead_code)
)]
fn store(errors: &BTreeMap<String, [Option<f64>; 3]>) {
    let mut text = format!("function,{}\n", COLUMNS.join(","));
    // The rows are in the order of the catalogue.
    for op in ScalarOp::all() {
        if let Some(row) = errors.get(&op.to_string()) {
            write!(text, "{op}").expect("strings can be written");
            for error in row {
                match error {
                    Some(error) => write!(text, ",{error:.1}"),
                    None => write!(text, ","),
                }
                .expect("strings can be written");
            }
            text.push('\n');
        }
    }
    fs::write(path(), text).expect("the contract can be written");
}

#[test]
fn every_function_has_a_contract() {
    let stored = load();
    if updating() {
        return;
    }
    for op in ScalarOp::all() {
        let row = stored.get(&op.to_string());
        assert!(
            row.is_some_and(|row| row.iter().all(Option::is_some)),
            "{op} has no measured accuracy: run `cargo xtask reference`"
        );
    }
    assert_eq!(stored.len(), ScalarOp::all().len());
}

#[cfg(any(
    feature = "cpu",
    feature = "cuda",
    feature = "wgpu",
    feature = "vulkan"
))]
pub mod measured {
    use burn_lazy_kernels::{Axis, Expr, Precision, catalogue::ScalarOp, expr::Var};

    use super::{load, store, updating};
    use crate::{
        device::{
            Engine, Problem, Runtime, Tensor, by_precision, client, engine, held, precisions,
            runtime,
        },
        support::{Rng, x, y},
    };

    const SAMPLES: usize = 3000;

    /// The largest error that is allowed for a function with the measured error `stored`.
    pub fn most(stored: Option<f64>, engine: Engine) -> f64 {
        let most = stored.map_or(0.0, |most| 1.5 * most + 1.0);
        match engine {
            Engine::Kernels => most,
            // Kernels in F64 call library functions where the host has polynomials.
            Engine::Host => most.max(2.5),
        }
    }

    /// Samples of all arguments of `ops`: over their domains, then their edges.
    fn samples(ops: &[ScalarOp]) -> Vec<Vec<f64>> {
        let mut rng = Rng::new(51);
        let row = |k: usize| -> Vec<f64> {
            let argument = |op: &ScalarOp, argument: usize, rng: &mut Rng| {
                let domain = op.domain();
                let (low, high) = domain.intervals[argument];
                let value = rng.uniform(low, high);
                let edge = k / (1 + argument) % SAMPLES;
                match domain.edges.get(edge) {
                    Some(edge) => *edge as f32 as f64,
                    None => value,
                }
            };
            let each = ops
                .iter()
                .flat_map(|op| (0..op.arity()).map(move |k| (op, k)));
            each.map(|(op, k)| argument(op, k, &mut rng)).collect()
        };
        (0..SAMPLES).map(row).collect()
    }

    /// The arguments of a function.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Arguments {
        /// Components of a row.
        Loaded,
        /// Components of a row times 1, a factor that no compiler knows. Shader compilers change code that computes
        /// with a product.
        Products,
    }

    /// The largest error of each function, with results from `run`.
    pub fn errors(
        ops: &[ScalarOp],
        precision: Precision,
        arguments: Arguments,
        run: impl FnOnce(&Problem) -> Vec<f64>,
    ) -> Vec<f64> {
        let samples = samples(ops);
        let width = samples[0].len();
        let mut start = 0;
        let mut each = Vec::new();
        for op in ops {
            let args = (start..start + op.arity()).map(|k| match arguments {
                Arguments::Loaded => x(0, width).slice(k, 1),
                Arguments::Products => x(0, width).slice(k, 1) * y(1, 1),
            });
            each.push(Expr::scalar(*op, args.collect()));
            start += op.arity();
        }
        let tensor = |var: &Var| match var.axis() {
            Some(Axis::I) => Tensor::new(&[SAMPLES, width], samples.concat()),
            _ => Tensor::new(&[1, 1], vec![1.0]),
        };
        let sizes = (SAMPLES, 1);
        let problem = Problem::new(&Expr::concat(each), Axis::J, &[], sizes, tensor, |_| 0.0);
        let got = run(&problem);
        let epsilon = by_precision(precision, f32::EPSILON as f64, f64::EPSILON);
        let smallest = by_precision(precision, f32::MIN_POSITIVE as f64, f64::MIN_POSITIVE);
        let mut errors = vec![0f64; ops.len()];
        for (row, got) in samples.iter().zip(got.chunks(ops.len())) {
            let mut args = row.as_slice();
            for ((op, got), error) in ops.iter().zip(got).zip(&mut errors) {
                let (own, rest) = args.split_at(op.arity());
                args = rest;
                let want = held(op.host(own), precision);
                let same = *got == want || (got.is_nan() && want.is_nan());
                if !same {
                    let size = want.abs().max(op.domain().scale).max(smallest / epsilon);
                    let off = (got - want).abs() / (epsilon * size);
                    assert!(off.is_finite(), "{op} of {own:?} is {got}, expected {want}");
                    *error = error.max(off);
                }
            }
        }
        errors
    }

    #[test]
    fn every_function_is_as_exact_as_its_contract() {
        let mut stored = load();
        for precision in precisions() {
            let column = match (runtime(), precision) {
                (Runtime::Cpu | Runtime::Cuda, Precision::F64) => 1,
                (Runtime::Cpu, _) => 0,
                _ => 2,
            };
            for ops in ScalarOp::all().chunks(8) {
                for arguments in [Arguments::Loaded, Arguments::Products] {
                    let run = |problem: &Problem| {
                        let got = problem.run(&client(), *precision);
                        got.expect("the launch succeeds")
                    };
                    for (op, error) in ops.iter().zip(errors(ops, *precision, arguments, run)) {
                        let own = stored.entry(op.to_string()).or_default();
                        match arguments {
                            Arguments::Loaded if updating() => {
                                // Rounded up to a multiple of 0.1.
                                own[column] = Some((error * 10.0).ceil() / 10.0);
                                continue;
                            }
                            // A product has been rounded, and the exponential rounds such an argument once more.
                            Arguments::Products if *op == ScalarOp::Exp => continue,
                            Arguments::Loaded | Arguments::Products => (),
                        }
                        let most = most(own[column], engine());
                        assert!(
                            error <= most,
                            "{op} of {arguments:?} in {precision:?} is off by {error:.1} units of the last place, \
                             not {:?}",
                            own[column],
                        );
                    }
                }
            }
        }
        if updating() {
            store(&stored);
        }
    }
}
