//! The operands of a kernel, and the positions of their components in the buffers.

use cubecl::prelude::*;

use super::layout;
use crate::plan::{Blueprint, Packing};

/// The buffers, scalars and sizes that a kernel reads.
#[derive(CubeType)]
pub struct Operands<'a, E: Float> {
    pub tensors: &'a Sequence<Box<[E]>>,
    /// The buffers of ranges: the tasks with their ranges, then the indices of columns, the limits of rows and the
    /// indices of rows. A kernel has only the buffers that it needs.
    pub lists: &'a Sequence<Box<[u32]>>,
    pub scalars: &'a Sequence<InputScalar>,
    /// The sizes and strides, in the order of [`layout`].
    pub layout: &'a Sequence<usize>,
}

#[cube]
impl<'a, E: Float> Operands<'a, E> {
    pub fn new(
        tensors: &'a Sequence<Box<[E]>>,
        lists: &'a Sequence<Box<[u32]>>,
        scalars: &'a Sequence<InputScalar>,
        layout: &'a Sequence<usize>,
    ) -> Operands<'a, E> {
        Operands::<'a, E> {
            tensors,
            lists,
            scalars,
            layout,
        }
    }
}

/// The offsets and strides of the tensors in one batch.
#[derive(CubeType)]
pub struct Address {
    base: Sequence<usize>,
    row: Sequence<usize>,
    component: Sequence<usize>,
    /// The strides of columns, only of the tensors that have a value for each pair, in the order of these tensors.
    column: Sequence<usize>,
}

/// The position of a component of a row in the buffer of a tensor.
#[cube]
pub fn position(
    address: &Address,
    row: usize,
    component: usize,
    #[comptime] tensor: usize,
    #[comptime] blueprint: Blueprint,
) -> usize {
    let base = *address.base.index(tensor);
    match comptime!(blueprint.packing[tensor]) {
        Packing::Strided => {
            base + row * *address.row.index(tensor) + component * *address.component.index(tensor)
        }
        Packing::Adjacent => base + row * *address.row.index(tensor) + component,
        Packing::Packed { dim } => base + row * dim + component,
        Packing::Pairs => comptime!(unreachable!("rows alone do not say where it is")),
    }
}

/// The position of a component of a pair in the buffer of a tensor that has a value for each pair.
#[cube]
pub fn position_of_pair(
    address: &Address,
    row: usize,
    column: usize,
    component: usize,
    #[comptime] tensor: usize,
    #[comptime] blueprint: Blueprint,
) -> usize {
    let place = comptime!(blueprint.tensors_of_pairs(tensor));
    *address.base.index(tensor)
        + row * *address.row.index(tensor)
        + column * *address.column.index(place)
        + component * *address.component.index(tensor)
}

/// The offsets and strides of the tensors in batch `batch`.
#[cube]
pub fn address(
    layout: &Sequence<usize>,
    batch: usize,
    #[comptime] blueprint: Blueprint,
) -> Address {
    let rank = comptime!(blueprint.batch_rank);
    let mut address = Address {
        base: Sequence::new(),
        row: Sequence::new(),
        component: Sequence::new(),
        column: Sequence::new(),
    };
    #[unroll]
    for tensor in 0..blueprint.packing.len() {
        let strides = comptime!(layout::strides(tensor, rank));
        let mut base = 0usize.runtime();
        let mut rest = batch;
        #[unroll]
        for d in 0..rank {
            let axis = comptime!(rank - 1 - d);
            let size = *layout.index(comptime!(layout::BATCH_SHAPE + axis));
            base += (rest % size) * *layout.index(comptime!(strides + 2 + axis));
            rest /= size;
        }
        address.base.push(base);
        address.row.push(*layout.index(strides));
        address
            .component
            .push(*layout.index(comptime!(strides + 1)));
    }
    let tensors = comptime!(blueprint.packing.len());
    #[unroll]
    for place in 0..blueprint.tensors_of_pairs(tensors) {
        let stride = comptime!(layout::strides(tensors, rank) + place);
        address.column.push(*layout.index(stride));
    }
    address
}
