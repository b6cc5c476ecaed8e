//! Stacks, and switches between them. A unit that waits for others keeps its stack, and goes on
//! with it later.

use std::ffi::c_void;
use std::io;

/// The size of a stack. Only pages that are used take memory.
pub const STACK: usize = 1 << 20;
/// The part of a stack that is reserved for functions of the machine.
pub const RESERVED: usize = 128 << 10;
const PAGE: usize = 4096;

// Only the callee-saved registers are saved, because the switch is a function call for the code
// that makes it.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".globl burn_lazy_standin_switch",
    ".hidden burn_lazy_standin_switch",
    "burn_lazy_standin_switch:",
    "push rbp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rdi], rsp",
    "mov rsp, rsi",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    ".globl burn_lazy_standin_start",
    ".hidden burn_lazy_standin_start",
    "burn_lazy_standin_start:",
    "mov rdi, rbx",
    "call r12",
    "ud2",
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".globl burn_lazy_standin_switch",
    ".hidden burn_lazy_standin_switch",
    "burn_lazy_standin_switch:",
    "sub sp, sp, #160",
    "stp x19, x20, [sp, #0]",
    "stp x21, x22, [sp, #16]",
    "stp x23, x24, [sp, #32]",
    "stp x25, x26, [sp, #48]",
    "stp x27, x28, [sp, #64]",
    "stp x29, x30, [sp, #80]",
    "stp d8, d9, [sp, #96]",
    "stp d10, d11, [sp, #112]",
    "stp d12, d13, [sp, #128]",
    "stp d14, d15, [sp, #144]",
    "mov x9, sp",
    "str x9, [x0]",
    "mov sp, x1",
    "ldp x19, x20, [sp, #0]",
    "ldp x21, x22, [sp, #16]",
    "ldp x23, x24, [sp, #32]",
    "ldp x25, x26, [sp, #48]",
    "ldp x27, x28, [sp, #64]",
    "ldp x29, x30, [sp, #80]",
    "ldp d8, d9, [sp, #96]",
    "ldp d10, d11, [sp, #112]",
    "ldp d12, d13, [sp, #128]",
    "ldp d14, d15, [sp, #144]",
    "add sp, sp, #160",
    "ret",
    ".globl burn_lazy_standin_start",
    ".hidden burn_lazy_standin_start",
    "burn_lazy_standin_start:",
    "mov x0, x19",
    "blr x20",
    "brk #1",
);

unsafe extern "C" {
    fn burn_lazy_standin_switch(save: *mut *mut c_void, load: *mut c_void);
    fn burn_lazy_standin_start();
}

/// Switches to the stack `load`. The pointer of the current stack is stored in `save`.
///
/// # Safety
///
/// `load` comes from an earlier switch or from [`Stack::prepare`], and its stack is alive.
pub unsafe fn switch(save: *mut *mut c_void, load: *mut c_void) {
    // SAFETY: as the caller promises.
    unsafe { burn_lazy_standin_switch(save, load) }
}

/// The stack of a unit. The page below it may not be touched, so that an overflow is a fault.
pub struct Stack {
    memory: *mut u8,
}

impl Stack {
    /// A new stack.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the system chooses.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                STACK,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Self {
            memory: memory.cast(),
        };
        // SAFETY: the lowest page of the mapping above.
        if unsafe { libc::mprotect(memory, PAGE, libc::PROT_NONE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stack)
    }

    /// Lays out the stack so that a switch to it calls `entry` with `argument`. `entry` must not
    /// return.
    pub fn prepare(&self, entry: extern "C" fn(*mut c_void), argument: *mut c_void) -> *mut c_void {
        let start = burn_lazy_standin_start as *const () as usize;
        let (argument, entry) = (argument as usize, entry as usize);
        // The words are in the order in which a switch restores them, from the lowest address on.
        #[cfg(target_arch = "x86_64")]
        let (size, layout) = (9, [(3, entry), (4, argument), (6, start)]);
        #[cfg(target_arch = "aarch64")]
        let (size, layout) = (20, [(0, argument), (1, entry), (11, start)]);
        // SAFETY: within the stack, at its upper end.
        unsafe {
            let top = self.memory.add(STACK - 64).cast::<usize>().sub(size);
            std::slice::from_raw_parts_mut(top, size).fill(0);
            for (place, word) in layout {
                *top.add(place) = word;
            }
            top.cast()
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, which nothing uses any more.
        unsafe { libc::munmap(self.memory.cast(), STACK) };
    }
}
