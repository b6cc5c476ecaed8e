//! The last reads and writes of each cell of memory. Two units race if they use the same cell without a barrier in
//! between and at least one of them writes.

/// Who makes an access, and when: the launch, the cube, the unit, and the number of barriers before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Stamp {
    /// The number of the launch; 0 for no access. For shared memory the number of the cube among the cubes of all
    /// launches.
    pub run: u32,
    /// The number of the cube in the launch.
    pub cube: u32,
    /// The number of barriers that the cube has passed.
    pub epoch: u32,
    /// The number of barriers that the plane has passed.
    pub plane_epoch: u16,
    /// The number of the unit, and flags.
    pub who: u16,
}

const UNIT: u16 = 0x3ff;
/// Flag: several units of a plane.
const MANY_UNITS: u16 = 0x400;
/// Flag: units of several planes.
const MANY_PLANES: u16 = 0x800;
/// Flag: units of several cubes.
const MANY_CUBES: u16 = 0x1000;
/// Flag: an atomic instruction.
const ATOMIC: u16 = 0x2000;
const MANY: u16 = MANY_UNITS | MANY_PLANES | MANY_CUBES;

/// The most units of a cube.
pub const UNITS: u32 = UNIT as u32 + 1;

/// How an access uses memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A read.
    Read,
    /// A read through the read-only cache. The card may keep an old value, so nothing may write there during the
    /// launch.
    ReadOnly,
    /// A write.
    Write,
    /// A read and a write at once.
    Atomic,
    /// A write without a barrier after another unit's write, allowed if both write the same value.
    Again,
}

impl Stamp {
    /// The number of the unit in its cube.
    pub fn unit(self) -> u16 {
        self.who & UNIT
    }

    fn plane(self) -> u16 {
        self.unit() / 32
    }

    fn has(self, flags: u16) -> bool {
        self.who & flags != 0
    }

    /// Whether the access `self` certainly came before the access `me`, or was made by the same unit.
    fn is_before(self, me: Self) -> bool {
        if self.run != me.run {
            return true;
        }
        if self.has(MANY_CUBES) || self.cube != me.cube {
            return false;
        }
        if self.epoch != me.epoch {
            return true;
        }
        if self.has(MANY_PLANES) || self.plane() != me.plane() {
            return false;
        }
        self.plane_epoch != me.plane_epoch || !self.has(MANY_UNITS) && self.unit() == me.unit()
    }

    /// One stamp for two reads, of which `me` is the later one. Its flags say who reads without a barrier in between.
    fn with(self, me: Self) -> Self {
        if self.run != me.run {
            return me;
        }
        let mut all = me;
        if self.has(MANY_CUBES) || self.cube != me.cube {
            all.who |= MANY_CUBES;
        } else if self.epoch == me.epoch {
            if self.has(MANY_PLANES) || self.plane() != me.plane() {
                all.who |= MANY_PLANES;
            } else if self.plane_epoch == me.plane_epoch
                && (self.has(MANY_UNITS) || self.unit() != me.unit())
            {
                all.who |= MANY_UNITS;
            }
        }
        all
    }

    /// Names the units that made the access.
    pub fn describe(self) -> String {
        match self.who & MANY {
            0 => format!("unit {} of cube {}", self.unit(), self.cube),
            _ if self.has(MANY_CUBES) => "units of several cubes".into(),
            _ => format!("several units of cube {}", self.cube),
        }
    }
}

/// The last write and the last reads of a cell. A cell has as many bytes as the smallest access of the kernel.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Cell {
    write: Stamp,
    read: Stamp,
}

/// An earlier access that an access races with, and whether the earlier access was a write.
pub type Race = (Stamp, bool);

impl Cell {
    /// Whether another read changes nothing: since the last barrier nothing was written, and units of several planes
    /// have read already.
    #[inline(always)]
    fn is_read_by_many(&self, me: Stamp) -> bool {
        let Self { write, read } = self;
        let now = |stamp: &Stamp| stamp.cube == me.cube && stamp.epoch == me.epoch;
        (write.run != me.run || write.cube == me.cube && write.epoch != me.epoch)
            && read.run == me.run
            && (read.has(MANY_CUBES) || read.has(MANY_PLANES) && now(read))
    }

    #[inline(always)]
    fn touch(&mut self, me: Stamp, how: Use) -> Result<(), Race> {
        match how {
            Use::Read if self.is_read_by_many(me) => Ok(()),
            _ => self.touch_alone(me, how),
        }
    }

    fn touch_alone(&mut self, me: Stamp, how: Use) -> Result<(), Race> {
        let both_atomic = how == Use::Atomic && self.write.has(ATOMIC);
        let harmless = both_atomic || how == Use::Again;
        if !harmless && !self.write.is_before(me) {
            return Err((self.write, true));
        }
        match how {
            Use::ReadOnly if self.write.run == me.run => {
                return Err((self.write, true));
            }
            Use::Read | Use::ReadOnly => self.read = self.read.with(me),
            Use::Write | Use::Atomic | Use::Again => {
                if !self.read.is_before(me) {
                    return Err((self.read, false));
                }
                // Of several writes of the same value the first one is remembered.
                if how != Use::Again || self.write.is_before(me) {
                    self.write = me;
                }
            }
        }
        Ok(())
    }
}

/// Notes an access of `count` cells from `first` on.
#[inline(always)]
pub fn touch(
    cells: &mut [Cell],
    first: usize,
    count: usize,
    mut me: Stamp,
    how: Use,
) -> Result<(), Race> {
    if how == Use::Atomic {
        me.who |= ATOMIC;
    }
    for cell in &mut cells[first..first + count] {
        cell.touch(me, how)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(cube: u32, unit: u16, epoch: u32, plane_epoch: u16) -> Stamp {
        Stamp {
            run: 1,
            cube,
            epoch,
            plane_epoch,
            who: unit,
        }
    }

    /// Whether the last of these accesses of one word is a race.
    fn races(accesses: &[(Stamp, Use)]) -> bool {
        let mut cells = [Cell::default(); 8];
        let (last, before) = accesses.split_last().unwrap();
        for (me, how) in before {
            touch(&mut cells, 2, 4, *me, *how).unwrap();
        }
        touch(&mut cells, 2, 4, last.0, last.1).is_err()
    }

    #[test]
    fn a_barrier_of_the_cube_orders_its_units() {
        for (how, other) in [
            (Use::Write, Use::Write),
            (Use::Write, Use::Read),
            (Use::Read, Use::Write),
            (Use::Atomic, Use::Read),
            (Use::Read, Use::Atomic),
            (Use::Write, Use::Atomic),
        ] {
            let first = (stamp(0, 1, 5, 0), how);
            assert!(races(&[first, (stamp(0, 2, 5, 0), other)]));
            assert!(races(&[first, (stamp(0, 40, 5, 0), other)]));
            assert!(!races(&[first, (stamp(0, 2, 6, 0), other)]));
            assert!(!races(&[first, (stamp(0, 1, 5, 0), other)]));
            assert!(races(&[first, (stamp(1, 1, 6, 0), other)]));
        }
        let read = |unit| (stamp(0, unit, 5, 0), Use::Read);
        assert!(!races(&[read(1), read(2)]));
        let atomic = |unit| (stamp(0, unit, 5, 0), Use::Atomic);
        assert!(!races(&[atomic(1), atomic(2)]));
    }

    #[test]
    fn a_barrier_of_the_plane_orders_its_lanes_only() {
        let write = |unit, plane_epoch| (stamp(0, unit, 5, plane_epoch), Use::Write);
        let read = |unit, plane_epoch| (stamp(0, unit, 5, plane_epoch), Use::Read);
        assert!(!races(&[write(1, 0), read(2, 1)]));
        assert!(races(&[write(1, 0), read(32, 1)]));
        assert!(!races(&[read(1, 0), read(2, 0), write(3, 1)]));
        assert!(races(&[read(1, 0), read(40, 0), write(3, 1)]));
        assert!(races(&[read(1, 0), read(2, 0), write(1, 0)]));
    }

    #[test]
    fn readers_are_not_forgotten() {
        let read = |cube, unit| (stamp(cube, unit, 5, 0), Use::Read);
        let write = |cube, unit| (stamp(cube, unit, 5, 0), Use::Write);
        assert!(races(&[read(0, 1), read(0, 2), write(0, 2)]));
        assert!(races(&[read(0, 1), read(1, 1), write(1, 1)]));
        assert!(!races(&[read(0, 1), write(0, 1)]));
    }

    #[test]
    fn what_is_written_is_not_read_as_if_it_were_not() {
        let write = (stamp(0, 1, 5, 0), Use::Write);
        let mut later = (stamp(0, 1, 6, 0), Use::ReadOnly);
        assert!(races(&[write, later]));
        later.0.run = 2;
        assert!(!races(&[write, later]));
    }

    #[test]
    fn who_writes_the_same_again_races_with_readers() {
        let write = (stamp(0, 1, 5, 0), Use::Write);
        let again = |unit| (stamp(0, unit, 5, 0), Use::Again);
        let read = |unit| (stamp(0, unit, 5, 0), Use::Read);
        assert!(!races(&[write, again(2)]));
        assert!(races(&[write, again(2), read(2)]));
        assert!(races(&[write, read(1), again(2)]));
    }

    #[test]
    fn neighbours_do_not_race() {
        for bytes in [1, 2, 4] {
            let mut cells = [Cell::default(); 16];
            for unit in 0..4 {
                let me = stamp(0, unit, 0, 0);
                touch(&mut cells, unit as usize * bytes, bytes, me, Use::Write).unwrap();
            }
            let me = stamp(0, 9, 0, 0);
            assert!(touch(&mut cells, bytes, bytes, me, Use::Write).is_err());
        }
        // Nor do units that read and write only cells of their own.
        let mut cells = [Cell::default(); 2];
        for how in [Use::Read, Use::Write] {
            for unit in [0, 1] {
                let me = stamp(0, unit, 0, 0);
                touch(&mut cells, unit as usize, 1, me, how).unwrap();
            }
        }
    }

    #[test]
    fn other_launches_do_not_race() {
        let mut next = stamp(3, 7, 0, 0);
        next.run = 2;
        assert!(!races(&[
            (stamp(0, 1, 0, 0), Use::Write),
            (next, Use::Write)
        ]));
    }
}
