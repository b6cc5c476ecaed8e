//! Instructions that the lanes of a plane execute together.

use std::ffi::c_void;

use super::unit::{State, Unit};

/// The number of lanes of a plane.
pub const LANES: usize = 32;

/// What an exchange does when all of its lanes have arrived.
pub type Operation = fn(&mut [Option<*mut c_void>; LANES]) -> Result<(), String>;

/// Waits until all lanes of `mask` have arrived and `operation` has run on what they have `given`.
pub fn exchange(unit: &mut Unit, mask: u32, given: *mut c_void, operation: Operation, line: u32) {
    if mask >> unit.lane & 1 == 0 {
        unit.fail(line, "is not among the lanes that it waits for");
    }
    unit.given = given;
    unit.operation = Some(operation);
    unit.wait(State::Exchange(line, mask));
}

/// Runs the exchanges of a plane whose lanes have all arrived. `units` are the units of the plane. Returns the number
/// of units that can go on.
pub fn complete(units: &mut [Unit]) -> Result<usize, (u32, String)> {
    let mut released = 0;
    for lane in 0..units.len() {
        let State::Exchange(line, mask) = units[lane].state else {
            continue;
        };
        let takes_part = |unit: &Unit| mask >> unit.lane & 1 == 1;
        let mut members = units.iter().filter(|unit| takes_part(unit));
        if !members.all(|unit| unit.state == State::Exchange(line, mask)) {
            continue;
        }
        let mut given = [None; LANES];
        for unit in units.iter().filter(|unit| takes_part(unit)) {
            given[unit.lane as usize] = Some(unit.given);
        }
        let Some(operation) = units[lane].operation else {
            continue;
        };
        operation(&mut given).map_err(|message| (line, message))?;
        for unit in units.iter_mut().filter(|unit| takes_part(unit)) {
            unit.state = State::Ready;
            released += 1;
        }
    }
    Ok(released)
}

/// An exchange without data. After it each lane sees what the others have written before it.
pub fn barrier(_: &mut [Option<*mut c_void>; LANES]) -> Result<(), String> {
    Ok(())
}
