//! `printf` of kernels.

use std::io::Write;

use crate::machine::{Spec, Unit, Use, access};
use crate::ptx::Space;

/// Reads `N` bytes of an argument or of a text.
fn read<const N: usize>(unit: *mut Unit, address: u64, line: u32) -> [u8; N] {
    let spec = Spec {
        space: Space::Generic,
        how: Use::Read,
        bytes: N as u32,
        align: N as u32,
    };
    let place = access(unit, address, spec.encode(), line);
    // SAFETY: the access allows so many bytes.
    unsafe { place.cast::<[u8; N]>().read() }
}

/// Prints as `printf` does, as far as kernels of CubeCL use it; how many arguments there were.
pub fn print(unit: *mut Unit, format: u64, arguments: u64, line: u32) -> u32 {
    let mut text = String::new();
    let mut place = format;
    let mut next = || {
        let [byte] = read::<1>(unit, place, line);
        place += 1;
        byte
    };
    let mut at = arguments;
    let mut argument = |bytes: u64| {
        at = at.next_multiple_of(bytes) + bytes;
        match bytes {
            4 => u32::from_le_bytes(read(unit, at - bytes, line)).into(),
            _ => u64::from_le_bytes(read(unit, at - bytes, line)),
        }
    };
    let mut count = 0;
    loop {
        match next() {
            0 => break,
            b'%' => {
                let mut longs = 0;
                let kind = loop {
                    match next() {
                        b'l' => longs += 1,
                        b'0'..=b'9' | b'.' | b'-' | b'+' | b'#' | b' ' | b'h' => {}
                        kind => break kind,
                    }
                };
                count += u32::from(kind != b'%');
                match kind {
                    b'%' => text.push('%'),
                    b'f' | b'e' | b'g' => text += &f64::from_bits(argument(8)).to_string(),
                    b'u' if longs == 0 => text += &argument(4).to_string(),
                    b'd' | b'i' if longs == 0 => text += &(argument(4) as i32).to_string(),
                    b'u' => text += &argument(8).to_string(),
                    b'd' | b'i' => text += &(argument(8) as i64).to_string(),
                    b's' => {
                        let mut from = argument(8);
                        loop {
                            let [byte] = read::<1>(unit, from, line);
                            if byte == 0 {
                                break;
                            }
                            text.push(byte.into());
                            from += 1;
                        }
                    }
                    other => {
                        drop(std::mem::take(&mut text));
                        // SAFETY: generated code hands over the unit that runs it.
                        let unit = unsafe { &mut *unit };
                        let message = match other {
                            b'x' => "prints with %x, which is not known",
                            _ => "prints with a format that is not known",
                        };
                        unit.fail(line, message);
                    }
                }
            }
            byte => text.push(byte.into()),
        }
    }
    // Whatever becomes of it.
    let _ = std::io::stdout().write_all(text.as_bytes());
    count
}
