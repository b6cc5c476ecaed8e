//! Tensors on the host that own what they are made of, and reductions on the host.

use burn_lazy_kernels::{
    Precision, ReductionKind,
    host::{HostLaunch, HostProgram, HostSlice, HostTensor, Instructions},
};
use half::f16;

/// Values in one of the types of operands.
pub enum Numbers {
    Half(Vec<f16>),
    Single(Vec<f32>),
    Double(Vec<f64>),
}

/// A tensor that owns its values, shape and strides.
pub struct Tensor {
    pub numbers: Numbers,
    pub shape: Vec<usize>,
    pub strides: Vec<isize>,
}

impl Tensor {
    pub fn new(values: &[f64], shape: &[usize], precision: Precision) -> Self {
        let numbers = match precision {
            Precision::F64 => Numbers::Double(values.to_vec()),
            Precision::F16 => Numbers::Half(values.iter().map(|x| f16::from_f64(*x)).collect()),
            _ => Numbers::Single(values.iter().map(|x| *x as f32).collect()),
        };
        let stride = |k: usize| shape[k + 1..].iter().product::<usize>() as isize;
        Self {
            numbers,
            shape: shape.to_vec(),
            strides: (0..shape.len()).map(stride).collect(),
        }
    }

    pub fn view(&self) -> HostTensor<'_> {
        HostTensor {
            data: match &self.numbers {
                Numbers::Half(values) => HostSlice::F16(values),
                Numbers::Single(values) => HostSlice::F32(values),
                Numbers::Double(values) => HostSlice::F64(values),
            },
            shape: &self.shape,
            strides: &self.strides,
            start: 0,
        }
    }
}

/// The reduction of all pairs of one batch. Its values have the type of the operands.
pub fn of_all_pairs(
    program: &HostProgram,
    reduction: ReductionKind,
    (rows, columns): (usize, usize),
    precision: Precision,
    instructions: Instructions,
) -> HostLaunch<'_> {
    HostLaunch {
        program,
        reduction,
        batch_shape: &[],
        rows,
        columns,
        fold: None,
        ranges: None,
        precision,
        values: precision,
        instructions,
    }
}
