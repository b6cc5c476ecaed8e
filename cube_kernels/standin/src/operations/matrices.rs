//! Matrix instructions `wmma`. The PTX manual does not say which lane holds which value. Here lane `l` holds the values
//! `l`, `l + 32`, .. of the matrix in the order of rows. The rest of a fragment has the bytes of fresh memory.

use std::ffi::c_void;
use std::ops::Range;

use half::{bf16, f16};

use super::halves::{of_single, to_single};
use crate::machine::{LANES, Spec, Unit, Use, access, exchange};
use crate::ptx::{Space, Type};

/// The most bytes of a fragment of a lane.
pub const FRAGMENT: usize = 64;

/// The sizes of a matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of the result.
    pub m: u32,
    /// Columns of the result.
    pub n: u32,
    /// Columns of the first factor.
    pub k: u32,
}

/// The known shapes, with the names of their modifiers.
const SHAPES: [(&str, Shape); 4] = [
    (
        "m16n16k16",
        Shape {
            m: 16,
            n: 16,
            k: 16,
        },
    ),
    ("m32n8k16", Shape { m: 32, n: 8, k: 16 }),
    ("m8n32k16", Shape { m: 8, n: 32, k: 16 }),
    ("m16n16k8", Shape { m: 16, n: 16, k: 8 }),
];
const TYPES: [Type; 4] = [Type::F16, Type::BF16, Type::Tf32, Type::F32];

/// A fragment that an instruction loads or stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The matrix: `a`, `b` or `c`. `d` has the layout of `c`.
    pub part: char,
    /// The index of the shape in the list of shapes.
    pub shape: u32,
    /// The type of the values.
    pub of: Type,
    /// Whether rows are contiguous in memory.
    pub rows: bool,
    /// The space of the matrix in memory.
    pub space: Space,
    /// The number of words of each lane.
    pub words: u32,
}

/// The index of a shape by its name. `None` if it is not known.
pub fn shape(name: &str) -> Option<u32> {
    let place = SHAPES.iter().position(|row| row.0 == name)?;
    Some(place as u32)
}

impl Fragment {
    /// Packs the fragment into a number for generated code.
    pub fn encode(self) -> u32 {
        let of = TYPES.iter().position(|of| *of == self.of).unwrap_or(0) as u32;
        let part = self.part as u32 - 'a' as u32;
        let space = match self.space {
            Space::Shared => 1,
            Space::Global => 2,
            _ => 0,
        };
        part | self.shape << 2 | of << 4 | u32::from(self.rows) << 6 | space << 7 | self.words << 9
    }

    fn decode(code: u32) -> Self {
        Self {
            part: ['a', 'b', 'c', 'c'][(code & 3) as usize],
            shape: code >> 2 & 3,
            of: TYPES[(code >> 4 & 3) as usize],
            rows: code >> 6 & 1 == 1,
            space: [Space::Generic, Space::Shared, Space::Global, Space::Generic]
                [(code >> 7 & 3) as usize],
            words: code >> 9,
        }
    }

    /// The numbers of rows and columns.
    fn size(self) -> (u32, u32) {
        let Shape { m, n, k } = SHAPES[self.shape as usize].1;
        match self.part {
            'a' => (m, k),
            'b' => (k, n),
            _ => (m, n),
        }
    }

    /// The number of values of a lane.
    fn values(self) -> u32 {
        let (rows, columns) = self.size();
        rows * columns / LANES as u32
    }

    /// The offset of a value of a lane from the start of the matrix, in values.
    fn offset(self, lane: u32, value: u32, stride: u32) -> u32 {
        let (_, columns) = self.size();
        let place = value * LANES as u32 + lane;
        let (row, column) = (place / columns, place % columns);
        if self.rows {
            row * stride + column
        } else {
            column * stride + row
        }
    }

    /// Accesses the values of a lane in memory. `visit` gets the room of each there, and its bytes in the fragment.
    fn access(
        self,
        unit: &mut Unit,
        (address, stride): (u64, u32),
        how: Use,
        line: u32,
        mut visit: impl FnMut(*mut u8, Range<usize>),
    ) {
        let bytes = self.of.bytes();
        // The manual wants each row or column in memory aligned to the size of a fragment. The C++ library, which
        // compiles to the same instruction, only wants a stride that is a multiple of 16 bytes, and this check follows
        // it.
        let size = u64::from(self.words * 4).min(32);
        if !address.is_multiple_of(size) || !u64::from(stride * bytes).is_multiple_of(16) {
            unit.fail(line, "has a matrix that is not aligned");
        }
        let spec = Spec {
            space: self.space,
            how,
            bytes,
            align: bytes,
        };
        for value in 0..self.values() {
            let offset = self.offset(unit.lane, value, stride);
            let from = address + u64::from(offset * bytes);
            let place = (value * bytes) as usize;
            let room = access(unit, from, spec.encode(), line);
            visit(room, place..place + bytes as usize);
        }
    }
}

/// `wmma.load`: reads the values of a lane into its fragment.
pub extern "C" fn load(
    unit: &mut Unit,
    address: u64,
    stride: u32,
    code: u32,
    to: &mut [u8; FRAGMENT],
    line: u32,
) {
    to.fill(0xff);
    let read = |from: *mut u8, place: Range<usize>| {
        // SAFETY: the access allows this many bytes.
        let from = unsafe { std::slice::from_raw_parts(from, place.len()) };
        to[place].copy_from_slice(from);
    };
    Fragment::decode(code).access(unit, (address, stride), Use::Read, line, read);
}

/// `wmma.store`: writes the values of a lane from its fragment.
pub extern "C" fn store(
    unit: &mut Unit,
    address: u64,
    stride: u32,
    code: u32,
    from: &[u8; FRAGMENT],
    line: u32,
) {
    let write = |to: *mut u8, place: Range<usize>| {
        // SAFETY: the access allows this many bytes.
        let to = unsafe { std::slice::from_raw_parts_mut(to, place.len()) };
        to.copy_from_slice(&from[place]);
    };
    Fragment::decode(code).access(unit, (address, stride), Use::Write, line, write);
}

/// The fragments of a lane for a product.
#[repr(C)]
pub struct Fragments {
    /// The first factor, the second factor, the matrix that is added, and the result.
    pub parts: [[u8; FRAGMENT]; 4],
}

/// Packs the shape and the types of a product into a number for generated code: the types of the factors, of the added
/// matrix and of the result. `None` if they do not go together.
pub fn product_code(shape: u32, factors: Type, added: Type, result: Type) -> Option<u32> {
    let place = |of: Type| TYPES.iter().position(|known| *known == of);
    let known = match SHAPES[shape as usize].0 {
        "m16n16k8" => factors == Type::Tf32,
        _ => factors.is_half(),
    };
    let half_sums = factors == Type::F16;
    let sums = |of| of == Type::F32 || of == Type::F16 && half_sums;
    if !known || !sums(added) || !sums(result) {
        return None;
    }
    let (factors, added, result) = (place(factors)?, place(added)?, place(result)?);
    Some(shape | (factors as u32) << 2 | (added as u32) << 4 | (result as u32) << 6)
}

/// `wmma.mma`: multiplies when all lanes have passed their fragments.
pub extern "C" fn multiply(unit: &mut Unit, fragments: &mut Fragments, code: u32, line: u32) {
    let mut given = Given { fragments, code };
    let place: *mut Given = &mut given;
    exchange(unit, u32::MAX, place.cast(), multiply_all, line);
}

struct Given {
    fragments: *mut Fragments,
    code: u32,
}

fn read(of: Type, bytes: &[u8; FRAGMENT], value: usize) -> f32 {
    let half = || u32::from(u16::from_le_bytes([bytes[2 * value], bytes[2 * value + 1]]));
    let word = || {
        let four: [u8; 4] = std::array::from_fn(|k| bytes[4 * value + k]);
        u32::from_le_bytes(four)
    };
    match of {
        Type::F16 => to_single::<f16>(half()),
        Type::BF16 => to_single::<bf16>(half()),
        // The instruction ignores the lower 13 bits.
        Type::Tf32 => f32::from_bits(word() & !0x1fff),
        _ => f32::from_bits(word()),
    }
}

fn write(of: Type, bytes: &mut [u8; FRAGMENT], value: usize, result: f32) {
    if of == Type::F16 {
        let half = (of_single::<f16>(result) as u16).to_le_bytes();
        bytes[2 * value..2 * value + 2].copy_from_slice(&half);
    } else {
        bytes[4 * value..4 * value + 4].copy_from_slice(&result.to_le_bytes());
    }
}

fn multiply_all(given: &mut [Option<*mut c_void>; LANES]) -> Result<(), String> {
    if given.iter().any(Option::is_none) {
        return Err("not all lanes of a plane are there to multiply matrices".into());
    }
    let lanes = given.each_ref().map(|place| {
        let place = place.unwrap_or(std::ptr::null_mut());
        // SAFETY: each pointer leads to a value on the stack of a lane that waits.
        unsafe { &*place.cast::<Given>() }
    });
    let code = lanes[0].code;
    let Shape { m, n, k } = SHAPES[(code & 3) as usize].1;
    let (m, n, k) = (m as usize, n as usize, k as usize);
    let of = |shift: u32| TYPES[(code >> shift & 3) as usize];
    let (factors, added, result) = (of(2), of(4), of(6));
    let matrix = |part: usize, of: Type, size: usize| -> Vec<f32> {
        let value = |place: usize| {
            // SAFETY: as above.
            let fragments = unsafe { &*lanes[place % LANES].fragments };
            read(of, &fragments.parts[part], place / LANES)
        };
        (0..size).map(value).collect()
    };
    let a = matrix(0, factors, m * k);
    let b = matrix(1, factors, k * n);
    let mut c = matrix(2, added, m * n);
    for row in 0..m {
        for column in 0..n {
            let product = |l: usize| a[row * k + l] * b[l * n + column];
            c[row * n + column] += (0..k).map(product).sum::<f32>();
        }
    }
    for (place, value) in c.into_iter().enumerate() {
        // SAFETY: as above, and there is no other reference to the fragments any more.
        let fragments = unsafe { &mut *lanes[place % LANES].fragments };
        write(result, &mut fragments.parts[3], place / LANES, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_what_a_fragment_is() {
        for (part, of, rows, space) in [
            ('a', Type::F16, true, Space::Shared),
            ('b', Type::Tf32, false, Space::Generic),
            ('c', Type::F32, true, Space::Global),
        ] {
            let fragment = Fragment {
                part,
                shape: 3,
                of,
                rows,
                space,
                words: 8,
            };
            assert_eq!(Fragment::decode(fragment.encode()), fragment);
        }
    }

    #[test]
    fn only_products_that_exist_have_a_code() {
        let (half, tf32) = (shape("m16n16k16").unwrap(), shape("m16n16k8").unwrap());
        assert!(product_code(half, Type::F16, Type::F16, Type::F32).is_some());
        assert!(product_code(half, Type::BF16, Type::F16, Type::F32).is_none());
        assert!(product_code(half, Type::Tf32, Type::F32, Type::F32).is_none());
        assert!(product_code(tf32, Type::Tf32, Type::F32, Type::F32).is_some());
        assert!(shape("m8n8k4").is_none());
    }
}
