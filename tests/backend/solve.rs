//! Linear systems, eigenvalues and determinants, against dense computations in `f64`.

use burn::{
    prelude::*,
    tensor::{DType, FloatDType},
};
use burn_lazy::{
    LazyError, LazyTensor,
    solve::{
        Diagonal, Jacobi, LinearOperator, LogDetOptions, Nystrom, Rank, SolveError, SolveOptions,
        Sum, conjugate_gradient, eigenpairs, least_squares, log_det, minres,
    },
};
use nalgebra::DMatrix;

use super::support::{Random, assert_close, device, dtypes, gaussian, host, skipped, tensor};
#[cfg(feature = "autodiff")]
use super::support::{assert_gradient, differences, scaled_gaussian};

fn laplacian(x: &Tensor<2>) -> LazyTensor {
    (-(LazyTensor::vi(x.clone()) - LazyTensor::vj(x.clone())).norm()).exp()
}

/// The dense matrix of $e^{-|x - y|^2}$ or $e^{-|x - y|}$.
fn dense(x: &[f64], dim: usize, square: bool) -> DMatrix<f64> {
    let n = x.len() / dim;
    DMatrix::from_fn(n, n, |i, j| {
        let squares = (0..dim).map(|k| (x[i * dim + k] - x[j * dim + k]).powi(2));
        let squares: f64 = squares.sum();
        (-if square { squares } else { squares.sqrt() }).exp()
    })
}

fn with_ridge(mut matrix: DMatrix<f64>, ridge: f64) -> DMatrix<f64> {
    for i in 0..matrix.nrows() {
        matrix[(i, i)] += ridge;
    }
    matrix
}

fn matrix(values: &[f64], columns: usize) -> DMatrix<f64> {
    DMatrix::from_row_slice(values.len() / columns, columns, values)
}

/// The entries of a matrix row by row, as in tensors.
fn rows(matrix: &DMatrix<f64>) -> Vec<f64> {
    matrix.transpose().as_slice().to_vec()
}

fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        _ => f32::EPSILON.into(),
    }
}

/// The largest norm of a column of `a`, relative to the norm of the same column of `b`.
fn worst(a: &DMatrix<f64>, b: &DMatrix<f64>) -> f64 {
    let columns = a.column_iter().zip(b.column_iter());
    columns
        .map(|(a, b)| a.norm() / b.norm())
        .fold(0.0, f64::max)
}

#[test]
fn solutions_agree_with_cholesky() {
    let device = device();
    for (dtype, _) in dtypes() {
        let mut random = Random::new(1);
        for (n, columns, ridge, scale) in [
            (1, 2, 0.1, 1.0),
            (2, 2, 1e-6, 1e-6),
            (33, 2, 10.0, 1e6),
            (100, 2, 1e-3, 1e6),
            (65, 2, 1e-6, 1.0),
        ] {
            for square in [true, false] {
                // The points are spread out, so that F32 can solve systems with small ridges.
                let x: Vec<f64> = random.vec(n * 3).iter().map(|x| x * 3.0).collect();
                let b: Vec<f64> = random.vec(n * columns).iter().map(|b| b * scale).collect();
                let points = tensor(&x, [n, 3], dtype, &device);
                let k = match square {
                    true => gaussian(&points),
                    false => laplacian(&points),
                };
                let right = tensor(&b, [n, columns], dtype, &device);
                let tolerance = if dtype == DType::F64 { 1e-10 } else { 1e-6 };
                let options = SolveOptions::default().ridge(ridge).tolerance(tolerance);
                let solved = k.solve(right, &options).unwrap();

                let what = format!("{dtype:?} n={n} ridge={ridge} scale={scale} {square}");
                let a = with_ridge(dense(&x, 3, square), ridge);
                let b = matrix(&b, columns);
                let eigenvalues = a.clone().symmetric_eigenvalues();
                let condition = eigenvalues.max() / eigenvalues.min();
                let solution = matrix(&host(solved.solution), columns);
                let residual = worst(&(&b - &a * &solution), &b);
                let limit = tolerance.max(4.0 * rounding(dtype) * condition);
                assert!(
                    residual <= 1.1 * limit,
                    "{what}: residual {residual}, limit {limit}"
                );
                let said = solved.info.residuals.iter().copied().fold(0.0, f64::max);
                assert_eq!(solved.info.residuals.len(), columns, "{what}");
                assert_eq!(solved.info.precision_limited, said > tolerance, "{what}");
                assert!(
                    (said - residual).abs() <= limit,
                    "{what}: {said}, {residual}"
                );
                let exact = a.cholesky().unwrap().solve(&b);
                let error = worst(&(&solution - &exact), &exact);
                assert!(
                    error <= 2.0 * limit * condition,
                    "{what}: {error}, {condition}"
                );
            }
        }
    }
}

#[test]
fn iterations_in_f32_reach_residuals_of_f64() {
    let device = device();
    let (n, columns, ridge) = (150, 2, 1e-2);
    let x: Vec<f64> = Random::new(3).vec(n * 3);
    let b = Random::new(4).vec(n * columns);
    // Points and right-hand sides are rounded to F32, so that the systems in both types are the
    // same.
    let x: Vec<f64> = x.iter().map(|x| f64::from(*x as f32)).collect();
    let b: Vec<f64> = b.iter().map(|b| f64::from(*b as f32)).collect();
    let points = tensor(&x, [n, 3], DType::F32, &device);
    let right = tensor(&b, [n, columns], DType::F32, &device);
    let k = gaussian(&points);
    if dtypes().len() == 1 {
        assert!(matches!(
            k.try_cast(FloatDType::F64),
            Err(LazyError::Launch { .. })
        ));
        return;
    }
    let options = SolveOptions::default().ridge(ridge).tolerance(1e-11);
    let coarse = k.solve(right.clone(), &options).unwrap();
    assert!(coarse.info.precision_limited);

    let fine = k.cast(FloatDType::F64);
    let right = right.cast(FloatDType::F64);
    let mixed = options.clone().iterate_in(FloatDType::F32);
    let nystrom = Nystrom::new(&k, ridge, Rank::Auto).unwrap();
    let jacobi = Jacobi::new(&k, ridge).unwrap();
    let a = with_ridge(dense(&x, 3, true), ridge);
    let b = matrix(&b, columns);
    let mut iterations = None;
    for (what, options) in [
        ("F64", options),
        ("mixed", mixed.clone()),
        ("Nyström", mixed.clone().preconditioner(nystrom)),
        ("Jacobi", mixed.clone().preconditioner(jacobi)),
    ] {
        let solved = fine.solve(right.clone(), &options).unwrap();
        assert_eq!(solved.solution.dtype(), DType::F64, "{what}");
        let solution = matrix(&host(solved.solution), columns);
        let residual = worst(&(&b - &a * &solution), &b);
        assert!(residual <= 1.1e-11, "{what}: {residual}");
        assert!(!solved.info.precision_limited, "{what}");
        // Search directions are kept when the residual is computed anew, so there are not many more
        // iterations.
        let iterations = *iterations.get_or_insert(solved.info.iterations);
        let most = 5 * iterations / 2;
        assert!(solved.info.iterations <= most, "{what}: {:?}", solved.info);
    }
    // A composed operator, and another method.
    let diagonal = Diagonal::new(n, Tensor::<2>::full([n, 1], ridge, &device)).unwrap();
    let operator = Sum(k.clone(), diagonal);
    let operator = LinearOperator::<2>::cast(&operator, FloatDType::F64).unwrap();
    let solved = minres(&operator, right.clone(), &mixed.clone().ridge(0.0)).unwrap();
    let solution = matrix(&host(solved.solution), columns);
    let with_f32_ridge = with_ridge(dense(&x, 3, true), f64::from(ridge as f32));
    let residual = worst(&(&b - with_f32_ridge * solution), &b);
    assert!(residual <= 1.1e-11, "MINRES: {residual}");

    // F16 is too coarse for the iterations.
    let half = mixed.iterate_in(FloatDType::F16);
    assert_eq!(
        fine.solve(right, &half).unwrap_err(),
        SolveError::Dtype(DType::F16)
    );
}

#[cfg(feature = "autodiff")]
#[test]
fn gradients_pass_through_casts() {
    if dtypes().len() == 1 {
        return skipped("the device has no F64");
    }
    let device = device().autodiff();
    let (n, ridge) = (40, 1e-2);
    let values = Random::new(5).vec(n * 2);
    let b = Random::new(6).vec(n);
    let x = tensor(&values, [n, 2], DType::F32, &device).require_grad();
    let right = tensor(&b, [n, 1], DType::F32, &device).require_grad();
    let gradients = |iterated: FloatDType| {
        let options = SolveOptions::default().ridge(ridge).tolerance(1e-11);
        let k = gaussian(&x).cast(FloatDType::F64);
        let solved = k.solve(
            right.clone().cast(FloatDType::F64),
            &options.iterate_in(iterated),
        );
        let gradients = solved.unwrap().solution.square().sum().backward();
        let by_x = x.grad(&gradients).unwrap();
        assert_eq!(by_x.dtype(), DType::F32);
        [host(by_x), host(right.grad(&gradients).unwrap())]
    };
    let [by_x, by_b] = gradients(FloatDType::F32);
    let expected = gradients(FloatDType::F64);
    assert_close("by x", &by_x, &expected[0], 1e-6);
    assert_close("by b", &by_b, &expected[1], 1e-6);
}

#[test]
fn batches_and_broadcasting() {
    let device = device();
    let mut random = Random::new(2);
    let (n, batch, columns) = (20, 3, 2);
    let x = random.vec(n * 2);
    let scales = [0.5, 1.0, 2.0];
    let b = random.vec(batch * n * columns);
    let points = tensor(&x, [1, n, 2], DType::F32, &device);
    let distance = LazyTensor::vi(points.clone()).sqdist(LazyTensor::vj(points));
    let scale = LazyTensor::pm(tensor(&scales, [batch, 1], DType::F32, &device));
    let k = (-(distance * scale)).exp();
    let of = |scale: f64| {
        let scaled: Vec<f64> = x.iter().map(|x| x * scale.sqrt()).collect();
        with_ridge(dense(&scaled, 2, true), 0.1)
    };
    let options = SolveOptions::default().ridge(0.1);

    let right = tensor(&b, [batch, n, columns], DType::F32, &device);
    let solved = k.solve(right, &options).unwrap();
    assert_eq!(solved.info.residuals.len(), batch * columns);
    let expected = scales.iter().zip(b.chunks(n * columns));
    let expected = expected
        .flat_map(|(scale, b)| rows(&of(*scale).cholesky().unwrap().solve(&matrix(b, columns))));
    assert_close(
        "batch",
        &host(solved.solution),
        &expected.collect::<Vec<_>>(),
        1e-3,
    );

    let right = tensor(&b[..n], [1, n, 1], DType::F32, &device);
    let solution = k.solve(right, &options).unwrap().solution;
    assert_eq!(solution.dims(), [batch, n, 1]);
    let expected = scales
        .iter()
        .flat_map(|scale| rows(&of(*scale).cholesky().unwrap().solve(&matrix(&b[..n], 1))));
    assert_close(
        "broadcast",
        &host(solution),
        &expected.collect::<Vec<_>>(),
        1e-3,
    );
}

#[test]
fn columns_are_solved_independently() {
    let device = device();
    let x = tensor(&Random::new(3).vec(60 * 2), [60, 2], DType::F32, &device);
    let k = gaussian(&x);
    let mut b = Random::new(4).vec(60 * 3);
    // One column is zero, and one is large.
    b.chunks_mut(3).for_each(|row| {
        row[1] = 0.0;
        row[2] *= 1e8;
    });
    let options = SolveOptions::default().ridge(0.1).tolerance(1e-4);
    let right = tensor(&b, [60, 3], DType::F32, &device);
    let together = k.solve(right.clone(), &options).unwrap();
    let all = host(together.solution);
    assert!(all.iter().skip(1).step_by(3).all(|value| *value == 0.0));
    assert_eq!(together.info.residuals[1], 0.0);
    for column in [0, 2] {
        let own = right.clone().slice([0..60, column..column + 1]);
        let alone = host(k.solve(own, &options).unwrap().solution);
        let of_all: Vec<f64> = all.iter().skip(column).step_by(3).copied().collect();
        let scale = if column == 2 { 1e-8 } else { 1.0 };
        let scaled = |values: &[f64]| values.iter().map(|v| v * scale).collect::<Vec<_>>();
        assert_close("column", &scaled(&of_all), &scaled(&alone), 1e-2);
    }
}

#[test]
fn blocks_of_any_columns_agree_with_cholesky() {
    let device = device();
    let mut random = Random::new(22);
    let n = 40;
    let x: Vec<f64> = random.vec(n * 3);
    let x: Vec<f64> = x.iter().map(|x| f64::from((2.0 * x) as f32)).collect();
    let columns: Vec<Vec<f64>> = (0..33).map(|_| random.vec(n)).collect();
    let combined = |weights: [f64; 2]| -> Vec<f64> {
        let pairs = columns[0].iter().zip(&columns[1]);
        pairs
            .map(|(a, b)| weights[0] * a + weights[1] * b)
            .collect()
    };
    let zero = vec![0.0; n];
    let own = |k: usize| columns[k].clone();
    let kernel = dense(&x, 3, true);
    // Eigenvectors, which are solved in one step if they are alone.
    let eigen = kernel.clone().symmetric_eigen();
    let vector = |k: usize| eigen.eigenvectors.column(k).as_slice().to_vec();
    let cases = [
        ("one", vec![own(0)]),
        ("two", vec![own(0), own(1)]),
        ("duplicates", vec![own(0), own(0), own(1), own(1)]),
        (
            "dependent",
            vec![own(0), own(1), combined([1.0, -2.0]), combined([0.5, 1.0])],
        ),
        ("zeros", vec![zero.clone(), own(0), zero.clone()]),
        ("nothing else", vec![zero.clone(), zero]),
        (
            "scales",
            vec![combined([1e-6, 0.0]), own(1), combined([0.0, 1e6]), own(2)],
        ),
        ("speeds", vec![vector(n - 1), own(0), vector(0), own(1)]),
        ("many", columns.clone()),
    ];
    let types = dtypes();
    for (number, (dtype, _)) in types.iter().copied().enumerate() {
        let tolerance = if dtype == DType::F64 { 1e-10 } else { 1e-5 };
        let k = gaussian(&tensor(&x, [n, 3], dtype, &device));
        for (case, (what, columns)) in cases.iter().enumerate() {
            let b = DMatrix::from_fn(n, columns.len(), |i, e| columns[e][i]);
            let right = tensor(&rows(&b), [n, columns.len()], dtype, &device);
            let settings = [(10.0, 8), (1e-1, 128), (1e-1, 0)];
            for (setting, (ridge, kept)) in settings.into_iter().enumerate() {
                // Types alternate between the settings, so that each case is tested in all types.
                if (case + setting) % types.len() != number {
                    continue;
                }
                let what = format!("{dtype:?} {what} ridge={ridge} kept={kept}");
                let options = SolveOptions::default()
                    .ridge(ridge)
                    .tolerance(tolerance)
                    .keep_directions(kept);
                let jacobi = Jacobi::new(&k, ridge).unwrap();
                let nystrom = Nystrom::new(&k, ridge, Rank::Columns(5)).unwrap();
                let mut all = vec![options.clone()];
                if kept > 8 && columns.len() == 4 {
                    all.push(options.clone().preconditioner(jacobi));
                    all.push(options.preconditioner(nystrom));
                }
                let a = with_ridge(kernel.clone(), ridge);
                let exact = a.clone().cholesky().unwrap().solve(&b);
                for options in all {
                    let solved = k.solve(right.clone(), &options).expect(&what);
                    let solution = matrix(&host(solved.solution), columns.len());
                    assert_eq!(solved.info.residuals.len(), columns.len(), "{what}");
                    let residual = &b - &a * &solution;
                    for e in 0..columns.len() {
                        let [size, error, own, left] = [
                            b.column(e).norm(),
                            (solution.column(e) - exact.column(e)).norm(),
                            exact.column(e).norm(),
                            residual.column(e).norm(),
                        ];
                        let said = solved.info.residuals[e];
                        assert!(said <= tolerance, "{what}: {said} of column {e}");
                        assert!(
                            left <= 2.0 * tolerance * size,
                            "{what}: {left} of column {e}"
                        );
                        let condition = size / (ridge * own.max(f64::MIN_POSITIVE));
                        let limit = 2.0 * tolerance * condition.max(1.0) * own;
                        assert!(error <= limit, "{what}: error {error} of column {e}");
                    }
                }
            }
        }
    }
}

#[test]
fn batches_of_blocks_and_more_columns_than_rows() {
    let device = device();
    let mut random = Random::new(23);
    let options = SolveOptions::default().ridge(0.1).tolerance(1e-5);
    let (batch, n, columns) = (2, 12, 19);
    let x = random.vec(batch * n * 2);
    let b = random.vec(batch * n * columns);
    let points = tensor(&x, [batch, n, 2], DType::F32, &device);
    let k = (-LazyTensor::vi(points.clone()).sqdist(LazyTensor::vj(points))).exp();
    let right = tensor(&b, [batch, n, columns], DType::F32, &device);
    let guess = tensor(
        &random.vec(n * columns),
        [1, n, columns],
        DType::F32,
        &device,
    );
    for options in [options.clone().initial(guess), options.clone()] {
        let solved = k.solve(right.clone(), &options).unwrap();
        assert_eq!(solved.info.residuals.len(), batch * columns);
        let solution = host(solved.solution);
        for (number, own) in solution.chunks(n * columns).enumerate() {
            let a = with_ridge(dense(&x[number * n * 2..][..n * 2], 2, true), 0.1);
            let b = matrix(&b[number * n * columns..][..n * columns], columns);
            let residual = &b - &a * matrix(own, columns);
            for e in 0..columns {
                let exact = residual.column(e).norm() / b.column(e).norm();
                let said = solved.info.residuals[number * columns + e];
                assert!(
                    exact <= 2e-5 && (said - exact).abs() <= 1e-5,
                    "{said}, {exact}"
                );
            }
        }
    }
    // The error names the column with the problem, which is in the second group of columns.
    let mut b = vec![0.0; batch * n * columns];
    b.iter_mut()
        .skip(15)
        .step_by(columns)
        .for_each(|b| *b = 1.0);
    let right = tensor(&b, [batch, n, columns], DType::F32, &device);
    let error = k.solve(right, &options.ridge(-30.0)).unwrap_err();
    assert!(
        matches!(error, SolveError::NotPositiveDefinite { column, .. } if column % columns == 15),
        "{error}"
    );
}

#[test]
fn blocks_and_kept_directions_save_iterations() {
    let device = device();
    let n = 100;
    let x = tensor(&Random::new(24).vec(n * 3), [n, 3], DType::F32, &device);
    let b = tensor(&Random::new(25).vec(n * 4), [n, 4], DType::F32, &device);
    let k = gaussian(&(x * 2.0));
    let options = SolveOptions::default().ridge(1e-3).tolerance(1e-3);
    let iterations = |b: &Tensor<2>, kept: usize| {
        let options = options.clone().keep_directions(kept);
        k.solve(b.clone(), &options).unwrap().info.iterations
    };
    let one = b.clone().slice([0..n, 0..1]);
    let [together, alone] = [&b, &one].map(|b| [0, 32, 128].map(|kept| iterations(b, kept)));
    for (block, single) in together.iter().zip(&alone) {
        assert!(block < single, "{together:?} {alone:?}");
    }
    for kept in [together, alone] {
        assert!(
            kept[2] < kept[1] && kept[1] < kept[0],
            "{together:?} {alone:?}"
        );
    }
}

#[test]
fn a_good_guess_is_used_and_progress_is_seen() {
    use std::sync::{Arc, Mutex};

    let device = device();
    let x = tensor(&Random::new(5).vec(80 * 2), [80, 2], DType::F32, &device);
    let b = tensor(&Random::new(6).vec(80), [80, 1], DType::F32, &device);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = seen.clone();
    let options = SolveOptions::default()
        .ridge(0.1)
        .tolerance(1e-4)
        .check_every(3)
        .on_progress(move |progress| into.lock().unwrap().push(progress.clone()));
    let cold = gaussian(&x).solve(b.clone(), &options).unwrap();
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen[0].iteration, 3);
    assert_eq!(seen.last().unwrap().iteration, cold.info.iterations);
    assert_eq!(cold.info.history.len(), cold.info.iterations);
    assert!(cold.info.history.last().unwrap() <= &1e-4);

    let near = cold.solution * 1.001;
    let warm = gaussian(&x).solve(b, &options.initial(near)).unwrap();
    assert!(warm.info.iterations < cold.info.iterations);
}

#[test]
fn preconditioners_save_iterations_and_change_nothing_else() {
    let device = device();
    let n = 120;
    let values = Random::new(7).vec(n * 2);
    let x = tensor(&values, [n, 2], DType::F32, &device);
    let b = Random::new(8).vec(n * 2);
    let right = tensor(&b, [n, 2], DType::F32, &device);
    let k = gaussian(&x);
    let options = SolveOptions::default().ridge(1e-2).tolerance(1e-3);
    let plain = k.solve(right.clone(), &options).unwrap();
    let nystrom = Nystrom::new(&k, 1e-2, Rank::Auto).unwrap();
    assert!(nystrom.rank() > 5 && nystrom.rank() < n, "{nystrom:?}");
    let few = Nystrom::new(&k, 1e-2, Rank::Columns(7)).unwrap();
    assert_eq!(few.rank(), 7);
    let exact = with_ridge(dense(&values, 2, true), 1e-2);
    let expected = rows(&exact.clone().cholesky().unwrap().solve(&matrix(&b, 2)));
    for (preconditioner, most) in [
        (nystrom.clone(), plain.info.iterations / 2),
        (few, plain.info.iterations - 1),
    ] {
        let options = options.clone().preconditioner(preconditioner);
        let solved = k.solve(right.clone(), &options).unwrap();
        assert!(solved.info.iterations <= most, "{:?} {most}", solved.info);
        assert_close("nystrom", &host(solved.solution), &expected, 5e-2);
    }
    // The determinant of the preconditioner is close to that of the matrix.
    let log_det = exact.symmetric_eigenvalues().map(f64::ln).sum();
    assert!((nystrom.log_dets()[0] - log_det).abs() < 0.01 * log_det.abs());

    // A matrix whose rows have different scales.
    let scale: Vec<f64> = (0..n).map(|i| 10f64.powf((i % 3) as f64)).collect();
    let scale = tensor(&scale, [n, 1], DType::F32, &device);
    let k = laplacian(&(x * 20.0)) * LazyTensor::vi(scale.clone()) * LazyTensor::vj(scale);
    let plain = k.solve(right.clone(), &options).unwrap();
    let jacobi = options.preconditioner(Jacobi::new(&k, 1e-2).unwrap());
    let solved = k.solve(right, &jacobi).unwrap();
    assert!(solved.info.iterations * 2 < plain.info.iterations);
}

#[test]
fn indefinite_rectangular_and_composed_operators() {
    let device = device();
    for (dtype, _) in dtypes() {
        let tolerance = if dtype == DType::F64 { 1e-10 } else { 1e-5 };
        let close = if dtype == DType::F64 { 1e-7 } else { 1e-2 };
        let n = 40;
        let values = Random::new(9).vec(n * 2);
        let x = tensor(&values, [n, 2], dtype, &device);
        let b = Random::new(10).vec(n * 2);
        let right = tensor(&b, [n, 2], dtype, &device);
        let options = SolveOptions::default().tolerance(tolerance);

        // The Laplacian kernel matrix minus 2 I has eigenvalues of both signs.
        let shifted = options.clone().ridge(-2.0);
        let solution = minres(&laplacian(&x), right.clone(), &shifted)
            .unwrap()
            .solution;
        let a = with_ridge(dense(&values, 2, false), -2.0);
        let eigenvalues = a.clone().symmetric_eigenvalues();
        assert!(eigenvalues.min() < -0.1 && eigenvalues.max() > 0.1);
        let expected = rows(&a.lu().solve(&matrix(&b, 2)).unwrap());
        assert_close("minres", &host(solution), &expected, close);

        // A sum of two kernel matrices and a diagonal.
        let noise: Vec<f64> = (0..n).map(|i| 0.1 + i as f64 / n as f64).collect();
        let diagonal = Diagonal::new(n, tensor(&noise, [n, 1], dtype, &device)).unwrap();
        let operator = Sum(gaussian(&x), Sum(laplacian(&x), diagonal));
        let solution = conjugate_gradient(&operator, right.clone(), &options)
            .unwrap()
            .solution;
        let a = dense(&values, 2, true)
            + dense(&values, 2, false)
            + DMatrix::from_diagonal(&noise.into());
        let expected = rows(&a.cholesky().unwrap().solve(&matrix(&b, 2)));
        assert_close("sum", &host(solution), &expected, close);

        // A matrix with fewer columns than rows.
        let columns = 7;
        let y = x.clone().slice([0..columns, 0..2]);
        let k = (-LazyTensor::vi(x).sqdist(LazyTensor::vj(y))).exp();
        let regularised = options.clone().ridge(0.1);
        let solution = least_squares(&k, right, &regularised).unwrap().solution;
        assert_eq!(solution.dims(), [columns, 2]);
        let a = dense(&values, 2, true).columns(0, columns).clone_owned();
        let normal = with_ridge(a.tr_mul(&a), 0.1);
        let expected = normal.cholesky().unwrap().solve(&a.tr_mul(&matrix(&b, 2)));
        assert_close("least squares", &host(solution), &rows(&expected), close);
    }
}

#[test]
fn the_largest_eigenpairs() {
    let device = device();
    for (dtype, _) in dtypes() {
        for (n, count) in [(1, 1), (5, 5), (120, 4)] {
            let values = Random::new(11).vec(n * 2);
            let x = tensor(&values, [n, 2], dtype, &device);
            let k = laplacian(&x);
            let pairs = eigenpairs::<_, 2>(&k, count, 1e-5, 100).unwrap();
            let exact = dense(&values, 2, false);
            let mut expected = exact.clone().symmetric_eigenvalues().as_slice().to_vec();
            expected.sort_by(|a, b| b.total_cmp(a));
            expected.truncate(count);
            assert_close("eigenvalues", &pairs.values, &expected, 1e-5);
            let vectors = matrix(&host(pairs.vectors), count);
            let gram = vectors.tr_mul(&vectors);
            assert!((gram - DMatrix::identity(count, count)).amax() < 1e-4);
            let scaled = &vectors * DMatrix::from_diagonal(&pairs.values.into());
            assert!((exact * vectors - scaled).amax() < 1e-4 * expected[0]);
        }
    }
    // The Krylov subspace of a matrix of rank 2 is complete after two steps.
    let u = tensor(&Random::new(12).vec(30 * 2), [30, 2], DType::F32, &device);
    let k = LazyTensor::vi(u.clone()).dot(LazyTensor::vj(u));
    let pairs = eigenpairs::<_, 2>(&k, 4, 1e-4, 30).unwrap();
    assert!(
        pairs.values[1] > 1.0 && pairs.values[2].abs() < 1e-3,
        "{pairs:?}"
    );
}

#[test]
fn determinants_within_their_statistical_error() {
    let device = device();
    for (dtype, _) in dtypes() {
        let n = 150;
        let values = Random::new(13).vec(n * 2);
        let x = tensor(&values, [n, 2], dtype, &device);
        let k = gaussian(&x);
        let a = with_ridge(dense(&values, 2, true), 0.05);
        let exact: f64 = a.symmetric_eigenvalues().map(f64::ln).sum();
        let plain = LogDetOptions::<2>::default()
            .exact_up_to(0)
            .ridge(0.05)
            .probes(32)
            .tolerance(1e-4);
        let low = Nystrom::new(&k, 0.05, Rank::Columns(8)).unwrap();
        let high = Nystrom::new(&k, 0.05, Rank::Auto).unwrap();
        let mut errors = Vec::new();
        for options in [
            plain.clone(),
            plain.clone().preconditioner(low),
            plain.clone().preconditioner(high),
        ] {
            let estimate = log_det(&k, &options).unwrap();
            let value = host(estimate.value)[0];
            let error = estimate.standard_errors[0];
            assert!(
                (value - exact).abs() <= 4.0 * error + 1e-3 * exact.abs(),
                "{value} ± {error}, {exact}"
            );
            errors.push(error);
        }
        assert!(errors[2] < errors[1] && errors[1] < errors[0], "{errors:?}");
        let other = log_det(&k, &plain.seed(1)).unwrap();
        assert!(other.standard_errors[0] != errors[0]);
    }
}

#[cfg(feature = "autodiff")]
mod gradients {
    use super::*;

    /// The loss $\sum_{ik} w_{ik} a_{ik}$ of the solution of $(K(x, s) + d I) a = b$ with
    /// $K = e^{-s |x - y|^2}$.
    fn loss(x: &[f64], scale: f64, noise: f64, b: &[f64], weights: &[f64]) -> f64 {
        let scaled: Vec<f64> = x.iter().map(|x| x * scale.sqrt()).collect();
        let a = with_ridge(dense(&scaled, 2, true), noise);
        let solution = a.cholesky().unwrap().solve(&matrix(b, 2));
        solution.dot(&matrix(weights, 2))
    }

    #[test]
    fn of_solutions_by_every_operand() {
        for checkpointing in [false, true] {
            let device = device().autodiff();
            let device = if checkpointing {
                device.gradient_checkpointing()
            } else {
                device
            };
            for (dtype, _) in dtypes() {
                let n = 25;
                let mut random = Random::new(14);
                let (x, b, w) = (random.vec(n * 2), random.vec(n * 2), random.vec(n * 2));
                let (scale, noise) = (1.3, 0.2);
                let points = tensor(&x, [n, 2], dtype, &device).require_grad();
                let right = tensor(&b, [n, 2], dtype, &device).require_grad();
                let s = tensor(&[scale], [1], dtype, &device).require_grad();
                let d = tensor(&[noise], [1, 1], dtype, &device).require_grad();
                let k = scaled_gaussian(&points, &s);
                let operator = Sum(k.clone(), Diagonal::new(n, d.clone()).unwrap());
                let tight = if dtype == DType::F64 { 1e-12 } else { 1e-6 };
                let nystrom = Nystrom::new(&k, noise, Rank::Columns(10)).unwrap();
                let options = SolveOptions::default()
                    .tolerance(tight)
                    .preconditioner(nystrom);
                let solved = conjugate_gradient(&operator, right.clone(), &options).unwrap();
                let weights = tensor(&w, [n, 2], dtype, &device);
                let value = (solved.solution * weights).sum();
                assert_close(
                    "loss",
                    &host(value.clone()),
                    &[loss(&x, scale, noise, &b, &w)],
                    1e-4,
                );
                let gradients = value.backward();

                let close = if dtype == DType::F64 { 1e-7 } else { 5e-4 };
                let by_x = differences(&x, &|x| loss(x, scale, noise, &b, &w));
                assert_gradient("x", &points, &gradients, &by_x, close);
                let by_b = differences(&b, &|b| loss(&x, scale, noise, b, &w));
                assert_gradient("b", &right, &gradients, &by_b, close);
                let by_s = differences(&[scale], &|s| loss(&x, s[0], noise, &b, &w));
                assert_gradient("scale", &s, &gradients, &by_s, close);
                let by_d = differences(&[noise], &|d| loss(&x, scale, d[0], &b, &w));
                assert_gradient("noise", &d, &gradients, &by_d, close);
            }
        }
    }

    #[test]
    fn of_least_squares_and_indefinite_systems() {
        let device = device().autodiff();
        let (dtype, _) = *dtypes().last().unwrap();
        let n = 12;
        let mut random = Random::new(15);
        let (x, b, w) = (random.vec(n * 2), random.vec(n * 2), random.vec(n * 2));
        let tight = if dtype == DType::F64 { 1e-12 } else { 1e-6 };
        let close = if dtype == DType::F64 { 1e-6 } else { 5e-3 };

        let points = tensor(&x, [n, 2], dtype, &device).require_grad();
        let right = tensor(&b, [n, 2], dtype, &device);
        let options = SolveOptions::default().tolerance(tight).ridge(-2.0);
        let solution = minres(&laplacian(&points), right.clone(), &options)
            .unwrap()
            .solution;
        let weights = tensor(&w, [n, 2], dtype, &device);
        let gradients = (solution * weights).sum().backward();
        let expected = differences(&x, &|x| {
            let a = with_ridge(dense(x, 2, false), -2.0);
            a.lu().solve(&matrix(&b, 2)).unwrap().dot(&matrix(&w, 2))
        });
        assert_gradient("minres", &points, &gradients, &expected, close);

        let points = tensor(&x, [n, 2], dtype, &device).require_grad();
        let centres = points.clone().slice([0..3, 0..2]);
        let k = (-LazyTensor::vi(points.clone()).sqdist(LazyTensor::vj(centres))).exp();
        let options = SolveOptions::default().tolerance(tight).ridge(0.5);
        let solution = least_squares(&k, right, &options).unwrap().solution;
        let weights = tensor(&w[..6], [3, 2], dtype, &device);
        let gradients = (solution * weights).sum().backward();
        let expected = differences(&x, &|x| {
            let a = dense(x, 2, true).columns(0, 3).clone_owned();
            let normal = with_ridge(a.tr_mul(&a), 0.5);
            let solution = normal.cholesky().unwrap().solve(&a.tr_mul(&matrix(&b, 2)));
            solution.dot(&matrix(&w[..6], 2))
        });
        assert_gradient("least squares", &points, &gradients, &expected, close);
    }

    #[test]
    fn of_determinants_in_the_mean() {
        let device = device().autodiff();
        let (dtype, _) = *dtypes().last().unwrap();
        let n = 60;
        let x = Random::new(16).vec(n * 2);
        let log_det_of = |scale: f64, noise: f64| -> f64 {
            let scaled: Vec<f64> = x.iter().map(|x| x * scale.sqrt()).collect();
            let a = with_ridge(dense(&scaled, 2, true), noise);
            a.symmetric_eigenvalues().map(f64::ln).sum()
        };
        let points = tensor(&x, [n, 2], dtype, &device);
        for preconditioned in [false, true] {
            let s = tensor(&[2.0], [1], dtype, &device).require_grad();
            let d = tensor(&[0.1], [1, 1], dtype, &device).require_grad();
            let k = scaled_gaussian(&points, &s);
            let mut options = LogDetOptions::<2>::default()
                .exact_up_to(0)
                .probes(200)
                .tolerance(1e-4);
            if preconditioned {
                let nystrom = Nystrom::new(&k, 0.1, Rank::Columns(20)).unwrap();
                options = options.preconditioner(nystrom);
            }
            let operator = Sum(k, Diagonal::new(n, d.clone()).unwrap());
            let estimate = log_det(&operator, &options).unwrap();
            let exact = log_det_of(2.0, 0.1);
            let error = (host(estimate.value.clone())[0] - exact).abs();
            assert!(error < 4.0 * estimate.standard_errors[0] + 1e-3 * exact.abs());
            let gradients = estimate.value.backward();
            let by_s = differences(&[2.0], &|s| log_det_of(s[0], 0.1));
            assert_gradient("scale", &s, &gradients, &by_s, 0.15);
            let by_d = differences(&[0.1], &|d| log_det_of(2.0, d[0]));
            assert_gradient("noise", &d, &gradients, &by_d, 0.15);
        }
    }
}

#[test]
fn what_cannot_be_solved_is_refused() {
    let device = device();
    let n = 20;
    let values = Random::new(17).vec(n * 2);
    let x = tensor(&values, [n, 2], DType::F32, &device);
    let k = gaussian(&x);
    let b = tensor(&Random::new(18).vec(n), [n, 1], DType::F32, &device);
    let options = SolveOptions::default().ridge(0.1);
    let refused = |k: &LazyTensor, b: &Tensor<2>, options: &SolveOptions<2>| {
        k.solve(b.clone(), options).unwrap_err()
    };

    let mut broken = vec![1.0; n];
    broken[3] = f64::NAN;
    let nan = tensor(&broken, [n, 1], DType::F32, &device);
    assert!(matches!(
        refused(&k, &nan, &options),
        SolveError::NotFinite(_)
    ));
    broken[3] = f64::INFINITY;
    let infinite = tensor(&broken, [n, 1], DType::F32, &device);
    assert!(matches!(
        refused(&k, &infinite, &options),
        SolveError::NotFinite(_)
    ));
    for broken in [nan, infinite] {
        let poisoned = &k * (LazyTensor::vi(broken.clone()) * LazyTensor::vj(broken));
        let error = refused(&poisoned, &b, &options);
        assert!(matches!(error, SolveError::NotFinite(_)), "{error}");
    }

    let y = x.clone() * 1.1;
    let skewed = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(y))).exp();
    let error = refused(&skewed, &b, &options);
    assert!(matches!(error, SolveError::NotSymmetric(_)), "{error}");
    assert!(error.to_string().contains("exp"), "{error}");
    let triangle = &k * LazyTensor::offset().greater_equal(0.0);
    assert!(matches!(
        refused(&triangle, &b, &options),
        SolveError::NotSymmetric(_)
    ));

    let indefinite = options.clone().ridge(-0.5);
    let error = refused(&k, &b, &indefinite);
    assert!(
        matches!(error, SolveError::NotPositiveDefinite { .. }),
        "{error}"
    );

    let few = options.clone().max_iterations(3).tolerance(1e-9);
    let error = refused(&k, &b, &few);
    let SolveError::NotConverged {
        iterations,
        residual,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(iterations, 3);
    assert!(residual > 1e-9 && residual < 100.0);

    let long = tensor(&vec![1.0; n + 1], [n + 1, 1], DType::F32, &device);
    let error = refused(&k, &long, &options);
    assert!(matches!(error, SolveError::Shape { .. }), "{error}");
    assert!(error.to_string().contains("[21, 1]"), "{error}");
    let wide = k.block(0..n, 0..5);
    assert!(matches!(
        refused(&wide, &b, &options),
        SolveError::NotSquare { sizes: [20, 5] }
    ));
    for wrong in [
        options.clone().ridge(f64::NAN),
        options.clone().tolerance(-1.0),
        options.clone().check_every(0),
    ] {
        assert!(matches!(refused(&k, &b, &wrong), SolveError::Option { .. }));
    }
    let vectors = LazyTensor::vi(x.clone()) - LazyTensor::vj(x.clone());
    assert!(matches!(
        refused(&vectors, &b, &options),
        SolveError::Lazy(_)
    ));
    assert!(matches!(
        Nystrom::<2>::new(&k, 0.0, Rank::Auto),
        Err(SolveError::Option {
            option: "ridge",
            ..
        })
    ));
    assert!(matches!(
        eigenpairs::<_, 2>(&k, 21, 1e-3, 30),
        Err(SolveError::Option {
            option: "count",
            ..
        })
    ));
}

#[test]
fn small_and_singular_systems() {
    let device = device();
    let options = SolveOptions::default();
    let none = Tensor::<2>::zeros([0, 2], &device);
    let solved = gaussian(&none).solve(Tensor::<2>::zeros([0, 3], &device), &options);
    assert_eq!(solved.unwrap().solution.dims(), [0, 3]);

    // Without a ridge, and with points so far apart that the matrix is the identity.
    let x: Vec<f64> = (0..8).map(|i| 100.0 * i as f64).collect();
    let x = tensor(&x, [8, 1], DType::F32, &device);
    let b = Random::new(19).vec(8);
    let right = tensor(&b, [8, 1], DType::F32, &device);
    let solved = gaussian(&x).solve(right.clone(), &options).unwrap();
    assert_close("identity", &host(solved.solution), &b, 1e-6);
    assert_eq!(solved.info.iterations, 1);

    // A singular matrix whose points are all equal, with a right-hand side in its range.
    let x = Tensor::<2>::zeros([8, 1], &device);
    let ones = Tensor::<2>::ones([8, 1], &device);
    let solved = gaussian(&x).solve(ones, &options).unwrap();
    assert_close("range", &host(solved.solution), &[0.125; 8], 1e-6);
    // A right-hand side that is not in its range.
    let error = gaussian(&x).solve(right, &options.clone().max_iterations(50));
    assert!(
        matches!(
            error,
            Err(SolveError::NotPositiveDefinite { .. } | SolveError::NotConverged { .. })
        ) || error
            .as_ref()
            .is_ok_and(|solved| solved.info.precision_limited),
        "{error:?}"
    );
    // The preconditioner of a zero matrix has rank 0.
    let zero = gaussian(&x) * 0.0;
    let nystrom = Nystrom::<2>::new(&zero, 0.5, Rank::Auto).unwrap();
    assert_eq!(nystrom.rank(), 0);
    assert!((nystrom.log_dets()[0] - 8.0 * 0.5f64.ln()).abs() < 1e-9);
}

/// An operator that a user defines: the sum of a low-rank matrix and a multiple of the identity.
#[derive(Clone)]
struct LowRank {
    factor: Tensor<2>,
}

impl LinearOperator<2> for LowRank {
    fn sizes(&self) -> Result<[usize; 2], LazyError> {
        Ok([self.factor.dims()[0]; 2])
    }

    fn vectors(&self) -> Result<(Device, DType), LazyError> {
        Ok((self.factor.device(), self.factor.dtype()))
    }

    fn apply(&self, v: Tensor<2>) -> Result<Tensor<2>, LazyError> {
        let product = LazyTensor::vi(self.factor.clone()).dot(LazyTensor::vj(self.factor.clone()));
        Ok(product.try_matmul(v.clone())? + v)
    }

    fn apply_transposed(&self, v: Tensor<2>) -> Result<Tensor<2>, LazyError> {
        self.apply(v)
    }

    fn inner(&self) -> Self {
        Self {
            factor: self.factor.clone().inner(),
        }
    }

    fn cast(&self, dtype: FloatDType) -> Result<Self, LazyError> {
        Ok(Self {
            factor: self.factor.clone().cast(dtype),
        })
    }

    fn is_tracked(&self) -> bool {
        false
    }
}

#[test]
fn operators_of_users() {
    let device = device();
    let values = Random::new(20).vec(30 * 2);
    let factor = tensor(&values, [30, 2], DType::F32, &device);
    let b = Random::new(21).vec(30);
    let right = tensor(&b, [30, 1], DType::F32, &device);
    let solved = conjugate_gradient(&LowRank { factor }, right, &SolveOptions::default()).unwrap();
    // The operator has three distinct eigenvalues: those of the identity and two more.
    assert!(solved.info.iterations <= 10, "{:?}", solved.info);
    let factor = matrix(&values, 2);
    let a = with_ridge(&factor * factor.transpose(), 1.0);
    let expected = rows(&a.cholesky().unwrap().solve(&matrix(&b, 1)));
    assert_close("low rank", &host(solved.solution), &expected, 1e-4);
}
