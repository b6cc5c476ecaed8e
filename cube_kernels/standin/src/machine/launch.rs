//! Launches. Cubes run one after another, and the units of a cube take turns.

use std::ffi::c_void;

use super::fiber::{Stack, switch};
use super::memory::{FRESH, Memory, Region};
use super::plane::{LANES, complete};
use super::shadow::{Cell, UNITS};
use super::unit::{State, Unit};

/// The number of backward branches after which a unit is taken to run forever.
const TURNS: u64 = 1 << 28;
/// The most bytes that the arguments of a kernel may have.
pub const PARAMS: usize = 32 << 10;

/// A kernel that can be launched.
pub struct Kernel {
    /// The name of the kernel.
    pub name: String,
    /// The machine code of the kernel.
    pub entry: extern "C" fn(*mut Unit),
    /// Bytes of shared memory that the PTX text declares.
    pub shared_bytes: u32,
    /// Bytes of local variables of a unit.
    pub local_bytes: usize,
    /// The sizes of the arguments, and their offsets.
    pub params: Vec<(usize, usize)>,
    /// The lines of the PTX text, for messages.
    pub lines: std::sync::Arc<[String]>,
    /// The size of the smallest value that the kernel reads or writes, as the exponent of a power of 2 in bytes.
    /// Accesses are noted for that many bytes at a time.
    pub smallest: u32,
}

/// The order in which cubes and units run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// In the order of their numbers.
    Forward,
    /// Cubes and units in reverse order.
    Backward,
    /// Cubes in reverse order. Units alternate between forward and backward order each time that all of them wait.
    Alternating,
    /// Cubes and units in random order, from a seed.
    Random(u64),
}

/// The parameters of a launch.
pub struct Launch<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// The number of cubes in each direction.
    pub cubes: [u32; 3],
    /// The number of units of a cube in each direction.
    pub units: [u32; 3],
    /// Bytes of shared memory in addition to what the kernel declares.
    pub dynamic_bytes: u32,
    /// The bytes of the arguments.
    pub arguments: &'a [u8],
    /// The order in which cubes and units run.
    pub order: Order,
}

/// The machine that runs launches, one at a time.
pub struct Machine {
    memory: *const Memory,
    globals: *const Memory,
    /// The allocation that was accessed last. It is searched first.
    pub last: Region,
    /// The shared memory of the running cube.
    pub shared: Vec<u128>,
    /// The last accesses of each cell of shared memory.
    pub shared_cells: Vec<Cell>,
    /// The local variables of all units.
    local: Vec<u128>,
    /// Bytes of the local variables of a unit.
    pub local_bytes: usize,
    /// The arguments.
    params: Vec<u128>,
    /// The number of bytes of the arguments.
    pub param_bytes: usize,
    units: Vec<Unit>,
    stacks: Vec<Stack>,
    /// The pointer of the machine's own stack while a unit runs.
    pub stack: *mut c_void,
    /// The number of the launch.
    pub run: u32,
    /// The number of the cube in the launch.
    pub cube: u32,
    /// The number of cubes that have started so far, over all launches.
    pub cube_run: u32,
    /// The number of barriers that the cube has passed.
    pub epoch: u32,
    /// The number of bytes of a cell, for which accesses are noted together, as the exponent of a power of 2.
    pub smallest: u32,
    /// The number of writes so far that repeated the value of another unit's write.
    pub equal_writes: u64,
    entry: Option<extern "C" fn(*mut Unit)>,
    name: String,
    lines: std::sync::Arc<[String]>,
    failure: Option<String>,
}

// SAFETY: its pointers lead to memory that it owns or that a launch borrows, and only the thread that has locked it
// uses it.
unsafe impl Send for Machine {}

extern "C" fn enter(unit: *mut c_void) {
    // SAFETY: the machine prepared the stack with a unit of its own, and it has a kernel.
    let unit = unsafe { &mut *unit.cast::<Unit>() };
    // SAFETY: the machine runs the unit.
    if let Some(entry) = unsafe { unit.machine() }.entry {
        entry(unit);
    }
    unit.wait(State::Done);
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            memory: std::ptr::null(),
            globals: std::ptr::null(),
            last: Region::NOTHING,
            shared: Vec::new(),
            shared_cells: Vec::new(),
            local: Vec::new(),
            local_bytes: 0,
            params: vec![0; PARAMS / size_of::<u128>()],
            param_bytes: 0,
            units: Vec::new(),
            stacks: Vec::new(),
            stack: std::ptr::null_mut(),
            run: 0,
            cube: 0,
            cube_run: 0,
            epoch: 0,
            smallest: 0,
            equal_writes: 0,
            entry: None,
            name: String::new(),
            lines: [].into(),
            failure: None,
        }
    }
}

const WORD: usize = size_of::<u128>();

/// Resizes `words` to at least `bytes` bytes, full of NaN.
fn refill(words: &mut Vec<u128>, bytes: usize) {
    words.clear();
    words.resize(bytes.div_ceil(WORD), u128::from_ne_bytes([FRESH; WORD]));
}

impl Machine {
    /// The allocation of the device or of a module that has `bytes` bytes at `address`.
    pub fn find(&self, address: usize, bytes: usize) -> Option<Region> {
        // SAFETY: both are alive while a launch runs.
        let all = unsafe { [self.memory.as_ref(), self.globals.as_ref()] };
        all.into_iter()
            .flatten()
            .find_map(|memory| memory.find(address, bytes))
    }

    /// Describes what is near an address.
    pub fn describe(&self, address: usize) -> String {
        // SAFETY: it is alive while a launch runs.
        match unsafe { self.memory.as_ref() } {
            Some(memory) => memory.describe(address),
            None => "which is nowhere".into(),
        }
    }

    /// Notes an error, if it is the first one of the launch.
    pub fn fail(&mut self, line: u32, message: &str) {
        let text = self.lines.get((line as usize).wrapping_sub(1));
        let text = text.map_or("", |text| text.trim());
        let name = &self.name;
        let message = format!("kernel {name}, line {line}: `{text}`: {message}");
        self.failure.get_or_insert(message);
    }

    /// Runs all cubes.
    pub fn run(
        &mut self,
        launch: &Launch,
        memory: &Memory,
        globals: &Memory,
    ) -> Result<(), String> {
        let Launch { kernel, units, .. } = launch;
        let count = units.iter().map(|n| u64::from(*n)).product::<u64>();
        let name = &kernel.name;
        if count == 0 || count > u64::from(UNITS) {
            return Err(format!("kernel {name}: a cube of {count} units"));
        }
        if launch.arguments.len() > PARAMS {
            return Err(format!("kernel {name}: too many arguments"));
        }
        while self.stacks.len() < count as usize {
            let stack = Stack::new().map_err(|error| format!("no memory for a stack: {error}"))?;
            self.stacks.push(stack);
        }
        (self.memory, self.globals) = (memory, globals);
        self.last = Region::NOTHING;
        self.run += 1;
        self.entry = Some(kernel.entry);
        self.name.clone_from(name);
        self.lines = kernel.lines.clone();
        self.smallest = kernel.smallest;
        self.failure = None;
        self.param_bytes = launch.arguments.len();
        // SAFETY: the buffer has room for the arguments, as was checked above.
        unsafe {
            let to = self.params.as_mut_ptr().cast::<u8>();
            to.copy_from_nonoverlapping(launch.arguments.as_ptr(), launch.arguments.len());
        }
        self.local_bytes = kernel.local_bytes;
        let shared = (kernel.shared_bytes + launch.dynamic_bytes) as usize;
        if self.shared_cells.len() < shared {
            self.shared_cells.resize(shared, Cell::default());
        }
        let cubes = launch.cubes.map(u64::from);
        let all = cubes.iter().product::<u64>();
        let mut order = Turns::new(launch.order, all as usize, count as usize);
        let result = (0..all as usize).try_for_each(|turn| {
            let cube = order.cube(turn) as u64;
            refill(&mut self.shared, shared);
            self.cube = cube as u32;
            self.cube_run += 1;
            let place = [
                cube % cubes[0],
                cube / cubes[0] % cubes[1],
                cube / cubes[0] / cubes[1],
            ];
            self.prepare(launch, place.map(|n| n as u32), count as usize);
            self.cube(&mut order)
        });
        (self.memory, self.globals) = (std::ptr::null(), std::ptr::null());
        memory.forget_accesses();
        result
    }

    fn prepare(&mut self, launch: &Launch, cube: [u32; 3], count: usize) {
        let stride = self.local_bytes.next_multiple_of(WORD);
        refill(&mut self.local, stride * count);
        self.epoch = 0;
        self.units.clear();
        let machine: *mut Self = self;
        let [x, y, _] = launch.units;
        for k in 0..count as u32 {
            let local = self.local.as_mut_ptr().cast::<u8>();
            self.units.push(Unit {
                params: self.params.as_mut_ptr().cast(),
                local: local.wrapping_add(stride * k as usize),
                place: [k % x, k / x % y, k / x / y],
                units: launch.units,
                cube,
                cubes: launch.cubes,
                lane: k % LANES as u32,
                plane: k / LANES as u32,
                dynamic_bytes: launch.dynamic_bytes,
                shared_bytes: launch.kernel.shared_bytes + launch.dynamic_bytes,
                carry: 0,
                turns: TURNS,
                index: k as u16,
                plane_epoch: 0,
                state: State::Ready,
                stack: std::ptr::null_mut(),
                given: std::ptr::null_mut(),
                operation: None,
                pending: None,
                machine,
            });
        }
        for (unit, stack) in self.units.iter_mut().zip(&self.stacks) {
            let argument: *mut Unit = unit;
            unit.stack = stack.prepare(enter, argument.cast());
        }
    }

    /// Runs the units of a cube until all have ended.
    fn cube(&mut self, order: &mut Turns) -> Result<(), String> {
        let units: *mut Unit = self.units.as_mut_ptr();
        let count = self.units.len();
        loop {
            for turn in 0..count {
                let unit = order.unit(turn);
                // SAFETY: a unit of this cube, whose stack waits for a switch to it.
                unsafe {
                    let unit = units.add(unit);
                    if (*unit).state == State::Ready {
                        switch(&mut self.stack, (*unit).stack);
                    }
                }
                if let Some(failure) = self.failure.take() {
                    return Err(failure);
                }
            }
            order.next_round();
            let mut released = 0;
            for plane in self.units.chunks_mut(LANES) {
                match complete(plane) {
                    Ok(count) => released += count,
                    Err((line, message)) => {
                        self.failure = Some((line, message))
                            .map(|failure| format!("line {}: {}", failure.0, failure.1))
                    }
                }
            }
            if let Some(failure) = self.failure.take() {
                return Err(format!("kernel {}, {failure}", self.name));
            }
            if released > 0 {
                continue;
            }
            if self.units.iter().all(|unit| unit.state == State::Done) {
                return Ok(());
            }
            self.barrier()?;
        }
    }

    /// Releases the units if all of them wait at the same barrier. Otherwise units wait for each other, which is an
    /// error.
    fn barrier(&mut self) -> Result<(), String> {
        let first = self.units[0].state;
        if let Some(other) = self.units.iter().find(|unit| unit.state != first) {
            let (name, one) = (&self.name, &self.units[0]);
            let says = |unit: &Unit| match unit.state {
                State::Ready => format!("{} runs", unit.describe()),
                State::Barrier(line) => {
                    format!("{} is at the barrier of line {line}", unit.describe())
                }
                State::Exchange(line, mask) => format!(
                    "{} waits at line {line} for the lanes {mask:#x} of its plane",
                    unit.describe()
                ),
                State::Done => format!("{} has ended", unit.describe()),
            };
            return Err(format!(
                "kernel {name}: units wait for each other: {}, {}",
                says(one),
                says(other)
            ));
        }
        if let State::Exchange(line, mask) = first {
            return Err(format!(
                "kernel {}, line {line}: lanes {mask:#x} of a plane wait for each other",
                self.name
            ));
        }
        self.epoch += 1;
        for unit in &mut self.units {
            unit.state = State::Ready;
        }
        Ok(())
    }
}

/// The order in which cubes and units run.
struct Turns {
    order: Order,
    cubes: Vec<u32>,
    units: Vec<u32>,
    round: usize,
    random: u64,
}

impl Turns {
    fn new(order: Order, cubes: usize, units: usize) -> Self {
        let mut turns = Self {
            order,
            cubes: Vec::new(),
            units: Vec::new(),
            round: 0,
            random: 0,
        };
        match order {
            Order::Random(seed) => {
                turns.random = seed;
                turns.cubes = turns.shuffled(cubes);
                turns.units = turns.shuffled(units);
            }
            Order::Forward => turns.cubes = (0..cubes as u32).collect(),
            Order::Backward | Order::Alternating => {
                turns.cubes = (0..cubes as u32).rev().collect();
            }
        }
        if turns.units.is_empty() {
            turns.units = (0..units as u32).collect();
        }
        if order == Order::Backward {
            turns.units.reverse();
        }
        turns
    }

    /// The numbers below `count` in random order (Fisher and Yates, by SplitMix64).
    fn shuffled(&mut self, count: usize) -> Vec<u32> {
        let mut all: Vec<u32> = (0..count as u32).collect();
        for k in (1..count).rev() {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.random;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            all.swap(k, ((z ^ (z >> 31)) % (k as u64 + 1)) as usize);
        }
        all
    }

    fn cube(&self, turn: usize) -> usize {
        self.cubes[turn] as usize
    }

    fn unit(&self, turn: usize) -> usize {
        self.units[turn] as usize
    }

    fn next_round(&mut self) {
        self.round += 1;
        match self.order {
            Order::Alternating => self.units.reverse(),
            Order::Random(_) => self.units = self.shuffled(self.units.len()),
            Order::Forward | Order::Backward => {}
        }
    }
}
