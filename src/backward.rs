//! What the backward pass of a reduction will need, found out before the forward pass.

use burn_lazy_kernels::{Axis, Expr, Formula, Forward, ReductionKind, expr::Var};

use crate::ops::Reduction;

/// A reduction whose derivative is taken with leaves that have no tensors.
struct Leaves<'a> {
    reduction: &'a Reduction,
    root: Expr,
    cotangent: Expr,
    /// The result, its indices and what it is made of, once they are asked for.
    own: [Option<Expr>; 3],
    next: u64,
}

impl<'a> Leaves<'a> {
    fn new(reduction: &'a Reduction) -> Self {
        let mut leaves = Self {
            root: reduction.formula.root().clone(),
            cotangent: Expr::constant(0.0),
            own: [None, None, None],
            next: reduction.formula.vars().len() as u64,
            reduction,
        };
        leaves.cotangent = leaves.leaf(reduction.spec().entries(), false);
        leaves
    }

    fn leaf(&mut self, dim: usize, scalar: bool) -> Expr {
        let rows = self.reduction.axis.other();
        let var = Var {
            id: self.next,
            axis: (!scalar).then_some(rows),
            dim,
            scalar,
        };
        self.next += 1;
        Expr::var(var)
    }

    fn own(&mut self, at: usize, dim: usize) -> Expr {
        if self.own[at].is_none() {
            self.own[at] = Some(self.leaf(dim, false));
        }
        self.own[at].clone().expect("it was made")
    }
}

impl Forward for Leaves<'_> {
    fn root(&self) -> &Expr {
        &self.root
    }

    fn axis(&self) -> Axis {
        self.reduction.axis
    }

    fn columns(&self) -> usize {
        self.reduction.size(self.reduction.axis)
    }

    fn parameter(&mut self, _value: f64) -> Expr {
        self.leaf(1, true)
    }

    fn cotangent(&self) -> Expr {
        self.cotangent.clone()
    }

    fn result(&mut self) -> Expr {
        self.own(0, self.reduction.spec().entries())
    }

    fn indices(&mut self) -> Expr {
        self.own(1, self.reduction.spec().entries())
    }

    fn state(&mut self, plane: usize) -> Expr {
        let terms = self.reduction.spec_of_terms();
        let state = self.own(2, terms.state_size());
        state.slice(terms.plane_start(plane), terms.plane_size(plane))
    }

    fn reduced(&mut self, _kind: ReductionKind, root: &Expr) -> Expr {
        self.leaf(root.dim(), false)
    }
}

/// The most tensors that a reduction of the backward pass reads.
pub(crate) fn tensors(reduction: &Reduction) -> usize {
    let mut leaves = Leaves::new(reduction);
    let cotangent = reduction.kind.derivative(&mut leaves);
    let root = &leaves.root;
    // The gradients by operands that are summed over the same axis come from one reduction.
    let by = |summed: &dyn Fn(Option<Axis>) -> bool| {
        let vars = reduction.formula.tensors().filter(|var| summed(var.axis));
        let gradients: Vec<Expr> = vars
            .map(|var| root.pullback(var, cotangent.clone()))
            .collect();
        match gradients.is_empty() {
            true => 0,
            false => Formula::new(&Expr::concat(gradients)).0.tensors().count(),
        }
    };
    let axis = Some(reduction.axis);
    let columns = by(&|own| own == axis);
    let rows = by(&|own| own != axis);
    columns.max(rows)
}

#[cfg(test)]
mod tests {
    use burn::tensor::IntDType;
    use burn_lazy_kernels::Wanted;

    use super::*;

    fn count(root: &Expr, kind: ReductionKind) -> usize {
        tensors(&Reduction {
            formula: Formula::new(root).0,
            kind,
            wanted: Wanted::VALUES,
            values: None,
            indices: IntDType::I32,
            axis: Axis::J,
            batch: vec![],
            m: 4,
            n: 5,
            squeezed: false,
            fold: None,
            scalars: vec![],
        })
    }

    #[test]
    fn tensors_of_the_backward_pass_are_counted() {
        let leaf = |id, axis| {
            Expr::var(Var {
                id,
                axis: Some(axis),
                dim: 1,
                scalar: false,
            })
        };
        let rows = [0, 1, 2].map(|id| leaf(id, Axis::I));
        let y = leaf(3, Axis::J);
        let sum = ReductionKind::Sum(Default::default());
        // The cotangent alone.
        assert_eq!(count(&(rows[0].clone() + y.clone()), sum), 1);
        assert_eq!(count(&(rows[0].clone() * y.clone()), sum), 2);
        // All operands are in the derivative by some of them.
        let product = rows
            .iter()
            .fold(y.clone(), |product, row| product * row.clone());
        assert_eq!(count(&product, sum), 5);
        // The maximum and the sum of exponentials, the result or its indices are further tensors.
        let scores = rows[0].clone() * y.clone();
        assert_eq!(count(&scores, ReductionKind::LogSumExp { scores: 1 }), 4);
        assert_eq!(count(&scores, ReductionKind::Minimum), 3);
        let both = Expr::concat(vec![scores, y]);
        assert_eq!(count(&both, ReductionKind::SoftmaxSum), 5);
        assert_eq!(count(&both, ReductionKind::Variance { unbiased: true }), 4);
    }
}
