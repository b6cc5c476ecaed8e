//! Edge cases of solvers: right-hand sides and operators of any size, single vectors, 16-bit types, matrices without an
//! inverse, and systems without rows or columns. Expected values come from dense matrices in `f64`.

use burn::{
    prelude::*,
    tensor::{DType, FloatDType},
};
use burn_lazy::{
    LazyError, LazyTensor,
    solve::{
        Diagonal, Jacobi, LinearOperator, LogDetOptions, Nystrom, Preconditioner, Rank, Solution,
        SolveError, SolveOptions, Sum, conjugate_gradient, eigenpairs, least_squares, log_det,
        minres,
    },
};
use nalgebra::{DMatrix, DVector};

use super::support::{Random, assert_close, device, dtypes, gaussian, host, skipped, tensor};
#[cfg(feature = "autodiff")]
use super::support::{assert_gradient, differences, scaled_gaussian};

/// The dense matrix of $e^{-|x - y|^2}$ with a ridge.
fn dense(x: &[f64], dim: usize, ridge: f64) -> DMatrix<f64> {
    let n = x.len() / dim;
    DMatrix::from_fn(n, n, |i, j| {
        let squares = (0..dim).map(|k| (x[i * dim + k] - x[j * dim + k]).powi(2));
        (-squares.sum::<f64>()).exp() + if i == j { ridge } else { 0.0 }
    })
}

/// The matrix $u_i v_j$ of rank one.
fn outer(u: &[f64], v: &[f64], dtype: DType) -> LazyTensor {
    let device = device();
    LazyTensor::vi(tensor(u, [u.len(), 1], dtype, &device))
        * LazyTensor::vj(tensor(v, [v.len(), 1], dtype, &device))
}

/// The values after rounding to a type.
fn rounded(values: &[f64], dtype: DType) -> Vec<f64> {
    host(tensor::<1>(values, [values.len()], dtype, &device()))
}

fn column(values: &[f64], dtype: DType) -> Tensor<2> {
    tensor(values, [values.len(), 1], dtype, &device())
}

fn vector(values: &[f64], dtype: DType) -> Tensor<1> {
    tensor(values, [values.len()], dtype, &device())
}

/// The 16-bit types that the device computes with, and the relative error of rounding to them.
fn halves() -> Vec<(DType, f64)> {
    let one = LazyTensor::vi(Tensor::<2>::ones([1, 1], &device()));
    [
        (DType::F16, FloatDType::F16, 1e-3),
        (DType::BF16, FloatDType::BF16, 8e-3),
    ]
    .into_iter()
    .filter(|(_, dtype, _)| one.try_cast(*dtype).is_ok())
    .map(|(dtype, _, rounding)| (dtype, rounding))
    .collect()
}

/// Whether Burn's own operations compute in `dtype`. In BF16 those of the CPU runtime need an instruction that many
/// processors lack.
#[cfg(feature = "autodiff")]
fn burn_computes(dtype: DType) -> bool {
    #[cfg(target_arch = "x86_64")]
    let converts = std::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    let converts = true;
    let is_cpu = std::env::var("BURN_DEVICE").is_ok_and(|name| name == "cpu");
    let computes = dtype != DType::BF16 || !is_cpu || converts;
    if !computes {
        skipped("Burn does not add up gradients of BF16 on this processor");
    }
    computes
}

/// Asserts that the solver ended with the error that the iterations stagnate, after at most `most` iterations.
#[track_caller]
fn assert_stagnates<const R: usize>(
    what: &str,
    result: Result<Solution<R>, SolveError>,
    most: usize,
) {
    let error = result.expect_err(what);
    assert!(error.to_string().contains("stagnate"), "{what}: {error}");
    let SolveError::NotConverged {
        iterations,
        residual,
        stagnated,
        ..
    } = error
    else {
        panic!("{what}: {error}");
    };
    assert!(stagnated && residual > 1e-3, "{what}: {error}");
    assert!(iterations <= most, "{what}: {error}");
}

mod least_squares_of_low_rank {
    use super::*;

    #[test]
    fn orthogonal_up_to_rounding_gives_zero_at_once() {
        let mut random = Random::new(1);
        for (dtype, _) in dtypes() {
            let listed = (vec![0.1, 0.2, 0.3, 0.4], vec![0.4, -0.3, 0.2, -0.1]);
            let mut cases = vec![listed];
            for n in [4, 4, 4, 4, 30] {
                let (u, mut b) = (random.vec(n), random.vec(n));
                let along = DVector::from_vec(u.clone()).dot(&DVector::from_vec(b.clone()))
                    / u.iter().map(|u| u * u).sum::<f64>();
                b.iter_mut().zip(&u).for_each(|(b, u)| *b -= along * u);
                cases.push((u, b));
            }
            for (u, b) in cases {
                let v = random.vec(3);
                for size in [1.0, 1e6, 1e-6] {
                    let b: Vec<f64> = b.iter().map(|b| b * size).collect();
                    let k = outer(&u, &v, dtype);
                    let solved = least_squares(&k, column(&b, dtype), &SolveOptions::default());
                    let solved = solved.unwrap();
                    let largest = host(solved.solution)
                        .iter()
                        .fold(0.0f64, |a, b| a.max(b.abs()));
                    assert!(largest <= 1e-5 * size, "{dtype:?} {u:?} {b:?}: {largest}");
                    assert!(solved.info.iterations <= 10, "{:?}", solved.info);
                }
            }
        }
    }

    #[test]
    fn the_solution_of_smallest_norm_is_found() {
        let mut random = Random::new(2);
        for (dtype, _) in dtypes() {
            // Matrices of rank 1 and 2 with 3 columns. The right-hand sides are only partly in the range.
            for rank in [1, 2] {
                let (m, n) = (7, 3);
                let (u, v) = (random.vec(m * rank), random.vec(n * rank));
                let k = LazyTensor::vi(tensor(&u, [m, rank], dtype, &device()))
                    .dot(LazyTensor::vj(tensor(&v, [n, rank], dtype, &device())));
                let b = random.vec(m * 2);
                let right = tensor(&b, [m, 2], dtype, &device());
                let solved = least_squares(&k, right, &SolveOptions::default()).unwrap();
                let a = DMatrix::from_row_slice(m, rank, &u)
                    * DMatrix::from_row_slice(n, rank, &v).transpose();
                let b = DMatrix::from_row_slice(m, 2, &b);
                let expected = a.pseudo_inverse(1e-9).unwrap() * b;
                let expected = expected.transpose();
                let close = if dtype == DType::F64 { 1e-8 } else { 2e-3 };
                assert_close("norm", &host(solved.solution), expected.as_slice(), close);
                assert!(solved.info.iterations < 200, "{:?}", solved.info);
            }
        }
    }

    #[test]
    fn what_is_orthogonal_does_not_hinder_other_columns() {
        for (dtype, _) in dtypes() {
            let (u, v) = ([0.1, 0.2, 0.3, 0.4], [0.3, -0.5, 0.7]);
            let b = [0.4, 0.1, -0.3, 0.2, 0.2, 0.3, -0.1, 0.4];
            let right = tensor(&b, [4, 2], dtype, &device());
            let k = outer(&u, &v, dtype);
            let solved = least_squares(&k, right, &SolveOptions::default()).unwrap();
            // The second column is u, and a = v / |v|^2 solves u v^T a = u.
            let square: f64 = v.iter().map(|v| v * v).sum();
            let expected: Vec<f64> = v.iter().flat_map(|v| [0.0, v / square]).collect();
            assert_close("columns", &host(solved.solution), &expected, 1e-5);
            assert!(solved.info.iterations < 50, "{:?}", solved.info);
        }
    }
}

mod sizes {
    use super::*;

    /// Factors that take right-hand sides to the ends of the range of a type, and the smallest number of the type that
    /// devices do not flush to zero.
    fn factors(dtype: DType) -> (Vec<f64>, f64) {
        match dtype {
            DType::F64 => (vec![1e308, 1e200, 1e-200, 1e-306], f64::MIN_POSITIVE),
            _ => (
                vec![2e38, 1e30, 1e-30, 1e-37, 1e-40],
                f32::MIN_POSITIVE.into(),
            ),
        }
    }

    #[test]
    fn of_right_hand_sides_do_not_matter() {
        let mut random = Random::new(3);
        for (dtype, _) in dtypes() {
            let (n, columns) = (20, 2);
            let x = random.vec(n * 2);
            let b = random.vec(n * columns);
            let points = tensor(&x, [n, 2], dtype, &device());
            let k = gaussian(&points);
            let rectangular = k.block(0..n, 0..5);
            let a = dense(&x, 2, 0.0);
            let right = DMatrix::from_row_slice(n, columns, &b);
            let definite = dense(&x, 2, 4.0).cholesky().unwrap().solve(&right);
            let indefinite = dense(&x, 2, -3.0).lu().solve(&right).unwrap();
            let part = a.columns(0, 5).clone_owned();
            let mut normal = part.tr_mul(&part);
            (0..5).for_each(|i| normal[(i, i)] += 4.0);
            let least = normal.cholesky().unwrap().solve(&part.tr_mul(&right));
            let (factors, smallest) = factors(dtype);
            for factor in factors {
                let scaled: Vec<f64> = b.iter().map(|b| b * factor).collect();
                let scaled = tensor(&scaled, [n, columns], dtype, &device());
                let options = SolveOptions::default().ridge(4.0);
                let ways = [
                    ("solve", k.solve(scaled.clone(), &options), &definite),
                    (
                        "minres",
                        minres(&k, scaled.clone(), &options.clone().ridge(-3.0)),
                        &indefinite,
                    ),
                    (
                        "least squares",
                        least_squares(&rectangular, scaled.clone(), &options),
                        &least,
                    ),
                ];
                for (what, solved, expected) in ways {
                    let what = format!("{what} {dtype:?} {factor}");
                    let solution = host(solved.expect(&what).solution);
                    let scale = expected.amax();
                    for (value, expected) in solution.iter().zip(expected.transpose().iter()) {
                        let error = (value - expected * factor).abs();
                        let limit = 1e-4 * scale * factor + 2.0 * smallest;
                        assert!(error <= limit, "{what}: {value}, {}", expected * factor);
                    }
                }
            }
        }
    }

    /// Each column of a block has its own scale, and the guess has the scale of its column.
    #[test]
    fn of_columns_and_guesses_differ() {
        let n = 12;
        let x = Random::new(4).vec(n);
        let b = Random::new(5).vec(n);
        let k = gaussian(&column(&x, DType::F32));
        let factors = [1e38, 1.0, 1e-30];
        let right: Vec<f64> = b.iter().flat_map(|b| factors.map(|f| b * f)).collect();
        let right = tensor(&right, [n, 3], DType::F32, &device());
        let options = SolveOptions::default().ridge(2.0);
        let expected = dense(&x, 1, 2.0)
            .cholesky()
            .unwrap()
            .solve(&DVector::from_vec(b));
        let near: Vec<f64> = expected
            .iter()
            .flat_map(|a| factors.map(|f| a * f * 1.001))
            .collect();
        let near = tensor(&near, [n, 3], DType::F32, &device());
        let cold = k.solve(right.clone(), &options).unwrap();
        let warm = k.solve(right, &options.initial(near)).unwrap();
        assert!(warm.info.iterations <= cold.info.iterations);
        for solved in [cold, warm] {
            let solution = host(solved.solution);
            for (e, factor) in factors.into_iter().enumerate() {
                let own = solution.iter().skip(e).step_by(3).map(|a| a / factor);
                assert_close(
                    "column",
                    &own.collect::<Vec<_>>(),
                    expected.as_slice(),
                    1e-5,
                );
            }
        }
    }

    #[test]
    fn of_operators_do_not_matter() {
        let mut random = Random::new(6);
        let n = 15;
        let x = random.vec(n * 2);
        let b = random.vec(n);
        for (dtype, _) in dtypes() {
            let k = gaussian(&tensor(&x, [n, 2], dtype, &device()));
            let a = dense(&x, 2, 0.0);
            let right = DVector::from_vec(b.clone());
            for factor in [1e-30, 1e-20, 1e20, 1e30] {
                let k = &k * factor;
                let what = format!("{dtype:?} {factor}");
                let options = SolveOptions::default().ridge(2.0 * factor);
                let solved = k.solve(column(&b, dtype), &options).expect(&what);
                let expected = dense(&x, 2, 2.0).cholesky().unwrap().solve(&right) / factor;
                let own = |values: Vec<f64>| values.iter().map(|v| v * factor).collect::<Vec<_>>();
                let scaled = expected.as_slice().to_vec();
                assert_close(&what, &own(host(solved.solution)), &own(scaled), 1e-4);

                let options = SolveOptions::default().ridge(-3.0 * factor);
                let solved = minres(&k, column(&b, dtype), &options).expect(&what);
                let expected = dense(&x, 2, -3.0).lu().solve(&right).unwrap();
                let solution = own(host(solved.solution));
                assert_close(&what, &solution, expected.as_slice(), 1e-4);

                let pairs = eigenpairs::<_, 2>(&k, 3, 1e-5, 15).expect(&what);
                let mut expected = a.symmetric_eigenvalues().as_slice().to_vec();
                expected.sort_by(|a, b| b.total_cmp(a));
                let values: Vec<f64> = pairs.values.iter().map(|v| v / factor).collect();
                assert_close(&what, &values, &expected[..3], 1e-5);
                assert!(pairs.residuals.iter().all(|r| *r <= 1e-5), "{pairs:?}");
            }
        }
    }

    #[test]
    fn of_solutions_beyond_the_range_are_refused() {
        // The solution would be 1e30 / 1e-20.
        let operator = Diagonal::new(3, column(&[1e-20; 3], DType::F32)).unwrap();
        let b = column(&[1e30; 3], DType::F32);
        let error = conjugate_gradient(&operator, b, &SolveOptions::default()).unwrap_err();
        assert!(matches!(error, SolveError::NotFinite(_)), "{error}");
        assert!(error.to_string().contains("solution"), "{error}");
    }
}

mod stagnation {
    use super::*;

    #[test]
    fn of_singular_systems_ends_soon_with_an_error() {
        let n = 20;
        for (dtype, _) in dtypes() {
            let u = vec![1.0; n];
            let k = outer(&u, &u, dtype);
            let b = Random::new(7).vec(n * 3);
            for (columns, kept) in [(1, 128), (3, 0), (3, 128)] {
                let right = tensor(&b[..n * columns], [n, columns], dtype, &device());
                let options = SolveOptions::default().keep_directions(kept);
                let what = format!("{dtype:?} {columns} {kept}");
                assert_stagnates(&what, k.solve(right.clone(), &options), 1000);
                assert_stagnates("minres", minres(&k, right, &options), 1000);
            }
            // A zero matrix, and a matrix with an eigenvalue of 0 that matters for b.
            let zero = &k * 0.0;
            let right = column(&b[..n], dtype);
            assert_stagnates(
                "zero",
                minres(&zero, right.clone(), &SolveOptions::default()),
                1000,
            );
            let mut diagonal: Vec<f64> = (0..n).map(|i| 1.0 + i as f64).collect();
            diagonal[3] = 0.0;
            let operator = Diagonal::new(n, column(&diagonal, dtype)).unwrap();
            let options = SolveOptions::default();
            assert_stagnates(
                "cg",
                conjugate_gradient(&operator, right.clone(), &options),
                1000,
            );
            assert_stagnates("minres", minres(&operator, right, &options), 1000);
        }
    }

    /// If b is in the range, or has no part along the eigenvalue of 0, the same systems have a solution.
    #[test]
    fn is_not_seen_where_there_is_a_solution() {
        let n = 40;
        for (dtype, _) in dtypes() {
            let u: Vec<f64> = Random::new(8).vec(n);
            let k = outer(&u, &u, dtype);
            let square: f64 = u.iter().map(|u| u * u).sum();
            let expected: Vec<f64> = u.iter().map(|u| u / square).collect();
            let options = SolveOptions::default();
            for solved in [
                k.solve(column(&u, dtype), &options),
                minres(&k, column(&u, dtype), &options),
            ] {
                assert_close("range", &host(solved.unwrap().solution), &expected, 1e-5);
            }
            let diagonal: Vec<f64> = (0..n).map(|i| i as f64).collect();
            let operator = Diagonal::new(n, column(&diagonal, dtype)).unwrap();
            let b: Vec<f64> = (0..n).map(|i| if i == 0 { 0.0 } else { 1.0 }).collect();
            let expected: Vec<f64> = (0..n)
                .map(|i| if i == 0 { 0.0 } else { 1.0 / i as f64 })
                .collect();
            for solved in [
                conjugate_gradient(&operator, column(&b, dtype), &options),
                minres(&operator, column(&b, dtype), &options),
            ] {
                assert_close("met", &host(solved.unwrap().solution), &expected, 1e-4);
            }
        }
    }

    /// Right-hand sides whose residuals move on by one row per iteration before they vanish, or grow for a long time
    /// before they vanish.
    #[test]
    fn is_not_mistaken_for_a_long_way() {
        let n = 100;
        let device = device();
        for (dtype, _) in dtypes() {
            // The matrix has 2 on the diagonal and -1 next to it, so that the residual moves on by one row per
            // iteration.
            let offset = LazyTensor::offset().abs();
            let anchor = LazyTensor::vi(Tensor::<2>::zeros([n, 1], (&device, dtype)))
                * LazyTensor::vj(Tensor::<2>::zeros([n, 1], (&device, dtype)));
            let k = (LazyTensor::offset().equal(0.0) * 2.0 - offset.equal(1.0)) + anchor;
            let end = |i: usize| f64::from(u8::from(i == 0));
            let of_end = |i: usize| (n - i) as f64 / (n + 1) as f64;
            let of_ones = |i: usize| ((i + 1) * (n - i)) as f64 / 2.0;
            let cases: [[&dyn Fn(usize) -> f64; 2]; 2] = [[&end, &of_end], [&|_| 1.0, &of_ones]];
            for case in cases {
                let [b, expected] = case.map(|f| (0..n).map(f).collect::<Vec<f64>>());
                let b = column(&b, dtype);
                let options = SolveOptions::default().tolerance(1e-4);
                for (what, solved) in [
                    ("kept", k.solve(b.clone(), &options)),
                    (
                        "not kept",
                        k.solve(b.clone(), &options.clone().keep_directions(0)),
                    ),
                    ("minres", minres(&k, b.clone(), &options)),
                ] {
                    let solved = solved.expect(what);
                    // A run that is given up too early is started again and takes more iterations.
                    let most = if what == "minres" { 3 * n } else { n + 20 };
                    assert!(
                        (n / 2..most).contains(&solved.info.iterations),
                        "{what}: {:?}",
                        solved.info
                    );
                    assert_close(what, &host(solved.solution), &expected, 2e-2);
                }
            }
        }
    }
}

mod nothing {
    use super::*;

    #[test]
    fn zeros_have_the_solution_zero_whatever_the_guess() {
        let n = 10;
        let x = column(&Random::new(9).vec(n), DType::F32);
        let k = gaussian(&x);
        let zeros = Tensor::<2>::zeros([n, 2], &device());
        let guess = Tensor::<2>::ones([n, 2], &device());
        for options in [
            SolveOptions::default().ridge(0.1),
            SolveOptions::default().ridge(0.1).initial(guess),
        ] {
            for solved in [
                k.solve(zeros.clone(), &options),
                minres(&k, zeros.clone(), &options),
                least_squares(&k, zeros.clone(), &options),
            ] {
                let solved = solved.unwrap();
                assert_eq!(host(solved.solution), vec![0.0; 2 * n]);
                assert_eq!(solved.info.residuals, [0.0, 0.0]);
                assert_eq!(solved.info.iterations, 0);
            }
        }
    }

    #[test]
    fn empty_systems_have_empty_solutions() {
        let device = device();
        let options = SolveOptions::default();
        let none = gaussian(&Tensor::zeros([0, 2], &device));
        let some = gaussian(&Tensor::zeros([4, 2], &device));
        for (k, b, shape) in [
            (&none, Tensor::<2>::zeros([0, 3], &device), [0, 3]),
            (&some, Tensor::<2>::zeros([4, 0], &device), [4, 0]),
            (&none, Tensor::<2>::zeros([0, 0], &device), [0, 0]),
        ] {
            for solved in [
                k.solve(b.clone(), &options),
                minres(k, b.clone(), &options),
                least_squares(k, b.clone(), &options),
            ] {
                assert_eq!(solved.unwrap().solution.dims(), shape);
            }
        }
        // Systems without rows or without columns.
        let tall = LazyTensor::vi(Tensor::<2>::ones([0, 1], &device))
            * LazyTensor::vj(Tensor::<2>::ones([3, 1], &device));
        let solved = least_squares(&tall, Tensor::<2>::zeros([0, 2], &device), &options).unwrap();
        assert_eq!(host(solved.solution), vec![0.0; 6]);
        let wide = tall.t();
        let solved = least_squares(&wide, Tensor::<2>::ones([3, 2], &device), &options).unwrap();
        assert_eq!(solved.solution.dims(), [0, 2]);
        // A batch without matrices.
        let points = Tensor::<3>::zeros([0, 4, 2], &device);
        let k = (-LazyTensor::vi(points.clone()).sqdist(LazyTensor::vj(points))).exp();
        let options = SolveOptions::default();
        for solved in [
            k.solve(Tensor::<3>::ones([0, 4, 1], &device), &options),
            k.solve(Tensor::<3>::ones([1, 4, 1], &device), &options),
            minres(&k, Tensor::<3>::ones([1, 4, 1], &device), &options),
            least_squares(&k, Tensor::<3>::ones([1, 4, 1], &device), &options),
        ] {
            let solved = solved.unwrap();
            assert_eq!(solved.solution.dims(), [0, 4, 1]);
            assert!(solved.info.residuals.is_empty());
        }
        // Determinants, preconditioners and eigenvalues without rows.
        let empty = log_det(&none, &LogDetOptions::<2>::default()).unwrap();
        assert_eq!((empty.estimates()[0], empty.standard_errors[0]), (0.0, 0.0));
        let empty = log_det(&none, &LogDetOptions::<2>::default().exact_up_to(0)).unwrap();
        assert_eq!(empty.estimates()[0], 0.0);
        let nystrom = Nystrom::<2>::new(&none, 1.0, Rank::Auto).unwrap();
        assert_eq!((nystrom.rank(), nystrom.log_dets()[0]), (0, 0.0));
        Jacobi::<2>::new(&none, 1.0).unwrap();
        assert!(eigenpairs::<_, 2>(&none, 1, 1e-3, 10).is_err());
    }

    #[test]
    fn one_row_is_a_division() {
        for (dtype, _) in dtypes() {
            let k = outer(&[2.0], &[2.0], dtype);
            let options = SolveOptions::default();
            for solved in [
                k.solve(column(&[3.0], dtype), &options),
                minres(&k, column(&[3.0], dtype), &options),
                least_squares(&k, column(&[3.0], dtype), &options),
            ] {
                assert_close("one", &host(solved.unwrap().solution), &[0.75], 1e-6);
            }
            let value = log_det(&k, &LogDetOptions::<2>::default().ridge(1.0)).unwrap();
            assert!((value.estimates()[0] - 5f64.ln()).abs() < 1e-12);
        }
    }

    #[test]
    fn values_that_are_not_finite_are_refused() {
        let n = 8;
        let x = Random::new(10).vec(n);
        let k = gaussian(&column(&x, DType::F32));
        let options = SolveOptions::default().ridge(0.1);
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut b = vec![1.0; n];
            b[5] = bad;
            let b = column(&b, DType::F32);
            for solved in [
                k.solve(b.clone(), &options),
                minres(&k, b.clone(), &options),
                least_squares(&k, b.clone(), &options),
            ] {
                let error = solved.unwrap_err();
                assert!(
                    matches!(error, SolveError::NotFinite("the right-hand side")),
                    "{error}"
                );
            }
            let poisoned = &k + LazyTensor::vi(b.clone()) * LazyTensor::vj(b);
            let fine = Tensor::<2>::ones([n, 1], &device());
            for solved in [
                poisoned.solve(fine.clone(), &options),
                minres(&poisoned, fine.clone(), &options),
                least_squares(&poisoned, fine.clone(), &options),
            ] {
                let error = solved.unwrap_err();
                assert!(matches!(error, SolveError::NotFinite(_)), "{error}");
            }
            for error in [
                eigenpairs::<_, 2>(&poisoned, 1, 1e-3, 8).unwrap_err(),
                log_det(&poisoned, &LogDetOptions::<2>::default()).unwrap_err(),
                log_det(&poisoned, &LogDetOptions::<2>::default().exact_up_to(0)).unwrap_err(),
                Jacobi::<2>::new(&poisoned, 0.1).unwrap_err(),
                Nystrom::<2>::new(&poisoned, 0.1, Rank::Auto).unwrap_err(),
            ] {
                assert!(matches!(error, SolveError::NotFinite(_)), "{error}");
            }
        }
        let negative = -&k;
        let error = Jacobi::<2>::new(&negative, 0.1).unwrap_err();
        assert!(error.to_string().contains("row 0"), "{error}");
        for wrong in [
            eigenpairs::<_, 2>(&k, 5, 1e-3, 4).unwrap_err(),
            eigenpairs::<_, 2>(&k, 2, -1.0, 8).unwrap_err(),
            eigenpairs::<_, 2>(&k, 2, f64::NAN, 8).unwrap_err(),
            log_det(&k, &LogDetOptions::<2>::default().ridge(f64::NAN)).unwrap_err(),
            log_det(&k, &LogDetOptions::<2>::default().probes(0)).unwrap_err(),
        ] {
            assert!(matches!(wrong, SolveError::Option { .. }), "{wrong}");
        }
    }
}

mod determinants {
    use super::*;

    #[test]
    fn of_small_matrices_are_exact() {
        let mut random = Random::new(11);
        for (dtype, _) in dtypes() {
            // One row, one block, one row more, and several blocks.
            for (n, ridge) in [(1, 0.5), (5, 0.01), (16, 0.01), (17, 1e-2), (150, 1e-2)] {
                // The points are rounded to F32, so that the matrices are the same in all types.
                let x = rounded(&random.vec(n), DType::F32);
                let k = gaussian(&column(&x, dtype));
                let value = log_det(&k, &LogDetOptions::<2>::default().ridge(ridge)).unwrap();
                let eigenvalues = dense(&x, 1, ridge).symmetric_eigenvalues();
                let expected: f64 = eigenvalues.map(f64::ln).sum();
                // The entries are computed in F32 if the device has no F64.
                let close = if dtypes().len() > 1 { 1e-10 } else { 1e-5 };
                let error = (value.estimates()[0] - expected).abs();
                assert!(
                    error <= close * (1.0 + expected.abs()),
                    "{dtype:?} {n}: {value}, {expected}"
                );
                assert_eq!(value.standard_errors[0], 0.0);
                assert_eq!(value.value.dtype(), dtype);
                assert_close("value", &host(value.value.clone()), &[expected], 1e-5);

                let estimate = log_det(
                    &k,
                    &LogDetOptions::<2>::default()
                        .ridge(ridge)
                        .exact_up_to(n - 1),
                )
                .unwrap();
                assert!(estimate.standard_errors[0] > 0.0 || n == 1);
            }
        }
    }

    #[test]
    fn are_printed_as_numbers() {
        let k = outer(&[1.0, 0.0], &[1.0, 0.0], DType::F32);
        let value = log_det(&k, &LogDetOptions::<2>::default().ridge(1.0)).unwrap();
        assert_eq!(format!("{value:.4}"), "0.6931 ± 0.0000");
        assert_eq!(value.to_string(), format!("{} ± 0", value.estimates()[0]));
        assert!((value.estimates()[0] - 2f64.ln()).abs() < 1e-15);
        let debug = format!("{value:?}");
        assert!(debug.starts_with("LogDet { values: [0.693147"), "{debug}");
        assert!(debug.contains("standard_errors: [0.0]"), "{debug}");
        // A single probe vector gives no estimate of the error.
        let options = LogDetOptions::<2>::default()
            .ridge(1.0)
            .exact_up_to(0)
            .probes(1);
        assert_eq!(
            log_det(&k, &options).unwrap().standard_errors[0],
            f64::INFINITY
        );
    }

    #[test]
    fn of_matrices_that_are_not_positive_definite_are_refused() {
        let refused = |k: &LazyTensor, ridge: f64| {
            let error = log_det(k, &LogDetOptions::<2>::default().ridge(ridge)).unwrap_err();
            let SolveError::NotPositiveDefinite { column, .. } = error else {
                panic!("{error}");
            };
            let text = error.to_string();
            assert!(text.contains(&format!("row {column}")), "{text}");
            column
        };
        for (dtype, _) in dtypes() {
            let x = Random::new(12).vec(30);
            let k = gaussian(&column(&x, dtype));
            assert_eq!(refused(&k, -2.0), 0);
            refused(&k, -0.5);
            // Singular matrices: a point that occurs twice, and a matrix of rank 1.
            let twice = [0.0, 1.5, 3.0, 1.5];
            assert_eq!(refused(&gaussian(&column(&twice, dtype)), 0.0), 3);
            assert_eq!(refused(&outer(&[1.0, 2.0], &[1.0, 2.0], dtype), 0.0), 1);
            let skewed = outer(&[1.0, 2.0], &[2.0, 1.0], dtype);
            let error = log_det(&skewed, &LogDetOptions::<2>::default()).unwrap_err();
            assert!(matches!(error, SolveError::NotSymmetric(_)), "{error}");
        }
    }

    #[cfg(feature = "autodiff")]
    #[test]
    fn have_exact_gradients() {
        let device = device().autodiff();
        for (dtype, _) in dtypes() {
            for n in [1, 5, 40] {
                let x = rounded(&Random::new(13).vec(n * 2), DType::F32);
                let (scale, noise) = (1.5, 0.125);
                let exact = |x: &[f64], scale: f64, noise: f64| -> f64 {
                    let scaled: Vec<f64> = x.iter().map(|x| x * scale.sqrt()).collect();
                    let eigenvalues = dense(&scaled, 2, noise).symmetric_eigenvalues();
                    eigenvalues.map(f64::ln).sum()
                };
                let points = tensor(&x, [n, 2], dtype, &device).require_grad();
                let s = tensor(&[scale], [1], dtype, &device).require_grad();
                let d = tensor(&[noise], [1, 1], dtype, &device).require_grad();
                let k = scaled_gaussian(&points, &s);
                let operator = Sum(k, Diagonal::new(n, d.clone()).unwrap());
                let value = log_det(&operator, &LogDetOptions::<2>::default())
                    .unwrap()
                    .value;
                assert_close(
                    "value",
                    &host(value.clone()),
                    &[exact(&x, scale, noise)],
                    1e-5,
                );
                let gradients = (value * 3.0).backward();
                let close = if dtype == DType::F64 { 1e-6 } else { 1e-4 };
                let loss = |x: &[f64], scale, noise| 3.0 * exact(x, scale, noise);
                let by_s = differences(&[scale], &|s| loss(&x, s[0], noise));
                assert_gradient("scale", &s, &gradients, &by_s, close);
                let by_d = differences(&[noise], &|d| loss(&x, scale, d[0]));
                assert_gradient("noise", &d, &gradients, &by_d, close);
                let by_x = differences(&x, &|x| loss(x, scale, noise));
                let of_x = points.grad(&gradients).unwrap();
                assert_eq!(of_x.dtype(), dtype);
                assert_close("points", &host(of_x), &by_x, close);
            }
        }
    }
}

mod halves_as_storage {
    use super::*;

    #[test]
    fn systems_are_solved_in_single_precision() {
        for (dtype, rounding) in halves() {
            let n = 60;
            let x = rounded(&Random::new(14).vec(n * 2), dtype);
            let b = rounded(&Random::new(15).vec(n * 2), dtype);
            let k = gaussian(&tensor(&x, [n, 2], dtype, &device()));
            let right = tensor(&b, [n, 2], dtype, &device());
            let ridge = 0.05;
            let dense_b = DMatrix::from_row_slice(n, 2, &b);
            let check =
                |what: &str, solved: Result<Solution<2>, SolveError>, exact: DMatrix<f64>| {
                    let what = format!("{what} {dtype:?}");
                    let solved = solved.expect(&what);
                    assert_eq!(solved.solution.dtype(), dtype, "{what}");
                    // Each entry is exact up to the rounding of the type, apart from cancellation in F32.
                    let scale = exact.amax();
                    let solution = host(solved.solution);
                    for (value, exact) in solution.iter().zip(exact.transpose().iter()) {
                        let limit = rounding * exact.abs() + 1e-4 * scale;
                        assert!((value - exact).abs() <= limit, "{what}: {value}, {exact}");
                    }
                    // If F32 ends the iterations before the tolerance is reached, the result says so.
                    let info = solved.info;
                    let limit = if info.precision_limited { 1e-4 } else { 1e-5 };
                    assert!(
                        info.residuals.iter().all(|r| *r <= limit),
                        "{what}: {info:?}"
                    );
                };
            let options = SolveOptions::default().ridge(ridge).tolerance(1e-5);
            let exact = dense(&x, 2, ridge).cholesky().unwrap().solve(&dense_b);
            check("solve", k.solve(right.clone(), &options), exact.clone());
            let jacobi = options
                .clone()
                .preconditioner(Jacobi::new(&k, ridge).unwrap());
            check("Jacobi", k.solve(right.clone(), &jacobi), exact.clone());
            let nystrom = Nystrom::new(&k, ridge, Rank::Columns(20)).unwrap();
            let nystrom = options.clone().preconditioner(nystrom);
            check("Nyström", k.solve(right.clone(), &nystrom), exact.clone());
            let guess = tensor(&vec![0.5; 2 * n], [n, 2], dtype, &device());
            let guess = options.clone().initial(guess);
            check("guess", k.solve(right.clone(), &guess), exact);
            let exact = dense(&x, 2, -3.0).lu().solve(&dense_b).unwrap();
            let shifted = options.clone().ridge(-3.0);
            check("minres", minres(&k, right.clone(), &shifted), exact);
            let part = dense(&x, 2, 0.0).columns(0, 6).clone_owned();
            let mut normal = part.tr_mul(&part);
            (0..6).for_each(|i| normal[(i, i)] += 0.5);
            let exact = normal.cholesky().unwrap().solve(&part.tr_mul(&dense_b));
            let least = least_squares(&k.block(0..n, 0..6), right.clone(), &options.ridge(0.5));
            check("least squares", least, exact);

            // Operands of different types are refused, even if one type has 16 bits.
            let single = right.cast(FloatDType::F32);
            assert!(k.solve(single, &SolveOptions::default()).is_err());
            // A solution that is out of the range of F16 is refused.
            if dtype == DType::F16 {
                let operator = Diagonal::new(2, column(&[1e-3; 2], dtype)).unwrap();
                let large = column(&[1e3; 2], dtype);
                let error = conjugate_gradient(&operator, large, &SolveOptions::default());
                assert!(matches!(error, Err(SolveError::NotFinite(_))), "{error:?}");
            }
        }
    }

    #[test]
    fn determinants_and_eigenpairs_are_of_the_stored_matrix() {
        for (dtype, _) in halves() {
            let n = 50;
            let x = rounded(&Random::new(16).vec(n * 2), dtype);
            let k = gaussian(&tensor(&x, [n, 2], dtype, &device()));
            let a = dense(&x, 2, 0.05);
            let exact: f64 = a.symmetric_eigenvalues().map(f64::ln).sum();
            let options = LogDetOptions::<2>::default().ridge(0.05);
            let value = log_det(&k, &options).unwrap();
            assert_eq!(value.value.dtype(), DType::F32);
            assert!(
                (value.estimates()[0] - exact).abs() <= 1e-5 * exact.abs(),
                "{value} {exact}"
            );
            let nystrom = Nystrom::new(&k, 0.05, Rank::Columns(30)).unwrap();
            let options = options.exact_up_to(0).probes(64).tolerance(1e-5);
            for options in [options.clone(), options.preconditioner(nystrom)] {
                let value = log_det(&k, &options).unwrap();
                let error = (value.estimates()[0] - exact).abs();
                assert!(
                    error <= 4.0 * value.standard_errors[0] + 1e-3 * exact.abs(),
                    "{value} {exact}"
                );
            }

            let pairs = eigenpairs::<_, 2>(&k, 3, 1e-5, n).unwrap();
            assert_eq!(pairs.vectors.dtype(), DType::F32);
            let mut expected = dense(&x, 2, 0.0)
                .symmetric_eigenvalues()
                .as_slice()
                .to_vec();
            expected.sort_by(|a, b| b.total_cmp(a));
            assert_close("eigenvalues", &pairs.values, &expected[..3], 1e-5);
        }
    }

    #[cfg(feature = "autodiff")]
    #[test]
    fn gradients_are_rounded_once() {
        let device = device().autodiff();
        for (dtype, rounding) in halves() {
            if !burn_computes(dtype) {
                continue;
            }
            let n = 20;
            let x = rounded(&Random::new(17).vec(n), dtype);
            let b = rounded(&Random::new(18).vec(n), dtype);
            let points = tensor(&x, [n, 1], dtype, &device).require_grad();
            let right = tensor(&b, [n, 1], dtype, &device).require_grad();
            let k = gaussian(&points);
            let options = SolveOptions::default().ridge(0.5).tolerance(1e-6);
            let solved = k.solve(right.clone(), &options).unwrap();
            let determinant = log_det(&k, &LogDetOptions::<2>::default().ridge(0.5)).unwrap();
            let loss = solved.solution.cast(FloatDType::F32).sum() + determinant.value;
            let gradients = loss.backward();
            let exact = |x: &[f64], b: &[f64]| -> f64 {
                let factor = dense(x, 1, 0.5).cholesky().unwrap();
                let solution = factor.solve(&DVector::from_row_slice(b));
                solution.sum() + factor.ln_determinant()
            };
            let by_x = differences(&x, &|x| exact(x, &b));
            let by_b = differences(&b, &|b| exact(&x, b));
            let of_x = points.grad(&gradients).unwrap();
            assert_eq!(of_x.dtype(), dtype);
            assert_close("x", &host(of_x), &by_x, 3.0 * rounding);
            assert_gradient("b", &right, &gradients, &by_b, 3.0 * rounding);
        }
    }
}

mod vectors {
    use super::*;

    #[test]
    fn are_right_hand_sides_as_of_products() {
        for (dtype, _) in dtypes() {
            let n = 30;
            let x = Random::new(19).vec(n * 2);
            let b = Random::new(20).vec(n);
            let k = gaussian(&tensor(&x, [n, 2], dtype, &device()));
            let right = vector(&b, dtype);
            let product = k.matmul(right.clone());
            assert_eq!(product.dims(), [n]);
            let dense_b = DVector::from_vec(b.clone());
            let options = SolveOptions::default().ridge(0.1);
            let exact = dense(&x, 2, 0.1).cholesky().unwrap().solve(&dense_b);
            let nystrom = Nystrom::new(&k, 0.1, Rank::Columns(10)).unwrap();
            let guess = exact
                .as_slice()
                .iter()
                .map(|a| 1.01 * a)
                .collect::<Vec<_>>();
            let ways = [
                options.clone(),
                options.clone().initial(vector(&guess, dtype)),
                options.clone().preconditioner(nystrom),
                options
                    .clone()
                    .preconditioner(Jacobi::new(&k, 0.1).unwrap()),
            ];
            let mut iterations = Vec::new();
            for options in &ways {
                let solved = k.solve(right.clone(), options).unwrap();
                assert_eq!(solved.solution.dims(), [n]);
                assert_eq!(solved.info.residuals.len(), 1);
                assert_close("solve", &host(solved.solution), exact.as_slice(), 1e-4);
                iterations.push(solved.info.iterations);
            }
            assert!(iterations[2] < iterations[0], "{iterations:?}");
            let composed = Sum(k.clone(), Diagonal::new(n, vector(&[0.1], dtype)).unwrap());
            let solved =
                conjugate_gradient(&composed, right.clone(), &SolveOptions::default()).unwrap();
            assert_close("sum", &host(solved.solution), exact.as_slice(), 1e-4);

            let solved = minres(&k, right.clone(), &options.clone().ridge(-3.0)).unwrap();
            let exact = dense(&x, 2, -3.0).lu().solve(&dense_b).unwrap();
            assert_close("minres", &host(solved.solution), exact.as_slice(), 1e-4);

            let wide = k.block(0..n, 0..4);
            let solved = least_squares(&wide, right, &options.ridge(0.5)).unwrap();
            let part = dense(&x, 2, 0.0).columns(0, 4).clone_owned();
            let mut normal = part.tr_mul(&part);
            (0..4).for_each(|i| normal[(i, i)] += 0.5);
            let exact = normal.cholesky().unwrap().solve(&part.tr_mul(&dense_b));
            assert_eq!(solved.solution.dims(), [4]);
            assert_close(
                "least squares",
                &host(solved.solution),
                exact.as_slice(),
                1e-4,
            );
        }
    }

    #[test]
    fn that_do_not_fit_are_refused_with_both_shapes() {
        let device = device();
        let k = gaussian(&column(&Random::new(21).vec(6), DType::F32));
        let options = SolveOptions::default().ridge(0.1);
        let short = Tensor::<1>::ones([5], &device);
        for error in [
            k.solve(short.clone(), &options).unwrap_err(),
            minres(&k, short.clone(), &options).unwrap_err(),
            least_squares(&k, short.clone(), &options).unwrap_err(),
        ] {
            assert!(matches!(error, SolveError::Shape { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains("right-hand side of shape [5]"), "{text}");
            assert!(text.contains("6 rows"), "{text}");
        }
        let guess = options.clone().initial(short);
        let error = k
            .solve(Tensor::<1>::ones([6], &device), &guess)
            .unwrap_err();
        assert!(error.to_string().contains("guess of shape [5]"), "{error}");
        // A right-hand side that is a vector has no batch.
        let points = Tensor::<3>::ones([2, 6, 1], &device);
        let batched = (-LazyTensor::vi(points.clone()).sqdist(LazyTensor::vj(points))).exp();
        let b = Tensor::<1>::ones([6], &device);
        assert!(batched.try_matmul(b.clone()).is_err());
        let error = batched
            .solve(b, &SolveOptions::default().ridge(0.1))
            .unwrap_err();
        assert!(error.to_string().contains("batch [2]"), "{error}");
    }

    #[cfg(feature = "autodiff")]
    #[test]
    fn have_gradients() {
        let device = device().autodiff();
        let (dtype, _) = *dtypes().last().unwrap();
        let n = 15;
        let x = Random::new(22).vec(n);
        let b = Random::new(23).vec(n);
        let points = tensor(&x, [n, 1], dtype, &device).require_grad();
        let right = tensor(&b, [n], dtype, &device).require_grad();
        let options = SolveOptions::default().ridge(0.5).tolerance(1e-6);
        let k = gaussian(&points);
        let solved = k.solve(right.clone(), &options).unwrap().solution;
        let least = least_squares(&k.block(0..n, 0..4), right.clone(), &options).unwrap();
        let gradients = (solved.square().sum() + least.solution.sum()).backward();
        let exact = |x: &[f64], b: &[f64]| -> f64 {
            let b = DVector::from_row_slice(b);
            let solution = dense(x, 1, 0.5).cholesky().unwrap().solve(&b);
            let part = dense(x, 1, 0.0).columns(0, 4).clone_owned();
            let mut normal = part.tr_mul(&part);
            (0..4).for_each(|i| normal[(i, i)] += 0.5);
            let least = normal.cholesky().unwrap().solve(&part.tr_mul(&b));
            solution.norm_squared() + least.sum()
        };
        let by_x = differences(&x, &|x| exact(x, &b));
        let by_b = differences(&b, &|b| exact(&x, b));
        assert_gradient("x", &points, &gradients, &by_x, 1e-3);
        assert_gradient("b", &right, &gradients, &by_b, 1e-3);
    }
}

mod refusals {
    use super::*;

    #[test]
    fn of_composed_operators_are_errors() {
        let device = device();
        let ones = |shape: [usize; 3]| Tensor::<3>::ones(shape, &device);
        let diagonal = Diagonal::new(4, ones([2, 4, 1])).unwrap();
        // Rows, batches and types that do not fit.
        for v in [
            ones([2, 5, 1]),
            ones([3, 4, 1]),
            ones([2, 1, 1]),
            ones([2, 4, 1]).cast(FloatDType::F32),
        ]
        .into_iter()
        .take(3)
        {
            let error = diagonal.apply(v.clone()).unwrap_err();
            assert!(
                matches!(error, LazyError::Size { .. } | LazyError::Batch(_)),
                "{error}"
            );
        }
        let other = Diagonal::new(4, ones([3, 1, 1])).unwrap();
        let both = Sum(diagonal, other);
        let options = SolveOptions::default();
        assert!(conjugate_gradient(&both, ones([1, 4, 1]), &options).is_err());
        assert!(both.apply(ones([1, 4, 1])).is_err());
        let k = gaussian(&Tensor::<2>::ones([5, 1], &device));
        let uneven = Sum(
            k,
            Diagonal::new(4, Tensor::<2>::ones([4, 1], &device)).unwrap(),
        );
        let error = conjugate_gradient(
            &uneven,
            Tensor::<2>::ones([5, 1], &device),
            &SolveOptions::default(),
        );
        assert!(
            matches!(
                error,
                Err(SolveError::Lazy(LazyError::OperatorSizes { .. }))
            ),
            "{error:?}"
        );
        let preconditioner = Nystrom::<2>::new(
            &gaussian(&Tensor::<2>::ones([5, 1], &device)),
            0.1,
            Rank::Auto,
        );
        let wrong: Result<Tensor<2>, _> = preconditioner
            .unwrap()
            .apply(Tensor::<2>::ones([4, 1], &device));
        assert!(wrong.is_err());
        let jacobi = Jacobi::<2>::new(&gaussian(&Tensor::<2>::ones([5, 1], &device)), 0.1);
        assert!(
            jacobi
                .unwrap()
                .apply(Tensor::<2>::ones([4, 1], &device))
                .is_err()
        );
    }

    /// An operator outside of autodiff, and systems without rows or columns in a graph.
    #[cfg(feature = "autodiff")]
    #[test]
    fn leave_graphs_whole() {
        let plain = device();
        let device = device().autodiff();
        let x = Random::new(25).vec(6);
        let k = gaussian(&tensor(&x, [6, 1], DType::F32, &plain));
        let b = tensor(&Random::new(26).vec(6), [6, 1], DType::F32, &device).require_grad();
        let options = SolveOptions::default().ridge(0.5);
        let solution = k.solve(b.clone(), &options).unwrap().solution;
        let gradient = b.grad(&solution.sum().backward()).unwrap();
        let ones = DVector::from_element(6, 1.0);
        let expected = dense(&x, 1, 0.5).cholesky().unwrap().solve(&ones);
        assert_close("b", &host(gradient), expected.as_slice(), 1e-4);

        let points = tensor(&x, [6, 1], DType::F32, &device).require_grad();
        for (x, b, shape) in [
            (points.clone(), Tensor::<2>::ones([6, 0], &device), [6, 0]),
            (
                Tensor::<2>::ones([0, 1], &device).require_grad(),
                Tensor::<2>::ones([0, 2], &device),
                [0, 2],
            ),
        ] {
            let solved = gaussian(&x).solve(b, &options).unwrap();
            assert_eq!(solved.solution.dims(), shape);
        }
    }

    /// NaN in a loss reaches the gradients, as elsewhere in Burn, and no backward pass panics because of it.
    #[cfg(feature = "autodiff")]
    #[test]
    fn do_not_end_backward_passes() {
        let device = device().autodiff();
        let x = tensor(&Random::new(24).vec(6), [6, 1], DType::F32, &device).require_grad();
        let b = Tensor::<2>::ones([6, 1], &device);
        let options = SolveOptions::default().ridge(0.5);
        let solution = gaussian(&x).solve(b, &options).unwrap().solution;
        let gradients = (solution * f64::NAN).sum().backward();
        let of_x = host(x.grad(&gradients).unwrap());
        assert!(of_x.iter().all(|value| value.is_nan()), "{of_x:?}");
    }
}
