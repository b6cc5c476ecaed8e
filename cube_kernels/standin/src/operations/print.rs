//! `printf` of kernels.

use std::io::Write;

use crate::machine::{Spec, Unit, Use, access};
use crate::ptx::Space;

/// The state of a call of `printf`.
struct Printer<'a> {
    unit: &'a mut Unit,
    line: u32,
    /// The address of the next argument.
    argument: u64,
    text: String,
}

impl Printer<'_> {
    /// Reads `N` bytes of an argument or of the text.
    fn read<const N: usize>(&mut self, address: u64) -> [u8; N] {
        let spec = Spec {
            space: Space::Generic,
            how: Use::Read,
            bytes: N as u32,
            align: N as u32,
        };
        let place = access(self.unit, address, spec.encode(), self.line);
        // SAFETY: the access allows this many bytes.
        unsafe { place.cast::<[u8; N]>().read() }
    }

    /// Reads the next argument, of 4 or 8 bytes.
    fn next(&mut self, wide: bool) -> u64 {
        let bytes = if wide { 8 } else { 4 };
        let place = self.argument.next_multiple_of(bytes);
        self.argument = place + bytes;
        if wide {
            u64::from_le_bytes(self.read(place))
        } else {
            u32::from_le_bytes(self.read(place)).into()
        }
    }

    fn byte(&mut self, place: &mut u64) -> u8 {
        let [byte] = self.read::<1>(*place);
        *place += 1;
        byte
    }

    /// Appends the argument of a format specifier. `place` is behind its percent sign, and is moved
    /// behind the specifier.
    fn value(&mut self, place: &mut u64) {
        let mut wide = false;
        let kind = loop {
            match self.byte(place) {
                b'l' => wide = true,
                b'0'..=b'9' | b'.' | b'-' | b'+' | b'#' | b' ' | b'h' => {}
                kind => break kind,
            }
        };
        match kind {
            b'%' => self.text.push('%'),
            b'f' | b'e' | b'g' => {
                let value = f64::from_bits(self.next(true));
                self.text += &value.to_string();
            }
            b'u' => {
                let value = self.next(wide);
                self.text += &value.to_string();
            }
            b'd' | b'i' => {
                let value = self.next(wide) as i64;
                let value = if wide { value } else { i64::from(value as i32) };
                self.text += &value.to_string();
            }
            b's' => {
                let mut from = self.next(true);
                loop {
                    match self.byte(&mut from) {
                        0 => break,
                        byte => self.text.push(byte.into()),
                    }
                }
            }
            _ => {
                self.text = String::new();
                self.unit
                    .fail(self.line, "prints in a way that is not known");
            }
        }
    }
}

/// `vprintf`: prints a text in which format specifiers stand for arguments. Returns the number of
/// specifiers.
pub extern "C" fn print(unit: &mut Unit, format: u64, arguments: u64, line: u32) -> u32 {
    let mut printer = Printer {
        unit,
        line,
        argument: arguments,
        text: String::new(),
    };
    let mut place = format;
    let mut values = 0;
    loop {
        match printer.byte(&mut place) {
            0 => break,
            b'%' => {
                printer.value(&mut place);
                values += 1;
            }
            byte => printer.text.push(byte.into()),
        }
    }
    // A failure to print is ignored.
    let _ = std::io::stdout().write_all(printer.text.as_bytes());
    values
}
