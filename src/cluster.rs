//! Clusters of points, for [`Ranges`] of pairs of clusters.

use std::{borrow::Cow, ops::Range, sync::Arc};

use burn::tensor::{Int, Tensor, TensorData};
use burn_lazy_kernels::{Axis, RangesError};

use crate::{
    error::LazyError,
    lazy::{LazyTensor, expect},
    ranges::{Ranges, Values, inverse, numbered},
};

/// Points in clusters: which points each cluster has, and the order of the points that puts the clusters one after
/// the other.
///
/// Pairs of clusters that are far from each other often do not matter. The centroids show at low cost which pairs of
/// clusters matter, and [`Ranges::of_clusters`] leaves out the others. This is what `pykeops.torch.cluster` does,
/// except that the points keep their order here.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::{prelude::*, tensor::Distribution};
/// use burn_lazy::{Clusters, LazyTensor, Ranges};
///
/// let device = Device::default();
/// let x = Tensor::<2>::random([1000, 2], Distribution::Default, &device);
/// let b = Tensor::<2>::random([1000, 1], Distribution::Default, &device);
/// let clusters = Clusters::grid(&x, &[0.1])?;
/// // A Gaussian of deviation 0.02 is below 1e-7 at a distance of 0.12. Points of clusters whose centroids are 0.12 and
/// // two diagonals of a cell apart are farther from each other.
/// let centroids = clusters.centroids(&x);
/// let distances = LazyTensor::vi(centroids.clone()).sqdist(LazyTensor::vj(centroids));
/// let squares: Tensor<3> = distances.dense();
/// let near = squares.lower_elem((0.12 + 2.0 * 0.1 * 2f64.sqrt()).powi(2));
/// let ranges = Ranges::of_clusters(&clusters, &clusters, &near)?;
/// assert!(ranges.pairs() < 600_000);
///
/// let k = (-LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x)) / (2.0 * 0.02 * 0.02)).exp();
/// let (few, all) = (k.ranges(&ranges).matmul(b.clone()), k.matmul(b));
/// assert!((few - all).abs().max().into_scalar::<f32>() < 1e-4);
/// # }
/// # Ok::<(), burn_lazy::RangesError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// The indices of the points, cluster by cluster.
    order: Arc<[u32]>,
    /// Where each cluster is in `order`.
    ranges: Arc<Vec<Range<usize>>>,
}

impl Clusters {
    /// The clusters of points with the same label, in ascending order of the labels.
    ///
    /// # Errors
    /// If a tensor of labels cannot be read.
    pub fn new(labels: &(impl Values<i64> + ?Sized)) -> Result<Self, RangesError> {
        Ok(Self::of_keys(&labels.values()?))
    }

    /// The clusters of points in the same cell of a grid. `sizes` are the lengths of a cell: one number for all axes,
    /// or one for each axis. The grid starts at the least coordinates. A cell without points gives no cluster.
    ///
    /// # Errors
    /// If a coordinate is infinite or NaN, a size is not positive, or there are not as many sizes as axes.
    pub fn grid(x: &Tensor<2>, sizes: &[f64]) -> Result<Self, RangesError> {
        let [points, dim] = x.dims();
        if sizes.len() != 1 && sizes.len() != dim {
            return Err(RangesError::Count {
                what: "sizes of a cell",
                given: sizes.len(),
                expected: dim,
            });
        }
        if let Some(at) = sizes.iter().position(|size| size.is_nan() || *size <= 0.0) {
            return Err(RangesError::Cell { axis: at });
        }
        let values: Vec<f64> = x.to_data().iter::<f64>().collect();
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(RangesError::Point { row: at / dim });
        }
        let mut least = vec![f64::INFINITY; dim];
        for point in values.chunks(dim.max(1)) {
            least
                .iter_mut()
                .zip(point)
                .for_each(|(least, value)| *least = least.min(*value));
        }
        let cell = |point: &[f64]| -> Vec<u64> {
            let numbers = point
                .iter()
                .zip(&least)
                .enumerate()
                .map(|(k, (value, least))| {
                    let size = sizes[if sizes.len() == 1 { 0 } else { k }];
                    // The conversion saturates: cells beyond the largest number all count as the last one.
                    ((value - least) / size).floor() as u64
                });
            numbers.collect()
        };
        let cells: Vec<Vec<u64>> = match dim {
            0 => vec![Vec::new(); points],
            _ => values.chunks(dim).map(cell).collect(),
        };
        Ok(Self::of_keys(&cells))
    }

    fn of_keys<K: Ord>(keys: &[K]) -> Self {
        let key = |at: &u32| &keys[*at as usize];
        let mut order = numbered(keys.len());
        // The sort is stable, so that the points of a cluster keep their order.
        order.sort_by_key(key);
        let mut start = 0;
        let runs = order.chunk_by(|a, b| key(a) == key(b)).map(|run| {
            start += run.len();
            start - run.len()..start
        });
        Self {
            ranges: Arc::new(runs.collect()),
            order: order.into(),
        }
    }

    /// The number of clusters.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is no cluster.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The range of each cluster among the [sorted](Self::sort) points.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// For each [sorted](Self::sort) point, its index among the points.
    pub fn order(&self) -> Vec<usize> {
        self.order.iter().map(|at| *at as usize).collect()
    }

    /// The rows of `x`, which is `[points, D]`, cluster by cluster. Differentiable.
    ///
    /// # Panics
    /// If `x` has another number of points.
    #[track_caller]
    pub fn sort(&self, x: Tensor<2>) -> Tensor<2> {
        expect(self.try_sort(x))
    }

    /// Like [`sort`](Self::sort), with an error instead of a panic.
    pub fn try_sort(&self, x: Tensor<2>) -> Result<Tensor<2>, LazyError> {
        let order = self.order.iter().map(|at| *at as usize);
        self.in_order(x, order)
    }

    /// The rows of `x`, which belong to [sorted](Self::sort) points, in the order of the points. Differentiable.
    ///
    /// # Panics
    /// If `x` has another number of points.
    #[track_caller]
    pub fn unsort(&self, x: Tensor<2>) -> Tensor<2> {
        expect(self.try_unsort(x))
    }

    /// Like [`unsort`](Self::unsort), with an error instead of a panic.
    pub fn try_unsort(&self, x: Tensor<2>) -> Result<Tensor<2>, LazyError> {
        self.in_order(x, inverse(&self.order).into_iter())
    }

    /// The mean of the points of each cluster, `[clusters, D]`, of points `[points, D]`. Differentiable.
    ///
    /// # Panics
    /// If `x` has another number of points.
    #[track_caller]
    pub fn centroids(&self, x: &Tensor<2>) -> Tensor<2> {
        expect(self.try_centroids(x))
    }

    /// Like [`centroids`](Self::centroids), with an error instead of a panic.
    pub fn try_centroids(&self, x: &Tensor<2>) -> Result<Tensor<2>, LazyError> {
        self.members(x.clone())?.try_mean(Axis::J)
    }

    /// The mean of the points of each cluster with weights `[points, 1]`, and the sum of the weights, `[clusters, 1]`.
    /// Differentiable.
    ///
    /// # Panics
    /// If `x` or `weights` has another number of points.
    #[track_caller]
    pub fn weighted_centroids(&self, x: &Tensor<2>, weights: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        expect(self.try_weighted_centroids(x, weights))
    }

    /// Like [`weighted_centroids`](Self::weighted_centroids), with an error instead of a panic.
    pub fn try_weighted_centroids(
        &self,
        x: &Tensor<2>,
        weights: &Tensor<2>,
    ) -> Result<(Tensor<2>, Tensor<2>), LazyError> {
        let weight = LazyTensor::try_vj(self.try_sort(weights.clone())?)?;
        if weight.dim() != 1 {
            return Err(LazyError::NotScalar {
                operation: "weighted_centroids",
                formula: weight.boxed_info(),
            });
        }
        let sums: Tensor<2> = self
            .members(x.clone())?
            .try_mul(&weight)?
            .try_sum(Axis::J)?;
        let total: Tensor<2> = self.members(weights.clone())?.try_sum(Axis::J)?;
        Ok((sums / total.clone(), total))
    }

    /// A symbolic matrix with a row for each cluster and a column for each point. A row has pairs with the points of
    /// its cluster only, and the values are those of `x`.
    fn members(&self, x: Tensor<2>) -> Result<LazyTensor, LazyError> {
        let rows: Vec<Range<usize>> = (0..self.len()).map(|at| at..at + 1).collect();
        let ends: Vec<usize> = (1..=self.len()).collect();
        let size = [self.len(), self.order.len()];
        let ranges = Ranges::new(size, &rows, &ends, &*self.ranges);
        let ranges = ranges.expect("clusters are disjoint");
        LazyTensor::try_vj(self.try_sort(x)?)?.try_ranges(&ranges)
    }

    fn in_order(
        &self,
        x: Tensor<2>,
        order: impl ExactSizeIterator<Item = usize>,
    ) -> Result<Tensor<2>, LazyError> {
        let (shape, points) = (x.dims(), order.len());
        match shape[0] == points {
            true => {
                let order = numbers(order, &x);
                Ok(x.select(0, order))
            }
            false => Err(LazyError::Points {
                shape: shape.to_vec(),
                points,
            }),
        }
    }
}

impl Ranges {
    /// All pairs of points of those pairs of clusters for which `keep` is true. `keep` is a matrix with a row for
    /// each cluster of rows and a column for each cluster of columns. The points keep their order: a reduction sorts
    /// its operands, and gives results in the order of the points.
    ///
    /// # Errors
    /// If `keep` has another size.
    pub fn of_clusters(
        rows: &Clusters,
        columns: &Clusters,
        keep: &(impl Values<bool> + ?Sized),
    ) -> Result<Self, RangesError> {
        let ranges = Self::from_matrix(&*rows.ranges, &*columns.ranges, keep)?;
        Ok(ranges.with_order([rows, columns].map(|own| Some(own.order.clone()))))
    }
}

/// The indices as a tensor on the device of `like`.
fn numbers(order: impl ExactSizeIterator<Item = usize>, like: &Tensor<2>) -> Tensor<1, Int> {
    let numbers: Vec<i64> = order.map(|at| at as i64).collect();
    let len = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [len]), &like.device())
}

impl Values<i64> for Clusters {
    /// The cluster of each point.
    fn values(&self) -> Result<Cow<'_, [i64]>, RangesError> {
        let mut labels = vec![0; self.order.len()];
        for (label, range) in self.ranges.iter().enumerate() {
            for at in &self.order[range.clone()] {
                labels[*at as usize] = label as i64;
            }
        }
        Ok(Cow::Owned(labels))
    }
}
