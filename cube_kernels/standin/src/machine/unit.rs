//! A unit: what generated code reads of it, and what the machine knows.

use std::ffi::c_void;

use super::launch::Machine;
use super::shadow::Stamp;

/// What a unit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It can go on.
    Ready,
    /// It waits for all units of the cube, at this line.
    Barrier(u32),
    /// It waits for these lanes of its plane, at this line.
    Exchange(u32, u32),
    /// It has ended.
    Done,
}

/// A unit of a cube. Generated code uses the fields down to `turns`.
#[repr(C)]
pub struct Unit {
    /// The arguments of the kernel.
    pub params: *mut u8,
    /// The variables of the unit.
    pub local: *mut u8,
    /// Its place in the cube.
    pub place: [u32; 3],
    /// The units of a cube.
    pub units: [u32; 3],
    /// The cube's place in the launch.
    pub cube: [u32; 3],
    /// The cubes of the launch.
    pub cubes: [u32; 3],
    /// Its place in its plane.
    pub lane: u32,
    /// The number of its plane.
    pub plane: u32,
    /// Bytes of shared memory that the launch asked for.
    pub dynamic_bytes: u32,
    /// Bytes of all shared memory.
    pub shared_bytes: u32,
    /// A register of carries.
    pub carry: u32,
    /// How often it may still go back to where it was.
    pub turns: u64,
    /// The number in the cube.
    pub index: u16,
    /// Barriers of the plane so far.
    pub plane_epoch: u16,
    /// What it does.
    pub state: State,
    /// Where its stack is while others run.
    pub stack: *mut c_void,
    /// What it hands to an exchange.
    pub given: *mut c_void,
    /// What does the exchange.
    pub operation: Option<super::plane::Operation>,
    /// A write that is a race unless it writes what is there already.
    pub pending: Option<Pending>,
    /// The machine.
    pub machine: *mut Machine,
}

/// The most bytes of an access.
pub const ACCESS: usize = 32;

/// A write to an address that another unit has written with no barrier between. It goes to `written` at first.
pub struct Pending {
    /// Where it was to go.
    pub place: *const u8,
    /// How many bytes.
    pub bytes: usize,
    /// What is written.
    pub written: [u8; ACCESS],
    /// What is said if it is something else.
    pub message: String,
    /// Its line.
    pub line: u32,
}

impl Unit {
    /// The machine.
    ///
    /// # Safety
    ///
    /// It runs the unit, and nothing else holds it.
    pub unsafe fn machine<'a>(&self) -> &'a mut Machine {
        // SAFETY: the machine outlives its units.
        unsafe { &mut *self.machine }
    }

    /// An access of memory of the device.
    pub fn stamp(&self, machine: &Machine) -> Stamp {
        Stamp {
            run: machine.run,
            cube: machine.cube,
            epoch: machine.epoch,
            plane_epoch: self.plane_epoch,
            who: self.index,
        }
    }

    /// Its name in messages.
    pub fn describe(&self) -> String {
        let Self { place, cube, .. } = self;
        format!("unit {place:?} of cube {cube:?}")
    }

    /// Ends the launch if the last write changed what another unit had written at the same time.
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
        // SAFETY: an access to so many bytes there was allowed, and no launch frees any.
        let there = unsafe { std::slice::from_raw_parts(pending.place, pending.bytes) };
        if there == &pending.written[..pending.bytes] {
            // SAFETY: the machine runs the unit.
            unsafe { self.machine() }.equal_writes += 1;
            return;
        }
        let Pending { line, message, .. } = pending;
        self.end(line, message);
    }

    /// Gives the others their turn until the state is [`State::Ready`] again.
    pub fn wait(&mut self, state: State) {
        self.settle();
        self.state = state;
        // SAFETY: the machine runs the unit, so its own stack waits at the switch to here.
        unsafe {
            let machine = self.machine();
            super::fiber::switch(&mut self.stack, machine.stack);
        }
    }

    /// Ends the launch with an error. Whatever the callers hold is never dropped.
    pub fn fail(&mut self, line: u32, message: &str) -> ! {
        self.end(line, message.into())
    }

    /// Ends the launch with an error.
    pub fn end(&mut self, line: u32, message: String) -> ! {
        // SAFETY: the machine runs the unit.
        let machine = unsafe { self.machine() };
        let who = self.describe();
        machine.fail(line, &format!("{who} {message}"));
        // As this stack is left for good.
        drop((message, who));
        self.pending = None;
        self.wait(State::Done);
        unreachable!("a launch that failed goes on");
    }
}
