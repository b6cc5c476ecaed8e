//! Columns in files.

use std::{fs::File, io, ops::Range, path::Path};

use memmap2::Mmap;

use super::{Columns, columns::ends_early, npy::Header};

/// Columns in a memory-mapped file. The operating system reads parts of the file when they are needed, and drops them
/// from memory when memory is short.
#[derive(Debug)]
pub struct Mapped {
    bytes: Mmap,
    /// Where the numbers start.
    start: usize,
    len: usize,
    dim: usize,
    number: Number,
}

/// How a number is stored.
#[derive(Clone, Copy, Debug)]
enum Number {
    LittleF32,
    BigF32,
    LittleF64,
    BigF64,
}

impl Number {
    fn size(self) -> usize {
        match self {
            Self::LittleF32 | Self::BigF32 => 4,
            Self::LittleF64 | Self::BigF64 => 8,
        }
    }
}

fn wrong(path: &Path, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{}: {what}", path.display()),
    )
}

impl Mapped {
    /// Opens an array in a file of NumPy (`numpy.save`), of shape `[N, D]`, or `[N]` for columns of one number, in
    /// F32 or F64. Numbers in F64 are rounded to F32.
    ///
    /// The file must not be changed or cut while it is used.
    ///
    /// # Errors
    /// If the file cannot be opened, or does not hold an array of such numbers in C's order.
    pub fn npy(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let bytes = map(path)?;
        let header = Header::read(&bytes).map_err(|error| wrong(path, error))?;
        let number = match header.dtype.as_str() {
            "<f4" => Number::LittleF32,
            ">f4" => Number::BigF32,
            "<f8" => Number::LittleF64,
            ">f8" => Number::BigF64,
            other => {
                return Err(wrong(
                    path,
                    format!("numbers are of type {other}, not f4 or f8"),
                ));
            }
        };
        let (len, dim) = match header.shape[..] {
            [len] => (len, 1),
            [len, dim] => (len, dim),
            _ => {
                let shape = header.shape;
                return Err(wrong(
                    path,
                    format!("an array of shape {shape:?} has no columns"),
                ));
            }
        };
        let size = (len as u128) * (dim as u128) * number.size() as u128;
        let there = (bytes.len() - header.start) as u128;
        match size <= there {
            true => Ok(Self {
                bytes,
                start: header.start,
                len,
                dim,
                number,
            }),
            false => Err(wrong(
                path,
                format!("the array has {size} bytes, and the file {there} of them"),
            )),
        }
    }

    /// Opens a file that holds nothing but numbers: F32 with the lowest byte first, `dim` of them for each column.
    ///
    /// The file must not be changed or cut while it is used.
    ///
    /// # Errors
    /// If the file cannot be opened, or if its size is not that of a whole number of columns of `dim` numbers.
    pub fn raw(path: impl AsRef<Path>, dim: usize) -> io::Result<Self> {
        let path = path.as_ref();
        let bytes = map(path)?;
        let (size, number) = (bytes.len(), Number::LittleF32);
        let column = dim.saturating_mul(number.size());
        match column > 0 && size.is_multiple_of(column) {
            true => Ok(Self {
                len: size / column,
                bytes,
                start: 0,
                dim,
                number,
            }),
            false => Err(wrong(
                path,
                format!("{size} bytes are no columns of {dim} numbers of 4 bytes each"),
            )),
        }
    }
}

fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    // SAFETY: the file is only read, and must not be changed, as the documentation says.
    unsafe { Mmap::map(&file) }
}

impl Columns for Mapped {
    fn len(&self) -> usize {
        self.len
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn read(&self, columns: Range<usize>, out: &mut [f32]) -> io::Result<()> {
        if columns.end > self.len {
            return Err(ends_early(&columns, self.len));
        }
        let column = self.dim * self.number.size();
        let part = self.start + columns.start * column..self.start + columns.end * column;
        let bytes = &self.bytes[part];
        match self.number {
            Number::LittleF32 if cfg!(target_endian = "little") => {
                // A plain copy, which is fast without optimisations, too.
                bytemuck::cast_slice_mut(out).copy_from_slice(bytes);
            }
            Number::LittleF32 => convert(bytes, out, f32::from_le_bytes),
            Number::BigF32 => convert(bytes, out, f32::from_be_bytes),
            Number::LittleF64 => convert(bytes, out, |bytes| f64::from_le_bytes(bytes) as f32),
            Number::BigF64 => convert(bytes, out, |bytes| f64::from_be_bytes(bytes) as f32),
        }
        Ok(())
    }
}

fn convert<const N: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; N]) -> f32) {
    let (numbers, _) = bytes.as_chunks::<N>();
    for (out, bytes) in out.iter_mut().zip(numbers) {
        *out = number(*bytes);
    }
}
