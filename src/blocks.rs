//! Ranges of the pairs that a mask may select, found block by block.

use std::{collections::HashMap, ops::Range};

use burn::{
    backend::DispatchTensor,
    tensor::{DType, Device, FloatDType, Tensor, TensorData},
};
use burn_lazy_kernels::{
    Axis, Expr, Precision,
    catalogue::ScalarOp,
    expr::{Place, Var},
    interval::{Interval, Leaf},
};

use crate::{
    backends::computed,
    error::LazyError,
    lazy::LazyTensor,
    operand::{Operand, TensorValue, Value},
    ranges::Ranges,
};

/// Rows of a block, and columns of one.
const BLOCK: usize = 64;

impl Ranges {
    /// The pairs of those blocks of 64 rows and 64 columns of `matrix` in which `mask`, a formula of one component, may be
    /// other than 0. All pairs that the mask selects are among them; others may be, too, so that the mask stays in the
    /// formula.
    ///
    /// What the mask may be is found by interval arithmetic, from the least and largest values of its operands in a block.
    /// So a mask of indices, as for causal attention, of sorted labels, or of distances of points that are
    /// [sorted](crate::Clusters::sort) leaves out most of the blocks in which it holds nowhere. A block with NaN or an
    /// infinite value is kept.
    ///
    /// It takes one evaluation a pair of blocks, and the memory of a number for each.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use burn::{prelude::*, tensor::Distribution};
    /// use burn_lazy::{Axis, LazyTensor, Ranges};
    ///
    /// let device = Device::default();
    /// let [q, k, v] = [(); 3].map(|()| Tensor::<2>::random([1000, 8], Distribution::Default, &device));
    /// let (q_i, k_j) = (LazyTensor::vi(q), LazyTensor::vj(k));
    /// // A token attends to the 100 before it, and to itself.
    /// let offset = LazyTensor::offset();
    /// let window = offset.greater_equal(0.0) * offset.less_equal(100.0);
    /// let scores = q_i.dot(k_j).mask_where(window.equal(0.0), f64::NEG_INFINITY);
    /// let near = Ranges::of_mask(&window, &scores)?;
    /// assert!(near.pairs() < 220_000);
    /// let out: Tensor<2> = scores.ranges(&near).sumsoftmaxweight(LazyTensor::vj(v), Axis::J);
    /// # let _ = out;
    /// # }
    /// # Ok::<(), burn_lazy::LazyError>(())
    /// ```
    ///
    /// # Errors
    /// If the mask has several components, if it or the matrix has batch dimensions, if they do not fit together, if no
    /// operand says how many rows or columns there are, or if there are more than 2^28 pairs of blocks.
    pub fn of_mask(mask: &LazyTensor, matrix: &LazyTensor) -> Result<Self, LazyError> {
        mask.check_scalar("of_mask")?;
        let mask = LazyTensor::combine(mask.expr.clone(), &[mask, matrix])?;
        mask.check_axis(Axis::I)?;
        mask.check_axis(Axis::J)?;
        let extent = mask.extent();
        let device = extent.device.expect("an axis was checked");
        let own = extent.dtype.expect("there is a tensor operand");
        let mask = match computed(own) {
            // F16 and BF16 hold few indices.
            dtype if dtype != own => mask.try_cast(dtype.into())?,
            _ => mask,
        };
        if !extent.batch.is_empty() {
            return Err(LazyError::MaskOfBatches(mask.boxed_info()));
        }
        let sizes = mask.sizes();
        if sizes.contains(&0) {
            let [rows, columns] = sizes.map(|size| [size]);
            return Ok(Self::lengths(&rows, &columns).expect("one segment each"));
        }
        let blocks = sizes.map(blocks);
        let keep = mask.may_hold(computed(own), &device, &blocks)?;
        let ranges = Self::from_matrix(&blocks[0], &blocks[1], &keep);
        Ok(ranges.expect("blocks are disjoint"))
    }
}

/// The blocks of an axis.
fn blocks(size: usize) -> Vec<Range<usize>> {
    let starts = (0..size).step_by(BLOCK);
    starts.map(|start| start..size.min(start + BLOCK)).collect()
}

impl LazyTensor {
    /// Whether this may be other than 0, for each pair of blocks.
    fn may_hold(
        &self,
        dtype: DType,
        device: &Device,
        blocks: &[Vec<Range<usize>>; 2],
    ) -> Result<Vec<bool>, LazyError> {
        let of = |axis| match axis {
            Axis::I => &blocks[0],
            Axis::J => &blocks[1],
        };
        let mut operands = Vec::new();
        let mut sides: HashMap<Var, [Var; 2]> = HashMap::new();
        let (_, leaves) = self.expr.numbered();
        let read = |operand: &&Operand| leaves.contains(&operand.var);
        for operand in self.operands.iter().filter(read) {
            let own = match (&operand.value, operand.var.axis) {
                (Value::Tensor(value), Some(axis)) => {
                    let boxes = boxes(value, of(axis), device);
                    boxes.map(|side| Operand::like(value, side, Some(axis)))
                }
                _ => [operand.clone(), operand.clone()],
            };
            sides.insert(operand.var, [own[0].var, own[1].var]);
            operands.extend(own);
        }
        let mut indices = Vec::new();
        for axis in [Axis::I, Axis::J] {
            let ends = [false, true].map(|last| {
                let numbers = of(axis).iter().map(|own| match last {
                    false => outwards(own.start, dtype, false),
                    true => outwards(own.end - 1, dtype, true),
                });
                let numbers: Vec<f64> = numbers.collect();
                let data = TensorData::new(numbers, [of(axis).len(), 1]);
                let tensor = Tensor::<2>::from_data(data, (device, dtype));
                Operand::tensor(tensor, Some(axis))
            });
            let [first, last] = ends;
            let (first, last) = (first?, last?);
            indices.push([Expr::var(first.var), Expr::var(last.var)]);
            operands.extend([first, last]);
        }
        let index = |axis, last: bool| match axis {
            Axis::I => indices[0][usize::from(last)].clone(),
            Axis::J => indices[1][usize::from(last)].clone(),
        };
        let precision = match dtype {
            DType::F64 => Precision::F64,
            _ => Precision::F32,
        };
        let Interval { low, high } = self.expr.bounds(precision, |leaf| match leaf {
            Leaf::Var(var) => {
                let [low, high] = sides[&var].map(Expr::var);
                Interval::new(low, high)
            }
            Leaf::Place(Place::Index(axis)) => Interval::new(index(axis, false), index(axis, true)),
            Leaf::Place(Place::Offset) => Interval::new(
                index(Axis::I, false) - index(Axis::J, true),
                index(Axis::I, true) - index(Axis::J, false),
            ),
        });
        // NaN is not equal to 0.
        let zero = |side| Expr::scalar(ScalarOp::Equal, vec![side, Expr::constant(0.0)]);
        let never = Self {
            expr: zero(low) * zero(high),
            operands: operands.into(),
            ranges: None,
            ..self.clone()
        };
        let values: Tensor<3> = never.try_dense()?;
        Ok(values
            .into_data()
            .iter::<f64>()
            .map(|own| own == 0.0)
            .collect())
    }
}

/// An index in a type that may not hold it: the next number below or above.
fn outwards(index: usize, dtype: DType, up: bool) -> f64 {
    let number = index as f64;
    let single = number as f32;
    match dtype {
        DType::F64 => number,
        _ if up && f64::from(single) < number => single.next_up().into(),
        _ if !up && f64::from(single) > number => single.next_down().into(),
        _ => single.into(),
    }
}

/// The least and the largest values of each component in each block of rows; NaN where a value is NaN or infinite.
fn boxes(value: &TensorValue, blocks: &[Range<usize>], device: &Device) -> [DispatchTensor; 2] {
    let dim = *value.shape.last().expect("it has rows");
    let dtype = FloatDType::from(Tensor::<1>::from_dispatch(value.tensor.clone()).dtype());
    // The data are the same for any number of dimensions.
    let data = Tensor::<1>::from_dispatch(value.tensor.clone()).into_data();
    let values: Vec<f64> = data.iter::<f64>().collect();
    let mut sides = [Vec::new(), Vec::new()];
    for block in blocks {
        let rows = &values[block.start * dim..block.end * dim];
        for k in 0..dim {
            let own = || rows.iter().skip(k).step_by(dim).copied();
            let (low, high) = match own().all(f64::is_finite) {
                true => (
                    own().fold(f64::INFINITY, f64::min),
                    own().fold(f64::NEG_INFINITY, f64::max),
                ),
                false => (f64::NAN, f64::NAN),
            };
            sides[0].push(low);
            sides[1].push(high);
        }
    }
    sides.map(|side| {
        let data = TensorData::new(side, [blocks.len(), dim]);
        Tensor::<2>::from_data(data, (device, DType::from(dtype))).into_dispatch()
    })
}
