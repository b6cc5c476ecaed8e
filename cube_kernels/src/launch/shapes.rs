//! Checks that tensors are as large as a program needs them, so that no kernel reads or writes beyond a buffer.

use cubecl::{ir::ElemType, prelude::*};

use super::{Launch, LaunchError, Layout, Output, strided::contiguous};
use crate::{
    error::{OperandError, check_count},
    program::Extent,
    reduction::Wanted,
};

impl Launch<'_> {
    /// Checks the number of tensors and the shape of each; `end` is one more than the last column that is read.
    pub(super) fn check_layouts(&self, tensors: &[Layout], end: usize) -> Result<(), LaunchError> {
        let program = self.program;
        check_count("tensors", tensors.len(), program.tensors.len())?;
        let extent = Extent {
            batch: self.batch_shape,
            rows: self.rows,
            end,
        };
        for (index, tensor) in tensors.iter().enumerate() {
            program
                .check_operand(index, (tensor.shape, tensor.strides.len()), &extent)
                .map_err(|reason| {
                    OperandError::of_tensor(index, (tensor.shape, tensor.strides), reason)
                })?;
        }
        Ok(())
    }

    /// Checks that ranges and their limits, if there are any, fit the matrix and its batches, and that the launch
    /// neither adds up rows nor writes partial results (`parts`).
    pub(super) fn check_ranges(&self, parts: bool) -> Result<(), LaunchError> {
        let Some(ranges) = self.ranges else {
            return Ok(());
        };
        let fits = ranges.fits([self.rows, self.columns], self.batch_shape);
        let fits =
            fits && ranges.has_limits_for(self.reduction, self.program.dim, self.batch_shape);
        match fits && self.fold.is_none() && !parts {
            true => Ok(()),
            false => Err(LaunchError::Ranges {
                given: Box::new(ranges.clone()),
                rows: self.rows,
                columns: self.columns,
            }),
        }
    }

    /// Checks the number of scalars, and that the buffer of each tensor is as long as its shape and strides require.
    pub(super) fn check_buffers(
        &self,
        tensors: &[TensorBinding],
        scalars: &[f64],
    ) -> Result<(), LaunchError> {
        check_count("scalars", scalars.len(), self.program.scalars)?;
        let size = self.precision.elem().size();
        let short = tensors.iter().position(|tensor| {
            let steps = tensor.shape.iter().zip(tensor.strides.iter());
            let last = steps.map(|(len, stride)| len.saturating_sub(1).saturating_mul(*stride));
            let last = last.fold(0usize, usize::saturating_add);
            let empty = tensor.shape.contains(&0);
            !empty && !has_room(tensor, last.saturating_add(1), size)
        });
        match short {
            None => Ok(()),
            Some(index) => {
                let layout = (&tensors[index].shape[..], &tensors[index].strides[..]);
                let reason = "its buffer is shorter".to_string();
                Err(OperandError::of_tensor(index, layout, reason).into())
            }
        }
    }

    /// Checks that the tensors for results are contiguous and have the size of the results.
    pub(super) fn check_output(&self, output: &Output, wanted: Wanted) -> Result<(), LaunchError> {
        let spec = self.spec(wanted);
        let rows = self.all_rows();
        let check = |what, tensor: &TensorBinding, len: usize, elem: ElemType| {
            let given = tensor.shape.iter().product::<usize>();
            let whole = tensor.strides[..] == contiguous(&tensor.shape)[..];
            match given == len && (whole || len <= 1) && has_room(tensor, len, elem.size()) {
                true => Ok(()),
                false => Err(LaunchError::Output {
                    what,
                    shape: tensor.shape.to_vec(),
                    len,
                }),
            }
        };
        if let Some(values) = &output.values {
            check("values", values, rows * spec.entries(), self.values.elem())?;
        }
        if let Some((indices, kind)) = &output.indices {
            check(
                "indices",
                indices,
                rows * spec.entries(),
                ElemType::Int(*kind),
            )?;
        }
        if let Some(state) = &output.state {
            let elem = self.accumulated().elem();
            check("state", state, rows * spec.state_size(), elem)?;
        }
        Ok(())
    }
}

/// Whether the memory of a tensor holds `len` values of `size` bytes from its start on.
pub(super) fn has_room(tensor: &TensorBinding, len: usize, size: usize) -> bool {
    let start = tensor.handle.offset_start.unwrap_or(0);
    let bytes = (len as u64).saturating_mul(size as u64);
    start.saturating_add(bytes) <= tensor.handle.size
}
