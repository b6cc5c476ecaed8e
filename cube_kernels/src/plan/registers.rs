//! How many rows and columns a unit holds in its registers.

use crate::{
    program::{LOADED_COLUMNS, Program},
    reduction::Spec,
};

use super::{
    Device, Problem, Registers,
    tuning::{self, Shape},
    units,
};

/// Lanes and columns of a unit of a CPU, from the registers that it has.
pub fn cpu(device: &Device, program: &Program, spec: Spec, rows: usize, size: usize) -> Registers {
    let register = (device.load_width / 8 / size).max(1);
    let shapes = match device.registers {
        Some(32..) => tuning::REGISTERS_32,
        _ => tuning::REGISTERS_16,
    };
    let Shape { mut wide, columns } = match program.looped() {
        false if program.is_long() => shapes.long,
        true if program.is_long() => shapes.long_looped,
        true if !spec.inserts() && spec.width() >= tuning::MANY_SUMS => shapes.looped_sums,
        true => shapes.looped,
        false if spec.is_list() => shapes.long_lists,
        false if spec.inserts() => shapes.lists,
        false if program.pair_cost() > tuning::COSTLY => shapes.costly,
        false if spec.is_light() && program.pair_cost() <= tuning::CHEAP => shapes.cheap,
        false => shapes.plain,
    };
    let state = program.row.slots + spec.vectors();
    while wide > 1 && wide * register * size * state > tuning::ROWS_IN_CACHE {
        wide /= 2;
    }
    while wide > 1 && wide * register > rows.next_multiple_of(register) {
        wide /= 2;
    }
    Registers {
        lanes: wide * register,
        columns,
    }
}

/// Lanes and columns of a unit of a GPU. Each column that is read from the tile serves all lanes, and
/// several that lie next to each other are read at once.
pub fn gpu(device: &Device, problem: &Problem) -> Registers {
    let Problem { program, spec, .. } = *problem;
    let rows = problem.sizes.out_rows();
    let size = problem.precision.computed().size();
    let state = spec.vectors();
    let all = program.row.slots + state;
    // With fewer rows, units take fewer rows each, so that many units have work.
    let enough = tuning::MANY_ROWS * device.plane;
    // Lists take many registers. If a cube has a unit for each row, units with one row take half as many registers,
    // and more units run at a time. There are too few pairs for the work that rows of a unit share to matter.
    let alone = spec.inserts() && rows <= units(device);
    let lanes = match size {
        4 if !program.looped() && 4 * all <= tuning::HALF_OF_REGISTERS && rows >= enough => 4,
        4 if alone => 1,
        // An insertion into the state takes registers of its own.
        4 if 2 * all <= tuning::ALL_REGISTERS && 2 * state <= tuning::ALL_REGISTERS * 2 / 3 => 2,
        // Values that do not fit in registers are in memory, where two are read as fast as one.
        4 if all > tuning::ALL_REGISTERS => 2,
        _ => 1,
    };
    let columns = match program.looped() || program.pair_cost() <= tuning::LONG_ON_GPU {
        true => LOADED_COLUMNS,
        false => 1,
    };
    Registers { lanes, columns }
}
