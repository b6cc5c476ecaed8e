//! A kernel variant: everything about a kernel that is fixed when it is compiled, beside its program.

use super::schedule::Schedule;
use crate::{
    math::{Math, Precision},
    program::{InnerProduct, Space, WeightedSum},
    reduction::{Accumulation, ReductionKind, Spec},
};

/// Everything about a kernel that is fixed when it is compiled, beside its program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Blueprint {
    /// The reduction.
    pub spec: Spec,
    /// The type of operands.
    pub stored: Precision,
    /// The type of values of the result.
    pub written: Precision,
    /// How functions are evaluated.
    pub math: Math,
    /// Units of a cube.
    pub units: usize,
    /// How pairs are divided among units.
    pub schedule: Schedule,
    /// Whether columns are split into parts, so that partial results are written.
    pub partial: bool,
    /// Which columns the kernel takes.
    pub columns: ColumnSource,
    /// Whether there are limits of what is to be found in each row.
    pub limited: bool,
    /// Whether rows come in another order than that of their indices, in which they are written.
    pub unordered_rows: bool,
    /// Whether rows are added up, so that the output has fewer.
    pub folded: bool,
    /// Number of batch dimensions.
    pub batch_rank: usize,
    /// How each tensor lies in memory.
    pub packing: Vec<Packing>,
}

impl Blueprint {
    /// The part of the reduction that units do by themselves: without what matrix instructions sum up.
    pub fn narrow(&self) -> Spec {
        match self.schedule.weighted() {
            Some(_) => Spec {
                dim: 1,
                ..self.spec
            },
            None => self.spec,
        }
    }

    /// What is done with the reductions of the rows that a lane takes. There may be any number of them,
    /// and to compensate their sum costs little next to their columns.
    pub fn total(&self) -> Spec {
        let kind = match self.spec.kind {
            ReductionKind::Sum(Accumulation::Blocks) if self.folded => {
                ReductionKind::Sum(Accumulation::Kahan)
            }
            kind => kind,
        };
        Spec { kind, ..self.spec }
    }

    /// Which buffer of ranges has the limits. The first one has the tasks and the ranges, and the second one the indices
    /// of columns that come in another order, where these are kept.
    pub fn limits(&self) -> usize {
        1 + usize::from(self.spec.unordered)
    }

    /// Which has the indices of rows that come in another order.
    pub fn indices_of_rows(&self) -> usize {
        self.limits() + usize::from(self.limited)
    }

    /// Whether the kernel writes indices.
    pub fn writes_indices(&self) -> bool {
        match self.partial {
            true => self.spec.keeps_indices(),
            false => self.spec.wanted.indices,
        }
    }

    /// How many of the first `before` tensors have a value for each pair.
    pub fn tensors_of_pairs(&self, before: usize) -> usize {
        let of_pairs = |packing: &&Packing| **packing == Packing::Pairs;
        self.packing[..before].iter().filter(of_pairs).count()
    }

    /// What the kernels that merge its parts have in common with it.
    pub fn merging(&self) -> MergeBlueprint {
        MergeBlueprint {
            spec: self.spec,
            math: self.math,
            written: self.written,
        }
    }
}

/// Which columns a kernel takes for its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ColumnSource {
    /// All of them.
    All,
    /// Consecutive ones that start anywhere, as do the parts that are written.
    Placed,
    /// Those in ranges. Tasks say which rows and ranges a worker has.
    Ranges,
}

/// Everything about a kernel that merges parts that is fixed when it is compiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MergeBlueprint {
    /// The reduction.
    pub spec: Spec,
    /// How functions are evaluated.
    pub math: Math,
    /// The type of values of the result.
    pub written: Precision,
}

/// How the rows of a tensor lie in memory. Strides that are known take neither registers nor instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Packing {
    /// Rows and components have strides.
    Strided,
    /// Components are adjacent.
    Adjacent,
    /// Rows are, too.
    Packed {
        /// The components of a row.
        dim: usize,
    },
    /// There is a row for each pair. Rows, columns and components have strides.
    Pairs,
}

/// Consecutive column slots in the tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagedRange {
    /// The first of them.
    pub slot: usize,
    /// How many.
    pub len: usize,
    /// Where the first one stands among all that are staged.
    pub place: usize,
}

/// How an inner product is computed for all pairs of a cube's rows and a block of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatrixProduct {
    /// The inner product.
    pub product: InnerProduct,
    /// Columns of the formula, rows of the formula and components that one instruction multiplies.
    pub shape: [usize; 3],
    /// Units that execute an instruction together.
    pub plane: usize,
    /// Whether loops stand for the instruction.
    pub emulated: bool,
    /// Rows of a cube.
    pub rows: usize,
    /// Type of the operands.
    pub stored: Precision,
}

/// Components of an operand that fill no slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeftOut {
    /// The stage that would load them.
    pub space: Space,
    /// The first slot.
    pub slot: usize,
    /// How many.
    pub len: usize,
}

impl MatrixProduct {
    /// Alignment of what instructions read and write, in bytes, as NVIDIA's need it.
    pub const ALIGNMENT: usize = 32;

    /// Into how many numbers an operand is split.
    pub fn pieces(&self) -> usize {
        match self.stored {
            Precision::F32 => 2,
            _ => 1,
        }
    }

    /// Whether the points are moved to their mean.
    pub fn centered(&self) -> bool {
        self.product.distance && self.pieces() > 1
    }

    /// Components with those that fill the last instruction.
    pub fn padded(&self) -> usize {
        self.product.len.next_multiple_of(self.shape[2])
    }

    /// From one row or column to the next in a tile of factors. All at a multiple of the banks of shared
    /// memory would be read one after the other.
    pub fn stride(&self) -> usize {
        self.padded() + Self::ALIGNMENT / self.stored.size()
    }

    /// From one column to the next in the tile of products.
    pub fn product_stride(&self) -> usize {
        self.rows + Self::ALIGNMENT / self.stored.computed().size()
    }

    /// Shared memory for blocks of `block` columns, in bytes.
    pub fn bytes(&self, block: usize) -> usize {
        let factors = self.pieces() * self.stride() * (self.rows + block) * self.stored.size();
        // What has no use counts, too.
        let others = 4;
        let norms = block + self.rows + self.product.len + others;
        factors + (block * self.product_stride() + norms) * self.stored.computed().size()
    }
}

/// How sums over a block of columns are computed for all rows of a cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightedProduct {
    /// The sums.
    pub sum: WeightedSum,
    /// Components, rows of the formula and columns of the formula that one instruction multiplies.
    pub shape: [usize; 3],
    /// Units that execute an instruction together.
    pub plane: usize,
    /// Whether loops stand for the instruction.
    pub emulated: bool,
    /// Rows of a cube.
    pub rows: usize,
    /// Type of the operands.
    pub stored: Precision,
    /// Whether weights take the places of inner products that matrix instructions have computed.
    pub in_place: bool,
    /// Whether components are moved by what the inner product moves them by.
    pub centered: bool,
}

impl WeightedProduct {
    /// The most columns that instructions add up, as each may cut off the last bit of the sum: so many
    /// add up to a relative error below 1e-5. Differences are those of sums that may be three times as large.
    pub fn run(&self) -> usize {
        match self.sum.row {
            Some(_) => 64,
            None => 128,
        }
    }

    /// Into how many numbers a weight or component is split.
    pub fn pieces(&self) -> usize {
        match self.stored {
            Precision::F32 => 2,
            _ => 1,
        }
    }

    /// Components with those that fill the last instruction.
    pub fn padded(&self) -> usize {
        self.sum.len.next_multiple_of(self.shape[0])
    }

    /// From one column to the next in the tile of components. All at a multiple of the banks of shared
    /// memory would be read one after the other.
    pub fn column_stride(&self) -> usize {
        self.padded() + MatrixProduct::ALIGNMENT / self.stored.computed().size()
    }

    /// From one column to the next in the tiles of weights, and from one component to the next in that of
    /// sums.
    pub fn stride(&self) -> usize {
        self.rows + MatrixProduct::ALIGNMENT / self.stored.computed().size()
    }

    /// Shared memory for blocks of `block` columns, in bytes.
    pub fn bytes(&self, block: usize) -> usize {
        let tiles = match self.in_place {
            true => self.pieces() - 1,
            false => self.pieces(),
        };
        let weights = tiles.max(1) * block * self.stride();
        let columns = self.pieces() * block * self.column_stride();
        // Flags and what has no use count, too.
        let others = 4;
        let values = weights + columns + self.padded() * self.stride() + others;
        values * self.stored.computed().size()
    }
}

/// How values lie in the tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileStrides {
    /// From one slot to the next.
    pub slot: usize,
    /// From one column to the next.
    pub column: usize,
}
