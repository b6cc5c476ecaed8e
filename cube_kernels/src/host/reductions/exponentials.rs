//! Sums of exponentials that are relative to a running maximum.

use super::{
    HostReduction, Room, Rules, Running, Taken,
    loops::{Exponentials, LargestOf, SumOfProducts},
};
use crate::{
    host::arithmetic::Lanes,
    math::lane::Real,
    reduction::{Family, LogSumExp, SoftmaxSum},
};

/// Maxima, and sums of $e^{f - m} w$ relative to them.
#[derive(Clone)]
pub struct ExpState {
    maxima: Vec<f64>,
    sums: Vec<Running>,
}

impl ExpState {
    fn new(rules: &Rules, maxima: usize, sums: usize) -> Self {
        Self {
            // Finite, so that no difference of infinities arises.
            maxima: vec![-rules.largest; maxima],
            sums: vec![Running::default(); sums],
        }
    }

    /// Makes the `each` sums that are relative to maximum `k` relative to a larger one.
    fn raise(&mut self, k: usize, maximum: f64, each: usize) {
        let factor = (self.maxima[k] - maximum).exp();
        for sum in &mut self.sums[k * each..][..each] {
            sum.scale(factor);
        }
        self.maxima[k] = maximum;
    }

    /// Takes in scores `k`, which `each` sums are relative to: their exponentials are kept, and their sum is returned.
    fn take_scores<T: Real>(
        &mut self,
        (k, each): (usize, usize),
        room: &mut Room<T>,
        taken: Taken<T>,
        rules: &Rules,
    ) -> f64 {
        let len = taken.len;
        let scores = &mut room.values[..len];
        let scores = taken.given.values(rules.instructions, scores);
        let least = T::of(self.maxima[k]);
        let most = rules.instructions.run(LargestOf {
            values: scores,
            least,
        });
        let most = if most > T::LARGEST { T::LARGEST } else { most };
        if most > least {
            self.raise(k, most.double(), each);
        }
        let sum = rules.instructions.run(Exponentials {
            out: &mut room.kept[k * len..][..len],
            values: scores,
            maximum: most,
        });
        sum.double()
    }

    /// Adds the exponentials of score `k` with these weights to sum `at`.
    fn add_weighted<T: Real>(
        &mut self,
        (k, at): (usize, usize),
        kept: &[T],
        weights: &[T],
        rules: &Rules,
    ) {
        let len = weights.len();
        let exponentials = &kept[k * len..][..len];
        let sum = rules.instructions.run(SumOfProducts {
            factors: [exponentials, weights].map(Lanes::Each),
            len,
        });
        self.sums[at].add(sum.double());
    }

    /// Takes in those of later columns, `each` sums relative to each maximum.
    fn merge(&mut self, later: &Self, each: usize) {
        for (k, maximum) in later.maxima.iter().enumerate() {
            if *maximum > self.maxima[k] {
                self.raise(k, *maximum, each);
            }
            let factor = (maximum - self.maxima[k]).exp();
            let range = k * each..(k + 1) * each;
            for (own, later) in self.sums[range.clone()].iter_mut().zip(&later.sums[range]) {
                own.add(later.total() * factor);
            }
        }
    }
}

impl LogSumExp {
    fn each(&self, rules: &Rules) -> usize {
        self.width(rules.spec.dim) / self.scores
    }
}

impl HostReduction for LogSumExp {
    type State = ExpState;

    fn kept(&self) -> usize {
        self.scores
    }

    fn start(&self, rules: &Rules) -> ExpState {
        ExpState::new(rules, self.scores, rules.spec.width())
    }

    fn step<T: Real>(
        &self,
        state: &mut ExpState,
        room: &mut Room<T>,
        taken: Taken<T>,
        rules: &Rules,
    ) {
        let (index, scores) = (taken.index, self.scores);
        let weights = rules.spec.dim - scores;
        if index < scores {
            let sum = state.take_scores((index, self.each(rules)), room, taken, rules);
            if weights == 0 {
                state.sums[index].add(sum);
            }
            return;
        }
        let values = &mut room.values[..taken.len];
        let values = taken.given.values(rules.instructions, values);
        if weights == 1 {
            // One weight for each of the scores.
            for k in 0..scores {
                state.add_weighted((k, k), &room.kept, values, rules);
            }
        } else {
            let component = index - scores;
            let score = if scores == 1 { 0 } else { component };
            state.add_weighted((score, component), &room.kept, values, rules);
        }
    }

    fn save(&self, state: &ExpState, plane: usize, at: usize, _rules: &Rules) -> f64 {
        match plane {
            0 => state.maxima[at],
            _ => state.sums[at].total(),
        }
    }

    fn load(&self, state: &mut ExpState, (plane, at): (usize, usize), value: f64, _rules: &Rules) {
        match plane {
            0 => state.maxima[at] = value,
            _ => state.sums[at].set(value),
        }
    }

    fn merge(&self, state: &mut ExpState, later: &ExpState, rules: &Rules) {
        state.merge(later, self.each(rules));
    }

    fn result(&self, state: &ExpState, at: usize, _rules: &Rules) -> f64 {
        let maximum = state.maxima[if self.scores == 1 { 0 } else { at }];
        maximum + state.sums[at].total().ln()
    }
}

impl HostReduction for SoftmaxSum {
    // The sums of the weighted components, and behind them the sum of the exponentials.
    type State = ExpState;

    fn kept(&self) -> usize {
        1
    }

    fn start(&self, rules: &Rules) -> ExpState {
        ExpState::new(rules, 1, rules.spec.dim)
    }

    fn step<T: Real>(
        &self,
        state: &mut ExpState,
        room: &mut Room<T>,
        taken: Taken<T>,
        rules: &Rules,
    ) {
        let dim = rules.spec.dim;
        if taken.index == 0 {
            let sum = state.take_scores((0, dim), room, taken, rules);
            state.sums[dim - 1].add(sum);
            return;
        }
        let component = taken.index - 1;
        let values = &mut room.values[..taken.len];
        let values = taken.given.values(rules.instructions, values);
        state.add_weighted((0, component), &room.kept, values, rules);
    }

    fn save(&self, state: &ExpState, plane: usize, at: usize, rules: &Rules) -> f64 {
        match plane {
            0 => state.maxima[at],
            1 => state.sums[rules.spec.dim - 1].total(),
            _ => state.sums[at].total(),
        }
    }

    fn load(&self, state: &mut ExpState, (plane, at): (usize, usize), value: f64, rules: &Rules) {
        match plane {
            0 => state.maxima[at] = value,
            1 => state.sums[rules.spec.dim - 1].set(value),
            _ => state.sums[at].set(value),
        }
    }

    fn merge(&self, state: &mut ExpState, later: &ExpState, rules: &Rules) {
        state.merge(later, rules.spec.dim);
    }

    fn result(&self, state: &ExpState, at: usize, rules: &Rules) -> f64 {
        state.sums[at].total() / state.sums[rules.spec.dim - 1].total()
    }
}
