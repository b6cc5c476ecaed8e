//! Checks of memory accesses: bounds, alignment and races.

use super::memory::Region;
use super::shadow::{Race, Stamp, Use, touch};
use super::unit::{ACCESS, Pending, Unit};
use super::{SHARED_BYTES, SHARED_WINDOW};
use crate::ptx::Space;

/// A description of an access. Generated code passes it as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The space that the instruction names.
    pub space: Space,
    /// Whether the instruction reads, writes, or both.
    pub how: Use,
    /// The number of bytes.
    pub bytes: u32,
    /// The address must be a multiple of this.
    pub align: u32,
}

const SPACES: [Space; 6] = [
    Space::Generic,
    Space::Global,
    Space::Shared,
    Space::Local,
    Space::Param,
    Space::Const,
];
const USES: [Use; 4] = [Use::Read, Use::Write, Use::Atomic, Use::ReadOnly];

impl Spec {
    /// Packs the description into a number.
    pub fn encode(self) -> u32 {
        let space = SPACES.iter().position(|space| *space == self.space);
        let how = USES.iter().position(|how| *how == self.how);
        space.unwrap_or(0) as u32
            | (how.unwrap_or(0) as u32) << 3
            | self.align.trailing_zeros() << 5
            | self.bytes << 9
    }

    /// Unpacks the description from a number.
    #[inline]
    pub fn decode(code: u32) -> Self {
        Self {
            space: SPACES[(code & 7) as usize],
            how: USES[(code >> 3 & 3) as usize],
            bytes: code >> 9,
            align: 1 << (code >> 5 & 15),
        }
    }
}

/// The address on the host of an access. Ends the launch if the access is not allowed.
pub extern "C" fn access(unit: &mut Unit, address: u64, code: u32, line: u32) -> *mut u8 {
    unit.settle();
    let spec = Spec::decode(code);
    if address & u64::from(spec.align - 1) != 0 {
        misaligned(unit, address, spec, line);
    }
    let bytes = spec.bytes as usize;
    match spec.space {
        Space::Shared => shared(unit, address, spec, line),
        Space::Local => match local(unit, address, bytes) {
            Some(place) => place,
            None => outside(unit, address, spec, line),
        },
        Space::Param => match param(unit, address, bytes) {
            Some(place) if reads(spec) => place,
            _ => outside(unit, address, spec, line),
        },
        Space::Global | Space::Const => global(unit, address, spec, line),
        Space::Generic => {
            if let Some(offset) = address.checked_sub(SHARED_WINDOW)
                && offset < SHARED_BYTES
            {
                return shared(unit, offset, spec, line);
            }
            let of_function = local(unit, address, bytes);
            let of_kernel = || param(unit, address, bytes).filter(|_| reads(spec));
            let own = of_function.or_else(of_kernel);
            match own {
                Some(place) => place,
                None => global(unit, address, spec, line),
            }
        }
    }
}

fn reads(spec: Spec) -> bool {
    matches!(spec.how, Use::Read | Use::ReadOnly)
}

fn within(start: *mut u8, size: usize, address: u64, bytes: usize) -> Option<*mut u8> {
    let region = Region::without_shadow(start as usize, size);
    let offset = region.offset(address as usize, bytes)?;
    Some(start.wrapping_add(offset))
}

fn local(unit: &Unit, address: u64, bytes: usize) -> Option<*mut u8> {
    // SAFETY: the machine runs the unit.
    let size = unsafe { unit.machine() }.local_bytes;
    within(unit.local, size, address, bytes)
}

fn param(unit: &Unit, address: u64, bytes: usize) -> Option<*mut u8> {
    // SAFETY: the machine runs the unit.
    let size = unsafe { unit.machine() }.param_bytes;
    within(unit.params, size, address, bytes)
}

fn shared(unit: &mut Unit, address: u64, spec: Spec, line: u32) -> *mut u8 {
    // Instructions that name the space use only 32 bits of an address.
    let bytes = spec.bytes as usize;
    // SAFETY: the machine runs the unit.
    let machine = unsafe { unit.machine() };
    if address + u64::from(spec.bytes) > u64::from(unit.shared_bytes) {
        outside(unit, address, spec, line);
    }
    let me = Stamp {
        run: machine.cube_run,
        cube: 0,
        ..unit.stamp(machine)
    };
    let offset = address as usize;
    let place = machine.shared.as_mut_ptr().cast::<u8>();
    let place = place.wrapping_add(offset);
    let (first, count) = (offset >> machine.smallest, bytes >> machine.smallest);
    let cells = &mut machine.shared_cells;
    match touch(cells, first, count, me, spec.how) {
        Ok(()) => place,
        Err(race) => {
            let again = || touch(cells, first, count, me, Use::Again).is_ok();
            races(unit, race, address, spec, line, place, again)
        }
    }
}

fn global(unit: &mut Unit, address: u64, spec: Spec, line: u32) -> *mut u8 {
    let bytes = spec.bytes as usize;
    // SAFETY: the machine runs the unit.
    let machine = unsafe { unit.machine() };
    let place = address as usize;
    let offset = match machine.last.offset(place, bytes) {
        Some(offset) => offset,
        None => {
            let Some(region) = machine.find(place, bytes) else {
                outside(unit, address, spec, line);
            };
            machine.last = region;
            place - region.start
        }
    };
    let me = unit.stamp(machine);
    // SAFETY: the allocation was found, and a launch frees nothing.
    let cells = unsafe { machine.last.cells() };
    let place = place as *mut u8;
    let (first, count) = (offset >> machine.smallest, bytes >> machine.smallest);
    match touch(cells, first, count, me, spec.how) {
        Ok(()) => place,
        Err(race) => {
            let again = || touch(cells, first, count, me, Use::Again).is_ok();
            races(unit, race, address, spec, line, place, again)
        }
    }
}

fn verb(how: Use) -> &'static str {
    match how {
        Use::Read | Use::ReadOnly => "reads",
        Use::Write | Use::Again => "writes",
        Use::Atomic => "changes",
    }
}

#[cold]
fn misaligned(unit: &mut Unit, address: u64, spec: Spec, line: u32) -> ! {
    let Spec { bytes, align, .. } = spec;
    let verb = verb(spec.how);
    let message = format!("{verb} {bytes} bytes at {address:#x}, which is no multiple of {align}");
    unit.end(line, message)
}

#[cold]
fn outside(unit: &mut Unit, address: u64, spec: Spec, line: u32) -> ! {
    // SAFETY: the machine runs the unit.
    let machine = unsafe { unit.machine() };
    let place = match spec.space {
        Space::Shared => format!("of {} bytes of shared memory", unit.shared_bytes),
        Space::Local => "which is not in the memory of the unit".into(),
        Space::Param => "which is not in the arguments, or may not be written".into(),
        _ => machine.describe(address as usize),
    };
    let (verb, bytes) = (verb(spec.how), spec.bytes);
    let message = format!("{verb} {bytes} bytes at {address:#x}, {place}: out of bounds");
    unit.end(line, message)
}

/// Handles a race. A write may still repeat the value that another unit has written: it becomes a [`Pending`] write,
/// which is checked later. Any other race ends the launch. `again` tries to note such a write and says whether nothing
/// else is wrong with it.
#[cold]
fn races(
    unit: &mut Unit,
    (other, wrote): Race,
    address: u64,
    spec: Spec,
    line: u32,
    place: *mut u8,
    again: impl FnOnce() -> bool,
) -> *mut u8 {
    let (verb, bytes) = (verb(spec.how), spec.bytes);
    let did = if wrote { "wrote" } else { "read" };
    let other = other.describe();
    let what = match spec.how {
        Use::ReadOnly => "in the same launch, though it is read as if nothing did",
        _ => "with no barrier between: a race",
    };
    let message = format!(
        "{verb} {bytes} bytes at {address:#x} of {:?} memory, where {other} {did} {what}",
        spec.space
    );
    drop(other);
    if wrote && spec.how == Use::Write && bytes as usize <= ACCESS && again() {
        let pending = unit.pending.insert(Pending {
            place,
            bytes: bytes as usize,
            written: [0; ACCESS],
            message,
            line,
        });
        return pending.written.as_mut_ptr();
    }
    unit.end(line, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_what_an_access_is() {
        for space in SPACES {
            for how in USES {
                for (bytes, align) in [(1, 1), (16, 16), (12, 4), (640, 32)] {
                    let spec = Spec {
                        space,
                        how,
                        bytes,
                        align,
                    };
                    assert_eq!(Spec::decode(spec.encode()), spec);
                }
            }
        }
    }
}
