//! Small stored matrices: factors, triangular systems and products, against sums in F64 and differences.

use burn::{prelude::*, tensor::DType};
use burn_lazy::solve::{
    SolveError,
    dense::{Triangle, cholesky, matmul, solve_triangular},
};

use super::support::{
    Random, assert_close, device, dtypes, has, host, other_device, skipped, tensor,
};
#[cfg(feature = "autodiff")]
use super::support::{differences, is_interpreted};

/// Symmetric positive definite matrices, one after the other in memory.
fn definite(random: &mut Random, batch: usize, size: usize) -> Vec<f64> {
    let mut all = Vec::new();
    for _ in 0..batch {
        let root = random.vec(size * size);
        for i in 0..size {
            for j in 0..size {
                let dot: f64 = (0..size)
                    .map(|k| root[i * size + k] * root[j * size + k])
                    .sum();
                all.push(dot + if i == j { 0.5 } else { 0.0 });
            }
        }
    }
    all
}

/// `A B` of the matrices `[rows, inner]` and `[inner, columns]`.
fn product(a: &[f64], b: &[f64], [rows, inner, columns]: [usize; 3]) -> Vec<f64> {
    let entry = |i: usize, j: usize| {
        (0..inner)
            .map(|k| a[i * inner + k] * b[k * columns + j])
            .sum()
    };
    (0..rows * columns)
        .map(|at| entry(at / columns, at % columns))
        .collect()
}

fn transposed(a: &[f64], size: usize) -> Vec<f64> {
    (0..size * size)
        .map(|at| a[at % size * size + at / size])
        .collect()
}

#[test]
fn a_factor_times_its_transpose_is_the_matrix() {
    let mut random = Random::new(1);
    for (batch, size) in [(1, 1), (3, 4), (1, 33), (2, 0), (0, 3)] {
        let a = definite(&mut random, batch, size);
        for (dtype, tolerance) in dtypes() {
            let stored = tensor(&a, [batch, size, size], dtype, &device());
            let factors = cholesky(stored).unwrap();
            assert_eq!(
                (factors.dims(), factors.dtype()),
                ([batch, size, size], dtype)
            );
            let factors = host(factors);
            for (own, a) in factors
                .chunks(size * size + usize::from(size == 0))
                .zip(a.chunks(size.pow(2).max(1)))
            {
                for (at, entry) in own.iter().enumerate() {
                    assert!(
                        at % size <= at / size || *entry == 0.0,
                        "above the diagonal"
                    );
                }
                let again = product(own, &transposed(own, size), [size; 3]);
                assert_close("L L^T", &again, a, tolerance * 10.0);
            }
        }
    }
    // Only the symmetric part of a matrix matters.
    let a = Tensor::<2>::from_data([[4.0, 1.0], [3.0, 5.0]], &device());
    let factor = host(cholesky(a).unwrap());
    assert_close("symmetric part", &factor, &[2.0, 0.0, 1.0, 2.0], 1e-6);
}

#[test]
fn systems_have_the_solutions_of_their_triangle_alone() {
    let mut random = Random::new(2);
    let (size, columns) = (5, 3);
    let mut l = random.vec(2 * size * size);
    for matrix in 0..2 {
        (0..size).for_each(|i| l[matrix * size * size + i * size + i] += 2.5);
    }
    // Entries on the other side of the diagonal are not read, so they are NaN here.
    let b = random.vec(size * columns);
    for (dtype, tolerance) in dtypes() {
        for triangle in [Triangle::Lower, Triangle::Upper] {
            let counts = |at: usize| match triangle {
                Triangle::Lower => at % size <= at / size,
                Triangle::Upper => at % size >= at / size,
            };
            let given = l.iter().enumerate();
            let given: Vec<f64> = given
                .map(|(at, entry)| {
                    if counts(at % (size * size)) {
                        *entry
                    } else {
                        f64::NAN
                    }
                })
                .collect();
            let matrices = tensor(&given, [2, size, size], dtype, &device());
            let right = tensor(&b, [1, size, columns], dtype, &device());
            let solved = solve_triangular(matrices, right.clone(), triangle).unwrap();
            assert_eq!(solved.dims(), [2, size, columns]);
            for (number, solved) in host(solved).chunks(size * columns).enumerate() {
                let own = given[number * size * size..][..size * size].iter();
                let own: Vec<f64> = own.map(|v| if v.is_nan() { 0.0 } else { *v }).collect();
                let again = product(&own, solved, [size, size, columns]);
                assert_close("L X", &again, &b, tolerance * 10.0);
            }
            // The transpose of a triangular matrix has the other triangle.
            let other = match triangle {
                Triangle::Lower => Triangle::Upper,
                Triangle::Upper => Triangle::Lower,
            };
            let view = tensor(&given[..size * size], [1, size, size], dtype, &device()).transpose();
            let solved = host(solve_triangular(view, right, other).unwrap());
            let own = given[..size * size].iter();
            let own: Vec<f64> = own.map(|v| if v.is_nan() { 0.0 } else { *v }).collect();
            let again = product(&transposed(&own, size), &solved, [size, size, columns]);
            assert_close("L^T X", &again, &b, tolerance * 10.0);
        }
    }
}

#[test]
fn products_of_singles_are_not_rounded_to_fewer_digits() {
    let mut random = Random::new(3);
    let (a, b) = (random.vec(40 * 70), random.vec(70 * 30));
    let exact = product(&a, &b, [40, 70, 30]);
    let left = tensor(&a, [40, 70], DType::F32, &device());
    let right = tensor(&b, [70, 30], DType::F32, &device());
    assert_close("product", &host(matmul(left, right).unwrap()), &exact, 2e-6);
}

#[test]
fn halves_have_the_factor_of_their_values() {
    if !has(DType::F16) {
        return skipped("there are no halves");
    }
    let a = tensor(&[4.0, 2.0, 2.0, 10.0], [2, 2], DType::F16, &device());
    let factor = cholesky(a).unwrap();
    assert_eq!(factor.dtype(), DType::F16);
    assert_close("factor", &host(factor), &[2.0, 0.0, 1.0, 3.0], 1e-6);
}

#[test]
fn what_is_no_system_is_an_error() {
    let device = device();
    let matrix = |entries: [[f32; 2]; 2]| Tensor::<2>::from_data(entries, &device);
    let error = |a: Tensor<2>| cholesky(a).unwrap_err().to_string();
    assert_eq!(
        error(Tensor::ones([2, 3], &device)),
        "a system needs a square operator, not one of 2 x 3"
    );
    assert_eq!(
        error(matrix([[1.0, 2.0], [2.0, 1.0]])),
        "the matrix is not positive definite: seen in row 1"
    );
    // The matrix is singular up to rounding.
    assert_eq!(
        error(matrix([[1.0, 1.0], [1.0, 1.0]])),
        "the matrix is not positive definite: seen in row 1"
    );
    assert_eq!(
        error(matrix([[f32::NAN, 0.0], [0.0, 1.0]])),
        "the matrix has values that are not finite"
    );
    let vector = cholesky(Tensor::<1>::ones([3], &device)).unwrap_err();
    assert_eq!(vector.to_string(), "the matrix of shape [3] is no matrix");

    let lower = matrix([[1.0, 0.0], [1.0, 0.0]]);
    let right = |rows| Tensor::<2>::ones([rows, 1], &device);
    let solve = |l: Tensor<2>, b| {
        solve_triangular(l, b, Triangle::Lower)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        solve(lower.clone(), right(2)),
        "the triangular matrix 0 of its batch is singular: entry 1 of its diagonal is 0"
    );
    assert_eq!(
        solve(lower.clone(), right(3)),
        "the right-hand side of shape [3, 1] does not fit an operator of 2 rows and batch []"
    );
    let message = matmul(Tensor::ones([5, 2], &device), right(3)).unwrap_err();
    assert_eq!(
        message.to_string(),
        "matrices of shapes [5, 2] and [3, 1] have no product"
    );
    // The error is also found if the right-hand side has no columns.
    let error = solve(lower.clone(), Tensor::ones([2, 0], &device));
    assert!(error.contains("is singular"), "{error}");
    let other = other_device();
    if other != device {
        let away = right(2).to_device(&other);
        for error in [
            matmul(lower.clone(), away.clone()).unwrap_err().to_string(),
            solve(lower.clone(), away),
        ] {
            assert!(error.contains("move one of them"), "{error}");
        }
    }
    if has(DType::F64) {
        let message = solve(lower, right(2).cast(DType::F64));
        assert!(
            message.contains("of type F32, the right-hand side of type F64"),
            "{message}"
        );
    }
    // Only one matrix of the batch is not positive definite.
    let batch = Tensor::cat(
        vec![
            matrix([[1.0, 0.0], [0.0, 1.0]]),
            matrix([[1.0, 2.0], [2.0, 1.0]]),
        ],
        0,
    );
    let error = cholesky(batch.reshape([2, 2, 2])).unwrap_err();
    assert!(
        matches!(error, SolveError::NotPositiveDefinite { column: 3, .. }),
        "{error}"
    );
}

#[cfg(feature = "autodiff")]
#[test]
fn a_graph_changes_no_value() {
    let device = device().autodiff();
    // The inverse is out of the range of the type, but the solution is not.
    let dtypes = [DType::F16, DType::F32]
        .into_iter()
        .filter(|dtype| has(*dtype));
    for dtype in dtypes {
        let small = if dtype == DType::F16 { 1e-5 } else { 1e-39 };
        let entry = tensor(&[small], [1, 1], dtype, &device);
        let solved =
            |l: Tensor<2>| host(solve_triangular(l, entry.clone(), Triangle::Lower).unwrap());
        if host(entry.clone())[0] == 0.0 {
            // The device flushes numbers of this size to zero.
            continue;
        }
        assert_eq!(solved(entry.clone()), [1.0], "{dtype:?}");
        assert_eq!(solved(entry.clone().require_grad()), [1.0], "{dtype:?}");
    }
    // A tensor that is not tracked still belongs to the device with autodiff.
    let factor = cholesky(Tensor::<2>::eye(2, &device)).unwrap();
    assert_eq!(factor.device(), device);
    let right = Tensor::<2>::ones([2, 1], &device.clone().inner());
    let solved = solve_triangular(factor, right, Triangle::Lower).unwrap();
    assert_eq!(solved.device(), device);
    let none = Tensor::<3>::zeros([0, 2, 2], &device).require_grad();
    assert_eq!(cholesky(none).unwrap().require_grad().dims(), [0, 2, 2]);
}

#[cfg(feature = "autodiff")]
#[test]
fn gradients_are_differences() {
    if !is_interpreted() {
        return skipped("differences are taken in F64, and on the host");
    }
    let mut random = Random::new(4);
    let (size, columns) = (3, 2);
    let tracked = device().autodiff();
    let a = definite(&mut random, 2, size);
    let b = random.vec(2 * size * columns);
    let weights = random.vec(2 * size * size);
    let (entries, rights) = (a.len(), b.len());
    let at = [a, b].concat();
    type Loss<'l> = &'l dyn Fn(Tensor<3>, Tensor<3>) -> Tensor<1>;
    let weighted = |factor: Tensor<3>| {
        let weights = tensor(&weights, [2, size, size], DType::F64, &tracked);
        (factor * weights).sin().sum()
    };
    let losses: [(&str, Loss); 6] = [
        ("factor", &|a, _| weighted(cholesky(a).unwrap())),
        ("whitened", &|a, b| {
            let root = cholesky(a).unwrap();
            solve_triangular(root, b, Triangle::Lower)
                .unwrap()
                .sin()
                .sum()
        }),
        ("solved", &|a, b| {
            let root = cholesky(a).unwrap();
            let half = solve_triangular(root.clone(), b, Triangle::Lower).unwrap();
            solve_triangular(root.transpose(), half, Triangle::Upper)
                .unwrap()
                .sin()
                .sum()
        }),
        ("product", &|a, b| {
            matmul(a.narrow(0, 0, 1), b).unwrap().sin().sum()
        }),
        ("one right-hand side", &|a, b| {
            let one = b.narrow(0, 1, 1);
            // Entries that are not read may be NaN, for the gradient, too.
            let upper = Tensor::<2, Bool>::tril_mask([size, size], 0, &device()).unsqueeze::<3>();
            let a = a.mask_fill(upper.expand([2, size, size]), f64::NAN);
            solve_triangular(a, one, Triangle::Lower)
                .unwrap()
                .sin()
                .sum()
        }),
        ("broadcast", &|a, b| {
            let one = a.narrow(0, 0, 1);
            solve_triangular(one, b, Triangle::Upper)
                .unwrap()
                .sin()
                .sum()
        }),
    ];
    for (what, loss) in losses {
        let run = |at: &[f64]| {
            let leaf = |values: &[f64], columns| {
                tensor(values, [2, size, columns], DType::F64, &tracked).require_grad()
            };
            let (a, b) = (leaf(&at[..entries], size), leaf(&at[entries..], columns));
            (loss(a.clone(), b.clone()), a, b)
        };
        let expected = differences(&at, &|at| host(run(at).0)[0]);
        let (value, a, b) = run(&at);
        let gradients = value.backward();
        let by = |leaf: Tensor<3>, len| leaf.grad(&gradients).map_or(vec![0.0; len], host);
        let given = [by(a, entries), by(b, rights)].concat();
        assert_close(what, &given, &expected, 1e-8);
    }
}
