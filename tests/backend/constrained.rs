//! Systems with linear constraints, compared with the bordered matrix and with thin plates of
//! SciPy.

use burn::{
    prelude::*,
    tensor::{DType, FloatDType},
};
use burn_lazy::{
    Axis, LazyTensor,
    solve::{
        Constraints, Diagonal, Jacobi, Nystrom, Rank, SolveError, SolveOptions, Sum,
        projected_conjugate_gradient,
    },
};
use nalgebra::DMatrix;
use serde::Deserialize;

use super::support::*;

/// The matrix with the entries $e^{-s |x_i - x_j|^2}$, and $\alpha$ added to the diagonal.
fn dense(x: &[f64], scale: f64, ridge: f64) -> DMatrix<f64> {
    let points: Vec<&[f64]> = x.chunks(2).collect();
    DMatrix::from_fn(points.len(), points.len(), |i, j| {
        let differences = points[i].iter().zip(points[j]).map(|(a, b)| a - b);
        let square: f64 = differences.map(|d| d * d).sum();
        (-scale * square).exp() + if i == j { ridge } else { 0.0 }
    })
}

fn matrix(values: &[f64], columns: usize) -> DMatrix<f64> {
    DMatrix::from_row_slice(values.len() / columns, columns, values)
}

fn rows(matrix: &DMatrix<f64>) -> Vec<f64> {
    matrix.transpose().as_slice().to_vec()
}

/// The functions of a plane at each point: 1 and the coordinates.
fn linear(x: &[f64]) -> Vec<f64> {
    x.chunks(2).flat_map(|own| [1.0, own[0], own[1]]).collect()
}

/// The solution $w$ and $c$ of the bordered system, computed with matrix factors.
fn reference(
    a: &DMatrix<f64>,
    p: &DMatrix<f64>,
    b: &DMatrix<f64>,
    d: &DMatrix<f64>,
) -> [Vec<f64>; 2] {
    let (n, q) = p.shape();
    let mut all = DMatrix::zeros(n + q, n + q);
    all.view_mut((0, 0), (n, n)).copy_from(a);
    all.view_mut((0, n), (n, q)).copy_from(p);
    all.view_mut((n, 0), (q, n)).copy_from(&p.transpose());
    let mut right = DMatrix::zeros(n + q, b.ncols());
    right.rows_mut(0, n).copy_from(b);
    right.rows_mut(n, q).copy_from(d);
    let solved = all.lu().solve(&right).expect("it is regular");
    [(0, n), (n, q)].map(|(first, len)| rows(&solved.rows(first, len).clone_owned()))
}

#[test]
fn solutions_are_those_of_the_bordered_matrix() {
    let device = device();
    for (dtype, _) in some_of(dtypes(), 2) {
        let (tolerance, close) = match dtype {
            DType::F64 => (1e-12, 1e-9),
            _ => (1e-6, 2e-3),
        };
        for n in [3, 30] {
            let mut random = Random::new(31);
            let (x, b, d) = (random.vec(n * 2), random.vec(n * 2), random.vec(3 * 2));
            let p = linear(&x);
            let expected = reference(
                &dense(&x, 1.0, 0.3),
                &matrix(&p, 3),
                &matrix(&b, 2),
                &matrix(&d, 2),
            );
            let k = gaussian(&tensor(&x, [n, 2], dtype, &device));
            // This tensor is not contiguous.
            let p = rows(&matrix(&p, 3).transpose());
            let p = tensor(&p, [3, n], dtype, &device).swap_dims(0, 1);
            let constraints = Constraints::new(p).values(tensor(&d, [3, 2], dtype, &device));
            let b: Tensor<2> = tensor(&b, [n, 2], dtype, &device);
            let plain = SolveOptions::default().ridge(0.3).tolerance(tolerance);
            let guess = tensor(&expected[0], [n, 2], dtype, &device);
            let mut all = vec![
                plain.clone(),
                plain.clone().initial(guess),
                plain.clone().preconditioner(Jacobi::new(&k, 0.3).unwrap()),
                plain.preconditioner(Nystrom::new(&k, 0.3, Rank::Columns(2)).unwrap()),
            ];
            if dtype == DType::F64 {
                let mixed = SolveOptions::default().ridge(0.3).tolerance(1e-11);
                let nystrom = Nystrom::new(&k, 0.3, Rank::Columns(2)).unwrap();
                all.push(mixed.iterate_in(FloatDType::F32).preconditioner(nystrom));
            }
            for (number, options) in all.iter().enumerate() {
                let (solved, c) = k
                    .solve_constrained(b.clone(), &constraints, options)
                    .unwrap();
                let what = format!("{dtype:?} n={n} options {number}");
                assert_close(&what, &host(solved.solution), &expected[0], close);
                assert_close(&what, &host(c), &expected[1], close);
                assert_eq!(solved.info.residuals.len(), 2);
                assert!(number != 1 || solved.info.iterations <= 2, "{what}");
            }
        }
    }
}

#[test]
fn preconditioners_save_iterations_under_constraints() {
    let device = device();
    let n = 100;
    let x = Random::new(32).vec(n * 2);
    let k = gaussian(&tensor(&x, [n, 2], DType::F32, &device));
    let b: Tensor<2> = tensor(&Random::new(33).vec(n), [n, 1], DType::F32, &device);
    let constraints = Constraints::new(tensor(&linear(&x), [n, 3], DType::F32, &device));
    let options = SolveOptions::default().ridge(1e-2).tolerance(1e-4);
    let iterations = |options: &SolveOptions<2>| {
        let (solved, _) = k
            .solve_constrained(b.clone(), &constraints, options)
            .unwrap();
        solved.info.iterations
    };
    let plain = iterations(&options);
    let nystrom = Nystrom::new(&k, 1e-2, Rank::Columns(40)).unwrap();
    let few = iterations(&options.clone().preconditioner(nystrom));
    assert!(2 * few <= plain, "{few}, {plain}");
    // With the inverse of the matrix as preconditioner, the preconditioner under constraints is an
    // inverse, too.
    let inverse = Nystrom::new(&k, 1e-2, Rank::Columns(n)).unwrap();
    let least = iterations(&options.preconditioner(inverse));
    assert!(least <= 3, "{least}");
}

/// Values that `data/thin_plates.py` has computed.
#[derive(Deserialize)]
struct ThinPlates {
    x: Vec<[f64; 2]>,
    t: Vec<[f64; 2]>,
    at: Vec<[f64; 2]>,
    exact: Vec<[f64; 2]>,
    smooth: Vec<[f64; 2]>,
}

#[test]
fn thin_plates_are_those_of_scipy() {
    let device = device();
    let read: ThinPlates = serde_json::from_str(include_str!("../data/thin_plates.json")).unwrap();
    let (dtype, _) = *dtypes().last().unwrap();
    let (tolerance, close) = match dtype {
        DType::F64 => (1e-11, 1e-8),
        _ => (1e-6, 2e-2),
    };
    let points = |values: &[[f64; 2]]| tensor(&values.concat(), [values.len(), 2], dtype, &device);
    let basis =
        |values: &[[f64; 2]]| tensor(&linear(&values.concat()), [values.len(), 3], dtype, &device);
    let plate =
        |x: Tensor<2>, y: Tensor<2>| LazyTensor::vi(x).sqdist(LazyTensor::vj(y)).xlogx() * 0.5;
    let x = points(&read.x);
    let k = plate(x.clone(), x.clone());
    let across = plate(points(&read.at), x);
    for (ridge, expected) in [(0.0, &read.exact), (0.1, &read.smooth)] {
        let options = SolveOptions::default().ridge(ridge).tolerance(tolerance);
        let constraints = Constraints::new(basis(&read.x));
        let (solved, c) = k
            .solve_constrained(points(&read.t), &constraints, &options)
            .unwrap();
        let predicted = across.matmul(solved.solution) + basis(&read.at).matmul(c);
        let what = format!("ridge {ridge}");
        assert_close(&what, &host(predicted), &expected.concat(), close);
    }
    // Without constraints the matrix is indefinite.
    let error = k.solve(points(&read.t), &SolveOptions::default().ridge(0.1));
    assert!(
        matches!(error, Err(SolveError::NotPositiveDefinite { .. })),
        "{error:?}"
    );
}

#[test]
fn batches_broadcast() {
    let device = device();
    let (dtype, _) = *dtypes().last().unwrap();
    let close = if dtype == DType::F64 { 1e-9 } else { 2e-3 };
    let tolerance = if dtype == DType::F64 { 1e-12 } else { 1e-6 };
    let n = 12;
    let mut random = Random::new(34);
    let (x, b) = (random.vec(n * 2), random.vec(2 * n));
    let p = random.vec(3 * n);
    let d = random.vec(3);
    let scales = [1.0, 3.0];
    // There are two scales and right-hand sides, and three constraints.
    let points: Tensor<2> = tensor(&x, [n, 2], dtype, &device);
    let scale: Tensor<3> = tensor(&scales, [2, 1, 1], dtype, &device);
    let k = LazyTensor::vi(points.clone()).sqdist(LazyTensor::vj(points));
    let k = (-(k * LazyTensor::pm(scale))).exp();
    let options = SolveOptions::default().ridge(0.4).tolerance(tolerance);
    let nystrom = Nystrom::<4>::new(&k, 0.4, Rank::Columns(4)).unwrap();
    let constraints = Constraints::new(tensor(&p, [1, 3, n, 1], dtype, &device)).values(tensor(
        &d,
        [1, 3, 1, 1],
        dtype,
        &device,
    ));
    let right: Tensor<4> = tensor(&b, [2, 1, n, 1], dtype, &device);
    for options in [options.clone(), options.preconditioner(nystrom)] {
        let (solved, c) = k
            .solve_constrained(right.clone(), &constraints, &options)
            .unwrap();
        assert_eq!(solved.solution.dims(), [2, 3, n, 1]);
        assert_eq!(c.dims(), [2, 3, 1, 1]);
        let (solution, c) = (host(solved.solution), host(c));
        for (s, scale) in scales.iter().enumerate() {
            for q in 0..3 {
                let expected = reference(
                    &dense(&x, *scale, 0.4),
                    &matrix(&p[q * n..(q + 1) * n], 1),
                    &matrix(&b[s * n..(s + 1) * n], 1),
                    &matrix(&d[q..q + 1], 1),
                );
                let at = s * 3 + q;
                let own = &solution[at * n..(at + 1) * n];
                assert_close("w", own, &expected[0], close);
                assert_close("c", &c[at..at + 1], &expected[1], close);
            }
        }
    }
}

#[test]
fn right_hand_sides_of_any_kind() {
    let device = device();
    let n = 20;
    let x = Random::new(35).vec(n * 2);
    let k = gaussian(&tensor(&x, [n, 2], DType::F32, &device));
    let p: Tensor<2> = tensor(&linear(&x), [n, 3], DType::F32, &device);
    let constraints = Constraints::new(p.clone());
    let options = SolveOptions::default().ridge(0.2);
    // A right-hand side that is a function of the drift needs no weights, whatever its size.
    for size in [1.0, 1e30, 1e-30] {
        let c = [2.0, -1.0, 0.5].map(|c| c * size);
        let c: Tensor<2> = tensor(&c, [3, 1], DType::F32, &device);
        let b = p.clone().matmul(c.clone());
        let (solved, found) = k.solve_constrained(b, &constraints, &options).unwrap();
        let left = (solved.solution / size).abs().max().into_scalar::<f32>();
        assert!(left < 1e-5, "{size}: {left}");
        assert_close("c", &host(found / size), &host(c / size), 1e-5);
    }
    // A right-hand side of zeros, and one without columns.
    let zeros = Tensor::<2>::zeros([n, 2], &device);
    let (solved, c) = k.solve_constrained(zeros, &constraints, &options).unwrap();
    assert_eq!(host(solved.solution), vec![0.0; 2 * n]);
    assert_eq!(host(c), vec![0.0; 6]);
    let none = Tensor::<2>::zeros([n, 0], &device);
    let (solved, c) = k.solve_constrained(none, &constraints, &options).unwrap();
    assert_eq!((solved.solution.dims(), c.dims()), ([n, 0], [3, 0]));
    // Without constraints the solution is that of the plain system.
    let b: Tensor<2> = tensor(&Random::new(36).vec(n), [n, 1], DType::F32, &device);
    let none = Constraints::new(Tensor::<2>::zeros([n, 0], &device));
    let (solved, c) = k.solve_constrained(b.clone(), &none, &options).unwrap();
    let plain = k.solve(b.clone(), &options).unwrap().solution;
    assert_eq!(host(solved.solution), host(plain));
    assert_eq!(c.dims(), [0, 1]);
    // As many constraints as rows determine the solution.
    let all: Tensor<2> = tensor(&Random::new(43).vec(n * n), [n, n], DType::F32, &device);
    let all = Tensor::eye(n, &device) + all * 0.1;
    let d = all.clone().transpose().matmul(b.clone());
    let constraints = Constraints::new(all.clone()).values(d);
    let (solved, c) = k
        .solve_constrained(b.clone(), &constraints, &options)
        .unwrap();
    assert_eq!(solved.info.iterations, 0);
    assert_close("w", &host(solved.solution), &host(b.clone()), 1e-5);
    let expected = b.clone() * 0.8 - k.matmul(b);
    assert_close("P c", &host(all.matmul(c)), &host(expected), 1e-4);
}

#[test]
fn halves_are_computed_in_f32() {
    let device = device();
    let n = 10;
    for dtype in [DType::F16, DType::BF16] {
        if !reduces(dtype) {
            skipped(&format!("no {dtype:?}"));
            continue;
        }
        let mut random = Random::new(37);
        let read = |values: Vec<f64>, shape| {
            let stored: Tensor<2> = tensor(&values, shape, dtype, &device);
            (stored.clone(), host(stored.cast(FloatDType::F32)))
        };
        let (points, x) = read(random.vec(n * 2), [n, 2]);
        let (right, b) = read(random.vec(n), [n, 1]);
        let (ones, p) = read(vec![1.0; n], [n, 1]);
        let options = SolveOptions::default().ridge(0.5);
        let (solved, c) = gaussian(&points)
            .solve_constrained(right, &Constraints::new(ones), &options)
            .unwrap();
        assert_eq!((solved.solution.dtype(), c.dtype()), (dtype, dtype));
        let zero = DMatrix::zeros(1, 1);
        let [w, mean] = reference(&dense(&x, 1.0, 0.5), &matrix(&p, 1), &matrix(&b, 1), &zero);
        let close = if dtype == DType::F16 { 1e-3 } else { 1e-2 };
        assert_close("w", &host(solved.solution.cast(FloatDType::F32)), &w, close);
        assert_close("c", &host(c.cast(FloatDType::F32)), &mean, close);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let device = device();
    let n = 8;
    let x = Random::new(38).vec(n * 2);
    let k = gaussian(&tensor(&x, [n, 2], DType::F32, &device));
    let b = Tensor::<2>::ones([n, 1], &device);
    let options = SolveOptions::default().ridge(0.2);
    let refused = |k: &LazyTensor, constraints: &Constraints<2>| {
        let error = k.solve_constrained(b.clone(), constraints, &options);
        error.expect_err("it is refused")
    };
    let ones = |rows, columns| Tensor::<2>::ones([rows, columns], &device);
    let said = |error: SolveError| error.to_string();
    assert_eq!(
        said(refused(&k, &Constraints::new(ones(7, 1)))),
        "the matrix of constraints of shape [7, 1] does not fit an operator of 8 rows and batch []"
    );
    assert_eq!(
        said(refused(
            &k,
            &Constraints::new(ones(n, 1)).values(ones(2, 1))
        )),
        "the values of the constraints of shape [2, 1] do not fit 1 constraints and 1 right-hand \
         sides, of batch []"
    );
    let x: Tensor<2> = tensor(&x, [n, 2], DType::F32, &device);
    let sum = x.clone().sum_dim(1) * 3.0 - 2.0;
    let dependent = Tensor::cat(vec![x.clone(), ones(n, 1), sum], 1);
    let error = refused(&k, &Constraints::new(dependent));
    assert_eq!(
        error,
        SolveError::Dependent {
            matrix: 0,
            column: 3
        }
    );
    assert_eq!(
        said(error),
        "the constraints are dependent: column 3 of matrix 0 of their batch is a combination of \
         those before it, up to rounding"
    );
    for zero in [ones(n, 1) * 0.0, ones(n, 9)] {
        let error = refused(&k, &Constraints::new(zero));
        assert!(matches!(error, SolveError::Dependent { .. }), "{error}");
    }
    for wrong in [f64::NAN, f64::INFINITY] {
        let error = refused(&k, &Constraints::new(ones(n, 1) * wrong));
        assert_eq!(error, SolveError::NotFinite("the matrix of constraints"));
        let values = Constraints::new(ones(n, 1)).values(ones(1, 1) * wrong);
        let error = refused(&k, &values);
        assert_eq!(
            error,
            SolveError::NotFinite("the values of the constraints")
        );
        let error = k.solve_constrained(b.clone() * wrong, &Constraints::new(ones(n, 1)), &options);
        assert_eq!(
            error.err(),
            Some(SolveError::NotFinite("the right-hand side"))
        );
    }
    if has(DType::F64) {
        let error = refused(&k, &Constraints::new(ones(n, 1).cast(FloatDType::F64)));
        assert_eq!(
            said(error),
            "the matrix of constraints is of type F64, the right-hand side of type F32; cast one \
             of them"
        );
    }
    // The matrix is negative on the subspace that the constraints leave free.
    let b: Tensor<2> = tensor(&Random::new(39).vec(n), [n, 1], DType::F32, &device);
    let error = (-k).solve_constrained(b, &Constraints::new(ones(n, 1)), &options);
    let error = error.expect_err("it is refused");
    assert!(
        matches!(error, SolveError::NotPositiveDefinite { .. }),
        "{error}"
    );
}

#[cfg(feature = "autodiff")]
#[test]
fn gradients_by_all_operands() {
    let device = device().autodiff();
    for (dtype, _) in dtypes() {
        let (tight, close) = match dtype {
            DType::F64 => (1e-13, 1e-7),
            _ => (1e-6, 1e-2),
        };
        let (n, q) = (9, 2);
        let mut random = Random::new(40);
        let [x, b, p, d] = [n * 2, n * 2, n * q, q * 2].map(|len| random.vec(len));
        let [of_w, of_c] = [n * 2, q * 2].map(|len| random.vec(len));
        let (scale, noise) = (1.3, 0.4);
        let points = tensor(&x, [n, 2], dtype, &device).require_grad();
        let right = tensor(&b, [n, 2], dtype, &device).require_grad();
        let functions = tensor(&p, [n, q], dtype, &device).require_grad();
        let values = tensor(&d, [q, 2], dtype, &device).require_grad();
        let s = tensor(&[scale], [1], dtype, &device).require_grad();
        let ridge = tensor(&[noise], [1, 1], dtype, &device).require_grad();
        let k = scaled_gaussian(&points, &s);
        let nystrom = Nystrom::new(&k, noise, Rank::Columns(4)).unwrap();
        let operator = Sum(k, Diagonal::new(n, ridge.clone()).unwrap());
        let constraints = Constraints::new(functions.clone()).values(values.clone());
        let options = SolveOptions::default()
            .tolerance(tight)
            .preconditioner(nystrom);
        let (solved, c) =
            projected_conjugate_gradient(&operator, right.clone(), &constraints, &options).unwrap();
        let loss = (solved.solution * tensor(&of_w, [n, 2], dtype, &device)).sum()
            + (c * tensor(&of_c, [q, 2], dtype, &device)).sum();
        let gradients = loss.backward();

        let of = |x: &[f64], scale: f64, noise: f64, p: &[f64], b: &[f64], d: &[f64]| -> f64 {
            let [w, c] = reference(
                &dense(x, scale, noise),
                &matrix(p, q),
                &matrix(b, 2),
                &matrix(d, 2),
            );
            let both = w.iter().chain(&c).zip(of_w.iter().chain(&of_c));
            both.map(|(value, weight)| value * weight).sum()
        };
        let by_x = differences(&x, &|x| of(x, scale, noise, &p, &b, &d));
        assert_gradient("points", &points, &gradients, &by_x, close);
        let by_s = differences(&[scale], &|s| of(&x, s[0], noise, &p, &b, &d));
        assert_gradient("scale", &s, &gradients, &by_s, close);
        let by_noise = differences(&[noise], &|noise| of(&x, scale, noise[0], &p, &b, &d));
        assert_gradient("ridge", &ridge, &gradients, &by_noise, close);
        let by_p = differences(&p, &|p| of(&x, scale, noise, p, &b, &d));
        assert_gradient("constraints", &functions, &gradients, &by_p, close);
        let by_b = differences(&b, &|b| of(&x, scale, noise, &p, b, &d));
        assert_gradient("right", &right, &gradients, &by_b, close);
        let by_d = differences(&d, &|d| of(&x, scale, noise, &p, &b, d));
        assert_gradient("values", &values, &gradients, &by_d, close);
    }
}

/// If the right-hand side is a plane, its coefficients are found, and the weights satisfy the
/// constraints.
#[test]
fn a_drift_is_found_again() {
    let device = device();
    let n = 40;
    let x = Random::new(41).vec(n * 2);
    let points: Tensor<2> = tensor(&x, [n, 2], DType::F32, &device);
    let k = gaussian(&points);
    let plane = [10.0, 3.0, -2.0];
    let drift: Vec<f64> = linear(&x)
        .chunks(3)
        .map(|own| own.iter().zip(plane).map(|(p, c)| p * c).sum())
        .collect();
    let b: Tensor<2> = tensor(&drift, [n, 1], DType::F32, &device);
    let p: Tensor<2> = tensor(&linear(&x), [n, 3], DType::F32, &device);
    let options = SolveOptions::default().ridge(0.1);
    let (solved, c) = k
        .solve_constrained(b, &Constraints::new(p.clone()), &options)
        .unwrap();
    assert_close("plane", &host(c), &plane, 1e-5);
    let sums: Tensor<2> = (LazyTensor::vj(p) * LazyTensor::vj(solved.solution)).sum(Axis::J);
    assert!(host(sums).iter().all(|sum| sum.abs() < 1e-5));
}

/// Each operand may be the only tracked one.
#[cfg(feature = "autodiff")]
#[test]
fn gradients_of_one_operand() {
    let (plain, graph) = (device(), device().autodiff());
    let n = 6;
    let mut random = Random::new(42);
    let [x, b] = [n * 2, n].map(|len| random.vec(len));
    let (p, d) = (linear(&x)[..2 * n].to_vec(), [0.3, -0.2]);
    let of = |p: &[f64], b: &[f64], d: &[f64]| -> f64 {
        let a = dense(&x, 1.0, 0.5);
        let [w, c] = reference(&a, &matrix(p, 2), &matrix(b, 1), &matrix(d, 1));
        w.iter().map(|w| w * w).sum::<f64>() + c.iter().sum::<f64>()
    };
    for tracked in 0..3 {
        let tensor_of = |number: usize, values: &[f64], shape: [usize; 2]| -> Tensor<2> {
            match number == tracked {
                true => tensor(values, shape, DType::F32, &graph).require_grad(),
                false => tensor(values, shape, DType::F32, &plain),
            }
        };
        let k = gaussian(&tensor(&x, [n, 2], DType::F32, &plain));
        let functions = tensor_of(0, &p, [n, 2]);
        let right = tensor_of(1, &b, [n, 1]);
        let values = tensor_of(2, &d, [2, 1]);
        let constraints = Constraints::new(functions.clone()).values(values.clone());
        let options = SolveOptions::default().ridge(0.5);
        let (solved, c) = k
            .solve_constrained(right.clone(), &constraints, &options)
            .unwrap();
        let gradients = (solved.solution.square().sum() + c.sum()).backward();
        let (leaf, expected) = match tracked {
            0 => (functions, differences(&p, &|p| of(p, &b, &d))),
            1 => (right, differences(&b, &|b| of(&p, b, &d))),
            _ => (values, differences(&d, &|d| of(&p, &b, d))),
        };
        assert_gradient(
            &format!("operand {tracked}"),
            &leaf,
            &gradients,
            &expected,
            1e-3,
        );
    }
}

/// The gradient of an operand that all matrices of a batch share is the sum of the gradients of
/// each matrix.
#[cfg(feature = "autodiff")]
#[test]
fn gradients_of_batches() {
    let device = device().autodiff();
    let (dtype, _) = *dtypes().last().unwrap();
    let close = if dtype == DType::F64 { 1e-7 } else { 1e-2 };
    let tolerance = if dtype == DType::F64 { 1e-13 } else { 1e-6 };
    let n = 6;
    let mut random = Random::new(44);
    let [x, p, b] = [n * 2, n, n].map(|len| random.vec(len));
    let (d, scales) = ([0.4], [0.7, 2.0]);
    let points = tensor(&x, [n, 2], dtype, &device).require_grad();
    let functions = tensor(&p, [1, n, 1], dtype, &device).require_grad();
    let right = tensor(&b, [1, n, 1], dtype, &device).require_grad();
    let values = tensor(&d, [1, 1, 1], dtype, &device).require_grad();
    let scale: Tensor<2> = tensor(&scales, [2, 1], dtype, &device);
    let k = LazyTensor::vi(points.clone()).sqdist(LazyTensor::vj(points.clone()));
    let k = (-(k * LazyTensor::pm(scale))).exp();
    let constraints = Constraints::new(functions.clone()).values(values.clone());
    let options = SolveOptions::default().ridge(0.3).tolerance(tolerance);
    let (solved, c) = k
        .solve_constrained(right.clone(), &constraints, &options)
        .unwrap();
    let gradients = (solved.solution.square().sum() + c.sum()).backward();
    let of = |x: &[f64], p: &[f64], b: &[f64], d: &[f64]| -> f64 {
        let of_scale = |scale: &f64| {
            let a = dense(x, *scale, 0.3);
            let [w, c] = reference(&a, &matrix(p, 1), &matrix(b, 1), &matrix(d, 1));
            w.iter().map(|w| w * w).sum::<f64>() + c.iter().sum::<f64>()
        };
        scales.iter().map(of_scale).sum()
    };
    let by_x = differences(&x, &|x| of(x, &p, &b, &d));
    assert_gradient("points", &points, &gradients, &by_x, close);
    let by_p = differences(&p, &|p| of(&x, p, &b, &d));
    assert_gradient("constraints", &functions, &gradients, &by_p, close);
    let by_b = differences(&b, &|b| of(&x, &p, b, &d));
    assert_gradient("right", &right, &gradients, &by_b, close);
    let by_d = differences(&d, &|d| of(&x, &p, &b, d));
    assert_gradient("values", &values, &gradients, &by_d, close);
}
