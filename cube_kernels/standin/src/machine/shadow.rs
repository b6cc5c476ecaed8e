//! Who read and wrote what last: two units that use an address without a barrier between, at least one of them to
//! write, race.

/// An access: of which launch, cube and unit, after how many barriers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Stamp {
    /// The launch; 0 for none. For shared memory, the cube among those of all launches.
    pub run: u32,
    /// The cube of the launch.
    pub cube: u32,
    /// Barriers of the cube so far.
    pub epoch: u32,
    /// Barriers of the plane so far.
    pub plane_epoch: u16,
    /// The unit, and flags.
    pub who: u16,
}

const UNIT: u16 = 0x3ff;
/// Several units of a plane.
const MANY_UNITS: u16 = 0x400;
/// Units of several planes.
const MANY_PLANES: u16 = 0x800;
/// Units of several cubes.
const MANY_CUBES: u16 = 0x1000;
/// By an atomic instruction.
const ATOMIC: u16 = 0x2000;
const MANY: u16 = MANY_UNITS | MANY_PLANES | MANY_CUBES;

/// The most units of a cube.
pub const UNITS: u32 = UNIT as u32 + 1;

/// How an access uses memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It reads.
    Read,
    /// It reads what nothing writes in the launch, as the card may keep an old value.
    ReadOnly,
    /// It writes.
    Write,
    /// It reads and writes at once.
    Atomic,
    /// It writes what another unit has written at the same time.
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

    /// Whether what `self` says was done for sure before what `me` does, or by the same unit.
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

    /// What stands for both of two reads, of which `me` is the later one.
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

    /// Who it was, in words.
    pub fn describe(self) -> String {
        match self.who & MANY {
            0 => format!("unit {} of cube {}", self.unit(), self.cube),
            _ if self.has(MANY_CUBES) => "units of several cubes".into(),
            _ => format!("several units of cube {}", self.cube),
        }
    }
}

/// The last accesses of a byte, or of as many as the kernel reads and writes at least.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Cell {
    write: Stamp,
    read: Stamp,
}

/// What races with an access: an earlier one, and whether that wrote.
pub type Race = (Stamp, bool);

impl Cell {
    /// Whether a read makes no difference: nothing was written since the last barrier, and units of several planes have
    /// read since then.
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
                // The first of several that write the same is the one to remember.
                if how != Use::Again || self.write.is_before(me) {
                    self.write = me;
                }
            }
        }
        Ok(())
    }
}

/// Notes an access of `count` of the cells, from the first on.
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

    /// Whether the last of these accesses of one word races.
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
        // Nor do those that read what they write.
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
