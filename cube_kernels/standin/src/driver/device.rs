//! The properties of the device: the limits of a card of the chosen compute capability, and few
//! processors.

use std::ffi::{c_char, c_void};

use super::{INVALID_VALUE, NOT_SUPPORTED, SETTINGS, SUCCESS, Status, driver};
use crate::machine::UNITS;

/// The memory of the device in bytes.
pub const TOTAL: usize = 8 << 30;
/// The version of the driver: CUDA 12.8.
const VERSION: i32 = 12080;
const NAME: &[u8] = b"NVIDIA stand-in on the host\0";
const BUS: &[u8] = b"0000:01:00.0\0";

/// Writes a value where a pointer of the caller points to. Gives [`SUCCESS`], or [`INVALID_VALUE`]
/// for a null pointer.
macro_rules! give {
    ($place:expr, $value:expr) => {{
        if $place.is_null() {
            return INVALID_VALUE;
        }
        // SAFETY: the caller passes a pointer to a place for the result.
        unsafe { *$place = $value };
        SUCCESS
    }};
}
pub(super) use give;

fn text(to: *mut c_char, room: i32, text: &[u8]) -> Status {
    if to.is_null() || (room as usize) < text.len() {
        return INVALID_VALUE;
    }
    // SAFETY: the caller has `room` bytes there, which was checked to be enough.
    unsafe { to.copy_from_nonoverlapping(text.as_ptr().cast(), text.len()) };
    SUCCESS
}

/// `cuDriverGetVersion`
#[unsafe(no_mangle)]
pub extern "C" fn cuDriverGetVersion(version: *mut i32) -> Status {
    give!(version, VERSION)
}

/// `cuDeviceGetCount`
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetCount(count: *mut i32) -> Status {
    give!(count, 1)
}

/// `cuDeviceGet`
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGet(device: *mut i32, ordinal: i32) -> Status {
    if ordinal != 0 {
        // `CUDA_ERROR_INVALID_DEVICE`
        return 101;
    }
    give!(device, 0)
}

/// `cuDeviceGetName`
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetName(name: *mut c_char, room: i32, _: i32) -> Status {
    text(name, room, NAME)
}

/// `cuDeviceGetPCIBusId`
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetPCIBusId(name: *mut c_char, room: i32, _: i32) -> Status {
    text(name, room, BUS)
}

/// `cuDeviceGetUuid_v2`
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], _: i32) -> Status {
    give!(uuid, [1; 16])
}

/// `cuDeviceGetLuid`
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetLuid(_: *mut c_char, _: *mut u32, _: i32) -> Status {
    NOT_SUPPORTED
}

/// `cuDeviceTotalMem_v2`
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, _: i32) -> Status {
    give!(bytes, TOTAL)
}

/// `cuMemGetInfo_v2`
#[unsafe(no_mangle)]
pub extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Status {
    match give!(free, TOTAL.saturating_sub(driver().memory.used())) {
        SUCCESS => give!(total, TOTAL),
        other => other,
    }
}

/// `cuDeviceGetAttribute`
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetAttribute(value: *mut i32, attribute: i32, _: i32) -> Status {
    let capability = SETTINGS.capability;
    // The shared memory of a processor in KiB. A cube may use all of it but one KiB.
    let shared = match capability {
        90 => 228,
        80 | 87 => 164,
        75 => 65,
        _ => 100,
    };
    let known = match attribute {
        // The most units of a cube, and in its directions x, y and z.
        1..=3 => UNITS as i32,
        4 => 64,
        // The most cubes in the directions x, y and z.
        5 => i32::MAX,
        6 | 7 => 65535,
        // Shared memory of a cube without opt-in, of a cube with opt-in, and of a processor.
        8 => 48 << 10,
        97 => (shared - 1) << 10,
        81 => shared << 10,
        // Units of a plane.
        10 => 32,
        // Registers of a cube.
        12 => 65536,
        // The clock rate in kilohertz.
        13 => 1_000_000,
        // Processors.
        16 => 4,
        // Units of a processor.
        39 => 2048,
        75 => capability / 10,
        76 => capability % 10,
        // One address space for all memory, and memory pools.
        41 | 115 => 1,
        _ => 0,
    };
    give!(value, known)
}

/// `cuGetErrorString`
#[unsafe(no_mangle)]
pub extern "C" fn cuGetErrorString(status: Status, text: *mut *const c_char) -> Status {
    give!(text, words(status).as_ptr().cast())
}

/// `cuGetErrorName`
#[unsafe(no_mangle)]
pub extern "C" fn cuGetErrorName(status: Status, text: *mut *const c_char) -> Status {
    give!(text, words(status).as_ptr().cast())
}

fn words(status: Status) -> &'static [u8] {
    match status {
        super::FAULT => b"a fault of a kernel, which the stand-in for CUDA has written to the standard error\0",
        super::INVALID_PTX => b"PTX that the stand-in for CUDA does not know, as it has written to the standard error\0",
        super::OUT_OF_MEMORY => b"out of memory\0",
        super::INVALID_VALUE => b"an invalid value\0",
        NOT_SUPPORTED => b"the stand-in for CUDA does not do this\0",
        _ => b"an error of the stand-in for CUDA\0",
    }
}

/// A pointer whose target has no known type.
pub(super) type Handle = *mut c_void;
