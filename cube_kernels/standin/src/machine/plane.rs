//! Instructions that the lanes of a plane do together.

use std::ffi::c_void;

use super::unit::{State, Unit};

/// Lanes of a plane.
pub const LANES: usize = 32;

/// What an exchange does once all of its lanes are there.
pub type Operation = fn(&mut [Option<*mut c_void>; LANES]) -> Result<(), String>;

/// Waits for the lanes of `mask`, and for what is done with what they have `given`.
pub fn exchange(unit: &mut Unit, mask: u32, given: *mut c_void, operation: Operation, line: u32) {
    if mask >> unit.lane & 1 == 0 {
        unit.fail(line, "is not among the lanes that it waits for");
    }
    unit.given = given;
    unit.operation = Some(operation);
    unit.wait(State::Exchange(line, mask));
}

/// Does the exchanges of a plane that are complete, each of which has the units `first .. first + LANES` as far as
/// there are any; how many units can go on.
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

/// An exchange after which each lane sees what the others wrote before.
pub fn barrier(_: &mut [Option<*mut c_void>; LANES]) -> Result<(), String> {
    Ok(())
}
