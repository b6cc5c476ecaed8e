//! How tensors lie in memory.

use crate::{plan::Packing, program::Space};

/// A tensor without its values.
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

/// The strides of a tensor by what they step over.
pub(super) struct Strided {
    pub row: usize,
    pub component: usize,
    pub batch: Vec<usize>,
    pub packing: Packing,
    /// One more than the largest offset.
    pub extent: usize,
}

impl Strided {
    pub fn new(tensor: Layout, space: Space, batch_shape: &[usize]) -> Self {
        let Layout { shape, strides } = tensor;
        let own = if space == Space::Uniform { 1 } else { 2 };
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
        let row = if own == 2 { stride(rank - 2) } else { 0 };
        // A single component has no stride that matters.
        let dim = shape[rank - 1];
        let component = if dim == 1 { 1 } else { strides[rank - 1] };
        Self {
            row,
            component,
            batch,
            packing: match (row, component) {
                (row, 1) if row == dim => Packing::Packed { dim },
                (_, 1) => Packing::Adjacent,
                _ => Packing::Strided,
            },
            extent,
        }
    }
}
