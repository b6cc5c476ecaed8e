//! Sums, products and counts.

use super::{
    HostReduction, Room, Rules, Taken, factors,
    loops::{CountOf, SumOf, SumOfProducts},
};
use crate::{
    host::{arithmetic::Lanes, evaluate::Given},
    math::lane::Real,
    reduction::{Count, Product, Sum},
};

/// A sum with what it has lost to rounding (Kahan, "Further remarks on reducing truncation errors", CACM 1965). Only
/// sums of tiles are added, so that this costs nothing.
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
        // Neither what overflows nor the difference of infinities is a rounding error.
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

/// The sum of what is taken in.
pub(super) fn sum_of<T: Real>(taken: Taken<T>, rules: &Rules) -> f64 {
    let len = taken.len;
    let sum = match taken.given {
        Given::Value(Lanes::Each(values)) => rules.instructions.run(SumOf(&values[..len])),
        Given::Product(factors, true) => -rules.instructions.run(SumOfProducts { factors, len }),
        given => rules.instructions.run(SumOfProducts {
            factors: factors(given),
            len,
        }),
    };
    sum.double()
}

impl HostReduction for Sum {
    type State = Vec<Running>;

    fn start(&self, rules: &Rules) -> Self::State {
        vec![Running::default(); rules.spec.dim]
    }

    fn step<T: Real>(
        &self,
        state: &mut Self::State,
        _room: &mut Room<T>,
        taken: Taken<T>,
        rules: &Rules,
    ) {
        let index = taken.index;
        state[index].add(sum_of(taken, rules));
    }

    fn save(&self, state: &Self::State, _plane: usize, at: usize, _rules: &Rules) -> f64 {
        state[at].total()
    }

    fn load(&self, state: &mut Self::State, (_, at): (usize, usize), value: f64, _rules: &Rules) {
        state[at].set(value);
    }

    fn merge(&self, state: &mut Self::State, later: &Self::State, _rules: &Rules) {
        for (own, later) in state.iter_mut().zip(later) {
            own.add(later.total());
        }
    }

    fn result(&self, state: &Self::State, at: usize, _rules: &Rules) -> f64 {
        state[at].total()
    }
}

impl HostReduction for Product {
    type State = Vec<f64>;

    fn start(&self, rules: &Rules) -> Self::State {
        vec![1.0; rules.spec.dim]
    }

    fn step<T: Real>(
        &self,
        state: &mut Self::State,
        room: &mut Room<T>,
        taken: Taken<T>,
        rules: &Rules,
    ) {
        let values = &mut room.values[..taken.len];
        let values = taken.given.values(rules.instructions, values);
        // In their order, as the range of a product depends on it. In the type of the values, so that it overflows
        // as that does.
        let product = &mut state[taken.index];
        let all = values
            .iter()
            .fold(T::of(*product), |product, value| product * *value);
        *product = all.double();
    }

    fn save(&self, state: &Self::State, _plane: usize, at: usize, _rules: &Rules) -> f64 {
        state[at]
    }

    fn load(&self, state: &mut Self::State, (_, at): (usize, usize), value: f64, _rules: &Rules) {
        state[at] = value;
    }

    fn merge(&self, state: &mut Self::State, later: &Self::State, _rules: &Rules) {
        for (own, later) in state.iter_mut().zip(later) {
            *own *= later;
        }
    }

    fn result(&self, state: &Self::State, at: usize, _rules: &Rules) -> f64 {
        state[at]
    }
}

impl HostReduction for Count {
    type State = Vec<u32>;

    fn start(&self, rules: &Rules) -> Self::State {
        vec![0; rules.spec.dim]
    }

    fn step<T: Real>(
        &self,
        state: &mut Self::State,
        room: &mut Room<T>,
        taken: Taken<T>,
        rules: &Rules,
    ) {
        let values = &mut room.values[..taken.len];
        let values = taken.given.values(rules.instructions, values);
        state[taken.index] += rules.instructions.run(CountOf(values));
    }

    fn save(&self, _state: &Self::State, _plane: usize, _at: usize, _rules: &Rules) -> f64 {
        0.0
    }

    fn load(&self, _state: &mut Self::State, _at: (usize, usize), _value: f64, _rules: &Rules) {}

    fn merge(&self, state: &mut Self::State, later: &Self::State, _rules: &Rules) {
        for (own, later) in state.iter_mut().zip(later) {
            *own += later;
        }
    }

    fn result(&self, state: &Self::State, at: usize, _rules: &Rules) -> f64 {
        state[at].into()
    }

    fn index(&self, state: &Self::State, at: usize) -> u32 {
        state[at]
    }

    fn load_index(&self, state: &mut Self::State, at: usize, index: u32) {
        state[at] = index;
    }
}
