//! Values beyond which pairs do not count.

use super::boxes::Place;
use crate::{host::HostValues, math::Precision};

/// Values beyond which pairs do not count.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Limits {
    count: usize,
    /// The limits of one component after those of another, with a number for each block.
    planes: Vec<f64>,
}

impl Limits {
    /// The largest limits of each block of `rows` rows, given the limits of each row and each of `dim` components.
    pub fn new(limits: &[f64], dim: usize, rows: usize) -> Self {
        let blocks = limits.chunks(rows * dim);
        let own = |k: usize| {
            blocks
                .clone()
                .map(move |block| most(block.iter().skip(k).step_by(dim)))
        };
        Self {
            count: blocks.len(),
            planes: (0..dim).flat_map(own).collect(),
        }
    }

    /// The largest limits of groups of `group` blocks each.
    pub fn grouped(&self, group: usize) -> Self {
        let planes = self.planes.chunks(self.count.max(1));
        let groups = planes.flat_map(|own| own.chunks(group).map(|own| most(own.iter())));
        Self {
            count: self.count.div_ceil(group),
            planes: groups.collect(),
        }
    }

    /// How the numbers are laid out as a tensor `[blocks, dim]`.
    pub fn place(&self) -> Place {
        Place {
            shape: [self.count, self.planes.len() / self.count.max(1)],
            strides: [1, self.count as isize],
            start: 0,
        }
    }

    /// The numbers in the type in which bounds are computed. Values of this type that are not greater than a limit are
    /// not greater than the number nearest to it, either.
    pub fn numbers(&self, precision: Precision) -> HostValues {
        HostValues::new(&self.planes, precision)
    }
}

/// The largest of values; NaN if one is NaN.
fn most<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    let larger = |most: f64, value: &f64| match *value > most || value.is_nan() {
        true => *value,
        false => most,
    };
    values.fold(f64::NEG_INFINITY, larger)
}
