//! Allocations and copies of memory. A copy has to be within an allocation.

use super::device::{Handle, TOTAL, give};
use super::{INVALID_VALUE, OUT_OF_MEMORY, SUCCESS, Status, complain, driver};

fn allocate(place: *mut u64, size: usize, on_host: bool) -> Status {
    if size == 0 {
        return INVALID_VALUE;
    }
    let mut driver = driver();
    let memory = match on_host {
        true => &mut driver.host,
        // A card of this size would refuse, so this refuses even if the host has more memory.
        false if size > TOTAL.saturating_sub(driver.memory.used()) => return OUT_OF_MEMORY,
        false => &mut driver.memory,
    };
    match memory.allocate(size) {
        Ok(start) => give!(place, start as u64),
        Err(error) => {
            complain(&format!("no memory for {size} bytes: {error}"));
            OUT_OF_MEMORY
        }
    }
}

fn free(place: u64, on_host: bool) -> Status {
    let mut driver = driver();
    let memory = match on_host {
        true => &mut driver.host,
        false => &mut driver.memory,
    };
    if memory.free(place as usize) {
        return SUCCESS;
    }
    complain(&format!("{place:#x} is freed, but is no allocation"));
    INVALID_VALUE
}

/// Whether `bytes` bytes of the device's memory at `place` are within an allocation.
fn checked(place: u64, bytes: usize) -> bool {
    let driver = driver();
    let there = bytes == 0 || driver.memory.find(place as usize, bytes).is_some();
    if !there {
        let what = driver.memory.describe(place as usize);
        complain(&format!("{bytes} bytes are copied at {place:#x}, {what}"));
    }
    there
}

/// `cuMemAlloc_v2`
#[unsafe(no_mangle)]
pub extern "C" fn cuMemAlloc_v2(place: *mut u64, size: usize) -> Status {
    allocate(place, size, false)
}

/// `cuMemAllocAsync`
#[unsafe(no_mangle)]
pub extern "C" fn cuMemAllocAsync(place: *mut u64, size: usize, _: Handle) -> Status {
    allocate(place, size, false)
}

/// `cuMemFree_v2`
#[unsafe(no_mangle)]
pub extern "C" fn cuMemFree_v2(place: u64) -> Status {
    free(place, false)
}

/// `cuMemFreeAsync`
#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeAsync(place: u64, _: Handle) -> Status {
    free(place, false)
}

/// `cuMemAllocHost_v2`
#[unsafe(no_mangle)]
pub extern "C" fn cuMemAllocHost_v2(place: *mut u64, size: usize) -> Status {
    allocate(place, size, true)
}

/// `cuMemFreeHost`
#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeHost(place: u64) -> Status {
    free(place, true)
}

/// `cuMemcpyHtoDAsync_v2`
///
/// # Safety
///
/// The host has at least `bytes` bytes at `from`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    from: *const u8,
    bytes: usize,
    _: Handle,
) -> Status {
    if !checked(to, bytes) {
        return INVALID_VALUE;
    }
    // SAFETY: the device's side is checked above; the caller promises the host's side.
    unsafe { (to as *mut u8).copy_from(from, bytes) };
    SUCCESS
}

/// `cuMemcpyDtoHAsync_v2`
///
/// # Safety
///
/// The host has room for at least `bytes` bytes at `to`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut u8,
    from: u64,
    bytes: usize,
    _: Handle,
) -> Status {
    if !checked(from, bytes) {
        return INVALID_VALUE;
    }
    // SAFETY: the device's side is checked above; the caller promises the host's side.
    unsafe { to.copy_from(from as *const u8, bytes) };
    SUCCESS
}

/// `cuMemcpyDtoDAsync_v2`
#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, _: Handle) -> Status {
    if !checked(from, bytes) || !checked(to, bytes) {
        return INVALID_VALUE;
    }
    // SAFETY: checked above.
    unsafe { (to as *mut u8).copy_from(from as *const u8, bytes) };
    SUCCESS
}

/// `cuMemsetD8Async`
#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD8Async(place: u64, value: u8, bytes: usize, _: Handle) -> Status {
    if !checked(place, bytes) {
        return INVALID_VALUE;
    }
    // SAFETY: checked above.
    unsafe { (place as *mut u8).write_bytes(value, bytes) };
    SUCCESS
}

/// The source or the destination of a copy of rows.
#[repr(C)]
pub struct End {
    x: usize,
    y: usize,
    kind: u32,
    host: u64,
    device: u64,
    array: u64,
    pitch: usize,
}

/// `CUDA_MEMCPY2D`
#[repr(C)]
pub struct Rows {
    from: End,
    to: End,
    width: usize,
    height: usize,
}

impl End {
    /// The address of a row. `None` if the device has no such bytes or the kind of memory is not
    /// known.
    fn row(&self, row: usize, bytes: usize) -> Option<u64> {
        let offset = (self.y + row) * self.pitch + self.x;
        match self.kind {
            // `CU_MEMORYTYPE_HOST`
            1 => Some(self.host + offset as u64),
            // `CU_MEMORYTYPE_DEVICE`
            2 => Some(self.device + offset as u64).filter(|place| checked(*place, bytes)),
            _ => None,
        }
    }
}

/// `cuMemcpy2DAsync_v2`
///
/// # Safety
///
/// Memory of the host has all rows that the description names.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpy2DAsync_v2(rows: *const Rows, _: Handle) -> Status {
    // SAFETY: as the caller promises.
    let Some(rows) = (unsafe { rows.as_ref() }) else {
        return INVALID_VALUE;
    };
    for row in 0..rows.height {
        let ends = [&rows.from, &rows.to].map(|end| end.row(row, rows.width));
        let [Some(from), Some(to)] = ends else {
            return INVALID_VALUE;
        };
        // SAFETY: the device's side is checked above; the caller promises the host's side.
        unsafe { (to as *mut u8).copy_from(from as *const u8, rows.width) };
    }
    SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_than_the_device_has_is_refused() {
        let mut first = 0;
        assert_eq!(cuMemAlloc_v2(&raw mut first, 1 << 20), SUCCESS);
        let mut second = 0;
        assert_eq!(cuMemAlloc_v2(&raw mut second, TOTAL), OUT_OF_MEMORY);
        assert_eq!(cuMemFree_v2(first), SUCCESS);
        assert_eq!(cuMemAlloc_v2(&raw mut second, 1 << 20), SUCCESS);
        assert_eq!(cuMemFree_v2(second), SUCCESS);
    }
}
