//! Reductions of each component of the formula for itself.

use super::{HostReduction, RowStep, Rules};
use crate::math::lane::Real;

/// A reduction that does the same with each component of the formula, whatever the others are.
pub trait EachComponent {
    /// What is kept for a component of a row.
    type Own: Clone + Send;

    /// What is kept before the first column.
    fn initial(&self) -> Self::Own;

    /// Takes in the values of some columns.
    fn take<T: Real>(&self, own: &mut Self::Own, values: &[T], rules: &Rules);

    /// Takes in what was kept for later columns.
    fn take_later(&self, own: &mut Self::Own, later: &Self::Own);
}

impl<R: EachComponent> HostReduction for R {
    /// The components of a row are next to each other.
    type State = Vec<R::Own>;

    fn start(&self, rules: &Rules, rows: usize) -> Self::State {
        vec![self.initial(); rows * rules.spec.dim]
    }

    fn step<T: Real>(&self, state: &mut Self::State, step: RowStep<T>, rules: &Rules) {
        let own = &mut state[step.row * rules.spec.dim + step.taken.index];
        self.take(own, step.values(rules), rules);
    }

    fn merge(&self, state: &mut Self::State, later: &Self::State, _rules: &Rules) {
        for (own, later) in state.iter_mut().zip(later) {
            self.take_later(own, later);
        }
    }
}
