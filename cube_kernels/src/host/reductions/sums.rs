//! Sums, products and counts.

use super::{
    HostReduction, HostResults, HostState, RowStep, Rules, TileStep,
    each_component::EachComponent,
    factors,
    loops::{CountOf, SumsOfProducts},
};
use crate::{
    math::lane::Real,
    reduction::{Count, Product, Sum},
};

/// A sum with the part that it has lost to rounding (Kahan, "Further remarks on reducing truncation errors", CACM
/// 1965). Only sums of tiles are added to it, so that the correction costs almost nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Running {
    sum: f64,
    lost: f64,
}

impl Running {
    pub fn add(&mut self, value: f64) {
        let value = value - self.lost;
        let sum = self.sum + value;
        let lost = (sum - self.sum) - value;
        // An overflow, or a difference of infinities, is no rounding error.
        self.lost = if lost.is_finite() { lost } else { 0.0 };
        self.sum = sum;
    }

    pub fn scale(&mut self, factor: f64) {
        self.sum *= factor;
        self.lost *= factor;
    }

    pub fn set(&mut self, value: f64) {
        *self = Self {
            sum: value,
            lost: 0.0,
        };
    }

    pub fn total(&self) -> f64 {
        self.sum
    }
}

impl HostReduction for Sum {
    type State = Vec<Running>;

    /// Products are added up as they are computed, so that there is nothing to store.
    fn needs_room(&self) -> bool {
        false
    }

    fn start(&self, rules: &Rules, rows: usize) -> Self::State {
        vec![Running::default(); rows * rules.spec.dim]
    }

    fn step<T: Real>(&self, state: &mut Self::State, step: RowStep<T>, rules: &Rules) {
        self.step_rows(state, step.tile(), rules);
    }

    fn step_rows<T: Real>(&self, state: &mut Self::State, step: TileStep<T>, rules: &Rules) {
        let (first, taken) = (step.first, step.taken);
        let (factors, negated) = factors(taken.given);
        rules.instructions.run(SumsOfProducts {
            factors,
            width: taken.len,
            height: step.rooms.len(),
            each: |row: usize, sum: T| {
                let sum = if negated { -sum } else { sum };
                state[(first + row) * rules.spec.dim + taken.index].add(sum.double());
            },
        });
    }

    fn merge(&self, state: &mut Self::State, later: &Self::State, _rules: &Rules) {
        for (own, later) in state.iter_mut().zip(later) {
            own.add(later.total());
        }
    }
}

impl HostState for Vec<Running> {
    fn save(&self, row: usize, (_, at): (usize, usize), rules: &Rules) -> f64 {
        self[row * rules.spec.dim + at].total()
    }

    fn load(&mut self, row: usize, (_, at): (usize, usize), value: f64, rules: &Rules) {
        self[row * rules.spec.dim + at].set(value);
    }
}

impl HostResults for Sum {}

impl EachComponent for Product {
    type Own = f64;

    fn initial(&self) -> f64 {
        1.0
    }

    fn take<T: Real>(&self, product: &mut f64, values: &[T], _rules: &Rules) {
        // In the order of the columns, as it decides whether a product overflows on the way. In the type of the
        // values, so that it overflows as a product of this type does.
        let all = values
            .iter()
            .fold(T::of(*product), |product, value| product * *value);
        *product = all.double();
    }

    fn take_later(&self, product: &mut f64, later: &f64) {
        *product *= later;
    }
}

impl HostState for Vec<f64> {
    fn save(&self, row: usize, (_, at): (usize, usize), rules: &Rules) -> f64 {
        self[row * rules.spec.dim + at]
    }

    fn load(&mut self, row: usize, (_, at): (usize, usize), value: f64, rules: &Rules) {
        self[row * rules.spec.dim + at] = value;
    }
}

impl HostResults for Product {}

impl EachComponent for Count {
    type Own = u32;

    fn initial(&self) -> u32 {
        0
    }

    fn take<T: Real>(&self, count: &mut u32, values: &[T], rules: &Rules) {
        *count += rules.instructions.run(CountOf(values));
    }

    fn take_later(&self, count: &mut u32, later: &u32) {
        *count += later;
    }
}

// The partial result has counts and no values, so that `save` only serves the result.
impl HostState for Vec<u32> {
    fn save(&self, row: usize, (_, at): (usize, usize), rules: &Rules) -> f64 {
        self.index(row, at, rules).into()
    }

    fn load(&mut self, _row: usize, _place: (usize, usize), _value: f64, _rules: &Rules) {
        unreachable!("counts are loaded as indices")
    }

    fn index(&self, row: usize, at: usize, rules: &Rules) -> u32 {
        self[row * rules.spec.dim + at]
    }

    fn load_index(&mut self, row: usize, at: usize, index: u32, rules: &Rules) {
        self[row * rules.spec.dim + at] = index;
    }
}

impl HostResults for Count {}
