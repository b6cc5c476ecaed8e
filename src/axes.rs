//! How the tensors of operands lie along the symbolic axes.

use burn::{
    backend::{Backend, TensorMetadata, tensor::FloatTensor},
    tensor::Shape,
};
use burn_lazy_kernels::expr::Dependence;

/// The number of dimensions of an operand's tensor that are not batch dimensions, if the operand varies along `axes`.
pub(crate) fn dimensions(axes: Dependence) -> usize {
    1 + usize::from(axes.i) + usize::from(axes.j)
}

/// The batch dimensions along which an operand is broadcast. `batch` are the batch dimensions of the formula, `shape`
/// is the shape of the operand's tensor, and `axes` are the axes along which the operand varies.
#[cfg(feature = "autodiff")]
pub(crate) fn shared(batch: &[usize], shape: &Shape, axes: Dependence) -> Vec<usize> {
    let missing = batch.len() - (shape.num_dims() - dimensions(axes));
    (0..batch.len())
        .filter(|&d| batch[d] > 1 && (d < missing || shape[d - missing] == 1))
        .collect()
}

/// The axes along which an operand varies once the columns are a batch dimension.
pub(crate) fn without_columns(axes: Dependence) -> Dependence {
    Dependence { j: false, ..axes }
}

/// The tensor of an operand that varies along `axes`, with the columns as its last batch dimension.
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
