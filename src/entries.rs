//! Entries of a symbolic matrix (single ones, blocks, all of them), and the indices of a pair as formulas.

use std::{ops::Range, sync::Arc};

use burn::{
    backend::{Dispatch, DispatchTensor, ops::FloatTensorOps},
    tensor::{DType, FloatDType, Int, Shape, Tensor},
};
use burn_lazy_kernels::{
    Accumulation, Axis, Expr, ReductionKind, Wanted,
    catalogue::ScalarOp,
    expr::{Dependence, Node, Place, Var},
};

use crate::{
    axes::{columns_first, without_columns},
    backends::narrow,
    cast::cast,
    error::LazyError,
    lazy::{IntoLazy, LazyTensor, expect},
    operand::{Operand, TensorValue, Value, union},
    ops::{Reduced, cast_of},
    pruning::Pruning,
    ranges::Ranges,
    request::Request,
};

/// The largest number of entries that [`LazyTensor::dense`] stores: 1 GiB in F32.
const MOST_ENTRIES: usize = 1 << 28;

impl LazyTensor {
    /// The index $i$ of the row, as a number. The number of rows comes from the formula in which it is used.
    ///
    /// It is exact up to 2^24 in formulas of F32, F16 and BF16. To compare the indices of row and column use
    /// [`offset`](Self::offset), which is exact for any size.
    pub fn row_index() -> Self {
        Self::place(Place::Index(Axis::I))
    }

    /// The index $j$ of the column; see [`row_index`](Self::row_index).
    pub fn column_index() -> Self {
        Self::place(Place::Index(Axis::J))
    }

    /// $i - j$, the index of the row minus the index of the column. The difference is computed in integers, so that
    /// small differences are exact at any size. Masks of the diagonal, of triangles and of bands take one comparison.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::prelude::*;
    /// use burn_lazy::{Axis, LazyTensor};
    ///
    /// // The nearest other point.
    /// let x = Tensor::<2>::from_data([[0.0], [1.0], [1.5]], &Device::default());
    /// let s_ij = LazyTensor::vi(x.clone()).sqdist(LazyTensor::vj(x));
    /// let itself = LazyTensor::offset().equal(0.0);
    /// let others = s_ij.mask_where(itself, f64::INFINITY);
    /// let nearest: Tensor<2, Int> = others.argmin(Axis::J);
    /// nearest.into_data().assert_eq(&burn::tensor::TensorData::from([[1], [2], [1]]), false);
    /// # }
    /// ```
    pub fn offset() -> Self {
        Self::place(Place::Offset)
    }

    /// A pseudorandom number for each pair, uniform in $[0, 1)$: [`random`](Self::random) of a seed and of the
    /// indices of row and column. It is the same on every device, in every reduction and in the backward pass, and
    /// takes no memory. Pairs of equal indices in different batches have equal numbers, unless the seed has the batch
    /// dimensions.
    ///
    /// Seeds are whole numbers. As indices, they are exact up to 2^24 in formulas of F32, F16 and BF16.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::prelude::*;
    /// use burn_lazy::{Axis, LazyTensor};
    ///
    /// // A tenth of the pairs, chosen at random.
    /// let x = LazyTensor::vi(Tensor::<2>::ones([100, 1], &Device::default()));
    /// let y = LazyTensor::vj(Tensor::<2>::ones([1000, 1], &Device::default()));
    /// let chosen = LazyTensor::uniform(7).less(0.1);
    /// let counts: Tensor<2> = (x * y * chosen).sum(Axis::J);
    /// let mean: f32 = counts.mean().into_scalar();
    /// assert!((mean - 100.0).abs() < 2.0);
    /// # }
    /// ```
    ///
    /// # Panics
    /// If `seed` is neither a number, nor a formula, nor a tensor that can be a parameter.
    #[track_caller]
    pub fn uniform(seed: impl IntoLazy) -> Self {
        expect(Self::try_uniform(seed))
    }

    /// Like [`uniform`](Self::uniform), with an error instead of a panic.
    pub fn try_uniform(seed: impl IntoLazy) -> Result<Self, LazyError> {
        let seed = seed.into_lazy()?;
        seed.try_random(Self::row_index(), Self::column_index())
    }

    fn place(place: Place) -> Self {
        Self {
            expr: Expr::place(place),
            operands: Arc::new(vec![]),
            accumulation: Accumulation::default(),
            pruning: Pruning::default(),
            ranges: None,
        }
    }

    /// This formula with `value` in place of NaN. A reduction skips NaN if `value` is its result over an empty axis:
    /// 0 for sums, $\infty$ for minima, $-\infty$ for maxima and for the scores of [`logsumexp`](Self::logsumexp).
    pub fn nan_to(&self, value: f64) -> Self {
        let number = Operand::scalar(value);
        let is_nan = Expr::scalar(ScalarOp::NotEqual, vec![self.expr.clone(); 2]);
        let args = vec![self.expr.clone(), is_nan, number.expr()];
        let operands = union(&self.operands, &[number]);
        Self {
            operands: Arc::new(operands),
            ..self.map(Expr::scalar(ScalarOp::MaskWhere, args))
        }
    }

    /// The values of a formula of rows, of columns or of parameters alone, as a tensor. Its shape is `[batch.., M,
    /// D]` for rows, `[batch.., N, D]` for columns and `[batch.., D]` for parameters. It has the type of the formula,
    /// and is differentiable with respect to every operand.
    ///
    /// A formula of rows and columns has a value for each pair. Reduce it, or store all values with
    /// [`dense`](Self::dense).
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::prelude::*;
    /// use burn_lazy::LazyTensor;
    ///
    /// let x = Tensor::<2>::from_data([[3.0, 4.0], [0.0, 1.0]], &Device::default());
    /// let norms: Tensor<2> = LazyTensor::vi(x).norm().evaluate();
    /// norms.into_data().assert_eq(&burn::tensor::TensorData::from([[5.0f32], [1.0]]), false);
    /// # }
    /// ```
    ///
    /// # Panics
    /// If the formula depends on rows and columns, if it has no tensor, if it depends on the index of a
    /// row or column and no operand says how many there are, or if `R` is not the number of batch
    /// dimensions plus 2, or plus 1 for a formula of parameters alone.
    #[track_caller]
    pub fn evaluate<const R: usize>(&self) -> Tensor<R> {
        expect(self.try_evaluate())
    }

    /// Like [`evaluate`](Self::evaluate), with an error instead of a panic.
    pub fn try_evaluate<const R: usize>(&self) -> Result<Tensor<R>, LazyError> {
        let extent = self.extent();
        if extent.m.is_some() && extent.n.is_some() {
            return Err(LazyError::BothAxes(self.boxed_info()));
        }
        let dependence = self.expr.dependence();
        for axis in [Axis::I, Axis::J] {
            if dependence.on(axis) {
                self.check_axis(axis)?;
            }
        }
        // Each value is the sum over an axis of size 1: the axis of the rows for a formula of columns, the axis of
        // the columns otherwise.
        let (axis, rows) = match (extent.m, extent.n) {
            (_, Some(columns)) => (Axis::I, Some(columns)),
            (rows, None) => (Axis::J, rows),
        };
        let mut shape = extent.batch;
        shape.extend(rows);
        shape.push(self.dim());
        self.check_rank::<R>("evaluate", &shape)?;
        let kind = ReductionKind::Sum(Accumulation::default());
        let request = Request::new(kind, Wanted::VALUES, axis).squeezed(rows.is_none());
        let Reduced { values, .. } = self.reduce_unchecked(request)?;
        Ok(Tensor::from_dispatch(values.expect("they are wanted")))
    }

    /// All entries $f_{ij}$ as a tensor `[batch.., M, N, D]`. This takes the memory that a symbolic
    /// matrix saves; up to 2^28 numbers are stored.
    ///
    /// Differentiable with respect to every operand.
    ///
    /// # Panics
    /// If there are more entries, if no operand depends on one of the axes, or if `R` is not the
    /// number of batch dimensions plus 3.
    #[track_caller]
    pub fn dense<const R: usize>(&self) -> Tensor<R> {
        expect(self.try_dense())
    }

    /// Like [`dense`](Self::dense), with an error instead of a panic.
    pub fn try_dense<const R: usize>(&self) -> Result<Tensor<R>, LazyError> {
        self.check_axis(Axis::I)?;
        self.check_axis(Axis::J)?;
        self.check_tensor()?;
        let shape = self.shape();
        let entries = shape
            .iter()
            .try_fold(1usize, |product, size| product.checked_mul(*size));
        if entries.is_none_or(|entries| entries > MOST_ENTRIES) {
            return Err(LazyError::TooDense {
                limit: MOST_ENTRIES,
                formula: self.boxed_info(),
            });
        }
        self.check_rank::<R>("dense", &shape)?;
        let dtype = self.extent().dtype.expect("there is a tensor operand");
        let dense: Tensor<R> = self.columns_as_batch()?.entries()?;
        Ok(cast(dense, dtype.into()).swap_dims(R - 3, R - 2))
    }

    /// The same entries as a formula of rows, whose last batch dimension is the columns. Operands of columns become
    /// parameters.
    fn columns_as_batch(&self) -> Result<Self, LazyError> {
        let extent = self.extent();
        let dtype = extent.dtype.expect("there is a tensor operand");
        let uses_places = self
            .expr
            .topological()
            .iter()
            .any(|expr| matches!(expr.node(), Node::Place(_)));
        // The column index becomes an operand. F16 and BF16 hold few integers, so such formulas are computed in F32.
        let halves = matches!(dtype, DType::F16 | DType::BF16) && uses_places;
        let computed = if halves { DType::F32 } else { dtype };
        let [_, columns] = [Axis::I, Axis::J].map(|axis| extent.size(axis).expect("checked"));
        let device = extent.device.clone().expect("there is a tensor operand");
        let indices = Tensor::<1, Int>::arange(0..columns as i64, &device)
            .float()
            .cast(computed)
            .reshape([columns, 1]);
        let index = Operand::tensor(indices, Dependence::default())?;
        let column = Expr::var(index.var);
        let mut parts = vec![index];
        let (expr, operands) = self.replace(
            |operand, tensor| {
                let values = match halves {
                    true => cast_of::<Dispatch>(tensor.tensor.clone(), FloatDType::F32),
                    false => tensor.tensor.clone(),
                };
                let axes = operand.var.axes;
                Ok((
                    columns_first::<Dispatch>(values, axes),
                    without_columns(axes),
                ))
            },
            |place| match place {
                Place::Index(Axis::I) => Expr::place(place),
                Place::Index(Axis::J) => column.clone(),
                Place::Offset => Expr::place(Place::Index(Axis::I)) - column.clone(),
            },
        )?;
        parts.extend(operands);
        Ok(Self {
            expr,
            operands: Arc::new(parts),
            accumulation: Accumulation::default(),
            pruning: Pruning::default(),
            ranges: self.ranges.as_ref().map(Ranges::columns_as_batch),
        })
    }

    /// The diagonal $f_{ii}$ of a square matrix, as a tensor `[batch.., M, D]`. Differentiable.
    ///
    /// # Panics
    /// If M and N differ, if no operand depends on one of the axes, or if `R` is not the number of
    /// batch dimensions plus 2.
    #[track_caller]
    pub fn diag<const R: usize>(&self) -> Tensor<R> {
        expect(self.try_diag())
    }

    /// Like [`diag`](Self::diag), with an error instead of a panic.
    pub fn try_diag<const R: usize>(&self) -> Result<Tensor<R>, LazyError> {
        let rows = self.diagonal_as_rows()?;
        // The result has no axis of columns.
        let mut shape = rows.shape();
        shape.remove(shape.len() - 2);
        self.check_rank::<R>("diag", &shape)?;
        rows.entries()
    }

    /// The diagonal as a formula of rows.
    fn diagonal_as_rows(&self) -> Result<Self, LazyError> {
        self.check_axis(Axis::I)?;
        self.check_axis(Axis::J)?;
        let extent = self.extent();
        if extent.m != extent.n {
            return Err(LazyError::NotSquare(self.boxed_info()));
        }
        let (expr, operands) = self.replace(
            |operand, tensor| {
                let values = match operand.var.is_of_pairs() {
                    true => self.diagonal_of(tensor),
                    false => tensor.tensor.clone(),
                };
                let axes = Dependence::from((!operand.var.is_parameter()).then_some(Axis::I));
                Ok((values, axes))
            },
            |place| match place {
                Place::Index(_) => Expr::place(Place::Index(Axis::I)),
                Place::Offset => Expr::constant(0.0),
            },
        )?;
        Ok(Self {
            expr,
            operands: Arc::new(operands),
            accumulation: Accumulation::default(),
            pruning: Pruning::default(),
            ranges: self.ranges.as_ref().map(Ranges::diagonal),
        })
    }

    /// The rows `rows` and columns `columns` of this matrix, as a symbolic matrix. `k.block(i..i + 1, 0..n)` is row
    /// `i`.
    ///
    /// # Panics
    /// If a range leaves its axis, or no operand depends on one of the axes.
    #[track_caller]
    pub fn block(&self, rows: Range<usize>, columns: Range<usize>) -> Self {
        expect(self.try_block(rows, columns))
    }

    /// Like [`block`](Self::block), with an error instead of a panic.
    pub fn try_block(&self, rows: Range<usize>, columns: Range<usize>) -> Result<Self, LazyError> {
        let extent = self.extent();
        for (axis, range) in [(Axis::I, &rows), (Axis::J, &columns)] {
            self.check_axis(axis)?;
            let size = extent.size(axis).expect("checked");
            if range.start > range.end || range.end > size {
                return Err(LazyError::Block {
                    axis,
                    start: range.start,
                    end: range.end,
                    size,
                    formula: self.boxed_info(),
                });
            }
        }
        let moved = |place: Place, by: f64| match by {
            0.0 => Expr::place(place),
            by => Expr::place(place) + by,
        };
        let (i, j) = (rows.start as f64, columns.start as f64);
        let (expr, operands) = self.replace(
            |operand, tensor| {
                let mut part = tensor.tensor.clone();
                for (axis, range) in [(Axis::I, &rows), (Axis::J, &columns)] {
                    if let Some(dim) = operand.dimension(axis) {
                        part = narrow::<Dispatch>(part, dim, range.clone());
                    }
                }
                Ok((part, operand.var.axes))
            },
            |place| match place {
                Place::Index(Axis::I) => moved(place, i),
                Place::Index(Axis::J) => moved(place, j),
                Place::Offset => moved(place, i - j),
            },
        )?;
        Ok(Self {
            expr,
            operands: Arc::new(operands),
            accumulation: self.accumulation,
            pruning: self.pruning,
            ranges: self
                .ranges
                .as_ref()
                .map(|own| own.block(rows.clone(), columns.clone())),
        })
    }

    /// The diagonal of a square tensor of pairs, `[batch.., M, D]`.
    fn diagonal_of(&self, tensor: &TensorValue) -> DispatchTensor {
        let [batch @ .., rows, columns, dim] = tensor.shape.as_slice() else {
            unreachable!("tensors of pairs have three dimensions or more")
        };
        let mut flat = batch.to_vec();
        flat.extend([rows * columns, *dim]);
        let indices: Vec<usize> = (0..*rows).map(|row| row * (columns + 1)).collect();
        let pairs = Dispatch::float_reshape(tensor.tensor.clone(), Shape::from(flat));
        Dispatch::float_select(pairs, batch.len(), self.numbered(&indices).into_dispatch())
    }

    /// All entries of a formula of one component on the host, column after column: entry $ij$ of batch $b$ is at
    /// $(bN + j)M + i$.
    pub(crate) fn host_entries(&self) -> Result<Vec<f64>, LazyError> {
        self.check_scalar("entries")?;
        self.columns_as_batch()?.host_rows()
    }

    /// The diagonal of a square matrix of one component on the host, batch after batch.
    pub(crate) fn host_diagonal(&self) -> Result<Vec<f64>, LazyError> {
        self.check_scalar("diag")?;
        self.diagonal_as_rows()?.host_rows()
    }

    /// The values of a formula that does not depend on columns, on the host.
    fn host_rows(&self) -> Result<Vec<f64>, LazyError> {
        // Reading the data does not depend on the number of dimensions.
        let values: Tensor<1> = self.entries()?;
        Ok(values.into_data().iter::<f64>().collect())
    }

    /// Whether a sample of the matrix is symmetric up to rounding: the entries in up to 32 rows, spread over the
    /// matrix, and in the columns of the same indices. If the sample is not symmetric, the matrix is not.
    pub(crate) fn looks_symmetric(&self) -> Result<bool, LazyError> {
        const COMPARED: usize = 32;
        let [rows, columns] = self.sizes();
        if rows != columns {
            return Ok(false);
        }
        let count = rows.min(COMPARED);
        if count == 0 {
            return Ok(true);
        }
        // The rows are cut into parts whose sizes differ by at most one, and the last row of each part is taken.
        // Equal steps could always hit the same place of a regular structure.
        let indices: Vec<usize> = (1..=count).map(|k| k * rows / count - 1).collect();
        let block = self.select(Axis::I, &indices)?.select(Axis::J, &indices)?;
        let epsilon = match self.extent().dtype {
            Some(DType::F64) => f64::EPSILON,
            _ => f32::EPSILON.into(),
        };
        let entries = block.host_entries()?;
        Ok(entries.chunks(count * count).all(|batch| {
            let scale = batch.iter().fold(0.0f64, |max, entry| max.max(entry.abs()));
            (0..count * count).all(|at| {
                let (j, i) = (at / count, at % count);
                let (entry, mirrored) = (batch[at], batch[i * count + j]);
                // Equal infinite values count as equal, and so does NaN on both sides.
                entry.total_cmp(&mirrored).is_eq()
                    || (entry.is_nan() && mirrored.is_nan())
                    || (entry - mirrored).abs() <= 1e3 * epsilon * scale
            })
        }))
    }

    /// The expression and the operands of this formula with its tensors and indices replaced. For an operand,
    /// `tensor` gives the new tensor and the axes along which it varies. `place` gives the expression that stands for
    /// an index.
    pub(crate) fn replace(
        &self,
        tensor: impl Fn(&Operand, &TensorValue) -> Result<(DispatchTensor, Dependence), LazyError>,
        place: impl Fn(Place) -> Expr,
    ) -> Result<(Expr, Vec<Operand>), LazyError> {
        let mut operands = Vec::new();
        let mut vars: Vec<(Var, Var)> = Vec::new();
        for operand in self.operands.iter() {
            let new = match &operand.value {
                Value::Scalar(_) => operand.clone(),
                Value::Tensor(value) => {
                    let (replaced, axes) = tensor(operand, value)?;
                    Operand::like(value, replaced, axes)
                }
            };
            vars.push((operand.var, new.var));
            operands.push(new);
        }
        let expr = self.expr.rewrite(|expr, args| match expr.node() {
            Node::Var(var) => {
                let (_, new) = vars.iter().find(|(old, _)| old == var).expect("an operand");
                Expr::var(*new)
            }
            Node::Place(old) => place(*old),
            _ => expr.with_args(args),
        });
        Ok((expr, operands))
    }

    /// The entries of a formula that does not depend on columns.
    pub(crate) fn entries<const R: usize>(&self) -> Result<Tensor<R>, LazyError> {
        let kind = ReductionKind::Sum(Accumulation::default());
        let Reduced { values, .. } =
            self.reduce_unchecked(Request::new(kind, Wanted::VALUES, Axis::J))?;
        Ok(Tensor::from_dispatch(values.expect("they are wanted")))
    }
}
