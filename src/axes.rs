//! How the tensors of operands lie along the symbolic axes.

use burn::{
    backend::{Backend, TensorMetadata, tensor::FloatTensor},
    tensor::Shape,
};
use burn_lazy_kernels::expr::Dependence;

/// The dimensions of the tensor of an operand that are not of batches.
pub(crate) fn dimensions(axes: Dependence) -> usize {
    1 + usize::from(axes.i) + usize::from(axes.j)
}

/// The axes along which an operand varies where columns are a batch dimension.
pub(crate) fn without_columns(axes: Dependence) -> Dependence {
    Dependence { j: false, ..axes }
}

/// The tensor of an operand that varies along `axes`, with columns as the last of its batch dimensions.
pub(crate) fn columns_first<B: Backend>(
    tensor: FloatTensor<B>,
    axes: Dependence,
) -> FloatTensor<B> {
    let mut shape = tensor.shape().to_vec();
    let rank = shape.len();
    if axes.is_both() {
        return B::float_swap_dims(tensor, rank - 3, rank - 2);
    }
    if axes.j {
        return tensor;
    }
    shape.insert(rank - dimensions(axes), 1);
    B::float_reshape(tensor, Shape::from(shape))
}
