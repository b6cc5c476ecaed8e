//! Where columns come from: memory, functions, and files.

use std::{io, ops::Range};

/// Columns that can be read in parts, from the memory of the host or from anywhere else: `len` columns of `dim`
/// numbers each.
///
/// [`InMemory`] holds columns in a slice or a vector, and [`from_fn`] makes them by a function. With the feature
/// `mmap`, `Mapped` reads them from a file of numbers or an `.npy` file. Several threads may read different parts at
/// once.
pub trait Columns: Sync {
    /// How many columns there are.
    fn len(&self) -> usize;

    /// How many numbers a column has.
    fn dim(&self) -> usize;

    /// Whether there are no columns.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the columns `columns` to `out`, of `columns.len() * dim` numbers, one column after the other.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read(&self, columns: Range<usize>, out: &mut [f32]) -> io::Result<()>;
}

impl<C: Columns + ?Sized> Columns for &C {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn dim(&self) -> usize {
        (**self).dim()
    }

    fn read(&self, columns: Range<usize>, out: &mut [f32]) -> io::Result<()> {
        (**self).read(columns, out)
    }
}

/// Columns in a slice or in a vector, one after the other. Made by [`InMemory::new`].
#[derive(Clone, Copy, Debug)]
pub struct InMemory<T> {
    values: T,
    dim: usize,
}

impl<T: AsRef<[f32]>> InMemory<T> {
    /// The columns of `dim` numbers each in `values`: a `Vec<f32>` or a `&[f32]`.
    ///
    /// # Errors
    /// If `dim` is 0, or does not divide the number of values.
    pub fn new(values: T, dim: usize) -> io::Result<Self> {
        let len = values.as_ref().len();
        match dim > 0 && len.is_multiple_of(dim) {
            true => Ok(Self { values, dim }),
            false => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{len} numbers are no columns of {dim} numbers each"),
            )),
        }
    }
}

impl<T: AsRef<[f32]> + Sync> Columns for InMemory<T> {
    fn len(&self) -> usize {
        self.values.as_ref().len() / self.dim
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn read(&self, columns: Range<usize>, out: &mut [f32]) -> io::Result<()> {
        let part = columns.start * self.dim..columns.end * self.dim;
        let part = self.values.as_ref().get(part);
        out.copy_from_slice(part.ok_or_else(|| ends_early(&columns, self.len()))?);
        Ok(())
    }
}

/// Columns that a function reads or makes. Made by [`from_fn`].
#[derive(Clone, Copy, Debug)]
pub struct FromFn<F> {
    len: usize,
    dim: usize,
    read: F,
}

/// `len` columns of `dim` numbers each, which `read` writes as [`Columns::read`] does.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::prelude::*;
/// use burn_lazy::{LazyTensor, stream};
///
/// // A million numbers that are never stored together.
/// let numbers = stream::from_fn(1_000_000, 1, |columns, out| {
///     out.iter_mut().zip(columns).for_each(|(out, j)| *out = j as f32);
///     Ok(())
/// });
/// let device = Device::default();
/// let x_i = LazyTensor::vi(Tensor::<2>::from_data([[0.2], [4711.4]], &device));
/// let nearest: Tensor<2, Int> =
///     stream::over([&numbers], &device).argmin(|[y_j]| x_i.sqdist(y_j))?;
/// nearest.into_data().assert_eq(&TensorData::from([[0], [4711]]), false);
/// # }
/// # Ok::<(), burn_lazy::stream::StreamError>(())
/// ```
pub fn from_fn<F>(len: usize, dim: usize, read: F) -> FromFn<F>
where
    F: Fn(Range<usize>, &mut [f32]) -> io::Result<()> + Sync,
{
    FromFn { len, dim, read }
}

impl<F> Columns for FromFn<F>
where
    F: Fn(Range<usize>, &mut [f32]) -> io::Result<()> + Sync,
{
    fn len(&self) -> usize {
        self.len
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn read(&self, columns: Range<usize>, out: &mut [f32]) -> io::Result<()> {
        (self.read)(columns, out)
    }
}

/// The error that there are only `len` columns.
pub(super) fn ends_early(columns: &Range<usize>, len: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("there are {len} columns, and {columns:?} are asked for"),
    )
}
