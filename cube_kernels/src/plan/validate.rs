//! Which schedules give the right result.

use super::{
    Alone, Device, Matrices, Problem, Registers, Schedule, Strips, Tiled, alone, matrices,
    scalable, symmetric,
};
use crate::program::{LOADED_COLUMNS, LOOP_COLUMNS};

/// The most columns of a block: the error of a plain sum grows with their number.
const MOST_BLOCK: usize = 1024;

/// The most lanes on a CPU.
const CPU_LANES: usize = 64;

/// The most lanes on a GPU: vectors of shaders have no more.
const GPU_LANES: usize = 4;

/// The most bytes of a tile for which the stack of any thread of a CPU has room.
const CPU_TILE: usize = 64 * 1024;

impl Schedule {
    /// Checks that kernels of this schedule compute the reduction on the device.
    ///
    /// # Errors
    /// The reason why they do not.
    pub fn validate(&self, device: &Device, problem: &Problem) -> Result<(), String> {
        self.validate_registers(device)?;
        match self {
            Self::Alone(own) => own.validate(device, problem),
            Self::Tiled(own) => own.validate(device, problem),
            Self::Matrices(own) => own.validate(device, problem),
            Self::Symmetric(own) => own.validate(device, problem),
        }
    }

    fn validate_registers(&self, device: &Device) -> Result<(), String> {
        let Registers { lanes, columns } = self.registers();
        let most = match device.cores {
            Some(_) => CPU_LANES,
            None => GPU_LANES,
        };
        if !lanes.is_power_of_two() || lanes > most {
            return Err(format!("{lanes} lanes are no power of two up to {most}"));
        }
        if columns == 0 || columns > LOOP_COLUMNS {
            return Err(format!(
                "{columns} columns are evaluated together, not 1 to {LOOP_COLUMNS}"
            ));
        }
        let block = self.block();
        if block == 0 || block > MOST_BLOCK || !block.is_multiple_of(columns) {
            return Err(format!(
                "{block} columns of a block are no multiple of {columns} up to {MOST_BLOCK}"
            ));
        }
        Ok(())
    }

    /// Refuses a tile that does not fit where it is kept: a shared tile in the shared memory, the tile of a unit on
    /// its stack.
    fn validate_tile(&self, device: &Device, problem: &Problem) -> Result<(), String> {
        let most = match device.cores {
            Some(_) => device.shared_memory.max(CPU_TILE),
            None => device.shared_memory,
        };
        let size = problem.precision.computed().size();
        match self.tile_len(problem.program) * size {
            bytes if bytes > most => Err(format!("a tile of {bytes} bytes, {most} are there")),
            _ => Ok(()),
        }
    }

    fn validate_wide_loads(&self, device: &Device, problem: &Problem) -> Result<(), String> {
        let bytes = LOADED_COLUMNS * problem.precision.computed().size();
        let possible =
            device.wide_loads && self.columns() == LOADED_COLUMNS && bytes <= device.load_width / 8;
        match self.wide_loads() && !possible {
            true => Err(format!(
                "the device does not load {bytes} bytes of a tile at once"
            )),
            false => Ok(()),
        }
    }
}

impl Alone {
    fn validate(&self, device: &Device, problem: &Problem) -> Result<(), String> {
        let schedule = Schedule::Alone(*self);
        // A block cannot be shorter than the columns that are evaluated together, so its tile is allowed whatever
        // it takes.
        if self.block > self.registers.columns {
            schedule.validate_tile(device, problem)?;
        }
        match self.ahead {
            Some(0) => Err("a bound of every 0th column".into()),
            Some(_) if !alone::can_bound(device, problem, self) => {
                Err("nothing is bounded beforehand".into())
            }
            _ => Ok(()),
        }
    }
}

impl Tiled {
    fn validate(&self, device: &Device, problem: &Problem) -> Result<(), String> {
        let schedule = Schedule::Tiled(*self);
        if problem.program.column.slots == 0 {
            return Err("the formula reads nothing of the columns".into());
        }
        schedule.validate_tile(device, problem)?;
        schedule.validate_wide_loads(device, problem)?;
        match self.scaled && !(device.scales && scalable(problem)) {
            true => Err("coordinates are not scaled beforehand".into()),
            false => Ok(()),
        }
    }
}

impl Matrices {
    fn validate(&self, device: &Device, problem: &Problem) -> Result<(), String> {
        let schedule = Schedule::Matrices(Box::new(self.clone()));
        if problem.ranges.is_some() {
            return Err("matrix instructions take all columns".into());
        }
        let product = matrices::product(device, problem);
        if self.product.is_none() && self.weighted.is_none() {
            return Err("matrix instructions compute nothing".into());
        }
        if self.product.is_some() && self.product != product {
            return Err(format!("their product is {product:?}"));
        }
        let weighted = matrices::weighted(device, problem, self.product);
        if self.weighted.is_some() && self.weighted != weighted {
            return Err(format!("their sum is {weighted:?}"));
        }
        let left_out = matrices::left_out(problem.program, self.product, self.weighted);
        if self.left_out != left_out {
            return Err(format!("only they read {left_out:?}"));
        }
        if !self.is_whole(self.block) || self.weighted.is_some_and(|own| self.block > own.run()) {
            return Err(format!("{} columns do not fill instructions", self.block));
        }
        let (bytes, most) = (self.bytes(problem, self.block), device.shared_memory);
        if bytes > most {
            return Err(format!("tiles of {bytes} bytes, {most} are there"));
        }
        schedule.validate_wide_loads(device, problem)
    }
}

impl Strips {
    fn validate(&self, device: &Device, problem: &Problem) -> Result<(), String> {
        let Some(form) = problem.symmetric else {
            return Err("the formula has no symmetric form".into());
        };
        if device.cores.is_none() {
            return Err("only units of a CPU take strips".into());
        }
        symmetric::possible(device, form, problem)?;
        if self.block > self.registers.columns {
            Schedule::Symmetric(*self).validate_tile(device, problem)?;
        }
        let whole = symmetric::lcm(self.block, self.registers.lanes);
        match self.rows == 0 || !self.rows.is_multiple_of(whole) {
            true => Err(format!(
                "{} rows of a strip are no multiple of {whole}",
                self.rows
            )),
            false => Ok(()),
        }
    }
}
