//! An axis that is prepared for bounds: its rows in an order, and the boxes of its blocks.

use std::sync::Arc;

use super::{boxes::Boxes, operands::Operands};
use crate::{
    formula::{Axis, Formula},
    host::HostError,
    math::Precision,
    ranges::{Blocked, check_order},
};

/// How an axis is cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blocks {
    /// The rows of a block.
    pub rows: usize,
    /// Blocks of a group. Bounds of whole groups are computed first. If they exclude all pairs of a group, no bounds
    /// are computed for its blocks.
    pub group: usize,
}

impl Blocks {
    /// For rows that are reduced on the processor of the host.
    pub const ROWS: Self = Self {
        rows: 16,
        group: 16,
    };

    /// For columns, and for rows that are reduced on graphics cards.
    pub const COLUMNS: Self = Self {
        rows: 64,
        group: 64,
    };
}

/// An axis of a formula: the order of its rows, and the least and largest values of its operands in blocks of rows.
#[derive(Clone, Debug)]
pub struct Arrangement {
    axis: Axis,
    formula: Formula,
    precision: Precision,
    size: usize,
    blocks: Blocks,
    order: Option<Arc<[u32]>>,
    boxes: [Boxes; 2],
}

/// Blocks, or groups of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Blocks = 0,
    Groups = 1,
}

/// Groups of rows with groups of columns.
pub(super) const GROUPS: [Level; 2] = [Level::Groups, Level::Groups];

/// Groups of rows with blocks of columns.
pub(super) const MIDDLE: [Level; 2] = [Level::Groups, Level::Blocks];

/// Blocks of rows with blocks of columns.
pub(super) const BLOCKS: [Level; 2] = [Level::Blocks, Level::Blocks];

impl Arrangement {
    /// Puts the rows into an order in which nearby rows share blocks. It goes by the operands that decide how far a
    /// row is from a column, and looks at eight components of these at most.
    ///
    /// Rows with such a component that is NaN or infinite come last.
    ///
    /// # Errors
    /// If the tensors do not fit the formula or have batches.
    ///
    /// # Panics
    /// If blocks or groups have no rows.
    pub fn sorted(operands: &Operands, blocks: Blocks) -> Result<Self, HostError> {
        operands.check()?;
        Self::new(operands, blocks, Some(operands.order()))
    }

    /// Leaves the rows in the order of their indices.
    ///
    /// # Errors
    /// As [`sorted`](Self::sorted).
    ///
    /// # Panics
    /// As [`sorted`](Self::sorted).
    pub fn in_place(operands: &Operands, blocks: Blocks) -> Result<Self, HostError> {
        Self::new(operands, blocks, None)
    }

    /// Puts the rows into an order that was made before, of these points or of others: `order` is the index of the row
    /// at each position. The order only makes a difference for speed.
    ///
    /// # Errors
    /// As [`sorted`](Self::sorted).
    ///
    /// # Panics
    /// If `order` does not hold each row once; and as [`sorted`](Self::sorted).
    pub fn in_order(
        operands: &Operands,
        blocks: Blocks,
        order: Arc<[u32]>,
    ) -> Result<Self, HostError> {
        assert!(
            check_order("rows", &order, operands.size).is_ok(),
            "an order holds each row once"
        );
        Self::new(operands, blocks, Some(order))
    }

    fn new(
        operands: &Operands,
        blocks: Blocks,
        order: Option<Arc<[u32]>>,
    ) -> Result<Self, HostError> {
        assert!(blocks.rows > 0 && blocks.group > 0, "blocks have rows");
        operands.check()?;
        let boxes = Boxes::new(operands, order.as_deref(), blocks.rows);
        let groups = boxes.grouped(blocks.group);
        Ok(Self {
            axis: operands.axis,
            formula: operands.formula.clone(),
            precision: operands.precision,
            size: operands.size,
            blocks,
            order,
            boxes: [boxes, groups],
        })
    }

    /// The index of the row at each position. `None` if rows are in the order of their indices.
    pub fn order(&self) -> Option<&Arc<[u32]>> {
        self.order.as_ref()
    }

    /// How many rows there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How the rows are cut into blocks.
    pub fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// The axis.
    pub fn axis(&self) -> Axis {
        self.axis
    }

    /// Whether these are operands of `formula` of type `precision`.
    pub(super) fn is_of(&self, formula: &Formula, precision: Precision) -> bool {
        self.formula == *formula && self.precision == precision
    }

    pub(super) fn boxes(&self, level: Level) -> &Boxes {
        &self.boxes[level as usize]
    }

    /// The rows in blocks.
    pub(super) fn rows(&self) -> Blocked {
        Blocked {
            size: self.size,
            block: self.blocks.rows,
        }
    }

    /// The rows in groups of blocks.
    pub(super) fn rows_in_groups(&self) -> Blocked {
        Blocked {
            size: self.size,
            block: self.blocks.rows * self.blocks.group,
        }
    }

    /// The blocks in groups.
    pub(super) fn groups(&self) -> Blocked {
        self.within(Level::Groups, Level::Blocks)
    }

    /// The blocks (or groups) of level `fine`, as an axis that is divided into those of level `coarse`, which may be
    /// the same level.
    pub(super) fn within(&self, coarse: Level, fine: Level) -> Blocked {
        Blocked {
            size: self.boxes(fine).count(),
            block: match coarse == fine {
                true => 1,
                false => self.blocks.group,
            },
        }
    }
}
