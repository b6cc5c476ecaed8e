//! The least and largest values in blocks of rows.

use std::ops::Range;

use super::{
    operands::{Operands, Side, Source},
    threads::map,
};
use crate::{
    host::HostSlice,
    math::{Precision, lane::Real},
};

/// Number of rows from which on several threads are worth it.
const PARALLEL: usize = 1 << 14;

/// Number of rows that are read at a time: few enough to stay in the first-level cache with all of their components.
const CHUNK: usize = 512;

/// The smallest and the largest values of what a formula reads on an axis, in each block of rows.
///
/// Both sides are NaN if a value of the block is NaN or infinite.
#[derive(Clone, Debug)]
pub(super) struct Boxes {
    /// The sources that have boxes, with their numbers of components.
    sources: Vec<(Source, usize)>,
    planes: AnyPlanes,
}

/// Planes of the type in which formulas are computed.
#[derive(Clone, Debug)]
enum AnyPlanes {
    Single(Planes<f32>),
    Double(Planes<f64>),
}

/// Planes one after the other, each with a number for every block. First come the low sides of the components of the
/// first source, then their high sides, then those of the next source.
#[derive(Clone, Debug)]
struct Planes<T> {
    count: usize,
    numbers: Vec<T>,
    /// Whether each plane is of a high side.
    high: Vec<bool>,
}

/// Where the low or high sides of a source are among the numbers, as a tensor `[blocks, dim]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub shape: [usize; 2],
    pub strides: [isize; 2],
    pub start: usize,
}

impl Place {
    /// `dim` numbers in one row.
    pub fn row(dim: usize) -> Self {
        Self {
            shape: [1, dim],
            strides: [dim as isize, 1],
            start: 0,
        }
    }
}

impl Boxes {
    /// The boxes of blocks of `rows` rows, which are taken in `order` if it is given.
    pub fn new(operands: &Operands, order: Option<&[u32]>, rows: usize) -> Self {
        let sources = operands.sources();
        let planes = match operands.precision.computed() {
            Precision::F64 => AnyPlanes::Double(Planes::new(operands, order, rows)),
            _ => AnyPlanes::Single(Planes::new(operands, order, rows)),
        };
        Self { sources, planes }
    }

    /// How many blocks there are.
    pub fn count(&self) -> usize {
        match &self.planes {
            AnyPlanes::Single(planes) => planes.count,
            AnyPlanes::Double(planes) => planes.count,
        }
    }

    /// All numbers.
    pub fn numbers(&self) -> HostSlice<'_> {
        match &self.planes {
            AnyPlanes::Single(planes) => HostSlice::F32(&planes.numbers),
            AnyPlanes::Double(planes) => HostSlice::F64(&planes.numbers),
        }
    }

    /// Where the low or high sides of a source are. `None` if it has no boxes.
    pub fn place(&self, source: Source, side: Side) -> Option<Place> {
        let count = self.count();
        let at = self.sources.iter().position(|own| own.0 == source)?;
        let before: usize = self.sources[..at].iter().map(|(_, dim)| 2 * dim).sum();
        let dim = self.sources[at].1;
        let plane = match side {
            Side::Low => before,
            Side::High => before + dim,
        };
        Some(Place {
            shape: [count, dim],
            strides: [1, count as isize],
            start: plane * count,
        })
    }

    /// The boxes of groups of `group` blocks each.
    pub fn grouped(&self, group: usize) -> Self {
        let planes = match &self.planes {
            AnyPlanes::Single(planes) => AnyPlanes::Single(planes.grouped(group)),
            AnyPlanes::Double(planes) => AnyPlanes::Double(planes.grouped(group)),
        };
        Self {
            sources: self.sources.clone(),
            planes,
        }
    }

    /// The boxes of some of the blocks, in this order.
    pub fn select(&self, blocks: &[u32]) -> Self {
        let planes = match &self.planes {
            AnyPlanes::Single(planes) => AnyPlanes::Single(planes.select(blocks)),
            AnyPlanes::Double(planes) => AnyPlanes::Double(planes.select(blocks)),
        };
        Self {
            sources: self.sources.clone(),
            planes,
        }
    }
}

impl<T: Real> Planes<T> {
    fn new(operands: &Operands, order: Option<&[u32]>, rows: usize) -> Self {
        let size = operands.size;
        let count = size.div_ceil(rows);
        let blocks = (CHUNK / rows).max(1);
        let chunks = count.div_ceil(blocks);
        let made = map(chunks, size > PARALLEL, |chunk| {
            let first = chunk * blocks * rows;
            boxes_of_rows(
                operands,
                order,
                (first..size.min(first + blocks * rows), rows),
            )
        });
        let dims = operands.sources().into_iter().map(|(_, dim)| dim);
        let high: Vec<bool> = dims
            .flat_map(|dim| [vec![false; dim], vec![true; dim]])
            .flatten()
            .collect();
        let planes = high.len();
        let of_plane = |plane: usize| {
            let own = made.iter().map(move |chunk: &Vec<T>| {
                let blocks = chunk.len() / planes;
                &chunk[plane * blocks..][..blocks]
            });
            own.flatten().copied()
        };
        let numbers = (0..planes).flat_map(of_plane).collect();
        Self {
            count,
            numbers,
            high,
        }
    }

    fn grouped(&self, group: usize) -> Self {
        let together = |(high, numbers): (&bool, &[T])| -> Vec<T> {
            let end = |own: &[T]| ends(own)[usize::from(*high)];
            numbers.chunks(group).map(end).collect()
        };
        Self {
            count: self.count.div_ceil(group),
            numbers: self.planes().flat_map(together).collect(),
            high: self.high.clone(),
        }
    }

    fn select(&self, blocks: &[u32]) -> Self {
        let own = |(_, numbers): (&bool, &[T])| -> Vec<T> {
            blocks
                .iter()
                .map(|block| numbers[*block as usize])
                .collect()
        };
        Self {
            count: blocks.len(),
            numbers: self.planes().flat_map(own).collect(),
            high: self.high.clone(),
        }
    }

    /// Whether each plane is of a high side, and its numbers.
    fn planes(&self) -> impl Iterator<Item = (&bool, &[T])> {
        let own = |plane: usize| &self.numbers[plane * self.count..][..self.count];
        self.high
            .iter()
            .enumerate()
            .map(move |(plane, high)| (high, own(plane)))
    }
}

/// The planes of the rows in `range`, for blocks of `rows` rows each.
fn boxes_of_rows<T: Real>(
    operands: &Operands,
    order: Option<&[u32]>,
    (range, rows): (Range<usize>, usize),
) -> Vec<T> {
    let mut values = vec![T::ZERO; range.len()];
    let mut numbers = Vec::new();
    for (source, dim) in operands.sources() {
        let mut sides = [Vec::new(), Vec::new()];
        for component in 0..dim {
            let Source::Tensor(tensor) = source else {
                let own = |start: usize| {
                    let range = start..range.end.min(start + rows);
                    ends_of_indices(order, range)
                };
                range
                    .clone()
                    .step_by(rows)
                    .map(own)
                    .for_each(|[low, high]| {
                        sides[0].push(low);
                        sides[1].push(high);
                    });
                continue;
            };
            let read = operands.rows(tensor);
            match order {
                Some(order) => read.read_rows(component, &order[range.clone()], &mut values),
                None => read.read(component, range.start, &mut values),
            }
            for block in values.chunks(rows) {
                let [low, high] = ends(block);
                sides[0].push(low);
                sides[1].push(high);
            }
        }
        numbers.extend(sides.into_iter().flatten());
    }
    numbers
}

/// The least and the largest of values; NaN if one of them is NaN or infinite.
fn ends<T: Real>(values: &[T]) -> [T; 2] {
    let (mut low, mut high) = (values[0], values[0]);
    let mut nothing = T::ZERO;
    for value in values {
        low = if *value < low { *value } else { low };
        high = if *value > high { *value } else { high };
        // It becomes NaN with the first value that is not finite.
        nothing = nothing + *value * T::ZERO;
    }
    [low + nothing, high + nothing]
}

/// The least and the largest index of the rows at some positions.
fn ends_of_indices<T: Real>(order: Option<&[u32]>, positions: Range<usize>) -> [T; 2] {
    let (low, high) = match order {
        Some(order) => {
            let own = &order[positions];
            own.iter().fold((u32::MAX, 0), |(low, high), index| {
                (low.min(*index), high.max(*index))
            })
        }
        None => (positions.start as u32, positions.end as u32 - 1),
    };
    [outwards(low, Side::Low), outwards(high, Side::High)]
}

/// An index in a type that may not hold it exactly: if so, the next number below or above it.
fn outwards<T: Real>(index: u32, side: Side) -> T {
    let exact = f64::from(index);
    let own = T::of(exact);
    // Only F32 gets here, as F64 holds each index exactly.
    let single = exact as f32;
    match side {
        Side::Low if own.double() > exact => T::of(single.next_down().into()),
        Side::High if own.double() < exact => T::of(single.next_up().into()),
        _ => own,
    }
}
