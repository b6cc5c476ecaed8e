//! A formula lowered to straight-line code, from which kernels are generated.
//!
//! ```text
//! uniform  parameters and what follows from them      once a unit
//! row      operands of the output axis                once a row
//! column   operands of the reduced axis               once a column (of a tile)
//! pair     everything else                            once a pair
//! ```
//!
//! Each of the first three stages fills numbered *slots* that later stages read. Short inner axes
//! are unrolled; long ones are loops whose body reads `slot + k`.

mod builder;
mod display;
mod inner_product;
mod loops;
mod lower;
mod operands;
mod scaled;
mod symmetric;
mod weighted_sum;
mod work;

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    ops::Range,
    sync::Arc,
};

pub use crate::formula::Bits;
pub use inner_product::{Factor, InnerProduct, Scale};
pub(crate) use loops::{looped, sums, unrolled};
pub use lower::UNROLL;
pub(crate) use operands::Extent;
pub use scaled::{REACH, Scaled};
pub use symmetric::Symmetric;
pub use weighted_sum::{WeightedSum, Weights};

use crate::{formula::catalogue::ScalarOp, math::Argument};

/// The largest number of columns that a unit evaluates together.
pub const LOOP_COLUMNS: usize = 14;

/// Columns of a shared tile that are read at once.
pub const LOADED_COLUMNS: usize = 4;

/// The number of a value within one stage.
pub type Register = usize;

/// The stage in which a value is computed. Stages run in the order of the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// Computed once.
    Uniform,
    /// Computed once for each row of the output.
    Row,
    /// Computed once for each reduced column.
    Column,
    /// Computed once for each pair.
    Pair,
}

impl Space {
    /// Number of dimensions of a tensor of this space, without its batch dimensions.
    pub fn dimensions(self) -> usize {
        match self {
            Space::Uniform => 1,
            Space::Row | Space::Column => 2,
            Space::Pair => 3,
        }
    }
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Instruction {
    /// A constant.
    Const(Bits),
    /// Slot `slot`, or slot `slot + k` of a loop over `k` if `looped`.
    Load {
        /// The space of the slot.
        space: Space,
        /// The slot, the first one in a loop.
        slot: usize,
        /// Whether the loop counter is added.
        looped: bool,
    },
    /// The index of the row minus the index of the column, or the opposite if `negated`.
    Offset {
        /// Whether the column comes first.
        negated: bool,
    },
    /// Component `component` of a tensor that has a value for each pair, or component `component + k` of a loop over
    /// `k` if `looped`.
    Entry {
        /// The position of the tensor among the tensors.
        tensor: usize,
        /// The component, the first one in a loop.
        component: usize,
        /// Whether the loop counter is added.
        looped: bool,
    },
    /// The counter of the loop, plus `offset`.
    Counter {
        /// What is added.
        offset: usize,
    },
    /// A scalar function.
    Apply {
        /// The function.
        op: ScalarOp,
        /// The arguments. Functions of fewer than three arguments repeat the last one.
        args: [Register; 3],
        /// What is known of the first argument.
        argument: Argument,
    },
    /// `a * b + c`, or `c - a * b` if `negated`.
    Fma {
        /// The factors and the summand.
        args: [Register; 3],
        /// Whether the product is subtracted.
        negated: bool,
    },
}

/// A value that is added to another one. A product is kept as its two factors, so that the multiplication can be fused
/// with the addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Term {
    /// A value.
    Value(Register),
    /// A product.
    Product {
        /// The factors.
        args: [Register; 2],
        /// Whether the product is subtracted.
        negated: bool,
    },
}

/// Instructions of a loop body or of a stage.
pub type Code = Vec<(Register, Instruction)>;

/// A step of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// A register gets a value.
    Let(Register, Instruction),
    /// A register gets the sum of a term over `k < len`, or the fold of the term by another function.
    Sum {
        /// The result.
        register: Register,
        /// The terms.
        terms: Loop,
        /// The function of two values to fold by instead of the sum, and the register that the fold starts from.
        fold: Option<(ScalarOp, Register)>,
    },
    /// Slot or output `base + k` gets a term, for `k < len`.
    Store {
        /// The first slot or output.
        base: usize,
        /// The values. A single one is not computed in the loop but by earlier items.
        terms: Loop,
    },
}

/// A term for each `k < len`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Loop {
    /// Number of terms.
    pub len: usize,
    /// What is computed for each `k`.
    pub body: Code,
    /// The term.
    pub term: Term,
}

/// What slots are filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Components of the tensor at this position among the tensors.
    Tensor(usize),
    /// The scalar at this position among the run-time scalars.
    Scalar(usize),
    /// The index of the row or column.
    Index,
}

/// Consecutive slots copied from consecutive components of an operand, or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Load {
    /// The first slot.
    pub slot: usize,
    /// Number of slots.
    pub len: usize,
    /// What is copied.
    pub source: Source,
    /// The first component.
    pub offset: usize,
}

/// The slots of one space and how they are filled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stage {
    /// Number of slots that are copied from operands; they come first.
    pub loaded: usize,
    /// Number of all slots.
    pub slots: usize,
    /// The copies.
    pub loads: Vec<Load>,
    /// The computation of the other slots, in order.
    pub items: Vec<Item>,
}

impl Stage {
    /// Number of slots that are computed.
    pub fn computed(&self) -> usize {
        self.slots - self.loaded
    }

    /// The copy that fills `slot`, if the slot is copied and not computed.
    pub fn load_of(&self, slot: usize) -> Option<&Load> {
        self.loads
            .iter()
            .find(|load| (load.slot..load.slot + load.len).contains(&slot))
    }
}

/// A lowered formula with the direction of its reduction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listing {
    /// The space of each tensor operand.
    pub tensors: Vec<Space>,
    /// Whether the columns of a tensor of pairs come before its rows: `[batch.., N, M, D]` for M rows and N columns.
    pub columns_first: bool,
    /// Number of run-time scalars.
    pub scalars: usize,
    /// What is computed from parameters.
    pub uniform: Stage,
    /// What is computed from a row.
    pub row: Stage,
    /// What is computed from a column.
    pub column: Stage,
    /// What is computed for a pair; it stores the components of the formula.
    pub pair: Vec<Item>,
    /// Number of components of the formula.
    pub dim: usize,
    /// The scaled form of the formula for points near 0, if a pair takes fewer instructions in this form.
    pub scaled: Option<Scaled>,
}

/// A shared [`Listing`] with a digest, so that hashing it for each launch is cheap.
#[derive(Clone, Debug)]
pub struct Program {
    code: Arc<Listing>,
    digest: u128,
}

impl Program {
    fn new(code: Listing) -> Self {
        let digest = crate::formula::expr::digest(|h| code.hash(h));
        Self {
            code: Arc::new(code),
            digest,
        }
    }
}

impl std::ops::Deref for Program {
    type Target = Listing;

    fn deref(&self) -> &Listing {
        &self.code
    }
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
            && (Arc::ptr_eq(&self.code, &other.code) || self.code == other.code)
    }
}

impl Eq for Program {}

impl Hash for Program {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.digest.hash(state)
    }
}

impl Listing {
    /// The stage that fills the slots of `space`.
    ///
    /// # Panics
    /// For [`Space::Pair`], which has no slots.
    pub fn stage(&self, space: Space) -> &Stage {
        match space {
            Space::Uniform => &self.uniform,
            Space::Row => &self.row,
            Space::Column => &self.column,
            Space::Pair => unreachable!("pairs have no slots"),
        }
    }

    /// The slots of `space` that a pair reads, as ascending ranges that do not touch.
    pub fn pair_reads(&self, space: Space) -> Vec<Range<usize>> {
        let slots = self.pair.iter().flat_map(|item| item.reads(space));
        let mut slots: Vec<_> = slots.collect();
        slots.sort_unstable_by_key(|slots| slots.start);
        let mut apart: Vec<Range<usize>> = Vec::new();
        for slots in slots {
            match apart.last_mut() {
                Some(last) if slots.start <= last.end => last.end = last.end.max(slots.end),
                _ => apart.push(slots),
            }
        }
        apart
    }

    /// Whether the code of a pair has a loop over an inner axis.
    pub fn looped(&self) -> bool {
        self.pair.iter().any(|item| match item {
            Item::Let(..) => false,
            Item::Sum { .. } => true,
            Item::Store { terms, .. } => terms.len > 1,
        })
    }

    /// About how many processor instructions it takes to evaluate a pair.
    pub fn pair_work(&self) -> usize {
        let items = self.pair.iter().map(|item| match item {
            Item::Let(_, instruction) => instruction.work(),
            Item::Sum { terms, .. } | Item::Store { terms, .. } => terms.work(),
        });
        items.sum()
    }

    /// Whether the code of a pair is so long that compilers need a long time for it as one piece. A loop counts as the
    /// length of its body.
    pub fn is_long(&self) -> bool {
        self.pair_length() > PIECE
    }

    /// About how many instructions the code of a pair has.
    pub fn pair_length(&self) -> usize {
        self.pair.iter().map(Item::length).sum()
    }

    /// The items of a [long](Self::is_long) pair in pieces that are compiled separately; empty for other pairs.
    ///
    /// The time that CubeCL takes for a piece grows with the square of its length.
    pub fn pieces(&self) -> Vec<Piece> {
        if !self.is_long() {
            return Vec::new();
        }
        let (mut ranges, mut start, mut length) = (Vec::new(), 0, 0);
        for (e, item) in self.pair.iter().enumerate() {
            let stores = |item: &Item| matches!(item, Item::Store { .. });
            length += item.length();
            let next = self.pair.get(e + 1);
            if length >= PIECE || next.is_none_or(stores) || stores(item) {
                ranges.push(start..e + 1);
                (start, length) = (e + 1, 0);
            }
        }
        self.cut(ranges)
    }

    /// The pieces with these ranges of items, and the registers that are passed from one piece to later ones.
    fn cut(&self, ranges: Vec<Range<usize>>) -> Vec<Piece> {
        // The piece and the item that fill each register.
        let mut filled: HashMap<Register, (usize, usize)> = HashMap::new();
        let mut taken: Vec<Vec<Register>> = Vec::new();
        let mut kept: Vec<Vec<Register>> = Vec::new();
        let mut last: HashMap<Register, usize> = HashMap::new();
        let mut pieces: Vec<Piece> = Vec::new();
        for (at, own) in ranges.into_iter().enumerate() {
            let stores = matches!(self.pair[own.start], Item::Store { .. });
            let mut piece = Piece {
                stores,
                ..Piece::default()
            };
            let mut seen: HashSet<Register> = HashSet::new();
            taken.push(Vec::new());
            kept.push(Vec::new());
            for e in own.clone() {
                for register in self.pair[e].registers() {
                    // Registers that the body of a loop fills and reads itself are not in `filled`.
                    let Some(&(from, item)) = filled.get(&register) else {
                        continue;
                    };
                    if from == at || !seen.insert(register) {
                        continue;
                    }
                    if self.pair[item].is_free() {
                        piece.items.push(item);
                        continue;
                    }
                    taken[at].push(register);
                    if last.insert(register, at).is_none() {
                        kept[from].push(register);
                    }
                }
                filled.extend(self.pair[e].filled().map(|register| (register, (at, e))));
            }
            piece.items.extend(own);
            pieces.push(piece);
        }

        // A place is free for another value once its own value has been read for the last time.
        let mut places: HashMap<Register, usize> = HashMap::new();
        let (mut free, mut next): (Vec<usize>, usize) = (Vec::new(), 0);
        for (at, piece) in pieces.iter_mut().enumerate() {
            piece.taken = taken[at]
                .iter()
                .map(|register| (*register, places[register]))
                .collect();
            let over = piece
                .taken
                .iter()
                .filter(|(register, _)| last[register] == at);
            free.extend(over.map(|(_, place)| *place));
            for register in &kept[at] {
                let place = free.pop().unwrap_or_else(|| {
                    next += 1;
                    next - 1
                });
                places.insert(*register, place);
                piece.kept.push((*register, place));
            }
        }
        pieces
    }

    /// Number of instructions for one pair. The body of a loop counts once for each iteration.
    pub fn pair_cost(&self) -> usize {
        self.pair
            .iter()
            .map(|item| match item {
                Item::Let(..) => 1,
                Item::Sum { terms, .. } | Item::Store { terms, .. } => {
                    terms.len * (terms.body.len() + 1)
                }
            })
            .sum()
    }
}

/// About how many instructions the code of a function has: a polynomial with the reduction of its argument and the
/// special cases of its result.
pub const FUNCTION: usize = 20;

/// About how many instructions are compiled as one piece: more than the pairs of usual formulas have. Shorter pieces
/// would have to pass more values to each other.
const PIECE: usize = 160;

/// Items of a pair that are compiled separately from the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// The items in the order in which they run: first loads and constants of earlier pieces that are repeated here,
    /// then the consecutive items of this piece.
    pub items: Vec<usize>,
    /// Whether the piece stores a result of the pair. A store is always a piece of its own.
    pub stores: bool,
    /// The registers that earlier pieces fill and this piece reads, with the places where they are kept.
    pub taken: Vec<(Register, usize)>,
    /// The registers that this piece fills and later pieces read, with the places where they are kept.
    pub kept: Vec<(Register, usize)>,
}
