//! Sums of exponentials that are relative to a running maximum.

use super::{
    HostReduction, HostResults, HostState, RowStep, Rules, Running,
    loops::{Exponentials, LargestOf, SumOfProducts},
};
use crate::{
    math::lane::Real,
    reduction::{Family, LogSumExp, SoftmaxSum},
};

/// Maxima, and sums of $e^{f - m} w$ relative to them, row by row.
#[derive(Clone)]
pub struct ExpState {
    maxima: Vec<f64>,
    sums: Vec<Running>,
    /// The number of maxima of a row, and the number of sums that are relative to each of them.
    scores: usize,
    each: usize,
}

impl ExpState {
    fn new(rules: &Rules, rows: usize, scores: usize, each: usize) -> Self {
        Self {
            // Finite, so that no difference of infinities arises.
            maxima: vec![-rules.largest; rows * scores],
            sums: vec![Running::default(); rows * scores * each],
            scores,
            each,
        }
    }

    fn maximum(&self, row: usize, k: usize) -> f64 {
        self.maxima[row * self.scores + k]
    }

    fn sum(&self, row: usize, at: usize) -> f64 {
        self.sums[row * self.scores * self.each + at].total()
    }

    fn sum_mut(&mut self, row: usize, at: usize) -> &mut Running {
        &mut self.sums[row * self.scores * self.each + at]
    }

    /// Raises maximum `k`, counted over all rows, and makes its sums relative to the new one.
    fn raise(&mut self, k: usize, maximum: f64) {
        let factor = (self.maxima[k] - maximum).exp();
        for sum in &mut self.sums[k * self.each..][..self.each] {
            sum.scale(factor);
        }
        self.maxima[k] = maximum;
    }

    /// Takes in a component of the scores of a row. The scores are the first components. Keeps their exponentials in
    /// the room, and returns the sum of these.
    fn take_scores<T: Real>(&mut self, step: RowStep<T>, rules: &Rules) -> f64 {
        let RowStep { row, room, taken } = step;
        let (k, len) = (taken.index, taken.len);
        let scores = taken.values(&mut room.values, rules);
        let least = T::of(self.maximum(row, k));
        let most = rules.instructions.run(LargestOf {
            values: scores,
            least,
        });
        let most = if most > T::LARGEST { T::LARGEST } else { most };
        if most > least {
            self.raise(row * self.scores + k, most.double());
        }
        let sum = rules.instructions.run(Exponentials {
            out: &mut room.kept[k * len..][..len],
            values: scores,
            maximum: most,
        });
        sum.double()
    }

    /// Adds the exponentials of score `k`, times these weights, to sum `at` of a row.
    fn add_weighted<T: Real>(
        &mut self,
        row: usize,
        (k, at): (usize, usize),
        kept: &[T],
        weights: &[T],
        rules: &Rules,
    ) {
        let len = weights.len();
        let exponentials = &kept[k * len..][..len];
        let sum = rules
            .instructions
            .run(SumOfProducts([exponentials, weights]));
        self.sum_mut(row, at).add(sum.double());
    }

    /// Takes in the state of later columns.
    fn merge(&mut self, later: &Self) {
        let each = self.each;
        for (k, maximum) in later.maxima.iter().enumerate() {
            if *maximum > self.maxima[k] {
                self.raise(k, *maximum);
            }
            let factor = (maximum - self.maxima[k]).exp();
            let range = k * each..(k + 1) * each;
            for (own, later) in self.sums[range.clone()].iter_mut().zip(&later.sums[range]) {
                own.add(later.total() * factor);
            }
        }
    }
}

impl HostState for ExpState {
    fn save(&self, row: usize, (plane, at): (usize, usize), _rules: &Rules) -> f64 {
        match plane {
            0 => self.maximum(row, at),
            // If there are two planes of sums, the first one has a single sum.
            _ => self.sum(row, plane - 1 + at),
        }
    }

    fn load(&mut self, row: usize, (plane, at): (usize, usize), value: f64, _rules: &Rules) {
        match plane {
            0 => self.maxima[row * self.scores + at] = value,
            _ => self.sum_mut(row, plane - 1 + at).set(value),
        }
    }
}

impl HostReduction for LogSumExp {
    type State = ExpState;

    fn kept(&self) -> usize {
        self.scores
    }

    fn start(&self, rules: &Rules, rows: usize) -> ExpState {
        let each = self.width(rules.spec.dim) / self.scores;
        ExpState::new(rules, rows, self.scores, each)
    }

    fn step<T: Real>(&self, state: &mut ExpState, step: RowStep<T>, rules: &Rules) {
        let (row, index, scores) = (step.row, step.taken.index, self.scores);
        let weights = rules.spec.dim - scores;
        if index < scores {
            let sum = state.take_scores(step, rules);
            if weights == 0 {
                state.sum_mut(row, index).add(sum);
            }
            return;
        }
        let RowStep { room, taken, .. } = step;
        let values = taken.values(&mut room.values, rules);
        if weights == 1 {
            // All scores have the same weight.
            for k in 0..scores {
                state.add_weighted(row, (k, k), &room.kept, values, rules);
            }
        } else {
            let component = index - scores;
            let score = if scores == 1 { 0 } else { component };
            state.add_weighted(row, (score, component), &room.kept, values, rules);
        }
    }

    fn merge(&self, state: &mut ExpState, later: &ExpState, _rules: &Rules) {
        state.merge(later);
    }
}

impl HostResults for LogSumExp {
    fn result(&self, state: &ExpState, row: usize, at: usize, _rules: &Rules) -> f64 {
        let score = if self.scores == 1 { 0 } else { at };
        state.maximum(row, score) + state.sum(row, at).ln()
    }
}

impl HostReduction for SoftmaxSum {
    // The sums of a row are the sum of the exponentials, and after it those of the weighted components.
    type State = ExpState;

    fn kept(&self) -> usize {
        1
    }

    fn start(&self, rules: &Rules, rows: usize) -> ExpState {
        ExpState::new(rules, rows, 1, rules.spec.dim)
    }

    fn step<T: Real>(&self, state: &mut ExpState, step: RowStep<T>, rules: &Rules) {
        let (row, index) = (step.row, step.taken.index);
        if index == 0 {
            let sum = state.take_scores(step, rules);
            state.sum_mut(row, 0).add(sum);
            return;
        }
        let RowStep { room, taken, .. } = step;
        let values = taken.values(&mut room.values, rules);
        state.add_weighted(row, (0, index), &room.kept, values, rules);
    }

    fn merge(&self, state: &mut ExpState, later: &ExpState, _rules: &Rules) {
        state.merge(later);
    }
}

impl HostResults for SoftmaxSum {
    fn result(&self, state: &ExpState, row: usize, at: usize, _rules: &Rules) -> f64 {
        state.sum(row, 1 + at) / state.sum(row, 0)
    }
}
