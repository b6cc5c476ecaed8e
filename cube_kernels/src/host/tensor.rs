//! Tensors on the host: how they are given, and how they are read.

use half::{bf16, f16};

use crate::{
    math::{Precision, lane::Real},
    program::Space,
};

/// A slice of values in one of the types of operands.
#[derive(Clone, Copy, Debug)]
pub enum HostSlice<'a> {
    /// 16 bits, 11 of them significant.
    F16(&'a [f16]),
    /// 16 bits, 8 of them significant.
    BF16(&'a [bf16]),
    /// 32 bits.
    F32(&'a [f32]),
    /// 64 bits.
    F64(&'a [f64]),
}

impl HostSlice<'_> {
    /// The type of the values.
    pub fn precision(&self) -> Precision {
        match self {
            Self::F16(_) => Precision::F16,
            Self::BF16(_) => Precision::BF16,
            Self::F32(_) => Precision::F32,
            Self::F64(_) => Precision::F64,
        }
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F16(values) => values.len(),
            Self::BF16(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A tensor on the host, of any strides.
#[derive(Clone, Copy, Debug)]
pub struct HostTensor<'a> {
    /// The buffer that has its values.
    pub data: HostSlice<'a>,
    /// Its shape.
    pub shape: &'a [usize],
    /// Its strides, which may be negative.
    pub strides: &'a [isize],
    /// The position of its first value in the buffer.
    pub start: usize,
}

impl HostTensor<'_> {
    /// Whether all values that the shape and strides refer to are within the buffer.
    pub(crate) fn has_room(&self) -> bool {
        if self.shape.contains(&0) {
            return true;
        }
        let (mut least, mut most) = (self.start as i128, self.start as i128);
        for (size, stride) in self.shape.iter().zip(self.strides) {
            let step = (*size as i128 - 1) * *stride as i128;
            if step < 0 {
                least += step;
            } else {
                most += step;
            }
        }
        least >= 0 && most < self.data.len() as i128
    }
}

/// The part of a tensor that belongs to one batch, with a stride for each of its dimensions.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    data: HostSlice<'a>,
    start: isize,
    row: isize,
    component: isize,
    /// The stride of columns, which only a tensor of pairs has.
    column: isize,
}

impl<'a> Rows<'a> {
    /// The part of a tensor that belongs to the batch of this index. The shape must have been checked. The first of
    /// the two dimensions of a tensor of pairs is taken for that of the rows.
    pub fn new(tensor: &HostTensor<'a>, space: Space, batch: &[usize]) -> Self {
        let own = space.dimensions();
        let rank = tensor.shape.len();
        let pad = batch.len() - (rank - own);
        // A dimension of size 1 broadcasts.
        let stride = |axis: usize| match tensor.shape[axis] {
            1 => 0,
            _ => tensor.strides[axis],
        };
        let batches = batch[pad..].iter().enumerate();
        let offset: isize = batches.map(|(axis, at)| *at as isize * stride(axis)).sum();
        Self {
            data: tensor.data,
            start: tensor.start as isize + offset,
            row: if own > 1 { stride(rank - own) } else { 0 },
            component: stride(rank - 1),
            column: if own > 2 { stride(rank - 2) } else { 0 },
        }
    }

    /// The same for a tensor of pairs whose first dimension is that of the columns.
    pub fn columns_first(self) -> Self {
        Self {
            row: self.column,
            column: self.row,
            ..self
        }
    }

    /// Reads a component of the pairs of a row with consecutive columns, from column `first` on, until `out` is full.
    pub fn read_pairs<T: Real>(
        &self,
        component: usize,
        (row, first): (usize, usize),
        out: &mut [T],
    ) {
        let of_row = Self {
            start: self.start + row as isize * self.row,
            row: self.column,
            ..*self
        };
        of_row.read(component, first, out);
    }

    /// Reads a component of consecutive rows, from row `first` on, until `out` is full.
    pub fn read<T: Real>(&self, component: usize, first: usize, out: &mut [T]) {
        let start = self.start + component as isize * self.component + first as isize * self.row;
        match self.data {
            HostSlice::F16(data) => gather(data, start, self.row, out, |x| x.to_f64()),
            HostSlice::BF16(data) => gather(data, start, self.row, out, |x| x.to_f64()),
            HostSlice::F32(data) => gather(data, start, self.row, out, f64::from),
            HostSlice::F64(data) => gather(data, start, self.row, out, |x| x),
        }
    }

    /// Reads a component of the rows `rows`, until `out` is full.
    pub fn read_rows<T: Real>(&self, component: usize, rows: &[u32], out: &mut [T]) {
        let at = (self.start + component as isize * self.component, self.row);
        match self.data {
            HostSlice::F16(data) => pick(data, at, rows, out, |x| x.to_f64()),
            HostSlice::BF16(data) => pick(data, at, rows, out, |x| x.to_f64()),
            HostSlice::F32(data) => pick(data, at, rows, out, f64::from),
            HostSlice::F64(data) => pick(data, at, rows, out, |x| x),
        }
    }
}

/// Reads the values at `start + row * step` for the rows in `rows`.
fn pick<E: Copy, T: Real>(
    data: &[E],
    (start, step): (isize, isize),
    rows: &[u32],
    out: &mut [T],
    double: impl Fn(E) -> f64,
) {
    for (out, row) in out.iter_mut().zip(rows) {
        *out = T::of(double(data[(start + *row as isize * step) as usize]));
    }
}

/// Reads every `step`-th value from `start` on, until `out` is full.
fn gather<E: Copy, T: Real>(
    data: &[E],
    start: isize,
    step: isize,
    out: &mut [T],
    double: impl Fn(E) -> f64,
) {
    if step == 0 {
        if !out.is_empty() {
            out.fill(T::of(double(data[start as usize])));
        }
    } else if step == 1 {
        let values = &data[start as usize..][..out.len()];
        for (out, value) in out.iter_mut().zip(values) {
            *out = T::of(double(*value));
        }
    } else {
        let mut at = start;
        for out in out {
            *out = T::of(double(data[at as usize]));
            at += step;
        }
    }
}

/// Values in one of the types of results.
#[derive(Clone, Debug, PartialEq)]
pub enum HostValues {
    /// 16 bits, 11 of them significant.
    F16(Vec<f16>),
    /// 16 bits, 8 of them significant.
    BF16(Vec<bf16>),
    /// 32 bits.
    F32(Vec<f32>),
    /// 64 bits.
    F64(Vec<f64>),
}

impl HostValues {
    /// `values`, rounded to `precision`.
    pub(crate) fn new(values: &[f64], precision: Precision) -> Self {
        match precision {
            Precision::F16 => Self::F16(values.iter().map(|x| f16::from_f64(*x)).collect()),
            Precision::BF16 => Self::BF16(values.iter().map(|x| bf16::from_f64(*x)).collect()),
            Precision::F32 => Self::F32(values.iter().map(|x| *x as f32).collect()),
            Precision::F64 => Self::F64(values.to_vec()),
        }
    }

    /// The values as a slice.
    pub(crate) fn as_slice(&self) -> HostSlice<'_> {
        match self {
            Self::F16(values) => HostSlice::F16(values),
            Self::BF16(values) => HostSlice::BF16(values),
            Self::F32(values) => HostSlice::F32(values),
            Self::F64(values) => HostSlice::F64(values),
        }
    }

    /// The same values in F64.
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F16(values) => values.iter().map(|x| x.to_f64()).collect(),
            Self::BF16(values) => values.iter().map(|x| x.to_f64()).collect(),
            Self::F32(values) => values.iter().map(|x| f64::from(*x)).collect(),
            Self::F64(values) => values.clone(),
        }
    }
}
