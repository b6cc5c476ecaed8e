//! How tensors lie in memory.

use crate::{
    plan::Packing,
    program::{Program, Space},
};

/// The shape and strides of a tensor, without its values.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// Its shape.
    pub shape: &'a [usize],
    /// Its strides.
    pub strides: &'a [usize],
}

/// The strides of a contiguous tensor.
pub(super) fn contiguous(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// The strides of a tensor, named by what each one steps over.
pub(super) struct Strided {
    pub row: usize,
    pub component: usize,
    /// The stride of columns, if the tensor has a value for each pair.
    pub column: Option<usize>,
    pub batch: Vec<usize>,
    pub packing: Packing,
    /// One more than the largest offset.
    pub extent: usize,
}

impl Strided {
    /// The strides of `tensor`, which is tensor `index` of a program.
    pub fn new(tensor: Layout, (program, index): (&Program, usize), batch_shape: &[usize]) -> Self {
        let Layout { shape, strides } = tensor;
        let space = program.tensors[index];
        let own = space.dimensions();
        let rank = shape.len();
        assert!(rank >= own && rank - own <= batch_shape.len());
        let stride = |axis: usize| if shape[axis] == 1 { 0 } else { strides[axis] };
        let pad = batch_shape.len() - (rank - own);
        let batch = (0..batch_shape.len())
            .map(|axis| if axis < pad { 0 } else { stride(axis - pad) })
            .collect();
        let extent = 1
            + (0..rank)
                .map(|axis| shape[axis].saturating_sub(1) * stride(axis))
                .sum::<usize>();
        let (row, column) = match space {
            Space::Uniform => (0, None),
            Space::Row | Space::Column => (stride(rank - 2), None),
            Space::Pair if program.columns_first => (stride(rank - 2), Some(stride(rank - 3))),
            Space::Pair => (stride(rank - 3), Some(stride(rank - 2))),
        };
        // The stride of a single component does not matter, so that it may count as adjacent.
        let dim = shape[rank - 1];
        let component = if dim == 1 { 1 } else { strides[rank - 1] };
        Self {
            row,
            component,
            column,
            batch,
            packing: match (row, component) {
                _ if space == Space::Pair => Packing::Pairs,
                (row, 1) if row == dim => Packing::Packed { dim },
                (_, 1) => Packing::Adjacent,
                _ => Packing::Strided,
            },
            extent,
        }
    }
}
