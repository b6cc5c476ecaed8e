//! The memory of the device. Allocations are apart from each other and filled with NaN.

use std::collections::BTreeMap;
use std::io;

use super::shadow::Cell;

/// Addresses of allocations are multiples of this.
pub const ALIGNMENT: usize = 512;
/// The byte that fresh memory is filled with. Values of it are NaN in each floating-point type.
pub const FRESH: u8 = 0xff;
const PAGE: usize = 4096;

/// Memory of the system that is zero at first. Only pages that are used take memory.
struct Mapping {
    start: *mut u8,
    size: usize,
}

impl Mapping {
    fn new(size: usize) -> io::Result<Self> {
        let size = size.max(1).next_multiple_of(PAGE);
        // SAFETY: a new mapping at an address that the system chooses.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: start.cast(),
            size,
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`.
        unsafe { libc::munmap(self.start.cast(), self.size) };
    }
}

/// An allocation of the device: its bytes, and the last accesses of each cell.
pub struct Allocation {
    data: Mapping,
    cells: Mapping,
    size: usize,
}

impl Allocation {
    /// Allocates `size` bytes, filled with NaN.
    pub fn new(size: usize) -> io::Result<Self> {
        let allocation = Self {
            data: Mapping::new(size)?,
            cells: Mapping::new(size * size_of::<Cell>())?,
            size,
        };
        // SAFETY: the mapping has at least `size` bytes.
        unsafe { allocation.data.start.write_bytes(FRESH, size) };
        Ok(allocation)
    }

    /// The first address.
    pub fn start(&self) -> usize {
        self.data.start as usize
    }

    /// The size in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The place of the allocation, without ownership of its memory.
    pub fn region(&self) -> Region {
        Region {
            start: self.start(),
            size: self.size,
            cells: self.cells.start.cast(),
        }
    }
}

/// The place of an allocation and of its shadow, which are the last accesses of its cells.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// The first address.
    pub start: usize,
    /// The size in bytes.
    pub size: usize,
    cells: *mut Cell,
}

impl Region {
    /// An empty region.
    pub const NOTHING: Self = Self::without_shadow(0, 0);

    /// Memory whose accesses are not noted.
    pub const fn without_shadow(start: usize, size: usize) -> Self {
        Self {
            start,
            size,
            cells: std::ptr::null_mut(),
        }
    }

    /// The offset of `address`, if `bytes` bytes from there are within the region.
    pub fn offset(&self, address: usize, bytes: usize) -> Option<usize> {
        let offset = address.wrapping_sub(self.start);
        (offset <= self.size && self.size - offset >= bytes).then_some(offset)
    }

    /// The shadow of the region.
    ///
    /// # Safety
    ///
    /// The allocation is alive, and nothing else uses its shadow.
    pub unsafe fn cells<'a>(&self) -> &'a mut [Cell] {
        // SAFETY: the allocation made that many cells. Zeros are cells that nobody has used.
        unsafe { std::slice::from_raw_parts_mut(self.cells, self.size) }
    }
}

/// All allocations, by their first addresses.
#[derive(Default)]
pub struct Memory {
    all: BTreeMap<usize, Allocation>,
    used: usize,
}

// SAFETY: the mappings belong to the allocations, and only the owner of the memory uses addresses in them.
unsafe impl Send for Memory {}

impl Memory {
    /// Allocates `size` bytes. Returns the address.
    pub fn allocate(&mut self, size: usize) -> io::Result<usize> {
        let allocation = Allocation::new(size)?;
        let start = allocation.start();
        self.used += allocation.size();
        self.all.insert(start, allocation);
        Ok(start)
    }

    /// Frees an allocation. Returns whether there was one at `start`.
    pub fn free(&mut self, start: usize) -> bool {
        let allocation = self.all.remove(&start);
        self.used -= allocation.as_ref().map_or(0, Allocation::size);
        allocation.is_some()
    }

    /// The bytes of all allocations.
    pub fn used(&self) -> usize {
        self.used
    }

    /// The allocation that has `bytes` bytes from `address` on.
    pub fn find(&self, address: usize, bytes: usize) -> Option<Region> {
        let (_, allocation) = self.all.range(..=address).next_back()?;
        let region = allocation.region();
        region.offset(address, bytes).map(|_| region)
    }

    /// Releases the memory of the shadows of large allocations. No later launch needs them.
    pub fn forget_accesses(&self) {
        const LARGE: usize = 1 << 20;
        let large = self.all.values().filter(|own| own.size >= LARGE);
        for Mapping { start, size } in large.map(|own| &own.cells) {
            // SAFETY: a mapping of this size. Afterwards it is zero, and zeros are cells that nobody has used.
            unsafe { libc::madvise(start.cast(), *size, libc::MADV_DONTNEED) };
        }
    }

    /// Describes the allocation below an address that is in no allocation.
    pub fn describe(&self, address: usize) -> String {
        match self.all.range(..=address).next_back() {
            Some((start, allocation)) if address - start < (1 << 30) => {
                let (offset, size) = (address - start, allocation.size());
                format!("at {offset} of an allocation of {size} bytes")
            }
            _ => "which is in no allocation".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_ends_where_it_does() {
        let mut memory = Memory::default();
        let start = memory.allocate(100).unwrap();
        assert!(start.is_multiple_of(ALIGNMENT));
        assert!(memory.find(start + 96, 4).is_some());
        assert!(memory.find(start + 97, 4).is_none());
        assert!(memory.find(start + 100, 1).is_none());
        assert!(memory.find(start - 1, 1).is_none());
        assert!(memory.find(usize::MAX, 4).is_none());
        // SAFETY: it is alive.
        let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, 100) };
        assert!(bytes.iter().all(|byte| *byte == FRESH));
        assert!(memory.free(start) && !memory.free(start));
        assert!(memory.find(start, 4).is_none());
    }

    #[test]
    fn accesses_are_forgotten_and_values_kept() {
        let mut memory = Memory::default();
        let size = 2 << 20;
        let start = memory.allocate(size).unwrap();
        let region = memory.find(start, size).unwrap();
        let me = super::super::shadow::Stamp {
            run: 1,
            ..Default::default()
        };
        let other = super::super::shadow::Stamp { cube: 1, ..me };
        let write = |me| {
            // SAFETY: it is alive, and nothing else uses its shadow.
            let cells = unsafe { region.cells() };
            super::super::shadow::touch(cells, 5, 4, me, super::super::shadow::Use::Write).is_ok()
        };
        assert!(write(me) && !write(other));
        memory.forget_accesses();
        assert!(write(other));
        // SAFETY: it is alive.
        assert_eq!(unsafe { *(start as *const u8) }, FRESH);
    }
}
