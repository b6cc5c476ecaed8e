//! A kernel variant: everything about a kernel that is fixed when it is compiled, beside its program.

use super::schedule::Schedule;
use crate::{
    math::{Math, Precision},
    program::{InnerProduct, Space, WeightedSum},
    reduction::{Accumulation, ReductionKind, Rule, Spec},
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
    /// Whether the kernel reads upper limits of the values to be found in each row.
    pub limited: bool,
    /// Whether rows come in another order than that of their indices. They are written in the order of their
    /// indices.
    pub unordered_rows: bool,
    /// Whether rows are added up, so that the output has fewer rows.
    pub folded: bool,
    /// Number of batch dimensions.
    pub batch_rank: usize,
    /// How each tensor lies in memory.
    pub packing: Vec<Packing>,
}

impl Blueprint {
    /// The inner products of a kernel that computes them by matrix instructions.
    pub(crate) fn matrix(&self) -> MatrixProduct {
        self.schedule.matrix().expect("it is planned")
    }

    /// The sums over columns of a kernel that computes them by matrix instructions.
    pub(crate) fn weighted(&self) -> WeightedProduct {
        self.schedule.weighted().expect("it is planned")
    }

    /// What the states of the reduction `spec`, which is this one or a part of it, are told at compile time.
    pub(crate) fn rule(&self, spec: Spec) -> Rule {
        Rule {
            spec,
            math: self.math,
        }
    }

    /// The part of the reduction that units do by themselves, without the sums that matrix instructions compute.
    pub fn narrow(&self) -> Spec {
        match self.schedule.weighted() {
            Some(_) => Spec {
                dim: 1,
                ..self.spec
            },
            None => self.spec,
        }
    }

    /// The reduction that merges the results of the rows that a lane adds up. There may be any number of these
    /// rows. A compensated sum of their results costs little compared with the reduction of their columns. If no
    /// rows are added up, it is the reduction itself.
    pub fn total(&self) -> Spec {
        let kind = match self.spec.kind {
            ReductionKind::Sum(Accumulation::Blocks) if self.folded => {
                ReductionKind::Sum(Accumulation::Kahan)
            }
            kind => kind,
        };
        Spec { kind, ..self.spec }
    }

    /// The position of the limits among the buffers of ranges. The first buffer has the tasks and the ranges. The
    /// second one has the indices of columns, if these come in another order that the reduction must know.
    pub fn limits(&self) -> usize {
        1 + usize::from(self.spec.unordered)
    }

    /// The position among these buffers of the indices of rows that come in another order.
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

    /// The variant of the kernels that merge the parts of this kernel.
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
    /// All columns.
    All,
    /// Consecutive columns that start anywhere. The parts that are written start anywhere, too.
    Placed,
    /// The columns in ranges. Tasks say which rows and ranges a worker has.
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

/// How the rows of a tensor lie in memory. Strides that are known at compile time take neither registers nor
/// instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Packing {
    /// Rows and components have strides.
    Strided,
    /// Components are adjacent.
    Adjacent,
    /// Rows and components are adjacent.
    Packed {
        /// The components of a row.
        dim: usize,
    },
    /// The tensor has components for each pair. Rows, columns and components have strides.
    Pairs,
}

/// Consecutive column slots in the tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagedRange {
    /// The first slot.
    pub slot: usize,
    /// Number of slots.
    pub len: usize,
    /// The place of the first slot among all staged slots.
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
    /// Whether loops replace the instruction.
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
    /// Number of slots.
    pub len: usize,
}

impl MatrixProduct {
    /// Alignment in bytes of the tiles that instructions read and write, as NVIDIA's instructions need it.
    pub const ALIGNMENT: usize = 32;

    /// The number of pieces into which a component is split.
    pub fn pieces(&self) -> usize {
        match self.stored {
            Precision::F32 => 2,
            _ => 1,
        }
    }

    /// Whether the points are moved by the mean of the cube's rows.
    pub fn centered(&self) -> bool {
        self.product.distance && self.pieces() > 1
    }

    /// Number of components, rounded up to fill the last instruction.
    pub fn padded(&self) -> usize {
        self.product.len.next_multiple_of(self.shape[2])
    }

    /// The distance from one row or column to the next in a tile of factors. It includes padding: at a multiple of
    /// the number of banks of shared memory, they would be read one after the other.
    pub fn stride(&self) -> usize {
        self.padded() + Self::ALIGNMENT / self.stored.size()
    }

    /// The distance from one column to the next in the tile of products.
    pub fn product_stride(&self) -> usize {
        self.rows + Self::ALIGNMENT / self.stored.computed().size()
    }

    /// Shared memory for blocks of `block` columns, in bytes.
    pub fn bytes(&self, block: usize) -> usize {
        let factors = self.pieces() * self.stride() * (self.rows + block) * self.stored.size();
        // Arrays that are not used have a length of 1, and count, too.
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
    /// Whether loops replace the instruction.
    pub emulated: bool,
    /// Rows of a cube.
    pub rows: usize,
    /// Type of the operands.
    pub stored: Precision,
    /// Whether weights overwrite the inner products that matrix instructions have computed.
    pub in_place: bool,
    /// Whether components are moved by the mean of the cube's rows, as those of the inner product are.
    pub centered: bool,
}

impl WeightedProduct {
    /// The most columns that instructions add up in a run. Each instruction may cut off the last bit of the sum,
    /// and with this many columns the errors add up to a relative error below 1e-5. Differences have shorter runs,
    /// because they are computed from sums that may be three times as large.
    pub fn run(&self) -> usize {
        match self.sum.row {
            Some(_) => 64,
            None => 128,
        }
    }

    /// The number of pieces into which a weight or component is split.
    pub fn pieces(&self) -> usize {
        match self.stored {
            Precision::F32 => 2,
            _ => 1,
        }
    }

    /// Number of components, rounded up to fill the last instruction.
    pub fn padded(&self) -> usize {
        self.sum.len.next_multiple_of(self.shape[0])
    }

    /// The distance from one column to the next in the tile of components. It includes padding: at a multiple of
    /// the number of banks of shared memory, columns would be read one after the other.
    pub fn column_stride(&self) -> usize {
        self.padded() + MatrixProduct::ALIGNMENT / self.stored.computed().size()
    }

    /// The distance from one column to the next in the tiles of weights, and from one component to the next in the
    /// tile of sums.
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
        // Flags, and arrays of length 1 that are not used, count, too.
        let others = 4;
        let values = weights + columns + self.padded() * self.stride() + others;
        values * self.stored.computed().size()
    }
}

/// The distances between values in the tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileStrides {
    /// The distance from one slot to the next.
    pub slot: usize,
    /// The distance from one column to the next.
    pub column: usize,
}
