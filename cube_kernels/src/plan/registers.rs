//! How many rows and columns a unit holds in its registers.

use crate::{
    program::{LOADED_COLUMNS, LOOP_COLUMNS, Program},
    reduction::Spec,
};

use super::{device::Device, units};

/// Lanes and columns of a unit of a CPU, from the registers it has.
pub fn cpu_registers(
    device: &Device,
    program: &Program,
    spec: Spec,
    rows: usize,
    size: usize,
) -> (usize, usize) {
    /// Instructions a pair from which on several columns take longer to compile than they save.
    const MANY: usize = 256;
    /// Up to so many the columns are the more, the better latencies are hidden, if there are registers.
    const FEW: usize = 64;
    let register = (device.load_width / 8 / size).max(1);
    let registers = device.registers.unwrap_or(16);
    // In loops a sum for each vector of rows with each column; what is left of the registers must hold
    // the rows and the differences, as a sum that is spilled costs more than columns can save. The
    // blocks are the fastest of those measured with 16 registers (AVX2) and 32 (AVX-512); a long formula
    // is not compiled for many columns.
    let (mut wide, columns) = match (program.looped(), registers) {
        // Processors overlap the pairs of a long formula anyway, and it is compiled once instead of three times.
        (false, _) if program.is_long() => (1, 1),
        (true, _) if program.is_long() => (1, 2),
        // A value that is among the smallest of one lane is inserted in all of them.
        (false, _) if spec.inserts() => (1, 2),
        (false, 32..) if program.pair_cost() > MANY => (1, 2),
        (false, 32..) if spec.is_light() && program.pair_cost() <= FEW => (1, 12),
        (false, 32..) => (1, 8),
        (false, _) => (2, 2),
        (true, 32..) => (1, LOOP_COLUMNS),
        (true, _) => (2, 3),
    };
    // Slots and running sums of the rows stay in the first-level cache.
    let state = program.row.slots + spec.vectors();
    while wide > 1 && wide * register * size * state > 24 * 1024 {
        wide /= 2;
    }
    while wide > 1 && wide * register > rows.next_multiple_of(register) {
        wide /= 2;
    }
    (wide * register, columns)
}

/// Lanes and columns of a unit of a GPU. Each column that is read from the tile serves all lanes, and
/// several that lie next to each other are read at once.
pub fn gpu_registers(
    device: &Device,
    program: &Program,
    spec: Spec,
    rows: usize,
    size: usize,
) -> (usize, usize) {
    /// Registers of a unit beside those in which it computes: NVIDIA's cards have 255, and hide the
    /// latency of instructions that depend on each other only if units are content with half of that.
    const ALL: usize = 208;
    const HALF: usize = 96;
    /// Instructions a pair from which on loads do not matter, but the length of the code does.
    const LONG: usize = 64;
    let state = spec.vectors();
    let all = program.row.slots + state;
    // Few rows must be spread over many units.
    let enough = 64 * device.plane * 4;
    // Lists take many registers. Where a cube has a unit for each row, units with one have half of them, and more
    // run at a time: there are too few pairs to care for what rows could share.
    let alone = spec.inserts() && rows <= units(device);
    let lanes = match size {
        4 if !program.looped() && 4 * all <= HALF && rows >= enough => 4,
        4 if alone => 1,
        // An insertion into the state takes registers of its own.
        4 if 2 * all <= ALL && 2 * state <= ALL * 2 / 3 => 2,
        // What no registers hold is in memory, where two are read as fast as one.
        4 if all > ALL => 2,
        _ => 1,
    };
    let columns = match program.looped() || program.pair_cost() <= LONG {
        true => LOADED_COLUMNS,
        false => 1,
    };
    (lanes, columns)
}
