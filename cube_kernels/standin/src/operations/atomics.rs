//! Atomic instructions. Units run one at a time, so each instruction is atomic by itself.

use half::{bf16, f16};

use super::halves::{Half, of_double, to_single};
use crate::machine::{Unit, access};
use crate::ptx::Type;

/// The operations of atomic instructions.
pub const OPERATIONS: [&str; 10] = [
    "add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec",
];
const TYPES: [Type; 11] = [
    Type::B(32),
    Type::B(64),
    Type::U(32),
    Type::U(64),
    Type::S(32),
    Type::S(64),
    Type::F32,
    Type::F64,
    Type::F16,
    Type::BF16,
    Type::F16x2,
];

/// Packs an operation and a type into a number for generated code. `None` if they do not go together.
pub fn code(operation: &str, of: Type) -> Option<u32> {
    let operation = OPERATIONS.iter().position(|name| *name == operation)?;
    let place = TYPES.iter().position(|known| *known == of)?;
    let number = matches!(of, Type::U(_) | Type::S(_));
    let float = of.is_float() || of.bits() == 16 || of == Type::F16x2;
    let suits = match OPERATIONS[operation] {
        "add" => number || float,
        "min" | "max" => number,
        "and" | "or" | "xor" | "exch" | "cas" => matches!(of, Type::B(_)),
        _ => of == Type::U(32),
    };
    suits.then_some((operation as u32) << 8 | place as u32)
}

/// Checks the access `spec` at an address and executes the instruction with the bits of the operands. Returns the old
/// value. `line_and_code` has the number of [`code`] in its lower 12 bits, and the line above them.
pub extern "C" fn atomic(
    unit: &mut Unit,
    address: u64,
    spec: u32,
    a: u64,
    b: u64,
    line_and_code: u32,
) -> u64 {
    let (line, code) = (line_and_code >> 12, line_and_code & 0xfff);
    let place = access(unit, address, spec, line);
    let of = TYPES[(code & 0xff) as usize % TYPES.len()];
    let operation = OPERATIONS[(code >> 8) as usize % OPERATIONS.len()];
    match of.bytes() {
        2 => {
            let place = place.cast::<u16>();
            // SAFETY: the access allows two bytes.
            let old = unsafe { place.read_unaligned() };
            let new = apply(operation, of, old.into(), a, b) as u16;
            // SAFETY: as above.
            unsafe { place.write_unaligned(new) };
            old.into()
        }
        4 => {
            let place = place.cast::<u32>();
            // SAFETY: the access allows four bytes.
            let old = unsafe { place.read_unaligned() };
            let new = apply(operation, of, old.into(), a & 0xffff_ffff, b & 0xffff_ffff) as u32;
            // SAFETY: as above.
            unsafe { place.write_unaligned(new) };
            old.into()
        }
        _ => {
            let place = place.cast::<u64>();
            // SAFETY: the access allows eight bytes.
            let old = unsafe { place.read_unaligned() };
            let new = apply(operation, of, old, a, b);
            // SAFETY: as above.
            unsafe { place.write_unaligned(new) };
            old
        }
    }
}

/// The sum of two numbers of 16 bits, which is rounded once.
fn sum_of_halves<H: Half>(a: u64, b: u64) -> u32 {
    let [a, b] = [a, b].map(|x| f64::from(to_single::<H>(x as u32)));
    of_double::<H>(a + b)
}

fn apply(operation: &str, of: Type, old: u64, a: u64, b: u64) -> u64 {
    let (single, double) = (|x: u64| f32::from_bits(x as u32), f64::from_bits);
    let signed = |x: u64| match of {
        Type::S(32) => i64::from(x as i32),
        _ => x as i64,
    };
    let half = |old: u64, a: u64| match of {
        Type::BF16 => sum_of_halves::<bf16>(old, a),
        _ => sum_of_halves::<f16>(old, a),
    };
    match operation {
        "add" => match of {
            Type::F32 => (single(old) + single(a)).to_bits().into(),
            Type::F64 => (double(old) + double(a)).to_bits(),
            Type::F16 | Type::BF16 => half(old & 0xffff, a & 0xffff).into(),
            Type::F16x2 => {
                let low = half(old & 0xffff, a & 0xffff);
                let high = half(old >> 16 & 0xffff, a >> 16 & 0xffff);
                (high << 16 | low).into()
            }
            _ => old.wrapping_add(a),
        },
        "min" if of.is_signed() => signed(old).min(signed(a)) as u64,
        "max" if of.is_signed() => signed(old).max(signed(a)) as u64,
        "min" => old.min(a),
        "max" => old.max(a),
        "and" => old & a,
        "or" => old | a,
        "xor" => old ^ a,
        "exch" => a,
        "cas" if old == a => b,
        "cas" => old,
        "inc" if old >= a => 0,
        "inc" => old + 1,
        // `dec`
        _ if old == 0 || old > a => a,
        _ => old - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_as_the_manual_says() {
        let u = Type::U(32);
        assert_eq!(
            apply(
                "add",
                Type::F32,
                1f32.to_bits().into(),
                2f32.to_bits().into(),
                0
            ),
            u64::from(3f32.to_bits())
        );
        assert_eq!(
            apply("min", Type::S(32), 0xffff_ffff, 1, 0) as u32,
            0xffff_ffff
        );
        assert_eq!(apply("min", u, 0xffff_ffff, 1, 0), 1);
        assert_eq!(apply("cas", Type::B(32), 5, 5, 9), 9);
        assert_eq!(apply("cas", Type::B(32), 4, 5, 9), 4);
        assert_eq!((apply("inc", u, 3, 3, 0), apply("inc", u, 2, 3, 0)), (0, 3));
        assert_eq!((apply("dec", u, 0, 3, 0), apply("dec", u, 2, 3, 0)), (3, 1));
        assert_eq!(apply("exch", Type::B(64), 1, 2, 0), 2);
        assert_eq!(
            apply("add", Type::F16x2, 0x3c00_3c00, 0x3c00_0000, 0),
            0x4000_3c00
        );
    }

    #[test]
    fn what_does_not_exist_has_no_code() {
        assert!(code("add", Type::F32).is_some());
        assert!(code("min", Type::F32).is_none());
        assert!(code("and", Type::U(32)).is_none());
        assert!(code("inc", Type::U(64)).is_none());
    }
}
