//! Clusters of points, ranges of pairs of clusters, and systems with matrices in ranges.

use burn::{prelude::*, tensor::DType};
use burn_lazy::{
    Axis, Clusters, LazyTensor, Ranges, RangesError, Values,
    solve::{Jacobi, Nystrom, Rank, SolveOptions},
};
use nalgebra::{DMatrix, DVector};

use super::support::*;

const N: usize = 200;

fn points() -> (Vec<f64>, Tensor<2>) {
    let values = Random::new(31).vec(N * 2);
    let tensor = tensor(&values, [N, 2], DType::F32, &device());
    (values, tensor)
}

#[test]
fn a_grid_has_the_points_of_each_cell_together() {
    let (values, x) = points();
    for sizes in [&[0.3][..], &[0.25, 0.5]] {
        let clusters = Clusters::grid(&x, sizes).expect("points are finite");
        let labels = clusters.values().expect("they are there");
        let size = |k: usize| sizes[k.min(sizes.len() - 1)];
        let least = [0, 1].map(|k| {
            values
                .iter()
                .skip(k)
                .step_by(2)
                .copied()
                .fold(f64::INFINITY, f64::min)
        });
        let cell = |i: usize| [0, 1].map(|k| ((values[i * 2 + k] - least[k]) / size(k)).floor());
        for i in 0..N {
            for j in 0..N {
                assert_eq!(
                    labels[i] == labels[j],
                    cell(i) == cell(j),
                    "points {i} and {j}"
                );
            }
        }
        assert_eq!(
            clusters.ranges().iter().map(|own| own.len()).sum::<usize>(),
            N
        );
        for (label, range) in clusters.ranges().iter().enumerate() {
            let own = &clusters.order()[range.clone()];
            assert!(own.is_sorted());
            assert!(own.iter().all(|at| labels[*at] == label as i64));
        }
        let sorted = clusters.sort(x.clone());
        let order = clusters.order();
        let want: Vec<f64> = order
            .iter()
            .flat_map(|at| values[at * 2..at * 2 + 2].to_vec())
            .collect();
        assert_close("sorted", &host(sorted.clone()), &want, 1e-6);
        assert_close("as before", &host(clusters.unsort(sorted)), &values, 1e-6);
        assert_eq!(Clusters::new(&clusters), Ok(clusters));
    }
}

#[test]
fn centroids_are_means() {
    let (values, x) = points();
    let weights: Vec<f64> = Random::new(32).vec(N).iter().map(|w| w + 1.5).collect();
    let clusters = Clusters::grid(&x, &[0.4]).expect("points are finite");
    let weight = tensor(&weights, [N, 1], DType::F32, &device());
    let (centroids, totals) = clusters.weighted_centroids(&x, &weight);
    let (mut means, mut weighted, mut sums) = (Vec::new(), Vec::new(), Vec::new());
    for range in clusters.ranges() {
        let own = &clusters.order()[range.clone()];
        let sum: f64 = own.iter().map(|at| weights[*at]).sum();
        for k in 0..2 {
            means.push(own.iter().map(|at| values[at * 2 + k]).sum::<f64>() / own.len() as f64);
            weighted.push(
                own.iter()
                    .map(|at| values[at * 2 + k] * weights[*at])
                    .sum::<f64>()
                    / sum,
            );
        }
        sums.push(sum);
    }
    assert_close("means", &host(clusters.centroids(&x)), &means, 1e-5);
    assert_close("weighted means", &host(centroids), &weighted, 1e-5);
    assert_close("weights", &host(totals), &sums, 1e-5);
}

#[test]
fn pairs_of_near_clusters_are_those_of_the_points_in_them() {
    let (values, x) = points();
    let clusters = Clusters::grid(&x, &[0.3]).expect("points are finite");
    let labels = clusters.values().expect("they are there");
    let centroids = clusters.centroids(&x);
    let distances = LazyTensor::vi(centroids.clone()).sqdist(LazyTensor::vj(centroids));
    let squares: Tensor<3> = distances.dense();
    let near = squares.lower_elem(0.4);
    let keep: Vec<bool> = near.to_data().iter::<bool>().collect();
    let ranges = Ranges::of_clusters(&clusters, &clusters, &near).expect("a matrix of clusters");
    let there = |i: usize, j: usize| keep[labels[i] as usize * clusters.len() + labels[j] as usize];
    let k = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x)))
        .exp()
        .ranges(&ranges);
    let value = |i: usize, j: usize| -> f64 {
        let squares = (0..2).map(|k| (values[i * 2 + k] - values[j * 2 + k]).powi(2));
        (-squares.sum::<f64>()).exp()
    };
    let rows: Vec<Vec<usize>> = (0..N)
        .map(|i| (0..N).filter(|j| there(i, *j)).collect())
        .collect();
    assert!(
        rows.iter().any(|row| row.len() < N / 2),
        "some clusters are far"
    );
    let sums: Tensor<2> = k.sum(Axis::J);
    let want: Vec<f64> = (0..N)
        .map(|i| rows[i].iter().map(|j| value(i, *j)).sum())
        .collect();
    assert_close("sums", &host(sums), &want, 1e-5);
    // Indices are those of the points. Among equal values the lowest index is found.
    let firsts: Tensor<2, Int> = (k.clone() * 0.0 + 1.0).argmin(Axis::J);
    let first = |row: &Vec<usize>| *row.first().expect("itself") as i64;
    let want: Vec<i64> = rows.iter().map(first).collect();
    assert_eq!(firsts.into_data().iter::<i64>().collect::<Vec<i64>>(), want);
    let farthest: Tensor<2, Int> = k.argkmin(2, Axis::J);
    let found: Vec<i64> = farthest.into_data().iter::<i64>().collect();
    for (i, row) in rows.iter().enumerate() {
        let mut own: Vec<(f64, usize)> = row.iter().map(|j| (value(i, *j), *j)).collect();
        own.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
        for place in 0..2 {
            let (want, got) = (own[place].0, value(i, found[i * 2 + place] as usize));
            assert!((want - got).abs() < 1e-5, "row {i}: {got}, expected {want}");
        }
    }
}

#[test]
fn what_are_no_clusters_is_an_error() {
    let device = device();
    let x = Tensor::<2>::from_data([[0.0, 1.0], [f32::NAN, 1.0]], &device);
    assert_eq!(
        Clusters::grid(&x, &[1.0]),
        Err(RangesError::Point { row: 1 })
    );
    let x = Tensor::<2>::zeros([3, 2], &device);
    assert_eq!(
        Clusters::grid(&x, &[1.0, 0.0]),
        Err(RangesError::Cell { axis: 1 })
    );
    assert_eq!(
        Clusters::grid(&x, &[f64::NAN]),
        Err(RangesError::Cell { axis: 0 })
    );
    let count = Clusters::grid(&x, &[1.0; 3]).expect_err("three axes");
    assert!(matches!(
        count,
        RangesError::Count {
            given: 3,
            expected: 2,
            ..
        }
    ));
    let clusters = Clusters::new(&[0, 1]).expect("labels");
    let error = clusters.try_centroids(&x).expect_err("three points");
    assert_eq!(
        error.to_string(),
        "clusters of 2 points have no tensor of shape [3, 2]"
    );
    let weights = Tensor::<2>::ones([2, 2], &device);
    let points = Tensor::<2>::ones([2, 3], &device);
    assert!(clusters.try_weighted_centroids(&points, &weights).is_err());
    let none = Clusters::grid(&Tensor::<2>::zeros([0, 2], &device), &[1.0]).expect("no points");
    assert!(none.is_empty());
}

/// Groups of points without pairs between them. The matrix consists of blocks, and its other
/// entries are 0.
#[test]
fn systems_of_matrices_in_ranges_are_solved() {
    let (values, x) = points();
    let labels: Vec<i64> = (0..N as i64).map(|i| i * i % 7).collect();
    let ranges = Ranges::labels(&labels, &labels).expect("labels");
    let matrix = DMatrix::from_fn(N, N, |i, j| {
        let squares: f64 = (0..2)
            .map(|k| (values[i * 2 + k] - values[j * 2 + k]).powi(2))
            .sum();
        if labels[i] == labels[j] {
            (-squares).exp()
        } else {
            0.0
        }
    });
    let right = Random::new(33).vec(N);
    let ridge = 0.5;
    let exact = (matrix + DMatrix::identity(N, N) * ridge)
        .cholesky()
        .expect("it is definite")
        .solve(&DVector::from_vec(right.clone()));
    let k = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x)))
        .exp()
        .ranges(&ranges);
    let b = tensor(&right, [N, 1], DType::F32, &device());
    let options = SolveOptions::default().ridge(ridge).tolerance(1e-6);
    let nystrom = Nystrom::new(&k, ridge, Rank::Columns(40)).expect("it is definite");
    let jacobi = Jacobi::new(&k, ridge).expect("the diagonal is positive");
    for (name, options) in [
        ("plain", options.clone()),
        ("Nyström", options.clone().preconditioner(nystrom)),
        ("Jacobi", options.clone().preconditioner(jacobi)),
    ] {
        let solved = k.solve(b.clone(), &options).expect("it is definite");
        assert_close(name, &host(solved.solution), exact.as_slice(), 1e-5);
    }
}
