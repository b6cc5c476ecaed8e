//! Instructions that units execute together: barriers, shuffles, votes.

use std::ffi::c_void;

use crate::machine::{LANES, State, Unit, exchange, plane_barrier as ordered};

type Given = [Option<*mut c_void>; LANES];

/// `bar.sync 0`.
pub extern "C" fn barrier(unit: &mut Unit, line: u32) {
    unit.wait(State::Barrier(line));
}

/// `trap`: ends the launch.
pub extern "C" fn trap(unit: &mut Unit, line: u32) {
    unit.fail(line, "stops the launch");
}

/// Ends the launch because of a loop that does not end.
pub extern "C" fn runaway(unit: &mut Unit, line: u32) {
    unit.fail(line, "goes back too often: it does not end");
}

/// `bar.warp.sync`: after it each lane sees what the others have written before it.
pub extern "C" fn plane_barrier(unit: &mut Unit, mask: u32, line: u32) {
    exchange(unit, mask, std::ptr::null_mut(), ordered, line);
    if mask == u32::MAX {
        unit.plane_epoch = unit.plane_epoch.wrapping_add(1);
    }
}

struct Shuffled {
    given: u32,
    from: usize,
    got: u32,
}

/// `shfl.sync`: the value, and in bit 32 whether its source lane is in range. A lane that does not take part gives the
/// bits of fresh memory.
pub extern "C" fn shuffle(
    unit: &mut Unit,
    given: u32,
    by: u32,
    clamp: u32,
    mask: u32,
    mode: u32,
    line: u32,
) -> u64 {
    let (from, in_range) = source(unit.lane, by & 31, clamp, mode);
    let mut shuffled = Shuffled {
        given,
        from,
        got: u32::MAX,
    };
    let place: *mut Shuffled = &mut shuffled;
    exchange(unit, mask, place.cast(), shuffle_all, line);
    u64::from(in_range) << 32 | u64::from(shuffled.got)
}

/// The lane that `lane` takes its value from, and whether the requested lane is in range. The modes are up, down,
/// butterfly and index.
fn source(lane: u32, by: u32, clamp: u32, mode: u32) -> (usize, bool) {
    let (segment, clamp) = (clamp >> 8 & 31, clamp & 31);
    let most = (lane & segment) | (clamp & !segment);
    let least = lane & segment;
    let (lane, by, most, least) = (lane as i32, by as i32, most as i32, least as i32);
    let (from, in_range) = match mode {
        0 => (lane - by, lane - by >= most),
        1 => (lane + by, lane + by <= most),
        2 => (lane ^ by, (lane ^ by) <= most),
        _ => {
            let from = least | by & !(segment as i32);
            (from, from <= most)
        }
    };
    let from = if in_range { from } else { lane };
    (from as usize % LANES, in_range)
}

fn shuffle_all(given: &mut Given) -> Result<(), String> {
    let value = |place: &Option<*mut c_void>| {
        // SAFETY: each pointer leads to a value on the stack of a lane that waits.
        place.map(|place| unsafe { (*place.cast::<Shuffled>()).given })
    };
    let values: Vec<Option<u32>> = given.iter().map(value).collect();
    for place in given.iter().flatten() {
        let lane = place.cast::<Shuffled>();
        // SAFETY: as above.
        unsafe { (*lane).got = values[(*lane).from].unwrap_or(u32::MAX) };
    }
    Ok(())
}

struct Voted {
    given: u32,
    got: u32,
}

fn combine(
    unit: &mut Unit,
    given: u32,
    mask: u32,
    operation: fn(&mut Given) -> Result<(), String>,
    line: u32,
) -> u32 {
    let mut voted = Voted { given, got: 0 };
    let place: *mut Voted = &mut voted;
    exchange(unit, mask, place.cast(), operation, line);
    voted.got
}

fn combined(given: &mut Given, count: impl Fn(&[(usize, u32)]) -> u32) {
    let value = |(lane, place): (usize, &Option<*mut c_void>)| {
        // SAFETY: each pointer leads to a value on the stack of a lane that waits.
        place.map(|place| (lane, unsafe { (*place.cast::<Voted>()).given }))
    };
    let values: Vec<(usize, u32)> = given.iter().enumerate().filter_map(value).collect();
    let got = count(&values);
    for place in given.iter().flatten() {
        // SAFETY: as above.
        unsafe { (*place.cast::<Voted>()).got = got };
    }
}

/// `vote.sync`: the modes are all, any, uniform and ballot.
pub extern "C" fn vote(unit: &mut Unit, given: u32, mask: u32, mode: u32, line: u32) -> u32 {
    let all = |given: &mut Given| {
        combined(given, |values| u32::from(values.iter().all(|v| v.1 != 0)));
        Ok(())
    };
    let any = |given: &mut Given| {
        combined(given, |values| u32::from(values.iter().any(|v| v.1 != 0)));
        Ok(())
    };
    let uniform = |given: &mut Given| {
        combined(given, |values| {
            u32::from(values.iter().all(|v| v.1 == values[0].1))
        });
        Ok(())
    };
    let ballot = |given: &mut Given| {
        combined(given, |values| {
            let bit = |all, v: &(usize, u32)| all | u32::from(v.1 != 0) << v.0;
            values.iter().fold(0, bit)
        });
        Ok(())
    };
    let operation: fn(&mut Given) -> Result<(), String> = match mode {
        0 => all,
        1 => any,
        2 => uniform,
        _ => ballot,
    };
    combine(unit, u32::from(given != 0), mask, operation, line)
}

/// `redux.sync`: the modes are add, and, or, xor, then minimum and maximum of unsigned and of signed integers.
pub extern "C" fn redux(unit: &mut Unit, given: u32, mask: u32, mode: u32, line: u32) -> u32 {
    macro_rules! fold {
        ($by:expr) => {
            |given: &mut Given| {
                combined(given, |values| {
                    let by: fn(u32, u32) -> u32 = $by;
                    values.iter().map(|v| v.1).reduce(by).unwrap_or(0)
                });
                Ok(())
            }
        };
    }
    let operation: fn(&mut Given) -> Result<(), String> = match mode {
        0 => fold!(u32::wrapping_add),
        1 => fold!(|a, b| a & b),
        2 => fold!(|a, b| a | b),
        3 => fold!(|a, b| a ^ b),
        4 => fold!(u32::min),
        5 => fold!(u32::max),
        6 => fold!(|a, b| (a as i32).min(b as i32) as u32),
        _ => fold!(|a, b| (a as i32).max(b as i32) as u32),
    };
    combine(unit, given, mask, operation, line)
}

/// `elect.sync`: the number of the first lane that takes part, and in bit 32 whether this lane is that lane.
pub extern "C" fn elect(unit: &mut Unit, mask: u32, line: u32) -> u64 {
    let first = |given: &mut Given| {
        combined(given, |values| values.first().map_or(0, |v| v.0 as u32));
        Ok(())
    };
    let leader = combine(unit, 0, mask, first, line);
    let lane = unit.lane;
    u64::from(lane == leader) << 32 | u64::from(leader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_take_from_where_the_manual_says() {
        // Up: clamped at the first lane of a segment of 8 lanes.
        assert_eq!(source(9, 1, 24 << 8, 0), (8, true));
        assert_eq!(source(8, 1, 24 << 8, 0), (8, false));
        // Down: the clamp is the last lane.
        assert_eq!(source(30, 1, 31, 1), (31, true));
        assert_eq!(source(31, 1, 31, 1), (31, false));
        assert_eq!(source(7, 1, 24 << 8 | 31, 1), (7, false));
        assert_eq!(source(5, 3, 31, 2), (6, true));
        assert_eq!(source(20, 3, 31, 3), (3, true));
        assert_eq!(source(20, 3, 24 << 8 | 31, 3), (19, true));
    }
}
