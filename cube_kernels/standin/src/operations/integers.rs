//! Integer operations.

use crate::machine::Unit;

/// `div` and `rem` of integers of 16, 32 or 64 bits, extended to 64. `code` is the number of bits, plus 128 for signed
/// integers, plus 1 for the remainder. The manual does not define division by zero, so it is an error.
pub extern "C" fn divide(unit: &mut Unit, a: u64, b: u64, code: u32, line: u32) -> u64 {
    if b == 0 {
        unit.fail(line, "divides by zero");
    }
    let remainder = code & 1 == 1;
    if code & 128 != 0 {
        let (a, b) = (a as i64, b as i64);
        return match remainder {
            true => a.wrapping_rem(b) as u64,
            false => a.wrapping_div(b) as u64,
        };
    }
    if remainder { a % b } else { a / b }
}

/// `bfe`: `count` bits from bit `place` on. `code` is the number of bits of the type, plus 128 for signed integers.
pub extern "C" fn extract(a: u64, place: u32, count: u32, code: u32) -> u64 {
    let bits = code & 127;
    let signed = code & 128 != 0;
    let (place, count) = (place & 255, count & 255);
    if count == 0 {
        return 0;
    }
    let negative = {
        let last = (place + count - 1).min(bits - 1);
        signed && a >> last & 1 == 1
    };
    let all_signs = if negative { u64::MAX } else { 0 };
    let at = |k: u32| match place + k {
        from if k < count && from < bits => a >> from & 1,
        _ => all_signs & 1,
    };
    (0..bits).fold(0, |all, k| all | at(k) << k)
}

/// `bfi`: puts the lower `count` bits of `a` at bit `place` of `b`, for a type of `bits` bits.
pub extern "C" fn insert(a: u64, b: u64, place: u32, count: u32, bits: u32) -> u64 {
    let (place, count) = (place & 255, count & 255);
    let mut all = b;
    for k in 0..count {
        if place + k < bits {
            let bit = 1 << (place + k);
            all = all & !bit | (a >> k.min(63) & 1) << (place + k);
        }
    }
    all
}

/// `prmt`: selects four of the eight bytes of `b` and `a`.
pub extern "C" fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = u64::from(b) << 32 | u64::from(a);
    (0..4).fold(0, |all, k| {
        let choice = selector >> (4 * k) & 15;
        let byte = (bytes >> (8 * (choice & 7))) as u8;
        let byte = match choice & 8 {
            0 => byte,
            // The sign bit of the byte, repeated in all bits.
            _ => ((byte as i8) >> 7) as u8,
        };
        all | u32::from(byte) << (8 * k)
    })
}

/// `bfind`: the position of the highest bit that differs from the sign. `code` is that of [`extract`]; plus 256 for the
/// distance of the bit from the top.
pub extern "C" fn highest(a: u64, code: u32) -> u32 {
    let bits = code & 127;
    let negative = code & 128 != 0 && a >> (bits - 1) & 1 == 1;
    let mask = u64::MAX >> (64 - bits);
    let a = if negative { !a & mask } else { a & mask };
    if a == 0 {
        return u32::MAX;
    }
    let place = 63 - a.leading_zeros();
    if code & 256 != 0 {
        bits - 1 - place
    } else {
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_as_the_manual_says() {
        assert_eq!(extract(0xabcd_1234, 8, 8, 32), 0x12);
        assert_eq!(extract(0xabcd_1234, 24, 8, 32 | 128), 0xffff_ffab);
        assert_eq!(extract(0xabcd_1234, 28, 8, 32), 0xa);
        assert_eq!(extract(0xabcd_1234, 28, 8, 32 | 128), 0xffff_fffa);
        assert_eq!(extract(0xabcd_1234, 40, 4, 32), 0);
        assert_eq!(extract(0xabcd_1234, 40, 4, 32 | 128), 0xffff_ffff);
        assert_eq!(extract(7, 0, 0, 32), 0);
        assert_eq!(extract(u64::MAX, 60, 8, 64), 15);
        assert_eq!(insert(0xff, 0, 4, 8, 32), 0xff0);
        assert_eq!(insert(0, u64::MAX, 60, 8, 64), u64::MAX >> 4);
        assert_eq!(insert(0xff, 0x1234, 32, 8, 32), 0x1234);
    }

    #[test]
    fn bytes_and_bits_are_found() {
        assert_eq!(permute(0x3322_1100, 0x7766_5544, 0x7250), 0x7722_5500);
        assert_eq!(permute(0x0000_8000, 0, 0x9999), 0xffff_ffff);
        assert_eq!(highest(0x100, 32), 8);
        assert_eq!(highest(0x100, 32 | 256), 23);
        assert_eq!(highest(0xffff_fffe, 32 | 128), 0);
        assert_eq!(highest(0, 32), u32::MAX);
        assert_eq!(highest(u64::MAX, 64 | 128), u32::MAX);
    }
}
