//! An order of points in which points that are near in space are near each other.

use std::sync::Arc;

use super::threads::{both, fill};
use crate::host::Rows;

/// Points are split after a multiple of one of these numbers: the largest one that is less than the number of points.
/// So no block of one of these sizes is cut by a split of more points than it has.
const UNITS: [usize; 4] = [4096, 256, 64, 16];

/// Number of points from which on several threads are worth it.
const PARALLEL: usize = 1 << 14;

/// The most coordinates that an order looks at.
pub(super) const MOST: usize = 8;

/// A coordinate of points: a component of the rows of a tensor.
#[derive(Clone, Copy)]
pub(super) struct Coordinate<'a> {
    pub rows: Rows<'a>,
    pub component: usize,
}

/// A point and its index. The order only affects speed, so that F32 is enough.
#[derive(Clone, Copy)]
struct Point<const D: usize> {
    at: [f32; D],
    index: u32,
}

impl<const D: usize> Point<D> {
    /// A number by which points are sorted along an axis: the bits of the coordinate, changed so that they ascend with
    /// it, and then the index.
    fn key(&self, axis: usize) -> u64 {
        let bits = self.at[axis].to_bits();
        // All bits of negative numbers are inverted, and only the sign bit of the others.
        let turned = (bits as i32 >> 31) as u32 | 1 << 31;
        u64::from(bits ^ turned) << 32 | u64::from(self.index)
    }

    fn is_finite(&self) -> bool {
        self.at.iter().all(|x| x.is_finite())
    }
}

/// The order of `len` points: for each position the index of the point there.
///
/// Points are split in two again and again, along the axis in which they extend furthest. Those with a coordinate that
/// is NaN or infinite in F32 come last, in the order of their indices, so that they share blocks. Points with equal
/// coordinates are sorted by their indices, so that the order does not depend on the number of threads.
pub(super) fn order(coordinates: &[Coordinate], len: usize) -> Arc<[u32]> {
    let order = match coordinates.len() {
        0 => (0..len as u32).collect(),
        1 => order_of::<1>(coordinates, len),
        2 => order_of::<2>(coordinates, len),
        3 => order_of::<3>(coordinates, len),
        4 => order_of::<4>(coordinates, len),
        5 => order_of::<5>(coordinates, len),
        6 => order_of::<6>(coordinates, len),
        7 => order_of::<7>(coordinates, len),
        _ => order_of::<MOST>(coordinates, len),
    };
    order.into()
}

fn order_of<const D: usize>(coordinates: &[Coordinate], len: usize) -> Vec<u32> {
    let mut points = points::<D>(coordinates, len);
    let last: Vec<Point<D>> = points.iter().filter(|p| !p.is_finite()).copied().collect();
    if !last.is_empty() {
        points.retain(Point::is_finite);
    }
    split(&mut points);
    points
        .iter()
        .chain(&last)
        .map(|point| point.index)
        .collect()
}

/// Reads the points in the order of their indices.
fn points<const D: usize>(coordinates: &[Coordinate], len: usize) -> Vec<Point<D>> {
    let mut points = vec![
        Point {
            at: [0.0; D],
            index: 0
        };
        len
    ];
    fill(&mut points, len > PARALLEL, |first, own| {
        let mut values = vec![0f32; own.len()];
        for (k, coordinate) in coordinates.iter().take(D).enumerate() {
            let rows = &coordinate.rows;
            rows.read(coordinate.component, first, &mut values);
            for (point, value) in own.iter_mut().zip(&values) {
                point.at[k] = *value;
            }
        }
        for (point, index) in own.iter_mut().zip(first as u32..) {
            point.index = index;
        }
    });
    points
}

/// Sorts points by splitting them again and again, until no part has more points than the smallest of [`UNITS`].
fn split<const D: usize>(points: &mut [Point<D>]) {
    let Some(middle) = middle(points.len()) else {
        return;
    };
    let widest = widest(points);
    points.select_nth_unstable_by_key(middle, |point| point.key(widest));
    let worth = points.len() > PARALLEL;
    let (first, second) = points.split_at_mut(middle);
    both(worth, || split(first), || split(second));
}

/// How many of `len` points come before the split: about half of them, a multiple of the largest unit that is less
/// than `len`. `None` if no unit is.
fn middle(len: usize) -> Option<usize> {
    let unit = UNITS.into_iter().find(|unit| *unit < len)?;
    Some((len / unit).div_ceil(2) * unit)
}

/// The coordinate in which points extend furthest, the first one of equals. If there are many points, it looks at some
/// of them.
fn widest<const D: usize>(points: &[Point<D>]) -> usize {
    const SOME: usize = 512;
    let (mut low, mut high) = ([f32::INFINITY; D], [f32::NEG_INFINITY; D]);
    for point in points.iter().step_by((points.len() / SOME).max(1)) {
        for k in 0..D {
            // No coordinate is NaN.
            let own = point.at[k];
            low[k] = if own < low[k] { own } else { low[k] };
            high[k] = if own > high[k] { own } else { high[k] };
        }
    }
    let width = |k: usize| high[k] - low[k];
    (1..D).fold(0, |best, k| if width(k) > width(best) { k } else { best })
}
