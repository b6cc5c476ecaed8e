//! Variances and means.

use super::{
    HostResults, HostState, Rules,
    each_component::EachComponent,
    loops::{SumOf, SumOfDistances, SumOfSquares},
};
use crate::{math::lane::Real, reduction::Variance};

/// Number of tiles that are merged with each other before they are merged into the total, so that the rounding error
/// hardly grows with the number of tiles.
const TILES: usize = 64;

/// The mean, the sum of squared deviations from it, and the number of values.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    mean: f64,
    squares: f64,
    count: f64,
}

impl Moments {
    /// The moments of a tile: the mean first, then the deviations from it.
    fn of<T: Real>(values: &[T], rules: &Rules) -> Self {
        let count = values.len() as f64;
        let pivot = values[0];
        let distance = rules
            .instructions
            .run(SumOfDistances { values, pivot })
            .double();
        let mut mean = pivot.double() + distance / count;
        if !mean.is_finite() {
            // The distance between infinite values is NaN. Their mean is their sum.
            let total = rules.instructions.run(SumOf(values)).double();
            mean = if total.is_finite() { mean } else { total };
        }
        // Relative to the mean as it is rounded to the type of the values. `off` corrects for this rounding.
        let pivot = T::of(mean);
        let squares = SumOfSquares {
            values,
            mean: pivot,
        };
        let squares = rules.instructions.run(squares).double();
        let off = SumOfDistances { values, pivot };
        let off = rules.instructions.run(off).double();
        Self {
            mean: match mean.is_finite() {
                true => pivot.double() + off / count,
                false => mean,
            },
            squares: squares - off * (off / count),
            count,
        }
    }

    /// Takes in the moments of other values (Chan, Golub and LeVeque, 1979).
    fn take(&mut self, other: &Self) {
        let count = (self.count + other.count).max(1.0);
        let share = other.count / count;
        let distance = other.mean - self.mean;
        // In this order, as the distance may be too large to be squared while the count is still 0.
        self.squares += other.squares + distance * (distance * (share * self.count));
        // A distance from an infinite mean is infinite or NaN.
        self.mean = match self.mean.is_finite() && other.mean.is_finite() {
            true => distance.mul_add(share, self.mean),
            false => self.mean + other.mean,
        };
        self.count += other.count;
    }
}

/// The moments of the columns so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct MomentState {
    /// The moments of up to [`TILES`] tiles, and the number of these tiles.
    middle: Moments,
    tiles: usize,
    /// The moments of all tiles before.
    total: Moments,
}

impl MomentState {
    fn take(&mut self, other: &Moments) {
        self.middle.take(other);
        self.tiles += 1;
        if self.tiles == TILES {
            self.total = self.all();
            self.middle = Moments::default();
            self.tiles = 0;
        }
    }

    fn all(&self) -> Moments {
        let mut all = self.total;
        all.take(&self.middle);
        all
    }
}

impl EachComponent for Variance {
    type Own = MomentState;

    fn initial(&self) -> MomentState {
        MomentState::default()
    }

    fn take<T: Real>(&self, own: &mut MomentState, values: &[T], rules: &Rules) {
        own.take(&Moments::of(values, rules));
    }

    fn take_later(&self, own: &mut MomentState, later: &MomentState) {
        own.take(&later.all());
    }
}

impl HostState for Vec<MomentState> {
    fn save(&self, row: usize, (plane, at): (usize, usize), rules: &Rules) -> f64 {
        let dim = rules.spec.dim;
        let moments = self[row * dim + at % dim].all();
        match plane {
            0 if at < dim => moments.mean,
            0 => moments.squares,
            _ => moments.count,
        }
    }

    fn load(&mut self, row: usize, (plane, at): (usize, usize), value: f64, rules: &Rules) {
        let dim = rules.spec.dim;
        let own = &mut self[row * dim..][..dim];
        match plane {
            0 if at < dim => own[at].total.mean = value,
            0 => own[at - dim].total.squares = value,
            // All components have the same count.
            _ => own.iter_mut().for_each(|state| state.total.count = value),
        }
    }
}

impl HostResults for Variance {
    fn result(&self, state: &Self::State, row: usize, at: usize, rules: &Rules) -> f64 {
        let dim = rules.spec.dim;
        let moments = state[row * dim + at % dim].all();
        if moments.count == 0.0 {
            return f64::NAN;
        }
        match at < dim {
            true => moments.squares / (moments.count - f64::from(u8::from(self.unbiased))),
            false => moments.mean,
        }
    }
}
