//! Which pairs of a symbolic matrix exist.

use std::{borrow::Cow, fmt, ops::Range, sync::Arc};

use burn::tensor::{Bool, Int, Tensor};
use burn_lazy_kernels::{Axis, Ranges as Pairs, RangesError};

use crate::error::{FormulaInfo, LazyError};

/// Which pairs $ij$ of a symbolic matrix exist: for each row, the columns in some ranges. Set by
/// [`LazyTensor::ranges`](crate::LazyTensor::ranges).
///
/// Pairs that are in no range are not evaluated, and a reduction takes time in proportion to the pairs in ranges. All
/// rows of a cluster of consecutive rows have the same ranges, as in KeOps. Ranges are checked when they are made: no
/// two ranges of a row overlap, and none leaves the matrix. A row without ranges has no columns, and gives the result
/// of an empty axis.
///
/// Units of a device take some rows of a cluster at a time, 16 on a CPU with AVX-512 and more on a GPU, so that
/// clusters of some hundred rows are best. A gradient by the columns needs the transposed ranges, which are made once
/// and shared by clones.
///
/// Numbers are passed as slices, arrays, vectors or tensors of kind Int or Bool, on any device and with any strides
/// and type of integers.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy::{Axis, LazyTensor, Ranges};
///
/// // Two sets of points, of 1 and 2 rows, with 2 columns and 1 column.
/// let device = Device::default();
/// let x = Tensor::<2>::from_data([[0.0], [1.0], [2.0]], &device);
/// let y = Tensor::<2>::from_data([[3.0], [4.0], [5.0]], &device);
/// let distances = (LazyTensor::vi(x) - LazyTensor::vj(y)).abs();
/// let sets = Ranges::lengths(&[1, 2], &[2, 1])?;
/// let sums: Tensor<2> = distances.ranges(&sets).sum(Axis::J);
/// sums.into_data().assert_eq(&TensorData::from([[7.0f32], [4.0], [3.0]]), false);
/// # }
/// # Ok::<(), burn_lazy::RangesError>(())
/// ```
#[derive(Clone)]
#[cfg_attr(feature = "router", derive(serde::Serialize, serde::Deserialize))]
pub struct Ranges {
    pairs: Pairs,
    /// Whether the rows of `pairs` are the columns of the matrix, and its columns the rows.
    swapped: bool,
    /// Whether the engine that runs a reduction is chosen as if all pairs existed. Results that are compared may come
    /// from different ranges of the same matrix, and the engines round differently.
    as_all: bool,
}

/// Numbers, ranges or truth values: slices, vectors and tensors.
pub trait Values<T: Clone> {
    /// The values.
    ///
    /// # Errors
    /// If a tensor has negative numbers where they are not allowed, or does not have the right shape.
    fn values(&self) -> Result<Cow<'_, [T]>, RangesError>;
}

impl<T: Clone> Values<T> for [T] {
    fn values(&self) -> Result<Cow<'_, [T]>, RangesError> {
        Ok(Cow::Borrowed(self))
    }
}

impl<T: Clone, const N: usize> Values<T> for [T; N] {
    fn values(&self) -> Result<Cow<'_, [T]>, RangesError> {
        Ok(Cow::Borrowed(self))
    }
}

impl<T: Clone> Values<T> for Vec<T> {
    fn values(&self) -> Result<Cow<'_, [T]>, RangesError> {
        Ok(Cow::Borrowed(self))
    }
}

impl<const R: usize> Values<i64> for Tensor<R, Int> {
    fn values(&self) -> Result<Cow<'_, [i64]>, RangesError> {
        Ok(self.to_data().iter::<i64>().collect())
    }
}

impl<const R: usize> Values<usize> for Tensor<R, Int> {
    fn values(&self) -> Result<Cow<'_, [usize]>, RangesError> {
        let number =
            |value: i64| usize::try_from(value).map_err(|_| RangesError::Negative { value });
        self.to_data().iter::<i64>().map(number).collect()
    }
}

/// A tensor `[n, 2]` of starts and ends.
impl Values<Range<usize>> for Tensor<2, Int> {
    fn values(&self) -> Result<Cow<'_, [Range<usize>]>, RangesError> {
        let [_, ends] = self.dims();
        if ends != 2 {
            return Err(RangesError::Count {
                what: "ends of a range",
                given: ends,
                expected: 2,
            });
        }
        let numbers: Cow<[usize]> = self.values()?;
        Ok(numbers.chunks(2).map(|ends| ends[0]..ends[1]).collect())
    }
}

impl<const R: usize> Values<bool> for Tensor<R, Bool> {
    fn values(&self) -> Result<Cow<'_, [bool]>, RangesError> {
        Ok(self.to_data().iter::<bool>().collect())
    }
}

impl Ranges {
    fn of(pairs: Pairs) -> Self {
        Self {
            pairs,
            swapped: false,
            as_all: false,
        }
    }

    /// Ranges along the reduced `axis`, for clusters of the other axis.
    pub(crate) fn reduced_over(axis: Axis, pairs: Pairs) -> Self {
        Self {
            pairs,
            swapped: axis == Axis::I,
            as_all: false,
        }
    }

    /// The same ranges, for reductions whose engine is chosen as if all pairs existed.
    pub(crate) fn chosen_as_all(self) -> Self {
        Self {
            as_all: true,
            ..self
        }
    }

    /// The number of pairs by which the engine of a reduction is chosen. None if it is the number of all pairs.
    #[cfg(all(host_backend, feature = "cpu"))]
    pub(crate) fn pairs_that_count(&self) -> Option<u128> {
        (!self.as_all).then(|| self.pairs())
    }

    /// The columns `columns[slices[k - 1]..slices[k]]` for the rows `rows[k]`, where the first slice starts at 0.
    /// These are `ranges_i`, `slices_i` and `redranges_j` of KeOps, the first half of what it calls `ranges`. The
    /// second half follows from the first.
    ///
    /// `size` is the number of rows and of columns. Clusters and ranges may come in any order.
    ///
    /// # Errors
    /// If rows are in no cluster or in two, if ranges leave the matrix or overlap, or if the slices do not fit.
    pub fn new(
        size: [usize; 2],
        rows: &(impl Values<Range<usize>> + ?Sized),
        slices: &(impl Values<usize> + ?Sized),
        columns: &(impl Values<Range<usize>> + ?Sized),
    ) -> Result<Self, RangesError> {
        let (rows, slices, columns) = (rows.values()?, slices.values()?, columns.values()?);
        Pairs::new(size, &rows, &slices, &columns).map(Self::of)
    }

    /// All pairs of those pairs of clusters for which `keep` is true. `keep` is a matrix with a row for each cluster
    /// of rows and a column for each cluster of columns.
    ///
    /// # Errors
    /// If clusters overlap, if rows are in none, or if `keep` has another size.
    pub fn from_matrix(
        rows: &(impl Values<Range<usize>> + ?Sized),
        columns: &(impl Values<Range<usize>> + ?Sized),
        keep: &(impl Values<bool> + ?Sized),
    ) -> Result<Self, RangesError> {
        Pairs::from_matrix(&rows.values()?, &columns.values()?, &keep.values()?).map(Self::of)
    }

    /// Batches of unequal sizes, one after the other: all pairs of the `k`-th segment of rows, which is `rows[k]`
    /// long, with the `k`-th segment of columns, which is `columns[k]` long.
    ///
    /// # Errors
    /// If the numbers of segments of rows and of columns differ.
    pub fn lengths(
        rows: &(impl Values<usize> + ?Sized),
        columns: &(impl Values<usize> + ?Sized),
    ) -> Result<Self, RangesError> {
        Pairs::lengths(&rows.values()?, &columns.values()?).map(Self::of)
    }

    /// The pairs of rows and columns with the same label. Labels may come in any order: a reduction sorts its
    /// operands by the labels, and results are in the order of the rows.
    ///
    /// # Errors
    /// If there are more rows or columns than can be numbered.
    pub fn labels(
        rows: &(impl Values<i64> + ?Sized),
        columns: &(impl Values<i64> + ?Sized),
    ) -> Result<Self, RangesError> {
        let mut labels = [rows.values()?.into_owned(), columns.values()?.into_owned()];
        let mut order = [None, None];
        for (labels, order) in labels.iter_mut().zip(&mut order) {
            if !labels.is_sorted() {
                let mut places = numbered(labels.len());
                places.sort_by_key(|place| labels[*place as usize]);
                *labels = places.iter().map(|place| labels[*place as usize]).collect();
                *order = Some(places.into());
            }
        }
        Pairs::labels(&labels[0], &labels[1])?
            .with_order(order)
            .map(Self::of)
    }

    /// For each row `i` the columns from `i - below` to `i + above`, both included, within the matrix.
    ///
    /// Each row has a range of its own. Up to 16 neighbouring rows are reduced together over the longest range of
    /// columns that they have in common, and row by row over their other columns.
    ///
    /// # Errors
    /// If there are more rows or columns than can be numbered.
    pub fn band(size: [usize; 2], below: usize, above: usize) -> Result<Self, RangesError> {
        Pairs::band(size, below, above).map(Self::of)
    }

    /// For each row `i` the columns from 0 to `i`, both included. See [`band`](Self::band).
    ///
    /// # Errors
    /// If there are more rows or columns than can be numbered.
    pub fn causal(size: [usize; 2]) -> Result<Self, RangesError> {
        Pairs::causal(size).map(Self::of)
    }

    /// For each row the columns `index[starts[row]..starts[row + 1]]`: a graph in the format of compressed sparse
    /// rows, with `columns` columns.
    ///
    /// # Errors
    /// If `starts` does not ascend from 0 to the number of neighbours, or a column does not exist or comes twice.
    pub fn neighbors(
        columns: usize,
        starts: &(impl Values<usize> + ?Sized),
        index: &(impl Values<usize> + ?Sized),
    ) -> Result<Self, RangesError> {
        Pairs::neighbors(columns, &starts.values()?, &index.values()?).map(Self::of)
    }

    /// Combines separate ranges for each batch. The batch dimensions are `shape`, and broadcast with the batch
    /// dimensions of a formula.
    ///
    /// # Errors
    /// If there are not as many ranges as batches, if they are for different numbers of rows or columns, or if some
    /// of them have batch dimensions, are transposed, or come from clusters or unsorted labels.
    pub fn batched(shape: &[usize], each: &[Ranges]) -> Result<Self, RangesError> {
        if let Some(index) = each.iter().position(|own| own.swapped || own.is_ordered()) {
            return Err(RangesError::Order { index });
        }
        let pairs: Vec<Pairs> = each.iter().map(|own| own.pairs.clone()).collect();
        Pairs::batched(shape, &pairs).map(Self::of)
    }

    /// The same ranges for rows and columns in another order: `order` holds for each place the index of the row (or
    /// column) at this place.
    pub(crate) fn with_order(self, order: [Option<Arc<[u32]>>; 2]) -> Self {
        let own = |order: Arc<[u32]>| (!order.is_sorted()).then_some(order);
        let [rows, columns] = order.map(|order| order.and_then(own));
        let order = match self.swapped {
            true => [columns, rows],
            false => [rows, columns],
        };
        let pairs = self.pairs.with_order(order);
        Self {
            pairs: pairs.expect("each row and column has a place"),
            ..self
        }
    }

    /// The same pairs with rows and columns exchanged.
    pub fn t(&self) -> Self {
        Self {
            pairs: self.pairs.clone(),
            swapped: !self.swapped,
            as_all: self.as_all,
        }
    }

    /// The number of rows and of columns.
    pub fn sizes(&self) -> [usize; 2] {
        let [rows, columns] = self.pairs.sizes();
        match self.swapped {
            true => [columns, rows],
            false => [rows, columns],
        }
    }

    /// The batch dimensions; empty if all batches have the same ranges.
    pub fn batch(&self) -> &[usize] {
        self.pairs.batch()
    }

    /// The number of pairs, of all batches together.
    pub fn pairs(&self) -> u128 {
        self.pairs.pairs()
    }

    /// The number of ranges of columns, of all batches together.
    pub fn count(&self) -> usize {
        self.pairs.count()
    }

    /// The ranges along the reduced `axis`, for clusters of the other axis.
    pub(crate) fn over(&self, axis: Axis) -> Pairs {
        match (axis == Axis::I) == self.swapped {
            true => self.pairs.clone(),
            false => self.pairs.transposed(),
        }
    }

    /// The order in which the ranges count the rows (or columns). None if it is the order of their indices.
    pub(crate) fn order(&self, axis: Axis) -> Option<&Arc<[u32]>> {
        self.pairs.order(match self.swapped {
            true => axis.other(),
            false => axis,
        })
    }

    /// Whether the ranges count rows or columns in another order than that of their indices.
    pub(crate) fn is_ordered(&self) -> bool {
        [Axis::I, Axis::J]
            .iter()
            .any(|axis| self.order(*axis).is_some())
    }

    /// The same ranges without an order: the places of rows and columns become their indices.
    #[cfg(feature = "autodiff")]
    pub(crate) fn in_place(&self) -> Self {
        Self {
            pairs: self.pairs.in_place(),
            ..self.clone()
        }
    }

    /// Whether the batch dimensions broadcast with `shape` to `shape`.
    pub(crate) fn fits_batch(&self, shape: &[usize]) -> bool {
        self.pairs.fits_batch(shape)
    }

    /// The number of pairs of each row of a reduction over `axis`, for batch dimensions `shape`. Rows are in the
    /// order of their indices.
    pub(crate) fn lengths_over(&self, axis: Axis, shape: &[usize]) -> Vec<usize> {
        let lengths = self.over(axis).lengths_of_rows(shape);
        match self.order(axis.other()) {
            None => lengths,
            Some(order) => {
                let inverse = inverse(order);
                let batches = lengths.chunks(order.len().max(1));
                let ordered = batches.flat_map(|own| inverse.iter().map(|at| own[*at]));
                ordered.collect()
            }
        }
    }

    /// The places at which the ranges count the rows (or columns) with these indices.
    fn places(&self, axis: Axis, indices: &[usize]) -> Vec<usize> {
        match self.order(axis) {
            None => indices.to_vec(),
            Some(order) => {
                let places = inverse(order);
                indices.iter().map(|index| places[*index]).collect()
            }
        }
    }

    /// The ranges of the rows (or columns) at `indices`, in the order of `indices`.
    pub(crate) fn select(&self, axis: Axis, indices: &[usize]) -> Self {
        let places = self.places(axis, indices);
        let mut order = [None, None];
        let other = axis.other();
        order[usize::from(other == Axis::J)] = self.order(other).cloned();
        Self::of(self.over(Axis::J).select(axis, &places)).with_order(order)
    }

    /// The ranges of matrix `number` of the batch dimensions `shape`.
    pub(crate) fn matrix(&self, shape: &[usize], number: usize) -> Self {
        Self {
            pairs: self.pairs.matrix(shape, number),
            ..self.clone()
        }
    }

    /// For each matrix of the batch dimensions `shape`, the ranges of the rows (or columns) at its own list of
    /// indices.
    pub(crate) fn gathered(&self, axis: Axis, (shape, indices): (&[usize], &[Vec<usize>])) -> Self {
        let of_matrix = |(number, own): (usize, &Vec<usize>)| {
            let selected = self.matrix(shape, number).select(axis, own);
            let other = axis.other();
            match selected.order(other) {
                None => selected.pairs,
                Some(order) => selected.pairs.in_place().select(other, &inverse(order)),
            }
        };
        let each: Vec<Pairs> = indices.iter().enumerate().map(of_matrix).collect();
        Self::of(Pairs::batched(shape, &each).expect("one of equal size for each matrix"))
    }

    pub(crate) fn block(&self, rows: Range<usize>, columns: Range<usize>) -> Self {
        match self.is_ordered() {
            false => Self::of(self.over(Axis::J).block(rows, columns)),
            true => {
                let [rows, columns] = [rows, columns].map(|own| own.collect::<Vec<usize>>());
                self.select(Axis::I, &rows).select(Axis::J, &columns)
            }
        }
    }

    pub(crate) fn diagonal(&self) -> Self {
        let pairs = self.over(Axis::J);
        if !self.is_ordered() {
            return Self::of(pairs.diagonal());
        }
        let all: Vec<usize> = (0..self.sizes()[0]).collect();
        let [rows, columns] = [Axis::I, Axis::J].map(|axis| self.places(axis, &all));
        let of_batch = |batch| {
            let there = |row: &usize| {
                let mut ranges = pairs.of_row(batch, rows[*row]);
                ranges.any(|own| own.contains(&columns[*row]))
            };
            // A matrix with one column. A row has this column if its pair on the diagonal exists.
            let index = vec![0; all.iter().filter(|row| there(row)).count()];
            let starts = all.iter().scan(0, |end, row| {
                *end += usize::from(there(row));
                Some(*end)
            });
            let starts: Vec<usize> = std::iter::once(0).chain(starts).collect();
            Pairs::neighbors(1, &starts, &index).expect("each row has one column or none")
        };
        let batches: usize = pairs.batch().iter().product();
        let each: Vec<Pairs> = (0..batches).map(of_batch).collect();
        Self::of(Pairs::batched(pairs.batch(), &each).expect("as many as there are batches"))
    }

    pub(crate) fn columns_as_batch(&self) -> Self {
        let mut pairs = self.over(Axis::J);
        for axis in [Axis::I, Axis::J] {
            if let Some(order) = self.order(axis) {
                pairs = pairs.select(axis, &inverse(order));
            }
        }
        Self::of(pairs.columns_as_batch())
    }
}

impl PartialEq for Ranges {
    fn eq(&self, other: &Self) -> bool {
        let same = || match self.swapped == other.swapped {
            true => self.pairs == other.pairs,
            false => self.over(Axis::J) == other.over(Axis::J),
        };
        self.sizes() == other.sizes() && same()
    }
}

/// The inverse of the permutation `order`: for each index its place.
pub(crate) fn inverse(order: &[u32]) -> Vec<usize> {
    let mut inverse = vec![0; order.len()];
    for (at, place) in order.iter().enumerate() {
        inverse[*place as usize] = at;
    }
    inverse
}

/// The numbers from 0 to `len - 1`. If these do not fit in 32 bits, there are fewer numbers, and making the ranges
/// fails.
pub(crate) fn numbered(len: usize) -> Vec<u32> {
    (0..u32::try_from(len).unwrap_or(u32::MAX)).collect()
}

impl fmt::Debug for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, columns] = self.sizes();
        f.debug_struct("Ranges")
            .field("rows", &rows)
            .field("columns", &columns)
            .field("batch", &self.batch())
            .field("ranges", &self.count())
            .field("pairs", &self.pairs())
            .finish()
    }
}

/// The common ranges of the parts of a formula. Parts without ranges do not matter; if two parts have different
/// ranges, it is an error.
pub(crate) fn common(
    parts: &[Option<&Ranges>],
    formula: impl Fn() -> Box<FormulaInfo>,
) -> Result<Option<Ranges>, LazyError> {
    let mut given = parts.iter().copied().flatten();
    let first = given.next();
    match given.find(|own| Some(*own) != first) {
        None => Ok(first.cloned()),
        Some(other) => Err(LazyError::MixedRanges {
            left: format!("{:?}", first.expect("there is another")),
            right: format!("{other:?}"),
            formula: formula(),
        }),
    }
}
