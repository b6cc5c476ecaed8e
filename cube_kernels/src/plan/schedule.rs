//! Schedules: the ways in which the pairs of rows and columns are divided among units.

use super::blueprint::{LeftOut, MatrixProduct, StagedRange, TileStrides, WeightedProduct};
use crate::program::{LOADED_COLUMNS, Load, Program, Space};

/// How the pairs of rows and columns are divided among units, and where values are kept meanwhile.
///
/// A schedule that [`validate`](Self::validate) accepts gives the right result. Which one is chosen affects only
/// the time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Schedule {
    /// Each unit reads columns for itself.
    Alone(Alone),
    /// The units of a cube share a tile of columns.
    Tiled(Tiled),
    /// The units of a cube share a tile of columns, and matrix instructions do a part of the work.
    Matrices(Box<Matrices>),
    /// Each pair is evaluated once, for its row and its column.
    Symmetric(Strips),
}

/// The rows and columns whose pairs a unit evaluates together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Registers {
    /// Rows, one for each lane of a vector.
    pub lanes: usize,
    /// Columns. A value that is loaded for a row serves all of them.
    pub columns: usize,
}

/// Each unit reads columns for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alone {
    /// The rows and columns that a unit evaluates together.
    pub registers: Registers,
    /// Columns of a block: of an uninterrupted partial sum, and of the columns whose slots are filled before their
    /// pairs.
    pub block: usize,
    /// Whether components of columns are read from the operands for each pair. If not, they are copied to the tile
    /// and converted once a block.
    pub in_place: bool,
    /// One in this many columns is evaluated before the reduction, to give a bound of lists of smallest values.
    /// `None` if there is no such bound.
    pub ahead: Option<usize>,
}

/// The units of a cube share a tile of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tiled {
    /// The rows and columns that a unit evaluates together.
    pub registers: Registers,
    /// Columns of the tile, and of an uninterrupted partial sum.
    pub block: usize,
    /// Whether the tile is read as vectors of columns.
    pub wide_loads: bool,
    /// Whether coordinates are scaled before pairs are evaluated, for points for which that is exact enough.
    pub scaled: bool,
}

/// Matrix instructions do a part of the work. A unit has one row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Matrices {
    /// Columns of the tile, and of an uninterrupted partial sum.
    pub block: usize,
    /// Whether the tile is read as vectors of columns.
    pub wide_loads: bool,
    /// The inner product that matrix instructions compute, if they compute one.
    pub product: Option<MatrixProduct>,
    /// The sums over columns that matrix instructions compute, if they compute any.
    pub weighted: Option<WeightedProduct>,
    /// The components of rows and columns that neither registers nor the tile hold, because only matrix
    /// instructions read them. For pairs for which these are not exact enough, a unit reads them from the operands.
    pub left_out: Vec<LeftOut>,
}

/// Each pair is evaluated once, for its row and its column. A unit takes strips of rows, with their columns from
/// the diagonal on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Strips {
    /// The rows and columns that a unit evaluates together.
    pub registers: Registers,
    /// Columns of a block.
    pub block: usize,
    /// Whether components of columns are read from the operands for each pair.
    pub in_place: bool,
    /// Rows of a strip.
    pub rows: usize,
}

impl Matrices {
    /// The rows and columns that a unit evaluates together. The inner products of its one row come from a tile.
    pub const REGISTERS: Registers = Registers {
        lanes: 1,
        columns: LOADED_COLUMNS,
    };
}

impl Schedule {
    /// The rows and columns that a unit evaluates together.
    pub fn registers(&self) -> Registers {
        match self {
            Self::Alone(own) => own.registers,
            Self::Tiled(own) => own.registers,
            Self::Matrices(_) => Matrices::REGISTERS,
            Self::Symmetric(own) => own.registers,
        }
    }

    /// Rows of a unit.
    pub fn lanes(&self) -> usize {
        self.registers().lanes
    }

    /// Columns that are evaluated together.
    pub fn columns(&self) -> usize {
        self.registers().columns
    }

    /// Columns of a block: of a tile, and of an uninterrupted partial sum.
    pub fn block(&self) -> usize {
        match self {
            Self::Alone(own) => own.block,
            Self::Tiled(own) => own.block,
            Self::Matrices(own) => own.block,
            Self::Symmetric(own) => own.block,
        }
    }

    /// The same schedule with blocks of `block` columns.
    pub fn with_block(self, block: usize) -> Self {
        match self {
            Self::Alone(own) => Self::Alone(Alone { block, ..own }),
            Self::Tiled(own) => Self::Tiled(Tiled { block, ..own }),
            Self::Matrices(own) => Self::Matrices(Box::new(Matrices { block, ..*own })),
            Self::Symmetric(own) => Self::Symmetric(Strips { block, ..own }),
        }
    }

    /// Whether the units of a cube share a tile of columns. If not, each unit fills the slots of columns for
    /// itself.
    pub fn shared_tile(&self) -> bool {
        matches!(self, Self::Tiled(_) | Self::Matrices(_))
    }

    /// Whether a shared tile is read as vectors of columns.
    pub fn wide_loads(&self) -> bool {
        match self {
            Self::Tiled(own) => own.wide_loads,
            Self::Matrices(own) => own.wide_loads,
            Self::Alone(_) | Self::Symmetric(_) => false,
        }
    }

    /// Whether columns are read from the operands, and only what is computed from them is staged in
    /// the tile.
    pub fn in_place(&self) -> bool {
        match self {
            Self::Alone(own) => own.in_place,
            Self::Symmetric(own) => own.in_place,
            Self::Tiled(_) | Self::Matrices(_) => false,
        }
    }

    /// The inner product that matrix instructions compute, if they compute one.
    pub fn matrix(&self) -> Option<MatrixProduct> {
        match self {
            Self::Matrices(own) => own.product,
            _ => None,
        }
    }

    /// The sums over columns that matrix instructions compute, if they compute any.
    pub fn weighted(&self) -> Option<WeightedProduct> {
        match self {
            Self::Matrices(own) => own.weighted,
            _ => None,
        }
    }

    /// The components that neither registers nor the tile hold.
    pub fn left_out(&self) -> &[LeftOut] {
        match self {
            Self::Matrices(own) => &own.left_out,
            _ => &[],
        }
    }

    /// Whether coordinates are scaled before pairs are evaluated, for points for which that is exact enough.
    pub fn scaled(&self) -> bool {
        matches!(self, Self::Tiled(own) if own.scaled)
    }

    /// One in this many columns is evaluated before the reduction, to give a bound of lists of smallest values.
    /// `None` if there is no such bound.
    pub fn ahead(&self) -> Option<usize> {
        match self {
            Self::Alone(own) => own.ahead,
            _ => None,
        }
    }

    /// Rows of a strip, if the schedule is [`Symmetric`](Self::Symmetric).
    pub fn strip(&self) -> Option<usize> {
        match self {
            Self::Symmetric(own) => Some(own.rows),
            _ => None,
        }
    }

    /// Rows of a worker: of a cube that shares a tile, or of a single unit.
    pub fn rows(&self, units: usize) -> usize {
        match self.shared_tile() {
            true => self.lanes() * units,
            false => self.lanes(),
        }
    }
}

/// The column slots that go through the tile.
impl Schedule {
    /// The first column slot that goes through the tile.
    pub fn first_staged_slot(&self, program: &Program) -> usize {
        if self.in_place() {
            program.column.loaded
        } else {
            0
        }
    }

    /// The column slots that go through the tile, in the order in which they stand there.
    pub fn staged_ranges(&self, program: &Program) -> Vec<StagedRange> {
        let first = self.first_staged_slot(program);
        let columns = self
            .left_out()
            .iter()
            .filter(|out| out.space == Space::Column);
        let mut gaps: Vec<(usize, usize)> =
            columns.map(|out| (out.slot, out.slot + out.len)).collect();
        gaps.sort_unstable();
        let mut ranges = Vec::new();
        let mut place = 0;
        for read in program.pair_reads(Space::Column) {
            let mut slot = read.start.max(first);
            for (gap, behind) in gaps.iter().copied().chain([(read.end, read.end)]) {
                let len = gap.min(read.end).saturating_sub(slot);
                if len > 0 {
                    ranges.push(StagedRange { slot, len, place });
                }
                place += len;
                slot = slot.max(behind);
            }
        }
        ranges
    }

    /// Whether something is staged or computed for each block of columns before its pairs.
    pub fn reads_blocks(&self, program: &Program) -> bool {
        self.staged(program) > 0 || self.matrix().is_some() || self.weighted().is_some()
    }

    /// Number of column slots that go through the tile.
    pub fn staged(&self, program: &Program) -> usize {
        let ranges = self.staged_ranges(program);
        ranges.iter().map(|range| range.len).sum()
    }

    /// Where column slot `slot` stands among those that go through the tile, if it does.
    pub fn place(&self, program: &Program, slot: usize) -> Option<usize> {
        let ranges = self.staged_ranges(program).into_iter();
        let mut own = ranges.filter(|range| (range.slot..range.slot + range.len).contains(&slot));
        own.next().map(|range| range.place + slot - range.slot)
    }

    /// The copies that fill slots of `stage`, without the slots that are left out.
    pub fn loads(&self, program: &Program, stage: Space) -> Vec<Load> {
        let loads = program.stage(stage).loads.iter().copied();
        loads
            .filter(|load| !self.leaves_out(stage, load.slot))
            .collect()
    }

    /// Whether slot `slot` of `space` is left out: nothing fills it.
    pub fn leaves_out(&self, space: Space, slot: usize) -> bool {
        let mut own = self.left_out().iter().filter(|out| out.space == space);
        own.any(|out| (out.slot..out.slot + out.len).contains(&slot))
    }

    /// The distances between slots and between columns in the tile. In a shared tile columns are next to each
    /// other, so that a unit reads several at once.
    pub fn tile_strides(&self, program: &Program) -> TileStrides {
        if self.shared_tile() {
            TileStrides {
                slot: self.block(),
                column: 1,
            }
        } else {
            TileStrides {
                slot: 1,
                column: self.staged(program),
            }
        }
    }

    /// Values in the tile.
    pub fn tile_len(&self, program: &Program) -> usize {
        self.block() * self.most_staged(program)
    }

    /// The most column slots that go through the tile in any form of the formula.
    pub fn most_staged(&self, program: &Program) -> usize {
        let scaled = program.scaled.as_ref().filter(|_| self.scaled());
        let scaled = scaled.map_or(0, |scaled| self.staged(&scaled.program));
        self.staged(program).max(scaled)
    }
}
