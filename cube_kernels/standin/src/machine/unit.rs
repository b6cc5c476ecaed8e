//! The state of a unit: fields that generated code reads, and fields of the machine.

use std::ffi::c_void;

use super::launch::Machine;
use super::shadow::Stamp;

/// Whether a unit can go on, and what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The unit can go on.
    Ready,
    /// The unit waits for all units of the cube. The number is the line of the barrier.
    Barrier(u32),
    /// The unit waits for lanes of its plane. The numbers are the line of the instruction and the mask of the lanes.
    Exchange(u32, u32),
    /// The unit has ended.
    Done,
}

/// A unit of a cube. Generated code uses the fields up to `turns`.
#[repr(C)]
pub struct Unit {
    /// The arguments of the kernel.
    pub params: *mut u8,
    /// The local variables of the unit.
    pub local: *mut u8,
    /// The index of the unit in its cube, in each direction.
    pub place: [u32; 3],
    /// The number of units of a cube in each direction.
    pub units: [u32; 3],
    /// The index of the cube in the launch, in each direction.
    pub cube: [u32; 3],
    /// The number of cubes of the launch in each direction.
    pub cubes: [u32; 3],
    /// The number of the lane in its plane.
    pub lane: u32,
    /// The number of the plane in the cube.
    pub plane: u32,
    /// Bytes of shared memory that the launch asked for.
    pub dynamic_bytes: u32,
    /// Bytes of all shared memory.
    pub shared_bytes: u32,
    /// The carry flag of instructions with `.cc`.
    pub carry: u32,
    /// The number of backward branches that the unit may still take.
    pub turns: u64,
    /// The number of the unit in its cube.
    pub index: u16,
    /// The number of barriers that the plane has passed.
    pub plane_epoch: u16,
    /// Whether the unit can go on, and what it waits for.
    pub state: State,
    /// The pointer of its stack while others run.
    pub stack: *mut c_void,
    /// What the unit passes to an exchange.
    pub given: *mut c_void,
    /// The operation of the exchange.
    pub operation: Option<super::plane::Operation>,
    /// A write that is a race unless it repeats the value that is there.
    pub pending: Option<Pending>,
    /// The machine that runs the unit.
    pub machine: *mut Machine,
}

/// The most bytes of a pending write.
pub const ACCESS: usize = 32;

/// A write to an address that another unit has written without a barrier in between. The value goes to `written` first,
/// and is compared later with the value that is there.
pub struct Pending {
    /// The address of the write.
    pub place: *const u8,
    /// The number of bytes.
    pub bytes: usize,
    /// The value that the unit writes.
    pub written: [u8; ACCESS],
    /// The message of the error if the values differ.
    pub message: String,
    /// The line of the instruction.
    pub line: u32,
}

impl Unit {
    /// The machine that runs the unit.
    ///
    /// # Safety
    ///
    /// The machine runs the unit, and there is no other reference to it.
    pub unsafe fn machine<'a>(&self) -> &'a mut Machine {
        // SAFETY: the machine outlives its units.
        unsafe { &mut *self.machine }
    }

    /// The stamp of an access of global memory by this unit, made now.
    pub fn stamp(&self, machine: &Machine) -> Stamp {
        Stamp {
            run: machine.run,
            cube: machine.cube,
            epoch: machine.epoch,
            plane_epoch: self.plane_epoch,
            who: self.index,
        }
    }

    /// The name of the unit in messages.
    pub fn describe(&self) -> String {
        let Self { place, cube, .. } = self;
        format!("unit {place:?} of cube {cube:?}")
    }

    /// Checks a pending write. Ends the launch if its value differs from what another unit has written.
    #[inline]
    pub fn settle(&mut self) {
        if self.pending.is_some() {
            self.settle_pending();
        }
    }

    #[cold]
    fn settle_pending(&mut self) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        // SAFETY: the access to these bytes was allowed, and a launch frees nothing.
        let there = unsafe { std::slice::from_raw_parts(pending.place, pending.bytes) };
        if there == &pending.written[..pending.bytes] {
            // SAFETY: the machine runs the unit.
            unsafe { self.machine() }.equal_writes += 1;
            return;
        }
        let Pending { line, message, .. } = pending;
        self.end(line, message);
    }

    /// Lets the other units run until the state is [`State::Ready`] again.
    pub fn wait(&mut self, state: State) {
        self.settle();
        self.state = state;
        // SAFETY: the machine runs the unit, so its own stack waits at the switch to this unit.
        unsafe {
            let machine = self.machine();
            super::fiber::switch(&mut self.stack, machine.stack);
        }
    }

    /// Ends the launch with an error. The stack is abandoned, so values of the callers are never dropped.
    pub fn fail(&mut self, line: u32, message: &str) -> ! {
        self.end(line, message.into())
    }

    /// Ends the launch with an error. The stack is abandoned, so values of the callers are never dropped.
    pub fn end(&mut self, line: u32, message: String) -> ! {
        // SAFETY: the machine runs the unit.
        let machine = unsafe { self.machine() };
        let who = self.describe();
        machine.fail(line, &format!("{who} {message}"));
        // This stack is never continued, so these would leak.
        drop((message, who));
        self.pending = None;
        self.wait(State::Done);
        unreachable!("a launch that failed goes on");
    }
}
