//! The host engine against the reference, and kernels against the host engine.

use burn_lazy_kernels::{
    Accumulation, Axis, Expr, OperandError, Precision, ReductionKind, Wanted,
    catalogue::ScalarOp,
    expr::{Place, Var},
    host::{
        HostError, HostLaunch, HostOutput, HostPart, HostProgram, HostSlice, HostTensor,
        Instructions,
    },
};
use half::{bf16, f16};
use proptest::test_runner::TestRunner;

use super::{
    random_kernels::{assert_expected, case},
    reductions::{ALL_WANTED, has_indices, integers, problem, relative},
};
use crate::{
    contract::{
        self,
        measured::{Arguments, errors, most},
    },
    device::{Engine, Problem, Tensor, assert_close},
    random::config,
    support::{Rng, agree, gaussian, p, x, y},
};

/// Values in one of the types of operands.
enum Stored {
    F16(Vec<f16>),
    BF16(Vec<bf16>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Stored {
    fn new(values: &[f64], precision: Precision) -> Self {
        let values = values.iter();
        match precision {
            Precision::F16 => Self::F16(values.map(|x| f16::from_f64(*x)).collect()),
            Precision::BF16 => Self::BF16(values.map(|x| bf16::from_f64(*x)).collect()),
            Precision::F32 => Self::F32(values.map(|x| *x as f32).collect()),
            _ => Self::F64(values.copied().collect()),
        }
    }

    fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F16(values) => values.iter().map(|x| x.to_f64()).collect(),
            Self::BF16(values) => values.iter().map(|x| x.to_f64()).collect(),
            Self::F32(values) => values.iter().map(|x| f64::from(*x)).collect(),
            Self::F64(values) => values.clone(),
        }
    }

    fn slice(&self) -> HostSlice<'_> {
        match self {
            Self::F16(values) => HostSlice::F16(values),
            Self::BF16(values) => HostSlice::BF16(values),
            Self::F32(values) => HostSlice::F32(values),
            Self::F64(values) => HostSlice::F64(values),
        }
    }
}

type Run<T> = Result<T, HostError>;

impl Problem {
    /// Calls `run` with the launch of this problem on the host and with its tensors.
    pub fn with_host_launch<T>(
        &self,
        precision: Precision,
        instructions: Instructions,
        run: impl FnOnce(&HostLaunch, &[HostTensor]) -> T,
    ) -> T {
        let values: Vec<Stored> = self
            .stored()
            .map(|(values, ..)| Stored::new(values, precision))
            .collect();
        let strides: Vec<Vec<isize>> = self
            .stored()
            .map(|(_, _, strides)| strides.iter().map(|s| *s as isize).collect())
            .collect();
        let tensors: Vec<HostTensor> = values
            .iter()
            .zip(&strides)
            .zip(self.stored())
            .map(|((values, strides), (_, shape, _))| HostTensor {
                data: values.slice(),
                shape,
                strides,
                start: 0,
            })
            .collect();
        let (rows, columns) = self.rows_and_columns();
        let launch = HostLaunch {
            program: &HostProgram::new(&self.program),
            reduction: self.reduction,
            batch_shape: &self.batch,
            rows,
            columns,
            fold: self.fold,
            ranges: self.ranges.as_ref(),
            precision,
            values: precision,
            instructions,
        };
        run(&launch, &tensors)
    }

    /// The wanted values and column indices of the result on the host.
    pub fn run_on_host(
        &self,
        precision: Precision,
        wanted: Wanted,
        instructions: Instructions,
    ) -> Run<(Vec<f64>, Vec<i64>)> {
        self.with_host_launch(precision, instructions, |launch, tensors| {
            let output = launch.run(tensors, self.scalars(), wanted)?;
            Ok(numbers(output))
        })
    }

    /// The result on the host, computed in parts: of the columns between `cuts`. With `each_time` the parts are merged
    /// into one after each part, else all at the end.
    pub fn run_on_host_in_parts(
        &self,
        precision: Precision,
        wanted: Wanted,
        cuts: &[usize],
        each_time: bool,
    ) -> Run<(Vec<f64>, Vec<i64>)> {
        self.with_host_launch(precision, Instructions::detect(), |launch, tensors| {
            let ends = cuts.iter().copied().chain([launch.columns]);
            let (mut start, mut parts): (usize, Vec<HostPart>) = (0, Vec::new());
            for end in ends {
                parts.push(launch.run_part(tensors, self.scalars(), wanted, start..end)?);
                start = end;
                if each_time {
                    parts = vec![launch.merge_parts(&parts, wanted)?];
                }
            }
            Ok(numbers(launch.merge(&parts, wanted)?))
        })
    }
}

fn numbers(output: HostOutput) -> (Vec<f64>, Vec<i64>) {
    let values = output.values.map(|values| values.to_f64());
    (
        values.unwrap_or_default(),
        output.indices.unwrap_or_default(),
    )
}

/// Asserts that the host engine gives the result of the reference, with all sets of instructions.
fn check(problem: &Problem, precision: Precision, wanted: Wanted) {
    let kind = problem.reduction;
    let (values, indices) = problem.reference_with_indices();
    for instructions in Instructions::all() {
        let (got, found) = problem
            .run_on_host(precision, wanted, instructions)
            .expect("the host runs it");
        let what = format!(
            "{kind:?} over {} of {} with {instructions:?}",
            problem.reduced, problem.formula
        );
        if wanted.values && (has_indices(kind) || kind == ReductionKind::Count) {
            assert_eq!(got, Stored::new(&values, precision).to_f64(), "{what}");
        } else if wanted.values {
            println!("{what}");
            assert_close(&got, &values, relative(precision));
        }
        if wanted.indices {
            assert_eq!(found, indices, "{what}");
        }
    }
}

const PRECISIONS: [Precision; 4] = [
    Precision::F16,
    Precision::BF16,
    Precision::F32,
    Precision::F64,
];

/// Every kind of reduction, for a formula of `dim` components.
fn kinds(dim: usize) -> Vec<ReductionKind> {
    let mut kinds: Vec<ReductionKind> = ReductionKind::all().collect();
    kinds.extend([
        ReductionKind::LogSumExp { scores: dim },
        ReductionKind::Smallest { k: 1 },
        ReductionKind::Smallest { k: 3 },
        ReductionKind::Variance { unbiased: false },
    ]);
    kinds
}

#[test]
fn every_reduction_on_the_host_matches_its_definition() {
    // Numbers of columns around the width of a tile, and more than a part has.
    for (turn, columns) in [1, 2, 255, 256, 257, 700, 9000].into_iter().enumerate() {
        for dim in [1, 3, 10] {
            for kind in kinds(dim) {
                let rows = if columns > 1000 { 2 } else { 7 };
                let axis = if dim == 3 { Axis::I } else { Axis::J };
                let sizes = if dim == 3 {
                    (columns, rows)
                } else {
                    (rows, columns)
                };
                let seed = (columns + dim) as u64;
                let problem = problem(kind, dim, axis, sizes, &[2], seed);
                let precision = PRECISIONS[(turn + dim) % PRECISIONS.len()];
                let most = match precision {
                    Precision::F64 => 300,
                    Precision::F32 => 2,
                    _ => 0, // The values are not representable in 16 bits.
                };
                if kind == ReductionKind::Product && columns > most {
                    continue; // The product overflows.
                }
                for wanted in ALL_WANTED {
                    let indices = has_indices(kind) || kind == ReductionKind::Count;
                    if indices || wanted == Wanted::VALUES {
                        check(&problem, precision, wanted);
                    }
                }
            }
        }
    }
}

#[test]
fn many_rows_on_the_host_are_reduced_each_by_itself() {
    for rows in [127, 128, 129, 1500] {
        let problem = problem(
            ReductionKind::Sum(Accumulation::Blocks),
            3,
            Axis::J,
            (rows, 5),
            &[],
            4,
        );
        check(&problem, Precision::F32, Wanted::VALUES);
    }
}

/// Compared bit by bit, for many rows, which threads share, and for few rows, whose columns threads share.
#[cfg(feature = "rayon")]
#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for (m, n) in [(3000, 700), (3, 300_000)] {
        for kind in kinds(3) {
            let problem = problem(kind, 3, Axis::J, (m, n), &[], 5);
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let pool = pool.build().expect("threads start");
                let wanted = match has_indices(kind) {
                    true => Wanted::BOTH,
                    false => Wanted::VALUES,
                };
                let run = || problem.run_on_host(Precision::F32, wanted, Instructions::detect());
                let (values, indices) = pool.install(run).expect("the host runs it");
                let bits: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
                (bits, indices)
            };
            let one = run(1);
            for threads in [2, 3, 7] {
                assert!(one == run(threads), "{kind:?} with {threads} threads");
            }
        }
    }
}

#[test]
fn results_without_columns_or_rows_are_those_of_nothing() {
    for kind in kinds(3) {
        for (m, n) in [(4, 0), (0, 4), (0, 0)] {
            let problem = problem(kind, 3, Axis::J, (m, n), &[2], 1);
            let (values, indices) = problem.reference_with_indices();
            let got = problem.run_on_host(Precision::F32, Wanted::BOTH, Instructions::detect());
            let (got, found) = got.expect("the host runs it");
            assert_eq!(found, indices, "{kind:?}");
            assert_eq!(got.len(), values.len(), "{kind:?}");
            for (got, want) in got.iter().zip(values) {
                assert!(agree(*got, want, 0.0), "{kind:?}: {got}, expected {want}");
            }
        }
    }
}

#[test]
fn lists_of_the_smallest_have_the_first_of_equal_values() {
    // Longer lists than there are columns, and many equal values.
    for k in [1, 2, 5, 17, 64, 300] {
        for columns in [3, 200, 5000] {
            let problem = problem(
                ReductionKind::Smallest { k },
                2,
                Axis::J,
                (9, columns),
                &[],
                k as u64,
            );
            check(&problem, Precision::F32, Wanted::BOTH);
        }
    }
}

#[test]
fn values_that_are_not_finite_count_as_in_the_reference() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let rows = [
        vec![1.0, nan, -7.0, nan, 9.0],
        vec![-inf, nan, inf],
        vec![inf, inf],
        vec![-inf, -inf, -inf],
        vec![inf, -inf, 0.0],
        vec![0.0, -0.0, 3.0, 0.0],
        vec![nan],
        vec![1.0, inf, 2.0],
    ];
    for row in rows {
        for at in [0, 254, 300] {
            // Also after many other values.
            let mut values = vec![5.0; at];
            values.extend(&row);
            for kind in kinds(1) {
                if matches!(kind, ReductionKind::SoftmaxSum | ReductionKind::Product) {
                    continue; // The former needs two components; the latter overflows.
                }
                let column = Tensor::new(&[values.len(), 1], values.clone());
                let sizes = (1, values.len());
                let problem =
                    Problem::new(&y(0, 1), Axis::J, &[], sizes, |_| column.clone(), |_| 0.0)
                        .reduced_by(kind);
                let (values, indices) = problem.reference_with_indices();
                for precision in [Precision::F32, Precision::F64] {
                    for instructions in Instructions::all() {
                        let got = problem.run_on_host(precision, Wanted::BOTH, instructions);
                        let (got, found) = got.expect("the host runs it");
                        let what = format!("{kind:?} of {row:?} behind {at} others");
                        if has_indices(kind) || kind == ReductionKind::Count {
                            assert_eq!(found, indices, "{what}");
                        }
                        for (got, want) in got.iter().zip(&values) {
                            let tolerance = relative(precision) * want.abs().max(1.0);
                            assert!(agree(*got, *want, tolerance), "{what}: {got}, not {want}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn tensors_of_any_strides_are_read_on_the_host() {
    let expr = (-x(0, 3).sqdist(&y(1, 3))).exp() * y(2, 2) + p(3, 2);
    let mut rng = Rng::new(3);
    for form in 0..4 {
        let tensor = |var: &Var| {
            let rows = match var.axis() {
                Some(Axis::I) => Some(6),
                Some(Axis::J) => Some(270),
                None => None,
            };
            let batch = match (form, var.axis()) {
                (0, _) | (_, None) => vec![],
                (1, Some(Axis::I)) => vec![2, 1],
                (1, _) => vec![3],
                _ => vec![2, 3],
            };
            let shape: Vec<usize> = batch.into_iter().chain(rows).chain([var.dim]).collect();
            let tensor = Tensor::random(&shape, &mut rng, -1.0, 1.0);
            match form {
                2 if var.axis().is_some() => tensor.transposed(),
                3 => tensor.spaced(),
                _ => tensor,
            }
        };
        let problem = Problem::new(&expr, Axis::J, &[2, 3], (6, 270), tensor, |_| 0.0);
        for precision in [Precision::F32, Precision::F64] {
            check(&problem, precision, Wanted::VALUES);
        }
    }
}

#[test]
fn tensors_that_run_backwards_are_read_on_the_host() {
    let problem = Problem::random(&(x(0, 2) * y(1, 2)), Axis::J, (3, 5), 1, (0.0, 1.0));
    let want = problem.run_on_host(Precision::F64, Wanted::VALUES, Instructions::detect());
    let (want, _) = want.expect("the host runs it");
    problem.with_host_launch(Precision::F64, Instructions::detect(), |launch, tensors| {
        let HostSlice::F64(rows) = tensors[0].data else {
            unreachable!("the type is F64")
        };
        let reversed: Vec<f64> = rows.iter().rev().copied().collect();
        let backwards = HostTensor {
            data: HostSlice::F64(&reversed),
            shape: &[3, 2],
            strides: &[-2, -1],
            start: 5,
        };
        let got = launch.run(&[backwards, tensors[1]], &[], Wanted::VALUES);
        assert_eq!(numbers(got.expect("the host runs it")).0, want);
        let error = launch.run(
            &[
                HostTensor {
                    start: 4,
                    ..backwards
                },
                tensors[1],
            ],
            &[],
            Wanted::VALUES,
        );
        assert!(matches!(
            error,
            Err(HostError::Operands(OperandError::Tensor { index: 0, .. }))
        ));
    });
}

#[test]
fn rows_are_added_up_on_the_host() {
    for (rows, fold) in [
        (1, 1),
        (7, 3),
        (9, 3),
        (2, 5),
        (1000, 1),
        (1000, 130),
        (700, 699),
    ] {
        for columns in [1, 40, 600] {
            let expr = gaussian(3, 2);
            let problem = Problem::random(&expr, Axis::J, (rows, columns), 5, (0.0, 1.0));
            let problem = problem.folded_into(fold);
            for precision in [Precision::F32, Precision::F64] {
                check(&problem, precision, Wanted::VALUES);
            }
        }
    }
}

#[test]
fn merged_parts_on_the_host_are_the_whole() {
    let mut rng = Rng::new(31);
    for dim in [1, 3] {
        for kind in kinds(dim) {
            let columns = match kind {
                ReductionKind::Product => 40,
                _ => 700,
            };
            let problem = problem(kind, dim, Axis::J, (5, columns), &[2], 8);
            let (values, indices) = problem.reference_with_indices();
            for number in 0..4 {
                let cut = |_| (rng.bits() % columns as u64) as usize;
                let mut cuts: Vec<usize> = (0..number).map(cut).collect();
                cuts.sort_unstable();
                for each_time in [false, true] {
                    let got = problem.run_on_host_in_parts(
                        Precision::F64,
                        Wanted::BOTH,
                        &cuts,
                        each_time,
                    );
                    let (got, found) = got.expect("the host runs it");
                    println!("{kind:?} cut at {cuts:?}");
                    assert_close(&got, &values, 1e-13);
                    if has_indices(kind) || kind == ReductionKind::Count {
                        assert_eq!(found, indices, "{kind:?} cut at {cuts:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn places_are_those_of_the_matrix_on_the_host() {
    let [i, j] = [Axis::I, Axis::J].map(|axis| Expr::place(Place::Index(axis)));
    let offset = Expr::place(Place::Offset);
    let expr = x(0, 1) * y(1, 1) + i + j.clone() * j + offset * 3.0;
    let mut rng = Rng::new(2);
    for reduced in [Axis::I, Axis::J] {
        let tensor = |var: &Var| {
            let rows = if var.axis() == Some(Axis::I) {
                300
            } else {
                277
            };
            integers(&[rows, 1], &mut rng)
        };
        let problem = Problem::new(&expr, reduced, &[], (300, 277), tensor, |_| 0.0)
            .reduced_by(ReductionKind::Maximum);
        check(&problem, Precision::F32, Wanted::BOTH);
        let cut = problem.run_on_host_in_parts(Precision::F64, Wanted::BOTH, &[13, 140], false);
        assert_eq!(
            cut.expect("the host runs it"),
            problem.reference_with_indices()
        );
    }
}

#[test]
fn random_formulas_on_the_host_match_the_reference() {
    let mut runner = TestRunner::new(config(400));
    let run = runner.run(&case(), |case| {
        let problem = case.problem();
        let all = Instructions::all();
        let instructions = all[case.seed as usize % all.len()];
        let precision = if case.double {
            Precision::F64
        } else {
            Precision::F32
        };
        let got = problem.run_on_host(precision, Wanted::VALUES, instructions);
        assert_expected(&problem, precision, &got.expect("the host runs it").0)
    });
    if let Err(error) = run {
        panic!("{error}");
    }
}

#[test]
fn functions_on_the_host_are_as_exact_as_those_of_kernels() {
    let stored = contract::load();
    for instructions in Instructions::all() {
        for (column, precision) in [Precision::F32, Precision::F64].into_iter().enumerate() {
            for ops in ScalarOp::all().chunks(8) {
                let run = |problem: &Problem| {
                    let got = problem.run_on_host(precision, Wanted::VALUES, instructions);
                    got.expect("the host runs it").0
                };
                let errors = errors(ops, precision, Arguments::Loaded, run);
                for (op, error) in ops.iter().zip(errors) {
                    let most = most(stored[&op.to_string()][column], Engine::Host);
                    assert!(
                        error <= most,
                        "{op} in {precision:?} with {instructions:?} is off by {error:.1} units of the last place, \
                         more than {most}",
                    );
                }
            }
        }
    }
}
