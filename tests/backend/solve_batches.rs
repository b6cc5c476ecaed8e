//! Preconditioners, eigenpairs and determinants of batches. Each matrix must have the results that
//! it has alone.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{
    LazyTensor, Ranges,
    solve::{
        Eigenpairs, Jacobi, LogDet, LogDetOptions, Nystrom, Preconditioner, Rank, SolveError,
        SolveOptions, eigenpairs, log_det,
    },
};

use super::support::*;

/// Two clouds of points at three scales: all matrices as a batch `[3, 2]`, and each matrix alone.
///
/// The scales differ so much that the matrices need different numbers of iterations and of columns.
struct Clouds {
    all: LazyTensor,
    each: Vec<LazyTensor>,
    dtype: DType,
}

const SCALES: [f64; 3] = [0.02, 1.0, 60.0];

fn scaled(x: LazyTensor, y: LazyTensor, scale: LazyTensor) -> LazyTensor {
    (-(x.sqdist(y) * scale)).exp()
}

impl Clouds {
    fn new(n: usize, dtype: DType) -> Self {
        let device = device();
        let x = Random::new(51).vec(2 * n * 2);
        let points: Tensor<4> = tensor(&x, [1, 2, n, 2], dtype, &device);
        let scales: Tensor<3> = tensor(&SCALES, [3, 1, 1], dtype, &device);
        let all = scaled(
            LazyTensor::vi(points.clone()),
            LazyTensor::vj(points),
            LazyTensor::pm(scales),
        );
        let each = SCALES.iter().flat_map(|scale| {
            let (x, device) = (&x, &device);
            x.chunks(n * 2).map(move |own| {
                let own: Tensor<2> = tensor(own, [n, 2], dtype, device);
                let scale: Tensor<1> = tensor(&[*scale], [1], dtype, device);
                scaled(
                    LazyTensor::vi(own.clone()),
                    LazyTensor::vj(own),
                    LazyTensor::pm(scale),
                )
            })
        });
        Self {
            all,
            each: each.collect(),
            dtype,
        }
    }
}

#[test]
fn nystrom_preconditioners_are_those_of_each_matrix() {
    let device = device();
    for (dtype, _) in dtypes() {
        let n = 35;
        let close = if dtype == DType::F64 { 1e-9 } else { 2e-4 };
        let clouds = Clouds::new(n, dtype);
        for rank in [Rank::Auto, Rank::Columns(6)] {
            let all = Nystrom::<4>::new(&clouds.all, 0.1, rank).unwrap();
            let r = Random::new(52).vec(6 * n);
            let image = all.apply(tensor(&r, [3, 2, n, 1], dtype, &device)).unwrap();
            assert_eq!(image.dims(), [3, 2, n, 1]);
            let image = host(image);
            let mut ranks = Vec::new();
            for (number, k) in clouds.each.iter().enumerate() {
                let own = Nystrom::<2>::new(k, 0.1, rank).unwrap();
                let part = number * n..(number + 1) * n;
                let r: Tensor<2> = tensor(&r[part.clone()], [n, 1], dtype, &device);
                let expected = host(own.apply(r).unwrap());
                assert_close(&format!("matrix {number}"), &image[part], &expected, close);
                let [found, expected] = [all.log_dets()[number], own.log_dets()[0]];
                assert!((found - expected).abs() < 1e-4 * expected.abs().max(1.0));
                ranks.push(own.rank());
            }
            assert_eq!(all.rank(), *ranks.iter().max().unwrap());
            assert!(rank != Rank::Auto || ranks.iter().min() < ranks.iter().max());
        }
    }
}

#[test]
fn preconditioned_batches_are_solved_as_each_matrix() {
    let device = device();
    let (dtype, _) = *dtypes().last().unwrap();
    let (n, ridge) = (35, 0.05);
    let clouds = Clouds::new(n, dtype);
    let tolerance = if dtype == DType::F64 { 1e-10 } else { 1e-5 };
    let b = Random::new(53).vec(2 * n);
    // All scales have the same right-hand side.
    let right: Tensor<4> = tensor(&b, [1, 2, n, 1], dtype, &device);
    let plain = SolveOptions::default().ridge(ridge).tolerance(tolerance);
    let alone = SolveOptions::default().ridge(ridge).tolerance(tolerance);
    let nystrom = Nystrom::new(&clouds.all, ridge, Rank::Columns(12)).unwrap();
    let jacobi = Jacobi::new(&clouds.all, ridge).unwrap();
    let without = clouds.all.solve(right.clone(), &plain).unwrap();
    for (number, options) in [
        plain.clone().preconditioner(nystrom),
        plain.clone().preconditioner(jacobi),
    ]
    .into_iter()
    .enumerate()
    {
        let solved = clouds.all.solve(right.clone(), &options).unwrap();
        assert!(number == 1 || solved.info.iterations < without.info.iterations);
        let solution = host(solved.solution);
        for (number, k) in clouds.each.iter().enumerate() {
            let cloud = number % 2;
            let own: Tensor<2> = tensor(&b[cloud * n..(cloud + 1) * n], [n, 1], dtype, &device);
            let expected = host(k.solve(own, &alone).unwrap().solution);
            let found = &solution[number * n..(number + 1) * n];
            assert_close(
                &format!("matrix {number}"),
                found,
                &expected,
                1e3 * tolerance,
            );
        }
    }
}

#[test]
fn eigenpairs_are_those_of_each_matrix() {
    let device = device();
    for (dtype, _) in dtypes() {
        let close = if dtype == DType::F64 { 1e-9 } else { 1e-4 };
        for (n, count) in [(30, 2), (4, 4)] {
            let clouds = Clouds::new(n, dtype);
            let all: Eigenpairs<4> = eigenpairs(&clouds.all, count, 1e-5, n).unwrap();
            assert_eq!(all.vectors.dims(), [3, 2, n, count]);
            let vectors = host(all.vectors);
            let mut iterations = Vec::new();
            for (number, k) in clouds.each.iter().enumerate() {
                let own: Eigenpairs = eigenpairs(k, count, 1e-5, n).unwrap();
                let what = format!("{dtype:?} matrix {number} of {n} rows");
                let part = number * count..(number + 1) * count;
                assert_close(&what, &all.values[part.clone()], &own.values, close);
                assert!(all.residuals[part].iter().all(|residual| *residual < 2e-5));
                let part = number * n * count..(number + 1) * n * count;
                // Eigenvalues that are rounding errors have arbitrary vectors.
                if n == 30 {
                    assert_close(&what, &vectors[part], &host(own.vectors), 10.0 * close);
                }
                iterations.push(own.iterations);
            }
            assert_eq!(all.iterations, *iterations.iter().max().unwrap());
            assert!(n == 4 || iterations.iter().min() < iterations.iter().max());
        }
    }
    // Three matrices whose Krylov subspaces are complete after different numbers of steps: of rank
    // 1, of rank 3, and zero.
    let n = 12;
    let mut u = Random::new(54).vec(3 * n * 3);
    for (k, value) in u.iter_mut().enumerate() {
        let (matrix, column) = (k / (n * 3), k % 3);
        if matrix == 2 || matrix == 0 && column > 0 {
            *value = 0.0;
        }
    }
    let points: Tensor<3> = tensor(&u, [3, n, 3], DType::F32, &device);
    let k = LazyTensor::vi(points.clone()).dot(LazyTensor::vj(points));
    let all: Eigenpairs<3> = eigenpairs(&k, 2, 1e-4, n).unwrap();
    for (number, own) in u.chunks(n * 3).enumerate() {
        let own: Tensor<2> = tensor(own, [n, 3], DType::F32, &device);
        let k = LazyTensor::vi(own.clone()).dot(LazyTensor::vj(own));
        let own: Eigenpairs = eigenpairs(&k, 2, 1e-4, n).unwrap();
        let found = &all.values[number * 2..number * 2 + 2];
        assert_close(&format!("matrix {number}"), found, &own.values, 1e-4);
    }
}

#[test]
fn determinants_are_those_of_each_matrix() {
    for (dtype, _) in dtypes() {
        let n = 35;
        let close = if dtype == DType::F64 { 1e-9 } else { 1e-3 };
        let clouds = Clouds::new(n, dtype);
        assert_eq!(clouds.dtype, dtype);
        let nystrom = |k: &LazyTensor| Nystrom::new(k, 0.1, Rank::Columns(12)).unwrap();
        for (exact, preconditioned) in [(true, false), (false, false), (false, true)] {
            let up_to = if exact { n } else { 0 };
            let options = LogDetOptions::<4>::default().ridge(0.1).exact_up_to(up_to);
            let options = options.probes(20).tolerance(1e-4);
            let all = match preconditioned {
                true => {
                    let of_all = Nystrom::new(&clouds.all, 0.1, Rank::Columns(12)).unwrap();
                    log_det(&clouds.all, &options.preconditioner(of_all))
                }
                false => log_det(&clouds.all, &options),
            };
            let all: LogDet = all.unwrap();
            assert_eq!(all.value.dims(), [6]);
            assert_close("value", &host(all.value.clone()), all.estimates(), 1e-5);
            for (number, k) in clouds.each.iter().enumerate() {
                let options = LogDetOptions::<2>::default().ridge(0.1).exact_up_to(up_to);
                let options = options.probes(20).tolerance(1e-4);
                let own = match preconditioned {
                    true => log_det(k, &options.preconditioner(nystrom(k))),
                    false => log_det(k, &options),
                };
                let own = own.unwrap();
                let what = format!("{dtype:?} matrix {number}, {exact} {preconditioned}");
                let found = &all.estimates()[number..number + 1];
                assert_close(&what, found, own.estimates(), close);
                let found = &all.standard_errors[number..number + 1];
                assert_close(&what, found, &own.standard_errors, 10.0 * close);
            }
        }
    }
}

#[cfg(feature = "autodiff")]
#[test]
fn gradients_of_determinants_are_those_of_each_matrix() {
    let device = device().autodiff();
    let (dtype, _) = *dtypes().last().unwrap();
    let close = if dtype == DType::F64 { 1e-9 } else { 1e-3 };
    let n = 14;
    let x = Random::new(55).vec(n * 2);
    let weights = [1.0, -2.0];
    let scales = [0.5, 3.0];
    for exact_up_to in [n, 0] {
        let points = tensor(&x, [n, 2], dtype, &device).require_grad();
        let scale: Tensor<2> = tensor(&scales, [2, 1], dtype, &device).require_grad();
        let k = scaled(
            LazyTensor::vi(points.clone()),
            LazyTensor::vj(points.clone()),
            LazyTensor::pm(scale.clone()),
        );
        let options = LogDetOptions::<3>::default()
            .ridge(0.2)
            .exact_up_to(exact_up_to);
        let nystrom = Nystrom::new(&k, 0.2, Rank::Columns(5)).unwrap();
        let options = options.preconditioner(nystrom).probes(4).tolerance(1e-5);
        let value = log_det(&k, &options).unwrap().value;
        let gradients = (value * tensor(&weights, [2], dtype, &device))
            .sum()
            .backward();

        let mut of_points = vec![0.0; 2 * n];
        let mut of_scales = Vec::new();
        for (own, weight) in scales.iter().zip(weights) {
            let points = tensor(&x, [n, 2], dtype, &device).require_grad();
            let scale = tensor(&[*own], [1], dtype, &device).require_grad();
            let k = scaled_gaussian(&points, &scale);
            let options = LogDetOptions::<2>::default()
                .ridge(0.2)
                .exact_up_to(exact_up_to);
            let nystrom = Nystrom::new(&k, 0.2, Rank::Columns(5)).unwrap();
            let options = options.preconditioner(nystrom).probes(4).tolerance(1e-5);
            let value = log_det(&k, &options).unwrap().value * weight;
            let gradients = value.backward();
            let own = host(points.grad(&gradients).unwrap());
            of_points
                .iter_mut()
                .zip(own)
                .for_each(|(sum, own)| *sum += own);
            of_scales.extend(host(scale.grad(&gradients).unwrap()));
        }
        assert_gradient("points", &points, &gradients, &of_points, close);
        assert_gradient("scales", &scale, &gradients, &of_scales, close);
    }
}

/// Matrices of a batch with different pairs.
#[test]
fn ranges_of_batches_are_kept() {
    let device = device();
    let n = 24;
    let ranges = [[8, 16], [12, 12]].map(|sizes| Ranges::lengths(&sizes, &sizes).unwrap());
    let x = Random::new(56).vec(n * 2);
    let points: Tensor<2> = tensor(&x, [n, 2], DType::F32, &device);
    let k = gaussian(&points);
    let scale: Tensor<2> = tensor(&[1.0, 1.0], [2, 1], DType::F32, &device);
    let both = k.clone() * LazyTensor::pm(scale);
    let both = both.ranges(&Ranges::batched(&[2], &ranges).unwrap());
    let r: Tensor<2> = tensor(&Random::new(57).vec(n), [n, 1], DType::F32, &device);
    let all = Nystrom::new(&both, 0.1, Rank::Columns(5)).unwrap();
    let right: Tensor<3> = r.clone().unsqueeze_dim::<3>(0).expand([2, n, 1]);
    let image = host(all.apply(right).unwrap());
    for (number, ranges) in ranges.iter().enumerate() {
        let own = Nystrom::new(&k.ranges(ranges), 0.1, Rank::Columns(5)).unwrap();
        let expected: Tensor<2> = own.apply(r.clone()).unwrap();
        let found = &image[number * n..(number + 1) * n];
        assert_close(&format!("matrix {number}"), found, &host(expected), 1e-4);
    }
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let device = device();
    let clouds = Clouds::new(5, DType::F32);
    let said = |error: Option<SolveError>| error.expect("it is refused").to_string();
    let expected = |what: &str, batch: &str, dimensions: usize| {
        format!(
            "{what} takes a matrix with {dimensions} batch dimensions here, not one of batch {batch}"
        )
    };
    assert_eq!(
        said(Nystrom::<2>::new(&clouds.all, 0.1, Rank::Auto).err()),
        expected("a Nyström preconditioner", "[3, 2]", 0)
    );
    assert_eq!(
        said(eigenpairs::<_, 3>(&clouds.all, 1, 1e-3, 5).err()),
        expected("eigenpairs", "[3, 2]", 1)
    );
    assert_eq!(
        said(log_det(&clouds.each[0], &LogDetOptions::<3>::default()).err()),
        expected("log_det", "[]", 1)
    );
    // The preconditioner belongs to other matrices.
    let other = Nystrom::<2>::new(&Clouds::new(6, DType::F32).each[0], 0.1, Rank::Auto).unwrap();
    let options = LogDetOptions::default()
        .exact_up_to(0)
        .ridge(0.1)
        .preconditioner(other);
    assert_eq!(
        said(log_det(&clouds.each[0], &options).err()),
        "the preconditioner of shape [6, 6] does not fit an operator of 5 rows and batch []"
    );
    // Errors number the rows of all matrices of the batch one after the other.
    let points: Tensor<3> = tensor(&Random::new(58).vec(20), [2, 5, 2], DType::F32, &device);
    let sign: Tensor<2> = tensor(&[1.0, -1.0], [2, 1], DType::F32, &device);
    let k = scaled(
        LazyTensor::vi(points.clone()),
        LazyTensor::vj(points),
        LazyTensor::pm(Tensor::<1>::ones([1], &device)),
    ) * LazyTensor::pm(sign);
    let seen = |error: Option<SolveError>| match error {
        Some(SolveError::NotPositiveDefinite { column, .. }) => column,
        other => panic!("{other:?}"),
    };
    assert_eq!(seen(Nystrom::<3>::new(&k, 0.1, Rank::Auto).err()), 5);
    assert_eq!(
        seen(log_det(&k, &LogDetOptions::<3>::default().ridge(0.1)).err()),
        5
    );
    // A batch without matrices.
    let none = Tensor::<3>::zeros([0, 5, 2], &device);
    let none = LazyTensor::vi(none.clone()).dot(LazyTensor::vj(none));
    let found = log_det(&none, &LogDetOptions::<3>::default()).unwrap();
    assert_eq!((found.value.dims(), found.estimates().len()), ([0], 0));
    let found: Eigenpairs<3> = eigenpairs(&none, 2, 1e-3, 5).unwrap();
    assert_eq!((found.vectors.dims(), found.values.len()), ([0, 5, 2], 0));
}
